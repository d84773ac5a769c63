//! The `[log]` table of a configuration file: which log, and how to get at it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forestsync_runtime::config::parse_duration;
use forestsync_runtime::secret::SecretError;
use serde::{Deserialize, Serialize};

use crate::{EmbeddedLog, EmbeddedOptions, Log, ReadError};

/// How long superseded records of `desired.*` stay, unless it is configured: a year and a month, so that an audit of the last
/// year finds what was wished in it.
pub const DESIRED_HISTORY: Duration = Duration::from_hours(400 * 24);

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration does not say what it should. Not retryable.
    #[error("log.{key}: {problem}; {hint}")]
    Config {
        /// The key in `[log]`.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// A secret cannot be read. Not retryable.
    #[error("log.{0}")]
    Secret(#[from] SecretError),
    /// This program was built without what the configuration asks for. Not retryable.
    #[error("log.{key} needs a program built with the feature `{feature}`, and this one was not; use one that was")]
    Feature {
        /// The key in `[log]`.
        key: &'static str,
        /// The feature of this crate.
        feature: &'static str,
    },
    /// The client of the log cannot be made. Not retryable.
    #[error("the client for Kafka cannot be made: {0}")]
    Client(String),
    /// The directory cannot be opened.
    #[error(transparent)]
    Directory(#[from] ReadError),
}

/// How the connection to Kafka is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// Not at all.
    #[default]
    Plaintext,
    /// TLS, with a certificate of the client's where one is configured.
    Tls,
    /// TLS, and the client proves who it is by SASL.
    SaslTls,
}

/// How the client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SaslMechanism {
    /// A password, SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
    /// A password, SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// A token that somebody else renews.
    Oauthbearer,
}

/// The `[log]` table. It holds no secret, only where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The folder of an embedded log, instead of Kafka.
    pub directory: Option<PathBuf>,
    /// Brokers to begin with: `host:port,host:port`.
    pub kafka: Option<String>,
    /// What stands before every topic, group and transactional id, on a cluster that is shared.
    pub prefix: String,
    /// How many brokers keep a new topic; where it is not given, the cluster decides.
    pub replication: Option<i32>,
    /// How long superseded records of `desired.*` stay at least, such as `"400d"`, which it is where nothing is said.
    pub desired_history: Option<String>,
    /// How the connection is protected.
    pub security: Security,
    /// Whom to trust, PEM; the system's authorities where it is not given.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, PEM.
    pub client_certificate_file: Option<PathBuf>,
    /// The key of the client's certificate, PEM.
    pub client_key_file: Option<PathBuf>,
    /// How the client proves who it is.
    pub sasl_mechanism: Option<SaslMechanism>,
    /// Who the client is.
    pub username: Option<String>,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
    /// The environment variable that holds the password.
    pub password_env: Option<String>,
    /// The file that holds the token; read again before the token expires.
    pub token_file: Option<PathBuf>,
    /// The environment variable that holds the token.
    pub token_env: Option<String>,
}

impl LogConfig {
    /// Opens the log. Relative paths are looked up in `base`, the folder of the configuration file.
    ///
    /// Kafka need not be there: only what is wrong on this side is an error. Must be called within a Tokio runtime.
    pub fn open(&self, base: &Path) -> Result<Arc<dyn Log>, OpenError> {
        match (&self.directory, &self.kafka) {
            (Some(directory), None) => {
                self.check_embedded()?;
                let options = EmbeddedOptions { desired_history: self.history()?, ..EmbeddedOptions::default() };
                Ok(Arc::new(EmbeddedLog::open_with(base.join(directory), options)?))
            }
            (None, Some(_)) => self.open_kafka(base),
            (Some(_), Some(_)) => Err(config("directory", "both directory and kafka are given", "keep one")),
            (None, None) => Err(config("kafka", "no log is named", "give the brokers, such as \"broker1:9092\"")),
        }
    }

    /// How long superseded records of `desired.*` stay at least.
    pub fn history(&self) -> Result<Duration, OpenError> {
        let Some(text) = &self.desired_history else { return Ok(DESIRED_HISTORY) };
        // Kafka counts milliseconds in 63 bits
        let fits = |period: &Duration| i64::try_from(period.as_millis()).is_ok();
        parse_duration(text).filter(fits).ok_or_else(|| {
            config("desired_history", format!("{text:?} is no duration"), "write it as \"400d\", or leave it out")
        })
    }

    /// Whether it names no log, only how one is kept.
    pub fn names_no_log(&self) -> bool {
        *self == Self { desired_history: self.desired_history.clone(), ..Self::default() }
    }

    /// An embedded log has none of what Kafka needs.
    fn check_embedded(&self) -> Result<(), OpenError> {
        let (directory, desired_history) = (self.directory.clone(), self.desired_history.clone());
        let plain = Self { directory, desired_history, ..Self::default() };
        if *self == plain {
            return Ok(());
        }
        Err(config("directory", "keys for Kafka are given beside the directory of an embedded log", "remove them"))
    }

    #[cfg(feature = "kafka")]
    fn open_kafka(&self, base: &Path) -> Result<Arc<dyn Log>, OpenError> {
        Ok(Arc::new(crate::kafka::KafkaLog::open(self, base)?))
    }

    #[cfg(not(feature = "kafka"))]
    #[allow(clippy::unused_self, reason = "called as the one above is")]
    fn open_kafka(&self, _base: &Path) -> Result<Arc<dyn Log>, OpenError> {
        Err(OpenError::Feature { key: "kafka", feature: "kafka" })
    }
}

/// An error of the configuration.
pub(crate) fn config(key: &'static str, problem: impl Into<String>, hint: impl Into<String>) -> OpenError {
    OpenError::Config { key, problem: problem.into(), hint: hint.into() }
}
