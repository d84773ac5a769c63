//! A fork passes the suite, goes on from its base, and leaves it alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use forestsync_log::chain;
use forestsync_log::conformance::{Engine, Failure, SecondWriter, run_all};
use forestsync_log::{AppendError, EmbeddedLog, ForkedLog, Log, NewRecord, PastLog, Record, StreamName, WriterError};

struct Fork {
    base: Arc<dyn Log>,
    dir: PathBuf,
    others: AtomicUsize,
}

#[async_trait]
impl Engine for Fork {
    async fn open(&self) -> Result<Arc<dyn Log>, Failure> {
        Ok(Arc::new(ForkedLog::new(Arc::clone(&self.base), &self.dir)?))
    }

    async fn open_other(&self) -> Result<Arc<dyn Log>, Failure> {
        let name = format!("other-{}", self.others.fetch_add(1, Ordering::Relaxed));
        let base = Arc::new(EmbeddedLog::open(self.dir.join("empty"))?);
        Ok(Arc::new(ForkedLog::new(base, self.dir.with_file_name(name))?))
    }

    fn second_writer(&self) -> SecondWriter {
        SecondWriter::Refused
    }

    async fn compact(&self, _stream: &StreamName) -> Result<bool, Failure> {
        Ok(false)
    }

    fn run(&self) -> &'static str {
        "run"
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_over_an_empty_base() {
    let dir = tempfile::tempdir().unwrap();
    let base = Arc::new(EmbeddedLog::open(dir.path().join("base")).unwrap());
    run_all(&Fork { base, dir: dir.path().join("own"), others: AtomicUsize::new(0) }).await.unwrap();
}

fn numbered(numbers: std::ops::Range<u8>) -> Vec<NewRecord> {
    numbers.map(|n| NewRecord::new(Some(vec![n]), vec![n; 3])).collect()
}

async fn all(log: &dyn Log, stream: &StreamName, from: u64) -> Vec<(u64, u8)> {
    let mut reader = log.reader(stream, from).await.unwrap();
    let mut found: Vec<Record> = Vec::new();
    loop {
        // pages that do not end where the base does
        let page = reader.poll(2).await.unwrap();
        if page.is_empty() {
            assert_eq!(reader.position(), log.tail(stream).await.unwrap());
            return found.into_iter().map(|record| (record.offset, record.value[0])).collect();
        }
        found.extend(page);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_from_its_base_and_leaves_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let base: Arc<dyn Log> = Arc::new(EmbeddedLog::open(dir.path().join("base")).unwrap());
    let (stream, other): (StreamName, StreamName) = ("outcomes.c".parse().unwrap(), "changes.a.b".parse().unwrap());
    // its writer lives on: a fork needs none of the base
    let mut writer = base.writer(&stream).await.unwrap();
    writer.append(numbered(0..3)).await.unwrap();
    let fork = ForkedLog::new(Arc::clone(&base), dir.path().join("own")).unwrap();
    let mut waiting = fork.reader(&stream, 3).await.unwrap();
    let mut own = fork.writer(&stream).await.unwrap();
    assert_eq!((own.next_offset(), own.append(numbered(10..12)).await.unwrap()), (3, 3));
    assert_eq!(waiting.next(1).await.unwrap()[0].offset, 3);
    // what comes into the base later is not seen
    writer.append(numbered(3..5)).await.unwrap();
    let expected = [(0, 0), (1, 1), (2, 2), (3, 10), (4, 11)];
    for from in 0..=5 {
        assert_eq!(all(&fork, &stream, from).await, expected[from as usize..], "from {from}");
    }
    assert_eq!(all(base.as_ref(), &stream, 0).await, [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
    // the chain goes on from that of the base, which has gone on too
    for log in [&fork as &dyn Log, base.as_ref()] {
        let verdict = chain::verify(log, &stream, &[], &mut |_, _| ()).await.unwrap();
        assert!(verdict.broken.is_none() && verdict.proved == 5, "{verdict:?}");
    }
    let info = fork.stream_info(&stream).await.unwrap();
    assert_eq!((info.first_offset, info.next_offset), (0, 5));

    let record = |offset| Record {
        offset,
        timestamp: jiff::Timestamp::UNIX_EPOCH,
        key: None,
        value: vec![20].into(),
        headers: Vec::new(),
        link: None,
    };
    for wrong in [1, 7] {
        let error = own.restore(vec![record(wrong)]).await.unwrap_err();
        assert!(matches!(error, AppendError::Misplaced { offset, expected: 5, .. } if offset == wrong), "{error}");
    }
    own.restore(vec![record(5)]).await.unwrap();
    assert_eq!(all(&fork, &stream, 5).await, [(5, 20)]);

    fork.create(std::slice::from_ref(&other)).await.unwrap();
    assert_eq!(fork.streams().await.unwrap(), [other, stream.clone()]);
    assert_eq!(base.streams().await.unwrap(), [stream]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_ends_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let base: Arc<dyn Log> = Arc::new(EmbeddedLog::open(dir.path().join("base")).unwrap());
    let [changes, decisions, control]: [StreamName; 3] =
        ["changes.a.b", "decisions.c", "control.d"].map(|name| name.parse().unwrap());
    for stream in [&changes, &decisions, &control] {
        base.writer(stream).await.unwrap().append(numbered(0..9)).await.unwrap();
    }
    let forks = BTreeMap::from([(decisions.clone(), 4)]);
    let past = PastLog::new(Arc::clone(&base), dir.path().join("own"), forks).unwrap();
    let until = |limit: u64| BTreeMap::from([(changes.clone(), limit)]);
    past.advance(&until(3));
    let mut follows = past.reader(&changes, 1).await.unwrap();
    for limit in [3, 5, 4, 8] {
        past.advance(&until(limit));
        // never back
        let limit = limit.max(if limit == 4 { 5 } else { 0 });
        assert_eq!(past.tail(&changes).await.unwrap(), limit);
        assert_eq!(past.stream_info(&changes).await.unwrap().next_offset, limit);
        let mut seen = Vec::new();
        while follows.position() < limit {
            seen.extend(follows.next(2).await.unwrap().into_iter().map(|record| record.offset));
        }
        assert!(seen.last().is_none_or(|last| *last == limit - 1), "{seen:?} up to {limit}");
        assert!(follows.poll(2).await.unwrap().is_empty());
        assert_eq!(all(&past, &changes, 0).await.len() as u64, limit);
    }
    assert!(matches!(past.writer(&changes).await.unwrap_err(), WriterError::Refused { .. }));
    // what has records of its own leaves the base where it is told, and the rest is as it is
    let mut own = past.writer(&decisions).await.unwrap();
    assert_eq!(own.append(numbered(20..22)).await.unwrap(), 4);
    assert_eq!(all(&past, &decisions, 3).await, [(3, 3), (4, 20), (5, 21)]);
    assert_eq!(all(&past, &control, 0).await.len(), 9);
    assert_eq!(all(base.as_ref(), &decisions, 0).await.len(), 9);
}
