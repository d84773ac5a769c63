//! The engine on Kafka passes the suite, on a real broker.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

mod kafka;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use forestsync_log::conformance::{Engine, Failure, SecondWriter, run_all};
use forestsync_log::{Log, LogConfig, StreamName};

struct Kafka {
    brokers: kafka::Brokers,
    run: String,
    others: AtomicUsize,
}

#[async_trait]
impl Engine for Kafka {
    async fn open(&self) -> Result<Arc<dyn Log>, Failure> {
        Ok(self.brokers.log())
    }

    async fn open_other(&self) -> Result<Arc<dyn Log>, Failure> {
        let prefix = format!("other-{}-{}-", self.run, self.others.fetch_add(1, Ordering::Relaxed));
        let opened = LogConfig { prefix, ..self.brokers.config() }.open(Path::new("."));
        opened.map_err(|e| Failure::SetUp(e.to_string()))
    }

    fn second_writer(&self) -> SecondWriter {
        SecondWriter::Fences
    }

    async fn compact(&self, _stream: &StreamName) -> Result<bool, Failure> {
        Ok(false)
    }

    fn run(&self) -> &str {
        &self.run
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite() {
    let Some(brokers) = kafka::Brokers::any("conformance") else { return };
    run_all(&Kafka { brokers, run: kafka::run(), others: AtomicUsize::new(0) }).await.unwrap();
}
