//! `/healthz`, `/readyz` and `/metrics`: plain HTTP for who watches over processes. They show states and numbers, never an
//! object, a name in a directory or an attribute.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::board::{Answer, Board};

/// How often what was observed is put into buckets, so that it does not pile up where nobody asks for it.
const UPKEEP: Duration = Duration::from_secs(5);

/// The endpoint, for as long as this lives.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone)]
struct Shown {
    board: Board,
    metrics: PrometheusHandle,
}

impl Admin {
    /// Listens. From then on the endpoint answers, whatever the service is doing.
    pub async fn listen(listen: SocketAddr, board: Board, metrics: PrometheusHandle) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/healthz", get(|State(shown): State<Shown>| async move { answer(shown.board.health()) }))
            .route("/readyz", get(|State(shown): State<Shown>| async move { answer(shown.board.readiness()) }))
            .route("/metrics", get(samples))
            .with_state(Shown { board, metrics });
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(error = %error, "the admin endpoint ended");
            }
        });
        Ok(Self { address, _server: AbortOnDropHandle::new(server) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn answer(answer: Answer) -> impl IntoResponse {
    let status = if answer.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(answer))
}

async fn samples(State(shown): State<Shown>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shown.metrics.render())
}

/// Keeps histograms small until `stop`, for those that nobody reads.
pub(crate) async fn upkeep(metrics: PrometheusHandle, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(UPKEEP) => metrics.run_upkeep(),
            () = stop.cancelled() => {}
        }
    }
}
