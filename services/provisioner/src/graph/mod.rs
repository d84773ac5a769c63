//! Microsoft Graph v1.0 as a [`Target`]: look-ups, writes and references in `$batch`es.
//!
//! Facts are from graph.md: what a status, a code and `details` mean (section 1), the default properties (2.1), the
//! upsert of groups by `uniqueName` (3.3), soft deletion (6), batches (8). Message texts are never looked at.

mod answer;
mod batch;
mod deleted;
mod delta;
mod extensions;
mod gate;
mod http;
mod objects;
mod requests;
mod token;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use forestsync_log::Lease;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::StopCause;
use forestsync_schemas::trace;
use serde_json::Value;

use crate::config::{ConfigError, ExtensionApp, InitialPassword, TenantConfig};
use crate::target::{
    Call, Changes, Extension, ExtensionState, Failure, FailureKind, Outage, Reply, Target, own_failure,
};
use answer::Answer;
use deleted::Deleted;
use extensions::Names;
use gate::Gate;
use http::Http;
use requests::Request;

pub(crate) use http::authorities;
pub(crate) use token::{EntraTokens, TokenProvider, roles};

/// Pages followed for one list at most; at 999 objects each.
const MOST_PAGES: usize = 10_000;

/// The tenant behind Graph.
#[derive(Debug)]
pub(crate) struct Graph {
    http: Http,
    batch_size: usize,
    deleted: Deleted,
    extension_app: Option<ExtensionApp>,
    /// Whether groups may carry their anchor in an extension of it.
    with_anchor: bool,
    initial_password: InitialPassword,
    // replaced as a whole when definitions were looked at
    names: Mutex<Arc<Names>>,
}

impl Graph {
    /// Sets up the client; sends nothing. With a lease, nothing is sent but while it is valid.
    pub(crate) fn new(config: &TenantConfig, lease: Option<Lease>) -> Result<Self, ConfigError> {
        Self::behind(Gate::new(lease), config)
    }

    /// One from which no write leaves, whoever asks for it.
    pub(crate) fn read_only(config: &TenantConfig) -> Result<Self, ConfigError> {
        Self::behind(Gate::read_only(), config)
    }

    fn behind(gate: Gate, config: &TenantConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let client = http::client(config)?;
        let tokens: Arc<dyn TokenProvider> = Arc::new(EntraTokens::new(config, client.clone())?);
        Ok(Self {
            http: Http::new(config, client, tokens, gate),
            batch_size: config.batch_size,
            deleted: Deleted::default(),
            extension_app: config.extension_app.clone(),
            with_anchor: config.adopts_groups(),
            initial_password: config.initial_password,
            names: Mutex::new(Arc::new(Names::new(config.extension_app.as_ref(), config.adopts_groups()))),
        })
    }

    /// A `GET`, for checks.
    pub(crate) async fn get(&self, path: &str) -> Result<Result<Value, Failure>, Outage> {
        let answer = self.http.send(&Request::get(path.to_owned())).await?;
        Ok(if answer.is_success() { Ok(answer.body) } else { Err(answer.failure()) })
    }

    /// A fresh or cached access token, for checks.
    pub(crate) async fn token(&self) -> Result<secrecy::SecretString, Outage> {
        self.http.token(false).await.map(|(token, _)| token)
    }

    /// All pages of a list, from its first page on.
    async fn pages(&self, mut path: String) -> Result<Result<Vec<Value>, Failure>, Outage> {
        let mut values = Vec::new();
        for _ in 0..MOST_PAGES {
            let (page, next) = match self.page(path).await? {
                Ok(page) => page,
                Err(failure) => return Ok(Err(failure)),
            };
            values.extend(page);
            match next {
                None => return Ok(Ok(values)),
                Some(link) => path = link,
            }
        }
        Err(Outage {
            uncertain: false,
            throttled: false,
            retry_after: None,
            cause: StopCause::NotAvailable,
            forfeited: false,
            detail: "the tenant's list has no end; its pages go in a circle".into(),
        })
    }

    /// Adds what further pages hold to an answer that is a list: an empty page may come before others (graph.md section 15).
    async fn complete(&self, answer: &mut Answer) -> Result<Result<(), Failure>, Outage> {
        let link = answer.body.get("@odata.nextLink").and_then(Value::as_str).filter(|_| answer.is_success());
        let Some(path) = link.map(|link| self.http.relative(link)).transpose()? else { return Ok(Ok(())) };
        let more = match self.pages(path).await? {
            Ok(more) => more,
            Err(failure) => return Ok(Err(failure)),
        };
        if let Some(Value::Array(values)) = answer.body.get_mut("value") {
            values.extend(more);
        }
        Ok(Ok(()))
    }

    /// The reply to a call whose answers may have further pages.
    async fn reply(&self, names: &Names, call: &Call, answers: &mut [Answer]) -> Result<Reply, Outage> {
        if matches!(call, Call::LookUp { .. } | Call::Match { .. }) {
            for answer in answers.iter_mut() {
                if let Err(failure) = self.complete(answer).await? {
                    return Ok(Reply::Failed(names.failure(failure)));
                }
            }
        }
        Ok(objects::reply(names, call, answers))
    }

    /// Whether the reply to a call takes more requests.
    fn is_open(&self, names: &Names, call: &Call, answers: &[Answer]) -> bool {
        let looks_up = matches!(call, Call::LookUp { .. });
        let lists = looks_up && (self.deleted.is_filter_refused() || objects::is_filter_refused(names, call, answers));
        let goes_on = |answer: &Answer| answer.is_success() && answer.body.get("@odata.nextLink").is_some();
        lists || (looks_up || matches!(call, Call::Match { .. })) && answers.iter().any(goes_on)
    }

    /// The same, where the tenant may refuse to filter deleted objects.
    async fn whole_reply(&self, names: &Names, call: &Call, answers: &mut [Answer]) -> Result<Reply, Outage> {
        let reply = self.reply(names, call, answers).await?;
        if !matches!(call, Call::LookUp { .. }) {
            return Ok(reply);
        }
        let is_refused = objects::is_filter_refused(names, call, answers);
        if is_refused {
            self.deleted.refuse_filter();
        }
        let live = answers.get_mut(..objects::live_answers(names, call)).filter(|_| is_refused);
        let reply = live.map_or(reply, |live| objects::reply(names, call, live));
        if self.deleted.is_filter_refused() { self.deleted_by_list(call, reply).await } else { Ok(reply) }
    }

    /// One page of a list, and the path of the next one.
    pub(crate) async fn page(&self, path: String) -> Result<Result<(Vec<Value>, Option<String>), Failure>, Outage> {
        let mut answer = self.http.send(&Request::get(path)).await?;
        if !answer.is_success() {
            return Ok(Err(answer.failure()));
        }
        let values = match answer.body.get_mut("value").map(Value::take) {
            Some(Value::Array(values)) => values,
            _ => Vec::new(),
        };
        let link = answer.body.get("@odata.nextLink").and_then(Value::as_str);
        let next = link.map(|link| self.http.relative(link)).transpose()?;
        Ok(Ok((values, next)))
    }

    /// The property in which groups carry their anchor that had none when they were found, where there is one. Defines
    /// nothing.
    pub(crate) async fn anchor_property(&self) -> Result<Option<String>, Outage> {
        if self.with_anchor {
            self.extensions(&[Extension::of_anchors()]).await?;
        }
        Ok(self.names().anchor())
    }

    fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a definition that is missing. Another one may have made it meanwhile, or the list lags.
    async fn define(&self, app: &ExtensionApp, extension: &Extension) -> Result<ExtensionState, Outage> {
        let answer = self.http.send(&extensions::create(app, extension)).await?;
        if answer.is_success() {
            return Ok(ExtensionState::Ready { made: true });
        }
        let failure = answer.failure();
        if let Ok(definitions) = self.pages(extensions::list(app)).await?
            && let Some(state) = extensions::judge(&self.names(), &definitions, extension)
        {
            return Ok(state);
        }
        extensions::refusal(&failure).ok_or_else(|| unanswered(&failure))
    }

    /// Everything that a navigation property leads to and that counts.
    async fn linked(&self, path: String, counts: fn(&Value) -> bool) -> Result<Reply, Outage> {
        let pages = self.pages(path).await?;
        Ok(match pages {
            Err(failure) => Reply::Failed(failure),
            Ok(values) => Reply::Members(
                values.iter().filter(|value| counts(value)).filter_map(objects::id).collect::<HashSet<_>>(),
            ),
        })
    }

    /// Answers to the requests, in their order: by themselves if there is one, else as batches.
    async fn exchange(&self, requests: Vec<Request>) -> Result<Vec<Answer>, Outage> {
        let mut answers = Vec::with_capacity(requests.len());
        for chunk in requests.chunks(self.batch_size) {
            match chunk {
                [single] => answers.push(self.http.send(single).await?),
                several => {
                    let body = batch::body(several);
                    let outer = self.http.send(&Request::post("/$batch".into(), body)).await?;
                    let (inner, unauthorized) = batch::answers(outer, several.len())?;
                    if unauthorized {
                        self.http.renew_token().await;
                    }
                    answers.extend(inner);
                }
            }
        }
        Ok(answers)
    }

    /// The soft-deleted object of a look-up, where the tenant refuses to filter deleted objects.
    async fn deleted_by_list(&self, call: &Call, reply: Reply) -> Result<Reply, Outage> {
        let (Call::LookUp { class, anchor, attributes, .. }, Reply::Found { live: None, deleted: None }) =
            (call, &reply)
        else {
            return Ok(reply);
        };
        let names = self.names();
        let mut list = self.deleted.lock(*class).await;
        if !list.is_fresh() {
            match self.pages(requests::deleted_path(&names, *class, attributes)).await? {
                Err(failure) => return Ok(Reply::Failed(failure)),
                Ok(values) => list.fill(values.iter().filter_map(|v| objects::object(&names, *class, v, attributes))),
            }
        }
        Ok(Reply::Found { live: None, deleted: list.find(&objects::anchor_text(*class, anchor)) })
    }
}

/// Whether it is a directory role. The type is given also where the application may see nothing else of it.
fn is_role(value: &Value) -> bool {
    value.get("@odata.type").and_then(Value::as_str) == Some("#microsoft.graph.directoryRole")
}

/// A failure that may pass by itself, of something that no object waits for alone.
fn unanswered(failure: &Failure) -> Outage {
    Outage {
        uncertain: false,
        throttled: false,
        retry_after: failure.retry_after,
        forfeited: false,
        cause: StopCause::NotAvailable,
        detail: format!("the tenant answers {} {}", failure.status.unwrap_or_default(), failure.code),
    }
}

#[async_trait::async_trait]
impl Target for Graph {
    async fn perform(&self, calls: &[Call], traces: &[Option<String>]) -> Result<Vec<Reply>, Outage> {
        match calls {
            [Call::ListMembers { group }] => {
                return Ok(vec![self.linked(requests::members_path(group), |_| true).await?]);
            }
            [Call::ListOwners { group }] => {
                return Ok(vec![self.linked(requests::owners_path(group), |_| true).await?]);
            }
            [Call::ListRoles { user }] => return Ok(vec![self.linked(requests::roles_path(user), is_role).await?]),
            _ => {}
        }
        let mut requests = Vec::new();
        let mut lengths = Vec::with_capacity(calls.len());
        let names = self.names();
        let no_filter = self.deleted.is_filter_refused();
        for (place, call) in calls.iter().enumerate() {
            let before = requests.len();
            if !names.must_wait(call) {
                requests::of(call, self.http.root(), &names, no_filter, self.initial_password, &mut requests);
            }
            if let Some(trace) = traces.get(place).and_then(Option::as_ref) {
                for request in requests.iter_mut().skip(before) {
                    request.headers.push((trace::HEADER, trace.clone()));
                }
            }
            lengths.push(requests.len() - before);
        }
        let mut answers = self.exchange(requests).await?.into_iter();
        let mut replies = Vec::with_capacity(calls.len());
        let mut trouble = None;
        for (call, length) in calls.iter().zip(lengths) {
            let mut mine: Vec<Answer> = answers.by_ref().take(length).collect();
            let reply = match &trouble {
                _ if names.must_wait(call) => {
                    Ok(Reply::Failed(own_failure(FailureKind::NotFound, "anchor_extension_unknown")))
                }
                // nothing more is asked for until the tenant has had its pause
                Some(outage) if self.is_open(&names, call, &mine) => Err(Outage::clone(outage)),
                _ => self.whole_reply(&names, call, &mut mine).await,
            };
            // what the others were told in the same batch stands
            replies.push(match reply {
                Ok(reply) => reply,
                Err(outage) if outage.forfeited => return Err(outage),
                Err(outage) => Reply::Unanswered(trouble.insert(outage).clone()),
            });
        }
        Ok(replies)
    }

    async fn extensions(&self, wanted: &[Extension]) -> Result<BTreeMap<String, ExtensionState>, Outage> {
        let all = |state: &ExtensionState| wanted.iter().map(|e| (e.name.clone(), state.clone())).collect();
        let Some(app) = &self.extension_app else {
            return Ok(all(&ExtensionState::Refused {
                code: "extension_app_missing",
                detail: "no application is named that holds directory extensions".to_owned(),
                hint: "write extension_app and extension_app_object into the tenant's settings",
            }));
        };
        let definitions = match self.pages(extensions::list(app)).await? {
            Ok(definitions) => definitions,
            Err(failure) => {
                return extensions::refusal(&failure).map(|state| all(&state)).ok_or_else(|| unanswered(&failure));
            }
        };
        let names = self.names();
        let (mut states, mut unmade) = (BTreeMap::new(), HashSet::new());
        for extension in wanted {
            let state = match extensions::judge(&names, &definitions, extension) {
                Some(state) => state,
                None if self.http.may_write() => self.define(app, extension).await?,
                None => {
                    // it would be made; until then nothing can be read of it
                    unmade.insert(extension.name.clone());
                    ExtensionState::Ready { made: true }
                }
            };
            states.insert(extension.name.clone(), state);
        }
        let mut names = Names::new(Some(app), self.with_anchor);
        for name in &unmade {
            names.miss(name);
        }
        for extension in extensions::usable(wanted, &states).filter(|extension| !unmade.contains(&extension.name)) {
            names.define(&extension.name, extension.data_type);
        }
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
        Ok(states)
    }

    async fn permitted(&self) -> BTreeMap<CloudClass, bool> {
        let held = self.http.token(true).await.ok().and_then(|(token, _)| roles(&token)).unwrap_or_default();
        let has = |any: [&str; 2]| held.iter().any(|role| any.contains(&role.as_str()));
        if held.is_empty() {
            return BTreeMap::new();
        }
        BTreeMap::from([
            (CloudClass::User, has(["User.ReadWrite.All", "Directory.ReadWrite.All"])),
            (CloudClass::Group, has(["Group.ReadWrite.All", "Directory.ReadWrite.All"])),
        ])
    }

    fn first_changes(&self, class: CloudClass, attributes: &[String]) -> String {
        delta::first(&self.names(), class, attributes)
    }

    async fn changes(&self, class: CloudClass, attributes: &[String], place: &str) -> Result<Changes, Outage> {
        let answer = self.http.send(&Request::get(place.to_owned())).await?;
        delta::changes(&self.http, &self.names(), class, attributes, answer)
    }

    fn shows(&self, attribute: &str) -> bool {
        self.names().selected(attribute).is_some()
    }

    fn requests(&self) -> u64 {
        self.http.requests()
    }
}
