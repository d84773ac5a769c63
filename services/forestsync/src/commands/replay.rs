//! `forestsync replay --verify`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use forestsync_log::{EmbeddedLog, Log};
use forestsync_projector::{ProjectorConfig, ProjectorError};
use forestsync_runtime::shutdown;
use serde::Serialize;

use crate::cli::ReplayArgs;
use crate::exit::{Exit, UsageError};
use crate::instance::Instance;
use crate::pipeline::projector_config_from_log;
use crate::{config, output};

/// What the names of folders begin with in which a replay works.
const PREFIX: &str = "replay-";

/// What the comparison found; the JSON of `replay --verify --json`.
#[derive(Debug, Serialize)]
struct Comparison {
    /// Whether both digests are the same.
    agrees: bool,
    /// Digest of the database that `run` works with.
    live: String,
    /// Digest of the one computed anew.
    replayed: String,
    /// For each stream the offset up to which both were computed.
    offsets: std::collections::BTreeMap<String, u64>,
}

/// Computes the projection anew from offset 0, as far as the live one has come, and compares their digests. Changes
/// nothing: the new database is made in a folder beside the live one and removed afterwards.
pub async fn replay(args: ReplayArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    if !settings.projector_dir().exists() {
        let message = format!("there is no projection in {}", settings.projector_dir().display());
        return Err(UsageError::new(message, "start forestsync run first").into());
    }
    // the live database has one user at a time
    let _instance = Instance::take(&settings.data)?;
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(settings.log_dir())?);
    let live = projector_config_from_log(&settings, log.as_ref()).await?;
    remove_leftovers(&settings.data)?;
    let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&settings.data)?;
    let shutdown = shutdown::on_signals()?;
    let comparison = tokio::select! {
        comparison = Box::pin(compare(live, folder.path(), log)) => comparison?,
        () = shutdown.stop.cancelled() => {
            output::note("stopped by a signal; nothing was compared");
            return Ok(Exit::Failed);
        }
    };
    if args.json {
        output::json(&comparison)?;
    } else {
        let verdict = if comparison.agrees { "the replay agrees" } else { "the replay DIFFERS" };
        let events: u64 = comparison.offsets.values().sum();
        output::text(&format!(
            "{verdict}: {} computed anew\n  live      {}\n  replayed  {}\n",
            output::count(events, "event"),
            comparison.live,
            comparison.replayed
        ))?;
        if !comparison.agrees {
            output::note(
                "hint: stop forestsync, move the projector folder aside and start again: it is rebuilt from the log",
            );
        }
    }
    Ok(if comparison.agrees { Exit::Done } else { Exit::Differs })
}

/// Removes what a replay left that was killed. The caller holds the data folder.
fn remove_leftovers(data: &Path) -> Result<()> {
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)) {
            std::fs::remove_dir_all(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

async fn compare(live: ProjectorConfig, folder: &Path, log: Arc<dyn Log>) -> Result<Comparison> {
    let config = live.clone();
    let read = tokio::task::spawn_blocking(move || forestsync_projector::read_digest_of(&config)).await?;
    if let Err(error @ ProjectorError::OtherConfiguration(_)) = &read {
        return Err(UsageError::new(error.to_string(), "start forestsync run, or name the file it ran with").into());
    }
    let (digest, offsets) = read.context("the live projection")?;
    let beside = ProjectorConfig { directory: folder.join("projector"), ..live };
    let replayed = Box::pin(forestsync_projector::rebuild(beside, log, offsets.clone())).await.context("the replay")?;
    Ok(Comparison {
        agrees: digest == replayed,
        live: digest.to_string(),
        replayed: replayed.to_string(),
        offsets: offsets.into_iter().map(|(stream, offset)| (stream.to_string(), offset)).collect(),
    })
}
