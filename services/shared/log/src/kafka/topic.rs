//! Topics: made with the right settings, and refused with the wrong ones.
//!
//! Wrong settings lose history without a word: a retention deletes the beginning of it, a compaction takes facts out of
//! the middle, a second partition has no order with the first. So a writer looks at them before it writes.

use std::sync::{Arc, PoisonError};

use rdkafka::admin::{AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::{Duration, Instant, sleep};

use super::Shared;
use super::client::{as_io, refuses};
use crate::{StreamName, WriterError, WrongSetting};

/// The largest batch and message a client sends, in bytes. It holds the largest record with its headers, and is below what
/// a broker takes where nothing is said.
pub(super) const MAX_MESSAGE_BYTES: usize = 1_000_000;

/// How long a compacted topic keeps records that were superseded, in milliseconds.
const COMPACTION_LAG: &str = "min.compaction.lag.ms";

/// How long the making of a topic may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The settings of a topic that are ours to choose.
fn wanted(stream: &StreamName) -> [(&'static str, &'static str); 5] {
    let policy = if stream.is_compacted() { "compact" } else { "delete" };
    [
        ("cleanup.policy", policy),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("message.timestamp.type", "CreateTime"),
        ("max.message.bytes", "1048588"),
    ]
}

/// Whether a setting that is not the one we choose does the same.
fn fits(setting: &str, stream: &StreamName, found: &str, wanted: &str) -> bool {
    match setting {
        "max.message.bytes" => found.parse::<u64>().is_ok_and(|bytes| bytes > MAX_MESSAGE_BYTES as u64),
        // compaction alone deletes nothing by age or size
        "retention.ms" | "retention.bytes" if stream.is_compacted() => true,
        _ => found == wanted,
    }
}

impl Shared {
    /// Makes the topic if there is none; true if it was there already.
    pub(super) async fn ensure_topic(self: &Arc<Self>, stream: &StreamName) -> Result<bool, WriterError> {
        let (topic, deadline) = (self.topic(stream), Instant::now() + LIMIT);
        let mut existed = true;
        loop {
            match self.partitions(&topic).await {
                Ok(Some(1)) => return Ok(existed),
                Ok(Some(found)) if found > 1 => return Err(self.wrong_partitions(stream, found)),
                Ok(Some(_)) => {}
                Ok(None) => {
                    existed = false;
                    self.make(stream, &topic).await?;
                }
                Err(error) => {
                    if let Some(reason) = self.settings.refusal() {
                        let detail = format!("{reason}; check log.security, its files and the account");
                        return Err(WriterError::Refused { stream: stream.clone(), detail });
                    }
                    again(stream, &error, deadline)?;
                }
            }
            if Instant::now() > deadline {
                let source = std::io::Error::other(format!("topic {topic} has no leader yet"));
                return Err(WriterError::Io { stream: stream.clone(), source });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn make(&self, stream: &StreamName, topic: &str) -> Result<(), WriterError> {
        if self.settings.by_token() {
            let detail = format!(
                "topic {topic} does not exist, and a client that authenticates by token cannot make it; make it with \
                 kafka-topics.sh --create --topic {topic} --partitions 1{}",
                wanted(stream).map(|(setting, value)| format!(" --config {setting}={value}")).concat()
            );
            return Err(WriterError::Refused { stream: stream.clone(), detail });
        }
        let mut new = NewTopic::new(topic, 1, TopicReplication::Fixed(self.settings.replication));
        let lag = self.compaction_lag();
        for (setting, value) in wanted(stream) {
            new = new.set(setting, value);
        }
        if stream.is_compacted() {
            new = new.set(COMPACTION_LAG, &lag);
        }
        let options = AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT));
        let admin = self.admin().map_err(|e| unwritable(stream, &e))?;
        let made = admin.create_topics([&new], &options).await.map_err(|e| unwritable(stream, &e))?;
        match made.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) if refuses(code) || code == RDKafkaErrorCode::InvalidReplicationFactor => {
                let detail = format!(
                    "topic {topic} cannot be made: {code}; give this account the right to create it, \
                    check log.replication, or make it yourself"
                );
                Err(WriterError::Refused { stream: stream.clone(), detail })
            }
            Some(Err((_, code))) => {
                let source = std::io::Error::other(format!("topic {topic} cannot be made: {code}"));
                Err(WriterError::Io { stream: stream.clone(), source })
            }
        }
    }

    /// Refuses a topic whose settings would lose something. A client that authenticates by token cannot look: the library
    /// has no way to give its admin client one.
    pub(super) async fn check_topic(&self, stream: &StreamName) -> Result<(), WriterError> {
        let topic = self.topic(stream);
        if self.settings.by_token() {
            if self.unchecked.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.clone()) {
                let settings = wanted(stream).map(|(setting, value)| format!("{setting}={value}")).join(" ");
                tracing::warn!(
                    topic,
                    settings,
                    "the settings of a topic were not checked: a client that authenticates by token cannot look; \
                     compare them by kafka-configs.sh --describe, for with others it may lose history"
                );
            }
            return Ok(());
        }
        let found = self.describe(stream, &topic).await?;
        for (setting, value) in wanted(stream) {
            let Some(entry) = found.get(setting).and_then(|entry| entry.value.as_deref()) else { continue };
            if !fits(setting, stream, entry, value) {
                let hint = format!(
                    "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {topic} \
                     --add-config {setting}={value}",
                    self.settings.bootstrap
                );
                return Err(WriterError::Settings(Box::new(WrongSetting {
                    stream: stream.clone(),
                    topic: topic.clone(),
                    setting: setting.to_owned(),
                    found: entry.to_owned(),
                    wanted: value.to_owned(),
                    hint: format!("set it: {hint}"),
                })));
            }
        }
        self.advise_lag(stream, &topic, &found);
        Ok(())
    }

    /// What [`COMPACTION_LAG`] should be.
    fn compaction_lag(&self) -> String {
        self.settings.desired_history.as_millis().to_string()
    }

    /// A topic that an earlier version made gives its superseded records away at once. That loses no state, so it is no
    /// reason to stop: whoever wants them for an audit is told what to do, once.
    fn advise_lag(&self, stream: &StreamName, topic: &str, found: &ConfigResource) {
        if !stream.is_compacted() {
            return;
        }
        let found = found.get(COMPACTION_LAG).and_then(|entry| entry.value.as_deref()).unwrap_or("0");
        let is_long = found.parse::<u128>().is_ok_and(|ms| ms >= self.settings.desired_history.as_millis());
        if !is_long && self.unchecked.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.clone()) {
            tracing::warn!(
                topic,
                found,
                wanted = self.compaction_lag(),
                "superseded records of a topic go before log.desired_history is over, and an audit will miss them: set it by \
                 kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {COMPACTION_LAG}={}",
                self.compaction_lag()
            );
        }
    }

    async fn describe(&self, stream: &StreamName, topic: &str) -> Result<ConfigResource, WriterError> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
            let admin = self.admin().map_err(|e| unwritable(stream, &e))?;
            let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
            let error = match described.map(|mut all| all.pop()) {
                Ok(Some(Ok(resource))) => return Ok(resource),
                Ok(Some(Err(code))) => KafkaError::AdminOp(code),
                Ok(None) => KafkaError::Canceled,
                Err(error) => error,
            };
            again(stream, &error, deadline)?;
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn wrong_partitions(&self, stream: &StreamName, found: usize) -> WriterError {
        WriterError::Settings(Box::new(WrongSetting {
            stream: stream.clone(),
            topic: self.topic(stream),
            setting: "partitions".to_owned(),
            found: found.to_string(),
            wanted: "1".to_owned(),
            hint: "delete the topic if nothing is in it, or choose another log.prefix".to_owned(),
        }))
    }
}

/// Lets a passing error pass, until the deadline.
fn again(stream: &StreamName, error: &KafkaError, deadline: Instant) -> Result<(), WriterError> {
    let code = match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    if let Some(code) = code.filter(|code| refuses(*code)) {
        let detail = format!("{code}; check the account's rights and log.security");
        return Err(WriterError::Refused { stream: stream.clone(), detail });
    }
    if Instant::now() > deadline { Err(unwritable(stream, error)) } else { Ok(()) }
}

/// The error of the client as one of a writer.
pub(super) fn unwritable(stream: &StreamName, error: &KafkaError) -> WriterError {
    WriterError::Io { stream: stream.clone(), source: as_io(error) }
}
