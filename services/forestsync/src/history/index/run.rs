//! Runs: files of sorted keys, each with the offsets of a part of a stream. A run never changes once it is written.
//!
//! ```text
//!  +----------+--------+--------+-- - -+--------+--------------------------------+--------+
//!  | FSYINDX1 | page 0 | page 1 |      | page n | footer                         | length |
//!  +----------+--------+--------+-- - -+--------+--------------------------------+--------+
//!   page:   255 times key and offset, in order of key; 16 bytes of checksum
//!   footer: counts, the first key of each page, the marks of the log; 32 bytes of checksum
//! ```
//!
//! All numbers are little-endian. The checksums cover the stream's name, the run's range and the page's number as well: a
//! page is right in one place only. A question reads the footer and a page or two.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::{Buf as _, BufMut as _};
use forestsync_log::Mark;

use super::{IndexError, Key};

const MAGIC: &[u8; 8] = b"FSYINDX1";
const ENTRY_BYTES: usize = 16;
/// Entries of a page.
const ENTRIES: usize = 255;
const PAGE_BYTES: usize = ENTRIES * ENTRY_BYTES + 16;
const FOOTER_FIXED: usize = 32;
const MARK_BYTES: usize = 24;

/// A key and the offset of a record that is about it.
pub(super) type Entry = (Key, u64);

/// A run that is open.
#[derive(Debug)]
pub(super) struct Run {
    path: PathBuf,
    /// Held open, so that a merge by somebody else takes nothing away.
    file: File,
    /// What its checksums cover beside the bytes.
    seal: Vec<u8>,
    /// The offsets that it is about.
    pub(super) range: Range<u64>,
    /// Entries.
    pub(super) count: u64,
    /// Places of the log, by rising offset.
    pub(super) marks: Vec<Mark>,
    fences: Vec<u64>,
}

/// The name of a run's file.
pub(super) fn name(range: &Range<u64>) -> String {
    format!("{:020}-{:020}.run", range.start, range.end)
}

fn seal(stream: &str, range: &Range<u64>) -> Vec<u8> {
    let mut seal = Vec::with_capacity(stream.len() + 16);
    seal.put_u64_le(range.start);
    seal.put_u64_le(range.end);
    seal.put_slice(stream.as_bytes());
    seal
}

fn checksum(seal: &[u8], number: u64, bytes: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("forestsync index of the log, 1");
    hasher.update(&number.to_le_bytes());
    hasher.update(&(seal.len() as u64).to_le_bytes());
    hasher.update(seal);
    hasher.update(bytes);
    hasher.finalize()
}

/// Writes a run; `entries` are sorted. The name is there only once all of it is.
pub(super) fn write(
    folder: &Path,
    stream: &str,
    range: &Range<u64>,
    entries: &[Entry],
    marks: &[Mark],
) -> io::Result<()> {
    let (path, seal) = (folder.join(name(range)), seal(stream, range));
    let beside = path.with_extension("new");
    let mut out = io::BufWriter::with_capacity(1 << 20, super::private(&beside)?);
    out.write_all(MAGIC)?;
    let (mut page, mut fences) = (Vec::with_capacity(PAGE_BYTES), Vec::new());
    for (number, part) in entries.chunks(ENTRIES).enumerate() {
        page.clear();
        fences.put_u64_le(part.first().map_or(0, |(key, _)| key.0));
        for (key, offset) in part {
            page.put_u64_le(key.0);
            page.put_u64_le(*offset);
        }
        page.resize(PAGE_BYTES - 16, 0);
        let sum = checksum(&seal, number as u64, &page);
        out.write_all(&page)?;
        out.write_all(&sum.as_bytes()[..16])?;
    }
    let mut footer = Vec::with_capacity(FOOTER_FIXED + fences.len() + marks.len() * MARK_BYTES);
    footer.put_u64_le(entries.len() as u64);
    footer.put_u64_le(marks.len() as u64);
    footer.put_u64_le(range.start);
    footer.put_u64_le(range.end);
    footer.put_slice(&fences);
    for mark in marks {
        footer.put_u64_le(mark.offset);
        footer.put_u64_le(mark.place[0]);
        footer.put_u64_le(mark.place[1]);
    }
    out.write_all(&footer)?;
    out.write_all(checksum(&seal, u64::MAX, &footer).as_bytes())?;
    out.write_all(&(footer.len() as u64).to_le_bytes())?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    std::fs::rename(beside, path)
}

impl Run {
    /// Opens a run and reads its footer.
    pub(super) fn open(folder: &Path, stream: &str, range: &Range<u64>) -> Result<Self, IndexError> {
        let (path, seal) = (folder.join(name(range)), seal(stream, range));
        let read = || -> io::Result<Option<(File, Vec<u8>)>> {
            let file = File::open(&path)?;
            let bytes = file.metadata()?.len();
            let (mut magic, mut length) = ([0; 8], [0; 8]);
            file.read_exact_at(&mut magic, 0)?;
            file.read_exact_at(&mut length, bytes.saturating_sub(8))?;
            let length = u64::from_le_bytes(length).saturating_add(32);
            if magic != *MAGIC || length > bytes.saturating_sub(16) {
                return Ok(None);
            }
            let mut footer = vec![0; length as usize];
            file.read_exact_at(&mut footer, bytes - 8 - length)?;
            Ok(Some((file, footer)))
        };
        let damaged = |detail: &'static str| IndexError::Damaged { path: path.clone(), detail };
        let whole = read().map_err(|source| IndexError::of(&path, source))?;
        let (file, whole) = whole.ok_or_else(|| damaged("it is no index, or it is cut short"))?;
        let (mut footer, sum) = whole.split_at(whole.len() - 32);
        if checksum(&seal, u64::MAX, footer).as_bytes().as_slice() != sum || footer.len() < FOOTER_FIXED {
            return Err(damaged("the checksum of its footer does not fit"));
        }
        let (count, marks) = (footer.get_u64_le(), footer.get_u64_le() as usize);
        footer.advance(16);
        let pages = (count as usize).div_ceil(ENTRIES);
        if footer.len() != pages * 8 + marks * MARK_BYTES {
            return Err(damaged("its footer contradicts itself"));
        }
        let fences = (0..pages).map(|_| footer.get_u64_le()).collect();
        let mark = |_| Mark { offset: footer.get_u64_le(), place: [footer.get_u64_le(), footer.get_u64_le()] };
        let marks = (0..marks).map(mark).collect();
        Ok(Self { path, file, seal, range: range.clone(), count, marks, fences })
    }

    /// The offsets of what is about a key.
    pub(super) fn find(&self, key: Key, offsets: &mut Vec<u64>) -> Result<(), IndexError> {
        let first = self.fences.partition_point(|fence| *fence < key.0).saturating_sub(1);
        for number in first..self.fences.len() {
            if self.fences.get(number).is_none_or(|fence| *fence > key.0) {
                break;
            }
            let page = self.page(number)?;
            let start = page.partition_point(|(found, _)| *found < key);
            offsets.extend(page.iter().skip(start).take_while(|(found, _)| *found == key).map(|(_, offset)| *offset));
        }
        Ok(())
    }

    /// All of its entries.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, IndexError> {
        let mut all = Vec::with_capacity(self.count as usize);
        for number in 0..self.fences.len() {
            all.extend(self.page(number)?);
        }
        Ok(all)
    }

    fn page(&self, number: usize) -> Result<Vec<Entry>, IndexError> {
        let mut bytes = vec![0; PAGE_BYTES];
        let at = (MAGIC.len() + number * PAGE_BYTES) as u64;
        self.file.read_exact_at(&mut bytes, at).map_err(|source| IndexError::of(&self.path, source))?;
        let (mut page, sum) = bytes.split_at(PAGE_BYTES - 16);
        if !checksum(&self.seal, number as u64, page).as_bytes().starts_with(sum) {
            return Err(IndexError::Damaged { path: self.path.clone(), detail: "the checksum of a page does not fit" });
        }
        let left = (self.count as usize - number * ENTRIES).min(ENTRIES);
        Ok((0..left).map(|_| (Key(page.get_u64_le()), page.get_u64_le())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u64) -> Vec<Entry> {
        let mut all: Vec<Entry> = (0..count).map(|n| (Key(n % 97), n)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn what_was_written_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for count in [0, 1, 254, 255, 256, 3000] {
            let (range, marks) = (0..count, vec![Mark { offset: 1, place: [2, 3] }]);
            write(folder.path(), "changes.a", &range, &entries(count), &marks).unwrap();
            let run = Run::open(folder.path(), "changes.a", &range).unwrap();
            assert_eq!((run.entries().unwrap(), &run.marks), (entries(count), &marks));
            for key in 0..99 {
                let mut found = Vec::new();
                run.find(Key(key), &mut found).unwrap();
                assert_eq!(
                    found,
                    (0..count).filter(|n| key < 97 && n % 97 == key).collect::<Vec<_>>(),
                    "{key} of {count}"
                );
            }
            assert!(Run::open(folder.path(), "changes.b", &range).is_err(), "another stream's");
        }
    }

    #[test]
    fn each_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let range = 0..600;
        write(folder.path(), "changes.a", &range, &entries(600), &[Mark { offset: 1, place: [2, 3] }]).unwrap();
        let path = folder.path().join(name(&range));
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            let read = Run::open(folder.path(), "changes.a", &range).and_then(|run| run.entries());
            assert!(read.is_err(), "byte {at}");
        }
        for length in [0, 7, 8, 100, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let read = Run::open(folder.path(), "changes.a", &range).and_then(|run| run.entries());
            assert!(read.is_err(), "{length} bytes");
        }
    }
}
