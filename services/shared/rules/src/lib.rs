//! The synchronization rules: which directory objects Azure AD should hold, with which attributes, and what has to be
//! sent to get there.
//!
//! ```text
//!  attributes ── what a collector asks for
//!  settings ── the rules as they are written, and what is wrong with them
//!  hygiene ── what to mend in the directory, beside all that
//!  expression ── the language in which configurations say what flows
//!
//!  classify ──> exclusion ──> scope, filter ──> join, precedence ──> anchor ──> flow    used by the projector
//!                                                                                │
//!                                                                                v
//!                                                                    diff ──> guard     used by the provisioner
//! ```
//!
//! Every function is total: it answers for any input, however broken, and never panics. It is deterministic: the same
//! arguments give the same answer on every machine and in every order of arrival, which is what makes a projection
//! replayable. What a rule cannot do is said in its answer ([`flow::Problem`]), never in a log and never by silence.
//! Messages name attributes and limits but hold no attribute values, so they may be logged and shown.
//!
//! String comparison is case-sensitive, as it is in the rules of Azure AD Connect, except where a directory syntax
//! says otherwise (booleans, object classes, mail addresses).
//!
//! **Invariant**: pure. No I/O, no clock, no randomness, no runtime; knows `domain` and `schemas` and nothing else of
//! forestsync.

pub mod anchor;
pub mod attributes;
pub mod classify;
pub mod diff;
pub mod exclusion;
pub mod expression;
pub mod filter;
pub mod flow;
pub mod guard;
pub mod hygiene;
pub mod join;
pub mod precedence;
pub mod quarantine;
pub mod scope;
pub mod settings;
mod value;

#[cfg(test)]
mod tests;
