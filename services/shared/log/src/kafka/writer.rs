//! The writer: one transaction per append, by a transactional id that the next writer of the stream takes over.
//!
//! ```text
//!  begin ─> send all ─> all delivered? ─no─> abort: nothing was written, for certain
//!                            │yes
//!                          commit ─ok─> acknowledged
//!                            └─failed─> the coordinator may have it or not: the outcome is unknown
//! ```
//!
//! Nothing but the commit can make an append visible, and it is sent only once everything else is safe with the brokers.
//! An append that is left open dies by its timeout, or by the next writer, which has it aborted first of all.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use async_trait::async_trait;
use forestsync_runtime::clock;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use tokio::time::{Duration, Instant};

use super::client::{Context, as_io, log_error, log_line, refuses};
use super::topic::{MAX_MESSAGE_BYTES, unwritable};
use super::{Shared, codec};
use crate::chain::{self, ChainHash, Content, Link};
use crate::{AppendError, LogWriter, NewRecord, Record, StreamName, WriterError, record};

/// How long a transaction may stay open before its coordinator aborts it; nothing of an append takes that long while the
/// brokers are well.
const TRANSACTION_MS: &str = "10000";

/// How long a writer waits for its transactional id: a coordinator that has to finish the work of the one before.
const OPEN: Duration = Duration::from_secs(30);

/// How long a commit is tried before its outcome is given up as unknown.
const COMMIT: Duration = Duration::from_mins(1);

/// How long an abort is tried; where it fails the transaction dies by its timeout.
const ABORT: Duration = Duration::from_secs(5);

/// A writer of a stream on Kafka.
pub(super) struct KafkaWriter {
    stream: StreamName,
    next: u64,
    state: State,
}

enum State {
    Ready(Core),
    /// An append is under way, was dropped, or failed.
    Gone,
    /// Another writer took over.
    Fenced,
}

/// What the blocking side owns.
struct Core {
    stream: StreamName,
    topic: String,
    next: u64,
    /// The chain's value at the last record.
    own: ChainHash,
    producer: Option<ThreadedProducer<Deliveries>>,
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            super::retire(producer);
        }
    }
}

impl fmt::Debug for KafkaWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaWriter").field("stream", &self.stream).field("next", &self.next).finish_non_exhaustive()
    }
}

/// A record with the place and time it gets.
struct Placed {
    offset: u64,
    time_ms: i64,
    link: Linked,
    record: NewRecord,
}

/// Where a record's link comes from.
#[derive(Clone, Copy)]
enum Linked {
    /// It is made when the record is sent, behind the one before.
    Made,
    /// It is what it was in another log.
    Kept(Option<Link>),
}

/// How an append failed.
enum Failed {
    Fenced,
    NotWritten(io::Error),
    Unknown(io::Error),
}

impl KafkaWriter {
    /// Makes the topic where there is none, checks it, takes the stream over and finds its tail.
    pub(super) async fn open(shared: &Arc<Shared>, stream: &StreamName) -> Result<Self, WriterError> {
        if shared.ensure_topic(stream).await? {
            shared.check_topic(stream).await?;
        }
        let (shared, name) = (Arc::clone(shared), stream.clone());
        let opened = tokio::task::spawn_blocking(move || Core::open(&shared, &name)).await;
        let core = opened.map_err(|e| WriterError::Io { stream: stream.clone(), source: io::Error::other(e) })??;
        Ok(Self { stream: stream.clone(), next: core.next, state: State::Ready(core) })
    }

    async fn run(&mut self, records: Vec<Placed>, end: u64) -> Result<(), AppendError> {
        let stream = self.stream.clone();
        let core = match std::mem::replace(&mut self.state, State::Gone) {
            State::Ready(core) => core,
            State::Gone => return Err(AppendError::Unusable(stream)),
            State::Fenced => {
                self.state = State::Fenced;
                return Err(AppendError::Fenced(stream));
            }
        };
        let done = tokio::task::spawn_blocking(move || core.append(&records, end)).await;
        let (core, outcome) =
            done.map_err(|e| AppendError::Io { stream: stream.clone(), source: io::Error::other(e) })?;
        if let Some(core) = core {
            self.next = core.next;
            self.state = if core.is_fenced() { State::Fenced } else { State::Ready(core) };
        }
        match outcome {
            Ok(()) => Ok(()),
            Err(Failed::Fenced) => {
                self.state = State::Fenced;
                Err(AppendError::Fenced(stream))
            }
            Err(Failed::NotWritten(source)) => Err(AppendError::NotWritten { stream, source }),
            Err(Failed::Unknown(source)) => Err(AppendError::Io { stream, source }),
        }
    }
}

impl Core {
    /// Takes the stream over: whoever wrote it before is fenced off, and what he left open is aborted. Blocking.
    fn open(shared: &Shared, stream: &StreamName) -> Result<Self, WriterError> {
        let topic = shared.topic(stream);
        let mut config = shared.settings.client("forestsync");
        config
            .set("transactional.id", &topic)
            .set("transaction.timeout.ms", TRANSACTION_MS)
            .set("message.timeout.ms", TRANSACTION_MS)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "zstd")
            .set("message.max.bytes", MAX_MESSAGE_BYTES.to_string())
            .set("batch.size", MAX_MESSAGE_BYTES.to_string())
            .set("linger.ms", "1")
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", "65536");
        let deliveries = Deliveries { context: shared.settings.context(), state: Arc::default() };
        let producer: ThreadedProducer<Deliveries> =
            config.create_with_context(deliveries).map_err(|e| unwritable(stream, &e))?;
        let mut core = Self { stream: stream.clone(), topic, next: 0, own: ChainHash::BEGIN, producer: Some(producer) };
        core.take_over()?;
        let tail = shared.tail(stream).map_err(|error| match error {
            crate::ReadError::Damaged { stream, place, detail } => WriterError::Damaged { stream, place, detail },
            other => WriterError::Io { stream: stream.clone(), source: io::Error::other(other) },
        })?;
        let tail = tail.unwrap_or_default();
        (core.next, core.own) = (tail.next, tail.own);
        Ok(core)
    }

    fn take_over(&self) -> Result<(), WriterError> {
        let Some(producer) = &self.producer else { return Ok(()) };
        let deadline = Instant::now() + OPEN;
        // Without a connection the coordinator would be asked for by a timer, half a second later.
        drop(producer.client().fetch_metadata(Some(&self.topic), Duration::from_secs(5)));
        loop {
            let error = match producer.init_transactions(Duration::from_secs(10)) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let code = error.rdkafka_error_code();
            if code.is_some_and(refuses) {
                let detail = format!("{error}; check the account's rights on transactional id {}", self.topic);
                return Err(WriterError::Refused { stream: self.stream.clone(), detail });
            }
            let retriable = matches!(&error, KafkaError::Transaction(e) if e.is_retriable());
            if !retriable || Instant::now() > deadline {
                return Err(unwritable(&self.stream, &error));
            }
        }
    }

    /// One append. This side is returned where it can be used further.
    fn append(mut self, records: &[Placed], end: u64) -> (Option<Self>, Result<(), Failed>) {
        let Some(producer) = self.producer.take() else {
            return (None, Err(Failed::NotWritten(io::Error::other("the producer is gone"))));
        };
        let written = self.send(&producer, records);
        let (usable, outcome) = match written {
            Ok(own) => match commit(&producer) {
                Ok(()) => {
                    self.own = own;
                    (true, Ok(()))
                }
                Err(error) => (false, Err(Failed::Unknown(error))),
            },
            // The client has been seen to purge what is sent next after an abort, so it is not used again.
            Err(error) => (false, Err(self.take_back(&producer, &error))),
        };
        self.producer = Some(producer);
        if outcome.is_ok() {
            self.next = end;
        }
        // A writer that was fenced off is asked once more what it is.
        let fenced = self.is_fenced();
        (Some(self).filter(|_| usable || fenced), outcome)
    }

    /// Has all records delivered within a new transaction; returns the chain's value at the last of them.
    fn send(&self, producer: &ThreadedProducer<Deliveries>, records: &[Placed]) -> Result<ChainHash, KafkaError> {
        producer.begin_transaction()?;
        let deliveries = producer.context();
        let append = deliveries.expect(records.len());
        let mut own = self.own;
        for Placed { offset, time_ms, link, record } in records {
            let link = match link {
                Linked::Kept(link) => *link,
                Linked::Made => {
                    let place = chain::Place { offset: *offset, time_ms: *time_ms };
                    let content =
                        Content { key: record.key.as_deref(), value: &record.value, headers: &record.headers };
                    Some(Link::of(own, &self.stream, place, content))
                }
            };
            own = link.map_or(ChainHash::BEGIN, |link| link.own);
            let (key, headers) = codec::encode(*offset, link, record, self.stream.is_compacted());
            let mut message: BaseRecord<'_, [u8], [u8], usize> = BaseRecord::with_opaque_to(&self.topic, append);
            message = message.partition(0);
            message = message.payload(&record.value[..]).timestamp(*time_ms).headers(headers);
            if let Some(key) = &key {
                message = message.key(&key[..]);
            }
            if let Err((error, _)) = producer.send(message) {
                return Err(error);
            }
        }
        deliveries.wait()?;
        Ok(own)
    }

    /// Aborts what was sent. Whatever comes of that, it is never committed.
    fn take_back(&self, producer: &ThreadedProducer<Deliveries>, error: &KafkaError) -> Failed {
        if fenced(producer, Some(error)) {
            return Failed::Fenced;
        }
        if let Err(abort) = producer.abort_transaction(ABORT) {
            tracing::debug!(topic = self.topic, error = %abort, "an append could not be taken back; it ends by itself");
            if fenced(producer, Some(&abort)) {
                return Failed::Fenced;
            }
        }
        let hint = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                format!("; set max.message.bytes of topic {} to at least 1048588", self.topic)
            }
            Some(RDKafkaErrorCode::MessageTimedOut) => {
                // a broker whose disk is full stops without a word to its clients
                "; check that the brokers run, can be reached and have space on their disks".to_owned()
            }
            _ => String::new(),
        };
        Failed::NotWritten(io::Error::other(format!("{}{hint}", as_io(error))))
    }

    fn is_fenced(&self) -> bool {
        self.producer.as_ref().is_some_and(|producer| fenced(producer, None))
    }
}

/// Commits, until the coordinator has answered.
fn commit(producer: &ThreadedProducer<Deliveries>) -> io::Result<()> {
    let deadline = Instant::now() + COMMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        match producer.commit_transaction(left) {
            Ok(()) => return Ok(()),
            Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {}
            Err(error) => return Err(as_io(&error)),
        }
    }
}

/// Whether another writer has taken over, in whatever words that is said.
fn fenced(producer: &ThreadedProducer<Deliveries>, error: Option<&KafkaError>) -> bool {
    use RDKafkaErrorCode as Code;
    let says = |code: Code| matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch);
    error.and_then(KafkaError::rdkafka_error_code).is_some_and(says)
        || producer.client().fatal_error().is_some_and(|(code, _)| says(code))
}

/// What became of the messages of an append.
#[derive(Debug, Clone)]
struct Deliveries {
    context: Context,
    state: Arc<(Mutex<Open>, Condvar)>,
}

#[derive(Debug, Default)]
struct Open {
    /// Which append it is: what is told of the messages of an earlier one, late, is not about this one.
    append: usize,
    left: usize,
    error: Option<KafkaError>,
}

impl Deliveries {
    /// Begins an append of so many messages; each is sent with what is returned.
    fn expect(&self, count: usize) -> usize {
        let mut open = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        *open = Open { append: open.append.wrapping_add(1), left: count, error: None };
        open.append
    }

    /// Waits until all are delivered or one is not. Bounded: the client gives up a message after its timeout.
    fn wait(&self) -> Result<(), KafkaError> {
        let mut open = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        while open.left > 0 && open.error.is_none() {
            open = self.state.1.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
        open.error.take().map_or(Ok(()), Err)
    }
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.context.generate_oauth_token(config)
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, append: usize) {
        let mut open = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        if append != open.append {
            return;
        }
        open.left = open.left.saturating_sub(1);
        if let Err((error, _)) = result {
            open.error.get_or_insert_with(|| error.clone());
        }
        if open.left == 0 || open.error.is_some() {
            self.state.1.notify_all();
        }
    }
}

/// Refuses what the engine cannot take, before anything is sent.
fn check<'a>(stream: &StreamName, sizes: impl Iterator<Item = (usize, &'a NewRecord)>) -> Result<(), AppendError> {
    for (bytes, new) in sizes {
        let message = codec::message_bytes(bytes, new.headers.len());
        if message > MAX_MESSAGE_BYTES {
            let what = "a record, with the lengths of its parts,";
            return Err(record::too_large(stream, what, Some(new), message, MAX_MESSAGE_BYTES));
        }
        // a name is written up to its first zero byte
        if new.headers.iter().any(|(name, _)| name.contains('\0')) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the name of a header holds a zero byte");
            return Err(AppendError::NotWritten { stream: stream.clone(), source });
        }
    }
    Ok(())
}

#[async_trait]
impl LogWriter for KafkaWriter {
    fn stream(&self) -> &StreamName {
        &self.stream
    }

    fn next_offset(&self) -> u64 {
        self.next
    }

    async fn append(&mut self, records: Vec<NewRecord>) -> Result<u64, AppendError> {
        let first = self.next;
        if records.is_empty() {
            return Ok(first);
        }
        record::check_record_sizes(&self.stream, &records)?;
        check(&self.stream, records.iter().map(|record| (record.size(), record)))?;
        let time_ms = clock::now().as_millisecond();
        let end = first + records.len() as u64;
        let placed = records.into_iter().zip(first..).map(|(record, offset)| Placed {
            offset,
            time_ms,
            link: Linked::Made,
            record,
        });
        self.run(placed.collect(), end).await?;
        Ok(first)
    }

    async fn restore(&mut self, records: Vec<Record>) -> Result<(), AppendError> {
        let end = record::check_places(&self.stream, self.next, &records)?;
        if records.is_empty() {
            return Ok(());
        }
        record::check_record_sizes(&self.stream, &records)?;
        let placed: Vec<Placed> = records
            .into_iter()
            .map(|Record { offset, timestamp, key, value, headers, link }| Placed {
                offset,
                time_ms: timestamp.as_millisecond(),
                link: Linked::Kept(link),
                record: NewRecord { key, value, headers },
            })
            .collect();
        check(&self.stream, placed.iter().map(|placed| (placed.record.size(), &placed.record)))?;
        self.run(placed, end).await
    }
}
