//! Values while an expression is evaluated, and how one kind becomes another.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;

use super::dates;
use super::error::EvalErrorKind;

/// A value. Texts and bytes that an expression passes on as the directory has them are borrowed from the object.
///
/// `Debug` hides the content.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A point in time, UTC.
    Date(Timestamp),
    /// Bytes.
    Binary(Cow<'a, [u8]>),
    /// Several values, none of which is a list; at least one.
    List(Vec<Value<'a>>),
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Integer(_) => f.write_str("Integer"),
            Self::Boolean(value) => write!(f, "Boolean({value})"),
            Self::Date(_) => f.write_str("Date"),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
            Self::List(values) => write!(f, "List({} values)", values.len()),
        }
    }
}

impl<'a> Value<'a> {
    /// A copy that borrows from nothing.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Integer(number) => Value::Integer(number),
            Self::Boolean(value) => Value::Boolean(value),
            Self::Date(date) => Value::Date(date),
            Self::Binary(bytes) => Value::Binary(Cow::Owned(bytes.into_owned())),
            Self::List(values) => Value::List(values.into_iter().map(Value::into_owned).collect()),
        }
    }

    /// The same value for as long as this one lives.
    pub(crate) fn borrowed(&'a self) -> Value<'a> {
        match self {
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Binary(bytes) => Value::Binary(Cow::Borrowed(bytes)),
            Self::List(values) => Value::List(values.iter().map(Value::borrowed).collect()),
            Self::Integer(number) => Value::Integer(*number),
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Date(date) => Value::Date(*date),
        }
    }

    /// Bytes that were made for this value rather than borrowed.
    pub(crate) fn built(&self) -> usize {
        match self {
            Self::Text(Cow::Owned(text)) => text.len(),
            Self::Binary(Cow::Owned(bytes)) => bytes.len(),
            Self::List(values) => values.iter().map(Value::built).sum(),
            _ => 0,
        }
    }

    /// The first of several values, or the one there is.
    pub(crate) fn first(self) -> Option<Self> {
        match self {
            Self::List(values) => values.into_iter().next(),
            single => Some(single),
        }
    }

    pub(crate) fn into_list(self) -> Vec<Self> {
        match self {
            Self::List(values) => values,
            single => vec![single],
        }
    }

    /// As text: `True` and `False`, numbers in decimal, dates as in RFC 3339.
    pub fn into_text(self) -> Result<Cow<'a, str>, EvalErrorKind> {
        Ok(match self {
            Self::Text(text) => text,
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::Boolean(true) => Cow::Borrowed("True"),
            Self::Boolean(false) => Cow::Borrowed("False"),
            Self::Date(date) => Cow::Owned(date.to_string()),
            Self::Binary(_) => return Err(EvalErrorKind::NotText),
            Self::List(values) => return values.into_iter().next().ok_or(EvalErrorKind::NotText)?.into_text(),
        })
    }

    pub(crate) fn to_integer(&self) -> Result<i64, EvalErrorKind> {
        match self {
            Self::Integer(number) => Ok(*number),
            Self::Text(text) => text.trim().parse().map_err(|_| EvalErrorKind::NotANumber),
            Self::List(values) => values.first().map_or(Err(EvalErrorKind::NotANumber), Value::to_integer),
            _ => Err(EvalErrorKind::NotANumber),
        }
    }

    /// Numbers are true if they are not zero; texts if they are `true` in any case, as the directory writes `TRUE`.
    pub(crate) fn to_boolean(&self) -> Result<bool, EvalErrorKind> {
        match self {
            Self::Boolean(value) => Ok(*value),
            Self::Integer(number) => Ok(*number != 0),
            Self::Text(text) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
            Self::Text(text) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
            Self::List(values) => values.first().map_or(Err(EvalErrorKind::NotABoolean), Value::to_boolean),
            _ => Err(EvalErrorKind::NotABoolean),
        }
    }

    pub(crate) fn to_date(&self) -> Result<Timestamp, EvalErrorKind> {
        match self {
            Self::Date(date) => Ok(*date),
            Self::Text(text) => dates::read_any(text).ok_or(EvalErrorKind::NotADate),
            Self::List(values) => values.first().map_or(Err(EvalErrorKind::NotADate), Value::to_date),
            _ => Err(EvalErrorKind::NotADate),
        }
    }

    /// Whether it is a text without a character.
    pub(crate) fn is_empty_text(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Binary(bytes) => bytes.is_empty(),
            Self::List(values) => values.iter().all(Value::is_empty_text),
            _ => false,
        }
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(date: Timestamp) -> Self {
        Self::Date(date)
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(Cow::Owned(bytes))
    }
}
