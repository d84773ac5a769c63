//! Applying events to the mirror. What the mirror holds after an event is a function of the records of its own stream up
//! to there, so neither batches nor the order in which streams are read can change it.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::{Attributes, ObjectGuid};
use forestsync_log::Record;
use forestsync_rules::classify::classify;
use forestsync_schemas::changes::{
    ChangeContext, ChangeEvent, CursorAdvanced, LinkValuesChanged, ObjectChanged, ObjectDeleted, ObjectObserved,
    ObjectRestored, SnapshotId, SnapshotStarted,
};
use forestsync_schemas::{ChangeRecord, DecodeError, EventId, trace};

use crate::config::SourceId;
use crate::error::StreamErrorKind;
use crate::keys::{self, LinkKind, ObjectKey};
use crate::novel::Novel;
use crate::round::Round;
use crate::rows::{Counted, Doubted, EMPTY, ObjectRow, SourceState};
use crate::work::{Work, WorkKind};
use crate::{StoreError, store};

/// Why a record was not applied.
#[derive(Debug)]
pub(crate) enum ApplyError {
    Store(StoreError),
    Record(StreamErrorKind),
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<StreamErrorKind> for ApplyError {
    fn from(kind: StreamErrorKind) -> Self {
        Self::Record(kind)
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It is applied; the round may go on.
    Yes,
    /// It is applied, and the round must be written before the next one.
    YesAndCut,
}

/// A record, read.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) offset: u64,
    /// Records before it were taken out on purpose.
    pub(crate) is_behind_gap: bool,
    pub(crate) event: std::result::Result<ChangeRecord, DecodeError>,
}

impl Incoming {
    /// Reads records; takes time.
    pub(crate) fn read(records: &[Record]) -> Vec<Self> {
        let read = |record: &Record| Self {
            offset: record.offset,
            is_behind_gap: record.link.is_some_and(|link| link.gap),
            event: ChangeRecord::decode(&record.value),
        };
        records.iter().map(read).collect()
    }

    /// Whether the round must be written before this record: it looks at everything.
    pub(crate) fn wants_cut(&self) -> bool {
        self.event.as_ref().is_ok_and(|record| {
            matches!(record.event, ChangeEvent::SnapshotStarted(_) | ChangeEvent::SnapshotCompleted(_))
        })
    }
}

type Result<T> = std::result::Result<T, ApplyError>;

/// Sources whose first full read is helped at the same time; each takes a mebibyte.
const MAX_NOVEL: usize = 8;

impl Round<'_> {
    /// Applies one record of a source.
    pub(crate) fn apply(&mut self, source: SourceId, offset: u64, event: ChangeRecord) -> Result<Applied> {
        self.check_origin(source, &event.context)?;
        if let Some(state) = self.state(source).filter(|state| offset > state.offset) {
            // what was taken out had cursors, so the next one follows one that is not there
            state.cursor = None;
        }
        let until = self.unnoted.get(&source).filter(|_| self.is_postponed && !self.meta.swept);
        self.is_unnoted = until.is_some_and(|until| offset < *until);
        self.apply_event(source, offset, event)?;
        if let Some(state) = self.state(source) {
            state.offset = offset + 1;
        }
        Ok(if self.must_cut() { Applied::YesAndCut } else { Applied::Yes })
    }

    /// Work on the mirror that is left must be done before the next record.
    fn must_cut(&self) -> bool {
        self.is_full() || self.work.keys().any(|(kind, _)| kind.is_base())
    }

    fn check_origin(&self, source: SourceId, context: &ChangeContext) -> Result<()> {
        let Some(state) = self.meta.sources.get(&source) else { return Ok(()) };
        if state.forest == context.forest && state.naming_context == context.naming_context {
            return Ok(());
        }
        let naming_context = context.naming_context.to_string();
        Err(StreamErrorKind::Foreign { forest: context.forest.clone(), naming_context }.into())
    }

    fn apply_event(&mut self, source: SourceId, offset: u64, record: ChangeRecord) -> Result<()> {
        let trace = record.context.trace.as_deref();
        let object = || {
            let guid = record.context.object.ok_or(StreamErrorKind::NoObject(record.id))?;
            Ok::<_, ApplyError>(ObjectKey { source, guid })
        };
        match record.event {
            ChangeEvent::SnapshotStarted(event) => self.snapshot_started(source, &event)?,
            ChangeEvent::SnapshotCompleted(event) => self.snapshot_completed(source, event.snapshot, event.seen)?,
            ChangeEvent::ObjectObserved(event) => self.observed(object()?, event, (record.id, offset), trace)?,
            ChangeEvent::ObjectChanged(event) => self.changed(object()?, offset, event, trace)?,
            ChangeEvent::LinkValuesChanged(event) => self.links_changed(object()?, &event, trace)?,
            ChangeEvent::ObjectDeleted(event) => self.deleted(object()?, offset, event, trace)?,
            ChangeEvent::ObjectRestored(event) => self.restored(object()?, offset, event, trace)?,
            ChangeEvent::CursorAdvanced(event) => return self.cursor_advanced(source, &event, trace),
            ChangeEvent::ReadingStopped(event) => {
                let cause = format!("{:?}", event.cause).to_lowercase();
                self.said(source, Some((cause, event.detail, event.hint)));
                return Ok(());
            }
            ChangeEvent::ReadingResumed(_) => {
                self.said(source, None);
                return Ok(());
            }
        }
        if let Some(state) = self.state(source) {
            state.answer_open = true;
        }
        Ok(())
    }

    fn said(&mut self, source: SourceId, stopped: Option<(String, String, String)>) {
        if let Some(state) = self.state(source) {
            state.reading_stopped = stopped;
        }
    }

    fn snapshot_started(&mut self, source: SourceId, event: &SnapshotStarted) -> Result<()> {
        let id = event.snapshot.0.as_u128();
        self.note_valued(source, id)?;
        let Some(state) = self.state(source) else { return Ok(()) };
        let is_first = state.ordinal == 0;
        if state.open != Some(id) && state.completed != Some(id) {
            state.ordinal += 1;
            state.open = Some(id);
            state.counted = Counted::default();
            state.counted_at_cursor = Counted::default();
        }
        let is_empty = || {
            let object = self.txn.scan(&keys::join(keys::OBJECT, &[&source.0]), None, 1)?;
            let link = self.txn.scan(&keys::join(keys::EDGE, &[&source.0]), None, 1)?;
            Ok::<_, StoreError>(object.is_empty() && link.is_empty())
        };
        if is_first && self.novel.len() < MAX_NOVEL && is_empty()? {
            self.novel.insert(source, Novel::new());
        }
        Ok(())
    }

    /// The number of the full read an event belongs to, and whether it is the open one.
    fn ordinal_of(&self, source: SourceId, snapshot: SnapshotId) -> Result<(u32, bool)> {
        let (state, id) = (self.meta.sources.get(&source), snapshot.0.as_u128());
        match state {
            Some(state) if state.open == Some(id) => Ok((state.ordinal, true)),
            Some(state) if state.completed == Some(id) => Ok((state.completed_ordinal, false)),
            _ => Err(StreamErrorKind::UnknownSnapshot(snapshot).into()),
        }
    }

    fn ordinal(&self, source: SourceId) -> u32 {
        self.meta.sources.get(&source).map_or(0, |state| state.ordinal)
    }

    fn observed(
        &mut self,
        key: ObjectKey,
        event: ObjectObserved,
        (id, offset): (EventId, u64),
        trace: Option<&str>,
    ) -> Result<()> {
        let (ordinal, open) = self.ordinal_of(key.source, event.snapshot)?;
        let id = Some(*id.0.as_bytes());
        if let Some(state) = self.state(key.source).filter(|_| open) {
            state.counted.all += 1;
            state.counted.distinct += u64::from(state.last_observed != id);
            state.last_observed = id;
        }
        let old = self.object_for_event(key)?;
        let (mut attributes, mut parent) = (event.attributes, event.parent);
        let (mut image_offset, mut later) = (offset, BTreeMap::new());
        // a part of an image that this full read began, or a later look at the same object
        if let Some(row) = old.as_ref().filter(|row| row.image == ordinal) {
            (image_offset, later) = (row.image_offset, row.later.clone());
            later.extend(attributes.keys().map(|name| (name.clone(), offset)));
            let mut whole = row.attributes.clone();
            whole.append(&mut attributes);
            attributes = whole;
            parent = parent.or(row.parent);
        }
        let class = classify(&attributes);
        let seen = ordinal.max(old.as_ref().map_or(0, |row| row.seen));
        let row = ObjectRow {
            class,
            dn: event.dn,
            parent,
            deleted: false,
            image: ordinal,
            seen,
            image_offset,
            later,
            attributes,
        };
        Ok(self.write_object(key, old.as_ref(), Some(row), trace)?)
    }

    /// The object with a delta applied to it.
    fn patched(
        &self,
        (source, offset): (SourceId, u64),
        old: Option<&ObjectRow>,
        mut set: Attributes,
        cleared: &[String],
        parent: Option<ObjectGuid>,
    ) -> ObjectRow {
        let mut attributes = old.map(|row| row.attributes.clone()).unwrap_or_default();
        let mut later = old.map(|row| row.later.clone()).unwrap_or_default();
        for name in cleared {
            attributes.remove(name);
        }
        if old.is_some() {
            later.extend(set.keys().chain(cleared).map(|name| (name.clone(), offset)));
        }
        attributes.append(&mut set);
        ObjectRow {
            class: classify(&attributes),
            dn: old.map(|row| row.dn.clone()).unwrap_or_default(),
            parent: parent.or(old.and_then(|row| row.parent)),
            deleted: false,
            image: old.map_or(0, |row| row.image),
            seen: self.ordinal(source),
            image_offset: old.map_or(offset, |row| row.image_offset),
            later,
            attributes,
        }
    }

    fn changed(&mut self, key: ObjectKey, offset: u64, event: ObjectChanged, trace: Option<&str>) -> Result<()> {
        let old = self.object_for_event(key)?;
        let mut row = self.patched((key.source, offset), old.as_ref(), event.set, &event.cleared, event.parent);
        row.dn = event.dn;
        Ok(self.write_object(key, old.as_ref(), Some(row), trace)?)
    }

    fn restored(&mut self, key: ObjectKey, offset: u64, event: ObjectRestored, trace: Option<&str>) -> Result<()> {
        let old = self.object_for_event(key)?;
        let mut row = self.patched((key.source, offset), old.as_ref(), event.set, &event.cleared, event.parent);
        row.dn = event.dn;
        Ok(self.write_object(key, old.as_ref(), Some(row), trace)?)
    }

    fn deleted(&mut self, key: ObjectKey, offset: u64, event: ObjectDeleted, trace: Option<&str>) -> Result<()> {
        let old = self.object_for_event(key)?;
        let mut row = self.patched((key.source, offset), old.as_ref(), event.set, &event.cleared, None);
        row.dn = event.dn;
        row.deleted = true;
        self.write_object(key, old.as_ref(), Some(row), trace)?;
        self.add_work(Work::new(WorkKind::ClearLinks, key));
        // mostly a handful of links; only a giant group's are left for further rounds
        Ok(self.run_base_work()?)
    }

    fn links_changed(&mut self, from: ObjectKey, event: &LinkValuesChanged, trace: Option<&str>) -> Result<()> {
        let kind = LinkKind::from_name(&event.attribute)
            .ok_or_else(|| StreamErrorKind::UnknownLink(event.attribute.chars().take(80).collect()))?;
        let ordinal = match event.snapshot {
            Some(snapshot) => self.ordinal_of(from.source, snapshot)?.0,
            None => self.ordinal(from.source),
        };
        for to in &event.removed {
            self.remove_edge(from, kind, *to, trace)?;
        }
        let stamp = store::encode(&ordinal);
        for to in &event.added {
            let row_key = keys::edge(keys::EDGE, from, kind, *to);
            let old = self.txn.get(&row_key)?;
            if old.as_ref() == Some(&stamp) {
                continue;
            }
            self.txn.put(row_key, stamp.clone());
            if old.is_none() {
                self.txn.put_new(keys::edge_in(*to, kind, from), &EMPTY[..]);
                self.mark_link(from, kind, *to, trace)?;
            }
        }
        Ok(())
    }

    /// Removes both rows of a link, if it is there.
    pub(crate) fn remove_edge(
        &mut self,
        from: ObjectKey,
        kind: LinkKind,
        to: ObjectGuid,
        trace: Option<&str>,
    ) -> std::result::Result<(), StoreError> {
        let row_key = keys::edge(keys::EDGE, from, kind, to);
        if self.txn.has(&row_key)? {
            self.txn.delete(row_key);
            self.txn.delete(keys::edge_in(to, kind, from));
            if kind == LinkKind::Member {
                self.touch_written(from, to)?;
            } else {
                self.set_waiting(from, kind, to, false)?;
            }
            self.mark_link(from, kind, to, trace)?;
        }
        Ok(())
    }

    /// Notes that a link came or went.
    fn mark_link(
        &mut self,
        from: ObjectKey,
        kind: LinkKind,
        to: ObjectGuid,
        trace: Option<&str>,
    ) -> std::result::Result<(), StoreError> {
        match kind {
            LinkKind::Member if self.follows(from.source) => {
                self.txn.put(keys::dirty_link(from, to), store::encode(&trace.map(str::to_owned)));
                self.walk_to(from, to)?;
            }
            LinkKind::Manager | LinkKind::ManagedBy => self.mark_dirty(from, trace)?,
            LinkKind::Member => {}
        }
        Ok(())
    }

    fn cursor_advanced(&mut self, source: SourceId, event: &CursorAdvanced, trace: Option<&str>) -> Result<()> {
        let id = event.to.id();
        let Some(state) = self.state(source) else { return Ok(()) };
        let last = state.cursor.map(|bytes| EventId(uuid::Uuid::from_bytes(bytes)));
        if last == Some(id) && event.from != last {
            // the page came twice: so did its objects
            state.counted = state.counted_at_cursor;
        } else if last.is_none() || event.from == last {
            state.cursor = Some(*id.0.as_bytes());
            state.counted_at_cursor = state.counted;
        } else {
            return Err(StreamErrorKind::CursorBroken { from: event.from, last }.into());
        }
        state.answer_open = !event.to.complete;
        let row_key = keys::read_attributes(source);
        let read = store::Value::from(store::encode(&event.to.attributes.iter().collect::<BTreeSet<_>>()));
        if self.txn.get(&row_key)?.as_ref() != Some(&read) {
            self.txn.put(row_key, read);
        }
        if event.to.complete {
            self.note_look(trace);
        }
        Ok(())
    }

    /// Remembers the look that began last among those that are complete, in whatever order the streams are read.
    fn note_look(&mut self, trace: Option<&str>) {
        let latest = self.meta.look.as_deref();
        if trace.is_some() && trace.and_then(trace::began) >= latest.and_then(trace::began) {
            self.meta.look = trace.map(str::to_owned);
        }
    }
}

/// A source of which nothing was read yet.
pub(crate) fn new_state(source: &crate::config::Source) -> SourceState {
    SourceState {
        forest: source.config.forest.clone(),
        naming_context: source.config.naming_context.clone(),
        stream: source.config.stream.to_string(),
        offset: 0,
        cursor: None,
        last_observed: None,
        answer_open: false,
        ordinal: 0,
        open: None,
        counted: Counted::default(),
        counted_at_cursor: Counted::default(),
        completed: None,
        completed_ordinal: 0,
        first_done: false,
        shrunk: None,
        doubted: Doubted::default(),
        approved: None,
        valued: BTreeMap::new(),
        resolved: BTreeMap::new(),
        root: None,
        reading_stopped: None,
        leaving: false,
    }
}
