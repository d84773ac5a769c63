//! Names of streams.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why something is no stream name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no stream name: 1 to 249 of a-z, 0-9, '.', '-', '_', not starting with '.'")]
pub struct StreamNameError(String);

/// The name of a stream: a Kafka topic and a directory as it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(String);

impl StreamName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the stream keeps only the last record of each key.
    pub fn is_compacted(&self) -> bool {
        self.0.starts_with("desired.")
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for StreamName {
    type Error = StreamNameError;

    fn try_from(text: String) -> Result<Self, StreamNameError> {
        text.parse()
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.0
    }
}

impl FromStr for StreamName {
    type Err = StreamNameError;

    fn from_str(text: &str) -> Result<Self, StreamNameError> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        let ok = (1..=249).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(legal);
        if ok { Ok(Self(text.to_owned())) } else { Err(StreamNameError(text.chars().take(250).collect())) }
    }
}
