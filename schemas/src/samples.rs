//! One sample of every event, for golden files and documentation.

use std::collections::BTreeMap;

use forestsync_domain::{AttributeValue, Attributes, Cookie, Dn, InvocationId, ObjectGuid, SourceAnchor, Usn};
use jiff::Timestamp;
use uuid::Uuid;

use crate::changes::{
    ChangeContext, ChangeEvent, ChangeRecord, Controller, Cursor, CursorAdvanced, LinkValuesChanged, Method,
    ObjectChanged, ObjectDeleted, ObjectObserved, ObjectRestored, ReadingResumed, ReadingStopped, SnapshotCompleted,
    SnapshotId, SnapshotProgress, SnapshotReason, SnapshotStarted, StopCause,
};
use crate::control::{
    ConfigurationActivated, ConfigurationRemoved, ControlContext, ControlEvent, ControlRecord, DecidedWrite,
    HeldDecided, RemovedObjects, SourceDecided, SourceSeen, Verdict,
};
use crate::decisions::{
    AnchorAssigned, AnchorBasis, ConfigurationHeld, ConfigurationReleased, DecisionContext, DecisionEvent,
    DecisionRecord, Doubt, FindingCleared, FindingRaised, FullReadApproved, FullReadJudged, HoldReason, JoinBroken,
    JoinMade, LostValues, RuleFinding, ScopeResolved, Severity, StreamResumed, StreamStopped, TimerFired,
};
use crate::desired::{
    AttributeFlowDeclared, CloudAttributes, CloudClass, CloudValue, DesiredContext, DesiredEvent, DesiredRecord,
    ExtensionDeclared, ExtensionType, LinkDesired, LinkRemoved, ObjectDesired, ObjectRemoved, RemovalReason,
    SourceObject,
};
use crate::outcomes::{
    self, AttributeChange, AttributePair, DeletionDeferred, ExportError, ExportFailed, ExportHeld, ExportQuarantined,
    ExportReleased, HeldJoin, HoldCause, ManagerChanged, MatchedBy, MemberAdded, MemberRemoved, NotWritable,
    ObjectAdopted, ObjectDeprovisioned, ObjectProvisioned, ObjectUpdated, Operation, OutcomeContext, OutcomeEvent,
    OutcomeRecord, OwnerChanged,
};
use crate::tenant::{DomainsObserved, TenantContext, TenantEvent, TenantRecord};
use crate::{Envelope, EventBody, EventId};

fn guid(n: u8) -> ObjectGuid {
    ObjectGuid::from_bytes([n; 16])
}

fn anchor(n: u8) -> SourceAnchor {
    SourceAnchor::from_guid(guid(n))
}

fn dn(text: &str) -> Dn {
    text.parse().unwrap_or_default()
}

fn wrap<B: EventBody>(context: &B::Context, event: B) -> Envelope<B> {
    Envelope {
        id: EventId::of([event.type_name().as_bytes()]),
        time: Timestamp::UNIX_EPOCH,
        context: context.clone(),
        event,
    }
}

fn controller() -> Controller {
    Controller { dns_name: "dc01.emea.example".into(), invocation_id: InvocationId(guid(9)) }
}

/// A sample of each event of `changes`.
pub fn changes() -> Vec<ChangeRecord> {
    let snapshot = SnapshotId(Uuid::from_bytes([7; 16]));
    let name = dn(r"CN=Müller\, Anna,OU=R&D\; Dept,DC=emea,DC=example");
    let tombstone = dn(r"CN=Anna\0ADEL:01010101-0101-0101-0101-010101010101,CN=Deleted Objects,DC=emea,DC=example");
    let attributes: Attributes = BTreeMap::from([
        ("displayName".into(), vec![AttributeValue::from("Müller, Anna")]),
        ("objectSid".into(), vec![AttributeValue::Binary(vec![1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0])]),
    ]);
    let cursor = Cursor {
        controller: controller(),
        method: Method::Dirsync,
        highest_committed_usn: Usn(4711),
        naming_context: dn("DC=emea,DC=example"),
        flags: 0x8000_0801,
        attributes: vec!["displayName".into(), "name".into()],
        cookie: Cookie::new(b"MSDS".to_vec()),
        snapshot: Some(SnapshotProgress { snapshot, seen: 1 }),
        complete: false,
        passed_over: false,
    };
    let context = ChangeContext {
        forest: "emea".into(),
        naming_context: dn("DC=emea,DC=example"),
        object: Some(guid(1)),
        controller: Some(controller()),
        usn_changed: None,
        when_changed: None,
        trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    };
    [
        ChangeEvent::SnapshotStarted(SnapshotStarted { snapshot, reason: SnapshotReason::First }),
        ChangeEvent::ObjectObserved(ObjectObserved {
            snapshot,
            dn: name.clone(),
            parent: Some(guid(2)),
            attributes: attributes.clone(),
        }),
        ChangeEvent::SnapshotCompleted(SnapshotCompleted { snapshot, seen: 1 }),
        ChangeEvent::ObjectChanged(ObjectChanged {
            dn: name.clone(),
            parent: None,
            set: attributes.clone(),
            cleared: vec!["mail".into()],
        }),
        ChangeEvent::LinkValuesChanged(LinkValuesChanged {
            snapshot: None,
            attribute: "member".into(),
            removed: vec![guid(3)],
            added: vec![guid(4)],
        }),
        ChangeEvent::ObjectDeleted(ObjectDeleted {
            dn: tombstone,
            set: Attributes::new(),
            cleared: vec!["displayName".into()],
        }),
        ChangeEvent::ObjectRestored(ObjectRestored {
            dn: name,
            parent: Some(guid(2)),
            set: attributes,
            cleared: Vec::new(),
        }),
        ChangeEvent::CursorAdvanced(CursorAdvanced { from: Some(EventId(Uuid::from_bytes([5; 16]))), to: cursor }),
        ChangeEvent::ReadingStopped(ReadingStopped {
            cause: StopCause::Rights,
            detail: "the controller answered insufficientAccessRights (50)".into(),
            hint: "grant the account Replicating Directory Changes".into(),
        }),
        ChangeEvent::ReadingResumed(ReadingResumed {}),
    ]
    .into_iter()
    .map(|event| wrap(&context, event))
    .collect()
}

/// Further samples of events of `changes`, for forms that the first one does not show, with a name for each.
pub fn more_changes() -> Vec<(&'static str, ChangeRecord)> {
    let cursor = Cursor {
        controller: controller(),
        method: Method::Usn,
        highest_committed_usn: Usn(4711),
        naming_context: dn("DC=emea,DC=example"),
        flags: 0,
        attributes: vec!["displayName".into(), "name".into()],
        cookie: Cookie::default(),
        snapshot: None,
        complete: true,
        passed_over: true,
    };
    let context = ChangeContext {
        forest: "emea".into(),
        naming_context: dn("DC=emea,DC=example"),
        object: None,
        controller: Some(controller()),
        usn_changed: None,
        when_changed: None,
        trace: None,
    };
    let seen = ChangeContext {
        object: Some(guid(1)),
        usn_changed: Some(Usn(4710)),
        when_changed: Some(Timestamp::UNIX_EPOCH),
        ..context.clone()
    };
    let changed = ObjectChanged {
        dn: dn("CN=Anna,DC=emea,DC=example"),
        parent: None,
        set: Attributes::new(),
        cleared: vec!["mail".into()],
    };
    vec![
        ("CursorAdvanced.usn", wrap(&context, ChangeEvent::CursorAdvanced(CursorAdvanced { from: None, to: cursor }))),
        ("ObjectChanged.usn", wrap(&seen, ChangeEvent::ObjectChanged(changed))),
    ]
}

/// A sample of each event of `decisions`.
pub fn decisions() -> Vec<DecisionRecord> {
    let context = DecisionContext { configuration: "contoso".into() };
    let naming_context = dn("DC=emea,DC=example");
    [
        DecisionEvent::AnchorAssigned(AnchorAssigned {
            forest: "emea".into(),
            naming_context: naming_context.clone(),
            object: guid(1),
            anchor: anchor(1),
            basis: AnchorBasis::ObjectGuid,
        }),
        DecisionEvent::ScopeResolved(ScopeResolved {
            forest: "emea".into(),
            naming_context: naming_context.clone(),
            dn: dn("OU=Staff,DC=emea,DC=example"),
            object: guid(2),
        }),
        DecisionEvent::ConfigurationHeld(ConfigurationHeld {
            reason: HoldReason::ScopeEmpty,
            forest: "emea".into(),
            detail: "nothing is left in the container OU=Staff,DC=emea,DC=example".into(),
            hint: "put objects back, or take it out of the scope".into(),
            emptied: vec![guid(2)],
            bare: Vec::new(),
            naming_context: None,
            snapshot: None,
            doubt: None,
            leaving: None,
        }),
        DecisionEvent::ConfigurationReleased(ConfigurationReleased {
            reason: HoldReason::ScopeEmpty,
            forest: "emea".into(),
            naming_context: None,
            approval: None,
            emptied: Vec::new(),
            bare: Vec::new(),
        }),
        DecisionEvent::FindingRaised(FindingRaised {
            forest: "emea".into(),
            naming_context: naming_context.clone(),
            object: guid(1),
            dn: dn("CN=Anna,OU=Staff,DC=emea,DC=example"),
            blocking: true,
            messages: vec!["groupType: groupType cannot be read".into()],
            findings: Vec::new(),
        }),
        DecisionEvent::FindingCleared(FindingCleared {
            forest: "emea".into(),
            naming_context: naming_context.clone(),
            object: guid(1),
        }),
        DecisionEvent::StreamStopped(StreamStopped {
            stream: "changes.emea.emea.example".into(),
            offset: 4711,
            detail: "the record is no event".into(),
        }),
        DecisionEvent::StreamResumed(StreamResumed { stream: "changes.emea.emea.example".into() }),
        DecisionEvent::FullReadJudged(FullReadJudged {
            forest: "emea".into(),
            naming_context: naming_context.clone(),
            snapshot: SnapshotId(Uuid::from_bytes([7; 16])),
            doubt: Some(Doubt::Attribute { name: "member".into(), missing: 12, known: 40, more: Vec::new() }),
        }),
        DecisionEvent::FullReadApproved(FullReadApproved {
            forest: "emea".into(),
            naming_context: naming_context.clone(),
            snapshot: SnapshotId(Uuid::from_bytes([7; 16])),
            offset: 4711,
            doubt: Some(Doubt::Fewer { missing: 12, known: 40 }),
            approval: EventId(Uuid::from_bytes([8; 16])),
        }),
        DecisionEvent::JoinMade(JoinMade {
            anchor: anchor(1),
            forest: "emea".into(),
            naming_context: naming_context.clone(),
            object: guid(3),
            rule: "mail".into(),
        }),
        DecisionEvent::JoinBroken(JoinBroken {
            anchor: anchor(1),
            forest: "emea".into(),
            naming_context: naming_context.clone(),
            object: guid(3),
        }),
        DecisionEvent::TimerFired(TimerFired {
            forest: "emea".into(),
            naming_context,
            object: guid(1),
            due: Timestamp::UNIX_EPOCH,
        }),
    ]
    .into_iter()
    .map(|event| wrap(&context, event))
    .collect()
}

/// Further samples of events of `decisions`.
pub fn more_decisions() -> Vec<(&'static str, DecisionRecord)> {
    let context = DecisionContext { configuration: "contoso".into() };
    let finding = RuleFinding {
        rule: "mail-duplicate".into(),
        severity: Severity::Error,
        attribute: "mail".into(),
        message: "2 objects have this value; make it unique".into(),
    };
    let raised = FindingRaised {
        forest: "emea".into(),
        naming_context: dn("DC=emea,DC=example"),
        object: guid(1),
        dn: dn("CN=Anna,OU=Staff,DC=emea,DC=example"),
        blocking: false,
        messages: Vec::new(),
        findings: vec![finding],
    };
    let lost = LostValues { name: "manager".into(), missing: 9, known: 9 };
    let held = ConfigurationHeld {
        reason: HoldReason::SourceShrunken,
        forest: "emea".into(),
        detail: "a full read of DC=emea,DC=example showed no member on 12 of the 40 objects that had one".into(),
        hint: "check the rights of the account that reads this forest".into(),
        emptied: Vec::new(),
        bare: Vec::new(),
        naming_context: Some(dn("DC=emea,DC=example")),
        snapshot: Some(SnapshotId(Uuid::from_bytes([7; 16]))),
        doubt: Some(Doubt::Attribute { name: "member".into(), missing: 12, known: 40, more: vec![lost] }),
        leaving: Some(0),
    };
    let released = ConfigurationReleased {
        reason: HoldReason::ScopeEmpty,
        forest: "emea".into(),
        naming_context: None,
        approval: Some(EventId(Uuid::from_bytes([8; 16]))),
        emptied: vec![guid(2)],
        bare: vec![dn("DC=emea,DC=example")],
    };
    vec![
        ("FindingRaised.rules", wrap(&context, DecisionEvent::FindingRaised(raised))),
        ("ConfigurationHeld.full_read", wrap(&context, DecisionEvent::ConfigurationHeld(held))),
        ("ConfigurationReleased.approved", wrap(&context, DecisionEvent::ConfigurationReleased(released))),
    ]
}

/// A sample of each event of `tenant`.
pub fn tenant() -> Vec<TenantRecord> {
    let context =
        TenantContext { configuration: "contoso".into(), tenant: "1d2b7a43-0cf1-4d8e-9a53-0d2c0a1b9c01".into() };
    let observed = DomainsObserved {
        verified: vec!["contoso.com".into(), "contoso.onmicrosoft.com".into()],
        initial: Some("contoso.onmicrosoft.com".into()),
        default: Some("contoso.com".into()),
    };
    vec![wrap(&context, TenantEvent::DomainsObserved(observed))]
}

/// A sample of each event of `control`.
pub fn control() -> Vec<ControlRecord> {
    let context = ControlContext { configuration: "contoso".into(), actor: "anna".into() };
    let activated = ConfigurationActivated {
        revision: 1,
        digest: "af1349b9f5f9a1a6a0404dea36dcc949".into(),
        document: "configuration = \"contoso\"\n".into(),
    };
    let decided = HeldDecided {
        verdict: Verdict::Approve,
        writes: vec![DecidedWrite { anchor: anchor(1), operation: Operation::Delete, cloud_id: None }],
        desired_offset: 4711,
        reason: "the branch in Bern was closed, ticket 4711".into(),
        expires: Timestamp::UNIX_EPOCH,
    };
    let removed = ConfigurationRemoved {
        objects: RemovedObjects::Delete,
        listed: vec![anchor(1), anchor(2)],
        reason: "the forest was merged into another one, ticket 4712".into(),
    };
    let source = SourceDecided {
        verdict: Verdict::Approve,
        forest: "emea".into(),
        naming_context: Some(dn("DC=emea,DC=example")),
        held_offset: 4711,
        seen: SourceSeen::FullRead {
            snapshot: SnapshotId(Uuid::from_bytes([7; 16])),
            doubt: Doubt::Fewer { missing: 12, known: 40 },
        },
        reason: "the branch in Bern was closed, ticket 4711".into(),
        expires: Timestamp::UNIX_EPOCH,
    };
    let events = [
        ControlEvent::ConfigurationActivated(activated),
        ControlEvent::HeldDecided(decided),
        ControlEvent::ConfigurationRemoved(removed),
        ControlEvent::SourceDecided(source),
    ];
    events.into_iter().map(|event| wrap(&context, event)).collect()
}

/// Further samples of events of `control`.
pub fn more_control() -> Vec<(&'static str, ControlRecord)> {
    let context = ControlContext { configuration: "contoso".into(), actor: "anna".into() };
    let event = SourceDecided {
        verdict: Verdict::Reject,
        forest: "emea".into(),
        naming_context: None,
        held_offset: 4711,
        seen: SourceSeen::EmptyScope { emptied: vec![guid(2)], bare: vec![dn("DC=emea,DC=example")] },
        reason: "nobody knows why, ticket 4713".into(),
        expires: Timestamp::UNIX_EPOCH,
    };
    vec![("SourceDecided.scope", wrap(&context, ControlEvent::SourceDecided(event)))]
}

/// A sample of each event of `desired`.
pub fn desired() -> Vec<DesiredRecord> {
    let context = DesiredContext {
        configuration: "contoso".into(),
        rules: "af1349b9".into(),
        offsets: BTreeMap::from([("changes.emea.emea.example".into(), 4712)]),
        trace: None,
    };
    let source = SourceObject { forest: "emea".into(), object: guid(1), dn: dn("CN=Anna,DC=emea,DC=example") };
    [
        DesiredEvent::AttributeFlowDeclared(AttributeFlowDeclared {
            class: CloudClass::Group,
            attributes: vec!["description".into(), "displayName".into()],
            extensions: Vec::new(),
        }),
        DesiredEvent::ObjectDesired(ObjectDesired {
            anchor: anchor(1),
            class: CloudClass::User,
            revision: 3,
            attributes: BTreeMap::from([
                ("accountEnabled".into(), CloudValue::Bool(true)),
                ("businessPhones".into(), CloudValue::List(vec!["+41 44 000 00 00".into()])),
                ("displayName".into(), CloudValue::Text("Anna".into())),
            ]),
            at_creation: CloudAttributes::new(),
            left_alone: Vec::new(),
            manager: Some(anchor(2)),
            owner: None,
            not_writable: vec!["proxyAddresses".into()],
            source: source.clone(),
            joined: Vec::new(),
        }),
        DesiredEvent::ObjectRemoved(ObjectRemoved {
            anchor: anchor(1),
            class: CloudClass::User,
            revision: 4,
            reason: RemovalReason::OutOfScope,
            keep: false,
            source,
        }),
        DesiredEvent::LinkDesired(LinkDesired { group: anchor(3), member: anchor(1) }),
        DesiredEvent::LinkRemoved(LinkRemoved { group: anchor(3), member: anchor(1) }),
    ]
    .into_iter()
    .map(|event| wrap(&context, event))
    .collect()
}

/// Further samples of events of `desired`.
pub fn more_desired() -> Vec<(&'static str, DesiredRecord)> {
    let context = DesiredContext {
        configuration: "contoso".into(),
        rules: "af1349b9".into(),
        offsets: BTreeMap::from([("changes.emea.emea.example".into(), 4712)]),
        trace: None,
    };
    let source = SourceObject { forest: "emea".into(), object: guid(1), dn: dn("CN=Anna,DC=emea,DC=example") };
    let other = SourceObject { forest: "apac".into(), object: guid(4), dn: dn("CN=Anna,DC=apac,DC=example") };
    let extension =
        |name: &str, data_type, multi_valued| ExtensionDeclared { name: name.into(), data_type, multi_valued };
    let declared = AttributeFlowDeclared {
        class: CloudClass::User,
        attributes: vec!["displayName".into(), "extension.costCenter".into()],
        extensions: vec![
            extension("badges", ExtensionType::String, true),
            extension("costCenter", ExtensionType::Integer, false),
        ],
    };
    let desired = ObjectDesired {
        anchor: anchor(1),
        class: CloudClass::User,
        revision: 3,
        attributes: BTreeMap::from([("extension.costCenter".into(), CloudValue::Integer(4711))]),
        at_creation: BTreeMap::from([("usageLocation".into(), CloudValue::Text("CH".into()))]),
        left_alone: vec!["displayName".into()],
        manager: None,
        owner: None,
        not_writable: Vec::new(),
        source: source.clone(),
        joined: vec![other],
    };
    let removed = ObjectRemoved {
        anchor: anchor(1),
        class: CloudClass::User,
        revision: 4,
        reason: RemovalReason::HandedOver,
        keep: true,
        source,
    };
    vec![
        ("AttributeFlowDeclared.extensions", wrap(&context, DesiredEvent::AttributeFlowDeclared(declared))),
        ("ObjectDesired.joined", wrap(&context, DesiredEvent::ObjectDesired(desired))),
        ("ObjectRemoved.kept", wrap(&context, DesiredEvent::ObjectRemoved(removed))),
    ]
}

fn outcome_context() -> OutcomeContext {
    OutcomeContext {
        configuration: "contoso".into(),
        anchor: anchor(1),
        class: CloudClass::User,
        cloud_id: Some("87d349ed-44d7-43e1-9a83-5f2406dee5bd".into()),
        desired_offset: 12,
        request_id: Some("c1a7f3de-6a3b-4a0e-9f43-0a4f6a1f0001".into()),
        status: Some(204),
        trace: None,
    }
}

/// A sample of each event of `outcomes`.
pub fn outcomes() -> Vec<OutcomeRecord> {
    let context = outcome_context();
    let attributes: CloudAttributes = BTreeMap::from([("displayName".into(), CloudValue::Text("Anna".into()))]);
    let change = AttributeChange { before: Some(CloudValue::Text("Ann".into())), after: None };
    let error = ExportError {
        code: "Request_BadRequest".into(),
        attribute: Some("userPrincipalName".into()),
        other: None,
        detail: "another object has this value".into(),
        hint: Some("make the value unique in the directory".into()),
    };
    let operation = Operation::Update;
    [
        OutcomeEvent::ObjectProvisioned(ObjectProvisioned { attributes: attributes.clone() }),
        OutcomeEvent::ObjectUpdated(ObjectUpdated {
            changes: BTreeMap::from([("displayName".into(), change)]),
            uncounted: Vec::new(),
        }),
        OutcomeEvent::ObjectAdopted(ObjectAdopted {
            matched_by: MatchedBy::Anchor,
            pair: None,
            attributes: attributes.clone(),
        }),
        OutcomeEvent::ObjectRestored(outcomes::ObjectRestored { attributes }),
        OutcomeEvent::ObjectDeprovisioned(ObjectDeprovisioned { restorable: true, uncounted: false }),
        OutcomeEvent::ObjectRelinquished(outcomes::ObjectRelinquished {
            code: "directory_synced".into(),
            detail: "the cloud object belongs to Azure AD Connect".into(),
        }),
        OutcomeEvent::ManagerChanged(ManagerChanged { before: None, after: Some(anchor(2)) }),
        OutcomeEvent::OwnerChanged(OwnerChanged { before: None, after: Some(anchor(2)) }),
        OutcomeEvent::MemberAdded(MemberAdded { members: vec![anchor(1)] }),
        OutcomeEvent::MemberRemoved(MemberRemoved {
            members: vec![anchor(1)],
            ended: Vec::new(),
            uncounted: Vec::new(),
        }),
        OutcomeEvent::ExportFailed(ExportFailed {
            operation,
            error: error.clone(),
            attempt: 1,
            retry_at: Timestamp::UNIX_EPOCH,
            members: Vec::new(),
        }),
        OutcomeEvent::ExportHeld(ExportHeld {
            operation: Operation::Delete,
            cause: HoldCause::Guard,
            detail: "12 of 40 users".into(),
            join: None,
        }),
        OutcomeEvent::ExportReleased(ExportReleased { operation: Operation::Delete, detail: "2 of 40 users".into() }),
        OutcomeEvent::DeletionDeferred(DeletionDeferred { until: Timestamp::UNIX_EPOCH, uncounted: false }),
        OutcomeEvent::ExportQuarantined(ExportQuarantined {
            operation: Operation::AddMembers,
            error,
            attempts: 5,
            retry_at: Some(Timestamp::UNIX_EPOCH),
            members: vec![anchor(2)],
        }),
        OutcomeEvent::NotWritable(NotWritable {
            attributes: vec!["proxyAddresses".into()],
            reason: "Graph derives it from mail".into(),
        }),
        OutcomeEvent::ExportStopped(outcomes::ExportStopped {
            cause: outcomes::StopCause::NotAuthenticated,
            detail: "no token: AADSTS7000222".into(),
            hint: "renew the application's secret".into(),
        }),
        OutcomeEvent::ExportResumed(outcomes::ExportResumed {}),
        OutcomeEvent::ConfigurationQuarantined(outcomes::ConfigurationQuarantined {
            cause: outcomes::QuarantineCause::Share,
            failing: 5_200,
            references: 310,
            objects: 9_000,
            pauses: 2,
            retry_at: Timestamp::UNIX_EPOCH,
        }),
        OutcomeEvent::ConfigurationRecovered(outcomes::ConfigurationRecovered { failing: 12 }),
        OutcomeEvent::NotificationSent(outcomes::NotificationSent {
            cause: "quarantined.Request_BadRequest.userPrincipalName".into(),
            channel: "webhook".into(),
            over: false,
            count: 12,
        }),
    ]
    .into_iter()
    .chain(drift())
    .map(|event| wrap(&context, event))
    .collect()
}

/// What others did in the tenant.
fn drift() -> Vec<OutcomeEvent> {
    let read_at = Timestamp::UNIX_EPOCH;
    let city = outcomes::Drifted {
        expected: Some(CloudValue::Text("Bern".into())),
        found: Some(CloudValue::Text("Basel".into())),
        policy: outcomes::DriftPolicy::Report,
    };
    let title = outcomes::Drifted { expected: None, policy: outcomes::DriftPolicy::Enforce, ..city.clone() };
    let attributes = [("city".to_owned(), city), ("jobTitle".to_owned(), title)].into();
    vec![
        OutcomeEvent::DriftFound(outcomes::DriftFound { attributes, read_at }),
        OutcomeEvent::MembersDrifted(outcomes::MembersDrifted {
            added: vec![anchor(1)],
            removed: vec![anchor(2)],
            policy: outcomes::DriftPolicy::Accept,
            read_at,
        }),
        OutcomeEvent::DeletedByOthers(outcomes::DeletedByOthers {
            restorable: true,
            policy: outcomes::DriftPolicy::Report,
            read_at,
        }),
        OutcomeEvent::DriftEnded(outcomes::DriftEnded {
            attributes: vec!["city".into()],
            members: vec![anchor(2)],
            deletion: true,
            read_at,
        }),
        OutcomeEvent::TenantCompared(outcomes::TenantCompared { whole: true }),
    ]
}

/// Further samples of events of `outcomes`: what somebody decided.
pub fn more_outcomes() -> Vec<(&'static str, OutcomeRecord)> {
    let context = outcome_context();
    let change = AttributeChange { before: Some(CloudValue::Bool(true)), after: Some(CloudValue::Bool(false)) };
    let updated = ObjectUpdated {
        changes: BTreeMap::from([("accountEnabled".into(), change)]),
        uncounted: vec![Operation::Disable],
    };
    let held = ExportHeld {
        operation: Operation::Delete,
        cause: HoldCause::Rejected,
        detail: "rejected by anna: still needed".into(),
        join: None,
    };
    let pair = AttributePair { wished: "mail".into(), cloud: "userPrincipalName".into() };
    let adopted = ObjectAdopted {
        matched_by: MatchedBy::Attribute,
        pair: Some(pair.clone()),
        attributes: CloudAttributes::from([("department".into(), CloudValue::Text("Pumps".into()))]),
    };
    let joining = ExportHeld {
        operation: Operation::Join,
        cause: HoldCause::Join,
        detail: "found by mail = userPrincipalName; joins are held until somebody decides".into(),
        join: Some(HeldJoin { cloud_id: guid(9).to_string(), name: "ann@contoso.example".into(), pair }),
    };
    let removed =
        MemberRemoved { members: vec![anchor(1), anchor(2)], ended: vec![anchor(2)], uncounted: vec![anchor(1)] };
    let deleted = ObjectDeprovisioned { restorable: true, uncounted: true };
    let deferred = DeletionDeferred { until: Timestamp::UNIX_EPOCH, uncounted: true };
    vec![
        ("ObjectUpdated.decided", wrap(&context, OutcomeEvent::ObjectUpdated(updated))),
        ("ExportHeld.rejected", wrap(&context, OutcomeEvent::ExportHeld(held))),
        ("MemberRemoved.decided", wrap(&context, OutcomeEvent::MemberRemoved(removed))),
        ("ObjectDeprovisioned.decided", wrap(&context, OutcomeEvent::ObjectDeprovisioned(deleted))),
        ("DeletionDeferred.decided", wrap(&context, OutcomeEvent::DeletionDeferred(deferred))),
        ("ObjectAdopted.pair", wrap(&context, OutcomeEvent::ObjectAdopted(adopted))),
        ("ExportHeld.join", wrap(&context, OutcomeEvent::ExportHeld(joining))),
    ]
}
