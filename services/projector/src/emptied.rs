//! Containers and groups of the scope that were emptied.
//!
//! Every wish says by which of them its objects are in scope. When a wish ends and is not yet taken back, that is noted;
//! a container or group by which nothing is in scope any more, and of which something would be taken back, was emptied. An
//! object that moved on, into another one or to another configuration, leaves nothing to take back.

use std::collections::BTreeSet;

use forestsync_domain::{ObjectGuid, SourceAnchor};
use forestsync_schemas::decisions::HoldReason;
use forestsync_schemas::desired::RemovalReason;

use crate::config::Source;
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

impl Meta {
    /// What was emptied unless nothing that is lost is to be taken back.
    pub(crate) fn may_be_emptied(&self) -> BTreeSet<ObjectGuid> {
        self.bare(self.counters.lost_by.keys())
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

    /// The hold for what was emptied of a source's scope.
    pub(crate) fn emptied_of(&self, source: &Source, emptied: &BTreeSet<ObjectGuid>) -> Vec<Hold> {
        if emptied.is_empty() || !self.gate_is_open() {
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
        let found: Vec<_> = containers.chain(groups).collect();
        let forests: BTreeSet<&String> = found.iter().map(|(_, _, forest)| forest).collect();
        let hold = |forest: &String| {
            let here: Vec<_> = found.iter().filter(|(_, _, of)| of == forest).collect();
            let mut names: Vec<&str> = here.iter().map(|(_, name, _)| name.as_str()).take(MAX_NAMES).collect();
            let more = format!("{} more", here.len().saturating_sub(MAX_NAMES));
            if here.len() > MAX_NAMES {
                names.push(&more);
            }
            Hold {
                reason: HoldReason::ScopeEmpty,
                forest: forest.clone(),
                detail: format!("nothing is left in {} of the scope, from where objects are managed", names.join(", ")),
                hint: "put objects back, or take what is empty out of the scope if that is what you want; a scope without \
                       any container or group means everything"
                    .into(),
                emptied: here.iter().map(|(guid, ..)| *guid).collect(),
            }
        };
        forests.into_iter().map(hold).collect()
    }
}
