//! Brokers that die or hang in the middle of appends: whatever was acknowledged is there, once, in order and whole; what was
//! not is there as a whole or not at all, and never where it was said not to be.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

mod kafka;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forestsync_log::{Log, LogWriter, NewRecord, ReadError, StreamName};
use kafka::{Brokers, read_all, stream, until};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_mins(3);

/// What is known of the appends of a stream.
#[derive(Default)]
struct Known {
    /// The records that are there, each as number of its append and part.
    there: Vec<String>,
    acknowledged: usize,
    refused: usize,
    unknown: usize,
    number: usize,
    /// How often the tail was told in time.
    told: usize,
}

impl Known {
    fn next(&mut self) -> Vec<String> {
        self.number += 1;
        let size = [1, 3, 40, 2, 300, 7][self.number % 6];
        (0..size).map(|part| format!("append {} part {part} of {size}", self.number)).collect()
    }
}

impl Known {
    /// Checks a tail that was asked for behind an acknowledged append. That it cannot be told in time is an answer as well,
    /// and a service that gets it goes on.
    fn told(&mut self, tail: Result<u64, ReadError>, end: u64) {
        match tail {
            Ok(tail) => {
                assert_eq!(tail, end, "an acknowledged append is missing from the tail");
                self.told += 1;
            }
            Err(error) => {
                assert!(matches!(error, ReadError::Io { .. }), "{error}");
                println!("the tail behind append {}: {error}", self.number);
            }
        }
    }
}

async fn open(log: &Arc<dyn Log>, stream: &StreamName) -> Box<dyn LogWriter> {
    until("a writer is had", PATIENCE, async || match log.writer(stream).await {
        Ok(writer) => Some(writer),
        Err(error) => {
            assert!(error.is_retryable(), "{error}");
            None
        }
    })
    .await
}

/// Appends until told to stop, and checks the tail on another handle after each acknowledgement.
async fn write(log: &Arc<dyn Log>, other: &Arc<dyn Log>, stream: &StreamName, stop: &AtomicBool) -> Known {
    let (mut known, mut writer) = (Known::default(), open(log, stream).await);
    while !stop.load(Ordering::Relaxed) {
        let append = known.next();
        let records: Vec<NewRecord> = append.iter().map(kafka::value).collect();
        let before = known.there.len() as u64;
        match writer.append(records).await {
            Ok(first) => {
                assert_eq!(first, before);
                known.there.extend(append);
                known.acknowledged += 1;
                if known.number % 3 == 0 {
                    let end = known.there.len() as u64;
                    known.told(other.tail(stream).await, end);
                }
            }
            Err(error) => {
                println!("append {}: {error} (known: {})", known.number, error.outcome_known());
                writer = open(log, stream).await;
                let next = writer.next_offset();
                if error.outcome_known() {
                    assert_eq!(
                        next, before,
                        "an append that was not written is there, or an earlier one is not: {error}"
                    );
                    known.refused += 1;
                } else {
                    let whole = before + append.len() as u64;
                    assert!(
                        next == before || next == whole,
                        "{next}: an append is there in part ({before} to {whole})"
                    );
                    if next == whole {
                        known.there.extend(append);
                    }
                    known.unknown += 1;
                }
            }
        }
    }
    known
}

/// Follows the stream and checks what it sees; returns how far it got.
async fn follow(log: &Arc<dyn Log>, stream: &StreamName, stop: &AtomicBool) -> Vec<String> {
    let (mut seen, mut reader) = (Vec::new(), log.reader(stream, 0).await.unwrap());
    while !stop.load(Ordering::Relaxed) {
        let next = tokio::time::timeout(Duration::from_millis(200), reader.next(50)).await;
        match next {
            Ok(Ok(records)) => seen.extend(records.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap())),
            Ok(Err(error)) => println!("reading: {error}"),
            Err(_) => {}
        }
    }
    seen
}

/// Deaths while appends are in flight, on one broker or three.
async fn deaths(name: &str, nodes: &str, rounds: usize) {
    let Some(brokers) = Brokers::own(name, &["--nodes", nodes]) else { return };
    let (log, other, third) = (brokers.log(), brokers.log(), brokers.log());
    let stream = stream(&format!("changes.deaths.{}", kafka::run()));
    let (stop, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
    let disturb = async {
        for round in 0..rounds {
            tokio::time::sleep(Duration::from_millis(700 + 311 * (round as u64 % 5))).await;
            let node = (1 + round % nodes.parse::<usize>().unwrap()).to_string();
            brokers.run_async(&["kill", &node]).await;
            brokers.run_async(&["start", &node]).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let writing = async {
        let known = write(&log, &other, &stream, &stop).await;
        stopped.store(true, Ordering::Relaxed);
        known
    };
    let ((), known, seen) = tokio::join!(disturb, writing, follow(&third, &stream, &stopped));
    let fresh = brokers.log();
    let there = read_all(fresh.as_ref(), &stream).await;
    let there: Vec<String> = there.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()).collect();
    println!(
        "{nodes} node(s), {rounds} deaths: {} acknowledged, {} refused, {} unknown, {} records",
        known.acknowledged,
        known.refused,
        known.unknown,
        there.len()
    );
    assert!(known.told > 0, "no tail was told in time");
    assert!(there == known.there, "{} records are there and {} are due", there.len(), known.there.len());
    assert!(known.there.starts_with(&seen), "a follower saw something else");
    assert!(known.acknowledged > rounds, "hardly anything was appended");
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_appends_survive_the_death_of_the_broker() {
    deaths("death1", "1", if kafka::soak() { 30 } else { 3 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_appends_survive_the_deaths_of_three_brokers_in_turn() {
    if kafka::soak() {
        deaths("death3", "3", 30).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_is_waited_for() {
    let Some(brokers) = Brokers::own("hang", &[]) else { return };
    let (log, other) = (brokers.log(), brokers.log());
    let stream = stream(&format!("changes.hang.{}", kafka::run()));
    let mut writer = open(&log, &stream).await;
    writer.append(vec![kafka::value("before")]).await.unwrap();
    let mut reader = other.reader(&stream, 0).await.unwrap();
    assert_eq!(reader.next(10).await.unwrap().len(), 1);

    brokers.run_async(&["pause", "1"]).await;
    let pause = if kafka::soak() { Duration::from_mins(1) } else { Duration::from_secs(15) };
    let start = Instant::now();
    let append = async {
        let failed = writer.append(vec![kafka::value("during")]).await;
        println!("an append while the broker hung, after {:?}: {failed:?}", start.elapsed());
        failed
    };
    let resume = async {
        tokio::time::sleep(pause).await;
        brokers.run_async(&["resume", "1"]).await;
    };
    let (during, ()) = tokio::join!(append, resume);
    let mut writer = open(&log, &stream).await;
    let due = match &during {
        Ok(_) => 2,
        Err(error) if error.outcome_known() => 1,
        Err(_) => writer.next_offset(),
    };
    assert_eq!(writer.next_offset(), due, "{during:?}");
    writer.append(vec![kafka::value("after")]).await.unwrap();
    let values: Vec<_> = read_all(other.as_ref(), &stream).await.into_iter().map(|r| r.value).collect();
    assert_eq!(values.first().unwrap(), "before");
    assert_eq!(values.last().unwrap(), "after");
    assert_eq!(values.len() as u64, due + 1);
    assert_eq!(
        reader.next(10).await.unwrap().last().unwrap().offset,
        due,
        "the reader goes on after the broker's return"
    );
}
