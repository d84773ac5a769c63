//! A provisioner in staging: it knows the tenant's domains, which rules depend on, and writes nothing to the tenant.
//!
//! Its requests pass a gate that lets no write through. It has no ledger, and is not the writer of the outcomes.

use std::sync::Arc;

use forestsync_log::{Lease, Log};
use forestsync_schemas::streams;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::ProvisionerConfig;
use crate::domains::Domains;
use crate::error::ProvisionerError;
use crate::graph::Graph;
use crate::status::Status;

/// Stands where a provisioner would be.
#[derive(Debug)]
pub struct Staging {
    domains: Domains,
    status: watch::Sender<Status>,
}

impl Staging {
    /// Sends nothing.
    pub fn open(config: &ProvisionerConfig, log: Arc<dyn Log>) -> Result<Self, ProvisionerError> {
        let lease = Lease::forever(streams::outcomes(&config.configuration).parse()?);
        Self::open_with_lease(config, log, lease)
    }

    /// [`Staging::open`] where others may take over.
    pub fn open_with_lease(
        config: &ProvisionerConfig,
        log: Arc<dyn Log>,
        lease: Lease,
    ) -> Result<Self, ProvisionerError> {
        let graph = Arc::new(Graph::read_only(&config.tenant)?);
        let stream = streams::tenant(&config.configuration).parse()?;
        let domains = Domains::new(&config.configuration, &config.tenant, stream, graph, log, lease);
        let status = Status { staging: true, ..Status::default() };
        Ok(Self { domains, status: watch::Sender::new(status) })
    }

    /// Its state: that it is in staging.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Looks at the tenant's domains now and then, until told to stop; an error means that somebody else does.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ProvisionerError> {
        self.domains.run(shutdown).await
    }
}
