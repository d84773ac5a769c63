//! What a service does with a stream it owns.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use forestsync_log::Lease;
use tokio_util::sync::CancellationToken;

/// What a worker's end means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Somebody else became the writer. While the lease is valid the worker is started again; while it is not, the group
    /// is waited for.
    Fenced,
    /// It may pass by itself: started again after a while.
    Retryable,
    /// Somebody must do something; tried again rarely.
    Fatal,
}

/// Why a worker ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct WorkerError {
    /// What it means for the next one.
    pub ending: Ending,
    /// What happened.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl WorkerError {
    /// Somebody else writes.
    pub fn fenced(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { ending: Ending::Fenced, source: source.into() }
    }

    /// It may pass.
    pub fn retryable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { ending: Ending::Retryable, source: source.into() }
    }

    /// Somebody must do something.
    pub fn fatal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { ending: Ending::Fatal, source: source.into() }
    }
}

/// Does the work of a stream.
#[async_trait]
pub trait Workers: Send + Sync + 'static {
    /// Works on the stream of `lease` until `stop`; then ends in good order, soon. MUST NOT become the stream's writer
    /// without a valid lease, and MUST let go of everything it holds when it returns, or is dropped.
    async fn work(&self, lease: Lease, stop: CancellationToken, post: Post) -> Result<(), WorkerError>;
}

/// Where a worker says how it is. Clones say it of the same stream.
#[derive(Debug, Clone, Default)]
pub struct Post(Arc<Mutex<State>>);

/// How a worker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// What keeps it from being caught up; nothing once it is.
    pub(crate) waits: Option<String>,
    /// What it says about itself, for `status`: a short JSON object.
    pub(crate) report: String,
}

impl Default for State {
    fn default() -> Self {
        Self { waits: Some("it has just begun".to_owned()), report: String::new() }
    }
}

impl Post {
    /// Says that the work is caught up.
    pub fn ready(&self) {
        self.lock().waits = None;
    }

    /// Says what keeps it from being caught up.
    pub fn waits(&self, reason: impl Into<String>) {
        self.lock().waits = Some(reason.into());
    }

    /// Says what `status` shows: a short JSON object, of which the log keeps 2 KiB.
    pub fn report(&self, report: String) {
        self.lock().report = report;
    }

    pub(crate) fn state(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
