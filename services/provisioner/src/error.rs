//! Why a provisioner ends.

use forestsync_log::{AppendError, ReadError, Record, StreamName, StreamNameError, WriterError};
use forestsync_schemas::{DecodeError, Envelope, EventBody};

use crate::{ConfigError, StoreError};

/// Why a provisioner could not start or go on. What one object or the tenant does wrong never ends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionerError {
    /// The tenant's configuration is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration's name does not make a stream's name.
    #[error("configuration: {0}")]
    Name(#[from] StreamNameError),
    /// The ledger is unusable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stream could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The outcomes have another writer.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// Outcomes could not be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A record is not an event this version knows.
    #[error("stream {stream} at offset {offset}: {source}")]
    Decode {
        /// The stream.
        stream: String,
        /// The record's offset.
        offset: u64,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// An event could not be put into JSON.
    #[error("an outcome cannot be encoded: {0}")]
    Encode(#[source] serde_json::Error),
    /// A task of the provisioner died.
    #[error("a request's task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
    /// The lease ended: somebody else may be at work now. Nothing was sent since; what was begun before is looked up by
    /// whoever goes on.
    #[error("the lease ended; nothing is sent without it")]
    LeaseEnded,
    /// A crash that a test asked for.
    #[error("stopped at the crash point a test had set")]
    Crashed,
}

/// What a record of a stream says.
pub(crate) fn decode<B: EventBody>(stream: &StreamName, record: &Record) -> Result<Envelope<B>, ProvisionerError> {
    Envelope::decode(&record.value).map_err(|source| ProvisionerError::Decode {
        stream: stream.to_string(),
        offset: record.offset,
        source,
    })
}

impl ProvisionerError {
    /// Whether opening the provisioner anew may help without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(e) => e.is_retryable(),
            Self::Read(e) => matches!(e, ReadError::Io { .. }),
            Self::Writer(e) => e.is_retryable(),
            Self::Append(e) => e.is_retryable(),
            Self::Task(_) | Self::LeaseEnded | Self::Crashed => true,
            Self::Config(_) | Self::Name(_) | Self::Decode { .. } | Self::Encode(_) => false,
        }
    }
}
