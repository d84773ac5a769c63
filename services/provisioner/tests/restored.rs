//! What comes back after it was deleted: with what it had, as far as nobody else has that now.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Lab, group, member, no_member, removed, text, user};
use forestsync_schemas::desired::CloudClass;

/// Graph restores nobody whose name or address somebody else has now, unless it is told what to do about it.
#[tokio::test(flavor = "multi_thread")]
async fn comes_back_under_another_name() {
    let lab = Lab::new().await;
    let name = |name: &str| ("userPrincipalName", text(name));
    let mail = |mail: &str| ("mail", text(mail));
    lab.wish(vec![user(1, &[name("eva@emea.example"), mail("e@emea.example")]), user(2, &[])]).await;
    lab.settle().await;
    let id = lab.id(1);
    lab.wish(vec![removed(1, CloudClass::User), user(2, &[name("eva@emea.example"), mail("e@emea.example")])]).await;
    lab.settle().await;
    assert_eq!((lab.id(1), lab.property(2, "userPrincipalName")), (None, Some("eva@emea.example".into())));
    lab.wish(vec![user(1, &[name("eva2@emea.example"), mail("e2@emea.example")])]).await;
    let status = lab.settle().await;
    assert_eq!((lab.id(1), status.quarantined_total), (id, 0));
    assert_eq!(lab.property(1, "userPrincipalName"), Some("eva2@emea.example".into()));
    assert_eq!(lab.property(1, "mail"), Some("e2@emea.example".into()));
    assert_eq!(lab.property(2, "mail"), Some("e@emea.example".into()));
    lab.assert_single_creations();
}

/// As long as the name that is wished is somebody else's too, nothing helps, and that is said.
#[tokio::test(flavor = "multi_thread")]
async fn does_not_come_back_while_its_name_is_taken() {
    let mut lab = Lab::new().await;
    lab.config.tenant.quarantine_after = 3;
    let eva = ("userPrincipalName", text("eva@emea.example"));
    lab.wish(vec![user(1, std::slice::from_ref(&eva)), user(2, &[])]).await;
    lab.settle().await;
    lab.wish(vec![removed(1, CloudClass::User), user(2, std::slice::from_ref(&eva))]).await;
    lab.settle().await;
    lab.wish(vec![user(1, &[eva])]).await;
    let running = lab.start().await;
    running.until(|s| s.quarantined_total == 1 && s.idle).await;
    assert_eq!(lab.quarantined(1).await.unwrap().error.attribute.as_deref(), Some("userPrincipalName"));
    lab.wish(vec![user(2, &[])]).await;
    let status = running.until(|s| s.quarantined_total == 0 && s.idle).await;
    running.end().await;
    assert_eq!((status.held_total, lab.property(1, "userPrincipalName")), (0, Some("eva@emea.example".into())));
}

/// A deletion that had its effect and was answered by absence, and a wish that returns before it is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn comes_back_although_nobody_knows_that_it_went() {
    let mut lab = Lab::new().await;
    (lab.config.tenant.retry_first, lab.config.tenant.retry_longest) = (Duration::from_secs(1), Duration::from_secs(1));
    lab.wish(vec![user(1, &[])]).await;
    let running = lab.start().await;
    lab.idle(&running).await;
    let id = lab.id(1);
    lab.control.fail_next("DELETE", &format!("users/{}", id.clone().unwrap()), 404, 1, true);
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    running.until(|s| s.retrying == 1).await;
    assert_eq!((lab.id(1), lab.types(1).await.last()), (None, Some(&"ExportFailed")));
    lab.wish(vec![user(1, &[])]).await;
    let status = lab.idle(&running).await;
    running.end().await;
    assert_eq!((lab.id(1), status.quarantined_total), (id, 0));
}

/// A deletion that is answered by absence was a deletion all the same: what comes back has the members it had.
#[tokio::test(flavor = "multi_thread")]
async fn has_its_old_members_however_its_deletion_was_answered() {
    let lab = Lab::new().await;
    let users = (1..=3).map(|n| user(n, &[]));
    lab.wish(users.chain([group(100), member(100, 1), member(100, 2)]).collect()).await;
    lab.settle().await;
    let id = lab.id(100);
    lab.control.fail_next("DELETE", &format!("groups/{}", id.clone().unwrap()), 404, 1, true);
    lab.wish(vec![no_member(100, 1), no_member(100, 2), removed(100, CloudClass::Group)]).await;
    lab.settle().await;
    assert_eq!(
        lab.types(100).await.iter().rev().take(2).collect::<Vec<_>>(),
        [&"ObjectDeprovisioned", &"ExportFailed"]
    );
    // the projector names the memberships anew
    lab.wish(vec![group(100), member(100, 3)]).await;
    lab.settle().await;
    assert_eq!((lab.id(100), lab.members(100, 1..=3)), (id, vec![3]));
}
