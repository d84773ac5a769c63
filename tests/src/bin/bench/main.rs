//! The floors for speed, measured as ratios within one run where a bare baseline makes sense.
//!
//! Exits 1 if a floor is missed. Arguments choose measurements by a part of their name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod collect;
mod group;
mod history;
mod latency;
mod log;
mod objects;
mod project;
mod quota;
mod replay;
mod rules;
mod sync;

/// That of the `forestsync` binary, so that what runs in here is measured as it runs there, baselines included.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One line of the table.
struct Measured {
    what: &'static str,
    value: String,
    floor: String,
    met: bool,
}

#[tokio::main]
async fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("the first TLS provider");
    forestsync_runtime::telemetry::init(forestsync_runtime::telemetry::LogFormat::Text, "error");
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, folder] = wanted.as_slice()
        && mode == replay::CHILD
    {
        return replay::child(folder.as_ref()).await;
    }
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    let mut table = Vec::new();
    if chosen("collector") {
        table.push(collect::against_bare_dirsync().await);
    }
    if chosen("projection") {
        table.push(project::against_bare_sled().await);
    }
    if chosen("replay") {
        table.extend(replay::of_a_long_history().await);
    }
    if chosen("rules") {
        table.extend(rules::against_the_default().await);
    }
    if chosen("initial sync") {
        table.push(sync::initial_of_a_slow_tenant().await);
        table.push(sync::initial_of_a_tenant_without_delay().await);
    }
    if chosen("quota") {
        table.push(Box::pin(quota::in_the_steady_state()).await);
    }
    if chosen("latency") {
        table.extend(latency::on_samba().await);
        table.extend(latency::through_kafka().await);
    }
    if chosen("large group") {
        table.push(group::one_more_member().await);
    }
    if chosen("audit") {
        table.extend(history::of_one_among_many().await);
    }
    if chosen("log on Kafka") {
        table.extend(log::against_bare_client().await);
    }
    if chosen("memory") {
        table.push(sync::memory().await);
    }
    println!("\n{:<58} {:>34} {:>14}  ", "measured", "value", "floor");
    for line in &table {
        let verdict = if line.met { "met" } else { "MISSED" };
        println!("{:<58} {:>34} {:>14}  {verdict}", line.what, line.value, line.floor);
    }
    if table.iter().any(|line| !line.met) {
        std::process::exit(1);
    }
}

/// The middle one of some measurements.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
