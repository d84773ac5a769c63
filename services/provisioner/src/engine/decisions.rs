//! What people decided about held writes: a fold of `control.<configuration>`, kept in memory.

use std::collections::HashMap;
use std::sync::Arc;

use forestsync_domain::SourceAnchor;
use forestsync_log::{Log, LogReader, Record, StreamName};
use forestsync_runtime::clock;
use forestsync_schemas::ControlRecord;
use forestsync_schemas::control::{ConfigurationRemoved, ControlEvent, RemovedObjects, Verdict};
use forestsync_schemas::outcomes::{HoldCause, Operation};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Engine;
use crate::error::{ProvisionerError, decode};
use crate::store::Held;

/// Records read at a time.
const CHUNK: usize = 256;
/// Chunks that wait to be taken.
const WAITING: usize = 4;

type Heard = Result<Vec<Record>, ProvisionerError>;

/// Decisions by write, and where further ones come from.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    by_operation: HashMap<Operation, OfOperation>,
    /// What becomes of the objects, if the whole configuration was removed and not activated since.
    removal: Option<RemovedObjects>,
    /// Counts what was heard.
    version: u64,
    heard: Option<mpsc::Receiver<Heard>>,
    /// The one task that reads on; it ends with this.
    follower: JoinSet<()>,
}

/// What was decided about an operation.
#[derive(Debug, Default)]
struct OfOperation {
    by_object: HashMap<SourceAnchor, Decided>,
    /// The last offset of `desired` that somebody had seen who decided.
    seen: u64,
}

/// A decision about one write.
#[derive(Debug)]
struct Decided {
    decision: Arc<Decision>,
    /// Of a join: the object of the tenant.
    cloud_id: Option<String>,
}

/// A decision, shared by its writes.
#[derive(Debug)]
pub(super) struct Decision {
    verdict: Verdict,
    /// The last offset of `desired` that it covers.
    covers: u64,
    /// Milliseconds since 1970.
    expires: i64,
    actor: String,
    reason: String,
    /// It is part of the removal of the configuration, and ends when that is taken back.
    of_removal: bool,
}

/// What was decided about a write.
#[derive(Debug, Clone, Copy)]
pub(super) enum Standing<'a> {
    /// Nothing that still counts: the guards judge it.
    Open,
    /// It goes.
    Approved(&'a Decision),
    /// It does not.
    Kept(HoldCause, &'a Decision),
}

impl Standing<'_> {
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open)
    }

    pub(super) fn is_approved(self) -> bool {
        matches!(self, Self::Approved(_))
    }
}

impl Decision {
    /// Why what it approves goes.
    pub(super) fn approval(&self) -> String {
        format!("approved by {}: {}", self.actor, self.reason)
    }

    /// How what it rejects is held.
    pub(super) fn hold(&self, cause: HoldCause) -> Held {
        let Self { actor, reason, .. } = self;
        let detail = match cause {
            HoldCause::Lapsed => format!("the time is over for which {actor} rejected it: {reason}"),
            _ => format!("rejected by {actor}: {reason}"),
        };
        Held { cause, detail, join: None }
    }
}

impl Decisions {
    /// What was decided about a write that has been wished since this offset.
    pub(super) fn standing(&self, anchor: &SourceAnchor, operation: Operation, since: u64) -> Standing<'_> {
        let decided = self.by_operation.get(&operation).and_then(|of| of.by_object.get(anchor));
        match decided.map(|decided| decided.decision.as_ref()).filter(|decision| since <= decision.covers) {
            Some(decision) => Self::now(decision),
            None => Standing::Open,
        }
    }

    /// What was decided about joining an object of the tenant, whatever else was wished since.
    pub(super) fn join(&self, anchor: &SourceAnchor, cloud_id: &str) -> Standing<'_> {
        let decided = self.by_operation.get(&Operation::Join).and_then(|of| of.by_object.get(anchor));
        match decided.filter(|decided| decided.cloud_id.as_deref() == Some(cloud_id)) {
            Some(decided) => Self::now(&decided.decision),
            None => Standing::Open,
        }
    }

    /// Whether somebody rejected that, for a time that is not over.
    pub(super) fn is_rejected_join(&self, anchor: &SourceAnchor, cloud_id: &str) -> bool {
        matches!(self.join(anchor, cloud_id), Standing::Kept(HoldCause::Rejected, _))
    }

    fn now(decision: &Decision) -> Standing<'_> {
        let is_over = clock::now().as_millisecond() >= decision.expires;
        match (decision.verdict, is_over) {
            (Verdict::Approve, true) => Standing::Open,
            (Verdict::Approve, false) => Standing::Approved(decision),
            (Verdict::Reject, false) => Standing::Kept(HoldCause::Rejected, decision),
            (Verdict::Reject, true) => Standing::Kept(HoldCause::Lapsed, decision),
        }
    }

    /// Whether somebody decided about others when this could be seen that has been wished since this offset.
    pub(super) fn were_made_about_others(&self, operation: Operation, since: u64) -> bool {
        self.by_operation.get(&operation).is_some_and(|of| since <= of.seen)
    }

    /// What becomes of the objects of a configuration that was removed.
    pub(super) fn removal(&self) -> Option<RemovedObjects> {
        self.removal
    }

    /// Counts what was heard: a judgement of an earlier count is void.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Takes the decisions of these records in; whom they concern.
    fn take_in(&mut self, stream: &StreamName, records: &[Record]) -> Result<Vec<SourceAnchor>, ProvisionerError> {
        let mut concerned = Vec::new();
        for record in records {
            let ControlRecord { context, event, .. } = decode(stream, record)?;
            let event = match event {
                ControlEvent::HeldDecided(event) => event,
                ControlEvent::ConfigurationRemoved(event) => {
                    self.remove(context.actor, event);
                    continue;
                }
                ControlEvent::ConfigurationActivated(_) => {
                    self.take_removal_back();
                    continue;
                }
                // the projector's to take up
                ControlEvent::SourceDecided(_) => continue,
            };
            let decision = Arc::new(Decision {
                verdict: event.verdict,
                covers: event.desired_offset,
                expires: event.expires.as_millisecond(),
                actor: context.actor,
                reason: event.reason,
                of_removal: false,
            });
            for write in event.writes {
                let of = self.by_operation.entry(write.operation).or_default();
                of.seen = of.seen.max(event.desired_offset);
                concerned.push(write.anchor.clone());
                let decided = Decided { decision: Arc::clone(&decision), cloud_id: write.cloud_id };
                of.by_object.insert(write.anchor, decided);
            }
            self.version += 1;
        }
        Ok(concerned)
    }

    /// Somebody removed the configuration. Those that were shown to them go, whenever that is wished.
    fn remove(&mut self, actor: String, event: ConfigurationRemoved) {
        let ConfigurationRemoved { objects, listed, reason } = event;
        let (verdict, covers, expires) = (Verdict::Approve, u64::MAX, i64::MAX);
        let decision = Arc::new(Decision { verdict, covers, expires, actor, reason, of_removal: true });
        let of = self.by_operation.entry(Operation::Delete).or_default();
        if objects == RemovedObjects::Delete {
            let decided = || Decided { decision: Arc::clone(&decision), cloud_id: None };
            of.by_object.extend(listed.into_iter().map(|anchor| (anchor, decided())));
        }
        self.removal = Some(objects);
        self.version += 1;
    }

    /// The configuration is in force again: what was approved together with its removal is not any more.
    fn take_removal_back(&mut self) {
        if self.removal.take().is_some() {
            for of in self.by_operation.values_mut() {
                of.by_object.retain(|_, decided| !decided.decision.of_removal);
            }
            self.version += 1;
        }
    }

    /// The next records, when there are some; cancel-safe. Never where nobody follows the stream.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        match &mut self.heard {
            Some(heard) => heard.recv().await,
            None => std::future::pending().await,
        }
    }
}

impl Engine {
    /// Takes all decisions in that are there, and follows those to come.
    pub(super) async fn follow_decisions(&mut self, log: &dyn Log) -> Result<(), ProvisionerError> {
        let mut reader = log.reader(&self.streams.control, 0).await?;
        loop {
            let records = reader.poll(CHUNK).await?;
            if records.is_empty() {
                break;
            }
            self.decisions.take_in(&self.streams.control, &records)?;
        }
        let (sender, heard) = mpsc::channel(WAITING);
        self.decisions.heard = Some(heard);
        self.decisions.follower.spawn(follow(reader, sender, |records| Ok(Some(records))));
        Ok(())
    }

    /// Takes decisions in that came meanwhile.
    pub(super) fn hear(&mut self) -> Result<(), ProvisionerError> {
        while let Some(heard) = self.decisions.heard.as_mut().and_then(|heard| heard.try_recv().ok()) {
            self.decided(heard)?;
        }
        Ok(())
    }

    /// Takes these decisions in; whom they concern has a turn.
    pub(super) fn decided(&mut self, heard: Heard) -> Result<(), ProvisionerError> {
        for anchor in self.decisions.take_in(&self.streams.control, &heard?)? {
            self.ready.push(&anchor);
        }
        if self.decisions.removal().is_some() {
            // the removal concerns all that are to go, also those that it does not list
            for anchor in self.index.leaving.values().flatten() {
                self.ready.push(anchor);
            }
        }
        Ok(())
    }
}

/// Reads on and hands over what `take` makes of the records, where that is anything; an error is the last.
pub(super) async fn follow<T: Send>(
    mut reader: Box<dyn LogReader>,
    sender: mpsc::Sender<Result<T, ProvisionerError>>,
    take: impl Fn(Vec<Record>) -> Result<Option<T>, ProvisionerError> + Send,
) {
    loop {
        let heard = match reader.next(CHUNK).await {
            Ok(records) => take(records).transpose(),
            Err(error) => Some(Err(error.into())),
        };
        let Some(heard) = heard else { continue };
        let is_over = heard.is_err();
        if sender.send(heard).await.is_err() || is_over {
            return;
        }
    }
}
