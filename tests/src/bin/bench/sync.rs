//! All three services in one process: the initial synchronization of a slow tenant, and memory with a large population.

use std::process::{Command, Stdio};
use std::time::Duration;

use forestsync_practice::tls::PrivateCa;
use forestsync_tests::directory::Access;
use forestsync_tests::pipeline::{Pipeline, Source};
use forestsync_tests::world::Peer;
use forestsync_tests::{peers, suite};
use tokio::time::Instant;

use crate::{Measured, objects};

/// A population in a practice forest, an empty tenant, and forestsync between them, which does not run yet.
pub(crate) struct Ready {
    _forest: Peer,
    pub(crate) access: Access,
    pub(crate) tenant: forestsync_practice::tenant::PracticeTenant,
    pub(crate) pipeline: Pipeline,
}

pub(crate) async fn ready(users: usize, groups: usize, members: usize, latency: Duration) -> Ready {
    let ca = PrivateCa::new().unwrap();
    let (peer, access) = suite::practice_peer(&ca, "emea", |options| {
        // as on Windows
        (options.max_page_objects, options.max_link_values) = (1_000, 1_500);
    })
    .await;
    let Peer::Practice(forest) = &peer else { panic!("a practice forest") };
    forest.control().load(objects::all(forest.base(), "emea.example", users, groups, members)).await.unwrap();
    let (tenant, tenant_access) = suite::tenant(&ca, &["emea.example".to_owned()], None).await;
    tenant.control().set_latency(latency);
    let include = vec![format!("{},{}", objects::TOP, access.base)];
    let source = Source { access: access.clone(), include, exclude: Vec::new() };
    // without a quota it is the requests on their way that count: twice as many as where there is one
    let pipeline = Pipeline::new(&[source], &tenant_access, &format!("{}in_flight = 32\n", suite::NO_QUOTA), "");
    Ready { _forest: peer, access, tenant, pipeline }
}

/// Objects a second from a directory that is full to a tenant that is, with so long a request; the floor.
async fn initial(what: &'static str, users: usize, latency: Duration, floor: f64) -> Measured {
    let (groups, members) = (users / 20, 20);
    let ready = ready(users, groups, members, latency).await;
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
        what,
        value: format!("{rate:.0} objects/s ({took:.1} s)"),
        floor: format!(">= {floor:.0}/s"),
        met: rate >= floor,
    }
}

pub(crate) async fn initial_of_a_slow_tenant() -> Measured {
    let what = "initial sync of 10,000 users, 500 groups of 20; 50 ms a request";
    initial(what, 10_000, Duration::from_millis(50), 1_000.0).await
}

pub(crate) async fn initial_of_a_tenant_without_delay() -> Measured {
    initial("the same with 20,000 users, 1,000 groups; 0 ms", 20_000, Duration::ZERO, 3_000.0).await
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
