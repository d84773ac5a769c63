//! Building a projection from the log: the whole of it beside the live one, or as it was at a moment.
//!
//! ```text
//!  snapshot or nothing ──> decisions, tenant, changes up to a milestone ──> snapshot ──> … ──> wishes ──> digest
//!                           (no wishes yet)                                  (a cache)
//! ```
//!
//! - **No wishes before the end.** A choice for which no decision is there yet would be another one halfway, so wishes are
//!   computed once, when everything is read. A replay that was cut anywhere and continued ends like one in one piece.
//! - **Decisions about places** in `changes` (how a full read is judged, from where on it is believed, which object a name
//!   of the scope means) are known ahead of all others, up to the end of their stream: they count for their place,
//!   whenever they were made. All other decisions count up to the offset that the replay stops at.
//! - **Nothing is written to the log**: where a decision is missing the same choice is made without writing it down.
//! - **Snapshots** hold a state without wishes, so whoever goes on from one computes them as if from offset 0.

mod compare;
mod moment;
mod replacement;
mod snapshots;

use std::collections::BTreeMap;
use std::sync::Arc;

use forestsync_log::{Log, Record, StreamName};
use tokio::task::spawn_blocking;

use crate::apply::Incoming;
use crate::config::{Plan, SourceId};
use crate::digest::StateDigest;
use crate::engine::Engine;
use crate::error::StoreError;
use crate::verify::settled;
use crate::{ProjectorConfig, ProjectorError};

pub use compare::{Difference, Differences, compare};
pub use moment::{moment_at, streams_of};
pub use replacement::{Built, build, swap};
pub(crate) use replacement::{is_ready, take_up};
pub use snapshots::{DEFAULT_EVERY, Snapshots};

type Result<T> = std::result::Result<T, ProjectorError>;

/// Records read and applied at a time.
const MAX_RECORDS: usize = 4_000;
/// Rounds of work between two looks at how far it has come.
const ROUNDS: usize = 8;

/// What a replay is told.
#[derive(Debug, Default)]
pub struct Replay {
    /// For each stream the offset to stop before. A stream that is not named is read to its end.
    pub until: BTreeMap<StreamName, u64>,
    /// Where snapshots are looked for and kept; none are without it.
    pub snapshots: Option<Snapshots>,
    /// Whether a projector is to go on with the database: then it knows what `desired` says, too.
    pub goes_on: bool,
}

/// How far a replay has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It began with a snapshot that holds so many records.
    Began {
        /// Records that need not be read again.
        records: u64,
    },
    /// Records are read and applied.
    Read {
        /// Records so far.
        done: u64,
        /// Records in all.
        total: u64,
    },
    /// What is wished is computed.
    Wishes {
        /// Wishes so far.
        wished: u64,
        /// Objects of the directories.
        objects: u64,
    },
}

/// Shown [`Step`]s while a replay works.
pub type Show<'a> = &'a mut (dyn FnMut(Step) + Send);

/// What a replay has built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The digest; none where `open` says why.
    pub digest: Option<StateDigest>,
    /// For each stream the offset before which it stopped.
    pub offsets: BTreeMap<StreamName, u64>,
    /// Streams that stop in the middle of an answer of their directory: what is wished cannot be told in full there.
    pub open: Vec<StreamName>,
    /// Records that came from a snapshot.
    pub skipped: u64,
    /// Records that were read.
    pub records: u64,
}

/// Builds the projection of `config` in its directory, which must be empty or absent. Writes nothing to the log.
pub async fn replay(config: ProjectorConfig, log: Arc<dyn Log>, options: Replay, show: Show<'_>) -> Result<Replayed> {
    let plan = Plan::new(config)?;
    let mut targets = BTreeMap::new();
    for stream in streams_of(&plan.config)? {
        let until = match options.until.get(&stream) {
            Some(until) => *until,
            None => log.tail(&stream).await?,
        };
        targets.insert(stream, until);
    }
    let begun = match &options.snapshots {
        Some(snapshots) => snapshots.restore(&plan, log.as_ref(), &targets).await?,
        None => None,
    };
    let foreseen = begun.unwrap_or_default();
    let opened = plan.clone();
    let engine = blocking(&plan, move || {
        let mut engine = Engine::open(opened, None)?;
        engine.is_postponed = true;
        engine.foreseen = foreseen;
        Ok(engine)
    });
    let mut work = Work { engine: Some(engine.await?), plan, log, done: 0, total: 0 };
    let start = work.offsets()?;
    let skipped = start.values().sum();
    if begun.is_some() {
        show(Step::Began { records: skipped });
    }
    let desired = if options.goes_on { work.log.tail(&work.plan.desired).await? } else { 0 };
    work.total = targets.values().sum::<u64>().saturating_sub(skipped) + desired;
    work.foresee().await?;
    let every = options.snapshots.as_ref().map_or(0, Snapshots::every);
    for goal in moment::milestones(work.log.as_ref(), &start, &targets, every).await? {
        work.read_up_to(&goal, show).await?;
        if let Some(snapshots) = &options.snapshots {
            let log = Arc::clone(&work.log);
            let marks = snapshots::marks(log.as_ref(), &goal).await?;
            let snapshots = snapshots.clone();
            work.with(move |engine| {
                // a cache: without it everything still works
                if let Err(error) = snapshots.keep(engine, &marks) {
                    tracing::warn!(error = %error, "a snapshot of the projection was not kept");
                }
                Ok(())
            })
            .await?;
        }
    }
    if options.goes_on {
        let stream = work.plan.desired.clone();
        work.fold(&stream, 0, desired, show).await?;
    }
    work.wish(show).await?;
    let records = work.done;
    let (digest, open) = work.end().await?;
    Ok(Replayed { digest, offsets: targets, open, skipped, records })
}

/// A replay at work.
struct Work {
    plan: Plan,
    log: Arc<dyn Log>,
    /// `None` while something is done to it, and after an error.
    engine: Option<Engine>,
    done: u64,
    total: u64,
}

impl Work {
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(mut engine) = self.engine.take() else {
            return Err(ProjectorError::Ended(self.plan.config.configuration.clone()));
        };
        let done = blocking(&self.plan, move || {
            let done = work(&mut engine)?;
            Ok((engine, done))
        });
        let (engine, done) = done.await?;
        self.engine = Some(engine);
        Ok(done)
    }

    /// How far each stream is read.
    fn offsets(&self) -> Result<BTreeMap<StreamName, u64>> {
        let Some(engine) = &self.engine else {
            return Err(ProjectorError::Ended(self.plan.config.configuration.clone()));
        };
        let sources = self.plan.sources.iter().map(|source| {
            let offset = engine.meta.sources.get(&source.id).map_or(0, |state| state.offset);
            (source.config.stream.clone(), offset)
        });
        let own =
            [(self.plan.decisions.clone(), engine.meta.decisions), (self.plan.tenant.clone(), engine.meta.tenant)];
        Ok(sources.chain(own).collect())
    }

    /// Reads ahead what is decided about places.
    async fn foresee(&mut self) -> Result<()> {
        let from = self.engine.as_ref().map_or(0, |engine| engine.foreseen);
        let mut reader = self.log.reader(&self.plan.decisions, from).await?;
        loop {
            let records = reader.poll(MAX_RECORDS).await?;
            if records.is_empty() {
                return Ok(());
            }
            self.with(move |engine| engine.foresee(&records)).await?;
        }
    }

    /// Reads all streams up to these offsets.
    async fn read_up_to(&mut self, goal: &BTreeMap<StreamName, u64>, show: Show<'_>) -> Result<()> {
        let at = self.offsets()?;
        for stream in [self.plan.decisions.clone(), self.plan.tenant.clone()] {
            self.fold(&stream, at[&stream], goal[&stream], show).await?;
        }
        let sources: Vec<(SourceId, StreamName)> =
            self.plan.sources.iter().map(|source| (source.id, source.config.stream.clone())).collect();
        for (source, stream) in sources {
            self.apply(source, &stream, at[&stream], goal[&stream], show).await?;
        }
        Ok(())
    }

    async fn fold(&mut self, stream: &StreamName, from: u64, until: u64, show: Show<'_>) -> Result<()> {
        let (log, mut at) = (Arc::clone(&self.log), from);
        let mut reader = log.reader(stream, from).await?;
        let mut next = poll(reader.as_mut(), until).await?;
        while let Some(last) = next.last() {
            at = self.read(at, last.offset + 1, show);
            let stream = stream.clone();
            let records = std::mem::take(&mut next);
            let (folded, read) =
                tokio::join!(self.with(move |engine| engine.fold(&stream, &records)), poll(reader.as_mut(), until));
            folded?;
            next = read?;
        }
        // a compacted stream may end before
        self.read(at, until, show);
        Ok(())
    }

    async fn apply(
        &mut self,
        source: SourceId,
        stream: &StreamName,
        from: u64,
        until: u64,
        show: Show<'_>,
    ) -> Result<()> {
        let (log, mut at) = (Arc::clone(&self.log), from);
        let unnoted = moment::whole_answers(log.as_ref(), stream, until).await?.unwrap_or(0);
        self.with(move |engine| {
            engine.unnoted.insert(source, unnoted);
            Ok(())
        })
        .await?;
        let mut reader = log.reader(stream, from).await?;
        let mut next = decoded(reader.as_mut(), until).await?;
        while let Some(last) = next.last() {
            at = self.read(at, last.offset + 1, show);
            let records = std::mem::take(&mut next);
            // the next batch is read while this one is applied
            let (applied, read) =
                tokio::join!(self.with(move |engine| engine.apply(source, records)), decoded(reader.as_mut(), until));
            applied?;
            next = read?;
        }
        Ok(())
    }

    fn read(&mut self, from: u64, to: u64, show: Show<'_>) -> u64 {
        self.done += to.saturating_sub(from);
        show(Step::Read { done: self.done, total: self.total });
        to
    }

    /// Computes what is wished.
    async fn wish(&mut self, show: Show<'_>) -> Result<()> {
        self.with(|engine| {
            engine.is_postponed = false;
            engine.end_barrier()
        })
        .await?;
        loop {
            let (is_done, wished, objects) = self
                .with(|engine| {
                    let is_done = engine.settle_some(ROUNDS)?;
                    let counters = &engine.meta.counters;
                    Ok((is_done, counters.projected.values().sum(), counters.objects))
                })
                .await?;
            show(Step::Wishes { wished, objects });
            if is_done {
                return Ok(());
            }
        }
    }

    /// Makes the database durable, closes it, and says what it has come to.
    async fn end(mut self) -> Result<(Option<StateDigest>, Vec<StreamName>)> {
        let told = self.with(|engine| {
            engine.flush()?;
            let open = |source: &&crate::config::Source| {
                engine.meta.sources.get(&source.id).is_some_and(|state| state.answer_open && state.first_done)
            };
            let open = engine.plan.sources.iter().filter(open).map(|source| source.config.stream.clone()).collect();
            match settled(&engine.store, &engine.meta, &engine.plan.config.directory) {
                Ok((digest, _)) => Ok((Some(digest), open)),
                Err(ProjectorError::Store(StoreError::Unsettled(_))) => Ok((None, open)),
                Err(error) => Err(error),
            }
        });
        let told = told.await?;
        let engine = self.engine.take();
        blocking(&self.plan, move || {
            drop(engine);
            Ok(())
        })
        .await?;
        Ok(told)
    }
}

/// The next records before `until`.
async fn poll(reader: &mut dyn forestsync_log::LogReader, until: u64) -> Result<Vec<Record>> {
    if reader.position() >= until {
        return Ok(Vec::new());
    }
    let mut records = reader.poll(MAX_RECORDS).await?;
    records.retain(|record| record.offset < until);
    Ok(records)
}

/// The same, decoded on a thread of its own.
async fn decoded(reader: &mut dyn forestsync_log::LogReader, until: u64) -> Result<Vec<Incoming>> {
    let records = poll(reader, until).await?;
    // cancelled only together with the runtime, and then nobody asks any more
    Ok(spawn_blocking(move || Incoming::read(&records)).await.unwrap_or_default())
}

pub(crate) async fn blocking<T: Send + 'static>(
    plan: &Plan,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let directory = plan.config.directory.clone();
    let done = spawn_blocking(move || crate::projector::catch(&directory, work)).await;
    done.unwrap_or_else(|_| Err(ProjectorError::Ended(plan.config.configuration.clone())))
}
