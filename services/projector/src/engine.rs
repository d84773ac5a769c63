//! The projector without its waiting: everything here blocks, and runs on a thread that may.
//!
//! ```text
//!  records ──> round ──> decisions appended ──> one batch ──> outbox ──> desired appended ──> one batch
//!              (memory)                         (rows, offset)                                (outbox emptied)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use forestsync_domain::ObjectGuid;
use forestsync_log::{Log, LogWriter, NewRecord, Record, StreamName};
use forestsync_runtime::clock;
use forestsync_schemas::decisions::{DecisionContext, DecisionEvent, DecisionRecord};
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::{EventBody as _, EventId};
use tokio::runtime::Handle;

use crate::apply::{Applied, ApplyError, Incoming, new_state};
use crate::approval::Rulings;
use crate::config::{Plan, SourceId};
use crate::error::{StreamError, StreamErrorKind};
use crate::handover::{Neighbours, Other};
use crate::holds::Hold;
use crate::keys::{self, ObjectKey};
use crate::novel::Novel;
use crate::round::{Prepared, Round};
use crate::rows::{Meta, ObjectRow};
use crate::store::Store;
use crate::work::{Work, WorkKind};
use crate::{ProjectorError, StoreError};

type Result<T> = std::result::Result<T, ProjectorError>;

/// Decisions of one append.
const MAX_DECISIONS: usize = 5_000;

/// Where a projector writes. A verification writes nowhere.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(crate) runtime: Handle,
    pub(crate) log: Arc<dyn Log>,
    /// What is known of other configurations; looked at anew before anything is taken away.
    pub(crate) neighbours: Neighbours,
    pub(crate) decisions: Box<dyn LogWriter>,
    pub(crate) desired: Box<dyn LogWriter>,
}

/// Where a stream stopped, and why.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// The record that was not applied.
    pub(crate) offset: u64,
    /// For a person.
    pub(crate) detail: String,
    /// The same for `decisions`: without attribute values.
    pub(crate) said: String,
}

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) plan: Plan,
    pub(crate) store: Store,
    pub(crate) meta: Meta,
    pub(crate) outputs: Option<Outputs>,
    /// Streams that cannot be applied any further, until the database is opened anew.
    pub(crate) stopped: BTreeMap<SourceId, Stop>,
    pub(crate) holds: Vec<Hold>,
    pub(crate) is_flushed: bool,
    /// Wishes are left for later.
    pub(crate) is_postponed: bool,
    /// Other configurations for the same tenant.
    pub(crate) others: Vec<Other>,
    /// What people decided about sources in doubt.
    pub(crate) rulings: Rulings,
    /// The offset up to which decisions about places in `changes` are known, ahead of all others.
    pub(crate) foreseen: u64,
    /// See [`Round::unnoted`].
    pub(crate) unnoted: BTreeMap<SourceId, u64>,
    /// A full read was judged that may have been judged otherwise; see [`Round::is_guessed`].
    pub(crate) is_guessed: bool,
    novel: BTreeMap<SourceId, Novel>,
}

impl Engine {
    /// Opens the database. [`StoreError::Damaged`] where an empty one must take its place.
    pub(crate) fn open(plan: Plan, decides: Option<Outputs>) -> Result<Self> {
        let store = Store::open(&plan.config.directory)?;
        let meta = store.meta()?.unwrap_or_default();
        let mut engine = Self::of(plan, store, meta, decides);
        engine.adopt_configuration()?;
        Ok(engine)
    }

    /// Opens a database to read from it. One that was built with another configuration is refused: it would answer for
    /// that one.
    pub(crate) fn open_for_questions(plan: Plan) -> Result<Self> {
        let store = Store::open(&plan.config.directory)?;
        let meta = store.meta()?.unwrap_or_default();
        if (&meta.scope_digest, &meta.rules_digest) != (&plan.scope_digest, &plan.rules_digest) {
            return Err(ProjectorError::OtherConfiguration(plan.config.directory));
        }
        Ok(Self::of(plan, store, meta, None))
    }

    fn of(plan: Plan, store: Store, meta: Meta, outputs: Option<Outputs>) -> Self {
        Self {
            plan,
            store,
            meta,
            outputs,
            stopped: BTreeMap::new(),
            holds: Vec::new(),
            is_flushed: false,
            is_postponed: false,
            others: Vec::new(),
            rulings: Rulings::default(),
            foreseen: 0,
            unnoted: BTreeMap::new(),
            is_guessed: false,
            novel: BTreeMap::new(),
        }
    }

    pub(crate) fn set_outputs(&mut self, outputs: Outputs) {
        self.outputs = Some(outputs);
    }

    /// Gives the writers back, for the database that takes the place of this one.
    pub(crate) fn take_outputs(&mut self) -> Option<Outputs> {
        self.outputs.take()
    }

    pub(crate) fn round(&self) -> std::result::Result<Round<'_>, StoreError> {
        let mut round = Round::new(&self.plan, &self.store, &self.meta, self.outputs.is_some())?;
        round.stopped = self.stopped.keys().copied().collect();
        round.is_postponed = self.is_postponed;
        round.unnoted.clone_from(&self.unnoted);
        round.others = &self.others;
        Ok(round)
    }

    /// Compares the database with the configuration, and notes what must be looked at anew.
    fn adopt_configuration(&mut self) -> Result<()> {
        for source in &self.plan.sources {
            let known = self.meta.sources.get(&source.id);
            if known.is_some_and(|state| state.stream != source.config.stream.as_str()) {
                let detail = format!("it was built from another stream than {}", source.config.stream);
                return Err(self.store.damaged(detail).into());
            }
            if known.is_some_and(|state| state.leaving) {
                let detail = format!("{} was taken out, and put back before all of it was gone", source.config.stream);
                return Err(self.store.damaged(detail).into());
            }
        }
        let is_same =
            self.meta.scope_digest == self.plan.scope_digest && self.meta.rules_digest == self.plan.rules_digest;
        let is_declared = self.meta.declared == self.plan.rules_digest;
        if is_same && is_declared {
            return Ok(());
        }
        let mut round = self.round()?;
        for source in &self.plan.sources {
            round.meta.sources.entry(source.id).or_insert_with(|| new_state(source));
        }
        let gone: Vec<SourceId> =
            round.meta.sources.keys().copied().filter(|id| self.plan.index(*id).is_none()).collect();
        for source in gone {
            if let Some(state) = round.state(source) {
                state.leaving = true;
            }
            round.add_work(Work::of_source(WorkKind::Purge, source, 0));
        }
        round.meta.scope_digest.clone_from(&self.plan.scope_digest);
        round.meta.rules_digest.clone_from(&self.plan.rules_digest);
        round.meta.decisions_stream = self.plan.decisions.to_string();
        round.meta.swept = false;
        if !is_declared {
            round.meta.declared.clone_from(&self.plan.rules_digest);
            for class in CloudClass::ALL {
                let row_key = keys::join(keys::OUTBOX, &[&[keys::OUT_FLOW], class.as_str().as_bytes()]);
                round.add_outbox(row_key, None)?;
            }
        }
        round.rebuild_scopes();
        let prepared = round.finish()?;
        self.commit(prepared)
    }

    /// Scope entries that were added to the configuration and name containers the mirror knows already. To be called
    /// when the decisions have been read.
    pub(crate) fn resolve_known(&mut self) -> Result<()> {
        for at in 0..self.plan.sources.len() {
            let Some(source) = self.plan.sources.get(at) else { continue };
            let id = source.id;
            let Some(state) = self.meta.sources.get(&id) else { continue };
            if state.offset == 0 || source.named.keys().all(|name| state.resolved.contains_key(name)) {
                continue;
            }
            let mut round = self.round()?;
            let prefix = keys::join(keys::OBJECT, &[&id.0]);
            for row in self.store.scan(&prefix, None) {
                let (row_key, value) = row?;
                let Some(key) = keys::read_object(&row_key) else { continue };
                let row: ObjectRow = round.object_from(key, &value)?;
                if row.is_live() {
                    round.resolve_scope(key, &row.dn);
                }
            }
            let prepared = round.finish()?;
            self.commit(prepared)?;
        }
        Ok(())
    }

    /// Appends the round's decisions, then writes the round.
    pub(crate) fn commit(&mut self, prepared: Prepared) -> Result<()> {
        self.append_decisions(&prepared.decisions)?;
        if prepared.changes.is_empty() && prepared.meta == self.meta {
            return Ok(());
        }
        self.store.commit(prepared.changes, &prepared.meta)?;
        self.meta = prepared.meta;
        self.is_guessed |= prepared.is_guessed;
        self.is_flushed = false;
        Ok(())
    }

    fn append_decisions(&mut self, decisions: &[DecisionEvent]) -> Result<()> {
        let Some(outputs) = self.outputs.as_mut().filter(|_| !decisions.is_empty()) else { return Ok(()) };
        let context = DecisionContext { configuration: self.plan.config.configuration.clone() };
        let time = clock::now();
        let stamp = time.to_string();
        for chunk in decisions.chunks(MAX_DECISIONS) {
            let records: Vec<NewRecord> = chunk
                .iter()
                .map(|event| {
                    let kind = event.type_name();
                    let id = EventId::of([kind.as_bytes(), stamp.as_bytes(), &identity(event)?]);
                    let record = DecisionRecord { id, time, context: context.clone(), event: event.clone() };
                    let mut record = NewRecord::new(None::<Vec<u8>>, record.encode()?);
                    record.headers.push(("type".into(), kind.into()));
                    Ok(record)
                })
                .collect::<std::result::Result<_, serde_json::Error>>()?;
            outputs.runtime.block_on(outputs.decisions.append(records))?;
        }
        Ok(())
    }

    // ---- reading

    /// Takes over records of the projector's own streams, and of what is said of the tenant.
    pub(crate) fn fold(&mut self, stream: &StreamName, records: &[Record]) -> Result<()> {
        for chunk in records.chunks(1_000) {
            let mut round = self.round()?;
            for record in chunk {
                if *stream == self.plan.decisions && record.offset < self.foreseen && is_of_a_place(record) {
                    round.meta.decisions = record.offset + 1;
                } else if *stream == self.plan.decisions {
                    round.fold_decision(record)?;
                } else if *stream == self.plan.tenant {
                    round.fold_tenant(record)?;
                } else {
                    round.fold_desired(record)?;
                }
            }
            let prepared = round.finish()?;
            self.commit(prepared)?;
        }
        Ok(())
    }

    /// Takes over, of these decisions, those about places in `changes`, ahead of the others: they count for their place
    /// whenever they were made, so whoever replays must know them before it comes there.
    pub(crate) fn foresee(&mut self, records: &[Record]) -> Result<()> {
        let Some(last) = records.last() else { return Ok(()) };
        let mut round = self.round()?;
        let at = round.meta.decisions;
        for record in records.iter().filter(|record| is_of_a_place(record)) {
            round.fold_decision(record)?;
        }
        round.meta.decisions = at;
        let prepared = round.finish()?;
        self.commit(prepared)?;
        self.foreseen = last.offset + 1;
        Ok(())
    }

    /// Applies records of a source, in one or more batches, and does what follows from them. Records before the
    /// source's offset are passed over. On [`ProjectorError::Stream`] everything before the record is applied.
    pub(crate) fn apply(&mut self, source: SourceId, records: Vec<Incoming>) -> Result<()> {
        let mut rest = records.into_iter().peekable();
        while rest.peek().is_some() {
            if self.apply_approvals()? {
                self.settle()?;
            }
            // what was approved at a place counts from there on
            let approved = self.approved_at(source)?;
            let novel = std::mem::take(&mut self.novel);
            let mut round = self.round()?;
            round.novel = novel;
            let (mut failed, mut is_first) = (None, true);
            while let Some(record) =
                rest.next_if(|record| is_first || !(record.wants_cut() || approved.contains(&record.offset)))
            {
                let expected = round.meta.sources.get(&source).map_or(0, |state| state.offset);
                if record.offset < expected {
                    continue;
                }
                let applied = match record.event {
                    _ if record.offset > expected && !record.is_behind_gap => {
                        Err(StreamErrorKind::Gap { expected }.into())
                    }
                    Ok(event) => round.apply(source, record.offset, event),
                    Err(error) => Err(StreamErrorKind::from(error).into()),
                };
                is_first = false;
                match applied {
                    Ok(Applied::Yes) => {}
                    Ok(Applied::YesAndCut) => break,
                    Err(ApplyError::Store(error)) => return Err(error.into()),
                    Err(ApplyError::Record(kind)) => {
                        failed = Some((record.offset, kind));
                        break;
                    }
                }
            }
            let is_more = round.run_work()?;
            let mut prepared = round.finish()?;
            let novel = std::mem::take(&mut prepared.novel);
            self.commit(prepared)?;
            self.novel = novel;
            if is_more {
                self.settle()?;
            }
            if let Some((offset, kind)) = failed {
                return Err(self.stream_error(source, offset, kind).into());
            }
        }
        if self.apply_approvals()? {
            self.settle()?;
        }
        Ok(())
    }

    fn stream_error(&self, source: SourceId, offset: u64, kind: StreamErrorKind) -> StreamError {
        let stream = self.plan.source(source).map_or(&self.plan.desired, |s| &s.config.stream).clone();
        StreamError { stream, offset, kind }
    }

    /// Does all work there is.
    pub(crate) fn settle(&mut self) -> Result<()> {
        while !self.settle_some(usize::MAX)? {}
        Ok(())
    }

    /// Does so many rounds of the work there is; returns whether none is left.
    pub(crate) fn settle_some(&mut self, rounds: usize) -> Result<bool> {
        for _ in 0..rounds {
            let mut round = self.round()?;
            let is_more = round.run_work()?;
            let prepared = round.finish()?;
            self.commit(prepared)?;
            if !is_more && !self.apply_approvals()? {
                self.forget_sources()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes leave of sources that are configured no longer and of which nothing is left.
    fn forget_sources(&mut self) -> Result<()> {
        let mut round = self.round()?;
        for source in self.meta.sources.keys().filter(|id| self.plan.index(**id).is_none()) {
            let is_left = |prefix: u8| {
                let left = round.txn.scan(&keys::join(prefix, &[&source.0]), None, 1)?;
                Ok::<_, StoreError>(!left.is_empty())
            };
            if !is_left(keys::OBJECT)? && !is_left(keys::DIRTY)? && !is_left(keys::EDGE)? {
                round.meta.sources.remove(source);
            }
        }
        let prepared = round.finish()?;
        self.commit(prepared)
    }

    /// Some of the objects with something wrong, for people: forest, object, messages.
    pub(crate) fn findings(
        &self,
        limit: usize,
    ) -> std::result::Result<Vec<(String, ObjectGuid, crate::rows::FindingRow)>, StoreError> {
        let mut found = Vec::new();
        for row in self.store.scan(&[keys::FINDING], None).take(limit) {
            let (row_key, value) = row?;
            let Some(ObjectKey { source, guid }) = keys::read_object(&row_key) else { continue };
            let forest = self.plan.source(source).map(|s| s.config.forest.clone()).unwrap_or_default();
            found.push((forest, guid, crate::store::decode(&self.store, &row_key, &value)?));
        }
        Ok(found)
    }
}

/// Whether a decision is about a place in `changes`, and not about a moment: how a full read is judged, from which record
/// on it is believed, which object a name of the scope means. The type stands in the record's header; a log that was
/// written without headers is decoded.
fn is_of_a_place(record: &Record) -> bool {
    let is_placed = |kind: &[u8]| matches!(kind, b"FullReadJudged" | b"FullReadApproved" | b"ScopeResolved");
    match record.headers.iter().find(|(name, _)| name == "type") {
        Some((_, kind)) => is_placed(kind),
        None => {
            DecisionRecord::decode(&record.value).is_ok_and(|record| is_placed(record.event.type_name().as_bytes()))
        }
    }
}

/// What tells a decision from others of its type.
fn identity(event: &DecisionEvent) -> std::result::Result<Vec<u8>, serde_json::Error> {
    match event {
        // by far the most frequent one, and an object has one of it
        DecisionEvent::AnchorAssigned(event) => {
            Ok([event.object.as_bytes(), event.anchor.as_str().as_bytes()].concat())
        }
        other => serde_json::to_vec(other),
    }
}
