//! What a configuration means: names, addresses and containers, parsed and checked against each other by
//! [`check`](super::check).
//!
//! Nothing here touches the network, and no secret is read: a [`Settings`] can be made on any machine from the file
//! alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forestsync_log::{EmbeddedLog, EmbeddedOptions, Log, LogConfig, ReadError};
use forestsync_projector::settings::ScopeSettings;
use forestsync_provisioner::DriftSettings;
use forestsync_provisioner::settings::{GuardSettings, Mode, TenantSettings};
use forestsync_provisioner::{AuditConfig, NotifyConfig, QuarantineConfig};
use forestsync_rules::settings::Rules;

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
    /// The log that the services share; `None` for the one in `data` that `run` has to itself.
    pub log: Option<LogConfig>,
    /// How long the log in `data` keeps superseded records of `desired.*` at least.
    pub desired_history: Duration,
    /// The folder of the file, which paths in it are relative to.
    pub base: PathBuf,
    /// The forests, in the order of the file.
    pub forests: Vec<ForestSettings>,
    /// Whether the tenant is written.
    pub mode: Mode,
    /// The tenant.
    pub tenant: TenantSettings,
    /// When deletions are held back.
    pub guard: GuardSettings,
    /// When the configuration as a whole is quarantined.
    pub quarantine: QuarantineConfig,
    /// Who is told of what goes wrong.
    pub notify: NotifyConfig,
    /// Where anchors of the log's chains are kept.
    pub audit: Option<AuditConfig>,
    /// What becomes of what others do in the tenant, where that is looked at.
    pub drift: Option<DriftSettings>,
    /// The rules.
    pub rules: Arc<Rules>,
}

impl Settings {
    /// The folder of the log.
    pub fn log_dir(&self) -> PathBuf {
        self.data.join("log")
    }

    /// The log, for a command that only reads: it must be there already.
    pub fn existing_log(&self) -> anyhow::Result<Arc<dyn Log>> {
        if let Some(log) = &self.log {
            return Ok(log.open(&self.base)?);
        }
        let dir = self.log_dir();
        if !dir.is_dir() {
            let message = format!("there is no log in {}", dir.display());
            return Err(UsageError::new(message, "start forestsync run first, or correct data in the file").into());
        }
        Ok(Arc::new(self.embedded()?))
    }

    /// The log in `data`, made if it is not there.
    pub fn embedded(&self) -> Result<EmbeddedLog, ReadError> {
        let mut options = EmbeddedOptions::default();
        options.desired_history = self.desired_history;
        EmbeddedLog::open_with(self.log_dir(), options)
    }

    /// The folder of the projector's database.
    pub fn projector_dir(&self) -> PathBuf {
        self.data.join("projector")
    }

    /// The folder of the projection's snapshots: a cache, deletable at any time.
    pub fn snapshots_dir(&self) -> PathBuf {
        self.data.join("snapshots").join(&self.configuration)
    }

    /// The folder of the provisioner's ledger.
    pub fn provisioner_dir(&self) -> PathBuf {
        self.data.join("provisioner")
    }
}

/// One forest: how it is read, and what of it is synchronized.
#[derive(Debug, Clone)]
pub struct ForestSettings {
    /// How it is read.
    pub reading: forestsync_collector::settings::ForestSettings,
    /// What of it is synchronized.
    pub scope: ScopeSettings,
}

impl ForestSettings {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.reading.name
    }
}
