//! One world under some knobs: the initial population, all steps of the scenario, and at the end more deletions than the
//! guard lets pass, which are then let go.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use forestsync_practice::oracle::Holdings;
use forestsync_practice::tenant::{Counters, Knob, TenantOptions};
use forestsync_practice::tls::PrivateCa;
use forestsync_tests::directory::Directory;
use forestsync_tests::pipeline::Pipeline;
use forestsync_tests::refused::{self, Refused};
use forestsync_tests::scenario::{self, Change};
use forestsync_tests::world::{Peer, World};
use forestsync_tests::{suite, wait};
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::task::block_in_place;

use crate::cast::{self, Cast, LATER_DOMAIN};

/// How long anything may take, in a tenant that fails most of the time, beside other runs.
const PATIENCE: Duration = Duration::from_mins(4);

/// Steps of the scenario between two looks at the tenant. What the tenant ends with depends on what the directories end
/// with and not on who looked when, so looking seldom loses nothing but time; and as each seed looks at other moments, each
/// step is the last one before a look for some of them.
const STEPS: std::ops::RangeInclusive<usize> = 8..=16;

/// Holds what goes at the end, for more than that went before.
const NARROW_GUARD: &str = "[delete_guard]\ncount = 1\nshare = 1.0\nmember_minimum = 1000\n";

/// What a run is made of.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub(crate) knobs: Vec<Knob>,
    pub(crate) seed: u64,
    /// Where its exchanges are written.
    pub(crate) record: PathBuf,
}

/// What came of it.
pub(crate) struct Done {
    pub(crate) counters: Counters,
    /// For a person.
    pub(crate) said: String,
}

/// What becomes of the process while the directories change.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lives,
    /// `kill -9` in the middle of it.
    Killed,
    /// It is stopped before and started afterwards.
    Stopped,
    /// The same, and its ledger is lost.
    LosesLedger,
    /// A controller loses its connections in the middle of it.
    CutOff,
}

const FATES: [Fate; 5] = [Fate::Lives, Fate::Killed, Fate::Stopped, Fate::LosesLedger, Fate::CutOff];

struct Run {
    world: World,
    pipeline: Pipeline,
    cast: Cast,
    rest: String,
}

async fn open(course: &Course) -> Run {
    let ca = PrivateCa::new().unwrap();
    let nobody = suite::tenant(&ca, &[], None).await;
    let mut world = World::new(suite::practice_peers(&ca).await, None, nobody).await;
    for change in cast::of_later_domain() {
        world.apply(&change).await;
    }
    let cast = Cast::of(&mut world, &course.knobs).await;
    let mut options = TenantOptions {
        verified_domains: [suite::practice_domains(), vec![LATER_DOMAIN.to_owned()]].concat(),
        record_file: Some(course.record.clone()),
        ..TenantOptions::default()
    };
    for knob in &course.knobs {
        knob.apply(&mut options, &cast.subjects);
    }
    world.move_to(suite::tenant_of(&ca, options).await);
    // nobody else is at work, so nothing is ever found, whatever delta brings and however late it is
    let (policy, deletions) = if course.seed.is_multiple_of(2) { ("report", "report") } else { ("enforce", "restore") };
    let rest = format!("[drift]\ninterval = \"1s\"\ndefault = \"{policy}\"\ndeletions = \"{deletions}\"\n");
    let wide = format!("{rest}{}", suite::WIDE_GUARD);
    let pipeline = Pipeline::new(&world.sources(), &world.access, suite::AT_ONCE, &wide);
    Run { world, pipeline, cast, rest }
}

impl Run {
    /// Waits until the tenant holds what it should, but for those that may be refused.
    async fn agree(&mut self, what: &str) {
        let expected = self.world.expected().await;
        let Self { world, pipeline, cast, .. } = self;
        wait::until(what, PATIENCE, || {
            pipeline.assert_alive();
            let dump = world.tenant.dump();
            let may = cast.may_be_refused(&expected, &dump);
            let mut wrong = refused::differing(&expected, &dump, &may);
            wrong.retain(|anchor, _| !may.contains(anchor));
            let is_right = wrong.is_empty() && pipeline.has_begun();
            let log = if is_right { String::new() } else { pipeline.log_tail() };
            async move { if is_right { Ok(()) } else { Err(format!("{wrong:#?}\n{log}")) } }
        })
        .await;
    }

    /// Changes the directories while the process meets its fate. It runs before and after.
    async fn meet(&mut self, fate: Fate, changes: &[Change]) {
        let (first, second) = changes.split_at(changes.len() / 2);
        if matches!(fate, Fate::Stopped | Fate::LosesLedger) {
            self.pipeline.stop().await;
        }
        for change in first {
            self.world.apply(change).await;
        }
        match fate {
            Fate::Killed => self.pipeline.kill9(),
            Fate::LosesLedger => std::fs::remove_dir_all(self.pipeline.folder().join("data/provisioner")).unwrap(),
            Fate::CutOff => {
                let forest = &mut self.world.forests[0];
                let Peer::Practice(peer) = &forest.peer else { panic!("a practice forest") };
                peer.control().cut_all();
                forest.directory = Directory::open(&forest.directory.access.clone()).await;
            }
            Fate::Lives | Fate::Stopped => {}
        }
        for change in second {
            self.world.apply(change).await;
        }
        if !matches!(fate, Fate::Lives | Fate::CutOff) {
            self.pipeline.start();
        }
    }

    /// Runs until nothing is left to do, and compares with the oracle: what differs is what is said to be refused. Who that
    /// is.
    async fn settle(&mut self, also: &BTreeSet<String>, when: &str) -> Refused {
        let (code, said) = block_in_place(|| self.pipeline.run_until_idle());
        let refused = block_in_place(|| Refused::of(&self.pipeline));
        assert_eq!(code, Some(if refused.0.is_empty() { 0 } else { 3 }), "{when}: {said}");
        let (expected, dump) = (self.world.expected().await, self.world.tenant.dump());
        let differ = refused::differing(&expected, &dump, &refused.anchors());
        let said = differ.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(said, refused.anchors(), "{when}: what differs, and what is refused\n{differ:#?}\n{refused:#?}");
        let may = &self.cast.may_be_refused(&expected, &dump) | also;
        let others: Vec<_> = refused.0.iter().filter(|(anchor, _)| !may.contains(*anchor)).collect();
        assert!(others.is_empty(), "{when}: nothing keeps these from being written: {others:#?}");
        refused
    }

    fn guard(&self, guard: &str) {
        let rest = format!("{}{guard}", self.rest);
        self.pipeline.configure(&self.world.sources(), &self.world.access, suite::AT_ONCE, &rest);
    }

    /// Takes away more than the guard lets pass; the anchors of what goes.
    async fn purge(&mut self) -> BTreeSet<String> {
        let anchors = |all: Holdings| all.users.into_keys().chain(all.groups.into_keys()).collect::<BTreeSet<_>>();
        let before = anchors(self.world.expected().await);
        self.world.apply(&Change::DeleteTree(1, "OU=Deep,OU=Sales,OU=Staff".into())).await;
        self.world.apply(&Change::Delete(0, "CN=All 0,OU=People".into())).await;
        let after = anchors(self.world.expected().await);
        &before - &after
    }
}

/// Plays it; panics where something is not as it must be.
pub(crate) async fn run(course: Course) -> Done {
    let mut random = ChaCha8Rng::seed_from_u64(course.seed);
    let mut run = open(&course).await;
    run.pipeline.start();
    run.agree("the initial population").await;
    let steps = scenario::steps();
    let (mut rest, mut fates, mut looks) = (steps.as_slice(), Vec::new(), 0);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(random.random_range(STEPS).min(rest.len()));
        if fates.is_empty() {
            fates = FATES.to_vec();
            fates.shuffle(&mut random);
        }
        let fate = fates.pop().unwrap();
        let changes: Vec<Change> = now.iter().flat_map(|(_, changes)| changes.clone()).collect();
        run.meet(fate, &changes).await;
        run.agree(&format!("{fate:?}, up to {:?}", now.last().unwrap().0)).await;
        (rest, looks) = (later, looks + 1);
    }
    run.pipeline.stop().await;

    let none = BTreeSet::new();
    let at_rest = run.settle(&none, "at the end of the scenario").await;
    run.guard(NARROW_GUARD);
    let gone = run.purge().await;
    let held = run.settle(&gone, "held").await;
    let is_held = |anchor: &String| held.0.get(anchor).is_some_and(|said| said.iter().any(|s| s.starts_with("held")));
    assert!(gone.iter().any(is_held), "the guard holds some of {gone:?}: {held:?}");
    run.guard(suite::WIDE_GUARD);
    let refused = run.settle(&none, "let go").await;
    let writes = run.world.tenant.counters().writes;
    assert_eq!(run.settle(&none, "once more").await, refused);
    finish(run, &course.knobs, writes).await.said(looks, &at_rest, &refused)
}

/// What must hold however it came about.
async fn finish(run: Run, knobs: &[Knob], writes: u64) -> Done {
    assert_eq!(run.world.tenant.counters().writes, writes, "a run with nothing to do writes nothing");
    let drift = block_in_place(|| run.pipeline.json(&["drift"]));
    assert_eq!(drift["found"], json!([]), "nobody else was at work");
    let replayed = block_in_place(|| run.pipeline.output(&["replay", "--verify"]));
    assert!(replayed.status.success(), "replay: {}", String::from_utf8_lossy(&replayed.stderr));
    let counters = run.world.tenant.counters();
    assert!(counters.creates_by_immutable_id.values().all(|created| *created == 1), "{counters:?}");
    let again = knobs.contains(&Knob::GroupsDeletedForGood);
    assert!(again || counters.creates_by_unique_name.values().all(|created| *created == 1), "{counters:?}");
    let Run { world: World { tenant, .. }, .. } = run;
    tenant.stop().await.unwrap();
    Done { counters, said: String::new() }
}

impl Done {
    fn said(self, looks: usize, at_rest: &Refused, refused: &Refused) -> Self {
        let said = format!("{looks} looks, {} and {} refused", at_rest.0.len(), refused.0.len());
        Self { said, ..self }
    }
}
