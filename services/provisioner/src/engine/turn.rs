//! What one round of the engine writes down: outcomes in one append, then the ledger in one batch.

use forestsync_domain::SourceAnchor;
use forestsync_log::NewRecord;
use forestsync_runtime::clock;
use forestsync_schemas::desired::{CloudClass, CloudValue};
use forestsync_schemas::outcomes::{OutcomeContext, OutcomeEvent};
use forestsync_schemas::{EventBody as _, EventId, OutcomeRecord, trace};

use super::fold::{put, set_failed};
use super::health::is_failure;
use super::{CrashPoint, Engine, Flight, fold};
use crate::error::ProvisionerError;
use crate::store::{Failed, Hint, Intent, ObjectRow, StoreError, Suspect, Tx, Wish};
use crate::target::Done;

/// Outcomes in one append at most; far below what an append may hold.
const MOST: usize = 1_000;

/// An outcome to be appended.
#[derive(Debug)]
pub(super) struct NewOutcome {
    pub anchor: SourceAnchor,
    pub class: CloudClass,
    pub cloud_id: Option<String>,
    pub offset: u64,
    pub trace: Option<String>,
    pub status: Option<u16>,
    pub request_id: Option<String>,
    pub event: OutcomeEvent,
}

impl NewOutcome {
    /// One of the configuration as a whole.
    pub(super) fn of_all(offset: u64, event: OutcomeEvent) -> Self {
        Self {
            anchor: SourceAnchor::from(String::new()),
            class: CloudClass::User,
            cloud_id: None,
            offset,
            trace: None,
            status: None,
            request_id: None,
            event,
        }
    }

    /// One that no answer caused.
    pub(super) fn of(anchor: &SourceAnchor, row: &ObjectRow, wish: &Wish, event: OutcomeEvent) -> Self {
        Self {
            anchor: anchor.clone(),
            class: if row.cloud_id.is_some() { row.class } else { wish.class },
            cloud_id: row.cloud_id.clone(),
            offset: wish.offset,
            trace: wish.trace.clone(),
            status: None,
            request_id: None,
            event,
        }
    }

    /// One that a call led to; `done` is its answer, if there was one.
    pub(super) fn after(anchor: &SourceAnchor, flight: &Flight, done: Option<&Done>, event: OutcomeEvent) -> Self {
        Self {
            anchor: anchor.clone(),
            class: flight.class,
            cloud_id: flight.cloud_id.clone(),
            offset: flight.offset,
            trace: flight.trace.clone(),
            status: done.map(|d| d.status),
            request_id: done.and_then(|d| d.request_id.clone()),
            event,
        }
    }

    fn record(self, configuration: &str) -> Result<OutcomeRecord, serde_json::Error> {
        let data = serde_json::to_vec(&self.event)?;
        let time = clock::now();
        // what concerns no object may be said again in the same words
        let moment = if self.anchor.as_str().is_empty() { time.as_nanosecond() } else { 0 };
        let moment_bytes = moment.to_be_bytes();
        let id = EventId::of([
            configuration.as_bytes(),
            self.anchor.as_str().as_bytes(),
            self.event.type_name().as_bytes(),
            &self.offset.to_be_bytes(),
            self.request_id.as_deref().unwrap_or_default().as_bytes(),
            &data,
            if moment == 0 { &[] } else { &moment_bytes },
        ]);
        let context = OutcomeContext {
            configuration: configuration.to_owned(),
            anchor: self.anchor,
            class: self.class,
            cloud_id: self.cloud_id,
            desired_offset: self.offset,
            request_id: self.request_id,
            status: self.status,
            trace: self.trace,
        };
        Ok(OutcomeRecord { id, time, context, event: self.event })
    }
}

/// What the ledger keeps for itself, because losing it costs a few requests and nothing else.
#[derive(Debug)]
pub(super) enum Note {
    /// One more failure of what was reported as quarantined.
    Object(SourceAnchor, Failed),
    /// The same of a membership: group, member.
    Member(SourceAnchor, SourceAnchor, Failed),
    /// Since when the tenant may hold the object.
    MaybeObject(SourceAnchor, Option<i64>),
    /// The manager it has, as read.
    Manager(SourceAnchor, Option<SourceAnchor>),
    /// An owner is one no more: group, owner.
    OwnerGone(SourceAnchor, SourceAnchor),
    /// The tenant may have the membership: group, member.
    MaybeMember(SourceAnchor, SourceAnchor),
    /// Attributes whose write had no answer.
    Unsure(SourceAnchor, Vec<String>),
    /// The value that an attribute has, as read, where that was not sure.
    Value(SourceAnchor, String, Option<CloudValue>),
    /// Since when the object may differ, in milliseconds since 1970.
    Suspect(SourceAnchor, Option<i64>),
    /// The same of a membership, and whether the tenant seems to have it: group, member.
    Hint(SourceAnchor, SourceAnchor, Option<(i64, bool)>),
}

impl Note {
    fn write_down(self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        match self {
            Self::Object(anchor, failed) => set_failed(tx.object(&anchor, CloudClass::User)?, failed),
            Self::Member(group, member, failed) => tx.edge(&group, &member)?.failed = Some(failed),
            Self::MaybeObject(anchor, since) => tx.object(&anchor, CloudClass::User)?.maybe = since,
            Self::Manager(anchor, manager) => tx.object(&anchor, CloudClass::User)?.manager = manager,
            Self::OwnerGone(group, owner) => tx.object(&group, CloudClass::Group)?.own(&owner, false),
            Self::MaybeMember(group, member) => tx.edge(&group, &member)?.maybe = true,
            Self::Unsure(anchor, names) => tx.object(&anchor, CloudClass::User)?.unsure.extend(names),
            Self::Value(anchor, name, value) => {
                let row = tx.object(&anchor, CloudClass::User)?;
                row.unsure.remove(&name);
                put(&mut row.confirmed, &name, value.as_ref());
            }
            Self::Suspect(anchor, since) => tx.set_suspect(&anchor, since.map(|since| Suspect { since }))?,
            Self::Hint(group, member, hint) => {
                tx.set_hint(&group, &member, hint.map(|(since, present)| Hint { since, present }))?;
            }
        }
        Ok(())
    }
}

/// What a round collects.
#[derive(Debug, Default)]
pub(super) struct Turn {
    outcomes: Vec<NewOutcome>,
    intents: Vec<(SourceAnchor, Option<Intent>)>,
    notes: Vec<Note>,
    touched: Vec<SourceAnchor>,
}

impl Turn {
    pub(super) fn outcome(&mut self, outcome: NewOutcome) {
        self.outcomes.push(outcome);
    }

    pub(super) fn clear_intent(&mut self, anchor: &SourceAnchor) {
        self.intents.push((anchor.clone(), None));
    }

    pub(super) fn set_intent(&mut self, anchor: &SourceAnchor, intent: Intent) {
        self.intents.push((anchor.clone(), Some(intent)));
    }

    pub(super) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// The object has another turn once this one is written down.
    pub(super) fn touch(&mut self, anchor: &SourceAnchor) {
        self.touched.push(anchor.clone());
    }

    /// Whether the object has another turn.
    pub(super) fn touches(&self, anchor: &SourceAnchor) -> bool {
        self.touched.contains(anchor)
    }

    fn is_empty(&self) -> bool {
        self.outcomes.is_empty() && self.intents.is_empty() && self.notes.is_empty() && self.touched.is_empty()
    }
}

impl Engine {
    /// Says something of the configuration as a whole.
    pub(super) fn say(&mut self, event: OutcomeEvent) {
        self.turn.outcome(NewOutcome::of_all(self.desired_next, event));
    }

    /// Writes the round down; whether there was anything.
    pub(super) async fn finish_turn(&mut self) -> Result<bool, ProvisionerError> {
        let turn = std::mem::take(&mut self.turn);
        if turn.is_empty() {
            return Ok(false);
        }
        let Turn { mut outcomes, intents, notes, touched } = turn;
        if !outcomes.is_empty() {
            self.crash_point(CrashPoint::Answered)?;
        }
        while outcomes.len() > MOST {
            let rest = outcomes.split_off(MOST);
            self.write_down(std::mem::replace(&mut outcomes, rest), Vec::new(), Vec::new()).await?;
        }
        self.write_down(outcomes, intents, notes).await?;
        for anchor in touched {
            self.ready.push_front(&anchor);
        }
        Ok(true)
    }

    async fn write_down(
        &mut self,
        outcomes: Vec<NewOutcome>,
        intents: Vec<(SourceAnchor, Option<Intent>)>,
        notes: Vec<Note>,
    ) -> Result<(), ProvisionerError> {
        let records = self.append(outcomes).await?;
        let mut tx = self.store.tx();
        for (offset, record) in &records {
            fold(&mut tx, *offset, record)?;
            self.wards.answered(&record.context.anchor, is_failure(&record.event));
        }
        for (anchor, intent) in intents {
            tx.set_intent(&anchor, intent);
        }
        for note in notes {
            note.write_down(&mut tx)?;
        }
        let changed = tx.commit()?;
        self.observe(changed)?;
        self.alarms.stir();
        if !records.is_empty() {
            self.crash_point(CrashPoint::LedgerUpdated)?;
        }
        Ok(())
    }

    async fn append(&mut self, outcomes: Vec<NewOutcome>) -> Result<Vec<(u64, OutcomeRecord)>, ProvisionerError> {
        if outcomes.is_empty() {
            return Ok(Vec::new());
        }
        let mut records = Vec::with_capacity(outcomes.len());
        let mut encoded = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let record = outcome.record(&self.config.configuration).map_err(ProvisionerError::Encode)?;
            let key = Some(record.context.anchor.as_str().to_owned()).filter(|key| !key.is_empty());
            let mut encoded_record = NewRecord::new(key, record.encode().map_err(ProvisionerError::Encode)?);
            encoded_record.headers.push(("type".to_owned(), record.event.type_name().into()));
            if let Some(trace) = &record.context.trace {
                encoded_record.headers.push((trace::HEADER.to_owned(), trace.clone().into()));
            }
            encoded.push(encoded_record);
            records.push(record);
        }
        let first = self.writer.append(encoded).await?;
        self.crash_point(CrashPoint::OutcomeAppended)?;
        Ok((first..).zip(records).collect())
    }
}
