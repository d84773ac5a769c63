//! Going through whole streams, for questions that concern every object.

use anyhow::Result;
use forestsync_log::{Log, Record, StreamName};
use forestsync_schemas::streams;

use crate::cli::PeriodArgs;
use crate::commands::log::Walk;
use crate::config::Settings;
use crate::progress::Counter;

/// The streams of a configuration: those of its own, and those of the directories.
pub async fn streams_of(settings: &Settings, log: &dyn Log) -> Result<Vec<StreamName>> {
    let name = &settings.configuration;
    let own = [streams::control(name), streams::decisions(name), streams::desired(name), streams::outcomes(name)];
    let mut all = log.streams().await?;
    all.retain(|stream| {
        let of_forest = |forest: &str| stream.as_str().starts_with(&format!("changes.{forest}."));
        let is_read = stream.as_str().starts_with("changes.")
            && (settings.log.is_none() || settings.forests.iter().any(|forest| of_forest(forest.name())));
        is_read || own.iter().any(|name| name == stream.as_str())
    });
    Ok(all)
}

/// Gives `see` all records of these streams as they are now, each stream in its order; `false` ends it. Returns the ends.
pub async fn scan(
    log: &dyn Log,
    all: &[StreamName],
    mut see: impl FnMut(&StreamName, &Record) -> Result<bool>,
) -> Result<Vec<(StreamName, u64)>> {
    let mut ends = Vec::new();
    for stream in all {
        ends.push((stream.clone(), log.tail(stream).await?));
    }
    let mut progress = Counter::new("reading the history".into(), ends.iter().map(|(_, end)| end).sum());
    for (stream, end) in &ends {
        let (mut walk, mut at) = (Walk::new(log, stream, 0, *end).await?, 0);
        while let Some(record) = walk.next().await? {
            progress.advanced(record.offset + 1 - at, 1);
            at = record.offset + 1;
            if !see(stream, &record)? {
                return Ok(ends);
            }
        }
        progress.advanced(end - at, 0);
    }
    Ok(ends)
}

/// The first and the last time of a period, for people.
pub fn shown(period: &PeriodArgs) -> String {
    match (period.since, period.until) {
        (None, None) => "the whole history".to_owned(),
        (Some(since), None) => format!("from {since} on"),
        (None, Some(until)) => format!("up to {until}"),
        (Some(since), Some(until)) => format!("from {since} to {until}"),
    }
}
