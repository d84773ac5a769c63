//! `forestsync plan`: what would be done, by the configuration in force or by a changed one, without a single write.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use forestsync_log::{ForkedLog, Log};
use forestsync_projector::{Projector, ProjectorConfig};
use forestsync_provisioner::{NotifyConfig, ProvisionerConfig, Rehearsal, rehearse};
use forestsync_runtime::shutdown::{self, Shutdown};
use tokio_util::sync::CancellationToken;

use crate::cli::PlanArgs;
use crate::config::Settings;
use crate::exit::{Exit, UsageError};
use crate::pipeline::{RunOptions, projector_config_from_log, tenant_config};
use crate::plan::{Plan, render};
use crate::{config, output, status};

/// Computes the plan and shows it.
pub async fn plan(args: PlanArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let changed = args.changed.as_deref().map(|file| changed(&settings, file)).transpose()?;
    let shutdown = shutdown::on_signals()?;
    let Some(plan) = planned(&settings, changed.as_ref(), &shutdown).await? else {
        output::note("stopped by a signal; there is no plan");
        return Ok(Exit::Failed);
    };
    if let Some(file) = &args.out {
        plan.keep(file)?;
        let applied = args.changed.as_ref().unwrap_or(&args.config.config);
        output::note(&format!("kept; forestsync apply -c {} {} does it", applied.display(), file.display()));
    }
    if args.json {
        output::json(&plan)?;
    } else {
        output::text(&render(&plan, args.all))?;
    }
    Ok(Exit::Done)
}

/// The changed configuration: another file for the same configuration, and thus the same log and tenant.
pub(super) fn changed(settings: &Settings, file: &Path) -> Result<Settings> {
    let changed = config::load(file)?;
    let hint = "a plan compares two files of one configuration; copy the file in force and change the copy";
    if changed.configuration != settings.configuration {
        let message = format!("{} describes configuration {}", file.display(), changed.configuration);
        return Err(UsageError::new(message, hint).into());
    }
    if changed.tenant.tenant_id != settings.tenant.tenant_id {
        return Err(UsageError::new(format!("{} names another tenant", file.display()), hint).into());
    }
    Ok(changed)
}

/// The plan for the file in force, whose log it is, or for a changed one; nothing if a signal came first.
pub(super) async fn planned(
    settings: &Settings,
    changed: Option<&Settings>,
    shutdown: &Shutdown,
) -> Result<Option<Plan>> {
    tokio::select! {
        plan = Box::pin(compute(settings, changed, shutdown.stop.clone())) => plan.map(Some),
        () = shutdown.stop.cancelled() => Ok(None),
    }
}

async fn compute(settings: &Settings, changed: Option<&Settings>, stop: CancellationToken) -> Result<Plan> {
    let (rehearsal, holds) = rehearsed(settings, changed, stop).await?;
    Ok(Plan::of(changed.unwrap_or(settings), &rehearsal, holds))
}

/// A rehearsal of everything, and what holds the configuration.
pub(super) async fn rehearsed(
    settings: &Settings,
    changed: Option<&Settings>,
    stop: CancellationToken,
) -> Result<(Rehearsal, Vec<String>)> {
    let folder = tempfile::Builder::new().prefix("plan-").tempdir()?;
    let base = settings.existing_log()?;
    let fork: Arc<dyn Log> = Arc::new(ForkedLog::new(Arc::clone(&base), folder.path().join("log"))?);
    let holds = if let Some(changed) = changed {
        project(settings, changed, &fork, folder.path()).await?
    } else {
        let report = status::gather(base.as_ref(), settings).await?;
        report.holds.into_iter().map(|hold| format!("{}; {}", hold.detail, hold.hint)).collect()
    };
    let settings = changed.unwrap_or(settings);
    let config = provisioner_config(settings, folder.path().join("ledger"))?;
    let rehearsal = Box::pin(rehearse(config, fork, stop)).await.context("the rehearsal")?;
    Ok((rehearsal, holds))
}

/// A provisioner's configuration with its ledger in `directory`.
pub(super) fn provisioner_config(settings: &Settings, directory: PathBuf) -> Result<ProvisionerConfig> {
    let credential = settings.tenant.read_credential().map_err(|e| UsageError::credential(&settings.path, &e))?;
    let tenant = tenant_config(settings, RunOptions::default(), credential);
    // whoever runs the configuration tells people
    let notify = NotifyConfig::default();
    Ok(ProvisionerConfig { configuration: settings.configuration.clone(), directory, tenant, notify })
}

/// The projection of a changed configuration, over the log of the file in force.
pub(super) async fn projection_of(settings: &Settings, changed: &Settings, log: &dyn Log) -> Result<ProjectorConfig> {
    // what was read was read into the log of the file in force
    let mut settings_of_log = changed.clone();
    settings_of_log.data.clone_from(&settings.data);
    settings_of_log.log.clone_from(&settings.log);
    projector_config_from_log(&settings_of_log, log).await
}

/// Projects the history anew by the changed configuration, into the fork. Returns what holds it.
async fn project(settings: &Settings, changed: &Settings, fork: &Arc<dyn Log>, folder: &Path) -> Result<Vec<String>> {
    let config = projection_of(settings, changed, fork.as_ref()).await?;
    // as it will be in force, also where it is to come back
    let config = ProjectorConfig { directory: folder.join("projection"), removed: None, ..config };
    let mut projector = Projector::open(config, Arc::clone(fork)).await.context("the projection")?;
    let status = projector.catch_up().await.context("the projection")?;
    Ok(status.held.into_iter().map(|hold| format!("{}; {}", hold.detail, hold.hint)).collect())
}
