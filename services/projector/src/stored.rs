//! How attributes stand in a row: texts and bytes in one piece, not value by value as the general form would have it.

use std::collections::BTreeMap;
use std::fmt;

use forestsync_domain::{AttributeValue, Attributes};
use serde::de::{Deserializer, Visitor};
use serde::ser::{SerializeSeq as _, Serializer};
use serde::{Deserialize, Serialize};

struct Value<'a>(&'a AttributeValue);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            AttributeValue::Text(text) => serializer.serialize_newtype_variant("Owned", 0, "Text", text),
            AttributeValue::Binary(bytes) => serializer.serialize_newtype_variant("Owned", 1, "Binary", &Bytes(bytes)),
        }
    }
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

struct Values<'a>(&'a [AttributeValue]);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for value in self.0 {
            list.serialize_element(&Value(value))?;
        }
        list.end()
    }
}

pub(crate) fn serialize<S: Serializer>(attributes: &Attributes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(attributes.iter().map(|(name, values)| (name, Values(values))))
}

#[derive(Deserialize)]
enum Owned {
    Text(String),
    Binary(OwnedBytes),
}

struct OwnedBytes(Vec<u8>);

impl<'de> Deserialize<'de> for OwnedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Buffer;
        impl Visitor<'_> for Buffer {
            type Value = OwnedBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<OwnedBytes, E> {
                Ok(OwnedBytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<OwnedBytes, E> {
                Ok(OwnedBytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Buffer)
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Attributes, D::Error> {
    let stored: BTreeMap<String, Vec<Owned>> = BTreeMap::deserialize(deserializer)?;
    let value = |owned| match owned {
        Owned::Text(text) => AttributeValue::Text(text),
        Owned::Binary(bytes) => AttributeValue::Binary(bytes.0),
    };
    Ok(stored.into_iter().map(|(name, values)| (name, values.into_iter().map(value).collect())).collect())
}
