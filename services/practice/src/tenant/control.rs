//! Faults on demand and the handle ([`TenantControl`]) that turns them, reads counters and dumps the content.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::clock;
use super::context::security_identifier;
use super::counters::{Counters, TenantDump, WriteRecord};
use super::directory::{Directory, Kind};
use super::exchange::Shared;
use super::options::{ClientSecret, FederatedCredential, Knobs};

/// Faults waiting to happen.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub throttle_writes: u64,
    pub throttle_wait: Duration,
    pub unavailable: u64,
    pub lose_answers: u64,
    pub delta_gone: u64,
    /// Objects, by key, whose writes are refused, with the property to blame.
    pub refused: HashMap<String, String>,
    /// Batch items until every token is expired.
    pub expire_after_items: Option<u64>,
    pub token_error: Option<u32>,
    pub scripted: Vec<Scripted>,
    /// What the knobs count that strike every so many times.
    pub operations: Every,
    pub requests: Every,
    pub written: Every,
    pub delta_queries: Every,
}

/// Strikes one of every so many times, at a random place among them: no client's own rhythm can meet it each time, or
/// never.
#[derive(Debug)]
pub(super) struct Every {
    seen: u64,
    /// Which of them it strikes.
    place: u64,
    random: ChaCha8Rng,
}

impl Default for Every {
    fn default() -> Self {
        Self { seen: 0, place: 0, random: ChaCha8Rng::seed_from_u64(0) }
    }
}

impl Every {
    /// Counts once more; whether it strikes now.
    pub(super) fn strikes(&mut self, period: Option<u64>) -> bool {
        let Some(period) = period.filter(|p| *p > 0) else { return false };
        if self.seen == 0 {
            self.place = self.random.random_range(1..=period);
        }
        self.seen += 1;
        let strikes = self.seen == self.place.min(period);
        if self.seen >= period {
            self.seen = 0;
        }
        strikes
    }

    /// The same for a fault that can also be asked for, so many times: those are used up where its turn had not come.
    pub(super) fn strikes_or(&mut self, period: Option<u64>, asked: &mut u64) -> bool {
        if self.strikes(period) {
            return true;
        }
        let is_asked = *asked > 0;
        *asked = asked.saturating_sub(1);
        is_asked
    }
}

/// Requests that answer with an error, whatever they ask for.
#[derive(Debug)]
pub(super) struct Scripted {
    method: String,
    path: String,
    pub status: u16,
    left: u64,
    /// They are carried out before.
    pub done: bool,
}

impl Faults {
    /// The fault scripted for a request, if there is one.
    pub(super) fn scripted(&mut self, method: &str, path: &str) -> Option<(u16, bool)> {
        let fits = |s: &&mut Scripted| s.left > 0 && s.method == method && path.contains(&s.path);
        let found = self.scripted.iter_mut().find(fits)?;
        found.left -= 1;
        Some((found.status, found.done))
    }
}

/// A handle on a running tenant, cheap to clone. Changes hold from the next request on.
#[derive(Clone)]
pub struct TenantControl {
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for TenantControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantControl").finish_non_exhaustive()
    }
}

impl TenantControl {
    /// Changes knobs.
    pub fn adjust(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.shared.lock().knobs);
    }

    /// Waits so long before each HTTP request is handled.
    pub fn set_latency(&self, latency: Duration) {
        self.adjust(|k| k.latency = latency);
    }

    /// The next so many writes answer 429 and ask to wait so long.
    pub fn throttle_next_writes(&self, count: u64, wait: Duration) {
        let mut inner = self.shared.lock();
        inner.faults.throttle_writes = count;
        inner.faults.throttle_wait = wait;
    }

    /// The next so many HTTP requests answer 503, and their connections are closed.
    pub fn unavailable_next(&self, count: u64) {
        self.shared.lock().faults.unavailable = count;
    }

    /// The answers to the next so many HTTP requests that wrote something are lost, after the write. A batch has one answer.
    pub fn lose_answers(&self, count: u64) {
        self.shared.lock().faults.lose_answers = count;
    }

    /// The next so many requests, alone or in a batch, with this method and this text in their path answer this status;
    /// nothing else happens, or with `done` after they were carried out. A count of 0 ends it.
    pub fn fail_next(&self, method: &str, path: &str, status: u16, count: u64, done: bool) {
        let mut inner = self.shared.lock();
        inner.faults.scripted.retain(|s| s.left > 0 && (s.method != method || s.path != path));
        inner.faults.scripted.push(Scripted {
            method: method.to_owned(),
            path: path.to_owned(),
            status,
            left: count,
            done,
        });
    }

    /// The next so many delta queries answer 410.
    pub fn lose_delta_state(&self, count: u64) {
        self.shared.lock().faults.delta_gone = count;
    }

    /// Writes to the object with this key (`onPremisesImmutableId`, `uniqueName` or id) answer 400 and blame the property;
    /// `None` ends that.
    pub fn refuse_writes(&self, key: &str, property: Option<&str>) {
        let mut inner = self.shared.lock();
        match property {
            Some(property) => inner.faults.refused.insert(key.to_owned(), property.to_owned()),
            None => inner.faults.refused.remove(key),
        };
    }

    /// Takes a permission away: from tokens given out from now on, or at once from all.
    pub fn revoke_permission(&self, role: &str, at_once: bool) {
        let mut inner = self.shared.lock();
        let mut roles: BTreeSet<String> = inner.tokens.granted.as_ref().clone();
        roles.remove(role);
        inner.tokens.grant(roles, at_once);
    }

    /// Gives a permission: to tokens given out from now on, or at once to all.
    pub fn grant_permission(&self, role: &str, at_once: bool) {
        let mut inner = self.shared.lock();
        let mut roles: BTreeSet<String> = inner.tokens.granted.as_ref().clone();
        roles.insert(role.to_owned());
        inner.tokens.grant(roles, at_once);
    }

    /// Ends every token at once.
    pub fn expire_tokens(&self) {
        self.shared.lock().tokens.expire(Instant::now());
    }

    /// Ends every token after so many more batch items: in the middle of a batch, if need be.
    pub fn expire_tokens_after_items(&self, items: u64) {
        self.shared.lock().faults.expire_after_items = Some(items);
    }

    /// Token requests fail with this AADSTS number (such as 7000222, an expired secret); `None` ends that.
    pub fn refuse_tokens(&self, code: Option<u32>) {
        self.shared.lock().faults.token_error = code;
    }

    /// These secrets of the application are accepted from now on, and no others. An application may have several, so that
    /// they can be changed without a gap.
    pub fn set_secrets(&self, secrets: Vec<ClientSecret>) {
        self.shared.lock().credentials.secrets = secrets;
    }

    /// Registers a certificate (PEM) with the application. Returns its thumbprint as it stands in `x5t#S256`.
    pub fn register_certificate(&self, pem: &str) -> Result<String> {
        self.shared.lock().credentials.register(pem)
    }

    /// Takes a certificate off the application, by its thumbprint. Tokens that were given out stay valid.
    pub fn forget_certificate(&self, thumbprint: &str) {
        self.shared.lock().credentials.forget(thumbprint);
    }

    /// Tokens of these issuers are accepted for the application from now on, and no others.
    pub fn set_federated_credentials(&self, credentials: Vec<FederatedCredential>) {
        self.shared.lock().credentials.federated = credentials;
    }

    /// Puts a user into the tenant as another tool would have, without any check: read-only properties such as
    /// `onPremisesSyncEnabled` may be set. `practiceExternal: true` marks one that another service masters.
    pub fn seed_user(&self, properties: Value) -> Result<String> {
        self.seed(Kind::User, properties, &[])
    }

    /// Puts a group with members (object ids) into the tenant without any check: also a distribution list.
    pub fn seed_group(&self, properties: Value, members: &[String]) -> Result<String> {
        self.seed(Kind::Group, properties, members)
    }

    fn seed(&self, kind: Kind, properties: Value, members: &[String]) -> Result<String> {
        let members: Vec<Uuid> =
            members.iter().map(|m| m.parse()).collect::<Result<_, _>>().context("not an object id")?;
        let now = Instant::now();
        let mut inner = self.shared.lock();
        let id = plant(&mut inner.directory, kind, properties, now)?;
        for member in members {
            inner.directory.link_member(id, member, now);
        }
        Ok(id.to_string())
    }

    /// Changes an object as an administrator with other tools would, without any check: null removes a property.
    pub fn edit(&self, id: &str, properties: Value) -> Result<()> {
        let id: Uuid = id.parse().context("not an object id")?;
        let changes = object(properties)?;
        let mut inner = self.shared.lock();
        let mut props = inner.directory.live(id).context("there is no live object with this id")?.props.clone();
        for (name, value) in changes {
            if value.is_null() {
                props.remove(&name);
            } else {
                props.insert(name, value);
            }
        }
        inner.directory.set(id, props, Instant::now(), true);
        Ok(())
    }

    /// Deletes an object as an administrator would: it can be restored, unless it is `for_good`.
    pub fn delete(&self, id: &str, for_good: bool) -> Result<()> {
        let id: Uuid = id.parse().context("not an object id")?;
        let mut inner = self.shared.lock();
        let object = inner.directory.get(id).context("there is no object with this id")?;
        let (kind, mut props, now) = (object.kind, object.props.clone(), Instant::now());
        if for_good {
            inner.directory.purge(id, now);
            return Ok(());
        }
        if kind == Kind::User {
            let name = props.get("userPrincipalName").and_then(Value::as_str).unwrap_or_default();
            let name = format!("{}{name}", id.simple());
            props.insert("userPrincipalName".into(), json!(name));
        }
        props.insert("deletedDateTime".into(), json!(clock::date_time_offset(clock::now())));
        inner.directory.set_deleted(id, true, props, now);
        Ok(())
    }

    /// Restores a deleted object, likewise.
    pub fn restore(&self, id: &str) -> Result<()> {
        let id: Uuid = id.parse().context("not an object id")?;
        let mut inner = self.shared.lock();
        let mut props = inner.directory.get(id).context("there is no object with this id")?.props.clone();
        props.remove("deletedDateTime");
        let name = props.get("userPrincipalName").and_then(Value::as_str).map(str::to_owned);
        if let Some(own) = name.as_deref().and_then(|name| name.strip_prefix(&id.simple().to_string())) {
            props.insert("userPrincipalName".into(), json!(own));
        }
        inner.directory.set_deleted(id, false, props, Instant::now());
        Ok(())
    }

    /// Makes an object a member of a group, or one no more, likewise.
    pub fn set_member(&self, group: &str, member: &str, is_member: bool) -> Result<()> {
        let (group, member): (Uuid, Uuid) =
            (group.parse().context("not an object id")?, member.parse().context("not an object id")?);
        let directory = &mut self.shared.lock().directory;
        if is_member {
            directory.link_member(group, member, Instant::now());
        } else {
            directory.unlink_member(group, member, Instant::now());
        }
        Ok(())
    }

    /// Purges a deleted object, as an administrator or the end of its 30 days would.
    pub fn purge(&self, id: &str) -> Result<()> {
        let id = self.deleted(id)?;
        self.shared.lock().directory.purge(id, Instant::now());
        Ok(())
    }

    /// Brings a deleted object back as an administrator would, a user with the name that it had, without any check.
    pub fn bring_back(&self, id: &str) -> Result<()> {
        let id = self.deleted(id)?;
        let mut inner = self.shared.lock();
        let mut props = inner.directory.get(id).context("there is no object with this id")?.props.clone();
        props.remove("deletedDateTime");
        let name = props.get("userPrincipalName").and_then(Value::as_str).map(str::to_owned);
        if let Some(own) = name.as_ref().and_then(|name| name.strip_prefix(&id.simple().to_string())) {
            props.insert("userPrincipalName".into(), own.into());
        }
        inner.directory.set_deleted(id, false, props, Instant::now());
        Ok(())
    }

    fn deleted(&self, id: &str) -> Result<Uuid> {
        let id: Uuid = id.parse().context("not an object id")?;
        let is_deleted = self.shared.lock().directory.get(id).is_some_and(|object| object.deleted.is_some());
        anyhow::ensure!(is_deleted, "there is no deleted object with this id");
        Ok(id)
    }

    /// Makes a user (by object id) an administrator, or not.
    pub fn set_privileged(&self, id: &str, privileged: bool) -> Result<()> {
        let id: Uuid = id.parse().context("not an object id")?;
        self.shared.lock().directory.set_privileged(id, privileged);
        Ok(())
    }

    /// The whole content.
    pub fn dump(&self) -> TenantDump {
        TenantDump::of(&self.shared.lock().directory)
    }

    /// The counts so far.
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters.clone()
    }

    /// Sets all counts to zero and empties the write log.
    pub fn reset_counters(&self) {
        let mut inner = self.shared.lock();
        inner.counters = Counters::default();
        inner.writes.clear();
    }

    /// The writes that changed something, oldest first; the newest 200,000 are kept.
    pub fn writes(&self) -> Vec<WriteRecord> {
        self.shared.lock().writes.iter().cloned().collect()
    }
}

/// Puts an object into a directory without any check; its id.
pub(super) fn plant(directory: &mut Directory, kind: Kind, properties: Value, now: Instant) -> Result<Uuid> {
    let mut props = object(properties)?;
    let id = Uuid::new_v4();
    props.entry("createdDateTime").or_insert_with(|| json!(clock::date_time_offset(clock::now())));
    props.entry("securityIdentifier").or_insert_with(|| json!(security_identifier(id)));
    if kind == Kind::User {
        super::users::set_addresses(&mut props, None, true);
    }
    directory.insert(id, kind, props, now);
    Ok(id)
}

fn object(value: Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(map) => Ok(map),
        _ => anyhow::bail!("the properties must be a JSON object"),
    }
}
