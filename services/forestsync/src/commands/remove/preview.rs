//! What a removal would do, without a single write.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use forestsync_domain::SourceAnchor;
use forestsync_log::{ForkedLog, Log, StreamName};
use forestsync_projector::{Projector, ProjectorConfig};
use forestsync_provisioner::rehearse;
use forestsync_schemas::control::RemovedObjects;
use forestsync_schemas::desired::{CloudClass, DesiredEvent};
use forestsync_schemas::{DesiredRecord, streams};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Anchors;
use crate::commands::plan::provisioner_config;
use crate::config::Settings;
use crate::control;
use crate::output::count;
use crate::pipeline::projector_config_without;
use crate::plan::{Action, Plan, render};

/// Records read at a time.
const BATCH: usize = 1_000;

/// The preview; its JSON is part of `remove-configuration --json`.
#[derive(Debug, Serialize)]
pub(super) struct Preview {
    /// `delete` or `release`.
    objects: RemovedObjects,
    /// Users that go to the recycle bin of the tenant, where they can be restored for 30 days.
    restorable: usize,
    /// Groups that go and count as gone for good.
    for_good: usize,
    /// Everything that would be done.
    plan: Plan,
}

impl Preview {
    /// Computes it. Reads the log and the tenant, and writes to neither.
    pub(super) async fn compute(
        settings: &Settings,
        objects: RemovedObjects,
        base: &Arc<dyn Log>,
        stop: CancellationToken,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("removal-").tempdir()?;
        let fork: Arc<dyn Log> = Arc::new(ForkedLog::new(Arc::clone(base), folder.path().join("log"))?);
        let config = projector_config_without(settings, fork.as_ref(), objects).await?;
        let config = ProjectorConfig { directory: folder.path().join("projection"), ..config };
        let mut projector = Projector::open(config, Arc::clone(&fork)).await.context("the projection")?;
        projector.catch_up().await.context("the projection")?;
        drop(projector);
        // in the fork everything is decided about, so that the rehearsal shows all of it
        let known: Vec<SourceAnchor> = known(fork.as_ref(), &settings.configuration).await?.into_iter().collect();
        control::remove(fork.as_ref(), &settings.configuration, objects, &known, "a preview").await?;
        let config = provisioner_config(settings, folder.path().join("ledger"))?;
        let rehearsal = Box::pin(rehearse(config, fork, stop)).await.context("the rehearsal")?;
        let plan = Plan::of(settings, &rehearsal, Vec::new());
        let goes = |class: CloudClass| {
            let goes = |action: Action| matches!(action, Action::Delete | Action::DeleteLater);
            plan.steps.iter().filter(|step| step.class == class && goes(step.action)).count()
        };
        Ok(Self { objects, restorable: goes(CloudClass::User), for_good: goes(CloudClass::Group), plan })
    }

    /// What the outcomes say from this offset on is not in it.
    pub(super) fn outcomes_offset(&self) -> u64 {
        self.plan.outcomes_offset
    }

    /// The objects that are deleted or let go.
    pub(super) fn anchors(&self) -> Anchors {
        let ends = |action: Action| matches!(action, Action::Delete | Action::DeleteLater | Action::LetGo);
        let steps = self.plan.steps.iter().filter(|step| ends(step.action));
        steps.map(|step| SourceAnchor::from(step.anchor.clone())).collect()
    }

    /// For a terminal.
    pub(super) fn render(&self, all: bool) -> String {
        format!("{}\n{}\n", render(&self.plan, all).trim_end(), self.warning())
    }

    /// What it comes to, in a sentence or two.
    pub(super) fn warning(&self) -> String {
        let released = self.plan.steps.iter().filter(|step| step.action == Action::LetGo).count();
        let mut said = Vec::new();
        if self.restorable > 0 {
            let users = count(self.restorable as u64, "user");
            said.push(format!("{users} deleted: restorable for 30 days from the recycle bin of the tenant"));
        }
        if self.for_good > 0 {
            let groups = count(self.for_good as u64, "group");
            said.push(format!(
                "{groups} deleted: count on it that they cannot be restored, and get new ids if made anew"
            ));
        }
        if released > 0 {
            said.push(format!(
                "{} let go: they stay in the tenant as they are, source anchors included, and nobody changes them from here",
                count(released as u64, "object")
            ));
        }
        if said.is_empty() {
            said.push("the tenant holds nothing of this configuration".to_owned());
        }
        said.join("\n")
    }
}

/// Everything that was ever wished.
async fn known(log: &dyn Log, configuration: &str) -> Result<BTreeSet<SourceAnchor>> {
    let desired: StreamName = streams::desired(configuration).parse()?;
    let mut reader = log.reader(&desired, 0).await?;
    let mut known = BTreeSet::new();
    loop {
        let records = reader.poll(BATCH).await?;
        if records.is_empty() {
            return Ok(known);
        }
        for record in records {
            let place = || format!("stream {desired} offset {}", record.offset);
            match DesiredRecord::decode(&record.value).with_context(place)?.event {
                DesiredEvent::ObjectDesired(event) => _ = known.insert(event.anchor),
                DesiredEvent::ObjectRemoved(event) => _ = known.insert(event.anchor),
                _ => {}
            }
        }
    }
}
