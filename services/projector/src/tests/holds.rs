//! The gate, and what keeps a configuration from writing.

use forestsync_domain::{AttributeValue, Attributes, Dn, ObjectGuid};
use forestsync_schemas::changes::ChangeEvent;
use forestsync_schemas::decisions::{DecisionEvent, DecisionRecord, HoldReason};
use forestsync_schemas::desired::{CloudClass, RemovalReason};
use forestsync_schemas::streams;

use super::support::{
    Event, GROUP, OU, Source, USER, World, anchor, attributes, changed, completed, deleted, guid, links, observed,
    started,
};
use crate::ScopeEntry;

pub(super) const STAFF: &str = "OU=Staff,DC=x";

pub(super) fn source() -> Source {
    Source::new("west", "DC=x")
}

pub(super) fn dn(text: &str) -> Dn {
    text.parse().unwrap()
}

/// Root 1, OU Staff 2, users from 10 on in Staff.
pub(super) fn population(snapshot: u64, users: u32) -> Vec<Event> {
    let mut events = vec![
        started(snapshot),
        observed(snapshot, 1, &dn("DC=x"), None, attributes(OU, "x")),
        observed(snapshot, 2, &dn(STAFF), Some(1), attributes(OU, "Staff")),
    ];
    for n in 10..10 + users {
        let name = format!("u{n}");
        events.push(observed(snapshot, n, &dn(STAFF).child("CN", &name), Some(2), attributes(USER, &name)));
    }
    events.push(completed(snapshot, u64::from(users) + 2));
    events
}

/// What `decisions` says is wrong, or not any more: the object, and whether it is sent all the same.
async fn findings(world: &World) -> Vec<(ObjectGuid, Option<bool>)> {
    let records = world.records(&streams::decisions("c")).await;
    let events = records.iter().map(|record| DecisionRecord::decode(&record.value).unwrap().event);
    events
        .filter_map(|event| match event {
            DecisionEvent::FindingRaised(e) => Some((e.object, Some(e.blocking))),
            DecisionEvent::FindingCleared(e) => Some((e.object, None)),
            _ => None,
        })
        .collect()
}

async fn decisions(world: &World) -> Vec<(HoldReason, bool)> {
    let records = world.records(&streams::decisions("c")).await;
    let events = records.iter().map(|record| DecisionRecord::decode(&record.value).unwrap().event);
    events
        .filter_map(|event| match event {
            DecisionEvent::ConfigurationHeld(e) => Some((e.reason, true)),
            DecisionEvent::ConfigurationReleased(e) => Some((e.reason, false)),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_before_every_source_was_read() {
    let (world, mut west, mut east) = (World::new(), source(), Source::new("east", "DC=y"));
    let page = west.page(&population(1, 3), true);
    world.append(&west.stream, page).await;
    let first = east.page(&[started(9), observed(9, 501, &dn("DC=y"), None, attributes(OU, "y"))], false);
    world.append(&east.stream, first).await;
    let config = world.config("c", &[west, east.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    let status = projector.catch_up().await.unwrap();
    assert!(!status.gate_open && status.is_waiting() && status.is_idle());
    assert_eq!((status.objects, world.desired("c").await.count), (6, 0));

    let user = observed(9, 502, &dn("CN=e,DC=y"), Some(501), attributes(USER, "e"));
    let last = east.page(&[user, completed(9, 2)], true);
    world.append(&east.stream, last).await;
    let status = projector.catch_up().await.unwrap();
    assert!(status.gate_open);
    assert_eq!(world.desired("c").await.wished.objects.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_scope_container_holds_everything() {
    let (world, mut west) = (World::new(), source());
    let page = west.page(&population(1, 3), true);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[STAFF], &[]);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    let before = world.desired("c").await;
    assert_eq!(before.wished.objects.len(), 3);

    // the container and what is in it, in one answer of two pages, the container last
    let gone: Vec<Event> = (10..13).map(|n| deleted(n, &west.root)).collect();
    let first = west.page(&gone, false);
    world.append(&west.stream, first).await;
    let status = projector.catch_up().await.unwrap();
    assert_eq!((status.held.len(), world.desired("c").await.count), (0, before.count), "half an answer");
    let second = west.page(&[deleted(2, &west.root.clone())], true);
    world.append(&west.stream, second).await;
    let status = projector.catch_up().await.unwrap();
    let reasons: Vec<HoldReason> = status.held.iter().map(|hold| hold.reason).collect();
    assert_eq!(reasons, [HoldReason::ScopeContainerMissing, HoldReason::ScopeEmpty]);
    assert!(status.held[0].detail.contains(STAFF) && status.is_idle() && status.outbox == 3);
    // to take the only container out of the scope would bring in everything
    let hint = &status.held[0].hint;
    assert!(hint.contains("objectGUID") && !hint.contains("take it out"), "{hint}");
    assert_eq!(world.desired("c").await.count, before.count);

    // a restart does not announce it again
    drop(projector);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    assert_eq!(decisions(&world).await.len(), 2);

    let mut back = vec![changed(2, &dn(STAFF), Some(1), attributes(OU, "Staff"), &[])];
    back.push(changed(10, &dn(STAFF).child("CN", "u10"), Some(2), attributes(USER, "u10"), &[]));
    let page = west.page(&back, true);
    world.append(&west.stream, page).await;
    let status = projector.catch_up().await.unwrap();
    assert!(status.held.is_empty() && status.outbox == 0);
    let after = world.desired("c").await;
    assert_eq!(after.wished.objects.keys().collect::<Vec<_>>(), [&anchor(10)]);
    assert!(after.removed.iter().all(|(_, reason)| *reason == RemovalReason::Deleted));
    assert_eq!(decisions(&world).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_never_was_holds_until_it_comes() {
    let (world, mut west) = (World::new(), source());
    let page = west.page(&population(1, 2), true);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[STAFF, "OU=New,DC=x"], &[]);
    let mut projector = world.open(&config).await;
    let status = projector.catch_up().await.unwrap();
    assert_eq!(status.held[0].reason, HoldReason::ScopeContainerMissing);
    assert_eq!(world.desired("c").await.count, 0);
    let page = west.page(&[changed(3, &dn("OU=New,DC=x"), Some(1), attributes(OU, "New"), &[])], true);
    world.append(&west.stream, page).await;
    assert!(projector.catch_up().await.unwrap().held.is_empty());
    assert_eq!(world.desired("c").await.wished.objects.len(), 2);

    // renamed, the container stays what it is; another one of its name is not in scope
    let renamed = [
        changed(2, &dn("OU=People,DC=x"), Some(1), Attributes::new(), &[]),
        changed(4, &dn(STAFF), Some(1), attributes(OU, "Staff"), &[]),
        changed(50, &dn(STAFF).child("CN", "u50"), Some(4), attributes(USER, "u50"), &[]),
    ];
    let page = west.page(&renamed, true);
    world.append(&west.stream, page).await;
    assert!(projector.catch_up().await.unwrap().held.is_empty());
    let desired = world.desired("c").await;
    assert_eq!((desired.wished.objects.len(), desired.removed.len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_read_that_lacks_too_much_is_not_believed() {
    let (world, mut west) = (World::new(), source());
    let page = west.page(&population(1, 10), true);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    let before = world.desired("c").await.count;
    for (snapshot, users) in [(2, 7), (3, 0)] {
        let page = west.page(&population(snapshot, users), true);
        world.append(&west.stream, page).await;
        let status = projector.catch_up().await.unwrap();
        assert_eq!(status.held[0].reason, HoldReason::SourceShrunken, "{users}");
        assert_eq!((status.objects, world.desired("c").await.count), (12, before), "{users}");
    }
    // everything else waits as well
    let set = Attributes::from([("displayName".to_owned(), vec![AttributeValue::from("New")])]);
    let page = west.page(&[changed(10, &dn(STAFF).child("CN", "u10"), None, set, &[])], true);
    world.append(&west.stream, page).await;
    let status = projector.catch_up().await.unwrap();
    assert_eq!((status.outbox, world.desired("c").await.count), (1, before));
    // a good one releases, and what it does not show is gone
    let page = west.page(&population(4, 8), true);
    world.append(&west.stream, page).await;
    let status = projector.catch_up().await.unwrap();
    assert!(status.held.is_empty());
    let after = world.desired("c").await;
    assert_eq!(after.wished.objects.len(), 8);
    assert_eq!(after.removed.iter().map(|(_, reason)| *reason).collect::<Vec<_>>(), [RemovalReason::Absent; 2]);
    let reason = HoldReason::SourceShrunken;
    // each of them is another one to decide about
    assert_eq!(decisions(&world).await, [(reason, true), (reason, true), (reason, false)]);
}

/// A population where everybody has a department, and ten groups a member each.
pub(super) fn rich(snapshot: u64, has_values: bool, has_members: bool) -> Vec<Event> {
    let mut events = population(snapshot, 10);
    events.pop();
    for (_, event) in &mut events {
        if let ChangeEvent::ObjectObserved(observed) = event
            && has_values
            && observed.dn.rdn().is_some_and(|rdn| rdn.value().starts_with('u'))
        {
            observed.attributes.insert("department".into(), vec![AttributeValue::from("Sales")]);
        }
    }
    for n in 50..60 {
        let name = format!("g{n}");
        events.push(observed(snapshot, n, &dn(STAFF).child("CN", &name), Some(2), attributes(GROUP, &name)));
        if has_members {
            events.push(links(Some(snapshot), n, "member", &[], &[10]));
        }
    }
    events.push(completed(snapshot, 22));
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_read_with_fewer_rights_clears_nothing() {
    let (world, mut west) = (World::new(), source());
    let config = world.config("c", &[west.clone()], &[], &[]);
    let page = west.page(&rich(1, true, true), true);
    world.append(&west.stream, page).await;
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    let before = world.desired("c").await;
    assert_eq!((before.wished.objects.len(), before.wished.links.len()), (20, 10));
    // the second read of each kind finds the mirror as the first one left it
    let mut snapshot = 1;
    for (has_values, has_members, name) in [(false, true, "department"), (true, false, "member")] {
        for _ in 0..2 {
            snapshot += 1;
            let page = west.page(&rich(snapshot, has_values, has_members), true);
            world.append(&west.stream, page).await;
            let status = projector.catch_up().await.unwrap();
            assert_eq!(status.held[0].reason, HoldReason::SourceShrunken);
            assert!(status.held[0].detail.contains(name), "{}", status.held[0].detail);
            assert_eq!(world.desired("c").await.count, before.count);
        }
        snapshot += 1;
        let page = west.page(&rich(snapshot, true, true), true);
        world.append(&west.stream, page).await;
        assert_eq!(projector.catch_up().await.unwrap().held, []);
        assert_eq!(world.desired("c").await.count, before.count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_read_is_judged_once() {
    let (world, mut west) = (World::new(), source());
    let mut events = population(1, 10);
    events.pop();
    events.push(observed(1, 3, &dn("OU=Other,DC=x"), Some(1), attributes(OU, "Other")));
    for n in 50..60 {
        let name = format!("v{n}");
        events.push(observed(1, n, &dn("OU=Other,DC=x").child("CN", &name), Some(3), attributes(USER, &name)));
    }
    events.push(completed(1, 23));
    let page = west.page(&events, true);
    world.append(&west.stream, page).await;
    // with everything in scope ten of twenty are missing, with Staff alone none
    let staff = world.config("c", &[west.clone()], &[STAFF], &[]);
    let mut projector = world.open(&staff).await;
    projector.catch_up().await.unwrap();
    let page = west.page(&population(2, 10), true);
    world.append(&west.stream, page).await;
    let status = projector.catch_up().await.unwrap();
    assert_eq!((status.held.len(), status.objects), (0, 12));
    drop(projector);
    let all = world.config("c", &[west], &[], &[]);
    let mut projector = world.open(&all).await;
    let live = projector.catch_up().await.unwrap();
    drop(projector);
    std::fs::remove_dir_all(&all.directory).unwrap();
    let mut projector = world.open(&all).await;
    let again = projector.catch_up().await.unwrap();
    assert_eq!((again.held.len(), again.objects, again.digest), (0, 12, live.digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_forest_holds_until_its_first_object() {
    let (world, mut west) = (World::new(), source());
    let page = west.page(&population(1, 0), true);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    assert_eq!(projector.catch_up().await.unwrap().held[0].reason, HoldReason::SourceShrunken);
    let page = west.page(&[changed(10, &dn("CN=u10,DC=x"), Some(1), attributes(USER, "u10"), &[])], true);
    world.append(&west.stream, page).await;
    assert!(projector.catch_up().await.unwrap().held.is_empty());
    assert_eq!(world.desired("c").await.wished.objects.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn absence_needs_the_full_count() {
    let (world, mut west) = (World::new(), source());
    let page = west.page(&population(1, 10), true);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    let mut second = population(2, 9);
    second.pop();
    second.push(completed(2, 12));
    let page = west.page(&second, true);
    world.append(&west.stream, page).await;
    let status = projector.catch_up().await.unwrap();
    assert!(status.held.is_empty());
    assert_eq!(world.desired("c").await.wished.objects.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_object_keeps_what_was_wished() {
    let (world, mut west) = (World::new(), source());
    let mut events = population(1, 3);
    events.pop();
    events.push(observed(1, 20, &dn("CN=g,DC=x"), Some(1), attributes(GROUP, "g")));
    events.push(links(Some(1), 20, "member", &[], &[10, 11]));
    events.push(links(Some(1), 11, "manager", &[], &[10]));
    events.push(completed(1, 6));
    let page = west.page(&events, true);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    let before = world.desired("c").await;
    assert_eq!((before.wished.objects.len(), before.wished.links.len()), (4, 2));
    assert_eq!(before.wished.objects[&anchor(11)].2, Some(anchor(10)));

    let bad = Attributes::from([("userPrincipalName".to_owned(), vec![AttributeValue::from("no at sign")])]);
    let page = west.page(&[changed(10, &dn(STAFF).child("CN", "u10"), None, bad, &[])], true);
    world.append(&west.stream, page).await;
    let status = projector.catch_up().await.unwrap();
    assert_eq!((status.blocked, status.findings), (1, 1), "{status:?}");
    assert!(status.finding_list[0].blocking && status.finding_list[0].object == guid(10).to_string());
    assert_eq!(world.desired("c").await.wished, before.wished);
    assert_eq!(status.projected[&CloudClass::User], 2);

    // people are told once, also where the database is built anew, and when it is over
    let raised = (guid(10), Some(true));
    assert_eq!(findings(&world).await, [raised]);
    drop(projector);
    std::fs::remove_dir_all(&config.directory).unwrap();
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    assert_eq!(findings(&world).await, [raised]);
    let page = west.page(&[changed(10, &dn(STAFF).child("CN", "u10"), None, attributes(USER, "u10"), &[])], true);
    world.append(&west.stream, page).await;
    projector.catch_up().await.unwrap();
    assert_eq!(findings(&world).await, [raised, (guid(10), None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_get_their_manager_when_it_is_corrected() {
    let (world, mut west) = (World::new(), source());
    let mut events = population(1, 2);
    let bad = Attributes::from([("userPrincipalName".to_owned(), vec![AttributeValue::from("no at sign")])]);
    events.pop();
    events.push(changed(10, &dn(STAFF).child("CN", "u10"), None, bad, &[]));
    events.push(links(Some(1), 11, "manager", &[], &[10]));
    events.push(completed(1, 4));
    let page = west.page(&events, true);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    let before = world.desired("c").await.wished;
    assert_eq!((before.objects.len(), before.objects[&anchor(11)].2.clone()), (1, None));

    let good = attributes(USER, "u10");
    let page = west.page(&[changed(10, &dn(STAFF).child("CN", "u10"), None, good, &[])], true);
    world.append(&west.stream, page).await;
    projector.catch_up().await.unwrap();
    assert_eq!(world.desired("c").await.wished.objects[&anchor(11)].2, Some(anchor(10)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_objects_with_one_anchor() {
    let (world, mut west, mut east) = (World::new(), source(), Source::new("east", "DC=y"));
    let twin = |name: &str| {
        let mut all = attributes(USER, name);
        let consistency = AttributeValue::Binary(guid(77).as_bytes().to_vec());
        all.insert("mS-DS-ConsistencyGuid".into(), vec![consistency]);
        all
    };
    let mut events = population(1, 1);
    events.insert(3, observed(1, 30, &dn("CN=twin,DC=x"), Some(1), twin("twin")));
    events.pop();
    events.push(completed(1, 4));
    let page = west.page(&events, true);
    world.append(&west.stream, page).await;
    let page = east.page(
        &[
            started(9),
            observed(9, 501, &dn("DC=y"), None, attributes(OU, "y")),
            observed(9, 502, &dn("CN=other,DC=y"), Some(501), twin("other")),
            completed(9, 2),
        ],
        true,
    );
    world.append(&east.stream, page).await;
    let mut config = world.config("c", &[west.clone(), east.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    let status = projector.catch_up().await.unwrap();
    assert_eq!((status.findings, world.desired("c").await.wished.objects.len()), (1, 2));
    // the one that has it goes, and the other one takes its place
    let loser = if status.finding_list[0].forest == "west" { &mut east } else { &mut west };
    let (number, root) = if loser.forest == "east" { (502, dn("DC=y")) } else { (30, dn("DC=x")) };
    let page = loser.page(&[deleted(number, &root)], true);
    let stream = loser.stream.clone();
    world.append(&stream, page).await;
    let status = projector.catch_up().await.unwrap();
    assert_eq!((status.findings, world.desired("c").await.removed.len()), (0, 0));
    assert!(world.desired("c").await.wished.objects.contains_key(&anchor(77)));

    // a scope added later, by objectGUID and by a name the mirror knows already
    drop(projector);
    config.sources[0].exclude = vec![ScopeEntry::Dn(dn(STAFF))];
    config.sources[1].exclude = vec![ScopeEntry::Guid(guid(501))];
    let mut projector = world.open(&config).await;
    let status = projector.catch_up().await.unwrap();
    assert!(status.held.is_empty(), "{:?}", status.held);
    let after = world.desired("c").await;
    assert!(after.removed.contains(&(anchor(10), RemovalReason::OutOfScope)), "{:?}", after.removed);
}
