//! The projector: an engine, the streams it reads, and the status it shows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use forestsync_log::{Log, LogReader, Record, StreamName};
use forestsync_runtime::clock;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::apply::Incoming;
use crate::ask::Asked;
use crate::config::{Plan, SourceId};
use crate::engine::{Engine, Outputs, Stop};
use crate::error::StoreError;
use crate::follow::End;
use crate::handover::Neighbours;
use crate::query::{Answer, Query};
use crate::replay::{is_ready, take_up};
use crate::status::ProjectorStatus;
use crate::store::{guarded, move_aside};
use crate::{ProjectorConfig, ProjectorError};

type Result<T> = std::result::Result<T, ProjectorError>;

/// Records read at a time.
pub(crate) const MAX_RECORDS: usize = 1_000;
/// How often a database may break while one projector lives.
const MAX_DAMAGES: u32 = 3;

/// Keeps the materialized state of one configuration. See the crate's documentation for the contract.
#[derive(Debug)]
pub struct Projector {
    log: Arc<dyn Log>,
    config: ProjectorConfig,
    plan: Plan,
    /// `None` after an error that ended it.
    engine: Option<Engine>,
    damages: u32,
    moved_aside: Vec<PathBuf>,
    tails: BTreeMap<SourceId, u64>,
    /// What a replay had built took the place of the database when this one was opened.
    took_up: bool,
    /// Questions, while it runs.
    pub(crate) asked: Option<mpsc::Receiver<Asked>>,
    status: watch::Sender<ProjectorStatus>,
}

impl Projector {
    /// Opens the database, becomes the writer of `decisions` and `desired`, and reads what the log says beyond the
    /// database. A database that does not open is moved aside, and an empty one takes its place.
    pub async fn open(config: ProjectorConfig, log: Arc<dyn Log>) -> Result<Self> {
        let plan = Plan::new(config.clone())?;
        let (status, _) = watch::channel(ProjectorStatus::default());
        let mut projector = Self {
            log,
            config,
            plan,
            engine: None,
            damages: 0,
            moved_aside: Vec::new(),
            tails: BTreeMap::new(),
            took_up: false,
            asked: None,
            status,
        };
        let decisions = projector.log.writer(&projector.plan.decisions).await?;
        let desired = projector.log.writer(&projector.plan.desired).await?;
        let (log, neighbours) = (Arc::clone(&projector.log), Neighbours::default());
        let outputs = Outputs { runtime: Handle::current(), log, neighbours, decisions, desired };
        projector.start(outputs).await?;
        Ok(projector)
    }

    /// What the projector says about itself, kept up to date.
    pub fn status(&self) -> watch::Receiver<ProjectorStatus> {
        self.status.subscribe()
    }

    // ---- starting

    async fn start(&mut self, outputs: Outputs) -> Result<()> {
        let mut outputs = Some(outputs);
        loop {
            match self.try_start(&mut outputs).await {
                Err(error) if error.is_damage() => {
                    if outputs.is_none() {
                        outputs = self.engine.as_mut().and_then(Engine::take_outputs);
                    }
                    self.put_aside(&error).await?;
                }
                result => return result,
            }
        }
    }

    /// Opens the database and brings it up to what the projector itself wrote. The writers go into the engine once the
    /// database is open, so that a damaged one does not take them along.
    async fn try_start(&mut self, outputs: &mut Option<Outputs>) -> Result<()> {
        // what a replay has built and somebody wants here; otherwise the database stays as it is
        self.took_up = take_up(&self.plan, self.log.as_ref()).await?;
        let (plan, directory) = (self.plan.clone(), self.config.directory.clone());
        let opened = spawn_blocking(move || catch(&directory, || Engine::open(plan, None))).await;
        let mut engine = joined(&self.config, opened)?;
        if let Some(outputs) = outputs.take() {
            engine.set_outputs(outputs);
        }
        self.engine = Some(engine);
        self.read_own().await?;
        self.look_around().await?;
        self.with(Engine::resolve_known).await?;
        self.with(Engine::settle).await?;
        for (source, stream, offset) in self.positions() {
            let tail = self.log.tail(&stream).await?;
            self.tails.insert(source, tail);
            if offset > tail {
                return Err(self.ahead(&stream));
            }
            self.with(move |engine| engine.limit_barrier(source, tail)).await?;
        }
        self.publish().await
    }

    /// A database that knows more than the log belongs to another log.
    fn ahead(&self, stream: &StreamName) -> ProjectorError {
        let detail = format!("it has read further than stream {stream} goes: it belongs to another log");
        StoreError::Damaged { directory: self.config.directory.clone(), detail }.into()
    }

    /// Takes over what stands in `decisions` and `desired` beyond the database.
    async fn read_own(&mut self) -> Result<()> {
        for stream in [self.plan.decisions.clone(), self.plan.desired.clone(), self.plan.tenant.clone()] {
            let meta = &self.engine()?.meta;
            let from = match &stream {
                stream if *stream == self.plan.decisions => meta.decisions,
                stream if *stream == self.plan.tenant => meta.tenant,
                _ => meta.desired,
            };
            let tail = self.log.tail(&stream).await?;
            if from > tail {
                return Err(self.ahead(&stream));
            }
            let mut reader = self.log.reader(&stream, from).await?;
            loop {
                let records = reader.poll(MAX_RECORDS).await?;
                if records.is_empty() {
                    break;
                }
                let stream = stream.clone();
                self.with(move |engine| engine.fold(&stream, &records)).await?;
            }
        }
        Ok(())
    }

    /// Takes in what the tenant's stream says by now, and what people decided.
    pub(crate) async fn look_around(&mut self) -> Result<()> {
        let stream = self.plan.tenant.clone();
        let from = self.engine()?.meta.tenant;
        if self.log.tail(&stream).await? > from {
            let records = self.log.reader(&stream, from).await?.poll(MAX_RECORDS).await?;
            self.with(move |engine| engine.fold(&stream, &records)).await?;
            self.with(Engine::settle).await?;
        }
        self.hear().await
    }

    /// Takes in what people decided by now.
    async fn hear(&mut self) -> Result<()> {
        let (control, from) = (self.plan.control.clone(), self.engine()?.rulings.next);
        if self.log.tail(&control).await? <= from {
            return Ok(());
        }
        let mut reader = self.log.reader(&control, from).await?;
        loop {
            let records = reader.poll(MAX_RECORDS).await?;
            if records.is_empty() {
                return Ok(());
            }
            let control = control.clone();
            self.with(move |engine| engine.hear(&control, &records)).await?;
        }
    }

    async fn put_aside(&mut self, error: &ProjectorError) -> Result<()> {
        self.damages += 1;
        let directory = self.config.directory.clone();
        if self.damages > MAX_DAMAGES {
            return Err(ProjectorError::KeepsBreaking { directory, times: self.damages });
        }
        let engine = self.engine.take();
        let moved = spawn_blocking(move || {
            // sled may panic once more while it is dropped
            let dropped = catch(&directory, move || {
                drop(engine);
                Ok(())
            });
            if let Err(error) = dropped {
                tracing::debug!(error = %error, "closing a damaged database failed");
            }
            move_aside(&directory, clock::now())
        });
        let target = joined(&self.config, moved.await.map(|result| result.map_err(Into::into)))?;
        tracing::error!(
            error = %error, database.moved_to = %target.display(),
            "the database is damaged; it is moved aside and built anew from the log"
        );
        self.moved_aside.push(target);
        Ok(())
    }

    // ---- the engine

    pub(crate) fn engine(&self) -> Result<&Engine> {
        self.engine.as_ref().ok_or_else(|| ProjectorError::Ended(self.config.configuration.clone()))
    }

    /// Runs something on the engine where blocking is allowed. A panic of sled becomes [`StoreError::Damaged`].
    pub(crate) async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(mut engine) = self.engine.take() else {
            return Err(ProjectorError::Ended(self.config.configuration.clone()));
        };
        let directory = self.config.directory.clone();
        let done = spawn_blocking(move || {
            let result = catch(&directory, || work(&mut engine));
            Ok((engine, result))
        });
        let (engine, result) = joined(&self.config, done.await)?;
        self.engine = Some(engine);
        result
    }

    /// Applies records, unless their stream has stopped. A stream that cannot be applied any further stops; the others
    /// go on. A database that turns out to be damaged is rebuilt.
    pub(crate) async fn apply(&mut self, source: SourceId, records: Vec<Incoming>) -> Result<()> {
        if self.engine()?.stopped.contains_key(&source) {
            return Ok(());
        }
        match self.with(move |engine| engine.apply(source, records)).await {
            Err(ProjectorError::Stream(error)) => {
                let said = error.kind.without_values();
                self.stop(source, &error, said).await
            }
            result => result,
        }
    }

    /// Puts an empty database in the place of a damaged one; the caller must read the streams from their new offsets.
    async fn recover(&mut self, error: ProjectorError) -> Result<()> {
        let outputs = self.engine.as_mut().and_then(Engine::take_outputs).filter(|_| error.is_damage());
        let Some(outputs) = outputs else { return Err(error) };
        self.put_aside(&error).await?;
        self.start(outputs).await
    }

    fn offset(&self, source: SourceId) -> u64 {
        let meta = self.engine.as_ref().map(|engine| &engine.meta);
        meta.and_then(|meta| meta.sources.get(&source)).map_or(0, |state| state.offset)
    }

    pub(crate) async fn publish(&mut self) -> Result<()> {
        let mut status = self.with(|engine| Ok(engine.status()?)).await?;
        status.moved_aside.clone_from(&self.moved_aside);
        for source in &self.plan.sources {
            if let Some(stream) = status.streams.get_mut(source.config.stream.as_str()) {
                stream.tail = self.tails.get(&source.id).map(|tail| (*tail).max(stream.applied));
            }
        }
        self.status.send_if_modified(|old| {
            let is_news = *old != status;
            *old = status;
            is_news
        });
        Ok(())
    }

    // ---- running

    /// Applies everything that is in the streams now, writes what follows from it, and returns. Errors of single streams
    /// are in the status.
    pub async fn catch_up(&mut self) -> Result<ProjectorStatus> {
        loop {
            match self.try_catch_up().await {
                Ok(()) => break,
                Err(error) => self.recover(error).await?,
            }
        }
        Ok(self.status.borrow().clone())
    }

    async fn try_catch_up(&mut self) -> Result<()> {
        self.look_around().await?;
        let mut readers: Vec<(SourceId, Box<dyn LogReader>, Vec<Incoming>)> = Vec::new();
        for source in &self.plan.sources {
            let mut reader = self.log.reader(&source.config.stream, self.offset(source.id)).await?;
            let records = poll(reader.as_mut()).await?;
            readers.push((source.id, reader, records));
        }
        let mut is_moving = true;
        while is_moving {
            is_moving = false;
            for (source, reader, next) in &mut readers {
                let records = std::mem::take(next);
                if let Some(last) = records.last() {
                    is_moving = true;
                    self.tails.insert(*source, last.offset + 1);
                }
                // the next batch is read while this one is applied
                let (applied, read) = tokio::join!(self.apply(*source, records), poll(reader.as_mut()));
                applied?;
                *next = read?;
                is_moving |= !next.is_empty();
            }
        }
        self.with(|engine| {
            engine.settle()?;
            engine.fire_moments(clock::now())?;
            engine.emit()?;
            engine.flush()
        })
        .await?;
        self.publish().await
    }

    /// Follows the streams until `shutdown`, then leaves the database flushed.
    ///
    /// Ends with an error only where it cannot go on by itself: a writer is fenced, the disk is full, a database keeps
    /// breaking. A stream with a record that cannot be applied stops alone and says so in the status.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        let questions = match crate::ask::listen(&self.config.directory) {
            Ok(listener) => {
                let (sender, asked) = mpsc::channel(crate::ask::WAITING);
                self.asked = Some(asked);
                Some(tokio_util::task::AbortOnDropHandle::new(tokio::spawn(crate::ask::serve(listener, sender))))
            }
            // nothing depends on it but people's questions
            Err(error) => {
                tracing::warn!(error = %error, "forestsync explain and lint have to wait until this process has stopped");
                None
            }
        };
        loop {
            match crate::follow::follow(&mut self, &shutdown).await {
                Ok(End::Stopped) => break,
                Ok(End::Reopened) => {}
                Err(error) => self.recover(error).await?,
            }
        }
        drop(questions);
        self.with(Engine::flush).await
    }

    /// Answers a question. Returns whether the database is another one now, and the streams must be read from its offsets.
    pub(crate) async fn answer(&mut self, (query, reply): Asked) -> Result<bool> {
        if matches!(query, Query::TakeUp) {
            let is_ready = is_ready(&self.config.directory);
            if is_ready {
                self.reopen().await?;
            }
            // whoever asked may have gone
            drop(reply.send(Answer::TakenUp(is_ready && self.took_up)));
            return Ok(is_ready);
        }
        let answer = self.with(move |engine| Ok(engine.answer(&query))).await?;
        // whoever asked may have gone
        drop(reply.send(crate::ask::with_origins(&self.log, answer).await));
        Ok(false)
    }

    /// Closes the database and opens it anew, or what a replay has built in its place. The writers stay.
    async fn reopen(&mut self) -> Result<()> {
        self.with(Engine::flush).await?;
        let Some(outputs) = self.engine.as_mut().and_then(Engine::take_outputs) else {
            return Err(ProjectorError::Ended(self.config.configuration.clone()));
        };
        let (engine, directory) = (self.engine.take(), self.config.directory.clone());
        let closed = spawn_blocking(move || {
            catch(&directory, move || {
                drop(engine);
                Ok(())
            })
        });
        joined(&self.config, closed.await)?;
        self.start(outputs).await
    }

    pub(crate) fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// The streams with the offsets to go on at.
    pub(crate) fn positions(&self) -> Vec<(SourceId, StreamName, u64)> {
        let position = |s: &crate::config::Source| (s.id, s.config.stream.clone(), self.offset(s.id));
        self.plan.sources.iter().map(position).collect()
    }

    /// Ends the reading of a stream that cannot be read or applied any further.
    pub(crate) async fn stop(
        &mut self,
        source: SourceId,
        error: &(dyn std::error::Error + Sync),
        said: String,
    ) -> Result<()> {
        tracing::error!(error = %error, "a stream stops");
        let stop = Stop { offset: self.offset(source), detail: error.to_string(), said };
        self.with(move |engine| {
            engine.stopped.insert(source, stop);
            Ok(())
        })
        .await
    }

    pub(crate) fn saw_tail(&mut self, source: SourceId, tail: u64) {
        let known = self.tails.entry(source).or_default();
        *known = tail.max(*known);
    }
}

/// What is in a stream now, read where that keeps nobody waiting.
async fn poll(reader: &mut dyn LogReader) -> Result<Vec<Incoming>> {
    let records = reader.poll(MAX_RECORDS).await?;
    Ok(read(records).await)
}

/// Reads records on a thread of their own.
pub(crate) async fn read(records: Vec<Record>) -> Vec<Incoming> {
    // cancelled only together with the runtime, and then nobody asks any more
    spawn_blocking(move || Incoming::read(&records)).await.unwrap_or_default()
}

/// [`guarded`] for work whose errors are wider.
pub(crate) fn catch<T>(directory: &std::path::Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    guarded(directory, || Ok(work()))?
}

/// What a blocking task returned; it does not panic, so it can only have been cancelled with the runtime.
fn joined<T>(config: &ProjectorConfig, result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or_else(|_| Err(ProjectorError::Ended(config.configuration.clone())))
}
