//! What an outcome means for the ledger. The same when it was just written and when a ledger is rebuilt.

use forestsync_domain::SourceAnchor;
use forestsync_rules::diff;
use forestsync_schemas::OutcomeRecord;
use forestsync_schemas::desired::CloudAttributes;
use forestsync_schemas::outcomes::{ExportError, Operation, OutcomeContext, OutcomeEvent};
use forestsync_schemas::{EventBody as _, desired::CloudClass};

use crate::store::{Failed, Life, ObjectRow, Removal, Removed, StoreError, Tx};

/// Folds the outcome at `offset` in.
pub(crate) fn fold(tx: &mut Tx<'_>, offset: u64, record: &OutcomeRecord) -> Result<(), StoreError> {
    let context = &record.context;
    let (anchor, class) = (&context.anchor, context.class);
    match &record.event {
        OutcomeEvent::ObjectProvisioned(e) => {
            if tx.object(anchor, class)?.cloud_id != context.cloud_id {
                forget_memberships(tx, anchor)?;
            }
            come_alive(tx.object(anchor, class)?, context, &e.attributes);
            tx.object(anchor, class)?.manager = None;
        }
        OutcomeEvent::ObjectAdopted(e) => {
            if tx.object(anchor, class)?.cloud_id != context.cloud_id {
                forget_memberships(tx, anchor)?;
                tx.object(anchor, class)?.manager = None;
            }
            come_alive(tx.object(anchor, class)?, context, &e.attributes);
        }
        OutcomeEvent::ObjectRestored(e) => {
            let row = tx.object(anchor, class)?;
            come_alive(row, context, &e.attributes);
            // whether it came back with the manager it had is not documented, so that is written in any case
            row.manager = row.manager.as_ref().map(|_| unknown());
        }
        OutcomeEvent::ObjectUpdated(e) => {
            let row = tx.object(anchor, class)?;
            row.confirmed = diff::apply(&row.confirmed, &e.changes);
            row.failed = None;
        }
        OutcomeEvent::ObjectDeprovisioned(_) => {
            let row = tx.object(anchor, class)?;
            (row.life, row.failed, row.held) = (Life::Deleted, None, None);
            (row.manager_failed, row.members_held) = (None, None);
            for group in tx.groups_of(anchor)? {
                tx.edge(&group, anchor)?.confirmed = false;
            }
            let removal = Removal { at: record.time.as_millisecond(), what: Removed::Object(class) };
            tx.remember(offset, removal);
        }
        OutcomeEvent::ManagerChanged(e) => {
            let row = tx.object(anchor, class)?;
            (row.manager, row.manager_failed) = (e.after.clone(), None);
        }
        OutcomeEvent::MemberAdded(e) => {
            for member in &e.members {
                let edge = tx.edge(anchor, member)?;
                (edge.confirmed, edge.failed) = (true, None);
            }
        }
        OutcomeEvent::MemberRemoved(e) => {
            for member in &e.members {
                let leaves = tx.find(member)?.is_some_and(|row| row.is_leaving());
                let edge = tx.edge(anchor, member)?;
                (edge.confirmed, edge.failed) = (false, None);
                if edge.wish == Some(false) && !edge.ended && !leaves {
                    let what = Removed::MemberOf(anchor.clone());
                    tx.remember(offset, Removal { at: record.time.as_millisecond(), what });
                }
            }
        }
        OutcomeEvent::ExportFailed(e) => {
            let failed = failed(context, e.operation, &e.error, e.attempt, e.retry_at.as_millisecond(), false);
            set_failed(tx, context, failed)?;
        }
        OutcomeEvent::ExportQuarantined(e) => {
            set_failed(tx, context, failed(context, e.operation, &e.error, e.attempts, 0, true))?;
        }
        OutcomeEvent::ExportHeld(e) => *held(tx.object(anchor, class)?, e.operation) = Some(e.detail.clone()),
        OutcomeEvent::ExportReleased(e) => *held(tx.object(anchor, class)?, e.operation) = None,
        OutcomeEvent::NotWritable(e) => tx.object(anchor, class)?.reported = Some(e.attributes.clone()),
    }
    count(tx, class, record.event.type_name(), offset)
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
    (row.failed, row.manager_failed, row.held) = (None, None, None);
}

/// A manager that nobody can be, so that it differs from every wish.
fn unknown() -> SourceAnchor {
    SourceAnchor::from(String::new())
}

/// A new cloud object has no memberships, whatever its predecessor had.
fn forget_memberships(tx: &mut Tx<'_>, anchor: &SourceAnchor) -> Result<(), StoreError> {
    for member in tx.members_of(anchor)? {
        tx.edge(anchor, &member)?.confirmed = false;
    }
    for group in tx.groups_of(anchor)? {
        tx.edge(&group, anchor)?.confirmed = false;
    }
    Ok(())
}

fn held(row: &mut ObjectRow, operation: Operation) -> &mut Option<String> {
    if operation == Operation::RemoveMembers { &mut row.members_held } else { &mut row.held }
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
        attribute: error.attribute.clone(),
    }
}

/// Failures of memberships are kept with the membership by who saw them; an outcome names the group only.
fn set_failed(tx: &mut Tx<'_>, context: &OutcomeContext, failed: Failed) -> Result<(), StoreError> {
    let row = tx.object(&context.anchor, context.class)?;
    match failed.operation {
        Operation::AddMembers | Operation::RemoveMembers => {}
        Operation::SetManager => row.manager_failed = Some(failed),
        _ => row.failed = Some(failed),
    }
    Ok(())
}
