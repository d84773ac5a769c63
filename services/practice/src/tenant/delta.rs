//! Delta queries on users and groups: the first round, changes, removals, `members@delta`, lost state.
//!
//! A first round walks objects in list order and fixes at its start what later rounds begin from; later rounds walk
//! the change sequence. A change made meanwhile shows up in this round or the next, and may show up twice.

use std::ops::Bound;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::clock;
use super::context::{Ctx, Selection};
use super::directory::{Kind, Object, Props};
use super::filter::{self, Probe};
use super::reply::{GraphError, Outcome, Reply};

/// What a skip or delta token says; opaque to the client.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Token {
    generation: String,
    /// Seconds since the epoch.
    issued: i64,
    kind: usize,
    /// The first round.
    first: bool,
    /// Changes after this one are news.
    since: u64,
    /// The place reached: an order in the first round, a change later.
    at: u64,
    /// Links of the object at `at` already shown.
    links: usize,
    /// What the next round's `since` is (first round).
    upto: u64,
    started: bool,
    select: Option<Vec<String>>,
    ids: Option<Vec<Uuid>>,
}

impl Ctx<'_> {
    /// `GET /users/delta` and its like.
    pub(super) fn delta(&mut self, kind: Kind) -> Outcome {
        self.refuse_options(&["$expand", "$top", "$orderby", "$skip"])?;
        if self.faults.delta_gone > 0 {
            self.faults.delta_gone -= 1;
            return Err(self.gone(kind));
        }
        let given = self.request.option("$skiptoken").or_else(|| self.request.option("$deltatoken"));
        let continues = given.is_some_and(|token| !token.is_empty() && token != "latest");
        if continues && self.faults.delta_queries.strikes(self.knobs.delta_gone_every) {
            return Err(self.gone(kind));
        }
        let mut token = match given {
            None | Some("") => self.fresh(kind)?,
            Some("latest") => {
                let mut token = self.fresh(kind)?;
                token.first = false;
                token.since = token.upto;
                let mut answer = self.delta_head(kind, &token);
                self.finish(&mut answer, kind, &token, token.upto);
                answer.insert("value".into(), json!([]));
                return Ok(Reply::json(200, answer));
            }
            Some(text) => self.known(kind, text)?,
        };
        let mut answer = self.delta_head(kind, &token);
        if self.knobs.empty_first_page && !token.started {
            token.started = true;
            self.more(&mut answer, kind, &token);
            answer.insert("value".into(), json!([]));
            return Ok(Reply::json(200, answer));
        }
        token.started = true;
        let (mut values, done) =
            if token.first { self.first_page(kind, &mut token) } else { self.next_page(kind, &mut token) };
        if self.knobs.delta_replays {
            values.extend(values.first().cloned());
        }
        if done {
            let since = if token.first { token.upto } else { token.at.max(token.since) };
            self.finish(&mut answer, kind, &token, since);
        } else {
            self.more(&mut answer, kind, &token);
        }
        answer.insert("value".into(), Value::Array(values));
        Ok(Reply::json(200, answer))
    }

    fn fresh(&self, kind: Kind) -> Result<Token, Box<GraphError>> {
        let select = match self.selection(kind)? {
            Selection::Default => None,
            Selection::Named(names) => Some(names),
        };
        let ids = match self.request.option("$filter") {
            None => None,
            Some(text) => Some(delta_ids(text)?),
        };
        // Later rounds begin after the last change that everybody sees.
        let lag = self.lag(self.knobs.visibility.delta);
        let seen = self.directory.changes[kind.slot()].iter().rev().find(|(_, id)| self.settled(**id, lag));
        let upto = if lag.is_zero() { self.directory.sequence } else { seen.map_or(0, |(change, _)| *change) };
        Ok(Token {
            generation: self.directory.generation.clone(),
            issued: clock::now().as_second(),
            kind: kind.slot(),
            first: true,
            since: 0,
            at: 0,
            links: 0,
            upto,
            started: false,
            select,
            ids,
        })
    }

    fn known(&self, kind: Kind, text: &str) -> Result<Token, Box<GraphError>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let token = bytes.and_then(|b| serde_json::from_slice::<Token>(&b).ok()).filter(|t| t.kind == kind.slot());
        let Some(token) = token else { return Err(GraphError::bad("Badly formed token.")) };
        let age = clock::now().as_second().saturating_sub(token.issued);
        let old = u64::try_from(age).unwrap_or(0) > self.knobs.delta_token_lifetime.as_secs();
        if old || token.generation != self.directory.generation { Err(self.gone(kind)) } else { Ok(token) }
    }

    fn gone(&self, kind: Kind) -> Box<GraphError> {
        let location = format!("{}/v1.0/{}/delta?$deltatoken=", self.request.base, kind.set());
        let mut error = GraphError::new(
            410,
            "syncStateNotFound",
            "The sync state generation is not found; the client must start a full synchronization.",
        )
        .header("Location", location);
        error.bare = !self.knobs.delta_gone_body;
        error
    }

    fn settled(&self, id: Uuid, lag: Duration) -> bool {
        lag.is_zero() || self.directory.get(id).is_none_or(|o| self.now >= o.changed + lag)
    }

    fn first_page(&self, kind: Kind, token: &mut Token) -> (Vec<Value>, bool) {
        let lag = self.lag(self.knobs.visibility.delta);
        let mut values = Vec::new();
        // The object at `at` itself comes again while it has links to show.
        let from = if token.links > 0 { Bound::Included(token.at) } else { Bound::Excluded(token.at) };
        for (order, id) in self.directory.listing(kind, false).range((from, Bound::Unbounded)) {
            if values.len() >= self.knobs.delta_page.max(1) {
                return (values, false);
            }
            let Some(object) = self.directory.get(*id) else { continue };
            let wanted = token.ids.as_ref().is_none_or(|ids| ids.contains(id));
            token.at = *order;
            if !wanted || !self.settled(*id, lag) {
                continue;
            }
            values.push(self.item(*id, object, token));
            if token.links > 0 {
                return (values, false);
            }
        }
        (values, true)
    }

    fn next_page(&self, kind: Kind, token: &mut Token) -> (Vec<Value>, bool) {
        let lag = self.lag(self.knobs.visibility.delta);
        let mut values = Vec::new();
        let from = if token.links > 0 { Bound::Included(token.at) } else { Bound::Excluded(token.at.max(token.since)) };
        for (change, id) in self.directory.changes[kind.slot()].range((from, Bound::Unbounded)) {
            if values.len() >= self.knobs.delta_page.max(1) {
                return (values, false);
            }
            if !self.settled(*id, lag) {
                return (values, true);
            }
            token.at = *change;
            if token.ids.as_ref().is_some_and(|ids| !ids.contains(id)) {
                continue;
            }
            match self.directory.get(*id) {
                None => values.push(json!({"id": id.to_string(), "@removed": {"reason": "deleted"}})),
                Some(o) if o.deleted.is_some() => {
                    values.push(json!({"id": id.to_string(), "@removed": {"reason": "changed"}}));
                }
                Some(object) => {
                    values.push(self.item(*id, object, token));
                    if token.links > 0 {
                        return (values, false);
                    }
                }
            }
        }
        (values, true)
    }

    /// One object; of a group as many membership changes as go on one appearance. `token.links` is then how many were
    /// shown, or 0 when all were.
    fn item(&self, id: Uuid, object: &Object, token: &mut Token) -> Value {
        let selection = token.select.clone().map_or(Selection::Default, Selection::Named);
        let mut item = self.shape(object.kind, id, &object.props, &selection);
        item.insert("id".into(), json!(id.to_string()));
        let members_asked = token.select.as_ref().is_none_or(|s| s.iter().any(|n| n == "members"));
        if object.kind != Kind::Group || !members_asked {
            token.links = 0;
            return Value::Object(item);
        }
        let since = if token.first { 0 } else { token.since };
        let added = object.members.iter().filter(|(_, change)| **change > since).map(|(m, _)| (m, false));
        let gone = object.removed.iter().filter(|(_, change)| !token.first && **change > since).map(|(m, _)| (m, true));
        let chunk = self.knobs.delta_member_chunk.max(1);
        let mut rest = added.chain(gone).skip(token.links).peekable();
        let mut links = Vec::new();
        for (member, removed) in rest.by_ref().take(chunk) {
            let kind = self.directory.get(*member).map_or("#microsoft.graph.directoryObject", |o| o.kind.odata_type());
            let mut link = json!({"@odata.type": kind, "id": member.to_string()});
            if removed {
                link["@removed"] = json!({"reason": "deleted"});
            }
            links.push(link);
        }
        token.links = if rest.peek().is_some() { token.links + links.len() } else { 0 };
        if !links.is_empty() {
            item.insert("members@delta".into(), Value::Array(links));
        }
        Value::Object(item)
    }

    fn delta_head(&self, kind: Kind, token: &Token) -> Props {
        let mut answer = Props::new();
        let what = match &token.select {
            Some(names) => format!("{}({})", kind.set(), names.join(",")),
            None => kind.set().to_owned(),
        };
        answer.insert("@odata.context".into(), self.context(&what));
        answer
    }

    fn more(&self, answer: &mut Props, kind: Kind, token: &Token) {
        answer.insert("@odata.nextLink".into(), json!(self.delta_link(kind, "$skiptoken", token)));
    }

    fn finish(&self, answer: &mut Props, kind: Kind, token: &Token, since: u64) {
        let token = Token {
            first: false,
            since,
            at: since,
            links: 0,
            started: false,
            issued: clock::now().as_second(),
            ..token.clone()
        };
        answer.insert("@odata.deltaLink".into(), json!(self.delta_link(kind, "$deltatoken", &token)));
    }

    fn delta_link(&self, kind: Kind, name: &str, token: &Token) -> String {
        let text = serde_json::to_vec(token).unwrap_or_default();
        format!("{}/v1.0/{}/delta?{name}={}", self.request.base, kind.set(), URL_SAFE_NO_PAD.encode(text))
    }
}

/// Delta queries filter by ids only, at most 50.
fn delta_ids(text: &str) -> Result<Vec<Uuid>, Box<GraphError>> {
    let refuse = || GraphError::unsupported_query("Only a filter on id is supported in a delta query.");
    let probes = filter::parse(text).map_err(GraphError::gateway)?.probes().ok_or_else(refuse)?;
    let ids: Option<Vec<Uuid>> = probes
        .iter()
        .map(|p| match p {
            Probe::Id(id) => Some(*id),
            _ => None,
        })
        .collect();
    ids.filter(|ids| ids.len() <= 50).ok_or_else(refuse)
}
