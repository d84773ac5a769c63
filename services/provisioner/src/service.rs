//! The provisioner as a service: its file, the configurations whose tenant it writes, and a worker for each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use forestsync_host::{Board, Loaded, Post, Service, ServiceForm, StartError, WorkerError, Workers, metering};
use forestsync_log::{AppendError, Lease, Log, LogConfig, StreamName};
use forestsync_runtime::config::{Findings, SettingsError, load};
use forestsync_runtime::metrics as names;
use forestsync_schemas::outcomes::DriftPolicy;
use forestsync_schemas::streams;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::settings::{
    AuditForm, ChangeGuardForm, DriftForm, GuardForm, GuardSettings, Mode, NotifyForm, QuarantineForm, TenantForm,
    TenantSettings,
};
use crate::staging::Staging;
use crate::status::{HealthState, Status, name_of};
use crate::{
    AuditConfig, DriftSettings, NotifyConfig, Provisioner, ProvisionerConfig, ProvisionerError, QuarantineConfig,
};

/// `provisioner.toml` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    log: LogConfig,
    #[serde(default)]
    service: ServiceForm,
    data: PathBuf,
    /// Where anchors of the log's chains are kept.
    audit: Option<AuditForm>,
    #[serde(default)]
    configurations: Vec<ConfigurationForm>,
}

/// A configuration as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigurationForm {
    name: String,
    #[serde(default)]
    mode: Mode,
    tenant: TenantForm,
    #[serde(default)]
    delete_guard: GuardForm,
    #[serde(default)]
    disable_guard: ChangeGuardForm,
    #[serde(default)]
    upn_guard: ChangeGuardForm,
    #[serde(default)]
    quarantine: QuarantineForm,
    #[serde(default)]
    notify: NotifyForm,
    drift: Option<DriftForm>,
}

/// A configuration whose tenant is written.
#[derive(Debug, Clone)]
pub struct ConfigurationSettings {
    /// Its name.
    pub name: String,
    /// Whether it writes to its tenant.
    pub mode: Mode,
    /// Its tenant.
    pub tenant: TenantSettings,
    /// When deletions and changes of accounts are held back.
    pub guard: GuardSettings,
    /// When the configuration as a whole is quarantined.
    pub quarantine: QuarantineConfig,
    /// Who is told of what goes wrong.
    pub notify: NotifyConfig,
    /// What becomes of what others do in the tenant, where that is looked at.
    pub drift: Option<DriftSettings>,
}

/// Writes tenants, together with its stand-bys.
#[derive(Debug)]
pub struct ProvisionerService {
    /// Where the ledgers are: `<data>/<configuration>/provisioner`.
    data: PathBuf,
    configurations: Vec<ConfigurationSettings>,
    audit: Option<AuditConfig>,
    log: Option<Arc<dyn Log>>,
}

impl ProvisionerService {
    /// The service with its ledgers below `data`.
    pub fn new(data: PathBuf, configurations: Vec<ConfigurationSettings>) -> Self {
        Self { data, configurations, audit: None, log: None }
    }

    /// What a file says, before its secrets are read.
    pub fn settings(path: &Path) -> Result<Loaded<Self>, SettingsError> {
        let loaded = load::<File>(path)?;
        let File { log, service, data, audit, configurations } = loaded.value;
        let mut found = Findings::default();
        let configurations = check(&configurations, &loaded.base, &mut found);
        let audit = audit.map(|audit| audit.check("", &loaded.base, &mut found));
        let own =
            configurations.map(|configurations| Self { audit, ..Self::new(loaded.base.join(data), configurations) });
        Loaded::new(path, log, &service, found, own)
    }

    fn log(&self) -> Result<Arc<dyn Log>, WorkerError> {
        self.log.clone().ok_or_else(|| WorkerError::retryable("the log is not open yet"))
    }
}

fn check(forms: &[ConfigurationForm], base: &Path, found: &mut Findings) -> Option<Vec<ConfigurationSettings>> {
    if forms.is_empty() {
        let hint = "add a [[configurations]] table for each configuration whose tenant is written";
        found.add("configurations", "no configuration is named", hint);
    }
    let (mut names, mut checked) = (BTreeSet::new(), Vec::with_capacity(forms.len()));
    for form in forms {
        let key = format!("configurations.{}", form.name);
        if !streams::is_plain(&form.name) {
            let hint = "write the name of the configuration as it was activated";
            found.add(format!("{key}.name"), format!("{:?} cannot be used as a name", form.name), hint);
        }
        if !names.insert(&form.name) {
            found.add(format!("{key}.name"), "two configurations have this name", "keep one of them");
        }
        let tenant = TenantSettings::check(&format!("{key}.tenant"), &form.tenant, base, found);
        let drift = form.drift.as_ref().map(|drift| drift.check(&format!("{key}.drift"), None, found));
        let key = format!("{key}.");
        let guard = GuardSettings::check(&key, &form.delete_guard, &form.disable_guard, &form.upn_guard, found);
        let quarantine = form.quarantine.check(&key, found);
        let notify = form.notify.check(&key, base, found);
        checked.push(tenant.map(|tenant| ConfigurationSettings {
            name: form.name.clone(),
            mode: form.mode,
            tenant,
            guard,
            quarantine,
            notify,
            drift,
        }));
    }
    checked.into_iter().collect()
}

#[async_trait]
impl Service for ProvisionerService {
    const NAME: &'static str = "provisioner";
    const BINARY: &'static str = "forestsync-provisioner";
    const ABOUT: &'static str = "Makes tenants hold what the projection says, through Microsoft Graph.";
    const FILE: &'static str = "provisioner.toml";

    fn load(path: &Path) -> Result<Loaded<Self>, StartError> {
        let loaded = Self::settings(path)?;
        for configuration in &loaded.own.configurations {
            configuration.tenant.read_credential().map_err(|error| StartError::Unusable {
                message: format!("{}: configurations.{}.tenant.{error}", path.display(), configuration.name),
                hint: error.hint().to_owned(),
            })?;
        }
        Ok(loaded)
    }

    fn begin(&mut self, log: Arc<dyn Log>) {
        self.log = Some(log);
    }

    fn group(&self) -> String {
        "provisioner".to_owned()
    }

    async fn offer(self: Arc<Self>, offers: watch::Sender<Vec<StreamName>>, _board: Board) {
        // plain names always make streams
        let streams = self.configurations.iter().filter_map(|c| streams::outcomes(&c.name).parse().ok());
        offers.send_replace(streams.collect());
        if let (Some(log), Some(audit)) = (self.log.clone(), self.audit.clone()) {
            // it ends with the service, by being dropped
            crate::export_anchors(log, audit, CancellationToken::new()).await;
        }
        // the sender lives as long as this
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl Workers for ProvisionerService {
    async fn work(&self, lease: Lease, stop: CancellationToken, post: Post) -> Result<(), WorkerError> {
        let log = self.log()?;
        let own = self.configurations.iter().find(|c| streams::outcomes(&c.name) == lease.stream().as_str());
        let own = own.ok_or_else(|| WorkerError::fatal(format!("{} is no stream of ours", lease.stream())))?;
        let credential = own.tenant.read_credential().map_err(WorkerError::fatal)?;
        let mut tenant = own.tenant.config(&own.guard, credential);
        tenant.quarantine = own.quarantine;
        tenant.drift.clone_from(&own.drift);
        let config = ProvisionerConfig {
            configuration: own.name.clone(),
            directory: self.data.join(&own.name).join("provisioner"),
            tenant,
            notify: own.notify.clone(),
        };
        if own.mode == Mode::Staging {
            let staging = Staging::open_with_lease(&config, log, lease).map_err(worker_error)?;
            post.ready();
            post.report(serde_json::json!({ "phase": "staging" }).to_string());
            tracing::info!(configuration = own.name, "in staging: nothing is written to the tenant");
            return staging.run(stop).await.map_err(worker_error);
        }
        post.waits("the ledger is being opened");
        let opened = Box::pin(Provisioner::open_with_lease(config, Arc::clone(&log), lease)).await;
        let provisioner = opened.map_err(worker_error)?;
        tracing::info!(configuration = own.name, "provisioning");
        let status = provisioner.status();
        tokio::select! {
            ended = Box::pin(provisioner.run(stop)) => ended.map_err(worker_error),
            () = publish(&own.name, log, status, &post) => Ok(()),
        }
    }
}

fn worker_error(error: ProvisionerError) -> WorkerError {
    match error {
        ProvisionerError::Append(AppendError::Fenced(_)) | ProvisionerError::LeaseEnded => WorkerError::fenced(error),
        _ if error.is_retryable() => WorkerError::retryable(error),
        _ => WorkerError::fatal(error),
    }
}

/// Says how the provisioner is, for as long as it is asked.
async fn publish(configuration: &str, log: Arc<dyn Log>, status: watch::Receiver<Status>, post: &Post) {
    let (mut has_caught_up, mut totals) = (false, metering::Totals::default());
    let desired: Option<StreamName> = streams::desired(configuration).parse().ok();
    let mut tail = None;
    loop {
        if let Some(desired) = &desired
            && let Ok(now) = log.tail(desired).await
        {
            tail = Some(now);
        }
        let now = status.borrow().clone();
        has_caught_up |= tail.is_some_and(|tail| now.desired_applied >= tail);
        if let Some(why) = &now.stopped {
            post.waits(why.as_str());
        } else if has_caught_up {
            post.ready();
        } else {
            let tail = tail.map_or_else(|| "?".to_owned(), |tail| tail.to_string());
            post.waits(format!("it is catching up with what is wished, at {} of {tail}", now.desired_applied));
        }
        post.report(report(&now, tail));
        measure(configuration, &now, tail, &mut totals);
        tokio::time::sleep(metering::PUBLISH).await;
    }
}

fn report(status: &Status, tail: Option<u64>) -> String {
    let phase = match status {
        s if s.stopped.is_some() => "stopped",
        s if s.health.state == HealthState::Quarantined => "quarantined",
        s if s.throttled_until.is_some() => "throttled",
        s if s.idle => "idle",
        _ => "at work",
    };
    serde_json::json!({
        "phase": phase,
        "applied": status.desired_applied,
        "tail": tail,
        "managed": status.managed.values().sum::<u64>(),
        "pending": status.pending + status.in_flight,
        "retrying": status.retrying,
        "held": status.held_total,
        "quarantined": status.quarantined_total,
        "health": status.health.state.as_str(),
        "drift": status.drift.as_ref().map(|drift| serde_json::json!({
            "found": drift.totals.values().sum::<usize>(),
            "compared": drift.compared.map(|at| at.to_string()),
            "trouble": drift.trouble,
        })),
    })
    .to_string()
}

fn measure(configuration: &str, status: &Status, tail: Option<u64>, totals: &mut metering::Totals) {
    let own = [("configuration", configuration)];
    let flag = |value: bool| f64::from(u8::from(value));
    totals.count(names::PROVISIONER_REQUESTS, &own, status.requests);
    if let Some(tail) = tail {
        metering::gauge(names::PROVISIONER_DESIRED_TAIL, &own, tail as f64);
    }
    for (class, managed) in &status.managed {
        let labels = [("configuration", configuration), ("class", class.as_str())];
        metering::gauge(names::PROVISIONER_MANAGED, &labels, *managed as f64);
    }
    if let Some(drift) = &status.drift {
        for policy in [DriftPolicy::Enforce, DriftPolicy::Report, DriftPolicy::Accept] {
            let name = name_of(&policy);
            let labels = [("configuration", configuration), ("policy", name.as_str())];
            metering::gauge(names::PROVISIONER_DRIFT, &labels, drift.totals.get(&policy).map_or(0.0, |n| *n as f64));
        }
        if let Some(at) = drift.compared {
            metering::gauge(names::PROVISIONER_COMPARED, &own, at.as_millisecond() as f64 / 1_000.0);
        }
    }
    for (name, value) in [
        (names::PROVISIONER_DESIRED_APPLIED, status.desired_applied as f64),
        (names::PROVISIONER_PENDING, status.pending as f64),
        (names::PROVISIONER_IN_FLIGHT, status.in_flight as f64),
        (names::PROVISIONER_RETRYING, status.retrying as f64),
        (names::PROVISIONER_HELD, status.held_total as f64),
        (names::PROVISIONER_QUARANTINED, status.quarantined_total as f64),
        (names::PROVISIONER_THROTTLED, flag(status.throttled_until.is_some())),
        (names::PROVISIONER_FAILING, status.health.failing as f64),
        (names::PROVISIONER_PAUSED, flag(status.health.state == HealthState::Quarantined)),
        (names::PROVISIONER_STOPPED, flag(status.stopped.is_some())),
    ] {
        metering::gauge(name, &own, value);
    }
}
