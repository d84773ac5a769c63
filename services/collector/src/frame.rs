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
    pub(crate) const SEARCH_ENTRY: u8 = 0x64;
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
            let _any = (message_length(&bytes), message(&bytes), result(&bytes), check(&bytes));
        }
    }
}
