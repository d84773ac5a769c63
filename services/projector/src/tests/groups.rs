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
    let user = attributes(USER, "n10");
    let sid = Attributes::from([("objectSid".to_owned(), user["objectSid"].clone())]);
    let mut stand_in = with(attributes(STAND_IN, "n130"), &[]);
    stand_in.extend(sid);
    // the one of the group's own forest, so that it never decides for nobody
    let others =
        [(10, user), (11, attributes(USER, "n11")), (21, attributes(GROUP, "n21")), (12, attributes(USER, "n12"))];
    let page = first_read(&mut west, 1, &others, &[(21, 12)]);
    world.append(&west.stream, page).await;
    let objects = [(120, attributes(GROUP, "n120")), (130, stand_in)];
    let page = first_read(&mut east, 100, &objects, &[(120, 130)]);
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
