//! Which real peers there are, and where things lie.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use forestsync_practice::contract::{self, Checked};

const DESCRIPTION: &str = "the description of Graph";

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
pub fn check_exchanges(records: &[PathBuf]) {
    check_exchanges_but(records, &[]);
}

/// The same, but for these kinds of violations.
pub fn check_exchanges_but(records: &[PathBuf], ignore: &[&str]) {
    if records.is_empty() {
        return;
    }
    match contract::check(records, ignore).unwrap() {
        Checked::NoPython => skipped(DESCRIPTION, "the Python package jsonschema is not here"),
        skipped @ Checked::NotHere => note(&skipped.line()),
        checked => {
            println!("{}", checked.expect_kept());
            ran(DESCRIPTION);
        }
    }
}
