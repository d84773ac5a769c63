//! Handing objects over: an object that leaves the scope of this configuration for that of another one for the same
//! tenant is let go, not deleted, and the other one finds it by its anchor.
//!
//! What another configuration would say is computed here, from its document and from the containers that its own
//! projector resolved or will resolve, over the mirror that both have in common. So there is no gap, whichever of the two
//! is quicker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use forestsync_domain::ObjectGuid;
use forestsync_log::{Log, StreamName};
use forestsync_schemas::control::ControlEvent;
use forestsync_schemas::decisions::DecisionEvent;
use forestsync_schemas::{ControlRecord, DecisionRecord, streams};

use crate::activation::Projection;
use crate::config::{Plan, SourceId, source_id};
use crate::eligible::Eligible;
use crate::keys::ObjectKey;
use crate::projector::MAX_RECORDS;
use crate::round::Round;
use crate::rows::Meta;
use crate::{PlanError, ProjectorConfig, ProjectorError, StoreError};

/// Another configuration for the same tenant.
#[derive(Debug, Clone)]
pub(crate) struct Other {
    pub(crate) plan: Plan,
    /// What it resolved, per source: the key of a name and the objectGUID.
    pub(crate) resolved: BTreeMap<SourceId, BTreeMap<String, ObjectGuid>>,
}

/// Follows the other configurations of the log.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// Per control stream: how far it was read, and the configuration that it says is in force.
    seen: BTreeMap<StreamName, Neighbour>,
}

#[derive(Debug, Default)]
struct Neighbour {
    control: u64,
    decisions: u64,
    projection: Option<Projection>,
    resolved: BTreeMap<SourceId, BTreeMap<String, ObjectGuid>>,
    plan: Option<Plan>,
}

impl Neighbours {
    /// The other configurations for the same tenant, if anything about them is news.
    pub(crate) async fn look(
        &mut self,
        log: &Arc<dyn Log>,
        config: &ProjectorConfig,
    ) -> Result<Option<Vec<Other>>, ProjectorError> {
        let Some(tenant) = &config.tenant else { return Ok(None) };
        let own = streams::control(&config.configuration);
        let existing = log.streams().await?;
        let mut is_news = false;
        for stream in existing.iter().filter(|s| s.as_str().starts_with("control.") && s.as_str() != own) {
            let neighbour = self.seen.entry(stream.clone()).or_default();
            is_news |= neighbour.read(log, stream, &existing, tenant).await?;
        }
        let others = self.seen.values().filter_map(|neighbour| {
            let plan = neighbour.plan.clone()?;
            Some(Other { plan, resolved: neighbour.resolved.clone() })
        });
        Ok(is_news.then(|| others.collect()))
    }
}

impl Neighbour {
    /// Reads on; whether anything was there.
    async fn read(
        &mut self,
        log: &Arc<dyn Log>,
        control: &StreamName,
        existing: &[StreamName],
        tenant: &str,
    ) -> Result<bool, ProjectorError> {
        let name = control.as_str().strip_prefix("control.").unwrap_or_default();
        let mut is_news = false;
        if log.tail(control).await? > self.control {
            let mut reader = log.reader(control, self.control).await?;
            loop {
                let records = reader.poll(MAX_RECORDS).await?;
                let Some(last) = records.last() else { break };
                self.control = last.offset + 1;
                // what cannot be understood here hands nothing over; its own projector says what is wrong
                for record in &records {
                    let Ok(decoded) = ControlRecord::decode(&record.value) else { continue };
                    let projection = match decoded.event {
                        ControlEvent::ConfigurationActivated(activated) => Projection::of(name, &activated).ok(),
                        // it wants nothing any more
                        ControlEvent::ConfigurationRemoved(_) => None,
                        ControlEvent::HeldDecided(_) | ControlEvent::SourceDecided(_) => continue,
                    };
                    self.projection = projection.filter(|projection| projection.tenant() == Some(tenant));
                    is_news = true;
                }
            }
        }
        let Some(projection) = &self.projection else {
            is_news |= self.plan.take().is_some();
            return Ok(is_news);
        };
        if is_news || self.plan.is_none() {
            let sources = projection.sources(existing).ok().and_then(Result::ok);
            let config = sources.map(|sources| ProjectorConfig {
                configuration: name.to_owned(),
                directory: PathBuf::new(),
                sources,
                rules: Arc::clone(projection.rules()),
                tenant: Some(tenant.to_owned()),
                removed: None,
            });
            self.plan = config.and_then(|config| Plan::new(config).ok());
            is_news = true;
        }
        let decisions: StreamName = streams::decisions(name).parse().map_err(PlanError::from)?;
        if log.tail(&decisions).await? > self.decisions {
            let mut reader = log.reader(&decisions, self.decisions).await?;
            loop {
                let records = reader.poll(MAX_RECORDS).await?;
                let Some(last) = records.last() else { break };
                self.decisions = last.offset + 1;
                for record in &records {
                    let Ok(decoded) = DecisionRecord::decode(&record.value) else { continue };
                    if let DecisionEvent::ScopeResolved(event) = decoded.event {
                        let source = source_id(&event.forest, &event.naming_context);
                        self.resolved.entry(source).or_default().entry(event.dn.key()).or_insert(event.object);
                        is_news = true;
                    }
                }
            }
        }
        Ok(is_news)
    }
}

impl Round<'_> {
    /// Whether another configuration for the same tenant has an object in its scope. Looks at what was committed.
    pub(crate) fn is_wanted_elsewhere(&mut self, key: ObjectKey) -> Result<bool, StoreError> {
        for other in self.others {
            if other.plan.source(key.source).is_none() {
                continue;
            }
            let mut meta = self.meta.clone();
            for (source, state) in &mut meta.sources {
                state.resolved = other.resolved.get(source).cloned().unwrap_or_default();
            }
            self.find_unresolved(&other.plan, &mut meta)?;
            let mut round = Round::new(&other.plan, self.txn.store, &meta, false)?;
            let row = round.object(key)?;
            if matches!(round.eligible(key, row.as_ref())?, Eligible::Yes | Eligible::Partner) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the other projector has not resolved yet, it will resolve to what has the name now.
    fn find_unresolved(&mut self, plan: &Plan, meta: &mut Meta) -> Result<(), StoreError> {
        for source in &plan.sources {
            let Some(state) = meta.sources.get_mut(&source.id) else { continue };
            for (name, dn) in &source.named {
                if !state.resolved.contains_key(name)
                    && let Some(found) = self.find_by_name(source, dn)?
                {
                    state.resolved.insert(name.clone(), found.guid);
                }
            }
        }
        Ok(())
    }
}
