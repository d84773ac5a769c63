//! `$batch`: form, dependencies, order, per-item answers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Peer, group, peer, user};

fn item(id: &str, method: &str, url: &str, body: Option<Value>) -> Value {
    let mut item = json!({"id": id, "method": method, "url": url});
    if let Some(body) = body {
        item["body"] = body;
        item["headers"] = json!({"Content-Type": "application/json"});
    }
    item
}

async fn send(peer: &Peer, requests: Vec<Value>) -> Answer {
    peer.post("/$batch", json!({"requests": requests})).await
}

fn response<'a>(answer: &'a Answer, id: &str) -> &'a Value {
    let responses = answer.body["responses"].as_array().unwrap();
    responses.iter().find(|r| r["id"] == id).unwrap()
}

#[tokio::test]
async fn each_item_has_its_own_answer() {
    let peer = peer(|_| {}).await;
    let mut upsert = item("g", "PATCH", "/groups(uniqueName='fs')", Some(group("fs")));
    upsert["headers"]["Prefer"] = json!("create-if-missing");
    let requests = vec![
        item("a", "POST", "/users", Some(user("ada"))),
        upsert,
        item("n", "get", "users/nobody@contoso.com", None),
        item("u", "GET", "/nothing", None),
        json!({"id": "c", "method": "GET", "url": "/users/$count", "headers": {"ConsistencyLevel": "eventual"}}),
    ];
    let answer = send(&peer, requests).await;
    answer.is(200);
    assert_eq!(answer.body["responses"].as_array().unwrap().len(), 5);
    assert_eq!(response(&answer, "a")["status"], 201);
    assert_eq!(response(&answer, "a")["body"]["userPrincipalName"], "ada@contoso.com");
    assert!(response(&answer, "a")["headers"]["Content-Type"].as_str().unwrap().starts_with("application/json"));
    assert_eq!(response(&answer, "g")["status"], 201);
    assert_eq!(response(&answer, "n")["body"]["error"]["code"], "Request_ResourceNotFound");
    assert_eq!(response(&answer, "u")["status"], 400);
    assert!(response(&answer, "c")["body"].is_number());
    let counters = peer.tenant.counters();
    assert_eq!((counters.batch_items, counters.reads, counters.writes, counters.requests["POST"]), (5, 3, 2, 1));
}

#[tokio::test]
async fn the_form_is_checked() {
    let peer = peer(|_| {}).await;
    let get = |id: &str| item(id, "GET", "/users", None);
    let mut later = get("1");
    later["dependsOn"] = json!(["2"]);
    let mut itself = get("1");
    itself["dependsOn"] = json!(["1"]);
    let many: Vec<Value> = (0..21).map(|n| get(&n.to_string())).collect();
    let bad = [
        (vec![], "Invalid batch payload format."),
        (many, "Number of batch request steps exceeds the maximum value of 20."),
        (vec![get("a"), get("A")], "Request Id A has to be unique in a batch."),
        (vec![later, get("2")], "Invalid dependency for request Id 1."),
        (vec![itself], "Invalid dependency for request Id 1."),
        (vec![item("1", "BREW", "/users", None)], "Invalid method BREW for request Id 1."),
        (vec![item("1", "GET", "https://x/v1.0/users", None)], "The url of request Id 1 must be relative."),
        (vec![json!({"id": "1", "url": "/users"})], "Invalid batch payload format: a request has no method."),
    ];
    for (requests, message) in bad {
        send(&peer, requests).await.fails(400, "BadRequest", message);
    }
    let mut typeless = item("1", "POST", "/users", Some(user("ada")));
    typeless["headers"] = json!({});
    let answer = send(&peer, vec![typeless, item("2", "POST", "/$batch", Some(json!({})))]).await;
    assert_eq!((&response(&answer, "1")["status"], &response(&answer, "2")["status"]), (&json!(400), &json!(400)));
    assert!(peer.tenant.dump().users.is_empty());
}

#[tokio::test]
async fn dependencies_order_and_fail_together() {
    let peer = peer(|_| {}).await;
    let mut patch = item("2", "PATCH", "/users/ada@contoso.com", Some(json!({"jobTitle": "Baker"})));
    patch["dependsOn"] = json!(["1"]);
    let mut read = item("3", "GET", "/users/ada@contoso.com", None);
    read["dependsOn"] = json!(["2"]);
    let answer = send(&peer, vec![item("1", "POST", "/users", Some(user("ada"))), patch.clone(), read]).await;
    assert_eq!(response(&answer, "3")["body"]["jobTitle"], "Baker");
    // The create now conflicts, and takes with it what depends on it.
    let mut third = item("3", "GET", "/users", None);
    third["dependsOn"] = json!(["2"]);
    let answer = send(&peer, vec![item("1", "POST", "/users", Some(user("ada"))), patch, third]).await;
    let statuses: Vec<&Value> = ["1", "2", "3"].iter().map(|id| &response(&answer, id)["status"]).collect();
    assert_eq!(statuses, [&json!(400), &json!(424), &json!(424)]);
}

#[tokio::test]
async fn nothing_else_is_ordered() {
    let peer = peer(|_| {}).await;
    let gets = || (0..20).map(|n| item(&n.to_string(), "GET", "/domains", None)).collect::<Vec<_>>();
    let order = |answer: &Answer| -> Vec<String> {
        let responses = answer.body["responses"].as_array().unwrap();
        responses.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
    };
    let asked: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let mixed = order(&send(&peer, gets()).await);
    assert_ne!(mixed, asked);
    peer.tenant.control().adjust(|k| k.batch_any_order = false);
    assert_eq!(order(&send(&peer, gets()).await), asked);
}

#[tokio::test]
async fn items_are_throttled_on_their_own() {
    let peer = peer(|o| o.knobs.batch_any_order = false).await;
    let users = || vec![item("1", "POST", "/users", Some(user("ada"))), item("2", "POST", "/users", Some(user("bob")))];
    peer.tenant.control().throttle_next_writes(1, Duration::from_secs(3));
    let answer = send(&peer, users()).await;
    let first = response(answer.is(200), "1");
    assert_eq!((&first["status"], &first["headers"]["Retry-After"]), (&json!(429), &json!("3")));
    assert_eq!(first["body"]["error"]["innerError"]["code"], "429");
    assert_eq!(response(&answer, "2")["status"], 201);
    peer.tenant.control().adjust(|k| k.batch_throttled_424 = true);
    peer.tenant.control().throttle_next_writes(1, Duration::from_secs(1));
    let answer = send(&peer, users()).await;
    assert_eq!(response(answer.is(424), "1")["status"], 429);
    assert_eq!(peer.tenant.counters().throttled, 2);
}

#[tokio::test]
async fn a_token_can_expire_in_the_middle() {
    let peer = peer(|o| o.knobs.batch_any_order = false).await;
    peer.tenant.control().expire_tokens_after_items(2);
    let requests = (0..4).map(|n| item(&n.to_string(), "POST", "/users", Some(user(&format!("u{n}"))))).collect();
    let answer = send(&peer, requests).await;
    let statuses: Vec<i64> =
        answer.is(200).body["responses"].as_array().unwrap().iter().map(|r| r["status"].as_i64().unwrap()).collect();
    assert_eq!(statuses, [201, 201, 401, 401]);
    assert_eq!(peer.tenant.dump().users.len(), 2);
    peer.get("/users").await.is(401);
}

#[tokio::test]
async fn a_batch_waits_once() {
    let peer = peer(|o| o.knobs.latency = Duration::from_millis(300)).await;
    let before = tokio::time::Instant::now();
    let requests = (0..20).map(|n| item(&n.to_string(), "POST", "/users", Some(user(&format!("u{n}"))))).collect();
    send(&peer, requests).await.is(200);
    let taken = before.elapsed();
    assert!(taken >= Duration::from_millis(300) && taken < Duration::from_secs(6), "{taken:?}");
    assert_eq!(peer.tenant.control().writes().len(), 20);
}
