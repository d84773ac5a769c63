//! What others gave to an object stays through its whole life, what comes back meets what changed meanwhile, and a group
//! that is gone for good is made anew with all that it had.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{
    Lab, desired, gone_with_configuration, group, group_with_owner, member, no_member, removed, text, user,
    user_with_manager,
};
use forestsync_schemas::control::RemovedObjects;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue, DesiredEvent};
use serde_json::{Map, Value, json};

/// What nothing here manages: licences, where they may be used, and what only the cloud knows.
fn others_values() -> Value {
    json!({
        "assignedLicenses": [{"skuId": "05e9a617-0261-4cee-bb44-138d3ef5d965", "disabledPlans": []}],
        "usageLocation": "CH",
        "licenseAssignmentStates": [{"skuId": "05e9a617-0261-4cee-bb44-138d3ef5d965", "state": "Active"}],
        "ageGroup": "Adult",
        "otherMails": ["ann@home.example"],
        "passwordPolicies": "DisablePasswordExpiration",
    })
}

/// When a password was set last: nobody but the creation sets one.
const PASSWORD_SET: &str = "lastPasswordChangeDateTime";

/// What a user has of it, wherever it is.
fn kept(lab: &Lab, id: &str) -> Map<String, Value> {
    let dump = lab.dump();
    let found = dump.users.iter().chain(&dump.deleted_users).find(|user| user.id == id).unwrap();
    let own = others_values();
    let names = own.as_object().unwrap().keys().map(String::as_str).chain([PASSWORD_SET]);
    names.filter_map(|name| Some((name.to_owned(), found.properties.get(name)?.clone()))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn licences_and_what_only_the_cloud_knows_are_never_touched() {
    let mut lab = Lab::new().await;
    lab.config.tenant.guard.share = 1.0;
    // without usageLocation and what else stands above
    let managed = ["accountEnabled", "displayName", "jobTitle", "mailNickname", "userPrincipalName"];
    let flow = DesiredEvent::AttributeFlowDeclared(forestsync_schemas::desired::AttributeFlowDeclared {
        class: CloudClass::User,
        attributes: managed.map(str::to_owned).to_vec(),
        extensions: Vec::new(),
    });
    lab.wish(vec![flow, user(1, &[]), user_with_manager(2, Some(1)), group(100), member(100, 1)]).await;
    lab.settle().await;
    let id = lab.id(1).unwrap();
    lab.control.edit(&id, others_values()).unwrap();
    // long ago, so that another one would show
    lab.control.edit(&id, json!({ PASSWORD_SET: "2001-01-01T00:00:00Z" })).unwrap();
    let theirs =
        json!({"displayName": "All of Bern", "mailNickname": "bern", "mailEnabled": false, "securityEnabled": true});
    let theirs = lab.control.seed_group(theirs, std::slice::from_ref(&id)).unwrap();
    let mut others = others_values().as_object().unwrap().clone();
    others.insert(PASSWORD_SET.to_owned(), "2001-01-01T00:00:00Z".into());
    let members = |lab: &Lab| {
        let dump = lab.dump();
        dump.groups.iter().find(|group| group.id == theirs).unwrap().members.clone()
    };
    let check = |lab: &Lab, what: &str| {
        assert_eq!(kept(lab, &id), others, "{what}");
        if lab.id(1).is_some() {
            assert_eq!(members(lab), std::slice::from_ref(&id), "{what}");
        }
    };

    lab.wish(vec![user(1, &[("jobTitle", text("Smith"))]), no_member(100, 1)]).await;
    lab.settle().await;
    check(&lab, "updated");
    lab.wish(vec![user(1, &[("accountEnabled", CloudValue::Bool(false))])]).await;
    lab.settle().await;
    check(&lab, "disabled");
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    lab.settle().await;
    assert_eq!(lab.id(1), None);
    check(&lab, "deleted");
    lab.wish(vec![user(1, &[])]).await;
    lab.settle().await;
    assert_eq!(lab.id(1), Some(id.clone()));
    check(&lab, "restored");
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    lab.settle().await;
    check(&lab, "looked at with a new ledger");
    lab.config.tenant.grace = Duration::from_hours(1);
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    lab.settle().await;
    assert_eq!(lab.property(1, "accountEnabled"), Some(false.into()));
    check(&lab, "disabled before it is deleted");
    lab.wish(vec![user(1, &[])]).await;
    lab.settle().await;
    lab.remove_configuration(RemovedObjects::Release, []).await;
    lab.wish(vec![gone_with_configuration(1, CloudClass::User, true)]).await;
    lab.settle().await;
    check(&lab, "released");
}

/// A group with owner 1, members 1 to 3 and group 101, itself a member of group 102.
fn nested() -> Vec<DesiredEvent> {
    let users = (1..=3).map(|n| user(n, &[]));
    let links = [member(100, 1), member(100, 2), member(100, 3), member(100, 101), member(102, 100)];
    users.chain([group_with_owner(100, Some(1)), group(101), group(102)]).chain(links).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_gone_for_good_is_made_anew_with_all_that_it_had() {
    // the tenant keeps deleted security groups, or not, or somebody has purged it
    for (is_kept, is_purged) in [(false, false), (true, true), (true, false)] {
        let lab = Lab::new().await;
        lab.knobs(|knobs| knobs.soft_delete_security_groups = is_kept);
        lab.wish(nested()).await;
        lab.settle().await;
        let before = lab.id(100).unwrap();
        lab.wish(vec![removed(100, CloudClass::Group)]).await;
        lab.settle().await;
        assert_eq!((lab.id(100), lab.members(102, 1..=102)), (None, vec![]));
        if is_purged {
            lab.control.purge(&before).unwrap();
        }
        let again: Vec<DesiredEvent> = nested().into_iter().skip(3).collect();
        lab.wish(again).await;
        let status = lab.settle().await;
        let case = format!("kept {is_kept}, purged {is_purged}");
        assert_eq!((status.quarantined_total, status.retrying), (0, 0), "{case}");
        assert_eq!(lab.id(100).as_ref() == Some(&before), is_kept && !is_purged, "{case}");
        assert_eq!(lab.members(100, 1..=102), [1, 2, 3, 101], "{case}");
        assert_eq!(lab.members(102, 1..=102), [100], "{case}");
        assert_eq!(lab.owners(100, 1..=3), [1], "{case}");
    }
}

/// Graph says once whether a group has mail, and making it anew would cost it its id: it stays as it is, and that is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_gets_mail_in_the_directory_is_left_alone_and_not_made_anew() {
    let lab = Lab::new().await;
    lab.wish(vec![user(1, &[]), user(2, &[]), group(100), member(100, 1)]).await;
    lab.settle().await;
    let (id, before) = (lab.id(100), lab.dump());
    let DesiredEvent::ObjectDesired(wish) = group(100) else { unreachable!() };
    let attributes: CloudAttributes = wish.attributes;
    let with_mail = desired(100, CloudClass::MailEnabledGroup, attributes);
    lab.control.reset_counters();
    lab.wish(vec![removed(100, CloudClass::Group), DesiredEvent::ObjectDesired(with_mail)]).await;
    lab.settle().await;
    assert_eq!((lab.dump(), lab.tenant.counters().writes), (before, 0));
    assert_eq!(lab.types(100).await.last(), Some(&"NotWritable"));
    lab.wish(vec![group(100), member(100, 1), member(100, 2)]).await;
    lab.settle().await;
    assert_eq!((lab.id(100), lab.members(100, 1..=2)), (id, vec![1, 2]));
}

fn eva() -> [(&'static str, CloudValue); 2] {
    [("userPrincipalName", text("eva@emea.example")), ("mail", text("eva@emea.example"))]
}

/// User 1 was there and was deleted; its id.
async fn deleted(lab: &Lab) -> String {
    lab.wish(vec![user(1, &eva()), group(100), member(100, 1)]).await;
    lab.settle().await;
    let id = lab.id(1).unwrap();
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    lab.settle().await;
    assert_eq!(lab.id(1), None);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_name_somebody_else_has_waits_and_says_who() {
    let mut lab = Lab::new().await;
    lab.config.tenant.quarantine_after = 3;
    let id = deleted(&lab).await;
    let other = json!({"userPrincipalName": "eva@emea.example", "displayName": "Eva B", "mailNickname": "evab"});
    let other = lab.control.seed_user(other).unwrap();
    lab.wish(vec![user(1, &eva()), member(100, 1)]).await;
    let running = lab.start().await;
    running.until(|s| s.quarantined_total == 1 && s.idle).await;
    let error = lab.quarantined(1).await.unwrap().error;
    assert_eq!(error.attribute.as_deref(), Some("userPrincipalName"));
    assert!(error.detail.contains(&other), "{}", error.detail);
    // whom it conflicts with changes, and nothing else does
    lab.control.edit(&other, json!({"userPrincipalName": "evab@emea.example"})).unwrap();
    running.until(|s| s.quarantined_total == 0 && s.idle).await;
    running.end().await;
    assert_eq!((lab.id(1), lab.members(100, [1])), (Some(id), vec![1]));
    lab.assert_single_creations();
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_address_somebody_else_has_comes_back_without_it_and_says_who() {
    let mut lab = Lab::new().await;
    lab.config.tenant.quarantine_after = 3;
    let id = deleted(&lab).await;
    let other = json!({
        "userPrincipalName": "other@emea.example", "displayName": "Other", "mailNickname": "other",
        "mail": "eva@emea.example", "proxyAddresses": ["SMTP:eva@emea.example"],
    });
    let other = lab.control.seed_user(other).unwrap();
    lab.wish(vec![user(1, &eva()), member(100, 1)]).await;
    let running = lab.start().await;
    running.until(|s| s.quarantined_total == 1 && s.idle).await;
    let quarantined = lab.quarantined(1).await.unwrap();
    let attribute = quarantined.error.attribute.unwrap();
    assert!(attribute == "mail" || attribute == "proxyAddresses", "{attribute}");
    assert!(quarantined.error.detail.contains(&other), "{}", quarantined.error.detail);
    // it is back all the same, and a member again
    assert_eq!((lab.id(1), lab.members(100, [1])), (Some(id), vec![1]));
    lab.control.edit(&other, json!({"mail": null, "proxyAddresses": null})).unwrap();
    running.until(|s| s.quarantined_total == 0 && s.idle).await;
    running.end().await;
    assert_eq!(lab.property(1, "mail"), Some("eva@emea.example".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_purged_or_brought_back_meanwhile_is_made_anew_or_taken_as_is() {
    for is_purged in [true, false] {
        let lab = Lab::new().await;
        let id = deleted(&lab).await;
        if is_purged {
            lab.control.purge(&id).unwrap();
        } else {
            lab.control.bring_back(&id).unwrap();
        }
        lab.wish(vec![user(1, &eva()), member(100, 1)]).await;
        let status = lab.settle().await;
        assert_eq!((status.quarantined_total, status.retrying), (0, 0), "purged {is_purged}");
        assert_eq!(lab.id(1).as_ref() == Some(&id), !is_purged);
        assert_eq!((lab.dump().users.len(), lab.members(100, [1])), (1, vec![1]), "purged {is_purged}");
        let last = lab.types(1).await.into_iter().rev().find(|kind| kind.starts_with("Object"));
        assert_eq!(last, Some(if is_purged { "ObjectProvisioned" } else { "ObjectAdopted" }));
    }
}

/// The anchor is on another object by now: that one is the one, and the deleted one stays where it is.
#[tokio::test(flavor = "multi_thread")]
async fn whose_anchor_another_object_has_is_that_one() {
    let lab = Lab::new().await;
    let id = deleted(&lab).await;
    let other = json!({
        "userPrincipalName": "eva2@emea.example", "displayName": "Eva", "mailNickname": "eva2",
        "onPremisesImmutableId": common::anchor(1).as_str(),
    });
    let other = lab.control.seed_user(other).unwrap();
    lab.wish(vec![user(1, &eva()), member(100, 1)]).await;
    let status = lab.settle().await;
    assert_eq!((status.quarantined_total, lab.id(1)), (0, Some(other)));
    assert_eq!(lab.property(1, "userPrincipalName"), Some("eva@emea.example".into()));
    assert_eq!(lab.members(100, [1]), [1]);
    assert!(lab.dump().deleted_users.iter().any(|user| user.id == id));
}
