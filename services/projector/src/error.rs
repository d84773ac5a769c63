//! What can go wrong, per operation.

use std::io;
use std::path::PathBuf;

use forestsync_log::{AppendError, ReadError, StreamName, WriterError};
use forestsync_schemas::changes::SnapshotId;
use forestsync_schemas::{DecodeError, EventId};

use crate::PlanError;

/// Why a projector cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectorError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stream that the projector owns cannot be written.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// An append failed; the projector must be opened anew.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A stream cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A `changes` stream cannot be applied any further.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A record of a stream that the projector wrote itself cannot be read.
    #[error("offset {offset} of stream {stream} cannot be read: {source}")]
    Own {
        /// The stream.
        stream: StreamName,
        /// The record.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// An event cannot be written as JSON.
    #[error("an event cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    /// The database does not get whole, however often it is rebuilt.
    #[error("the database in {} was damaged {times} times; check the disk", directory.display())]
    KeepsBreaking {
        /// Where it is.
        directory: PathBuf,
        /// How often it was rebuilt.
        times: u32,
    },
    /// The database was built with other sources, another scope or other rules than those it is to be compared with.
    #[error(
        "the database in {} was built with another configuration or version; run forestsync with this one first",
        .0.display()
    )]
    OtherConfiguration(PathBuf),
    /// The projector was asked to go on after an error that ended it.
    #[error("the projector of configuration {0:?} has ended; open it anew")]
    Ended(String),
}

impl ProjectorError {
    /// Whether opening the projector anew may help without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Writer(error) => error.is_retryable(),
            Self::Append(error) => error.is_retryable(),
            Self::Read(ReadError::Io { .. } | ReadError::List { .. }) | Self::Ended(_) => true,
            _ => false,
        }
    }

    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Store(StoreError::Damaged { .. }))
    }
}

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it.
    #[error("the database in {} is in use by another process; end that one first", .0.display())]
    Locked(PathBuf),
    /// The file system refuses.
    #[error("the database in {} cannot be used: {source}", directory.display())]
    Io {
        /// Where it is.
        directory: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// What is in it makes no sense. The projector moves such a database aside and builds it anew from the log.
    #[error("the database in {} is damaged: {detail}", directory.display())]
    Damaged {
        /// Where it is.
        directory: PathBuf,
        /// What was seen.
        detail: String,
    },
    /// It has not caught up with itself: work is left that a projector must do before the digest means anything.
    #[error("the database in {} has work left; let the projector run until it is idle", .0.display())]
    Unsettled(PathBuf),
    /// There is none.
    #[error("there is no database in {}; let the projector run first", .0.display())]
    Missing(PathBuf),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Locked(_) | Self::Io { .. })
    }
}

/// Why a snapshot of the projection is of no use, or was not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It is of another version, configuration or log.
    #[error("{0}")]
    Foreign(&'static str),
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// Its header cannot be read or written.
    #[error("its header is damaged: {0}")]
    Header(#[from] serde_json::Error),
    /// The file system refuses, or the file ends too early.
    #[error("it cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a `changes` stream cannot be applied beyond a record. What came before is applied, nothing is skipped, the other
/// streams go on. Not retryable: the record will be the same next time.
#[derive(Debug, thiserror::Error)]
#[error("stream {stream} stops at offset {offset}: {kind}")]
pub struct StreamError {
    /// The stream.
    pub stream: StreamName,
    /// The record.
    pub offset: u64,
    /// What is wrong with it.
    #[source]
    pub kind: StreamErrorKind,
}

impl StreamErrorKind {
    /// What is wrong, but for what the record holds: a value of the wrong type stands in the message of the one who
    /// reads it.
    pub(crate) fn without_values(&self) -> String {
        let place = |error: &serde_json::Error| format!("line {} column {}", error.line(), error.column());
        match self {
            Self::Decode(DecodeError::Envelope(source)) => format!("the record is no event: {}", place(source)),
            Self::Decode(DecodeError::Data { kind, id, source }) => {
                format!("event {id} of type {kind:?} cannot be read: {}", place(source))
            }
            other => other.to_string(),
        }
    }
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamErrorKind {
    /// It is no event that this version knows.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The stream holds another forest or naming context than configured.
    #[error("the record is of forest {forest:?} and naming context {naming_context:?}; check the stream's name")]
    Foreign {
        /// The record's forest.
        forest: String,
        /// The record's naming context.
        naming_context: String,
    },
    /// The event is about an object and does not say which.
    #[error("event {0} names no object; the collector that wrote it is broken")]
    NoObject(EventId),
    /// The linked attribute is not one of those that are followed.
    #[error("linked attribute {0:?} is not known; upgrade the projector")]
    UnknownLink(String),
    /// The event belongs to a full read that is neither open nor the last complete one.
    #[error("full read {0:?} is not open; a record is missing")]
    UnknownSnapshot(SnapshotId),
    /// The cursor does not continue the last one: two collectors wrote, or a record is missing.
    #[error(
        "the cursor continues {from:?}, but the last one is {last:?}; two collectors wrote, or a record is missing"
    )]
    CursorBroken {
        /// What it says it continues.
        from: Option<EventId>,
        /// The last one.
        last: Option<EventId>,
    },
    /// An offset is missing.
    #[error("offset {expected} is missing; restore the stream from a copy")]
    Gap {
        /// The offset that should have come.
        expected: u64,
    },
}
