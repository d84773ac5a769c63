//! What follows from the mirror: which objects and links must be looked at again.

use std::rc::Rc;

use forestsync_domain::SourceAnchor;

use crate::StoreError;
use crate::config::SourceId;
use crate::eligible::Eligible;
use crate::keys::{self, LinkKind, ObjectKey};
use crate::round::Round;
use crate::work::{CHUNK, Work, WorkKind};

type Result<T> = std::result::Result<T, StoreError>;

impl Round<'_> {
    pub(crate) fn run_derived(&mut self, work: &Work) -> Result<()> {
        match work.kind {
            WorkKind::Subtree => {
                let rows = self.txn.scan(&keys::of_object(keys::CHILD, work.key), work.cursor.as_deref(), CHUNK)?;
                let is_half = !self.is_whole(work.key.source);
                for (row_key, _) in &rows {
                    let Some(guid) = keys::read_child(row_key) else { continue };
                    let key = ObjectKey { source: work.key.source, guid };
                    if guid != work.origin {
                        self.add_subtree(key, work.origin)?;
                    }
                    self.steps += 1;
                    if is_half {
                        // where the container ends up may stand in the rest of the answer
                        self.mark_dirty(key, None)?;
                    } else {
                        self.evaluate(key, None)?;
                    }
                }
                self.go_on(work, &rows);
            }
            WorkKind::Sweep => self.sweep(work)?,
            WorkKind::SweepKeys => self.sweep_keys(work)?,
            WorkKind::SweepLinks => self.sweep_links(work)?,
            WorkKind::SweepWritten => self.sweep_written(work)?,
            WorkKind::Members => self.members(work)?,
            WorkKind::Evaluate => {
                self.steps += 1;
                // else it is looked at when the answer that it came in is complete
                if !self.is_deferred(work.key)? {
                    self.evaluate(work.key, None)?;
                }
            }
            _ => self.expand(work)?,
        }
        Ok(())
    }

    fn sweep(&mut self, work: &Work) -> Result<()> {
        let rows = self.txn.scan(&[keys::OBJECT], work.cursor.as_deref(), CHUNK)?;
        self.is_sweeping = true;
        self.preload_sweep(&rows)?;
        let is_any_dirty = !self.txn.scan(&[keys::DIRTY], None, 1)?.is_empty();
        for (row_key, value) in &rows {
            let Some(key) = keys::read_object(row_key) else { continue };
            self.steps += 1;
            if !is_any_dirty || !self.is_deferred(key)? {
                let row = Rc::new(self.object_from(key, value)?);
                self.evaluate_row(key, Some(&row), None)?;
            }
        }
        self.is_sweeping = false;
        if rows.len() < CHUNK {
            self.add_work(Work { cursor: None, kind: WorkKind::SweepLinks, ..work.clone() });
        }
        self.go_on(work, &rows);
        Ok(())
    }

    fn sweep_keys(&mut self, work: &Work) -> Result<()> {
        let rows = self.txn.scan(&[keys::OBJECT], work.cursor.as_deref(), CHUNK)?;
        self.is_indexing = true;
        for (row_key, value) in &rows {
            let Some(key) = keys::read_object(row_key) else { continue };
            self.steps += 1;
            let row = self.object_from(key, value)?;
            let takes_part = matches!(self.eligible(key, Some(&row))?, Eligible::Yes | Eligible::Partner);
            self.note_join_keys(key, Some(&row).filter(|_| takes_part))?;
        }
        self.is_indexing = false;
        if rows.len() < CHUNK {
            self.add_work(Work { cursor: None, kind: WorkKind::Sweep, ..work.clone() });
        }
        self.go_on(work, &rows);
        Ok(())
    }

    /// Memberships that were written and have no link any more.
    fn sweep_written(&mut self, work: &Work) -> Result<()> {
        let rows = self.txn.scan(&[keys::LINKED], work.cursor.as_deref(), CHUNK)?;
        for (row_key, _) in &rows {
            self.steps += 1;
            let Some((group, member)) = keys::read_linked(row_key) else { continue };
            // one that ended with an object has no record of its own before the directory has forgotten it
            if self.standing(&group)?.is_some() && self.standing(&member)?.is_some() {
                self.add_outbox(keys::out_link(&group, &member), None)?;
            }
        }
        self.go_on(work, &rows);
        Ok(())
    }

    /// Reads what evaluating these objects will ask for. They come in the order of their objectGUIDs, and so do their
    /// anchors, as long as they are made of those.
    fn preload_sweep(&mut self, rows: &[(Vec<u8>, crate::store::Value)]) -> Result<()> {
        let ends = rows.first().zip(rows.last()).map(|((a, _), (b, _))| (keys::read_object(a), keys::read_object(b)));
        let Some((Some(first), Some(last))) = ends.filter(|(a, b)| a.map(|k| k.source) == b.map(|k| k.source)) else {
            return Ok(());
        };
        let anchors = [first, last].map(|key| keys::of_anchor(keys::ANCHOR, &SourceAnchor::from_guid(key.guid)));
        let [from, to] = anchors;
        self.txn.preload(from, to, 8 * CHUNK)?;
        let mut to = keys::of_object(keys::EDGE, last);
        to.extend_from_slice(&[0xff; 64]);
        self.txn.preload(keys::of_object(keys::EDGE, first), to, 4 * CHUNK)
    }

    fn sweep_links(&mut self, work: &Work) -> Result<()> {
        let rows = self.txn.scan(&[keys::EDGE], work.cursor.as_deref(), CHUNK)?;
        for (row_key, _) in &rows {
            self.steps += 1;
            match keys::read_edge(row_key) {
                Some((from, LinkKind::Member, to)) => self.touch_link(from, to, None)?,
                Some((from, kind, to)) if !self.is_deferred(from)? && self.reference_changed(from, kind, to)? => {
                    self.evaluate(from, None)?;
                }
                _ => {}
            }
        }
        if rows.len() < CHUNK {
            self.add_work(Work { cursor: None, kind: WorkKind::SweepWritten, ..work.clone() });
        }
        self.go_on(work, &rows);
        Ok(())
    }

    /// Looks at what complete answers changed. Returns whether there was any.
    pub(crate) fn run_dirty(&mut self) -> Result<bool> {
        let ready: Vec<SourceId> = self.meta.sources.keys().copied().filter(|source| self.is_whole(*source)).collect();
        for source in ready {
            let objects = self.txn.scan(&keys::join(keys::DIRTY, &[&source.0]), None, CHUNK)?;
            let links = self.txn.scan(&keys::join(keys::DIRTY_LINK, &[&source.0]), None, CHUNK)?;
            for (row_key, value) in &objects {
                let trace: Option<String> = self.decode(row_key, value)?;
                self.txn.delete(row_key.clone());
                self.steps += 1;
                if let Some(key) = keys::read_object(row_key) {
                    self.evaluate(key, trace.as_deref())?;
                }
            }
            // after all objects, so that both ends of a membership have their anchor
            if objects.is_empty() {
                for (row_key, value) in &links {
                    let trace: Option<String> = self.decode(row_key, value)?;
                    self.txn.delete(row_key.clone());
                    self.steps += 1;
                    if let (Some(from), Some(to)) = (keys::read_object(row_key), keys::read_second(row_key)) {
                        self.touch_link(from, to, trace.as_deref())?;
                    }
                }
            }
            if !objects.is_empty() || !links.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether what decides about a source is known as a whole: its own answer is complete, and those of the sources whose
    /// groups are its scope.
    pub(crate) fn is_whole(&self, source: SourceId) -> bool {
        let is_open = |source: &SourceId| self.meta.sources.get(source).is_some_and(|state| state.answer_open);
        let groups = self.plan.source(source).into_iter().flat_map(|source| &source.group_sources);
        !is_open(&source) && !groups.into_iter().any(is_open)
    }

    /// Whether an object will be looked at when the answer that it came in is complete.
    pub(crate) fn is_deferred(&mut self, key: ObjectKey) -> Result<bool> {
        let open = !self.is_whole(key.source);
        Ok(open && self.txn.has(&keys::of_object(keys::DIRTY, key))?)
    }
}
