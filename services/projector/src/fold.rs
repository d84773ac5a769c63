//! Reading what the projector itself wrote: decisions, which bind it, and `desired`, which tells what is no news.

use std::collections::BTreeMap;

use forestsync_domain::SourceAnchor;
use forestsync_log::Record;
use forestsync_rules::flow::TenantDomains;
use forestsync_schemas::decisions::{DecisionEvent, DecisionRecord, FindingRaised};
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::desired::{DesiredEvent, DesiredRecord, ObjectDesired, SourceObject};
use forestsync_schemas::tenant::{DomainsObserved, TenantEvent, TenantRecord};

use crate::config::{ScopeEntry, scope_key, source_id};
use crate::emit::{content_of, flow_of};
use crate::keys::{self, ObjectKey};
use crate::round::Round;
use crate::rows::{Adopted, Announced, Claim, EMPTY, Emitted, FindingRow, Linked, Shrink};
use crate::{ProjectorError, store};

type Result<T> = std::result::Result<T, ProjectorError>;

impl Round<'_> {
    /// Takes over a decision. The first one about an object stays.
    pub(crate) fn fold_decision(&mut self, record: &Record) -> Result<()> {
        let stream = self.plan.decisions.clone();
        let decision = DecisionRecord::decode(&record.value).map_err(|source| ProjectorError::Own {
            stream,
            offset: record.offset,
            source,
        })?;
        match decision.event {
            DecisionEvent::AnchorAssigned(event) => {
                let key = ObjectKey { source: source_id(&event.forest, &event.naming_context), guid: event.object };
                if self.claim(key)?.is_none() {
                    let claim = Claim { anchor: event.anchor, basis: event.basis, sequence: record.offset };
                    self.write_claim(key, &claim)?;
                }
            }
            DecisionEvent::ScopeResolved(event) => {
                let source = source_id(&event.forest, &event.naming_context);
                if let Some(state) = self.state(source) {
                    state.resolved.entry(scope_key(&ScopeEntry::Dn(event.dn))).or_insert(event.object);
                    self.meta.swept = false;
                    self.rebuild_scopes();
                }
            }
            DecisionEvent::ConfigurationHeld(event) => self.fold_hold(record.offset, event),
            DecisionEvent::ConfigurationReleased(event) => self.fold_release(&event),
            DecisionEvent::FindingRaised(event) => self.fold_finding(event),
            DecisionEvent::FindingCleared(event) => {
                let key = ObjectKey { source: source_id(&event.forest, &event.naming_context), guid: event.object };
                self.txn.delete(keys::of_object(keys::ANNOUNCED, key));
                self.txn.put(keys::out_finding(key), &EMPTY[..]);
            }
            DecisionEvent::StreamStopped(event) => {
                self.meta.stopped.insert(event.stream, event.offset);
            }
            DecisionEvent::FullReadJudged(event) => {
                let source = source_id(&event.forest, &event.naming_context);
                let judged = event.doubt.map(Shrink::from);
                self.txn.put(keys::judged(source, event.snapshot), store::encode(&judged));
            }
            DecisionEvent::FullReadApproved(event) => self.fold_approval(record.offset, event)?,
            DecisionEvent::JoinMade(event) => {
                let key = ObjectKey { source: source_id(&event.forest, &event.naming_context), guid: event.object };
                self.set_adopted(key, Some(Adopted { anchor: event.anchor, rule: event.rule }))?;
            }
            DecisionEvent::JoinBroken(event) => {
                let key = ObjectKey { source: source_id(&event.forest, &event.naming_context), guid: event.object };
                if self.adopted(key)?.is_some_and(|adopted| adopted.anchor == event.anchor) {
                    self.set_adopted(key, None)?;
                }
            }
            DecisionEvent::TimerFired(event) => {
                let key = ObjectKey { source: source_id(&event.forest, &event.naming_context), guid: event.object };
                self.set_moment(key, event.due.as_millisecond())?;
            }
            DecisionEvent::StreamResumed(event) => {
                self.meta.stopped.remove(&event.stream);
            }
        }
        self.meta.decisions = record.offset + 1;
        Ok(())
    }

    /// Takes over what the tenant says of itself. Wishes depend on it, so all of them are looked at if it is news.
    pub(crate) fn fold_tenant(&mut self, record: &Record) -> Result<()> {
        let stream = self.plan.tenant.clone();
        let decoded = TenantRecord::decode(&record.value).map_err(|source| ProjectorError::Own {
            stream,
            offset: record.offset,
            source,
        })?;
        let TenantEvent::DomainsObserved(DomainsObserved { verified, initial, default }) = decoded.event;
        let domains = TenantDomains { verified: verified.into_iter().collect(), initial, default };
        if self.meta.domains.as_ref() != Some(&domains) {
            self.meta.domains = Some(domains);
            self.meta.swept = false;
        }
        self.meta.tenant = record.offset + 1;
        Ok(())
    }

    fn fold_finding(&mut self, event: FindingRaised) {
        let key = ObjectKey { source: source_id(&event.forest, &event.naming_context), guid: event.object };
        let FindingRaised { forest, naming_context, blocking, messages, findings: rules, .. } = event;
        let announced = Announced { forest, naming_context, finding: FindingRow { blocking, messages, rules } };
        self.txn.put(keys::of_object(keys::ANNOUNCED, key), store::encode(&announced));
        self.txn.put(keys::out_finding(key), &EMPTY[..]);
    }

    /// Takes over what a record of `desired` says, and notes that it must be compared with what is wished.
    pub(crate) fn fold_desired(&mut self, record: &Record) -> Result<()> {
        let stream = self.plan.desired.clone();
        let desired = DesiredRecord::decode(&record.value).map_err(|source| ProjectorError::Own {
            stream,
            offset: record.offset,
            source,
        })?;
        self.raise_barrier(&desired.context.offsets);
        match desired.event {
            DesiredEvent::AttributeFlowDeclared(event) => {
                let row_key = keys::join(keys::OUTBOX, &[&[keys::OUT_FLOW], event.class.as_str().as_bytes()]);
                if event == flow_of(&self.plan.config.rules.flow, event.class) {
                    self.drop_outbox(row_key)?;
                } else {
                    self.add_outbox(row_key, None)?;
                }
            }
            DesiredEvent::ObjectDesired(event) => {
                let content = content_of(&event)?;
                let ObjectDesired { anchor, class, revision, source, .. } = event;
                self.fold_object(&anchor, class, revision, source, Some(content))?;
            }
            DesiredEvent::ObjectRemoved(event) => {
                self.fold_object(&event.anchor, event.class, event.revision, event.source, None)?;
            }
            DesiredEvent::LinkDesired(event) => {
                let incarnation = |emitted: Option<Emitted>| emitted.map_or(0, |emitted| emitted.incarnation);
                let group = incarnation(self.emitted(&event.group)?);
                let member = incarnation(self.emitted(&event.member)?);
                let row_key = keys::linked(&event.group, &event.member);
                self.txn.put(row_key, store::encode(&Linked { group, member }));
                self.add_outbox(keys::out_link(&event.group, &event.member), None)?;
            }
            DesiredEvent::LinkRemoved(event) => {
                self.txn.delete(keys::linked(&event.group, &event.member));
                self.add_outbox(keys::out_link(&event.group, &event.member), None)?;
            }
        }
        self.meta.desired = record.offset + 1;
        Ok(())
    }

    /// Notes how far the streams had been read when something was written.
    pub(crate) fn raise_barrier(&mut self, offsets: &BTreeMap<String, u64>) {
        for (stream, offset) in offsets {
            match self.meta.until.get_mut(stream) {
                Some(until) => *until = (*until).max(*offset),
                None => drop(self.meta.until.insert(stream.clone(), *offset)),
            }
        }
    }

    fn fold_object(
        &mut self,
        anchor: &SourceAnchor,
        class: CloudClass,
        revision: u64,
        source: SourceObject,
        content: Option<[u8; 16]>,
    ) -> Result<()> {
        let old = self.emitted(anchor)?;
        let incarnation = old.as_ref().map_or(0, |old| old.incarnation) + u32::from(content.is_none());
        let new = Emitted {
            alive: content.is_some(),
            class,
            revision,
            incarnation,
            content: content.unwrap_or_default(),
            source: self.plan.source_of(&source.forest, &source.dn),
            forest: source.forest,
            object: source.object,
            dn: source.dn,
            folded: true,
        };
        self.remember(anchor, old.as_ref(), &new)?;
        self.add_outbox(keys::out_object(anchor), None)?;
        Ok(())
    }
}
