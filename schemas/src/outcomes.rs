//! `outcomes.<configuration>`: what was done to the tenant, and what could not be.
//!
//! The provisioner's ledger is a fold over this stream: whoever lost the ledger rebuilds it from offset 0. So every
//! write that took effect has its event, written after the tenant confirmed it, and carries all that the ledger keeps.

use std::collections::BTreeMap;

use forestsync_domain::SourceAnchor;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::{CloudAttributes, CloudClass, CloudValue};
use crate::{Envelope, EventBody};

/// An event of an `outcomes` stream.
pub type OutcomeRecord = Envelope<OutcomeEvent>;

/// What an outcome is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomeContext {
    /// The configuration's name.
    pub configuration: String,
    /// The object's anchor; of a membership, the group's; empty where the event concerns the whole tenant.
    pub anchor: SourceAnchor,
    /// What kind of object; without a meaning where the anchor is empty.
    pub class: CloudClass,
    /// The cloud object's id, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_id: Option<String>,
    /// Offset in `desired` of the record that caused it.
    pub desired_offset: u64,
    /// Graph's `request-id` of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// HTTP status of the answer; absent where the write was confirmed by reading after its answer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// W3C trace context of the directory change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// The events.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OutcomeEvent {
    /// A cloud object was created.
    ObjectProvisioned(ObjectProvisioned),
    /// Attributes of a cloud object were written.
    ObjectUpdated(ObjectUpdated),
    /// A cloud object that was there already is managed from now on.
    ObjectAdopted(ObjectAdopted),
    /// A soft-deleted cloud object was brought back.
    ObjectRestored(ObjectRestored),
    /// A cloud object was deleted.
    ObjectDeprovisioned(ObjectDeprovisioned),
    /// A cloud object is not managed any more, because another has taken it over; it stays as it is.
    ObjectRelinquished(ObjectRelinquished),
    /// A user's manager was set or cleared.
    ManagerChanged(ManagerChanged),
    /// A group's owner was set or cleared.
    OwnerChanged(OwnerChanged),
    /// A group got members.
    MemberAdded(MemberAdded),
    /// A group lost members.
    MemberRemoved(MemberRemoved),
    /// A write failed and will be tried again.
    ExportFailed(ExportFailed),
    /// A write is held until somebody decides.
    ExportHeld(ExportHeld),
    /// A held write is free again.
    ExportReleased(ExportReleased),
    /// An object is to be deleted later, and is disabled until then.
    DeletionDeferred(DeletionDeferred),
    /// A write failed too often, or in a way that repeating cannot heal; it rests until the object changes, or is tried
    /// rarely and silently.
    ExportQuarantined(ExportQuarantined),
    /// The object or some of its attributes cannot be written through Graph.
    NotWritable(NotWritable),
    /// The tenant takes nothing at all.
    ExportStopped(ExportStopped),
    /// It takes writes again.
    ExportResumed(ExportResumed),
    /// So much fails that the configuration writes to its tenant only from time to time.
    ConfigurationQuarantined(ConfigurationQuarantined),
    /// It writes again as it used to.
    ConfigurationRecovered(ConfigurationRecovered),
    /// People were told of something, or that it is over.
    NotificationSent(NotificationSent),
    /// Others changed attributes in the tenant.
    DriftFound(DriftFound),
    /// Others changed a group's members in the tenant.
    MembersDrifted(MembersDrifted),
    /// Others deleted a cloud object that is managed.
    DeletedByOthers(DeletedByOthers),
    /// What others did is not there any more, although nobody here wrote.
    DriftEnded(DriftEnded),
    /// The whole tenant was compared with what was written.
    TenantCompared(TenantCompared),
}

impl EventBody for OutcomeEvent {
    type Context = OutcomeContext;

    fn type_name(&self) -> &'static str {
        match self {
            Self::ObjectProvisioned(_) => "ObjectProvisioned",
            Self::ObjectUpdated(_) => "ObjectUpdated",
            Self::ObjectAdopted(_) => "ObjectAdopted",
            Self::ObjectRestored(_) => "ObjectRestored",
            Self::ObjectDeprovisioned(_) => "ObjectDeprovisioned",
            Self::ObjectRelinquished(_) => "ObjectRelinquished",
            Self::ManagerChanged(_) => "ManagerChanged",
            Self::OwnerChanged(_) => "OwnerChanged",
            Self::MemberAdded(_) => "MemberAdded",
            Self::MemberRemoved(_) => "MemberRemoved",
            Self::ExportFailed(_) => "ExportFailed",
            Self::ExportHeld(_) => "ExportHeld",
            Self::ExportReleased(_) => "ExportReleased",
            Self::DeletionDeferred(_) => "DeletionDeferred",
            Self::ExportQuarantined(_) => "ExportQuarantined",
            Self::NotWritable(_) => "NotWritable",
            Self::ExportStopped(_) => "ExportStopped",
            Self::ExportResumed(_) => "ExportResumed",
            Self::ConfigurationQuarantined(_) => "ConfigurationQuarantined",
            Self::ConfigurationRecovered(_) => "ConfigurationRecovered",
            Self::NotificationSent(_) => "NotificationSent",
            Self::DriftFound(_) => "DriftFound",
            Self::MembersDrifted(_) => "MembersDrifted",
            Self::DeletedByOthers(_) => "DeletedByOthers",
            Self::DriftEnded(_) => "DriftEnded",
            Self::TenantCompared(_) => "TenantCompared",
        }
    }

    fn from_data(kind: &str, data: &str) -> Option<Result<Self, serde_json::Error>> {
        Some(match kind {
            "ObjectProvisioned" => serde_json::from_str(data).map(Self::ObjectProvisioned),
            "ObjectUpdated" => serde_json::from_str(data).map(Self::ObjectUpdated),
            "ObjectAdopted" => serde_json::from_str(data).map(Self::ObjectAdopted),
            "ObjectRestored" => serde_json::from_str(data).map(Self::ObjectRestored),
            "ObjectDeprovisioned" => serde_json::from_str(data).map(Self::ObjectDeprovisioned),
            "ObjectRelinquished" => serde_json::from_str(data).map(Self::ObjectRelinquished),
            "ManagerChanged" => serde_json::from_str(data).map(Self::ManagerChanged),
            "OwnerChanged" => serde_json::from_str(data).map(Self::OwnerChanged),
            "MemberAdded" => serde_json::from_str(data).map(Self::MemberAdded),
            "MemberRemoved" => serde_json::from_str(data).map(Self::MemberRemoved),
            "ExportFailed" => serde_json::from_str(data).map(Self::ExportFailed),
            "ExportHeld" => serde_json::from_str(data).map(Self::ExportHeld),
            "ExportReleased" => serde_json::from_str(data).map(Self::ExportReleased),
            "DeletionDeferred" => serde_json::from_str(data).map(Self::DeletionDeferred),
            "ExportQuarantined" => serde_json::from_str(data).map(Self::ExportQuarantined),
            "NotWritable" => serde_json::from_str(data).map(Self::NotWritable),
            "ExportStopped" => serde_json::from_str(data).map(Self::ExportStopped),
            "ExportResumed" => serde_json::from_str(data).map(Self::ExportResumed),
            "ConfigurationQuarantined" => serde_json::from_str(data).map(Self::ConfigurationQuarantined),
            "ConfigurationRecovered" => serde_json::from_str(data).map(Self::ConfigurationRecovered),
            "NotificationSent" => serde_json::from_str(data).map(Self::NotificationSent),
            "DriftFound" => serde_json::from_str(data).map(Self::DriftFound),
            "MembersDrifted" => serde_json::from_str(data).map(Self::MembersDrifted),
            "DeletedByOthers" => serde_json::from_str(data).map(Self::DeletedByOthers),
            "DriftEnded" => serde_json::from_str(data).map(Self::DriftEnded),
            "TenantCompared" => serde_json::from_str(data).map(Self::TenantCompared),
            _ => return None,
        })
    }
}

/// An attribute before and after; absent means without a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttributeChange {
    /// What the tenant held, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<CloudValue>,
    /// What it holds now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<CloudValue>,
}

/// Attribute changes by Graph name.
pub type AttributeChanges = BTreeMap<String, AttributeChange>;

/// A cloud object was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectProvisioned {
    /// What was sent, but for the initial password.
    pub attributes: CloudAttributes,
}

/// Attributes of a cloud object were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectUpdated {
    /// What was written.
    pub changes: AttributeChanges,
    /// What of it the guards do not count, because somebody approved it or it was counted before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncounted: Vec<Operation>,
}

/// How a cloud object was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MatchedBy {
    /// By its onPremisesImmutableId or uniqueName.
    Anchor,
    /// By its userPrincipalName, having no onPremisesImmutableId.
    UserPrincipalName,
    /// By its primary mail address, having no onPremisesImmutableId.
    Mail,
    /// By another attribute that the configuration names, having no anchor.
    Attribute,
}

/// A pair of attributes by which a cloud object is found: the value that is wished of one is what it has in the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttributePair {
    /// The attribute that flows, by its Graph name.
    pub wished: String,
    /// The cloud object's attribute.
    pub cloud: String,
}

impl std::fmt::Display for AttributePair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.wished == self.cloud { f.write_str(&self.cloud) } else { write!(f, "{} = {}", self.wished, self.cloud) }
    }
}

/// A cloud object that was there already is managed from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectAdopted {
    /// How it was found.
    pub matched_by: MatchedBy,
    /// By which attributes, where it did not carry the anchor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<AttributePair>,
    /// The managed attributes it held when it was found.
    pub attributes: CloudAttributes,
}

/// A soft-deleted cloud object was brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRestored {
    /// The managed attributes it held when it came back.
    pub attributes: CloudAttributes,
}

/// A cloud object was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectDeprovisioned {
    /// Whether Azure AD keeps it for 30 days.
    pub restorable: bool,
    /// The delete guard does not count it, because somebody approved it or it was counted when it was deferred.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncounted: bool,
}

/// An object is to be deleted later. It is disabled until then, and is back as it was when it is wished again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeletionDeferred {
    /// When it is deleted.
    pub until: Timestamp,
    /// The delete guard does not count it, because somebody approved it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncounted: bool,
}

/// A cloud object is not managed any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRelinquished {
    /// A code of ours for the reason.
    pub code: String,
    /// For a person.
    pub detail: String,
}

/// A user's manager was set or cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManagerChanged {
    /// The manager before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<SourceAnchor>,
    /// The manager now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<SourceAnchor>,
}

/// A group's owner was set or cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerChanged {
    /// The owner before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<SourceAnchor>,
    /// The owner now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<SourceAnchor>,
}

/// A group got members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberAdded {
    /// Their anchors: all of one request.
    pub members: Vec<SourceAnchor>,
}

/// A group lost members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberRemoved {
    /// Their anchors.
    pub members: Vec<SourceAnchor>,
    /// Those of them that did not go by themselves but with the group's or the member's own end: the delete guard counts
    /// that end, not them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<SourceAnchor>,
    /// Those that the delete guard does not count because somebody approved their removal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncounted: Vec<SourceAnchor>,
}

/// What was attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Find or create the object.
    Create,
    /// Write attributes.
    Update,
    /// Delete it.
    Delete,
    /// Bring it back.
    Restore,
    /// Set or clear the manager.
    SetManager,
    /// Set or clear a group's owner.
    SetOwner,
    /// Add members.
    AddMembers,
    /// Remove members.
    RemoveMembers,
    /// Of updates: disable the account. Only held, decided and counted by itself.
    Disable,
    /// Of updates: change the userPrincipalName. Only held, decided and counted by itself.
    Rename,
    /// Of creations: join a cloud object that does not carry the anchor. Only held and decided by itself.
    Join,
}

/// A write failed and will be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportFailed {
    /// What was attempted.
    pub operation: Operation,
    /// What went wrong.
    pub error: ExportError,
    /// Attempts so far.
    pub attempt: u32,
    /// When it will be tried again.
    pub retry_at: Timestamp,
    /// Of member operations: the members concerned; the object is their group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<SourceAnchor>,
}

/// What went wrong with a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportError {
    /// Graph's error code, or one of ours where no answer came.
    pub code: String,
    /// The attribute at fault, where the answer names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// The id of the object in the tenant that has the value already, where the answer names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// For a person; no attribute values.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A write is held until somebody decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportHeld {
    /// What is held.
    pub operation: Operation,
    /// Who or what holds it; absent means a guard.
    #[serde(default, skip_serializing_if = "HoldCause::is_guard")]
    pub cause: HoldCause,
    /// Why, with the numbers.
    pub detail: String,
    /// Of joins: what would be joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<HeldJoin>,
}

/// A join that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldJoin {
    /// The cloud object's id.
    pub cloud_id: String,
    /// What it is called: a user's userPrincipalName, a group's displayName.
    pub name: String,
    /// By what it was found.
    pub pair: AttributePair,
}

/// Who or what holds a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldCause {
    /// A guard: there is more of it at once than may go without asking.
    #[default]
    Guard,
    /// Somebody decided about others that a guard held with it, and not about it: it waits for a decision of its own.
    Undecided,
    /// Somebody rejected it.
    Rejected,
    /// Somebody rejected it for a time that is over.
    Lapsed,
    /// The configuration has every join held until somebody decides.
    Join,
}

impl HoldCause {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_guard(&self) -> bool {
        *self == Self::Guard
    }
}

/// A held write is free again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportReleased {
    /// What was held.
    pub operation: Operation,
    /// Why it is free.
    pub detail: String,
}

/// A write failed too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportQuarantined {
    /// What was attempted.
    pub operation: Operation,
    /// What went wrong.
    pub error: ExportError,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is tried nevertheless, and from then on from time to time without another word, because the trouble may
    /// pass by itself; absent where it rests until the object changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Of member operations: the members concerned; the object is their group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<SourceAnchor>,
}

/// Something cannot be written through Graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotWritable {
    /// The directory attributes concerned; empty if it is the whole object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Why.
    pub reason: String,
}

/// Why the tenant takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// There is no token, or it is not accepted.
    NotAuthenticated,
    /// The application may not read or write there.
    NotPermitted,
    /// The tenant cannot be reached, or it fails whatever is asked.
    NotAvailable,
}

/// The tenant takes nothing at all. Written once per cause; goes on by itself once the cause is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportStopped {
    /// The kind of cause.
    pub cause: StopCause,
    /// What was seen.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

/// The tenant takes writes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportResumed {}

/// Which limit was exceeded by what fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuarantineCause {
    /// The share of the objects that fail.
    Share,
    /// The number of objects that fail.
    Count,
    /// The number of objects and references that fail.
    References,
}

/// So much of a configuration fails that it writes only from time to time: a few objects after each pause, and more as
/// long as most of them do not fail. Written when it begins, and for each pause after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationQuarantined {
    /// Which limit was exceeded.
    pub cause: QuarantineCause,
    /// Objects that fail.
    pub failing: u64,
    /// Managers, owners and memberships that fail.
    pub references: u64,
    /// Objects in all: those that are wished, and those that are to be deleted.
    pub objects: u64,
    /// Pauses so far, this one included.
    pub pauses: u32,
    /// When the next ones are tried.
    pub retry_at: Timestamp,
}

/// The configuration writes again as it used to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationRecovered {
    /// Objects that still fail.
    pub failing: u64,
}

/// People were told of something that concerns the configuration, once by each channel, or that it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotificationSent {
    /// What it was about; the same as long as it lasts.
    pub cause: String,
    /// By what: `webhook` or `mail`.
    pub channel: String,
    /// It is over.
    pub over: bool,
    /// How many objects it concerned when it was told, where it concerns objects.
    pub count: u64,
}

/// What becomes of what others did in the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftPolicy {
    /// It is undone: written back, or restored.
    Enforce,
    /// It is said, and left until somebody decides or its source changes.
    Report,
    /// It is right as it is until its source changes.
    Accept,
}

/// An attribute that others changed; absent means without a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drifted {
    /// What was written last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<CloudValue>,
    /// What the tenant holds instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<CloudValue>,
    /// What becomes of it.
    pub policy: DriftPolicy,
}

/// Others changed attributes in the tenant. Where one was found before, this takes its place.
///
/// It ends with a write of the attribute, with the object, or with [`DriftEnded`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftFound {
    /// The attributes, by Graph name.
    pub attributes: BTreeMap<String, Drifted>,
    /// When the tenant was read.
    pub read_at: Timestamp,
}

/// Others changed a group's members in the tenant. Ends like [`DriftFound`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MembersDrifted {
    /// Members that others added, of those that are managed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<SourceAnchor>,
    /// Members that others removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<SourceAnchor>,
    /// What becomes of it.
    pub policy: DriftPolicy,
    /// When the tenant was read.
    pub read_at: Timestamp,
}

/// Others deleted a cloud object that is managed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeletedByOthers {
    /// Whether it was found among the deleted objects, which can be restored for 30 days.
    pub restorable: bool,
    /// What becomes of it.
    pub policy: DriftPolicy,
    /// When the tenant was read.
    pub read_at: Timestamp,
}

/// What others did is not there any more, although nobody here wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftEnded {
    /// Attributes that are as they should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Members of whom the same is true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<SourceAnchor>,
    /// The object is there again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deletion: bool,
    /// When the tenant was read.
    pub read_at: Timestamp,
}

/// The tenant was compared with what was written. Said after each comparison of everything, and else once an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantCompared {
    /// Whether everything was compared; else only what the tenant said had changed.
    pub whole: bool,
}
