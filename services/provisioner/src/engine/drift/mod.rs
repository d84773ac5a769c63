//! What others do in the tenant: found through Graph's delta queries, judged by reading, dealt with as configured.
//!
//! ```text
//!  delta pages -> hints durable with the link -> object read by its key -> outcome -> ledger -> the usual diff
//! ```
//!
//! - What delta says is a hint and nothing more: it is late, repeats itself and has no order, and brings back whatever was
//!   written here. What differs from the ledger is read, and only the reading is believed.
//! - A reading is believed only when nothing of ours is under way, and nothing was written within `visible_within`: until
//!   then a reading may show what was before. Where it shows nothing, it is repeated once that time has passed since the
//!   hint, because it may have been late.
//! - Hints are durable in the same transaction as the link that they came with. So none is lost with a crash, and the
//!   link never waits for them.
//! - Without a link, and when the tenant has forgotten it, everything is compared: what was seen is marked, and what is
//!   managed and unmarked at the end becomes a hint like any other.
//!
//! **Invariant**: nothing here writes to the tenant. What is to be undone is what the ledger says the tenant holds; the
//! usual plan does the rest, through the usual guards.

mod judge;
mod members;
mod pages;
mod sweep;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_runtime::clock;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::DriftPolicy;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::plan::{Plan, instant};
use super::queue::Timers;
use super::turn::Note;
use super::{Engine, Purpose};
use crate::config::DriftSettings;
use crate::error::ProvisionerError;
use crate::status::{DriftItem, DriftPlace, DriftStatus, Status};
use crate::store::{EdgeRow, ObjectRow};
use crate::target::{Call, Changes, Outage};
use sweep::Sweep;

/// Hints that may be open before the next page is read.
const MOST_OPEN: usize = 20_000;
/// Classes that Graph tells the changes of, in the order in which they are asked for.
const CLASSES: [CloudClass; 2] = [CloudClass::User, CloudClass::Group];

/// A hint at an object. Times are in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
struct Doubt {
    since: i64,
    /// It is not read before.
    not_before: i64,
    /// When it was read last.
    asked: i64,
    /// Its key leads nowhere; it is looked for by its anchor.
    gone: bool,
}

/// What the engine knows of the comparison.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// When the tenant is asked again.
    next: Option<Instant>,
    /// What is still to be asked for in this round.
    classes: VecDeque<CloudClass>,
    /// The page on its way.
    page: JoinSet<Page>,
    sweep: Option<Sweep>,
    objects: HashMap<SourceAnchor, Doubt>,
    /// Groups with hints at their members.
    groups: HashMap<SourceAnchor, Doubt>,
    /// Members that a group's list does not show, and those groups: it counts once the member was seen after that.
    missing: HashMap<SourceAnchor, BTreeSet<SourceAnchor>>,
    timers: Timers,
    compared: BTreeMap<CloudClass, i64>,
    rounds: u64,
    /// A class was compared as a whole in this round.
    whole: bool,
    /// When it was last said that the tenant was compared.
    said: Option<Instant>,
    trouble: Option<String>,
}

/// A page with its class and the attributes that were asked for.
type Page = (CloudClass, Vec<String>, Result<Changes, Outage>);

impl Drift {
    /// The page on its way, once it is there.
    pub(super) async fn next_page(&mut self) -> Option<Result<Page, tokio::task::JoinError>> {
        self.page.join_next().await
    }
}

/// Now, in milliseconds since 1970.
fn now() -> i64 {
    clock::now().as_millisecond()
}

/// Whether the tenant has a membership, as far as known.
fn believed(edge: &EdgeRow) -> bool {
    edge.drift.map_or(edge.confirmed, |drift| drift.present)
}

fn timestamp(at: i64) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Engine {
    /// How drift is treated, where it is looked at.
    pub(super) fn drift_settings(&self) -> Option<&DriftSettings> {
        self.config.tenant.drift.as_ref()
    }

    /// Takes up what the ledger says is to be looked at, and what was found when it was treated otherwise.
    pub(super) fn begin_drift(&mut self) -> Result<(), ProvisionerError> {
        let Some(settings) = self.drift_settings().cloned() else { return Ok(()) };
        for anchor in self.store.suspects().collect::<Result<Vec<_>, _>>()? {
            let since = self.store.suspect(&anchor)?.map_or(0, |suspect| suspect.since);
            self.drift.objects.insert(anchor, Doubt { since, ..Doubt::default() });
        }
        for group in self.store.hinted() {
            self.drift.groups.entry(group?).or_default();
        }
        for class in CLASSES {
            self.drift.compared.insert(class, self.store.watch(class)?.compared);
        }
        let mut hints = Vec::new();
        for item in self.index.drift.values() {
            let policy = match &item.place {
                DriftPlace::Deletion => settings.deletions,
                DriftPlace::Attribute(name) => settings.policy(name),
                DriftPlace::Member(_) => settings.policy(DriftSettings::MEMBERS),
            };
            if policy != item.policy {
                hints.push((item.anchor.clone(), item.place.clone()));
            }
        }
        for (anchor, place) in hints {
            if let DriftPlace::Member(member) = place {
                let present = self.store.edge(&anchor, &member)?.is_some_and(|edge| believed(&edge));
                self.hint(&anchor, &member, present);
            } else {
                self.suspect(&anchor);
            }
        }
        self.drift.next = Some(Instant::now());
        Ok(())
    }

    /// The object is to be looked at. Durable with the next turn.
    fn suspect(&mut self, anchor: &SourceAnchor) {
        let since = now();
        self.turn.note(Note::Suspect(anchor.clone(), Some(since)));
        self.drift.objects.insert(anchor.clone(), Doubt { since, ..Doubt::default() });
        self.turn.touch(anchor);
    }

    /// The membership is to be looked at, likewise.
    fn hint(&mut self, group: &SourceAnchor, member: &SourceAnchor, present: bool) {
        let since = now();
        self.turn.note(Note::Hint(group.clone(), member.clone(), Some((since, present))));
        self.drift.groups.insert(group.clone(), Doubt { since, ..Doubt::default() });
        self.turn.touch(group);
    }

    /// The object needs no look any more.
    fn trust(&mut self, anchor: &SourceAnchor) {
        self.drift.objects.remove(anchor);
        self.turn.note(Note::Suspect(anchor.clone(), None));
    }

    /// How long the tenant may show what was before, in milliseconds.
    fn lateness(&self) -> i64 {
        i64::try_from(self.config.tenant.visible_within.as_millis()).unwrap_or(i64::MAX)
    }

    /// When something may be done that cannot be done now.
    pub(super) fn next_comparison(&self) -> Option<Instant> {
        let waits = !self.drift.page.is_empty() || self.drift.objects.len() >= MOST_OPEN;
        let next = self.drift.next.filter(|_| !waits && self.compares());
        [next, self.drift.timers.next()].into_iter().flatten().min()
    }

    /// Gives those a turn whose time has come.
    pub(super) fn fire_drift(&mut self, now: Instant) {
        while let Some(anchor) = self.drift.timers.due(now) {
            self.ready.push(&anchor);
        }
    }

    /// Whether the tenant is asked for changes at all.
    fn compares(&self) -> bool {
        self.drift_settings().is_some() && self.at_tail && self.until.is_none()
    }

    /// Whether the tenant was compared since the start, as far as it is and can be.
    pub(super) fn is_compared(&self) -> bool {
        !self.compares() || self.drift.rounds > 0 || self.drift.trouble.is_some()
    }

    /// What comes next for an object of which nothing is under way.
    pub(super) fn plan_comparison(&mut self, anchor: &SourceAnchor, row: &ObjectRow) -> Result<Plan, ProvisionerError> {
        if !self.compares() {
            return Ok(Plan::Nothing);
        }
        if let Some(doubt) = self.drift.objects.get(anchor).copied() {
            let plan = self.plan_reading(anchor, row, doubt);
            if !matches!(plan, Plan::Nothing) {
                return Ok(plan);
            }
        }
        if self.drift.groups.contains_key(anchor) { self.plan_members(anchor, row) } else { Ok(Plan::Nothing) }
    }

    fn plan_reading(&mut self, anchor: &SourceAnchor, row: &ObjectRow, doubt: Doubt) -> Plan {
        let is_lost = row.lost.is_some_and(|lost| lost.policy != DriftPolicy::Enforce);
        let id = row.cloud_id.clone().filter(|_| row.is_wished() && (row.is_managed() || is_lost));
        let Some(id) = id else {
            // one that is about to be there has another turn when it is
            if !row.is_coming() {
                self.trust(anchor);
            }
            return Plan::Nothing;
        };
        let at = doubt.not_before.max(row.written.saturating_add(self.lateness()));
        if at > now() {
            self.drift.timers.wake(anchor, instant(at));
            return Plan::Nothing;
        }
        if let Some(doubt) = self.drift.objects.get_mut(anchor) {
            doubt.asked = now();
        }
        let (class, attributes) = (row.class, self.watched(row));
        if doubt.gone {
            return Plan::Ask(self.question(class, anchor, attributes), Purpose::CompareGone);
        }
        Plan::Ask(Call::Read { class, id, attributes }, Purpose::Compare)
    }

    /// The attributes of an object that are compared: those that are written, as far as the tenant shows them.
    fn watched(&self, row: &ObjectRow) -> Vec<String> {
        let mut names = row.wish.as_ref().map(|wish| self.written(wish)).unwrap_or_default();
        names.retain(|name| self.target.shows(name));
        names
    }

    /// Reading it failed, which says nothing of the object.
    pub(super) fn comparison_failed(&mut self, anchor: &SourceAnchor, retry_after: Option<Duration>) {
        let wait = retry_after.unwrap_or_default().max(self.config.tenant.retry_longest);
        let at = now().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        for doubts in [&mut self.drift.objects, &mut self.drift.groups] {
            if let Some(doubt) = doubts.get_mut(anchor) {
                doubt.not_before = at;
            }
        }
    }

    /// For the status.
    pub(super) fn drift_status(&self) -> Option<DriftStatus> {
        self.drift_settings()?;
        let mut totals = BTreeMap::new();
        for item in self.index.drift.values() {
            *totals.entry(item.policy).or_default() += 1;
        }
        let compared = CLASSES.iter().filter(|class| self.flows.contains_key(class));
        let compared = compared.map(|class| self.drift.compared.get(class).copied().unwrap_or_default()).min();
        Some(DriftStatus {
            compared: compared.filter(|at| *at > 0).map(timestamp),
            rounds: self.drift.rounds,
            found: self.index.drift.values().take(Status::LISTED).cloned().collect::<Vec<DriftItem>>(),
            totals,
            looking: self.drift.objects.len() + self.drift.groups.len(),
            trouble: self.drift.trouble.clone(),
        })
    }
}
