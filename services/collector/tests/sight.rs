//! What a reader that could not see for a while does once it can: everything that was passed over must come to light.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::mirror::Mirror;
use common::{Practice, Stage, add, delete, rename, set};
use forestsync_collector::Phase;
use forestsync_practice::forest::Rights;
use forestsync_schemas::changes::{ChangeEvent, Cursor, SnapshotReason, StopCause};
use ldap3::controls::RawControl;
use ldap3::{Mod, Scope, SearchEntry};

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

fn sees_deleted(practice: &Practice, yes: bool) {
    practice.control.set_reader_rights(Rights { sees_deleted: yes, ..practice.control.reader_rights() });
}

/// The last cursor of the stream.
async fn cursor(stage: &Stage, practice: &Practice) -> Cursor {
    let events = stage.events(&practice.peer.stream(), 0).await;
    let cursors = events.into_iter().rev().find_map(|event| match event {
        ChangeEvent::CursorAdvanced(advanced) => Some(advanced.to),
        _ => None,
    });
    cursors.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_passed_over_is_found_once_deletions_are_visible() {
    let practice = Practice::populated(20, |_| {}).await;
    sees_deleted(&practice, false);
    let gone = user(&practice, "gone").await;
    let stage = Stage::new();
    let running = stage.run(practice.peer.config());
    running.settle().await;
    delete(&mut practice.peer.admin().await, &gone).await;
    user(&practice, "moves-the-cookie").await;
    running.settle().await;
    running.stop().await;
    assert!(cursor(&stage, &practice).await.passed_over, "a restart must know");
    sees_deleted(&practice, true);
    let mut config = practice.peer.config();
    config.snapshot_interval = Duration::ZERO;
    let running = stage.run(config);
    running.wait("a full read", |row| row.snapshots == 1 && row.phase == Phase::Following).await;
    same(&stage, &practice).await;
    assert!(!cursor(&stage, &practice).await.passed_over);
    running.settle().await;
    let reasons = stage.snapshots(&practice.peer.stream()).await;
    assert_eq!(reasons, [SnapshotReason::First, SnapshotReason::DeletionsInvisible], "one is enough");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_sight_of_deletions_is_noticed_within_a_session() {
    let practice = Practice::populated(20, |_| {}).await;
    let gone = user(&practice, "gone").await;
    let stage = Stage::new();
    let running = stage.run(practice.peer.config());
    running.settle().await;
    let connections = practice.control.counters().connections;
    sees_deleted(&practice, false);
    running.wait("the loss", |row| row.deletions_visible == Some(false)).await;
    delete(&mut practice.peer.admin().await, &gone).await;
    running.settle().await;
    assert!(cursor(&stage, &practice).await.passed_over);
    sees_deleted(&practice, true);
    running.wait("the return", |row| row.deletions_visible == Some(true)).await;
    assert_eq!(practice.control.counters().connections, connections + 1, "the same session, and the administrator's");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_read_that_was_asked_for_goes_on_after_a_cut() {
    let practice = Practice::populated(2_000, |options| options.max_page_objects = 60).await;
    let stage = Stage::new();
    let running = stage.run(practice.peer.config());
    running.settle().await;
    let stream = practice.peer.stream();
    let from = stage.tail(&stream).await;
    running.handle.request_snapshot();
    stage.wait_for(&stream, from, |event| matches!(event, ChangeEvent::CursorAdvanced(_))).await;
    practice.control.cut_all();
    assert_eq!(running.status().snapshots, 1, "too quick to be interrupted");
    running.wait("the full read asked for", |row| row.snapshots == 2).await;
    running.settle().await;
    let reasons = stage.snapshots(&stream).await;
    assert_eq!(reasons, [SnapshotReason::First, SnapshotReason::Requested], "what was read is not read again");
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_read_is_followed_by_a_full_one() {
    let practice = Practice::populated(20, |_| {}).await;
    let full = practice.control.reader_rights();
    let stage = Stage::new();
    let mut config = practice.peer.config();
    config.object_security = false;
    let running = stage.run(config);
    running.settle().await;
    practice.control.set_reader_rights(Rights { may_dirsync: false, ..full });
    user(&practice, "unread").await;
    running.stopped(StopCause::Rights).await;
    practice.control.set_reader_rights(full);
    running.wait("another full read", |row| row.snapshots == 2 && row.phase == Phase::Following).await;
    let reasons = stage.snapshots(&practice.peer.stream()).await;
    assert_eq!(reasons, [SnapshotReason::First, SnapshotReason::Interrupted]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cursor_of_a_pass_covers_what_came_during_it() {
    let practice = Practice::populated(2_000, |options| options.max_page_objects = 60).await;
    let stage = Stage::new();
    let stream = practice.peer.stream();
    let running = stage.run(practice.peer.config());
    stage.wait_for(&stream, 0, |event| matches!(event, ChangeEvent::CursorAdvanced(_))).await;
    user(&practice, "meanwhile").await;
    let usn = practice.control.usn();
    assert_eq!(running.status().snapshots, 0, "too quick to be changed under way");
    running.settle().await;
    let events = stage.events(&stream, 0).await;
    let end = events.iter().position(|event| matches!(event, ChangeEvent::SnapshotCompleted(_))).unwrap();
    let ChangeEvent::CursorAdvanced(advanced) = &events[end + 1] else { panic!("it goes with its cursor") };
    assert!(advanced.to.highest_committed_usn.0 >= usn, "{advanced:?}, but {usn}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_was_never_seen_before_it_was_undeleted_is_read_whole() {
    let practice = Practice::populated(20, |_| {}).await;
    let back = user(&practice, "back").await;
    let mut ldap = practice.peer.admin().await;
    let found =
        ldap.search(&back, Scope::Base, "(objectClass=*)", vec!["objectGUID"]).await.unwrap().success().unwrap();
    let guid = SearchEntry::construct(found.0.into_iter().next().unwrap()).bin_attrs["objectGUID"][0].clone();
    let guid = forestsync_domain::ObjectGuid::from_slice(&guid).unwrap();
    delete(&mut ldap, &back).await;
    let stage = Stage::new();
    let running = stage.run(practice.peer.config());
    running.settle().await;
    let undelete = vec![Mod::Delete(b"isDeleted".to_vec(), HashSet::default()), set("distinguishedName", &[&back])];
    let control = RawControl { ctype: "1.2.840.113556.1.4.417".into(), crit: true, val: None };
    let tombstone = format!("<GUID={guid}>");
    ldap.with_controls(control).modify(&tombstone, undelete).await.unwrap().success().unwrap();
    running.settle().await;
    let events = stage.events(&practice.peer.stream(), 0).await;
    let restored = events.iter().find_map(|event| match event {
        ChangeEvent::ObjectRestored(restored) => Some(restored),
        _ => None,
    });
    assert!(restored.unwrap().set.contains_key("objectClass"));
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_moved_into_sight_is_read_whole_with_all_its_members() {
    let practice = Practice::populated(20, |_| {}).await;
    let mut ldap = practice.peer.admin().await;
    let hidden = format!("OU=Hidden,{}", practice.peer.base);
    add(&mut ldap, &hidden, &[("objectClass", "organizationalUnit")]).await;
    practice.control.set_hidden(&hidden, true).unwrap();
    let person = format!("CN=person,{hidden}");
    add(&mut ldap, &person, &[("objectClass", "user"), ("sAMAccountName", "person"), ("title", "unseen")]).await;
    let group = format!("CN=group,{hidden}");
    add(&mut ldap, &group, &[("objectClass", "group"), ("sAMAccountName", "group"), ("member", &person)]).await;
    let stage = Stage::new();
    let running = stage.run(practice.peer.config());
    running.settle().await;
    let users = format!("CN=Users,{}", practice.peer.base);
    rename(&mut ldap, &group, "CN=group", Some(&users)).await;
    rename(&mut ldap, &person, "CN=person", Some(&users)).await;
    running.settle().await;
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_members_of_a_group_moved_into_sight_come_in_ranges() {
    let practice = Practice::populated(20, |options| options.max_val_range = 4).await;
    let mut ldap = practice.peer.admin().await;
    let hidden = format!("OU=Hidden,{}", practice.peer.base);
    add(&mut ldap, &hidden, &[("objectClass", "organizationalUnit")]).await;
    practice.control.set_hidden(&hidden, true).unwrap();
    let mut members = Vec::new();
    for n in 0..10 {
        members.push(user(&practice, &format!("member{n}")).await);
    }
    let group = format!("CN=group,{hidden}");
    let mut attributes = vec![("objectClass", "group"), ("sAMAccountName", "group")];
    attributes.extend(members.iter().map(|member| ("member", member.as_str())));
    add(&mut ldap, &group, &attributes).await;
    let stage = Stage::new();
    let running = stage.run(practice.peer.config());
    running.settle().await;
    let stream = practice.peer.stream();
    let mark = stage.tail(&stream).await;
    rename(&mut ldap, &group, "CN=group", Some(&format!("CN=Users,{}", practice.peer.base))).await;
    running.settle().await;
    let added: Vec<_> = stage.events(&stream, mark).await.into_iter().filter_map(added).flatten().collect();
    assert_eq!(added.len(), 10);
    assert!(!cursor(&stage, &practice).await.passed_over);
    running.stop().await;
}

fn added(event: ChangeEvent) -> Option<Vec<forestsync_domain::ObjectGuid>> {
    match event {
        ChangeEvent::LinkValuesChanged(links) => Some(links.added),
        _ => None,
    }
}
