//! Tokens: the endpoint's refusals, the bearer check, permissions, expiry.

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PSS_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forestsync_practice::identity::{AppCertificate, TokenIssuer};
use forestsync_practice::tenant::ClientSecret;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::client::{peer, user};

#[tokio::test]
async fn the_token_endpoint_refuses_with_codes() {
    let peer = peer(|_| {}).await;
    let cases = [
        ("client_secret", "wrong", 401, "invalid_client", 7_000_215),
        ("client_secret", "", 401, "invalid_client", 7_000_218),
        ("client_id", "00000000-0000-4000-8000-000000000000", 400, "unauthorized_client", 700_016),
        ("tenant", "nowhere.example", 400, "invalid_request", 90_002),
        ("scope", "https://graph.microsoft.com/User.Read", 400, "invalid_scope", 1_002_012),
        ("scope", "", 400, "invalid_request", 900_144),
        ("grant_type", "password", 400, "unsupported_grant_type", 70_003),
    ];
    for (field, value, status, error, code) in cases {
        let answer = peer.ask_token(&[(field, value)]).await;
        let body = &answer.is(status).body;
        assert_eq!((&body["error"], &body["error_codes"]), (&json!(error), &json!([code])), "{field}");
        let text = body["error_description"].as_str().unwrap();
        assert!(text.starts_with(&format!("AADSTS{code}: ")) && text.contains("\r\nTrace ID: "), "{text}");
        assert!(!text.contains("practice-secret"));
    }
    let control = peer.tenant.control();
    for (code, status, error) in
        [(7_000_222, 401, "invalid_client"), (53_003, 400, "invalid_grant"), (90_033, 503, "temporarily_unavailable")]
    {
        control.refuse_tokens(Some(code));
        assert_eq!(peer.ask_token(&[]).await.is(status).body["error"], error);
    }
    control.refuse_tokens(None);
    let good = peer.ask_token(&[("tenant", "contoso.com")]).await;
    assert_eq!((&good.is(200).body["token_type"], &good.body["expires_in"]), (&json!("Bearer"), &json!(3_599)));
    assert!(good.body["access_token"].as_str().unwrap().starts_with("eyJ"));
}

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client assertion, signed by this key.
fn assertion(key: &AppCertificate, header: &Value, claims: &Value) -> String {
    let key = PrivatePkcs8KeyDer::from_pem_slice(key.key.as_bytes()).unwrap();
    let key = KeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The value with some of its members replaced.
fn with(value: &Value, changes: &Value) -> Value {
    let mut value = value.clone();
    value.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    value
}

#[tokio::test]
async fn an_assertion_by_certificate_is_looked_at_in_full() {
    let peer = peer(|_| {}).await;
    let ask = async |assertion: &str| {
        let changes = [("client_secret", ""), ("client_assertion_type", ASSERTION), ("client_assertion", assertion)];
        let answer = peer.ask_token(&changes).await;
        (answer.status, answer.body["error_codes"][0].as_u64())
    };
    let at = now();
    let time = Timestamp::from_second(at).unwrap();
    let [own, stranger] = [(); 2].map(|()| AppCertificate::new(time, SignedDuration::from_hours(1)).unwrap());
    let ended = AppCertificate::new(time, SignedDuration::from_hours(-1)).unwrap();
    let control = peer.tenant.control();
    let thumbprint = control.register_certificate(&own.certificate).unwrap();
    let of_ended = control.register_certificate(&ended.certificate).unwrap();

    let client = "2b9d4e60-81c7-4f35-a0be-6d1f7c92e483";
    let audience = format!("{}/7f3a1c52-0d6e-4b8f-9a21-5c4e8d7b6a10/oauth2/v2.0/token", peer.tenant.authority_url());
    let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint});
    let claims =
        json!({"aud": audience, "iss": client, "sub": client, "jti": "good", "nbf": at, "iat": at, "exp": at + 300});
    let good = assertion(&own, &header, &claims);
    assert_eq!(ask(&good).await, (200, None));
    assert_eq!(ask(&good).await, (401, Some(50_013)), "the same again");

    let cases = [
        (json!({}), json!({"jti": null}), 700_027),
        (json!({}), json!({"aud": "https://login.microsoftonline.com/other/oauth2/v2.0/token"}), 700_023),
        (json!({}), json!({"sub": "other"}), 700_021),
        (json!({}), json!({"exp": at - 1}), 700_024),
        (json!({}), json!({"exp": null}), 700_024),
        (json!({}), json!({"nbf": at + 3_600}), 700_024),
        (json!({"alg": "RS256"}), json!({}), 700_027),
        (json!({"alg": "none"}), json!({}), 700_027),
        (json!({"typ": "other"}), json!({}), 700_027),
        (json!({"x5t#S256": null}), json!({}), 700_027),
        (json!({"x5t#S256": of_ended}), json!({}), 700_027),
    ];
    for (n, (of_header, of_claims, code)) in cases.iter().enumerate() {
        let claims = with(&with(&claims, &json!({"jti": format!("case {n}")})), of_claims);
        let refused = ask(&assertion(&own, &with(&header, of_header), &claims)).await;
        assert_eq!(refused, (401, Some(*code)), "{of_header} {of_claims}");
    }
    let fresh = |id: &str| with(&claims, &json!({"jti": id}));
    assert_eq!(ask(&assertion(&stranger, &header, &fresh("a"))).await, (401, Some(700_027)), "another key");
    let by_ended = with(&header, &json!({"x5t#S256": of_ended}));
    assert_eq!(ask(&assertion(&ended, &by_ended, &fresh("b"))).await, (401, Some(1_000_502)), "the certificate ended");
    let (signed, _) = good.rsplit_once('.').unwrap();
    assert_eq!(ask(&format!("{signed}.c2ln")).await, (401, Some(700_027)), "not signed");
    assert_eq!(ask("nonsense").await, (401, Some(700_027)));
    control.forget_certificate(&thumbprint);
    assert_eq!(ask(&assertion(&own, &header, &fresh("c"))).await, (401, Some(700_027)), "no longer registered");
}

/// Both forms of a managed identity's endpoint, and what they refuse.
#[tokio::test]
async fn a_managed_identity_is_given_tokens() {
    let peer = peer(|_| {}).await;
    let metadata = peer.tenant.metadata().await.unwrap();
    let machine = format!("{}/metadata/identity/oauth2/token", metadata.root());
    let ask = async |url: &str, header: (&str, &str), query: &str| {
        let request = peer.http.get(format!("{url}?{query}")).header(header.0, header.1);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let resource = "resource=https://graph.microsoft.com";
    let old = format!("api-version=2018-02-01&{resource}");
    let new = format!("api-version=2019-08-01&{resource}");
    let word = ("X-IDENTITY-HEADER", metadata.header());
    for (url, header, query) in [(machine.as_str(), ("Metadata", "true"), &old), (&metadata.endpoint(), word, &new)] {
        let (status, body) = ask(url, header, query).await;
        assert_eq!((status, body["token_type"].as_str()), (200, Some("Bearer")), "{body}");
        assert!(body["expires_on"].as_str().unwrap().parse::<i64>().unwrap() > now());
        let users = peer.http.get(format!("{}/users", peer.root)).bearer_auth(body["access_token"].as_str().unwrap());
        assert_eq!(users.send().await.unwrap().status(), 200);
    }
    let stranger = format!("{old}&client_id=other");
    let other = format!("{}x", metadata.header());
    for (url, header, query, status) in [
        (machine.as_str(), ("Accept", "*/*"), old.as_str(), 400),
        (&machine, ("Metadata", "true"), resource, 400),
        (&machine, ("Metadata", "true"), "api-version=2018-02-01", 400),
        (&machine, ("Metadata", "true"), &stranger, 400),
        (&metadata.endpoint(), ("X-IDENTITY-HEADER", other.as_str()), &new, 401),
    ] {
        assert_eq!(ask(url, header, query).await.0, status, "{url} {query}");
    }
}

#[tokio::test]
async fn a_token_of_a_trusted_issuer_is_taken_for_a_secret() {
    let peer = peer(|_| {}).await;
    let (subject, audience) = ("system:serviceaccount:sync:forestsync", "api://AzureADTokenExchange");
    let (ours, other) = (TokenIssuer::new("https://cluster").unwrap(), TokenIssuer::new("https://other").unwrap());
    let impostor = TokenIssuer::new("https://cluster").unwrap();
    peer.tenant.control().set_federated_credentials(vec![ours.credential(subject, audience)]);
    let (now, hour) = (Timestamp::from_second(now()).unwrap(), SignedDuration::from_hours(1));
    let token = |issuer: &TokenIssuer, subject, audience, now| issuer.token(subject, audience, now, hour).unwrap();
    let cases = [
        (token(&ours, subject, audience, now), 200, Value::Null),
        (token(&other, subject, audience, now), 401, json!([700_211])),
        (token(&ours, subject, "api://other", now), 401, json!([700_212])),
        (token(&ours, "system:other", audience, now), 401, json!([700_213])),
        (token(&ours, subject, audience, now - hour * 2), 401, json!([700_024])),
        (token(&impostor, subject, audience, now), 401, json!([700_027])),
    ];
    for (assertion, status, codes) in cases {
        let changes =
            [("client_secret", ""), ("client_assertion_type", ASSERTION), ("client_assertion", assertion.as_str())];
        assert_eq!(peer.ask_token(&changes).await.is(status).body["error_codes"], codes);
    }
    peer.tenant.control().set_federated_credentials(Vec::new());
    let assertion = token(&ours, subject, audience, now);
    let changes =
        [("client_secret", ""), ("client_assertion_type", ASSERTION), ("client_assertion", assertion.as_str())];
    assert_eq!(peer.ask_token(&changes).await.is(401).body["error_codes"], json!([700_211]));
}

/// The wall clock in seconds, as a file's time tells it.
fn now() -> i64 {
    let made = tempfile::NamedTempFile::new().unwrap().as_file().metadata().unwrap().modified().unwrap();
    i64::try_from(made.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[tokio::test]
async fn secrets_change_at_run_time() {
    let peer = peer(|_| {}).await;
    let ask = async |secret: &str| peer.ask_token(&[("client_secret", secret)]).await.status;
    peer.tenant.control().set_secrets(vec![ClientSecret::new("practice-secret"), ClientSecret::new("second")]);
    assert_eq!((ask("practice-secret").await, ask("second").await), (200, 200));
    peer.tenant.control().set_secrets(vec![ClientSecret::new("second")]);
    assert_eq!((ask("practice-secret").await, ask("second").await), (401, 200));
}

#[tokio::test]
async fn graph_checks_the_bearer() {
    let mut peer = peer(|_| {}).await;
    let bare = peer.http.get(format!("{}/users", peer.root)).send().await.unwrap();
    assert_eq!(bare.status().as_u16(), 401);
    let realm = bare.headers()["www-authenticate"].to_str().unwrap();
    assert!(realm.starts_with(
        "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\""
    ));
    let good = peer.token.clone();
    peer.token = "eyJ.nonsense.x".into();
    let message = "CompactToken validation failed with reason code: 80049228.";
    peer.get("/users").await.fails(401, "InvalidAuthenticationToken", message);
    peer.post("/$batch", json!({"requests": [{"id": "1", "method": "GET", "url": "/users"}]})).await.is(401);
    peer.token = good;
    peer.get("/users").await.is(200);
    peer.tenant.control().expire_tokens();
    let message = "Lifetime validation failed, the token is expired.";
    peer.get("/users").await.fails(401, "InvalidAuthenticationToken", message);
    assert_eq!(peer.tenant.counters().unauthorized, 4);
}

#[tokio::test]
async fn tokens_live_as_long_as_told() {
    let mut peer = peer(|o| o.knobs.token_lifetime = Duration::ZERO).await;
    assert_eq!(peer.get("/users").await.is(401).code(), "InvalidAuthenticationToken");
    peer.tenant.control().adjust(|k| k.token_lifetime = Duration::from_mins(1));
    peer.token = peer.ask_token(&[]).await.body["access_token"].as_str().unwrap().to_owned();
    peer.get("/users").await.is(200);
}

#[tokio::test]
async fn a_revoked_permission_shows_in_new_tokens_or_at_once() {
    let mut peer = peer(|_| {}).await;
    let control = peer.tenant.control();
    control.revoke_permission("User.ReadWrite.All", false);
    peer.add_user("ada").await;
    peer.token = peer.ask_token(&[]).await.body["access_token"].as_str().unwrap().to_owned();
    let denied = "Insufficient privileges to complete the operation.";
    peer.post("/users", user("bob")).await.fails(403, "Authorization_RequestDenied", denied);
    peer.get("/users/ada@contoso.com").await.is(200);
    control.revoke_permission("Directory.Read.All", true);
    peer.get("/users/ada@contoso.com").await.fails(403, "Authorization_RequestDenied", denied);
    control.grant_permission("User.ReadWrite.All", true);
    peer.add_user("bob").await;
    control.revoke_permission("Group.ReadWrite.All", true);
    let refused = peer.upsert("g", crate::client::group("g")).await;
    assert_eq!(refused.is(403).code(), "Authorization_RequestDenied");
}

#[tokio::test]
async fn discovery_is_answered() {
    let peer = peer(|_| {}).await;
    let root = peer.tenant.authority_url();
    let url = format!("{root}/contoso.com/v2.0/.well-known/openid-configuration");
    let body: Value = peer.http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(body["token_endpoint"], format!("{root}/contoso.com/oauth2/v2.0/token"));
    let url = format!("{root}/common/discovery/instance?api-version=1.1&authorization_endpoint={root}/x");
    assert!(peer.http.get(url).send().await.unwrap().status().is_success());
}
