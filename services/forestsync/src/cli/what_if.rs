//! The options of `forestsync what-if`.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::ConfigArg;
use crate::history::moment;

/// Shown below the options.
pub const WHAT_IF_HELP: &str = "\
The recorded history is projected twice, day by day: by the rules in force and by those of the changed file. Where they
would have wished different things is shown by object and in counts, with the day on which the changed ones would have
deleted most. Nothing is written, no directory and no tenant is asked, and forestsync run may be at work.

Exit codes: 0 nothing would have been different, or no day passes --most-deletes; 4 otherwise.

Example, in a pipeline that guards the configuration:
  forestsync what-if -c contoso.toml --changed proposed.toml --since 2026-10-01 --most-deletes 10";

/// Options of `what-if`.
#[derive(Debug, Clone, Args)]
#[command(after_help = WHAT_IF_HELP)]
pub struct WhatIfArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The changed file.
    #[arg(long, value_name = "FILE")]
    pub changed: PathBuf,
    /// As if the changed file had come into force then: 2026-11-29T18:30:00Z, or a date, which begins in UTC; default: 30
    /// days ago.
    #[arg(long, value_name = "TIME", value_parser = moment::since)]
    pub since: Option<Timestamp>,
    /// Accept differences for as long as the changed file would not have deleted more objects than this on any day.
    #[arg(long, value_name = "COUNT")]
    pub most_deletes: Option<u64>,
    /// Show all objects; not just the first 20.
    #[arg(long)]
    pub all: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
