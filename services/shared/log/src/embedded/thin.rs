//! Thinning: records that say nothing any more are taken out of a stream that keeps everything, because a person asked
//! for it. Who may go is the caller's to say; this only makes sure that the stream stays one.
//!
//! Each segment is written anew beside itself, synced, and renamed over itself, under the writer's lock. What stays keeps its
//! offset, its time and its link; the first record behind a gap is marked, so that nobody takes the gap for a loss. Frames
//! take over the offsets of those before them that keep nothing, so they follow one another as before.
//!
//! **Invariant**: any number of segments may have been replaced when the process dies. Never taken out: the first record of
//! the stream, the last one of each segment, and a record without a link, behind which nothing could be marked.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::sync::Arc;

use super::compact::{UNFINISHED, each, replace, size};
use super::cursor::{Committed, Cursor};
use super::folder::Folder;
use super::frame::FrameBuilder;
use super::writer;
use crate::{Record, WriterError};

/// What was taken out of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thinned {
    /// Records.
    pub records: u64,
    /// The stream's size before, in bytes.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
}

/// Takes out what `goes` says. Blocking.
pub(super) fn thin(folder: &Arc<Folder>, goes: &dyn Fn(u64) -> bool) -> Result<Thinned, WriterError> {
    let io = |source| folder.unwritable(source);
    let _lock = writer::lock(folder)?;
    writer::remove_leftovers(folder).map_err(io)?;
    let mut bases = folder.segments().map_err(io)?;
    if bases.is_empty() {
        return Ok(Thinned::default());
    }
    let bytes_before = size(folder).map_err(io)?;
    // readers go on behind the segment they have open, so the last one must not be replaced under them
    let next = writer::next_offset(folder)?;
    if bases.last() == Some(&next) {
        bases.pop();
    } else {
        folder.create_segment(next).map_err(io)?;
    }
    let mut records = 0;
    for base in bases {
        records += segment(folder, base, goes)?;
    }
    Ok(Thinned { records, bytes_before, bytes_after: size(folder).map_err(io)? })
}

/// Writes a segment anew; returns how many records went.
fn segment(folder: &Arc<Folder>, base: u64, goes: &dyn Fn(u64) -> bool) -> Result<u64, WriterError> {
    let io = |source| folder.unwritable(source);
    let damage = |error| folder.as_writer_error(error);
    let last = last_offset(folder, base)?;
    let path = folder.beside(base, UNFINISHED);
    let mut file = BufWriter::new(File::create(&path).map_err(io)?);
    let (mut bytes, mut dropped, mut gap, mut begin) = (0_u64, 0_u64, false, base);
    let mut cursor = Cursor::within(Arc::clone(folder), base).map_err(damage)?;
    loop {
        let frames = cursor.fetch(Committed::default()).map_err(damage)?;
        if frames.is_empty() {
            break;
        }
        for frame in frames {
            let header = frame.header;
            // an offset within a frame has 32 bits
            let far = header.end - begin > u64::from(u32::MAX);
            let mut kept = FrameBuilder::new(begin, header.payload);
            each(folder, &frame, |mut record: Record| {
                let stays = record.offset == 0 || record.offset == last || record.link.is_none() || far;
                if !stays && goes(record.offset) {
                    dropped += 1;
                    gap = true;
                    return;
                }
                if let Some(link) = &mut record.link {
                    link.gap |= gap;
                }
                gap = false;
                kept.push_record(&record);
            })
            .map_err(damage)?;
            if !kept.is_empty() {
                let kept = kept.finish(header.end, header.time_ms, base, bytes);
                file.write_all(&kept).map_err(io)?;
                bytes += kept.len() as u64;
                begin = header.end;
            }
        }
    }
    let file = file.into_inner().map_err(|e| io(e.into_error()))?;
    if dropped == 0 {
        fs::remove_file(path).map_err(io)?;
        return Ok(0);
    }
    replace(folder, base, &file, bytes, dropped).map_err(io)?;
    Ok(dropped)
}

/// The offset of the last record of a segment.
fn last_offset(folder: &Arc<Folder>, base: u64) -> Result<u64, WriterError> {
    let damage = |error| folder.as_writer_error(error);
    let mut cursor = Cursor::within(Arc::clone(folder), base).map_err(damage)?;
    let mut last = None;
    while let Some(frame) = cursor.fetch(Committed::default()).map_err(damage)?.pop() {
        last = Some(frame);
    }
    let mut offset = base;
    if let Some(frame) = last {
        each(folder, &frame, |record| offset = record.offset).map_err(damage)?;
    }
    Ok(offset)
}
