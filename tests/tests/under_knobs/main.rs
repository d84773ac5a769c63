//! The whole scenario from the forests to the tenant under each knob of the practice tenant (graph.md section 15), alone
//! and in seeded mixes: the tenant ends equal to the oracle, or differs in exactly the objects that `status` says are held
//! or quarantined.
//!
//! `FORESTSYNC_SOAK=1` runs all mixes instead of a sample. `FORESTSYNC_SEED=17` runs the mix of that seed alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod cast;
mod course;

use std::path::Path;
use std::sync::Arc;

use course::Course;
use forestsync_practice::tenant::{Counters, Knob};
use forestsync_tests::peers;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Runs at a time: most of one is waiting.
const AT_ONCE: usize = 6;
/// Mixes with `FORESTSYNC_SOAK`, and those of them that always run.
const MIXES: u64 = 50;
const SAMPLE: u64 = 12;

/// Runs all of these, some at a time, and checks their exchanges.
async fn run_all(runs: Vec<(Vec<Knob>, u64)>) {
    let folder = tempfile::tempdir_in(peers::scratch()).unwrap();
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for (place, (knobs, seed)) in runs.into_iter().enumerate() {
        let (record, slots) = (folder.path().join(format!("{place}.jsonl")), Arc::clone(&slots));
        tasks.spawn(async move {
            let _slot = slots.acquire().await.unwrap();
            let begun = tokio::time::Instant::now();
            let course = Course { knobs, seed, record };
            let done = tokio::spawn(course::run(course.clone())).await;
            let what = done.as_ref().map_or("FAILED", |done| done.said.as_str());
            println!("{:6.1?} seed {seed}, {:?}: {what}", begun.elapsed(), course.knobs);
            (course, done)
        });
    }
    let (mut records, mut strange, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (Course { knobs, seed, record }, done) = done.unwrap();
        match done {
            Ok(done) => {
                if let [knob] = knobs.as_slice() {
                    assert!(struck(*knob, &done.counters), "{knob:?} was not met: {:?}", done.counters);
                }
                let is_strange = knobs.contains(&Knob::UnknownProperties) || knobs.contains(&Knob::DeltaGoneBare);
                if is_strange { strange.push(record) } else { records.push(record) }
            }
            Err(_) => failed.push(format!("seed {seed}, {knobs:?}; its last exchanges:\n{}", last(&record))),
        }
    }
    assert!(failed.is_empty(), "these failed (the panics are above):\n{}", failed.join("\n"));
    peers::check_exchanges(&records);
    peers::check_exchanges_but(&strange, &["response-unknown-property", "response-error-shape"]);
}

/// The end of a record of exchanges.
fn last(record: &Path) -> String {
    let all = std::fs::read_to_string(record).unwrap_or_default();
    let lines = all.lines().rev().take(3).map(|line| line.chars().take(1_500).collect::<String>());
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a knob had its effect, by what the tenant counted; true of those whose effect it does not count.
fn struck(knob: Knob, counters: &Counters) -> bool {
    let answered = |status: u16| counters.errors.contains_key(&status);
    match knob {
        Knob::ThrottledSeconds
        | Knob::ThrottledFraction
        | Knob::ThrottledDate
        | Knob::ThrottledSilently
        | Knob::ThrottledBatch424
        | Knob::Quota => counters.throttled > 0,
        Knob::TokenEndsInBatch => counters.unauthorized > 0,
        Knob::AnswersLost => counters.answers_lost > 0,
        Knob::Unavailable => answered(503),
        Knob::LateReferences | Knob::TwoReplicas => answered(404),
        Knob::PrivilegedUsers | Knob::ObjectQuota => answered(403),
        Knob::DeltaGone | Knob::DeltaGoneBare => answered(410),
        Knob::DeletedFilterRefused => answered(400),
        _ => true,
    }
}

fn seed() -> Option<u64> {
    std::env::var("FORESTSYNC_SEED").ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_knob_alone() {
    let plain = [(Vec::new(), 0)];
    let alone = Knob::ALL.into_iter().zip(1..).map(|(knob, seed)| (vec![knob], seed));
    run_all(plain.into_iter().chain(alone).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mixes_of_knobs() {
    let all = std::env::var_os("FORESTSYNC_SOAK").is_some_and(|v| v != "0");
    let seeds = match seed() {
        Some(seed) => seed..seed + 1,
        None => 0..if all { MIXES } else { SAMPLE },
    };
    run_all(seeds.map(|seed| (Knob::mix(seed), seed)).collect()).await;
}
