//! `audit`, `state` and `diff` on a history that is the same each time.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use forestsync_domain::{AttributeValue, Attributes, Dn, InvocationId, ObjectGuid, SourceAnchor};
use forestsync_log::{EmbeddedLog, Log as _, Record};
use forestsync_schemas::changes::{
    ChangeContext, ChangeEvent, Controller, LinkValuesChanged, ObjectChanged, ObjectDeleted, ObjectObserved,
    SnapshotCompleted, SnapshotId, SnapshotReason, SnapshotStarted,
};
use forestsync_schemas::control::{ConfigurationActivated, ControlContext, ControlEvent};
use forestsync_schemas::decisions::{AnchorAssigned, AnchorBasis, DecisionContext, DecisionEvent, FullReadJudged};
use forestsync_schemas::desired::{CloudClass, CloudValue, DesiredContext, DesiredEvent, ObjectDesired, SourceObject};
use forestsync_schemas::outcomes::{AttributeChange, ObjectProvisioned, ObjectUpdated, OutcomeContext, OutcomeEvent};
use forestsync_schemas::{
    ChangeRecord, ControlRecord, DecisionRecord, DesiredRecord, Envelope, EventId, OutcomeRecord,
};
use jiff::Timestamp;
use uuid::Uuid;

const CONFIGURATION: &str = r#"configuration = "contoso"
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

const BASE: &str = "DC=emea,DC=example";
const CHANGES: &str = "changes.emea.emea.example";

fn guid(n: u8) -> ObjectGuid {
    ObjectGuid::from_bytes([n; 16])
}

fn dn(front: &str) -> Dn {
    if front.is_empty() { BASE.parse().unwrap() } else { format!("{front},{BASE}").parse().unwrap() }
}

fn attributes(all: &[(&str, &str)]) -> Attributes {
    all.iter().map(|(name, value)| ((*name).to_owned(), vec![AttributeValue::from(*value)])).collect()
}

fn snapshot(n: u128) -> SnapshotId {
    SnapshotId(Uuid::from_u128(n))
}

/// Streams in the making; each record is a second later than the last one of all.
#[derive(Default)]
struct Past {
    seconds: i64,
    streams: BTreeMap<String, Vec<Record>>,
}

impl Past {
    fn push(&mut self, stream: &str, key: Option<String>, kind: &'static str, value: Vec<u8>) -> u64 {
        self.seconds += 1;
        let records = self.streams.entry(stream.to_owned()).or_default();
        let offset = records.last().map_or(0, |last| last.offset + 1);
        records.push(Record {
            offset,
            timestamp: Timestamp::from_second(1_795_000_000 + self.seconds).unwrap(),
            key: key.map(Bytes::from),
            value: value.into(),
            headers: vec![("type".into(), Bytes::from_static(kind.as_bytes()))],
            link: None,
        });
        offset
    }

    fn wrap<B: forestsync_schemas::EventBody>(&self, context: B::Context, event: B) -> Envelope<B> {
        let time = Timestamp::from_second(1_795_000_000 + self.seconds).unwrap();
        Envelope { id: EventId::of([self.seconds.to_be_bytes().as_slice()]), time, context, event }
    }

    fn change(&mut self, object: Option<u8>, event: ChangeEvent) -> u64 {
        use forestsync_schemas::EventBody as _;
        let controller = Controller { dns_name: "dc01.emea.example".into(), invocation_id: InvocationId(guid(0xcc)) };
        let context = ChangeContext {
            forest: "emea".into(),
            naming_context: dn(""),
            object: object.map(guid),
            controller: Some(controller),
            usn_changed: object.map(|_| forestsync_domain::Usn(1000 + self.seconds as u64)),
            when_changed: None,
            trace: None,
        };
        let kind = event.type_name();
        let record: ChangeRecord = self.wrap(context, event);
        self.push(CHANGES, None, kind, record.encode().unwrap())
    }

    fn observe(&mut self, object: u8, read: u128, front: &str, parent: Option<u8>, all: &[(&str, &str)]) {
        let (dn, attributes, parent) = (dn(front), attributes(all), parent.map(guid));
        let event = ObjectObserved { snapshot: snapshot(read), dn, parent, attributes };
        self.change(Some(object), ChangeEvent::ObjectObserved(event));
    }

    fn set(&mut self, object: u8, front: &str, all: &[(&str, &str)]) -> u64 {
        let event = ObjectChanged { dn: dn(front), parent: None, set: attributes(all), cleared: Vec::new() };
        self.change(Some(object), ChangeEvent::ObjectChanged(event))
    }

    fn members(&mut self, group: u8, added: &[u8]) {
        let added = added.iter().map(|n| guid(*n)).collect();
        let event = LinkValuesChanged { snapshot: None, attribute: "member".into(), removed: Vec::new(), added };
        self.change(Some(group), ChangeEvent::LinkValuesChanged(event));
    }

    fn decide(&mut self, event: DecisionEvent) {
        use forestsync_schemas::EventBody as _;
        let kind = event.type_name();
        let record: DecisionRecord = self.wrap(DecisionContext { configuration: "contoso".into() }, event);
        self.push("decisions.contoso", None, kind, record.encode().unwrap());
    }

    fn wish(&mut self, object: u8, revision: u64, front: &str, title: &str, read: u64) -> u64 {
        use forestsync_schemas::EventBody as _;
        let event = DesiredEvent::ObjectDesired(ObjectDesired {
            anchor: SourceAnchor::from_guid(guid(object)),
            class: CloudClass::User,
            revision,
            attributes: BTreeMap::from([("jobTitle".to_owned(), CloudValue::Text(title.into()))]),
            at_creation: BTreeMap::new(),
            left_alone: Vec::new(),
            manager: None,
            owner: None,
            not_writable: Vec::new(),
            source: SourceObject { forest: "emea".into(), object: guid(object), dn: dn(front) },
            joined: Vec::new(),
        });
        let context = DesiredContext {
            configuration: "contoso".into(),
            rules: "rules".into(),
            offsets: BTreeMap::from([(CHANGES.to_owned(), read + 1)]),
            trace: None,
        };
        let (key, kind) = (event.key(), event.type_name());
        let record: DesiredRecord = self.wrap(context, event);
        self.push("desired.contoso", Some(key), kind, record.encode().unwrap())
    }

    fn write(&mut self, object: u8, desired_offset: u64, event: OutcomeEvent) {
        use forestsync_schemas::EventBody as _;
        let context = OutcomeContext {
            configuration: "contoso".into(),
            anchor: SourceAnchor::from_guid(guid(object)),
            class: CloudClass::User,
            cloud_id: Some(guid(object ^ 0x80).to_string()),
            desired_offset,
            request_id: Some(guid(self.seconds as u8).to_string()),
            status: Some(204),
            trace: None,
        };
        let kind = event.type_name();
        let record: OutcomeRecord = self.wrap(context, event);
        self.push("outcomes.contoso", None, kind, record.encode().unwrap());
    }
}

const ANN: u8 = 7;
const TEAM: u8 = 9;

/// Ann is read, changed, wished and written; her container is renamed; she leaves, and another one gets her sign-in name.
fn past() -> Past {
    let mut past = Past::default();
    let activated = ConfigurationActivated { revision: 1, digest: "d1".into(), document: CONFIGURATION.to_owned() };
    let context = ControlContext { configuration: "contoso".into(), actor: "root".into() };
    let record: ControlRecord = past.wrap(context, ControlEvent::ConfigurationActivated(activated));
    past.push("control.contoso", None, "ConfigurationActivated", record.encode().unwrap());

    let started = |n| SnapshotStarted { snapshot: snapshot(n), reason: SnapshotReason::First };
    past.change(None, ChangeEvent::SnapshotStarted(started(1)));
    past.observe(1, 1, "", None, &[]);
    past.observe(2, 1, "OU=Staff", Some(1), &[("objectClass", "organizationalUnit")]);
    let ann =
        [("objectClass", "user"), ("userPrincipalName", "ann@emea.example"), ("title", "Engineer"), ("l", "=1+1")];
    past.observe(ANN, 1, "CN=Ann,OU=Staff", Some(2), &ann);
    past.observe(TEAM, 1, "CN=Team,OU=Staff", Some(2), &[("objectClass", "group")]);
    past.change(None, ChangeEvent::SnapshotCompleted(SnapshotCompleted { snapshot: snapshot(1), seen: 4 }));
    past.members(TEAM, &[ANN, 8]);
    past.decide(DecisionEvent::AnchorAssigned(AnchorAssigned {
        forest: "emea".into(),
        naming_context: dn(""),
        object: guid(ANN),
        anchor: SourceAnchor::from_guid(guid(ANN)),
        basis: AnchorBasis::ObjectGuid,
    }));
    let wished = past.wish(ANN, 1, "CN=Ann,OU=Staff", "Engineer", 6);
    let attributes = BTreeMap::from([("jobTitle".to_owned(), CloudValue::Text("Engineer".into()))]);
    past.write(ANN, wished, OutcomeEvent::ObjectProvisioned(ObjectProvisioned { attributes }));
    let changed = past.set(ANN, "CN=Ann,OU=Staff", &[("title", "Lead\n=2")]);
    let wished = past.wish(ANN, 4, "CN=Ann,OU=Staff", "Lead\n=2", changed);
    let text = |value: &str| Some(CloudValue::Text(value.into()));
    let change = AttributeChange { before: text("Engineer"), after: text("Lead\n=2") };
    let changes = BTreeMap::from([("jobTitle".to_owned(), change)]);
    past.write(ANN, wished, OutcomeEvent::ObjectUpdated(ObjectUpdated { changes, uncounted: Vec::new() }));
    past.set(ANN, "CN=Ann,OU=Staff", &[("title", "Lead\n=2")]);
    past.set(2, "OU=People", &[("name", "People")]);
    let deleted = ObjectDeleted {
        dn: dn("CN=Ann\\0ADEL:07,CN=Deleted Objects"),
        set: Attributes::new(),
        cleared: vec!["title".into(), "userPrincipalName".into()],
    };
    past.change(Some(ANN), ChangeEvent::ObjectDeleted(deleted));
    past.set(8, "CN=Anna,OU=People", &[("userPrincipalName", "Ann@EMEA.example")]);
    // a later read does not show the team any more, and is believed
    past.change(None, ChangeEvent::SnapshotStarted(started(2)));
    past.observe(8, 2, "CN=Anna,OU=People", Some(2), &[("userPrincipalName", "Ann@EMEA.example")]);
    past.change(None, ChangeEvent::SnapshotCompleted(SnapshotCompleted { snapshot: snapshot(2), seen: 1 }));
    past.decide(DecisionEvent::FullReadJudged(FullReadJudged {
        forest: "emea".into(),
        naming_context: dn(""),
        snapshot: snapshot(2),
        doubt: None,
    }));
    past
}

struct Lab(tempfile::TempDir);

impl Lab {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("forestsync.toml"), CONFIGURATION).unwrap();
        let log = EmbeddedLog::open(folder.path().join("data/log")).unwrap();
        for (stream, records) in past().streams {
            log.writer(&stream.parse().unwrap()).await.unwrap().restore(records).await.unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn show(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forestsync"));
        command.args(arguments).env_remove("FORESTSYNC_CONFIG").env_remove("FORESTSYNC_LOG");
        let output = command.stdin(Stdio::null()).current_dir(self.path()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&self.path().display().to_string(), "FOLDER");
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        format!("exit {}\n--- stdout\n{out}--- stderr\n{err}", output.status.code().unwrap())
    }
}

const ANN_DN: &str = "CN=Ann,OU=Staff,DC=emea,DC=example";

#[tokio::test]
async fn a_life_is_shown_in_each_form() {
    let lab = Lab::new().await;
    insta::assert_snapshot!("object", lab.show(&["audit", "object", ANN_DN]));
    insta::assert_snapshot!("object_hidden", lab.show(&["audit", "object", ANN_DN, "--values", "hidden"]));
    insta::assert_snapshot!("object_csv", lab.show(&["audit", "object", ANN_DN, "--csv", "--attribute", "TITLE"]));
    insta::assert_snapshot!("object_json", lab.show(&["audit", "object", ANN_DN, "--json", "--attribute", "jobtitle"]));
    insta::assert_snapshot!("who_changed", lab.show(&["audit", "who-changed", "jobTitle", "of", ANN_DN]));
    insta::assert_snapshot!("who_changed_nothing", lab.show(&["audit", "who-changed", "pager", "of", ANN_DN]));
    insta::assert_snapshot!("attribute", lab.show(&["audit", "attribute", "title"]));
    insta::assert_snapshot!("actor", lab.show(&["audit", "actor", "ROOT"]));
    insta::assert_snapshot!("configuration", lab.show(&["audit", "configuration"]));
}

#[tokio::test]
async fn an_object_is_found_by_every_name_and_refused_where_that_is_not_enough() {
    let lab = Lab::new().await;
    let expected = lab.show(&["audit", "object", ANN_DN]);
    let (cloud, anchor) = (guid(ANN ^ 0x80).to_string(), SourceAnchor::from_guid(guid(ANN)).to_string());
    let renamed = "cn=ann,ou=people,dc=emea,dc=example";
    let tombstone = "CN=Ann\\0ADEL:07,CN=Deleted Objects,DC=emea,DC=example";
    for name in [&guid(ANN).to_string(), &cloud, &anchor, renamed, tombstone] {
        assert_eq!(lab.show(&["audit", "object", name]), expected, "{name}");
    }
    insta::assert_snapshot!("two_of_a_name", lab.show(&["audit", "object", "ann@emea.example"]));
    insta::assert_snapshot!("nobody", lab.show(&["audit", "object", "CN=Nobody,DC=emea,DC=example"]));
    insta::assert_snapshot!("no_of", lab.show(&["audit", "who-changed", "title", "for", ANN_DN]));
}

#[tokio::test]
async fn a_moment_is_looked_at_from_each_side() {
    let lab = Lab::new().await;
    let state = |object: &str, at: &str| lab.show(&["state", object, "--at", at]);
    insta::assert_snapshot!("state_before", state(ANN_DN, "2026-11-18"));
    // between a wish that is gone and the next one
    insta::assert_snapshot!("state_missing", state(ANN_DN, &format!("{CHANGES}=7")));
    insta::assert_snapshot!("state_now", lab.show(&["state", ANN_DN]));
    let team = "CN=Team,OU=Staff,DC=emea,DC=example";
    insta::assert_snapshot!("group_with_members", state(team, &format!("{CHANGES}=8")));
    insta::assert_snapshot!("group_without_who_was_deleted", state(team, &format!("{CHANGES}=10")));
    insta::assert_snapshot!("group_absent", lab.show(&["state", team, "--side", "directory"]));
    insta::assert_snapshot!("diff", lab.show(&["diff", ANN_DN, "--from", &format!("{CHANGES}=6")]));
    insta::assert_snapshot!("diff_none", lab.show(&["diff", ANN_DN, "--from", "2030-01-01"]));
    insta::assert_snapshot!("no_such_place", state(ANN_DN, "changes.apac.apac.example=1"));
    insta::assert_snapshot!("beyond_the_end", state(ANN_DN, &format!("{CHANGES}=999")));
    insta::assert_snapshot!("no_moment", state(ANN_DN, "yesterday"));
}
