//! The writer: one frame, one write, one sync per append.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use async_trait::async_trait;
use forestsync_runtime::clock;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::EmbeddedOptions;
use super::compact;
use super::cursor::{Committed, Cursor};
use super::folder::{Folder, sync_folder};
use super::frame::{FrameBuilder, HEADER_BYTES, HEADER_OVERHEAD, Header, MAX_PAYLOAD_BYTES, RECORD_OVERHEAD, Records};
use crate::chain::{ChainHash, Content, Link, Place};
use crate::{AppendError, LogWriter, NewRecord, Record, StreamName, WriterError, record};

/// The writer of a stream of the embedded log.
#[derive(Debug)]
pub(super) struct EmbeddedWriter {
    folder: Arc<Folder>,
    next: u64,
    /// None while an append is under way, and for ever after one that failed or was dropped.
    core: Option<Core>,
}

/// What the blocking side owns. When it goes, the readers are told and the lock is free.
#[derive(Debug)]
struct Core {
    folder: Arc<Folder>,
    sender: Arc<watch::Sender<Committed>>,
    options: EmbeddedOptions,
    file: File,
    segment: u64,
    bytes: u64,
    next: u64,
    /// The chain's value at the last record.
    own: ChainHash,
    /// Released by the system when it is closed, by whatever death.
    lock: File,
}

impl EmbeddedWriter {
    /// Takes the lock, cuts a torn end off and compacts where that is worth it. Blocking.
    pub(super) fn open(
        folder: Folder,
        sender: Arc<watch::Sender<Committed>>,
        options: EmbeddedOptions,
    ) -> Result<Self, WriterError> {
        let folder = Arc::new(folder);
        let lock = lock(&folder)?;
        let io = |source| folder.unwritable(source);
        remove_leftovers(&folder).map_err(io)?;
        if folder.segments().map_err(io)?.is_empty() {
            folder.create_segment(0).map_err(io)?;
        }
        let end = Tail::repair(&folder)?;
        let end = if compact::compact(&folder, end.next, &options)? { Tail::repair(&folder)? } else { end };
        let own = chain_end(&folder)?;
        let Tail { file, segment, bytes, next } = end;
        let core = Core { folder: Arc::clone(&folder), sender, options, file, segment, bytes, next, own, lock };
        core.publish();
        Ok(Self { folder, next, core: Some(core) })
    }
}

/// Makes the folder of a stream.
pub(super) fn make(folder: &Folder) -> Result<(), WriterError> {
    let io = |source| folder.unwritable(source);
    fs::create_dir_all(&folder.path).map_err(io)?;
    if let Some(parent) = folder.path.parent() {
        // even if it was there: who made it may have died before its name was durable
        sync_folder(parent).map_err(io)?;
    }
    Ok(())
}

/// Makes the folder and takes its lock.
pub(super) fn lock(folder: &Folder) -> Result<File, WriterError> {
    let io = |source| folder.unwritable(source);
    make(folder)?;
    let path = folder.path.join("lock");
    let lock = File::options().write(true).create(true).truncate(false).open(path).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(WriterError::Busy(folder.stream.clone())),
        Err(TryLockError::Error(source)) => Err(folder.unwritable(source)),
    }
}

/// Files that a compaction left half written.
pub(super) fn remove_leftovers(folder: &Folder) -> io::Result<()> {
    for entry in fs::read_dir(&folder.path)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == compact::UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The chain's value at the last record of the stream. Where that has no link, the chain begins with the next one.
fn chain_end(folder: &Arc<Folder>) -> Result<ChainHash, WriterError> {
    let damage = |error| folder.as_writer_error(error);
    let bases = folder.segments().map_err(|source| folder.unwritable(source))?;
    // the last segment may be new and the ones before may keep nothing
    for base in bases.into_iter().rev() {
        let mut cursor = Cursor::within(Arc::clone(folder), base).map_err(damage)?;
        let mut last = None;
        while let Some(frame) = cursor.fetch(Committed::default()).map_err(damage)?.pop() {
            last = Some(frame);
        }
        let Some(frame) = last else { continue };
        let mut own = ChainHash::BEGIN;
        let mut records = Records::new(&frame.header, frame.payload);
        let malformed = |_| folder.damaged(frame.segment, frame.at, "the records do not fill their frame");
        while let Some(record) = records.take().map_err(malformed).map_err(damage)? {
            own = record.link.map_or(ChainHash::BEGIN, |link| link.own);
        }
        return Ok(own);
    }
    Ok(ChainHash::BEGIN)
}

/// The offset the next record will get, once a torn end is cut off. The caller holds the lock.
pub(super) fn next_offset(folder: &Arc<Folder>) -> Result<u64, WriterError> {
    Ok(Tail::repair(folder)?.next)
}

/// The last segment, whole to its last byte.
struct Tail {
    file: File,
    segment: u64,
    bytes: u64,
    next: u64,
}

impl Tail {
    /// Reads the last segment through and cuts off what an append left that was never acknowledged.
    fn repair(folder: &Arc<Folder>) -> Result<Self, WriterError> {
        let io = |source| folder.unwritable(source);
        let segment = folder.segments().map_err(io)?.last().copied().unwrap_or(0);
        let damage = |error| folder.as_writer_error(error);
        let mut cursor = Cursor::within(Arc::clone(folder), segment).map_err(damage)?;
        while !cursor.fetch(Committed::default()).map_err(damage)?.is_empty() {}
        let (bytes, next) = (cursor.at(), cursor.next_offset());
        let mut file = File::options().read(true).write(true).open(folder.segment(segment)).map_err(io)?;
        let torn = file.metadata().map_err(io)?.len() - bytes;
        if torn > 0 {
            keep_suspicious(folder, &mut file, segment, bytes).map_err(io)?;
            tracing::warn!(stream = %folder.stream, place = folder.place(segment, bytes), bytes = torn,
                "cut off an append that was never acknowledged");
            file.set_len(bytes).map_err(io)?;
        }
        if let Some(last) = cursor.last() {
            // Written once more: if the sync of a writer before this one failed, the system may hold these bytes for
            // clean although the disk never got them.
            let mut frame = vec![0; last.total as usize];
            file.seek(SeekFrom::Start(last.at)).and_then(|_| file.read_exact(&mut frame)).map_err(io)?;
            file.seek(SeekFrom::Start(last.at)).and_then(|_| file.write_all(&frame)).map_err(io)?;
        }
        file.sync_all().map_err(io)?;
        // likewise its name, without which all that is appended to it is lost with the power
        folder.sync().map_err(io)?;
        file.seek(SeekFrom::Start(bytes)).map_err(io)?;
        Ok(Self { file, segment, bytes, next })
    }
}

/// Keeps a copy of an end that is more than the beginning of a frame: a death of the process alone does not leave that.
fn keep_suspicious(folder: &Folder, file: &mut File, segment: u64, at: u64) -> io::Result<()> {
    if is_torn(file, segment, at)? {
        return Ok(());
    }
    let mut torn = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take((MAX_PAYLOAD_BYTES + HEADER_BYTES) as u64).read_to_end(&mut torn)?;
    let copy = folder.beside(segment, &format!("{at}.cut"));
    tracing::warn!(stream = %folder.stream, file = %copy.display(), "the end of the stream is unlike a torn append; \
        a copy is kept beside it: check the disk, then delete the copy");
    let mut file = File::create(copy)?;
    file.write_all(&torn)?;
    file.sync_all()
}

/// Whether the bytes from `at` to the end of the file are the beginning of a frame and nothing else.
pub(super) fn is_torn(file: &mut File, segment: u64, at: u64) -> io::Result<bool> {
    let bytes = file.metadata()?.len().saturating_sub(at);
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.seek(SeekFrom::Start(at))?;
    file.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    let short = header.len() < HEADER_BYTES;
    Ok(short || Header::parse(&header, segment, at).is_ok_and(|header| header.total() as u64 > bytes))
}

impl Core {
    /// Writes the frame and waits for the disk. On an error this side goes, and the writer with it.
    fn append(self, records: &[NewRecord], payload_bytes: usize) -> io::Result<Self> {
        let mut frame = FrameBuilder::new(self.next, payload_bytes);
        let (mut offset, mut own) = (self.next, self.own);
        let time_ms = clock::now().as_millisecond();
        for record in records {
            let place = Place { offset, time_ms };
            let content = Content { key: record.key.as_deref(), value: &record.value, headers: &record.headers };
            let link = Link::of(own, &self.folder.stream, place, content);
            frame.push(place, Some(link), content);
            (offset, own) = (offset + 1, link.own);
        }
        self.write(frame, offset, time_ms, own)
    }

    /// [`Core::append`] for records that have offsets, times and links already.
    fn restore(self, records: &[Record], end: u64, payload_bytes: usize) -> io::Result<Self> {
        let mut frame = FrameBuilder::new(self.next, payload_bytes);
        for record in records {
            frame.push_record(record);
        }
        let time = records.last().map_or(0, |record| record.timestamp.as_millisecond());
        let own = records.last().and_then(|record| record.link).map_or(ChainHash::BEGIN, |link| link.own);
        self.write(frame, end, time, own)
    }

    fn write(mut self, frame: FrameBuilder, end: u64, time_ms: i64, own: ChainHash) -> io::Result<Self> {
        if self.bytes > 0 && self.bytes + frame.len() as u64 > self.options.segment_bytes {
            self.file = self.folder.create_segment(self.next)?;
            self.segment = self.next;
            self.bytes = 0;
        }
        let frame = frame.finish(end, time_ms, self.segment, self.bytes);
        if let Err(error) = self.file.write_all(&frame) {
            // Nobody was told of these bytes. If they cannot be taken back, the next writer cuts them off.
            self.file.set_len(self.bytes).ok();
            return Err(error);
        }
        self.file.sync_data()?;
        self.bytes += frame.len() as u64;
        self.next = end;
        self.own = own;
        self.publish();
        Ok(self)
    }

    /// Tells the readers what is durable.
    fn publish(&self) {
        let committed = Committed { live: true, segment: self.segment, bytes: self.bytes, next: self.next };
        self.sender.send_replace(committed);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.sender.send_modify(|committed| committed.live = false);
        // Closing alone would leave the lock to a child that is just being started and still shares the file.
        self.lock.unlock().ok();
    }
}

#[async_trait]
impl LogWriter for EmbeddedWriter {
    fn stream(&self) -> &StreamName {
        &self.folder.stream
    }

    fn next_offset(&self) -> u64 {
        self.next
    }

    async fn append(&mut self, records: Vec<NewRecord>) -> Result<u64, AppendError> {
        let stream = &self.folder.stream;
        if records.is_empty() {
            return Ok(self.next);
        }
        let payload_bytes = check_sizes(stream, &records)?;
        let first = self.next;
        self.run(move |core| core.append(&records, payload_bytes)).await?;
        Ok(first)
    }

    async fn restore(&mut self, records: Vec<Record>) -> Result<(), AppendError> {
        let stream = &self.folder.stream;
        let end = record::check_places(stream, self.next, &records)?;
        // an offset within a frame has 32 bits
        if end - self.next > u64::from(u32::MAX) {
            let offset = end - 1;
            return Err(AppendError::Misplaced { stream: stream.clone(), offset, expected: self.next });
        }
        if records.is_empty() {
            return Ok(());
        }
        record::check_record_sizes(stream, &records)?;
        let bytes: usize = records.iter().map(|record| encoded(record.size(), record.headers.len())).sum();
        if bytes > MAX_PAYLOAD_BYTES {
            let what = "an append, with the lengths of its parts,";
            return Err(record::too_large(stream, what, records.first(), bytes, MAX_PAYLOAD_BYTES));
        }
        self.run(move |core| core.restore(&records, end, bytes)).await
    }
}

impl EmbeddedWriter {
    /// Runs a blocking step of the core. Where it fails or is dropped, the core is gone.
    async fn run(&mut self, step: impl FnOnce(Core) -> io::Result<Core> + Send + 'static) -> Result<(), AppendError> {
        let stream = &self.folder.stream;
        let Some(core) = self.core.take() else { return Err(AppendError::Unusable(stream.clone())) };
        let core = match spawn_blocking(move || step(core)).await {
            Ok(Ok(core)) => core,
            Ok(Err(source)) => return Err(AppendError::Io { stream: stream.clone(), source }),
            Err(lost) => return Err(AppendError::Io { stream: stream.clone(), source: io::Error::other(lost) }),
        };
        self.next = core.next;
        self.core = Some(core);
        Ok(())
    }
}

/// The bytes a record takes in a frame.
fn encoded(content: usize, headers: usize) -> usize {
    content + RECORD_OVERHEAD + HEADER_OVERHEAD * headers
}

/// The bytes the records take in a frame, if none is too large and all together are not.
fn check_sizes(stream: &StreamName, records: &[NewRecord]) -> Result<usize, AppendError> {
    record::check_record_sizes(stream, records)?;
    let bytes = records.iter().map(|record| encoded(record.size(), record.headers.len())).sum();
    if bytes > MAX_PAYLOAD_BYTES {
        let what = "an append, with the lengths of its parts,";
        return Err(record::too_large(stream, what, records.first(), bytes, MAX_PAYLOAD_BYTES));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::folder::SYNCED;
    use super::*;

    #[test]
    fn names_that_a_dead_writer_left_are_made_durable() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), &"s".parse().unwrap());
        // it died between making these and syncing the folders that name them
        fs::create_dir(&folder.path).unwrap();
        File::create(folder.segment(0)).unwrap();
        SYNCED.take();
        let sender = Arc::new(watch::Sender::new(Committed::default()));
        EmbeddedWriter::open(folder.clone(), sender, EmbeddedOptions::default()).unwrap();
        let synced = SYNCED.take();
        assert!(synced.contains(&dir.path().to_owned()) && synced.contains(&folder.path), "{synced:?}");
    }
}
