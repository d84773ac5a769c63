//! What the tests on a real Apache Kafka share: the brokers, which are ours or somebody else's.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use forestsync_log::{Log, LogConfig, NewRecord, Record, StreamName};

pub const PEER: &str = "Apache Kafka";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap().to_owned()
}

/// A folder beside the test binaries, so that it is never committed.
pub fn scratch() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder.join("scratch")
}

fn note(line: &str) {
    println!("{line}");
    if let Some(file) = std::env::var_os("FORESTSYNC_PEERS_FILE") {
        let mut file = OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

fn missing(why: &str) {
    note(&format!("{PEER}: SKIPPED: {why}"));
    let required = std::env::var_os("FORESTSYNC_REQUIRE_PEERS").is_some_and(|v| v != "0");
    assert!(!required, "FORESTSYNC_REQUIRE_PEERS is set and {PEER} is missing: {why}");
}

/// Whether the long suites run in full.
pub fn soak() -> bool {
    std::env::var_os("FORESTSYNC_SOAK").is_some_and(|v| v != "0")
}

/// Brokers of our own in a folder of their own, stopped and wiped at the end; or those of `KAFKA_BOOTSTRAP`.
pub struct Brokers {
    dir: Option<PathBuf>,
    pub bootstrap: String,
}

impl Brokers {
    /// Somebody else's brokers where there are some, else one of our own. None where Kafka cannot be had.
    pub fn any(name: &str) -> Option<Self> {
        if let Ok(bootstrap) = std::env::var("KAFKA_BOOTSTRAP") {
            note(&format!("{PEER}: ran"));
            return Some(Self { dir: None, bootstrap });
        }
        Self::own(name, &[])
    }

    /// Brokers that may be killed.
    pub fn own(name: &str, arguments: &[&str]) -> Option<Self> {
        let dir = scratch().join(format!("kafka-{name}"));
        std::fs::create_dir_all(&dir).unwrap();
        // what a run before this one left when it was killed
        local(&dir, &["down", "--wipe"]).ok();
        let all: Vec<&str> = ["up"].iter().chain(arguments).copied().collect();
        match local(&dir, &all) {
            Ok(bootstrap) => {
                note(&format!("{PEER}: ran"));
                Some(Self { dir: Some(dir), bootstrap: bootstrap.trim().to_owned() })
            }
            Err(why) => {
                missing(&why);
                None
            }
        }
    }

    /// A command of `infra/kafka/local`, such as `kill 1`.
    pub fn run(&self, arguments: &[&str]) -> String {
        local(self.dir.as_ref().expect("brokers of our own"), arguments).unwrap()
    }

    /// [`Brokers::run`] beside the test's own work.
    pub async fn run_async(&self, arguments: &[&str]) {
        let dir = self.dir.clone().expect("brokers of our own");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let run = move || local(&dir, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        tokio::task::spawn_blocking(run).await.unwrap();
    }

    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("brokers of our own")
    }

    pub fn config(&self) -> LogConfig {
        LogConfig { kafka: Some(self.bootstrap.clone()), ..LogConfig::default() }
    }

    pub fn log(&self) -> Arc<dyn Log> {
        self.config().open(Path::new(".")).unwrap()
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir {
            if std::thread::panicking() && std::env::var_os("KAFKA_KEEP").is_some() {
                println!("the brokers are left running in {}", dir.display());
                return;
            }
            local(dir, &["down", "--wipe"]).ok();
        }
    }
}

fn local(dir: &Path, arguments: &[&str]) -> Result<String, String> {
    let out = Command::new(root().join("infra/kafka/local"))
        .args(arguments.first())
        .args(["--dir".as_ref(), dir.as_os_str()])
        .args(arguments.iter().skip(1))
        .env_remove("KAFKA_BOOTSTRAP")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    Err(format!("infra/kafka/local {}: {}", arguments.join(" "), String::from_utf8_lossy(&out.stderr).trim()))
}

/// What streams of this run end with.
pub fn run() -> String {
    format!("{}-{}", std::process::id(), forestsync_runtime::clock::now().as_millisecond())
}

pub fn stream(name: &str) -> StreamName {
    name.parse().unwrap()
}

#[allow(clippy::needless_pass_by_value, reason = "so that it can be mapped over what is borrowed and what is not")]
pub fn value(text: impl ToString) -> NewRecord {
    NewRecord::new(None::<Vec<u8>>, text.to_string())
}

/// Everything that is there now.
pub async fn read_all(log: &dyn Log, stream: &StreamName) -> Vec<Record> {
    let mut reader = log.reader(stream, 0).await.unwrap();
    let mut records = Vec::new();
    loop {
        match reader.poll(500).await {
            Ok(some) if some.is_empty() => return records,
            Ok(some) => records.extend(some),
            Err(error) => panic!("reading {stream} failed: {error}"),
        }
    }
}

/// Waits for a condition.
pub async fn until<T>(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + limit;
    loop {
        if let Some(met) = condition().await {
            return met;
        }
        assert!(tokio::time::Instant::now() < end, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
