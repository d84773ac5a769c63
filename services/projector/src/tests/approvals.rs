//! Sources in doubt that somebody decides about: what was shown goes, and nothing else.

use forestsync_schemas::changes::{ChangeEvent, SnapshotCompleted};
use forestsync_schemas::control::Verdict;
use forestsync_schemas::decisions::{DecisionEvent, Doubt, HoldReason};
use forestsync_schemas::desired::{CloudValue, RemovalReason};
use jiff::Timestamp;

use super::crash::copy;
use super::emptied::{after, moved, named, three_units, user, wished};
use super::holds::{STAFF, dn, population, rich, source};
use super::support::{Event, Source, USER, World, anchor, attributes, changed, deleted, exists, guid, snapshot_id};
use crate::apply::Incoming;
use crate::engine::Engine;
use crate::{Hold, ProjectorConfig};

const EVER: Timestamp = Timestamp::MAX;
const OVER: Timestamp = Timestamp::UNIX_EPOCH;

/// Ten users, of which a second full read showed fewer: nothing is written.
async fn shrunken(users: u32, include: &[&str]) -> (World, Source, ProjectorConfig) {
    let (world, mut west) = (World::new(), source());
    let config = world.config("c", &[west.clone()], include, &[]);
    assert_eq!(after(&world, &mut west, &config, &population(1, 10)).await, []);
    let held = after(&world, &mut west, &config, &population(2, users)).await;
    assert_eq!(held.iter().map(|hold| hold.reason).collect::<Vec<_>>(), [HoldReason::SourceShrunken]);
    assert_eq!(wished(&world).await.len(), 10);
    (world, west, config)
}

/// Lets everything that is held be approved, or not, and says what is held then.
async fn ruled(world: &World, config: &ProjectorConfig, verdict: Verdict, expires: Timestamp) -> Vec<Hold> {
    assert_eq!(world.rule("c", verdict, expires).await, 1);
    world.open(config).await.catch_up().await.unwrap().held
}

async fn reads_approved(world: &World) -> Vec<(u64, bool)> {
    let approved = world.decided("c").await.into_iter().filter_map(|event| match event {
        DecisionEvent::FullReadApproved(e) => Some((e.offset, e.doubt.is_none())),
        _ => None,
    });
    approved.collect()
}

/// A database that is built anew, and a replay, end where this one does.
async fn assert_lasting(world: &World, config: &ProjectorConfig) {
    let before = world.open(config).await.catch_up().await.unwrap();
    let (wished, count) = (world.desired("c").await.wished, world.desired("c").await.removed.len());
    world.assert_repeats(config).await;
    std::fs::remove_dir_all(&config.directory).unwrap();
    let again = world.open(config).await.catch_up().await.unwrap();
    assert_eq!((again.digest, again.held), (before.digest, before.held));
    assert_eq!((world.desired("c").await.wished, world.desired("c").await.removed.len()), (wished, count));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_approved_full_read_did_not_show_goes() {
    let (world, mut west, config) = shrunken(5, &[]).await;
    let (_, held) = world.holds("c").await.pop().unwrap();
    assert_eq!((held.leaving, held.snapshot, held.naming_context), (Some(5), Some(snapshot_id(2)), Some(dn("DC=x"))));
    assert_eq!(held.doubt, Some(Doubt::Fewer { missing: 5, known: 10 }));
    assert!(held.hint.contains("approve --source west"), "{}", held.hint);
    assert_eq!(ruled(&world, &config, Verdict::Approve, EVER).await, []);
    let removed = world.desired("c").await.removed;
    assert!(removed.len() == 5 && removed.iter().all(|(_, reason)| *reason == RemovalReason::Absent), "{removed:?}");
    assert_eq!(wished(&world).await, [10, 11, 12, 13, 14]);
    assert_eq!(reads_approved(&world).await.len(), 1);
    assert_lasting(&world, &config).await;
    // it was about that one
    let held = after(&world, &mut west, &config, &population(3, 2)).await;
    assert_eq!((held[0].reason, held[0].leaving), (HoldReason::SourceShrunken, Some(3)));
    assert_lasting(&world, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_or_no_longer_approved_stays() {
    for (verdict, expires) in [(Verdict::Reject, EVER), (Verdict::Approve, OVER)] {
        let (world, mut west, config) = shrunken(5, &[]).await;
        assert_eq!(ruled(&world, &config, verdict, expires).await.len(), 1, "{verdict:?}");
        assert_eq!((wished(&world).await.len(), world.holds("c").await.len()), (10, 1), "{verdict:?}");
        // and the last word counts
        world.rule("c", Verdict::Approve, EVER).await;
        assert_eq!(ruled(&world, &config, Verdict::Reject, EVER).await.len(), 1, "{verdict:?}");
        assert_eq!(wished(&world).await.len(), 10, "{verdict:?}");
        assert_eq!(after(&world, &mut west, &config, &population(3, 10)).await, [], "{verdict:?}");
        assert_eq!(wished(&world).await.len(), 10, "{verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_of_what_was_shown_and_not_of_the_next_full_read() {
    for users in [0, 5, 6] {
        let (world, mut west, config) = shrunken(6, &[]).await;
        world.rule("c", Verdict::Approve, EVER).await;
        let held = after(&world, &mut west, &config, &population(3, users)).await;
        assert_eq!((held.len(), wished(&world).await.len()), (1, 10), "{users}");
        assert_eq!(held[0].snapshot, Some(snapshot_id(3)), "{users}");
        assert_eq!(reads_approved(&world).await, [], "{users}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_forest_is_approved_and_then_what_that_leaves_of_the_scope() {
    let (world, _, config) = shrunken(0, &[]).await;
    assert_eq!(world.holds("c").await[0].1.leaving, Some(10));
    assert_eq!(ruled(&world, &config, Verdict::Approve, EVER).await, []);
    assert_eq!(wished(&world).await, [0; 0]);
    assert_lasting(&world, &config).await;

    let (world, _, config) = shrunken(0, &[STAFF]).await;
    let held = ruled(&world, &config, Verdict::Approve, EVER).await;
    assert_eq!((held.len(), held[0].reason, held[0].leaving), (1, HoldReason::ScopeEmpty, Some(10)));
    assert_eq!((&held[0].emptied, &held[0].bare), (&vec![guid(2)], &vec![dn("DC=x")]));
    assert_eq!(wished(&world).await.len(), 10);
    assert_eq!(ruled(&world, &config, Verdict::Approve, EVER).await, []);
    assert_eq!(wished(&world).await, [0; 0]);
    assert_lasting(&world, &config).await;
}

/// Everybody's department and all members are missing, and with `users` of them some of the objects.
fn poor(snapshot: u64, users: u32) -> Vec<Event> {
    let mut events = rich(snapshot, false, false);
    events.retain(|(object, _)| (10 + users..20).all(|n| *object != Some(guid(n))));
    for (_, event) in &mut events {
        if let ChangeEvent::SnapshotCompleted(SnapshotCompleted { seen, .. }) = event {
            *seen -= u64::from(10 - users);
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_values_are_cleared_once_approved_and_missing_objects_are_another_matter() {
    for users in [10, 5] {
        let (world, mut west) = (World::new(), source());
        let config = world.config("c", &[west.clone()], &[], &[]);
        assert_eq!(after(&world, &mut west, &config, &rich(1, true, true)).await, []);
        let held = after(&world, &mut west, &config, &poor(2, users)).await;
        let detail = &held[0].detail;
        assert!(detail.contains("no department on") && detail.contains("no member on 10 of the 10"), "{detail}");
        let department = |wished: &super::support::Wished| {
            wished.objects[&anchor(10)].1.get("department").cloned().unwrap_or(CloudValue::Text(String::new()))
        };
        let before = world.desired("c").await.wished;
        assert_eq!((before.links.len(), department(&before)), (10, CloudValue::Text("Sales".into())));
        let mut held = ruled(&world, &config, Verdict::Approve, EVER).await;
        if users < 10 {
            assert_eq!(held[0].doubt, Some(Doubt::Fewer { missing: 5, known: 20 }));
            assert_eq!(world.desired("c").await.wished, before);
            held = ruled(&world, &config, Verdict::Approve, EVER).await;
            assert_eq!(
                reads_approved(&world).await.iter().map(|(_, is_all)| *is_all).collect::<Vec<_>>(),
                [false, true]
            );
        }
        assert_eq!(held, []);
        let wished = world.desired("c").await.wished;
        assert_eq!((wished.objects.len(), wished.links.len()), (10 + users as usize, 0));
        assert_ne!(department(&wished), CloudValue::Text("Sales".into()));
        assert_lasting(&world, &config).await;
        // what is missing by now is known to be
        assert_eq!(after(&world, &mut west, &config, &poor(3, users)).await, []);
        assert_lasting(&world, &config).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_under_way_is_measured_by_what_is_left() {
    let (world, mut west) = (World::new(), source());
    let config = world.config("c", &[west.clone()], &[], &[]);
    assert_eq!(after(&world, &mut west, &config, &rich(1, true, true)).await, []);
    assert_eq!(after(&world, &mut west, &config, &poor(2, 5)).await.len(), 1);
    // the third read has begun when the second one is approved
    let third = poor(3, 5);
    let (first, second) = third.split_at(9);
    let page = west.page(first, false);
    world.append(&west.stream, page).await;
    world.open(&config).await.catch_up().await.unwrap();
    assert_eq!(ruled(&world, &config, Verdict::Approve, EVER).await.len(), 1);
    assert_eq!(ruled(&world, &config, Verdict::Approve, EVER).await, []);
    assert_eq!(after(&world, &mut west, &config, second).await, []);
    let wished = world.desired("c").await.wished;
    assert_eq!((wished.objects.len(), wished.links.len()), (15, 0));
    assert_lasting(&world, &config).await;
}

/// Objects that the approved read lacked are shown before, and after, it is approved: the first one stays, and of the
/// second one only what is new is known.
#[tokio::test(flavor = "multi_thread")]
async fn the_place_of_an_approval_is_kept() {
    let (world, mut west, config) = shrunken(5, &[]).await;
    let kept = world.folder.path().join("kept");
    let again = |n: u32| {
        let name = format!("u{n}");
        changed(n, &dn(STAFF).child("CN", &name), Some(2), attributes(USER, &name), &[])
    };
    let renamed = |n: u32| changed(n, &dn(STAFF).child("CN", "other"), Some(2), attributes(USER, "other"), &[]);
    assert_eq!(after(&world, &mut west, &config, &[again(15)]).await.len(), 1);
    copy(&config.directory, &kept);
    assert_eq!(ruled(&world, &config, Verdict::Approve, EVER).await, []);
    assert_eq!(wished(&world).await, [10, 11, 12, 13, 14, 15]);
    let events = [again(16), renamed(17), deleted(18, &west.root)];
    assert_eq!(after(&world, &mut west, &config, &events).await, []);
    assert_eq!(wished(&world).await, [10, 11, 12, 13, 14, 15, 16, 17]);
    assert_lasting(&world, &config).await;

    // the decision survived, and the database of a moment before it
    let live = world.open(&config).await.catch_up().await.unwrap();
    std::fs::remove_dir_all(&config.directory).unwrap();
    std::fs::rename(&kept, &config.directory).unwrap();
    let mut projector = world.open(&config).await;
    let status = projector.catch_up().await.unwrap();
    assert_eq!((status.digest, status.held, status.moved_aside.len()), (live.digest, Vec::new(), 0));
    assert_eq!(reads_approved(&world).await.len(), 1);
    drop(projector);
    assert_lasting(&world, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_that_dies_between_the_decision_and_its_effect_goes_on() {
    let (world, _, config) = shrunken(5, &[]).await;
    world.rule("c", Verdict::Approve, EVER).await;
    let mut projector = world.open(&config).await;
    let holds = world.open_holds(&mut projector).await;
    let is_taken = projector.with(move |engine| engine.take_approvals(&holds, Timestamp::UNIX_EPOCH)).await.unwrap();
    assert!(is_taken && wished(&world).await.len() == 10);
    drop(projector);
    let status = world.open(&config).await.catch_up().await.unwrap();
    assert_eq!((status.held, wished(&world).await), (Vec::new(), vec![10, 11, 12, 13, 14]));
    assert_eq!(reads_approved(&world).await.len(), 1, "it is decided once");
    assert_lasting(&world, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_has_passed_the_place_is_built_anew() {
    let (world, mut west, config) = shrunken(5, &[]).await;
    let standby = ProjectorConfig { directory: world.folder.path().join("db-standby"), ..config.clone() };
    copy(&config.directory, &standby.directory);
    let name = dn(STAFF).child("CN", "u17");
    let events = [changed(17, &name, Some(2), attributes(USER, "u17"), &[])];
    assert_eq!(after(&world, &mut west, &config, &events).await.len(), 1);
    // the other one knows less, and takes the approval up
    world.rule("c", Verdict::Approve, EVER).await;
    let mut projector = world.open(&standby).await;
    projector.with(Engine::emit).await.unwrap();
    assert_eq!(reads_approved(&world).await.len(), 1);
    let status = projector.catch_up().await.unwrap();
    drop(projector);
    assert_eq!(wished(&world).await, [10, 11, 12, 13, 14, 17]);
    let passed = world.open(&config).await.catch_up().await.unwrap();
    assert_eq!((passed.digest, passed.moved_aside.len()), (status.digest, 1));
    assert_eq!(exists(world.folder.path(), "db-c."), 1 + usize::from(exists(world.folder.path(), "db-c.lock") > 0));
    assert_lasting(&world, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_emptied_on_purpose() {
    let (world, mut west, config) = three_units().await;
    assert_eq!(after(&world, &mut west, &config, &[]).await, []);
    let root = west.root.clone();
    let held = after(&world, &mut west, &config, &[deleted(10, &root)]).await;
    assert_eq!((held[0].leaving, held[0].bare.len()), (Some(1), 0));
    for (verdict, expires) in [(Verdict::Reject, EVER), (Verdict::Approve, OVER)] {
        assert_eq!(ruled(&world, &config, verdict, expires).await.len(), 1);
        assert_eq!(wished(&world).await, [10, 20, 21]);
    }
    assert_eq!(ruled(&world, &config, Verdict::Approve, EVER).await, []);
    assert_eq!(wished(&world).await, [20, 21]);
    assert_lasting(&world, &config).await;

    // filled and emptied once more, it is another matter, for this database and for a new one
    let newcomer = changed(11, &named(11, "A"), Some(2), user(11), &[]);
    assert_eq!(after(&world, &mut west, &config, &[newcomer]).await, []);
    assert_eq!(wished(&world).await, [11, 20, 21]);
    let held = after(&world, &mut west, &config, &[deleted(11, &root)]).await;
    assert_eq!(held[0].emptied, [guid(2)]);
    std::fs::remove_dir_all(&config.directory).unwrap();
    assert_eq!(after(&world, &mut west, &config, &[]).await[0].emptied, [guid(2)]);
    assert_eq!(wished(&world).await, [11, 20, 21]);
    assert_eq!(ruled(&world, &config, Verdict::Approve, EVER).await, []);
    assert_eq!(wished(&world).await, [20, 21]);
    assert_lasting(&world, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_container_that_is_emptied_holds_again() {
    let (world, mut west, config) = three_units().await;
    assert_eq!(after(&world, &mut west, &config, &[]).await, []);
    let root = west.root.clone();
    assert_eq!(after(&world, &mut west, &config, &[deleted(10, &root)]).await.len(), 1);
    world.rule("c", Verdict::Approve, EVER).await;
    let held = after(&world, &mut west, &config, &[moved(20, 4, "C"), moved(21, 1, "Elsewhere")]).await;
    assert_eq!((&held[0].emptied, held[0].leaving), (&vec![guid(2), guid(3)], Some(2)));
    assert_eq!(wished(&world).await, [10, 20, 21]);
    let held = after(&world, &mut west, &config, &[deleted(20, &root)]).await;
    assert_eq!((held[0].emptied.len(), held[0].bare.len(), held[0].leaving), (3, 1, Some(3)), "{held:?}");
    assert_eq!(ruled(&world, &config, Verdict::Approve, EVER).await, []);
    assert_eq!(wished(&world).await, [0; 0]);
    assert_lasting(&world, &config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_container_whose_release_alone_survived_is_released() {
    let (world, mut west, config) = three_units().await;
    assert_eq!(after(&world, &mut west, &config, &[]).await, []);
    let root = west.root.clone();
    assert_eq!(after(&world, &mut west, &config, &[deleted(10, &root)]).await.len(), 1);
    let kept = world.folder.path().join("kept");
    copy(&config.directory, &kept);
    world.rule("c", Verdict::Approve, EVER).await;
    let mut projector = world.open(&config).await;
    let holds = world.open_holds(&mut projector).await;
    assert!(projector.with(move |engine| engine.take_approvals(&holds, Timestamp::UNIX_EPOCH)).await.unwrap());
    drop(projector);
    std::fs::remove_dir_all(&config.directory).unwrap();
    std::fs::rename(&kept, &config.directory).unwrap();
    // whether it would still be in time does not matter any more
    assert_eq!(ruled_late(&world, &config).await, []);
    assert_eq!(wished(&world).await, [20, 21]);
    assert_lasting(&world, &config).await;
}

/// Opens the database with all approvals over.
async fn ruled_late(world: &World, config: &ProjectorConfig) -> Vec<Hold> {
    let mut projector = world.open(config).await;
    let emit = |engine: &mut Engine| {
        engine.rulings = crate::approval::Rulings::default();
        engine.emit().map(|()| engine.holds.clone())
    };
    let holds = projector.with(emit).await.unwrap();
    drop(projector);
    holds
}

#[tokio::test(flavor = "multi_thread")]
async fn any_cut_of_the_records_around_an_approval_ends_alike() {
    let (world, mut west, config) = shrunken(5, &[]).await;
    assert_eq!(ruled(&world, &config, Verdict::Approve, EVER).await, []);
    let events = [changed(16, &dn(STAFF).child("CN", "u16"), Some(2), attributes(USER, "u16"), &[])];
    assert_eq!(after(&world, &mut west, &config, &events).await, []);
    let live = world.open(&config).await.catch_up().await.unwrap();
    let records = world.records(west.stream.as_str()).await;
    for cut in 0..records.len() {
        let directory = world.folder.path().join(format!("db-{cut}"));
        let beside = ProjectorConfig { directory, ..config.clone() };
        let mut projector = world.open(&beside).await;
        let id = projector.positions()[0].0;
        projector.apply(id, Incoming::read(&records[..cut])).await.unwrap();
        projector.with(Engine::emit).await.unwrap();
        drop(projector);
        let status = world.open(&beside).await.catch_up().await.unwrap();
        assert_eq!((status.digest, status.held), (live.digest, Vec::new()), "cut at {cut}");
    }
    assert_eq!(reads_approved(&world).await.len(), 1);
}
