//! The past of a log, up to a moment that moves on: for trying out what would have happened.
//!
//! ```text
//!  base     | a | b | c | d | e | f         as it is
//!  past     | a | b | c |                   ends at a limit, which may be moved on
//!  own      | a || x | y |                  of some streams: the base's up to a place, then records of its own
//! ```
//!
//! A stream without a limit and without records of its own is read as the base has it. Only streams that have records of
//! their own can be written; nothing is ever written to the base. Groups are not for a past: what is tried out is not shared.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use crate::chain::LooseEnd;
use crate::fork::ForkedLog;
use crate::membership::{GroupStatus, Member, Membership, MembershipError};
use crate::{Log, LogReader, LogWriter, ReadError, Record, StreamInfo, StreamName, WriterError};

/// How often a reader that waits for more looks whether the limit was moved.
const LOOK: Duration = Duration::from_millis(20);

type Limits = Arc<RwLock<BTreeMap<StreamName, u64>>>;

/// See the [module](self).
#[derive(Debug)]
pub struct PastLog {
    base: Arc<dyn Log>,
    own: ForkedLog,
    limits: Limits,
}

impl PastLog {
    /// The past of `base`, with the records of its own in `folder`, which should be empty. `forks` names the streams that
    /// have some, each with the offset at which it leaves the base.
    pub fn new(
        base: Arc<dyn Log>,
        folder: impl AsRef<Path>,
        forks: BTreeMap<StreamName, u64>,
    ) -> Result<Self, ReadError> {
        let own = ForkedLog::at(Arc::clone(&base), folder, forks)?;
        Ok(Self { base, own, limits: Limits::default() })
    }

    /// Lets these streams end before these offsets from now on. A limit is moved on, never back.
    pub fn advance(&self, limits: &BTreeMap<StreamName, u64>) {
        let mut all = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        for (stream, limit) in limits {
            let limit = all.get(stream).copied().unwrap_or(0).max(*limit);
            all.insert(stream.clone(), limit);
        }
    }

    fn limit(&self, stream: &StreamName) -> u64 {
        limit_of(&self.limits, stream)
    }
}

fn limit_of(limits: &Limits, stream: &StreamName) -> u64 {
    limits.read().unwrap_or_else(PoisonError::into_inner).get(stream).copied().unwrap_or(u64::MAX)
}

#[async_trait]
impl Log for PastLog {
    async fn writer(&self, stream: &StreamName) -> Result<Box<dyn LogWriter>, WriterError> {
        if self.own.is_fork(stream).await {
            return self.own.writer(stream).await;
        }
        Err(WriterError::Refused { stream: stream.clone(), detail: "the past is not written".to_owned() })
    }

    async fn reader(&self, stream: &StreamName, from: u64) -> Result<Box<dyn LogReader>, ReadError> {
        if self.own.is_fork(stream).await {
            return self.own.reader(stream, from).await;
        }
        let base = self.base.reader(stream, from).await?;
        Ok(Box::new(Reader { base, ahead: VecDeque::new(), limits: Arc::clone(&self.limits) }))
    }

    async fn tail(&self, stream: &StreamName) -> Result<u64, ReadError> {
        if self.own.is_fork(stream).await {
            return self.own.tail(stream).await;
        }
        Ok(self.base.tail(stream).await?.min(self.limit(stream)))
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo, ReadError> {
        if self.own.is_fork(stream).await {
            return self.own.stream_info(stream).await;
        }
        let info = self.base.stream_info(stream).await?;
        let next_offset = info.next_offset.min(self.limit(stream));
        Ok(StreamInfo { next_offset, first_offset: info.first_offset.min(next_offset), ..info })
    }

    async fn loose_end(&self, stream: &StreamName) -> Result<Option<LooseEnd>, ReadError> {
        self.own.loose_end(stream).await
    }

    async fn create(&self, streams: &[StreamName]) -> Result<(), WriterError> {
        for stream in streams {
            if self.own.is_fork(stream).await {
                self.own.create(std::slice::from_ref(stream)).await?;
            }
        }
        Ok(())
    }

    async fn streams(&self) -> Result<Vec<StreamName>, ReadError> {
        self.own.streams().await
    }

    async fn join(&self, member: Member) -> Result<Box<dyn Membership>, MembershipError> {
        self.own.join(member).await
    }

    async fn group(&self, group: &str) -> Result<GroupStatus, ReadError> {
        self.base.group(group).await
    }
}

#[derive(Debug)]
struct Reader {
    base: Box<dyn LogReader>,
    /// Read already, and perhaps behind the limit.
    ahead: VecDeque<Record>,
    limits: Limits,
}

#[async_trait]
impl LogReader for Reader {
    fn stream(&self) -> &StreamName {
        self.base.stream()
    }

    fn position(&self) -> u64 {
        self.ahead.front().map_or_else(|| self.base.position(), |record| record.offset)
    }

    async fn next(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        loop {
            let records = self.poll(max.max(1)).await?;
            if !records.is_empty() {
                return Ok(records);
            }
            sleep(LOOK).await;
        }
    }

    async fn poll(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        let limit = limit_of(&self.limits, self.base.stream());
        if self.ahead.is_empty() && self.base.position() < limit {
            self.ahead.extend(self.base.poll(max).await?);
        }
        let before = self.ahead.partition_point(|record| record.offset < limit);
        Ok(self.ahead.drain(..before.min(max)).collect())
    }
}
