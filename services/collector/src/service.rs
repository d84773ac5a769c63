//! The collector as a service: its file, the streams it would own, and a worker for each naming context.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use forestsync_domain::Dn;
use forestsync_host::{Board, Loaded, Pass, Post, Service, ServiceForm, StartError, WorkerError, Workers, metering};
use forestsync_log::{Lease, Log, LogConfig, StreamName};
use forestsync_runtime::backoff::Backoff;
use forestsync_runtime::clock;
use forestsync_runtime::config::{Findings, load};
use forestsync_runtime::metrics as names;
use forestsync_schemas::changes::StopCause;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{CollectorError, OnceError};
use crate::forest::Forest;
use crate::settings::{ForestForm, ForestSettings};
use crate::status::{CollectorStatus, Phase};

/// How often a forest of which all domains are read is asked whether there are others now.
const LOOK_FOR_DOMAINS: Duration = Duration::from_mins(10);

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
    settings: ForestSettings,
    log: Option<Arc<dyn Log>>,
    /// What all collectors of this process share, for as long as the password is the same.
    forest: Mutex<Option<Forest>>,
    /// The naming contexts that were offered, to know which one a stream is.
    known: watch::Sender<Vec<Dn>>,
}

impl CollectorService {
    /// The service of a forest.
    pub fn new(settings: ForestSettings) -> Self {
        Self { settings, log: None, forest: Mutex::default(), known: watch::Sender::new(Vec::new()) }
    }

    /// The forest with the password as it is now, so that a new one needs no restart. While it is the same all share one
    /// door: a refused password is sent once for all naming contexts.
    fn forest(&self) -> Result<Forest, String> {
        let password = self.settings.read_password().map_err(|error| error.to_string())?;
        let mut shared = self.forest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |forest: &&Forest| forest.config().password.expose_secret() == password.expose_secret();
        if let Some(forest) = shared.as_ref().filter(is_same) {
            return Ok(forest.clone());
        }
        let forest = Forest::new(self.settings.config(password)).map_err(|error| error.to_string())?;
        *shared = Some(forest.clone());
        Ok(forest)
    }

    fn log(&self) -> Result<Arc<dyn Log>, WorkerError> {
        self.log.clone().ok_or_else(|| WorkerError::retryable("the log is not open yet"))
    }

    /// The naming contexts and their streams, all of which exist then; asked for as long as it takes.
    async fn domains(&self, board: &Board) -> (Vec<Dn>, Vec<StreamName>) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        loop {
            match self.ask().await {
                Ok(found) => {
                    board.trouble("domains", None);
                    return found;
                }
                Err(error) => {
                    tracing::warn!(forest.id = self.settings.name, error, "the naming contexts are not known yet");
                    board.trouble("domains", Some(error));
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn ask(&self) -> Result<(Vec<Dn>, Vec<StreamName>), String> {
        let (forest, log) = (self.forest()?, self.log().map_err(|error| error.to_string())?);
        let domains = forest.naming_contexts().await.map_err(|error| error.to_string())?;
        let text = |error: CollectorError| error.to_string();
        let streams = domains.iter().map(|nc| forest.stream(nc)).collect::<Result<Vec<_>, _>>().map_err(text)?;
        forest.create_streams(log.as_ref(), &domains).await.map_err(text)?;
        Ok((domains, streams))
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
        let settings = ForestSettings::check("forest", &form, &loaded.base, &mut found);
        for (key, list) in [("include", &form.include), ("exclude", &form.exclude)] {
            if !list.is_empty() {
                let hint = "take it out: what is synchronized stands in the configuration that is activated";
                found.add(format!("forest.{key}"), "a collector has no scope", hint);
            }
        }
        let loaded = Loaded::new(path, log, &service, found, Some(Self::new(settings)))?;
        loaded.own.settings.read_password().map_err(|error| StartError::Unusable {
            message: format!("{}: forest.{error}", path.display()),
            hint: "put it there, readable for the account that runs the collector".to_owned(),
        })?;
        Ok(loaded)
    }

    fn begin(&mut self, log: Arc<dyn Log>) {
        self.log = Some(log);
    }

    fn group(&self) -> String {
        format!("collector.{}", self.settings.name)
    }

    async fn offer(self: Arc<Self>, offers: watch::Sender<Vec<StreamName>>, board: Board) {
        loop {
            let (domains, streams) = self.domains(&board).await;
            self.known.send_replace(domains);
            offers.send_if_modified(|old| {
                let is_news = *old != streams;
                *old = streams;
                is_news
            });
            if !self.settings.all_domains {
                // the sender lives as long as this
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(LOOK_FOR_DOMAINS).await;
        }
    }

    async fn once(&self, stop: CancellationToken) -> Result<Pass, StartError> {
        let log = self.log().map_err(|error| StartError::failed("opening the log", error))?;
        let forest = self.forest().map_err(|error| StartError::failed("reading the password", error))?;
        match forest.collector(Vec::new(), log).run_once(stop).await {
            Ok(passes) => {
                for pass in passes {
                    tracing::info!(
                        stream = pass.stream,
                        entries = pass.found,
                        events = pass.appended,
                        snapshot = pass.snapshot,
                        stream.tail = pass.tail,
                        "read once"
                    );
                }
                Ok(Pass::Done)
            }
            Err(OnceError::Interrupted) => Ok(Pass::Stopped),
            Err(error @ OnceError::Stopped { .. }) => {
                tracing::error!(forest.id = self.settings.name, error = %error, "the forest cannot be read");
                Ok(Pass::Stopped)
            }
            Err(error) => Err(StartError::failed("reading the forest", error)),
        }
    }
}

#[async_trait]
impl Workers for CollectorService {
    async fn work(&self, lease: Lease, stop: CancellationToken, post: Post) -> Result<(), WorkerError> {
        let (log, forest) = (self.log()?, self.forest().map_err(WorkerError::fatal)?);
        let ours = |nc: &&Dn| forest.stream(nc).is_ok_and(|stream| stream == *lease.stream());
        let domain = self.known.borrow().iter().find(ours).cloned();
        let domain = domain.ok_or_else(|| WorkerError::fatal(format!("{} is no stream of ours", lease.stream())))?;
        let collector = forest.collector(vec![domain], log);
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
