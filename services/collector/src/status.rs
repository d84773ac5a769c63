//! What a collector is doing, for progress bars, `status`, and whoever waits for everything to be read.

use forestsync_domain::Dn;
use forestsync_schemas::changes::StopCause;
use serde::Serialize;
use tokio::sync::watch;

/// What is being done with one naming context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Phase {
    /// A controller is being sought, or the log's writer.
    Connecting,
    /// A full read is under way.
    Snapshot {
        /// Objects written so far.
        seen: u64,
    },
    /// Changes are followed.
    Following,
    /// Reading cannot go on for now; it is retried.
    Stopped {
        /// Why.
        cause: StopCause,
        /// What was seen.
        detail: String,
        /// What to do.
        hint: String,
    },
}

/// The state of one naming context. Fields only grow but `phase`, `last_pass_found` and `deletions_visible`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CollectorStatus {
    /// The forest's configured name.
    pub forest: String,
    /// The naming context; empty until the controller told its default one.
    pub naming_context: Dn,
    /// The stream; empty until the naming context is known.
    pub stream: String,
    /// What is being done.
    pub phase: Phase,
    /// Looks at the controller that ended with everything read and durable, since start. A look that began after a
    /// change was made in the directory has read it: so whoever waits for a change waits for `passes` to grow by two.
    pub passes: u64,
    /// Events appended since start.
    pub appended: u64,
    /// Entries that the last pass found.
    pub last_pass_found: usize,
    /// The offset that the stream's next record will get.
    pub tail: u64,
    /// Whether the account sees tombstones; unknown until a controller was asked.
    pub deletions_visible: Option<bool>,
    /// Full reads completed since start.
    pub snapshots: u64,
    /// Attributes of entries, since start, that a controller sent although they are not on the list of those to read. They
    /// were dropped.
    pub dropped_attributes: u64,
}

impl CollectorStatus {
    fn new(forest: &str, naming_context: Dn) -> Self {
        Self {
            forest: forest.to_owned(),
            naming_context,
            stream: String::new(),
            phase: Phase::Connecting,
            passes: 0,
            appended: 0,
            last_pass_found: 0,
            tail: 0,
            deletions_visible: None,
            snapshots: 0,
            dropped_attributes: 0,
        }
    }
}

/// All naming contexts of a collector.
#[derive(Debug, Clone)]
pub(crate) struct StatusBoard(watch::Sender<Vec<CollectorStatus>>);

impl StatusBoard {
    pub(crate) fn new(forest: &str, naming_contexts: &[Dn]) -> Self {
        let rows = if naming_contexts.is_empty() { vec![Dn::default()] } else { naming_contexts.to_vec() };
        Self(watch::Sender::new(rows.into_iter().map(|nc| CollectorStatus::new(forest, nc)).collect()))
    }

    /// Sees to it that there is a row for each of these, in this order; those that are there stay as they are.
    pub(crate) fn fit(&self, forest: &str, naming_contexts: &[Dn]) {
        self.0.send_if_modified(|rows| {
            let before = rows.len();
            let missing = naming_contexts.iter().skip(before);
            rows.extend(missing.map(|nc| CollectorStatus::new(forest, nc.clone())));
            rows.len() != before
        });
    }

    pub(crate) fn rows(&self) -> Vec<CollectorStatus> {
        self.0.borrow().clone()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Vec<CollectorStatus>> {
        self.0.subscribe()
    }

    /// The row at `index`, for the task that keeps it.
    pub(crate) fn line(&self, index: usize) -> StatusLine {
        StatusLine { board: self.clone(), index }
    }
}

/// One naming context's row.
#[derive(Debug, Clone)]
pub(crate) struct StatusLine {
    board: StatusBoard,
    index: usize,
}

impl StatusLine {
    /// The offset that the stream's next record will get, as far as is known.
    pub(crate) fn tail(&self) -> u64 {
        self.board.0.borrow().get(self.index).map_or(0, |row| row.tail)
    }

    /// Changes the row; who watches is told only if it really changed.
    pub(crate) fn update(&self, change: impl FnOnce(&mut CollectorStatus)) {
        self.board.0.send_if_modified(|rows| {
            let Some(row) = rows.get_mut(self.index) else {
                return false;
            };
            let before = row.clone();
            change(row);
            *row != before
        });
    }
}
