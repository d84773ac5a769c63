//! Cloud values for bincode, which cannot tell of itself what a value is.

use forestsync_schemas::desired::CloudValue;
use serde::{Deserialize, Serialize};

/// Cloud values in a form that needs no self-describing format, to be written.
#[derive(Serialize)]
enum FlatRef<'a> {
    Bool(bool),
    Integer(i64),
    Text(&'a str),
    List(&'a [String]),
}

/// The same, read.
#[derive(Deserialize)]
enum Flat {
    Bool(bool),
    Integer(i64),
    Text(String),
    List(Vec<String>),
}

impl<'a> From<&'a CloudValue> for FlatRef<'a> {
    fn from(value: &'a CloudValue) -> Self {
        match value {
            CloudValue::Bool(value) => Self::Bool(*value),
            CloudValue::Integer(value) => Self::Integer(*value),
            CloudValue::Text(text) => Self::Text(text),
            CloudValue::List(values) => Self::List(values),
        }
    }
}

impl From<Flat> for CloudValue {
    fn from(value: Flat) -> Self {
        match value {
            Flat::Bool(value) => Self::Bool(value),
            Flat::Integer(value) => Self::Integer(value),
            Flat::Text(text) => Self::Text(text),
            Flat::List(values) => Self::List(values),
        }
    }
}

/// Attributes, for `serde(with)`.
pub(super) mod attributes {
    use forestsync_schemas::desired::CloudAttributes;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Flat, FlatRef};

    pub(in super::super) fn serialize<S: Serializer>(
        value: &CloudAttributes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value.iter().map(|(name, value)| (name, FlatRef::from(value))))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<CloudAttributes, D::Error> {
        let flat = Vec::<(String, Flat)>::deserialize(deserializer)?;
        Ok(flat.into_iter().map(|(name, value)| (name, value.into())).collect())
    }
}

/// Changes of attributes, likewise.
pub(super) mod changes {
    use forestsync_schemas::outcomes::{AttributeChange, AttributeChanges};
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Flat, FlatRef};

    type Entry = (String, Option<Flat>, Option<Flat>);

    pub(in super::super) fn serialize<S: Serializer>(
        value: &AttributeChanges,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let entry = |(name, change)| {
            let (name, AttributeChange { before, after }): (&String, &AttributeChange) = (name, change);
            (name, before.as_ref().map(FlatRef::from), after.as_ref().map(FlatRef::from))
        };
        serializer.collect_seq(value.iter().map(entry))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<AttributeChanges, D::Error> {
        let flat = Vec::<Entry>::deserialize(deserializer)?;
        let change = |(name, before, after): Entry| {
            (name, AttributeChange { before: before.map(Into::into), after: after.map(Into::into) })
        };
        Ok(flat.into_iter().map(change).collect())
    }
}
