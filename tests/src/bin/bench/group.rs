//! What one more member costs in a group of a quarter of a million.

use std::cell::Cell;
use std::time::Duration;

use forestsync_tests::directory::Directory;
use forestsync_tests::wait;

use crate::{Measured, objects, sync};

const MEMBERS: usize = 250_000;
/// Members that are added one after the other, to be measured with clocks that count in hundredths of a second.
const MORE: usize = 50;
/// What `/proc` counts the time of a processor in.
const TICK: f64 = 10.0;
/// How long a process that rests spends no more than a tick.
const REST: Duration = Duration::from_secs(1);

/// Milliseconds that a process has spent on processors.
fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // the name, in brackets, may hold anything; user and system time are the 12th and 13th field after it
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|at| fields[*at].parse::<u64>().unwrap()).sum();
    ticks as f64 * TICK
}

/// Returns when the process does next to nothing: it has looked at all that its databases hold, as it does once when it
/// starts.
async fn quiet(process: u32) {
    let last = Cell::new(f64::NEG_INFINITY);
    wait::until("the process comes to rest", Duration::from_mins(10), || {
        let (before, now) = (last.get(), cpu(process));
        last.set(now);
        async move {
            tokio::time::sleep(REST).await;
            if now - before <= TICK { Ok(()) } else { Err(format!("{now} ms of CPU so far")) }
        }
    })
    .await;
}

pub(crate) async fn one_more_member() -> Measured {
    let mut ready = sync::ready(MEMBERS + MORE, 1, MEMBERS, Duration::ZERO).await;
    let out = ready.pipeline.output(&["run", "--until-idle", "--timeout", "60m"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let dump = ready.tenant.dump();
    assert_eq!((dump.users.len(), dump.groups[0].members.len()), (MEMBERS + MORE, MEMBERS));
    drop(dump);
    ready.tenant.control().reset_counters();

    let mut directory = Directory::open(&ready.access).await;
    let (group, base) = (directory.dn(&format!("CN=group00000,{}", objects::TOP)), ready.access.base.clone());
    ready.pipeline.start();
    let process = ready.pipeline.process().unwrap();
    // it has started, and follows, once the first of them has arrived and nothing else is left to do
    let mut before = 0.0;
    for n in 0..MORE {
        let member = format!("CN=user{:06},{},{base}", MEMBERS + n, objects::TOP);
        directory.add_values(&group, "member", &[member]).await;
        wait::until("the member arrives", Duration::from_mins(10), || {
            let written = ready.tenant.counters().writes;
            async move { if written > n as u64 { Ok(()) } else { Err(format!("{written} writes")) } }
        })
        .await;
        if n == 0 {
            quiet(process).await;
            before = cpu(process);
        }
    }
    let spent = (cpu(process) - before) / (MORE - 1) as f64;
    let writes = ready.tenant.counters().writes;
    ready.pipeline.stop().await;
    assert_eq!(ready.tenant.dump().groups[0].members.len(), MEMBERS + MORE);
    Measured {
        what: "one member more in a group of 250,000: the whole process",
        value: format!("{spent:.1} ms of CPU, {:.2} writes", writes as f64 / MORE as f64),
        floor: "< 20 ms, 1 write".into(),
        met: spent < 20.0 && writes == MORE as u64,
    }
}
