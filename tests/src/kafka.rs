//! Apache Kafka, through `infra/kafka/local`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::peers;

/// A cluster of its own, in a folder under the target directory; gone when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    bootstrap: String,
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(peers::workspace().join("infra/kafka/local"))
        .args(arguments)
        .env("KAFKA_DIR", folder)
        // a broker that is there for other things must not be killed by a test
        .env_remove("KAFKA_BOOTSTRAP")
        .output()
        .expect("infra/kafka/local can be run")
}

/// Why there is no Kafka here, if there is none.
pub fn missing() -> Option<&'static str> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let reason = MISSING.get_or_init(|| {
        let out = run(&peers::scratch().join("kafka-install"), &["install"]);
        (!out.status.success()).then(|| String::from_utf8_lossy(&out.stderr).trim().to_owned())
    });
    reason.as_deref()
}

impl Cluster {
    /// A fresh cluster of so many nodes, 1 or 3; `name` tells it from those of other tests.
    pub fn up(name: &str, nodes: usize) -> Self {
        let folder = peers::scratch().join(format!("kafka-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut cluster = Self { folder, bootstrap: String::new() };
        cluster.must(&["down", "--wipe"]);
        let bootstrap = cluster.must(&["up", "--nodes", &nodes.to_string()]).trim().to_owned();
        cluster.bootstrap = bootstrap;
        cluster
    }

    /// Where it answers.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Runs a command of the script; panics with what it said if it fails.
    pub fn must(&self, arguments: &[&str]) -> String {
        let out = run(&self.folder, arguments);
        assert!(out.status.success(), "kafka {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // what a failure leaves is looked at by a person; the next `up` wipes it
        let kept: &[&str] = if std::thread::panicking() { &["down"] } else { &["down", "--wipe"] };
        let _stopped = run(&self.folder, kept);
    }
}
