//! The rows of the objects that have had a turn lately.
//!
//! From its wish to the outcome an object's row is looked at a dozen times, and so are those of its manager and its groups;
//! decoding it each time was a fifth of what an initial synchronization cost.
//!
//! **Invariant**: a row in here is the one that the tree has. Only the one owner of the ledger writes, through
//! [`Tx::commit`](super::Tx::commit), and what it wrote replaces what is here.

use std::collections::HashMap;
use std::sync::Arc;

use forestsync_domain::SourceAnchor;

use super::ObjectRow;

/// Rows of one generation. Two of them are kept, a few KiB a row.
const GENERATION: usize = 2_048;

/// See the [module](self). What was not looked at for a generation is dropped with the next.
#[derive(Debug, Default)]
pub(super) struct Recent {
    young: HashMap<SourceAnchor, Arc<ObjectRow>>,
    old: HashMap<SourceAnchor, Arc<ObjectRow>>,
}

impl Recent {
    pub(super) fn get(&mut self, anchor: &SourceAnchor) -> Option<Arc<ObjectRow>> {
        if let Some(row) = self.young.get(anchor) {
            return Some(Arc::clone(row));
        }
        let (anchor, row) = self.old.remove_entry(anchor)?;
        self.put(anchor, Arc::clone(&row));
        Some(row)
    }

    pub(super) fn put(&mut self, anchor: SourceAnchor, row: Arc<ObjectRow>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&anchor);
        self.young.insert(anchor, row);
    }
}

#[cfg(test)]
mod tests {
    use forestsync_schemas::desired::CloudClass;

    use super::*;

    fn anchor(n: usize) -> SourceAnchor {
        SourceAnchor::from(format!("a{n}"))
    }

    fn row(made: i64) -> Arc<ObjectRow> {
        Arc::new(ObjectRow { made, ..ObjectRow::new(CloudClass::User) })
    }

    #[test]
    fn the_last_row_is_found_whichever_generation_had_it() {
        let mut recent = Recent::default();
        recent.put(anchor(0), row(1));
        for n in 1..=GENERATION {
            recent.put(anchor(n), row(0));
        }
        recent.put(anchor(0), row(2));
        assert_eq!(recent.get(&anchor(0)).map(|row| row.made), Some(2));
        for n in 1..=GENERATION {
            recent.put(anchor(n), row(0));
        }
        assert_eq!(recent.get(&anchor(0)).map(|row| row.made), Some(2));
    }

    #[test]
    fn what_nobody_looks_at_is_dropped() {
        let mut recent = Recent::default();
        for n in 0..10 * GENERATION {
            recent.put(anchor(n), row(0));
            assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
        }
        assert!(recent.get(&anchor(0)).is_none());
    }
}
