//! All services in one process on the embedded log: what `run` and `demo` start.
//!
//! - The parts know nothing of each other: each is a task that reads and writes the log. This module starts them, watches
//!   that none ends by itself, stops them, and tells when nothing is left to do.
//! - A part that fails ends the pipeline: the others are stopped in good order, then its error is returned.
//! - Stopping loses nothing, however it happens: whatever was begun is in the log or was never begun.
//! - The projector starts when all naming contexts are known. Those that the configuration does not name are known from
//!   the log, or else from the controller, so that a forest that was read once need not answer for the others to go on.
//! - Collectors and projector are given the same naming contexts, and a data folder serves one configuration only.

pub mod desk;
mod parts;
mod view;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use forestsync_log::{Log, StreamName};
use forestsync_runtime::shutdown::Shutdown;
use forestsync_schemas::streams;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use parts::{forest_config, projector_config_from_log, projector_config_without, tenant_config};
pub use view::View;

use self::desk::Desk;
use crate::config::Settings;
use crate::control;
use crate::exit::UsageError;
use crate::instance::Instance;

/// Pause between two looks at whether anything is left to do.
const LOOK: Duration = Duration::from_millis(50);

/// The longest patience with what only a person can heal, such as a refused password.
const PERSON: Duration = Duration::from_secs(20);

/// What `run` may set beside the configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Instead of `delete_guard.count`.
    pub count_guard: Option<u64>,
    /// Instead of `delete_guard.share`.
    pub share_guard: Option<f64>,
}

/// How long [`Pipeline::wait`] waits.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// Until a signal comes.
    Signal,
    /// Until everything in the directories has been read and applied and nothing is pending, but no longer than
    /// `patience` without any progress.
    Idle {
        /// The longest time without progress.
        patience: Duration,
    },
}

/// Why [`Pipeline::wait`] came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// A signal came.
    Signalled,
    /// Nothing is left to do, but for what is held or quarantined.
    Idle,
    /// Nothing went on for too long; with what was waited for.
    Patience(String),
    /// The configuration was removed meanwhile, or is in force again: another pipeline must take the place of this one.
    Turned,
}

/// A running pipeline. [`Pipeline::stop`] ends it in good order; dropping it ends it at once, which loses nothing either.
#[derive(Debug)]
pub struct Pipeline {
    view: View,
    tasks: JoinSet<Result<()>>,
    stop: CancellationToken,
    log: Arc<dyn Log>,
    desired: StreamName,
    /// Passes each naming context must have completed before idleness may be concluded.
    needed: Vec<Vec<u64>>,
    _desk: Option<AbortOnDropHandle<()>>,
    /// The configuration was removed: no forest is read, and what it managed goes.
    is_removed: bool,
    turned: CancellationToken,
    instance: Arc<Instance>,
}

impl Pipeline {
    /// Takes the data folder unless it is `held` already, says in the log which configuration is in force, and starts all
    /// parts. Of one that was removed no forest is read: it is started to bring the removal to its end.
    pub async fn start(settings: &Settings, options: RunOptions, held: Option<Arc<Instance>>) -> Result<Self> {
        // what was removed needs no password any more, and there may be none
        let was_removed = match settings.existing_log() {
            Ok(log) => {
                control::now(log.as_ref(), &settings.configuration).await?.is_some_and(|now| now.removed.is_some())
            }
            Err(_) => false,
        };
        let passwords = if was_removed { Vec::new() } else { parts::passwords(settings)? };
        let credential = settings.tenant.read_credential();
        let credential = credential.map_err(|e| UsageError::credential(&settings.path, &e))?;
        let instance = match held {
            Some(instance) => instance,
            None => Arc::new(Instance::take(&settings.data)?),
        };
        let log: Arc<dyn Log> = Arc::new(settings.embedded()?);
        let settings = &parts::settled(settings, log.as_ref()).await?;
        let before = control::now(log.as_ref(), &settings.configuration).await?;
        let is_removed = before.as_ref().is_some_and(|in_force| in_force.removed.is_some());
        if let Some(before) = before.filter(|_| is_removed) {
            control::refuse_changed(&before, settings)?;
        } else {
            control::activate(log.as_ref(), settings, false).await?;
        }
        let passwords = if was_removed && !is_removed { parts::passwords(settings)? } else { passwords };
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let turned = parts::turning(&mut tasks, &settings.configuration, is_removed, &log, &stop)?;
        let mut collectors = Vec::with_capacity(settings.forests.len());
        let mut handles = Vec::with_capacity(settings.forests.len());
        for (forest, password) in settings.forests.iter().zip(passwords).filter(|_| !is_removed) {
            let (status, handle) = parts::collector(&mut tasks, forest, password, &log, &stop)?;
            collectors.push((forest.name().to_owned(), status));
            handles.push((forest.name().to_owned(), handle));
        }
        let projector =
            parts::projector(&mut tasks, settings, (!is_removed).then_some(collectors.as_slice()), &log, &stop);
        let (provisioner, handle) = parts::provisioner(&mut tasks, settings, options, credential, &log, &stop).await?;
        if let Some(audit) = settings.audit.clone() {
            let (log, stop) = (Arc::clone(&log), stop.clone());
            tasks.spawn(async move {
                forestsync_provisioner::export_anchors(log, audit, stop).await;
                Ok(())
            });
        }
        let desk = Desk { collectors: handles, provisioner: handle }.open(&settings.data);
        let view = View { collectors, projector, provisioner };
        let needed = view.passes().into_iter().map(|rows| vec![1; rows.len()]).collect();
        let desired = streams::desired(&settings.configuration).parse()?;
        Ok(Self { view, tasks, stop, log, desired, needed, _desk: desk, is_removed, turned, instance })
    }

    /// The data folder, for the pipeline that takes the place of this one.
    pub fn instance(&self) -> Arc<Instance> {
        Arc::clone(&self.instance)
    }

    /// The live state.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Waits for a part to fail, and says why it did. Cancel-safe.
    pub async fn failure(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) | None => anyhow!("a part of the pipeline ended by itself"),
            Some(Err(error)) => anyhow!(error).context("a part of the pipeline broke down"),
        }
    }

    /// Waits, showing the state now and then.
    pub async fn wait(&mut self, until: Until, shutdown: &Shutdown, mut show: impl FnMut(&View)) -> Result<Ending> {
        let (mut mark, mut since) = (self.view.mark(), Instant::now());
        let turned = self.turned.clone();
        loop {
            show(&self.view);
            tokio::select! {
                () = shutdown.stop.cancelled() => return Ok(Ending::Signalled),
                failure = self.failure() => return Err(failure),
                () = turned.cancelled() => return Ok(Ending::Turned),
                () = tokio::time::sleep(LOOK) => {}
            }
            if self.is_removed && self.view.managed() == 0 && self.idle().await?.is_ok() {
                show(&self.view);
                return Ok(Ending::Idle);
            }
            let Until::Idle { patience } = until else { continue };
            let missing = match self.idle().await? {
                Ok(()) => {
                    show(&self.view);
                    // a later call must not be content with what was read before it
                    self.needed =
                        self.view.passes().into_iter().map(|r| r.into_iter().map(|p| p + 2).collect()).collect();
                    return Ok(Ending::Idle);
                }
                Err(missing) => missing,
            };
            let now = self.view.mark();
            if now != mark {
                (mark, since) = (now, Instant::now());
            }
            let patience = if self.view.needs_a_person() { patience.min(PERSON) } else { patience };
            if since.elapsed() >= patience {
                return Ok(Ending::Patience(missing));
            }
        }
    }

    /// Whether nothing is left to do, or what is. Each part is asked in the direction of the flow, and then the streams
    /// are looked at again: what came in meanwhile is not overlooked.
    async fn idle(&self) -> Result<Result<(), String>> {
        let tails = match self.view.read_up_to(&self.needed) {
            Ok(tails) => tails,
            Err(missing) => return Ok(Err(missing)),
        };
        if let Err(missing) = self.view.projected(&tails) {
            return Ok(Err(missing));
        }
        if self.is_removed && self.view.wished() > 0 {
            return Ok(Err("the projection, which takes its wishes back".to_owned()));
        }
        let wished = self.log.tail(&self.desired).await?;
        if let Err(missing) = self.view.provisioned(wished) {
            return Ok(Err(missing));
        }
        for (stream, tail) in &tails {
            if self.log.tail(&stream.parse()?).await? != *tail {
                return Ok(Err(format!("{stream}, which still grows")));
            }
        }
        let again = self.view.read_up_to(&self.needed).is_ok_and(|now| now == tails)
            && self.view.projected(&tails).is_ok()
            && self.log.tail(&self.desired).await? == wished
            && self.view.provisioned(wished).is_ok();
        Ok(if again { Ok(()) } else { Err("changes that came just now".to_owned()) })
    }

    /// Stops all parts and waits for them; a second signal ends the waiting. Returns the first error of a part.
    pub async fn stop(mut self, shutdown: &Shutdown) -> Result<()> {
        self.stop.cancel();
        let mut first = Ok(());
        loop {
            let ended = tokio::select! {
                ended = self.tasks.join_next() => ended,
                () = shutdown.abort.cancelled() => {
                    tracing::warn!("ended at once by a second signal; the next start goes on from the log");
                    return first;
                }
            };
            let result = match ended {
                None => return first,
                Some(Ok(result)) => result,
                Some(Err(error)) => Err(anyhow!(error)),
            };
            if first.is_ok() {
                first = result;
            } else if let Err(error) = result {
                tracing::error!(error = %format!("{error:#}"), "another part failed as well");
            }
        }
    }
}
