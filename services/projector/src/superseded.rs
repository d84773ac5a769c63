//! Which records of a `changes` stream no state depends on any more, so that they may go when somebody asks for it.
//!
//! What stays, at its offset and as it was written, is whatever still says something: of an object the last event, the
//! first one since the last full read, every deletion and restoration, and for its parent and each attribute the last
//! event that names it; of a link the last event that names it; the last cursors; everything that belongs to a full read
//! or says whether reading goes on. So a mirror made from what stays is the mirror made from all, and a row that says in
//! which record a value stands is right as before.
//!
//! Only what comes after the last full read is looked at: what one concludes depends on all that was there before it. For the
//! same reason everything stays that stands before a place where a full read was approved, and the record at that place.

use std::collections::{BTreeSet, HashMap};

use forestsync_domain::ObjectGuid;
use forestsync_schemas::ChangeRecord;
use forestsync_schemas::changes::{ChangeEvent, LinkValuesChanged, ObjectChanged};

/// Why a record says something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Reason {
    First(ObjectGuid),
    Last(ObjectGuid),
    Parent(ObjectGuid),
    Attribute(ObjectGuid, String),
    Link(ObjectGuid, String, ObjectGuid),
    Cursor,
    CompleteCursor,
}

/// See the [module](self). Takes the records of one stream in their order, from the first one on.
#[derive(Debug, Default)]
pub struct Superseded {
    /// The record that a reason is met by now.
    holders: HashMap<Reason, u64>,
    /// How many reasons each record that may go has to stay.
    reasons: HashMap<u64, usize>,
    gone: BTreeSet<u64>,
    last: Option<u64>,
    is_open: bool,
    /// The places of approvals that were not come to yet.
    places: BTreeSet<u64>,
}

impl Superseded {
    /// Begins a stream. `places` are the offsets in it that approvals of full reads name
    /// ([`FullReadApproved`](forestsync_schemas::decisions::FullReadApproved)), in whatever configuration.
    pub fn new(places: BTreeSet<u64>) -> Self {
        Self { places, ..Self::default() }
    }

    /// Takes the next record.
    pub fn take(&mut self, offset: u64, record: &ChangeRecord) {
        self.last = Some(offset);
        let later = self.places.split_off(&(offset + 1));
        if !std::mem::replace(&mut self.places, later).is_empty() {
            self.full_read(self.is_open);
            self.reasons.insert(offset, 1);
        }
        let reasons = match &record.event {
            ChangeEvent::SnapshotStarted(_) => return self.full_read(true),
            ChangeEvent::SnapshotCompleted(_) => return self.full_read(false),
            ChangeEvent::ObjectObserved(_) => return self.full_read(self.is_open),
            ChangeEvent::LinkValuesChanged(event) if event.snapshot.is_some() => return self.full_read(self.is_open),
            // about no object: not ours to judge
            _ if record.context.object.is_none() && !matches!(record.event, ChangeEvent::CursorAdvanced(_)) => return,
            ChangeEvent::ReadingStopped(_) | ChangeEvent::ReadingResumed(_) => return,
            ChangeEvent::CursorAdvanced(event) => {
                let complete = event.to.complete.then_some(Reason::CompleteCursor);
                [Reason::Cursor].into_iter().chain(complete).collect()
            }
            ChangeEvent::ObjectChanged(event) => changed(record.context.object, event),
            ChangeEvent::LinkValuesChanged(event) => linked(record.context.object, event),
            ChangeEvent::ObjectDeleted(event) => {
                let names = event.set.keys().chain(&event.cleared);
                return self.stays(offset, of_object(record.context.object, names, false));
            }
            ChangeEvent::ObjectRestored(event) => {
                let names = event.set.keys().chain(&event.cleared);
                return self.stays(offset, of_object(record.context.object, names, event.parent.is_some()));
            }
        };
        self.reasons.entry(offset).or_default();
        self.hold(offset, reasons);
    }

    /// The offsets of the records that may go. The last record taken is none of them.
    pub fn finish(mut self) -> BTreeSet<u64> {
        if self.is_open {
            return BTreeSet::new();
        }
        self.gone.extend(self.reasons.iter().filter(|(_, reasons)| **reasons == 0).map(|(offset, _)| *offset));
        if let Some(last) = self.last {
            self.gone.remove(&last);
        }
        self.gone
    }

    /// Everything up to here stays.
    fn full_read(&mut self, is_open: bool) {
        let places = std::mem::take(&mut self.places);
        *self = Self { last: self.last, is_open, places, ..Self::default() };
    }

    /// A record that stays whatever comes, and takes the place of others.
    fn stays(&mut self, offset: u64, reasons: Vec<Reason>) {
        *self.reasons.entry(offset).or_default() += 1;
        self.hold(offset, reasons);
    }

    fn hold(&mut self, offset: u64, reasons: Vec<Reason>) {
        for reason in reasons {
            if matches!(reason, Reason::First(_)) && self.holders.contains_key(&reason) {
                continue;
            }
            *self.reasons.entry(offset).or_default() += 1;
            let Some(before) = self.holders.insert(reason, offset) else { continue };
            let Some(left) = self.reasons.get_mut(&before) else { continue };
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.reasons.remove(&before);
                self.gone.insert(before);
            }
        }
    }
}

fn of_object<'a>(object: Option<ObjectGuid>, names: impl Iterator<Item = &'a String>, has_parent: bool) -> Vec<Reason> {
    let Some(object) = object else { return Vec::new() };
    let mut reasons = vec![Reason::First(object), Reason::Last(object)];
    reasons.extend(has_parent.then_some(Reason::Parent(object)));
    reasons.extend(names.map(|name| Reason::Attribute(object, name.clone())));
    reasons
}

fn changed(object: Option<ObjectGuid>, event: &ObjectChanged) -> Vec<Reason> {
    of_object(object, event.set.keys().chain(&event.cleared), event.parent.is_some())
}

fn linked(object: Option<ObjectGuid>, event: &LinkValuesChanged) -> Vec<Reason> {
    let Some(object) = object else { return Vec::new() };
    let link = |to: &ObjectGuid| Reason::Link(object, event.attribute.clone(), *to);
    event.removed.iter().chain(&event.added).map(link).collect()
}
