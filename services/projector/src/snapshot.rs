//! The end of a full read: what may be concluded from it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use forestsync_schemas::changes::SnapshotId;
use forestsync_schemas::decisions::{DecisionEvent, Doubt, FullReadJudged, LostValues};

use crate::StoreError;
use crate::apply::ApplyError;
use crate::config::SourceId;
use crate::eligible::Eligible;
use crate::error::StreamErrorKind;
use crate::keys::{self, LinkKind, ObjectKey};
use crate::round::Round;
use crate::rows::{Doubted, Shrink};
use crate::store::Value;
use crate::work::{CHUNK, Work, WorkKind};

type Result<T> = std::result::Result<T, StoreError>;

/// Fewer objects than this are too few to tell a loss from a change.
const MIN_KNOWN: u64 = 5;

impl Round<'_> {
    /// The end of a full read: decides whether absence may be concluded from it.
    pub(crate) fn snapshot_completed(
        &mut self,
        source: SourceId,
        snapshot: SnapshotId,
        seen: u64,
    ) -> std::result::Result<(), ApplyError> {
        let id = snapshot.0.as_u128();
        let Some(state) = self.state(source) else { return Ok(()) };
        if state.completed == Some(id) {
            return Ok(());
        }
        if state.open != Some(id) {
            return Err(StreamErrorKind::UnknownSnapshot(snapshot).into());
        }
        let (ordinal, counted, before) = (state.ordinal, state.counted, state.first_done);
        state.open = None;
        // the mirror was empty when this one began, and it is the first
        let is_all_fresh = self.novel.remove(&source).is_some() && ordinal == 1;
        let Some(state) = self.state(source) else { return Ok(()) };
        state.completed = Some(id);
        state.completed_ordinal = ordinal;
        let shrunk = self.judge(source, snapshot, ordinal, before)?;
        let is_counted = counted.all == seen || counted.distinct == seen;
        if !is_counted {
            let counted = counted.distinct;
            tracing::warn!(source.seen = seen, source.counted = counted, "no absence is concluded from a full read");
        }
        // values that it did not show are lost to the mirror either way
        let is_judged = is_counted || matches!(shrunk, Some(Shrink::Attribute { .. }));
        if is_counted && shrunk.is_none() && !is_all_fresh {
            self.add_work(Work::of_source(WorkKind::Absence, source, ordinal));
            self.add_work(Work::of_source(WorkKind::StaleLinks, source, ordinal));
        }
        if let Some(state) = self.state(source).filter(|_| is_judged) {
            state.shrunk = shrunk;
            state.doubted = Doubted { snapshot: id, ordinal, is_whole: is_counted };
            if state.shrunk.is_none() {
                state.valued.clear();
            }
        }
        if let Some(state) = self.state(source) {
            state.first_done |= counted.all >= seen;
        }
        Ok(())
    }

    /// Whether a full read is to be believed. What was decided about it counts; else it is decided, unless it is the
    /// first one, of which the scope says nothing.
    fn judge(&mut self, source: SourceId, snapshot: SnapshotId, ordinal: u32, before: bool) -> Result<Option<Shrink>> {
        let row_key = keys::judged(source, snapshot);
        if let Some(judged) = self.read::<Option<Shrink>>(&row_key)? {
            self.txn.delete(row_key);
            return Ok(judged);
        }
        // values first: they count also where absence is not concluded
        let mut shrunk = if before { self.tally_values(source, ordinal)? } else { None };
        if shrunk.is_none() {
            shrunk = self.tally(source, ordinal, before)?;
        }
        self.is_guessed |= before && !self.decides;
        if let Some(source) = self.plan.source(source).filter(|_| before && self.decides) {
            self.decisions.push(DecisionEvent::FullReadJudged(FullReadJudged {
                forest: source.config.forest.clone(),
                naming_context: source.config.naming_context.clone(),
                snapshot,
                doubt: shrunk.clone().map(Doubt::from),
            }));
        }
        Ok(shrunk)
    }

    /// Whether a complete full read is too small to be believed.
    pub(crate) fn tally(&mut self, source: SourceId, ordinal: u32, before: bool) -> Result<Option<Shrink>> {
        self.places.clear();
        self.verdicts.clear();
        let (mut fresh, mut before_it, mut known, mut missing) = (0u64, 0u64, 0u64, 0u64);
        self.each_row(&keys::join(keys::OBJECT, &[&source.0]), |round, row_key, value| {
            let Some(key) = keys::read_object(row_key) else { return Ok(ControlFlow::Continue(())) };
            let head = round.head_from(key, value)?;
            if head.deleted || !head.class.is_synchronized() {
                return Ok(ControlFlow::Continue(()));
            }
            before_it += 1;
            fresh += u64::from(head.seen >= ordinal);
            if before {
                let row = round.object_from(key, value)?;
                if round.eligible(key, Some(&row))? == Eligible::Yes {
                    known += 1;
                    missing += u64::from(head.seen < ordinal);
                }
            } else if fresh > 0 {
                // nothing is known that could be missing, and it is not empty
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.places.clear();
        self.verdicts.clear();
        Ok(if fresh == 0 {
            Some(Shrink::Nothing { had: before_it })
        } else if is_too_many(missing, known) {
            Some(Shrink::Fewer { missing, known })
        } else {
            None
        })
    }

    /// Shows `look` all rows of a prefix, a chunk in memory at a time, until it has seen enough.
    fn each_row(
        &mut self,
        prefix: &[u8],
        mut look: impl FnMut(&mut Self, &[u8], &Value) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut cursor: Option<Vec<u8>> = None;
        loop {
            let rows = self.txn.scan(prefix, cursor.as_deref(), CHUNK)?;
            for (row_key, value) in &rows {
                if look(self, row_key, value)?.is_break() {
                    return Ok(());
                }
            }
            match rows.last() {
                Some((key, _)) if rows.len() == CHUNK => cursor = Some(key.clone()),
                _ => return Ok(()),
            }
        }
    }

    /// Before a full read replaces what the mirror holds, counts the objects that have a value, per attribute. One that
    /// follows upon a read that was given up or not believed is measured by what was there before that one.
    pub(crate) fn note_valued(&mut self, source: SourceId, snapshot: u128) -> Result<()> {
        let Some(state) = self.meta.sources.get(&source) else { return Ok(()) };
        if !state.first_done || state.open.is_some() || state.completed == Some(snapshot) || state.shrunk.is_some() {
            return Ok(());
        }
        let valued = self.count_valued(source, 0)?.into_iter().map(|(name, count)| (name, count.shown)).collect();
        if let Some(state) = self.state(source) {
            state.valued = valued;
        }
        Ok(())
    }

    /// How many objects have a value, per attribute that is read.
    pub(crate) fn count_valued(&mut self, source: SourceId, ordinal: u32) -> Result<BTreeMap<String, Valued>> {
        let names = forestsync_rules::attributes::requested();
        let mut counts: BTreeMap<String, Valued> = BTreeMap::new();
        self.each_row(&keys::join(keys::OBJECT, &[&source.0]), |round, row_key, value| {
            let Some(key) = keys::read_object(row_key) else { return Ok(ControlFlow::Continue(())) };
            let row = round.object_from(key, value)?;
            if row.deleted || !row.class.is_synchronized() {
                return Ok(ControlFlow::Continue(()));
            }
            let is_read = |name: &String| names.binary_search(&name.as_str()).is_ok();
            let valued = row.attributes.iter().filter(|(_, values)| !values.is_empty()).map(|(name, _)| name);
            for name in valued.filter(|name| is_read(name)) {
                let count = match counts.get_mut(name) {
                    Some(count) => count,
                    None => counts.entry(name.clone()).or_default(),
                };
                count.shown += u64::from(row.seen >= ordinal);
                count.hidden += u64::from(row.seen < ordinal);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(counts)
    }

    /// Whether a full read showed too many objects without what they had: the account may have lost the right to read
    /// an attribute, and nothing is cleared because of that.
    fn tally_values(&mut self, source: SourceId, ordinal: u32) -> Result<Option<Shrink>> {
        let Some(before) = self.meta.sources.get(&source).map(|state| state.valued.clone()) else { return Ok(None) };
        let now = self.count_valued(source, ordinal)?;
        let mut lost = Vec::new();
        for (name, had) in before {
            let count = now.get(&name).copied().unwrap_or_default();
            // those it did not show at all are another matter
            let known = had.saturating_sub(count.hidden);
            let missing = known.saturating_sub(count.shown);
            lost.push(LostValues { name, missing, known });
        }
        lost.extend(self.tally_links(source, ordinal)?);
        // all of them: whoever approves it must have seen them
        let mut lost = lost.into_iter().filter(|lost| is_too_many(lost.missing, lost.known));
        Ok(lost.next().map(|LostValues { name, missing, known }| {
            let more = lost.collect();
            Shrink::Attribute { name, missing, known, more }
        }))
    }

    /// The same for links, which are all still there.
    fn tally_links(&mut self, source: SourceId, ordinal: u32) -> Result<impl Iterator<Item = LostValues> + use<>> {
        let mut counts: BTreeMap<LinkKind, (u64, u64)> = BTreeMap::new();
        let mut last: Option<(ObjectKey, LinkKind, bool)> = None;
        self.each_row(&keys::join(keys::EDGE, &[&source.0]), |round, row_key, value| {
            let Some((from, kind, _)) = keys::read_edge(row_key) else { return Ok(ControlFlow::Continue(())) };
            let is_shown = round.decode::<u32>(row_key, value)? >= ordinal;
            match &mut last {
                Some((key, of, shown)) if *key == from && *of == kind => *shown |= is_shown,
                _ => round.count_links(last.replace((from, kind, is_shown)), ordinal, &mut counts)?,
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.count_links(last, ordinal, &mut counts)?;
        let lost = |(kind, (missing, known)): (LinkKind, _)| LostValues { name: kind.name().into(), missing, known };
        Ok(counts.into_iter().map(lost))
    }

    fn count_links(
        &mut self,
        links: Option<(ObjectKey, LinkKind, bool)>,
        ordinal: u32,
        counts: &mut BTreeMap<LinkKind, (u64, u64)>,
    ) -> Result<()> {
        let Some((from, kind, is_shown)) = links else { return Ok(()) };
        if self.head(from)?.is_some_and(|head| !head.deleted && head.image == ordinal) {
            let (missing, known) = counts.entry(kind).or_default();
            *known += 1;
            *missing += u64::from(!is_shown);
        }
        Ok(())
    }
}

/// Objects with a value of an attribute.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Valued {
    /// Of those that a full read showed.
    shown: u64,
    /// Of the others.
    pub(crate) hidden: u64,
}

/// Whether this is more than changes between two full reads explain.
fn is_too_many(missing: u64, known: u64) -> bool {
    known >= MIN_KNOWN && missing > (known / 5).max(1)
}
