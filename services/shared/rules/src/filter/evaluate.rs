//! A compiled clause, put to an object.

use std::collections::BTreeSet;

use forestsync_domain::AttributeValue;
use regex::Regex;

use super::FilterInput;

/// A clause, ready to be asked.
#[derive(Debug, Clone)]
pub(super) enum Test {
    /// There is a value, or none.
    Presence { attribute: String, expected: bool },
    /// A text is such a one; or, negated, there are texts and none is.
    Text { attribute: String, matcher: Matcher, negated: bool },
    /// An integer is such a one; or, negated, there are integers and none is.
    Integer { attribute: String, matcher: IntegerMatcher, negated: bool },
    /// The object is a member of one of the groups; or, negated, of none.
    Member { groups: Vec<usize>, negated: bool },
}

/// What is asked of a text.
#[derive(Debug, Clone)]
pub(super) enum Matcher {
    /// It is one of these, which are in lower case if case is ignored. A set, because lists of people can be long.
    Among { texts: BTreeSet<String>, ignore_case: bool },
    /// It has this in it, which is in lower case if case is ignored.
    Part { place: Place, part: String, ignore_case: bool },
    /// A search.
    Regex(Regex),
}

/// Where in a text a part of it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Anywhere,
    Start,
    End,
}

/// What is asked of an integer.
#[derive(Debug, Clone, Copy)]
pub(super) enum IntegerMatcher {
    Less(i64),
    LessOrEqual(i64),
    Greater(i64),
    GreaterOrEqual(i64),
    /// It shares a bit with the mask.
    Bits(i64),
}

impl Test {
    /// Whether it holds.
    pub(super) fn holds(&self, input: &dyn FilterInput) -> bool {
        match self {
            Self::Presence { attribute, expected } => {
                input.values(attribute).iter().any(|value| !value.as_bytes().is_empty()) == *expected
            }
            Self::Text { attribute, matcher, negated } => {
                let texts = input.values(attribute).iter().filter_map(AttributeValue::as_text);
                decide(texts.filter(|text| !text.is_empty()).map(|text| matcher.matches(text)), *negated)
            }
            Self::Integer { attribute, matcher, negated } => {
                let texts = input.values(attribute).iter().filter_map(AttributeValue::as_text);
                let integers = texts.filter_map(|text| text.trim().parse().ok());
                decide(integers.map(|value| matcher.matches(value)), *negated)
            }
            Self::Member { groups, negated } => groups.iter().any(|group| input.is_member_of(*group)) != *negated,
        }
    }
}

/// The answer of a clause from what its operator says of each value.
fn decide(mut answers: impl Iterator<Item = bool>, negated: bool) -> bool {
    if !negated {
        return answers.any(|matches| matches);
    }
    // no value is no answer, not a negative one
    answers.next().is_some_and(|first| !first && answers.all(|matches| !matches))
}

impl Matcher {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Regex(regex) => regex.is_match(text),
            Self::Among { texts, ignore_case: false } => texts.contains(text),
            Self::Among { texts, ignore_case: true } => texts.contains(&text.to_lowercase()),
            Self::Part { place, part, ignore_case: false } => place.holds(text, part),
            Self::Part { place, part, ignore_case: true } => place.holds(&text.to_lowercase(), part),
        }
    }
}

impl Place {
    fn holds(self, text: &str, part: &str) -> bool {
        match self {
            Self::Anywhere => text.contains(part),
            Self::Start => text.starts_with(part),
            Self::End => text.ends_with(part),
        }
    }
}

impl IntegerMatcher {
    fn matches(self, value: i64) -> bool {
        match self {
            Self::Less(bound) => value < bound,
            Self::LessOrEqual(bound) => value <= bound,
            Self::Greater(bound) => value > bound,
            Self::GreaterOrEqual(bound) => value >= bound,
            Self::Bits(mask) => value & mask != 0,
        }
    }
}
