//! Random faults, round after round: services killed or hanging, the broker restarted, controllers killed, silent or
//! restored from a backup, the tenant refusing or losing answers. What must hold afterwards is what always must.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::time::Duration;

use forestsync_practice::oracle::Holdings;
use forestsync_practice::tls::PrivateCa;
use forestsync_tests::directory::Directory;
use forestsync_tests::kafka::{self, Cluster};
use forestsync_tests::peers;
use forestsync_tests::random::Model;
use forestsync_tests::samba::{self, Lab};
use forestsync_tests::services::Services;
use forestsync_tests::suite::{self, System as _};
use forestsync_tests::world::{Peer, World};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Rounds per run: all of them in a soak, a sample otherwise.
fn rounds() -> usize {
    let asked = std::env::var("FORESTSYNC_ROUNDS").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(if std::env::var_os("FORESTSYNC_SOAK").is_some() { 100 } else { 12 })
}

/// The forests of the lab that this suite has to itself.
const FORESTS: [u8; 3] = [4, 5, 6];

/// How long everything may take to come to rest: a take-over, a reconciling full read, and the machine's other work.
const REST: Duration = Duration::from_mins(3);

/// Somebody's copy of a controller, and what was in it.
struct Backup {
    forest: usize,
    model: Model,
}

struct Chaos {
    rng: ChaCha8Rng,
    cluster: Cluster,
    world: World,
    services: Services,
    models: Vec<Model>,
    backup: Option<Backup>,
    /// Anchors that the directories took away at some time.
    taken: BTreeSet<String>,
    /// Forests whose controller does not answer now.
    silent: BTreeSet<usize>,
}

fn anchors(holdings: &Holdings) -> BTreeSet<String> {
    holdings.users.keys().chain(holdings.groups.keys()).cloned().collect()
}

impl Chaos {
    async fn new(seed: u64) -> Self {
        let cluster = Cluster::up("chaos", 1);
        let lab = Lab::up(&FORESTS);
        let ca = PrivateCa::new().unwrap();
        let tenant = suite::tenant(&ca, &FORESTS.map(|n| format!("lab0{n}.local")), None).await;
        tenant.0.control().set_latency(Duration::from_millis(5));
        let names = ["one", "two", "three"];
        let peers = FORESTS.iter().zip(names).map(|(n, name)| (Peer::Samba(*n), lab.access(*n, name)));
        let world = World::new(peers.collect(), Some(lab), tenant).await;
        let services =
            Services::new(&world.sources(), &world.access, suite::AT_ONCE, suite::WIDE_GUARD, cluster.bootstrap());
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            cluster,
            world,
            services,
            models: (0..3).map(Model::new).collect(),
            backup: None,
            taken: BTreeSet::new(),
            silent: BTreeSet::new(),
        }
    }

    fn lab(&self, command: &str, forest: usize, more: &[&str]) {
        let number = FORESTS[forest].to_string();
        self.world.lab().unwrap().must(&[&[command, number.as_str()], more].concat());
    }

    /// After the controller was away.
    async fn connect(&mut self, forest: usize) {
        let access = self.world.forests[forest].directory.access.clone();
        self.world.forests[forest].directory = Directory::open(&access).await;
    }

    /// Does something that may take objects away, and notes which it did.
    async fn taking(&mut self, what: impl AsyncFnOnce(&mut Self)) {
        let before = anchors(&self.world.expected().await);
        what(self).await;
        let after = anchors(&self.world.expected().await);
        self.taken.extend(before.difference(&after).cloned());
    }

    /// Some changes in forests whose controllers answer.
    async fn changes(&mut self) {
        for _ in 0..self.rng.random_range(1..4) {
            let forest = self.rng.random_range(0..3);
            if self.silent.contains(&forest) {
                continue;
            }
            let random = self.models[forest].change(&mut self.rng);
            if random.takes_away {
                self.taking(async |chaos| chaos.world.apply(&random.change).await).await;
            } else {
                self.world.apply(&random.change).await;
            }
        }
    }

    /// A random moment: what is random here is when a fault comes, nothing is waited for.
    async fn moment(&mut self, longest_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(5..longest_ms))).await;
    }

    fn service(&mut self) -> usize {
        self.rng.random_range(0..self.services.all.len())
    }

    async fn round(&mut self, round: usize) {
        let kind = self.rng.random_range(0..12);
        let what = match kind {
            0..=2 => self.kill().await,
            3 | 4 => self.hang().await,
            5 => self.broker().await,
            6 | 7 => self.controller().await,
            8 | 9 => self.restore().await,
            _ => self.tenant().await,
        };
        println!("round {round}: {what}");
        self.services.assert_alive();
        if round % 5 == 4 {
            self.world.agree(&what, REST).await;
        }
    }

    async fn kill(&mut self) -> String {
        let at = self.service();
        self.changes().await;
        self.moment(400).await;
        self.services.all[at].kill9();
        self.changes().await;
        self.moment(3_000).await;
        self.services.start();
        format!("kill -9 of {}", self.services.all[at].instance)
    }

    /// For longer than a session lasts, or for a moment.
    async fn hang(&mut self) -> String {
        let at = self.service();
        self.changes().await;
        self.services.all[at].pause();
        self.changes().await;
        let longest = if self.rng.random_bool(0.5) { 9_000 } else { 1_000 };
        self.moment(longest).await;
        self.services.all[at].resume();
        self.changes().await;
        format!("SIGSTOP of {}", self.services.all[at].instance)
    }

    async fn broker(&mut self) -> String {
        self.changes().await;
        self.moment(200).await;
        if self.rng.random_bool(0.5) {
            self.cluster.must(&["kill", "1"]);
            self.changes().await;
            self.cluster.must(&["start", "1"]);
            return "the broker killed".to_owned();
        }
        self.cluster.must(&["restart", "1"]);
        self.changes().await;
        "the broker restarted".to_owned()
    }

    async fn controller(&mut self) -> String {
        let forest = self.rng.random_range(0..3);
        self.changes().await;
        let how = ["kill9", "pause", "sever"][self.rng.random_range(0..3)];
        self.lab(how, forest, &[]);
        self.silent.insert(forest);
        self.changes().await;
        self.moment(2_000).await;
        match how {
            "kill9" => self.lab("up", forest, &[]),
            "pause" => self.lab("resume", forest, &[]),
            _ => self.lab("heal", forest, &[]),
        }
        self.silent.remove(&forest);
        self.connect(forest).await;
        self.changes().await;
        format!("{how} of the controller of forest {forest}")
    }

    /// Makes a backup, or puts one back. A rollback without a new invocationId shows only until its USNs are used anew: so
    /// the tenant must follow before anything else changes there.
    async fn restore(&mut self) -> String {
        let Some(Backup { forest, model }) = self.backup.take() else {
            let forest = self.rng.random_range(0..3);
            self.lab("backup", forest, &["chaos"]);
            self.connect(forest).await;
            self.backup = Some(Backup { forest, model: self.models[forest].clone() });
            return format!("backup of forest {forest}");
        };
        let change = self.models[forest].visible();
        self.world.apply(&change).await;
        self.world.agree("before a controller is restored", REST).await;
        let new_id = self.rng.random_bool(0.5);
        let more: &[&str] = if new_id { &["chaos", "--new-invocation-id"] } else { &["chaos"] };
        self.taking(async |chaos| {
            chaos.lab("restore", forest, more);
            chaos.connect(forest).await;
            chaos.models[forest] = chaos.models[forest].restored(model);
        })
        .await;
        self.world.agree("after a controller was restored", REST).await;
        format!("restore of forest {forest}, new invocationId: {new_id}")
    }

    async fn tenant(&mut self) -> String {
        let control = self.world.tenant.control();
        let what = match self.rng.random_range(0..3) {
            0 => {
                control.throttle_next_writes(self.rng.random_range(1..6), Duration::from_millis(1_500));
                "429 from the tenant"
            }
            1 => {
                control.unavailable_next(self.rng.random_range(1..6));
                "503 from the tenant"
            }
            _ => {
                control.lose_answers(self.rng.random_range(1..4));
                "answers of the tenant lost after the write"
            }
        };
        self.changes().await;
        self.changes().await;
        what.to_owned()
    }

    /// Nothing was deleted that the directories did not take away.
    fn nothing_taken_for_gone(&self) {
        // a group's uniqueName is its anchor in base64url
        let plain = |key: &str| key.trim_end_matches('=').replace('-', "+").replace('_', "/");
        let taken: BTreeSet<String> = self.taken.iter().map(|anchor| plain(anchor)).collect();
        for write in self.world.tenant.control().writes() {
            let is_deletion = matches!(write.operation, "user.delete" | "group.delete");
            let key = plain(&write.key);
            assert!(!is_deletion || taken.contains(&key), "{} of {key}, which was always there", write.operation);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults() {
    if let Some(why) = samba::missing() {
        return peers::skipped("Samba AD DC", why);
    }
    if let Some(why) = kafka::missing() {
        return peers::skipped("Apache Kafka", why);
    }
    let seed = std::env::var("FORESTSYNC_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_125);
    println!("seed {seed}");
    let mut chaos = Chaos::new(seed).await;
    chaos.services.load(&mut chaos.world).await;
    let rounds = rounds();
    for round in 0..rounds {
        chaos.round(round).await;
    }
    chaos.world.agree("after the last round", REST).await;
    chaos.nothing_taken_for_gone();
    let Chaos { services, world, .. } = &mut chaos;
    suite::finish(world, services).await;
    let counters = world.tenant.counters();
    println!("{rounds} rounds, {} writes, {} of them without effect", counters.writes, counters.writes_without_effect);
    peers::ran("Samba AD DC");
    peers::ran("Apache Kafka");
}
