//! Who is told, and when a configuration is quarantined: the keys as they are written, and what is wrong with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use forestsync_rules::quarantine::QuarantineLimits;
use forestsync_runtime::config::{Findings, duration};
use forestsync_runtime::secret::SecretRef;
use serde::Deserialize;

use crate::config::QuarantineConfig;
use crate::notify::{MailConfig, MailTls, NotifyConfig, WebhookConfig, is_mailbox};

/// When a configuration is quarantined, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuarantineForm {
    /// Fewer failing objects than this are never too many.
    pub minimum: u64,
    /// More than this share of the objects, 0 to 1, is too many.
    pub share: f64,
    /// More objects than this are too many.
    pub count: u64,
    /// Likewise objects and references together.
    pub with_references: u64,
    /// The first pause; each further one is twice as long.
    #[serde(deserialize_with = "duration")]
    pub pause: Duration,
    /// The longest pause.
    #[serde(deserialize_with = "duration")]
    pub longest_pause: Duration,
}

impl Default for QuarantineForm {
    fn default() -> Self {
        let QuarantineConfig { limits, pause, longest_pause } = QuarantineConfig::default();
        let QuarantineLimits { minimum, share, count, with_references } = limits;
        Self { minimum, share, count, with_references, pause, longest_pause }
    }
}

impl QuarantineForm {
    /// Gives it its meaning. What is wrong goes to `found`; `key` is what its keys begin with.
    pub fn check(&self, key: &str, found: &mut Findings) -> QuarantineConfig {
        if !(0.0..=1.0).contains(&self.share) {
            let hint = "0.4 means two fifths of the objects";
            found.add(format!("{key}quarantine.share"), "is not between 0 and 1", hint);
        }
        if self.pause.is_zero() || self.pause > self.longest_pause {
            let hint = "use \"1m\", and \"24h\" for longest_pause, unless you know better";
            found.add(format!("{key}quarantine.pause"), "is zero, or longer than longest_pause", hint);
        }
        let Self { minimum, share, count, with_references, pause, longest_pause } = *self;
        QuarantineConfig { limits: QuarantineLimits { minimum, share, count, with_references }, pause, longest_pause }
    }
}

/// Who is told, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyForm {
    /// How long something is the case before it is told.
    #[serde(deserialize_with = "duration")]
    pub gather: Duration,
    /// By a request to somebody's endpoint.
    pub webhook: Option<WebhookForm>,
    /// By mail.
    pub mail: Option<MailForm>,
}

/// An endpoint, as it is written. Its address may be a secret, so it stands elsewhere.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookForm {
    /// File that holds its address.
    pub url_file: Option<PathBuf>,
    /// Environment variable that holds its address.
    pub url_env: Option<String>,
    /// File that holds the key that requests are signed with.
    pub key_file: Option<PathBuf>,
    /// Environment variable that holds that key.
    pub key_env: Option<String>,
    /// PEM file with the certificates that it is trusted by; without it those of the machine.
    pub ca_file: Option<PathBuf>,
}

/// The TLS of a mail server, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTlsForm {
    /// STARTTLS, which must succeed.
    #[default]
    Starttls,
    /// TLS from the beginning.
    Implicit,
    /// None: to this machine only.
    None,
}

/// A mail server, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailForm {
    /// Its name.
    pub server: String,
    /// Its port; 587, or 465 with implicit TLS, or 25 without TLS, unless written.
    pub port: Option<u16>,
    /// Its TLS.
    #[serde(default)]
    pub tls: MailTlsForm,
    /// The sender's address.
    pub from: String,
    /// Who gets them.
    pub to: Vec<String>,
    /// Who logs in; without it nobody does.
    pub user: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds the password.
    pub password_env: Option<String>,
    /// PEM file with the certificates that it is trusted by; without it those of the machine.
    pub ca_file: Option<PathBuf>,
}

impl Default for NotifyForm {
    fn default() -> Self {
        Self { gather: NotifyConfig::default().gather, webhook: None, mail: None }
    }
}

impl NotifyForm {
    /// Gives it its meaning. What is wrong goes to `found`; `key` is what its keys begin with. No secret is read.
    pub fn check(&self, key: &str, base: &Path, found: &mut Findings) -> NotifyConfig {
        let webhook = self.webhook.as_ref().map(|form| form.check(&format!("{key}notify.webhook"), base, found));
        let mail = self.mail.as_ref().map(|form| form.check(&format!("{key}notify.mail"), base, found));
        NotifyConfig { gather: self.gather, webhook, mail }
    }
}

impl WebhookForm {
    pub(super) fn check(&self, key: &str, base: &Path, found: &mut Findings) -> WebhookConfig {
        let url = SecretRef { file: self.url_file.clone(), env: self.url_env.clone() };
        found.secret(key, "url", &url);
        let signs = self.key_file.is_some() || self.key_env.is_some();
        let secret = signs.then(|| SecretRef { file: self.key_file.clone(), env: self.key_env.clone() });
        if let Some(secret) = &secret {
            found.secret(key, "key", secret);
        }
        let ca_file = self.ca_file.as_ref().map(|file| base.join(file));
        WebhookConfig { url, key: secret, base: base.to_owned(), ca_file }
    }
}

impl MailForm {
    fn check(&self, key: &str, base: &Path, found: &mut Findings) -> MailConfig {
        let addresses = self.to.iter().map(|to| ("to", to)).chain([("from", &self.from)]);
        for (name, address) in addresses.filter(|(_, address)| !is_mailbox(address)) {
            let hint = "write it as anna@example.com or Anna <anna@example.com>";
            found.add(format!("{key}.{name}"), format!("{address:?} is no mail address"), hint);
        }
        if self.to.is_empty() {
            found.add(format!("{key}.to"), "names nobody", "name at least one mail address");
        }
        let is_here =
            self.server == "localhost" || self.server.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if self.tls == MailTlsForm::None && !is_here {
            let hint = "take it out, or use \"implicit\"; without TLS only a server on this machine is used";
            found.add(format!("{key}.tls"), "is \"none\"", hint);
        }
        let place = SecretRef { file: self.password_file.clone(), env: self.password_env.clone() };
        if self.user.is_some() {
            found.secret(key, "password", &place);
        }
        let (tls, port) = match self.tls {
            MailTlsForm::Starttls => (MailTls::Starttls, 587),
            MailTlsForm::Implicit => (MailTls::Implicit, 465),
            MailTlsForm::None => (MailTls::None, 25),
        };
        MailConfig {
            host: self.server.clone(),
            port: self.port.unwrap_or(port),
            tls,
            from: self.from.clone(),
            to: self.to.clone(),
            login: self.user.clone().map(|user| (user, place)),
            base: base.to_owned(),
            ca_file: self.ca_file.as_ref().map(|file| base.join(file)),
        }
    }
}
