//! The end of a full read: what may be concluded from it.

use forestsync_schemas::changes::SnapshotId;

use crate::StoreError;
use crate::apply::ApplyError;
use crate::config::SourceId;
use crate::eligible::Eligible;
use crate::error::StreamErrorKind;
use crate::keys;
use crate::round::Round;
use crate::rows::Shrink;
use crate::work::{CHUNK, Work, WorkKind};

type Result<T> = std::result::Result<T, StoreError>;

/// Fewer objects in scope than this are too few to tell a loss from a change.
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
        if counted.all == seen || counted.distinct == seen {
            let shrunk = self.tally(source, ordinal, before)?;
            if let Some(state) = self.state(source) {
                state.shrunk = shrunk;
            }
            if shrunk.is_none() && !is_all_fresh {
                self.add_work(Work::of_source(WorkKind::Absence, source, ordinal));
                self.add_work(Work::of_source(WorkKind::StaleLinks, source, ordinal));
            }
        } else {
            let counted = counted.distinct;
            tracing::warn!(source.seen = seen, source.counted = counted, "no absence is concluded from a full read");
        }
        if let Some(state) = self.state(source) {
            state.first_done |= counted.all >= seen;
        }
        Ok(())
    }

    /// Whether a complete full read is too small to be believed. Looks at nothing but its own stream's objects, so that
    /// every reader of the stream comes to the same answer.
    fn tally(&mut self, source: SourceId, ordinal: u32, before: bool) -> Result<Option<Shrink>> {
        self.places.clear();
        self.verdicts.clear();
        let (mut fresh, mut before_it, mut known, mut missing) = (0u64, 0u64, 0u64, 0u64);
        let prefix = keys::join(keys::OBJECT, &[&source.0]);
        let mut cursor: Option<Vec<u8>> = None;
        loop {
            let rows = self.txn.scan(&prefix, cursor.as_deref(), CHUNK)?;
            for (row_key, value) in &rows {
                let Some(key) = keys::read_object(row_key) else { continue };
                let head = self.head_from(key, value)?;
                if head.deleted || !head.class.is_synchronized() {
                    continue;
                }
                before_it += 1;
                fresh += u64::from(head.seen >= ordinal);
                if before {
                    let row = self.object_from(key, value)?;
                    if self.eligible(key, Some(&row))? == Eligible::Yes {
                        known += 1;
                        missing += u64::from(head.seen < ordinal);
                    }
                } else if fresh > 0 {
                    // nothing is known that could be missing, and it is not empty
                    return Ok(None);
                }
            }
            match rows.last() {
                Some((key, _)) if rows.len() == CHUNK => cursor = Some(key.clone()),
                _ => break,
            }
        }
        self.places.clear();
        self.verdicts.clear();
        Ok(if fresh == 0 {
            Some(Shrink::Nothing { had: before_it })
        } else if known >= MIN_KNOWN && missing > (known / 5).max(1) {
            Some(Shrink::Fewer { missing, known })
        } else {
            None
        })
    }
}
