//! Filters as they are configured.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Operator;
use crate::classify::DirectoryClass;

/// A group of clauses that an object must satisfy all of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterForm {
    /// The classes it speaks of; all of them unless written.
    #[serde(default = "all")]
    pub classes: Vec<FilterClass>,
    /// The clauses.
    #[serde(rename = "where")]
    pub clauses: Vec<Clause>,
}

fn all() -> Vec<FilterClass> {
    FilterClass::ALL.to_vec()
}

/// A class of objects as filters tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterClass {
    /// Users, of class inetOrgPerson too.
    User,
    /// Groups.
    Group,
    /// Contacts.
    Contact,
}

impl FilterClass {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::User, Self::Group, Self::Contact];

    /// That of a directory object, `None` if it is of a class that is not synchronized.
    pub fn of(class: DirectoryClass) -> Option<Self> {
        match class {
            DirectoryClass::User | DirectoryClass::InetOrgPerson => Some(Self::User),
            DirectoryClass::Group => Some(Self::Group),
            DirectoryClass::Contact => Some(Self::Contact),
            _ => None,
        }
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clause {
    /// lDAPDisplayName in any case. Left out where membership is asked, which is the object's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// What is asked.
    pub operator: Operator,
    /// What it is compared with, for operators that take one value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<ClauseValue>,
    /// What it is compared with, for operators that take several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<ClauseValue>>,
    /// Whether text is compared without regard to case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_case: bool,
}

/// What an attribute is compared with: a string, an integer, or true and false.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClauseValue {
    /// An integer.
    Integer(i64),
    /// `TRUE` or `FALSE` as a directory writes them.
    Bool(bool),
    /// A text.
    Text(String),
}

impl ClauseValue {
    /// The integer, also one that is written as text.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::Bool(_) => None,
            Self::Text(text) => text.trim().parse().ok(),
        }
    }
}

impl fmt::Display for ClauseValue {
    /// The text that a directory would hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Bool(value) => f.write_str(if *value { "TRUE" } else { "FALSE" }),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<&str> for ClauseValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for ClauseValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}
