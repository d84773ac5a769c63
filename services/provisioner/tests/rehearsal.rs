//! A rehearsal writes nothing, and a run then does what it said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::{Lab, anchor, group, group_with_owner, kept, member, no_member, removed, text, user, user_with_manager};
use forestsync_log::{ForkedLog, Log};
use forestsync_provisioner::{ProvisionerConfig, Rehearsal, SoftMatch, rehearse};
use forestsync_schemas::desired::{CloudClass, DesiredEvent, RemovalReason};
use forestsync_schemas::outcomes::{MemberAdded, MemberRemoved, OutcomeEvent};
use forestsync_schemas::{EventBody as _, OutcomeRecord};
use serde_json::json;
use tokio_util::sync::CancellationToken;

async fn rehearsal(lab: &Lab) -> Rehearsal {
    let folder = tempfile::tempdir().unwrap();
    let fork: Arc<dyn Log> = Arc::new(ForkedLog::new(Arc::clone(&lab.log), folder.path().join("log")).unwrap());
    let directory = folder.path().join("ledger");
    let config = ProvisionerConfig { directory, ..lab.config.clone() };
    rehearse(config, fork, CancellationToken::new()).await.unwrap()
}

/// What outcomes say, whatever the order and however members were put together.
fn said(outcomes: &[OutcomeRecord]) -> Vec<String> {
    let mut all = Vec::new();
    for record in outcomes {
        let events = match &record.event {
            OutcomeEvent::MemberAdded(e) => {
                let each = |m: &_| OutcomeEvent::MemberAdded(MemberAdded { members: vec![Clone::clone(m)] });
                e.members.iter().map(each).collect()
            }
            OutcomeEvent::MemberRemoved(e) => {
                let ended = |m: &_| e.ended.iter().filter(|other| *other == m).cloned().collect();
                let each =
                    |m: &_| MemberRemoved { members: vec![Clone::clone(m)], ended: ended(m), uncounted: Vec::new() };
                e.members.iter().map(|m| OutcomeEvent::MemberRemoved(each(m))).collect()
            }
            other => vec![other.clone()],
        };
        let of = |event: &OutcomeEvent| {
            format!("{} {} {}", record.context.anchor, event.type_name(), serde_json::to_string(event).unwrap())
        };
        all.extend(events.iter().map(of));
    }
    all.sort();
    all
}

/// Rehearses, sees that nothing was written, runs, and sees that the same was done. Returns the rehearsal.
async fn rehearsed(lab: &Lab, wishes: Vec<DesiredEvent>) -> Rehearsal {
    lab.wish(wishes).await;
    let before = (lab.outcomes().await, serde_json::to_value(lab.dump()).unwrap());
    lab.control.reset_counters();
    let rehearsal = rehearsal(lab).await;
    assert_eq!(lab.tenant.counters().writes, 0);
    assert!(lab.control.writes().is_empty());
    assert_eq!((lab.outcomes().await, serde_json::to_value(lab.dump()).unwrap()), before);
    let from = before.0.len();
    assert_eq!(rehearsal.outcomes_from, from as u64);
    let status = lab.settle().await;
    assert_eq!(said(&rehearsal.outcomes), said(&lab.outcomes().await[from..]));
    assert_eq!((rehearsal.status.held_total, &rehearsal.status.held), (status.held_total, &status.held));
    assert_eq!(rehearsal.status.quarantined, status.quarantined);
    rehearsal
}

fn count(rehearsal: &Rehearsal, kind: &str) -> usize {
    rehearsal.outcomes.iter().filter(|record| record.event.type_name() == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_is_rehearsed_step_by_step() {
    let lab = Lab::new().await;
    let mut wishes: Vec<DesiredEvent> = (1..=40).map(|n| user_with_manager(n, (n > 1).then_some(1))).collect();
    wishes.extend([group_with_owner(100, Some(2)), group(101), member(100, 101)]);
    wishes.extend((1..=40).map(|n| member(101, n)));
    let first = rehearsed(&lab, wishes).await;
    assert_eq!(count(&first, "ObjectProvisioned"), 42);
    assert_eq!(count(&first, "ManagerChanged"), 39);
    assert_eq!(first.names.len(), 42);

    let wishes = vec![
        user(1, &[("jobTitle", text("Head"))]),
        user_with_manager(2, Some(3)),
        removed(5, CloudClass::User),
        kept(6, CloudClass::User, RemovalReason::OutOfScope),
        no_member(101, 7),
        group_with_owner(100, Some(4)),
    ];
    let second = rehearsed(&lab, wishes).await;
    for (kind, expected) in [("ObjectUpdated", 1), ("ObjectDeprovisioned", 1), ("ObjectRelinquished", 1)] {
        assert_eq!(count(&second, kind), expected, "{kind}");
    }
    assert_eq!(second.outcomes.iter().filter(|o| o.context.anchor == anchor(100)).count(), 2, "owners");

    // restored, with what changed meanwhile
    let third = rehearsed(&lab, vec![user(5, &[("jobTitle", text("Back"))])]).await;
    assert_eq!((count(&third, "ObjectRestored"), count(&third, "ObjectUpdated")), (1, 1));
    assert!(rehearsed(&lab, Vec::new()).await.outcomes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_is_taken_over_in_the_rehearsal_as_well() {
    let mut lab = Lab::new().await;
    lab.config.tenant.soft_match = vec![SoftMatch::by("userPrincipalName")];
    lab.control
        .seed_user(json!({"userPrincipalName": "user1@emea.example", "displayName": "Found", "mailNickname": "user1"}))
        .unwrap();
    let name = anchor(100).unique_name();
    lab.control.seed_group(json!({"displayName": "There", "uniqueName": name, "mailNickname": "g", "mailEnabled": false, "securityEnabled": true}), &[]).unwrap();
    let rehearsal = rehearsed(&lab, vec![user(1, &[]), user(2, &[]), group(100), group(101), member(100, 1)]).await;
    assert_eq!((count(&rehearsal, "ObjectAdopted"), count(&rehearsal, "ObjectProvisioned")), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_guard_holds_is_held_in_the_rehearsal() {
    let mut lab = Lab::new().await;
    lab.config.tenant.guard.count = 3;
    rehearsed(&lab, (1..=30).map(|n| user(n, &[])).collect()).await;
    let held = rehearsed(&lab, (1..=5).map(|n| removed(n, CloudClass::User)).collect()).await;
    assert_eq!((held.status.held_total, count(&held, "ObjectDeprovisioned")), (5, 0));
}
