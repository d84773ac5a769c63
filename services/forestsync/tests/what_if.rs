//! `what-if` over a history of three days.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::process::Output;

use common::{forestsync, shown};
use forestsync_domain::{AttributeValue, Attributes, Cookie, Dn, InvocationId, ObjectGuid, Usn};
use forestsync_log::{EmbeddedLog, Log as _, Record};
use forestsync_schemas::changes::{
    ChangeContext, ChangeEvent, Controller, Cursor, CursorAdvanced, Method, ObjectChanged, ObjectObserved,
    SnapshotCompleted, SnapshotId, SnapshotReason, SnapshotStarted,
};
use forestsync_schemas::{ChangeRecord, EventBody as _, EventId};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

const BASE: &str = "DC=emea,DC=example";

fn configuration(rest: &str) -> String {
    format!(
        r#"configuration = "contoso"
[[forests]]
name = "emea"
controllers = [{{ url = "ldaps://dc01.emea.example" }}]
bind = "svc@emea.example"
password_file = "emea-password"
{rest}
[tenant]
tenant_id = "contoso.onmicrosoft.com"
client_id = "2b9d4e60-81c7-4f35-a0be-6d1f7c92e483"
client_secret_file = "client-secret"
"#
    )
}

fn guid(n: u8) -> ObjectGuid {
    ObjectGuid::from_bytes([n; 16])
}

fn dn(front: &str) -> Dn {
    if front.is_empty() { BASE.parse().unwrap() } else { format!("{front},{BASE}").parse().unwrap() }
}

fn container(name: &str) -> Attributes {
    let classes = ["top", "organizationalUnit"].map(AttributeValue::from).to_vec();
    Attributes::from([("objectClass".into(), classes), ("name".into(), vec![name.into()])])
}

fn user(name: &str) -> Attributes {
    let mut all = Attributes::from([(
        "objectClass".to_owned(),
        ["top", "person", "organizationalPerson", "user"].map(AttributeValue::from).to_vec(),
    )]);
    for (attribute, value) in [
        ("name", name.to_owned()),
        ("sAMAccountName", name.to_lowercase()),
        ("displayName", name.to_owned()),
        ("userPrincipalName", format!("{}@emea.example", name.to_lowercase())),
        ("userAccountControl", "512".to_owned()),
    ] {
        all.insert(attribute.to_owned(), vec![AttributeValue::from(value.as_str())]);
    }
    all
}

/// A stream in the making.
#[derive(Default)]
struct Past {
    records: Vec<Record>,
    cursor: Option<EventId>,
}

impl Past {
    fn push(&mut self, time: &str, object: Option<u8>, event: ChangeEvent) {
        let time: Timestamp = time.parse().unwrap();
        let offset = self.records.len() as u64;
        let context = ChangeContext {
            forest: "emea".into(),
            naming_context: dn(""),
            object: object.map(guid),
            controller: None,
            usn_changed: None,
            when_changed: None,
            trace: None,
        };
        let record = ChangeRecord { id: EventId::of([&offset.to_be_bytes()[..]]), time, context, event };
        self.records.push(Record {
            offset,
            timestamp: time,
            key: None,
            value: record.encode().unwrap().into(),
            headers: vec![("type".into(), record.event.type_name().into())],
            link: None,
        });
    }

    fn observe(&mut self, time: &str, object: u8, front: &str, parent: Option<u8>, attributes: Attributes) {
        let snapshot = SnapshotId(Uuid::from_u128(1));
        let event = ObjectObserved { snapshot, dn: dn(front), parent: parent.map(guid), attributes };
        self.push(time, Some(object), ChangeEvent::ObjectObserved(event));
    }

    fn change(&mut self, time: &str, object: u8, front: &str, parent: Option<u8>, set: Attributes) {
        let event = ObjectChanged { dn: dn(front), parent: parent.map(guid), set, cleared: Vec::new() };
        self.push(time, Some(object), ChangeEvent::ObjectChanged(event));
    }

    /// Ends an answer.
    fn end(&mut self, time: &str) {
        let to = Cursor {
            controller: Controller { dns_name: "dc01.emea.example".into(), invocation_id: InvocationId(guid(0xcc)) },
            method: Method::Dirsync,
            highest_committed_usn: Usn(self.records.len() as u64),
            naming_context: dn(""),
            flags: 0,
            attributes: Vec::new(),
            cookie: Cookie::new(self.records.len().to_be_bytes().to_vec()),
            snapshot: None,
            complete: true,
            passed_over: false,
        };
        let from = self.cursor.replace(to.id());
        self.push(time, None, ChangeEvent::CursorAdvanced(CursorAdvanced { from, to }));
    }
}

const ROOT: u8 = 1;
const STAFF: u8 = 2;
const LAB: u8 = 3;
const ANN: u8 = 4;
const BOB: u8 = 5;
const CAI: u8 = 6;
const DAN: u8 = 7;

/// Three people are read. The next day Ann gets a title and Bob goes to the laboratory; on the last one he is back, and
/// Dan begins there.
fn past() -> Vec<Record> {
    let (mut past, snapshot) = (Past::default(), SnapshotId(Uuid::from_u128(1)));
    let (one, two, three) = ("2026-11-01T10:00:00Z", "2026-11-02T10:00:00Z", "2026-11-03T10:00:00Z");
    let started = SnapshotStarted { snapshot, reason: SnapshotReason::First };
    past.push(one, None, ChangeEvent::SnapshotStarted(started));
    past.observe(one, ROOT, "", None, container("emea"));
    past.observe(one, STAFF, "OU=Staff", Some(ROOT), container("Staff"));
    past.observe(one, LAB, "OU=Lab", Some(ROOT), container("Lab"));
    past.observe(one, ANN, "CN=Ann,OU=Staff", Some(STAFF), user("Ann"));
    past.observe(one, BOB, "CN=Bob,OU=Staff", Some(STAFF), user("Bob"));
    past.observe(one, CAI, "CN=Cai,OU=Lab", Some(LAB), user("Cai"));
    past.push(one, None, ChangeEvent::SnapshotCompleted(SnapshotCompleted { snapshot, seen: 6 }));
    past.end(one);
    let title = Attributes::from([("title".to_owned(), vec![AttributeValue::from("Lead")])]);
    past.change(two, ANN, "CN=Ann,OU=Staff", None, title);
    past.change(two, BOB, "CN=Bob,OU=Lab", Some(LAB), Attributes::new());
    past.end(two);
    past.change(three, BOB, "CN=Bob,OU=Staff", Some(STAFF), Attributes::new());
    past.change(three, DAN, "CN=Dan,OU=Lab", Some(LAB), user("Dan"));
    past.end(three);
    past.records
}

struct History(tempfile::TempDir);

impl History {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(folder.path().join("data/log")).unwrap();
        let stream = "changes.emea.emea.example".parse().unwrap();
        log.writer(&stream).await.unwrap().restore(past()).await.unwrap();
        let without = format!("exclude = [\"OU=Lab,{BASE}\"]");
        for (name, rest) in [("forestsync", ""), ("same", ""), ("changed", &without)] {
            std::fs::write(folder.path().join(format!("{name}.toml")), configuration(rest)).unwrap();
        }
        Self(folder)
    }

    fn run(&self, changed: &str, more: &[&str]) -> Output {
        self.run_since("2026-11-02", changed, more)
    }

    fn run_since(&self, since: &str, changed: &str, more: &[&str]) -> Output {
        let mut command = forestsync(&["what-if", "--changed", changed, "--since", since]);
        command.args(more).current_dir(self.0.path()).output().unwrap()
    }

    fn json(&self, changed: &str) -> (Option<i32>, Value) {
        let output = self.run(changed, &["--json"]);
        let report = serde_json::from_slice(&output.stdout);
        (output.status.code(), report.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr))))
    }
}

#[tokio::test]
async fn what_a_narrower_scope_would_have_deleted_is_shown_by_day_and_object() {
    let history = History::new().await;
    let (code, report) = history.json("changed.toml");
    assert_eq!(code, Some(4), "{report}");
    // Cai on the day on which it came into force, and Bob on the same one
    assert_eq!(report["worst_day"], json!({ "date": "2026-11-02", "deleted": 2, "in_force": 0 }), "{report}");
    let of = |side: &str, what: &str| report[side][what].as_u64().unwrap();
    let counts = ["created", "updated", "deleted"].map(|what| (of("in_force", what), of("changed", what)));
    assert_eq!(counts, [(1, 1), (1, 1), (0, 2)], "{report}");
    let objects: Vec<(&str, &str)> = report["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| (object["what"].as_str().unwrap(), object["name"].as_str().unwrap()))
        .collect();
    let expected = [
        ("missing", "CN=Cai,OU=Lab,DC=emea,DC=example"),
        ("missing", "CN=Dan,OU=Lab,DC=emea,DC=example"),
        ("deleted_meanwhile", "CN=Bob,OU=Staff,DC=emea,DC=example"),
    ];
    assert_eq!(objects, expected, "{report}");
    assert!(!report.to_string().contains("Lead"), "values are nobody's business: {report}");
    // the log is as it was: nothing was decided, wished or written
    let log = EmbeddedLog::open(history.0.path().join("data/log")).unwrap();
    assert_eq!(log.streams().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_pipeline_learns_from_the_exit_code() {
    let history = History::new().await;
    let (code, report) = history.json("same.toml");
    assert_eq!((code, &report["objects"], &report["worst_day"]), (Some(0), &json!([]), &Value::Null), "{report}");
    for (most, code) in [("2", 0), ("1", 4)] {
        assert_eq!(history.run("changed.toml", &["--most-deletes", most]).status.code(), Some(code), "{most}");
    }
    let show = |output: &Output| {
        let text = shown(output, history.0.path());
        // the end is now
        let lines = text.lines().map(|line| match line.split_once(" to ") {
            Some((since, _)) if line.starts_with("from ") => format!("{since} to NOW"),
            _ => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!("changed", show(&history.run("changed.toml", &[])));
    insta::assert_snapshot!("same", show(&history.run("same.toml", &[])));
    insta::assert_snapshot!("still_to_come", show(&history.run_since("2999-01-01", "changed.toml", &[])));
    insta::assert_snapshot!("no_such_file", show(&history.run("nothing.toml", &[])));
}
