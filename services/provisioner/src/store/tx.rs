//! A change of the ledger: reads see its own writes, all of it is applied at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::CloudClass;
use serde::{Deserialize, Serialize};

use super::{EdgeRow, Flow, Intent, Meta, ObjectRow, Store, StoreError, codec, keys};

/// A removal, or a change of an account, that the guards remember.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Removal {
    /// Milliseconds since 1970.
    pub at: i64,
    pub what: Removed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Removed {
    Object(CloudClass),
    MemberOf(SourceAnchor),
    /// A user was disabled.
    Disabled,
    /// A user got another userPrincipalName.
    Renamed,
}

/// What a transaction changed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Objects before and after.
    pub objects: Vec<(SourceAnchor, Option<Arc<ObjectRow>>, Arc<ObjectRow>)>,
    /// Memberships after: group, member.
    pub edges: Vec<(SourceAnchor, SourceAnchor, EdgeRow)>,
    pub removals: Vec<Removal>,
}

#[derive(Debug)]
struct Slot<B, T> {
    before: Option<B>,
    now: Option<T>,
}

/// A transaction.
#[derive(Debug)]
pub(crate) struct Tx<'a> {
    store: &'a Store,
    objects: HashMap<SourceAnchor, Slot<Arc<ObjectRow>, ObjectRow>>,
    edges: HashMap<(SourceAnchor, SourceAnchor), Slot<EdgeRow, EdgeRow>>,
    intents: HashMap<SourceAnchor, Option<Intent>>,
    flows: Vec<(CloudClass, Flow)>,
    removals: Vec<(u64, Removal)>,
    meta: Option<Meta>,
    /// Rows that nobody reads in the same transaction; nothing for those that go.
    others: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            objects: HashMap::new(),
            edges: HashMap::new(),
            intents: HashMap::new(),
            flows: Vec::new(),
            removals: Vec::new(),
            meta: None,
            others: HashMap::new(),
        }
    }

    /// The object, made if there is none.
    pub(crate) fn object(&mut self, anchor: &SourceAnchor, class: CloudClass) -> Result<&mut ObjectRow, StoreError> {
        let slot = match self.objects.entry(anchor.clone()) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(place) => {
                let before = self.store.object(anchor)?;
                place.insert(Slot { now: before.as_deref().cloned(), before })
            }
        };
        Ok(slot.now.get_or_insert_with(|| ObjectRow::new(class)))
    }

    /// The membership, made if there is none.
    pub(crate) fn edge(&mut self, group: &SourceAnchor, member: &SourceAnchor) -> Result<&mut EdgeRow, StoreError> {
        let slot = match self.edges.entry((group.clone(), member.clone())) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(place) => {
                let before = self.store.edge(group, member)?;
                place.insert(Slot { now: before.clone(), before })
            }
        };
        Ok(slot.now.get_or_insert_default())
    }

    /// The members of a group, those of this transaction included.
    pub(crate) fn members_of(&self, group: &SourceAnchor) -> Result<Vec<SourceAnchor>, StoreError> {
        let mut found: Vec<SourceAnchor> =
            self.store.members_of(group).map(|e| e.map(|(m, _)| m)).collect::<Result<_, _>>()?;
        found.extend(self.edges.keys().filter(|(g, _)| g == group).map(|(_, m)| m.clone()));
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// The groups of a member, those of this transaction included.
    pub(crate) fn groups_of(&self, member: &SourceAnchor) -> Result<Vec<SourceAnchor>, StoreError> {
        let mut found = self.store.groups_of(member)?;
        found.extend(self.edges.keys().filter(|(_, m)| m == member).map(|(g, _)| g.clone()));
        found.sort();
        found.dedup();
        Ok(found)
    }

    pub(crate) fn set_intent(&mut self, anchor: &SourceAnchor, intent: Option<Intent>) {
        self.intents.insert(anchor.clone(), intent);
    }

    pub(crate) fn set_flow(&mut self, class: CloudClass, flow: Flow) {
        self.flows.push((class, flow));
    }

    /// Remembers a removal for the guard; `offset` is that of its outcome.
    pub(crate) fn remember(&mut self, offset: u64, removal: Removal) {
        self.removals.push((offset, removal));
    }

    pub(crate) fn meta(&mut self) -> Result<&mut Meta, StoreError> {
        match &mut self.meta {
            Some(meta) => Ok(meta),
            none => Ok(none.insert(self.store.meta()?)),
        }
    }

    /// Writes a row that this transaction does not read.
    pub(super) fn put<T: Serialize>(&mut self, key: Vec<u8>, row: &T) -> Result<(), StoreError> {
        let value = codec::encode(&key, row)?;
        self.others.insert(key, Some(value));
        Ok(())
    }

    /// Removes one.
    pub(super) fn take(&mut self, key: Vec<u8>) {
        self.others.insert(key, None);
    }

    /// Applies it. Not durable before [`Store::flush`], but whole in any case.
    pub(crate) fn commit(self) -> Result<Changed, StoreError> {
        let mut batch = sled::Batch::default();
        let mut changed = Changed::default();
        let mut put = |key: Vec<u8>, value: Vec<u8>| batch.insert(key, value);
        if let Some(meta) = &self.meta {
            put(keys::META.to_vec(), codec::encode(keys::META, meta)?);
        }
        for (class, flow) in &self.flows {
            let key = keys::flow(*class);
            let value = codec::encode(&key, flow)?;
            put(key, value);
        }
        let (mut given, mut taken) = (Vec::new(), Vec::new());
        for (anchor, slot) in self.objects {
            let Some(now) = slot.now.filter(|now| slot.before.as_deref() != Some(now)) else { continue };
            let before = slot.before.as_ref().and_then(|before| before.cloud_id.as_ref());
            if before != now.cloud_id.as_ref() {
                taken.extend(before.map(|id| keys::cloud(id)));
                given.extend(now.cloud_id.as_ref().map(|id| (keys::cloud(id), anchor.clone())));
            }
            let key = keys::object(&anchor);
            let value = codec::encode(&key, &now)?;
            put(key, value);
            changed.objects.push((anchor, slot.before, Arc::new(now)));
        }
        for ((group, member), slot) in self.edges {
            let Some(now) = slot.now.filter(|now| slot.before.as_ref() != Some(now)) else { continue };
            let key = keys::edge(&group, &member);
            let value = codec::encode(&key, &now)?;
            put(key, value);
            if slot.before.is_none() {
                let key = keys::reverse(&group, &member);
                let value = codec::encode(&key, &())?;
                put(key, value);
            }
            changed.edges.push((group, member, now));
        }
        for (number, (offset, removal)) in self.removals.into_iter().enumerate() {
            let key = keys::window(removal.at, offset, number as u32);
            let value = codec::encode(&key, &removal)?;
            put(key, value);
            changed.removals.push(removal);
        }
        for key in taken {
            batch.remove(key);
        }
        for (key, anchor) in given {
            let value = codec::encode(&key, &anchor.as_str())?;
            batch.insert(key, value);
        }
        for (key, value) in self.others {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        for (anchor, intent) in self.intents {
            let key = keys::intent(&anchor);
            match intent {
                Some(intent) => {
                    let value = codec::encode(&key, &intent)?;
                    batch.insert(key, value);
                }
                None => batch.remove(key),
            }
        }
        self.store.tree.apply_batch(batch).map_err(StoreError::Database)?;
        let mut recent = self.store.recent();
        for (anchor, _, now) in &changed.objects {
            recent.put(anchor.clone(), Arc::clone(now));
        }
        drop(recent);
        Ok(changed)
    }
}
