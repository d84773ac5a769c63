//! LDAP filters, compiled once per search and evaluated with three-valued logic (RFC 4511 4.5.1.7).

use std::collections::HashSet;

use ldap3_proto::LdapFilter;
use ldap3_proto::LdapResultCode as Rc;
use ldap3_proto::proto::LdapMatchingRuleAssertion;

use super::codec::unmarked;
use super::dn::fold;
use super::modify::equal;
use super::object::Id;
use super::schema::{
    AttrId, CLASSES, ClassId, DISTINGUISHED_NAME, LINK_PAIRS, MEMBER, MEMBER_OF, OBJECT_CATEGORY, OBJECT_CLASS,
    OBJECT_GUID, OBJECT_SID, SAM_ACCOUNT_NAME, Syntax, USN_CHANGED, schema,
};
use super::store::{Refusal, Store};
use super::text;
use super::view::View;

const BIT_AND: &str = "1.2.840.113556.1.4.803";
const BIT_OR: &str = "1.2.840.113556.1.4.804";
const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";

/// A filter that is ready to be asked about objects.
#[derive(Debug)]
pub(crate) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Present(AttrId),
    Class(String),
    /// The category of this name, or the one whose object has this DN.
    Category(Option<&'static str>, String),
    Equal(AttrId, Vec<u8>),
    /// A link or DN that has to lead to this object.
    Points(AttrId, Option<Id>),
    Part {
        attr: AttrId,
        initial: Option<String>,
        any: Vec<String>,
        last: Option<String>,
    },
    AtLeast(AttrId, String),
    AtMost(AttrId, String),
    Bits {
        attr: AttrId,
        mask: i64,
        all: bool,
    },
    /// The object has to be one of these.
    OneOf(HashSet<Id>),
    Undefined,
}

/// A smaller set of objects that holds every match, when the filter allows to name one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    None,
    Ids(Vec<Id>),
    ChangedAfter(u64),
}

impl Filter {
    /// Compiles a filter against the store: names to numbers, DNs to objects.
    pub(crate) fn new(filter: &LdapFilter, store: &Store) -> Result<Self, Refusal> {
        let many = |parts: &[LdapFilter]| parts.iter().map(|p| Self::new(p, store)).collect::<Result<Vec<_>, _>>();
        let attr = |name: &str| schema().find(name);
        Ok(match filter {
            LdapFilter::And(parts) => Self::And(many(parts)?),
            LdapFilter::Or(parts) => Self::Or(many(parts)?),
            LdapFilter::Not(part) => Self::Not(Box::new(Self::new(part, store)?)),
            LdapFilter::Present(name) => attr(name).map_or(Self::Undefined, Self::Present),
            LdapFilter::Equality(name, value) | LdapFilter::Approx(name, value) => {
                attr(name).map_or(Self::Undefined, |id| equality(id, value, store))
            }
            LdapFilter::Substring(name, parts) => match attr(name) {
                Some(attr) if matches!(schema().def(attr).syntax, Syntax::Text) => Self::Part {
                    attr,
                    initial: parts.initial.as_deref().map(fold),
                    any: parts.any.iter().map(|p| fold(p)).collect(),
                    last: parts.final_.as_deref().map(fold),
                },
                _ => Self::Undefined,
            },
            LdapFilter::GreaterOrEqual(name, value) => {
                attr(name).map_or(Self::Undefined, |id| Self::AtLeast(id, value.clone()))
            }
            LdapFilter::LessOrEqual(name, value) => {
                attr(name).map_or(Self::Undefined, |id| Self::AtMost(id, value.clone()))
            }
            LdapFilter::Extensible(rule) => extensible(rule, store)?,
        })
    }

    /// True for `(objectClass=*)`.
    pub(crate) fn is_everything(&self) -> bool {
        matches!(self, Self::Present(OBJECT_CLASS))
    }

    /// Objects to look at instead of all.
    pub(crate) fn hint(&self, store: &Store) -> Hint {
        match self {
            Self::And(parts) => parts.iter().map(|p| p.hint(store)).find(|h| *h != Hint::None).unwrap_or(Hint::None),
            Self::Equal(SAM_ACCOUNT_NAME, value) => {
                let live = store.by_account(&String::from_utf8_lossy(value));
                live.map_or(Hint::None, |id| Hint::Ids(vec![id]))
            }
            Self::Equal(OBJECT_GUID, value) => {
                let id = value.as_slice().try_into().ok().and_then(|g| store.by_guid(&g));
                Hint::Ids(id.into_iter().collect())
            }
            Self::Equal(OBJECT_SID, value) => Hint::Ids(store.by_sid(value).into_iter().collect()),
            Self::Points(DISTINGUISHED_NAME, id) => Hint::Ids(id.iter().copied().collect()),
            Self::AtLeast(USN_CHANGED, value) => {
                value.parse::<u64>().map_or(Hint::None, |usn| Hint::ChangedAfter(usn.saturating_sub(1)))
            }
            _ => Hint::None,
        }
    }

    /// Does the object match? `None` means that it cannot be said, which counts as no.
    pub(crate) fn matches(&self, store: &Store, view: &View, id: Id) -> Option<bool> {
        let object = store.get(id);
        match self {
            Self::And(parts) => all(parts.iter().map(|p| p.matches(store, view, id))),
            Self::Or(parts) => all(parts.iter().map(|p| p.matches(store, view, id).map(|m| !m))).map(|m| !m),
            Self::Not(part) => part.matches(store, view, id).map(|m| !m),
            Self::Present(OBJECT_CLASS | OBJECT_GUID) => Some(true),
            Self::Present(attr) => Some(any(store, view, id, *attr, |_| true)),
            Self::Class(name) => Some(object.class.get().is(name)),
            Self::Category(wanted, dn) => Some(match (object.first(OBJECT_CATEGORY), wanted) {
                (Some([stored]), Some(wanted)) => ClassId(*stored).get().category == *wanted,
                (Some([stored]), None) => store.category_dn(ClassId(*stored)).eq_ignore_ascii_case(dn),
                _ => false,
            }),
            Self::Equal(attr, value) => {
                let syntax = schema().def(*attr).syntax;
                Some(any(store, view, id, *attr, |v| equal(syntax, v, value)))
            }
            Self::Points(attr, target) => Some(target.is_some_and(|target| points(store, id, *attr, target))),
            Self::Part { attr, initial, any: middle, last } => Some(any(store, view, id, *attr, |v| {
                part(&fold(&String::from_utf8_lossy(v)), initial.as_deref(), middle, last.as_deref())
            })),
            Self::AtLeast(attr, value) => {
                Some(any(store, view, id, *attr, |v| order(*attr, v, value).is_some_and(std::cmp::Ordering::is_ge)))
            }
            Self::AtMost(attr, value) => {
                Some(any(store, view, id, *attr, |v| order(*attr, v, value).is_some_and(std::cmp::Ordering::is_le)))
            }
            Self::Bits { attr, mask, all } => Some(any(store, view, id, *attr, |v| {
                let bits = number(v).unwrap_or(0) & mask;
                if *all { bits == *mask } else { bits != 0 }
            })),
            Self::OneOf(ids) => Some(ids.contains(&id)),
            Self::Undefined => None,
        }
    }
}

/// Three-valued conjunction.
fn all(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = true;
    for part in parts {
        match part {
            Some(false) => return Some(false),
            Some(true) => {}
            None => known = false,
        }
    }
    known.then_some(true)
}

fn equality(attr: AttrId, value: &str, store: &Store) -> Filter {
    let raw = unmarked(value);
    match schema().def(attr).syntax {
        _ if attr == OBJECT_CLASS => Filter::Class(value.to_owned()),
        _ if attr == OBJECT_CATEGORY => Filter::Category(category(value), value.to_owned()),
        Syntax::Link | Syntax::BackLink => Filter::Points(attr, store.resolve(value).ok().flatten()),
        _ if attr == DISTINGUISHED_NAME => Filter::Points(attr, store.resolve(value).ok().flatten()),
        Syntax::Octets if attr == OBJECT_SID => Filter::Equal(attr, text::parse_sid(value).unwrap_or(raw)),
        Syntax::Octets if attr == OBJECT_GUID => {
            Filter::Equal(attr, text::parse_guid(value).map_or(raw, |g| g.to_vec()))
        }
        _ => Filter::Equal(attr, raw),
    }
}

/// The category that a class name stands for, as in `(objectCategory=person)`.
fn category(name: &str) -> Option<&'static str> {
    let by_class = ClassId::named(name).map(|class| class.get().category);
    by_class.or_else(|| CLASSES.iter().map(|c| c.category).find(|c| c.eq_ignore_ascii_case(name)))
}

fn extensible(rule: &LdapMatchingRuleAssertion, store: &Store) -> Result<Filter, Refusal> {
    let Some(attr) = rule.type_.as_deref().and_then(|name| schema().find(name)) else { return Ok(Filter::Undefined) };
    match rule.matching_rule.as_deref() {
        Some(oid @ (BIT_AND | BIT_OR)) => {
            let mask = rule.match_value.trim().parse();
            Ok(mask.map_or(Filter::Undefined, |mask| Filter::Bits { attr, mask, all: oid == BIT_AND }))
        }
        Some(IN_CHAIN) => Ok(chain(attr, store.resolve(&rule.match_value).ok().flatten(), store)),
        None => Ok(equality(attr, &rule.match_value, store)),
        Some(oid) => Err(Refusal::new(Rc::InappropriateMatching, format!("matching rule {oid} is not known"))),
    }
}

/// Everything that leads to `target` over `member` or `memberOf`, however far.
fn chain(attr: AttrId, target: Option<Id>, store: &Store) -> Filter {
    let Some(target) = target else { return Filter::OneOf(HashSet::new()) };
    let mut found = HashSet::new();
    let mut waiting = vec![target];
    while let Some(at) = waiting.pop() {
        let object = store.get(at);
        let next: Vec<Id> = match attr {
            MEMBER_OF => object.targets(MEMBER).collect(),
            _ => object.back.iter().filter(|(f, _)| *f == attr).map(|(_, source)| *source).collect(),
        };
        waiting.extend(next.into_iter().filter(|id| found.insert(*id)));
    }
    Filter::OneOf(found)
}

fn points(store: &Store, id: Id, attr: AttrId, target: Id) -> bool {
    if attr == DISTINGUISHED_NAME {
        return id == target;
    }
    match LINK_PAIRS.iter().find(|(_, back)| *back == attr) {
        Some((forward, _)) => store.get(id).back.contains(&(*forward, target)),
        None => store.get(id).points_to(attr, target),
    }
}

/// Asks about the values of an attribute without copying the stored ones.
fn any(store: &Store, view: &View, id: Id, attr: AttrId, test: impl Fn(&[u8]) -> bool) -> bool {
    let object = store.get(id);
    if !view.reads(store, object, attr) {
        return false;
    }
    let plain = matches!(schema().def(attr).syntax, Syntax::Text | Syntax::Integer | Syntax::Boolean | Syntax::Octets);
    if plain && let Some(stored) = object.attr(attr) {
        return stored.values().any(test);
    }
    view.values(store, id, attr).iter().any(|v| test(v))
}

fn part(value: &str, initial: Option<&str>, middle: &[String], last: Option<&str>) -> bool {
    let Some(mut rest) = value.strip_prefix(initial.unwrap_or_default()) else { return false };
    for piece in middle {
        match rest.split_once(piece.as_str()) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last.unwrap_or_default())
}

fn number(raw: &[u8]) -> Option<i64> {
    std::str::from_utf8(raw).ok()?.trim().parse().ok()
}

fn order(attr: AttrId, value: &[u8], wanted: &str) -> Option<std::cmp::Ordering> {
    match schema().def(attr).syntax {
        Syntax::Integer => Some(number(value)?.cmp(&number(wanted.as_bytes())?)),
        Syntax::Octets => Some(value.cmp(&unmarked(wanted))),
        _ => Some(fold(&String::from_utf8_lossy(value)).cmp(&fold(wanted))),
    }
}
