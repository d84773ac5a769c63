//! `forestsync audit anchors`.

use anyhow::Result;
use forestsync_log::chain::Anchor;

use crate::cli::AnchorsArgs;
use crate::commands::log::our_streams;
use crate::exit::Exit;
use crate::{config, output};

/// Prints the anchors of all streams, or appends them to a file.
pub async fn anchors(args: AnchorsArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log = settings.existing_log()?;
    let streams = our_streams(log.as_ref()).await?;
    let anchors = Anchor::of(log.as_ref(), &streams).await?;
    let Some(path) = args.out else {
        for anchor in &anchors {
            if !output::line(&serde_json::to_string(anchor)?)? {
                break;
            }
        }
        return Ok(Exit::Done);
    };
    let (count, without) = (anchors.len(), streams.len() - anchors.len());
    let shown = path.display().to_string();
    tokio::task::spawn_blocking(move || Anchor::append(&path, &anchors)).await??;
    let without =
        if without == 0 { String::new() } else { format!("; {without} streams have no chain yet, and no anchor") };
    output::note(&format!("appended {count} anchors to {shown}{without}"));
    Ok(Exit::Done)
}
