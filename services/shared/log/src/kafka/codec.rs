//! A record of a stream as a message of a topic, and back.
//!
//! Key, value and headers are what they are. One header comes after all others: the record's offset in the stream, eight
//! bytes, most significant first. Kafka's own offsets cannot be that: each transaction takes one more for its end, and an
//! aborted one takes some for nothing.
//!
//! A compacted topic takes no message without a key. There a record without one gets one that no other record has, so that
//! compaction keeps it, and a ninth byte in the header says that the key is none.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

use crate::{NewRecord, Record};

/// The name of the header that holds the offset. It is the last of a message, so that others may have this name too.
const OFFSET_HEADER: &str = "forestsync-offset";

/// What a message takes beside key, value and headers at the most, and what each header takes, in bytes.
const MESSAGE_OVERHEAD: usize = 36 + NO_KEY.len() + 8 + OFFSET_HEADER.len() + 9 + HEADER_OVERHEAD;
const HEADER_OVERHEAD: usize = 10;

/// The size of a message.
pub(super) fn message_bytes(content: usize, headers: usize) -> usize {
    content + MESSAGE_OVERHEAD + headers * HEADER_OVERHEAD
}

/// What a key that stands for none begins with; the offset follows.
const NO_KEY: &[u8] = b"\0forestsync-no-key";

/// Key and headers of a message.
pub(super) fn encode(offset: u64, record: &NewRecord, compacted: bool) -> (Option<Bytes>, OwnedHeaders) {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 1);
    for (name, value) in &record.headers {
        headers = headers.insert(Header { key: name, value: Some(&value[..]) });
    }
    let mut place = offset.to_be_bytes().to_vec();
    let mut key = record.key.clone();
    if compacted && key.is_none() {
        key = Some([NO_KEY, &place].concat().into());
        place.push(0);
    }
    (key, headers.insert(Header { key: OFFSET_HEADER, value: Some(&place[..]) }))
}

/// The record of a message, or what is wrong with it.
pub(super) fn record(message: &BorrowedMessage<'_>) -> Result<Record, &'static str> {
    let place = place(message)?;
    let mut headers = Vec::new();
    if let Some(all) = message.headers() {
        guarded(|| {
            for header in all.iter().take(all.count().saturating_sub(1)) {
                headers.push((header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default())));
            }
        })?;
    }
    let time = message.timestamp().to_millis().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Ok(Record {
        offset: place.offset,
        timestamp: time.ok_or("a message has no time")?,
        key: message.key().filter(|_| place.keyed).map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        headers,
    })
}

/// The offset of a message's record.
pub(super) fn offset(message: &BorrowedMessage<'_>) -> Result<u64, &'static str> {
    Ok(place(message)?.offset)
}

/// What the engine's own header says.
struct Place {
    offset: u64,
    keyed: bool,
}

fn place(message: &BorrowedMessage<'_>) -> Result<Place, &'static str> {
    const NONE: &str = "a message was not written by forestsync: it has no offset of its stream";
    let headers = message.headers().ok_or(NONE)?;
    let last = headers.count().checked_sub(1).ok_or(NONE)?;
    guarded(|| headers.try_get(last).and_then(|header| parse(header.key, header.value?)))?.ok_or(NONE)
}

fn parse(name: &str, value: &[u8]) -> Option<Place> {
    let (offset, rest) = value.split_first_chunk()?;
    let keyed = match rest {
        [] => true,
        [0] => false,
        _ => return None,
    };
    (name == OFFSET_HEADER).then(|| Place { offset: u64::from_be_bytes(*offset), keyed })
}

/// The library panics where the name of a header is not text; whoever may write to the topic could have done that.
fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, &'static str> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| "the name of a header is not text")
}
