//! A batch that is written behind: while it goes into the tree on a thread of its own, the next round is computed already.
//!
//! ```text
//!  round 1 computed | round 2 computed      | round 3 computed
//!                   | batch 1 being written | batch 2 being written
//! ```
//!
//! **Invariant**: batches are written one after the other, each whole, in the order in which they were committed; and who
//! reads sees all that was committed, whether it is in the tree yet or not. So a crash is what it always was: the state of
//! some earlier batch.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use crate::StoreError;
use crate::store::Value;

/// What a batch writes, sorted: `None` removes.
pub(crate) type Rows = BTreeMap<Vec<u8>, Option<Value>>;

/// The rows of a batch from a key on, one at a time. They stay as they are for as long as anybody looks at them.
struct Walk {
    rows: Arc<Rows>,
    from: Bound<Vec<u8>>,
}

impl Iterator for Walk {
    type Item = (Vec<u8>, Option<Value>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.rows.range((self.from.clone(), Bound::Unbounded)).next()?;
        let row = (key.clone(), value.clone());
        self.from = Bound::Excluded(key.clone());
        Some(row)
    }
}

/// The tree's rows, with those of the batch in their place.
pub(crate) struct Merged<I: Iterator> {
    batch: Option<Peekable<Walk>>,
    tree: Peekable<I>,
}

impl<I: Iterator<Item = Result<(Value, Value), StoreError>>> Merged<I> {
    /// `tree` begins at `from` as well.
    pub(crate) fn new(batch: Option<Arc<Rows>>, from: Bound<Vec<u8>>, tree: I) -> Self {
        Self { batch: batch.map(|rows| Walk { rows, from }.peekable()), tree: tree.peekable() }
    }
}

impl<I: Iterator<Item = Result<(Value, Value), StoreError>>> Iterator for Merged<I> {
    type Item = Result<(Value, Value), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(batch) = self.batch.as_mut() else { return self.tree.next() };
        loop {
            let Some((key, _)) = batch.peek() else { return self.tree.next() };
            match self.tree.peek() {
                Some(Err(_)) => return self.tree.next(),
                Some(Ok((theirs, _))) if theirs.as_ref() < key.as_slice() => return self.tree.next(),
                Some(Ok((theirs, _))) if theirs.as_ref() == key.as_slice() => drop(self.tree.next()),
                _ => {}
            }
            if let Some((key, Some(value))) = batch.next() {
                return Some(Ok((Value::from(key), value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(n: u8) -> Value {
        Value::from(&[n][..])
    }

    proptest! {
        /// The tree may have taken over any part of the batch already.
        #[test]
        fn whoever_reads_sees_the_tree_as_the_batch_will_leave_it(
            tree in prop::collection::btree_map(0u8..20, any::<u8>(), 0..12),
            batch in prop::collection::btree_map(0u8..20, any::<Option<u8>>(), 0..12),
            written in any::<u32>(),
            from in 0u8..20,
            beyond in any::<bool>(),
        ) {
            let mut seen = tree.clone();
            let mut expected = tree;
            for (key, change) in &batch {
                for (state, is_written) in [(&mut expected, true), (&mut seen, written & (1 << key) != 0)] {
                    match change {
                        _ if !is_written => {}
                        Some(value) => drop(state.insert(*key, *value)),
                        None => drop(state.remove(key)),
                    }
                }
            }
            let rows: Rows = batch.iter().map(|(key, change)| (vec![*key], change.map(value))).collect();
            let bound = if beyond { Bound::Excluded(vec![from]) } else { Bound::Included(vec![from]) };
            let starts = |key: &u8| if beyond { *key > from } else { *key >= from };
            let theirs = seen.iter().filter(|(key, _)| starts(key)).map(|(key, of)| Ok((value(*key), value(*of))));
            let found: Vec<(Value, Value)> =
                Merged::new(Some(Arc::new(rows)), bound, theirs).collect::<Result<_, StoreError>>().unwrap();
            let expected: Vec<_> =
                expected.iter().filter(|(key, _)| starts(key)).map(|(key, of)| (value(*key), value(*of))).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
