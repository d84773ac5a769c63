//! The expression language.

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
