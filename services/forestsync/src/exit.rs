//! Exit codes, and which error leads to which.

use std::path::Path;
use std::process::ExitCode;

use crate::config::SettingsError;
use crate::instance::InstanceError;
use forestsync_log::WriterError;
use forestsync_provisioner::CredentialError;
use forestsync_runtime::secret::SecretError;

/// How a command ended. The numbers are part of the interface and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done. 0.
    Done,
    /// Something failed. 1.
    Failed,
    /// The command line or the configuration is not accepted; nothing was done. 2, as for unknown options.
    Usage,
    /// Everything else is done, and something is held or quarantined until a person looks at it. 3.
    Held,
    /// A verification found a difference. 4.
    Differs,
    /// Another process is at work on the same data. 5.
    Running,
    /// The wait ended before it was done; nothing has failed, and it goes on. 6.
    Waiting,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Held => 3,
            Self::Differs => 4,
            Self::Running => 5,
            Self::Waiting => 6,
        }
    }

    /// The exit an error leads to.
    pub fn of(error: &anyhow::Error) -> Self {
        for cause in error.chain() {
            let secret = cause.is::<SecretError>() || cause.is::<CredentialError>();
            if secret || cause.is::<SettingsError>() || cause.is::<UsageError>() {
                return Self::Usage;
            }
            let running = matches!(cause.downcast_ref(), Some(InstanceError::Running { .. }));
            let writing = matches!(cause.downcast_ref(), Some(WriterError::Busy(_)));
            if running || writing || cause.is::<InUseError>() {
                return Self::Running;
            }
        }
        Self::Failed
    }
}

/// The error with its causes, each said once: many errors name their cause themselves.
pub fn message(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !message.contains(&cause) {
            message = if message.is_empty() { cause } else { format!("{message}: {cause}") };
        }
    }
    message
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Options or arguments that only together, or only with this configuration, make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}\n\nhint: {hint}")]
pub struct UsageError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl UsageError {
    /// Makes one.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// A secret that could not be had: which key of which file wants it.
    pub fn secret(file: &Path, key: &str, error: &SecretError) -> Self {
        Self::new(format!("{}: {key}.{error}", file.display()), SECRET_HINT)
    }

    /// The tenant's credential that could not be had.
    pub fn credential(file: &Path, error: &CredentialError) -> Self {
        Self::new(format!("{}: tenant.{error}", file.display()), error.hint())
    }
}

/// Services are at work on a log that nobody may write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("group {group} is at work: {members}\n\nhint: end these services first, or copy with --force")]
pub struct InUseError {
    /// The group.
    pub group: String,
    /// Its members.
    pub members: String,
}

/// What to do where a secret cannot be had.
pub const SECRET_HINT: &str = "put it there, readable for the account that runs forestsync";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_exit_through_context() {
        let usage = anyhow::Error::new(UsageError::new("a", "b")).context("while doing");
        assert_eq!(Exit::of(&usage), Exit::Usage);
        let running = anyhow::Error::new(InstanceError::Running { path: "x".into(), holder: String::new() });
        assert_eq!(Exit::of(&running.context("more")), Exit::Running);
        let in_use = anyhow::Error::new(InUseError { group: "projector".into(), members: "a".into() });
        assert_eq!(Exit::of(&in_use), Exit::Running);
        assert_eq!(Exit::of(&anyhow::anyhow!("other")), Exit::Failed);
        let chained = anyhow::anyhow!("no such file").context("x: no such file").context("while reading");
        assert_eq!(message(&chained), "while reading: x: no such file");
        let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Held, Exit::Differs, Exit::Running, Exit::Waiting]
            .map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6]);
    }
}
