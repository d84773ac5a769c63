//! What hosts a service: the process around it, its place in a group of stand-bys, and what it shows of itself.
//!
//! ```text
//!  file -> [process] -> log -> [crew] == lease ==> worker of the service (one per stream that is owned)
//!              |                  |                    |
//!              +--> [admin] <-- board <--- post <------+      /healthz /readyz /metrics
//! ```
//!
//! A service says what it is told, which streams it would own, and how it works on one ([`Service`], [`Workers`]). All the
//! rest is here and the same for all of them: nothing is begun that a valid lease does not allow, nothing fails so that
//! others suffer, and a signal ends everything in good order.
//!
//! **Invariant**: knows no directory, no tenant and no event.

mod admin;
mod board;
mod crew;
pub mod metering;
mod process;
mod settings;
mod worker;

pub use admin::Admin;
pub use board::{Answer, Board};
pub use crew::{Crew, Timing};
pub use process::{Loaded, Pass, Service, StartError, command, run, take_part};
pub use settings::{LogFormatForm, ServiceForm, ServiceSettings};
pub use worker::{Ending, Post, WorkerError, Workers};
