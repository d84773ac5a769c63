//! An index of the log by object: a cache that may be deleted at any time.
//!
//! ```text
//!  <folder>/lock                       held while the index is brought up to date
//!  <folder>/<stream>/head              which runs there are, how far they go, and which log they are of
//!  <folder>/<stream>/<from>-<to>.run   see [`run`]
//! ```
//!
//! - Every question brings it up to date first, and reads only what the log has got since the last one.
//! - It says where to look, never what is there: each record that it leads to is read from the log and looked at. So a
//!   compacted stream may lose records that it names.
//! - It is told from one of another log by the first record and by the last one that it knows. A stream that was cut or
//!   replaced, a file that is damaged or of another version: that stream is indexed anew.
//! - Neighbouring runs of the same order of size are merged, so that there are few of them however often it is brought up
//!   to date; beyond [`MERGED`] they stay as they are, so that memory stays bounded.
//!
//! It holds hashes and offsets, and no name and no value.

mod key;
mod run;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forestsync_log::{Log, LogReader, Mark, ReadError, Record, StreamName};
use serde::{Deserialize, Serialize};

pub use key::Key;
use run::{Entry, Run};

use super::glance::glance;
use crate::progress::Counter;

#[cfg(test)]
mod tests;

/// The version of the files, and of what [`glance`] tells: whoever changes either raises it.
const FORMAT: u32 = 1;
/// Records that are indexed in memory at a time.
const PART: u64 = 250_000;
/// Two runs with more entries than this together are not merged.
const MERGED: u64 = 4_000_000;
/// Records read at a time.
const BATCH: usize = 64;
/// Records between two marks.
const APART: u64 = 128;
/// Records that are read over rather than looked for.
const NEAR: u64 = 512;
/// New records from which on the progress is shown.
const MANY: u64 = 20_000;

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A file is not as it was written. The index is made anew then.
    #[error("{}: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: &'static str,
    },
    /// The folder cannot be used.
    #[error("the index in {} cannot be used: {source}; name another folder by --index", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl IndexError {
    /// What a file's end or absence means is damage.
    fn of(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => {
                Self::Damaged { path: path.to_owned(), detail: "it is not there, or it is cut short" }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }
}

type Result<T> = std::result::Result<T, IndexError>;

/// A file that only this account can read.
fn private(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// A record as the index remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Witness {
    offset: u64,
    digest: String,
}

impl Witness {
    fn of(record: &Record) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&record.timestamp.as_millisecond().to_le_bytes());
        hasher.update(record.key.as_deref().unwrap_or_default());
        hasher.update(&(record.value.len() as u64).to_le_bytes());
        hasher.update(&record.value);
        Self { offset: record.offset, digest: hasher.finalize().to_hex().to_string() }
    }
}

/// What a stream's index is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    format: u32,
    stream: String,
    /// Everything before this offset is indexed.
    end: u64,
    first: Option<Witness>,
    last: Option<Witness>,
    runs: Vec<Range<u64>>,
}

impl Head {
    fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join("head")).ok()?;
        let (json, sum) = text.split_once('\n')?;
        if blake3::hash(json.as_bytes()).to_hex().as_str() != sum {
            return None;
        }
        serde_json::from_str::<Self>(json).ok().filter(|head| head.format == FORMAT)
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        let json = serde_json::to_string(self)?;
        let beside = folder.join("head.new");
        let mut file = private(&beside)?;
        io::Write::write_all(&mut file, format!("{json}\n{}", blake3::hash(json.as_bytes()).to_hex()).as_bytes())?;
        fs::rename(beside, folder.join("head"))
    }
}

/// A stream's index, open.
#[derive(Debug, Default)]
struct Indexed {
    head: Head,
    runs: Vec<Run>,
}

impl Indexed {
    /// A place of the log from which on a record is found.
    fn mark(&self, offset: u64) -> Option<Mark> {
        let run = self.runs.iter().rev().find(|run| run.marks.first().is_some_and(|mark| mark.offset <= offset))?;
        let at = run.marks.partition_point(|mark| mark.offset <= offset);
        run.marks.get(at.checked_sub(1)?).copied()
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Index {
    log: Arc<dyn Log>,
    folder: PathBuf,
    /// Where nobody said where to keep it.
    _temporary: Option<tempfile::TempDir>,
    streams: BTreeMap<StreamName, Indexed>,
}

impl Index {
    /// The index in a folder, brought up to date for these streams. Without a folder it is made in a temporary one.
    pub async fn open(log: Arc<dyn Log>, folder: Option<&Path>, streams: &BTreeSet<StreamName>) -> Result<Self> {
        let failed = |path: &Path, source| IndexError::Io { path: path.to_owned(), source };
        let (folder, temporary) = if let Some(folder) = folder {
            (folder.to_owned(), None)
        } else {
            let made = tempfile::Builder::new().prefix("forestsync-index-").tempdir();
            let made = made.map_err(|e| failed(&std::env::temp_dir(), e))?;
            (made.path().to_owned(), Some(made))
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| failed(&folder, e))?;
        let path = folder.join("lock");
        let lock = private(&path).and_then(|file| file.lock().map(|()| file)).map_err(|e| failed(&path, e))?;
        let mut index = Self { log, folder, _temporary: temporary, streams: BTreeMap::new() };
        let (mut behind, mut ends) = (0, Vec::new());
        for stream in streams {
            let tail = index.log.tail(stream).await?;
            let opened = index.opened(stream, tail).await?;
            behind += tail - opened.head.end;
            index.streams.insert(stream.clone(), opened);
            ends.push((stream.clone(), tail));
        }
        let mut progress = (behind > MANY).then(|| Counter::new("indexing the log".to_owned(), behind));
        for (stream, tail) in ends {
            index.extend(&stream, tail, progress.as_mut()).await?;
        }
        drop(lock);
        Ok(index)
    }

    fn place(&self, stream: &StreamName) -> PathBuf {
        self.folder.join(stream.as_str())
    }

    /// The end of what is looked at.
    pub fn end(&self, stream: &StreamName) -> u64 {
        self.streams.get(stream).map_or(0, |indexed| indexed.head.end)
    }

    /// The streams.
    pub fn streams(&self) -> impl Iterator<Item = &StreamName> {
        self.streams.keys()
    }

    /// The index of a stream as it is kept; an empty one where that is none, damaged, or of another log.
    async fn opened(&self, stream: &StreamName, tail: u64) -> Result<Indexed> {
        let folder = self.place(stream);
        if let Some(head) = Head::read(&folder).filter(|head| head.stream == stream.as_str() && head.end <= tail) {
            let runs = head.runs.iter().map(|range| Run::open(&folder, stream.as_str(), range));
            match runs.collect::<Result<Vec<_>>>() {
                Ok(runs) => {
                    let indexed = Indexed { head, runs };
                    if self.is_of_this_log(stream, &indexed).await? {
                        return Ok(indexed);
                    }
                }
                Err(IndexError::Damaged { path, detail }) => {
                    tracing::warn!(file = %path.display(), detail, "the index of a stream is made anew");
                }
                Err(other) => return Err(other),
            }
        }
        let failed = |source| IndexError::Io { path: folder.clone(), source };
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let head = Head { format: FORMAT, stream: stream.as_str().to_owned(), ..Head::default() };
        Ok(Indexed { head, runs: Vec::new() })
    }

    /// Whether the stream begins as it did. Compaction may have taken the first record; then the last one must be there.
    async fn is_of_this_log(&self, stream: &StreamName, indexed: &Indexed) -> Result<bool> {
        let Some(known) = &indexed.head.first else { return Ok(true) };
        let first = self.log.reader(stream, 0).await?.poll(1).await?;
        let Some(first) = first.first().map(Witness::of) else { return Ok(false) };
        if first.offset == known.offset {
            return Ok(first == *known);
        }
        let Some(last) = indexed.head.last.as_ref().filter(|_| stream.is_compacted()) else { return Ok(false) };
        let found = self.reader(stream, indexed, last.offset).await?.poll(1).await?;
        Ok(found.first().map(Witness::of).as_ref() == Some(last))
    }

    async fn reader(&self, stream: &StreamName, indexed: &Indexed, from: u64) -> Result<Box<dyn LogReader>> {
        Ok(match indexed.mark(from) {
            Some(mark) => self.log.reader_near(stream, from, mark).await?,
            None => self.log.reader(stream, from).await?,
        })
    }

    /// Indexes what a stream has got since, up to `tail`.
    async fn extend(&mut self, stream: &StreamName, tail: u64, mut progress: Option<&mut Counter>) -> Result<()> {
        let folder = self.place(stream);
        let Some(mut indexed) = self.streams.remove(stream) else { return Ok(()) };
        if indexed.head.end < tail {
            let mut reader = self.reader(stream, &indexed, indexed.head.end).await?;
            let mut part = Part::new(indexed.head.end);
            loop {
                let mut records = reader.poll(BATCH).await?;
                records.retain(|record| record.offset < tail);
                let Some(last) = records.last() else { break };
                if indexed.head.first.is_none() {
                    indexed.head.first = records.first().map(Witness::of);
                }
                indexed.head.last = Some(Witness::of(last));
                let before = part.next;
                for record in &records {
                    part.take(stream, record);
                }
                part.note(reader.mark());
                if let Some(progress) = progress.as_deref_mut() {
                    progress.advanced(part.next - before, records.len() as u64);
                }
                if part.next - part.begin >= PART {
                    let next = part.next;
                    indexed.add(&folder, std::mem::replace(&mut part, Part::new(next)), next)?;
                }
            }
            indexed.add(&folder, part, tail)?;
        }
        self.streams.insert(stream.clone(), indexed);
        Ok(())
    }

    /// The offsets of the records about any of these keys, rising. A damaged file is made anew first.
    pub async fn offsets(&mut self, stream: &StreamName, keys: &[Key]) -> Result<BTreeSet<u64>> {
        match self.look_up(stream, keys) {
            Err(IndexError::Damaged { path, detail }) => {
                tracing::warn!(file = %path.display(), detail, "the index of a stream is made anew");
                self.renew(stream).await?;
                self.look_up(stream, keys)
            }
            other => other,
        }
    }

    async fn renew(&mut self, stream: &StreamName) -> Result<()> {
        let path = self.folder.join("lock");
        let lock = private(&path).and_then(|file| file.lock().map(|()| file));
        let lock = lock.map_err(|source| IndexError::Io { path, source })?;
        let (folder, end) = (self.place(stream), self.end(stream));
        match fs::remove_file(folder.join("head")) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IndexError::Io { path: folder, source });
            }
            _ => {}
        }
        let fresh = self.opened(stream, end).await?;
        self.streams.insert(stream.clone(), fresh);
        self.extend(stream, end, None).await?;
        drop(lock);
        Ok(())
    }

    fn look_up(&self, stream: &StreamName, keys: &[Key]) -> Result<BTreeSet<u64>> {
        let mut offsets = Vec::new();
        for run in self.streams.get(stream).map(|indexed| indexed.runs.as_slice()).unwrap_or_default() {
            for key in keys {
                run.find(*key, &mut offsets)?;
            }
        }
        Ok(offsets.into_iter().collect())
    }

    /// The records at these offsets, as far as they are still there.
    pub async fn records(&self, stream: &StreamName, offsets: &BTreeSet<u64>) -> Result<Vec<Record>> {
        let Some(indexed) = self.streams.get(stream) else { return Ok(Vec::new()) };
        let (mut found, mut reader) = (Vec::with_capacity(offsets.len()), None::<Box<dyn LogReader>>);
        for offset in offsets {
            let near = reader.take().filter(|reader| offset.saturating_sub(reader.position()) < NEAR);
            let mut open = match near {
                Some(reader) => reader,
                None => self.reader(stream, indexed, *offset).await?,
            };
            // what is read may lead past further ones, where compaction has left gaps
            while open.position() <= *offset {
                let wanted = (*offset - open.position() + 1).min(BATCH as u64) as usize;
                let records = open.poll(wanted).await?;
                if records.is_empty() {
                    break;
                }
                found.extend(records.into_iter().filter(|record| offsets.contains(&record.offset)));
            }
            reader = Some(open);
        }
        Ok(found)
    }

    /// The first record at `from` or within `span` offsets behind it that `wanted` takes.
    pub async fn first_behind(
        &self,
        stream: &StreamName,
        from: u64,
        span: u64,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Option<Record>> {
        let Some(indexed) = self.streams.get(stream) else { return Ok(None) };
        let mut reader = self.reader(stream, indexed, from).await?;
        while reader.position() < from.saturating_add(span) {
            let records = reader.poll(BATCH).await?;
            if records.is_empty() {
                break;
            }
            if let Some(found) = records.into_iter().find(|record| wanted(record)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Indexed {
    /// Writes a part as a run, merges what is to be merged, and says so in the head.
    fn add(&mut self, folder: &Path, mut part: Part, end: u64) -> Result<()> {
        let failed = |source| IndexError::Io { path: folder.to_owned(), source };
        let (stream, range) = (self.head.stream.clone(), part.begin..end);
        if range.is_empty() {
            return Ok(());
        }
        part.entries.sort_unstable();
        run::write(folder, &stream, &range, &part.entries, &part.marks).map_err(failed)?;
        self.runs.push(Run::open(folder, &stream, &range)?);
        let mut merged = Vec::new();
        while let [.., a, b] = self.runs.as_slice() {
            if a.count > 2 * b.count + 1_000 || a.count + b.count > MERGED {
                break;
            }
            let range = a.range.start..b.range.end;
            let (mut entries, marks) = (a.entries()?, [a.marks.as_slice(), b.marks.as_slice()].concat());
            entries.extend(b.entries()?);
            entries.sort_unstable();
            run::write(folder, &stream, &range, &entries, &marks).map_err(failed)?;
            merged.extend(self.runs.drain(self.runs.len() - 2..).map(|run| run.range));
            self.runs.push(Run::open(folder, &stream, &range)?);
        }
        self.head.end = end;
        self.head.runs = self.runs.iter().map(|run| run.range.clone()).collect();
        self.head.write(folder).map_err(failed)?;
        // what is left of them after a death is removed with the folder at the latest
        for range in merged {
            let _gone = fs::remove_file(folder.join(run::name(&range)));
        }
        Ok(())
    }
}

/// A part of a stream, being indexed.
#[derive(Debug)]
struct Part {
    begin: u64,
    next: u64,
    entries: Vec<Entry>,
    /// Names with what has them: the first record is enough.
    named: HashSet<(Key, Key)>,
    marks: Vec<Mark>,
}

impl Part {
    fn new(begin: u64) -> Self {
        Self { begin, next: begin, entries: Vec::new(), named: HashSet::new(), marks: Vec::new() }
    }

    fn take(&mut self, stream: &StreamName, record: &Record) {
        let (offset, entries, named) = (record.offset, &mut self.entries, &mut self.named);
        glance(stream, record, &mut |key, of| {
            if of.is_none_or(|of| named.insert((key, of))) {
                entries.push((key, offset));
            }
        });
        self.next = offset + 1;
    }

    fn note(&mut self, mark: Option<Mark>) {
        let far = |mark: &Mark| self.marks.last().is_none_or(|last| mark.offset >= last.offset + APART);
        self.marks.extend(mark.filter(far));
    }
}
