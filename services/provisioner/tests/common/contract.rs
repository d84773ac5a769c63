//! Whether exchanges are as Microsoft describes Graph.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

use std::path::{Path, PathBuf};

/// Checks exchanges against Microsoft's description of Graph, for those who have it beside the project.
pub fn keep_contract(records: &[PathBuf], ignore: &[&str]) {
    let checker = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/graph/check_exchange.py");
    let has_schema = |python: &&str| {
        std::process::Command::new(python).args(["-c", "import jsonschema"]).output().is_ok_and(|o| o.status.success())
    };
    let python = ["python3", "/usr/bin/python3"].into_iter().find(has_schema).filter(|_| checker.exists());
    let Some(python) = python else {
        return println!("skipped: the exchange checker or python's jsonschema is not here");
    };
    if records.is_empty() {
        return;
    }
    let ignore = ignore.iter().flat_map(|kind| ["--ignore", kind]);
    let outcome = std::process::Command::new(python).arg(checker).args(ignore).args(records).output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout);
    let said = said.lines().take(40).collect::<Vec<_>>().join("\n");
    assert!(outcome.status.success(), "{said}{}", String::from_utf8_lossy(&outcome.stderr));
    println!("exchanges that keep the contract: {said}");
}
