//! `control.<configuration>`: what people decided.

use forestsync_domain::{Dn, ObjectGuid, SourceAnchor};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::changes::SnapshotId;
use crate::decisions::Doubt;
use crate::outcomes::Operation;
use crate::{Envelope, EventBody};

/// An event of a `control` stream.
pub type ControlRecord = Envelope<ControlEvent>;

/// Whose configuration it is, and who spoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControlContext {
    /// The configuration's name.
    pub configuration: String,
    /// The account that gave the command, as the operating system names it.
    pub actor: String,
}

/// The events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ControlEvent {
    /// A configuration came into force.
    ConfigurationActivated(ConfigurationActivated),
    /// Somebody decided about writes to the tenant that were held.
    HeldDecided(HeldDecided),
    /// A configuration is in force no longer, and what it managed goes or is let go.
    ConfigurationRemoved(ConfigurationRemoved),
    /// Somebody decided about a source that is in doubt.
    SourceDecided(SourceDecided),
}

impl EventBody for ControlEvent {
    type Context = ControlContext;

    fn type_name(&self) -> &'static str {
        match self {
            Self::ConfigurationActivated(_) => "ConfigurationActivated",
            Self::HeldDecided(_) => "HeldDecided",
            Self::ConfigurationRemoved(_) => "ConfigurationRemoved",
            Self::SourceDecided(_) => "SourceDecided",
        }
    }

    fn from_data(kind: &str, data: &str) -> Option<Result<Self, serde_json::Error>> {
        Some(match kind {
            "ConfigurationActivated" => serde_json::from_str(data).map(Self::ConfigurationActivated),
            "HeldDecided" => serde_json::from_str(data).map(Self::HeldDecided),
            "ConfigurationRemoved" => serde_json::from_str(data).map(Self::ConfigurationRemoved),
            "SourceDecided" => serde_json::from_str(data).map(Self::SourceDecided),
            _ => return None,
        })
    }
}

/// A configuration came into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationActivated {
    /// Counts from 1.
    pub revision: u64,
    /// BLAKE3 of the document, in hexadecimal digits.
    pub digest: String,
    /// The configuration file as it was read. It names files and variables that hold secrets, never the secrets.
    pub document: String,
}

/// What somebody decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It goes, and no guard counts it.
    Approve,
    /// It stays as it is.
    Reject,
}

/// Somebody decided about held writes. Of several decisions about the same write the last one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldDecided {
    /// What was decided.
    pub verdict: Verdict,
    /// Each of the writes.
    pub writes: Vec<DecidedWrite>,
    /// The last offset of `desired` that whoever decided had seen: only what was wished there or before is decided.
    pub desired_offset: u64,
    /// Why, in the words of whoever decided.
    pub reason: String,
    /// Until when it holds. An approval that was not used by then is void; what was rejected is then held again, whatever
    /// the guards say, until somebody decides anew.
    pub expires: Timestamp,
}

/// A write that was held.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct DecidedWrite {
    /// The object's anchor; of removals of members, the group's.
    pub anchor: SourceAnchor,
    /// What was held.
    pub operation: Operation,
    /// Of a join: the id of the cloud object. Another one that is found meanwhile was not decided about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_id: Option<String>,
}

/// What becomes of the objects of a configuration that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemovedObjects {
    /// They are deleted from the tenant.
    Delete,
    /// They stay in the tenant as they are, and nobody here cares for them any more.
    Release,
}

impl RemovedObjects {
    /// The name in keys and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Release => "release",
        }
    }
}

/// A configuration is in force no longer, until it is activated again: nothing of it is wished any more. What another
/// configuration for the same tenant has in its scope is handed over to that one.
///
/// Of several without an activation in between the last one says what becomes of the objects, and each of them approves
/// the deletion of those that it lists: somebody saw them. A long list takes several events of one append.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationRemoved {
    /// What becomes of what the tenant holds of it.
    pub objects: RemovedObjects,
    /// Anchors of the objects that whoever decided was shown.
    pub listed: Vec<SourceAnchor>,
    /// Why, in the words of whoever decided.
    pub reason: String,
}

/// Somebody decided about a source whose losses hold the whole configuration: whether what it shows no more was meant to
/// go. It is about exactly what `held_offset` shows, and void once anything else is seen. Of several about the same the
/// last one counts, until the projector has taken an approval up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceDecided {
    /// What was decided. What is rejected stays held.
    pub verdict: Verdict,
    /// The forest concerned.
    pub forest: String,
    /// The naming context, of a full read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub naming_context: Option<Dn>,
    /// The offset in `decisions` of the `ConfigurationHeld` that whoever decided was shown.
    pub held_offset: u64,
    /// What was seen there.
    pub seen: SourceSeen,
    /// Why, in the words of whoever decided.
    pub reason: String,
    /// Until when it holds. An approval that was not taken up by then is void.
    pub expires: Timestamp,
}

/// What is in doubt about a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SourceSeen {
    /// A full read showed too little.
    FullRead {
        /// The full read.
        snapshot: SnapshotId,
        /// What it did not show.
        doubt: Doubt,
    },
    /// Parts of the scope are empty.
    EmptyScope {
        /// The containers and groups of the scope that are empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        emptied: Vec<ObjectGuid>,
        /// The naming contexts of whose scope nothing is left.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        bare: Vec<Dn>,
    },
}
