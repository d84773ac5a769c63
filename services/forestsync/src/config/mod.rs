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

use std::path::Path;

pub use forestsync_projector::ScopeEntry;
pub use forestsync_provisioner::settings::{GuardSettings, TenantSettings};
pub use forestsync_runtime::config::{Problem, SettingsError};
pub use settings::{ForestSettings, Settings};

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Settings, SettingsError> {
    let loaded = forestsync_runtime::config::load::<file::File>(path)?;
    check::check(path, loaded.value, loaded.document, &loaded.base)
}
