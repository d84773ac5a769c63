use std::collections::BTreeMap;

use forestsync_domain::Dn;
use forestsync_schemas::changes::{SnapshotId, SnapshotReason, SnapshotStarted};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::events::{Mode, translate};

/// Of these the account cannot read the last one.
const NAMES: [&str; 4] = ["displayName", "mail", "proxyAddresses", "title"];

fn guid(n: u8) -> ObjectGuid {
    ObjectGuid::from_bytes([n; 16])
}

fn wanted() -> Wanted {
    let names = NAMES.into_iter().chain(["member", "manager"]).map(str::to_owned);
    let mut wanted = Wanted::new(&names.collect::<Vec<_>>());
    wanted.set_unreadable(["title".to_owned()]);
    wanted
}

/// An object, in the directory and as a reader of the stream has it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Thing {
    parent: Option<ObjectGuid>,
    attributes: BTreeMap<String, BTreeSet<String>>,
    links: BTreeSet<(String, ObjectGuid)>,
}

impl Thing {
    /// As a search shows it.
    fn seen(&self, object: ObjectGuid, life: Life) -> Changes {
        let values =
            |values: &BTreeSet<String>| values.iter().rev().map(|v| AttributeValue::from(v.as_str())).collect();
        let mut links: BTreeMap<&str, Vec<ObjectGuid>> = BTreeMap::new();
        for (name, target) in &self.links {
            links.entry(name).or_default().push(*target);
        }
        let whole = |(name, added): (&str, Vec<ObjectGuid>)| Links {
            attribute: name.to_owned(),
            added,
            whole: true,
            ..Links::default()
        };
        Changes {
            object,
            dn: Dn::default(),
            parent: self.parent,
            nc_head: false,
            life,
            set: self.attributes.iter().map(|(name, held)| (name.clone(), values(held))).collect(),
            cleared: Vec::new(),
            links: links.into_iter().map(whole).collect(),
            withheld: Vec::new(),
            cut: Vec::new(),
        }
    }

    fn patch(&mut self, parent: Option<ObjectGuid>, set: &Attributes, cleared: &[String]) {
        self.parent = parent.or(self.parent);
        self.attributes.retain(|name, _| !cleared.contains(name));
        for (name, values) in set {
            let values = values.iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect();
            self.attributes.insert(name.clone(), values);
        }
    }
}

/// What a reader of the stream knows, by the contract of the events.
#[derive(Debug, Default)]
struct Mirror {
    living: BTreeMap<ObjectGuid, Thing>,
    tombstones: BTreeMap<ObjectGuid, Thing>,
}

impl Mirror {
    fn revive(&mut self, object: ObjectGuid) -> &mut Thing {
        let tombstone = self.tombstones.remove(&object);
        self.living.entry(object).or_insert_with(|| tombstone.unwrap_or_default())
    }

    fn apply(&mut self, object: ObjectGuid, event: &ChangeEvent) {
        match event {
            ChangeEvent::ObjectChanged(e) => self.revive(object).patch(e.parent, &e.set, &e.cleared),
            ChangeEvent::ObjectRestored(e) => self.revive(object).patch(e.parent, &e.set, &e.cleared),
            ChangeEvent::LinkValuesChanged(e) => {
                let thing = self.revive(object);
                thing.links.retain(|(name, target)| *name != e.attribute || !e.removed.contains(target));
                thing.links.extend(e.added.iter().map(|target| (e.attribute.clone(), *target)));
            }
            ChangeEvent::ObjectDeleted(e) => {
                let mut thing = self.living.remove(&object).unwrap_or_default();
                thing.patch(None, &e.set, &e.cleared);
                thing.links.clear();
                self.tombstones.insert(object, thing);
                self.living.values_mut().for_each(|thing| thing.links.retain(|(_, target)| *target != object));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Set(u8, u8, Vec<u8>),
    Link(u8, bool, u8, bool),
    Move(u8, u8),
    Delete(u8),
    /// Reads what changed in this order, forwards or backwards; what was read may come again.
    Poll(bool, bool),
    /// A new process.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..4u8, 0..4u8, prop::collection::vec(0..4u8, 0..3)).prop_map(|(o, a, v)| Step::Set(o, a, v)),
        6 => (1..4u8, any::<bool>(), 1..4u8, any::<bool>()).prop_map(|(o, m, t, on)| Step::Link(o, m, t, on)),
        1 => (1..4u8, 10..13u8).prop_map(|(o, p)| Step::Move(o, p)),
        2 => (1..4u8).prop_map(Step::Delete),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(back, twice)| Step::Poll(back, twice)),
        1 => Just(Step::Restart),
    ]
}

/// A directory that is read.
#[derive(Debug, Default)]
struct World {
    living: BTreeMap<ObjectGuid, Thing>,
    changed: BTreeSet<ObjectGuid>,
    buried: BTreeSet<ObjectGuid>,
    images: Images,
    mirror: Mirror,
    history: Vec<(ObjectGuid, ChangeEvent)>,
}

impl World {
    fn thing(&mut self, n: u8) -> Option<&mut Thing> {
        let object = guid(n);
        // an object that comes back before its end was read is another story
        if self.buried.contains(&object) && self.changed.contains(&object) {
            return None;
        }
        self.buried.remove(&object);
        self.changed.insert(object);
        let thing = self.living.entry(object).or_default();
        thing.parent.get_or_insert(guid(10));
        thing.attributes.insert("objectClass".to_owned(), ["user".to_owned()].into());
        Some(thing)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Set(object, name, values) => {
                let Some(thing) = self.thing(object) else { return };
                let values: BTreeSet<String> = values.iter().map(ToString::to_string).collect();
                thing.attributes.insert(NAMES[name as usize].to_owned(), values);
                thing.attributes.retain(|_, values| !values.is_empty());
            }
            Step::Link(object, member, target, on) => {
                let link = (if member { "member" } else { "manager" }.to_owned(), guid(target));
                if !self.living.contains_key(&guid(target)) {
                    return;
                }
                let Some(thing) = self.thing(object) else { return };
                if on {
                    thing.links.insert(link)
                } else {
                    thing.links.remove(&link)
                };
            }
            Step::Move(object, parent) => {
                if let Some(thing) = self.thing(object) {
                    thing.parent = Some(guid(parent));
                }
            }
            Step::Delete(object) => {
                let object = guid(object);
                if self.living.remove(&object).is_some() {
                    // nothing is said of those that pointed to it
                    self.living.values_mut().for_each(|thing| thing.links.retain(|(_, target)| *target != object));
                    self.buried.insert(object);
                    self.changed.insert(object);
                }
            }
            Step::Poll(back, twice) => self.poll(back, twice),
            Step::Restart => {
                self.images = Images::default();
                self.history.iter().for_each(|(object, event)| self.images.apply(Some(*object), event));
            }
        }
    }

    fn poll(&mut self, back: bool, twice: bool) {
        let mut order: Vec<ObjectGuid> = std::mem::take(&mut self.changed).into_iter().collect();
        if back {
            order.reverse();
        }
        if twice {
            order.extend(order.clone());
        }
        let mut told = BTreeSet::new();
        for object in order {
            let seen = match self.living.get(&object) {
                Some(thing) => thing.seen(object, Life::Unstated),
                None => Thing::default().seen(object, Life::Deleted),
            };
            let Some(changes) = self.images.compare(seen, &wanted()) else { continue };
            let events = translate(changes, Mode::Delta);
            assert!(events.is_empty() || told.insert(object), "read again, told again: {events:?}");
            for event in events {
                if let ChangeEvent::ObjectChanged(changed) = &event {
                    assert!(!changed.cleared.contains(&"title".to_owned()));
                }
                self.images.apply(Some(object), &event);
                self.mirror.apply(object, &event);
                self.history.push((object, event));
            }
        }
    }
}

/// Without what the account cannot read.
fn readable(things: &BTreeMap<ObjectGuid, Thing>) -> BTreeMap<ObjectGuid, Thing> {
    let mut things = things.clone();
    for thing in things.values_mut() {
        thing.attributes.remove("title");
    }
    things
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn whatever_happens_the_stream_says_what_is_there(steps in prop::collection::vec(step(), 1..100)) {
        let mut world = World::default();
        for step in steps {
            world.take(step);
        }
        world.poll(false, false);
        prop_assert_eq!(readable(&world.mirror.living), readable(&world.living));
    }
}

#[test]
fn of_a_link_that_is_not_shown_whole_nothing_goes() {
    let mut images = Images::default();
    let mut group = Thing::default();
    group.links.extend((1..=3).map(|n| ("member".to_owned(), guid(n))));
    let tell = |images: &mut Images, seen: Changes| {
        let events = translate(images.compare(seen, &wanted()).unwrap(), Mode::Delta);
        for event in &events {
            images.apply(Some(guid(9)), event);
        }
        events
    };
    tell(&mut images, group.seen(guid(9), Life::Unstated));
    group.links = [("member".to_owned(), guid(2)), ("member".to_owned(), guid(4))].into();
    let mut part = group.seen(guid(9), Life::Unstated);
    part.links[0].whole = false;
    let events = tell(&mut images, part);
    assert!(matches!(&events[..], [ChangeEvent::LinkValuesChanged(e)] if e.removed.is_empty() && e.added == [guid(4)]));
    let events = tell(&mut images, group.seen(guid(9), Life::Unstated));
    assert!(
        matches!(&events[..], [ChangeEvent::LinkValuesChanged(e)] if e.removed == [guid(1), guid(3)]),
        "{events:?}"
    );
}

#[test]
fn an_attribute_that_is_not_shown_whole_is_not_spoken_of() {
    let mut images = Images::default();
    let mut user = Thing::default();
    user.attributes.insert("mail".to_owned(), ["a".to_owned()].into());
    let changes = images.compare(user.seen(guid(1), Life::Unstated), &wanted()).unwrap();
    for event in translate(changes, Mode::Delta) {
        images.apply(Some(guid(1)), &event);
    }
    let mut seen = Thing::default().seen(guid(1), Life::Unstated);
    seen.withheld.push("mail".to_owned());
    assert!(images.compare(seen, &wanted()).unwrap().cleared.is_empty());
    let seen = Thing::default().seen(guid(1), Life::Unstated);
    assert_eq!(images.compare(seen, &wanted()).unwrap().cleared, ["mail"]);
}

#[test]
fn a_full_read_forgets_what_was_there_but_not_what_was_deleted() {
    let mut images = Images::default();
    let seen = |n: u8, life| Thing { parent: Some(guid(10)), ..Thing::default() }.seen(guid(n), life);
    for (n, life) in [(1, Life::Unstated), (2, Life::Unstated), (2, Life::Deleted)] {
        let changes = images.compare(seen(n, life), &wanted()).unwrap();
        for event in translate(changes, Mode::Delta) {
            images.apply(Some(guid(n)), &event);
        }
    }
    assert_eq!(images.compare(seen(2, Life::Deleted), &wanted()), None, "known to be one");
    let started = SnapshotStarted { snapshot: SnapshotId(Uuid::from_bytes([1; 16])), reason: SnapshotReason::First };
    images.apply(None, &ChangeEvent::SnapshotStarted(started));
    assert_eq!(images.len(), 0);
    let back = images.compare(seen(2, Life::Unstated), &wanted()).unwrap();
    assert_eq!(back.life, Life::Restored);
    assert!(back.cleared.contains(&"displayName".to_owned()) && !back.cleared.contains(&"title".to_owned()));
}

#[test]
fn a_link_ends_with_its_target_and_may_come_again() {
    let mut world = World::default();
    let steps = [
        Step::Set(1, 0, vec![1]),
        Step::Link(2, true, 1, true),
        Step::Poll(false, false),
        Step::Delete(1),
        Step::Poll(false, false),
        // nothing was said of the group; it is known all the same
        Step::Set(1, 0, vec![2]),
        Step::Poll(false, false),
        Step::Link(2, true, 1, true),
        Step::Poll(false, false),
    ];
    for step in steps {
        world.take(step);
    }
    assert_eq!(world.mirror.living[&guid(2)].links.len(), 1);
    assert_eq!(world.mirror.living, world.living);
}
