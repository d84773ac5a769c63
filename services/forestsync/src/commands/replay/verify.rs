//! `forestsync replay --verify`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use forestsync_log::Log;
use forestsync_projector::{Difference, Differences, ProjectorConfig, ProjectorError, Replay};
use serde::Serialize;

use super::{PREFIX, computed, named};
use crate::cli::ReplayArgs;
use crate::config::Settings;
use crate::exit::{Exit, UsageError};
use crate::instance::Instance;
use crate::output;
use crate::pipeline::projector_config_from_log;

/// Rows that are listed; the others are counted.
const MAX_ROWS: usize = 100;

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
    offsets: BTreeMap<String, u64>,
    /// The rows that differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<Differences>,
}

/// Computes as far as the live projection has come, and compares their digests.
pub(super) async fn verify(settings: &Settings, args: &ReplayArgs) -> Result<Exit> {
    let data = args.data.as_deref();
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
    let comparison = Box::pin(compare(live, folder.path(), log, args.values)).await?;
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
        if let Some(differences) = &comparison.differences {
            output::text(&listed(differences))?;
            output::note("hint: forestsync replay computes it anew and puts it in the place of the live one");
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

async fn compare(live: ProjectorConfig, folder: &Path, log: Arc<dyn Log>, values: bool) -> Result<Comparison> {
    let config = live.clone();
    let read = tokio::task::spawn_blocking(move || forestsync_projector::read_digest_of(&config)).await?;
    if let Err(error @ ProjectorError::OtherConfiguration(_)) = &read {
        return Err(UsageError::new(error.to_string(), "start forestsync run, or name the file it ran with").into());
    }
    let (digest, offsets) = read.context("the live projection")?;
    let beside: PathBuf = folder.join("projector");
    let config = ProjectorConfig { directory: beside.clone(), ..live.clone() };
    // from offset 0: a snapshot is no witness of itself
    let options = Replay { until: offsets.clone(), ..Replay::default() };
    let replayed = Box::pin(computed(config, log, options)).await?;
    let agrees = replayed.digest == Some(digest);
    let differences = if agrees {
        None
    } else {
        let rows = move || forestsync_projector::compare(&live, &beside, MAX_ROWS, values);
        Some(tokio::task::spawn_blocking(rows).await?.context("the comparison of rows")?)
    };
    Ok(Comparison {
        agrees,
        live: digest.to_string(),
        replayed: replayed.digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string()),
        offsets: named(&offsets),
        differences,
    })
}

/// The rows that differ, one a line.
fn listed(differences: &Differences) -> String {
    let line = |row: &Difference| {
        let name = row.name.as_deref().map(|name| format!("{} ", output::printable(name))).unwrap_or_default();
        let differs = row.differs.iter().map(|text| output::printable(text)).collect::<Vec<_>>().join("; ");
        format!("  {} {name}({}): {differs}\n", row.kind, row.object)
    };
    let mut text = differences.rows.iter().map(line).collect::<Vec<_>>().concat();
    let more = differences.count.saturating_sub(differences.rows.len() as u64);
    if more > 0 {
        text += "  and ";
        text += &output::count(more, "row");
        text += " more\n";
    }
    text
}
