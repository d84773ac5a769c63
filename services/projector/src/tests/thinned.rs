//! Streams of which a person had taken out what nothing depends on any more: the live projection goes on, and one that is
//! made anew is the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use forestsync_log::{Log, chain};
use forestsync_schemas::ChangeRecord;

use super::history::{Dice, history};
use super::property::directories;
use super::support::{Source, World};
use crate::{ProjectorConfig, StateDigest, Superseded, read_digest, rebuild};

/// Takes out what is superseded before an offset that chance chooses; returns how many records went.
async fn thin(world: &World, source: &Source, dice: &mut Dice) -> u64 {
    let records = world.records(source.stream.as_str()).await;
    let until = records.len() - dice.below(records.len() / 3);
    let mut superseded = Superseded::new(BTreeSet::new());
    for record in &records[..until] {
        superseded.take(record.offset, &ChangeRecord::decode(&record.value).unwrap());
    }
    let gone = superseded.finish();
    assert!(!gone.contains(&(until as u64 - 1)) && gone.iter().all(|offset| *offset < until as u64));
    let count = gone.len();
    let thinned = world.log.thin(&source.stream, move |offset| gone.contains(&offset)).await.unwrap();
    assert!(thinned.records as usize <= count && thinned.records as usize + 2 >= count, "{thinned:?} of {count}");
    let after = world.records(source.stream.as_str()).await;
    assert_eq!(after.len() as u64, records.len() as u64 - thinned.records);
    let log: &dyn Log = world.log.as_ref();
    let verdict = chain::verify(log, &source.stream, &[], &mut |_, _| ()).await.unwrap();
    assert!(verdict.broken.is_none() && (verdict.gaps > 0) == (thinned.records > 0), "{verdict:?}");
    thinned.records
}

async fn rebuilt(world: &World, config: &ProjectorConfig, name: &str) -> StateDigest {
    let (_, offsets) = read_digest(&config.directory).unwrap();
    let beside = ProjectorConfig { directory: world.folder.path().join(name), ..config.clone() };
    rebuild(beside, world.log.clone() as Arc<dyn Log>, offsets).await.unwrap()
}

/// One history, thinned on the way or not: the digest in the end, and how many records went.
async fn run(seed: u64, is_thinned: bool) -> (StateDigest, u64) {
    let mut dice = Dice(seed | 1);
    let mut chance = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let world = World::new();
    let mut directories = directories(&mut dice);
    let sources: Vec<Source> = directories.iter().map(|directory| directory.source.clone()).collect();
    let config = world.config("one", &sources, &[], &[]);
    let mut gone = 0;
    for directory in &mut directories {
        let steps = 20 + dice.below(30);
        let pages = history(directory, &mut dice, steps);
        let mut writer = world.log.writer(&directory.source.stream).await.unwrap();
        for page in pages {
            writer.append(page).await.unwrap();
        }
    }
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    drop(projector);
    let before = read_digest(&config.directory).unwrap().0;
    if is_thinned {
        for source in &sources {
            gone += thin(&world, source, &mut chance).await;
        }
        assert_eq!(rebuilt(&world, &config, "thinned").await, before, "seed {seed}: made anew");
    }
    for directory in &mut directories {
        let mut writer = world.log.writer(&directory.source.stream).await.unwrap();
        for _ in 0..10 {
            let events = directory.step(&mut dice);
            writer.append(directory.source.page(&events, true)).await.unwrap();
        }
    }
    let mut projector = world.open(&config).await;
    let status = projector.catch_up().await.unwrap();
    assert!(status.streams.values().all(|s| s.stopped.is_none()), "seed {seed}: {status:?}");
    drop(projector);
    let after = read_digest(&config.directory).unwrap().0;
    assert_eq!(rebuilt(&world, &config, "after").await, after, "seed {seed}: made anew in the end");
    (after, gone)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_depends_on_what_is_taken_out() {
    let soak = std::env::var_os("FORESTSYNC_SOAK").is_some_and(|v| v != "0");
    let mut gone = 0;
    for seed in 1..=(if soak { 300 } else { 15 }) {
        let seed = seed * 7919;
        let (thinned, count) = run(seed, true).await;
        assert_eq!(thinned, run(seed, false).await.0, "seed {seed}: as if nothing had been taken out");
        gone += count;
    }
    println!("{gone} records were taken out");
    assert!(gone > 100, "{gone} records were taken out");
}
