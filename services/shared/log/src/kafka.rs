//! The engine on Apache Kafka: a topic with one partition per stream.
//!
//! What makes it safe:
//! - an append is one transaction of an idempotent producer, acknowledged by all replicas in sync; readers read what is
//!   committed. The transactional id is the stream's, so that a second writer fences the first;
//! - a record carries its offset in the stream, and a reader checks that they follow one another: what a cluster loses or
//!   doubles is noticed, never passed on;
//! - whatever claims to know the end of a stream takes the high watermark first and waits until all below it is decided
//!   (see [`tail`]);
//! - a topic whose settings would lose history is refused.
//!
//! Needs Kafka 2.5 or newer. An account needs, under the prefix: Read, Write, Describe, Create and DescribeConfigs on
//! topics, Read and Describe on groups, Write and Describe on transactional ids.
//!
//! **Invariant**: only this module knows that there is a Kafka; nothing of its client's types leaves it.

mod client;
mod codec;
mod group;
mod member;
mod reader;
mod tail;
mod topic;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use rdkafka::admin::AdminClient;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::Duration;

use crate::membership::{GroupStatus, Member, Membership, MembershipError, check_group};
use crate::{Log, LogConfig, LogReader, LogWriter, OpenError, ReadError, StreamInfo, StreamName, WriterError};
use client::{Context, Settings, as_io};
use member::KafkaMember;
use reader::KafkaReader;
use tail::{Tail, blocking};
use writer::KafkaWriter;

/// How long a question about the cluster may take.
const METADATA: Duration = Duration::from_secs(10);

/// How often the clients that nobody polls are served.
const SERVE: Duration = Duration::from_millis(200);

/// A log on Kafka. Clones share their connections.
#[derive(Clone)]
pub struct KafkaLog {
    shared: Arc<Shared>,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// What readers, writers and members of a log have in common.
struct Shared {
    settings: Settings,
    /// Sees everything that is replicated: for high watermarks and metadata.
    newest: BaseConsumer<Context>,
    /// Sees what is decided: for last stable offsets.
    committed: BaseConsumer<Context>,
    admin: OnceLock<AdminClient<Context>>,
    /// Idle consumers for lookups.
    lookups: Mutex<Vec<BaseConsumer<Context>>>,
    /// The tails found last.
    tails: Mutex<BTreeMap<StreamName, Tail>>,
    /// The streams of which it was said that their topics could not be checked.
    unchecked: Mutex<BTreeSet<StreamName>>,
}

impl KafkaLog {
    /// Makes the clients. Whether there is a Kafka, the first call that needs it finds out.
    pub fn open(config: &LogConfig, base: &Path) -> Result<Self, OpenError> {
        let settings = Settings::new(config, base)?;
        let client = |isolation: &str| {
            let made = settings.consumer(isolation).create_with_context(settings.context());
            made.map_err(|e| OpenError::Client(as_io(&e).to_string()))
        };
        let (newest, committed) = (client("read_uncommitted")?, client("read_committed")?);
        let shared = Arc::new(Shared {
            settings,
            newest,
            committed,
            admin: OnceLock::new(),
            lookups: Mutex::default(),
            tails: Mutex::default(),
            unchecked: Mutex::default(),
        });
        let served = Arc::downgrade(&shared);
        let serve = move || {
            while let Some(shared) = served.upgrade() {
                // events only: errors, log lines, the need for a token
                drop(shared.newest.poll(SERVE / 2));
                drop(shared.committed.poll(SERVE / 2));
                for idle in shared.lookups.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    drop(idle.poll(Duration::ZERO));
                }
            }
        };
        let thread = std::thread::Builder::new().name("kafka-events".to_owned()).spawn(serve);
        thread.map_err(|e| OpenError::Client(e.to_string()))?;
        Ok(Self { shared })
    }
}

impl Shared {
    fn topic(&self, stream: &StreamName) -> String {
        self.settings.named(stream.as_str())
    }

    fn known(&self, stream: &StreamName) -> Option<Tail> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner).get(stream).copied()
    }

    fn know(&self, stream: &StreamName, tail: Tail) {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.clone(), tail);
    }

    fn admin(&self) -> Result<&AdminClient<Context>, KafkaError> {
        if let Some(admin) = self.admin.get() {
            return Ok(admin);
        }
        let admin = self.settings.client("forestsync").create_with_context(self.settings.context())?;
        Ok(self.admin.get_or_init(|| admin))
    }

    /// Whether the topic exists. Blocking.
    fn exists(&self, topic: &str) -> Result<bool, KafkaError> {
        Ok(self.count_partitions(topic)?.is_some())
    }

    /// How many partitions with a leader the topic has; none if it does not exist. Blocking.
    fn count_partitions(&self, topic: &str) -> Result<Option<usize>, KafkaError> {
        let metadata = self.newest.fetch_metadata(Some(topic), METADATA)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(RDKafkaErrorCode::LeaderNotAvailable) => Ok(Some(0)),
            Some(code) => Err(KafkaError::MetadataFetch(code)),
            None => {
                let led = found.partitions().iter().filter(|partition| partition.leader() >= 0).count();
                Ok(Some(if found.partitions().len() > 1 { found.partitions().len() } else { led }))
            }
        }
    }

    async fn partitions(self: &Arc<Self>, topic: &str) -> Result<Option<usize>, KafkaError> {
        let (shared, topic) = (Arc::clone(self), topic.to_owned());
        let counted = tokio::task::spawn_blocking(move || shared.count_partitions(&topic)).await;
        counted.unwrap_or(Err(KafkaError::Canceled))
    }

    /// The streams there are. Blocking.
    fn streams(&self) -> Result<Vec<StreamName>, KafkaError> {
        let metadata = self.newest.fetch_metadata(None, METADATA)?;
        let ours = |name: &str| -> Option<StreamName> {
            // Kafka's own topics begin like that
            let name = name.strip_prefix(self.settings.prefix.as_str()).filter(|_| !name.starts_with("__"))?;
            name.parse().ok()
        };
        let mut streams: Vec<_> = metadata.topics().iter().filter_map(|topic| ours(topic.name())).collect();
        streams.sort();
        Ok(streams)
    }
}

/// Drops a client where its last requests delay nobody.
fn retire<T: Send + 'static>(client: T) {
    let spawned = std::thread::Builder::new().name("kafka-retire".to_owned()).spawn(move || drop(client));
    if let Err(error) = spawned {
        tracing::debug!(error = %error, "a client of kafka was dropped in place");
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn writer(&self, stream: &StreamName) -> Result<Box<dyn LogWriter>, WriterError> {
        Ok(Box::new(KafkaWriter::open(&self.shared, stream).await?))
    }

    async fn reader(&self, stream: &StreamName, from: u64) -> Result<Box<dyn LogReader>, ReadError> {
        Ok(Box::new(KafkaReader::new(Arc::clone(&self.shared), stream.clone(), from)))
    }

    async fn tail(&self, stream: &StreamName) -> Result<u64, ReadError> {
        Ok(reader::tail(&self.shared, stream).await?.next)
    }

    async fn stream_info(&self, stream: &StreamName) -> Result<StreamInfo, ReadError> {
        blocking(&self.shared, stream, |shared, stream| {
            let tail = shared.tail(stream)?.unwrap_or_default();
            let first_offset = shared.first(stream, &tail)?.unwrap_or(tail.next);
            Ok(StreamInfo { first_offset, next_offset: tail.next, bytes: None, last_append: tail.time })
        })
        .await
    }

    async fn create(&self, streams: &[StreamName]) -> Result<(), WriterError> {
        for stream in streams {
            self.shared.ensure_topic(stream).await?;
        }
        Ok(())
    }

    async fn streams(&self) -> Result<Vec<StreamName>, ReadError> {
        let shared = Arc::clone(&self.shared);
        let listed = tokio::task::spawn_blocking(move || shared.streams()).await;
        let place = self.shared.settings.bootstrap.clone();
        match listed {
            Ok(Ok(streams)) => Ok(streams),
            Ok(Err(error)) => Err(ReadError::List { place, source: as_io(&error) }),
            Err(lost) => Err(ReadError::List { place, source: std::io::Error::other(lost) }),
        }
    }

    async fn join(&self, member: Member) -> Result<Box<dyn Membership>, MembershipError> {
        check_group(&member.group)?;
        Ok(Box::new(KafkaMember::join(&self.shared, member)?))
    }

    async fn group(&self, group: &str) -> Result<GroupStatus, ReadError> {
        group::status(&self.shared, group).await
    }
}
