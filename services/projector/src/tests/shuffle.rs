//! The order in which objects arrive means nothing: whatever order the records of the first reads come in, the end is the
//! same. Children come before their containers, memberships before both their ends, and one forest before the other.
//!
//! Held to first reads, because after those order does mean something: who was provisioned apart keeps the anchor that
//! was given first, and that is a decision, not a calculation.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::{AttributeValue, Attributes, Dn};
use forestsync_schemas::decisions::DecisionEvent;
use forestsync_schemas::desired::{DesiredEvent, DesiredRecord};
use forestsync_schemas::streams;
use proptest::prelude::*;
use serde_json::json;

use super::history::Dice;
use super::property::stumble;
use super::support::{
    CONTACT, Event, GROUP, OU, Source, USER, World, attributes, completed, guid, links, observed, rules, started, with,
};
use crate::config::GroupEntry;
use crate::{ProjectorConfig, ScopeEntry, StateDigest, read_digest};

const STAND_IN: &[&str] = &["top", "foreignSecurityPrincipal"];

/// Naming contexts with the number of their root.
const DOMAINS: [(&str, &str, u32); 4] =
    [("west", "DC=w", 1_000), ("west", "DC=s,DC=w", 2_000), ("east", "DC=e", 3_000), ("north", "DC=n", 4_000)];

/// What a full read of each naming context shows, in no order.
type Shown = Vec<(Source, Vec<Event>)>;

fn sid(number: u32) -> Vec<AttributeValue> {
    attributes(USER, &format!("n{number}"))["objectSid"].clone()
}

/// A person, a contact or a linked mailbox, of few values, so that many meet.
fn someone(number: u32, dice: &mut Dice) -> Attributes {
    let class = if dice.one_in(4) { CONTACT } else { USER };
    let (mail, id) = (format!("m{}@x.example", dice.below(12)), dice.below(12).to_string());
    let mut all = with(attributes(class, &format!("n{number}")), &[("mail", &mail), ("employeeID", &id)]);
    if class == USER && dice.one_in(4) {
        let account = DOMAINS[dice.below(DOMAINS.len())].2 + 10 + dice.below(6) as u32;
        all.extend(with(Attributes::new(), &[("msExchRecipientTypeDetails", "2"), ("userAccountControl", "514")]));
        all.insert("msExchMasterAccountSid".into(), sid(account));
    }
    if dice.one_in(6) {
        // the same anchor for several
        let bytes = guid(9_000 + dice.below(2) as u32).as_bytes().to_vec();
        all.insert("mS-DS-ConsistencyGuid".into(), vec![AttributeValue::Binary(bytes)]);
    }
    all
}

/// A naming context: containers, six who are someone, three groups, stand-ins for others, and links between all of them.
fn domain(root: &Dn, base: u32, dice: &mut Dice) -> Vec<Event> {
    let n = u64::from(base);
    let mut containers = vec![(base, root.clone())];
    let mut events = vec![observed(n, base, root, None, attributes(OU, "root"))];
    for (at, name) in ["Staff", "Hidden", "Below"].iter().enumerate() {
        let (parent, above) = if at == 2 { dice.pick(&containers).unwrap() } else { containers[0].clone() };
        let (number, dn) = (base + 1 + at as u32, above.child("OU", name));
        events.push(observed(n, number, &dn, Some(parent), attributes(OU, name)));
        containers.push((number, dn));
    }
    let mut show = |number: u32, all: Attributes, dice: &mut Dice| {
        let (parent, above) = dice.pick(&containers).unwrap();
        events.push(observed(n, number, &above.child("CN", &format!("n{number}")), Some(parent), all));
    };
    for number in base + 10..base + 16 {
        let all = someone(number, dice);
        show(number, all, dice);
    }
    for number in base + 20..base + 23 {
        let id = dice.below(6).to_string();
        show(number, with(attributes(GROUP, &format!("n{number}")), &[("employeeID", &id)]), dice);
    }
    for number in base + 30..base + 33 {
        let mut all = attributes(STAND_IN, &format!("n{number}"));
        all.insert("objectSid".into(), sid(DOMAINS[dice.below(DOMAINS.len())].2 + 10 + dice.below(6) as u32));
        show(number, all, dice);
    }
    let forest = if base == 2_000 { 1_000 } else { base };
    let anybody = |dice: &mut Dice| {
        let of = if dice.one_in(3) { forest } else { base };
        of + [10, 10, 20, 30][dice.below(4)] + dice.below(6) as u32
    };
    for _ in 0..14 {
        let member = anybody(dice);
        events.push(links(Some(n), base + 20 + dice.below(3) as u32, "member", &[], &[member]));
    }
    for number in base + 10..base + 16 {
        let boss = anybody(dice);
        events.push(links(Some(n), number, "manager", &[], &[boss]));
    }
    for number in base + 20..base + 23 {
        let owner = anybody(dice);
        events.push(links(Some(n), number, "managedBy", &[], &[owner]));
    }
    events
}

/// One order of everything, in a log of its own.
async fn write(shown: &Shown, dice: &mut Dice) -> (World, Vec<Source>) {
    let (world, mut sources) = (World::new(), Vec::new());
    for (source, events) in shown {
        let (mut source, mut events) = (source.clone(), events.clone());
        for at in (1..events.len()).rev() {
            events.swap(at, dice.below(at + 1));
        }
        let n = shown_in(&source);
        let seen = events.iter().filter(|(_, event)| is_object(event)).count() as u64;
        events.insert(0, started(n));
        events.push(completed(n, seen));
        let size = 1 + dice.below(40);
        let count = events.len().div_ceil(size);
        for (at, chunk) in events.chunks(size).enumerate() {
            let page = source.page(chunk, at + 1 == count);
            world.append(&source.stream, page).await;
        }
        sources.push(source);
    }
    (world, sources)
}

fn shown_in(source: &Source) -> u64 {
    let of = |(forest, root, _): &&(&str, &str, u32)| *forest == source.forest && source.root == root.parse().unwrap();
    u64::from(DOMAINS.iter().find(of).unwrap().2)
}

fn is_object(event: &forestsync_schemas::changes::ChangeEvent) -> bool {
    matches!(event, forestsync_schemas::changes::ChangeEvent::ObjectObserved(_))
}

/// What came of it: the digest, the last record of each key, and what was decided.
#[derive(Debug, PartialEq)]
struct End {
    digest: StateDigest,
    desired: BTreeMap<String, serde_json::Value>,
    decided: BTreeSet<String>,
}

async fn end(world: &World, config: &ProjectorConfig) -> End {
    let mut desired = BTreeMap::new();
    for record in world.records(&streams::desired("c")).await {
        let event = DesiredRecord::decode(&record.value).unwrap().event;
        desired.insert(event_key(&event), serde_json::to_value(&event).unwrap());
    }
    let said = |event: DecisionEvent| serde_json::to_string(&event).unwrap();
    let digest = read_digest(&config.directory).unwrap().0;
    End { digest, desired, decided: world.decided("c").await.into_iter().map(said).collect() }
}

fn event_key(event: &DesiredEvent) -> String {
    use forestsync_schemas::EventBody as _;
    format!("{} {}", event.type_name(), event.key())
}

async fn check(seed: u64) {
    let mut dice = Dice(seed | 1);
    let shown: Shown = DOMAINS
        .iter()
        .take(2 + dice.below(3))
        .map(|(forest, root, base)| {
            let source = Source::new(forest, root);
            let events = domain(&source.root, *base, &mut dice);
            (source, events)
        })
        .collect();
    let (is_joined, by_group, by_container) = (!dice.one_in(4), dice.one_in(3), dice.one_in(2));
    let mut first: Option<End> = None;
    for round in 0..4 {
        let (world, sources) = write(&shown, &mut dice).await;
        let include: &[&str] = if by_container { &["OU=Staff,DC=w", "OU=Staff,DC=s,DC=w"] } else { &[] };
        let mut config = world.config("c", &sources, include, &["OU=Hidden,DC=w", "OU=Hidden,DC=e"]);
        let joins = json!([{"rule": "object_sid"}, {"rule": "mail"}, {"attribute": "employeeID"},
                           {"attribute": "employeeID", "classes": ["group"]}]);
        rules(&mut config, if is_joined { json!({"joins": joins}) } else { json!({}) });
        if by_group {
            config.sources[0].include_groups = [1_020, 1_021]
                .map(|number| GroupEntry { forest: "west".into(), group: ScopeEntry::Guid(guid(number)) })
                .into();
        }
        let mut projector = stumble(&world, &config, &mut dice).await;
        let status = projector.catch_up().await.unwrap();
        assert!(!status.held.is_empty() || status.outbox == 0, "seed {seed}: {status:?}");
        drop(projector);
        let end = end(&world, &config).await;
        match &first {
            None => first = Some(end),
            Some(first) => assert_eq!(&end, first, "seed {seed}: order {round}"),
        }
    }
}

fn cases() -> u32 {
    if std::env::var_os("FORESTSYNC_SOAK").is_some_and(|v| v != "0") { 400 } else { 8 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_the_first_reads_ends_in_the_same_state_and_records(seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check(seed));
    }
}
