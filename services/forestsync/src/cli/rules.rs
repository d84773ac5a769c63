//! The commands about rules.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ConfigArg, ReadArgs};

/// Options of `explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// The object: its distinguished name, objectGUID, source anchor, sign-in name, mail address or alias.
    pub object: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The folder of the projector's database; default: the one that `forestsync run` uses.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Show attributes without a value, too.
    #[arg(long)]
    pub all: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// The form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people.
    Table,
    /// One array.
    Json,
    /// Comma-separated values.
    Csv,
}

/// Options of `lint`.
#[derive(Debug, Clone, Args)]
pub struct LintArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The folder of the projector's database; default: the one that `forestsync run` uses.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Of this forest only.
    #[arg(long)]
    pub forest: Option<String>,
    /// By this rule only; may be given more than once.
    #[arg(long = "rule", value_name = "ID")]
    pub rules: Vec<String>,
    /// On this directory attribute only; may be given more than once.
    #[arg(long = "attribute", value_name = "NAME")]
    pub attributes: Vec<String>,
    /// At least this bad.
    #[arg(long, value_parser = ["error", "warning", "info"])]
    pub severity: Option<String>,
    /// Show the values, and what to write instead.
    #[arg(long)]
    pub values: bool,
    /// Compare with the tenant, too: read all its users and groups, and show who has a name or an address of ours, and
    /// whom a soft match would take over.
    #[arg(long)]
    pub tenant: bool,
    /// The most findings.
    #[arg(long, default_value_t = 1_000_000)]
    pub limit: usize,
    /// The form.
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
    /// Print JSON; the same as --format json.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

/// What is in force.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Show the rules in force: scope, joins, and for each cloud attribute what flows into it.
    Show(ShowArgs),
    /// Show how the attribute flow differs from the default one.
    Diff(ReadArgs),
    /// Print the default flow as a file to start from.
    Default,
    /// List the functions of the expression language.
    Functions(FunctionsArgs),
    /// List the rules of identity hygiene.
    Hygiene(FunctionsArgs),
    /// Run the tests in the configuration.
    Test(ReadArgs),
}

/// Options of `rules show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Show also what has a place in Azure AD and none that Graph can write.
    #[arg(long)]
    pub all: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of lists that need no configuration.
#[derive(Debug, Clone, Args)]
pub struct FunctionsArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
