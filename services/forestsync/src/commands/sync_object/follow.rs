//! Acting: the collector takes the object in, and the way through the others is followed.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use forestsync_collector::{TakeError, Taken};
use forestsync_domain::SourceAnchor;
use forestsync_log::StreamName;
use forestsync_projector::query::WhatIf;
use forestsync_provisioner::{Excerpt, ExcerptQuery, StandingState};
use forestsync_schemas::sighting::Sighting;
use forestsync_schemas::{EventBody as _, OutcomeRecord, streams, trace};
use jiff::Timestamp;
use tokio::time::Instant;

use super::report::{Report, Sent, milliseconds, words};
use super::{PATIENCE, Task, about, matching, names, no_wish, note_cloud_object, note_match, query, scope, wishes};
use crate::exit::{Exit, UsageError};
use crate::pipeline::desk::{self, Answer, Question};
use crate::plan;

/// Pause between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(20);
/// Records read at a time.
const CHUNK: usize = 1_000;

impl Task {
    /// Has the object taken in where anything of it is news, follows it until it stands still, and says how it stands.
    pub(super) async fn act(
        &self,
        report: &mut Report,
        sighting: &Sighting,
        found: &WhatIf,
        wait: Duration,
    ) -> Result<Exit> {
        let deadline = self.begun + wait;
        let acting = Instant::now();
        let outcomes: StreamName = streams::outcomes(&self.settings.configuration).parse()?;
        let from = self.log.tail(&outcomes).await?;
        let before = found;
        let mut found = before.clone();
        if found.is_news && sighting.is_read {
            match self.take_in(sighting, &found, deadline).await? {
                Ok(taken) => {
                    let id = taken.trace.as_deref().and_then(trace::trace_id);
                    report.result.trace = id.map(ToString::to_string).filter(|_| taken.written > 0);
                    found = self.projected(sighting, &taken, deadline).await?;
                }
                Err(why) => return Ok(ended(report, "pending", why, Exit::Waiting)),
            }
        }
        let (timing, known) = (report.scope.elapsed_ms, std::mem::take(&mut report.matching));
        report.scope = super::ScopeStep { elapsed_ms: timing, ..scope(sighting, &found) };
        // what it stood for is forgotten as soon as it stands for nothing
        report.matching = if found.anchor.is_some() { matching(&found) } else { known };
        if found.is_news && sighting.is_read {
            let left: Vec<&str> = found.changes.iter().map(|change| change.attribute.as_str()).collect();
            report.action.notes.push(still_differs(&left));
        }
        if let Some(exit) = no_wish(report, &found) {
            let (state, what) = match exit {
                Exit::Held if report.scope.kept_back => ("kept_back", "it is not sent as it is"),
                Exit::Held => ("held", "the configuration is held"),
                _ => ("pending", "it was taken in, and nothing follows yet"),
            };
            let exit = if exit == Exit::Failed { Exit::Waiting } else { exit };
            return Ok(ended(report, state, what.to_owned(), exit));
        }
        let query = query_of_both(before, &found)?;
        if query.subjects.is_empty() {
            let why = "nothing to do: it is not wished in the tenant, and was not before".to_owned();
            return Ok(ended(report, "nothing_to_do", why, Exit::Done));
        }
        // where nothing else is wished than before, what failed is tried as it is
        let retries = before.desired.is_empty();
        let exit = self.settle(report, &query, retries, deadline).await?;
        let done = about(&self.read(&outcomes, from).await?, &query.subjects);
        report.result.requests = done.iter().map(request).collect();
        note_match(&mut report.matching, &done, false);
        let known = names(report, &done);
        report.action.steps = plan::steps(&done, &known);
        report.action.elapsed_ms = milliseconds(acting.elapsed());
        if done.is_empty() && !found.is_news && report.result.state == "in_step" {
            "nothing to do: the tenant holds what is wished".clone_into(&mut report.result.detail);
            report.result.state = "nothing_to_do";
        }
        Ok(exit)
    }

    /// Asks the collector; why not, where that will pass.
    async fn take_in(&self, sighting: &Sighting, found: &WhatIf, deadline: Instant) -> Result<Result<Taken, String>> {
        let question = Question::TakeIn {
            forest: sighting.forest.clone(),
            naming_context: sighting.naming_context.clone(),
            object: sighting.object,
            news: found.news.clone(),
        };
        let left = deadline.saturating_duration_since(Instant::now()).max(LOOK);
        let late = "the collector has not answered yet; it takes the object in with its next look".to_owned();
        let asked = tokio::time::timeout(left, desk::ask(&self.settings.data, &question, left)).await;
        let Ok(answer) = asked else { return Ok(Err(late)) };
        Ok(match answer {
            Ok(Some(Answer::Taken(taken))) => Ok(taken),
            Ok(Some(Answer::NotTaken(error @ TakeError::FullRead { .. }))) => Err(error.to_string()),
            Ok(Some(Answer::NotTaken(error))) => {
                return Err(error).with_context(|| format!("the collector of forest {}", sighting.forest));
            }
            Ok(Some(_)) => bail!("forestsync run answered something else"),
            Ok(None) => return Err(self.run_ended()),
            Err(error) if is_late(&error) => Err(late),
            Err(error) => return Err(error),
        })
    }

    fn run_ended(&self) -> anyhow::Error {
        let message = format!("forestsync run on {} has ended", self.settings.data.display());
        UsageError::new(message, "start it again; it goes on with whatever was begun").into()
    }

    /// Waits until the projection has what was taken in, and has written what follows.
    async fn projected(&self, sighting: &Sighting, taken: &Taken, deadline: Instant) -> Result<WhatIf> {
        loop {
            let found = self.what_if(sighting).await?;
            let has_it = found.applied >= taken.tail;
            let is_held = found.explanation.as_ref().is_some_and(|e| !e.held.is_empty() || e.is_kept_back);
            let is_written = found.desired.is_empty() || found.is_news && found.waiting == 0;
            if has_it && (is_written || is_held || found.obstacle.is_some() || found.is_cut) {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the provisioner has nothing left to do for the object; what waits for another attempt has it now.
    async fn settle(
        &self,
        report: &mut Report,
        query: &ExcerptQuery,
        mut retries: bool,
        deadline: Instant,
    ) -> Result<Exit> {
        let desired: StreamName = streams::desired(&self.settings.configuration).parse()?;
        let wished = self.log.tail(&desired).await?;
        loop {
            let Some(excerpt) = self.ledger(query).await? else {
                let why = "staging: nothing is written to the tenant".to_owned();
                return Ok(ended(report, "staging", why, Exit::Done));
            };
            let Some(standing) = excerpt.standings.first().cloned() else {
                bail!("the ledger answered something else")
            };
            note_cloud_object(&mut report.matching, &standing);
            let has_all = excerpt.desired_next() >= wished;
            let waits = matches!(standing.state, StandingState::Retrying { .. } | StandingState::Quarantined { .. });
            if has_all && waits && std::mem::take(&mut retries) {
                self.retry(&standing.anchor).await?;
                continue;
            }
            let is_late = Instant::now() >= deadline;
            let goes_on = match standing.state {
                StandingState::Pending => true,
                StandingState::Retrying { at, .. } => comes(at, deadline),
                StandingState::Unknown => !has_all,
                _ => standing.memberships_pending > 0,
            };
            if (has_all && !goes_on) || is_late {
                report.action.notes.extend(excerpt.stopped.clone());
                report.result.standing = Some(standing.clone());
                let (state, mut exit) = state_of(&standing.state);
                if !has_all || standing.memberships_pending > 0 && exit == Exit::Done {
                    exit = Exit::Waiting;
                }
                let state = if has_all { state } else { "pending" };
                return Ok(ended(report, state, words(&standing), exit));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn ledger(&self, query: &ExcerptQuery) -> Result<Option<Excerpt>> {
        match desk::ask(&self.settings.data, &Question::Excerpt(query.clone()), PATIENCE).await? {
            Some(Answer::Excerpt(excerpt)) => Ok(Some(*excerpt)),
            Some(Answer::Staging) => Ok(None),
            Some(_) => bail!("forestsync run answered something else"),
            None => Err(self.run_ended()),
        }
    }

    async fn retry(&self, anchor: &SourceAnchor) -> Result<()> {
        match desk::ask(&self.settings.data, &Question::Retry(anchor.clone()), PATIENCE).await? {
            Some(Answer::Retried(_)) => Ok(()),
            Some(_) => bail!("forestsync run answered something else"),
            None => Err(self.run_ended()),
        }
    }

    /// The outcomes from an offset on.
    async fn read(&self, stream: &StreamName, from: u64) -> Result<Vec<OutcomeRecord>> {
        let mut reader = self.log.reader(stream, from).await?;
        let mut all = Vec::new();
        loop {
            let records = reader.poll(CHUNK).await?;
            if records.is_empty() {
                return Ok(all);
            }
            for record in &records {
                let place = || format!("stream {stream} offset {}", record.offset);
                all.push(OutcomeRecord::decode(&record.value).with_context(place)?);
            }
        }
    }
}

/// The objects that what would follow is about, before and after it was taken in.
fn query_of_both(before: &WhatIf, after: &WhatIf) -> Result<ExcerptQuery> {
    let mut all = query(before, &wishes(before)?);
    let after = query(after, &wishes(after)?);
    let known = all.subjects.clone();
    all.subjects.extend(after.subjects.into_iter().filter(|subject| !known.contains(subject)));
    Ok(all)
}

fn is_late(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
    })
}

/// Whether a time comes before the deadline.
fn comes(at: Timestamp, deadline: Instant) -> bool {
    let left = at.duration_since(forestsync_runtime::clock::now());
    let left = Duration::try_from(left).unwrap_or_default();
    left < deadline.saturating_duration_since(Instant::now())
}

fn ended(report: &mut Report, state: &'static str, detail: String, exit: Exit) -> Exit {
    (report.result.state, report.result.detail) = (state, detail);
    exit
}

fn state_of(state: &StandingState) -> (&'static str, Exit) {
    match state {
        StandingState::Unknown => ("nothing_to_do", Exit::Done),
        StandingState::InStep => ("in_step", Exit::Done),
        StandingState::Pending => ("pending", Exit::Waiting),
        StandingState::Retrying { .. } => ("retrying", Exit::Waiting),
        StandingState::Quarantined { .. } => ("quarantined", Exit::Held),
        StandingState::Held { .. } => ("held", Exit::Held),
        StandingState::Deferred { .. } => ("deferred", Exit::Done),
        StandingState::NotWritable => ("not_writable", Exit::Done),
    }
}

fn still_differs(attributes: &[&str]) -> String {
    let what = if attributes.is_empty() { "links".to_owned() } else { attributes.join(", ") };
    format!(
        "the directory's changes do not tell of {what}: a value that went is not taken for cleared before they do, or a full read does"
    )
}

fn request(record: &OutcomeRecord) -> Sent {
    Sent {
        outcome: record.event.type_name().to_owned(),
        status: record.context.status,
        request_id: record.context.request_id.clone(),
    }
}
