//! The projector: keeps the materialized state of one configuration in one sled database, and writes what the tenant
//! should hold to `desired.<configuration>`.
//!
//! ```text
//!  changes.*  ──>  mirror  ──>  wishes  ──>  outbox  ──>  desired.<configuration>
//!                    │             │
//!                    └── scope ────┴── anchors, holds ──>  decisions.<configuration>  (written before it is acted on)
//! ```
//!
//! - **The mirror** holds objects, links and indexes. What it holds is a function of each stream's own records: neither
//!   batches nor the order in which streams are read can change it. A record is applied exactly once; its effect and the
//!   stream's offset are in the same batch.
//! - **Wishes** are a function of mirror, decisions and configuration. They are brought up to date when an answer of the
//!   directory is complete (`CursorAdvanced{complete: true}`), never on half of one, and not before every source has
//!   completed a full read.
//! - **The outbox** names what may be news. It is emptied into `desired` unless something holds the configuration
//!   ([`Hold`]); while it is held nothing is written, neither removals nor anything else. The stream's tail is read when
//!   the projector starts, so that a crash repeats nothing.
//! - **The state digest** is one value over mirror and wishes, the same for any batches and any interleaving of streams
//!   that ends at the same offsets, and for any order of the objects within the first full reads. [`rebuild`] computes it
//!   a second time, from the history.
//! - **Approvals**: what somebody says in `control` about a hold counts for exactly what that hold's record in `decisions`
//!   shows. That a full read is believed all the same changes the mirror, so it is a decision that names its place in
//!   the stream, and a replay does the same at that place.
//! - **Damage**: a database that does not open, panics or whose rows do not add up is moved aside and built anew from
//!   the log, by itself. Such a one, and one that lost its last batches in a crash, writes nothing until it has caught
//!   up with what `desired` was written with, and then only what differs.
//! - **A record that cannot be applied** stops its stream, with an error that names stream and offset; nothing is
//!   skipped, and the other streams go on. Stopped streams and what is wrong with objects stand in `decisions`, once.
//!
//! - **People**: objects of several forests that the join rules connect have one wish and one anchor together. Who they are
//!   follows from what is there; that an object stands for another one's anchor is a decision.
//! - **Questions** ([`query`]) are answered between batches, on a socket that only the projector's own account may open.
//!
//! **Invariant**: only the module `store` names sled; no clock is read but for records' times and for moments that were
//! waited for, which are decisions; no attribute value is logged. Links between naming contexts of one forest are resolved
//! by objectGUID, those that lead to another forest by the SID of a foreign security principal.

pub mod activation;
mod announce;
mod apply;
mod approval;
mod ask;
mod behind;
mod config;
mod derived;
mod digest;
mod eligible;
mod emit;
mod emptied;
mod engine;
mod error;
mod explain;
mod fold;
mod follow;
mod handover;
mod holds;
mod keys;
mod members;
mod moments;
mod novel;
mod person;
mod project;
mod projector;
pub mod query;
mod references;
mod replay;
mod round;
mod rows;
mod snapshot;
mod status;
mod store;
mod stored;
mod superseded;
mod taken;
mod txn;
mod unique;
mod verify;
mod what_if;
mod work;
mod writing;

pub mod service;
pub mod settings;

#[cfg(test)]
mod tests;

pub use ask::{ask, ask_to_take_up};
pub use config::{GroupEntry, PlanError, ProjectorConfig, ScopeEntry, SourceConfig};
pub use digest::StateDigest;
pub use error::{ProjectorError, SnapshotError, StoreError, StreamError, StreamErrorKind};
pub use holds::Hold;
pub use projector::Projector;
pub use replay::{
    Built, DEFAULT_EVERY, Difference, Differences, Replay, Replayed, Show, Snapshots, Step, build, compare, moment_at,
    replay, streams_of, swap,
};
pub use rows::VERSION as ROWS_VERSION;
pub use status::{Finding, ProjectorStatus, StreamStatus};
pub use superseded::Superseded;
pub use verify::{read_digest, read_digest_of, rebuild};
