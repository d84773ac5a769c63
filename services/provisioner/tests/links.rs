//! Memberships, managers, and the delete guard.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Lab, anchor, group, member, no_member, removed, user, user_with_manager};
use forestsync_schemas::desired::{CloudClass, DesiredEvent};
use forestsync_schemas::outcomes::{Operation, OutcomeEvent};
use serde_json::json;

fn users(numbers: std::ops::RangeInclusive<u32>) -> Vec<DesiredEvent> {
    numbers.map(|n| user(n, &[])).collect()
}

fn operations(lab: &Lab, name: &str) -> u64 {
    lab.tenant.counters().operations.get(name).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_go_twenty_at_a_time() {
    let lab = Lab::new().await;
    let mut wishes = users(1..=45);
    wishes.push(group(100));
    wishes.push(group(101));
    wishes.extend((1..=45).map(|n| member(100, n)));
    wishes.push(member(100, 101));
    wishes.push(member(101, 100));
    lab.wish(wishes).await;
    lab.settle().await;
    assert_eq!(lab.members(100, 1..=101), (1..=45).chain([101]).collect::<Vec<_>>());
    assert_eq!(lab.members(101, 1..=101), [100], "groups in each other, in any order");
    let added: Vec<usize> = lab
        .outcomes()
        .await
        .iter()
        .filter(|o| o.context.anchor == anchor(100))
        .filter_map(|o| if let OutcomeEvent::MemberAdded(e) = &o.event { Some(e.members.len()) } else { None })
        .collect();
    assert_eq!(added, [20, 20, 6]);
    assert_eq!(lab.tenant.counters().writes_without_effect, 0);

    lab.wish((1..=5).map(|n| no_member(100, n)).chain([no_member(100, 101)]).collect()).await;
    lab.settle().await;
    assert_eq!(lab.members(100, 1..=101), (6..=45).collect::<Vec<_>>());
    assert_eq!(lab.dump().users.len(), 45, "a member that leaves stays a user");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_there_already_are_success() {
    let lab = Lab::new().await;
    lab.wish(users(1..=30)).await;
    lab.settle().await;
    let ids: Vec<String> = (1..=7).map(|n| lab.id(n).unwrap()).collect();
    lab.control
        .seed_group(
            json!({"uniqueName": anchor(100).unique_name(), "displayName": "Group 100",
            "mailNickname": "group100", "mailEnabled": false, "securityEnabled": true}),
            &ids,
        )
        .unwrap();
    let mut wishes = vec![group(100)];
    wishes.extend((1..=30).map(|n| member(100, n)));
    lab.wish(wishes).await;
    let status = lab.settle().await;
    assert_eq!(lab.members(100, 1..=30), (1..=30).collect::<Vec<_>>());
    assert_eq!(status.quarantined_total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_are_gone_already_are_success() {
    for answer in
        [forestsync_practice::tenant::MissingMember::NotFound, forestsync_practice::tenant::MissingMember::BadRequest]
    {
        let lab = Lab::with(|o| o.knobs.missing_member = answer).await;
        lab.wish(users(1..=8)).await;
        lab.wish(vec![group(100)]).await;
        lab.wish((1..=8).map(|n| member(100, n)).collect()).await;
        lab.settle().await;
        // somebody else takes two of them out: a second installation with a ledger of its own
        let mut other = Lab::new().await;
        other.config.tenant = lab.config.tenant.clone();
        other.wish(users(1..=8)).await;
        other.wish(vec![group(100)]).await;
        other.wish((1..=8).map(|n| member(100, n)).collect()).await;
        other.settle().await;
        other.wish(vec![no_member(100, 1), no_member(100, 2)]).await;
        other.settle().await;
        assert_eq!(lab.members(100, 1..=8), (3..=8).collect::<Vec<_>>());
        lab.wish((1..=4).map(|n| no_member(100, n)).collect()).await;
        let status = lab.settle().await;
        assert_eq!(status.quarantined_total, 0, "{answer:?}");
        assert_eq!(lab.members(100, 1..=8), (5..=8).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_member_stops_no_other() {
    let mut lab = Lab::new().await;
    lab.config.tenant.quarantine_after = 3;
    let mut wishes = users(1..=25);
    wishes.push(group(100));
    wishes.extend((1..=25).map(|n| member(100, n)));
    lab.wish(wishes).await;
    // the cloud user of one of them disappears behind our back
    let running = lab.start().await;
    running.until(|s| s.managed.get(&CloudClass::User).copied() == Some(25) && s.idle).await;
    running.end().await;
    lab.wish((1..=25).map(|n| no_member(100, n)).collect()).await;
    lab.config.tenant.guard.minimum = 100;
    lab.settle().await;
    assert_eq!(lab.members(100, 1..=25), Vec::<u32>::new());
    let mut other = Lab::new().await;
    other.config.tenant = lab.config.tenant.clone();
    other.wish(users(1..=25)).await;
    other.settle().await;
    other.wish(vec![removed(9, CloudClass::User)]).await;
    other.settle().await;
    lab.wish((1..=25).map(|n| member(100, n)).collect()).await;
    let running = lab.start().await;
    lab.idle(&running).await;
    let status = running.until(|s| s.quarantined_total == 0 && s.idle).await;
    running.end().await;
    assert_eq!(lab.members(100, 1..=25).len(), 25, "it was missed, looked up and brought back");
    assert_eq!(status.quarantined_total, 0);
    let refused = lab.quarantined(100).await.unwrap();
    assert!(refused.error.detail.contains(anchor(9).as_str()), "{}", refused.error.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_come_after_both_exist() {
    let lab = Lab::new().await;
    // a chain, a circle, and a manager who comes later
    lab.wish(vec![
        user_with_manager(1, Some(2)),
        user_with_manager(2, Some(3)),
        user_with_manager(3, Some(1)),
        user_with_manager(4, Some(5)),
    ])
    .await;
    lab.settle().await;
    let manager = |n: u32| {
        let dump = lab.dump();
        dump.user(anchor(n).as_str()).and_then(|u| u.manager.clone())
    };
    assert_eq!([manager(1), manager(2), manager(3)], [lab.id(2), lab.id(3), lab.id(1)]);
    assert_eq!(manager(4), None);
    lab.wish(vec![user(5, &[]), user_with_manager(1, None), user_with_manager(2, Some(5))]).await;
    lab.settle().await;
    assert_eq!([manager(4), manager(1), manager(2)], [lab.id(5), None, lab.id(5)]);
    assert_eq!(lab.tenant.counters().writes_without_effect, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_end_before_the_member_does() {
    let lab = Lab::new().await;
    let mut wishes = users(1..=10);
    wishes.extend([group(100), group(101)]);
    wishes.extend((1..=10).flat_map(|n| [member(100, n), member(101, n)]));
    lab.wish(wishes).await;
    lab.settle().await;
    lab.wish(vec![removed(1, CloudClass::User), removed(2, CloudClass::User)]).await;
    lab.settle().await;
    let writes: Vec<&str> = lab.control.writes().iter().rev().take(6).map(|w| w.operation).collect();
    assert_eq!(writes.iter().filter(|w| w.contains("delete")).count(), 2);
    assert!(writes[..2].iter().all(|w| w.contains("delete")), "{writes:?}");
    // and come back only where they are named anew
    let mut back = users(1..=2);
    back.extend([member(100, 1), member(100, 2)]);
    lab.wish(back).await;
    lab.settle().await;
    assert_eq!(lab.members(100, 1..=10), (1..=10).collect::<Vec<_>>());
    assert_eq!(lab.members(101, 1..=10), (3..=10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_holds_and_lists_and_lets_go() {
    let mut lab = Lab::new().await;
    lab.wish(users(1..=50)).await;
    lab.settle().await;
    // 11 of 50 are more than a fifth; they come in two appends, as a slow reader would send them
    lab.wish((1..=6).map(|n| removed(n, CloudClass::User)).collect()).await;
    lab.wish((7..=11).map(|n| removed(n, CloudClass::User)).collect()).await;
    let status = lab.settle().await;
    assert!(status.idle);
    assert_eq!(lab.dump().users.len(), 50, "nothing is deleted");
    assert_eq!(status.held_total, 11);
    let held = &status.held[0];
    assert_eq!((held.class, held.operation), (CloudClass::User, Operation::Delete));
    assert!(held.detail.contains("11 of 50 users") && held.detail.contains("10"), "{}", held.detail);
    assert!(held.name.starts_with("CN=object"));
    lab.settle().await;
    assert_eq!(lab.types(1).await, ["ObjectProvisioned", "ExportHeld"], "it is said once, also after a restart");

    // one of them returns: ten are few enough
    lab.wish(users(11..=11)).await;
    let status = lab.settle().await;
    assert_eq!((status.held_total, lab.dump().users.len()), (0, 40));
    assert_eq!(lab.types(11).await.last(), Some(&"ExportReleased"));
    assert_eq!(lab.types(1).await, ["ObjectProvisioned", "ExportHeld", "ExportReleased", "ObjectDeprovisioned"]);

    // the window remembers them, also after the ledger was lost
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    lab.wish(vec![removed(12, CloudClass::User)]).await;
    assert_eq!(lab.settle().await.held_total, 1);
    lab.config.tenant.guard.share = 0.5;
    assert_eq!(lab.settle().await.held_total, 0, "a higher threshold lets it go");
    assert_eq!(lab.dump().users.len(), 39);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_keeps_groups_from_being_emptied() {
    let lab = Lab::new().await;
    let mut wishes = users(1..=30);
    wishes.extend([group(100), group(101)]);
    wishes.extend((1..=30).map(|n| member(100, n)));
    wishes.extend((1..=10).map(|n| member(101, n)));
    lab.wish(wishes).await;
    lab.settle().await;
    lab.wish((1..=30).map(|n| no_member(100, n)).chain((1..=10).map(|n| no_member(101, n))).collect()).await;
    let status = lab.settle().await;
    assert_eq!(lab.members(100, 1..=30).len(), 30);
    assert_eq!(lab.members(101, 1..=10).len(), 0, "a small group may be emptied");
    assert_eq!(status.held_total, 1);
    assert_eq!((&status.held[0].anchor, status.held[0].operation), (&anchor(100), Operation::RemoveMembers));
    // additions go on meanwhile
    lab.wish((1..=25).map(|n| member(100, n)).chain([user(31, &[]), member(100, 31)]).collect()).await;
    let status = lab.settle().await;
    assert_eq!(status.held_total, 0);
    assert_eq!(lab.members(100, 1..=31), (1..=25).chain([31]).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn references_wait_until_they_are_visible() {
    let lab = Lab::with(|o| {
        o.knobs.visibility.references = Duration::from_millis(400);
        o.knobs.visibility.key_reads = Duration::from_millis(300);
        o.knobs.visibility.filters = Duration::from_millis(600);
    })
    .await;
    let mut wishes: Vec<DesiredEvent> = (1..=25).map(|n| user_with_manager(n, Some(26))).collect();
    wishes.extend([user(26, &[]), group(100)]);
    wishes.extend((1..=25).map(|n| member(100, n)));
    lab.wish(wishes).await;
    let status = lab.settle().await;
    assert_eq!(lab.members(100, 1..=25).len(), 25);
    assert_eq!(lab.dump().users.iter().filter(|u| u.manager.is_some()).count(), 25);
    assert_eq!(status.quarantined_total, 0);
    lab.assert_single_creations();
    assert!(operations(&lab, "user.create") == 26);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_held_does_not_hold_its_members() {
    let lab = Lab::new().await;
    let mut wishes = users(1..=20);
    wishes.extend((100..=105).map(group));
    wishes.extend((100..=105).map(|g| member(g, 1)));
    lab.wish(wishes).await;
    lab.settle().await;
    let mut goes: Vec<DesiredEvent> = (100..=102).map(|n| removed(n, CloudClass::Group)).collect();
    goes.push(removed(1, CloudClass::User));
    lab.wish(goes).await;
    let status = lab.settle().await;
    assert_eq!(status.held.iter().filter(|h| h.class == CloudClass::Group).count(), 3);
    assert_eq!((lab.id(1), lab.dump().groups.len()), (None, 6));
    assert_eq!(lab.members(105, 2..=20), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_returns_keeps_its_memberships_until_they_are_named() {
    let lab = Lab::new().await;
    let mut wishes = users(1..=10);
    wishes.push(group(100));
    wishes.extend((1..=10).map(|n| member(100, n)));
    lab.wish(wishes).await;
    lab.settle().await;
    lab.wish((1..=5).map(|n| removed(n, CloudClass::User)).collect()).await;
    assert_eq!(lab.settle().await.held_total, 5);
    // the objects come back in one append, their memberships in the next
    lab.wish(users(1..=5)).await;
    lab.settle().await;
    assert_eq!(lab.members(100, 1..=10), (1..=10).collect::<Vec<_>>());
    lab.wish((1..=4).map(|n| member(100, n)).chain([no_member(100, 5)]).collect()).await;
    lab.settle().await;
    assert_eq!(lab.members(100, 1..=10), [1, 2, 3, 4, 6, 7, 8, 9, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_seen_before_the_tail_are_not_forgotten() {
    let lab = Lab::new().await;
    let mut wishes = users(1..=5);
    wishes.push(group(100));
    wishes.extend((1..=5).map(|n| member(100, n)));
    lab.wish(wishes).await;
    lab.settle().await;
    // more records follow than are taken in at once
    lab.wish([no_member(100, 1)].into_iter().chain((0..9_000).map(|n| member(200, n))).collect()).await;
    lab.settle().await;
    assert_eq!(lab.members(100, 1..=5), [2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn held_member_removals_go_when_the_window_has_moved_on() {
    let mut lab = Lab::new().await;
    lab.config.tenant.guard_window = Duration::from_secs(5);
    let mut wishes = users(1..=30);
    wishes.push(group(100));
    wishes.extend((1..=30).map(|n| member(100, n)));
    lab.wish(wishes).await;
    let running = lab.start().await;
    lab.idle(&running).await;
    lab.wish((1..=10).map(|n| no_member(100, n)).collect()).await;
    lab.idle(&running).await;
    lab.wish((11..=15).map(|n| no_member(100, n)).collect()).await;
    running.until(|s| s.held_total == 1).await;
    running.until(|s| s.held_total == 0 && s.idle).await;
    running.end().await;
    assert_eq!(lab.members(100, 1..=30), (16..=30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_addition_nothing_confirmed_is_removed_all_the_same() {
    let lab = Lab::new().await;
    lab.wish(users(1..=3).into_iter().chain([group(100)]).collect()).await;
    lab.settle().await;
    let group_id = lab.id(100).unwrap();
    // it is added, the answer is an error, and so is the list of members
    lab.control.fail_next("PATCH", &format!("groups/{group_id}"), 500, 1, true);
    lab.control.fail_next("GET", &format!("groups/{group_id}/members"), 500, u64::MAX, false);
    lab.wish(vec![member(100, 1)]).await;
    let running = lab.start().await;
    while lab.failures(100).await.is_empty() {
        tokio::task::yield_now().await;
    }
    running.end().await;
    // the ledger with its intent is lost; the outcomes tell enough
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    lab.wish(vec![no_member(100, 1)]).await;
    lab.settle().await;
    assert_eq!(lab.members(100, 1..=3), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_members_that_cannot_be_read_is_no_loop() {
    let mut lab = Lab::new().await;
    lab.config.tenant.quarantine_after = 3;
    lab.wish(users(1..=3).into_iter().chain([group(100)]).collect()).await;
    lab.settle().await;
    let group_id = lab.id(100).unwrap();
    lab.control.fail_next("PATCH", &format!("groups/{group_id}"), 400, u64::MAX, false);
    lab.control.fail_next("POST", &format!("groups/{group_id}/members"), 400, u64::MAX, false);
    lab.control.fail_next("GET", &format!("groups/{group_id}/members"), 500, u64::MAX, false);
    lab.wish(vec![member(100, 1), member(100, 2)]).await;
    let status = lab.settle().await;
    assert_eq!(status.quarantined_total, 2);
    assert!(lab.failures(100).await.len() <= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manager_of_an_adopted_user_is_read_and_put_right() {
    let lab = Lab::new().await;
    let mut other = Lab::new().await;
    other.config.tenant = lab.config.tenant.clone();
    let mut wishes = users(3..=4);
    wishes.extend((1..=2).map(|n| user_with_manager(n, Some(3))));
    other.wish(wishes).await;
    other.settle().await;
    lab.control.reset_counters();
    let mut wishes = vec![user(1, &[]), user_with_manager(2, Some(3)), user(3, &[])];
    wishes.push(user_with_manager(4, Some(3)));
    lab.wish(wishes).await;
    lab.settle().await;
    let dump = lab.dump();
    let manager = |n: u32| dump.user(anchor(n).as_str()).and_then(|u| u.manager.clone());
    assert_eq!([manager(1), manager(2), manager(4)], [None, lab.id(3), lab.id(3)]);
    assert_eq!(lab.tenant.counters().writes, 2, "one cleared, one set");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_restored_has_its_memberships_already() {
    let lab = Lab::new().await;
    lab.wish(users(1..=10).into_iter().chain([group(100), member(100, 1)]).collect()).await;
    lab.settle().await;
    // an administrator deletes the user, by way of a second installation
    let mut other = Lab::new().await;
    other.config.tenant = lab.config.tenant.clone();
    other.wish(users(1..=1)).await;
    other.settle().await;
    other.wish(vec![removed(1, CloudClass::User)]).await;
    other.settle().await;
    lab.wish(vec![user(1, &[("city", common::text("Bern"))])]).await;
    lab.settle().await;
    assert_eq!(lab.members(100, 1..=10), [1]);
    assert_eq!(lab.types(100).await, ["ObjectProvisioned", "MemberAdded"]);
    // and what ended meanwhile is taken out
    lab.wish(vec![no_member(100, 1)]).await;
    lab.settle().await;
    assert_eq!(lab.members(100, 1..=10), Vec::<u32>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_was_made_anew_is_set_anew() {
    let lab = Lab::with(|o| o.knobs.deleted_holds_immutable_id = false).await;
    lab.wish(users(2..=10).into_iter().chain([user_with_manager(1, Some(2))]).collect()).await;
    lab.settle().await;
    let before = lab.id(2);
    lab.wish(vec![removed(2, CloudClass::User)]).await;
    lab.settle().await;
    // it cannot be brought back, and the list of deleted objects does not show it
    lab.control.fail_next("POST", "restore", 404, u64::MAX, false);
    lab.knobs(|k| k.visibility.filters = Duration::from_hours(1));
    lab.wish(users(2..=2)).await;
    lab.settle().await;
    assert!(lab.id(2).is_some() && lab.id(2) != before);
    let dump = lab.dump();
    assert_eq!(dump.user(anchor(1).as_str()).unwrap().manager, lab.id(2));
}
