//! What a record is about, told by a look at as little of it as possible.
//!
//! What is no event, or one of a later version that looks different, is about nothing here: it is found by `log tail`.

use std::borrow::Cow;

use forestsync_domain::{Dn, ObjectGuid};
use forestsync_log::{Record, StreamName};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::index::Key;

/// Takes a key; of names also what has them.
type Sink<'a> = &'a mut dyn FnMut(Key, Option<Key>);

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    context: Context<'a>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize, Default)]
struct Context<'a> {
    object: Option<ObjectGuid>,
    #[serde(borrow)]
    anchor: Option<Cow<'a, str>>,
    #[serde(borrow)]
    cloud_id: Option<Cow<'a, str>>,
}

/// The attributes that name an object, of a directory or of the tenant.
#[derive(Deserialize, Default)]
struct Names<'a> {
    #[serde(borrow, rename = "userPrincipalName")]
    upn: Option<&'a RawValue>,
    #[serde(borrow)]
    mail: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Image<'a> {
    dn: Option<Dn>,
    parent: Option<ObjectGuid>,
    #[serde(borrow, default)]
    set: Names<'a>,
    #[serde(borrow, default)]
    attributes: Names<'a>,
}

#[derive(Deserialize)]
struct Links {
    #[serde(default)]
    removed: Vec<ObjectGuid>,
    #[serde(default)]
    added: Vec<ObjectGuid>,
}

#[derive(Deserialize)]
struct Source {
    object: ObjectGuid,
    dn: Dn,
}

#[derive(Deserialize)]
struct Wish<'a> {
    #[serde(borrow)]
    anchor: Cow<'a, str>,
    source: Source,
    #[serde(default)]
    joined: Vec<Source>,
    #[serde(borrow, default)]
    attributes: Names<'a>,
}

#[derive(Deserialize)]
struct Edge<'a> {
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    member: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Decided<'a> {
    object: Option<ObjectGuid>,
    dn: Option<Dn>,
    #[serde(borrow)]
    anchor: Option<Cow<'a, str>>,
    #[serde(default)]
    emptied: Vec<ObjectGuid>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(default)]
    members: Vec<String>,
    #[serde(default)]
    ended: Vec<String>,
    #[serde(default)]
    added: Vec<String>,
    #[serde(default)]
    removed: Vec<String>,
    #[serde(borrow)]
    before: Option<Cow<'a, str>>,
    #[serde(borrow)]
    after: Option<Cow<'a, str>>,
    #[serde(borrow)]
    attributes: Option<&'a RawValue>,
    #[serde(borrow)]
    changes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Control {
    #[serde(default)]
    writes: Vec<Write>,
    #[serde(default)]
    listed: Vec<String>,
    seen: Option<Seen>,
}

#[derive(Deserialize)]
struct Write {
    anchor: String,
}

#[derive(Deserialize)]
struct Seen {
    #[serde(default)]
    emptied: Vec<ObjectGuid>,
}

/// Tells what the record is about.
pub fn glance(stream: &StreamName, record: &Record, sink: Sink<'_>) {
    let Ok(wire) = serde_json::from_slice::<Wire<'_>>(&record.value) else { return };
    let kind = wire.r#type.as_ref();
    // one of another shape is left out, and never an error: the index only says where to look
    let _shape = match stream.as_str().split_once('.').map(|(kind, _)| kind) {
        Some("changes") => change(kind, &wire, sink),
        Some("desired") => desired(kind, wire.data, sink),
        Some("decisions") => decision(kind, wire.data, sink),
        Some("outcomes") => outcome(kind, &wire, sink),
        Some("control") => control(kind, wire.data, sink),
        _ => {
            sink(Key::kind(kind), None);
            Ok(())
        }
    };
}

type Shape = Result<(), serde_json::Error>;

/// The texts of a value, whether it is one or a list; what is binary is no name.
fn texts(raw: &RawValue) -> Vec<String> {
    let one = || serde_json::from_str::<String>(raw.get()).map(|one| vec![one]);
    serde_json::from_str::<Vec<String>>(raw.get()).or_else(|_| one()).unwrap_or_default()
}

fn names(names: &Names<'_>, of: Key, sink: Sink<'_>) {
    for raw in [names.upn, names.mail].into_iter().flatten() {
        for name in texts(raw) {
            sink(Key::name(&name), Some(of));
        }
    }
}

fn change(kind: &str, wire: &Wire<'_>, sink: Sink<'_>) -> Shape {
    let Some(object) = wire.context.object else {
        if kind != "CursorAdvanced" {
            sink(Key::kind(kind), None);
        }
        return Ok(());
    };
    let key = Key::object(object);
    sink(key, None);
    if kind == "ObjectDeleted" {
        sink(Key::kind(kind), None);
    }
    if kind == "LinkValuesChanged" {
        let links: Links = serde_json::from_str(wire.data.get())?;
        links.removed.into_iter().chain(links.added).for_each(|to| sink(Key::linked(to), None));
        return Ok(());
    }
    let image: Image<'_> = serde_json::from_str(wire.data.get())?;
    names(&image.set, key, sink);
    names(&image.attributes, key, sink);
    if let Some(dn) = &image.dn {
        sink(Key::dn(dn), Some(key));
        if let (Some(parent), Some(rdn)) = (image.parent, dn.rdn()) {
            sink(Key::child(parent, rdn), Some(key));
        }
    }
    Ok(())
}

fn desired(kind: &str, data: &RawValue, sink: Sink<'_>) -> Shape {
    match kind {
        "ObjectDesired" | "ObjectRemoved" => {
            let wish: Wish<'_> = serde_json::from_str(data.get())?;
            let key = Key::anchor(&wish.anchor);
            sink(key, None);
            if kind == "ObjectRemoved" {
                sink(Key::kind(kind), None);
            }
            for source in std::iter::once(&wish.source).chain(&wish.joined) {
                sink(Key::object(source.object), Some(key));
                sink(Key::dn(&source.dn), Some(key));
            }
            names(&wish.attributes, key, sink);
        }
        "LinkDesired" | "LinkRemoved" => {
            let edge: Edge<'_> = serde_json::from_str(data.get())?;
            sink(Key::linked_anchor(&edge.group), None);
            sink(Key::linked_anchor(&edge.member), None);
        }
        _ => sink(Key::kind(kind), None),
    }
    Ok(())
}

fn decision(kind: &str, data: &RawValue, sink: Sink<'_>) -> Shape {
    let decided: Decided<'_> = serde_json::from_str(data.get())?;
    decided.object.into_iter().chain(decided.emptied).for_each(|object| sink(Key::object(object), None));
    if let Some(anchor) = &decided.anchor {
        sink(Key::anchor(anchor), None);
    }
    if let (Some(object), Some(dn)) = (decided.object, &decided.dn) {
        sink(Key::dn(dn), Some(Key::object(object)));
    }
    if decided.object.is_none() {
        sink(Key::kind(kind), None);
    }
    Ok(())
}

fn outcome(kind: &str, wire: &Wire<'_>, sink: Sink<'_>) -> Shape {
    let anchor = wire.context.anchor.as_deref().filter(|anchor| !anchor.is_empty());
    let Some(anchor) = anchor else {
        sink(Key::kind(kind), None);
        return Ok(());
    };
    let key = Key::anchor(anchor);
    sink(key, None);
    if let Some(id) = &wire.context.cloud_id {
        sink(Key::cloud(id), Some(key));
    }
    let outcome: Outcome<'_> = serde_json::from_str(wire.data.get())?;
    let members = [outcome.members, outcome.ended, outcome.added, outcome.removed].into_iter().flatten();
    let others = outcome.before.into_iter().chain(outcome.after).map(Cow::into_owned);
    members.chain(others).for_each(|other| sink(Key::linked_anchor(&other), None));
    // the attributes of a drift that ended are a list of names
    if let Some(found) = outcome.attributes.and_then(|raw| serde_json::from_str::<Names<'_>>(raw.get()).ok()) {
        names(&found, key, sink);
    }
    if let Some(changes) = outcome.changes {
        let changes: Names<'_> = serde_json::from_str(changes.get())?;
        for change in [changes.upn, changes.mail].into_iter().flatten() {
            let change: After<'_> = serde_json::from_str(change.get())?;
            for name in change.after.map(texts).unwrap_or_default() {
                sink(Key::name(&name), Some(key));
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct After<'a> {
    #[serde(borrow)]
    after: Option<&'a RawValue>,
}

fn control(kind: &str, data: &RawValue, sink: Sink<'_>) -> Shape {
    sink(Key::kind(kind), None);
    let control: Control = serde_json::from_str(data.get())?;
    let anchors = control.writes.into_iter().map(|write| write.anchor).chain(control.listed);
    anchors.for_each(|anchor| sink(Key::anchor(&anchor), None));
    control.seen.into_iter().flat_map(|seen| seen.emptied).for_each(|object| sink(Key::object(object), None));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use forestsync_schemas::samples;
    use jiff::Timestamp;
    use serde_json::Value;

    use super::*;

    /// All texts anywhere in a value.
    fn texts(value: &Value, all: &mut BTreeSet<String>) {
        match value {
            Value::String(text) => _ = all.insert(text.clone()),
            Value::Array(list) => list.iter().for_each(|value| texts(value, all)),
            Value::Object(map) => map.values().for_each(|value| texts(value, all)),
            _ => {}
        }
    }

    /// Whatever looks like an objectGUID or a source anchor in an event is found by it, in each event that there is.
    #[test]
    fn every_identity_in_every_event_is_a_key() {
        let encoded = |kind: &str, values: Vec<Vec<u8>>| {
            values.into_iter().map(|value| (format!("{kind}.x"), value)).collect::<Vec<_>>()
        };
        let mut all = encoded("changes", samples::changes().iter().map(|r| r.encode().unwrap()).collect());
        all.extend(encoded("desired", samples::desired().iter().map(|r| r.encode().unwrap()).collect()));
        all.extend(encoded("decisions", samples::decisions().iter().map(|r| r.encode().unwrap()).collect()));
        all.extend(encoded("outcomes", samples::outcomes().iter().map(|r| r.encode().unwrap()).collect()));
        all.extend(encoded("control", samples::control().iter().map(|r| r.encode().unwrap()).collect()));
        for (stream, value) in all {
            let event: Value = serde_json::from_slice(&value).unwrap();
            let (headers, timestamp) = (Vec::new(), Timestamp::UNIX_EPOCH);
            let record = Record { offset: 0, timestamp, key: None, value: Bytes::from(value), headers, link: None };
            let mut keys = BTreeSet::new();
            glance(&stream.parse().unwrap(), &record, &mut |key, _| _ = keys.insert(key));
            let mut found = BTreeSet::new();
            // what is an object of the parent has its own record; an id of a read or of an event is no object
            let mut data = event["data"].clone();
            for name in ["snapshot", "approval", "parent", "from", "to", "seen", "other", "join", "manager", "owner"] {
                data.as_object_mut().map(|data| data.remove(name));
            }
            texts(&data, &mut found);
            texts(&event["context"]["object"], &mut found);
            texts(&event["context"]["anchor"], &mut found);
            for text in found {
                if let Ok(guid) = text.parse::<ObjectGuid>() {
                    let either = [Key::object(guid), Key::linked(guid), Key::cloud(&text)];
                    assert!(either.iter().any(|key| keys.contains(key)), "{text} of {event}");
                }
                if text.len() == 24 && text.ends_with("==") {
                    let either = [Key::anchor(&text), Key::linked_anchor(&text)];
                    assert!(either.iter().any(|key| keys.contains(key)), "{text} of {event}");
                }
                if let Ok(dn) = text.parse::<Dn>()
                    && text.starts_with("CN=")
                    && !stream.starts_with("outcomes")
                {
                    assert!(keys.contains(&Key::dn(&dn)), "{text} of {event}");
                }
            }
            assert!(!keys.is_empty() || event["type"] == "CursorAdvanced", "{event}");
        }
    }
}
