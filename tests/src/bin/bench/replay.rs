//! Replay of a long history, against decoding the same records and throwing them away; in a process of its own, for its
//! memory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use forestsync_domain::{AttributeValue, Attributes, Cookie, Dn, InvocationId, Usn};
use forestsync_log::{EmbeddedLog, Log as _, NewRecord, StreamName};
use forestsync_projector::{ProjectorConfig, Replay, replay};
use forestsync_schemas::changes::{
    ChangeEvent, Controller, Cursor, CursorAdvanced, Method, ObjectChanged, ObjectObserved, SnapshotCompleted,
    SnapshotReason, SnapshotStarted,
};
use forestsync_schemas::{ChangeRecord, streams};
use forestsync_tests::peers;
use tokio::time::Instant;

use crate::project::{guid, record, snapshot, source, user};
use crate::{Measured, median};

/// What tells this process that it is the one whose memory is measured.
pub(crate) const CHILD: &str = "--replay-child";

const OBJECTS: u32 = 200_000;
const EVENTS: u32 = 1_000_000;
/// Changes of one answer of the directory.
const PAGE: u32 = 500;
/// Records of one append and of one read.
const BATCH: usize = 2_000;
const MAX_KIB: u64 = 512 * 1024;

fn base() -> Dn {
    "DC=emea,DC=example".parse().unwrap()
}

fn stream() -> StreamName {
    streams::changes("emea", &base()).parse().unwrap()
}

fn cursor(base: &Dn, cookie: u32) -> Cursor {
    Cursor {
        controller: Controller { dns_name: "dc01".into(), invocation_id: InvocationId(guid(7)) },
        method: Method::Dirsync,
        highest_committed_usn: Usn(u64::from(cookie)),
        naming_context: base.clone(),
        flags: 0,
        attributes: Vec::new(),
        cookie: Cookie::new(cookie.to_be_bytes().to_vec()),
        snapshot: None,
        complete: true,
        passed_over: false,
    }
}

/// A first full read, and then one change after the other, of all objects in turn but not in order.
async fn write(folder: &Path) {
    let (base, log) = (base(), EmbeddedLog::open(folder).unwrap());
    let parent = base.child("OU", "Bench");
    let mut writer = log.writer(&stream()).await.unwrap();
    let mut batch: Vec<NewRecord> = Vec::new();
    let mut last = None;
    let started = SnapshotStarted { snapshot: snapshot(), reason: SnapshotReason::First };
    batch.push(record(ChangeEvent::SnapshotStarted(started), None, &base));
    for n in 0..OBJECTS {
        let classes = |all: &[&str]| all.iter().map(|c| AttributeValue::from(*c)).collect::<Vec<_>>();
        let (dn, above, attributes) = match n {
            0 => (base.clone(), None, [("objectClass".to_owned(), classes(&["top", "domain", "domainDNS"]))].into()),
            1 => {
                (parent.clone(), Some(0), [("objectClass".to_owned(), classes(&["top", "organizationalUnit"]))].into())
            }
            n => {
                let sam = format!("user{n:06}");
                (parent.child("CN", &sam), Some(1), user(n, &sam, format!("{sam}@emea.example")))
            }
        };
        let event = ObjectObserved { snapshot: snapshot(), dn, parent: above.map(guid), attributes };
        batch.push(record(ChangeEvent::ObjectObserved(event), Some(guid(n)), &base));
        if batch.len() >= BATCH {
            writer.append(std::mem::take(&mut batch)).await.unwrap();
        }
    }
    let completed = SnapshotCompleted { snapshot: snapshot(), seen: u64::from(OBJECTS) };
    batch.push(record(ChangeEvent::SnapshotCompleted(completed), None, &base));
    for at in 0..=(EVENTS - OBJECTS) {
        if at % PAGE == 0 {
            let to = cursor(&base, at);
            let id = to.id();
            batch.push(record(ChangeEvent::CursorAdvanced(CursorAdvanced { from: last, to }), None, &base));
            last = Some(id);
            writer.append(std::mem::take(&mut batch)).await.unwrap();
        }
        if at < EVENTS - OBJECTS {
            let n = 2 + (at.wrapping_mul(7_919)) % (OBJECTS - 2);
            let text = |value: String| vec![AttributeValue::Text(value)];
            let set = Attributes::from([
                ("title".to_owned(), text(format!("Title {}", at % 97))),
                ("telephoneNumber".to_owned(), text(format!("+41 44 {at:07}"))),
                ("department".to_owned(), text(format!("Department {}", at % 41))),
            ]);
            let dn = parent.child("CN", &format!("user{n:06}"));
            let event = ObjectChanged { dn, parent: Some(guid(1)), set, cleared: Vec::new() };
            batch.push(record(ChangeEvent::ObjectChanged(event), Some(guid(n)), &base));
        }
    }
}

/// Decodes every record and throws it away.
async fn decoded(folder: &Path) -> f64 {
    let log = EmbeddedLog::open(folder).unwrap();
    let start = Instant::now();
    let mut reader = log.reader(&stream(), 0).await.unwrap();
    let mut count = 0;
    loop {
        let records = reader.poll(BATCH).await.unwrap();
        if records.is_empty() {
            break;
        }
        for record in records {
            drop(std::hint::black_box(ChangeRecord::decode(&record.value).unwrap()));
            count += 1;
        }
    }
    assert!(count >= EVENTS);
    start.elapsed().as_secs_f64()
}

/// What the process does whose memory is measured: replays the log of a folder, and prints seconds and KiB.
pub(crate) async fn child(folder: &Path) {
    let log = Arc::new(EmbeddedLog::open(folder).unwrap());
    let place = tempfile::tempdir_in(peers::scratch()).unwrap();
    let config = ProjectorConfig {
        configuration: "bench".into(),
        directory: place.path().join("projector"),
        sources: vec![source(&stream(), &base())],
        rules: Arc::default(),
        tenant: None,
        removed: None,
    };
    let start = Instant::now();
    let replayed = Box::pin(replay(config, log, Replay::default(), &mut |_| {})).await.unwrap();
    let took = start.elapsed().as_secs_f64();
    assert!(replayed.digest.is_some());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("{took} {}", peak.trim().trim_end_matches(" kB"));
}

pub(crate) async fn of_a_long_history() -> Vec<Measured> {
    let folder = tempfile::tempdir_in(peers::scratch()).unwrap();
    write(folder.path()).await;
    let (mut ratios, mut rates, mut peak) = (Vec::new(), Vec::new(), 0);
    for _ in 0..3 {
        let bare = decoded(folder.path()).await;
        let own = std::env::current_exe().unwrap();
        let mut command = tokio::process::Command::from(Command::new(own));
        let out = command.arg(CHILD).arg(folder.path()).stdin(Stdio::null()).output().await.unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout).unwrap();
        let (took, kib) = text.trim().split_once(' ').unwrap();
        let took: f64 = took.parse().unwrap();
        ratios.push(bare / took);
        rates.push(f64::from(EVENTS) / took);
        peak = peak.max(kib.parse::<u64>().unwrap());
    }
    let ratio = median(ratios);
    vec![
        Measured {
            what: "replay / decoding, 1,000,000 events, 200,000 objects",
            value: format!("{ratio:.2} ({:.0} events/s)", median(rates)),
            floor: ">= 0.25".into(),
            met: ratio >= 0.25,
        },
        Measured {
            what: "peak memory of that replay",
            value: format!("{} MiB", peak / 1024),
            floor: "< 512 MiB".into(),
            met: peak < MAX_KIB,
        },
    ]
}
