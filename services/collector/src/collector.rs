//! The collector of one forest: one reader per naming context.

use std::sync::Arc;
use std::time::Duration;

use forestsync_domain::Dn;
use forestsync_log::{Log, StreamName};
use forestsync_runtime::backoff::Backoff;
use forestsync_schemas::changes::StopCause;
use forestsync_schemas::streams;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::ForestConfig;
use crate::error::{CollectorError, Trouble};
use crate::gate::Gate;
use crate::reader::{Reader, SnapshotRequest};
use crate::session::Session;
use crate::status::{CollectorStatus, Phase, StatusBoard};
use crate::transport;

/// Reads one forest. Make it, take a [`Collector::handle`], then [`Collector::run`] it.
#[derive(Debug)]
pub struct Collector {
    config: Arc<ForestConfig>,
    log: Arc<dyn Log>,
    board: StatusBoard,
    requests: Arc<Vec<Arc<SnapshotRequest>>>,
    gate: Arc<Gate>,
}

/// Watches a collector and asks it for things. Cheap to clone; outlives the collector.
#[derive(Debug, Clone)]
pub struct CollectorHandle {
    board: StatusBoard,
    requests: Arc<Vec<Arc<SnapshotRequest>>>,
}

impl CollectorHandle {
    /// The state of every naming context, in the order of the configuration.
    pub fn status(&self) -> watch::Receiver<Vec<CollectorStatus>> {
        self.board.subscribe()
    }

    /// Asks for a full read of every naming context, as soon as possible.
    pub fn request_snapshot(&self) {
        for request in self.requests.iter() {
            request.ask();
        }
    }
}

impl Collector {
    /// A collector of `config`'s forest that writes to `log`. Touches neither network nor log yet.
    pub fn new(config: ForestConfig, log: Arc<dyn Log>) -> Result<Self, CollectorError> {
        config.validate()?;
        let board = StatusBoard::new(&config.name, &config.naming_contexts);
        let count = config.naming_contexts.len().max(1);
        let requests = Arc::new((0..count).map(|_| Arc::default()).collect());
        let gate = Arc::new(Gate::new(config.credentials_retry));
        Ok(Self { config: Arc::new(config), log, board, requests, gate })
    }

    /// For watching and asking.
    pub fn handle(&self) -> CollectorHandle {
        CollectorHandle { board: self.board.clone(), requests: Arc::clone(&self.requests) }
    }

    /// The state of every naming context; the same as that of the handle.
    pub fn status(&self) -> watch::Receiver<Vec<CollectorStatus>> {
        self.board.subscribe()
    }

    /// Reads until `shutdown`; then everything sent to the log is durable. Ends with an error only when it must not go on:
    /// see [`CollectorError`]. One naming context that must not go on ends all of them.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), CollectorError> {
        let naming_contexts = if self.config.naming_contexts.is_empty() {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                found = self.discover() => vec![found],
            }
        } else {
            self.config.naming_contexts.clone()
        };
        let stop = shutdown.child_token();
        let mut tasks = JoinSet::new();
        for (index, nc) in naming_contexts.into_iter().enumerate() {
            let stream: StreamName = streams::changes(&self.config.name, &nc)
                .parse()
                .map_err(|source| CollectorError::StreamName { naming_context: nc.clone(), source })?;
            let request = self.requests.get(index).cloned().unwrap_or_default();
            let (config, log) = (Arc::clone(&self.config), Arc::clone(&self.log));
            let reader = Reader::new(config, log, nc, stream, self.board.line(index), request, Arc::clone(&self.gate));
            tasks.spawn(reader.run(stop.clone()));
        }
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    stop.cancel();
                    result = result.and(Err(error));
                }
                Err(panic) => {
                    stop.cancel();
                    if panic.is_panic() {
                        std::panic::resume_unwind(panic.into_panic());
                    }
                }
            }
        }
        result
    }

    /// Asks the controllers for their default naming context, for as long as it takes.
    async fn discover(&self) -> Dn {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            for to in &self.config.controllers {
                match self.ask(to).await {
                    Ok(found) => return found,
                    Err(trouble) => {
                        let (detail, hint) = (trouble.to_string(), trouble.hint().to_owned());
                        let cause = trouble.cause().unwrap_or(StopCause::Unreachable);
                        tracing::warn!(forest.id = self.config.name, error = %detail, hint, "the naming context is not known yet");
                        self.board.line(0).update(|row| row.phase = Phase::Stopped { cause, detail, hint });
                    }
                }
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// The rootDSE needs no bind, so a wrong password does not count against the account here.
    async fn ask(&self, to: &crate::ControllerAddress) -> Result<Dn, Trouble> {
        let tls = transport::tls_config(self.config.ca_file.as_deref())?;
        let mut session = Session::connect(&self.config, to, &tls).await?;
        Ok(session.root_dse().await?.default_naming_context)
    }
}
