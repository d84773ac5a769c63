//! The expression language: how configurations say what becomes of a directory object's attributes.
//!
//! It is the language of cloud sync's and Azure AD Connect's mappings, made total and deterministic: an expression is
//! compiled against a [`Schema`] when the configuration is loaded, and then gives for every object the same [`Output`] or
//! a typed [`EvalError`]. What depends on the clock or on chance is refused when it is compiled, with the reason.
//!
//! ```text
//!  text ── lexer ──> parser ──> check ──> Expression ── evaluate(object) ──> Null | Value | Clear | Ignore
//!                                 ^                        │
//!                          Schema, functions               v
//!                                                  EvalError, without values
//! ```
//!
//! ```
//! use forestsync_domain::{AttributeValue, Attributes};
//! use forestsync_rules::expression::{Expression, Input, Output, Parameter, Schema};
//!
//! struct Object(Attributes);
//!
//! impl Input for Object {
//!     fn values(&self, attribute: &str) -> &[AttributeValue] {
//!         self.0.get(attribute).map(Vec::as_slice).unwrap_or_default()
//!     }
//!
//!     fn parameter(&self, _: Parameter) -> Option<&str> {
//!         None
//!     }
//! }
//!
//! let schema = Schema::active_directory();
//! let expression = Expression::compile(r#"IIF(IsPresent([mail]), ToLower([mail]), IgnoreThisFlow)"#, &schema)?;
//! assert!(expression.attributes().contains("mail"));
//! let object = Object([("mail".to_owned(), vec![AttributeValue::from("Ann@lab.test")])].into());
//! assert_eq!(expression.evaluate(&object), Ok(Output::Value("ann@lab.test".to_owned().into())));
//! assert_eq!(expression.evaluate(&Object(Attributes::new())), Ok(Output::Ignore));
//!
//! let error = Expression::compile("ToLower([Mail])", &schema).unwrap_err();
//! assert_eq!(error.position, 9);
//! assert_eq!(error.hint, "upper and lower case matter: write mail");
//! # Ok::<(), forestsync_rules::expression::CompileError>(())
//! ```
//!
//! # Writing
//!
//! | Written | Means |
//! |---|---|
//! | `[displayName]` | an attribute by its lDAPDisplayName; also `dn`, `sourceAnchor` and what the configuration declares |
//! | `"a \"b\" \\"` | a text; `\` escapes `\` and `"` and nothing else |
//! | `42`, `-1`, `&HF` | a number of 64 bits, decimal or hexadecimal |
//! | `True`, `False` | |
//! | `NULL` | no value |
//! | `AuthoritativeNull` | ends the expression: the target shall have no value ([`Output::Clear`]) |
//! | `IgnoreThisFlow` | ends the expression: the target stays as it is ([`Output::Ignore`]) |
//! | `%Domain.FQDN%` | a [`Parameter`]; also `%Domain.Netbios%`, `%Forest.FQDN%`, `%Forest.Netbios%`, `%Connector.ID%` |
//! | `Left([cn], 3)` | a call; calls nest; arguments that are left out are empty positions: `F(a, , b)` |
//! | `$item` | the variable of `With`, `Where` or `Select` |
//!
//! Names are case-sensitive, and so is every comparison of texts. Operators, those that bind most first; comparisons do not
//! chain, the others associate:
//!
//! | Operator | Means |
//! |---|---|
//! | `( )` | |
//! | `&` | one text behind the other |
//! | `=` `<>` `<` `<=` `>` `>=` | compares |
//! | `NOT` | not; the function `Not` is another thing |
//! | `AND` `&&` | and; the right side is evaluated only if the left one holds |
//! | `OR` `\|\|` | or; the right side is evaluated only if the left one does not hold |
//!
//! `&H` is a number where a value may begin and a concatenation behind a value. Positions in texts and lists count from 1;
//! those in texts count UTF-16 code units, as directories do, and no function ever splits a character.
//!
//! # Kinds of values
//!
//! Text, number, true or false, date (UTC), bytes, and lists of these, which do not nest. Attributes of a number or boolean
//! syntax are read as such; times are text until a function makes a date of them. A list of one value is that value, and
//! a list of none is Null.
//!
//! | Needed | Given |
//! |---|---|
//! | text | a number in decimal, `True` or `False`, a date as in RFC 3339; bytes are an error |
//! | number | a text that is a whole number |
//! | true or false | a text that is `true` or `false` in any case |
//! | date | a text in one of the forms of ISO 8601, `20240131235959.0Z`, or `1/31/2024 11:59:59 PM` |
//!
//! A text and a number are equal if the number's digits are the text, and ordered as numbers. Texts are ordered by their
//! characters' numbers. Several values where one is needed are refused at compilation if the schema allows them, with the
//! hint to use `Item(..., 1)` or `Select`; if the schema says that there is one and the directory has more, the first
//! counts.
//!
//! # Null
//!
//! An attribute without a value is Null. A function one of whose arguments is Null gives Null, except these:
//!
//! | Expression | With Null |
//! |---|---|
//! | `=` `<` `<=` `>` `>=` | false, also for two Nulls |
//! | `<>` | true, also for two Nulls |
//! | `NOT`, `AND`, `OR`, and conditions of `IIF`, `Where` | Null counts as false |
//! | `&` | Null is left out; Null if nothing is left |
//! | `IsNull`, `IsNullOrEmpty`, `Not` | True |
//! | `IsPresent`, `IsEmpty`, `IsString`, `IsDate`, `IsGuid`, `IsNumeric`, `IsCert`, `CBool` | False |
//! | `Count`, `ValueCount`, `Contains` | 0 (where the list is Null) |
//! | `Left`, `Right`, `PadLeft`, `PadRight` | `""` (where the text is Null) |
//! | `Word` | `""` |
//! | `Coalesce`, `MailNickname` | the next argument |
//! | `Join` | Null is left out (of the values); Null if nothing is left |
//! | `Switch` | the default; a Null key fits nothing |
//! | `Select`, `Where` | what is Null for a value is left out; Null if nothing is left |
//! | `With` | the variable is Null |
//! | `Replace` with newAttribute | what is found in the other attribute |
//! | `PadLeft`, `PadRight` | the text (where length or character is Null) |
//! | optional arguments | as if left out |
//! | `IgnoreFlowIfNullOrEmpty` | ends the expression: the target stays as it is |
//!
//! An empty text is a value. Only the branch that is chosen is evaluated, so `Error(...)` fails only where it is reached.
//!
//! # What must be literal
//!
//! Regular expressions, groups, date formats, cultures and the words that name an option are compiled once and must be
//! texts in quotation marks. What depends on no object is computed once, and an expression that would fail for every object
//! is refused.
//!
//! # Limits
//!
//! 16 KiB of text, 64 calls and parentheses within each other; while evaluating 64 KiB for a text or a list that is made,
//! 2,000 values in a list that is read or made, a million steps. `Count` and the tests for Null take any number of values.

mod active_directory;
mod check;
mod dates;
mod error;
mod evaluate;
pub mod functions;
mod input;
mod letters;
mod lexer;
mod parser;
mod regexes;
mod schema;
mod suggest;
#[cfg(test)]
mod tests;
mod types;
mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

pub use error::{CompileError, EvalError, EvalErrorKind};
pub use input::{Input, Parameter};
pub use schema::{AttributeSyntax, Schema};
pub use types::{Kind, Type};
pub use value::Value;

use check::{Checker, Node};
use evaluate::{Evaluator, Stop};

/// A compiled expression, cheap to clone and to share.
#[derive(Clone)]
pub struct Expression {
    compiled: Arc<Compiled>,
}

struct Compiled {
    source: String,
    attributes: BTreeSet<String>,
    result: Type,
    root: Node,
}

/// What an expression has to say about its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<'a> {
    /// Nothing: the next source or a default may win.
    Null,
    /// This value. A text may be empty.
    Value(Value<'a>),
    /// The target shall have no value (`AuthoritativeNull`).
    Clear,
    /// The target is left as it is (`IgnoreThisFlow`, `IgnoreFlowIfNullOrEmpty`).
    Ignore,
}

impl Output<'_> {
    /// A copy that borrows from nothing.
    pub fn into_owned(self) -> Output<'static> {
        match self {
            Self::Null => Output::Null,
            Self::Value(value) => Output::Value(value.into_owned()),
            Self::Clear => Output::Clear,
            Self::Ignore => Output::Ignore,
        }
    }
}

impl Expression {
    /// Compiles a text, or says what is wrong with it. Does not depend on anything but its arguments.
    pub fn compile(text: &str, schema: &Schema) -> Result<Self, CompileError> {
        let syntax = parser::parse(text)?;
        let mut checker = Checker::new(schema);
        let checked = checker.check(&syntax)?;
        let compiled = Compiled {
            source: text.to_owned(),
            attributes: checker.attributes,
            result: checked.of,
            root: checked.node,
        };
        Ok(Self { compiled: Arc::new(compiled) })
    }

    /// The text it was compiled from.
    pub fn source(&self) -> &str {
        &self.compiled.source
    }

    /// The names of the attributes it reads, `dn` and the like included.
    pub fn attributes(&self) -> &BTreeSet<String> {
        &self.compiled.attributes
    }

    /// What kind of value it has when it has one.
    pub fn result_type(&self) -> Type {
        self.compiled.result
    }

    /// Its value for one object. The same input gives the same output.
    pub fn evaluate<'a>(&'a self, input: &'a dyn Input) -> Result<Output<'a>, EvalError> {
        match Evaluator::new(input).run(&self.compiled.root, None) {
            Ok(Some(value)) => Ok(Output::Value(value)),
            Ok(None) => Ok(Output::Null),
            Err(Stop::Clear) => Ok(Output::Clear),
            Err(Stop::Ignore) => Ok(Output::Ignore),
            Err(Stop::Failed(error)) => Err(error),
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.compiled.source).finish()
    }
}

/// By their texts; two texts that mean the same are different.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.compiled.source == other.compiled.source
    }
}

impl Eq for Expression {}
