//! What guards hold, and what people decide about it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ops::RangeInclusive;
use std::time::Duration;

use common::{Lab, PATIENCE, Running, anchor, group, member, no_member, removed, text, user};
use forestsync_log::NewRecord;
use forestsync_provisioner::Status;
use forestsync_schemas::control::Verdict;
use forestsync_schemas::desired::{CloudClass, CloudValue, DesiredEvent};
use forestsync_schemas::outcomes::{HoldCause, Operation, OutcomeEvent};
use jiff::Timestamp;
use serde_json::json;

const DELETE: Operation = Operation::Delete;

fn users(numbers: RangeInclusive<u32>) -> Vec<DesiredEvent> {
    numbers.map(|n| user(n, &[])).collect()
}

fn leave(numbers: RangeInclusive<u32>) -> Vec<DesiredEvent> {
    numbers.map(|n| removed(n, CloudClass::User)).collect()
}

fn writes(numbers: RangeInclusive<u32>, operation: Operation) -> Vec<(u32, Operation)> {
    numbers.map(|n| (n, operation)).collect()
}

fn causes(status: &Status) -> Vec<HoldCause> {
    let mut causes: Vec<HoldCause> = status.held.iter().map(|held| held.cause).collect();
    causes.sort();
    causes
}

/// A tenant with this many users, whose guards let three of anything pass.
async fn lab_of(count: u32) -> Lab {
    let mut lab = Lab::new().await;
    for guard in [&mut lab.config.tenant.guard, &mut lab.config.tenant.disable_guard, &mut lab.config.tenant.upn_guard]
    {
        (guard.count, guard.minimum) = (3, 3);
    }
    lab.wish(users(1..=count)).await;
    assert_eq!(lab.settle().await.held_total, 0);
    lab
}

async fn idle_with(lab: &Lab, running: &Running, held: usize) -> Status {
    lab.idle(running).await;
    running.until(|s| s.idle && s.held_total == held).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_failed_and_is_held_then_is_tried_again_once_it_may_go() {
    let mut lab = lab_of(30).await;
    let id = lab.id(1).unwrap();
    lab.control.set_privileged(&id, true).unwrap();
    lab.wish(leave(1..=1)).await;
    let status = lab.settle().await;
    assert_eq!((status.quarantined_total, status.held_total), (1, 0));
    // the guard holds it with the others
    lab.wish(leave(2..=5)).await;
    let status = lab.settle().await;
    assert_eq!((status.quarantined_total, status.held_total), (0, 5), "{status:?}");
    // let go, it is said again that it fails, also by a ledger that is built anew
    lab.config.tenant.guard.count = 100;
    for is_gone in [false, true] {
        if is_gone {
            std::fs::remove_dir_all(&lab.config.directory).unwrap();
        }
        let status = lab.settle().await;
        assert_eq!((status.quarantined_total, status.held_total, lab.dump().users.len()), (1, 0, 26), "{is_gone}");
    }
    assert_eq!(lab.types(1).await.iter().filter(|t| **t == "ExportQuarantined").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_approved_goes_and_nothing_with_it() {
    let lab = lab_of(30).await;
    let running = lab.start().await;
    lab.wish(leave(1..=5)).await;
    idle_with(&lab, &running, 5).await;
    // three would be few enough for the guard
    lab.decide(Verdict::Approve, &writes(1..=2, DELETE), Timestamp::MAX).await;
    let status = idle_with(&lab, &running, 3).await;
    assert_eq!((lab.dump().users.len(), causes(&status)), (28, vec![HoldCause::Undecided; 3]));
    // nor do they go when the ledger is read again, or built anew
    running.end().await;
    for is_gone in [false, true] {
        if is_gone {
            std::fs::remove_dir_all(&lab.config.directory).unwrap();
        }
        let status = lab.settle().await;
        assert_eq!((lab.dump().users.len(), causes(&status)), (28, vec![HoldCause::Undecided; 3]), "{is_gone}");
    }
    lab.decide(Verdict::Approve, &writes(3..=5, DELETE), Timestamp::MAX).await;
    assert_eq!(lab.settle().await.held_total, 0);
    assert_eq!(lab.dump().users.len(), 25);
    // what was approved is not counted: three more are few enough
    lab.wish(leave(6..=8)).await;
    assert_eq!(lab.settle().await.held_total, 0);
    assert_eq!(lab.dump().users.len(), 22);
    lab.wish(leave(9..=9)).await;
    assert_eq!(lab.settle().await.held_total, 1, "those were counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_stays_until_somebody_decides_anew() {
    let lab = lab_of(30).await;
    lab.wish(leave(1..=4)).await;
    assert_eq!(lab.settle().await.held_total, 4);
    lab.decide(Verdict::Reject, &writes(1..=3, DELETE), Timestamp::MAX).await;
    lab.decide(Verdict::Reject, &writes(4..=4, DELETE), Timestamp::UNIX_EPOCH).await;
    let status = lab.settle().await;
    let expected = [HoldCause::Rejected, HoldCause::Rejected, HoldCause::Rejected, HoldCause::Lapsed];
    assert_eq!((lab.dump().users.len(), causes(&status)), (30, expected.to_vec()));
    assert!(status.held.iter().all(|h| h.detail.contains("anna") && h.detail.contains("ticket 4711")));
    // they do not stand in the way of others
    lab.wish(leave(5..=7)).await;
    assert_eq!(lab.settle().await.held_total, 4);
    assert_eq!(lab.dump().users.len(), 27);
    // one that came back and left again is another matter
    lab.wish(users(1..=1)).await;
    assert_eq!(lab.settle().await.held_total, 3);
    lab.wish(leave(1..=1)).await;
    let status = lab.settle().await;
    assert_eq!(causes(&status), [HoldCause::Guard, HoldCause::Rejected, HoldCause::Rejected, HoldCause::Lapsed]);
    lab.decide(Verdict::Approve, &writes(1..=4, DELETE), Timestamp::MAX).await;
    assert_eq!(lab.settle().await.held_total, 0);
    assert_eq!(lab.dump().users.len(), 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_came_too_late_or_for_another_wish_is_void() {
    let lab = lab_of(30).await;
    lab.decide(Verdict::Approve, &writes(1..=5, DELETE), Timestamp::MAX).await;
    lab.wish(leave(1..=5)).await;
    assert_eq!(lab.settle().await.held_total, 5, "approved before anybody wished it");
    lab.decide(Verdict::Approve, &writes(1..=5, DELETE), Timestamp::UNIX_EPOCH).await;
    assert_eq!(causes(&lab.settle().await), [HoldCause::Guard; 5]);
    lab.decide(Verdict::Approve, &writes(1..=5, Operation::Rename), Timestamp::MAX).await;
    assert_eq!(lab.settle().await.held_total, 5, "approved was something else");
    assert_eq!(lab.dump().users.len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_not_disabled_or_renamed_in_masses() {
    let lab = lab_of(30).await;
    let name = |n: u32| text(&format!("new{n}@emea.example"));
    for (operation, attribute) in [(Operation::Disable, "accountEnabled"), (Operation::Rename, "userPrincipalName")] {
        let value = |n: u32| if operation == Operation::Disable { CloudValue::Bool(false) } else { name(n) };
        let before = lab.property(1, attribute);
        let city = text(attribute);
        lab.wish((1..=4).map(|n| user(n, &[(attribute, value(n)), ("city", city.clone())])).collect()).await;
        let status = lab.settle().await;
        assert_eq!((causes(&status), status.held[0].operation), (vec![HoldCause::Guard; 4], operation));
        for n in 1..=4 {
            assert_eq!(lab.property(n, "city"), Some(json!(attribute)), "all else is written");
        }
        assert_eq!(lab.property(1, attribute), before);
        // a change of something else neither loses the decision nor makes one
        lab.decide(Verdict::Reject, &[(1, operation)], Timestamp::MAX).await;
        lab.decide(Verdict::Approve, &writes(2..=3, operation), Timestamp::MAX).await;
        lab.wish((1..=4).map(|n| user(n, &[(attribute, value(n)), ("city", text("Bern"))])).collect()).await;
        let status = lab.settle().await;
        assert_eq!(causes(&status), [HoldCause::Undecided, HoldCause::Rejected]);
        let written = |n: u32| lab.property(n, attribute) == Some(serde_json::to_value(value(n)).unwrap());
        assert_eq!([1, 2, 3, 4].map(written), [false, true, true, false]);
        assert_eq!([1, 4].map(|n| lab.property(n, "city")), [Some(json!("Bern")), Some(json!("Bern"))]);
        // what is not wished any more is not held any more
        lab.wish(vec![user(1, &[]), user(4, &[])]).await;
        assert_eq!(lab.settle().await.held_total, 0);
        // three others are few enough, since what was approved is not counted
        lab.wish((11..=13).map(|n| user(n, &[(attribute, value(n))])).collect()).await;
        assert_eq!(lab.settle().await.held_total, 0);
        lab.wish((14..=14).map(|n| user(n, &[(attribute, value(n))])).collect()).await;
        assert_eq!(lab.settle().await.held_total, 1);
        lab.wish((1..=30).map(|n| user(n, &[])).collect()).await;
        lab.decide(Verdict::Approve, &writes(1..=30, Operation::Rename), Timestamp::MAX).await;
        assert_eq!(lab.settle().await.held_total, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_stay_until_their_removal_is_approved() {
    let lab = lab_of(20).await;
    let mut wishes = vec![group(100)];
    wishes.extend((1..=20).map(|n| member(100, n)));
    lab.wish(wishes).await;
    lab.settle().await;
    lab.wish((1..=5).map(|n| no_member(100, n)).collect()).await;
    let status = lab.settle().await;
    assert_eq!((causes(&status), &status.held[0].anchor), (vec![HoldCause::Guard], &anchor(100)));
    lab.decide(Verdict::Reject, &[(100, Operation::RemoveMembers)], Timestamp::MAX).await;
    assert_eq!(causes(&lab.settle().await), [HoldCause::Rejected]);
    // later ones are another matter
    lab.wish(vec![no_member(100, 6)]).await;
    assert_eq!(causes(&lab.settle().await), [HoldCause::Rejected]);
    assert_eq!(lab.members(100, 1..=20), (1..=5).chain(7..=20).collect::<Vec<_>>());
    lab.decide(Verdict::Approve, &[(100, Operation::RemoveMembers)], Timestamp::MAX).await;
    assert_eq!(lab.settle().await.held_total, 0);
    assert_eq!(lab.members(100, 1..=20), (7..=20).collect::<Vec<_>>());
    // one was counted, so that two more are few enough, and a third one is not
    lab.wish(vec![no_member(100, 7), no_member(100, 8)]).await;
    assert_eq!(lab.settle().await.held_total, 0);
    lab.wish(vec![no_member(100, 9)]).await;
    assert_eq!(lab.settle().await.held_total, 1);
}

/// Three members of a group leave a tenant where users are deleted so much later.
async fn three_leave(grace: Duration) -> (Lab, Running) {
    let mut lab = lab_of(20).await;
    lab.config.tenant.grace = grace;
    lab.wish(vec![group(100), member(100, 1), member(100, 2), member(100, 3)]).await;
    lab.settle().await;
    let running = lab.start().await;
    lab.wish(leave(1..=3)).await;
    (lab, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_disabled_first() {
    let (mut lab, running) = Box::pin(three_leave(Duration::from_hours(1))).await;
    idle_with(&lab, &running, 0).await;
    for n in 1..=3 {
        assert_eq!(lab.property(n, "accountEnabled"), Some(json!(false)));
        assert_eq!(lab.types(n).await, ["ObjectProvisioned", "DeletionDeferred", "ObjectUpdated"]);
    }
    assert_eq!(lab.members(100, 1..=20), [1, 2, 3], "nothing else is taken from them");
    // a deferred deletion counts, and the guard holds the next one
    lab.wish(leave(4..=4)).await;
    let status = idle_with(&lab, &running, 1).await;
    assert_eq!((causes(&status), lab.property(4, "accountEnabled")), (vec![HoldCause::Guard], Some(json!(true))));
    lab.wish(vec![user(1, &[]), user(4, &[]), member(100, 1)]).await;
    idle_with(&lab, &running, 0).await;
    assert_eq!(lab.property(1, "accountEnabled"), Some(json!(true)), "who is back is as before");
    lab.decide(Verdict::Reject, &[(2, DELETE)], Timestamp::MAX).await;
    idle_with(&lab, &running, 1).await;
    running.end().await;
    // the promise is kept by a ledger that is built anew, whatever the option says now
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    lab.config.tenant.grace = Duration::ZERO;
    lab.settle().await;
    assert_eq!(lab.dump().users.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grace_comes_to_an_end() {
    let (lab, running) = Box::pin(three_leave(Duration::from_millis(1_500))).await;
    let count = |s: &Status| s.managed.get(&CloudClass::User).copied().unwrap_or_default();
    running.until(|s| count(s) == 17).await;
    idle_with(&lab, &running, 0).await;
    running.end().await;
    assert_eq!((lab.dump().users.len(), lab.members(100, 4..=20)), (17, Vec::new()));
    for n in 1..=3 {
        let types = lab.types(n).await;
        assert_eq!(types, ["ObjectProvisioned", "DeletionDeferred", "ObjectUpdated", "ObjectDeprovisioned"]);
    }
    let uncounted = |o: &OutcomeEvent| matches!(o, OutcomeEvent::ObjectDeprovisioned(e) if e.uncounted);
    assert_eq!(lab.outcomes().await.iter().filter(|o| uncounted(&o.event)).count(), 3, "each is counted once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_cannot_be_read_stops_everything_and_says_where() {
    let lab = lab_of(10).await;
    lab.wish(leave(1..=1)).await;
    let stream = "control.contoso".parse().unwrap();
    let mut writer = lab.log.writer(&stream).await.unwrap();
    writer.append(vec![NewRecord::new(Some("x"), b"{}".to_vec())]).await.unwrap();
    drop(writer);
    let Running { task, .. } = lab.start().await;
    let error = tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap().unwrap_err().to_string();
    assert!(error.contains("control.contoso") && error.contains('0'), "{error}");
    assert_eq!(lab.dump().users.len(), 10);
}
