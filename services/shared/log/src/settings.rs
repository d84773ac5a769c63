//! The `[log]` table of a configuration file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::{EmbeddedLog, Log, ReadError};

/// Where the log is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// The folder of an embedded log, relative to the file.
    #[serde(default)]
    pub embedded: Option<PathBuf>,
    /// The brokers of a cluster: `host:port,host:port`.
    #[serde(default)]
    pub kafka: Option<String>,
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No engine is named, or two are.
    #[error("name one log: kafka = \"host:port\", or embedded = \"folder\"")]
    Engine,
    /// The folder cannot be used.
    #[error(transparent)]
    Embedded(#[from] ReadError),
}

impl OpenError {
    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }
}

impl LogConfig {
    /// Opens the log. Relative paths are relative to `base`.
    pub async fn open(&self, base: &Path) -> Result<Arc<dyn Log>, OpenError> {
        match (&self.embedded, &self.kafka) {
            (Some(folder), None) => Ok(Arc::new(EmbeddedLog::open(base.join(folder))?)),
            _ => Err(OpenError::Engine),
        }
    }
}
