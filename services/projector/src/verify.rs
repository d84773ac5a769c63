//! Building a projection a second time, to see whether it comes out the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use forestsync_log::{Log, StreamName};

use crate::config::Plan;
use crate::digest::StateDigest;
use crate::keys;
use crate::replay::{Replay, replay};
use crate::rows::Meta;
use crate::store::Store;
use crate::{PlanError, ProjectorConfig, ProjectorError, StoreError};

type Result<T> = std::result::Result<T, ProjectorError>;

/// Builds the projection in the empty directory of `config` from offset 0 of every stream up to (and without) the
/// offsets of `stop_at`, and returns its digest. Streams that are not in `stop_at` are read to their end. Writes nothing
/// to the log. [`StoreError::Unsettled`] where a stream stops in the middle of an answer.
pub async fn rebuild(
    config: ProjectorConfig,
    log: Arc<dyn Log>,
    stop_at: BTreeMap<StreamName, u64>,
) -> Result<StateDigest> {
    let directory = config.directory.clone();
    let options = Replay { until: stop_at, ..Replay::default() };
    let replayed = Box::pin(replay(config, log, options, &mut |_| {})).await?;
    Ok(replayed.digest.ok_or(StoreError::Unsettled(directory))?)
}

/// The digest of a database, where it means something.
pub(crate) fn settled(
    store: &Store,
    meta: &Meta,
    directory: &Path,
) -> Result<(StateDigest, BTreeMap<StreamName, u64>)> {
    let unsettled = || StoreError::Unsettled(directory.to_owned());
    for prefix in [keys::WORK, keys::DIRTY, keys::DIRTY_LINK] {
        if let Some(row) = store.scan(&[prefix], None).next() {
            row?;
            return Err(unsettled().into());
        }
    }
    if !meta.swept && meta.sources.values().all(|state| state.first_done) {
        return Err(unsettled().into());
    }
    let name = |text: &str| text.parse::<StreamName>().map_err(PlanError::from);
    let mut offsets = BTreeMap::from([(name(&meta.decisions_stream)?, meta.decisions)]);
    if let Some(configuration) = meta.decisions_stream.strip_prefix("decisions.") {
        offsets.insert(name(&forestsync_schemas::streams::tenant(configuration))?, meta.tenant);
    }
    for state in meta.sources.values() {
        offsets.insert(name(&state.stream)?, state.offset);
    }
    Ok((StateDigest(meta.state_digest), offsets))
}

/// The digest of a projection that is not running, and the offsets it was computed at: those of every `changes` stream
/// and of `decisions`. [`StoreError::Unsettled`] if work is left, such as an answer that is only in part in the stream.
///
/// Blocks for as long as it takes to read the database once; call it where that is allowed. Changes nothing in it.
pub fn read_digest(directory: &Path) -> Result<(StateDigest, BTreeMap<StreamName, u64>)> {
    with_meta(directory, |store, meta| settled(store, meta, directory))
}

/// [`read_digest`] for a comparison with what [`rebuild`] makes of `config`:
/// [`ProjectorError::OtherConfiguration`] if the database was built with another one, because the digests of both differ.
pub fn read_digest_of(config: &ProjectorConfig) -> Result<(StateDigest, BTreeMap<StreamName, u64>)> {
    let (plan, directory) = (Plan::new(config.clone())?, config.directory.as_path());
    with_meta(directory, |store, meta| {
        if (&meta.scope_digest, &meta.rules_digest) != (&plan.scope_digest, &plan.rules_digest) {
            return Err(ProjectorError::OtherConfiguration(directory.to_owned()));
        }
        settled(store, meta, directory)
    })
}

fn with_meta<T>(directory: &Path, read: impl FnOnce(&Store, &Meta) -> Result<T>) -> Result<T> {
    if !directory.exists() {
        return Err(StoreError::Missing(directory.to_owned()).into());
    }
    crate::projector::catch(directory, || {
        let store = Store::open(directory)?;
        let meta = store.meta()?.ok_or_else(|| StoreError::Missing(directory.to_owned()))?;
        read(&store, &meta)
    })
}
