//! The events of forestsync: what is written to the log, and the only thing that is.
//!
//! ```text
//!  changes.<forest>.<domain>   facts read from a directory              written by a collector
//!  desired.<configuration>     what the tenant should hold              written by the projector, compacted by key
//!  decisions.<configuration>   what must stick once chosen              written by the projector
//!  outcomes.<configuration>    what was done to the tenant              written by the provisioner
//!  tenant.<configuration>      what the tenant says of itself           written by the provisioner
//!  control.<configuration>     configurations activated, approvals      written by people
//! ```
//!
//! A record's value is one JSON object, an [`Envelope`]: `type`, `version`, `id`, `time`, the stream's own context and
//! `data`. Event names are facts in the past tense. What was written once MUST stay readable for ever: a change to the
//! meaning of a field is a new `version`, old versions are brought up to date by [`upcast`] before they are typed, and
//! the samples in `golden/` prove it. Unknown fields of `data` are ignored, so that an older reader survives a newer
//! writer; an unknown `type` is a typed error, because skipping it could lose a change.
//!
//! The JSON Schemas in `json/` are generated from the types; a test fails when they drift.
//!
//! **Invariant**: pure. Knows `domain` and nothing else of forestsync.

pub mod attributes;
pub mod changes;
pub mod control;
pub mod decisions;
pub mod desired;
mod envelope;
pub mod outcomes;
pub mod samples;
pub mod sighting;
pub mod streams;
pub mod tenant;
pub mod trace;
mod upcast;

pub use changes::{ChangeEvent, ChangeRecord};
pub use control::{ControlEvent, ControlRecord};
pub use decisions::{DecisionEvent, DecisionRecord};
pub use desired::{DesiredEvent, DesiredRecord};
pub use envelope::{DecodeError, Envelope, EventBody, EventId};
pub use outcomes::{OutcomeEvent, OutcomeRecord};
pub use tenant::{TenantEvent, TenantRecord};
pub use upcast::upcast;

/// The version in which events are written.
pub const VERSION: u32 = 1;
