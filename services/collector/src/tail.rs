//! Where a stream ends: the only memory a collector has.
//!
//! The end is read backwards in windows that double until one holds a cursor. Within the window every cursor must follow
//! the one before it; a break means that two collectors wrote, or that a record is missing, and ends the collector.

use forestsync_log::{Log, StreamName};
use forestsync_schemas::changes::{ChangeEvent, Cursor, SnapshotId, StopCause};
use forestsync_schemas::{ChangeRecord, EventId};
use jiff::Timestamp;

use crate::error::{CollectorError, Trouble};

/// The first window, in records.
const FIRST_WINDOW: u64 = 256;

/// How many records are read at a time.
const READ_RECORDS: usize = 512;

/// What the end of a stream tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Position {
    /// The last cursor.
    pub(crate) cursor: Option<Cursor>,
    /// When it was written, or when a later pass found that there was nothing to write.
    pub(crate) confirmed: Option<Timestamp>,
    /// Id of the last cursor that was written, for `from` of the next one.
    pub(crate) written: Option<EventId>,
    /// The full read that was started after or with it and not completed.
    pub(crate) open: Option<SnapshotId>,
    /// Whether objects of a full read were written after the last cursor.
    pub(crate) dirty: bool,
    /// Why reading stopped, if that is the last that was written about it.
    pub(crate) stopped: Option<StopCause>,
    /// Records were taken out since the last cursor, and other cursors may have been among them.
    pub(crate) gap: bool,
    /// When a full read was last completed, if that is near enough to the end to have been seen.
    pub(crate) completed: Option<Timestamp>,
}

impl Position {
    /// Takes note of the next record of the stream. False if a cursor does not follow the one before it.
    fn apply(&mut self, record: &ChangeRecord) -> bool {
        match &record.event {
            ChangeEvent::CursorAdvanced(advanced) => {
                if self.written.is_some() && advanced.from != self.written && !self.gap {
                    return false;
                }
                self.written = Some(advanced.to.id());
                self.cursor = Some(advanced.to.clone());
                self.confirmed = Some(record.time);
                self.dirty = false;
                self.gap = false;
            }
            ChangeEvent::SnapshotStarted(started) => self.open = Some(started.snapshot),
            ChangeEvent::SnapshotCompleted(_) => {
                self.open = None;
                self.completed = Some(record.time);
            }
            ChangeEvent::ObjectObserved(_) => self.dirty = true,
            ChangeEvent::ReadingStopped(stopped) => self.stopped = Some(stopped.cause),
            ChangeEvent::ReadingResumed(_) => self.stopped = None,
            ChangeEvent::ObjectChanged(_)
            | ChangeEvent::LinkValuesChanged(_)
            | ChangeEvent::ObjectDeleted(_)
            | ChangeEvent::ObjectRestored(_) => {}
        }
        true
    }

    /// Whether a full read was begun and cannot be continued.
    pub(crate) fn is_interrupted(&self) -> bool {
        let progress = self.cursor.as_ref().and_then(|cursor| cursor.snapshot.as_ref());
        match (progress, self.open) {
            (None, open) => open.is_some(),
            (Some(progress), open) => self.dirty || open.is_some_and(|open| open != progress.snapshot),
        }
    }
}

/// Reads the end of `stream`, whose next offset is `tail`.
pub(crate) async fn read(log: &dyn Log, stream: &StreamName, tail: u64) -> Result<Position, Trouble> {
    let mut window = FIRST_WINDOW;
    loop {
        let start = tail.saturating_sub(window);
        let position = read_window(log, stream, start, tail).await?;
        if position.cursor.is_some() || start == 0 {
            return Ok(position);
        }
        window = window.saturating_mul(2);
    }
}

async fn read_window(log: &dyn Log, stream: &StreamName, start: u64, tail: u64) -> Result<Position, Trouble> {
    let mut position = Position::default();
    let mut reader = log.reader(stream, start).await.map_err(Trouble::ReadLog)?;
    let mut due = start;
    loop {
        let records = reader.poll(READ_RECORDS).await.map_err(Trouble::ReadLog)?;
        if records.is_empty() {
            return Ok(position);
        }
        for record in records {
            if record.offset >= tail {
                return Ok(position);
            }
            let offset = record.offset;
            position.gap |= offset > due;
            due = offset + 1;
            let decoded = ChangeRecord::decode(&record.value).map_err(|source| CollectorError::Record {
                stream: stream.clone(),
                offset,
                source,
            })?;
            if !position.apply(&decoded) {
                return Err(CollectorError::CursorChain { stream: stream.clone(), offset }.into());
            }
        }
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
