//! Soft-deleted objects, for tenants that refuse to filter them (graph.md section 6): listed once, kept a minute.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forestsync_schemas::desired::CloudClass;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::target::CloudObject;

const KEPT: Duration = Duration::from_mins(1);

/// What is known of deleted objects.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    refused: AtomicBool,
    users: Mutex<List>,
    groups: Mutex<List>,
}

/// The deleted objects of one class, by anchor.
#[derive(Debug, Default)]
pub(super) struct List {
    read: Option<Instant>,
    by_anchor: HashMap<String, CloudObject>,
}

impl Deleted {
    pub(super) fn is_filter_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn refuse_filter(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    pub(super) async fn lock(&self, class: CloudClass) -> MutexGuard<'_, List> {
        if class == CloudClass::User { self.users.lock().await } else { self.groups.lock().await }
    }
}

impl List {
    pub(super) fn is_fresh(&self) -> bool {
        self.read.is_some_and(|read| read.elapsed() < KEPT)
    }

    pub(super) fn fill(&mut self, objects: impl Iterator<Item = CloudObject>) {
        self.by_anchor = objects.filter_map(|o| Some((o.anchor.clone()?, o))).collect();
        self.read = Some(Instant::now());
    }

    pub(super) fn find(&self, anchor: &str) -> Option<CloudObject> {
        self.by_anchor.get(anchor).cloned()
    }
}
