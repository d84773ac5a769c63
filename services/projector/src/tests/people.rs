//! Objects of several forests that are one person.

use forestsync_domain::{AttributeValue, Attributes};
use forestsync_schemas::decisions::DecisionEvent;
use forestsync_schemas::desired::RemovalReason;
use proptest::prelude::*;
use serde_json::json;

use super::history::Dice;
use super::property::stumble;
use super::support::{
    CONTACT, GROUP, Source, USER, World, anchor, attributes, below, changed, deleted, first_read, guid, links, rules,
    with,
};
use crate::config::GroupEntry;
use crate::{ProjectorConfig, ScopeEntry, read_digest};

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

#[tokio::test(flavor = "multi_thread")]
async fn an_account_and_its_linked_mailbox_are_one_that_ends_with_the_account() {
    let (world, mut west, mut east) = (World::new(), Source::new("west", "DC=w"), Source::new("east", "DC=e"));
    let account = attributes(USER, "n10");
    let sid: Vec<AttributeValue> = account["objectSid"].clone();
    let page = first_read(&mut west, 1, &[(10, account)], &[]);
    world.append(&west.stream, page).await;
    let more = [
        ("msExchRecipientTypeDetails", "2"),
        ("userAccountControl", "514"),
        ("mailNickname", "n110"),
        ("mail", "boss@x.example"),
    ];
    let mut mailbox = with(attributes(USER, "n110"), &more);
    mailbox.insert("msExchMasterAccountSid".into(), sid);
    let page = first_read(&mut east, 100, &[(110, mailbox)], &[]);
    world.append(&east.stream, page).await;
    let mut config = world.config("c", &[west.clone(), east], &[], &[]);
    rules(&mut config, json!({"joins": [{"rule": "object_sid"}]}));
    let desired = world.settled(&config).await;
    assert_eq!(desired.wished.objects.keys().collect::<Vec<_>>(), [&anchor(10)]);
    let said = serde_json::to_string(&desired.wished.objects[&anchor(10)].1).unwrap();
    assert!(said.contains("boss@x.example") && said.contains("n10@x.example"), "{said}");
    assert_eq!(joins(&world).await, ["made"]);
    // the mailbox cannot stand alone
    let page = west.page(&[deleted(10, &west.root.clone())], true);
    world.append(&west.stream, page).await;
    let alone = world.settled(&config).await;
    assert_eq!((alone.wished.objects.len(), alone.removed.len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_two_of_one_forest_have_joins_nobody() {
    let (world, mut west, mut east) = (World::new(), Source::new("west", "DC=w"), Source::new("east", "DC=e"));
    let user = |n: u32| (n, with(attributes(USER, &format!("n{n}")), &[("mail", "a@x.example")]));
    for (source, base, users) in [(&mut west, 1, vec![user(10), user(11)]), (&mut east, 100, vec![user(110)])] {
        let page = first_read(source, base, &users, &[]);
        world.append(&source.stream, page).await;
    }
    let mut config = world.config("c", &[west, east], &[], &[]);
    rules(&mut config, json!({"joins": [{"rule": "mail"}]}));
    assert_eq!(world.settled(&config).await.wished.objects.len(), 3);
    assert_eq!(joins(&world).await, [""; 0]);
    let raised = |event: &DecisionEvent| matches!(event, DecisionEvent::FindingRaised(_));
    assert_eq!(world.decided("c").await.iter().filter(|event| raised(event)).count(), 3);
}

/// First reads of three forests and changes to them, of few values, so that many meet.
async fn crowd(world: &World, dice: &mut Dice) -> ProjectorConfig {
    let names = ["west", "east", "north"];
    let mut sources = names.map(|name| Source::new(name, &format!("DC={name}")));
    for (at, source) in sources.iter_mut().enumerate() {
        let base = 1_000 * (at as u32 + 1);
        let mut objects = vec![(base + 1, attributes(GROUP, &format!("g{base}")))];
        for n in base + 10..base + 16 {
            let class = if dice.one_in(3) { CONTACT } else { USER };
            let (mail, number) = (format!("m{}@x.example", dice.below(8)), dice.below(8).to_string());
            objects.push((n, with(attributes(class, &format!("n{n}")), &[("mail", &mail), ("employeeID", &number)])));
            // the others' user of this number, by its SID
            let sid =
                attributes(USER, &format!("n{}", 1_000 * (1 + (at as u32 + 1) % 3) + n - base))["objectSid"].clone();
            let mut stand_in = attributes(&["top", "foreignSecurityPrincipal"], &format!("f{n}"));
            stand_in.insert("objectSid".into(), sid);
            objects.push((n + 100, stand_in));
        }
        let members: Vec<_> = objects.iter().skip(1).filter(|_| dice.one_in(2)).map(|(n, _)| (base + 1, *n)).collect();
        let page = first_read(source, base, &objects, &members);
        world.append(&source.stream, page).await;
        for _ in 0..dice.below(12) {
            let (n, root) = (base + 10 + dice.below(6) as u32, source.root.clone());
            let event = match dice.below(4) {
                0 => links(None, base + 1, "member", &[n], &[n + 100]),
                1 => links(None, base + 1, "member", &[n + 100], &[n]),
                _ => {
                    let name = if dice.one_in(2) { "mail" } else { "employeeID" };
                    let value = if name == "mail" {
                        format!("m{}@x.example", dice.below(8))
                    } else {
                        dice.below(8).to_string()
                    };
                    changed(n, &below(&root, n), Some(base), with(Attributes::new(), &[(name, &value)]), &[])
                }
            };
            let page = source.page(&[event], true);
            world.append(&source.stream, page).await;
        }
    }
    let mut config = world.config("c", &sources, &[], &[]);
    rules(&mut config, json!({"joins": [{"rule": "mail"}, {"attribute": "employeeID"}]}));
    if dice.one_in(2) {
        config.sources[0].include_groups = names
            .iter()
            .zip([1_001, 2_001])
            .map(|(f, n)| GroupEntry { forest: (*f).into(), group: ScopeEntry::Guid(guid(n)) })
            .collect();
    }
    config
}

async fn check(seed: u64) {
    let (mut dice, world) = (Dice(seed | 1), World::new());
    let config = crowd(&world, &mut dice).await;
    let mut projector = stumble(&world, &config, &mut dice).await;
    projector.catch_up().await.unwrap();
    drop(projector);
    world.assert_repeats(&config).await;
    let (digest, before) = (read_digest(&config.directory).unwrap().0, world.desired("c").await);
    std::fs::remove_dir_all(&config.directory).unwrap();
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    drop(projector);
    let after = world.desired("c").await;
    assert_eq!(read_digest(&config.directory).unwrap().0, digest, "seed {seed}: after the loss");
    assert_eq!(after.wished, before.wished, "seed {seed}");
    let news = |desired: &super::support::Desired| desired.count - desired.flows;
    assert_eq!(news(&after), news(&before), "seed {seed}: nothing is news after the loss");
}

/// An object was to be looked at together with another one, of which an answer was open. Before that ended a value became
/// unambiguous, by which the other one belongs to somebody else: nobody looked at the first one any more.
#[tokio::test(flavor = "multi_thread")]
async fn who_waited_for_one_that_goes_elsewhere_is_looked_at() {
    check(7_047_500_798_530_332_269).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn recorded_joins_lead_to_the_same_state_again(seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check(seed));
    }
}
