//! `held`, `approve` and `reject`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{ConfigArg, parse_duration};

/// Options of `held`.
#[derive(Debug, Clone, Args)]
pub struct HeldArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Which of it.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// List all of it; not just the first 20.
    #[arg(long)]
    pub all: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `approve` and `reject`.
#[derive(Debug, Clone, Args)]
pub struct DecideArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Objects: distinguished names or source anchors, as `forestsync held` shows them.
    #[arg(value_name = "OBJECT", conflicts_with = "source")]
    pub objects: Vec<String>,
    /// Every write that is held. A source in doubt is decided about only where --source names its forest.
    #[arg(long, conflicts_with_all = ["objects", "source"])]
    pub all: bool,
    /// Which of it.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Why; it is kept in the log with who decided and when.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// How long the decision holds; default: 1d to approve, 30d to reject. What is approved and not done by then is held
    /// again, and so is what is rejected when that time is over.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub lasts: Option<Duration>,
    /// Show what would be decided, and decide nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which of what is held.
#[derive(Debug, Clone, Default, Args)]
pub struct FilterArgs {
    /// Only this; may be given more than once.
    #[arg(long, value_name = "WHAT", value_enum)]
    pub operation: Vec<HeldOperation>,
    /// Only users, or only groups.
    #[arg(long, value_name = "CLASS", value_enum)]
    pub class: Option<HeldClass>,
    /// Only objects at or below this distinguished name.
    #[arg(long, value_name = "DN")]
    pub under: Option<String>,
    /// Only what is held because of this.
    #[arg(long, value_name = "CAUSE", value_enum)]
    pub cause: Option<HeldCause>,
    /// The sources of this forest whose losses hold the whole configuration, and no writes; may be given more than once.
    #[arg(long, value_name = "FOREST", conflicts_with_all = ["operation", "class"])]
    pub source: Vec<String>,
}

impl FilterArgs {
    /// Whether it lets everything pass.
    pub fn is_empty(&self) -> bool {
        self.operation.is_empty()
            && self.class.is_none()
            && self.under.is_none()
            && self.cause.is_none()
            && self.source.is_empty()
    }
}

/// What can be held; in events it has the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum HeldOperation {
    /// Deletions.
    Delete,
    /// Removals of members from a group.
    RemoveMembers,
    /// Users that would be disabled.
    Disable,
    /// Users that would get another name for signing in.
    Rename,
    /// Objects of the tenant that would be joined.
    Join,
}

/// The class of what is held, likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum HeldClass {
    /// Users.
    User,
    /// Groups.
    Group,
}

/// Why something is held, likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum HeldCause {
    /// There is more of it at once than may go without asking.
    Guard,
    /// Somebody decided about others that were held with it.
    Undecided,
    /// Somebody rejected it.
    Rejected,
    /// Somebody rejected it for a time that is over.
    Lapsed,
    /// The configuration has every join held.
    Join,
    /// A full read of a source showed too little.
    SourceShrunken,
    /// Parts of a source's scope are empty.
    ScopeEmpty,
}

impl HeldCause {
    /// Whether it is about a source, not about single writes.
    pub fn is_of_source(self) -> bool {
        matches!(self, Self::SourceShrunken | Self::ScopeEmpty)
    }
}
