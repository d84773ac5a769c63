//! Which real peers there are, and where things lie.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A folder for what tests leave on disk while they run: beside the test binaries, so that it is never committed.
pub fn scratch() -> PathBuf {
    let folder = binary("forestsync").parent().unwrap().join("scratch");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A binary of the workspace, built beside this test.
pub fn binary(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder.join(name)
}

/// Whether a missing real peer is a failure.
fn required() -> bool {
    std::env::var_os("FORESTSYNC_REQUIRE_PEERS").is_some_and(|v| v != "0")
}

/// Notes a line for the end of the whole run, where `tests/run` prints it.
fn note(line: &str) {
    println!("{line}");
    if let Some(file) = std::env::var_os("FORESTSYNC_PEERS_FILE") {
        let mut file = OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

/// Says that a real peer takes part.
pub fn ran(peer: &str) {
    note(&format!("{peer}: ran"));
}

/// Says that a real peer is missing; panics where it is required.
pub fn skipped(peer: &str, why: &str) {
    note(&format!("{peer}: SKIPPED: {why}"));
    assert!(!required(), "FORESTSYNC_REQUIRE_PEERS is set and {peer} is missing: {why}");
}

/// Checks recorded exchanges against Microsoft's description of Graph, for those who have it beside the project.
pub fn check_exchanges(record: &Path) {
    check_exchanges_but(record, &[]);
}

/// The same, but for these kinds of violations.
pub fn check_exchanges_but(record: &Path, ignore: &[&str]) {
    let checker = workspace().join("../shared/graph/check_exchange.py");
    if !checker.exists() {
        return note("the description of Graph: not beside the project, so recorded exchanges were not checked");
    }
    let python = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        Command::new(python).args(["-c", "import jsonschema"]).output().is_ok_and(|out| out.status.success())
    });
    let Some(python) = python else {
        return skipped("the description of Graph", "the Python package jsonschema is not here");
    };
    let ignore = ignore.iter().flat_map(|kind| ["--ignore", kind]);
    let out = Command::new(python).arg(checker).args(ignore).arg(record).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{}: {}", record.display(), said.lines().take(40).collect::<Vec<_>>().join("\n"));
    println!("{}: {}", record.display(), said.replace('\n', " "));
    ran("the description of Graph");
}
