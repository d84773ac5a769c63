//! The practice tenant over the wire: every catalogue row, every knob, batches, quotas, delta queries, files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::print_stdout,
    reason = "tests panic, hand JSON over by value, and say what was skipped"
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
