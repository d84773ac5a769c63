//! Records.

use bytes::Bytes;
use jiff::Timestamp;

/// The largest record an engine takes: key, value and headers together. Below Kafka's default of 1 MiB, so that a stream
/// can move between the engines.
pub const MAX_RECORD_BYTES: usize = 900 * 1024;

/// The largest append an engine takes.
pub const MAX_APPEND_BYTES: usize = 16 * 1024 * 1024;

/// A record to be appended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewRecord {
    /// What compaction goes by; streams that keep everything may use it for the reader's convenience.
    pub key: Option<Bytes>,
    /// The value: JSON, for every stream of forestsync.
    pub value: Bytes,
    /// Names and values beside the value, such as `traceparent`.
    pub headers: Vec<(String, Bytes)>,
}

impl NewRecord {
    /// A record without headers.
    pub fn new(key: Option<impl Into<Bytes>>, value: impl Into<Bytes>) -> Self {
        Self { key: key.map(Into::into), value: value.into(), headers: Vec::new() }
    }

    /// Key, value and headers together, in bytes.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len) + self.value.len() + headers
    }
}

/// A record as a reader gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the stream.
    pub offset: u64,
    /// When it was appended, by the clock of the machine that holds the log.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Bytes,
    /// The headers.
    pub headers: Vec<(String, Bytes)>,
}
