//! `forestsync audit`: what happened, and the proof that it did.

pub mod anchors;
pub mod verify;

use anyhow::Result;

use crate::cli::AuditCommand;
use crate::exit::Exit;

/// Does what the command line says.
pub async fn audit(command: AuditCommand) -> Result<Exit> {
    match command {
        AuditCommand::Verify(args) => verify::verify(args).await,
        AuditCommand::Anchors(args) => anchors::anchors(args).await,
    }
}
