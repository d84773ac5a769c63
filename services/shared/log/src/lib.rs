//! The event log: one trait, its engines and the suite that both must pass.
//!
//! ```text
//!            0     1     2     3     4     5     6
//!          +-----+-----+-----+-----+-----+-----+ - - -
//!  stream  |  a  |  b  |  c  |  d  |  e  |  f  |        one totally ordered sequence, kept for ever
//!          +-----+-----+-----+-----+-----+-----+ - - -
//!          |<-- append 0 --->|<-app 1--->|     ^
//!            all of it is visible, or none      tail: the offset the next record will get
//! ```
//!
//! The contract, for every engine:
//!
//! - **Order.** A stream is one sequence. A reader MUST see records in the order of their offsets, each at most once.
//! - **Atomicity.** What [`LogWriter::append`] takes becomes visible as a whole or not at all, whatever dies in between.
//! - **Durability.** When `append` returns `Ok`, the records MUST survive the death of the process and of the machine.
//!   When it returns an error whose [`AppendError::outcome_known`] is false, they may or may not be there: the writer is
//!   then unusable, and the next one MUST look at the tail before it writes again.
//! - **Freshness.** [`Log::tail`], [`Log::stream_info`], [`LogReader::poll`] and a new writer see every append that was
//!   acknowledged before they were called, whoever made it and whatever died since. Where an engine cannot know yet they
//!   wait for it, up to a limit, and fail with a retryable error beyond that.
//! - **One writer.** A stream has one writer at a time. Embedded: a second one is refused while the first lives. Kafka:
//!   a second one fences the first, whose next append MUST fail with [`AppendError::Fenced`]. Where the fencing came between
//!   the delivery of an append and its commit, that one append fails with [`AppendError::Io`]: its outcome is not known.
//! - **Offsets** are the stream's own: contiguous from 0 as written, part of the record, equal on every engine. A
//!   compacted stream has gaps where records were superseded, and another one where somebody had them taken out; a reader
//!   MUST NOT take such a gap for an error.
//! - **Readers** need no writer, no lock and no permission to write. They start where they are told, follow the tail, and
//!   can stop at it ([`LogReader::poll`] returns nothing there). A stream that does not exist reads as an empty one.
//! - **Chain.** Every record that is appended carries a link that ties it to the one before and proves what it says (see
//!   [`chain`]). A restored record keeps the link it had, or has none. An engine MUST go on from the last record's link,
//!   whoever wrote it.
//! - **Compaction** applies to streams named `desired.*` only: of records with the same key the last one stays, for ever,
//!   and those before it for a while ([`DESIRED_HISTORY`], unless configured), so that an audit can tell what was wished and
//!   why. The last record of the stream stays as well, so that the tail is never lost. Of other streams records
//!   go only when a person asks for it; the record behind such a gap is marked, and a gap without that mark is damage.
//!
//! **Invariant**: values are bytes here. This crate knows no event, no directory and no tenant.

pub mod chain;

mod config;
mod error;
mod fork;
mod moment;
mod name;
mod past;
mod record;
mod traits;

pub mod conformance;
pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod membership;

pub use config::{DESIRED_HISTORY, LogConfig, OpenError, SaslMechanism, Security};
pub use embedded::{EmbeddedLog, EmbeddedOptions};
pub use error::{AppendError, ReadError, WriterError, WrongSetting};
pub use fork::ForkedLog;
pub use membership::{Change, GroupMember, GroupStatus, Lease, Member, Membership, MembershipError, Report};
pub use moment::{offset_at, offsets_at};
pub use name::{StreamName, StreamNameError};
pub use past::PastLog;
pub use record::{MAX_APPEND_BYTES, MAX_RECORD_BYTES, NewRecord, Record};
pub use traits::{Log, LogReader, LogWriter, Mark, StreamInfo};
