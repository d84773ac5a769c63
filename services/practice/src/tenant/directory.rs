//! The content of the tenant: objects, links in both directions, and indexes.
//!
//! No look-up scans: ids, unique properties and the usual filter properties are indexed. Every change takes the next
//! number of one sequence, which delta queries read from. Nothing here validates; the operations do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;
use uuid::Uuid;

use super::kinds::FIELDS;
pub(super) use super::kinds::{Field, Kind};

/// The properties of an object that have a value.
pub(super) type Props = Map<String, Value>;

/// One object, live or soft-deleted.
#[derive(Debug)]
pub(super) struct Object {
    pub kind: Kind,
    /// Its place in lists; never changes.
    pub order: u64,
    /// The number of its last change.
    pub change: u64,
    pub changed: Instant,
    /// Created or restored.
    pub born: Instant,
    pub props: Props,
    /// What its properties were before they changed last, and when that was. A reference that changes since does not bring
    /// them back.
    pub previous: Option<(Instant, Box<Props>)>,
    pub manager: Option<Uuid>,
    /// Members with the change that added each.
    pub members: BTreeMap<Uuid, u64>,
    /// Members that left, with the change that removed each.
    pub removed: BTreeMap<Uuid, u64>,
    pub owners: BTreeMap<Uuid, u64>,
    /// Soft-deleted since.
    pub deleted: Option<Instant>,
    pub privileged: bool,
}

impl Object {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.props.get(name).and_then(Value::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.props.get(name) == Some(&Value::Bool(true))
    }

    /// What counters and logs call the object: its anchor, else its id.
    pub(super) fn key(&self, id: Uuid) -> String {
        let anchor = self.text("onPremisesImmutableId").or_else(|| self.text("uniqueName"));
        anchor.map_or_else(|| id.to_string(), str::to_owned)
    }

    /// The properties a reader with this lag sees, if it sees the object at all.
    pub(super) fn seen(&self, lag: Duration, now: Instant) -> Option<&Props> {
        if lag.is_zero() {
            return Some(&self.props);
        }
        if now < self.born + lag {
            return None;
        }
        match &self.previous {
            Some((changed, previous)) if now < *changed + lag => Some(previous),
            _ => Some(&self.props),
        }
    }
}

/// The whole content.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub objects: HashMap<Uuid, Object>,
    live: [BTreeMap<u64, Uuid>; 4],
    bin: [BTreeMap<u64, Uuid>; 4],
    pub changes: [BTreeMap<u64, Uuid>; 4],
    /// Objects gone for good, with the change that ended them.
    pub purged: HashMap<Uuid, (Kind, u64)>,
    index: BTreeSet<(bool, Kind, Field, String, Uuid)>,
    member_of: HashMap<Uuid, BTreeSet<Uuid>>,
    owner_of: HashMap<Uuid, BTreeSet<Uuid>>,
    reports: HashMap<Uuid, BTreeSet<Uuid>>,
    pub sequence: u64,
    /// Distinguishes this content from another one's delta tokens.
    pub generation: String,
    pub extensions: BTreeMap<String, Vec<Props>>,
    /// What changed since the state file was written last; kept only when there is one.
    pub dirty: HashSet<Uuid>,
    pub keep_dirty: bool,
    pub extensions_dirty: bool,
}

impl Directory {
    pub(super) fn new() -> Self {
        Self { generation: Uuid::new_v4().simple().to_string(), ..Self::default() }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&Object> {
        self.objects.get(&id)
    }

    pub(super) fn live(&self, id: Uuid) -> Option<&Object> {
        self.get(id).filter(|o| o.deleted.is_none())
    }

    /// Live or deleted objects of a kind, in list order.
    pub(super) fn listing(&self, kind: Kind, deleted: bool) -> &BTreeMap<u64, Uuid> {
        if deleted { &self.bin[kind.slot()] } else { &self.live[kind.slot()] }
    }

    /// The objects whose indexed property equals the value.
    pub(super) fn find(&self, deleted: bool, kind: Kind, field: Field, value: &str) -> Vec<Uuid> {
        let value = field.fold(value);
        let from = (deleted, kind, field, value.clone(), Uuid::nil());
        let to = (deleted, kind, field, value, Uuid::max());
        self.index.range(from..=to).map(|e| e.4).collect()
    }

    pub(super) fn find_one(&self, deleted: bool, kind: Kind, field: Field, value: &str) -> Option<Uuid> {
        self.find(deleted, kind, field, value).into_iter().next()
    }

    /// The objects whose indexed property starts with the value.
    pub(super) fn find_prefix(&self, deleted: bool, kind: Kind, field: Field, value: &str) -> Vec<Uuid> {
        let value = field.fold(value);
        let from = (deleted, kind, field, value.clone(), Uuid::nil());
        self.index
            .range(from..)
            .take_while(|e| e.0 == deleted && e.1 == kind && e.2 == field && e.3.starts_with(&value))
            .map(|e| e.4)
            .collect()
    }

    /// The live object that holds a proxy address, whatever its kind.
    pub(super) fn proxy_holder(&self, address: &str) -> Option<Uuid> {
        [Kind::User, Kind::Group].into_iter().find_map(|kind| self.find_one(false, kind, Field::Proxy, address))
    }

    fn entries(id: Uuid, object: &Object) -> Vec<(bool, Kind, Field, String, Uuid)> {
        let deleted = object.deleted.is_some();
        let mut entries = Vec::new();
        for (field, name) in FIELDS {
            match object.props.get(*name) {
                Some(Value::String(s)) => entries.push((deleted, object.kind, *field, field.fold(s), id)),
                Some(Value::Array(all)) => {
                    let texts = all.iter().filter_map(Value::as_str);
                    entries.extend(texts.map(|s| (deleted, object.kind, *field, field.fold(s), id)));
                }
                _ => {}
            }
        }
        entries
    }

    fn unindex(&mut self, id: Uuid) {
        let Some(object) = self.objects.get(&id) else { return };
        for entry in Self::entries(id, object) {
            self.index.remove(&entry);
        }
        let place = if object.deleted.is_some() { &mut self.bin } else { &mut self.live };
        place[object.kind.slot()].remove(&object.order);
    }

    fn reindex(&mut self, id: Uuid) {
        let Some(object) = self.objects.get(&id) else { return };
        self.index.extend(Self::entries(id, object));
        let place = if object.deleted.is_some() { &mut self.bin } else { &mut self.live };
        place[object.kind.slot()].insert(object.order, id);
    }

    fn mark(&mut self, id: Uuid) {
        if self.keep_dirty {
            self.dirty.insert(id);
        }
    }

    /// Gives the object the next change number.
    fn touch(&mut self, id: Uuid, now: Instant) -> u64 {
        let number = self.next();
        if let Some(object) = self.objects.get_mut(&id) {
            let changes = &mut self.changes[object.kind.slot()];
            changes.remove(&object.change);
            changes.insert(number, id);
            object.change = number;
            object.changed = now;
        }
        self.mark(id);
        number
    }

    pub(super) fn insert(&mut self, id: Uuid, kind: Kind, props: Props, now: Instant) {
        let order = self.next();
        let object = Object {
            kind,
            order,
            change: 0,
            changed: now,
            born: now,
            props,
            previous: None,
            manager: None,
            members: BTreeMap::new(),
            removed: BTreeMap::new(),
            owners: BTreeMap::new(),
            deleted: None,
            privileged: false,
        };
        self.objects.insert(id, object);
        self.reindex(id);
        self.touch(id, now);
    }

    /// Puts back an object read from the state file.
    pub(super) fn reload(&mut self, id: Uuid, object: Object) {
        self.sequence = self.sequence.max(object.order).max(object.change);
        for member in object.members.keys() {
            self.member_of.entry(*member).or_default().insert(id);
        }
        for owner in object.owners.keys() {
            self.owner_of.entry(*owner).or_default().insert(id);
        }
        if let Some(manager) = object.manager {
            self.reports.entry(manager).or_default().insert(id);
        }
        self.changes[object.kind.slot()].insert(object.change, id);
        self.objects.insert(id, object);
        self.reindex(id);
    }

    /// Replaces the properties; `lagging` keeps the old ones for readers that see late.
    pub(super) fn set(&mut self, id: Uuid, props: Props, now: Instant, lagging: bool) {
        self.unindex(id);
        if let Some(object) = self.objects.get_mut(&id) {
            let old = std::mem::replace(&mut object.props, props);
            object.previous = lagging.then(|| (now, Box::new(old)));
        }
        self.reindex(id);
        self.touch(id, now);
    }

    /// Moves the object to deleted items, or back, with its new properties.
    pub(super) fn set_deleted(&mut self, id: Uuid, deleted: bool, props: Props, now: Instant) {
        self.unindex(id);
        if let Some(object) = self.objects.get_mut(&id) {
            object.props = props;
            object.previous = None;
            object.deleted = deleted.then_some(now);
            if !deleted {
                object.born = now;
            }
        }
        self.reindex(id);
        self.touch(id, now);
    }

    /// Ends the object and every link to and from it.
    pub(super) fn purge(&mut self, id: Uuid, now: Instant) {
        if !self.objects.contains_key(&id) {
            return;
        }
        self.unindex(id);
        let number = self.touch(id, now);
        let Some(object) = self.objects.remove(&id) else { return };
        for member in object.members.keys() {
            forget(&mut self.member_of, *member, id);
        }
        for owner in object.owners.keys() {
            forget(&mut self.owner_of, *owner, id);
        }
        if let Some(manager) = object.manager {
            forget(&mut self.reports, manager, id);
        }
        for group in self.member_of.remove(&id).unwrap_or_default() {
            self.unlink_member(group, id, now);
        }
        for group in self.owner_of.remove(&id).unwrap_or_default() {
            self.unlink_owner(group, id, now);
        }
        for report in self.reports.remove(&id).unwrap_or_default() {
            if let Some(object) = self.objects.get_mut(&report) {
                object.manager = None;
            }
            self.touch(report, now);
        }
        self.purged.insert(id, (object.kind, number));
    }

    pub(super) fn link_member(&mut self, group: Uuid, member: Uuid, now: Instant) {
        let number = self.touch(group, now);
        if let Some(object) = self.objects.get_mut(&group) {
            object.members.insert(member, number);
            object.removed.remove(&member);
        }
        self.member_of.entry(member).or_default().insert(group);
    }

    pub(super) fn unlink_member(&mut self, group: Uuid, member: Uuid, now: Instant) {
        let number = self.touch(group, now);
        if let Some(object) = self.objects.get_mut(&group) {
            object.members.remove(&member);
            object.removed.insert(member, number);
        }
        forget(&mut self.member_of, member, group);
    }

    pub(super) fn link_owner(&mut self, group: Uuid, owner: Uuid, now: Instant) {
        let number = self.touch(group, now);
        if let Some(object) = self.objects.get_mut(&group) {
            object.owners.insert(owner, number);
        }
        self.owner_of.entry(owner).or_default().insert(group);
    }

    pub(super) fn unlink_owner(&mut self, group: Uuid, owner: Uuid, now: Instant) {
        self.touch(group, now);
        if let Some(object) = self.objects.get_mut(&group) {
            object.owners.remove(&owner);
        }
        forget(&mut self.owner_of, owner, group);
    }

    pub(super) fn set_manager(&mut self, user: Uuid, manager: Option<Uuid>, now: Instant) {
        let old = self.objects.get_mut(&user).and_then(|o| std::mem::replace(&mut o.manager, manager));
        if let Some(old) = old {
            forget(&mut self.reports, old, user);
        }
        if let Some(manager) = manager {
            self.reports.entry(manager).or_default().insert(user);
        }
        self.touch(user, now);
    }

    pub(super) fn groups_of(&self, member: Uuid) -> Vec<Uuid> {
        self.member_of.get(&member).map(|s| s.iter().copied().collect()).unwrap_or_default()
    }

    pub(super) fn reports_of(&self, manager: Uuid) -> Vec<Uuid> {
        self.reports.get(&manager).map(|s| s.iter().copied().collect()).unwrap_or_default()
    }

    /// Marks or unmarks an administrator.
    pub(super) fn set_privileged(&mut self, id: Uuid, privileged: bool) {
        if let Some(object) = self.objects.get_mut(&id) {
            object.privileged = privileged;
        }
        self.mark(id);
    }
}

fn forget(links: &mut HashMap<Uuid, BTreeSet<Uuid>>, from: Uuid, to: Uuid) {
    if let Some(set) = links.get_mut(&from) {
        set.remove(&to);
        if set.is_empty() {
            links.remove(&from);
        }
    }
}
