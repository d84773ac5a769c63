//! The practice tenant over the wire: every catalogue row, every knob, batches, quotas, delta queries, files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::needless_pass_by_value,
    reason = "tests panic, and hand JSON over by value"
)]

mod auth;
mod batch;
mod client;
mod deleted;
mod delta;
mod faults;
mod files;
mod groups;
mod knobs;
mod links;
mod reads;
mod users;
