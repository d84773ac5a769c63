//! From the configuration to each part's own, and each part as a task.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use forestsync_collector::{Collector, CollectorHandle, CollectorStatus, ForestConfig};
use forestsync_domain::Dn;
use forestsync_log::{Log, StreamName};
use forestsync_projector::activation::{Activations, Projection};
use forestsync_projector::settings::SourcesError;
use forestsync_projector::{Projector, ProjectorConfig, ProjectorStatus, SourceConfig};
use forestsync_provisioner::settings::Mode;
use forestsync_provisioner::{
    Credential, Provisioner, ProvisionerConfig, ProvisionerHandle, Staging, Status, TenantConfig,
};
use forestsync_rules::settings::Rules;
use forestsync_runtime::secret::SecretString;
use forestsync_schemas::control::{ConfigurationActivated, RemovedObjects};
use forestsync_schemas::{ChangeRecord, streams};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::RunOptions;
use crate::config::{ForestSettings, Settings};
use crate::control;
use crate::exit::UsageError;

type Rows = watch::Receiver<Vec<CollectorStatus>>;

/// A forest's configuration for its collector.
pub fn forest_config(forest: &ForestSettings, password: SecretString) -> ForestConfig {
    forest.reading.config(password)
}

/// The tenant's configuration for the provisioner.
pub fn tenant_config(settings: &Settings, options: RunOptions, credential: Credential) -> TenantConfig {
    let mut config = settings.tenant.config(&settings.guard, credential);
    config.quarantine = settings.quarantine;
    config.guard.count = options.count_guard.unwrap_or(config.guard.count);
    config.guard.share = options.share_guard.unwrap_or(config.guard.share);
    config.drift.clone_from(&settings.drift);
    config
}

/// Runs a part to its end, which is an error unless it was told to stop.
async fn until_stopped<E>(what: &str, run: impl Future<Output = Result<(), E>>, stop: &CancellationToken) -> Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    Box::pin(run).await.with_context(|| what.to_owned())?;
    if stop.is_cancelled() { Ok(()) } else { bail!("{what} ended by itself") }
}

/// The passwords of all forests, in their order.
pub(super) fn passwords(settings: &Settings) -> Result<Vec<SecretString>, UsageError> {
    let read = |forest: &ForestSettings| {
        let key = format!("forests.{}", forest.name());
        forest.reading.read_password().map_err(|error| UsageError::secret(&settings.path, &key, &error))
    };
    settings.forests.iter().map(read).collect()
}

/// Starts a forest's collector.
pub(super) fn collector(
    tasks: &mut JoinSet<Result<()>>,
    forest: &ForestSettings,
    password: SecretString,
    log: &Arc<dyn Log>,
    stop: &CancellationToken,
) -> Result<(Rows, CollectorHandle)> {
    let (name, stop) = (forest.name().to_owned(), stop.clone());
    let collector =
        Collector::new(forest_config(forest, password), Arc::clone(log)).with_context(|| format!("forest {name}"))?;
    let (status, handle) = (collector.status(), collector.handle());
    tasks.spawn(async move {
        let what = format!("the collector of forest {name}");
        until_stopped(&what, collector.run(stop.clone()), &stop).await
    });
    Ok((status, handle))
}

/// Starts the projector once all naming contexts are known: from the collectors, or from the log where the configuration
/// was removed and nobody reads the forests.
pub(super) fn projector(
    tasks: &mut JoinSet<Result<()>>,
    settings: &Settings,
    collectors: Option<&[(String, Rows)]>,
    log: &Arc<dyn Log>,
    stop: &CancellationToken,
) -> watch::Receiver<Option<ProjectorStatus>> {
    let (status, shown) = watch::channel(None);
    let (settings, log, stop) = (settings.clone(), Arc::clone(log), stop.clone());
    let collectors: Option<Vec<Rows>> = collectors.map(|all| all.iter().map(|(_, rows)| rows.clone()).collect());
    tasks.spawn(async move {
        let config = async {
            match collectors {
                Some(collectors) => projector_config(&settings, collectors).await,
                None => projector_config_from_log(&settings, log.as_ref()).await,
            }
        };
        let config = tokio::select! {
            config = config => config?,
            () = stop.cancelled() => return Ok(()),
        };
        let projector = Projector::open(config, Arc::clone(&log)).await.context("the projector")?;
        let mut inner = projector.status();
        let relay = async {
            loop {
                status.send_replace(Some(inner.borrow_and_update().clone()));
                if inner.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            ended = until_stopped("the projector", projector.run(stop.clone()), &stop) => ended,
            // it never ends
            () = relay => Ok(()),
        }
    });
    shown
}

/// Starts the provisioner.
pub(super) async fn provisioner(
    tasks: &mut JoinSet<Result<()>>,
    settings: &Settings,
    options: RunOptions,
    credential: Credential,
    log: &Arc<dyn Log>,
    stop: &CancellationToken,
) -> Result<(watch::Receiver<Status>, Option<ProvisionerHandle>)> {
    let config = ProvisionerConfig {
        configuration: settings.configuration.clone(),
        directory: settings.provisioner_dir(),
        tenant: tenant_config(settings, options, credential),
        notify: settings.notify.clone(),
    };
    let stop = stop.clone();
    if settings.mode == Mode::Staging {
        let staging = Staging::open(&config, Arc::clone(log)).context("the provisioner")?;
        let status = staging.status();
        tasks.spawn(async move { until_stopped("the provisioner", staging.run(stop.clone()), &stop).await });
        return Ok((status, None));
    }
    let mut provisioner = Box::pin(Provisioner::open(config, Arc::clone(log))).await.context("the provisioner")?;
    let (status, handle) = (provisioner.status(), provisioner.handle());
    tasks.spawn(async move { until_stopped("the provisioner", provisioner.run(stop.clone()), &stop).await });
    Ok((status, Some(handle)))
}

/// The projector's configuration, once every forest's naming contexts are known.
async fn projector_config(settings: &Settings, collectors: Vec<Rows>) -> Result<ProjectorConfig> {
    let mut sources = Vec::new();
    for (forest, mut rows) in settings.forests.iter().zip(collectors) {
        let mut domains = forest.reading.domains.clone();
        if domains.is_empty() {
            let known = |rows: &Vec<CollectorStatus>| rows.iter().all(|row| !row.stream.is_empty());
            let rows =
                rows.wait_for(known).await.with_context(|| format!("the collector of forest {}", forest.name()))?;
            domains = rows.iter().map(|row| row.naming_context.clone()).collect();
        }
        sources.extend(forest_sources(forest, &domains, &settings.rules)?);
    }
    Ok(config_of(settings, sources))
}

fn config_of(settings: &Settings, sources: Vec<SourceConfig>) -> ProjectorConfig {
    ProjectorConfig {
        configuration: settings.configuration.clone(),
        directory: settings.projector_dir(),
        sources,
        rules: Arc::clone(&settings.rules),
        tenant: Some(settings.tenant.tenant_id.clone()),
        removed: None,
    }
}

/// The projector's configuration from the log alone: for a replay, and for a configuration that was removed.
pub async fn projector_config_from_log(settings: &Settings, log: &dyn Log) -> Result<ProjectorConfig> {
    let in_force = control::now(log, &settings.configuration).await?;
    config_from_log(settings, log, in_force.and_then(|in_force| in_force.removed).map(|removal| removal.objects)).await
}

/// The same of a configuration as if it were removed, or is.
pub async fn projector_config_without(
    settings: &Settings,
    log: &dyn Log,
    objects: RemovedObjects,
) -> Result<ProjectorConfig> {
    config_from_log(settings, log, Some(objects)).await
}

async fn config_from_log(
    settings: &Settings,
    log: &dyn Log,
    removed: Option<RemovedObjects>,
) -> Result<ProjectorConfig> {
    let config = if settings.log.is_some() {
        shared_config(settings, log).await?
    } else {
        let settings = settled(settings, log).await?;
        let sources = sources_in(&settings, log, removed.is_some()).await?;
        config_of(&settings, sources)
    };
    Ok(ProjectorConfig { removed, ..config })
}

/// The sources that the log has. A forest that was never read has nothing that could be removed.
async fn sources_in(settings: &Settings, log: &dyn Log, is_removed: bool) -> Result<Vec<SourceConfig>> {
    let mut sources = Vec::new();
    for mut forest in settings.forests.iter().cloned() {
        let forest = &mut forest;
        if forest.reading.all_domains {
            forest.reading.domains = domains_in(forest, log).await?;
        }
        if forest.reading.domains.is_empty() && is_removed {
            continue;
        }
        if forest.reading.domains.is_empty() {
            let hint = "start forestsync run first, or name its domains in the configuration";
            return Err(UsageError::new(format!("forest {} was never read", forest.name()), hint).into());
        }
        sources.extend(forest_sources(forest, &forest.reading.domains, &settings.rules)?);
    }
    Ok(sources)
}

/// Is cancelled once what is in force was removed, or is in force again; `is_removed` says how it is now.
pub(super) fn turning(
    tasks: &mut JoinSet<Result<()>>,
    configuration: &str,
    is_removed: bool,
    log: &Arc<dyn Log>,
    stop: &CancellationToken,
) -> Result<CancellationToken> {
    let control: StreamName = streams::control(configuration).parse()?;
    let (log, stop, turned) = (Arc::clone(log), stop.clone(), CancellationToken::new());
    let told = turned.clone();
    tasks.spawn(async move {
        let mut activations = Activations::open(log.as_ref(), &control).await.context("what is in force")?;
        loop {
            let now = tokio::select! {
                now = activations.next() => now.context("what is in force")?,
                () = stop.cancelled() => return Ok(()),
            };
            if activations.latest().await?.unwrap_or(now).removed.is_some() != is_removed {
                told.cancel();
                stop.cancelled().await;
                return Ok(());
            }
        }
    });
    Ok(turned)
}

/// The same from a log that services share: as the projector takes it from what was activated.
async fn shared_config(settings: &Settings, log: &dyn Log) -> Result<ProjectorConfig> {
    let (document, digest) = (settings.document.clone(), settings.digest.clone());
    let file = ConfigurationActivated { revision: 0, digest, document };
    let projection = Projection::of(&settings.configuration, &file)?;
    let sources = projection
        .sources(&log.streams().await?)?
        .map_err(|forest| UsageError::new(format!("forest {forest} was never read"), "start its collector first"))?;
    Ok(config_of(settings, sources))
}

/// The settings with the domains of each forest that was read before: collector and projector MUST have the same, and a
/// controller that answers for another domain today must not change which. Refuses a log that belongs to another
/// configuration, and a scope that lies in no domain.
pub(super) async fn settled(settings: &Settings, log: &dyn Log) -> Result<Settings> {
    let mut settings = settings.clone();
    refuse_others(&settings, log).await?;
    for forest in &mut settings.forests {
        if forest.reading.domains.is_empty() && !forest.reading.all_domains {
            let mut read = domains_in(forest, log).await?;
            if read.len() > 1 {
                let names: Vec<String> = read.iter().map(ToString::to_string).collect();
                let message =
                    format!("forests.{}.domains: this forest was read in several domains before", forest.name());
                let hint = format!("name those that are to be synchronized, of {}", names.join("; "));
                return Err(UsageError::new(message, hint).into());
            }
            forest.reading.domains.append(&mut read);
        }
        if !forest.reading.domains.is_empty() {
            forest_sources(forest, &forest.reading.domains, &settings.rules)?;
        }
    }
    Ok(settings)
}

/// Offsets, the ledger and the projection in a data folder mean something together with one configuration's streams only.
async fn refuse_others(settings: &Settings, log: &dyn Log) -> Result<()> {
    let ours = streams::control(&settings.configuration);
    let other = |name: &str| name.starts_with("control.") && name != ours;
    match log.streams().await?.into_iter().find(|stream| other(stream.as_str())) {
        None => Ok(()),
        Some(stream) => {
            let other = stream.as_str().trim_start_matches("control.");
            let message = format!("data: {} belongs to configuration {other}", settings.data.display());
            let hint = format!("give configuration {} a data folder of its own", settings.configuration);
            Err(UsageError::new(message, hint).into())
        }
    }
}

/// The naming contexts of a forest that the log has, read with this forest's name.
async fn domains_in(forest: &ForestSettings, log: &dyn Log) -> Result<Vec<Dn>> {
    let prefix = format!("changes.{}.", forest.name());
    let mut domains = Vec::new();
    for stream in log.streams().await? {
        let Some(domain) = stream.as_str().strip_prefix(&prefix) else { continue };
        if let Some(record) = log.reader(&stream, 0).await?.poll(1).await?.first() {
            domains.push(ChangeRecord::decode(&record.value)?.context.naming_context);
        } else if forest.reading.all_domains {
            // made together with those of the forest's other domains, and not yet written
            let name: Vec<String> = domain.split('.').map(|part| format!("DC={part}")).collect();
            domains.push(name.join(",").parse()?);
        }
    }
    Ok(domains)
}

/// The sources of a forest: each domain with the part of the scope that lies in it.
fn forest_sources(forest: &ForestSettings, domains: &[Dn], rules: &Rules) -> Result<Vec<SourceConfig>> {
    let outside = |error| match error {
        SourcesError::Outside(outside) => {
            let message =
                format!("forests.{}.{}: {} lies in none of its domains", forest.name(), outside.key, outside.container);
            UsageError::new(message, "correct it, or add its domain to domains").into()
        }
        other => anyhow::Error::new(other),
    };
    forest.scope.sources(forest.name(), domains, rules).map_err(outside)
}
