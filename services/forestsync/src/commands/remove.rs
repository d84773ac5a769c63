//! `forestsync remove-configuration`: a configuration is taken out of force, and what it manages is deleted or released.
//!
//! The preview is a plan: the projection without any wish and the engine, both on a fork of the log, against the tenant
//! through a gate that lets no write pass. What it lists is what the decision approves. The decision is an event, and from
//! then on everything follows from the log: this command only waits, or does the work itself where nobody else is there.

mod course;
mod preview;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use forestsync_log::StreamName;
use forestsync_provisioner::settings::Mode;
use forestsync_runtime::shutdown::{self, Shutdown};
use forestsync_schemas::control::RemovedObjects;
use forestsync_schemas::streams;
use serde::Serialize;

use self::course::{Course, Followed, Standing};
use self::preview::Preview;
use crate::cli::RemoveArgs;
use crate::config::Settings;
use crate::exit::{Exit, UsageError};
use crate::instance::{Instance, InstanceError};
use crate::pipeline::{Ending, Pipeline, RunOptions, Until};
use crate::progress::Progress;
use crate::{config, control, output};

/// The JSON of `remove-configuration --json`.
#[derive(Debug, Serialize)]
struct Removal<'a> {
    /// What is, or would be, done.
    preview: &'a Preview,
    /// Whether somebody decided that it is.
    decided: bool,
    /// What became of it; absent where nothing was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<&'a Standing>,
}

/// Shows what the removal would do, and does it if that is confirmed.
pub async fn remove(args: RemoveArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let objects = RemovedObjects::from(args.objects);
    refuse_before(&settings, &args)?;
    let log = settings.existing_log()?;
    let Some(in_force) = control::now(log.as_ref(), &settings.configuration).await? else {
        let message = format!("configuration {} was never in force", settings.configuration);
        return Err(UsageError::new(message, "there is nothing to remove").into());
    };
    control::refuse_changed(&in_force, &settings)?;
    let shutdown = shutdown::on_signals()?;
    let preview = tokio::select! {
        preview = Box::pin(Preview::compute(&settings, objects, &log, shutdown.stop.clone())) => preview?,
        () = shutdown.stop.cancelled() => {
            output::note("stopped by a signal; nothing was done");
            return Ok(Exit::Failed);
        }
    };
    if !args.json {
        output::text(&preview.render(args.all))?;
    }
    let Some(reason) = confirmed(&args, &settings, &preview)? else {
        if args.json {
            output::json(&Removal { preview: &preview, decided: false, standing: None })?;
        }
        return Ok(if args.dry_run { Exit::Done } else { Exit::Held });
    };
    let outcomes: StreamName = streams::outcomes(&settings.configuration).parse()?;
    let listed: Vec<_> = preview.anchors().into_iter().collect();
    let mut course = Course::new(log.as_ref(), &outcomes, preview.outcomes_offset(), &listed).await?;
    control::remove(log.as_ref(), &settings.configuration, objects, &listed, &reason).await?;
    let ended = carry_out(&settings, &mut course, &shutdown, &args).await?;
    course.read_on().await?;
    let standing = course.standing();
    if args.json {
        output::json(&Removal { preview: &preview, decided: true, standing: Some(&standing) })?;
    } else {
        output::text(&standing.render(&settings.configuration))?;
    }
    Ok(match ended {
        Ended::Rests if standing.failing > 0 => Exit::Failed,
        Ended::Rests if standing.is_done() => Exit::Done,
        Ended::Rests => Exit::Held,
        Ended::Early => Exit::Failed,
    })
}

/// What cannot be, whatever the log says.
fn refuse_before(settings: &Settings, args: &RemoveArgs) -> Result<(), UsageError> {
    let name = &settings.configuration;
    if let Some(confirmed) = args.confirm.as_ref().filter(|confirmed| *confirmed != name) {
        let message =
            format!("--confirm names configuration {confirmed}, and {} is of {name}", settings.path.display());
        return Err(UsageError::new(message, "name the file of the configuration that is to go; nothing was done"));
    }
    if args.confirm.is_some() && args.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
        return Err(UsageError::new("--confirm needs a --reason", "say why, for those who read the log later"));
    }
    if settings.mode == Mode::Staging {
        let message = format!("{} says mode = \"staging\": nothing is written to the tenant", settings.path.display());
        let hint = "a configuration that never wrote needs no removal; else set mode to \"active\", put that into force, \
                    and remove it then";
        return Err(UsageError::new(message, hint));
    }
    Ok(())
}

/// Why it goes on, if it does: the name was given, or a person at the terminal types it.
fn confirmed(args: &RemoveArgs, settings: &Settings, preview: &Preview) -> Result<Option<String>> {
    let name = &settings.configuration;
    if args.dry_run {
        return Ok(None);
    }
    if args.confirm.is_some() {
        return Ok(args.reason.clone());
    }
    let hint = format!("nothing was done; --confirm {name} --reason TEXT does it");
    if args.json || !std::io::stdin().is_terminal() {
        output::note(&hint);
        return Ok(None);
    }
    output::note(&format!("{}\nType the configuration's name to go on:", preview.warning()));
    if ask()? != *name {
        output::note(&hint);
        return Ok(None);
    }
    if let Some(reason) = args.reason.as_ref().filter(|reason| !reason.trim().is_empty()) {
        return Ok(Some(reason.clone()));
    }
    output::note("Why? It is kept in the log:");
    let reason = ask()?;
    if reason.is_empty() {
        output::note(&hint);
        return Ok(None);
    }
    Ok(Some(reason))
}

fn ask() -> Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("the answer")?;
    Ok(line.trim().to_owned())
}

/// How the waiting ended.
#[derive(Debug, Clone, Copy)]
enum Ended {
    /// Nothing is left but what waits for a time or a person.
    Rests,
    /// By a signal, or because nothing went on.
    Early,
}

/// Lets the process that is at work do it, or does it here if there is none, or none any more.
async fn carry_out(settings: &Settings, course: &mut Course, shutdown: &Shutdown, args: &RemoveArgs) -> Result<Ended> {
    // where a log is shared, the services do it
    let taken = if settings.log.is_some() { None } else { Some(Instance::take(&settings.data)) };
    let followed = match taken {
        Some(Ok(instance)) => Followed::Alone(instance),
        None | Some(Err(InstanceError::Running { .. })) => {
            course.follow(settings, args.timeout, &shutdown.stop).await?
        }
        Some(Err(error)) => return Err(error.into()),
    };
    match followed {
        Followed::Alone(instance) => host(settings, instance, course, shutdown, args).await,
        Followed::Rests => Ok(Ended::Rests),
        Followed::Stopped => {
            output::note("stopped by a signal; the removal is decided, and whoever runs goes on with it");
            Ok(Ended::Early)
        }
        Followed::Idle => {
            output::note("error: nobody went on with it for too long; forestsync status tells why");
            Ok(Ended::Early)
        }
    }
}

/// Does the work in this process.
async fn host(
    settings: &Settings,
    instance: Instance,
    course: &mut Course,
    shutdown: &Shutdown,
    args: &RemoveArgs,
) -> Result<Ended> {
    let start = Pipeline::start(settings, RunOptions::default(), Some(Arc::new(instance)));
    let mut pipeline = Box::pin(start).await?;
    let ending = {
        let mut progress = Progress::new(pipeline.view());
        pipeline.wait(Until::Idle { patience: args.timeout }, shutdown, |view| progress.show(view)).await
    };
    let stopped = pipeline.stop(shutdown).await;
    let ending = ending?;
    stopped?;
    course.read_on().await?;
    Ok(match ending {
        Ending::Idle => Ended::Rests,
        Ending::Signalled => {
            output::note("stopped by a signal; the removal is decided, and forestsync run goes on with it");
            Ended::Early
        }
        Ending::Turned => {
            output::note("the configuration was put into force again meanwhile");
            Ended::Early
        }
        Ending::Patience(waited_for) => {
            output::note(&format!("error: nothing went on for too long; waited for {waited_for}"));
            Ended::Early
        }
    })
}

/// Anchors, sorted.
type Anchors = BTreeSet<forestsync_domain::SourceAnchor>;
