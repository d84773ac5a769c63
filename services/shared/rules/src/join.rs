//! Joins: which objects of different forests are one person, or one group.
//!
//! A rule compares an attribute of one object with an attribute of another one, in another forest. What comes out is a
//! function of the objects that are there, whatever order they came in:
//!
//! - Objects that a rule finds equal form a **match**. A match with two objects of one forest is ambiguous: it joins
//!   nobody, and is a finding for each of its objects.
//! - Matches are taken in the order of the rules. One is left out if it would bring two objects of one forest together
//!   that an earlier match keeps apart; that is a finding, too.
//! - What the matches that are left connect is one person. So an account, its mailbox in a resource forest and a contact
//!   in a third forest may be joined by different rules.
//!
//! Users, inetOrgPersons and contacts are persons; groups join groups only.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::AttributeValue;
use serde::Deserialize;

use crate::classify::DirectoryClass;

/// A rule as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinForm {
    /// One of the rules that are known by name: `"object_sid"`, `"mail"`, `"account_name"`.
    pub rule: Option<String>,
    /// A name for a rule of one's own; without it, its attributes.
    pub name: Option<String>,
    /// The attribute of the one object.
    pub attribute: Option<String>,
    /// The attribute of the other one; without it, the same.
    pub with: Option<String>,
    /// The classes that it is for: `"user"`, `"contact"`, `"group"`.
    pub classes: Option<Vec<String>>,
}

/// What is wrong with a rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinProblem {
    /// Which rule, from 0.
    pub rule: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The identity of a rule, the same wherever it stands among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleTag(pub [u8; 4]);

/// On which side of a rule's comparison a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The rule compares an attribute with itself.
    Both = 0,
    /// The value is that of the first attribute.
    Left = 1,
    /// Of the second one.
    Right = 2,
}

impl Side {
    /// The side with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Both, Self::Left, Self::Right].into_iter().find(|side| *side as u8 == number)
    }

    fn meets(self, other: Self) -> bool {
        !matches!((self, other), (Self::Left, Self::Left) | (Self::Right, Self::Right))
    }
}

/// A value of an object by which a rule may find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinKey {
    /// The rule.
    pub rule: RuleTag,
    /// A hash of what the object is and of the value without regard to case.
    pub value: [u8; 16],
    /// The side of the comparison.
    pub side: Side,
}

/// The most keys an object has; values beyond are not compared.
const MAX_KEYS: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    name: String,
    tag: RuleTag,
    left: String,
    right: String,
    classes: BTreeSet<Family>,
}

/// What an object can be joined as, and by which name a rule means it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    User,
    Contact,
    Group,
}

impl Family {
    fn of(class: DirectoryClass) -> Option<Self> {
        match class {
            DirectoryClass::User | DirectoryClass::InetOrgPerson => Some(Self::User),
            DirectoryClass::Contact => Some(Self::Contact),
            DirectoryClass::Group => Some(Self::Group),
            _ => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "user" => Some(Self::User),
            "contact" => Some(Self::Contact),
            "group" => Some(Self::Group),
            _ => None,
        }
    }
}

/// The rules of a configuration, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinRules {
    rules: Vec<Rule>,
}

impl JoinRules {
    /// Gives rules their meaning; everything that is wrong with them at once.
    pub fn compile(forms: &[JoinForm]) -> Result<Self, Vec<JoinProblem>> {
        let (mut rules, mut problems) = (Vec::new(), Vec::new());
        for (at, form) in forms.iter().enumerate() {
            match compile(form) {
                Ok(compiled) => {
                    for rule in compiled {
                        if rules.iter().any(|known: &Rule| known.tag == rule.tag) {
                            let message = format!("the rule {:?} is there twice", rule.name);
                            problems.push(problem(at, message, "take one of them out"));
                        } else {
                            rules.push(rule);
                        }
                    }
                }
                Err((message, hint)) => problems.push(problem(at, message, &hint)),
            }
        }
        if problems.is_empty() { Ok(Self { rules }) } else { Err(problems) }
    }

    /// Whether nothing is ever joined.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the rules compare, in order, for people.
    pub fn names(&self) -> Vec<String> {
        let shown = |rule: &Rule| format!("{}: {} = {}", rule.name, rule.left, rule.right);
        self.rules.iter().map(shown).collect()
    }

    /// The directory attributes that are compared.
    pub fn attributes(&self) -> BTreeSet<String> {
        self.rules.iter().flat_map(|rule| [rule.left.clone(), rule.right.clone()]).collect()
    }

    /// The name of a rule; that of one that is gone is not known.
    pub fn name(&self, tag: RuleTag) -> &str {
        self.rules.iter().find(|rule| rule.tag == tag).map_or("a rule that is gone", |rule| rule.name.as_str())
    }

    /// Everything by which an object may be found, sorted and without repetition.
    pub fn keys<'a>(&self, class: DirectoryClass, values: impl Fn(&str) -> &'a [AttributeValue]) -> Vec<JoinKey> {
        let Some(family) = Family::of(class) else { return Vec::new() };
        let mut keys = BTreeSet::new();
        for rule in self.rules.iter().filter(|rule| rule.classes.contains(&family)) {
            let sides: &[(&str, Side)] = if rule.left == rule.right {
                &[(rule.left.as_str(), Side::Both)]
            } else {
                &[(rule.left.as_str(), Side::Left), (rule.right.as_str(), Side::Right)]
            };
            for (attribute, side) in sides {
                for value in values(attribute).iter().take(MAX_KEYS) {
                    if let Some(value) = hash(rule.tag, family, attribute, value) {
                        keys.insert(JoinKey { rule: rule.tag, value, side: *side });
                    }
                }
            }
        }
        keys.into_iter().take(MAX_KEYS).collect()
    }

    fn order(&self, tag: RuleTag) -> usize {
        self.rules.iter().position(|rule| rule.tag == tag).unwrap_or(usize::MAX)
    }

    /// Takes candidates apart into those that belong together.
    pub fn partition(&self, candidates: &[Candidate]) -> Partition {
        let mut matches: BTreeMap<(usize, [u8; 16]), Vec<Found>> = BTreeMap::new();
        for (at, candidate) in candidates.iter().enumerate() {
            for key in &candidate.keys {
                let order = self.order(key.rule);
                matches.entry((order, key.value)).or_default().push((at, key.side));
            }
        }
        let mut parts: Vec<Part> = (0..candidates.len()).map(|at| Part { of: at, rule: None, doubt: None }).collect();
        for ((order, _), sides) in matches {
            let Some(rule) = self.rules.get(order) else { continue };
            let found = partners(candidates, &sides);
            let doubt = if is_ambiguous(candidates, &found) {
                Some(JoinDoubt::Ambiguous(rule.tag))
            } else if merge(candidates, &mut parts, &found, rule.tag) {
                None
            } else {
                Some(JoinDoubt::Contradicting(rule.tag))
            };
            for at in found.iter().filter(|_| doubt.is_some()) {
                if let Some(part) = parts.get_mut(*at) {
                    part.doubt = part.doubt.or(doubt);
                }
            }
        }
        Partition { parts }
    }
}

/// A candidate, and the side on which its value stands.
type Found = (usize, Side);

/// An object that may be joined with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its forest, by any number.
    pub forest: usize,
    /// By what it may be found.
    pub keys: Vec<JoinKey>,
}

/// Why an object is not joined although a rule finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinDoubt {
    /// Several objects of one forest have the value.
    Ambiguous(RuleTag),
    /// An earlier rule joins it with another object of the same forest.
    Contradicting(RuleTag),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    /// The first candidate of the part.
    of: usize,
    rule: Option<RuleTag>,
    doubt: Option<JoinDoubt>,
}

/// Candidates, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    parts: Vec<Part>,
}

impl Partition {
    /// The candidates that belong together with one, itself included, in the order of the candidates.
    pub fn together_with(&self, candidate: usize) -> Vec<usize> {
        let Some(of) = self.parts.get(candidate).map(|part| part.of) else { return Vec::new() };
        self.parts.iter().enumerate().filter(|(_, part)| part.of == of).map(|(at, _)| at).collect()
    }

    /// The first rule that joined a candidate with another one.
    pub fn rule(&self, candidate: usize) -> Option<RuleTag> {
        self.parts.get(candidate)?.rule
    }

    /// Why a rule that finds a candidate does not join it.
    pub fn doubt(&self, candidate: usize) -> Option<JoinDoubt> {
        self.parts.get(candidate)?.doubt
    }
}

/// The candidates of a match that have a partner in another forest.
fn partners(candidates: &[Candidate], sides: &[Found]) -> Vec<usize> {
    let forest = |at: usize| candidates.get(at).map(|candidate| candidate.forest);
    let meets =
        |(at, side): (usize, Side)| sides.iter().any(|(other, its)| forest(*other) != forest(at) && side.meets(*its));
    let found: BTreeSet<usize> = sides.iter().copied().filter(|entry| meets(*entry)).map(|(at, _)| at).collect();
    found.into_iter().collect()
}

fn is_ambiguous(candidates: &[Candidate], found: &[usize]) -> bool {
    let mut forests = BTreeSet::new();
    found.iter().filter_map(|at| candidates.get(*at)).any(|candidate| !forests.insert(candidate.forest))
}

/// Brings the parts of these candidates together, unless that puts two objects of one forest into one.
fn merge(candidates: &[Candidate], parts: &mut [Part], found: &[usize], rule: RuleTag) -> bool {
    let roots: BTreeSet<usize> = found.iter().filter_map(|at| parts.get(*at)).map(|part| part.of).collect();
    let Some(&first) = roots.first() else { return true };
    if roots.len() > 1 {
        let all: Vec<usize> =
            parts.iter().enumerate().filter(|(_, part)| roots.contains(&part.of)).map(|(at, _)| at).collect();
        if is_ambiguous(candidates, &all) {
            return false;
        }
        for at in all {
            if let Some(part) = parts.get_mut(at) {
                part.of = first;
            }
        }
    }
    for at in found {
        if let Some(part) = parts.get_mut(*at) {
            part.rule = part.rule.or(Some(rule));
        }
    }
    true
}

fn problem(rule: usize, message: String, hint: &str) -> JoinProblem {
    JoinProblem { rule, message, hint: hint.to_owned() }
}

/// Pairs of attributes that are compared.
type Pairs = &'static [(&'static str, &'static str)];

/// The rules that are known by name: what they compare, and the classes they are for.
const KNOWN: [(&str, Pairs, &[Family]); 3] = [
    // both ways, because either forest may be read first; the second pair is that of Lync's resource forests
    (
        "object_sid",
        &[("objectSid", "msExchMasterAccountSid"), ("objectSid", "msRTCSIP-OriginatorSid")],
        &[Family::User],
    ),
    ("mail", &[("mail", "mail")], &[Family::User, Family::Contact]),
    ("account_name", &[("sAMAccountName", "mailNickname")], &[Family::User]),
];

fn compile(form: &JoinForm) -> Result<Vec<Rule>, (String, String)> {
    let known = "object_sid, mail and account_name are known by name";
    let asked = match &form.classes {
        None => None,
        Some(classes) => {
            let mut families = BTreeSet::new();
            for class in classes {
                let family = Family::parse(class);
                let refused = || (format!("{class:?} is no class"), "write user, contact or group".to_owned());
                families.insert(family.ok_or_else(refused)?);
            }
            if families.is_empty() {
                return Err(("it is for no class".into(), "name user, contact or group, or leave classes out".into()));
            }
            if families.contains(&Family::Group) && families.len() > 1 {
                let hint = "write one rule for groups and another one for users and contacts";
                return Err(("groups join groups only".into(), hint.into()));
            }
            Some(families)
        }
    };
    let rule = |name: &str, left: &str, right: &str, classes: BTreeSet<Family>| {
        let hash = blake3::hash(format!("{left} {right} {classes:?}").as_bytes());
        let (tag, _) = hash.as_bytes().split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        Rule { name: name.to_owned(), tag: RuleTag(*tag), left: left.to_owned(), right: right.to_owned(), classes }
    };
    match (&form.rule, &form.attribute) {
        (Some(name), None) if form.with.is_none() => {
            let found = KNOWN.iter().find(|(known, ..)| known == name);
            let (_, pairs, classes) = found.ok_or_else(|| (format!("{name:?} is no rule"), known.to_owned()))?;
            let classes = asked.unwrap_or_else(|| classes.iter().copied().collect());
            Ok(pairs.iter().map(|(left, right)| rule(name, left, right, classes.clone())).collect())
        }
        (None, Some(attribute)) => {
            let with = form.with.as_ref().unwrap_or(attribute);
            if [attribute, with].iter().any(|name| name.trim().is_empty()) {
                return Err(("an attribute's name is empty".into(), "write lDAPDisplayNames".into()));
            }
            let name = form
                .name
                .clone()
                .unwrap_or_else(|| if with == attribute { attribute.clone() } else { format!("{attribute} = {with}") });
            let classes = asked.unwrap_or_else(|| BTreeSet::from([Family::User]));
            Ok(vec![rule(&name, attribute, with, classes)])
        }
        _ => Err((
            "it names no rule, or more than one".into(),
            format!("write either rule = \"...\" ({known}), or attribute = \"...\" and, if it differs, with = \"...\""),
        )),
    }
}

/// What a value is compared by. Addresses are compared without the kind of address before them.
fn hash(rule: RuleTag, family: Family, attribute: &str, value: &AttributeValue) -> Option<[u8; 16]> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&rule.0);
    hasher.update(&[u8::from(family == Family::Group)]);
    match value {
        AttributeValue::Binary(bytes) if bytes.is_empty() => return None,
        AttributeValue::Binary(bytes) => hasher.update(bytes),
        AttributeValue::Text(text) => {
            let text = text.trim();
            let is_address = attribute == "proxyAddresses" || attribute == "targetAddress";
            let text = match text.split_once(':') {
                Some((kind, address)) if is_address && kind.eq_ignore_ascii_case("smtp") => address.trim(),
                _ => text,
            };
            if text.is_empty() {
                return None;
            }
            hasher.update(text.to_lowercase().as_bytes())
        }
    };
    hasher.finalize().as_bytes().first_chunk::<16>().copied()
}

#[cfg(test)]
mod tests;
