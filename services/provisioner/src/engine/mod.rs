//! The engine: one task that owns the ledger, plans, sends through tasks of their own, and writes down what came back.
//!
//! ```text
//!  intake -> review of the guards -> plan -> intents durable -> requests      (tasks, at most `in_flight`)
//!     ^                                                           |
//!     +--- indexes <- ledger <- outcomes durable <---- replies <--+          one append for all that came meanwhile
//! ```
//!
//! An object has a turn whenever something about it or those it depends on changed; a turn looks at the row and decides
//! anew what comes next, so nothing needs to be remembered but the row, a [`Stage`] and what is on its way.

mod alarms;
mod answers;
mod asked;
mod decisions;
mod dispatch;
mod doubt;
mod drift;
mod extensions;
mod failures;
mod fold;
mod guard;
mod health;
mod inherit;
mod intake;
mod joins;
mod links;
mod matching;
mod members;
mod observe;
mod owners;
mod pace;
mod pending;
mod plan;
mod queue;
mod removals;
mod report;
mod stop;
mod turn;
mod verify;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_log::{Log, LogReader, LogWriter, StreamName};
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::{HeldJoin, StopCause};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{ProvisionerConfig, SoftMatch};
use crate::error::ProvisionerError;
use crate::excerpt::Surroundings;
use crate::status::Status;
use crate::store::{Intent, Store, Write};
use crate::target::{CloudObject, Done, Failure, Target};
use alarms::Alarms;
pub use asked::ProvisionerHandle;
use decisions::Decisions;
use drift::Drift;
use extensions::Extensions;
pub(crate) use fold::fold;
use guard::GuardView;
use health::Wards;
pub(crate) use matching::Matches;
pub use matching::{MatchResult, SeenMatch};
use observe::Index;
pub(crate) use pace::jitter;
use pace::{Breadth, Pace, Pause};
use queue::{Ready, Timers};
use turn::{NewOutcome, Turn};

/// How long a stop waits for answers on their way.
const FAREWELL: Duration = Duration::from_secs(20);

/// Points at which a test lets the provisioner die, between every two steps of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// The intent is durable, nothing was sent.
    IntentDurable,
    /// Answers came, nothing was written down.
    Answered,
    /// The outcome is durable, the ledger does not know.
    OutcomeAppended,
    /// The ledger knows.
    LedgerUpdated,
}

/// The streams of one configuration.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    pub control: StreamName,
    pub desired: StreamName,
    pub outcomes: StreamName,
}

/// Where an object stands between two requests.
#[derive(Debug)]
enum Stage {
    /// A write of it may have taken effect.
    Verify(Verify),
    /// It is not in the tenant, and not among the deleted.
    Absent,
    /// Nor did a soft match find it.
    NoMatch,
    /// It is among the deleted, or was the last time, with this id.
    Trash(String),
    /// Of a group: it was there and was updated instead of created.
    Upserted,
    /// Of a group that carried our anchor when it was found: its members, then its owners, are to be read.
    Inherited { members_read: bool },
    /// Of one to be deleted: it was ours at this time.
    Ours(Instant),
    /// Of one to be deleted that may never have been created: not found; looked for again then.
    Looked(Instant),
    /// The one we deleted is not among the deleted any more.
    Purged,
    /// A soft match found it; whether it is known to hold no directory role.
    Matched { object: Box<CloudObject>, rule: SoftMatch, is_plain: bool },
    /// What a soft match found is held, for the wish at this offset; looked for again then.
    JoinHeld { join: HeldJoin, offset: u64, again: Instant },
    /// Of a group: these links were refused; its members tell whether they are as they should be.
    Check { members: Vec<SourceAnchor>, removing: bool, each: bool, failure: Box<Failure> },
    /// Of a group: this owner was refused; its owners tell why.
    OwnerCheck { owner: SourceAnchor, removing: bool, failure: Box<Failure> },
}

#[derive(Debug)]
struct Verify {
    intent: Intent,
    /// The answer, where there was one that said too little.
    answered: Option<Done>,
    tries: u32,
    not_before: Instant,
    /// Its trouble was reported, and nobody waits for it.
    quiet: bool,
}

/// What a call on its way is for.
#[derive(Debug)]
enum Purpose {
    LookUp,
    /// By these keys, in their order.
    Match(Vec<SoftMatch>),
    /// Whether whom a soft match found holds a directory role.
    Roles,
    Check,
    /// Whether the object is still ours.
    Own,
    /// The manager it had before us.
    Manager,
    /// Why an owner was refused.
    Owners,
    /// What a group has that was found.
    Inherit,
    /// Whether others changed it.
    Compare,
    /// Whether others deleted it.
    CompareGone,
    /// Whether others changed its members.
    CompareMembers,
    Verify(Box<Intent>, Option<Done>),
    Write(Box<Write>),
}

/// A call on its way; at most one per object.
#[derive(Debug)]
struct Flight {
    purpose: Purpose,
    class: CloudClass,
    cloud_id: Option<String>,
    offset: u64,
    trace: Option<String>,
}

pub(crate) struct Engine {
    config: ProvisionerConfig,
    streams: Streams,
    store: Store,
    writer: Box<dyn LogWriter>,
    target: Arc<dyn Target>,
    status: watch::Sender<Status>,
    /// From a change being read to its write leaving.
    waits: metrics::Histogram,
    index: Index,
    flows: HashMap<CloudClass, Vec<String>>,
    extensions: Extensions,
    guard: GuardView,
    decisions: Decisions,
    wards: Wards,
    alarms: Alarms,
    ready: Ready,
    timers: Timers,
    /// Those that failed too often and are tried from time to time.
    quiet: Timers,
    stages: HashMap<SourceAnchor, Stage>,
    /// Whom soft matches found, by cloud id, and for whom: nobody is matched twice.
    claims: HashMap<String, SourceAnchor>,
    flights: HashMap<SourceAnchor, Flight>,
    /// Writes of these in a row to which there was no answer, although the tenant answered others.
    unanswered: HashMap<SourceAnchor, u32>,
    /// Objects that references did not find again and again: it is seen whether they are there.
    missed: HashSet<SourceAnchor>,
    /// Members that are added by themselves, because adding them with others was refused.
    singly: HashSet<(SourceAnchor, SourceAnchor)>,
    /// Writes that wait for the quota or the tenant.
    parked: Vec<SourceAnchor>,
    unpark_at: Option<Instant>,
    pace: Pace,
    outage: Pause,
    breadth: Breadth,
    denial: Pause,
    /// Groups, and owners whose removal from them found nobody while they were to be deleted.
    parting: HashSet<(SourceAnchor, SourceAnchor)>,
    denied: HashSet<SourceAnchor>,
    /// The stop that was written down, and whether anything was answered, and written, since.
    stop_said: Option<StopCause>,
    answers: bool,
    writes: bool,
    /// Whether the token lets us write users and groups, as far as it tells; and when that was looked at.
    permitted: BTreeMap<CloudClass, bool>,
    permitted_at: Option<Instant>,
    jobs: JoinSet<dispatch::Finished>,
    slots: Arc<Semaphore>,
    turn: Turn,
    at_tail: bool,
    /// Whether what is taken in may have been acted on already, by somebody whose intents nobody here knows: another owner,
    /// or a ledger that is gone. Until the tail is reached for the first time.
    pub(crate) doubts: bool,
    /// Objects with removals that were planned before the tail was reached; they have a turn when it is.
    tail_waits: HashSet<SourceAnchor>,
    drift: Drift,
    desired_next: u64,
    /// Wishes from this offset on are not taken in.
    pub(crate) until: Option<u64>,
    published: Option<Instant>,
    pub(crate) crash: Option<(CrashPoint, u32)>,
    questions: Option<mpsc::Receiver<asked::Asked>>,
    /// Of the objects that are not in this ledger, where it is an excerpt.
    pub(crate) surroundings: Surroundings,
    /// Where it is told what soft matches found, if anybody wants to know.
    pub(crate) seen: Option<Matches>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("configuration", &self.config.configuration).finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn new(
        config: ProvisionerConfig,
        streams: Streams,
        store: Store,
        writer: Box<dyn LogWriter>,
        target: Arc<dyn Target>,
        status: watch::Sender<Status>,
    ) -> Result<Self, ProvisionerError> {
        let tenant = &config.tenant;
        let meta = store.meta()?;
        let (first, longest) = (tenant.retry_first, tenant.retry_longest);
        let mut engine = Self {
            pace: Pace::new(tenant.write_quota, tenant.quota_window, first, longest),
            outage: Pause::new(first, longest),
            denial: Pause::new(first, longest),
            breadth: Breadth::new(tenant.in_flight),
            slots: Arc::new(Semaphore::new(tenant.in_flight)),
            waits: metrics::histogram!(
                forestsync_runtime::metrics::PROVISIONER_CHANGE_TO_REQUEST,
                "configuration" => config.configuration.clone()
            ),
            desired_next: meta.desired_next,
            streams,
            store,
            writer,
            target,
            status,
            config,
            index: Index::default(),
            flows: HashMap::new(),
            extensions: Extensions::default(),
            guard: GuardView::default(),
            decisions: Decisions::default(),
            wards: Wards::new(meta.quarantine),
            alarms: Alarms::default(),
            ready: Ready::default(),
            timers: Timers::default(),
            quiet: Timers::default(),
            stages: HashMap::new(),
            claims: HashMap::new(),
            flights: HashMap::new(),
            unanswered: HashMap::new(),
            missed: HashSet::new(),
            singly: HashSet::new(),
            parked: Vec::new(),
            unpark_at: None,
            parting: HashSet::new(),
            denied: HashSet::new(),
            stop_said: meta.stopped,
            answers: false,
            writes: false,
            permitted: BTreeMap::new(),
            permitted_at: None,
            jobs: JoinSet::new(),
            turn: Turn::default(),
            at_tail: false,
            doubts: false,
            tail_waits: HashSet::new(),
            drift: Drift::default(),
            until: None,
            published: None,
            crash: None,
            questions: None,
            surroundings: Surroundings::default(),
            seen: None,
        };
        engine.load_flows()?;
        for (anchor, intent) in engine.store.intents()? {
            if let Write::Adopt { id } = &intent.write {
                // nobody else takes it before it is known what became of that
                engine.claims.insert(id.clone(), anchor.clone());
            }
            // what was sent just before the end may still be on its way through the tenant
            let verify = Verify { intent, answered: None, tries: 0, not_before: Instant::now() + first, quiet: false };
            engine.stages.insert(anchor, Stage::Verify(verify));
        }
        engine.rebuild_index()?;
        engine.begin_drift()?;
        engine.publish(false)?;
        Ok(engine)
    }

    /// Reads the declared attribute flows; whether they changed.
    fn load_flows(&mut self) -> Result<bool, ProvisionerError> {
        let mut declared = Vec::new();
        for class in CloudClass::ALL {
            declared.extend(self.store.flow(class)?.map(|flow| (class, flow)));
        }
        let flows = declared.iter().map(|(class, flow)| (*class, flow));
        self.extensions.want(flows, self.config.tenant.adopts_groups());
        let flows = declared.into_iter().map(|(class, flow)| (class, flow.attributes)).collect();
        let changed = flows != self.flows;
        self.flows = flows;
        Ok(changed)
    }

    /// Works until told to stop, or until something is wrong that waiting cannot heal.
    pub(crate) async fn run(mut self, log: &dyn Log, shutdown: CancellationToken) -> Result<(), ProvisionerError> {
        self.follow_decisions(log).await?;
        self.follow_alarms(log).await?;
        let mut reader = log.reader(&self.streams.desired, self.desired_next).await?;
        while !shutdown.is_cancelled() {
            self.collect().await?;
            self.finish_turn().await?;
            self.intake(reader.as_mut()).await?;
            self.hear()?;
            self.answer_questions()?;
            self.fire_timers();
            self.review_guard()?;
            self.prepare_extensions(&shutdown).await?;
            self.review_health();
            self.compare()?;
            self.dispatch().await?;
            self.report_stop();
            self.review_alarms()?;
            let reported = self.finish_turn().await?;
            self.publish(false)?;
            if !reported {
                self.wait(reader.as_mut(), &shutdown).await?;
            }
        }
        self.farewell().await
    }

    /// Waits for an answer, a wish, a time, or the end.
    async fn wait(&mut self, reader: &mut dyn LogReader, shutdown: &CancellationToken) -> Result<(), ProvisionerError> {
        let now = Instant::now();
        if !self.at_tail || self.can_dispatch(now) || self.sweeps() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        self.publish(true)?;
        let next = self.next_moment(now);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            Some(finished) = self.jobs.join_next(), if !self.jobs.is_empty() => {
                let finished = finished?;
                self.note_finished(finished).await?;
            }
            Some(read) = self.drift.next_page(), if self.awaits_page() => {
                let (class, attributes, result) = read?;
                self.page_read(class, &attributes, result)?;
            }
            Some(heard) = self.decisions.next() => self.decided(heard)?,
            heard = self.alarms.next() => self.heard(heard)?,
            Some(asked) = asked::next(&mut self.questions) => self.answer_question(asked)?,
            records = reader.next(intake::CHUNK), if !self.has_all() => self.take_in(records?)?,
            () = tokio::time::sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
        Ok(())
    }

    /// When something may be done that cannot be done now.
    fn next_moment(&self, now: Instant) -> Option<Instant> {
        let pause = self.outage.active(now).max(self.denial.active(now));
        let work = [
            self.timers.next(),
            self.quiet.next(),
            self.extensions.next(),
            self.unpark_at.filter(|_| !self.parked.is_empty()),
            self.next_review(),
            self.wards.next(),
            self.alarms.next_look(),
        ];
        let work = work.into_iter().flatten().min();
        let work = [work, self.next_comparison()].into_iter().flatten().min();
        let queued = pause.filter(|_| self.ready.len() > 0);
        [work.map(|at| pause.map_or(at, |p| p.max(at))), queued].into_iter().flatten().min()
    }

    fn fire_timers(&mut self) {
        let now = Instant::now();
        self.fire_drift(now);
        while let Some(anchor) = self.timers.due(now).or_else(|| self.quiet.due(now)) {
            self.ready.push(&anchor);
        }
        if self.unpark_at.is_some_and(|at| at <= now) {
            self.unpark_at = None;
            for anchor in std::mem::take(&mut self.parked) {
                self.ready.push(&anchor);
            }
        }
    }

    /// Stops: nothing new is sent, what is on its way is waited for and written down.
    async fn farewell(mut self) -> Result<(), ProvisionerError> {
        let patience = tokio::time::sleep(FAREWELL);
        tokio::pin!(patience);
        while !self.jobs.is_empty() {
            tokio::select! {
                Some(finished) = self.jobs.join_next() => {
                    let finished = finished?;
                    self.note_finished(finished).await?;
                    self.finish_turn().await?;
                }
                () = &mut patience => {
                    tracing::warn!("stopped before every answer came; what is missing is looked up at the next start");
                    break;
                }
            }
        }
        self.store.flush().await?;
        self.publish(true)
    }

    /// Dies here, if a test said so.
    fn crash_point(&mut self, point: CrashPoint) -> Result<(), ProvisionerError> {
        match &mut self.crash {
            Some((at, 0)) if *at == point => Err(ProvisionerError::Crashed),
            Some((at, left)) if *at == point => {
                *left -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
