//! What was written once stays readable, and the published schemas say what the types say.
//!
//! `FORESTSYNC_BLESS=1 cargo test -p forestsync-schemas` writes missing or changed files; the diff is then reviewed. A
//! golden sample that was released is never changed: a new version gets new ones.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use forestsync_schemas::{
    ChangeEvent, ControlEvent, DecisionEvent, DesiredEvent, Envelope, EventBody, OutcomeEvent, TenantEvent,
};
use forestsync_schemas::{changes, control, decisions, desired, outcomes, samples, tenant};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn check(path: &Path, text: &str) {
    // as JSON, because the order of keys depends on the features that other crates ask of serde_json
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    if fs::read_to_string(path).is_ok_and(|found| json(&found) == json(text)) {
        return;
    }
    if std::env::var_os("FORESTSYNC_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        return;
    }
    let modified = path.with_extension("modified.json");
    fs::write(&modified, text).unwrap();
    panic!("{} differs from the types; compare it with {}", path.display(), modified.display());
}

fn golden<B>(stream: &str, records: Vec<Envelope<B>>)
where
    B: EventBody + Serialize + PartialEq + std::fmt::Debug,
    B::Context: PartialEq,
{
    named_golden(stream, records.into_iter().map(|record| (record.event.type_name(), record)));
}

fn named_golden<B>(stream: &str, records: impl IntoIterator<Item = (&'static str, Envelope<B>)>)
where
    B: EventBody + Serialize + PartialEq + std::fmt::Debug,
    B::Context: PartialEq,
{
    for (name, record) in records {
        let path = folder("golden/v1").join(stream).join(format!("{name}.json"));
        let value: serde_json::Value = serde_json::from_slice(&record.encode().unwrap()).unwrap();
        check(&path, &format!("{}\n", serde_json::to_string_pretty(&value).unwrap()));
        let read = Envelope::<B>::decode(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, record, "{}", path.display());
    }
}

#[test]
fn every_golden_sample_is_readable() {
    golden::<ChangeEvent>("changes", samples::changes());
    named_golden::<ChangeEvent>("changes", samples::more_changes());
    golden::<DecisionEvent>("decisions", samples::decisions());
    named_golden::<DecisionEvent>("decisions", samples::more_decisions());
    golden::<ControlEvent>("control", samples::control());
    named_golden::<ControlEvent>("control", samples::more_control());
    golden::<DesiredEvent>("desired", samples::desired());
    named_golden::<DesiredEvent>("desired", samples::more_desired());
    golden::<OutcomeEvent>("outcomes", samples::outcomes());
    named_golden::<OutcomeEvent>("outcomes", samples::more_outcomes());
    golden::<TenantEvent>("tenant", samples::tenant());
}

#[test]
fn unknown_fields_are_ignored_and_unknown_types_are_not() {
    let record = &samples::changes()[0];
    let mut value: serde_json::Value = serde_json::from_slice(&record.encode().unwrap()).unwrap();
    value["data"]["later"] = true.into();
    let bytes = serde_json::to_vec(&value).unwrap();
    assert_eq!(&Envelope::<ChangeEvent>::decode(&bytes).unwrap(), record);
    for (field, with) in [("type", "ObjectVanished".into()), ("version", 2.into()), ("data", 1.into())] {
        let mut other = value.clone();
        other[field] = with;
        let error = Envelope::<ChangeEvent>::decode(&serde_json::to_vec(&other).unwrap()).unwrap_err().to_string();
        assert!(error.contains("type") || error.contains("version"), "{error}");
    }
    assert!(Envelope::<ChangeEvent>::decode(b"{").is_err());
}

/// The schema of one event: the envelope around its data.
fn schema<C: JsonSchema, D: JsonSchema>(kind: &str) -> (String, Schema) {
    let mut generator = SchemaGenerator::default();
    let (context, data) = (generator.subschema_for::<C>(), generator.subschema_for::<D>());
    let definitions = generator.take_definitions(true);
    let schema = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind,
        "type": "object",
        "properties": {
            "type": {"const": kind},
            "version": {"const": 1},
            "id": {"type": "string", "format": "uuid"},
            "time": {"type": "string", "format": "date-time"},
            "context": context,
            "data": data
        },
        "required": ["type", "version", "id", "time", "context", "data"],
        "$defs": definitions
    });
    (kind.to_owned(), schema)
}

macro_rules! schemas {
    ($context:ty; $($module:ident :: $event:ident),+ $(,)?) => {
        vec![$(schema::<$context, $module::$event>(stringify!($event))),+]
    };
}

#[test]
fn published_schemas_match_the_types() {
    let all = [
        (
            "changes",
            schemas![changes::ChangeContext;
            changes::SnapshotStarted, changes::SnapshotCompleted, changes::ObjectObserved, changes::ObjectChanged,
            changes::LinkValuesChanged, changes::ObjectDeleted, changes::ObjectRestored, changes::CursorAdvanced,
            changes::ReadingStopped, changes::ReadingResumed],
        ),
        (
            "decisions",
            schemas![decisions::DecisionContext;
            decisions::AnchorAssigned, decisions::ScopeResolved, decisions::ConfigurationHeld,
            decisions::ConfigurationReleased, decisions::FindingRaised, decisions::FindingCleared,
            decisions::StreamStopped, decisions::StreamResumed, decisions::FullReadJudged,
            decisions::FullReadApproved, decisions::JoinMade, decisions::JoinBroken, decisions::TimerFired],
        ),
        (
            "control",
            schemas![control::ControlContext;
            control::ConfigurationActivated, control::HeldDecided, control::ConfigurationRemoved,
            control::SourceDecided],
        ),
        (
            "desired",
            schemas![desired::DesiredContext;
            desired::AttributeFlowDeclared, desired::ObjectDesired, desired::ObjectRemoved, desired::LinkDesired,
            desired::LinkRemoved],
        ),
        (
            "outcomes",
            schemas![outcomes::OutcomeContext;
            outcomes::ObjectProvisioned, outcomes::ObjectUpdated, outcomes::ObjectAdopted, outcomes::ObjectRestored,
            outcomes::ObjectDeprovisioned, outcomes::ManagerChanged, outcomes::MemberAdded, outcomes::MemberRemoved,
            outcomes::ExportFailed, outcomes::ExportHeld, outcomes::ExportReleased, outcomes::ExportQuarantined,
            outcomes::NotWritable, outcomes::ObjectRelinquished, outcomes::ExportStopped, outcomes::ExportResumed,
            outcomes::OwnerChanged, outcomes::DeletionDeferred, outcomes::ConfigurationQuarantined,
            outcomes::ConfigurationRecovered, outcomes::NotificationSent, outcomes::DriftFound,
            outcomes::MembersDrifted, outcomes::DeletedByOthers, outcomes::DriftEnded, outcomes::TenantCompared],
        ),
        ("tenant", schemas![tenant::TenantContext; tenant::DomainsObserved]),
    ];
    let named = |stream: &str| match stream {
        "changes" => samples::changes().iter().map(|r| r.event.type_name()).collect::<Vec<_>>(),
        "decisions" => samples::decisions().iter().map(|r| r.event.type_name()).collect(),
        "control" => samples::control().iter().map(|r| r.event.type_name()).collect(),
        "tenant" => samples::tenant().iter().map(|r| r.event.type_name()).collect(),
        "desired" => samples::desired().iter().map(|r| r.event.type_name()).collect(),
        _ => samples::outcomes().iter().map(|r| r.event.type_name()).collect(),
    };
    for (stream, schemas) in all {
        let mut with_sample = named(stream);
        let mut with_schema: Vec<&str> = schemas.iter().map(|(kind, _)| kind.as_str()).collect();
        with_sample.sort_unstable();
        with_schema.sort_unstable();
        assert_eq!(with_sample, with_schema, "every event of {stream} has a sample and a schema");
        for (kind, schema) in schemas {
            let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
            check(&folder("json").join(stream).join(format!("{kind}.json")), &text);
        }
    }
}
