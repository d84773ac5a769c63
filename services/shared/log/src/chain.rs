//! The hash chain: what makes a change to a stream's past show.
//!
//! ```text
//!   offset 41            offset 42             offset 43
//!  +-------------+      +-------------+       +-------------+
//!  | prev | own -|----->| prev | own -|------>| prev | own  |      own = H(prev, stream, offset, time, key, value, headers)
//!  +-------------+      +-------------+       +-------------+
//! ```
//!
//! Each record carries a [`Link`]. Its `own` proves the record itself, so one whose neighbours a compaction took is still
//! proved; its `prev` proves that it stands behind the record it was written behind. H is BLAKE3, keyed by a context of its
//! own, over numbers of eight bytes, most significant first, and texts with their lengths before them, so that no two
//! records run together.
//!
//! What it shows and what not:
//! - a record that was changed, put elsewhere, taken out or put in, by a bad disk or by a person who recomputed every
//!   checksum: yes, in a stream that keeps everything;
//! - a cut-off end, or a stream that was written anew with a chain of its own: only against an [`Anchor`] that was kept
//!   elsewhere, because whoever can write everything can compute everything;
//! - in a compacted stream a record that is gone may have been superseded, and in any other one a person may have had it
//!   taken out: then the record behind the gap says so. What is there is proved, also against its neighbour where that is
//!   there, but not that nothing else is missing. Gaps are counted, so that one that nobody made on purpose shows.
//!
//! A stream that an earlier version began has records without a link. Its chain begins with the first record that this
//! version wrote, and what stands before is not proved. From there on a record without a link is a break.
//!
//! **Invariant**: a record's values in the chain never change, whatever copies, compacts or moves it.

mod kept;
mod verify;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Record, StreamName};

pub use kept::AnchorsError;
pub use verify::{Broken, LooseEnd, Verdict, anchor, verify};

/// What the hash is keyed by. Another meaning of the bytes needs another context.
const CONTEXT: &str = "forestsync 2026-11-29 hash chain of a stream, version 1";

static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| blake3::derive_key(CONTEXT, b""));

/// A value of the chain: 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// What stands before the first record of a chain.
    pub const BEGIN: Self = Self([0; 32]);

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for ChainHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no value of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash of a chain is 64 hexadecimal digits")]
pub struct ChainHashError;

impl FromStr for ChainHash {
    type Err = ChainHashError;

    fn from_str(text: &str) -> Result<Self, ChainHashError> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|_| ChainHashError)
    }
}

impl TryFrom<String> for ChainHash {
    type Error = ChainHashError;

    fn try_from(text: String) -> Result<Self, ChainHashError> {
        text.parse()
    }
}

impl From<ChainHash> for String {
    fn from(hash: ChainHash) -> Self {
        hash.to_string()
    }
}

/// A record's place in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The value of the record before; [`ChainHash::BEGIN`] where the chain begins.
    pub prev: ChainHash,
    /// The value of this record.
    pub own: ChainHash,
    /// Records before this one were taken out because a person asked for it. No part of the hash: a gap comes later.
    pub gap: bool,
}

impl Link {
    /// What a link takes, in bytes: `prev`, then `own`.
    pub(crate) const BYTES: usize = 64;

    /// The link of a record behind the one whose value is `prev`.
    pub fn of(prev: ChainHash, stream: &StreamName, place: Place, content: Content<'_>) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&KEY);
        // few large pieces: each update has a price of its own
        let mut frame = Vec::with_capacity(256);
        frame.extend_from_slice(&prev.0);
        framed(&mut frame, stream.as_str().as_bytes());
        frame.extend_from_slice(&place.offset.to_be_bytes());
        frame.extend_from_slice(&place.time_ms.to_be_bytes());
        frame.push(u8::from(content.key.is_some()));
        framed(&mut frame, content.key.unwrap_or_default());
        frame.extend_from_slice(&(content.headers.len() as u64).to_be_bytes());
        for (name, value) in content.headers {
            framed(&mut frame, name.as_bytes());
            framed(&mut frame, value);
        }
        frame.extend_from_slice(&(content.value.len() as u64).to_be_bytes());
        hasher.update(&frame);
        hasher.update(content.value);
        Self { prev, own: ChainHash(*hasher.finalize().as_bytes()), gap: false }
    }

    /// The link that a record of this stream would have behind `prev`.
    pub fn of_record(prev: ChainHash, stream: &StreamName, record: &Record) -> Self {
        let place = Place { offset: record.offset, time_ms: record.timestamp.as_millisecond() };
        let content = Content { key: record.key.as_deref(), value: &record.value, headers: &record.headers };
        Self::of(prev, stream, place, content)
    }

    /// Whether this is the link of this record of this stream.
    pub fn proves(&self, stream: &StreamName, record: &Record) -> bool {
        Self::of_record(self.prev, stream, record).own == self.own
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (prev, own) = bytes.split_at_mut(32);
        prev.copy_from_slice(&self.prev.0);
        own.copy_from_slice(&self.own.0);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (prev, own) = bytes.split_at_checked(32)?;
        Some(Self { prev: ChainHash(prev.try_into().ok()?), own: ChainHash(own.try_into().ok()?), gap: false })
    }
}

/// Where and when a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its offset.
    pub offset: u64,
    /// Its time, in milliseconds since 1970: all that every engine keeps.
    pub time_ms: i64,
}

/// What a record says.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: &'a [u8],
    /// The headers.
    pub headers: &'a [(String, Bytes)],
}

fn framed(frame: &mut Vec<u8>, bytes: &[u8]) {
    frame.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    frame.extend_from_slice(bytes);
}

/// What a chain said at a moment: kept elsewhere, it proves the stream up to its offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The stream.
    pub stream: StreamName,
    /// The last record of the stream at that moment.
    pub offset: u64,
    /// The value of that record.
    pub own: ChainHash,
    /// When the anchor was taken.
    pub time: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(offset: u64, key: Option<&[u8]>, value: &[u8], headers: &[(String, Bytes)]) -> Link {
        let stream = "changes.corp".parse().unwrap();
        Link::of(ChainHash::BEGIN, &stream, Place { offset, time_ms: 1 }, Content { key, value, headers })
    }

    /// The value is part of what is kept: another one would break every chain there is.
    #[test]
    fn the_hash_is_what_it_always_was() {
        let headers = [("h".to_owned(), Bytes::from_static(b"x"))];
        let own = link(7, Some(b"k"), b"v", &headers).own.to_string();
        assert_eq!(own, "154cd44b1a3a0624666b4ab8fdbb66638b8d700e6b22666d41e8402f09138912");
    }

    #[test]
    fn no_two_records_run_together() {
        let header = |name: &str, value: &'static [u8]| vec![(name.to_owned(), Bytes::from_static(value))];
        let all = [
            link(0, None, b"", &[]),
            link(1, None, b"", &[]),
            link(0, Some(b""), b"", &[]),
            link(0, Some(b"a"), b"b", &[]),
            link(0, Some(b"ab"), b"", &[]),
            link(0, None, b"ab", &[]),
            link(0, None, b"", &header("ab", b"")),
            link(0, None, b"", &header("a", b"b")),
            link(0, None, b"b", &header("a", b"")),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| other.own != one.own), "{index}");
        }
    }

    #[test]
    fn a_hash_reads_back() {
        let own = link(0, None, b"", &[]).own;
        assert_eq!(own.to_string().parse(), Ok(own));
        for wrong in ["", "00", "zz", &"0".repeat(65)] {
            assert_eq!(wrong.parse::<ChainHash>(), Err(ChainHashError), "{wrong}");
        }
    }
}
