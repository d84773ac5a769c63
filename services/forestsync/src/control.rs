//! `control.<configuration>`: saying in the log which configuration is in force, and what was decided.

use anyhow::{Context as _, Result};
use forestsync_domain::SourceAnchor;
use forestsync_log::{Log, NewRecord, StreamName};
pub use forestsync_projector::activation::{InForce, Removal, in_force};
use forestsync_runtime::clock;
use forestsync_schemas::control::{
    ConfigurationActivated, ConfigurationRemoved, ControlContext, ControlEvent, DecidedWrite, HeldDecided,
    RemovedObjects, SourceDecided, Verdict,
};
use forestsync_schemas::{ControlRecord, EventBody as _, EventId, streams};
use jiff::Timestamp;

use crate::config::Settings;
use crate::exit::UsageError;
use crate::status::seconds;

/// Writes that one event decides about, and objects that one lists.
const DECIDED: usize = 1_000;

/// Refuses a configuration that was removed: it does not come back by itself.
pub fn refuse_removed(in_force: Option<&InForce>, configuration: &str) -> Result<(), UsageError> {
    let Some(removal) = in_force.and_then(|in_force| in_force.removed.as_ref()) else { return Ok(()) };
    let Removal { objects, actor, reason, time } = removal;
    let message = format!(
        "configuration {configuration} was removed by {actor} on {} (objects: {}): {reason}",
        seconds(&time.to_string()),
        objects.as_str(),
    );
    let hint = "forestsync activate --again puts it into force anew: what was released is taken up again by its source \
                anchor, and what was deleted is restored where the tenant still has it, else made anew";
    Err(UsageError::new(message, hint))
}

/// Refuses a file that is not the one that was in force: the removal is of what that one says.
pub fn refuse_changed(in_force: &InForce, settings: &Settings) -> Result<(), UsageError> {
    if in_force.activated.digest == settings.digest {
        return Ok(());
    }
    let message = format!("{} is not the file that is in force, or was when it was removed", settings.path.display());
    let hint = "put that one back, or put this one into force first by forestsync activate";
    Err(UsageError::new(message, hint))
}

/// What is in force by the log.
pub async fn now(log: &dyn Log, configuration: &str) -> Result<Option<InForce>> {
    Ok(in_force(log, &streams::control(configuration).parse()?).await?)
}

/// Appends `ConfigurationActivated` if the document is not the one in force already. Returns its revision. A configuration
/// that was removed is refused unless it is to come into force `again`.
pub async fn activate(log: &dyn Log, settings: &Settings, again: bool) -> Result<u64> {
    let stream: StreamName = streams::control(&settings.configuration).parse()?;
    // the writer first: what is read afterwards cannot change under us
    let mut writer = log.writer(&stream).await.context("while saying which configuration is in force")?;
    let last = in_force(log, &stream).await?;
    if !again {
        refuse_removed(last.as_ref(), &settings.configuration)?;
    }
    if let Some(InForce { activated, removed: None }) = &last
        && activated.digest == settings.digest
    {
        return Ok(activated.revision);
    }
    let revision = last.map_or(1, |last| last.activated.revision + 1);
    let event =
        ConfigurationActivated { revision, digest: settings.digest.clone(), document: settings.document.clone() };
    let parts = [stream.as_str(), "ConfigurationActivated", &revision.to_string(), &settings.digest];
    let record = ControlRecord {
        id: EventId::of(parts.map(str::as_bytes)),
        time: clock::now(),
        context: context(&settings.configuration),
        event: ControlEvent::ConfigurationActivated(event),
    };
    writer.append(vec![new_record("configuration".to_owned(), &record)?]).await?;
    tracing::info!(configuration = %settings.configuration, revision, "configuration activated");
    Ok(revision)
}

/// Appends `ConfigurationRemoved`, listing the objects that somebody was shown.
pub async fn remove(
    log: &dyn Log,
    configuration: &str,
    objects: RemovedObjects,
    listed: &[SourceAnchor],
    reason: &str,
) -> Result<()> {
    let stream: StreamName = streams::control(configuration).parse()?;
    let mut writer = log.writer(&stream).await.context("while writing the removal down")?;
    let chunks: Vec<&[SourceAnchor]> = if listed.is_empty() { vec![&[]] } else { listed.chunks(DECIDED).collect() };
    let events = chunks.into_iter().map(|listed| {
        let (listed, reason) = (listed.to_vec(), reason.to_owned());
        ControlEvent::ConfigurationRemoved(ConfigurationRemoved { objects, listed, reason })
    });
    let records = records(configuration, &stream, events)?;
    writer.append(records).await?;
    tracing::info!(configuration, objects = objects.as_str(), "configuration removed");
    Ok(())
}

/// A decision about held writes.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What was decided.
    pub verdict: Verdict,
    /// Each of the writes.
    pub writes: Vec<DecidedWrite>,
    /// The last offset of `desired` that whoever decided had seen.
    pub desired_offset: u64,
    /// Why.
    pub reason: String,
    /// Until when it holds.
    pub expires: Timestamp,
}

/// Appends `HeldDecided` events, all of them at once.
pub async fn decide(log: &dyn Log, configuration: &str, decision: Decision) -> Result<()> {
    let stream: StreamName = streams::control(configuration).parse()?;
    let mut writer = log.writer(&stream).await.context("while writing the decision down")?;
    let Decision { verdict, writes, desired_offset, reason, expires } = decision;
    let events = writes.chunks(DECIDED).map(|writes| {
        let (writes, reason) = (writes.to_vec(), reason.clone());
        ControlEvent::HeldDecided(HeldDecided { verdict, writes, desired_offset, reason, expires })
    });
    let records = records(configuration, &stream, events)?;
    writer.append(records).await?;
    Ok(())
}

/// Appends `SourceDecided` events, all of them at once.
pub async fn decide_sources(log: &dyn Log, configuration: &str, decided: Vec<SourceDecided>) -> Result<()> {
    let stream: StreamName = streams::control(configuration).parse()?;
    let mut writer = log.writer(&stream).await.context("while writing the decision down")?;
    let records = records(configuration, &stream, decided.into_iter().map(ControlEvent::SourceDecided))?;
    writer.append(records).await?;
    Ok(())
}

/// Records of what somebody decided just now.
fn records(
    configuration: &str,
    stream: &StreamName,
    events: impl Iterator<Item = ControlEvent>,
) -> Result<Vec<NewRecord>> {
    let (time, mut records) = (clock::now(), Vec::new());
    for event in events {
        let (data, number) = (serde_json::to_vec(&event)?, records.len().to_be_bytes());
        let moment = time.as_nanosecond().to_be_bytes();
        let record = ControlRecord {
            id: EventId::of([stream.as_str().as_bytes(), &moment, &number, &data]),
            time,
            context: context(configuration),
            event,
        };
        // a key of its own: none of them supersedes another one
        records.push(new_record(record.id.to_string(), &record)?);
    }
    Ok(records)
}

fn context(configuration: &str) -> ControlContext {
    ControlContext { configuration: configuration.to_owned(), actor: actor() }
}

fn new_record(key: String, record: &ControlRecord) -> Result<NewRecord> {
    let mut new = NewRecord::new(Some(key), record.encode()?);
    new.headers.push(("type".to_owned(), record.event.type_name().into()));
    Ok(new)
}

/// The account that runs this process, as the operating system names it.
fn actor() -> String {
    use std::os::unix::fs::MetadataExt as _;
    ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .or_else(|| std::fs::metadata("/proc/self").ok().map(|own| format!("uid {}", own.uid())))
        .unwrap_or_else(|| "unknown".to_owned())
}
