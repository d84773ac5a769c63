//! Objects of several forests that are one person.

use forestsync_domain::Attributes;
use forestsync_schemas::decisions::DecisionEvent;
use forestsync_schemas::desired::RemovalReason;
use serde_json::json;

use super::support::{CONTACT, Source, USER, World, anchor, attributes, below, changed, first_read, rules, with};
use crate::ProjectorConfig;

/// What was joined and broken, by the anchor and in order.
async fn joins(world: &World) -> Vec<&'static str> {
    let kind = |event| match event {
        DecisionEvent::JoinMade(_) => Some("made"),
        DecisionEvent::JoinBroken(_) => Some("broken"),
        _ => None,
    };
    world.decided("c").await.into_iter().filter_map(kind).collect()
}

/// User 10 in the west, and 110 of a class in the east.
async fn two(class: &[&str], mail: &str) -> (World, Source, ProjectorConfig) {
    let (world, mut west, mut east) = (World::new(), Source::new("west", "DC=w"), Source::new("east", "DC=e"));
    let user = with(attributes(USER, "n10"), &[("mail", "a@x.example")]);
    let page = first_read(&mut west, 1, &[(10, user)], &[]);
    world.append(&west.stream, page).await;
    let other = with(attributes(class, "n110"), &[("mail", mail)]);
    let page = first_read(&mut east, 100, &[(110, other)], &[]);
    world.append(&east.stream, page).await;
    let mut config = world.config("c", &[west, east.clone()], &[], &[]);
    rules(&mut config, json!({"joins": [{"rule": "mail"}]}));
    (world, east, config)
}

async fn set_mail(world: &World, east: &mut Source, mail: &str) {
    let set = with(Attributes::new(), &[("mail", mail)]);
    let page = east.page(&[changed(110, &below(&east.root.clone(), 110), None, set, &[])], true);
    world.append(&east.stream, page).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_one_while_the_mail_is_and_two_after_it() {
    for class in [USER, CONTACT] {
        let (world, mut east, config) = two(class, "A@x.example").await;
        assert_eq!(world.settled(&config).await.wished.objects.len(), 1);
        assert_eq!(joins(&world).await, ["made"]);
        let first = world.desired("c").await.wished.objects.keys().next().cloned().unwrap();
        set_mail(&world, &mut east, "b@x.example").await;
        let apart = world.settled(&config).await.wished.objects;
        assert!(apart.contains_key(&first) && apart.len() == 2, "{apart:?}");
        assert_eq!(joins(&world).await, ["made", "broken"]);
        set_mail(&world, &mut east, "a@x.example").await;
        let again = world.settled(&config).await;
        assert_eq!(again.wished.objects.keys().collect::<Vec<_>>(), [&first]);
        assert_eq!(again.removed.iter().map(|(_, reason)| *reason).collect::<Vec<_>>(), [RemovalReason::Joined]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_were_provisioned_apart_keep_the_first_anchor_when_they_are_joined() {
    let (world, mut east, config) = two(USER, "b@x.example").await;
    assert_eq!(world.settled(&config).await.wished.objects.len(), 2);
    set_mail(&world, &mut east, "a@x.example").await;
    let joined = world.settled(&config).await;
    assert_eq!((joined.wished.objects.len(), joined.removed.len()), (1, 1));
    let (removed, reason) = joined.removed[0].clone();
    assert!([anchor(10), anchor(110)].contains(&removed) && reason == RemovalReason::Joined);
    let first = world.decided("c").await.into_iter().find_map(|event| match event {
        DecisionEvent::AnchorAssigned(e) => Some(e.anchor),
        _ => None,
    });
    assert_eq!(joined.wished.objects.keys().next(), first.as_ref());
}
