//! What an outcome means for the ledger. The same when it was just written and when a ledger is rebuilt.

use std::collections::BTreeMap;

use forestsync_domain::SourceAnchor;
use forestsync_rules::diff;
use forestsync_schemas::EventBody as _;
use forestsync_schemas::OutcomeRecord;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue};
use forestsync_schemas::outcomes::{
    AttributeChange, AttributeChanges, DriftEnded, DriftFound, DriftPolicy, ExportError, MatchedBy, MembersDrifted,
    Operation, OutcomeContext, OutcomeEvent,
};

use crate::store::{
    Deferral, ENABLED, EdgeDrift, Failed, Held, Life, Lost, Meta, NAME, ObjectRow, Quarantine, Removal, Removed,
    StoreError, Tx,
};

/// Folds the outcome at `offset` in.
pub(crate) fn fold(tx: &mut Tx<'_>, offset: u64, record: &OutcomeRecord) -> Result<(), StoreError> {
    let context = &record.context;
    let (anchor, class) = (&context.anchor, context.class);
    let at = record.time.as_millisecond();
    // whoever wrote it had taken in everything up to this wish
    let settled = context.desired_offset + 1;
    match &record.event {
        OutcomeEvent::ObjectProvisioned(e) => {
            if tx.object(anchor, class)?.cloud_id != context.cloud_id {
                forget_memberships(tx, anchor)?;
            }
            let row = tx.object(anchor, class)?;
            come_alive(row, context, &e.attributes);
            (row.manager, row.made, row.written) = (None, at, at);
            row.owners.clear();
            row.settled = row.settled.max(settled);
        }
        OutcomeEvent::ObjectAdopted(e) => {
            if tx.object(anchor, class)?.cloud_id != context.cloud_id {
                forget_memberships(tx, anchor)?;
                let row = tx.object(anchor, class)?;
                row.manager = (class == CloudClass::User).then(unread);
                // those that it has are others' owners, and left alone, unless it was ours before this ledger
                if row.cloud_id.is_some() || e.matched_by != MatchedBy::Anchor {
                    row.owners.clear();
                }
            }
            let row = tx.object(anchor, class)?;
            let same = row.is_managed() && row.cloud_id == context.cloud_id;
            let drift = same.then(|| (row.drift.clone(), row.drift_policies.clone()));
            come_alive(row, context, &e.attributes);
            if let Some(drift) = drift {
                keep_drift(row, drift);
            }
            row.written = at;
            if e.matched_by != MatchedBy::Anchor {
                // the anchor that it was given may not be seen everywhere yet
                row.made = at;
            }
            row.settled = row.settled.max(settled);
        }
        OutcomeEvent::ObjectRestored(e) => {
            let row = tx.object(anchor, class)?;
            come_alive(row, context, &e.attributes);
            row.written = at;
            // whether it came back with the manager it had is not documented, so that is written in any case
            row.manager = row.manager.as_ref().map(|_| unknown());
            row.made = at;
            row.settled = row.settled.max(settled);
        }
        OutcomeEvent::ObjectRelinquished(_) => {
            forget_memberships(tx, anchor)?;
            tx.object(anchor, class)?.let_go(settled);
        }
        OutcomeEvent::ObjectUpdated(e) => {
            let row = tx.object(anchor, class)?;
            row.confirmed = diff::apply(&row.confirmed, &e.changes);
            (row.failed, row.written) = (None, at);
            for name in e.changes.keys() {
                row.unsure.remove(name);
                row.drift.remove(name);
                row.drift_policies.remove(name);
            }
            row.settled = row.settled.max(settled);
            for what in account_changes(class, &e.changes, &e.uncounted) {
                tx.remember(offset, Removal { at, what });
            }
        }
        OutcomeEvent::ObjectDeprovisioned(e) => {
            let row = tx.object(anchor, class)?;
            is_deleted(row);
            row.settled = row.settled.max(settled);
            // what is restored comes back with the memberships that it had (graph.md section 6), and whether it can be is
            // not certain where the tenant answered that it is not there; what is made anew has none
            if !e.uncounted {
                tx.remember(offset, Removal { at, what: Removed::Object(class) });
            }
        }
        OutcomeEvent::DeletionDeferred(e) => {
            let row = tx.object(anchor, class)?;
            row.held.remove(&Operation::Delete);
            row.deferral = Some(Deferral { until: e.until.as_millisecond(), offset: context.desired_offset });
            if !e.uncounted {
                tx.remember(offset, Removal { at, what: Removed::Object(class) });
            }
        }
        OutcomeEvent::ManagerChanged(e) => {
            let row = tx.object(anchor, class)?;
            (row.manager, row.lead_failed) = (e.after.clone(), None);
            row.lead_settled = row.lead_settled.max(settled);
        }
        OutcomeEvent::OwnerChanged(e) => {
            let row = tx.object(anchor, class)?;
            if let Some(owner) = &e.before {
                row.own(owner, false);
            }
            if let Some(owner) = &e.after {
                row.own(owner, true);
                // one that only remains was made earlier
                row.owner_made = if e.before.is_none() { at } else { row.owner_made };
            }
            row.lead_failed = None;
            row.lead_settled = row.lead_settled.max(settled);
        }
        OutcomeEvent::MemberAdded(e) => {
            for member in &e.members {
                let edge = tx.edge(anchor, member)?;
                edge.settle(true);
                edge.added = at;
                edge.settled = edge.settled.max(settled);
            }
        }
        OutcomeEvent::MemberRemoved(e) => {
            for member in &e.members {
                let edge = tx.edge(anchor, member)?;
                edge.settle(false);
                edge.removed = at;
                edge.settled = edge.settled.max(settled);
                // told by the outcome: a ledger that is brought up to date may not know the wish behind it yet
                if !e.ended.contains(member) && !e.uncounted.contains(member) {
                    let what = Removed::MemberOf(anchor.clone());
                    tx.remember(offset, Removal { at, what });
                }
            }
        }
        OutcomeEvent::ExportFailed(e) => {
            let retry_at = e.retry_at.as_millisecond();
            let failed = failed(context, e.operation, &e.error, e.attempt, retry_at, false);
            note_failed(tx, context, failed, &e.members, at)?;
        }
        OutcomeEvent::ExportQuarantined(e) => {
            let retry_at = e.retry_at.map_or(0, jiff::Timestamp::as_millisecond);
            let failed = failed(context, e.operation, &e.error, e.attempts, retry_at, true);
            note_failed(tx, context, failed, &e.members, at)?;
        }
        OutcomeEvent::ExportHeld(e) => {
            let held = Held { cause: e.cause, detail: e.detail.clone(), join: e.join.clone() };
            let row = tx.object(anchor, class)?;
            // what had failed too often has all its attempts again once it may go: else nobody would hear of it any more
            row.failed.take_if(|failed| failed.operation == e.operation);
            row.held.insert(e.operation, held);
        }
        OutcomeEvent::ExportReleased(e) => {
            tx.object(anchor, class)?.held.remove(&e.operation);
        }
        OutcomeEvent::NotWritable(e) => tx.object(anchor, class)?.reported = Some(e.attributes.clone()),
        OutcomeEvent::ExportStopped(_)
        | OutcomeEvent::ExportResumed(_)
        | OutcomeEvent::ConfigurationQuarantined(_)
        | OutcomeEvent::ConfigurationRecovered(_)
        | OutcomeEvent::NotificationSent(_)
        | OutcomeEvent::TenantCompared(_) => {
            of_all(tx.meta()?, offset, at, &record.event);
            return Ok(());
        }
        OutcomeEvent::DriftFound(e) => drifted(tx.object(anchor, class)?, e),
        OutcomeEvent::MembersDrifted(e) => members_drifted(tx, anchor, e)?,
        OutcomeEvent::DeletedByOthers(e) => {
            let row = tx.object(anchor, class)?;
            let since = row.lost.map_or(e.read_at.as_millisecond(), |lost| lost.since);
            is_deleted(row);
            row.lost = Some(Lost { policy: e.policy, since, offset: context.desired_offset });
        }
        OutcomeEvent::DriftEnded(e) => drift_ended(tx, anchor, class, e)?,
    }
    count(tx, class, record.event.type_name(), offset)
}

/// What concerns the configuration as a whole belongs to no class.
fn of_all(meta: &mut Meta, offset: u64, at: i64, event: &OutcomeEvent) {
    meta.outcomes_next = offset + 1;
    match event {
        OutcomeEvent::ExportStopped(e) => meta.stopped = Some(e.cause),
        OutcomeEvent::ExportResumed(_) => meta.stopped = None,
        OutcomeEvent::ConfigurationQuarantined(e) => {
            let since = meta.quarantine.as_ref().map_or(at, |before| before.since);
            meta.quarantine = Some(Quarantine { since, pauses: e.pauses, retry_at: e.retry_at.as_millisecond() });
        }
        OutcomeEvent::ConfigurationRecovered(_) => meta.quarantine = None,
        OutcomeEvent::NotificationSent(e) => {
            meta.told.retain(|(cause, channel)| (cause, channel) != (&e.cause, &e.channel));
            if !e.over {
                meta.told.push((e.cause.clone(), e.channel.clone()));
            }
        }
        _ => {}
    }
}

fn count(tx: &mut Tx<'_>, class: CloudClass, kind: &str, offset: u64) -> Result<(), StoreError> {
    let meta = tx.meta()?;
    meta.outcomes_next = offset + 1;
    match meta.outcomes.iter_mut().find(|(c, k, _)| *c == class && k == kind) {
        Some((_, _, count)) => *count += 1,
        None => meta.outcomes.push((class, kind.to_owned(), 1)),
    }
    Ok(())
}

fn come_alive(row: &mut ObjectRow, context: &OutcomeContext, attributes: &CloudAttributes) {
    row.class = context.class;
    row.life = Life::Managed;
    row.cloud_id.clone_from(&context.cloud_id);
    row.confirmed.clone_from(attributes);
    (row.failed, row.lead_failed, row.maybe, row.deferral) = (None, None, None, None);
    row.unsure.clear();
    forget_drift(row);
    // what is held of its members has an end of its own
    row.held.retain(|operation, _| *operation == Operation::RemoveMembers);
}

/// What others changed of an attribute is what the tenant holds where it is to be undone; else what was written last
/// still counts, so that nothing is written before that is to be something else.
fn drifted(row: &mut ObjectRow, found: &DriftFound) {
    for (name, drifted) in &found.attributes {
        let held = if drifted.policy == DriftPolicy::Enforce { &drifted.found } else { &drifted.expected };
        put(&mut row.confirmed, name, held.as_ref());
        let change = AttributeChange { before: drifted.expected.clone(), after: drifted.found.clone() };
        let same = row.drift.get(name) == Some(&change);
        let known = row.drift_policies.get(name).map(|(_, since)| *since).filter(|_| same);
        row.drift.insert(name.clone(), change);
        row.drift_policies.insert(name.clone(), (drifted.policy, known.unwrap_or(found.read_at.as_millisecond())));
    }
}

/// Gives an attribute this value, or none.
pub(super) fn put(attributes: &mut CloudAttributes, name: &str, value: Option<&CloudValue>) {
    match value {
        Some(value) => _ = attributes.insert(name.to_owned(), value.clone()),
        None => _ = attributes.remove(name),
    }
}

/// An object that was found again holds what others changed as well; that stays what it is.
fn keep_drift(row: &mut ObjectRow, (drift, policies): (AttributeChanges, BTreeMap<String, (DriftPolicy, i64)>)) {
    for (name, (policy, _)) in &policies {
        if let Some(change) = drift.get(name).filter(|_| *policy != DriftPolicy::Enforce) {
            put(&mut row.confirmed, name, change.before.as_ref());
        }
    }
    (row.drift, row.drift_policies) = (drift, policies);
}

/// Whoever deleted it.
fn is_deleted(row: &mut ObjectRow) {
    (row.life, row.failed, row.lead_failed) = (Life::Deleted, None, None);
    row.held.clear();
    (row.deferral, row.maybe) = (None, None);
    forget_drift(row);
}

fn forget_drift(row: &mut ObjectRow) {
    row.drift.clear();
    row.drift_policies.clear();
    row.lost = None;
}

fn members_drifted(tx: &mut Tx<'_>, group: &SourceAnchor, found: &MembersDrifted) -> Result<(), StoreError> {
    let of = |members: &[SourceAnchor], present| members.iter().map(|m| (m.clone(), present)).collect::<Vec<_>>();
    for (member, present) in of(&found.added, true).into_iter().chain(of(&found.removed, false)) {
        let edge = tx.edge(group, &member)?;
        edge.confirmed = present == (found.policy == DriftPolicy::Enforce);
        let since = edge.drift.filter(|drift| drift.present == present).map(|drift| drift.since);
        let since = since.unwrap_or(found.read_at.as_millisecond());
        edge.drift = Some(EdgeDrift { present, policy: found.policy, since });
    }
    Ok(())
}

fn drift_ended(
    tx: &mut Tx<'_>,
    anchor: &SourceAnchor,
    class: CloudClass,
    ended: &DriftEnded,
) -> Result<(), StoreError> {
    let row = tx.object(anchor, class)?;
    for name in &ended.attributes {
        row.drift_policies.remove(name);
        if let Some(change) = row.drift.remove(name) {
            put(&mut row.confirmed, name, change.before.as_ref());
        }
    }
    if ended.deletion {
        row.lost = None;
    }
    for member in &ended.members {
        let edge = tx.edge(anchor, member)?;
        if let Some(drift) = edge.drift.take() {
            edge.confirmed = !drift.present;
        }
    }
    Ok(())
}

/// The changes of an account that the guards count.
fn account_changes(
    class: CloudClass,
    changes: &AttributeChanges,
    uncounted: &[Operation],
) -> impl Iterator<Item = Removed> {
    let is_user = class == CloudClass::User;
    let disabled = changes.get(ENABLED).is_some_and(|change| {
        change.after == Some(CloudValue::Bool(false)) && change.before != Some(CloudValue::Bool(false))
    });
    let renamed = changes.get(NAME).is_some_and(|change| change.before.is_some() && change.after.is_some());
    let of = [(disabled, Operation::Disable, Removed::Disabled), (renamed, Operation::Rename, Removed::Renamed)];
    let counted = of.map(|(is, operation, what)| (is && is_user && !uncounted.contains(&operation)).then_some(what));
    counted.into_iter().flatten()
}

/// A manager that nobody can be, so that it differs from every wish.
pub(super) fn unknown() -> SourceAnchor {
    SourceAnchor::from(String::new())
}

/// The manager of a user that was there before us: it is read first.
pub(super) fn unread() -> SourceAnchor {
    SourceAnchor::from("?".to_owned())
}

/// A new cloud object has no memberships, whatever its predecessor had; those of one that was let go are nobody's here.
pub(super) fn forget_memberships(tx: &mut Tx<'_>, anchor: &SourceAnchor) -> Result<(), StoreError> {
    let of = tx.groups_of(anchor)?.into_iter().map(|group| (group, anchor.clone()));
    let with = tx.members_of(anchor)?.into_iter().map(|member| (anchor.clone(), member));
    for (group, member) in of.chain(with).collect::<Vec<_>>() {
        let edge = tx.edge(&group, &member)?;
        // nor does it fail as that one did
        edge.settle(false);
    }
    Ok(())
}

fn failed(
    context: &OutcomeContext,
    operation: Operation,
    error: &ExportError,
    attempts: u32,
    retry_at: i64,
    quarantined: bool,
) -> Failed {
    Failed {
        operation,
        attempts,
        retry_at,
        quarantined,
        offset: context.desired_offset,
        code: error.code.clone(),
        status: context.status,
        attribute: error.attribute.clone(),
        other: error.other.clone(),
    }
}

/// A failure belongs to the members it names, else to the object.
fn note_failed(
    tx: &mut Tx<'_>,
    context: &OutcomeContext,
    failed: Failed,
    members: &[SourceAnchor],
    at: i64,
) -> Result<(), StoreError> {
    for member in members {
        let edge = tx.edge(&context.anchor, member)?;
        edge.maybe |= failed.operation == Operation::AddMembers;
        edge.failed = Some(failed.clone());
    }
    let row = tx.object(&context.anchor, context.class)?;
    // what nobody asked the tenant for has no attempts
    if failed.operation == Operation::Create && failed.attempts > 0 && !row.is_managed() {
        row.maybe = Some(at);
    }
    set_failed(row, failed);
    Ok(())
}

/// Puts a failure of the object, or of its manager or owner, in its place.
pub(super) fn set_failed(row: &mut ObjectRow, failed: Failed) {
    match failed.operation {
        Operation::AddMembers | Operation::RemoveMembers => {}
        Operation::SetManager | Operation::SetOwner => row.lead_failed = Some(failed),
        _ => row.failed = Some(failed),
    }
}
