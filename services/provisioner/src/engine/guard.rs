//! The guards: which deletions and changes of accounts may go.

use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_rules::guard::{self, GuardVerdict};
use forestsync_runtime::clock;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::{ExportHeld, ExportReleased, HoldCause, Operation, OutcomeEvent};
use tokio::time::Instant;

use super::Engine;
use super::decisions::Standing;
use crate::error::ProvisionerError;
use crate::store::{Held, ObjectRow, Removed, Wish};

/// How often held writes are looked at again, because the window moves on and decisions expire.
const REVIEW: Duration = Duration::from_secs(30);

/// What is judged by itself: an operation on a class.
pub(super) type Kind = (Operation, CloudClass);

const KINDS: [Kind; 4] = [
    (Operation::Delete, CloudClass::User),
    (Operation::Delete, CloudClass::Group),
    (Operation::Disable, CloudClass::User),
    (Operation::Rename, CloudClass::User),
];

/// The guards' view of objects.
#[derive(Debug, Default)]
pub(super) struct GuardView {
    /// Per kind the verdict, as long as it stands; nothing before the tail was reached.
    verdicts: Vec<(Kind, GuardVerdict)>,
    /// What was judged: the versions of the index and of the decisions.
    reviewed: Option<((u64, u64), Instant)>,
}

impl GuardView {
    fn of(&self, kind: Kind) -> Option<GuardVerdict> {
        self.verdicts.iter().find(|(k, _)| *k == kind).map(|(_, verdict)| *verdict)
    }
}

/// Whether a write goes.
#[derive(Debug)]
pub(super) enum Gate {
    /// It does.
    Open,
    /// It does not, as was said.
    Closed,
    /// Something is to be said first.
    Say(OutcomeEvent),
}

/// What the guards and people together say of a write.
#[derive(Debug)]
pub(super) enum Judged {
    /// It is held.
    Held(Held),
    /// It is not; why, in words.
    Free(String),
}

/// The gate that a write finds which was judged like this and was said to be held like that.
pub(super) fn gate(operation: Operation, judged: Judged, said: Option<&Held>) -> Gate {
    match (judged, said) {
        (Judged::Held(held), Some(said)) if held.cause == said.cause && held.joined() == said.joined() => Gate::Closed,
        (Judged::Held(Held { cause, detail, join }), _) => {
            Gate::Say(OutcomeEvent::ExportHeld(ExportHeld { operation, cause, detail, join }))
        }
        (Judged::Free(detail), Some(_)) => {
            Gate::Say(OutcomeEvent::ExportReleased(ExportReleased { operation, detail }))
        }
        (Judged::Free(_), None) => Gate::Open,
    }
}

/// Judges a write of which there are as many as the verdict says.
pub(super) fn judge(standing: Standing<'_>, verdict: GuardVerdict, what: &str) -> Judged {
    match (standing, verdict) {
        (Standing::Kept(cause, decision), _) => Judged::Held(decision.hold(cause)),
        (Standing::Approved(decision), _) => Judged::Free(decision.approval()),
        (Standing::Open, GuardVerdict::Pass) => Judged::Free("the guard lets it pass".into()),
        (Standing::Open, GuardVerdict::Hold { pending, managed, limit }) => Judged::Held(Held {
            cause: HoldCause::Guard,
            detail: format!("{pending} of {managed} {what}, the guard allows {limit}"),
            join: None,
        }),
    }
}

/// Lets go what was held and is not wished any more.
pub(super) fn stale_hold(row: &ObjectRow) -> Option<OutcomeEvent> {
    let stale = |operation: &Operation| match operation {
        // judged by the group
        Operation::RemoveMembers => false,
        Operation::Delete => !row.is_leaving(),
        Operation::Join => row.is_managed() || !row.is_wished(),
        _ => !row.guarded().any(|guarded| guarded == *operation),
    };
    let operation = *row.held.keys().find(|operation| stale(operation))?;
    let detail = match operation {
        Operation::Delete if row.is_let_go() => "the object is let go instead of deleted",
        Operation::Delete => "the object is wished again",
        Operation::Join if row.is_managed() => "the tenant holds the object",
        Operation::Join => "the object is not wished any more",
        _ => "the change is not wished any more",
    };
    Some(OutcomeEvent::ExportReleased(ExportReleased { operation, detail: detail.to_owned() }))
}

fn words((operation, class): Kind) -> &'static str {
    match (operation, class) {
        (Operation::Disable, _) => "users would be disabled",
        (Operation::Rename, _) => "users would get another userPrincipalName",
        (_, CloudClass::User) => "users would be removed",
        _ => "groups would be removed",
    }
}

impl Engine {
    /// Judges what is guarded, once everything wished is known; whom a new verdict concerns has a turn.
    pub(super) fn review_guard(&mut self) -> Result<(), ProvisionerError> {
        if !self.at_tail {
            return Ok(());
        }
        let (versions, now) = (self.guarded_versions(), Instant::now());
        let due = self.next_review().is_some_and(|at| at <= now);
        if self.guard.reviewed.is_some_and(|(seen, _)| seen == versions) && !due {
            return Ok(());
        }
        let since = self.window_start();
        while self.index.window.front().is_some_and(|r| r.at < since) {
            self.index.window.pop_front();
        }
        self.store.forget_removals(since)?;
        let mut verdicts = Vec::with_capacity(KINDS.len());
        let mut concerned: Vec<SourceAnchor> = Vec::new();
        for kind in KINDS {
            let verdict = self.verdict_on(kind, since);
            let passes = |verdict: GuardVerdict| verdict == GuardVerdict::Pass;
            if self.guard.of(kind).map(passes) != Some(passes(verdict)) {
                concerned.extend(self.index.guarded.get(&kind).into_iter().flatten().map(|(anchor, _)| anchor.clone()));
            }
            verdicts.push((kind, verdict));
        }
        if due {
            // a decision may have expired; and removals of members are judged group by group
            concerned.extend(self.index.held.keys().map(|(anchor, _)| anchor.clone()));
        }
        self.guard = GuardView { verdicts, reviewed: Some((versions, now)) };
        for anchor in concerned {
            self.ready.push(&anchor);
        }
        Ok(())
    }

    fn verdict_on(&self, kind: Kind, since: i64) -> GuardVerdict {
        let (operation, class) = kind;
        let tenant = &self.config.tenant;
        let decided =
            |(anchor, since): &(&SourceAnchor, &u64)| !self.decisions.standing(anchor, operation, **since).is_open();
        let guarded = self.index.guarded.get(&kind);
        let pending = guarded.map_or(0, |all| all.len() - all.iter().filter(decided).count()) as u64;
        let pending = pending + self.surroundings.guarded(kind);
        let now = self.index.managed.get(&class).copied().unwrap_or_default() + self.surroundings.managed(class);
        match operation {
            Operation::Disable => {
                guard::changes(&tenant.disable_guard, now, self.index.removed(&Removed::Disabled, since), pending)
            }
            Operation::Rename => {
                guard::changes(&tenant.upn_guard, now, self.index.removed(&Removed::Renamed, since), pending)
            }
            _ => {
                let done = self.index.removed(&Removed::Object(class), since);
                guard::objects(&tenant.guard, now + done, done, pending)
            }
        }
    }

    fn guarded_versions(&self) -> (u64, u64) {
        (self.index.guarded_version, self.decisions.version())
    }

    /// When held writes are looked at again.
    pub(super) fn next_review(&self) -> Option<Instant> {
        let (_, at) = self.guard.reviewed?;
        // a window shorter than that has moved on earlier
        let interval = REVIEW.min(self.config.tenant.guard_window);
        (!self.index.held.is_empty()).then_some(at + interval)
    }

    /// The verdict on a kind, if everything wished was seen when it was given.
    fn verdict(&self, kind: Kind) -> Option<GuardVerdict> {
        let (seen, _) = self.guard.reviewed?;
        self.guard.of(kind).filter(|_| self.at_tail && seen == self.guarded_versions())
    }

    /// What was decided about a guarded write of an object.
    pub(super) fn standing(&self, anchor: &SourceAnchor, wish: &Wish, operation: Operation) -> Standing<'_> {
        self.decisions.standing(anchor, operation, wish.since(operation))
    }

    /// Judges a write of an object; nothing if that cannot be done yet.
    pub(super) fn judge(
        &self,
        anchor: &SourceAnchor,
        row: &ObjectRow,
        wish: &Wish,
        operation: Operation,
    ) -> Option<Judged> {
        let kind = (operation, row.class);
        let standing = self.standing(anchor, wish, operation);
        if operation == Operation::Delete && wish.ends_with_configuration() && standing.is_open() {
            let detail = "the preview that the removal of the configuration was decided by did not show it".to_owned();
            let held = Held { cause: HoldCause::Undecided, detail, join: None };
            return self.decisions.removal().map(|_| Judged::Held(held));
        }
        if operation == Operation::Delete && row.deferred().is_some() && standing.is_open() {
            // judged when it was deferred
            return Some(Judged::Free("it was let pass when it was deferred".into()));
        }
        let verdict = self.verdict(kind)?;
        let was_held =
            row.held.get(&operation).is_some_and(|h| matches!(h.cause, HoldCause::Guard | HoldCause::Undecided));
        let others = || self.decisions.were_made_about_others(operation, wish.since(operation));
        if standing.is_open() && verdict == GuardVerdict::Pass && was_held && others() {
            // that some go must not let the others go
            let detail = "others that were held with it were decided about, and it was not".to_owned();
            return Some(Judged::Held(Held { cause: HoldCause::Undecided, detail, join: None }));
        }
        Some(judge(standing, verdict, words(kind)))
    }

    /// Whether the guards do not count a write: somebody approved it, or it was counted when the deletion was deferred.
    pub(super) fn is_uncounted(&self, anchor: &SourceAnchor, row: &ObjectRow, operation: Operation) -> bool {
        let is_of_deferral = matches!(operation, Operation::Delete | Operation::Disable) && row.deferred().is_some();
        is_of_deferral || row.wish.as_ref().is_some_and(|wish| self.standing(anchor, wish, operation).is_approved())
    }

    /// The verdict on taking this many members out of a group.
    pub(super) fn judge_members(&self, group: &SourceAnchor, pending: u64) -> Result<GuardVerdict, ProvisionerError> {
        let limits = &self.config.tenant.guard;
        let done = self.index.removed(&Removed::MemberOf(group.clone()), self.window_start());
        // the members are counted only where the count matters
        if pending == 0 || (done + pending <= limits.minimum) {
            return Ok(GuardVerdict::Pass);
        }
        let mut members = done;
        for entry in self.store.members_of(group) {
            members += u64::from(entry?.1.confirmed);
        }
        Ok(guard::members(limits, members, done, pending))
    }

    /// Where the window begins, in milliseconds since 1970.
    fn window_start(&self) -> i64 {
        let length = i64::try_from(self.config.tenant.guard_window.as_millis()).unwrap_or(i64::MAX);
        clock::now().as_millisecond().saturating_sub(length)
    }
}
