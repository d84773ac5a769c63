//! Sending: plans become batches, batches become tasks.

use std::sync::Arc;
use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_runtime::clock;
use forestsync_schemas::outcomes::StopCause;
use forestsync_schemas::trace;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::failures::Wait;
use super::plan::Plan;
use super::{CrashPoint, Engine, Flight, Purpose};
use crate::error::ProvisionerError;
use crate::store::{Intent, Write};
use crate::target::{Call, Failure, FailureKind, Outage, Reply, own_failure};

/// Looks at objects in one round at most, so that answers have their turn.
const MOST_LOOKS: usize = 5_000;
/// Writes that are planned ahead of the quota at most.
const MOST_PARKED: usize = 500;
/// Calls from which on a batch tells of the tenant rather than of its objects.
const FEW: usize = 5;
/// Writes in a row without an answer, among answers to others, that are the object's own fault.
const SUSPECT: u32 = 3;
/// How often the permissions are looked at while writes are denied.
const PERMISSIONS: Duration = Duration::from_secs(10);

/// A task that is done.
#[derive(Debug)]
pub(super) struct Finished {
    anchors: Vec<SourceAnchor>,
    writes: bool,
    result: Result<Vec<Reply>, Outage>,
}

/// Calls of one batch.
#[derive(Debug, Default)]
struct Job {
    anchors: Vec<SourceAnchor>,
    calls: Vec<Call>,
    /// Of the changes that caused them.
    traces: Vec<Option<String>>,
    requests: usize,
}

/// Fills batches one after the other.
#[derive(Debug)]
struct Packer {
    size: usize,
    open: Job,
    full: Vec<Job>,
}

impl Packer {
    fn new(size: usize) -> Self {
        Self { size, open: Job::default(), full: Vec::new() }
    }

    fn add(&mut self, anchor: SourceAnchor, call: Call, trace: Option<String>) {
        let requests = call.requests();
        // a list has pages of its own and shares no batch
        let alone = matches!(call, Call::ListMembers { .. } | Call::ListOwners { .. } | Call::ListRoles { .. });
        if alone {
            self.full.push(Job { anchors: vec![anchor], calls: vec![call], traces: vec![trace], requests });
            return;
        }
        if self.open.requests + requests > self.size && !self.open.calls.is_empty() {
            self.full.push(std::mem::take(&mut self.open));
        }
        self.open.anchors.push(anchor);
        self.open.calls.push(call);
        self.open.traces.push(trace);
        self.open.requests += requests;
    }

    fn jobs(mut self) -> Vec<Job> {
        if !self.open.calls.is_empty() {
            self.full.push(self.open);
        }
        self.full
    }
}

impl Engine {
    /// Whether a round of dispatching could send anything.
    pub(super) fn can_dispatch(&self, now: Instant) -> bool {
        let writes_wait = self.parked.len() >= MOST_PARKED;
        let paused = self.outage.active(now).is_some() || self.denial.active(now).is_some();
        self.ready.len() > 0 && !paused && !writes_wait && self.jobs.len() < self.breadth.get()
    }

    /// Plans as much as may be sent now, makes the intents durable, sends.
    pub(super) async fn dispatch(&mut self) -> Result<(), ProvisionerError> {
        if !self.can_dispatch(Instant::now()) {
            return Ok(());
        }
        let size = self.config.tenant.batch_size;
        let mut room = self.breadth.get().saturating_sub(self.jobs.len()) * size;
        let (mut reads, mut writes) = (Packer::new(size), Packer::new(size));
        let mut tx = Vec::new();
        for _ in 0..MOST_LOOKS {
            if room == 0 || self.parked.len() >= MOST_PARKED {
                break;
            }
            let Some(anchor) = self.ready.pop() else { break };
            let (call, purpose) = match self.plan(&anchor)? {
                Plan::Nothing => {
                    self.wards.answered(&anchor, false);
                    continue;
                }
                Plan::Report(outcome) => {
                    self.turn.outcome(outcome);
                    self.turn.touch(&anchor);
                    continue;
                }
                Plan::Ask(call, purpose) => (call, purpose),
                Plan::Write(call, write) => (call, Purpose::Write(Box::new(write))),
            };
            if !self.wards.admits(&anchor) {
                continue;
            }
            if let Err(at) = self.pace.take(call.writes(), Instant::now()) {
                self.unpark_at = Some(self.unpark_at.map_or(at, |earlier| earlier.min(at)));
                self.parked.push(anchor);
                continue;
            }
            room = room.saturating_sub(call.requests());
            let flight = self.flight(&anchor, purpose)?;
            if let Purpose::Write(write) = &flight.purpose {
                tx.push((anchor.clone(), Intent { offset: flight.offset, write: write.as_ref().clone() }));
                writes.add(anchor.clone(), call, flight.trace.clone());
            } else {
                reads.add(anchor.clone(), call, flight.trace.clone());
            }
            self.flights.insert(anchor, flight);
        }
        self.send(reads.jobs(), false);
        if !tx.is_empty() {
            let mut intents = self.store.tx();
            for (anchor, intent) in tx {
                intents.set_intent(&anchor, Some(intent));
            }
            intents.commit()?;
            self.store.flush().await?;
            self.crash_point(CrashPoint::IntentDurable)?;
            self.send(writes.jobs(), true);
        }
        Ok(())
    }

    fn flight(&self, anchor: &SourceAnchor, purpose: Purpose) -> Result<Flight, ProvisionerError> {
        let row = self.store.object(anchor)?;
        let wish = row.as_ref().and_then(|r| r.wish.as_ref());
        let mut offset = wish.map_or(0, |w| w.offset);
        let mut trace = wish.and_then(|w| w.trace.clone());
        let write = match &purpose {
            Purpose::Verify(intent, _) => Some(&intent.write),
            Purpose::Write(write) => Some(write.as_ref()),
            _ => None,
        };
        if let Some(Write::AddMembers { members, .. } | Write::RemoveMembers { members }) = write {
            let of_group = trace.take();
            for member in members {
                let edge = self.store.edge(anchor, member)?.unwrap_or_default();
                offset = offset.max(edge.offset);
                // one request has one trace: that of the first member
                trace = trace.or(edge.trace);
            }
            trace = trace.or(of_group);
        }
        if let Purpose::Verify(intent, _) = &purpose {
            offset = intent.offset;
        }
        let class = row.as_ref().filter(|r| r.cloud_id.is_some()).map(|r| r.class);
        let class = class.or(wish.map(|w| w.class)).unwrap_or(forestsync_schemas::desired::CloudClass::User);
        let cloud_id = row.as_ref().and_then(|r| r.cloud_id.clone());
        Ok(Flight { purpose, class, cloud_id, offset, trace })
    }

    fn send(&mut self, jobs: Vec<Job>, writes: bool) {
        for job in jobs {
            let target = Arc::clone(&self.target);
            let slots = Arc::clone(&self.slots);
            let waits = writes.then(|| self.waits.clone());
            let span = tracing::info_span!("graph", configuration = %self.config.configuration, writes, calls = job.calls.len(), trace.id = tracing::field::Empty);
            if let Some(trace) = job.traces.iter().flatten().find_map(|trace| trace::trace_id(trace)) {
                span.record("trace.id", trace);
            }
            let send = async move {
                // closed only when the engine is gone, and the task with it
                let _slot = slots.acquire().await;
                if let Some(waits) = waits {
                    observe(&waits, &job.traces);
                }
                for trace in job.traces.iter().flatten() {
                    tracing::debug!(trace.id = trace::trace_id(trace), "a request leaves");
                }
                let result = target.perform(&job.calls, &job.traces).await;
                Finished { anchors: job.anchors, writes, result }
            };
            self.jobs.spawn(send.instrument(span));
        }
    }

    /// Takes the answers that are there.
    pub(super) async fn collect(&mut self) -> Result<(), ProvisionerError> {
        while let Some(finished) = self.jobs.try_join_next() {
            self.note_finished(finished?).await?;
        }
        Ok(())
    }

    /// Takes the answers of one task.
    pub(super) async fn note_finished(&mut self, finished: Finished) -> Result<(), ProvisionerError> {
        let Finished { anchors, writes, result } = finished;
        match result {
            Ok(replies)
                if replies.len() >= FEW && replies.iter().filter(|r| is_sick(r)).count() * 2 > replies.len() =>
            {
                let detail = "the tenant is not available (most of a batch failed)".to_owned();
                self.breadth.narrow();
                self.begin_outage(writes, StopCause::NotAvailable, detail, None);
                for (anchor, reply) in anchors.iter().zip(replies) {
                    if !is_sick(&reply) {
                        self.take(anchor, writes, reply)?;
                    } else if let Some(flight) = self.flights.remove(anchor) {
                        self.lost(anchor, &flight, true, true)?;
                    }
                }
            }
            Ok(replies) => {
                if self.outage.answered(writes) {
                    tracing::info!("the tenant answers again");
                }
                self.answers = true;
                if replies.iter().any(is_general) {
                    self.breadth.narrow();
                } else {
                    self.breadth.widen();
                }
                let denied = |r: &Reply| match r {
                    Reply::Failed(f) => f.kind == FailureKind::Denied,
                    Reply::Each(all) => all.iter().any(|r| r.as_ref().is_err_and(|f| f.kind == FailureKind::Denied)),
                    _ => false,
                };
                if replies.iter().any(denied) {
                    self.look_at_permissions().await;
                }
                for (anchor, reply) in anchors.iter().zip(replies) {
                    self.take(anchor, writes, reply)?;
                }
            }
            // the intents stay: whoever goes on looks up what became of them
            Err(outage) if outage.forfeited => return Err(ProvisionerError::LeaseEnded),
            Err(outage) => self.not_answered(&anchors, writes, &outage)?,
        }
        Ok(())
    }

    /// Takes the reply to one call of a batch that was answered.
    fn take(&mut self, anchor: &SourceAnchor, writes: bool, reply: Reply) -> Result<(), ProvisionerError> {
        if let Reply::Unanswered(outage) = reply {
            return self.not_answered(std::slice::from_ref(anchor), writes, &outage);
        }
        match self.flights.remove(anchor) {
            Some(flight) => self.answered(anchor, &flight, reply),
            None => Ok(()),
        }
    }

    /// There was no answer to these.
    fn not_answered(
        &mut self,
        anchors: &[SourceAnchor],
        writes: bool,
        outage: &Outage,
    ) -> Result<(), ProvisionerError> {
        let now = Instant::now();
        self.breadth.narrow();
        if outage.throttled {
            self.pace.throttled(writes, outage.retry_after, now);
        } else {
            if self.outage.active(now).is_none() {
                tracing::warn!(detail = %outage.detail, "the tenant cannot be written to; trying again");
            }
            self.begin_outage(writes, outage.cause, outage.detail.clone(), outage.retry_after);
        }
        let alone = anchors.len() == 1 && outage.uncertain && !outage.throttled;
        for anchor in anchors {
            if let Some(flight) = self.flights.remove(anchor) {
                self.lost(anchor, &flight, outage.uncertain, alone)?;
            }
        }
        Ok(())
    }

    /// Pauses, because the tenant did not take writes, or else did not answer questions.
    fn begin_outage(&mut self, writes: bool, cause: StopCause, detail: String, at_least: Option<Duration>) {
        self.outage.begin(cause, detail, at_least, Instant::now());
        if writes {
            self.outage.concerns_writes();
        }
    }

    async fn look_at_permissions(&mut self) {
        if self.permitted_at.is_none_or(|at| at.elapsed() >= PERMISSIONS) {
            self.permitted = self.target.permitted().await;
            self.permitted_at = Some(Instant::now());
        }
    }

    /// The request had no answer. What may have taken effect is looked up before anything is sent again. `suspect`: it
    /// may be the write that makes the tenant fail; when the tenant has answered the look-ups in between, it is.
    fn lost(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        uncertain: bool,
        suspect: bool,
    ) -> Result<(), ProvisionerError> {
        self.turn.touch(anchor);
        let Purpose::Write(write) = &flight.purpose else { return Ok(()) };
        if !uncertain {
            self.turn.clear_intent(anchor);
            return Ok(());
        }
        if suspect {
            let times = self.unanswered.entry(anchor.clone()).or_default();
            *times += 1;
            if *times >= SUSPECT {
                return self.failed(anchor, flight, &own_failure(FailureKind::Uncertain, "no_answer"));
            }
        }
        let intent = Intent { offset: flight.offset, write: write.as_ref().clone() };
        self.doubt(anchor, intent, Wait { delay: Duration::ZERO, quiet: false });
        Ok(())
    }
}

/// Counts how long ago the changes were read that cause these writes.
fn observe(waits: &metrics::Histogram, traces: &[Option<String>]) {
    let now = clock::now();
    for began in traces.iter().flatten().filter_map(|trace| trace::began(trace)) {
        waits.record(now.duration_since(began).as_secs_f64().max(0.0));
    }
}

/// Whether a call, or a part of it, was not answered for reasons that are not its own.
fn is_general(reply: &Reply) -> bool {
    let general = |f: &Failure| matches!(f.kind, FailureKind::Throttled | FailureKind::Unauthorized);
    match reply {
        Reply::Unanswered(_) => true,
        Reply::Failed(failure) => general(failure),
        Reply::Each(all) => all.iter().any(|r| r.as_ref().is_err_and(general)),
        _ => false,
    }
}

/// Whether all of a call failed as if the tenant were not available.
fn is_sick(reply: &Reply) -> bool {
    let sick = |f: &Failure| matches!(f.status, Some(502..=504));
    match reply {
        Reply::Failed(failure) => sick(failure),
        Reply::Each(all) => !all.is_empty() && all.iter().all(|r| r.as_ref().is_err_and(sick)),
        _ => false,
    }
}
