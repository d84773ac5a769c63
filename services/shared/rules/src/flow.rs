//! Attribute flow: what Azure AD should hold of a directory object.
//!
//! Rules say it, in the language of [`crate::expression`]: those of the configuration, and for targets without one those of
//! the [`DEFAULT_FLOW`]. Rules of one target are tried in order, and the first that has a value wins. What a property
//! takes is known for each of them: its type, its longest value, what happens to one that does not fit.
//!
//! A value is the directory's first one unless the rule says otherwise; a blank one is none. Lengths are counted in UTF-16
//! code units, as directories do. Nothing is cut silently: of everything that is too long a [`Problem`] tells. The limits
//! are those of Graph's own description of its properties.
//!
//! Links (manager, member, owner), the source anchor and the photo do not flow here: they are written by requests of
//! their own.

mod compiled;
mod draft;
mod form;
pub(crate) mod nickname;
mod not_writable;
mod run;
mod subject;
pub(crate) mod table;
mod target;
mod unit;

use forestsync_domain::{Attributes, Dn};
use forestsync_schemas::desired::{CloudAttributes, CloudClass};
use serde::{Deserialize, Serialize};

pub use compiled::{
    CompiledFlow, DEFAULT_FLOW, FlowProblem, FlowRule, NotWritableRow, Origin, beside_rules, is_target,
};
pub use form::{FlowClass, FlowForm, TestForm};
pub use run::Explained;
pub use subject::{Subject, TenantDomains};
pub use unit::{TestResult, run_tests};

use crate::classify::DirectoryClass;

/// What Azure AD should hold of an object. Not to be used if a problem is [`ProblemKind::Blocking`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flowed {
    /// What kind of cloud object it is.
    pub class: CloudClass,
    /// The attributes that have a value. Those not in [`CompiledFlow::managed`] are for the create only.
    pub attributes: CloudAttributes,
    /// Values for the creation only.
    pub at_creation: CloudAttributes,
    /// Attributes that stay as the tenant has them.
    pub ignored: Vec<String>,
    /// Directory attributes that have a value and a place in Azure AD, but none that Graph can write; sorted. Empty for
    /// a class of which Graph cannot write anything.
    pub not_writable: Vec<String>,
    /// What is wrong with the object, in the order in which it was found.
    pub problems: Vec<Problem>,
}

impl Flowed {
    /// The first problem for which the object must not be sent.
    pub fn blocking(&self) -> Option<&Problem> {
        self.problems.iter().find(|problem| problem.kind == ProblemKind::Blocking)
    }
}

/// Something about an object that a person should mend in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The directory attribute at fault.
    pub attribute: String,
    /// What follows from it.
    pub kind: ProblemKind,
    /// What is wrong and what to do; holds no attribute values.
    pub message: String,
}

/// What follows from a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The object must not be sent: it stays in the tenant as it is, and is not created.
    Blocking,
    /// The value is sent as it is, because Azure AD requires one; its answer is reported.
    Kept,
    /// The value is left out, as if the directory had none.
    LeftOut,
    /// Something close to the value is sent.
    Adjusted,
}

/// The default flow of an object, see [`CompiledFlow::flow`]. `naming_context` is the root of the object's domain.
pub fn flow(class: DirectoryClass, dn: &Dn, naming_context: &Dn, attributes: &Attributes) -> Flowed {
    default_flow().flow(class, &Subject::new(attributes, dn, naming_context))
}

/// See [`CompiledFlow::managed`], of the default flow.
pub fn managed(class: CloudClass) -> Vec<String> {
    default_flow().managed(class)
}

fn default_flow() -> &'static CompiledFlow {
    static FLOW: std::sync::LazyLock<CompiledFlow> = std::sync::LazyLock::new(CompiledFlow::default);
    &FLOW
}

/// Raised whenever a rule of this crate changes its meaning without a change to its tables.
const REVISION: u32 = 2;

/// The version of the rules, in hexadecimal digits: two programs with the same digest compute the same wishes from the
/// same directory objects.
pub fn digest() -> String {
    let text = format!("{} {:?}", default_flow().digest(), crate::attributes::requested());
    blake3::hash(text.as_bytes()).to_hex().chars().take(32).collect()
}
