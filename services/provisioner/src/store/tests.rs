//! What the ledger promises.

use forestsync_schemas::desired::{CloudAttributes, CloudValue};
use forestsync_schemas::outcomes::AttributeChange;

use super::*;

fn anchor(text: &str) -> SourceAnchor {
    SourceAnchor::from(text.to_owned())
}

fn full_row() -> ObjectRow {
    let attributes = CloudAttributes::from([
        ("accountEnabled".into(), CloudValue::Bool(true)),
        ("businessPhones".into(), CloudValue::List(vec!["1".into()])),
        ("displayName".into(), CloudValue::Text("Ünï".into())),
    ]);
    let kind = WishKind::Present {
        attributes: attributes.clone(),
        at_creation: CloudAttributes::new(),
        left_alone: Vec::new(),
        manager: Some(anchor("b")),
        owner: None,
        not_writable: Vec::new(),
    };
    let wish = Wish {
        offset: 7,
        class: CloudClass::User,
        name: "CN=a".into(),
        trace: None,
        kind,
        since: crate::store::Since::default(),
    };
    ObjectRow { wish: Some(wish), confirmed: attributes, ..ObjectRow::new(CloudClass::User) }
}

#[test]
fn what_was_written_is_read_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap().store;
    let mut tx = store.tx();
    *tx.object(&anchor("a"), CloudClass::User).unwrap() = full_row();
    tx.edge(&anchor("g"), &anchor("a")).unwrap().wish = Some(true);
    assert_eq!(tx.groups_of(&anchor("a")).unwrap(), [anchor("g")], "a transaction sees what it wrote");
    let change = AttributeChange { before: None, after: Some(CloudValue::Text("x".into())) };
    let write = Write::Update { changes: [("city".to_owned(), change)].into() };
    tx.set_intent(&anchor("a"), Some(Intent { offset: 7, write: write.clone() }));
    tx.meta().unwrap().desired_next = 8;
    let changed = tx.commit().unwrap();
    assert_eq!((changed.objects.len(), changed.edges.len()), (1, 1));
    drop(store);

    let opened = Store::open(folder.path()).unwrap();
    assert!(opened.moved.is_none());
    let store = opened.store;
    assert_eq!(store.object(&anchor("a")).unwrap().as_deref(), Some(&full_row()));
    assert_eq!(store.groups_of(&anchor("a")).unwrap(), [anchor("g")]);
    assert_eq!(store.intents().unwrap(), [(anchor("a"), Intent { offset: 7, write })]);
    assert_eq!(store.meta().unwrap().desired_next, 8);
}

#[test]
fn a_second_user_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Busy(_))));
}

#[test]
fn a_damaged_ledger_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap().store;
    store.tree.insert(b"oanchor", &b"nonsense"[..]).unwrap();
    store.tree.flush().unwrap();
    drop(store);
    let opened = Store::open(folder.path()).unwrap();
    assert!(opened.moved.is_some_and(|path| path.is_dir()));
    assert_eq!(opened.store.objects().count(), 0);
}

#[test]
fn a_ledger_that_panics_or_fails_to_open_is_moved_aside() {
    for nonsense in [&b""[..], b"not a configuration", &[0xff; 200]] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap().store;
        let mut tx = store.tx();
        *tx.object(&anchor("a"), CloudClass::User).unwrap() = full_row();
        tx.commit().unwrap();
        store.tree.flush().unwrap();
        drop(store);
        std::fs::write(folder.path().join("ledger/conf"), nonsense).unwrap();
        let opened = Store::open(folder.path()).unwrap();
        assert!(opened.moved.is_some() || opened.store.object(&anchor("a")).unwrap().is_some());
    }
}

#[test]
fn old_removals_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap().store;
    let mut tx = store.tx();
    for at in [10, 20, 30] {
        tx.remember(at as u64, Removal { at, what: Removed::Object(CloudClass::User) });
    }
    tx.commit().unwrap();
    store.forget_removals(20).unwrap();
    assert_eq!(store.removals().unwrap().iter().map(|r| r.at).collect::<Vec<_>>(), [20, 30]);
}

/// Ledgers of one process share sled's threads and its one lock. A thread of its own waits here, for those of a runtime
/// may all be stuck.
#[test]
fn many_ledgers_in_one_process_do_not_stop_each_other() {
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let ledgers = (0..32).map(|n| Store::open(&folder.path().join(n.to_string())).unwrap().store);
        let tasks = ledgers.map(|store| runtime.spawn(write_and_flush(store, 100))).collect::<Vec<_>>();
        done.send(tasks.into_iter().try_for_each(|task| runtime.block_on(task))).unwrap();
    });
    finished.recv_timeout(std::time::Duration::from_mins(1)).expect("every ledger goes on").unwrap();
}

async fn write_and_flush(store: Store, times: u32) {
    for time in 0..times {
        let mut tx = store.tx();
        *tx.object(&anchor(&format!("a{time}")), CloudClass::User).unwrap() = full_row();
        tx.commit().unwrap();
        store.flush().await.unwrap();
    }
}
