//! `forestsync log list` and `forestsync log tail`.

use anyhow::{Context as _, Result};
use forestsync_log::{Log, Record, StreamName};
use serde::Serialize;

use crate::cli::{ReadArgs, TailArgs};
use crate::exit::{Exit, UsageError};
use crate::{config, events, output};

/// Records read at a time.
const BATCH: usize = 500;

/// One line of `log list`, and one element of its JSON array.
#[derive(Debug, Serialize)]
struct StreamLine {
    /// The stream.
    stream: String,
    /// The offset the next record will get.
    records: u64,
    /// When the last record was appended.
    last: Option<String>,
    /// Its type.
    last_type: Option<String>,
}

/// Lists the streams.
pub async fn list(args: ReadArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log = settings.existing_log().await?;
    let mut lines = Vec::new();
    for stream in log.streams().await? {
        let records = log.tail(&stream).await?;
        let last = match records.checked_sub(1) {
            Some(offset) => log.reader(&stream, offset).await?.poll(1).await?.pop(),
            None => None,
        };
        lines.push(StreamLine {
            stream: stream.to_string(),
            records,
            last: last.as_ref().map(|r| r.timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()),
            last_type: last.as_ref().map(events::kind),
        });
    }
    if args.json {
        output::json(&lines)?;
    } else if lines.is_empty() {
        output::note("the log is empty: nothing has been read yet");
    } else {
        let mut table = output::table(&["stream", "next offset", "last event", "type"]);
        for line in &lines {
            let (last, kind) = (line.last.as_deref().unwrap_or("-"), line.last_type.as_deref().unwrap_or("-"));
            table.add_row([line.stream.as_str(), &line.records.to_string(), last, kind]);
        }
        output::text(&output::render(&table))?;
    }
    Ok(Exit::Done)
}

/// Prints events.
pub async fn tail(args: TailArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let stream: StreamName = args.stream.parse().context("see forestsync log list for the streams there are")?;
    let log = settings.existing_log().await?;
    if !args.follow && !log.streams().await?.contains(&stream) {
        let hint = "see forestsync log list for the streams there are, or add --follow to wait for it";
        return Err(UsageError::new(format!("there is no stream {stream}"), hint).into());
    }
    let from = match args.from {
        Some(from) => from,
        None => start(log.as_ref(), &stream, &args).await?,
    };
    let mut reader = log.reader(&stream, from).await?;
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    loop {
        let records = if args.follow {
            tokio::select! {
                records = reader.next(BATCH) => records?,
                _ = &mut stop => return Ok(Exit::Done),
            }
        } else {
            reader.poll(BATCH).await?
        };
        if records.is_empty() && !args.follow {
            return Ok(Exit::Done);
        }
        for record in records.iter().filter(|r| wanted(r, &args.types)) {
            let line = if args.json {
                events::json_line(stream.as_str(), record, args.values).to_string()
            } else {
                events::line(record, args.values)
            };
            if !output::line(&line)? {
                return Ok(Exit::Done);
            }
        }
    }
}

fn wanted(record: &Record, types: &[String]) -> bool {
    types.is_empty() || types.iter().any(|t| t.eq_ignore_ascii_case(&events::kind(record)))
}

/// The offset of the last `--lines` events of the wanted types: windows that double from the end.
async fn start(log: &dyn Log, stream: &StreamName, args: &TailArgs) -> Result<u64> {
    let tail = log.tail(stream).await?;
    let mut window = args.lines;
    loop {
        let from = tail.saturating_sub(window);
        if args.types.is_empty() || from == 0 {
            return Ok(if args.types.is_empty() {
                from
            } else {
                nth_last(log, stream, from, args).await?.unwrap_or(0)
            });
        }
        if let Some(offset) = nth_last(log, stream, from, args).await? {
            return Ok(offset);
        }
        window = window.saturating_mul(4).max(256);
    }
}

/// The offset of the `--lines`-th wanted record from the end, if there are as many from `from` on.
async fn nth_last(log: &dyn Log, stream: &StreamName, from: u64, args: &TailArgs) -> Result<Option<u64>> {
    let mut reader = log.reader(stream, from).await?;
    let lines = usize::try_from(args.lines).unwrap_or(usize::MAX);
    let mut last = std::collections::VecDeque::new();
    loop {
        let records = reader.poll(BATCH).await?;
        if records.is_empty() {
            return Ok(if last.len() < lines { None } else { last.front().copied() });
        }
        for record in records.iter().filter(|r| wanted(r, &args.types)) {
            last.push_back(record.offset);
            if last.len() > lines {
                last.pop_front();
            }
        }
    }
}
