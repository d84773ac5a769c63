//! `forestsync apply`: a plan that somebody looked at is carried out exactly, or not at all.
//!
//! The plan is made once more, and nothing is done unless it is the same. What is then done is compared with it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use forestsync_log::Log;
use forestsync_projector::Projector;
use forestsync_provisioner::settings::Mode;
use forestsync_provisioner::{Status, carry_out};
use forestsync_runtime::shutdown::{self, Shutdown};
use serde::Serialize;

use super::plan::{planned, provisioner_config};
use crate::cli::ApplyArgs;
use crate::config::Settings;
use crate::exit::{Exit, UsageError};
use crate::instance::{Instance, InstanceError};
use crate::pipeline::projector_config_from_log;
use crate::plan::{Action, Plan, render_counts};
use crate::progress::Tally;
use crate::{config, control, output};

/// Differences that are named.
const NAMED: usize = 20;

/// What came of it; the JSON of `apply --json`.
#[derive(Debug, Serialize)]
struct Applied {
    /// What was done, in the words of the plan.
    done: Plan,
    /// What the plan says and was not done.
    missing: Vec<String>,
    /// What was done, or failed, although the plan does not say it.
    unplanned: Vec<String>,
}

/// Does what the plan says.
pub async fn apply(args: ApplyArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let plan = Plan::read(&args.plan)?;
    refuse_others(&settings, &plan)?;
    let shutdown = shutdown::on_signals()?;
    let log = settings.existing_log()?;
    let active = control::now(log.as_ref(), &settings.configuration).await?;
    control::refuse_removed(active.as_ref(), &settings.configuration)?;
    let comes_into_force = active.is_none_or(|active| active.activated.digest != settings.digest);
    let _instance = take_folder(&settings, comes_into_force)?;
    let changed = comes_into_force.then_some(&settings);
    let Some(mut now) = planned(&settings, changed, &shutdown).await? else { return Ok(stopped()) };
    if has_moved_on(&plan, &now, "nothing was done") {
        return Ok(Exit::Differs);
    }
    if comes_into_force {
        put_into_force(&settings, &log).await?;
        let Some(again) = planned(&settings, None, &shutdown).await? else { return Ok(stopped()) };
        now = again;
        if has_moved_on(&plan, &now, "the configuration is in force, and nothing was written to the tenant") {
            return Ok(Exit::Differs);
        }
    }
    let provisioner = provisioner_config(&settings, settings.provisioner_dir())?;
    let (mut tally, mut seen) = (Tally::new("outcomes"), None);
    let show = |status: &Status| {
        let before = seen.replace(status.outcomes_next).unwrap_or(status.outcomes_next);
        tally.add(usize::try_from(status.outcomes_next.saturating_sub(before)).unwrap_or_default());
    };
    let carried_out = Box::pin(carry_out(provisioner, log, now.desired_offset, shutdown.stop.clone(), show));
    let done = Plan::of(&settings, &carried_out.await.context("the provisioner")?, Vec::new());
    drop(tally);
    let applied = Applied { missing: plan.beyond(&done), unplanned: done.beyond(&plan), done };
    report(&applied, &shutdown, args.json)
}

/// The plan must be for this file, and this process must be able to be the only provisioner.
fn refuse_others(settings: &Settings, plan: &Plan) -> Result<(), UsageError> {
    let file = settings.path.display();
    if settings.log.is_some() {
        let message =
            format!("{file}: [log] names a log that services share, and their provisioner does the work there");
        let hint = "set mode to \"active\" in the file of forestsync-provisioner once the plan is as it should be";
        return Err(UsageError::new(message, hint));
    }
    let tenant = &settings.tenant.tenant_id;
    if plan.configuration != settings.configuration || plan.tenant != *tenant {
        let message = format!(
            "the plan is for configuration {} and tenant {}, not for those of {file}",
            plan.configuration, plan.tenant
        );
        return Err(UsageError::new(message, "name the file that the plan was made by with --config"));
    }
    if plan.digest != settings.digest {
        let message = format!("{file} is not as it was when the plan was made");
        let hint = "name the file that the plan was made by with --config, or make a new plan";
        return Err(UsageError::new(message, hint));
    }
    Ok(())
}

/// Nobody else may provision meanwhile. A process in staging does not; it may go on, unless its configuration changes.
fn take_folder(settings: &Settings, comes_into_force: bool) -> Result<Option<Instance>, InstanceError> {
    match Instance::take(&settings.data) {
        Err(InstanceError::Running { .. }) if settings.mode == Mode::Staging && !comes_into_force => Ok(None),
        taken => taken.map(Some),
    }
}

fn stopped() -> Exit {
    output::note("stopped by a signal; nothing was written to the tenant");
    Exit::Failed
}

/// Whether the plan would be another one now; says what differs.
fn has_moved_on(plan: &Plan, now: &Plan, consequence: &str) -> bool {
    if plan.steps == now.steps && plan.holds == now.holds {
        return false;
    }
    output::note(&format!("the world has moved on since the plan was made; {consequence}"));
    name("in the plan and not to be done any more", &plan.beyond(now));
    name("to be done now and not in the plan", &now.beyond(plan));
    output::note("hint: make a new plan with forestsync plan --out, look at it, and apply that");
    true
}

fn name(what: &str, steps: &[String]) {
    if !steps.is_empty() {
        output::note(&format!("{what}: {}", steps.len()));
    }
    for step in steps.iter().take(NAMED) {
        output::note(&format!("  {step}"));
    }
}

/// Lets the projection wish by the new file.
async fn put_into_force(settings: &Settings, log: &Arc<dyn Log>) -> Result<()> {
    control::activate(log.as_ref(), settings, false).await?;
    let config = projector_config_from_log(settings, log.as_ref()).await?;
    let mut projector = Projector::open(config, Arc::clone(log)).await.context("the projection")?;
    projector.catch_up().await.context("the projection")?;
    Ok(())
}

fn report(applied: &Applied, shutdown: &Shutdown, json: bool) -> Result<Exit> {
    if json {
        output::json(applied)?;
    } else {
        output::text(&render_counts(&applied.done))?;
    }
    if shutdown.stop.is_cancelled() {
        output::note("stopped by a signal before everything was done");
    }
    name("not done", &applied.missing);
    name("not as planned", &applied.unplanned);
    let waits = |action: &Action| matches!(action, Action::Hold | Action::Fail);
    Ok(if !applied.missing.is_empty() || !applied.unplanned.is_empty() {
        output::note("hint: forestsync status tells why, and forestsync run goes on with it");
        Exit::Failed
    } else if applied.done.steps.iter().any(|step| waits(&step.action)) {
        Exit::Held
    } else {
        Exit::Done
    })
}
