//! The log on a real Apache Kafka, against the bare client with the same settings.

use std::process::Command;

use forestsync_log::{Log, LogConfig, NewRecord, StreamName};
use forestsync_tests::peers;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{Duration, Instant};

use crate::{Measured, median};

const PAGES: usize = 25;
const RECORDS: usize = 2_000;
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_mins(1);

fn kafka(arguments: &[&str]) -> Result<String, String> {
    let dir = peers::scratch().join("kafka-bench");
    std::fs::create_dir_all(&dir).unwrap();
    let command = peers::workspace().join("infra/kafka/local");
    // with both of the compilers of its machine, as in earnest
    let out =
        Command::new(command).args(arguments).arg("--dir").arg(dir).env("KAFKA_JVM_OPTIONS", "").output().unwrap();
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    Err(String::from_utf8_lossy(&out.stderr).trim().to_owned())
}

/// A record as a change of a user makes it, of about 700 bytes.
fn value(page: usize, record: usize) -> Vec<u8> {
    let id = (page * RECORDS + record).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut value = format!("{{\"id\":\"{id:016x}\",\"event\":\"ObjectChanged\",\"attributes\":{{").into_bytes();
    let mut state = id as u64;
    while value.len() < 690 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value.extend_from_slice(format!("\"attribute{}\":\"value {:08x}\",", state >> 60, state >> 32).as_bytes());
    }
    value.extend_from_slice(b"}}");
    value
}

/// What the engine sets for all of its clients: with the client's own defaults one that has read ahead enough would rest for
/// a second, and a transaction that follows another at once would be tried again late.
fn settings(bootstrap: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", bootstrap)
        .set("retry.backoff.ms", "50")
        .set("reconnect.backoff.ms", "50")
        .set("socket.nagle.disable", "true")
        .set("topic.metadata.refresh.fast.interval.ms", "100");
    settings
}

/// Appends pages by transactions, and reads them; the rates in records a second.
fn bare(bootstrap: &str, topic: &str) -> (f64, f64) {
    let producer: ThreadedProducer<DefaultProducerContext> = settings(bootstrap)
        .set("transactional.id", format!("{topic}-bare"))
        .set("compression.type", "zstd")
        .set("message.max.bytes", "1000000")
        .set("batch.size", "1000000")
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "1000000")
        .set("queue.buffering.max.kbytes", "65536")
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    let pages: Vec<Vec<Vec<u8>>> = (0..PAGES).map(|page| (0..RECORDS).map(|r| value(page, r)).collect()).collect();
    let start = Instant::now();
    for page in &pages {
        producer.begin_transaction().unwrap();
        for record in page {
            producer.send(BaseRecord::<(), [u8]>::to(topic).partition(0).payload(record)).map_err(|e| e.0).unwrap();
        }
        producer.commit_transaction(PATIENCE).unwrap();
    }
    let appended = start.elapsed();
    let start = Instant::now();
    let consumer: BaseConsumer = settings(bootstrap)
        .set("group.id", "bench")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .set("queued.max.messages.kbytes", "16384")
        .set("queued.min.messages", "5000")
        .set("fetch.wait.max.ms", "500")
        .set("fetch.queue.backoff.ms", "5")
        .create()
        .unwrap();
    consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let mut seen = 0;
    while seen < PAGES * RECORDS {
        let Some(message) = consumer.poll(PATIENCE) else { continue };
        std::hint::black_box(message.unwrap().payload().map(<[u8]>::to_vec));
        seen += 1;
    }
    rates(appended, start.elapsed())
}

fn rates(appended: Duration, read: Duration) -> (f64, f64) {
    let records = (PAGES * RECORDS) as f64;
    (records / appended.as_secs_f64(), records / read.as_secs_f64())
}

async fn ours(log: &dyn Log, stream: &StreamName) -> (f64, f64) {
    let mut writer = log.writer(stream).await.unwrap();
    let page = |page| (0..RECORDS).map(|r| NewRecord::new(None::<Vec<u8>>, value(page, r))).collect::<Vec<_>>();
    let pages: Vec<Vec<NewRecord>> = (0..PAGES).map(page).collect();
    let start = Instant::now();
    for page in pages {
        writer.append(page).await.unwrap();
    }
    let appended = start.elapsed();
    let start = Instant::now();
    let (mut reader, mut seen) = (log.reader(stream, 0).await.unwrap(), 0);
    while seen < PAGES * RECORDS {
        seen += std::hint::black_box(reader.next(500).await.unwrap()).len();
    }
    rates(appended, start.elapsed())
}

/// Two lines: appending and reading. None where there is no Kafka.
pub(crate) async fn against_bare_client() -> Vec<Measured> {
    let bootstrap = match kafka(&["up"]) {
        Ok(bootstrap) => bootstrap,
        Err(why) => {
            println!("log: skipped, Apache Kafka is missing: {why}");
            return Vec::new();
        }
    };
    let config = LogConfig { kafka: Some(bootstrap.clone()), ..LogConfig::default() };
    let log = config.open(std::path::Path::new(".")).unwrap();
    let mut all = Vec::new();
    // the first round warms the broker up and is not counted
    for round in 0..=ROUNDS {
        let stream = |kind: &str| format!("changes.bench-{kind}-{round}").parse::<StreamName>().unwrap();
        let topic = stream("bare");
        log.create(std::slice::from_ref(&topic)).await.unwrap();
        let bootstrap = bootstrap.clone();
        let bare = tokio::task::spawn_blocking(move || bare(&bootstrap, topic.as_str())).await.unwrap();
        let ours = ours(log.as_ref(), &stream("ours")).await;
        if round > 0 {
            all.push((ours.0, ours.0 / bare.0, ours.1, ours.1 / bare.1));
        }
    }
    drop(log);
    kafka(&["down", "--wipe"]).unwrap();
    let line = |what, rate: Vec<f64>, ratio: Vec<f64>| {
        let ratio = median(ratio);
        let value = format!("{ratio:.2} ({:.0} records/s)", median(rate));
        Measured { what, value, floor: ">= 0.80".into(), met: ratio >= 0.8 }
    };
    vec![
        line(
            "log on Kafka / bare client, append of pages of 2,000",
            all.iter().map(|m| m.0).collect(),
            all.iter().map(|m| m.1).collect(),
        ),
        line("log on Kafka / bare client, read", all.iter().map(|m| m.2).collect(), all.iter().map(|m| m.3).collect()),
    ]
}
