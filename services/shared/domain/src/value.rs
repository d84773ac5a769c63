//! Attribute values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One value of a directory attribute. Which of the two it is follows from the attribute's name, never from a look at
/// the bytes, so that the same attribute always has the same form.
///
/// In JSON a text is a string and a binary value is `{"base64": "…"}`. `Debug` hides the content.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttributeValue {
    /// A value of a text syntax.
    Text(String),
    /// A value of a binary syntax, or one of a text syntax that is not UTF-8.
    Binary(Vec<u8>),
}

/// Attributes by their schema name (`lDAPDisplayName`, in the schema's own case), each with at least one value, in the
/// order in which the directory gave the values.
pub type Attributes = BTreeMap<String, Vec<AttributeValue>>;

impl AttributeValue {
    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The bytes of either form.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl fmt::Debug for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

impl Serialize for AttributeValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) if serializer.is_human_readable() => serializer.serialize_str(text),
            Self::Binary(bytes) if serializer.is_human_readable() => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(bytes))?;
                map.end()
            }
            Self::Text(text) => (false, text.as_bytes()).serialize(serializer),
            Self::Binary(bytes) => (true, bytes).serialize(serializer),
        }
    }
}

struct JsonValue;

impl<'de> Visitor<'de> for JsonValue {
    type Value = AttributeValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a string or {"base64": "…"}"#)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<AttributeValue, E> {
        Ok(AttributeValue::Text(text.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<AttributeValue, E> {
        Ok(AttributeValue::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AttributeValue, A::Error> {
        use serde::de::Error;
        let Some((key, text)) = map.next_entry::<Cow<'de, str>, Cow<'de, str>>()? else {
            return Err(A::Error::missing_field("base64"));
        };
        if key != "base64" || map.next_key::<Cow<'de, str>>()?.is_some() {
            return Err(A::Error::custom("a binary value has the one key base64"));
        }
        STANDARD.decode(text.as_bytes()).map(AttributeValue::Binary).map_err(A::Error::custom)
    }
}

impl<'de> Deserialize<'de> for AttributeValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(JsonValue);
        }
        let (binary, bytes) = <(bool, Vec<u8>)>::deserialize(deserializer)?;
        if binary {
            return Ok(Self::Binary(bytes));
        }
        String::from_utf8(bytes).map(Self::Text).map_err(|_| serde::de::Error::custom("a text value is not UTF-8"))
    }
}

impl JsonSchema for AttributeValue {
    fn schema_name() -> Cow<'static, str> {
        "AttributeValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A text value, or a binary one in base64.",
            "oneOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
                    "required": ["base64"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn json_round_trips(text in ".*", bytes in any::<Vec<u8>>()) {
            for value in [AttributeValue::Text(text.clone()), AttributeValue::Binary(bytes.clone())] {
                let json = serde_json::to_string(&value).unwrap();
                prop_assert_eq!(serde_json::from_str::<AttributeValue>(&json).unwrap(), value);
            }
        }
    }

    #[test]
    fn debug_hides_the_content() {
        assert_eq!(format!("{:?}", AttributeValue::from("secret")), "Text(6 bytes)");
    }

    #[test]
    fn refuses_other_json() {
        for json in ["1", "null", "{}", r#"{"base64":"!"}"#, r#"{"base64":"","x":""}"#, r#"{"hex":"00"}"#] {
            assert!(serde_json::from_str::<AttributeValue>(json).is_err(), "{json}");
        }
    }
}
