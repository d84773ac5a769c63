//! What the tests of the embedded engine share.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use forestsync_log::{EmbeddedLog, EmbeddedOptions, Log, NewRecord, ReadError, Record, StreamName};

pub fn stream(name: &str) -> StreamName {
    name.parse().unwrap()
}

pub fn small_segments(dir: &Path, segment_bytes: u64) -> EmbeddedLog {
    let mut options = EmbeddedOptions::default();
    options.segment_bytes = segment_bytes;
    options.compact_min_bytes = 0;
    EmbeddedLog::open_with(dir, options).unwrap()
}

/// Everything that is there now, and the error that ended it.
pub async fn read_all(log: &dyn Log, stream: &StreamName) -> (Vec<Record>, Option<ReadError>) {
    let mut reader = log.reader(stream, 0).await.unwrap();
    let mut records = Vec::new();
    loop {
        match reader.poll(7).await {
            Ok(some) if some.is_empty() => return (records, None),
            Ok(some) => records.extend(some),
            Err(error) => return (records, Some(error)),
        }
    }
}

pub fn segments(dir: &Path, stream: &StreamName) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join(stream.as_str())).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    paths.sort();
    paths
}

/// Three records of an append, told apart by `append`.
pub fn three(append: u64) -> Vec<NewRecord> {
    (0..3).map(|part| NewRecord::new(Some(format!("key {part}")), format!("append {append} part {part}"))).collect()
}
