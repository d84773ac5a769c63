//! Containers and groups of the scope that were emptied.
//!
//! Every wish says by which of them its objects are in scope. When a wish ends and is not yet taken back, that is noted;
//! a container or group by which nothing is in scope any more, and of which something would be taken back, was emptied. An
//! object that moved on, into another one or to another configuration, leaves nothing to take back.
//!
//! What somebody approved to be empty holds no more, until it is filled again.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::{ObjectGuid, SourceAnchor};
use forestsync_schemas::decisions::HoldReason;
use forestsync_schemas::desired::RemovalReason;

use crate::config::{Plan, Source, SourceId};
use crate::holds::Hold;
use crate::keys::{self, ObjectKey};
use crate::person::Person;
use crate::round::{Round, resolve, resolve_group};
use crate::rows::{Meta, Wish, adjust_at};
use crate::{StoreError, store};

type Result<T> = std::result::Result<T, StoreError>;

/// Ended wishes that are looked at; with more of them nobody is asked who has them now.
const MAX_LOST: usize = 10_000;
/// Names in a message.
const MAX_NAMES: usize = 3;

/// What is empty in a forest.
#[derive(Debug, Default)]
struct Empty<'a> {
    /// Containers and groups of the scope, and what they are.
    parts: Vec<(ObjectGuid, String)>,
    /// Sources of whose scope nothing is left.
    bare: Vec<&'a Source>,
}

impl Meta {
    /// What was emptied unless nothing that is lost is to be taken back.
    pub(crate) fn may_be_emptied(&self) -> BTreeSet<ObjectGuid> {
        self.bare(self.counters.lost_by.keys())
    }

    /// Whether nothing of a narrowed scope is left, while objects are managed from there.
    fn is_bare(&self, source: &Source) -> bool {
        let is_narrowed = !source.config.include.is_empty() || !source.config.include_groups.is_empty();
        let projected = self.counters.projected_by_source.get(&source.id).copied().unwrap_or_default();
        is_narrowed && projected == 0 && self.managed(source.id) > 0
    }

    /// Objects that were written and come from a source.
    fn managed(&self, source: SourceId) -> u64 {
        self.counters.emitted_by_source.get(&source).copied().unwrap_or_default()
    }

    /// An approval of emptiness ends when there is nothing more to take back, or something is there again.
    pub(crate) fn end_let_go(&mut self, plan: &Plan) {
        if self.let_go.is_empty() && self.let_go_bare.is_empty() {
            return;
        }
        let mut empty = self.may_be_emptied();
        empty.extend(self.bare(self.emptied.iter()));
        self.let_go.retain(|entry| empty.contains(entry));
        let bare: BTreeSet<SourceId> = plan.sources.iter().filter(|s| self.is_bare(s)).map(|s| s.id).collect();
        self.let_go_bare.retain(|source| bare.contains(source));
    }

    /// Those by which nothing is in scope.
    fn bare<'a>(&self, entries: impl Iterator<Item = &'a ObjectGuid>) -> BTreeSet<ObjectGuid> {
        entries.filter(|entry| !self.counters.projected_by.contains_key(entry)).copied().collect()
    }
}

impl Round<'_> {
    /// The containers and groups of the scope by which the objects of a person are in it: of containers the nearest one.
    pub(crate) fn in_scope_by(&mut self, person: &Person) -> Result<Vec<ObjectGuid>> {
        let mut by = BTreeSet::new();
        for member in &person.members {
            let source = member.key.source;
            let Some(at) = self.plan.index(source) else { continue };
            let of = self.scopes.get(at).map(|scope| (!scope.containers.include_all, scope.include_groups.is_some()));
            let Some((by_container, by_group)) = of else { continue };
            let place = match member.row.parent.filter(|_| by_container) {
                Some(parent) => Some(self.place(ObjectKey { source, guid: parent })?),
                None => None,
            };
            let groups = if by_group { self.all_groups(member.key, &member.row)? } else { BTreeSet::new() };
            let Some(scope) = self.scopes.get(at) else { continue };
            let above = place.iter().flat_map(|place| &place.chain);
            by.extend(above.copied().find(|guid| scope.containers.include.contains(guid)));
            by.extend(scope.include_groups.iter().flat_map(|named| groups.intersection(named)).copied());
        }
        Ok(by.into_iter().collect())
    }

    /// Follows the end of a wish, and its return. What a changed configuration ends is intended and not followed.
    pub(crate) fn note_lost(&mut self, anchor: &SourceAnchor, old: Option<&Wish>, new: Option<&Wish>) -> Result<()> {
        if new.is_some() {
            return self.lost_no_more(anchor);
        }
        let Some(old) = old.filter(|old| !old.by.is_empty() && !self.is_sweeping) else { return Ok(()) };
        self.txn.put(keys::of_anchor(keys::LOST, anchor), store::encode(&old.by));
        for entry in &old.by {
            adjust_at(&mut self.meta.counters.lost_by, entry, true);
        }
        Ok(())
    }

    /// The wish is back, or was taken back.
    pub(crate) fn lost_no_more(&mut self, anchor: &SourceAnchor) -> Result<()> {
        if self.meta.counters.lost_by.is_empty() {
            return Ok(());
        }
        let row_key = keys::of_anchor(keys::LOST, anchor);
        let Some(by) = self.read::<Vec<ObjectGuid>>(&row_key)? else { return Ok(()) };
        self.txn.delete(row_key);
        for entry in &by {
            adjust_at(&mut self.meta.counters.lost_by, entry, false);
        }
        Ok(())
    }

    /// What was emptied and takes objects with it that nobody else has.
    pub(crate) fn emptied(&mut self) -> Result<BTreeSet<ObjectGuid>> {
        let candidates = self.meta.may_be_emptied();
        // learned from the stream by a database that was built anew, and does not know what was lost
        let mut emptied = self.meta.bare(self.meta.emptied.iter());
        if candidates.is_subset(&emptied) {
            return Ok(emptied);
        }
        let rows = self.txn.scan(&[keys::LOST], None, MAX_LOST)?;
        if rows.len() == MAX_LOST {
            emptied.extend(candidates);
            return Ok(emptied);
        }
        for (row_key, value) in rows {
            let by: Vec<ObjectGuid> = self.decode(&row_key, &value)?;
            if by.iter().all(|entry| emptied.contains(entry) || !candidates.contains(entry)) {
                continue;
            }
            let Some(anchor) = keys::read_of_anchor(&row_key) else { continue };
            let Some(written) = self.emitted(&anchor)?.filter(|emitted| emitted.alive) else { continue };
            if self.reason(&written)?.0 != RemovalReason::HandedOver {
                emptied.extend(by.into_iter().filter(|entry| candidates.contains(entry)));
            }
        }
        Ok(emptied)
    }

    /// The holds for what is empty of the scope and was not approved to be, by forest.
    pub(crate) fn scope_empty(&mut self, withheld: &BTreeSet<SourceId>) -> Result<Vec<Hold>> {
        if !self.gate_is_open() {
            return Ok(Vec::new());
        }
        let plan = self.plan;
        let emptied: BTreeSet<ObjectGuid> = self.emptied()?.difference(&self.meta.let_go).copied().collect();
        let mut forests: BTreeMap<String, Empty<'_>> = BTreeMap::new();
        for source in plan.sources.iter().filter(|source| !withheld.contains(&source.id)) {
            for (guid, name, forest) in self.emptied_of(source, &emptied) {
                let parts = &mut forests.entry(forest).or_default().parts;
                if !parts.iter().any(|(known, _)| *known == guid) {
                    parts.push((guid, name));
                }
            }
            if self.meta.is_bare(source) && !self.meta.let_go_bare.contains(&source.id) {
                forests.entry(source.config.forest.clone()).or_default().bare.push(source);
            }
        }
        let mut holds = Vec::new();
        for (forest, empty) in forests {
            let leaving = self.leaving(&empty)?;
            holds.push(Hold { leaving, ..self.empty_hold(&forest, &empty) });
        }
        Ok(holds)
    }

    /// What was emptied of a source's scope: the objectGUID, what it is, and the forest that it lies in.
    fn emptied_of(&self, source: &Source, emptied: &BTreeSet<ObjectGuid>) -> Vec<(ObjectGuid, String, String)> {
        if emptied.is_empty() {
            return Vec::new();
        }
        let config = &source.config;
        let resolved = self.meta.sources.get(&source.id).map(|state| &state.resolved);
        let containers = config.include.iter().filter_map(|entry| {
            let guid = resolve(entry, resolved).filter(|guid| emptied.contains(guid))?;
            Some((guid, format!("the container {entry}"), config.forest.clone()))
        });
        let groups = config.include_groups.iter().filter_map(|entry| {
            let group = resolve_group(self.plan, &self.meta, entry).filter(|group| emptied.contains(&group.guid))?;
            Some((group.guid, format!("the group {}", entry.group), entry.forest.clone()))
        });
        containers.chain(groups).collect()
    }

    fn empty_hold(&self, forest: &str, empty: &Empty<'_>) -> Hold {
        let mut said = Vec::new();
        if !empty.parts.is_empty() {
            let mut names: Vec<&str> = empty.parts.iter().map(|(_, name)| name.as_str()).take(MAX_NAMES).collect();
            let more = format!("{} more", empty.parts.len().saturating_sub(MAX_NAMES));
            if empty.parts.len() > MAX_NAMES {
                names.push(&more);
            }
            said.push(format!("nothing is left in {} of the scope, from where objects are managed", names.join(", ")));
        }
        said.extend(empty.bare.iter().map(|source| {
            let (root, managed) = (&source.config.naming_context, self.meta.managed(source.id));
            format!(
                "no container and no group of the scope in {root} holds an object; {managed} are managed from there"
            )
        }));
        let hint = if empty.parts.is_empty() {
            format!(
                "put objects back into them, take the forest out of the configuration, or approve it by forestsync \
                 approve --source {forest}, if that is what you want"
            )
        } else {
            format!(
                "put objects back; or approve it by forestsync approve --source {forest}, or take what is empty out of \
                 the scope, if that is what you want; a scope without any container or group means everything"
            )
        };
        Hold {
            emptied: empty.parts.iter().map(|(guid, _)| *guid).collect(),
            bare: empty.bare.iter().map(|source| source.config.naming_context.clone()).collect(),
            ..Hold::new(HoldReason::ScopeEmpty, forest, said.join("; "), hint)
        }
    }

    /// How many objects are taken back once this is approved; none where a database that was built anew cannot tell.
    fn leaving(&mut self, empty: &Empty<'_>) -> Result<Option<u64>> {
        let mut leaving: u64 = empty.bare.iter().map(|source| self.meta.managed(source.id)).sum();
        let rows = self.txn.scan(&[keys::LOST], None, MAX_LOST)?;
        if rows.len() == MAX_LOST || rows.is_empty() && empty.bare.is_empty() {
            return Ok(None);
        }
        for (row_key, value) in rows {
            let by: Vec<ObjectGuid> = self.decode(&row_key, &value)?;
            let is_here = empty.parts.iter().any(|(guid, _)| by.contains(guid));
            let Some(anchor) = keys::read_of_anchor(&row_key).filter(|_| is_here) else { continue };
            let Some(written) = self.emitted(&anchor)?.filter(|emitted| emitted.alive) else { continue };
            let is_counted = empty.bare.iter().any(|source| Some(source.id) == written.source);
            if !is_counted && self.reason(&written)?.0 != RemovalReason::HandedOver {
                leaving += 1;
            }
        }
        Ok(Some(leaving))
    }
}
