//! `$batch` (graph.md section 8): at most twenty requests, answered in any order, each for itself.

use forestsync_schemas::outcomes::StopCause;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::requests::Request;
use crate::target::Outage;

/// The body of a batch of these requests; their ids are their places.
pub(super) fn body(requests: &[Request]) -> Value {
    let items: Vec<Value> = requests.iter().enumerate().map(|(place, request)| item(place, request)).collect();
    json!({ "requests": items })
}

fn item(place: usize, request: &Request) -> Value {
    let mut item = Map::new();
    item.insert("id".into(), json!(place.to_string()));
    item.insert("method".into(), json!(request.method.as_str()));
    item.insert("url".into(), json!(request.path));
    let mut headers = Map::new();
    for (name, value) in &request.headers {
        headers.insert((*name).into(), json!(value));
    }
    if let Some(body) = &request.body {
        headers.insert("Content-Type".into(), json!("application/json"));
        item.insert("body".into(), body.clone());
    }
    if !headers.is_empty() {
        item.insert("headers".into(), Value::Object(headers));
    }
    Value::Object(item)
}

/// The answers in the order of the requests, and whether one of them complains about the token. A request without an
/// answer may or may not have been done.
pub(super) fn answers(mut outer: Answer, requests: usize) -> Result<(Vec<Answer>, bool), Outage> {
    // with a throttled request inside, the batch itself may be a 424
    let Some(Value::Array(items)) = outer.body.get_mut("responses").map(Value::take) else {
        let failure = outer.failure();
        return Err(Outage {
            uncertain: outer.is_success(),
            throttled: outer.status == 424,
            retry_after: outer.retry_after,
            forfeited: false,
            cause: StopCause::NotAvailable,
            detail: format!("the tenant answers a batch with {} {}", outer.status, failure.code),
        });
    };
    let lost = Answer { status: 504, request_id: outer.request_id.clone(), ..Answer::default() };
    let mut answers = vec![lost; requests];
    for mut item in items {
        let place = item.get("id").and_then(Value::as_str).and_then(|id| id.parse::<usize>().ok());
        let status = item.get("status").and_then(Value::as_u64).and_then(|s| u16::try_from(s).ok());
        let (Some(place), Some(status)) = (place, status) else { continue };
        let body = item.get_mut("body").map(Value::take).unwrap_or_default();
        let headers = item.get("headers").and_then(Value::as_object);
        let header = |name: &str| {
            let (_, value) = headers?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            value.as_str()
        };
        let mut answer = Answer::new(status, header, body);
        if answer.request_id.is_none() {
            answer.request_id.clone_from(&outer.request_id);
        }
        if let Some(slot) = answers.get_mut(place) {
            *slot = answer;
        }
    }
    let unauthorized = answers.iter().any(|a| a.status == 401);
    Ok((answers, unauthorized))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn matches_answers_by_id_and_misses_none() {
        let outer = Answer {
            status: 200,
            request_id: Some("outer".into()),
            body: json!({"responses": [
                {"id": "2", "status": 429, "headers": {"retry-after": "1.5"}, "body": null},
                {"id": "0", "status": 201, "body": {"id": "a"}, "headers": {"request-id": "inner"}},
                {"id": "77", "status": 200},
                {"status": 200},
            ]}),
            ..Answer::default()
        };
        let (answers, unauthorized) = answers(outer, 3).unwrap();
        assert!(!unauthorized);
        assert_eq!(answers[0].done().id.as_deref(), Some("a"));
        assert_eq!(answers[0].request_id.as_deref(), Some("inner"));
        assert_eq!(answers[1].status, 504, "an answer that is missing is a lost one");
        assert_eq!(answers[2].retry_after, Some(Duration::from_millis(1_500)));
        assert_eq!(answers[2].request_id.as_deref(), Some("outer"));
    }

    #[test]
    fn a_batch_that_is_throttled_as_a_whole_did_nothing() {
        let outage = answers(Answer { status: 424, ..Answer::default() }, 1).unwrap_err();
        assert!(outage.throttled && !outage.uncertain);
        let outage = answers(Answer { status: 200, ..Answer::default() }, 1).unwrap_err();
        assert!(outage.uncertain && !outage.throttled);
    }
}
