//! Cloud values for bincode, which cannot tell of itself what a value is.

use forestsync_schemas::desired::CloudValue;
use serde::{Deserialize, Serialize};

/// Cloud values in a form that needs no self-describing format.
#[derive(Serialize, Deserialize)]
enum Flat {
    Bool(bool),
    Integer(i64),
    Text(String),
    List(Vec<String>),
}

impl From<&CloudValue> for Flat {
    fn from(value: &CloudValue) -> Self {
        match value {
            CloudValue::Bool(value) => Self::Bool(*value),
            CloudValue::Integer(value) => Self::Integer(*value),
            CloudValue::Text(text) => Self::Text(text.clone()),
            CloudValue::List(values) => Self::List(values.clone()),
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
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Flat;

    pub(in super::super) fn serialize<S: Serializer>(
        value: &CloudAttributes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.iter().map(|(name, value)| (name, Flat::from(value))).collect::<Vec<_>>().serialize(serializer)
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
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Flat;

    type Entry<N> = (N, Option<Flat>, Option<Flat>);

    pub(in super::super) fn serialize<S: Serializer>(
        value: &AttributeChanges,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let entry = |(name, change): (&String, &AttributeChange)| -> Entry<String> {
            (name.clone(), change.before.as_ref().map(Flat::from), change.after.as_ref().map(Flat::from))
        };
        value.iter().map(entry).collect::<Vec<_>>().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<AttributeChanges, D::Error> {
        let flat = Vec::<Entry<String>>::deserialize(deserializer)?;
        let change = |(name, before, after): Entry<String>| {
            (name, AttributeChange { before: before.map(Into::into), after: after.map(Into::into) })
        };
        Ok(flat.into_iter().map(change).collect())
    }
}
