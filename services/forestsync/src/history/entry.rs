//! One thing that happened, as it is shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::output::printable;

/// An attribute before and after; null means without a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The attribute.
    pub attribute: String,
    /// Its value before.
    pub before: Option<Value>,
    /// Its value after.
    pub after: Option<Value>,
    /// The rule that the value follows from, and where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The directory attributes that the rule reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
}

impl Change {
    /// One without a rule.
    pub fn new(attribute: &str, before: Option<Value>, after: Option<Value>) -> Self {
        Self { attribute: attribute.to_owned(), before, after, ..Self::default() }
    }
}

/// Links that came and went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LinkChange {
    /// The attribute: `member`, `manager`, `managedBy`.
    pub attribute: String,
    /// The object that has it, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Those that went, by objectGUID or anchor.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Those that came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// What they are called, as far as that was looked up.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
}

/// Something that happened.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Entry {
    /// When it was written to the log.
    pub time: Timestamp,
    /// The stream.
    pub stream: String,
    /// The record.
    pub offset: u64,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says, without values.
    pub summary: String,
    /// The forest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forest: Option<String>,
    /// objectGUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What the object is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dn: Option<String>,
    /// The source anchor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
    /// The domain controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// Its database's invocationId.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<String>,
    /// uSNChanged there, where the method of reading tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usn: Option<u64>,
    /// Who decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why, in that person's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The revision of the desired object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Revisions before it that are not in the log any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_revisions: Option<(u64, u64)>,
    /// Graph's request-id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Graph's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The cloud object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_id: Option<String>,
    /// W3C trace of the look that began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What had been read or wished when it was written, as first offsets that had not.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub after: BTreeMap<String, u64>,
    /// Attributes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Links.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkChange>,
}

/// Whether values of attributes are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Values {
    /// They are.
    #[default]
    Shown,
    /// The attributes' names alone.
    Hidden,
}

/// A value on one line.
pub fn text(value: Option<&Value>) -> String {
    let part = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            map.get("base64").and_then(Value::as_str).map_or_else(String::new, |b| format!("base64:{b}"))
        }
        other => other.to_string(),
    };
    let text = match value {
        None | Some(Value::Null) => return "-".to_owned(),
        Some(Value::Array(list)) => list.iter().map(part).collect::<Vec<_>>().join("; "),
        Some(other) => part(other),
    };
    printable(&text)
}

impl Change {
    /// One line.
    pub fn line(&self) -> String {
        let rule = self.rule.as_ref().map(|rule| format!("   [{rule}]")).unwrap_or_default();
        let values = match (&self.before, &self.after) {
            (None, after) => text(after.as_ref()),
            (before, after) => format!("{} -> {}", text(before.as_ref()), text(after.as_ref())),
        };
        printable(&format!("{}: {values}{rule}", self.attribute))
    }
}

/// How many names of links are shown on a line.
const NAMED: usize = 5;

impl LinkChange {
    /// One line.
    pub fn line(&self) -> String {
        let side = |sign: &str, list: &[String]| {
            let name = |id: &String| self.names.get(id).unwrap_or(id).clone();
            let mut names: Vec<String> = list.iter().take(NAMED).map(name).collect();
            if list.len() > NAMED {
                names.push(format!("and {} more", list.len() - NAMED));
            }
            (!list.is_empty()).then(|| format!("{sign} {}", names.join("; ")))
        };
        let sides = [side("added", &self.added), side("removed", &self.removed)].into_iter().flatten();
        // of another object: the one that is asked about came or went
        if let Some(of) = &self.of {
            let sides = [("added", &self.added), ("removed", &self.removed)];
            let sides: Vec<&str> = sides.iter().filter(|(_, list)| !list.is_empty()).map(|(sign, _)| *sign).collect();
            return printable(&format!(
                "{} of {}: {}",
                self.attribute,
                self.names.get(of).unwrap_or(of),
                sides.join(", ")
            ));
        }
        printable(&format!("{}: {}", self.attribute, sides.collect::<Vec<_>>().join(", ")))
    }
}

impl Entry {
    /// The place of the record.
    pub fn place(&self) -> String {
        format!("{}={}", self.stream, self.offset)
    }

    /// Takes values out.
    pub fn hide(&mut self) {
        for change in &mut self.changes {
            (change.before, change.after) = (None, None);
        }
    }

    /// Who or what did it.
    pub fn by(&self) -> String {
        let controller = || {
            let usn = self.usn.map(|usn| format!(" USN {usn}")).unwrap_or_default();
            self.controller.as_ref().map(|controller| format!("{controller}{usn}"))
        };
        let graph = || {
            let status = self.status.map(|status| format!(" {status}")).unwrap_or_default();
            self.request_id.as_ref().map(|id| format!("Graph{status} {id}"))
        };
        let revision = || self.revision.map(|revision| format!("revision {revision}"));
        let by = self.actor.clone().or_else(controller).or_else(graph).or_else(revision);
        printable(&by.unwrap_or_else(|| self.forest.clone().unwrap_or_default()))
    }

    /// What is shown of it, line by line.
    pub fn lines(&self, values: Values) -> Vec<String> {
        let mut lines = vec![printable(&self.summary)];
        lines.retain(|line| !line.is_empty());
        match values {
            Values::Shown => lines.extend(self.changes.iter().map(Change::line)),
            Values::Hidden => {
                let names: Vec<&str> = self.changes.iter().map(|change| change.attribute.as_str()).collect();
                lines.extend((!names.is_empty()).then(|| printable(&names.join(", "))));
            }
        }
        lines.extend(self.links.iter().map(LinkChange::line));
        lines
    }

    /// Leaves of it what is about one attribute or link.
    pub fn narrow(&mut self, attribute: &str) {
        self.changes.retain(|change| change.attribute.eq_ignore_ascii_case(attribute));
        self.links.retain(|link| link.attribute.eq_ignore_ascii_case(attribute));
    }

    /// Whether it changed an attribute or link of this name, in any case.
    pub fn concerns(&self, attribute: &str) -> bool {
        let is = |name: &str| name.eq_ignore_ascii_case(attribute);
        self.changes.iter().any(|change| is(&change.attribute)) || self.links.iter().any(|link| is(&link.attribute))
    }
}
