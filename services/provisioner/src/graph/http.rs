//! HTTP to Graph: one client, tokens, the gate, bounded bodies.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forestsync_schemas::outcomes::StopCause;
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::answer::Answer;
use super::gate::Gate;
use super::requests::Request;
use super::token::TokenProvider;
use crate::config::{ConfigError, TenantConfig};
use crate::target::Outage;

/// The largest answer that is read, in bytes.
const LARGEST_BODY: usize = 64 * 1024 * 1024;

/// The product's one HTTP client: rustls, no redirects, a limit on every wait.
pub(super) fn client(config: &TenantConfig) -> Result<reqwest::Client, ConfigError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("forestsync/", env!("CARGO_PKG_VERSION")))
        .tls_backend_rustls()
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(config.connect_timeout)
        .timeout(config.request_timeout)
        .pool_idle_timeout(Duration::from_mins(1))
        .gzip(true);
    if let Some(path) = &config.ca_file {
        let certificates = authorities(path).map_err(|detail| ConfigError::CaFile { path: path.clone(), detail })?;
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|e| ConfigError::Client(format!("the HTTP client cannot be set up: {e}")))
}

/// The certificate authorities in a file; or what is wrong with it.
pub(crate) fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let pem = std::fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| format!("is not PEM: {e}"))?;
    if certificates.is_empty() { Err("holds no certificate; it must be PEM".into()) } else { Ok(certificates) }
}

/// The client for the managed identity's endpoint: on this machine or its link, plain HTTP, never through a proxy.
pub(super) fn metadata_client(config: &TenantConfig) -> Result<reqwest::Client, ConfigError> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("forestsync/", env!("CARGO_PKG_VERSION")))
        .tls_backend_rustls()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(config.connect_timeout)
        .timeout(config.request_timeout);
    builder.build().map_err(|e| ConfigError::Client(format!("the HTTP client cannot be set up: {e}")))
}

/// Requests to one tenant's Graph.
#[derive(Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    tokens: Arc<dyn TokenProvider>,
    graph: Url,
    /// Root with version and without a slash at its end.
    root: String,
    gate: Gate,
    sent: AtomicU64,
}

impl Http {
    pub(super) fn new(
        config: &TenantConfig,
        client: reqwest::Client,
        tokens: Arc<dyn TokenProvider>,
        gate: Gate,
    ) -> Self {
        let root = format!("{}/v1.0", config.graph.as_str().trim_end_matches('/'));
        let graph = config.graph.clone();
        Self { client, tokens, graph, root, gate, sent: AtomicU64::new(0) }
    }

    /// The root of all paths and of all references to objects.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// Whether anything may be written.
    pub(super) fn may_write(&self) -> bool {
        self.gate.lets_pass(true)
    }

    pub(super) fn requests(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// A link from an answer as a path. One to another host is refused: the token would go there.
    pub(super) fn relative(&self, link: &str) -> Result<String, Outage> {
        let same_host = link.parse::<Url>().is_ok_and(|url| url.origin() == self.graph.origin());
        let path = link.strip_prefix(&self.root).filter(|path| same_host && path.starts_with('/'));
        path.map(str::to_owned).ok_or_else(|| {
            stopped("the tenant's answer links to another host; it is not followed, because the token would go there")
        })
    }

    /// A token, and whether it is a renewed one.
    pub(super) async fn token(&self, force: bool) -> Result<(SecretString, bool), Outage> {
        if !self.gate.is_ours() {
            return Err(forfeited());
        }
        let token = self.tokens.token(force).await.map_err(|error| {
            let cause = if error.is_retryable() { StopCause::NotAvailable } else { StopCause::NotAuthenticated };
            Outage { cause, retry_after: error.retry_after(), ..stopped(&error.to_string()) }
        })?;
        Ok((token, force))
    }

    /// Asks for a new token because a request inside a batch was refused.
    pub(super) async fn renew_token(&self) {
        if let Err(error) = self.tokens.token(true).await {
            tracing::warn!(%error, "the token was refused and there is no new one");
        }
    }

    /// Sends one request; with another token once more if the first is refused. An answer that tells of the service
    /// rather than of the request is an outage.
    pub(super) async fn send(&self, request: &Request) -> Result<Answer, Outage> {
        if !self.gate.lets_pass(request.writes()) {
            return Err(stopped("this provisioner may read only"));
        }
        let mut answer = self.once(request, false).await?;
        if answer.status == 401 {
            answer = self.once(request, true).await?;
        }
        let outage = |uncertain, throttled, why: &str| Outage {
            uncertain,
            throttled,
            retry_after: answer.retry_after,
            forfeited: false,
            cause: if answer.status == 401 { StopCause::NotAuthenticated } else { StopCause::NotAvailable },
            detail: format!("{why} ({} {})", answer.status, answer.failure().code),
        };
        match answer.status {
            401 => {
                Err(outage(false, false, "the tenant does not accept the application's token; check its credential"))
            }
            429 => Err(outage(false, true, "the tenant asks for fewer requests")),
            408 | 502..=504 => Err(outage(true, false, "the tenant is not available")),
            _ => Ok(answer),
        }
    }

    async fn once(&self, request: &Request, force: bool) -> Result<Answer, Outage> {
        let (token, _) = self.token(force).await?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
            .map_err(|_| stopped("the token cannot stand in a header"))?;
        bearer.set_sensitive(true);
        let url = format!("{}{}", self.root, request.path);
        let mut builder = self
            .client
            .request(request.method.clone(), url)
            .header(AUTHORIZATION, bearer)
            .header(ACCEPT, "application/json");
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if let Some(body) = &request.body {
            builder = builder.json(body);
        } else if request.method == Method::POST {
            builder = builder.header(reqwest::header::CONTENT_LENGTH, 0);
        }
        if !self.gate.is_ours() {
            return Err(forfeited());
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        let response = builder.send().await.map_err(|e| lost(&e))?;
        read(response).await
    }
}

async fn read(mut response: reqwest::Response) -> Result<Answer, Outage> {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| lost(&e))? {
        if body.len() + chunk.len() > LARGEST_BODY {
            return Err(Outage { uncertain: true, ..stopped("the tenant's answer is larger than 64 MiB") });
        }
        body.extend_from_slice(&chunk);
    }
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Answer::new(status, |name| headers.get(name).and_then(|v| v.to_str().ok()), body))
}

/// An outage before anything was sent.
fn stopped(detail: &str) -> Outage {
    Outage {
        uncertain: false,
        throttled: false,
        retry_after: None,
        forfeited: false,
        cause: StopCause::NotAvailable,
        detail: detail.to_owned(),
    }
}

/// Somebody else may be at work now.
fn forfeited() -> Outage {
    Outage { forfeited: true, ..stopped("the lease ended; nothing is sent without it") }
}

fn lost(error: &reqwest::Error) -> Outage {
    let mut detail = "the tenant cannot be reached".to_owned();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    if error.is_timeout() {
        detail.push_str(": no answer in time");
    }
    while let Some(inner) = cause {
        detail = format!("{detail}: {inner}");
        cause = inner.source();
    }
    Outage { uncertain: !error.is_connect(), ..stopped(&detail) }
}
