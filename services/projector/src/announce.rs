//! What people must know, written to `decisions` once each time it changes.

use std::collections::BTreeSet;

use forestsync_domain::Dn;
use forestsync_schemas::EventId;
use forestsync_schemas::decisions::{
    ConfigurationHeld, ConfigurationReleased, DecisionEvent, FindingCleared, FindingRaised, StreamResumed,
    StreamStopped,
};

use crate::config::SourceId;
use crate::engine::Engine;
use crate::holds::{Hold, HoldKey};
use crate::keys::{self, ObjectKey};
use crate::round::Round;
use crate::rows::{Announced, FindingRow, Held};
use crate::{ProjectorError, StoreError, store};

/// Findings of one append.
const FINDINGS: usize = 1_000;

type Result<T> = std::result::Result<T, ProjectorError>;

impl Engine {
    /// Writes each hold that began and each that ended to `decisions`, once.
    pub(crate) fn announce(&mut self, holds: &[Hold]) -> Result<()> {
        let mut round = self.round()?;
        for hold in holds {
            round.announce_hold(hold);
        }
        let on: BTreeSet<HoldKey> = holds.iter().map(Hold::key).collect();
        let over: Vec<HoldKey> = round.meta.held.keys().filter(|key| !on.contains(key)).cloned().collect();
        for key in over {
            round.announce_release(&key, None);
        }
        let projected = &round.meta.counters.projected_by;
        round.meta.emptied.retain(|entry| !projected.contains_key(entry));
        round.meta.end_let_go(round.plan);
        // writes nothing where nothing has changed
        let prepared = round.finish()?;
        self.commit(prepared)
    }

    /// Writes each stream that stopped and each that goes on to `decisions`, once.
    pub(crate) fn announce_stops(&mut self) -> Result<()> {
        if self.stopped.is_empty() && self.meta.stopped.is_empty() {
            return Ok(());
        }
        let mut round = self.round()?;
        for (source, stop) in &self.stopped {
            let Some(source) = self.plan.source(*source) else { continue };
            let stream = source.config.stream.to_string();
            if round.meta.stopped.insert(stream.clone(), stop.offset) != Some(stop.offset) {
                let detail = stop.said.clone();
                round.decisions.push(DecisionEvent::StreamStopped(StreamStopped {
                    stream,
                    offset: stop.offset,
                    detail,
                }));
            }
        }
        // opened anew, a stream has not stopped before the record is read again
        let is_over = |stream: &str, offset: u64| {
            let source = self.plan.sources.iter().find(|source| source.config.stream.as_str() == stream);
            source.is_none_or(|source| self.meta.sources.get(&source.id).is_some_and(|state| state.offset > offset))
        };
        let over: Vec<String> =
            round.meta.stopped.iter().filter(|(s, at)| is_over(s, **at)).map(|(s, _)| s.clone()).collect();
        for stream in over {
            tracing::info!(stream = %stream, "a stream goes on");
            round.meta.stopped.remove(&stream);
            round.decisions.push(DecisionEvent::StreamResumed(StreamResumed { stream }));
        }
        let prepared = round.finish()?;
        self.commit(prepared)
    }

    /// Writes what is wrong with objects to `decisions`, where that is not what stands there.
    pub(crate) fn announce_findings(&mut self, withheld: &BTreeSet<SourceId>) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let mut round = self.round()?;
            let rows = round.txn.scan(&[keys::OUTBOX, keys::OUT_FINDING], after.as_deref(), FINDINGS)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(last.clone());
            for (row_key, _) in &rows {
                let Some(key) = keys::read_out_finding(row_key) else { continue };
                if !withheld.contains(&key.source) {
                    round.announce_finding(key)?;
                    round.txn.delete(row_key.clone());
                }
            }
            let prepared = round.finish()?;
            self.commit(prepared)?;
        }
    }
}

impl Round<'_> {
    /// Writes a hold down, unless that stands there already. What it is about must stand there exactly: people decide
    /// about the record.
    fn announce_hold(&mut self, hold: &Hold) {
        let (key, seen) = (hold.key(), hold.seen());
        if self.meta.held.get(&key).is_some_and(|held| held.seen == seen) {
            return;
        }
        tracing::error!(
            hold.reason = ?hold.reason, forest.id = %hold.forest, hold.detail = %hold.detail,
            hold.hint = %hold.hint, "the configuration is held, nothing is written"
        );
        let offset = self.meta.decisions + self.decisions.len() as u64;
        let Hold { reason, forest, detail, hint, emptied, bare, naming_context, snapshot, doubt, leaving } =
            hold.clone();
        self.meta.held.insert(key, Held { offset, naming_context: naming_context.clone(), seen });
        self.decisions.push(DecisionEvent::ConfigurationHeld(ConfigurationHeld {
            reason,
            forest,
            detail,
            hint,
            emptied,
            bare,
            naming_context,
            snapshot,
            doubt,
            leaving,
        }));
    }

    /// Writes down that a hold is over; with an approval, because somebody approved what is empty.
    pub(crate) fn announce_release(&mut self, key: &HoldKey, approval: Option<(EventId, &Hold)>) {
        let (reason, forest, _) = key.clone();
        tracing::info!(hold.reason = ?reason, forest.id = %forest, "the hold is over");
        let held = self.meta.held.remove(key);
        let (emptied, bare) = approval.map(|(_, hold)| (hold.emptied.clone(), hold.bare.clone())).unwrap_or_default();
        self.decisions.push(DecisionEvent::ConfigurationReleased(ConfigurationReleased {
            reason,
            forest,
            naming_context: held.and_then(|held| held.naming_context),
            approval: approval.map(|(event, _)| event),
            emptied,
            bare,
        }));
    }

    fn announce_finding(&mut self, key: ObjectKey) -> std::result::Result<(), StoreError> {
        let row_key = keys::of_object(keys::ANNOUNCED, key);
        let finding: Option<FindingRow> = self.read(&keys::of_object(keys::FINDING, key))?;
        let announced: Option<Announced> = self.read(&row_key)?;
        match (finding, announced) {
            (Some(finding), Some(announced)) if announced.finding == finding => {}
            (Some(finding), _) => {
                let Some(source) = self.plan.source(key.source) else { return Ok(()) };
                let dn = match self.head(key)? {
                    Some(head) => self.name_of(key, &head.dn, head.parent)?,
                    None => Dn::default(),
                };
                let (forest, naming_context) = (source.config.forest.clone(), source.config.naming_context.clone());
                let FindingRow { blocking, messages, rules: findings } = finding.clone();
                self.decisions.push(DecisionEvent::FindingRaised(FindingRaised {
                    forest: forest.clone(),
                    naming_context: naming_context.clone(),
                    object: key.guid,
                    dn,
                    blocking,
                    messages,
                    findings,
                }));
                self.txn.put(row_key, store::encode(&Announced { forest, naming_context, finding }));
            }
            (None, Some(Announced { forest, naming_context, .. })) => {
                let cleared = FindingCleared { forest, naming_context, object: key.guid };
                self.decisions.push(DecisionEvent::FindingCleared(cleared));
                self.txn.delete(row_key);
            }
            (None, None) => {}
        }
        Ok(())
    }
}
