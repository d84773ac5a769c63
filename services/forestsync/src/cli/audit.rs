//! The options of `forestsync audit`.

use clap::Subcommand;

use super::chain::{AnchorsArgs, VerifyArgs};

/// The audit commands.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Prove that the history is what was written: check the hash chain of every stream.
    #[command(after_help = super::chain::VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Write down what the hash chains say now, to be kept elsewhere.
    #[command(after_help = super::chain::ANCHORS_HELP)]
    Anchors(AnchorsArgs),
}
