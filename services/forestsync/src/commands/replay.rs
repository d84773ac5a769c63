//! `forestsync replay --verify` and `forestsync replay --digest`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use forestsync_log::{Log, StreamName};
use forestsync_projector::{ProjectorConfig, ProjectorError};
use forestsync_runtime::shutdown;
use forestsync_schemas::streams;
use serde::Serialize;

use crate::cli::ReplayArgs;
use crate::config::Settings;
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

/// What was computed; the JSON of `replay --digest --json`.
#[derive(Debug, Serialize)]
struct Computed {
    /// The digest.
    digest: String,
    /// For each stream the offset up to which it was computed.
    offsets: std::collections::BTreeMap<String, u64>,
}

/// Computes the projection anew from offset 0. Changes nothing: the new database is made in a folder of its own and
/// removed afterwards.
pub async fn replay(args: ReplayArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let shutdown = shutdown::on_signals()?;
    let work = async {
        if args.digest {
            digest(&settings, args.json).await
        } else {
            verify(&settings, args.data.as_deref(), args.json).await
        }
    };
    tokio::select! {
        exit = Box::pin(work) => exit,
        () = shutdown.stop.cancelled() => {
            output::note("stopped by a signal; nothing was compared");
            Ok(Exit::Failed)
        }
    }
}

/// Computes up to the end of the streams.
async fn digest(settings: &Settings, json: bool) -> Result<Exit> {
    let log = settings.existing_log()?;
    let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
    let config = projector_config_from_log(settings, log.as_ref()).await?;
    let config = ProjectorConfig { directory: folder.path().join("projector"), ..config };
    let mut offsets = std::collections::BTreeMap::new();
    let own: StreamName = streams::decisions(&settings.configuration).parse()?;
    for stream in config.sources.iter().map(|source| &source.stream).chain([&own]) {
        offsets.insert(stream.clone(), log.tail(stream).await?);
    }
    let rebuilt = Box::pin(forestsync_projector::rebuild(config, log, offsets.clone())).await.context("the replay")?;
    let offsets = offsets.into_iter().map(|(stream, offset)| (stream.to_string(), offset)).collect();
    let computed = Computed { digest: rebuilt.to_string(), offsets };
    if json {
        output::json(&computed)?;
    } else {
        output::text(&format!("{}\n", computed.digest))?;
        for (stream, offset) in &computed.offsets {
            output::note(&format!("  {stream} up to {offset}"));
        }
    }
    Ok(Exit::Done)
}

/// Computes as far as the live projection has come, and compares their digests.
async fn verify(settings: &Settings, data: Option<&Path>, json: bool) -> Result<Exit> {
    let directory = data.map_or_else(|| settings.projector_dir(), Path::to_owned);
    if !directory.exists() {
        let message = format!("there is no projection in {}", directory.display());
        let hint =
            if data.is_none() { "start forestsync run first" } else { "name the folder of a projector's database" };
        return Err(UsageError::new(message, hint).into());
    }
    // the live database has one user at a time
    let instance = match (data, &settings.log) {
        (None, None) => Some(Instance::take(&settings.data)?),
        _ => None,
    };
    let log = settings.existing_log()?;
    let live = projector_config_from_log(settings, log.as_ref()).await?;
    let live = ProjectorConfig { directory, ..live };
    let folder = if instance.is_some() {
        remove_leftovers(&settings.data)?;
        tempfile::Builder::new().prefix(PREFIX).tempdir_in(&settings.data)?
    } else {
        tempfile::Builder::new().prefix(PREFIX).tempdir()?
    };
    let comparison = Box::pin(compare(live, folder.path(), log)).await?;
    if json {
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
