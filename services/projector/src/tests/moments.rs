//! Accounts that end at their moment. The clock is handed in: nothing waits.

use forestsync_domain::Attributes;
use forestsync_schemas::decisions::DecisionEvent;
use forestsync_schemas::desired::CloudValue;
use jiff::Timestamp;

use super::support::{Source, USER, World, anchor, attributes, below, changed, first_read, with};
use crate::ProjectorConfig;

/// Seconds since 1970, in 2100.
const DUE: i64 = 4_102_444_800;

/// As accountExpires has it: in 100 ns since 1601.
fn ticks(seconds: i64) -> String {
    ((seconds + 11_644_473_600) * 10_000_000).to_string()
}

/// The moments decided after time came to `now` in a projector that was opened anew.
async fn fired(world: &World, config: &ProjectorConfig, now: i64) -> Vec<i64> {
    let mut projector = world.open(config).await;
    projector.catch_up().await.unwrap();
    let now = Timestamp::from_second(now).unwrap();
    projector.with(move |engine| engine.fire_moments(now)).await.unwrap();
    projector.catch_up().await.unwrap();
    drop(projector);
    world.assert_repeats(config).await;
    let due = |event| match event {
        DecisionEvent::TimerFired(e) => Some(e.due.as_second()),
        _ => None,
    };
    world.decided("c").await.into_iter().filter_map(due).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_comes_once_and_a_later_one_is_waited_for_anew() {
    let (world, mut west) = (World::new(), Source::new("west", "DC=w"));
    let never = i64::MAX.to_string();
    let objects = [(10, ticks(DUE)), (11, "0".to_owned()), (12, never)]
        .map(|(n, value)| (n, with(attributes(USER, &format!("n{n}")), &[("accountExpires", &value)])));
    let page = first_read(&mut west, 1, &objects, &[]);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    assert_eq!(fired(&world, &config, DUE - 1).await, [0; 0]);
    assert_eq!(fired(&world, &config, DUE).await, [DUE]);
    assert_eq!(fired(&world, &config, DUE + 50).await, [DUE]);
    let set = with(Attributes::new(), &[("accountExpires", &ticks(DUE + 100))]);
    let page = west.page(&[changed(10, &below(&west.root.clone(), 10), None, set, &[])], true);
    world.append(&west.stream, page).await;
    assert_eq!(fired(&world, &config, DUE + 99).await, [DUE]);
    assert_eq!(fired(&world, &config, DUE + 101).await, [DUE, DUE + 100]);
}

/// Whether each of these users' accounts is enabled in the tenant.
async fn enabled(world: &World, numbers: &[u32]) -> Vec<bool> {
    let objects = world.desired("c").await.wished.objects;
    let is_enabled = |n: &u32| objects[&anchor(*n)].1["accountEnabled"] == CloudValue::Bool(true);
    numbers.iter().map(is_enabled).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_expired_before_the_first_read_is_never_enabled_until_it_is_extended() {
    const PAST: i64 = 1_000_000_000;
    let (world, mut west) = (World::new(), Source::new("west", "DC=w"));
    let user = |n: u32, due| (n, with(attributes(USER, &format!("n{n}")), &[("accountExpires", &ticks(due))]));
    let page = first_read(&mut west, 1, &[user(10, PAST), user(11, DUE + 10)], &[]);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    assert_eq!(fired(&world, &config, PAST + 1).await, [PAST]);
    assert_eq!(enabled(&world, &[10, 11]).await, [false, true]);
    assert_eq!(world.desired("c").await.count, 2 + world.desired("c").await.flows, "each is written once");
    // extended, while the moment of another one comes
    let set = with(Attributes::new(), &[("accountExpires", &ticks(DUE + 20))]);
    let page = west.page(&[changed(10, &below(&west.root, 10), None, set, &[])], true);
    world.append(&west.stream, page).await;
    assert_eq!(fired(&world, &config, DUE + 10).await, [PAST, DUE + 10]);
    assert_eq!(enabled(&world, &[10, 11]).await, [true, false]);
    assert_eq!(fired(&world, &config, DUE + 20).await, [PAST, DUE + 10, DUE + 20]);
    assert_eq!(enabled(&world, &[10, 11]).await, [false, false]);
    // back to the moment that came once before: it is still past
    for (value, expected) in [(ticks(PAST), false), ("0".to_owned(), true)] {
        let set = with(Attributes::new(), &[("accountExpires", &value)]);
        let page = west.page(&[changed(10, &below(&west.root, 10), None, set, &[])], true);
        world.append(&west.stream, page).await;
        fired(&world, &config, DUE + 20).await;
        assert_eq!(enabled(&world, &[10]).await, [expected], "{value}");
    }
}
