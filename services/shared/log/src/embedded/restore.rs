//! Taking in records of another log: they keep their offsets and their times.
//!
//! A frame has one time and offsets without gaps, so each run of records that has both becomes a frame, and all of them
//! are written and synced together. That is safe against the death of the process. Where the machine dies before the
//! sync, the disk may have kept a later frame and not an earlier one, which then is damage: the copy is made anew, from
//! the log it came from.

use std::io::{self, Write as _};

use super::frame::FrameBuilder;
use super::writer::Core;
use crate::{NewRecord, Record};

/// What a record keeps beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    offset: u64,
    time_ms: i64,
}

impl Place {
    /// Parts a record into what it keeps and what it holds.
    pub(super) fn of(record: Record) -> (Self, NewRecord) {
        let place = Self { offset: record.offset, time_ms: record.timestamp.as_millisecond() };
        (place, NewRecord { key: record.key, value: record.value, headers: record.headers })
    }

    /// Whether a record here can stand in one frame with the one at `before`.
    fn follows(self, before: Self) -> bool {
        self.time_ms == before.time_ms && Some(self.offset) == before.offset.checked_add(1)
    }
}

/// The first offset that does not belong after the ones before it, and the one that would.
pub(super) fn misplaced(records: &[Record], mut next: u64, compacted: bool) -> Option<(u64, u64)> {
    for record in records {
        let fits = if compacted { record.offset >= next } else { record.offset == next };
        // the offset after the last one must exist as well
        match record.offset.checked_add(1) {
            Some(after) if fits => next = after,
            _ => return Some((record.offset, next)),
        }
    }
    None
}

impl Core {
    /// Writes the records, which fit behind the end and into an append, and waits for the disk.
    pub(super) fn restore(mut self, places: &[Place], records: &[NewRecord]) -> io::Result<Self> {
        let mut frames = Vec::new();
        let mut at = 0;
        for run in places.chunk_by(|before, place| place.follows(*before)) {
            let Some((run, records)) = records.get(at..at + run.len()).map(|records| (run, records)) else { break };
            at += run.len();
            self.frame(run, records, &mut frames)?;
        }
        self.flush(&mut frames)?;
        self.publish();
        Ok(self)
    }

    /// Adds the frame of a run to those that are to be written.
    fn frame(&mut self, run: &[Place], records: &[NewRecord], frames: &mut Vec<u8>) -> io::Result<()> {
        let Some(first) = run.first() else { return Ok(()) };
        let mut frame = FrameBuilder::new(first.offset, 0);
        for (place, record) in run.iter().zip(records) {
            frame.push(place.offset, record.key.as_deref(), &record.value, &record.headers);
        }
        let position = self.bytes + frames.len() as u64;
        if position > 0 && position + frame.len() as u64 > self.options.segment_bytes {
            self.flush(frames)?;
            self.file = self.folder.create_segment(first.offset)?;
            self.segment = first.offset;
            self.bytes = 0;
        }
        let position = self.bytes + frames.len() as u64;
        let end = first.offset + run.len() as u64;
        frames.extend_from_slice(&frame.finish(end, first.time_ms, self.segment, position));
        self.next = end;
        Ok(())
    }

    fn flush(&mut self, frames: &mut Vec<u8>) -> io::Result<()> {
        if let Err(error) = self.file.write_all(frames) {
            // Nobody was told of these bytes. If they cannot be taken back, the next writer cuts them off.
            self.file.set_len(self.bytes).ok();
            return Err(error);
        }
        self.file.sync_data()?;
        self.bytes += frames.len() as u64;
        frames.clear();
        Ok(())
    }
}
