//! The collector: reads the changes of one forest over LDAP into the log.
//!
//! ```text
//!  controller == LDAPS or StartTLS ==> pump -> ldap3 -> entry -> events -> appender ==> changes.<forest>.<domain>
//!      ^                                                             (one task per naming context)    |
//!      +--------- DirSync with the cookie of the last CursorAdvanced, or its USN <-------------------+
//! ```
//!
//! What it promises:
//! - **Everything, at least once, in order.** Whatever a controller tells ends as an event of the naming context's stream.
//!   What is read again after an interruption has the same event ids.
//! - **The cursor goes with its page**, in the same atomic append as the last records of the page. A collector that starts
//!   finds it at the end of the stream and goes on; it keeps no files.
//! - **A cookie is never trusted because it was accepted.** Another invocationId, a USN that went back, another request, a
//!   refusal, blindness of the account: each means a full read, bracketed by `SnapshotStarted` and `SnapshotCompleted`.
//! - **Two methods, one stream.** [`Method::Dirsync`] is told what changed. [`Method::Usn`] sees whole objects and tells what
//!   changed in them by comparison with what the stream says: whoever reads the stream need not know which it was.
//! - **Silence is never taken for deletions.** A full read is completed only after it was verified that the account still
//!   reads the naming context. What stops the reading is an event with its cause and what to do.
//! - **Bounded.** Every wait has a time limit; an answer of any size passes through a window of fixed size.
//! - **Nothing in the clear.** There is no connection without verified TLS, secrets are never asked for, and no message
//!   holds a password, a cookie or an attribute's value.
//! - **Nothing beyond the list.** Only the configured attributes are asked for; what a controller sends besides is dropped
//!   where it is decoded, counted, and told once by name.
//! - **One door.** Everything that binds in one [`Forest`] waits together when the account is refused: a wrong password is
//!   sent once, then after `credentials_retry`, then twice as long each time.
//!
//! Which naming contexts, and from whom:
//! - The naming contexts are those that are named, all domains of the forest ([`Forest::domains`], asked again every
//!   `domains_interval`), or the default one of the first controller. A service that gets its naming contexts from a group
//!   makes the [`Forest`] once and a [`Collector`] for each of them; the streams of all of them exist first
//!   ([`Forest::create_streams`]).
//! - The controllers are those listed or those that DNS names now. Which of them holds what is asked and remembered; one
//!   that does not hold a naming context is no failure while another one may.
//! - **Another controller.** The cursor belongs to one database of one controller (its invocationId). That one is waited
//!   for: at least three tries and `failover_after`, also when it vanished from DNS. Then the others are asked in turn, at
//!   once and for as long as it takes, and the first that answers is read: by DirSync with a full read, although Windows
//!   would take the cookie, because what it does not have yet would be passed over in silence; in any other method as well,
//!   because its USNs mean nothing there. The full read reconciles. Its cursor makes that controller the one that is stayed
//!   with; when the first is back nothing goes back to it by itself.
//! - Where there is no cursor yet, each failure goes on to the next controller.
//!
//! What USN polling costs beyond that, and what it cannot do:
//! - The stream is read from its beginning once at each start, and again after a pass that failed when a part of it had been
//!   compared already. About 350 bytes of memory for each object and 55 for each member of a group stay in use.
//! - Full reads cannot be continued: one that is interrupted begins again.
//! - Each change of a large group transfers all of its members again, in ranges where the controller has them so.
//! - An account that cannot read uSNChanged of an object, or CN=Deleted Objects, learns of its changes, or of deletions, by
//!   full reads only; these are then repeated every [`ForestConfig::snapshot_interval`].
//! - Whether an attribute without a value was cleared or may no longer be read is told by the schema and, where the last value
//!   of many goes, by asking whether any object still shows one. A right lost on single objects is taken for cleared; the
//!   projector's judgement of full reads does not see it either.
//! - What was deleted and undeleted between two polls is an object that changed. Who else's links ended with it is not said,
//!   with either method; a full read finds it.
//!
//! **Invariant**: the only crate that names ldap3. Writes `changes.*` and nothing else; decides nothing about the tenant.

mod appender;
mod arrival;
mod check;
mod collector;
mod config;
mod control;
mod entry;
mod error;
mod events;
mod forest;
mod frame;
mod gate;
mod images;
mod kerberos;
mod locate;
mod look;
mod loyalty;
mod notify;
mod pass;
mod plan;
mod pump;
mod ranges;
mod reader;
mod results;
mod rights;
mod roster;
mod session;
mod status;
mod tail;
mod taking;
mod transport;
mod usn;

pub mod service;
pub mod settings;

pub use check::{CheckCode, CheckLine, CheckOutcome, check};
pub use collector::{Collector, CollectorHandle, PassSummary};
pub use config::{ConfigError, ControllerAddress, ForestConfig, Security};
pub use control::ControlError;
pub use error::{CollectorError, ConnectError, DecodeError, EndReason, OnceError, SearchError};
pub use forest::{DiscoverError, Domain, Forest, discover};
pub use forestsync_schemas::changes::Method;
pub use frame::FrameError;
pub use kerberos::{KerberosConfig, KerberosError};
pub use locate::{LocateError, SrvConfig};
pub use look::{LookError, ObjectName};
pub use status::{CollectorStatus, Phase};
pub use taking::{TakeError, Taken};
