//! `forestsync log` on histories that are the same each time: what it shows, and that a copy is equal and complete.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use bytes::Bytes;
use forestsync::instance::Instance;
use forestsync_log::{EmbeddedLog, EmbeddedOptions, Log as _, NewRecord, Record, StreamName};
use forestsync_schemas::samples;
use jiff::Timestamp;
use serde_json::Value;

const CONFIGURATION: &str = r#"
configuration = "contoso"
data = "DATA"
[[forests]]
name = "emea"
controllers = [{ url = "ldaps://dc01.emea.example" }]
bind = "svc@emea.example"
password_file = "emea-password"
[tenant]
tenant_id = "contoso.onmicrosoft.com"
client_id = "2b9d4e60-81c7-4f35-a0be-6d1f7c92e483"
client_secret_file = "client-secret"
"#;

const STREAMS: [&str; 5] =
    ["changes.emea.emea.example", "control.contoso", "decisions.contoso", "desired.contoso", "outcomes.contoso"];

/// A folder with configurations `a.toml` and `b.toml` for the data folders `a` and `b`.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            let document = CONFIGURATION.replace("DATA", name);
            std::fs::write(folder.path().join(name).with_extension("toml"), document).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forestsync"));
        command.args(arguments).env_remove("FORESTSYNC_CONFIG").env_remove("FORESTSYNC_LOG");
        command.stdin(Stdio::null()).current_dir(self.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Exit code, stdout and stderr in one text.
    fn show(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&self.path().display().to_string(), "FOLDER");
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        format!("exit {}\n--- stdout\n{out}--- stderr\n{err}", output.status.code().unwrap())
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
        (output.status.code().unwrap(), value)
    }

    fn log(&self, name: &str) -> EmbeddedLog {
        self.opened(name, u64::MAX)
    }

    /// Which compacts each stream whose writer is opened.
    fn compacting(&self, name: &str) -> EmbeddedLog {
        self.opened(name, 0)
    }

    fn opened(&self, name: &str, compact_min_bytes: u64) -> EmbeddedLog {
        let mut options = EmbeddedOptions::default();
        // so that copies meet more than one segment
        options.segment_bytes = 20_000;
        options.compact_min_bytes = compact_min_bytes;
        options.desired_history = Duration::ZERO;
        EmbeddedLog::open_with(self.path().join(name).join("log"), options).unwrap()
    }

    /// `log copy` from `a` to `b`.
    fn copy(&self, more: &[&str]) -> (i32, Value) {
        let mut arguments = vec!["log", "copy", "--from", "embedded:a", "--to", "embedded:b", "--json"];
        arguments.extend(more);
        self.json(&arguments)
    }
}

fn stream(name: &str) -> StreamName {
    name.parse().unwrap()
}

/// The events of all kinds, `rounds` times over, at fixed times; `desired` has gaps, where it was compacted.
async fn history(log: &EmbeddedLog, rounds: u64) {
    for name in STREAMS {
        let mut writer = log.writer(&stream(name)).await.unwrap();
        let events = events(name);
        let mut all = Vec::new();
        for round in 0..rounds {
            for (key, value) in &events {
                let number = all.len() as u64;
                let gaps = if name.starts_with("desired") { 3 * round + 1 } else { 0 };
                all.push(Record {
                    offset: number + gaps,
                    timestamp: Timestamp::from_millisecond(1_795_000_000_000 + (number / 3).cast_signed()).unwrap(),
                    key: key.as_ref().map(|key| Bytes::from(format!("{key}/{}", round % 7))),
                    value: Bytes::from(value.clone()),
                    headers: vec![("type".to_owned(), Bytes::from(kind(value)))],
                    link: None,
                });
            }
        }
        for part in all.chunks(2000) {
            writer.restore(part.to_vec()).await.unwrap();
        }
    }
}

/// Keys and values of the samples of a kind of stream.
fn events(name: &str) -> Vec<(Option<String>, Vec<u8>)> {
    match name.split_once('.').unwrap().0 {
        "changes" => samples::changes().iter().map(|r| (None, r.encode().unwrap())).collect(),
        "control" => samples::control().iter().map(|r| (None, r.encode().unwrap())).collect(),
        "decisions" => samples::decisions().iter().map(|r| (None, r.encode().unwrap())).collect(),
        "desired" => samples::desired().iter().map(|r| (Some(r.event.key()), r.encode().unwrap())).collect(),
        _ => samples::outcomes().iter().map(|r| (None, r.encode().unwrap())).collect(),
    }
}

fn kind(value: &[u8]) -> String {
    let event: Value = serde_json::from_slice(value).unwrap();
    event["type"].as_str().unwrap().to_owned()
}

async fn records(log: &EmbeddedLog, name: &str) -> Vec<Record> {
    let mut reader = log.reader(&stream(name), 0).await.unwrap();
    let mut all = Vec::new();
    loop {
        let some = reader.poll(100).await.unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

async fn assert_equal(lab: &Lab) {
    let (a, b) = (lab.log("a"), lab.log("b"));
    for name in STREAMS {
        assert_eq!(records(&a, name).await, records(&b, name).await, "{name}");
    }
    let (_, digests) = lab.json(&["log", "digest", "-c", "a.toml", "--json"]);
    assert_eq!(lab.json(&["log", "digest", "-c", "b.toml", "--json"]), (0, digests));
}

#[tokio::test]
async fn what_it_prints() {
    let lab = Lab::new();
    history(&lab.log("a"), 2).await;
    for (name, arguments) in [
        ("help", &["log", "--help"][..]),
        ("help_list", &["log", "list", "--help"]),
        ("help_copy", &["log", "copy", "--help"]),
        ("help_digest", &["log", "digest", "--help"]),
        ("list", &["log", "list", "-c", "a.toml"]),
        ("list_json", &["log", "list", "-c", "a.toml", "--json"]),
        ("tail", &["log", "tail", "-c", "a.toml", "desired.contoso", "--last", "3"]),
        ("tail_json", &["log", "tail", "-c", "a.toml", "desired.contoso", "--last", "1", "--json"]),
        ("tail_unknown_type", &["log", "tail", "-c", "a.toml", "desired.contoso", "--type", "ObjectDesierd"]),
        ("tail_values_as_text", &["log", "tail", "-c", "a.toml", "desired.contoso", "--values"]),
        ("digest", &["log", "digest", "-c", "a.toml"]),
        ("digest_unknown", &["log", "digest", "-c", "a.toml", "desired.contso"]),
        ("dry_run", &["log", "copy", "--from", "embedded:a", "--to", "embedded:b", "--dry-run"]),
        ("no_source", &["log", "copy", "--from", "embedded:c", "--to", "embedded:b"]),
        ("no_place", &["log", "copy", "--from", "a", "--to", "embedded:b"]),
        ("no_stream", &["log", "copy", "--from", "embedded:a", "--to", "embedded:b", "--stream", "changed.*"]),
        ("onto_itself", &["log", "copy", "--from", "embedded:a", "--to", "file:a.toml"]),
    ] {
        insta::assert_snapshot!(name, lab.show(arguments));
    }
    assert!(!lab.path().join("b/log/desired.contoso").exists(), "nothing was copied");
    let copy = ["log", "copy", "--from", "embedded:a/log", "--to", "file:b.toml"];
    insta::assert_snapshot!("copy", lab.show(&copy));
    insta::assert_snapshot!("copy_again", lab.show(&[&copy[..], &["--dry-run"]].concat()));
    insta::assert_snapshot!("copy_json", lab.show(&[&copy[..], &["--json", "--stream", "c*.contoso"]].concat()));
}

/// Types and objects in all combinations, against a filter of the whole output.
#[tokio::test]
async fn a_filter_shows_what_filtering_the_whole_would() {
    let lab = Lab::new();
    history(&lab.log("a"), 40).await;
    let lines = |arguments: &[&str]| -> Vec<Value> {
        let output = lab.run(&[&["log", "tail", "-c", "a.toml", "--json"][..], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let types: [&[&str]; 4] = [&[], &["ObjectDesired"], &["linkdesired", "CursorAdvanced"], &["ExportFailed"]];
    let objects: [&[&str]; 3] = [&[], &["AQEBAQEBAQEBAQEBAQEBAQ=="], &["cn=ANNA,dc=emea,dc=example"]];
    for name in ["desired.contoso", "changes.emea.emea.example"] {
        let whole = lines(&[name, "--from", "0"]);
        assert!(whole.len() > 100);
        for (types, objects) in types.iter().flat_map(|types| objects.iter().map(move |objects| (types, objects))) {
            let wanted = |line: &&Value| {
                let of_type = |name: &&str| name.eq_ignore_ascii_case(line["event"]["type"].as_str().unwrap());
                let text = line["event"].to_string();
                // what the samples call the object: its anchor, its objectGUID, or its name
                let about = |object: &&str| match *object {
                    "AQEBAQEBAQEBAQEBAQEBAQ==" => {
                        text.contains(&format!("\"{object}\""))
                            || text.contains("\"01010101-0101-0101-0101-010101010101\"")
                    }
                    _ => text.contains("\"CN=Anna,DC=emea,DC=example\""),
                };
                (types.is_empty() || types.iter().any(of_type)) && (objects.is_empty() || objects.iter().any(about))
            };
            let expected: Vec<_> = whole.iter().filter(wanted).cloned().collect();
            let mut filter = vec![name];
            filter.extend(types.iter().flat_map(|kind| ["--type", kind]));
            filter.extend(objects.iter().flat_map(|object| ["--object", object]));
            let found = lines(&[&filter[..], &["--from", "0"]].concat());
            assert_eq!(found, expected, "{filter:?}");
            for count in [1, 1000] {
                let last = lines(&[&filter[..], &["--last", &count.to_string()]].concat());
                assert_eq!(last, expected[expected.len().saturating_sub(count)..], "{filter:?} --last {count}");
                let first = lines(&[&filter[..], &["--from", "0", "--limit", &count.to_string()]].concat());
                assert_eq!(first, expected[..count.min(expected.len())], "{filter:?} --limit {count}");
            }
        }
    }
}

#[tokio::test]
async fn following_ends_with_a_signal_or_at_the_limit() {
    let lab = Lab::new();
    let log = lab.log("a");
    history(&log, 1).await;
    let all = samples::outcomes().len();
    let follow = ["log", "tail", "-c", "a.toml", "outcomes.contoso", "--follow", "--from", "0"];
    let mut followed = lab.command(&follow).stdout(Stdio::piped()).spawn().unwrap();
    let mut limited = lab
        .command(&[&follow[..], &["--limit", &(all + 1).to_string()]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(followed.stdout.take().unwrap()));
    for _ in 0..all {
        lines.next().unwrap().unwrap();
    }
    let mut writer = log.writer(&stream("outcomes.contoso")).await.unwrap();
    writer.append(vec![NewRecord::new(None::<Bytes>, "{}")]).await.unwrap();
    assert!(lines.next().unwrap().unwrap().contains("no event"));
    assert!(limited.wait().unwrap().success(), "the one after them was the last");
    assert!(Command::new("kill").arg(followed.id().to_string()).status().unwrap().success());
    assert!(followed.wait().unwrap().success(), "a signal is a good end");
}

#[tokio::test]
async fn a_copy_is_equal_to_the_last_byte() {
    let lab = Lab::new();
    history(&lab.log("a"), 30).await;
    let (code, summary) = lab.copy(&[]);
    assert_eq!((code, &summary["verified"]), (0, &Value::from(true)), "{summary:#}");
    assert_equal(&lab).await;
    // once more, with nothing to do, and then with what came meanwhile
    let (code, summary) = lab.copy(&[]);
    assert!(code == 0 && summary["streams"].as_array().unwrap().iter().all(|s| s["copied"] == 0), "{summary:#}");
    let log = lab.log("a");
    for name in STREAMS {
        let mut writer = log.writer(&stream(name)).await.unwrap();
        writer.append(vec![NewRecord::new(Some("one more"), "{}")]).await.unwrap();
    }
    drop(log);
    let (code, summary) = lab.copy(&[]);
    assert!(code == 0 && summary["streams"].as_array().unwrap().iter().all(|s| s["copied"] == 1), "{summary:#}");
    assert_equal(&lab).await;
}

/// The source was compacted between two halves of a copy: records that are gone there are no difference.
#[tokio::test]
async fn compaction_on_either_side_is_no_difference() {
    let (lab, name) = (Lab::new(), "desired.contoso");
    history(&lab.log("a"), 5).await;
    assert_eq!(lab.copy(&[]).0, 0);
    let log = lab.log("a");
    let mut writer = log.writer(&stream(name)).await.unwrap();
    for record in records(&log, name).await {
        let again = NewRecord { key: record.key, value: record.value, headers: Vec::new() };
        writer.append(vec![again.clone(), again]).await.unwrap();
    }
    let before = records(&log, name).await.len();
    drop(writer);
    // opening it compacts it, on both sides, by what each side has
    drop(lab.compacting("a").writer(&stream(name)).await.unwrap());
    drop(lab.compacting("b").writer(&stream(name)).await.unwrap());
    let after = records(&log, name).await.len();
    assert!(after < before / 2, "{after} of {before}");
    let (code, summary) = lab.copy(&[]);
    assert_eq!((code, &summary["verified"]), (0, &Value::from(true)), "{summary:#}");
    let digests = |file| lab.json(&["log", "digest", name, "-c", file, "--json"]);
    assert_eq!(digests("a.toml"), digests("b.toml"));
}

#[tokio::test]
async fn a_copy_that_was_broken_off_goes_on_where_it_stopped() {
    for signal in ["-KILL", "-TERM"] {
        let lab = Lab::new();
        history(&lab.log("a"), 1000).await;
        let copy = ["log", "copy", "--from", "embedded:a", "--to", "embedded:b"];
        let mut child = lab.command(&copy).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (log, deadline) = (lab.log("b"), Instant::now() + Duration::from_mins(1));
        while log.tail(&stream(STREAMS[0])).await.unwrap() == 0 {
            assert!(Instant::now() < deadline, "the copy never began");
            tokio::task::yield_now().await;
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let ended = child.wait().unwrap();
        assert!(!ended.success(), "{signal}: it was in the middle");
        let before = log.tail(&stream(STREAMS[0])).await.unwrap();
        let (code, summary) = lab.copy(&[]);
        assert_eq!((code, &summary["verified"]), (0, &Value::from(true)), "{signal}: {summary:#}");
        let first = &summary["streams"][0];
        assert_eq!(first["target_offset"], before);
        let (copied, total) = (first["copied"].as_u64().unwrap(), first["next_offset"].as_u64().unwrap());
        assert!(before > 0 && copied == total - before, "{signal}: {first}");
        assert_equal(&lab).await;
    }
}

#[tokio::test]
async fn a_target_that_tells_something_else_is_refused_whole() {
    let content = |lab: &Lab| {
        let names = STREAMS.map(|name| lab.path().join("b/log").join(name));
        names.map(|folder| {
            std::fs::read_dir(folder)
                .map_or(0_u64, |entries| entries.map(|e| e.unwrap().metadata().unwrap().len()).sum())
        })
    };
    for (name, differs_at) in [("outcomes.contoso", 0), ("desired.contoso", 4), ("decisions.contoso", 27)] {
        let lab = Lab::new();
        history(&lab.log("a"), 3).await;
        let (a, b) = (lab.log("a"), lab.log("b"));
        let mut same = records(&a, name).await;
        same.retain(|record| record.offset < differs_at);
        let mut writer = b.writer(&stream(name)).await.unwrap();
        writer.restore(same).await.unwrap();
        // the same value at another time is another record
        let other = Record { timestamp: Timestamp::UNIX_EPOCH, ..record(&a, name, differs_at).await };
        writer.restore(vec![other]).await.unwrap();
        drop(writer);
        let before = content(&lab);
        let (code, summary) = lab.copy(&[]);
        let line = summary["streams"].as_array().unwrap().iter().find(|line| line["stream"] == name).unwrap();
        assert_eq!((code, &line["differs_at"]), (4, &Value::from(differs_at)), "{summary:#}");
        assert_eq!(summary["verified"], false);
        assert_eq!(content(&lab), before, "nothing was written");
        assert_eq!(lab.copy(&["--stream", "control.*"]).0, 0, "other streams may be copied");
    }
}

/// The record at an offset, or one that comes after the end.
async fn record(log: &EmbeddedLog, name: &str, offset: u64) -> Record {
    let all = records(log, name).await;
    let found = all.iter().find(|record| record.offset >= offset).or(all.last()).cloned().unwrap();
    Record { offset, ..found }
}

#[tokio::test]
async fn nobody_else_writes_meanwhile() {
    let lab = Lab::new();
    history(&lab.log("a"), 1).await;
    let copy = ["log", "copy", "--from", "embedded:a", "--to", "embedded:b"];
    for name in ["a", "b"] {
        let _running = Instance::take(&lab.path().join(name)).unwrap();
        let output = lab.run(&copy);
        assert_eq!(output.status.code(), Some(5), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for name in ["a", "b"] {
        let _writer = lab.log(name).writer(&stream("outcomes.contoso")).await.unwrap();
        let output = lab.run(&copy);
        assert_eq!(output.status.code(), Some(5), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(lab.run(&copy).status.success());
}
