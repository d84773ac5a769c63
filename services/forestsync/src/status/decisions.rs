//! What the projector says of itself in `decisions`: what holds it, what it found, which streams it cannot apply.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use forestsync_domain::ObjectGuid;
use forestsync_log::{Log, StreamName};
use forestsync_schemas::DecisionRecord;
use forestsync_schemas::decisions::{ConfigurationHeld, DecisionEvent, FindingRaised, HoldReason, StreamStopped};

use super::{BATCH, Finding, Hold, Source, SourceState, Stopped, name_of};
use crate::events;

/// What is on at the end of the stream.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    holds: BTreeMap<(HoldReason, String), Hold>,
    /// By forest, naming context and object.
    findings: BTreeMap<(String, String, ObjectGuid), Finding>,
    stopped: BTreeMap<String, Stopped>,
}

/// Reads the stream.
pub(super) async fn gather(log: &dyn Log, stream: &StreamName) -> Result<Decisions> {
    let mut decisions = Decisions::default();
    let mut reader = log.reader(stream, 0).await?;
    loop {
        let records = reader.poll(BATCH).await?;
        if records.is_empty() {
            return Ok(decisions);
        }
        for record in records {
            // by far the most frequent ones
            if !matches!(events::kind(&record).as_str(), "AnchorAssigned" | "ScopeResolved") {
                let place = || format!("stream {stream} offset {}", record.offset);
                decisions.take(DecisionRecord::decode(&record.value).with_context(place)?);
            }
        }
    }
}

impl Decisions {
    fn take(&mut self, record: DecisionRecord) {
        let since = record.time.to_string();
        match record.event {
            DecisionEvent::ConfigurationHeld(held) => {
                self.holds.insert((held.reason, held.forest.clone()), hold(held, since));
            }
            DecisionEvent::ConfigurationReleased(released) => {
                self.holds.remove(&(released.reason, released.forest));
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

fn hold(held: ConfigurationHeld, since: String) -> Hold {
    Hold { reason: name_of(&held.reason), forest: held.forest, detail: held.detail, hint: held.hint, since }
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
            decisions.take(events.iter().find(|record| is(record, kind)).unwrap().clone());
            assert_eq!(after(&decisions), expected, "{kind}");
        }
    }
}
