//! The state digest.

use std::fmt;

use crate::{keys, rows};

/// One value for everything a projection holds: the sum, modulo 2^128, of the first sixteen bytes of BLAKE3 of each row.
///
/// A sum has no order, so databases that hold the same rows have the same digest however they came to them. At which
/// offset an object's values stand in the log is no part of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StateDigest(pub u128);

impl fmt::Display for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for StateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for StateDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What one row adds to the sum of the state, and to that of everything else.
pub(crate) fn of_row(key: &[u8], value: &[u8]) -> (u128, u128) {
    match key.first() {
        Some(&keys::OBJECT) => {
            let (row, origin) = rows::split_origin(value);
            (hash(key, row), hash(key, origin))
        }
        Some(&prefix) if keys::is_state(prefix) => (hash(key, value), 0),
        _ => (0, hash(key, value)),
    }
}

fn hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u32).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    first_half(&hasher.finalize())
}

/// The first sixteen bytes of a hash, as a number.
fn first_half(hash: &blake3::Hash) -> u128 {
    hash.as_bytes().first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// A short hash of a content.
pub(crate) fn of_content(bytes: &[u8]) -> [u8; 16] {
    first_half(&blake3::hash(bytes)).to_be_bytes()
}
