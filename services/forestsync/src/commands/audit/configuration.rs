//! `forestsync audit configuration`.

use anyhow::Result;
use forestsync_log::{Log, StreamName};
use forestsync_schemas::control::ControlEvent;
use forestsync_schemas::{ControlRecord, streams};
use jiff::Timestamp;
use serde::Serialize;

use super::lines;
use crate::cli::AuditConfigurationArgs;
use crate::commands::log::Walk;
use crate::config;
use crate::exit::Exit;
use crate::output::{self, printable};

/// A configuration that came into force, or went.
#[derive(Debug, Clone, Serialize)]
pub struct Edition {
    /// When.
    pub time: Timestamp,
    /// The record in `control`.
    pub offset: u64,
    /// `ConfigurationActivated` or `ConfigurationRemoved`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who did it.
    pub actor: String,
    /// Counts from 1.
    pub revision: Option<u64>,
    /// BLAKE3 of the document.
    pub digest: Option<String>,
    /// Why it was removed.
    pub reason: Option<String>,
    /// The lines that differ from the one before, each with its sign.
    pub changed: Vec<String>,
}

/// All of them.
pub async fn editions(log: &dyn Log, configuration: &str) -> Result<Vec<Edition>> {
    let control: StreamName = streams::control(configuration).parse()?;
    let mut walk = Walk::new(log, &control, 0, log.tail(&control).await?).await?;
    let (mut all, mut last) = (Vec::new(), String::new());
    while let Some(record) = walk.next().await? {
        let Ok(decoded) = ControlRecord::decode(&record.value) else { continue };
        let (time, offset, actor) = (record.timestamp, record.offset, decoded.context.actor);
        let edition = |kind: &str| Edition {
            time,
            offset,
            kind: kind.to_owned(),
            actor,
            revision: None,
            digest: None,
            reason: None,
            changed: Vec::new(),
        };
        match decoded.event {
            ControlEvent::ConfigurationActivated(event) => {
                let changed = lines::changed(&last, &event.document);
                last = event.document;
                all.push(Edition {
                    revision: Some(event.revision),
                    digest: Some(event.digest),
                    changed,
                    ..edition("ConfigurationActivated")
                });
            }
            ControlEvent::ConfigurationRemoved(event) => {
                all.push(Edition { reason: Some(event.reason), ..edition("ConfigurationRemoved") });
            }
            _ => {}
        }
    }
    Ok(all)
}

/// Shows which configurations were in force.
pub async fn configuration(args: AuditConfigurationArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log = settings.existing_log()?;
    let mut all = editions(log.as_ref(), &settings.configuration).await?;
    all.retain(|edition| args.period.holds(edition.time));
    for edition in &all {
        if args.json {
            if !output::line(&serde_json::to_string(edition)?)? {
                break;
            }
        } else {
            output::text(&shown(edition))?;
        }
    }
    if all.is_empty() && !args.json {
        output::text("no configuration came into force then\n")?;
    }
    Ok(Exit::Done)
}

fn shown(edition: &Edition) -> String {
    let what = match (edition.revision, &edition.reason) {
        (Some(revision), _) => {
            format!("revision {revision} activated, digest {}", edition.digest.as_deref().unwrap_or_default())
        }
        (None, Some(reason)) => format!("removed: {reason}"),
        (None, None) => edition.kind.clone(),
    };
    let head = printable(&format!("{} by {}: {what}", edition.time, edition.actor));
    let lines = edition.changed.iter().map(|line| ["  ", &printable(line), "\n"].concat());
    [head, "\n".to_owned()].into_iter().chain(lines).collect()
}
