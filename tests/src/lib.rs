//! The harness of the end-to-end suites: directories driven over LDAP, the command run as a process, the tenant compared
//! with an oracle that does not share the pipeline's code.
//!
//! Waiting is always for a condition, with a deadline that only a defect reaches.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::format_push_string)]

pub mod directory;
pub mod kafka;
pub mod ldif;
pub mod peers;
pub mod pipeline;
pub mod planted;
pub mod random;
pub mod refused;
pub mod rules;
pub mod samba;
pub mod scenario;
pub mod services;
pub mod suite;
pub mod wait;
pub mod world;
