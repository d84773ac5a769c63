//! `forestsync replay`: the projection, computed anew from the log.

mod goal;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use forestsync_log::{Log, StreamName};
use forestsync_projector::{
    ProjectorConfig, ProjectorError, Replay, Replayed, Snapshots, Step, StoreError, ask_to_take_up, build, swap,
};
use forestsync_runtime::shutdown;
use serde::Serialize;

use crate::cli::ReplayArgs;
use crate::config::Settings;
use crate::exit::{Exit, UsageError};
use crate::instance::{Instance, InstanceError};
use crate::pipeline::projector_config_from_log;
use crate::progress::Counter;
use crate::{config, output};

/// What the names of folders begin with in which a replay works.
const PREFIX: &str = "replay-";

/// What became of the live projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    /// Nobody was at work, and the new one stands in its place.
    Taken,
    /// The process at work goes on with the new one.
    TakenByRun,
    /// Whoever starts next begins with the new one.
    AtNextStart,
}

/// What was computed; the JSON of `replay`.
#[derive(Debug, Serialize)]
struct Computed {
    /// The digest; none where a stream stops in the middle of an answer.
    digest: Option<String>,
    /// For each stream the offset before which it stopped.
    offsets: BTreeMap<String, u64>,
    /// Records that were read, and those that came from a snapshot.
    records: u64,
    from_snapshot: u64,
    /// Streams that stop in the middle of an answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open: Vec<String>,
    /// Where the database is, if it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<PathBuf>,
    /// What became of the live one, if it was to be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
}

impl Computed {
    fn of(replayed: &Replayed, directory: Option<PathBuf>, place: Option<Place>) -> Self {
        Self {
            digest: replayed.digest.map(|digest| digest.to_string()),
            offsets: named(&replayed.offsets),
            records: replayed.records,
            from_snapshot: replayed.skipped,
            open: replayed.open.iter().map(ToString::to_string).collect(),
            directory,
            place,
        }
    }

    fn show(&self, json: bool) -> Result<()> {
        if json {
            return output::json(self);
        }
        output::text(&format!("{}\n", self.digest.as_deref().unwrap_or("no digest")))?;
        for (stream, offset) in &self.offsets {
            output::note(&format!("  {stream} up to {offset}"));
        }
        for stream in &self.open {
            output::note(&format!(
                "stream {stream} stops in the middle of an answer of its directory: what is wished of it cannot be told in \
                 full, and there is no digest; a time instead of an offset stops at the end of an answer"
            ));
        }
        if self.from_snapshot > 0 {
            output::note(&format!(
                "{} came from a snapshot of the projection, {} were read",
                output::count(self.from_snapshot, "record"),
                self.records
            ));
        }
        if let Some(directory) = &self.directory {
            output::note(&format!("the database is in {}", directory.display()));
        }
        let said = match self.place {
            Some(Place::Taken) => "it has taken the place of the live one; forestsync run goes on with it",
            Some(Place::TakenByRun) => "forestsync run goes on with it; the one it worked with is removed",
            Some(Place::AtNextStart) => {
                "forestsync run works on with the old one, for it did not answer; the new one is whole, and takes its place \
                 when it starts next"
            }
            None => return Ok(()),
        };
        output::note(said);
        Ok(())
    }
}

fn named(offsets: &BTreeMap<StreamName, u64>) -> BTreeMap<String, u64> {
    offsets.iter().map(|(stream, offset)| (stream.to_string(), *offset)).collect()
}

/// Computes the projection anew, and does with it what the arguments say.
pub async fn replay(args: ReplayArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let shutdown = shutdown::on_signals()?;
    let work = async {
        if args.verify {
            verify::verify(&settings, &args).await
        } else if args.digest || args.into.is_some() {
            aside(&settings, &args).await
        } else if args.to.is_empty() {
            renew(&settings, &args).await
        } else {
            let hint = "add --into DIR to keep it, or --digest to see its digest";
            Err(UsageError::new("a moment of the past does not take the place of the live projection", hint).into())
        }
    };
    tokio::select! {
        exit = Box::pin(work) => exit,
        () = shutdown.stop.cancelled() => {
            output::note(if args.verify {
                "stopped by a signal; nothing was compared"
            } else {
                "stopped by a signal; the live projection stays as it is"
            });
            Ok(Exit::Failed)
        }
    }
}

/// The snapshots of a data folder that is there.
fn snapshots(settings: &Settings, every: u64) -> Option<Snapshots> {
    (every > 0 && settings.data.is_dir()).then(|| Snapshots::new(settings.snapshots_dir(), every))
}

/// Computes it in a folder of its own: the one that was named, or one that is removed afterwards.
async fn aside(settings: &Settings, args: &ReplayArgs) -> Result<Exit> {
    let (directory, _folder) = if let Some(into) = &args.into {
        refuse_used(into)?;
        (into.clone(), None)
    } else {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        (folder.path().join("projector"), Some(folder))
    };
    let log = settings.existing_log()?;
    let config = projector_config_from_log(settings, log.as_ref()).await?;
    let config = ProjectorConfig { directory, ..config };
    let until = goal::offsets(&args.to, &config, log.as_ref()).await?;
    let options = Replay { until, snapshots: snapshots(settings, args.snapshot_every), goes_on: false };
    let replayed = computed(config, log, options).await?;
    Computed::of(&replayed, args.into.clone(), None).show(args.json)?;
    Ok(Exit::Done)
}

fn refuse_used(directory: &Path) -> Result<()> {
    let is_used = match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("--into {}", directory.display())),
    };
    if is_used {
        let message = format!("--into {} is not empty", directory.display());
        return Err(UsageError::new(message, "name a folder that is empty or new").into());
    }
    Ok(())
}

async fn computed(config: ProjectorConfig, log: Arc<dyn Log>, options: Replay) -> Result<Replayed> {
    let mut shown = Shown::default();
    let mut show = |step| shown.show(&step);
    Box::pin(forestsync_projector::replay(config, log, options, &mut show)).await.context("the replay")
}

/// Computes it beside the live one, and lets it take the place of that.
async fn renew(settings: &Settings, args: &ReplayArgs) -> Result<Exit> {
    let log = settings.existing_log()?;
    let found = projector_config_from_log(settings, log.as_ref()).await?;
    let directory = args.data.clone().unwrap_or_else(|| found.directory.clone());
    let config = ProjectorConfig { directory, ..found };
    let snapshots = snapshots(settings, args.snapshot_every);
    let mut shown = Shown::default();
    let built = Box::pin(build(config.clone(), Arc::clone(&log), snapshots, &mut |step| shown.show(&step))).await;
    drop(shown);
    let built = built.context("the replay")?;
    let is_own = args.data.is_none() && settings.log.is_none();
    let place = exchange(is_own.then_some(settings.data.as_path()), config, log.as_ref()).await?;
    Computed::of(&built.replayed, None, Some(place)).show(args.json)?;
    Ok(Exit::Done)
}

/// Lets what was built take the place of the live one: by whoever is at work with that, else by this process. `data` is the
/// folder that `run` has to itself.
async fn exchange(data: Option<&Path>, config: ProjectorConfig, log: &dyn Log) -> Result<Place> {
    match ask_to_take_up(&config.directory).await {
        Some(true) => return Ok(Place::TakenByRun),
        Some(false) => bail!("what was built is not what forestsync run can go on with; its log says why"),
        None => {}
    }
    let instance = match data.map(Instance::take) {
        // it has just started, or has no time to answer
        Some(Err(InstanceError::Running { .. })) => return Ok(Place::AtNextStart),
        Some(taken) => Some(taken?),
        None => None,
    };
    let swapped = swap(config, log).await;
    drop(instance);
    match swapped {
        Ok(true) => Ok(Place::Taken),
        Ok(false) => bail!("what was built was taken by another process or is of no use; the log above says which"),
        Err(ProjectorError::Store(StoreError::Locked(_))) => Ok(Place::AtNextStart),
        Err(error) => Err(error.into()),
    }
}

/// The progress of a replay.
#[derive(Debug, Default)]
struct Shown {
    counter: Option<Counter>,
    done: u64,
}

impl Shown {
    fn show(&mut self, step: &Step) {
        match step {
            Step::Began { records } => {
                output::note(&format!("beginning with a snapshot of {}", output::count(*records, "record")));
            }
            Step::Read { done, total } => {
                let counter = self.counter.get_or_insert_with(|| Counter::new("replaying".to_owned(), *total));
                counter.reached(*done, done.saturating_sub(self.done));
                self.done = *done;
            }
            Step::Wishes { wished, objects } => {
                if let Some(counter) = &mut self.counter {
                    counter.ends_with(&format!("{wished} wishes of {}", output::count(*objects, "object")));
                }
            }
        }
    }
}
