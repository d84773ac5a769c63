//! `forestsync activate`.

use std::sync::Arc;

use anyhow::Result;
use forestsync_log::Log;
use serde::Serialize;

use crate::cli::ActivateArgs;
use crate::exit::Exit;
use crate::{config, control, output};

/// What was said; the JSON of `activate --json`.
#[derive(Debug, Serialize)]
struct Activated {
    /// The configuration.
    configuration: String,
    /// Its revision in force.
    revision: u64,
}

/// Says in the log that this file is in force from now on. Doing it again with the same file changes nothing. One that was
/// removed comes into force only if that is asked for.
pub async fn activate(args: ActivateArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log: Arc<dyn Log> = match &settings.log {
        Some(log) => log.open(&settings.base)?,
        None => Arc::new(settings.embedded()?),
    };
    let revision = control::activate(log.as_ref(), &settings, args.again).await?;
    let activated = Activated { configuration: settings.configuration, revision };
    if args.json {
        output::json(&activated)?;
    } else {
        output::text(&format!("configuration {}: revision {revision} is in force\n", activated.configuration))?;
    }
    Ok(Exit::Done)
}
