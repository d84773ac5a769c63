//! What the log tells about a configuration: the report of `forestsync status`.
//!
//! Everything here is read from the streams and from nothing else, so it says the same beside a running process and
//! without one. The structs are the JSON of `status --json`; fields are added, never removed or given another meaning.

mod decisions;
mod drift;
mod groups;
mod ledger;
mod render;
mod sources;

use std::collections::BTreeMap;

use anyhow::Result;
use forestsync_log::Log;
use forestsync_provisioner::HealthState;
use forestsync_provisioner::settings::Mode;
use forestsync_schemas::control::{SourceSeen, Verdict};
use forestsync_schemas::decisions::Doubt;
use forestsync_schemas::outcomes::HeldJoin;
use serde::Serialize;

pub use drift::{Drifting, Finding as DriftFinding};
pub use groups::{Group, Member, Owned};
pub use render::render;
pub(crate) use render::{about, seconds};

use crate::config::Settings;
use crate::control;
use crate::exit::Exit;

/// How many objects of a kind are listed unless all are asked for.
pub const LISTED: usize = 20;

/// Records read at a time.
const BATCH: usize = 1_000;

/// The report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The configuration's name.
    pub configuration: String,
    /// Revision in force; absent before the first `run`.
    pub revision: Option<u64>,
    /// Whether the file differs from the revision in force: it takes effect with the next `run`.
    pub file_differs: bool,
    /// Whether the file says that nothing is written to the tenant.
    pub staging: bool,
    /// The removal of the configuration, if it was removed.
    pub removed: Option<Removed>,
    /// The naming contexts that are read.
    pub sources: Vec<Source>,
    /// `healthy`; `degraded`, where something rests that failed too often or the tenant takes nothing; or `quarantined`.
    pub health: &'static str,
    /// Why it is quarantined, if it is.
    pub quarantine: Option<Quarantine>,
    /// Why the tenant takes nothing, if it does not.
    pub export_stopped: Option<Stopped>,
    /// Why the configuration emits nothing, if it does not.
    pub holds: Vec<Hold>,
    /// Objects per class.
    pub classes: Vec<ClassCount>,
    /// Memberships, of groups and members that are themselves there.
    pub memberships: Count,
    /// Objects with a write that failed and is tried again.
    pub failed: Vec<Issue>,
    /// How many those are, also where the list is cut.
    pub failed_count: usize,
    /// Objects with a write that is held.
    pub held: Vec<Issue>,
    /// How many those are.
    pub held_count: usize,
    /// Users that are to be deleted later, and are disabled until then.
    pub deferred: Vec<Issue>,
    /// How many those are.
    pub deferred_count: usize,
    /// Objects with a write that failed too often: it rests until the object changes, or is tried rarely and silently.
    pub quarantined: Vec<Issue>,
    /// How many those are.
    pub quarantined_count: usize,
    /// Objects in scope with something wrong in the directory, those that are not sent because of it first.
    pub findings: Vec<Finding>,
    /// How many those are.
    pub findings_count: usize,
    /// How many of them are not sent.
    pub blocked_count: usize,
    /// What others did in the tenant, by what becomes of it.
    pub drift: BTreeMap<String, u64>,
    /// When the tenant was last said to be compared; it is said at least once an hour.
    pub compared: Option<String>,
    /// What Graph cannot write.
    pub not_writable: NotWritable,
    /// How far the streams have been taken in.
    pub lag: Lag,
    /// Who works, and who stands by; empty where one process does it all.
    pub groups: Vec<Group>,
}

/// A configuration that was removed.
#[derive(Debug, Clone, Serialize)]
pub struct Removed {
    /// What becomes of its objects: `delete` or `release`.
    pub objects: &'static str,
    /// Who removed it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub since: String,
    /// Whether nothing is left of it in the tenant that it manages.
    pub is_done: bool,
}

/// A naming context.
#[derive(Debug, Clone, Serialize)]
pub struct Source {
    /// The forest's configured name.
    pub forest: String,
    /// The naming context, once known.
    pub naming_context: Option<String>,
    /// Its stream.
    pub stream: String,
    /// Records in it.
    pub records: u64,
    /// What is going on.
    pub state: SourceState,
    /// The controller last read from.
    pub controller: Option<String>,
    /// When something was last found there; a directory without changes writes nothing.
    pub last_cursor: Option<String>,
    /// The full read that is going on.
    pub snapshot: Option<SnapshotState>,
    /// Why reading stopped.
    pub stopped: Option<Stopped>,
}

/// What is going on with a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Nothing was ever read.
    NeverRead,
    /// A full read is not complete yet.
    Snapshot,
    /// The last full read is complete; changes are followed.
    Following,
    /// Reading cannot go on, or what was read cannot be applied.
    Stopped,
}

/// A full read that is not complete.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotState {
    /// Why it was needed.
    pub reason: Option<String>,
    /// Objects seen so far, as far as the log's end tells.
    pub seen: u64,
}

/// Why reading, or writing to the tenant, stopped.
#[derive(Debug, Clone, Serialize)]
pub struct Stopped {
    /// The kind of cause.
    pub cause: String,
    /// What was seen.
    pub detail: String,
    /// What to do.
    pub hint: String,
    /// Since when.
    pub since: String,
}

/// So much fails that the tenant is written to from time to time only.
#[derive(Debug, Clone, Serialize)]
pub struct Quarantine {
    /// Which limit was exceeded: `share`, `count` or `references`.
    pub cause: String,
    /// Objects that failed when it was last said.
    pub failing: u64,
    /// Likewise managers, owners and memberships.
    pub references: u64,
    /// Of so many objects.
    pub objects: u64,
    /// When it was last said when the next ones are tried.
    pub retry_at: String,
    /// Since when.
    pub since: String,
}

/// Why the configuration emits nothing.
#[derive(Debug, Clone, Serialize)]
pub struct Hold {
    /// The kind of reason.
    pub reason: String,
    /// The forest concerned.
    pub forest: String,
    /// What was seen.
    pub detail: String,
    /// What to do.
    pub hint: String,
    /// Since when.
    pub since: String,
    /// Where what is seen now stands in `decisions`; a decision is about that.
    pub offset: u64,
    /// The naming context, of a full read that is not believed.
    pub naming_context: Option<String>,
    /// That full read.
    pub snapshot: Option<String>,
    /// Why it is not believed.
    pub doubt: Option<Doubt>,
    /// The objectGUIDs of containers and groups of the scope that are empty.
    pub emptied: Vec<String>,
    /// The naming contexts of whose scope nothing is left.
    pub bare: Vec<String>,
    /// How many objects would leave the tenant if it was approved, as things stood; absent where that is not known.
    pub leaving: Option<u64>,
    /// Whether it can be approved or rejected.
    pub decidable: bool,
    /// What somebody decided about it, for as long as that holds. What is approved counts once the projector reads it.
    pub decided: Option<HoldDecision>,
    /// The same for an event.
    #[serde(skip)]
    pub(crate) seen: Option<SourceSeen>,
}

/// What somebody decided about a hold.
#[derive(Debug, Clone, Serialize)]
pub struct HoldDecision {
    /// What.
    pub verdict: Verdict,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub since: String,
    /// Until when.
    pub until: String,
}

/// What is wrong with an object in the directory.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// The forest's configured name.
    pub forest: String,
    /// The object's naming context.
    pub naming_context: String,
    /// Its objectGUID.
    pub object: String,
    /// Its name when this was found.
    pub dn: String,
    /// Whether it is not sent because of it.
    pub blocking: bool,
    /// What is wrong and what to do.
    pub messages: Vec<String>,
    /// Since when.
    pub since: String,
}

/// Objects of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class.
    pub class: &'static str,
    /// How many the tenant should hold.
    pub desired: u64,
    /// How many of them it holds, by our own writes and adoptions.
    pub provisioned: u64,
    /// How many it still holds that it should not.
    pub surplus: u64,
}

/// Wished and there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// How many the tenant should hold.
    pub desired: u64,
    /// How many of them it holds.
    pub provisioned: u64,
}

/// A write that did not take effect.
#[derive(Debug, Clone, Serialize)]
pub struct Issue {
    /// The object's anchor.
    pub anchor: String,
    /// Of a membership, the member's anchor; the object is the group.
    pub member: Option<String>,
    /// Its class.
    pub class: &'static str,
    /// Its name in the directory, where the log still has it.
    pub dn: Option<String>,
    /// The forest, likewise.
    pub forest: Option<String>,
    /// What was attempted.
    pub operation: String,
    /// The error's code; absent where something is held.
    pub code: Option<String>,
    /// The attribute at fault.
    pub attribute: Option<String>,
    /// For a person.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is tried again, or done.
    pub retry_at: Option<String>,
    /// Of what is held, who or what holds it.
    pub cause: Option<String>,
    /// Of held removals from a group, how many members it has that it should not have.
    pub members: Option<u64>,
    /// Of a held join: the object of the tenant, and by what it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<HeldJoin>,
    /// When it was said.
    pub since: String,
}

/// What Graph cannot write.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NotWritable {
    /// Whole objects, per class.
    pub objects: BTreeMap<&'static str, u64>,
    /// Objects that have a value in this directory attribute.
    pub attributes: BTreeMap<String, u64>,
}

/// How far the streams have been taken in, as far as the streams themselves tell.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Lag {
    /// Per `changes` stream: records after the last one that a wish was computed with. Most changes lead to no wish, so
    /// this is an upper bound.
    pub changes_behind: BTreeMap<String, u64>,
    /// Objects of which the tenant does not hold what was wished last, those with failed and held writes included. An
    /// upper bound: a wish that leads to no write has no outcome.
    pub objects_pending: u64,
    /// Memberships likewise.
    pub memberships_pending: u64,
}

impl Report {
    /// With lists cut to `limit`.
    pub fn limited(&self, limit: Option<usize>) -> Self {
        let mut report = self.clone();
        let limit = limit.unwrap_or(usize::MAX);
        for list in [&mut report.failed, &mut report.held, &mut report.deferred, &mut report.quarantined] {
            list.truncate(limit);
        }
        report.findings.truncate(limit);
        report
    }

    /// The exit code it calls for.
    pub fn exit(&self) -> Exit {
        let stopped = self.export_stopped.is_some()
            || self.quarantine.is_some()
            || self.sources.iter().any(|s| s.state == SourceState::Stopped);
        if stopped || self.failed_count > 0 {
            Exit::Failed
        } else if !self.holds.is_empty() || self.held_count + self.quarantined_count + self.blocked_count > 0 {
            Exit::Held
        } else {
            Exit::Done
        }
    }
}

/// Reads the log.
pub async fn gather(log: &dyn Log, settings: &Settings) -> Result<Report> {
    let configuration = &settings.configuration;
    let in_force = control::now(log, configuration).await?;
    let mut sources = sources::gather(log, settings).await?;
    let decisions = decisions::gather(log, configuration).await?;
    decisions.mark(&mut sources);
    let findings = decisions.findings();
    let ledger = ledger::gather(log, configuration).await?;
    let behind = sources.iter().map(|source| {
        let taken = ledger.offsets.get(&source.stream).copied().unwrap_or(0);
        (source.stream.clone(), source.records.saturating_sub(taken))
    });
    let is_done = ledger.classes.iter().all(|class| class.desired == 0 && class.surplus == 0);
    let removed = in_force.as_ref().and_then(|in_force| in_force.removed.clone()).map(|removal| Removed {
        objects: removal.objects.as_str(),
        by: removal.actor,
        reason: removal.reason,
        since: removal.time.to_string(),
        is_done,
    });
    let active = in_force.map(|in_force| in_force.activated);
    let lag = Lag { changes_behind: behind.collect(), ..ledger.lag };
    Ok(Report {
        configuration: configuration.clone(),
        revision: active.as_ref().map(|a| a.revision),
        file_differs: active.is_some_and(|a| a.digest != settings.digest),
        staging: settings.mode == Mode::Staging,
        removed,
        sources,
        health: health(&ledger),
        quarantine: ledger.quarantine,
        export_stopped: ledger.stopped,
        holds: decisions.holds(),
        classes: ledger.classes,
        memberships: ledger.memberships,
        failed_count: ledger.failed.len(),
        held_count: ledger.held.len(),
        deferred_count: ledger.deferred.len(),
        quarantined_count: ledger.quarantined.len(),
        failed: ledger.failed,
        held: ledger.held,
        deferred: ledger.deferred,
        quarantined: ledger.quarantined,
        findings_count: findings.len(),
        blocked_count: findings.iter().filter(|finding| finding.blocking).count(),
        findings,
        drift: ledger.drift.counts(),
        compared: ledger.drift.compared,
        not_writable: ledger.not_writable,
        lag,
        groups: groups::gather(log, settings).await?,
    })
}

fn health(ledger: &ledger::Ledger) -> &'static str {
    let is_troubled = ledger.stopped.is_some() || !ledger.quarantined.is_empty();
    HealthState::of(ledger.quarantine.is_some(), is_troubled).as_str()
}

/// What waits for a decision, and how much of `desired` that is known from.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Why the configuration emits nothing, if it does not.
    pub holds: Vec<Hold>,
    /// Held writes.
    pub held: Vec<Issue>,
    /// Deletions that come later.
    pub deferred: Vec<Issue>,
    /// The last offset of `desired` that was read.
    pub desired_offset: Option<u64>,
}

/// Reads what waits for a decision.
pub async fn waiting(log: &dyn Log, configuration: &str) -> Result<Waiting> {
    let decisions = decisions::gather(log, configuration).await?;
    let ledger = ledger::gather(log, configuration).await?;
    Ok(Waiting {
        holds: decisions.holds(),
        held: ledger.held,
        deferred: ledger.deferred,
        desired_offset: ledger.desired_offset,
    })
}

/// Reads what others did in the tenant.
pub async fn drifting(log: &dyn Log, configuration: &str) -> Result<Drifting> {
    Ok(ledger::gather(log, configuration).await?.drift)
}

/// The name an enumeration has in events.
pub(crate) fn name_of<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
