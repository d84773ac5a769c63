//! Objects that are let go instead of deleted: nothing of them is written any more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Lab, group, kept, member, no_member, removed, text, user, user_with_manager};
use forestsync_provisioner::CrashPoint;
use forestsync_schemas::desired::{CloudClass, DesiredEvent, RemovalReason};
use forestsync_schemas::outcomes::OutcomeEvent;

const POINTS: [CrashPoint; 4] =
    [CrashPoint::IntentDurable, CrashPoint::Answered, CrashPoint::OutcomeAppended, CrashPoint::LedgerUpdated];

fn let_go(n: u32) -> DesiredEvent {
    kept(n, CloudClass::User, RemovalReason::OutOfScope)
}

fn users(range: std::ops::RangeInclusive<u32>) -> Vec<DesiredEvent> {
    range.map(|n| user(n, &[])).collect()
}

/// Another installation for the same tenant.
async fn neighbour(lab: &Lab) -> Lab {
    let mut other = Lab::new().await;
    other.config.tenant = lab.config.tenant.clone();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_let_go_stays_as_it_is() {
    let lab = Lab::new().await;
    let mut wishes: Vec<DesiredEvent> = (1..=20).map(|n| user_with_manager(n, Some(20))).collect();
    wishes.extend([group(100), group(101)]);
    wishes.extend((1..=20).flat_map(|n| [member(100, n), member(101, n)]));
    lab.wish(wishes).await;
    lab.settle().await;
    let (before, managers) = (lab.dump(), lab.dump().users.iter().filter(|u| u.manager.is_some()).count());
    assert_eq!(managers, 20);
    lab.control.reset_counters();
    // far more than the guard lets pass, and a removal of a membership that comes too late
    let mut wishes = vec![kept(1, CloudClass::User, RemovalReason::HandedOver)];
    wishes.extend((2..=15).map(let_go));
    wishes.push(kept(101, CloudClass::Group, RemovalReason::OutOfScope));
    wishes.push(no_member(100, 2));
    lab.wish(wishes).await;
    let status = lab.settle().await;
    assert_eq!((status.held_total, lab.tenant.counters().writes), (0, 0));
    assert_eq!(lab.dump(), before);
    assert_eq!((status.managed[&CloudClass::User], status.managed[&CloudClass::Group]), (5, 1));
    assert_eq!(lab.relinquished(1).await.unwrap().code, "handed_over");
    assert_eq!(lab.relinquished(2).await.unwrap().code, "kept");
    assert_eq!(lab.types(101).await.last(), Some(&"ObjectRelinquished"));
    // the directory forgets the memberships, and new ones go on
    let mut wishes: Vec<DesiredEvent> = (1..=15).map(|n| no_member(100, n)).collect();
    wishes.extend([no_member(100, 20), no_member(101, 20)]);
    lab.wish(wishes).await;
    lab.settle().await;
    assert_eq!(lab.members(100, 1..=20), (1..=19).collect::<Vec<_>>());
    assert_eq!(lab.members(101, 1..=20), (1..=20).collect::<Vec<_>>());
    // whoever lost the ledger learns the same
    let said = lab.outcomes().await.len();
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    lab.control.reset_counters();
    let again = lab.settle().await;
    assert_eq!((lab.tenant.counters().writes, lab.outcomes().await.len()), (0, said));
    assert_eq!((again.managed[&CloudClass::User], again.managed[&CloudClass::Group]), (5, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_was_held_is_not_done_later() {
    let lab = Lab::new().await;
    lab.wish(users(1..=20)).await;
    lab.settle().await;
    lab.wish((1..=10).map(|n| removed(n, CloudClass::User)).collect()).await;
    assert_eq!(lab.settle().await.held_total, 10);
    lab.wish((1..=9).map(let_go).collect()).await;
    let status = lab.settle().await;
    assert_eq!((status.held_total, status.managed[&CloudClass::User]), (0, 10));
    assert_eq!(lab.types(1).await, ["ObjectProvisioned", "ExportHeld", "ExportReleased", "ObjectRelinquished"]);
    assert_eq!((lab.id(10), lab.dump().users.len()), (None, 19), "the one that is left may go");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_configuration_takes_over_and_hands_back() {
    let lab = Lab::new().await;
    lab.wish(users(1..=5)).await;
    lab.settle().await;
    let id = lab.id(1);
    lab.wish(vec![kept(1, CloudClass::User, RemovalReason::HandedOver)]).await;
    let other = neighbour(&lab).await;
    other.wish(vec![user(1, &[("city", text("Bern"))])]).await;
    // the other may come first
    other.settle().await;
    lab.settle().await;
    assert_eq!(other.types(1).await, ["ObjectAdopted", "ObjectUpdated"]);
    other.wish(vec![kept(1, CloudClass::User, RemovalReason::HandedOver)]).await;
    other.settle().await;
    lab.wish(users(1..=1)).await;
    lab.settle().await;
    assert_eq!(lab.types(1).await, ["ObjectProvisioned", "ObjectRelinquished", "ObjectAdopted", "ObjectUpdated"]);
    assert_eq!((lab.id(1), lab.property(1, "city")), (id, None));
    lab.assert_single_creations();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_back_before_it_was_let_go_is_read_anew() {
    let lab = Lab::new().await;
    lab.wish(users(1..=5)).await;
    lab.settle().await;
    let other = neighbour(&lab).await;
    other.wish(vec![user(1, &[("city", text("Bern"))])]).await;
    other.settle().await;
    lab.wish(vec![let_go(1), user(1, &[])]).await;
    lab.settle().await;
    assert_eq!(lab.property(1, "city"), None);
    // and once only
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    lab.control.reset_counters();
    lab.settle().await;
    assert_eq!(lab.tenant.counters().writes, 0);
    assert_eq!(lab.types(1).await, ["ObjectProvisioned", "ObjectAdopted", "ObjectUpdated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_let_go_is_not_deleted_afterwards() {
    let lab = Lab::new().await;
    lab.wish(users(1..=5)).await;
    lab.settle().await;
    lab.wish(vec![let_go(1)]).await;
    lab.settle().await;
    lab.wish(vec![removed(1, CloudClass::User), removed(9, CloudClass::User)]).await;
    lab.settle().await;
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    lab.settle().await;
    assert_eq!(lab.dump().users.len(), 5);
    // one that was never ours is nobody's business either
    let other = neighbour(&lab).await;
    other.wish(vec![let_go(2)]).await;
    other.settle().await;
    other.wish(vec![removed(2, CloudClass::User)]).await;
    other.settle().await;
    assert!(lab.id(2).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_of_unknown_end_is_let_go_as_well() {
    let lab = Lab::new().await;
    // it is made, and the answer is lost, as are those to the look-ups
    lab.control.fail_next("POST", "users", 500, 1, true);
    lab.control.fail_next("GET", "users?", 500, u64::MAX, false);
    lab.wish(users(1..=1)).await;
    let running = lab.start().await;
    while lab.failures(1).await.is_empty() {
        tokio::task::yield_now().await;
    }
    running.end().await;
    lab.control.fail_next("GET", "users?", 500, 0, false);
    lab.wish(vec![let_go(1)]).await;
    lab.settle().await;
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    lab.settle().await;
    assert_eq!(lab.dump().users.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_joined_goes_like_any_other() {
    let lab = Lab::new().await;
    lab.wish(users(1..=10)).await;
    lab.settle().await;
    let joined = |n| match removed(n, CloudClass::User) {
        DesiredEvent::ObjectRemoved(mut e) => {
            e.reason = RemovalReason::Joined;
            DesiredEvent::ObjectRemoved(e)
        }
        other => other,
    };
    lab.wish(vec![joined(1)]).await;
    lab.settle().await;
    assert_eq!((lab.id(1), lab.types(1).await.last()), (None, Some(&"ObjectDeprovisioned")));
    lab.wish((2..=6).map(joined).collect()).await;
    assert_eq!(lab.settle().await.held_total, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn dies_while_letting_go() {
    for point in POINTS {
        let lab = Lab::new().await;
        let mut wishes = users(1..=30);
        wishes.push(group(100));
        wishes.extend((1..=30).map(|n| member(100, n)));
        lab.wish(wishes).await;
        lab.settle().await;
        // a deletion begins and dies, then it is to stay
        lab.wish(vec![removed(30, CloudClass::User)]).await;
        lab.crash(CrashPoint::IntentDurable, 0).await;
        lab.wish((20..=30).map(let_go).collect()).await;
        let mut after = 0;
        while lab.crash(point, after).await {
            after += 1;
            assert!(after < 50, "{point:?} makes no progress");
        }
        assert_eq!(lab.dump().users.len(), 30, "{point:?}");
        assert!(lab.members(100, 1..=30).len() >= 29, "{point:?}");
        let all = lab.outcomes().await;
        let let_go = all.iter().filter(|o| matches!(o.event, OutcomeEvent::ObjectRelinquished(_)));
        assert_eq!(let_go.count(), 11, "{point:?}: each once");
        std::fs::remove_dir_all(&lab.config.directory).unwrap();
        lab.control.reset_counters();
        let status = lab.settle().await;
        assert_eq!((lab.tenant.counters().writes, status.managed[&CloudClass::User]), (0, 19), "{point:?}");
    }
}
