//! A service's process: crypto provider, command line, configuration, logs, endpoint, log, group, in this order.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::{Arg, ArgAction, Command, value_parser};
use forestsync_log::{Log, LogConfig, Member, OpenError, StreamName};
use forestsync_runtime::backoff::Backoff;
use forestsync_runtime::config::{Findings, SettingsError};
use forestsync_runtime::metrics as names;
use forestsync_runtime::shutdown::{self, Shutdown};
use forestsync_runtime::telemetry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::{self, Admin};
use crate::board::Board;
use crate::crew::{Crew, Timing};
use crate::metering;
use crate::settings::{ServiceForm, ServiceSettings};
use crate::worker::Workers;

const EXIT_CODES: &str = "\
Exit codes:
  0  stopped by SIGTERM or SIGINT, or the single pass is done
  1  something failed
  2  the command line or the configuration is not accepted; nothing was done
  3  the single pass was not completed, because reading has stopped

Logs go to stderr. The environment variable FORESTSYNC_LOG says what is logged, such as \"debug\".";

/// What is done with one pass of a service that can do one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Everything was read and is in the log.
    Done,
    /// Something keeps it from being read, which was said in the log.
    Stopped,
}

/// Why a process cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is not accepted.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A secret cannot be had, or a part of the configuration cannot be used; with what to do.
    #[error("{message}\n\nhint: {hint}")]
    Unusable {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Something failed.
    #[error("{what}: {source}")]
    Failed {
        /// What was done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StartError {
    /// Something failed while doing `what`.
    pub fn failed(what: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed { what, source: source.into() }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::Unusable { .. } => 2,
            Self::Failed { .. } => 1,
        }
    }
}

/// A configuration that makes sense.
#[derive(Debug)]
pub struct Loaded<S> {
    /// How the log is reached.
    pub log: LogConfig,
    /// The folder that paths of the file are relative to.
    pub base: PathBuf,
    /// `[service]`.
    pub service: ServiceSettings,
    /// What the service itself is told.
    pub own: S,
}

impl<S> Loaded<S> {
    /// Puts a checked file together; everything that is wrong with it is told at once.
    pub fn new(
        path: &Path,
        log: LogConfig,
        service: &ServiceForm,
        mut found: Findings,
        own: Option<S>,
    ) -> Result<Self, SettingsError> {
        let service = ServiceSettings::check(service, &mut found);
        let own = found.into_result(path, own)?;
        Ok(Self { log, base: path.parent().map(Path::to_owned).unwrap_or_default(), service, own })
    }
}

/// A service, as far as its host knows it.
#[async_trait]
pub trait Service: Workers + fmt::Debug + Sized {
    /// What it is called: `collector`.
    const NAME: &'static str;
    /// What its binary is called.
    const BINARY: &'static str;
    /// What it does, in a sentence.
    const ABOUT: &'static str;
    /// What the configuration file is called unless the command line says otherwise.
    const FILE: &'static str;
    /// What `--once` does, where there is one.
    const ONCE: Option<&'static str> = None;

    /// Reads a configuration file, and whatever must be there before anything is begun.
    fn load(path: &Path) -> Result<Loaded<Self>, StartError>;

    /// Gets the log, before anything else is asked for.
    fn begin(&mut self, log: Arc<dyn Log>);

    /// The group whose members share the work.
    fn group(&self) -> String;

    /// Keeps the streams that this process would own up to date, for as long as it is asked. It says on the board what
    /// keeps it from knowing them.
    async fn offer(self: Arc<Self>, offers: watch::Sender<Vec<StreamName>>, board: Board);

    /// A single pass over everything, without a group.
    async fn once(&self, _stop: CancellationToken) -> Result<Pass, StartError> {
        Ok(Pass::Done)
    }
}

/// The whole of a binary's `main`.
pub fn run<S: Service>() -> ExitCode {
    // one provider for the whole process, chosen before anything can ask for the default one
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        note("error: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let matches = command::<S>().get_matches();
    let path = matches.get_one::<PathBuf>("config").cloned().unwrap_or_else(|| PathBuf::from(S::FILE));
    let once = S::ONCE.is_some() && matches.get_flag("once");
    let result = S::load(&path).and_then(|loaded| {
        telemetry::init(loaded.service.log_format, "info");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| StartError::failed("starting the runtime", error))?;
        let result = runtime.block_on(Box::pin(host(loaded, once)));
        // blocking readers of a severed log must not keep a finished process alive
        runtime.shutdown_timeout(Duration::from_secs(2));
        result
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            note(&format!("error: {error}"));
            ExitCode::from(error.code())
        }
    }
}

/// The command line of a service's binary.
pub fn command<S: Service>() -> Command {
    let config = Arg::new("config")
        .short('c')
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .env("FORESTSYNC_CONFIG")
        .default_value(S::FILE)
        .help("The configuration file");
    let command =
        Command::new(S::BINARY).version(env!("CARGO_PKG_VERSION")).about(S::ABOUT).after_help(EXIT_CODES).arg(config);
    match S::ONCE {
        Some(help) => command.arg(Arg::new("once").long("once").action(ArgAction::SetTrue).help(help)),
        None => command,
    }
}

/// Says something before there are logs, and after. A closed stderr is no error.
fn note(text: &str) {
    use std::io::Write as _;
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}

async fn host<S: Service>(loaded: Loaded<S>, once: bool) -> Result<u8, StartError> {
    let shutdown = shutdown::on_signals().map_err(|error| StartError::failed("listening to signals", error))?;
    let metrics = metering::install().map_err(|error| StartError::failed("setting up the metrics", error))?;
    let Loaded { log, base, service, own } = loaded;
    let board = Board::default();
    let admin = match service.listen.filter(|_| !once) {
        Some(listen) => {
            let admin = Admin::listen(listen, board.clone(), metrics.clone()).await;
            Some(admin.map_err(|error| StartError::failed("listening on the address of [service]", error))?)
        }
        None => None,
    };
    let _upkeep = AbortOnDropHandle::new(tokio::spawn(admin::upkeep(metrics, shutdown.stop.clone())));
    let _build = AbortOnDropHandle::new(tokio::spawn(say_build(S::NAME, shutdown.stop.clone())));
    tracing::info!(
        service.name = S::NAME, service.version = env!("CARGO_PKG_VERSION"), service.instance = %service.instance,
        service.listen = admin.as_ref().map(|admin| admin.address().to_string()), "started"
    );
    let Some(log) = open(&log, &base, &board, &shutdown).await? else { return Ok(0) };
    let mut own = own;
    own.begin(Arc::clone(&log));
    let code = if once {
        match own.once(shutdown.stop.clone()).await? {
            Pass::Done if shutdown.stop.is_cancelled() => 1,
            Pass::Done => 0,
            Pass::Stopped => 3,
        }
    } else {
        take_part(own, log, &service, board, &shutdown, Timing::default()).await;
        0
    };
    tracing::info!(service.name = S::NAME, "stopped");
    Ok(code)
}

/// Takes part in the service's group until the first signal. Returns when every worker has ended.
pub async fn take_part<S: Service>(
    own: S,
    log: Arc<dyn Log>,
    service: &ServiceSettings,
    board: Board,
    shutdown: &Shutdown,
    timing: Timing,
) {
    let own = Arc::new(own);
    let (sender, offers) = watch::channel(Vec::new());
    let _offering = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&own).offer(sender, board.clone())));
    let member =
        Member { group: own.group(), instance: service.instance.clone(), session_timeout: service.session_timeout };
    let crew = Crew { service: S::NAME, log, member, offers, workers: own, board, timing };
    Box::pin(crew.run(shutdown)).await;
}

/// Opens the log, for as long as that takes; `None` if a signal came first.
async fn open(
    config: &LogConfig,
    base: &Path,
    board: &Board,
    shutdown: &Shutdown,
) -> Result<Option<Arc<dyn Log>>, StartError> {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(15));
    loop {
        board.turn();
        let error = match config.open(base) {
            Ok(log) => {
                board.trouble("log", None);
                return Ok(Some(log));
            }
            Err(error) if !matches!(error, OpenError::Directory(_)) => {
                return Err(StartError::failed("opening the log", error));
            }
            Err(error) => error,
        };
        board.trouble("log", Some(error.to_string()));
        tracing::warn!(error = %error, "the log cannot be opened; trying again");
        tokio::select! {
            () = tokio::time::sleep(backoff.next_delay()) => {}
            () = shutdown.stop.cancelled() => return Ok(None),
        }
    }
}

/// Says which service of which version this is, again and again: what is not said is not shown.
async fn say_build(service: &'static str, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let labels = [("service", service), ("version", env!("CARGO_PKG_VERSION"))];
        metering::gauge(names::BUILD_INFO, &labels, 1.0);
        tokio::select! {
            () = tokio::time::sleep(metering::PUBLISH) => {}
            () = stop.cancelled() => {}
        }
    }
}
