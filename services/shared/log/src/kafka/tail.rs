//! Where a stream ends, so that nothing acknowledged is missed.
//!
//! A commit is acknowledged once the coordinator has it on disk; its marker reaches the topic later, much later if a broker
//! dies in between. Until then a reader of committed records sees less than was acknowledged. So:
//!
//! ```text
//!   ... | record | record | marker | record  record |
//!                                  ^                ^
//!                      last stable offset     high watermark
//! ```
//!
//! 1. the high watermark is taken first: whatever was acknowledged is below it, and a new leader that does not know its
//!    own yet says so;
//! 2. the last stable offset is waited for until it has got there: then everything below is decided. A living writer
//!    needs milliseconds for that; a dead one's transaction ends by its timeout, or by the next writer;
//! 3. the last record below that is looked up. What was found is kept together with the watermark: as long as that does
//!    not move, neither does the tail.

use std::sync::Arc;

use jiff::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{Duration, Instant};

use super::client::{Context, as_io, refuses};
use super::{Shared, codec};
use crate::chain::ChainHash;
use crate::{ReadError, Record, StreamName};

/// How long an answer about a stream may take. A dead writer's transaction is aborted by its coordinator within twenty
/// seconds.
pub(super) const LIMIT: Duration = Duration::from_secs(45);

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// Lookups that look this far back at first: a record and the marker behind it.
const FIRST_LOOK: i64 = 2;

/// Below this distance, in Kafka's offsets, reading on is quicker than searching on.
const NEAR: i64 = 400;

/// How many idle consumers for lookups are kept.
const POOLED: usize = 2;

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// The offset the next record will get.
    pub(super) next: u64,
    /// The smallest of Kafka's offsets the topic has.
    pub(super) low: i64,
    /// The last stable offset: all of Kafka's offsets below it are decided.
    pub(super) stable: i64,
    /// The high watermark it was found at.
    high: i64,
    /// When the last record was written.
    pub(super) time: Option<Timestamp>,
    /// The chain's value at the last record.
    pub(super) own: ChainHash,
}

impl Default for Tail {
    fn default() -> Self {
        Self { next: 0, low: 0, stable: 0, high: 0, time: None, own: ChainHash::BEGIN }
    }
}

/// A record as a lookup sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    kafka: i64,
    pub(super) own: u64,
    time: Option<i64>,
    chain: ChainHash,
}

impl Shared {
    /// The tail of the stream; none if it does not exist. Sees everything acknowledged before the call. Blocking.
    pub(super) fn tail(&self, stream: &StreamName) -> Result<Option<Tail>, ReadError> {
        let (topic, deadline) = (self.topic(stream), Instant::now() + LIMIT);
        let Some((low, high)) = self.watermarks(&self.newest, stream, &topic, deadline)? else { return Ok(None) };
        if let Some(known) = self.known(stream).filter(|known| known.high == high) {
            return Ok(Some(Tail { low, ..known }));
        }
        let mut wait = Duration::from_millis(1);
        let stable = loop {
            let stable = self.watermarks(&self.committed, stream, &topic, deadline)?.map_or(0, |(_, stable)| stable);
            if stable >= high {
                break stable;
            }
            if Instant::now() > deadline {
                let text = format!("an append to topic {topic} is not decided yet (at {stable} of {high}); try again");
                return Err(timed_out(stream, text));
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(Duration::from_millis(50));
        };
        let last = self.last(stream, &topic, low, stable, deadline)?;
        if last.is_none() && low > 0 {
            let detail = "records at its beginning were deleted, and nothing is left";
            return Err(damaged(stream, &topic, low, detail));
        }
        let time = last.and_then(|last| last.time).and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let own = last.map_or(ChainHash::BEGIN, |last| last.chain);
        let tail = Tail { next: last.map_or(0, |last| last.own + 1), low, stable, high, time, own };
        self.know(stream, tail);
        Ok(Some(tail))
    }

    /// Both ends of the topic as the client sees them, none where it does not exist; waits for a leader to know them.
    fn watermarks(
        &self,
        client: &BaseConsumer<Context>,
        stream: &StreamName,
        topic: &str,
        deadline: Instant,
    ) -> Result<Option<(i64, i64)>, ReadError> {
        loop {
            let error = match client.fetch_watermarks(topic, 0, REQUEST) {
                Ok(ends) => return Ok(Some(ends)),
                Err(error) => error,
            };
            let code = error.rdkafka_error_code();
            let unknown = matches!(
                code,
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition
                        | RDKafkaErrorCode::UnknownTopic
                        | RDKafkaErrorCode::UnknownPartition
                )
            );
            if unknown && self.known(stream).is_none() && !self.exists(topic).unwrap_or(true) {
                return Ok(None);
            }
            if let Some(reason) = self.settings.refusal() {
                return Err(ReadError::Io { stream: stream.clone(), source: std::io::Error::other(reason) });
            }
            pass(stream, &error, deadline)?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The last record below `end`, an offset that everything below is decided of.
    fn last(
        &self,
        stream: &StreamName,
        topic: &str,
        low: i64,
        end: i64,
        deadline: Instant,
    ) -> Result<Option<Place>, ReadError> {
        let mut back = FIRST_LOOK;
        loop {
            let from = low.max(end.saturating_sub(back));
            let found = self.scan(stream, topic, (from, end), usize::MAX, deadline)?.pop();
            // Right before the end there is room for a marker and nothing else, so this is the last one for certain.
            if let Some(found) = found.filter(|found| found.kafka + 2 == end) {
                return Ok(Some(found));
            }
            if found.is_some() || from == low {
                return self.surely_last(stream, topic, (from, end), found, deadline);
            }
            back = back.saturating_mul(8);
        }
    }

    /// A leader that has only just become one may have answered with an end of its own that was behind. By the time it
    /// knows better, the same look must find the same.
    fn surely_last(
        &self,
        stream: &StreamName,
        topic: &str,
        range: (i64, i64),
        mut found: Option<Place>,
        deadline: Instant,
    ) -> Result<Option<Place>, ReadError> {
        loop {
            let stable = self.watermarks(&self.committed, stream, topic, deadline)?.map_or(0, |(_, stable)| stable);
            if stable >= range.1 {
                let again = self.scan(stream, topic, range, usize::MAX, deadline)?.pop();
                if again.map(|place| place.kafka) == found.map(|place| place.kafka) {
                    return Ok(found);
                }
                found = again;
            }
            if Instant::now() > deadline {
                return Err(timed_out(stream, format!("the end of topic {topic} cannot be found out; try again")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The first record of the stream.
    pub(super) fn first(&self, stream: &StreamName, tail: &Tail) -> Result<Option<u64>, ReadError> {
        let (topic, deadline) = (self.topic(stream), Instant::now() + LIMIT);
        let found = self.scan(stream, &topic, (tail.low, tail.stable), 1, deadline)?;
        Ok(found.first().map(|place| place.own))
    }

    /// One of Kafka's offsets from which on all records with offsets of at least `from` are found, and not many others.
    pub(super) fn place(&self, stream: &StreamName, tail: &Tail, from: u64) -> Result<i64, ReadError> {
        if from == 0 {
            return Ok(tail.low);
        }
        if from >= tail.next {
            return Ok(tail.stable);
        }
        let (topic, deadline) = (self.topic(stream), Instant::now() + LIMIT);
        let (mut low, mut high) = (tail.low, tail.stable);
        // Offsets of both kinds grow together, mostly at an even pace; where that guess is bad, halves are searched.
        let share = from as f64 / tail.next as f64;
        let mut guess = low + ((high - low) as f64 * share) as i64 - NEAR / 2;
        while high - low > NEAR {
            let at = guess.clamp(low + 1, high - 1);
            match self.scan(stream, &topic, (at, high), 1, deadline)?.first() {
                Some(place) if place.own <= from => {
                    low = place.kafka.max(at);
                    guess = low + NEAR.min((high - low) / 2);
                    if from - place.own <= NEAR as u64 {
                        return Ok(low);
                    }
                }
                _ => {
                    high = at;
                    guess = low + (high - low) / 2;
                }
            }
            guess = if (guess - low) * 4 < high - low { low + (high - low) / 2 } else { guess };
        }
        Ok(low)
    }

    /// At most `max` committed records with one of Kafka's offsets in `range`, in order.
    fn scan(
        &self,
        stream: &StreamName,
        topic: &str,
        range: (i64, i64),
        max: usize,
        deadline: Instant,
    ) -> Result<Vec<Place>, ReadError> {
        if range.0 >= range.1 {
            return Ok(Vec::new());
        }
        let client = self.lookup().map_err(|e| ReadError::Io { stream: stream.clone(), source: as_io(&e) })?;
        let found = scan(&client, stream, topic, range, max, deadline);
        if found.is_ok() && client.unassign().is_ok() {
            // what is left of this lookup must not be taken for the next one's
            while client.poll(Duration::ZERO).is_some() {}
            self.give_back(client);
        }
        found
    }

    /// A consumer for lookups.
    fn lookup(&self) -> Result<BaseConsumer<Context>, KafkaError> {
        let pooled = self.lookups.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        if let Some(client) = pooled {
            return Ok(client);
        }
        let mut config = self.settings.consumer("read_committed");
        config
            .set("group.id", self.settings.named("forestsync"))
            .set("enable.partition.eof", "true")
            .set("fetch.message.max.bytes", "65536")
            .set("fetch.wait.max.ms", "5")
            .set("queued.max.messages.kbytes", "1024");
        config.create_with_context(self.settings.context())
    }

    fn give_back(&self, client: BaseConsumer<Context>) {
        let mut pool = self.lookups.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if pool.len() < POOLED {
            pool.push(client);
        } else {
            drop(pool);
            super::retire(client);
        }
    }
}

/// [`Shared::scan`] with one consumer.
fn scan(
    client: &BaseConsumer<Context>,
    stream: &StreamName,
    topic: &str,
    range: (i64, i64),
    max: usize,
    deadline: Instant,
) -> Result<Vec<Place>, ReadError> {
    let serve = || drop(client.poll(Duration::from_millis(10)));
    assign(client, topic, range.0, serve).map_err(|e| ReadError::Io { stream: stream.clone(), source: as_io(&e) })?;
    let mut found: Vec<Place> = Vec::new();
    while found.len() < max {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let kafka = message.offset();
                if kafka >= range.1 {
                    break;
                }
                let wrong = |detail| damaged(stream, topic, kafka, detail);
                let own = codec::offset(&message).map_err(wrong)?;
                let chain = codec::own(&message).map_err(wrong)?;
                let place = Place { kafka, own, time: message.timestamp().to_millis(), chain };
                if max == usize::MAX {
                    found.clear();
                }
                found.push(place);
                if kafka + 1 >= range.1 {
                    break;
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) if is_damage(&error) => {
                let at = found.last().map_or(range.0, |place| place.kafka + 1);
                return Err(damaged(stream, topic, at, format!("a batch there or behind it cannot be read ({error})")));
            }
            Some(Err(error)) => pass(stream, &error, deadline)?,
            None if Instant::now() > deadline => {
                return Err(timed_out(stream, format!("topic {topic} cannot be read at {}; try again", range.0)));
            }
            None => {}
        }
    }
    Ok(found)
}

/// Whether a batch came from the broker damaged: the client would go on behind it.
pub(super) fn is_damage(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::BadCompression))
}

/// Lets a passing error pass, until the deadline.
fn pass(stream: &StreamName, error: &KafkaError, deadline: Instant) -> Result<(), ReadError> {
    let refused = error.rdkafka_error_code().is_some_and(refuses);
    if refused || Instant::now() > deadline {
        return Err(ReadError::Io { stream: stream.clone(), source: as_io(error) });
    }
    Ok(())
}

/// Has a consumer read one topic from one of Kafka's offsets on; `serve` serves its events for a moment. Blocking.
pub(super) fn assign(
    client: &impl Consumer<Context>,
    topic: &str,
    from: i64,
    serve: impl Fn(),
) -> Result<(), KafkaError> {
    let deadline = Instant::now() + REQUEST;
    while client.context().lacks_token() && Instant::now() < deadline {
        serve();
    }
    // A topic that the client does not know yet would be asked for by a timer of its own, a second later.
    drop(client.fetch_metadata(Some(topic), REQUEST));
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(from))?;
    client.assign(&list)
}

/// What does not fit in a topic.
pub(super) fn damaged(stream: &StreamName, topic: &str, at: i64, detail: impl Into<String>) -> ReadError {
    ReadError::Damaged {
        stream: stream.clone(),
        place: format!("topic {topic} at Kafka's offset {at}"),
        detail: detail.into(),
    }
}

/// Too long a wait.
pub(super) fn timed_out(stream: &StreamName, text: String) -> ReadError {
    ReadError::Io { stream: stream.clone(), source: std::io::Error::new(std::io::ErrorKind::TimedOut, text) }
}

/// Makes sure that a record is the one due: `expected` or, in a compacted stream and behind a gap that was made on purpose, a
/// later one.
pub(super) fn follows(stream: &StreamName, record: &Record, expected: u64) -> Result<(), String> {
    if record.offset < expected {
        return Err(format!("record {} comes again where {expected} belongs", record.offset));
    }
    if record.offset > expected && !stream.is_compacted() && !record.link.is_some_and(|link| link.gap) {
        return Err(format!("record {} stands where {expected} belongs", record.offset));
    }
    Ok(())
}

/// Runs a blocking look at a stream.
pub(super) async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    stream: &StreamName,
    look: impl FnOnce(&Shared, &StreamName) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    let (shared, name) = (Arc::clone(shared), stream.clone());
    let looked = tokio::task::spawn_blocking(move || look(&shared, &name)).await;
    looked.map_err(|e| ReadError::Io { stream: stream.clone(), source: std::io::Error::other(e) })?
}
