//! Users and groups: create, adopt, restore, least change, delete.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Lab, anchor, desired, group, removed, text, user, user_attributes};
use forestsync_provisioner::{CheckLine, Credential, SoftMatch, check};
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue, DesiredEvent};
use forestsync_schemas::outcomes::{MatchedBy, OutcomeEvent};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn creates_users_and_groups_once() {
    let lab = Lab::new().await;
    let mut wishes: Vec<DesiredEvent> = (0..60).map(|n| user(n, &[("jobTitle", text("R&D; Dept"))])).collect();
    wishes.extend((100..105).map(group));
    lab.wish(wishes).await;
    let status = lab.settle().await;
    assert_eq!(status.managed.get(&CloudClass::User), Some(&60));
    assert_eq!(status.managed.get(&CloudClass::Group), Some(&5));
    let dump = lab.dump();
    assert_eq!((dump.users.len(), dump.groups.len()), (60, 5));
    assert_eq!(lab.property(7, "jobTitle"), Some(json!("R&D; Dept")));
    assert_eq!(lab.tenant.counters().writes, 65);
    let outcomes = lab.outcomes().await;
    assert_eq!(outcomes.len(), 65);
    assert!(outcomes.iter().all(|o| o.context.cloud_id.is_some() && o.context.request_id.is_some()));
    assert!(outcomes.iter().all(|o| o.context.status == Some(201)));
    let text = String::from_utf8(outcomes[0].encode().unwrap()).unwrap();
    assert!(!text.contains("password"), "the initial password is nobody's business");

    lab.control.reset_counters();
    let again = lab.settle().await;
    assert!(again.idle);
    assert_eq!(lab.tenant.counters().requests.values().sum::<u64>(), 0, "nothing to do is no request");
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_the_least_change_and_clears() {
    let lab = Lab::new().await;
    lab.wish(vec![
        user(1, &[("city", text("Bern")), ("businessPhones", CloudValue::List(vec!["1".into()]))]),
        user(2, &[]),
    ])
    .await;
    lab.settle().await;
    lab.control.reset_counters();
    lab.wish(vec![user(1, &[("jobTitle", text("Chief"))]), user(2, &[])]).await;
    lab.settle().await;
    assert_eq!(lab.property(1, "city"), None);
    assert_eq!(lab.property(1, "jobTitle"), Some(json!("Chief")));
    assert_eq!(lab.property(1, "businessPhones").unwrap_or(json!([])), json!([]));
    assert_eq!(lab.tenant.counters().writes, 1, "user 2 did not change");
    let last = lab.outcomes().await.pop().unwrap();
    let OutcomeEvent::ObjectUpdated(update) = last.event else { panic!("{:?}", last.event) };
    assert_eq!(update.changes.keys().collect::<Vec<_>>(), ["businessPhones", "city", "jobTitle"]);
    assert_eq!(update.changes["city"].before, Some(text("Bern")));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_wish_is_sent() {
    let lab = Lab::new().await;
    lab.wish(vec![user(1, &[])]).await;
    lab.settle().await;
    for n in 0..20 {
        lab.wish(vec![user(1, &[("city", text(&format!("City {n}")))])]).await;
    }
    lab.control.reset_counters();
    lab.settle().await;
    assert_eq!(lab.property(1, "city"), Some(json!("City 19")));
    assert_eq!(lab.tenant.counters().writes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn adopts_what_carries_the_anchor() {
    let lab = Lab::new().await;
    lab.control
        .seed_user(json!({
            "onPremisesImmutableId": anchor(1).as_str(), "userPrincipalName": "old@emea.example",
            "displayName": "Old", "mailNickname": "user1", "accountEnabled": true, "city": "Bern",
        }))
        .unwrap();
    let unique = anchor(2).unique_name();
    lab.control
        .seed_group(
            json!({"uniqueName": unique, "displayName": "Group 2", "mailNickname": "group2",
            "mailEnabled": false, "securityEnabled": true}),
            &[],
        )
        .unwrap();
    lab.wish(vec![user(1, &[]), group(2)]).await;
    lab.settle().await;
    assert_eq!(lab.types(1).await, ["ObjectAdopted", "ObjectUpdated"]);
    assert_eq!(lab.types(2).await, ["ObjectAdopted"]);
    assert_eq!(lab.property(1, "userPrincipalName"), Some(json!("user1@emea.example")));
    assert_eq!(lab.property(1, "city"), None, "a managed attribute without a wish is cleared");
    assert_eq!((lab.dump().users.len(), lab.dump().groups.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn soft_match_is_off_by_default_and_takes_only_free_users() {
    let mut lab = Lab::new().await;
    let seed = |n: u32, extra: serde_json::Value| {
        let mut properties = json!({"userPrincipalName": format!("user{n}@emea.example"), "displayName": "Old",
            "mailNickname": format!("user{n}"), "accountEnabled": true});
        properties.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        lab.control.seed_user(properties).unwrap()
    };
    let free = seed(1, json!({}));
    seed(2, json!({"onPremisesImmutableId": "c29tZWJvZHkgZWxzZQ=="}));
    seed(3, json!({"userPrincipalName": "other@emea.example", "mail": "three@emea.example"}));
    let wishes = || vec![user(1, &[]), user(2, &[]), user(3, &[("mail", text("three@emea.example"))])];
    lab.config.tenant.quarantine_after = 2;
    lab.wish(wishes()).await;
    lab.settle().await;
    let refused = lab.quarantined(1).await.unwrap();
    assert_eq!(refused.error.attribute.as_deref(), Some("userPrincipalName"));
    assert!(refused.error.detail.contains(&free), "{}", refused.error.detail);

    lab.config.tenant.soft_match = vec![SoftMatch::by("userPrincipalName"), SoftMatch::by("mail")];
    lab.wish(wishes()).await;
    lab.settle().await;
    assert_eq!(lab.id(1), Some(free), "the free user was taken over");
    let by = |n: u32, by: MatchedBy| async move {
        let all = lab.outcomes().await;
        assert!(all.iter().any(|o| o.context.anchor == anchor(n)
            && matches!(&o.event, OutcomeEvent::ObjectAdopted(a) if a.matched_by == by)));
        lab
    };
    let lab = by(1, MatchedBy::UserPrincipalName).await;
    assert!(lab.id(2).is_none(), "a user with another anchor is left alone");
    assert_eq!(lab.property(3, "userPrincipalName"), Some(json!("user3@emea.example")));
}

#[tokio::test(flavor = "multi_thread")]
async fn pairs_of_attributes_match_in_their_order_and_only_where_they_mean_one() {
    let mut lab = Lab::new().await;
    let seed = |n: u32, extra: serde_json::Value| {
        let mut properties = json!({"displayName": "Old", "mailNickname": format!("old{n}"), "accountEnabled": true,
            "userPrincipalName": format!("old{n}@emea.example")});
        properties.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        lab.control.seed_user(properties).unwrap()
    };
    let first = seed(1, json!({"employeeId": "4711"}));
    let second = seed(2, json!({"userPrincipalName": "two@emea.example"}));
    seed(3, json!({"employeeId": "0815"}));
    seed(4, json!({"employeeId": "0815"}));
    let pair = SoftMatch { wished: "mail".into(), cloud: "userPrincipalName".into() };
    lab.config.tenant.soft_match = vec![SoftMatch::by("employeeId"), pair];
    lab.wish(vec![
        user(1, &[("employeeId", text("4711")), ("mail", text("two@emea.example"))]),
        user(2, &[("mail", text("two@emea.example"))]),
        user(3, &[("employeeId", text("0815"))]),
    ])
    .await;
    lab.settle().await;
    assert_eq!((lab.id(1), lab.id(2)), (Some(first), Some(second)));
    assert_eq!(lab.dump().users.len(), 5, "a number that two have means neither: a new user was made");
    let all = lab.outcomes().await;
    let by = all.iter().filter_map(|o| match &o.event {
        OutcomeEvent::ObjectAdopted(adopted) => Some(adopted.matched_by),
        _ => None,
    });
    assert_eq!(by.collect::<Vec<_>>(), [MatchedBy::Attribute; 2]);
}

/// Whoever can write a name in a directory must not become an administrator of the tenant by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_soft_match_takes_no_administrator_and_nobody_twice() {
    let mut lab = Lab::with(|o| o.privileged_users = vec!["user1@emea.example".into()]).await;
    let seed = |name: &str, mail: &str| {
        let properties = json!({"userPrincipalName": name, "displayName": "Old", "mailNickname": "x", "mail": mail,
            "accountEnabled": true});
        lab.control.seed_user(properties).unwrap()
    };
    let (admin, shared) = (seed("user1@emea.example", "one@emea.example"), seed("x@emea.example", "two@emea.example"));
    lab.config.tenant.soft_match = vec![SoftMatch::by("userPrincipalName"), SoftMatch::by("mail")];
    let mail = |n: u32| user(n, &[("mail", text("two@emea.example"))]);
    lab.wish(vec![user(1, &[]), mail(2), mail(3)]).await;
    let status = lab.settle().await;
    let refused = lab.quarantined(1).await.unwrap();
    assert_eq!((refused.error.code.as_str(), refused.attempts), ("privileged_match", 0));
    assert!(refused.error.detail.contains(&admin), "{}", refused.error.detail);
    let dump = lab.dump();
    let of =
        |id: &str| dump.users.iter().find(|u| u.id == id).unwrap().properties.get("onPremisesImmutableId").cloned();
    assert_eq!(of(&admin), None, "nothing was written to it");
    let adopted: Vec<u32> = [2, 3].into_iter().filter(|n| lab.id(*n).as_ref() == Some(&shared)).collect();
    assert_eq!(adopted.len(), 1, "one of the two has it");
    assert_eq!(of(&shared), Some(json!(anchor(adopted[0]).as_str())));
    assert!(status.quarantined_total >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_what_was_deleted() {
    for (holds, refused) in [(true, false), (false, true)] {
        let lab = Lab::with(|o| {
            o.knobs.deleted_holds_immutable_id = holds;
            o.knobs.deleted_filter_refused = refused;
        })
        .await;
        lab.wish((1..=10).map(|n| user(n, &[])).chain([group(20), common::member(20, 1)]).collect()).await;
        lab.settle().await;
        let before = lab.id(1);
        lab.wish(vec![removed(1, CloudClass::User)]).await;
        lab.settle().await;
        assert_eq!(lab.id(1), None);
        assert_eq!(lab.dump().deleted_users.len(), 1);
        // the projector names memberships anew when an object comes back
        lab.wish(vec![user(1, &[("city", text("Bern"))]), common::member(20, 1)]).await;
        // whether the ledger knows of the deletion or not
        if refused {
            std::fs::remove_dir_all(&lab.config.directory).unwrap();
        }
        lab.settle().await;
        assert_eq!(lab.id(1), before, "the same object came back");
        assert_eq!(lab.property(1, "city"), Some(json!("Bern")));
        assert_eq!(lab.members(20, 1..=10), [1]);
        let types = lab.types(1).await;
        assert_eq!(types, ["ObjectProvisioned", "ObjectDeprovisioned", "ObjectRestored", "ObjectUpdated"]);
        lab.assert_single_creations();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_what_somebody_else_deleted_before_it_was_managed() {
    for refused in [false, true] {
        let lab = Lab::with(|o| o.knobs.deleted_filter_refused = refused).await;
        // another installation managed the user and deleted it
        let other = Lab::new().await;
        drop(other);
        lab.wish((1..=10).map(|n| user(n, &[])).collect()).await;
        lab.settle().await;
        let id = lab.id(3);
        lab.wish(vec![removed(3, CloudClass::User)]).await;
        lab.settle().await;
        // a provisioner that knows nothing of it
        let log = tempfile::tempdir().unwrap();
        let mut fresh = lab;
        fresh.log = std::sync::Arc::new(forestsync_log::EmbeddedLog::open(log.path()).unwrap());
        fresh.config.directory = log.path().join("provisioner");
        fresh.wish(common::flows()).await;
        fresh.wish(vec![user(3, &[]), user(4, &[])]).await;
        fresh.settle().await;
        assert_eq!(fresh.id(3), id);
        assert_eq!(fresh.types(3).await, ["ObjectRestored"]);
        assert_eq!(fresh.types(4).await, ["ObjectAdopted"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_anew_what_was_purged() {
    let lab = Lab::with(|o| o.knobs.soft_delete_security_groups = false).await;
    lab.wish((1..=10).map(group).collect()).await;
    lab.settle().await;
    let before = lab.id(1);
    lab.wish(vec![removed(1, CloudClass::Group)]).await;
    lab.settle().await;
    lab.wish(vec![group(1)]).await;
    lab.settle().await;
    assert!(lab.id(1).is_some() && lab.id(1) != before);
    assert_eq!(lab.types(1).await, ["ObjectProvisioned", "ObjectDeprovisioned", "ObjectProvisioned"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn heals_what_somebody_deleted_in_the_tenant() {
    let lab = Lab::new().await;
    lab.wish(vec![user(1, &[])]).await;
    lab.settle().await;
    let id = lab.id(1).unwrap();
    // an administrator deletes it, by way of a second installation
    let log = tempfile::tempdir().unwrap();
    let mut config = lab.config.clone();
    config.directory = log.path().join("provisioner");
    {
        let mut other = Lab::new().await;
        other.config = config;
        other.wish(vec![user(1, &[])]).await;
        other.settle().await;
        other.wish(vec![removed(1, CloudClass::User)]).await;
        other.settle().await;
    }
    assert_eq!(lab.id(1), None);
    lab.wish(vec![user(1, &[("city", text("Bern"))])]).await;
    lab.settle().await;
    assert_eq!(lab.id(1), Some(id));
    assert_eq!(lab.property(1, "city"), Some(json!("Bern")));
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_alone_what_azure_ad_connect_owns() {
    let lab = Lab::new().await;
    let properties = json!({"onPremisesImmutableId": anchor(1).as_str(), "userPrincipalName": "user1@emea.example",
        "displayName": "Old", "mailNickname": "user1", "accountEnabled": true, "onPremisesSyncEnabled": true});
    lab.control.seed_user(properties).unwrap();
    lab.wish(vec![user(1, &[]), user(2, &[])]).await;
    let status = lab.settle().await;
    assert_eq!(lab.quarantined(1).await.unwrap().error.code, "directory_synced");
    assert_eq!(status.quarantined.iter().map(|q| &q.anchor).collect::<Vec<_>>(), [&anchor(1)]);
    assert_eq!(lab.property(1, "displayName"), Some(json!("Old")));
    assert_eq!(lab.tenant.counters().writes, 1, "user 2 only");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_what_graph_cannot_write_once() {
    let lab = Lab::new().await;
    let mail = CloudAttributes::from([("displayName".into(), text("x"))]);
    let wish = |n, class| DesiredEvent::ObjectDesired(desired(n, class, mail.clone()));
    let mut with_addresses = desired(4, CloudClass::User, user_attributes(4));
    with_addresses.not_writable = vec!["proxyAddresses".into()];
    let all = vec![
        wish(1, CloudClass::Contact),
        wish(2, CloudClass::DistributionList),
        wish(3, CloudClass::MailEnabledGroup),
        DesiredEvent::ObjectDesired(with_addresses),
        common::member(2, 4),
        common::member(3, 4),
    ];
    lab.wish(all.clone()).await;
    let status = lab.settle().await;
    lab.wish(all).await;
    lab.settle().await;
    for n in 1..=3 {
        assert_eq!(lab.types(n).await, ["NotWritable"], "{n}");
    }
    assert_eq!(lab.types(4).await, ["NotWritable", "ObjectProvisioned"]);
    assert_eq!(status.not_writable.values().sum::<u64>(), 3);
    assert_eq!(lab.tenant.counters().writes, 1);
    lab.wish(vec![removed(1, CloudClass::Contact)]).await;
    assert_eq!(lab.settle().await.not_writable.values().sum::<u64>(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_name_the_attribute_and_rest_until_the_wish_changes() {
    let lab = Lab::new().await;
    let mut attributes = user_attributes(1);
    attributes.insert("userPrincipalName".into(), text("user1@nobody.example"));
    let mut incomplete = user_attributes(3);
    incomplete.remove("mailNickname");
    lab.control.refuse_writes(anchor(4).as_str(), Some("jobTitle"));
    lab.wish(vec![
        DesiredEvent::ObjectDesired(desired(1, CloudClass::User, attributes)),
        user(2, &[]),
        DesiredEvent::ObjectDesired(desired(3, CloudClass::User, incomplete)),
        user(4, &[("jobTitle", text("x"))]),
    ])
    .await;
    let status = lab.settle().await;
    assert!(lab.id(2).is_some(), "one object's failure never stops others");
    assert_eq!(status.quarantined_total, 3);
    let refused = lab.quarantined(1).await.unwrap();
    assert_eq!((refused.attempts, refused.error.code.as_str()), (3, "Request_BadRequest"));
    assert_eq!(lab.failures(1).await.len(), 2);
    assert_eq!(lab.quarantined(3).await.unwrap().error.attribute.as_deref(), Some("mailNickname"));
    assert_eq!(lab.quarantined(4).await.unwrap().error.attribute.as_deref(), Some("jobTitle"));

    lab.control.reset_counters();
    lab.settle().await;
    assert_eq!(lab.tenant.counters().writes, 0, "it rests, also after a restart");
    lab.control.refuse_writes(anchor(4).as_str(), None);
    lab.wish(vec![user(1, &[]), user(3, &[]), user(4, &[])]).await;
    let status = lab.settle().await;
    assert_eq!(status.quarantined_total, 0);
    assert!(lab.id(1).is_some() && lab.id(3).is_some() && lab.id(4).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_free_later() {
    let lab = Lab::new().await;
    lab.wish(vec![user(1, &[]), user(2, &[])]).await;
    lab.settle().await;
    // they change names: one of the two must wait for the other
    let named = |n: u32, name: u32| {
        let mut attributes = user_attributes(n);
        attributes.insert("userPrincipalName".into(), text(&format!("user{name}@emea.example")));
        DesiredEvent::ObjectDesired(desired(n, CloudClass::User, attributes))
    };
    lab.wish(vec![named(1, 3), named(2, 1)]).await;
    lab.settle().await;
    assert_eq!(lab.property(1, "userPrincipalName"), Some(json!("user3@emea.example")));
    assert_eq!(lab.property(2, "userPrincipalName"), Some(json!("user1@emea.example")));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_is_missing() {
    let lab = Lab::new().await;
    let all = BTreeSet::from([CloudClass::User, CloudClass::Group]);
    let good = check(&lab.config.tenant, &all).await;
    assert!(good.iter().all(CheckLine::is_ok), "{good:#?}");
    assert!(good.iter().any(|line| line.what == "domains" && line.detail.contains("emea.example")));
    let least = good.iter().find(|line| line.what == "least permissions").unwrap();
    let (needed, more) = least.detail.split_once("; the token carries also ").unwrap();
    assert_eq!(needed, "User.ReadWrite.All, Group.ReadWrite.All, Domain.Read.All, Organization.Read.All");
    assert!(more.contains("Application.ReadWrite.All"), "{more}");

    lab.control.revoke_permission("Group.ReadWrite.All", true);
    lab.control.revoke_permission("Directory.ReadWrite.All", true);
    let less = check(&lab.config.tenant, &all).await;
    let bad = less.iter().find(|line| line.what == "permission to write groups").unwrap();
    assert!(!bad.is_ok() && bad.hint.as_ref().unwrap().contains("Group.ReadWrite.All"));
    let users = check(&lab.config.tenant, &BTreeSet::from([CloudClass::User])).await;
    assert!(users.iter().all(CheckLine::is_ok), "groups are not written: {users:#?}");

    let mut wrong = lab.config.tenant.clone();
    wrong.credential = Credential::Given("wrong".to_owned().into());
    let lines = check(&wrong, &all).await;
    assert!(!lines[0].is_ok() && lines[0].detail.contains("AADSTS7000215"), "{lines:?}");

    let mut stranger = lab.config.tenant.clone();
    let ca = forestsync_practice::tls::PrivateCa::new().unwrap();
    let file = lab.folder.path().join("other.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    stranger.ca_file = Some(file);
    let begun = tokio::time::Instant::now();
    let lines = check(&stranger, &all).await;
    assert!(!lines[0].is_ok() && lines[0].detail.to_lowercase().contains("certificate"), "{lines:?}");
    assert!(begun.elapsed().as_secs() < 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_has_taken_over_is_not_deleted() {
    let lab = Lab::new().await;
    lab.wish((1..=10).map(|n| user(n, &[])).collect()).await;
    lab.settle().await;
    let id = lab.id(1).unwrap();
    lab.control.edit(&id, json!({"onPremisesSyncEnabled": true})).unwrap();
    lab.wish(vec![removed(1, CloudClass::User), removed(2, CloudClass::User)]).await;
    let status = lab.settle().await;
    assert_eq!((lab.id(1), lab.id(2)), (Some(id), None));
    assert_eq!(lab.types(1).await, ["ObjectProvisioned", "ObjectRelinquished"]);
    assert_eq!(status.managed.get(&CloudClass::User), Some(&8));
    lab.control.reset_counters();
    lab.settle().await;
    assert_eq!(lab.tenant.counters().writes, 0, "it is nobody of ours any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_owns_is_not_restored() {
    let lab = Lab::new().await;
    lab.wish((1..=10).map(|n| user(n, &[])).collect()).await;
    lab.settle().await;
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    lab.settle().await;
    let properties = json!({"onPremisesImmutableId": anchor(1).as_str(), "userPrincipalName": "user1@emea.example",
        "displayName": "Old", "mailNickname": "user1", "accountEnabled": true, "onPremisesSyncEnabled": true});
    lab.control.seed_user(properties).unwrap();
    lab.control.reset_counters();
    lab.wish(vec![user(1, &[])]).await;
    lab.settle().await;
    assert_eq!(lab.quarantined(1).await.unwrap().error.code, "directory_synced");
    assert_eq!(lab.tenant.counters().writes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_404_is_not_absence() {
    let mut lab = Lab::new().await;
    lab.config.tenant.visible_within = Duration::from_mins(15);
    lab.wish((1..=10).map(|n| user(n, &[])).chain([group(100), common::member(100, 2)]).collect()).await;
    lab.settle().await;
    let (user_id, group_id) = (lab.id(1).unwrap(), lab.id(100).unwrap());
    lab.control.fail_next("DELETE", &format!("users/{user_id}"), 404, 4, false);
    lab.control.fail_next("DELETE", &format!("groups/{group_id}/members"), 404, 4, false);
    lab.wish(vec![removed(1, CloudClass::User), common::no_member(100, 2)]).await;
    let status = lab.settle().await;
    assert_eq!(lab.id(1), None);
    assert_eq!(lab.members(100, 1..=10), Vec::<u32>::new());
    assert_eq!(status.quarantined_total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_nothing_confirmed_is_looked_for_before_it_is_forgotten() {
    let mut lab = Lab::new().await;
    lab.config.tenant.visible_within = Duration::from_mins(15);
    lab.wish((2..=10).map(|n| user(n, &[])).collect()).await;
    lab.settle().await;
    // it is created, the answer is an error, and no index shows it
    lab.control.fail_next("POST", "users", 500, 1, true);
    lab.knobs(|k| k.visibility.filters = Duration::from_hours(1));
    lab.wish(vec![user(1, &[]), user(2, &[("city", text("Bern"))])]).await;
    let running = lab.start().await;
    while lab.failures(1).await.is_empty() {
        tokio::task::yield_now().await;
    }
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    lab.idle(&running).await;
    lab.knobs(|k| k.visibility.filters = Duration::ZERO);
    while lab.id(1).is_some() {
        tokio::task::yield_now().await;
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upserted_group_that_no_index_shows_is_read_by_its_key() {
    let lab = Lab::new().await;
    lab.control
        .seed_group(
            json!({"uniqueName": anchor(1).unique_name(), "displayName": "Old", "mailNickname": "group1",
            "mailEnabled": false, "securityEnabled": true}),
            &[],
        )
        .unwrap();
    lab.knobs(|k| k.visibility.filters = Duration::from_hours(1));
    lab.wish(vec![group(1)]).await;
    lab.settle().await;
    assert_eq!(lab.types(1).await.first(), Some(&"ObjectAdopted"));
    assert!(lab.tenant.counters().writes <= 2, "{}", lab.tenant.counters().writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_for_the_creation_are_sent_once() {
    let lab = Lab::new().await;
    let wish = |n, attributes: &[(&str, CloudValue)], at_creation: &[(&str, CloudValue)]| {
        let pairs = |list: &[(&str, CloudValue)]| -> CloudAttributes {
            list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        let mut wish = desired(n, CloudClass::User, user_attributes(n));
        wish.attributes.extend(pairs(attributes));
        wish.at_creation = pairs(at_creation);
        DesiredEvent::ObjectDesired(wish)
    };
    // one that nobody manages, a default of one that is managed, and one that has a value of its own
    let once =
        [("ageGroup", text("Adult")), ("city", text("Bern")), ("jobTitle", text("x")), ("usageLocation", text("CH"))];
    lab.wish(vec![wish(1, &[("jobTitle", text("y"))], &once)]).await;
    lab.settle().await;
    let held = |name| lab.property(1, name);
    assert_eq!([held("ageGroup"), held("city")], [Some("Adult".into()), Some("Bern".into())]);
    assert_eq!([held("jobTitle"), held("usageLocation")], [Some("y".into()), Some("CH".into())]);
    let first = lab.outcomes().await.remove(0);
    let OutcomeEvent::ObjectProvisioned(made) = first.event else { panic!("{first:?}") };
    assert_eq!((made.attributes.get("ageGroup"), made.attributes.len()), (Some(&text("Adult")), 8));
    // nothing is compared, whatever the defaults are later; a value of its own counts, and its end
    let other = [("ageGroup", text("Minor")), ("city", text("Zug")), ("usageLocation", text("DE"))];
    lab.control.reset_counters();
    lab.wish(vec![wish(1, &[("jobTitle", text("y"))], &other)]).await;
    lab.settle().await;
    assert_eq!(lab.tenant.counters().writes, 0);
    lab.wish(vec![wish(1, &[("jobTitle", text("y")), ("city", text("Genf"))], &other)]).await;
    lab.settle().await;
    assert_eq!(lab.property(1, "city"), Some("Genf".into()));
    lab.wish(vec![wish(1, &[], &[])]).await;
    lab.settle().await;
    assert_eq!([lab.property(1, "city"), lab.property(1, "jobTitle")], [None, None]);
    assert_eq!(lab.property(1, "ageGroup"), Some("Adult".into()));
    // neither when it is brought back nor when it is found
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    lab.settle().await;
    lab.wish(vec![wish(1, &[], &other)]).await;
    lab.settle().await;
    let mut next = Lab::new().await;
    next.config.tenant = lab.config.tenant.clone();
    next.wish(vec![wish(1, &[], &other)]).await;
    next.settle().await;
    assert_eq!([lab.property(1, "city"), lab.property(1, "ageGroup")], [None, Some("Adult".into())]);
    assert_eq!(next.types(1).await, ["ObjectAdopted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_for_the_creation_are_known_also_when_its_answer_is_lost() {
    let lab = Lab::new().await;
    let mut wish = desired(1, CloudClass::User, user_attributes(1));
    wish.at_creation.insert("ageGroup".into(), text("Adult"));
    lab.control.fail_next("POST", "users", 500, 1, true);
    lab.wish(vec![DesiredEvent::ObjectDesired(wish)]).await;
    lab.settle().await;
    let made = lab.outcomes().await.into_iter().find_map(|o| match o.event {
        OutcomeEvent::ObjectProvisioned(e) => Some(e.attributes),
        _ => None,
    });
    assert_eq!(made.unwrap().get("ageGroup"), Some(&text("Adult")));
    lab.assert_single_creations();
}
