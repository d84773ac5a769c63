//! What others do in the tenant: found, judged by reading, and dealt with as configured; nothing false is found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/drift.rs"]
mod others;

use std::time::Duration;

use common::{anchor, group, member, no_member, removed, text, user};
use forestsync_practice::tenant::{Knob, Subjects};
use forestsync_provisioner::{CrashPoint, DriftPlace};
use forestsync_schemas::desired::{CloudClass, DesiredEvent};
use forestsync_schemas::outcomes::{DriftPolicy, OutcomeEvent};
use others::{Watched, places};
use serde_json::json;

fn attribute(name: &str) -> DriftPlace {
    DriftPlace::Attribute(name.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_is_reported_once_and_not_written() {
    let lab = Watched::all(DriftPolicy::Report).await;
    lab.wish(vec![user(1, &[("city", text("Bern"))]), user(2, &[]), group(10), member(10, 1)]).await;
    let running = lab.start().await;
    let status = lab.compared(&running).await;
    assert!(status.found.is_empty(), "{status:?}");
    assert!(status.compared.is_some());

    lab.control.reset_counters();
    lab.others_edit(1, json!({"city": "Basel", "jobTitle": "Chief"}));
    lab.others_edit(10, json!({"displayName": "Renamed"}));
    let status = lab.compared(&running).await;
    let report = DriftPolicy::Report;
    let expected =
        [(1, attribute("city"), report), (1, attribute("jobTitle"), report), (10, attribute("displayName"), report)];
    assert_eq!(places(&status, &[1, 10]), expected);
    assert_eq!(status.totals[&DriftPolicy::Report], 3);
    assert_eq!(lab.tenant.counters().writes, 0);
    assert_eq!(lab.property(1, "city"), Some(json!("Basel")));
    assert_eq!(lab.types(1).await, ["ObjectProvisioned", "DriftFound"]);

    // an attribute of it that changes is written without the others
    lab.wish(vec![user(1, &[("city", text("Bern")), ("department", text("R&D"))])]).await;
    lab.idle(&running).await;
    lab.compared(&running).await;
    assert_eq!(lab.property(1, "city"), Some(json!("Basel")));
    assert_eq!(lab.property(1, "department"), Some(json!("R&D")));

    // it is said again when it changes again, and ends when it is as it was
    lab.others_edit(1, json!({"city": "Genf"}));
    lab.compared(&running).await;
    lab.others_edit(1, json!({"city": "Bern"}));
    let status = lab.compared(&running).await;
    assert_eq!(status.totals[&DriftPolicy::Report], 2);
    assert_eq!(lab.types(1).await[2..], ["ObjectUpdated", "DriftFound", "DriftEnded"]);

    // the source's next value is written over what others wrote
    lab.wish(vec![user(1, &[("city", text("Bern")), ("department", text("R&D")), ("jobTitle", text("Head"))])]).await;
    lab.idle(&running).await;
    let status = lab.compared(&running).await;
    assert_eq!(status.totals[&DriftPolicy::Report], 1);
    assert_eq!(lab.property(1, "jobTitle"), Some(json!("Head")));
    lab.end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_enforced_is_written_back() {
    let lab = Watched::all(DriftPolicy::Enforce).await;
    lab.wish(vec![user(1, &[("city", text("Bern"))]), user(2, &[]), group(10)]).await;
    let running = lab.start().await;
    lab.compared(&running).await;
    lab.others_edit(1, json!({"city": null, "jobTitle": "Chief"}));
    lab.others_edit(10, json!({"description": "mine"}));
    let status = lab.undone(&running).await;
    assert!(status.found.is_empty(), "{status:?}");
    assert_eq!(lab.property(1, "city"), Some(json!("Bern")));
    assert_eq!(lab.property(1, "jobTitle"), None);
    assert_eq!(lab.types(1).await, ["ObjectProvisioned", "DriftFound", "ObjectUpdated"]);
    assert_eq!(lab.types(10).await, ["ObjectProvisioned", "DriftFound", "ObjectUpdated"]);
    lab.end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_stays_until_its_source_changes() {
    let lab = Watched::new(|drift| _ = drift.attributes.insert("city".into(), DriftPolicy::Accept)).await;
    lab.wish(vec![user(1, &[("city", text("Bern"))])]).await;
    let running = lab.start().await;
    lab.compared(&running).await;
    lab.others_edit(1, json!({"city": "Basel"}));
    let status = lab.compared(&running).await;
    assert_eq!(status.totals[&DriftPolicy::Accept], 1);
    running.end().await;
    // a ledger that is folded anew knows the same
    std::fs::remove_dir_all(lab.ledger()).unwrap();
    lab.control.reset_counters();
    let running = lab.start().await;
    let status = lab.compared(&running).await;
    assert_eq!(status.totals[&DriftPolicy::Accept], 1);
    assert_eq!(lab.tenant.counters().writes, 0);
    lab.wish(vec![user(1, &[("city", text("Zug"))])]).await;
    lab.idle(&running).await;
    let status = lab.compared(&running).await;
    assert!(status.totals.is_empty(), "{status:?}");
    assert_eq!(lab.property(1, "city"), Some(json!("Zug")));
    assert_eq!(lab.types(1).await, ["ObjectProvisioned", "DriftFound", "ObjectUpdated"]);
    let found = lab.outcomes().await.into_iter().find_map(|o| match o.event {
        OutcomeEvent::DriftFound(e) => Some(e),
        _ => None,
    });
    let city = found.unwrap().attributes.remove("city").unwrap();
    assert_eq!((city.expected, city.found), (Some(text("Bern")), Some(text("Basel"))));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_policy_counts_for_what_was_found_before() {
    let mut lab = Watched::all(DriftPolicy::Report).await;
    lab.wish(vec![user(1, &[("city", text("Bern"))])]).await;
    let running = lab.start().await;
    lab.compared(&running).await;
    lab.others_edit(1, json!({"city": "Basel"}));
    lab.compared(&running).await;
    running.end().await;
    lab.treat(|drift| drift.default = DriftPolicy::Enforce);
    let running = lab.start().await;
    lab.undone(&running).await;
    assert_eq!(lab.property(1, "city"), Some(json!("Bern")));
    assert_eq!(lab.types(1).await, ["ObjectProvisioned", "DriftFound", "DriftFound", "ObjectUpdated"]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_managed_is_never_looked_at() {
    let lab = Watched::all(DriftPolicy::Enforce).await;
    let other =
        lab.control.seed_user(json!({"displayName": "Cloud", "userPrincipalName": "cloud@emea.example"})).unwrap();
    lab.wish(vec![user(1, &[])]).await;
    let running = lab.start().await;
    lab.compared(&running).await;
    lab.control.reset_counters();
    lab.control.edit(&other, json!({"displayName": "Another"})).unwrap();
    lab.others_edit(1, json!({"aboutMe": "x"}));
    lab.compared(&running).await;
    let counters = lab.tenant.counters();
    assert_eq!((counters.writes, counters.batch_items), (0, 0));
    assert!(counters.requests.keys().all(|method| method == "GET"), "{counters:?}");
    running.end().await;
    assert_eq!(lab.types(1).await, ["ObjectProvisioned"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_tenant_costs_one_request_per_class_and_interval() {
    let lab = Watched::new(|drift| drift.interval = Duration::from_millis(50)).await;
    lab.wish((1..=250).map(|n| user(n, &[])).chain([group(1_000), group(1_001)]).collect()).await;
    let running = lab.start().await;
    let before = lab.compared(&running).await;
    lab.control.reset_counters();
    let rounds = running.until(|s| s.drift.as_ref().unwrap().rounds >= before.rounds + 10).await.drift.unwrap().rounds;
    let requests: u64 = lab.tenant.counters().requests.values().sum();
    let rounds = rounds - before.rounds;
    assert!(requests <= 2 * (rounds + 1), "{requests} requests in {rounds} rounds");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_by_others_are_reported_and_nothing_is_made_anew() {
    for for_good in [false, true] {
        let lab = Watched::all(DriftPolicy::Report).await;
        lab.wish(vec![user(1, &[]), user(2, &[]), group(10), group(11), member(10, 1), member(11, 2)]).await;
        let running = lab.start().await;
        lab.compared(&running).await;
        lab.control.reset_counters();
        let ids = [lab.others_delete(1, for_good), lab.others_delete(10, for_good)];
        let status = lab.compared(&running).await;
        let report = DriftPolicy::Report;
        assert_eq!(places(&status, &[1, 10]), [(1, DriftPlace::Deletion, report), (10, DriftPlace::Deletion, report)]);
        assert_eq!(lab.types(1).await, ["ObjectProvisioned", "DeletedByOthers"]);

        // neither a change of the source nor one of a membership brings it back
        lab.wish(vec![user(1, &[("city", text("Bern"))]), member(10, 2), member(11, 1)]).await;
        lab.idle(&running).await;
        let status = lab.compared(&running).await;
        assert_eq!(status.found.len(), 2);
        assert_eq!((lab.id(1), lab.id(10)), (None, None));
        assert_eq!(lab.members(11, [2]), [2]);
        assert_eq!(lab.tenant.counters().writes, 0);

        if for_good {
            // one that the source removes is nobody's trouble any more
            lab.wish(vec![removed(1, CloudClass::User), removed(10, CloudClass::Group)]).await;
            lab.idle(&running).await;
            assert!(lab.compared(&running).await.found.is_empty());
        } else {
            // restored by others: the report ends, and the object is what its source says
            for id in &ids {
                lab.control.restore(id).unwrap();
            }
            assert!(lab.compared(&running).await.found.is_empty());
            lab.idle(&running).await;
            assert_eq!(lab.property(1, "city"), Some(json!("Bern")));
            assert_eq!(lab.members(10, [1, 2]), [1, 2]);
            assert_eq!(lab.members(11, [1, 2]), [1, 2]);
            lab.assert_single_creations();
        }
        lab.end(running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_by_others_are_undone() {
    for for_good in [false, true] {
        let lab = Watched::all(DriftPolicy::Enforce).await;
        lab.wish((1..=5).map(|n| user(n, &[("city", text("Bern"))])).chain([group(10)]).collect()).await;
        lab.wish((1..=5).map(|n| member(10, n)).collect()).await;
        let running = lab.start().await;
        lab.compared(&running).await;
        lab.others_delete(1, for_good);
        lab.undone(&running).await;
        assert_eq!(lab.property(1, "city"), Some(json!("Bern")));
        assert_eq!(lab.members(10, 1..=5), [1, 2, 3, 4, 5]);
        lab.others_delete(10, for_good);
        lab.undone(&running).await;
        assert_eq!(lab.members(10, 1..=5), [1, 2, 3, 4, 5]);
        let how = if for_good { "ObjectProvisioned" } else { "ObjectRestored" };
        assert_eq!(lab.types(1).await[..3], ["ObjectProvisioned", "DeletedByOthers", how]);
        if !for_good {
            lab.assert_single_creations();
        }
        lab.end(running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_accepted_holds_until_the_source_changes() {
    let lab = Watched::all(DriftPolicy::Accept).await;
    lab.wish(vec![user(1, &[]), user(2, &[])]).await;
    let running = lab.start().await;
    lab.compared(&running).await;
    lab.others_delete(1, false);
    lab.compared(&running).await;
    running.end().await;
    std::fs::remove_dir_all(lab.ledger()).unwrap();
    let running = lab.start().await;
    let status = lab.compared(&running).await;
    assert_eq!(places(&status, &[1]), [(1, DriftPlace::Deletion, DriftPolicy::Accept)]);
    assert_eq!(lab.id(1), None);
    lab.wish(vec![user(1, &[("city", text("Bern"))])]).await;
    lab.idle(&running).await;
    assert_eq!(lab.property(1, "city"), Some(json!("Bern")));
    assert!(lab.compared(&running).await.found.is_empty());
    lab.assert_single_creations();
    lab.end(running).await;
}

fn group_of(members: std::ops::RangeInclusive<u32>) -> Vec<DesiredEvent> {
    let users = (1..=30).map(|n| user(n, &[]));
    users.chain([group(100)]).chain(members.map(|n| member(100, n))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_others_change_are_put_right() {
    let lab = Watched::all(DriftPolicy::Enforce).await;
    lab.wish(group_of(1..=25)).await;
    let running = lab.start().await;
    lab.compared(&running).await;
    for n in [3, 4] {
        lab.others_member(100, n, false);
    }
    for n in [28, 29] {
        lab.others_member(100, n, true);
    }
    let status = lab.undone(&running).await;
    assert!(status.found.is_empty(), "{status:?}");
    assert_eq!(lab.members(100, 1..=30), (1..=25).collect::<Vec<_>>());
    lab.end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_others_change_are_reported() {
    let lab = Watched::all(DriftPolicy::Report).await;
    lab.wish(group_of(1..=25)).await;
    let running = lab.start().await;
    lab.compared(&running).await;
    lab.control.reset_counters();
    let stranger = lab.control.seed_user(json!({"displayName": "S", "userPrincipalName": "s@emea.example"})).unwrap();
    let group = lab.id(100).unwrap();
    lab.control.set_member(&group, &stranger, true).unwrap();
    lab.others_member(100, 3, false);
    lab.others_member(100, 4, false);
    lab.others_member(100, 28, true);
    let status = lab.compared(&running).await;
    let report = DriftPolicy::Report;
    let mut expected: Vec<_> = [3, 4, 28].map(|n| (100, DriftPlace::Member(anchor(n)), report)).into();
    expected.sort();
    assert_eq!(places(&status, &[100]), expected);
    assert_eq!(lab.tenant.counters().writes, 0);
    lab.control.set_member(&group, &stranger, false).unwrap();

    // one comes back by itself; what the source says next is done
    lab.others_member(100, 4, true);
    assert_eq!(lab.compared(&running).await.found.len(), 2);
    lab.wish(vec![no_member(100, 3), member(100, 28)]).await;
    lab.idle(&running).await;
    assert!(lab.compared(&running).await.found.is_empty());
    let there: Vec<u32> = (1..=25).filter(|n| *n != 3).chain([28]).collect();
    assert_eq!(lab.members(100, 1..=30), there);
    lab.end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_member_is_not_one_that_was_removed() {
    let lab = Watched::all(DriftPolicy::Report).await;
    lab.wish(group_of(1..=10)).await;
    let running = lab.start().await;
    lab.compared(&running).await;
    lab.others_delete(3, true);
    lab.others_delete(4, false);
    lab.others_member(100, 5, false);
    let status = lab.compared(&running).await;
    let report = DriftPolicy::Report;
    let expected = [
        (3, DriftPlace::Deletion, report),
        (4, DriftPlace::Deletion, report),
        (100, DriftPlace::Member(anchor(5)), report),
    ];
    assert_eq!(places(&status, &[3, 4, 100]), expected);
    lab.end(running).await;
}

/// What others do while nobody looks.
fn mischief(lab: &Watched) {
    lab.others_edit(1, json!({"city": "Basel"}));
    lab.others_delete(30, false);
    lab.others_delete(29, true);
    lab.others_member(100, 2, false);
    lab.others_member(100, 27, true);
}

fn all_of_it() -> Vec<(u32, DriftPlace, DriftPolicy)> {
    let report = DriftPolicy::Report;
    let mut all = vec![
        (1, attribute("city"), report),
        (29, DriftPlace::Deletion, report),
        (30, DriftPlace::Deletion, report),
        (100, DriftPlace::Member(anchor(2)), report),
        (100, DriftPlace::Member(anchor(27)), report),
    ];
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_link_ends_in_a_comparison_of_everything() {
    for (bare, pages) in [(false, false), (true, false), (false, true)] {
        let lab = Watched::with(
            |options| {
                options.knobs.delta_gone_body = !bare;
                if pages {
                    Knob::DeltaSmallPages.turn(&mut options.knobs);
                }
            },
            |_| {},
        )
        .await;
        lab.wish(group_of(1..=25)).await;
        let running = lab.start().await;
        lab.compared(&running).await;
        running.end().await;
        mischief(&lab);
        lab.control.lose_delta_state(3);
        lab.control.reset_counters();
        let running = lab.start().await;
        let status = lab.compared(&running).await;
        assert_eq!(places(&status, &[1, 29, 30, 100]), all_of_it(), "{bare} {pages}");
        assert_eq!(lab.tenant.counters().writes, 0);
        let counts = lab.tenant.counters();
        assert!(counts.errors.get(&410).is_some_and(|n| *n == 3), "{counts:?}");
        let ignore: &[&str] = if bare { &["response-error-shape"] } else { &[] };
        lab.end_but(running, ignore).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_before_the_first_comparison_is_found() {
    let mut lab = Watched::new(|_| {}).await;
    let settings = lab.config.tenant.drift.take();
    lab.wish(group_of(1..=25)).await;
    lab.settle().await;
    mischief(&lab);
    lab.config.tenant.drift = settings;
    let running = lab.start().await;
    let status = lab.compared(&running).await;
    assert_eq!(places(&status, &[1, 29, 30, 100]), all_of_it());
    lab.end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_may_be_late_repeated_and_in_parts() {
    for knob in [Knob::DeltaReplays, Knob::DeltaSmallPages, Knob::EmptyFirstPage, Knob::DeltaGone, Knob::Unavailable] {
        let lab = Watched::with(|options| knob.apply(options, &Subjects::default()), |_| {}).await;
        lab.wish(group_of(1..=25)).await;
        let running = lab.start().await;
        assert!(lab.compared(&running).await.found.is_empty(), "{knob:?}");
        mischief(&lab);
        let status = lab.compared(&running).await;
        assert_eq!(places(&status, &[1, 29, 30, 100]), all_of_it(), "{knob:?}");
        assert_eq!(lab.said().await.len(), 5, "{knob:?}");
        lab.end(running).await;
    }
}

/// Writes of our own for a while, through a tenant that shows them late.
async fn own_writes(lab: &Watched, running: &common::Running) {
    for round in 0..6 {
        let city = format!("city {round}");
        lab.wish((1..=30).map(|n| user(n, &[("city", text(&city))])).collect()).await;
        let members = (1..=30).map(|n| if (n + round) % 3 == 0 { no_member(100, n) } else { member(100, n) });
        lab.wish(members.collect()).await;
        if round == 3 {
            lab.wish(vec![removed(30, CloudClass::User), removed(29, CloudClass::User)]).await;
        }
        lab.idle(running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_false_is_found_while_reads_are_late() {
    for knob in [Knob::LateDelta, Knob::LateKeyReads, Knob::LateFilters, Knob::TwoReplicas, Knob::DeltaReplays] {
        for policy in [DriftPolicy::Report, DriftPolicy::Enforce] {
            let mut lab = Watched::with(
                |options| knob.apply(options, &Subjects::default()),
                |drift| (drift.default, drift.deletions) = (policy, policy),
            )
            .await;
            lab.config.tenant.visible_within = Duration::from_millis(400);
            lab.wish(group_of(1..=25)).await;
            let running = lab.start().await;
            own_writes(&lab, &running).await;
            lab.compared(&running).await;
            assert_eq!(lab.said().await, [], "{knob:?} {policy:?}");
            // what others do is found all the same
            lab.others_edit(1, json!({"city": "Basel"}));
            if policy == DriftPolicy::Report {
                running.until(|s| s.drift.as_ref().is_some_and(|drift| drift.found.len() == 1)).await;
            } else {
                let begun = tokio::time::Instant::now();
                while lab.property(1, "city") != Some(json!("city 5")) {
                    assert!(begun.elapsed() < common::PATIENCE);
                    tokio::task::yield_now().await;
                }
            }
            lab.compared(&running).await;
            let said = lab.said().await;
            assert!(matches!(said.as_slice(), [OutcomeEvent::DriftFound(_)]), "{knob:?} {policy:?}: {said:?}");
            lab.end(running).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_with_a_death() {
    for point in [CrashPoint::Answered, CrashPoint::OutcomeAppended, CrashPoint::LedgerUpdated] {
        let lab = Watched::all(DriftPolicy::Enforce).await;
        lab.wish(group_of(1..=25)).await;
        let running = lab.start().await;
        lab.compared(&running).await;
        running.end().await;
        mischief(&lab);
        let mut deaths = 0;
        for after in 0..8 {
            let running = common::Lab::spawn(lab.open().await.crash_at(point, after % 3));
            let mut status = running.status.clone();
            let over = |s: &forestsync_provisioner::Status| {
                s.idle && s.drift.as_ref().is_some_and(|d| d.rounds >= 2 && d.looking == 0)
            };
            // it ends by itself, or is through
            let lived = status.wait_for(over).await.is_ok();
            running.stop.cancel();
            deaths += u32::from(running.task.await.unwrap().is_err());
            let _ = lived;
        }
        assert!(deaths > 0, "{point:?}");
        let running = lab.start().await;
        lab.undone(&running).await;
        assert_eq!(lab.property(1, "city"), None);
        assert_eq!(lab.members(100, 1..=30), (1..=25).collect::<Vec<_>>());
        assert!(lab.id(29).is_some() && lab.id(30).is_some());
        lab.end(running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_lost_is_the_same_again() {
    for policy in [DriftPolicy::Report, DriftPolicy::Accept] {
        let lab = Watched::all(policy).await;
        lab.wish(group_of(1..=25)).await;
        let running = lab.start().await;
        lab.compared(&running).await;
        mischief(&lab);
        let before = lab.compared(&running).await;
        let said = lab.said().await.len();
        running.end().await;
        std::fs::remove_dir_all(lab.ledger()).unwrap();
        lab.control.reset_counters();
        let running = lab.start().await;
        let after = lab.compared(&running).await;
        assert_eq!((after.found, after.totals), (before.found, before.totals));
        assert_eq!(lab.said().await.len(), said);
        assert_eq!(lab.tenant.counters().writes, 0);
        lab.end(running).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_undone_passes_the_guards() {
    let mut lab = Watched::all(DriftPolicy::Enforce).await;
    let guard = &mut lab.config.tenant.upn_guard;
    (guard.count, guard.share, guard.minimum) = (2, 0.1, 0);
    lab.wish((1..=10).map(|n| user(n, &[])).collect()).await;
    let running = lab.start().await;
    lab.compared(&running).await;
    lab.control.reset_counters();
    for n in 1..=6 {
        lab.others_edit(n, json!({"userPrincipalName": format!("other{n}@emea.example")}));
    }
    let status = running.until(|s| s.held_total == 6).await;
    assert_eq!(status.drift.unwrap().totals[&DriftPolicy::Enforce], 6);
    assert_eq!(lab.tenant.counters().writes, 0);
    lab.end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_owner_before_may_have_written_is_no_drift() {
    let lab = Watched::all(DriftPolicy::Report).await;
    lab.wish(vec![user(1, &[("city", text("Bern"))])]).await;
    let running = lab.start().await;
    lab.compared(&running).await;
    running.end().await;
    // the owner before may have written the first of these, and the second is refused
    lab.wish(vec![user(1, &[("city", text("Basel"))])]).await;
    lab.wish(vec![user(1, &[("city", text("Zug"))])]).await;
    lab.control.refuse_writes(anchor(1).as_str(), Some("city"));
    lab.control.lose_delta_state(1);
    let status = lab.settle_as_service().await;
    assert_eq!(status.quarantined_total, 1);
    assert_eq!(lab.said().await, []);
    // from here on what it holds is known
    lab.others_edit(1, json!({"city": "Genf"}));
    let running = lab.start().await;
    let status = lab.compared(&running).await;
    assert_eq!(places(&status, &[1]), [(1, attribute("city"), DriftPolicy::Report)]);
    lab.end(running).await;
}
