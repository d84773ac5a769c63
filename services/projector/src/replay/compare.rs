//! What differs between two projections: a walk over the rows of both, in the order of their keys.

use std::cmp::Ordering;
use std::path::Path;

use forestsync_domain::{AttributeValue, Attributes};
use serde::Serialize;

use super::Result;
use crate::StoreError;
use crate::config::Plan;
use crate::engine::Engine;
use crate::keys::{self, ObjectKey};
use crate::round::Round;
use crate::rows::{ObjectRow, StoredValue, Wish, split_origin};
use crate::store::Value;

use crate::ProjectorConfig;

/// One row that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What the row is: `object`, `part of an object`, `link`, `child`, `sid` or `wish`.
    pub kind: &'static str,
    /// The object's name as either of the two knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The object by objectGUID, or the wish by its source anchor.
    pub object: String,
    /// What differs: what one of them lacks, or fields and attributes; with both values where those are asked for.
    pub differs: Vec<String>,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Differences {
    /// Rows that differ.
    pub count: u64,
    /// The first of them.
    pub rows: Vec<Difference>,
}

/// Compares two databases of `config`, that in its directory and `other`: which rows that count for the state digest
/// differ, at most `limit` of them in detail. Values are shown with `values` only. Both must be at rest. Blocks.
pub fn compare(config: &ProjectorConfig, other: &Path, limit: usize, values: bool) -> Result<Differences> {
    let open = |directory: &Path| {
        let config = ProjectorConfig { directory: directory.to_owned(), ..config.clone() };
        let plan = Plan::new(config)?;
        crate::projector::catch(directory, || Engine::open_for_questions(plan))
    };
    let (live, other) = (open(&config.directory)?, open(other)?);
    let mut sides = Sides { live: live.round()?, other: other.round()?, values };
    let mut found = Differences::default();
    let is_state = |key: &[u8]| key.first().is_some_and(|prefix| keys::is_state(*prefix));
    let mut ours = live.store.from(&[]).filter(|row| row.as_ref().map_or(true, |(key, _)| is_state(key))).peekable();
    let mut theirs = other.store.from(&[]).filter(|row| row.as_ref().map_or(true, |(key, _)| is_state(key))).peekable();
    loop {
        // an error is taken before anything else
        let order = match (ours.peek(), theirs.peek()) {
            (None, None) => return Ok(found),
            (Some(Ok((our, _))), Some(Ok((their, _)))) => our.cmp(their),
            (Some(Err(_)), _) | (Some(Ok(_)), None) => Ordering::Less,
            (_, Some(_)) => Ordering::Greater,
        };
        let our = if order.is_le() { ours.next().transpose()? } else { None };
        let their = if order.is_ge() { theirs.next().transpose()? } else { None };
        let Some(key) = our.as_ref().or(their.as_ref()).map(|(key, _)| key.clone()) else { continue };
        let (our, their) = (our.map(|(_, value)| value), their.map(|(_, value)| value));
        if content(&key, our.as_ref()) == content(&key, their.as_ref()) {
            continue;
        }
        found.count += 1;
        if found.rows.len() < limit {
            found.rows.push(sides.tell(&key, our.as_ref(), their.as_ref())?);
        }
    }
}

/// What counts of a row.
fn content<'a>(key: &[u8], value: Option<&'a Value>) -> Option<&'a [u8]> {
    value.map(|value| if key.first() == Some(&keys::OBJECT) { split_origin(value).0 } else { &value[..] })
}

struct Sides<'a> {
    live: Round<'a>,
    other: Round<'a>,
    values: bool,
}

impl Sides<'_> {
    fn tell(
        &mut self,
        key: &[u8],
        ours: Option<&Value>,
        theirs: Option<&Value>,
    ) -> std::result::Result<Difference, StoreError> {
        let prefix = key.first().copied().unwrap_or_default();
        let mut differs = match (ours, theirs) {
            (Some(_), None) => vec!["only in the live one".to_owned()],
            (None, Some(_)) => vec!["only in the replay".to_owned()],
            (Some(ours), Some(theirs)) => match prefix {
                keys::OBJECT => self.of_objects(key, ours, theirs)?,
                keys::WISH => {
                    let (ours, theirs) = (self.live.decode(key, ours)?, self.other.decode(key, theirs)?);
                    of_wishes(&ours, &theirs, self.values)
                }
                keys::EDGE => vec!["the full read it was last seen in".to_owned()],
                _ => vec!["content".to_owned()],
            },
            (None, None) => Vec::new(),
        };
        let (kind, object) = match prefix {
            keys::OBJECT => ("object", keys::read_object(key)),
            keys::SPILL => ("part of an object", keys::read_object(key)),
            keys::EDGE => ("link", keys::read_edge(key).map(|(from, _, _)| from)),
            keys::EDGE_IN => ("link", keys::read_edge_in(key).map(|(_, from)| from)),
            keys::CHILD => ("child", keys::read_object(key).zip(keys::read_child(key)).map(child)),
            keys::SID => ("sid", keys::read_sid(key)),
            _ => ("wish", None),
        };
        if let Some((_, kind, to)) = keys::read_edge(key).filter(|_| prefix == keys::EDGE) {
            differs.insert(0, format!("{} {to}", kind.name()));
        }
        if prefix == keys::WISH {
            let anchor = keys::read_of_anchor(key);
            let object = match (ours, theirs) {
                (Some(value), _) => self.live.decode::<Wish>(key, value)?.object,
                (None, Some(value)) => self.other.decode::<Wish>(key, value)?.object,
                (None, None) => return Ok(Difference { kind, name: None, object: String::new(), differs }),
            };
            let object_text = anchor.map_or_else(|| object.guid.to_string(), |anchor| anchor.to_string());
            return Ok(Difference { kind, name: self.name(object)?, object: object_text, differs });
        }
        let Some(object) = object else {
            return Ok(Difference { kind, name: None, object: "unknown".to_owned(), differs });
        };
        Ok(Difference { kind, name: self.name(object)?, object: object.guid.to_string(), differs })
    }

    fn name(&mut self, object: ObjectKey) -> std::result::Result<Option<String>, StoreError> {
        let head = match self.live.head(object)? {
            Some(head) => Some(head),
            None => self.other.head(object)?,
        };
        Ok(head.map(|head| head.dn.to_string()))
    }

    fn of_objects(&mut self, key: &[u8], ours: &Value, theirs: &Value) -> std::result::Result<Vec<String>, StoreError> {
        let Some(object) = keys::read_object(key) else { return Ok(vec!["content".to_owned()]) };
        let (ours, theirs) = (self.live.object_from(object, ours)?, self.other.object_from(object, theirs)?);
        let ObjectRow { class, dn, parent, deleted, image, seen, ref attributes, .. } = ours;
        let mut differs = Vec::new();
        let mut field = |name: &str, is_same: bool| {
            if !is_same {
                differs.push(name.to_owned());
            }
        };
        field("class", class == theirs.class);
        field("name", dn == theirs.dn);
        field("parent", parent == theirs.parent);
        field("deleted", deleted == theirs.deleted);
        field("full read of its image", image == theirs.image);
        field("full read it was last seen in", seen == theirs.seen);
        differs.extend(of_attributes(attributes, &theirs.attributes, self.values));
        if differs.is_empty() {
            differs.push("the form it is stored in".to_owned());
        }
        Ok(differs)
    }
}

fn child((parent, guid): (ObjectKey, forestsync_domain::ObjectGuid)) -> ObjectKey {
    ObjectKey { source: parent.source, guid }
}

fn of_attributes(ours: &Attributes, theirs: &Attributes, values: bool) -> Vec<String> {
    let show = |value: &AttributeValue| match value {
        AttributeValue::Text(text) => format!("{text:?}"),
        AttributeValue::Binary(bytes) => format!("{} bytes", bytes.len()),
    };
    of_maps(ours, theirs, values, |all| all.iter().map(show).collect::<Vec<_>>().join(", "))
}

fn of_maps<T: PartialEq>(
    ours: &std::collections::BTreeMap<String, T>,
    theirs: &std::collections::BTreeMap<String, T>,
    values: bool,
    show: impl Fn(&T) -> String,
) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differ = names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name));
    let tell = |name: &String| {
        let side = |value: Option<&T>| value.map_or_else(|| "nothing".to_owned(), &show);
        if values {
            format!("{name}: live {}, replayed {}", side(ours.get(name)), side(theirs.get(name)))
        } else {
            name.clone()
        }
    };
    differ.map(tell).collect()
}

fn of_wishes(ours: &Wish, theirs: &Wish, values: bool) -> Vec<String> {
    let show = |value: &StoredValue| match value {
        StoredValue::Bool(value) => value.to_string(),
        StoredValue::Integer(value) => value.to_string(),
        StoredValue::Text(text) => format!("{text:?}"),
        StoredValue::List(all) => format!("{all:?}"),
    };
    let mut differs = Vec::new();
    let fields = [
        ("object", ours.object == theirs.object),
        ("class", ours.class == theirs.class),
        ("kept back", ours.blocked == theirs.blocked),
        ("ignored attributes", ours.ignored == theirs.ignored),
        ("manager", ours.manager == theirs.manager),
        ("owner", ours.owner == theirs.owner),
        ("not writable", ours.not_writable == theirs.not_writable),
        ("joined objects", ours.joined == theirs.joined),
        ("unique values", ours.unique == theirs.unique),
        ("scope", ours.by == theirs.by),
    ];
    differs.extend(fields.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name.to_owned()));
    differs.extend(of_maps(&ours.attributes, &theirs.attributes, values, show));
    let at_creation = of_maps(&ours.at_creation, &theirs.at_creation, values, show);
    differs.extend(at_creation.into_iter().map(|text| format!("at creation {text}")));
    differs
}
