//! Entries on their way out: collected, written in portions, cut off when a fault says so.

use std::io;

use bytes::BytesMut;
use ldap3_proto::proto::LdapSearchResultEntry;

use super::codec::encode_entry;
use super::search::{Search, Session, text};
use super::server::Counters;
use super::store::Refusal;

/// How many bytes are encoded before they are written.
const CHUNK_BYTES: usize = 128 * 1024;

/// Why a search stopped.
pub(crate) enum Stop {
    /// The client asked, or the connection is gone.
    Silent,
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Silent
    }
}

/// Collects entries, writes them in portions, and cuts the connection when a fault says so.
pub(crate) struct Writer<'a> {
    session: &'a Session,
    search: &'a Search,
    buffer: BytesMut,
    pending: u64,
    /// Entries left until the connection is to be cut.
    fuse: Option<u64>,
    /// An attribute for every entry that nobody asked for.
    unasked: Option<(String, String)>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(session: &'a Session, search: &'a Search, fuse: Option<u64>) -> Self {
        let unasked = session.shared.faults().unasked.clone();
        Self { session, search, buffer: BytesMut::new(), pending: 0, fuse, unasked }
    }

    /// Adds an entry; returns its size.
    pub(crate) fn entry(&mut self, entry: &LdapSearchResultEntry) -> usize {
        if self.fuse == Some(self.pending) {
            return 0;
        }
        let before = self.buffer.len();
        if let Some((name, value)) = &self.unasked {
            let mut entry = entry.clone();
            entry.attributes.push(text(name, vec![value.clone()]));
            encode_entry(&mut self.buffer, self.search.id, &entry);
        } else {
            encode_entry(&mut self.buffer, self.search.id, entry);
        }
        self.pending += 1;
        self.buffer.len() - before
    }

    pub(crate) fn full(&self) -> bool {
        self.buffer.len() >= CHUNK_BYTES || self.fuse == Some(self.pending)
    }

    pub(crate) async fn flush(&mut self) -> Result<(), Stop> {
        if self.search.abandoned.is_cancelled() {
            return Err(Stop::Silent);
        }
        let messages = self.buffer.split();
        if messages.is_empty() {
            tokio::task::yield_now().await;
        } else {
            self.session.outlet.send(&messages).await?;
        }
        Counters::add(&self.session.shared.counters.entries, self.pending);
        if let Some(fuse) = &mut self.fuse {
            *fuse -= self.pending;
            if *fuse == 0 {
                self.session.outlet.cut.cancel();
                return Err(Stop::Silent);
            }
        }
        self.pending = 0;
        Ok(())
    }
}
