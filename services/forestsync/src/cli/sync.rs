//! The command about one object.

use std::time::Duration;

use clap::Args;

use super::{ConfigArg, EXIT_CODES, parse_duration};

/// Options of `sync-object`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct SyncObjectArgs {
    /// The object: its distinguished name, objectGUID, userPrincipalName or sAMAccountName.
    pub object: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The forest it lies in, where more than one has such a name.
    #[arg(long, value_name = "NAME")]
    pub forest: Option<String>,
    /// Only show what would be done: nothing is written, neither to the tenant nor to the log.
    #[arg(long)]
    pub dry_run: bool,
    /// The longest wait for the object to be in step; the work goes on after it.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration, conflicts_with = "dry_run")]
    pub wait: Duration,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
