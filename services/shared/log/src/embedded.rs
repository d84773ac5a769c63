//! The embedded engine: a log in a directory of one machine.
//!
//! One folder per stream, in it segments of frames; a frame is one append. What makes it safe:
//! - an append is written at once and synced before it is acknowledged; in this process readers see it only then, and a
//!   reader in another process syncs what it found before it hands it out;
//! - a writer that opens a stream cuts off an append that was under way when the one before it died. Damage anywhere else
//!   is an error and nothing is touched;
//! - the writer holds a lock on the stream's folder that the system releases when the process dies.
//!
//! Readers in the process of the writer are woken by it; others look at the file's length a few times a second.
//!
//! **Invariant**: a segment that is not the last one is changed by compaction only, and then replaced as a whole.

mod compact;
mod cursor;
mod folder;
mod frame;
mod reader;
mod thin;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::chain::LooseEnd;
use crate::membership::{Alone, GroupStatus, Member, Membership, MembershipError, check_group};
use crate::{DESIRED_HISTORY, Log, LogReader, LogWriter, Mark, ReadError, StreamInfo, StreamName, WriterError};
use cursor::{Committed, Cursor};
use folder::Folder;
use reader::EmbeddedReader;
pub use thin::Thinned;
use writer::EmbeddedWriter;

/// What can be set. The defaults are right for production; tests use smaller ones.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EmbeddedOptions {
    /// A segment is closed before it grows beyond this, in bytes. A single append may be larger.
    pub segment_bytes: u64,
    /// A compacted stream smaller than this is left alone, in bytes.
    pub compact_min_bytes: u64,
    /// How long superseded records of a compacted stream stay at least.
    pub desired_history: Duration,
    /// How often a reader looks for what a writer in another process has appended.
    pub follow_interval: Duration,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            compact_min_bytes: 4 * 1024 * 1024,
            desired_history: DESIRED_HISTORY,
            follow_interval: Duration::from_millis(100),
        }
    }
}

/// A log in a directory. Clones share what wakes readers up; two handles opened apart behave like two processes.
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    options: EmbeddedOptions,
    /// One per stream that this handle has touched.
    committed: Mutex<BTreeMap<StreamName, Arc<watch::Sender<Committed>>>>,
}

impl EmbeddedLog {
    /// Opens the log in a directory, making the directory if it does not exist.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, ReadError> {
        Self::open_with(dir, EmbeddedOptions::default())
    }

    /// [`EmbeddedLog::open`] with other options.
    pub fn open_with(dir: impl Into<PathBuf>, options: EmbeddedOptions) -> Result<Self, ReadError> {
        let dir = dir.into();
        let made = fs::create_dir_all(&dir).and_then(|()| fs::canonicalize(&dir));
        let dir = made.map_err(|source| ReadError::List { place: dir.display().to_string(), source })?;
        Ok(Self { inner: Arc::new(Inner { dir, options, committed: Mutex::default() }) })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Takes records out of a stream, because a person asked for it; `goes` is asked for each offset. The first record
    /// stays, records without a link stay, and here and there another one does. Like a writer it is refused while one lives.
    pub async fn thin(
        &self,
        stream: &StreamName,
        goes: impl Fn(u64) -> bool + Send + 'static,
    ) -> Result<Thinned, WriterError> {
        let folder = Arc::new(self.folder(stream));
        let thinned = spawn_blocking(move || thin::thin(&folder, &goes)).await;
        thinned.map_err(|e| WriterError::Io { stream: stream.clone(), source: io::Error::other(e) })?
    }

    /// Takes out of a compacted stream what was superseded and is older than `before`, because a person asked for it. Like a
    /// writer it is refused while one lives.
    pub async fn compact_before(&self, stream: &StreamName, before: Timestamp) -> Result<Thinned, WriterError> {
        let folder = Arc::new(self.folder(stream));
        if !stream.is_compacted() {
            return Ok(Thinned::default());
        }
        let compacted = spawn_blocking(move || compact::compact_before(&folder, before)).await;
        compacted.map_err(|e| WriterError::Io { stream: stream.clone(), source: io::Error::other(e) })?
    }

    fn sender(&self, stream: &StreamName) -> Arc<watch::Sender<Committed>> {
        let mut senders = self.inner.committed.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(senders.entry(stream.clone()).or_insert_with(|| Arc::new(watch::Sender::default())))
    }

    fn folder(&self, stream: &StreamName) -> Folder {
        Folder::new(&self.inner.dir, stream)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        stream: &StreamName,
        work: impl FnOnce(Arc<Folder>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let folder = Arc::new(self.folder(stream));
        let lost = Arc::clone(&folder);
        spawn_blocking(move || work(folder)).await.map_err(|e| lost.unreadable(io::Error::other(e)))?
    }
}

/// The offset the next record will get, by a look at the last segment.
fn tail(folder: &Arc<Folder>) -> Result<Cursor, ReadError> {
    let mut cursor = Cursor::new(Arc::clone(folder), u64::MAX);
    while !cursor.fetch(Committed::default())?.is_empty() {}
    Ok(cursor)
}

/// How often an end that is not whole is looked at before it is told of, and the pause between two looks: a writer in
/// another process may be in the middle of a write.
const LOOSE_LOOKS: u32 = 3;
const LOOSE_PAUSE: Duration = Duration::from_millis(20);

/// What stands behind the last whole frame and is still the same after a moment.
fn loose_end(folder: &Arc<Folder>) -> Result<Option<LooseEnd>, ReadError> {
    let io = |source| folder.unreadable(source);
    let mut seen = None;
    for look in 0..LOOSE_LOOKS {
        let at = tail(folder)?.at();
        let Some(base) = folder.segments().map_err(io)?.pop() else { return Ok(None) };
        let mut file = fs::File::open(folder.segment(base)).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len().saturating_sub(at);
        if bytes == 0 {
            return Ok(None);
        }
        let torn = writer::is_torn(&mut file, base, at).map_err(io)?;
        let end = LooseEnd { place: folder.place(base, at), bytes, torn };
        if seen.replace(end.clone()) == Some(end) && look + 1 == LOOSE_LOOKS {
            return Ok(seen);
        }
        std::thread::sleep(LOOSE_PAUSE);
    }
    // it changes: somebody writes
    Ok(seen.filter(|end| end.torn))
}

fn info(folder: &Arc<Folder>, committed: Committed) -> Result<StreamInfo, ReadError> {
    let io = |source| folder.unreadable(source);
    let end = tail(folder)?;
    let bases = folder.segments().map_err(io)?;
    let mut bytes = 0;
    for base in &bases {
        match fs::metadata(folder.segment(*base)) {
            Ok(metadata) => bytes += metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
    }
    let mut last = end.last();
    for base in bases.iter().rev().skip(1) {
        if last.is_some() {
            break;
        }
        let mut cursor = Cursor::within(Arc::clone(folder), *base)?;
        while !cursor.fetch(Committed::default())?.is_empty() {}
        last = cursor.last();
    }
    let first = Cursor::new(Arc::clone(folder), 0).fetch(Committed::default())?;
    let next_offset = if committed.live { committed.next } else { end.next_offset() };
    Ok(StreamInfo {
        first_offset: first.first().map_or(next_offset, |frame| frame.header.base),
        next_offset,
        bytes: Some(bytes),
        last_append: last.and_then(|frame| Timestamp::from_millisecond(frame.time_ms).ok()),
    })
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn writer(&self, stream: &StreamName) -> Result<Box<dyn LogWriter>, WriterError> {
        let (folder, sender, options) = (self.folder(stream), self.sender(stream), self.inner.options.clone());
        let opened = spawn_blocking(move || EmbeddedWriter::open(folder, sender, options)).await;
        let writer = opened.map_err(|e| WriterError::Io { stream: stream.clone(), source: io::Error::other(e) })??;
        Ok(Box::new(writer))
    }

    async fn reader(&self, stream: &StreamName, from: u64) -> Result<Box<dyn LogReader>, ReadError> {
        let folder = Arc::new(self.folder(stream));
        Ok(Box::new(EmbeddedReader::new(folder, self.sender(stream), self.inner.options.follow_interval, from)))
    }

    async fn reader_near(&self, stream: &StreamName, from: u64, mark: Mark) -> Result<Box<dyn LogReader>, ReadError> {
        let folder = Arc::new(self.folder(stream));
        let reader = EmbeddedReader::new(folder, self.sender(stream), self.inner.options.follow_interval, from);
        Ok(Box::new(reader.near(mark)))
    }

    async fn tail(&self, stream: &StreamName) -> Result<u64, ReadError> {
        let committed = *self.sender(stream).borrow();
        if committed.live {
            return Ok(committed.next);
        }
        self.blocking(stream, |folder| Ok(tail(&folder)?.next_offset())).await
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo, ReadError> {
        let committed = *self.sender(stream).borrow();
        self.blocking(stream, move |folder| info(&folder, committed)).await
    }

    async fn loose_end(&self, stream: &StreamName) -> Result<Option<LooseEnd>, ReadError> {
        if self.sender(stream).borrow().live {
            // all that is durable was read, and what comes behind it is this process's own work
            return Ok(None);
        }
        self.blocking(stream, |folder| loose_end(&folder)).await
    }

    async fn create(&self, streams: &[StreamName]) -> Result<(), WriterError> {
        for stream in streams {
            let folder = self.folder(stream);
            let made = spawn_blocking(move || writer::make(&folder)).await;
            made.map_err(|e| WriterError::Io { stream: stream.clone(), source: io::Error::other(e) })??;
        }
        Ok(())
    }

    async fn streams(&self) -> Result<Vec<StreamName>, ReadError> {
        let dir = self.inner.dir.clone();
        let listed = spawn_blocking(move || {
            let mut streams = Vec::new();
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                if entry.file_type()?.is_dir()
                    && let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok())
                {
                    streams.push(name);
                }
            }
            streams.sort();
            Ok(streams)
        });
        let place = self.inner.dir.display().to_string();
        listed.await.map_err(io::Error::other).flatten().map_err(|source| ReadError::List { place, source })
    }

    async fn join(&self, member: Member) -> Result<Box<dyn Membership>, MembershipError> {
        check_group(&member.group)?;
        Ok(Box::new(Alone::default()))
    }

    async fn group(&self, _group: &str) -> Result<GroupStatus, ReadError> {
        Ok(GroupStatus::default())
    }
}
