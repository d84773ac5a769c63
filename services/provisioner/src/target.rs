//! What the engine asks of an endpoint, in its own words. Graph is one; others can come.
//!
//! A target knows no wishes and keeps no ledger. It MUST answer each call with what is certain: [`FailureKind::Uncertain`]
//! where the write may have taken effect, any other failure only where it certainly has not.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, ExtensionType};
use forestsync_schemas::outcomes::{AttributeChanges, StopCause};

/// The directory extension that carries the anchor of a group that was there before: `uniqueName` is set at creation only
/// (graph.md section 3.3).
pub(crate) const ANCHOR_EXTENSION: &str = "forestsyncAnchor";

/// A value to find an object by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MatchKey {
    /// The tenant's attribute.
    pub attribute: String,
    pub value: String,
}

/// One thing to do or to ask. Attributes to read are given by name; ids are the endpoint's.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// The objects with this anchor, live and soft-deleted.
    LookUp {
        class: CloudClass,
        anchor: SourceAnchor,
        attributes: Vec<String>,
        /// Of a group: it may carry it in [`ANCHOR_EXTENSION`] as well.
        by_extension: bool,
    },
    /// The live objects with these values, key by key.
    Match { class: CloudClass, keys: Vec<MatchKey>, attributes: Vec<String> },
    /// The live group with this anchor, by its key: no index that lags stands between.
    ReadGroup { anchor: SourceAnchor, attributes: Vec<String> },
    /// A live object.
    Read { class: CloudClass, id: String, attributes: Vec<String> },
    /// A user's manager.
    ReadManager { id: String },
    /// The directory roles that a user holds.
    ListRoles { user: String },
    /// All members of a group.
    ListMembers { group: String },
    /// Makes the object; of a group, makes it or updates the one that has the anchor.
    Create { class: CloudClass, anchor: SourceAnchor, attributes: CloudAttributes },
    /// Writes attributes; `anchor` as well where the object does not carry it yet.
    Update { class: CloudClass, id: String, changes: AttributeChanges, anchor: Option<SourceAnchor> },
    /// Brings a soft-deleted object back.
    Restore { id: String, without: Option<Yielded> },
    /// Deletes.
    Delete { class: CloudClass, id: String },
    /// Sets or clears a user's manager.
    SetManager { id: String, manager: Option<String> },
    /// All owners of a group.
    ListOwners { group: String },
    /// Makes a user an owner of a group.
    AddOwner { group: String, owner: String },
    /// Takes an owner from a group.
    RemoveOwner { group: String, owner: String },
    /// Adds members, all or none.
    AddMembers { group: String, members: Vec<String> },
    /// Adds members, each for itself.
    AddEach { group: String, members: Vec<String> },
    /// Removes members, each for itself.
    RemoveMembers { group: String, members: Vec<String> },
}

/// What a soft-deleted object does without when it comes back, because others have it by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Yielded {
    /// What a user is called instead of the name that it had.
    pub name: Option<String>,
}

impl Call {
    /// How many requests of a batch it takes.
    pub(crate) fn requests(&self) -> usize {
        match self {
            Self::LookUp { by_extension, .. } => 2 << u8::from(*by_extension),
            Self::Match { keys, .. } => keys.len(),
            Self::AddEach { members, .. } | Self::RemoveMembers { members, .. } => members.len(),
            _ => 1,
        }
    }

    /// What it costs of the write quota; 0 for a read. A PATCH of 20 members costs about 7 (graph.md section 9).
    pub(crate) fn writes(&self) -> u32 {
        match self {
            Self::LookUp { .. }
            | Self::Match { .. }
            | Self::Read { .. }
            | Self::ReadGroup { .. }
            | Self::ReadManager { .. }
            | Self::ListRoles { .. }
            | Self::ListMembers { .. }
            | Self::ListOwners { .. } => 0,
            Self::AddMembers { members, .. } => members.len().div_ceil(3) as u32,
            Self::AddEach { members, .. } | Self::RemoveMembers { members, .. } => members.len() as u32,
            _ => 1,
        }
    }
}

/// An object as the endpoint shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CloudObject {
    /// The endpoint's id.
    pub id: String,
    /// The anchor it carries, in the form of its class.
    pub anchor: Option<String>,
    /// Those of the attributes asked for that have a value.
    pub attributes: CloudAttributes,
    /// It belongs to Azure AD Connect.
    pub synced: bool,
    /// It is a group with mail.
    pub mail_enabled: bool,
    /// What it is called: a user's name for signing in, a group's display name; as far as that was asked for.
    pub name: Option<String>,
    /// It is a group whose members may have directory roles; as far as that was asked for.
    pub role_assignable: bool,
    /// It is a group whose members a rule chooses; as far as that was asked for.
    pub dynamic: bool,
}

/// A write that took effect, or was in effect already.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Done {
    pub status: u16,
    pub request_id: Option<String>,
    /// Of a creation.
    pub id: Option<String>,
}

/// What a failure means for the next step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FailureKind {
    /// Too many requests: nothing was done, the object is not to blame.
    Throttled,
    /// The token was not accepted: nothing was done.
    Unauthorized,
    /// It may or may not have been done.
    Uncertain,
    /// The object or one that is referred to is not there, or not visible yet.
    NotFound,
    /// Somebody else was writing: nothing was done, try again.
    Busy,
    /// Another object has the value.
    Conflict,
    /// The application may not.
    Denied,
    /// The request is not acceptable as it is.
    Invalid,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub kind: FailureKind,
    pub status: Option<u16>,
    /// The endpoint's error code, or one of ours.
    pub code: String,
    /// The attribute at fault.
    pub attribute: Option<String>,
    /// The object that holds the value already.
    pub other: Option<String>,
    pub retry_after: Option<Duration>,
    pub request_id: Option<String>,
}

/// The answer to a call.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// To `LookUp`.
    Found { live: Option<CloudObject>, deleted: Option<CloudObject> },
    /// To `Match`, in the order of its keys: all that have the value.
    Matches(Vec<Vec<CloudObject>>),
    /// To `Read`.
    Object(Option<CloudObject>),
    /// To `ReadManager`: the manager's id.
    Manager(Option<String>),
    /// To `ListMembers`, `ListOwners` and `ListRoles`: their ids.
    Members(HashSet<String>),
    /// To a single write.
    Done(Done),
    /// To `AddEach` and `RemoveMembers`, in their order.
    Each(Vec<Result<Done, Failure>>),
    /// The call failed.
    Failed(Failure),
    /// The rest of its answer, on a page of its own, did not come. Only reads have such answers.
    Unanswered(Outage),
}

/// A directory extension that values are to be written to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extension {
    pub name: String,
    pub data_type: ExtensionType,
    pub multi_valued: bool,
    /// The classes of the objects that have it.
    pub classes: BTreeSet<CloudClass>,
}

impl Extension {
    /// The one that carries the anchors of groups.
    pub(crate) fn of_anchors() -> Self {
        Self {
            name: ANCHOR_EXTENSION.to_owned(),
            data_type: ExtensionType::String,
            multi_valued: false,
            classes: [CloudClass::Group].into(),
        }
    }
}

/// Whether a directory extension can be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ExtensionState {
    /// It is defined; `made`: since a moment ago, so that it may not be known everywhere yet.
    Ready { made: bool },
    /// It is not, or not as it should be.
    Refused { code: &'static str, detail: String, hint: &'static str },
}

/// An object of which the endpoint says that it changed, or that it is there.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The endpoint's id.
    pub id: String,
    /// The object as the endpoint says it is by now; nothing for one that is deleted.
    pub object: Option<CloudObject>,
    /// Of a group: ids of members that it got, and lost.
    pub members: Vec<(String, bool)>,
}

/// What comes after a page of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another page.
    Page(String),
    /// Nothing for now; later changes begin here.
    Later(String),
}

/// The answer to a question for changes.
#[derive(Debug, Clone)]
pub(crate) enum Changes {
    /// Those of one page. The same object may stand there more than once, late, and in any order.
    Page(Vec<Change>, Next),
    /// The endpoint has forgotten what it told; it must be asked for everything.
    Forgotten,
    /// It does not answer that question.
    Failed(Failure),
}

/// Nothing in a whole HTTP request could be answered.
#[derive(Debug, Clone)]
pub(crate) struct Outage {
    /// Whether its writes may have taken effect.
    pub uncertain: bool,
    /// The endpoint asked for less, rather than failing.
    pub throttled: bool,
    pub retry_after: Option<Duration>,
    /// This process has lost the right to ask. Whatever it began is for others to look up.
    pub forfeited: bool,
    pub cause: StopCause,
    /// For a person: what, why, what to do.
    pub detail: String,
}

/// An endpoint.
#[async_trait::async_trait]
pub(crate) trait Target: Send + Sync + std::fmt::Debug {
    /// Answers each call, in their order. The calls together take at most one batch. `traces` are those of the changes that
    /// caused them, in the same order; requests carry them.
    async fn perform(&self, calls: &[Call], traces: &[Option<String>]) -> Result<Vec<Reply>, Outage>;

    /// Looks at the definitions of these extensions and makes those that are missing; what became of each. Doing it again
    /// does no harm. An error of the endpoint that may pass by itself is an outage of this call alone.
    async fn extensions(&self, wanted: &[Extension]) -> Result<BTreeMap<String, ExtensionState>, Outage>;

    /// Whether the application may write objects of a class, looked up afresh; a class is missing if nobody can tell.
    async fn permitted(&self) -> BTreeMap<CloudClass, bool>;

    /// Where the changes of a class begin: all of its objects, then what is changed. Attributes that the endpoint does not
    /// show are left out.
    fn first_changes(&self, class: CloudClass, attributes: &[String]) -> String;

    /// One page of changes, from the place that [`Target::first_changes`] or the page before named.
    async fn changes(&self, class: CloudClass, attributes: &[String], place: &str) -> Result<Changes, Outage>;

    /// Whether reading shows an attribute at all.
    fn shows(&self, attribute: &str) -> bool;

    /// HTTP requests sent so far.
    fn requests(&self) -> u64;
}

/// A failure of ours, without an answer.
pub(crate) fn own_failure(kind: FailureKind, code: &str) -> Failure {
    Failure {
        kind,
        status: None,
        code: code.to_owned(),
        attribute: None,
        other: None,
        retry_after: None,
        request_id: None,
    }
}
