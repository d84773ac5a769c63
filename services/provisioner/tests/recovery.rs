//! A ledger that is gone is folded anew from the outcomes; where they are gone too, from the tenant, by anchors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Lab, anchor, group_with_owner, member, no_member, removed, text, user, user_with_manager};
use forestsync_schemas::desired::{CloudClass, DesiredEvent};
use serde_json::json;

/// A tenant with a history: 40 users with managers, three groups, changes, removals, returns.
async fn grown() -> Lab {
    let lab = Lab::new().await;
    let mut begin: Vec<DesiredEvent> = (1..=40).map(|n| user_with_manager(n, Some(1 + n % 7))).collect();
    begin.extend((100..=102).map(|n| group_with_owner(n, Some(n - 90))));
    begin.extend((1..=40).map(|n| member(100, n)));
    begin.extend([member(101, 100), member(101, 3), member(102, 4)]);
    let mut middle: Vec<DesiredEvent> = (1..=10).map(|n| user(n, &[("city", text("Bern"))])).collect();
    middle.extend((1..=5).map(|n| no_member(100, n)).chain((36..=39).map(|n| removed(n, CloudClass::User))));
    middle.push(removed(102, CloudClass::Group));
    let end = vec![user(36, &[]), member(100, 36), user_with_manager(2, None), member(100, 1)];
    for wishes in [begin, middle, end] {
        lab.wish(wishes).await;
        assert_eq!(lab.settle().await.held_total, 0);
    }
    lab
}

/// What the tenant holds, but for what nobody decides: times and the like.
fn holdings(lab: &Lab) -> serde_json::Value {
    let dump = serde_json::to_value(lab.dump()).unwrap();
    json!([dump["users"], dump["groups"], dump["deleted_users"], dump["deleted_groups"]])
}

/// A failure that had its effect is over, also where that is only found by a ledger that knows no request any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_was_set_after_all_is_said_to_be_set() {
    let mut lab = Lab::new().await;
    lab.config.tenant.retry_first = Duration::from_secs(1);
    lab.wish(vec![user(1, &[]), user(2, &[])]).await;
    lab.settle().await;
    lab.control.fail_next("PUT", "manager", 404, 1, true);
    lab.wish(vec![user_with_manager(1, Some(2))]).await;
    let running = lab.start().await;
    running.until(|s| s.retrying == 1).await;
    running.end().await;
    assert_eq!(lab.types(1).await.last(), Some(&"ExportFailed"));
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    lab.settle().await;
    assert_eq!(lab.types(1).await.last(), Some(&"ManagerChanged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_is_the_same_again() {
    for with_outcomes in [true, false] {
        let mut lab = grown().await;
        let (before, status) = (holdings(&lab), lab.settle().await);
        std::fs::remove_dir_all(&lab.config.directory).unwrap();
        if !with_outcomes {
            lab.lose_outcomes().await;
        }
        lab.control.reset_counters();
        let again = lab.settle().await;
        assert_eq!(holdings(&lab), before, "outcomes: {with_outcomes}");
        assert_eq!((again.managed, again.quarantined_total), (status.managed, 0), "outcomes: {with_outcomes}");
        assert_eq!(lab.tenant.counters().writes, 0, "outcomes: {with_outcomes}");

        // and it goes on as it would have
        let next = vec![
            user(1, &[("city", text("Basel"))]),
            user_with_manager(3, Some(9)),
            no_member(100, 7),
            member(100, 2),
            removed(12, CloudClass::User),
            group_with_owner(101, Some(13)),
        ];
        lab.wish(next).await;
        let status = lab.settle().await;
        assert_eq!((status.held_total, status.quarantined_total), (0, 0), "outcomes: {with_outcomes}");
        assert_eq!(lab.property(1, "city"), Some(json!("Basel")));
        assert_eq!(lab.dump().user(anchor(3).as_str()).unwrap().manager, lab.id(9));
        let members = (1..=2).chain([6]).chain(8..=11).chain(13..=36).chain([40]).collect::<Vec<_>>();
        assert_eq!(lab.members(100, 1..=40), members, "outcomes: {with_outcomes}");
        assert_eq!((lab.id(12), lab.owners(101, 1..=40)), (None, vec![13]), "outcomes: {with_outcomes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_wished_last_is_done_after_the_loss() {
    for with_outcomes in [true, false] {
        let mut lab = grown().await;
        lab.config.tenant.guard.share = 1.0;
        lab.wish(vec![
            removed(20, CloudClass::User),
            no_member(100, 21),
            user(22, &[("city", text("Genf"))]),
            removed(101, CloudClass::Group),
            user(50, &[]),
            member(100, 50),
        ])
        .await;
        std::fs::remove_dir_all(&lab.config.directory).unwrap();
        if !with_outcomes {
            lab.lose_outcomes().await;
        }
        let status = lab.settle().await;
        assert_eq!((status.held_total, status.quarantined_total), (0, 0), "outcomes: {with_outcomes}");
        assert_eq!([lab.id(20), lab.id(101)], [None, None], "outcomes: {with_outcomes}");
        let members = [1].into_iter().chain(6..=19).chain(22..=36).chain([40, 50]).collect::<Vec<_>>();
        assert_eq!(lab.members(100, (1..=40).chain([50])), members, "outcomes: {with_outcomes}");
        assert_eq!(lab.property(22, "city"), Some(json!("Genf")));
        lab.assert_single_creations();
    }
}
