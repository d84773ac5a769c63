//! How a service is, in one place: the loop writes it, the admin endpoint shows it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::worker::Post;

/// A loop that was not seen for so long does not turn any more; it turns every few seconds.
const STUCK: Duration = Duration::from_secs(30);

/// The shared state of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Board(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    turned: Instant,
    joined: bool,
    /// What keeps the process from taking part, by subject.
    troubles: BTreeMap<&'static str, String>,
    owned: BTreeMap<String, Owned>,
}

#[derive(Debug, Clone, Default)]
struct Owned {
    post: Post,
    /// Why its worker is not at work.
    failure: Option<String>,
}

/// What `/readyz` and `/healthz` answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Whether all is well.
    pub ok: bool,
    /// What is not, for a person.
    pub reasons: Vec<String>,
    /// The streams that this process owns.
    pub streams: Vec<String>,
}

impl Default for Board {
    fn default() -> Self {
        let inner = Inner { turned: Instant::now(), joined: false, troubles: BTreeMap::new(), owned: BTreeMap::new() };
        Self(Arc::new(Mutex::new(inner)))
    }
}

impl Board {
    /// Says what keeps the process from taking part in something, or that it is over.
    pub fn trouble(&self, subject: &'static str, what: Option<String>) {
        let mut inner = self.lock();
        match what {
            Some(what) => drop(inner.troubles.insert(subject, what)),
            None => drop(inner.troubles.remove(subject)),
        }
    }

    /// Whether the process is live and its loops turn.
    pub fn health(&self) -> Answer {
        let inner = self.lock();
        let since = inner.turned.elapsed();
        let ok = since < STUCK;
        let reasons = if ok { Vec::new() } else { vec![format!("the loop was not seen for {} s", since.as_secs())] };
        Answer { ok, reasons, streams: inner.owned.keys().cloned().collect() }
    }

    /// Whether the process can work: connected, member of its group, and caught up with what it owns. A stand-by is.
    pub fn readiness(&self) -> Answer {
        let inner = self.lock();
        let mut reasons: Vec<String> =
            inner.troubles.iter().map(|(subject, what)| format!("{subject}: {what}")).collect();
        if !inner.joined && reasons.is_empty() {
            reasons.push("it is not a member of its group yet".to_owned());
        }
        for (stream, owned) in &inner.owned {
            let waits = owned.failure.clone().or_else(|| owned.post.state().waits);
            reasons.extend(waits.map(|waits| format!("{stream}: {waits}")));
        }
        Answer { ok: reasons.is_empty(), reasons, streams: inner.owned.keys().cloned().collect() }
    }

    pub(crate) fn turn(&self) {
        self.lock().turned = Instant::now();
    }

    pub(crate) fn joined(&self, joined: bool) {
        self.lock().joined = joined;
    }

    pub(crate) fn gained(&self, stream: &str, post: &Post) {
        self.lock().owned.insert(stream.to_owned(), Owned { post: post.clone(), failure: None });
    }

    pub(crate) fn lost(&self, stream: &str) {
        self.lock().owned.remove(stream);
    }

    pub(crate) fn failed(&self, stream: &str, failure: Option<String>) {
        if let Some(owned) = self.lock().owned.get_mut(stream) {
            owned.failure = failure;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
