//! Moments that objects wait for: the end of an account. The projection has no clock; that a moment has come is a
//! decision, written before it is acted on, so that a replay knows it without looking at a clock either.

use forestsync_domain::{AttributeValue, ObjectGuid};
use forestsync_schemas::decisions::{DecisionEvent, TimerFired};
use jiff::Timestamp;

use crate::engine::Engine;
use crate::keys::{self, ObjectKey};
use crate::round::{Round, gate_is_open};
use crate::rows::{EMPTY, ObjectRow, adjust};
use crate::work::{Work, WorkKind};
use crate::{ProjectorError, StoreError, store};

/// Moments of one batch.
const CHUNK: usize = 500;
/// Between 1601, where directories begin to count, and 1970; in milliseconds.
const EPOCH_OFFSET: i64 = 11_644_473_600_000;
/// Of accounts that never expire (MS-ADA1, accountExpires); zero says the same.
const NEVER: i64 = i64::MAX;

/// When an account expires, in milliseconds since 1970, the last one begun counted; none if it never does.
pub(crate) fn expiry(row: &ObjectRow) -> Option<i64> {
    let text = row.values("accountExpires").first().and_then(AttributeValue::as_text)?;
    let ticks: i64 = text.trim().parse().ok()?;
    (ticks > 0 && ticks != NEVER).then(|| ticks.div_euclid(10_000) - EPOCH_OFFSET)
}

impl Round<'_> {
    /// Notes when an object must be looked at without anything else happening.
    pub(crate) fn note_moment(&mut self, key: ObjectKey, row: Option<&ObjectRow>) -> Result<(), StoreError> {
        let Some(row) = row.filter(|row| row.is_live() && row.class.is_user()) else { return Ok(()) };
        let Some(due) = expiry(row) else { return Ok(()) };
        if self.last_moment(key)? == Some(due) {
            return Ok(());
        }
        let row_key = keys::timer(due, key);
        if !self.txn.has(&row_key)? {
            self.txn.put(row_key, &EMPTY[..]);
        }
        Ok(())
    }

    /// The moment of an object that came last, in milliseconds since 1970.
    fn last_moment(&mut self, key: ObjectKey) -> Result<Option<i64>, StoreError> {
        if self.meta.fired == 0 {
            return Ok(None);
        }
        self.read(&keys::of_object(keys::FIRED, key))
    }

    /// Whether the account is known to have expired.
    pub(crate) fn is_expired(&mut self, key: ObjectKey, row: &ObjectRow) -> Result<bool, StoreError> {
        match expiry(row) {
            Some(due) => Ok(self.last_moment(key)? == Some(due)),
            None => Ok(false),
        }
    }

    /// Writes down that a moment came.
    pub(crate) fn set_moment(&mut self, key: ObjectKey, due: i64) -> Result<(), StoreError> {
        let before = self.set(keys::of_object(keys::FIRED, key), Some(store::encode(&due)))?;
        adjust(&mut self.meta.fired, before, true);
        Ok(())
    }

    fn fire(&mut self, due: i64, key: ObjectKey) -> Result<(), StoreError> {
        self.txn.delete(keys::timer(due, key));
        let row = self.object(key)?;
        let is_meant = row.as_ref().is_some_and(|row| row.is_live() && expiry(row) == Some(due));
        let (Some(source), Ok(at)) = (self.plan.source(key.source), Timestamp::from_millisecond(due)) else {
            return Ok(());
        };
        if !is_meant || self.last_moment(key)? == Some(due) {
            return Ok(());
        }
        self.decisions.push(DecisionEvent::TimerFired(TimerFired {
            forest: source.config.forest.clone(),
            naming_context: source.config.naming_context.clone(),
            object: key.guid,
            due: at,
        }));
        self.set_moment(key, due)?;
        self.add_work(Work::new(WorkKind::Evaluate, key));
        Ok(())
    }
}

impl Engine {
    /// Lets every moment come that is not after `now`. Nothing happens before the wishes can be told.
    pub(crate) fn fire_moments(&mut self, now: Timestamp) -> Result<(), ProjectorError> {
        while self.outputs.is_some() && self.next_moment()?.is_some_and(|next| next <= now) {
            let mut round = self.round()?;
            let none =
                ObjectKey { source: crate::config::SourceId([0xff; 8]), guid: ObjectGuid::from_bytes([0xff; 16]) };
            let until = keys::timer(now.as_millisecond(), none);
            for (row_key, _) in round.txn.scan(&[keys::TIMER], None, CHUNK)? {
                if let Some((due, key)) = keys::read_timer(&row_key).filter(|_| row_key <= until) {
                    round.fire(due, key)?;
                }
            }
            let prepared = round.finish()?;
            self.commit(prepared)?;
            self.settle()?;
        }
        Ok(())
    }

    /// When something has to happen without anybody saying so.
    pub(crate) fn next_moment(&self) -> Result<Option<Timestamp>, StoreError> {
        if !self.meta.swept || !gate_is_open(&self.plan, &self.meta) {
            return Ok(None);
        }
        let Some(row) = self.store.scan(&[keys::TIMER], None).next() else { return Ok(None) };
        let (row_key, _) = row?;
        Ok(keys::read_timer(&row_key).and_then(|(due, _)| Timestamp::from_millisecond(due).ok()))
    }
}
