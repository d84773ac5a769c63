//! `remove-configuration`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use forestsync_schemas::control::RemovedObjects;

use super::{ConfigArg, EXIT_CODES, parse_duration};

/// Options of `remove-configuration`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct RemoveArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// What becomes of the objects that it manages in the tenant.
    #[arg(long, value_enum)]
    pub objects: ObjectsArg,
    /// Show what would be done, and do nothing.
    #[arg(long, visible_alias = "preview", conflicts_with = "confirm")]
    pub dry_run: bool,
    /// Go on after the preview: the configuration's name, so that no other one is meant. Without it a person at a terminal
    /// is asked, and else nothing is done.
    #[arg(long, value_name = "CONFIGURATION")]
    pub confirm: Option<String>,
    /// Why; it is kept in the log with who decided and when. Needed to go on.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The longest time without anything to do but wait, for example for a tenant that does not answer.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Show all objects; not just the first 20 of each kind.
    #[arg(long)]
    pub all: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What becomes of the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ObjectsArg {
    /// They are deleted from the tenant: users can be restored for 30 days, groups count as gone for good.
    Delete,
    /// They stay in the tenant as they are, as cloud-managed ones, with the source anchors that they have.
    Release,
}

impl From<ObjectsArg> for RemovedObjects {
    fn from(objects: ObjectsArg) -> Self {
        match objects {
            ObjectsArg::Delete => Self::Delete,
            ObjectsArg::Release => Self::Release,
        }
    }
}
