//! What can be wrong with an expression: with its text, or with the values it meets.

use std::fmt;

/// Why a text is no expression: where, what, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// Character of the text at which it was noticed, counted from 1.
    pub position: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl CompileError {
    pub(crate) fn new(position: usize, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { position, message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.position, self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " (hint: {})", self.hint) }
    }
}

impl std::error::Error for CompileError {}

/// Why an expression has no value for an object. Names functions and limits, never a value of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalError {
    /// What went wrong.
    pub kind: EvalErrorKind,
    /// The function or operator that met it.
    pub function: &'static str,
    /// Character of the expression at which that function is written, counted from 1.
    pub position: usize,
}

/// What went wrong in an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvalErrorKind {
    /// A text that should be a whole number is none, or has more than 64 bits.
    NotANumber,
    /// A number, position or date outside of what can be represented, or an `Item` that is not there.
    OutOfRange,
    /// A value that should be true or false is neither.
    NotABoolean,
    /// A text that should be a date has none of the known forms, or not the stated one.
    NotADate,
    /// A binary value stands where a text is needed, or bytes are no text of the stated encoding.
    NotText,
    /// A text stands where a binary value is needed.
    NotBinary,
    /// A value that should be base64 or hexadecimal is not.
    NotEncoded,
    /// A text is no distinguished name.
    NotADistinguishedName,
    /// A value is no GUID.
    NotAGuid,
    /// A value is no security identifier.
    NotASid,
    /// A value is no DER certificate.
    NotACertificate,
    /// Two values of kinds that cannot be compared.
    NotComparable,
    /// A text of more than 64 KiB, a list of more than 2,000 values, or an evaluation of too many steps.
    TooLarge,
    /// The parameter has no value here.
    NoParameter,
    /// `Error(...)` was reached: the literal text its author wrote, with `…` where a value of the object would stand.
    Raised(String),
}

impl fmt::Display for EvalErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "a value is not a whole number of 64 bits",
            Self::OutOfRange => "a number, position or date is out of range",
            Self::NotABoolean => "a value is neither true nor false",
            Self::NotADate => "a value is not a date of the expected form",
            Self::NotText => "a value is not text",
            Self::NotBinary => "a value is not binary",
            Self::NotEncoded => "a value is not of the expected encoding",
            Self::NotADistinguishedName => "a value is not a distinguished name",
            Self::NotAGuid => "a value is not a GUID",
            Self::NotASid => "a value is not a security identifier",
            Self::NotACertificate => "a value is not a certificate",
            Self::NotComparable => "two values cannot be compared",
            Self::TooLarge => "the result is larger than 64 KiB or 2,000 values, or takes too many steps",
            Self::NoParameter => "the parameter has no value",
            Self::Raised(message) => message,
        })
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}: {}", self.function, self.position, self.kind)
    }
}

impl std::error::Error for EvalError {}
