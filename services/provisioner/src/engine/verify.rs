//! Writes of which it is not known whether they took effect: the tenant is read, then the outcome written or the write
//! forgotten and planned anew.

use std::collections::HashSet;

use forestsync_domain::SourceAnchor;
use forestsync_rules::diff;
use forestsync_runtime::clock;
use forestsync_schemas::desired::CloudAttributes;
use forestsync_schemas::outcomes::{AttributeChanges, ManagerChanged, ObjectProvisioned, ObjectRestored, OutcomeEvent};
use tokio::time::Instant;

use super::answers::foreign;
use super::failures::Wait;
use super::fold::unknown;
use super::turn::Note;
use super::{Engine, Flight, NewOutcome, Stage, Verify};
use crate::error::ProvisionerError;
use crate::store::{Intent, ObjectRow, StoreError, Write};
use crate::target::{Call, Done, Failure, FailureKind, Reply, own_failure};

/// Reads of a restored object until its look-up starts over.
const MOST_TRIES: u32 = 8;

impl Engine {
    /// The question that tells whether a write took effect; nothing if the ledger knows, or if it does not matter
    /// because the object is looked up anyway.
    pub(super) fn verify_call(&self, anchor: &SourceAnchor, row: &ObjectRow, intent: &Intent) -> Option<Call> {
        let class = row.wish.as_ref().map_or(row.class, |w| w.class);
        match &intent.write {
            Write::Create { attributes } => (!row.is_managed()).then(|| {
                let mut names = self.interesting_of(row);
                // those that were sent for once
                names.extend(attributes.keys().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
                // one that was created carries its anchor where it was given it
                Call::LookUp { class, anchor: anchor.clone(), attributes: names, by_extension: false }
            }),
            Write::Adopt { .. } => None,
            Write::Update { changes } => {
                // what is written whatever is known is written once more
                let open = diff::apply(&row.confirmed, changes) != row.confirmed;
                let again = changes.keys().any(|name| row.unsure.contains(name));
                let id = row.live_id().filter(|_| open && !again)?.to_owned();
                Some(Call::Read { class: row.class, id, attributes: changes.keys().cloned().collect() })
            }
            Write::Restore { id } => {
                (!row.is_managed()).then(|| Call::Read { class, id: id.clone(), attributes: self.interesting_of(row) })
            }
            Write::Delete => {
                Some(Call::Read { class: row.class, id: row.live_id()?.to_owned(), attributes: Vec::new() })
            }
            Write::SetManager { after, .. } => {
                let id = row.live_id().filter(|_| row.manager != *after)?.to_owned();
                Some(Call::ReadManager { id })
            }
            Write::AddOwner { owner } => {
                let group = row.live_id().filter(|_| !row.owners.contains(owner))?.to_owned();
                Some(Call::ListOwners { group })
            }
            Write::RemoveOwner { owner } => {
                let group = row.live_id().filter(|_| row.owners.contains(owner))?.to_owned();
                Some(Call::ListOwners { group })
            }
            Write::AddMembers { .. } | Write::RemoveMembers { .. } => {
                Some(Call::ListMembers { group: row.live_id()?.to_owned() })
            }
        }
    }

    /// Takes the answer to that question.
    pub(super) fn verified(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        intent: &Intent,
        answered: Option<&Done>,
        reply: Reply,
    ) -> Result<(), ProvisionerError> {
        let mut cloud_id = flight.cloud_id.clone();
        let event = match (&intent.write, reply) {
            (Write::Create { .. }, Reply::Found { live: Some(object), .. }) if foreign(&object).is_none() => {
                cloud_id = Some(object.id);
                Some(OutcomeEvent::ObjectProvisioned(ObjectProvisioned { attributes: object.attributes }))
            }
            (Write::Update { changes }, Reply::Object(object)) => {
                let is_shown = object.is_some_and(|object| holds(&object.attributes, changes));
                if is_shown && !self.is_just_written(anchor)? {
                    Some(self.updated(anchor, changes)?)
                } else {
                    if !self.config.tenant.visible_within.is_zero() {
                        // the reading may be older than the write, and one that shows it may be older than the write before
                        self.turn.note(Note::Unsure(anchor.clone(), changes.keys().cloned().collect()));
                    }
                    None
                }
            }
            (Write::Restore { .. }, Reply::Object(Some(object))) => {
                cloud_id = Some(object.id);
                Some(OutcomeEvent::ObjectRestored(ObjectRestored { attributes: object.attributes }))
            }
            (Write::Restore { .. }, Reply::Object(None)) if answered.is_some() => {
                self.look_again(anchor);
                return Ok(());
            }
            (Write::Create { .. }, Reply::Found { .. }) => {
                self.turn.note(Note::MaybeObject(anchor.clone(), Some(clock::now().as_millisecond())));
                None
            }
            // soon after it was made it may be there and not be seen
            (Write::Delete, Reply::Object(None)) if !self.is_young(anchor)? => Some(self.deprovisioned(anchor, true)?),
            (Write::Delete, Reply::Object(_)) if !self.config.tenant.visible_within.is_zero() => {
                self.doubt_life(anchor);
                None
            }
            (Write::SetManager { before, after }, Reply::Manager(id)) => {
                let wished = match after {
                    Some(manager) => self.store.object(manager)?.and_then(|m| m.cloud_id.clone()),
                    None => None,
                };
                if id != wished && !self.config.tenant.visible_within.is_zero() {
                    // the reading may be older than the write: whatever is wished now is written
                    self.turn.note(Note::Manager(anchor.clone(), Some(unknown())));
                }
                (id == wished).then(|| {
                    OutcomeEvent::ManagerChanged(ManagerChanged { before: before.clone(), after: after.clone() })
                })
            }
            (Write::AddOwner { owner }, Reply::Members(ids)) => {
                self.owns(owner, &ids)?.then(|| self.owner_event(anchor, owner, true)).transpose()?
            }
            (Write::RemoveOwner { owner }, Reply::Members(ids)) => {
                let gone = !self.owns(owner, &ids)? && !self.is_young_owner(anchor, owner)? && !self.ends(owner)?;
                gone.then(|| self.owner_event(anchor, owner, false)).transpose()?
            }
            (Write::AddMembers { members, .. }, Reply::Members(ids)) => {
                let present = self.among(members, &ids, true)?;
                for member in members.iter().filter(|m| !present.contains(m)) {
                    self.turn.note(Note::MaybeMember(anchor.clone(), member.clone()));
                }
                self.members_event(anchor, &present, false)?
            }
            (Write::RemoveMembers { members }, Reply::Members(ids)) => {
                let absent = self.absent(anchor, flight, members, &ids)?;
                self.members_event(anchor, &absent, true)?
            }
            _ => None,
        };
        self.stages.remove(anchor);
        self.turn.clear_intent(anchor);
        if let Some(event) = event {
            let mut outcome = NewOutcome::after(anchor, flight, answered, event);
            outcome.cloud_id = cloud_id;
            self.turn.outcome(outcome);
        }
        Ok(())
    }

    /// A restored object is not visible yet.
    fn look_again(&mut self, anchor: &SourceAnchor) {
        let first = self.config.tenant.retry_first;
        match self.stages.get_mut(anchor) {
            Some(Stage::Verify(verify)) if verify.tries < MOST_TRIES => {
                verify.not_before = Instant::now() + first.saturating_mul(1 << verify.tries);
                verify.tries += 1;
            }
            _ => {
                self.stages.insert(anchor.clone(), Stage::Purged);
                self.turn.clear_intent(anchor);
            }
        }
    }

    /// The object may be deleted, although nothing says so: should it be wished again before that is known, it is written,
    /// and not found.
    pub(super) fn doubt_life(&mut self, anchor: &SourceAnchor) {
        self.turn.note(Note::Unsure(anchor.clone(), vec!["displayName".to_owned()]));
    }

    /// Looks the write up after a while, because its answer told nothing.
    pub(super) fn doubt(&mut self, anchor: &SourceAnchor, intent: Intent, wait: Wait) {
        let not_before = Instant::now() + wait.delay;
        let verify = Verify { intent, answered: None, tries: 0, not_before, quiet: wait.quiet };
        self.stages.insert(anchor.clone(), Stage::Verify(verify));
    }

    /// Those of the members to be removed that are not on the list any more. One that was added a moment ago may be
    /// there and not be seen: it is tried again.
    pub(super) fn absent(
        &mut self,
        group: &SourceAnchor,
        flight: &Flight,
        members: &[SourceAnchor],
        ids: &HashSet<String>,
    ) -> Result<Vec<SourceAnchor>, ProvisionerError> {
        let mut absent = self.among(members, ids, false)?;
        let mut young = Vec::new();
        for member in &absent {
            if self.is_young_member(group, member)? {
                young.push(member.clone());
            }
        }
        if !young.is_empty() {
            absent.retain(|member| !young.contains(member));
            self.members_failed(group, flight, &young, true, &not_visible())?;
        }
        Ok(absent)
    }

    /// Whether so little time has passed since we made the object that the tenant may not show it everywhere
    /// (graph.md section 7.1).
    pub(super) fn is_young(&self, anchor: &SourceAnchor) -> Result<bool, StoreError> {
        Ok(self.store.object(anchor)?.is_some_and(|row| self.is_recent(row.made)))
    }

    /// Whether the tenant may still show what the object was before it was written last.
    fn is_just_written(&self, anchor: &SourceAnchor) -> Result<bool, StoreError> {
        Ok(self.store.object(anchor)?.is_some_and(|row| self.is_recent(row.written)))
    }

    /// Whether so little time has passed since the membership or its ends were made.
    pub(super) fn is_young_member(&self, group: &SourceAnchor, member: &SourceAnchor) -> Result<bool, StoreError> {
        let added = self.store.edge(group, member)?.is_some_and(|edge| self.is_recent(edge.added));
        Ok(added || self.is_young(group)? || self.is_young(member)?)
    }

    /// Whether something that was written at this time may still be invisible.
    pub(super) fn is_recent(&self, at: i64) -> bool {
        let within = i64::try_from(self.config.tenant.visible_within.as_millis()).unwrap_or(i64::MAX);
        clock::now().as_millisecond() < at.saturating_add(within)
    }

    /// Those of the members whose cloud ids are, or are not, among these.
    pub(super) fn among(
        &self,
        members: &[SourceAnchor],
        ids: &HashSet<String>,
        present: bool,
    ) -> Result<Vec<SourceAnchor>, StoreError> {
        let mut found = Vec::new();
        for member in members {
            let id = self.store.object(member)?.and_then(|m| m.cloud_id.clone());
            if id.is_some_and(|id| ids.contains(&id)) == present {
                found.push(member.clone());
            }
        }
        Ok(found)
    }
}

/// The failure of a removal of something that cannot be seen, but may be there.
pub(super) fn not_visible() -> Failure {
    own_failure(FailureKind::NotFound, "not_visible_yet")
}

/// Whether the tenant holds what the changes lead to.
fn holds(held: &CloudAttributes, changes: &AttributeChanges) -> bool {
    let names: Vec<String> = changes.keys().cloned().collect();
    diff::diff(held, &diff::apply(held, changes), &names).is_empty()
}
