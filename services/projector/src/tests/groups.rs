//! Scope by membership in groups.

use forestsync_domain::Attributes;
use forestsync_schemas::desired::{DesiredEvent, DesiredRecord};
use forestsync_schemas::streams;
use serde_json::json;

use super::support::{
    Desired, GROUP, Source, USER, World, anchor, attributes, below, changed, first_read, guid, links, rules, with,
};
use crate::config::GroupEntry;
use crate::{ProjectorConfig, ScopeEntry};

const STAND_IN: &[&str] = &["top", "foreignSecurityPrincipal"];

fn group(forest: &str, number: u32) -> GroupEntry {
    GroupEntry { forest: forest.into(), group: ScopeEntry::Guid(guid(number)) }
}

fn has(desired: &Desired, numbers: &[u32]) -> Vec<bool> {
    numbers.iter().map(|n| desired.wished.objects.contains_key(&anchor(*n))).collect()
}

/// The relative identifier of a group, as primaryGroupID has it.
fn rid(number: u32) -> String {
    let sid = attributes(GROUP, &format!("n{number}"))["objectSid"][0].as_bytes().to_vec();
    u32::from_le_bytes(*sid.last_chunk().unwrap()).to_string()
}

/// Users 10 to 12, scope group 20, groups 21 and 22 that may be in it.
async fn one_forest(members: &[(u32, u32)]) -> (World, Source, ProjectorConfig) {
    let (world, mut west) = (World::new(), Source::new("west", "DC=w"));
    let users = (10..13).map(|n| (n, attributes(USER, &format!("n{n}"))));
    let groups = (20..23).map(|n| (n, attributes(GROUP, &format!("n{n}"))));
    let page = first_read(&mut west, 1, &users.chain(groups).collect::<Vec<_>>(), members);
    world.append(&west.stream, page).await;
    let mut config = world.config("c", &[west.clone()], &[], &[]);
    config.sources[0].include_groups = vec![group("west", 20)];
    (world, west, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_the_scope_group_come_and_go_at_any_depth() {
    // 21 in 20, 22 in 21, and 21 in 22 again: the cycle ends
    let (world, mut west, config) = one_forest(&[(20, 10), (20, 21), (21, 22), (22, 21), (22, 11)]).await;
    let cases: [(Vec<_>, [bool; 3]); 5] = [
        (vec![], [true, true, false]),
        (vec![links(None, 20, "member", &[10], &[12])], [false, true, true]),
        (vec![links(None, 20, "member", &[21], &[])], [false, false, true]),
        (vec![links(None, 20, "member", &[], &[22])], [false, true, true]),
        // another name of the scope group changes nothing
        (vec![changed(20, &below(&west.root, 99), Some(1), Attributes::new(), &[])], [false, true, true]),
    ];
    for (events, expected) in cases {
        let page = west.page(&events, true);
        world.append(&west.stream, page).await;
        assert_eq!(has(&world.settled(&config).await, &[10, 11, 12]), expected, "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_members_excluded_groups_and_pilots_narrow_the_scope() {
    let members = [(20, 10), (20, 21), (21, 11), (22, 10)];
    for (form, excluded, expected) in [
        (json!({"scope": {"group_members": "direct"}}), None, [true, false, false]),
        (json!({}), Some(22), [false, true, false]),
        (json!({"scope": {"pilot": ["N11@x.example", "n12"]}}), None, [false, true, false]),
    ] {
        let (world, _, mut config) = one_forest(&members).await;
        rules(&mut config, form.clone());
        config.sources[0].exclude_groups.extend(excluded.map(|n| group("west", n)));
        assert_eq!(has(&world.settled(&config).await, &[10, 11, 12]), expected, "{form} {excluded:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_another_forest_decides_by_way_of_a_foreign_security_principal() {
    let (world, mut west, mut east) = (World::new(), Source::new("west", "DC=w"), Source::new("east", "DC=e"));
    let stand_in = |user: &Attributes, name: &str| {
        let mut all = attributes(STAND_IN, name);
        all.insert("objectSid".to_owned(), user["objectSid"].clone());
        all
    };
    let (user, stays) = (attributes(USER, "n10"), attributes(USER, "n13"));
    // the one of the group's own forest, so that it never decides for nobody, as the one that stays in the other group
    let objects = [(120, attributes(GROUP, "n120")), (130, stand_in(&user, "n130")), (131, stand_in(&stays, "n131"))];
    let others = [
        (10, user),
        (11, attributes(USER, "n11")),
        (21, attributes(GROUP, "n21")),
        (12, attributes(USER, "n12")),
        (13, stays),
    ];
    let page = first_read(&mut west, 1, &others, &[(21, 12)]);
    world.append(&west.stream, page).await;
    let page = first_read(&mut east, 100, &objects, &[(120, 130), (120, 131)]);
    world.append(&east.stream, page).await;
    let mut config = world.config("c", &[west, east.clone()], &[], &[]);
    config.sources[0].include_groups = vec![group("east", 120), group("west", 21)];
    assert_eq!(has(&world.settled(&config).await, &[10, 11]), [true, false]);
    for (removed, added, expected) in [(vec![130], vec![], false), (vec![], vec![130], true)] {
        let page = east.page(&[links(None, 120, "member", &removed, &added)], true);
        world.append(&east.stream, page).await;
        let desired = world.settled(&config).await;
        assert_eq!(has(&desired, &[10, 11]), [expected, false]);
        assert_eq!(desired.wished.links.contains(&(anchor(120), anchor(10))), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_group_is_let_go_where_the_scope_keeps() {
    for keep in [true, false] {
        let (world, mut west, mut config) = one_forest(&[(20, 10), (20, 11)]).await;
        rules(&mut config, json!({"scope": {"out_of_scope": if keep { "keep" } else { "remove" }}}));
        world.settled(&config).await;
        let page = west.page(&[links(None, 20, "member", &[10], &[])], true);
        world.append(&west.stream, page).await;
        assert_eq!(has(&world.settled(&config).await, &[10, 11]), [false, true]);
        let records = world.records(&streams::desired("c")).await;
        let events = records.iter().map(|record| DesiredRecord::decode(&record.value).unwrap().event);
        let removed = events.filter_map(|event| match event {
            DesiredEvent::ObjectRemoved(e) => Some((e.anchor, e.keep)),
            _ => None,
        });
        assert_eq!(removed.collect::<Vec<_>>(), [(anchor(10), keep)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_asks_for_direct_membership_in_a_group_by_its_name() {
    let (world, mut west, mut config) = one_forest(&[(20, 10), (20, 21), (21, 11), (22, 12)]).await;
    config.sources[0].include_groups.clear();
    let clause = json!({"operator": "is_member_of", "values": ["CN=N20,DC=w", guid(22).to_string()]});
    rules(&mut config, json!({"scope": {"filters": [{"classes": ["user"], "where": [clause]}]}}));
    assert_eq!(has(&world.settled(&config).await, &[10, 11, 12, 20]), [true, false, true, true]);
    for (removed, added, expected) in
        [(vec![10], vec![11], [false, true, true]), (vec![11], vec![], [false, false, true])]
    {
        let page = west.page(&[links(None, 20, "member", &removed, &added)], true);
        world.append(&west.stream, page).await;
        assert_eq!(has(&world.settled(&config).await, &[10, 11, 12]), expected);
    }
    // the group is another one by that name now, and the same by its objectGUID
    let page = west.page(&[changed(20, &below(&west.root, 99), None, Attributes::new(), &[])], true);
    world.append(&west.stream, page).await;
    let page = west.page(&[links(None, 20, "member", &[], &[10])], true);
    world.append(&west.stream, page).await;
    assert_eq!(has(&world.settled(&config).await, &[10, 11, 12]), [true, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pilot_names_objects_by_name_and_by_object_guid() {
    let (world, mut west, mut config) = one_forest(&[]).await;
    config.sources[0].include_groups.clear();
    rules(&mut config, json!({"scope": {"pilot": ["CN=n10,DC=W", guid(21).to_string(), "CN=n50,DC=w"]}}));
    assert_eq!(has(&world.settled(&config).await, &[10, 11, 20, 21]), [true, false, false, true]);
    // renamed it is still of the pilot, and another object by its name is not
    let rename = changed(10, &below(&west.root, 60), Some(1), Attributes::new(), &[]);
    let take = changed(11, &below(&west.root, 10), Some(1), Attributes::new(), &[]);
    // and one that comes later by its name is
    let come = changed(50, &below(&west.root, 50), Some(1), attributes(USER, "n50"), &[]);
    let page = west.page(&[rename, take, come], true);
    world.append(&west.stream, page).await;
    assert_eq!(has(&world.settled(&config).await, &[10, 11, 21, 50]), [true, false, true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_another_domain_of_the_forest_decides_whichever_is_read_first() {
    for is_named in [true, false] {
        let (world, mut top, mut sub) = (World::new(), Source::new("west", "DC=w"), Source::new("west", "DC=s,DC=w"));
        let users = [10, 11].map(|n| (n, attributes(USER, &format!("n{n}"))));
        let page = first_read(&mut top, 1, &users, &[]);
        world.append(&top.stream, page).await;
        let page = first_read(&mut sub, 100, &[(120, attributes(GROUP, "n120"))], &[(120, 10)]);
        world.append(&sub.stream, page).await;
        let mut config = world.config("c", &[top, sub.clone()], &[], &[]);
        let entry = if is_named { ScopeEntry::Dn(below(&sub.root, 120)) } else { ScopeEntry::Guid(guid(120)) };
        config.sources[0].include_groups = vec![GroupEntry { forest: "west".into(), group: entry }];
        let desired = world.settled(&config).await;
        assert_eq!(has(&desired, &[10, 11, 120]), [true, false, true]);
        assert!(desired.wished.links.contains(&(anchor(120), anchor(10))));
        let page = sub.page(&[links(None, 120, "member", &[10], &[11])], true);
        world.append(&sub.stream, page).await;
        assert_eq!(has(&world.settled(&config).await, &[10, 11]), [false, true]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_group_counts_where_the_scope_says_so() {
    for counts in [true, false] {
        let (world, mut west) = (World::new(), Source::new("west", "DC=w"));
        let user =
            |n: u32, group: u32| (n, with(attributes(USER, &format!("n{n}")), &[("primaryGroupID", &rid(group))]));
        let groups = [20, 21].map(|n| (n, attributes(GROUP, &format!("n{n}"))));
        let objects: Vec<_> = [user(10, 20), user(11, 21)].into_iter().chain(groups).collect();
        let page = first_read(&mut west, 1, &objects, &[]);
        world.append(&west.stream, page).await;
        let mut config = world.config("c", &[west.clone()], &[], &[]);
        config.sources[0].include_groups = vec![group("west", 20)];
        rules(&mut config, json!({"scope": {"primary_groups": counts}}));
        assert_eq!(has(&world.settled(&config).await, &[10, 11]), [counts, false]);
        let set = with(Attributes::new(), &[("primaryGroupID", &rid(20))]);
        let page = west.page(&[changed(11, &below(&west.root, 11), None, set, &[])], true);
        world.append(&west.stream, page).await;
        assert_eq!(has(&world.settled(&config).await, &[10, 11]), [counts, counts]);
        let set = with(Attributes::new(), &[("primaryGroupID", &rid(21))]);
        let page = west.page(&[changed(10, &below(&west.root, 10), None, set, &[])], true);
        world.append(&west.stream, page).await;
        assert_eq!(has(&world.settled(&config).await, &[10, 11]), [false, counts]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_group_is_a_membership_in_the_tenant_that_follows_its_change() {
    let (world, mut west, mut config) = one_forest(&[]).await;
    config.sources[0].include_groups.clear();
    rules(&mut config, json!({"scope": {"primary_groups": true}}));
    for number in [20, 21, 21, 20] {
        let set = with(Attributes::new(), &[("primaryGroupID", &rid(number))]);
        let page = west.page(&[changed(10, &below(&west.root, 10), None, set, &[])], true);
        world.append(&west.stream, page).await;
        let links = world.settled(&config).await.wished.links;
        assert_eq!(links.into_iter().collect::<Vec<_>>(), [(anchor(number), anchor(10))]);
    }
}
