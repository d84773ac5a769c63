//! The embedded engine passes the suite, with segments of the usual size and with very small ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use forestsync_log::conformance::{Engine, Failure, SecondWriter, run_all};
use forestsync_log::{EmbeddedLog, EmbeddedOptions, Log, StreamName};

struct Embedded {
    dir: PathBuf,
    others: AtomicUsize,
    options: EmbeddedOptions,
}

#[async_trait]
impl Engine for Embedded {
    async fn open(&self) -> Result<Arc<dyn Log>, Failure> {
        Ok(Arc::new(EmbeddedLog::open_with(&self.dir, self.options.clone())?))
    }

    async fn open_other(&self) -> Result<Arc<dyn Log>, Failure> {
        let name = format!("other-{}", self.others.fetch_add(1, Ordering::Relaxed));
        Ok(Arc::new(EmbeddedLog::open_with(self.dir.join(name), self.options.clone())?))
    }

    fn second_writer(&self) -> SecondWriter {
        SecondWriter::Refused
    }

    async fn compact(&self, stream: &StreamName) -> Result<bool, Failure> {
        drop(self.open().await?.writer(stream).await?);
        Ok(true)
    }

    fn run(&self) -> &'static str {
        "run"
    }
}

async fn passes(segment_bytes: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = EmbeddedOptions::default();
    options.segment_bytes = segment_bytes;
    options.compact_min_bytes = 0;
    options.desired_history = std::time::Duration::ZERO;
    run_all(&Embedded { dir: dir.path().to_owned(), others: AtomicUsize::new(0), options }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_with_the_usual_segments() {
    passes(EmbeddedOptions::default().segment_bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_with_small_segments() {
    passes(20_000).await;
}

#[tokio::test]
async fn passes_with_a_segment_per_append_on_one_thread() {
    passes(1).await;
}
