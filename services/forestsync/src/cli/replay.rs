//! Options of `replay`.

use std::path::PathBuf;

use clap::Args;

use super::ConfigArg;

/// Options of `replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Leave the database in this folder, which must be empty or new, and the live one as it is. Other commands take it
    /// with --data.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["verify", "digest"])]
    pub into: Option<PathBuf>,
    /// Stop there, instead of at the end of the streams: before an offset, as STREAM=OFFSET and more than once for more
    /// than one stream; or at a time, such as 2026-03-01 (its beginning, UTC) or 2026-03-01T14:30:00Z.
    #[arg(long, value_name = "OFFSET|TIME", conflicts_with = "verify")]
    pub to: Vec<String>,
    /// Compare the live database with one computed anew from offset 0, list the rows that differ, and change nothing.
    #[arg(long)]
    pub verify: bool,
    /// Compute it anew and print its digest, and keep nothing. A projector that has read as far has the same.
    #[arg(long, conflicts_with = "verify")]
    pub digest: bool,
    /// The folder of the live database; default: the one that `forestsync run` uses.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["digest", "into"])]
    pub data: Option<PathBuf>,
    /// With --verify: show the values that differ, too.
    #[arg(long, requires = "verify")]
    pub values: bool,
    /// Keep a snapshot of the projection about every N records, to begin with the next time; 0: none, and use none.
    #[arg(long, value_name = "N", default_value_t = forestsync_projector::DEFAULT_EVERY, conflicts_with = "verify")]
    pub snapshot_every: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
