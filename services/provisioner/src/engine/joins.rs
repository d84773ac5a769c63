//! Joins that wait for somebody's decision.
//!
//! A decision names the anchor and the object of the tenant. If another object is found meanwhile, that one is held anew;
//! whatever else of the wish changes is no matter. Nothing is created in place of what is held or rejected.

use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_rules::diff::AttributeChanges;
use forestsync_schemas::outcomes::{ExportReleased, HeldJoin, HoldCause, Operation, OutcomeEvent};
use tokio::time::Instant;

use super::decisions::Standing;
use super::guard::{Gate, Judged, gate};
use super::plan::Plan;
use super::{Engine, Flight, NewOutcome, Stage};
use crate::config::Joins;
use crate::error::ProvisionerError;
use crate::store::{Held, ObjectRow, Wish, Write};
use crate::target::Call;

const JOIN: Operation = Operation::Join;
/// How long it is believed that the same object is found, unless the wish changes.
const FOUND: Duration = Duration::from_mins(5);

impl Engine {
    /// What comes next for an object that was found without an anchor and may be joined.
    pub(super) fn plan_join(&mut self, anchor: &SourceAnchor, row: &ObjectRow, wish: &Wish) -> Plan {
        let Some(Stage::Matched { object, rule, .. }) = self.stages.get(anchor) else { return Plan::Nothing };
        let (cloud_id, name) = (object.id.clone(), object.name.clone().unwrap_or_default());
        let join = HeldJoin { cloud_id: cloud_id.clone(), name, pair: rule.pair() };
        match gate(JOIN, self.judge_join(anchor, &join), row.held.get(&JOIN)) {
            Gate::Open => {
                let (class, changes) = (wish.class, AttributeChanges::new());
                let call = Call::Update { class, id: cloud_id.clone(), changes, anchor: Some(anchor.clone()) };
                Plan::Write(call, Write::Adopt { id: cloud_id })
            }
            Gate::Closed => {
                self.await_decision(anchor, join, wish);
                Plan::Nothing
            }
            Gate::Say(event) => {
                if matches!(event, OutcomeEvent::ExportHeld(_)) {
                    self.await_decision(anchor, join, wish);
                }
                Plan::Report(NewOutcome::of(anchor, row, wish, event))
            }
        }
    }

    fn await_decision(&mut self, anchor: &SourceAnchor, join: HeldJoin, wish: &Wish) {
        let again = Instant::now() + FOUND.max(self.config.tenant.retry_longest);
        self.stages.insert(anchor.clone(), Stage::JoinHeld { join, offset: wish.offset, again });
        self.quiet.wake(anchor, again);
    }

    /// Whether an object whose join is held goes on waiting. Else it is looked up anew: what was found may have changed.
    pub(super) fn waits_for_decision(&mut self, anchor: &SourceAnchor, row: &ObjectRow, wish: &Wish) -> bool {
        let Some(Stage::JoinHeld { join, offset, again }) = self.stages.get(anchor) else { return false };
        let is_same = *offset == wish.offset && *again > Instant::now();
        let waits = is_same && matches!(gate(JOIN, self.judge_join(anchor, join), row.held.get(&JOIN)), Gate::Closed);
        let again = *again;
        if waits {
            self.quiet.wake(anchor, again);
        } else {
            self.stages.remove(anchor);
        }
        waits
    }

    fn judge_join(&self, anchor: &SourceAnchor, join: &HeldJoin) -> Judged {
        match self.decisions.join(anchor, &join.cloud_id) {
            Standing::Approved(decision) => Judged::Free(decision.approval()),
            Standing::Kept(cause, decision) => Judged::Held(Held { join: Some(join.clone()), ..decision.hold(cause) }),
            Standing::Open if self.config.tenant.joins == Joins::Hold => {
                let detail = format!("found by {}; joins are held until somebody decides", join.pair);
                Judged::Held(Held { cause: HoldCause::Join, detail, join: Some(join.clone()) })
            }
            Standing::Open => Judged::Free("joins are not held any more".into()),
        }
    }

    /// Says that a join is not held any more, because there is nothing to be joined, if it was held.
    pub(super) fn join_hold_over(row: &ObjectRow, why: &str) -> Option<OutcomeEvent> {
        let detail = why.to_owned();
        row.is_held(JOIN).then_some(OutcomeEvent::ExportReleased(ExportReleased { operation: JOIN, detail }))
    }

    /// The same where an answer told so.
    pub(super) fn end_join_hold(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        why: &str,
    ) -> Result<(), ProvisionerError> {
        let event = self.store.object(anchor)?.and_then(|row| Self::join_hold_over(&row, why));
        if let Some(event) = event {
            self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
        }
        Ok(())
    }
}
