//! `audit`, `state` and `diff`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::ConfigArg;
use super::chain::{AnchorsArgs, VerifyArgs};
use crate::history::entry::Values;
use crate::history::moment::{self, Moment};
use crate::history::state::Side;

const OBJECT: &str = "\
OBJECT is a distinguished name, sign-in name or mail address that it has or ever had, its objectGUID, its source anchor,
or its id in the tenant. Deleted objects are found like others.

Values of attributes are shown: they are what an audit is about. --values hidden shows the attributes' names alone.";

/// The audit commands.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Show everything that happened to an object, in the directories, in the projection and in the tenant.
    #[command(after_help = OBJECT)]
    Object(AuditObjectArgs),
    /// Show what somebody decided, or what a domain controller told.
    Actor(AuditActorArgs),
    /// Show all changes of an attribute, of all objects.
    Attribute(AuditAttributeArgs),
    /// Show which configurations were in force, and what is different from each to the next.
    Configuration(AuditConfigurationArgs),
    /// Say in one line who changed an attribute of an object last, and which request wrote it.
    #[command(after_help = OBJECT, override_usage = "forestsync audit who-changed [OPTIONS] <ATTRIBUTE> of <OBJECT>")]
    WhoChanged(WhoChangedArgs),
    /// Write a report for auditors: counts, deletions, decisions and configurations, as HTML and CSV with digests.
    Report(AuditReportArgs),
    /// Prove that the history is what was written: check the hash chain of every stream.
    #[command(after_help = super::chain::VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Write down what the hash chains say now, to be kept elsewhere.
    #[command(after_help = super::chain::ANCHORS_HELP)]
    Anchors(AnchorsArgs),
}

/// Which part of the history.
#[derive(Debug, Clone, Default, Args)]
pub struct PeriodArgs {
    /// Only from this time on: 2026-11-29T18:30:00Z, or a date, which begins in UTC.
    #[arg(long, value_name = "TIME", value_parser = moment::since)]
    pub since: Option<Timestamp>,
    /// Only up to this time; a date counts whole.
    #[arg(long, value_name = "TIME", value_parser = moment::until)]
    pub until: Option<Timestamp>,
}

impl PeriodArgs {
    /// Whether a time lies in it.
    pub fn holds(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time <= until)
    }
}

/// How it is shown.
#[derive(Debug, Clone, Default, Args)]
pub struct FormArgs {
    /// Whether values of attributes are shown.
    #[arg(long, value_enum, default_value_t)]
    pub values: Values,
    /// Print JSON, one object a line.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print CSV.
    #[arg(long)]
    pub csv: bool,
}

/// Where the index of the log is kept.
#[derive(Debug, Clone, Default, Args)]
pub struct IndexArg {
    /// Keep the index of the log in this folder; default: the data folder, and for a log that services share nowhere.
    /// It can be deleted at any time.
    #[arg(long, value_name = "DIR")]
    pub index: Option<PathBuf>,
}

/// Options of `audit object`.
#[derive(Debug, Clone, Args)]
pub struct AuditObjectArgs {
    /// The object.
    pub object: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// When.
    #[command(flatten)]
    pub period: PeriodArgs,
    /// Only what changed this attribute, of the directory or of the tenant.
    #[arg(long, value_name = "NAME")]
    pub attribute: Option<String>,
    /// How.
    #[command(flatten)]
    pub form: FormArgs,
    /// The index.
    #[command(flatten)]
    pub index: IndexArg,
}

/// Options of `audit actor`.
#[derive(Debug, Clone, Args)]
pub struct AuditActorArgs {
    /// An account, as the operating system names it; or a domain controller, by DNS name or invocationId.
    pub who: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// When.
    #[command(flatten)]
    pub period: PeriodArgs,
    /// How.
    #[command(flatten)]
    pub form: FormArgs,
}

/// Options of `audit attribute`.
#[derive(Debug, Clone, Args)]
pub struct AuditAttributeArgs {
    /// The attribute, by its name in the directory or in Graph.
    pub name: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// When.
    #[command(flatten)]
    pub period: PeriodArgs,
    /// How.
    #[command(flatten)]
    pub form: FormArgs,
}

/// Options of `audit configuration`.
#[derive(Debug, Clone, Args)]
pub struct AuditConfigurationArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// When.
    #[command(flatten)]
    pub period: PeriodArgs,
    /// Print JSON, one object a line.
    #[arg(long)]
    pub json: bool,
}

/// Options of `audit who-changed`.
#[derive(Debug, Clone, Args)]
pub struct WhoChangedArgs {
    /// The attribute, by its name in the directory or in Graph.
    pub attribute: String,
    /// The word `of`.
    #[arg(value_parser = ["of"], hide_possible_values = true)]
    pub of: String,
    /// The object.
    pub object: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// When.
    #[command(flatten)]
    pub period: PeriodArgs,
    /// Whether values of attributes are shown.
    #[arg(long, value_enum, default_value_t)]
    pub values: Values,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// The index.
    #[command(flatten)]
    pub index: IndexArg,
}

/// Options of `audit report`.
#[derive(Debug, Clone, Args)]
pub struct AuditReportArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// When.
    #[command(flatten)]
    pub period: PeriodArgs,
    /// The folder to write it to; it must not be there yet.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Print the manifest as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `state`.
#[derive(Debug, Clone, Args)]
#[command(after_help = OBJECT)]
pub struct StateArgs {
    /// The object.
    pub object: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// When: 2026-11-29T18:30:00Z, a date (its beginning in UTC), or STREAM=OFFSET as audit shows it; default: now.
    #[arg(long, value_name = "TIME|OFFSET")]
    pub at: Option<Moment>,
    /// Only this side; may be given more than once.
    #[arg(long, value_name = "SIDE", value_enum)]
    pub side: Vec<Side>,
    /// Whether values of attributes are shown.
    #[arg(long, value_enum, default_value_t)]
    pub values: Values,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// The index.
    #[command(flatten)]
    pub index: IndexArg,
}

/// Options of `diff`.
#[derive(Debug, Clone, Args)]
#[command(after_help = OBJECT)]
pub struct DiffArgs {
    /// The object.
    pub object: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The earlier moment, as in `forestsync state --at`.
    #[arg(long, value_name = "TIME|OFFSET")]
    pub from: Moment,
    /// The later moment; default: now.
    #[arg(long, value_name = "TIME|OFFSET")]
    pub to: Option<Moment>,
    /// Only this side; may be given more than once.
    #[arg(long, value_name = "SIDE", value_enum)]
    pub side: Vec<Side>,
    /// Whether values of attributes are shown.
    #[arg(long, value_enum, default_value_t)]
    pub values: Values,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// The index.
    #[command(flatten)]
    pub index: IndexArg,
}
