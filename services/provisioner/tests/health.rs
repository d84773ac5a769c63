//! A configuration of which too much fails, and objects whose trouble ends with somebody else's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Lab, group, member, text, user};
use forestsync_provisioner::{HealthState, QuarantineConfig};
use forestsync_rules::quarantine::QuarantineLimits;
use forestsync_schemas::outcomes::{ConfigurationQuarantined, OutcomeEvent, QuarantineCause};

const USERS: u32 = 400;
/// What is tried after a pause.
const TRIAL: u64 = 100;

async fn strict() -> Lab {
    let mut lab = Lab::new().await;
    let limits = QuarantineLimits { minimum: 20, share: 0.4, count: 1_000, with_references: 2_000 };
    let (pause, longest_pause) = (Duration::from_millis(300), Duration::from_millis(600));
    lab.config.tenant.quarantine = QuarantineConfig { limits, pause, longest_pause };
    lab
}

/// Creations are refused for a while, by what is no fault of theirs.
fn refuse(lab: &Lab, count: u64) {
    lab.control.fail_next("POST", "users", 409, count, false);
}

async fn quarantines(lab: &Lab) -> Vec<ConfigurationQuarantined> {
    let all = lab.outcomes().await.into_iter();
    let of = |event| if let OutcomeEvent::ConfigurationQuarantined(e) = event { Some(e) } else { None };
    all.filter_map(|o| of(o.event)).collect()
}

async fn recoveries(lab: &Lab) -> usize {
    let all = lab.outcomes().await;
    all.iter().filter(|o| matches!(o.event, OutcomeEvent::ConfigurationRecovered(_))).count()
}

/// Runs until so many pauses were said; how many creations were refused by then.
async fn after_pauses(lab: &Lab, pauses: u32) -> u64 {
    let running = lab.start().await;
    loop {
        let next = running.status.borrow().outcomes_next;
        if quarantines(lab).await.iter().any(|q| q.pauses >= pauses) {
            break;
        }
        running.until(|s| s.outcomes_next > next).await;
    }
    let status = running.status.borrow().clone();
    running.end().await;
    assert_eq!(status.health.state, HealthState::Quarantined);
    lab.tenant.counters().errors.get(&409).copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn when_most_fails_few_are_tried_and_all_once_it_works() {
    let lab = strict().await;
    refuse(&lab, u64::MAX);
    lab.wish((1..=USERS).map(|n| user(n, &[])).collect()).await;
    let first = after_pauses(&lab, 1).await;
    let said = quarantines(&lab).await;
    assert_eq!((said[0].cause, said[0].pauses, said[0].objects), (QuarantineCause::Share, 1, u64::from(USERS)));
    assert!(said[0].failing >= 160, "{said:?}");
    // another process goes on where the one before was
    let third = after_pauses(&lab, 3).await;
    assert_eq!(quarantines(&lab).await.iter().map(|q| q.pauses).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(third - first <= 2 * TRIAL, "{first}, then {third}: a trial is small");
    assert!(third > first);
    refuse(&lab, 0);
    let running = lab.start().await;
    let status = running.until(|s| s.idle && s.health.state == HealthState::Healthy).await;
    running.end().await;
    assert_eq!((status.health.failing, status.quarantined_total), (0, 0));
    assert_eq!((lab.dump().users.len(), recoveries(&lab).await), (USERS as usize, 1));
    lab.assert_single_creations();
}

#[tokio::test(flavor = "multi_thread")]
async fn references_alone_make_no_share() {
    let lab = strict().await;
    lab.wish((1..=60).map(|n| user(n, &[])).chain([group(1_000)]).collect()).await;
    lab.settle().await;
    let id = lab.id(1_000).unwrap();
    for (method, path) in [("PATCH", format!("groups/{id}")), ("POST", format!("groups/{id}/members"))] {
        lab.control.fail_next(method, &path, 409, u64::MAX, false);
    }
    lab.wish((1..=60).map(|n| member(1_000, n)).collect()).await;
    let running = lab.start().await;
    let status = running.until(|s| s.health.failing_references == 60).await;
    running.end().await;
    assert_eq!((status.health.failing, status.health.state), (0, HealthState::Healthy));
    assert!(quarantines(&lab).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_lost_knows_the_quarantine_again() {
    let lab = strict().await;
    refuse(&lab, u64::MAX);
    lab.wish((1..=USERS).map(|n| user(n, &[])).collect()).await;
    after_pauses(&lab, 2).await;
    std::fs::remove_dir_all(&lab.config.directory).unwrap();
    after_pauses(&lab, 3).await;
    assert_eq!(quarantines(&lab).await.iter().map(|q| q.pauses).collect::<Vec<_>>(), [1, 2, 3]);
}

/// The clock of whoever wants a value that another one has stands far ahead; it is tried at once when that one lets go.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_free_again_is_taken_at_once() {
    let mut lab = Lab::new().await;
    lab.config.tenant.retry_first = Duration::from_hours(1);
    lab.config.tenant.retry_longest = Duration::from_hours(1);
    lab.wish(vec![user(1, &[]), user(2, &[])]).await;
    lab.settle().await;
    let name = |name: &str| [("userPrincipalName", text(name))];
    lab.wish(vec![user(1, &name("user2@emea.example"))]).await;
    let running = lab.start().await;
    running.until(|s| s.retrying == 1 && s.pending + s.in_flight == 0).await;
    let failures = lab.failures(1).await;
    assert_eq!(failures[0].error.attribute.as_deref(), Some("userPrincipalName"));
    let holder = format!("User_{}", lab.id(2).unwrap());
    assert_eq!(failures[0].error.other.as_deref(), Some(holder.as_str()), "the holder of the value is named");
    lab.wish(vec![user(2, &name("elsewhere@emea.example"))]).await;
    lab.idle(&running).await;
    running.end().await;
    assert_eq!(lab.property(1, "userPrincipalName"), Some("user2@emea.example".into()));
}
