//! Death at any point, and ledgers that are lost: nothing is created twice, nothing is written twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Lab, group, member, no_member, removed, text, user, user_with_manager};
use forestsync_provisioner::{CrashPoint, Provisioner, ProvisionerError, StoreError};
use forestsync_schemas::desired::{CloudClass, DesiredEvent};

const POINTS: [CrashPoint; 4] =
    [CrashPoint::IntentDurable, CrashPoint::Answered, CrashPoint::OutcomeAppended, CrashPoint::LedgerUpdated];

fn first() -> Vec<DesiredEvent> {
    let mut wishes: Vec<DesiredEvent> = (1..=50).map(|n| user_with_manager(n, Some(1 + n % 7))).collect();
    wishes.extend([group(100), group(101)]);
    wishes.extend((1..=45).map(|n| member(100, n)));
    wishes.extend((1..=30).map(|n| member(101, n)));
    wishes
}

fn second() -> Vec<DesiredEvent> {
    let mut wishes: Vec<DesiredEvent> = (1..=20).map(|n| user(n, &[("city", text("Bern"))])).collect();
    wishes.extend((1..=8).map(|n| no_member(100, n)));
    wishes.extend((46..=50).map(|n| removed(n, CloudClass::User)));
    wishes
}

fn third() -> Vec<DesiredEvent> {
    (46..=50).map(|n| user_with_manager(n, Some(20))).collect()
}

fn assert_end(lab: &Lab) {
    assert_eq!(lab.dump().users.len(), 50);
    assert_eq!(lab.members(100, 1..=50), (9..=45).collect::<Vec<_>>());
    assert_eq!(lab.members(101, 1..=50), (1..=30).collect::<Vec<_>>());
    for n in 46..=50 {
        let dump = lab.dump();
        let found = dump.user(common::anchor(n).as_str()).unwrap().manager.clone();
        assert_eq!(found, lab.id(20));
    }
    lab.assert_single_creations();
    assert_eq!(lab.tenant.counters().writes_without_effect, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dies_between_every_two_steps() {
    for point in POINTS {
        let lab = Lab::new().await;
        let mut deaths = 0;
        for wishes in [first(), second(), third()] {
            lab.wish(wishes).await;
            let mut after = 0;
            // dies a little later each time, until it lives to the end
            while lab.crash(point, after).await {
                deaths += 1;
                after = (after + 1) % 3;
                assert!(deaths < 200, "{point:?} makes no progress");
            }
        }
        assert!(deaths >= 6, "{point:?} was passed {deaths} times only");
        assert_end(&lab);
        // and every write has its outcome
        std::fs::remove_dir_all(&lab.config.directory).unwrap();
        lab.control.reset_counters();
        lab.settle().await;
        assert_eq!(lab.tenant.counters().writes, 0, "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dies_at_any_moment() {
    let lab = Lab::with(|o| o.knobs.latency = Duration::from_millis(5)).await;
    let mut kills = 0;
    for wishes in [first(), second(), third()] {
        lab.wish(wishes).await;
        for n in 0..12 {
            let running = lab.start().await;
            tokio::time::sleep(Duration::from_millis(7 * n)).await;
            running.task.abort();
            assert!(running.task.await.is_err_and(|e| e.is_cancelled()));
            kills += 1;
        }
        lab.settle().await;
    }
    assert_eq!(kills, 36);
    assert_eq!(lab.dump().users.len(), 50);
    lab.assert_single_creations();
    let repeated = lab.tenant.counters().writes_without_effect;
    println!("{repeated} repeated writes in {kills} deaths");
    assert!(repeated <= kills, "{repeated} repeated writes in {kills} deaths");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ledger_is_folded_anew_without_a_write() {
    let lab = Lab::new().await;
    for wishes in [first(), second(), third()] {
        lab.wish(wishes).await;
        lab.settle().await;
    }
    let damages: [fn(&Lab); 3] = [
        |lab| std::fs::remove_dir_all(&lab.config.directory).unwrap(),
        |lab| std::fs::write(lab.ledger().join("conf"), b"damaged").unwrap(),
        |lab| {
            let db = lab.ledger().join("db");
            let length = std::fs::metadata(&db).unwrap().len();
            let noise: Vec<u8> = (0..length).map(|n| (n * 7 % 251) as u8).collect();
            std::fs::write(&db, noise).unwrap();
        },
    ];
    for damage in damages {
        let before = lab.settle().await;
        damage(&lab);
        lab.control.reset_counters();
        let after = lab.settle().await;
        assert_eq!(lab.tenant.counters().writes, 0);
        assert_eq!(lab.tenant.counters().reads, 0);
        assert_eq!((after.managed, after.outcomes), (before.managed, before.outcomes));
    }
    assert_end_counts(&lab);
}

fn assert_end_counts(lab: &Lab) {
    assert_eq!(lab.dump().users.len(), 50);
    lab.assert_single_creations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_of_another_tenant_is_refused() {
    let mut lab = Lab::new().await;
    lab.settle().await;
    lab.config.tenant.tenant_id = "11111111-2222-3333-4444-555555555555".into();
    let opened = Provisioner::open(lab.config.clone(), std::sync::Arc::clone(&lab.log)).await;
    assert!(matches!(opened, Err(ProvisionerError::Store(StoreError::OtherTenant { .. }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_provisioners_do_not_share_a_configuration() {
    let lab = Lab::new().await;
    let _first = lab.open().await;
    let second = Provisioner::open(lab.config.clone(), std::sync::Arc::clone(&lab.log)).await;
    let error = second.unwrap_err();
    assert!(matches!(error, ProvisionerError::Writer(_)) && error.is_retryable());
}

/// Who died before a group was made, and finds one then, has not made it: it is somebody else's that was not seen before.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_in_place_of_a_creation_may_be_somebody_elses() {
    let mut lab = Lab::new().await;
    lab.config.tenant.quarantine_after = 1;
    let group_of_exchange = serde_json::json!({"displayName": "There", "uniqueName": common::anchor(100).unique_name(),
        "mailNickname": "g", "mailEnabled": true, "securityEnabled": true});
    lab.control.seed_group(group_of_exchange, &[]).unwrap();
    lab.knobs(|k| k.visibility.filters = Duration::from_hours(1));
    lab.wish(vec![user(1, &[]), group(100), member(100, 1)]).await;
    assert!(lab.crash(CrashPoint::IntentDurable, 0).await);
    lab.knobs(|k| k.visibility.filters = Duration::ZERO);
    lab.settle().await;
    assert_eq!(lab.types(100).await, ["ExportQuarantined"]);
    assert_eq!(lab.quarantined(100).await.unwrap().error.code, "mail_enabled");
}
