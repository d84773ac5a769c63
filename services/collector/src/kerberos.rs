//! Binding by Kerberos: GSSAPI (RFC 4752) with a keytab, inside TLS and without a security layer of its own.
//!
//! ```text
//!  keytab --(MIT Kerberos: AS and TGS exchange)--> ticket for ldap/<controller> --> bind, bind, bind --> LDAP as usual
//! ```
//!
//! - The exchange happens before the connection is given to the LDAP client, which would lay SASL's protection over TLS.
//!   The controller is told that none is wanted; one that insists on it is refused.
//! - Each bind carries the channel binding `tls-server-end-point` (RFC 5929): a bind that was passed on through another TLS
//!   connection is refused by controllers that look at it.
//! - Credentials come from the keytab each time that a session is made, and MIT Kerberos renews them from there when half of
//!   their life is over. It knows the keytab by the environment only, and a process cannot change that safely after its
//!   start. So `KRB5_CLIENT_KTNAME` MUST name the configured keytab and `KRB5CCNAME` MUST be a cache in memory; else the bind
//!   is refused before anything is sent, with what to set. One process, one keytab.
//! - Where the feature `kerberos` was left out of the build, every bind is refused with that reason.

use std::path::{Path, PathBuf};

use forestsync_schemas::changes::StopCause;

use crate::results;

/// The environment variable that names the keytab for MIT Kerberos.
const KEYTAB_VARIABLE: &str = "KRB5_CLIENT_KTNAME";

/// The environment variable that names the credential cache.
const CACHE_VARIABLE: &str = "KRB5CCNAME";

/// An account that binds by Kerberos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KerberosConfig {
    /// The file with the account's keys.
    pub keytab: PathBuf,
    /// The account, as `name@REALM`.
    pub principal: String,
}

/// Why a bind by Kerberos failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KerberosError {
    /// The program cannot do it. Not retryable.
    #[error("this program was built without Kerberos")]
    NotBuilt,
    /// The environment does not say what MIT Kerberos must know. Not retryable.
    #[error("the environment variable {variable} is not {expected}")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What it must be.
        expected: String,
    },
    /// The keytab cannot be read. Retryable.
    #[error("the keytab {path} cannot be read: {detail}")]
    Keytab {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The keytab has no key of the principal. Nothing was sent.
    #[error("the keytab has no key of {principal}: {detail}")]
    NoKey {
        /// The account.
        principal: String,
        /// What Kerberos said.
        detail: String,
    },
    /// No key distribution centre answers. Retryable.
    #[error("no Kerberos key distribution centre can be reached: {0}")]
    Kdc(String),
    /// The clocks differ too much. Retryable.
    #[error("the clocks of this machine and of the directory differ too much: {0}")]
    Skew(String),
    /// The account, or its key, is refused. Knocking again may lock it.
    #[error("Kerberos refuses the account: {0}")]
    Account(String),
    /// The directory does not know the controller's service.
    #[error("Kerberos does not know the service of this controller: {0}")]
    Service(String),
    /// Something else that Kerberos says.
    #[error("Kerberos failed: {0}")]
    Failed(String),
    /// The controller refuses the bind.
    #[error("the Kerberos bind is refused with code {code}: {text}")]
    Refused {
        /// The result code.
        code: u32,
        /// The diagnostic text.
        text: String,
    },
    /// The controller's part of the exchange is not what it must be.
    #[error("the Kerberos bind is answered wrongly: {0}")]
    Answer(&'static str),
}

impl KerberosError {
    /// What kind of cause it is.
    pub(crate) fn cause(&self) -> StopCause {
        match self {
            Self::Kdc(_) | Self::Failed(_) => StopCause::Unreachable,
            Self::Refused { code, text } => results::of_bind(*code, text).cause,
            Self::Answer(_) => StopCause::Protocol,
            _ => StopCause::Credentials,
        }
    }

    /// Whether knocking again may lock the account.
    pub(crate) fn blames_the_account(&self) -> bool {
        match self {
            Self::Account(_) => true,
            Self::Refused { code, .. } => results::blames_the_account(*code),
            _ => false,
        }
    }

    /// What a person can do.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::NotBuilt => "build it with the feature `kerberos`, or use `bind` with a password",
            Self::Environment { .. } => {
                "set it where the service is started: KRB5_CLIENT_KTNAME=FILE:<the keytab> and KRB5CCNAME=MEMORY:forestsync"
            }
            Self::Keytab { .. } => "let the service's account read the keytab, and nobody else",
            Self::NoKey { .. } => "check `principal` against the keytab (klist -k), or write a new one",
            Self::Kdc(_) => {
                "check the realm in krb5.conf or its DNS records, and port 88 to the controllers; retried by itself"
            }
            Self::Skew(_) => "set this machine's clock by the directory's time (NTP); retried by itself",
            Self::Account(_) => {
                "check the principal's name, and write a new keytab if the account's password was changed; then restart the collector"
            }
            Self::Service(_) => {
                "name the controller as it is registered (servicePrincipalName ldap/<host>), not by address or alias"
            }
            Self::Failed(_) => "look at the message and at krb5.conf; retried by itself",
            Self::Refused { code, text } => results::of_bind(*code, text).hint,
            Self::Answer(_) => "the controller answers what cannot be used; report it with this message",
        }
    }
}

/// Refuses an environment by which MIT Kerberos would not use `keytab`, given the values of the two variables.
#[cfg_attr(not(feature = "kerberos"), allow(dead_code, reason = "asked for where there is Kerberos"))]
fn check_environment(keytab: &Path, named: Option<&str>, cache: Option<&str>) -> Result<(), KerberosError> {
    let file = named.map(|name| name.strip_prefix("FILE:").unwrap_or(name));
    if file.map(Path::new) != Some(keytab) {
        let expected = format!("FILE:{}", keytab.display());
        return Err(KerberosError::Environment { variable: KEYTAB_VARIABLE, expected });
    }
    if !cache.is_some_and(|name| name.starts_with("MEMORY:")) {
        let expected = "MEMORY:forestsync".to_owned();
        return Err(KerberosError::Environment { variable: CACHE_VARIABLE, expected });
    }
    Ok(())
}

#[cfg(feature = "kerberos")]
mod exchange;
#[cfg(feature = "kerberos")]
pub(crate) use exchange::bind;

/// Where there is no Kerberos.
#[cfg(not(feature = "kerberos"))]
#[allow(clippy::unused_async, reason = "the one with Kerberos waits")]
pub(crate) async fn bind(
    _stream: &mut crate::transport::Secured,
    to: &crate::config::ControllerAddress,
    _account: &KerberosConfig,
    _limit: std::time::Duration,
) -> Result<(), crate::error::ConnectError> {
    Err(crate::error::ConnectError::Kerberos { host: to.host.clone(), fault: KerberosError::NotBuilt })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_must_name_the_keytab_and_a_cache_in_memory() {
        let check = |named, cache| check_environment(Path::new("/etc/svc.keytab"), named, cache);
        let memory = Some("MEMORY:forestsync");
        assert_eq!(check(Some("FILE:/etc/svc.keytab"), memory), Ok(()));
        assert_eq!(check(Some("/etc/svc.keytab"), memory), Ok(()));
        for (named, cache) in [
            (None, memory),
            (Some("FILE:/etc/krb5.keytab"), memory),
            (Some("/etc/svc.keytab"), None),
            (Some("/etc/svc.keytab"), Some("FILE:/tmp/cache")),
        ] {
            let error = check(named, cache).unwrap_err();
            assert!(error.hint().contains("KRB5_CLIENT_KTNAME") && error.cause() == StopCause::Credentials, "{error}");
        }
    }
}
