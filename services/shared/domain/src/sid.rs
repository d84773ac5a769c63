//! Security identifiers.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Why something is not a security identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SidError {
    /// The binary form does not have the length that its own count of sub-authorities says.
    #[error("a binary SID of {0} bytes has the wrong length")]
    Length(usize),
    /// The text is not of the form `S-1-5-21-…`.
    #[error("{0:?} is not a SID such as S-1-5-21-1-2-3-1105")]
    Text(String),
}

/// A security identifier in its text form `S-1-…` (MS-DTYP 2.4.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sid(String);

impl Sid {
    /// Reads the value of a binary attribute such as objectSid.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SidError> {
        let wrong = || SidError::Length(bytes.len());
        let (&[revision, count], rest) = bytes.split_first_chunk::<2>().ok_or_else(wrong)?;
        let (authority, rest) = rest.split_first_chunk::<6>().ok_or_else(wrong)?;
        if rest.len() != 4 * usize::from(count) {
            return Err(wrong());
        }
        let authority = authority.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let mut text = format!("S-{revision}-{authority}");
        for part in rest.chunks_exact(4) {
            let part = u32::from_le_bytes(part.try_into().map_err(|_| wrong())?);
            let _infallible = write!(text, "-{part}");
        }
        Ok(Self(text))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Sid {
    type Err = SidError;

    fn from_str(text: &str) -> Result<Self, SidError> {
        let upper = text.to_ascii_uppercase();
        let mut parts = upper.split('-');
        let parts_ok = parts.next() == Some("S")
            && upper.split('-').count() >= 3
            && parts.all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
        if parts_ok { Ok(Self(upper)) } else { Err(SidError::Text(text.chars().take(60).collect())) }
    }
}

impl TryFrom<String> for Sid {
    type Error = SidError;

    fn try_from(text: String) -> Result<Self, SidError> {
        text.parse()
    }
}

impl From<Sid> for String {
    fn from(sid: Sid) -> Self {
        sid.0
    }
}

impl JsonSchema for Sid {
    fn schema_name() -> Cow<'static, str> {
        "Sid".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A security identifier.", "pattern": "^S-[0-9]+(-[0-9]+)+$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_binary_form() {
        let raw = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
        assert_eq!(Sid::from_slice(&raw).unwrap().as_str(), "S-1-5-32-544");
        assert_eq!(Sid::from_slice(&raw[..15]), Err(SidError::Length(15)));
        assert_eq!(Sid::from_slice(&[]), Err(SidError::Length(0)));
    }

    #[test]
    fn refuses_other_text() {
        for text in ["", "S-", "S-1", "S-1-x", "1-5-32", "S-1--5"] {
            assert!(text.parse::<Sid>().is_err(), "{text}");
        }
        assert_eq!("s-1-5-32".parse::<Sid>().unwrap().to_string(), "S-1-5-32");
    }
}
