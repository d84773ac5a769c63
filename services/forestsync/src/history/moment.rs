//! Moments as people write them.

use std::fmt;
use std::str::FromStr;

use forestsync_log::StreamName;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// A moment in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// Everything that was in the log by then.
    Time(Timestamp),
    /// After this record of this stream; of the other streams, everything that was in the log when it was.
    Offset(StreamName, u64),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((stream, offset)) = text.split_once('=') {
            let stream = stream.parse().map_err(|e| format!("{e}; a place is STREAM=OFFSET"))?;
            let offset = offset.parse().map_err(|_| "a place is STREAM=OFFSET, as audit shows it".to_owned())?;
            return Ok(Self::Offset(stream, offset));
        }
        since(text).map(Self::Time).map_err(|e| format!("{e}, or STREAM=OFFSET"))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => time.fmt(f),
            Self::Offset(stream, offset) => write!(f, "{stream}={offset}"),
        }
    }
}

fn parse(text: &str, days: i64) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let date = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    let day =
        date.and_then(|date| date.checked_add(days.days()).ok()).and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    let time = day.map(|day| day.timestamp());
    time.ok_or_else(|| "no time such as 2026-11-29T18:30:00Z and no date such as 2026-11-29".to_owned())
}

/// A time, or a date: then its beginning in UTC.
pub fn since(text: &str) -> Result<Timestamp, String> {
    parse(text, 0)
}

/// A time, or a date: then its end in UTC.
pub fn until(text: &str) -> Result<Timestamp, String> {
    if text.parse::<Timestamp>().is_ok() {
        return parse(text, 0);
    }
    parse(text, 1).map(|next| next.checked_sub(1.millisecond()).unwrap_or(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_dates_and_places() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!("2026-11-29".parse(), Ok(Moment::Time(time("2026-11-29T00:00:00Z"))));
        assert_eq!(until("2026-11-29"), Ok(time("2026-11-29T23:59:59.999Z")));
        assert_eq!(until("2026-11-29T10:00:00+02:00"), Ok(time("2026-11-29T08:00:00Z")));
        let place = "changes.emea.emea.example=17".parse::<Moment>().unwrap();
        assert_eq!(place, Moment::Offset("changes.emea.emea.example".parse().unwrap(), 17));
        for wrong in ["", "yesterday", "2026-13-01", "2026-11-29T10:00:00", "a b=1", "desired.x=", "desired.x=-1"] {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
        }
    }
}
