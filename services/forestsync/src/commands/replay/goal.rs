//! Where a replay stops: what `--to` says.

use std::collections::BTreeMap;

use anyhow::Result;
use forestsync_log::{Log, StreamName};
use forestsync_projector::{ProjectorConfig, moment_at, streams_of};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::exit::UsageError;

const HINT: &str = "give STREAM=OFFSET, or one time such as 2026-03-01 or 2026-03-01T14:30:00Z";

/// What `--to` says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Goal {
    /// Before these offsets; other streams to their end.
    Offsets(BTreeMap<String, u64>),
    /// What had been appended by then.
    Time(Timestamp),
}

fn parse(texts: &[String]) -> Result<Goal, UsageError> {
    let time = |text: &str| {
        let date = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        text.parse::<Timestamp>().ok().or_else(date)
    };
    let mut offsets = BTreeMap::new();
    for text in texts {
        if let Some(moment) = time(text) {
            if texts.len() > 1 {
                return Err(UsageError::new("--to names a time and something else", HINT));
            }
            return Ok(Goal::Time(moment));
        }
        let pair =
            text.rsplit_once('=').and_then(|(stream, offset)| Some((stream.trim(), offset.trim().parse().ok()?)));
        let Some((stream, offset)) = pair else {
            return Err(UsageError::new(format!("--to {text:?} is neither an offset nor a time"), HINT));
        };
        if offsets.insert(stream.to_owned(), offset).is_some() {
            return Err(UsageError::new(format!("--to names stream {stream} twice"), HINT));
        }
    }
    Ok(Goal::Offsets(offsets))
}

/// The offset of every stream of the projection that a replay stops before; none of a stream that is read to its end.
pub(super) async fn offsets(
    texts: &[String],
    config: &ProjectorConfig,
    log: &dyn Log,
) -> Result<BTreeMap<StreamName, u64>> {
    match parse(texts)? {
        Goal::Time(time) => Ok(moment_at(log, config, time).await?),
        Goal::Offsets(named) => {
            let (known, mut found) = (streams_of(config)?, BTreeMap::new());
            for (name, offset) in named {
                let Some(stream) = known.iter().find(|stream| stream.as_str() == name) else {
                    let names = known.iter().map(StreamName::as_str).collect::<Vec<_>>().join(", ");
                    let message = format!("--to names stream {name}, which the projection does not follow from");
                    return Err(UsageError::new(message, format!("it follows from {names}")).into());
                };
                let tail = log.tail(stream).await?;
                if offset > tail {
                    let message = format!("--to names offset {offset} of stream {stream}, which ends before {tail}");
                    return Err(UsageError::new(message, format!("give at most {tail}, or leave it out")).into());
                }
                found.insert(stream.clone(), offset);
            }
            Ok(found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Goal, String> {
        parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).map_err(|error| error.message)
    }

    #[test]
    fn offsets_and_times_are_told_apart() {
        let offsets = |all: &[(&str, u64)]| {
            Ok(Goal::Offsets(all.iter().map(|(stream, offset)| ((*stream).to_owned(), *offset)).collect()))
        };
        assert_eq!(read(&[]), offsets(&[]));
        assert_eq!(read(&["changes.a=3", "decisions.c = 0"]), offsets(&[("changes.a", 3), ("decisions.c", 0)]));
        let time = |text: &str| Ok(Goal::Time(text.parse().unwrap()));
        assert_eq!(read(&["2026-03-01"]), time("2026-03-01T00:00:00Z"));
        assert_eq!(read(&["2026-03-01T14:30:00+01:00"]), time("2026-03-01T13:30:00Z"));
        for wrong in [&["yesterday"][..], &["a=-1"], &["a=1", "a=2"], &["2026-03-01", "a=1"], &["2026-13-01"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
