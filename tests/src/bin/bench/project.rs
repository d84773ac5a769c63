//! Projection, against a bare loop that decodes the same records and inserts the same rows into sled.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use forestsync_domain::{AttributeValue, Attributes, Cookie, Dn, InvocationId, ObjectGuid, Usn};
use forestsync_log::{EmbeddedLog, Log as _, NewRecord, StreamName};
use forestsync_projector::{Projector, ProjectorConfig, SourceConfig};
use forestsync_schemas::changes::{
    ChangeContext, ChangeEvent, Controller, Cursor, CursorAdvanced, Method, ObjectObserved, SnapshotCompleted,
    SnapshotId, SnapshotReason, SnapshotStarted,
};
use forestsync_schemas::{ChangeRecord, Envelope, EventId, streams};
use forestsync_tests::peers;
use tokio::time::Instant;

use crate::{Measured, median};

pub(crate) const OBJECTS: u32 = 100_000;
/// Records a batch of the bare loop is made of.
const BATCH: usize = 1_000;

pub(crate) fn guid(n: u32) -> ObjectGuid {
    let mut bytes = [0x11; 16];
    bytes[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b1).to_le_bytes());
    bytes[4..8].copy_from_slice(&n.to_be_bytes());
    ObjectGuid::from_bytes(bytes)
}

pub(crate) fn record(event: ChangeEvent, object: Option<ObjectGuid>, base: &Dn) -> NewRecord {
    let id = EventId::of([object.map_or_else(Vec::new, |g| g.as_bytes().to_vec()).as_slice()]);
    let context = ChangeContext {
        forest: "emea".into(),
        naming_context: base.clone(),
        object,
        controller: None,
        usn_changed: None,
        when_changed: None,
        trace: None,
    };
    let value = Envelope { id, time: forestsync_runtime::clock::now(), context, event }.encode().unwrap();
    NewRecord::new(None::<Vec<u8>>, value)
}

/// What the directory says of user `n` with this account name and mail address.
pub(crate) fn user(n: u32, sam: &str, mail: String) -> Attributes {
    let text = |value: String| vec![AttributeValue::Text(value)];
    let classes = ["top", "person", "organizationalPerson", "user"].map(AttributeValue::from).into();
    let all = [
        ("objectClass", classes),
        ("name", text(sam.to_owned())),
        ("sAMAccountName", text(sam.to_owned())),
        ("userPrincipalName", text(format!("{sam}@emea.example"))),
        ("mail", text(mail)),
        ("displayName", text(format!("Given{} Sürname{}", n % 997, n % 4999))),
        ("givenName", text(format!("Given{}", n % 997))),
        ("sn", text(format!("Sürname{}", n % 4999))),
        ("title", text(format!("Title {}", n % 90))),
        ("department", text(format!("Department {}", n % 40))),
        ("company", text("AT&T Ltd".into())),
        ("telephoneNumber", text(format!("+41 44 {n:07}"))),
        ("employeeID", text(format!("{n:07}"))),
        ("userAccountControl", text("512".into())),
    ];
    all.into_iter().map(|(name, values)| (name.to_owned(), values)).collect()
}

fn observed(n: u32, snapshot: SnapshotId, parent: Option<ObjectGuid>, base: &Dn) -> NewRecord {
    let classes = |all: &[&str]| all.iter().map(|c| AttributeValue::from(*c)).collect::<Vec<_>>();
    let (dn, attributes): (Dn, Attributes) = match n {
        0 => (base.clone(), BTreeMap::from([("objectClass".into(), classes(&["top", "domain", "domainDNS"]))])),
        1 => {
            let all = BTreeMap::from([("objectClass".into(), classes(&["top", "organizationalUnit"]))]);
            (base.child("OU", "Bench"), all)
        }
        n => {
            let sam = format!("user{n:06}");
            let all = user(n, &sam, format!("{sam}@emea.example"));
            (base.child("OU", "Bench").child("CN", &sam), all)
        }
    };
    record(ChangeEvent::ObjectObserved(ObjectObserved { snapshot, dn, parent, attributes }), Some(guid(n)), base)
}

/// Writes a first full read of a domain to its stream: `objects` between the events that begin and end it.
pub(crate) async fn write_stream(
    log: &EmbeddedLog,
    stream: &StreamName,
    base: &Dn,
    objects: impl IntoIterator<Item = Vec<NewRecord>>,
) {
    let mut writer = log.writer(stream).await.unwrap();
    let started = SnapshotStarted { snapshot: snapshot(), reason: SnapshotReason::First };
    let mut batch = vec![record(ChangeEvent::SnapshotStarted(started), None, base)];
    for records in objects {
        batch.extend(records);
        if batch.len() >= BATCH {
            writer.append(std::mem::take(&mut batch)).await.unwrap();
        }
    }
    let completed = SnapshotCompleted { snapshot: snapshot(), seen: u64::from(OBJECTS) };
    batch.push(record(ChangeEvent::SnapshotCompleted(completed), None, base));
    let cursor = Cursor {
        controller: Controller { dns_name: "dc01".into(), invocation_id: InvocationId(guid(7)) },
        method: Method::Dirsync,
        highest_committed_usn: Usn(1),
        naming_context: base.clone(),
        flags: 0,
        attributes: Vec::new(),
        cookie: Cookie::default(),
        snapshot: None,
        complete: true,
        passed_over: false,
    };
    batch.push(record(ChangeEvent::CursorAdvanced(CursorAdvanced { from: None, to: cursor }), None, base));
    writer.append(batch).await.unwrap();
}

/// The full read that the objects belong to.
pub(crate) fn snapshot() -> SnapshotId {
    SnapshotId(EventId::of([b"bench".as_slice()]).0)
}

/// A source without any narrowing.
pub(crate) fn source(stream: &StreamName, base: &Dn) -> SourceConfig {
    SourceConfig {
        forest: "emea".into(),
        naming_context: base.clone(),
        stream: stream.clone(),
        include: Vec::new(),
        exclude: Vec::new(),
        include_groups: Vec::new(),
        exclude_groups: Vec::new(),
    }
}

/// Projects everything that is in the log; gives the projector and how long it took.
pub(crate) async fn projected(log: &Arc<EmbeddedLog>, config: ProjectorConfig) -> (Projector, f64) {
    let start = Instant::now();
    let mut projector = Projector::open(config, Arc::<EmbeddedLog>::clone(log)).await.unwrap();
    let status = projector.catch_up().await.unwrap();
    assert!(status.is_idle());
    (projector, start.elapsed().as_secs_f64())
}

type Rows = Vec<(sled::IVec, sled::IVec)>;

/// All rows the projector left in its database.
fn rows(directory: &Path) -> Rows {
    let db = sled::Config::new().path(directory).open().unwrap();
    let mut all = Rows::new();
    for tree in db.tree_names() {
        all.extend(db.open_tree(tree).unwrap().iter().map(Result::unwrap));
    }
    all
}

/// The same rows by the object they are about, of which every one of their keys ends with the objectGUID.
fn by_object(rows: Rows) -> (HashMap<ObjectGuid, Rows>, Rows) {
    let (mut by_object, mut others) = (HashMap::<_, Rows>::new(), Rows::new());
    for row in rows {
        let guid = row.0.last_chunk::<16>().map(|bytes| ObjectGuid::from_bytes(*bytes));
        match guid {
            Some(guid) => by_object.entry(guid).or_default().push(row),
            None => others.push(row),
        }
    }
    (by_object, others)
}

/// Decodes record after record, and with each inserts the rows that come of it; a batch for each thousand records.
async fn bare(log: &EmbeddedLog, stream: &StreamName, rows: Rows, directory: &Path) -> f64 {
    let (mut by_object, others) = by_object(rows);
    let start = Instant::now();
    let db = sled::Config::new().path(directory).cache_capacity(48 << 20).flush_every_ms(None).open().unwrap();
    let mut reader = log.reader(stream, 0).await.unwrap();
    loop {
        let records = reader.poll(BATCH).await.unwrap();
        if records.is_empty() {
            break;
        }
        let mut batch = sled::Batch::default();
        for record in &records {
            let record = ChangeRecord::decode(&record.value).unwrap();
            let rows = record.context.object.and_then(|object| by_object.remove(&object));
            for (key, value) in rows.into_iter().flatten() {
                batch.insert(key, value);
            }
        }
        db.apply_batch(batch).unwrap();
    }
    let mut batch = sled::Batch::default();
    for (key, value) in others.into_iter().chain(by_object.into_values().flatten()) {
        batch.insert(key, value);
    }
    db.apply_batch(batch).unwrap();
    db.flush().unwrap();
    start.elapsed().as_secs_f64()
}

pub(crate) async fn against_bare_sled() -> Measured {
    let base: Dn = "DC=emea,DC=example".parse().unwrap();
    let folder = tempfile::tempdir_in(peers::scratch()).unwrap();
    let log = Arc::new(EmbeddedLog::open(folder.path().join("log")).unwrap());
    let stream: StreamName = streams::changes("emea", &base).parse().unwrap();
    let objects = (0..OBJECTS).map(|n| {
        let parent = match n {
            0 => None,
            1 => Some(guid(0)),
            _ => Some(guid(1)),
        };
        vec![observed(n, snapshot(), parent, &base)]
    });
    write_stream(&log, &stream, &base, objects).await;
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let directory = folder.path().join(format!("projector-{n}"));
        let config = ProjectorConfig {
            configuration: format!("bench-{n}"),
            directory: directory.clone(),
            sources: vec![source(&stream, &base)],
            rules: Arc::default(),
            tenant: None,
            removed: None,
        };
        let (projector, took) = projected(&log, config).await;
        drop(projector);
        let rate = f64::from(OBJECTS) / took;
        let took = bare(&log, &stream, rows(&directory), &folder.path().join(format!("bare-{n}"))).await;
        ratios.push(rate / (f64::from(OBJECTS) / took));
        rates.push(rate);
    }
    let ratio = median(ratios);
    Measured {
        what: "projection / bare decode and insert of the same rows, 100,000",
        value: format!("{ratio:.2} ({:.0} objects/s)", median(rates)),
        floor: ">= 0.50".into(),
        met: ratio >= 0.5,
    }
}
