//! The history of single objects: which records of all streams are about one, what it was at a moment, and why it became so.
//!
//! - [`index`] finds the records of one object among millions, and [`glance`] says what a record is about.
//! - [`person`] finds an object by every name it ever had, and the objects of other forests that are one with it.
//! - [`mirror`] folds a directory object from its own events, as the projector does; [`timeline`] puts what all streams say
//!   into one order; [`state`] says what was the case at a moment; [`cause`] leads from a value to the request that wrote it.
//!
//! Everything here reads. It works beside whoever writes the log, and takes no lock but that of the index.

pub mod cause;
pub mod entry;
pub mod glance;
pub mod index;
pub mod mirror;
pub mod moment;
pub mod person;
pub mod rulebook;
pub mod state;
pub mod timeline;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use anyhow::Result;
use forestsync_domain::{Dn, ObjectGuid};
use forestsync_log::{Record, StreamName};
use forestsync_schemas::changes::ChangeEvent;
use forestsync_schemas::{ChangeRecord, streams};

use crate::config::Settings;
use crate::output;
use index::{Index, IndexError, Key};

/// The folder of the index in the data folder.
const FOLDER: &str = "history-index";

/// The log of a configuration with its index.
#[derive(Debug)]
pub struct History {
    index: Index,
    /// The streams of the directories.
    pub changes: Vec<StreamName>,
    /// What the tenant should hold.
    pub desired: StreamName,
    /// What the projector decided.
    pub decisions: StreamName,
    /// What was done to the tenant.
    pub outcomes: StreamName,
    /// What people decided.
    pub control: StreamName,
    /// Names that were looked up.
    names: BTreeMap<(ObjectGuid, u64), Option<Dn>>,
}

impl History {
    /// Opens the log that a configuration means, and brings the index up to date: the one in `index`, else the one in the
    /// data folder. A log that services share has no data folder, so without `index` a temporary one is made.
    pub async fn open(settings: &Settings, index: Option<&Path>) -> Result<Self> {
        let log = settings.existing_log()?;
        let name = &settings.configuration;
        let own = [streams::desired(name), streams::decisions(name), streams::outcomes(name), streams::control(name)];
        let [desired, decisions, outcomes, control] = own.map(|name| name.parse::<StreamName>());
        let (desired, decisions, outcomes, control) = (desired?, decisions?, outcomes?, control?);
        let there = log.streams().await?;
        // a log of our own also holds what was read of forests that are in the file no longer
        let is_ours = |stream: &StreamName| {
            let forests = || settings.forests.iter().map(|forest| format!("changes.{}.", forest.name()));
            stream.as_str().starts_with("changes.")
                && (settings.log.is_none() || forests().any(|prefix| stream.as_str().starts_with(&prefix)))
        };
        let changes: Vec<StreamName> = there.into_iter().filter(is_ours).collect();
        let mut all: BTreeSet<StreamName> = changes.iter().cloned().collect();
        all.extend([&desired, &decisions, &outcomes, &control].map(Clone::clone));
        let kept = settings.log.is_none().then(|| settings.data.join(FOLDER));
        let index = match (index, kept) {
            (Some(folder), _) => Index::open(log, Some(folder), &all).await?,
            (None, Some(folder)) => match Index::open(log.clone(), Some(&folder), &all).await {
                Err(IndexError::Io { source, .. }) if is_barred(&source) => {
                    output::note("the index cannot be kept in the data folder; --index DIR names another place for it");
                    Index::open(log, None, &all).await?
                }
                opened => opened?,
            },
            (None, None) => {
                output::note(
                    "the log is indexed for this question alone; --index DIR keeps the index for the next one",
                );
                Index::open(log, None, &all).await?
            }
        };
        Ok(Self { index, changes, desired, decisions, outcomes, control, names: BTreeMap::new() })
    }

    /// The records of a stream about any of these, in order.
    pub async fn about(&mut self, stream: &StreamName, keys: &[Key]) -> Result<Vec<Record>> {
        let offsets = self.index.offsets(stream, keys).await?;
        Ok(self.index.records(stream, &offsets).await?)
    }

    /// The offsets of the records of a stream about any of these.
    pub async fn offsets(&mut self, stream: &StreamName, keys: &[Key]) -> Result<BTreeSet<u64>> {
        Ok(self.index.offsets(stream, keys).await?)
    }

    /// The index itself.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// What an object was called last, at or before an offset of its stream; after it, if it was not known before.
    pub async fn name_of(&mut self, stream: &StreamName, object: ObjectGuid, offset: u64) -> Result<Option<Dn>> {
        if let Some(known) = self.names.get(&(object, offset)) {
            return Ok(known.clone());
        }
        let offsets = self.index.offsets(stream, &[Key::object(object)]).await?;
        let before = offsets.range(..=offset).rev();
        let mut found = None;
        for at in before.chain(offsets.range(offset..)).take(8) {
            let records = self.index.records(stream, &BTreeSet::from([*at])).await?;
            let name = records.first().and_then(|record| ChangeRecord::decode(&record.value).ok()).and_then(name);
            if name.is_some() {
                found = name;
                break;
            }
        }
        self.names.insert((object, offset), found.clone());
        Ok(found)
    }
}

/// The name that an event gives its object.
fn name(record: ChangeRecord) -> Option<Dn> {
    match record.event {
        ChangeEvent::ObjectObserved(event) => Some(event.dn),
        ChangeEvent::ObjectChanged(event) => Some(event.dn),
        ChangeEvent::ObjectDeleted(event) => Some(event.dn),
        ChangeEvent::ObjectRestored(event) => Some(event.dn),
        _ => None,
    }
}

/// Whether a place may be read and not written.
fn is_barred(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}
