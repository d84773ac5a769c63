//! Source anchors.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{GuidError, ObjectGuid};

/// What ties a directory object to its cloud object for life: base64 of sixteen raw bytes, of ms-DS-ConsistencyGuid or
/// of objectGUID. Graph holds it as `onPremisesImmutableId` of a user and, in another alphabet, as
/// `uniqueName` of a group.
// shared, because queues, indexes and requests are full of clones
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(transparent)]
pub struct SourceAnchor(#[schemars(with = "String")] Arc<str>);

impl Serialize for SourceAnchor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SourceAnchor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl SourceAnchor {
    /// The anchor made of these sixteen bytes, in the order the directory stores them.
    pub fn from_guid(guid: ObjectGuid) -> Self {
        Self(STANDARD.encode(guid.as_bytes()).into())
    }

    /// The bytes the anchor was made of.
    pub fn guid(&self) -> Result<ObjectGuid, GuidError> {
        let bytes =
            STANDARD.decode(self.0.as_bytes()).map_err(|_| GuidError::Text(self.0.chars().take(60).collect()))?;
        ObjectGuid::from_slice(&bytes)
    }

    /// The form a group's `uniqueName` has: base64 in the alphabet for URLs and without padding, because the name is a
    /// segment of the path that the group is addressed by.
    pub fn unique_name(&self) -> String {
        self.0.trim_end_matches('=').replace('+', "-").replace('/', "_")
    }

    /// The text, as Graph holds it of a user.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for SourceAnchor {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_base64_of_the_stored_bytes() {
        let guid: ObjectGuid = "00112233-4455-6677-8899-aabbccddeeff".parse().unwrap();
        let anchor = SourceAnchor::from_guid(guid);
        assert_eq!(anchor.as_str(), "MyIRAFVEd2aImaq7zN3u/w==");
        assert_eq!(anchor.unique_name(), "MyIRAFVEd2aImaq7zN3u_w");
        assert_eq!(anchor.guid(), Ok(guid));
    }
}
