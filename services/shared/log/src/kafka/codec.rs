//! A record of a stream as a message of a topic, and back.
//!
//! Key, value and headers are what they are. One header comes after all others: the record's offset in the stream, eight
//! bytes, most significant first. Kafka's own offsets cannot be that: each transaction takes one more for its end, and an
//! aborted one takes some for nothing.
//!
//! Before it stands a header with the record's link: 64 bytes, one more where it is marked for the gap before it, or none
//! where the record has no link. A topic that an earlier
//! version wrote has messages without that header.
//!
//! A compacted topic takes no message without a key. There a record without one gets one that no other record has, so that
//! compaction keeps it, and a ninth byte in the header says that the key is none.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

use crate::chain::{ChainHash, Link};
use crate::{NewRecord, Record};

/// The name of the header that holds the offset. It is the last of a message, so that others may have this name too.
const OFFSET_HEADER: &str = "forestsync-offset";

/// What stands behind a link that is marked for the gap before it, and the bytes of both.
const GAP: u8 = 1;
const MARKED: usize = Link::BYTES + 1;

/// The name of the header that holds the link: the one before the last.
const LINK_HEADER: &str = "forestsync-link";

/// What a message takes beside key, value and headers at the most, and what each header takes, in bytes.
const MESSAGE_OVERHEAD: usize =
    36 + NO_KEY.len() + 8 + OFFSET_HEADER.len() + 9 + LINK_HEADER.len() + MARKED + 2 * HEADER_OVERHEAD;
const HEADER_OVERHEAD: usize = 10;

/// The size of a message.
pub(super) fn message_bytes(content: usize, headers: usize) -> usize {
    content + MESSAGE_OVERHEAD + headers * HEADER_OVERHEAD
}

/// What a key that stands for none begins with; the offset follows.
const NO_KEY: &[u8] = b"\0forestsync-no-key";

/// Key and headers of a message.
pub(super) fn encode(
    offset: u64,
    link: Option<Link>,
    record: &NewRecord,
    compacted: bool,
) -> (Option<Bytes>, OwnedHeaders) {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 2);
    for (name, value) in &record.headers {
        headers = headers.insert(Header { key: name, value: Some(&value[..]) });
    }
    // there even where it says nothing, so that a header of the record's own is never taken for it
    let mut bytes = link.map_or_else(Vec::new, |link| link.to_bytes().to_vec());
    bytes.extend(link.filter(|link| link.gap).map(|_| GAP));
    headers = headers.insert(Header { key: LINK_HEADER, value: Some(&bytes[..]) });
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
    let mut link = None;
    if let Some(all) = message.headers() {
        guarded(|| {
            let mut own = all.count().saturating_sub(1);
            let last = own.checked_sub(1).and_then(|last| all.try_get(last));
            let found = last.map_or(Linked::Foreign, |header| linked(&header));
            if !matches!(found, Linked::Foreign) {
                own -= 1;
            }
            if let Linked::By(found) = found {
                link = Some(found);
            }
            for header in all.iter().take(own) {
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
        link,
    })
}

/// What a header says of the link.
enum Linked {
    /// Nothing: it is a header of the record.
    Foreign,
    /// The record has none.
    Not,
    By(Link),
}

fn linked(header: &Header<'_, &[u8]>) -> Linked {
    let value = header.value.unwrap_or_default();
    if header.key != LINK_HEADER {
        return Linked::Foreign;
    }
    let (link, behind) = value.split_at_checked(Link::BYTES).unwrap_or_default();
    match (behind, Link::from_bytes(link)) {
        ([], Some(link)) => Linked::By(link),
        ([GAP], Some(link)) => Linked::By(Link { gap: true, ..link }),
        _ if value.is_empty() => Linked::Not,
        _ => Linked::Foreign,
    }
}

/// The chain's value at a message.
pub(super) fn own(message: &BorrowedMessage<'_>) -> Result<ChainHash, &'static str> {
    let Some(all) = message.headers() else { return Ok(ChainHash::BEGIN) };
    let header = || all.count().checked_sub(2).and_then(|at| all.try_get(at));
    let own = |header: Header<'_, &[u8]>| match linked(&header) {
        Linked::By(link) => link.own,
        Linked::Foreign | Linked::Not => ChainHash::BEGIN,
    };
    guarded(|| header().map_or(ChainHash::BEGIN, own))
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
