//! A small Graph client for the tests: one tenant, one token, one call at a time.

use std::collections::HashMap;
use std::path::PathBuf;

use forestsync_practice::contract;
use forestsync_practice::tenant::{PracticeTenant, TenantOptions};
use forestsync_practice::tls::PrivateCa;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// A tenant and a client that has a token for it.
pub(crate) struct Peer {
    pub(crate) tenant: PracticeTenant,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
    pub(crate) root: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or_default()
    }

    /// `code target` of each detail.
    pub(crate) fn details(&self) -> Vec<String> {
        let details = self.body["error"]["details"].as_array().cloned().unwrap_or_default();
        let text = |v: &Value, k: &str| v[k].as_str().unwrap_or_default().to_owned();
        details.iter().map(|d| format!("{} {}", text(d, "code"), text(d, "target"))).collect()
    }

    pub(crate) fn id(&self) -> String {
        self.body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn values(&self) -> &Vec<Value> {
        self.body["value"].as_array().unwrap()
    }

    /// The `name` of every value.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.values().iter().map(|v| v[name].as_str().unwrap_or_default()).collect()
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// The error of this status with this message.
    #[track_caller]
    pub(crate) fn fails(&self, status: u16, code: &str, message: &str) -> &Self {
        self.is(status);
        assert_eq!((self.code(), self.message()), (code, message), "{}", self.body);
        let inner = &self.body["error"]["innerError"];
        assert!(inner["request-id"].is_string() && inner["date"].is_string() && inner["client-request-id"].is_string());
        self
    }
}

pub(crate) fn trusting(ca: &PrivateCa) -> reqwest::Client {
    let certificate = reqwest::Certificate::from_pem(ca.pem().as_bytes()).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap()
}

/// A tenant with the verified domain `contoso.com`, the federated `fed.contoso.com`, the unverified `later.contoso.com`.
pub(crate) async fn peer(change: impl FnOnce(&mut TenantOptions)) -> Peer {
    let mut options = TenantOptions {
        verified_domains: vec!["contoso.com".into()],
        federated_domains: vec!["fed.contoso.com".into()],
        unverified_domains: vec!["later.contoso.com".into()],
        privileged_users: vec!["Root@contoso.com".into()],
        ..TenantOptions::default()
    };
    change(&mut options);
    let ca = PrivateCa::new().unwrap();
    let http = trusting(&ca);
    let tenant = PracticeTenant::start(options, &ca).await.unwrap();
    let root = format!("{}/v1.0", tenant.graph_url());
    let mut peer = Peer { tenant, http, token: String::new(), root };
    let answer = peer.ask_token(&[]).await;
    answer.is(200).body["access_token"].as_str().unwrap().clone_into(&mut peer.token);
    peer
}

impl Peer {
    /// A token request with the right fields, except those given (an empty value leaves the field out).
    pub(crate) async fn ask_token(&self, changes: &[(&str, &str)]) -> Answer {
        let defaults = TenantOptions::default();
        let mut form: HashMap<&str, &str> = HashMap::from([
            ("grant_type", "client_credentials"),
            ("client_id", defaults.client_id.as_str()),
            ("client_secret", defaults.client_secret.expose()),
            ("scope", "https://graph.microsoft.com/.default"),
            ("tenant", defaults.tenant_id.as_str()),
        ]);
        form.extend(changes.iter().copied());
        let url = format!("{}/{}/oauth2/v2.0/token", self.tenant.authority_url(), form["tenant"]);
        form.retain(|name, value| *name != "tenant" && !value.is_empty());
        let response = self.http.post(url).form(&form).send().await.unwrap();
        received(response).await
    }

    pub(crate) async fn try_send(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> reqwest::Result<Answer> {
        let url = if path.starts_with("https:") { path.to_owned() } else { format!("{}{path}", self.root) };
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        Ok(received(request.send().await?).await)
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Answer {
        self.try_send(method, path, body, headers).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, &[]).await
    }

    /// An advanced query.
    pub(crate) async fn eventual(&self, path: &str) -> Answer {
        self.send("GET", path, None, &[("ConsistencyLevel", "eventual")]).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body), &[]).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, Some(body), &[]).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, Some(body), &[]).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None, &[]).await
    }

    /// `PATCH /groups(uniqueName='…')` that creates.
    pub(crate) async fn upsert(&self, unique: &str, body: Value) -> Answer {
        let path = format!("/groups(uniqueName='{unique}')");
        self.send("PATCH", &path, Some(body), &[("Prefer", "create-if-missing")]).await
    }

    /// A user named so, with the anchor `anchor-NAME`; its id.
    pub(crate) async fn add_user(&self, name: &str) -> String {
        self.post("/users", user(name)).await.is(201).id()
    }

    /// A group with the unique name; its id.
    pub(crate) async fn add_group(&self, unique: &str) -> String {
        self.upsert(unique, group(unique)).await.is(201).id()
    }

    /// The reference body for an object.
    pub(crate) fn reference(&self, id: &str) -> Value {
        json!({"@odata.id": format!("{}/directoryObjects/{id}", self.root)})
    }

    /// `members@odata.bind` for these objects.
    pub(crate) fn bind(&self, ids: &[String]) -> Value {
        let urls: Vec<String> = ids.iter().map(|id| format!("{}/directoryObjects/{id}", self.root)).collect();
        json!({"members@odata.bind": urls})
    }

    /// Follows next links and returns all values and the last answer.
    pub(crate) async fn pages(&self, path: &str, headers: &[(&str, &str)]) -> (Vec<Value>, Answer) {
        let mut answer = self.send("GET", path, None, headers).await;
        let mut all = Vec::new();
        loop {
            all.extend(answer.is(200).values().iter().cloned());
            let Some(next) = answer.body["@odata.nextLink"].as_str().map(str::to_owned) else { return (all, answer) };
            answer = self.send("GET", &next, None, headers).await;
        }
    }
}

async fn received(response: reqwest::Response) -> Answer {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let text = response.text().await.unwrap();
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
    Answer { status, headers, body }
}

/// A complete user.
pub(crate) fn user(name: &str) -> Value {
    json!({
        "accountEnabled": true,
        "displayName": format!("The {name}"),
        "mailNickname": name,
        "userPrincipalName": format!("{name}@contoso.com"),
        "onPremisesImmutableId": format!("anchor-{name}"),
        "passwordProfile": {"password": "xWwvJ]6NMw+bWH-d", "forceChangePasswordNextSignIn": true},
    })
}

/// A complete security group.
pub(crate) fn group(name: &str) -> Value {
    json!({"displayName": format!("Group {name}"), "mailEnabled": false, "mailNickname": "group", "securityEnabled": true})
}

/// The value with these properties put in; null stays null.
pub(crate) fn with(mut value: Value, changes: Value) -> Value {
    for (name, change) in changes.as_object().unwrap() {
        value[name] = change.clone();
    }
    value
}

/// The value without the property.
pub(crate) fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

/// Checks recorded exchanges against Microsoft's description of Graph, where that is beside the project. `ignore` names
/// the kinds of violation that a knob is there to cause.
pub(crate) fn keeps_contract(records: &[PathBuf], ignore: &[&str]) {
    println!("{}", contract::check(records, ignore).unwrap().expect_kept());
}

/// Polls until the condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), wait).await.expect("the condition never held");
}
