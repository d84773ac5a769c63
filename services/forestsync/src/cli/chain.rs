//! The options of `forestsync audit verify` and `forestsync audit anchors`.

use std::path::PathBuf;

use clap::Args;

use super::ConfigArg;

/// What is said below the options of `audit verify`.
pub const VERIFY_HELP: &str = "\
All streams are checked, each up to the first record that is not proved; exit code 4 if there is one.
What a chain cannot show by itself is that its end was cut off, or that all of it was written anew:
for that give the anchors that were kept elsewhere (forestsync audit anchors, [audit] in the file).

Examples:
  forestsync audit verify -c contoso.toml
  forestsync audit verify -c contoso.toml --anchors /mnt/evidence/contoso.jsonl
  forestsync audit verify -c contoso.toml --stream 'changes.*' --json";

/// What is said below the options of `audit anchors`.
pub const ANCHORS_HELP: &str = "\
An anchor is a line of JSON: a stream, the offset of its last record, the value of its hash chain there,
the time. Kept where whoever can write the log cannot write, it proves everything up to that offset.
[audit] in the configuration does the same on a schedule, to a file or to an endpoint.

Examples:
  forestsync audit anchors -c contoso.toml --out /mnt/evidence/contoso.jsonl
  forestsync audit anchors -c contoso.toml | ssh evidence 'cat >> contoso.jsonl'";

/// Options of `audit verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Anchors that were kept, one JSON object a line; may be given more than once.
    #[arg(long, value_name = "FILE")]
    pub anchors: Vec<PathBuf>,
    /// Only streams of this name, with * for any text; may be given more than once.
    #[arg(long = "stream", value_name = "NAME")]
    pub streams: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `audit anchors`.
#[derive(Debug, Clone, Args)]
pub struct AnchorsArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArg,
    /// Append them to this file; else they are printed.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}
