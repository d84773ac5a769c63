//! What one batch reads and writes: reads see its own writes, and every row is read from the store once at most.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::rows::Meta;
use crate::store::{Changes, Store, Value};
use crate::{StoreError, digest};

/// What is known of a row in the store.
#[derive(Debug, Clone, Default, PartialEq)]
enum Base {
    #[default]
    Unknown,
    Absent,
    Present(Value),
}

/// What a batch does to a row.
#[derive(Debug, Clone, Default, PartialEq)]
enum Change {
    #[default]
    Keep,
    Remove,
    Put(Value),
}

/// One row, before and after.
#[derive(Debug, Default)]
struct Slot {
    base: Base,
    change: Change,
}

impl From<Option<Value>> for Base {
    fn from(value: Option<Value>) -> Self {
        value.map_or(Self::Absent, Self::Present)
    }
}

/// Ranges that are remembered.
const MAX_KNOWN: usize = 12;

/// A batch in the making.
#[derive(Debug)]
pub(crate) struct Txn<'a> {
    pub(crate) store: &'a Store,
    rows: BTreeMap<Vec<u8>, Slot>,
    /// Ranges of keys, ends included, of which every row in the store is in `rows`.
    known: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self { store, rows: BTreeMap::new(), known: Vec::new() }
    }

    /// How many rows it holds in memory.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn get(&mut self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        if let Some(slot) = self.rows.get(key) {
            match (&slot.change, &slot.base) {
                (Change::Put(value), _) | (Change::Keep, Base::Present(value)) => return Ok(Some(value.clone())),
                (Change::Remove, _) | (Change::Keep, Base::Absent) => return Ok(None),
                (Change::Keep, Base::Unknown) => {}
            }
        }
        let value = if self.is_known(key, key) { None } else { self.store.get(key)? };
        self.rows.entry(key.to_vec()).or_default().base = value.clone().into();
        Ok(value)
    }

    /// Reads the rows from key `from` to key `to` in one go, at most `limit` of them, so that looking for one of them, or
    /// for one that is not there, asks the store no more.
    pub(crate) fn preload(&mut self, from: Vec<u8>, to: Vec<u8>, limit: usize) -> Result<(), StoreError> {
        let store = self.store;
        let (mut count, mut end) = (0, to);
        for row in store.from(&from) {
            let (key, value) = row?;
            if key.as_ref() > end.as_slice() {
                break;
            }
            let slot = self.rows.entry(key.to_vec()).or_default();
            if slot.base == Base::Unknown {
                slot.base = Base::Present(value);
            }
            count += 1;
            if count == limit {
                end = key.to_vec();
                break;
            }
        }
        if self.known.len() == MAX_KNOWN {
            self.known.remove(0);
        }
        self.known.push((from, end));
        Ok(())
    }

    /// Whether every row of the store from key `from` to key `to` is in memory.
    fn is_known(&self, from: &[u8], to: &[u8]) -> bool {
        self.known.iter().any(|(start, end)| start.as_slice() <= from && to <= end.as_slice())
    }

    /// Remembers a row that a scan brought, so that it need not be read once more.
    pub(crate) fn learn(&mut self, key: &[u8], value: Value) {
        let slot = self.rows.entry(key.to_vec()).or_default();
        if slot.base == Base::Unknown && slot.change == Change::Keep {
            slot.base = Base::Present(value);
        }
    }

    pub(crate) fn has(&mut self, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.get(key)?.is_some())
    }

    pub(crate) fn put(&mut self, key: Vec<u8>, value: impl Into<Value>) {
        self.rows.entry(key).or_default().change = Change::Put(value.into());
    }

    /// Writes a row of which the caller knows that there is none.
    pub(crate) fn put_new(&mut self, key: Vec<u8>, value: impl Into<Value>) {
        let slot = self.rows.entry(key).or_default();
        // a row that this batch removed may well be in the store
        if slot.change == Change::Keep && slot.base == Base::Unknown {
            slot.base = Base::Absent;
        }
        slot.change = Change::Put(value.into());
    }

    pub(crate) fn delete(&mut self, key: Vec<u8>) {
        self.rows.entry(key).or_default().change = Change::Remove;
    }

    /// At most `limit` rows whose key starts with `prefix` and lies after `after`, in order.
    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Value)>, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut ours = self.rows.range::<[u8], _>((start, Bound::Unbounded)).peekable();
        let last = [prefix, &[0xff; 40]].concat();
        let is_known = self.is_known(after.unwrap_or(prefix).max(prefix), &last);
        let mut theirs = (!is_known).then(|| self.store.scan(prefix, after)).into_iter().flatten().peekable();
        let mut found = Vec::new();
        while found.len() < limit {
            let our_key = ours.peek().map(|(key, _)| key.as_slice()).filter(|key| key.starts_with(prefix));
            let their_key = match theirs.peek() {
                Some(Ok((key, _))) => Some(key.clone()),
                Some(Err(_)) => return theirs.next().unwrap_or_else(|| Ok(Default::default())).map(|_| Vec::new()),
                None => None,
            };
            let (take_ours, take_theirs) = match (our_key, &their_key) {
                (None, None) => break,
                (Some(_), None) => (true, false),
                (None, Some(_)) => (false, true),
                (Some(our), Some(their)) => (our <= their.as_ref(), their.as_ref() <= our),
            };
            let base = if take_theirs { theirs.next().transpose()? } else { None };
            let slot = if take_ours { ours.next() } else { None };
            match (slot, base) {
                (Some((key, slot)), base) => {
                    let current = match &slot.change {
                        Change::Keep => match (base, &slot.base) {
                            (Some((_, value)), _) => Some(value),
                            (None, Base::Present(value)) if is_known => Some(value.clone()),
                            (None, _) => None,
                        },
                        Change::Remove => None,
                        Change::Put(value) => Some(value.clone()),
                    };
                    found.extend(current.map(|value| (key.clone(), value)));
                }
                (None, Some((key, value))) => found.push((key.to_vec(), value)),
                (None, None) => break,
            }
        }
        Ok(found)
    }

    /// The changes to write, with the digests in `meta` brought up to them.
    pub(crate) fn finish(mut self, meta: &mut Meta) -> Result<Changes, StoreError> {
        let rows = std::mem::take(&mut self.rows);
        let mut changes = Vec::with_capacity(rows.len());
        for (key, slot) in rows {
            let now = match slot.change {
                Change::Keep => continue,
                Change::Remove => None,
                Change::Put(value) => Some(value),
            };
            let base = match slot.base {
                Base::Unknown if self.is_known(&key, &key) => None,
                Base::Unknown => self.store.get(&key)?,
                Base::Absent => None,
                Base::Present(value) => Some(value),
            };
            if base == now {
                continue;
            }
            let of = |value: &Option<Value>| value.as_ref().map_or((0, 0), |value| digest::of_row(&key, value));
            let (before, after) = (of(&base), of(&now));
            meta.state_digest = meta.state_digest.wrapping_sub(before.0).wrapping_add(after.0);
            meta.rest_digest = meta.rest_digest.wrapping_sub(before.1).wrapping_add(after.1);
            changes.push((key, now));
        }
        Ok(changes)
    }
}
