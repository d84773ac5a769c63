//! The delete guard: which removals may go.

use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_rules::guard::{self, GuardVerdict};
use forestsync_runtime::clock;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::Operation;
use tokio::time::Instant;

use super::Engine;
use crate::error::ProvisionerError;
use crate::store::Removed;

/// How often held removals are looked at again, because the window moves on.
const REVIEW: Duration = Duration::from_secs(30);

/// The guard's view of objects.
#[derive(Debug, Default)]
pub(super) struct GuardView {
    /// Per class the verdict, as long as it stands; nothing before the tail was reached.
    verdicts: Vec<(CloudClass, GuardVerdict)>,
    reviewed: Option<(u64, Instant)>,
}

impl GuardView {
    /// The verdict on the removals of a class, if it was given on this version of them.
    pub(super) fn verdict(&self, class: CloudClass, version: u64) -> Option<GuardVerdict> {
        self.reviewed.filter(|(seen, _)| *seen == version)?;
        self.verdicts.iter().find(|(c, _)| *c == class).map(|(_, verdict)| *verdict)
    }
}

/// A verdict in words.
pub(super) fn words(verdict: GuardVerdict, what: &str) -> String {
    match verdict {
        GuardVerdict::Pass => "the delete guard lets it pass".into(),
        GuardVerdict::Hold { pending, managed, limit } => {
            format!("{pending} of {managed} {what} would be removed, the delete guard allows {limit}")
        }
    }
}

impl Engine {
    /// Judges the removals, once everything wished is known; whom the verdict concerns has a turn.
    pub(super) fn review_guard(&mut self) -> Result<(), ProvisionerError> {
        if !self.at_tail {
            return Ok(());
        }
        let (version, now) = (self.index.leaving_version, Instant::now());
        // removals of members are judged group by group; a group that is held is looked at again as well
        let due = self.next_review().is_some_and(|at| at <= now);
        let current = self.guard.reviewed.is_some_and(|(seen, _)| seen == version) && !due;
        if current {
            return Ok(());
        }
        let since = self.window_start();
        while self.index.window.front().is_some_and(|r| r.at < since) {
            self.index.window.pop_front();
        }
        self.store.forget_removals(since)?;
        let mut verdicts = Vec::new();
        let mut concerned = Vec::new();
        for class in [CloudClass::User, CloudClass::Group] {
            let leaving = self.index.leaving.get(&class);
            let pending = leaving.map_or(0, |set| set.len() as u64);
            let done = self.index.removed(&Removed::Object(class), since);
            let managed = self.index.managed.get(&class).copied().unwrap_or_default() + done;
            let verdict = guard::objects(&self.config.tenant.guard, managed, done, pending);
            verdicts.push((class, verdict));
            concerned.extend(leaving.into_iter().flatten().cloned());
        }
        let groups = self.index.held.keys().filter(|(_, operation)| *operation == Operation::RemoveMembers);
        concerned.extend(groups.map(|(group, _)| group.clone()));
        self.guard = GuardView { verdicts, reviewed: Some((version, now)) };
        for anchor in concerned {
            self.ready.push(&anchor);
        }
        Ok(())
    }

    /// When held removals are looked at again.
    pub(super) fn next_review(&self) -> Option<Instant> {
        let (_, at) = self.guard.reviewed?;
        // a window shorter than that has moved on earlier
        let interval = REVIEW.min(self.config.tenant.guard_window);
        (!self.index.held.is_empty()).then_some(at + interval)
    }

    /// The verdict on taking this many members out of a group.
    pub(super) fn judge_members(&self, group: &SourceAnchor, pending: u64) -> Result<GuardVerdict, ProvisionerError> {
        if pending == 0 {
            return Ok(GuardVerdict::Pass);
        }
        let done = self.index.removed(&Removed::MemberOf(group.clone()), self.window_start());
        let mut members = done;
        for entry in self.store.members_of(group) {
            members += u64::from(entry?.1.confirmed);
        }
        Ok(guard::members(&self.config.tenant.guard, members, done, pending))
    }

    /// Where the window begins, in milliseconds since 1970.
    fn window_start(&self) -> i64 {
        let length = i64::try_from(self.config.tenant.guard_window.as_millis()).unwrap_or(i64::MAX);
        clock::now().as_millisecond().saturating_sub(length)
    }
}
