//! Anchors of the log's chains, taken somewhere else on a schedule: what is kept there proves later that nothing was cut
//! off or written anew (see [`forestsync_log::chain`]).
//!
//! What cannot be delivered is no reason to stop synchronizing: it is logged and tried again. A stream that did not grow
//! since it was delivered is not delivered again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forestsync_log::chain::Anchor;
use forestsync_log::{Log, StreamName};
use forestsync_schemas::streams;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::notify::{self, DeliveryError, WebhookConfig};

/// How long it takes until what could not be delivered is tried again, unless the schedule is tighter.
const AGAIN: Duration = Duration::from_mins(1);

/// Where anchors are kept, and how often they are taken there.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// A file that they are appended to.
    pub file: Option<PathBuf>,
    /// An endpoint that takes them as JSON.
    pub webhook: Option<WebhookConfig>,
    /// The time between two exports.
    pub every: Duration,
}

/// What an endpoint gets.
#[derive(Debug, Serialize)]
struct Document<'a> {
    /// In one line, for people.
    text: String,
    /// The anchors.
    anchors: &'a [Anchor],
}

/// What has been delivered to one place: the offset of each stream's last anchor there.
type Delivered = BTreeMap<StreamName, u64>;

/// Exports the anchors of all streams at once and then on schedule, until it is told to stop; then to the file once more.
pub async fn export_anchors(log: Arc<dyn Log>, config: AuditConfig, stop: CancellationToken) {
    let (mut in_file, mut at_endpoint) = (Delivered::new(), Delivered::new());
    loop {
        let mut whole = into_file(log.as_ref(), &config, &mut in_file).await;
        whole &= tokio::select! {
            taken = to_endpoint(log.as_ref(), &config, &mut at_endpoint) => taken,
            () = stop.cancelled() => true,
        };
        let pause = if whole { config.every } else { config.every.min(AGAIN) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {
                into_file(log.as_ref(), &config, &mut in_file).await;
                return;
            }
        }
    }
}

/// The anchors of the streams that have grown.
async fn grown(log: &dyn Log, delivered: &Delivered) -> Result<Vec<Anchor>, forestsync_log::ReadError> {
    let mut all = log.streams().await?;
    all.retain(|stream| streams::is_ours(stream.as_str()));
    let mut anchors = Anchor::of(log, &all).await?;
    anchors.retain(|anchor| delivered.get(&anchor.stream) != Some(&anchor.offset));
    Ok(anchors)
}

fn note(delivered: &mut Delivered, anchors: Vec<Anchor>) {
    delivered.extend(anchors.into_iter().map(|anchor| (anchor.stream, anchor.offset)));
}

/// True unless something failed.
async fn into_file(log: &dyn Log, config: &AuditConfig, delivered: &mut Delivered) -> bool {
    let Some(path) = config.file.clone() else { return true };
    let anchors = match grown(log, delivered).await {
        Ok(anchors) if anchors.is_empty() => return true,
        Ok(anchors) => anchors,
        Err(error) => return failed(&error.to_string()),
    };
    let kept = anchors.clone();
    match tokio::task::spawn_blocking(move || Anchor::append(&path, &kept)).await {
        Ok(Ok(())) => {
            note(delivered, anchors);
            true
        }
        Ok(Err(error)) => failed(&format!("audit.{error}")),
        Err(lost) => failed(&lost.to_string()),
    }
}

/// True unless something failed.
async fn to_endpoint(log: &dyn Log, config: &AuditConfig, delivered: &mut Delivered) -> bool {
    let Some(webhook) = &config.webhook else { return true };
    let anchors = match grown(log, delivered).await {
        Ok(anchors) if anchors.is_empty() => return true,
        Ok(anchors) => anchors,
        Err(error) => return failed(&error.to_string()),
    };
    let text = format!("forestsync: anchors of {} streams of the log", anchors.len());
    let body = match serde_json::to_vec(&Document { text, anchors: &anchors }) {
        Ok(body) => body,
        Err(error) => return failed(&error.to_string()),
    };
    match notify::post(webhook, body).await {
        Ok(()) => {
            note(delivered, anchors);
            true
        }
        Err(DeliveryError::Secret(error)) => failed(&format!("audit.{error}")),
        Err(DeliveryError::Setting { key, problem }) => failed(&format!("audit.{key} {problem}")),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(error: &str) -> bool {
    tracing::warn!(error, "the anchors of the log could not be taken elsewhere; they are tried again");
    false
}
