//! Failures: whose they are, when it is tried again, when it rests.

use std::collections::BTreeMap;
use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_runtime::clock;
use forestsync_schemas::outcomes::{ExportError, ExportFailed, ExportQuarantined, Operation, OutcomeEvent, StopCause};
use jiff::Timestamp;
use tokio::time::Instant;

use super::health::is_own;
use super::pace::jitter;
use super::plan::MISSED;
use super::turn::Note;
use super::{Engine, Flight, NewOutcome, Purpose, Stage};
use crate::error::ProvisionerError;
use crate::store::{Failed, Intent, Write};
use crate::target::{Done, Failure, FailureKind};

/// How much longer each delay between attempts is than the one before: six of them make 23 minutes, longer than what was
/// written may take to show everywhere (graph.md section 7.1).
const STEP: u32 = 4;
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
        if matches!(flight.purpose, Purpose::Compare | Purpose::CompareGone | Purpose::CompareMembers) {
            self.comparison_failed(anchor, failure.retry_after);
            return Ok(());
        }
        let young = self.may_be_young(flight, failure);
        let failure = young.as_ref().unwrap_or(failure);
        let Purpose::Write(write) = &flight.purpose else {
            return self.reading_failed(anchor, flight, failure);
        };
        let gone = Done { status: 404, request_id: failure.request_id.clone(), id: None };
        match (write.as_ref(), &failure.kind) {
            (_, FailureKind::Uncertain) => {
                let wait = self.write_failed(anchor, flight, write, failure)?;
                self.doubt(anchor, Intent { offset: flight.offset, write: write.as_ref().clone() }, wait);
                return Ok(());
            }
            (Write::AddOwner { .. } | Write::RemoveOwner { .. }, _) => {
                return self.owning_failed(anchor, flight, write, failure);
            }
            (Write::AddMembers { members, .. }, _) => return self.adding_failed(anchor, flight, members, failure),
            // there was no manager to clear
            (Write::SetManager { after: None, .. }, FailureKind::NotFound) if !self.is_young(anchor)? => {
                return self.done(anchor, flight, write, gone);
            }
            // the first time it may be delay, and soon after it was made as well
            (Write::Delete, FailureKind::NotFound) if self.has_failed(anchor)? && !self.is_young(anchor)? => {
                return self.done(anchor, flight, write, gone);
            }
            // it may be gone all the same: whoever wishes it again before that is seen must find out
            (Write::Delete, FailureKind::NotFound) => self.doubt_life(anchor),
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
        let wait = match &flight.purpose {
            Purpose::Verify(intent, _) => self.write_failed(anchor, flight, &intent.write, failure)?,
            Purpose::Check => {
                if let Some(Stage::Check { members, removing, .. }) = self.stages.remove(anchor) {
                    self.members_failed(anchor, flight, &members, removing, failure)?;
                }
                return Ok(());
            }
            Purpose::Manager => self.object_failed(anchor, flight, Operation::SetManager, failure)?,
            Purpose::Owners => {
                self.stages.remove(anchor);
                self.object_failed(anchor, flight, Operation::SetOwner, failure)?
            }
            Purpose::Roles => {
                // back to the look-up: who was found may be gone
                self.stages.remove(anchor);
                self.object_failed(anchor, flight, Operation::Create, failure)?
            }
            Purpose::Own => self.object_failed(anchor, flight, Operation::Delete, failure)?,
            _ => self.object_failed(anchor, flight, Operation::Create, failure)?,
        };
        if let Some(Stage::Verify(verify)) = self.stages.get_mut(anchor) {
            (verify.not_before, verify.quiet) = (Instant::now() + wait.delay, wait.quiet);
        }
        Ok(())
    }

    /// Writes the failure of a write down, with the object or with each of its members.
    fn write_failed(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        write: &Write,
        failure: &Failure,
    ) -> Result<Wait, ProvisionerError> {
        match write {
            Write::AddMembers { members, .. } => self.members_failed(anchor, flight, members, false, failure),
            Write::RemoveMembers { members } => self.members_failed(anchor, flight, members, true, failure),
            _ => self.object_failed(anchor, flight, write.operation(), failure),
        }
    }

    /// Takes what is nobody's fault, or everybody's; whether it was that.
    pub(super) fn is_general(&mut self, anchor: &SourceAnchor, flight: &Flight, failure: &Failure) -> bool {
        let (now, write) = (Instant::now(), matches!(flight.purpose, Purpose::Write(_)));
        match failure.kind {
            FailureKind::Throttled => self.pace.throttled(write, failure.retry_after, now),
            FailureKind::Unauthorized => {
                let detail = "the tenant does not accept the application's token; check its credential".to_owned();
                self.outage.begin(StopCause::NotAuthenticated, detail, None, now);
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
                self.denial.begin(StopCause::NotPermitted, detail, None, now);
            }
            _ => return false,
        }
        true
    }

    /// Attempts that a failure of this kind has.
    fn attempts_allowed(&self, failure: &Failure, operation: Operation) -> u32 {
        let all = self.config.tenant.quarantine_after;
        // Graph refuses references it does not see yet with 400 as well
        let link = matches!(operation, Operation::AddMembers | Operation::RemoveMembers);
        if is_refusal(failure) && !link { all.min(REFUSED_ATTEMPTS) } else { all }
    }

    fn delay(&self, attempt: u32, failure: &Failure) -> Duration {
        let tenant = &self.config.tenant;
        let factor = STEP.saturating_pow(attempt.saturating_sub(1));
        let delay = jitter(tenant.retry_first.saturating_mul(factor).min(tenant.retry_longest));
        delay.max(failure.retry_after.unwrap_or_default())
    }

    /// What one more failure after `before` leads to. What repeating cannot heal rests once it was quarantined; what may
    /// pass by itself is tried on, but not reported again.
    fn next_failure(
        &self,
        operation: Operation,
        before: Before,
        offset: u64,
        failure: &Failure,
        detail: String,
        members: &[SourceAnchor],
    ) -> Next {
        let attempts = before.attempts + 1;
        let quarantined = before.reported || attempts >= self.attempts_allowed(failure, operation);
        let delay = if quarantined { self.delay(u32::MAX, failure) } else { self.delay(attempts, failure) };
        // what was announced as tried on is tried on
        let is_final = quarantined && is_refusal(failure) && !before.reported;
        let retry_at = Some(later(delay)).filter(|_| !is_final);
        let failed = Failed {
            operation,
            attempts,
            retry_at: retry_at.map_or(0, Timestamp::as_millisecond),
            quarantined,
            offset,
            code: failure.code.clone(),
            status: failure.status,
            attribute: failure.attribute.clone(),
            other: failure.other.clone(),
        };
        let error = ExportError {
            code: failure.code.clone(),
            attribute: failure.attribute.clone(),
            other: failure.other.clone(),
            detail,
            hint: hint(operation, failure).map(str::to_owned),
        };
        let members = members.to_vec();
        let event = match retry_at {
            _ if before.reported => None,
            Some(retry_at) if !quarantined => {
                let event = ExportFailed { operation, error, attempt: attempts, retry_at, members };
                Some(OutcomeEvent::ExportFailed(event))
            }
            retry_at => {
                let event = ExportQuarantined { operation, error, attempts, retry_at, members };
                Some(OutcomeEvent::ExportQuarantined(event))
            }
        };
        Next { event, failed, wait: Wait { delay, quiet: quarantined } }
    }

    /// Writes a failure of the object itself, or of its manager or owner, down; when it is tried again.
    pub(super) fn object_failed(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        operation: Operation,
        failure: &Failure,
    ) -> Result<Wait, ProvisionerError> {
        let row = self.store.object(anchor)?;
        let before = Before::new(row.as_ref().and_then(|row| match operation {
            Operation::SetManager | Operation::SetOwner => row.lead_failure(),
            _ => row.failure(),
        }));
        let next = self.next_failure(operation, before, flight.offset, failure, detail(failure), &[]);
        if let Some(event) = next.event {
            self.push_failure(anchor, flight, flight.offset, failure, event);
        } else {
            self.wards.answered(anchor, is_own(operation));
            self.turn.note(Note::Object(anchor.clone(), next.failed));
        }
        Ok(next.wait)
    }

    /// Writes a failure of memberships down, each with its own count; when the last of them is tried again.
    pub(super) fn members_failed(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        members: &[SourceAnchor],
        removing: bool,
        failure: &Failure,
    ) -> Result<Wait, ProvisionerError> {
        let operation = if removing { Operation::RemoveMembers } else { Operation::AddMembers };
        let (mut alike, mut offset) = (BTreeMap::<Before, Vec<SourceAnchor>>::new(), flight.offset);
        for member in members {
            let edge = self.store.edge(anchor, member)?.unwrap_or_default();
            offset = offset.max(edge.offset);
            alike.entry(Before::new(edge.failure())).or_default().push(member.clone());
        }
        let mut wait = Wait { delay: self.config.tenant.retry_first, quiet: true };
        for (before, members) in alike {
            let who = match members.as_slice() {
                [member] => format!("member {member}"),
                several => format!("{} members", several.len()),
            };
            let text = format!("{who}: {}", detail(failure));
            let next = self.next_failure(operation, before, offset, failure, text, &members);
            if failure.status == Some(404) && next.failed.attempts == MISSED {
                for one in members.iter().chain([anchor]) {
                    self.missed.insert(one.clone());
                    self.turn.touch(one);
                }
            }
            wait = Wait { delay: wait.delay.max(next.wait.delay), quiet: wait.quiet && next.wait.quiet };
            match next.event {
                Some(event) => self.push_failure(anchor, flight, offset, failure, event),
                None => {
                    for member in members {
                        self.turn.note(Note::Member(anchor.clone(), member, next.failed.clone()));
                    }
                }
            }
        }
        Ok(wait)
    }

    fn push_failure(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        offset: u64,
        failure: &Failure,
        event: OutcomeEvent,
    ) {
        let mut outcome = NewOutcome::after(anchor, flight, None, event);
        outcome.offset = offset;
        (outcome.status, outcome.request_id) = (failure.status, failure.request_id.clone());
        self.turn.outcome(outcome);
    }
}

/// How long something waits, and whether anybody waits for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub delay: Duration,
    /// It was reported as failed too often.
    pub quiet: bool,
}

/// What was known of a write's failures before one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Before {
    attempts: u32,
    reported: bool,
}

impl Before {
    fn new(failed: Option<&Failed>) -> Self {
        Self { attempts: failed.map_or(0, |f| f.attempts), reported: failed.is_some_and(|f| f.quarantined) }
    }
}

/// What one more failure leads to.
struct Next {
    /// Nothing if it was said already.
    event: Option<OutcomeEvent>,
    failed: Failed,
    wait: Wait,
}

/// The same failure, to be tried again now.
pub(super) fn due_now(failed: &Failed) -> Failed {
    Failed { retry_at: clock::now().as_millisecond(), ..failed.clone() }
}

/// Whether repeating the same request cannot heal it.
fn is_refusal(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Invalid | FailureKind::Denied)
}

/// The time after a delay.
pub(super) fn later(delay: Duration) -> Timestamp {
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

fn hint(operation: Operation, failure: &Failure) -> Option<&'static str> {
    let quota = failure.code.eq_ignore_ascii_case("Directory_QuotaExceeded");
    match failure.kind {
        FailureKind::Invalid if quota && operation == Operation::SetOwner => {
            Some("a group has 100 owners at most; remove some in the tenant")
        }
        FailureKind::Conflict => {
            Some("make the value unique in the directory, or change or delete the other object in the tenant")
        }
        FailureKind::Denied => Some("grant the application the role that writing privileged objects takes"),
        FailureKind::Invalid if quota => {
            Some("the tenant's object quota is used up; purge deleted objects or raise it")
        }
        FailureKind::Invalid => Some("correct the value in the directory; it is tried again when it changes"),
        _ => None,
    }
}
