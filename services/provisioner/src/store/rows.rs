//! What the ledger keeps, per object, per membership, per write on its way.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::SourceAnchor;
use forestsync_rules::diff;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue, ExtensionDeclared};
use forestsync_schemas::outcomes::{AttributeChanges, DriftPolicy, HeldJoin, HoldCause, Operation, StopCause};
use serde::{Deserialize, Serialize};

use super::drift::{EdgeDrift, Lost};
use super::flat::{attributes, changes};

/// What is managed of a class.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub attributes: Vec<String>,
    /// The directory extensions among them.
    pub extensions: Vec<ExtensionDeclared>,
}

/// What the projection wishes of an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// Offset of the record in `desired`.
    pub offset: u64,
    pub class: CloudClass,
    /// Distinguished name in the directory, for people.
    pub name: String,
    pub trace: Option<String>,
    pub kind: WishKind,
    pub since: Since,
}

/// Since which offset of `desired` the same has been wished of what guards judge; without a meaning where it is not wished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Since {
    /// That it is gone.
    pub removed: u64,
    /// That it is disabled.
    pub disabled: u64,
    /// That it has its userPrincipalName.
    pub named: u64,
}

/// The attribute that disables an account.
pub(crate) const ENABLED: &str = "accountEnabled";
/// The name for signing in.
pub(crate) const NAME: &str = "userPrincipalName";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum WishKind {
    /// The tenant should hold it.
    Present {
        #[serde(with = "attributes")]
        attributes: CloudAttributes,
        /// Sent when the object is created, unless `attributes` has a value, and never looked at again.
        #[serde(with = "attributes")]
        at_creation: CloudAttributes,
        /// Managed attributes that stay as they are.
        left_alone: Vec<String>,
        manager: Option<SourceAnchor>,
        /// Of a group.
        owner: Option<SourceAnchor>,
        not_writable: Vec<String>,
    },
    /// It should not.
    Removed {
        /// Because the whole configuration was removed: then it goes if somebody was shown it, and else is held.
        with_configuration: bool,
    },
    /// It is not ours to care for any more: it stays as it is, whatever is there.
    LetGo { why: Parting },
}

/// Why an object is let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Parting {
    /// It left the scope, and what leaves it is kept.
    Kept,
    /// Another configuration for the same tenant has it now.
    HandedOver,
    /// Its configuration was removed, and what it managed is released.
    Released,
}

impl WishKind {
    /// The value that is wished of an attribute.
    fn value(&self, name: &str) -> Option<&CloudValue> {
        match self {
            Self::Present { attributes, .. } => attributes.get(name),
            Self::Removed { .. } | Self::LetGo { .. } => None,
        }
    }

    fn is_removal(&self) -> bool {
        matches!(self, Self::Removed { .. })
    }
}

impl Since {
    /// That of a wish at `offset` which follows `before`.
    pub(crate) fn new(before: Option<&Wish>, offset: u64, kind: &WishKind) -> Self {
        let kept = |same: fn(&WishKind, &WishKind) -> bool, since: fn(&Self) -> u64| {
            before.filter(|wish| same(&wish.kind, kind)).map_or(offset, |wish| since(&wish.since))
        };
        Self {
            removed: kept(|a, b| a.is_removal() && b.is_removal(), |since| since.removed),
            disabled: kept(|a, b| a.value(ENABLED) == b.value(ENABLED), |since| since.disabled),
            named: kept(|a, b| a.value(NAME) == b.value(NAME), |since| since.named),
        }
    }
}

impl Wish {
    /// Since which offset what a guard judges has been wished.
    pub(crate) fn since(&self, operation: Operation) -> u64 {
        match operation {
            Operation::Delete => self.since.removed,
            Operation::Disable => self.since.disabled,
            Operation::Rename => self.since.named,
            _ => self.offset,
        }
    }

    /// Whether the tenant should hold the object.
    pub(crate) fn is_presence(&self) -> bool {
        matches!(self.kind, WishKind::Present { .. })
    }

    /// Whether it should hold it no more.
    pub(crate) fn is_removal(&self) -> bool {
        self.kind.is_removal()
    }

    /// The same, because its whole configuration was removed.
    pub(crate) fn ends_with_configuration(&self) -> bool {
        self.kind == WishKind::Removed { with_configuration: true }
    }

    /// Whether nobody here cares what it holds.
    pub(crate) fn lets_go(&self) -> bool {
        matches!(self.kind, WishKind::LetGo { .. })
    }
}

/// Whether the tenant holds an object of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum Life {
    /// Not that we know.
    #[default]
    Unknown,
    Managed,
    /// We deleted it.
    Deleted,
}

/// The last failure of a kind of write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub operation: Operation,
    pub attempts: u32,
    /// Milliseconds since 1970; when it may be tried again. 0 for not before the wish changes.
    pub retry_at: i64,
    /// It was reported as failed too often.
    pub quarantined: bool,
    /// Offset of the wish that failed; a later one lifts it.
    pub offset: u64,
    pub code: String,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    pub attribute: Option<String>,
    /// The object of the tenant that has the value already, as the answer names it: `User_<id>`.
    pub other: Option<String>,
}

impl Failed {
    /// Whether only another wish lifts it.
    pub(crate) fn is_final(&self) -> bool {
        self.quarantined && self.retry_at == 0
    }
}

/// Why a write is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub cause: HoldCause,
    pub detail: String,
    /// Of a join.
    pub join: Option<HeldJoin>,
}

impl Held {
    /// Of a join: the id of the object of the tenant.
    pub(crate) fn joined(&self) -> Option<&str> {
        self.join.as_ref().map(|join| join.cloud_id.as_str())
    }
}

/// A deletion that comes later.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Deferral {
    /// Milliseconds since 1970.
    pub until: i64,
    /// Offset of the wish that was deferred.
    pub offset: u64,
}

/// An object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ObjectRow {
    /// Of the cloud object, where there is one; else of the wish.
    pub class: CloudClass,
    pub wish: Option<Wish>,
    pub life: Life,
    pub cloud_id: Option<String>,
    /// The attributes the tenant holds, as far as confirmed.
    #[serde(with = "attributes")]
    pub confirmed: CloudAttributes,
    /// The manager the tenant holds, as far as confirmed.
    pub manager: Option<SourceAnchor>,
    /// Those of a group's owners in the tenant that we made owners, as far as confirmed: the one that is wished, and others
    /// that are to go.
    pub owners: Vec<SourceAnchor>,
    /// When we made the last of them an owner, in milliseconds since 1970; 0 if we did not.
    pub owner_made: i64,
    /// Of create, update, delete and restore.
    pub failed: Option<Failed>,
    /// Of a user's manager, or of a group's owner.
    pub lead_failed: Option<Failed>,
    /// What is held.
    pub held: BTreeMap<Operation, Held>,
    /// Its deletion was let pass and deferred; see [`ObjectRow::deferred`].
    pub deferral: Option<Deferral>,
    /// The attributes last reported as not writable; empty for the whole object.
    pub reported: Option<Vec<String>>,
    /// When we made it or brought it back, in milliseconds since 1970; 0 if we did not.
    pub made: i64,
    /// Since when the tenant may hold it although nothing confirmed that: a creation was answered by an error or not at
    /// all.
    pub maybe: Option<i64>,
    /// The first offset of `desired` of which no outcome says that its wishes for the object were dealt with.
    pub settled: u64,
    /// The same for its manager or owner.
    pub lead_settled: u64,
    /// Attributes of which `confirmed` is not sure, because a write of them had no answer: they are written again as they
    /// are wished.
    pub unsure: BTreeSet<String>,
    /// When it was written last, or found, in milliseconds since 1970; 0 for never.
    pub written: i64,
    /// Attributes that others changed: what was written last, and what was found.
    #[serde(with = "changes")]
    pub drift: AttributeChanges,
    /// What becomes of each, and since when it is known in milliseconds since 1970.
    pub drift_policies: BTreeMap<String, (DriftPolicy, i64)>,
    /// Others deleted it.
    pub lost: Option<Lost>,
}

impl ObjectRow {
    pub(crate) fn new(class: CloudClass) -> Self {
        Self {
            class,
            wish: None,
            life: Life::Unknown,
            cloud_id: None,
            confirmed: CloudAttributes::new(),
            manager: None,
            owners: Vec::new(),
            owner_made: 0,
            failed: None,
            lead_failed: None,
            held: BTreeMap::new(),
            deferral: None,
            reported: None,
            made: 0,
            maybe: None,
            settled: 0,
            lead_settled: 0,
            unsure: BTreeSet::new(),
            written: 0,
            drift: AttributeChanges::new(),
            drift_policies: BTreeMap::new(),
            lost: None,
        }
    }

    /// Forgets the cloud object, whatever it was to us; what is wished and what was dealt with stays.
    pub(crate) fn let_go(&mut self, settled: u64) {
        let (class, wish) = (self.class, self.wish.take());
        let lead_settled = self.lead_settled.max(settled);
        *self = Self { wish, settled: self.settled.max(settled), lead_settled, ..Self::new(class) };
    }

    fn of_this_wish<'a>(&self, failed: Option<&'a Failed>) -> Option<&'a Failed> {
        failed.filter(|f| self.wish.as_ref().is_none_or(|w| w.offset <= f.offset))
    }

    /// The failure that still counts, of the object itself.
    pub(crate) fn failure(&self) -> Option<&Failed> {
        self.of_this_wish(self.failed.as_ref())
    }

    /// The failure that still counts, of its manager or owner.
    pub(crate) fn lead_failure(&self) -> Option<&Failed> {
        self.of_this_wish(self.lead_failed.as_ref())
    }

    /// The owner that a group should have.
    pub(crate) fn wished_owner(&self) -> Option<&SourceAnchor> {
        match &self.wish.as_ref()?.kind {
            WishKind::Present { owner, .. } => owner.as_ref(),
            WishKind::Removed { .. } | WishKind::LetGo { .. } => None,
        }
    }

    /// One became an owner, or is one no more.
    pub(crate) fn own(&mut self, owner: &SourceAnchor, is_owner: bool) {
        self.owners.retain(|o| o != owner);
        if is_owner {
            self.owners.push(owner.clone());
        }
    }

    pub(crate) fn is_managed(&self) -> bool {
        self.life == Life::Managed
    }

    pub(crate) fn is_wished(&self) -> bool {
        self.wish.as_ref().is_some_and(Wish::is_presence)
    }

    /// Whether it is let go, or is about to be.
    pub(crate) fn is_let_go(&self) -> bool {
        self.wish.as_ref().is_some_and(Wish::lets_go)
    }

    /// Whether it is to be deleted.
    pub(crate) fn is_leaving(&self) -> bool {
        self.is_managed() && self.wish.as_ref().is_some_and(Wish::is_removal)
    }

    /// What guards judge before it is done.
    pub(crate) fn guarded(&self) -> impl Iterator<Item = Operation> {
        let deletes = self.is_leaving() && self.deferred().is_none();
        let of = [
            deletes.then_some(Operation::Delete),
            self.disables().then_some(Operation::Disable),
            self.renames().then_some(Operation::Rename),
        ];
        of.into_iter().flatten()
    }

    /// When it is deleted, in milliseconds since 1970, if that was deferred: until then it is disabled.
    pub(crate) fn deferred(&self) -> Option<i64> {
        let deferral = self.deferral.filter(|_| self.is_leaving())?;
        // one that was wished again since begins anew
        let since = self.wish.as_ref().map(|w| w.since.removed)?;
        (since <= deferral.offset).then_some(deferral.until)
    }

    /// What must change so that these managed attributes are as wished.
    pub(crate) fn changes(&self, wished: &CloudAttributes, managed: &[String]) -> AttributeChanges {
        diff::diff_unsure(&self.confirmed, wished, managed, &self.unsure)
    }

    /// Whether the tenant is known to hold it disabled.
    pub(crate) fn is_disabled(&self) -> bool {
        self.confirmed.get(ENABLED) == Some(&CloudValue::Bool(false)) && !self.unsure.contains(ENABLED)
    }

    /// Whether it is held for this.
    pub(crate) fn is_held(&self, operation: Operation) -> bool {
        self.held.contains_key(&operation)
    }

    fn disables(&self) -> bool {
        let wished = self.wish.as_ref().and_then(|w| w.kind.value(ENABLED));
        wished == Some(&CloudValue::Bool(false)) && self.writes(ENABLED)
    }

    fn renames(&self) -> bool {
        self.confirmed.contains_key(NAME)
            && self.wish.as_ref().is_some_and(|w| w.kind.value(NAME).is_some())
            && self.writes(NAME)
    }

    /// Whether this attribute of a managed user differs from what is wished.
    fn writes(&self, name: &str) -> bool {
        let Some(WishKind::Present { attributes, left_alone, .. }) = self.wish.as_ref().map(|w| &w.kind) else {
            return false;
        };
        let names = [name.to_owned()];
        self.is_managed()
            && self.class == CloudClass::User
            && !left_alone.contains(&names[0])
            && !diff::diff(&self.confirmed, attributes, &names).is_empty()
    }

    /// Whether it will come to life soon, if nothing fails.
    pub(crate) fn is_coming(&self) -> bool {
        let wished = self.wish.as_ref().is_some_and(|w| w.is_presence() && w.class.is_writable());
        let waits = self.failure().is_some() || self.is_held(Operation::Join) || self.stays_away();
        wished && !self.is_managed() && !waits
    }

    /// Whether memberships of this group are written.
    pub(crate) fn takes_links(&self) -> bool {
        let wished = self.wish.as_ref().is_some_and(|w| w.is_presence() && w.class == self.class);
        self.class == CloudClass::Group && self.is_managed() && wished
    }

    /// The id, if the tenant holds the object.
    pub(crate) fn live_id(&self) -> Option<&str> {
        self.cloud_id.as_deref().filter(|_| self.is_managed())
    }
}

/// A membership.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct EdgeRow {
    /// Whether it should be; nothing if no record says so.
    pub wish: Option<bool>,
    /// Offset of that record.
    pub offset: u64,
    /// Whether it is not wished only because the group or the member was to go. When that one comes back, a record of
    /// its own says whether it comes back too.
    pub ended: bool,
    /// Whether the tenant has it, as far as confirmed.
    pub confirmed: bool,
    /// Whether the tenant may have it although nothing confirmed that: adding it was answered by an error or not at all.
    pub maybe: bool,
    /// When we added it, in milliseconds since 1970; 0 if we did not.
    pub added: i64,
    /// The same of its removal.
    pub removed: i64,
    /// Others changed it.
    pub drift: Option<EdgeDrift>,
    pub failed: Option<Failed>,
    /// The trace of the record that says what should be, until it is so.
    pub trace: Option<String>,
    /// The first offset of `desired` of which no outcome says that its wishes for the membership were dealt with.
    pub settled: u64,
}

impl EdgeRow {
    pub(crate) fn failure(&self) -> Option<&Failed> {
        self.failed.as_ref().filter(|f| self.offset <= f.offset)
    }

    /// Whether the tenant has it, as far as anybody can tell.
    pub(crate) fn may_be_there(&self) -> bool {
        self.confirmed || self.maybe
    }

    /// Takes over whether the tenant has it, as confirmed; a wish that is fulfilled needs its trace no more.
    pub(crate) fn settle(&mut self, confirmed: bool) {
        (self.confirmed, self.maybe, self.failed, self.drift) = (confirmed, false, None, None);
        if !self.is_pending() {
            self.trace = None;
        }
    }

    /// Whether tenant and wish differ, or may differ.
    pub(crate) fn is_pending(&self) -> bool {
        let differs = self.wish.is_some_and(|wish| if wish { !self.confirmed } else { self.may_be_there() });
        differs || self.is_stray()
    }
}

/// A write that may be on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Offset of the wish that caused it.
    pub offset: u64,
    pub write: Write,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Write {
    Create {
        #[serde(with = "attributes")]
        attributes: CloudAttributes,
    },
    /// Gives an object found by soft match its anchor.
    Adopt {
        id: String,
    },
    Update {
        #[serde(with = "changes")]
        changes: AttributeChanges,
    },
    Restore {
        id: String,
    },
    Delete,
    SetManager {
        before: Option<SourceAnchor>,
        after: Option<SourceAnchor>,
    },
    AddOwner {
        owner: SourceAnchor,
    },
    RemoveOwner {
        owner: SourceAnchor,
    },
    AddMembers {
        members: Vec<SourceAnchor>,
        /// Each in a request of its own.
        each: bool,
    },
    RemoveMembers {
        members: Vec<SourceAnchor>,
    },
}

impl Write {
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Self::Create { .. } | Self::Adopt { .. } => Operation::Create,
            Self::Update { .. } => Operation::Update,
            Self::Restore { .. } => Operation::Restore,
            Self::Delete => Operation::Delete,
            Self::SetManager { .. } => Operation::SetManager,
            Self::AddOwner { .. } | Self::RemoveOwner { .. } => Operation::SetOwner,
            Self::AddMembers { .. } => Operation::AddMembers,
            Self::RemoveMembers { .. } => Operation::RemoveMembers,
        }
    }
}

/// The ledger's own facts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// The tenant it belongs to.
    pub tenant: String,
    /// The first offset of `desired` not taken in.
    pub desired_next: u64,
    /// The first offset of `outcomes` not folded in.
    pub outcomes_next: u64,
    /// Outcomes by class and type.
    pub outcomes: Vec<(CloudClass, String, u64)>,
    /// Why the tenant takes nothing, as was said last.
    pub stopped: Option<StopCause>,
    /// That so much fails that it is written to from time to time only.
    pub quarantine: Option<Quarantine>,
    /// What people were told of and that is not over, with the channel.
    pub told: Vec<(String, String)>,
}

/// The quarantine of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quarantine {
    /// Milliseconds since 1970.
    pub since: i64,
    /// Pauses so far.
    pub pauses: u32,
    /// When the last of them ends, in milliseconds since 1970.
    pub retry_at: i64,
}
