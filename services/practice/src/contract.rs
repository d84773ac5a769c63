//! Whether recorded exchanges are as Microsoft describes Graph: for suites whose tenant records them.
//!
//! The description and its checker are not part of the project. Who has them keeps them beside it, in `../shared/graph`;
//! for everybody else nothing is checked, and that is said.
//!
//! A check costs the start of an interpreter, so one call takes many records. Suites that have no end of their own, such as
//! those of single tests, write where [`record_file`] says, and `tests/run` checks all of that at once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};

/// The folder that `tests/run` checks at its end; without it nothing is recorded for that.
const FOLDER: &str = "FORESTSYNC_EXCHANGES";

/// Violations that are told.
const TOLD: usize = 40;

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// All is as described; how much it was.
    Kept(String),
    /// Something is not, with the first violations.
    Broken(String),
    /// The description is not beside the project.
    NotHere,
    /// Python, or its package jsonschema, is not on this machine.
    NoPython,
}

impl Checked {
    /// What is said about it where all is well, or nothing could be checked.
    pub fn line(&self) -> String {
        match self {
            Self::Kept(said) => format!("exchanges that keep the contract: {said}"),
            Self::Broken(said) => format!("exchanges break the contract: {said}"),
            Self::NotHere => "skipped: exchanges were not checked, for the description of Graph is not here".into(),
            Self::NoPython => "skipped: exchanges were not checked, for python's jsonschema is not here".into(),
        }
    }

    /// The same; panics where something is not as described.
    ///
    /// # Panics
    ///
    /// With the first violations.
    #[must_use]
    pub fn expect_kept(self) -> String {
        assert!(!matches!(self, Self::Broken(_)), "{}", self.line());
        self.line()
    }
}

/// Checks these records, but for violations of the kinds in `ignore`.
pub fn check(records: &[PathBuf], ignore: &[&str]) -> Result<Checked> {
    let checker = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/graph/check_exchange.py");
    if !checker.exists() {
        return Ok(Checked::NotHere);
    }
    let has_schema = |python: &&str| {
        Command::new(python).args(["-c", "import jsonschema"]).output().is_ok_and(|out| out.status.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_schema) else {
        return Ok(Checked::NoPython);
    };
    if records.is_empty() {
        return Ok(Checked::Kept("none".to_owned()));
    }
    let ignore = ignore.iter().flat_map(|kind| ["--ignore", kind]);
    let outcome = Command::new(python).arg(checker).args(ignore).args(records).output();
    let outcome = outcome.context("the checker of exchanges does not start")?;
    let said = String::from_utf8_lossy(&outcome.stdout);
    let said = said.lines().take(TOLD).collect::<Vec<_>>();
    if outcome.status.success() {
        return Ok(Checked::Kept(said.join(", ")));
    }
    Ok(Checked::Broken(format!("{}\n{}", said.join("\n"), String::from_utf8_lossy(&outcome.stderr))))
}

/// Where a tenant of a test records its exchanges, so that `tests/run` checks them; nowhere without `tests/run`. `ignore` has
/// the kinds of violations that the test is there to cause.
pub fn record_file(ignore: &[&str]) -> Option<PathBuf> {
    static RECORDS: AtomicU64 = AtomicU64::new(0);
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    let folder = folder.join(if ignore.is_empty() { "all".to_owned() } else { ignore.join("+") });
    if let Err(error) = std::fs::create_dir_all(&folder) {
        tracing::error!(error = %error, folder = %folder.display(), "exchanges are not recorded");
        return None;
    }
    let suite = std::env::current_exe().ok()?;
    let suite = suite.file_stem()?.to_string_lossy().into_owned();
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test").replace("::", ".");
    let number = RECORDS.fetch_add(1, Ordering::Relaxed);
    Some(folder.join(format!("{suite}-{}-{number}-{test}.jsonl", std::process::id())))
}
