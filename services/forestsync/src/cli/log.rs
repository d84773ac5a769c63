//! The options of `forestsync log`.

use clap::{Args, Subcommand};
use forestsync_runtime::clock;
use forestsync_runtime::config::parse_duration;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{ConfigArg, ReadArgs};
use crate::commands::log::place::Place;

/// The log commands.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// List the streams, and how far the services have read them.
    List(ReadArgs),
    /// Print events, one line each.
    #[command(after_help = "\
Examples:
  forestsync log tail -c contoso.toml changes.emea.emea.example
  forestsync log tail -c contoso.toml outcomes.contoso --from 0 --type ExportFailed
  forestsync log tail -c contoso.toml desired.contoso --from 0 --object AQEBAQEBAQEBAQEBAQEBAQ==
  forestsync log tail -c contoso.toml changes.emea.emea.example --follow --json --values")]
    Tail(TailArgs),
    /// Copy the whole history to another log, and verify it.
    #[command(after_help = "\
A place is
  embedded:DIR                         the log in a data folder: DIR is `data` of the configuration
  kafka:HOST:PORT[,...][?prefix=TEXT]  Kafka, in plain text and without an account
  file:FILE                            the log that a configuration file means: for TLS and accounts

Examples:
  forestsync log copy --from embedded:/srv/forestsync --to file:kafka.toml --dry-run
  forestsync log copy --from kafka:broker1:9092 --to embedded:/srv/copy --stream 'changes.*'

Offsets, times, keys and headers stay as they are, so the databases of the services stay valid.
Nothing may write to either log meanwhile. A copy that was interrupted goes on where it stopped
when it is started again; a target stream that holds anything else is refused.")]
    Copy(CopyArgs),
    /// Take old history out that nothing depends on any more; without --yes only show what would go.
    #[command(after_help = "\
What goes is gone for ever: from then on nobody can tell what an object was before TIME, only what it
is. What is still in force stays, at its offset and as it was written, so nothing has to be read or
computed anew, and audit verify goes on to hold; it tells of the gaps. Per kind of stream:
  changes.*   events that later ones about the same object supersede, since the last full read
  desired.*   revisions that a later one of the same object supersedes, whatever log.desired_history
  tenant.*    all but the last
  others      nothing: decisions, outcomes and control are what the state is made from
Only an embedded log can do it. Of one on Kafka make an embedded copy (forestsync log copy), compact
that, and copy it back under another log.prefix.

Examples:
  forestsync log compact -c contoso.toml --before 2025-01-01
  forestsync log compact -c contoso.toml --before 400d --stream 'changes.*' --yes")]
    Compact(CompactArgs),
    /// Print a digest of each stream: logs with the same digests hold the same events.
    Digest(DigestArgs),
}

/// Options of `log tail`.
#[derive(Debug, Clone, Args)]
pub struct TailArgs {
    /// The stream, as `log list` shows it.
    pub stream: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Go on with new events as they are appended, until SIGINT or SIGTERM.
    #[arg(long)]
    pub follow: bool,
    /// The first offset to look at; default: the last events (--last).
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// How many of the last events that match to start with.
    #[arg(long, alias = "lines", value_name = "N", default_value_t = 20, conflicts_with = "from")]
    pub last: u64,
    /// Only events of this type; may be given more than once.
    #[arg(long = "type", value_name = "T")]
    pub types: Vec<String>,
    /// Only events about this object, or about its memberships: objectGUID, source anchor, or the name that the event
    /// itself gives it; may be given more than once.
    #[arg(long = "object", value_name = "O")]
    pub objects: Vec<String>,
    /// Stop after this many events.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Print records whole, one JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// With --json: show attribute values, not just names. They are personal data.
    #[arg(long, requires = "json")]
    pub values: bool,
}

/// Options of `log compact`.
#[derive(Debug, Clone, Args)]
pub struct CompactArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// What was appended before may go: a time (2025-01-01T00:00:00Z), a day (UTC), or how long ago (400d).
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub before: Timestamp,
    /// Only streams of this name, in which * stands for any text; may be given more than once.
    #[arg(long = "stream", value_name = "PATTERN")]
    pub streams: Vec<String>,
    /// Do it.
    #[arg(long)]
    pub yes: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// A moment in the past.
fn parse_moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Ok(day) = text.parse::<Date>() {
        return day.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).map_err(|e| e.to_string());
    }
    let ago = parse_duration(text).and_then(|ago| clock::now().checked_sub(ago).ok());
    ago.ok_or_else(|| "it is no time (2025-01-01T00:00:00Z), no day (2025-01-01) and no duration (400d)".to_owned())
}

/// Options of `log copy`.
#[derive(Debug, Clone, Args)]
pub struct CopyArgs {
    /// The log to copy.
    #[arg(long, value_name = "PLACE")]
    pub from: Place,
    /// The log to copy it to; it may hold the beginning of a copy.
    #[arg(long, value_name = "PLACE")]
    pub to: Place,
    /// Only streams of this name, in which * stands for any text; may be given more than once.
    #[arg(long = "stream", value_name = "PATTERN")]
    pub streams: Vec<String>,
    /// Say what would be copied, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Copy although services are running on Kafka. What they write meanwhile may be missing.
    #[arg(long)]
    pub force: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `log digest`.
#[derive(Debug, Clone, Args)]
pub struct DigestArgs {
    /// The stream; default: all of them.
    pub stream: Option<String>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
