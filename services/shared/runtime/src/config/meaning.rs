//! What is wrong with a configuration that can be parsed: collected, so that a person corrects all of it at once.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ConfigError;
use crate::secret::SecretRef;

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

/// Collects what is wrong.
#[derive(Debug, Default)]
pub struct Findings(Vec<Problem>);

impl Findings {
    /// Notes a problem.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Problem { key: key.into(), message: message.into(), hint: hint.into() });
    }

    /// Notes a secret of `key` called `what` that is named nowhere, or twice.
    pub fn secret(&mut self, key: &str, what: &str, secret: &SecretRef) {
        match (&secret.file, &secret.env) {
            (None, None) => self.add(
                format!("{key}.{what}"),
                "is missing",
                format!("add {what}_file = \"…\" or {what}_env = \"…\"; the secret itself never stands in this file"),
            ),
            (Some(_), Some(_)) => {
                self.add(
                    format!("{key}.{what}"),
                    format!("both {what}_file and {what}_env are given"),
                    "keep one of them",
                );
            }
            _ => {}
        }
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `settings` if nothing is wrong, else the error that tells all of it. A value that could not be made is `None`, and
    /// then something MUST have been noted.
    pub fn into_result<T>(self, path: &Path, settings: Option<T>) -> Result<T, SettingsError> {
        match settings {
            Some(settings) if self.0.is_empty() => Ok(settings),
            _ => Err(SettingsError::Meaning { path: path.to_owned(), problems: self.0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_everything_that_is_wrong_at_once() {
        let mut found = Findings::default();
        assert_eq!(Findings::default().into_result(Path::new("x.toml"), Some(1)).unwrap(), 1);
        found.add("a", "is odd", "make it even");
        found.secret("b", "password", &SecretRef::default());
        found.secret("c", "password", &SecretRef { file: Some("f".into()), env: None });
        let said = found.into_result(Path::new("x.toml"), Some(1)).unwrap_err().to_string();
        assert!(
            said.starts_with("x.toml: 2 problems\n\n  a: is odd\n    hint: make it even\n\n  b.password:"),
            "{said}"
        );
    }
}
