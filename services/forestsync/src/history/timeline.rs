//! The life of a person over all streams, in one order.
//!
//! Within a stream the order is the stream's. Between streams it is that of the times at which records were written, but
//! never against what they say of each other: a wish follows the changes it was computed from, and a request its wish.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::Result;
use forestsync_domain::{ObjectGuid, SourceAnchor};
use forestsync_log::{Record, StreamName};
use forestsync_schemas::changes::{ChangeContext, ChangeEvent, SnapshotId};
use forestsync_schemas::control::ControlEvent;
use forestsync_schemas::decisions::DecisionEvent;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, DesiredEvent, ObjectDesired};
use forestsync_schemas::outcomes::{Operation, OutcomeEvent, OutcomeRecord};
use forestsync_schemas::{ChangeRecord, ControlRecord, DecisionRecord, DesiredRecord};
use serde_json::Value;

use super::History;
use super::entry::{Change, Entry, LinkChange};
use super::index::Key;
use super::mirror::{Difference, Mirror};
use super::person::Person;
use super::rulebook::Rulebook;
use crate::events;
use crate::output::count;

/// Names looked up for the links of one entry.
const NAMED: usize = 8;

/// What concerns a whole configuration, and so everybody in it.
const OF_ALL_DECISIONS: [&str; 2] = ["ConfigurationHeld", "ConfigurationReleased"];
const OF_ALL_OUTCOMES: [&str; 2] = ["ConfigurationQuarantined", "ConfigurationRecovered"];
const OF_ALL_CONTROL: [&str; 3] = ["ConfigurationActivated", "ConfigurationRemoved", "SourceDecided"];

impl History {
    /// Everything that happened to a person.
    pub async fn life(&mut self, person: &Person) -> Result<Vec<Entry>> {
        let rules = Rulebook::read(self).await?;
        let mut streams: Vec<VecDeque<Entry>> = Vec::new();
        for stream in self.changes.clone() {
            let mut entries = Vec::new();
            for object in &person.objects {
                entries.extend(self.directory(&stream, *object).await?);
                entries.extend(self.named_by_others(&stream, *object, &person.objects).await?);
            }
            entries.sort_by_key(|entry| entry.offset);
            streams.push(entries.into());
        }
        for entries in [
            self.control_of(person).await?,
            self.decisions_of(person).await?,
            self.desired_of(person, &rules).await?,
            self.outcomes_of(person, &rules).await?,
        ] {
            streams.push(entries.into());
        }
        Ok(merged(streams))
    }

    /// What the directory said of one of its objects.
    async fn directory(&mut self, stream: &StreamName, object: ObjectGuid) -> Result<Vec<Entry>> {
        let (mut mirror, mut entries) = (Mirror::default(), Vec::new());
        for step in self.steps(stream, object).await? {
            let (record, kind, difference, context) = match step {
                Step::Event(record, decoded) => {
                    let difference = mirror.apply(&decoded.event, record.offset);
                    if decoded.context.object.is_none() {
                        continue;
                    }
                    let kind = events::kind(&record);
                    (record, kind, difference, decoded.context)
                }
                Step::Concluded(record, snapshot, context) => {
                    let was_there = mirror.is_there();
                    let difference = mirror.conclude(snapshot);
                    if mirror.is_there() == was_there && difference == Difference::default() {
                        continue;
                    }
                    (record, "SnapshotCompleted".to_owned(), difference, context)
                }
            };
            let is_empty = difference.changes.is_empty() && difference.links.is_empty();
            let summary = match kind.as_str() {
                "ObjectObserved" if is_empty => "a full read showed it unchanged",
                "ObjectObserved" => "a full read showed it",
                "ObjectDeleted" => "deleted in the directory",
                "ObjectRestored" => "restored in the directory",
                "SnapshotCompleted" if mirror.is_absent => "a full read did not show it",
                "SnapshotCompleted" => "a full read did not show these links",
                _ if is_empty => "read again, unchanged",
                _ => "",
            };
            let mut entry = Entry {
                kind,
                summary: summary.to_owned(),
                dn: mirror.dn.as_ref().map(ToString::to_string),
                object: Some(object.to_string()),
                changes: difference.changes,
                links: difference.links,
                ..of_directory(stream, &record, &context)
            };
            for link in &mut entry.links {
                self.name_links(stream, link, record.offset).await?;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The events of an object, those about full reads of its stream, and where a full read was believed.
    pub(super) async fn steps(&mut self, stream: &StreamName, object: ObjectGuid) -> Result<Vec<Step>> {
        let keys = [Key::object(object), Key::kind("SnapshotStarted"), Key::kind("SnapshotCompleted")];
        let own = self.offsets(stream, &keys[..1]).await?;
        let Some(first) = own.first().copied() else { return Ok(Vec::new()) };
        let believed = self.believed().await?;
        let mut steps: Vec<(u64, Step)> = Vec::new();
        for record in self.about(stream, &keys).await? {
            let Ok(decoded) = ChangeRecord::decode(&record.value) else { continue };
            let is_own = decoded.context.object == Some(object);
            let is_read = decoded.context.object.is_none();
            if let ChangeEvent::SnapshotCompleted(event) = &decoded.event {
                let at = believed.get(&event.snapshot).copied();
                if let Some(at) = at.map(|at| at.max(record.offset)).filter(|_| record.offset > first) {
                    steps.push((at, Step::Concluded(record, event.snapshot, decoded.context)));
                }
            } else if is_own || is_read {
                steps.push((record.offset, Step::Event(record, decoded)));
            }
        }
        steps.sort_by_key(|(at, _)| *at);
        Ok(steps.into_iter().map(|(_, step)| step).collect())
    }

    /// The full reads that were believed, with the offset from which on.
    async fn believed(&mut self) -> Result<BTreeMap<SnapshotId, u64>> {
        let (decisions, mut believed) = (self.decisions.clone(), BTreeMap::new());
        let keys = ["FullReadJudged", "FullReadApproved"].map(Key::kind);
        for record in self.about(&decisions, &keys).await? {
            match DecisionRecord::decode(&record.value).map(|record| record.event) {
                Ok(DecisionEvent::FullReadJudged(event)) if event.doubt.is_none() => {
                    believed.insert(event.snapshot, 0);
                }
                Ok(DecisionEvent::FullReadApproved(event)) if event.doubt.is_none() => {
                    believed.insert(event.snapshot, event.offset);
                }
                _ => {}
            }
        }
        Ok(believed)
    }

    /// Where other objects began or ceased to name this one: as a member, a manager.
    async fn named_by_others(
        &mut self,
        stream: &StreamName,
        object: ObjectGuid,
        known: &BTreeSet<ObjectGuid>,
    ) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for record in self.about(stream, &[Key::linked(object)]).await? {
            let Ok(decoded) = ChangeRecord::decode(&record.value) else { continue };
            let (ChangeEvent::LinkValuesChanged(event), Some(of)) = (&decoded.event, decoded.context.object) else {
                continue;
            };
            let side = |list: &[ObjectGuid]| list.contains(&object).then(|| object.to_string()).into_iter().collect();
            let mut link = LinkChange {
                attribute: event.attribute.clone(),
                of: Some(of.to_string()),
                removed: side(&event.removed),
                added: side(&event.added),
                ..LinkChange::default()
            };
            if known.contains(&of) || (link.removed.is_empty() && link.added.is_empty()) {
                continue;
            }
            self.name_links(stream, &mut link, record.offset).await?;
            let (kind, object) = (events::kind(&record), Some(object.to_string()));
            entries.push(Entry { kind, object, links: vec![link], ..of_directory(stream, &record, &decoded.context) });
        }
        Ok(entries)
    }

    async fn name_links(&mut self, stream: &StreamName, link: &mut LinkChange, offset: u64) -> Result<()> {
        let ids: Vec<String> = link.of.iter().chain(&link.added).chain(&link.removed).take(NAMED).cloned().collect();
        for id in ids {
            let Ok(guid) = id.parse::<ObjectGuid>() else { continue };
            if let Some(dn) = self.name_of(stream, guid, offset).await? {
                link.names.insert(id, dn.to_string());
            }
        }
        Ok(())
    }

    async fn control_of(&mut self, person: &Person) -> Result<Vec<Entry>> {
        let control = self.control.clone();
        let mut keys: Vec<Key> = OF_ALL_CONTROL.map(Key::kind).into();
        keys.extend(person.anchors.iter().map(|anchor| Key::anchor(anchor.as_str())));
        let records = self.about(&control, &keys).await?;
        Ok(records.iter().filter_map(|record| of_control(&control, record)).collect())
    }

    async fn decisions_of(&mut self, person: &Person) -> Result<Vec<Entry>> {
        let decisions = self.decisions.clone();
        let mut keys: Vec<Key> = OF_ALL_DECISIONS.map(Key::kind).into();
        keys.extend(person.anchors.iter().map(|anchor| Key::anchor(anchor.as_str())));
        keys.extend(person.objects.iter().map(|object| Key::object(*object)));
        let mut entries = Vec::new();
        for record in self.about(&decisions, &keys).await? {
            let Ok(decoded) = DecisionRecord::decode(&record.value) else { continue };
            let event: Value = serde_json::from_slice(&record.value).unwrap_or_default();
            let text = |name: &str| event["data"].get(name).and_then(Value::as_str).map(str::to_owned);
            let is_of_all = OF_ALL_DECISIONS.contains(&event["type"].as_str().unwrap_or_default());
            let is_theirs = person.objects.iter().any(|object| text("object").as_deref() == Some(&object.to_string()))
                || person.anchors.iter().any(|anchor| text("anchor").as_deref() == Some(anchor.as_str()));
            if !is_of_all && !is_theirs {
                continue;
            }
            let rule = match &decoded.event {
                DecisionEvent::JoinMade(event) => Some(event.rule.clone()),
                _ => None,
            };
            let mut entry = Entry {
                forest: text("forest"),
                object: text("object"),
                anchor: text("anchor"),
                dn: text("dn"),
                ..plain(&decisions, &record)
            };
            entry.changes.extend(rule.map(|rule| Change {
                rule: Some(format!("join rule {rule}")),
                ..Change::new("anchor", None, entry.anchor.clone().map(Value::String))
            }));
            entries.push(entry);
        }
        Ok(entries)
    }

    async fn desired_of(&mut self, person: &Person, rules: &Rulebook) -> Result<Vec<Entry>> {
        let desired = self.desired.clone();
        let anchors = || person.anchors.iter().map(SourceAnchor::as_str);
        let keys: Vec<Key> = anchors().flat_map(|anchor| [Key::anchor(anchor), Key::linked_anchor(anchor)]).collect();
        let (mut entries, mut last) = (Vec::new(), BTreeMap::<SourceAnchor, Wish>::new());
        for record in self.about(&desired, &keys).await? {
            let Ok(decoded) = DesiredRecord::decode(&record.value) else { continue };
            let mut entry = Entry {
                trace: decoded.context.trace.clone(),
                after: decoded.context.offsets.clone(),
                ..plain(&desired, &record)
            };
            match &decoded.event {
                DesiredEvent::ObjectDesired(event) if person.anchors.contains(&event.anchor) => {
                    let before = last.insert(event.anchor.clone(), Wish::of(event));
                    entry.wished(event, before.as_ref(), |target| rules.rule(record.timestamp, event.class, target));
                }
                DesiredEvent::ObjectRemoved(event) if person.anchors.contains(&event.anchor) => {
                    let gone = Wish { revision: event.revision, is_gone: true, ..Wish::default() };
                    let before = last.insert(event.anchor.clone(), gone);
                    (entry.anchor, entry.revision) = (Some(event.anchor.to_string()), Some(event.revision));
                    (entry.dn, entry.object) =
                        (Some(event.source.dn.to_string()), Some(event.source.object.to_string()));
                    entry.missing_revisions = missing(before.map_or(0, |wish| wish.revision), event.revision);
                    entry.summary = noted(entry.summary, entry.missing_revisions);
                }
                DesiredEvent::LinkDesired(event) => entry.linked(person, &event.group, &event.member, true),
                DesiredEvent::LinkRemoved(event) => entry.linked(person, &event.group, &event.member, false),
                _ => continue,
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    async fn outcomes_of(&mut self, person: &Person, rules: &Rulebook) -> Result<Vec<Entry>> {
        let (outcomes, desired) = (self.outcomes.clone(), self.desired.to_string());
        let anchors = || person.anchors.iter().map(SourceAnchor::as_str);
        let mut keys: Vec<Key> = OF_ALL_OUTCOMES.map(Key::kind).into();
        keys.extend(anchors().flat_map(|anchor| [Key::anchor(anchor), Key::linked_anchor(anchor)]));
        let mut entries = Vec::new();
        for record in self.about(&outcomes, &keys).await? {
            let Ok(decoded) = OutcomeRecord::decode(&record.value) else { continue };
            let mut entry = of_outcome(&outcomes, &record, &decoded);
            if !decoded.context.anchor.as_str().is_empty() {
                entry.after = BTreeMap::from([(desired.clone(), decoded.context.desired_offset + 1)]);
            }
            for change in &mut entry.changes {
                let rule = rules.rule(record.timestamp, decoded.context.class, &change.attribute);
                change.reads = rule.map(|(_, reads)| reads).unwrap_or_default();
            }
            if !person.anchors.contains(&decoded.context.anchor) {
                // of a group: only what concerns them
                for link in &mut entry.links {
                    link.of.clone_from(&entry.anchor);
                    link.added.retain(|id| anchors().any(|anchor| anchor == id));
                    link.removed.retain(|id| anchors().any(|anchor| anchor == id));
                }
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// A step of an object's way.
#[derive(Debug)]
pub(super) enum Step {
    /// An event of it, or about a full read.
    Event(Record, ChangeRecord),
    /// A full read is believed: what it did not show is gone.
    Concluded(Record, SnapshotId, ChangeContext),
}

/// What was wished last.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    revision: u64,
    is_gone: bool,
    attributes: CloudAttributes,
    manager: Option<SourceAnchor>,
    owner: Option<SourceAnchor>,
    class: Option<CloudClass>,
    joined: Vec<String>,
}

impl Wish {
    fn of(event: &ObjectDesired) -> Self {
        Self {
            revision: event.revision,
            is_gone: false,
            attributes: event.attributes.clone(),
            manager: event.manager.clone(),
            owner: event.owner.clone(),
            class: Some(event.class),
            joined: event.joined.iter().map(|other| format!("{} {}", other.forest, other.object)).collect(),
        }
    }
}

/// Revisions between two records of an object that are not in the log any more.
pub(super) fn missing(before: u64, revision: u64) -> Option<(u64, u64)> {
    (revision > before + 1).then(|| (before + 1, revision - 1))
}

fn noted(summary: String, missing: Option<(u64, u64)>) -> String {
    let note = match missing {
        None => return summary,
        Some((first, last)) if first == last => format!("revision {first} is not in the log any more"),
        Some((first, last)) => format!("revisions {first} to {last} are not in the log any more"),
    };
    if summary.is_empty() { note } else { format!("{summary}; {note}") }
}

impl Entry {
    fn wished(
        &mut self,
        event: &ObjectDesired,
        before: Option<&Wish>,
        rule: impl Fn(&str) -> Option<(String, Vec<String>)>,
    ) {
        let none = Wish::default();
        let (old, new) = (before.unwrap_or(&none), Wish::of(event));
        let json = |value: Option<&forestsync_schemas::desired::CloudValue>| {
            value.and_then(|value| serde_json::to_value(value).ok())
        };
        let names: BTreeSet<&String> = old.attributes.keys().chain(new.attributes.keys()).collect();
        for name in names {
            let (was, is) = (old.attributes.get(name), new.attributes.get(name));
            if was != is {
                let (text, reads) = rule(name).unzip();
                let change = Change::new(name, json(was), json(is));
                self.changes.push(Change { rule: text, reads: reads.unwrap_or_default(), ..change });
            }
        }
        let text = |anchor: &Option<SourceAnchor>| anchor.as_ref().map(|anchor| Value::String(anchor.to_string()));
        for (name, was, is) in [("manager", &old.manager, &new.manager), ("owner", &old.owner, &new.owner)] {
            if was != is {
                self.changes.push(Change::new(name, text(was), text(is)));
            }
        }
        self.missing_revisions = missing(old.revision, event.revision);
        let mut summary = match before {
            None => format!("{} is wished", event.class.as_str()),
            Some(old) if old.is_gone => format!("{} is wished again", event.class.as_str()),
            Some(old) if old.class != new.class => format!("it is a {} now", event.class.as_str()),
            Some(_) => String::new(),
        };
        if old.joined != new.joined {
            let joined = match new.joined.len() {
                0 => "by itself".to_owned(),
                n => format!("joined with {}", count(n as u64, "object")),
            };
            summary = if summary.is_empty() { joined } else { format!("{summary}, {joined}") };
        }
        if summary.is_empty() && self.changes.is_empty() {
            "the same is wished".clone_into(&mut summary);
        }
        self.summary = noted(summary, self.missing_revisions);
        (self.anchor, self.revision) = (Some(event.anchor.to_string()), Some(event.revision));
        (self.dn, self.object) = (Some(event.source.dn.to_string()), Some(event.source.object.to_string()));
        self.forest = Some(event.source.forest.clone());
    }

    fn linked(&mut self, person: &Person, group: &SourceAnchor, member: &SourceAnchor, is_added: bool) {
        let ends = vec![member.to_string()];
        let (added, removed) = if is_added { (ends, Vec::new()) } else { (Vec::new(), ends) };
        let of = (!person.anchors.contains(group)).then(|| group.to_string());
        self.links.push(LinkChange { attribute: "member".into(), of, added, removed, ..LinkChange::default() });
        self.summary = String::new();
    }
}

/// What every entry says.
pub fn plain(stream: &StreamName, record: &Record) -> Entry {
    let (kind, summary) = events::described(record);
    let (time, stream, offset) = (record.timestamp, stream.to_string(), record.offset);
    Entry { time, stream, offset, kind, summary, ..Entry::default() }
}

/// An entry of a directory.
pub fn of_directory(stream: &StreamName, record: &Record, context: &ChangeContext) -> Entry {
    Entry {
        summary: String::new(),
        forest: Some(context.forest.clone()),
        controller: context.controller.as_ref().map(|controller| controller.dns_name.clone()),
        invocation_id: context.controller.as_ref().map(|controller| controller.invocation_id.to_string()),
        usn: context.usn_changed.map(|usn| usn.0),
        trace: context.trace.clone(),
        ..plain(stream, record)
    }
}

/// An entry of what people decided.
pub fn of_control(stream: &StreamName, record: &Record) -> Option<Entry> {
    let decoded = ControlRecord::decode(&record.value).ok()?;
    let reason = match decoded.event {
        ControlEvent::ConfigurationActivated(_) => None,
        ControlEvent::HeldDecided(event) => Some(event.reason),
        ControlEvent::ConfigurationRemoved(event) => Some(event.reason),
        ControlEvent::SourceDecided(event) => Some(event.reason),
    };
    Some(Entry { actor: Some(decoded.context.actor), reason, ..plain(stream, record) })
}

/// An entry of what was done to the tenant.
pub fn of_outcome(stream: &StreamName, record: &Record, decoded: &OutcomeRecord) -> Entry {
    let context = &decoded.context;
    let mut entry = Entry {
        anchor: Some(context.anchor.to_string()).filter(|anchor| !anchor.is_empty()),
        cloud_id: context.cloud_id.clone(),
        request_id: context.request_id.clone(),
        status: context.status,
        trace: context.trace.clone(),
        ..plain(stream, record)
    };
    let json =
        |value: Option<&forestsync_schemas::desired::CloudValue>| value.and_then(|v| serde_json::to_value(v).ok());
    let all = |attributes: &CloudAttributes| -> Vec<Change> {
        attributes.iter().map(|(name, value)| Change::new(name, None, json(Some(value)))).collect()
    };
    let text = |anchor: &Option<SourceAnchor>| anchor.as_ref().map(|anchor| Value::String(anchor.to_string()));
    let ids = |anchors: &[SourceAnchor]| anchors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let link = |added, removed| LinkChange { attribute: "member".into(), added, removed, ..LinkChange::default() };
    let changes = match &decoded.event {
        OutcomeEvent::ObjectProvisioned(event) => all(&event.attributes),
        OutcomeEvent::ObjectUpdated(event) => {
            let change = |(name, change): (&String, &forestsync_schemas::outcomes::AttributeChange)| {
                Change::new(name, json(change.before.as_ref()), json(change.after.as_ref()))
            };
            event.changes.iter().map(change).collect()
        }
        OutcomeEvent::ObjectAdopted(event) => all(&event.attributes),
        OutcomeEvent::ObjectRestored(event) => all(&event.attributes),
        OutcomeEvent::ManagerChanged(event) => vec![Change::new("manager", text(&event.before), text(&event.after))],
        OutcomeEvent::OwnerChanged(event) => vec![Change::new("owner", text(&event.before), text(&event.after))],
        OutcomeEvent::DriftFound(event) => {
            let drifted = event.attributes.iter();
            drifted.map(|(name, d)| Change::new(name, json(d.expected.as_ref()), json(d.found.as_ref()))).collect()
        }
        OutcomeEvent::MemberAdded(event) => {
            entry.links.push(link(ids(&event.members), Vec::new()));
            Vec::new()
        }
        OutcomeEvent::MemberRemoved(event) => {
            entry.links.push(link(Vec::new(), ids(&event.members)));
            Vec::new()
        }
        OutcomeEvent::MembersDrifted(event) => {
            entry.links.push(link(ids(&event.added), ids(&event.removed)));
            Vec::new()
        }
        OutcomeEvent::ObjectDeprovisioned(_)
        | OutcomeEvent::ExportHeld(_)
        | OutcomeEvent::ExportReleased(_)
        | OutcomeEvent::DeletionDeferred(_) => Vec::new(),
        _ => return entry,
    };
    entry.summary = match &decoded.event {
        OutcomeEvent::ObjectProvisioned(_) => "created in the tenant".to_owned(),
        OutcomeEvent::ObjectAdopted(event) => format!("taken over in the tenant, by {}", matched(event)),
        OutcomeEvent::ObjectRestored(_) => "restored in the tenant".to_owned(),
        OutcomeEvent::DriftFound(_) | OutcomeEvent::MembersDrifted(_) => "changed by others in the tenant".to_owned(),
        OutcomeEvent::ObjectDeprovisioned(_) => "deleted in the tenant".to_owned(),
        OutcomeEvent::DeletionDeferred(event) => format!("disabled in the tenant, to be deleted on {}", event.until),
        OutcomeEvent::ExportHeld(event) => format!("{} is held: {}", operation(event.operation), event.detail),
        OutcomeEvent::ExportReleased(event) => {
            format!("{} is free again: {}", operation(event.operation), event.detail)
        }
        _ => String::new(),
    };
    entry.changes = changes;
    entry
}

fn matched(event: &forestsync_schemas::outcomes::ObjectAdopted) -> String {
    let name = serde_json::to_value(event.matched_by).ok().and_then(|name| name.as_str().map(str::to_owned));
    event.pair.as_ref().map(ToString::to_string).or(name).unwrap_or_default().replace('_', " ")
}

fn operation(operation: Operation) -> String {
    let name = serde_json::to_value(operation).ok().and_then(|name| name.as_str().map(str::to_owned));
    name.unwrap_or_default().replace('_', " ")
}

/// The order of what was written in the same millisecond.
fn rank(entry: &Entry) -> usize {
    let kind = entry.stream.split('.').next().unwrap_or_default();
    ["changes", "control", "decisions", "desired", "outcomes"].iter().position(|known| *known == kind).unwrap_or(9)
}

/// One order of several streams; see the [module](self).
fn merged(mut streams: Vec<VecDeque<Entry>>) -> Vec<Entry> {
    let mut all = Vec::with_capacity(streams.iter().map(VecDeque::len).sum());
    loop {
        let next: BTreeMap<String, u64> = streams
            .iter()
            .filter_map(|entries| entries.front().map(|entry| (entry.stream.clone(), entry.offset)))
            .collect();
        let is_due = |entry: &Entry| {
            let comes_first = |(stream, end): (&String, &u64)| next.get(stream).is_some_and(|offset| offset < end);
            !entry.after.iter().any(comes_first)
        };
        let heads = || streams.iter().enumerate().filter_map(|(n, entries)| entries.front().map(|entry| (n, entry)));
        let order = |(_, entry): &(usize, &Entry)| (entry.time, rank(entry));
        let chosen = heads().filter(|(_, entry)| is_due(entry)).min_by_key(order).or_else(|| heads().min_by_key(order));
        let Some((n, _)) = chosen else { return all };
        all.extend(streams.get_mut(n).and_then(VecDeque::pop_front));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(stream: &str, offset: u64, second: i64, after: &[(&str, u64)]) -> Entry {
        Entry {
            stream: stream.into(),
            offset,
            time: jiff::Timestamp::from_second(second).unwrap(),
            after: after.iter().map(|(stream, end)| ((*stream).to_owned(), *end)).collect(),
            ..Entry::default()
        }
    }

    #[test]
    fn clocks_that_differ_turn_nothing_round() {
        let changes = vec![entry("changes.a", 5, 100, &[]), entry("changes.a", 9, 200, &[])];
        // the projector's clock is far behind
        let desired =
            vec![entry("desired.x", 1, 10, &[("changes.a", 6)]), entry("desired.x", 2, 11, &[("changes.a", 10)])];
        let outcomes = vec![entry("outcomes.x", 0, 5, &[("desired.x", 2)]), entry("outcomes.x", 1, 300, &[])];
        let order: Vec<String> =
            merged(vec![outcomes.into(), changes.into(), desired.into()]).iter().map(Entry::place).collect();
        let expected = ["changes.a=5", "desired.x=1", "outcomes.x=0", "changes.a=9", "desired.x=2", "outcomes.x=1"];
        assert_eq!(order, expected);
    }
}
