//! Dates.

use jiff::Timestamp;

/// Reads a date in any of the known forms.
pub(super) fn read_any(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok()
}
