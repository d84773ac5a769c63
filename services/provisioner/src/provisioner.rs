//! Opening and running.

use std::sync::Arc;

use forestsync_log::{Lease, Log, StreamName};
use forestsync_schemas::{OutcomeRecord, streams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::ProvisionerConfig;
use crate::domains::Domains;
use crate::engine::{CrashPoint, Engine, ProvisionerHandle, Streams, fold};
use crate::error::{ProvisionerError, decode};
use crate::graph::Graph;
use crate::status::Status;
use crate::store::{Store, StoreError};
use crate::target::Target;

/// Outcomes folded in by one transaction.
const CHUNK: usize = 1_000;

/// A provisioner that is ready to run.
#[derive(Debug)]
pub struct Provisioner {
    pub(crate) engine: Engine,
    domains: Domains,
    log: Arc<dyn Log>,
    status: watch::Receiver<Status>,
}

impl Provisioner {
    /// Becomes the writer of the outcomes, opens the ledger and brings it up to date with them. Sends nothing.
    ///
    /// A ledger that cannot be opened, or that knows more than the log, is rebuilt from the log.
    pub async fn open(config: ProvisionerConfig, log: Arc<dyn Log>) -> Result<Self, ProvisionerError> {
        let outcomes = streams::outcomes(&config.configuration).parse()?;
        Self::open_as(config, log, Lease::forever(outcomes), false).await
    }

    /// [`Provisioner::open`] where others may take over: no request leaves unless `lease` is valid at that moment, and once
    /// it is not, [`Provisioner::run`] ends with [`ProvisionerError::LeaseEnded`].
    ///
    /// What an owner before may have written without an outcome is written again, so that it does not stay.
    pub async fn open_with_lease(
        config: ProvisionerConfig,
        log: Arc<dyn Log>,
        lease: Lease,
    ) -> Result<Self, ProvisionerError> {
        Self::open_as(config, log, lease, true).await
    }

    async fn open_as(
        config: ProvisionerConfig,
        log: Arc<dyn Log>,
        lease: Lease,
        is_shared: bool,
    ) -> Result<Self, ProvisionerError> {
        if !lease.is_valid() {
            // becoming the writer would fence the rightful one
            return Err(ProvisionerError::LeaseEnded);
        }
        let graph = Arc::new(Graph::new(&config.tenant, Some(lease.clone()))?);
        let target: Arc<dyn Target> = Arc::clone(&graph) as Arc<dyn Target>;
        Self::open_with(config, log, lease, is_shared, graph, target).await
    }

    /// The same against any target.
    pub(crate) async fn open_with(
        config: ProvisionerConfig,
        log: Arc<dyn Log>,
        lease: Lease,
        is_shared: bool,
        graph: Arc<Graph>,
        target: Arc<dyn Target>,
    ) -> Result<Self, ProvisionerError> {
        let streams = Streams {
            control: streams::control(&config.configuration).parse()?,
            desired: streams::desired(&config.configuration).parse()?,
            outcomes: streams::outcomes(&config.configuration).parse()?,
        };
        let writer = log.writer(&streams.outcomes).await?;
        let folder = config.directory.clone();
        let opened = tokio::task::spawn_blocking(move || Store::open(&folder)).await??;
        if let Some(moved) = &opened.moved {
            tracing::warn!(kept = %moved.display(), "the damaged ledger is kept aside; folding a new one");
        }
        let (store, mut is_new) = (opened.store, opened.moved.is_some());
        let desired_tail = log.tail(&streams.desired).await?;
        let meta = store.meta()?;
        if meta.outcomes_next > writer.next_offset() || meta.desired_next > desired_tail {
            tracing::warn!("the ledger knows more than the log, so another log is in place; folding a new ledger");
            store.clear()?;
            is_new = true;
        }
        is_new |= meta.tenant.is_empty();
        claim(&store, &config.tenant.tenant_id)?;
        catch_up(&store, log.as_ref(), &streams.outcomes).await?;
        let (sender, status) = watch::channel(Status::default());
        let name = &config.configuration;
        let tenant = streams::tenant(name).parse()?;
        let domains = Domains::new(name, &config.tenant, tenant, graph, Arc::clone(&log), lease);
        let mut engine = Engine::new(config, streams, store, writer, target, sender)?;
        engine.doubts = is_shared || is_new;
        Ok(Self { engine, domains, log, status })
    }

    /// The provisioner's state, kept up to date while it runs.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Lets others ask, for as long as it runs.
    pub fn handle(&mut self) -> ProvisionerHandle {
        self.engine.take_questions()
    }

    /// Works, and looks at the tenant's domains now and then, until told to stop: then what is on its way is waited for and written down. An error means that nothing
    /// goes on; what it left behind is put right by the next one that is opened.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ProvisionerError> {
        let Self { engine, domains, log, .. } = self;
        let mut engine = Box::pin(engine.run(log.as_ref(), shutdown.clone()));
        tokio::select! {
            ended = &mut engine => ended,
            watched = Box::pin(domains.run(shutdown)) => match watched {
                Ok(()) => engine.await,
                Err(error) => Err(error),
            },
        }
    }

    /// Works on wishes before `wishes` until told to stop, without a look at the domains.
    pub(crate) async fn act(self, wishes: u64, shutdown: CancellationToken) -> Result<(), ProvisionerError> {
        let Self { mut engine, log, .. } = self;
        engine.until = Some(wishes);
        Box::pin(engine.run(log.as_ref(), shutdown)).await
    }

    /// Lets [`Provisioner::run`] die with [`ProvisionerError::Crashed`] when it has passed `point` `after` times. For
    /// tests.
    #[doc(hidden)]
    pub fn crash_at(mut self, point: CrashPoint, after: u32) -> Self {
        self.engine.crash = Some((point, after));
        self
    }
}

/// Ties the ledger to its tenant.
fn claim(store: &Store, tenant: &str) -> Result<(), StoreError> {
    let mut tx = store.tx();
    let meta = tx.meta()?;
    if meta.tenant.is_empty() {
        tenant.clone_into(&mut meta.tenant);
    } else if meta.tenant != tenant {
        return Err(StoreError::OtherTenant { ledger: meta.tenant.clone(), configured: tenant.to_owned() });
    }
    tx.commit().map(|_| ())
}

/// Folds the outcomes in that the ledger does not know.
async fn catch_up(store: &Store, log: &dyn Log, outcomes: &StreamName) -> Result<(), ProvisionerError> {
    let mut reader = log.reader(outcomes, store.meta()?.outcomes_next).await?;
    loop {
        let records = reader.poll(CHUNK).await?;
        if records.is_empty() {
            return Ok(());
        }
        let mut tx = store.tx();
        for record in records {
            let decoded: OutcomeRecord = decode(outcomes, &record)?;
            fold(&mut tx, record.offset, &decoded)?;
        }
        tx.commit()?;
    }
}
