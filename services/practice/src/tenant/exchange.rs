//! One exchange: token, faults, quota, the operation, counters, the answer. Synchronous, under one lock.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::auth::Tokens;
use super::clock;
use super::context::{Ctx, Tenant};
use super::control::Faults;
use super::counters::{Counters, WriteRecord};
use super::credentials::Credentials;
use super::directory::{Directory, Kind};
use super::options::{Knobs, RetryAfter};
use super::reply::{Content, GraphError, Ids, Outcome, Write};
use super::request::GraphRequest;
use super::throttle::{self, Quota, Refusal};

/// How many writes the log keeps.
const WRITE_LOG: usize = 200_000;
/// What a JSON answer says it is.
pub(super) const JSON: &str =
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8";

/// Everything that changes.
pub(super) struct Inner {
    pub directory: Directory,
    pub knobs: Knobs,
    pub quota: Quota,
    pub tokens: Tokens,
    pub credentials: Credentials,
    pub counters: Counters,
    pub faults: Faults,
    pub writes: VecDeque<WriteRecord>,
    pub second_replica: bool,
    /// The state of the generator that orders batches.
    pub scramble: u64,
}

/// The tenant as its connections share it.
pub(super) struct Shared {
    pub tenant: Tenant,
    pub inner: Mutex<Inner>,
}

impl Shared {
    /// The content; a panic elsewhere does not lock it up.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer, of a request or of an item of a batch.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Option<Value>,
    /// Something was written.
    pub wrote: bool,
    /// The connection is to be closed.
    pub close: bool,
    /// The answer is never sent.
    pub lost: bool,
}

/// A request as it came in.
pub(super) struct Arrived<'a> {
    pub request: Result<GraphRequest, Box<GraphError>>,
    pub method: &'a str,
    pub authorization: Option<&'a str>,
    pub client_request_id: Option<String>,
    pub at: Instant,
}

/// Whether the operation writes; some reads are POSTs.
fn writes(method: &str, request: Option<&GraphRequest>) -> bool {
    let asks = request.is_some_and(|r| {
        matches!(r.segments.as_slice(), [set, action, ..] if set == "directoryObjects"
        && (action.ends_with("getByIds") || action.ends_with("getAvailableExtensionProperties")))
    });
    !matches!(method, "GET" | "HEAD" | "OPTIONS") && !asks
}

impl Inner {
    /// Handles one HTTP request.
    pub(super) fn exchange(&mut self, tenant: &Tenant, arrived: Arrived<'_>) -> Answer {
        *self.counters.requests.entry(arrived.method.to_owned()).or_default() += 1;
        let ids = ids(arrived.client_request_id.clone());
        if self.faults.requests.strikes_or(self.knobs.unavailable_every, &mut self.faults.unavailable) {
            let error = GraphError::new(503, "serviceNotAvailable", "The service is temporarily unavailable.");
            let mut answer = self.answer(Err(error), &ids, arrived.at);
            answer.close = true;
            return answer;
        }
        let batch = arrived.method == "POST"
            && arrived
                .request
                .as_ref()
                .is_ok_and(|r| r.segments.len() == 1 && r.segments.iter().all(|s| s == "$batch"));
        let mut answer = if batch { self.batch(tenant, arrived, &ids) } else { self.single(tenant, arrived, &ids) };
        if answer.wrote && self.faults.written.strikes_or(self.knobs.lose_every, &mut self.faults.lose_answers) {
            self.counters.answers_lost += 1;
            answer.lost = true;
        }
        answer
    }

    /// Handles one operation, alone or of a batch.
    pub(super) fn single(&mut self, tenant: &Tenant, arrived: Arrived<'_>, ids: &Ids) -> Answer {
        let mut units = 1;
        let (at, outcome) = (arrived.at, self.perform(tenant, arrived, &mut units));
        let mut answer = self.answer(outcome, ids, at);
        answer.headers.push(("x-ms-resource-unit".into(), units.to_string()));
        answer
    }

    fn perform(&mut self, tenant: &Tenant, arrived: Arrived<'_>, units: &mut u32) -> Outcome {
        let (now, at) = (Instant::now(), arrived.at);
        let roles = self.tokens.check(arrived.authorization, now)?;
        self.tokens.spend(arrived.authorization, self.knobs.token_operations, now);
        let writing = writes(arrived.method, arrived.request.as_ref().ok());
        if writing {
            self.counters.writes += 1;
        } else {
            self.counters.reads += 1;
        }
        if writing && self.faults.throttle_writes > 0 {
            self.faults.throttle_writes -= 1;
            let refusal = Refusal { wait: self.faults.throttle_wait, why: "WriteLimitExceeded" };
            return Err(self.too_many(&refusal, tenant));
        }
        if self.faults.operations.strikes(self.knobs.throttle_every) {
            let why = if writing { "WriteLimitExceeded" } else { "ResourceUnitLimitExceeded" };
            return Err(self.too_many(&Refusal { wait: self.knobs.throttle_wait, why }, tenant));
        }
        let request = arrived.request?;
        let cost = throttle::cost(&request);
        *units = cost.units;
        let mut used = 0.0;
        if let Some(scale) = self.knobs.quota_scale.filter(|s| *s > 0.0) {
            let users = self.directory.listing(Kind::User, false).len();
            match self.quota.take(cost, scale, self.knobs.quota_haste, users, now) {
                Ok(share) => used = share,
                Err(refusal) => return Err(self.too_many(&refusal, tenant)),
            }
        }
        self.second_replica = !self.second_replica;
        let late = !self.knobs.visibility.two_replicas || self.second_replica;
        let scripted = self.faults.scripted(&request.method, &request.segments.join("/"));
        if let Some((status, false)) = scripted {
            return Err(GraphError::scripted(status));
        }
        let Self { directory, knobs, faults, .. } = self;
        let mut ctx = Ctx { directory, knobs, tenant, faults, request: &request, roles: &roles, now, late };
        let outcome = ctx.route();
        if let Some((status, true)) = scripted {
            if let Ok(reply) = outcome
                && let Some(write) = reply.write
            {
                self.note(write, at);
            }
            return Err(GraphError::scripted(status));
        }
        if used > 0.8 {
            return outcome.map(|r| r.header("x-ms-throttle-limit-percentage", format!("{used:.2}")));
        }
        outcome
    }

    fn too_many(&self, refusal: &Refusal, tenant: &Tenant) -> Box<GraphError> {
        let form: RetryAfter = self.knobs.retry_after;
        throttle::refuse(refusal, form, &tenant.client_id, &tenant.id)
    }

    /// Counts the outcome and turns it into an answer.
    pub(super) fn answer(&mut self, outcome: Outcome, ids: &Ids, at: Instant) -> Answer {
        let mut headers = vec![
            ("request-id".to_owned(), ids.request.clone()),
            ("client-request-id".to_owned(), ids.client.clone()),
            ("Cache-Control".to_owned(), "no-cache".to_owned()),
            (
                "x-ms-ags-diagnostic".to_owned(),
                r#"{"ServerInfo":{"DataCenter":"Practice","Slice":"E","Ring":"0","ScaleUnit":"000","RoleInstance":"P0"}}"#.to_owned(),
            ),
        ];
        let (status, own, body, wrote) = match outcome {
            Ok(reply) => {
                let wrote = reply.write.is_some_and(|write| self.note(write, at));
                let body = match reply.content {
                    Content::Empty => None,
                    Content::Json(value) => Some(value),
                    Content::Number(n) => Some(json!(n)),
                };
                (reply.status, reply.headers, body, wrote)
            }
            Err(error) => {
                match error.status {
                    429 => self.counters.throttled += 1,
                    401 => self.counters.unauthorized += 1,
                    status => *self.counters.errors.entry(status).or_default() += 1,
                }
                self.counters.writes_without_effect += u64::from(error.without_effect);
                let body = (!error.bare).then(|| error.body(ids));
                (error.status, error.headers, body, false)
            }
        };
        match &body {
            Some(Value::Number(_)) => headers.push(("Content-Type".into(), "text/plain".into())),
            Some(_) => headers.push(("Content-Type".into(), JSON.into())),
            None => {}
        }
        headers.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
        Answer { status, headers, body, wrote, close: false, lost: false }
    }

    /// Counts a successful write; whether it changed anything.
    fn note(&mut self, write: Write, at: Instant) -> bool {
        *self.counters.operations.entry(write.operation.to_owned()).or_default() += 1;
        if !write.changed {
            self.counters.writes_without_effect += 1;
            return false;
        }
        let created = match write.operation {
            "user.create" => Some(&mut self.counters.creates_by_immutable_id),
            "group.create" => Some(&mut self.counters.creates_by_unique_name),
            _ => None,
        };
        if let Some(created) = created {
            *created.entry(write.key.clone()).or_default() += 1;
        }
        if self.writes.len() >= WRITE_LOG {
            self.writes.pop_front();
        }
        self.writes.push_back(WriteRecord { at, operation: write.operation, key: write.key });
        true
    }
}

/// New ids for an answer; the client's own is echoed.
pub(super) fn ids(client: Option<String>) -> Ids {
    let request = Uuid::new_v4().to_string();
    let client = client.unwrap_or_else(|| request.clone());
    Ids { request, client, date: clock::without_zone(clock::now()) }
}
