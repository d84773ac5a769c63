//! Which events `log tail` shows: a rule over one record, which needs nothing but that record.

use anyhow::Result;
use forestsync_domain::{Dn, ObjectGuid, SourceAnchor};
use forestsync_log::Record;
use serde_json::Value;

use crate::events;
use crate::exit::UsageError;

/// Where an event names the objects it is about by objectGUID.
const OBJECTS: [&str; 5] = ["/context/object", "/data/object", "/data/source/object", "/data/added", "/data/removed"];

/// By source anchor.
const ANCHORS: [&str; 5] = ["/context/anchor", "/data/anchor", "/data/group", "/data/member", "/data/members"];

/// By distinguished name.
const NAMES: [&str; 2] = ["/data/dn", "/data/source/dn"];

/// Types are or-ed, objects are or-ed, and an event must be of one of both; what is not given lets everything pass.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    types: Vec<&'static str>,
    objects: Vec<Wanted>,
}

/// An object that is asked for.
#[derive(Debug, Clone)]
enum Wanted {
    /// By its identity, in both forms: most anchors are made of the objectGUID.
    Id { guid: ObjectGuid, anchor: SourceAnchor },
    /// By the name that an event gives it.
    Name(Dn),
}

impl Filter {
    /// Reads what the command line says. Types are known or refused, in any case.
    pub fn new(types: &[String], objects: &[String]) -> Result<Self, UsageError> {
        let types = types.iter().map(|text| known_type(text)).collect::<Result<_, _>>()?;
        let objects = objects.iter().map(|text| wanted(text)).collect::<Result<_, _>>()?;
        Ok(Self { types, objects })
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty() && self.objects.is_empty()
    }

    /// Whether the record passes.
    pub fn matches(&self, record: &Record) -> bool {
        let of_type = || self.types.is_empty() || self.types.contains(&events::kind(record).as_str());
        of_type() && (self.objects.is_empty() || self.is_about(record))
    }

    fn is_about(&self, record: &Record) -> bool {
        let event: Value = serde_json::from_slice(&record.value).unwrap_or_default();
        self.objects.iter().any(|wanted| match wanted {
            Wanted::Id { guid, anchor } => {
                named(&event, &OBJECTS).any(|text| text.parse::<ObjectGuid>().as_ref() == Ok(guid))
                    || named(&event, &ANCHORS).any(|text| text == anchor.as_str())
            }
            Wanted::Name(dn) => named(&event, &NAMES).any(|text| text.parse::<Dn>().as_ref() == Ok(dn)),
        })
    }
}

/// The texts at these places, alone or in a list.
fn named<'a>(event: &'a Value, places: &'a [&str]) -> impl Iterator<Item = &'a str> {
    places
        .iter()
        .filter_map(|place| event.pointer(place))
        .flat_map(|value| match value {
            Value::Array(list) => list.as_slice(),
            other => std::slice::from_ref(other),
        })
        .filter_map(Value::as_str)
}

fn known_type(text: &str) -> Result<&'static str, UsageError> {
    let known = || events::TYPES.iter().flat_map(|(_, types)| types.iter().copied());
    if let Some(found) = known().find(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(found);
    }
    let distance = |name: &&str| strsim::damerau_levenshtein(&name.to_lowercase(), &text.to_lowercase());
    let nearest = known().min_by_key(distance).filter(|name| distance(name) <= 2.max(text.len() / 3));
    let meant = nearest.map_or_else(String::new, |name| format!("did you mean {name}? "));
    let lines: Vec<String> =
        events::TYPES.iter().map(|(stream, types)| format!("\n  in {stream}: {}", types.join(", "))).collect();
    let hint = format!("{meant}known are{}", lines.concat());
    Err(UsageError::new(format!("there is no event type {:?}", shown(text)), hint))
}

fn wanted(text: &str) -> Result<Wanted, UsageError> {
    if let Ok(guid) = text.parse::<ObjectGuid>() {
        return Ok(Wanted::Id { guid, anchor: SourceAnchor::from_guid(guid) });
    }
    if let Ok(guid) = SourceAnchor::from(text.to_owned()).guid() {
        return Ok(Wanted::Id { guid, anchor: SourceAnchor::from_guid(guid) });
    }
    text.parse().map(Wanted::Name).map_err(|_| {
        let message = format!("{:?} is neither objectGUID nor source anchor nor distinguished name", shown(text));
        UsageError::new(message, "take it over from status or from an event, whole and quoted")
    })
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use forestsync_schemas::samples;

    use super::*;

    /// Every kind of event, once.
    fn all() -> Vec<Record> {
        let mut values: Vec<Vec<u8>> = samples::changes().iter().map(|r| r.encode().unwrap()).collect();
        values.extend(samples::desired().iter().map(|r| r.encode().unwrap()));
        values.extend(samples::decisions().iter().map(|r| r.encode().unwrap()));
        values.extend(samples::outcomes().iter().map(|r| r.encode().unwrap()));
        values.extend(samples::control().iter().map(|r| r.encode().unwrap()));
        values.push(b"no event".to_vec());
        let record = |(offset, value)| Record {
            offset: offset as u64,
            timestamp: jiff::Timestamp::UNIX_EPOCH,
            key: None,
            value: Bytes::from(value),
            headers: Vec::new(),
            link: None,
        };
        values.into_iter().enumerate().map(record).collect()
    }

    fn kinds(types: &[&str], objects: &[&str]) -> Vec<String> {
        let text = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let filter = Filter::new(&text(types), &text(objects)).unwrap();
        all().iter().filter(|record| filter.matches(record)).map(events::kind).collect()
    }

    #[test]
    fn an_object_is_found_by_each_of_its_names() {
        let by_guid = kinds(&[], &["01010101-0101-0101-0101-010101010101"]);
        assert_eq!(by_guid, kinds(&[], &["AQEBAQEBAQEBAQEBAQEBAQ=="]));
        for kind in ["ObjectObserved", "LinkValuesChanged", "ObjectDesired", "LinkDesired", "AnchorAssigned"] {
            assert!(by_guid.iter().any(|found| found == kind), "{kind} in {by_guid:?}");
        }
        assert!(!by_guid.iter().any(|found| found == "AttributeFlowDeclared"));
        assert_eq!(kinds(&[], &["cn=anna,dc=EMEA,dc=example"]), ["ObjectDesired", "ObjectRemoved"]);
        assert_eq!(kinds(&[], &["CN=Nobody,DC=example"]), Vec::<String>::new());
    }

    #[test]
    fn several_of_a_kind_are_or_ed_and_both_kinds_together_and_ed() {
        assert_eq!(kinds(&["linkdesired", "LinkRemoved"], &[]), ["LinkDesired", "LinkRemoved"]);
        let both = ["AQEBAQEBAQEBAQEBAQEBAQ==", "CN=Anna,DC=emea,DC=example"];
        assert_eq!(kinds(&["LinkDesired", "AttributeFlowDeclared"], &both), ["LinkDesired"]);
        assert_eq!(kinds(&[], &[]).len(), all().len());
    }

    #[test]
    fn what_is_unknown_is_refused_with_what_is_known() {
        let refused = |types: &[&str], objects: &[&str]| {
            let text = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            Filter::new(&text(types), &text(objects)).unwrap_err().to_string()
        };
        insta::assert_snapshot!("unknown_type", refused(&["ObjectDesird"], &[]));
        assert!(!refused(&["Zebra"], &[]).contains("did you mean"));
        insta::assert_snapshot!("unknown_object", refused(&[], &["Anna"]));
    }
}
