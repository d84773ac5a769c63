//! `forestsync log compact`.
//!
//! What may go is found by reading, and shown; with `--yes` it is taken out, one stream after the other. A stream that is
//! broken is left alone: taking records out would hide where. A death at any moment leaves streams of which some is taken
//! out, which is right, and the next run goes on.

use std::collections::BTreeSet;

use anyhow::Result;
use forestsync_domain::Dn;
use forestsync_log::{EmbeddedLog, Log, Record, StreamName, chain};
use forestsync_projector::Superseded;
use forestsync_schemas::ChangeRecord;
use forestsync_schemas::decisions::{DecisionEvent, DecisionRecord};
use jiff::Timestamp;
use serde::Serialize;

use super::copy::fits;
use super::digest::Latest;
use super::list::size;
use super::{Walk, no_such_stream, our_streams};
use crate::cli::CompactArgs;
use crate::config::Settings;
use crate::exit::{Exit, UsageError};
use crate::instance::Instance;
use crate::progress::Counter;
use crate::{config, output};

/// What was found and done; the JSON of `log compact --json`.
#[derive(Debug, Serialize)]
struct Summary {
    /// The moment.
    before: Timestamp,
    /// Whether it was done.
    done: bool,
    /// The streams.
    streams: Vec<Line>,
}

/// What was found and done in a stream.
#[derive(Debug, Serialize)]
struct Line {
    /// The stream.
    stream: String,
    /// Records there were.
    records: u64,
    /// Records that may go, or went.
    go: u64,
    /// What keys, values and headers of these take, in bytes.
    bytes: u64,
    /// The stream's size on disk afterwards, where it was done.
    bytes_after: Option<u64>,
    /// Why nothing goes.
    whole: Option<&'static str>,
    /// Why it was not done.
    error: Option<String>,
}

/// What may go of a stream.
enum Plan {
    /// Nothing, and why.
    Whole(&'static str),
    /// These records.
    Thin(BTreeSet<u64>),
    /// Whatever is superseded.
    Compact(BTreeSet<u64>),
}

/// Shows what may go, or takes it out.
pub async fn compact(args: CompactArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log = embedded(&settings)?;
    let _instance = if args.yes && settings.log.is_none() { Some(Instance::take(&settings.data)?) } else { None };
    let mut streams = our_streams(&log).await?;
    if let Some(unknown) = args.streams.iter().find(|wanted| !streams.iter().any(|s| fits(wanted, s.as_str()))) {
        return Err(no_such_stream(unknown));
    }
    streams.retain(|s| args.streams.is_empty() || args.streams.iter().any(|wanted| fits(wanted, s.as_str())));
    let mut lines = Vec::with_capacity(streams.len());
    for stream in &streams {
        lines.push(of(&log, stream, args.before, args.yes).await?);
    }
    let summary = Summary { before: args.before, done: args.yes, streams: lines };
    if args.json {
        output::json(&summary)?;
    } else {
        output::text(&render(&summary))?;
        if !args.yes {
            output::note("nothing was changed; add --yes to take this out for ever");
        }
    }
    Ok(if summary.streams.iter().any(|line| line.error.is_some()) { Exit::Differs } else { Exit::Done })
}

/// The log, if it is an embedded one.
fn embedded(settings: &Settings) -> Result<EmbeddedLog> {
    let Some(log) = &settings.log else {
        // it must be there already
        drop(settings.existing_log()?);
        return Ok(settings.embedded()?);
    };
    if let Some(directory) = &log.directory {
        return Ok(EmbeddedLog::open(settings.base.join(directory))?);
    }
    let message = format!("{}: [log] names Kafka, which cannot take records out", settings.path.display());
    let hint = "copy it to an embedded log (forestsync log copy), compact that one, and copy it back under another \
                log.prefix";
    Err(UsageError::new(message, hint).into())
}

async fn of(log: &EmbeddedLog, stream: &StreamName, before: Timestamp, yes: bool) -> Result<Line> {
    let mut line =
        Line { stream: stream.to_string(), records: 0, go: 0, bytes: 0, bytes_after: None, whole: None, error: None };
    let verdict = chain::verify(log, stream, &[], &mut |_, _| ()).await?;
    line.records = verdict.proved + verdict.unproved;
    if let Some(broken) = verdict.broken {
        line.error = Some(format!("it is broken at offset {}: see forestsync audit verify", broken.offset));
        return Ok(line);
    }
    let tail = log.tail(stream).await?;
    let mut counter = Counter::new(format!("reading {stream}"), tail);
    let plan = plan(log, stream, before, tail, &mut counter).await?;
    let gone = match &plan {
        Plan::Whole(why) => {
            line.whole = Some(why);
            return Ok(line);
        }
        Plan::Thin(gone) | Plan::Compact(gone) => gone,
    };
    let mut walk = Walk::new(log, stream, 0, tail).await?;
    while let Some(record) = walk.next().await? {
        // of other streams what an earlier version wrote stays: nothing could say that the gap is meant
        if gone.contains(&record.offset) && (record.link.is_some() || stream.is_compacted()) {
            line.go += 1;
            line.bytes += record.size() as u64;
        }
    }
    if yes && line.go > 0 {
        let done = match plan {
            Plan::Whole(_) => return Ok(line),
            Plan::Thin(gone) => log.thin(stream, move |offset| gone.contains(&offset)).await?,
            Plan::Compact(_) => log.compact_before(stream, before).await?,
        };
        line.go = done.records;
        line.bytes_after = Some(done.bytes_after);
    }
    Ok(line)
}

async fn plan(log: &dyn Log, stream: &StreamName, before: Timestamp, tail: u64, counter: &mut Counter) -> Result<Plan> {
    let mut walk = Walk::new(log, stream, 0, tail).await?;
    match stream.as_str().split_once('.').map(|(kind, _)| kind) {
        Some("changes") => {
            let approvals = approvals(log).await?;
            let mut superseded = None;
            while let Some(record) = until(&mut walk, before, counter).await? {
                let change = ChangeRecord::decode(&record.value)?;
                let places = || {
                    let own = |(forest, naming_context, offset): &(String, Dn, u64)| {
                        let ours = *forest == change.context.forest && *naming_context == change.context.naming_context;
                        ours.then_some(*offset)
                    };
                    Superseded::new(approvals.iter().filter_map(own).collect())
                };
                superseded.get_or_insert_with(places).take(record.offset, &change);
            }
            Ok(Plan::Thin(superseded.map(Superseded::finish).unwrap_or_default()))
        }
        Some("tenant") => {
            let mut gone = BTreeSet::new();
            while let Some(record) = until(&mut walk, before, counter).await? {
                gone.insert(record.offset);
            }
            // the first one begins the stream, the last one is in force
            gone.pop_first();
            gone.pop_last();
            Ok(Plan::Thin(gone))
        }
        Some("desired") => {
            let latest = Latest::gather(log, stream, tail).await?;
            let mut gone = BTreeSet::new();
            while let Some(record) = walk.next().await? {
                counter.reached(record.offset + 1, 1);
                if record.timestamp < before && latest.supersedes(&record) {
                    gone.insert(record.offset);
                }
            }
            Ok(Plan::Compact(gone))
        }
        Some("decisions") => Ok(Plan::Whole("every decision is part of what the projection is made from")),
        Some("outcomes") => Ok(Plan::Whole("the ledger is made from it")),
        Some("control") => Ok(Plan::Whole("it says who put what into force")),
        _ => Ok(Plan::Whole("it is no stream whose meaning is known here")),
    }
}

/// Where approvals of full reads count, by forest and naming context, in all configurations.
async fn approvals(log: &dyn Log) -> Result<Vec<(String, Dn, u64)>> {
    let mut places = Vec::new();
    for stream in our_streams(log).await?.iter().filter(|stream| stream.as_str().starts_with("decisions.")) {
        let mut walk = Walk::new(log, stream, 0, log.tail(stream).await?).await?;
        while let Some(record) = walk.next().await? {
            if let DecisionEvent::FullReadApproved(event) = DecisionRecord::decode(&record.value)?.event {
                places.push((event.forest, event.naming_context, event.offset));
            }
        }
    }
    Ok(places)
}

/// The next record, up to the first one that was not appended before the moment.
async fn until(walk: &mut Walk, before: Timestamp, counter: &mut Counter) -> Result<Option<Record>> {
    let record = walk.next().await?.filter(|record| record.timestamp < before);
    if let Some(record) = &record {
        counter.reached(record.offset + 1, 1);
    }
    Ok(record)
}

fn render(summary: &Summary) -> String {
    let went = if summary.done { "went" } else { "may go" };
    let mut table = output::table(&["stream", "records", went, "bytes", "note"]);
    for line in &summary.streams {
        let note = match line {
            Line { error: Some(error), .. } => error.clone(),
            Line { whole: Some(why), .. } => format!("stays whole: {why}"),
            Line { bytes_after: Some(after), .. } => format!("takes {} now", size(*after)),
            _ => String::new(),
        };
        table.add_row([&line.stream, &line.records.to_string(), &line.go.to_string(), &size(line.bytes), &note]);
    }
    output::render(&table)
}
