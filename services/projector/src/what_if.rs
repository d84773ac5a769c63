//! What would follow from an object as it was read just now: the same round as for a record of its stream, dropped instead
//! of written.
//!
//! The cost is that of the object and what depends on it. A change that moves a whole tree, or a group with very many
//! members, is cut short, and the answer says so.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::{AttributeValue, ObjectGuid, SourceAnchor};
use forestsync_runtime::clock;
use forestsync_schemas::changes::{ChangeContext, ChangeEvent, LinkValuesChanged, ObjectChanged};
use forestsync_schemas::sighting::{News, Sighting};
use forestsync_schemas::{ChangeRecord, EventId};

use crate::ProjectorError;
use crate::apply::ApplyError;
use crate::config::Source;
use crate::emit::Emission;
use crate::engine::Engine;
use crate::explain::plain;
use crate::keys::{self, LinkKind, ObjectKey};
use crate::query::{LinkDifference, ValueDifference, WhatIf};
use crate::round::Round;
use crate::rows::ObjectRow;

type Result<T> = std::result::Result<T, ProjectorError>;

/// Rounds of work that are done for one answer.
const MAX_ROUNDS: usize = 4;
/// Links of an object that are compared.
const MAX_LINKS: usize = 20_000;
/// Outbox rows that are looked through.
const MAX_OUTBOX: usize = 2_000;
/// Values of an attribute that are shown.
const MAX_SHOWN: usize = 20;

impl Engine {
    /// What would follow if this were in the history.
    pub(crate) fn what_if(&self, sighting: &Sighting) -> Result<WhatIf> {
        let is_it = |source: &&Source| {
            source.config.forest == sighting.forest && source.config.naming_context == sighting.naming_context
        };
        let Some(source) = self.plan.sources.iter().find(is_it) else {
            let (forest, root) = (sighting.forest.clone(), sighting.naming_context.to_string());
            return Ok(WhatIf {
                obstacle: Some(format!("{root} of forest {forest} is not projected")),
                ..WhatIf::default()
            });
        };
        let key = ObjectKey { source: source.id, guid: sighting.object };
        let mut round = self.round()?;
        // nothing of what it decides outlives it
        round.decides = true;
        let mut found = WhatIf {
            stream: source.config.stream.to_string(),
            applied: self.meta.sources.get(&source.id).map_or(0, |state| state.offset),
            waiting: self.meta.counters.outbox,
            ..WhatIf::default()
        };
        if let Some(stop) = self.stopped.get(&source.id) {
            found.obstacle = Some(format!("the projection of {} stopped: {}", source.config.stream, stop.detail));
        } else if !round.meta.sources.get(&source.id).is_some_and(|state| state.first_done) {
            found.obstacle = Some("its naming context was not read completely yet".to_owned());
        } else if !round.may_project() {
            found.obstacle = Some("not every forest was read completely yet".to_owned());
        }
        let row = round.object(key)?;
        found.known_as = match row.as_ref().filter(|row| row.is_live()) {
            Some(row) => Some(round.name_of(key, &row.dn, row.parent)?.to_string()),
            None => None,
        };
        let before = round.stands_for(key)?;
        let events = round.differences(key, row.as_ref(), sighting, &mut found)?;
        let known = round.outbox()?;
        round.pretend(source, key, events)?;
        found.is_cut = !round.finish_work()?;
        let holds = if found.obstacle.is_none() { round.holds(&BTreeSet::new())? } else { Vec::new() };
        found.explanation = Some(round.explain(key, &holds)?);
        let now = round.stands_for(key)?;
        let anchors: BTreeSet<SourceAnchor> = before.iter().chain(&now).cloned().collect();
        found.anchor = now.or(before).map(|anchor| anchor.as_str().to_owned());
        if found.obstacle.is_none() && !found.is_cut {
            found.desired = round.would_emit(anchors, &known)?;
        }
        Ok(found)
    }
}

/// Rows that wait to be written: objects, and memberships.
type Waiting = BTreeSet<Vec<u8>>;

impl Round<'_> {
    /// What of a sighting the mirror does not have, as the events that would say it.
    fn differences(
        &mut self,
        key: ObjectKey,
        row: Option<&ObjectRow>,
        sighting: &Sighting,
        found: &mut WhatIf,
    ) -> Result<Vec<ChangeEvent>> {
        let row = row.filter(|row| row.is_live());
        let mut set = forestsync_domain::Attributes::new();
        for (name, values) in &sighting.attributes {
            let had = row.map(|row| row.values(name)).unwrap_or_default();
            if !same(had, values) {
                set.insert(name.clone(), values.clone());
                found.news.attributes.insert(name.clone());
                found.changes.push(difference(name, had, values));
            }
        }
        let held = row.map(|row| &row.attributes).into_iter().flatten();
        let gone = |name: &&String| sighting.readable.contains(*name) && !sighting.attributes.contains_key(*name);
        let cleared: Vec<String> =
            held.filter(|(_, values)| !values.is_empty()).map(|(name, _)| name).filter(gone).cloned().collect();
        for name in &cleared {
            found.changes.push(difference(name, row.map(|row| row.values(name)).unwrap_or_default(), &[]));
        }
        let is_moved = sighting.parent.is_some() && row.is_none_or(|row| row.parent != sighting.parent);
        let name = row.map(|row| self.name_of(key, &row.dn, row.parent)).transpose()?;
        let is_renamed = name.is_none_or(|name| name.to_string() != sighting.dn.to_string());
        found.news.is_moved = is_moved;
        let mut events = Vec::new();
        if !set.is_empty() || !cleared.is_empty() || is_moved || is_renamed {
            let (dn, parent) = (sighting.dn.clone(), sighting.parent);
            events.push(ChangeEvent::ObjectChanged(ObjectChanged { dn, parent, set, cleared }));
        }
        let links = self.links_of(key)?;
        for (attribute, targets) in &sighting.links {
            let Some(kind) = LinkKind::from_name(attribute) else { continue };
            let Some(had) = &links else {
                found.long_links.push(attribute.clone());
                continue;
            };
            let none = BTreeSet::new();
            let (had, has) = (had.get(&kind).unwrap_or(&none), targets.iter().copied().collect::<BTreeSet<_>>());
            let added: Vec<ObjectGuid> = has.difference(had).copied().collect();
            let removed: Vec<ObjectGuid> = had.difference(&has).copied().collect();
            if added.is_empty() && removed.is_empty() {
                continue;
            }
            found.links.push(LinkDifference {
                attribute: attribute.clone(),
                added: self.names(key, &added)?,
                removed: self.names(key, &removed)?,
            });
            found.news.links.insert(attribute.clone(), added.iter().copied().collect());
            let attribute = attribute.clone();
            let event = LinkValuesChanged { snapshot: None, attribute, removed, added };
            events.push(ChangeEvent::LinkValuesChanged(event));
        }
        found.news.links.retain(|_, added| !added.is_empty());
        found.long_links.extend(sighting.long_links.iter().cloned());
        found.is_news = !events.is_empty();
        Ok(events)
    }

    /// The links of an object by kind; none if there are too many.
    fn links_of(&mut self, key: ObjectKey) -> Result<Option<BTreeMap<LinkKind, BTreeSet<ObjectGuid>>>> {
        let rows = self.txn.scan(&keys::of_object(keys::EDGE, key), None, MAX_LINKS + 1)?;
        if rows.len() > MAX_LINKS {
            return Ok(None);
        }
        let mut links: BTreeMap<LinkKind, BTreeSet<ObjectGuid>> = BTreeMap::new();
        for (_, kind, to) in rows.iter().filter_map(|(row_key, _)| keys::read_edge(row_key)) {
            links.entry(kind).or_default().insert(to);
        }
        Ok(Some(links))
    }

    /// Names of objects of the same forest, or their objectGUIDs.
    fn names(&mut self, of: ObjectKey, objects: &[ObjectGuid]) -> Result<Vec<String>> {
        let sources: Vec<_> = self.plan.forest_of(of.source).collect();
        let mut names = Vec::new();
        for guid in objects.iter().copied() {
            let mut name = guid.to_string();
            for source in sources.iter().copied() {
                let key = ObjectKey { source, guid };
                if let Some(head) = self.head(key)? {
                    name = self.name_of(key, &head.dn, head.parent)?.to_string();
                }
            }
            names.push(name);
        }
        Ok(names)
    }

    /// Applies events as if they were the next records of their stream, and the end of an answer with them.
    fn pretend(&mut self, source: &Source, key: ObjectKey, events: Vec<ChangeEvent>) -> Result<()> {
        let context = ChangeContext {
            forest: source.config.forest.clone(),
            naming_context: source.config.naming_context.clone(),
            object: Some(key.guid),
            controller: None,
            usn_changed: None,
            when_changed: None,
            trace: None,
        };
        for event in events {
            let offset = self.meta.sources.get(&source.id).map_or(0, |state| state.offset);
            let record = ChangeRecord {
                id: EventId::of([&b"what if"[..]]),
                time: clock::now(),
                context: context.clone(),
                event,
            };
            self.apply(source.id, offset, record).map_err(|error| match error {
                ApplyError::Store(error) => ProjectorError::from(error),
                ApplyError::Record(kind) => {
                    crate::StreamError { stream: source.config.stream.clone(), offset, kind }.into()
                }
            })?;
        }
        if let Some(state) = self.state(source.id) {
            state.answer_open = false;
        }
        self.places.clear();
        self.verdicts.clear();
        self.ancestries.clear();
        Ok(())
    }

    /// Does what follows, as far as that is little; whether that was all.
    fn finish_work(&mut self) -> Result<bool> {
        for _ in 0..MAX_ROUNDS {
            self.steps = 0;
            if !self.run_work()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What waits to be written.
    fn outbox(&mut self) -> Result<Waiting> {
        let mut all = Waiting::new();
        for kind in [keys::OUT_OBJECT, keys::OUT_LINK] {
            let rows = self.txn.scan(&[keys::OUTBOX, kind], None, MAX_OUTBOX)?;
            all.extend(rows.into_iter().map(|(row_key, _)| row_key));
        }
        Ok(all)
    }

    /// The records of `desired` that would follow: those about these anchors, and whatever came into the outbox since it
    /// was as `known` says.
    fn would_emit(&mut self, mut anchors: BTreeSet<SourceAnchor>, known: &Waiting) -> Result<Vec<String>> {
        let mut links = BTreeSet::new();
        // objects come before memberships
        for row_key in self.outbox()? {
            let is_new = !known.contains(&row_key);
            if row_key.starts_with(&[keys::OUTBOX, keys::OUT_OBJECT]) {
                anchors.extend(keys::read_out_object(&row_key).filter(|_| is_new));
            } else if let Some((group, member)) = keys::read_out_link(&row_key)
                && (is_new || anchors.contains(&group) || anchors.contains(&member))
            {
                links.insert((group, member));
            }
        }
        let withheld = BTreeSet::new();
        let mut out = Emission::new(self, clock::now(), &withheld);
        for anchor in &anchors {
            self.emit_object(anchor, false, None, &mut out)?;
        }
        for (group, member) in &links {
            self.emit_link(group, member, None, &mut out)?;
        }
        for anchor in &anchors {
            self.emit_object(anchor, true, None, &mut out)?;
        }
        Ok(out.records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect())
    }
}

/// Whether an attribute has the same values, in whatever order.
fn same(a: &[AttributeValue], b: &[AttributeValue]) -> bool {
    let sorted = |values: &[AttributeValue]| values.iter().cloned().collect::<BTreeSet<_>>();
    a == b || a.len() == b.len() && sorted(a) == sorted(b)
}

fn difference(name: &str, before: &[AttributeValue], after: &[AttributeValue]) -> ValueDifference {
    let shown = |values: &[AttributeValue]| values.iter().take(MAX_SHOWN).map(plain).collect();
    ValueDifference { attribute: name.to_owned(), before: shown(before), after: shown(after) }
}

impl WhatIf {
    /// What its collector has to look at, where anything is news.
    pub fn news(&self) -> Option<&News> {
        self.is_news.then_some(&self.news)
    }
}
