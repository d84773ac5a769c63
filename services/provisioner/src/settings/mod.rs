//! The tenant's part of a configuration file and that of the delete guard: the keys as they are written, what they mean,
//! and what is wrong with them.
//!
//! `forestsync.toml` has both once, the provisioner's own file once for each configuration. Nothing here touches the
//! network, and no secret is read. What a credential is made of is in [`credential`](crate::Credential).

mod audit;
mod drift;
mod identity;
mod notify;

use std::path::{Path, PathBuf};
use std::time::Duration;

use forestsync_rules::guard::GuardLimits;
use forestsync_runtime::config::{Findings, duration, string_or_table};
use serde::Deserialize;
use url::Url;

use crate::config::{ExtensionApp, InitialPassword, Joins, SoftMatch, TenantConfig};
use crate::credential::form::{self, CredentialKind};
use crate::credential::{Credential, CredentialError, environment};
pub use audit::AuditForm;
pub use drift::DriftForm;
use identity::Identity;
pub use notify::{MailForm, MailTlsForm, NotifyForm, QuarantineForm, WebhookForm};

/// The tenant as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantForm {
    /// The directory (tenant) id, or one of its domains. With a workload identity, unless written, what `AZURE_TENANT_ID`
    /// says.
    pub tenant_id: Option<String>,
    /// The application (client) id. With a managed identity it is that of a user-assigned one, or not written; with a
    /// workload identity, unless written, what `AZURE_CLIENT_ID` says.
    pub client_id: Option<String>,
    /// How the application proves itself; needed where no other key says so.
    pub credential: Option<CredentialKind>,
    /// File that holds the client secret.
    pub client_secret_file: Option<PathBuf>,
    /// Environment variable that holds the client secret.
    pub client_secret_env: Option<String>,
    /// PEM file that holds the certificate that is registered with the application.
    pub certificate_file: Option<PathBuf>,
    /// PEM file that holds the certificate's key, unless it stands in the same file.
    pub private_key_file: Option<PathBuf>,
    /// File that holds the workload's token; unless written, the one that `AZURE_FEDERATED_TOKEN_FILE` names.
    pub federated_token_file: Option<PathBuf>,
    /// Where the managed identity is asked for, instead of what the environment says or `http://169.254.169.254`.
    pub managed_identity_endpoint: Option<String>,
    /// Where the tenant lives: `"global"` unless written, or, with a workload identity, where `AZURE_AUTHORITY_HOST` says.
    pub cloud: Option<CloudForm>,
    /// PEM file with the certificates that the endpoints are trusted by; without it those of the machine.
    pub ca_file: Option<PathBuf>,
    /// The most writes within 150 seconds.
    #[serde(default = "default_writes")]
    pub writes_per_150_seconds: u32,
    /// The most HTTP requests at a time.
    #[serde(default = "default_in_flight")]
    pub in_flight: usize,
    /// How long the tenant may not show what was written: within it nothing is taken for absent.
    #[serde(default = "default_visible_within", deserialize_with = "duration")]
    pub visible_within: Duration,
    /// By what cloud users without an anchor are adopted, in this order: `"upn"`, `"mail"`, `"employeeId"`,
    /// `"mailNickname"`, or `{ wished = "mail", cloud = "userPrincipalName" }`.
    #[serde(default)]
    pub soft_match: Vec<SoftMatchForm>,
    /// By what cloud groups without an anchor are adopted, in this order: `"mailNickname"`, `"displayName"`, or
    /// `{ wished = "displayName", cloud = "mailNickname" }`. Needs `extension_app`. Once groups were adopted it stays: they
    /// are found again by it alone.
    #[serde(default)]
    pub group_match: Vec<SoftMatchForm>,
    /// What becomes of those that were found: `"go"` unless written, or `"hold"` until somebody approves each.
    #[serde(default)]
    pub joins: Joins,
    /// The application (client) id of the app registration that holds directory extensions.
    pub extension_app: Option<String>,
    /// The object id of that registration: Graph finds definitions by it alone.
    pub extension_app_object: Option<String>,
    /// The password of users that are created.
    #[serde(default)]
    pub initial_password: InitialPasswordForm,
}

/// The password of users that are created, as it is written. It is random and kept nowhere.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitialPasswordForm {
    /// Its length in characters, 16 to 256.
    #[serde(default = "default_length")]
    pub length: usize,
    /// Whether whoever signs in with it must choose another one.
    #[serde(default = "default_force_change")]
    pub force_change: bool,
}

impl Default for InitialPasswordForm {
    fn default() -> Self {
        Self { length: default_length(), force_change: default_force_change() }
    }
}

/// Whether a configuration writes to its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It does.
    #[default]
    Active,
    /// Everything is read and projected, and nothing is written to the tenant.
    Staging,
}

/// What a cloud user or group is adopted by: a name, or a pair of attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoftMatchForm {
    /// `"upn"`, `"mail"`, or an attribute that both sides have.
    Named(String),
    /// The value that is wished of one attribute in another one of the tenant.
    Pair {
        /// The attribute that flows.
        wished: String,
        /// The tenant's attribute.
        cloud: String,
    },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PairTable {
    wished: String,
    cloud: String,
}

impl<'de> Deserialize<'de> for SoftMatchForm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        string_or_table(
            deserializer,
            "\"upn\", \"mail\", an attribute, or { wished = \"…\", cloud = \"…\" }",
            Self::Named,
            |table: PairTable| Self::Pair { wished: table.wished, cloud: table.cloud },
        )
    }
}

impl SoftMatchForm {
    fn rule(&self) -> SoftMatch {
        match self {
            Self::Named(name) if name == "upn" => SoftMatch::by("userPrincipalName"),
            Self::Named(name) => SoftMatch::by(name),
            Self::Pair { wished, cloud } => SoftMatch { wished: wished.clone(), cloud: cloud.clone() },
        }
    }
}

/// Where the tenant lives: a name, or both endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloudForm {
    /// One of Microsoft's clouds, by name.
    Named(String),
    /// Endpoints given one by one.
    Custom {
        /// Where tokens come from, https.
        authority: String,
        /// Microsoft Graph, https.
        graph: String,
    },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct CloudTable {
    authority: String,
    graph: String,
}

impl<'de> Deserialize<'de> for CloudForm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        string_or_table(
            deserializer,
            "the name of a cloud, or { authority = \"https://…\", graph = \"https://…\" }",
            Self::Named,
            |table: CloudTable| Self::Custom { authority: table.authority, graph: table.graph },
        )
    }
}

/// When deletions are held back until somebody looks at them, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardForm {
    /// More deletions of one class than this within the window are held.
    #[serde(default = "default_count")]
    pub count: u64,
    /// Likewise a larger share of the objects that are managed, 0 to 1.
    #[serde(default = "default_share")]
    pub share: f64,
    /// So many removals from one group always pass.
    #[serde(default = "default_minimum")]
    pub member_minimum: u64,
    /// The window, of the other guards as well.
    #[serde(default = "default_window", deserialize_with = "duration")]
    pub window: Duration,
    /// A user that is to be deleted is disabled, and deleted this much later; zero for at once.
    #[serde(default, deserialize_with = "duration")]
    pub grace: Duration,
}

impl Default for GuardForm {
    fn default() -> Self {
        Self {
            count: default_count(),
            share: default_share(),
            member_minimum: default_minimum(),
            window: default_window(),
            grace: Duration::ZERO,
        }
    }
}

/// When changes of accounts are held back, of one kind, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeGuardForm {
    /// More changes than this within the window are held.
    #[serde(default = "default_count")]
    pub count: u64,
    /// Likewise changes of a larger share of the users that are managed, 0 to 1.
    #[serde(default = "default_share")]
    pub share: f64,
    /// So many changes always pass.
    #[serde(default = "default_minimum")]
    pub minimum: u64,
}

impl Default for ChangeGuardForm {
    fn default() -> Self {
        Self { count: default_count(), share: default_share(), minimum: default_minimum() }
    }
}

fn default_length() -> usize {
    InitialPassword::default().length
}

fn default_force_change() -> bool {
    InitialPassword::default().force_change
}

fn default_writes() -> u32 {
    3_000
}

fn default_visible_within() -> Duration {
    Duration::from_mins(15)
}

fn default_in_flight() -> usize {
    16
}

fn default_count() -> u64 {
    500
}

fn default_share() -> f64 {
    0.2
}

fn default_minimum() -> u64 {
    10
}

fn default_window() -> Duration {
    Duration::from_hours(1)
}

/// A tenant whose part of the file makes sense.
#[derive(Debug, Clone)]
pub struct TenantSettings {
    /// Directory id, or a domain of it.
    pub tenant_id: String,
    /// Application id; empty for the machine's own managed identity.
    pub client_id: String,
    /// How the application proves itself: where the parts are, not what is in them.
    pub credential: Credential,
    /// Where tokens come from.
    pub authority: Url,
    /// Microsoft Graph.
    pub graph: Url,
    /// What the endpoints are trusted by; `None` for the certificates of the machine.
    pub ca_file: Option<PathBuf>,
    /// The most writes within 150 seconds.
    pub writes_per_150_seconds: u32,
    /// The most HTTP requests at a time.
    pub in_flight: usize,
    /// How long the tenant may not show what was written.
    pub visible_within: Duration,
    /// By what cloud users without an anchor are adopted, in this order.
    pub soft_match: Vec<SoftMatch>,
    /// By what cloud groups without an anchor are adopted, in this order.
    pub group_match: Vec<SoftMatch>,
    /// What becomes of those that were found.
    pub joins: Joins,
    /// The application that holds directory extensions.
    pub extension_app: Option<ExtensionApp>,
    /// The password of users that are created.
    pub initial_password: InitialPassword,
}

/// When deletions and changes of accounts are held back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardSettings {
    /// Deletions of one class, and removals from one group.
    pub deletions: GuardLimits,
    /// Users that are disabled.
    pub disabling: GuardLimits,
    /// Users whose userPrincipalName changes.
    pub renaming: GuardLimits,
    /// The window in which all of these are counted.
    pub window: Duration,
    /// How long a user that is to be deleted is disabled before.
    pub grace: Duration,
}

impl TenantSettings {
    /// Gives a tenant its meaning. What is wrong goes to `found`, under `key`; relative paths are relative to `base`.
    pub fn check(key: &str, tenant: &TenantForm, base: &Path, found: &mut Findings) -> Option<Self> {
        Self::check_where(key, tenant, base, environment, found)
    }

    /// The same, where the environment is what `var` says.
    fn check_where(
        key: &str,
        tenant: &TenantForm,
        base: &Path,
        var: impl Fn(&str) -> Option<String>,
        found: &mut Findings,
    ) -> Option<Self> {
        let credential = form::check(key, tenant, base, found);
        let identity = identity::check(key, tenant, credential.as_ref(), var, found);
        if tenant.writes_per_150_seconds == 0 {
            found.add(
                format!("{key}.writes_per_150_seconds"),
                "is zero",
                "use 3000, the quota Microsoft documents, or less",
            );
        }
        if !(1..=256).contains(&tenant.in_flight) {
            found.add(format!("{key}.in_flight"), "is not between 1 and 256", "use 16 unless you know better");
        }
        let InitialPasswordForm { length, force_change } = tenant.initial_password;
        if !InitialPassword::LENGTHS.contains(&length) {
            let hint = "leave it out for 36, or write a length that the tenant's rules ask for";
            found.add(format!("{key}.initial_password.length"), "is not between 16 and 256", hint);
        }
        let extension_app = check_extension_app(key, tenant, found);
        let users = ("soft_match", "user", "use \"upn\", or one of", &SoftMatch::ATTRIBUTES[..]);
        let soft_match = check_match(key, users, &tenant.soft_match, found);
        let groups = ("group_match", "group", "use one of", &SoftMatch::GROUP_ATTRIBUTES[..]);
        let group_match = check_match(key, groups, &tenant.group_match, found);
        if !group_match.is_empty() && tenant.extension_app.is_none() && tenant.extension_app_object.is_none() {
            let hint = "write extension_app and extension_app_object: a group that is adopted gets its source anchor in a \
                        directory extension, for Graph sets uniqueName at a group's creation only";
            found.add(format!("{key}.group_match"), "needs an application that holds directory extensions", hint);
        }
        if tenant.joins == Joins::Hold && soft_match.is_empty() && group_match.is_empty() {
            let hint = "write soft_match or group_match, or take joins out";
            found.add(format!("{key}.joins"), "has nothing to hold: no object is found by its attributes", hint);
        }
        let Identity { tenant_id, client_id, authority, graph } = identity?;
        Some(Self {
            tenant_id,
            client_id,
            credential: credential?,
            authority,
            graph,
            ca_file: tenant.ca_file.as_ref().map(|file| base.join(file)),
            writes_per_150_seconds: tenant.writes_per_150_seconds,
            in_flight: tenant.in_flight,
            visible_within: tenant.visible_within,
            soft_match,
            group_match,
            joins: tenant.joins,
            extension_app,
            initial_password: InitialPassword { length, force_change },
        })
    }

    /// The credential, once all its parts could be read: what is missing or broken is told before any work begins.
    pub fn read_credential(&self) -> Result<Credential, CredentialError> {
        self.credential.probe()?;
        Ok(self.credential.clone())
    }

    /// What a provisioner is told.
    pub fn config(&self, guard: &GuardSettings, credential: Credential) -> TenantConfig {
        let mut config = TenantConfig::new(
            self.tenant_id.clone(),
            self.client_id.clone(),
            credential,
            self.authority.clone(),
            self.graph.clone(),
        );
        config.ca_file.clone_from(&self.ca_file);
        config.write_quota = self.writes_per_150_seconds;
        config.in_flight = self.in_flight;
        config.visible_within = self.visible_within;
        config.soft_match.clone_from(&self.soft_match);
        config.group_match.clone_from(&self.group_match);
        config.joins = self.joins;
        config.extension_app.clone_from(&self.extension_app);
        config.initial_password = self.initial_password;
        config.guard = guard.deletions;
        config.disable_guard = guard.disabling;
        config.upn_guard = guard.renaming;
        config.guard_window = guard.window;
        config.grace = guard.grace;
        config
    }
}

impl GuardSettings {
    /// Gives the guards their meaning. What is wrong goes to `found`; `key` is what the keys of all of them begin with.
    pub fn check(
        key: &str,
        deletions: &GuardForm,
        disabling: &ChangeGuardForm,
        renaming: &ChangeGuardForm,
        found: &mut Findings,
    ) -> Self {
        let shares =
            [("delete_guard", deletions.share), ("disable_guard", disabling.share), ("upn_guard", renaming.share)];
        for (guard, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                let hint = "0.2 means a fifth of what is managed";
                found.add(format!("{key}{guard}.share"), "is not between 0 and 1", hint);
            }
        }
        if deletions.window.is_zero() {
            found.add(format!("{key}delete_guard.window"), "is zero", "use \"1h\" unless you know better");
        }
        let changes =
            |guard: &ChangeGuardForm| GuardLimits { count: guard.count, share: guard.share, minimum: guard.minimum };
        Self {
            deletions: GuardLimits {
                count: deletions.count,
                share: deletions.share,
                minimum: deletions.member_minimum,
            },
            disabling: changes(disabling),
            renaming: changes(renaming),
            window: deletions.window,
            grace: deletions.grace,
        }
    }
}

/// By what users or groups can be found: the key, what is found, the hint, and the attributes that do.
fn check_match(
    key: &str,
    (name, what, hint, known): (&str, &str, &str, &[&str]),
    forms: &[SoftMatchForm],
    found: &mut Findings,
) -> Vec<SoftMatch> {
    let rules: Vec<SoftMatch> = forms.iter().map(SoftMatchForm::rule).collect();
    for rule in rules.iter().filter(|rule| !known.contains(&rule.cloud.as_str())) {
        let message = format!("no {what} is found by {:?}", rule.cloud);
        found.add(format!("{key}.{name}"), message, format!("{hint} {}", known.join(", ")));
    }
    if rules.len() > SoftMatch::MOST {
        let message = format!("has {} entries", rules.len());
        found.add(format!("{key}.{name}"), message, format!("keep {} of them at most", SoftMatch::MOST));
    }
    rules
}

/// Both ids, or none.
fn check_extension_app(key: &str, tenant: &TenantForm, found: &mut Findings) -> Option<ExtensionApp> {
    let ids = [
        ("extension_app", &tenant.extension_app, "the application (client) id of the app registration"),
        ("extension_app_object", &tenant.extension_app_object, "the object id of the app registration"),
    ];
    let other = ids.iter().any(|(_, id, _)| id.is_some());
    for (name, id, what) in ids {
        let hint = format!("write {what} that holds the directory extensions, as the Entra admin center shows it");
        match id {
            None if other => found.add(format!("{key}.{name}"), "is missing beside the other id", hint),
            Some(id) if !is_uuid(id) => found.add(format!("{key}.{name}"), format!("{id:?} is no id"), hint),
            _ => {}
        }
    }
    let (client_id, object_id) = tenant.extension_app.clone().zip(tenant.extension_app_object.clone())?;
    Some(ExtensionApp { client_id, object_id })
}

/// Whether it has the form 8-4-4-4-12 of hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests;
