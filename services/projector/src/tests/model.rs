//! The contract once more, naively: all records from the beginning, everything in memory, no state between calls.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::{Attributes, Dn, ObjectGuid, SourceAnchor};
use forestsync_log::Record;
use forestsync_rules::classify::{DirectoryClass, classify};
use forestsync_rules::exclusion::exclusion;
use forestsync_rules::flow::flow;
use forestsync_schemas::ChangeRecord;
use forestsync_schemas::changes::{ChangeEvent, SnapshotId};
use forestsync_schemas::decisions::DecisionEvent;
use forestsync_schemas::desired::CloudClass;

use super::support::Wished;
use crate::SourceConfig;

#[derive(Debug, Clone)]
struct Thing {
    dn: Dn,
    parent: Option<ObjectGuid>,
    attributes: Attributes,
    dead: bool,
    shown_by: Option<SnapshotId>,
    /// Index of the record that last proved it.
    proof: usize,
}

/// Objects, links, and what the scope makes of them.
type Seen = (BTreeMap<ObjectGuid, Thing>, Vec<(String, ObjectGuid, ObjectGuid)>, Verdicts);

#[derive(Debug)]
struct Mirror<'a> {
    source: &'a SourceConfig,
    things: BTreeMap<ObjectGuid, Thing>,
    /// With the index of the record that last proved it.
    links: BTreeMap<(String, ObjectGuid, ObjectGuid), usize>,
    named: BTreeMap<String, ObjectGuid>,
    began: usize,
    is_first: bool,
    /// Where each full read began.
    begun: BTreeMap<SnapshotId, usize>,
    said: &'a Said,
}

/// What the decisions say of full reads.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Those that are not believed.
    doubted: BTreeSet<SnapshotId>,
    /// Per stream and offset, what is believed from there on; whether all of it.
    approved: BTreeMap<(String, usize), Vec<(SnapshotId, bool)>>,
}

impl Said {
    pub(super) fn of(sources: &[SourceConfig], decisions: &[DecisionEvent]) -> Self {
        let mut said = Self::default();
        for event in decisions {
            match event {
                DecisionEvent::FullReadJudged(e) if e.doubt.is_some() => _ = said.doubted.insert(e.snapshot),
                DecisionEvent::FullReadApproved(e) => {
                    let is_meant = |s: &&SourceConfig| s.forest == e.forest && s.naming_context == e.naming_context;
                    let stream = sources.iter().find(is_meant).unwrap().stream.to_string();
                    let at = (stream, usize::try_from(e.offset).unwrap());
                    said.approved.entry(at).or_default().push((e.snapshot, e.doubt.is_none()));
                }
                _ => {}
            }
        }
        said
    }
}

impl Mirror<'_> {
    fn read(source: &SourceConfig, records: &[Record], said: &Said) -> Seen {
        let mut mirror = Mirror {
            source,
            things: BTreeMap::new(),
            links: BTreeMap::new(),
            named: BTreeMap::new(),
            began: 0,
            is_first: true,
            begun: BTreeMap::new(),
            said,
        };
        let mut open: Option<SnapshotId> = None;
        for (at, record) in records.iter().enumerate() {
            mirror.approve(at);
            let record = ChangeRecord::decode(&record.value).unwrap();
            let object = record.context.object;
            match record.event {
                ChangeEvent::SnapshotStarted(e) if open != Some(e.snapshot) => {
                    open = Some(e.snapshot);
                    mirror.began = at;
                    mirror.begun.entry(e.snapshot).or_insert(at);
                }
                ChangeEvent::SnapshotCompleted(e) if open == Some(e.snapshot) => {
                    open = None;
                    mirror.end_snapshot(e.snapshot);
                }
                ChangeEvent::ObjectObserved(e) => {
                    let guid = object.unwrap();
                    let mut attributes = Attributes::new();
                    let known = mirror.things.get(&guid).filter(|thing| thing.shown_by == Some(e.snapshot));
                    let mut parent = e.parent;
                    if let Some(thing) = known {
                        attributes = thing.attributes.clone();
                        parent = parent.or(thing.parent);
                    }
                    attributes.extend(e.attributes);
                    let shown_by = Some(e.snapshot);
                    mirror.put(guid, Thing { dn: e.dn, parent, attributes, dead: false, shown_by, proof: at });
                }
                ChangeEvent::ObjectChanged(e) => mirror.patch(at, object.unwrap(), e.dn, e.parent, e.set, &e.cleared),
                ChangeEvent::ObjectRestored(e) => mirror.patch(at, object.unwrap(), e.dn, e.parent, e.set, &e.cleared),
                ChangeEvent::ObjectDeleted(e) => {
                    let guid = object.unwrap();
                    mirror.patch(at, guid, e.dn, None, e.set, &e.cleared);
                    mirror.things.get_mut(&guid).unwrap().dead = true;
                    mirror.links.retain(|(_, from, to), _| *from != guid && *to != guid);
                }
                ChangeEvent::LinkValuesChanged(e) => {
                    let from = object.unwrap();
                    for to in e.removed {
                        mirror.links.remove(&(e.attribute.clone(), from, to));
                    }
                    for to in e.added {
                        mirror.links.insert((e.attribute.clone(), from, to), at);
                    }
                }
                _ => {}
            }
        }
        mirror.approve(records.len());
        let links = mirror.links.keys().cloned().collect();
        let verdicts = Verdicts { named: mirror.named.clone() };
        (mirror.things, links, verdicts)
    }

    fn put(&mut self, guid: ObjectGuid, thing: Thing) {
        if !thing.dead {
            self.named.entry(thing.dn.key()).or_insert(guid);
        }
        self.things.insert(guid, thing);
    }

    fn patch(
        &mut self,
        at: usize,
        guid: ObjectGuid,
        dn: Dn,
        parent: Option<ObjectGuid>,
        set: Attributes,
        cleared: &[String],
    ) {
        let old = self.things.get(&guid).cloned();
        let mut attributes = old.as_ref().map(|thing| thing.attributes.clone()).unwrap_or_default();
        attributes.retain(|name, _| !cleared.contains(name));
        attributes.extend(set);
        let parent = parent.or(old.as_ref().and_then(|thing| thing.parent));
        let shown_by = old.and_then(|thing| thing.shown_by);
        self.put(guid, Thing { dn, parent, attributes, dead: false, shown_by, proof: at });
    }

    fn end_snapshot(&mut self, snapshot: SnapshotId) {
        let verdicts = Verdicts { named: self.named.clone() };
        let class = |thing: &Thing| !thing.dead && classify(&thing.attributes).is_synchronized();
        let fresh = self.things.values().filter(|t| class(t) && t.proof >= self.began).count();
        let known: Vec<&Thing> = self
            .things
            .values()
            .filter(|thing| class(thing) && verdicts.belongs(self.source, &self.things, thing))
            .collect();
        let missing = known.iter().filter(|thing| thing.proof < self.began).count();
        let is_lost = !self.is_first && known.len() >= 5 && missing > (known.len() / 5).max(1);
        self.is_first = false;
        if fresh == 0 || is_lost || self.said.doubted.contains(&snapshot) {
            return;
        }
        self.conclude(snapshot, self.began, true);
    }

    /// What somebody approved before this record.
    fn approve(&mut self, at: usize) {
        let here = self.said.approved.get(&(self.source.stream.to_string(), at));
        for (snapshot, is_all) in here.cloned().unwrap_or_default() {
            let began = self.begun[&snapshot];
            self.conclude(snapshot, began, is_all);
        }
    }

    /// What a full read did not show is gone: links, and objects if that is known.
    fn conclude(&mut self, snapshot: SnapshotId, began: usize, is_all: bool) {
        let gone: BTreeSet<ObjectGuid> =
            self.things.iter().filter(|(_, t)| is_all && !t.dead && t.proof < began).map(|(guid, _)| *guid).collect();
        self.things.retain(|guid, _| !gone.contains(guid));
        let shown = |guid: &ObjectGuid| self.things.get(guid).is_some_and(|t| t.shown_by == Some(snapshot));
        self.links.retain(|(_, from, _), proof| !gone.contains(from) && (*proof >= began || !shown(from)));
    }
}

/// Scope by the names that containers had when they were first seen.
#[derive(Debug)]
struct Verdicts {
    named: BTreeMap<String, ObjectGuid>,
}

impl Verdicts {
    fn belongs(&self, source: &SourceConfig, things: &BTreeMap<ObjectGuid, Thing>, thing: &Thing) -> bool {
        let class = classify(&thing.attributes);
        if thing.dead || !class.is_synchronized() || exclusion(class, &thing.dn, &thing.attributes).is_some() {
            return false;
        }
        let find = |entries: &[crate::ScopeEntry]| -> Vec<ObjectGuid> {
            let found = entries.iter().filter_map(|entry| match entry {
                crate::ScopeEntry::Guid(guid) => Some(*guid),
                crate::ScopeEntry::Dn(dn) => self.named.get(&dn.key()).copied(),
            });
            found.collect()
        };
        let (include, exclude) = (find(&source.include), find(&source.exclude));
        let (mut at, mut verdict, mut rooted) = (thing.parent, None, false);
        for _ in 0..100 {
            let Some(guid) = at else { break };
            if verdict.is_none() && exclude.contains(&guid) {
                verdict = Some(false);
            } else if verdict.is_none() && include.contains(&guid) {
                verdict = Some(true);
            }
            let Some(container) = things.get(&guid) else { break };
            rooted |= container.dn == source.naming_context;
            at = if rooted { None } else { container.parent };
        }
        match verdict {
            _ if !rooted && !source.include.is_empty() => false,
            Some(verdict) => verdict,
            None => source.include.is_empty(),
        }
    }
}

/// What the tenant should hold after these records.
pub(super) fn wished(sources: &[(SourceConfig, Vec<Record>)]) -> Wished {
    wished_by(sources, &Said::default())
}

/// The same, with what was decided about full reads.
pub(super) fn wished_by(sources: &[(SourceConfig, Vec<Record>)], said: &Said) -> Wished {
    let mut users: BTreeMap<(String, ObjectGuid), (CloudClass, SourceAnchor)> = BTreeMap::new();
    let mut result = Wished::default();
    let mirrors: Vec<_> =
        sources.iter().map(|(source, records)| (source, Mirror::read(source, records, said))).collect();
    for (source, (things, _, verdicts)) in &mirrors {
        for (guid, thing) in things {
            if !verdicts.belongs(source, things, thing) {
                continue;
            }
            let class: DirectoryClass = classify(&thing.attributes);
            let flowed = flow(class, &thing.dn, &source.naming_context, &thing.attributes);
            assert!(flowed.blocking().is_none(), "histories hold no blocked objects");
            let anchor = SourceAnchor::from_guid(*guid);
            users.insert((source.forest.clone(), *guid), (flowed.class, anchor.clone()));
            result.objects.insert(anchor, (flowed.class, flowed.attributes, None));
        }
    }
    for (source, (_, links, _)) in &mirrors {
        let find = |guid: &ObjectGuid| users.get(&(source.forest.clone(), *guid));
        for (attribute, from, to) in links {
            let (Some((from_class, from)), Some((to_class, to))) = (find(from), find(to)) else { continue };
            match attribute.as_str() {
                "member" if *from_class == CloudClass::Group && *to_class != CloudClass::Contact => {
                    result.links.insert((from.clone(), to.clone()));
                }
                "manager" if *from_class == CloudClass::User && *to_class == CloudClass::User => {
                    let manager = &mut result.objects.get_mut(from).unwrap().2;
                    manager.get_or_insert_with(|| to.clone());
                }
                _ => {}
            }
        }
    }
    result
}
