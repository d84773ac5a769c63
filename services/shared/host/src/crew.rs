//! The loop that keeps one worker at work for each stream that this process owns, and none for any other.
//!
//! ```text
//!            gained                  ended, lease valid: back-off
//!  (nothing) -----> [starting] -----> at work <-----------------> waiting
//!      ^                                 | lost, stop
//!      +------------- ended -------- stopping --(limit)--> aborted
//! ```
//!
//! - A stream has at most one worker at a time, and one is started only while the lease is valid. A stream that is gained
//!   while its last worker is still stopping gets its new one when that has ended.
//! - A worker that was fenced while the lease is valid is started again; while it is not, the group is waited for.
//! - A worker that somebody must help is tried again rarely, and `/readyz` says why; the others go on.
//! - A worker that does not stop within a limit is aborted. Fencing, and the lease, keep what is left of it harmless.
//! - The membership is given up only when all workers have ended: what was owned is stopped before others may take over.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use forestsync_log::{Change, Lease, Log, Member, Membership, MembershipError, StreamName};
use forestsync_runtime::backoff::Backoff;
use forestsync_runtime::metrics as names;
use forestsync_runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::worker::{Ending, Post, WorkerError, Workers};

/// How long the loop takes, and pauses.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Until a worker that was told to stop is aborted.
    pub stop_limit: Duration,
    /// The first pause after a failure; twice as long each time.
    pub retry_first: Duration,
    /// The longest pause.
    pub retry_longest: Duration,
    /// The pause after a failure that somebody must do something about.
    pub fatal_pause: Duration,
    /// Between two looks at a lease that is not valid and not lost.
    pub recheck: Duration,
    /// Between two turns of the loop in which nothing happens: reports and metrics.
    pub tick: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            stop_limit: Duration::from_secs(25),
            retry_first: Duration::from_millis(500),
            retry_longest: Duration::from_secs(30),
            fatal_pause: Duration::from_mins(1),
            recheck: Duration::from_millis(500),
            tick: Duration::from_secs(2),
        }
    }
}

/// A worker that was at work for so long had no trouble starting.
const SETTLED: Duration = Duration::from_mins(1);

/// The members of a crew: one process's part in a group.
#[derive(Debug)]
pub struct Crew<W> {
    /// The service, for metrics.
    pub service: &'static str,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Who this is.
    pub member: Member,
    /// The streams this process would own.
    pub offers: watch::Receiver<Vec<StreamName>>,
    /// Does the work.
    pub workers: Arc<W>,
    /// Where is shown how it goes.
    pub board: Board,
    /// Limits and pauses.
    pub timing: Timing,
}

/// What belongs to one stream.
#[derive(Debug)]
struct Slot {
    /// Held now, as far as the group said.
    lease: Option<Lease>,
    running: Option<Running>,
    /// When a worker is to be started.
    due: Option<Instant>,
    backoff: Backoff,
    post: Post,
    reported: String,
}

#[derive(Debug)]
struct Running {
    id: Id,
    stop: CancellationToken,
    abort: AbortHandle,
    began: Instant,
    /// When it is aborted.
    deadline: Option<Instant>,
}

type Ended = Result<(Id, Result<(), WorkerError>), JoinError>;

impl<W: Workers> Crew<W> {
    /// Takes part until the first signal, then stops everything in good order. A second signal ends the waiting.
    pub async fn run(mut self, shutdown: &Shutdown) {
        let mut backoff = Backoff::new(self.timing.retry_first, self.timing.retry_longest);
        while !shutdown.stop.is_cancelled() {
            let joined = tokio::select! {
                joined = self.log.join(self.member.clone()) => joined,
                () = shutdown.stop.cancelled() => return,
            };
            let error = match joined {
                Ok(membership) => {
                    let mut shift = Shift::new(&self, membership);
                    let error = shift.take_part(&mut self.offers, shutdown).await;
                    shift.end(shutdown).await;
                    if shift.was_member {
                        backoff.reset();
                    }
                    match error {
                        Some(error) => error,
                        None => return shift.leave().await,
                    }
                }
                Err(error) => error,
            };
            self.board.joined(false);
            self.board.trouble("group", Some(error.to_string()));
            let pause = if error.is_retryable() { backoff.next_delay() } else { self.timing.fatal_pause };
            tracing::warn!(service.name = self.service, group = self.member.group, error = %error, pause = ?pause, "not a member of the group; joining again");
            self.pause(pause, shutdown).await;
        }
    }

    /// Waits, while the loop is seen to turn.
    async fn pause(&self, pause: Duration, shutdown: &Shutdown) {
        let until = Instant::now() + pause;
        while Instant::now() < until && !shutdown.stop.is_cancelled() {
            self.board.turn();
            tokio::select! {
                () = sleep_until(until.min(Instant::now() + self.timing.tick)) => {}
                () = shutdown.stop.cancelled() => {}
            }
        }
    }
}

/// The time between joining and leaving.
struct Shift<W> {
    service: &'static str,
    workers: Arc<W>,
    board: Board,
    timing: Timing,
    membership: Option<Box<dyn Membership>>,
    slots: BTreeMap<StreamName, Slot>,
    tasks: JoinSet<Result<(), WorkerError>>,
    streams: HashMap<Id, StreamName>,
    was_member: bool,
}

impl<W: Workers> Shift<W> {
    fn new(crew: &Crew<W>, membership: Box<dyn Membership>) -> Self {
        Self {
            service: crew.service,
            workers: Arc::clone(&crew.workers),
            board: crew.board.clone(),
            timing: crew.timing.clone(),
            membership: Some(membership),
            slots: BTreeMap::new(),
            tasks: JoinSet::new(),
            streams: HashMap::new(),
            was_member: false,
        }
    }

    /// Works until the first signal, or until the membership ends with an error.
    async fn take_part(
        &mut self,
        offers: &mut watch::Receiver<Vec<StreamName>>,
        shutdown: &Shutdown,
    ) -> Option<MembershipError> {
        let mut offered = offers.borrow_and_update().clone();
        let mut has_supplier = true;
        if let Some(membership) = &mut self.membership
            && let Err(error) = membership.offer(&offered).await
        {
            return Some(error);
        }
        self.was_member = true;
        self.board.joined(true);
        self.board.trouble("group", None);
        tracing::info!(service.name = self.service, streams = offered.len(), "joined the group");
        let mut tick = tokio::time::interval(self.timing.tick);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.board.turn();
            let Some(membership) = &mut self.membership else { return None };
            let due = self.slots.values().filter_map(Slot::next_moment).min();
            tokio::select! {
                biased;
                () = shutdown.stop.cancelled() => return None,
                change = membership.next() => match change {
                    Ok(change) => self.changed(change),
                    Err(error) => return Some(error),
                },
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.catch_up_with_time(),
                changed = offers.changed(), if has_supplier => {
                    has_supplier = changed.is_ok();
                    let now = offers.borrow_and_update().clone();
                    if now != offered {
                        if let Err(error) = membership.offer(&now).await {
                            return Some(error);
                        }
                        offered = now;
                    }
                }
                _ = tick.tick() => self.tell(),
            }
        }
    }

    fn changed(&mut self, change: Change) {
        match change {
            Change::Gained(lease) => {
                let stream = lease.stream().clone();
                tracing::info!(service.name = self.service, stream = %stream, "gained a stream");
                self.count(names::OWNERSHIP_CHANGES, Some("gained"));
                let timing = &self.timing;
                let slot = self.slots.entry(stream.clone()).or_insert_with(|| Slot::new(timing));
                if slot.running.is_some() {
                    // of an earlier lease: it ends before the next one begins
                    slot.stop(self.timing.stop_limit);
                }
                slot.backoff.reset();
                slot.lease = Some(lease);
                slot.due = Some(Instant::now());
                self.board.gained(stream.as_str(), &slot.post);
                self.catch_up_with_time();
            }
            Change::Lost(stream) => {
                tracing::info!(service.name = self.service, stream = %stream, "lost a stream");
                self.count(names::OWNERSHIP_CHANGES, Some("lost"));
                self.board.lost(stream.as_str());
                if let Some(slot) = self.slots.get_mut(&stream) {
                    (slot.lease, slot.due) = (None, None);
                    slot.stop(self.timing.stop_limit);
                    if slot.running.is_none() {
                        self.slots.remove(&stream);
                    }
                }
                self.own(&stream, false);
            }
        }
    }

    /// Starts and aborts what it is time for.
    fn catch_up_with_time(&mut self) {
        let now = Instant::now();
        for (stream, slot) in &mut self.slots {
            if let Some(running) = &mut slot.running {
                if running.deadline.is_some_and(|deadline| deadline <= now) {
                    tracing::error!(service.name = self.service, stream = %stream, "a worker does not stop; it is aborted");
                    running.deadline = None;
                    running.abort.abort();
                }
                continue;
            }
            let Some(lease) = slot.lease.clone().filter(|_| slot.due.is_some_and(|due| due <= now)) else { continue };
            if !lease.is_valid() {
                slot.due = Some(now + self.timing.recheck);
                continue;
            }
            slot.due = None;
            let (stop, post) = (CancellationToken::new(), Post::default());
            slot.post = post.clone();
            self.board.gained(stream.as_str(), &slot.post);
            let (workers, stopped) = (Arc::clone(&self.workers), stop.clone());
            let abort = self.tasks.spawn(async move {
                let lost = lease.lost().clone();
                if lost.is_cancelled() {
                    // since the task was made
                    stopped.cancel();
                    return Ok(());
                }
                let work = workers.work(lease, stopped.clone(), post);
                tokio::pin!(work);
                tokio::select! {
                    ended = &mut work => return ended,
                    () = lost.cancelled() => stopped.cancel(),
                }
                work.await
            });
            self.streams.insert(abort.id(), stream.clone());
            slot.running = Some(Running { id: abort.id(), stop, abort, began: now, deadline: None });
        }
    }

    fn ended(&mut self, ended: Ended) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(stream) = self.streams.remove(&id) else { return };
        let Some(slot) = self.slots.get_mut(&stream) else { return };
        let Some(running) = slot.running.take_if(|running| running.id == id) else { return };
        let told = running.stop.is_cancelled();
        let (ending, detail) = match ended {
            Ok((_, Ok(()))) if told => (Ending::Retryable, None),
            Ok((_, Ok(()))) => (Ending::Retryable, Some("the worker ended by itself".to_owned())),
            Ok((_, Err(error))) => (error.ending, Some(error.to_string())),
            Err(error) if error.is_cancelled() => (Ending::Retryable, None),
            Err(_) => (Ending::Retryable, Some("the worker broke down".to_owned())),
        };
        if let Some(detail) = &detail {
            tracing::warn!(service.name = self.service, stream = %stream, error = detail, "a worker ended");
        } else {
            tracing::info!(service.name = self.service, stream = %stream, "a worker stopped");
        }
        if slot.lease.is_none() {
            self.slots.remove(&stream);
            return;
        }
        if running.began.elapsed() >= SETTLED {
            slot.backoff.reset();
        }
        let pause = match (ending, &detail) {
            // stopped for the lease before the one that is held now
            (_, None) => Duration::ZERO,
            (Ending::Fatal, _) => self.timing.fatal_pause,
            _ => slot.backoff.next_delay(),
        };
        slot.due = Some(Instant::now() + pause);
        self.board.failed(stream.as_str(), detail);
        self.count(names::WORKER_RESTARTS, None);
        self.catch_up_with_time();
    }

    /// Says what the workers say about themselves, and which streams are owned.
    fn tell(&mut self) {
        for (stream, slot) in &mut self.slots {
            let report = slot.post.state().report;
            if report != slot.reported
                && let Some(membership) = &self.membership
            {
                membership.report(stream, report.clone());
                slot.reported = report;
            }
        }
        for (stream, slot) in &self.slots {
            self.own(stream, slot.lease.as_ref().is_some_and(Lease::is_valid));
        }
    }

    fn own(&self, stream: &StreamName, owned: bool) {
        let labels = [("service", self.service.to_owned()), ("stream", stream.to_string())];
        metrics::gauge!(names::STREAM_OWNED, &labels).set(if owned { 1.0 } else { 0.0 });
    }

    fn count(&self, name: &'static str, change: Option<&'static str>) {
        let mut labels = vec![metrics::Label::new("service", self.service)];
        labels.extend(change.map(|change| metrics::Label::new("change", change)));
        metrics::counter!(name, labels).increment(1);
    }

    /// Stops all workers and waits until they have ended, or were aborted.
    async fn end(&mut self, shutdown: &Shutdown) {
        let mut limit = Instant::now() + self.timing.stop_limit;
        for (stream, slot) in &mut self.slots {
            self.board.lost(stream.as_str());
            if let Some(running) = &slot.running {
                tracing::info!(service.name = self.service, stream = %stream, "stopping");
                running.stop.cancel();
            }
            if !shutdown.stop.is_cancelled() {
                // the membership is over, and with it every right it gave
                slot.lease.iter().for_each(Lease::revoke);
            }
        }
        while !self.tasks.is_empty() {
            self.board.turn();
            tokio::select! {
                ended = self.tasks.join_next_with_id() => {
                    if let Some(Ok((_, Err(error)))) = ended {
                        tracing::warn!(service.name = self.service, error = %error, "a worker did not end well");
                    }
                }
                () = sleep_until(limit) => {
                    tracing::error!(service.name = self.service, workers = self.tasks.len(), "workers do not stop; they are aborted");
                    self.tasks.abort_all();
                    limit = Instant::now() + self.timing.stop_limit;
                }
                () = shutdown.abort.cancelled() => {
                    tracing::warn!(service.name = self.service, "ended at once by a second signal; what was begun is looked up by who goes on");
                    self.tasks.abort_all();
                    return;
                }
            }
        }
        for (stream, _) in std::mem::take(&mut self.slots) {
            self.own(&stream, false);
        }
    }

    /// Gives the place in the group to the others. Everything has ended before.
    async fn leave(mut self) {
        if let Some(membership) = self.membership.take() {
            let left = tokio::time::timeout(self.timing.stop_limit, membership.leave()).await;
            if left.is_err() {
                tracing::warn!(
                    service.name = self.service,
                    "the group does not answer; others take over when it misses this process"
                );
            }
        }
        self.board.joined(false);
    }
}

impl Slot {
    fn new(timing: &Timing) -> Self {
        Self {
            lease: None,
            running: None,
            due: None,
            backoff: Backoff::new(timing.retry_first, timing.retry_longest),
            post: Post::default(),
            reported: String::new(),
        }
    }

    fn stop(&mut self, limit: Duration) {
        if let Some(running) = &mut self.running {
            // a lease that is lost has told it already, but set no limit
            running.stop.cancel();
            running.deadline.get_or_insert_with(|| Instant::now() + limit);
        }
    }

    /// When something is to be done with it.
    fn next_moment(&self) -> Option<Instant> {
        match &self.running {
            Some(running) => running.deadline,
            None => self.due,
        }
    }
}
