//! The configuration file as it is written: names, types and defaults of the keys. `settings` gives them meaning.

use std::path::PathBuf;
use std::time::Duration;

use forestsync_runtime::config::{duration, string_or_table};
use forestsync_schemas::changes::Method;
use serde::Deserialize;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The configuration's name: part of the names of its streams.
    pub configuration: String,
    /// The folder of the log and of the databases, relative to the file.
    #[serde(default = "default_data")]
    pub data: PathBuf,
    /// The forests that are read.
    #[serde(default)]
    pub forests: Vec<Forest>,
    /// The tenant that is written.
    pub tenant: Tenant,
    /// When deletions are held back.
    #[serde(default)]
    pub delete_guard: DeleteGuard,
}

/// One forest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forest {
    /// Its name: part of the names of its streams.
    pub name: String,
    /// Its domain controllers, the preferred one first.
    pub controllers: Vec<Controller>,
    /// PEM file with the certificates that the controllers are trusted by; without it those of the machine.
    pub ca_file: Option<PathBuf>,
    /// The account: a distinguished name, a user principal name or `DOMAIN\name`.
    pub bind: String,
    /// File that holds its password.
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds its password.
    pub password_env: Option<String>,
    /// The naming contexts that are read; without it the controller's default one.
    #[serde(default)]
    pub domains: Vec<String>,
    /// How changes are found: `"dirsync"` or `"usn"`.
    #[serde(default)]
    pub method: Method,
    /// Pause between two reads.
    #[serde(default = "default_poll_interval", deserialize_with = "duration")]
    pub poll_interval: Duration,
    /// Whether the controller is asked to tell of changes, so that they are read before the next poll.
    #[serde(default = "yes")]
    pub notifications: bool,
    /// Whether the account reads what its rights allow (a plain user), instead of holding the right to replicate.
    #[serde(default = "yes")]
    pub object_security: bool,
    /// The longest wait for an answer.
    #[serde(default = "default_operation_timeout", deserialize_with = "duration")]
    pub operation_timeout: Duration,
    /// How long the controller that was read last is waited for before another one is read instead.
    #[serde(default = "default_failover_after", deserialize_with = "duration")]
    pub failover_after: Duration,
    /// Containers whose content is synchronized, by distinguished name or objectGUID; without it everything.
    #[serde(default)]
    pub include: Vec<String>,
    /// Containers whose content is not.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// A domain controller: `"ldaps://host"`, or a table where the address is given as well.
#[derive(Debug, Clone)]
pub struct Controller {
    /// `ldaps://host[:port]`, or `ldap://host[:port]` for StartTLS.
    pub url: String,
    /// `ip:port` to connect to, where the name does not resolve.
    pub address: Option<String>,
}

/// The table form of a controller.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControllerTable {
    url: String,
    address: Option<String>,
}

impl<'de> Deserialize<'de> for Controller {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        string_or_table(
            deserializer,
            "a URL such as \"ldaps://dc01.emea.example\", or { url = \"…\", address = \"ip:port\" }",
            |url| Self { url, address: None },
            |table: ControllerTable| Self { url: table.url, address: table.address },
        )
    }
}

/// The tenant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// The directory (tenant) id, or one of its domains.
    pub tenant_id: String,
    /// The application (client) id.
    pub client_id: String,
    /// File that holds the client secret.
    pub client_secret_file: Option<PathBuf>,
    /// Environment variable that holds the client secret.
    pub client_secret_env: Option<String>,
    /// Where the tenant lives.
    #[serde(default)]
    pub cloud: Cloud,
    /// PEM file with the certificates that the endpoints are trusted by; without it those of the machine.
    pub ca_file: Option<PathBuf>,
    /// The most writes within 150 seconds.
    #[serde(default = "default_writes")]
    pub writes_per_150_seconds: u32,
    /// The most HTTP requests at a time.
    #[serde(default = "default_in_flight")]
    pub in_flight: usize,
    /// By what cloud objects without an anchor are adopted: `"upn"`, `"mail"`.
    #[serde(default)]
    pub soft_match: Vec<SoftMatch>,
}

/// An attribute by which a cloud object is adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SoftMatch {
    /// userPrincipalName.
    Upn,
    /// The primary mail address.
    Mail,
}

/// Where the tenant lives: a name, or both endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cloud {
    /// One of Microsoft's clouds, by name.
    Named(String),
    /// Endpoints given one by one.
    Custom {
        /// Where tokens come from, https.
        authority: String,
        /// Microsoft Graph, https.
        graph: String,
    },
}

impl Default for Cloud {
    fn default() -> Self {
        Self::Named("global".to_owned())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CloudTable {
    authority: String,
    graph: String,
}

impl<'de> Deserialize<'de> for Cloud {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        string_or_table(
            deserializer,
            "the name of a cloud, or { authority = \"https://…\", graph = \"https://…\" }",
            Self::Named,
            |table: CloudTable| Self::Custom { authority: table.authority, graph: table.graph },
        )
    }
}

/// When deletions are held back until somebody looks at them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteGuard {
    /// More deletions of one class than this within the window are held.
    #[serde(default = "default_count")]
    pub count: u64,
    /// Likewise a larger share of the objects that are managed, 0 to 1.
    #[serde(default = "default_share")]
    pub share: f64,
    /// So many removals from one group always pass.
    #[serde(default = "default_member_minimum")]
    pub member_minimum: u64,
    /// The window.
    #[serde(default = "default_window", deserialize_with = "duration")]
    pub window: Duration,
}

impl Default for DeleteGuard {
    fn default() -> Self {
        Self {
            count: default_count(),
            share: default_share(),
            member_minimum: default_member_minimum(),
            window: default_window(),
        }
    }
}

fn default_data() -> PathBuf {
    PathBuf::from("data")
}

fn yes() -> bool {
    true
}

fn default_poll_interval() -> Duration {
    Duration::from_secs(1)
}

fn default_operation_timeout() -> Duration {
    Duration::from_mins(2)
}

fn default_failover_after() -> Duration {
    Duration::from_mins(5)
}

fn default_writes() -> u32 {
    3_000
}

fn default_in_flight() -> usize {
    16
}

fn default_count() -> u64 {
    500
}

fn default_share() -> f64 {
    0.2
}

fn default_member_minimum() -> u64 {
    10
}

fn default_window() -> Duration {
    Duration::from_hours(1)
}
