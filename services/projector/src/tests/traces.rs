//! Whose trace a record of `desired` carries.

use std::collections::BTreeMap;

use forestsync_log::Record;
use forestsync_schemas::desired::{DesiredEvent, DesiredRecord};
use forestsync_schemas::{EventBody as _, streams, trace};
use jiff::Timestamp;

use super::support::{
    GROUP, OU, Source, USER, World, attributes, changed, completed, deleted, links, observed, started,
};
use crate::read_digest;

fn look(second: i64) -> String {
    trace::begin(Timestamp::from_second(1_700_000_000 + second).unwrap(), [second as u8; 16])
}

/// Types of records by their trace; the header says the same as the context.
fn carried(records: &[Record]) -> BTreeMap<Option<String>, Vec<&'static str>> {
    let mut all: BTreeMap<Option<String>, Vec<&'static str>> = BTreeMap::new();
    for record in records {
        let header = record.headers.iter().find(|(name, _)| name == trace::HEADER);
        let header = header.map(|(_, value)| String::from_utf8(value.to_vec()).unwrap());
        let DesiredRecord { context, event, .. } = DesiredRecord::decode(&record.value).unwrap();
        assert_eq!(header, context.trace);
        if !matches!(event, DesiredEvent::AttributeFlowDeclared(_)) {
            all.entry(context.trace).or_default().push(event.type_name());
        }
    }
    all
}

/// A first full read of two users in a group, a change to one of them, and the other's end; each with a trace.
async fn written(traces: [Option<String>; 3]) -> (World, crate::ProjectorConfig, Vec<Vec<Record>>) {
    let [first, second, third] = traces;
    let (world, mut west) = (World::new(), Source::new("west", "DC=x"));
    let config = world.config("c", &[west.clone()], &[], &[]);
    let root = west.root.clone();
    let person = |n: u32| root.child("CN", &format!("u{n}"));
    let events = [
        started(1),
        observed(1, 10, &root, None, attributes(OU, "root")),
        observed(1, 11, &person(11), Some(10), attributes(USER, "u11")),
        observed(1, 12, &person(12), Some(10), attributes(USER, "u12")),
        observed(1, 13, &person(13), Some(10), attributes(GROUP, "g13")),
        links(Some(1), 13, "member", &[], &[11, 12]),
        completed(1, 4),
    ];
    let mut appended = Vec::new();
    let mut seen = 0;
    west.trace = first;
    let full = west.page(&events, true);
    west.trace = second;
    let mut change = attributes(USER, "u11");
    change.insert("displayName".into(), vec!["Ida".into()]);
    let news =
        west.page(&[changed(11, &person(11), Some(10), change, &[]), links(None, 13, "member", &[11], &[])], true);
    west.trace = third;
    let end = west.page(&[deleted(12, &root)], true);
    for page in [full, news, end] {
        world.append(&west.stream, page).await;
        // opened anew each time: what is known of looks survives that
        let mut projector = world.open(&config).await;
        projector.catch_up().await.unwrap();
        let all = world.records(&streams::desired("c")).await;
        appended.push(all[seen..].to_vec());
        seen = all.len();
    }
    (world, config, appended)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_carries_its_cause_or_the_latest_look() {
    let (_world, _config, appended) = written([Some(look(1)), Some(look(2)), Some(look(3))]).await;
    let objects = ["ObjectDesired"; 3];
    let expected = [
        (look(1), [&objects[..], &["LinkDesired", "LinkDesired"]].concat()),
        (look(2), vec!["ObjectDesired", "LinkRemoved"]),
        (look(3), vec!["LinkRemoved", "ObjectRemoved"]),
    ];
    for ((trace, types), records) in expected.into_iter().zip(appended) {
        assert_eq!(carried(&records), BTreeMap::from([(Some(trace), types)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_look_is_the_one_that_began_last() {
    let (world, mut west, mut east) = (World::new(), Source::new("west", "DC=x"), Source::new("east", "DC=y"));
    let config = world.config("c", &[west.clone(), east.clone()], &[], &[]);
    for (source, n, at) in [(&mut west, 1, 9), (&mut east, 2, 4)] {
        source.trace = Some(look(at));
        let root = source.root.clone();
        let (base, name) = (n as u32 * 100, format!("u{n}"));
        let events = [
            started(n),
            observed(n, base, &root, None, attributes(OU, "root")),
            observed(n, base + 1, &root.child("CN", &name), Some(base), attributes(USER, &name)),
            completed(n, 2),
        ];
        let mut page = source.page(&events, true);
        // a look that is not complete yet counts for nothing
        source.trace = Some(look(50));
        page.extend(source.page(&[], false));
        source.trace = None;
        page.extend(source.page(&[], true));
        world.append(&source.stream, page).await;
    }
    world.open(&config).await.catch_up().await.unwrap();
    let records = world.records(&streams::desired("c")).await;
    assert_eq!(carried(&records), BTreeMap::from([(Some(look(9)), vec!["ObjectDesired"; 2])]));
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_change_neither_digest_nor_identity() {
    let (_first, with, told) = written([Some(look(1)), Some(look(2)), Some(look(3))]).await;
    let (_second, without, silent) = written([None, None, None]).await;
    assert_eq!(read_digest(&with.directory).unwrap().0, read_digest(&without.directory).unwrap().0);
    let ids = |pages: Vec<Vec<Record>>| {
        pages.concat().iter().map(|r| DesiredRecord::decode(&r.value).unwrap().id).collect::<Vec<_>>()
    };
    assert_eq!(carried(&silent.concat()).keys().collect::<Vec<_>>(), [&None]);
    assert_eq!(ids(told), ids(silent));
}
