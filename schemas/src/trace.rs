//! Traces: which look at a directory caused what, through every stream to the request that left for the tenant.
//!
//! A trace is the text of a W3C `traceparent`, version 00. It stands in the context of events and in the records' header
//! [`HEADER`]. Its trace id begins with the time at which the look began, in milliseconds since 1970 (the layout of a UUID of
//! version 7): whoever has the trace knows how long ago its change was read.

use jiff::Timestamp;

/// The name of the header of records and of HTTP requests.
pub const HEADER: &str = "traceparent";

/// The trace of a look that begins at `time`; `random` keeps it apart from others of the same moment.
pub fn begin(time: Timestamp, random: [u8; 16]) -> String {
    let millis = u64::try_from(time.as_millisecond()).unwrap_or(0);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &first_ten(random)).into_uuid();
    format!("00-{}-{}-01", id.simple(), span(random))
}

/// The same trace with another span: what it causes in another service.
pub fn next_span(trace: &str, random: [u8; 16]) -> Option<String> {
    let id = trace_id(trace)?;
    Some(format!("00-{id}-{}-01", span(random)))
}

/// The id that all spans of a trace share: 32 hexadecimal digits.
pub fn trace_id(trace: &str) -> Option<&str> {
    let mut parts = trace.split('-');
    let (version, id) = (parts.next()?, parts.next()?);
    let sound = version == "00" && id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    sound.then_some(id)
}

/// When the look began that the trace tells of; nothing if the trace is not one of [`begin`]'s.
pub fn began(trace: &str) -> Option<Timestamp> {
    let id = trace_id(trace)?;
    if id.get(12..13) != Some("7") {
        return None;
    }
    let millis = i64::from_str_radix(id.get(..12)?, 16).ok()?;
    Timestamp::from_millisecond(millis).ok()
}

fn first_ten(random: [u8; 16]) -> [u8; 10] {
    let mut ten = [0; 10];
    ten.copy_from_slice(random.split_at(10).0);
    ten
}

fn span(random: [u8; 16]) -> String {
    let low = u128::from_be_bytes(random) as u64;
    // all zeros would be no span
    format!("{:016x}", low.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_keeps_its_id_and_knows_when_it_began() {
        let time: Timestamp = "2026-11-25T16:38:00.123Z".parse().unwrap();
        let trace = begin(time, [7; 16]);
        assert_eq!((trace.len(), began(&trace)), (55, Some(time)));
        let next = next_span(&trace, [9; 16]).unwrap();
        assert_eq!(trace_id(&next), trace_id(&trace));
        assert_ne!(next, trace);
        for other in ["", "00", "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-zz-1-01"] {
            assert_eq!((began(other), next_span(other, [1; 16])), (None, None), "{other}");
        }
        assert_eq!(began("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), None, "somebody else's");
        assert!(begin(time, [0; 16]).ends_with("-0000000000000001-01"));
    }
}
