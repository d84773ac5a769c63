//! `forestsync audit attribute`: all changes of one attribute. What was before is remembered for each object, one value each.

use std::collections::HashMap;

use anyhow::Result;
use forestsync_domain::{AttributeValue, Attributes, Dn};
use forestsync_log::{Record, StreamName};
use forestsync_schemas::changes::{ChangeEvent, SnapshotId};
use forestsync_schemas::desired::{CloudAttributes, DesiredEvent};
use forestsync_schemas::{ChangeRecord, DesiredRecord, OutcomeRecord};
use serde_json::Value;

use super::scan::{scan, streams_of};
use super::table::Sheet;
use crate::cli::AuditAttributeArgs;
use crate::config;
use crate::events;
use crate::exit::Exit;
use crate::history::entry::{Change, Entry, LinkChange};
use crate::history::timeline::{of_directory, of_outcome, plain};

/// Shows all changes of an attribute.
pub async fn attribute(args: AuditAttributeArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log = settings.existing_log()?;
    let mut streams = streams_of(&settings, log.as_ref()).await?;
    streams.retain(|stream| !["control.", "decisions."].iter().any(|kind| stream.as_str().starts_with(kind)));
    let mut sheet = Sheet::new(args.form.clone(), true);
    let mut values = Values { name: args.name.clone(), last: HashMap::new() };
    scan(log.as_ref(), &streams, |stream, record| {
        let entry = values.entry(stream, record).filter(|entry| args.period.holds(entry.time));
        entry.map_or(Ok(true), |entry| sheet.add(entry))
    })
    .await?;
    sheet.end()?;
    Ok(Exit::Done)
}

/// The last value of each object.
struct Values {
    name: String,
    last: HashMap<(StreamName, String), (Value, Option<SnapshotId>)>,
}

impl Values {
    /// The entry of a record that changed it.
    fn entry(&mut self, stream: &StreamName, record: &Record) -> Option<Entry> {
        match stream.as_str().split('.').next() {
            Some("changes") => self.of_change(stream, record),
            Some("desired") => self.of_wish(stream, record),
            _ => {
                let decoded = OutcomeRecord::decode(&record.value).ok()?;
                let mut entry = of_outcome(stream, record, &decoded);
                entry.changes.retain(|change| change.attribute.eq_ignore_ascii_case(&self.name));
                entry.links.retain(|link| link.attribute.eq_ignore_ascii_case(&self.name));
                (!entry.changes.is_empty() || !entry.links.is_empty()).then_some(entry)
            }
        }
    }

    /// The change from the last value to this one, if there is one. A full read that shows an object without a value says
    /// that it has none; a later part of the same image may yet show it.
    fn change(
        &mut self,
        stream: &StreamName,
        id: &str,
        (name, after): (String, Option<Value>),
        read: Option<SnapshotId>,
    ) -> Option<Change> {
        let key = (stream.clone(), id.to_owned());
        let before = match after.clone() {
            Some(value) => self.last.insert(key, (value, read)),
            None if read.is_some() && self.last.get(&key).is_some_and(|(_, of)| *of == read) => return None,
            None => self.last.remove(&key),
        };
        let before = before.map(|(value, _)| value);
        (before != after).then(|| Change::new(&name, before, after))
    }

    fn of_change(&mut self, stream: &StreamName, record: &Record) -> Option<Entry> {
        let decoded = ChangeRecord::decode(&record.value).ok()?;
        let id = decoded.context.object?.to_string();
        let found = |attributes: &Attributes| {
            let value = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(&self.name));
            value.map(|(name, values)| (name.clone(), Some(json(values))))
        };
        let gone = |cleared: &[String]| {
            cleared.iter().find(|name| name.eq_ignore_ascii_case(&self.name)).map(|name| (name.clone(), None))
        };
        let is_dn = self.name.eq_ignore_ascii_case("dn");
        let named = |dn: &Dn| is_dn.then(|| ("dn".to_owned(), Some(Value::String(dn.to_string()))));
        let (value, dn) = match &decoded.event {
            ChangeEvent::ObjectObserved(e) => {
                let none = || Some((self.name.clone(), None));
                (found(&e.attributes).or_else(|| named(&e.dn)).or_else(none), &e.dn)
            }
            ChangeEvent::ObjectChanged(e) => {
                (found(&e.set).or_else(|| gone(&e.cleared)).or_else(|| named(&e.dn)), &e.dn)
            }
            ChangeEvent::ObjectDeleted(e) => {
                (found(&e.set).or_else(|| gone(&e.cleared)).or_else(|| named(&e.dn)), &e.dn)
            }
            ChangeEvent::ObjectRestored(e) => {
                (found(&e.set).or_else(|| gone(&e.cleared)).or_else(|| named(&e.dn)), &e.dn)
            }
            ChangeEvent::LinkValuesChanged(e) if e.attribute.eq_ignore_ascii_case(&self.name) => {
                let ids = |list: &[forestsync_domain::ObjectGuid]| list.iter().map(ToString::to_string).collect();
                let (removed, added) = (ids(&e.removed), ids(&e.added));
                let link = LinkChange { attribute: e.attribute.clone(), removed, added, ..LinkChange::default() };
                let entry = of_directory(stream, record, &decoded.context);
                return Some(Entry { object: Some(id), links: vec![link], ..entry });
            }
            _ => return None,
        };
        let dn = dn.to_string();
        let read = match &decoded.event {
            ChangeEvent::ObjectObserved(event) => Some(event.snapshot),
            _ => None,
        };
        let change = self.change(stream, &id, value?, read)?;
        let entry = of_directory(stream, record, &decoded.context);
        Some(Entry { object: Some(id), dn: Some(dn), changes: vec![change], ..entry })
    }

    fn of_wish(&mut self, stream: &StreamName, record: &Record) -> Option<Entry> {
        let decoded = DesiredRecord::decode(&record.value).ok()?;
        let found = |attributes: &CloudAttributes| {
            let value = attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(&self.name));
            value.and_then(|(_, value)| serde_json::to_value(value).ok())
        };
        let (anchor, source, revision, after) = match &decoded.event {
            DesiredEvent::ObjectDesired(e) => {
                let reference = |name: &str, to: &Option<forestsync_domain::SourceAnchor>| {
                    let to = to.as_ref().filter(|_| self.name.eq_ignore_ascii_case(name));
                    to.map(|anchor| Value::String(anchor.to_string()))
                };
                let references = || reference("manager", &e.manager).or_else(|| reference("owner", &e.owner));
                (e.anchor.to_string(), &e.source, e.revision, found(&e.attributes).or_else(references))
            }
            DesiredEvent::ObjectRemoved(e) => (e.anchor.to_string(), &e.source, e.revision, None),
            _ => return None,
        };
        let change = self.change(stream, &anchor, (self.name.clone(), after), None)?;
        Some(Entry {
            summary: if events::kind(record) == "ObjectRemoved" { "not wished any more".into() } else { String::new() },
            dn: Some(source.dn.to_string()),
            object: Some(source.object.to_string()),
            anchor: Some(anchor),
            revision: Some(revision),
            trace: decoded.context.trace.clone(),
            changes: vec![change],
            ..plain(stream, record)
        })
    }
}

fn json(values: &[AttributeValue]) -> Value {
    serde_json::to_value(values).unwrap_or_default()
}
