//! Questions about one object among many, as a person asks them: by the command, which begins anew each time.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use forestsync_domain::{AttributeValue, Dn, SourceAnchor};
use forestsync_log::{EmbeddedLog, Log as _, NewRecord, StreamName};
use forestsync_schemas::changes::{ChangeEvent, ObjectChanged, ObjectObserved};
use forestsync_schemas::desired::{CloudClass, CloudValue, DesiredContext, ObjectDesired, SourceObject};
use forestsync_schemas::outcomes::{ObjectProvisioned, OutcomeContext, OutcomeEvent};
use forestsync_schemas::{DesiredEvent, DesiredRecord, EventId, OutcomeRecord, streams};
use forestsync_tests::peers;
use tokio::time::Instant;

use crate::project::{guid, record, snapshot, user};
use crate::{Measured, median};

/// Objects, each with five events: seen, changed twice, wished, written.
const OBJECTS: u32 = 200_000;
/// Objects of an append.
const PAGE: u32 = 500;
/// Questions of each kind.
const QUESTIONS: u32 = 9;

const CONFIGURATION: &str = r#"
configuration = "contoso"
data = "data"
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

fn name(n: u32) -> String {
    format!("user{n:06}")
}

fn dn(n: u32, base: &Dn) -> Dn {
    base.child("OU", "Bench").child("CN", &name(n))
}

fn observed(n: u32, base: &Dn) -> NewRecord {
    let attributes = user(n, &name(n), format!("{}@emea.example", name(n)));
    let event = ObjectObserved { snapshot: snapshot(), dn: dn(n, base), parent: Some(guid(u32::MAX)), attributes };
    record(ChangeEvent::ObjectObserved(event), Some(guid(n)), base)
}

fn changed(n: u32, turn: u32, base: &Dn) -> NewRecord {
    let set = BTreeMap::from([("title".to_owned(), vec![AttributeValue::Text(format!("Title {turn} of {n}"))])]);
    let event = ObjectChanged { dn: dn(n, base), parent: None, set, cleared: Vec::new() };
    record(ChangeEvent::ObjectChanged(event), Some(guid(n)), base)
}

fn attributes(n: u32) -> BTreeMap<String, CloudValue> {
    let text = |value: String| CloudValue::Text(value);
    [
        ("userPrincipalName", text(format!("{}@emea.example", name(n)))),
        ("displayName", text(format!("Given{} Sürname{}", n % 997, n % 4999))),
        ("jobTitle", text(format!("Title 2 of {n}"))),
        ("accountEnabled", CloudValue::Bool(true)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn wished(n: u32, base: &Dn, stream: &StreamName) -> NewRecord {
    let source = SourceObject { forest: "emea".into(), object: guid(n), dn: dn(n, base) };
    let event = DesiredEvent::ObjectDesired(ObjectDesired {
        anchor: SourceAnchor::from_guid(guid(n)),
        class: CloudClass::User,
        revision: 1,
        attributes: attributes(n),
        at_creation: BTreeMap::new(),
        left_alone: Vec::new(),
        manager: None,
        owner: None,
        not_writable: Vec::new(),
        source,
        joined: Vec::new(),
    });
    let key = event.key();
    let context = DesiredContext {
        configuration: "contoso".into(),
        rules: "bench".into(),
        offsets: BTreeMap::from([(stream.to_string(), u64::from(3 * OBJECTS))]),
        trace: None,
    };
    let id = EventId::of([key.as_bytes()]);
    let record = DesiredRecord { id, time: forestsync_runtime::clock::now(), context, event };
    NewRecord::new(Some(key), record.encode().unwrap())
}

fn written(n: u32) -> NewRecord {
    let anchor = SourceAnchor::from_guid(guid(n));
    let context = OutcomeContext {
        configuration: "contoso".into(),
        anchor: anchor.clone(),
        class: CloudClass::User,
        cloud_id: Some(guid(n ^ 0x5555_5555).to_string()),
        desired_offset: u64::from(n),
        request_id: Some(guid(n ^ 0x2222_2222).to_string()),
        status: Some(201),
        trace: None,
    };
    let event = OutcomeEvent::ObjectProvisioned(ObjectProvisioned { attributes: attributes(n) });
    let id = EventId::of([anchor.as_str().as_bytes()]);
    let record = OutcomeRecord { id, time: forestsync_runtime::clock::now(), context, event };
    NewRecord::new(Some(anchor.as_str().to_owned()), record.encode().unwrap())
}

/// A history of a million events in a data folder.
async fn write(folder: &Path) {
    let base: Dn = "DC=emea,DC=example".parse().unwrap();
    let log = EmbeddedLog::open(folder.join("data/log")).unwrap();
    let stream = |name: String| name.parse::<StreamName>().unwrap();
    let changes = stream(streams::changes("emea", &base));
    let pages = || (0..OBJECTS / PAGE).map(|page| page * PAGE..(page + 1) * PAGE);
    let mut writer = log.writer(&changes).await.unwrap();
    for page in pages() {
        writer.append(page.map(|n| observed(n, &base)).collect()).await.unwrap();
    }
    // in another order, so that what is about one object lies apart
    let scattered = |n: u32| (n * 7_919) % OBJECTS;
    for turn in 1..=2 {
        for page in pages() {
            writer.append(page.map(|n| changed(scattered(n), turn, &base)).collect()).await.unwrap();
        }
    }
    let mut writer = log.writer(&stream(streams::desired("contoso"))).await.unwrap();
    for page in pages() {
        writer.append(page.map(|n| wished(n, &base, &changes)).collect()).await.unwrap();
    }
    let mut writer = log.writer(&stream(streams::outcomes("contoso"))).await.unwrap();
    for page in pages() {
        writer.append(page.map(written).collect()).await.unwrap();
    }
    std::fs::write(folder.join("contoso.toml"), CONFIGURATION).unwrap();
}

/// Runs the command; how long it took and how many lines it said.
fn ask(folder: &Path, arguments: &[&str]) -> (f64, usize) {
    let start = Instant::now();
    let mut command = Command::new(peers::binary("forestsync"));
    let out = command.args(arguments).args(["-c", "contoso.toml"]).current_dir(folder).output().unwrap();
    let took = start.elapsed().as_secs_f64();
    assert!(out.status.success(), "{arguments:?}: {out:?}");
    (took, String::from_utf8_lossy(&out.stdout).lines().count())
}

pub(crate) async fn of_one_among_many() -> Vec<Measured> {
    let folder = tempfile::tempdir_in(peers::scratch()).unwrap();
    write(folder.path()).await;
    let (first, _) = ask(folder.path(), &["audit", "object", &guid(7).to_string(), "--json"]);
    let (mut audits, mut states) = (Vec::new(), Vec::new());
    for question in 0..QUESTIONS {
        let n = question * 22_221 + 5;
        let (took, events) = ask(folder.path(), &["audit", "object", &dn_of(n), "--json"]);
        assert_eq!(events, 5, "seen, changed twice, wished, written");
        audits.push(took);
        let place = format!("changes.emea.emea.example={}", 3 * OBJECTS - 1);
        let (took, _) = ask(folder.path(), &["state", &guid(n).to_string(), "--at", &place]);
        states.push(took);
    }
    let line = |what, values: Vec<f64>| {
        let worst = values.iter().copied().fold(0.0, f64::max);
        let value = format!("{:.0} ms, at most {:.0} ms", median(values) * 1e3, worst * 1e3);
        Measured { what, value, floor: "< 1 s".into(), met: worst < 1.0 }
    };
    let built = first - median(audits.clone());
    vec![
        Measured {
            what: "audit: index of 1,000,000 events, made anew",
            value: format!("{built:.1} s ({:.0} events/s)", f64::from(5 * OBJECTS) / built),
            floor: "-".into(),
            met: true,
        },
        line("audit object among 200,000, by name", audits),
        line("state --at among 200,000", states),
    ]
}

fn dn_of(n: u32) -> String {
    dn(n, &"DC=emea,DC=example".parse().unwrap()).to_string()
}
