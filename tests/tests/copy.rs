//! Who outgrows one machine moves with the whole history: from the embedded log to Kafka, and back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use bytes::Bytes;
use forestsync_log::{EmbeddedLog, Log, LogConfig, Member, Record, StreamName};
use forestsync_tests::kafka::{self, Cluster};
use forestsync_tests::peers;
use jiff::Timestamp;
use serde_json::Value;

/// Events of each stream: 100,000 together.
const EVENTS: [(&str, u64); 5] = [
    ("changes.emea.emea.example", 60_000),
    ("control.contoso", 10),
    ("decisions.contoso", 4_990),
    ("desired.contoso", 20_000),
    ("outcomes.contoso", 15_000),
];

fn stream(name: &str) -> StreamName {
    name.parse().unwrap()
}

/// A history with every kind of record, and with gaps where `desired` was compacted.
async fn history(log: &dyn Log) {
    for (name, events) in EVENTS {
        let compacted = name.starts_with("desired.");
        let record = |number: u64| Record {
            offset: if compacted { number + number / 10 } else { number },
            // pages of some records at the same time
            timestamp: Timestamp::from_millisecond(1_795_000_000_000 + (number / 7).cast_signed() * 13).unwrap(),
            key: (compacted || number.is_multiple_of(3)).then(|| Bytes::from(format!("object/{}", number % 15_000))),
            value: Bytes::from(format!(
                "{{\"type\":\"Event\",\"data\":\"{}\"}}",
                "x".repeat((number * 37 % 900) as usize)
            )),
            headers: vec![("type".to_owned(), Bytes::from_static(b"Event")); (number % 2) as usize],
            link: None,
        };
        let mut writer = log.writer(&stream(name)).await.unwrap();
        let mut next = 0;
        while next < events {
            let end = events.min(next + 2000);
            writer.restore((next..end).map(record).collect()).await.unwrap();
            next = end;
        }
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(peers::binary("forestsync"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// Streams with offset and digest, of a copy that must succeed.
fn copied(output: &Output) -> Vec<(String, u64, String)> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["verified"], true);
    let line = |stream: &Value| {
        assert_eq!(stream["source_digest"], stream["target_digest"], "{stream}");
        let text = |name: &str| stream[name].as_str().unwrap().to_owned();
        (text("stream"), stream["next_offset"].as_u64().unwrap(), text("target_digest"))
    };
    summary["streams"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_moves_to_kafka_and_back() {
    if let Some(why) = kafka::missing() {
        return peers::skipped("Apache Kafka", why);
    }
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::up("copy", 1);
    peers::ran("Apache Kafka");
    history(&EmbeddedLog::open(folder.path().join("here/log")).unwrap()).await;
    let place = format!("kafka:{}?prefix=moved.", cluster.bootstrap());
    let there = ["log", "copy", "--from", "embedded:here", "--to", &place, "--json"];
    let back = ["log", "copy", "--from", &place, "--to", "embedded:back", "--json"];
    let config =
        LogConfig { kafka: Some(cluster.bootstrap().to_owned()), prefix: "moved.".to_owned(), ..LogConfig::default() };
    let log = config.open(Path::new("")).unwrap();

    // killed in the middle, it goes on where it stopped
    let mut killed = command(folder.path(), &there).stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_mins(2);
    while log.tail(&stream(EVENTS[0].0)).await.unwrap() == 0 {
        assert!(Instant::now() < deadline, "the copy never began");
        tokio::task::yield_now().await;
    }
    killed.kill().unwrap();
    killed.wait().unwrap();

    let began = Instant::now();
    let on_kafka = copied(&command(folder.path(), &there).output().unwrap());
    println!("embedded to kafka, with digests of both: {:?}", began.elapsed());
    let began = Instant::now();
    let returned = copied(&command(folder.path(), &back).output().unwrap());
    println!("kafka to embedded, with digests of both: {:?}", began.elapsed());
    assert_eq!(on_kafka, returned);
    let names: Vec<&str> = on_kafka.iter().map(|(name, _, _)| name.as_str()).collect();
    assert_eq!(names, EVENTS.map(|(name, _)| name));
    assert_eq!(on_kafka[0].1, EVENTS[0].1);

    // while somebody works there, nobody copies
    let member = Member {
        group: "projector".to_owned(),
        instance: "at-work".to_owned(),
        session_timeout: Duration::from_secs(6),
    };
    let mut membership = log.join(member).await.unwrap();
    membership.offer(&[stream("decisions.contoso")]).await.unwrap();
    membership.next().await.unwrap();
    let refused = command(folder.path(), &back).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("at-work"), "{said}");
    membership.leave().await;
}
