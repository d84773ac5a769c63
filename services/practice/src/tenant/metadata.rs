//! The endpoint of a managed identity, as a machine or an app service in Azure has it: plain HTTP, on loopback.
//!
//! Both forms are served (graph.md section 12): that of virtual machines, `/metadata/identity/oauth2/token` with the
//! header `Metadata: true`, and that of App Service, here `/msi/token`, with the header `X-IDENTITY-HEADER`. Its tokens
//! are those of the practice tenant.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use super::clock;
use super::exchange::Shared;

/// The endpoint of a managed identity. Dropping it stops it.
pub struct Metadata {
    port: u16,
    header: String,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Metadata {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metadata").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Metadata {
    pub(super) async fn start(shared: Arc<Shared>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen")?;
        let port = listener.local_addr().context("the listener has no address")?.port();
        let header = Uuid::new_v4().to_string();
        let app = App { shared, header: header.as_str().into() };
        let router = Router::new()
            .route("/metadata/identity/oauth2/token", get(machine))
            .route("/msi/token", get(app_service))
            .with_state(app);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(error = %error, "the managed identity's endpoint ended");
            }
        });
        Ok(Self { port, header, task })
    }

    /// The root, which stands for `http://169.254.169.254` on a virtual machine.
    pub fn root(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What App Service puts into `IDENTITY_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("{}/msi/token", self.root())
    }

    /// What App Service puts into `IDENTITY_HEADER`.
    pub fn header(&self) -> &str {
        &self.header
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct App {
    shared: Arc<Shared>,
    header: Arc<str>,
}

type Asked = Query<HashMap<String, String>>;

async fn machine(State(app): State<App>, headers: HeaderMap, Query(query): Asked) -> Response {
    let metadata = headers.get("metadata").and_then(|h| h.to_str().ok());
    if !metadata.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return refuse(StatusCode::BAD_REQUEST, "Required metadata header not specified");
    }
    answer(&app, &query, "2018-02-01")
}

async fn app_service(State(app): State<App>, headers: HeaderMap, Query(query): Asked) -> Response {
    if headers.get("x-identity-header").and_then(|h| h.to_str().ok()) != Some(&*app.header) {
        return refuse(StatusCode::UNAUTHORIZED, "The identity header is missing or wrong");
    }
    answer(&app, &query, "2019-08-01")
}

fn answer(app: &App, query: &HashMap<String, String>, version: &str) -> Response {
    let field = |name: &str| query.get(name).map(String::as_str);
    if field("api-version") != Some(version) {
        return refuse(StatusCode::BAD_REQUEST, "The api-version is missing or not supported");
    }
    let Some(resource) = field("resource").filter(|resource| !resource.is_empty()) else {
        return refuse(StatusCode::BAD_REQUEST, "The resource is missing");
    };
    if field("client_id").is_some_and(|client| !client.eq_ignore_ascii_case(&app.shared.tenant.client_id)) {
        return refuse(StatusCode::BAD_REQUEST, "Identity not found");
    }
    let mut inner = app.shared.lock();
    inner.counters.token_requests += 1;
    let lifetime = inner.knobs.token_lifetime;
    let token = inner.tokens.issue(&app.shared.tenant, &format!("{resource}/.default"), lifetime, Instant::now());
    drop(inner);
    let ends = clock::now().as_second().saturating_add_unsigned(lifetime.as_secs());
    let body = json!({
        "access_token": token,
        "expires_on": ends.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    });
    json_response(StatusCode::OK, &body)
}

fn refuse(status: StatusCode, text: &str) -> Response {
    json_response(status, &json!({"error": "invalid_request", "error_description": text}))
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [("Content-Type", "application/json; charset=utf-8")], body.to_string()).into_response()
}
