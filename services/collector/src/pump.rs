//! What stands between a controller's connection and the LDAP client: whole, sound messages in one direction, bytes in the
//! other, and a bound on what is under way.
//!
//! ```text
//!  controller == TLS ==> [pump: one message + one chunk] -- entries, at most WINDOW_BYTES --> consumer
//!                              |  ^                                                             ^
//!                              |  +------------------------- room, chunk by chunk -------------+
//!                              +== everything else: socket pair ==> ldap3 -- results --> consumer
//! ```
//!
//! The client library would hand entries to its consumer through a channel without a limit, parsed and copied twice. So it
//! never sees them: entries go past it, as the bytes they came in, while those not yet consumed have less than
//! [`WINDOW_BYTES`] in all. Beyond that the pump stops reading and TCP makes the controller wait. Between the controller
//! and the consumer there are never more bytes than the window, one message, and the sockets' buffers.
//!
//! Entries are sent before the result that follows them is given to the client: whoever has seen the result of a search
//! finds all of its entries in the channel.
//!
//! The client panics on an answer of a kind that it does not expect for a search, and on some malformed ones. Such a message
//! ends the connection here, with its reason.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use crate::error::EndReason;
use crate::frame::{self, op};

/// How many bytes of entries may be under way to the consumer; a larger message goes alone.
pub(crate) const WINDOW_BYTES: u32 = 512 * 1024;

/// How many bytes of entries go together, but for a larger message.
const RUN_BYTES: usize = 64 * 1024;

/// How much is read from the controller at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Whole messages (entries, references, intermediate answers), one after the other. Dropping it makes room for others.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) messages: Bytes,
    _room: OwnedSemaphorePermit,
}

/// The shared state of a pump and the consumer of its entries.
#[derive(Debug)]
pub(crate) struct Flow {
    started: Instant,
    window: u32,
    room: Arc<Semaphore>,
    last_byte_ms: AtomicU64,
    end: Mutex<Option<EndReason>>,
}

impl Flow {
    pub(crate) fn new(window: u32) -> Self {
        Self {
            started: Instant::now(),
            window,
            room: Arc::new(Semaphore::new(window as usize)),
            last_byte_ms: AtomicU64::new(0),
            end: Mutex::new(None),
        }
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
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    controller: S,
    client: UnixStream,
    entries: mpsc::UnboundedSender<Chunk>,
    flow: &Flow,
) {
    let (mut from_controller, mut to_controller) = tokio::io::split(controller);
    let (mut from_client, mut to_client) = client.into_split();
    let reason = tokio::select! {
        reason = requests(&mut from_client, &mut to_controller) => reason,
        reason = answers(&mut from_controller, &mut to_client, &entries, flow) => reason,
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

async fn answers(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    entries: &mpsc::UnboundedSender<Chunk>,
    flow: &Flow,
) -> EndReason {
    let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
    loop {
        let wanted = loop {
            match next_step(&buffer) {
                Step::Read(wanted) => break wanted,
                Step::End(reason) => return reason,
                Step::Entries(length) => {
                    let needed = u32::try_from(length).unwrap_or(u32::MAX).min(flow.window);
                    let Ok(room) = Arc::clone(&flow.room).acquire_many_owned(needed).await else {
                        return EndReason::Client;
                    };
                    let messages = buffer.split_to(length).freeze();
                    if entries.send(Chunk { messages, _room: room }).is_err() {
                        return EndReason::Client;
                    }
                }
                Step::Result(length) => {
                    let Some(message) = buffer.get(..length) else { return EndReason::Client };
                    if to.write_all(message).await.is_err() {
                        return EndReason::Client;
                    }
                    buffer.advance(length);
                }
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

/// What to do with the start of what was read.
enum Step {
    /// Read on; so many bytes are missing, as far as is known.
    Read(usize),
    /// So many bytes are entries.
    Entries(usize),
    /// So many bytes are one message for the client.
    Result(usize),
    /// End the connection.
    End(EndReason),
}

/// Looks at the whole messages at the start of `buffer`: a run of entries, or one of another kind.
fn next_step(buffer: &[u8]) -> Step {
    let mut run = 0;
    loop {
        let rest = buffer.get(run..).unwrap_or_default();
        let step = match frame::message_length(rest) {
            Ok(None) => Step::Read(0),
            Ok(Some(length)) => match rest.get(..length) {
                None => Step::Read(length - rest.len()),
                Some(bytes) => match frame::message(bytes).map(|message| kind(message, bytes)) {
                    Ok(Step::Entries(length)) if run == 0 || run + length <= RUN_BYTES => {
                        run += length;
                        continue;
                    }
                    Ok(step) => step,
                    Err(error) => Step::End(error.into()),
                },
            },
            Err(error) => Step::End(error.into()),
        };
        // what came before is delivered before anything else happens
        return if run > 0 { Step::Entries(run) } else { step };
    }
}

fn kind(message: frame::Message<'_>, bytes: &[u8]) -> Step {
    let length = bytes.len();
    match message.op {
        op::SEARCH_ENTRY | op::SEARCH_REFERENCE | op::INTERMEDIATE_RESPONSE => Step::Entries(length),
        op::EXTENDED_RESPONSE => {
            let (code, text) = frame::result(message.body);
            Step::End(if message.id == 0 {
                EndReason::Notice { code, text }
            } else {
                EndReason::Rejected { code, text }
            })
        }
        op::BIND_RESPONSE | op::SEARCH_DONE => match frame::check_result(bytes) {
            Ok(()) => Step::Result(length),
            Err(error) => Step::End(error.into()),
        },
        // nothing else was asked for
        other => Step::End(frame::FrameError::Operation(other).into()),
    }
}

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
