//! `forestsync log compact`: what it says may go, that it goes only when asked, and that the rest is as it was.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use forestsync::instance::Instance;
use forestsync_log::{EmbeddedLog, Log as _, NewRecord, Record};
use forestsync_schemas::changes::ChangeEvent;
use forestsync_schemas::samples;
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

const CHANGES: &str = "changes.emea.emea.example";

struct Lab(tempfile::TempDir);

impl Lab {
    /// A log in which the same things were said five times over.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("forestsync.toml"), CONFIGURATION).unwrap();
        let lab = Self(folder);
        let changes = samples::changes();
        let changed = changes.iter().find(|record| matches!(record.event, ChangeEvent::ObjectChanged(_))).unwrap();
        for (stream, value) in [
            (CHANGES, changed.encode().unwrap()),
            ("tenant.contoso", samples::tenant()[0].encode().unwrap()),
            ("desired.contoso", samples::desired()[0].encode().unwrap()),
            ("outcomes.contoso", samples::outcomes()[0].encode().unwrap()),
        ] {
            let mut writer = lab.log().writer(&stream.parse().unwrap()).await.unwrap();
            for _ in 0..5 {
                writer.append(vec![NewRecord::new(Some("key"), value.clone())]).await.unwrap();
            }
        }
        lab
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn log(&self) -> EmbeddedLog {
        EmbeddedLog::open(self.path().join("data/log")).unwrap()
    }

    async fn records(&self, stream: &str) -> Vec<Record> {
        let mut reader = self.log().reader(&stream.parse().unwrap(), 0).await.unwrap();
        reader.poll(100).await.unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forestsync"));
        command.args(arguments).env_remove("FORESTSYNC_CONFIG").env_remove("FORESTSYNC_LOG");
        command.stdin(Stdio::null()).current_dir(self.path()).output().unwrap()
    }

    /// Exit code, stdout and stderr in one text, without what depends on the sizes of hashes and files.
    fn show(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        format!("exit {}\n--- stdout\n{out}--- stderr\n{err}", output.status.code().unwrap())
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
        (output.status.code().unwrap(), value)
    }
}

fn offsets(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.offset).collect()
}

#[tokio::test]
async fn what_nothing_depends_on_goes_when_it_is_asked_for() {
    let lab = Lab::new().await;
    let before = lab.records(CHANGES).await;
    insta::assert_snapshot!("preview", lab.show(&["log", "compact", "--before", "2999-01-01"]));
    assert_eq!(lab.records(CHANGES).await, before, "nothing was changed");
    let (code, found) = lab.json(&["log", "compact", "--before", "1h", "--json"]);
    let go: Vec<_> = found["streams"].as_array().unwrap().iter().map(|stream| stream["go"].clone()).collect();
    assert_eq!((code, go), (0, vec![Value::from(0); 4]), "all of it is younger");

    let arguments = ["log", "compact", "--before", "2999-01-01", "--yes", "--json"];
    let instance = Instance::take(&lab.path().join("data")).unwrap();
    assert_eq!(lab.run(&arguments).status.code(), Some(5), "somebody is at work");
    drop(instance);
    for expected in [vec![3, 4, 0, 3], vec![0; 4]] {
        let (code, done) = lab.json(&arguments);
        let go: Vec<_> = done["streams"].as_array().unwrap().iter().map(|stream| stream["go"].clone()).collect();
        let expected: Vec<_> = expected.into_iter().map(Value::from).collect();
        assert_eq!((code, go, &done["done"]), (0, expected, &Value::Bool(true)), "{done:#}");
    }
    assert_eq!(offsets(&lab.records(CHANGES).await), [0, 4]);
    assert_eq!(offsets(&lab.records("tenant.contoso").await), [0, 4]);
    assert_eq!(offsets(&lab.records("desired.contoso").await), [4]);
    assert_eq!(offsets(&lab.records("outcomes.contoso").await), [0, 1, 2, 3, 4]);
    insta::assert_snapshot!("verified", lab.show(&["audit", "verify"]));
}

#[tokio::test]
async fn what_cannot_be_done_is_refused() {
    let lab = Lab::new().await;
    insta::assert_snapshot!("no_time", lab.show(&["log", "compact", "--before", "soon"]));
    insta::assert_snapshot!("no_stream", lab.show(&["log", "compact", "--before", "1h", "--stream", "x.*"]));
    let kafka = format!("{CONFIGURATION}[log]\nkafka = \"localhost:1\"\n");
    std::fs::write(lab.path().join("kafka.toml"), kafka).unwrap();
    insta::assert_snapshot!("on_kafka", lab.show(&["log", "compact", "-c", "kafka.toml", "--before", "1h"]));
    // what is broken is evidence
    let file = lab.path().join("data/log").join(CHANGES).join("00000000000000000000.seg");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let (code, done) = lab.json(&["log", "compact", "--before", "2999-01-01", "--yes", "--json"]);
    assert_eq!(code, 4, "{done:#}");
    assert_eq!(done["streams"][0]["error"], "it is broken at offset 0: see forestsync audit verify");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}
