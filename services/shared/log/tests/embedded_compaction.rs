//! Compaction, broken off at each of its steps.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use common::{read_all, segments, small_segments, stream};
use forestsync_log::{EmbeddedLog, EmbeddedOptions, Log, NewRecord, Record, StreamName};

const SEGMENT_BYTES: u64 = 2000;

async fn written(dir: &Path, stream: &StreamName) -> u64 {
    let log = small_segments(dir, SEGMENT_BYTES);
    let mut writer = log.writer(stream).await.unwrap();
    for round in 0..12_u8 {
        let keys = (0..20_u8).filter(|key| round == 0 || key % 3 == round % 3);
        writer.append(keys.map(|key| NewRecord::new(Some(vec![key]), vec![round; 100])).collect()).await.unwrap();
    }
    writer.next_offset()
}

fn last_of_each(records: &[Record]) -> BTreeMap<Option<Bytes>, (u64, Bytes)> {
    records.iter().map(|record| (record.key.clone(), (record.offset, record.value.clone()))).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Any number of segments may have been replaced when the process died, with a half-written file beside them.
#[tokio::test]
async fn any_step_may_be_the_last() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("desired.steps"));
    let folder = |name: &str| dir.path().join(name).join(stream.as_str());
    let tail = written(&dir.path().join("old"), &stream).await;
    let before = read_all(&small_segments(&dir.path().join("old"), SEGMENT_BYTES), &stream).await.0;
    copy(&folder("old"), &folder("new"));
    drop(small_segments(&dir.path().join("new"), SEGMENT_BYTES).writer(&stream).await.unwrap());
    let old = segments(&dir.path().join("old"), &stream);
    assert!(old.len() > 4);
    for done in 0..=old.len() {
        let name = format!("step {done}");
        let at = dir.path().join(&name);
        copy(&folder("old"), &folder(&name));
        fs::write(folder(&name).join(format!("{tail:020}.seg")), b"").unwrap();
        for path in &old[..done] {
            let file = path.file_name().unwrap();
            let (new, target) = (folder("new").join(file), folder(&name).join(file));
            if new.exists() { fs::copy(new, target).map(drop) } else { fs::remove_file(target) }.unwrap();
        }
        if let Some(next) = old.get(done) {
            let unfinished = folder(&name).join(next.file_name().unwrap()).with_extension("seg.tmp");
            fs::write(unfinished, b"FSYL and so on").unwrap();
        }
        let log = small_segments(&at, SEGMENT_BYTES);
        for round in 0..2 {
            let (records, error) = read_all(&log, &stream).await;
            assert!(error.is_none(), "{name}: {error:?}");
            assert_eq!(last_of_each(&records), last_of_each(&before), "{name}");
            assert_eq!(log.tail(&stream).await.unwrap(), tail, "{name}");
            assert!(round == 0 || records.len() < before.len() / 2, "{name}: {} records stayed", records.len());
            drop(log.writer(&stream).await.unwrap());
        }
        assert!(fs::read_dir(folder(&name)).unwrap().all(|e| e.unwrap().path().extension().is_none_or(|e| e != "tmp")));
    }
}

#[tokio::test]
async fn what_is_mostly_alive_is_left_alone() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("desired.alive"));
    let log = small_segments(dir.path(), SEGMENT_BYTES);
    let mut writer = log.writer(&stream).await.unwrap();
    for key in (0..100_u8).chain(0..90) {
        writer.append(vec![NewRecord::new(Some(vec![key]), vec![0; 100])]).await.unwrap();
    }
    drop(writer);
    drop(log.writer(&stream).await.unwrap());
    assert_eq!(read_all(&log, &stream).await.0.len(), 190);
}

#[tokio::test]
async fn a_listing_tells_size_and_ends() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("desired.info"));
    let log = small_segments(dir.path(), SEGMENT_BYTES);
    let none = log.stream_info(&stream).await.unwrap();
    assert_eq!((none.first_offset, none.next_offset, none.bytes, none.last_append), (0, 0, Some(0), None));
    let tail = written(dir.path(), &stream).await;
    let before = log.stream_info(&stream).await.unwrap();
    assert_eq!((before.first_offset, before.next_offset), (0, tail));
    let last = read_all(&log, &stream).await.0.last().unwrap().timestamp;
    assert_eq!(before.last_append, Some(last));
    let _writer = log.writer(&stream).await.unwrap();
    let after = log.stream_info(&stream).await.unwrap();
    assert_eq!((after.next_offset, after.last_append), (tail, Some(last)), "the last segment is empty now");
    let (bytes, stayed) = (before.bytes.unwrap(), after.bytes.unwrap());
    assert!(stayed < bytes / 2, "{stayed} of {bytes} bytes stayed");
    assert!(after.first_offset > 0);
}

/// What was superseded stays as long as configured, and goes when somebody asks for it.
#[tokio::test]
async fn superseded_records_stay_a_while() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("desired.history"));
    let tail = written(dir.path(), &stream).await;
    let mut options = EmbeddedOptions::default();
    (options.segment_bytes, options.compact_min_bytes) = (SEGMENT_BYTES, 0);
    let log = EmbeddedLog::open_with(dir.path(), options).unwrap();
    let before = read_all(&log, &stream).await.0;
    drop(log.writer(&stream).await.unwrap());
    assert_eq!(read_all(&log, &stream).await.0, before, "all of it is young");
    let compacted = log.compact_before(&stream, before[0].timestamp).await.unwrap();
    assert_eq!((compacted.records, read_all(&log, &stream).await.0.len()), (0, before.len()));
    let later = jiff::Timestamp::MAX;
    let compacted = log.compact_before(&stream, later).await.unwrap();
    let after = read_all(&log, &stream).await.0;
    assert_eq!(after.len(), 20, "one of each key");
    assert_eq!(compacted.records, (before.len() - after.len()) as u64);
    assert!(compacted.bytes_after < compacted.bytes_before);
    assert_eq!(last_of_each(&after), last_of_each(&before));
    assert_eq!(log.tail(&stream).await.unwrap(), tail);
}
