//! The configuration file: what it may say ([`file`]), whether that makes sense ([`check`]), and what it means
//! ([`settings`]).
//!
//! Reading has two stages. First the file is parsed: unknown keys, wrong types and missing keys are refused with the
//! line and the nearest known key. Then its meaning is checked, without network and without reading secrets, and every
//! problem is reported at once with its key and what to do. What passed both stages is a [`Settings`], which the rest
//! of the program trusts.

pub mod check;
pub mod file;
pub mod settings;

use std::fmt;
use std::path::{Path, PathBuf};

use forestsync_runtime::config::ConfigError;

pub use settings::{ControllerSettings, ForestSettings, GuardSettings, ScopeEntry, Settings, TenantSettings};

/// One thing that is wrong with a configuration's meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key concerned, such as `forests.emea.include`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Why a configuration is not accepted. Never retryable: somebody must edit the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read or parsed.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// It can be parsed, and says something that cannot be meant.
    #[error("{}: {}", path.display(), List(problems))]
    Meaning {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, in the order of the file.
        problems: Vec<Problem>,
    },
}

struct List<'a>(&'a [Problem]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} problem{}", if count == 1 { "" } else { "s" })?;
        for problem in self.0 {
            write!(f, "\n\n  {}: {}\n    hint: {}", problem.key, problem.message, problem.hint)?;
        }
        Ok(())
    }
}

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Settings, SettingsError> {
    let loaded = forestsync_runtime::config::load::<file::File>(path)?;
    check::check(path, loaded.value, loaded.document, &loaded.base)
}
