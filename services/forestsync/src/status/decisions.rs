//! What the projector says of itself in `decisions`: what holds it, what it found, which streams it cannot apply.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use forestsync_domain::{Dn, ObjectGuid};
use forestsync_log::{Log, StreamName};
use forestsync_runtime::clock;
use forestsync_schemas::control::{ControlEvent, SourceDecided, SourceSeen};
use forestsync_schemas::decisions::{ConfigurationHeld, DecisionEvent, FindingRaised, HoldReason, StreamStopped};
use forestsync_schemas::{ControlRecord, DecisionRecord, streams};

use super::{BATCH, Finding, Hold, HoldDecision, Source, SourceState, Stopped, name_of};
use crate::events;

/// What is on at the end of the stream.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    /// By reason, forest and naming context.
    holds: BTreeMap<(HoldReason, String, Option<String>), Hold>,
    /// By forest, naming context and object.
    findings: BTreeMap<(String, String, ObjectGuid), Finding>,
    stopped: BTreeMap<String, Stopped>,
}

/// Reads the stream, and what people decided about it.
pub(super) async fn gather(log: &dyn Log, configuration: &str) -> Result<Decisions> {
    let stream: StreamName = streams::decisions(configuration).parse()?;
    let mut decisions = Decisions::default();
    let mut reader = log.reader(&stream, 0).await?;
    loop {
        let records = reader.poll(BATCH).await?;
        if records.is_empty() {
            break;
        }
        for record in records {
            // by far the most frequent ones
            if !matches!(events::kind(&record).as_str(), "AnchorAssigned" | "ScopeResolved") {
                let place = || format!("stream {stream} offset {}", record.offset);
                decisions.take(record.offset, DecisionRecord::decode(&record.value).with_context(place)?);
            }
        }
    }
    if !decisions.holds.is_empty() {
        decisions.hear(log, &streams::control(configuration).parse()?).await?;
    }
    Ok(decisions)
}

impl Decisions {
    /// Reads what was decided about the holds.
    async fn hear(&mut self, log: &dyn Log, stream: &StreamName) -> Result<()> {
        let mut reader = log.reader(stream, 0).await?;
        loop {
            let records = reader.poll(BATCH).await?;
            if records.is_empty() {
                return Ok(());
            }
            for record in records.iter().filter(|record| events::kind(record) == "SourceDecided") {
                let place = || format!("stream {stream} offset {}", record.offset);
                let ControlRecord { time, context, event, .. } =
                    ControlRecord::decode(&record.value).with_context(place)?;
                if let ControlEvent::SourceDecided(decided) = event {
                    self.decide(decided, context.actor, time.to_string());
                }
            }
        }
    }

    /// A decision is about one record, and what that says; the last one counts, and no longer than it says.
    fn decide(&mut self, decided: SourceDecided, by: String, since: String) {
        let SourceDecided { verdict, held_offset, seen, reason, expires, .. } = decided;
        let is_meant = |hold: &&mut Hold| hold.offset == held_offset && hold.seen.as_ref() == Some(&seen);
        if let Some(hold) = self.holds.values_mut().find(is_meant) {
            let decision = HoldDecision { verdict, by, reason, since, until: expires.to_string() };
            hold.decided = Some(decision).filter(|_| clock::now() < expires);
        }
    }

    fn take(&mut self, offset: u64, record: DecisionRecord) {
        let since = record.time.to_string();
        match record.event {
            DecisionEvent::ConfigurationHeld(held) => {
                let root = held.naming_context.as_ref().map(Dn::key);
                let key = (held.reason, held.forest.clone(), root);
                // it has lasted since it began, whatever was seen since
                let since = self.holds.get(&key).map_or(since, |hold| hold.since.clone());
                self.holds.insert(key, hold(offset, held, since));
            }
            DecisionEvent::ConfigurationReleased(released) => {
                let root = released.naming_context.as_ref().map(Dn::key);
                self.holds.remove(&(released.reason, released.forest, root));
            }
            DecisionEvent::FindingRaised(raised) => {
                let key = (raised.forest.clone(), raised.naming_context.key(), raised.object);
                self.findings.insert(key, finding(raised, since));
            }
            DecisionEvent::FindingCleared(cleared) => {
                self.findings.remove(&(cleared.forest, cleared.naming_context.key(), cleared.object));
            }
            DecisionEvent::StreamStopped(at) => {
                self.stopped.insert(at.stream.clone(), stopped(&at, since));
            }
            DecisionEvent::StreamResumed(resumed) => {
                self.stopped.remove(&resumed.stream);
            }
            DecisionEvent::AnchorAssigned(_)
            | DecisionEvent::ScopeResolved(_)
            | DecisionEvent::FullReadJudged(_)
            | DecisionEvent::FullReadApproved(_)
            | DecisionEvent::JoinMade(_)
            | DecisionEvent::JoinBroken(_)
            | DecisionEvent::TimerFired(_) => {}
        }
    }

    /// Marks the sources whose stream is not applied any further; what their collector says of itself goes before.
    pub(super) fn mark(&self, sources: &mut [Source]) {
        for source in sources.iter_mut().filter(|source| source.state != SourceState::Stopped) {
            if let Some(stopped) = self.stopped.get(&source.stream) {
                source.state = SourceState::Stopped;
                source.stopped = Some(stopped.clone());
            }
        }
    }

    /// The holds that are on.
    pub(super) fn holds(&self) -> Vec<Hold> {
        self.holds.values().cloned().collect()
    }

    /// What is wrong with objects, those that are not sent first.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.findings.values().cloned().collect();
        findings.sort_by_key(|finding| !finding.blocking);
        findings
    }
}

fn hold(offset: u64, held: ConfigurationHeld, since: String) -> Hold {
    let seen = match (held.reason, held.snapshot, &held.doubt) {
        (HoldReason::SourceShrunken, Some(snapshot), Some(doubt)) => {
            Some(SourceSeen::FullRead { snapshot, doubt: doubt.clone() })
        }
        (HoldReason::ScopeEmpty, ..) if !held.emptied.is_empty() || !held.bare.is_empty() => {
            Some(SourceSeen::EmptyScope { emptied: held.emptied.clone(), bare: held.bare.clone() })
        }
        _ => None,
    };
    Hold {
        reason: name_of(&held.reason),
        forest: held.forest,
        detail: held.detail,
        hint: held.hint,
        since,
        offset,
        naming_context: held.naming_context.map(|root| root.to_string()),
        snapshot: held.snapshot.map(|snapshot| snapshot.0.to_string()),
        doubt: held.doubt,
        emptied: held.emptied.iter().map(ToString::to_string).collect(),
        bare: held.bare.iter().map(ToString::to_string).collect(),
        leaving: held.leaving,
        decidable: seen.is_some(),
        decided: None,
        seen,
    }
}

fn finding(raised: FindingRaised, since: String) -> Finding {
    Finding {
        forest: raised.forest,
        naming_context: raised.naming_context.to_string(),
        object: raised.object.to_string(),
        dn: raised.dn.to_string(),
        blocking: raised.blocking,
        messages: raised.messages,
        since,
    }
}

fn stopped(at: &StreamStopped, since: String) -> Stopped {
    Stopped {
        cause: "record".into(),
        detail: format!("stream {} is not applied beyond offset {}: {}", at.stream, at.offset, at.detail),
        hint: "upgrade forestsync, or restore the stream from a copy; its other changes wait, none is skipped".into(),
        since,
    }
}

#[cfg(test)]
mod tests {
    use forestsync_schemas::samples;

    use super::*;

    #[test]
    fn what_is_said_last_counts() {
        let mut decisions = Decisions::default();
        let events = samples::decisions();
        let after =
            |decisions: &Decisions| (decisions.holds().len(), decisions.findings().len(), decisions.stopped.len());
        let is = |record: &DecisionRecord, kind: &str| forestsync_schemas::EventBody::type_name(&record.event) == kind;
        for (kind, expected) in [
            ("FindingRaised", (0, 1, 0)),
            ("ConfigurationHeld", (1, 1, 0)),
            ("StreamStopped", (1, 1, 1)),
            ("ConfigurationReleased", (0, 1, 1)),
            ("FindingCleared", (0, 0, 1)),
            ("StreamResumed", (0, 0, 0)),
        ] {
            decisions.take(0, events.iter().find(|record| is(record, kind)).unwrap().clone());
            assert_eq!(after(&decisions), expected, "{kind}");
        }
    }
}
