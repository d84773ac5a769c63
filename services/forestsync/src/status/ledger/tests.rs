//! What the report makes of outcomes and wishes.

use std::collections::BTreeMap;

use forestsync_domain::ObjectGuid;
use forestsync_schemas::desired::{CloudAttributes, LinkDesired, ObjectRemoved, RemovalReason};
use forestsync_schemas::outcomes::{
    ConfigurationQuarantined, ConfigurationRecovered, DeletionDeferred, ExportFailed, ExportHeld, ExportQuarantined,
    ExportReleased, ExportResumed, ExportStopped, MemberAdded, ObjectProvisioned, ObjectUpdated, OutcomeContext,
    QuarantineCause, StopCause,
};
use forestsync_schemas::{EventBody as _, EventId};
use jiff::Timestamp;

use super::*;

fn anchor(name: &str) -> SourceAnchor {
    SourceAnchor::from(name.to_owned())
}

#[derive(Default)]
struct Story {
    fold: Fold,
    offset: u64,
}

impl Story {
    fn outcome(&mut self, name: &str, offset: u64, event: OutcomeEvent) -> &mut Self {
        let context = OutcomeContext {
            configuration: "contoso".into(),
            anchor: anchor(name),
            class: CloudClass::Group,
            cloud_id: None,
            desired_offset: offset,
            request_id: None,
            status: None,
            trace: None,
        };
        let id = EventId::of([name.as_bytes(), event.type_name().as_bytes()]);
        self.fold.outcome(OutcomeRecord { id, time: Timestamp::UNIX_EPOCH, context, event });
        self
    }

    fn wish(&mut self, event: DesiredEvent) -> &mut Self {
        let context = DesiredContext {
            configuration: "contoso".into(),
            rules: "r".into(),
            offsets: BTreeMap::new(),
            trace: None,
        };
        let record = DesiredRecord { id: EventId::of([]), time: Timestamp::UNIX_EPOCH, context, event };
        self.fold.wish(self.offset, record);
        self.offset += 1;
        self
    }

    fn tell(self) -> Ledger {
        self.fold.finish()
    }
}

fn source() -> SourceObject {
    SourceObject {
        forest: "emea".into(),
        object: ObjectGuid::from_bytes([1; 16]),
        dn: "CN=x,DC=emea,DC=example".parse().unwrap(),
    }
}

fn group(name: &str, description: &str) -> DesiredEvent {
    DesiredEvent::ObjectDesired(ObjectDesired {
        anchor: anchor(name),
        class: CloudClass::Group,
        revision: 1,
        attributes: [("description".to_owned(), CloudValue::Text(description.into()))].into(),
        at_creation: CloudAttributes::new(),
        left_alone: Vec::new(),
        manager: None,
        owner: None,
        not_writable: Vec::new(),
        source: source(),
        joined: Vec::new(),
    })
}

fn error() -> ExportError {
    ExportError { code: "Request_BadRequest".into(), attribute: None, other: None, detail: "x".into(), hint: None }
}

fn failed(operation: Operation, members: &[&str]) -> OutcomeEvent {
    let members = members.iter().map(|m| anchor(m)).collect();
    let retry_at = Timestamp::UNIX_EPOCH;
    OutcomeEvent::ExportFailed(ExportFailed { operation, error: error(), attempt: 1, retry_at, members })
}

fn quarantined(operation: Operation, members: &[&str]) -> OutcomeEvent {
    let members = members.iter().map(|m| anchor(m)).collect();
    let event = ExportQuarantined { operation, error: error(), attempts: 8, retry_at: None, members };
    OutcomeEvent::ExportQuarantined(event)
}

fn added(members: &[&str]) -> OutcomeEvent {
    OutcomeEvent::MemberAdded(MemberAdded { members: members.iter().map(|m| anchor(m)).collect() })
}

#[test]
fn troubles_of_members_are_each_its_own() {
    let mut story = Story::default();
    story.outcome("g", 5, failed(Operation::AddMembers, &["a", "b"]));
    story.outcome("g", 5, quarantined(Operation::AddMembers, &["c"]));
    story.outcome("g", 5, added(&["a", "d"]));
    let told = story.tell();
    let names = |issues: &[Issue]| issues.iter().map(|i| i.member.clone().unwrap()).collect::<Vec<_>>();
    assert_eq!((names(&told.failed), names(&told.quarantined)), (vec!["b".to_owned()], vec!["c".to_owned()]));
}

#[test]
fn a_newer_wish_of_a_membership_lifts_its_trouble() {
    let mut story = Story::default();
    story.outcome("g", 0, quarantined(Operation::AddMembers, &["a", "b"]));
    story.wish(group("g", "x"));
    story.wish(DesiredEvent::LinkDesired(LinkDesired { group: anchor("g"), member: anchor("a") }));
    let told = story.tell();
    assert_eq!(told.quarantined.len(), 1);
    assert_eq!(told.quarantined[0].member.as_deref(), Some("b"));
}

#[test]
fn held_member_removals_stay_held_until_they_are_released() {
    let held = |operation| {
        OutcomeEvent::ExportHeld(ExportHeld {
            operation,
            cause: HoldCause::Guard,
            detail: "12 of 40".into(),
            join: None,
        })
    };
    let mut story = Story::default();
    story.outcome("g", 5, held(Operation::RemoveMembers));
    story.outcome("g", 5, failed(Operation::RemoveMembers, &["a"]));
    let removed = forestsync_schemas::outcomes::MemberRemoved {
        members: vec![anchor("a")],
        ended: Vec::new(),
        uncounted: Vec::new(),
    };
    story.outcome("g", 5, OutcomeEvent::MemberRemoved(removed));
    story.outcome("h", 5, held(Operation::RemoveMembers));
    let released = ExportReleased { operation: Operation::RemoveMembers, detail: "2 of 40".into() };
    story.outcome("h", 5, OutcomeEvent::ExportReleased(released));
    let told = story.tell();
    assert_eq!((told.failed.len(), told.held.len()), (0, 1));
    assert_eq!(told.held[0].anchor, "g");
    let hint = told.held[0].hint.as_deref().unwrap();
    assert!(hint.contains("forestsync approve") && hint.contains("forestsync reject"), "{hint}");
    assert_eq!((told.held[0].cause.as_deref(), told.held[0].members), (Some("guard"), Some(0)));
}

#[test]
fn a_group_that_is_held_tells_how_many_members_should_go() {
    let added = |members: &[&str]| {
        OutcomeEvent::MemberAdded(MemberAdded { members: members.iter().map(|name| anchor(name)).collect() })
    };
    let held =
        ExportHeld { operation: Operation::RemoveMembers, cause: HoldCause::Guard, detail: "x".into(), join: None };
    let link = |member: &str| DesiredEvent::LinkDesired(LinkDesired { group: anchor("g"), member: anchor(member) });
    let mut story = Story::default();
    story.outcome("g", 5, added(&["a", "b", "c", "d"])).outcome("g", 9, OutcomeEvent::ExportHeld(held));
    for name in ["g", "a", "b", "c"] {
        story.wish(group(name, "x"));
    }
    // d is to go itself, and c stays
    story.wish(link("c"));
    let told = story.tell();
    assert_eq!((told.held[0].members, told.desired_offset), (Some(2), Some(4)));
}

#[test]
fn what_is_deleted_later_is_neither_held_nor_pending() {
    let provisioned = OutcomeEvent::ObjectProvisioned(ObjectProvisioned { attributes: BTreeMap::new() });
    let deferred = DeletionDeferred { until: Timestamp::UNIX_EPOCH, uncounted: false };
    let mut story = Story::default();
    story.outcome("g", 0, provisioned).outcome("g", 1, OutcomeEvent::DeletionDeferred(deferred));
    let (reason, class) = (RemovalReason::Deleted, CloudClass::Group);
    let removed = ObjectRemoved { anchor: anchor("g"), class, revision: 2, reason, keep: false, source: source() };
    story.wish(group("g", "x")).wish(DesiredEvent::ObjectRemoved(removed));
    let told = story.tell();
    assert_eq!((told.held.len(), told.deferred.len(), told.lag.objects_pending), (0, 1, 0));
    assert_eq!(told.deferred[0].retry_at.as_deref(), Some("1970-01-01T00:00:00Z"));
}

#[test]
fn an_update_is_pending_until_it_is_done() {
    let provisioned = || OutcomeEvent::ObjectProvisioned(ObjectProvisioned { attributes: BTreeMap::new() });
    let updated = || OutcomeEvent::ObjectUpdated(ObjectUpdated { changes: BTreeMap::new(), uncounted: Vec::new() });
    for (answered, failure, wishes, pending) in [
        (Some(1), false, ["x", "y"], 0),
        (None, false, ["x", "y"], 1),
        (None, true, ["x", "y"], 1),
        (None, false, ["x", "x"], 0),
    ] {
        let mut story = Story::default();
        story.outcome("g", 0, provisioned());
        if let Some(offset) = answered {
            story.outcome("g", offset, updated());
        }
        if failure {
            story.outcome("g", 1, failed(Operation::Update, &[]));
        }
        for description in wishes {
            story.wish(group("g", description));
        }
        assert_eq!(story.tell().lag.objects_pending, pending, "{answered:?} {wishes:?}");
    }
    let mut story = Story::default();
    let (reason, class) = (RemovalReason::Deleted, CloudClass::Group);
    story.outcome("g", 0, provisioned());
    story.wish(DesiredEvent::ObjectRemoved(ObjectRemoved {
        anchor: anchor("g"),
        class,
        revision: 2,
        reason,
        keep: false,
        source: source(),
    }));
    assert_eq!(story.tell().lag.objects_pending, 1);
}

#[test]
fn a_quarantine_is_told_until_it_is_over() {
    let quarantined = |pauses| {
        OutcomeEvent::ConfigurationQuarantined(ConfigurationQuarantined {
            cause: QuarantineCause::Share,
            failing: 6_000,
            references: 2,
            objects: 9_000,
            pauses,
            retry_at: Timestamp::UNIX_EPOCH,
        })
    };
    let mut story = Story::default();
    story.outcome("", 5, quarantined(1));
    story.outcome("", 5, quarantined(2));
    let told = story.tell().quarantine.unwrap();
    assert_eq!((told.cause.as_str(), told.failing, told.objects), ("share", 6_000, 9_000));
    let mut story = Story::default();
    story.outcome("", 5, quarantined(1));
    story.outcome("", 5, OutcomeEvent::ConfigurationRecovered(ConfigurationRecovered { failing: 3 }));
    assert!(story.tell().quarantine.is_none());
}

#[test]
fn a_tenant_that_takes_nothing_is_told_until_it_does() {
    let stopped = ExportStopped { cause: StopCause::NotPermitted, detail: "403".into(), hint: "grant".into() };
    let mut story = Story::default();
    story.outcome("", 5, OutcomeEvent::ExportStopped(stopped.clone()));
    assert_eq!(story.tell().stopped.unwrap().cause, "not_permitted");
    let mut story = Story::default();
    story.outcome("", 5, OutcomeEvent::ExportStopped(stopped));
    story.outcome("", 5, OutcomeEvent::ExportResumed(ExportResumed {}));
    assert!(story.tell().stopped.is_none());
}
