//! Two folders that take turns on one log, as a service and its stand-by do: each database is older than the log when
//! its turn comes.

use std::collections::VecDeque;

use forestsync_log::NewRecord;
use proptest::prelude::*;

use super::history::{Dice, history};
use super::model;
use super::property::{directories, streams};
use super::support::{Source, World};
use crate::apply::Incoming;
use crate::engine::Engine;
use crate::{ProjectorConfig, read_digest};

/// One turn: a projector that reads everything, or some of it, writes or does not, and is dropped in the middle.
async fn turn(world: &World, config: &ProjectorConfig, dice: &mut Dice) {
    let mut projector = world.open(config).await;
    if dice.one_in(3) {
        projector.catch_up().await.unwrap();
        return;
    }
    for (source, stream, offset) in projector.positions() {
        let records = world.records(stream.as_str()).await;
        let rest = records.get(offset as usize..).unwrap_or_default();
        let some = rest.get(..dice.below(rest.len() + 1)).unwrap_or_default();
        projector.apply(source, Incoming::read(some)).await.unwrap();
        if dice.one_in(2) {
            projector.with(Engine::emit).await.unwrap();
        }
    }
}

async fn check(seed: u64) {
    let mut dice = Dice(seed | 1);
    let world = World::new();
    let mut pages: Vec<(Source, VecDeque<Vec<NewRecord>>)> = Vec::new();
    for mut directory in directories(&mut dice) {
        let steps = 10 + dice.below(30);
        let history = history(&mut directory, &mut dice, steps);
        pages.push((directory.source, history.into()));
    }
    let sources: Vec<Source> = pages.iter().map(|(source, _)| source.clone()).collect();
    for source in &sources {
        world.append(&source.stream, Vec::new()).await;
    }
    let first = world.config("one", &sources, &[], &[]);
    let directory = world.folder.path().join("db-standby");
    let both = [first.clone(), ProjectorConfig { directory, ..first }];
    while pages.iter().any(|(_, left)| !left.is_empty()) {
        for (source, left) in &mut pages {
            for page in (0..dice.below(6)).map_while(|_| left.pop_front()).collect::<Vec<_>>() {
                world.append(&source.stream, page).await;
            }
        }
        turn(&world, &both[dice.below(2)], &mut dice).await;
    }
    let mut ends = Vec::new();
    for config in &both {
        let status = world.open(config).await.catch_up().await.unwrap();
        assert!(status.streams.values().all(|s| s.stopped.is_none()) && !status.rebuilding, "{status:?}");
        if status.held.is_empty() {
            let expected = model::wished(&streams(&world, config).await);
            assert_eq!(world.desired("one").await.wished, expected, "seed {seed}");
        }
        let projected: Vec<_> = status.projected.into_iter().filter(|(_, count)| *count > 0).collect();
        ends.push((read_digest(&config.directory).unwrap().0, projected, status.held));
    }
    assert_eq!(ends[0], ends[1], "seed {seed}: both know the same");
    let written = world.desired("one").await.count;
    for config in &both {
        world.open(config).await.catch_up().await.unwrap();
    }
    assert_eq!(world.desired("one").await.count, written, "seed {seed}: nothing is news to either");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn databases_that_take_turns_end_where_the_model_does(seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check(seed));
    }
}
