//! Who is meant: an object by any name it ever had, and what is one with it.

use std::collections::BTreeSet;

use anyhow::Result;
use forestsync_domain::{Dn, ObjectGuid, SourceAnchor};
use forestsync_log::Record;
use forestsync_schemas::decisions::DecisionEvent;
use forestsync_schemas::desired::{DesiredEvent, SourceObject};
use forestsync_schemas::{ChangeRecord, DecisionRecord, DesiredRecord, OutcomeRecord};
use serde_json::Value;

use super::History;
use super::index::Key;
use crate::exit::UsageError;

/// How far up a name is followed where only a container's record says what its children are called.
const DEEPEST: usize = 64;

/// An object of a directory with the objects that were ever joined with it, or one of the tenant alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// The directory objects.
    pub objects: BTreeSet<ObjectGuid>,
    /// The source anchors that they stood for, alone or together.
    pub anchors: BTreeSet<SourceAnchor>,
}

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Seed {
    Object(ObjectGuid),
    Anchor(SourceAnchor),
}

impl Person {
    /// Finds the one that is meant; an error where there is none, or several that are not one.
    pub async fn find(history: &mut History, text: &str) -> Result<Self> {
        let mut persons: Vec<Self> = Vec::new();
        for seed in history.seeds(text).await? {
            let person = history.person(&seed).await?;
            let is_same = |known: &Self| {
                !known.anchors.is_disjoint(&person.anchors) || !known.objects.is_disjoint(&person.objects)
            };
            match persons.iter_mut().find(|known| is_same(known)) {
                Some(known) => {
                    known.objects.extend(person.objects);
                    known.anchors.extend(person.anchors);
                }
                None => persons.push(person),
            }
        }
        let shown: String = text.chars().take(120).collect();
        match persons.len() {
            0 => {
                let hint = "give a distinguished name, sign-in name or mail address that it has or had, its objectGUID, \
                            source anchor or cloud id";
                Err(UsageError::new(format!("the history knows nobody by {shown:?}"), hint).into())
            }
            1 => Ok(persons.remove(0)),
            several => {
                let mut lines = Vec::new();
                for person in &persons {
                    lines.push(format!("\n  {}", history.described(person).await?));
                }
                let hint = format!("name one of them:{}", lines.concat());
                Err(UsageError::new(format!("{several} objects have or had the name {shown:?}"), hint).into())
            }
        }
    }
}

impl History {
    /// Everything that a text may mean.
    async fn seeds(&mut self, text: &str) -> Result<BTreeSet<Seed>> {
        let mut seeds = BTreeSet::new();
        if let Ok(guid) = text.parse::<ObjectGuid>() {
            if self.is_known(guid).await? {
                seeds.insert(Seed::Object(guid));
            }
            let text = guid.to_string();
            seeds.extend(
                self.anchors_by(&Key::cloud(&text), |record| {
                    let outcome = OutcomeRecord::decode(&record.value).ok()?;
                    let is_it = outcome.context.cloud_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(&text));
                    is_it.then_some(outcome.context.anchor)
                })
                .await?,
            );
            return Ok(seeds);
        }
        let anchor = SourceAnchor::from(text.to_owned());
        if let Ok(guid) = anchor.guid() {
            let key = [Key::anchor(anchor.as_str())];
            for stream in [self.desired.clone(), self.decisions.clone(), self.outcomes.clone()] {
                if !self.offsets(&stream, &key).await?.is_empty() {
                    seeds.insert(Seed::Anchor(anchor.clone()));
                }
            }
            if seeds.is_empty() && self.is_known(guid).await? {
                seeds.insert(Seed::Object(guid));
            }
        }
        if let Some(dn) = text.parse::<Dn>().ok().filter(|dn| !dn.rdns().is_empty()) {
            seeds.extend(self.called(&dn).await?.into_iter().map(Seed::Object));
        }
        if seeds.is_empty() {
            seeds = self.named(text).await?;
        }
        Ok(seeds)
    }

    async fn is_known(&mut self, guid: ObjectGuid) -> Result<bool> {
        for stream in self.changes.clone() {
            if !self.offsets(&stream, &[Key::object(guid)]).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn anchors_by(
        &mut self,
        key: &Key,
        anchor: impl Fn(&Record) -> Option<SourceAnchor>,
    ) -> Result<BTreeSet<Seed>> {
        let outcomes = self.outcomes.clone();
        let records = self.about(&outcomes, &[*key]).await?;
        Ok(records.iter().filter_map(anchor).map(Seed::Anchor).collect())
    }

    /// The objects with this distinguished name now or at any time.
    async fn called(&mut self, dn: &Dn) -> Result<BTreeSet<ObjectGuid>> {
        let mut found = BTreeSet::new();
        for stream in self.changes.clone() {
            for record in self.about(&stream, &[Key::dn(dn)]).await? {
                let Ok(record) = ChangeRecord::decode(&record.value) else { continue };
                let object = record.context.object;
                found.extend(object.filter(|_| super::name(record).as_ref() == Some(dn)));
            }
        }
        let desired = self.desired.clone();
        for record in self.about(&desired, &[Key::dn(dn)]).await? {
            let sources = sources_of(&record).into_iter().filter(|source| source.dn == *dn);
            found.extend(sources.map(|source| source.object));
        }
        if found.is_empty() {
            // a container above it has another name now than the object's own records say
            found = self.below(dn).await?;
        }
        Ok(found)
    }

    /// The objects that are called so because of what their containers are called.
    async fn below(&mut self, dn: &Dn) -> Result<BTreeSet<ObjectGuid>> {
        let mut missing = Vec::new();
        let (mut at, mut parents) = (dn.clone(), BTreeSet::new());
        while let (Some(rdn), Some(parent)) = (at.rdn().cloned(), at.parent()) {
            missing.push(rdn);
            if parent.rdns().is_empty() || missing.len() > DEEPEST {
                return Ok(BTreeSet::new());
            }
            for stream in self.changes.clone() {
                for record in self.about(&stream, &[Key::dn(&parent)]).await? {
                    let Ok(record) = ChangeRecord::decode(&record.value) else { continue };
                    let object = record.context.object;
                    parents.extend(object.filter(|_| super::name(record).as_ref() == Some(&parent)));
                }
            }
            if !parents.is_empty() {
                break;
            }
            at = parent;
        }
        for rdn in missing.iter().rev() {
            let mut children = BTreeSet::new();
            for parent in parents {
                for stream in self.changes.clone() {
                    for record in self.about(&stream, &[Key::child(parent, rdn)]).await? {
                        children.extend(ChangeRecord::decode(&record.value).ok().and_then(|r| r.context.object));
                    }
                }
            }
            parents = children;
        }
        Ok(parents)
    }

    /// Those who have or had a sign-in name or mail address.
    async fn named(&mut self, name: &str) -> Result<BTreeSet<Seed>> {
        let (key, mut seeds) = ([Key::name(name)], BTreeSet::new());
        for stream in self.changes.clone() {
            for record in self.about(&stream, &key).await?.iter().filter(|record| says(record, name)) {
                let object = ChangeRecord::decode(&record.value).ok().and_then(|record| record.context.object);
                seeds.extend(object.map(Seed::Object));
            }
        }
        let (desired, outcomes) = (self.desired.clone(), self.outcomes.clone());
        for record in self.about(&desired, &key).await?.iter().filter(|record| says(record, name)) {
            seeds.extend(DesiredRecord::decode(&record.value).ok().and_then(|r| anchor_of(&r)).map(Seed::Anchor));
        }
        for record in self.about(&outcomes, &key).await?.iter().filter(|record| says(record, name)) {
            seeds.extend(OutcomeRecord::decode(&record.value).ok().map(|r| Seed::Anchor(r.context.anchor)));
        }
        Ok(seeds)
    }

    /// What a seed is one with.
    async fn person(&mut self, seed: &Seed) -> Result<Person> {
        let mut person = Person::default();
        match seed {
            Seed::Anchor(anchor) => _ = person.anchors.insert(anchor.clone()),
            Seed::Object(object) => {
                person.objects.insert(*object);
                for (anchor, of) in self.ties(&Key::object(*object)).await? {
                    if of.contains(object) {
                        person.anchors.insert(anchor);
                    }
                }
                if person.anchors.is_empty() {
                    let own = SourceAnchor::from_guid(*object);
                    for stream in [self.desired.clone(), self.outcomes.clone()] {
                        if !self.offsets(&stream, &[Key::anchor(own.as_str())]).await?.is_empty() {
                            person.anchors.insert(own.clone());
                        }
                    }
                }
            }
        }
        for anchor in person.anchors.clone() {
            let ties = self.ties(&Key::anchor(anchor.as_str())).await?;
            person.objects.extend(ties.into_iter().filter(|(other, _)| *other == anchor).flat_map(|(_, of)| of));
            if person.objects.is_empty()
                && let Ok(guid) = anchor.guid()
                && self.is_known(guid).await?
            {
                person.objects.insert(guid);
            }
        }
        Ok(person)
    }

    /// Which objects stood for which anchors, by the records about a key.
    async fn ties(&mut self, key: &Key) -> Result<Vec<(SourceAnchor, BTreeSet<ObjectGuid>)>> {
        let (decisions, desired) = (self.decisions.clone(), self.desired.clone());
        let mut ties = Vec::new();
        for record in self.about(&decisions, &[*key]).await? {
            match DecisionRecord::decode(&record.value).map(|record| record.event) {
                Ok(DecisionEvent::AnchorAssigned(event)) => ties.push((event.anchor, [event.object].into())),
                Ok(DecisionEvent::JoinMade(event)) => ties.push((event.anchor, [event.object].into())),
                _ => {}
            }
        }
        for record in self.about(&desired, &[*key]).await? {
            let anchor = DesiredRecord::decode(&record.value).ok().and_then(|record| anchor_of(&record));
            let objects = sources_of(&record).into_iter().map(|source| source.object).collect();
            ties.extend(anchor.map(|anchor| (anchor, objects)));
        }
        Ok(ties)
    }

    /// A person in a list.
    async fn described(&mut self, person: &Person) -> Result<String> {
        let mut parts = Vec::new();
        for object in &person.objects {
            for stream in self.changes.clone() {
                if let Some(dn) = self.name_of(&stream, *object, u64::MAX).await? {
                    parts.push(format!("{object} {dn}"));
                }
            }
        }
        if parts.is_empty() {
            parts.extend(person.anchors.iter().map(ToString::to_string));
        }
        Ok(crate::output::printable(&parts.join(", ")))
    }
}

/// The anchor of a wish for an object.
pub fn anchor_of(record: &DesiredRecord) -> Option<SourceAnchor> {
    match &record.event {
        DesiredEvent::ObjectDesired(event) => Some(event.anchor.clone()),
        DesiredEvent::ObjectRemoved(event) => Some(event.anchor.clone()),
        _ => None,
    }
}

/// The directory objects of a wish.
fn sources_of(record: &Record) -> Vec<SourceObject> {
    match DesiredRecord::decode(&record.value).map(|record| record.event) {
        Ok(DesiredEvent::ObjectDesired(event)) => [vec![event.source], event.joined].concat(),
        Ok(DesiredEvent::ObjectRemoved(event)) => vec![event.source],
        _ => Vec::new(),
    }
}

/// Whether a record says a name: two names may have the same key.
fn says(record: &Record, name: &str) -> bool {
    fn within(value: &Value, name: &str) -> bool {
        match value {
            Value::String(text) => text.to_lowercase() == name,
            Value::Array(list) => list.iter().any(|value| within(value, name)),
            Value::Object(map) => map.values().any(|value| within(value, name)),
            _ => false,
        }
    }
    let event: Value = serde_json::from_slice(&record.value).unwrap_or_default();
    event.get("data").is_some_and(|data| within(data, &name.to_lowercase()))
}
