//! `forestsync audit`: questions about the history.
//!
//! Values of attributes are shown on stdout unless `--values hidden` says otherwise, because they are what is asked for; no
//! log line and no message on stderr ever holds one.

pub mod actor;
pub mod anchors;
pub mod attribute;
pub mod configuration;
pub mod lines;
pub mod object;
pub mod report;
pub mod scan;
pub mod table;
pub mod verify;
pub mod who_changed;

use anyhow::Result;

use crate::cli::AuditCommand;
use crate::exit::Exit;

/// Does what the command line says.
pub async fn audit(command: AuditCommand) -> Result<Exit> {
    match command {
        AuditCommand::Object(args) => Box::pin(object::object(args)).await,
        AuditCommand::Actor(args) => Box::pin(actor::actor(args)).await,
        AuditCommand::Attribute(args) => Box::pin(attribute::attribute(args)).await,
        AuditCommand::Configuration(args) => Box::pin(configuration::configuration(args)).await,
        AuditCommand::WhoChanged(args) => Box::pin(who_changed::who_changed(args)).await,
        AuditCommand::Report(args) => Box::pin(report::report(args)).await,
        AuditCommand::Verify(args) => verify::verify(args).await,
        AuditCommand::Anchors(args) => anchors::anchors(args).await,
    }
}
