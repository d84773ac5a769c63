//! `control.<configuration>`: saying in the log which configuration is in force, and what was decided.

use anyhow::{Context as _, Result};
use forestsync_log::{Log, NewRecord, StreamName};
pub use forestsync_projector::activation::last_activation;
use forestsync_runtime::clock;
use forestsync_schemas::control::{
    ConfigurationActivated, ControlContext, ControlEvent, DecidedWrite, HeldDecided, Verdict,
};
use forestsync_schemas::{ControlRecord, EventBody as _, EventId, streams};
use jiff::Timestamp;

use crate::config::Settings;

/// Writes that one event decides about.
const DECIDED: usize = 1_000;

/// Appends `ConfigurationActivated` if the document is not the one in force already. Returns its revision.
pub async fn activate(log: &dyn Log, settings: &Settings) -> Result<u64> {
    let stream: StreamName = streams::control(&settings.configuration).parse()?;
    // the writer first: what is read afterwards cannot change under us
    let mut writer = log.writer(&stream).await.context("while saying which configuration is in force")?;
    let last = last_activation(log, &stream).await?;
    if let Some(last) = last.as_ref().filter(|last| last.digest == settings.digest) {
        return Ok(last.revision);
    }
    let revision = last.map_or(1, |last| last.revision + 1);
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
    let (time, mut records) = (clock::now(), Vec::new());
    for writes in writes.chunks(DECIDED) {
        let event = HeldDecided { verdict, writes: writes.to_vec(), desired_offset, reason: reason.clone(), expires };
        let event = ControlEvent::HeldDecided(event);
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
    writer.append(records).await?;
    Ok(())
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
