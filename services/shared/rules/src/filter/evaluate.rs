//! A compiled clause, put to an object.

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
    /// Comparison with texts, which are in lower case if case is ignored.
    Compare { how: How, with: Vec<String>, ignore_case: bool },
    /// A search.
    Regex(Regex),
}

/// How texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Equal,
    Contains,
    StartsWith,
    EndsWith,
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
            Self::Compare { how, with, ignore_case: false } => with.iter().any(|with| how.compare(text, with)),
            Self::Compare { how, with, ignore_case: true } => {
                let text = text.to_lowercase();
                with.iter().any(|with| how.compare(&text, with))
            }
        }
    }
}

impl How {
    fn compare(self, text: &str, with: &str) -> bool {
        match self {
            Self::Equal => text == with,
            Self::Contains => text.contains(with),
            Self::StartsWith => text.starts_with(with),
            Self::EndsWith => text.ends_with(with),
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
