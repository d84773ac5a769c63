//! Records.

use bytes::Bytes;
use jiff::Timestamp;

use crate::chain::Link;
use crate::{AppendError, StreamName};

/// How much of a key an error message shows, in characters.
const SHOWN_KEY: usize = 120;

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
        size(self.key.as_ref(), &self.value, &self.headers)
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
    /// Its place in the stream's chain; none in a record of a version that had no chains.
    pub link: Option<Link>,
}

impl Record {
    /// Key, value and headers together, in bytes.
    pub fn size(&self) -> usize {
        size(self.key.as_ref(), &self.value, &self.headers)
    }
}

fn size(key: Option<&Bytes>, value: &Bytes, headers: &[(String, Bytes)]) -> usize {
    let headers: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    key.map_or(0, Bytes::len) + value.len() + headers
}

/// What is measured before it is appended.
pub(crate) trait Measured {
    /// See [`NewRecord::size`].
    fn bytes(&self) -> usize;
    /// See [`NewRecord::key`].
    fn key(&self) -> Option<&Bytes>;
}

impl Measured for NewRecord {
    fn bytes(&self) -> usize {
        self.size()
    }
    fn key(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }
}

impl Measured for Record {
    fn bytes(&self) -> usize {
        self.size()
    }
    fn key(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }
}

/// Refuses a record, or an append, that is larger than any engine takes.
pub(crate) fn check_record_sizes<R: Measured>(stream: &StreamName, records: &[R]) -> Result<(), AppendError> {
    let mut content = 0_usize;
    for record in records {
        let bytes = record.bytes();
        if bytes > MAX_RECORD_BYTES {
            return Err(too_large(stream, "a record", Some(record), bytes, MAX_RECORD_BYTES));
        }
        content += bytes;
    }
    if content > MAX_APPEND_BYTES {
        return Err(too_large(stream, "an append", records.first(), content, MAX_APPEND_BYTES));
    }
    Ok(())
}

/// The error for what is too large.
pub(crate) fn too_large<R: Measured>(
    stream: &StreamName,
    what: &'static str,
    record: Option<&R>,
    size: usize,
    limit: usize,
) -> AppendError {
    let key = record.and_then(Measured::key).map(|key| &key[..]).unwrap_or_default();
    let key = String::from_utf8_lossy(key).chars().take(SHOWN_KEY).collect();
    AppendError::TooLarge { stream: stream.clone(), what, key, size, limit }
}

/// Checks the offsets of records to be restored behind `next`; returns the offset after the last of them.
pub(crate) fn check_places(stream: &StreamName, next: u64, records: &[Record]) -> Result<u64, AppendError> {
    let mut expected = next;
    for record in records {
        let offset = record.offset;
        let may_skip = stream.is_compacted() || record.link.is_some_and(|link| link.gap);
        let fits = if may_skip { offset >= expected } else { offset == expected };
        if !fits || offset == u64::MAX {
            return Err(AppendError::Misplaced { stream: stream.clone(), offset, expected });
        }
        expected = offset + 1;
    }
    Ok(expected)
}
