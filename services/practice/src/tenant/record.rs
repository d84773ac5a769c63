//! The recorder: every Graph exchange as one JSON line (`method`, `url`, `request_headers`, `request_body`, `status`,
//! `response_headers`, `response_body`).
//!
//! Passwords are replaced and the `Authorization` header is never written. The queue is bounded: a recorder that cannot
//! keep up slows the tenant down, it never loses a line.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const QUEUE: usize = 1_024;
const HIDDEN: &str = "hidden-Password-1";

/// The sending end.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    lines: mpsc::Sender<Vec<u8>>,
}

/// Opens the file for appending and starts its writer, which ends when every [`Recorder`] is gone.
pub(super) fn start(path: &Path) -> Result<(Recorder, JoinHandle<()>)> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let file = file.with_context(|| format!("cannot open the record file {}", path.display()))?;
    let (lines, mut queue) = mpsc::channel::<Vec<u8>>(QUEUE);
    let name = path.display().to_string();
    let task = tokio::task::spawn_blocking(move || {
        let mut file = std::io::BufWriter::new(file);
        while let Some(line) = queue.blocking_recv() {
            let written = file.write_all(&line).and_then(|()| if queue.is_empty() { file.flush() } else { Ok(()) });
            if let Err(error) = written {
                tracing::error!(error = %error, file = name, "cannot write the record file, recording ends");
                return;
            }
        }
        if let Err(error) = file.flush() {
            tracing::error!(error = %error, file = name, "cannot write the end of the record file");
        }
    });
    Ok((Recorder { lines }, task))
}

impl Recorder {
    /// Queues one exchange.
    pub(super) async fn record(&self, exchange: &Value) {
        let mut line = exchange.to_string().into_bytes();
        line.push(b'\n');
        if self.lines.send(line).await.is_err() {
            tracing::warn!("the recorder has ended, an exchange is not recorded");
        }
    }
}

/// Replaces every password in a body, also inside a batch.
pub(super) fn without_passwords(body: &mut Value) {
    match body {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                if name.eq_ignore_ascii_case("password") && !value.is_null() {
                    *value = Value::String(HIDDEN.into());
                } else {
                    without_passwords(value);
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(without_passwords),
        _ => {}
    }
}

/// Whether a request header may be written.
pub(super) fn may_write(header: &str) -> bool {
    !matches!(header.to_ascii_lowercase().as_str(), "authorization" | "proxy-authorization" | "cookie")
}
