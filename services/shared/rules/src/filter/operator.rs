//! The operators and how the products spell them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a clause asks of an attribute. The negation of an operator holds where there is a value and the operator does not
/// hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Operator {
    /// A value is the text.
    Equals,
    /// Negation of [`Operator::Equals`].
    NotEquals,
    /// A value is one of the texts.
    IsIn,
    /// Negation of [`Operator::IsIn`].
    IsNotIn,
    /// A value has the text within.
    Contains,
    /// Negation of [`Operator::Contains`].
    NotContains,
    /// A value begins with the text.
    StartsWith,
    /// Negation of [`Operator::StartsWith`].
    NotStartsWith,
    /// A value ends with the text.
    EndsWith,
    /// Negation of [`Operator::EndsWith`].
    NotEndsWith,
    /// The regular expression is found in a value.
    RegexMatch,
    /// Negation of [`Operator::RegexMatch`].
    NotRegexMatch,
    /// A value is an integer below the one given.
    LessThan,
    /// A value is an integer not above the one given.
    LessThanOrEqual,
    /// A value is an integer above the one given.
    GreaterThan,
    /// A value is an integer not below the one given.
    GreaterThanOrEqual,
    /// A value has the one bit of the mask. More than one bit is refused: whether Connect asks for any or for all of them
    /// is not documented.
    IsBitSet,
    /// Negation of [`Operator::IsBitSet`].
    IsBitNotSet,
    /// A value has at least one bit of the mask: `&` of cloud sync, the bitwise and that is not zero.
    BitsAnd,
    /// Negation of [`Operator::BitsAnd`]: no value has a bit of the mask.
    NotBitsAnd,
    /// A value is `TRUE`, in any case.
    IsTrue,
    /// A value is `FALSE`, in any case.
    IsFalse,
    /// There is no value.
    IsNull,
    /// There is a value, of whatever kind.
    IsNotNull,
    /// The object is a member of one of the groups.
    IsMemberOf,
    /// The object is a member of none of the groups.
    IsNotMemberOf,
}

/// What kind of question an operator asks, and so what its clause must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// Of texts.
    Text { negated: bool },
    /// Of integers.
    Integer { negated: bool },
    /// Whether a text is `TRUE`, or `FALSE`.
    Truth { expected: bool },
    /// Whether there is a value.
    Presence { expected: bool },
    /// Of the groups that the object is in.
    Membership { negated: bool },
}

/// Each operator's own name first, then other spellings. Letter case, blanks and underscores do not count.
const NAMES: [(Operator, &[&str]); 26] = [
    (Operator::Equals, &["equals", "equal"]),
    (Operator::NotEquals, &["not_equals", "not_equal"]),
    (Operator::IsIn, &["is_in", "in"]),
    (Operator::IsNotIn, &["is_not_in", "not_in"]),
    (Operator::Contains, &["contains", "includes"]),
    (Operator::NotContains, &["not_contains", "not_includes"]),
    (Operator::StartsWith, &["starts_with"]),
    (Operator::NotStartsWith, &["not_starts_with"]),
    (Operator::EndsWith, &["ends_with"]),
    (Operator::NotEndsWith, &["not_ends_with"]),
    (Operator::RegexMatch, &["regex_match"]),
    (Operator::NotRegexMatch, &["not_regex_match"]),
    (Operator::LessThan, &["less_than"]),
    (Operator::LessThanOrEqual, &["less_than_or_equal", "less_than_or_equals"]),
    (Operator::GreaterThan, &["greater_than"]),
    (Operator::GreaterThanOrEqual, &["greater_than_or_equal", "greater_than_or_equals"]),
    (Operator::IsBitSet, &["is_bit_set"]),
    (Operator::IsBitNotSet, &["is_bit_not_set"]),
    (Operator::BitsAnd, &["bits_and", "&"]),
    (Operator::NotBitsAnd, &["not_bits_and", "!&"]),
    (Operator::IsTrue, &["is_true"]),
    (Operator::IsFalse, &["is_false"]),
    (Operator::IsNull, &["is_null", "is_not_present"]),
    (Operator::IsNotNull, &["is_not_null", "is_present"]),
    (Operator::IsMemberOf, &["is_member_of"]),
    (Operator::IsNotMemberOf, &["is_not_member_of"]),
];

/// A text that names no operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownOperator;

impl fmt::Display for UnknownOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such operator; there are ")?;
        for (i, name) in Operator::all().map(Operator::name).enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownOperator {}

fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | ' ')).flat_map(char::to_lowercase).collect()
}

impl Operator {
    /// Every operator.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(operator, _)| operator)
    }

    pub(super) fn asks(self) -> Asks {
        match self {
            Self::Equals | Self::IsIn | Self::Contains | Self::StartsWith | Self::EndsWith | Self::RegexMatch => {
                Asks::Text { negated: false }
            }
            Self::NotEquals
            | Self::IsNotIn
            | Self::NotContains
            | Self::NotStartsWith
            | Self::NotEndsWith
            | Self::NotRegexMatch => Asks::Text { negated: true },
            Self::LessThan
            | Self::LessThanOrEqual
            | Self::GreaterThan
            | Self::GreaterThanOrEqual
            | Self::IsBitSet
            | Self::BitsAnd => Asks::Integer { negated: false },
            Self::IsBitNotSet | Self::NotBitsAnd => Asks::Integer { negated: true },
            Self::IsTrue => Asks::Truth { expected: true },
            Self::IsFalse => Asks::Truth { expected: false },
            Self::IsNull => Asks::Presence { expected: false },
            Self::IsNotNull => Asks::Presence { expected: true },
            Self::IsMemberOf => Asks::Membership { negated: false },
            Self::IsNotMemberOf => Asks::Membership { negated: true },
        }
    }

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        let names = NAMES.into_iter().find(|(operator, _)| *operator == self).map(|(_, names)| names);
        names.and_then(|names| names.first()).copied().unwrap_or_default()
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Operator {
    type Err = UnknownOperator;

    fn from_str(text: &str) -> Result<Self, UnknownOperator> {
        let text = plain(text);
        let is_it = |(_, names): &(Self, &[&str])| names.iter().any(|name| plain(name) == text);
        NAMES.into_iter().find(is_it).map(|(operator, _)| operator).ok_or(UnknownOperator)
    }
}

impl TryFrom<String> for Operator {
    type Error = UnknownOperator;

    fn try_from(text: String) -> Result<Self, UnknownOperator> {
        text.parse()
    }
}

impl From<Operator> for String {
    fn from(operator: Operator) -> Self {
        operator.name().to_owned()
    }
}
