//! The provisioner: makes the tenant hold what `desired.<configuration>` says, through Microsoft Graph, and writes down
//! what it did in `outcomes.<configuration>`; and what domains the tenant has, in `tenant.<configuration>`.
//!
//! ```text
//!  desired ---> intake ---> ledger: wish | confirmed ---> plan ---> gate ---> Microsoft Graph
//!                              ^                                                  |
//!                              +---- fold <--- outcomes <--- answers <------------+
//! ```
//!
//! The contract:
//!
//! - **One write** goes: intent durable in the ledger, request, outcome durable in the log, ledger. A process that dies
//!   at any point finds the intent, *reads* the tenant, and either writes the outcome that is missing or starts anew.
//!   Nothing is ever sent again because it is not known whether it arrived.
//! - **The ledger** is a fold over the outcomes and the wishes: it may be lost and is rebuilt without any write. Where the
//!   outcomes are lost as well, objects are found by their anchors, and what they have is read before anything is written.
//! - **Per object** at most one request is in flight; the newest wish wins, superseded ones are never sent.
//! - **Removals**, and users that are disabled or renamed, are considered only after everything up to the tail of `desired`
//!   was taken in, and only as many as their guard lets pass; what is held is listed. What people decide about it comes from
//!   `control.<configuration>`: an approval lets a write go, and no other with it.
//! - **Failures** are decided by status, `error.code` and `details`, never by message texts. They wait on the object's
//!   or the membership's own clock and end in quarantine; a changed wish lifts it, and what may pass by itself is tried on
//!   silently. What concerns all objects pauses the whole provisioner, is written down when it lasts, and quarantines none.
//! - **Credentials** are read anew for every token, so that a new one counts without a restart; one that is no good stops
//!   nothing for as long as what worked before is taken.
//! - **Absence**: soon after something was written, a 404 or a list without it is delay. What an error may have left in the
//!   tenant is looked for before it is forgotten.
//! - **Let go**: an object that is to be kept is not written any more, nor are its memberships; what is known of it is
//!   forgotten, and it is found by its anchor when it is wished again.
//! - **Health**: when so much fails that the objects cannot be at fault, the configuration is quarantined: it pauses, tries a
//!   few objects, and goes on as long as most of them succeed.
//! - **Notices**: each cause is told once by each channel, and once that it is over; an outcome says so.
//! - **Directory extensions** are defined on their application before the first value; one that cannot be had is the
//!   trouble of the objects with a value for it.
//! - **Owners**: a group has one of ours, the new one before the old one goes; those of others are left alone.
//! - Objects that Azure AD Connect owns, and classes that Graph cannot write, get no request that writes; one that it took
//!   over is let go instead of deleted.
//!
//! **Invariant**: only this crate names reqwest, only [`store`](self) names sled, only the folders `graph` and `notify`
//! know HTTP.

mod anchors;
mod check;
mod config;
mod credential;
mod domains;
mod engine;
mod error;
mod excerpt;
mod graph;
mod holders;
mod notify;
mod permissions;
mod provisioner;
mod rehearsal;
mod staging;
mod status;
mod store;
mod target;

pub mod service;
pub mod settings;

pub use anchors::{AuditConfig, export_anchors};
pub use check::{CheckLine, CheckOutcome, check};
pub use config::{
    Cloud, ConfigError, DriftSettings, ExtensionApp, InitialPassword, Joins, ProvisionerConfig, QuarantineConfig,
    SoftMatch, TenantConfig, cloud, clouds,
};
pub use credential::form::CredentialKind;
pub use credential::{Credential, CredentialError, FileProblem};
#[doc(hidden)]
pub use engine::CrashPoint;
pub use engine::{MatchResult, ProvisionerHandle, SeenMatch};
pub use error::ProvisionerError;
pub use excerpt::{Excerpt, ExcerptQuery, HeldWrite, Standing, StandingState};
pub use holders::{Holders, HoldersError};
pub use notify::{MailConfig, MailTls, NotifyConfig, WebhookConfig};
pub use provisioner::Provisioner;
pub use rehearsal::{Rehearsal, carry_out, rehearse, rehearse_objects};
pub use staging::Staging;
pub use status::{
    DriftItem, DriftPlace, DriftStatus, Health, HealthState, HeldItem, Outcomes, QuarantinedItem, Status,
};
pub use store::StoreError;
