//! The collector as a service: its file, the streams it would own, and a worker for each naming context.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forestsync_domain::Dn;
use forestsync_host::{Board, Loaded, Pass, Post, Service, ServiceForm, StartError, WorkerError, Workers, metering};
use forestsync_log::{Lease, Log, LogConfig, StreamName};
use forestsync_runtime::backoff::Backoff;
use forestsync_runtime::clock;
use forestsync_runtime::config::{Findings, SettingsError, load};
use forestsync_runtime::metrics as names;
use forestsync_schemas::changes::StopCause;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, ForestConfig};
use crate::error::{CollectorError, OnceError};
use crate::forest::Forest;
use crate::settings::{ForestForm, ForestSettings};
use crate::status::{CollectorStatus, Phase};

/// `collector.toml` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    log: LogConfig,
    #[serde(default)]
    service: ServiceForm,
    forest: ForestForm,
}

/// Reads one forest, together with its stand-bys.
#[derive(Debug)]
pub struct CollectorService {
    /// Shared by the workers of all naming contexts, so that a refused account knocks once for all of them.
    forest: Forest,
    log: Option<Arc<dyn Log>>,
    /// The naming contexts that were offered, to know which one a stream is.
    known: watch::Sender<Vec<Dn>>,
}

impl CollectorService {
    /// The service of a forest.
    pub fn new(config: ForestConfig) -> Result<Self, ConfigError> {
        Ok(Self { forest: Forest::new(config)?, log: None, known: watch::Sender::new(Vec::new()) })
    }

    /// What a file says, before its secrets are read.
    pub fn settings(path: &Path) -> Result<Loaded<ForestSettings>, SettingsError> {
        let loaded = load::<File>(path)?;
        let mut found = Findings::default();
        let File { log, service, forest: form } = loaded.value;
        let forest = ForestSettings::check("forest", &form, &loaded.base, &mut found);
        for (key, list) in [("include", &form.include), ("exclude", &form.exclude)] {
            if !list.is_empty() {
                let hint = "take it out: what is synchronized stands in the configuration that is activated";
                found.add(format!("forest.{key}"), "a collector has no scope", hint);
            }
        }
        Loaded::new(path, log, &service, found, Some(forest))
    }

    fn log(&self) -> Result<Arc<dyn Log>, WorkerError> {
        self.log.clone().ok_or_else(|| WorkerError::retryable("the log is not open yet"))
    }

    /// The naming contexts with their streams, which exist from then on.
    async fn wanted(&self, log: &dyn Log) -> Result<(Vec<Dn>, Vec<StreamName>), String> {
        let domains = self.forest.naming_contexts().await.map_err(|error| error.to_string())?;
        let streams = domains.iter().map(|domain| self.forest.stream(domain)).collect::<Result<Vec<_>, _>>();
        self.forest.create_streams(log, &domains).await.map_err(|error| error.to_string())?;
        Ok((domains, streams.map_err(|error| error.to_string())?))
    }
}

#[async_trait]
impl Service for CollectorService {
    const NAME: &'static str = "collector";
    const BINARY: &'static str = "forestsync-collector";
    const ABOUT: &'static str = "Reads the changes of one Active Directory forest into the log.";
    const FILE: &'static str = "collector.toml";
    const ONCE: Option<&'static str> = Some("Read everything there is once, and end");

    fn load(path: &Path) -> Result<Loaded<Self>, StartError> {
        let loaded = Self::settings(path)?;
        let unusable = |message: String, hint: &str| StartError::Unusable { message, hint: hint.to_owned() };
        let password = loaded.own.read_password().map_err(|error| {
            let message = format!("{}: forest.{error}", path.display());
            unusable(message, "put it there, readable for the account that runs the collector")
        })?;
        let own = Self::new(loaded.own.config(password));
        let own = own.map_err(|error| unusable(format!("{}: {error}", path.display()), "correct the file"))?;
        Ok(Loaded { log: loaded.log, base: loaded.base, service: loaded.service, own })
    }

    fn begin(&mut self, log: Arc<dyn Log>) {
        self.log = Some(log);
    }

    fn group(&self) -> String {
        format!("collector.{}", self.forest.config().name)
    }

    async fn offer(self: Arc<Self>, offers: watch::Sender<Vec<StreamName>>, board: Board) {
        let Ok(log) = self.log() else { return };
        let config = self.forest.config();
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            let pause = match self.wanted(log.as_ref()).await {
                Ok((domains, streams)) => {
                    backoff.reset();
                    board.trouble("domains", None);
                    self.known.send_replace(domains);
                    offers.send_if_modified(|old| {
                        let is_news = *old != streams;
                        *old = streams;
                        is_news
                    });
                    if !config.all_domains {
                        // the sender lives as long as this
                        std::future::pending::<()>().await;
                    }
                    config.domains_interval
                }
                Err(error) => {
                    tracing::warn!(forest.id = config.name, error, "the naming contexts are not known");
                    if offers.borrow().is_empty() {
                        board.trouble("domains", Some(error));
                    }
                    backoff.next_delay()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(&self, stop: CancellationToken) -> Result<Pass, StartError> {
        let log = self.log().map_err(|error| StartError::failed("opening the log", error))?;
        match Box::pin(self.forest.collector(Vec::new(), log).run_once(stop)).await {
            Ok(passes) => {
                for pass in passes {
                    tracing::info!(
                        stream = pass.stream,
                        pass.found,
                        pass.appended,
                        pass.snapshot,
                        pass.tail,
                        "read everything there is"
                    );
                }
                Ok(Pass::Done)
            }
            Err(error @ (OnceError::Stopped { .. } | OnceError::Interrupted)) => {
                tracing::error!(error = %error, "the pass was not completed");
                Ok(Pass::Stopped)
            }
            Err(error) => Err(StartError::failed("reading the forest", error)),
        }
    }
}

#[async_trait]
impl Workers for CollectorService {
    async fn work(&self, lease: Lease, stop: CancellationToken, post: Post) -> Result<(), WorkerError> {
        let log = self.log()?;
        let is_it = |nc: &&Dn| self.forest.stream(nc).is_ok_and(|stream| stream == *lease.stream());
        let domain = self.known.borrow().iter().find(is_it).cloned();
        let domain = domain.ok_or_else(|| WorkerError::fatal(format!("{} is no stream of ours", lease.stream())))?;
        let collector = self.forest.collector(vec![domain], log);
        let status = collector.status();
        tokio::select! {
            ended = Box::pin(collector.run(stop)) => ended.map_err(worker_error),
            () = publish(status, post) => Ok(()),
        }
    }
}

fn worker_error(error: CollectorError) -> WorkerError {
    match error {
        CollectorError::Fenced(_) => WorkerError::fenced(error),
        _ if error.is_retryable() => WorkerError::retryable(error),
        _ => WorkerError::fatal(error),
    }
}

/// Says how the collector is, for as long as it is asked.
async fn publish(mut status: watch::Receiver<Vec<CollectorStatus>>, post: Post) {
    let (mut totals, mut passes) = (metering::Totals::default(), 0);
    let mut last_pass = None;
    loop {
        let row = status.borrow_and_update().first().cloned();
        if let Some(row) = row {
            if row.passes > passes {
                passes = row.passes;
                last_pass = Some(clock::now());
            }
            say(&row, &post);
            measure(&row, &mut totals, last_pass.map(|at| at.as_millisecond() as f64 / 1_000.0));
        }
        tokio::time::sleep(metering::PUBLISH).await;
    }
}

fn say(row: &CollectorStatus, post: &Post) {
    match &row.phase {
        Phase::Following => post.ready(),
        Phase::Connecting => post.waits("a controller is being connected to"),
        Phase::Snapshot { seen } => post.waits(format!("a full read is under way, {seen} objects so far")),
        Phase::Stopped { detail, hint, .. } => post.waits(format!("{detail} ({hint})")),
    }
    let report = serde_json::json!({
        "phase": row.phase,
        "passes": row.passes,
        "appended": row.appended,
        "tail": row.tail,
        "deletions_visible": row.deletions_visible,
        "snapshots": row.snapshots,
    });
    post.report(report.to_string());
}

fn measure(row: &CollectorStatus, totals: &mut metering::Totals, last_pass: Option<f64>) {
    let stream = [("stream", row.stream.as_str())];
    totals.count(names::COLLECTOR_EVENTS, &stream, row.appended);
    totals.count(names::COLLECTOR_PASSES, &stream, row.passes);
    totals.count(names::COLLECTOR_SNAPSHOTS, &stream, row.snapshots);
    if let Some(at) = last_pass {
        metering::gauge(names::COLLECTOR_LAST_PASS, &stream, at);
    }
    if let Some(visible) = row.deletions_visible {
        metering::gauge(names::COLLECTOR_DELETIONS_VISIBLE, &stream, f64::from(u8::from(visible)));
    }
    let stopped = match &row.phase {
        Phase::Stopped { cause, .. } => Some(*cause),
        _ => None,
    };
    for cause in CAUSES {
        let labels = [("stream", row.stream.as_str()), ("cause", word(cause))];
        metering::gauge(names::COLLECTOR_STOPPED, &labels, f64::from(u8::from(stopped == Some(cause))));
    }
}

const CAUSES: [StopCause; 6] = [
    StopCause::Unreachable,
    StopCause::Certificate,
    StopCause::Credentials,
    StopCause::Rights,
    StopCause::NamingContext,
    StopCause::Protocol,
];

fn word(cause: StopCause) -> &'static str {
    match cause {
        StopCause::Unreachable => "unreachable",
        StopCause::Certificate => "certificate",
        StopCause::Credentials => "credentials",
        StopCause::Rights => "rights",
        StopCause::NamingContext => "naming_context",
        StopCause::Protocol => "protocol",
    }
}
