//! `forestsync status`.

use anyhow::Result;

use crate::cli::StatusArgs;
use crate::exit::Exit;
use crate::{config, output, status};

/// Shows what the log tells. Held or quarantined objects lead to [`Exit::Held`], a source that cannot be read to
/// [`Exit::Failed`].
pub async fn status(args: StatusArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log = settings.existing_log()?;
    let report = status::gather(log.as_ref(), &settings).await?;
    if args.json {
        output::json(&report.limited(if args.all { None } else { Some(status::LISTED) }))?;
    } else {
        output::text(&status::render(&report, args.all))?;
    }
    Ok(report.exit())
}
