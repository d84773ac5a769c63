use forestsync_domain::{Cookie, Dn, InvocationId, ObjectGuid, Usn};
use forestsync_schemas::changes::{
    ChangeContext, Controller, CursorAdvanced, Method, ReadingResumed, ReadingStopped, SnapshotCompleted,
    SnapshotProgress, SnapshotReason, SnapshotStarted,
};
use uuid::Uuid;

use super::*;

fn record(event: ChangeEvent) -> ChangeRecord {
    let context = ChangeContext {
        forest: "f".into(),
        naming_context: Dn::default(),
        object: None,
        controller: None,
        usn_changed: None,
        when_changed: None,
        trace: None,
    };
    ChangeRecord { id: EventId(Uuid::nil()), time: Timestamp::UNIX_EPOCH, context, event }
}

fn cursor(n: u8, snapshot: Option<SnapshotProgress>) -> Cursor {
    Cursor {
        controller: Controller { dns_name: "dc".into(), invocation_id: InvocationId(ObjectGuid::from_bytes([1; 16])) },
        method: Method::Dirsync,
        highest_committed_usn: Usn(u64::from(n)),
        naming_context: Dn::default(),
        flags: 0,
        attributes: Vec::new(),
        cookie: Cookie::new(vec![n]),
        complete: snapshot.is_none(),
        passed_over: false,
        snapshot,
    }
}

fn advanced(from: Option<&Cursor>, to: &Cursor) -> ChangeRecord {
    record(ChangeEvent::CursorAdvanced(CursorAdvanced { from: from.map(Cursor::id), to: to.clone() }))
}

#[test]
fn cursors_must_follow_one_another() {
    let (a, b, c) = (cursor(1, None), cursor(2, None), cursor(3, None));
    let mut position = Position::default();
    assert!(position.apply(&advanced(Some(&a), &b)), "the first one of a window has no predecessor to compare");
    assert!(position.apply(&advanced(Some(&b), &c)));
    assert_eq!(position.written, Some(c.id()));
    assert!(!position.apply(&advanced(Some(&b), &a)));
    assert!(!position.apply(&advanced(None, &a)));
}

#[test]
fn remembers_what_is_open() {
    let snapshot = SnapshotId(Uuid::from_bytes([5; 16]));
    let mut position = Position::default();
    position.apply(&record(ChangeEvent::SnapshotStarted(SnapshotStarted { snapshot, reason: SnapshotReason::First })));
    assert!(position.is_interrupted());
    let between = cursor(1, Some(SnapshotProgress { snapshot, seen: 2 }));
    position.apply(&advanced(None, &between));
    assert!(!position.is_interrupted(), "between two pages it can be continued");
    position.apply(&record(ChangeEvent::SnapshotCompleted(SnapshotCompleted { snapshot, seen: 2 })));
    position.apply(&advanced(Some(&between), &cursor(2, None)));
    assert!(!position.is_interrupted() && position.completed.is_some());
    let stopped = ReadingStopped { cause: StopCause::Rights, detail: String::new(), hint: String::new() };
    position.apply(&record(ChangeEvent::ReadingStopped(stopped)));
    assert_eq!(position.stopped, Some(StopCause::Rights));
    position.apply(&record(ChangeEvent::ReadingResumed(ReadingResumed {})));
    assert_eq!(position.stopped, None);
}
