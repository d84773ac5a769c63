//! What people must know, written to `decisions` once each time it changes.

use std::collections::BTreeSet;

use forestsync_domain::Dn;
use forestsync_schemas::decisions::{
    ConfigurationHeld, ConfigurationReleased, DecisionEvent, FindingCleared, FindingRaised, StreamResumed,
    StreamStopped,
};

use crate::config::SourceId;
use crate::engine::Engine;
use crate::holds::Hold;
use crate::keys::{self, ObjectKey};
use crate::round::Round;
use crate::rows::{Announced, FindingRow};
use crate::{ProjectorError, StoreError, store};

/// Findings of one append.
const FINDINGS: usize = 1_000;

type Result<T> = std::result::Result<T, ProjectorError>;

impl Engine {
    /// Writes each hold that began and each that ended to `decisions`, once.
    pub(crate) fn announce(&mut self, holds: &[Hold]) -> Result<()> {
        let mut round = self.round()?;
        for hold in holds {
            if round.meta.held.insert((hold.reason, hold.forest.clone())) {
                tracing::error!(
                    hold.reason = ?hold.reason, forest.id = %hold.forest, hold.detail = %hold.detail,
                    hold.hint = %hold.hint, "the configuration is held, nothing is written"
                );
                round.decisions.push(DecisionEvent::ConfigurationHeld(ConfigurationHeld {
                    reason: hold.reason,
                    forest: hold.forest.clone(),
                    detail: hold.detail.clone(),
                    hint: hold.hint.clone(),
                    emptied: hold.emptied.clone(),
                }));
            }
        }
        let is_on = |reason, forest: &str| holds.iter().any(|h| h.reason == reason && h.forest == forest);
        let over: Vec<_> = round.meta.held.iter().filter(|(reason, forest)| !is_on(*reason, forest)).cloned().collect();
        for (reason, forest) in over {
            tracing::info!(hold.reason = ?reason, forest.id = %forest, "the hold is over");
            round.meta.held.remove(&(reason, forest.clone()));
            round.decisions.push(DecisionEvent::ConfigurationReleased(ConfigurationReleased { reason, forest }));
        }
        let projected = &round.meta.counters.projected_by;
        round.meta.emptied.retain(|entry| !projected.contains_key(entry));
        if round.decisions.is_empty() && round.meta.emptied == self.meta.emptied {
            return Ok(());
        }
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
