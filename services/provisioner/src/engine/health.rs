//! The health of a configuration. When so much fails that the objects cannot be at fault, it is quarantined: nothing is
//! sent for a while, then a few objects are tried, more of them as long as most do not fail, and after the next trial that
//! fails the pause is twice as long. It is over when no limit is exceeded any more.

use std::collections::HashSet;

use forestsync_domain::SourceAnchor;
use forestsync_rules::quarantine::{self, Failing};
use forestsync_schemas::outcomes::{
    ConfigurationQuarantined, ConfigurationRecovered, Operation, OutcomeEvent, QuarantineCause,
};
use tokio::time::Instant;

use super::Engine;
use super::failures::later;
use super::pace::jitter;
use super::plan::instant;
use crate::status::{Health, HealthState};
use crate::store::Quarantine;

/// Objects that are tried after a pause.
const FIRST_TRIAL: usize = 100;
/// How much larger a trial is than the one before that went well.
const GROWTH: usize = 4;

/// How a quarantined configuration is written.
#[derive(Debug, Default)]
pub(super) struct Wards {
    quarantine: Option<Ward>,
    /// Objects that wait for a trial.
    waiting: HashSet<SourceAnchor>,
}

#[derive(Debug)]
struct Ward {
    pauses: u32,
    until: Instant,
    trial: Option<Trial>,
}

#[derive(Debug)]
struct Trial {
    limit: usize,
    asked: HashSet<SourceAnchor>,
    /// Those of them whose answer is missing.
    open: HashSet<SourceAnchor>,
    failed: usize,
}

impl Trial {
    fn new(limit: usize) -> Self {
        Self { limit, asked: HashSet::new(), open: HashSet::new(), failed: 0 }
    }
}

impl Wards {
    /// As it was left.
    pub(super) fn new(left: Option<Quarantine>) -> Self {
        let ward =
            left.map(|quarantine| Ward { pauses: quarantine.pauses, until: instant(quarantine.retry_at), trial: None });
        Self { quarantine: ward, waiting: HashSet::new() }
    }

    /// Whether the object may be asked about or written now; if not, it waits.
    pub(super) fn admits(&mut self, anchor: &SourceAnchor) -> bool {
        let Some(ward) = &mut self.quarantine else { return true };
        let admitted = match &mut ward.trial {
            Some(trial) if trial.asked.contains(anchor) => true,
            Some(trial) if trial.asked.len() < trial.limit => {
                trial.open.insert(anchor.clone());
                trial.asked.insert(anchor.clone())
            }
            _ => false,
        };
        if !admitted {
            self.waiting.insert(anchor.clone());
        }
        admitted
    }

    /// Something became of an object, or nothing is left to do about it.
    pub(super) fn answered(&mut self, anchor: &SourceAnchor, failed: bool) {
        if let Some(trial) = self.quarantine.as_mut().and_then(|ward| ward.trial.as_mut())
            && trial.open.remove(anchor)
            && failed
        {
            trial.failed += 1;
        }
    }

    pub(super) fn is_quarantined(&self) -> bool {
        self.quarantine.is_some()
    }

    /// Objects that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// When the next ones are tried, if that is not now.
    pub(super) fn next(&self) -> Option<Instant> {
        self.quarantine.as_ref().filter(|ward| ward.trial.is_none()).map(|ward| ward.until)
    }
}

/// Whether it is done to the object itself, and not to what refers to others.
pub(super) fn is_own(operation: Operation) -> bool {
    !matches!(operation, Operation::SetManager | Operation::SetOwner | Operation::AddMembers | Operation::RemoveMembers)
}

/// Whether the outcome is a failure of an object itself.
pub(super) fn is_failure(event: &OutcomeEvent) -> bool {
    match event {
        OutcomeEvent::ExportFailed(failed) => is_own(failed.operation),
        OutcomeEvent::ExportQuarantined(resting) => is_own(resting.operation),
        _ => false,
    }
}

impl Engine {
    /// Begins a quarantine, ends it, or goes on with its trials.
    pub(super) fn review_health(&mut self) {
        let limits = self.config.tenant.quarantine.limits;
        let exceeded = quarantine::exceeded(&limits, self.index.failing);
        // also where something was only read, and nothing is left to do about it
        let rests = self.flights.is_empty() && self.ready.len() + self.parked.len() == 0;
        match (&mut self.wards.quarantine, exceeded) {
            (None, None) => {}
            (None, Some(cause)) => self.pause(cause, 1),
            (Some(_), None) => {
                self.wards.quarantine = None;
                self.release();
                let failing = self.index.failing.objects;
                self.say(OutcomeEvent::ConfigurationRecovered(ConfigurationRecovered { failing }));
            }
            (Some(ward), Some(cause)) => match &mut ward.trial {
                None if Instant::now() >= ward.until => {
                    ward.trial = Some(Trial::new(FIRST_TRIAL));
                    self.release();
                }
                Some(trial) if (rests || trial.open.is_empty()) && trial.asked.len() >= trial.limit => {
                    if trial.failed as f64 > limits.share * trial.asked.len() as f64 {
                        let pauses = ward.pauses + 1;
                        self.pause(cause, pauses);
                    } else {
                        ward.trial = Some(Trial::new(trial.limit.saturating_mul(GROWTH)));
                        self.release();
                    }
                }
                _ => {}
            },
        }
    }

    fn pause(&mut self, cause: QuarantineCause, pauses: u32) {
        let config = &self.config.tenant.quarantine;
        let factor = 2_u32.saturating_pow(pauses.saturating_sub(1));
        let delay = jitter(config.pause.saturating_mul(factor).min(config.longest_pause));
        self.wards.quarantine = Some(Ward { pauses, until: Instant::now() + delay, trial: None });
        let Failing { objects: failing, references, of: objects } = self.index.failing;
        let retry_at = later(delay);
        tracing::warn!(failing, references, objects, %retry_at, "too much fails: the configuration is quarantined");
        let event = ConfigurationQuarantined { cause, failing, references, objects, pauses, retry_at };
        self.say(OutcomeEvent::ConfigurationQuarantined(event));
    }

    fn release(&mut self) {
        for anchor in std::mem::take(&mut self.wards.waiting) {
            self.ready.push(&anchor);
        }
    }

    /// How it is, for others.
    pub(super) fn health(&self, wall: impl Fn(Instant) -> jiff::Timestamp) -> Health {
        let rests = !self.index.quarantined.is_empty() || !self.index.quarantined_edges.is_empty();
        let state = HealthState::of(self.wards.is_quarantined(), rests || self.stop_said.is_some());
        let Failing { objects, references, .. } = self.index.failing;
        Health { state, failing: objects, failing_references: references, retry_at: self.wards.next().map(wall) }
    }
}
