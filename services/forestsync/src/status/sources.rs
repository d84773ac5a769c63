//! The state of each source, from the end of its stream.

use anyhow::{Context as _, Result};
use forestsync_log::{Log, Record, StreamName};
use forestsync_schemas::{ChangeEvent, ChangeRecord, streams};

use super::{BATCH, SnapshotState, Source, SourceState, Stopped, name_of};
use crate::config::{ForestSettings, Settings};
use crate::events;

/// Records in the first window read from the end; each further one is four times as long.
const FIRST_WINDOW: u64 = 256;

/// All sources, in the order of the configuration.
pub(super) async fn gather(log: &dyn Log, settings: &Settings) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for forest in &settings.forests {
        for (stream, naming_context) in streams_of(log, forest).await? {
            sources.push(source(log, forest, &stream, naming_context).await?);
        }
    }
    Ok(sources)
}

/// The forest's streams: those of its domains, else those that are there, else none is known yet.
async fn streams_of(log: &dyn Log, forest: &ForestSettings) -> Result<Vec<(StreamName, Option<String>)>> {
    if !forest.reading.domains.is_empty() {
        let named = forest.reading.domains.iter().map(|nc| {
            let stream = streams::changes(forest.name(), nc).parse()?;
            Ok((stream, Some(nc.to_string())))
        });
        return named.collect();
    }
    let prefix = format!("changes.{}.", forest.name());
    let there = log.streams().await?.into_iter().filter(|s| s.as_str().starts_with(&prefix));
    let mut there: Vec<_> = there.map(|stream| (stream, None)).collect();
    if there.is_empty() {
        there.push((format!("{prefix}unknown").parse()?, None));
    }
    Ok(there)
}

async fn source(
    log: &dyn Log,
    forest: &ForestSettings,
    stream: &StreamName,
    naming_context: Option<String>,
) -> Result<Source> {
    let tail = log.tail(stream).await?;
    let mut source = Source {
        forest: forest.name().to_owned(),
        naming_context,
        stream: stream.to_string(),
        records: tail,
        state: SourceState::NeverRead,
        controller: None,
        last_cursor: None,
        snapshot: None,
        stopped: None,
    };
    let mut window = FIRST_WINDOW;
    if tail == 0 {
        return Ok(source);
    }
    loop {
        let from = tail.saturating_sub(window);
        if scan(log, stream, from, tail, &mut source).await? || from == 0 {
            break;
        }
        window = window.saturating_mul(4);
    }
    Ok(source)
}

/// Reads `from..to` into `source`. `true` if that holds a cursor, so that nothing before it matters.
async fn scan(log: &dyn Log, stream: &StreamName, from: u64, to: u64, source: &mut Source) -> Result<bool> {
    let mut reader = log.reader(stream, from).await?;
    let (mut cursor, mut seen) = (false, 0);
    (source.state, source.snapshot, source.stopped) = (SourceState::NeverRead, None, None);
    loop {
        let records = reader.poll(BATCH).await?;
        if records.is_empty() || records.first().is_some_and(|r| r.offset >= to) {
            return Ok(cursor);
        }
        for record in records.iter().filter(|r| r.offset < to) {
            match events::kind(record).as_str() {
                "ObjectObserved" => seen += 1,
                "SnapshotStarted" | "SnapshotCompleted" | "CursorAdvanced" | "ReadingStopped" | "ReadingResumed" => {
                    let place = || format!("stream {stream} offset {}", record.offset);
                    cursor |= mark(record, source, &mut seen).with_context(place)?;
                }
                _ => {}
            }
        }
        if let Some(snapshot) = &mut source.snapshot {
            snapshot.seen = snapshot.seen.max(seen);
        } else if source.state == SourceState::NeverRead && seen > 0 {
            // in the middle of a first full read whose start lies further back
            source.state = SourceState::Snapshot;
        }
    }
}

/// Takes in one event that says how reading goes. `true` for a cursor.
fn mark(record: &Record, source: &mut Source, seen: &mut u64) -> Result<bool> {
    let change = ChangeRecord::decode(&record.value)?;
    source.naming_context = Some(change.context.naming_context.to_string());
    if let Some(controller) = change.context.controller {
        source.controller = Some(controller.dns_name);
    }
    match change.event {
        ChangeEvent::SnapshotStarted(started) => {
            *seen = 0;
            source.state = SourceState::Snapshot;
            source.snapshot = Some(SnapshotState { reason: Some(name_of(&started.reason)), seen: 0 });
            source.stopped = None;
        }
        ChangeEvent::SnapshotCompleted(_) => {
            source.state = SourceState::Following;
            source.snapshot = None;
        }
        ChangeEvent::CursorAdvanced(advanced) => {
            source.last_cursor = Some(change.time.to_string());
            source.stopped = None;
            match advanced.to.snapshot {
                Some(progress) => {
                    *seen = progress.seen;
                    let reason = source.snapshot.take().and_then(|s| s.reason);
                    source.snapshot = Some(SnapshotState { reason, seen: progress.seen });
                    source.state = SourceState::Snapshot;
                }
                None => source.state = SourceState::Following,
            }
            return Ok(true);
        }
        ChangeEvent::ReadingStopped(stopped) => {
            source.state = SourceState::Stopped;
            source.stopped = Some(Stopped {
                cause: name_of(&stopped.cause),
                detail: stopped.detail,
                hint: stopped.hint,
                since: change.time.to_string(),
            });
        }
        ChangeEvent::ReadingResumed(_) => {
            source.stopped = None;
            source.state = match (&source.snapshot, &source.last_cursor) {
                (Some(_), _) => SourceState::Snapshot,
                (None, Some(_)) => SourceState::Following,
                (None, None) => SourceState::NeverRead,
            };
        }
        _ => {}
    }
    Ok(false)
}
