//! Containers and groups of the scope that are emptied while others are not.

use forestsync_domain::{Attributes, Dn};
use forestsync_schemas::decisions::{DecisionEvent, HoldReason};

use super::support::{
    Event, GROUP, OU, Source, USER, World, anchor, attributes, changed, completed, deleted, first_read, guid, links,
    observed, started,
};
use crate::config::GroupEntry;
use crate::{Hold, ProjectorConfig, ScopeEntry};

fn unit(name: &str) -> Dn {
    format!("OU={name},DC=x").parse().unwrap()
}

/// User 10 in OU A (2), users 20 and 21 in OU B (3), OU C (4) empty; all three in scope.
pub(super) async fn three_units() -> (World, Source, ProjectorConfig) {
    let (world, mut west) = (World::new(), Source::new("west", "DC=x"));
    let mut events = vec![started(1), observed(1, 1, &"DC=x".parse().unwrap(), None, attributes(OU, "x"))];
    for (number, name) in [(2, "A"), (3, "B"), (4, "C")] {
        events.push(observed(1, number, &unit(name), Some(1), attributes(OU, name)));
    }
    for (number, parent, name) in [(10, 2, "A"), (20, 3, "B"), (21, 3, "B")] {
        events.push(observed(1, number, &named(number, name), Some(parent), user(number)));
    }
    events.push(completed(1, 7));
    let page = west.page(&events, true);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &["OU=A,DC=x", "OU=B,DC=x", "OU=C,DC=x"], &[]);
    (world, west, config)
}

pub(super) fn named(number: u32, unit_name: &str) -> Dn {
    unit(unit_name).child("CN", &format!("u{number}"))
}

pub(super) fn user(number: u32) -> Attributes {
    attributes(USER, &format!("u{number}"))
}

pub(super) fn moved(number: u32, parent: u32, unit_name: &str) -> Event {
    changed(number, &named(number, unit_name), Some(parent), Attributes::new(), &[])
}

pub(super) async fn wished(world: &World) -> Vec<u32> {
    let desired = world.desired("c").await;
    (1..40).filter(|n| desired.wished.objects.contains_key(&anchor(*n))).collect()
}

/// Takes the events in and returns the holds.
pub(super) async fn after(world: &World, source: &mut Source, config: &ProjectorConfig, events: &[Event]) -> Vec<Hold> {
    let page = source.page(events, true);
    world.append(&source.stream, page).await;
    world.open(config).await.catch_up().await.unwrap().held
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_loses_its_last_object_holds() {
    let (world, mut west, mut config) = three_units().await;
    assert_eq!(after(&world, &mut west, &config, &[]).await, []);
    assert_eq!(wished(&world).await, [10, 20, 21]);

    let root = west.root.clone();
    let held = after(&world, &mut west, &config, &[deleted(10, &root), deleted(20, &root)]).await;
    assert_eq!((held.len(), held[0].reason, &held[0].emptied), (1, HoldReason::ScopeEmpty, &vec![guid(2)]));
    assert!(held[0].detail.contains("OU=A,DC=x") && !held[0].detail.contains("OU=B"), "{}", held[0].detail);
    assert_eq!(wished(&world).await, [10, 20, 21]);

    // a database that is built anew knows from the stream what it cannot see
    std::fs::remove_dir_all(&config.directory).unwrap();
    assert_eq!(after(&world, &mut west, &config, &[]).await[0].emptied, [guid(2)]);
    assert_eq!(wished(&world).await, [10, 20, 21]);

    // another one takes its place
    let newcomer = changed(11, &named(11, "A"), Some(2), user(11), &[]);
    assert_eq!(after(&world, &mut west, &config, &[newcomer]).await, []);
    assert_eq!(wished(&world).await, [11, 21]);
    let said = world.decided("c").await.into_iter().filter_map(|event| match event {
        DecisionEvent::ConfigurationHeld(e) => Some((e.reason, true)),
        DecisionEvent::ConfigurationReleased(e) => Some((e.reason, false)),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), [(HoldReason::ScopeEmpty, true), (HoldReason::ScopeEmpty, false)]);

    // and goes, which is what was wanted: the container leaves the scope
    assert_eq!(after(&world, &mut west, &config, &[deleted(11, &root)]).await.len(), 1);
    config.sources[0].include.retain(|entry| entry.to_string() != "OU=A,DC=x");
    assert_eq!(after(&world, &mut west, &config, &[]).await, []);
    assert_eq!(wished(&world).await, [21]);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_move_on_leave_a_container_without_a_hold() {
    let (world, mut west, config) = three_units().await;
    assert_eq!(after(&world, &mut west, &config, &[moved(10, 3, "B")]).await, []);
    assert_eq!(after(&world, &mut west, &config, &[moved(20, 4, "C"), moved(21, 4, "C")]).await[..], []);
    assert_eq!(wished(&world).await, [10, 20, 21]);
    // out of the scope, and into another container of it: what was lost is found again
    let held = after(&world, &mut west, &config, &[moved(10, 1, "Elsewhere")]).await;
    assert_eq!(held.iter().map(|hold| &hold.emptied).collect::<Vec<_>>(), [&[guid(3)]]);
    assert_eq!(after(&world, &mut west, &config, &[moved(10, 4, "C")]).await, []);
    // one of several that is taken back leaves no hold for later
    let root = west.root.clone();
    assert_eq!(after(&world, &mut west, &config, &[deleted(10, &root)]).await, []);
    assert_eq!(after(&world, &mut west, &config, &[moved(20, 2, "A"), moved(21, 2, "A")]).await, []);
    assert_eq!(wished(&world).await, [20, 21]);
    world.assert_repeats(&config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_loses_its_last_member_holds() {
    let (world, mut west) = (World::new(), Source::new("west", "DC=w"));
    let users = (10..14).map(|n| (n, user(n)));
    let groups = (20..23).map(|n| (n, attributes(GROUP, &format!("n{n}"))));
    // 22 in 21; 13 is in both
    let members = [(20, 10), (20, 13), (21, 22), (22, 11), (21, 12), (21, 13)];
    let page = first_read(&mut west, 1, &users.chain(groups).collect::<Vec<_>>(), &members);
    world.append(&west.stream, page).await;
    let mut config = world.config("c", &[west.clone()], &[], &[]);
    let group = |number| GroupEntry { forest: "west".into(), group: ScopeEntry::Guid(guid(number)) };
    config.sources[0].include_groups = vec![group(20), group(21)];
    assert_eq!(after(&world, &mut west, &config, &[]).await, []);
    assert_eq!(wished(&world).await, [10, 11, 12, 13, 22]);

    let held = after(&world, &mut west, &config, &[links(None, 20, "member", &[10, 13], &[])]).await;
    assert_eq!((held.len(), held[0].reason, &held[0].emptied), (1, HoldReason::ScopeEmpty, &vec![guid(20)]));
    assert_eq!(after(&world, &mut west, &config, &[links(None, 20, "member", &[], &[13])]).await, []);
    assert_eq!(wished(&world).await, [11, 12, 13, 22]);
    // it has 13 by the other group as well, so nothing is lost with it
    assert_eq!(after(&world, &mut west, &config, &[links(None, 20, "member", &[13], &[])]).await, []);
    // not emptied for as long as somebody is in a group below it
    assert_eq!(after(&world, &mut west, &config, &[links(None, 21, "member", &[12, 13], &[])]).await, []);
    assert_eq!(wished(&world).await, [11, 22]);
}
