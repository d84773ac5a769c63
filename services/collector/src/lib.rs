//! The collector: reads the changes of one forest over LDAP into the log.
//!
//! ```text
//!  controller == LDAPS or StartTLS ==> pump -> ldap3 -> entry -> events -> appender ==> changes.<forest>.<domain>
//!      ^                                                             (one task per naming context)    |
//!      +--------- DirSync with the cookie of the last CursorAdvanced <-------------------------------+
//! ```
//!
//! What it promises:
//! - **Everything, at least once, in order.** Whatever a controller tells by DirSync ends as an event of the naming
//!   context's stream. What is read again after an interruption has the same event ids.
//! - **The cursor goes with its page**, in the same atomic append as the last records of the page. A collector that starts
//!   finds it at the end of the stream and goes on; it keeps no files.
//! - **A cookie is never trusted because it was accepted.** Another invocationId, a USN that went back, another request, a
//!   refusal, blindness of the account: each means a full read, bracketed by `SnapshotStarted` and `SnapshotCompleted`.
//! - **Silence is never taken for deletions.** A full read is completed only after it was verified that the account still
//!   reads the naming context. What stops the reading is an event with its cause and what to do.
//! - **Bounded.** Every wait has a time limit; an answer of any size passes through a window of fixed size.
//! - **Nothing in the clear.** There is no connection without verified TLS, secrets are never asked for, and no message
//!   holds a password, a cookie or an attribute's value.
//!
//! **Invariant**: the only crate that names ldap3. Writes `changes.*` and nothing else; decides nothing about the tenant.

mod appender;
mod arrival;
mod check;
mod collector;
mod config;
mod control;
mod domains;
mod entry;
mod error;
mod events;
mod frame;
mod gate;
mod loyalty;
mod notify;
mod pass;
mod plan;
mod pump;
mod reader;
mod rights;
mod session;
mod status;
mod tail;
mod transport;

pub mod service;
pub mod settings;

pub use check::{CheckCode, CheckLine, CheckOutcome, check};
pub use collector::{Collector, CollectorHandle};
pub use config::{ConfigError, ControllerAddress, ForestConfig, Security};
pub use control::ControlError;
pub use error::{CollectorError, ConnectError, DecodeError, EndReason, SearchError};
pub use frame::FrameError;
pub use status::{CollectorStatus, Phase};
