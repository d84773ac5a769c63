//! The state file: one JSON line per object, the last line about an object counts.
//!
//! Changes are appended within [`EVERY`]; at start and at stop the file is written anew, beside the old one, and put in
//! its place. A torn last line is dropped. Passwords are never in the content, so never here.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::directory::{Directory, Kind, Object, Props};

/// How long a change may wait to be written.
pub(super) const EVERY: Duration = Duration::from_millis(100);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Tenant { generation: String, sequence: u64 },
    Object(Box<Stored>),
    Purged { id: Uuid, kind: Kind, change: u64 },
    Extensions { application: String, properties: Vec<Props> },
}

/// The content the file holds; empty when there is no file.
pub(super) fn load(path: &Path, now: Instant) -> Result<Directory> {
    let mut directory = Directory::new();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(directory),
        Err(error) => return Err(error).with_context(|| format!("cannot open the state file {}", path.display())),
    };
    let mut objects = std::collections::HashMap::new();
    let mut lines = std::io::BufReader::new(file).lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let line = line.with_context(|| format!("cannot read the state file {}", path.display()))?;
        let parsed = match serde_json::from_str::<Line>(&line) {
            Ok(parsed) => parsed,
            Err(_) if lines.peek().is_none() => break,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("line {} of the state file {} is damaged", number + 1, path.display()));
            }
        };
        match parsed {
            Line::Tenant { generation, sequence } => {
                directory.generation = generation;
                directory.sequence = directory.sequence.max(sequence);
            }
            Line::Object(stored) => {
                objects.insert(stored.id, stored);
            }
            Line::Purged { id, kind, change } => {
                objects.remove(&id);
                directory.sequence = directory.sequence.max(change);
                directory.purged.insert(id, (kind, change));
                directory.changes[kind.slot()].insert(change, id);
            }
            Line::Extensions { application, properties } => {
                directory.extensions.insert(application, properties);
            }
        }
    }
    for (id, stored) in objects {
        directory.reload(id, stored.into_object(now));
    }
    Ok(directory)
}

fn line(out: &mut Vec<u8>, line: &Line) {
    if serde_json::to_writer(&mut *out, line).is_ok() {
        out.push(b'\n');
    }
}

/// What changed since the last call, as lines to append.
pub(super) fn changes(directory: &mut Directory) -> Vec<u8> {
    let mut out = Vec::new();
    let dirty = std::mem::take(&mut directory.dirty);
    if std::mem::take(&mut directory.extensions_dirty) {
        for (application, properties) in &directory.extensions {
            let entry = Line::Extensions { application: application.clone(), properties: properties.clone() };
            line(&mut out, &entry);
        }
    }
    for id in dirty {
        let entry = match (directory.get(id), directory.purged.get(&id)) {
            (Some(object), _) => Line::Object(Box::new(Stored::of(id, object))),
            (None, Some((kind, change))) => Line::Purged { id, kind: *kind, change: *change },
            (None, None) => continue,
        };
        line(&mut out, &entry);
    }
    out
}

/// The whole content as lines.
pub(super) fn everything(directory: &mut Directory) -> Vec<u8> {
    directory.dirty.clear();
    let mut out = Vec::new();
    let head = Line::Tenant { generation: directory.generation.clone(), sequence: directory.sequence };
    line(&mut out, &head);
    for (application, properties) in &directory.extensions {
        let entry = Line::Extensions { application: application.clone(), properties: properties.clone() };
        line(&mut out, &entry);
    }
    for (id, (kind, change)) in &directory.purged {
        line(&mut out, &Line::Purged { id: *id, kind: *kind, change: *change });
    }
    for (id, object) in &directory.objects {
        line(&mut out, &Line::Object(Box::new(Stored::of(*id, object))));
    }
    out
}

/// Appends lines.
pub(super) fn append(path: &Path, lines: &[u8]) -> Result<()> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let mut file = file.with_context(|| format!("cannot open the state file {}", path.display()))?;
    file.write_all(lines).with_context(|| format!("cannot write the state file {}", path.display()))
}

/// Writes the file anew and puts it in place of the old one.
pub(super) fn rewrite(path: &Path, lines: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, lines).with_context(|| format!("cannot write the state file {}", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("cannot put the state file {} in place", path.display()))
}

/// An object as the state file keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    id: Uuid,
    kind: Kind,
    order: u64,
    change: u64,
    props: Props,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manager: Option<Uuid>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    members: BTreeMap<Uuid, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    removed: BTreeMap<Uuid, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    owners: BTreeMap<Uuid, u64>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    privileged: bool,
}

impl Stored {
    fn of(id: Uuid, object: &Object) -> Self {
        Self {
            id,
            kind: object.kind,
            order: object.order,
            change: object.change,
            props: object.props.clone(),
            manager: object.manager,
            members: object.members.clone(),
            removed: object.removed.clone(),
            owners: object.owners.clone(),
            deleted: object.deleted.is_some(),
            privileged: object.privileged,
        }
    }

    /// The object again; its times begin now.
    fn into_object(self, now: Instant) -> Object {
        Object {
            kind: self.kind,
            order: self.order,
            change: self.change,
            changed: now,
            born: now,
            props: self.props,
            previous: None,
            manager: self.manager,
            members: self.members,
            removed: self.removed,
            owners: self.owners,
            deleted: self.deleted.then_some(now),
            privileged: self.privileged,
        }
    }
}
