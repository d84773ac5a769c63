//! What comes back after it was deleted: with what it had, as far as nobody else has that now.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Lab, removed, text, user};
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
