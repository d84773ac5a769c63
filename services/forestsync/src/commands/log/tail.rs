//! `forestsync log tail`.

use std::collections::VecDeque;

use anyhow::{Context as _, Result};
use forestsync_log::{Log, StreamName};
use forestsync_runtime::shutdown;

use super::filter::Filter;

use super::{BATCH, Walk};
use crate::cli::TailArgs;
use crate::exit::{Exit, UsageError};
use crate::{config, events, output};

/// Records in the first window read from the end; each further one is four times as long.
const FIRST_WINDOW: u64 = 256;

/// Prints events.
pub async fn tail(args: TailArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let stream: StreamName = args.stream.parse().context("see forestsync log list for the streams there are")?;
    let filter = Filter::new(&args.types, &args.objects)?;
    let log = settings.existing_log()?;
    if !args.follow && !log.streams().await?.contains(&stream) {
        let hint = "see forestsync log list for the streams there are, or add --follow to wait for it";
        return Err(UsageError::new(format!("there is no stream {stream}"), hint).into());
    }
    let shutdown = shutdown::on_signals()?;
    tokio::select! {
        shown = show(log.as_ref(), &stream, &filter, &args) => shown?,
        () = shutdown.stop.cancelled() => {}
    }
    Ok(Exit::Done)
}

/// Prints until the end, the limit, or for ever.
async fn show(log: &dyn Log, stream: &StreamName, filter: &Filter, args: &TailArgs) -> Result<()> {
    let from = match args.from {
        Some(from) => from,
        None => start(log, stream, filter, args.last).await?,
    };
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut reader = log.reader(stream, from).await?;
    while left > 0 {
        let records = if args.follow { reader.next(BATCH).await? } else { reader.poll(BATCH).await? };
        if records.is_empty() && !args.follow {
            break;
        }
        for record in records.iter().filter(|record| filter.matches(record)) {
            let line = if args.json {
                events::json_line(stream.as_str(), record, args.values).to_string()
            } else {
                events::line(record)
            };
            if left == 0 || !output::line(&line)? {
                return Ok(());
            }
            left -= 1;
        }
    }
    Ok(())
}

/// The offset from which on there are the `last` last events that pass: windows that grow from the end.
async fn start(log: &dyn Log, stream: &StreamName, filter: &Filter, last: u64) -> Result<u64> {
    let tail = log.tail(stream).await?;
    if last == 0 || (filter.is_empty() && !stream.is_compacted()) {
        return Ok(tail.saturating_sub(last));
    }
    let mut window = last.max(FIRST_WINDOW);
    loop {
        let from = tail.saturating_sub(window);
        match nth_last(log, stream, filter, last, from..tail).await? {
            Some(offset) => return Ok(offset),
            None if from == 0 => return Ok(0),
            None => window = window.saturating_mul(4),
        }
    }
}

/// The offset of the `last`-th event from the end that passes, if there are as many within `part`.
async fn nth_last(
    log: &dyn Log,
    stream: &StreamName,
    filter: &Filter,
    last: u64,
    part: std::ops::Range<u64>,
) -> Result<Option<u64>> {
    let mut walk = Walk::new(log, stream, part.start, part.end).await?;
    let mut passed = VecDeque::new();
    while let Some(record) = walk.next().await? {
        if filter.matches(&record) {
            passed.push_back(record.offset);
            if passed.len() as u64 > last {
                passed.pop_front();
            }
        }
    }
    Ok(if (passed.len() as u64) < last { None } else { passed.front().copied() })
}
