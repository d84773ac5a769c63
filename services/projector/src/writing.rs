//! When what is wished may be written, and writing it.
//!
//! `desired` survives a crash that the last batches do not, and a database may be built anew under it. So each record of
//! it says how far the streams had been read, and nothing is written again before that was reached once more: a wish of
//! a mirror that knows less than the one before it would take back what is right.

use std::collections::BTreeSet;

use forestsync_runtime::clock;

use crate::ProjectorError;
use crate::config::{Source, SourceId};
use crate::emit::{Emission, Phase};
use crate::engine::{Engine, Outputs};
use crate::round::gate_is_open;

type Result<T> = std::result::Result<T, ProjectorError>;

impl Engine {
    /// Whether the mirror knows less of a source than `desired` was written with.
    fn is_behind(&self, source: &Source) -> bool {
        let offset = self.meta.sources.get(&source.id).map_or(0, |state| state.offset);
        self.meta.until.get(source.config.stream.as_str()).is_some_and(|until| offset < *until)
    }

    /// Whether the mirror still has to catch up with what was written. A stream that stopped is not waited for: what its
    /// forest is concerned with is withheld instead.
    pub(crate) fn is_rebuilding(&self) -> bool {
        self.plan.sources.iter().any(|source| self.is_behind(source) && !self.stopped.contains_key(&source.id))
    }

    /// The sources of which nothing may be written: those of a forest with a stream that is behind. References cross
    /// naming contexts, so the others of the forest wait as well.
    fn withheld(&self) -> BTreeSet<SourceId> {
        let behind = self.plan.sources.iter().filter(|source| self.is_behind(source));
        behind.flat_map(|source| self.plan.forest_of(source.id)).collect()
    }

    /// A stream that is shorter than `desired` says was restored from a copy: what it lost does not come back.
    pub(crate) fn limit_barrier(&mut self, source: SourceId, tail: u64) -> Result<()> {
        let Some(stream) = self.plan.source(source).map(|source| source.config.stream.clone()) else { return Ok(()) };
        let mut round = self.round()?;
        if let Some(until) = round.meta.until.get_mut(stream.as_str()).filter(|until| **until > tail) {
            tracing::error!(
                stream = %stream, stream.tail = tail, stream.read_before = *until,
                "a stream is shorter than it was; what it lost is not waited for"
            );
            *until = tail;
        }
        let prepared = round.finish()?;
        self.commit(prepared)
    }

    /// What stands in the streams behind the place that was read up to is not waited for: a replay stops there.
    pub(crate) fn end_barrier(&mut self) -> Result<()> {
        let mut round = self.round()?;
        for source in &self.plan.sources {
            let offset = self.meta.sources.get(&source.id).map_or(0, |state| state.offset);
            if let Some(until) = round.meta.until.get_mut(source.config.stream.as_str()) {
                *until = offset.min(*until);
            }
        }
        let prepared = round.finish()?;
        self.commit(prepared)
    }

    /// Writes what is wished to `desired`, unless something holds it. Call after [`Engine::settle`].
    pub(crate) fn emit(&mut self) -> Result<()> {
        self.holds.clear();
        if self.outputs.is_none() {
            return Ok(());
        }
        self.announce_stops()?;
        if self.is_rebuilding() {
            return Ok(());
        }
        let withheld = self.withheld();
        if !self.meta.may_be_emptied().is_empty() {
            // or its objects are another configuration's by now
            self.look_at_neighbours()?;
        }
        let mut holds = self.round()?.holds(&withheld)?;
        self.announce(&holds)?;
        while self.take_approvals(&holds, clock::now())? {
            self.settle()?;
            holds = self.round()?.holds(&withheld)?;
            self.announce(&holds)?;
        }
        self.holds = holds;
        let may_project = self.meta.swept && gate_is_open(&self.plan, &self.meta);
        if may_project {
            self.announce_findings(&withheld)?;
        }
        let is_empty = self.meta.counters.outbox == 0 && !self.meta.emit_all;
        if !self.holds.is_empty() || !may_project || is_empty {
            return Ok(());
        }
        let mut deferred = 0;
        for phase in Phase::ALL {
            if phase.is_all() && !self.meta.emit_all || phase == Phase::AllRemovals && deferred == 0 {
                continue;
            }
            if matches!(phase, Phase::AllRemovals | Phase::Removals) && deferred > 0 {
                self.look_at_neighbours()?;
            }
            deferred += self.emit_phase(phase, &withheld)?;
        }
        let mut round = self.round()?;
        round.meta.emit_all = false;
        round.meta.end_let_go(&self.plan);
        let prepared = round.finish()?;
        self.commit(prepared)
    }

    /// What leaves the scope is another configuration's or nobody's, by what that one says now and not a while ago.
    fn look_at_neighbours(&mut self) -> Result<()> {
        let Some(Outputs { runtime, log, neighbours, .. }) = &mut self.outputs else { return Ok(()) };
        if let Some(others) = runtime.block_on(neighbours.look(log, &self.plan.config))? {
            self.others = others;
        }
        Ok(())
    }

    /// Returns how many removals were left to their phase.
    fn emit_phase(&mut self, phase: Phase, withheld: &BTreeSet<SourceId>) -> Result<usize> {
        let mut deferred = 0;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let now = clock::now();
            let mut round = self.round()?;
            let mut emission = Emission::new(&round, now, withheld);
            let last = round.emit(phase, after.as_deref(), &mut emission)?;
            if last.is_none() {
                return Ok(deferred);
            }
            deferred += emission.deferred;
            if !emission.records.is_empty() {
                round.raise_barrier(emission.offsets());
            }
            let mut prepared = round.finish()?;
            if let Some(outputs) = self.outputs.as_mut().filter(|_| !emission.records.is_empty()) {
                let count = emission.records.len() as u64;
                let first = outputs.runtime.block_on(outputs.desired.append(emission.records))?;
                prepared.meta.desired = first + count;
            }
            self.commit(prepared)?;
            after = last;
        }
    }

    /// Makes the database survive the machine, if anything was written since the last time.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if !self.is_flushed {
            self.store.flush()?;
            self.is_flushed = true;
        }
        Ok(())
    }
}
