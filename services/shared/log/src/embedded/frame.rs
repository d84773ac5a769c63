//! The frame: what one append becomes on disk.
//!
//! ```text
//!  0      4       5        8         12      16     24    32           40            44           48
//!  +------+-------+--------+---------+-------+------+-----+------------+-------------+------------+---------+
//!  | FSYL | version| zero  | payload | count | base | end | time in ms | payload crc | header crc | payload |
//!  +------+-------+--------+---------+-------+------+-----+------------+-------------+------------+---------+
//! ```
//!
//! All numbers are little-endian. `base` is the offset the append began at and `end` the one after it; compaction keeps
//! both when it takes records out, so that the next frame still follows on. The header's checksum also covers the
//! segment's name and the frame's position in it: a frame is valid in one place only, so bytes inside a value, or a
//! block the disk put elsewhere, are never taken for one. The payload's checksum is part of the header, so the two
//! together cover every byte.
//!
//! A record in the payload: offset minus `base`, from version 2 on its time in milliseconds (8 bytes), in version 3 a byte
//! that is 0 where no link follows, 1 where one does and 3 where that is marked for the gap before it, and the link (64
//! bytes: `prev`, `own`); length of the key (all
//! ones: none), length of the value, count of headers, for each header the lengths of name and value; then the bytes in
//! the same order, headers last.
//!
//! Version 3 is written; the others are read.

use bytes::{Buf, Bytes};
use jiff::Timestamp;

use crate::chain::{Content, Link, Place};
use crate::{MAX_APPEND_BYTES, Record};

/// The length of a header in bytes.
pub(super) const HEADER_BYTES: usize = 48;

/// The longest payload: keys, values and headers of an append, and the lengths around them.
pub(super) const MAX_PAYLOAD_BYTES: usize = 4 * MAX_APPEND_BYTES;

/// What a frame begins with.
pub(super) const MAGIC: [u8; 4] = *b"FSYL";

/// Frames whose records all have the frame's time.
const VERSION: u8 = 1;

/// Frames whose records have times of their own, each in milliseconds behind its offset: restored ones.
const VERSION_TIMED: u8 = 2;

/// Frames whose records have times and links.
const VERSION_LINKED: u8 = 3;

/// What a record takes beside its content, and what each of its headers takes, in bytes.
pub(super) const RECORD_OVERHEAD: usize = 4 + 8 + 1 + Link::BYTES + 12;
pub(super) const HEADER_OVERHEAD: usize = 8;

const NO_KEY: u32 = u32::MAX;

/// What the byte before a link says.
const LINKED: u8 = 1;
const GAP: u8 = 2;
const LINKED_BEHIND_GAP: u8 = LINKED | GAP;

/// Why no header was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// The bytes are none: torn or damaged.
    Unfit(&'static str),
    /// A later version of this program wrote it. It MUST NOT be taken for a torn end.
    Foreign(u8),
}

/// A header that was found whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes after the header.
    pub(super) payload: usize,
    /// Records.
    pub(super) count: u32,
    /// The offset the append began at.
    pub(super) base: u64,
    /// The offset after the append.
    pub(super) end: u64,
    /// When it was appended, in milliseconds since 1970.
    pub(super) time_ms: i64,
    /// What a record has beside its content.
    version: u8,
    payload_crc: u32,
}

impl Header {
    /// Reads the header at `position` of segment `segment` from the first bytes of `bytes`.
    pub(super) fn parse(bytes: &[u8], segment: u64, position: u64) -> Result<Self, NoHeader> {
        let Some((mut fields, _)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(NoHeader::Unfit("the frame's header is cut short"));
        };
        let (covered, _) = fields.split_at(HEADER_BYTES - 4);
        let expected = header_crc(covered, segment, position);
        let magic = fields.get_u32().to_be_bytes();
        let version = fields.get_u8();
        fields.advance(3);
        let header = Self {
            payload: fields.get_u32_le() as usize,
            count: fields.get_u32_le(),
            base: fields.get_u64_le(),
            end: fields.get_u64_le(),
            time_ms: fields.get_i64_le(),
            version,
            payload_crc: fields.get_u32_le(),
        };
        if magic != MAGIC {
            return Err(NoHeader::Unfit("no frame begins here"));
        }
        if version > VERSION_LINKED {
            return Err(NoHeader::Foreign(version));
        }
        if fields.get_u32_le() != expected {
            return Err(NoHeader::Unfit("the checksum of the frame's header does not fit"));
        }
        let span = header.end.checked_sub(header.base);
        if version < VERSION
            || header.payload > MAX_PAYLOAD_BYTES
            || header.count == 0
            || span.is_none_or(|span| span < u64::from(header.count))
        {
            return Err(NoHeader::Unfit("the frame's header contradicts itself"));
        }
        Ok(header)
    }

    /// Header and payload, in bytes.
    pub(super) fn total(&self) -> usize {
        HEADER_BYTES + self.payload
    }

    /// Whether this is the payload the header was written for.
    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload && crc32fast::hash(payload) == self.payload_crc
    }
}

fn header_crc(covered: &[u8], segment: u64, position: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(covered);
    crc.update(&segment.to_le_bytes());
    crc.update(&position.to_le_bytes());
    crc.finalize()
}

/// A frame in the making.
#[derive(Debug)]
pub(super) struct FrameBuilder {
    bytes: Vec<u8>,
    base: u64,
    count: u32,
}

impl FrameBuilder {
    /// An empty frame that begins at offset `base`.
    pub(super) fn new(base: u64, payload_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload_bytes);
        bytes.resize(HEADER_BYTES, 0);
        Self { bytes, base, count: 0 }
    }

    /// Adds a record. The caller has checked its size.
    pub(super) fn push(&mut self, place: Place, link: Option<Link>, content: Content<'_>) {
        let Content { key, value, headers } = content;
        self.put(place.offset.saturating_sub(self.base) as u32);
        self.bytes.extend_from_slice(&place.time_ms.to_le_bytes());
        self.bytes.push(link.map_or(0, |link| LINKED | if link.gap { GAP } else { 0 }));
        if let Some(link) = link {
            self.bytes.extend_from_slice(&link.to_bytes());
        }
        self.put(key.map_or(NO_KEY, |key| key.len() as u32));
        self.put(value.len() as u32);
        self.put(headers.len() as u32);
        for (name, value) in headers {
            self.put(name.len() as u32);
            self.put(value.len() as u32);
        }
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.bytes.extend_from_slice(value);
        for (name, value) in headers {
            self.bytes.extend_from_slice(name.as_bytes());
            self.bytes.extend_from_slice(value);
        }
        self.count += 1;
    }

    /// Adds a record that there was already.
    pub(super) fn push_record(&mut self, record: &Record) {
        let place = Place { offset: record.offset, time_ms: record.timestamp.as_millisecond() };
        let content = Content { key: record.key.as_deref(), value: &record.value, headers: &record.headers };
        self.push(place, record.link, content);
    }

    fn put(&mut self, number: u32) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    /// The length of the finished frame, in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no record was added.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The frame's bytes, for this place and no other.
    pub(super) fn finish(mut self, end: u64, time_ms: i64, segment: u64, position: u64) -> Vec<u8> {
        let (header, payload) = self.bytes.split_at_mut(HEADER_BYTES);
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend_from_slice(&MAGIC);
        fields.extend_from_slice(&[VERSION_LINKED, 0, 0, 0]);
        fields.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        fields.extend_from_slice(&self.count.to_le_bytes());
        fields.extend_from_slice(&self.base.to_le_bytes());
        fields.extend_from_slice(&end.to_le_bytes());
        fields.extend_from_slice(&time_ms.to_le_bytes());
        fields.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
        let crc = header_crc(&fields, segment, position);
        fields.extend_from_slice(&crc.to_le_bytes());
        header.copy_from_slice(&fields);
        self.bytes
    }
}

/// The records of a payload, one after the other, without copying keys and values.
#[derive(Debug)]
pub(super) struct Records {
    payload: Bytes,
    left: u32,
    base: u64,
    /// The smallest offset the next record can have, and the one that is too large.
    span: (u64, u64),
    broken: bool,
    timestamp: Timestamp,
    version: u8,
}

/// The payload does not hold what its header says.
#[derive(Debug)]
pub(super) struct Malformed;

impl Records {
    /// The records of a frame whose checksums fit.
    pub(super) fn new(header: &Header, payload: Bytes) -> Self {
        let timestamp = Timestamp::from_millisecond(header.time_ms).unwrap_or_default();
        let span = (header.base, header.end);
        let (left, base, version) = (header.count, header.base, header.version);
        Self { payload, left, base, span, broken: false, timestamp, version }
    }

    /// The next record, or none after the last. After an error there is never a record again.
    pub(super) fn take(&mut self) -> Result<Option<Record>, Malformed> {
        let taken = if self.broken { Err(Malformed) } else { self.record() };
        self.broken |= taken.is_err();
        taken
    }

    fn record(&mut self) -> Result<Option<Record>, Malformed> {
        if self.left == 0 {
            return if self.payload.is_empty() { Ok(None) } else { Err(Malformed) };
        }
        let offset = self.base + u64::from(self.number()?);
        if offset < self.span.0 || offset >= self.span.1 {
            return Err(Malformed);
        }
        self.span.0 = offset + 1;
        let timestamp = if self.version >= VERSION_TIMED { self.time()? } else { self.timestamp };
        let link = if self.version >= VERSION_LINKED { self.link()? } else { None };
        let key_bytes = self.number()?;
        let value_bytes = self.number()?;
        let header_count = self.number()? as usize;
        if header_count > self.payload.len() / 8 {
            return Err(Malformed);
        }
        let mut lengths = Vec::with_capacity(header_count);
        for _ in 0..header_count {
            lengths.push((self.number()?, self.number()?));
        }
        let key = if key_bytes == NO_KEY { None } else { Some(self.bytes(key_bytes)?) };
        let value = self.bytes(value_bytes)?;
        let mut headers = Vec::with_capacity(header_count);
        for (name, value) in lengths {
            let name = String::from_utf8(self.bytes(name)?.to_vec()).map_err(|_| Malformed)?;
            headers.push((name, self.bytes(value)?));
        }
        self.left -= 1;
        Ok(Some(Record { offset, timestamp, key, value, headers, link }))
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        self.payload.try_get_u32_le().map_err(|_| Malformed)
    }

    fn time(&mut self) -> Result<Timestamp, Malformed> {
        let time_ms = self.payload.try_get_i64_le().map_err(|_| Malformed)?;
        Timestamp::from_millisecond(time_ms).map_err(|_| Malformed)
    }

    fn link(&mut self) -> Result<Option<Link>, Malformed> {
        let flags = self.payload.try_get_u8().map_err(|_| Malformed)?;
        match flags {
            0 => return Ok(None),
            LINKED | LINKED_BEHIND_GAP => {}
            _ => return Err(Malformed),
        }
        let link = Link::from_bytes(&self.bytes(Link::BYTES as u32)?).ok_or(Malformed)?;
        Ok(Some(Link { gap: flags == LINKED_BEHIND_GAP, ..link }))
    }

    fn bytes(&mut self, count: u32) -> Result<Bytes, Malformed> {
        let count = count as usize;
        if count > self.payload.len() { Err(Malformed) } else { Ok(self.payload.split_to(count)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        let hash = |byte| [byte; 32].into();
        Link { prev: hash(1), own: hash(2), gap: true }
    }

    fn frame() -> Vec<u8> {
        let mut builder = FrameBuilder::new(7, 0);
        let headers = [("h".to_owned(), Bytes::from_static(b"\x00\xff"))];
        let (first, second) = (Place { offset: 7, time_ms: 1234 }, Place { offset: 8, time_ms: 1235 });
        builder.push(first, Some(link()), Content { key: Some(b"k"), value: b"v", headers: &headers });
        builder.push(second, None, Content { key: None, value: b"", headers: &[] });
        builder.finish(9, 1234, 5, 100)
    }

    #[test]
    fn a_frame_reads_back() {
        let bytes = Bytes::from(frame());
        let header = Header::parse(&bytes, 5, 100).unwrap();
        let payload = bytes.slice(HEADER_BYTES..);
        assert!(header.fits(&payload));
        assert_eq!((header.base, header.end, header.count, header.total()), (7, 9, 2, bytes.len()));
        let mut records = Records::new(&header, payload);
        let first = records.take().unwrap().unwrap();
        assert_eq!((first.offset, first.key.as_deref(), &first.value[..]), (7, Some(&b"k"[..]), &b"v"[..]));
        assert_eq!(first.headers, [("h".to_owned(), Bytes::from_static(b"\x00\xff"))]);
        assert_eq!((first.timestamp.as_millisecond(), first.link), (1234, Some(link())));
        let second = records.take().unwrap().unwrap();
        assert_eq!((second.offset, second.key, second.link), (8, None, None));
        assert_eq!(second.timestamp.as_millisecond(), 1235);
        assert!(records.take().unwrap().is_none());
    }

    #[test]
    fn a_frame_is_valid_in_its_own_place_only() {
        let bytes = frame();
        assert!(Header::parse(&bytes, 5, 101).is_err());
        assert!(Header::parse(&bytes, 6, 100).is_err());
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let good = frame();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let noticed = match Header::parse(&bytes, 5, 100) {
                Ok(header) => !header.fits(&bytes[HEADER_BYTES..]),
                Err(_) => true,
            };
            assert!(noticed, "bit {bit}");
        }
    }
}
