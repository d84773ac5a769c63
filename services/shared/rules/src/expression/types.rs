//! What kind of value an expression has.

use std::fmt;

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Text, also times in the directory's own notation and distinguished names.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// True or false.
    Boolean,
    /// A point in time, UTC.
    Date,
    /// Bytes.
    Binary,
    /// One of several kinds: which one only the values tell.
    Any,
    /// Never a value: `NULL`, `AuthoritativeNull`, `IgnoreThisFlow`, `Error(...)`.
    Nothing,
}

/// The static type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Type {
    /// Of each value.
    pub kind: Kind,
    /// Whether there may be several values.
    pub is_multi: bool,
}

impl Type {
    pub(crate) const TEXT: Self = Self::single(Kind::Text);
    pub(crate) const INTEGER: Self = Self::single(Kind::Integer);
    pub(crate) const BOOLEAN: Self = Self::single(Kind::Boolean);
    pub(crate) const NOTHING: Self = Self::single(Kind::Nothing);

    pub(crate) const fn single(kind: Kind) -> Self {
        Self { kind, is_multi: false }
    }

    pub(crate) const fn multi(kind: Kind) -> Self {
        Self { kind, is_multi: true }
    }

    /// The type of a value that is of either type.
    pub(crate) fn or(self, other: Self) -> Self {
        let kind = match (self.kind, other.kind) {
            (Kind::Nothing, kind) | (kind, Kind::Nothing) => kind,
            (one, two) if one == two => one,
            _ => Kind::Any,
        };
        Self { kind, is_multi: self.is_multi || other.is_multi }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Integer => "a number",
            Self::Boolean => "true or false",
            Self::Date => "a date",
            Self::Binary => "binary",
            Self::Any => "of any kind",
            Self::Nothing => "no value",
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind, if self.is_multi { ", several values" } else { "" })
    }
}
