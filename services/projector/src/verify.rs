//! Building a projection a second time, to see whether it comes out the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use forestsync_log::{Log, Record, StreamName};
use tokio::task::spawn_blocking;

use crate::config::Plan;
use crate::digest::StateDigest;
use crate::engine::Engine;
use crate::projector::MAX_RECORDS;
use crate::store::Store;
use crate::{ProjectorConfig, ProjectorError, StoreError};

type Result<T> = std::result::Result<T, ProjectorError>;

/// Builds the projection in the empty directory of `config` from offset 0 of every stream up to (and without) the
/// offsets of `stop_at`, and returns its digest. Streams that are not in `stop_at` are read to their end. Writes nothing
/// to the log: decisions are read, and where one is missing the same choice is made without writing it down.
pub async fn rebuild(
    config: ProjectorConfig,
    log: Arc<dyn Log>,
    stop_at: &BTreeMap<StreamName, u64>,
) -> Result<StateDigest> {
    let plan = Plan::new(config)?;
    let streams = plan.clone();
    let mut engine = blocking(&plan, {
        let plan = plan.clone();
        move || Engine::open(plan, None)
    })
    .await?;
    let own = (None, streams.decisions.clone());
    let sources = streams.sources.iter().map(|source| (Some(source.id), source.config.stream.clone()));
    for (source, stream) in std::iter::once(own).chain(sources) {
        let until = match stop_at.get(&stream) {
            Some(until) => *until,
            None => log.tail(&stream).await?,
        };
        let mut reader = log.reader(&stream, 0).await?;
        loop {
            let mut records: Vec<Record> = reader.poll(MAX_RECORDS).await?;
            records.retain(|record| record.offset < until);
            if records.is_empty() {
                break;
            }
            let stream = stream.clone();
            engine = blocking(&plan, move || {
                match source {
                    Some(source) => engine.apply(source, &records)?,
                    None => engine.fold(&stream, &records)?,
                }
                Ok(engine)
            })
            .await?;
        }
    }
    blocking(&plan, move || {
        engine.settle()?;
        engine.flush()?;
        settled(&engine).map(|(digest, _)| digest)
    })
    .await
}

async fn blocking<T: Send + 'static>(plan: &Plan, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let directory = plan.config.directory.clone();
    let done = spawn_blocking(move || crate::projector::catch(&directory, work)).await;
    done.unwrap_or_else(|_| Err(ProjectorError::Ended(plan.config.configuration.clone())))
}

fn settled(engine: &Engine) -> Result<(StateDigest, BTreeMap<StreamName, u64>)> {
    if !engine.is_settled()? {
        return Err(StoreError::Unsettled(engine.plan.config.directory.clone()).into());
    }
    let plan = &engine.plan;
    let mut offsets = BTreeMap::from([(plan.decisions.clone(), engine.meta.decisions)]);
    for source in &plan.sources {
        let offset = engine.meta.sources.get(&source.id).map_or(0, |state| state.offset);
        offsets.insert(source.config.stream.clone(), offset);
    }
    Ok((StateDigest(engine.meta.state_digest), offsets))
}

/// The digest of a projection that is not running, and the offsets it was computed at: those of every `changes` stream
/// and of `decisions`. [`StoreError::Unsettled`] if work is left, such as an answer that is only in part in the stream.
///
/// Blocks; call it where that is allowed. Changes nothing in the database.
pub fn read_digest(config: &ProjectorConfig) -> Result<(StateDigest, BTreeMap<StreamName, u64>)> {
    let plan = Plan::new(config.clone())?;
    if !Path::new(&config.directory).exists() {
        return Err(StoreError::Missing(config.directory.clone()).into());
    }
    let store = Store::open(&config.directory)?;
    let meta = store.meta()?.unwrap_or_default();
    if meta.scope_digest != plan.scope_digest || meta.rules_digest != plan.rules_digest {
        return Err(StoreError::Unsettled(config.directory.clone()).into());
    }
    let engine = Engine::inspect(plan, store, meta);
    settled(&engine)
}
