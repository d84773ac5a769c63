//! `forestsync log list`.

use anyhow::Result;
use forestsync_log::{Log, StreamName};
use serde::Serialize;

use super::lag::{self, Reading};

use super::{Walk, our_streams};
use crate::cli::ReadArgs;
use crate::exit::Exit;
use crate::{config, events, output};

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
    /// The offset of the first record there is, or `next_offset`.
    first_offset: u64,
    /// The offset the next record will get.
    next_offset: u64,
    /// How many records there are: a compacted stream has not kept all.
    kept: u64,
    /// The stream's size on disk, where the log knows it.
    bytes: Option<u64>,
    /// How far the services have read it.
    readers: Vec<Reading>,
}

/// Lists the streams.
pub async fn list(args: ReadArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log = settings.existing_log()?;
    let mut lines = Vec::new();
    for stream in our_streams(log.as_ref()).await? {
        lines.push(line(log.as_ref(), &stream).await?);
    }
    let tails = lines.iter().map(|line| (line.stream.clone(), line.next_offset)).collect();
    for reading in lag::gather(log.as_ref(), &tails).await? {
        if let Some(line) = lines.iter_mut().find(|line| line.stream == reading.stream) {
            line.readers.push(reading);
        }
    }
    if args.json {
        output::json(&lines)?;
    } else if lines.is_empty() {
        output::note("the log is empty: nothing has been read yet");
    } else {
        output::text(&render(&lines))?;
    }
    Ok(Exit::Done)
}

async fn line(log: &dyn Log, stream: &StreamName) -> Result<StreamLine> {
    let info = log.stream_info(stream).await?;
    let next = info.next_offset;
    let last = match next.checked_sub(1) {
        Some(offset) => Walk::new(log, stream, offset, next).await?.next().await?,
        None => None,
    };
    let (first, kept) = if stream.is_compacted() { count(log, stream, next).await? } else { (info.first_offset, None) };
    Ok(StreamLine {
        stream: stream.to_string(),
        records: next,
        last: last.as_ref().map(|r| r.timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()),
        last_type: last.as_ref().map(events::kind),
        first_offset: first,
        next_offset: next,
        kept: kept.unwrap_or(next - first.min(next)),
        bytes: info.bytes,
        readers: Vec::new(),
    })
}

/// The first offset and the number of records of a compacted stream: only reading it tells.
async fn count(log: &dyn Log, stream: &StreamName, end: u64) -> Result<(u64, Option<u64>)> {
    let mut walk = Walk::new(log, stream, 0, end).await?;
    let (mut first, mut kept) = (end, 0);
    while let Some(record) = walk.next().await? {
        first = first.min(record.offset);
        kept += 1;
    }
    Ok((first, Some(kept)))
}

fn render(lines: &[StreamLine]) -> String {
    let mut streams = output::table(&["stream", "first", "next", "records", "size", "last append", "type"]);
    for line in lines {
        let (last, kind) = (line.last.as_deref().unwrap_or("-"), line.last_type.as_deref().unwrap_or("-"));
        let numbers = [line.first_offset, line.next_offset, line.kept].map(|number| number.to_string());
        let [first, next, kept] = &numbers;
        streams.add_row([
            line.stream.as_str(),
            first,
            next,
            kept,
            &line.bytes.map_or_else(|| "-".to_owned(), size),
            last,
            kind,
        ]);
    }
    let mut readers = output::table(&["reader", "configuration", "stream", "applied", "tail", "lag"]);
    for reading in lines.iter().flat_map(|line| &line.readers) {
        let (applied, lag) = match (reading.applied, reading.lag) {
            (Some(applied), Some(lag)) if reading.exact => (applied.to_string(), lag.to_string()),
            (Some(applied), Some(lag)) => (format!("at least {applied}"), format!("at most {lag}")),
            _ => ("-".to_owned(), "-".to_owned()),
        };
        let tail = reading.tail.to_string();
        readers.add_row([reading.service, &reading.configuration, &reading.stream, &applied, &tail, &lag]);
    }
    let mut text = output::render(&streams);
    if !readers.is_empty() {
        text = text + "\n" + &output::render(&readers);
    }
    text
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{size:.0} {unit}") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        let sizes = [0, 1023, 1024, 1_500_000, 3 << 30, 5 << 40].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.4 MiB", "3.0 GiB", "5.0 TiB"]);
    }

    #[test]
    fn a_list_shows_streams_and_readers() {
        let reading = |exact, applied: Option<u64>| Reading {
            service: "projector",
            configuration: "contoso".into(),
            stream: "changes.emea.emea.example".into(),
            applied,
            tail: 4711,
            lag: applied.map(|applied| 4711 - applied),
            exact,
            instance: None,
        };
        let line = StreamLine {
            stream: "changes.emea.emea.example".into(),
            records: 4711,
            last: Some("2026-11-25T12:00:00.000Z".into()),
            last_type: Some("CursorAdvanced".into()),
            first_offset: 0,
            next_offset: 4711,
            kept: 4711,
            bytes: Some(2_345_678),
            readers: vec![reading(true, Some(4711)), reading(false, Some(4000)), reading(false, None)],
        };
        let empty = StreamLine {
            stream: "desired.contoso".into(),
            records: 0,
            last: None,
            last_type: None,
            first_offset: 0,
            next_offset: 0,
            kept: 0,
            bytes: None,
            readers: Vec::new(),
        };
        insta::assert_snapshot!(render(&[line, empty]));
    }
}
