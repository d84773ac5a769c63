//! `forestsync audit verify` and `forestsync audit anchors`: what is found, how it is told, and how they end.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use forestsync_log::{EmbeddedLog, Log as _, NewRecord};
use serde_json::Value;

const CONFIGURATION: &str = r#"
configuration = "contoso"
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

const STREAMS: [&str; 4] = ["changes.emea.emea.example", "control.contoso", "desired.contoso", "outcomes.contoso"];

/// A configuration with a log of four streams.
struct Lab(tempfile::TempDir);

impl Lab {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("forestsync.toml"), CONFIGURATION).unwrap();
        let lab = Self(folder);
        for name in STREAMS {
            lab.append(name, 0..5).await;
        }
        lab
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn append(&self, stream: &str, numbers: std::ops::Range<u8>) {
        let log = EmbeddedLog::open(self.path().join("data/log")).unwrap();
        let mut writer = log.writer(&stream.parse().unwrap()).await.unwrap();
        for number in numbers {
            let value = format!("{{\"number\":{number}}}");
            writer.append(vec![NewRecord::new(Some(number.to_string()), value)]).await.unwrap();
        }
    }

    fn file(&self, stream: &str) -> PathBuf {
        self.path().join("data/log").join(stream).join("00000000000000000000.seg")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forestsync"));
        command.args(["audit"]).args(arguments).env_remove("FORESTSYNC_CONFIG").env_remove("FORESTSYNC_LOG");
        command.stdin(Stdio::null()).current_dir(self.path()).output().unwrap()
    }

    /// Exit code, stdout and stderr in one text.
    fn show(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let folder = std::fs::canonicalize(self.path()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&folder.display().to_string(), "FOLDER");
        let timeless = |text: String| match text.split_once(" an anchor of ") {
            Some((before, after)) => {
                let after: Vec<_> = after.split(" an anchor of ").map(|t| t.split_once(' ').unwrap().1).collect();
                format!("{before} an anchor of TIME {}", after.join(" an anchor of TIME "))
            }
            None => text,
        };
        let (out, err) = (timeless(text(&output.stdout)), text(&output.stderr));
        format!("exit {}\n--- stdout\n{out}--- stderr\n{err}", output.status.code().unwrap())
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
        (output.status.code().unwrap(), value)
    }
}

#[tokio::test]
async fn a_whole_log_is_said_to_be_whole() {
    let lab = Lab::new().await;
    insta::assert_snapshot!("whole", lab.show(&["verify"]));
    let (code, found) = lab.json(&["verify", "--json", "--stream", "d*"]);
    assert_eq!((code, &found["whole"], found["streams"].as_array().unwrap().len()), (0, &Value::Bool(true), 1));
    insta::assert_snapshot!("verify_unknown", lab.show(&["verify", "--stream", "nothing.*"]));
}

/// One stream has a flipped bit, one lost its end, one is gone: each is named, and the one that is whole is said to be.
#[tokio::test]
async fn damage_is_named_and_does_not_hide_the_other_streams() {
    let lab = Lab::new().await;
    let out = lab.run(&["anchors", "--out", "anchors.jsonl"]);
    assert_eq!(String::from_utf8_lossy(&out.stderr), "appended 4 anchors to anchors.jsonl\n");
    lab.append("control.contoso", 5..7).await;
    assert!(lab.run(&["anchors", "--out", "anchors.jsonl"]).status.success());
    assert_eq!(std::fs::read_to_string(lab.path().join("anchors.jsonl")).unwrap().lines().count(), 8);
    let (code, found) = lab.json(&["verify", "--anchors", "anchors.jsonl", "--json"]);
    assert_eq!((code, &found["whole"]), (0, &Value::Bool(true)));
    let anchors: Vec<_> = found["streams"].as_array().unwrap().iter().map(|s| s["anchors"].clone()).collect();
    assert_eq!(anchors, [2, 2, 2, 2]);

    let [flipped, _, gone, cut] = STREAMS.map(|stream| lab.file(stream));
    let mut bytes = std::fs::read(&flipped).unwrap();
    let place = bytes.windows(10).position(|window| window == b"\"number\":3").unwrap();
    bytes[place] ^= 4;
    std::fs::write(&flipped, bytes).unwrap();
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 5 * 3]).unwrap();
    std::fs::remove_dir_all(gone.parent().unwrap()).unwrap();
    assert_eq!(lab.json(&["verify", "--json"]).0, 4);
    insta::assert_snapshot!("broken", lab.show(&["verify", "--anchors", "anchors.jsonl"]));
    assert_eq!(lab.json(&["verify", "--json", "--stream", "control.*"]).0, 0);
}

#[tokio::test]
async fn anchors_are_lines_of_json_and_other_lines_are_refused() {
    let lab = Lab::new().await;
    let out = String::from_utf8(lab.run(&["anchors"]).stdout).unwrap();
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let streams: Vec<_> = lines.iter().map(|line| line["stream"].as_str().unwrap()).collect();
    assert_eq!(streams, STREAMS);
    assert!(lines.iter().all(|line| line["offset"] == 4 && line["own"].as_str().unwrap().len() == 64));
    std::fs::write(lab.path().join("wrong.jsonl"), format!("{out}{{\"stream\":\"control.contoso\"}}\n")).unwrap();
    insta::assert_snapshot!("wrong_anchors", lab.show(&["verify", "--anchors", "wrong.jsonl"]));
    insta::assert_snapshot!("no_anchors", lab.show(&["verify", "--anchors", "nothing.jsonl"]));
}

#[test]
fn places_of_anchors_are_checked() {
    for (table, said) in [
        ("[audit]\n", "audit: names no place where anchors are kept"),
        ("[audit]\nanchors = \"a\"\nevery = \"0s\"\n", "audit.every: is zero"),
        ("[audit.webhook]\n", "audit.webhook"),
        ("[audit]\nanchor = \"a\"\n", "anchors"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forestsync.toml");
        std::fs::write(&path, format!("{CONFIGURATION}{table}")).unwrap();
        let error = forestsync::config::load(&path).unwrap_err().to_string();
        assert!(error.contains(said), "{table}: {error}");
    }
}
