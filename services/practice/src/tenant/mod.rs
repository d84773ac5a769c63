//! The practice tenant: Microsoft Graph v1.0 and the token endpoint over https, in memory.
//!
//! It covers what a synchronizer uses: users, groups, members, owners, managers, deleted items, `$batch`, delta queries,
//! domains, organization, extension properties; and devices, which an application may create only if a knob says so. It
//! validates and refuses as Graph documents or was seen to, keeps the documented quotas when asked, and misbehaves on
//! demand ([`TenantControl`], [`Knobs`]); [`Knob`] lists the ways in which it does.
//!
//! Contract: what was answered with success is in the content; nothing a client sends makes it panic; no look-up by id
//! or by an indexed property scans. Secrets, tokens and passwords appear in no log, record or state file.

#![allow(clippy::unnecessary_box_returns, reason = "an error answer is large and always travels boxed")]

mod auth;
mod batch;
mod clock;
mod context;
mod control;
mod counters;
mod credentials;
mod deleted;
mod delta;
mod devices;
mod directory;
mod exchange;
mod filter;
mod groups;
mod kinds;
mod knob;
mod links;
mod lists;
mod metadata;
mod misc;
mod options;
mod record;
mod reply;
mod request;
mod router;
mod schema;
mod server;
mod state;
mod throttle;
mod users;
mod validate;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use control::TenantControl;
pub use counters::{Counters, GroupDump, TenantDump, UserDump, WriteRecord};
pub use knob::{Expected, Knob, LATE, Subject, Subjects};
pub use metadata::Metadata;
pub use options::{
    ClientSecret, FederatedCredential, Knobs, MissingMember, RetryAfter, Seed, TenantOptions, Visibility,
};

use crate::tls::PrivateCa;
use context::{Domain, Tenant};
use directory::{Directory, Kind};
use exchange::{Inner, Shared};

/// A running practice tenant. Dropping it stops it; [`stop`](Self::stop) also waits until its files are complete.
pub struct PracticeTenant {
    shared: Arc<Shared>,
    host: String,
    port: u16,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    state_file: Option<PathBuf>,
}

impl std::fmt::Debug for PracticeTenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PracticeTenant").field("port", &self.port).finish_non_exhaustive()
    }
}

impl PracticeTenant {
    /// Loads the state file, binds, and serves with a certificate of `ca` for `localhost` and the loopback addresses.
    pub async fn start(options: TenantOptions, ca: &PrivateCa) -> Result<Self> {
        let now = Instant::now();
        let mut directory = match &options.state_file {
            Some(path) => load(path, now)?,
            None => Directory::new(),
        };
        directory.keep_dirty = options.state_file.is_some();
        if directory.objects.is_empty() {
            for seed in &options.seeds {
                let (kind, properties) = match seed {
                    Seed::User(properties) => (Kind::User, properties),
                    Seed::Group(properties) => (Kind::Group, properties),
                };
                control::plant(&mut directory, kind, properties.clone(), now)?;
            }
        }
        let listener = TcpListener::bind(options.listen).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", options.listen))?;
        let address = listener.local_addr().context("the listener has no address")?;
        let own = address.ip().to_string();
        let tls = ca.server_config(&["localhost", "127.0.0.1", "::1", &own], &["h2", "http/1.1"])?;
        let mut credentials = credentials::Credentials {
            secrets: vec![options.client_secret.clone()],
            federated: options.federated_credentials.clone(),
            ..credentials::Credentials::default()
        };
        for certificate in &options.certificates {
            credentials.register(certificate).context("a certificate of the application")?;
        }
        let shared = Arc::new(Shared {
            tenant: tenant(&options),
            inner: Mutex::new(Inner {
                directory,
                knobs: options.knobs,
                quota: throttle::Quota::new(now),
                tokens: auth::Tokens::default(),
                credentials,
                counters: Counters::default(),
                faults: control::Faults::default(),
                writes: VecDeque::new(),
                second_replica: false,
                scramble: 0x9e37_79b9_7f4a_7c15,
            }),
        });
        shared.lock().tokens.grant(router::GRANTED.iter().map(ToString::to_string).collect(), true);
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        let recorder = match &options.record_file {
            Some(path) => {
                let (recorder, task) = record::start(path)?;
                tasks.push(task);
                Some(recorder)
            }
            None => None,
        };
        tasks.push(tokio::spawn(server::serve(listener, tls, Arc::clone(&shared), recorder, stop.clone())));
        if let Some(path) = options.state_file.clone() {
            tasks.push(tokio::spawn(save(path, Arc::clone(&shared), stop.clone())));
        }
        let host =
            if address.ip().is_loopback() || address.ip().is_unspecified() { "localhost".to_owned() } else { own };
        Ok(Self { shared, host, port: address.port(), stop, tasks, state_file: options.state_file })
    }

    /// The root of Graph, `https://localhost:PORT`; requests go below `/v1.0`.
    pub fn graph_url(&self) -> String {
        format!("https://{}:{}", self.host, self.port)
    }

    /// The authority: tokens come from `{authority}/{tenant}/oauth2/v2.0/token`.
    pub fn authority_url(&self) -> String {
        self.graph_url()
    }

    /// Serves the endpoint of a managed identity to which the application's permissions are granted, until it is dropped.
    pub async fn metadata(&self) -> Result<Metadata> {
        Metadata::start(Arc::clone(&self.shared)).await
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A handle to turn knobs and cause faults.
    pub fn control(&self) -> TenantControl {
        TenantControl { shared: Arc::clone(&self.shared) }
    }

    /// The whole content.
    pub fn dump(&self) -> TenantDump {
        self.control().dump()
    }

    /// The counts so far.
    pub fn counters(&self) -> Counters {
        self.control().counters()
    }

    /// Stops serving and completes the record and the state file.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        for task in std::mem::take(&mut self.tasks) {
            task.await.context("a task of the practice tenant failed")?;
        }
        match self.state_file.take() {
            Some(path) => complete(&path, &self.shared),
            None => Ok(()),
        }
    }
}

impl Drop for PracticeTenant {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(path) = self.state_file.take()
            && let Err(error) = complete(&path, &self.shared)
        {
            tracing::error!(error = %error, "cannot keep the state of the practice tenant");
        }
    }
}

fn tenant(options: &TenantOptions) -> Tenant {
    let domain = |name: &String, verified: bool, federated: bool, initial: bool| Domain {
        name: name.to_lowercase(),
        verified,
        federated,
        initial,
    };
    let mut domains = vec![domain(&options.initial_domain, true, false, true)];
    domains.extend(options.verified_domains.iter().map(|d| domain(d, true, false, false)));
    domains.extend(options.federated_domains.iter().map(|d| domain(d, true, true, false)));
    domains.extend(options.unverified_domains.iter().map(|d| domain(d, false, false, false)));
    Tenant {
        id: options.tenant_id.clone(),
        client_id: options.client_id.clone(),
        domains,
        privileged: options.privileged_users.iter().map(|u| u.to_lowercase()).collect::<BTreeSet<_>>(),
    }
}

/// Reads the state file and writes it anew, without what later lines replaced.
fn load(path: &Path, now: Instant) -> Result<Directory> {
    let mut directory = state::load(path, now)?;
    state::rewrite(path, &state::everything(&mut directory))?;
    Ok(directory)
}

fn complete(path: &Path, shared: &Shared) -> Result<()> {
    let lines = state::everything(&mut shared.lock().directory);
    state::rewrite(path, &lines)
}

/// Appends what changed, a few times a second, until told to stop.
async fn save(path: PathBuf, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(state::EVERY) => {}
        }
        let lines = state::changes(&mut shared.lock().directory);
        if lines.is_empty() {
            continue;
        }
        let target = path.clone();
        match tokio::task::spawn_blocking(move || state::append(&target, &lines)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = %error, "cannot save a change of the practice tenant"),
            Err(error) => tracing::error!(error = %error, "the task that saves the practice tenant failed"),
        }
    }
}
