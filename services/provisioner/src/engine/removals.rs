//! Objects that are to go: deleted, or let go as they are.

use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_runtime::clock;
use forestsync_schemas::control::RemovedObjects;
use forestsync_schemas::desired::{CloudClass, CloudValue};
use forestsync_schemas::outcomes::{
    AttributeChange, AttributeChanges, DeletionDeferred, ObjectRelinquished, Operation, OutcomeEvent,
};
use tokio::time::Instant;

use super::failures::later;
use super::guard::{Gate, Judged, gate, stale_hold};
use super::plan::{Plan, instant};
use super::turn::Note;
use super::{Engine, NewOutcome, Purpose, Stage};
use crate::error::ProvisionerError;
use crate::store::{ENABLED, EdgeRow, Life, ObjectRow, Parting, Wish, Write};
use crate::target::Call;

/// How long it is believed of an object that nobody else owns it.
const KNOWN_OURS: Duration = Duration::from_mins(1);

impl Engine {
    /// What comes next for an object that the tenant should hold no more.
    pub(super) fn plan_removal(
        &mut self,
        anchor: &SourceAnchor,
        row: &ObjectRow,
        wish: &Wish,
    ) -> Result<Plan, ProvisionerError> {
        if self.decisions.removal() == Some(RemovedObjects::Release) {
            // also what was to go before, and did not: nothing of a released configuration is deleted any more
            return Ok(self.plan_farewell(anchor, row, wish, Parting::Released));
        }
        if let Some(event) = stale_hold(row) {
            return Ok(Plan::Report(NewOutcome::of(anchor, row, wish, event)));
        }
        let Some(id) = row.live_id() else { return Ok(self.plan_doubtful_removal(anchor, row, wish)) };
        if wish.ends_with_configuration() && self.decisions.removal().is_none() {
            // not heard yet, or taken back: then it is wished again in a moment
            return Ok(Plan::Nothing);
        }
        let Some(judged) = self.judge(anchor, row, wish, Operation::Delete) else {
            self.tail_waits.insert(anchor.clone());
            return Ok(Plan::Nothing);
        };
        match gate(Operation::Delete, judged, row.held.get(&Operation::Delete)) {
            Gate::Closed => return Ok(Plan::Nothing),
            Gate::Say(event) => return Ok(Plan::Report(NewOutcome::of(anchor, row, wish, event))),
            Gate::Open => {}
        }
        let waits = row.deferred().filter(|until| *until > clock::now().as_millisecond());
        if let Some(until) = waits.filter(|_| row.is_disabled()) {
            self.quiet.wake(anchor, instant(until));
            return Ok(Plan::Nothing);
        }
        if self.rests(anchor, row.failure()) {
            return Ok(Plan::Nothing);
        }
        let looked = matches!(self.stages.get(anchor), Some(Stage::Ours(at)) if at.elapsed() < KNOWN_OURS);
        if !looked {
            // somebody else may have taken it over since
            let call = Call::Read { class: row.class, id: id.to_owned(), attributes: Vec::new() };
            return Ok(Plan::Ask(call, Purpose::Own));
        }
        if waits.is_some() {
            return Ok(disable(row, id));
        }
        if row.deferred().is_none() && self.defers(row) {
            let until = later(self.config.tenant.grace);
            let uncounted = self.is_uncounted(anchor, row, Operation::Delete);
            let event = OutcomeEvent::DeletionDeferred(DeletionDeferred { until, uncounted });
            return Ok(Plan::Report(NewOutcome::of(anchor, row, wish, event)));
        }
        if self.must_leave_groups(anchor)? {
            return Ok(Plan::Nothing);
        }
        self.stages.remove(anchor);
        Ok(Plan::Write(Call::Delete { class: row.class, id: id.to_owned() }, Write::Delete))
    }

    /// Whether deletions of such objects are deferred.
    fn defers(&self, row: &ObjectRow) -> bool {
        row.class == CloudClass::User && !self.config.tenant.grace.is_zero()
    }

    /// Whether an object that is to go goes now, so that it leaves its groups.
    pub(super) fn goes_now(&self, anchor: &SourceAnchor, row: &ObjectRow) -> bool {
        let Some(wish) = &row.wish else { return false };
        let is_due = match row.deferred() {
            Some(until) => until <= clock::now().as_millisecond(),
            None => !self.defers(row),
        };
        is_due && matches!(self.judge(anchor, row, wish, Operation::Delete), Some(Judged::Free(_)))
    }

    /// An object that is let go: nothing is asked and nothing is sent, it is only said.
    pub(super) fn plan_farewell(&mut self, anchor: &SourceAnchor, row: &ObjectRow, wish: &Wish, why: Parting) -> Plan {
        if !self.at_tail {
            // it may be wished again further on
            self.tail_waits.insert(anchor.clone());
            return Plan::Nothing;
        }
        self.stages.remove(anchor);
        if let Some(event) = stale_hold(row) {
            return Plan::Report(NewOutcome::of(anchor, row, wish, event));
        }
        if row.is_managed() {
            let (code, detail) = match why {
                Parting::HandedOver => {
                    ("handed_over", "another configuration for this tenant has it in its scope; it stays as it is")
                }
                Parting::Kept => ("kept", "it left the scope, and what leaves it is kept; it stays as it is"),
                Parting::Released => {
                    ("released", "its configuration was removed, and what it managed is released; it stays as it is")
                }
            };
            let event = ObjectRelinquished { code: code.to_owned(), detail: detail.to_owned() };
            return Plan::Report(NewOutcome::of(anchor, row, wish, OutcomeEvent::ObjectRelinquished(event)));
        }
        if row.maybe.is_some() {
            // what an attempt may have left there is let go as well
            self.turn.note(Note::MaybeObject(anchor.clone(), None));
        }
        Plan::Nothing
    }

    /// An object that is to go and was never confirmed: if its creation may have taken effect it is looked for.
    fn plan_doubtful_removal(&mut self, anchor: &SourceAnchor, row: &ObjectRow, wish: &Wish) -> Plan {
        if row.maybe.is_none() || row.life == Life::Deleted || !wish.class.is_writable() {
            self.stages.remove(anchor);
            return Plan::Nothing;
        }
        if let Some(Stage::Looked(again)) = self.stages.get(anchor)
            && *again > Instant::now()
        {
            self.quiet.wake(anchor, *again);
            return Plan::Nothing;
        }
        if self.rests(anchor, row.failure()) {
            return Plan::Nothing;
        }
        self.look_up(anchor, wish.class, &row.confirmed)
    }

    /// Whether the object is still a member of a group of ours that stays; if so, those groups have a turn.
    fn must_leave_groups(&mut self, anchor: &SourceAnchor) -> Result<bool, ProvisionerError> {
        let mut must = false;
        for group in self.store.groups_of(anchor)? {
            let Some(edge) = self.store.edge(&group, anchor)?.filter(EdgeRow::may_be_there) else { continue };
            let stays = self.store.object(&group)?.is_some_and(|g| g.takes_links());
            if stays && !edge.failure().is_some_and(|f| f.quarantined) {
                self.index.links.entry(group.clone()).or_default().set_out(anchor, true);
                self.ready.push(&group);
                must = true;
            }
        }
        Ok(must)
    }
}

/// The write that disables a user who is deleted later.
fn disable(row: &ObjectRow, id: &str) -> Plan {
    let change = AttributeChange { before: row.confirmed.get(ENABLED).cloned(), after: Some(CloudValue::Bool(false)) };
    let changes = AttributeChanges::from([(ENABLED.to_owned(), change)]);
    let call = Call::Update { class: row.class, id: id.to_owned(), changes: changes.clone(), anchor: None };
    Plan::Write(call, Write::Update { changes })
}
