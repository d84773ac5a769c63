//! A configuration that is removed: nothing of it is wished any more, whatever its sources say.

use forestsync_schemas::control::{ConfigurationRemoved, ControlEvent, RemovedObjects};
use forestsync_schemas::desired::RemovalReason;

use super::handover::{HANDED_OVER, Two, say};
use super::support::{changed, started};
use crate::ProjectorConfig;
use forestsync_domain::Attributes;

fn without(config: &ProjectorConfig, objects: RemovedObjects) -> ProjectorConfig {
    ProjectorConfig { removed: Some(objects), ..config.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_or_is_let_go_and_comes_back() {
    for (objects, keep) in [(RemovedObjects::Delete, false), (RemovedObjects::Release, true)] {
        let two = Two::new("t").await;
        two.settle(true).await;
        let removed = without(&two.a, objects);
        two.world.settled(&removed).await;
        let desired = two.world.desired("a").await;
        assert!(desired.wished.objects.is_empty() && desired.wished.links.is_empty());
        assert_eq!(two.removed("a").await, [(RemovalReason::ConfigurationRemoved, keep); 2]);
        // a second look says nothing more
        two.world.settled(&removed).await;
        assert_eq!(two.removed("a").await.len(), 2);
        // nor does a database that is built anew
        std::fs::remove_dir_all(&two.a.directory).unwrap();
        two.world.settled(&removed).await;
        assert_eq!(two.removed("a").await.len(), 2);
        two.world.settled(&two.a).await;
        assert_eq!(two.world.desired("a").await.wished.objects.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_configuration_has_in_its_scope_is_handed_over() {
    let mut two = Two::new("t").await;
    two.settle(true).await;
    // known to the removed one only when it reads on
    two.move_to(3).await;
    two.world.settled(&without(&two.a, RemovedObjects::Delete)).await;
    let mut removed = two.removed("a").await;
    removed.sort_by_key(|(_, keep)| !keep);
    assert_eq!(removed, [HANDED_OVER, (RemovalReason::ConfigurationRemoved, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_was_removed_takes_nobody_over() {
    let mut two = Two::new("t").await;
    two.settle(true).await;
    let event = ConfigurationRemoved { objects: RemovedObjects::Release, listed: vec![], reason: "r".into() };
    say(&two.world, "b", ControlEvent::ConfigurationRemoved(event)).await;
    two.move_to(3).await;
    two.world.settled(&two.a).await;
    assert_eq!(two.removed("a").await, [(RemovalReason::OutOfScope, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_being_read_anew_keeps_nothing() {
    let mut two = Two::new("t").await;
    two.settle(true).await;
    let dn = two.west.root.child("OU", "A").child("CN", "n10");
    let page = two.west.page(&[started(2), changed(10, &dn, Some(2), Attributes::new(), &[])], true);
    two.world.append(&two.west.stream, page).await;
    two.world.settled(&without(&two.a, RemovedObjects::Delete)).await;
    assert_eq!(two.removed("a").await, [(RemovalReason::ConfigurationRemoved, false); 2]);
}
