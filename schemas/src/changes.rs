//! `changes.<forest>.<domain>`: facts read from one naming context, in the order in which they were learned.
//!
//! Order and repetition, which every reader must bear:
//! - A full read is bracketed by `SnapshotStarted` and `SnapshotCompleted`. Within it every object comes as one or more
//!   `ObjectObserved` (a server may split an object over pages): the first one of a snapshot replaces the object's
//!   image, later ones of the same snapshot add to it. Link values follow as `LinkValuesChanged` with the same
//!   `snapshot`. What a completed snapshot did not show is absent; before `SnapshotCompleted` nothing may be concluded.
//! - A snapshot without `SnapshotCompleted` was interrupted; the next `SnapshotStarted` replaces it.
//! - A page that was read again after a crash repeats its events with the same ids. Applying an event twice in a row, or
//!   a page twice, must end in the same state as applying it once.
//! - Within one event removals of link values come before additions.
//! - `CursorAdvanced` is the last event of the append that ends a page. `from` is the id of the last cursor before it;
//!   anything else means that two collectors wrote, or that a record is missing.

use forestsync_domain::{Attributes, Cookie, Dn, InvocationId, ObjectGuid, Usn};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Envelope, EventBody, EventId};

/// An event of a `changes` stream.
pub type ChangeRecord = Envelope<ChangeEvent>;

/// Where a change was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeContext {
    /// The forest's configured name.
    pub forest: String,
    /// The naming context that was read.
    pub naming_context: Dn,
    /// objectGUID of the object concerned; absent for events about the reading itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectGuid>,
    /// The controller that answered; absent when none could be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<Controller>,
    /// uSNChanged of the object on that controller, where the method of reading tells it (USN polling does).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usn_changed: Option<Usn>,
    /// whenChanged of the object, where the method of reading tells it (USN polling does).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_changed: Option<Timestamp>,
    /// W3C trace context of the read that found the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// A domain controller in one incarnation of its database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Controller {
    /// dNSHostName.
    pub dns_name: String,
    /// invocationId of its database.
    pub invocation_id: InvocationId,
}

/// The events, each with its own struct.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ChangeEvent {
    /// A full read began.
    SnapshotStarted(SnapshotStarted),
    /// A full read ended; absence may be concluded.
    SnapshotCompleted(SnapshotCompleted),
    /// An object was seen during a full read.
    ObjectObserved(ObjectObserved),
    /// Attributes of an object changed, or the object is new.
    ObjectChanged(ObjectChanged),
    /// Values of a linked attribute came and went.
    LinkValuesChanged(LinkValuesChanged),
    /// An object became a tombstone.
    ObjectDeleted(ObjectDeleted),
    /// A tombstone became an object again.
    ObjectRestored(ObjectRestored),
    /// Everything before this event is read; the next read starts at `to`.
    CursorAdvanced(CursorAdvanced),
    /// Reading cannot go on; nothing may be concluded from silence.
    ReadingStopped(ReadingStopped),
    /// Reading goes on after `ReadingStopped`.
    ReadingResumed(ReadingResumed),
}

impl EventBody for ChangeEvent {
    type Context = ChangeContext;

    fn type_name(&self) -> &'static str {
        match self {
            Self::SnapshotStarted(_) => "SnapshotStarted",
            Self::SnapshotCompleted(_) => "SnapshotCompleted",
            Self::ObjectObserved(_) => "ObjectObserved",
            Self::ObjectChanged(_) => "ObjectChanged",
            Self::LinkValuesChanged(_) => "LinkValuesChanged",
            Self::ObjectDeleted(_) => "ObjectDeleted",
            Self::ObjectRestored(_) => "ObjectRestored",
            Self::CursorAdvanced(_) => "CursorAdvanced",
            Self::ReadingStopped(_) => "ReadingStopped",
            Self::ReadingResumed(_) => "ReadingResumed",
        }
    }

    fn from_data(kind: &str, data: &str) -> Option<Result<Self, serde_json::Error>> {
        Some(match kind {
            "SnapshotStarted" => serde_json::from_str(data).map(Self::SnapshotStarted),
            "SnapshotCompleted" => serde_json::from_str(data).map(Self::SnapshotCompleted),
            "ObjectObserved" => serde_json::from_str(data).map(Self::ObjectObserved),
            "ObjectChanged" => serde_json::from_str(data).map(Self::ObjectChanged),
            "LinkValuesChanged" => serde_json::from_str(data).map(Self::LinkValuesChanged),
            "ObjectDeleted" => serde_json::from_str(data).map(Self::ObjectDeleted),
            "ObjectRestored" => serde_json::from_str(data).map(Self::ObjectRestored),
            "CursorAdvanced" => serde_json::from_str(data).map(Self::CursorAdvanced),
            "ReadingStopped" => serde_json::from_str(data).map(Self::ReadingStopped),
            "ReadingResumed" => serde_json::from_str(data).map(Self::ReadingResumed),
            _ => return None,
        })
    }
}

/// The identity of one full read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SnapshotId(pub Uuid);

/// A full read began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotStarted {
    /// Its identity.
    pub snapshot: SnapshotId,
    /// Why a delta would not do.
    pub reason: SnapshotReason,
}

/// Why a full read was needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotReason {
    /// The stream holds no cursor yet.
    First,
    /// A full read was interrupted and could not be continued.
    Interrupted,
    /// The controller has another invocationId than the cursor: it was restored, or it is another controller.
    InvocationIdChanged,
    /// The controller's highestCommittedUSN lies before that of the cursor: it was rolled back.
    UsnWentBack,
    /// The method, the attribute list or the flags are no longer those of the cursor.
    RequestChanged,
    /// The controller refused the cookie.
    CookieRefused,
    /// The account cannot see deletions, so they are found by a full read from time to time.
    DeletionsInvisible,
    /// A person asked for it.
    Requested,
}

/// A full read ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotCompleted {
    /// Which one.
    pub snapshot: SnapshotId,
    /// How many `ObjectObserved` it has. A reader that counted another number must not conclude any absence.
    pub seen: u64,
}

/// An object as a full read showed it. Attributes that are not here have no value, or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectObserved {
    /// The full read.
    pub snapshot: SnapshotId,
    /// The object's name at that time.
    pub dn: Dn,
    /// objectGUID of the parent; absent for the naming context's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ObjectGuid>,
    /// All attributes read, but those of link syntax.
    pub attributes: Attributes,
}

/// What a delta says about an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectChanged {
    /// The object's name at that time.
    pub dn: Dn,
    /// objectGUID of the parent, where the object is new, was renamed or was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ObjectGuid>,
    /// Attributes with new values, all values of each.
    #[serde(default)]
    pub set: Attributes,
    /// Attributes that lost their value; never one that this account may not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleared: Vec<String>,
}

/// Values of a linked attribute came and went. Unknown ones among `removed` and known ones among `added` are normal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkValuesChanged {
    /// The full read it belongs to: then `added` is (a part of) all values there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// `member`, `manager` or `managedBy`.
    pub attribute: String,
    /// Values removed, by objectGUID of the object named. To be applied first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<ObjectGuid>,
    /// Values added, by objectGUID of the object named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<ObjectGuid>,
}

/// An object became a tombstone. Its links in both directions end with it: the directory does not report them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectDeleted {
    /// The tombstone's name.
    pub dn: Dn,
    /// Attributes the tombstone still has and that the answer showed.
    #[serde(default)]
    pub set: Attributes,
    /// Attributes it lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleared: Vec<String>,
}

/// A tombstone became an object again. Attributes not shown are as the tombstone had them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectRestored {
    /// The object's name.
    pub dn: Dn,
    /// objectGUID of the parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ObjectGuid>,
    /// Attributes with values.
    #[serde(default)]
    pub set: Attributes,
    /// Attributes without values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleared: Vec<String>,
}

/// A page is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CursorAdvanced {
    /// Id of the last cursor before this one, absent for the first of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<EventId>,
    /// Where the next read starts.
    pub to: Cursor,
}

/// How changes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// DirSync (MS-ADTS 3.1.1.3.4.1.3): the controller says what changed since its cookie.
    #[default]
    Dirsync,
    /// Searches for what has a higher uSNChanged than the last ones covered. What changed in an object is found by
    /// comparison with what the stream says of it.
    Usn,
}

impl Method {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_dirsync(&self) -> bool {
        *self == Self::Dirsync
    }
}

/// Where a read of a naming context stands, and everything that must still hold for it to mean anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cursor {
    /// The controller it was made by.
    pub controller: Controller,
    /// How it was read. Another method means another full read.
    #[serde(default, skip_serializing_if = "Method::is_dirsync")]
    pub method: Method,
    /// highestCommittedUSN of that controller. With DirSync read before the page was asked for, for the last page after
    /// it; with USN polling read before the search, which covers everything up to it.
    pub highest_committed_usn: Usn,
    /// The base of the search.
    pub naming_context: Dn,
    /// DirSync flags (MS-ADTS 3.1.1.3.4.1.3); 0 with USN polling.
    pub flags: u32,
    /// The attributes asked for, sorted.
    pub attributes: Vec<String>,
    /// What the server gave; empty with USN polling.
    pub cookie: Cookie,
    /// The full read that is not yet complete, with the number of `ObjectObserved` so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotProgress>,
    /// Whether the answer was complete: no page of it is left (MoreResults was 0).
    pub complete: bool,
    /// Whether something that only a full read shows may have been passed over since the last full read began: deletions
    /// that the account could not see, or link values whose removal the controller did not tell. No part of what must hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub passed_over: bool,
}

impl Cursor {
    /// Its identity, for `from` of the next one.
    pub fn id(&self) -> EventId {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        EventId::of([b"cursor".as_slice(), &bytes])
    }
}

/// How far a full read has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotProgress {
    /// Which one.
    pub snapshot: SnapshotId,
    /// `ObjectObserved` written so far.
    pub seen: u64,
}

/// Reading cannot go on until somebody acts, or until the directory answers again. Written once per cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadingStopped {
    /// What kind of cause.
    pub cause: StopCause,
    /// What was seen, for a person; no secrets, no attribute values.
    pub detail: String,
    /// What to do about it.
    pub hint: String,
}

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// No configured controller can be reached.
    Unreachable,
    /// The controller's certificate is not trusted.
    Certificate,
    /// The account or its password is refused.
    Credentials,
    /// The account may no longer read what it could read.
    Rights,
    /// The naming context does not exist there.
    NamingContext,
    /// The controller answers something that cannot be understood.
    Protocol,
}

/// Reading goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReadingResumed {}
