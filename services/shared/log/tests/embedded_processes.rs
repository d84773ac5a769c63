//! Several processes on one log. The other process is this test binary, started again with a role in its environment.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{read_all, small_segments, stream};
use forestsync_log::{EmbeddedLog, Log, NewRecord, WriterError};
use tokio::time::timeout;

const ROLE: &str = "FORESTSYNC_LOG_TEST_ROLE";
const DIR: &str = "FORESTSYNC_LOG_TEST_DIR";
const KILLS: u64 = 100;
const SEGMENT_BYTES: u64 = 60_000;

fn start(role: &str, dir: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "another_process", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The lines the other process says that begin with our mark, up to its end.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.lines().map_while(Result::ok).filter_map(|line| line.split_once("@ ").map(|(_, said)| said.to_owned()))
}

fn say(text: impl std::fmt::Display) {
    // One write, so that a line is there as a whole or not at all.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@ {text}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Append `number` has between 1 and 30 records; a few are large, so that a write takes long enough to be hit.
fn batch(number: u64) -> Vec<NewRecord> {
    let count = 1 + number * 7 % 30;
    let size = if number.is_multiple_of(5) { 40_000 } else { 50 };
    (0..count)
        .map(|part| NewRecord::new(Some(format!("{number} {part} {count}")), vec![(number + part) as u8; size]))
        .collect()
}

/// Does nothing in an ordinary run.
#[test]
fn another_process() {
    let (Ok(role), Ok(dir)) = (env::var(ROLE), env::var(DIR)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        match role.as_str() {
            "append" => append_for_ever(Path::new(&dir)).await,
            "hold" => hold(Path::new(&dir)).await,
            "count" => count_to_1000(Path::new(&dir)).await,
            other => panic!("no role: {other}"),
        }
    });
}

async fn append_for_ever(dir: &Path) {
    let log = small_segments(dir, SEGMENT_BYTES);
    let stream = stream("changes.kill");
    let (records, error) = read_all(&log, &stream).await;
    assert!(error.is_none());
    let last =
        records.last().and_then(|record| String::from_utf8_lossy(record.key.as_ref()?).split(' ').next()?.parse().ok());
    let mut number = last.map_or(0, |number: u64| number + 1);
    let mut writer = log.writer(&stream).await.unwrap();
    say("ready");
    loop {
        writer.append(batch(number)).await.unwrap();
        say(number);
        number += 1;
    }
}

async fn hold(dir: &Path) {
    let log = EmbeddedLog::open(dir).unwrap();
    let _writer = log.writer(&stream("changes.held")).await.unwrap();
    say("held");
    std::io::stdin().lines().for_each(drop);
}

async fn count_to_1000(dir: &Path) {
    let log = EmbeddedLog::open(dir).unwrap();
    let mut reader = log.reader(&stream("changes.followed"), 0).await.unwrap();
    say("waiting");
    let mut seen = 0;
    while seen < 1000 {
        for record in reader.next(100).await.unwrap() {
            assert_eq!((record.offset, &record.value[..]), (seen, seen.to_string().as_bytes()));
            seen += 1;
        }
        say(seen);
    }
}

/// Whole appends only, one after the other from 0; how many.
async fn whole_appends(dir: &Path) -> u64 {
    let (records, error) = read_all(&small_segments(dir, SEGMENT_BYTES), &stream("changes.kill")).await;
    assert!(error.is_none(), "{error:?}");
    assert!(records.iter().zip(0..).all(|(record, offset)| record.offset == offset));
    let (mut left, mut number) = (&records[..], 0);
    while !left.is_empty() {
        let expected = batch(number);
        assert!(left.len() >= expected.len(), "append {number} is there in part");
        let (this, rest) = left.split_at(expected.len());
        for (found, expected) in this.iter().zip(&expected) {
            assert!(
                found.key == expected.key && found.value == expected.value,
                "append {number} is not what was written"
            );
        }
        left = rest;
        number += 1;
    }
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_however_often_the_writer_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut ahead) = (0, 0);
    for kill in 0..KILLS {
        let mut child = start("append", dir.path());
        let mut said = lines(&mut child);
        assert_eq!(said.next().as_deref(), Some("ready"));
        // Somewhere within the next appends: after so many acknowledgements, and so many turns of an idle loop.
        let wanted = kill % 6;
        for _ in 0..wanted {
            acknowledged = said.next().unwrap().parse::<u64>().unwrap() + 1;
        }
        for turn in 0..kill * 7919 % 200_000 {
            std::hint::black_box(turn);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for number in said {
            acknowledged = number.parse::<u64>().unwrap() + 1;
        }
        let there = whole_appends(dir.path()).await;
        assert!(there >= acknowledged, "kill {kill}: {there} appends are there and {acknowledged} were acknowledged");
        assert!(there <= acknowledged + 1, "kill {kill}: {there} appends are there, {acknowledged} acknowledged");
        ahead += u64::from(there > acknowledged);
        acknowledged = there;
    }
    println!("{acknowledged} appends, {KILLS} kills, {ahead} of them between the write and its acknowledgement");
}

#[tokio::test]
async fn a_stream_has_one_writer_among_processes() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.held"));
    let mut child = start("hold", dir.path());
    assert_eq!(lines(&mut child).next().as_deref(), Some("held"));
    let log = EmbeddedLog::open(dir.path()).unwrap();
    assert!(matches!(log.writer(&stream).await, Err(WriterError::Busy(_))));
    assert!(log.writer(&common::stream("changes.free")).await.is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    log.writer(&stream).await.unwrap().append(common::three(0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_in_another_process_follows() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.followed"));
    let mut child = start("count", dir.path());
    let mut said = lines(&mut child);
    assert_eq!(said.next().as_deref(), Some("waiting"));
    let log = small_segments(dir.path(), 2000);
    let mut writer = log.writer(&stream).await.unwrap();
    let mut next = 0_u64;
    for size in [1, 2, 97, 400, 1, 499] {
        writer
            .append((next..next + size).map(|n| NewRecord::new(None::<&str>, n.to_string())).collect())
            .await
            .unwrap();
        next += size;
        // It says that it saw this append before the next one is made, so it was waiting at the tail.
        let seen = tokio::task::spawn_blocking(move || {
            let seen = said.by_ref().find(|seen| *seen == next.to_string());
            (said, seen)
        });
        let (rest, seen) = timeout(Duration::from_mins(1), seen).await.unwrap().unwrap();
        assert_eq!(seen, Some(next.to_string()));
        said = rest;
    }
    assert!(child.wait().unwrap().success());
}
