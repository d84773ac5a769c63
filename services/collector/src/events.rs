//! From what a controller said to the events of the stream.

use bytes::Bytes;
use forestsync_domain::{Dn, ObjectGuid, Usn};
use forestsync_log::{NewRecord, StreamName};
use forestsync_runtime::clock;
use forestsync_schemas::changes::{
    ChangeContext, Controller, LinkValuesChanged, ObjectChanged, ObjectDeleted, ObjectObserved, ObjectRestored,
    SnapshotId,
};
use forestsync_schemas::trace;
use forestsync_schemas::{ChangeEvent, EventBody as _, EventId, VERSION};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::entry::{Changes, Life, Links};
use crate::error::Trouble;

/// The most link values of one event.
const LINK_VALUES: usize = 1_000;

/// About how long an envelope is without its data.
const ENVELOPE_BYTES: usize = 512;

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
    stream: StreamName,
    /// As every record has it, but for the object.
    context: ChangeContext,
    /// W3C traceparent of the pass.
    trace: Bytes,
}

/// An envelope whose data are JSON already, because the identity is made of them. The same form as
/// [`forestsync_schemas::Envelope::encode`] writes; a test compares them for every event there is.
#[derive(Serialize)]
struct Wire<'a> {
    r#type: &'static str,
    version: u32,
    id: EventId,
    time: Timestamp,
    context: &'a ChangeContext,
    data: &'a RawValue,
}

/// A new W3C traceparent (version 00, sampled).
pub(crate) fn new_trace() -> String {
    trace::begin(clock::now(), *Uuid::new_v4().as_bytes())
}

impl Scribe {
    /// A scribe for one pass, with a trace of its own.
    pub(crate) fn new(forest: &str, naming_context: &Dn, stream: &StreamName, controller: Option<Controller>) -> Self {
        let trace = new_trace();
        let context = ChangeContext {
            forest: forest.to_owned(),
            naming_context: naming_context.clone(),
            object: None,
            controller,
            usn_changed: None,
            when_changed: None,
            trace: Some(trace.clone()),
        };
        Self { stream: stream.clone(), context, trace: trace.into() }
    }

    /// The trace of the pass.
    pub(crate) fn trace(&self) -> Option<String> {
        self.context.trace.clone()
    }

    /// Which state of its object the next events are about, where that is known.
    pub(crate) fn stamp(&mut self, usn: Option<Usn>, when: Option<Timestamp>) {
        self.context.usn_changed = usn;
        self.context.when_changed = when;
    }

    /// The record of an event. `anchor` is the place in the history it was read at: the same event read again from the same
    /// place has the same id.
    pub(crate) fn record(
        &mut self,
        anchor: &[u8],
        object: Option<ObjectGuid>,
        event: &ChangeEvent,
    ) -> Result<NewRecord, Trouble> {
        let data = serde_json::value::to_raw_value(event).map_err(Trouble::Json)?;
        let kind = event.type_name();
        let guid = object.map(|guid| *guid.as_bytes()).unwrap_or_default();
        let parts = [self.stream.as_str().as_bytes(), anchor, guid.as_slice(), kind.as_bytes(), data.get().as_bytes()];
        let key = match (&object, event) {
            (Some(guid), _) => Bytes::from(guid.to_string()),
            (None, ChangeEvent::CursorAdvanced(_)) => Bytes::from_static(b"cursor"),
            (None, ChangeEvent::SnapshotStarted(_) | ChangeEvent::SnapshotCompleted(_)) => {
                Bytes::from_static(b"snapshot")
            }
            (None, _) => Bytes::from_static(b"reading"),
        };
        self.context.object = object;
        let wire = Wire {
            r#type: kind,
            version: VERSION,
            id: EventId::of(parts),
            time: clock::now(),
            context: &self.context,
            data: &data,
        };
        let mut value = Vec::with_capacity(data.get().len() + ENVELOPE_BYTES);
        serde_json::to_writer(&mut value, &wire).map_err(Trouble::Json)?;
        let mut record = NewRecord::new(Some(key), value);
        record.headers = vec![
            ("type".to_owned(), Bytes::from_static(kind.as_bytes())),
            (trace::HEADER.to_owned(), self.trace.clone()),
        ];
        Ok(record)
    }

    /// The record of something that happened to the reading itself, now.
    pub(crate) fn occurrence(&mut self, event: &ChangeEvent) -> Result<NewRecord, Trouble> {
        self.record(clock::now().to_string().as_bytes(), None, event)
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
