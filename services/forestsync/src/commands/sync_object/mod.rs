//! `forestsync sync-object`: one object through every step, from its directory to the tenant, now.
//!
//! ```text
//!  directory -- a look --> sighting -- what if --> projection        nothing is written so far
//!                             |                        |
//!                  news, by the collector        wishes: rehearsed on an excerpt of the ledger (--dry-run),
//!                  that owns the stream          or followed until the object is in step
//! ```
//!
//! Nothing is done past a part of the pipeline: the collector takes the object in with its next look, the projector and
//! the provisioner do with it what they do with every change, guards and decisions included.

mod follow;
mod import;
mod report;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use forestsync_domain::SourceAnchor;
use forestsync_log::{ForkedLog, Log};
use forestsync_projector::query::{Answer as Projected, Query, WhatIf};
use forestsync_projector::{ProjectorConfig, ask};
use forestsync_provisioner::{Excerpt, ExcerptQuery, Rehearsal, Standing, StandingState, rehearse_objects};
use forestsync_runtime::shutdown::{self, Shutdown};
use forestsync_schemas::outcomes::OutcomeEvent;
use forestsync_schemas::sighting::Sighting;
use forestsync_schemas::{DesiredEvent, DesiredRecord, OutcomeRecord, streams};
use tokio::time::Instant;

use self::report::{ActionStep, Import, Matching, Member, Outcome, Report, ScopeStep, milliseconds};
use crate::cli::SyncObjectArgs;
use crate::config::{self, Settings};
use crate::exit::{Exit, UsageError};
use crate::pipeline::desk::{self, Answer, Question};
use crate::pipeline::projector_config_from_log;
use crate::status::name_of;
use crate::{output, plan};

/// The longest wait for an answer that takes no time.
const PATIENCE: Duration = Duration::from_secs(10);
/// What ids begin with that exist in a rehearsal only.
const INVENTED: &str = "rehearsed-";

/// Everything that the steps need.
#[derive(Debug)]
struct Task {
    settings: Settings,
    log: Arc<dyn Log>,
    projection: ProjectorConfig,
    begun: Instant,
}

/// Takes one object through every step.
pub async fn sync_object(args: SyncObjectArgs) -> Result<Exit> {
    let begun = Instant::now();
    let settings = config::load(&args.config.config)?;
    if settings.log.is_some() {
        let message = format!(
            "{}: sync-object asks forestsync run, and the services of this configuration share a log",
            settings.path.display()
        );
        let hint = "the collector of the object's forest reads every change within its poll_interval by itself; \
                    forestsync explain and forestsync status say what became of an object";
        return Err(UsageError::new(message, hint).into());
    }
    let shutdown = shutdown::on_signals()?;
    let log = settings.existing_log()?;
    let projection = projector_config_from_log(&settings, log.as_ref()).await?;
    let task = Task { settings, log, projection, begun };
    let done = tokio::select! {
        done = Box::pin(task.run(&args, &shutdown)) => done?,
        () = shutdown.stop.cancelled() => {
            output::note("stopped by a signal; what was begun goes on");
            return Ok(Exit::Failed);
        }
    };
    let (report, exit) = done;
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&report::render(&report))?;
    }
    Ok(exit)
}

impl Task {
    async fn run(&self, args: &SyncObjectArgs, shutdown: &Shutdown) -> Result<(Report, Exit)> {
        if !args.dry_run {
            self.refuse_without_a_run().await?;
        }
        let sighting = self.import(&args.object, args.forest.as_deref()).await?;
        let imported = self.begun.elapsed();
        let found = self.what_if(&sighting).await?;
        let mut report = self.first_steps(args.dry_run, &sighting, &found, imported);
        let exit = if args.dry_run {
            Box::pin(self.rehearse(&mut report, &found, shutdown)).await?
        } else {
            Box::pin(self.act(&mut report, &sighting, &found, args.wait)).await?
        };
        report.result.elapsed_ms = milliseconds(self.begun.elapsed());
        Ok((report, exit))
    }

    async fn refuse_without_a_run(&self) -> Result<()> {
        let question = Question::Excerpt(ExcerptQuery::default());
        if desk::ask(&self.settings.data, &question, PATIENCE).await?.is_some() {
            return Ok(());
        }
        let message = format!("no forestsync run is at work on {}", self.settings.data.display());
        let hint =
            "start forestsync run, which takes the object in by itself; or add --dry-run to see what it would do";
        Err(UsageError::new(message, hint).into())
    }

    /// What the projection makes of a sighting.
    async fn what_if(&self, sighting: &Sighting) -> Result<WhatIf> {
        let query = Query::WhatIf(Box::new(sighting.clone()));
        match ask(self.projection.clone(), Arc::clone(&self.log), query).await? {
            Projected::WhatIf(found) => Ok(*found),
            Projected::Failed(why) => bail!("the projector: {why}"),
            _ => bail!("the projector answered something else"),
        }
    }

    fn first_steps(&self, dry_run: bool, sighting: &Sighting, found: &WhatIf, imported: Duration) -> Report {
        let import = Import {
            forest: sighting.forest.clone(),
            naming_context: sighting.naming_context.to_string(),
            object: sighting.object.to_string(),
            dn: sighting.dn.to_string(),
            known_as: found.known_as.clone(),
            controller: sighting.controller.dns_name.clone(),
            usn_changed: sighting.usn_changed.map(|usn| usn.0),
            when_changed: sighting.when_changed.map(|when| when.to_string()),
            differs: found.is_news,
            changes: found.changes.clone(),
            links: found.links.clone(),
            long_links: found.long_links.clone(),
            elapsed_ms: milliseconds(imported),
        };
        Report {
            configuration: self.settings.configuration.clone(),
            dry_run,
            import,
            scope: ScopeStep {
                elapsed_ms: milliseconds(self.begun.elapsed().saturating_sub(imported)),
                ..scope(sighting, found)
            },
            matching: matching(found),
            action: ActionStep::default(),
            result: Outcome {
                state: "dry_run",
                detail: String::new(),
                standing: None,
                requests: Vec::new(),
                trace: None,
                elapsed_ms: 0,
            },
        }
    }

    /// What the provisioner would do, by an engine on an excerpt of its ledger that can write nothing.
    async fn rehearse(&self, report: &mut Report, found: &WhatIf, shutdown: &Shutdown) -> Result<Exit> {
        let begun = Instant::now();
        "nothing was written: this was a dry run".clone_into(&mut report.result.detail);
        if let Some(exit) = no_wish(report, found) {
            return Ok(exit);
        }
        let wishes = wishes(found)?;
        let query = query(found, &wishes);
        let Some(excerpt) = self.excerpt(&query, &wishes).await? else {
            let note = "there is no ledger to compare with; forestsync plan makes one of the outcomes for itself";
            report.action.notes.push(note.to_owned());
            return Ok(Exit::Done);
        };
        let before = excerpt.standings.first().cloned();
        if let Some(standing) = &before {
            note_cloud_object(&mut report.matching, standing);
        }
        let mut exit = before.as_ref().map_or(Exit::Done, exit_of);
        report.action.notes.extend(excerpt.stopped.clone());
        report.result.standing.clone_from(&before);
        if wishes.is_empty() {
            // what is wished was written already, so the ledger says what becomes of it
            report.action.notes.extend(before.as_ref().map(report::words));
        } else {
            let folder = tempfile::Builder::new().prefix("look-").tempdir()?;
            let fork: Arc<dyn Log> = Arc::new(ForkedLog::new(Arc::clone(&self.log), folder.path().join("log"))?);
            let config = super::plan::provisioner_config(&self.settings, folder.path().join("ledger"))?;
            let stop = shutdown.stop.clone();
            let rehearsal = rehearse_objects(config, fork, excerpt, &query.subjects, wishes, stop);
            let rehearsal = Box::pin(rehearsal).await.context("the rehearsal")?;
            let outcomes = about(&rehearsal.outcomes, &query.subjects);
            note_match(&mut report.matching, &outcomes, true);
            report.action.steps = plan::steps(&outcomes, &rehearsal.names);
            report.action.notes.extend(still_waiting(&rehearsal, &query.subjects, &report.action.steps));
            exit = exit_of_rehearsal(&rehearsal, &query.subjects);
        }
        report.action.elapsed_ms = milliseconds(begun.elapsed());
        Ok(exit)
    }

    /// What the ledger says: a running provisioner's, or the one on the disk. Nothing if there is none, although there was.
    async fn excerpt(&self, query: &ExcerptQuery, wishes: &[DesiredRecord]) -> Result<Option<Excerpt>> {
        match desk::ask(&self.settings.data, &Question::Excerpt(query.clone()), PATIENCE).await? {
            Some(Answer::Excerpt(excerpt)) => return Ok(Some(*excerpt)),
            None | Some(Answer::Staging) => {}
            Some(_) => bail!("forestsync run answered something else"),
        }
        let (folder, asked, of) = (self.settings.provisioner_dir(), query.clone(), wishes.to_vec());
        let read = tokio::task::spawn_blocking(move || Excerpt::read(&folder, &asked, &of)).await?;
        if let Some(excerpt) = read.context("the ledger")? {
            return Ok(Some(excerpt));
        }
        let outcomes = streams::outcomes(&self.settings.configuration).parse()?;
        let is_untouched = self.log.tail(&outcomes).await? == 0;
        Ok(is_untouched.then(|| Excerpt::empty(query)))
    }
}

/// Where no wish follows, or none that would be written: says so, and how that ends.
fn no_wish(report: &mut Report, found: &WhatIf) -> Option<Exit> {
    if found.obstacle.is_some() {
        report.action.notes.push("nothing is decided before that".to_owned());
        return Some(Exit::Failed);
    }
    if found.is_cut {
        let note = "so much depends on it that only forestsync plan shows what would be done";
        report.action.notes.push(note.to_owned());
        return Some(Exit::Done);
    }
    if !report.scope.held.is_empty() {
        report.action.notes.push("nothing of this configuration is written while it is held".to_owned());
        return Some(Exit::Held);
    }
    if report.scope.kept_back {
        report.action.notes.push("what the tenant has of it stays as it is".to_owned());
        return Some(Exit::Held);
    }
    None
}

fn scope(sighting: &Sighting, found: &WhatIf) -> ScopeStep {
    let explanation = found.explanation.as_ref();
    let own = sighting.object.to_string();
    let view = explanation.and_then(|e| e.objects.iter().find(|object| object.object == own));
    let reason = match view {
        _ if !sighting.is_read => "not synchronized: objects of its class are not read".to_owned(),
        Some(view) => view.scope.clone(),
        None => "not known".to_owned(),
    };
    let state = explanation.and_then(|e| e.state.clone());
    ScopeStep {
        in_scope: sighting.is_read && view.is_some_and(|view| view.is_in_scope),
        reason,
        obstacle: found.obstacle.clone().or(state),
        held: explanation.map(|e| e.held.clone()).unwrap_or_default(),
        kept_back: explanation.is_some_and(|e| e.is_kept_back),
        findings: view
            .into_iter()
            .flat_map(|view| &view.findings)
            .map(|finding| format!("{} {}: {}", finding.severity, finding.rule, finding.message))
            .collect(),
        elapsed_ms: 0,
    }
}

fn matching(found: &WhatIf) -> Matching {
    let objects = found.explanation.iter().filter(|e| e.anchor.is_some()).flat_map(|e| &e.objects);
    Matching {
        anchor: found.anchor.clone(),
        class: found.explanation.as_ref().and_then(|e| e.class.clone()),
        objects: objects
            .map(|object| Member {
                forest: object.forest.clone(),
                object: object.object.clone(),
                dn: object.dn.clone(),
                joined_by: object.joined_by.clone(),
            })
            .collect(),
        ..Matching::default()
    }
}

/// The records of `desired` that would follow.
fn wishes(found: &WhatIf) -> Result<Vec<DesiredRecord>> {
    let decode = |text: &String| DesiredRecord::decode(text.as_bytes()).context("what the projector would write");
    found.desired.iter().map(decode).collect()
}

/// The objects that wishes are about, that of the sighting first, and those that they name.
fn query(found: &WhatIf, wishes: &[DesiredRecord]) -> ExcerptQuery {
    let mut subjects: Vec<SourceAnchor> =
        found.anchor.iter().map(|anchor| SourceAnchor::from(anchor.clone())).collect();
    let mut others = BTreeSet::new();
    for wish in wishes {
        match &wish.event {
            DesiredEvent::ObjectDesired(event) => {
                subjects.push(event.anchor.clone());
                others.extend(event.manager.iter().chain(&event.owner).cloned());
            }
            DesiredEvent::ObjectRemoved(event) => subjects.push(event.anchor.clone()),
            DesiredEvent::LinkDesired(event) => others.extend([event.group.clone(), event.member.clone()]),
            DesiredEvent::LinkRemoved(event) => others.extend([event.group.clone(), event.member.clone()]),
            DesiredEvent::AttributeFlowDeclared(_) => {}
        }
    }
    let mut seen = BTreeSet::new();
    subjects.retain(|subject| seen.insert(subject.clone()));
    others.retain(|other| !seen.contains(other));
    ExcerptQuery { subjects, others: others.into_iter().collect() }
}

/// Those of the outcomes that are about these objects, their memberships in others included.
fn about(outcomes: &[OutcomeRecord], subjects: &[SourceAnchor]) -> Vec<OutcomeRecord> {
    let names = |members: &[SourceAnchor]| members.iter().any(|member| subjects.contains(member));
    let is_about = |record: &&OutcomeRecord| match &record.event {
        _ if subjects.contains(&record.context.anchor) => true,
        OutcomeEvent::MemberAdded(event) => names(&event.members),
        OutcomeEvent::MemberRemoved(event) => names(&event.members),
        OutcomeEvent::ExportFailed(event) => names(&event.members),
        OutcomeEvent::ExportQuarantined(event) => names(&event.members),
        _ => false,
    };
    outcomes.iter().filter(is_about).cloned().collect()
}

fn note_cloud_object(matching: &mut Matching, standing: &Standing) {
    if standing.cloud_id.is_some() {
        matching.cloud_id.clone_from(&standing.cloud_id);
        matching.matched_by = Some("ledger".to_owned());
    }
}

/// Takes from outcomes how the cloud object was found, unless it was known.
fn note_match(matching: &mut Matching, outcomes: &[OutcomeRecord], rehearsed: bool) {
    let of = |record: &&OutcomeRecord| matching.anchor.as_deref() == Some(record.context.anchor.as_str());
    let found = outcomes.iter().filter(of).find_map(|record| {
        let by = match &record.event {
            OutcomeEvent::ObjectProvisioned(_) => "create",
            OutcomeEvent::ObjectRestored(_) => "deleted",
            OutcomeEvent::ObjectAdopted(event) => report::matched_by(event.matched_by),
            _ => return None,
        };
        Some((by, record.context.cloud_id.clone()))
    });
    if let Some((by, id)) = found {
        matching.matched_by = Some(by.to_owned());
        matching.cloud_id = id.filter(|id| !rehearsed || !id.starts_with(INVENTED));
    }
}

/// What the exit code says of how an object stands.
fn exit_of(standing: &Standing) -> Exit {
    match standing.state {
        StandingState::Held { .. } | StandingState::Quarantined { .. } => Exit::Held,
        _ => Exit::Done,
    }
}

/// What waits for a person as before, and was said then.
fn still_waiting(rehearsal: &Rehearsal, subjects: &[SourceAnchor], steps: &[plan::Step]) -> Vec<String> {
    let is_new = |anchor: &SourceAnchor, action| {
        steps.iter().any(|step| step.anchor == anchor.as_str() && step.action == action)
    };
    let held = rehearsal.status.held.iter().filter(|item| subjects.contains(&item.anchor));
    let held = held.filter(|item| !is_new(&item.anchor, plan::Action::Hold));
    let held = held.map(|item| format!("still held: {}: {}", name_of(&item.operation).replace('_', " "), item.detail));
    let failed = rehearsal.status.quarantined.iter().filter(|item| subjects.contains(&item.anchor));
    let failed = failed.filter(|item| !is_new(&item.anchor, plan::Action::Fail));
    held.chain(failed.map(|item| format!("still quarantined: {} ({})", name_of(&item.operation), item.code))).collect()
}

fn exit_of_rehearsal(rehearsal: &Rehearsal, subjects: &[SourceAnchor]) -> Exit {
    let held = rehearsal.status.held.iter().map(|item| &item.anchor);
    let quarantined = rehearsal.status.quarantined.iter().map(|item| &item.anchor);
    if held.chain(quarantined).any(|anchor| subjects.contains(anchor)) { Exit::Held } else { Exit::Done }
}

/// Names of the objects that outcomes are about, as far as they are known here.
fn names(report: &Report, outcomes: &[OutcomeRecord]) -> HashMap<SourceAnchor, String> {
    let own = |record: &OutcomeRecord| report.matching.anchor.as_deref() == Some(record.context.anchor.as_str());
    let mine = outcomes.iter().filter(|record| own(record));
    mine.map(|record| (record.context.anchor.clone(), report.import.dn.clone())).collect()
}
