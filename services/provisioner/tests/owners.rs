//! Owners of groups: one of ours, others left alone, never none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Lab, anchor, group_with_owner, kept, member, removed, user};
use forestsync_practice::tenant::MissingMember;
use forestsync_provisioner::CrashPoint;
use forestsync_schemas::desired::{CloudClass, DesiredEvent, RemovalReason};
use forestsync_schemas::outcomes::{OutcomeEvent, OwnerChanged};

const POINTS: [CrashPoint; 4] =
    [CrashPoint::IntentDurable, CrashPoint::Answered, CrashPoint::OutcomeAppended, CrashPoint::LedgerUpdated];

fn users(range: std::ops::RangeInclusive<u32>) -> Vec<DesiredEvent> {
    range.map(|n| user(n, &[])).collect()
}

/// A tenant with users and a group that has an owner.
async fn owned(owner: u32) -> Lab {
    let lab = Lab::new().await;
    let mut wishes = users(1..=5);
    wishes.extend([group_with_owner(100, Some(owner)), member(100, 5)]);
    lab.wish(wishes).await;
    lab.settle().await;
    lab
}

/// Another installation for the same tenant, which makes this user an owner of the same group.
async fn neighbour(lab: &Lab, owner: u32) -> Lab {
    let mut other = Lab::new().await;
    other.config.tenant = lab.config.tenant.clone();
    let mut wishes = users(1..=5);
    wishes.push(group_with_owner(100, Some(owner)));
    other.wish(wishes).await;
    other.settle().await;
    other
}

async fn changes(lab: &Lab) -> Vec<OwnerChanged> {
    let all = lab.outcomes().await.into_iter();
    all.filter_map(|o| if let OutcomeEvent::OwnerChanged(e) = o.event { Some(e) } else { None }).collect()
}

fn change(before: Option<u32>, after: Option<u32>) -> OwnerChanged {
    OwnerChanged { before: before.map(anchor), after: after.map(anchor) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_owner_comes_before_the_old_one_goes() {
    let lab = owned(1).await;
    assert_eq!((lab.owners(100, 1..=5), lab.members(100, 1..=5)), (vec![1], vec![5]));
    neighbour(&lab, 4).await;
    assert_eq!(lab.owners(100, 1..=5), [1, 4]);
    lab.control.reset_counters();
    lab.wish(vec![group_with_owner(100, Some(2))]).await;
    lab.settle().await;
    assert_eq!(lab.owners(100, 1..=5), [2, 4]);
    let writes: Vec<&str> = lab.control.writes().iter().rev().take(2).map(|w| w.operation).collect();
    assert_eq!(writes, ["group.owner.remove", "group.owner.add"]);
    assert_eq!(changes(&lab).await, [change(None, Some(1)), change(None, Some(2)), change(Some(1), Some(2))]);
    // it is not taken away without another one
    lab.wish(vec![group_with_owner(100, None)]).await;
    lab.settle().await;
    assert_eq!(lab.owners(100, 1..=5), [2, 4]);
    assert_eq!(changes(&lab).await.last(), Some(&change(Some(1), Some(2))));
    assert_eq!(lab.tenant.counters().writes_without_effect, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_not_there_yet_is_waited_for() {
    let lab = Lab::new().await;
    lab.wish(vec![group_with_owner(100, Some(1)), user(5, &[]), member(100, 5)]).await;
    let status = lab.settle().await;
    assert_eq!((lab.owners(100, 1..=5), lab.members(100, 1..=5)), (vec![], vec![5]));
    assert_eq!(status.quarantined_total, 0);
    lab.wish(users(1..=1)).await;
    lab.settle().await;
    assert_eq!(lab.owners(100, 1..=5), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_stays_until_there_is_another_one() {
    let lab = owned(1).await;
    lab.control.reset_counters();
    lab.wish(vec![group_with_owner(100, None)]).await;
    assert_eq!(lab.settle().await.quarantined_total, 0);
    assert_eq!((lab.tenant.counters().writes, lab.owners(100, 1..=5)), (0, vec![1]));
    lab.wish(vec![group_with_owner(100, Some(2))]).await;
    assert_eq!(lab.settle().await.quarantined_total, 0);
    assert_eq!(lab.owners(100, 1..=5), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_others_made_or_took_is_no_failure() {
    for missing in [MissingMember::NotFound, MissingMember::BadRequest] {
        let lab = owned(1).await;
        lab.knobs(|k| k.missing_member = missing);
        let other = neighbour(&lab, 1).await;
        assert_eq!(changes(&other).await, [change(None, Some(1))]);
        other.wish(vec![group_with_owner(100, Some(3))]).await;
        other.settle().await;
        assert_eq!(lab.owners(100, 1..=5), [3]);
        lab.wish(vec![group_with_owner(100, Some(2))]).await;
        let status = lab.settle().await;
        assert_eq!((lab.owners(100, 1..=5), status.quarantined_total), (vec![2, 3], 0));
        assert!(lab.failures(100).await.is_empty() && other.failures(100).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_answer_did_is_looked_up() {
    let lab = owned(1).await;
    lab.control.fail_next("POST", "owners", 500, 1, true);
    lab.control.fail_next("DELETE", "owners", 500, 1, true);
    lab.control.reset_counters();
    lab.wish(vec![group_with_owner(100, Some(2))]).await;
    lab.settle().await;
    assert_eq!((lab.owners(100, 1..=5), lab.tenant.counters().writes), (vec![2], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_goes_or_is_let_go_leaves_the_group_alone() {
    let lab = owned(1).await;
    lab.wish(vec![kept(1, CloudClass::User, RemovalReason::OutOfScope), group_with_owner(100, None)]).await;
    let status = lab.settle().await;
    assert_eq!((lab.owners(100, 1..=5), status.quarantined_total), (vec![1], 0));
    lab.wish(vec![group_with_owner(100, Some(2))]).await;
    lab.settle().await;
    assert_eq!(lab.owners(100, 1..=5), [1, 2]);
    lab.wish(vec![removed(2, CloudClass::User), group_with_owner(100, Some(3))]).await;
    lab.settle().await;
    assert_eq!((lab.id(2), lab.owners(100, [1, 3, 4, 5])), (None, vec![1, 3]));
    // one that is brought back owns it no more
    lab.wish(users(2..=2)).await;
    lab.settle().await;
    assert_eq!(lab.owners(100, 1..=5), [1, 3]);
}

/// A removal that finds no owner because the user is being deleted took nothing away: the tenant restores a user with what
/// it owned.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_deleted_before_it_could_be_taken_away_is_taken_away_when_it_is_back() {
    for status in [404, 500] {
        let lab = owned(1).await;
        lab.control.fail_next("DELETE", "owners", status, 1, false);
        lab.wish(vec![removed(1, CloudClass::User), group_with_owner(100, Some(2))]).await;
        lab.settle().await;
        assert_eq!((lab.id(1), lab.owners(100, 2..=5)), (None, vec![2]));
        // the user may have been gone before the removal was tried
        lab.control.fail_next("DELETE", "owners", status, 0, false);
        lab.wish(users(1..=1)).await;
        let status = lab.settle().await;
        assert_eq!((lab.owners(100, 1..=5), status.quarantined_total), (vec![2], 0));
        assert_eq!(changes(&lab).await.last(), Some(&change(Some(1), Some(2))));
    }
}

/// An owner that is deleted leaves the group as its member first: the group gets to that, though what became of the owner is
/// not known before it is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_removal_was_not_answered_leaves_as_a_member() {
    let lab = owned(1).await;
    lab.wish(vec![member(100, 1)]).await;
    lab.settle().await;
    lab.control.fail_next("DELETE", "owners", 500, 1, true);
    lab.wish(vec![group_with_owner(100, Some(2)), common::no_member(100, 1), removed(1, CloudClass::User)]).await;
    lab.settle().await;
    assert_eq!((lab.id(1), lab.owners(100, 2..=5), lab.members(100, 2..=5)), (None, vec![2], vec![5]));
    assert!(lab.tenant.counters().writes < 30, "{:?}", lab.tenant.counters());
}

/// The same beside an owner that was let go, and will not be back.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_former_owners_any_may_be_back_first() {
    let lab = owned(1).await;
    lab.wish(vec![kept(1, CloudClass::User, RemovalReason::OutOfScope), group_with_owner(100, Some(2))]).await;
    lab.settle().await;
    lab.control.fail_next("DELETE", "owners", 404, 1, false);
    lab.wish(vec![removed(2, CloudClass::User), group_with_owner(100, Some(3))]).await;
    lab.settle().await;
    assert_eq!((lab.id(2), lab.owners(100, [1, 3, 4, 5])), (None, vec![1, 3]));
    // the user may have been gone before the removal was tried
    lab.control.fail_next("DELETE", "owners", 404, 0, false);
    lab.wish(users(2..=2)).await;
    lab.settle().await;
    assert_eq!(lab.owners(100, 1..=5), [1, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_made_anew_is_set_anew() {
    let lab = Lab::with(|o| o.knobs.deleted_holds_immutable_id = false).await;
    let mut wishes = users(1..=10);
    wishes.push(group_with_owner(100, Some(1)));
    lab.wish(wishes).await;
    lab.settle().await;
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    lab.settle().await;
    lab.control.fail_next("POST", "restore", 404, u64::MAX, false);
    lab.knobs(|k| k.visibility.filters = std::time::Duration::from_hours(1));
    lab.wish(users(1..=1)).await;
    lab.settle().await;
    let dump = lab.dump();
    assert!(dump.group(&anchor(100).unique_name()).unwrap().owners.contains(&lab.id(1).unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn dies_while_owners_change() {
    for point in POINTS {
        let lab = Lab::new().await;
        let mut first = users(1..=5);
        first.extend((100..=110).map(|n| group_with_owner(n, Some(1))));
        let to = |owner| (100..=110).map(move |n| group_with_owner(n, owner)).collect::<Vec<_>>();
        let mut deaths = 0;
        for wishes in [first, to(Some(2)), to(Some(3)), to(None), to(Some(1))] {
            lab.wish(wishes).await;
            let mut after = 0;
            while lab.crash(point, after).await {
                deaths += 1;
                after = (after + 1) % 3;
                assert!(deaths < 200, "{point:?} makes no progress");
            }
        }
        // one of the five steps asks for nothing, and one append may carry all of another
        assert!(deaths >= 4, "{point:?} was passed {deaths} times only");
        for n in 100..=110 {
            assert_eq!(lab.owners(n, 1..=5), [1], "{point:?}");
        }
        std::fs::remove_dir_all(&lab.config.directory).unwrap();
        lab.control.reset_counters();
        lab.settle().await;
        assert_eq!(lab.tenant.counters().writes, 0, "{point:?}");
    }
}
