//! Records that cannot be applied, configurations that change, and the loop that follows the streams.

use std::time::Duration;

use forestsync_domain::Dn;
use forestsync_log::{Log, NewRecord};
use forestsync_schemas::decisions::{DecisionEvent, DecisionRecord, StreamResumed};
use forestsync_schemas::streams;
use tokio_util::sync::CancellationToken;

use super::support::{OU, Source, USER, World, attributes, changed, completed, links, observed, started};
use crate::{PlanError, ProjectorError, read_digest, read_digest_of};

fn dn(text: &str) -> Dn {
    text.parse().unwrap()
}

/// Makes the records of a stream that cannot be applied.
type Bad = fn(&mut Source) -> Vec<NewRecord>;

fn first_page(source: &mut Source, base: u32, users: u32) -> Vec<NewRecord> {
    let n = u64::from(base);
    let root = source.root.clone();
    let mut events = vec![started(n), observed(n, base, &root, None, attributes(OU, "root"))];
    for number in base + 1..=base + users {
        let name = format!("u{number}");
        events.push(observed(n, number, &root.child("CN", &name), Some(base), attributes(USER, &name)));
    }
    events.push(completed(n, u64::from(users) + 1));
    source.page(&events, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_record_stops_its_stream_and_no_other() {
    let root = dn("DC=x");
    let cases: [(&str, Bad); 6] = [
        ("no event", |_| vec![NewRecord::new(None::<Vec<u8>>, &b"{"[..])]),
        ("unknown event type", |_| {
            let text = r#"{"type":"Guessed","version":1,"id":"00000000-0000-0000-0000-000000000000",
                "time":"1970-01-01T00:00:00Z","context":{"forest":"west","naming_context":"DC=x"},"data":{}}"#;
            vec![NewRecord::new(None::<Vec<u8>>, text)]
        }),
        ("of forest", |_| Source::new("other", "DC=x").page(&[], true)),
        ("the cursor continues", |s| {
            s.page(&[], true);
            s.page(&[], true)
        }),
        ("is not open", |s| s.page(&[completed(99, 0)], true)),
        ("linked attribute", |s| s.page(&[links(None, 1001, "seeAlso", &[], &[1])], true)),
    ];
    for (message, bad) in cases {
        let (world, mut west, mut east) = (World::new(), Source::new("west", "DC=x"), Source::new("east", "DC=y"));
        let page = first_page(&mut west, 1_000, 3);
        let before = page.len() as u64;
        world.append(&west.stream, page).await;
        let page = first_page(&mut east, 2_000, 3);
        world.append(&east.stream, page).await;
        let config = world.config("c", &[west.clone(), east.clone()], &[], &[]);
        let mut projector = world.open(&config).await;
        projector.catch_up().await.unwrap();
        let page = bad(&mut west);
        world.append(&west.stream, page).await;
        let late = changed(1_009, &root.child("CN", "late"), Some(1_000), attributes(USER, "late"), &[]);
        let page = west.page(&[late], true);
        world.append(&west.stream, page).await;
        let other = changed(2_009, &dn("CN=more,DC=y"), Some(2_000), attributes(USER, "more"), &[]);
        let page = east.page(&[other], true);
        world.append(&east.stream, page).await;
        let status = projector.catch_up().await.unwrap();
        let stream = &status.streams[west.stream.as_str()];
        let stopped = stream.stopped.as_ref().unwrap();
        assert!(stopped.contains(message) && stopped.contains(west.stream.as_str()), "{message}: {stopped}");
        assert_eq!(stream.applied, before, "{message}");
        assert!(stopped.contains(&format!("offset {before}")), "{message}: {stopped}");
        assert_eq!(world.desired("c").await.wished.objects.len(), 7, "{message}");
        // people are told once, also after a restart
        drop(projector);
        let mut projector = world.open(&config).await;
        projector.catch_up().await.unwrap();
        let (stream, told) = (west.stream.to_string(), stops(&world).await);
        assert!(matches!(&told[..], [DecisionEvent::StreamStopped(e)] if e.stream == stream && e.offset == before));
        // and when it is over, here because the stream is configured no longer
        drop(projector);
        let mut projector = world.open(&world.config("c", &[east], &[], &[])).await;
        projector.catch_up().await.unwrap();
        assert_eq!(stops(&world).await[1..], [DecisionEvent::StreamResumed(StreamResumed { stream })]);
    }
}

async fn stops(world: &World) -> Vec<DecisionEvent> {
    let records = world.records(&streams::decisions("c")).await;
    let events = records.iter().map(|record| DecisionRecord::decode(&record.value).unwrap().event);
    events.filter(|e| matches!(e, DecisionEvent::StreamStopped(_) | DecisionEvent::StreamResumed(_))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_with_another_configuration_is_refused() {
    let (world, mut west) = (World::new(), Source::new("west", "DC=x"));
    let page = first_page(&mut west, 1_000, 3);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    drop(projector);
    assert_eq!(read_digest_of(&config).unwrap(), read_digest(&config.directory).unwrap());
    let other = world.config("c", &[west], &[], &["OU=other,DC=x"]);
    let error = read_digest_of(&other).unwrap_err();
    assert!(matches!(error, ProjectorError::OtherConfiguration(_)) && !error.is_retryable(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_come_and_go_with_the_configuration() {
    let (world, mut west, mut east) = (World::new(), Source::new("west", "DC=x"), Source::new("east", "DC=y"));
    let page = first_page(&mut west, 1_000, 3);
    world.append(&west.stream, page).await;
    let page = first_page(&mut east, 2_000, 3);
    world.append(&east.stream, page).await;
    let both = world.config("c", &[west.clone(), east.clone()], &[], &[]);
    let one = world.config("c", &[west.clone()], &[], &[]);
    for (config, wished, removed) in [(&one, 3, 0), (&both, 6, 0), (&one, 3, 3), (&both, 6, 3)] {
        let mut projector = world.open(config).await;
        let status = projector.catch_up().await.unwrap();
        assert!(status.is_idle() && status.held.is_empty(), "{status:?}");
        let desired = world.desired("c").await;
        assert_eq!((desired.wished.objects.len(), desired.removed.len()), (wished, removed));
        drop(projector);
        let directory = world.folder.path().join(format!("again-{wished}-{removed}"));
        let (digest, offsets) = read_digest(&config.directory).unwrap();
        let beside = crate::ProjectorConfig { directory, ..config.clone() };
        let again = crate::rebuild(beside, world.log.clone() as std::sync::Arc<dyn Log>, offsets).await.unwrap();
        assert_eq!(again, digest);
    }
    let twice = world.config("c", &[west.clone(), west], &[], &[]);
    let error = crate::Projector::open(twice, world.log.clone() as std::sync::Arc<dyn Log>).await.unwrap_err();
    assert!(matches!(error, ProjectorError::Plan(PlanError::Twice(_))) && !error.is_retryable());
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_the_streams_until_told_to_stop() {
    let (world, mut west) = (World::new(), Source::new("west", "DC=x"));
    let page = first_page(&mut west, 1_000, 2);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    let projector = world.open(&config).await;
    let (mut status, stop) = (projector.status(), CancellationToken::new());
    let running = tokio::spawn(projector.run(stop.clone()));
    let limit = Duration::from_mins(1);
    let count = |n: u64| move |s: &crate::ProjectorStatus| s.objects == n && s.outbox == 0 && s.gate_open;
    tokio::time::timeout(limit, status.wait_for(count(3))).await.unwrap().unwrap();
    let late = changed(1_009, &dn("CN=late,DC=x"), Some(1_000), attributes(USER, "late"), &[]);
    let page = west.page(&[late], true);
    world.append(&west.stream, page).await;
    tokio::time::timeout(limit, status.wait_for(count(4))).await.unwrap().unwrap();
    assert_eq!(world.desired("c").await.wished.objects.len(), 3);
    stop.cancel();
    running.await.unwrap().unwrap();
    // everything is given back: the database and the writers
    drop(world.open(&config).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_stand_in_each_other_for_a_while() {
    let (world, mut west) = (World::new(), Source::new("west", "DC=x"));
    let (root, ou) = (dn("DC=x"), |name: &str| attributes(OU, name));
    let (a, b) = (root.child("OU", "a"), root.child("OU", "a").child("OU", "b"));
    let first = [
        started(1),
        observed(1, 1, &root, None, ou("x")),
        observed(1, 2, &a, Some(1), ou("a")),
        observed(1, 3, &b, Some(2), ou("b")),
        observed(1, 4, &b.child("CN", "u"), Some(3), attributes(USER, "u")),
        completed(1, 4),
    ];
    let page = west.page(&first, true);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &["OU=a,DC=x"], &[]);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    // b to the root and a into it; the records come in two answers, the one of a first
    let b = root.child("OU", "b");
    let page = west.page(&[changed(2, &b.child("OU", "a"), Some(3), ou("a"), &[])], true);
    world.append(&west.stream, page).await;
    tokio::time::timeout(Duration::from_mins(1), projector.catch_up()).await.unwrap().unwrap();
    let page = west.page(&[changed(3, &b, Some(1), ou("b"), &[])], true);
    world.append(&west.stream, page).await;
    let status = projector.catch_up().await.unwrap();
    assert!(status.held.len() == 1 && status.is_idle(), "{status:?}");
    drop(projector);
    let (digest, offsets) = read_digest(&config.directory).unwrap();
    let beside = crate::ProjectorConfig { directory: world.folder.path().join("again"), ..config };
    let again = crate::rebuild(beside, world.log.clone() as std::sync::Arc<dyn Log>, offsets).await.unwrap();
    assert_eq!(again, digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_moves_is_not_judged_on_half_an_answer() {
    let (world, mut west) = (World::new(), Source::new("west", "DC=x"));
    let (root, ou) = (dn("DC=x"), |name: &str| attributes(OU, name));
    let (staff, team) = (root.child("OU", "Staff"), root.child("OU", "Staff").child("OU", "team"));
    let first = [
        started(1),
        observed(1, 1, &root, None, ou("x")),
        observed(1, 2, &staff, Some(1), ou("Staff")),
        observed(1, 3, &team, Some(2), ou("team")),
        observed(1, 4, &team.child("CN", "u"), Some(3), attributes(USER, "u")),
        observed(1, 5, &staff.child("CN", "v"), Some(2), attributes(USER, "v")),
        completed(1, 5),
    ];
    let page = west.page(&first, true);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &["OU=Staff,DC=x"], &[]);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    // into a container that the second page brings
    let new = staff.child("OU", "new");
    let page = west.page(&[changed(3, &new.child("OU", "team"), Some(9), ou("team"), &[])], false);
    world.append(&west.stream, page).await;
    projector.catch_up().await.unwrap();
    assert_eq!(world.desired("c").await.removed, []);
    let page = west.page(&[changed(9, &new, Some(2), ou("new"), &[])], true);
    world.append(&west.stream, page).await;
    projector.catch_up().await.unwrap();
    let desired = world.desired("c").await;
    assert_eq!((desired.wished.objects.len(), desired.removed.len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_very_large_object_is_kept_whole() {
    use forestsync_domain::AttributeValue;
    let (world, mut west) = (World::new(), Source::new("west", "DC=x"));
    let page = first_page(&mut west, 1_000, 1);
    world.append(&west.stream, page).await;
    let values: Vec<AttributeValue> =
        (0..4_000).map(|n| AttributeValue::Text(format!("smtp:alias-{n:06}@a-long-domain-name.example"))).collect();
    let set = std::collections::BTreeMap::from([("proxyAddresses".to_owned(), values)]);
    let name = dn("CN=u1001,DC=x");
    let page = west.page(&[changed(1_001, &name, None, set, &[])], true);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    let status = projector.catch_up().await.unwrap();
    assert_eq!(world.desired("c").await.wished.objects.len(), 1);
    drop(projector);
    let mut projector = world.open(&config).await;
    assert_eq!(projector.catch_up().await.unwrap().digest, status.digest);
    // and small again
    let page = west.page(&[changed(1_001, &name, None, attributes(USER, "u1001"), &["proxyAddresses"])], true);
    world.append(&west.stream, page).await;
    projector.catch_up().await.unwrap();
    drop(projector);
    let (digest, offsets) = read_digest(&config.directory).unwrap();
    let beside = crate::ProjectorConfig { directory: world.folder.path().join("again"), ..config };
    let again = crate::rebuild(beside, world.log.clone() as std::sync::Arc<dyn Log>, offsets).await.unwrap();
    assert_eq!(again, digest);
}
