//! What stands between a controller's connection and the LDAP client: whole, sound messages in one direction, bytes in the
//! other, and a bound on what is under way.
//!
//! ```text
//!  controller == TLS ==> [pump: one message + one chunk] == socket pair ==> ldap3 -- unbounded channel --> consumer
//!                              ^                                                                              |
//!                              +------------------------- consumed, entry by entry --------------------------+
//! ```
//!
//! The client hands entries to its consumer through a channel without a limit. So the pump forwards an entry only while the
//! entries forwarded and not yet consumed have less than [`WINDOW_BYTES`] in all, or none is under way; beyond that it
//! stops reading and TCP makes the controller wait. Between the controller and the consumer there are never more bytes than
//! the window, one message, and the sockets' buffers.
//!
//! The client panics on an answer of a kind that it does not expect for a search, and on some malformed ones. Such a message
//! ends the connection here, with its reason.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::error::EndReason;
use crate::frame::{self, op};

/// How many bytes of entries may be forwarded and not yet consumed.
pub(crate) const WINDOW_BYTES: usize = 256 * 1024;

/// How much is read from the controller at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The shared state of a pump and the consumer of its entries.
#[derive(Debug)]
pub(crate) struct Flow {
    started: Instant,
    window: usize,
    forwarded: AtomicU64,
    consumed: AtomicU64,
    credit: Notify,
    last_byte_ms: AtomicU64,
    /// The most bytes of entries that were ever under way.
    most_under_way: AtomicU64,
    end: Mutex<Option<EndReason>>,
}

impl Flow {
    pub(crate) fn new(window: usize) -> Self {
        Self {
            started: Instant::now(),
            window,
            forwarded: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
            credit: Notify::new(),
            last_byte_ms: AtomicU64::new(0),
            most_under_way: AtomicU64::new(0),
            end: Mutex::new(None),
        }
    }

    /// The consumer took one entry, reference or intermediate answer.
    pub(crate) fn consumed_one(&self) {
        self.consumed.fetch_add(1, Ordering::AcqRel);
        self.credit.notify_one();
    }

    /// When the controller last sent anything.
    pub(crate) fn last_byte(&self) -> Instant {
        self.started + Duration::from_millis(self.last_byte_ms.load(Ordering::Acquire))
    }

    /// Why the connection ended, once it has.
    pub(crate) fn end(&self) -> Option<EndReason> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn touch(&self) {
        let now = Instant::now().duration_since(self.started).as_millis();
        self.last_byte_ms.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn finish(&self, reason: EndReason) {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }
}

/// Moves messages until one side ends. Then both are closed and [`Flow::end`] tells why.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(controller: S, client: UnixStream, flow: &Flow) {
    let (mut from_controller, mut to_controller) = tokio::io::split(controller);
    let (mut from_client, mut to_client) = client.into_split();
    let reason = tokio::select! {
        reason = requests(&mut from_client, &mut to_controller) => reason,
        reason = answers(&mut from_controller, &mut to_client, flow) => reason,
    };
    flow.finish(reason);
    // a goodbye that the controller does not take is none worth waiting for
    let _closed = timeout(Duration::from_secs(1), to_controller.shutdown()).await;
}

async fn requests(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> EndReason {
    let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
    loop {
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return EndReason::Client,
            Ok(_) => {}
        }
        let sent = async {
            to.write_all_buf(&mut buffer).await?;
            to.flush().await
        };
        if let Err(error) = sent.await {
            return EndReason::Network(error.to_string());
        }
    }
}

/// The entries under way, oldest first.
#[derive(Debug, Default)]
struct Window {
    sizes: VecDeque<usize>,
    bytes: usize,
}

impl Window {
    /// Takes out what was consumed.
    fn settle(&mut self, flow: &Flow) {
        let open = flow.forwarded.load(Ordering::Acquire).saturating_sub(flow.consumed.load(Ordering::Acquire));
        while self.sizes.len() as u64 > open {
            self.bytes -= self.sizes.pop_front().unwrap_or_default();
        }
    }

    /// Puts an entry in, if there is room.
    fn admit(&mut self, size: usize, flow: &Flow) -> bool {
        self.settle(flow);
        if !self.sizes.is_empty() && self.bytes + size > flow.window {
            return false;
        }
        self.sizes.push_back(size);
        self.bytes += size;
        flow.forwarded.fetch_add(1, Ordering::AcqRel);
        flow.most_under_way.fetch_max(self.bytes as u64, Ordering::AcqRel);
        true
    }
}

async fn answers(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), flow: &Flow) -> EndReason {
    let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
    let mut window = Window::default();
    loop {
        // forward all whole messages that are here, waiting for room where there is none
        let wanted = loop {
            let mut ready = 0;
            let step = ready_bytes(&buffer, &mut ready, &mut window, flow);
            if ready > 0 {
                let Some(chunk) = buffer.get(..ready) else { return EndReason::Client };
                if to.write_all(chunk).await.is_err() {
                    return EndReason::Client;
                }
                buffer.advance(ready);
            }
            match step {
                Step::Read(wanted) => break wanted,
                Step::Wait => flow.credit.notified().await,
                Step::End(reason) => return reason,
            }
        };
        buffer.reserve(wanted.clamp(CHUNK_BYTES / 4, CHUNK_BYTES));
        match from.read_buf(&mut buffer).await {
            Ok(0) => return EndReason::Closed,
            Ok(_) => flow.touch(),
            Err(error) => return EndReason::Network(error.to_string()),
        }
    }
}

/// What to do when no further message can be forwarded.
enum Step {
    /// Read on; so many bytes are missing, as far as is known.
    Read(usize),
    /// Wait until the consumer has taken an entry.
    Wait,
    /// End the connection.
    End(EndReason),
}

/// Counts the bytes of the messages at the start of `buffer` that can be forwarded now, taking their place in the window.
fn ready_bytes(buffer: &[u8], ready: &mut usize, window: &mut Window, flow: &Flow) -> Step {
    loop {
        let rest = buffer.get(*ready..).unwrap_or_default();
        let length = match frame::message_length(rest) {
            Ok(Some(length)) => length,
            Ok(None) => return Step::Read(0),
            Err(error) => return Step::End(error.into()),
        };
        let Some(bytes) = rest.get(..length) else {
            return Step::Read(length - rest.len());
        };
        match frame::message(bytes) {
            Err(error) => return Step::End(error.into()),
            Ok(message) => match message.op {
                op::SEARCH_ENTRY | op::SEARCH_REFERENCE | op::INTERMEDIATE_RESPONSE if !window.admit(length, flow) => {
                    return Step::Wait;
                }
                op::EXTENDED_RESPONSE => {
                    let (code, text) = frame::result(message.body);
                    return Step::End(if message.id == 0 {
                        EndReason::Notice { code, text }
                    } else {
                        EndReason::Rejected { code, text }
                    });
                }
                _ => {}
            },
        }
        *ready += length;
    }
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
