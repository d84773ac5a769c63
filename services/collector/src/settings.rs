//! The forest's part of a configuration file: the keys as they are written, what they mean, and what is wrong with them.
//!
//! `forestsync.toml` has a table of these for each forest, the collector's own file has one. Nothing here touches the
//! network, and no secret is read.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forestsync_domain::{Dn, syntax};
use forestsync_runtime::config::{Findings, duration, string_or_table};
use forestsync_runtime::secret::{SecretError, SecretRef, SecretString};
use forestsync_schemas::attributes::REQUESTED;
use forestsync_schemas::streams;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use url::Url;

use crate::{ControllerAddress, ForestConfig, KerberosConfig, SrvConfig};

/// What a name must look like that becomes part of a stream's name.
const PLAIN: &str = "use 1 to 100 of a-z, 0-9, '-' and '_': it becomes part of the names of streams and folders";

/// A forest as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForestForm {
    /// Its name: part of the names of its streams.
    pub name: String,
    /// Its domain controllers, the preferred one first, or where DNS finds them.
    pub controllers: ControllersForm,
    /// PEM file with the certificates that the controllers are trusted by; without it those of the machine.
    pub ca_file: Option<PathBuf>,
    /// The account: a distinguished name, a user principal name or `DOMAIN\name`.
    #[serde(default)]
    pub bind: String,
    /// Kerberos with a keytab instead of `bind` and a password.
    pub kerberos: Option<KerberosForm>,
    /// File that holds its password.
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds its password.
    pub password_env: Option<String>,
    /// The naming contexts that are read, or `"all"` for all domains of the forest; without it the controller's default
    /// one.
    #[serde(default)]
    pub domains: DomainsForm,
    /// The attributes that are read instead of those that the rules need. Nothing else leaves the forest.
    pub attributes: Option<Vec<String>>,
    /// Pause between two reads.
    #[serde(default = "default_poll_interval", deserialize_with = "duration")]
    pub poll_interval: Duration,
    /// Whether the controller is asked to tell of changes, so that they are read before the next poll.
    #[serde(default = "yes")]
    pub notifications: bool,
    /// Whether the account reads what its rights allow (a plain user), instead of holding the right to replicate.
    #[serde(default = "yes")]
    pub object_security: bool,
    /// The longest wait for an answer.
    #[serde(default = "default_operation_timeout", deserialize_with = "duration")]
    pub operation_timeout: Duration,
    /// How long the controller that was read last is waited for before another one is read instead.
    #[serde(default = "default_failover_after", deserialize_with = "duration")]
    pub failover_after: Duration,
    /// The scope's containers. They are the projector's: a collector of its own has none.
    #[serde(default)]
    pub include: Vec<String>,
    /// Likewise.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// The controllers: a list, or where DNS finds them.
#[derive(Debug, Clone)]
pub enum ControllersForm {
    /// Listed.
    Listed(Vec<ControllerForm>),
    /// Found by DNS.
    Srv(SrvForm),
}

impl<'de> Deserialize<'de> for ControllersForm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrTable;
        impl<'de> Visitor<'de> for ListOrTable {
            type Value = ControllersForm;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of controllers, or { srv = \"emea.example\" }")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<ControllersForm, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(ControllersForm::Listed)
            }
            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<ControllersForm, A::Error> {
                SrvForm::deserialize(MapAccessDeserializer::new(table)).map(ControllersForm::Srv)
            }
        }
        deserializer.deserialize_any(ListOrTable)
    }
}

/// Controllers found by DNS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SrvForm {
    /// The DNS name of the domain.
    pub srv: String,
    /// The site whose controllers are preferred.
    pub site: Option<String>,
    /// StartTLS at the port of the record instead of LDAPS at port 636.
    #[serde(default)]
    pub starttls: bool,
    /// The name servers, `ip:port`; without it those of the machine.
    #[serde(default)]
    pub dns_servers: Vec<String>,
}

/// Kerberos with a keytab.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KerberosForm {
    /// The file with the account's keys.
    pub keytab: PathBuf,
    /// The account, `name@REALM`.
    pub principal: String,
}

/// The domains: a list, or a word.
#[derive(Debug, Clone)]
pub enum DomainsForm {
    /// Listed.
    Listed(Vec<String>),
    /// A word; only `all` means something.
    Word(String),
}

impl<'de> Deserialize<'de> for DomainsForm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrWord;
        impl<'de> Visitor<'de> for ListOrWord {
            type Value = DomainsForm;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"all\", or a list of distinguished names")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<DomainsForm, E> {
                Ok(DomainsForm::Word(word.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<DomainsForm, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(DomainsForm::Listed)
            }
        }
        deserializer.deserialize_any(ListOrWord)
    }
}

impl Default for DomainsForm {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// A domain controller: `"ldaps://host"`, or a table where the address is given as well.
#[derive(Debug, Clone)]
pub struct ControllerForm {
    /// `ldaps://host[:port]`, or `ldap://host[:port]` for StartTLS.
    pub url: String,
    /// `ip:port` to connect to, where the name does not resolve.
    pub address: Option<String>,
}

/// The table form of a controller.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControllerTable {
    url: String,
    address: Option<String>,
}

impl<'de> Deserialize<'de> for ControllerForm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        string_or_table(
            deserializer,
            "a URL such as \"ldaps://dc01.emea.example\", or { url = \"…\", address = \"ip:port\" }",
            |url| Self { url, address: None },
            |table: ControllerTable| Self { url: table.url, address: table.address },
        )
    }
}

fn yes() -> bool {
    true
}

fn default_poll_interval() -> Duration {
    Duration::from_secs(1)
}

fn default_operation_timeout() -> Duration {
    Duration::from_mins(2)
}

fn default_failover_after() -> Duration {
    Duration::from_mins(5)
}

/// A forest whose part of the file makes sense.
#[derive(Debug, Clone)]
pub struct ForestSettings {
    /// Its name.
    pub name: String,
    /// Its controllers, the preferred one first; at least one, unless DNS finds them.
    pub controllers: Vec<ControllerAddress>,
    /// Where DNS finds the controllers.
    pub srv: Option<SrvConfig>,
    /// What the controllers are trusted by; `None` for the certificates of the machine.
    pub ca_file: Option<PathBuf>,
    /// The account.
    pub bind: String,
    /// Kerberos instead of the account and its password.
    pub kerberos: Option<KerberosConfig>,
    /// Where its password is; nowhere with Kerberos.
    pub password: SecretRef,
    /// The folder that `password` is relative to.
    pub base: PathBuf,
    /// The naming contexts; empty for the controller's default one, or for all of them.
    pub domains: Vec<Dn>,
    /// Whether all domains of the forest are read, whichever there are.
    pub all_domains: bool,
    /// The attributes to read; `None` for those that the rules need.
    pub attributes: Option<Vec<String>>,
    /// Pause between two reads.
    pub poll_interval: Duration,
    /// Whether the controller is asked to tell of changes.
    pub notifications: bool,
    /// Whether the account reads by its own rights.
    pub object_security: bool,
    /// The longest wait for an answer.
    pub operation_timeout: Duration,
    /// How long the controller that was read last is waited for.
    pub failover_after: Duration,
}

impl ForestSettings {
    /// Gives a forest its meaning. What is wrong goes to `found`, under `key`; relative paths are relative to `base`.
    pub fn check(key: &str, form: &ForestForm, base: &Path, found: &mut Findings) -> Self {
        if !streams::is_plain(&form.name) {
            found.add(format!("{key}.name"), format!("{:?} cannot be used as a name", form.name), PLAIN);
        }
        let (controllers, srv) = check_controllers(&format!("{key}.controllers"), &form.controllers, found);
        let password = SecretRef { file: form.password_file.clone(), env: form.password_env.clone() };
        let kerberos = match &form.kerberos {
            Some(kerberos) => Some(check_kerberos(key, kerberos, &form.bind, &password, base, found)),
            None => {
                if form.bind.trim().is_empty() {
                    found.add(
                        format!("{key}.bind"),
                        "the account is empty",
                        "name the reader account: a distinguished name, user@domain or DOMAIN\\user",
                    );
                }
                found.secret(key, "password", &password);
                None
            }
        };
        if let Some(attributes) = &form.attributes {
            check_attributes(&format!("{key}.attributes"), attributes, found);
        }
        if form.poll_interval < Duration::from_millis(100) {
            found.add(format!("{key}.poll_interval"), "is less than 100ms", "use at least 100ms, such as \"1s\"");
        }
        if form.operation_timeout < Duration::from_secs(1) {
            let hint = "use \"120s\" unless you know better";
            found.add(format!("{key}.operation_timeout"), "is less than a second", hint);
        }
        let (domains, all_domains) = check_domains(key, &form.domains, found);
        Self {
            name: form.name.clone(),
            controllers,
            srv,
            kerberos,
            attributes: form.attributes.clone(),
            ca_file: form.ca_file.as_ref().map(|file| base.join(file)),
            bind: form.bind.clone(),
            password,
            base: base.to_owned(),
            domains,
            all_domains,
            poll_interval: form.poll_interval,
            notifications: form.notifications,
            object_security: form.object_security,
            operation_timeout: form.operation_timeout,
            failover_after: form.failover_after,
        }
    }

    /// Reads the account's password; with Kerberos there is none, and it is empty.
    pub fn read_password(&self) -> Result<SecretString, SecretError> {
        if self.kerberos.is_some() {
            return Ok(SecretString::from(String::new()));
        }
        self.password.read("password", &self.base)
    }

    /// What a collector is told.
    pub fn config(&self, password: SecretString) -> ForestConfig {
        let mut config = ForestConfig::new(self.name.as_str(), self.controllers.clone(), self.bind.as_str(), password);
        config.ca_file.clone_from(&self.ca_file);
        config.naming_contexts.clone_from(&self.domains);
        config.srv.clone_from(&self.srv);
        config.kerberos.clone_from(&self.kerberos);
        config.all_domains = self.all_domains && self.domains.is_empty();
        config.attributes = match &self.attributes {
            Some(attributes) => attributes.clone(),
            None => REQUESTED.map(str::to_owned).to_vec(),
        };
        config.object_security = self.object_security;
        config.poll_interval = self.poll_interval;
        config.operation_timeout = self.operation_timeout;
        config.failover_after = self.failover_after;
        config.notifications = self.notifications;
        config
    }
}

fn check_controllers(
    key: &str,
    controllers: &ControllersForm,
    found: &mut Findings,
) -> (Vec<ControllerAddress>, Option<SrvConfig>) {
    match controllers {
        ControllersForm::Listed(listed) => {
            if listed.is_empty() {
                let hint = "name at least one, such as \"ldaps://dc01.emea.example\", or { srv = \"emea.example\" }";
                found.add(key, "no controller is named", hint);
            }
            (listed.iter().filter_map(|c| check_controller(key, c, found)).collect(), None)
        }
        ControllersForm::Srv(srv) => {
            let label = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            let plain = |name: &str| {
                name.len() <= 253
                    && name.split('.').all(|part| (1..=63).contains(&part.len()) && part.bytes().all(label))
            };
            if !plain(&srv.srv) || srv.site.as_deref().is_some_and(|site| !plain(site)) {
                found.add(
                    key,
                    "srv or site is no DNS name",
                    "write the domain's DNS name, as in { srv = \"emea.example\" }",
                );
            }
            let mut config = SrvConfig::new(srv.srv.to_ascii_lowercase());
            (config.site, config.start_tls) = (srv.site.clone(), srv.starttls);
            for server in &srv.dns_servers {
                match server.parse::<SocketAddr>() {
                    Ok(server) => config.servers.push(server),
                    Err(_) => found.add(key, format!("{server:?} is no ip:port"), "write it as in \"192.0.2.1:53\""),
                }
            }
            (Vec::new(), Some(config))
        }
    }
}

fn check_kerberos(
    key: &str,
    kerberos: &KerberosForm,
    bind: &str,
    password: &SecretRef,
    base: &Path,
    found: &mut Findings,
) -> KerberosConfig {
    if !bind.is_empty() || password.file.is_some() || password.env.is_some() {
        let hint = "keep kerberos, or bind with its password";
        found.add(format!("{key}.kerberos"), "the account is given in two ways", hint);
    }
    if !cfg!(feature = "kerberos") {
        let hint = "build forestsync with the feature kerberos, or use bind with a password";
        found.add(format!("{key}.kerberos"), "this program was built without the feature kerberos", hint);
    }
    let sound = |(name, realm): (&str, &str)| !name.is_empty() && !realm.is_empty();
    if !kerberos.principal.rsplit_once('@').is_some_and(sound) {
        let hint = "write it as name@REALM, as in \"svc-forestsync@EMEA.EXAMPLE\"";
        found.add(format!("{key}.kerberos.principal"), format!("{:?} is no principal", kerberos.principal), hint);
    }
    KerberosConfig { keytab: base.join(&kerberos.keytab), principal: kerberos.principal.clone() }
}

fn check_attributes(key: &str, attributes: &[String], found: &mut Findings) {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    for attribute in attributes {
        if attribute.is_empty() || attribute.len() > 256 || !attribute.bytes().all(legal) {
            found.add(key, format!("{attribute:?} is no attribute name"), "use the schema's lDAPDisplayName");
        } else if syntax::is_secret(attribute) {
            found.add(key, format!("{attribute} holds a secret and is never read"), "remove it");
        }
    }
}

fn check_controller(key: &str, controller: &ControllerForm, found: &mut Findings) -> Option<ControllerAddress> {
    let hint = "write ldaps://host[:port], or ldap://host[:port] for StartTLS";
    let shown: String = controller.url.chars().take(200).collect();
    let Ok(url) = Url::parse(&controller.url) else {
        found.add(key, format!("{shown:?} is no URL"), hint);
        return None;
    };
    let plain = url.username().is_empty() && url.password().is_none() && matches!(url.path(), "" | "/");
    if !matches!(url.scheme(), "ldaps" | "ldap") || url.host_str().is_none_or(str::is_empty) {
        found.add(key, format!("{shown:?} is no address of a domain controller"), hint);
        return None;
    }
    if !plain || url.query().is_some() || url.fragment().is_some() {
        found.add(key, "the URL has more than scheme, host and port", hint);
        return None;
    }
    let address = match controller.address.as_deref().map(str::parse::<SocketAddr>) {
        None => None,
        Some(Ok(address)) => Some(address),
        Some(Err(_)) => {
            found.add(key, format!("the address of {shown:?} is no ip:port"), "write it as in \"192.0.2.1:636\"");
            return None;
        }
    };
    match controller.url.parse::<ControllerAddress>() {
        Ok(parsed) => Some(ControllerAddress { address, ..parsed }),
        Err(error) => {
            found.add(key, error.to_string(), hint);
            None
        }
    }
}

/// The domains that are named, and whether all there are is what is meant.
fn check_domains(key: &str, domains: &DomainsForm, found: &mut Findings) -> (Vec<Dn>, bool) {
    let domains = match domains {
        DomainsForm::Listed(domains) => domains,
        DomainsForm::Word(word) => {
            if word != "all" {
                let hint = "write domains = \"all\", or a list of the domains' distinguished names";
                found.add(format!("{key}.domains"), format!("{word:?} means nothing here"), hint);
            }
            return (Vec::new(), true);
        }
    };
    let mut checked: Vec<Dn> = Vec::with_capacity(domains.len());
    for text in domains {
        match text.parse::<Dn>() {
            Ok(dn) if dn.domain_name().is_empty() || dn.domain_name().split('.').count() != dn.rdns().len() => found
                .add(
                    format!("{key}.domains"),
                    format!("{text:?} is no naming context"),
                    "write the domain's distinguished name, such as \"DC=emea,DC=example\"",
                ),
            Ok(dn) if checked.contains(&dn) => {
                found.add(format!("{key}.domains"), format!("{text:?} stands there twice"), "keep one of them");
            }
            Ok(dn) => checked.push(dn),
            Err(error) => found.add(
                format!("{key}.domains"),
                format!("{text:?}: {error}"),
                "write the domain's distinguished name, such as \"DC=emea,DC=example\"",
            ),
        }
    }
    (checked, false)
}
