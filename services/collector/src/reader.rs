//! One naming context, read for ever: connect, verify, follow; and when that fails, say why, wait, and try again.
//!
//! - The controller that the cursor belongs to is waited for: another one has another invocationId and means a full read.
//! - A stop is written to the stream once per cause, and only when every configured controller was tried, or when trying
//!   another one would not help.
//! - Nothing a directory does ends the reader. It ends when it is told to, when another collector took its stream over, or
//!   when its stream is damaged.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forestsync_domain::{Dn, Usn};
use forestsync_log::{Log, StreamName};
use forestsync_runtime::backoff::Backoff;
use forestsync_runtime::clock;
use forestsync_schemas::ChangeEvent;
use forestsync_schemas::changes::{Controller, Method, ReadingResumed, ReadingStopped, SnapshotId, StopCause};
use jiff::{SignedDuration, Timestamp};
use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::appender::Appender;
use crate::config::{ControllerAddress, ForestConfig};
use crate::control;
use crate::entry::Wanted;
use crate::error::{CollectorError, OnceError, Trouble};
use crate::events::Scribe;
use crate::forest::Forest;
use crate::gate::Gate;
use crate::images::Images;
use crate::loyalty::{Controllers, Failures};
use crate::notify;
use crate::plan::{Terms, Wishes, decide};
use crate::rights::{self, Witnesses};
use crate::roster::Roster;
use crate::session::{RootDse, Session};
use crate::status::{Phase, StatusLine};
use crate::tail::{self, Position};
use crate::taking::{Queue, Wish};
use crate::transport;

/// A cursor that was not confirmed for so long may be older than the tombstones of its time (tombstoneLifetime is 60 days
/// where it is not set): deletions could be gone without a trace.
const STALE_CURSOR: SignedDuration = SignedDuration::from_hours(24 * 30);

/// Wishes for a full read, shared with whoever may have one.
#[derive(Debug, Default)]
pub(crate) struct SnapshotRequest {
    asked: AtomicU64,
    wake: Notify,
    /// Objects to be taken in.
    takes: Queue,
}

impl SnapshotRequest {
    pub(crate) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// Asks for an object to be taken in; false if too many are waiting.
    pub(crate) fn ask_for(&self, wish: Wish) -> bool {
        let queued = self.takes.push(wish);
        self.wake.notify_one();
        queued
    }

    /// How often it was asked for.
    pub(crate) fn count(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }
}

/// The full read that this process began last, as long as it answers all that was wanted when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answering {
    pub(crate) snapshot: SnapshotId,
    /// The requests made before it.
    pub(crate) requests: u64,
}

/// Reads one naming context.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) config: Arc<ForestConfig>,
    pub(crate) nc: Dn,
    pub(crate) stream: StreamName,
    pub(crate) status: StatusLine,
    pub(crate) appender: Appender,
    pub(crate) wanted: Wanted,
    pub(crate) position: Position,
    /// USN of the last cursor that was written.
    pub(crate) written_usn: Usn,
    /// The position must be read from the log again.
    pub(crate) stale: bool,
    /// The account could not read for a while, so the cookie may have moved past what it did not see.
    was_blind: bool,
    pub(crate) answering: Option<Answering>,
    pub(crate) deletions_visible: Option<bool>,
    /// What was noted once already.
    pub(crate) noticed: HashSet<String>,
    /// What the stream says of the objects, for USN polling; `None` until it is needed.
    pub(crate) images: Option<Images>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) request: Arc<SnapshotRequest>,
    /// What this look takes in besides what the controller tells.
    pub(crate) wishes_of_people: Vec<Wish>,
    /// The trace of the last pass.
    pub(crate) trace: Option<String>,
    gate: Arc<Gate>,
    roster: Arc<Roster>,
    /// The controllers as they were known when one was chosen last.
    known: Vec<ControllerAddress>,
    /// The requests that were answered by a complete read.
    answered: u64,
    witnesses: Witnesses,
    rights_checked: Option<Instant>,
    refusals: u32,
    /// USN before the last complete pass of this session.
    caught_up: Option<Usn>,
    /// Whether a pass was completed since the last failure.
    succeeded: bool,
}

impl Reader {
    pub(crate) fn new(
        forest: &Forest,
        log: Arc<dyn Log>,
        nc: Dn,
        stream: StreamName,
        status: StatusLine,
        request: Arc<SnapshotRequest>,
    ) -> Self {
        let config = Arc::clone(&forest.config);
        let (naming_context, name) = (nc.clone(), stream.to_string());
        status.update(move |row| {
            row.naming_context = naming_context;
            row.stream = name;
        });
        Self {
            wanted: Wanted::new(&config.attributes),
            appender: Appender::new(Arc::clone(&log), stream.clone(), status.clone()),
            known: config.controllers.clone(),
            config,
            nc,
            stream,
            status,
            position: Position::default(),
            written_usn: Usn(0),
            stale: true,
            was_blind: false,
            answering: None,
            deletions_visible: None,
            noticed: HashSet::new(),
            images: None,
            log,
            request,
            wishes_of_people: Vec::new(),
            trace: None,
            gate: Arc::clone(&forest.gate),
            roster: Arc::clone(&forest.roster),
            answered: 0,
            witnesses: Witnesses::new(),
            rights_checked: None,
            refusals: 0,
            caught_up: None,
            succeeded: false,
        }
    }

    /// Makes one complete pass, or tells why there is none.
    pub(crate) async fn run_once(mut self, stop: CancellationToken) -> Result<(), OnceError> {
        let ended = tokio::select! {
            () = stop.cancelled() => Err(OnceError::Interrupted),
            ended = self.read_once() => ended,
        };
        let settled = self.appender.settle().await;
        ended?;
        settled.map_err(|trouble| OnceError::of(self.nc.clone(), trouble))
    }

    /// Tries until a pass is made, or until there is something to tell.
    async fn read_once(&mut self) -> Result<(), OnceError> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut failures = Failures::default();
        loop {
            let Err(trouble) = Box::pin(self.pass_once(&mut failures)).await else {
                return Ok(());
            };
            let of_log = trouble.cause().is_none();
            match self.failed(&trouble, &mut failures).await {
                Ok(told) if told || of_log => return Err(OnceError::of(self.nc.clone(), trouble)),
                Err(Trouble::Fatal(error)) => return Err((*error).into()),
                _ => sleep(backoff.next_delay()).await,
            }
        }
    }

    async fn pass_once(&mut self, failures: &mut Failures) -> Result<(), Trouble> {
        let tls = self.prepare().await?;
        let (_, mut session, root) = self.arrive(failures, &tls).await?;
        self.survey(&mut session, &root).await?;
        Box::pin(self.look(&mut session, &root)).await
    }

    /// Reads until `stop`. What was sent to the log is durable when this returns.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), CollectorError> {
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            error = self.read_for_ever() => Err(error),
        };
        if let Err(error) = self.appender.settle().await {
            tracing::warn!(stream = %self.stream, error = %error, "the last append failed; it is read again at the next start");
        }
        ended
    }

    async fn read_for_ever(&mut self) -> CollectorError {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut failures = Failures::default();
        loop {
            let Err(trouble) = Box::pin(self.follow(&mut failures)).await;
            if let Trouble::Fatal(error) = trouble {
                return *error;
            }
            if std::mem::take(&mut self.succeeded) {
                failures = Failures::default();
                backoff.reset();
            }
            if let Err(Trouble::Fatal(error)) = self.failed(&trouble, &mut failures).await {
                return *error;
            }
            let refused = trouble.cause() == Some(StopCause::Credentials);
            let pause = if let Some(closed) = self.gate.closed_for().await.filter(|_| refused) {
                closed
            } else {
                let delay = backoff.next_delay();
                self.waited_for(&failures).map_or(delay, |(_, left, _)| delay.min(left))
            };
            sleep(pause).await;
        }
    }

    /// Takes note of a failure and tells of it; whether it was told.
    async fn failed(&mut self, trouble: &Trouble, failures: &mut Failures) -> Result<bool, Trouble> {
        failures.add(Instant::now());
        self.caught_up = None;
        if trouble.cause() == Some(StopCause::Rights) {
            self.blinded();
        }
        if let Trouble::CookieRefused { .. } = trouble {
            self.refusals += 1;
        }
        self.report(trouble, failures).await
    }

    /// The name of the controller that the cursor belongs to.
    fn home(&self) -> Option<&str> {
        self.position.cursor.as_ref().map(|cursor| cursor.controller.dns_name.as_str())
    }

    fn controllers(&self) -> Controllers<'_> {
        Controllers::new(&self.known, self.home(), self.config.failover_after)
    }

    /// The controller that is waited for although there are others: its name, for how long, and until when.
    fn waited_for(&self, failures: &Failures) -> Option<(String, Duration, Timestamp)> {
        let (home, left) = self.controllers().waits(failures, Instant::now())?;
        Some((home.host.clone(), left, clock::now().checked_add(left).unwrap_or(Timestamp::MAX)))
    }

    async fn follow(&mut self, failures: &mut Failures) -> Result<Infallible, Trouble> {
        let tls = self.prepare().await?;
        let (to, mut session, root) = self.arrive(failures, &tls).await?;
        self.survey(&mut session, &root).await?;
        let wake = Arc::new(Notify::new());
        let _notifier = self.config.notifications.then(|| {
            let (config, gate) = (Arc::clone(&self.config), Arc::clone(&self.gate));
            let (tls, nc, wake) = (Arc::clone(&tls), self.nc.clone(), Arc::clone(&wake));
            AbortOnDropHandle::new(tokio::spawn(notify::run(config, gate, to.clone(), tls, nc, wake)))
        });
        let request = Arc::clone(&self.request);
        loop {
            Box::pin(self.look(&mut session, &root)).await?;
            tokio::select! {
                () = sleep(self.config.poll_interval) => {}
                () = wake.notified() => {}
                () = request.wake.notified() => {}
            }
        }
    }

    /// Becomes the stream's writer and knows where reading stands.
    async fn prepare(&mut self) -> Result<Arc<ClientConfig>, Trouble> {
        let (tail, new) = self.appender.open().await?;
        if new || self.stale {
            self.recall(tail).await?;
        }
        Ok(transport::tls_config(self.config.ca_file.as_deref())?)
    }

    /// Opens a session with a controller that holds the naming context. One that does not is no failure while there are
    /// others to ask.
    async fn arrive(
        &mut self,
        failures: &mut Failures,
        tls: &Arc<ClientConfig>,
    ) -> Result<(ControllerAddress, Session, RootDse), Trouble> {
        let mut asked: Vec<ControllerAddress> = Vec::new();
        loop {
            self.known = self.roster.candidates(&self.nc, self.home()).await?;
            let Some(to) = self.controllers().pick(failures, Instant::now()).cloned() else {
                return Err(CollectorError::from(crate::ConfigError::NoControllers(self.config.name.clone())).into());
            };
            if asked.contains(&to) {
                return Err(Trouble::NotHosted { host: to.host, naming_context: self.nc.clone() });
            }
            let mut session = Session::open(&self.config, &self.gate, &to, tls).await?;
            let root = session.root_dse().await?;
            self.roster.learn(&to, &root.naming_contexts);
            if root.naming_contexts.contains(&self.nc) {
                return Ok((to, session, root));
            }
            tracing::debug!(forest.id = self.config.name, naming_context = %self.nc, controller = %to, "does not hold the naming context");
            asked.push(to);
        }
    }

    /// Learns from the log where reading stands.
    async fn recall(&mut self, tail: u64) -> Result<(), Trouble> {
        self.position = tail::read(self.log.as_ref(), &self.stream, tail).await.map_err(|error| match error {
            Trouble::ReadLog(error @ forestsync_log::ReadError::Damaged { .. }) => CollectorError::Read(error).into(),
            error => error,
        })?;
        self.written_usn = self.position.cursor.as_ref().map_or(Usn(0), |cursor| cursor.highest_committed_usn);
        self.was_blind |= self.position.stopped == Some(StopCause::Rights);
        self.stale = false;
        self.images = None;
        Ok(())
    }

    /// Verifies what the account may read. Rights are given and taken at any time, so not only when a session begins.
    async fn survey(&mut self, session: &mut Session, root: &RootDse) -> Result<(), Trouble> {
        let unreadable = rights::unreadable(session, &root.schema_naming_context, &self.wanted).await?;
        self.wanted.set_unreadable(unreadable);
        self.verify_rights(session).await?;
        self.verify_sight(session).await
    }

    /// Verifies whether deletions can be seen. Those that cannot are passed over for good by the next cookie.
    pub(crate) async fn verify_sight(&mut self, session: &mut Session) -> Result<(), Trouble> {
        let visible = rights::deletions_visible(session, &self.nc).await?;
        if !visible && self.deletions_visible != Some(false) {
            tracing::warn!(forest.id = self.config.name, naming_context = %self.nc,
                "the account cannot see deletions; they are found by full reads every {:?}. hint: let it list and read CN=Deleted Objects",
                self.config.snapshot_interval);
        }
        self.deletions_visible = Some(visible);
        self.status.update(|row| row.deletions_visible = Some(visible));
        Ok(())
    }

    pub(crate) async fn verify_rights(&mut self, session: &mut Session) -> Result<(), Trouble> {
        let verified = rights::verify(session, &self.nc, &mut self.witnesses).await;
        self.rights_checked = Some(Instant::now());
        verified
    }

    /// The account could not read: only a full read that begins later can be trusted.
    fn blinded(&mut self) {
        self.was_blind = true;
        self.answering = None;
    }

    /// A look, and its answer to those who asked for objects.
    async fn look(&mut self, session: &mut Session, root: &RootDse) -> Result<(), Trouble> {
        self.wishes_of_people = self.request.takes.take();
        let before = self.status.tail();
        let looked = Box::pin(self.look_now(session, root)).await;
        let asked = std::mem::take(&mut self.wishes_of_people);
        if !asked.is_empty() {
            self.answer_wishes(asked, before, looked.as_ref().err()).await?;
        }
        looked
    }

    /// One look at the controller: a pass, if there can be anything new.
    async fn look_now(&mut self, session: &mut Session, root: &RootDse) -> Result<(), Trouble> {
        if self.rights_checked.is_none_or(|at| at.elapsed() >= self.config.rights_interval) {
            self.survey(session, root).await?;
        }
        let (usn, service) = session.usn().await?;
        let wishes = self.wishes();
        let mut found = 0;
        if self.caught_up == Some(usn) && wishes == Wishes::default() && self.wishes_of_people.is_empty() {
            self.resume().await?;
        } else {
            let invocation_id = session.invocation_id(&service).await?;
            let terms = Terms {
                controller: Controller { dns_name: root.dns_host_name.clone(), invocation_id },
                method: self.config.method,
                highest_committed_usn: usn,
                naming_context: self.nc.clone(),
                flags: self.flags(),
                attributes: self.wanted.names().to_vec(),
            };
            let start = decide(&self.position, &terms, wishes);
            found = self.pass(session, root, terms, start).await?;
            self.caught_up = Some(usn);
            self.refusals = 0;
        }
        self.succeeded = true;
        let dropped = self.wanted.dropped();
        self.status.update(|row| {
            row.dropped_attributes = dropped;
            row.phase = Phase::Following;
            row.passes += 1;
            row.last_pass_found = found;
        });
        Ok(())
    }

    fn flags(&self) -> u32 {
        if self.config.method == Method::Usn {
            return 0;
        }
        let security = if self.config.object_security { control::OBJECT_SECURITY } else { 0 };
        control::INCREMENTAL_VALUES | control::ANCESTORS_FIRST | security
    }

    /// What asks for a full read besides the terms of the cursor.
    pub(crate) fn wishes(&self) -> Wishes {
        let older = |since: Option<Timestamp>, limit: SignedDuration| {
            since.is_none_or(|since| clock::now().duration_since(since) >= limit)
        };
        let interval = SignedDuration::try_from(self.config.snapshot_interval).unwrap_or(SignedDuration::MAX);
        let passed_over = self.position.cursor.as_ref().is_some_and(|cursor| cursor.passed_over);
        let unseen = self.deletions_visible == Some(false) || passed_over;
        let forgotten = self.position.confirmed.is_some() && older(self.position.confirmed, STALE_CURSOR);
        let going_on = self.position.cursor.as_ref().and_then(|cursor| cursor.snapshot.as_ref());
        let answering = self.answering.filter(|begun| going_on.is_some_and(|read| read.snapshot == begun.snapshot));
        Wishes {
            cookie_refused: self.refusals > 1,
            requested: self.request.count() > answering.map_or(self.answered, |begun| begun.requests),
            was_blind: self.was_blind && answering.is_none(),
            forgotten,
            overdue: unseen && older(self.position.completed, interval),
        }
    }

    /// A full read is complete and durable.
    pub(crate) fn snapshot_done(&mut self) {
        self.was_blind = false;
        self.refusals = 0;
        if let Some(begun) = self.answering.take() {
            self.answered = begun.requests;
        }
        self.status.update(|row| row.snapshots += 1);
    }

    pub(crate) fn scribe(&self, controller: Option<Controller>) -> Scribe {
        Scribe::new(&self.config.name, &self.nc, &self.stream, controller)
    }

    /// Writes that reading goes on, if the stream says that it stopped.
    async fn resume(&mut self) -> Result<(), Trouble> {
        if self.position.stopped.is_none() {
            return Ok(());
        }
        let controller = self.position.cursor.as_ref().map(|cursor| cursor.controller.clone());
        let record = self.scribe(controller).occurrence(&ChangeEvent::ReadingResumed(ReadingResumed {}))?;
        self.appender.begin();
        self.appender.add(record)?;
        self.appender.flush().await?;
        self.appender.settle().await?;
        self.position.stopped = None;
        Ok(())
    }

    /// Tells the log, the status and the stream that reading stopped. In the stream only once per cause. Whether it was told.
    async fn report(&mut self, trouble: &Trouble, failures: &Failures) -> Result<bool, Trouble> {
        let (mut detail, hint) = (trouble.to_string(), trouble.hint());
        tracing::warn!(forest.id = self.config.name, naming_context = %self.nc, error = %detail, hint, "reading was interrupted");
        let Some(cause) = trouble.cause() else {
            self.status.update(|row| row.phase = Phase::Connecting);
            self.stale = true;
            return Ok(false);
        };
        let tell = match cause {
            StopCause::Credentials | StopCause::Rights => true,
            _ => self.controllers().is_round_over(failures, Instant::now(), trouble.is_passing()),
        };
        if !tell {
            return Ok(false);
        }
        if let Some((home, _, end)) = self.waited_for(failures) {
            detail = format!("{detail}; {home} is waited for until {end:.0}, then another controller is read in full");
        }
        let written = self.write_stop(cause, &detail, hint).await;
        self.status.update(|row| row.phase = Phase::Stopped { cause, detail, hint: hint.to_owned() });
        written.map(|()| true)
    }

    async fn write_stop(&mut self, cause: StopCause, detail: &str, hint: &str) -> Result<(), Trouble> {
        let (tail, new) = self.appender.open().await?;
        if new || self.stale {
            self.recall(tail).await?;
        }
        if self.position.stopped == Some(cause) {
            return Ok(());
        }
        let stopped = ReadingStopped { cause, detail: detail.to_owned(), hint: hint.to_owned() };
        let record = self.scribe(None).occurrence(&ChangeEvent::ReadingStopped(stopped))?;
        self.appender.begin();
        self.appender.add(record)?;
        self.appender.flush().await?;
        self.appender.settle().await?;
        self.position.stopped = Some(cause);
        Ok(())
    }
}
