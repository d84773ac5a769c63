//! Secrets: from files or the environment, never from the configuration itself.

use std::fmt;
use std::path::{Path, PathBuf};

pub use secrecy::{ExposeSecret, SecretString};

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Neither a file nor a variable is named.
    #[error("{what}: name a file ({what}_file) or an environment variable ({what}_env) that holds it")]
    Missing {
        /// What the secret is for, as the configuration calls it.
        what: &'static str,
    },
    /// Both are named.
    #[error("{what}: both {what}_file and {what}_env are given; keep one")]
    Both {
        /// What the secret is for.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("{what}: {} cannot be read: {source}", path.display())]
    File {
        /// What the secret is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The variable is not set, or is not text.
    #[error("{what}: the environment variable {name} is not set")]
    Env {
        /// What the secret is for.
        what: &'static str,
        /// The variable.
        name: String,
    },
    /// It is there and empty: an empty password would be an anonymous bind, so it is refused before it is sent.
    #[error("{what}: the secret in {place} is empty")]
    Empty {
        /// What the secret is for.
        what: &'static str,
        /// Where it was found.
        place: String,
    },
}

/// Where a secret is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretRef {
    /// A file whose first line it is.
    pub file: Option<PathBuf>,
    /// An environment variable.
    pub env: Option<String>,
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretRef").field("file", &self.file).field("env", &self.env).finish()
    }
}

impl SecretRef {
    /// Reads the secret. Relative files are looked up in `base`, the folder of the configuration file.
    pub fn read(&self, what: &'static str, base: &Path) -> Result<SecretString, SecretError> {
        let (text, place) = match (&self.file, &self.env) {
            (None, None) => return Err(SecretError::Missing { what }),
            (Some(_), Some(_)) => return Err(SecretError::Both { what }),
            (Some(file), None) => {
                let path = base.join(file);
                let text = std::fs::read_to_string(&path).map_err(|source| SecretError::File {
                    what,
                    path: path.clone(),
                    source,
                })?;
                (text, path.display().to_string())
            }
            (None, Some(name)) => {
                let text = std::env::var(name).map_err(|_| SecretError::Env { what, name: name.clone() })?;
                (text, name.clone())
            }
        };
        let first = text.lines().next().unwrap_or_default();
        if first.is_empty() { Err(SecretError::Empty { what, place }) } else { Ok(first.to_owned().into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_line_of_a_file_and_refuses_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("good"), "s3cret\n").unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        let read = |file: &str| {
            let secret = SecretRef { file: Some(file.into()), env: None };
            secret.read("password", folder.path())
        };
        assert_eq!(read("good").unwrap().expose_secret(), "s3cret");
        assert!(matches!(read("empty"), Err(SecretError::Empty { .. })));
        assert!(matches!(read("none"), Err(SecretError::File { .. })));
        let both = SecretRef { file: Some("good".into()), env: Some("X".into()) };
        assert!(matches!(both.read("password", folder.path()), Err(SecretError::Both { .. })));
        assert!(matches!(SecretRef::default().read("password", folder.path()), Err(SecretError::Missing { .. })));
    }
}
