//! Which attributes an expression may read, and what they hold.

use std::collections::BTreeMap;

use super::active_directory::ATTRIBUTES;
use super::suggest;
use super::types::{Kind, Type};

/// What the values of an attribute are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttributeSyntax {
    /// Text.
    Text,
    /// A whole number, written in decimal.
    Integer,
    /// `TRUE` or `FALSE`.
    Boolean,
    /// A time such as `20240131235959.0Z`, which is text until a function makes a date of it.
    GeneralizedTime,
    /// A number: hundreds of nanoseconds since 1601, for `DateFromNum`.
    FileTime,
    /// Bytes.
    Binary,
    /// The distinguished name of another object.
    Reference,
}

impl AttributeSyntax {
    fn kind(self) -> Kind {
        match self {
            Self::Text | Self::GeneralizedTime | Self::Reference => Kind::Text,
            Self::Integer | Self::FileTime => Kind::Integer,
            Self::Boolean => Kind::Boolean,
            Self::Binary => Kind::Binary,
        }
    }
}

/// The attributes that exist. Names are case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    attributes: BTreeMap<String, (AttributeSyntax, bool)>,
}

impl Schema {
    /// The common attributes of users, groups, contacts and computers in Active Directory, with those of Exchange and
    /// Lync, and what every object is known by: `dn`, `sourceAnchor`.
    pub fn active_directory() -> Self {
        let attributes = ATTRIBUTES.iter().map(|&(name, syntax, multi)| (name.to_owned(), (syntax, multi)));
        Self { attributes: attributes.collect() }
    }

    /// With one more attribute, or another meaning of one.
    pub fn with(mut self, name: impl Into<String>, syntax: AttributeSyntax, multi: bool) -> Self {
        self.attributes.insert(name.into(), (syntax, multi));
        self
    }

    /// The syntax of an attribute and whether it may have several values.
    pub fn attribute(&self, name: &str) -> Option<(AttributeSyntax, bool)> {
        self.attributes.get(name).copied()
    }

    /// The names of all attributes, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.keys().map(String::as_str)
    }

    pub(super) fn type_of(&self, name: &str) -> Option<(AttributeSyntax, Type)> {
        let (syntax, is_multi) = self.attribute(name)?;
        Some((syntax, Type { kind: syntax.kind(), is_multi }))
    }

    /// What to write instead of a name that is not known.
    pub(super) fn hint(&self, name: &str) -> String {
        suggest::hint(name, self.names(), "declare it in the configuration if the directory has it")
    }
}
