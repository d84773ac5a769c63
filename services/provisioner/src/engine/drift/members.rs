//! What the list of a group's members means.
//!
//! A list shows members that are there only. So one that it does not show counts as removed by others once the member
//! itself was read after the list, and was there: else it is the member that was deleted.

use std::collections::HashSet;

use forestsync_domain::SourceAnchor;
use forestsync_schemas::outcomes::{DriftEnded, MembersDrifted, OutcomeEvent};

use super::{believed, now, timestamp};
use crate::config::DriftSettings;
use crate::engine::plan::{Plan, instant};
use crate::engine::turn::Note;
use crate::engine::{Engine, Flight, NewOutcome, Purpose};
use crate::error::ProvisionerError;
use crate::store::{EdgeRow, Hint, ObjectRow, StoreError};
use crate::target::Call;

/// What a list says of memberships.
#[derive(Debug, Default)]
struct Found {
    added: Vec<SourceAnchor>,
    ended: Vec<SourceAnchor>,
}

impl Engine {
    /// What comes next for a group with hints at its members.
    pub(super) fn plan_members(&mut self, group: &SourceAnchor, row: &ObjectRow) -> Result<Plan, ProvisionerError> {
        let hints = self.store.hints_of(group)?;
        let Some(id) = row.live_id().filter(|_| row.takes_links() && !hints.is_empty()) else {
            for (member, _) in hints {
                self.turn.note(Note::Hint(group.clone(), member, None));
            }
            self.drift.groups.remove(group);
            return Ok(Plan::Nothing);
        };
        let (mut open, mut next) = (false, i64::MAX);
        let doubt = self.drift.groups.get(group).copied().unwrap_or_default();
        for (member, hint) in hints {
            let edge = self.store.edge(group, &member)?.unwrap_or_default();
            let quiet = self.quiet_from(row, &member, &edge)?.max(doubt.not_before);
            if self.drift.missing.get(&member).is_some_and(|groups| groups.contains(group)) {
                // the member is being looked at
                continue;
            }
            if quiet > now() {
                next = next.min(quiet);
            } else if believed(&edge) == hint.present && !self.is_restated(&edge) {
                // what was written here has come back
                self.turn.note(Note::Hint(group.clone(), member, None));
                self.turn.touch(group);
            } else {
                open = true;
            }
        }
        if open {
            if let Some(doubt) = self.drift.groups.get_mut(group) {
                doubt.asked = now();
            }
            return Ok(Plan::Ask(Call::ListMembers { group: id.to_owned() }, Purpose::CompareMembers));
        }
        if next < i64::MAX {
            self.drift.timers.wake(group, instant(next));
        }
        Ok(Plan::Nothing)
    }

    /// From when on reading tells of a membership, in milliseconds since 1970.
    fn quiet_from(&self, group: &ObjectRow, member: &SourceAnchor, edge: &EdgeRow) -> Result<i64, StoreError> {
        let made = self.store.object(member)?.map_or(0, |member| member.made);
        Ok(edge.added.max(edge.removed).max(group.made).max(made).saturating_add(self.lateness()))
    }

    /// Whether it is treated otherwise than it was said.
    fn is_restated(&self, edge: &EdgeRow) -> bool {
        let policy = self.drift_settings().map(|settings| settings.policy(DriftSettings::MEMBERS));
        edge.drift.is_some_and(|drift| Some(drift.policy) != policy)
    }

    /// Takes the list.
    pub(in crate::engine) fn members_compared(
        &mut self,
        group: &SourceAnchor,
        flight: &Flight,
        ids: &HashSet<String>,
    ) -> Result<(), ProvisionerError> {
        let Some(row) = self.store.object(group)? else { return Ok(()) };
        let asked = self.drift.groups.get(group).map_or(0, |doubt| doubt.asked);
        let mut found = Found::default();
        for (member, hint) in self.store.hints_of(group)? {
            let edge = self.store.edge(group, &member)?.unwrap_or_default();
            let is_late = hint.since > asked || self.quiet_from(&row, &member, &edge)? > asked;
            if !is_late {
                self.judge_member(group, &member, hint, &edge, ids, &mut found)?;
            }
        }
        let read_at = timestamp(asked);
        self.say_members(group, flight, found.added, Vec::new(), read_at);
        if !found.ended.is_empty() {
            let event = DriftEnded { attributes: Vec::new(), members: found.ended, deletion: false, read_at };
            self.turn.outcome(NewOutcome::after(group, flight, None, OutcomeEvent::DriftEnded(event)));
        }
        Ok(())
    }

    fn judge_member(
        &mut self,
        group: &SourceAnchor,
        member: &SourceAnchor,
        hint: Hint,
        edge: &EdgeRow,
        ids: &HashSet<String>,
        found: &mut Found,
    ) -> Result<(), ProvisionerError> {
        let of = self.store.object(member)?;
        let Some(id) = of.as_deref().and_then(ObjectRow::live_id).filter(|_| !edge.maybe) else {
            self.turn.note(Note::Hint(group.clone(), member.clone(), None));
            return Ok(());
        };
        let present = ids.contains(id);
        if present == believed(edge) && !self.is_restated(edge) {
            self.settle_member(group, member, hint);
        } else if present == (edge.wish == Some(true)) {
            if edge.drift.is_some() {
                found.ended.push(member.clone());
            }
            self.settle_member(group, member, hint);
        } else if present {
            found.added.push(member.clone());
            self.settle_member(group, member, hint);
        } else {
            self.drift.missing.entry(member.clone()).or_default().insert(group.clone());
            self.suspect(member);
        }
        Ok(())
    }

    /// A list is believed, and read again once it cannot be late any more.
    fn settle_member(&mut self, group: &SourceAnchor, member: &SourceAnchor, hint: Hint) {
        let until = hint.since.saturating_add(self.lateness());
        if now() >= until {
            self.turn.note(Note::Hint(group.clone(), member.clone(), None));
        } else if let Some(doubt) = self.drift.groups.get_mut(group) {
            doubt.not_before = doubt.not_before.max(until);
        }
    }

    /// The member was read, and is there: those groups have lost it that did not show it before.
    pub(super) fn is_alive(&mut self, member: &SourceAnchor, asked: i64) -> Result<(), ProvisionerError> {
        let groups = self.drift.missing.remove(member).unwrap_or_default();
        for group in groups {
            let listed = self.drift.groups.get(&group).map_or(0, |doubt| doubt.asked);
            if asked < listed {
                // that list is newer than this reading
                self.drift.missing.entry(member.clone()).or_default().insert(group);
                continue;
            }
            self.turn.touch(&group);
            self.is_missed(&group, member, listed)?;
        }
        Ok(())
    }

    /// A list of the group did not show a member that is there.
    fn is_missed(&mut self, group: &SourceAnchor, member: &SourceAnchor, listed: i64) -> Result<(), ProvisionerError> {
        let hint = self.store.hints_of(group)?.into_iter().find(|(of, _)| of == member);
        let (Some(row), Some(edge), Some((_, hint))) =
            (self.store.object(group)?, self.store.edge(group, member)?, hint)
        else {
            return Ok(());
        };
        // what is written meanwhile, or was since, is not what the list shows
        let is_late = self.flights.contains_key(group) || edge.added.max(edge.removed) > listed || hint.since > listed;
        if is_late {
            return Ok(());
        }
        let differs = believed(&edge) || self.is_restated(&edge);
        if row.takes_links() && differs && edge.wish == Some(true) {
            let offset = row.wish.as_ref().map_or(0, |wish| wish.offset).max(edge.offset);
            let (class, cloud_id) = (row.class, row.cloud_id.clone());
            let flight = Flight { purpose: Purpose::CompareMembers, class, cloud_id, offset, trace: None };
            self.say_members(group, &flight, Vec::new(), vec![member.clone()], timestamp(listed));
        }
        self.settle_member(group, member, hint);
        Ok(())
    }

    fn say_members(
        &mut self,
        group: &SourceAnchor,
        flight: &Flight,
        added: Vec<SourceAnchor>,
        removed: Vec<SourceAnchor>,
        read_at: jiff::Timestamp,
    ) {
        let Some(settings) = self.drift_settings() else { return };
        if added.is_empty() && removed.is_empty() {
            return;
        }
        let policy = settings.policy(DriftSettings::MEMBERS);
        let event = OutcomeEvent::MembersDrifted(MembersDrifted { added, removed, policy, read_at });
        self.turn.outcome(NewOutcome::after(group, flight, None, event));
    }
}
