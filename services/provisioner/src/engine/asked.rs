//! Questions to a provisioner at work, and one wish: that what waits is tried now.

use forestsync_domain::SourceAnchor;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::failures::due_now;
use super::turn::Note;
use super::{Engine, Stage};
use crate::error::ProvisionerError;
use crate::excerpt::{Excerpt, ExcerptQuery, StandingState, Surroundings};

/// Questions that wait for their turn.
const WAITING: usize = 16;
/// Memberships of a group that are tried again by one wish.
const MAX_MEMBERS: usize = 1_000;

/// A question, and where its answer goes.
#[derive(Debug)]
pub(crate) enum Asked {
    Excerpt(ExcerptQuery, oneshot::Sender<Excerpt>),
    Retry(SourceAnchor, oneshot::Sender<bool>),
}

/// Asks a provisioner at work. Cheap to clone; outlives it.
#[derive(Debug, Clone)]
pub struct ProvisionerHandle(mpsc::Sender<Asked>);

impl ProvisionerHandle {
    /// What the ledger says of these objects now; nothing if the provisioner has ended.
    pub async fn excerpt(&self, query: ExcerptQuery) -> Option<Excerpt> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Asked::Excerpt(query, reply)).await.ok()?;
        answer.await.ok()
    }

    /// Has what failed of an object tried again now, also what rests until it changes: from then on that is tried from
    /// time to time. Whether there was anything; nothing if the provisioner has ended.
    pub async fn retry(&self, anchor: SourceAnchor) -> Option<bool> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Asked::Retry(anchor, reply)).await.ok()?;
        answer.await.ok()
    }
}

/// The next question; never where nobody can ask. Cancel-safe.
pub(super) async fn next(questions: &mut Option<mpsc::Receiver<Asked>>) -> Option<Asked> {
    match questions {
        Some(questions) => questions.recv().await,
        None => std::future::pending().await,
    }
}

impl Engine {
    /// Lets others ask.
    pub(crate) fn take_questions(&mut self) -> ProvisionerHandle {
        let (sender, asked) = mpsc::channel(WAITING);
        self.questions = Some(asked);
        ProvisionerHandle(sender)
    }

    /// Answers those that came meanwhile.
    pub(super) fn answer_questions(&mut self) -> Result<(), ProvisionerError> {
        while let Some(asked) = self.questions.as_mut().and_then(|questions| questions.try_recv().ok()) {
            self.answer_question(asked)?;
        }
        Ok(())
    }

    // whoever asked may have gone
    pub(super) fn answer_question(&mut self, asked: Asked) -> Result<(), ProvisionerError> {
        match asked {
            Asked::Excerpt(query, reply) => drop(reply.send(self.excerpt(&query)?)),
            Asked::Retry(anchor, reply) => drop(reply.send(self.retry_now(&anchor)?)),
        }
        Ok(())
    }

    fn excerpt(&self, query: &ExcerptQuery) -> Result<Excerpt, ProvisionerError> {
        let mut excerpt = Excerpt::of(&self.store, query)?;
        excerpt.meta.desired_next = self.desired_next;
        excerpt.stopped = self.outage.detail().or(self.denial.detail()).map(str::to_owned);
        excerpt.surroundings = self.surroundings_of(&excerpt);
        for standing in &mut excerpt.standings {
            let links = self.index.links.get(&standing.anchor);
            standing.memberships_pending = links.map_or(0, |links| links.len() as u64);
            let rests = matches!(standing.state, StandingState::InStep | StandingState::Unknown);
            if self.is_at_work(&standing.anchor) || rests && self.is_in_doubt(&standing.anchor) {
                standing.state = StandingState::Pending;
            }
        }
        Ok(excerpt)
    }

    /// Whether the object has a turn to come, or a request on its way.
    fn is_at_work(&self, anchor: &SourceAnchor) -> bool {
        self.flights.contains_key(anchor)
            || self.ready.has(anchor)
            || self.turn.touches(anchor)
            || self.parked.contains(anchor)
            || self.tail_waits.contains(anchor)
    }

    /// Whether a write of it may have taken effect, and that is looked up later.
    fn is_in_doubt(&self, anchor: &SourceAnchor) -> bool {
        matches!(self.stages.get(anchor), Some(Stage::Verify(_)))
    }

    fn surroundings_of(&self, excerpt: &Excerpt) -> Surroundings {
        let mut managed = self.index.managed.clone();
        for (_, row) in excerpt.objects.iter().filter(|(_, row)| row.is_managed()) {
            let count = managed.entry(row.class).or_default();
            *count = count.saturating_sub(1);
        }
        let others = |kind: super::guard::Kind| {
            let all = self.index.guarded.get(&kind).into_iter().flatten();
            let is_open = |anchor: &SourceAnchor, since: u64| self.decisions.standing(anchor, kind.0, since).is_open();
            all.filter(|(anchor, since)| !excerpt.has(anchor) && is_open(anchor, **since)).count() as u64
        };
        let guarded = self.index.guarded.keys().map(|kind| (*kind, others(*kind))).collect();
        Surroundings { managed: managed.into_iter().collect(), guarded }
    }

    /// Lets what failed of an object have its next attempt now.
    fn retry_now(&mut self, anchor: &SourceAnchor) -> Result<bool, ProvisionerError> {
        let Some(row) = self.store.object(anchor)? else { return Ok(false) };
        let mut found = false;
        for failed in [row.failure(), row.lead_failure()].into_iter().flatten() {
            self.turn.note(Note::Object(anchor.clone(), due_now(failed)));
            found = true;
        }
        let members: Vec<SourceAnchor> = match self.index.links.get(anchor) {
            Some(links) => links.members().take(MAX_MEMBERS).cloned().collect(),
            None => Vec::new(),
        };
        for member in members {
            let edge = self.store.edge(anchor, &member)?.unwrap_or_default();
            if let Some(failed) = edge.failure() {
                self.turn.note(Note::Member(anchor.clone(), member, due_now(failed)));
                found = true;
            }
        }
        if let Some(Stage::Verify(verify)) = self.stages.get_mut(anchor) {
            verify.not_before = Instant::now();
            found = true;
        }
        if found {
            self.turn.touch(anchor);
        }
        Ok(found)
    }
}
