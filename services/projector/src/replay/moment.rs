//! Moments: for each stream an offset.

use std::collections::BTreeMap;

use forestsync_log::{Log, StreamName, offset_at, offsets_at};
use forestsync_schemas::ChangeRecord;
use forestsync_schemas::changes::ChangeEvent;
use forestsync_schemas::streams;
use jiff::Timestamp;

use super::Result;
use crate::{PlanError, ProjectorConfig};

/// Records that are looked at in one go on the way back to the end of an answer.
const CHUNK: u64 = 1_000;

/// All streams that a projection follows from: its sources', its decisions, and what the tenant says of itself.
pub fn streams_of(config: &ProjectorConfig) -> std::result::Result<Vec<StreamName>, PlanError> {
    let mut all: Vec<StreamName> = config.sources.iter().map(|source| source.stream.clone()).collect();
    all.push(streams::decisions(&config.configuration).parse()?);
    all.push(streams::tenant(&config.configuration).parse()?);
    Ok(all)
}

/// Where the streams of a projection stood at `time`, each `changes` stream at the end of the last answer of its directory
/// that was complete then, so that what is wished can be told. A first full read that was under way is taken as far as it
/// had come.
pub async fn moment_at(log: &dyn Log, config: &ProjectorConfig, time: Timestamp) -> Result<BTreeMap<StreamName, u64>> {
    let mut offsets = offsets_at(log, streams_of(config)?, time).await?;
    for source in &config.sources {
        if let Some(offset) = offsets.get_mut(&source.stream) {
            *offset = whole_answers(log, &source.stream, *offset).await?.unwrap_or(*offset);
        }
    }
    Ok(offsets)
}

/// The greatest offset up to `offset` at which no answer is open; `None` if none was ever complete.
pub(super) async fn whole_answers(log: &dyn Log, stream: &StreamName, offset: u64) -> Result<Option<u64>> {
    let (mut end, mut is_open) = (offset, false);
    while end > 0 {
        let from = end.saturating_sub(CHUNK);
        let mut reader = log.reader(stream, from).await?;
        let mut records = Vec::new();
        while reader.position() < end {
            let some = reader.poll(CHUNK as usize).await?;
            if some.is_empty() {
                break;
            }
            records.extend(some.into_iter().filter(|record| record.offset < end));
        }
        for record in records.iter().rev() {
            match ChangeRecord::decode(&record.value).map(|record| record.event) {
                Ok(ChangeEvent::CursorAdvanced(event)) if event.to.complete => {
                    return Ok(Some(if is_open { record.offset + 1 } else { offset }));
                }
                Ok(ChangeEvent::ReadingStopped(_) | ChangeEvent::ReadingResumed(_)) => {}
                // what cannot be read is said where it is applied
                _ => is_open = true,
            }
        }
        end = from;
    }
    Ok(None)
}

/// Moments on the way from `start` to `goal`, so that about `every` records lie between two of them; the last one is `goal`.
/// They are moments of the log, for what went on at the same time in different streams belongs together.
pub(super) async fn milestones(
    log: &dyn Log,
    start: &BTreeMap<StreamName, u64>,
    goal: &BTreeMap<StreamName, u64>,
    every: u64,
) -> Result<Vec<BTreeMap<StreamName, u64>>> {
    let left = |stream: &StreamName| goal[stream].saturating_sub(start.get(stream).copied().unwrap_or(0));
    let total: u64 = goal.keys().map(left).sum();
    let (steps, mut all) = (total.checked_div(every).unwrap_or(0), Vec::new());
    let leading = goal.keys().max_by_key(|stream| left(stream)).filter(|_| steps > 0);
    let mut before = start.clone();
    for step in 1..=steps {
        let Some(leading) = leading else { break };
        let at = start.get(leading).copied().unwrap_or(0) + left(leading) / (steps + 1) * step;
        let Some(record) = log.reader(leading, at).await?.poll(1).await?.into_iter().next() else { break };
        let mut moment = BTreeMap::new();
        for (stream, end) in goal {
            let from = before.get(stream).copied().unwrap_or(0);
            let found = if stream == leading { at } else { offset_at(log, stream, record.timestamp).await? };
            moment.insert(stream.clone(), found.min(*end).max(from));
        }
        before.clone_from(&moment);
        all.push(moment);
    }
    all.push(goal.clone());
    Ok(all)
}
