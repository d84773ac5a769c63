//! Two configurations of one log for one tenant: an object that leaves the one for the other is never removed.

use forestsync_domain::Attributes;
use forestsync_schemas::control::{ConfigurationActivated, ControlContext, ControlEvent};
use forestsync_schemas::desired::{DesiredEvent, DesiredRecord, RemovalReason};
use forestsync_schemas::{ControlRecord, EventId, streams};
use jiff::Timestamp;

use super::support::{OU, Source, USER, World, anchor, attributes, changed, completed, deleted, observed, started};
use crate::ProjectorConfig;

/// OUs 2 and 3 are the scopes of `a` and `b`, 4 of nobody; user 10 is in the first.
#[derive(Debug)]
pub(super) struct Two {
    pub(super) world: World,
    pub(super) west: Source,
    pub(super) a: ProjectorConfig,
    pub(super) b: ProjectorConfig,
}

const NAMES: [(u32, &str); 3] = [(2, "A"), (3, "B"), (4, "C")];

async fn activate(world: &World, name: &str, include: &str, tenant: &str) {
    let document = format!(
        "configuration = \"{name}\"\n[[forests]]\nname = \"west\"\ninclude = [\"{include}\"]\n\
         [tenant]\ntenant_id = \"{tenant}\"\n"
    );
    let event = ConfigurationActivated { revision: 1, digest: "d".into(), document };
    say(world, name, ControlEvent::ConfigurationActivated(event)).await;
}

/// Appends an event to the control stream of a configuration.
pub(super) async fn say(world: &World, name: &str, event: ControlEvent) {
    let context = ControlContext { configuration: name.into(), actor: "somebody".into() };
    let record = ControlRecord { id: EventId::of([name.as_bytes()]), time: Timestamp::UNIX_EPOCH, context, event };
    let record = forestsync_log::NewRecord::new(None::<Vec<u8>>, record.encode().unwrap());
    world.append(&streams::control(name).parse().unwrap(), vec![record]).await;
}

impl Two {
    /// `tenant` is that of the second one.
    pub(super) async fn new(tenant: &str) -> Self {
        let (world, mut west) = (World::new(), Source::new("west", "DC=w"));
        let root = west.root.clone();
        let mut events = vec![started(1), observed(1, 1, &root, None, attributes(OU, "root"))];
        events.extend(NAMES.map(|(n, name)| observed(1, n, &root.child("OU", name), Some(1), attributes(OU, name))));
        for (n, parent, name) in [(10, 2, "A"), (11, 2, "A"), (12, 3, "B"), (13, 4, "C")] {
            let dn = root.child("OU", name).child("CN", &format!("n{n}"));
            events.push(observed(1, n, &dn, Some(parent), attributes(USER, &format!("n{n}"))));
        }
        events.push(completed(1, 8));
        let page = west.page(&events, true);
        world.append(&west.stream, page).await;
        let mut configs = Vec::new();
        for (name, ou, tenant) in [("a", "OU=A,DC=w", "t"), ("b", "OU=B,DC=w", tenant)] {
            activate(&world, name, ou, tenant).await;
            let config = world.config(name, &[west.clone()], &[ou], &[]);
            configs.push(ProjectorConfig { tenant: Some(tenant.into()), ..config });
        }
        let b = configs.pop().unwrap();
        Self { world, west, a: configs.pop().unwrap(), b }
    }

    /// User 10 goes to another OU.
    pub(super) async fn move_to(&mut self, number: u32) {
        let (_, name) = NAMES.into_iter().find(|(n, _)| *n == number).unwrap();
        let dn = self.west.root.child("OU", name).child("CN", "n10");
        let page = self.west.page(&[changed(10, &dn, Some(number), Attributes::new(), &[])], true);
        self.world.append(&self.west.stream, page).await;
    }

    /// What each of them says of user 10 once both have caught up: whether it is wished.
    pub(super) async fn settle(&self, is_a_first: bool) -> [bool; 2] {
        for config in if is_a_first { [&self.a, &self.b] } else { [&self.b, &self.a] } {
            self.world.settled(config).await;
        }
        let (a, b) = (self.world.desired("a").await, self.world.desired("b").await);
        [a, b].map(|desired| desired.wished.objects.contains_key(&anchor(10)))
    }

    /// The removals that a configuration wrote: why, and whether the cloud object stays.
    pub(super) async fn removed(&self, configuration: &str) -> Vec<(RemovalReason, bool)> {
        let records = self.world.records(&streams::desired(configuration)).await;
        let events = records.iter().map(|record| DesiredRecord::decode(&record.value).unwrap().event);
        let removal = |event| match event {
            DesiredEvent::ObjectRemoved(e) => Some((e.reason, e.keep)),
            _ => None,
        };
        events.filter_map(removal).collect()
    }
}

pub(super) const HANDED_OVER: (RemovalReason, bool) = (RemovalReason::HandedOver, true);

#[tokio::test(flavor = "multi_thread")]
async fn who_moves_between_configurations_is_handed_over_and_back_whoever_is_quicker() {
    for is_a_first in [true, false] {
        let mut two = Two::new("t").await;
        assert_eq!(two.settle(is_a_first).await, [true, false]);
        two.move_to(3).await;
        assert_eq!(two.settle(is_a_first).await, [false, true]);
        assert_eq!((two.removed("a").await, two.removed("b").await), (vec![HANDED_OVER], vec![]));
        two.move_to(2).await;
        assert_eq!(two.settle(is_a_first).await, [true, false]);
        assert_eq!((two.removed("a").await, two.removed("b").await), (vec![HANDED_OVER], vec![HANDED_OVER]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_moves_out_of_both_or_is_deleted_is_removed_by_the_last() {
    let mut two = Two::new("t").await;
    two.settle(true).await;
    two.move_to(3).await;
    two.settle(true).await;
    two.move_to(4).await;
    assert_eq!(two.settle(true).await, [false, false]);
    assert_eq!(two.removed("b").await, [(RemovalReason::OutOfScope, false)]);
    two.move_to(2).await;
    two.settle(true).await;
    let page = two.west.page(&[deleted(10, &two.west.root.clone())], true);
    two.world.append(&two.west.stream, page).await;
    assert_eq!(two.settle(true).await, [false, false]);
    assert_eq!(two.removed("a").await, [HANDED_OVER, (RemovalReason::Deleted, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_of_another_tenant_takes_nobody_over() {
    let mut two = Two::new("other").await;
    two.settle(true).await;
    two.move_to(3).await;
    assert_eq!(two.settle(true).await, [false, true]);
    assert_eq!(two.removed("a").await, [(RemovalReason::OutOfScope, false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_whose_projector_has_not_run_yet_takes_over_all_the_same() {
    let mut two = Two::new("t").await;
    two.world.settled(&two.a).await;
    two.move_to(3).await;
    assert_eq!(two.settle(true).await, [false, true]);
    assert_eq!(two.removed("a").await, [HANDED_OVER]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scope_that_takes_over_is_the_one_in_force() {
    let mut two = Two::new("t").await;
    two.settle(true).await;
    activate(&two.world, "b", "OU=C,DC=w", "t").await;
    two.move_to(3).await;
    two.world.settled(&two.a).await;
    assert_eq!(two.removed("a").await, [(RemovalReason::OutOfScope, false)]);
}
