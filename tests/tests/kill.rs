//! `kill -9` at random moments: nothing is lost, nothing is created twice, next to nothing is written twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::time::Duration;

use forestsync_practice::tls::PrivateCa;
use forestsync_tests::pipeline::Pipeline;
use forestsync_tests::scenario;
use forestsync_tests::suite;
use forestsync_tests::world::World;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Kills per run: all of them in a soak, a sample otherwise.
fn kills() -> usize {
    if std::env::var_os("FORESTSYNC_SOAK").is_some() { 400 } else { 100 }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments() {
    let seed = std::env::var("FORESTSYNC_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_121);
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let ca = PrivateCa::new().unwrap();
    let tenant = suite::tenant(&ca, &suite::practice_domains(), None).await;
    // some time on the way, so that kills meet requests that are on it
    tenant.0.control().set_latency(Duration::from_millis(10));
    let mut world = World::new(suite::practice_peers(&ca).await, None, tenant).await;
    let mut pipeline = Pipeline::new(&world.sources(), &world.access, suite::NO_QUOTA, suite::WIDE_GUARD);

    let mut steps = scenario::steps().into_iter();
    let (kills, total) = (kills(), scenario::steps().len());
    for kill in 0..kills {
        pipeline.start();
        // the first kills meet the initial load, the others changes
        let due = kill.saturating_sub(kills / 5) * total / (kills - kills / 5);
        while total - steps.len() < due {
            for change in steps.next().unwrap().1 {
                world.apply(&change).await;
            }
        }
        let moment = rng.random_range(20..900);
        // the moment of the kill is what is random here: this is not a wait for something to happen
        tokio::time::sleep(Duration::from_millis(moment)).await;
        pipeline.assert_alive();
        pipeline.kill9();
    }
    for change in steps.flat_map(|(_, changes)| changes) {
        world.apply(&change).await;
    }
    let (code, said) = pipeline.run_until_idle();
    assert_eq!(code, Some(0), "{said}");
    suite::finish(&mut world, &mut pipeline).await;
    let counters = world.tenant.counters();
    println!("{kills} kills, {} writes, {} of them without effect", counters.writes, counters.writes_without_effect);
    assert!(counters.writes_without_effect <= kills as u64, "at most one repeated write for each kill");
}
