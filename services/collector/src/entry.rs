//! Entries of search answers, decoded without guessing (RFC 4511 4.5.2, MS-ADTS 3.1.1.3.4.1.3).
//!
//! Two steps: [`Entry`] is what any search gives; [`Changes`] is what a DirSync answer says about an object.
//! - Which form a value has follows from the attribute's name. A value of a text attribute that is not UTF-8 is kept as
//!   bytes; nothing is dropped and nothing is replaced.
//! - Names of attributes are compared without case and kept in the spelling of the request.
//! - An attribute without values was cleared, or the account cannot read it. Those that it cannot read are known by the
//!   schema ([`Wanted::unreadable`]) and never taken for cleared.
//! - `member;range=1-1` are values that came, `member;range=0-0` values that went.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use forestsync_domain::{AttributeValue, Attributes, Dn, ExtendedDn, ObjectGuid, syntax};

use crate::error::DecodeError;
use crate::frame;

/// Tags of the elements of an entry.
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// Read for every object, whatever the configuration says.
const ALWAYS: [&str; 6] = ["isDeleted", "name", "objectClass", "objectGUID", "objectSid", "parentGUID"];

/// Read, but not kept as attributes: the event has a place of its own for each of them.
const STRUCTURAL: [&str; 4] = ["instanceType", "isDeleted", "objectGUID", "parentGUID"];

/// Sent or asked for because of how changes are read, and never kept.
const OF_THE_PROTOCOL: [&str; 8] = [
    "distinguishedName",
    "isRecycled",
    "lastKnownParent",
    "uSNChanged",
    "uSNCreated",
    "whenChanged",
    "whenCreated",
    "replPropertyMetaData",
];

/// How many names of attributes that nobody asked for are remembered.
const UNASKED_NAMES: usize = 1_000;

/// instanceType: the object is the root of a naming context (MS-ADTS 6.1.1.2.4.1).
const INSTANCE_TYPE_NC_HEAD: i64 = 1;

/// The attributes that are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// As they are sent, sorted, each once.
    names: Vec<String>,
    /// By their lower-case form.
    spelling: HashMap<String, usize>,
    /// Lower-case names of those that the account may not be able to read.
    unreadable: HashSet<String>,
    unasked: Arc<Unasked>,
}

/// What servers sent beyond the list. It is dropped where it is met.
#[derive(Debug, Default)]
struct Unasked {
    count: AtomicU64,
    names: Mutex<HashSet<String>>,
}

impl Wanted {
    /// The attributes of the configuration and those that every event needs. Secrets are left out.
    pub(crate) fn new(allowed: &[String]) -> Self {
        let mut unique: HashMap<String, String> = HashMap::new();
        for name in ALWAYS.iter().map(ToString::to_string).chain(allowed.iter().cloned()) {
            if !syntax::is_secret(&name) {
                unique.entry(name.to_ascii_lowercase()).or_insert(name);
            }
        }
        let names: BTreeSet<String> = unique.into_values().collect();
        let names: Vec<String> = names.into_iter().collect();
        let spelling = names.iter().enumerate().map(|(i, name)| (name.to_ascii_lowercase(), i)).collect();
        Self { names, spelling, unreadable: HashSet::new(), unasked: Arc::default() }
    }

    /// How many attributes of entries were dropped because they are not on the list.
    pub(crate) fn dropped(&self) -> u64 {
        self.unasked.count.load(Ordering::Relaxed)
    }

    /// Takes note of an attribute that is not on the list: it goes no further. Told once by name.
    fn drop_unasked(&self, name: &str) {
        if OF_THE_PROTOCOL.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return;
        }
        self.unasked.count.fetch_add(1, Ordering::Relaxed);
        let mut names = self.unasked.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < UNASKED_NAMES && names.insert(name.to_ascii_lowercase()) {
            let attribute: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
            tracing::warn!(attribute, "a controller sends an attribute that was not asked for; it is dropped");
        }
    }

    /// What to send.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Takes note of attributes that the account may not be able to read, by any spelling.
    pub(crate) fn set_unreadable(&mut self, names: impl IntoIterator<Item = String>) {
        self.unreadable = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
    }

    /// The spelling of the request.
    fn spelling(&self, name: &str) -> Option<&str> {
        let index = match self.spelling.get(name) {
            Some(index) => index,
            None => self.spelling.get(&name.to_ascii_lowercase())?,
        };
        self.names.get(*index).map(String::as_str)
    }

    fn is_readable(&self, name: &str) -> bool {
        self.unreadable.is_empty() || !self.unreadable.contains(&name.to_ascii_lowercase())
    }
}

/// An entry as it came, whose form is known to be sound: nothing is interpreted, nothing is copied.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    body: Bytes,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("dn", &self.dn()).finish_non_exhaustive()
    }
}

/// The elements of a sequence whose form was checked, by their content.
#[derive(Debug, Clone)]
pub(crate) struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (_, content, rest) = frame::element(self.0).ok()?;
        self.0 = rest;
        Some(content)
    }
}

/// The next element if it has that tag: content and rest.
fn part<'a>(bytes: &'a [u8], tag: u8, what: &'static str) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    match frame::element(bytes) {
        Ok((found, content, rest)) if found == tag => Ok((content, rest)),
        _ => Err(DecodeError::Shape(what)),
    }
}

impl Entry {
    /// Checks the content of a SearchResultEntry ::= SEQUENCE { objectName, attributes SEQUENCE OF SEQUENCE { type,
    /// vals SET OF OCTET STRING } }.
    pub(crate) fn parse(body: Bytes) -> Result<Self, DecodeError> {
        let text = |bytes, what| std::str::from_utf8(bytes).map(drop).map_err(|_| DecodeError::Shape(what));
        let (name, rest) = part(&body, OCTET_STRING, "name")?;
        text(name, "name")?;
        let (mut list, _) = part(rest, SEQUENCE, "attribute list")?;
        while !list.is_empty() {
            let (attribute, more) = part(list, SEQUENCE, "attribute")?;
            let (name, rest) = part(attribute, OCTET_STRING, "attribute name")?;
            text(name, "attribute name")?;
            let (mut values, _) = part(rest, SET, "value list")?;
            while !values.is_empty() {
                (_, values) = part(values, OCTET_STRING, "value")?;
            }
            list = more;
        }
        Ok(Self { body })
    }

    /// The name, as the server wrote it.
    pub(crate) fn dn(&self) -> &str {
        Elements(&self.body).next().and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }

    /// The attributes: name with options, and values.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, Elements<'_>)> {
        Elements(Elements(&self.body).nth(1).unwrap_or_default()).map(|attribute| {
            let mut parts = Elements(attribute);
            let name = parts.next().and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
            (name, Elements(parts.next().unwrap_or_default()))
        })
    }

    /// The values of an attribute.
    pub(crate) fn values(&self, name: &str) -> Elements<'_> {
        self.attributes().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or(Elements(&[]), |(_, values)| values)
    }

    /// The first value of an attribute, if it is text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values(name).next().and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// What an entry says about the object's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Nothing: the object lives as before.
    Unstated,
    /// isDeleted is TRUE: a tombstone.
    Deleted,
    /// isDeleted lost its value: it is an object again.
    Restored,
}

/// Values of a linked attribute that came and went, by their targets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Links {
    pub(crate) attribute: String,
    pub(crate) removed: Vec<ObjectGuid>,
    pub(crate) added: Vec<ObjectGuid>,
    /// The server gave all values instead of those that changed: removals cannot be told from it.
    pub(crate) whole: bool,
}

/// What a DirSync answer says about one object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Changes {
    pub(crate) object: ObjectGuid,
    pub(crate) dn: Dn,
    pub(crate) parent: Option<ObjectGuid>,
    pub(crate) nc_head: bool,
    pub(crate) life: Life,
    pub(crate) set: Attributes,
    pub(crate) cleared: Vec<String>,
    pub(crate) links: Vec<Links>,
    /// Attributes without values that may only be unreadable; dropped.
    pub(crate) withheld: Vec<String>,
}

fn name_of(raw: &str) -> Result<Dn, DecodeError> {
    let parsed: ExtendedDn =
        raw.parse().map_err(|source| DecodeError::Name { name: raw.chars().take(200).collect(), source })?;
    Ok(parsed.dn)
}

fn guid(object: &Dn, attribute: &str, value: &[u8]) -> Result<ObjectGuid, DecodeError> {
    ObjectGuid::from_slice(value).map_err(|source| DecodeError::Guid {
        object: object.clone(),
        attribute: attribute.to_owned(),
        source,
    })
}

/// The GUID of `<GUID=…>;…`; the rest of the value is not looked at.
pub(crate) fn target(object: &Dn, attribute: &str, value: &[u8]) -> Result<ObjectGuid, DecodeError> {
    let read = || {
        let text = std::str::from_utf8(value.get(..value.len().min(64))?.split(|b| *b == b'>').next()?).ok()?;
        text.strip_prefix("<GUID=")?.parse().ok()
    };
    let hex = || std::str::from_utf8(value).ok()?.parse::<ExtendedDn>().ok()?.guid;
    read().or_else(hex).ok_or_else(|| DecodeError::Link { object: object.clone(), attribute: attribute.to_owned() })
}

impl Changes {
    /// Reads an entry of a DirSync answer.
    pub(crate) fn decode(entry: &Entry, wanted: &Wanted) -> Result<Self, DecodeError> {
        Self::decode_some(entry, wanted, |_| true)
    }

    /// Reads what an ordinary search shows of an object, without its links: they have another form there.
    pub(crate) fn image(entry: &Entry, wanted: &Wanted) -> Result<Self, DecodeError> {
        Self::decode_some(entry, wanted, |name| !syntax::is_link(name))
    }

    fn decode_some(entry: &Entry, wanted: &Wanted, takes: impl Fn(&str) -> bool) -> Result<Self, DecodeError> {
        let dn = name_of(entry.dn())?;
        let object = match entry.values("objectGUID").next() {
            Some(value) => guid(&dn, "objectGUID", value)?,
            None => return Err(DecodeError::Missing { object: dn, attribute: "objectGUID" }),
        };
        let mut out = Self {
            object,
            dn,
            parent: None,
            nc_head: false,
            life: Life::Unstated,
            set: Attributes::new(),
            cleared: Vec::new(),
            links: Vec::new(),
            withheld: Vec::new(),
        };
        for (name, values) in entry.attributes() {
            let base = name.split_once(';').map_or(name, |(base, _)| base);
            if wanted.spelling(base).is_none_or(&takes) {
                out.attribute(name, values, wanted)?;
            }
        }
        out.cleared.sort_unstable();
        Ok(out)
    }

    fn attribute(&mut self, raw: &str, values: Elements<'_>, wanted: &Wanted) -> Result<(), DecodeError> {
        let (base, option) = raw.split_once(';').map_or((raw, None), |(base, option)| (base, Some(option)));
        if STRUCTURAL.iter().any(|known| known.eq_ignore_ascii_case(base)) {
            return self.structural(base, values);
        }
        let Some(name) = wanted.spelling(base) else {
            wanted.drop_unasked(base);
            return Ok(());
        };
        if syntax::is_link(name) {
            return self.link(name, option, values);
        }
        if option.is_some() {
            return Err(DecodeError::Option { object: self.dn.clone(), attribute: raw.to_owned() });
        }
        if values.clone().next().is_none() {
            if wanted.is_readable(name) {
                self.cleared.push(name.to_owned());
            } else {
                self.withheld.push(name.to_owned());
            }
            return Ok(());
        }
        let binary = syntax::is_binary(name);
        let value = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) if !binary => AttributeValue::Text(text.to_owned()),
            _ => AttributeValue::Binary(bytes.to_vec()),
        };
        self.set.entry(name.to_owned()).or_default().extend(values.map(value));
        Ok(())
    }

    fn structural(&mut self, name: &str, mut values: Elements<'_>) -> Result<(), DecodeError> {
        let first = values.next();
        if name.eq_ignore_ascii_case("parentGUID") {
            self.parent = first.map(|value| guid(&self.dn, "parentGUID", value)).transpose()?;
        } else if name.eq_ignore_ascii_case("isDeleted") {
            self.life = match first {
                None => Life::Restored,
                Some(b"TRUE") => Life::Deleted,
                Some(b"FALSE") => Life::Unstated,
                Some(_) => return Err(DecodeError::Value { object: self.dn.clone(), attribute: "isDeleted" }),
            };
        } else if let (true, Some(value)) = (name.eq_ignore_ascii_case("instanceType"), first) {
            let kind: i64 = std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| DecodeError::Value { object: self.dn.clone(), attribute: "instanceType" })?;
            self.nc_head = kind & INSTANCE_TYPE_NC_HEAD != 0;
        }
        Ok(())
    }

    fn link(&mut self, name: &str, option: Option<&str>, values: Elements<'_>) -> Result<(), DecodeError> {
        let targets = values.map(|value| target(&self.dn, name, value)).collect::<Result<Vec<_>, _>>()?;
        let at = self.links.iter().position(|links| links.attribute == name).unwrap_or_else(|| {
            self.links.push(Links { attribute: name.to_owned(), ..Links::default() });
            self.links.len() - 1
        });
        let Some(links) = self.links.get_mut(at) else {
            return Ok(());
        };
        match option.map(str::to_ascii_lowercase).as_deref() {
            None => {
                links.added.extend(targets);
                links.whole = true;
            }
            Some("range=1-1") => links.added.extend(targets),
            Some("range=0-0") => links.removed.extend(targets),
            Some(_) => {
                let attribute = format!("{name};{}", option.unwrap_or_default());
                return Err(DecodeError::Option { object: self.dn.clone(), attribute });
            }
        }
        Ok(())
    }

    /// Whether attributes, name or parent are stated, as opposed to link values only.
    pub(crate) fn states_attributes(&self) -> bool {
        !self.set.is_empty() || !self.cleared.is_empty() || self.parent.is_some()
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
