//! From bytes to requests and from answers to bytes.
//!
//! The messages themselves are read and written by `ldap3_proto`. Three things are done before it sees a request: the
//! frame is bounded and waited for by its length, controls are taken out (one that is malformed must give a result
//! code and not end the connection), and assertion values of a filter that are not UTF-8, such as `(objectGUID=\3f…)`,
//! are written as marked hexadecimal text, since it only knows text there.

use std::io;

use bytes::BytesMut;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{LdapOp, LdapPartialAttribute, LdapSearchResultEntry};
use ldap3_proto::{LdapCodec, LdapMsg};
use tokio_util::codec::{Decoder, Encoder as _};

use super::text;

/// The longest request that is read.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How deep elements of a request may nest.
const DEPTH_MAX: usize = 100;
/// Goes before the hexadecimal digits of an assertion value that was not UTF-8.
const MARK: &str = "\u{1}hex:";

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_REQUEST: u8 = 0x63;
const CONTROLS: u8 = 0xa0;

/// A control as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawControl {
    pub(crate) oid: String,
    pub(crate) critical: bool,
    pub(crate) value: Option<Vec<u8>>,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: i32,
    pub(crate) op: LdapOp,
    pub(crate) controls: Vec<RawControl>,
}

/// Reads requests off a connection.
pub(crate) struct Requests {
    inner: LdapCodec,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self { inner: LdapCodec::new(Some(REQUEST_BYTES_MAX * 2), Some(DEPTH_MAX)) }
    }
}

impl Decoder for Requests {
    type Item = Request;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Request>> {
        let Some((tag, head, length)) = header(buffer)? else { return Ok(None) };
        if tag != SEQUENCE || length > REQUEST_BYTES_MAX {
            return Err(malformed("a frame that is no LDAP message, or too long"));
        }
        if buffer.len() < head + length {
            buffer.reserve(head + length - buffer.len());
            return Ok(None);
        }
        let frame = buffer.split_to(head + length);
        let mut rest = frame.get(head..).unwrap_or_default();
        let (id_tag, id) = element(&mut rest)?;
        let (op_tag, op) = element(&mut rest)?;
        let controls = match rest.first() {
            Some(&CONTROLS) => controls(element(&mut rest)?.1)?,
            _ => Vec::new(),
        };
        let mut inner = Vec::with_capacity(op.len() + 32);
        put(&mut inner, id_tag, id);
        if op_tag == SEARCH_REQUEST {
            put(&mut inner, op_tag, &readable_search(op)?);
        } else {
            put(&mut inner, op_tag, op);
        }
        let mut message = Vec::with_capacity(inner.len() + 8);
        put(&mut message, SEQUENCE, &inner);
        let message = self.inner.decode(&mut BytesMut::from(message.as_slice()))?;
        let LdapMsg { msgid, op, .. } = message.ok_or_else(|| malformed("an incomplete LDAP message"))?;
        Ok(Some(Request { id: msgid, op, controls }))
    }
}

/// Appends one answer to `out`.
pub(crate) fn encode(out: &mut BytesMut, id: i32, op: LdapOp, controls: Vec<LdapControl>) -> io::Result<()> {
    LdapCodec::default().encode(LdapMsg { msgid: id, op, ctrl: controls }, out)
}

/// Appends one search result entry to `out`, as [`encode`] would, without building a tree of it first: this is what a
/// million-object answer consists of.
pub(crate) fn encode_entry(out: &mut BytesMut, id: i32, entry: &LdapSearchResultEntry) {
    let set = |a: &LdapPartialAttribute| a.vals.iter().map(|v| whole(v.len())).sum::<usize>();
    let attribute = |a: &LdapPartialAttribute| whole(a.atype.len()) + whole(set(a));
    let list: usize = entry.attributes.iter().map(|a| whole(attribute(a))).sum();
    let body = whole(entry.dn.len()) + whole(list);
    let digits = id.to_be_bytes();
    // A message id is positive, so a leading zero byte goes only when the next one keeps the sign.
    let skip = digits.iter().zip(digits.iter().skip(1)).take_while(|(a, b)| **a == 0 && **b < 0x80).count();
    let number = digits.get(skip..).unwrap_or(&digits);
    out.reserve(body + 16);
    head(out, SEQUENCE, whole(number.len()) + whole(body));
    head(out, INTEGER, number.len());
    out.extend_from_slice(number);
    head(out, SEARCH_ENTRY, body);
    octets(out, entry.dn.as_bytes());
    head(out, SEQUENCE, list);
    for a in &entry.attributes {
        head(out, SEQUENCE, attribute(a));
        octets(out, a.atype.as_bytes());
        head(out, SET, set(a));
        for value in &a.vals {
            octets(out, value);
        }
    }
}

fn octets(out: &mut BytesMut, content: &[u8]) {
    head(out, OCTETS, content.len());
    out.extend_from_slice(content);
}

/// The length of an element with that much content.
fn whole(length: usize) -> usize {
    let digits = if length < 0x80 { 0 } else { (usize::BITS - length.leading_zeros()).div_ceil(8) as usize };
    2 + digits + length
}

/// Appends tag and length.
fn head(out: &mut impl Extend<u8>, tag: u8, length: usize) {
    if length < 0x80 {
        out.extend([tag, length as u8]);
        return;
    }
    let digits = (length as u32).to_be_bytes();
    let skip = digits.iter().take_while(|b| **b == 0).count();
    out.extend([tag, 0x80 | (4 - skip) as u8]);
    out.extend(digits.into_iter().skip(skip));
}

/// The bytes of an assertion value.
pub(crate) fn unmarked(value: &str) -> Vec<u8> {
    let Some(digits) = value.strip_prefix(MARK) else { return value.as_bytes().to_vec() };
    let digits: Vec<u8> = digits.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|p| p[0] << 4 | p[1]).collect()
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Tag, length of the header and length of the content of a BER element; `None` when more bytes are needed.
fn header(raw: &[u8]) -> io::Result<Option<(u8, usize, usize)>> {
    let (Some(&tag), Some(&first)) = (raw.first(), raw.get(1)) else { return Ok(None) };
    if first < 0x80 {
        return Ok(Some((tag, 2, usize::from(first))));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return Err(malformed("a BER length that LDAP does not allow"));
    }
    let Some(digits) = raw.get(2..2 + count) else { return Ok(None) };
    Ok(Some((tag, 2 + count, digits.iter().fold(0, |n, b| n << 8 | usize::from(*b)))))
}

/// Takes one element off `rest`: its tag and content.
fn element<'a>(rest: &mut &'a [u8]) -> io::Result<(u8, &'a [u8])> {
    let short = || malformed("a BER element that is cut off");
    let (tag, head, length) = header(rest)?.ok_or_else(short)?;
    let content = rest.get(head..head + length).ok_or_else(short)?;
    *rest = rest.get(head + length..).unwrap_or_default();
    Ok((tag, content))
}

fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    head(out, tag, content.len());
    out.extend_from_slice(content);
}

fn controls(mut raw: &[u8]) -> io::Result<Vec<RawControl>> {
    let mut found = Vec::new();
    while !raw.is_empty() {
        let (_, mut parts) = element(&mut raw)?;
        let (_, oid) = element(&mut parts)?;
        let oid = String::from_utf8(oid.to_vec()).map_err(|_| malformed("a control whose OID is no text"))?;
        let mut control = RawControl { oid, critical: false, value: None };
        while !parts.is_empty() {
            match element(&mut parts)? {
                (0x01, flag) => control.critical = flag.first().is_some_and(|b| *b != 0),
                (_, value) => control.value = Some(value.to_vec()),
            }
        }
        found.push(control);
    }
    Ok(found)
}

/// The integers and octet strings of a control value that is a SEQUENCE, as far as they are well formed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ControlParts {
    pub(crate) integers: Vec<i64>,
    pub(crate) strings: Vec<Vec<u8>>,
}

/// Reads the value of a control such as DirSync's `SEQUENCE { INTEGER, INTEGER, OCTET STRING }`.
pub(crate) fn control_parts(raw: &[u8]) -> Option<ControlParts> {
    let mut rest = raw;
    let (tag, mut content) = element(&mut rest).ok()?;
    if tag != SEQUENCE {
        return None;
    }
    let mut parts = ControlParts::default();
    while !content.is_empty() {
        match element(&mut content).ok()? {
            (INTEGER, number) => {
                let sign = if number.first()? & 0x80 == 0 { 0 } else { -1 };
                parts.integers.push(number.iter().fold(sign, |n: i64, b| n << 8 | i64::from(*b)));
            }
            (OCTETS, text) => parts.strings.push(text.to_vec()),
            _ => return None,
        }
    }
    Some(parts)
}

/// A search request whose filter holds UTF-8 only.
fn readable_search(mut op: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(op.len() + 64);
    let mut at = 0;
    while !op.is_empty() {
        let (tag, content) = element(&mut op)?;
        if at == 6 {
            readable(&mut out, tag, content, DEPTH_MAX)?;
        } else {
            put(&mut out, tag, content);
        }
        at += 1;
    }
    Ok(out)
}

fn readable(out: &mut Vec<u8>, tag: u8, mut content: &[u8], depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(malformed("a filter that nests too deeply"));
    }
    if tag & 0x20 != 0 {
        let mut inner = Vec::with_capacity(content.len() + 16);
        while !content.is_empty() {
            let (tag, content) = element(&mut content)?;
            readable(&mut inner, tag, content, depth - 1)?;
        }
        put(out, tag, &inner);
    } else if std::str::from_utf8(content).is_ok() {
        put(out, tag, content);
    } else {
        put(out, tag, format!("{MARK}{}", text::hex(content)).as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ldap3_proto::LdapFilter;

    use super::*;

    /// A search for (objectGUID=\ff\00), base, with a critical control of a broken value.
    fn search() -> Vec<u8> {
        let mut filter = Vec::new();
        let mut equality = Vec::new();
        put(&mut equality, 0x04, b"objectGUID");
        put(&mut equality, 0x04, &[0xff, 0]);
        put(&mut filter, 0xa3, &equality);
        let mut op = Vec::new();
        put(&mut op, 0x04, b"DC=x");
        for (tag, value) in [(0x0a, 0), (0x0a, 0), (0x02, 0), (0x02, 0), (0x01, 0)] {
            put(&mut op, tag, &[value]);
        }
        op.extend_from_slice(&filter);
        put(&mut op, SEQUENCE, &[]);
        let mut control = Vec::new();
        put(&mut control, 0x04, b"1.2.840.113556.1.4.841");
        put(&mut control, 0x01, &[0xff]);
        put(&mut control, 0x04, b"xyz");
        let mut list = Vec::new();
        put(&mut list, SEQUENCE, &control);
        let (mut inner, mut message) = (Vec::new(), Vec::new());
        put(&mut inner, 0x02, &[7]);
        put(&mut inner, SEARCH_REQUEST, &op);
        put(&mut inner, CONTROLS, &list);
        put(&mut message, SEQUENCE, &inner);
        message
    }

    #[test]
    fn binary_filters_and_broken_controls_do_not_end_the_connection() {
        let raw = search();
        let mut buffer = BytesMut::new();
        let mut requests = Requests::new();
        for byte in &raw {
            assert!(requests.decode(&mut buffer).unwrap().is_none());
            buffer.extend_from_slice(&[*byte]);
        }
        let request = requests.decode(&mut buffer).unwrap().unwrap();
        assert_eq!((request.id, request.controls.len(), request.controls[0].critical), (7, 1, true));
        assert_eq!(request.controls[0].value.as_deref().and_then(control_parts), None);
        let LdapOp::SearchRequest(search) = request.op else { panic!("not a search") };
        let LdapFilter::Equality(_, value) = search.filter else { panic!("not an equality") };
        assert_eq!(unmarked(&value), [0xff, 0]);
        assert_eq!(unmarked("text"), b"text");
    }

    #[test]
    fn refuses_what_is_too_long_or_no_message() {
        let mut requests = Requests::new();
        for raw in [&[0x30, 0x84, 0xff, 0, 0, 0][..], &[0x31, 0], &[0x30, 0x80], &[0x30, 2, 0x02, 9]] {
            assert!(requests.decode(&mut BytesMut::from(raw)).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn entries_are_written_as_the_library_writes_them() {
        let sizes = [0, 1, 127, 128, 255, 256, 70_000];
        for id in [1, 127, 128, 255, 256, 40_000, i32::MAX] {
            let attributes = sizes
                .map(|n| LdapPartialAttribute { atype: format!("attribute{n}"), vals: vec![vec![7; n]; n.min(3)] });
            let entry = LdapSearchResultEntry { dn: "CN=é,DC=x".into(), attributes: attributes.into() };
            let (mut ours, mut theirs) = (BytesMut::new(), BytesMut::new());
            encode_entry(&mut ours, id, &entry);
            encode(&mut theirs, id, LdapOp::SearchResultEntry(entry), vec![]).unwrap();
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn integers_keep_their_sign() {
        let parts = control_parts(&[0x30, 11, 2, 4, 0x80, 0, 0, 0, 2, 1, 0xff, 4, 0]).unwrap();
        assert_eq!(parts.integers, [-2_147_483_648, -1]);
        assert_eq!(parts.strings, [Vec::<u8>::new()]);
    }
}
