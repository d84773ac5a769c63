//! What every service needs to run: configuration, secrets, telemetry, shutdown, clock.
//!
//! **Invariant**: knows no domain. What a configuration means is the business of the service that reads it; here it is
//! only found, read, and refused with a message that says where and what to do.

pub mod backoff;
pub mod clock;
pub mod config;
pub mod metrics;
pub mod questions;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
