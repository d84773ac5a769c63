//! The one place where the wall clock is read.

use jiff::Timestamp;

/// The time now, for records and messages. Never for measuring how long something took.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Timestamp {
    Timestamp::now()
}
