//! All three services in one process: the initial synchronization of a slow tenant, and memory with a large population.

use std::process::{Command, Stdio};
use std::time::Duration;

use forestsync_practice::tls::PrivateCa;
use forestsync_tests::pipeline::{Pipeline, Source};
use forestsync_tests::world::Peer;
use forestsync_tests::{peers, suite};
use tokio::time::Instant;

use crate::{Measured, objects};

struct Ready {
    _forest: Peer,
    tenant: forestsync_practice::tenant::PracticeTenant,
    pipeline: Pipeline,
}

async fn ready(users: usize, groups: usize, members: usize, latency: Duration) -> Ready {
    let ca = PrivateCa::new().unwrap();
    let (peer, access) = suite::practice_peer(&ca, "emea", |options| options.max_page_objects = 1000).await;
    let Peer::Practice(forest) = &peer else { panic!("a practice forest") };
    forest.control().load(objects::all(forest.base(), "emea.example", users, groups, members)).await.unwrap();
    let (tenant, tenant_access) = suite::tenant(&ca, &["emea.example".to_owned()], None).await;
    tenant.control().set_latency(latency);
    let include = vec![format!("{},{}", objects::TOP, access.base)];
    let source = Source { access, include, exclude: Vec::new() };
    let pipeline = Pipeline::new(&[source], &tenant_access, suite::NO_QUOTA, "");
    Ready { _forest: peer, tenant, pipeline }
}

pub(crate) async fn initial() -> Measured {
    let (users, groups, members) = (2_000, 100, 20);
    let ready = ready(users, groups, members, Duration::from_millis(50)).await;
    let start = Instant::now();
    let config = ready.pipeline.config();
    let said = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(peers::binary("forestsync"));
        command.args(["run", "--until-idle", "-c"]).arg(config).stdin(Stdio::null()).output().unwrap()
    });
    let said = said.await.unwrap();
    let took = start.elapsed().as_secs_f64();
    assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
    let dump = ready.tenant.dump();
    assert_eq!((dump.users.len(), dump.groups.len()), (users, groups));
    assert!(dump.groups.iter().all(|group| group.members.len() == members));
    let rate = (users + groups) as f64 / took;
    Measured {
        what: "initial sync of 2,000 users, 100 groups of 20; 50 ms a request",
        value: format!("{rate:.0} objects/s ({took:.1} s)"),
        floor: ">= 400/s".into(),
        met: rate >= 400.0,
    }
}

pub(crate) async fn memory() -> Measured {
    let users = 50_000;
    let ready = ready(users, 0, 0, Duration::ZERO).await;
    let mut child = Command::new(peers::binary("forestsync"))
        .args(["run", "--until-idle", "--timeout", "20m", "-c"])
        .arg(ready.pipeline.config())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (start, mut peak) = (Instant::now(), 0);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok());
        peak = peak.max(line.unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(status.code(), Some(0));
    assert_eq!(ready.tenant.dump().users.len(), users);
    let (mib, took) = (peak as f64 / 1024.0, start.elapsed().as_secs_f64());
    Measured {
        what: "resident memory of the whole process, 50,000 objects",
        value: format!("{mib:.0} MiB ({took:.0} s)"),
        floor: "< 300 MiB".into(),
        met: mib < 300.0,
    }
}
