//! Failures: whose they are, when it is tried again, when it rests.

use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_runtime::clock;
use forestsync_schemas::outcomes::{ExportError, ExportFailed, ExportQuarantined, Operation, OutcomeEvent};
use jiff::Timestamp;
use tokio::time::Instant;

use super::pace::jitter;
use super::{Engine, Flight, NewOutcome, Purpose, Stage};
use crate::error::ProvisionerError;
use crate::store::{Failed, Intent, Write};
use crate::target::{Done, Failure, FailureKind};

/// Attempts at what the tenant refuses as it is.
const REFUSED_ATTEMPTS: u32 = 3;
/// Objects denied in a row that make it everybody's problem, where the token does not tell.
const DENIED_IN_A_ROW: usize = 3;

impl Engine {
    /// Takes a call's failure.
    pub(super) fn failed(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        failure: &Failure,
    ) -> Result<(), ProvisionerError> {
        if self.is_general(anchor, flight, failure) {
            if matches!(flight.purpose, Purpose::Write(_)) {
                self.turn.clear_intent(anchor);
            }
            return Ok(());
        }
        let Purpose::Write(write) = &flight.purpose else {
            return self.reading_failed(anchor, flight, failure);
        };
        let gone = Done { status: 404, request_id: failure.request_id.clone(), id: None };
        match (write.as_ref(), &failure.kind) {
            (_, FailureKind::Uncertain) => {
                let delay = self.object_failed(anchor, flight, write.operation(), failure)?;
                self.doubt(anchor, Intent { offset: flight.offset, write: write.as_ref().clone() }, delay);
                return Ok(());
            }
            (Write::AddMembers { members, .. }, _) => return self.adding_failed(anchor, flight, members, failure),
            // there was no manager to clear
            (Write::SetManager { after: None, .. }, FailureKind::NotFound) => {
                self.done(anchor, flight, write, gone);
                return Ok(());
            }
            // the first time it may be delay
            (Write::Delete, FailureKind::NotFound) if self.has_failed(anchor)? => {
                self.done(anchor, flight, write, gone);
                return Ok(());
            }
            (Write::Restore { .. }, FailureKind::NotFound) => {
                self.stages.insert(anchor.clone(), Stage::Purged);
                self.turn.clear_intent(anchor);
                return Ok(());
            }
            // back to the look-up
            (Write::Create { .. } | Write::Adopt { .. } | Write::Restore { .. }, _) => {
                self.stages.remove(anchor);
            }
            _ => {}
        }
        self.turn.clear_intent(anchor);
        self.object_failed(anchor, flight, write.operation(), failure)?;
        Ok(())
    }

    fn has_failed(&self, anchor: &SourceAnchor) -> Result<bool, ProvisionerError> {
        Ok(self.store.object(anchor)?.is_some_and(|row| row.failure().is_some()))
    }

    /// Reading an object failed: it waits like a write that failed.
    fn reading_failed(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        failure: &Failure,
    ) -> Result<(), ProvisionerError> {
        let operation = match &flight.purpose {
            Purpose::Verify(intent, _) => intent.write.operation(),
            Purpose::Check => Operation::AddMembers,
            _ => Operation::Create,
        };
        let delay = match operation {
            Operation::AddMembers | Operation::RemoveMembers => self.config.tenant.retry_first,
            _ => self.object_failed(anchor, flight, operation, failure)?,
        };
        match self.stages.get_mut(anchor) {
            Some(Stage::Verify(verify)) => verify.not_before = Instant::now() + delay,
            Some(Stage::Check { .. }) => {
                self.stages.remove(anchor);
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes what is nobody's fault, or everybody's; whether it was that.
    pub(super) fn is_general(&mut self, anchor: &SourceAnchor, flight: &Flight, failure: &Failure) -> bool {
        let (now, write) = (Instant::now(), matches!(flight.purpose, Purpose::Write(_)));
        match failure.kind {
            FailureKind::Throttled => self.pace.throttled(write, failure.retry_after, now),
            FailureKind::Unauthorized => {
                let detail = "the tenant does not accept the application's token; check its credential".to_owned();
                self.outage.begin(detail, None, now);
            }
            FailureKind::Denied => {
                self.denied.insert(anchor.clone());
                let general = match self.permitted.get(&flight.class) {
                    _ if !write => true,
                    Some(permitted) => !permitted,
                    None => self.denied.len() >= DENIED_IN_A_ROW,
                };
                if !general {
                    return false;
                }
                let what = if write { "writes" } else { "reads" };
                let class = flight.class.as_str();
                let detail = format!(
                    "the tenant denies {what} of {class} objects (403); grant the application its permissions and consent to them"
                );
                if self.denial.active(now).is_none() {
                    tracing::warn!(%detail, "nothing is sent for a while");
                }
                self.denial.begin(detail, None, now);
            }
            _ => return false,
        }
        true
    }

    /// Attempts that a failure of this kind has.
    fn attempts_allowed(&self, failure: &Failure) -> u32 {
        let all = self.config.tenant.quarantine_after;
        match failure.kind {
            FailureKind::Invalid | FailureKind::Denied => all.min(REFUSED_ATTEMPTS),
            _ => all,
        }
    }

    fn delay(&self, attempt: u32, failure: &Failure) -> Duration {
        let tenant = &self.config.tenant;
        let factor = 2u32.saturating_pow(attempt.saturating_sub(1).min(30));
        let delay = jitter(tenant.retry_first.saturating_mul(factor).min(tenant.retry_longest));
        delay.max(failure.retry_after.unwrap_or_default())
    }

    /// The event for one more failure, and what the ledger keeps of it.
    fn next_failure(
        &self,
        operation: Operation,
        before: Option<&Failed>,
        offset: u64,
        failure: &Failure,
        detail: String,
    ) -> (OutcomeEvent, Failed, Duration) {
        let attempts = before.map_or(0, |f| f.attempts) + 1;
        let delay = self.delay(attempts, failure);
        let quarantined = attempts >= self.attempts_allowed(failure);
        let retry_at = later(delay);
        let error = ExportError {
            code: failure.code.clone(),
            attribute: failure.attribute.clone(),
            detail,
            hint: hint(failure).map(str::to_owned),
        };
        let failed = Failed {
            operation,
            attempts,
            retry_at: retry_at.as_millisecond(),
            quarantined,
            offset,
            code: failure.code.clone(),
            attribute: failure.attribute.clone(),
        };
        let event = if quarantined {
            OutcomeEvent::ExportQuarantined(ExportQuarantined { operation, error, attempts })
        } else {
            OutcomeEvent::ExportFailed(ExportFailed { operation, error, attempt: attempts, retry_at })
        };
        (event, failed, delay)
    }

    /// Writes a failure of the object itself or of its manager down; when it is tried again.
    fn object_failed(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        operation: Operation,
        failure: &Failure,
    ) -> Result<Duration, ProvisionerError> {
        let row = self.store.object(anchor)?;
        let before = row.as_ref().and_then(|row| match operation {
            Operation::SetManager => row.manager_failure(),
            _ => row.failure(),
        });
        let (event, _, delay) = self.next_failure(operation, before, flight.offset, failure, detail(failure));
        self.push_failure(anchor, flight, failure, event);
        Ok(delay)
    }

    /// Writes a failure of one membership down.
    pub(super) fn member_failed(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        member: &SourceAnchor,
        removing: bool,
        failure: &Failure,
    ) -> Result<(), ProvisionerError> {
        let operation = if removing { Operation::RemoveMembers } else { Operation::AddMembers };
        let edge = self.store.edge(anchor, member)?.unwrap_or_default();
        let text = format!("member {member}: {}", detail(failure));
        let offset = flight.offset.max(edge.offset);
        let (event, failed, _) = self.next_failure(operation, edge.failure(), offset, failure, text);
        self.turn.edge_failed(anchor, member, failed);
        self.push_failure(anchor, flight, failure, event);
        Ok(())
    }

    fn push_failure(&mut self, anchor: &SourceAnchor, flight: &Flight, failure: &Failure, event: OutcomeEvent) {
        let mut outcome = NewOutcome::after(anchor, flight, None, event);
        (outcome.status, outcome.request_id) = (failure.status, failure.request_id.clone());
        self.turn.outcome(outcome);
    }
}

fn later(delay: Duration) -> Timestamp {
    let delay = jiff::SignedDuration::try_from(delay).unwrap_or(jiff::SignedDuration::MAX);
    clock::now().checked_add(delay).unwrap_or(Timestamp::MAX)
}

fn detail(failure: &Failure) -> String {
    let what = match failure.kind {
        FailureKind::Conflict => "another object has the same value",
        FailureKind::Denied => "the application may not write this object",
        FailureKind::NotFound => "the object, or one it refers to, is not in the tenant or not visible yet",
        FailureKind::Uncertain => "the tenant failed, or its answer was lost",
        FailureKind::Busy => "somebody else was changing the object",
        FailureKind::Invalid => "the tenant refuses the request as it is",
        FailureKind::Throttled => "the tenant asks for fewer requests",
        FailureKind::Unauthorized => "the tenant does not accept the token",
    };
    let other = failure.other.as_ref().map_or(String::new(), |other| format!(": {other}"));
    let status = failure.status.map_or(String::new(), |status| format!(" ({status})"));
    format!("{what}{other}{status}")
}

fn hint(failure: &Failure) -> Option<&'static str> {
    match failure.kind {
        FailureKind::Conflict => {
            Some("make the value unique in the directory, or change or delete the other object in the tenant")
        }
        FailureKind::Denied => Some("grant the application the role that writing privileged objects takes"),
        FailureKind::Invalid if failure.code.eq_ignore_ascii_case("Directory_QuotaExceeded") => {
            Some("the tenant's object quota is used up; purge deleted objects or raise it")
        }
        FailureKind::Invalid => Some("correct the value in the directory; it is tried again when it changes"),
        _ => None,
    }
}
