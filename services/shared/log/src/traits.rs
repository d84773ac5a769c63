//! The trait every engine implements; its contract stands at the top of the crate.

use std::fmt;

use async_trait::async_trait;

use crate::membership::{GroupStatus, Member, Membership, MembershipError};
use crate::{AppendError, NewRecord, ReadError, Record, StreamInfo, StreamName, WriterError};

/// A log: many streams.
#[async_trait]
pub trait Log: Send + Sync + fmt::Debug {
    /// Becomes the stream's writer, making the stream if it does not exist.
    async fn writer(&self, stream: &StreamName) -> Result<Box<dyn LogWriter>, WriterError>;

    /// Reads the stream from offset `from` on. An offset beyond the tail waits for the tail to get there.
    async fn reader(&self, stream: &StreamName, from: u64) -> Result<Box<dyn LogReader>, ReadError>;

    /// The offset the next record will get; 0 for a stream that does not exist.
    async fn tail(&self, stream: &StreamName) -> Result<u64, ReadError>;

    /// Size and ends of a stream, for a listing. A stream that does not exist is an empty one.
    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo, ReadError>;

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

    /// Appends records of another log, which keep their offsets and, to the millisecond, their timestamps, and returns
    /// when they are durable. The first offset MUST be [`LogWriter::next_offset`] and each further one the next; in a
    /// compacted stream they only have to rise from there. At most [`MAX_APPEND_BYTES`](crate::MAX_APPEND_BYTES).
    ///
    /// Not atomic: what dies in between leaves a beginning of them, which a new writer's `next_offset` tells. Not
    /// cancel-safe.
    async fn restore(&mut self, records: Vec<Record>) -> Result<(), AppendError>;
}

/// A reader of a stream, at a place of its own.
#[async_trait]
pub trait LogReader: Send + fmt::Debug {
    /// The stream.
    fn stream(&self) -> &StreamName;

    /// The smallest offset the next record can have.
    fn position(&self) -> u64;

    /// At least one and at most `max` records, waiting for the tail to grow if need be. Cancel-safe: a dropped call has
    /// taken nothing.
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, ReadError>;

    /// At most `max` records that are there now, without waiting for more; none at the tail. Cancel-safe.
    async fn poll(&mut self, max: usize) -> Result<Vec<Record>, ReadError>;
}
