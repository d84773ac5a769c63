//! From what is wished to `desired`.
//!
//! An outbox row names an object or a membership of which the stream may not say what is wished now. It is written with
//! the change that made it so, and taken away with the row that remembers what was appended. After a crash in between
//! the stream's own tail is read, so that nothing is appended twice; what would be no news is not appended at all.
//!
//! A record carries the trace of the change that caused it. Where no single change did, as after a first full read, an
//! absence or a new configuration, it carries the trace of the latest look that was complete when it was written. Traces
//! depend on when things are written, so they count neither for a record's identity nor for the state digest.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::SourceAnchor;
use forestsync_log::NewRecord;
use forestsync_rules::flow::CompiledFlow;
use forestsync_rules::settings::OutOfScope;
use forestsync_schemas::control::RemovedObjects;
use forestsync_schemas::desired::{
    AttributeFlowDeclared, CloudAttributes, CloudClass, DesiredContext, DesiredEvent, DesiredRecord, LinkDesired,
    LinkRemoved, ObjectDesired, ObjectRemoved, RemovalReason, SourceObject,
};
use forestsync_schemas::{EventBody as _, EventId};
use jiff::Timestamp;

use crate::config::SourceId;
use crate::eligible::Eligible;
use crate::keys::{self, ObjectKey};
use crate::round::Round;
use crate::rows::{Emitted, Linked, Wish, adjust, to_cloud};
use crate::{ProjectorError, StoreError, digest, store};

type Result<T> = std::result::Result<T, ProjectorError>;

/// Records of one append.
const MAX_RECORDS: usize = 1_000;
/// Bytes of one append.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// What is written in which order: objects before memberships, removals last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Flows,
    /// All anchors, after a sweep; else those in the outbox.
    AllObjects,
    Objects,
    Links,
    AllRemovals,
    Removals,
}

impl Phase {
    pub(crate) const ALL: [Self; 6] =
        [Self::Flows, Self::AllObjects, Self::Objects, Self::Links, Self::AllRemovals, Self::Removals];

    /// Whether it goes over all anchors.
    pub(crate) fn is_all(self) -> bool {
        matches!(self, Self::AllObjects | Self::AllRemovals)
    }

    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Flows => &[keys::OUTBOX, keys::OUT_FLOW],
            Self::Objects | Self::Removals => &[keys::OUTBOX, keys::OUT_OBJECT],
            Self::Links => &[keys::OUTBOX, keys::OUT_LINK],
            Self::AllObjects | Self::AllRemovals => &[keys::ANCHOR],
        }
    }
}

/// Records in the making.
#[derive(Debug)]
pub(crate) struct Emission<'a> {
    pub(crate) records: Vec<NewRecord>,
    /// Removals that were seen and left to their phase.
    pub(crate) deferred: usize,
    bytes: usize,
    now: Timestamp,
    context: DesiredContext,
    /// The trace of what no single change caused.
    look: Option<String>,
    /// Sources of which nothing may be written; their outbox rows stay.
    withheld: &'a BTreeSet<SourceId>,
}

impl<'a> Emission<'a> {
    pub(crate) fn new(round: &Round<'_>, now: Timestamp, withheld: &'a BTreeSet<SourceId>) -> Self {
        let offsets = round.meta.sources.values().map(|state| (state.stream.clone(), state.offset)).collect();
        let context = DesiredContext {
            configuration: round.plan.config.configuration.clone(),
            rules: round.plan.digest.clone(),
            offsets,
            trace: None,
        };
        Self { records: Vec::new(), deferred: 0, bytes: 0, now, context, look: round.meta.look.clone(), withheld }
    }

    /// How far the streams have been read.
    pub(crate) fn offsets(&self) -> &BTreeMap<String, u64> {
        &self.context.offsets
    }

    fn is_full(&self) -> bool {
        self.records.len() >= MAX_RECORDS || self.bytes >= MAX_BYTES
    }

    /// Adds a record; what makes its identity are type, key and `content`.
    fn push(&mut self, event: DesiredEvent, content: &[u8], trace: Option<&String>) -> Result<()> {
        let (key, kind) = (event.key(), event.type_name());
        self.context.trace = trace.cloned();
        let id = EventId::of([kind.as_bytes(), key.as_bytes(), content]);
        let record = DesiredRecord { id, time: self.now, context: self.context.clone(), event };
        let mut record = NewRecord::new(Some(key), record.encode()?);
        record.headers.push(("type".into(), kind.into()));
        if let Some(trace) = trace {
            record.headers.push((forestsync_schemas::trace::HEADER.into(), trace.clone().into()));
        }
        self.bytes += record.size();
        self.records.push(record);
        Ok(())
    }
}

impl Round<'_> {
    /// Takes outbox rows after `after` for as long as one append has room. Returns the last row looked at, `None` if
    /// there are no more.
    pub(crate) fn emit(
        &mut self,
        phase: Phase,
        after: Option<&[u8]>,
        out: &mut Emission<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let rows = self.txn.scan(phase.prefix(), after, MAX_RECORDS)?;
        let mut last = None;
        for (row_key, value) in rows {
            if out.is_full() || self.is_full() {
                break;
            }
            let cause: Option<String> = if phase.is_all() { None } else { self.decode(&row_key, &value)? };
            let trace = cause.or_else(|| out.look.clone());
            let is_done = match phase {
                Phase::AllObjects | Phase::AllRemovals => {
                    self.txn.learn(&row_key, value);
                    if let Some(anchor) = keys::read_of_anchor(&row_key) {
                        self.emit_object(&anchor, phase == Phase::AllRemovals, trace.as_ref(), out)?;
                    }
                    false
                }
                Phase::Flows => emit_flow(&row_key, &self.plan.config.rules.flow, out)?,
                Phase::Objects | Phase::Removals => match keys::read_out_object(&row_key) {
                    Some(anchor) => self.emit_object(&anchor, phase == Phase::Removals, trace.as_ref(), out)?,
                    None => true,
                },
                Phase::Links => match keys::read_out_link(&row_key) {
                    Some((group, member)) => {
                        let is_withheld = self.is_withheld(&group, out)? || self.is_withheld(&member, out)?;
                        if !is_withheld {
                            self.emit_link(&group, &member, trace.as_ref(), out)?;
                        }
                        !is_withheld
                    }
                    None => true,
                },
            };
            self.steps += 1;
            if is_done {
                self.txn.delete(row_key.clone());
                self.meta.counters.outbox = self.meta.counters.outbox.saturating_sub(1);
            }
            last = Some(row_key);
        }
        Ok(last)
    }

    /// Returns whether the outbox row has served; that of a removal waits for its phase.
    pub(crate) fn emit_object(
        &mut self,
        anchor: &SourceAnchor,
        removals: bool,
        trace: Option<&String>,
        out: &mut Emission<'_>,
    ) -> Result<bool> {
        if self.is_withheld(anchor, out)? {
            // after a sweep there may be no row that would bring it back
            self.add_outbox(keys::out_object(anchor), None)?;
            return Ok(false);
        }
        let (wish, emitted) = (self.own_wish(anchor)?, self.emitted(anchor)?);
        match (wish, emitted) {
            (Some(wish), _) if wish.blocked => Ok(true),
            (Some(wish), emitted) => {
                self.emit_wish(anchor, wish, emitted, trace, out)?;
                Ok(true)
            }
            (None, Some(emitted)) if emitted.alive => {
                if removals {
                    self.lost_no_more(anchor)?;
                    let (reason, keep) = self.reason(&emitted)?;
                    self.emit_removal(anchor, &emitted, (reason, keep), trace, out)?;
                }
                out.deferred += usize::from(!removals);
                Ok(removals)
            }
            (None, _) => {
                self.lost_no_more(anchor)?;
                Ok(true)
            }
        }
    }

    /// Whether what is wished for an anchor, or what was written of it, comes from a source that is withheld.
    fn is_withheld(&mut self, anchor: &SourceAnchor, out: &Emission<'_>) -> Result<bool> {
        if out.withheld.is_empty() {
            return Ok(false);
        }
        let sources = [
            self.wish(anchor)?.map(|wish| wish.object.source),
            self.emitted(anchor)?.filter(|emitted| emitted.alive).and_then(|emitted| emitted.source),
        ];
        Ok(sources.iter().flatten().any(|source| out.withheld.contains(source)))
    }

    fn emit_wish(
        &mut self,
        anchor: &SourceAnchor,
        wish: Wish,
        emitted: Option<Emitted>,
        trace: Option<&String>,
        out: &mut Emission<'_>,
    ) -> Result<()> {
        let forest = self.plan.source(wish.object.source).map(|s| s.config.forest.clone()).unwrap_or_default();
        let manager = self.if_standing(wish.manager)?;
        let owner = self.if_standing(wish.owner)?;
        let mut joined = Vec::with_capacity(wish.joined.len());
        for object in &wish.joined {
            joined.push(self.source_object(*object)?);
        }
        let dn = match self.head(wish.object)? {
            Some(head) => self.name_of(wish.object, &head.dn, head.parent)?,
            None => forestsync_domain::Dn::default(),
        };
        let mut event = ObjectDesired {
            anchor: anchor.clone(),
            class: wish.class,
            revision: 0,
            attributes: to_cloud(wish.attributes),
            at_creation: to_cloud(wish.at_creation),
            left_alone: wish.ignored,
            manager,
            owner,
            not_writable: wish.not_writable,
            source: SourceObject { forest: forest.clone(), object: wish.object.guid, dn: dn.clone() },
            joined,
        };
        let content = content_of(&event)?;
        let mut emitted = emitted;
        if let Some(old) = emitted.clone().filter(|old| old.alive) {
            if old.content == content {
                return Ok(());
            }
            if old.class != wish.class {
                emitted = Some(self.emit_removal(anchor, &old, (RemovalReason::ClassChanged, false), trace, out)?);
            }
        }
        let now = Emitted {
            alive: true,
            class: wish.class,
            revision: emitted.as_ref().map_or(0, |old| old.revision) + 1,
            incarnation: emitted.as_ref().map_or(0, |old| old.incarnation),
            content,
            forest,
            source: Some(wish.object.source),
            object: wish.object.guid,
            dn,
            folded: false,
        };
        event.revision = now.revision;
        self.remember(anchor, emitted.as_ref(), &now)?;
        let identity = [&now.revision.to_be_bytes()[..], &now.content].concat();
        out.push(DesiredEvent::ObjectDesired(event), &identity, trace)
    }

    fn emit_removal(
        &mut self,
        anchor: &SourceAnchor,
        old: &Emitted,
        (reason, keep): (RemovalReason, bool),
        trace: Option<&String>,
        out: &mut Emission<'_>,
    ) -> Result<Emitted> {
        let gone = Emitted {
            alive: false,
            revision: old.revision + 1,
            incarnation: old.incarnation + 1,
            content: [0; 16],
            ..old.clone()
        };
        self.remember(anchor, Some(old), &gone)?;
        let event = ObjectRemoved {
            anchor: anchor.clone(),
            class: gone.class,
            revision: gone.revision,
            reason,
            keep,
            source: SourceObject { forest: gone.forest.clone(), object: gone.object, dn: gone.dn.clone() },
        };
        out.push(DesiredEvent::ObjectRemoved(event), &gone.revision.to_be_bytes(), trace)?;
        Ok(gone)
    }

    /// Remembers what the stream says of an anchor.
    pub(crate) fn remember(
        &mut self,
        anchor: &SourceAnchor,
        old: Option<&Emitted>,
        new: &Emitted,
    ) -> std::result::Result<(), StoreError> {
        let by_source = &mut self.meta.counters.emitted_by_source;
        for (emitted, there) in old.map(|old| (old, false)).into_iter().chain([(new, true)]) {
            if let Some(source) = emitted.source.filter(|_| emitted.alive) {
                adjust(by_source.entry(source).or_default(), !there, there);
            }
        }
        let mut row = self.anchor_row(anchor)?;
        row.emitted = Some(new.clone());
        self.put_anchor_row(anchor, &row);
        Ok(())
    }

    /// Why what was written is not wished any more, and whether the cloud object stays all the same.
    pub(crate) fn reason(&mut self, emitted: &Emitted) -> std::result::Result<(RemovalReason, bool), StoreError> {
        if let Some(objects) = self.plan.config.removed {
            let source = emitted.source.filter(|source| self.plan.source(*source).is_some());
            let is_wanted = match source {
                Some(source) => self.is_wanted_elsewhere(ObjectKey { source, guid: emitted.object })?,
                None => false,
            };
            return Ok(if is_wanted {
                (RemovalReason::HandedOver, true)
            } else {
                (RemovalReason::ConfigurationRemoved, objects == RemovedObjects::Release)
            });
        }
        let keeps = self.plan.config.rules.scope.out_of_scope == OutOfScope::Keep;
        let Some(source) = emitted.source.filter(|source| self.plan.source(*source).is_some()) else {
            return Ok((RemovalReason::OutOfScope, keeps));
        };
        let key = ObjectKey { source, guid: emitted.object };
        let row = self.object(key)?;
        let is_joined = self.stands_for(key)?.is_some();
        let reason = match self.eligible(key, row.as_ref())? {
            Eligible::Deleted => RemovalReason::Deleted,
            Eligible::Class => RemovalReason::ClassChanged,
            Eligible::OutOfScope(_) if self.is_wanted_elsewhere(key)? => return Ok((RemovalReason::HandedOver, true)),
            Eligible::OutOfScope(_) => return Ok((RemovalReason::OutOfScope, keeps)),
            Eligible::Unknown if !emitted.folded => RemovalReason::Absent,
            Eligible::Yes | Eligible::Partner if is_joined => RemovalReason::Joined,
            // what a partner was joined with is gone, and it cannot stand alone
            Eligible::Excluded(_) | Eligible::Partner => RemovalReason::Excluded,
            // what was removed is dealt with above
            Eligible::Unknown | Eligible::Yes | Eligible::Removed => RemovalReason::Rebuilt,
        };
        Ok((reason, false))
    }

    fn if_standing(&mut self, anchor: Option<SourceAnchor>) -> std::result::Result<Option<SourceAnchor>, StoreError> {
        match anchor {
            Some(anchor) => Ok(self.standing(&anchor)?.map(|_| anchor)),
            None => Ok(None),
        }
    }

    fn source_object(&mut self, key: ObjectKey) -> std::result::Result<SourceObject, StoreError> {
        let forest = self.plan.source(key.source).map(|s| s.config.forest.clone()).unwrap_or_default();
        let dn = match self.head(key)? {
            Some(head) => self.name_of(key, &head.dn, head.parent)?,
            None => forestsync_domain::Dn::default(),
        };
        Ok(SourceObject { forest, object: key.guid, dn })
    }

    pub(crate) fn emit_link(
        &mut self,
        group: &SourceAnchor,
        member: &SourceAnchor,
        trace: Option<&String>,
        out: &mut Emission<'_>,
    ) -> Result<()> {
        if self.plan.config.removed.is_some() {
            // all memberships end with their objects; a record before those would take the members out of what is let go
            return Ok(());
        }
        let ends = self.standing(group)?.zip(self.standing(member)?);
        let desired = match &ends {
            Some((g, m)) if g.class == CloudClass::Group && matches!(m.class, CloudClass::User | CloudClass::Group) => {
                self.is_linked(g, m)?
            }
            _ => false,
        };
        let incarnation = |emitted: Option<Emitted>| emitted.filter(|e| e.alive).map(|e| e.incarnation);
        let now = match (incarnation(self.emitted(group)?), incarnation(self.emitted(member)?)) {
            (Some(group), Some(member)) => Some(Linked { group, member }),
            _ => None,
        };
        let row_key = keys::linked(group, member);
        let written: Option<Linked> = self.read(&row_key)?;
        let is_written = written.is_some() && written == now;
        match (desired, now) {
            (true, Some(now)) if !is_written => {
                self.txn.put(row_key, store::encode(&now));
                let event = LinkDesired { group: group.clone(), member: member.clone() };
                let identity = [now.group.to_be_bytes(), now.member.to_be_bytes()].concat();
                out.push(DesiredEvent::LinkDesired(event), &identity, trace)?;
            }
            (true, _) => {}
            (false, _) => {
                // also one that ended with an object: the last record of its key must be right in a compacted stream
                if written.is_some() {
                    self.txn.delete(row_key);
                    let event = LinkRemoved { group: group.clone(), member: member.clone() };
                    out.push(DesiredEvent::LinkRemoved(event), &[], trace)?;
                }
            }
        }
        Ok(())
    }
}

/// What is declared of the attribute flow of a class.
pub(crate) fn flow_of(flow: &CompiledFlow, class: CloudClass) -> AttributeFlowDeclared {
    AttributeFlowDeclared { class, attributes: flow.managed(class), extensions: flow.extensions(class) }
}

fn emit_flow(row_key: &[u8], flow: &CompiledFlow, out: &mut Emission<'_>) -> Result<bool> {
    let class = CloudClass::ALL.into_iter().find(|class| row_key.get(2..) == Some(class.as_str().as_bytes()));
    if let Some(class) = class {
        let event = flow_of(flow, class);
        let identity = format!("{} {:?}", event.attributes.join(" "), event.extensions);
        out.push(DesiredEvent::AttributeFlowDeclared(event), identity.as_bytes(), None)?;
    }
    Ok(true)
}

/// A hash of what an object's record says, but for its revision and the object's name.
pub(crate) fn content_of(event: &ObjectDesired) -> std::result::Result<[u8; 16], serde_json::Error> {
    let attributes: &CloudAttributes = &event.attributes;
    let source = (&event.source.forest, event.source.object);
    let joined: Vec<_> = event.joined.iter().map(|other| (&other.forest, other.object)).collect();
    let references = (&event.manager, &event.owner, &event.left_alone);
    let parts = (event.class, attributes, &event.at_creation, references, &event.not_writable, source, joined);
    Ok(digest::of_content(&serde_json::to_vec(&parts)?))
}
