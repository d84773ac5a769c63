//! What can go wrong, per operation.

use std::io;

use crate::StreamName;

/// Why a writer could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriterError {
    /// Another writer holds the stream. Retryable once that one has ended.
    #[error("stream {0} has a writer already; end the process that writes it first")]
    Busy(StreamName),
    /// The stream's data is damaged before its end, so that appending would hide the damage.
    #[error("stream {stream} is damaged in {place}: {detail}; restore it from a copy")]
    Damaged {
        /// The stream.
        stream: StreamName,
        /// File and position.
        place: String,
        /// What does not fit.
        detail: String,
    },
    /// The stream is kept in a way that would lose records or their order. Not retryable.
    #[error("topic {topic} of stream {stream} has {setting} {found} where {wanted} is needed; {hint}")]
    Settings {
        /// The stream.
        stream: StreamName,
        /// Where it is kept.
        topic: String,
        /// What is set wrongly.
        setting: String,
        /// How it is set.
        found: String,
        /// How it must be.
        wanted: String,
        /// What to do.
        hint: String,
    },
    /// The log refuses: rights, or a cluster that cannot do it. Not retryable.
    #[error("stream {stream} cannot be opened for writing: {detail}")]
    Refused {
        /// The stream.
        stream: StreamName,
        /// What the log said, and what to do.
        detail: String,
    },
    /// The storage does not answer as it should.
    #[error("stream {stream} cannot be opened for writing: {source}")]
    Io {
        /// The stream.
        stream: StreamName,
        /// What the storage said.
        #[source]
        source: io::Error,
    },
}

impl WriterError {
    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Io { .. })
    }
}

/// Why an append failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A record or the whole append is larger than any engine takes. Nothing was written.
    #[error("{what} of {size} bytes for stream {stream} is larger than the {limit} bytes allowed (key {key:?})")]
    TooLarge {
        /// The stream.
        stream: StreamName,
        /// "a record" or "an append".
        what: &'static str,
        /// The key of the record, as far as it is text.
        key: String,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Another writer took the stream over. Nothing was written; this writer must end.
    #[error("stream {0} was taken over by another writer")]
    Fenced(StreamName),
    /// Records to be restored do not follow what is there. Nothing was written.
    #[error(
        "a record for offset {offset} of stream {stream} cannot be restored: offset {expected} is next; \
        empty the stream, or copy from there on"
    )]
    Misplaced {
        /// The stream.
        stream: StreamName,
        /// The offset of the record.
        offset: u64,
        /// Where the next one belongs.
        expected: u64,
    },
    /// The storage did not take the append. Nothing was written, and nothing of it will appear.
    #[error("stream {stream} did not take an append: {source}")]
    NotWritten {
        /// The stream.
        stream: StreamName,
        /// What the storage said.
        #[source]
        source: io::Error,
    },
    /// The storage failed. The writer is unusable; the records may or may not be there.
    #[error("appending to stream {stream} failed: {source}")]
    Io {
        /// The stream.
        stream: StreamName,
        /// What the storage said.
        #[source]
        source: io::Error,
    },
    /// An earlier append failed in a way that made this writer unusable. Nothing was written.
    #[error("the writer of stream {0} is unusable after an earlier failure; open a new one")]
    Unusable(StreamName),
}

impl AppendError {
    /// Whether it is certain that nothing was written.
    pub fn outcome_known(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }

    /// Whether a new writer may succeed with the same records later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::NotWritten { .. } | Self::Unusable(_))
    }
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The data is damaged. What was read before is whole; nothing after it may be trusted.
    #[error("stream {stream} is damaged in {place}: {detail}; restore it from a copy")]
    Damaged {
        /// The stream.
        stream: StreamName,
        /// File and position.
        place: String,
        /// What does not fit.
        detail: String,
    },
    /// The storage does not answer as it should. Retryable.
    #[error("stream {stream} cannot be read: {source}")]
    Io {
        /// The stream.
        stream: StreamName,
        /// What the storage said.
        #[source]
        source: io::Error,
    },
    /// The list of streams cannot be read. Retryable.
    #[error("the streams in {place} cannot be listed: {source}")]
    List {
        /// Where.
        place: String,
        /// What the storage said.
        #[source]
        source: io::Error,
    },
}
