//! One round: what is computed between two batches, in memory, and written as one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use forestsync_domain::{Dn, ObjectGuid, SourceAnchor};
use forestsync_rules::flow::TenantDomains;
use forestsync_rules::scope::{ForestScope, ScopeVerdict};
use forestsync_schemas::decisions::{DecisionEvent, ScopeResolved};

use crate::StoreError;
use crate::config::{GroupEntry, Plan, ScopeEntry, Source, SourceConfig, SourceId, scope_key};
use crate::handover::Other;
use crate::keys::{self, ObjectKey};
use crate::novel::Novel;
use crate::rows::{self, EMPTY, Head, MAX_VALUE, Meta, ObjectRow, Shrink, SourceState, Wish, adjust};
use crate::store::{self, Store, Value};
use crate::txn::Txn;
use crate::work::{Work, WorkKind};

/// Rows a round may hold before it is written; one record may add a few ten thousand more.
pub(crate) const MAX_ROWS: usize = 24_000;
/// Objects and memberships a round may look at.
pub(crate) const MAX_STEPS: usize = 4_000;

/// Where a container stands in the tree.
#[derive(Debug)]
pub(crate) struct Place {
    /// Whether the chain of parents reaches the naming context's root.
    pub(crate) rooted: bool,
    /// The container and its ancestors, nearest first.
    pub(crate) chain: Vec<ObjectGuid>,
    /// Its name, made of the names of its ancestors; only if rooted.
    pub(crate) dn: Dn,
}

/// What is in scope of a source, by objectGUID.
#[derive(Debug, Default)]
pub(crate) struct SourceScope {
    pub(crate) containers: ForestScope,
    /// Groups whose members are in scope, if any are named.
    pub(crate) include_groups: Option<BTreeSet<ObjectGuid>>,
    pub(crate) exclude_groups: BTreeSet<ObjectGuid>,
}

/// A round in the making. Dropped without [`Round::finish`] it leaves no trace.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) txn: Txn<'a>,
    pub(crate) meta: Meta,
    /// Decisions made, to be appended before the batch is written.
    pub(crate) decisions: Vec<DecisionEvent>,
    /// Whether decisions may be made; a verification only reads them.
    pub(crate) decides: bool,
    pub(crate) work: BTreeMap<(WorkKind, ObjectKey), Work>,
    pub(crate) steps: usize,
    /// Of sources whose first full read is under way, the objects that were written.
    pub(crate) novel: BTreeMap<SourceId, Novel>,
    /// Links are looked at after all objects, not with each.
    pub(crate) is_sweeping: bool,
    /// What joins compare is written down, and nobody looked at because of it.
    pub(crate) is_indexing: bool,
    /// Scope per source of the plan.
    pub(crate) scopes: Vec<SourceScope>,
    /// Sources of which something that is named was not found yet.
    unresolved: BTreeSet<SourceId>,
    pub(crate) places: HashMap<ObjectKey, Rc<Place>>,
    pub(crate) verdicts: HashMap<ObjectKey, ScopeVerdict>,
    /// Wishes that were read and not changed since.
    pub(crate) wishes: HashMap<SourceAnchor, Option<Rc<Wish>>>,
    /// The groups that a group is in, at any depth, itself included.
    pub(crate) ancestries: HashMap<ObjectKey, Rc<BTreeSet<ObjectGuid>>>,
    /// Streams that cannot be read any further; they are not waited for.
    pub(crate) stopped: BTreeSet<SourceId>,
    /// Wishes are left for later, whatever was read.
    pub(crate) is_postponed: bool,
    /// For each source the offset up to which changes are not noted one by one while wishes are left for later: everything
    /// is looked at in the end, and no answer is open there.
    pub(crate) unnoted: BTreeMap<SourceId, u64>,
    /// Whether that is so of the record at hand.
    pub(crate) is_unnoted: bool,
    /// A full read was judged where its judgement is not known: with a decision still to come, it might be another one.
    pub(crate) is_guessed: bool,
    /// Other configurations for the same tenant.
    pub(crate) others: &'a [Other],
    /// How often an object was given an anchor, or took one over or gave it back.
    pub(crate) given: u64,
    /// What is known of the tenant.
    pub(crate) tenant: Option<Rc<TenantDomains>>,
}

/// A round that is ready to be written.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) changes: store::Changes,
    pub(crate) meta: Meta,
    pub(crate) decisions: Vec<DecisionEvent>,
    pub(crate) novel: BTreeMap<SourceId, Novel>,
    pub(crate) is_guessed: bool,
}

impl<'a> Round<'a> {
    pub(crate) fn new(plan: &'a Plan, store: &'a Store, meta: &Meta, decides: bool) -> Result<Self, StoreError> {
        let mut round = Self {
            plan,
            txn: Txn::new(store),
            meta: meta.clone(),
            decisions: Vec::new(),
            decides,
            work: BTreeMap::new(),
            steps: 0,
            novel: BTreeMap::new(),
            is_sweeping: false,
            is_indexing: false,
            scopes: Vec::new(),
            unresolved: BTreeSet::new(),
            places: HashMap::new(),
            verdicts: HashMap::new(),
            wishes: HashMap::new(),
            ancestries: HashMap::new(),
            stopped: BTreeSet::new(),
            is_postponed: false,
            unnoted: BTreeMap::new(),
            is_unnoted: false,
            is_guessed: false,
            others: &[],
            given: 0,
            tenant: meta.domains.clone().map(Rc::new),
        };
        round.rebuild_scopes();
        round.load_work()?;
        Ok(round)
    }

    /// Ends the round.
    pub(crate) fn finish(mut self) -> Result<Prepared, StoreError> {
        self.save_work();
        let mut meta = self.meta;
        if self.decides {
            meta.decisions += self.decisions.len() as u64;
        }
        let changes = self.txn.finish(&mut meta)?;
        Ok(Prepared { changes, meta, decisions: self.decisions, novel: self.novel, is_guessed: self.is_guessed })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.steps >= MAX_STEPS || self.txn.len() >= MAX_ROWS
    }

    pub(crate) fn state(&mut self, source: SourceId) -> Option<&mut SourceState> {
        self.meta.sources.get_mut(&source)
    }

    /// Whether every configured source has completed a full read.
    pub(crate) fn gate_is_open(&self) -> bool {
        gate_is_open(self.plan, &self.meta)
    }

    pub(crate) fn decode<T: serde::de::DeserializeOwned>(&self, key: &[u8], value: &Value) -> Result<T, StoreError> {
        store::decode(self.txn.store, key, value)
    }

    pub(crate) fn read<T: serde::de::DeserializeOwned>(&mut self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let value = self.txn.get(key)?;
        value.map(|value| self.decode(key, &value)).transpose()
    }

    /// Writes or removes a row and says whether it was there before.
    pub(crate) fn set(&mut self, key: Vec<u8>, value: Option<Value>) -> Result<bool, StoreError> {
        let before = self.txn.has(&key)?;
        match value {
            Some(value) => self.txn.put(key, value),
            None if before => self.txn.delete(key),
            None => {}
        }
        Ok(before)
    }

    // ---- objects

    pub(crate) fn object(&mut self, key: ObjectKey) -> Result<Option<ObjectRow>, StoreError> {
        let row_key = keys::of_object(keys::OBJECT, key);
        match self.txn.get(&row_key)? {
            Some(value) => self.object_from(key, &value).map(Some),
            None => Ok(None),
        }
    }

    /// [`Round::object`] for an event of its stream.
    pub(crate) fn object_for_event(&mut self, key: ObjectKey) -> Result<Option<ObjectRow>, StoreError> {
        if self.novel.get_mut(&key.source).is_some_and(|novel| novel.insert(key.guid)) {
            return Ok(None);
        }
        self.object(key)
    }

    /// Where an object stands, without its attributes.
    pub(crate) fn head(&mut self, key: ObjectKey) -> Result<Option<Head>, StoreError> {
        let row_key = keys::of_object(keys::OBJECT, key);
        match self.txn.get(&row_key)? {
            Some(value) => self.head_from(key, &value).map(Some),
            None => Ok(None),
        }
    }

    /// [`Round::head`] of a row that was read already.
    pub(crate) fn head_from(&mut self, key: ObjectKey, value: &Value) -> Result<Head, StoreError> {
        let row_key = keys::of_object(keys::OBJECT, key);
        let stored: StoredHead = rows::decode_head(&row_key, value).map_err(|e| self.txn.store.unreadable(&e))?;
        match stored {
            StoredHead::Whole(head) => Ok(head),
            StoredHead::Spilled => {
                let ObjectRow { class, dn, parent, deleted, image, seen, .. } = self.object_from(key, value)?;
                Ok(Head { class, dn, parent, deleted, image, seen })
            }
        }
    }

    /// Reads an object from its row, which is either the object or the number of rows it is spread over.
    pub(crate) fn object_from(&mut self, key: ObjectKey, value: &Value) -> Result<ObjectRow, StoreError> {
        let row_key = keys::of_object(keys::OBJECT, key);
        let (bytes, origin) = rows::split_origin(value);
        let unreadable = |e| self.txn.store.unreadable(&e);
        let (image_offset, later) = rows::decode(&row_key, origin).map_err(unreadable)?;
        let row = match rows::decode::<Stored>(&row_key, bytes).map_err(unreadable)? {
            Stored::Whole(row) => row,
            Stored::Spilled(chunks) => {
                let mut bytes = Vec::new();
                for chunk in 0..chunks {
                    let chunk_key = keys::spill(key, chunk);
                    let part = self.txn.get(&chunk_key)?;
                    let part = part.ok_or_else(|| self.txn.store.damaged("a part of an object is missing".into()))?;
                    bytes.extend_from_slice(&part);
                }
                rows::decode(&row_key, &bytes).map_err(|e| self.txn.store.unreadable(&e))?
            }
        };
        Ok(ObjectRow { image_offset, later, ..row })
    }

    fn spilled(&mut self, key: ObjectKey) -> Result<u16, StoreError> {
        let row_key = keys::of_object(keys::OBJECT, key);
        let Some(value) = self.txn.get(&row_key)? else { return Ok(0) };
        let (bytes, _) = rows::split_origin(&value);
        if bytes.len() >= 16 {
            return Ok(0);
        }
        match rows::decode(&row_key, bytes).map_err(|e| self.txn.store.unreadable(&e))? {
            Stored::Spilled(chunks) => Ok(chunks),
            Stored::Whole(_) => Ok(0),
        }
    }

    /// Writes a mirrored object with its index rows, and notes what must be looked at because of it.
    pub(crate) fn write_object(
        &mut self,
        key: ObjectKey,
        old: Option<&ObjectRow>,
        new: Option<ObjectRow>,
        trace: Option<&str>,
    ) -> Result<(), StoreError> {
        self.write_indexes(key, old, new.as_ref());
        let before = old.is_some_and(ObjectRow::is_live);
        let after = new.as_ref().is_some_and(ObjectRow::is_live);
        adjust(&mut self.meta.counters.objects, before, after);
        let moved = match (old, &new) {
            (Some(old), Some(new)) => old.parent != new.parent || old.dn != new.dn,
            _ => true,
        };
        if moved {
            self.add_subtree(key, key.guid)?;
        }
        if let Some(row) = new.as_ref().filter(|row| row.is_live()) {
            self.note_live(key, row);
        }
        self.note_stand_in(key, old, new.as_ref())?;
        self.leave_primary(key, old, new.as_ref())?;
        self.mark_dirty(key, trace)?;
        self.store_object(key, old.is_some(), new)
    }

    fn store_object(&mut self, key: ObjectKey, existed: bool, new: Option<ObjectRow>) -> Result<(), StoreError> {
        let row_key = keys::of_object(keys::OBJECT, key);
        let old_chunks = if existed { self.spilled(key)? } else { 0 };
        let mut chunks = 0u16;
        match new {
            None => self.txn.delete(row_key),
            Some(mut row) => {
                let (image_offset, later) = (row.image_offset, std::mem::take(&mut row.later));
                let stored = Stored::Whole(row);
                let whole = rows::encode(&stored);
                if whole.len() <= MAX_VALUE && !existed {
                    self.txn.put_new(row_key, rows::with_origin(whole, image_offset, &later));
                } else if whole.len() <= MAX_VALUE {
                    self.txn.put(row_key, rows::with_origin(whole, image_offset, &later));
                } else {
                    let Stored::Whole(row) = stored else { return Ok(()) };
                    for part in rows::encode(&row).chunks(MAX_VALUE) {
                        self.txn.put(keys::spill(key, chunks), part);
                        chunks += 1;
                    }
                    let spilled = rows::encode(&Stored::Spilled(chunks));
                    self.txn.put(row_key, rows::with_origin(spilled, image_offset, &later));
                }
            }
        }
        for chunk in chunks..old_chunks {
            self.txn.delete(keys::spill(key, chunk));
        }
        Ok(())
    }

    fn write_indexes(&mut self, key: ObjectKey, old: Option<&ObjectRow>, new: Option<&ObjectRow>) {
        let child = |row: &ObjectRow| {
            let parent = row.parent.filter(|parent| *parent != key.guid)?;
            Some(keys::child(ObjectKey { source: key.source, guid: parent }, &row.dn, key.guid))
        };
        let sid = |row: &ObjectRow| row.sid().map(|bytes| keys::sid(bytes, key));
        for index in [&child as &dyn Fn(&ObjectRow) -> Option<Vec<u8>>, &sid] {
            let (before, after) = (old.and_then(index), new.and_then(index));
            if before == after {
                continue;
            }
            if let Some(row) = before {
                self.txn.delete(row);
            }
            match after {
                // without an object there was no index row of it
                Some(row) if old.is_none() => self.txn.put_new(row, &EMPTY[..]),
                Some(row) => self.txn.put(row, &EMPTY[..]),
                None => {}
            }
        }
    }

    /// What the mere existence of an object may settle.
    fn note_live(&mut self, key: ObjectKey, row: &ObjectRow) {
        if let Some(state) = self.state(key.source)
            && row.class.is_synchronized()
            && state.shrunk == Some(Shrink::Nothing { had: 0 })
        {
            state.shrunk = None;
        }
        if let Some(state) = self.state(key.source).filter(|state| state.naming_context == row.dn) {
            state.root = Some(key.guid);
        }
        self.resolve_scope(key, &row.dn);
    }

    /// Whether work that follows from a change of the mirror must be noted: before the gate opens it need not, because
    /// everything is looked at then.
    pub(crate) fn follows(&self, source: SourceId) -> bool {
        !self.is_unnoted && self.meta.sources.get(&source).is_some_and(|state| state.first_done)
    }

    /// Notes that an object must be looked at when the answer it came in is complete.
    pub(crate) fn mark_dirty(&mut self, key: ObjectKey, trace: Option<&str>) -> Result<(), StoreError> {
        if self.follows(key.source) {
            let row_key = keys::of_object(keys::DIRTY, key);
            // the first cause stays: the trace of what began it
            if !self.txn.has(&row_key)? {
                self.txn.put(row_key, store::encode(&trace.map(str::to_owned)));
            }
        }
        Ok(())
    }

    /// Notes that everything below a container must be looked at, on a walk that began at `origin`.
    pub(crate) fn add_subtree(&mut self, key: ObjectKey, origin: ObjectGuid) -> Result<(), StoreError> {
        if self.meta.swept && !self.txn.scan(&keys::of_object(keys::CHILD, key), None, 1)?.is_empty() {
            self.add_work(Work { origin, ..Work::new(WorkKind::Subtree, key) });
        }
        Ok(())
    }

    // ---- scope

    /// Takes the object as the container a scope entry names, if it is the first one of that name.
    pub(crate) fn resolve_scope(&mut self, key: ObjectKey, dn: &Dn) {
        let plan = self.plan;
        let Some(source) = plan.source(key.source) else { return };
        if !self.unresolved.contains(&key.source) {
            return;
        }
        let name_key = dn.key();
        let Some(name) = source.named.get(&name_key) else { return };
        let Some(state) = self.state(key.source).filter(|state| !state.resolved.contains_key(&name_key)) else {
            return;
        };
        state.resolved.insert(name_key, key.guid);
        if self.decides {
            self.decisions.push(DecisionEvent::ScopeResolved(ScopeResolved {
                forest: source.config.forest.clone(),
                naming_context: source.config.naming_context.clone(),
                dn: name.clone(),
                object: key.guid,
            }));
        }
        self.rebuild_scopes();
        if self.meta.swept {
            self.add_work(Work::new(WorkKind::Subtree, key));
            // members of a group, and an object of a pilot
            self.add_work(Work::new(WorkKind::Evaluate, key));
            self.add_work(Work::new(WorkKind::Members, key));
        }
    }

    pub(crate) fn rebuild_scopes(&mut self) {
        let Self { plan, meta, .. } = self;
        self.scopes = plan
            .sources
            .iter()
            .map(|source| {
                let resolved = meta.sources.get(&source.id).map(|state| &state.resolved);
                let find = |entries: &[ScopeEntry]| {
                    entries.iter().filter_map(|entry| resolve(entry, resolved)).collect::<BTreeSet<_>>()
                };
                let groups = |entries: &[GroupEntry]| {
                    entries.iter().filter_map(|entry| resolve_group(plan, meta, entry)).map(|key| key.guid).collect()
                };
                let SourceConfig { include, exclude, include_groups, exclude_groups, .. } = &source.config;
                SourceScope {
                    containers: ForestScope {
                        include: find(include),
                        exclude: find(exclude),
                        include_all: include.is_empty(),
                    },
                    include_groups: (!include_groups.is_empty()).then(|| groups(include_groups)),
                    exclude_groups: groups(exclude_groups),
                }
            })
            .collect();
        let is_open = |source: &&Source| {
            let resolved = meta.sources.get(&source.id).map(|state| &state.resolved);
            source.named.keys().any(|name| resolved.is_none_or(|resolved| !resolved.contains_key(name)))
        };
        self.unresolved = plan.sources.iter().filter(is_open).map(|source| source.id).collect();
        self.verdicts.clear();
    }
}

/// The objectGUID a scope entry means, if it is known.
pub(crate) fn resolve(entry: &ScopeEntry, resolved: Option<&BTreeMap<String, ObjectGuid>>) -> Option<ObjectGuid> {
    match entry {
        ScopeEntry::Guid(guid) => Some(*guid),
        ScopeEntry::Dn(_) => resolved?.get(&scope_key(entry)).copied(),
    }
}

/// The group that an entry means, with the source it was found in; of one given by objectGUID, any source of its forest.
pub(crate) fn resolve_group(plan: &Plan, meta: &Meta, entry: &GroupEntry) -> Option<ObjectKey> {
    let of_forest = plan.sources.iter().filter(|source| source.config.forest == entry.forest);
    let mut found = of_forest.filter_map(|source| {
        let resolved = meta.sources.get(&source.id).map(|state| &state.resolved);
        resolve(&entry.group, resolved).map(|guid| ObjectKey { source: source.id, guid })
    });
    found.next()
}

pub(crate) fn gate_is_open(plan: &Plan, meta: &Meta) -> bool {
    // what was removed needs no directory any more, and nobody may be reading them
    plan.config.removed.is_some()
        || plan.sources.iter().all(|source| meta.sources.get(&source.id).is_some_and(|state| state.first_done))
}

/// An object row, or the number of rows it is spread over.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Stored {
    Whole(ObjectRow),
    Spilled(u16),
}

/// The beginning of a [`Stored`].
#[derive(Debug, serde::Deserialize)]
enum StoredHead {
    Whole(Head),
    Spilled,
}
