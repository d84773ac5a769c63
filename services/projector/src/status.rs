//! What a projector says about itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use forestsync_domain::{Dn, ObjectGuid};
use forestsync_schemas::desired::CloudClass;
use serde::Serialize;

use crate::Hold;
use crate::digest::StateDigest;
use crate::engine::Engine;
use crate::round::gate_is_open;

/// Findings that are listed; all are counted.
const MAX_FINDINGS: usize = 50;

/// What a projector says about itself. Holds no attribute values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct ProjectorStatus {
    /// Each `changes` stream by name.
    pub streams: BTreeMap<String, StreamStatus>,
    /// Objects mirrored that are not tombstones.
    pub objects: u64,
    /// Wishes by class, without those that are blocked.
    pub projected: BTreeMap<CloudClass, u64>,
    /// Objects that belong into the tenant and must not be sent as they are.
    pub blocked: u64,
    /// References to objects that are not wished (yet).
    pub waiting_references: u64,
    /// Objects with something wrong.
    pub findings: u64,
    /// Some of them.
    pub finding_list: Vec<Finding>,
    /// Objects and memberships that may have to be written to `desired`.
    pub outbox: u64,
    /// Why nothing is written.
    pub held: Vec<Hold>,
    /// Whether every source has completed a full read.
    pub gate_open: bool,
    /// Whether the mirror is catching up with what was written before a crash, or by an earlier database; nothing is
    /// written until then.
    pub rebuilding: bool,
    /// Where a damaged database was moved to since the projector was opened.
    pub moved_aside: Vec<PathBuf>,
    /// The state digest.
    pub digest: Option<StateDigest>,
    /// The offset of the next record of `desired`.
    pub desired_offset: u64,
}

/// Where one stream stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamStatus {
    /// The forest's configured name.
    pub forest: String,
    /// The naming context.
    pub naming_context: Dn,
    /// The offset of the next record to apply.
    pub applied: u64,
    /// The offset the stream's next record will get, if it is known.
    pub tail: Option<u64>,
    /// Whether a full read is under way.
    pub snapshot_open: bool,
    /// Whether a full read was complete once.
    pub snapshot_complete: bool,
    /// Whether an answer of the directory is only in part in the stream.
    pub answer_open: bool,
    /// Why the stream is not applied any further.
    pub stopped: Option<String>,
    /// The collector's last word, if it cannot read: cause, detail, hint.
    pub reading_stopped: Option<(String, String, String)>,
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The forest's configured name.
    pub forest: String,
    /// objectGUID.
    pub object: String,
    /// Whether the object is not sent because of it.
    pub blocking: bool,
    /// What is wrong and what to do.
    pub messages: Vec<String>,
}

impl ProjectorStatus {
    /// Whether everything read is applied, and everything wished is written or held.
    pub fn is_idle(&self) -> bool {
        let caught_up = |s: &StreamStatus| s.stopped.is_some() || s.tail.is_some_and(|tail| s.applied >= tail);
        // what is withheld because of a stream that stopped stays in the outbox
        let is_stopped = self.streams.values().any(|stream| stream.stopped.is_some());
        let is_written = self.outbox == 0 || self.is_waiting() || is_stopped;
        self.streams.values().all(caught_up) && !self.rebuilding && is_written
    }

    /// Whether something must happen outside before anything is written: a hold must end, or a source be read.
    pub fn is_waiting(&self) -> bool {
        !self.held.is_empty() || !self.gate_open
    }
}

impl Engine {
    /// The status as far as the engine knows it; tails are its caller's.
    pub(crate) fn status(&self) -> Result<ProjectorStatus, crate::StoreError> {
        let counters = &self.meta.counters;
        let streams = self.plan.sources.iter().filter_map(|source| {
            let state = self.meta.sources.get(&source.id)?;
            let status = StreamStatus {
                forest: state.forest.clone(),
                naming_context: state.naming_context.clone(),
                applied: state.offset,
                tail: None,
                snapshot_open: state.open.is_some(),
                snapshot_complete: state.first_done,
                answer_open: state.answer_open,
                stopped: self.stopped.get(&source.id).map(|stop| stop.detail.clone()),
                reading_stopped: state.reading_stopped.clone(),
            };
            Some((state.stream.clone(), status))
        });
        let finding = |(forest, object, row): (String, ObjectGuid, crate::rows::FindingRow)| Finding {
            forest,
            object: object.to_string(),
            blocking: row.blocking,
            messages: row.messages,
        };
        let findings = if counters.findings == 0 { Vec::new() } else { self.findings(MAX_FINDINGS)? };
        Ok(ProjectorStatus {
            streams: streams.collect(),
            objects: counters.objects,
            projected: counters.projected.clone(),
            blocked: counters.blocked,
            waiting_references: counters.waiting,
            findings: counters.findings,
            finding_list: findings.into_iter().map(finding).collect(),
            outbox: counters.outbox + if self.meta.emit_all { counters.projected.values().sum() } else { 0 },
            held: self.holds.clone(),
            gate_open: gate_is_open(&self.plan, &self.meta),
            rebuilding: self.is_rebuilding(),
            moved_aside: Vec::new(),
            digest: Some(StateDigest(self.meta.state_digest)),
            desired_offset: self.meta.desired,
        })
    }
}
