//! A tenant that throttles, fails, loses answers and changes its mind about tokens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Lab, anchor, group, member, removed, text, user};
use forestsync_practice::tenant::{Knob, RetryAfter};
use forestsync_provisioner::{ExtensionApp, SoftMatch};
use forestsync_schemas::EventBody as _;
use forestsync_schemas::desired::{CloudClass, CloudValue, DesiredEvent, ExtensionType};
use forestsync_schemas::outcomes::{OutcomeEvent, StopCause};
use tokio::time::Instant;

fn population() -> Vec<DesiredEvent> {
    let mut wishes: Vec<DesiredEvent> = (1..=60).map(|n| user(n, &[])).collect();
    wishes.push(group(100));
    wishes.extend((1..=45).map(|n| member(100, n)));
    wishes
}

fn assert_complete(lab: &Lab) {
    assert_eq!(lab.dump().users.len(), 60);
    assert_eq!(lab.members(100, 1..=60), (1..=45).collect::<Vec<_>>());
    lab.assert_single_creations();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_retry_after_is_obeyed() {
    for form in [RetryAfter::Seconds, RetryAfter::Fractional, RetryAfter::HttpDate, RetryAfter::Absent] {
        let lab = Lab::with(|o| o.knobs.retry_after = form).await;
        lab.control.throttle_next_writes(30, Duration::from_millis(1_500));
        lab.wish(population()).await;
        let begun = Instant::now();
        let status = lab.settle().await;
        assert_complete(&lab);
        assert_eq!(status.quarantined_total, 0, "{form:?}");
        assert!(lab.failures(1).await.is_empty(), "a throttled object did not fail");
        if form != RetryAfter::Absent {
            // an HTTP date has whole seconds only
            assert!(begun.elapsed() >= Duration::from_millis(500), "{form:?}: {:?}", begun.elapsed());
        }
        assert!(lab.tenant.counters().throttled >= 30);
        // those that were sent before the first answer came, and no more
        assert!(lab.tenant.counters().throttled <= 60, "{form:?}: {}", lab.tenant.counters().throttled);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_does_not_come_costs_the_others_of_its_batch_nothing() {
    // each look-up has a second page: of those of one batch some always fails
    let throttled = Lab::with(|o| {
        (o.knobs.empty_first_page, o.knobs.throttle_every) = (true, Some(15));
        o.knobs.throttle_wait = Duration::from_millis(10);
    });
    let unavailable = Lab::with(|o| (o.knobs.empty_first_page, o.knobs.unavailable_every) = (true, Some(15)));
    for lab in [throttled.await, unavailable.await] {
        lab.wish(population()).await;
        lab.settle().await;
        assert_complete(&lab);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_takes_much_less_than_is_asked_for_is_filled_all_the_same() {
    let lab = Lab::with(|options| {
        Knob::Quota.turn(&mut options.knobs);
        Knob::EmptyFirstPage.turn(&mut options.knobs);
    })
    .await;
    lab.wish((1..=150).map(|n| user(n, &[])).collect()).await;
    lab.settle().await;
    assert_eq!(lab.dump().users.len(), 150);
    assert!(lab.tenant.counters().throttled > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_throttled_as_a_whole_is_no_harm() {
    let lab = Lab::with(|o| o.knobs.batch_throttled_424 = true).await;
    lab.control.throttle_next_writes(25, Duration::from_millis(200));
    lab.wish(population()).await;
    lab.settle().await;
    assert_complete(&lab);
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_reads_are_no_harm() {
    // 175 resource units in ten seconds there: the look-ups alone are too many
    let lab = Lab::with(|o| o.knobs.quota_scale = Some(0.05)).await;
    lab.wish(population()).await;
    lab.settle().await;
    assert_complete(&lab);
    assert!(lab.tenant.counters().throttled > 0);
    assert_eq!(lab.tenant.counters().writes_without_effect, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_and_closed_connections_pass() {
    let lab = Lab::new().await;
    lab.control.unavailable_next(3);
    lab.wish(population()).await;
    let running = lab.start().await;
    lab.idle(&running).await;
    lab.control.unavailable_next(2);
    lab.wish(vec![user(1, &[("city", text("Bern"))])]).await;
    let status = lab.idle(&running).await;
    running.end().await;
    assert_complete(&lab);
    assert_eq!(status.stopped, None);
    assert_eq!(lab.property(1, "city"), Some("Bern".into()));
    assert!(lab.failures(1).await.is_empty(), "the tenant failed, not the object");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_lead_to_reading_and_never_to_repeating() {
    let lab = Lab::new().await;
    let running = lab.start().await;
    lab.control.lose_answers(2);
    lab.wish(population()).await;
    lab.idle(&running).await;
    assert_complete(&lab);
    // updates, managers, removals, deletions
    lab.control.lose_answers(2);
    let mut wishes: Vec<DesiredEvent> = (1..=30).map(|n| user(n, &[("city", text("Bern"))])).collect();
    wishes.extend((31..=40).map(|n| common::user_with_manager(n, Some(1))));
    lab.wish(wishes).await;
    lab.idle(&running).await;
    lab.control.lose_answers(2);
    lab.wish((1..=5).map(|n| common::no_member(100, n)).chain([removed(60, CloudClass::User)]).collect()).await;
    lab.idle(&running).await;
    lab.control.lose_answers(1);
    lab.wish(vec![user(60, &[])]).await;
    lab.idle(&running).await;
    running.end().await;
    let counters = lab.tenant.counters();
    assert!(counters.answers_lost >= 6, "{}", counters.answers_lost);
    assert_eq!(counters.writes_without_effect, 0, "{counters:?}");
    assert_eq!(lab.members(100, 1..=60), (6..=45).collect::<Vec<_>>());
    let all = lab.outcomes().await;
    assert!(all.iter().any(|o| o.context.status.is_none()), "confirmed by reading");
    lab.assert_single_creations();

    // the outcomes say all of it: a ledger made of them finds nothing to do
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    lab.control.reset_counters();
    lab.settle().await;
    assert_eq!(lab.tenant.counters().writes, 0);
}

/// How late the tenant of [`lives_in_bern`] shows what was written.
const LATENESS: Duration = Duration::from_millis(1_500);

/// A user who lives in Bern, in a tenant whose readings show that for as long as [`LATENESS`] after it was changed.
async fn lives_in_bern() -> (Lab, common::Running) {
    let mut lab = Lab::new().await;
    lab.config.tenant.visible_within = LATENESS * 3;
    // time to wish something else before it is read whether a write took effect, which still shows the value before it
    lab.config.tenant.retry_first = LATENESS / 3;
    let running = lab.start().await;
    lab.wish(lives_in("Bern")).await;
    lab.idle(&running).await;
    tokio::time::sleep(LATENESS).await;
    lab.knobs(|knobs| knobs.visibility.key_reads = LATENESS);
    lab.control.reset_counters();
    (lab, running)
}

fn lives_in(city: &str) -> Vec<DesiredEvent> {
    vec![user(1, &[("city", text(city))])]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_returns_while_a_write_is_doubtful_is_written_whatever_a_late_reading_shows() {
    let (lab, running) = lives_in_bern().await;
    lab.control.lose_answers(1);
    lab.wish(lives_in("Basel")).await;
    let written = async {
        while lab.property(1, "city") != Some("Basel".into()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(common::PATIENCE, written).await.expect("it is written");
    lab.wish(lives_in("Bern")).await;
    lab.idle(&running).await;
    running.end().await;
    assert_eq!(lab.property(1, "city"), Some("Bern".into()));
    let counters = lab.tenant.counters();
    assert_eq!((counters.answers_lost, counters.writes), (1, 2), "{counters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_reading_that_shows_the_value_of_before_confirms_nothing() {
    let (lab, running) = lives_in_bern().await;
    lab.wish(lives_in("Basel")).await;
    lab.idle(&running).await;
    lab.control.fail_next("PATCH", "/users/", 504, 1, false);
    lab.wish(lives_in("Bern")).await;
    lab.idle(&running).await;
    running.end().await;
    assert_eq!(lab.property(1, "city"), Some("Bern".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_end_are_renewed() {
    let lab = Lab::new().await;
    let running = lab.start().await;
    lab.control.expire_tokens_after_items(30);
    lab.wish(population()).await;
    lab.idle(&running).await;
    lab.control.expire_tokens();
    lab.wish(vec![user(1, &[("city", text("Bern"))])]).await;
    let status = lab.idle(&running).await;
    running.end().await;
    assert_complete(&lab);
    assert_eq!(lab.property(1, "city"), Some("Bern".into()));
    assert_eq!((status.quarantined_total, status.stopped), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_gives_no_token_stops_everything_and_quarantines_nothing() {
    let lab = Lab::new().await;
    lab.control.refuse_tokens(Some(7_000_222));
    let running = lab.start().await;
    lab.wish(population()).await;
    let status = running.until(|s| s.stopped.is_some()).await;
    assert!(status.stopped.as_ref().unwrap().contains("AADSTS7000222"), "{:?}", status.stopped);
    assert!(!status.idle && status.pending + status.in_flight > 0);
    lab.control.refuse_tokens(None);
    let status = lab.idle(&running).await;
    running.end().await;
    assert_complete(&lab);
    assert_eq!((status.quarantined_total, status.stopped), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_gone_stops_everything_and_quarantines_nothing() {
    let lab = Lab::new().await;
    for role in ["User.ReadWrite.All", "Directory.ReadWrite.All"] {
        lab.control.revoke_permission(role, true);
    }
    let running = lab.start().await;
    lab.wish((1..=5).map(|n| user(n, &[])).collect()).await;
    let status = running.until(|s| s.stopped.is_some()).await;
    assert!(status.stopped.as_ref().unwrap().contains("403"), "{:?}", status.stopped);
    lab.control.grant_permission("User.ReadWrite.All", true);
    let status = lab.idle(&running).await;
    running.end().await;
    assert_eq!((lab.dump().users.len(), status.quarantined_total), (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_is_quarantined_and_nobody_else() {
    let lab = Lab::new().await;
    lab.wish((1..=5).map(|n| user(n, &[])).collect()).await;
    lab.settle().await;
    lab.control.set_privileged(&lab.id(1).unwrap(), true).unwrap();
    let disabled = |n| {
        let off = forestsync_schemas::desired::CloudValue::Bool(false);
        user(n, &[("accountEnabled", off)])
    };
    lab.wish((1..=5).map(disabled).collect()).await;
    let status = lab.settle().await;
    assert_eq!(status.quarantined.iter().map(|q| q.anchor.clone()).collect::<Vec<_>>(), [anchor(1)]);
    assert_eq!(lab.property(2, "accountEnabled"), Some(false.into()));
    assert_eq!(lab.property(1, "accountEnabled"), Some(true.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_answers_do_no_harm() {
    let lab = Lab::with(|o| {
        o.knobs.unknown_properties = true;
        o.knobs.empty_first_page = true;
        o.knobs.batch_any_order = true;
    })
    .await;
    lab.wish(population()).await;
    lab.settle().await;
    assert_complete(&lab);
}

/// Who is there is found behind an empty page, alive or deleted, and not created a second time.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_first_page_hides_nobody() {
    let mut lab = Lab::with(|o| o.knobs.empty_first_page = true).await;
    lab.config.tenant.soft_match = vec![SoftMatch::by("userPrincipalName")];
    let person = |n: u32, anchor: Option<&str>| {
        serde_json::json!({"userPrincipalName": format!("user{n}@emea.example"), "displayName": "There", "mailNickname": "x",
            "accountEnabled": true, "onPremisesImmutableId": anchor})
    };
    let by_anchor = lab.control.seed_user(person(1, Some(anchor(1).as_str()))).unwrap();
    let by_name = lab.control.seed_user(person(2, None)).unwrap();
    lab.wish(vec![user(1, &[]), user(2, &[])]).await;
    lab.settle().await;
    assert_eq!((lab.id(1), lab.id(2)), (Some(by_anchor.clone()), Some(by_name)));
    lab.wish(vec![removed(1, CloudClass::User)]).await;
    lab.settle().await;
    assert_eq!(lab.id(1), None);
    lab.wish(vec![user(1, &[])]).await;
    lab.settle().await;
    assert_eq!(lab.id(1), Some(by_anchor), "brought back");
    assert!(lab.tenant.counters().creates_by_immutable_id.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_one_by_one_do_as_well() {
    let mut lab = Lab::new().await;
    lab.config.tenant.batch_size = 1;
    lab.wish(population()).await;
    lab.settle().await;
    assert_complete(&lab);
    assert_eq!(lab.tenant.counters().batch_items, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_exchanges_keep_the_contract() {
    let record = tempfile::NamedTempFile::new().unwrap();
    let mut lab = Lab::with(|o| o.record_file = Some(record.path().to_owned())).await;
    lab.config.tenant.extension_app = Some(ExtensionApp {
        client_id: lab.config.tenant.client_id.clone(),
        object_id: "5d0c2b1e-7f3a-4c69-8a51-0f9e6b7c8d21".to_owned(),
    });
    lab.config.tenant.domains_every = Duration::from_mins(1);
    lab.control.grant_permission("Application.ReadWrite.All", true);
    lab.wish(vec![common::flow_with_extension("badges", ExtensionType::Integer, true)]).await;
    lab.wish(population()).await;
    lab.settle().await;
    let mut wishes: Vec<DesiredEvent> = (1..=5).map(|n| common::user_with_manager(n, Some(6))).collect();
    wishes.push(user(8, &[("extension.badges", CloudValue::List(vec!["7".to_owned()]))]));
    wishes.push(common::group_with_owner(100, Some(6)));
    wishes.extend((10..=20).map(|n| common::no_member(100, n)).take(5));
    wishes.push(removed(60, CloudClass::User));
    wishes.push(user(7, &[("city", text("Bern")), ("onPremisesExtensionAttributes.extensionAttribute1", text("x"))]));
    lab.wish(wishes).await;
    lab.settle().await;
    lab.wish(vec![common::group_with_owner(100, Some(9))]).await;
    lab.settle().await;
    lab.wish(vec![user(60, &[]), user(7, &[]), user(8, &[]), common::group_with_owner(100, None)]).await;
    lab.settle().await;
    let Lab { tenant, .. } = lab;
    tenant.stop().await.unwrap();
    common::keep_contract(&[record.path().to_owned()], &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_trouble_is_reported_once_and_tried_on() {
    let mut lab = Lab::new().await;
    lab.config.tenant.quarantine_after = 2;
    lab.wish(vec![user(1, &[]), user(2, &[]), group(100), member(100, 1)]).await;
    lab.settle().await;
    let id = lab.id(1).unwrap();
    // two at a time, so that no request is alone
    lab.control.fail_next("PATCH", &format!("users/{id}"), 503, u64::MAX, false);
    lab.wish((1..=2).map(|n| user(n, &[("city", text("Bern"))])).collect()).await;
    let running = lab.start().await;
    running.until(|s| s.quarantined_total == 1 && s.idle).await;
    lab.control.fail_next("PATCH", &format!("users/{id}"), 503, 3, false);
    let status = running.until(|s| s.quarantined_total == 0 && s.idle).await;
    running.end().await;
    assert_eq!(status.stopped, None);
    assert_eq!(lab.property(1, "city"), Some("Bern".into()));
    assert_eq!(lab.types(1).await.iter().filter(|t| **t == "ExportQuarantined").count(), 1);
    assert!(lab.quarantined(1).await.unwrap().retry_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_mostly_fails_is_an_outage_and_nobodys_fault() {
    let lab = Lab::new().await;
    lab.wish((1..=20).map(|n| user(n, &[])).collect()).await;
    lab.settle().await;
    lab.control.fail_next("PATCH", "users/", 503, 20, false);
    lab.wish((1..=20).map(|n| user(n, &[("city", text("Bern"))])).collect()).await;
    lab.settle().await;
    let all = lab.outcomes().await;
    assert!(all.iter().all(|o| o.event.type_name() != "ExportFailed"), "{:?}", all.last());
    assert!((1..=20).all(|n| lab.property(n, "city") == Some("Bern".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_never_answered_waits_longer_each_time() {
    let mut lab = Lab::new().await;
    lab.config.tenant.quarantine_after = 3;
    lab.wish((1..=3).map(|n| user(n, &[])).chain([group(100)]).collect()).await;
    lab.settle().await;
    let group_id = lab.id(100).unwrap();
    lab.control.fail_next("PATCH", &format!("groups/{group_id}"), 500, u64::MAX, false);
    lab.control.fail_next("POST", &format!("groups/{group_id}/members"), 500, u64::MAX, false);
    lab.wish((1..=3).map(|n| member(100, n)).collect()).await;
    let running = lab.start().await;
    running.until(|s| s.quarantined_total == 3 && s.idle).await;
    let failures = lab.failures(100).await;
    assert!(failures.iter().all(|f| f.attempt <= 2 && !f.members.is_empty()), "{failures:?}");
    lab.control.fail_next("PATCH", &format!("groups/{group_id}"), 500, 0, false);
    lab.control.fail_next("POST", &format!("groups/{group_id}/members"), 500, 0, false);
    running.until(|s| s.quarantined_total == 0 && s.idle).await;
    running.end().await;
    assert_eq!(lab.members(100, 1..=3), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_makes_the_tenant_fail_is_its_objects_fault() {
    let mut lab = Lab::new().await;
    lab.config.tenant.quarantine_after = 2;
    lab.wish(vec![user(1, &[])]).await;
    lab.settle().await;
    lab.control.fail_next("PATCH", &format!("users/{}", lab.id(1).unwrap()), 503, u64::MAX, false);
    lab.wish(vec![user(1, &[("city", text("Bern"))])]).await;
    let running = lab.start().await;
    running.until(|s| s.quarantined_total == 1).await;
    lab.wish(vec![user(2, &[])]).await;
    running.until(|s| s.managed.get(&CloudClass::User) == Some(&2)).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcomes_say_that_the_tenant_takes_nothing() {
    let lab = Lab::new().await;
    lab.control.refuse_tokens(Some(7_000_222));
    lab.wish(population()).await;
    let stops = async |lab: &Lab| {
        let all = lab.outcomes().await.into_iter().map(|o| o.event);
        all.filter(|e| matches!(e, OutcomeEvent::ExportStopped(_) | OutcomeEvent::ExportResumed(_))).collect::<Vec<_>>()
    };
    let running = lab.start().await;
    while stops(&lab).await.is_empty() {
        tokio::task::yield_now().await;
    }
    running.end().await;
    // another process does not say it again, and says when it is over
    let running = lab.start().await;
    running.until(|s| s.stopped.is_some()).await;
    lab.control.refuse_tokens(None);
    lab.idle(&running).await;
    running.end().await;
    assert_complete(&lab);
    let said = stops(&lab).await;
    let [OutcomeEvent::ExportStopped(stopped), OutcomeEvent::ExportResumed(_)] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert_eq!(stopped.cause, StopCause::NotAuthenticated);
    assert!(stopped.detail.contains("AADSTS7000222") && !stopped.hint.is_empty());
    // and a ledger can be made of them
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    lab.settle().await;
    assert_eq!(stops(&lab).await.len(), 2);
}
