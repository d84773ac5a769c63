//! A directory object, folded from its own events by the same rules as the projector's mirror.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::{Attributes, Dn, ObjectGuid};
use forestsync_schemas::changes::{ChangeEvent, LinkValuesChanged, SnapshotId};
use serde_json::Value;

use super::entry::{Change, LinkChange};

/// An object as its directory had it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mirror {
    /// Its name; none before the first event.
    pub dn: Option<Dn>,
    /// Its attributes, but links.
    pub attributes: Attributes,
    /// The objects that it names, by the link's attribute.
    pub links: BTreeMap<String, BTreeMap<ObjectGuid, Link>>,
    /// Whether it is a tombstone.
    pub is_deleted: bool,
    /// Whether a completed full read did not show it.
    pub is_absent: bool,
    image: Option<SnapshotId>,
    seen: Option<SnapshotId>,
    /// The last full read that began.
    open: Option<SnapshotId>,
}

/// A link, as it was shown last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The record that showed it.
    pub since: u64,
    seen: Option<SnapshotId>,
}

/// What an event changed.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    /// Attributes, the name as `dn`.
    pub changes: Vec<Change>,
    /// Links.
    pub links: Vec<LinkChange>,
}

impl Mirror {
    /// Applies the event at an offset: one of the object, or one about a full read of its stream.
    pub fn apply(&mut self, event: &ChangeEvent, offset: u64) -> Difference {
        let before = self.clone();
        match event {
            ChangeEvent::SnapshotStarted(event) => {
                self.open = Some(event.snapshot);
                return Difference::default();
            }
            ChangeEvent::ObjectObserved(event) => {
                if self.image != Some(event.snapshot) {
                    self.attributes.clear();
                }
                (self.image, self.seen) = (Some(event.snapshot), Some(event.snapshot));
                self.attributes.extend(event.attributes.clone());
                self.dn = Some(event.dn.clone());
                self.is_deleted = false;
            }
            ChangeEvent::ObjectChanged(event) => self.patch(&event.dn, &event.set, &event.cleared, false),
            ChangeEvent::ObjectRestored(event) => self.patch(&event.dn, &event.set, &event.cleared, false),
            ChangeEvent::ObjectDeleted(event) => {
                self.patch(&event.dn, &event.set, &event.cleared, true);
                self.links.clear();
            }
            ChangeEvent::LinkValuesChanged(event) => self.link(event, offset),
            _ => return Difference::default(),
        }
        self.is_absent = false;
        self.difference_to(&before)
    }

    fn patch(&mut self, dn: &Dn, set: &Attributes, cleared: &[String], is_deleted: bool) {
        self.attributes.retain(|name, _| !cleared.contains(name));
        self.attributes.extend(set.clone());
        (self.dn, self.is_deleted, self.seen) = (Some(dn.clone()), is_deleted, self.open);
    }

    fn link(&mut self, event: &LinkValuesChanged, offset: u64) {
        let values = self.links.entry(event.attribute.clone()).or_default();
        for to in &event.removed {
            values.remove(to);
        }
        let seen = event.snapshot.or(self.open);
        values.extend(event.added.iter().map(|to| (*to, Link { since: offset, seen })));
        self.links.retain(|_, values| !values.is_empty());
    }

    /// What a full read that is believed did not show is gone.
    pub fn conclude(&mut self, snapshot: SnapshotId) -> Difference {
        let before = self.clone();
        if self.dn.is_some() && !self.is_deleted && self.seen != Some(snapshot) {
            self.is_absent = true;
            self.links.clear();
        }
        for values in self.links.values_mut() {
            values.retain(|_, link| link.seen == Some(snapshot));
        }
        self.links.retain(|_, values| !values.is_empty());
        self.difference_to(&before)
    }

    /// Whether the object is there.
    pub fn is_there(&self) -> bool {
        self.dn.is_some() && !self.is_deleted && !self.is_absent
    }

    /// What is different from how it was.
    pub fn difference_to(&self, before: &Self) -> Difference {
        let dn = |mirror: &Self| mirror.dn.as_ref().map(|dn| Value::String(dn.to_string()));
        let mut changes = Vec::new();
        if dn(before) != dn(self) {
            changes.push(Change::new("dn", dn(before), dn(self)));
        }
        let json = |mirror: &Self, name: &String| mirror.attributes.get(name).map(values);
        let names: BTreeSet<&String> = before.attributes.keys().chain(self.attributes.keys()).collect();
        for name in names {
            if before.attributes.get(name) != self.attributes.get(name) {
                changes.push(Change::new(name, json(before, name), json(self, name)));
            }
        }
        let of = |mirror: &Self, name: &String| -> BTreeSet<ObjectGuid> {
            mirror.links.get(name).map(|values| values.keys().copied().collect()).unwrap_or_default()
        };
        let names: BTreeSet<&String> = before.links.keys().chain(self.links.keys()).collect();
        let links = names.into_iter().filter_map(|name| {
            let (old, new) = (of(before, name), of(self, name));
            let link = LinkChange {
                attribute: name.clone(),
                removed: old.difference(&new).map(ToString::to_string).collect(),
                added: new.difference(&old).map(ToString::to_string).collect(),
                ..LinkChange::default()
            };
            (old != new).then_some(link)
        });
        Difference { changes, links: links.collect() }
    }
}

/// Values as they stand in events.
pub fn values(values: &Vec<forestsync_domain::AttributeValue>) -> Value {
    serde_json::to_value(values).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use forestsync_domain::AttributeValue;
    use forestsync_schemas::changes::{ObjectChanged, ObjectDeleted, ObjectObserved, SnapshotReason, SnapshotStarted};
    use uuid::Uuid;

    use super::*;

    fn snapshot(n: u128) -> SnapshotId {
        SnapshotId(Uuid::from_u128(n))
    }

    fn started(n: u128) -> ChangeEvent {
        ChangeEvent::SnapshotStarted(SnapshotStarted { snapshot: snapshot(n), reason: SnapshotReason::Requested })
    }

    fn attributes(all: &[(&str, &str)]) -> Attributes {
        all.iter().map(|(name, value)| ((*name).to_owned(), vec![AttributeValue::from(*value)])).collect()
    }

    fn observed(n: u128, all: &[(&str, &str)]) -> ChangeEvent {
        let (dn, attributes) = ("CN=Ann,DC=x".parse().unwrap(), attributes(all));
        ChangeEvent::ObjectObserved(ObjectObserved { snapshot: snapshot(n), dn, parent: None, attributes })
    }

    fn linked(n: Option<u128>, added: &[u8], removed: &[u8]) -> ChangeEvent {
        let guids = |all: &[u8]| all.iter().map(|n| ObjectGuid::from_bytes([*n; 16])).collect();
        ChangeEvent::LinkValuesChanged(LinkValuesChanged {
            snapshot: n.map(snapshot),
            attribute: "member".into(),
            removed: guids(removed),
            added: guids(added),
        })
    }

    #[test]
    fn an_image_of_another_read_takes_the_place_of_the_last_one() {
        let mut mirror = Mirror::default();
        mirror.apply(&started(1), 0);
        mirror.apply(&observed(1, &[("title", "A"), ("l", "Bern")]), 0);
        mirror.apply(&observed(1, &[("c", "CH")]), 0);
        assert_eq!(mirror.attributes.len(), 3, "parts of one image");
        mirror.apply(&started(2), 0);
        let found = mirror.apply(&observed(2, &[("title", "B"), ("c", "CH")]), 0);
        let names: Vec<_> = found.changes.iter().map(|change| change.attribute.as_str()).collect();
        assert_eq!(names, ["l", "title"]);
        assert_eq!(mirror.apply(&observed(2, &[("title", "B")]), 0), Difference::default(), "read twice");
    }

    #[test]
    fn links_end_with_a_tombstone_and_with_a_read_that_does_not_show_them() {
        let mut mirror = Mirror::default();
        mirror.apply(&started(1), 0);
        mirror.apply(&observed(1, &[]), 0);
        mirror.apply(&linked(Some(1), &[1, 2], &[]), 0);
        mirror.apply(&linked(None, &[3], &[1]), 0);
        mirror.apply(&started(2), 0);
        mirror.apply(&observed(2, &[]), 0);
        mirror.apply(&linked(Some(2), &[2], &[]), 0);
        let found = mirror.conclude(snapshot(2));
        assert_eq!(found.links[0].removed, [ObjectGuid::from_bytes([3; 16]).to_string()]);
        let deleted = ObjectDeleted { dn: "CN=x".parse().unwrap(), set: Attributes::new(), cleared: vec![] };
        assert_eq!(mirror.apply(&ChangeEvent::ObjectDeleted(deleted), 0).links[0].removed.len(), 1);
        assert!(!mirror.is_there());
    }

    #[test]
    fn only_what_a_read_did_not_show_is_absent() {
        let mut mirror = Mirror::default();
        mirror.apply(&started(1), 0);
        mirror.apply(&observed(1, &[("l", "Bern")]), 0);
        mirror.apply(&started(2), 0);
        let changed = ObjectChanged {
            dn: "CN=Ann,DC=x".parse().unwrap(),
            parent: None,
            set: attributes(&[("l", "Basel")]),
            cleared: vec![],
        };
        mirror.apply(&ChangeEvent::ObjectChanged(changed), 0);
        mirror.conclude(snapshot(2));
        assert!(mirror.is_there(), "a change while it was read shows that it is there");
        mirror.apply(&started(3), 0);
        mirror.conclude(snapshot(3));
        assert!(!mirror.is_there());
        mirror.apply(&observed(4, &[]), 0);
        assert!(mirror.is_there());
    }
}
