//! Taking in wishes.

use forestsync_domain::SourceAnchor;
use forestsync_log::{LogReader, Record};
use forestsync_schemas::desired::{DesiredEvent, DesiredRecord, ObjectDesired, ObjectRemoved, RemovalReason};

use super::fold::forget_memberships;
use super::{Engine, doubt};
use crate::error::{ProvisionerError, decode};
use crate::store::{Flow, Parting, Since, StoreError, Tx, Wish, WishKind};

/// Records taken in by one transaction.
pub(super) const CHUNK: usize = 1_000;
/// Chunks taken in before something else has its turn.
const CHUNKS: usize = 8;

impl Engine {
    /// Takes in what is there now; knows afterwards whether that was all.
    pub(super) async fn intake(&mut self, reader: &mut dyn LogReader) -> Result<(), ProvisionerError> {
        for _ in 0..CHUNKS {
            let records = if self.has_all() { Vec::new() } else { reader.poll(CHUNK).await? };
            if records.is_empty() {
                (self.at_tail, self.doubts) = (true, false);
                for anchor in std::mem::take(&mut self.tail_waits) {
                    self.ready.push(&anchor);
                }
                return Ok(());
            }
            self.take_in(records)?;
        }
        Ok(())
    }

    /// Whether everything that is to be taken in was.
    pub(super) fn has_all(&self) -> bool {
        self.until.is_some_and(|until| self.desired_next >= until)
    }

    /// Takes these records in. Until [`Engine::intake`] has reached the tail no removal is acted on.
    pub(super) fn take_in(&mut self, mut records: Vec<Record>) -> Result<(), ProvisionerError> {
        self.at_tail = false;
        let mut reached = records.last().map_or(self.desired_next, |last| last.offset + 1);
        if let Some(until) = self.until {
            // a compacted stream may have no record right before it
            records.retain(|record| record.offset < until);
            reached = reached.min(until);
        }
        let mut flows_changed = false;
        let mut tx = self.store.tx();
        for record in &records {
            let decoded: DesiredRecord = decode(&self.streams.desired, record)?;
            flows_changed |= matches!(decoded.event, DesiredEvent::AttributeFlowDeclared(_));
            if self.doubts {
                doubt::before(&mut tx, record.offset, &decoded.event)?;
            }
            wish(&mut tx, record.offset, decoded)?;
        }
        tx.meta()?.desired_next = reached;
        self.desired_next = reached;
        let changed = tx.commit()?;
        if flows_changed && self.load_flows()? {
            self.touch_all()?;
        }
        self.observe(changed)?;
        Ok(())
    }
}

/// Writes the wish of one record down. A record that is older than what is known already is skipped.
fn wish(tx: &mut Tx<'_>, offset: u64, record: DesiredRecord) -> Result<(), StoreError> {
    let trace = record.context.trace;
    match record.event {
        DesiredEvent::AttributeFlowDeclared(e) => {
            tx.set_flow(e.class, Flow { attributes: e.attributes, extensions: e.extensions });
        }
        DesiredEvent::ObjectDesired(e) => {
            let ObjectDesired {
                anchor,
                class,
                attributes,
                at_creation,
                left_alone,
                manager,
                owner,
                not_writable,
                source,
                ..
            } = e;
            let kind = WishKind::Present { attributes, at_creation, left_alone, manager, owner, not_writable };
            let row = tx.object(&anchor, class)?;
            if row.wish.as_ref().is_none_or(|w| w.offset < offset) {
                // meanwhile it was nobody's or somebody else's: what is known of it holds no longer
                if row.is_managed() && row.wish.as_ref().is_some_and(|w| w.lets_go() && w.offset >= row.settled) {
                    row.let_go(0);
                    forget_memberships(tx, &anchor)?;
                }
                let row = tx.object(&anchor, class)?;
                let since = Since::new(row.wish.as_ref(), offset, &kind);
                row.wish = Some(Wish { offset, class, name: source.dn.to_string(), trace, kind, since });
            }
        }
        DesiredEvent::ObjectRemoved(e) => {
            let ObjectRemoved { anchor, class, source, reason, keep, .. } = e;
            let row = tx.object(&anchor, class)?;
            if row.wish.as_ref().is_none_or(|w| w.offset < offset) {
                let why = match reason {
                    RemovalReason::HandedOver => Parting::HandedOver,
                    RemovalReason::ConfigurationRemoved => Parting::Released,
                    _ => Parting::Kept,
                };
                let with_configuration = reason == RemovalReason::ConfigurationRemoved;
                let kind = if keep { WishKind::LetGo { why } } else { WishKind::Removed { with_configuration } };
                let since = Since::new(row.wish.as_ref(), offset, &kind);
                let name = source.dn.to_string();
                row.wish = Some(Wish { offset, class, name, trace: trace.clone(), kind, since });
                end_links(tx, offset, &anchor, trace.as_ref())?;
            }
        }
        DesiredEvent::LinkDesired(e) => link(tx, offset, &e.group, &e.member, true, trace)?,
        DesiredEvent::LinkRemoved(e) => link(tx, offset, &e.group, &e.member, false, trace)?,
    }
    Ok(())
}

/// The memberships of an object that is to go, or is let go, have no record of their own: they end with its wish.
fn end_links(tx: &mut Tx<'_>, offset: u64, anchor: &SourceAnchor, trace: Option<&String>) -> Result<(), StoreError> {
    let of = tx.groups_of(anchor)?.into_iter().map(|group| (group, anchor.clone()));
    let with = tx.members_of(anchor)?.into_iter().map(|member| (anchor.clone(), member));
    for (group, member) in of.chain(with).collect::<Vec<_>>() {
        let edge = tx.edge(&group, &member)?;
        if edge.offset < offset {
            // one that the directory ended by itself stays ended by itself
            let ended = edge.ended || edge.wish != Some(false);
            (edge.wish, edge.offset, edge.ended) = (Some(false), offset, ended);
            edge.trace = trace.filter(|_| edge.is_pending()).cloned();
        }
    }
    Ok(())
}

fn link(
    tx: &mut Tx<'_>,
    offset: u64,
    group: &SourceAnchor,
    member: &SourceAnchor,
    wished: bool,
    trace: Option<String>,
) -> Result<(), StoreError> {
    let edge = tx.edge(group, member)?;
    if edge.wish.is_none() || edge.offset < offset {
        // a record of its own says that the directory has forgotten it: it goes also when its ends come back
        (edge.wish, edge.offset, edge.ended) = (Some(wished), offset, false);
        edge.trace = trace.filter(|_| edge.is_pending());
    }
    Ok(())
}
