//! The practice tenant over the wire: every catalogue row, every knob, batches, quotas, delta queries, files.

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
