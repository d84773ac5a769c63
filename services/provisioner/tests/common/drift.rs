//! Others at work in the tenant, and a provisioner that looks at what they do.

#![allow(dead_code, unreachable_pub, missing_debug_implementations, clippy::unwrap_used)]

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::Duration;

use forestsync_practice::tenant::TenantOptions;
use forestsync_provisioner::{DriftPlace, DriftSettings, DriftStatus};
use forestsync_schemas::outcomes::{DriftPolicy, OutcomeEvent};
use serde_json::Value;

use crate::common::{Lab, Running, anchor, is_drift, keep_contract};

/// A lab whose provisioner compares the tenant all the time, and whose exchanges are recorded.
pub struct Watched {
    pub lab: Lab,
    folder: tempfile::TempDir,
}

impl Deref for Watched {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl DerefMut for Watched {
    fn deref_mut(&mut self) -> &mut Lab {
        &mut self.lab
    }
}

impl Watched {
    pub async fn new(drift: impl FnOnce(&mut DriftSettings)) -> Self {
        Self::with(|_| {}, drift).await
    }

    /// One in which everything is treated alike.
    pub async fn all(policy: DriftPolicy) -> Self {
        Self::new(|drift| (drift.default, drift.deletions) = (policy, policy)).await
    }

    pub async fn with(adjust: impl FnOnce(&mut TenantOptions), drift: impl FnOnce(&mut DriftSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut lab = Lab::with(|options| {
            options.record_file = Some(folder.path().join("exchanges.jsonl"));
            adjust(options);
        })
        .await;
        let mut settings = DriftSettings { interval: Duration::from_millis(20), ..DriftSettings::default() };
        drift(&mut settings);
        lab.config.tenant.drift = Some(settings);
        Self { lab, folder }
    }

    pub fn treat(&mut self, change: impl FnOnce(&mut DriftSettings)) {
        change(self.lab.config.tenant.drift.as_mut().unwrap());
    }

    pub fn record(&self) -> PathBuf {
        self.folder.path().join("exchanges.jsonl")
    }

    pub fn others_edit(&self, n: u32, properties: Value) {
        self.control.edit(&self.id(n).unwrap(), properties).unwrap();
    }

    pub fn others_delete(&self, n: u32, for_good: bool) -> String {
        let id = self.id(n).unwrap();
        self.control.delete(&id, for_good).unwrap();
        id
    }

    pub fn others_member(&self, group: u32, member: u32, is_member: bool) {
        self.control.set_member(&self.id(group).unwrap(), &self.id(member).unwrap(), is_member).unwrap();
    }

    /// Waits until everything that is in the tenant by now was compared, and dealt with.
    pub async fn compared(&self, running: &Running) -> DriftStatus {
        self.idle(running).await;
        let rounds = running.status.borrow().drift.as_ref().map_or(0, |drift| drift.rounds);
        // one may have begun before
        let is_over = |drift: &DriftStatus| drift.rounds >= rounds + 2 && drift.looking == 0;
        running.until(|s| s.idle && s.drift.as_ref().is_some_and(is_over)).await.drift.unwrap()
    }

    /// The same where what is found is undone: until nothing is left of it.
    pub async fn undone(&self, running: &Running) -> DriftStatus {
        self.compared(running).await;
        let is_over = |drift: &DriftStatus| drift.looking == 0 && !drift.totals.contains_key(&DriftPolicy::Enforce);
        running.until(|s| s.idle && s.drift.as_ref().is_some_and(is_over)).await.drift.unwrap()
    }

    /// The events that tell of others.
    pub async fn said(&self) -> Vec<OutcomeEvent> {
        self.outcomes().await.into_iter().map(|o| o.event).filter(is_drift).collect()
    }

    /// Ends it, and looks at all of its exchanges.
    pub async fn end(&self, running: Running) {
        self.end_but(running, &[]).await;
    }

    /// The same where the tenant itself breaks these rules.
    pub async fn end_but(&self, running: Running, ignore: &[&str]) {
        running.end().await;
        keep_contract(&[self.record()], ignore);
    }
}

/// What is listed, by the number of the object.
pub fn places(status: &DriftStatus, candidates: &[u32]) -> Vec<(u32, DriftPlace, DriftPolicy)> {
    let of = |item: &forestsync_provisioner::DriftItem| {
        let n = candidates.iter().find(|n| anchor(**n) == item.anchor).copied().unwrap_or(u32::MAX);
        (n, item.place.clone(), item.policy)
    };
    let mut all: Vec<_> = status.found.iter().map(of).collect();
    all.sort();
    all
}
