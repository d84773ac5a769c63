//! The reader: a consumer of its own that is told where to begin, and that the records follow one another.
//!
//! Kafka's client reads ahead into a bounded queue; records are taken out of it one call at a time, so a dropped call has
//! taken nothing. At the end of the queue [`LogReader::poll`] asks for the tail: only what that says is an end.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use rdkafka::consumer::StreamConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::Shared;
use super::client::{Context, as_io, refuses};
use super::tail::{LIMIT, Tail, assign, blocking, damaged, follows, is_damage, timed_out};
use crate::{LogReader, ReadError, Record, StreamName};

/// How often a reader looks whether its stream has come to be.
const APPEARANCE: Duration = Duration::from_millis(100);

/// How long a token may be refused. A reader that nobody asks for a while is not given its next one, and with the old one
/// it fails until it is asked again.
const STALE_TOKEN: Duration = Duration::from_secs(20);

/// What is read ahead for a reader, in KiB.
const READ_AHEAD_KIB: &str = "16384";

/// A look at the stream: its tail and, where it was asked for, a consumer at the place to begin.
type Look = JoinHandle<Result<Option<(Tail, Option<Client>)>, ReadError>>;

/// A reader of a stream on Kafka.
pub(super) struct KafkaReader {
    shared: Arc<Shared>,
    stream: StreamName,
    topic: String,
    position: u64,
    /// Taken out of the client, not yet returned.
    taken: VecDeque<Record>,
    /// What the client said after the records that were taken.
    trouble: Option<ReadError>,
    consumer: Option<Client>,
    look: Option<Look>,
}

/// The client, and whether it has come to the first record due.
struct Client {
    /// None only while it is being dropped.
    inner: Option<StreamConsumer<Context>>,
    arrived: bool,
    /// Since when its token has been refused.
    refused: Option<Instant>,
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            super::retire(inner);
        }
    }
}

impl fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaReader")
            .field("topic", &self.topic)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl KafkaReader {
    pub(super) fn new(shared: Arc<Shared>, stream: StreamName, from: u64) -> Self {
        let (topic, taken) = (shared.topic(&stream), VecDeque::new());
        Self { shared, stream, topic, position: from, taken, trouble: None, consumer: None, look: None }
    }

    /// Looks at the stream: none if it does not exist. True when the look began in this call.
    async fn look(&mut self) -> Result<(bool, Option<Tail>), ReadError> {
        let fresh = self.look.is_none();
        let look = self.look.get_or_insert_with(|| {
            let (shared, stream, from) = (Arc::clone(&self.shared), self.stream.clone(), self.position);
            let unplaced = self.consumer.is_none();
            tokio::task::spawn_blocking(move || {
                let Some(tail) = shared.tail(&stream)? else { return Ok(None) };
                let client = if unplaced { Some(begin(&shared, &stream, &tail, from)?) } else { None };
                Ok(Some((tail, client)))
            })
        });
        let looked = look.await;
        self.look = None;
        let lost = |e| ReadError::Io { stream: self.stream.clone(), source: std::io::Error::other(e) };
        let Some((tail, client)) = looked.map_err(lost)?? else { return Ok((fresh, None)) };
        if client.is_some() {
            self.consumer = client;
        }
        Ok((fresh, Some(tail)))
    }

    /// Takes at most `max` records out of what was read ahead; waits for the first one where that is wanted.
    async fn take(&mut self, max: usize, wait: bool) {
        let Self { shared, consumer: Some(client), stream, topic, taken, trouble, position, .. } = self else { return };
        let Client { inner: Some(consumer), arrived, refused } = client else { return };
        let by_token = shared.settings.by_token();
        let mut place = Place { stream, topic, position: *position, arrived: *arrived };
        let mut messages = consumer.stream();
        while taken.len() < max && trouble.is_none() {
            let next = messages.next();
            let message = match next.now_or_never() {
                Some(message) => message,
                None if wait && taken.is_empty() => messages.next().await,
                None => break,
            };
            match message {
                Some(Ok(message)) => match place.record(&message) {
                    Ok(Some(record)) => {
                        place.position = record.offset + 1;
                        *refused = None;
                        taken.push_back(record);
                    }
                    Ok(None) => {}
                    Err(error) => *trouble = Some(error),
                },
                Some(Err(error)) if by_token && is_stale(&error, refused) => {
                    tracing::debug!(stream = %stream, error = %error, "a reader waits for its next token");
                }
                Some(Err(error)) => *trouble = serious(stream, topic, *position, &error),
                None => break,
            }
            // kept at once: the next wait may be where this call is dropped
            *position = place.position;
            *arrived = place.arrived;
        }
    }

    /// What was taken, or the trouble behind it.
    fn taken(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        let count = self.taken.len().min(max);
        if count > 0 {
            return Ok(self.taken.drain(..count).collect());
        }
        match self.trouble.take() {
            None => Ok(Vec::new()),
            Some(error) => {
                // What was read ahead is not trusted any more: the next call finds its place anew.
                self.consumer = None;
                Err(error)
            }
        }
    }
}

/// Begins to read at offset `from`. Blocking.
fn begin(shared: &Shared, stream: &StreamName, tail: &Tail, from: u64) -> Result<Client, ReadError> {
    let place = shared.place(stream, tail, from)?;
    let mut config = shared.settings.consumer("read_committed");
    config
        .set("group.id", shared.settings.named("forestsync"))
        .set("queued.max.messages.kbytes", READ_AHEAD_KIB)
        .set("queued.min.messages", "5000");
    let failed = |e: KafkaError| ReadError::Io { stream: stream.clone(), source: as_io(&e) };
    let consumer: StreamConsumer<Context> = config.create_with_context(shared.settings.context()).map_err(failed)?;
    let serve = || {
        drop(consumer.stream().next().now_or_never());
        std::thread::sleep(Duration::from_millis(1));
    };
    assign(&consumer, &shared.topic(stream), place, serve).map_err(failed)?;
    Ok(Client { inner: Some(consumer), arrived: false, refused: None })
}

/// Where a reader is in its topic.
struct Place<'a> {
    stream: &'a StreamName,
    topic: &'a str,
    position: u64,
    arrived: bool,
}

impl Place<'_> {
    /// The record of a message, if it is one that is due.
    fn record(&mut self, message: &BorrowedMessage<'_>) -> Result<Option<Record>, ReadError> {
        let wrong = |detail: String| damaged(self.stream, self.topic, message.offset(), detail);
        let record = super::codec::record(message).map_err(|detail| wrong(detail.to_owned()))?;
        if !self.arrived && record.offset < self.position {
            return Ok(None);
        }
        follows(self.stream, &record, self.position).map_err(wrong)?;
        self.arrived = true;
        Ok(Some(record))
    }
}

/// Whether the next token may heal it.
fn is_stale(error: &KafkaError, refused: &mut Option<Instant>) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::Authentication)
        && refused.get_or_insert_with(Instant::now).elapsed() < STALE_TOKEN
}

/// What reading on does not get over.
fn serious(stream: &StreamName, topic: &str, position: u64, error: &KafkaError) -> Option<ReadError> {
    let code = error.rdkafka_error_code()?;
    if is_damage(error) {
        let place = format!("topic {topic} at record {position} or behind it");
        let detail = format!("a batch of the topic is damaged ({code})");
        return Some(ReadError::Damaged { stream: stream.clone(), place, detail });
    }
    let lost = matches!(
        code,
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::Fatal
    );
    if lost || refuses(code) || matches!(error, KafkaError::MessageConsumptionFatal(_)) {
        return Some(ReadError::Io { stream: stream.clone(), source: as_io(error) });
    }
    tracing::debug!(stream = %stream, error = %error, "reading goes on after an error");
    None
}

#[async_trait]
impl LogReader for KafkaReader {
    fn stream(&self) -> &StreamName {
        &self.stream
    }

    fn position(&self) -> u64 {
        self.taken.front().map_or(self.position, |record| record.offset)
    }

    async fn next(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        let max = max.max(1);
        loop {
            if self.consumer.is_none() && self.taken.is_empty() && self.look().await?.1.is_none() {
                sleep(APPEARANCE).await;
                continue;
            }
            self.take(max, true).await;
            let taken = self.taken(max)?;
            if !taken.is_empty() {
                return Ok(taken);
            }
        }
    }

    async fn poll(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        loop {
            self.take(max, false).await;
            let taken = self.taken(max)?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            let (fresh, found) = self.look().await?;
            let Some(tail) = found else {
                if fresh {
                    return Ok(Vec::new());
                }
                continue;
            };
            if tail.next > self.position {
                if timeout(LIMIT, self.take(max, true)).await.is_err() {
                    let text = format!(
                        "topic {} has records up to {} and does not give them; try again",
                        self.topic, tail.next
                    );
                    return Err(timed_out(&self.stream, text));
                }
            } else if fresh {
                return Ok(Vec::new());
            }
        }
    }
}

/// The tail of a stream for whoever asks.
pub(super) async fn tail(shared: &Arc<Shared>, stream: &StreamName) -> Result<Tail, ReadError> {
    Ok(blocking(shared, stream, Shared::tail).await?.unwrap_or_default())
}
