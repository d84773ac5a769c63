//! A log that goes on from where another one was, without touching it: for trying out what would happen.
//!
//! ```text
//!  base     | a | b | c |  d | e         grows on, and the fork does not see it
//!  fork     | a | b | c || x | y | z     its own records, in a folder of its own
//! ```
//!
//! A stream leaves its base the first time anybody looks at it through the fork. Offsets go on as if there were one log.
//! Every engine can be the base; nothing is ever written to it. Groups are not for forks: what is tried out is not shared.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use forestsync_runtime::clock;
use tokio::sync::Mutex;

use crate::chain::{ChainHash, Link, LooseEnd};
use crate::membership::{GroupStatus, Member, Membership, MembershipError};
use crate::{
    AppendError, EmbeddedLog, Log, LogReader, LogWriter, NewRecord, ReadError, Record, StreamInfo, StreamName,
    WriterError,
};

/// See the [module](self).
#[derive(Debug)]
pub struct ForkedLog {
    base: Arc<dyn Log>,
    own: EmbeddedLog,
    /// Where each stream left its base.
    forks: Mutex<HashMap<StreamName, u64>>,
}

impl ForkedLog {
    /// A fork of `base` with its own records in `folder`, which should be empty.
    pub fn new(base: Arc<dyn Log>, folder: impl AsRef<Path>) -> Result<Self, ReadError> {
        Ok(Self { base, own: EmbeddedLog::open(folder.as_ref())?, forks: Mutex::new(HashMap::new()) })
    }

    /// The same, where these streams leave the base before its end.
    pub(crate) fn at(
        base: Arc<dyn Log>,
        folder: impl AsRef<Path>,
        forks: impl IntoIterator<Item = (StreamName, u64)>,
    ) -> Result<Self, ReadError> {
        let forks = Mutex::new(forks.into_iter().collect());
        Ok(Self { base, own: EmbeddedLog::open(folder.as_ref())?, forks })
    }

    /// Whether it is known already where the stream leaves its base.
    pub(crate) async fn is_fork(&self, stream: &StreamName) -> bool {
        self.forks.lock().await.contains_key(stream)
    }

    /// The offset at which the stream left its base.
    pub async fn fork_of(&self, stream: &StreamName) -> Result<u64, ReadError> {
        let mut forks = self.forks.lock().await;
        if let Some(at) = forks.get(stream) {
            return Ok(*at);
        }
        let at = self.base.tail(stream).await?;
        forks.insert(stream.clone(), at);
        Ok(at)
    }

    /// The chain's value at the last record before `next`.
    async fn chain_end(&self, stream: &StreamName, next: u64) -> Result<ChainHash, ReadError> {
        let Some(last) = next.checked_sub(1) else { return Ok(ChainHash::BEGIN) };
        let records = self.reader(stream, last).await?.poll(1).await?;
        Ok(records.first().and_then(|record| record.link).map_or(ChainHash::BEGIN, |link| link.own))
    }
}

/// A base that cannot be read is no place to go on from.
fn unreadable(stream: &StreamName, error: ReadError) -> WriterError {
    match error {
        ReadError::Io { stream, source } => WriterError::Io { stream, source },
        ReadError::Damaged { stream, place, detail } => WriterError::Damaged { stream, place, detail },
        other @ ReadError::List { .. } => WriterError::Refused { stream: stream.clone(), detail: other.to_string() },
    }
}

#[async_trait]
impl Log for ForkedLog {
    async fn writer(&self, stream: &StreamName) -> Result<Box<dyn LogWriter>, WriterError> {
        let fork = self.fork_of(stream).await.map_err(|error| unreadable(stream, error))?;
        let own = self.own.writer(stream).await?;
        let end = self.chain_end(stream, fork + own.next_offset()).await.map_err(|error| unreadable(stream, error))?;
        Ok(Box::new(Writer { own, fork, end }))
    }

    async fn reader(&self, stream: &StreamName, from: u64) -> Result<Box<dyn LogReader>, ReadError> {
        let fork = self.fork_of(stream).await?;
        let base = if from < fork { Some(self.base.reader(stream, from).await?) } else { None };
        let own = self.own.reader(stream, from.saturating_sub(fork)).await?;
        Ok(Box::new(Reader { base, own, fork }))
    }

    async fn tail(&self, stream: &StreamName) -> Result<u64, ReadError> {
        Ok(self.fork_of(stream).await? + self.own.tail(stream).await?)
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo, ReadError> {
        let fork = self.fork_of(stream).await?;
        let (base, own) = (self.base.stream_info(stream).await?, self.own.stream_info(stream).await?);
        let first_offset = if base.first_offset < fork { base.first_offset } else { fork + own.first_offset };
        Ok(StreamInfo {
            first_offset,
            next_offset: fork + own.next_offset,
            bytes: own.bytes,
            last_append: own.last_append.or(base.last_append),
        })
    }

    async fn loose_end(&self, stream: &StreamName) -> Result<Option<LooseEnd>, ReadError> {
        self.own.loose_end(stream).await
    }

    async fn create(&self, streams: &[StreamName]) -> Result<(), WriterError> {
        for stream in streams {
            self.fork_of(stream).await.map_err(|error| unreadable(stream, error))?;
        }
        self.own.create(streams).await
    }

    async fn streams(&self) -> Result<Vec<StreamName>, ReadError> {
        let mut all = self.base.streams().await?;
        all.extend(self.own.streams().await?);
        all.sort();
        all.dedup();
        Ok(all)
    }

    async fn join(&self, member: Member) -> Result<Box<dyn Membership>, MembershipError> {
        let detail = "a fork of a log has no groups".to_owned();
        Err(MembershipError::Refused { group: member.group, detail })
    }

    async fn group(&self, group: &str) -> Result<GroupStatus, ReadError> {
        self.base.group(group).await
    }
}

#[derive(Debug)]
struct Writer {
    own: Box<dyn LogWriter>,
    fork: u64,
    /// The chain's value at the last record. A link is about the offset that readers of the fork see, so it is made here.
    end: ChainHash,
}

#[async_trait]
impl LogWriter for Writer {
    fn stream(&self) -> &StreamName {
        self.own.stream()
    }

    fn next_offset(&self) -> u64 {
        self.fork + self.own.next_offset()
    }

    async fn append(&mut self, records: Vec<NewRecord>) -> Result<u64, AppendError> {
        let first = self.next_offset();
        let timestamp = clock::now();
        let (mut offset, mut end, mut placed) = (first, self.end, Vec::with_capacity(records.len()));
        for NewRecord { key, value, headers } in records {
            let mut record = Record { offset, timestamp, key, value, headers, link: None };
            let link = Link::of_record(end, self.own.stream(), &record);
            record.link = Some(link);
            record.offset -= self.fork;
            placed.push(record);
            (offset, end) = (offset + 1, link.own);
        }
        self.own.restore(placed).await?;
        self.end = end;
        Ok(first)
    }

    async fn restore(&mut self, mut records: Vec<Record>) -> Result<(), AppendError> {
        let expected = self.next_offset();
        for record in &mut records {
            record.offset = record.offset.checked_sub(self.fork).ok_or_else(|| AppendError::Misplaced {
                stream: self.own.stream().clone(),
                offset: record.offset,
                expected,
            })?;
        }
        let end = records.last().map(|record| record.link.map_or(ChainHash::BEGIN, |link| link.own));
        self.own.restore(records).await.map_err(|error| match error {
            AppendError::Misplaced { stream, offset, expected } => {
                AppendError::Misplaced { stream, offset: offset + self.fork, expected: expected + self.fork }
            }
            other => other,
        })?;
        self.end = end.unwrap_or(self.end);
        Ok(())
    }
}

#[derive(Debug)]
struct Reader {
    /// Until everything before the fork was read.
    base: Option<Box<dyn LogReader>>,
    own: Box<dyn LogReader>,
    fork: u64,
}

impl Reader {
    /// Records from before the fork; none once there are no more.
    async fn of_base(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        let Some(base) = &mut self.base else { return Ok(Vec::new()) };
        let mut records = if base.position() < self.fork { base.poll(max).await? } else { Vec::new() };
        records.retain(|record| record.offset < self.fork);
        if records.is_empty() && max > 0 {
            self.base = None;
        }
        Ok(records)
    }

    fn moved(&self, mut records: Vec<Record>) -> Vec<Record> {
        for record in &mut records {
            record.offset += self.fork;
        }
        records
    }
}

#[async_trait]
impl LogReader for Reader {
    fn stream(&self) -> &StreamName {
        self.own.stream()
    }

    fn position(&self) -> u64 {
        match &self.base {
            Some(base) => base.position().min(self.fork),
            None => self.fork + self.own.position(),
        }
    }

    async fn next(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        let before = self.of_base(max).await?;
        if !before.is_empty() {
            return Ok(before);
        }
        let records = self.own.next(max).await?;
        Ok(self.moved(records))
    }

    async fn poll(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        let before = self.of_base(max).await?;
        if !before.is_empty() {
            return Ok(before);
        }
        let records = self.own.poll(max).await?;
        Ok(self.moved(records))
    }
}
