//! What others did in the tenant, from the log alone.

use std::collections::BTreeMap;

use forestsync_domain::SourceAnchor;
use forestsync_schemas::OutcomeRecord;
use forestsync_schemas::desired::{CloudClass, CloudValue, SourceObject};
use forestsync_schemas::outcomes::{DriftPolicy, OutcomeEvent};
use jiff::Timestamp;
use serde::Serialize;

use super::name_of;

/// What there is.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Drifting {
    /// Each thing by itself, sorted by object.
    pub found: Vec<Finding>,
    /// When the tenant was last said to be compared.
    pub compared: Option<String>,
}

/// One thing that others did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The object's source anchor; of a membership, the group's.
    pub anchor: String,
    /// Its class.
    pub class: &'static str,
    /// Its distinguished name, where it is wished.
    pub dn: Option<String>,
    /// `changed`, `deleted`, `member_added` or `member_removed`.
    pub what: &'static str,
    /// The attribute.
    pub attribute: Option<String>,
    /// The member's source anchor.
    pub member: Option<String>,
    /// Its distinguished name.
    pub member_dn: Option<String>,
    /// What was written last.
    pub expected: Option<CloudValue>,
    /// What the tenant holds.
    pub found: Option<CloudValue>,
    /// What becomes of it: `enforce`, `report` or `accept`.
    pub policy: String,
    /// Since when it is known.
    pub since: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Deleted,
    Attribute(String),
    Member(SourceAnchor),
}

#[derive(Debug, Clone)]
struct Entry {
    class: CloudClass,
    what: &'static str,
    expected: Option<CloudValue>,
    found: Option<CloudValue>,
    policy: DriftPolicy,
    since: Timestamp,
}

/// The fold over `outcomes`, then over `desired`.
#[derive(Debug, Default)]
pub(super) struct Fold {
    entries: BTreeMap<SourceAnchor, BTreeMap<Place, Entry>>,
    names: BTreeMap<SourceAnchor, Option<String>>,
    compared: Option<Timestamp>,
}

impl Fold {
    pub(super) fn outcome(&mut self, record: &OutcomeRecord) {
        let (anchor, class) = (&record.context.anchor, record.context.class);
        let entry = |what, policy, since| Entry { class, what, expected: None, found: None, policy, since };
        match &record.event {
            OutcomeEvent::DriftFound(e) => {
                for (name, drifted) in &e.attributes {
                    let new = Entry {
                        expected: drifted.expected.clone(),
                        found: drifted.found.clone(),
                        ..entry("changed", drifted.policy, e.read_at)
                    };
                    self.note(anchor, Place::Attribute(name.clone()), new);
                }
            }
            OutcomeEvent::MembersDrifted(e) => {
                for (members, what) in [(&e.added, "member_added"), (&e.removed, "member_removed")] {
                    for member in members {
                        self.note(anchor, Place::Member(member.clone()), entry(what, e.policy, e.read_at));
                    }
                }
            }
            OutcomeEvent::DeletedByOthers(e) => {
                self.forget(anchor, |place| matches!(place, Place::Attribute(_)));
                self.note(anchor, Place::Deleted, entry("deleted", e.policy, e.read_at));
            }
            OutcomeEvent::DriftEnded(e) => self.forget(anchor, |place| match place {
                Place::Deleted => e.deletion,
                Place::Attribute(name) => e.attributes.contains(name),
                Place::Member(member) => e.members.contains(member),
            }),
            OutcomeEvent::ObjectUpdated(e) => {
                self.forget(anchor, |place| matches!(place, Place::Attribute(name) if e.changes.contains_key(name)));
            }
            OutcomeEvent::MemberAdded(e) => self.members(anchor, &e.members),
            OutcomeEvent::MemberRemoved(e) => self.members(anchor, &e.members),
            // what was found again keeps what others changed; the provisioner says when it ends
            OutcomeEvent::ObjectAdopted(_) => self.forget(anchor, |place| *place == Place::Deleted),
            OutcomeEvent::ObjectProvisioned(_) | OutcomeEvent::ObjectRelinquished(_) => self.forget(anchor, |_| true),
            OutcomeEvent::ObjectRestored(_) | OutcomeEvent::ObjectDeprovisioned(_) => {
                self.forget(anchor, |place| !matches!(place, Place::Member(_)));
            }
            OutcomeEvent::TenantCompared(_) => self.compared = Some(record.time),
            _ => {}
        }
    }

    fn note(&mut self, anchor: &SourceAnchor, place: Place, mut entry: Entry) {
        let of = self.entries.entry(anchor.clone()).or_default();
        if let Some(old) = of.get(&place).filter(|old| (old.what, &old.found) == (entry.what, &entry.found)) {
            entry.since = old.since;
        }
        if let Place::Member(member) = &place {
            self.names.entry(member.clone()).or_default();
        }
        of.insert(place, entry);
        self.names.entry(anchor.clone()).or_default();
    }

    fn forget(&mut self, anchor: &SourceAnchor, is_over: impl Fn(&Place) -> bool) {
        if let Some(of) = self.entries.get_mut(anchor) {
            of.retain(|place, _| !is_over(place));
            if of.is_empty() {
                self.entries.remove(anchor);
            }
        }
    }

    fn members(&mut self, group: &SourceAnchor, members: &[SourceAnchor]) {
        self.forget(group, |place| matches!(place, Place::Member(member) if members.contains(member)));
    }

    /// A wish for an object, or that it is gone: then nobody asks who deleted it.
    pub(super) fn wish(&mut self, anchor: &SourceAnchor, is_wished: bool, source: &SourceObject) {
        if let Some(name) = self.names.get_mut(anchor) {
            *name = is_wished.then(|| source.dn.to_string());
        }
    }

    pub(super) fn finish(self) -> Drifting {
        let Self { entries, names, compared } = self;
        let name = |anchor: &SourceAnchor| names.get(anchor).cloned().flatten();
        let finding = |anchor: &SourceAnchor, place: Place, entry: Entry| {
            let (attribute, member) = match place {
                Place::Deleted => (None, None),
                Place::Attribute(name) => (Some(name), None),
                Place::Member(member) => (None, Some(member)),
            };
            Finding {
                anchor: anchor.to_string(),
                class: entry.class.as_str(),
                dn: name(anchor),
                what: entry.what,
                attribute,
                member_dn: member.as_ref().and_then(name),
                member: member.map(|member| member.to_string()),
                expected: entry.expected,
                found: entry.found,
                policy: name_of(&entry.policy),
                since: entry.since.to_string(),
            }
        };
        let wished = entries.into_iter().filter(|(anchor, _)| name(anchor).is_some());
        let found = wished.flat_map(|(anchor, of)| {
            of.into_iter().map(|(place, entry)| finding(&anchor, place, entry)).collect::<Vec<_>>()
        });
        Drifting { found: found.collect(), compared: compared.map(|at| at.to_string()) }
    }
}

impl Drifting {
    /// How much there is, by what becomes of it.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for finding in &self.found {
            *counts.entry(finding.policy.clone()).or_default() += 1;
        }
        counts
    }

    /// The anchors of objects that others deleted and that stay away.
    pub(super) fn away(&self) -> impl Iterator<Item = &str> {
        let stays = |finding: &&Finding| finding.what == "deleted" && finding.policy != "enforce";
        self.found.iter().filter(stays).map(|finding| finding.anchor.as_str())
    }
}
