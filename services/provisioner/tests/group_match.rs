//! Groups of the tenant that are adopted by an attribute: which ones, with what, and never another one beside them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Lab, anchor, group, member, no_member, removed, text, user};
use forestsync_practice::tenant::{Expected, GroupDump, Knob, LATE};
use forestsync_provisioner::{CrashPoint, ExtensionApp, SoftMatch};
use forestsync_schemas::desired::{CloudClass, DesiredEvent};
use forestsync_schemas::outcomes::{AttributePair, MatchedBy, OutcomeEvent};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const REGISTRATION: &str = "5d0c2b1e-7f3a-4c69-8a51-0f9e6b7c8d21";
/// Runs at a time: most of one is waiting.
const AT_ONCE: usize = 6;
const MIXES: u64 = 20;
const LATE_KNOBS: [Knob; 4] = [Knob::LateKeyReads, Knob::LateFilters, Knob::LateReferences, Knob::TwoReplicas];
const POINTS: [CrashPoint; 4] =
    [CrashPoint::IntentDurable, CrashPoint::Answered, CrashPoint::OutcomeAppended, CrashPoint::LedgerUpdated];

/// A tenant whose groups are matched by `mailNickname`.
async fn lab() -> Lab {
    prepared(Lab::new().await)
}

/// The same, where the exchanges are kept.
async fn recorded() -> (Lab, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::with(|o| o.record_file = Some(folder.path().join("exchanges.jsonl"))).await;
    (prepared(lab), folder)
}

fn prepared(mut lab: Lab) -> Lab {
    let client_id = lab.config.tenant.client_id.clone();
    lab.config.tenant.extension_app = Some(ExtensionApp { client_id, object_id: REGISTRATION.to_owned() });
    lab.config.tenant.group_match = vec![SoftMatch::by("mailNickname")];
    lab.control.grant_permission("Application.ReadWrite.All", true);
    lab
}

/// A group that was there before.
fn seed(lab: &Lab, n: u32, more: &Value, members: &[String]) -> String {
    let mut properties = json!({"displayName": "Old", "description": "by hand", "mailNickname": format!("group{n}"),
        "mailEnabled": false, "securityEnabled": true});
    properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    lab.control.seed_group(properties, members).unwrap()
}

fn found(lab: &Lab, id: &str) -> GroupDump {
    lab.dump().groups.into_iter().find(|group| group.id == id).unwrap()
}

/// What the extension says whose group it is.
fn carried(lab: &Lab, id: &str) -> Option<Value> {
    let name = format!("extension_{}_forestsyncAnchor", lab.config.tenant.client_id.replace('-', ""));
    found(lab, id).properties.get(&name).filter(|value| !value.is_null()).cloned()
}

fn creations(lab: &Lab) -> u64 {
    lab.tenant.counters().operations.get("group.create").copied().unwrap_or_default()
}

/// The members of a group by number.
fn members(lab: &Lab, id: &str, candidates: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let members = found(lab, id).members;
    candidates.into_iter().filter(|n| lab.id(*n).is_some_and(|id| members.contains(&id))).collect()
}

/// Checks what was exchanged with the tenant.
async fn keep(lab: Lab, folder: &tempfile::TempDir) {
    lab.tenant.stop().await.unwrap();
    common::keep_contract(&[folder.path().join("exchanges.jsonl")], &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_adopted_and_written_by_its_id_from_then_on() {
    let (lab, folder) = recorded().await;
    let guest = lab
        .control
        .seed_user(json!({"userPrincipalName": "guest@emea.example", "displayName": "Guest",
        "mailNickname": "guest", "accountEnabled": true}))
        .unwrap();
    lab.wish((1..=4).map(|n| user(n, &[])).collect()).await;
    lab.settle().await;
    let there = [lab.id(1).unwrap(), lab.id(4).unwrap(), guest.clone()];
    let id = seed(&lab, 100, &json!({}), &there);
    lab.control.reset_counters();
    lab.wish(vec![group(100), member(100, 1), member(100, 2)]).await;
    let status = lab.settle().await;
    assert_eq!((status.quarantined_total, status.held_total), (0, 0));
    assert_eq!((creations(&lab), carried(&lab, &id)), (0, Some(json!(anchor(100).unique_name()))));
    assert_eq!(found(&lab, &id).properties["displayName"], "Group 100", "it is as it is wished");
    // those that nobody here wishes stay, managed or not; who is there already is not added again
    assert_eq!(members(&lab, &id, 1..=4), [1, 2, 4]);
    assert!(found(&lab, &id).members.contains(&guest));
    assert_eq!(lab.tenant.counters().writes_without_effect, 0);
    let adopted = lab.outcomes().await.into_iter().find_map(|o| match o.event {
        OutcomeEvent::ObjectAdopted(adopted) => Some((adopted.matched_by, adopted.pair)),
        _ => None,
    });
    let pair = AttributePair { wished: "mailNickname".into(), cloud: "mailNickname".into() };
    assert_eq!(adopted, Some((MatchedBy::Attribute, Some(pair))));

    // what comes later
    let DesiredEvent::ObjectDesired(mut wish) = group(100) else { unreachable!() };
    wish.attributes.insert("displayName".into(), text("Renamed"));
    wish.attributes.insert("mailNickname".into(), text("renamed"));
    lab.wish(vec![DesiredEvent::ObjectDesired(wish), no_member(100, 1), member(100, 3)]).await;
    lab.settle().await;
    assert_eq!(found(&lab, &id).properties["displayName"], "Renamed");
    assert_eq!(members(&lab, &id, 1..=4), [2, 3, 4]);

    // gone, and back as the same group
    lab.wish(vec![removed(100, CloudClass::Group)]).await;
    lab.settle().await;
    assert!(lab.dump().groups.is_empty());
    lab.wish(vec![group(100), member(100, 2)]).await;
    lab.settle().await;
    assert_eq!((creations(&lab), found(&lab, &id).properties["displayName"].clone()), (0, json!("Group 100")));
    assert_eq!(carried(&lab, &id), Some(json!(anchor(100).unique_name())));
    keep(lab, &folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_adopted_is_said_and_nothing_is_created_beside_it() {
    let (lab, folder) = recorded().await;
    let refused = [
        (101, json!({"onPremisesSyncEnabled": true}), "synced_match"),
        (102, json!({"isAssignableToRole": true}), "role_assignable_match"),
        (
            103,
            json!({"groupTypes": ["DynamicMembership"], "membershipRule": "user.city -eq \"Bern\""}),
            "dynamic_match",
        ),
        (104, json!({"mailEnabled": true, "mail": "d@emea.example"}), "mail_enabled_match"),
        (105, json!({"mailEnabled": true, "groupTypes": ["Unified"]}), "mail_enabled_match"),
        (106, json!({}), "ambiguous_match"),
    ];
    let ids: Vec<String> = refused.iter().map(|(n, more, _)| seed(&lab, *n, more, &[])).collect();
    let twin = seed(&lab, 106, &json!({}), &[]);
    lab.wish(refused.iter().map(|(n, ..)| group(*n)).collect()).await;
    let status = lab.settle().await;
    assert_eq!((status.quarantined_total, creations(&lab)), (refused.len(), 0));
    for ((n, _, code), id) in refused.iter().zip(&ids) {
        let said = lab.quarantined(*n).await.unwrap();
        assert_eq!((said.error.code.as_str(), said.attempts), (*code, 0), "{n}");
        assert!(said.error.detail.contains(id) && said.error.hint.is_some(), "{}", said.error.detail);
        assert_eq!((carried(&lab, id), lab.types(*n).await), (None, vec!["ExportQuarantined"]));
    }
    assert!(lab.quarantined(106).await.unwrap().error.detail.contains(&twin));
    assert_eq!(lab.tenant.counters().operations.get("group.update"), None, "nothing was written to them");
    // the reason goes in the tenant, and nobody has to say so
    let running = lab.start().await;
    lab.control.delete(&twin, true).unwrap();
    running.until(|s| s.idle && s.quarantined_total == refused.len() - 1).await;
    running.end().await;
    assert_eq!(carried(&lab, ids.last().unwrap()), Some(json!(anchor(106).unique_name())));
    keep(lab, &folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_an_anchor_is_another_group_and_nobody_has_one_twice() {
    let lab = lab().await;
    let of_others = seed(&lab, 100, &json!({"uniqueName": "somebody-elses"}), &[]);
    let shared = seed(&lab, 200, &json!({}), &[]);
    let named = |n: u32| {
        let DesiredEvent::ObjectDesired(mut wish) = group(n) else { unreachable!() };
        wish.attributes.insert("mailNickname".into(), text("group200"));
        DesiredEvent::ObjectDesired(wish)
    };
    lab.wish(vec![group(100), named(200), named(201)]).await;
    let status = lab.settle().await;
    assert_eq!((status.quarantined_total, creations(&lab)), (0, 2));
    assert_eq!((carried(&lab, &of_others), lab.id(100).is_some()), (None, true), "one of its own was made");
    let of_shared = carried(&lab, &shared);
    assert!([200, 201].iter().any(|n| of_shared == Some(json!(anchor(*n).unique_name()))), "{of_shared:?}");
    // a third one comes when the tenant does not show yet whose it is
    lab.knobs(|k| k.visibility.filters = Duration::from_hours(1));
    lab.wish(vec![named(202)]).await;
    lab.settle().await;
    assert_eq!((creations(&lab), carried(&lab, &shared)), (3, of_shared));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_no_group_is_adopted() {
    let mut lab = lab().await;
    lab.config.tenant.group_match.clear();
    let id = seed(&lab, 100, &json!({}), &[]);
    lab.wish(vec![group(100)]).await;
    lab.settle().await;
    assert_eq!((creations(&lab), carried(&lab, &id)), (1, None));
    assert_eq!(lab.tenant.counters().operations.get("extension.create"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_definition_no_group_is_created_or_adopted() {
    let lab = lab().await;
    lab.control.revoke_permission("Application.ReadWrite.All", true);
    let id = seed(&lab, 100, &json!({}), &[]);
    lab.wish(vec![group(100), group(101), user(1, &[])]).await;
    let running = lab.start().await;
    running.until(|s| s.idle && s.quarantined_total == 2).await;
    let said = lab.quarantined(100).await.unwrap().error;
    assert_eq!(
        (said.code.as_str(), said.attribute.as_deref()),
        ("extension_not_permitted", Some("extension.forestsyncAnchor"))
    );
    assert!(lab.id(1).is_some(), "users are no matter");
    lab.control.grant_permission("Application.ReadWrite.All", true);
    running.until(|s| s.idle && s.quarantined_total == 0).await;
    running.end().await;
    assert_eq!((creations(&lab), carried(&lab, &id)), (1, Some(json!(anchor(100).unique_name()))));
}

#[tokio::test(flavor = "multi_thread")]
async fn dies_between_every_two_steps_and_adopts_each_group_once() {
    for point in POINTS {
        let mut lab = lab().await;
        // each write by itself
        (lab.config.tenant.in_flight, lab.config.tenant.batch_size) = (1, 1);
        let ids: Vec<String> = (100..=104).map(|n| seed(&lab, n, &json!({}), &[])).collect();
        lab.wish((1..=3).map(|n| user(n, &[])).collect()).await;
        lab.wish((100..=106).map(group).chain((1..=3).map(|n| member(100, n))).collect()).await;
        let (mut deaths, mut after) = (0, 0);
        while lab.crash(point, after).await {
            deaths += 1;
            after = (after + 1) % 3;
            assert!(deaths < 200, "{point:?} makes no progress");
        }
        assert!(deaths >= 4, "{point:?} was passed {deaths} times only");
        for (n, id) in (100..).zip(&ids) {
            assert_eq!(carried(&lab, id), Some(json!(anchor(n).unique_name())), "{point:?}");
        }
        assert_eq!((creations(&lab), lab.dump().groups.len()), (2, 7), "{point:?}");
        assert_eq!(members(&lab, &ids[0], 1..=3), [1, 2, 3]);
        lab.assert_single_creations();
        std::fs::remove_dir_all(&lab.config.directory).unwrap();
        lab.control.reset_counters();
        lab.settle().await;
        assert_eq!(lab.tenant.counters().writes, 0, "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_group_is_found_again_when_ledger_and_outcomes_are_gone() {
    for with_outcomes in [true, false] {
        for refused in [false, true] {
            let mut lab = lab().await;
            lab.knobs(|k| k.deleted_filter_refused = refused);
            let (id, other) = (seed(&lab, 100, &json!({}), &[]), seed(&lab, 102, &json!({}), &[]));
            let mut wishes: Vec<DesiredEvent> = (1..=6).map(|n| user(n, &[])).collect();
            wishes.extend([group(100), group(101), group(102), member(101, 100)]);
            wishes.extend((1..=5).map(|n| member(100, n)));
            lab.wish(wishes).await;
            lab.settle().await;
            // what leads to it is gone as well
            lab.wish(vec![no_member(100, 5), removed(102, CloudClass::Group)]).await;
            lab.settle().await;
            std::fs::remove_dir_all(&lab.config.directory).unwrap();
            if !with_outcomes {
                lab.lose_outcomes().await;
            }
            lab.control.edit(&id, json!({"mailNickname": "changed"})).unwrap();
            lab.control.reset_counters();
            lab.settle().await;
            let what = format!("outcomes: {with_outcomes}, filters refused: {refused}");
            // what others changed is written back where the tenant is what tells
            let writes = lab.tenant.counters().writes;
            assert_eq!((writes, creations(&lab)), (u64::from(!with_outcomes), 0), "{what}");
            lab.wish(vec![member(100, 6), no_member(100, 1), group(102)]).await;
            let status = lab.settle().await;
            assert_eq!((status.quarantined_total, creations(&lab)), (0, 0), "{what}");
            assert_eq!(members(&lab, &id, 1..=6), [2, 3, 4, 6], "{what}");
            assert_eq!(carried(&lab, &other), Some(json!(anchor(102).unique_name())), "{what}: it came back");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_shows_everything_late_gets_no_second_group() {
    let mut lab = lab().await;
    lab.config.tenant.visible_within = Duration::from_mins(1);
    let late = |seconds: u64| {
        move |k: &mut forestsync_practice::tenant::Knobs| {
            k.visibility.filters = Duration::from_secs(seconds);
        }
    };
    let id = seed(&lab, 100, &json!({}), &[]);
    lab.knobs(late(3_600));
    lab.control.edit(&id, json!({})).unwrap();
    lab.knobs(late(0));
    lab.wish(vec![group(100), user(1, &[]), member(100, 1)]).await;
    // it died when the group had its anchor, and nobody wrote that down
    assert!(lab.crash(CrashPoint::Answered, 2).await || lab.crash(CrashPoint::Answered, 0).await);
    lab.knobs(late(3_600));
    let running = lab.start().await;
    lab.idle(&running).await;
    assert_eq!(creations(&lab), 0);
    // it vanishes from a filter and is not taken for deleted
    lab.control.fail_next("PATCH", "groups/", 404, 3, false);
    let DesiredEvent::ObjectDesired(mut wish) = group(100) else { unreachable!() };
    wish.attributes.insert("description".into(), text("new"));
    lab.wish(vec![DesiredEvent::ObjectDesired(wish)]).await;
    running.until(|s| s.retrying > 0 || s.idle).await;
    lab.knobs(late(0));
    lab.idle(&running).await;
    running.end().await;
    assert_eq!((creations(&lab), carried(&lab, &id)), (0, Some(json!(anchor(100).unique_name()))));
    assert_eq!(found(&lab, &id).properties["description"], "new");
}

/// Under each knob alone and under some mixes: groups are adopted once, found again without a ledger, and written.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_tenant_is_like() {
    let alone = Knob::ALL.into_iter().map(|knob| vec![knob]);
    let mixes = (0..MIXES).map(Knob::mix);
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut runs = JoinSet::new();
    for knobs in alone.chain(mixes) {
        // those that are about single objects or domains are no matter here
        let knobs: Vec<Knob> = knobs.into_iter().filter(|knob| knob.expected() == Expected::Everything).collect();
        let slots = Arc::clone(&slots);
        runs.spawn(async move {
            let _slot = slots.acquire().await.unwrap();
            let what = format!("{knobs:?}");
            tokio::spawn(adopts_under(knobs)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        });
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

async fn adopts_under(knobs: Vec<Knob>) {
    // from the beginning, for then its exchanges are recorded as strange ones
    let is_strange = knobs.contains(&Knob::UnknownProperties);
    let mut lab = prepared(Lab::with(|o| o.knobs.unknown_properties = is_strange).await);
    lab.config.tenant.request_timeout = Duration::from_secs(5);
    if knobs.iter().any(|knob| LATE_KNOBS.contains(knob)) {
        lab.config.tenant.visible_within = LATE * 8;
    }
    let ids: Vec<String> = (100..=104).map(|n| seed(&lab, n, &json!({}), &[])).collect();
    tokio::time::sleep(LATE).await;
    for knob in &knobs {
        lab.knobs(|all| knob.turn(all));
    }
    let mut wishes: Vec<DesiredEvent> = (1..=12).map(|n| user(n, &[])).collect();
    wishes.extend((100..=106).map(group).chain((1..=12).map(|n| member(100 + n % 7, n))));
    lab.wish(wishes).await;
    lab.settle().await;
    for with_outcomes in [true, false] {
        std::fs::remove_dir_all(&lab.config.directory).unwrap();
        if !with_outcomes {
            lab.lose_outcomes().await;
        }
        lab.wish(vec![no_member(100, 7), member(101, 7), user(1, &[("city", text("Bern"))])]).await;
        let status = lab.settle().await;
        assert_eq!((status.held_total, status.quarantined_total), (0, 0), "{knobs:?}");
    }
    for (n, id) in (100..).zip(&ids) {
        assert_eq!(carried(&lab, id), Some(json!(anchor(n).unique_name())), "{knobs:?}");
    }
    assert_eq!((lab.dump().groups.len(), creations(&lab)), (7, 2), "{knobs:?}");
    assert_eq!(members(&lab, &ids[1], 1..=12), [1, 7, 8], "{knobs:?}");
    assert!(members(&lab, &ids[0], 1..=12).is_empty(), "{knobs:?}");
}
