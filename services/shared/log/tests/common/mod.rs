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
    options.desired_history = std::time::Duration::ZERO;
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

/// The frames of a file: where each begins and which offset it begins with.
pub fn frames(bytes: &[u8]) -> Vec<(usize, u64)> {
    let (mut frames, mut at) = (Vec::new(), 0);
    while let Some(header) = bytes.get(at..at + 48) {
        let payload = u32::from_le_bytes(header[8..12].try_into().unwrap());
        frames.push((at, u64::from_le_bytes(header[16..24].try_into().unwrap())));
        at += 48 + payload as usize;
    }
    assert_eq!(at, bytes.len());
    frames
}

/// Writes a frame's payload and both checksums anew, as somebody does who knows the format.
pub fn reseal(bytes: &mut [u8], at: usize, segment: u64) {
    let payload = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    let crc = crc32fast::hash(&bytes[at + 48..at + 48 + payload]);
    bytes[at + 40..at + 44].copy_from_slice(&crc.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[at..at + 44]);
    hasher.update(&segment.to_le_bytes());
    hasher.update(&(at as u64).to_le_bytes());
    bytes[at + 44..at + 48].copy_from_slice(&hasher.finalize().to_le_bytes());
}

/// The offset a segment is named by.
pub fn base(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}
