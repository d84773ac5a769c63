//! The functions of the language: what each is called, what it takes, and what it does.

mod bits;
mod certificate;
mod choice;
mod date;
mod encoding;
mod list;
mod mail;
mod names;
mod pieces;
mod replace;
mod text;

use super::check::Arguments;
use super::error::CompileError;
use super::evaluate::{Call, Evaluated};
use super::letters::Culture;
use super::types::{Kind, Type};

/// What a reader is told of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// As it is called; upper and lower case matter.
    pub name: &'static str,
    /// The call with the names of its arguments, optional ones in brackets.
    pub signature: &'static str,
    /// What it gives, in one line.
    pub description: &'static str,
}

/// A function of the products that is not available here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// As it is called.
    pub name: &'static str,
    /// Why it is not available.
    pub reason: &'static str,
    /// What to do instead.
    pub hint: &'static str,
}

/// All functions, sorted by name.
pub fn all() -> Vec<Function> {
    let mut all: Vec<Function> = definitions()
        .map(|found| Function { name: found.name, signature: found.signature, description: found.description })
        .collect();
    all.sort_unstable_by_key(|function| function.name);
    all
}

/// The functions that an expression cannot use, and why.
pub fn all_refused() -> &'static [Refused] {
    &REFUSED
}

/// What the place of an argument asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// One value, read as text.
    Text,
    Integer,
    Boolean,
    Date,
    Binary,
    /// One value of any kind.
    One,
    /// Any number of values.
    List,
    /// Anything at all, passed on as it is.
    Any,
    /// A text in quotation marks, compiled once.
    Literal,
    /// One of these words, with or without quotation marks.
    Word(&'static [&'static str]),
    /// A name such as `$item` that the call gives a value.
    Variable(Binds),
}

/// What the variable of a call stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binds {
    /// The second argument as it is.
    Whole,
    /// One of the values of the second argument after the other.
    Each,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) want: Want,
    /// Whether it may be left out.
    pub(crate) optional: bool,
}

const fn need(want: Want) -> Parameter {
    Parameter { want, optional: false }
}

const fn may(want: Want) -> Parameter {
    Parameter { want, optional: true }
}

type Run = for<'e, 'a> fn(&Call<'e, 'a>) -> Evaluated<'a>;

/// How a call is carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Body {
    Run(Run),
    /// It stands for the attribute it names.
    Attribute,
    /// It fails with its message.
    Raise,
}

/// What a function made of its literal arguments when the expression was compiled.
#[derive(Debug, Clone)]
pub(crate) enum Prepared {
    Nothing,
    /// `Contains` compares whole values.
    Whole,
    Culture(Culture),
    Characters(replace::Characters),
    Formats(Box<date::Formats>),
    Replace(Box<replace::Mode>),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) signature: &'static str,
    pub(crate) description: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// How many of the last parameters may be repeated together.
    pub(crate) repeats: usize,
    pub(crate) result: fn(&[Type]) -> Type,
    pub(crate) prepare: fn(&Arguments<'_>) -> Result<Prepared, CompileError>,
    pub(crate) body: Body,
    /// Whether it gives the same for the same arguments, whatever is configured.
    pub(crate) folds: bool,
}

impl Definition {
    const fn new(
        signature: &'static str,
        description: &'static str,
        parameters: &'static [Parameter],
        result: fn(&[Type]) -> Type,
        run: Run,
    ) -> Self {
        Self {
            name: name_of(signature),
            signature,
            description,
            parameters,
            repeats: 0,
            result,
            prepare: |_| Ok(Prepared::Nothing),
            body: Body::Run(run),
            folds: true,
        }
    }

    /// A function that is no computation of its arguments' values.
    const fn special(
        signature: &'static str,
        description: &'static str,
        parameters: &'static [Parameter],
        body: Body,
    ) -> Self {
        let definition = Self::new(signature, description, parameters, |_| Type::NOTHING, |_| Ok(None));
        Self { body, folds: false, ..definition }
    }

    const fn repeating(mut self, repeats: usize) -> Self {
        self.repeats = repeats;
        self
    }

    const fn preparing(mut self, prepare: fn(&Arguments<'_>) -> Result<Prepared, CompileError>) -> Self {
        self.prepare = prepare;
        self
    }

    const fn not_folded(mut self) -> Self {
        self.folds = false;
        self
    }

    /// The least and the greatest number of argument positions.
    pub(crate) fn arity(&self) -> (usize, Option<usize>) {
        let all = self.parameters.len();
        let least = self.parameters.iter().rposition(|parameter| !parameter.optional).map_or(0, |last| last + 1);
        (least, (self.repeats == 0).then_some(all))
    }

    /// What the place at an index asks for.
    pub(crate) fn parameter(&self, index: usize) -> Parameter {
        let all = self.parameters.len();
        let index =
            if index < all || self.repeats == 0 { index } else { all - self.repeats + (index - all) % self.repeats };
        self.parameters.get(index).copied().unwrap_or(need(Want::Any))
    }
}

/// What stands before the parenthesis.
const fn name_of(signature: &'static str) -> &'static str {
    let bytes = signature.as_bytes();
    let mut at = 0;
    while at < bytes.len() && bytes[at] != b'(' {
        at += 1;
    }
    match std::str::from_utf8(bytes.split_at(at).0) {
        Ok(name) => name,
        Err(_) => signature,
    }
}

fn definitions() -> impl Iterator<Item = &'static Definition> {
    let tables: [&'static [Definition]; 11] = [
        &bits::ALL,
        &certificate::ALL,
        &choice::ALL,
        &date::ALL,
        &encoding::ALL,
        &list::ALL,
        &mail::ALL,
        &names::ALL,
        &pieces::ALL,
        &replace::ALL,
        &text::ALL,
    ];
    tables.into_iter().flatten()
}

pub(super) fn find(name: &str) -> Option<&'static Definition> {
    definitions().find(|definition| definition.name == name)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    definitions().map(|definition| definition.name)
}

/// In any case: who writes `now()` is told what is wrong with `Now()`.
pub(super) fn refused(name: &str) -> Option<&'static Refused> {
    REFUSED.iter().find(|refused| refused.name.eq_ignore_ascii_case(name))
}

const RANDOM: &str = "not deterministic; a replay would give another value";

const ROLES: &str = "it reads role assignments of Azure AD, which no directory object has";
const ROLES_HINT: &str = "assign roles in Azure AD";
const SHA1: &str = "it is SHA-1, which tells certificates apart no longer";
const SHA1_HINT: &str = "use CertSerialNumber and CertIssuer, which identify a certificate";

/// Sorted by name.
const REFUSED: [Refused; 13] = [
    Refused { name: "AppRoleAssignmentsComplex", reason: ROLES, hint: ROLES_HINT },
    Refused {
        name: "CertFriendlyName",
        reason: "a certificate has none; it belongs to the store of Windows that holds it",
        hint: "use CertSubject",
    },
    Refused { name: "CertHashString", reason: SHA1, hint: SHA1_HINT },
    Refused { name: "CertIssuerOid", reason: "a name has no object identifier of its own", hint: "use CertIssuer" },
    Refused {
        name: "CertKeyAlgorithmParams",
        reason: "it gives bytes of a structure that nobody reads",
        hint: "use CertPublicKeyParametersOid",
    },
    Refused {
        name: "CertSubjectNameOid",
        reason: "a name has no object identifier of its own",
        hint: "use CertSubject",
    },
    Refused { name: "CertThumbprint", reason: SHA1, hint: SHA1_HINT },
    Refused { name: "Guid", reason: RANDOM, hint: "StringFromGuid([objectGUID]) never changes" },
    Refused { name: "Now", reason: RANDOM, hint: "compare dates of the directory with each other or with a literal" },
    Refused { name: "RandomNum", reason: RANDOM, hint: "derive it from the object: [objectGUID], [employeeID]" },
    Refused { name: "RandomString", reason: RANDOM, hint: "derive it from the object: StringFromGuid([objectGUID])" },
    Refused {
        name: "SelectUniqueValue",
        reason: "it serves the creation of Active Directory accounts, and asks the target what is taken",
        hint: "uniqueness is checked across all forests; use Coalesce for candidates",
    },
    Refused { name: "SingleAppRoleAssignment", reason: ROLES, hint: ROLES_HINT },
];

fn gives_text(_: &[Type]) -> Type {
    Type::TEXT
}

fn gives_integer(_: &[Type]) -> Type {
    Type::INTEGER
}

fn gives_boolean(_: &[Type]) -> Type {
    Type::BOOLEAN
}

fn gives_texts(_: &[Type]) -> Type {
    Type::multi(Kind::Text)
}

/// The type of the first argument.
fn gives_first(types: &[Type]) -> Type {
    types.first().copied().unwrap_or(Type::NOTHING)
}

/// One value of the first argument.
fn gives_element(types: &[Type]) -> Type {
    Type::single(gives_first(types).kind)
}

fn gives_any_of(types: impl Iterator<Item = Type>) -> Type {
    types.fold(Type::NOTHING, Type::or)
}
