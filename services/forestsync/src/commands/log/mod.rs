//! `forestsync log`: the event log as a person meets it, on whatever engine.
//!
//! - [`list`], [`tail`] and [`digest`] read beside whoever writes, and hold a bounded number of records at a time.
//! - [`copy`] writes: it takes what keeps others from writing either log, keeps every offset, never touches a stream
//!   that tells anything else than the source, and says that it is done only after reading both sides back.

pub mod compact;
pub mod compare;
pub mod copy;
pub mod digest;
pub mod filter;
mod lag;
pub mod list;
pub mod place;
pub mod tail;

use std::collections::VecDeque;

use anyhow::Result;
use forestsync_log::{Log, LogReader, Record, StreamName};
use forestsync_schemas::streams;

use crate::cli::LogCommand;
use crate::exit::{Exit, UsageError};

/// Records read at a time. Each may have [`MAX_RECORD_BYTES`](forestsync_log::MAX_RECORD_BYTES).
const BATCH: usize = 64;

/// Does what the command line says.
pub async fn log(command: LogCommand) -> Result<Exit> {
    match command {
        LogCommand::List(args) => list::list(args).await,
        LogCommand::Tail(args) => tail::tail(args).await,
        LogCommand::Copy(args) => Box::pin(copy::copy(args)).await,
        LogCommand::Compact(args) => compact::compact(args).await,
        LogCommand::Digest(args) => digest::digest(args).await,
    }
}

/// The records of a part of a stream, one by one.
#[derive(Debug)]
pub struct Walk {
    reader: Box<dyn LogReader>,
    held: VecDeque<Record>,
    end: u64,
}

impl Walk {
    /// The records from offset `from` on that stand before `end`.
    pub async fn new(log: &dyn Log, stream: &StreamName, from: u64, end: u64) -> Result<Self> {
        Ok(Self { reader: log.reader(stream, from).await?, held: VecDeque::new(), end })
    }

    /// The next one, if there is one. Does not wait for records to be appended.
    pub async fn next(&mut self) -> Result<Option<Record>> {
        if self.held.is_empty() && self.reader.position() < self.end {
            self.held.extend(self.reader.poll(BATCH).await?);
        }
        Ok(self.held.pop_front().filter(|record| record.offset < self.end))
    }
}

/// The streams of ours that there are: a shared cluster holds other topics too.
pub async fn our_streams(log: &dyn Log) -> Result<Vec<StreamName>> {
    let mut streams = log.streams().await?;
    streams.retain(|stream| streams::is_ours(stream.as_str()));
    Ok(streams)
}

/// What to say about a stream that is not there.
pub fn no_such_stream(stream: &str) -> anyhow::Error {
    let hint = "see forestsync log list for the streams there are";
    UsageError::new(format!("there is no stream {stream}"), hint).into()
}
