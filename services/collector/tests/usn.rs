//! USN polling with the practice forest: what a controller, its network and its limits can do to a reader that has no DirSync.
//! Whatever happens, the stream must end as what the directory is, and as DirSync tells it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod common;

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use common::mirror::Mirror;
use common::{Practice, Running, Stage, add, delete, kinds, minus, modify, plus, rename, set};
use forestsync_collector::{Method, Phase};
use forestsync_domain::ObjectGuid;
use forestsync_practice::forest::{ForestOptions, Rights};
use forestsync_practice::population::NewObject;
use forestsync_schemas::changes::{ChangeEvent, Cursor, SnapshotReason, StopCause};
use ldap3::controls::RawControl;
use ldap3::{Mod, Scope, SearchEntry};

async fn populated(users: usize, change: impl FnOnce(&mut ForestOptions)) -> Practice {
    let mut practice = Practice::populated(users, change).await;
    practice.peer.method = Method::Usn;
    practice
}

async fn started(practice: &Practice) -> (Stage, Running) {
    let stage = Stage::new();
    let running = stage.run(practice.peer.config());
    running.settle().await;
    (stage, running)
}

/// The stream says what the directory is.
async fn same(stage: &Stage, practice: &Practice) {
    let records = stage.records(&practice.peer.stream(), 0).await;
    let mut ldap = practice.peer.reader().await;
    let directory = Mirror::of_directory(&mut ldap, &practice.peer).await;
    Mirror::of(&records).assert_is(&directory, &[]);
}

async fn user(practice: &Practice, name: &str) -> String {
    let dn = format!("CN={name},CN=Users,{}", practice.peer.base);
    let mut ldap = practice.peer.admin().await;
    add(&mut ldap, &dn, &[("objectClass", "user"), ("sAMAccountName", name), ("mail", "x@lab.example")]).await;
    dn
}

async fn guid(practice: &Practice, dn: &str) -> ObjectGuid {
    let mut ldap = practice.peer.admin().await;
    let found = ldap.search(dn, Scope::Base, "(objectClass=*)", vec!["objectGUID"]).await.unwrap().success().unwrap();
    let entry = SearchEntry::construct(found.0.into_iter().next().unwrap());
    let bytes = entry.bin_attrs.get("objectGUID").map(|values| values[0].clone());
    ObjectGuid::from_slice(&bytes.unwrap_or_else(|| entry.attrs["objectGUID"][0].clone().into_bytes())).unwrap()
}

async fn cursors(stage: &Stage, practice: &Practice) -> Vec<Cursor> {
    let events = stage.events(&practice.peer.stream(), 0).await;
    let cursors = events.into_iter().filter_map(|event| match event {
        ChangeEvent::CursorAdvanced(advanced) => Some(advanced.to),
        _ => None,
    });
    cursors.collect()
}

async fn undelete(practice: &Practice, object: ObjectGuid, dn: &str) {
    let change: Vec<Mod<Vec<u8>>> =
        vec![Mod::Delete(b"isDeleted".to_vec(), HashSet::default()), set("distinguishedName", &[dn])];
    let control = RawControl { ctype: "1.2.840.113556.1.4.417".into(), crit: true, val: None };
    let mut ldap = practice.peer.admin().await;
    ldap.with_controls(control).modify(&format!("<GUID={object}>"), change).await.unwrap().success().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_read_in_pages_has_one_cursor_and_says_the_method() {
    let practice = populated(300, |_| {}).await;
    let usn = practice.control.usn();
    let (stage, running) = started(&practice).await;
    let events = stage.events(&practice.peer.stream(), 0).await;
    assert!(matches!(events[events.len() - 2], ChangeEvent::SnapshotCompleted(_)), "it goes with the cursor");
    let found = cursors(&stage, &practice).await;
    let [cursor] = &found[..] else { panic!("{found:?}") };
    assert_eq!((cursor.method, cursor.highest_committed_usn.0, cursor.flags), (Method::Usn, usn, 0));
    assert!(cursor.cookie.is_empty() && cursor.complete && cursor.snapshot.is_none());
    assert_eq!(practice.control.counters().dirsync_searches, 0);
    let dn = user(&practice, "later").await;
    running.settle().await;
    let records = stage.records(&practice.peer.stream(), events.len() as u64).await;
    assert_eq!(records.len(), 2);
    let context = &records[0].1.context;
    assert_eq!(context.object, Some(guid(&practice, &dn).await));
    assert_eq!(context.usn_changed.unwrap().0, practice.control.usn());
    let age = practice.control.clock() - context.when_changed.unwrap().as_second();
    assert!((0..120).contains(&age), "{age}");
    assert!(records[1].1.context.usn_changed.is_none());
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_while_nobody_read_is_compared_with_the_log() {
    let practice = populated(20, |_| {}).await;
    let (a, b, gone) = (user(&practice, "a").await, user(&practice, "b").await, user(&practice, "gone").await);
    let mut ldap = practice.peer.admin().await;
    let group = format!("CN=group,CN=Users,{}", practice.peer.base);
    let attributes = [("objectClass", "group"), ("sAMAccountName", "group"), ("member", a.as_str()), ("member", &gone)];
    add(&mut ldap, &group, &attributes).await;
    let (stage, running) = started(&practice).await;
    running.stop().await;
    let stream = practice.peer.stream();
    let mark = stage.tail(&stream).await;
    modify(&mut ldap, &a, set("mail", &[])).await;
    modify(&mut ldap, &group, plus("member", &b)).await;
    modify(&mut ldap, &group, minus("member", &a)).await;
    delete(&mut ldap, &gone).await;
    let running = stage.run(practice.peer.config());
    running.settle().await;
    let (a, b) = (guid(&practice, &a).await, guid(&practice, &b).await);
    let (mut cleared, mut links) = (Vec::new(), None);
    for (_, record) in stage.records(&stream, mark).await {
        match record.event {
            ChangeEvent::ObjectChanged(changed) => cleared.push((record.context.object, changed.cleared)),
            ChangeEvent::LinkValuesChanged(changed) => links = Some(changed),
            _ => {}
        }
    }
    assert_eq!(cleared, [(Some(a), vec!["mail".to_owned()])]);
    let links = links.unwrap();
    assert!(links.removed.contains(&a) && links.added == [b], "{links:?}");
    assert_eq!(stage.snapshots(&stream).await.len(), 1);
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolled_back_or_restored_controller_is_read_anew() {
    let practice = populated(50, |_| {}).await;
    let (stage, running) = started(&practice).await;
    let stream = practice.peer.stream();
    let before = user(&practice, "was-there").await;
    running.settle().await;
    let backup = practice.control.backup();
    user(&practice, "vanishes").await;
    delete(&mut practice.peer.admin().await, &before).await;
    running.settle().await;
    practice.control.restore(&backup, false).unwrap();
    running.wait("a second full read", |row| row.snapshots == 2).await;
    assert_eq!(stage.snapshots(&stream).await, [SnapshotReason::First, SnapshotReason::UsnWentBack]);
    running.settle().await;
    same(&stage, &practice).await;
    user(&practice, "vanishes-again").await;
    running.settle().await;
    practice.control.restore(&backup, true).unwrap();
    running.wait("a third full read", |row| row.snapshots == 3).await;
    assert_eq!(stage.snapshots(&stream).await[2], SnapshotReason::InvocationIdChanged);
    running.settle().await;
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstones_end_objects_and_undeletes_bring_them_back_whole() {
    let practice = populated(20, |_| {}).await;
    let (stage, running) = started(&practice).await;
    let stream = practice.peer.stream();
    let dn = user(&practice, "phoenix").await;
    let object = guid(&practice, &dn).await;
    let mut ldap = practice.peer.admin().await;
    modify(&mut ldap, &dn, set("title", &["bird"])).await;
    running.settle().await;
    for fresh in [false, true] {
        let mark = stage.tail(&stream).await;
        delete(&mut ldap, &dn).await;
        running.settle().await;
        let events = stage.events(&stream, mark).await;
        assert_eq!(kinds(&events), ["ObjectDeleted", "CursorAdvanced"]);
        if fresh {
            // the tombstone is from before the full read
            running.handle.request_snapshot();
            running.wait("the full read asked for", |row| row.snapshots == 2).await;
            running.settle().await;
        }
        let mark = stage.tail(&stream).await;
        undelete(&practice, object, &dn).await;
        running.settle().await;
        let events = stage.events(&stream, mark).await;
        let ChangeEvent::ObjectRestored(back) = &events[0] else { panic!("{events:?}") };
        assert!(back.parent.is_some() && back.set.contains_key("objectClass"));
        assert!(back.cleared.contains(&"title".to_owned()) && !back.cleared.contains(&"objectGUID".to_owned()));
        same(&stage, &practice).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blind_reader_finds_deletions_by_full_reads() {
    let practice = populated(20, |_| {}).await;
    practice.control.set_reader_rights(Rights { sees_deleted: false, ..practice.control.reader_rights() });
    let gone = user(&practice, "gone").await;
    let stage = Stage::new();
    let mut config = practice.peer.config();
    config.snapshot_interval = Duration::from_millis(300);
    let running = stage.run(config);
    running.settle().await;
    assert_eq!(running.status().deletions_visible, Some(false));
    delete(&mut practice.peer.admin().await, &gone).await;
    let done = running.status().snapshots;
    running.wait("two full reads", |row| row.snapshots >= done + 2).await;
    let stream = practice.peer.stream();
    assert!(!kinds(&stage.events(&stream, 0).await).contains(&"ObjectDeleted"));
    assert!(stage.snapshots(&stream).await[1..].iter().all(|r| *r == SnapshotReason::DeletionsInvisible));
    running.stop().await;
    same(&stage, &practice).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_without_rights_concludes_nothing() {
    let practice = populated(50, |_| {}).await;
    let (stage, running) = started(&practice).await;
    let stream = practice.peer.stream();
    let full = practice.control.reader_rights();
    let before = stage.tail(&stream).await;
    practice.control.set_reader_rights(Rights { reads_objects: false, ..full });
    running.stopped(StopCause::Rights).await;
    user(&practice, "unseen").await;
    assert_eq!(kinds(&stage.events(&stream, before).await), ["ReadingStopped"]);
    practice.control.set_reader_rights(full);
    running.wait("another full read", |row| row.snapshots == 2 && row.phase == Phase::Following).await;
    same(&stage, &practice).await;
    running.stop().await;
}

/// What was cleared of an attribute since an offset.
async fn clears(stage: &Stage, practice: &Practice, mark: u64, attribute: &str) -> usize {
    let events = stage.events(&practice.peer.stream(), mark).await;
    let cleared = |event: &ChangeEvent| match event {
        ChangeEvent::ObjectChanged(changed) => changed.cleared.contains(&attribute.to_owned()),
        ChangeEvent::LinkValuesChanged(changed) => changed.attribute == attribute && !changed.removed.is_empty(),
        _ => false,
    };
    events.iter().filter(|event| cleared(event)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_account_cannot_read_is_never_taken_for_cleared() {
    let practice = populated(20, |_| {}).await;
    let (a, b) = (user(&practice, "a").await, user(&practice, "b").await);
    let mut ldap = practice.peer.admin().await;
    for dn in [&a, &b] {
        modify(&mut ldap, dn, set("title", &["engineer"])).await;
        modify(&mut ldap, dn, set("manager", &[&a])).await;
    }
    let (stage, running) = started(&practice).await;
    let mark = stage.tail(&practice.peer.stream()).await;
    // the schema says it
    practice.control.set_confidential("title", true).unwrap();
    modify(&mut ldap, &a, set("displayName", &["A"])).await;
    running.settle().await;
    assert_eq!(clears(&stage, &practice, mark, "title").await, 0);
    // nothing says it, but nobody shows a value any more
    for attribute in ["mail", "manager"] {
        practice.control.set_denied(attribute, true).unwrap();
    }
    modify(&mut ldap, &a, set("displayName", &["B"])).await;
    running.settle().await;
    assert_eq!(clears(&stage, &practice, mark, "mail").await, 0);
    assert_eq!(clears(&stage, &practice, mark, "manager").await, 0);
    assert!(cursors(&stage, &practice).await.last().unwrap().passed_over, "a full read will tell");
    for attribute in ["mail", "manager"] {
        practice.control.set_denied(attribute, false).unwrap();
    }
    modify(&mut ldap, &a, set("mail", &[])).await;
    modify(&mut ldap, &a, set("manager", &[])).await;
    running.settle().await;
    assert_eq!(clears(&stage, &practice, mark, "mail").await, 1);
    assert_eq!(clears(&stage, &practice, mark, "manager").await, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_method_means_a_full_read_and_tells_the_same() {
    let practice = populated(50, |_| {}).await;
    let stage = Stage::new();
    let (stream, mut config) = (practice.peer.stream(), practice.peer.config());
    for method in [Method::Usn, Method::Dirsync, Method::Usn] {
        config.method = method;
        let running = stage.run(config.clone());
        running.settle().await;
        user(&practice, &format!("late-{}", stage.tail(&stream).await)).await;
        running.settle().await;
        same(&stage, &practice).await;
        running.stop().await;
        let running = stage.run(config.clone());
        running.settle().await;
        running.stop().await;
    }
    let changed = SnapshotReason::RequestChanged;
    assert_eq!(stage.snapshots(&stream).await, [SnapshotReason::First, changed.clone(), changed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_read_by_both_methods_ends_in_the_same_state() {
    let mut practice = populated(100, |_| {}).await;
    let (by_usn, by_dirsync) = (Stage::new(), Stage::new());
    let polling = by_usn.run(practice.peer.config());
    practice.peer.method = Method::Dirsync;
    let syncing = by_dirsync.run(practice.peer.config());
    polling.settle().await;
    let (base, mut ldap) = (practice.peer.base.clone(), practice.peer.admin().await);
    let unit = format!("OU=Unit,{base}");
    add(&mut ldap, &unit, &[("objectClass", "organizationalUnit")]).await;
    let mut users = Vec::new();
    for n in 0..30 {
        users.push(user(&practice, &format!("u{n}")).await);
    }
    let group = format!("CN=group,CN=Users,{base}");
    add(&mut ldap, &group, &[("objectClass", "group"), ("sAMAccountName", "group"), ("member", &users[0])]).await;
    for n in 1..30 {
        modify(&mut ldap, &group, plus("member", &users[n])).await;
        match n % 6 {
            0 => modify(&mut ldap, &users[n], set("mail", &[])).await,
            1 => modify(&mut ldap, &users[n], set("manager", &[&users[n - 1]])).await,
            2 => modify(&mut ldap, &group, minus("member", &users[n])).await,
            3 => rename(&mut ldap, &users[n], &format!("CN=renamed{n}"), Some(&unit)).await,
            4 => {
                let object = guid(&practice, &users[n]).await;
                delete(&mut ldap, &users[n]).await;
                // both must have seen the end before it is undone
                polling.settle().await;
                syncing.settle().await;
                undelete(&practice, object, &users[n]).await;
            }
            _ => delete(&mut ldap, &users[n]).await,
        }
    }
    rename(&mut ldap, &unit, "OU=Moved", None).await;
    polling.settle().await;
    syncing.settle().await;
    let stream = practice.peer.stream();
    let usn = Mirror::of(&by_usn.records(&stream, 0).await);
    let dirsync = Mirror::of(&by_dirsync.records(&stream, 0).await);
    usn.assert_is(&dirsync, &[]);
    same(&by_dirsync, &practice).await;
    polling.stop().await;
    syncing.stop().await;
}

/// A group with as many members, made behind the interface.
async fn crowd(practice: &Practice, members: usize) -> (String, Vec<String>) {
    let base = practice.peer.base.clone();
    let dn = |n: usize| format!("CN=m{n},CN=Users,{base}");
    let text = |name: &str, value: &str| (name.to_owned(), vec![value.as_bytes().to_vec()]);
    let users = (0..members).map(|n| NewObject {
        dn: dn(n),
        attributes: vec![text("objectClass", "user"), text("sAMAccountName", &format!("m{n}"))],
    });
    let all: Vec<String> = (0..members).map(dn).collect();
    let group = format!("CN=crowd,CN=Users,{base}");
    let values = all.iter().map(|dn| dn.clone().into_bytes()).collect();
    let attributes = vec![text("objectClass", "group"), text("sAMAccountName", "crowd"), ("member".to_owned(), values)];
    let objects = users.chain([NewObject { dn: group.clone(), attributes }]).collect::<Vec<_>>();
    practice.control.load(objects).await.unwrap();
    (group, all)
}

/// Members of a group that came and went since an offset.
async fn members(stage: &Stage, practice: &Practice, group: &str, mark: u64) -> (Vec<ObjectGuid>, Vec<ObjectGuid>) {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let group = guid(practice, group).await;
    for (_, record) in stage.records(&practice.peer.stream(), mark).await {
        if let ChangeEvent::LinkValuesChanged(links) = record.event
            && record.context.object == Some(group)
        {
            added.extend(links.added);
            removed.extend(links.removed);
        }
    }
    (added, removed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_group_comes_in_ranges_and_goes_in_pieces() {
    let practice = populated(0, |options| options.max_val_range = 1_500).await;
    let (group, all) = crowd(&practice, 10_000).await;
    let stage = Stage::new();
    let mut config = practice.peer.config();
    config.page_entries = 500;
    let running = stage.run(config);
    running.settle().await;
    let stream = practice.peer.stream();
    let (added, removed) = members(&stage, &practice, &group, 0).await;
    assert_eq!((added.len(), removed.len()), (10_000, 0));
    assert_eq!(added.into_iter().collect::<BTreeSet<_>>().len(), 10_000);
    let mark = stage.tail(&stream).await;
    let mut ldap = practice.peer.admin().await;
    modify(&mut ldap, &group, minus("member", &all[7_777])).await;
    running.settle().await;
    let (added, removed) = members(&stage, &practice, &group, mark).await;
    assert_eq!((added, removed), (vec![], vec![guid(&practice, &all[7_777]).await]), "the difference only");
    // all but a few of the first part go at once
    let mark = stage.tail(&stream).await;
    let few: HashSet<Vec<u8>> = all[..3].iter().map(|dn| dn.clone().into_bytes()).collect();
    modify(&mut ldap, &group, Mod::Replace(b"member".to_vec(), few)).await;
    running.settle().await;
    let (added, removed) = members(&stage, &practice, &group, mark).await;
    assert_eq!((added.len(), removed.len()), (0, 9_996));
    assert!(!cursors(&stage, &practice).await.last().unwrap().passed_over);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_changes_while_its_parts_are_read_loses_nobody() {
    let practice = populated(0, |options| options.max_val_range = 20).await;
    let (group, all) = crowd(&practice, 600).await;
    let (stage, running) = started(&practice).await;
    let stream = practice.peer.stream();
    let mark = stage.tail(&stream).await;
    let mut ldap = practice.peer.admin().await;
    // one after the other goes from the first place and comes back to the last, and all others move forward
    let moving = &all[..200];
    let passes = running.status().passes;
    for dn in moving.iter().cycle().take(20_000) {
        modify(&mut ldap, &group, minus("member", dn)).await;
        modify(&mut ldap, &group, plus("member", dn)).await;
        if running.status().passes >= passes + 20 {
            break;
        }
    }
    modify(&mut ldap, &group, minus("member", &all[0])).await;
    running.settle().await;
    let (_, removed) = members(&stage, &practice, &group, mark).await;
    let mut may_go = BTreeSet::new();
    for dn in moving {
        may_go.insert(guid(&practice, dn).await);
    }
    assert!(removed.iter().all(|object| may_go.contains(object)), "{} removed", removed.len());
    let records = stage.records(&stream, 0).await;
    let group = guid(&practice, &group).await;
    let mirror = Mirror::of(&records);
    assert_eq!(mirror.objects[&group].links["member"].len(), 599);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_time_it_ends_as_the_directory() {
    let practice = populated(400, |_| {}).await;
    let stage = Stage::new();
    let stream = practice.peer.stream();
    for round in 0..12 {
        let before = stage.tail(&stream).await;
        if round % 3 == 0 {
            practice.control.cut_all();
        }
        if round % 4 == 3 {
            practice.control.cut_after(3);
        }
        let dn = user(&practice, &format!("round{round}")).await;
        let running = stage.run(practice.peer.config());
        if round % 2 == 0 {
            stage.wait_for(&stream, before, |_| true).await;
        } else {
            running.settle().await;
            modify(&mut practice.peer.admin().await, &dn, set("mail", &[])).await;
        }
        running.kill().await;
    }
    let running = stage.run(practice.peer.config());
    running.settle().await;
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_before_its_cursor_is_not_written_again() {
    let practice = populated(20, |_| {}).await;
    let (stage, running) = started(&practice).await;
    running.stop().await;
    let stream = practice.peer.stream();
    let mark = stage.tail(&stream).await;
    // more than one append takes, so that some of it is written before the cursor
    let base = practice.peer.base.clone();
    let objects: Vec<NewObject> = (0..6_000)
        .map(|n| NewObject {
            dn: format!("CN=late{n},CN=Users,{base}"),
            attributes: vec![
                ("objectClass".into(), vec![b"user".to_vec()]),
                ("sAMAccountName".into(), vec![format!("late{n}").into_bytes()]),
            ],
        })
        .collect();
    practice.control.load(objects).await.unwrap();
    let running = stage.run(practice.peer.config());
    stage.wait_for(&stream, mark, |_| true).await;
    running.kill().await;
    let cursor = |event: &ChangeEvent| matches!(event, ChangeEvent::CursorAdvanced(_));
    let first = stage.events(&stream, mark).await;
    assert!(!first.iter().any(cursor), "too quick to be interrupted");
    let running = stage.run(practice.peer.config());
    running.settle().await;
    let events = stage.events(&stream, mark).await;
    assert_eq!(events.iter().filter(|event| matches!(event, ChangeEvent::ObjectChanged(_))).count(), 6_000);
    assert_eq!(stage.snapshots(&stream).await.len(), 1);
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_full_read_begins_again() {
    let practice = populated(6_000, |_| {}).await;
    let stage = Stage::new();
    let stream = practice.peer.stream();
    let running = stage.run(practice.peer.config());
    stage.wait_for(&stream, 0, |event| matches!(event, ChangeEvent::ObjectObserved(_))).await;
    running.kill().await;
    let running = stage.run(practice.peer.config());
    running.settle().await;
    assert_eq!(stage.snapshots(&stream).await, [SnapshotReason::First, SnapshotReason::Interrupted]);
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_read_ends_with_what_changed_during_it() {
    let practice = populated(6_000, |_| {}).await;
    let stage = Stage::new();
    let stream = practice.peer.stream();
    let running = stage.run(practice.peer.config());
    stage.wait_for(&stream, 0, |event| matches!(event, ChangeEvent::ObjectObserved(_))).await;
    let dn = user(&practice, "meanwhile").await;
    let usn = practice.control.usn();
    assert_eq!(running.status().snapshots, 0, "too quick to be changed under way");
    running.settle().await;
    let object = guid(&practice, &dn).await;
    let records = stage.records(&stream, 0).await;
    let end = records.iter().position(|(_, r)| matches!(r.event, ChangeEvent::SnapshotCompleted(_))).unwrap();
    let told = records.iter().position(|(_, record)| record.context.object == Some(object)).unwrap();
    assert!(told < end, "it would look as if it were gone if it had been moved");
    assert!(matches!(records[told].1.event, ChangeEvent::ObjectObserved(_)));
    let ChangeEvent::CursorAdvanced(advanced) = &records[end + 1].1.event else { panic!("it goes with its cursor") };
    assert!(advanced.to.highest_committed_usn.0 >= usn);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_during_a_read_are_neither_lost_nor_harmful() {
    let practice = populated(2_000, |_| {}).await;
    let stage = Stage::new();
    let stream = practice.peer.stream();
    let running = stage.run(practice.peer.config());
    let mut ldap = practice.peer.admin().await;
    let (base, mut known) = (practice.peer.base.clone(), Vec::new());
    let unit = format!("OU=Target,{base}");
    add(&mut ldap, &unit, &[("objectClass", "organizationalUnit")]).await;
    for n in 0..120 {
        let dn = user(&practice, &format!("w{n}")).await;
        if n % 3 == 0 {
            rename(&mut ldap, &dn, &format!("CN=w{n}"), Some(&unit)).await;
            known.push(guid(&practice, &format!("CN=w{n},{unit}")).await);
        } else if n % 3 == 1 {
            modify(&mut ldap, &dn, set("mail", &[])).await;
        } else {
            delete(&mut ldap, &dn).await;
        }
    }
    running.settle().await;
    same(&stage, &practice).await;
    let deleted = stage.records(&stream, 0).await.into_iter().filter_map(|(_, record)| match record.event {
        ChangeEvent::ObjectDeleted(_) => record.context.object,
        _ => None,
    });
    assert!(!deleted.collect::<Vec<_>>().iter().any(|object| known.contains(object)));
    assert_eq!(stage.snapshots(&stream).await.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_directory_makes_a_quiet_log() {
    let practice = populated(10, |_| {}).await;
    let (stage, running) = started(&practice).await;
    let stream = practice.peer.stream();
    let tail = stage.tail(&stream).await;
    for n in 0..5 {
        // a change of what is not read
        let dn = format!("CN=Administrator,CN=Users,{}", practice.peer.base);
        modify(&mut practice.peer.admin().await, &dn, set("info", &[&n.to_string()])).await;
        running.settle().await;
    }
    running.stop().await;
    let running = stage.run(practice.peer.config());
    running.settle().await;
    assert_eq!(stage.tail(&stream).await, tail);
    running.stop().await;
}
