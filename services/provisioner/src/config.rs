//! What a provisioner is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use forestsync_rules::guard::GuardLimits;
use forestsync_rules::quarantine::QuarantineLimits;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::{AttributePair, DriftPolicy, MatchedBy};
use serde::Deserialize;
use url::Url;

use crate::credential::Credential;
use crate::notify::NotifyConfig;

/// Most requests Graph takes in one `$batch`.
pub(crate) const LARGEST_BATCH: usize = 20;

/// Why a tenant's configuration cannot be used. Never retryable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field that must have a value has none.
    #[error("tenant: {0} is empty")]
    Empty(&'static str),
    /// A URL that is not https: the secret would travel in clear text.
    #[error("tenant: {what} must be an https URL such as {example}")]
    NotHttps {
        /// The field.
        what: &'static str,
        /// How one looks.
        example: &'static str,
    },
    /// A number out of its range.
    #[error("tenant: {what} must be {range}")]
    Range {
        /// The field.
        what: &'static str,
        /// What is allowed.
        range: &'static str,
    },
    /// The file with the certificate authorities is unusable.
    #[error("tenant: ca_file {}: {detail}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The HTTP client or the credential cannot be set up.
    #[error("tenant: {0}")]
    Client(String),
}

/// By what an existing user or group may be taken over although it does not carry the anchor: the value that is wished of
/// one attribute is what it has in another one. Only those that carry no anchor at all are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoftMatch {
    /// The attribute that flows, by its Graph name.
    pub wished: String,
    /// The tenant's attribute, one of [`SoftMatch::ATTRIBUTES`].
    pub cloud: String,
}

impl SoftMatch {
    /// The attributes that users are found by: Graph filters by them, and they are meant to tell people apart.
    pub const ATTRIBUTES: [&str; 4] = ["userPrincipalName", "mail", "employeeId", "mailNickname"];
    /// The same for groups. None of them tells groups apart by itself: a value that several have means none of them.
    pub const GROUP_ATTRIBUTES: [&str; 2] = ["mailNickname", "displayName"];
    /// The most of them in one configuration, for users and for groups.
    pub const MOST: usize = 5;

    /// The same attribute on both sides.
    pub fn by(attribute: &str) -> Self {
        Self { wished: attribute.to_owned(), cloud: attribute.to_owned() }
    }

    /// What an outcome calls it.
    pub(crate) fn matched_by(&self) -> MatchedBy {
        match (self.wished.as_str(), self.cloud.as_str()) {
            ("userPrincipalName", "userPrincipalName") => MatchedBy::UserPrincipalName,
            ("mail", "mail") => MatchedBy::Mail,
            _ => MatchedBy::Attribute,
        }
    }

    /// The same, attribute by attribute.
    pub(crate) fn pair(&self) -> AttributePair {
        AttributePair { wished: self.wished.clone(), cloud: self.cloud.clone() }
    }
}

/// What becomes of an object of the tenant that soft match finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Joins {
    /// It is joined.
    #[default]
    Go,
    /// It is joined once somebody has approved that; until then nothing is written and nothing is created.
    Hold,
}

/// A national cloud of Microsoft (graph.md section 13; tokens do not cross clouds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cloud {
    /// Its name in configurations.
    pub name: &'static str,
    /// Where tokens come from.
    pub authority: &'static str,
    /// Where Graph is.
    pub graph: &'static str,
}

const CLOUDS: [Cloud; 4] = [
    Cloud { name: "global", authority: "https://login.microsoftonline.com/", graph: "https://graph.microsoft.com/" },
    Cloud { name: "us-gov", authority: "https://login.microsoftonline.us/", graph: "https://graph.microsoft.us/" },
    Cloud { name: "us-dod", authority: "https://login.microsoftonline.us/", graph: "https://dod-graph.microsoft.us/" },
    Cloud {
        name: "china",
        authority: "https://login.partner.microsoftonline.cn/",
        graph: "https://microsoftgraph.chinacloudapi.cn/",
    },
];

/// All national clouds.
pub fn clouds() -> &'static [Cloud] {
    &CLOUDS
}

/// The cloud of that name.
pub fn cloud(name: &str) -> Option<Cloud> {
    CLOUDS.into_iter().find(|c| c.name == name)
}

/// The application whose directory extensions are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionApp {
    /// Its application (client) id, which the names of the extensions carry.
    pub client_id: String,
    /// The object id of its registration, under which they are defined.
    pub object_id: String,
}

/// When a configuration is quarantined, and how long it pauses then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuarantineConfig {
    /// How much may fail before.
    pub limits: QuarantineLimits,
    /// The first pause; each further one is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        Self {
            limits: QuarantineLimits::default(),
            pause: Duration::from_mins(1),
            longest_pause: Duration::from_hours(24),
        }
    }
}

/// What becomes of what others do in the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftSettings {
    /// How often the tenant is asked what changed.
    pub interval: Duration,
    /// Of attributes that are not named.
    pub default: DriftPolicy,
    /// By attribute; of the members of groups under [`DriftSettings::MEMBERS`].
    pub attributes: BTreeMap<String, DriftPolicy>,
    /// Of objects that others delete; what is enforced is restored, or made anew.
    pub deletions: DriftPolicy,
}

impl DriftSettings {
    /// Stands for the members of groups among the attributes.
    pub const MEMBERS: &'static str = "members";

    /// What becomes of an attribute.
    pub fn policy(&self, attribute: &str) -> DriftPolicy {
        self.attributes.get(attribute).copied().unwrap_or(self.default)
    }
}

impl Default for DriftSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_mins(1),
            default: DriftPolicy::Report,
            attributes: BTreeMap::new(),
            deletions: DriftPolicy::Report,
        }
    }
}

impl QuarantineConfig {
    /// Never.
    pub(crate) fn never() -> Self {
        let limits = QuarantineLimits {
            minimum: u64::MAX,
            count: u64::MAX,
            with_references: u64::MAX,
            ..Self::default().limits
        };
        Self { limits, ..Self::default() }
    }
}

/// The password that a user is created with: Graph creates none without one (graph.md section 3). It is random, sent once,
/// and kept nowhere; whoever needs to sign in with a password gets another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitialPassword {
    /// Its length in characters, 16 to 256: Entra ID takes 8, of which too few would be left to chance.
    pub length: usize,
    /// Whether whoever signs in with it must choose another one.
    pub force_change: bool,
}

impl InitialPassword {
    /// The lengths that it may have.
    pub const LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;
}

impl Default for InitialPassword {
    fn default() -> Self {
        Self { length: 36, force_change: true }
    }
}

/// A tenant and how to treat it.
#[derive(Debug, Clone)]
pub struct TenantConfig {
    /// The tenant's id or one of its domains.
    pub tenant_id: String,
    /// The application's (client) id; empty for the machine's own managed identity.
    pub client_id: String,
    /// How the application proves itself.
    pub credential: Credential,
    /// Where tokens come from; https.
    pub authority: Url,
    /// Graph's root without version; https.
    pub graph: Url,
    /// Certificate authorities in PEM to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Write quota of application and tenant together in any [`quota_window`](Self::quota_window); 0 for none.
    pub write_quota: u32,
    /// The time over which the tenant counts writes: 150 seconds at Microsoft (graph.md section 9).
    pub quota_window: Duration,
    /// HTTP requests in flight, 1 to 256.
    pub in_flight: usize,
    /// Requests in one `$batch`, 1 to 20; 1 sends every request by itself.
    pub batch_size: usize,
    /// How long an answer may take.
    pub request_timeout: Duration,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// By what existing users without an anchor are taken over, in this order.
    pub soft_match: Vec<SoftMatch>,
    /// The same for groups; needs an application that holds directory extensions, in one of which they get their anchor.
    pub group_match: Vec<SoftMatch>,
    /// What becomes of those that were found so.
    pub joins: Joins,
    /// The application that holds directory extensions; without one none are written.
    pub extension_app: Option<ExtensionApp>,
    /// The password of users that are created.
    pub initial_password: InitialPassword,
    /// The delete guard.
    pub guard: GuardLimits,
    /// The guard against disabling many users at once.
    pub disable_guard: GuardLimits,
    /// The guard against changing the userPrincipalName of many users at once.
    pub upn_guard: GuardLimits,
    /// The time over which the guards count.
    pub guard_window: Duration,
    /// How long a user that is to be deleted is disabled before; zero for not at all.
    pub grace: Duration,
    /// When the configuration as a whole is quarantined.
    pub quarantine: QuarantineConfig,
    /// Attempts after which a failing write is reported as quarantined.
    pub quarantine_after: u32,
    /// How long the tenant may show what was written here and not there; within it nothing is taken for absent.
    pub visible_within: Duration,
    /// Delay before the second attempt; four times as long for each further one.
    pub retry_first: Duration,
    /// The longest delay between attempts.
    pub retry_longest: Duration,
    /// How often the tenant's domains are looked at; zero for never.
    pub domains_every: Duration,
    /// What becomes of what others do in the tenant; without it nobody looks.
    pub drift: Option<DriftSettings>,
}

impl TenantConfig {
    /// The product's defaults for a tenant in the cloud given by its two URLs.
    pub fn new(tenant_id: String, client_id: String, credential: Credential, authority: Url, graph: Url) -> Self {
        Self {
            tenant_id,
            client_id,
            credential,
            authority,
            graph,
            ca_file: None,
            write_quota: 3_000,
            quota_window: Duration::from_secs(150),
            in_flight: 16,
            batch_size: LARGEST_BATCH,
            request_timeout: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(10),
            soft_match: Vec::new(),
            group_match: Vec::new(),
            joins: Joins::Go,
            extension_app: None,
            initial_password: InitialPassword::default(),
            guard: GuardLimits::default(),
            disable_guard: GuardLimits::default(),
            upn_guard: GuardLimits::default(),
            guard_window: Duration::from_hours(1),
            grace: Duration::ZERO,
            quarantine: QuarantineConfig::default(),
            quarantine_after: 7,
            visible_within: Duration::from_mins(15),
            retry_first: Duration::from_secs(1),
            retry_longest: Duration::from_hours(1),
            domains_every: Duration::from_mins(15),
            drift: None,
        }
    }

    /// By what existing objects of a class are taken over.
    pub(crate) fn matching(&self, class: CloudClass) -> &[SoftMatch] {
        match class {
            CloudClass::User => &self.soft_match,
            CloudClass::Group => &self.group_match,
            _ => &[],
        }
    }

    /// Whether groups may carry their anchor in a directory extension.
    pub(crate) fn adopts_groups(&self) -> bool {
        !self.group_match.is_empty()
    }

    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let needs_client = !matches!(self.credential, Credential::ManagedIdentity { .. });
        for (what, text, needed) in [("tenant_id", &self.tenant_id, true), ("client_id", &self.client_id, needs_client)]
        {
            if needed && text.trim().is_empty() {
                return Err(ConfigError::Empty(what));
            }
        }
        let urls = [
            ("authority", "https://login.microsoftonline.com/", &self.authority),
            ("graph", "https://graph.microsoft.com/", &self.graph),
        ];
        for (what, example, url) in urls {
            if url.scheme() != "https" || url.host_str().is_none() {
                return Err(ConfigError::NotHttps { what, example });
            }
        }
        let ranges = [
            ("in_flight", "1 to 256", (1..=256).contains(&self.in_flight)),
            ("batch_size", "1 to 20", (1..=LARGEST_BATCH).contains(&self.batch_size)),
            ("initial_password.length", "16 to 256", InitialPassword::LENGTHS.contains(&self.initial_password.length)),
            ("quarantine_after", "1 or more", self.quarantine_after >= 1),
            (
                "group_match",
                "empty where extension_app is not written",
                !self.adopts_groups() || self.extension_app.is_some(),
            ),
            ("delete_guard.share", "between 0 and 1", (0.0..=1.0).contains(&self.guard.share)),
            ("disable_guard.share", "between 0 and 1", (0.0..=1.0).contains(&self.disable_guard.share)),
            ("upn_guard.share", "between 0 and 1", (0.0..=1.0).contains(&self.upn_guard.share)),
        ];
        match ranges.into_iter().find(|(_, _, ok)| !ok) {
            Some((what, range, _)) => Err(ConfigError::Range { what, range }),
            None => Ok(()),
        }
    }
}

/// A provisioner: one configuration, one tenant.
#[derive(Debug, Clone)]
pub struct ProvisionerConfig {
    /// The configuration's name, which names the streams.
    pub configuration: String,
    /// Where the ledger is kept.
    pub directory: PathBuf,
    /// The tenant.
    pub tenant: TenantConfig,
    /// Who is told of what goes wrong.
    pub notify: NotifyConfig,
}
