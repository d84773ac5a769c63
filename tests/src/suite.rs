//! The scenario, told once for both kinds of forests.

use std::path::PathBuf;
use std::time::Duration;

use forestsync_practice::contract;
use forestsync_practice::tenant::{PracticeTenant, TenantOptions};
use forestsync_practice::tls::PrivateCa;

use crate::pipeline::{Pipeline, TenantAccess};
use crate::world::{Peer, World};
use crate::{peers, scenario};

/// How long a change may take to arrive; only a defect gets there.
pub const ARRIVAL: Duration = Duration::from_mins(1);

/// Deletions are part of the scenario: more of them than a population this small would let pass.
pub const WIDE_GUARD: &str = "[delete_guard]\ncount = 500\nshare = 1.0\n";

/// No quota, so that only what a test wants slow is slow.
pub const NO_QUOTA: &str = "writes_per_150_seconds = 1000000\n";

/// No quota, and a tenant that shows at once what was written: an absence is believed without the usual wait, so that a
/// removal whose answer was lost is settled within a test's time.
pub const AT_ONCE: &str = "writes_per_150_seconds = 1000000\nvisible_within = \"1s\"\n";

/// A practice tenant for forests with these domains that records every exchange in `record`.
pub async fn tenant(ca: &PrivateCa, domains: &[String], record: Option<PathBuf>) -> (PracticeTenant, TenantAccess) {
    let options = TenantOptions { verified_domains: domains.to_vec(), record_file: record, ..TenantOptions::default() };
    tenant_of(ca, options).await
}

/// A practice tenant with these options; its exchanges are checked at the end of `tests/run` where the options say nothing
/// about them.
pub async fn tenant_of(ca: &PrivateCa, mut options: TenantOptions) -> (PracticeTenant, TenantAccess) {
    options.record_file = options.record_file.or_else(|| contract::record_file(&[]));
    let (tenant_id, client_id) = (options.tenant_id.clone(), options.client_id.clone());
    let client_secret = options.client_secret.expose().to_owned();
    let tenant = PracticeTenant::start(options, ca).await.unwrap();
    let (authority, graph) = (tenant.authority_url(), tenant.graph_url());
    (tenant, TenantAccess { tenant_id, client_id, client_secret, authority, graph, ca: ca.pem().to_owned() })
}

/// What a disturbance does to the sources while they are read.
#[allow(async_fn_in_trait)]
pub trait Disturb {
    /// The controller of forest 0 dies in the middle of whatever it does, and comes back.
    async fn controller_dies(&mut self, world: &mut World);
}

/// forestsync in one of its forms, as the scenario uses it.
#[allow(async_fn_in_trait)]
pub trait System {
    /// Brings what is in the directories into the tenant for the first time.
    async fn load(&mut self, world: &mut World);

    /// Starts whatever does not run.
    fn start(&mut self);

    /// `kill -9` to what works.
    fn kill(&mut self);

    /// SIGTERM to everything, and waits for a clean end.
    async fn stop(&mut self);

    /// Panics if something ended by itself.
    fn assert_alive(&mut self);

    /// Runs until nothing is left to do, and stops.
    async fn settle(&mut self, world: &mut World);

    /// Builds the projection anew from offset 0 and panics if it comes out different. Nothing runs.
    async fn replay(&mut self);
}

/// Everything in one process on the embedded log.
impl System for Pipeline {
    async fn load(&mut self, world: &mut World) {
        self.settle(world).await;
    }

    fn start(&mut self) {
        self.start();
    }

    fn kill(&mut self) {
        self.kill9();
    }

    async fn stop(&mut self) {
        self.stop().await;
    }

    fn assert_alive(&mut self) {
        self.assert_alive();
    }

    async fn settle(&mut self, _world: &mut World) {
        let (code, said) = self.run_until_idle();
        assert_eq!(code, Some(0), "{said}");
    }

    async fn replay(&mut self) {
        let verified = self.output(&["replay", "--verify"]);
        assert!(verified.status.success(), "replay: {}", String::from_utf8_lossy(&verified.stderr));
    }
}

/// Runs the whole scenario and checks the tenant against the oracle after each step.
pub async fn run(world: &mut World, record: &std::path::Path, disturb: &mut impl Disturb) {
    let mut pipeline = Pipeline::new(&world.sources(), &world.access, NO_QUOTA, WIDE_GUARD);
    run_with(world, &mut pipeline, record, disturb).await;
}

/// The same with forestsync in another form.
pub async fn run_with(
    world: &mut World,
    system: &mut impl System,
    record: &std::path::Path,
    disturb: &mut impl Disturb,
) {
    system.load(world).await;
    let wrong = world.differences().await;
    assert!(wrong.is_empty(), "after the initial load: {}", wrong.join("\n"));

    system.start();
    let steps = scenario::steps();
    assert!(steps.len() >= 40);
    for (n, (what, changes)) in steps.iter().enumerate() {
        match n {
            10 => slow_and_throttled(world, true),
            20 => slow_and_throttled(world, false),
            25 => disturb.controller_dies(world).await,
            32 => system.kill(),
            45 => system.stop().await,
            _ => {}
        }
        for change in changes {
            world.apply(change).await;
        }
        if matches!(n, 32 | 45) {
            system.start();
        }
        world.agree(what, ARRIVAL).await;
        system.assert_alive();
    }
    system.stop().await;
    finish(world, system).await;
    peers::check_exchanges(&[record.to_owned()]);
}

/// What must hold once everything has come to rest: nothing left to do, equal to the oracle, replayable.
pub async fn finish(world: &mut World, system: &mut impl System) {
    let before = world.tenant.counters().writes;
    system.settle(world).await;
    let wrong = world.differences().await;
    assert!(wrong.is_empty(), "at the end: {}", wrong.join("\n"));
    assert_eq!(world.tenant.counters().writes, before, "a run with nothing to do writes nothing");
    system.replay().await;
    created_once(world);
}

/// Nothing was ever created twice.
pub fn created_once(world: &World) {
    let counters = world.tenant.counters();
    for (anchor, creates) in counters.creates_by_immutable_id.iter().chain(&counters.creates_by_unique_name) {
        assert_eq!(*creates, 1, "{anchor} was created {creates} times");
    }
}

fn slow_and_throttled(world: &World, on: bool) {
    world.tenant.control().adjust(|knobs| {
        knobs.latency = Duration::from_millis(if on { 150 } else { 0 });
        knobs.visibility.key_reads = Duration::from_millis(if on { 300 } else { 0 });
        knobs.visibility.filters = Duration::from_millis(if on { 500 } else { 0 });
        knobs.visibility.references = Duration::from_millis(if on { 700 } else { 0 });
    });
    if on {
        world.tenant.control().throttle_next_writes(3, Duration::from_millis(1500));
    }
}

/// The domains of the practice forests of the suites.
pub fn practice_domains() -> Vec<String> {
    ["emea", "apac", "amer"].map(|name| format!("{name}.example")).to_vec()
}

/// Three practice forests, in this process.
pub async fn practice_peers(ca: &PrivateCa) -> Vec<(Peer, crate::directory::Access)> {
    let mut all = Vec::new();
    for name in ["emea", "apac", "amer"] {
        all.push(practice_peer(ca, name, |_| {}).await);
    }
    all
}

/// One practice forest, with changes to its options.
pub async fn practice_peer(
    ca: &PrivateCa,
    name: &str,
    change: impl FnOnce(&mut forestsync_practice::forest::ForestOptions),
) -> (Peer, crate::directory::Access) {
    use forestsync_practice::forest::{ForestOptions, PracticeForest};
    let mut options = ForestOptions::new(name, &format!("DC={name},DC=example"), "admin-pw", "reader-pw");
    // small pages, so that MoreResults is followed even by a small population
    options.max_page_objects = 40;
    options.max_link_values = 10;
    change(&mut options);
    let access = crate::directory::Access {
        name: name.to_owned(),
        base: options.base.clone(),
        host: options.host.clone(),
        ldaps: options.listen_ldaps,
        ca: ca.pem().to_owned(),
        admin: format!("Administrator@{name}.example"),
        admin_password: options.admin.password.clone(),
        reader: format!("{}@{name}.example", options.reader.name),
        reader_password: options.reader.password.clone(),
    };
    let forest = PracticeForest::start(options, ca).await.unwrap();
    let access = crate::directory::Access { ldaps: forest.ldaps_addr(), ..access };
    (Peer::Practice(forest), access)
}
