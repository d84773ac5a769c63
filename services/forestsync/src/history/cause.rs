//! From a value back to what it came from, and on to the request that wrote it.

use anyhow::Result;
use forestsync_schemas::changes::ChangeEvent;
use forestsync_schemas::{ChangeRecord, trace};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::History;
use super::entry::{self, Change, Entry};
use crate::output::printable;

/// Offsets behind a change within which its page ends.
const PAGE: u64 = 4_096;

/// The last change of an attribute, with what came of it.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The attribute as it is called where it changed.
    pub attribute: String,
    /// What the object was called then.
    pub dn: Option<String>,
    /// Its value before.
    pub before: Option<Value>,
    /// Its value after.
    pub after: Option<Value>,
    /// When the directory showed it, or when it was wished where no change of the directory caused it.
    pub time: Timestamp,
    /// The forest.
    pub forest: Option<String>,
    /// The controller that showed it. A directory tells nobody which person wrote.
    pub controller: Option<String>,
    /// uSNChanged on that controller.
    pub usn: Option<u64>,
    /// Where the method of reading does not tell uSNChanged: the controller's highest one when the page was read.
    pub usn_at_most: Option<u64>,
    /// The record of the change.
    pub place: Option<String>,
    /// The wish that followed.
    pub desired: Option<Wished>,
    /// The request that wrote it.
    pub request: Option<Written>,
}

/// A wish.
#[derive(Debug, Serialize)]
pub struct Wished {
    /// The revision.
    pub revision: Option<u64>,
    /// The record.
    pub place: String,
    /// The cloud attributes that changed with it.
    pub attributes: Vec<String>,
    /// Their rules.
    pub rules: Vec<String>,
}

/// A request.
#[derive(Debug, Serialize)]
pub struct Written {
    /// Graph's request-id; none where the write was confirmed by reading after its answer was lost.
    pub request_id: Option<String>,
    /// The status.
    pub status: Option<u16>,
    /// When it was confirmed.
    pub time: Timestamp,
    /// The record.
    pub place: String,
}

fn is_of(entry: &Entry, kind: &str) -> bool {
    entry.stream.strip_prefix(kind).is_some_and(|rest| rest.starts_with('.'))
}

/// Whether a wish changed the attribute, or one whose rule reads it.
fn flows(change: &Change, attribute: &str) -> bool {
    change.attribute.eq_ignore_ascii_case(attribute)
        || change.reads.iter().any(|read| read.eq_ignore_ascii_case(attribute))
}

fn has_read(wish: &Entry, change: &Entry) -> bool {
    wish.after.get(&change.stream).is_some_and(|end| *end > change.offset)
}

fn of_same_look(a: &Entry, b: &Entry) -> bool {
    let id = |entry: &Entry| entry.trace.as_deref().and_then(trace::trace_id).map(str::to_owned);
    id(a).is_some() && id(a) == id(b)
}

/// The entries that changed an attribute last: in the directory, as a wish, in the tenant.
fn chain<'a>(life: &'a [Entry], attribute: &str) -> [Option<&'a Entry>; 3] {
    let changes = |entry: &&Entry| is_of(entry, "changes") && entry.concerns(attribute);
    let wishes = || life.iter().filter(|entry| is_of(entry, "desired"));
    let wished = |entry: &&Entry| entry.concerns(attribute) || entry.changes.iter().any(|c| flows(c, attribute));
    let (change, wish) = match life.iter().rfind(changes) {
        Some(change) => {
            let after = || wishes().filter(|wish| has_read(wish, change)).filter(wished);
            let wish = after().find(|wish| of_same_look(wish, change)).or_else(|| after().next());
            (Some(change), wish)
        }
        // it is the tenant's: what its rule reads changed before
        None => match wishes().rfind(|entry| entry.concerns(attribute)) {
            None => (None, None),
            Some(wish) => {
                let reads = |name: &str| {
                    let changes = wish.changes.iter().filter(|change| change.attribute.eq_ignore_ascii_case(attribute));
                    let mut read = changes.flat_map(|change| &change.reads);
                    name.eq_ignore_ascii_case(attribute) || read.any(|read| read.eq_ignore_ascii_case(name))
                };
                let caused = |entry: &&Entry| {
                    is_of(entry, "changes")
                        && has_read(wish, entry)
                        && (entry.changes.iter().any(|change| reads(&change.attribute))
                            || entry.links.iter().any(|link| reads(&link.attribute)))
                };
                (life.iter().rfind(caused), Some(wish))
            }
        },
    };
    let written = |entry: &&Entry| {
        let Some(wish) = wish else { return entry.concerns(attribute) };
        let targets = wish.changes.iter().filter(|change| flows(change, attribute));
        let mut targets = targets.map(|change| change.attribute.as_str());
        let is_covered = entry.after.get(&wish.stream).is_some_and(|end| *end > wish.offset);
        is_covered && (entry.concerns(attribute) || targets.any(|target| entry.concerns(target)))
    };
    let is_write =
        |entry: &&Entry| is_of(entry, "outcomes") && entry.kind != "DriftFound" && entry.kind != "ExportFailed";
    let found = if change.is_some() && wish.is_none() {
        None
    } else {
        let mut all = life.iter().filter(is_write).filter(written);
        if wish.is_some() { all.next() } else { all.next_back() }
    };
    [change, wish, found]
}

impl History {
    /// Who changed an attribute last, as far as the history tells; none where nobody ever did.
    pub async fn who_changed(&mut self, life: &[Entry], attribute: &str) -> Result<Option<Answer>> {
        let [change, wish, written] = chain(life, attribute);
        let Some(origin) = change.or(wish).or(written) else { return Ok(None) };
        // by the name that was asked for, which may be that of the tenant's attribute
        let named = |entry: &'_ Entry| {
            entry.changes.iter().find(|change| change.attribute.eq_ignore_ascii_case(attribute)).cloned()
        };
        let value = [Some(origin), wish, written].into_iter().flatten().find_map(named);
        let usn_at_most = match change.filter(|change| change.usn.is_none()) {
            Some(change) => self.highest_usn(change).await?,
            None => None,
        };
        let request = written.map(|entry| Written {
            request_id: entry.request_id.clone(),
            status: entry.status,
            time: entry.time,
            place: entry.place(),
        });
        Ok(Some(Answer {
            attribute: value.as_ref().map_or_else(|| attribute.to_owned(), |change| change.attribute.clone()),
            dn: origin.dn.clone().or_else(|| wish.and_then(|wish| wish.dn.clone())),
            before: value.as_ref().and_then(|change| change.before.clone()),
            after: value.and_then(|change| change.after).or_else(|| linked(origin, attribute)),
            time: origin.time,
            forest: origin.forest.clone(),
            controller: origin.controller.clone(),
            usn: origin.usn,
            usn_at_most,
            place: change.map(Entry::place),
            desired: wish.map(|wish| wished(wish, attribute)),
            request,
        }))
    }

    /// The highest USN of the controller when the page of a change was read.
    async fn highest_usn(&self, change: &Entry) -> Result<Option<u64>> {
        let stream = change.stream.parse()?;
        let cursor = |value: &[u8]| match ChangeRecord::decode(value).map(|record| record.event) {
            Ok(ChangeEvent::CursorAdvanced(event)) => Some(event.to.highest_committed_usn.0),
            _ => None,
        };
        let found = self.index().first_behind(&stream, change.offset, PAGE, |r| cursor(&r.value).is_some()).await?;
        Ok(found.and_then(|record| cursor(&record.value)))
    }
}

fn linked(entry: &Entry, attribute: &str) -> Option<Value> {
    let link = entry.links.iter().find(|link| link.attribute.eq_ignore_ascii_case(attribute))?;
    Some(Value::String(link.line().split_once(": ").map_or_else(String::new, |(_, text)| text.to_owned())))
}

fn wished(wish: &Entry, attribute: &str) -> Wished {
    let changes = || wish.changes.iter().filter(|change| flows(change, attribute));
    Wished {
        revision: wish.revision,
        place: wish.place(),
        attributes: changes().map(|change| change.attribute.clone()).collect(),
        rules: changes().filter_map(|change| change.rule.clone()).collect(),
    }
}

impl Answer {
    /// One line.
    pub fn line(&self, shown: entry::Values) -> String {
        let mut parts = Vec::new();
        let of = self.dn.as_deref().unwrap_or("the object");
        let value = match shown {
            entry::Values::Shown => {
                format!(": {} -> {}", entry::text(self.before.as_ref()), entry::text(self.after.as_ref()))
            }
            entry::Values::Hidden => String::new(),
        };
        parts.push(format!("{} of {of}{value}", self.attribute));
        let usn = match (self.usn, self.usn_at_most) {
            (Some(usn), _) => format!(" USN {usn}"),
            (None, Some(usn)) => format!(" USN {usn} or before"),
            (None, None) => String::new(),
        };
        let controller =
            self.controller.as_ref().map(|controller| format!(" at {controller}{usn}")).unwrap_or_default();
        let place = self.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        parts.push(format!("on {}{controller}{place}", self.time));
        parts.push(match &self.desired {
            None => "no wish followed".to_owned(),
            Some(wish) => {
                let revision = wish.revision.map(|revision| format!("revision {revision}"));
                format!("wished by {} ({})", revision.unwrap_or_else(|| "a link".to_owned()), wish.place)
            }
        });
        parts.push(match &self.request {
            None => "no request followed".to_owned(),
            Some(request) => {
                let id = request.request_id.as_deref().unwrap_or("whose answer was lost");
                let status = request.status.map(|status| format!(" {status}")).unwrap_or_default();
                format!("written by request {id}{status} on {}", request.time)
            }
        });
        printable(&parts.join("; "))
    }
}
