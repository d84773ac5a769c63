//! A record of a stream as a message of a topic, and back.
//!
//! Key, value and headers are what they are. One header comes after all others: the record's offset in the stream, eight
//! bytes, most significant first. Kafka's own offsets cannot be that: each transaction takes one more for its end, and an
//! aborted one takes some for nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

use crate::Record;

/// The name of the header that holds the offset. It is the last of a message, so that others may have this name too.
const OFFSET_HEADER: &str = "forestsync-offset";

/// What a message takes beside key, value and headers at the most, and what each header takes, in bytes.
const MESSAGE_OVERHEAD: usize = 36 + OFFSET_HEADER.len() + 8 + HEADER_OVERHEAD;
const HEADER_OVERHEAD: usize = 10;

/// The size of a message.
pub(super) fn message_bytes(content: usize, headers: usize) -> usize {
    content + MESSAGE_OVERHEAD + headers * HEADER_OVERHEAD
}

/// The headers of a message; none where a name cannot be written.
pub(super) fn headers(offset: u64, headers: &[(String, Bytes)]) -> OwnedHeaders {
    let mut all = OwnedHeaders::new_with_capacity(headers.len() + 1);
    for (name, value) in headers {
        all = all.insert(Header { key: name, value: Some(&value[..]) });
    }
    all.insert(Header { key: OFFSET_HEADER, value: Some(&offset.to_be_bytes()[..]) })
}

/// The record of a message, or what is wrong with it.
pub(super) fn record(message: &BorrowedMessage<'_>) -> Result<Record, &'static str> {
    let (offset, headers) = parse_headers(message)?;
    let time = message.timestamp().to_millis().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Ok(Record {
        offset,
        timestamp: time.ok_or("a message has no time")?,
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        headers,
    })
}

/// The offset of a message's record.
pub(super) fn offset(message: &BorrowedMessage<'_>) -> Result<u64, &'static str> {
    let Some(headers) = message.headers() else { return Err(NO_OFFSET) };
    let Some(last) = headers.count().checked_sub(1) else { return Err(NO_OFFSET) };
    guarded(|| headers.try_get(last).and_then(|header| as_offset(header.key, header.value)))?.ok_or(NO_OFFSET)
}

const NO_OFFSET: &str = "a message was not written by forestsync: it has no offset of its stream";

fn as_offset(name: &str, value: Option<&[u8]>) -> Option<u64> {
    let value = value.and_then(|value| value.try_into().ok())?;
    (name == OFFSET_HEADER).then(|| u64::from_be_bytes(value))
}

fn parse_headers(message: &BorrowedMessage<'_>) -> Result<(u64, Vec<(String, Bytes)>), &'static str> {
    let offset = offset(message)?;
    let Some(headers) = message.headers() else { return Err(NO_OFFSET) };
    let mut all = Vec::new();
    guarded(|| {
        for header in headers.iter().take(headers.count().saturating_sub(1)) {
            all.push((header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default())));
        }
    })?;
    Ok((offset, all))
}

/// The library panics where the name of a header is not text; whoever may write to the topic could have done that.
fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, &'static str> {
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| "the name of a header is not text")
}
