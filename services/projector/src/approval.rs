//! What people decided about sources in doubt: a full read that showed too little, parts of the scope that are empty.
//!
//! ```text
//!  control ──> rulings ──(the hold's record is the one that was shown)──> decision ──> mirror, or nothing holds any more
//!              (memory)                                                   (written before it is acted on)
//! ```
//!
//! - A ruling is about one record of `decisions`, the `ConfigurationHeld` that was shown, and about what it says. Whatever
//!   else is seen makes another record, which nobody ruled on.
//! - That a full read is believed changes the mirror. Records after it may have shown again what it lacked, so it matters
//!   where in the stream that happens: the decision names the first record that had not been applied, and whoever
//!   replays does the same before that record.
//! - That something is empty changes nothing but that it does not hold. The release says so, and it is remembered until
//!   what was lost is taken back or something is there again.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_log::{Record, StreamName};
use forestsync_schemas::EventId;
use forestsync_schemas::changes::SnapshotId;
use forestsync_schemas::control::{ControlEvent, ControlRecord, SourceDecided, Verdict};
use forestsync_schemas::decisions::{
    ConfigurationHeld, ConfigurationReleased, DecisionEvent, Doubt, FullReadApproved, HoldReason,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::config::{SourceId, source_id};
use crate::engine::Engine;
use crate::holds::{Hold, Seen, hold_key};
use crate::keys;
use crate::round::Round;
use crate::rows::{Held, Shrink};
use crate::work::{Work, WorkKind};
use crate::{ProjectorError, StoreError, store};

type Result<T> = std::result::Result<T, StoreError>;

/// What people decided that was not taken up. Kept in memory: the log has it.
#[derive(Debug, Default)]
pub(crate) struct Rulings {
    /// The offset of the next record of `control`.
    pub(crate) next: u64,
    /// Approvals by the offset of the hold in `decisions`.
    approvals: BTreeMap<u64, Approval>,
}

#[derive(Debug)]
struct Approval {
    event: EventId,
    seen: Seen,
    expires: Timestamp,
}

impl Rulings {
    fn take(&mut self, event: EventId, decided: &SourceDecided) {
        let SourceDecided { verdict, held_offset, seen, expires, .. } = decided;
        match verdict {
            Verdict::Approve => {
                let approval = Approval { event, seen: Seen::of_decided(seen), expires: *expires };
                self.approvals.insert(*held_offset, approval);
            }
            // it stays as it is, also where it was approved a moment ago
            Verdict::Reject => drop(self.approvals.remove(held_offset)),
        }
    }

    /// The approval of a hold, if it is about what that says now.
    fn of(&self, held: &Held, now: Timestamp) -> Option<EventId> {
        let approval = self.approvals.get(&held.offset)?;
        (approval.seen == held.seen && now < approval.expires).then_some(approval.event)
    }
}

impl Engine {
    /// Takes in records of `control`.
    pub(crate) fn hear(&mut self, stream: &StreamName, records: &[Record]) -> std::result::Result<(), ProjectorError> {
        for record in records {
            let decoded = ControlRecord::decode(&record.value).map_err(|source| ProjectorError::Own {
                stream: stream.clone(),
                offset: record.offset,
                source,
            })?;
            if let ControlEvent::SourceDecided(decided) = &decoded.event {
                self.rulings.take(decoded.id, decided);
            }
            self.rulings.next = record.offset + 1;
        }
        Ok(())
    }

    /// Takes up what was approved of these holds, which stand in `decisions`. Returns whether anything was: then there
    /// is work to do, and other holds may be on. Call where the mirror knows as much as was written.
    pub(crate) fn take_approvals(
        &mut self,
        holds: &[Hold],
        now: Timestamp,
    ) -> std::result::Result<bool, ProjectorError> {
        let mut round = self.round()?;
        let mut taken = Vec::new();
        for hold in holds {
            let Some(held) = round.meta.held.get(&hold.key()) else { continue };
            let (Some(approval), offset) = (self.rulings.of(held, now), held.offset) else { continue };
            let is_taken = match hold.reason {
                HoldReason::SourceShrunken => round.approve_read(hold, approval)?,
                HoldReason::ScopeEmpty => round.approve_empty(hold, approval),
                // these are mistakes, and not losses
                HoldReason::ScopeContainerMissing | HoldReason::ScopeGroupMissing | HoldReason::AttributeNotRead => {
                    false
                }
            };
            taken.extend(is_taken.then_some(offset));
        }
        if taken.is_empty() {
            return Ok(false);
        }
        let prepared = round.finish()?;
        self.commit(prepared)?;
        // each of them counts once
        self.rulings.approvals.retain(|offset, _| !taken.contains(offset));
        Ok(true)
    }

    /// The approvals of full reads whose place in their stream is here, and that were not acted on.
    fn due_approvals(&self) -> Result<Vec<(SourceId, u64, Vec<u8>)>> {
        let mut due = Vec::new();
        for row in self.store.scan(&[keys::APPROVED], None) {
            let (row_key, _) = row?;
            let Some((source, offset, decision)) = keys::read_approved(&row_key) else { continue };
            let state = self.meta.sources.get(&source);
            if state.is_some_and(|state| state.offset == offset && state.approved < Some(decision)) {
                due.push((source, decision, row_key.to_vec()));
            }
        }
        Ok(due)
    }

    /// Believes what was approved, where the mirror has come to the place of that. Returns whether anything was; then
    /// there is work to do. No work on the mirror may be left before.
    pub(crate) fn apply_approvals(&mut self) -> std::result::Result<bool, ProjectorError> {
        let due = self.due_approvals()?;
        if due.is_empty() {
            return Ok(false);
        }
        let mut round = self.round()?;
        for (source, decision, row_key) in due {
            if let Some((snapshot, doubt)) = round.read::<(u128, Option<Shrink>)>(&row_key)? {
                round.believe(source, decision, snapshot, doubt)?;
            }
        }
        let prepared = round.finish()?;
        self.commit(prepared)?;
        Ok(true)
    }

    /// The places in a source's stream from which on something approved counts.
    pub(crate) fn approved_at(&self, source: SourceId) -> Result<BTreeSet<u64>> {
        let mut places = BTreeSet::new();
        for row in self.store.scan(&keys::join(keys::APPROVED, &[&source.0]), None) {
            places.extend(keys::read_approved(&row?.0).map(|(_, offset, _)| offset));
        }
        Ok(places)
    }
}

impl Round<'_> {
    /// Decides that what a full read did not show is gone.
    fn approve_read(&mut self, hold: &Hold, approval: EventId) -> Result<bool> {
        let Some(naming_context) = hold.naming_context.clone() else { return Ok(false) };
        let source = source_id(&hold.forest, &naming_context);
        let Some(state) = self.meta.sources.get(&source) else { return Ok(false) };
        let (doubted, offset) = (state.doubted, state.offset);
        // who approves that values are missing has not seen which objects are
        let doubt = match &state.shrunk {
            Some(Shrink::Attribute { .. }) if doubted.is_whole => self.tally(source, doubted.ordinal, true)?,
            Some(_) => None,
            None => return Ok(false),
        };
        let decision = self.meta.decisions + self.decisions.len() as u64;
        tracing::info!(
            forest.id = %hold.forest, naming_context = %naming_context, approval = %approval,
            "what a full read did not show was approved"
        );
        self.txn.put(keys::approved(source, offset, decision), store::encode(&(doubted.snapshot, &doubt)));
        self.decisions.push(DecisionEvent::FullReadApproved(FullReadApproved {
            forest: hold.forest.clone(),
            naming_context,
            snapshot: SnapshotId(Uuid::from_u128(doubted.snapshot)),
            offset,
            doubt: doubt.map(Doubt::from),
            approval,
        }));
        Ok(true)
    }

    /// Decides that what is empty of the scope may be.
    fn approve_empty(&mut self, hold: &Hold, approval: EventId) -> bool {
        tracing::info!(forest.id = %hold.forest, approval = %approval, "what is empty of the scope was approved");
        self.announce_release(&hold.key(), Some((approval, hold)));
        self.meta.let_go.extend(hold.emptied.iter().copied());
        self.meta.let_go_bare.extend(hold.bare.iter().map(|root| source_id(&hold.forest, root)));
        true
    }

    /// Draws from a full read what was not drawn from it when it ended; with a doubt that is left, not all of it.
    fn believe(&mut self, source: SourceId, decision: u64, snapshot: u128, doubt: Option<Shrink>) -> Result<()> {
        let Some(state) = self.state(source) else { return Ok(()) };
        state.approved = Some(decision);
        let doubted = state.doubted;
        let Some(shrunk) = state.shrunk.take_if(|_| doubted.snapshot == snapshot) else { return Ok(()) };
        let (is_over, is_open) = (doubt.is_none(), state.open.is_some());
        state.shrunk = doubt;
        // what was approved is no loss to the reads that follow
        for (name, missing, _) in shrunk.lost_values() {
            if let Some(valued) = state.valued.get_mut(name) {
                *valued = valued.saturating_sub(missing);
            }
        }
        if doubted.is_whole {
            self.add_work(Work::of_source(WorkKind::StaleLinks, source, doubted.ordinal));
        }
        if doubted.is_whole && is_over {
            self.add_work(Work::of_source(WorkKind::Absence, source, doubted.ordinal));
        }
        if is_over && !is_open {
            if let Some(state) = self.state(source) {
                state.valued.clear();
            }
        } else if is_over && doubted.is_whole {
            // a read is under way, and is measured by what there was before it
            let gone = self.count_valued(source, doubted.ordinal)?;
            if let Some(state) = self.state(source) {
                for (name, valued) in &mut state.valued {
                    *valued = valued.saturating_sub(gone.get(name).map_or(0, |count| count.hidden));
                }
            }
        }
        Ok(())
    }

    // ---- from the stream

    pub(crate) fn fold_approval(
        &mut self,
        decision: u64,
        event: FullReadApproved,
    ) -> std::result::Result<(), ProjectorError> {
        let source = source_id(&event.forest, &event.naming_context);
        if let Some(state) = self.meta.sources.get(&source) {
            if state.offset > event.offset {
                let detail = format!("a full read was approved at offset {} of {}", event.offset, state.stream);
                return Err(self.txn.store.damaged(format!("{detail}, which it has passed without knowing")).into());
            }
            // the mirror must have come there before anything more is decided or written
            let until = BTreeMap::from([(state.stream.clone(), event.offset)]);
            self.raise_barrier(&until);
        }
        let row = (event.snapshot.0.as_u128(), event.doubt.map(Shrink::from));
        self.txn.put(keys::approved(source, event.offset, decision), store::encode(&row));
        Ok(())
    }

    pub(crate) fn fold_hold(&mut self, offset: u64, event: ConfigurationHeld) {
        let seen = Seen::of_event(&event);
        let key = hold_key(event.reason, &event.forest, event.naming_context.as_ref());
        for entry in &event.emptied {
            self.meta.let_go.remove(entry);
        }
        for root in &event.bare {
            self.meta.let_go_bare.remove(&source_id(&event.forest, root));
        }
        self.meta.held.insert(key, Held { offset, naming_context: event.naming_context, seen });
        self.meta.emptied.extend(event.emptied);
    }

    pub(crate) fn fold_release(&mut self, event: &ConfigurationReleased) {
        let key = hold_key(event.reason, &event.forest, event.naming_context.as_ref());
        self.meta.held.remove(&key);
        self.meta.emptied.retain(|entry| !event.emptied.contains(entry));
        self.meta.let_go.extend(event.emptied.iter().copied());
        self.meta.let_go_bare.extend(event.bare.iter().map(|root| source_id(&event.forest, root)));
    }
}
