//! Wall time for what the tenant shows (dates in answers); everything it measures uses `tokio::time::Instant`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The time of day. A peer on the wire shares no runtime with the services it is a peer of.
#[allow(clippy::disallowed_methods, reason = "the practice tenant has a wall clock of its own, like the real one")]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// `2026-11-20T10:00:00`, the form of `innerError.date` (it has no zone).
pub(super) fn without_zone(at: Timestamp) -> String {
    format(at, "%Y-%m-%dT%H:%M:%S")
}

/// `2026-11-20T10:00:00Z`, the form of `Edm.DateTimeOffset` properties.
pub(super) fn date_time_offset(at: Timestamp) -> String {
    format(at, "%Y-%m-%dT%H:%M:%SZ")
}

/// An HTTP date as RFC 9110 §5.6.7 wants it, for `Retry-After`.
pub(super) fn http_date(at: Timestamp) -> String {
    format(at, "%a, %d %b %Y %H:%M:%S GMT")
}

fn format(at: Timestamp, pattern: &str) -> String {
    at.to_zoned(TimeZone::UTC).strftime(pattern).to_string()
}
