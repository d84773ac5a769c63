//! `forestsync run`.

use std::time::Duration;

use anyhow::Result;
use forestsync_projector::Finding;
use forestsync_runtime::shutdown;
use serde::Serialize;

use crate::cli::RunArgs;
use crate::exit::{Exit, UsageError};
use crate::pipeline::{Ending, Pipeline, RunOptions, Until};
use crate::progress::Progress;
use crate::status::{self, Report};
use crate::{config, output};

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
    let settings = config::load(&args.config.config)?;
    if settings.log.is_some() {
        let message = format!("{}: run has its log to itself, and [log] names a shared one", settings.path.display());
        let hint = "start forestsync-collector, forestsync-projector and forestsync-provisioner, and tell them of this file by forestsync activate; or take [log] out";
        return Err(UsageError::new(message, hint).into());
    }
    let shutdown = shutdown::on_signals()?;
    let options = RunOptions { count_guard: args.count_guard, share_guard: args.share_guard };
    let mut pipeline = tokio::select! {
        pipeline = Box::pin(Pipeline::start(&settings, options)) => pipeline?,
        // nothing was begun that the next start would not begin again
        () = shutdown.stop.cancelled() => {
            output::note("stopped by a signal before anything was begun");
            return Ok(if args.until_idle { Exit::Failed } else { Exit::Done });
        }
    };
    tracing::info!(configuration = %settings.configuration, data = %settings.data.display(), "running");
    let until = if args.until_idle { Until::Idle { patience: args.timeout } } else { Until::Signal };
    let ending = {
        let mut progress = Progress::new(pipeline.view());
        pipeline.wait(until, &shutdown, |view| progress.show(view)).await
    };
    let (blocked, findings) = pipeline.view().findings();
    let stopped = pipeline.stop(&shutdown).await;
    let ending = ending?;
    stopped?;
    if !args.until_idle {
        tracing::info!("stopped");
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
        Ending::Idle => (exit, summary("idle", None)),
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
