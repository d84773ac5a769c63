//! `$batch`: up to 20 requests, each with its own status; `dependsOn` names earlier ones.
//!
//! Requests that do not depend on each other run in any order (by the knob), as in the real service: who writes one
//! object twice in a batch without `dependsOn` finds out here.

use serde_json::{Map, Value, json};

use super::context::Tenant;
use super::exchange::{Answer, Arrived, Inner};
use super::reply::{GraphError, Ids};
use super::request::{GraphRequest, Payload};

/// The most requests in a batch.
const MOST: usize = 20;

/// One request of a batch, checked.
struct Item {
    id: String,
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Value>,
    needs: Vec<usize>,
}

impl Inner {
    /// Handles a batch; the outer request was counted already.
    pub(super) fn batch(&mut self, tenant: &Tenant, arrived: Arrived<'_>, ids: &Ids) -> Answer {
        let parts = Parts { authorization: arrived.authorization, at: arrived.at };
        let checked = self.tokens.check(parts.authorization, parts.at);
        let opened = checked.and(arrived.request).and_then(|r| Ok((items(&r.object()?)?, r.base)));
        let (items, base) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.answer(Err(error), ids, parts.at),
        };
        self.counters.batch_items += items.len() as u64;
        let mut statuses: Vec<Option<u16>> = vec![None; items.len()];
        let mut responses = Vec::with_capacity(items.len());
        let mut wrote = false;
        while let Some(at) = self.pick(&items, &statuses) {
            let item = &items[at];
            let failed = item.needs.iter().any(|n| statuses[*n].is_some_and(|s| s >= 400));
            let answer = if failed {
                self.answer(Err(GraphError::failed_dependency()), ids, parts.at)
            } else {
                self.expire_in_batch(parts.at);
                self.single(tenant, arrival(item, &base, &parts), ids)
            };
            statuses[at] = Some(answer.status);
            wrote |= answer.wrote;
            responses.push(response(&item.id, answer));
        }
        let mut body = Map::new();
        let throttled = statuses.contains(&Some(429)) && self.knobs.batch_throttled_424;
        if throttled {
            let error = GraphError::failed_dependency().body(ids);
            body.insert("error".into(), error.get("error").cloned().unwrap_or_default());
        }
        body.insert("responses".into(), Value::Array(responses));
        let reply = super::reply::Reply::json(if throttled { 424 } else { 200 }, body);
        let mut answer = self.answer(Ok(reply), ids, parts.at);
        answer.wrote = wrote;
        answer
    }

    /// The next request whose dependencies are answered.
    fn pick(&mut self, items: &[Item], statuses: &[Option<u16>]) -> Option<usize> {
        let ready = |at: &usize| statuses[*at].is_none() && items[*at].needs.iter().all(|n| statuses[*n].is_some());
        let open: Vec<usize> = (0..items.len()).filter(ready).collect();
        if !self.knobs.batch_any_order {
            return open.first().copied();
        }
        // xorshift: repeatable, and good enough to upset a client that counts on an order.
        self.scramble ^= self.scramble << 13;
        self.scramble ^= self.scramble >> 7;
        self.scramble ^= self.scramble << 17;
        let choice = self.scramble.checked_rem(open.len() as u64)?;
        open.get(choice as usize).copied()
    }

    /// Expires the tokens in the middle of a batch, when that was asked for.
    fn expire_in_batch(&mut self, now: tokio::time::Instant) {
        match self.faults.expire_after_items {
            Some(0) => {
                self.tokens.expire(now);
                self.faults.expire_after_items = None;
            }
            Some(left) => self.faults.expire_after_items = Some(left - 1),
            None => {}
        }
    }
}

struct Parts<'a> {
    authorization: Option<&'a str>,
    at: tokio::time::Instant,
}

fn arrival<'a>(item: &'a Item, base: &str, parts: &Parts<'a>) -> Arrived<'a> {
    let header = |name: &str| item.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
    let json = header("content-type").is_some_and(|t| t.to_ascii_lowercase().starts_with("application/json"));
    let payload = match &item.body {
        None => Payload::None,
        Some(body) if json => Payload::Json(body.clone()),
        Some(_) => Payload::Unreadable,
    };
    Arrived {
        request: GraphRequest::new(&item.method, base, item.url.trim_start_matches('/'), &header, payload),
        method: &item.method,
        authorization: parts.authorization,
        client_request_id: header("client-request-id"),
        at: parts.at,
    }
}

fn response(id: &str, answer: Answer) -> Value {
    let inside = |name: &String| !matches!(name.as_str(), "request-id" | "client-request-id" | "x-ms-ags-diagnostic");
    let headers: Map<String, Value> =
        answer.headers.into_iter().filter(|(name, _)| inside(name)).map(|(name, value)| (name, json!(value))).collect();
    let mut response = Map::new();
    response.insert("id".into(), json!(id));
    response.insert("status".into(), json!(answer.status));
    response.insert("headers".into(), Value::Object(headers));
    if let Some(body) = answer.body {
        response.insert("body".into(), body);
    }
    Value::Object(response)
}

/// Checks the whole batch; anything wrong with its form refuses all of it.
fn items(body: &Map<String, Value>) -> Result<Vec<Item>, Box<GraphError>> {
    let Some(requests) = body.get("requests").and_then(Value::as_array).filter(|r| !r.is_empty()) else {
        return Err(GraphError::gateway("Invalid batch payload format."));
    };
    if requests.len() > MOST {
        return Err(GraphError::gateway(format!("Number of batch request steps exceeds the maximum value of {MOST}.")));
    }
    let mut items: Vec<Item> = Vec::with_capacity(requests.len());
    for request in requests {
        items.push(item(request, &items)?);
    }
    Ok(items)
}

fn item(request: &Value, earlier: &[Item]) -> Result<Item, Box<GraphError>> {
    let text = |name: &str| {
        let text = request.get(name).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
        text.ok_or_else(|| GraphError::gateway(format!("Invalid batch payload format: a request has no {name}.")))
    };
    let (id, method, url) = (text("id")?, text("method")?.to_ascii_uppercase(), text("url")?);
    let find = |id: &str| earlier.iter().position(|i| i.id.eq_ignore_ascii_case(id));
    if find(&id).is_some() {
        return Err(GraphError::gateway(format!("Request Id {id} has to be unique in a batch.")));
    }
    if !matches!(method.as_str(), "GET" | "POST" | "PATCH" | "PUT" | "DELETE" | "OPTIONS") {
        return Err(GraphError::gateway(format!("Invalid method {method} for request Id {id}.")));
    }
    if url.contains("://") && !url.contains('?') {
        return Err(GraphError::gateway(format!("The url of request Id {id} must be relative.")));
    }
    let mut needs = Vec::new();
    for name in request.get("dependsOn").and_then(Value::as_array).into_iter().flatten() {
        match name.as_str().and_then(find) {
            Some(at) => needs.push(at),
            None => return Err(GraphError::gateway(format!("Invalid dependency for request Id {id}."))),
        }
    }
    let headers = request.get("headers").and_then(Value::as_object).into_iter().flatten();
    let headers = headers.filter_map(|(name, value)| value.as_str().map(|v| (name.clone(), v.to_owned()))).collect();
    Ok(Item { id, method, url, headers, body: request.get("body").filter(|b| !b.is_null()).cloned(), needs })
}
