//! The command line.

pub mod audit;
pub mod chain;
pub mod held;
pub mod log;
pub mod remove;
pub mod replay;
pub mod rules;
pub mod sync;
pub mod what_if;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use audit::{
    AuditActorArgs, AuditAttributeArgs, AuditCommand, AuditConfigurationArgs, AuditObjectArgs, AuditReportArgs,
    DiffArgs, FormArgs, IndexArg, PeriodArgs, StateArgs, WhoChangedArgs,
};
pub use chain::{AnchorsArgs, VerifyArgs};
pub use held::{DecideArgs, FilterArgs, HeldArgs, HeldCause, HeldClass, HeldOperation};
pub use log::{CompactArgs, CopyArgs, DigestArgs, LogCommand, TailArgs};
pub use remove::{ObjectsArg, RemoveArgs};
pub use replay::ReplayArgs;
pub use rules::{ExplainArgs, FunctionsArgs, LintArgs, ListFormat, RulesCommand, ShowArgs};
pub use sync::SyncObjectArgs;
pub use what_if::WhatIfArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0  everything is done
  1  something failed
  2  the command line or the configuration is not accepted; nothing was done
  3  all else is done, and something is held or quarantined until a person looks at it
  4  a verification found a difference, or a plan is not what would be done any more
  5  another forestsync is at work on the same data
  6  the wait ended before it was done; nothing has failed, and it goes on

Data goes to stdout, logs and progress to stderr. The environment variable FORESTSYNC_LOG
says what is logged, such as \"debug\" or \"warn,forestsync_collector=debug\".";

const EXAMPLES: &str = "\
Examples:
  forestsync demo                                see the whole of it at work, on this machine
  forestsync check -c contoso.toml               is everything there, reachable and allowed?
  forestsync run -c contoso.toml                 synchronize, until SIGTERM
  forestsync run -c contoso.toml --until-idle    synchronize once, for cron
  forestsync status -c contoso.toml              what is done, what is not, and why
  forestsync held -c contoso.toml                what waits for a decision
  forestsync explain ann@contoso.com             why one object is what it is in the tenant
  forestsync sync-object ann@contoso.com         take one object to the tenant now, step by step";

/// Keeps one Entra ID tenant in step with any number of Active Directory forests.
#[derive(Debug, Parser)]
#[command(name = "forestsync", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// The form of log lines on stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Three practice forests, a practice tenant and the whole pipeline, on this machine alone.
    Demo(DemoArgs),
    /// Synchronize: read the forests, project, write the tenant.
    Run(RunArgs),
    /// Put a configuration into force: record it in the log, where the services pick it up.
    Activate(ActivateArgs),
    /// Try configuration, secrets, controllers, rights and tenant, and change nothing.
    Check(ReadArgs),
    /// Show what is done, what is not and why, from the log alone.
    Status(StatusArgs),
    /// Show what would be done to the tenant, by the configuration in force or a changed one, and do nothing.
    Plan(PlanArgs),
    /// Show who is in the tenant already, whom the configuration would take over and whom not, and do nothing.
    TakeOver(TakeOverArgs),
    /// Do exactly what a plan says, or nothing if the world has moved on since it was made.
    Apply(ApplyArgs),
    /// List what waits for somebody's decision, and why.
    Held(HeldArgs),
    /// List what others changed and deleted in the tenant.
    Drift(DriftArgs),
    /// Let held writes go, or what a source has lost.
    Approve(DecideArgs),
    /// Keep held writes from being done, or what a source has lost from going.
    Reject(DecideArgs),
    /// Take a configuration out of force and delete or release all that it manages, after a preview.
    RemoveConfiguration(RemoveArgs),
    /// Show why an object is, or is not, what it is in the tenant.
    Explain(ExplainArgs),
    /// Read one object from its directory now, take it through every step to the tenant, and show each of them.
    SyncObject(SyncObjectArgs),
    /// Show what is wrong with directory objects.
    Lint(LintArgs),
    /// Show the rules in force, compare them with the default ones, and run the configuration's tests.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Ask the history what happened and who did it, and prove that it is what was written.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Show what an object was at a moment: in the directories, as it was wished, in the tenant.
    State(StateArgs),
    /// Show what is different of an object between two moments.
    Diff(DiffArgs),
    /// Show what a changed configuration would have done differently, over the recorded history, and do nothing.
    WhatIf(WhatIfArgs),
    /// Show the event log, or copy it to another place.
    #[command(subcommand)]
    Log(LogCommand),
    /// Compute the projection anew from the log: to take the place of the live one, to look at a moment, to verify.
    Replay(ReplayArgs),
    /// Start a practice peer and keep it until SIGINT or SIGTERM.
    #[command(subcommand)]
    Practice(PracticeCommand),
}

/// Which configuration.
#[derive(Debug, Clone, Args)]
pub struct ConfigArg {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", env = "FORESTSYNC_CONFIG", default_value = "forestsync.toml")]
    pub config: PathBuf,
}

/// Options of `drift`.
#[derive(Debug, Clone, Args)]
pub struct DriftArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// List all of it; not just the first 20 objects.
    #[arg(long)]
    pub all: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of a command that only reads.
#[derive(Debug, Clone, Args)]
pub struct ReadArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `activate`.
#[derive(Debug, Clone, Args)]
pub struct ActivateArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Also one that was removed: what was released is taken up again, and what was deleted is restored or made anew.
    #[arg(long)]
    pub again: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `run`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct RunArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Stop when everything read has been applied and nothing is pending.
    #[arg(long)]
    pub until_idle: bool,
    /// With --until-idle: the longest time without anything to do but wait, for example for an unreachable forest.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration, requires = "until_idle")]
    pub timeout: Duration,
    /// Hold deletions of a class when there are more than N within the window; instead of the configured count.
    #[arg(long, value_name = "N")]
    pub count_guard: Option<u64>,
    /// Hold deletions of a class when they are more than this share (0 to 1); instead of the configured share.
    #[arg(long, value_name = "X", value_parser = parse_share)]
    pub share_guard: Option<f64>,
    /// With --until-idle: print the summary as JSON.
    #[arg(long, requires = "until_idle")]
    pub json: bool,
}

/// Options of `status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// List all objects that failed, are held or are quarantined; not just the first 20 of each.
    #[arg(long)]
    pub all: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Plan for this changed file instead, over everything that was read so far.
    #[arg(long, value_name = "FILE")]
    pub changed: Option<PathBuf>,
    /// Keep the plan in a new file as well, for `forestsync apply`. It holds values of attributes.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Show all objects; not just the first 20 of each kind.
    #[arg(long)]
    pub all: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `take-over`.
#[derive(Debug, Clone, Args)]
pub struct TakeOverArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Keep the report in a new file as well: FILE.csv or FILE.json. It holds values of attributes.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Show all objects; not just the first 20 of each kind.
    #[arg(long)]
    pub all: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `apply`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct ApplyArgs {
    /// The configuration that the plan was made by: the file in force, or the changed one, which comes into force.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The plan, as `forestsync plan --out` has written it.
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Print what was done as JSON.
    #[arg(long)]
    pub json: bool,
}

/// The practice peers.
#[derive(Debug, Subcommand)]
pub enum PracticeCommand {
    /// A forest: an LDAP server with DirSync, filled with made-up people.
    Forest(PracticeForestArgs),
    /// A tenant: Microsoft Graph and its token endpoint over https.
    Tenant(PracticeTenantArgs),
}

/// Options of `practice forest`.
#[derive(Debug, Clone, Args)]
pub struct PracticeForestArgs {
    /// Its name.
    #[arg(long, default_value = "emea")]
    pub name: String,
    /// Its domain, as a DNS name; default: NAME.example.
    #[arg(long, value_name = "DNS")]
    pub domain: Option<String>,
    /// Where LDAPS listens.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where LDAP with StartTLS listens.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub listen_starttls: SocketAddr,
    /// How many users it starts with.
    #[arg(long, default_value_t = 200)]
    pub users: usize,
    /// The same seed makes the same people.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Without the objects that break a rule of `forestsync lint`: else every twentieth is one, as in grown directories.
    #[arg(long)]
    pub tidy: bool,
    /// Folder for CA certificate and passwords; default: a temporary one, removed at the end.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print addresses and files as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `practice tenant`.
#[derive(Debug, Clone, Args)]
pub struct PracticeTenantArgs {
    /// A verified domain; may be given more than once.
    #[arg(long = "domain", value_name = "DNS", default_values_t = [String::from("emea.example")])]
    pub domains: Vec<String>,
    /// Where https listens.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Wait this long before each answer.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub latency: Duration,
    /// Throttle as Microsoft documents it, with quotas times this factor; without it nothing is throttled.
    #[arg(long, value_name = "FACTOR")]
    pub quota: Option<f64>,
    /// Keep the content in this file.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Append every exchange to this file as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Folder for CA certificate and client secret; default: a temporary one, removed at the end.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print addresses and files as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `demo`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXIT_CODES)]
pub struct DemoArgs {
    /// How many users there are in the three forests together.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(30..=1_000_000))]
    pub users: u64,
    /// The same seed makes the same people and the same changes.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Append every exchange with the tenant to this file as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Keep configuration, log and databases in this folder.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Print the summary as JSON.
    #[arg(long)]
    pub json: bool,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    forestsync_runtime::config::parse_duration(text).ok_or_else(|| "no duration such as 30s or 10m".to_owned())
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("not between 0 and 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
