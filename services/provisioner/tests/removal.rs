//! A whole configuration that is removed: what was shown goes, or is let go, and nothing else does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Lab, anchor, gone_with_configuration, group, member, removed, user, user_with_manager};
use forestsync_provisioner::CrashPoint;
use forestsync_schemas::control::{RemovedObjects, Verdict};
use forestsync_schemas::desired::{CloudClass, DesiredEvent};
use forestsync_schemas::outcomes::{HoldCause, Operation};
use jiff::Timestamp;

const ALL: RemovedObjects = RemovedObjects::Delete;

/// Users 1 to 12 and the groups 100 and 101 with all of them; the guard lets three of anything pass.
async fn lab() -> Lab {
    let mut lab = Lab::new().await;
    (lab.config.tenant.guard.count, lab.config.tenant.guard.minimum) = (3, 3);
    let mut wishes: Vec<DesiredEvent> = (1..=12).map(|n| user_with_manager(n, Some(12))).collect();
    wishes.extend([group(100), group(101)]);
    wishes.extend((1..=12).flat_map(|n| [member(100, n), member(101, n)]));
    lab.wish(wishes).await;
    assert_eq!(lab.settle().await.held_total, 0);
    lab
}

/// What the projector says of all of them once the configuration was removed.
fn all_gone(keep: bool) -> Vec<DesiredEvent> {
    let users = (1..=12).map(|n| gone_with_configuration(n, CloudClass::User, keep));
    users.chain([100, 101].map(|n| gone_with_configuration(n, CloudClass::Group, keep))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_goes_and_what_was_not_is_held() {
    let lab = lab().await;
    let running = lab.start().await;
    // user 12 came after the preview
    lab.remove_configuration(ALL, (1..=11).chain([100, 101])).await;
    lab.wish(all_gone(false)).await;
    lab.idle(&running).await;
    let status = running.until(|s| s.idle && s.held_total == 1).await;
    assert_eq!((status.held[0].anchor.clone(), status.held[0].cause), (anchor(12), HoldCause::Undecided));
    assert_eq!((lab.dump().users.len(), lab.dump().groups.len()), (1, 0));
    running.end().await;
    // nor does it go by a ledger that is read again, or built anew
    for is_gone in [false, true] {
        if is_gone {
            std::fs::remove_dir_all(&lab.config.directory).unwrap();
        }
        assert_eq!((lab.settle().await.held_total, lab.dump().users.len()), (1, 1), "{is_gone}");
    }
    lab.decide(Verdict::Approve, &[(12, Operation::Delete)], Timestamp::MAX).await;
    let status = lab.settle().await;
    assert_eq!((status.held_total, lab.dump().users.len()), (0, 0));
    assert_eq!(status.managed.values().sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_before_the_decision_is_heard_or_after_it_was_taken_back() {
    let lab = lab().await;
    lab.control.reset_counters();
    let running = lab.start().await;
    // few enough for the guard
    lab.wish((1..=2).map(|n| gone_with_configuration(n, CloudClass::User, false)).collect()).await;
    lab.idle(&running).await;
    assert_eq!(lab.tenant.counters().writes, 0);
    lab.remove_configuration(ALL, 1..=1).await;
    running.until(|s| s.held_total == 1 && s.idle && s.managed[&CloudClass::User] == 11).await;
    assert_eq!(lab.dump().users.len(), 11);
    lab.activate().await;
    lab.wish(vec![user_with_manager(1, Some(12)), user_with_manager(2, Some(12))]).await;
    running.until(|s| s.held_total == 0 && s.idle && s.managed[&CloudClass::User] == 12).await;
    running.end().await;
    // what was approved together with the removal is not any more
    lab.wish((1..=11).map(|n| removed(n, CloudClass::User)).collect()).await;
    assert_eq!((lab.settle().await.held_total, lab.dump().users.len()), (11, 12));
    assert_eq!(lab.types(1).await.iter().filter(|kind| **kind == "ObjectRestored").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_released_stays_as_it_is_and_is_found_again() {
    let lab = lab().await;
    // some are held, and must not be deleted by a later decision
    lab.wish((1..=5).map(|n| removed(n, CloudClass::User)).collect()).await;
    assert_eq!(lab.settle().await.held_total, 5);
    let before = lab.dump();
    lab.control.reset_counters();
    let running = lab.start().await;
    lab.remove_configuration(RemovedObjects::Release, []).await;
    let rest = all_gone(true).into_iter().skip(5);
    lab.wish(rest.collect()).await;
    let status = running.until(|s| s.idle && s.managed.values().sum::<u64>() == 0).await;
    assert_eq!((status.held_total, lab.tenant.counters().writes), (0, 0));
    assert_eq!(lab.dump(), before);
    assert_eq!(lab.relinquished(1).await.unwrap().code, "released");
    assert_eq!(lab.relinquished(100).await.unwrap().code, "released");
    running.end().await;
    // again in force, each is the same object as before
    lab.activate().await;
    let mut wishes: Vec<DesiredEvent> = (1..=12).map(|n| user_with_manager(n, Some(12))).collect();
    wishes.extend([group(100), group(101)]);
    wishes.extend((1..=12).flat_map(|n| [member(100, n), member(101, n)]));
    lab.wish(wishes).await;
    let status = lab.settle().await;
    assert_eq!((lab.dump(), status.managed[&CloudClass::User]), (before, 12));
    lab.assert_single_creations();
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_disabled_before_they_go_where_that_is_configured() {
    let mut lab = lab().await;
    lab.config.tenant.grace = Duration::from_hours(24);
    lab.remove_configuration(ALL, (1..=12).chain([100, 101])).await;
    lab.wish(all_gone(false)).await;
    let status = lab.settle().await;
    assert_eq!((status.held_total, lab.dump().users.len(), lab.dump().groups.len()), (0, 12, 0));
    assert!(lab.dump().users.iter().all(|user| user.properties["accountEnabled"] == false));
    // the brake: released, nobody is deleted when the time comes
    lab.remove_configuration(RemovedObjects::Release, []).await;
    let status = lab.settle().await;
    assert_eq!((status.managed.values().sum::<u64>(), lab.dump().users.len()), (0, 12));
    assert_eq!(lab.relinquished(7).await.unwrap().code, "released");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_point_of_it_deletes_nothing_twice_and_forgets_nothing() {
    for point in
        [CrashPoint::IntentDurable, CrashPoint::Answered, CrashPoint::OutcomeAppended, CrashPoint::LedgerUpdated]
    {
        let lab = lab().await;
        lab.remove_configuration(ALL, (1..=12).chain([100, 101])).await;
        lab.wish(all_gone(false)).await;
        assert!(lab.crash(point, 0).await, "{point:?}");
        let status = lab.settle().await;
        assert_eq!((status.held_total, lab.dump().users.len(), lab.dump().groups.len()), (0, 0, 0), "{point:?}");
        let types = lab.types(1).await;
        assert_eq!(types.iter().filter(|kind| **kind == "ObjectDeprovisioned").count(), 1, "{point:?}: {types:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_for_another_reason_goes_if_it_was_shown() {
    let lab = lab().await;
    lab.wish(vec![user(20, &[])]).await;
    lab.settle().await;
    lab.wish((1..=5).map(|n| removed(n, CloudClass::User)).collect()).await;
    lab.decide(Verdict::Reject, &[(1, Operation::Delete)], Timestamp::MAX).await;
    assert_eq!(lab.settle().await.held_total, 5);
    // of several decisions the last one counts
    lab.remove_configuration(ALL, 1..=4).await;
    let status = lab.settle().await;
    assert_eq!((status.held_total, lab.dump().users.len()), (1, 9));
    assert_eq!(status.held[0].anchor, anchor(5));
}
