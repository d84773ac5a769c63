//! Asking for changes, page by page.

use std::sync::Arc;
use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_rules::diff;
use forestsync_schemas::desired::{CloudAttributes, CloudClass};
use forestsync_schemas::outcomes::{DriftPolicy, OutcomeEvent, TenantCompared};
use tokio::time::Instant;

use super::sweep::{Hints, Sweep};
use super::{CLASSES, MOST_OPEN, believed, now};
use crate::engine::fold::put;
use crate::engine::{Engine, NewOutcome};
use crate::error::ProvisionerError;
use crate::store::{ObjectRow, StoreError, Watch};
use crate::target::{Change, Changes, CloudObject, Next, Outage};

/// How often it is said that the tenant was compared, where not all of it was.
const SAID_EVERY: Duration = Duration::from_hours(1);

impl Engine {
    /// Takes the page that came, and asks for the next one if it is time.
    pub(in crate::engine) fn compare(&mut self) -> Result<(), ProvisionerError> {
        if !self.compares() {
            return Ok(());
        }
        while let Some(read) = self.drift.page.try_join_next() {
            let (class, attributes, result) = read?;
            self.page_read(class, &attributes, result)?;
        }
        self.sweep_on()?;
        let now = Instant::now();
        let busy = !self.drift.page.is_empty() || self.drift.sweep.is_some() || self.drift.objects.len() >= MOST_OPEN;
        if busy || self.outage.active(now).is_some() || self.drift.next.is_none_or(|next| next > now) {
            return Ok(());
        }
        if self.drift.classes.is_empty() {
            self.drift.classes = CLASSES.into_iter().filter(|class| self.flows.contains_key(class)).collect();
        }
        if let Some(class) = self.drift.classes.front().copied() {
            return self.ask(class);
        }
        self.round_over(None);
        Ok(())
    }

    /// Waits for a page, for as long as one is on its way.
    pub(in crate::engine) fn awaits_page(&self) -> bool {
        !self.drift.page.is_empty()
    }

    fn ask(&mut self, class: CloudClass) -> Result<(), ProvisionerError> {
        let mut attributes = self.flows.get(&class).cloned().unwrap_or_default();
        attributes.retain(|name| self.target.shows(name));
        let first = self.target.first_changes(class, &attributes);
        let mut watch = self.store.watch(class)?;
        if watch.first != first || watch.link.is_none() {
            let (round, compared) = (watch.round + 1, watch.compared);
            watch = Watch { link: None, whole: true, round, began: now(), first: first.clone(), compared };
            let mut tx = self.store.tx();
            tx.set_watch(class, &watch)?;
            tx.commit()?;
        }
        let place = watch.link.unwrap_or(first);
        let target = std::sync::Arc::clone(&self.target);
        self.drift.page.spawn(async move {
            let result = target.changes(class, &attributes, &place).await;
            (class, attributes, result)
        });
        Ok(())
    }

    pub(in crate::engine) fn page_read(
        &mut self,
        class: CloudClass,
        attributes: &[String],
        result: Result<Changes, Outage>,
    ) -> Result<(), ProvisionerError> {
        match result {
            Err(outage) if outage.forfeited => Err(ProvisionerError::LeaseEnded),
            Err(outage) => {
                let again = outage.retry_after.and_then(|wait| Instant::now().checked_add(wait));
                self.not_compared(outage.detail, again);
                Ok(())
            }
            Ok(Changes::Page(changes, next)) => {
                self.drift.trouble = None;
                self.take_page(class, attributes, &changes, next)
            }
            Ok(Changes::Forgotten) => {
                tracing::info!(class = class.as_str(), "the tenant has forgotten what it told; everything is compared");
                if self.begin_anew(class)? {
                    let class = class.as_str();
                    let detail = format!("the tenant forgets what it told of {class} before it told everything");
                    self.not_compared(detail, None);
                }
                Ok(())
            }
            Ok(Changes::Failed(failure)) => {
                // a link that the tenant does not know any more is not always called that
                if matches!(failure.status, Some(400 | 404)) {
                    self.begin_anew(class)?;
                }
                let status = failure.status.map_or(String::new(), |status| format!("{status} "));
                let detail =
                    format!("the tenant does not tell changes of {}: {status}{}", class.as_str(), failure.code);
                let again = failure.retry_after.and_then(|wait| Instant::now().checked_add(wait));
                self.not_compared(detail, again);
                Ok(())
            }
        }
    }

    /// Everything of the class is compared from now on; whether it was already.
    fn begin_anew(&mut self, class: CloudClass) -> Result<bool, ProvisionerError> {
        let mut watch = self.store.watch(class)?;
        let was_whole = watch.link.take().is_none() || watch.whole;
        let mut tx = self.store.tx();
        tx.set_watch(class, &watch)?;
        tx.commit()?;
        Ok(was_whole)
    }

    fn not_compared(&mut self, detail: String, again: Option<Instant>) {
        if self.drift.trouble.is_none() {
            tracing::warn!(%detail, "the tenant cannot be compared; trying again");
        }
        self.drift.trouble = Some(detail);
        self.round_over(again);
    }

    /// The next round begins after the interval, and not before `earliest`.
    fn round_over(&mut self, earliest: Option<Instant>) {
        let interval = self.drift_settings().map(|settings| settings.interval).unwrap_or_default();
        let next = Instant::now() + interval;
        self.drift.next = Some(earliest.map_or(next, |earliest| earliest.max(next)));
        self.drift.classes.clear();
    }

    /// Takes a page: hints, marks and the link become durable together.
    fn take_page(
        &mut self,
        class: CloudClass,
        attributes: &[String],
        changes: &[Change],
        next: Next,
    ) -> Result<(), ProvisionerError> {
        let mut watch = self.store.watch(class)?;
        let round = watch.round;
        let (mut objects, mut members) = (Vec::new(), Vec::new());
        let mut tx = self.store.tx();
        for change in changes {
            let Some((anchor, row)) = self.whose(change)?.filter(|(_, row)| row.class == class) else { continue };
            if watch.whole && change.object.is_some() {
                tx.set_mark(&anchor, round)?;
            }
            if self.is_suspicious(&anchor, &row, change, attributes) {
                objects.push(anchor.clone());
            }
            for (id, present) in &change.members {
                let Some(member) = self.store.anchor_of(id)? else { continue };
                if watch.whole && *present {
                    tx.set_member_mark(&anchor, &member, round)?;
                }
                let edge = self.store.edge(&anchor, &member)?.unwrap_or_default();
                if believed(&edge) != *present {
                    members.push((anchor.clone(), member, *present));
                }
            }
        }
        let is_last = matches!(next, Next::Later(_));
        let last = match next {
            Next::Page(link) => {
                watch.link = Some(link);
                None
            }
            Next::Later(link) if watch.whole => Some(link),
            Next::Later(link) => {
                (watch.link, watch.compared) = (Some(link), now());
                None
            }
        };
        if last.is_none() {
            tx.set_watch(class, &watch)?;
        }
        let hints = Hints { objects, members };
        hints.write(&mut tx, now())?;
        tx.commit()?;
        self.take_up(hints);
        if let Some(link) = last {
            self.drift.sweep = Some(Sweep::new(class, link));
        } else if is_last {
            self.drift.compared.insert(class, watch.compared);
            self.class_over(false);
        }
        Ok(())
    }

    /// One class is done; `whole`: all of it was compared.
    pub(super) fn class_over(&mut self, whole: bool) {
        self.drift.classes.pop_front();
        self.drift.whole |= whole;
        if self.drift.classes.is_empty() {
            self.drift.rounds += 1;
            self.round_over(None);
            let whole = std::mem::take(&mut self.drift.whole);
            if whole || self.drift.said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
                self.drift.said = Some(Instant::now());
                let event = OutcomeEvent::TenantCompared(TenantCompared { whole });
                self.turn.outcome(NewOutcome::of_all(self.desired_next.saturating_sub(1), event));
            }
        }
    }

    /// Whose object it is: by its id, and where that is not known yet by its anchor.
    fn whose(&self, change: &Change) -> Result<Option<(SourceAnchor, Arc<ObjectRow>)>, StoreError> {
        if let Some(anchor) = self.store.anchor_of(&change.id)? {
            let row = self.store.object(&anchor)?;
            return Ok(row.filter(|row| row.cloud_id.as_deref() == Some(&change.id)).map(|row| (anchor, row)));
        }
        let Some(text) = change.object.as_ref().and_then(|object| object.anchor.as_deref()) else { return Ok(None) };
        for anchor in [SourceAnchor::from(text.to_owned()), unshortened(text)] {
            if let Some(row) = self.store.object(&anchor)?.filter(|row| !row.is_managed()) {
                return Ok(Some((anchor, row)));
            }
        }
        Ok(None)
    }

    /// Whether what is said of an object differs from what is known, so that it must be looked at.
    fn is_suspicious(&self, anchor: &SourceAnchor, row: &ObjectRow, change: &Change, attributes: &[String]) -> bool {
        if row.is_managed() {
            return match &change.object {
                None => true,
                Some(object) => self.differs(row, object, attributes),
            };
        }
        let is_lost = row.lost.is_some_and(|lost| lost.policy != DriftPolicy::Enforce);
        // its creation may be under way, and what is said may be newer
        change.object.is_some() && (is_lost || row.is_coming() || self.flights.contains_key(anchor))
    }

    fn differs(&self, row: &ObjectRow, object: &CloudObject, attributes: &[String]) -> bool {
        let mut known: CloudAttributes = row.confirmed.clone();
        for (name, change) in &row.drift {
            put(&mut known, name, change.after.as_ref());
        }
        let mut names = self.watched(row);
        names.retain(|name| attributes.contains(name));
        !diff::diff(&known, &object.attributes, &names).is_empty()
            || !diff::diff(&object.attributes, &known, &names).is_empty()
    }
}

/// The anchor of a group, from the form that its name in the tenant has.
fn unshortened(name: &str) -> SourceAnchor {
    let mut text = name.replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    SourceAnchor::from(text)
}

#[cfg(test)]
mod tests {
    use forestsync_domain::ObjectGuid;

    use super::*;

    #[test]
    fn a_group_is_known_by_its_name() {
        for byte in [0, 0xFB, 0xFF] {
            let anchor = SourceAnchor::from_guid(ObjectGuid::from_bytes([byte; 16]));
            assert_eq!(unshortened(&anchor.unique_name()), anchor);
        }
    }
}
