//! objectGUID and invocationId.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why something is not a GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuidError {
    /// A binary GUID has sixteen bytes.
    #[error("a GUID has 16 bytes, this value has {0}")]
    Length(usize),
    /// The text is not of the form `00112233-4455-6677-8899-aabbccddeeff`.
    #[error("{0:?} is not a GUID such as 00112233-4455-6677-8899-aabbccddeeff")]
    Text(String),
}

/// An objectGUID: the sixteen bytes exactly as the directory stores them.
///
/// As text the first three groups are little-endian (MS-DTYP 2.3.4.2), so the text differs in byte order from the
/// bytes; the bytes are what a source anchor is made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectGuid([u8; 16]);

/// The order in which the stored bytes appear in the text form.
const TEXT_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl ObjectGuid {
    /// Takes the bytes as the directory stores them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Takes the value of a binary attribute such as objectGUID or ms-DS-ConsistencyGuid.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, GuidError> {
        bytes.try_into().map(Self).map_err(|_| GuidError::Length(bytes.len()))
    }

    /// The bytes as the directory stores them.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for ObjectGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (i, index) in TEXT_ORDER.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                at += 1;
            }
            let byte = self.0[*index];
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for ObjectGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectGuid {
    type Err = GuidError;

    /// Reads the text form, with or without braces, in any case.
    fn from_str(text: &str) -> Result<Self, GuidError> {
        let bad = || GuidError::Text(text.chars().take(60).collect());
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text).as_bytes();
        if inner.len() != 36 {
            return Err(bad());
        }
        let (mut bytes, mut at) = ([0u8; 16], 0);
        for (i, index) in TEXT_ORDER.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                if inner[at] != b'-' {
                    return Err(bad());
                }
                at += 1;
            }
            let digit = |b: u8| char::from(b).to_digit(16);
            let (Some(high), Some(low)) = (digit(inner[at]), digit(inner[at + 1])) else {
                return Err(bad());
            };
            bytes[*index] = u8::try_from(high << 4 | low).map_err(|_| bad())?;
            at += 2;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for ObjectGuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for ObjectGuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self)
        }
    }
}

impl JsonSchema for ObjectGuid {
    fn schema_name() -> Cow<'static, str> {
        "ObjectGuid".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A GUID as directory tools print it; the first three groups are little-endian.",
            "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
        })
    }
}

/// The identity of one incarnation of a domain controller's database. It changes when the controller is restored in a
/// supported way, and cursors made under another one must not be trusted (MS-ADTS 3.1.1.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct InvocationId(pub ObjectGuid);

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_mixed_endian() {
        let raw = [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        let guid = ObjectGuid::from_bytes(raw);
        assert_eq!(guid.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!("{00112233-4455-6677-8899-AABBCCDDEEFF}".parse(), Ok(guid));
    }

    #[test]
    fn refuses_what_is_not_a_guid() {
        for text in ["", "00112233445566778899aabbccddeeff", "0011223g-4455-6677-8899-aabbccddeeff", "{00112233"] {
            assert!(text.parse::<ObjectGuid>().is_err(), "{text}");
        }
        assert_eq!(ObjectGuid::from_slice(&[0; 15]), Err(GuidError::Length(15)));
    }

    proptest! {
        #[test]
        fn text_round_trips(raw in any::<[u8; 16]>()) {
            let guid = ObjectGuid::from_bytes(raw);
            prop_assert_eq!(guid.to_string().parse::<ObjectGuid>(), Ok(guid));
            let json = serde_json::to_string(&guid).unwrap();
            prop_assert_eq!(serde_json::from_str::<ObjectGuid>(&json).unwrap(), guid);
        }
    }
}
