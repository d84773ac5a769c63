//! What the ledger keeps of what others did in the tenant, and of how far the tenant was compared.

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::DriftPolicy;
use serde::{Deserialize, Serialize};

use super::{EdgeRow, ObjectRow, Store, StoreError, Tx, codec, keys};

/// How far a class was compared with the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Watch {
    /// Path of the next page; nothing to begin with the first page of a whole comparison.
    pub link: Option<String>,
    /// The whole class is being compared: what is not seen until the end is looked for.
    pub whole: bool,
    /// Numbers the whole comparisons; what was seen in one is marked with it.
    pub round: u64,
    /// When the whole comparison began, in milliseconds since 1970.
    pub began: i64,
    /// Path of the first page, which fixes what is compared.
    pub first: String,
    /// When everything was compared last, in milliseconds since 1970; 0 if it never was.
    pub compared: i64,
}

/// An object that may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspect {
    /// Since when, in milliseconds since 1970.
    pub since: i64,
}

/// A membership that may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hint {
    /// Since when, in milliseconds since 1970.
    pub since: i64,
    /// Whether the tenant seems to have it.
    pub present: bool,
}

/// Others changed a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EdgeDrift {
    /// Whether the tenant has it.
    pub present: bool,
    pub policy: DriftPolicy,
    /// Milliseconds since 1970.
    pub since: i64,
}

/// Others deleted an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lost {
    pub policy: DriftPolicy,
    /// Milliseconds since 1970.
    pub since: i64,
    /// Offset of the wish at that time.
    pub offset: u64,
}

impl ObjectRow {
    /// Whether others deleted it and it stays away for now.
    pub(crate) fn stays_away(&self) -> bool {
        let wish = self.wish.as_ref().map_or(0, |wish| wish.offset);
        self.lost.is_some_and(|lost| match lost.policy {
            DriftPolicy::Enforce => false,
            DriftPolicy::Report => true,
            DriftPolicy::Accept => wish <= lost.offset,
        })
    }
}

impl EdgeRow {
    /// Whether others added it, and it is to go although no record ever said so.
    pub(crate) fn is_stray(&self) -> bool {
        let enforced = |drift: EdgeDrift| drift.present && drift.policy == DriftPolicy::Enforce;
        self.wish != Some(true) && self.confirmed && self.drift.is_some_and(enforced)
    }
}

impl Store {
    /// Whose object has this id in the tenant, as far as known.
    pub(crate) fn anchor_of(&self, cloud_id: &str) -> Result<Option<SourceAnchor>, StoreError> {
        Ok(self.row::<String>(&keys::cloud(cloud_id))?.map(SourceAnchor::from))
    }

    pub(crate) fn watch(&self, class: CloudClass) -> Result<Watch, StoreError> {
        Ok(self.row(&keys::watch(class))?.unwrap_or_default())
    }

    /// The whole comparison that saw the object last.
    pub(crate) fn mark(&self, anchor: &SourceAnchor) -> Result<u64, StoreError> {
        Ok(self.row(&keys::mark(anchor))?.unwrap_or_default())
    }

    /// The whole comparison that saw the membership last.
    pub(crate) fn member_mark(&self, group: &SourceAnchor, member: &SourceAnchor) -> Result<u64, StoreError> {
        Ok(self.row(&keys::member_mark(group, member))?.unwrap_or_default())
    }

    pub(crate) fn suspect(&self, anchor: &SourceAnchor) -> Result<Option<Suspect>, StoreError> {
        self.row(&keys::suspect(anchor))
    }

    /// All objects that may differ.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = Result<SourceAnchor, StoreError>> {
        self.scan::<Suspect>(vec![keys::SUSPECT]).map(|entry| entry.and_then(|(key, _)| keys::anchor(&key)))
    }

    /// All groups with memberships that may differ.
    pub(crate) fn hinted(&self) -> impl Iterator<Item = Result<SourceAnchor, StoreError>> {
        self.scan::<Hint>(vec![keys::HINT]).map(|entry| entry.and_then(|(key, _)| Ok(keys::pair(&key)?.0)))
    }

    /// Those of one group, by member.
    pub(crate) fn hints_of(&self, group: &SourceAnchor) -> Result<Vec<(SourceAnchor, Hint)>, StoreError> {
        self.scan(keys::hints(group)).map(|entry| entry.and_then(|(key, row)| Ok((keys::anchor(&key)?, row)))).collect()
    }

    /// Up to `most` objects from one on, in the order of their anchors.
    pub(crate) fn objects_after(
        &self,
        after: Option<&SourceAnchor>,
        most: usize,
    ) -> Result<Vec<(SourceAnchor, ObjectRow)>, StoreError> {
        let from = match after {
            Some(anchor) => [keys::object(anchor), vec![0]].concat(),
            None => vec![keys::OBJECT],
        };
        let rows = self.tree.range(from..vec![keys::OBJECT + 1]).take(most);
        rows.map(|entry| {
            let (key, value) = entry.map_err(StoreError::Database)?;
            Ok((keys::anchor(key.get(1..).unwrap_or_default())?, codec::decode(&key, &value)?))
        })
        .collect()
    }
}

impl Tx<'_> {
    pub(crate) fn set_watch(&mut self, class: CloudClass, watch: &Watch) -> Result<(), StoreError> {
        self.put(keys::watch(class), watch)
    }

    /// Notes that a whole comparison saw the object.
    pub(crate) fn set_mark(&mut self, anchor: &SourceAnchor, round: u64) -> Result<(), StoreError> {
        self.put(keys::mark(anchor), &round)
    }

    /// The same of a membership.
    pub(crate) fn set_member_mark(
        &mut self,
        group: &SourceAnchor,
        member: &SourceAnchor,
        round: u64,
    ) -> Result<(), StoreError> {
        self.put(keys::member_mark(group, member), &round)
    }

    pub(crate) fn set_suspect(&mut self, anchor: &SourceAnchor, suspect: Option<Suspect>) -> Result<(), StoreError> {
        if let Some(suspect) = suspect {
            return self.put(keys::suspect(anchor), &suspect);
        }
        self.take(keys::suspect(anchor));
        Ok(())
    }

    pub(crate) fn set_hint(
        &mut self,
        group: &SourceAnchor,
        member: &SourceAnchor,
        hint: Option<Hint>,
    ) -> Result<(), StoreError> {
        if let Some(hint) = hint {
            return self.put(keys::hint(group, member), &hint);
        }
        self.take(keys::hint(group, member));
        Ok(())
    }
}
