//! One population in one tenant, from nothing through rounds of wishes, with a provisioner that is stopped, dies or loses
//! its ledger on the way.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use forestsync_practice::tenant::{Counters, Expected, Knob, LATE, Subject, Subjects, TenantOptions};
use forestsync_provisioner::{CrashPoint, DriftSettings, Status};
use forestsync_rules::guard::GuardLimits;
use forestsync_schemas::desired::DesiredEvent;
use forestsync_schemas::outcomes::DriftPolicy;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::common::{Lab, Running, anchor, is_drift};
use crate::model::{DOMAIN, GROUPS, KEEP_THEIR_NAMES, LATER_DOMAIN, Model, OF_LATER_DOMAIN, USERS};

/// Rounds of wishes in one run, besides the last one that takes much away.
const ROUNDS: usize = 4;

const SYNCED_USERS: [u32; 2] = [4, 5];
const SYNCED_GROUPS: [u32; 1] = [101];
const MAIL_ENABLED_GROUPS: [u32; 1] = [102];

/// Lets everything go: how many may go at once is no matter of the tenant.
const OPEN: GuardLimits = GuardLimits { count: 1_000, share: 1.0, minimum: 1_000 };
/// Holds what the last round takes away, for the rounds before took away more than that.
const NARROW: GuardLimits = GuardLimits { count: 1, share: 1.0, minimum: 1_000 };

const POINTS: [CrashPoint; 4] =
    [CrashPoint::IntentDurable, CrashPoint::Answered, CrashPoint::OutcomeAppended, CrashPoint::LedgerUpdated];

/// The late answers of a tenant, which a provisioner is told of.
const LATE_KNOBS: [Knob; 4] = [Knob::LateKeyReads, Knob::LateFilters, Knob::LateReferences, Knob::TwoReplicas];

/// What a run is made of.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub(crate) knobs: Vec<Knob>,
    pub(crate) seed: u64,
    /// Where its exchanges are written.
    pub(crate) record: PathBuf,
}

fn subjects() -> Subjects {
    Subjects {
        privileged: KEEP_THEIR_NAMES.map(|n| format!("user{n}@{DOMAIN}")).into(),
        synced_users: SYNCED_USERS.map(|n| (anchor(n).as_str().to_owned(), format!("synced{n}@{DOMAIN}"))).into(),
        synced_groups: SYNCED_GROUPS.map(|n| anchor(n).unique_name()).into(),
        mail_enabled_groups: MAIL_ENABLED_GROUPS.map(|n| anchor(n).unique_name()).into(),
        federated_domain: DOMAIN.to_owned(),
        unverified_domain: LATER_DOMAIN.to_owned(),
        object_quota: 18,
    }
}

/// The objects that the provisioner may fail to write under these knobs.
fn may_be_refused(knobs: &[Knob]) -> BTreeSet<u32> {
    let of = |subject: Subject| -> Vec<u32> {
        match subject {
            Subject::PrivilegedUser => KEEP_THEIR_NAMES.into(),
            Subject::SyncedUser => SYNCED_USERS.into(),
            Subject::SyncedGroup => SYNCED_GROUPS.into(),
            Subject::MailEnabledGroup => MAIL_ENABLED_GROUPS.into(),
            Subject::UserOfUnverifiedDomain => OF_LATER_DOMAIN.collect(),
            Subject::AnyUser => USERS.collect(),
        }
    };
    let expected = knobs.iter().map(|knob| knob.expected());
    expected.flat_map(|e| if let Expected::AllBut(subject) = e { of(subject) } else { Vec::new() }).collect()
}

/// What is held and what rests, by number.
fn refused(status: &Status) -> BTreeSet<u32> {
    let all = status.held.iter().map(|item| &item.anchor).chain(status.quarantined.iter().map(|item| &item.anchor));
    let number =
        |one: &forestsync_domain::SourceAnchor| USERS.chain(GROUPS).find(|n| anchor(*n) == *one).expect("a number");
    all.map(number).collect()
}

async fn lab(course: &Course) -> Lab {
    let adjust = |options: &mut TenantOptions| {
        options.verified_domains = vec![DOMAIN.to_owned(), LATER_DOMAIN.to_owned()];
        options.record_file = Some(course.record.clone());
        for knob in &course.knobs {
            knob.apply(options, &subjects());
        }
    };
    let mut lab = Lab::with(adjust).await;
    let tenant = &mut lab.config.tenant;
    (tenant.guard, tenant.disable_guard, tenant.upn_guard) = (OPEN, OPEN, OPEN);
    // nobody else is at work, so nothing is ever found, whatever delta brings and however late it is
    let policy = if course.seed.is_multiple_of(2) { DriftPolicy::Report } else { DriftPolicy::Enforce };
    tenant.drift = Some(DriftSettings {
        interval: Duration::from_millis(50),
        default: policy,
        deletions: policy,
        ..DriftSettings::default()
    });
    // nothing here takes longer, unless its connection is lost
    lab.config.tenant.request_timeout = Duration::from_secs(5);
    if course.knobs.iter().any(|knob| LATE_KNOBS.contains(knob)) {
        lab.config.tenant.visible_within = LATE * 8;
    }
    lab
}

/// What becomes of the provisioner while it works on a round.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lives,
    /// It is stopped after so many outcomes, and started again.
    Stopped(u64),
    /// It dies there, the so manieth time it comes by.
    Dies(CrashPoint, u32),
    /// It is stopped before, and its ledger is lost.
    LosesLedger,
}

impl Fate {
    fn of(random: &mut ChaCha8Rng) -> Self {
        match random.random_range(0..10) {
            0..=3 => Self::Lives,
            4..=6 => Self::Stopped(random.random_range(1..30)),
            7 | 8 => Self::Dies(POINTS.into_iter().choose(random).expect("some"), random.random_range(0..4)),
            _ => Self::LosesLedger,
        }
    }

    /// Gives the wishes to the provisioner, and does to it what it must; the one that goes on.
    async fn meet(self, lab: &Lab, running: Running, wishes: Vec<DesiredEvent>) -> Running {
        match self {
            Self::Lives => {
                lab.wish(wishes).await;
                running
            }
            Self::Stopped(after) => {
                let before = running.status.borrow().outcomes_next;
                lab.wish(wishes).await;
                let tail = tail(lab).await;
                running.until(|s| s.outcomes_next >= before + after || (s.idle && s.desired_applied >= tail)).await;
                running.end().await;
                lab.start().await
            }
            Self::Dies(point, after) => {
                running.end().await;
                lab.wish(wishes).await;
                lab.crash(point, after).await;
                lab.start().await
            }
            Self::LosesLedger => {
                running.end().await;
                std::fs::remove_dir_all(&lab.config.directory).unwrap();
                lab.wish(wishes).await;
                lab.start().await
            }
        }
    }
}

async fn tail(lab: &Lab) -> u64 {
    lab.log.tail(&"desired.contoso".parse().unwrap()).await.unwrap()
}

/// Waits until everything is done but for some of `may`, and compares. What is refused.
async fn settle(lab: &Lab, running: &Running, model: &Model, may: &BTreeSet<u32>, when: &str) -> BTreeSet<u32> {
    let tail = tail(lab).await;
    // what passes by itself has its time, memberships included
    let settled = |s: &Status| {
        let rests = s.quarantined_total == s.quarantined.len() && refused(s).is_subset(may);
        s.idle && s.desired_applied >= tail && rests
    };
    let status = running.until(settled).await;
    let refused = refused(&status);
    let differences = model.differences(&lab.dump(), &refused);
    let differ: BTreeSet<u32> = differences.keys().copied().collect();
    assert_eq!(
        differ, refused,
        "{when}: what differs, and what is said to be refused; {differences:?}; {:?}; {:?}",
        status.quarantined, status.held
    );
    refused
}

/// Runs it; what the tenant counted.
pub(crate) async fn run(course: Course) -> Counters {
    let mut lab = lab(&course).await;
    let may = may_be_refused(&course.knobs);
    let (mut random, mut model) = (ChaCha8Rng::seed_from_u64(course.seed), Model::default());
    let mut running = lab.start().await;
    for round in 0..ROUNDS {
        let fate = Fate::of(&mut random);
        running = fate.meet(&lab, running, model.round(&mut random)).await;
        settle(&lab, &running, &model, &may, &format!("round {round}, {fate:?}")).await;
    }
    // the guard holds what is to go, and nothing else
    running.end().await;
    lab.config.tenant.guard = NARROW;
    running = lab.start().await;
    let (wishes, gone) = model.purge(&mut random);
    lab.wish(wishes).await;
    let refused = settle(&lab, &running, &model, &(&may | &gone), "held").await;
    assert!(!refused.is_disjoint(&gone) || gone.is_subset(&may), "{gone:?} of {refused:?}");
    running.end().await;
    lab.config.tenant.guard = OPEN;
    running = lab.start().await;
    settle(&lab, &running, &model, &may, "released").await;
    running.end().await;
    let said = lab.outcomes().await.into_iter().filter(|outcome| is_drift(&outcome.event));
    assert_eq!(said.collect::<Vec<_>>(), [], "nobody else was at work");
    let counters = lab.tenant.counters();
    assert!(counters.creates_by_immutable_id.values().all(|created| *created == 1), "{counters:?}");
    let again = course.knobs.contains(&Knob::GroupsDeletedForGood);
    assert!(again || counters.creates_by_unique_name.values().all(|created| *created == 1), "{counters:?}");
    let Lab { tenant, .. } = lab;
    tenant.stop().await.unwrap();
    counters
}
