//! The ledger: what is wished, what is confirmed, what is on its way.
//!
//! One sled tree. Keys: `f` class, `g` window of removals, `i` intents by anchor, `m` meta, `o` objects by anchor,
//! `e` memberships by group and member, `r` the same by member and group, `c` anchors by cloud id; of drift: `d` how far a
//! class was compared, `k` what a whole comparison has seen, `s` objects and `h` memberships to be looked at. Values:
//! format, version, bincode.
//!
//! A [`Tx`] is applied as one batch: after a crash the ledger is that of some earlier transaction, complete. It is never
//! the only copy of anything: one that cannot be opened or read is moved aside and folded anew from the log.
//!
//! **Invariant**: the only module that names sled.

mod codec;
mod drift;
mod flat;
mod keys;
mod open;
mod recent;
mod rows;
mod tx;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::CloudClass;

use crate::error::ProvisionerError;
use recent::Recent;

pub(crate) use drift::{EdgeDrift, Hint, Lost, Suspect, Watch};
pub(crate) use rows::{
    Deferral, ENABLED, EdgeRow, Failed, Flow, Held, Intent, Life, Meta, NAME, ObjectRow, Parting, Quarantine, Since,
    Wish, WishKind, Write,
};
pub(crate) use tx::{Changed, Removal, Removed, Tx};

/// Why the ledger is unusable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process works with it.
    #[error("{}: another provisioner uses this ledger; end it first", .0.display())]
    Busy(PathBuf),
    /// The disk does not do as it should.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The database does not do as it should.
    #[error("the ledger cannot be used: {0}")]
    Database(#[source] sled::Error),
    /// A row cannot be read. Opening the ledger anew rebuilds it.
    #[error("the ledger is damaged at {key}: {detail}; it is rebuilt when the provisioner starts again")]
    Damaged {
        /// Which row.
        key: String,
        /// What does not fit.
        detail: String,
    },
    /// A row became larger than the database bears.
    #[error("the ledger's row {key} would have {size} bytes, {limit} are allowed")]
    TooLarge {
        /// Which row.
        key: String,
        /// How large.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The ledger was written for another tenant.
    #[error("the ledger belongs to tenant {ledger}, the configuration names {configured}; name another data folder")]
    OtherTenant {
        /// The one in the ledger.
        ledger: String,
        /// The one in the configuration.
        configured: String,
    },
}

impl StoreError {
    /// Whether opening the ledger again may help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Database(_) | Self::Damaged { .. })
    }
}

/// The ledger.
#[derive(Debug)]
pub(crate) struct Store {
    tree: sled::Db,
    recent: Mutex<Recent>,
    // held for as long as the ledger is open
    _lock: File,
}

impl Store {
    pub(crate) fn object(&self, anchor: &SourceAnchor) -> Result<Option<Arc<ObjectRow>>, StoreError> {
        if let Some(row) = self.recent().get(anchor) {
            return Ok(Some(row));
        }
        let row = self.row(&keys::object(anchor))?.map(Arc::new);
        if let Some(row) = &row {
            self.recent().put(anchor.clone(), Arc::clone(row));
        }
        Ok(row)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        // a panic in there would have left a row too many or too few, never a wrong one
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn edge(&self, group: &SourceAnchor, member: &SourceAnchor) -> Result<Option<EdgeRow>, StoreError> {
        self.row(&keys::edge(group, member))
    }

    pub(crate) fn meta(&self) -> Result<Meta, StoreError> {
        Ok(self.row(keys::META)?.unwrap_or_default())
    }

    /// What is managed of a class, if that was declared.
    pub(crate) fn flow(&self, class: CloudClass) -> Result<Option<Flow>, StoreError> {
        self.row(&keys::flow(class))
    }

    fn row<T: serde::de::DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.tree.get(key).map_err(StoreError::Database)?.map(|value| codec::decode(key, &value)).transpose()
    }

    fn scan<T: serde::de::DeserializeOwned>(
        &self,
        prefix: Vec<u8>,
    ) -> impl Iterator<Item = Result<(Vec<u8>, T), StoreError>> {
        let length = prefix.len();
        self.tree.scan_prefix(prefix).map(move |entry| {
            let (key, value) = entry.map_err(StoreError::Database)?;
            let row = codec::decode(&key, &value)?;
            Ok((key.iter().skip(length).copied().collect(), row))
        })
    }

    /// All objects.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Result<(SourceAnchor, ObjectRow), StoreError>> {
        self.scan(vec![keys::OBJECT]).map(|entry| entry.and_then(|(key, row)| Ok((keys::anchor(&key)?, row))))
    }

    /// All memberships, as group and member.
    pub(crate) fn edges(&self) -> impl Iterator<Item = Result<(SourceAnchor, SourceAnchor, EdgeRow), StoreError>> {
        self.scan(vec![keys::EDGE]).map(|entry| {
            let (key, row) = entry?;
            let (group, member) = keys::pair(&key)?;
            Ok((group, member, row))
        })
    }

    /// The memberships of a group.
    pub(crate) fn members_of(
        &self,
        group: &SourceAnchor,
    ) -> impl Iterator<Item = Result<(SourceAnchor, EdgeRow), StoreError>> {
        self.scan(keys::members(group)).map(|entry| entry.and_then(|(key, row)| Ok((keys::anchor(&key)?, row))))
    }

    /// The groups that have, or should have, this member.
    pub(crate) fn groups_of(&self, member: &SourceAnchor) -> Result<Vec<SourceAnchor>, StoreError> {
        self.scan::<()>(keys::groups(member)).map(|entry| entry.and_then(|(key, ())| keys::anchor(&key))).collect()
    }

    /// All writes that may be on their way.
    pub(crate) fn intents(&self) -> Result<Vec<(SourceAnchor, Intent)>, StoreError> {
        self.scan(vec![keys::INTENT]).map(|entry| entry.and_then(|(key, row)| Ok((keys::anchor(&key)?, row)))).collect()
    }

    /// The removals remembered for the guard: when, in milliseconds since 1970, and what.
    pub(crate) fn removals(&self) -> Result<Vec<Removal>, StoreError> {
        self.scan(vec![keys::WINDOW]).map(|entry| entry.map(|(_, removal)| removal)).collect()
    }

    pub(crate) fn tx(&self) -> Tx<'_> {
        Tx::new(self)
    }

    /// Returns when everything applied so far is on the disk.
    ///
    /// Not by `flush_async`: that waits in one of the few threads which sled writes with, holding a lock that all databases
    /// of the process share. As soon as as many ledgers as there are threads do so, nothing is ever written again.
    pub(crate) async fn flush(&self) -> Result<(), ProvisionerError> {
        let tree = self.tree.clone();
        tokio::task::spawn_blocking(move || tree.flush()).await?.map_err(StoreError::Database)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
