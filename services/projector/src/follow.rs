//! Following the streams: one task reads each, one loop applies what they bring.

use std::time::Duration;

use forestsync_log::{Log, LogReader, ReadError, StreamName};
use forestsync_runtime::backoff::Backoff;
use forestsync_runtime::clock;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ProjectorError;
use crate::apply::Incoming;
use crate::ask::Asked;
use crate::config::SourceId;
use crate::engine::Engine;
use crate::projector::{MAX_RECORDS, Projector};

/// Batches applied before what follows from them is written, while more are waiting.
const MAX_UNWRITTEN: u32 = 20;
/// Batches applied before they must survive the machine, while more are waiting.
const MAX_UNFLUSHED: u32 = 100;
/// The longest that nobody looks whether a moment has come.
const REST: Duration = Duration::from_hours(1);
/// How often tails are looked at and the database is flushed.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

type Batch = (SourceId, Result<Vec<Incoming>, ReadError>);

/// Reads one stream for ever, trying again where the storage does not answer.
async fn read(log: Arc<dyn Log>, source: SourceId, stream: StreamName, from: u64, out: mpsc::Sender<Batch>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let (mut position, mut reader): (u64, Option<Box<dyn LogReader>>) = (from, None);
    loop {
        let result = match &mut reader {
            Some(reader) => reader.next(MAX_RECORDS).await,
            None => match log.reader(&stream, position).await {
                Ok(opened) => {
                    reader = Some(opened);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(records) => {
                backoff.reset();
                position = records.last().map_or(position, |last| last.offset + 1);
                if out.send((source, Ok(crate::projector::read(records).await))).await.is_err() {
                    return;
                }
            }
            Err(ReadError::Io { .. } | ReadError::List { .. }) => {
                reader = None;
                let delay = backoff.next_delay();
                tracing::warn!(stream = %stream, delay = ?delay, "reading a stream failed; trying again");
                tokio::time::sleep(delay).await;
            }
            Err(error) => {
                // nothing after damage may be trusted; if the loop is gone, nobody asks any more
                let _gone = out.send((source, Err(error))).await;
                return;
            }
        }
    }
}

/// Writes what is wished, after what time alone has changed.
fn write(engine: &mut Engine) -> Result<(), ProjectorError> {
    engine.fire_moments(clock::now())?;
    engine.emit()
}

/// The next question; never, if nobody can ask.
async fn ask(asked: &mut Option<mpsc::Receiver<Asked>>) -> Option<Asked> {
    match asked {
        Some(asked) => asked.recv().await,
        None => std::future::pending().await,
    }
}

/// How long nothing has to happen by itself.
fn rest(projector: &Projector) -> Result<Duration, ProjectorError> {
    let next = projector.engine()?.next_moment()?;
    let wait = next.map(|next| next.duration_since(clock::now()));
    Ok(wait.map_or(REST, |wait| Duration::try_from(wait).unwrap_or(Duration::ZERO).min(REST)))
}

/// Why nothing comes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The projector is to stop.
    Stopped,
    /// The database is another one, with offsets of its own.
    Reopened,
}

/// Applies what comes until `shutdown`, or until another database has taken the place of this one.
pub(crate) async fn follow(projector: &mut Projector, shutdown: &CancellationToken) -> Result<End, ProjectorError> {
    let positions = projector.positions();
    let (sender, mut batches) = mpsc::channel::<Batch>(positions.len().max(1));
    let mut readers = JoinSet::new();
    for (source, stream, from) in positions.clone() {
        readers.spawn(read(Arc::clone(projector.log()), source, stream, from, sender.clone()));
    }
    let mut asked = projector.asked.take();
    let mut ticks = interval(HOUSEKEEPING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut unwritten, mut unflushed) = (MAX_UNWRITTEN, 0);
    loop {
        let rest = rest(projector)?;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(End::Stopped),
            Some(question) = ask(&mut asked) => {
                if projector.answer(question).await? {
                    projector.asked = asked;
                    return Ok(End::Reopened);
                }
            }
            Some((source, result)) = batches.recv() => {
                match result {
                    Ok(records) => {
                        let tail = records.last().map_or(0, |last| last.offset + 1);
                        projector.saw_tail(source, tail);
                        projector.apply(source, records).await?;
                    }
                    Err(error) => projector.stop(source, &error, error.to_string()).await?,
                }
                unwritten += 1;
                unflushed += 1;
                if unflushed >= MAX_UNFLUSHED {
                    // the tick never comes while batches are waiting
                    unflushed = 0;
                    projector.with(Engine::flush).await?;
                }
                if batches.is_empty() || unwritten >= MAX_UNWRITTEN {
                    unwritten = 0;
                    projector.with(write).await?;
                    projector.publish().await?;
                }
            }
            () = tokio::time::sleep(rest) => projector.with(write).await?,
            _ = ticks.tick() => {
                for (source, stream, _) in &positions {
                    if let Ok(tail) = projector.log().tail(stream).await {
                        projector.saw_tail(*source, tail);
                    }
                }
                projector.look_around().await?;
                projector.with(|engine| {
                    // what waited for a stream that has stopped since
                    engine.settle()?;
                    write(engine)?;
                    engine.flush()
                }).await?;
                projector.publish().await?;
            }
        }
    }
}
