//! Every knob by itself, and seeded mixes of them: for suites that run a client under each (graph.md section 15).
//!
//! A [`Knob`] is one way in which a tenant differs from the plain one or misbehaves; turned by itself it is enough to show
//! what it does, so the form of `Retry-After` comes with something that throttles. What it is about, where that is single
//! objects or a domain, the suite names as [`Subjects`]. What a client should come to is in [`Expected`].

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::options::{Knobs, MissingMember, RetryAfter, Seed, TenantOptions};

/// How late writes are seen under the knobs that delay them. A client must be told that it may take longer.
pub const LATE: Duration = Duration::from_millis(150);

/// One of a mix is in it with this probability.
const SHARE: f64 = 0.25;

/// One way in which tenants differ or misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Knob {
    /// `GET` by id or name sees writes late.
    LateKeyReads,
    /// Filters, lists and deleted items see writes late.
    LateFilters,
    /// Delta queries see writes late.
    LateDelta,
    /// References find new objects late.
    LateReferences,
    /// Of two replicas one sees everything late.
    TwoReplicas,
    /// A soft-deleted user does not hold its `onPremisesImmutableId`.
    DeletedFreesImmutableId,
    /// A soft-deleted group holds its `uniqueName`.
    DeletedHoldsUniqueName,
    /// Cloud security groups are gone at once when they are deleted.
    GroupsDeletedForGood,
    /// Filters on deleted items are refused.
    DeletedFilterRefused,
    /// `onPremisesImmutableId` cannot be cleared.
    ClearImmutableIdRefused,
    /// Clearing `mail` leaves the address in `proxyAddresses`.
    ClearingMailKeepsAddresses,
    /// Removing a member that is not one is 400 instead of 404.
    MissingMemberBadRequest,
    /// Throttled now and then, with whole seconds in `Retry-After`.
    ThrottledSeconds,
    /// Throttled now and then, with a fraction of a second in `Retry-After`.
    ThrottledFraction,
    /// Throttled now and then, with a date in `Retry-After`.
    ThrottledDate,
    /// Throttled now and then, without `Retry-After`.
    ThrottledSilently,
    /// A batch with a throttled item is 424 as a whole instead of 200.
    ThrottledBatch424,
    /// The documented quotas, scaled so that a small population meets them and need not wait for minutes.
    Quota,
    /// The items of a batch run in their order instead of any.
    BatchInOrder,
    /// Tokens expire in the middle of batches.
    TokenEndsInBatch,
    /// Tokens last for a few seconds.
    TokenShort,
    /// Answers are lost after the write now and then.
    AnswersLost,
    /// Now and then 503, and the connection is closed.
    Unavailable,
    /// Every request takes a while.
    Slow,
    /// Delta state is lost now and then: 410 with an error body.
    DeltaGone,
    /// Delta state is lost now and then: 410 without a body.
    DeltaGoneBare,
    /// Small delta pages, and large groups in parts.
    DeltaSmallPages,
    /// Delta pages hold objects twice.
    DeltaReplays,
    /// First pages are empty and have a next link.
    EmptyFirstPage,
    /// Answers hold a property and an enumeration value that nobody knows.
    UnknownProperties,
    /// Some users are administrators: sensitive actions on them are 403.
    PrivilegedUsers,
    /// Some users are there already and belong to Azure AD Connect: writes to them are 400.
    SyncedUsers,
    /// Some groups are there already and belong to Azure AD Connect: writes to them are 400.
    SyncedGroups,
    /// Some groups are there already and belong to Exchange: they can be read only.
    MailEnabledGroups,
    /// A domain is federated: its users need `onPremisesImmutableId`.
    FederatedDomain,
    /// A domain is not verified: no name may end in it.
    UnverifiedDomain,
    /// An application may create devices.
    DevicesByApplication,
    /// The tenant takes so many objects and no more.
    ObjectQuota,
}

/// Whom the knobs that are about single objects or domains are about.
#[derive(Clone, Debug, Default)]
pub struct Subjects {
    /// User principal names of administrators.
    pub privileged: Vec<String>,
    /// `onPremisesImmutableId` and user principal name of users that Azure AD Connect masters.
    pub synced_users: Vec<(String, String)>,
    /// `uniqueName` of groups that Azure AD Connect masters.
    pub synced_groups: Vec<String>,
    /// `uniqueName` of groups that Exchange masters.
    pub mail_enabled_groups: Vec<String>,
    /// Verified; federated under [`Knob::FederatedDomain`].
    pub federated_domain: String,
    /// Verified, but under [`Knob::UnverifiedDomain`].
    pub unverified_domain: String,
    /// How many objects the tenant takes under [`Knob::ObjectQuota`].
    pub object_quota: usize,
}

/// The objects that a knob keeps from being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Of [`Subjects::privileged`].
    PrivilegedUser,
    /// Of [`Subjects::synced_users`].
    SyncedUser,
    /// Of [`Subjects::synced_groups`].
    SyncedGroup,
    /// Of [`Subjects::mail_enabled_groups`].
    MailEnabledGroup,
    /// Users whose name ends in [`Subjects::unverified_domain`].
    UserOfUnverifiedDomain,
    /// Any user, for the quota strikes whoever comes late.
    AnyUser,
}

/// What a client that waits and tries again comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The tenant ends as it was to be.
    Everything,
    /// It ends as it was to be, but for some of these, and the client can name them.
    AllBut(Subject),
}

impl Knob {
    /// All of them.
    pub const ALL: [Self; 38] = [
        Self::LateKeyReads,
        Self::LateFilters,
        Self::LateDelta,
        Self::LateReferences,
        Self::TwoReplicas,
        Self::DeletedFreesImmutableId,
        Self::DeletedHoldsUniqueName,
        Self::GroupsDeletedForGood,
        Self::DeletedFilterRefused,
        Self::ClearImmutableIdRefused,
        Self::ClearingMailKeepsAddresses,
        Self::MissingMemberBadRequest,
        Self::ThrottledSeconds,
        Self::ThrottledFraction,
        Self::ThrottledDate,
        Self::ThrottledSilently,
        Self::ThrottledBatch424,
        Self::Quota,
        Self::BatchInOrder,
        Self::TokenEndsInBatch,
        Self::TokenShort,
        Self::AnswersLost,
        Self::Unavailable,
        Self::Slow,
        Self::DeltaGone,
        Self::DeltaGoneBare,
        Self::DeltaSmallPages,
        Self::DeltaReplays,
        Self::EmptyFirstPage,
        Self::UnknownProperties,
        Self::PrivilegedUsers,
        Self::SyncedUsers,
        Self::SyncedGroups,
        Self::MailEnabledGroups,
        Self::FederatedDomain,
        Self::UnverifiedDomain,
        Self::DevicesByApplication,
        Self::ObjectQuota,
    ];

    /// Some knobs, the same ones for the same seed; never two that contradict each other.
    pub fn mix(seed: u64) -> Vec<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut mix: Vec<Self> = Vec::new();
        // from another one each time, so that no knob is always the one that another one keeps out
        let first = random.random_range(0..Self::ALL.len());
        for place in 0..Self::ALL.len() {
            let knob = Self::ALL[(first + place) % Self::ALL.len()];
            if random.random_bool(SHARE) && mix.iter().all(|other| !knob.contradicts(*other)) {
                mix.push(knob);
            }
        }
        mix.sort_unstable();
        mix
    }

    /// Whether both set the same thing to different values.
    pub fn contradicts(self, other: Self) -> bool {
        const FORMS: [Knob; 4] =
            [Knob::ThrottledSeconds, Knob::ThrottledFraction, Knob::ThrottledDate, Knob::ThrottledSilently];
        const GONE: [Knob; 2] = [Knob::DeltaGone, Knob::DeltaGoneBare];
        [&FORMS[..], &GONE[..]].iter().any(|family| family.contains(&self) && family.contains(&other))
    }

    /// What a client comes to under this knob.
    pub fn expected(self) -> Expected {
        match self {
            Self::PrivilegedUsers => Expected::AllBut(Subject::PrivilegedUser),
            Self::SyncedUsers => Expected::AllBut(Subject::SyncedUser),
            Self::SyncedGroups => Expected::AllBut(Subject::SyncedGroup),
            Self::MailEnabledGroups => Expected::AllBut(Subject::MailEnabledGroup),
            Self::UnverifiedDomain => Expected::AllBut(Subject::UserOfUnverifiedDomain),
            Self::ObjectQuota => Expected::AllBut(Subject::AnyUser),
            _ => Expected::Everything,
        }
    }

    /// Turns it in the options of a tenant that is to start. The domains of `subjects` are added where they are not there.
    pub fn apply(self, options: &mut TenantOptions, subjects: &Subjects) {
        match self {
            Self::PrivilegedUsers => options.privileged_users.extend(subjects.privileged.iter().cloned()),
            Self::SyncedUsers => options.seeds.extend(subjects.synced_users.iter().map(|(a, n)| synced_user(a, n))),
            Self::SyncedGroups => options.seeds.extend(subjects.synced_groups.iter().map(|name| synced_group(name))),
            Self::MailEnabledGroups => {
                options.seeds.extend(subjects.mail_enabled_groups.iter().map(|name| mail_enabled_group(name)));
            }
            Self::FederatedDomain => {
                options.verified_domains.retain(|domain| *domain != subjects.federated_domain);
                options.federated_domains.push(subjects.federated_domain.clone());
            }
            Self::UnverifiedDomain => {
                options.verified_domains.retain(|domain| *domain != subjects.unverified_domain);
                options.unverified_domains.push(subjects.unverified_domain.clone());
            }
            Self::ObjectQuota => options.knobs.object_quota = Some(subjects.object_quota),
            _ => self.turn(&mut options.knobs),
        }
    }

    /// The same for what may change while a tenant runs; the knobs that are about single objects or domains do not.
    pub fn turn(self, knobs: &mut Knobs) {
        match self {
            Self::LateKeyReads => knobs.visibility.key_reads = LATE,
            Self::LateFilters => knobs.visibility.filters = LATE,
            Self::LateDelta => knobs.visibility.delta = LATE,
            Self::LateReferences => knobs.visibility.references = LATE,
            Self::TwoReplicas => {
                let late = &mut knobs.visibility;
                (late.key_reads, late.filters, late.delta, late.references) = (LATE, LATE, LATE, LATE);
                late.two_replicas = true;
            }
            Self::DeletedFreesImmutableId => knobs.deleted_holds_immutable_id = false,
            Self::DeletedHoldsUniqueName => knobs.deleted_holds_unique_name = true,
            Self::GroupsDeletedForGood => knobs.soft_delete_security_groups = false,
            Self::DeletedFilterRefused => knobs.deleted_filter_refused = true,
            Self::ClearImmutableIdRefused => knobs.clear_immutable_id_refused = true,
            Self::ClearingMailKeepsAddresses => knobs.clearing_mail_keeps_addresses = true,
            Self::MissingMemberBadRequest => knobs.missing_member = MissingMember::BadRequest,
            Self::ThrottledSeconds => throttle(knobs, Some(RetryAfter::Seconds)),
            Self::ThrottledFraction => throttle(knobs, Some(RetryAfter::Fractional)),
            Self::ThrottledDate => throttle(knobs, Some(RetryAfter::HttpDate)),
            Self::ThrottledSilently => throttle(knobs, Some(RetryAfter::Absent)),
            Self::ThrottledBatch424 => {
                throttle(knobs, None);
                knobs.batch_throttled_424 = true;
            }
            Self::Quota => (knobs.quota_scale, knobs.quota_haste) = (Some(0.02), 60.0),
            Self::BatchInOrder => knobs.batch_any_order = false,
            Self::TokenEndsInBatch => knobs.token_operations = Some(50),
            Self::TokenShort => knobs.token_lifetime = Duration::from_secs(3),
            Self::AnswersLost => knobs.lose_every = Some(7),
            Self::Unavailable => knobs.unavailable_every = Some(17),
            Self::Slow => knobs.latency = Duration::from_millis(5),
            Self::DeltaGone => knobs.delta_gone_every = Some(2),
            Self::DeltaGoneBare => (knobs.delta_gone_every, knobs.delta_gone_body) = (Some(2), false),
            Self::DeltaSmallPages => (knobs.delta_page, knobs.delta_member_chunk) = (2, 3),
            Self::DeltaReplays => knobs.delta_replays = true,
            Self::EmptyFirstPage => knobs.empty_first_page = true,
            Self::UnknownProperties => knobs.unknown_properties = true,
            Self::DevicesByApplication => knobs.device_create_refused = false,
            Self::PrivilegedUsers
            | Self::SyncedUsers
            | Self::SyncedGroups
            | Self::MailEnabledGroups
            | Self::FederatedDomain
            | Self::UnverifiedDomain
            | Self::ObjectQuota => {}
        }
    }
}

/// Now and then a 429 that asks for very little; in which form, or as it is.
fn throttle(knobs: &mut Knobs, form: Option<RetryAfter>) {
    knobs.throttle_every = Some(67);
    knobs.throttle_wait = Duration::from_millis(30);
    if let Some(form) = form {
        knobs.retry_after = form;
    }
}

fn synced_user(anchor: &str, name: &str) -> Seed {
    let nickname = name.split('@').next().unwrap_or(name);
    Seed::User(json!({
        "accountEnabled": true,
        "displayName": format!("{name}, synchronized by another tool"),
        "mailNickname": nickname,
        "userPrincipalName": name,
        "onPremisesImmutableId": anchor,
        "onPremisesSyncEnabled": true,
    }))
}

fn synced_group(unique: &str) -> Seed {
    Seed::Group(json!({
        "displayName": format!("{unique}, synchronized by another tool"),
        "mailEnabled": false,
        "mailNickname": "synchronized",
        "securityEnabled": true,
        "uniqueName": unique,
        "onPremisesSyncEnabled": true,
    }))
}

fn mail_enabled_group(unique: &str) -> Seed {
    Seed::Group(json!({
        "displayName": format!("{unique}, with mail"),
        "mailEnabled": true,
        "mailNickname": "mailing",
        "securityEnabled": true,
        "uniqueName": unique,
    }))
}
