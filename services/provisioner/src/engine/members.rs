//! Answers about memberships.

use std::collections::HashSet;

use forestsync_domain::SourceAnchor;
use forestsync_schemas::outcomes::{MemberAdded, MemberRemoved, Operation, OutcomeEvent};

use super::failures::Wait;
use super::{Engine, Flight, NewOutcome, Stage};
use crate::error::ProvisionerError;
use crate::store::{Intent, Write};
use crate::target::{Done, Failure, FailureKind};

impl Engine {
    /// Takes the answers to links that were written each for itself.
    pub(super) fn each(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        write: &Write,
        results: Vec<Result<Done, Failure>>,
    ) -> Result<(), ProvisionerError> {
        let (members, removing) = match write {
            Write::AddMembers { members, .. } => (members, false),
            Write::RemoveMembers { members } => (members, true),
            _ => return Ok(()),
        };
        let (mut done, mut doubtful, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let mut wait = Wait { delay: self.config.tenant.retry_first, quiet: true };
        let (mut first, mut refusal): (Option<Done>, Option<Failure>) = (None, None);
        for (member, result) in members.iter().zip(results) {
            match result {
                Ok(answer) => {
                    self.went_through();
                    first.get_or_insert(answer);
                    done.push(member.clone());
                }
                // a member that is not there needs no removal
                Err(f) if removing && f.kind == FailureKind::NotFound && !self.is_young_member(anchor, member)? => {
                    let answer = Done { status: 404, request_id: f.request_id, id: None };
                    first.get_or_insert(answer);
                    done.push(member.clone());
                }
                Err(f) if f.kind == FailureKind::Uncertain => {
                    let one = self.members_failed(anchor, flight, std::slice::from_ref(member), removing, &f)?;
                    wait = Wait { delay: wait.delay.max(one.delay), quiet: wait.quiet && one.quiet };
                    doubtful.push(member.clone());
                }
                Err(f) if f.kind == FailureKind::Invalid => {
                    refusal = Some(f);
                    refused.push(member.clone());
                }
                Err(f) if self.is_general(anchor, flight, &f) => {}
                Err(f) => {
                    self.members_failed(anchor, flight, std::slice::from_ref(member), removing, &f)?;
                }
            }
        }
        if let Some(event) = self.members_event(anchor, &done, removing)? {
            self.turn.outcome(NewOutcome::after(anchor, flight, first.as_ref(), event));
        }
        if doubtful.is_empty() {
            self.turn.clear_intent(anchor);
        } else {
            let write = if removing {
                Write::RemoveMembers { members: doubtful }
            } else {
                Write::AddMembers { members: doubtful, each: true }
            };
            let intent = Intent { offset: flight.offset, write };
            self.turn.set_intent(anchor, intent.clone());
            self.doubt(anchor, intent, wait);
            // those refused are tried again and refused again, after the doubt is settled
            return Ok(());
        }
        if let Some(failure) = refusal {
            let failure = Box::new(failure);
            self.stages.insert(anchor.clone(), Stage::Check { members: refused, removing, each: true, failure });
        }
        Ok(())
    }

    /// Adding several members at once failed.
    pub(super) fn adding_failed(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        members: &[SourceAnchor],
        failure: &Failure,
    ) -> Result<(), ProvisionerError> {
        self.turn.clear_intent(anchor);
        if failure.kind == FailureKind::Invalid {
            let (members, failure) = (members.to_vec(), Box::new(failure.clone()));
            self.stages.insert(anchor.clone(), Stage::Check { members, removing: false, each: false, failure });
            return Ok(());
        }
        self.members_failed(anchor, flight, members, false, failure)?;
        Ok(())
    }

    /// Takes the list of members after links were refused: those that are as they should be are done.
    pub(super) fn checked(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        ids: &HashSet<String>,
    ) -> Result<(), ProvisionerError> {
        let Some(Stage::Check { members, removing, each, failure }) = self.stages.remove(anchor) else { return Ok(()) };
        let done =
            if removing { self.absent(anchor, flight, &members, ids)? } else { self.among(&members, ids, true)? };
        let there = self.among(&members, ids, removing)?;
        if each {
            self.members_failed(anchor, flight, &there, removing, &failure)?;
        } else {
            self.singly.extend(there.into_iter().map(|member| (anchor.clone(), member)));
        }
        if let Some(event) = self.members_event(anchor, &done, removing)? {
            self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
        }
        Ok(())
    }

    /// The event for these members of a group; none for nobody.
    pub(super) fn members_event(
        &self,
        group: &SourceAnchor,
        members: &[SourceAnchor],
        removed: bool,
    ) -> Result<Option<OutcomeEvent>, ProvisionerError> {
        if members.is_empty() {
            return Ok(None);
        }
        if !removed {
            return Ok(Some(OutcomeEvent::MemberAdded(MemberAdded { members: members.to_vec() })));
        }
        let (mut ended, mut uncounted) = (Vec::new(), Vec::new());
        for member in members {
            let leaves = self.store.object(member)?.is_some_and(|row| row.is_leaving());
            let edge = self.store.edge(group, member)?.unwrap_or_default();
            let by_itself = edge.is_stray() || (edge.wish == Some(false) && !edge.ended);
            if leaves || !by_itself {
                ended.push(member.clone());
            } else if self.decisions.standing(group, Operation::RemoveMembers, edge.offset).is_approved() {
                uncounted.push(member.clone());
            }
        }
        Ok(Some(OutcomeEvent::MemberRemoved(MemberRemoved { members: members.to_vec(), ended, uncounted })))
    }
}
