//! What a collector is told: which forest, which controllers, which account, which attributes.
//!
//! Nothing here is read from a file: [`settings`](crate::settings) is, and fills these structs.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use forestsync_domain::{Dn, syntax};
use secrecy::{ExposeSecret as _, SecretString};

/// Why a collector's configuration is refused. Never retryable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A controller is not written as an LDAP URL.
    #[error(
        "{text:?} is no controller address: {detail}; write ldaps://host[:port], or ldap://host[:port] for StartTLS"
    )]
    Address {
        /// The address as written.
        text: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The forest's name cannot be part of a stream's name.
    #[error("forest name {0:?} cannot name a stream; use 1 to 100 of a-z, 0-9, '-', '_'")]
    Name(String),
    /// No controller is configured.
    #[error("forest {0}: no controller is configured; name at least one in `controllers`")]
    NoControllers(String),
    /// The account has no name.
    #[error("forest {0}: `bind` is empty; give the account as user@domain, DOMAIN\\user or a distinguished name")]
    NoBindName(String),
    /// The password is empty: a controller would take that for an anonymous bind and answer success.
    #[error(
        "forest {0}: the password is empty, which a controller takes for an anonymous bind; give the account's password"
    )]
    EmptyPassword(String),
    /// An attribute holds a secret.
    #[error("forest {forest}: attribute {attribute} holds a secret and is never read; remove it from `attributes`")]
    SecretAttribute {
        /// The forest.
        forest: String,
        /// The attribute.
        attribute: String,
    },
    /// An attribute's name is none.
    #[error("forest {forest}: {attribute:?} is no attribute name; use the schema's lDAPDisplayName")]
    AttributeName {
        /// The forest.
        forest: String,
        /// The name as written.
        attribute: String,
    },
    /// Two naming contexts would write the same stream.
    #[error("forest {forest}: naming context {naming_context} is configured twice")]
    Twice {
        /// The forest.
        forest: String,
        /// The naming context.
        naming_context: Dn,
    },
}

/// How the connection is secured. There is no third way: nothing is ever sent in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Security {
    /// TLS from the first byte (`ldaps://`, port 636).
    Ldaps,
    /// The StartTLS extended operation (RFC 4511 4.14) before anything else (`ldap://`, port 389).
    StartTls,
}

/// Where a domain controller listens, and by which name its certificate is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerAddress {
    /// The name the certificate must carry: a DNS name or an IP address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
    /// Where to connect instead of resolving `host`.
    pub address: Option<SocketAddr>,
}

impl ControllerAddress {
    /// The same controller, reached at `address` instead of by resolving its name.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }
}

impl FromStr for ControllerAddress {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let bad = |detail| ConfigError::Address { text: text.chars().take(200).collect(), detail };
        let url = url::Url::parse(text).map_err(|_| bad("it is no URL"))?;
        let security = match url.scheme() {
            "ldaps" => Security::Ldaps,
            "ldap" => Security::StartTls,
            _ => return Err(bad("the scheme is neither ldaps nor ldap")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("an account does not belong into it"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("only a host and a port belong into it"));
        }
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| bad("it names no host"))?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).to_ascii_lowercase();
        let port = url.port().unwrap_or(match security {
            Security::Ldaps => 636,
            Security::StartTls => 389,
        });
        Ok(Self { host, port, security, address: None })
    }
}

impl fmt::Display for ControllerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.security {
            Security::Ldaps => "ldaps",
            Security::StartTls => "ldap",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// One forest as a collector reads it.
#[derive(Debug, Clone)]
pub struct ForestConfig {
    /// The forest's name; part of its streams' names.
    pub name: String,
    /// Its domain controllers. The one a cursor belongs to is preferred, then the order here counts.
    pub controllers: Vec<ControllerAddress>,
    /// The account: user@domain, DOMAIN\user or a distinguished name.
    pub bind_name: String,
    /// Its password.
    pub password: SecretString,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The naming contexts to read. Empty: the controller's defaultNamingContext.
    pub naming_contexts: Vec<Dn>,
    /// The attributes to read, by lDAPDisplayName. What the events themselves need is added.
    pub attributes: Vec<String>,
    /// LDAP_DIRSYNC_OBJECT_SECURITY: read what the account may read. Without it the account needs the right
    /// Replicating Directory Changes and Windows disregards the objects' own access lists.
    pub object_security: bool,
    /// How long to wait between two looks at the controller.
    pub poll_interval: Duration,
    /// The longest silence of a controller that is answering.
    pub operation_timeout: Duration,
    /// The longest silence before the first entry of an answer: a server may collect a huge answer first.
    pub first_entry_timeout: Duration,
    /// Limit for TCP connect, TLS handshake and bind, each.
    pub connect_timeout: Duration,
    /// How long the controller of the cursor is waited for before another one is read instead. Another one is read in full,
    /// and what it does not have yet would look as if it were gone: longer than a restart takes.
    pub failover_after: Duration,
    /// How often a full read is made where the account cannot see deletions.
    pub snapshot_interval: Duration,
    /// How often it is verified that the account can still read what it could read.
    pub rights_interval: Duration,
    /// How long to wait after the account was refused, twice as long each time, an hour at most. Long, so that retries do
    /// not lock the account out. All naming contexts of the forest wait together.
    pub credentials_retry: Duration,
    /// Whether changes wake the collector before the poll interval is over.
    pub notifications: bool,
    /// MaxBytes of the DirSync control: about how large a page is. A page that fits one append is resumed after an
    /// interruption instead of being read from the start of the snapshot.
    pub page_bytes: u32,
}

impl ForestConfig {
    /// A forest with the default settings.
    pub fn new(
        name: impl Into<String>,
        controllers: Vec<ControllerAddress>,
        bind_name: impl Into<String>,
        password: SecretString,
    ) -> Self {
        Self {
            name: name.into(),
            controllers,
            bind_name: bind_name.into(),
            password,
            ca_file: None,
            naming_contexts: Vec::new(),
            attributes: Vec::new(),
            object_security: true,
            poll_interval: Duration::from_secs(1),
            operation_timeout: Duration::from_mins(2),
            first_entry_timeout: Duration::from_mins(10),
            connect_timeout: Duration::from_secs(15),
            failover_after: Duration::from_mins(5),
            snapshot_interval: Duration::from_hours(6),
            rights_interval: Duration::from_mins(1),
            credentials_retry: Duration::from_mins(1),
            notifications: true,
            page_bytes: 1024 * 1024,
        }
    }

    /// Refuses what cannot work or must not happen.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let forest = || self.name.clone();
        if !forestsync_schemas::streams::is_plain(&self.name) {
            return Err(ConfigError::Name(forest()));
        }
        if self.controllers.is_empty() {
            return Err(ConfigError::NoControllers(forest()));
        }
        if self.bind_name.trim().is_empty() {
            return Err(ConfigError::NoBindName(forest()));
        }
        if self.password.expose_secret().is_empty() {
            return Err(ConfigError::EmptyPassword(forest()));
        }
        for attribute in &self.attributes {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            if attribute.is_empty() || attribute.len() > 256 || !attribute.bytes().all(legal) {
                return Err(ConfigError::AttributeName { forest: forest(), attribute: attribute.clone() });
            }
            if syntax::is_secret(attribute) {
                return Err(ConfigError::SecretAttribute { forest: forest(), attribute: attribute.clone() });
            }
        }
        for (i, naming_context) in self.naming_contexts.iter().enumerate() {
            if self.naming_contexts.iter().take(i).any(|other| other == naming_context) {
                return Err(ConfigError::Twice { forest: forest(), naming_context: naming_context.clone() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_controller_addresses() {
        let dc: ControllerAddress = "ldaps://DC01.Emea.Example".parse().unwrap();
        assert_eq!((dc.host.as_str(), dc.port, dc.security), ("dc01.emea.example", 636, Security::Ldaps));
        let dc: ControllerAddress = "ldap://10.0.0.1:3890/".parse().unwrap();
        assert_eq!((dc.port, dc.security), (3890, Security::StartTls));
        let dc: ControllerAddress = "ldaps://[::1]:6360".parse().unwrap();
        assert_eq!((dc.host.as_str(), dc.to_string().as_str()), ("::1", "ldaps://[::1]:6360"));
        for bad in ["dc01", "http://dc01", "ldaps://", "ldaps://u:p@dc01", "ldaps://dc01/DC=x", "ldaps://dc01?x"] {
            assert!(bad.parse::<ControllerAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn refuses_what_must_not_happen() {
        let dc: ControllerAddress = "ldaps://dc01".parse().unwrap();
        let good = ForestConfig::new("emea", vec![dc], "svc@emea.example", "x".to_owned().into());
        assert_eq!(good.validate(), Ok(()));
        let mut bad = good.clone();
        bad.attributes = vec!["UNICODEPWD".into()];
        assert!(matches!(bad.validate(), Err(ConfigError::SecretAttribute { .. })));
        bad.attributes = vec!["*".into()];
        assert!(matches!(bad.validate(), Err(ConfigError::AttributeName { .. })));
        let mut bad = good.clone();
        bad.password = String::new().into();
        assert_eq!(bad.validate(), Err(ConfigError::EmptyPassword("emea".into())));
        assert!(!format!("{good:?}").contains("\"x\""));
    }
}
