//! What a group has that carried our anchor when it was found.
//!
//! It was ours before: of another ledger that is gone, or of another owner. Its members and its owner are read once, so that
//! those that are as they should be are not written again, and those that the directory took away meanwhile are taken away.

use std::collections::HashSet;

use forestsync_domain::SourceAnchor;
use forestsync_schemas::outcomes::{MemberAdded, OutcomeEvent};

use super::plan::Plan;
use super::turn::Note;
use super::{Engine, Flight, NewOutcome, Purpose, Stage};
use crate::error::ProvisionerError;
use crate::store::ObjectRow;
use crate::target::Call;

/// Members in one event at most.
const MEMBERS: usize = 1_000;

impl Engine {
    /// What comes next for a group that was found, until what it has was read; nothing for others.
    pub(super) fn plan_inheritance(
        &mut self,
        anchor: &SourceAnchor,
        row: &ObjectRow,
    ) -> Result<Option<Plan>, ProvisionerError> {
        let (Some(Stage::Inherited { members_read }), Some(group)) = (self.stages.get(anchor), row.live_id()) else {
            return Ok(None);
        };
        let (members_read, group) = (*members_read, group.to_owned());
        if !self.at_tail {
            self.tail_waits.insert(anchor.clone());
            return Ok(Some(Plan::Nothing));
        }
        if self.rests(anchor, row.failure()) {
            return Ok(Some(Plan::Nothing));
        }
        // those of whom it is not known yet who they are in the tenant have the group look again when it is
        if !members_read {
            let waits = self.index.links.get(anchor).is_some_and(|links| links.coming() > 0);
            let ask = Plan::Ask(Call::ListMembers { group }, Purpose::Inherit);
            return Ok(Some(if waits { Plan::Nothing } else { ask }));
        }
        if let Some(owner) = row.wished_owner()
            && self.store.object(owner)?.is_some_and(|owner| owner.is_coming())
        {
            self.wait_for_owner(anchor, owner);
            return Ok(Some(Plan::Nothing));
        }
        Ok(Some(Plan::Ask(Call::ListOwners { group }, Purpose::Inherit)))
    }

    /// Takes the list of its members, then that of its owners.
    pub(super) fn inherited(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        ids: &HashSet<String>,
    ) -> Result<(), ProvisionerError> {
        let Some(Stage::Inherited { members_read }) = self.stages.remove(anchor) else { return Ok(()) };
        if members_read {
            return self.owners_inherited(anchor, flight, ids);
        }
        let mut there = Vec::new();
        for entry in self.store.members_of(anchor) {
            let (member, edge) = entry?;
            if edge.confirmed || !self.owns(&member, ids)? {
                continue;
            }
            match edge.wish {
                Some(true) => there.push(member),
                Some(false) if !edge.ended => self.turn.note(Note::MaybeMember(anchor.clone(), member)),
                _ => {}
            }
        }
        for members in there.chunks(MEMBERS) {
            let event = OutcomeEvent::MemberAdded(MemberAdded { members: members.to_vec() });
            self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
        }
        self.stages.insert(anchor.clone(), Stage::Inherited { members_read: true });
        Ok(())
    }

    fn owners_inherited(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        ids: &HashSet<String>,
    ) -> Result<(), ProvisionerError> {
        let Some(row) = self.store.object(anchor)? else { return Ok(()) };
        for owner in &row.owners {
            if !self.owns(owner, ids)? && !self.ends(owner)? {
                self.turn.note(Note::OwnerGone(anchor.clone(), owner.clone()));
            }
        }
        if let Some(owner) = row.wished_owner().filter(|owner| !row.owners.contains(owner))
            && self.owns(owner, ids)?
        {
            let event = self.owner_event(anchor, owner, true)?;
            self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
        }
        Ok(())
    }
}
