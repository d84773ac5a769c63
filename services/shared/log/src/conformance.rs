//! The suite that every engine passes, one function per expectation.
//!
//! An engine's tests implement [`Engine`] and call [`run_all`], or the functions one by one. Nothing here knows how an
//! engine works: what is expected stands at the top of the crate. Every wait is for a condition, with
//! [`Engine::patience`] as its upper end.
//!
//! ```text
//!  Engine::open()  -> handle A --writer--> stream <--reader-- handle B <- Engine::open()
//! ```

mod chaining;
mod copying;
mod ownership;
mod reading;
mod writing;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{AppendError, Log, LogReader, NewRecord, ReadError, Record, StreamName, StreamNameError, WriterError};

pub use chaining::{
    a_chain_may_begin_later, changes_of_the_past_show, compaction_keeps_links, gaps_on_purpose_are_carried,
    records_are_chained,
};
pub use copying::{moments_are_found, restored_records_keep_their_places, streams_are_made_empty};
pub use ownership::{appends_survive_reopening, compaction_keeps_the_last, one_writer, streams_are_apart};
pub use reading::{
    follows_the_tail, marks_lead_back, next_is_cancel_safe, poll_stops_at_the_tail, starts_anywhere,
    unknown_stream_is_empty, waits_beyond_the_tail,
};
pub use writing::{
    appends_are_atomic, empty_append_is_none, everything_round_trips, offsets_are_contiguous, too_large_is_refused,
};

/// What happens when a second writer opens a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecondWriter {
    /// It is refused with [`WriterError::Busy`] while the first lives.
    Refused,
    /// It gets the stream, and the first one's next append fails with [`AppendError::Fenced`].
    Fences,
}

/// An engine under test.
#[async_trait]
pub trait Engine: Send + Sync {
    /// A new handle on the same data, as another process would have.
    async fn open(&self) -> Result<Arc<dyn Log>, Failure>;

    /// An empty log of the same kind, another one each time.
    async fn open_other(&self) -> Result<Arc<dyn Log>, Failure>;

    /// What a second writer meets.
    fn second_writer(&self) -> SecondWriter;

    /// Compacts a stream that nobody writes, now; false where the engine does that in its own time only.
    async fn compact(&self, stream: &StreamName) -> Result<bool, Failure>;

    /// What streams of this run end with, so that runs can share a broker. Legal in a [`StreamName`].
    fn run(&self) -> &str;

    /// How long an expectation may take before it counts as not met.
    fn patience(&self) -> Duration {
        Duration::from_mins(1)
    }
}

/// Why an expectation was not met.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Something else was observed.
    #[error("{0}")]
    Unmet(String),
    /// It did not come to pass in time.
    #[error("it did not come to pass within {0:?}")]
    Late(Duration),
    /// The engine could not be set up.
    #[error("the engine cannot be set up: {0}")]
    SetUp(String),
    /// A writer was refused where one is due.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// An append failed that is due to succeed.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The run's name is not legal in a stream name.
    #[error(transparent)]
    Name(#[from] StreamNameError),
}

/// The first expectation that was not met.
#[derive(Debug, thiserror::Error)]
#[error("the engine does not meet `{expectation}`: {failure}")]
pub struct Failed {
    /// The name of the function.
    pub expectation: &'static str,
    /// What happened.
    pub failure: Failure,
}

/// An expectation as it is run.
type Run<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// Runs everything, one after the other, up to the first expectation that is not met.
pub async fn run_all(engine: &dyn Engine) -> Result<(), Failed> {
    let runs: [(&'static str, Run<'_>); 24] = [
        ("offsets_are_contiguous", Box::pin(offsets_are_contiguous(engine))),
        ("everything_round_trips", Box::pin(everything_round_trips(engine))),
        ("empty_append_is_none", Box::pin(empty_append_is_none(engine))),
        ("too_large_is_refused", Box::pin(too_large_is_refused(engine))),
        ("appends_are_atomic", Box::pin(appends_are_atomic(engine))),
        ("unknown_stream_is_empty", Box::pin(unknown_stream_is_empty(engine))),
        ("starts_anywhere", Box::pin(starts_anywhere(engine))),
        ("marks_lead_back", Box::pin(marks_lead_back(engine))),
        ("waits_beyond_the_tail", Box::pin(waits_beyond_the_tail(engine))),
        ("poll_stops_at_the_tail", Box::pin(poll_stops_at_the_tail(engine))),
        ("follows_the_tail", Box::pin(follows_the_tail(engine))),
        ("next_is_cancel_safe", Box::pin(next_is_cancel_safe(engine))),
        ("one_writer", Box::pin(one_writer(engine))),
        ("appends_survive_reopening", Box::pin(appends_survive_reopening(engine))),
        ("streams_are_apart", Box::pin(streams_are_apart(engine))),
        ("streams_are_made_empty", Box::pin(streams_are_made_empty(engine))),
        ("restored_records_keep_their_places", Box::pin(restored_records_keep_their_places(engine))),
        ("moments_are_found", Box::pin(moments_are_found(engine))),
        ("compaction_keeps_the_last", Box::pin(compaction_keeps_the_last(engine))),
        ("records_are_chained", Box::pin(records_are_chained(engine))),
        ("a_chain_may_begin_later", Box::pin(a_chain_may_begin_later(engine))),
        ("changes_of_the_past_show", Box::pin(changes_of_the_past_show(engine))),
        ("gaps_on_purpose_are_carried", Box::pin(gaps_on_purpose_are_carried(engine))),
        ("compaction_keeps_links", Box::pin(compaction_keeps_links(engine))),
    ];
    for (expectation, run) in runs {
        let patience = engine.patience();
        let result = tokio::time::timeout(patience, run).await.unwrap_or(Err(Failure::Late(patience)));
        result.map_err(|failure| Failed { expectation, failure })?;
    }
    Ok(())
}

/// Fails with what was observed unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($observed:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Failure::Unmet(format!($($observed)+)));
        }
    };
}
use ensure;

/// The stream of an expectation.
fn stream(engine: &dyn Engine, kind: &str, expectation: &str) -> Result<StreamName, Failure> {
    Ok(format!("{kind}.{}.{}", expectation.replace('_', "-"), engine.run()).parse()?)
}

/// A record whose value is a number and whose key tells nothing.
fn numbered(number: u64) -> NewRecord {
    NewRecord::new(None::<Bytes>, number.to_string())
}

fn numbers(range: std::ops::Range<u64>) -> Vec<NewRecord> {
    range.map(numbered).collect()
}

/// The records hold their own offsets as numbers and follow one another from `from` on.
fn check_numbered(records: &[Record], from: u64) -> Result<(), Failure> {
    for (record, offset) in records.iter().zip(from..) {
        let whole = record.offset == offset && record.value == offset.to_string();
        ensure!(whole, "record {offset} was expected and {} read, value {:?}", record.offset, record.value);
    }
    Ok(())
}

/// Reads until `count` records are there, waiting for them.
async fn read(reader: &mut dyn LogReader, count: usize, max: usize) -> Result<Vec<Record>, Failure> {
    let mut records = Vec::new();
    while records.len() < count {
        let some = reader.next(max).await?;
        ensure!(!some.is_empty(), "next returned nothing");
        ensure!(some.len() <= max, "next({max}) returned {} records", some.len());
        records.extend(some);
    }
    ensure!(records.len() == count, "{} records were read and {count} written", records.len());
    Ok(records)
}

/// Reads what is there now.
async fn read_to_tail(reader: &mut dyn LogReader, max: usize) -> Result<Vec<Record>, Failure> {
    let mut records = Vec::new();
    loop {
        let some = reader.poll(max).await?;
        ensure!(some.len() <= max, "poll({max}) returned {} records", some.len());
        if some.is_empty() {
            return Ok(records);
        }
        records.extend(some);
    }
}
