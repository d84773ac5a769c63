//! The status that is published.

use std::time::Duration;

use forestsync_runtime::clock;
use jiff::Timestamp;
use tokio::time::Instant;

use super::Engine;
use crate::error::ProvisionerError;
use crate::status::{Outcomes, Status};

/// Published this often while work goes on.
const INTERVAL: Duration = Duration::from_millis(100);

fn wall(at: Instant, now: Instant) -> Timestamp {
    let ahead = jiff::SignedDuration::try_from(at.saturating_duration_since(now)).unwrap_or_default();
    clock::now().checked_add(ahead).unwrap_or(Timestamp::MAX)
}

impl Engine {
    /// Publishes the status; without `always` only if the last one is old enough.
    pub(super) fn publish(&mut self, always: bool) -> Result<(), ProvisionerError> {
        let now = Instant::now();
        let fresh = self.published.is_some_and(|at| now.duration_since(at) < INTERVAL);
        let busy = self.ready.len() > 0 || !self.flights.is_empty();
        if fresh && (busy || !always) {
            return Ok(());
        }
        self.published = Some(now);
        let status = self.snapshot(now)?;
        self.status.send_if_modified(|old| {
            let changed = *old != status;
            *old = status;
            changed
        });
        Ok(())
    }

    /// Whether nothing is left to do but what is held, quarantined or not writable, and the tenant was compared once if it
    /// is at all.
    pub(super) fn is_idle(&self) -> bool {
        let queued = self.ready.len() + self.parked.len() + self.timers.len() + self.wards.waiting();
        self.at_tail && queued == 0 && self.flights.is_empty() && self.extensions.is_quiet() && self.is_compared()
    }

    fn snapshot(&self, now: Instant) -> Result<Status, ProvisionerError> {
        let meta = self.store.meta()?;
        let mut outcomes = Outcomes::new();
        for (class, kind, count) in meta.outcomes {
            outcomes.entry(class).or_default().insert(kind, count);
        }
        let pending = self.ready.len() + self.parked.len();
        let idle = self.is_idle();
        let pause = self.outage.active(now).max(self.denial.active(now));
        let stopped = self.outage.detail().or(self.denial.detail()).map(str::to_owned);
        Ok(Status {
            staging: false,
            desired_applied: self.desired_next,
            outcomes_next: meta.outcomes_next,
            idle,
            pending,
            in_flight: self.flights.len(),
            retrying: self.timers.len() + self.quiet.len() + self.wards.waiting(),
            next_retry: [self.timers.next(), self.quiet.next(), self.wards.next()]
                .into_iter()
                .flatten()
                .min()
                .max(pause)
                .map(|at| wall(at, now)),
            held: self.index.held.values().take(Status::LISTED).cloned().collect(),
            held_total: self.index.held.len(),
            quarantined: self.index.quarantined.values().take(Status::LISTED).cloned().collect(),
            quarantined_total: self.index.quarantined.len() + self.index.quarantined_edges.len(),
            managed: self.index.managed.iter().filter(|(_, n)| **n > 0).map(|(c, n)| (*c, *n)).collect(),
            not_writable: self.index.not_writable.iter().filter(|(_, n)| **n > 0).map(|(c, n)| (*c, *n)).collect(),
            outcomes,
            requests: self.target.requests(),
            throttled_until: self.pace.blocked(true, now).map(|at| wall(at, now)),
            stopped,
            health: self.health(|at| wall(at, now)),
            drift: self.drift_status(),
        })
    }
}
