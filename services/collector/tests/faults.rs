//! What a controller and its network can do to a reader, with the practice forest: pages, cuts, silence, rollbacks, lost
//! rights. Whatever happens, the stream must end as what the directory is.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on ends")]

mod common;

use std::time::Duration;

use common::mirror::Mirror;
use common::{Practice, Running, Stage, add, delete, kinds, modify, plus, set};
use forestsync_collector::{CollectorError, ConfigError, Phase};
use forestsync_log::NewRecord;
use forestsync_practice::forest::Rights;
use forestsync_schemas::changes::{ChangeEvent, SnapshotReason, StopCause};

/// The stream says what the directory is.
async fn same(stage: &Stage, practice: &Practice) {
    let records = stage.records(&practice.peer.stream(), 0).await;
    let mut ldap = practice.peer.reader().await;
    let directory = Mirror::of_directory(&mut ldap, &practice.peer.base).await;
    Mirror::of(&records).assert_is(&directory, &[]);
}

async fn started(practice: &Practice) -> (Stage, Running) {
    let stage = Stage::new();
    let running = stage.run(practice.peer.config());
    running.settle().await;
    (stage, running)
}

async fn user(practice: &Practice, name: &str) -> String {
    let dn = format!("CN={name},CN=Users,{}", practice.peer.base);
    let mut ldap = practice.peer.admin().await;
    add(&mut ldap, &dn, &[("objectClass", "user"), ("sAMAccountName", name), ("mail", "x@lab.example")]).await;
    dn
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_followed_and_each_has_its_cursor() {
    let practice = Practice::populated(300, |options| {
        options.max_page_objects = 50;
        options.max_link_values = 4;
    })
    .await;
    let (stage, running) = started(&practice).await;
    let events = stage.events(&practice.peer.stream(), 0).await;
    let cursors = events.iter().filter(|event| matches!(event, ChangeEvent::CursorAdvanced(_))).count();
    assert!(cursors >= 7, "{cursors} cursors");
    assert!(matches!(events[events.len() - 2], ChangeEvent::SnapshotCompleted(_)), "it goes with the last cursor");
    assert!(matches!(events[events.len() - 1], ChangeEvent::CursorAdvanced(_)));
    assert_eq!(running.status().snapshots, 1);
    assert_eq!(running.status().deletions_visible, Some(true));
    same(&stage, &practice).await;
    // a delta of several pages
    for n in 0..120 {
        user(&practice, &format!("late{n}")).await;
    }
    running.settle().await;
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_snapshot_goes_on_between_pages() {
    let practice = Practice::populated(2_000, |options| options.max_page_objects = 60).await;
    let stage = Stage::new();
    let stream = practice.peer.stream();
    for _ in 0..3 {
        let from = stage.tail(&stream).await;
        let running = stage.run(practice.peer.config());
        stage.wait_for(&stream, from, |event| matches!(event, ChangeEvent::CursorAdvanced(_))).await;
        running.kill().await;
        let completed = |event: &ChangeEvent| matches!(event, ChangeEvent::SnapshotCompleted(_));
        assert!(!stage.events(&stream, 0).await.iter().any(completed), "too quick to be interrupted");
    }
    let running = stage.run(practice.peer.config());
    running.settle().await;
    assert_eq!(stage.snapshots(&stream).await, [SnapshotReason::First], "pages that were read are not read again");
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_within_the_only_page_starts_the_snapshot_again() {
    let practice = Practice::populated(20_000, |options| options.max_page_objects = 1_000_000).await;
    let stage = Stage::new();
    let stream = practice.peer.stream();
    let mut config = practice.peer.config();
    config.page_bytes = u32::MAX;
    let running = stage.run(config);
    stage.wait_for(&stream, 0, |event| matches!(event, ChangeEvent::ObjectObserved(_))).await;
    practice.control.cut_all();
    running.settle().await;
    assert_eq!(stage.snapshots(&stream).await, [SnapshotReason::First, SnapshotReason::Interrupted]);
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_nothing_and_are_no_news() {
    let practice = Practice::populated(50, |_| {}).await;
    let (stage, running) = started(&practice).await;
    for n in 0..3 {
        practice.control.cut_all();
        user(&practice, &format!("u{n}")).await;
        running.settle().await;
    }
    practice.control.answer_busy(2);
    user(&practice, "busy").await;
    running.settle().await;
    let stream = practice.peer.stream();
    assert_eq!(stage.snapshots(&stream).await.len(), 1);
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_noticed() {
    let practice = Practice::populated(50, |_| {}).await;
    let stage = Stage::new();
    let mut config = practice.peer.config();
    config.operation_timeout = Duration::from_millis(300);
    config.first_entry_timeout = Duration::from_millis(300);
    config.connect_timeout = Duration::from_millis(300);
    let running = stage.run(config);
    running.settle().await;
    practice.control.pause();
    running.stopped(StopCause::Unreachable).await;
    practice.control.resume();
    running.settle().await;
    assert_eq!(stage.stops(&practice.peer.stream()).await, [Some(StopCause::Unreachable), None]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolled_back_or_restored_controller_is_read_anew() {
    let practice = Practice::populated(50, |_| {}).await;
    let (stage, running) = started(&practice).await;
    let stream = practice.peer.stream();
    let backup = practice.control.backup();
    user(&practice, "vanishes").await;
    running.settle().await;
    practice.control.restore(&backup, false).unwrap();
    running.wait("a second full read", |row| row.snapshots == 2).await;
    assert_eq!(stage.snapshots(&stream).await, [SnapshotReason::First, SnapshotReason::UsnWentBack]);
    same(&stage, &practice).await;
    user(&practice, "vanishes-again").await;
    running.settle().await;
    practice.control.restore(&backup, true).unwrap();
    running.wait("a third full read", |row| row.snapshots == 3).await;
    assert_eq!(stage.snapshots(&stream).await[2], SnapshotReason::InvocationIdChanged);
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_without_rights_concludes_nothing() {
    let practice = Practice::populated(50, |_| {}).await;
    let (stage, running) = started(&practice).await;
    let stream = practice.peer.stream();
    let full = practice.control.reader_rights();
    let before = stage.tail(&stream).await;
    practice.control.set_reader_rights(Rights { reads_objects: false, ..full });
    running.stopped(StopCause::Rights).await;
    user(&practice, "unseen").await;
    let after = stage.events(&stream, before).await;
    assert_eq!(kinds(&after), ["ReadingStopped"], "said once, and nothing else");
    practice.control.set_reader_rights(full);
    running.wait("another full read", |row| row.snapshots == 2 && row.phase == Phase::Following).await;
    assert_eq!(stage.stops(&stream).await, [Some(StopCause::Rights), None]);
    same(&stage, &practice).await;
    running.stop().await;
    // a collector that starts without rights says so and reads nothing
    practice.control.set_reader_rights(Rights { reads_objects: false, ..full });
    let fresh = Stage::new();
    let running = fresh.run(practice.peer.config());
    running.stopped(StopCause::Rights).await;
    assert_eq!(kinds(&fresh.events(&stream, 0).await), ["ReadingStopped"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_get_changes_flags_0_says_what_to_do() {
    let practice = Practice::populated(10, |_| {}).await;
    practice.control.set_reader_rights(Rights { may_dirsync: false, ..practice.control.reader_rights() });
    let stage = Stage::new();
    let mut config = practice.peer.config();
    config.object_security = false;
    let running = stage.run(config.clone());
    let status = running.stopped(StopCause::Rights).await;
    let Phase::Stopped { hint, detail, .. } = status.phase else { panic!() };
    assert!(hint.contains("Replicating Directory Changes") && detail.contains("50"), "{detail}: {hint}");
    let lines = forestsync_collector::check(&config).await;
    let last = lines.last().unwrap();
    assert_eq!(last.code, forestsync_collector::CheckCode::DirSync);
    assert!(last.hint.as_ref().unwrap().contains("Replicating Directory Changes"));
    running.stop().await;
    config.object_security = true;
    let running = stage.run(config);
    running.settle().await;
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blind_reader_finds_deletions_by_full_reads() {
    let practice = Practice::populated(20, |_| {}).await;
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
    let events = stage.events(&stream, 0).await;
    assert!(!kinds(&events).contains(&"ObjectDeleted"));
    assert!(stage.snapshots(&stream).await[1..].iter().all(|r| *r == SnapshotReason::DeletionsInvisible));
    running.stop().await;
    same(&stage, &practice).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confidential_attribute_is_never_taken_for_cleared() {
    let practice = Practice::populated(10, |_| {}).await;
    let dn = user(&practice, "secretive").await;
    practice.control.set_confidential("title", true).unwrap();
    let (stage, running) = started(&practice).await;
    let stream = practice.peer.stream();
    let mark = stage.tail(&stream).await;
    let mut ldap = practice.peer.admin().await;
    modify(&mut ldap, &dn, set("title", &["hidden"])).await;
    modify(&mut ldap, &dn, set("title", &[])).await;
    modify(&mut ldap, &dn, set("mail", &[])).await;
    running.settle().await;
    for event in stage.events(&stream, mark).await {
        if let ChangeEvent::ObjectChanged(changed) = event {
            assert!(!changed.cleared.contains(&"title".to_owned()) && !changed.set.contains_key("title"));
        }
    }
    same(&stage, &practice).await;
    running.stop().await;
}

fn config_of_two(config: &mut forestsync_collector::ForestConfig, one: &str, other: &str) {
    config.naming_contexts = vec![one.parse().unwrap(), other.parse().unwrap()];
    config.controllers.push(config.controllers[0].clone());
    config.credentials_retry = Duration::from_hours(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_said_once_and_not_hammered() {
    let practice = Practice::populated(10, |_| {}).await;
    let stage = Stage::new();
    let mut config = practice.peer.config();
    config.password = "wrong".to_owned().into();
    let running = stage.run(config.clone());
    running.stopped(StopCause::Credentials).await;
    assert_eq!(kinds(&stage.events(&practice.peer.stream(), 0).await), ["ReadingStopped"]);
    running.stop().await;
    // a wrong password is sent once, however many naming contexts and controllers there are
    let before = practice.control.counters().refused_binds;
    let inner = "DC=other,DC=example";
    config_of_two(&mut config, &practice.peer.base, inner);
    let running = stage.run(config.clone());
    let stopped = |row: &forestsync_collector::CollectorStatus| matches!(row.phase, Phase::Stopped { .. });
    let mut rows = running.handle.status();
    let waited = tokio::time::timeout(common::PATIENCE, rows.wait_for(|rows| rows.iter().all(stopped))).await.is_ok();
    assert!(waited, "{:?}", running.handle.status().borrow());
    assert_eq!(practice.control.counters().refused_binds, before + 1);
    running.stop().await;
    let lines = forestsync_collector::check(&config).await;
    assert_eq!(practice.control.counters().refused_binds, before + 2, "{lines:#?}");
    let last = lines.last().unwrap();
    assert_eq!(last.code, forestsync_collector::CheckCode::Bind);
    assert_eq!(last.outcome, forestsync_collector::CheckOutcome::Warning);
    let mut config = practice.peer.config();
    config.ca_file = None;
    let running = stage.run(config);
    running.stopped(StopCause::Certificate).await;
    running.stop().await;
    let mut config = practice.peer.config();
    config.naming_contexts = vec!["DC=elsewhere".parse().unwrap()];
    let running = stage.run(config);
    running.stopped(StopCause::NamingContext).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starttls_works_and_another_request_means_a_full_read() {
    let practice = Practice::populated(10, |_| {}).await;
    let (stage, running) = started(&practice).await;
    running.stop().await;
    let mut config = practice.peer.config();
    let controller = format!("ldap://{}", practice.peer.host).parse::<forestsync_collector::ControllerAddress>();
    config.controllers = vec![controller.unwrap().at(practice.forest.ldap_addr())];
    config.attributes.retain(|name| name != "description");
    let running = stage.run(config);
    running.settle().await;
    let stream = practice.peer.stream();
    assert_eq!(stage.snapshots(&stream).await, [SnapshotReason::First, SnapshotReason::RequestChanged]);
    running.handle.request_snapshot();
    running.wait("the full read asked for", |row| row.snapshots == 2).await;
    assert_eq!(stage.snapshots(&stream).await[2], SnapshotReason::Requested);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_directory_makes_a_quiet_log() {
    let practice = Practice::populated(10, |_| {}).await;
    let (stage, running) = started(&practice).await;
    let stream = practice.peer.stream();
    let tail = stage.tail(&stream).await;
    for _ in 0..5 {
        running.settle().await;
    }
    assert_eq!(stage.tail(&stream).await, tail);
    running.stop().await;
    let running = stage.run(practice.peer.config());
    running.settle().await;
    assert_eq!(stage.tail(&stream).await, tail, "a restart is no event");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_chain_of_cursors_ends_the_collector() {
    let practice = Practice::populated(10, |_| {}).await;
    let (stage, running) = started(&practice).await;
    user(&practice, "second-cursor").await;
    running.settle().await;
    running.stop().await;
    // the last record, a cursor, comes again: two collectors wrote
    let stream = practice.peer.stream();
    let tail = stage.tail(&stream).await;
    let last = stage.log.reader(&stream, tail - 1).await.unwrap().poll(1).await.unwrap().remove(0);
    let mut writer = stage.log.writer(&stream).await.unwrap();
    writer.append(vec![NewRecord::new(last.key, last.value)]).await.unwrap();
    drop(writer);
    let ended = stage.run(practice.peer.config()).ended().await;
    assert!(matches!(ended, CollectorError::CursorChain { offset, .. } if offset == tail), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stand_by_waits_until_the_stream_is_free() {
    let practice = Practice::populated(10, |_| {}).await;
    let (stage, first) = started(&practice).await;
    let second = stage.run(practice.peer.config());
    let dn = user(&practice, "handover").await;
    first.settle().await;
    assert_eq!(second.status().passes, 0);
    first.stop().await;
    second.settle().await;
    let mut ldap = practice.peer.admin().await;
    modify(&mut ldap, &dn, plus("description", "by the second")).await;
    second.settle().await;
    assert_eq!(stage.snapshots(&practice.peer.stream()).await.len(), 1);
    same(&stage, &practice).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_time_it_ends_as_the_directory() {
    let practice = Practice::populated(400, |options| options.max_page_objects = 90).await;
    let stage = Stage::new();
    let stream = practice.peer.stream();
    for round in 0..12 {
        let before = stage.tail(&stream).await;
        if round % 3 == 0 {
            practice.control.cut_all();
        }
        user(&practice, &format!("round{round}")).await;
        let running = stage.run(practice.peer.config());
        if round % 2 == 0 {
            stage.wait_for(&stream, before, |_| true).await;
        } else {
            running.settle().await;
        }
        running.kill().await;
    }
    let running = stage.run(practice.peer.config());
    running.settle().await;
    same(&stage, &practice).await;
    running.stop().await;
}

#[test]
fn a_secret_is_refused_before_anything_is_sent() {
    let stage = Stage::new();
    let controller = "ldaps://dc01".parse().unwrap();
    let mut config =
        forestsync_collector::ForestConfig::new("lab", vec![controller], "svc@lab.example", "x".to_owned().into());
    config.attributes = vec!["supplementalCredentials".into()];
    let refused = forestsync_collector::Collector::new(config, stage.log.clone()).unwrap_err();
    assert!(matches!(refused, CollectorError::Config(ConfigError::SecretAttribute { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_controller_is_read_only_after_a_while() {
    let home = Practice::populated(10, |_| {}).await;
    let other = Practice::populated(10, |options| {
        options.host = "dc02.lab.example".into();
        options.seed = 7; // otherwise it has the same invocationId
    })
    .await;
    let (stage, stream) = (Stage::new(), home.peer.stream());
    let mut config = home.peer.config();
    config.controllers.extend(other.peer.config().controllers);
    let both = [&home.peer, &other.peer].map(|peer| std::fs::read_to_string(&peer.ca_file).unwrap()).concat();
    std::fs::write(&other.peer.ca_file, both).unwrap();
    config.ca_file = Some(other.peer.ca_file.clone());
    config.failover_after = Duration::from_hours(1);
    let running = stage.run(config.clone());
    running.settle().await;
    home.forest.stop().await;
    let Phase::Stopped { detail, .. } = running.stopped(StopCause::Unreachable).await.phase else { panic!() };
    assert!(detail.contains("dc01.lab.example is waited for until 2"), "{detail}");
    assert_eq!(other.control.counters().connections, 0);
    running.stop().await;
    config.failover_after = Duration::ZERO;
    let running = stage.run(config);
    running.wait("the other controller", |row| row.snapshots == 1 && row.phase == Phase::Following).await;
    assert_eq!(stage.snapshots(&stream).await, [SnapshotReason::First, SnapshotReason::InvocationIdChanged]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_a_search_has_its_cause_and_passes() {
    let practice = Practice::populated(10, |_| {}).await;
    let (stage, running) = started(&practice).await;
    let stream = practice.peer.stream();
    let lasting = [
        (1, StopCause::Protocol, "event log"),
        (3, StopCause::Unreachable, "time limit"),
        (8, StopCause::Credentials, "signing"),
        (10, StopCause::NamingContext, "refers elsewhere"),
        (11, StopCause::Unreachable, "query policy"),
        (32, StopCause::NamingContext, "`domains`"),
        (50, StopCause::Rights, "Replicating Directory Changes"),
        (51, StopCause::Unreachable, "busy"),
        (52, StopCause::Unreachable, "busy"),
        (53, StopCause::Unreachable, "unwilling"),
        (80, StopCause::Protocol, "report it"),
    ];
    for (code, cause, word) in lasting {
        let dn = user(&practice, &format!("refused-{code}")).await;
        practice.control.answer(code, "told to refuse", u32::MAX);
        let status = running.stopped(cause).await;
        let Phase::Stopped { detail, hint, .. } = status.phase else { panic!() };
        // a code may come to the collector by more than one search; what it says must be about it
        assert!(hint.contains(word) || detail.contains(&format!("code {code}")), "{code}: {detail}: {hint}");
        practice.control.answer(0, "", 0);
        running.wait("following again", |row| row.phase == Phase::Following).await;
        delete(&mut practice.peer.admin().await, &dn).await;
    }
    running.settle().await;
    same(&stage, &practice).await;
    let stops = stage.stops(&stream).await;
    assert!(
        stops.chunks(2).all(|pair| pair.len() == 2 && pair[1].is_none()),
        "each stop is followed by its end: {stops:?}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_at_once_is_not_told() {
    let practice = Practice::populated(10, |_| {}).await;
    let (stage, running) = started(&practice).await;
    for code in [1, 3, 11, 51, 52, 53] {
        user(&practice, &format!("passes-{code}")).await;
        practice.control.answer(code, "told to refuse", 1);
        running.settle().await;
    }
    for code in [8, 51, 52, 80] {
        practice.control.disconnect(code, "told to end it");
        running.settle().await;
    }
    let stream = practice.peer.stream();
    assert_eq!(stage.stops(&stream).await, []);
    assert_eq!(stage.snapshots(&stream).await.len(), 1);
    same(&stage, &practice).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_refused_account_closes_the_door() {
    let practice = Practice::populated(10, |_| {}).await;
    let binds = |practice: &Practice| practice.control.counters().refused_binds;
    // the controller is the one that cannot: asked again at once, and well when it can
    practice.control.answer_binds(53, "told to be unwilling", 3);
    let stage = Stage::new();
    let running = stage.run(practice.peer.config());
    running.settle().await;
    assert_eq!(binds(&practice), 3);
    running.stop().await;
    // the account is locked: said as that, and not knocked on again
    let text = "80090308: LdapErr: DSID-0C090449, comment: AcceptSecurityContext error, data 775, v4563";
    practice.control.answer_binds(49, text, u32::MAX);
    let stage = Stage::new();
    let running = stage.run(practice.peer.config());
    let Phase::Stopped { hint, .. } = running.stopped(StopCause::Credentials).await.phase else { panic!() };
    assert!(hint.contains("locked"), "{hint}");
    running.handle.request_snapshot();
    assert_eq!(binds(&practice), 4);
    running.stop().await;
}
