//! Identity hygiene: what Microsoft's tool IdFix would find wrong with the objects of a directory.
//!
//! Findings block nothing: what Graph refuses, the flow says and withholds ([`crate::flow::Problem`]). They tell what to
//! mend in the directory, in the terms that administrators of Azure AD know.
//!
//! - A finding names the rule, the attribute and the value's place, and holds no values. What IdFix would write instead is
//!   computed on request, by [`proposals`].
//! - The rules of an attribute are applied one after the other, each to what the one before proposes, so that a value is
//!   not reported twice for the same characters, and a proposal mends all that can be mended.
//! - [`check`] sees one object. What must be unique is compared by the caller, who sees all of them: [`unique_values`]
//!   says what to compare and [`duplicate`] what to report.
//! - IdFix has two sets of rules. [`Mode::MultiTenant`] is for everybody, [`Mode::Dedicated`] for the few who had Office 365
//!   on servers of their own.
//!
//! Deviations from IdFix, each on purpose:
//! - A top-level domain counts as one if it has 2 to 17 letters. IdFix looks it up in a list that is as old as the tool;
//!   here only domains that are private by convention or by standard are reported.
//! - A second colon is looked for before the address is read, so that an address with two prefixes is reported as such.
//! - An apostrophe in a userPrincipalName is a rule of its own, since IdFix refuses it and Azure AD does not.
//! - The account names of users only must be unique: of those of groups nothing in Azure AD is made.
//! - The bugs by which IdFix recognises neither mailboxes of Exchange's own nor losers of replication conflicts are not
//!   repeated; see [`skipped`].

mod address;
mod chain;
mod check;
mod rules;
mod skipped;
mod unique;

use std::collections::BTreeSet;

use forestsync_schemas::decisions::{self, RuleFinding};
use serde::{Deserialize, Serialize};

pub use check::{check, proposals};
pub use rules::{RULES, Rule, RuleId, Severity, UnknownRule};
pub use skipped::{Skipped, skipped};
pub use unique::{TenantHolder, UniqueKind, UniqueSpace, duplicate, unique_values};

use crate::flow::table::PRINCIPAL_LIMIT;

/// Something wrong with one value of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule that the value breaks.
    pub rule: RuleId,
    /// How bad it is.
    pub severity: Severity,
    /// The directory attribute.
    pub attribute: String,
    /// The place of the value among the attribute's values, from zero; zero too where a value is missing.
    pub index: usize,
    /// What is wrong; holds no values.
    pub message: String,
}

impl Finding {
    fn new(rule: RuleId, index: usize, message: String) -> Self {
        let Rule { severity, attribute, .. } = *rule.rule();
        Self { rule, severity, attribute: attribute.to_owned(), index, message }
    }
}

impl Finding {
    /// As it stands in an event.
    pub fn into_event(self) -> RuleFinding {
        let severity = match self.severity {
            Severity::Error => decisions::Severity::Error,
            Severity::Warning => decisions::Severity::Warning,
            Severity::Info => decisions::Severity::Info,
        };
        RuleFinding { rule: self.rule.name().to_owned(), severity, attribute: self.attribute, message: self.message }
    }
}

/// What to write into the directory instead.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The directory attribute.
    pub attribute: &'static str,
    /// The place of the value among the attribute's values, from zero.
    pub index: usize,
    /// The value there is, if there is one.
    pub old: Option<String>,
    /// The value to write; empty if the value should be removed.
    pub new: String,
}

impl std::fmt::Debug for Proposal {
    /// Without the values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proposal")
            .field("attribute", &self.attribute)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// Which of the two sets of rules applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Office 365 as everybody has it.
    #[default]
    MultiTenant,
    /// Office 365 on dedicated servers.
    Dedicated,
}

/// How objects are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The set of rules.
    pub mode: Mode,
    /// Whether people sign in with another attribute than userPrincipalName, which is not checked then.
    pub alternate_id: bool,
    /// The longest userPrincipalName, in UTF-16 code units. Microsoft's texts give 64 before the @ and 48 after it, or
    /// the reverse; IdFix counts both together.
    pub principal_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { mode: Mode::default(), alternate_id: false, principal_limit: PRINCIPAL_LIMIT }
    }
}

/// Whether the domain of a sign-in name is among these, which are in lower case. A domain is not verified because the one
/// above it is: Azure AD wants each subdomain added before names may end in it.
pub fn is_suffix_verified(principal: &str, verified: &BTreeSet<String>) -> bool {
    principal.rsplit_once('@').is_some_and(|(_, suffix)| verified.contains(&suffix.trim().to_lowercase()))
}

/// The finding on a sign-in name whose domain is not verified in the tenant. One without an `@` has none: its form is
/// found wrong by [`check`].
pub fn unverified_suffix(principal: &str, verified: &BTreeSet<String>) -> Option<Finding> {
    let is_wrong = principal.contains('@') && !is_suffix_verified(principal, verified);
    is_wrong.then(|| {
        let rule = RuleId::SuffixUnverified;
        Finding::new(rule, 0, rule.rule().description.to_owned())
    })
}
