//! What a practice tenant is given at start ([`TenantOptions`]) and what may change while it runs ([`Knobs`]).
//!
//! Where Microsoft's documents leave a behaviour open, or where it was seen to differ between tenants, there is a knob
//! with both values, and the default is the value a client finds harder only where that does no harm.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// A client secret; its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(String);

impl ClientSecret {
    /// Wraps the secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the token request.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientSecret(hidden)")
    }
}

/// Tokens of another issuer that the application may prove itself with (workload identity federation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederatedCredential {
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `sub`.
    pub subject: String,
    /// One of the token's `aud`; `api://AzureADTokenExchange` in the global cloud.
    pub audience: String,
    /// The issuer's RSA public key in DER (RFC 8017), which Entra ID would fetch from the issuer.
    pub key: Vec<u8>,
}

/// Everything fixed for the life of one practice tenant, and the knobs it starts with.
#[derive(Clone, Debug)]
pub struct TenantOptions {
    /// Where to listen; port 0 takes a free one. Loopback unless the caller wants otherwise.
    pub listen: SocketAddr,
    /// The tenant's id (a GUID), the first path segment of the token endpoint.
    pub tenant_id: String,
    /// The application id that may ask for tokens.
    pub client_id: String,
    /// Its secret. Secrets, certificates and issuers may change at run time.
    pub client_secret: ClientSecret,
    /// The certificates that are registered with it, in PEM.
    pub certificates: Vec<String>,
    /// The issuers whose tokens are taken for it.
    pub federated_credentials: Vec<FederatedCredential>,
    /// The `….onmicrosoft.com` domain: verified, managed, the default.
    pub initial_domain: String,
    /// Further verified, managed domains.
    pub verified_domains: Vec<String>,
    /// Verified domains that are federated: a user there needs `onPremisesImmutableId`.
    pub federated_domains: Vec<String>,
    /// Domains that were added but not verified: no user principal name may end in them.
    pub unverified_domains: Vec<String>,
    /// Where the content is kept: read at start, written on change and at stop.
    pub state_file: Option<PathBuf>,
    /// Where every Graph exchange is appended as a JSON line. Token requests are not recorded.
    pub record_file: Option<PathBuf>,
    /// User principal names of administrators: sensitive actions on them answer 403.
    pub privileged_users: Vec<String>,
    /// What is in the tenant at first, unless the state file holds something.
    pub seeds: Vec<Seed>,
    /// What may change at run time.
    pub knobs: Knobs,
}

/// An object that another tool put into the tenant before anybody asks for anything. It is not checked, so that
/// read-only properties may be set: `onPremisesSyncEnabled` makes one that Azure AD Connect masters, `mailEnabled` without
/// the group type `Unified` one that Exchange masters, `practiceExternal` one of another service.
#[derive(Clone, Debug)]
pub enum Seed {
    /// A user with these properties.
    User(Value),
    /// A group with these properties and no members.
    Group(Value),
}

impl Default for TenantOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tenant_id: "7f3a1c52-0d6e-4b8f-9a21-5c4e8d7b6a10".into(),
            client_id: "2b9d4e60-81c7-4f35-a0be-6d1f7c92e483".into(),
            client_secret: ClientSecret::new("practice-secret"),
            certificates: Vec::new(),
            federated_credentials: Vec::new(),
            initial_domain: "practice.onmicrosoft.com".into(),
            verified_domains: Vec::new(),
            federated_domains: Vec::new(),
            unverified_domains: Vec::new(),
            state_file: None,
            record_file: None,
            privileged_users: Vec::new(),
            seeds: Vec::new(),
            knobs: Knobs::default(),
        }
    }
}

/// How long a write stays unseen, per way of reading (Graph promises no read-your-writes).
#[derive(Clone, Debug, Default)]
pub struct Visibility {
    /// `GET` by id or user principal name.
    pub key_reads: Duration,
    /// `$filter`, lists, `$count`, deleted items.
    pub filters: Duration,
    /// Delta queries.
    pub delta: Duration,
    /// An object as the target of a member, owner or manager reference.
    pub references: Duration,
    /// Two replicas: every second read sees without delay.
    pub two_replicas: bool,
}

/// The form of `Retry-After` on a 429.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryAfter {
    /// Whole seconds, rounded up.
    #[default]
    Seconds,
    /// Seconds with a fraction, as in Microsoft's own sample (`2.128`).
    Fractional,
    /// An HTTP date.
    HttpDate,
    /// No header at all.
    Absent,
}

/// How the removal of a member that is not one is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingMember {
    /// 404 `Request_ResourceNotFound`, the usual answer.
    #[default]
    NotFound,
    /// 400 `Request_BadRequest`, seen as well.
    BadRequest,
}

/// What may be turned while the tenant runs.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Waited once per HTTP request before it is handled; a batch waits once.
    pub latency: Duration,
    /// Delays until writes are seen.
    pub visibility: Visibility,
    /// Factor on Microsoft's documented quotas; `None` turns throttling off.
    pub quota_scale: Option<f64>,
    /// How many times faster than documented what was used of a quota comes back; more than 0.
    pub quota_haste: f64,
    /// The form of `Retry-After`.
    pub retry_after: RetryAfter,
    /// Of so many operations, alone or in a batch, a random one answers 429 whatever the quota says.
    pub throttle_every: Option<u64>,
    /// What that 429 asks to wait; `retry_after` rounds it up to whole seconds, or not.
    pub throttle_wait: Duration,
    /// Of so many HTTP requests a random one answers 503, and its connection is closed.
    pub unavailable_every: Option<u64>,
    /// Of so many HTTP requests that wrote something the answer of a random one is lost, after the write.
    pub lose_every: Option<u64>,
    /// How long an access token lasts.
    pub token_lifetime: Duration,
    /// An access token has expired after so many operations as well: in the middle of a batch, if need be.
    pub token_operations: Option<u64>,
    /// A soft-deleted user still holds its `onPremisesImmutableId` against new users.
    pub deleted_holds_immutable_id: bool,
    /// A soft-deleted group still holds its `uniqueName`.
    pub deleted_holds_unique_name: bool,
    /// Setting `onPremisesImmutableId` to null answers 400.
    pub clear_immutable_id_refused: bool,
    /// Setting `mail` to null leaves the address in `proxyAddresses`.
    pub clearing_mail_keeps_addresses: bool,
    /// How removing an absent member or owner is answered.
    pub missing_member: MissingMember,
    /// A batch with a throttled item answers 424 as a whole instead of 200.
    pub batch_throttled_424: bool,
    /// Items of a batch that do not depend on each other run, and are answered, in any order.
    pub batch_any_order: bool,
    /// Cloud security groups go to deleted items as Microsoft 365 groups do; else they are gone at once.
    pub soft_delete_security_groups: bool,
    /// `$filter` on deleted items answers 400.
    pub deleted_filter_refused: bool,
    /// Of so many delta queries with a token a random one answers 410, its state is lost.
    pub delta_gone_every: Option<u64>,
    /// A 410 of a delta query carries an error body.
    pub delta_gone_body: bool,
    /// How long a delta token is accepted.
    pub delta_token_lifetime: Duration,
    /// Objects on a page of a delta query.
    pub delta_page: usize,
    /// Members listed per appearance of a group in a delta query; larger groups appear again.
    pub delta_member_chunk: usize,
    /// Each delta page repeats its first object at its end.
    pub delta_replays: bool,
    /// The first page of lists and delta queries is empty and has a next link.
    pub empty_first_page: bool,
    /// Answers carry a property and an enumeration value that no client knows.
    pub unknown_properties: bool,
    /// An application may not create devices, whatever it is granted; else `Device.ReadWrite.All` lets it.
    pub device_create_refused: bool,
    /// Live and deleted objects the tenant takes before it answers `Directory_QuotaExceeded`.
    pub object_quota: Option<usize>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            visibility: Visibility::default(),
            quota_scale: None,
            quota_haste: 1.0,
            retry_after: RetryAfter::default(),
            throttle_every: None,
            throttle_wait: Duration::from_secs(1),
            unavailable_every: None,
            lose_every: None,
            token_lifetime: Duration::from_hours(1),
            token_operations: None,
            deleted_holds_immutable_id: true,
            deleted_holds_unique_name: false,
            clear_immutable_id_refused: false,
            clearing_mail_keeps_addresses: false,
            missing_member: MissingMember::default(),
            batch_throttled_424: false,
            batch_any_order: true,
            soft_delete_security_groups: true,
            deleted_filter_refused: false,
            delta_gone_every: None,
            delta_gone_body: true,
            delta_token_lifetime: Duration::from_hours(7 * 24),
            delta_page: 100,
            delta_member_chunk: 200,
            delta_replays: false,
            empty_first_page: false,
            unknown_properties: false,
            device_create_refused: true,
            object_quota: None,
        }
    }
}
