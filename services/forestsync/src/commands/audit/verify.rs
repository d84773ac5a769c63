//! `forestsync audit verify`.
//!
//! Streams are independent: one that is damaged or does not answer is told of, and the others are checked all the same.

use std::collections::BTreeSet;

use anyhow::Result;
use forestsync_log::chain::{self, Anchor, Verdict};
use forestsync_log::{Log, StreamName};
use serde::Serialize;

use crate::cli::VerifyArgs;
use crate::commands::log::{copy, no_such_stream, our_streams};
use crate::exit::{Exit, UsageError};
use crate::progress::Counter;
use crate::{config, output};

/// What was found; the JSON of `audit verify --json`.
#[derive(Debug, Serialize)]
struct Found {
    /// Whether nothing is wrong with any stream.
    whole: bool,
    /// The streams.
    streams: Vec<Line>,
}

/// What was found in a stream.
#[derive(Debug, Default, Serialize)]
struct Line {
    /// The stream.
    stream: String,
    /// The first offset that the chain proves; `null` in a stream without a chain.
    begins: Option<u64>,
    /// Records before that, which nothing proves: an earlier version wrote them.
    unproved: u64,
    /// Records that are proved.
    proved: u64,
    /// Places where records are gone: superseded ones of a compacted stream, or taken out by `log compact`.
    gaps: u64,
    /// The offset after the last record read.
    next_offset: u64,
    /// Anchors that the stream agrees with.
    anchors: u64,
    /// Anchors of records that are gone, with nothing to compare them with.
    anchors_gone: u64,
    /// The first thing wrong.
    broken: Option<Break>,
    /// Where an append stands at the end that is not whole and was never acknowledged, which is nothing wrong.
    torn: Option<String>,
    /// Why the stream could not be checked to its end.
    error: Option<String>,
}

/// The first thing wrong with a stream.
#[derive(Debug, Serialize)]
struct Break {
    /// The first offset that is not proved.
    offset: u64,
    /// File and position, where the record cannot even be read.
    place: Option<String>,
    /// What is wrong.
    detail: String,
}

/// Checks the chains.
pub async fn verify(args: VerifyArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let paths = args.anchors.clone();
    let read = move || paths.iter().map(|path| Anchor::read(path)).collect::<Result<Vec<_>, _>>();
    let anchors = tokio::task::spawn_blocking(read).await?.map_err(|error| {
        UsageError::new(error.to_string(), "forestsync audit anchors --out FILE writes such a file")
    })?;
    let anchors = anchors.concat();
    let log = settings.existing_log()?;
    // a stream that is gone altogether is one that its anchors know
    let mut streams: BTreeSet<StreamName> = our_streams(log.as_ref()).await?.into_iter().collect();
    streams.extend(anchors.iter().map(|anchor| anchor.stream.clone()));
    if let Some(unknown) = args.streams.iter().find(|wanted| !streams.iter().any(|s| copy::fits(wanted, s.as_str()))) {
        return Err(no_such_stream(unknown));
    }
    streams.retain(|s| args.streams.is_empty() || args.streams.iter().any(|wanted| copy::fits(wanted, s.as_str())));
    let mut lines = Vec::with_capacity(streams.len());
    for stream in &streams {
        lines.push(line(log.as_ref(), stream, &anchors).await);
    }
    let found = Found { whole: lines.iter().all(|l| l.broken.is_none() && l.error.is_none()), streams: lines };
    if args.json {
        output::json(&found)?;
    } else if found.streams.is_empty() {
        output::note("the log is empty: nothing has been read yet");
    } else {
        output::text(&render(&found))?;
    }
    Ok(exit(&found))
}

fn exit(found: &Found) -> Exit {
    if found.streams.iter().any(|line| line.broken.is_some()) {
        Exit::Differs
    } else if found.whole {
        Exit::Done
    } else {
        Exit::Failed
    }
}

async fn line(log: &dyn Log, stream: &StreamName, anchors: &[Anchor]) -> Line {
    // a damaged stream may have no tail; then the bar has no end
    let tail = log.tail(stream).await.unwrap_or(0);
    let mut counter = Counter::new(format!("verifying {stream}"), tail);
    let walked = chain::verify(log, stream, anchors, &mut |offset, records| counter.reached(offset, records)).await;
    match walked {
        Ok(verdict) => verdict.into(),
        Err(error) => Line { stream: stream.to_string(), error: Some(error.to_string()), ..Line::default() },
    }
}

impl From<Verdict> for Line {
    fn from(verdict: Verdict) -> Self {
        Self {
            stream: verdict.stream.to_string(),
            begins: verdict.begins,
            unproved: verdict.unproved,
            proved: verdict.proved,
            gaps: verdict.gaps,
            next_offset: verdict.next_offset,
            anchors: verdict.anchors,
            anchors_gone: verdict.anchors_gone,
            broken: verdict.broken.map(|b| Break { offset: b.offset, place: b.place, detail: b.detail }),
            torn: verdict.torn.map(|torn| torn.place),
            error: None,
        }
    }
}

fn render(found: &Found) -> String {
    let mut table = output::table(&["stream", "proved", "unproved", "next", "anchors", "verdict"]);
    for line in &found.streams {
        let [proved, unproved, next] = [line.proved, line.unproved, line.next_offset].map(|n| n.to_string());
        let verdict = match line {
            Line { error: Some(_), .. } => "cannot be read".to_owned(),
            Line { broken: Some(broken), .. } => format!("BROKEN at {}", broken.offset),
            Line { begins: None, next_offset: 0, .. } => "empty".to_owned(),
            Line { begins: None, .. } => "no chain yet".to_owned(),
            Line { begins: Some(begins), unproved: 1.., .. } => format!("whole from {begins} on"),
            _ => "whole".to_owned(),
        };
        table.add_row([&line.stream, &proved, &unproved, &next, &line.anchors.to_string(), &verdict]);
    }
    let mut text = output::render(&table);
    let notes: Vec<String> = found.streams.iter().flat_map(remarks).collect();
    if !notes.is_empty() {
        text = format!("{text}\n{}\n", notes.join("\n"));
    }
    text
}

/// What a line of the table has no room for.
fn remarks(line: &Line) -> Vec<String> {
    let stream = &line.stream;
    let mut remarks = Vec::new();
    if let Some(Break { offset, place, detail }) = &line.broken {
        let place = place.as_ref().map_or_else(String::new, |place| format!(", in {place}"));
        remarks.push(format!("{stream} is broken at offset {offset}{place}: {detail}"));
    }
    if let Some(error) = &line.error {
        remarks.push(format!("{stream}: {error}"));
    }
    if let Some(place) = &line.torn {
        remarks.push(format!(
            "{stream}: an append that was never acknowledged stands in {place}; the next one replaces it"
        ));
    }
    if line.unproved > 0 {
        remarks.push(format!("{stream}: an earlier version wrote {} records without a chain", line.unproved));
    }
    if line.gaps > 0 && !line.stream.starts_with("desired.") {
        let places = if line.gaps == 1 { "one place".to_owned() } else { format!("{} places", line.gaps) };
        remarks.push(format!("{stream}: in {places} forestsync log compact took records out"));
    }
    if line.anchors_gone > 0 {
        remarks.push(format!("{stream}: {} anchors are of records that were superseded since", line.anchors_gone));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: Line) -> Found {
        Found { whole: line.broken.is_none() && line.error.is_none(), streams: vec![line] }
    }

    #[test]
    fn a_break_weighs_more_than_an_error() {
        let error = || Line { error: Some("e".to_owned()), ..Line::default() };
        let broken = || {
            let detail = String::new();
            Line { broken: Some(Break { offset: 0, place: None, detail }), ..Line::default() }
        };
        assert_eq!(exit(&found(Line::default())), Exit::Done);
        assert_eq!(exit(&found(error())), Exit::Failed);
        assert_eq!(exit(&found(broken())), Exit::Differs);
        assert_eq!(exit(&Found { whole: false, streams: vec![error(), broken()] }), Exit::Differs);
    }
}
