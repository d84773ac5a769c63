//! What must be unique over all forests: sign-in names, mail addresses, aliases. An index by value tells who has one in
//! common, so that a duplicate is a finding of everybody who has it, as soon as it is there and for as long.

use forestsync_domain::SourceAnchor;
use forestsync_rules::hygiene::{Finding, UniqueKind, duplicate};

use crate::StoreError;
use crate::keys;
use crate::round::Round;
use crate::rows::{EMPTY, Wish};
use crate::work::{Work, WorkKind};

type Result<T> = std::result::Result<T, StoreError>;

/// Holders of one value that are counted.
const MAX_HOLDERS: usize = 64;

/// Values as they stand in keys: where they must be unique, and a hash. Sorted and without repetition.
pub(crate) fn hashes(values: &[(UniqueKind, String)]) -> Vec<(u8, [u8; 16])> {
    let mut all: Vec<(u8, [u8; 16])> = values.iter().map(|(kind, value)| (space(*kind), hash(value))).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The key of a value of a kind.
pub(crate) fn hash_of(kind: UniqueKind, value: &str) -> (u8, [u8; 16]) {
    (space(kind), hash(&value.to_lowercase()))
}

fn space(kind: UniqueKind) -> u8 {
    kind.space() as u8
}

fn hash(value: &str) -> [u8; 16] {
    blake3::hash(value.as_bytes()).as_bytes().first_chunk::<16>().copied().unwrap_or_default()
}

impl Round<'_> {
    /// The anchors that have a value.
    pub(crate) fn holders(&mut self, space: u8, hash: &[u8; 16]) -> Result<Vec<SourceAnchor>> {
        let rows = self.txn.scan(&keys::unique_value(space, hash), None, MAX_HOLDERS)?;
        Ok(rows.iter().filter_map(|(row_key, _)| keys::read_unique(row_key)).collect())
    }

    /// The findings on values that others have, too.
    pub(crate) fn duplicates(
        &mut self,
        anchor: &SourceAnchor,
        values: &[(UniqueKind, String)],
        hashes: &[(u8, [u8; 16])],
    ) -> Result<Vec<Finding>> {
        let mut taken = Vec::new();
        for (space, hash) in hashes {
            let others = self.holders(*space, hash)?.into_iter().filter(|other| other != anchor).count();
            if others > 0 {
                taken.push((*space, *hash, others + 1));
            }
        }
        let mut found: Vec<Finding> = Vec::new();
        for (kind, value) in values {
            let (of, by) = (space(*kind), hash(value));
            let count = taken.iter().find(|(space, hash, _)| (*space, *hash) == (of, by)).map(|(.., count)| *count);
            if let Some(finding) = count.and_then(|count| duplicate(*kind, count))
                && !found.contains(&finding)
            {
                found.push(finding);
            }
        }
        Ok(found)
    }

    /// Keeps the index of values, and has those looked at for whom a value came to be a duplicate, or ceased to be one.
    pub(crate) fn set_unique(&mut self, anchor: &SourceAnchor, old: Option<&Wish>, new: Option<&Wish>) -> Result<()> {
        let had = old.map(|wish| wish.unique.as_slice()).unwrap_or_default();
        let has = new.map(|wish| wish.unique.as_slice()).unwrap_or_default();
        if had == has {
            return Ok(());
        }
        for (space, hash) in had.iter().filter(|value| !has.contains(value)) {
            self.txn.delete(keys::unique(*space, hash, anchor));
            self.look_at_others(anchor, *space, hash)?;
        }
        for (space, hash) in has.iter().filter(|value| !had.contains(value)) {
            self.txn.put_new(keys::unique(*space, hash, anchor), &EMPTY[..]);
            self.look_at_others(anchor, *space, hash)?;
        }
        Ok(())
    }

    fn look_at_others(&mut self, anchor: &SourceAnchor, space: u8, hash: &[u8; 16]) -> Result<()> {
        for other in self.holders(space, hash)? {
            if other != *anchor
                && let Some(wish) = self.wish(&other)?
            {
                self.add_work(Work::new(WorkKind::Evaluate, wish.object));
            }
        }
        Ok(())
    }
}
