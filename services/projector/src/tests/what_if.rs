//! What would follow from an object that was read is what follows when it is taken in, and asking leaves no trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use forestsync_domain::{Attributes, InvocationId};
use forestsync_log::Log;
use forestsync_schemas::changes::Controller;
use forestsync_schemas::sighting::Sighting;
use forestsync_schemas::{DesiredEvent, DesiredRecord, EventId};
use serde_json::json;

use super::support::{
    Event, GROUP, Source, USER, World, attributes, below, changed, first_read, guid, links, rules, with,
};
use crate::query::{Answer, Query, WhatIf};
use crate::{ProjectorConfig, ask, read_digest};

/// An object below the root of its domain, as a look shows it.
fn seen(source: &Source, object: u32, attributes: Attributes, members: &[(&str, &[u32])]) -> Sighting {
    let guids = |numbers: &[u32]| numbers.iter().copied().map(guid).collect();
    Sighting {
        forest: source.forest.clone(),
        naming_context: source.root.clone(),
        object: guid(object),
        dn: below(&source.root, object),
        parent: Some(guid(if source.forest == "west" { 1 } else { 100 })),
        controller: Controller { dns_name: "dc".into(), invocation_id: InvocationId(guid(9)) },
        usn_changed: None,
        when_changed: None,
        attributes,
        links: members.iter().map(|(name, numbers)| ((*name).to_owned(), guids(numbers))).collect(),
        long_links: Vec::new(),
        readable: ["mail", "title", "displayName"].map(str::to_owned).into(),
        is_read: true,
    }
}

async fn what_if(world: &World, config: &ProjectorConfig, sighting: Sighting) -> WhatIf {
    let log = Arc::clone(&world.log) as Arc<dyn Log>;
    match ask(config.clone(), log, Query::WhatIf(Box::new(sighting))).await.unwrap() {
        Answer::WhatIf(found) => *found,
        other => panic!("{other:?}"),
    }
}

/// The records of `desired` from an offset on, but for when they were written.
async fn written(world: &World, from: usize) -> BTreeMap<EventId, DesiredEvent> {
    let records = world.records("desired.c").await;
    let decoded = records.iter().skip(from).map(|record| DesiredRecord::decode(&record.value).unwrap());
    decoded.map(|record| (record.id, record.event)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_follow_is_what_follows() {
    let (world, mut west, mut east) = (World::new(), Source::new("west", "DC=w"), Source::new("east", "DC=e"));
    let mailed = |name: &str, mail: &str| with(attributes(USER, name), &[("mail", mail)]);
    let of_west = [(10, mailed("n10", "a@x.example")), (11, attributes(USER, "n11")), (20, attributes(GROUP, "n20"))];
    let page = first_read(&mut west, 1, &of_west, &[(20, 10)]);
    world.append(&west.stream, page).await;
    let page = first_read(&mut east, 100, &[(110, mailed("n110", "a@x.example"))], &[]);
    world.append(&east.stream, page).await;
    let mut config = world.config("c", &[west.clone(), east.clone()], &[], &[]);
    rules(&mut config, json!({"joins": [{"rule": "mail"}]}));
    world.settled(&config).await;

    let (w, e) = (west.root.clone(), east.root.clone());
    let titled = with(mailed("n10", "a@x.example"), &[("title", "T")]);
    let title = || with(Attributes::new(), &[("title", "T")]);
    let apart = mailed("n110", "b@x.example");
    let mail = with(Attributes::new(), &[("mail", "b@x.example")]);
    let steps: Vec<(&str, Sighting, Vec<Event>)> = vec![
        ("nothing", seen(&west, 11, attributes(USER, "n11"), &[("manager", &[])]), Vec::new()),
        ("a value", seen(&west, 10, titled.clone(), &[]), vec![changed(10, &below(&w, 10), None, title(), &[])]),
        ("no value", seen(&west, 10, mailed("n10", "a@x.example"), &[]), {
            vec![changed(10, &below(&w, 10), None, Attributes::new(), &["title"])]
        }),
        ("a manager", seen(&west, 10, mailed("n10", "a@x.example"), &[("manager", &[11])]), {
            vec![links(None, 10, "manager", &[], &[11])]
        }),
        ("members", seen(&west, 20, attributes(GROUP, "n20"), &[("member", &[11])]), {
            vec![links(None, 20, "member", &[10], &[11])]
        }),
        ("a new one", seen(&west, 12, attributes(USER, "n12"), &[]), {
            vec![changed(12, &below(&w, 12), Some(1), attributes(USER, "n12"), &[])]
        }),
        ("two again", seen(&east, 110, apart, &[]), vec![changed(110, &below(&e, 110), None, mail, &[])]),
    ];
    for (what, sighting, events) in steps {
        let count = world.records("desired.c").await.len();
        let decisions = world.records("decisions.c").await.len();
        let before = read_digest(&config.directory).unwrap();
        let found = what_if(&world, &config, sighting.clone()).await;
        assert_eq!(found.is_news, !events.is_empty(), "{what}: {found:?}");
        assert_eq!(read_digest(&config.directory).unwrap(), before, "{what}: a question leaves no trace");
        let tails = (world.records("desired.c").await.len(), world.records("decisions.c").await.len());
        assert_eq!(tails, (count, decisions), "{what}");

        let source = if sighting.forest == "west" { &mut west } else { &mut east };
        let page = source.page(&events, true);
        world.append(&source.stream.clone(), page).await;
        world.settled(&config).await;
        let would = found.desired.iter().map(|text| DesiredRecord::decode(text.as_bytes()).unwrap());
        let would: BTreeMap<EventId, DesiredEvent> = would.map(|record| (record.id, record.event)).collect();
        assert_eq!(would, written(&world, count).await, "{what}");
        assert_eq!(would.is_empty(), events.is_empty(), "{what}");
        let again = what_if(&world, &config, sighting).await;
        assert!(!again.is_news && again.desired.is_empty(), "{what}: {again:?}");
    }
}
