//! What an answer means for its object.

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::{
    AttributeChanges, ManagerChanged, MatchedBy, MemberAdded, ObjectAdopted, ObjectDeprovisioned, ObjectProvisioned,
    ObjectRelinquished, ObjectUpdated, Operation, OutcomeEvent,
};
use tokio::time::Instant;

use super::fold::unknown;
use super::plan::Plan;
use super::turn::Note;
use super::verify::not_visible;
use super::{Engine, Flight, NewOutcome, Purpose, Stage, Verify};
use crate::config::SoftMatch;
use crate::error::ProvisionerError;
use crate::store::{ENABLED, Intent, Life, NAME, ObjectRow, WishKind, Write};
use crate::target::{CloudObject, Done, FailureKind, Reply};

impl Engine {
    /// Takes one answer. Whatever it says, the object has another turn.
    pub(super) fn answered(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        reply: Reply,
    ) -> Result<(), ProvisionerError> {
        self.turn.touch(anchor);
        if matches!(flight.purpose, Purpose::Write(_)) {
            self.unanswered.remove(anchor);
        }
        match (&flight.purpose, reply) {
            (Purpose::Roles, Reply::Failed(failure)) if failure.kind == FailureKind::Denied => {
                self.roles_hidden(anchor, flight)
            }
            (_, Reply::Failed(failure)) => self.failed(anchor, flight, &failure),
            (Purpose::LookUp, Reply::Found { live, deleted }) => self.found(anchor, flight, live, deleted),
            (Purpose::Match(rules), Reply::Matches(found)) => self.matched(anchor, flight, rules, found),
            (Purpose::Roles, Reply::Members(roles)) => self.roles_read(anchor, flight, roles.len()),
            (Purpose::Own, Reply::Object(object)) => {
                self.owned(anchor, flight, object.as_ref());
                Ok(())
            }
            (Purpose::Manager, Reply::Manager(id)) => self.manager_read(anchor, flight, id.as_deref()),
            (Purpose::Owners, Reply::Members(ids)) => self.owners_read(anchor, flight, &ids),
            (Purpose::Inherit, Reply::Members(ids)) => self.inherited(anchor, flight, &ids),
            (Purpose::Check, Reply::Members(ids)) => self.checked(anchor, flight, &ids),
            (Purpose::Compare, Reply::Object(object)) => self.compared(anchor, flight, object.as_ref()),
            (Purpose::CompareGone, Reply::Found { live, deleted }) => {
                self.compared_gone(anchor, flight, live.as_ref(), deleted.is_some())
            }
            (Purpose::CompareMembers, Reply::Members(ids)) => self.members_compared(anchor, flight, &ids),
            (Purpose::Verify(intent, answered), reply) => {
                self.verified(anchor, flight, intent, answered.as_ref(), reply)
            }
            (Purpose::Write(write), Reply::Done(done)) => {
                self.went_through();
                self.done(anchor, flight, write, done)
            }
            (Purpose::Write(write), Reply::Each(results)) => self.each(anchor, flight, write, results),
            (purpose, _) => {
                tracing::error!(?purpose, "an answer does not fit its question");
                self.turn.clear_intent(anchor);
                Ok(())
            }
        }
    }

    /// A write went through: the application may write, and the tenant does not ask for less.
    pub(super) fn went_through(&mut self) {
        self.pace.went_through();
        self.denied.clear();
        self.writes = true;
        self.denial.end();
    }

    fn found(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        live: Option<CloudObject>,
        deleted: Option<CloudObject>,
    ) -> Result<(), ProvisionerError> {
        let Some(row) = self.store.object(anchor)? else { return Ok(()) };
        let Some(wish) = &row.wish else { return Ok(()) };
        if wish.lets_go() || (wish.is_removal() && !row.is_managed() && row.maybe.is_none()) {
            // not wished any more, and never ours or ours no longer
            return Ok(());
        }
        if let Some((code, detail)) = live.as_ref().or(deleted.as_ref()).and_then(foreign) {
            if wish.is_removal() {
                self.turn.note(Note::MaybeObject(anchor.clone(), None));
            } else if let Plan::Report(outcome) = self.refuse(anchor, &row, wish, Operation::Create, code, None, detail)
            {
                self.turn.outcome(outcome);
            }
            return Ok(());
        }
        let stage = self.stages.remove(anchor);
        match (live, deleted) {
            (Some(object), _) => self.adopt(anchor, flight, object, None, None),
            // soon after it was made it may be there and not be found
            (None, None) if row.is_managed() && self.is_recent(row.made) => {
                self.object_failed(anchor, flight, Operation::Update, &not_visible())?;
            }
            // somebody deleted what we manage; from here on it is as if we had
            (None, deleted) if row.is_managed() => {
                let restorable = deleted.is_some();
                let ours = OutcomeEvent::ObjectDeprovisioned(ObjectDeprovisioned { restorable, uncounted: false });
                let event = self.deleted_by_others(restorable).unwrap_or(ours);
                self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
            }
            (None, _) if wish.is_removal() => self.not_created(anchor, &row),
            (None, Some(_)) if matches!(stage, Some(Stage::Purged)) => {
                // it could not be brought back and is listed all the same: one of the two answers is late
                self.object_failed(anchor, flight, Operation::Restore, &not_visible())?;
            }
            (None, Some(object)) => {
                self.stages.insert(anchor.clone(), Stage::Trash(object.id));
            }
            (None, None) if matches!(stage, Some(Stage::Upserted)) => {
                self.object_failed(anchor, flight, Operation::Create, &not_visible())?;
                self.stages.insert(anchor.clone(), Stage::Upserted);
            }
            (None, None) => {
                // the list of deleted objects lags; the one we deleted may be brought back all the same
                let ours = row.cloud_id.clone().filter(|_| row.life == Life::Deleted);
                let next = match (stage, ours) {
                    (Some(Stage::Purged), _) | (_, None) => Stage::Absent,
                    (_, Some(id)) => Stage::Trash(id),
                };
                self.stages.insert(anchor.clone(), next);
            }
        }
        Ok(())
    }

    /// What was to be created and is to go again was not found. Soon after the attempt that means little.
    fn not_created(&mut self, anchor: &SourceAnchor, row: &ObjectRow) {
        if row.maybe.is_some_and(|at| self.is_recent(at)) {
            let again = Instant::now() + self.config.tenant.retry_longest;
            self.stages.insert(anchor.clone(), Stage::Looked(again));
        } else {
            self.turn.note(Note::MaybeObject(anchor.clone(), None));
        }
    }

    /// Takes the look at an object that is to be deleted. One that another has taken over is let go.
    fn owned(&mut self, anchor: &SourceAnchor, flight: &Flight, object: Option<&CloudObject>) {
        match object.and_then(foreign) {
            Some((code, detail)) => {
                let event = ObjectRelinquished { code: code.to_owned(), detail: detail.to_owned() };
                let event = OutcomeEvent::ObjectRelinquished(event);
                self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
            }
            None => {
                self.stages.insert(anchor.clone(), Stage::Ours(Instant::now()));
            }
        }
    }

    /// Takes the manager that an adopted user has: none, the one that is wished, or one that has to be replaced.
    fn manager_read(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        id: Option<&str>,
    ) -> Result<(), ProvisionerError> {
        let row = self.store.object(anchor)?;
        let has_failed = row.as_ref().is_some_and(|row| row.lead_failure().is_some());
        let wished = row.and_then(|row| match &row.wish.as_ref()?.kind {
            WishKind::Present { manager, .. } => manager.clone(),
            WishKind::Removed { .. } | WishKind::LetGo { .. } => None,
        });
        let wished_id = match &wished {
            Some(manager) => self.store.object(manager)?.and_then(|m| m.cloud_id.clone()),
            None => None,
        };
        let is_as_wished = id == wished_id.as_deref() && wished.is_some() == wished_id.is_some();
        let manager = match id {
            None => None,
            Some(_) if id == wished_id.as_deref() => wished,
            Some(_) => Some(unknown()),
        };
        if has_failed && is_as_wished {
            // a write that was said to have failed had its effect: that is over, and has to be said
            let event = OutcomeEvent::ManagerChanged(ManagerChanged { before: None, after: manager });
            self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
            return Ok(());
        }
        self.turn.note(Note::Manager(anchor.clone(), manager));
        Ok(())
    }

    /// Takes an object over that was there: by the anchor that it carries, or by what `rule` found it.
    pub(super) fn adopt(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        object: CloudObject,
        rule: Option<&SoftMatch>,
        done: Option<&Done>,
    ) {
        if flight.class == CloudClass::Group {
            self.stages.insert(anchor.clone(), Stage::Inherited { members_read: false });
        }
        let matched_by = rule.map_or(MatchedBy::Anchor, SoftMatch::matched_by);
        let pair = rule.map(SoftMatch::pair);
        let event = OutcomeEvent::ObjectAdopted(ObjectAdopted { matched_by, pair, attributes: object.attributes });
        let mut outcome = NewOutcome::after(anchor, flight, done, event);
        outcome.cloud_id = Some(object.id);
        self.turn.outcome(outcome);
    }

    /// A single write took effect.
    pub(super) fn done(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        write: &Write,
        done: Done,
    ) -> Result<(), ProvisionerError> {
        let mut cloud_id = flight.cloud_id.clone();
        let event = match write {
            Write::Create { attributes } => {
                self.stages.remove(anchor);
                if done.id.is_none() {
                    // the group was there already and was updated; reading it tells which it is
                    self.turn.clear_intent(anchor);
                    self.stages.insert(anchor.clone(), Stage::Upserted);
                    return Ok(());
                }
                cloud_id.clone_from(&done.id);
                OutcomeEvent::ObjectProvisioned(ObjectProvisioned { attributes: attributes.clone() })
            }
            Write::Adopt { .. } => {
                self.turn.clear_intent(anchor);
                if let Some(Stage::Matched { object, rule, .. }) = self.stages.remove(anchor) {
                    self.adopt(anchor, flight, *object, Some(&rule), Some(&done));
                }
                return Ok(());
            }
            Write::Restore { .. } => {
                // what it holds now is read before anything is said
                let intent = Intent { offset: flight.offset, write: write.clone() };
                let verify =
                    Verify { intent, answered: Some(done), tries: 0, not_before: Instant::now(), quiet: false };
                self.stages.insert(anchor.clone(), Stage::Verify(verify));
                return Ok(());
            }
            Write::Update { changes } => self.updated(anchor, changes)?,
            Write::Delete => self.deprovisioned(anchor, done.status != 404)?,
            Write::SetManager { before, after } => {
                OutcomeEvent::ManagerChanged(ManagerChanged { before: before.clone(), after: after.clone() })
            }
            Write::AddOwner { owner } => self.owner_event(anchor, owner, true)?,
            Write::RemoveOwner { owner } => self.owner_event(anchor, owner, false)?,
            Write::AddMembers { members, .. } | Write::RemoveMembers { members } => {
                OutcomeEvent::MemberAdded(MemberAdded { members: members.clone() })
            }
        };
        self.turn.clear_intent(anchor);
        let mut outcome = NewOutcome::after(anchor, flight, Some(&done), event);
        outcome.cloud_id = cloud_id;
        self.turn.outcome(outcome);
        Ok(())
    }

    /// The event for these changes of an object.
    pub(super) fn updated(
        &self,
        anchor: &SourceAnchor,
        changes: &AttributeChanges,
    ) -> Result<OutcomeEvent, ProvisionerError> {
        let mut uncounted = Vec::new();
        if let Some(row) = self.store.object(anchor)? {
            let guarded = [(Operation::Disable, ENABLED), (Operation::Rename, NAME)];
            let written = guarded.into_iter().filter(|(_, name)| changes.contains_key(*name));
            uncounted.extend(
                written.map(|(operation, _)| operation).filter(|operation| self.is_uncounted(anchor, &row, *operation)),
            );
        }
        Ok(OutcomeEvent::ObjectUpdated(ObjectUpdated { changes: changes.clone(), uncounted }))
    }

    /// The event for the deletion of an object.
    pub(super) fn deprovisioned(
        &self,
        anchor: &SourceAnchor,
        restorable: bool,
    ) -> Result<OutcomeEvent, ProvisionerError> {
        let row = self.store.object(anchor)?;
        let uncounted = row.is_some_and(|row| self.is_uncounted(anchor, &row, Operation::Delete));
        Ok(OutcomeEvent::ObjectDeprovisioned(ObjectDeprovisioned { restorable, uncounted }))
    }
}

/// Why an object is not ours to write, if it is not.
pub(super) fn foreign(object: &CloudObject) -> Option<(&'static str, &'static str)> {
    if object.synced {
        Some(("directory_synced", "the cloud object belongs to Azure AD Connect"))
    } else if object.mail_enabled {
        Some(("mail_enabled", "the cloud group has mail; Graph cannot write it"))
    } else {
        None
    }
}
