//! A small world: a log in a folder, streams to write to, and what `desired` says in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use forestsync_domain::{AttributeValue, Attributes, Cookie, Dn, InvocationId, ObjectGuid, SourceAnchor, Usn};
use forestsync_log::{EmbeddedLog, Log, NewRecord, Record, StreamName};
use forestsync_rules::settings::{Rules, RulesForm};
use forestsync_schemas::changes::{
    ChangeContext, ChangeEvent, Controller, Cursor, CursorAdvanced, LinkValuesChanged, Method, ObjectChanged,
    ObjectDeleted, ObjectObserved, SnapshotCompleted, SnapshotId, SnapshotReason, SnapshotStarted,
};
use forestsync_schemas::control::{ControlContext, ControlEvent, ControlRecord, SourceDecided, SourceSeen, Verdict};
use forestsync_schemas::decisions::{ConfigurationHeld, DecisionEvent, DecisionRecord, HoldReason};
use forestsync_schemas::desired::{CloudAttributes, CloudClass, DesiredEvent, DesiredRecord, RemovalReason};
use forestsync_schemas::{ChangeRecord, EventBody as _, EventId, streams};
use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{Projector, ProjectorConfig, ScopeEntry, SourceConfig, read_digest, rebuild};

pub(super) type Event = (Option<ObjectGuid>, ChangeEvent);

pub(super) fn guid(n: u32) -> ObjectGuid {
    let mut bytes = [0x5a; 16];
    bytes[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b1).to_le_bytes());
    bytes[4..8].copy_from_slice(&n.to_be_bytes());
    ObjectGuid::from_bytes(bytes)
}

pub(super) fn anchor(n: u32) -> SourceAnchor {
    SourceAnchor::from_guid(guid(n))
}

pub(super) fn attributes(class: &[&str], name: &str) -> Attributes {
    let text = |value: &str| vec![AttributeValue::from(value)];
    let mut all = Attributes::from([
        ("objectClass".to_owned(), class.iter().map(|c| AttributeValue::from(*c)).collect()),
        ("name".to_owned(), text(name)),
    ]);
    if class.contains(&"user") || class.contains(&"group") {
        all.insert("sAMAccountName".into(), text(name));
        let sid = [&[1u8, 1, 0, 0, 0, 0, 0, 5][..], &blake3::hash(name.as_bytes()).as_bytes()[..4]].concat();
        all.insert("objectSid".into(), vec![AttributeValue::Binary(sid)]);
    }
    if class.contains(&"user") {
        all.insert("userPrincipalName".into(), text(&format!("{name}@x.example")));
        all.insert("userAccountControl".into(), text("512"));
    }
    if class.contains(&"group") {
        all.insert("groupType".into(), text("-2147483646"));
    }
    if class.contains(&"contact") {
        all.insert("mail".into(), text(&format!("{name}@y.example")));
    }
    all
}

pub(super) const OU: &[&str] = &["top", "organizationalUnit"];
pub(super) const USER: &[&str] = &["top", "person", "organizationalPerson", "user"];
pub(super) const GROUP: &[&str] = &["top", "group"];
pub(super) const CONTACT: &[&str] = &["top", "person", "contact"];

/// One naming context and the cursors written to it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) forest: String,
    pub(super) root: Dn,
    pub(super) stream: StreamName,
    cursor: Option<EventId>,
    cookies: u64,
    /// Of the records to come.
    pub(super) trace: Option<String>,
}

impl Source {
    pub(super) fn new(forest: &str, root: &str) -> Self {
        let root: Dn = root.parse().unwrap();
        let stream = streams::changes(forest, &root).parse().unwrap();
        Self { forest: forest.into(), root, stream, cursor: None, cookies: 0, trace: None }
    }

    pub(super) fn record(&self, object: Option<ObjectGuid>, event: ChangeEvent) -> NewRecord {
        let context = ChangeContext {
            forest: self.forest.clone(),
            naming_context: self.root.clone(),
            object,
            controller: None,
            usn_changed: None,
            when_changed: None,
            trace: self.trace.clone(),
        };
        let data = serde_json::to_vec(&event).unwrap();
        let about = object.map(|o| o.to_string()).unwrap_or_default();
        let id = EventId::of([event.type_name().as_bytes(), about.as_bytes(), &data]);
        let record = ChangeRecord { id, time: Timestamp::UNIX_EPOCH, context, event };
        NewRecord::new(None::<Vec<u8>>, record.encode().unwrap())
    }

    /// The records of a page: events, and the cursor that ends it.
    pub(super) fn page(&mut self, events: &[Event], complete: bool) -> Vec<NewRecord> {
        self.cookies += 1;
        let to = Cursor {
            controller: Controller { dns_name: "dc".into(), invocation_id: InvocationId(guid(9)) },
            method: Method::Dirsync,
            highest_committed_usn: Usn(self.cookies),
            naming_context: self.root.clone(),
            flags: 0,
            attributes: Vec::new(),
            cookie: Cookie::new(self.cookies.to_be_bytes().to_vec()),
            snapshot: None,
            complete,
            passed_over: false,
        };
        let from = self.cursor.replace(to.id());
        let mut records: Vec<NewRecord> =
            events.iter().map(|(object, event)| self.record(*object, event.clone())).collect();
        records.push(self.record(None, ChangeEvent::CursorAdvanced(CursorAdvanced { from, to })));
        records
    }
}

pub(super) fn snapshot_id(n: u64) -> SnapshotId {
    SnapshotId(Uuid::from_u64_pair(7, n))
}

pub(super) fn started(n: u64) -> Event {
    (None, ChangeEvent::SnapshotStarted(SnapshotStarted { snapshot: snapshot_id(n), reason: SnapshotReason::First }))
}

pub(super) fn completed(n: u64, seen: u64) -> Event {
    (None, ChangeEvent::SnapshotCompleted(SnapshotCompleted { snapshot: snapshot_id(n), seen }))
}

pub(super) fn observed(n: u64, object: u32, dn: &Dn, parent: Option<u32>, attributes: Attributes) -> Event {
    let parent = parent.map(guid);
    let event = ObjectObserved { snapshot: snapshot_id(n), dn: dn.clone(), parent, attributes };
    (Some(guid(object)), ChangeEvent::ObjectObserved(event))
}

pub(super) fn changed(object: u32, dn: &Dn, parent: Option<u32>, set: Attributes, cleared: &[&str]) -> Event {
    let cleared = cleared.iter().map(|name| (*name).to_owned()).collect();
    let event = ObjectChanged { dn: dn.clone(), parent: parent.map(guid), set, cleared };
    (Some(guid(object)), ChangeEvent::ObjectChanged(event))
}

pub(super) fn deleted(object: u32, root: &Dn) -> Event {
    let dn = root.child("CN", "Deleted Objects").child("CN", &format!("gone\nDEL:{}", guid(object)));
    let event = ObjectDeleted { dn, set: Attributes::new(), cleared: vec!["displayName".into()] };
    (Some(guid(object)), ChangeEvent::ObjectDeleted(event))
}

pub(super) fn links(snapshot: Option<u64>, from: u32, attribute: &str, removed: &[u32], added: &[u32]) -> Event {
    let guids = |numbers: &[u32]| numbers.iter().copied().map(guid).collect();
    let event = LinkValuesChanged {
        snapshot: snapshot.map(snapshot_id),
        attribute: attribute.into(),
        removed: guids(removed),
        added: guids(added),
    };
    (Some(guid(from)), ChangeEvent::LinkValuesChanged(event))
}

/// Attributes of one text each, added to an object's own.
pub(super) fn with(mut all: Attributes, more: &[(&str, &str)]) -> Attributes {
    all.extend(more.iter().map(|(name, value)| ((*name).to_owned(), vec![AttributeValue::from(*value)])));
    all
}

/// A first full read of a domain whose root is `base`: objects right below it, and memberships.
pub(super) fn first_read(
    source: &mut Source,
    base: u32,
    objects: &[(u32, Attributes)],
    members: &[(u32, u32)],
) -> Vec<NewRecord> {
    let n = u64::from(base);
    let root = source.root.clone();
    let mut events = vec![started(n), observed(n, base, &root, None, attributes(OU, "root"))];
    for (number, all) in objects {
        events.push(observed(n, *number, &below(&root, *number), Some(base), all.clone()));
    }
    events.extend(members.iter().map(|(group, member)| links(Some(n), *group, "member", &[], &[*member])));
    events.push(completed(n, objects.len() as u64 + 1));
    source.page(&events, true)
}

/// The name of an object of [`first_read`].
pub(super) fn below(root: &Dn, number: u32) -> Dn {
    root.child("CN", &format!("n{number}"))
}

/// A configuration's rules.
pub(super) fn rules(config: &mut ProjectorConfig, form: serde_json::Value) {
    let form: RulesForm = serde_json::from_value(form).unwrap();
    let mut forests: Vec<String> = config.sources.iter().map(|source| source.forest.clone()).collect();
    forests.dedup();
    config.rules = Arc::new(Rules::compile(&form, &forests).unwrap());
}

/// The folder everything is in.
#[derive(Debug)]
pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) log: Arc<EmbeddedLog>,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(EmbeddedLog::open(folder.path().join("log")).unwrap());
        Self { folder, log }
    }

    pub(super) async fn append(&self, stream: &StreamName, records: Vec<NewRecord>) {
        self.log.writer(stream).await.unwrap().append(records).await.unwrap();
    }

    pub(super) fn config(&self, name: &str, sources: &[Source], include: &[&str], exclude: &[&str]) -> ProjectorConfig {
        let entries = |names: &[&str], root: &Dn| {
            let dns = names.iter().map(|name| name.parse::<Dn>().unwrap()).filter(|dn| dn.is_within(root));
            dns.map(ScopeEntry::Dn).collect::<Vec<_>>()
        };
        let source = |s: &Source| SourceConfig {
            forest: s.forest.clone(),
            naming_context: s.root.clone(),
            stream: s.stream.clone(),
            include: entries(include, &s.root),
            exclude: entries(exclude, &s.root),
            include_groups: Vec::new(),
            exclude_groups: Vec::new(),
        };
        ProjectorConfig {
            configuration: name.into(),
            directory: self.folder.path().join(format!("db-{name}")),
            sources: sources.iter().map(source).collect(),
            rules: Arc::default(),
            tenant: None,
            removed: None,
        }
    }

    /// What stands beside a database that is neither a lock nor for questions.
    pub(super) fn leftovers(&self, config: &ProjectorConfig) -> Vec<String> {
        let database = config.directory.file_name().unwrap().to_string_lossy().into_owned();
        let entries = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let names = entries.map(|name| name.to_string_lossy().into_owned());
        let is_left = |name: &String| {
            name.starts_with(&(database.clone() + "."))
                && ![".lock", ".query"].iter().any(|usual| name.ends_with(usual))
        };
        names.filter(is_left).collect()
    }

    /// What was decided for a configuration, in order.
    pub(super) async fn decided(&self, configuration: &str) -> Vec<DecisionEvent> {
        let records = self.records(&streams::decisions(configuration)).await;
        records.iter().map(|record| DecisionRecord::decode(&record.value).unwrap().event).collect()
    }

    /// The holds that are on by `decisions`, and where they stand there.
    pub(super) async fn holds(&self, configuration: &str) -> Vec<(u64, ConfigurationHeld)> {
        let mut on = Vec::new();
        for (offset, event) in self.decided(configuration).await.into_iter().enumerate() {
            match event {
                DecisionEvent::ConfigurationHeld(e) => {
                    on.retain(|(_, held)| !is_same(held, e.reason, &e.forest, e.naming_context.as_ref()));
                    on.push((offset as u64, e));
                }
                DecisionEvent::ConfigurationReleased(e) => {
                    on.retain(|(_, held)| !is_same(held, e.reason, &e.forest, e.naming_context.as_ref()));
                }
                _ => {}
            }
        }
        on
    }

    /// Somebody decides about all sources that hold a configuration; returns how many those are.
    pub(super) async fn rule(&self, configuration: &str, verdict: Verdict, expires: Timestamp) -> usize {
        let (stream, mut records) = (streams::control(configuration), Vec::new());
        for (held_offset, held) in self.holds(configuration).await {
            let seen = match (held.reason, held.snapshot, held.doubt) {
                (HoldReason::SourceShrunken, Some(snapshot), Some(doubt)) => SourceSeen::FullRead { snapshot, doubt },
                (HoldReason::ScopeEmpty, ..) => SourceSeen::EmptyScope { emptied: held.emptied, bare: held.bare },
                _ => continue,
            };
            let (forest, naming_context) = (held.forest, held.naming_context);
            let reason = "ticket 4711".to_owned();
            let event = SourceDecided { verdict, forest, naming_context, held_offset, seen, reason, expires };
            let id = EventId::of([stream.as_bytes(), &serde_json::to_vec(&event).unwrap()]);
            let context = ControlContext { configuration: configuration.into(), actor: "anna".into() };
            let event = ControlEvent::SourceDecided(event);
            let record = ControlRecord { id, time: Timestamp::UNIX_EPOCH, context, event };
            records.push(NewRecord::new(Some(id.to_string()), record.encode().unwrap()));
        }
        let count = records.len();
        self.append(&stream.parse().unwrap(), records).await;
        count
    }

    /// Applies all there is, makes sure that the decisions lead to the same state again, and says what is wished.
    pub(super) async fn settled(&self, config: &ProjectorConfig) -> Desired {
        let mut projector = self.open(config).await;
        let status = projector.catch_up().await.unwrap();
        assert!(status.held.is_empty(), "{status:?}");
        drop(projector);
        self.assert_repeats(config).await;
        self.desired(&config.configuration).await
    }

    /// A projection of the recorded decisions has the digest of the one that made them.
    pub(super) async fn assert_repeats(&self, config: &ProjectorConfig) {
        let (digest, offsets) = read_digest(&config.directory).unwrap();
        let beside = tempfile::tempdir().unwrap();
        let other = ProjectorConfig { directory: beside.path().join("again"), ..config.clone() };
        assert_eq!(rebuild(other, Arc::clone(&self.log) as Arc<dyn Log>, offsets).await.unwrap(), digest);
    }

    pub(super) async fn open(&self, config: &ProjectorConfig) -> Projector {
        Projector::open(config.clone(), Arc::clone(&self.log) as Arc<dyn Log>).await.unwrap()
    }

    /// What holds it, with what people decided read.
    pub(super) async fn open_holds(&self, projector: &mut Projector) -> Vec<crate::Hold> {
        let holds = |engine: &mut crate::engine::Engine| Ok(engine.round()?.holds(&BTreeSet::new())?);
        projector.with(holds).await.unwrap()
    }

    pub(super) async fn records(&self, stream: &str) -> Vec<Record> {
        let mut reader = self.log.reader(&stream.parse().unwrap(), 0).await.unwrap();
        let mut all = Vec::new();
        loop {
            let records = reader.poll(1_000).await.unwrap();
            if records.is_empty() {
                return all;
            }
            all.extend(records);
        }
    }

    /// What a reader of `desired` knows in the end.
    pub(super) async fn desired(&self, configuration: &str) -> Desired {
        let mut desired = Desired::default();
        for record in self.records(&streams::desired(configuration)).await {
            desired.take(DesiredRecord::decode(&record.value).unwrap().event);
        }
        desired
    }
}

fn is_same(held: &ConfigurationHeld, reason: HoldReason, forest: &str, root: Option<&Dn>) -> bool {
    held.reason == reason && held.forest == forest && held.naming_context.as_ref() == root
}

/// What the tenant should hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wished {
    pub(super) objects: BTreeMap<SourceAnchor, (CloudClass, CloudAttributes, Option<SourceAnchor>)>,
    pub(super) links: BTreeSet<(SourceAnchor, SourceAnchor)>,
}

/// What `desired` says, and how it came to say it.
#[derive(Debug, Clone, Default)]
pub(super) struct Desired {
    pub(super) wished: Wished,
    pub(super) removed: Vec<(SourceAnchor, RemovalReason)>,
    pub(super) flows: usize,
    pub(super) count: usize,
}

impl Desired {
    fn take(&mut self, event: DesiredEvent) {
        self.count += 1;
        let Wished { objects, links } = &mut self.wished;
        match event {
            DesiredEvent::AttributeFlowDeclared(_) => self.flows += 1,
            DesiredEvent::ObjectDesired(e) => {
                objects.insert(e.anchor, (e.class, e.attributes, e.manager));
            }
            DesiredEvent::ObjectRemoved(e) => {
                assert!(objects.remove(&e.anchor).is_some(), "{e:?} was never wished");
                links.retain(|(group, member)| *group != e.anchor && *member != e.anchor);
                self.removed.push((e.anchor, e.reason));
            }
            DesiredEvent::LinkDesired(e) => {
                links.insert((e.group, e.member));
            }
            DesiredEvent::LinkRemoved(e) => {
                links.remove(&(e.group, e.member));
            }
        }
    }
}

pub(super) fn exists(path: &Path, part: &str) -> usize {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter(|name| name.to_string_lossy().contains(part)).count()
}
