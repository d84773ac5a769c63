//! The practice tenant over the wire: every catalogue row, every knob, batches, quotas, delta queries, files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests panic rather than return errors")]

mod auth;
mod batch;
mod client;
mod deleted;
mod delta;
mod faults;
mod files;
mod groups;
mod links;
mod reads;
mod users;
