//! An initial load keeps the tenant busy instead of waiting for it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Lab, group, member, user};
use forestsync_schemas::desired::DesiredEvent;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn an_initial_load_takes_few_requests_at_once() {
    let lab = Lab::with(|o| o.knobs.latency = Duration::from_millis(50)).await;
    let mut wishes: Vec<DesiredEvent> = (0..2_000).map(|n| user(n, &[])).collect();
    wishes.extend((10_000..10_100).map(group));
    wishes.extend((0..2_000).map(|n| member(10_000 + n / 20, n)));
    lab.wish(wishes).await;
    let begun = Instant::now();
    let status = lab.settle().await;
    let took = begun.elapsed();
    println!("2,100 objects in {took:?}: {:.0} objects/s, {} requests", 2_100.0 / took.as_secs_f64(), status.requests);
    let dump = lab.dump();
    assert_eq!((dump.users.len(), dump.groups.len()), (2_000, 100));
    assert!(dump.groups.iter().all(|g| g.members.len() == 20));
    // 4,200 reads, 2,100 creations and 100 member lists in batches of twenty are 320
    assert!(status.requests < 700, "{}", status.requests);
    assert_eq!(lab.tenant.counters().writes, 2_200);
    // one after the other, the requests alone would take this long
    assert!(took < Duration::from_millis(50) * 2_200, "{took:?}");
}
