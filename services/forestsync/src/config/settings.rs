//! What a configuration means: names, addresses and containers, parsed and checked against each other by
//! [`check`](super::check).
//!
//! Nothing here touches the network, and no secret is read: a [`Settings`] can be made on any machine from the file
//! alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use forestsync_domain::{Dn, ObjectGuid};
use forestsync_log::EmbeddedLog;
use forestsync_runtime::secret::{SecretError, SecretRef, SecretString};
use forestsync_schemas::changes::Method;
use url::Url;

use crate::exit::UsageError;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file it came from.
    pub path: PathBuf,
    /// The file's text. It names the places of secrets, never a secret.
    pub document: String,
    /// BLAKE3 of the text, in hexadecimal digits.
    pub digest: String,
    /// The configuration's name.
    pub configuration: String,
    /// The folder of the log and of the databases.
    pub data: PathBuf,
    /// The forests, in the order of the file.
    pub forests: Vec<ForestSettings>,
    /// The tenant.
    pub tenant: TenantSettings,
    /// When deletions are held back.
    pub guard: GuardSettings,
}

impl Settings {
    /// The folder of the log.
    pub fn log_dir(&self) -> PathBuf {
        self.data.join("log")
    }

    /// The log, for a command that only reads: it must be there already.
    pub fn existing_log(&self) -> anyhow::Result<EmbeddedLog> {
        let dir = self.log_dir();
        if !dir.is_dir() {
            let message = format!("there is no log in {}", dir.display());
            return Err(UsageError::new(message, "start forestsync run first, or correct data in the file").into());
        }
        Ok(EmbeddedLog::open(dir)?)
    }

    /// The folder of the projector's database.
    pub fn projector_dir(&self) -> PathBuf {
        self.data.join("projector")
    }

    /// The folder of the provisioner's ledger.
    pub fn provisioner_dir(&self) -> PathBuf {
        self.data.join("provisioner")
    }
}

/// One forest.
#[derive(Debug, Clone)]
pub struct ForestSettings {
    /// Its name.
    pub name: String,
    /// Its controllers, the preferred one first; at least one.
    pub controllers: Vec<ControllerSettings>,
    /// What the controllers are trusted by; `None` for the certificates of the machine.
    pub ca_file: Option<PathBuf>,
    /// The account.
    pub bind: String,
    /// Where its password is.
    pub password: SecretRef,
    /// The folder that `password` is relative to.
    pub base: PathBuf,
    /// The naming contexts; empty for the controller's default one.
    pub domains: Vec<Dn>,
    /// How changes are found.
    pub method: Method,
    /// Pause between two reads.
    pub poll_interval: Duration,
    /// Whether the controller is asked to tell of changes.
    pub notifications: bool,
    /// Whether the account reads by its own rights.
    pub object_security: bool,
    /// The longest wait for an answer.
    pub operation_timeout: Duration,
    /// How long the controller that was read last is waited for.
    pub failover_after: Duration,
    /// What is synchronized; empty for everything.
    pub include: Vec<ScopeEntry>,
    /// What is not.
    pub exclude: Vec<ScopeEntry>,
}

impl ForestSettings {
    /// Reads the account's password.
    pub fn read_password(&self) -> Result<SecretString, SecretError> {
        self.password.read("password", &self.base)
    }
}

/// A domain controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerSettings {
    /// `ldaps://…` or `ldap://…` (StartTLS), with a host.
    pub url: String,
    /// Where to connect instead of resolving the host.
    pub address: Option<SocketAddr>,
}

/// A container named in the scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeEntry {
    /// By its name.
    Dn(Dn),
    /// By its objectGUID.
    Object(ObjectGuid),
}

/// The tenant.
#[derive(Debug, Clone)]
pub struct TenantSettings {
    /// Directory id, or a domain of it.
    pub tenant_id: String,
    /// Application id.
    pub client_id: String,
    /// Where the client secret is.
    pub client_secret: SecretRef,
    /// The folder that `client_secret` is relative to.
    pub base: PathBuf,
    /// Where tokens come from.
    pub authority: Url,
    /// Microsoft Graph.
    pub graph: Url,
    /// What the endpoints are trusted by; `None` for the certificates of the machine.
    pub ca_file: Option<PathBuf>,
    /// The most writes within 150 seconds.
    pub writes_per_150_seconds: u32,
    /// The most HTTP requests at a time.
    pub in_flight: usize,
    /// Whether a cloud user is adopted by its userPrincipalName.
    pub soft_match_upn: bool,
    /// Whether a cloud user is adopted by its mail address.
    pub soft_match_mail: bool,
}

impl TenantSettings {
    /// Reads the client secret.
    pub fn read_secret(&self) -> Result<SecretString, SecretError> {
        self.client_secret.read("client_secret", &self.base)
    }
}

/// When deletions are held back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardSettings {
    /// The most deletions of one class within the window.
    pub count: u64,
    /// The largest share of what is managed, 0 to 1.
    pub share: f64,
    /// So many removals from one group always pass.
    pub member_minimum: u64,
    /// The window.
    pub window: Duration,
}
