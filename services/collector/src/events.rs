//! From what a controller said to the events of the stream.

use forestsync_domain::{Dn, ObjectGuid};
use forestsync_log::{NewRecord, StreamName};
use forestsync_runtime::clock;
use forestsync_schemas::changes::{
    ChangeContext, Controller, LinkValuesChanged, ObjectChanged, ObjectDeleted, ObjectObserved, ObjectRestored,
    SnapshotId,
};
use forestsync_schemas::{ChangeEvent, ChangeRecord, EventBody as _, EventId};
use uuid::Uuid;

use crate::entry::{Changes, Life, Links};
use crate::error::Trouble;

/// The most link values of one event.
const LINK_VALUES: usize = 1_000;

/// What a read is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A delta.
    Delta,
    /// A page of a full read. The first page shows objects as they are; a later one may also show what happened to objects
    /// of earlier pages meanwhile.
    Snapshot {
        /// The full read.
        id: SnapshotId,
        /// Whether it is the first page.
        first_page: bool,
    },
}

/// Puts what was said about one object into events, in the order in which they must be applied.
pub(crate) fn translate(changes: Changes, mode: Mode) -> Vec<ChangeEvent> {
    let mut events = Vec::new();
    match mode {
        Mode::Delta => delta(changes, None, &mut events),
        Mode::Snapshot { id, first_page: true } => {
            if changes.life != Life::Deleted {
                let links = observe(id, changes, &mut events);
                link_events(Some(id), links, false, &mut events);
            }
        }
        Mode::Snapshot { id, first_page: false } => match changes.life {
            Life::Deleted | Life::Restored => delta(changes, Some(id), &mut events),
            Life::Unstated => {
                let cleared = changes.cleared.clone();
                let dn = changes.dn.clone();
                let links = if changes.states_attributes() { observe(id, changes, &mut events) } else { changes.links };
                if !cleared.is_empty() {
                    let (parent, set) = (None, forestsync_domain::Attributes::new());
                    events.push(ChangeEvent::ObjectChanged(ObjectChanged { dn, parent, set, cleared }));
                }
                link_events(Some(id), links, true, &mut events);
            }
        },
    }
    events
}

fn observe(snapshot: SnapshotId, changes: Changes, events: &mut Vec<ChangeEvent>) -> Vec<Links> {
    let Changes { dn, parent, set, links, .. } = changes;
    events.push(ChangeEvent::ObjectObserved(ObjectObserved { snapshot, dn, parent, attributes: set }));
    links
}

fn delta(changes: Changes, snapshot: Option<SnapshotId>, events: &mut Vec<ChangeEvent>) {
    let stated = changes.states_attributes();
    let Changes { dn, parent, life, set, cleared, links, .. } = changes;
    match life {
        // the links of a tombstone end with it, in both directions
        Life::Deleted => return events.push(ChangeEvent::ObjectDeleted(ObjectDeleted { dn, set, cleared })),
        Life::Restored => {
            events.push(ChangeEvent::ObjectRestored(ObjectRestored {
                dn: dn.clone(),
                parent,
                set: set.clone(),
                cleared,
            }));
            if let Some(snapshot) = snapshot {
                // it is there: a full read must count it
                let observed = ObjectObserved { snapshot, dn, parent, attributes: set };
                events.push(ChangeEvent::ObjectObserved(observed));
            }
        }
        Life::Unstated if stated => {
            events.push(ChangeEvent::ObjectChanged(ObjectChanged { dn, parent, set, cleared }));
        }
        Life::Unstated => {}
    }
    link_events(snapshot, links, true, events);
}

fn link_events(snapshot: Option<SnapshotId>, links: Vec<Links>, removals: bool, events: &mut Vec<ChangeEvent>) {
    for Links { attribute, removed, added, .. } in links {
        let removed = if removals { removed } else { Vec::new() };
        let event = |removed: Vec<ObjectGuid>, added: Vec<ObjectGuid>| {
            let attribute = attribute.clone();
            ChangeEvent::LinkValuesChanged(LinkValuesChanged { snapshot, attribute, removed, added })
        };
        if removed.is_empty() && added.is_empty() {
            continue;
        }
        if removed.len() + added.len() <= LINK_VALUES {
            events.push(event(removed, added));
            continue;
        }
        events.extend(removed.chunks(LINK_VALUES).map(|chunk| event(chunk.to_vec(), Vec::new())));
        events.extend(added.chunks(LINK_VALUES).map(|chunk| event(Vec::new(), chunk.to_vec())));
    }
}

/// Puts events into records: context, identity, key, headers.
#[derive(Debug, Clone)]
pub(crate) struct Scribe {
    pub(crate) forest: String,
    pub(crate) naming_context: Dn,
    pub(crate) stream: StreamName,
    pub(crate) controller: Option<Controller>,
    /// W3C traceparent of the pass.
    pub(crate) trace: String,
}

/// A new W3C traceparent (version 00, sampled).
pub(crate) fn new_trace() -> String {
    let (trace, span) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
    format!("00-{trace}-{}-01", span.get(..16).unwrap_or("0000000000000001"))
}

impl Scribe {
    /// The record of an event. `anchor` is the place in the history it was read at: the same event read again from the same
    /// place has the same id.
    pub(crate) fn record(
        &self,
        anchor: &[u8],
        object: Option<ObjectGuid>,
        event: ChangeEvent,
    ) -> Result<NewRecord, Trouble> {
        let data = serde_json::to_vec(&event).map_err(Trouble::Json)?;
        let kind = event.type_name();
        let guid = object.map(|guid| *guid.as_bytes()).unwrap_or_default();
        let id = EventId::of([self.stream.as_str().as_bytes(), anchor, guid.as_slice(), kind.as_bytes(), &data]);
        let key = match (&object, &event) {
            (Some(guid), _) => guid.to_string(),
            (None, ChangeEvent::CursorAdvanced(_)) => "cursor".to_owned(),
            (None, ChangeEvent::SnapshotStarted(_) | ChangeEvent::SnapshotCompleted(_)) => "snapshot".to_owned(),
            (None, _) => "reading".to_owned(),
        };
        let context = ChangeContext {
            forest: self.forest.clone(),
            naming_context: self.naming_context.clone(),
            object,
            controller: self.controller.clone(),
            usn_changed: None,
            when_changed: None,
            trace: Some(self.trace.clone()),
        };
        let record = ChangeRecord { id, time: clock::now(), context, event };
        let mut record = NewRecord::new(Some(key), record.encode().map_err(Trouble::Json)?);
        record.headers = vec![
            ("type".to_owned(), kind.as_bytes().into()),
            ("traceparent".to_owned(), self.trace.clone().into_bytes().into()),
        ];
        Ok(record)
    }

    /// The record of something that happened to the reading itself, now.
    pub(crate) fn occurrence(&self, event: ChangeEvent) -> Result<NewRecord, Trouble> {
        self.record(clock::now().to_string().as_bytes(), None, event)
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
