//! `forestsync run`.

use std::time::Duration;

use anyhow::Result;
use forestsync_projector::Finding;
use forestsync_runtime::shutdown;
use serde::Serialize;

use crate::cli::RunArgs;
use crate::config::Settings;
use crate::exit::{Exit, UsageError};
use crate::pipeline::{Ending, Pipeline, RunOptions, Until};
use crate::progress::Progress;
use crate::status::{self, Report};
use crate::{config, control, output};

/// How `run --until-idle` ended; the JSON of `run --until-idle --json`.
#[derive(Debug, Serialize)]
struct Summary {
    /// `idle`, `signalled` or `out_of_patience`.
    ended: &'static str,
    /// What was waited for last, if it ended without being done.
    waited_for: Option<String>,
    /// Objects that are in scope and are not sent, because something is wrong with them in the directory.
    blocked: u64,
    /// What is wrong with objects, not more than 50 of them.
    findings: Vec<Finding>,
    /// The state, as `status --json` shows it.
    status: Report,
}

/// Synchronizes until a signal comes, or until nothing is left to do.
pub async fn run(args: RunArgs) -> Result<Exit> {
    let mut settings = config::load(&args.config.config)?;
    if settings.log.is_some() {
        let message = format!("{}: run has its log to itself, and [log] names a shared one", settings.path.display());
        let hint = "start forestsync-collector, forestsync-projector and forestsync-provisioner, and tell them of this file by forestsync activate; or take [log] out";
        return Err(UsageError::new(message, hint).into());
    }
    let shutdown = shutdown::on_signals()?;
    refuse_ended(&settings).await?;
    let options = RunOptions { count_guard: args.count_guard, share_guard: args.share_guard };
    let until = if args.until_idle { Until::Idle { patience: args.timeout } } else { Until::Signal };
    let mut held = None;
    let (ending, blocked, findings) = loop {
        let mut pipeline = tokio::select! {
            pipeline = Box::pin(Pipeline::start(&settings, options, held.take())) => pipeline?,
            // nothing was begun that the next start would not begin again
            () = shutdown.stop.cancelled() => {
                output::note("stopped by a signal before anything was begun");
                return Ok(if args.until_idle { Exit::Failed } else { Exit::Done });
            }
        };
        tracing::info!(configuration = %settings.configuration, data = %settings.data.display(), "running");
        let ending = {
            let mut progress = Progress::new(pipeline.view());
            pipeline.wait(until, &shutdown, |view| progress.show(view)).await
        };
        let (blocked, findings) = pipeline.view().findings();
        held = Some(pipeline.instance());
        let stopped = pipeline.stop(&shutdown).await;
        let ending = ending?;
        stopped?;
        if ending != Ending::Turned {
            break (ending, blocked, findings);
        }
        tracing::info!(configuration = %settings.configuration, "removed, or in force again");
        // the file that came into force again may be another one
        settings = config::load(&args.config.config)?;
    };
    drop(held);
    if !args.until_idle {
        tracing::info!("stopped");
        if ending == Ending::Idle {
            output::note(&format!("configuration {} was removed, and nothing is left of it", settings.configuration));
        }
        return Ok(Exit::Done);
    }
    let log = settings.existing_log()?;
    let report = status::gather(log.as_ref(), &settings).await?;
    let (exit, summary) = summarize(ending, &report, blocked, findings, args.timeout);
    if args.json {
        output::json(&summary)?;
    } else {
        output::text(&status::render(&summary.status, false))?;
    }
    Ok(exit)
}

/// Refuses a configuration that was removed and of which nothing is left to do.
async fn refuse_ended(settings: &Settings) -> Result<()> {
    let Ok(log) = settings.existing_log() else { return Ok(()) };
    let in_force = control::now(log.as_ref(), &settings.configuration).await?;
    if in_force.as_ref().is_some_and(|in_force| in_force.removed.is_some()) {
        let report = status::gather(log.as_ref(), settings).await?;
        if report.removed.is_some_and(|removed| removed.is_done) {
            control::refuse_removed(in_force.as_ref(), &settings.configuration)?;
        }
    }
    Ok(())
}

fn summarize(
    ending: Ending,
    report: &Report,
    blocked: u64,
    findings: Vec<Finding>,
    patience: Duration,
) -> (Exit, Summary) {
    let exit = match report.exit() {
        Exit::Done if blocked > 0 => Exit::Held,
        exit => exit,
    };
    let status = report.limited(Some(status::LISTED));
    let summary = |ended, waited_for| Summary { ended, waited_for, blocked, findings, status };
    match ending {
        Ending::Idle | Ending::Turned => (exit, summary("idle", None)),
        Ending::Signalled => {
            output::note("stopped by a signal before everything was done; the next run goes on from here");
            (Exit::Failed, summary("signalled", None))
        }
        Ending::Patience(waited_for) => {
            let limit = patience.as_secs();
            output::note(&format!("error: nothing went on for too long (limit {limit} s); waited for {waited_for}"));
            (Exit::Failed, summary("out_of_patience", Some(waited_for)))
        }
    }
}
