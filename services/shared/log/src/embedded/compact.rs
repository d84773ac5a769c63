//! Compaction: records that a later one with the same key has superseded are taken out of their files, once they are older
//! than what is to be kept of the stream's history.
//!
//! It runs when a writer opens a `desired.*` stream, under the writer's lock, and only where the stream is large, has
//! grown by half since the last look, and more than half of its records may go. The steps, each of them safe to
//! die after:
//!
//! 1. an empty last segment is made, named by the tail, so that the tail survives whatever happens to the files before;
//! 2. each segment before it is written anew beside itself, synced, and renamed over itself; one that keeps nothing is
//!    removed. A record goes only while the one that supersedes it is there, so any subset of these steps is right;
//! 3. the size is noted in `compacted`, a hint when to look again. Without it the next writer looks.
//!
//! **Invariant**: offsets never change; frames keep the offsets they began and ended at; records without a key stay.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::sync::Arc;

use forestsync_runtime::clock;
use jiff::Timestamp;

use super::EmbeddedOptions;
use super::cursor::{Committed, Cursor, Frame};
use super::folder::Folder;
use super::frame::{FrameBuilder, Records};
use super::thin::Thinned;
use super::writer;
use crate::{ReadError, Record, WriterError};

/// The ending of a file that is not whole yet.
pub(super) const UNFINISHED: &str = "tmp";

/// Which records stay.
#[derive(Debug)]
struct Keep {
    /// The last offset of each key.
    latest: HashMap<Box<[u8]>, u64>,
    /// Records of this time and later ones stay, superseded or not.
    since: Timestamp,
}

impl Keep {
    fn keeps(&self, record: &Record) -> bool {
        let last = record.key.as_deref().is_none_or(|key| self.latest.get(key) == Some(&record.offset));
        last || record.timestamp >= self.since
    }
}

/// Compacts if that is worth it; true when files have changed. The caller holds the writer's lock, and `next` is the tail.
pub(super) fn compact(folder: &Arc<Folder>, next: u64, options: &EmbeddedOptions) -> Result<bool, WriterError> {
    if !folder.stream.is_compacted() {
        return Ok(false);
    }
    let io = |source| folder.unwritable(source);
    let before = size(folder).map_err(io)?;
    let noted: u64 = fs::read_to_string(hint(folder)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if before < options.compact_min_bytes || before < noted.saturating_add(noted / 2) {
        return Ok(false);
    }
    let since = clock::now().checked_sub(options.desired_history).unwrap_or(Timestamp::MIN);
    let (keep, records, live) = survey(folder, since).map_err(|e| folder.as_writer_error(e))?;
    let worth = records.saturating_sub(live) * 2 > records;
    if worth {
        rewrite_all(folder, next, &keep)?;
    }
    let after = size(folder).map_err(io)?;
    fs::write(hint(folder), after.to_string()).map_err(io)?;
    if worth {
        tracing::info!(stream = %folder.stream, records, kept = live, bytes.before = before, bytes.after = after,
            "compacted the stream");
    }
    Ok(worth)
}

/// Takes out what was superseded and is older than `before`, because a person asked for it. Blocking.
pub(super) fn compact_before(folder: &Arc<Folder>, before: Timestamp) -> Result<Thinned, WriterError> {
    let io = |source| folder.unwritable(source);
    let _lock = writer::lock(folder)?;
    writer::remove_leftovers(folder).map_err(io)?;
    if folder.segments().map_err(io)?.is_empty() {
        return Ok(Thinned::default());
    }
    let bytes_before = size(folder).map_err(io)?;
    let next = writer::next_offset(folder)?;
    let (keep, records, live) = survey(folder, before).map_err(|e| folder.as_writer_error(e))?;
    if live < records {
        rewrite_all(folder, next, &keep)?;
    }
    Ok(Thinned { records: records - live, bytes_before, bytes_after: size(folder).map_err(io)? })
}

/// Writes all segments anew but a new last one, which is named by the tail.
fn rewrite_all(folder: &Arc<Folder>, next: u64, keep: &Keep) -> Result<(), WriterError> {
    let io = |source| folder.unwritable(source);
    let mut bases = folder.segments().map_err(io)?;
    if bases.last() == Some(&next) {
        bases.pop();
    } else {
        folder.create_segment(next).map_err(io)?;
    }
    for base in bases {
        rewrite(folder, base, keep)?;
    }
    Ok(())
}

fn hint(folder: &Folder) -> std::path::PathBuf {
    folder.path.join("compacted")
}

pub(super) fn size(folder: &Folder) -> io::Result<u64> {
    folder.segments()?.into_iter().map(|base| Ok(fs::metadata(folder.segment(base))?.len())).sum()
}

/// Reads the stream through: which records stay, how many there are, and how many of them stay.
fn survey(folder: &Arc<Folder>, since: Timestamp) -> Result<(Keep, u64, u64), ReadError> {
    let mut keep = Keep { latest: HashMap::new(), since };
    walk(folder, |record| {
        let Some(key) = record.key else { return };
        match keep.latest.get_mut(&key[..]) {
            Some(offset) => *offset = record.offset,
            None => drop(keep.latest.insert(Box::from(&key[..]), record.offset)),
        }
    })?;
    let (mut records, mut live) = (0, 0);
    walk(folder, |record| {
        records += 1;
        live += u64::from(keep.keeps(&record));
    })?;
    Ok((keep, records, live))
}

/// Calls `f` for each record of the stream.
fn walk(folder: &Arc<Folder>, mut f: impl FnMut(Record)) -> Result<(), ReadError> {
    let mut cursor = Cursor::new(Arc::clone(folder), 0);
    loop {
        let frames = cursor.fetch(Committed::default())?;
        if frames.is_empty() {
            return Ok(());
        }
        for frame in frames {
            each(folder, &frame, &mut f)?;
        }
    }
}

/// Calls `f` for each record of a frame.
pub(super) fn each(folder: &Folder, frame: &Frame, mut f: impl FnMut(Record)) -> Result<(), ReadError> {
    let mut records = Records::new(&frame.header, frame.payload.clone());
    loop {
        match records.take() {
            Ok(Some(record)) => f(record),
            Ok(None) => return Ok(()),
            Err(_) => return Err(folder.damaged(frame.segment, frame.at, "the records do not fill their frame")),
        }
    }
}

/// Writes a segment anew without what is superseded.
fn rewrite(folder: &Arc<Folder>, base: u64, keep: &Keep) -> Result<(), WriterError> {
    let io = |source| folder.unwritable(source);
    let damage = |error| folder.as_writer_error(error);
    let path = folder.beside(base, UNFINISHED);
    let mut file = BufWriter::new(File::create(&path).map_err(io)?);
    let (mut bytes, mut dropped) = (0_u64, 0_u64);
    let mut cursor = Cursor::within(Arc::clone(folder), base).map_err(damage)?;
    loop {
        let frames = cursor.fetch(Committed::default()).map_err(damage)?;
        if frames.is_empty() {
            break;
        }
        for frame in frames {
            let header = frame.header;
            let mut kept = FrameBuilder::new(header.base, header.payload);
            each(folder, &frame, |record| {
                if keep.keeps(&record) {
                    kept.push_record(&record);
                } else {
                    dropped += 1;
                }
            })
            .map_err(damage)?;
            if !kept.is_empty() {
                let kept = kept.finish(header.end, header.time_ms, base, bytes);
                file.write_all(&kept).map_err(io)?;
                bytes += kept.len() as u64;
            }
        }
    }
    let file = file.into_inner().map_err(|e| io(e.into_error()))?;
    replace(folder, base, &file, bytes, dropped).map_err(io)
}

/// Puts the new file in the place of the old one.
pub(super) fn replace(folder: &Folder, base: u64, file: &File, bytes: u64, dropped: u64) -> io::Result<()> {
    let path = folder.beside(base, UNFINISHED);
    if dropped == 0 || bytes == 0 {
        fs::remove_file(path)?;
        if dropped == 0 {
            return Ok(());
        }
        fs::remove_file(folder.segment(base))?;
    } else {
        file.sync_all()?;
        fs::rename(path, folder.segment(base))?;
    }
    folder.sync()
}
