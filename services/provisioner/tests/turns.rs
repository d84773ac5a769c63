//! Two folders that take turns on one log, as a service and its stand-by do: each ledger is older than the log when its
//! turn comes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Lab, anchor, group, group_with_owner, kept, member, no_member, removed, text, user, user_with_manager};
use forestsync_provisioner::CrashPoint;
use forestsync_schemas::desired::{CloudClass, DesiredEvent, RemovalReason};
use forestsync_schemas::outcomes::Operation;

const POINTS: [CrashPoint; 4] =
    [CrashPoint::IntentDurable, CrashPoint::Answered, CrashPoint::OutcomeAppended, CrashPoint::LedgerUpdated];

/// The other folder's turn; each begins as its owner left it.
fn swap(lab: &mut Lab) {
    let name = if lab.config.directory.ends_with("provisioner") { "standby" } else { "provisioner" };
    lab.config.directory.set_file_name(name);
}

fn users(numbers: std::ops::RangeInclusive<u32>) -> Vec<DesiredEvent> {
    numbers.map(|n| user(n, &[])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ledgers_that_take_turns_write_nothing_twice() {
    for point in POINTS {
        let mut lab = Lab::new().await;
        // the first one dies in the middle again and again, and the other goes on from there, with what it knew last
        let city = |name: &str| (1..=20).map(|n| user(n, &[("city", text(name))])).collect::<Vec<_>>();
        let mut begin: Vec<DesiredEvent> = (1..=40).map(|n| user_with_manager(n, Some(1 + n % 7))).collect();
        begin.extend([group(100), group(101)]);
        begin.extend((1..=40).map(|n| member(100, n)));
        let mut middle = city("Bern");
        middle.extend((1..=5).map(|n| no_member(100, n)).chain((36..=40).map(|n| removed(n, CloudClass::User))));
        let mut end = city("Basel");
        end.extend((1..=3).map(|n| member(100, n)).chain((38..=40).map(|n| user_with_manager(n, Some(20)))));
        end.push(member(101, 38));
        let mut deaths = 0;
        for wishes in [begin, middle, end] {
            lab.wish(wishes).await;
            let mut after = 0;
            while lab.crash(point, after).await {
                deaths += 1;
                after = (after + 1) % 3;
                assert!(deaths < 200, "{point:?} makes no progress");
                swap(&mut lab);
            }
            swap(&mut lab);
        }
        assert!(deaths >= 6, "{point:?} was passed {deaths} times only");
        let settled = [lab.settle().await, {
            swap(&mut lab);
            lab.settle().await
        }];
        assert_eq!((&settled[0].managed, &settled[0].outcomes), (&settled[1].managed, &settled[1].outcomes));
        assert_eq!(settled[0].held_total + settled[0].quarantined_total, 0);
        assert_eq!(lab.dump().users.len(), 38, "{point:?}");
        // an object that was removed is back without its memberships, for no record names them
        assert_eq!(lab.members(100, 1..=40), (1..=3).chain(6..=35).collect::<Vec<_>>(), "{point:?}");
        assert_eq!(lab.members(101, 1..=40), [38]);
        for n in 1..=20 {
            assert_eq!(lab.property(n, "city"), Some("Basel".into()));
        }
        for n in 38..=40 {
            assert_eq!(lab.dump().user(anchor(n).as_str()).unwrap().manager, lab.id(20));
        }
        lab.assert_single_creations();
        // neither has anything to put right
        lab.control.reset_counters();
        for _ in 0..2 {
            swap(&mut lab);
            lab.settle().await;
        }
        assert_eq!(lab.tenant.counters().writes, 0, "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_slept_takes_nothing_back() {
    let mut lab = Lab::new().await;
    let mut wishes = users(1..=20);
    wishes.push(group(100));
    wishes.extend((1..=20).map(|n| member(100, n)));
    lab.wish(wishes).await;
    lab.settle().await;
    // the first one is about to give city and to delete, and dies with its intents durable and nothing sent
    lab.wish((1..=5).map(|n| user(n, &[("city", text("Bern"))])).collect()).await;
    assert!(lab.crash(CrashPoint::IntentDurable, 0).await);
    lab.wish(vec![removed(6, CloudClass::User)]).await;
    assert!(lab.crash(CrashPoint::IntentDurable, 0).await);
    // meanwhile all of it is done and undone by the other
    swap(&mut lab);
    lab.settle().await;
    assert_eq!(lab.id(6), None);
    let mut back: Vec<DesiredEvent> = (1..=5).map(|n| user(n, &[("city", text("Basel"))])).collect();
    back.extend([user(6, &[]), member(100, 6), user(21, &[])]);
    lab.wish(back).await;
    lab.settle().await;
    let before = lab.dump();
    let outcomes = lab.outcomes().await.len();
    lab.control.reset_counters();
    swap(&mut lab);
    let status = lab.settle().await;
    assert_eq!((lab.tenant.counters().writes, status.held_total), (0, 0));
    assert_eq!(lab.dump().users.len(), before.users.len());
    for n in 1..=5 {
        assert_eq!(lab.property(n, "city"), Some("Basel".into()));
    }
    assert_eq!(lab.members(100, 1..=21), (1..=20).collect::<Vec<_>>());
    assert_eq!(lab.outcomes().await.len(), outcomes, "what the other did is not told again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_counts_what_the_other_removed() {
    let mut lab = Lab::new().await;
    let mut wishes = users(1..=50);
    wishes.push(group(100));
    wishes.extend((1..=30).map(|n| member(100, n)));
    lab.wish(wishes).await;
    lab.settle().await;
    let first = lab.config.directory.clone();
    // the other removes as much as the guard allows: ten members, and ten users that are in the group no more
    swap(&mut lab);
    lab.wish((1..=10).map(|n| no_member(100, n)).collect()).await;
    lab.settle().await;
    lab.wish((1..=10).map(|n| removed(n, CloudClass::User)).collect()).await;
    assert_eq!(lab.settle().await.held_total, 0);
    assert_eq!((lab.dump().users.len(), lab.members(100, 1..=50).len()), (40, 20));
    // the first one comes back with what it knew, a third one with nothing
    lab.wish((11..=15).map(|n| no_member(100, n)).chain([removed(50, CloudClass::User)]).collect()).await;
    for directory in [first.clone(), first.with_file_name("third")] {
        lab.config.directory = directory;
        let status = lab.settle().await;
        let held: Vec<_> = status.held.iter().map(|held| (held.anchor.clone(), held.operation)).collect();
        assert_eq!(status.held_total, 2, "{held:?}");
        assert!(held.contains(&(anchor(100), Operation::RemoveMembers)), "{held:?}");
        assert!(held.contains(&(anchor(50), Operation::Delete)), "{held:?}");
        assert_eq!((lab.dump().users.len(), lab.members(100, 1..=50).len()), (40, 20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_that_end_with_a_member_are_no_removals_of_members() {
    let mut lab = Lab::new().await;
    let mut wishes = users(1..=50);
    wishes.push(group(100));
    wishes.extend((1..=30).map(|n| member(100, n)));
    lab.wish(wishes).await;
    lab.settle().await;
    lab.wish((1..=10).map(|n| removed(n, CloudClass::User)).collect()).await;
    assert_eq!(lab.settle().await.held_total, 0);
    assert_eq!(lab.members(100, 1..=50).len(), 20);
    // a ledger that is folded anew knows that as well
    swap(&mut lab);
    lab.wish((11..=15).map(|n| no_member(100, n)).collect()).await;
    assert_eq!(lab.settle().await.held_total, 0);
    assert_eq!(lab.members(100, 1..=50).len(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_nobody_told_of_does_not_stay() {
    let mut lab = Lab::new().await;
    lab.wish(users(1..=3).into_iter().chain([group_with_owner(100, Some(1))]).collect()).await;
    lab.settle_as_service().await;
    // the first one makes another user the owner and dies without a word
    lab.wish(vec![group_with_owner(100, Some(2))]).await;
    assert!(lab.crash(CrashPoint::Answered, 0).await);
    assert_eq!(lab.owners(100, 1..=3), [1, 2]);
    swap(&mut lab);
    lab.wish(vec![group_with_owner(100, Some(3))]).await;
    lab.settle_as_service().await;
    assert_eq!(lab.owners(100, 1..=3), [3]);
    // the first one finds its intent, and that all of it is over
    swap(&mut lab);
    lab.control.reset_counters();
    lab.settle_as_service().await;
    assert_eq!((lab.owners(100, 1..=3), lab.tenant.counters().writes), (vec![3], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_let_go_stays_whoever_takes_over() {
    let mut lab = Lab::new().await;
    lab.wish(users(1..=20).into_iter().chain([group(100), member(100, 1), member(100, 2)]).collect()).await;
    lab.settle_as_service().await;
    // the first one is about to delete a user, and dies before; then both are to stay
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    assert!(lab.crash(CrashPoint::IntentDurable, 0).await);
    let before = lab.dump();
    swap(&mut lab);
    lab.wish((1..=2).map(|n| kept(n, CloudClass::User, RemovalReason::OutOfScope)).collect()).await;
    lab.control.reset_counters();
    for _ in 0..2 {
        lab.settle_as_service().await;
        swap(&mut lab);
    }
    assert_eq!((lab.tenant.counters().writes, lab.dump() == before), (0, true));
    assert_eq!(lab.types(2).await, ["ObjectProvisioned", "ObjectRelinquished"]);
    // they come back, are found, and are ours in every ledger
    lab.wish(vec![user(1, &[("city", text("Bern"))]), user(2, &[]), member(100, 1)]).await;
    for _ in 0..2 {
        lab.settle_as_service().await;
        swap(&mut lab);
    }
    assert_eq!((lab.property(1, "city"), lab.members(100, 1..=20)), (Some("Bern".into()), vec![1, 2]));
    assert_eq!(lab.types(2).await, ["ObjectProvisioned", "ObjectRelinquished", "ObjectAdopted"]);
}
