//! A projection that is built beside the live one and takes its place as a whole.
//!
//! ```text
//!  DIR.next            being built          DIR.next.ready    it is whole, durable and verified
//!  DIR                 the live one         DIR.replaced      what it was, for as long as the exchange takes
//! ```
//!
//! - Whoever holds the lock of `DIR` makes the exchange: a projector that starts or is asked to, or the replay itself where
//!   none runs. `DIR` is moved to `DIR.replaced`, then `DIR.next` to `DIR`, then the rest is removed.
//! - Killed anywhere, the old one or the new one is there as a whole: while `DIR.next.ready` exists the next one who comes
//!   by goes on with the exchange, and without it nothing is exchanged.
//! - A replacement that is damaged, of another configuration or of another log is removed, and the live one stays.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forestsync_log::Log;
use serde::{Deserialize, Serialize};

use super::{Replay, Replayed, Result, Show, Snapshots, blocking, replay, snapshots, streams_of};
use crate::config::Plan;
use crate::rows::VERSION;
use crate::store::{self, Store};
use crate::{ProjectorConfig, ProjectorError, StoreError};

/// What stands in `DIR.next.ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Ready {
    /// The version of the rows.
    rows: u8,
    configuration: String,
    scope_digest: String,
    rules_digest: String,
    /// For each stream the offset of the next record.
    offsets: BTreeMap<String, u64>,
    /// Digests of the rows.
    state_digest: String,
    rest_digest: String,
}

/// What was built beside a live projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// What the replay came to.
    pub replayed: Replayed,
    /// Where it is.
    pub directory: PathBuf,
}

fn beside(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn next_of(directory: &Path) -> PathBuf {
    beside(directory, ".next")
}

fn ready_of(directory: &Path) -> PathBuf {
    beside(directory, ".next.ready")
}

fn replaced_of(directory: &Path) -> PathBuf {
    beside(directory, ".replaced")
}

/// Builds a projection of `config` beside the one in its directory, from the whole log, ready to take its place. The live
/// one may be at work meanwhile. [`StoreError::Locked`] where another replay is at it already.
pub async fn build(
    config: ProjectorConfig,
    log: Arc<dyn Log>,
    snapshots: Option<Snapshots>,
    show: Show<'_>,
) -> Result<Built> {
    let plan = Plan::new(config.clone())?;
    let live = config.directory.clone();
    let directory = next_of(&live);
    let building = blocking(&plan, {
        let (live, directory) = (live.clone(), directory.clone());
        move || {
            let building = store::lock(&beside(&live, ".replay"))?;
            // without the mark it is nobody's replacement any more
            remove_file(&ready_of(&live)).and_then(|()| snapshots::remove(&directory)).map_err(|e| io(&live, e))?;
            Ok(building)
        }
    })
    .await?;
    let options = Replay { snapshots, goes_on: true, ..Replay::default() };
    let replayed =
        Box::pin(replay(ProjectorConfig { directory: directory.clone(), ..config }, log, options, show)).await?;
    blocking(&plan, {
        let (plan, directory) = (plan.clone(), directory.clone());
        move || {
            // what is read back from the disk is what takes the place
            let ready = look(&plan, &directory)?;
            mark(&live, &ready).map_err(|e| io(&live, e))?;
            drop(building);
            Ok(())
        }
    })
    .await?;
    Ok(Built { replayed, directory })
}

/// Lets a replacement that is ready take the place of the projection of `config`. Returns whether one did.
/// [`StoreError::Locked`] while a projector has the live one: it does so when it starts or is asked to.
pub async fn swap(config: ProjectorConfig, log: &dyn Log) -> Result<bool> {
    let plan = Plan::new(config)?;
    take_up(&plan, log).await
}

/// Whether there is something to [`take_up`].
pub(crate) fn is_ready(directory: &Path) -> bool {
    ready_of(directory).exists()
}

/// [`swap`], for whoever knows the plan.
pub(crate) async fn take_up(plan: &Plan, log: &dyn Log) -> Result<bool> {
    let directory = &plan.config.directory;
    if ![ready_of(directory), replaced_of(directory), next_of(directory)].iter().any(|place| place.exists()) {
        return Ok(false);
    }
    let mut tails = BTreeMap::new();
    for stream in streams_of(&plan.config)?.into_iter().chain([plan.desired.clone()]) {
        let tail = log.tail(&stream).await?;
        tails.insert(stream.to_string(), tail);
    }
    let own = plan.clone();
    blocking(plan, move || exchange(&own, &tails)).await
}

fn exchange(plan: &Plan, tails: &BTreeMap<String, u64>) -> Result<bool> {
    let live = plan.config.directory.as_path();
    let (next, ready, replaced) = (next_of(live), ready_of(live), replaced_of(live));
    let failed = |error| io(live, error);
    // while another one is being built, the one before it is nobody's replacement any more
    let _building = match store::lock(&beside(live, ".replay")) {
        Err(StoreError::Locked(_)) => return Ok(false),
        lock => lock?,
    };
    let _lock = store::lock(live)?;
    if !ready.exists() {
        // what a replay left that was killed
        clear(&next);
        // the end of an exchange, or of one that was given up
        if live.exists() {
            clear(&replaced);
        } else if replaced.exists() {
            fs::rename(&replaced, live).map_err(failed)?;
        }
        return Ok(false);
    }
    if !next.exists() {
        // it stands in its place already
        finish(live).map_err(failed)?;
        return Ok(true);
    }
    if let Some(why) = unfit(plan, &next, &ready, tails)? {
        tracing::warn!(
            database = %next.display(), reason = %why,
            "what a replay has built is of no use and is removed; the projection stays as it is"
        );
        if !live.exists() && replaced.exists() {
            fs::rename(&replaced, live).map_err(failed)?;
        }
        remove_file(&ready).and_then(|()| snapshots::remove(&next)).map_err(failed)?;
        return Ok(false);
    }
    if live.exists() {
        snapshots::remove(&replaced).and_then(|()| fs::rename(live, &replaced)).map_err(failed)?;
    }
    fs::rename(&next, live).and_then(|()| sync_parent(live)).map_err(failed)?;
    finish(live).map_err(failed)?;
    tracing::info!(database = %live.display(), "the projection that a replay has built has taken the place of the live one");
    Ok(true)
}

/// Why a replacement cannot be used; `None` if it can.
fn unfit(plan: &Plan, next: &Path, ready: &Path, tails: &BTreeMap<String, u64>) -> Result<Option<String>> {
    let Ok(told) =
        fs::read(ready).map_err(|e| io(ready, e)).and_then(|text| Ok(serde_json::from_slice::<Ready>(&text)?))
    else {
        return Ok(Some("the mark that it is whole cannot be read".to_owned()));
    };
    if told.rows != VERSION {
        return Ok(Some("another version of forestsync built it".to_owned()));
    }
    if (&told.scope_digest, &told.rules_digest) != (&plan.scope_digest, &plan.rules_digest) {
        return Ok(Some("scope or rules have changed since".to_owned()));
    }
    match look(plan, next) {
        Ok(found) if found != told => return Ok(Some("it is not what was built".to_owned())),
        Ok(_) => {}
        Err(ProjectorError::Store(error @ StoreError::Damaged { .. })) => return Ok(Some(error.to_string())),
        Err(error) => return Err(error),
    }
    let ahead = told.offsets.iter().find(|(stream, offset)| tails.get(*stream).copied().unwrap_or(0) < **offset);
    Ok(ahead.map(|(stream, _)| format!("it has read further than stream {stream} goes: it belongs to another log")))
}

/// What is in a database; opening it compares its rows with their digests.
fn look(plan: &Plan, directory: &Path) -> Result<Ready> {
    let found = crate::projector::catch(directory, || Ok(Store::open(directory)?.meta()?.unwrap_or_default()))?;
    let mut offsets: BTreeMap<String, u64> =
        found.sources.values().map(|state| (state.stream.clone(), state.offset)).collect();
    offsets.insert(plan.decisions.to_string(), found.decisions);
    offsets.insert(plan.tenant.to_string(), found.tenant);
    offsets.insert(plan.desired.to_string(), found.desired);
    Ok(Ready {
        rows: VERSION,
        configuration: plan.config.configuration.clone(),
        scope_digest: found.scope_digest,
        rules_digest: found.rules_digest,
        offsets,
        state_digest: format!("{:032x}", found.state_digest),
        rest_digest: format!("{:032x}", found.rest_digest),
    })
}

/// Says durably that the replacement is whole.
fn mark(live: &Path, ready: &Ready) -> io::Result<()> {
    let (path, part) = (ready_of(live), beside(live, ".next.ready.part"));
    let mut file = File::create(&part)?;
    file.write_all(&serde_json::to_vec_pretty(ready)?)?;
    file.sync_all()?;
    fs::rename(part, path)?;
    sync_parent(live)
}

/// Ends an exchange: both directories stand where they belong.
fn finish(live: &Path) -> io::Result<()> {
    remove_file(&ready_of(live))?;
    sync_parent(live)?;
    clear(&replaced_of(live));
    remove_file(&beside(live, ".next.lock"))
}

/// Removes what nobody needs any more. What is left of it is removed by the next one who comes by.
fn clear(place: &Path) {
    if let Err(error) = snapshots::remove(place) {
        tracing::debug!(error = %error, database = %place.display(), "it cannot be removed now");
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn io(directory: &Path, source: io::Error) -> ProjectorError {
    StoreError::Io { directory: directory.to_owned(), source }.into()
}
