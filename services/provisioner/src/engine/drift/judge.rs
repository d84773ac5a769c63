//! What a reading of an object means.

use std::collections::BTreeMap;

use forestsync_domain::SourceAnchor;
use forestsync_rules::diff;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue};
use forestsync_schemas::outcomes::{
    DeletedByOthers, DriftEnded, DriftFound, Drifted, MatchedBy, ObjectAdopted, OutcomeEvent,
};

use super::{now, timestamp};
use crate::engine::answers::foreign;
use crate::engine::turn::Note;
use crate::engine::{Engine, Flight, NewOutcome, Stage};
use crate::error::ProvisionerError;
use crate::store::{ObjectRow, WishKind};
use crate::target::CloudObject;

/// Whether two values of an attribute are the same; none is the same as an empty one.
fn same(name: &str, one: Option<&CloudValue>, other: Option<&CloudValue>) -> bool {
    let holding = |value: Option<&CloudValue>| -> CloudAttributes {
        value.map(|value| (name.to_owned(), value.clone())).into_iter().collect()
    };
    let (one, other, names) = (holding(one), holding(other), [name.to_owned()]);
    diff::diff(&one, &other, &names).is_empty() && diff::diff(&other, &one, &names).is_empty()
}

impl Engine {
    /// Takes the reading of an object by its key.
    pub(in crate::engine) fn compared(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        object: Option<&CloudObject>,
    ) -> Result<(), ProvisionerError> {
        let Some(row) = self.store.object(anchor)? else { return Ok(()) };
        let Some(doubt) = self.drift.objects.get(anchor).copied() else { return Ok(()) };
        if doubt.since > doubt.asked {
            // more was said since it was read: it is read again
            return Ok(());
        }
        let policy = self.drift_settings().map(|settings| settings.deletions);
        match object {
            None if row.lost.is_some_and(|lost| Some(lost.policy) == policy) => self.settle(anchor),
            // its anchor tells whether it is deleted, or only not seen here
            None => {
                if let Some(doubt) = self.drift.objects.get_mut(anchor) {
                    doubt.gone = true;
                }
            }
            // another tool has taken it over: that is no drift
            Some(object) if foreign(object).is_some() => {
                self.not_missed(anchor);
                self.trust(anchor);
            }
            Some(object) if row.lost.is_some() => {
                self.is_back(anchor, flight, object);
                self.settle(anchor);
            }
            Some(object) => {
                self.judge_attributes(anchor, flight, &row, object, doubt.asked);
                self.is_alive(anchor, doubt.asked)?;
                self.settle(anchor);
            }
        }
        Ok(())
    }

    /// Takes the look for one whose key leads nowhere.
    pub(in crate::engine) fn compared_gone(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        live: Option<&CloudObject>,
        restorable: bool,
    ) -> Result<(), ProvisionerError> {
        let Some(row) = self.store.object(anchor)? else { return Ok(()) };
        if self.drift.objects.get(anchor).is_none_or(|doubt| doubt.since > doubt.asked) {
            return Ok(());
        }
        if live.is_some_and(|live| row.cloud_id.as_ref() == Some(&live.id)) {
            // one of the two answers is late
            if let Some(doubt) = self.drift.objects.get_mut(anchor) {
                doubt.gone = false;
            }
            self.comparison_failed(anchor, None);
            return Ok(());
        }
        self.not_missed(anchor);
        if let Some(event) = self.deleted_by_others(restorable) {
            self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
        }
        self.stages.remove(anchor);
        self.trust(anchor);
        Ok(())
    }

    /// Groups do not miss it as a member any more: it is gone itself.
    fn not_missed(&mut self, anchor: &SourceAnchor) {
        for group in self.drift.missing.remove(anchor).unwrap_or_default() {
            self.turn.touch(&group);
        }
    }

    /// The event for a managed object that somebody else deleted; none where drift is not looked at.
    pub(in crate::engine) fn deleted_by_others(&self, restorable: bool) -> Option<OutcomeEvent> {
        let policy = self.drift_settings()?.deletions;
        let event = DeletedByOthers { restorable, policy, read_at: timestamp(now()) };
        Some(OutcomeEvent::DeletedByOthers(event))
    }

    /// Somebody brought it back.
    fn is_back(&mut self, anchor: &SourceAnchor, flight: &Flight, object: &CloudObject) {
        let ended =
            DriftEnded { attributes: Vec::new(), members: Vec::new(), deletion: true, read_at: timestamp(now()) };
        self.turn.outcome(NewOutcome::after(anchor, flight, None, OutcomeEvent::DriftEnded(ended)));
        if flight.class == CloudClass::Group {
            self.stages.insert(anchor.clone(), Stage::Inherited { members_read: false });
        }
        let event = ObjectAdopted { matched_by: MatchedBy::Anchor, pair: None, attributes: object.attributes.clone() };
        self.turn.outcome(NewOutcome::after(anchor, flight, None, OutcomeEvent::ObjectAdopted(event)));
    }

    /// A reading is believed, and repeated once it cannot be late any more.
    pub(super) fn settle(&mut self, anchor: &SourceAnchor) {
        let lateness = self.lateness();
        let Some(doubt) = self.drift.objects.get_mut(anchor) else { return };
        let until = doubt.since.saturating_add(lateness);
        if now() < until {
            doubt.not_before = until;
            self.turn.touch(anchor);
        } else {
            self.trust(anchor);
        }
    }

    fn judge_attributes(
        &mut self,
        anchor: &SourceAnchor,
        flight: &Flight,
        row: &ObjectRow,
        object: &CloudObject,
        asked: i64,
    ) {
        let Some(settings) = self.drift_settings() else { return };
        let Some(WishKind::Present { attributes: wished, .. }) = row.wish.as_ref().map(|wish| &wish.kind) else {
            return;
        };
        let names = self.watched(row);
        let (mut found, mut ended, mut unsure) = (BTreeMap::new(), Vec::new(), Vec::new());
        for name in &names {
            let known = row.drift.get(name);
            let expected = known.map_or_else(|| row.confirmed.get(name), |change| change.before.as_ref());
            let value = object.attributes.get(name);
            if row.unsure.contains(name) {
                // nobody knows who wrote what, so that the reading is what is known from here on
                unsure.push((name.clone(), value.cloned()));
                continue;
            }
            // where the source has no value, some attributes keep the one that they have
            let is_right = diff::diff(&object.attributes, wished, std::slice::from_ref(name)).is_empty();
            if is_right || same(name, expected, value) {
                ended.extend(known.map(|_| name.clone()));
                continue;
            }
            let policy = settings.policy(name);
            let is_said = known.is_some_and(|change| same(name, change.after.as_ref(), value))
                && row.drift_policies.get(name).is_some_and(|(said, _)| *said == policy);
            if !is_said {
                found.insert(name.clone(), Drifted { expected: expected.cloned(), found: value.cloned(), policy });
            }
        }
        for (name, value) in unsure {
            self.turn.note(Note::Value(anchor.clone(), name, value));
        }
        // what is not written any more is nobody's drift
        ended.extend(row.drift.keys().filter(|name| !names.contains(name)).cloned());
        let read_at = timestamp(asked);
        if !found.is_empty() {
            let event = OutcomeEvent::DriftFound(DriftFound { attributes: found, read_at });
            self.turn.outcome(NewOutcome::after(anchor, flight, None, event));
        }
        if !ended.is_empty() {
            let event = DriftEnded { attributes: ended, members: Vec::new(), deletion: false, read_at };
            self.turn.outcome(NewOutcome::after(anchor, flight, None, OutcomeEvent::DriftEnded(event)));
        }
    }
}
