//! The owner of a group.
//!
//! A group has one owner of ours, and any number of others that are left alone. A new one is added before the old one is
//! removed, because Graph lets no group lose its last owner (graph.md section 1.1). In between the ledger knows both. One
//! without a successor stays: a group whose managedBy is empty keeps the owner it had.

use std::collections::HashSet;

use forestsync_domain::SourceAnchor;
use forestsync_schemas::outcomes::{ExportError, ExportQuarantined, Operation, OutcomeEvent, OwnerChanged};

use super::plan::Plan;
use super::verify::not_visible;
use super::{Engine, Flight, NewOutcome, Purpose, Stage};
use crate::error::ProvisionerError;
use crate::store::{ObjectRow, StoreError, Write};
use crate::target::{Call, Done, Failure, FailureKind};

impl Engine {
    /// What comes next for a group's owner.
    pub(super) fn plan_owner(&mut self, anchor: &SourceAnchor, row: &ObjectRow) -> Result<Plan, ProvisionerError> {
        let Some(group) = row.live_id().map(str::to_owned) else { return Ok(Plan::Nothing) };
        match self.stages.get(anchor) {
            Some(Stage::OwnerCheck { .. }) => return Ok(Plan::Ask(Call::ListOwners { group }, Purpose::Owners)),
            Some(Stage::Check { .. }) => return Ok(Plan::Nothing),
            _ => {}
        }
        let wished = row.wished_owner();
        let (owner, adds) = match wished {
            Some(owner) if !row.owners.contains(owner) => {
                self.parting.remove(&(anchor.clone(), owner.clone()));
                (owner.clone(), true)
            }
            _ => match self.stale_owner(anchor, row)? {
                Some(owner) => (owner, false),
                None => return Ok(Plan::Nothing),
            },
        };
        if !adds && !self.at_tail {
            // who comes next may stand further on
            self.tail_waits.insert(anchor.clone());
            return Ok(Plan::Nothing);
        }
        if self.rests(anchor, row.lead_failure()) {
            return Ok(Plan::Nothing);
        }
        // an owner is replaced and never just taken away: Graph keeps the last one, and whose own end is near loses this
        // with it
        if !adds && wished.is_none() {
            self.wait_for_owner(anchor, &owner);
            return Ok(Plan::Nothing);
        }
        // one that was deleted owns nothing for as long as it is not back, and one that was let go keeps what it has
        let is_parting = !adds && self.is_parting(anchor, &owner)?;
        let known = self.store.object(&owner)?.filter(|_| !is_parting);
        let Some(id) = known.and_then(|o| o.live_id().map(str::to_owned)) else {
            // any of those that are to go may be back first
            for other in row.owners.iter().filter(|other| Some(*other) != wished).chain([&owner]) {
                self.wait_for_owner(anchor, other);
            }
            return Ok(Plan::Nothing);
        };
        Ok(if adds {
            Plan::Write(Call::AddOwner { group, owner: id }, Write::AddOwner { owner })
        } else {
            Plan::Write(Call::RemoveOwner { group, owner: id }, Write::RemoveOwner { owner })
        })
    }

    /// The group has a turn when something becomes of this owner.
    pub(super) fn wait_for_owner(&mut self, group: &SourceAnchor, owner: &SourceAnchor) {
        self.index.reports.entry(owner.clone()).or_default().insert(group.clone());
    }

    /// Whether it is deleted or about to be. Then it is not seen among the owners of a group, and is one of them again when
    /// it is restored: it ceases to be one only by a removal that was answered.
    pub(super) fn ends(&self, owner: &SourceAnchor) -> Result<bool, StoreError> {
        Ok(self.store.object(owner)?.is_none_or(|o| o.live_id().is_none() || o.is_leaving()))
    }

    /// Nothing more is learnt of this owner before it is deleted, or wished again. To ask until then would keep the group
    /// from its memberships, for which the deletion may wait.
    fn part(&mut self, group: &SourceAnchor, owner: &SourceAnchor) {
        self.parting.insert((group.clone(), owner.clone()));
        self.wait_for_owner(group, owner);
    }

    fn is_parting(&self, group: &SourceAnchor, owner: &SourceAnchor) -> Result<bool, StoreError> {
        Ok(self.parting.contains(&(group.clone(), owner.clone())) && self.ends(owner)?)
    }

    /// An owner that is not wished: one that is there before others, of which nothing can be taken away.
    fn stale_owner(&self, group: &SourceAnchor, row: &ObjectRow) -> Result<Option<SourceAnchor>, StoreError> {
        let wished = row.wished_owner();
        let mut found = None;
        for owner in row.owners.iter().filter(|owner| Some(*owner) != wished) {
            if self.store.object(owner)?.is_some_and(|o| o.live_id().is_some()) && !self.is_parting(group, owner)? {
                return Ok(Some(owner.clone()));
            }
            found = found.or_else(|| Some(owner.clone()));
        }
        Ok(found)
    }

    /// The event for one that became an owner, or is one no more.
    pub(super) fn owner_event(
        &self,
        group: &SourceAnchor,
        owner: &SourceAnchor,
        adds: bool,
    ) -> Result<OutcomeEvent, StoreError> {
        let event = if adds {
            OwnerChanged { before: None, after: Some(owner.clone()) }
        } else {
            let row = self.store.object(group)?;
            let mut rest = row.iter().flat_map(|row| &row.owners).filter(|other| *other != owner);
            let wished = row.as_deref().and_then(ObjectRow::wished_owner);
            let after = rest.clone().find(|other| Some(*other) == wished).or_else(|| rest.next());
            OwnerChanged { before: Some(owner.clone()), after: after.cloned() }
        };
        Ok(OutcomeEvent::OwnerChanged(event))
    }

    /// Takes the failure of adding or removing an owner.
    pub(super) fn owning_failed(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        write: &Write,
        failure: &Failure,
    ) -> Result<(), ProvisionerError> {
        let (owner, removing) = match write {
            Write::AddOwner { owner } => (owner, false),
            Write::RemoveOwner { owner } => (owner, true),
            _ => return Ok(()),
        };
        if removing && failure.kind == FailureKind::NotFound && self.ends(owner)? {
            self.turn.clear_intent(anchor);
            self.part(anchor, owner);
            return Ok(());
        }
        if removing && failure.kind == FailureKind::NotFound && !self.is_young_owner(anchor, owner)? {
            let gone = Done { status: 404, request_id: failure.request_id.clone(), id: None };
            return self.done(anchor, flight, write, gone);
        }
        self.turn.clear_intent(anchor);
        if failure.kind == FailureKind::Invalid {
            let (owner, failure) = (owner.clone(), Box::new(failure.clone()));
            self.stages.insert(anchor.clone(), Stage::OwnerCheck { owner, removing, failure });
            return Ok(());
        }
        self.object_failed(anchor, flight, Operation::SetOwner, failure)?;
        Ok(())
    }

    /// Takes the list of owners after one was refused: it is as it should be, or was the last one, or something is wrong.
    pub(super) fn owners_read(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        ids: &HashSet<String>,
    ) -> Result<(), ProvisionerError> {
        let Some(Stage::OwnerCheck { owner, removing, failure }) = self.stages.remove(anchor) else { return Ok(()) };
        let owns = self.owns(&owner, ids)?;
        if owns && removing && ids.len() == 1 {
            let error = ExportError {
                code: "last_owner".to_owned(),
                attribute: None,
                other: None,
                detail: "Microsoft Graph lets no group lose its last owner, so this one stays".to_owned(),
                hint: Some("give the group another owner, in the directory or in the tenant".to_owned()),
            };
            let event = ExportQuarantined {
                operation: Operation::SetOwner,
                error,
                attempts: 1,
                retry_at: None,
                members: Vec::new(),
            };
            let mut outcome = NewOutcome::after(anchor, flight, None, OutcomeEvent::ExportQuarantined(event));
            (outcome.status, outcome.request_id) = (failure.status, failure.request_id);
            self.turn.outcome(outcome);
        } else if owns != removing {
            if removing && self.ends(&owner)? {
                self.part(anchor, &owner);
                return Ok(());
            }
            if removing && self.is_young_owner(anchor, &owner)? {
                self.object_failed(anchor, flight, Operation::SetOwner, &not_visible())?;
                return Ok(());
            }
            let event = self.owner_event(anchor, &owner, !removing)?;
            self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
        } else {
            self.object_failed(anchor, flight, Operation::SetOwner, &failure)?;
        }
        Ok(())
    }

    /// Whether it is among these ids of owners.
    pub(super) fn owns(&self, owner: &SourceAnchor, ids: &HashSet<String>) -> Result<bool, StoreError> {
        Ok(self.store.object(owner)?.is_some_and(|o| o.cloud_id.as_ref().is_some_and(|id| ids.contains(id))))
    }

    /// Whether it may be an owner and not be seen as one yet.
    pub(super) fn is_young_owner(&self, group: &SourceAnchor, owner: &SourceAnchor) -> Result<bool, StoreError> {
        let made = self.store.object(group)?.is_some_and(|row| self.is_recent(row.owner_made));
        Ok(made || self.is_young(group)? || self.is_young(owner)?)
    }
}
