//! `decisions.<configuration>`: what must stick once chosen, or would else depend on arrival. A decision is written
//! before it is acted on, and a replay reads it instead of deciding again.

use forestsync_domain::{Dn, ObjectGuid, SourceAnchor};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::changes::SnapshotId;
use crate::{Envelope, EventBody, EventId};

/// An event of a `decisions` stream.
pub type DecisionRecord = Envelope<DecisionEvent>;

/// Whose decision it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionContext {
    /// The configuration's name.
    pub configuration: String,
}

/// The events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum DecisionEvent {
    /// An object got its source anchor, for life.
    AnchorAssigned(AnchorAssigned),
    /// A container named in the scope was found, and is known by its objectGUID from now on.
    ScopeResolved(ScopeResolved),
    /// The configuration stopped emitting, with the reason.
    ConfigurationHeld(ConfigurationHeld),
    /// What held the configuration is gone.
    ConfigurationReleased(ConfigurationReleased),
    /// Something is wrong with an object in the directory.
    FindingRaised(FindingRaised),
    /// What was wrong with an object is corrected, or the object is gone.
    FindingCleared(FindingCleared),
    /// A `changes` stream cannot be applied any further.
    StreamStopped(StreamStopped),
    /// A stream that had stopped is applied again.
    StreamResumed(StreamResumed),
    /// A full read that came after others was judged.
    FullReadJudged(FullReadJudged),
    /// What a full read did not show is gone, because somebody said so.
    FullReadApproved(FullReadApproved),
    /// An object became part of another one's record.
    JoinMade(JoinMade),
    /// An object is no longer part of another one's record.
    JoinBroken(JoinBroken),
    /// A moment came that an object was waiting for.
    TimerFired(TimerFired),
}

impl EventBody for DecisionEvent {
    type Context = DecisionContext;

    fn type_name(&self) -> &'static str {
        match self {
            Self::AnchorAssigned(_) => "AnchorAssigned",
            Self::ScopeResolved(_) => "ScopeResolved",
            Self::ConfigurationHeld(_) => "ConfigurationHeld",
            Self::ConfigurationReleased(_) => "ConfigurationReleased",
            Self::FindingRaised(_) => "FindingRaised",
            Self::FindingCleared(_) => "FindingCleared",
            Self::StreamStopped(_) => "StreamStopped",
            Self::StreamResumed(_) => "StreamResumed",
            Self::FullReadJudged(_) => "FullReadJudged",
            Self::FullReadApproved(_) => "FullReadApproved",
            Self::JoinMade(_) => "JoinMade",
            Self::JoinBroken(_) => "JoinBroken",
            Self::TimerFired(_) => "TimerFired",
        }
    }

    fn from_data(kind: &str, data: &str) -> Option<Result<Self, serde_json::Error>> {
        Some(match kind {
            "AnchorAssigned" => serde_json::from_str(data).map(Self::AnchorAssigned),
            "ScopeResolved" => serde_json::from_str(data).map(Self::ScopeResolved),
            "ConfigurationHeld" => serde_json::from_str(data).map(Self::ConfigurationHeld),
            "ConfigurationReleased" => serde_json::from_str(data).map(Self::ConfigurationReleased),
            "FindingRaised" => serde_json::from_str(data).map(Self::FindingRaised),
            "FindingCleared" => serde_json::from_str(data).map(Self::FindingCleared),
            "StreamStopped" => serde_json::from_str(data).map(Self::StreamStopped),
            "StreamResumed" => serde_json::from_str(data).map(Self::StreamResumed),
            "FullReadJudged" => serde_json::from_str(data).map(Self::FullReadJudged),
            "FullReadApproved" => serde_json::from_str(data).map(Self::FullReadApproved),
            "JoinMade" => serde_json::from_str(data).map(Self::JoinMade),
            "JoinBroken" => serde_json::from_str(data).map(Self::JoinBroken),
            "TimerFired" => serde_json::from_str(data).map(Self::TimerFired),
            _ => return None,
        })
    }
}

/// An object got its source anchor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnchorAssigned {
    /// The forest's configured name.
    pub forest: String,
    /// The object's naming context.
    pub naming_context: Dn,
    /// objectGUID of the object.
    pub object: ObjectGuid,
    /// What it got.
    pub anchor: SourceAnchor,
    /// What the anchor was made of.
    pub basis: AnchorBasis,
}

/// What an anchor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnchorBasis {
    /// ms-DS-ConsistencyGuid, which the object had.
    ConsistencyGuid,
    /// objectGUID, because it had none.
    ObjectGuid,
}

/// A container named in the scope was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScopeResolved {
    /// The forest's configured name.
    pub forest: String,
    /// The naming context.
    pub naming_context: Dn,
    /// The name as the configuration has it.
    pub dn: Dn,
    /// What it is.
    pub object: ObjectGuid,
}

/// The configuration stopped emitting. Nothing is deleted, and nothing else sent, until it is released. Written anew when
/// something else is in doubt about a source; the last one of a reason, forest and naming context counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationHeld {
    /// What kind of reason.
    pub reason: HoldReason,
    /// The forest concerned.
    pub forest: String,
    /// What was seen, for a person.
    pub detail: String,
    /// What to do about it.
    pub hint: String,
    /// The containers and groups of the scope that are empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emptied: Vec<ObjectGuid>,
    /// The naming contexts of whose scope nothing is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bare: Vec<Dn>,
    /// The naming context, of a full read that is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub naming_context: Option<Dn>,
    /// That full read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// Why it is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// How many objects would leave the tenant if somebody approved this, as things stood; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<u64>,
}

/// Why a configuration is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// A container named in the scope was deleted, or never existed.
    ScopeContainerMissing,
    /// A container or group named in the scope was emptied, or all of them are, while the configuration manages objects
    /// from there.
    ScopeEmpty,
    /// A full read of a source showed no object at all, or far fewer than are managed.
    SourceShrunken,
    /// A group named in the scope was deleted, or never existed.
    ScopeGroupMissing,
    /// A rule reads an attribute that the forest's collector does not: it would count as empty everywhere.
    AttributeNotRead,
}

/// What held the configuration is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationReleased {
    /// The reason that no longer holds.
    pub reason: HoldReason,
    /// The forest concerned.
    pub forest: String,
    /// The naming context, where the hold was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub naming_context: Option<Dn>,
    /// The event of `control` by which somebody approved that parts of the scope are empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<EventId>,
    /// The containers and groups that this approves of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emptied: Vec<ObjectGuid>,
    /// The naming contexts, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bare: Vec<Dn>,
}

/// Something is wrong with an object in the directory. Written anew when that changes; the last one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingRaised {
    /// The forest's configured name.
    pub forest: String,
    /// The object's naming context.
    pub naming_context: Dn,
    /// objectGUID of the object.
    pub object: ObjectGuid,
    /// Its name when this was written.
    pub dn: Dn,
    /// Whether the object is not sent because of it.
    pub blocking: bool,
    /// What is wrong and what to do, without attribute values.
    pub messages: Vec<String>,
    /// The same by rule; those that follow from no rule of identity hygiene are in `messages` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<RuleFinding>,
}

/// What a rule of identity hygiene says of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct RuleFinding {
    /// The rule's id.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// The directory attribute.
    pub attribute: String,
    /// What is wrong and what to do, without attribute values.
    pub message: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Azure AD refuses it, or people cannot sign in.
    Error,
    /// It causes trouble in some services.
    Warning,
    /// Worth knowing.
    Info,
}

/// An object became part of another one's record: the two are one person, or one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinMade {
    /// The anchor they stand for together.
    pub anchor: SourceAnchor,
    /// The forest's configured name.
    pub forest: String,
    /// The object's naming context.
    pub naming_context: Dn,
    /// objectGUID of the object.
    pub object: ObjectGuid,
    /// The rule, as the configuration names it.
    pub rule: String,
}

/// An object is no longer part of another one's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinBroken {
    /// The anchor it stood for together with others.
    pub anchor: SourceAnchor,
    /// The forest's configured name.
    pub forest: String,
    /// The object's naming context.
    pub naming_context: Dn,
    /// objectGUID of the object.
    pub object: ObjectGuid,
}

/// A moment came that an object was waiting for: its account expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimerFired {
    /// The forest's configured name.
    pub forest: String,
    /// The object's naming context.
    pub naming_context: Dn,
    /// objectGUID of the object.
    pub object: ObjectGuid,
    /// The moment, as accountExpires has it. A later value of the attribute is another moment.
    pub due: Timestamp,
}

/// What was wrong with an object is corrected, or the object is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingCleared {
    /// The forest's configured name.
    pub forest: String,
    /// The object's naming context.
    pub naming_context: Dn,
    /// objectGUID of the object.
    pub object: ObjectGuid,
}

/// A `changes` stream cannot be applied any further. The other streams go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamStopped {
    /// The stream's name.
    pub stream: String,
    /// The first record that is not applied.
    pub offset: u64,
    /// What is wrong with it, without attribute values.
    pub detail: String,
}

/// A stream that had stopped is applied again, or is configured no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamResumed {
    /// The stream's name.
    pub stream: String,
}

/// A full read that came after others was judged: whether what it did not show is gone. The scope has a part in it, so a
/// replay with another one takes the judgement from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FullReadJudged {
    /// The forest's configured name.
    pub forest: String,
    /// The naming context.
    pub naming_context: Dn,
    /// The full read.
    pub snapshot: SnapshotId,
    /// Why it is not believed; absent if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
}

/// Why a full read is not believed. Nothing is deleted or cleared because of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Doubt {
    /// It showed nothing to synchronize.
    Nothing {
        /// Objects known before.
        had: u64,
    },
    /// It lacked too many of the objects in scope.
    Fewer {
        /// Those it did not show.
        missing: u64,
        /// Those known before.
        known: u64,
    },
    /// It showed too many objects without an attribute that they had.
    Attribute {
        /// The attribute.
        name: String,
        /// Objects without a value now.
        missing: u64,
        /// Objects with a value before.
        known: u64,
        /// Further attributes of which the same is true.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        more: Vec<LostValues>,
    },
}

/// An attribute that a full read did not show on too many objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LostValues {
    /// The attribute.
    pub name: String,
    /// Objects without a value now.
    pub missing: u64,
    /// Objects with a value before.
    pub known: u64,
}

/// Somebody approved what a full read did not show. It counts from a place in the stream on, because a later record may
/// show again what was missing: a replay does the same there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FullReadApproved {
    /// The forest's configured name.
    pub forest: String,
    /// The naming context.
    pub naming_context: Dn,
    /// The full read.
    pub snapshot: SnapshotId,
    /// The first record of the source's `changes` stream that had not been applied.
    pub offset: u64,
    /// Why it is still not believed: somebody approved the loss of values, and it lacks objects as well. Absent if it is
    /// believed now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// The event of `control` by which it was approved.
    pub approval: EventId,
}
