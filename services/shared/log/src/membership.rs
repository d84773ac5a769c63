//! Membership: processes that do the same work share streams among themselves, so that each stream has one owner.
//!
//! ```text
//!            group "collector.emea"
//!  member a ── owns changes.emea.emea.example          member b ── stands by for both
//!           └─ owns changes.emea.uk.emea.example
//!
//!  a dies or hangs ──(session timeout)──> b gains both, becomes their writer, and so fences a
//! ```
//!
//! - Every member names the streams it would own; of all members of a group that name a stream, at most one holds a valid
//!   [`Lease`] for it at any time, by the clocks of both.
//! - A lease ends by itself: a member that hangs, or that cannot reach the log, MUST find its lease invalid before
//!   another one can hold it. Whoever acts outside the log, where nothing fences it, MUST ask [`Lease::is_valid`] right
//!   before it acts.
//! - A lease is no right to write: that is [`Log::writer`](crate::Log::writer), which fences whoever wrote before. So a
//!   member MUST NOT open the writer of a stream without a valid lease, or it would fence the rightful owner.
//! - Embedded: one process works on a folder, so its member owns everything for good.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{ReadError, StreamName, StreamNameError};

/// How a process takes part in a group.
#[derive(Debug, Clone)]
pub struct Member {
    /// The group, such as `collector.emea`: legal in a [`StreamName`].
    pub group: String,
    /// What this member is called in `status` and logs; different for each member.
    pub instance: String,
    /// How long the others wait for a member that is silent before one of them takes over.
    pub session_timeout: Duration,
}

/// Why a group cannot be joined, or why membership ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The group's name is not legal.
    #[error("group {group:?}: {source}")]
    Name {
        /// The name.
        group: String,
        /// Why.
        #[source]
        source: StreamNameError,
    },
    /// The log refuses: rights, or settings that do not fit. Not retryable.
    #[error("group {group} cannot be joined: {detail}")]
    Refused {
        /// The group.
        group: String,
        /// What the log said, and what to do.
        detail: String,
    },
    /// The log could not be used. Retryable: the member joins again.
    #[error("group {group}: {source}")]
    Io {
        /// The group.
        group: String,
        /// What the log said.
        #[source]
        source: std::io::Error,
    },
}

impl MembershipError {
    /// Whether joining again may succeed without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// What changed for a member.
#[derive(Debug, Clone)]
pub enum Change {
    /// The member owns a stream from now on, while the lease is valid.
    Gained(Lease),
    /// It does not own it any more; its lease is invalid already.
    Lost(StreamName),
}

/// A place in a group. [`Membership::leave`] gives everything to the others at once; dropping it leaves them to wait for
/// the session timeout.
#[async_trait]
pub trait Membership: Send + fmt::Debug {
    /// The next change, waiting for it. Cancel-safe. Errors other than retryable ones are final.
    async fn next(&mut self) -> Result<Change, MembershipError>;

    /// Replaces the streams this member would own. Those that do not exist are made.
    async fn offer(&mut self, streams: &[StreamName]) -> Result<(), MembershipError>;

    /// What the owner of a stream says about itself, shown by [`Log::group`](crate::Log::group) within some seconds.
    /// At most 2 KiB of text; ignored for a stream that is not owned.
    fn report(&self, stream: &StreamName, report: String);

    /// Leaves, so that others may take over at once. Whatever was owned must have been stopped before.
    async fn leave(self: Box<Self>);
}

/// The right to own a stream for as long as it is valid. Clones are the same lease.
#[derive(Clone)]
pub struct Lease {
    stream: StreamName,
    inner: Arc<Inner>,
}

struct Inner {
    epoch: Instant,
    /// Milliseconds after `epoch`; `u64::MAX` for good.
    until: AtomicU64,
    lost: CancellationToken,
}

impl Lease {
    /// A lease without end, for a log that one process has to itself.
    pub fn forever(stream: StreamName) -> Self {
        Self::with(stream, u64::MAX)
    }

    /// A lease until `until`; [`Lease::renew`] makes it longer.
    pub fn until(stream: StreamName, until: Instant) -> Self {
        let lease = Self::with(stream, 0);
        lease.renew(until);
        lease
    }

    fn with(stream: StreamName, until: u64) -> Self {
        let inner = Inner { epoch: Instant::now(), until: AtomicU64::new(until), lost: CancellationToken::new() };
        Self { stream, inner: Arc::new(inner) }
    }

    /// The stream.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// Whether both are clones of one lease.
    #[cfg(feature = "kafka")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether it holds at this moment.
    pub fn is_valid(&self) -> bool {
        let until = self.inner.until.load(Ordering::Acquire);
        !self.inner.lost.is_cancelled()
            && (until == u64::MAX || self.inner.epoch + Duration::from_millis(until) > Instant::now())
    }

    /// Cancelled once the lease was lost, or ended. It may be invalid some moments before: what must be exact asks
    /// [`Lease::is_valid`].
    pub fn lost(&self) -> &CancellationToken {
        &self.inner.lost
    }

    /// Makes it hold until then. A lost lease stays lost.
    pub fn renew(&self, until: Instant) {
        let until = until.saturating_duration_since(self.inner.epoch).as_millis();
        self.inner.until.store(u64::try_from(until).unwrap_or(u64::MAX - 1).min(u64::MAX - 1), Ordering::Release);
    }

    /// Ends it, for good.
    pub fn revoke(&self) {
        self.inner.lost.cancel();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("stream", &self.stream).field("valid", &self.is_valid()).finish_non_exhaustive()
    }
}

/// A group as the log knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its members, sorted by instance.
    pub members: Vec<GroupMember>,
    /// What the owner of each stream said last.
    pub reports: BTreeMap<String, Report>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    /// What it is called.
    pub instance: String,
    /// From where it speaks, where the log knows that.
    pub host: String,
    /// The streams it owns; none for a stand-by.
    pub streams: Vec<String>,
}

/// What the owner of a stream said about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who said it.
    pub instance: String,
    /// When.
    pub time: Timestamp,
    /// What.
    pub text: String,
}

/// The only member there is: it owns whatever it offers.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    owned: BTreeMap<StreamName, Lease>,
    changes: std::collections::VecDeque<Change>,
}

#[async_trait]
impl Membership for Alone {
    async fn next(&mut self) -> Result<Change, MembershipError> {
        match self.changes.pop_front() {
            Some(change) => Ok(change),
            None => std::future::pending().await,
        }
    }

    async fn offer(&mut self, streams: &[StreamName]) -> Result<(), MembershipError> {
        for gone in self.owned.extract_if(.., |stream, _| !streams.contains(stream)) {
            gone.1.revoke();
            self.changes.push_back(Change::Lost(gone.0));
        }
        for stream in streams {
            if !self.owned.contains_key(stream) {
                let lease = Lease::forever(stream.clone());
                self.owned.insert(stream.clone(), lease.clone());
                self.changes.push_back(Change::Gained(lease));
            }
        }
        Ok(())
    }

    fn report(&self, _stream: &StreamName, _report: String) {}

    async fn leave(self: Box<Self>) {}
}

/// Refuses a group whose name cannot be a stream's.
pub(crate) fn check_group(group: &str) -> Result<(), MembershipError> {
    let named = group.parse::<StreamName>();
    named.map(drop).map_err(|source| MembershipError::Name { group: group.to_owned(), source })
}

/// What an engine without groups answers.
pub(crate) fn no_group() -> Result<GroupStatus, ReadError> {
    Ok(GroupStatus::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        text.parse().unwrap()
    }

    #[test]
    fn a_lease_ends_by_itself_and_stays_lost() {
        let (now, hour) = (Instant::now(), Duration::from_hours(1));
        let lease = Lease::until(name("changes.a"), now);
        assert!(!lease.is_valid(), "its time is over");
        lease.renew(now + hour);
        assert!(lease.is_valid());
        lease.renew(now);
        assert!(!lease.is_valid());
        lease.revoke();
        lease.renew(now + hour);
        assert!(!lease.is_valid(), "what was lost stays lost");
        assert!(Lease::forever(name("changes.a")).is_valid());
    }

    #[tokio::test]
    async fn one_alone_owns_what_it_offers() {
        let mut alone = Alone::default();
        alone.offer(&[name("changes.a"), name("changes.b")]).await.unwrap();
        alone.offer(&[name("changes.b")]).await.unwrap();
        let mut leases = Vec::new();
        let mut lost = Vec::new();
        for _ in 0..3 {
            match alone.next().await.unwrap() {
                Change::Gained(lease) => leases.push(lease),
                Change::Lost(stream) => lost.push(stream),
            }
        }
        assert_eq!(lost, [name("changes.a")]);
        let valid: Vec<_> = leases.iter().filter(|lease| lease.is_valid()).map(Lease::stream).collect();
        assert_eq!(valid, [&name("changes.b")]);
    }
}
