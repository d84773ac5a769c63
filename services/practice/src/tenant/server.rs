//! HTTP over TLS: the accept loop, the token endpoint, and Graph below `/v1.0`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::LengthLimitError;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth;
use super::exchange::{Answer, Arrived, Inner, Shared};
use super::record::{self, Recorder};
use super::reply::GraphError;
use super::request::{GraphRequest, Payload};

/// The most connections at a time.
const CONNECTIONS: usize = 1_024;
/// The largest body taken.
const BODY: usize = 4 * 1_024 * 1_024;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What the handlers share.
#[derive(Clone)]
struct App {
    shared: Arc<Shared>,
    recorder: Option<Recorder>,
}

/// Closes the connection a request came on, once its answer is sent.
#[derive(Clone)]
struct Close(CancellationToken);

/// Marks a response that must not be sent.
#[derive(Clone)]
struct Lost;

/// The answer is lost on purpose: the stream is reset (HTTP/2) or the connection ends (HTTP/1.1).
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost on purpose")]
struct AnswerLost;

/// Serves until told to stop.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    shared: Arc<Shared>,
    recorder: Option<Recorder>,
    stop: CancellationToken,
) {
    let router = Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(configuration))
        .route("/common/discovery/instance", get(instance))
        .fallback(graph)
        .with_state(App { shared, recorder });
    let acceptor = TlsAcceptor::from(tls);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, _)) => {
                let connection = connection(tcp, acceptor.clone(), router.clone(), stop.clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "the practice tenant cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(tcp: TcpStream, acceptor: TlsAcceptor, router: Router, stop: CancellationToken) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(error = %error, "cannot turn off delays on a connection");
    }
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(error = %error, "the TLS handshake failed"),
        Err(_) => return tracing::debug!("the TLS handshake took too long"),
    };
    let close = CancellationToken::new();
    let marker = Close(close.clone());
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(marker.clone());
        let answer = service.call(request);
        async move {
            let response: Response = answer.await.unwrap_or_else(|never| match never {});
            if response.extensions().get::<Lost>().is_some() { Err(AnswerLost) } else { Ok(response) }
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let mut closing = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection ended early");
                }
                return;
            }
            () = close.cancelled(), if !closing => {
                closing = true;
                serving.as_mut().graceful_shutdown();
            }
            () = stop.cancelled() => return,
        }
    }
}

async fn token(
    State(app): State<App>,
    Path(tenant): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<HashMap<String, String>>, FormRejection>,
) -> Response {
    let latency = app.shared.lock().knobs.latency;
    pause(latency).await;
    let form = form.map(|Form(form)| form).unwrap_or_default();
    let endpoint = format!("{}/{tenant}/oauth2/v2.0/token", base(&uri, &headers));
    let asked = auth::Asked { name: &tenant, endpoint: &endpoint, form: &form };
    let mut inner = app.shared.lock();
    inner.counters.token_requests += 1;
    let Inner { tokens, credentials, knobs, faults, .. } = &mut *inner;
    let known = (tokens, credentials);
    let (status, body) =
        auth::token(known, &app.shared.tenant, asked, knobs.token_lifetime, faults.token_error, Instant::now());
    drop(inner);
    let headers =
        [(header::CONTENT_TYPE, "application/json; charset=utf-8"), (header::CACHE_CONTROL, "no-store, no-cache")];
    (StatusCode::from_u16(status).unwrap_or_default(), headers, body.to_string()).into_response()
}

fn base(uri: &Uri, headers: &HeaderMap) -> String {
    let host =
        headers.get(header::HOST).and_then(|h| h.to_str().ok()).or_else(|| uri.authority().map(Authority::as_str));
    format!("https://{}", host.unwrap_or("localhost"))
}

fn json_response(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], body.to_string()).into_response()
}

async fn configuration(Path(tenant): Path<String>, request: Request) -> Response {
    let root = format!("{}/{tenant}", base(request.uri(), request.headers()));
    json_response(&json!({
        "token_endpoint": format!("{root}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "issuer": format!("{root}/v2.0"),
        "authorization_endpoint": format!("{root}/oauth2/v2.0/authorize"),
        "response_types_supported": ["code"],
        "scopes_supported": ["openid"],
    }))
}

async fn instance(request: Request) -> Response {
    let root = base(request.uri(), request.headers());
    json_response(&json!({
        "api-version": "1.1",
        "tenant_discovery_endpoint": format!("{root}/common/v2.0/.well-known/openid-configuration"),
        "metadata": [],
    }))
}

async fn pause(latency: Duration) {
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
}

/// Everything that is not the token endpoint.
async fn graph(State(app): State<App>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let close = parts.extensions.get::<Close>().cloned();
    let bytes = match axum::body::to_bytes(body, BODY).await {
        Ok(bytes) => Some(bytes),
        Err(error) if is_too_large(&error) => None,
        // whoever asked went away in the middle of it: nothing was asked, and nobody hears an answer
        Err(_) => return StatusCode::BAD_REQUEST.into_response(),
    };
    let at = Instant::now();
    let latency = app.shared.lock().knobs.latency;
    pause(latency).await;
    let mut answer = exchange(&app.shared, parts.method.as_str(), &parts.uri, &parts.headers, bytes.as_ref(), at);
    if answer.close {
        answer.headers.push(("Connection".into(), "close".into()));
    }
    if let Some(recorder) = &app.recorder {
        recorder.record(&recorded(parts.method.as_str(), &parts.uri, &parts.headers, bytes.as_ref(), &answer)).await;
    }
    if let Some(Close(close)) = close.filter(|_| answer.close) {
        close.cancel();
    }
    respond(answer, parts.version)
}

/// Whether a body is longer than what is read of one.
fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<LengthLimitError>)
}

fn exchange(
    shared: &Shared,
    method: &str,
    uri: &Uri,
    headers: &HeaderMap,
    bytes: Option<&Bytes>,
    at: Instant,
) -> Answer {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let payload = match bytes {
        Some(bytes) if bytes.is_empty() => Payload::None,
        Some(bytes) => serde_json::from_slice(bytes).map_or(Payload::Unreadable, Payload::Json),
        None => Payload::Unreadable,
    };
    let target = uri.path_and_query().map_or("/", |t| t.as_str());
    let request = match target.strip_prefix("/v1.0").filter(|rest| rest.is_empty() || rest.starts_with(['/', '?'])) {
        _ if bytes.is_none() => Err(GraphError::new(413, "RequestEntityTooLarge", "The request body is too large.")),
        Some(rest) => GraphRequest::new(method, &base(uri, headers), rest.trim_start_matches('/'), &header, payload),
        None => Err(GraphError::gateway("Invalid version. The practice tenant serves v1.0.")),
    };
    let authorization = header("authorization");
    let arrived = Arrived {
        request,
        method,
        authorization: authorization.as_deref(),
        client_request_id: header("client-request-id"),
        at,
    };
    shared.lock().exchange(&shared.tenant, arrived)
}

fn respond(answer: Answer, version: axum::http::Version) -> Response {
    let body = answer.body.map_or_else(Body::empty, |b| Body::from(b.to_string()));
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        // HTTP/2 knows no Connection header; there the connection is closed by GOAWAY alone.
        if name == "Connection" && version == axum::http::Version::HTTP_2 {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    if answer.lost {
        response.extensions_mut().insert(Lost);
    }
    response
}

fn recorded(method: &str, uri: &Uri, headers: &HeaderMap, bytes: Option<&Bytes>, answer: &Answer) -> Value {
    let sent = headers.iter().filter(|(name, _)| record::may_write(name.as_str()));
    let sent: serde_json::Map<String, Value> =
        sent.map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap_or("")))).collect();
    let body = bytes.filter(|b| !b.is_empty());
    let mut body = body.map_or(Value::Null, |b| serde_json::from_slice(b).unwrap_or(json!("unreadable")));
    record::without_passwords(&mut body);
    let received: serde_json::Map<String, Value> = answer.headers.iter().map(|(n, v)| (n.clone(), json!(v))).collect();
    let target = uri.path_and_query().map_or("/", |t| t.as_str());
    json!({
        "method": method,
        "url": format!("{}{target}", base(uri, headers)),
        "request_headers": sent,
        "request_body": body,
        "status": answer.status,
        "response_headers": received,
        "response_body": answer.body,
    })
}
