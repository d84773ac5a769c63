//! What an answer means for its object.

use forestsync_domain::SourceAnchor;
use forestsync_schemas::outcomes::{
    ManagerChanged, MatchedBy, MemberAdded, ObjectAdopted, ObjectDeprovisioned, ObjectProvisioned, ObjectUpdated,
    Operation, OutcomeEvent,
};
use tokio::time::Instant;

use super::plan::{Plan, choose};
use super::{Engine, Flight, NewOutcome, Purpose, Stage, Verify};
use crate::error::ProvisionerError;
use crate::store::{Intent, Write};
use crate::target::{CloudObject, Done, Reply};

impl Engine {
    /// Takes one answer. Whatever it says, the object has another turn.
    pub(super) fn answered(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        reply: Reply,
    ) -> Result<(), ProvisionerError> {
        self.turn.touch(anchor);
        match (&flight.purpose, reply) {
            (_, Reply::Failed(failure)) => self.failed(anchor, flight, &failure),
            (Purpose::LookUp, Reply::Found { live, deleted }) => self.found(anchor, flight, live, deleted),
            (Purpose::Match, Reply::Matches { by_name, by_mail }) => {
                let stage = match choose(by_name, by_mail) {
                    Some((object, by)) => Stage::Matched(Box::new(object), by),
                    None => Stage::NoMatch,
                };
                self.stages.insert(anchor.clone(), stage);
                Ok(())
            }
            (Purpose::Check, Reply::Members(ids)) => self.checked(anchor, flight, &ids),
            (Purpose::Verify(intent, answered), reply) => {
                self.verified(anchor, flight, intent, answered.as_ref(), reply)
            }
            (Purpose::Write(write), Reply::Done(done)) => {
                self.went_through();
                self.done(anchor, flight, write, done);
                Ok(())
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
        let Some(wish) = row.wish.clone() else { return Ok(()) };
        let candidate = live.as_ref().or(deleted.as_ref());
        let refusal = match candidate {
            Some(o) if o.synced => Some(("directory_synced", "the cloud object belongs to Azure AD Connect")),
            Some(o) if o.mail_enabled => Some(("mail_enabled", "the cloud group has mail; Graph cannot write it")),
            _ => None,
        };
        if let Some((code, detail)) = refusal {
            if let Plan::Report(outcome) = self.refuse(anchor, &row, &wish, Operation::Create, code, None, detail) {
                self.turn.outcome(outcome);
            }
            return Ok(());
        }
        match (live, deleted) {
            (Some(object), _) => {
                self.stages.remove(anchor);
                self.adopt(anchor, flight, object, MatchedBy::Anchor, None);
            }
            // somebody deleted what we manage; from here on it is as if we had
            (None, deleted) if row.is_managed() => {
                let event = ObjectDeprovisioned { restorable: deleted.is_some() };
                let event = OutcomeEvent::ObjectDeprovisioned(event);
                self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
            }
            (None, Some(object)) => {
                self.stages.insert(anchor.clone(), Stage::Trash(Box::new(object)));
            }
            (None, None) => {
                self.stages.insert(anchor.clone(), Stage::Absent);
            }
        }
        Ok(())
    }

    fn adopt(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        object: CloudObject,
        matched_by: MatchedBy,
        done: Option<&Done>,
    ) {
        let event = OutcomeEvent::ObjectAdopted(ObjectAdopted { matched_by, attributes: object.attributes });
        let mut outcome = NewOutcome::after(anchor, flight, done, event);
        outcome.cloud_id = Some(object.id);
        self.turn.outcome(outcome);
    }

    /// A single write took effect.
    pub(super) fn done(&mut self, anchor: &SourceAnchor, flight: &Flight, write: &Write, done: Done) {
        let mut cloud_id = flight.cloud_id.clone();
        let event = match write {
            Write::Create { attributes } => {
                self.stages.remove(anchor);
                if done.id.is_none() {
                    // the group was there already and was updated; the look-up tells which it is
                    self.turn.clear_intent(anchor);
                    return;
                }
                cloud_id.clone_from(&done.id);
                OutcomeEvent::ObjectProvisioned(ObjectProvisioned { attributes: attributes.clone() })
            }
            Write::Adopt { .. } => {
                self.turn.clear_intent(anchor);
                if let Some(Stage::Matched(object, by)) = self.stages.remove(anchor) {
                    self.adopt(anchor, flight, *object, by, Some(&done));
                }
                return;
            }
            Write::Restore { .. } => {
                // what it holds now is read before anything is said
                let intent = Intent { offset: flight.offset, write: write.clone() };
                let verify = Verify { intent, answered: Some(done), tries: 0, not_before: Instant::now() };
                self.stages.insert(anchor.clone(), Stage::Verify(verify));
                return;
            }
            Write::Update { changes } => OutcomeEvent::ObjectUpdated(ObjectUpdated { changes: changes.clone() }),
            Write::Delete => OutcomeEvent::ObjectDeprovisioned(ObjectDeprovisioned { restorable: done.status != 404 }),
            Write::SetManager { before, after } => {
                OutcomeEvent::ManagerChanged(ManagerChanged { before: before.clone(), after: after.clone() })
            }
            Write::AddMembers { members, .. } | Write::RemoveMembers { members } => {
                OutcomeEvent::MemberAdded(MemberAdded { members: members.clone() })
            }
        };
        self.turn.clear_intent(anchor);
        let mut outcome = NewOutcome::after(anchor, flight, Some(&done), event);
        outcome.cloud_id = cloud_id;
        self.turn.outcome(outcome);
    }
}
