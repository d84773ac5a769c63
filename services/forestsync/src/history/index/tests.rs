use std::collections::BTreeMap;

use forestsync_log::{EmbeddedLog, EmbeddedOptions, NewRecord};
use forestsync_schemas::samples;
use tempfile::TempDir;

use super::*;

struct Lab {
    folder: TempDir,
    streams: BTreeSet<StreamName>,
}

impl Lab {
    fn new() -> Self {
        let names = ["changes.a.a", "desired.x", "decisions.x", "outcomes.x", "control.x"];
        let streams = names.map(|name| name.parse().unwrap()).into();
        Self { folder: tempfile::tempdir().unwrap(), streams }
    }

    fn log(&self, name: &str) -> Arc<dyn Log> {
        let mut options = EmbeddedOptions::default();
        (options.segment_bytes, options.compact_min_bytes) = (8_000, 0);
        options.desired_history = std::time::Duration::ZERO;
        Arc::new(EmbeddedLog::open_with(self.folder.path().join(name), options).unwrap())
    }

    async fn index(&self, log: &Arc<dyn Log>) -> Index {
        Index::open(Arc::clone(log), Some(&self.folder.path().join("index")), &self.streams).await.unwrap()
    }

    /// One round of all samples, in an append for each stream. What `salt` is becomes part of the records.
    async fn round(&self, log: &Arc<dyn Log>, salt: &str) {
        for stream in &self.streams {
            let values: Vec<(Option<String>, Vec<u8>)> = match stream.as_str().split('.').next().unwrap() {
                "changes" => samples::changes().iter().map(|r| (None, r.encode().unwrap())).collect(),
                "desired" => samples::desired().iter().map(|r| (Some(r.event.key()), r.encode().unwrap())).collect(),
                "decisions" => samples::decisions().iter().map(|r| (None, r.encode().unwrap())).collect(),
                "outcomes" => samples::outcomes().iter().map(|r| (None, r.encode().unwrap())).collect(),
                _ => samples::control().iter().map(|r| (None, r.encode().unwrap())).collect(),
            };
            let record = |(key, value): (Option<String>, Vec<u8>)| {
                let value = String::from_utf8(value).unwrap().replacen('{', &format!("{{\"salt\":\"{salt}\","), 1);
                NewRecord::new(key, value)
            };
            let mut writer = log.writer(stream).await.unwrap();
            writer.append(values.into_iter().map(record).collect()).await.unwrap();
        }
    }
}

/// What a look at every record finds.
async fn by_hand(log: &Arc<dyn Log>, stream: &StreamName) -> BTreeMap<Key, BTreeSet<u64>> {
    let mut found = BTreeMap::<Key, BTreeSet<u64>>::new();
    for record in whole(log, stream).await {
        glance(stream, &record, &mut |key, _| _ = found.entry(key).or_default().insert(record.offset));
    }
    found
}

/// All records of a stream. One poll may give fewer than there are.
async fn whole(log: &Arc<dyn Log>, stream: &StreamName) -> Vec<Record> {
    let (mut all, mut reader) = (Vec::new(), log.reader(stream, 0).await.unwrap());
    loop {
        let records = reader.poll(100).await.unwrap();
        if records.is_empty() {
            return all;
        }
        all.extend(records);
    }
}

/// The index leads to all records about a key that is no name, and to one at least of those with a name.
async fn agrees(index: &mut Index, log: &Arc<dyn Log>, streams: &BTreeSet<StreamName>) {
    for stream in streams {
        let expected = by_hand(log, stream).await;
        assert!(!expected.is_empty());
        for (key, offsets) in expected {
            let found = index.offsets(stream, &[key]).await.unwrap();
            let records = index.records(stream, &found).await.unwrap();
            let there: BTreeSet<u64> = records.iter().map(|record| record.offset).collect();
            assert!(there.is_subset(&offsets) && !there.is_empty(), "{stream} {key:?}: {there:?} of {offsets:?}");
            let mut is_name = false;
            glance(stream, &records[0], &mut |found, of| is_name |= found == key && of.is_some());
            assert!(is_name || there == offsets, "{stream} {key:?}: {there:?} of {offsets:?}");
        }
    }
}

#[tokio::test]
async fn each_question_finds_what_was_appended_before_it() {
    let lab = Lab::new();
    let log = lab.log("log");
    for round in 0..9 {
        lab.round(&log, &round.to_string()).await;
        let mut index = lab.index(&log).await;
        agrees(&mut index, &log, &lab.streams).await;
        // one that another process keeps open meanwhile goes on to answer
        let mut other = lab.index(&log).await;
        agrees(&mut other, &log, &lab.streams).await;
    }
    let runs = std::fs::read_dir(lab.folder.path().join("index/changes.a.a")).unwrap().count();
    assert!(runs <= 5, "merged as they come: {runs} files");
}

#[tokio::test]
async fn another_log_of_the_same_name_is_told_apart() {
    let lab = Lab::new();
    let (one, other) = (lab.log("one"), lab.log("other"));
    for log in [&one, &other] {
        lab.round(log, if Arc::ptr_eq(log, &one) { "one" } else { "two" }).await;
    }
    lab.round(&other, "more").await;
    for log in [&one, &other, &one] {
        let mut index = lab.index(log).await;
        agrees(&mut index, log, &lab.streams).await;
    }
    let foreign = Head::read(&lab.folder.path().join("index/changes.a.a")).unwrap();
    assert_eq!(foreign.end, one.tail(&"changes.a.a".parse().unwrap()).await.unwrap());
}

#[tokio::test]
async fn what_compaction_took_is_passed_over() {
    let lab = Lab::new();
    let log = lab.log("log");
    let stream: StreamName = "desired.x".parse().unwrap();
    for round in 0..4 {
        lab.round(&log, &round.to_string()).await;
        lab.index(&log).await;
    }
    let before = Head::read(&lab.folder.path().join("index/desired.x")).unwrap();
    let (end, first) = (log.tail(&stream).await.unwrap(), log.stream_info(&stream).await.unwrap().first_offset);
    assert!(first > 0, "a stream whose beginning is gone");
    let mut index = lab.index(&log).await;
    agrees(&mut index, &log, &lab.streams).await;
    assert_eq!((before.end, index.end(&stream)), (end, end));
    let all = (0..end).collect();
    let kept = index.records(&stream, &all).await.unwrap();
    assert_eq!(kept, whole(&log, &stream).await);
}

#[tokio::test]
async fn a_stream_that_was_cut_is_indexed_anew() {
    let lab = Lab::new();
    let log = lab.log("log");
    lab.round(&log, "1").await;
    lab.round(&log, "2").await;
    lab.index(&log).await;
    // the same beginning, as a copy that was not finished has it
    let copy = lab.log("copy");
    for stream in &lab.streams {
        let mut records = whole(&log, stream).await;
        records.truncate(records.len() / 2 + 1);
        copy.writer(stream).await.unwrap().restore(records).await.unwrap();
    }
    let mut index = lab.index(&copy).await;
    agrees(&mut index, &copy, &lab.streams).await;
}
