//! The trait every engine implements; its contract stands at the top of the crate.

use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::chain::LooseEnd;
use crate::membership::{GroupStatus, Member, Membership, MembershipError};
use crate::{AppendError, NewRecord, ReadError, Record, StreamName, WriterError};

/// A stream at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// The smallest offset a record of the stream can have; `next_offset` where it has none.
    pub first_offset: u64,
    /// The offset the next record will get.
    pub next_offset: u64,
    /// What the stream takes on disk, where the engine can say that.
    pub bytes: Option<u64>,
    /// When the last append was made that still has records.
    pub last_append: Option<Timestamp>,
}

/// Where a reader was, so that the same place is found quickly again. It is a hint, whatever has become of the stream since:
/// where it is right no more, the place is looked for as if there were none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Records with this offset and larger ones stand at the place or behind it.
    pub offset: u64,
    /// The place, in the engine's own words.
    pub place: [u64; 2],
}

/// A log: many streams.
#[async_trait]
pub trait Log: Send + Sync + fmt::Debug {
    /// Becomes the stream's writer, making the stream if it does not exist.
    async fn writer(&self, stream: &StreamName) -> Result<Box<dyn LogWriter>, WriterError>;

    /// Reads the stream from offset `from` on. An offset beyond the tail waits for the tail to get there.
    async fn reader(&self, stream: &StreamName, from: u64) -> Result<Box<dyn LogReader>, ReadError>;

    /// The same for whoever has been there: `mark` is what [`LogReader::mark`] said at a record with offset `from` or a
    /// smaller one. What is read is the same with every mark.
    async fn reader_near(&self, stream: &StreamName, from: u64, mark: Mark) -> Result<Box<dyn LogReader>, ReadError> {
        let _no_use = mark;
        self.reader(stream, from).await
    }

    /// The offset the next record will get; 0 for a stream that does not exist.
    async fn tail(&self, stream: &StreamName) -> Result<u64, ReadError>;

    /// Size and ends of a stream, for a listing. A stream that does not exist is an empty one.
    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo, ReadError>;

    /// What stands behind the last whole record, where an engine can have such a thing and it stays a moment.
    async fn loose_end(&self, _stream: &StreamName) -> Result<Option<LooseEnd>, ReadError> {
        Ok(None)
    }

    /// Makes the streams that do not exist, empty. Those that exist are not touched.
    async fn create(&self, streams: &[StreamName]) -> Result<(), WriterError>;

    /// All streams there are, sorted by name.
    async fn streams(&self) -> Result<Vec<StreamName>, ReadError>;

    /// Becomes a member of a group, owning nothing before [`Membership::offer`].
    async fn join(&self, member: Member) -> Result<Box<dyn Membership>, MembershipError>;

    /// The members of a group and what they said last. A group that does not exist has none.
    async fn group(&self, group: &str) -> Result<GroupStatus, ReadError>;
}

/// The one writer of a stream. Dropping it gives the stream free.
#[async_trait]
pub trait LogWriter: Send + fmt::Debug {
    /// The stream.
    fn stream(&self) -> &StreamName;

    /// The offset the next record will get.
    fn next_offset(&self) -> u64;

    /// Appends all records or none, and returns when they are durable, with the offset of the first one. An empty list
    /// is no append and returns [`LogWriter::next_offset`].
    ///
    /// Not cancel-safe: a dropped call leaves the writer unusable.
    async fn append(&mut self, records: Vec<NewRecord>) -> Result<u64, AppendError>;

    /// Appends records that another log had, with the offsets, times and links they had there, times to the millisecond.
    /// All or none, like [`LogWriter::append`].
    ///
    /// Offsets MUST grow from [`LogWriter::next_offset`] on, without a gap unless the stream is a compacted one; if they
    /// do not, this is [`AppendError::Misplaced`] and nothing is written. What is appended next follows the last of them.
    async fn restore(&mut self, records: Vec<Record>) -> Result<(), AppendError>;
}

/// A reader of a stream, at a place of its own.
#[async_trait]
pub trait LogReader: Send + fmt::Debug {
    /// The stream.
    fn stream(&self) -> &StreamName;

    /// The smallest offset the next record can have.
    fn position(&self) -> u64;

    /// Where the record that was given last stands; none before the first one, and where the engine knows no places.
    fn mark(&self) -> Option<Mark> {
        None
    }

    /// At least one and at most `max` records, waiting for the tail to grow if need be. Cancel-safe: a dropped call has
    /// taken nothing.
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, ReadError>;

    /// At most `max` records that are there now, without waiting for more; none at the tail. Cancel-safe.
    async fn poll(&mut self, max: usize) -> Result<Vec<Record>, ReadError>;
}
