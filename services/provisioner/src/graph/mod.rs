//! Microsoft Graph v1.0 as a [`Target`]: look-ups, writes and references in `$batch`es.
//!
//! Facts are from graph.md: what a status, a code and `details` mean (section 1), the default properties (2.1), the
//! upsert of groups by `uniqueName` (3.3), soft deletion (6), batches (8). Message texts are never looked at.

mod answer;
mod batch;
mod deleted;
mod gate;
mod http;
mod objects;
mod requests;
mod token;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use forestsync_log::Lease;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::StopCause;
use serde_json::Value;

use crate::config::{ConfigError, TenantConfig};
use crate::target::{Call, Failure, Outage, Reply, Target};
use answer::Answer;
use deleted::Deleted;
use http::Http;
use requests::Request;

pub(crate) use token::{EntraTokens, TokenProvider, roles};

/// Pages followed for one list at most; at 999 objects each.
const MOST_PAGES: usize = 10_000;

/// The tenant behind Graph.
#[derive(Debug)]
pub(crate) struct Graph {
    http: Http,
    batch_size: usize,
    deleted: Deleted,
}

impl Graph {
    /// Sets up the client; sends nothing. With a lease, nothing is sent but while it is valid.
    pub(crate) fn new(config: &TenantConfig, lease: Option<Lease>) -> Result<Self, ConfigError> {
        config.validate()?;
        let client = http::client(config)?;
        let tokens: Arc<dyn TokenProvider> = Arc::new(EntraTokens::new(config, client.clone())?);
        Ok(Self {
            http: Http::new(config, client, tokens, lease),
            batch_size: config.batch_size,
            deleted: Deleted::default(),
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
    async fn pages(&self, path: String) -> Result<Result<Vec<Value>, Failure>, Outage> {
        let mut request = Request::get(path);
        let mut values = Vec::new();
        for _ in 0..MOST_PAGES {
            let mut answer = self.http.send(&request).await?;
            if !answer.is_success() {
                return Ok(Err(answer.failure()));
            }
            if let Some(Value::Array(page)) = answer.body.get_mut("value").map(Value::take) {
                values.extend(page);
            }
            let next = answer.body.get("@odata.nextLink").and_then(Value::as_str);
            match next {
                None => return Ok(Ok(values)),
                Some(link) => request = Request::get(self.http.relative(link)?),
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

    async fn members(&self, group: &str) -> Result<Reply, Outage> {
        let pages = self.pages(requests::members_path(group)).await?;
        Ok(match pages {
            Err(failure) => Reply::Failed(failure),
            Ok(values) => Reply::Members(values.iter().filter_map(objects::id).collect::<HashSet<_>>()),
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
        let (Call::LookUp { class, anchor, attributes }, Reply::Found { live: None, deleted: None }) = (call, &reply)
        else {
            return Ok(reply);
        };
        let mut list = self.deleted.lock(*class).await;
        if !list.is_fresh() {
            match self.pages(requests::deleted_path(*class, attributes)).await? {
                Err(failure) => return Ok(Reply::Failed(failure)),
                Ok(values) => list.fill(values.iter().filter_map(|v| objects::object(*class, v, attributes))),
            }
        }
        Ok(Reply::Found { live: None, deleted: list.find(&objects::anchor_text(*class, anchor)) })
    }
}

#[async_trait::async_trait]
impl Target for Graph {
    async fn perform(&self, calls: &[Call]) -> Result<Vec<Reply>, Outage> {
        if let [Call::ListMembers { group }] = calls {
            return Ok(vec![self.members(group).await?]);
        }
        let mut requests = Vec::new();
        let mut lengths = Vec::with_capacity(calls.len());
        let no_filter = self.deleted.is_filter_refused();
        for call in calls {
            let before = requests.len();
            requests::of(call, self.http.root(), no_filter, &mut requests);
            lengths.push(requests.len() - before);
        }
        let mut answers = self.exchange(requests).await?.into_iter();
        let mut replies = Vec::with_capacity(calls.len());
        for (call, length) in calls.iter().zip(lengths) {
            let mine: Vec<Answer> = answers.by_ref().take(length).collect();
            let mut reply = objects::reply(call, &mine);
            if matches!(call, Call::LookUp { .. }) {
                if objects::is_filter_refused(&mine) {
                    self.deleted.refuse_filter();
                    reply = objects::reply(call, &mine[..1]);
                }
                if self.deleted.is_filter_refused() {
                    reply = self.deleted_by_list(call, reply).await?;
                }
            }
            replies.push(reply);
        }
        Ok(replies)
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

    fn requests(&self) -> u64 {
        self.http.requests()
    }
}
