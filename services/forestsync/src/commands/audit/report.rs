//! `forestsync audit report`: a bundle for auditors.
//!
//! What is in it can be checked by anybody: `manifest.json` names the records that it covers, stream by stream, and
//! `SHA256SUMS` the digest of each file, as `sha256sum -c` reads it. It holds names of objects and no attribute values.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use aws_lc_rs::digest;
use forestsync_log::{Record, StreamName};
use forestsync_runtime::clock;
use forestsync_schemas::OutcomeRecord;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::configuration::{Edition, editions};
use super::scan::{scan, shown, streams_of};
use crate::cli::{AuditReportArgs, PeriodArgs};
use crate::exit::{Exit, UsageError};
use crate::output::{self, count, quoted};
use crate::{config, events};

mod html;

/// The records that a report covers.
#[derive(Debug, Serialize)]
struct Covered {
    /// The first one of the period; null where there is none.
    first_offset: Option<u64>,
    /// The last one.
    last_offset: Option<u64>,
    /// How many there are.
    records: u64,
    /// Where the stream ended when the report was made.
    next_offset: u64,
}

/// What a bundle is.
#[derive(Debug, Serialize)]
struct Manifest {
    configuration: String,
    program: String,
    made_at: Timestamp,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    streams: BTreeMap<String, Covered>,
    /// SHA-256 of each file but this one, in hexadecimal digits.
    files: BTreeMap<String, String>,
}

/// A row about a deletion or a decision.
#[derive(Debug, Clone)]
struct Row {
    time: Timestamp,
    place: String,
    kind: String,
    object: String,
    actor: String,
    reason: String,
    detail: String,
}

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    counts: BTreeMap<(String, String, String), u64>,
    deletions: Vec<Row>,
    decisions: Vec<Row>,
    configurations: Vec<Edition>,
    covered: BTreeMap<String, Covered>,
}

const DELETIONS: [&str; 6] = [
    "ObjectDeleted",
    "ObjectRemoved",
    "ObjectDeprovisioned",
    "ObjectRelinquished",
    "DeletionDeferred",
    "DeletedByOthers",
];
const DECISIONS: [&str; 4] = ["HeldDecided", "SourceDecided", "ConfigurationRemoved", "FullReadApproved"];

/// Writes the bundle.
pub async fn report(args: AuditReportArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log = settings.existing_log()?;
    let made = fs::DirBuilder::new().mode(0o700).create(&args.out);
    if let Err(error) = made {
        let message = format!("{} cannot be made: {error}", args.out.display());
        return Err(UsageError::new(message, "name a folder that is not there yet, in one that is").into());
    }
    let streams = streams_of(&settings, log.as_ref()).await?;
    let mut found = Findings::default();
    let ends = scan(log.as_ref(), &streams, |stream, record| {
        if args.period.holds(record.timestamp) {
            found.see(stream, record);
        }
        Ok(true)
    })
    .await?;
    for (stream, end) in ends {
        let none = Covered { first_offset: None, last_offset: None, records: 0, next_offset: 0 };
        found.covered.entry(stream.to_string()).or_insert(none).next_offset = end;
    }
    found.configurations = editions(log.as_ref(), &settings.configuration).await?;
    found.configurations.retain(|edition| args.period.holds(edition.time));
    let manifest = write(&args.out, &settings.configuration, &args.period, found)?;
    if args.json {
        output::json(&manifest)?;
    } else {
        let records: u64 = manifest.streams.values().map(|covered| covered.records).sum();
        output::text(&format!(
            "{} about {}, {}\n{}\n",
            count(records, "event"),
            settings.configuration,
            shown(&args.period),
            args.out.join("report.html").display()
        ))?;
    }
    Ok(Exit::Done)
}

impl Findings {
    fn see(&mut self, stream: &StreamName, record: &Record) {
        let kind = events::kind(record);
        let of_stream = stream.as_str().split('.').next().unwrap_or_default();
        let day = record.timestamp.strftime("%Y-%m-%d").to_string();
        *self.counts.entry((day, of_stream.to_owned(), kind.clone())).or_default() += 1;
        let none = Covered { first_offset: None, last_offset: None, records: 0, next_offset: 0 };
        let covered = self.covered.entry(stream.to_string()).or_insert(none);
        covered.first_offset.get_or_insert(record.offset);
        covered.last_offset = Some(record.offset);
        covered.records += 1;
        if DELETIONS.contains(&kind.as_str()) {
            self.deletions.push(row(stream, record, kind));
        } else if DECISIONS.contains(&kind.as_str()) {
            self.decisions.extend(decided(stream, record, &kind));
        }
    }
}

fn row(stream: &StreamName, record: &Record, kind: String) -> Row {
    let event: Value = serde_json::from_slice(&record.value).unwrap_or_default();
    let text = |place: &str| event.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = |places: &[&str]| places.iter().map(|place| text(place)).find(|t| !t.is_empty()).unwrap_or_default();
    let request = OutcomeRecord::decode(&record.value).ok().and_then(|outcome| outcome.context.request_id);
    Row {
        time: record.timestamp,
        place: format!("{stream}={}", record.offset),
        kind,
        object: first(&["/data/dn", "/data/source/dn", "/context/anchor", "/data/anchor", "/context/object"]),
        actor: first(&["/context/actor", "/context/controller/dns_name"]),
        reason: text("/data/reason").replace('_', " "),
        detail: request.map_or_else(|| events::described(record).1, |request| format!("request {request}")),
    }
}

/// One row for each write that was decided about.
fn decided(stream: &StreamName, record: &Record, kind: &str) -> Vec<Row> {
    let event: Value = serde_json::from_slice(&record.value).unwrap_or_default();
    let data = event.get("data").unwrap_or(&Value::Null);
    let plain = row(stream, record, kind.to_owned());
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |name: &str| data.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for write in list("writes") {
        let detail = format!("{} of {}", text(data, "verdict"), text(&write, "operation").replace('_', " "));
        rows.push(Row { object: text(&write, "anchor"), detail, ..plain.clone() });
    }
    for listed in list("listed") {
        let object = listed.as_str().unwrap_or_default().to_owned();
        rows.push(Row { object, detail: text(data, "objects"), ..plain.clone() });
    }
    if rows.is_empty() {
        rows.push(plain);
    }
    rows
}

fn csv(header: &str, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |row: Vec<String>| row.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",");
    let lines = rows.into_iter().map(line);
    std::iter::once(header.to_owned()).chain(lines).map(|line| line + "\r\n").collect()
}

fn rows(rows: &[Row]) -> Vec<Vec<String>> {
    let fields = |row: &Row| {
        let Row { time, place, kind, object, actor, reason, detail } = row.clone();
        vec![time.to_string(), place, kind, object, actor, reason, detail]
    };
    rows.iter().map(fields).collect()
}

fn write(folder: &Path, configuration: &str, period: &PeriodArgs, found: Findings) -> Result<Manifest> {
    let header = "time,record,event,object,by,reason,detail";
    let counts = found
        .counts
        .iter()
        .map(|((day, stream, kind), n)| vec![day.clone(), stream.clone(), kind.clone(), n.to_string()]);
    let editions = found.configurations.iter().map(|edition| {
        let revision = edition.revision.map(|revision| revision.to_string()).unwrap_or_default();
        let (digest, reason) = (edition.digest.clone().unwrap_or_default(), edition.reason.clone().unwrap_or_default());
        vec![
            edition.time.to_string(),
            edition.kind.clone(),
            edition.actor.clone(),
            revision,
            digest,
            reason,
            edition.changed.join("\n"),
        ]
    });
    let made_at = clock::now();
    let files = [
        ("report.html", html::page(configuration, &shown(period), made_at, &found)),
        ("counts.csv", csv("day,stream,event,count", counts)),
        ("deletions.csv", csv(header, rows(&found.deletions))),
        ("decisions.csv", csv(header, rows(&found.decisions))),
        ("configurations.csv", csv("time,event,by,revision,digest,reason,difference", editions)),
    ];
    let mut manifest = Manifest {
        configuration: configuration.to_owned(),
        program: format!("forestsync {}", env!("CARGO_PKG_VERSION")),
        made_at,
        since: period.since,
        until: period.until,
        streams: found.covered,
        files: BTreeMap::new(),
    };
    let keep = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        output::keep(&path, content).with_context(|| format!("{} cannot be written", path.display()))
    };
    for (name, content) in &files {
        keep(name, content.as_bytes())?;
        manifest.files.insert((*name).to_owned(), sha256(content.as_bytes()));
    }
    let document = serde_json::to_string_pretty(&manifest)? + "\n";
    keep("manifest.json", document.as_bytes())?;
    let mut sums: Vec<String> = manifest.files.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    sums.push(format!("{}  manifest.json\n", sha256(document.as_bytes())));
    keep("SHA256SUMS", sums.concat().as_bytes())?;
    Ok(manifest)
}

fn sha256(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
    digest::digest(&digest::SHA256, bytes).as_ref().iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn names_are_neither_formulas_nor_markup() {
        let row = Row {
            time: Timestamp::UNIX_EPOCH,
            place: "control.x=1".into(),
            kind: "HeldDecided".into(),
            object: "=cmd|' /C calc'!A0".into(),
            actor: "<script>alert(1)</script>".into(),
            reason: "a \"quoted\", b\nnext".into(),
            detail: "&amp; 'x'".into(),
        };
        let found = Findings { decisions: vec![row], ..Findings::default() };
        let table = csv("x", rows(&found.decisions));
        assert!(
            table.contains("\"'=cmd|' /C calc'!A0\"") && table.contains("\"a \"\"quoted\"\", b\nnext\""),
            "{table}"
        );
        let page = html::page("<b>", "all", Timestamp::UNIX_EPOCH, &found);
        assert!(!page.contains("<script") && !page.contains("<b>") && page.contains("&lt;script&gt;"), "{page}");
        assert!(page.contains("&amp;amp; &#39;x&#39;"), "{page}");
    }
}
