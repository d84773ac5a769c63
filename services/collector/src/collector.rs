//! The collector of one forest, or of a part of it: one reader per naming context.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forestsync_domain::{Dn, ObjectGuid};
use forestsync_log::Log;
use forestsync_runtime::backoff::Backoff;
use forestsync_schemas::changes::StopCause;
use forestsync_schemas::sighting::News;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::ForestConfig;
use crate::error::{CollectorError, OnceError, Trouble};
use crate::forest::Forest;
use crate::reader::{Reader, SnapshotRequest};
use crate::status::{CollectorStatus, Phase, StatusBoard};
use crate::taking::{TakeError, Taken, Wish};

/// The wishes for full reads, one for each naming context.
#[derive(Debug, Default)]
struct Requests(Mutex<Vec<Arc<SnapshotRequest>>>);

impl Requests {
    fn at(&self, index: usize) -> Arc<SnapshotRequest> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while all.len() <= index {
            all.push(Arc::default());
        }
        all.get(index).cloned().unwrap_or_default()
    }

    fn ask(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|request| request.ask());
    }
}

/// Reads one forest. Make it, take a [`Collector::handle`], then [`Collector::run`] it.
///
/// Several collectors of one forest, such as one for each naming context that a group protocol gave to this process, come
/// from one [`Forest`], so that they wait at the same door when the account is refused.
#[derive(Debug)]
pub struct Collector {
    forest: Forest,
    /// Empty: those that the configuration wants.
    naming_contexts: Vec<Dn>,
    log: Arc<dyn Log>,
    board: StatusBoard,
    requests: Arc<Requests>,
}

/// Watches a collector and asks it for things. Cheap to clone; outlives the collector.
#[derive(Debug, Clone)]
pub struct CollectorHandle {
    board: StatusBoard,
    requests: Arc<Requests>,
}

impl CollectorHandle {
    /// The state of every naming context, in the order of the configuration. Where all domains are read it grows when they
    /// are known.
    pub fn status(&self) -> watch::Receiver<Vec<CollectorStatus>> {
        self.board.subscribe()
    }

    /// Lets the collector take an object in: what is news of it goes into the stream, with everything else that the
    /// controller tells, as one look with one trace. Returns when that is durable.
    ///
    /// A controller that cannot be read and a full read that is under way are not waited for: they are the error.
    pub async fn take_in(&self, naming_context: &Dn, object: ObjectGuid, news: News) -> Result<Taken, TakeError> {
        let mut rows = self.board.subscribe();
        let index = rows.borrow_and_update().iter().position(|row| row.naming_context == *naming_context);
        let index = index.ok_or_else(|| TakeError::NotRead(naming_context.clone()))?;
        let (reply, mut taken) = oneshot::channel();
        if !self.requests.at(index).ask_for(Wish { object, news, reply }) {
            return Err(TakeError::Busy);
        }
        loop {
            match rows.borrow_and_update().get(index).map(|row| row.phase.clone()) {
                Some(Phase::Stopped { detail, hint, .. }) => return Err(TakeError::Stopped { detail, hint }),
                Some(Phase::Snapshot { seen }) => return Err(TakeError::FullRead { seen }),
                _ => {}
            }
            tokio::select! {
                taken = &mut taken => return taken.unwrap_or(Err(TakeError::Stopping)),
                changed = rows.changed() => if changed.is_err() { return Err(TakeError::Stopping) },
            }
        }
    }

    /// Asks for a full read of every naming context, as soon as possible.
    pub fn request_snapshot(&self) {
        self.requests.ask();
    }
}

/// What a single pass over one naming context did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassSummary {
    /// The naming context.
    pub naming_context: Dn,
    /// Its stream.
    pub stream: String,
    /// Entries that the pass found.
    pub found: usize,
    /// Events appended, all of them durable.
    pub appended: u64,
    /// Whether it was a full read.
    pub snapshot: bool,
    /// The offset that the stream's next record will get.
    pub tail: u64,
}

impl Collector {
    /// A collector of `config`'s forest that writes to `log`. Touches neither network nor log yet.
    pub fn new(config: ForestConfig, log: Arc<dyn Log>) -> Result<Self, CollectorError> {
        Ok(Self::of(Forest::new(config)?, Vec::new(), log))
    }

    pub(crate) fn of(forest: Forest, mut naming_contexts: Vec<Dn>, log: Arc<dyn Log>) -> Self {
        if naming_contexts.is_empty() {
            naming_contexts.clone_from(&forest.config.naming_contexts);
        }
        let board = StatusBoard::new(&forest.config.name, &naming_contexts);
        let requests = Arc::new(Requests::default());
        for index in 0..naming_contexts.len().max(1) {
            requests.at(index);
        }
        Self { forest, naming_contexts, log, board, requests }
    }

    /// For watching and asking.
    pub fn handle(&self) -> CollectorHandle {
        CollectorHandle { board: self.board.clone(), requests: Arc::clone(&self.requests) }
    }

    /// The state of every naming context; the same as that of the handle.
    pub fn status(&self) -> watch::Receiver<Vec<CollectorStatus>> {
        self.board.subscribe()
    }

    /// Reads until `shutdown`; then everything sent to the log is durable. Ends with an error only when it must not go on:
    /// see [`CollectorError`]. One naming context that must not go on ends all of them.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), CollectorError> {
        let stop = shutdown.child_token();
        let mut tasks = JoinSet::new();
        let mut known = Vec::new();
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            found = self.find() => self.start(&mut tasks, &mut known, found?, &stop)?,
        }
        let grows = self.naming_contexts.is_empty() && self.forest.config.all_domains;
        let mut result = Ok(());
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    None => return result,
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(error))) => {
                        stop.cancel();
                        result = result.and(Err(error));
                    }
                    Some(Err(panic)) => {
                        stop.cancel();
                        if panic.is_panic() {
                            std::panic::resume_unwind(panic.into_panic());
                        }
                    }
                },
                found = self.find_more(&known), if grows && !stop.is_cancelled() => {
                    self.start(&mut tasks, &mut known, found, &stop)?;
                }
            }
        }
    }

    /// Makes one complete pass over every naming context, a full read or a delta as the log says, and ends when all of it is
    /// durable; on `shutdown` earlier, with [`OnceError::Interrupted`]. A controller that cannot be read is tried again and
    /// replaced as in [`Collector::run`], but only until there is something to tell; that is the error then. The naming
    /// contexts are read at the same time; the first error ends all of them.
    pub async fn run_once(self, shutdown: CancellationToken) -> Result<Vec<PassSummary>, OnceError> {
        let found = tokio::select! {
            () = shutdown.cancelled() => return Err(OnceError::Interrupted),
            found = self.look_for() => found.map_err(|trouble| OnceError::of(Dn::default(), trouble))?,
        };
        let stop = shutdown.child_token();
        let mut tasks = JoinSet::new();
        for reader in self.readers(&[], &found)? {
            tasks.spawn(reader.run_once(stop.clone()));
        }
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Err(error)) => {
                    stop.cancel();
                    // what stopped the others is no news
                    if result.is_ok() || matches!(result, Err(OnceError::Interrupted)) {
                        result = Err(error);
                    }
                }
                Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
                Ok(Ok(())) | Err(_) => {}
            }
        }
        result?;
        let summary = |row: CollectorStatus| PassSummary {
            naming_context: row.naming_context,
            stream: row.stream,
            found: row.last_pass_found,
            appended: row.appended,
            snapshot: row.snapshots > 0,
            tail: row.tail,
        };
        Ok(self.board.rows().into_iter().map(summary).collect())
    }

    /// The naming contexts to read, their streams made where there are several, once.
    async fn look_for(&self) -> Result<Vec<Dn>, Trouble> {
        let found =
            if self.naming_contexts.is_empty() { self.forest.wanted().await? } else { self.naming_contexts.clone() };
        // who was given some of them by somebody else has nothing to make for the others
        if self.naming_contexts.is_empty() && self.forest.config.all_domains {
            self.forest.create_streams(self.log.as_ref(), &found).await?;
        }
        Ok(found)
    }

    /// The same, for as long as it takes.
    async fn find(&self) -> Result<Vec<Dn>, CollectorError> {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            let trouble = match self.look_for().await {
                Ok(found) => return Ok(found),
                Err(Trouble::Fatal(error)) if !error.is_retryable() => return Err(*error),
                Err(trouble) => trouble,
            };
            let (detail, hint) = (trouble.to_string(), trouble.hint().to_owned());
            let cause = trouble.cause().unwrap_or(StopCause::Unreachable);
            tracing::warn!(forest.id = self.forest.config.name, error = %detail, hint, "the naming contexts are not known yet");
            self.board.line(0).update(|row| row.phase = Phase::Stopped { cause, detail, hint });
            let closed = if cause == StopCause::Credentials { self.forest.gate.closed_for().await } else { None };
            sleep(closed.unwrap_or_else(|| backoff.next_delay())).await;
        }
    }

    /// Asks from time to time whether the forest has domains besides the known ones; ends when it has.
    async fn find_more(&self, known: &[Dn]) -> Vec<Dn> {
        loop {
            sleep(self.forest.config.domains_interval).await;
            match self.look_for().await {
                Ok(found) => {
                    for gone in known.iter().filter(|nc| !found.contains(nc)) {
                        tracing::warn!(forest.id = self.forest.config.name, naming_context = %gone,
                            "the forest no longer lists this domain; it is read for as long as a controller holds it");
                    }
                    let new: Vec<Dn> = found.into_iter().filter(|nc| !known.contains(nc)).collect();
                    if !new.is_empty() {
                        return new;
                    }
                }
                Err(trouble) => {
                    tracing::warn!(forest.id = self.forest.config.name, error = %trouble, hint = trouble.hint(), "the forest could not be asked for new domains");
                }
            }
        }
    }

    fn start(
        &self,
        tasks: &mut JoinSet<Result<(), CollectorError>>,
        known: &mut Vec<Dn>,
        found: Vec<Dn>,
        stop: &CancellationToken,
    ) -> Result<(), CollectorError> {
        for reader in self.readers(known, &found)? {
            tracing::info!(forest.id = self.forest.config.name, naming_context = %reader.nc, stream = %reader.stream, "reading begins");
            tasks.spawn(reader.run(stop.clone()));
        }
        known.extend(found);
        Ok(())
    }

    /// The readers of `found`, whose rows follow those of `known`.
    fn readers(&self, known: &[Dn], found: &[Dn]) -> Result<Vec<Reader>, CollectorError> {
        let all: Vec<Dn> = known.iter().chain(found).cloned().collect();
        self.board.fit(&self.forest.config.name, &all);
        let reader = |(offset, nc): (usize, &Dn)| {
            let index = known.len() + offset;
            let (stream, log) = (self.forest.stream(nc)?, Arc::clone(&self.log));
            Ok(Reader::new(&self.forest, log, nc.clone(), stream, self.board.line(index), self.requests.at(index)))
        };
        found.iter().enumerate().map(reader).collect()
    }
}
