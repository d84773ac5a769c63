//! `forestsync log digest`, and the digest itself.
//!
//! A BLAKE3 over the stream's records in their order, each framed so that no two lists of records run together:
//!
//! ```text
//!  offset u64 | time in ms i64 | has key u8 | key | value | count of headers u64 | name | value | ...  | link | next offset u64
//! ```
//!
//! A record without a link has nothing in its place, so a log of an earlier version has the digest it had then. Numbers are
//! big-endian, and every text is preceded by its length as u64. Engines compact a stream when they see fit,
//! so of a compacted stream only what no later record of the same key supersedes counts: that is what the stream says.

use std::collections::HashMap;

use anyhow::Result;
use forestsync_log::{Log, Record, StreamName};
use serde::Serialize;

use super::{Walk, no_such_stream, our_streams};
use crate::cli::DigestArgs;
use crate::exit::Exit;
use crate::progress::Counter;
use crate::{config, output};

/// The digest of a stream; one element of the JSON array of `log digest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamDigest {
    /// The stream.
    pub stream: String,
    /// Records that count.
    pub records: u64,
    /// The offset the next record will get.
    pub next_offset: u64,
    /// The digest, in hexadecimal digits.
    pub digest: String,
}

/// Prints the digests of all streams, or of one.
pub async fn digest(args: DigestArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log = settings.existing_log()?;
    let mut streams = our_streams(log.as_ref()).await?;
    if let Some(wanted) = &args.stream {
        streams.retain(|stream| stream.as_str() == wanted);
        if streams.is_empty() {
            return Err(no_such_stream(wanted));
        }
    }
    let mut lines = Vec::new();
    for stream in &streams {
        let tail = log.tail(stream).await?;
        let mut counter = Counter::new(format!("reading {stream}"), tail);
        lines.push(of(log.as_ref(), stream, tail, &mut counter).await?);
    }
    if args.json {
        output::json(&lines)?;
    } else {
        let mut table = output::table(&["stream", "next", "records", "digest"]);
        for line in &lines {
            table.add_row([&line.stream, &line.next_offset.to_string(), &line.records.to_string(), &line.digest]);
        }
        output::text(&output::render(&table))?;
    }
    Ok(Exit::Done)
}

/// The digest of a stream up to offset `end`.
pub async fn of(log: &dyn Log, stream: &StreamName, end: u64, counter: &mut Counter) -> Result<StreamDigest> {
    let latest = if stream.is_compacted() { Some(Latest::gather(log, stream, end).await?) } else { None };
    let mut walk = Walk::new(log, stream, 0, end).await?;
    let mut hasher = blake3::Hasher::new();
    let mut records = 0;
    while let Some(record) = walk.next().await? {
        counter.reached(record.offset + 1, 1);
        if latest.as_ref().is_some_and(|latest| latest.supersedes(&record)) {
            continue;
        }
        add(&mut hasher, &record);
        records += 1;
    }
    hasher.update(&end.to_be_bytes());
    let digest = hasher.finalize().to_hex().to_string();
    Ok(StreamDigest { stream: stream.to_string(), records, next_offset: end, digest })
}

fn add(hasher: &mut blake3::Hasher, record: &Record) {
    hasher.update(&record.offset.to_be_bytes());
    hasher.update(&record.timestamp.as_millisecond().to_be_bytes());
    hasher.update(&[u8::from(record.key.is_some())]);
    framed(hasher, record.key.as_deref().unwrap_or_default());
    framed(hasher, &record.value);
    hasher.update(&(record.headers.len() as u64).to_be_bytes());
    for (name, value) in &record.headers {
        framed(hasher, name.as_bytes());
        framed(hasher, value);
    }
    if let Some(link) = record.link {
        hasher.update(link.prev.as_bytes());
        hasher.update(link.own.as_bytes());
    }
}

fn framed(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

/// The last offset of each key of a compacted stream. Keys are kept as digests of their own: twenty-four bytes each.
#[derive(Debug, Default)]
pub struct Latest(HashMap<[u8; 16], u64>);

impl Latest {
    /// Reads the stream up to offset `end`.
    pub async fn gather(log: &dyn Log, stream: &StreamName, end: u64) -> Result<Self> {
        let mut latest = Self::default();
        let mut walk = Walk::new(log, stream, 0, end).await?;
        while let Some(record) = walk.next().await? {
            if let Some(key) = record.key.as_deref() {
                latest.0.insert(short(key), record.offset);
            }
        }
        Ok(latest)
    }

    /// Whether a later record has the same key.
    pub fn supersedes(&self, record: &Record) -> bool {
        let last = record.key.as_deref().and_then(|key| self.0.get(&short(key)));
        last.is_some_and(|last| *last > record.offset)
    }
}

fn short(key: &[u8]) -> [u8; 16] {
    let mut digest = [0; 16];
    blake3::Hasher::new().update(key).finalize_xof().fill(&mut digest);
    digest
}
