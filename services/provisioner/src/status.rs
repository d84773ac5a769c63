//! What a provisioner tells about itself.

use std::collections::BTreeMap;

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::{DriftPolicy, HeldJoin, HoldCause, Operation};
use jiff::Timestamp;
use serde::Serialize;

/// How many outcomes of each type, by class.
pub type Outcomes = BTreeMap<CloudClass, BTreeMap<String, u64>>;

/// A write that waits for somebody's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldItem {
    /// The object's anchor; of held member removals, the group's.
    pub anchor: SourceAnchor,
    /// What kind of object.
    pub class: CloudClass,
    /// What is held.
    pub operation: Operation,
    /// Who or what holds it.
    pub cause: HoldCause,
    /// Its distinguished name as last seen.
    pub name: String,
    /// Why, with the numbers.
    pub detail: String,
    /// Of a join: what would be joined.
    pub join: Option<HeldJoin>,
}

/// An object that rests until its wish changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedItem {
    /// The object's anchor.
    pub anchor: SourceAnchor,
    /// What kind of object.
    pub class: CloudClass,
    /// What was attempted.
    pub operation: Operation,
    /// Its distinguished name as last seen.
    pub name: String,
    /// The error's code.
    pub code: String,
    /// The attribute at fault, where known.
    pub attribute: Option<String>,
}

/// The name that a value without fields has in events.
pub(crate) fn name_of(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// How a configuration is, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HealthState {
    /// Nothing rests that failed too often, and the tenant takes what it is sent.
    #[default]
    Healthy,
    /// Some objects or memberships rest, or the tenant takes nothing.
    Degraded,
    /// So much fails that it is written to from time to time only.
    Quarantined,
}

impl HealthState {
    /// The judgement on a configuration that is quarantined or not, and in which something rests or stands still or not.
    pub fn of(is_quarantined: bool, is_troubled: bool) -> Self {
        match (is_quarantined, is_troubled) {
            (true, _) => Self::Quarantined,
            (false, true) => Self::Degraded,
            (false, false) => Self::Healthy,
        }
    }

    /// Its name, for people and for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Quarantined => "quarantined",
        }
    }
}

/// The health of a configuration, and what it is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// The judgement.
    pub state: HealthState,
    /// Objects that fail, tried again or resting.
    pub failing: u64,
    /// Managers, owners and memberships that fail.
    pub failing_references: u64,
    /// Of a quarantined one: when the next objects are tried, if that is not now.
    pub retry_at: Option<Timestamp>,
}

/// Where others changed something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriftPlace {
    /// They deleted the object.
    Deletion,
    /// An attribute, by its Graph name.
    Attribute(String),
    /// They added or removed this member of a group.
    Member(SourceAnchor),
}

/// Something that others did in the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftItem {
    /// The object's anchor; of a membership, the group's.
    pub anchor: SourceAnchor,
    /// What kind of object.
    pub class: CloudClass,
    /// Its distinguished name as last seen.
    pub name: String,
    /// What of it.
    pub place: DriftPlace,
    /// What becomes of it.
    pub policy: DriftPolicy,
    /// Since when it is known.
    pub since: Timestamp,
}

/// What is known of what others did in the tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriftStatus {
    /// Until when everything was compared; nothing before that was done once.
    pub compared: Option<Timestamp>,
    /// How many times that was done since the start.
    pub rounds: u64,
    /// What there is; at most [`Status::LISTED`] of it.
    pub found: Vec<DriftItem>,
    /// How much there is in all, by what becomes of it.
    pub totals: BTreeMap<DriftPolicy, usize>,
    /// Objects that the tenant said something of and that are still to be looked at.
    pub looking: usize,
    /// Why the tenant cannot be compared, where that is so.
    pub trouble: Option<String>,
}

/// A snapshot of a provisioner's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Nothing is written to the tenant, because the configuration is in staging; nothing else has a meaning then.
    pub staging: bool,
    /// The offset in `desired` up to which (exclusive) wishes were taken in. When [`Status::idle`] holds, they are
    /// applied as well.
    pub desired_applied: u64,
    /// The offset the next outcome gets.
    pub outcomes_next: u64,
    /// Everything wished is in the tenant, but for what is held, quarantined or not writable.
    pub idle: bool,
    /// Objects whose turn has not come.
    pub pending: usize,
    /// Objects with a request on its way.
    pub in_flight: usize,
    /// Objects and groups that wait to be tried again.
    pub retrying: usize,
    /// When the next of them is tried.
    pub next_retry: Option<Timestamp>,
    /// What guards and people hold; at most [`Status::LISTED`] of them.
    pub held: Vec<HeldItem>,
    /// How many there are in all.
    pub held_total: usize,
    /// What rests; at most [`Status::LISTED`] of them.
    pub quarantined: Vec<QuarantinedItem>,
    /// How many there are in all, memberships included.
    pub quarantined_total: usize,
    /// Objects of the tenant that are managed, by class.
    pub managed: BTreeMap<CloudClass, u64>,
    /// Objects wished that Graph cannot write, by class.
    pub not_writable: BTreeMap<CloudClass, u64>,
    /// All outcomes ever, by class and type.
    pub outcomes: Outcomes,
    /// HTTP requests sent since the start.
    pub requests: u64,
    /// Until when the tenant asked not to be written to.
    pub throttled_until: Option<Timestamp>,
    /// Why nothing goes on, where that is so; goes on by itself once the cause is gone.
    pub stopped: Option<String>,
    /// How the configuration is as a whole.
    pub health: Health,
    /// What others did in the tenant, where that is looked at.
    pub drift: Option<DriftStatus>,
}

impl Status {
    /// The longest list of held and of quarantined objects; the outcomes have all of them.
    pub const LISTED: usize = 1_000;
}
