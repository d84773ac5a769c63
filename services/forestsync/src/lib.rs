//! The command-line tool and the all-in-one: everything behind the binary `forestsync`.
//!
//! It composes the services and holds no logic of theirs. What belongs here is what a person meets: the configuration
//! file, commands, tables, progress, exit codes; and the [`pipeline`], which runs all services in one process on the
//! embedded log. `run` and `demo` use the same pipeline.
//!
//! - Data goes to stdout, logs and progress to stderr; every command that reads has `--json`, whose shapes are
//!   documented in the crate's README and only ever grow.
//! - Reading commands (`status`, `log` but for `log copy`) take no lock and write nothing: they work beside a running
//!   process.
//! - One process at a time writes a data folder ([`instance`]), and `replay` waits its turn as well: sled lets no second
//!   process read its database.
//!
//! **Invariant**: no secret, no password and no cookie is ever printed; attribute values only as JSON, and where
//! `--values` asks. Whoever asks the [`history`] asks for values: `audit`, `state` and `diff` show them unless `--values hidden`
//! says otherwise.

pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod demo;
pub mod events;
pub mod exit;
pub mod history;
pub mod instance;
pub mod output;
pub mod pipeline;
pub mod plan;
pub mod progress;
pub mod status;
pub mod takeover;
