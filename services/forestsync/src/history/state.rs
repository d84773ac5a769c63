//! What was the case at a moment: in the directory, in what was wished, and in the tenant.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use forestsync_domain::{ObjectGuid, SourceAnchor};
use forestsync_log::{Record, StreamName};
use forestsync_schemas::changes::ChangeEvent;
use forestsync_schemas::desired::DesiredEvent;
use forestsync_schemas::outcomes::{DriftPolicy, OutcomeEvent};
use forestsync_schemas::{ChangeRecord, DesiredRecord, OutcomeRecord};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::History;
use super::index::Key;
use super::mirror::{Mirror, values};
use super::moment::Moment;
use super::person::Person;
use super::timeline::Step;
use crate::exit::UsageError;

/// Where a state is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// In the directories.
    Directory,
    /// What the tenant should hold.
    Desired,
    /// What was written to the tenant, and seen there.
    Tenant,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Directory, Self::Desired, Self::Tenant];

    /// The name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Desired => "desired",
            Self::Tenant => "tenant",
        }
    }
}

/// An object on one side at a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Picture {
    /// The side.
    pub side: Side,
    /// objectGUID with the forest before it, or the source anchor.
    pub id: String,
    /// What it is called there.
    pub name: Option<String>,
    /// Whether it is there, and if not, why.
    pub state: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
    /// What it names and what names it, by id, with names as far as they are known.
    pub links: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// The last record that it follows from.
    pub place: Option<String>,
    /// What is not known any more.
    pub notes: Vec<String>,
}

impl Picture {
    fn new(side: Side, id: String) -> Self {
        let (attributes, links, notes) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { side, id, name: None, state: "unknown".into(), attributes, links, place: None, notes }
    }

    fn refer(&mut self, attribute: &str, to: Option<&SourceAnchor>) {
        match to {
            Some(to) => _ = self.links.insert(attribute.to_owned(), BTreeMap::from([(to.to_string(), None)])),
            None => _ = self.links.remove(attribute),
        }
    }

    fn link(&mut self, attribute: &str, id: &str, is_added: bool) {
        let ends = self.links.entry(attribute.to_owned()).or_default();
        if is_added {
            ends.insert(id.to_owned(), None);
        } else {
            ends.remove(id);
        }
        if ends.is_empty() {
            self.links.remove(attribute);
        }
    }

    fn empty(&mut self, state: &str) {
        self.attributes.clear();
        self.links.clear();
        state.clone_into(&mut self.state);
    }

    /// All that it says, each fact by a name: two pictures differ where these do.
    pub fn facts(&self) -> BTreeMap<String, Value> {
        let mut facts: BTreeMap<String, Value> = self.attributes.clone();
        for (attribute, ends) in &self.links {
            let ends = ends.iter().map(|(id, name)| Value::String(name.as_ref().unwrap_or(id).clone()));
            facts.insert(format!("{attribute} (links)"), Value::Array(ends.collect()));
        }
        facts.insert("(state)".into(), Value::String(self.state.clone()));
        facts.extend(self.name.clone().map(|name| ("dn".to_owned(), Value::String(name))));
        facts
    }
}

/// Up to where records count.
#[derive(Debug, Clone)]
struct Horizon {
    time: Timestamp,
    place: Option<(StreamName, u64)>,
}

impl Horizon {
    fn takes(&self, stream: &StreamName, record: &Record) -> bool {
        match &self.place {
            Some((named, offset)) if named == stream => record.offset <= *offset,
            _ => record.timestamp <= self.time,
        }
    }
}

impl History {
    async fn horizon(&mut self, moment: &Moment) -> Result<Horizon> {
        let (stream, offset) = match moment {
            Moment::Time(time) => return Ok(Horizon { time: *time, place: None }),
            Moment::Offset(stream, offset) => (stream, *offset),
        };
        if !self.index().streams().any(|known| known == stream) {
            let hint = "see forestsync log list for the streams there are";
            return Err(UsageError::new(format!("there is no stream {stream} of this configuration"), hint).into());
        }
        let end = self.index().end(stream);
        if offset >= end {
            let message = format!("{stream} has no record {offset}: it ends before {end}");
            return Err(UsageError::new(message, "name a record as audit shows it").into());
        }
        let found = self.index().first_behind(stream, offset, u64::MAX, |_| true).await?;
        let time = found.map_or(Timestamp::MAX, |record| record.timestamp);
        Ok(Horizon { time, place: Some((stream.clone(), offset)) })
    }

    /// A person at a moment, on these sides.
    pub async fn pictures(&mut self, person: &Person, moment: &Moment, sides: &[Side]) -> Result<Vec<Picture>> {
        let horizon = self.horizon(moment).await?;
        let mut pictures = Vec::new();
        if sides.contains(&Side::Directory) {
            for stream in self.changes.clone() {
                for object in &person.objects {
                    pictures.extend(self.in_directory(&stream, *object, &horizon).await?);
                }
            }
        }
        for anchor in &person.anchors {
            if sides.contains(&Side::Desired) {
                pictures.push(self.as_desired(anchor, &horizon).await?);
            }
            if sides.contains(&Side::Tenant) {
                pictures.push(self.in_tenant(anchor, &horizon).await?);
            }
        }
        Ok(pictures)
    }

    /// The object as folded up to there, with its last record; none where the stream never had it.
    async fn folded(
        &mut self,
        stream: &StreamName,
        object: ObjectGuid,
        horizon: &Horizon,
    ) -> Result<Option<(Mirror, String, Option<u64>)>> {
        let (mut mirror, mut last, mut forest) = (Mirror::default(), None, None);
        for step in self.steps(stream, object).await? {
            match step {
                Step::Event(record, decoded) => {
                    forest.get_or_insert(decoded.context.forest);
                    if horizon.takes(stream, &record) {
                        mirror.apply(&decoded.event, record.offset);
                        last = decoded.context.object.map(|_| record.offset).or(last);
                    }
                }
                Step::Concluded(record, snapshot, _) if horizon.takes(stream, &record) => {
                    mirror.conclude(snapshot);
                }
                Step::Concluded(..) => {}
            }
        }
        Ok(forest.map(|forest| (mirror, forest, last)))
    }

    async fn in_directory(
        &mut self,
        stream: &StreamName,
        object: ObjectGuid,
        horizon: &Horizon,
    ) -> Result<Option<Picture>> {
        let Some((mirror, forest, last)) = self.folded(stream, object, horizon).await? else { return Ok(None) };
        let mut picture = Picture::new(Side::Directory, format!("{forest} {object}"));
        let state = match &mirror {
            Mirror { dn: None, .. } => "not known yet",
            Mirror { is_deleted: true, .. } => "deleted",
            Mirror { is_absent: true, .. } => "not shown by a full read",
            _ => "there",
        };
        state.clone_into(&mut picture.state);
        picture.name = mirror.dn.as_ref().map(ToString::to_string);
        picture.attributes = mirror.attributes.iter().map(|(name, all)| (name.clone(), values(all))).collect();
        picture.place = last.map(|offset| format!("{stream}={offset}"));
        let at = last.unwrap_or(0);
        for (attribute, ends) in &mirror.links {
            let mut named = BTreeMap::new();
            for (to, link) in ends {
                // a tombstone's links end in both directions, and the directory does not say so
                if self.has_ended(stream, &Key::object(*to), "ObjectDeleted", link.since, horizon).await? {
                    continue;
                }
                named.insert(to.to_string(), self.name_of(stream, *to, at).await?.map(|dn| dn.to_string()));
            }
            if !named.is_empty() {
                picture.links.insert(attribute.clone(), named);
            }
        }
        if mirror.is_there() {
            for (of, attribute) in self.named_by(stream, object, horizon).await? {
                let name = self.name_of(stream, of, at).await?.map(|dn| dn.to_string());
                picture.links.entry(format!("{attribute} of")).or_default().insert(of.to_string(), name);
            }
        }
        Ok(Some(picture))
    }

    /// The objects that name this one.
    async fn named_by(
        &mut self,
        stream: &StreamName,
        object: ObjectGuid,
        horizon: &Horizon,
    ) -> Result<Vec<(ObjectGuid, String)>> {
        let mut others = BTreeSet::new();
        for record in self.about(stream, &[Key::linked(object)]).await? {
            let Ok(decoded) = ChangeRecord::decode(&record.value) else { continue };
            if let (ChangeEvent::LinkValuesChanged(event), Some(of)) = (decoded.event, decoded.context.object)
                && event.added.contains(&object)
                && horizon.takes(stream, &record)
            {
                others.insert((of, event.attribute));
            }
        }
        let mut naming = Vec::new();
        for (of, attribute) in others {
            let folded = self.folded(stream, of, horizon).await?;
            let mirror = folded.map(|(mirror, ..)| mirror).unwrap_or_default();
            let link = mirror.links.get(&attribute).and_then(|ends| ends.get(&object));
            if let Some(link) = link
                && !self.has_ended(stream, &Key::object(object), "ObjectDeleted", link.since, horizon).await?
            {
                naming.push((of, attribute));
            }
        }
        Ok(naming)
    }

    /// Whether something ended behind an offset, by an event of this type.
    async fn has_ended(
        &mut self,
        stream: &StreamName,
        key: &Key,
        kind: &str,
        since: u64,
        horizon: &Horizon,
    ) -> Result<bool> {
        let own = self.offsets(stream, &[*key]).await?;
        if own.range(since..).next().is_none() {
            return Ok(false);
        }
        let ends = self.offsets(stream, &[Key::kind(kind)]).await?;
        let both: BTreeSet<u64> = own.range(since..).copied().filter(|offset| ends.contains(offset)).collect();
        let records = self.index().records(stream, &both).await?;
        Ok(records.iter().any(|record| horizon.takes(stream, record)))
    }

    async fn as_desired(&mut self, anchor: &SourceAnchor, horizon: &Horizon) -> Result<Picture> {
        let desired = self.desired.clone();
        let mut picture = Picture::new(Side::Desired, anchor.to_string());
        "not wished".clone_into(&mut picture.state);
        let (mut shown, mut later) = (None, None);
        let mut edges = BTreeMap::new();
        let keys = [Key::anchor(anchor.as_str()), Key::linked_anchor(anchor.as_str())];
        for record in self.about(&desired, &keys).await? {
            let Ok(decoded) = DesiredRecord::decode(&record.value) else { continue };
            let is_before = horizon.takes(&desired, &record);
            match decoded.event {
                DesiredEvent::ObjectDesired(event) if event.anchor == *anchor => {
                    if !is_before {
                        later.get_or_insert(event.revision);
                        continue;
                    }
                    shown = Some(event.revision);
                    picture.state = format!("{} wished, revision {}", event.class.as_str(), event.revision);
                    picture.name = Some(event.source.dn.to_string());
                    picture.attributes = event
                        .attributes
                        .iter()
                        .filter_map(|(name, value)| Some((name.clone(), serde_json::to_value(value).ok()?)))
                        .collect();
                    picture.refer("manager", event.manager.as_ref());
                    picture.refer("owner", event.owner.as_ref());
                    let sources = std::iter::once(&event.source).chain(&event.joined);
                    let named = sources.map(|s| (format!("{} {}", s.forest, s.object), Some(s.dn.to_string())));
                    picture.links.insert("source".into(), named.collect());
                    picture.place = Some(format!("{desired}={}", record.offset));
                }
                DesiredEvent::ObjectRemoved(event) if event.anchor == *anchor => {
                    if !is_before {
                        later.get_or_insert(event.revision);
                        continue;
                    }
                    shown = Some(event.revision);
                    let reason = serde_json::to_value(event.reason).unwrap_or_default();
                    let reason = reason.as_str().unwrap_or_default().replace('_', " ");
                    picture.empty(&format!("not wished, because: {reason}"));
                    picture.place = Some(format!("{desired}={}", record.offset));
                }
                DesiredEvent::LinkDesired(event) if is_before => {
                    edges.insert((event.group, event.member), record.offset);
                }
                DesiredEvent::LinkRemoved(event) if is_before => {
                    edges.remove(&(event.group, event.member));
                }
                _ => {}
            }
        }
        for ((group, member), since) in edges {
            // it ends with either of both, without a record of its own
            let mut is_over = false;
            for end in [&group, &member] {
                let key = Key::anchor(end.as_str());
                is_over |= self.has_ended(&desired, &key, "ObjectRemoved", since, horizon).await?;
            }
            if !is_over {
                picture.edge(anchor, &group, &member, true);
            }
        }
        if let Some((first, last)) = later.and_then(|later| super::timeline::missing(shown.unwrap_or(0), later)) {
            picture.notes.push(format!(
                "revisions {first} to {last} are not in the log any more: what is shown may have been superseded before that \
                 moment"
            ));
        }
        Ok(picture)
    }

    async fn in_tenant(&mut self, anchor: &SourceAnchor, horizon: &Horizon) -> Result<Picture> {
        let outcomes = self.outcomes.clone();
        let mut picture = Picture::new(Side::Tenant, anchor.to_string());
        "never written".clone_into(&mut picture.state);
        let keys = [Key::anchor(anchor.as_str()), Key::linked_anchor(anchor.as_str())];
        for record in self.about(&outcomes, &keys).await? {
            let Ok(decoded) = OutcomeRecord::decode(&record.value) else { continue };
            if !horizon.takes(&outcomes, &record) {
                break;
            }
            let is_own = decoded.context.anchor == *anchor;
            if is_own && picture.write(&decoded) {
                picture.place = Some(format!("{outcomes}={}", record.offset));
            }
            let of = decoded.context.anchor;
            match decoded.event {
                OutcomeEvent::MemberAdded(event) => picture.members(anchor, &of, &event.members, true),
                OutcomeEvent::MemberRemoved(event) => picture.members(anchor, &of, &event.members, false),
                _ => {}
            }
        }
        Ok(picture)
    }
}

impl Picture {
    fn edge(&mut self, own: &SourceAnchor, group: &SourceAnchor, member: &SourceAnchor, is_added: bool) {
        if group == own {
            self.link("member", member.as_str(), is_added);
        } else if member == own {
            self.link("member of", group.as_str(), is_added);
        }
    }

    fn members(&mut self, own: &SourceAnchor, group: &SourceAnchor, members: &[SourceAnchor], is_added: bool) {
        for member in members {
            self.edge(own, group, member, is_added);
        }
    }

    fn hold(&mut self, name: &str, value: Option<&forestsync_schemas::desired::CloudValue>) {
        match value.and_then(|value| serde_json::to_value(value).ok()) {
            Some(value) => _ = self.attributes.insert(name.to_owned(), value),
            None => _ = self.attributes.remove(name),
        }
    }

    fn holds(&mut self, record: &OutcomeRecord, attributes: &forestsync_schemas::desired::CloudAttributes) {
        self.attributes.clear();
        for (name, value) in attributes {
            self.hold(name, Some(value));
        }
        let id = record.context.cloud_id.as_deref().unwrap_or_default();
        self.state = format!("{} {id} there", record.context.class.as_str());
    }

    /// Takes in an outcome; whether that changed what the tenant holds.
    fn write(&mut self, record: &OutcomeRecord) -> bool {
        match &record.event {
            OutcomeEvent::ObjectProvisioned(event) => self.holds(record, &event.attributes),
            OutcomeEvent::ObjectAdopted(event) => self.holds(record, &event.attributes),
            OutcomeEvent::ObjectRestored(event) => self.holds(record, &event.attributes),
            OutcomeEvent::ObjectUpdated(event) => {
                event.changes.iter().for_each(|(name, change)| self.hold(name, change.after.as_ref()));
            }
            OutcomeEvent::ManagerChanged(event) => self.refer("manager", event.after.as_ref()),
            OutcomeEvent::OwnerChanged(event) => self.refer("owner", event.after.as_ref()),
            OutcomeEvent::ObjectDeprovisioned(_) => self.empty("deleted"),
            OutcomeEvent::ObjectRelinquished(event) => self.empty(&format!("let go: {}", event.code)),
            OutcomeEvent::DeletedByOthers(_) => self.empty("deleted by others"),
            OutcomeEvent::DriftFound(event) => {
                for (name, drifted) in &event.attributes {
                    self.hold(name, drifted.found.as_ref());
                    if drifted.policy == DriftPolicy::Report {
                        self.notes.push(format!("others changed {name}"));
                    }
                }
            }
            _ => return false,
        }
        true
    }
}
