//! The outermost layer of LDAP on the wire: where a message ends and whether its inside is sound (RFC 4511 4.1.1, X.690).
//!
//! Everything a controller sends passes through here before any other parser sees it, so that depth, size and nesting are
//! bounded: the parsers behind recurse without a limit and wait for ever on a length that lies.

use std::time::Duration;

/// The largest message accepted. A server that does not page writes all members of a group into one message.
pub(crate) const MAX_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

/// The deepest nesting accepted; an entry has six levels.
const MAX_DEPTH: usize = 16;

/// Protocol operations, by their tag byte.
pub(crate) mod op {
    pub(crate) const BIND_RESPONSE: u8 = 0x61;
    pub(crate) const SEARCH_ENTRY: u8 = 0x64;
    pub(crate) const SEARCH_DONE: u8 = 0x65;
    pub(crate) const SEARCH_REFERENCE: u8 = 0x73;
    pub(crate) const EXTENDED_RESPONSE: u8 = 0x78;
    pub(crate) const INTERMEDIATE_RESPONSE: u8 = 0x79;
}

/// Why bytes are no LDAP message. Retryable on a new connection only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The first byte does not begin a message.
    #[error("byte {0:#04x} does not begin an LDAP message")]
    Start(u8),
    /// A length is written in a form that LDAP does not allow.
    #[error("a length is indefinite or has more than eight bytes")]
    Length,
    /// The message is larger than is accepted.
    #[error("a message of {0} bytes is larger than the {MAX_MESSAGE_BYTES} accepted")]
    TooLarge(u64),
    /// An element is longer than what contains it.
    #[error("an element is longer than what contains it")]
    Overrun,
    /// The nesting is deeper than any LDAP message.
    #[error("elements are nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A message lacks its id or its operation.
    #[error("a message has no id or no operation")]
    Incomplete,
    /// A result lacks its code or its texts, or has something else in their place.
    #[error("a result has not the form of an LDAPResult")]
    Result,
    /// A message answers nothing that was asked.
    #[error("operation {0:#04x} answers nothing that was asked")]
    Operation(u8),
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Its id; 0 for what was not asked for.
    pub(crate) id: i64,
    /// The tag byte of its operation.
    pub(crate) op: u8,
    /// The content of its operation.
    pub(crate) body: &'a [u8],
}

/// Tag byte, content length and header length of the element at the start, `None` while the header is incomplete.
fn header(bytes: &[u8]) -> Result<Option<(u8, u64, usize)>, FrameError> {
    let (Some(&tag), Some(&first)) = (bytes.first(), bytes.get(1)) else {
        return Ok(None);
    };
    if first < 0x80 {
        return Ok(Some((tag, u64::from(first), 2)));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 8 {
        return Err(FrameError::Length);
    }
    let Some(digits) = bytes.get(2..2 + count) else {
        return Ok(None);
    };
    Ok(Some((tag, digits.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)), 2 + count)))
}

/// How long the message at the start of `bytes` is in all, `None` while that is not yet known.
pub(crate) fn message_length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    match bytes.first() {
        None => return Ok(None),
        Some(0x30) => {}
        Some(other) => return Err(FrameError::Start(*other)),
    }
    let Some((_, content, header)) = header(bytes)? else {
        return Ok(None);
    };
    let total = content.saturating_add(header as u64);
    usize::try_from(total).ok().filter(|n| *n <= MAX_MESSAGE_BYTES).map(Some).ok_or(FrameError::TooLarge(total))
}

/// The first element: tag byte, content, rest.
pub(crate) fn element(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), FrameError> {
    let (tag, length, header) = header(bytes)?.ok_or(FrameError::Overrun)?;
    let end = usize::try_from(length).ok().and_then(|n| n.checked_add(header)).ok_or(FrameError::Overrun)?;
    let (content, rest) = (bytes.get(header..end), bytes.get(end..));
    Ok((tag, content.ok_or(FrameError::Overrun)?, rest.ok_or(FrameError::Overrun)?))
}

/// Refuses a sequence of elements that is not soundly nested.
pub(crate) fn check(bytes: &[u8]) -> Result<(), FrameError> {
    check_at(bytes, 0)
}

fn check_at(mut bytes: &[u8], depth: usize) -> Result<(), FrameError> {
    if depth > MAX_DEPTH {
        return Err(FrameError::TooDeep);
    }
    while !bytes.is_empty() {
        let (tag, content, rest) = element(bytes)?;
        if tag & 0x1f == 0x1f {
            return Err(FrameError::Start(tag));
        }
        if tag & 0x20 != 0 {
            check_at(content, depth + 1)?;
        }
        bytes = rest;
    }
    Ok(())
}

/// Reads what a whole message is, and refuses one that is not sound.
pub(crate) fn message(bytes: &[u8]) -> Result<Message<'_>, FrameError> {
    check(bytes)?;
    message_unchecked(bytes)
}

/// The same for a message whose nesting was checked before.
pub(crate) fn message_unchecked(bytes: &[u8]) -> Result<Message<'_>, FrameError> {
    let (_, content, _) = element(bytes)?;
    let (tag, id, rest) = element(content).map_err(|_| FrameError::Incomplete)?;
    if tag != 0x02 || id.is_empty() || id.len() > 4 {
        return Err(FrameError::Incomplete);
    }
    let (op, body, _) = element(rest).map_err(|_| FrameError::Incomplete)?;
    Ok(Message { id: integer(id), op, body })
}

/// A two's complement integer of at most eight bytes; longer ones are cut.
pub(crate) fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|b| b & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().take(8).fold(sign, |value, byte| value << 8 | i64::from(*byte))
}

/// resultCode and diagnosticMessage of an LDAPResult (RFC 4511 4.1.9), the text cut to what a message can bear.
pub(crate) fn result(body: &[u8]) -> (u32, String) {
    let read = || {
        let (_, code, rest) = element(body).ok()?;
        let (_, _, rest) = element(rest).ok()?;
        let (_, text, _) = element(rest).ok()?;
        Some((u32::try_from(integer(code)).ok()?, diagnostic(&String::from_utf8_lossy(text))))
    };
    read().unwrap_or((2, "the result cannot be read".to_owned()))
}

/// Refuses a message of an LDAPResult that is not as RFC 4511 4.1.9 has it, with its referral, credentials and controls: the
/// parser behind panics at the first thing that it does not expect.
pub(crate) fn check_result(bytes: &[u8]) -> Result<(), FrameError> {
    sound_result(bytes).ok_or(FrameError::Result)
}

fn sound_result(bytes: &[u8]) -> Option<()> {
    let (_, message, _) = element(bytes).ok()?;
    let (_, _, rest) = element(message).ok()?;
    let (_, body, controls) = element(rest).ok()?;
    let (code, body) = typed(body, 0x0a)?;
    let body = utf8(utf8(body)?)?;
    let mut more = (!code.is_empty() && code.len() <= 4).then_some(body)?;
    while !more.is_empty() {
        let (tag, content, rest) = element(more).ok()?;
        match tag & 0x1f {
            3 => uris((tag == 0xa3).then_some(content)?)?,
            7 if tag == 0x87 => {}
            7 | 10 | 11 => return None,
            _ => {}
        }
        more = rest;
    }
    if controls.is_empty() {
        return Some(());
    }
    let (mut list, end) = typed(controls, 0xa0)?;
    while !list.is_empty() {
        let (control, rest) = typed(list, 0x30)?;
        let mut fields = utf8(control)?;
        if let Some((critical, after)) = typed(fields, 0x01) {
            fields = (critical.len() == 1).then_some(after)?;
        }
        if !fields.is_empty() {
            typed(fields, 0x04).filter(|(_, after)| after.is_empty())?;
        }
        list = rest;
    }
    end.is_empty().then_some(())
}

fn uris(mut list: &[u8]) -> Option<()> {
    while !list.is_empty() {
        list = utf8(list)?;
    }
    Some(())
}

/// Content and rest of the first element, if it has that tag.
fn typed(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).ok().filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

/// What follows an octet string that is text.
fn utf8(bytes: &[u8]) -> Option<&[u8]> {
    let (text, rest) = typed(bytes, 0x04)?;
    std::str::from_utf8(text).ok().map(|_| rest)
}

/// A server's diagnostic text without line ends and of bearable length.
pub(crate) fn diagnostic(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

/// A duration for a message.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// LDAPMessage { 7, SearchResultDone { 0, "", "" } }
    const DONE: [u8; 14] = [0x30, 12, 2, 1, 7, 0x65, 7, 10, 1, 0, 4, 0, 4, 0];

    #[test]
    fn finds_the_end_of_a_message() {
        assert_eq!(message_length(&DONE).unwrap(), Some(14));
        assert_eq!(message_length(&DONE[..1]).unwrap(), None);
        assert_eq!(message_length(&[0x30, 0x84, 0, 0]).unwrap(), None);
        assert_eq!(message_length(&[0x30, 0x84, 0, 0, 1, 0]).unwrap(), Some(262));
        assert!(matches!(message_length(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), Err(FrameError::TooLarge(_))));
        assert_eq!(message_length(&[0x16, 3]), Err(FrameError::Start(0x16)));
        assert_eq!(message_length(&[0x30, 0x80]), Err(FrameError::Length));
        let read = message(&DONE).unwrap();
        assert_eq!((read.id, read.op, result(read.body)), (7, 0x65, (0, String::new())));
    }

    #[test]
    fn a_result_has_its_form_or_is_refused() {
        assert_eq!(check_result(&DONE), Ok(()));
        // LDAPMessage { 7, BindResponse { 0, "", "" } }, with more in the result and after it
        let with = |tail: &[u8], controls: &[u8]| {
            let body = [&[10, 1, 0, 4, 0, 4, 0][..], tail].concat();
            let op = [&[2, 1, 7, 0x61, body.len() as u8][..], &body, controls].concat();
            [&[0x30, op.len() as u8][..], &op].concat()
        };
        let control = [0xa0, 9, 0x30, 7, 4, 1, b'1', 4, 2, 9, 9];
        for (tail, controls) in [(&[0xa3, 3, 4, 1, b'u'][..], &control[..]), (&[0x87, 1, 5], &[]), (&[], &control)] {
            assert_eq!(check_result(&with(tail, controls)), Ok(()));
        }
        let cut_short: [&[u8]; 6] = [
            &[],
            &[10, 1, 0],
            &[10, 1, 0, 4, 0],
            &[2, 1, 0, 4, 0, 4, 0],
            &[10, 0, 4, 0, 4, 0],
            &[10, 1, 0, 4, 1, 0xff, 4, 0],
        ];
        for body in cut_short {
            let op = [&[2, 1, 7, 0x61, body.len() as u8][..], body].concat();
            assert_eq!(check_result(&[&[0x30, op.len() as u8][..], &op].concat()), Err(FrameError::Result), "{body:?}");
        }
        let bad: [(&[u8], &[u8]); 7] = [
            (&[0x83, 1, 5], &[]),
            (&[0xa3, 3, 4, 1, 0xff], &[]),
            (&[0xa7, 2, 4, 0], &[]),
            (&[0x8a, 1, 0xff], &[]),
            (&[], &[4, 0]),
            (&[], &[0xa0, 2, 4, 0]),
            (&[], &[0xa0, 7, 0x30, 5, 4, 1, b'1', 1, 0]),
        ];
        for (tail, controls) in bad {
            assert_eq!(check_result(&with(tail, controls)), Err(FrameError::Result), "{tail:?} {controls:?}");
        }
    }

    #[test]
    fn refuses_lengths_that_lie_and_bottomless_nesting() {
        let mut lie = DONE;
        lie[6] = 9;
        assert_eq!(message(&lie), Err(FrameError::Overrun));
        let mut deep = Vec::new();
        for _ in 0..40 {
            let mut outer = vec![0x30, deep.len() as u8];
            outer.append(&mut deep);
            deep = outer;
        }
        assert_eq!(check(&deep), Err(FrameError::TooDeep));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in any::<Vec<u8>>()) {
            let _any = (message_length(&bytes), message(&bytes), result(&bytes), check(&bytes), check_result(&bytes));
        }
    }
}
