//! What a crash takes away, and what must not follow from it.

use std::fs;
use std::path::Path;

use forestsync_log::NewRecord;
use forestsync_schemas::streams;

use super::support::{OU, Source, USER, World, anchor, attributes, changed, completed, observed, started};
use crate::engine::Engine;

/// The root `base` and users from the next number on.
fn first_page(source: &mut Source, base: u32, users: u32) -> Vec<NewRecord> {
    let (n, root) = (u64::from(base), source.root.clone());
    let mut events = vec![started(n), observed(n, base, &root, None, attributes(OU, "root"))];
    for number in base + 1..=base + users {
        let name = format!("u{number}");
        events.push(observed(n, number, &root.child("CN", &name), Some(base), attributes(USER, &name)));
    }
    events.push(completed(n, u64::from(users) + 1));
    source.page(&events, true)
}

fn newcomer(source: &mut Source, number: u32, base: u32) -> Vec<NewRecord> {
    let name = format!("u{number}");
    let event = changed(number, &source.root.child("CN", &name), Some(base), attributes(USER, &name), &[]);
    source.page(&[event], true)
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_older_than_what_was_written_takes_nothing_back() {
    let (world, mut west) = (World::new(), Source::new("west", "DC=x"));
    let page = first_page(&mut west, 1_000, 3);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    drop(projector);
    let kept = world.folder.path().join("kept");
    copy(&config.directory, &kept);

    let mut projector = world.open(&config).await;
    let page = newcomer(&mut west, 1_009, 1_000);
    world.append(&west.stream, page).await;
    let before = projector.catch_up().await.unwrap();
    let written = world.desired("c").await;
    assert!(written.wished.objects.contains_key(&anchor(1_009)));
    drop(projector);

    // the batches since then are lost, the record is not
    fs::remove_dir_all(&config.directory).unwrap();
    fs::rename(&kept, &config.directory).unwrap();
    let mut projector = world.open(&config).await;
    assert!(projector.status().borrow().rebuilding);
    projector.with(Engine::emit).await.unwrap();
    assert_eq!(world.desired("c").await.count, written.count);
    let after = projector.catch_up().await.unwrap();
    assert_eq!((after.digest, after.rebuilding, after.is_idle()), (before.digest, false, true));
    assert_eq!(world.desired("c").await.count, written.count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stops_while_a_database_is_rebuilt_stops_its_own_forest() {
    let (world, mut west, mut east) = (World::new(), Source::new("west", "DC=x"), Source::new("east", "DC=y"));
    let (west_first, east_first) = (first_page(&mut west, 1_000, 3), first_page(&mut east, 2_000, 3));
    world.append(&west.stream, west_first.clone()).await;
    world.append(&east.stream, east_first.clone()).await;
    let config = world.config("c", &[west.clone(), east.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    let later = newcomer(&mut west, 1_009, 1_000);
    world.append(&west.stream, later.clone()).await;
    projector.catch_up().await.unwrap();
    let before = world.desired("c").await;
    drop(projector);

    // the same log, but for one record that is damaged and one that is new; no database
    let other = World::new();
    let again = |records: Vec<forestsync_log::Record>| {
        records.into_iter().map(|record| NewRecord::new(record.key, record.value)).collect::<Vec<_>>()
    };
    for stream in [streams::desired("c"), streams::decisions("c")] {
        let records = again(world.records(&stream).await);
        other.append(&stream.parse().unwrap(), records).await;
    }
    other.append(&west.stream, west_first).await;
    other.append(&west.stream, later.iter().map(|_| NewRecord::new(None::<Vec<u8>>, &b"{"[..])).collect()).await;
    other.append(&east.stream, east_first).await;
    let news = newcomer(&mut east, 2_009, 2_000);
    other.append(&east.stream, news).await;
    let config = other.config("c", &[west.clone(), east], &[], &[]);
    let mut projector = other.open(&config).await;
    let status = projector.catch_up().await.unwrap();
    assert!(status.streams[west.stream.as_str()].stopped.is_some());
    assert_eq!((status.rebuilding, status.is_idle()), (false, true));
    let after = other.desired("c").await;
    assert_eq!(after.removed, []);
    assert!(after.wished.objects.contains_key(&anchor(1_009)) && after.wished.objects.contains_key(&anchor(2_009)));
    assert_eq!(after.wished.objects.len(), before.wished.objects.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_put_back_before_it_was_gone_loses_nothing() {
    let (world, mut west, mut east) = (World::new(), Source::new("west", "DC=x"), Source::new("east", "DC=y"));
    for (source, base) in [(&mut west, 1_000), (&mut east, 2_000)] {
        let page = first_page(source, base, 3);
        world.append(&source.stream, page).await;
    }
    // a forest of which nothing was read yet keeps the objects of the one that goes from being looked at
    let north = Source::new("north", "DC=z");
    let both = world.config("c", &[west.clone(), east.clone()], &[], &[]);
    let other = world.config("c", &[west, north], &[], &[]);
    for config in [&both, &other, &both] {
        let mut projector = world.open(config).await;
        projector.catch_up().await.unwrap();
    }
    let desired = world.desired("c").await;
    assert_eq!((desired.wished.objects.len(), desired.removed.len()), (6, 0));
}
