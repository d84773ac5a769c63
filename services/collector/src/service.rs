//! The collector as a service: its file, the streams it would own, and a worker for each naming context.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forestsync_domain::Dn;
use forestsync_host::{Board, Loaded, Pass, Post, Service, ServiceForm, StartError, WorkerError, Workers, metering};
use forestsync_log::{Lease, Log, LogConfig, StreamName};
use forestsync_runtime::backoff::Backoff;
use forestsync_runtime::config::{Findings, load};
use forestsync_runtime::metrics as names;
use forestsync_runtime::{clock, secret};
use forestsync_schemas::attributes::REQUESTED;
use forestsync_schemas::changes::StopCause;
use forestsync_schemas::streams;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::ForestConfig;
use crate::domains::default_domain;
use crate::error::CollectorError;
use crate::settings::{ForestForm, ForestSettings};
use crate::status::{CollectorStatus, Phase};
use crate::{Collector, ConfigError};

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
    forest: ForestSettings,
    log: Option<Arc<dyn Log>>,
    /// The naming contexts that were offered, to know which one a stream is.
    known: watch::Sender<Vec<Dn>>,
}

impl CollectorService {
    /// The service of a forest.
    pub fn new(forest: ForestSettings) -> Self {
        Self { forest, log: None, known: watch::Sender::new(Vec::new()) }
    }

    /// What a collector is told. The password is read anew each time, so that a new one needs no restart.
    fn config(&self) -> Result<ForestConfig, secret::SecretError> {
        let attributes = REQUESTED.iter().map(|&name| name.to_owned()).collect();
        Ok(self.forest.config(self.forest.read_password()?, attributes))
    }

    fn log(&self) -> Result<Arc<dyn Log>, WorkerError> {
        self.log.clone().ok_or_else(|| WorkerError::retryable("the log is not open yet"))
    }

    fn stream(&self, naming_context: &Dn) -> Result<StreamName, CollectorError> {
        let stream = streams::changes(&self.forest.name, naming_context).parse();
        stream.map_err(|source| CollectorError::StreamName { naming_context: naming_context.clone(), source })
    }

    /// The naming contexts: those of the file, or what the directory says, asked for as long as it takes.
    async fn domains(&self, board: &Board) -> Vec<Dn> {
        if !self.forest.domains.is_empty() {
            return self.forest.domains.clone();
        }
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            let found = match self.config() {
                Ok(config) => self.ask(&config).await,
                Err(error) => Err(error.to_string()),
            };
            match found {
                Ok(found) => {
                    board.trouble("domains", None);
                    return found;
                }
                Err(error) => {
                    tracing::warn!(forest.id = self.forest.name, error, "the naming contexts are not known yet");
                    board.trouble("domains", Some(error));
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn ask(&self, config: &ForestConfig) -> Result<Vec<Dn>, String> {
        default_domain(config).await.map(|domain| vec![domain])
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
        let loaded = load::<File>(path).map_err(forestsync_runtime::config::SettingsError::from)?;
        let mut found = Findings::default();
        let File { log, service, forest: form } = loaded.value;
        let forest = ForestSettings::check("forest", &form, &loaded.base, &mut found);
        for (key, list) in [("include", &form.include), ("exclude", &form.exclude)] {
            if !list.is_empty() {
                let hint = "take it out: what is synchronized stands in the configuration that is activated";
                found.add(format!("forest.{key}"), "a collector has no scope", hint);
            }
        }
        let loaded = Loaded::new(path, log, &service, found, Some(Self::new(forest)))?;
        loaded.own.forest.read_password().map_err(|error| StartError::Unusable {
            message: format!("{}: forest.{error}", path.display()),
            hint: "put it there, readable for the account that runs the collector".to_owned(),
        })?;
        Ok(loaded)
    }

    fn begin(&mut self, log: Arc<dyn Log>) {
        self.log = Some(log);
    }

    fn group(&self) -> String {
        format!("collector.{}", self.forest.name)
    }

    async fn offer(self: Arc<Self>, offers: watch::Sender<Vec<StreamName>>, board: Board) {
        let domains = self.domains(&board).await;
        match domains.iter().map(|domain| self.stream(domain)).collect::<Result<Vec<_>, _>>() {
            Ok(streams) => {
                self.known.send_replace(domains);
                offers.send_replace(streams);
            }
            Err(error) => board.trouble("domains", Some(error.to_string())),
        }
        // the sender lives as long as this
        std::future::pending().await
    }

    async fn once(&self, stop: CancellationToken) -> Result<Pass, StartError> {
        let failed = |source: CollectorError| StartError::failed("reading the forest", source);
        let log = self.log().map_err(|error| StartError::failed("opening the log", error))?;
        let board = Board::default();
        let domains = tokio::select! {
            domains = self.domains(&board) => domains,
            () = stop.cancelled() => return Ok(Pass::Stopped),
        };
        let mut config = self.config().map_err(|error| StartError::failed("reading the password", error))?;
        config.naming_contexts = domains;
        let collector = Collector::new(config, log).map_err(failed)?;
        let (mut status, end) = (collector.status(), stop.child_token());
        let running = collector.run(end.clone());
        tokio::pin!(running);
        let verdict = async {
            loop {
                let verdict = pass_of(&status.borrow_and_update());
                if let Some(verdict) = verdict {
                    return verdict;
                }
                if status.changed().await.is_err() {
                    return Pass::Stopped;
                }
            }
        };
        let verdict = tokio::select! {
            ended = &mut running => return ended.map(|()| Pass::Stopped).map_err(failed),
            verdict = verdict => verdict,
        };
        end.cancel();
        running.await.map_err(failed)?;
        Ok(verdict)
    }
}

/// How a single pass came out, once every naming context was read or cannot be.
fn pass_of(rows: &[CollectorStatus]) -> Option<Pass> {
    let stopped = |row: &CollectorStatus| matches!(row.phase, Phase::Stopped { .. });
    if rows.iter().all(|row| row.passes > 0 && row.phase == Phase::Following) {
        Some(Pass::Done)
    } else if rows.iter().all(|row| row.passes > 0 || stopped(row)) && rows.iter().any(stopped) {
        Some(Pass::Stopped)
    } else {
        None
    }
}

#[async_trait]
impl Workers for CollectorService {
    async fn work(&self, lease: Lease, stop: CancellationToken, post: Post) -> Result<(), WorkerError> {
        let log = self.log()?;
        let domain = self.known.borrow().iter().find(|nc| self.stream(nc).is_ok_and(|s| s == *lease.stream())).cloned();
        let domain = domain.ok_or_else(|| WorkerError::fatal(format!("{} is no stream of ours", lease.stream())))?;
        let mut config = self.config().map_err(WorkerError::fatal)?;
        config.naming_contexts = vec![domain];
        let collector = Collector::new(config, log).map_err(worker_error)?;
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
        CollectorError::Writer(ref inner) if inner.is_retryable() => WorkerError::retryable(error),
        CollectorError::Read(forestsync_log::ReadError::Io { .. }) => WorkerError::retryable(error),
        CollectorError::Config(ConfigError::EmptyPassword(_)) => WorkerError::fatal(error),
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
