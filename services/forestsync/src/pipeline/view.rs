//! What all parts of a pipeline tell about themselves, in one place: for progress, and to know when nothing is left.

use std::collections::BTreeMap;

use forestsync_collector::{CollectorStatus, Phase};
use forestsync_projector::{Finding, ProjectorStatus};
use forestsync_provisioner::Status as ProvisionerStatus;
use forestsync_schemas::changes::StopCause;
use tokio::sync::watch;

use crate::output::count;

/// The live state of a pipeline.
#[derive(Debug)]
pub struct View {
    /// Per forest, in the order of the configuration.
    pub(super) collectors: Vec<(String, watch::Receiver<Vec<CollectorStatus>>)>,
    /// Empty until the naming contexts are known.
    pub(super) projector: watch::Receiver<Option<ProjectorStatus>>,
    pub(super) provisioner: watch::Receiver<ProvisionerStatus>,
}

/// Numbers that only grow while something goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mark {
    read: Vec<u64>,
    applied: Vec<u64>,
    written: Vec<u64>,
}

impl View {
    /// One line per part: its name and how it is.
    pub fn lines(&self) -> Vec<(String, String)> {
        let mut lines: Vec<(String, String)> =
            self.collectors.iter().map(|(name, rows)| (name.clone(), collector_line(&rows.borrow()))).collect();
        lines.push(("projection".to_owned(), self.projector_line()));
        lines.push(("tenant".to_owned(), self.provisioner_line()));
        lines
    }

    fn projector_line(&self) -> String {
        let status = self.projector.borrow();
        let Some(status) = status.as_ref() else { return "waiting for the naming contexts".to_owned() };
        if let Some(held) = status.held.first() {
            return format!("HELD, forest {}: {}", held.forest, held.detail);
        }
        let gate = if status.gate_open { "" } else { ", waiting for all forests to be read once" };
        let wished: u64 = status.projected.values().sum();
        format!("{} mirrored, {wished} wished{gate}", count(status.objects, "object"))
    }

    fn provisioner_line(&self) -> String {
        let status = self.provisioner.borrow();
        if status.staging {
            return "in staging, nothing is written".to_owned();
        }
        if let Some(why) = &status.stopped {
            return format!("waiting: {why}");
        }
        let managed: u64 = status.managed.values().sum();
        let mut parts = vec![format!("{managed} there, {} pending", status.pending + status.in_flight)];
        let numbers =
            [("retrying", status.retrying), ("held", status.held_total), ("quarantined", status.quarantined_total)];
        parts.extend(numbers.into_iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} {name}")));
        if status.throttled_until.is_some() {
            parts.push("throttled".to_owned());
        }
        parts.join(", ")
    }

    /// How many objects the tenant holds of the configuration, as far as the ledger knows.
    pub(super) fn managed(&self) -> u64 {
        self.provisioner.borrow().managed.values().sum()
    }

    /// How many objects the projection wishes.
    pub(super) fn wished(&self) -> u64 {
        self.projector.borrow().as_ref().map_or(0, |status| status.projected.values().sum())
    }

    /// How many objects the delete guard holds, holds of the configuration included, and how many are quarantined.
    pub fn held(&self) -> (u64, u64) {
        let holds = self.projector.borrow().as_ref().map_or(0, |s| s.held.len());
        let status = self.provisioner.borrow();
        ((holds + status.held_total) as u64, status.quarantined_total as u64)
    }

    /// How many objects are in scope and not sent, because something is wrong with them in the directory, and what is
    /// wrong with some of those and others.
    pub fn findings(&self) -> (u64, Vec<Finding>) {
        let status = self.projector.borrow();
        status.as_ref().map_or((0, Vec::new()), |s| (s.blocked, s.finding_list.clone()))
    }

    /// Passes completed so far, per naming context.
    pub(super) fn passes(&self) -> Vec<Vec<u64>> {
        self.collectors.iter().map(|(_, rows)| rows.borrow().iter().map(|row| row.passes).collect()).collect()
    }

    pub(super) fn mark(&self) -> Mark {
        let (projector, provisioner) = (self.projector.borrow(), self.provisioner.borrow());
        let read = self.collectors.iter().flat_map(|(_, rows)| {
            let rows = rows.borrow();
            rows.iter().map(|row| row.appended + row.snapshots).collect::<Vec<_>>()
        });
        let applied = projector.iter().flat_map(|s| s.streams.values().map(|stream| stream.applied));
        Mark {
            read: read.collect(),
            applied: applied.chain(projector.iter().map(|s| s.outbox)).collect(),
            written: vec![provisioner.desired_applied, provisioner.outcomes_next],
        }
    }

    /// The tails of the streams as their collectors know them, or what is still being read. `needed` says for each naming
    /// context how many passes it must have completed.
    pub(super) fn read_up_to(&self, needed: &[Vec<u64>]) -> Result<BTreeMap<String, u64>, String> {
        let mut tails = BTreeMap::new();
        for (index, (forest, rows)) in self.collectors.iter().enumerate() {
            for (at, row) in rows.borrow().iter().enumerate() {
                let passes = needed.get(index).and_then(|n| n.get(at)).copied().unwrap_or(1);
                match &row.phase {
                    Phase::Following if row.passes >= passes && row.last_pass_found == 0 => {
                        tails.insert(row.stream.clone(), row.tail);
                    }
                    Phase::Following => return Err(format!("forest {forest}, which is still telling changes")),
                    Phase::Snapshot { seen } => {
                        return Err(format!("forest {forest}, {} read so far", count(*seen, "object")));
                    }
                    Phase::Connecting => return Err(format!("forest {forest}, which is being connected to")),
                    Phase::Stopped { detail, hint, .. } => return Err(format!("forest {forest}: {detail} ({hint})")),
                }
            }
        }
        Ok(tails)
    }

    /// Whether a source stands still for a reason that only a person can take away.
    pub(super) fn needs_a_person(&self) -> bool {
        let projector = self.projector.borrow();
        let stopped = projector.iter().any(|status| status.streams.values().any(|s| s.stopped.is_some()));
        stopped
            || self.collectors.iter().any(|(_, rows)| {
                rows.borrow().iter().any(|row| match &row.phase {
                    Phase::Stopped { cause, .. } => !matches!(cause, StopCause::Unreachable | StopCause::Protocol),
                    _ => false,
                })
            })
    }

    /// What the projection has not taken in yet of `tails`, if anything.
    pub(super) fn projected(&self, tails: &BTreeMap<String, u64>) -> Result<(), String> {
        let status = self.projector.borrow();
        let Some(status) = status.as_ref() else { return Err("the projection, which has not begun".to_owned()) };
        for (stream, tail) in tails {
            let place = status.streams.get(stream);
            if let Some(why) = place.and_then(|s| s.stopped.as_ref()) {
                return Err(format!("the projection of {stream}, which stopped: {why}"));
            }
            let applied = place.map_or(0, |s| s.applied);
            if applied < *tail {
                return Err(format!("the projection of {stream}, at {applied} of {tail}"));
            }
        }
        if !status.is_idle() {
            return Err("the projection, which still computes".to_owned());
        }
        Ok(())
    }

    /// What the tenant does not hold yet of everything wished before `tail`, if anything.
    pub(super) fn provisioned(&self, tail: u64) -> Result<(), String> {
        let status = self.provisioner.borrow();
        if status.staging || (status.idle && status.desired_applied >= tail) {
            return Ok(());
        }
        let pending = status.pending + status.in_flight + status.retrying;
        match &status.stopped {
            Some(why) => Err(format!("the tenant: {why}")),
            None => Err(format!("the tenant, {} pending", count(pending as u64, "object"))),
        }
    }
}

fn collector_line(rows: &[CollectorStatus]) -> String {
    let line = |row: &CollectorStatus| match &row.phase {
        Phase::Connecting => "connecting".to_owned(),
        Phase::Snapshot { seen } => format!("full read, {}", count(*seen, "object")),
        Phase::Following => format!("following, {} in its stream", count(row.tail, "event")),
        Phase::Stopped { detail, hint, .. } => format!("STOPPED: {detail}; {hint}"),
    };
    rows.iter().map(line).collect::<Vec<_>>().join("; ")
}
