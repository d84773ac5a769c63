//! How a removal goes, by what the provisioner says in `outcomes`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use forestsync_domain::SourceAnchor;
use forestsync_log::{Log, LogReader, StreamName};
use forestsync_schemas::OutcomeRecord;
use forestsync_schemas::outcomes::{Operation, OutcomeEvent};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::instance::Instance;
use crate::output::{count, printable};
use crate::progress::Tally;
use crate::status::seconds;

/// Records read at a time.
const BATCH: usize = 1_000;
/// Pause between two looks at whether somebody is still at work.
const LOOK: Duration = Duration::from_millis(500);

/// Where one object stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Nothing was said of it yet.
    Open,
    /// It failed and is tried again.
    Failing(String),
    Deleted,
    LetGo,
    /// It is disabled until then.
    Later(String),
    Held(String),
    /// It failed too often.
    Quarantined(String),
}

impl Place {
    /// Whether nothing more happens to it for now.
    fn rests(&self) -> bool {
        !matches!(self, Self::Open | Self::Failing(_))
    }
}

/// What became of the objects of a removal.
#[derive(Debug, Default, Serialize)]
pub(super) struct Standing {
    /// Deleted.
    deleted: usize,
    /// Let go as they are.
    released: usize,
    /// Disabled, and deleted later.
    later: usize,
    /// When the last of those is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Waiting for a decision.
    held: usize,
    /// Failed, whether tried again or not.
    pub(super) failing: usize,
    /// Not dealt with yet.
    open: usize,
    /// Why, as far as something failed or is held; each cause once.
    causes: Vec<String>,
}

impl Standing {
    /// Whether nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.later + self.held + self.failing + self.open == 0
    }

    /// For a terminal.
    pub(super) fn render(&self, configuration: &str) -> String {
        let said = [
            (self.deleted, "deleted".to_owned()),
            (self.released, "let go".to_owned()),
            (self.later, format!("disabled, deleted until {}", seconds(self.until.as_deref().unwrap_or("?")))),
            (self.held, "held: forestsync held shows them".to_owned()),
            (self.failing, "failed: forestsync status tells why".to_owned()),
            (self.open, "not dealt with yet".to_owned()),
        ];
        let state = if self.is_done() { "removed" } else { "being removed" };
        let mut text = format!("configuration {configuration} is {state}\n");
        for (number, what) in said.into_iter().filter(|(number, _)| *number > 0) {
            text = text + "  " + &count(number as u64, "object") + " " + &what + "\n";
        }
        for cause in &self.causes {
            text = text + "  " + &printable(cause) + "\n";
        }
        if !self.is_done() {
            text += "hint: forestsync run goes on with it, and so does remove-configuration once more\n";
        }
        text
    }
}

/// Why [`Course::follow`] came back.
#[derive(Debug)]
pub(super) enum Followed {
    /// Nothing is left but what waits for a time or a person.
    Rests,
    /// A signal came.
    Stopped,
    /// Nothing went on for too long.
    Idle,
    /// Nobody is at work any more, and the folder is ours.
    Alone(Instance),
}

/// Follows the objects of a removal.
#[derive(Debug)]
pub(super) struct Course {
    reader: Box<dyn LogReader>,
    stream: StreamName,
    places: BTreeMap<SourceAnchor, Place>,
    tally: Tally,
    rest: usize,
}

impl Course {
    /// From where the preview ended: some of what it showed may have been dealt with while it was shown.
    pub(super) async fn new(log: &dyn Log, outcomes: &StreamName, from: u64, objects: &[SourceAnchor]) -> Result<Self> {
        let reader = log.reader(outcomes, from).await?;
        let places = objects.iter().map(|anchor| (anchor.clone(), Place::Open)).collect();
        Ok(Self { reader, stream: outcomes.clone(), places, tally: Tally::new("objects dealt with"), rest: 0 })
    }

    /// Takes in what was said meanwhile; whether anything was.
    pub(super) async fn read_on(&mut self) -> Result<bool> {
        let mut is_news = false;
        loop {
            let records = self.reader.poll(BATCH).await?;
            if records.is_empty() {
                break;
            }
            is_news = true;
            for record in records {
                let place = || format!("stream {} offset {}", self.stream, record.offset);
                let decoded = OutcomeRecord::decode(&record.value).with_context(place)?;
                self.take(decoded);
            }
        }
        if is_news {
            let rest = self.places.values().filter(|place| place.rests()).count();
            self.tally.add(rest.saturating_sub(self.rest));
            self.rest = rest;
        }
        Ok(is_news)
    }

    fn take(&mut self, record: OutcomeRecord) {
        let Some(place) = self.places.get_mut(&record.context.anchor) else { return };
        let is_of_deletion = |operation: Operation| operation == Operation::Delete;
        *place = match record.event {
            OutcomeEvent::ObjectDeprovisioned(_) => Place::Deleted,
            OutcomeEvent::ObjectRelinquished(_) => Place::LetGo,
            OutcomeEvent::DeletionDeferred(event) => Place::Later(event.until.to_string()),
            OutcomeEvent::ExportHeld(event) if is_of_deletion(event.operation) => Place::Held(event.detail),
            OutcomeEvent::ExportReleased(event) if is_of_deletion(event.operation) => Place::Open,
            OutcomeEvent::ExportFailed(event) if is_of_deletion(event.operation) => {
                Place::Failing(event.error.code + ": " + &event.error.detail)
            }
            OutcomeEvent::ExportQuarantined(event) if is_of_deletion(event.operation) => {
                Place::Quarantined(event.error.code + ": " + &event.error.detail)
            }
            _ => return,
        };
    }

    /// Waits until nothing is left to do here and now.
    pub(super) async fn follow(
        &mut self,
        settings: &Settings,
        patience: Duration,
        stop: &CancellationToken,
    ) -> Result<Followed> {
        let mut since = Instant::now();
        loop {
            if self.read_on().await? {
                since = Instant::now();
            }
            if self.places.values().all(Place::rests) {
                return Ok(Followed::Rests);
            }
            if since.elapsed() >= patience {
                return Ok(Followed::Idle);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return Ok(Followed::Stopped),
            }
            // whoever was at work may have ended; the folder is taken anew by whoever goes on
            if settings.log.is_none()
                && let Ok(instance) = Instance::take(&settings.data)
            {
                return Ok(Followed::Alone(instance));
            }
        }
    }

    /// Where everything stands.
    pub(super) fn standing(&self) -> Standing {
        let mut standing = Standing::default();
        for place in self.places.values() {
            match place {
                Place::Open => standing.open += 1,
                Place::Deleted => standing.deleted += 1,
                Place::LetGo => standing.released += 1,
                Place::Later(until) => {
                    standing.later += 1;
                    standing.until = standing.until.take().max(Some(until.clone()));
                }
                Place::Held(cause) => {
                    standing.held += 1;
                    standing.causes.push(cause.clone());
                }
                Place::Failing(cause) | Place::Quarantined(cause) => {
                    standing.failing += 1;
                    standing.causes.push(cause.clone());
                }
            }
        }
        standing.causes.sort();
        standing.causes.dedup();
        standing.causes.truncate(crate::status::LISTED);
        standing
    }
}
