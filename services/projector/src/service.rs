//! The projector as a service: its file, the configurations it would project, and a worker for each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forestsync_host::{Board, Loaded, Post, Service, ServiceForm, StartError, WorkerError, Workers, metering};
use forestsync_log::{AppendError, Lease, Log, LogConfig, ReadError, StreamName};
use forestsync_runtime::config::{Findings, SettingsError, load};
use forestsync_runtime::metrics as names;
use forestsync_schemas::streams;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::activation::{ActivationError, Activations, InForce, Projection};
use crate::config::SourceConfig;
use crate::status::ProjectorStatus;
use crate::{Projector, ProjectorConfig, ProjectorError};

/// Between two looks at which streams there are.
const LOOK: Duration = Duration::from_secs(1);

/// What the names of the streams begin with that this service offers.
const PREFIX: &str = "decisions.";

/// `projector.toml` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    log: LogConfig,
    #[serde(default)]
    service: ServiceForm,
    data: PathBuf,
    #[serde(default)]
    configurations: Vec<String>,
}

/// Projects configurations, together with its stand-bys.
#[derive(Debug)]
pub struct ProjectorService {
    /// Where the databases are: `<data>/<configuration>/projector`.
    data: PathBuf,
    /// Those that are projected; empty for all that were activated.
    configurations: Vec<String>,
    log: Option<Arc<dyn Log>>,
}

impl ProjectorService {
    /// The service with its databases below `data`, for some configurations or for all.
    pub fn new(data: PathBuf, configurations: Vec<String>) -> Self {
        Self { data, configurations, log: None }
    }

    fn log(&self) -> Result<Arc<dyn Log>, WorkerError> {
        self.log.clone().ok_or_else(|| WorkerError::retryable("the log is not open yet"))
    }

    /// The streams this process would own now.
    async fn offered(&self, log: &dyn Log) -> Result<Vec<StreamName>, ReadError> {
        let names = if self.configurations.is_empty() {
            let all = log.streams().await?;
            all.iter().filter_map(|s| s.as_str().strip_prefix("control.").map(str::to_owned)).collect()
        } else {
            self.configurations.clone()
        };
        Ok(names.iter().filter_map(|name| streams::decisions(name).parse().ok()).collect())
    }
}

#[async_trait]
impl Service for ProjectorService {
    const NAME: &'static str = "projector";
    const BINARY: &'static str = "forestsync-projector";
    const ABOUT: &'static str = "Works out what the tenant should hold, from the changes of all forests.";
    const FILE: &'static str = "projector.toml";

    fn load(path: &Path) -> Result<Loaded<Self>, StartError> {
        let loaded = load::<File>(path).map_err(SettingsError::from)?;
        let File { log, service, data, configurations } = loaded.value;
        let mut found = Findings::default();
        for name in configurations.iter().filter(|name| !streams::is_plain(name)) {
            let hint = "write the names of configurations as they were activated";
            found.add("configurations", format!("{name:?} is no name of a configuration"), hint);
        }
        let own = Self::new(loaded.base.join(data), configurations);
        Ok(Loaded::new(path, log, &service, found, Some(own))?)
    }

    fn begin(&mut self, log: Arc<dyn Log>) {
        self.log = Some(log);
    }

    fn group(&self) -> String {
        "projector".to_owned()
    }

    async fn offer(self: Arc<Self>, offers: watch::Sender<Vec<StreamName>>, board: Board) {
        let Ok(log) = self.log() else { return };
        loop {
            match self.offered(log.as_ref()).await {
                Ok(streams) => {
                    board.trouble("configurations", None);
                    offers.send_if_modified(|old| {
                        let is_news = *old != streams;
                        *old = streams;
                        is_news
                    });
                }
                Err(error) => board.trouble("configurations", Some(error.to_string())),
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[async_trait]
impl Workers for ProjectorService {
    async fn work(&self, lease: Lease, stop: CancellationToken, post: Post) -> Result<(), WorkerError> {
        let configuration = lease.stream().as_str().strip_prefix(PREFIX).unwrap_or_default().to_owned();
        let directory = self.data.join(&configuration).join("projector");
        let work = Work { log: self.log()?, lease, configuration, directory, post };
        Box::pin(work.run(stop)).await
    }
}

/// The work on one configuration.
struct Work {
    log: Arc<dyn Log>,
    lease: Lease,
    configuration: String,
    directory: PathBuf,
    post: Post,
}

impl Work {
    /// Projects what is in force, and starts anew when something else is.
    async fn run(&self, stop: CancellationToken) -> Result<(), WorkerError> {
        let control: StreamName = streams::control(&self.configuration).parse().map_err(WorkerError::fatal)?;
        let mut activations = Activations::open(self.log.as_ref(), &control).await.map_err(activation_error)?;
        let mut active = activations.latest().await.map_err(activation_error)?;
        loop {
            let Some(in_force) = active.take() else {
                self.post.waits("no configuration was activated; use forestsync activate");
                active = tokio::select! {
                    next = activations.next() => Some(next.map_err(activation_error)?),
                    () = stop.cancelled() => return Ok(()),
                };
                continue;
            };
            let end = stop.child_token();
            let mut project = Box::pin(self.project(&in_force, end.clone()));
            let newer = tokio::select! {
                newer = newer(&mut activations) => {
                    end.cancel();
                    (&mut project).await?;
                    Some(newer.map_err(activation_error)?)
                }
                ended = &mut project => { ended?; None }
            };
            drop(project);
            match newer {
                Some(newer) => {
                    tracing::info!(
                        configuration = self.configuration,
                        revision = newer.activated.revision,
                        removed = newer.removed.is_some(),
                        "another configuration is in force"
                    );
                    active = Some(newer);
                }
                None if stop.is_cancelled() => return Ok(()),
                // it has grown, and is the same otherwise
                None => active = Some(in_force),
            }
        }
    }

    /// Projects one document until `stop`, or until it has other sources.
    async fn project(&self, in_force: &InForce, stop: CancellationToken) -> Result<(), WorkerError> {
        let InForce { activated, removed } = in_force;
        let projection = match Projection::of(&self.configuration, activated) {
            Ok(projection) => projection,
            Err(error) => {
                tracing::error!(configuration = self.configuration, error = %error, "the configuration in force cannot be projected");
                self.post.waits(error.to_string());
                // only another document helps
                stop.cancelled().await;
                return Ok(());
            }
        };
        let Some(sources) = self.sources(&projection, &stop).await? else { return Ok(()) };
        if !self.lease.is_valid() {
            return Err(WorkerError::fenced("the lease ended before the projection was begun"));
        }
        self.post.waits("the database is being opened");
        let config = ProjectorConfig {
            configuration: self.configuration.clone(),
            directory: self.directory.clone(),
            sources: sources.clone(),
            rules: Arc::clone(projection.rules()),
            tenant: projection.tenant().map(str::to_owned),
            removed: removed.as_ref().map(|removal| removal.objects),
        };
        let projector = Box::pin(Projector::open(config, Arc::clone(&self.log))).await.map_err(worker_error)?;
        tracing::info!(
            configuration = self.configuration,
            revision = activated.revision,
            sources = sources.len(),
            "projecting"
        );
        let end = stop.child_token();
        let status = projector.status();
        let running = projector.run(end.clone());
        tokio::pin!(running);
        let grown = async {
            if !projection.may_grow() {
                std::future::pending::<()>().await;
            }
            loop {
                tokio::time::sleep(LOOK).await;
                let now = self.log.streams().await.ok().and_then(|all| projection.sources(&all).ok()?.ok());
                if now.is_some_and(|now| now.len() > sources.len()) {
                    return;
                }
            }
        };
        tokio::select! {
            ended = &mut running => return ended.map_err(worker_error),
            () = publish(&self.configuration, status, &self.post) => {}
            () = grown => {}
        }
        end.cancel();
        running.await.map_err(worker_error)
    }

    /// The sources, once there is one of every forest; `None` when it is to stop.
    async fn sources(
        &self,
        projection: &Projection,
        stop: &CancellationToken,
    ) -> Result<Option<Vec<SourceConfig>>, WorkerError> {
        loop {
            let existing = self.log.streams().await.map_err(WorkerError::retryable)?;
            match projection.sources(&existing) {
                Ok(Ok(sources)) => return Ok(Some(sources)),
                Ok(Err(forest)) => self.post.waits(format!("forest {forest} was never read; its collector must begin")),
                Err(error) => self.post.waits(error.to_string()),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return Ok(None),
            }
        }
    }
}

/// The newest of what comes.
async fn newer(activations: &mut Activations) -> Result<InForce, ActivationError> {
    let next = activations.next().await?;
    Ok(activations.latest().await?.unwrap_or(next))
}

fn activation_error(error: ActivationError) -> WorkerError {
    match error {
        ActivationError::Read(ReadError::Io { .. } | ReadError::List { .. }) => WorkerError::retryable(error),
        _ => WorkerError::fatal(error),
    }
}

fn worker_error(error: ProjectorError) -> WorkerError {
    match error {
        ProjectorError::Append(AppendError::Fenced(_)) => WorkerError::fenced(error),
        _ if error.is_retryable() => WorkerError::retryable(error),
        _ => WorkerError::fatal(error),
    }
}

/// Says how the projector is, for as long as it is asked.
async fn publish(configuration: &str, status: watch::Receiver<ProjectorStatus>, post: &Post) {
    let mut has_caught_up = false;
    loop {
        let now = status.borrow().clone();
        let behind =
            now.streams.iter().find(|(_, s)| s.stopped.is_none() && s.tail.is_none_or(|tail| s.applied < tail));
        let stopped =
            now.streams.iter().find_map(|(name, s)| s.stopped.as_ref().map(|why| format!("{name} stopped: {why}")));
        has_caught_up |= behind.is_none() && !now.rebuilding && !now.streams.is_empty();
        match (stopped, behind) {
            (Some(stopped), _) => post.waits(stopped),
            (None, Some((name, s))) if !has_caught_up => {
                let tail = s.tail.map_or_else(|| "?".to_owned(), |tail| tail.to_string());
                post.waits(format!("it is catching up with {name}, at {} of {tail}", s.applied));
            }
            (None, None) if !has_caught_up => post.waits("it is catching up with what was written before"),
            _ => post.ready(),
        }
        post.report(report(&now));
        measure(configuration, &now);
        tokio::time::sleep(metering::PUBLISH).await;
    }
}

fn report(status: &ProjectorStatus) -> String {
    let applied: std::collections::BTreeMap<&str, u64> =
        status.streams.iter().take(16).map(|(name, s)| (name.as_str(), s.applied)).collect();
    let phase = match status {
        s if s.rebuilding => "rebuilding",
        s if !s.held.is_empty() => "held",
        s if !s.gate_open => "waiting for all forests to be read once",
        _ => "following",
    };
    serde_json::json!({
        "phase": phase,
        "applied": applied,
        "objects": status.objects,
        "wished": status.projected.values().sum::<u64>(),
        "blocked": status.blocked,
        "outbox": status.outbox,
        "digest": status.digest.map(|digest| digest.to_string()),
    })
    .to_string()
}

fn measure(configuration: &str, status: &ProjectorStatus) {
    let own = [("configuration", configuration)];
    let flag = |value: bool| f64::from(u8::from(value));
    for (name, stream) in &status.streams {
        let labels = [("configuration", configuration), ("stream", name.as_str())];
        metering::gauge(names::PROJECTOR_STREAM_APPLIED, &labels, stream.applied as f64);
        if let Some(tail) = stream.tail {
            metering::gauge(names::PROJECTOR_STREAM_TAIL, &labels, tail as f64);
        }
    }
    for (class, wished) in &status.projected {
        let labels = [("configuration", configuration), ("class", class.as_str())];
        metering::gauge(names::PROJECTOR_WISHED, &labels, *wished as f64);
    }
    let stopped = status.streams.values().filter(|s| s.stopped.is_some()).count();
    for (name, value) in [
        (names::PROJECTOR_OBJECTS, status.objects as f64),
        (names::PROJECTOR_BLOCKED, status.blocked as f64),
        (names::PROJECTOR_FINDINGS, status.findings as f64),
        (names::PROJECTOR_OUTBOX, status.outbox as f64),
        (names::PROJECTOR_HELD, flag(!status.held.is_empty())),
        (names::PROJECTOR_REBUILDING, flag(status.rebuilding)),
        (names::PROJECTOR_STOPPED_STREAMS, stopped as f64),
    ] {
        metering::gauge(name, &own, value);
    }
}
