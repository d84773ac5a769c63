//! Delays, quotas, lost answers, unavailability.

use std::time::Duration;

use forestsync_practice::tenant::RetryAfter;
use serde_json::json;

use crate::client::{peer, until, user};

/// Longer than any test: what is late stays late until the knob says otherwise.
const LATE: Duration = Duration::from_hours(1);

#[tokio::test]
async fn key_reads_show_late() {
    let peer = peer(|o| o.knobs.visibility.key_reads = LATE).await;
    let control = peer.tenant.control();
    let id = peer.add_user("ada").await;
    peer.get(&format!("/users/{id}")).await.is(404);
    assert_eq!(peer.get("/users?$filter=userPrincipalName eq 'ada@contoso.com'").await.values().len(), 1);
    control.adjust(|k| k.visibility.key_reads = Duration::from_millis(50));
    until(|| async { peer.get(&format!("/users/{id}")).await.status == 200 }).await;
    peer.patch(&format!("/users/{id}"), json!({"jobTitle": "Baker"})).await.is(204);
    until(|| async { peer.get(&format!("/users/{id}")).await.body["jobTitle"] == "Baker" }).await;
}

#[tokio::test]
async fn a_late_reader_sees_the_old_value() {
    let peer = peer(|_| {}).await;
    let control = peer.tenant.control();
    let id = peer.add_user("ada").await;
    let born = tokio::time::Instant::now();
    until(|| async { born.elapsed() > Duration::from_millis(30) }).await;
    // Created longer ago than the delay, changed less long ago.
    control.adjust(|k| k.visibility.key_reads = Duration::from_millis(1));
    peer.patch(&format!("/users/{id}"), json!({"jobTitle": "Baker"})).await.is(204);
    let changed = tokio::time::Instant::now();
    control.adjust(|k| k.visibility.key_reads = changed.duration_since(born));
    let (read, took) = (peer.get(&format!("/users/{id}")).await, changed.elapsed());
    if took < changed.duration_since(born) {
        assert!(read.body["jobTitle"].is_null(), "the old value for a while");
    }
    control.adjust(|k| k.visibility.key_reads = Duration::ZERO);
    assert_eq!(peer.get(&format!("/users/{id}")).await.body["jobTitle"], "Baker");
}

#[tokio::test]
async fn filters_show_late() {
    let peer = peer(|o| o.knobs.visibility.filters = LATE).await;
    let control = peer.tenant.control();
    let id = peer.add_user("ada").await;
    peer.get(&format!("/users/{id}")).await.is(200);
    let path = "/users?$filter=onPremisesImmutableId eq 'anchor-ada'";
    assert!(peer.get(path).await.values().is_empty());
    control.adjust(|k| k.visibility.filters = Duration::ZERO);
    assert_eq!(peer.get(path).await.values().len(), 1);
    control.adjust(|k| k.visibility.filters = LATE);
    peer.delete(&format!("/users/{id}")).await.is(204);
    let bin = "/directory/deletedItems/microsoft.graph.user";
    assert!(peer.get(bin).await.values().is_empty());
    control.adjust(|k| k.visibility.filters = Duration::ZERO);
    assert_eq!(peer.get(bin).await.values().len(), 1);
}

#[tokio::test]
async fn references_resolve_late() {
    let peer = peer(|o| o.knobs.visibility.references = LATE).await;
    let (ada, g) = (peer.add_user("ada").await, peer.add_group("g").await);
    let at = format!("/groups/{g}/members/$ref");
    peer.post(&at, peer.reference(&ada)).await.is(404);
    peer.put(&format!("/users/{ada}/manager/$ref"), peer.reference(&ada)).await.is(404);
    peer.tenant.control().adjust(|k| k.visibility.references = Duration::ZERO);
    peer.post(&at, peer.reference(&ada)).await.is(204);
}

#[tokio::test]
async fn two_replicas_disagree() {
    let peer = peer(|o| {
        o.knobs.visibility.key_reads = Duration::from_mins(10);
        o.knobs.visibility.two_replicas = true;
    })
    .await;
    let id = peer.add_user("ada").await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(peer.get(&format!("/users/{id}")).await.status);
    }
    assert!(seen == [200, 404, 200, 404] || seen == [404, 200, 404, 200], "{seen:?}");
}

#[tokio::test]
async fn retry_after_takes_its_forms() {
    let peer = peer(|_| {}).await;
    let control = peer.tenant.control();
    for (form, check) in [
        (RetryAfter::Absent, None),
        (RetryAfter::Seconds, Some("3")),
        (RetryAfter::Fractional, Some("2.128")),
        (RetryAfter::HttpDate, Some("GMT")),
    ] {
        control.adjust(|k| k.retry_after = form);
        control.throttle_next_writes(1, Duration::from_millis(2_128));
        let answer = peer.post("/users", user("ada")).await;
        answer.fails(429, "TooManyRequests", "Please retry again later.");
        let header = answer.header("retry-after");
        assert!(
            header.is_some() == check.is_some() && header.unwrap_or_default().ends_with(check.unwrap_or_default()),
            "{header:?}"
        );
        assert_eq!(answer.header("x-ms-throttle-information"), Some("WriteLimitExceeded"));
        assert!(answer.header("x-ms-throttle-scope").unwrap().starts_with("Tenant_Application/ReadWrite/"));
    }
    peer.add_user("ada").await;
}

#[tokio::test]
async fn the_quota_of_writes_is_the_documented_one() {
    // 3,000 writes per 150 s, a hundredth of it: 30 at once, then one each five seconds.
    let peer = peer(|o| o.knobs.quota_scale = Some(0.01)).await;
    let mut made = 0;
    let refused = loop {
        let answer = peer.post("/users", user(&format!("u{made}"))).await;
        if answer.status != 201 {
            break answer;
        }
        made += 1;
    };
    assert!((30..=33).contains(&made), "{made}");
    assert_eq!(refused.is(429).header("x-ms-throttle-information"), Some("WriteLimitExceeded"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    peer.tenant.control().adjust(|k| k.quota_scale = None);
    peer.add_user("later").await;
}

#[tokio::test]
async fn the_quota_of_reads_counts_units() {
    // Under 50 users 3,500 units per 10 s, a hundredth of it; a list of users costs two, and one with $select.
    let peer = peer(|o| o.knobs.quota_scale = Some(0.01)).await;
    let mut reads = 0;
    let mut warned = None;
    let refused = loop {
        let answer = peer.get("/users").await;
        warned = answer.header("x-ms-throttle-limit-percentage").map(str::to_owned).or(warned);
        if answer.status != 200 {
            break answer;
        }
        reads += 1;
    };
    assert!((17..=30).contains(&reads), "{reads}");
    assert_eq!(refused.is(429).header("x-ms-throttle-information"), Some("ResourceUnitLimitExceeded"));
    assert!(warned.unwrap().parse::<f64>().unwrap() > 0.8);
    peer.tenant.control().adjust(|k| k.quota_scale = None);
    assert_eq!(peer.get("/users?$select=id&$top=5").await.header("x-ms-resource-unit"), Some("1"));
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_write() {
    let peer = peer(|_| {}).await;
    peer.tenant.control().lose_answers(1);
    peer.get("/users").await.is(200);
    assert!(peer.try_send("POST", "/users", Some(user("ada")), &[]).await.is_err());
    assert_eq!(peer.tenant.counters().answers_lost, 1);
    let found = peer.get("/users?$filter=onPremisesImmutableId eq 'anchor-ada'").await;
    assert_eq!(found.values().len(), 1, "it was written");
    peer.add_user("bob").await;
}

#[tokio::test]
async fn the_service_can_be_unavailable() {
    for http2 in [true, false] {
        let mut peer = peer(|_| {}).await;
        if !http2 {
            let ca = forestsync_practice::tls::PrivateCa::new().unwrap();
            let certificate = reqwest::Certificate::from_pem(ca.pem().as_bytes()).unwrap();
            peer.http =
                reqwest::Client::builder().no_proxy().http1_only().tls_certs_only([certificate]).build().unwrap();
            let options = forestsync_practice::tenant::TenantOptions::default();
            peer.tenant = forestsync_practice::tenant::PracticeTenant::start(options, &ca).await.unwrap();
            peer.root = format!("{}/v1.0", peer.tenant.graph_url());
            peer.token = peer.ask_token(&[]).await.body["access_token"].as_str().unwrap().to_owned();
        }
        peer.tenant.control().unavailable_next(2);
        let first = peer.get("/users").await;
        assert_eq!(first.is(503).code(), "serviceNotAvailable");
        assert_eq!(first.header("connection").is_some(), !http2);
        peer.get("/users").await.is(503);
        peer.get("/users").await.is(200);
    }
}

#[tokio::test]
async fn writes_are_logged_with_their_keys() {
    let peer = peer(|_| {}).await;
    let before = tokio::time::Instant::now();
    let (ada, g) = (peer.add_user("ada").await, peer.add_group("g").await);
    peer.post(&format!("/groups/{g}/members/$ref"), peer.reference(&ada)).await.is(204);
    peer.patch(&format!("/users/{ada}"), json!({"displayName": "The ada"})).await.is(204);
    let control = peer.tenant.control();
    let log: Vec<(&str, String)> = control.writes().into_iter().map(|w| (w.operation, w.key)).collect();
    let expected = [("user.create", "anchor-ada"), ("group.create", "g"), ("group.member.add", "g")];
    assert_eq!(log, expected.map(|(o, k)| (o, k.to_owned())));
    assert!(control.writes().iter().all(|w| w.at >= before));
    control.reset_counters();
    assert!(control.writes().is_empty() && control.counters().writes == 0);
}

#[tokio::test]
async fn an_administrator_edits_behind_our_back() {
    let peer = peer(|_| {}).await;
    let ada = peer.add_user("ada").await;
    let (_, last) = peer.pages("/users/delta?$deltatoken=latest", &[]).await;
    peer.tenant.control().edit(&ada, json!({"jobTitle": "Drifted"})).unwrap();
    let news = peer.get(last.body["@odata.deltaLink"].as_str().unwrap()).await;
    assert_eq!(news.all("jobTitle"), ["Drifted"]);
}
