//! `forestsync take-over`: who is in the tenant already, and what becomes of each, without a single write.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context as _, Result};
use forestsync_provisioner::Holders;
use forestsync_rules::hygiene::TenantHolder;
use forestsync_runtime::shutdown;
use tokio_util::sync::CancellationToken;

use super::plan::rehearsed;
use crate::cli::TakeOverArgs;
use crate::config::Settings;
use crate::exit::{Exit, UsageError};
use crate::pipeline::{RunOptions, tenant_config};
use crate::progress::Tally;
use crate::takeover::{TakeOver, render};
use crate::{config, output};

/// Makes the report and shows it.
pub async fn take_over(args: TakeOverArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let form = args.out.as_deref().map(form).transpose()?;
    let shutdown = shutdown::on_signals()?;
    let report = tokio::select! {
        report = Box::pin(compute(&settings, shutdown.stop.clone())) => report?,
        () = shutdown.stop.cancelled() => {
            output::note("stopped by a signal; there is no report");
            return Ok(Exit::Failed);
        }
    };
    if let (Some(file), Some(form)) = (&args.out, form) {
        let text = match form {
            Form::Csv => report.csv(),
            Form::Json => serde_json::to_string_pretty(&report)? + "\n",
        };
        output::keep(file, text.as_bytes()).with_context(|| format!("{} cannot be written", file.display()))?;
        output::note(&format!("kept in {}", file.display()));
    }
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&render(&report, args.all))?;
    }
    Ok(Exit::Done)
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Csv,
    Json,
}

fn form(file: &Path) -> Result<Form, UsageError> {
    match file.extension().and_then(OsStr::to_str) {
        Some("csv") => Ok(Form::Csv),
        Some("json") => Ok(Form::Json),
        _ => Err(UsageError::new(format!("--out {}", file.display()), "let the file's name end with .csv or .json")),
    }
}

async fn compute(settings: &Settings, stop: CancellationToken) -> Result<TakeOver> {
    let (rehearsal, holds) = rehearsed(settings, None, stop).await?;
    let holders = holders(settings).await?;
    Ok(TakeOver::of(settings, &rehearsal, &holders, holds))
}

/// All users and groups of the tenant.
async fn holders(settings: &Settings) -> Result<Vec<TenantHolder>> {
    let credential = settings.tenant.read_credential().map_err(|e| UsageError::credential(&settings.path, &e))?;
    let mut holders = Holders::new(&tenant_config(settings, RunOptions::default(), credential))?;
    let mut progress = Tally::new("users and groups of the tenant");
    let mut all = Vec::new();
    while let Some(page) = holders.next().await? {
        progress.add(page.len());
        all.extend(page);
    }
    Ok(all)
}
