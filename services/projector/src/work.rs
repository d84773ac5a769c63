//! Work that may be too much for one batch: kept in the database, so that memory stays bounded and a crash in the middle
//! goes on where it was.
//!
//! All work there is MUST be done before the next record is applied. Work on the mirror comes first: what follows from
//! the mirror is computed only when no work on it is left.

use forestsync_domain::ObjectGuid;
use serde::{Deserialize, Serialize};

use crate::config::SourceId;
use crate::keys::{self, ObjectKey};
use crate::round::Round;
use crate::rows::ObjectRow;
use crate::{StoreError, store};

type Result<T> = std::result::Result<T, StoreError>;

/// Kinds of work, in the order in which they are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum WorkKind {
    /// Links of a deleted object, in both directions.
    ClearLinks = 1,
    /// All rows of a source that is configured no longer.
    Purge = 2,
    /// Objects that a full read did not show.
    Absence = 3,
    /// Links that a full read did not show.
    StaleLinks = 4,
    /// Members of a group that came into another one or left it.
    Members = 5,
    /// An object, whatever changed for it.
    Evaluate = 6,
    /// Memberships and reports of an object that came, went or changed its class.
    Expand = 7,
    /// Objects below a container that may have another verdict now.
    Subtree = 8,
    /// What joins compare of all objects.
    SweepKeys = 9,
    /// All objects.
    Sweep = 10,
    /// All links, once all objects are looked at.
    SweepLinks = 11,
    /// All memberships that were written.
    SweepWritten = 12,
}

impl WorkKind {
    /// Whether it changes the mirror.
    pub(crate) fn is_base(self) -> bool {
        self <= Self::StaleLinks
    }
}

/// A piece of work and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) kind: WorkKind,
    /// The object, or the source with an objectGUID of zeros.
    pub(crate) key: ObjectKey,
    /// The full read it follows from.
    pub(crate) ordinal: u32,
    /// The last row that was looked at.
    pub(crate) cursor: Option<Vec<u8>>,
    /// Where a walk down a tree began. It ends when it comes there again: while an answer is only in part applied,
    /// containers may stand in each other.
    pub(crate) origin: ObjectGuid,
}

const NO_OBJECT: ObjectGuid = ObjectGuid::from_bytes([0; 16]);
/// Work rows loaded at a time.
const LOAD: usize = 256;
/// Rows of a piece of work that are looked at before another piece gets its turn.
pub(crate) const CHUNK: usize = 256;

impl Work {
    pub(crate) fn new(kind: WorkKind, key: ObjectKey) -> Self {
        Self { kind, key, ordinal: 0, cursor: None, origin: key.guid }
    }

    pub(crate) fn of_source(kind: WorkKind, source: SourceId, ordinal: u32) -> Self {
        Self { kind, key: ObjectKey { source, guid: NO_OBJECT }, ordinal, cursor: None, origin: NO_OBJECT }
    }

    fn row_key(&self) -> Vec<u8> {
        keys::join(keys::WORK, &[&[self.kind as u8], &self.key.source.0, self.key.guid.as_bytes()])
    }
}

impl Round<'_> {
    pub(crate) fn add_work(&mut self, work: Work) {
        self.work.insert((work.kind, work.key), work);
    }

    /// Takes over what earlier rounds left.
    pub(crate) fn load_work(&mut self) -> Result<()> {
        for (key, value) in self.txn.scan(&[keys::WORK], None, LOAD)? {
            let work: Work = self.decode(&key, &value)?;
            self.txn.delete(key);
            self.work.entry((work.kind, work.key)).or_insert(work);
        }
        Ok(())
    }

    pub(crate) fn save_work(&mut self) {
        for work in std::mem::take(&mut self.work).into_values() {
            self.txn.put(work.row_key(), store::encode(&work));
        }
    }

    /// Whether the wishes may be computed now.
    pub(crate) fn may_project(&self) -> bool {
        self.meta.swept && self.gate_is_open()
    }

    /// Whether the wishes would be those of a mirror that knows less than the one before it did: decisions made on the
    /// strength of them would contradict those that were made already.
    fn is_catching_up(&self) -> bool {
        let is_behind = |source: &&crate::config::Source| {
            let offset = self.meta.sources.get(&source.id).map_or(0, |state| state.offset);
            let until = self.meta.until.get(source.config.stream.as_str());
            until.is_some_and(|until| offset < *until) && !self.stopped.contains(&source.id)
        };
        self.is_postponed || self.plan.sources.iter().any(|source| is_behind(&source))
    }

    /// Works until nothing is left or the round is full. Returns whether more rounds are needed.
    pub(crate) fn run_work(&mut self) -> Result<bool> {
        self.run_base_work()?;
        if self.work.keys().any(|(kind, _)| kind.is_base()) {
            return Ok(true);
        }
        if self.gate_is_open() && !self.meta.swept && !self.is_catching_up() {
            self.meta.swept = true;
            let joins = !self.plan.config.rules.joins.is_empty();
            if let Some(source) = self.plan.sources.first() {
                let kind = if joins { WorkKind::SweepKeys } else { WorkKind::Sweep };
                self.add_work(Work::of_source(kind, source.id, 0));
            }
        }
        if !self.may_project() {
            return Ok(false);
        }
        self.places.clear();
        self.verdicts.clear();
        self.ancestries.clear();
        while !self.is_full() {
            if let Some((_, work)) = self.work.pop_first() {
                if self.meta.walked > 0 && work.kind > WorkKind::Members {
                    self.end_walk()?;
                }
                self.run_derived(&work)?;
            } else if self.meta.walked > 0 {
                self.end_walk()?;
            } else if !self.run_dirty()? {
                // what is in the store beyond the rows that were loaded
                self.load_work()?;
                if self.work.is_empty() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    pub(crate) fn run_base_work(&mut self) -> Result<()> {
        while !self.is_full() {
            let Some(entry) = self.work.first_entry().filter(|entry| entry.key().0.is_base()) else { return Ok(()) };
            let work = entry.remove();
            match work.kind {
                WorkKind::ClearLinks => self.clear_links(work)?,
                WorkKind::Purge => self.purge(work)?,
                WorkKind::Absence => self.absence(&work)?,
                _ => self.stale_links(&work)?,
            }
        }
        Ok(())
    }

    /// Links end with their object, in both directions within its own naming context. A link from elsewhere ends when
    /// that naming context says so: the order between streams must not matter.
    fn clear_links(&mut self, work: Work) -> Result<()> {
        let key = work.key;
        let out = self.txn.scan(&keys::of_object(keys::EDGE, key), None, CHUNK)?;
        for (row_key, _) in &out {
            if let Some((from, kind, to)) = keys::read_edge(row_key) {
                self.remove_edge(from, kind, to, None)?;
            }
        }
        let prefix = keys::join(keys::EDGE_IN, &[key.guid.as_bytes()]);
        let into = self.txn.scan(&prefix, work.cursor.as_deref(), CHUNK)?;
        for (row_key, _) in &into {
            if let Some((kind, from)) = keys::read_edge_in(row_key).filter(|(_, from)| from.source == key.source) {
                self.remove_edge(from, kind, key.guid, None)?;
            }
        }
        self.steps += (out.len() + into.len()) / 8;
        if out.len() == CHUNK || into.len() == CHUNK {
            let cursor = into.last().map(|(row_key, _)| row_key.clone()).or(work.cursor);
            self.add_work(Work { cursor, ..work });
        }
        Ok(())
    }

    fn remove_object(&mut self, key: ObjectKey, row: &ObjectRow) -> Result<()> {
        self.write_object(key, Some(row), None, None)?;
        // links to it end with the full read that does not show them
        loop {
            let out = self.txn.scan(&keys::of_object(keys::EDGE, key), None, CHUNK)?;
            for (row_key, _) in &out {
                if let Some((from, kind, to)) = keys::read_edge(row_key) {
                    self.remove_edge(from, kind, to, None)?;
                }
            }
            if out.len() < CHUNK {
                return Ok(());
            }
        }
    }

    fn absence(&mut self, work: &Work) -> Result<()> {
        let prefix = keys::join(keys::OBJECT, &[&work.key.source.0]);
        let rows = self.txn.scan(&prefix, work.cursor.as_deref(), CHUNK)?;
        for (row_key, value) in &rows {
            let Some(key) = keys::read_object(row_key) else { continue };
            let head = self.head_from(key, value)?;
            if !head.deleted && head.seen < work.ordinal {
                let row = self.object_from(key, value)?;
                self.remove_object(key, &row)?;
            }
        }
        self.go_on(work, &rows);
        Ok(())
    }

    pub(crate) fn go_on(&mut self, work: &Work, rows: &[(Vec<u8>, store::Value)]) {
        self.steps += rows.len() / 8 + 1;
        if rows.len() == CHUNK {
            let cursor = rows.last().map(|(key, _)| key.clone());
            self.add_work(Work { cursor, ..work.clone() });
        }
    }

    fn stale_links(&mut self, work: &Work) -> Result<()> {
        let prefix = keys::join(keys::EDGE, &[&work.key.source.0]);
        let rows = self.txn.scan(&prefix, work.cursor.as_deref(), CHUNK)?;
        let mut last: Option<(ObjectKey, bool)> = None;
        for (row_key, value) in &rows {
            let Some((from, kind, to)) = keys::read_edge(row_key) else { continue };
            let stamp: u32 = self.decode(row_key, value)?;
            if stamp >= work.ordinal {
                continue;
            }
            let observed = match last {
                Some((key, observed)) if key == from => observed,
                _ => self.head(from)?.is_some_and(|head| head.image == work.ordinal),
            };
            last = Some((from, observed));
            if observed {
                self.remove_edge(from, kind, to, None)?;
            }
        }
        self.go_on(work, &rows);
        Ok(())
    }

    /// Takes out a source that is configured no longer.
    fn purge(&mut self, work: Work) -> Result<()> {
        let source = work.key.source;
        for prefix in [keys::OBJECT, keys::EDGE, keys::WAITING, keys::DIRTY_LINK] {
            let rows = self.txn.scan(&keys::join(prefix, &[&source.0]), None, CHUNK)?;
            for (row_key, value) in &rows {
                let Some(key) = keys::read_object(row_key) else { continue };
                match prefix {
                    keys::OBJECT => {
                        let row = self.object_from(key, value)?;
                        self.remove_object(key, &row)?;
                    }
                    keys::EDGE => {
                        if let Some((from, kind, to)) = keys::read_edge(row_key) {
                            self.remove_edge(from, kind, to, None)?;
                        }
                    }
                    keys::WAITING => {
                        self.txn.delete(row_key.clone());
                        self.meta.counters.waiting = self.meta.counters.waiting.saturating_sub(1);
                    }
                    _ => self.txn.delete(row_key.clone()),
                }
            }
            self.steps += rows.len() / 8 + 1;
            if !rows.is_empty() {
                self.add_work(work);
                return Ok(());
            }
        }
        // the objects are still dirty, so that what was wished for them goes; then nothing of the source is left
        if let Some(state) = self.state(source) {
            state.answer_open = false;
        }
        Ok(())
    }
}
