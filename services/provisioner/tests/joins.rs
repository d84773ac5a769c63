//! Joins that wait for somebody's decision.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Lab, Running, anchor, group, member, removed, text, user};
use forestsync_provisioner::{Joins, SoftMatch, Status};
use forestsync_schemas::control::Verdict;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::{HoldCause, Operation, OutcomeEvent};
use jiff::Timestamp;
use serde_json::json;

/// A tenant in which joins wait, with somebody who has the name of user 1.
async fn lab() -> (Lab, String) {
    let mut lab = Lab::new().await;
    lab.config.tenant.soft_match = vec![SoftMatch::by("userPrincipalName"), SoftMatch::by("mail")];
    lab.config.tenant.joins = Joins::Hold;
    let id = seed(&lab, "user1@emea.example", "one@emea.example");
    (lab, id)
}

fn seed(lab: &Lab, name: &str, mail: &str) -> String {
    let properties = json!({"userPrincipalName": name, "displayName": "Old", "mailNickname": "x", "mail": mail,
        "accountEnabled": true});
    lab.control.seed_user(properties).unwrap()
}

fn causes(status: &Status) -> Vec<HoldCause> {
    status.held.iter().map(|held| held.cause).collect()
}

async fn idle_with(lab: &Lab, running: &Running, held: usize) -> Status {
    lab.idle(running).await;
    running.until(|s| s.idle && s.held_total == held).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_waits_with_both_objects_until_it_is_approved() {
    let (mut lab, id) = lab().await;
    lab.wish(vec![user(1, &[]), user(2, &[]), group(100), member(100, 1), member(100, 2)]).await;
    let status = lab.settle().await;
    assert_eq!((causes(&status), lab.dump().users.len(), lab.id(1)), (vec![HoldCause::Join], 2, None));
    let held = &status.held[0];
    let join = held.join.clone().unwrap();
    assert_eq!((held.operation, &held.anchor), (Operation::Join, &anchor(1)));
    assert_eq!((join.cloud_id.as_str(), join.name.as_str()), (id.as_str(), "user1@emea.example"));
    assert_eq!(join.pair.cloud, "userPrincipalName");
    assert_eq!(lab.members(100, 1..=2), [2], "nobody waits for it");
    // nothing is said twice, by whoever goes on and whatever is lost
    for is_gone in [false, true] {
        if is_gone {
            std::fs::remove_dir_all(&lab.config.directory).unwrap();
        }
        assert_eq!(causes(&lab.settle().await), [HoldCause::Join]);
        assert_eq!(lab.types(1).await, ["ExportHeld"], "{is_gone}");
    }
    // what else changes of the wish is no matter for the decision
    lab.decide_join(Verdict::Approve, 1, &id, Timestamp::MAX).await;
    lab.wish(vec![user(1, &[("city", text("Bern"))])]).await;
    assert_eq!(lab.settle().await.held_total, 0);
    assert_eq!((lab.id(1), lab.property(1, "city")), (Some(id), Some(json!("Bern"))));
    assert_eq!(lab.members(100, 1..=2), [1, 2]);
    assert_eq!(lab.types(1).await, ["ExportHeld", "ExportReleased", "ObjectAdopted", "ObjectUpdated"]);
    // and with everything gone it is one that has its anchor
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    lab.lose_outcomes().await;
    assert_eq!(lab.settle().await.held_total, 0);
    assert_eq!(lab.types(1).await, ["ObjectAdopted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_join_neither_joins_nor_creates() {
    let (mut lab, id) = lab().await;
    lab.wish(vec![user(1, &[])]).await;
    lab.settle().await;
    lab.decide_join(Verdict::Reject, 1, &id, Timestamp::MAX).await;
    for _ in 0..2 {
        let status = lab.settle().await;
        assert_eq!((causes(&status), lab.dump().users.len()), (vec![HoldCause::Rejected], 1));
        assert!(status.held[0].detail.contains("anna") && status.held[0].detail.contains("ticket 4711"));
        assert_eq!(status.held[0].join.as_ref().map(|join| join.cloud_id.clone()), Some(id.clone()));
        // the decision is in a stream of its own
        std::fs::remove_dir_all(&lab.config.directory).unwrap();
        lab.lose_outcomes().await;
    }
    // it holds also where joins do not wait any more
    lab.config.tenant.joins = Joins::Go;
    assert_eq!(causes(&lab.settle().await), [HoldCause::Rejected]);
    lab.decide_join(Verdict::Reject, 1, &id, Timestamp::UNIX_EPOCH).await;
    assert_eq!(causes(&lab.settle().await), [HoldCause::Lapsed]);
    lab.decide_join(Verdict::Approve, 1, &id, Timestamp::MAX).await;
    assert_eq!((lab.settle().await.held_total, lab.id(1)), (0, Some(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_for_one_object_of_the_tenant_and_for_its_time() {
    let (lab, id) = lab().await;
    lab.wish(vec![user(1, &[])]).await;
    let running = lab.start().await;
    idle_with(&lab, &running, 1).await;
    lab.decide_join(Verdict::Approve, 1, "another", Timestamp::MAX).await;
    lab.decide_join(Verdict::Approve, 2, &id, Timestamp::MAX).await;
    lab.wish(vec![user(3, &[])]).await;
    assert_eq!(causes(&idle_with(&lab, &running, 1).await), [HoldCause::Join]);
    lab.decide_join(Verdict::Approve, 1, &id, Timestamp::UNIX_EPOCH).await;
    lab.wish(vec![user(4, &[])]).await;
    assert_eq!(causes(&idle_with(&lab, &running, 1).await), [HoldCause::Join]);
    // now somebody else is found
    lab.control.delete(&id, true).unwrap();
    let other = seed(&lab, "other@emea.example", "first@emea.example");
    lab.wish(vec![user(1, &[("mail", text("first@emea.example"))])]).await;
    let found = |s: &Status| s.held.first().and_then(|held| held.join.clone()).map(|join| join.cloud_id);
    let status = running.until(|s| s.idle && found(s).as_ref() == Some(&other)).await;
    assert_eq!(status.held[0].join.as_ref().unwrap().pair.cloud, "mail");
    lab.decide_join(Verdict::Approve, 1, &id, Timestamp::MAX).await;
    lab.wish(vec![user(5, &[])]).await;
    idle_with(&lab, &running, 1).await;
    lab.decide_join(Verdict::Approve, 1, &other, Timestamp::MAX).await;
    idle_with(&lab, &running, 0).await;
    running.end().await;
    assert_eq!(lab.id(1), Some(other));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_ends_with_its_reason() {
    let (mut lab, id) = lab().await;
    lab.wish(vec![user(1, &[])]).await;
    assert_eq!(lab.settle().await.held_total, 1);
    // it is not wished any more
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    assert_eq!((lab.settle().await.held_total, lab.dump().users.len()), (0, 1));
    lab.wish(vec![user(1, &[])]).await;
    assert_eq!(lab.settle().await.held_total, 1);
    // nothing is there any more that it could be
    lab.control.delete(&id, true).unwrap();
    assert_eq!((lab.settle().await.held_total, lab.dump().users.len()), (0, 1));
    assert!(lab.id(1).is_some());
    // nobody wants to be asked any more
    let free = seed(&lab, "user2@emea.example", "two@emea.example");
    lab.wish(vec![user(2, &[])]).await;
    assert_eq!(lab.settle().await.held_total, 1);
    lab.config.tenant.joins = Joins::Go;
    assert_eq!((lab.settle().await.held_total, lab.id(2)), (0, Some(free)));
    let all = lab.outcomes().await;
    let released =
        all.iter().filter(|o| matches!(&o.event, OutcomeEvent::ExportReleased(e) if e.operation == Operation::Join));
    assert_eq!(released.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_is_refused_also_where_joins_wait() {
    let mut lab = Lab::with(|o| o.privileged_users = vec!["user1@emea.example".into()]).await;
    lab.config.tenant.soft_match = vec![SoftMatch::by("userPrincipalName")];
    lab.config.tenant.joins = Joins::Hold;
    lab.config.tenant.visible_within = Duration::ZERO;
    let id = seed(&lab, "user1@emea.example", "one@emea.example");
    lab.decide_join(Verdict::Approve, 1, &id, Timestamp::MAX).await;
    lab.wish(vec![user(1, &[])]).await;
    let status = lab.settle().await;
    assert_eq!((status.held_total, status.quarantined_total), (0, 1));
    assert_eq!(lab.quarantined(1).await.unwrap().error.code, "privileged_match");
}
