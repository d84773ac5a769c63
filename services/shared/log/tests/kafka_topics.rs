//! Topics and writers on a real broker: what would lose something is refused, what goes wrong is told as what it is.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

mod kafka;

use std::path::Path;
use std::time::Duration;

use forestsync_log::{AppendError, LogConfig, NewRecord, ReadError, WriterError};
use kafka::{Brokers, read_all, stream, until, value};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_mins(1);

fn admin(brokers: &Brokers) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &brokers.bootstrap).create().unwrap()
}

async fn make(brokers: &Brokers, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
    for (key, value) in settings {
        new = new.set(key, value);
    }
    for made in admin(brokers).create_topics([&new], &AdminOptions::new()).await.unwrap() {
        made.unwrap();
    }
}

async fn set(brokers: &Brokers, topic: &str, key: &str, value: &str) {
    // this request replaces all settings of the topic
    let alter = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("retention.ms", "-1").set(key, value);
    for altered in admin(brokers).alter_configs([&alter], &AdminOptions::new()).await.unwrap() {
        altered.unwrap();
    }
}

/// A producer that is not ours, for what ours never writes.
fn foreign(brokers: &Brokers, transactional_id: Option<&str>) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &brokers.bootstrap).set("transaction.timeout.ms", "60000");
    if let Some(id) = transactional_id {
        config.set("transactional.id", id);
    }
    config.create().unwrap()
}

fn placed(offset: u64) -> OwnedHeaders {
    OwnedHeaders::new().insert(Header { key: "forestsync-offset", value: Some(&offset.to_be_bytes()[..]) })
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_lose_history_are_refused() {
    let Some(brokers) = Brokers::any("topics") else { return };
    let (log, run) = (brokers.log(), kafka::run());
    let wrong = [
        ("changes", 1, ("retention.ms", "1000"), "-1"),
        ("changes", 1, ("retention.bytes", "1000000"), "-1"),
        ("changes", 1, ("cleanup.policy", "compact"), "delete"),
        ("changes", 1, ("message.timestamp.type", "LogAppendTime"), "CreateTime"),
        ("changes", 1, ("max.message.bytes", "100000"), "1048588"),
        ("desired", 1, ("cleanup.policy", "delete"), "compact"),
        ("changes", 3, ("partitions", "3"), "1"),
    ];
    for (number, (kind, partitions, (setting, found), wanted)) in wrong.into_iter().enumerate() {
        let name = stream(&format!("{kind}.wrong-{number}.{run}"));
        let mut all = vec![("retention.ms", "-1")];
        if setting != "partitions" {
            all.retain(|(key, _)| *key != setting);
            all.push((setting, found));
        }
        if kind == "desired" && setting != "cleanup.policy" {
            all.push(("cleanup.policy", "compact"));
        }
        make(&brokers, name.as_str(), partitions, &all).await;
        let refused = log.writer(&name).await;
        match &refused {
            Err(error @ WriterError::Settings(said)) => {
                let told = (said.topic.as_str(), said.setting.as_str(), said.found.as_str(), said.wanted.as_str());
                assert_eq!(told, (name.as_str(), setting, found, wanted));
                let hint = &said.hint;
                assert!(!error.is_retryable());
                assert!(
                    setting == "partitions" || hint.contains(&format!("--add-config {setting}={wanted}")),
                    "{hint}"
                );
            }
            other => panic!("{setting} {found}: {other:?}"),
        }
    }
    let right = stream(&format!("desired.right.{run}"));
    log.writer(&right).await.unwrap();
    log.writer(&right).await.expect("what we made passes our own check");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_broker_refuses_is_not_written() {
    let Some(brokers) = Brokers::any("refused") else { return };
    let (log, name) = (brokers.log(), stream(&format!("changes.refused.{}", kafka::run())));
    let mut writer = log.writer(&name).await.unwrap();
    writer.append(vec![value("first")]).await.unwrap();
    set(&brokers, name.as_str(), "max.message.bytes", "2000").await;
    // bytes that do not get smaller by compression
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(10_000)
    .collect();
    let refused = until("the broker refuses it", PATIENCE, async || {
        let next = writer.next_offset();
        match writer.append(vec![value("small"), NewRecord::new(None::<Vec<u8>>, noise.clone())]).await {
            Err(error) => {
                assert_eq!(writer.next_offset(), next);
                Some(error)
            }
            Ok(_) => None,
        }
    })
    .await;
    assert!(refused.outcome_known() && refused.to_string().contains("max.message.bytes"), "{refused}");
    let next = writer.next_offset();
    let wrong = log.writer(&name).await.expect_err("the topic's setting is wrong now").to_string();
    assert!(wrong.contains("max.message.bytes"), "{wrong}");
    set(&brokers, name.as_str(), "max.message.bytes", "1048588").await;
    let mut writer = log.writer(&name).await.unwrap();
    assert_eq!(writer.append(vec![value("last")]).await.unwrap(), next, "the next writer goes on where it was");
    let records = read_all(log.as_ref(), &name).await;
    assert_eq!(records.len() as u64, next + 1);
    assert_eq!(records.last().unwrap().value, "last");
    assert_eq!(log.tail(&name).await.unwrap(), next + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_is_fenced_in_the_middle_of_its_appends() {
    let Some(brokers) = Brokers::any("fenced") else { return };
    let (log, other) = (brokers.log(), brokers.log());
    let name = stream(&format!("changes.fenced.{}", kafka::run()));
    let mut known: Vec<String> = Vec::new();
    for round in 0..if kafka::soak() { 60 } else { 8 } {
        let mut first = log.writer(&name).await.unwrap();
        let opening = tokio::spawn({
            let (other, name) = (other.clone(), name.clone());
            async move {
                tokio::time::sleep(Duration::from_millis(10 + round * 13 % 90)).await;
                other.writer(&name).await.unwrap()
            }
        });
        let mut unsure = None;
        for number in 0.. {
            let append: Vec<String> =
                (0..30).map(|part| format!("round {round} append {number} part {part}")).collect();
            match first.append(append.iter().map(value).collect()).await {
                Ok(_) => known.extend(append),
                Err(AppendError::Fenced(_)) => break,
                Err(error) => {
                    assert!(!error.outcome_known(), "{error}");
                    unsure = Some(append);
                    break;
                }
            }
        }
        let again = first.append(vec![value("late")]).await;
        assert!(matches!(again, Err(AppendError::Fenced(_) | AppendError::Unusable(_))), "{again:?}");
        let mut second = opening.await.unwrap();
        let before = known.len() as u64;
        if let Some(append) = unsure.filter(|append| second.next_offset() == before + append.len() as u64) {
            known.extend(append);
        }
        assert_eq!(second.next_offset(), known.len() as u64, "round {round}");
        second.append(vec![value(format!("second {round}"))]).await.unwrap();
        known.push(format!("second {round}"));
    }
    let there = read_all(log.as_ref(), &name).await;
    let there: Vec<String> = there.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()).collect();
    assert!(there == known, "{} records are there and {} are due", there.len(), known.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_writer_left_open_is_waited_for() {
    let Some(brokers) = Brokers::any("open") else { return };
    let (log, other) = (brokers.log(), brokers.log());
    let name = stream(&format!("changes.open.{}", kafka::run()));
    log.writer(&name).await.unwrap().append(vec![value(0)]).await.unwrap();
    let mut reader = log.reader(&name, 0).await.unwrap();
    assert_eq!(reader.poll(10).await.unwrap().len(), 1);

    let dead = foreign(&brokers, Some(name.as_str()));
    dead.init_transactions(PATIENCE).unwrap();
    dead.begin_transaction().unwrap();
    let left = BaseRecord::<[u8], [u8]>::to(name.as_str()).partition(0).payload(b"left").headers(placed(1));
    dead.send(left).unwrap_or_else(|(error, _)| panic!("{error}"));
    dead.flush(PATIENCE).unwrap();
    // nobody can know yet whether that append will have been made
    assert!(timeout(Duration::from_millis(700), log.tail(&name)).await.is_err(), "the tail of an open append was told");
    assert!(
        timeout(Duration::from_millis(700), reader.poll(10)).await.is_err(),
        "polling ended while an append was open"
    );
    let (polled, writer) = tokio::join!(reader.poll(10), other.writer(&name));
    assert_eq!(writer.unwrap().next_offset(), 1);
    assert!(polled.unwrap().is_empty(), "an append that was left open was read");
    assert_eq!(log.tail(&name).await.unwrap(), 1);

    // one that is committed in the meantime is seen by those who waited
    let slow = foreign(&brokers, Some(name.as_str()));
    slow.init_transactions(PATIENCE).unwrap();
    slow.begin_transaction().unwrap();
    let late = BaseRecord::<[u8], [u8]>::to(name.as_str()).partition(0).payload(b"late").headers(placed(1));
    slow.send(late).unwrap_or_else(|(error, _)| panic!("{error}"));
    slow.flush(PATIENCE).unwrap();
    let commit = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(300));
        slow.commit_transaction(PATIENCE).unwrap();
    });
    let (polled, tail) = tokio::join!(reader.poll(10), log.tail(&name));
    assert_eq!((polled.unwrap().len(), tail.unwrap()), (1, 2));
    commit.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_forestsync_never_wrote_is_damage() {
    let Some(brokers) = Brokers::any("damage") else { return };
    let (log, run) = (brokers.log(), kafka::run());
    let cases = [
        ("none", None, "was not written by forestsync"),
        ("gap", Some(5), "stands where 2 belongs"),
        ("again", Some(1), "comes again"),
    ];
    for (case, offset, detail) in cases {
        let name = stream(&format!("changes.damage-{case}.{run}"));
        log.writer(&name).await.unwrap().append(vec![value(0), value(1)]).await.unwrap();
        let producer = foreign(&brokers, None);
        let mut message = BaseRecord::<[u8], [u8]>::to(name.as_str()).partition(0).payload(b"foreign");
        if let Some(offset) = offset {
            message = message.headers(placed(offset));
        }
        producer.send(message).unwrap_or_else(|(error, _)| panic!("{error}"));
        producer.flush(PATIENCE).unwrap();
        let mut reader = log.reader(&name, 0).await.unwrap();
        let (mut seen, mut found) = (0, None);
        while found.is_none() {
            match timeout(PATIENCE, reader.next(10)).await.unwrap() {
                Ok(records) => seen += records.len(),
                Err(error) => found = Some(error),
            }
        }
        match found {
            Some(ReadError::Damaged { place, detail: said, .. }) => {
                assert!(place.contains(name.as_str()) && said.contains(detail), "{place}: {said}");
            }
            // where the end itself is damaged, its look finds that first
            other => panic!("{case}: {other:?}"),
        }
        assert!(seen <= 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_stands_before_everything_and_is_not_seen() {
    let Some(brokers) = Brokers::any("prefix") else { return };
    let (run, plain) = (kafka::run(), brokers.log());
    let prefix = format!("p{run}.");
    let log = LogConfig { prefix: prefix.clone(), ..brokers.config() }.open(Path::new(".")).unwrap();
    let name = stream(&format!("changes.prefixed.{run}"));
    let mut writer = log.writer(&name).await.unwrap();
    writer.append(vec![value("prefixed")]).await.unwrap();
    assert_eq!(log.streams().await.unwrap(), std::slice::from_ref(&name));
    assert_eq!(plain.tail(&name).await.unwrap(), 0);
    assert!(plain.streams().await.unwrap().contains(&stream(&format!("{prefix}{name}"))));
    // the same stream without the prefix is another one, with a writer of its own
    plain.writer(&name).await.unwrap().append(vec![value("plain")]).await.unwrap();
    writer.append(vec![value("still prefixed")]).await.unwrap();
    assert_eq!(read_all(log.as_ref(), &name).await.len(), 2);
    assert_eq!(read_all(plain.as_ref(), &name).await.len(), 1);
    assert_eq!(log.streams().await.unwrap(), [name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_finds_its_place_in_a_long_stream() {
    let Some(brokers) = Brokers::any("places") else { return };
    let (log, name) = (brokers.log(), stream(&format!("changes.places.{}", kafka::run())));
    let mut writer = log.writer(&name).await.unwrap();
    // appends of very different sizes, so that offsets of both kinds drift apart unevenly
    let mut next = 0;
    for size in (0..120).map(|n| if n < 60 { 1 } else { 200 }) {
        writer.append((next..next + size).map(value).collect()).await.unwrap();
        next += size;
    }
    for from in [1, 59, 60, 61, 1000, 5000, next - 201, next - 1] {
        let start = Instant::now();
        let mut reader = log.reader(&name, from).await.unwrap();
        let found = reader.next(1).await.unwrap();
        assert_eq!((found[0].offset, &found[0].value[..]), (from, from.to_string().as_bytes()));
        println!("a reader from {from} of {next} after {:?}", start.elapsed());
    }
}

/// What was wished stays for a while in a topic that we make. One that is there already is taken as it is.
#[tokio::test(flavor = "multi_thread")]
async fn superseded_wishes_stay_as_long_as_configured() {
    let Some(brokers) = Brokers::any("history") else { return };
    let run = kafka::run();
    let (own, theirs) = (stream(&format!("desired.own-{run}")), stream(&format!("desired.theirs-{run}")));
    make(&brokers, theirs.as_str(), 1, &[("cleanup.policy", "compact"), ("max.message.bytes", "1048588")]).await;
    let config = LogConfig { desired_history: Some("2 days".to_owned()), ..brokers.config() };
    let log = config.open(Path::new(".")).unwrap();
    for (stream, lag) in [(&own, "172800000"), (&theirs, "0")] {
        log.writer(stream).await.unwrap().append(vec![NewRecord::new(Some("k"), "v")]).await.unwrap();
        let topic = ResourceSpecifier::Topic(stream.as_str());
        let described = admin(&brokers).describe_configs([&topic], &AdminOptions::new()).await.unwrap();
        let entry = described[0].as_ref().unwrap().get("min.compaction.lag.ms").unwrap().value.clone();
        assert_eq!(entry.as_deref(), Some(lag), "{stream}");
    }
    let wrong = LogConfig { desired_history: Some("for ever".to_owned()), ..brokers.config() };
    let error = wrong.open(Path::new(".")).unwrap_err().to_string();
    assert_eq!(error, "log.desired_history: \"for ever\" is no duration; write it as \"400d\", or leave it out");
}
