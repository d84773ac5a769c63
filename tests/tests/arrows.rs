//! The arrows between the crates, and which crate may name which library.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may use of this workspace, tests of its own aside.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("schemas", &["domain"]),
    ("rules", &["domain", "schemas"]),
    ("log", &["runtime"]),
    ("runtime", &[]),
    ("host", &["log", "runtime"]),
    ("collector", &["domain", "host", "log", "runtime", "schemas"]),
    ("projector", &["domain", "host", "log", "rules", "runtime", "schemas"]),
    ("provisioner", &["domain", "host", "log", "rules", "runtime", "schemas"]),
    ("practice", &["domain"]),
];

/// Libraries that only these crates may name.
const OWNERS: &[(&str, &[&str])] = &[
    ("rdkafka", &["log"]),
    ("sled", &["projector", "provisioner"]),
    ("bincode", &["projector", "provisioner"]),
    ("ldap3", &["collector"]),
    ("libgssapi", &["collector"]),
    ("hickory-resolver", &["collector"]),
    ("ldap3_proto", &["practice"]),
    ("reqwest", &["provisioner"]),
    ("lettre", &["provisioner"]),
    ("azure_identity", &["provisioner"]),
    ("axum", &["host", "practice"]),
    ("metrics-exporter-prometheus", &["host"]),
    ("anyhow", &["forestsync", "practice"]),
];

/// Crates without I/O, clock and runtime, and what they must not name.
const PURE: &[&str] = &["domain", "schemas", "rules"];
const IMPURE: &[&str] = &["tokio", "tracing", "reqwest", "sled", "ldap3", "rand", "tempfile", "async-trait"];

fn direct() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let short = |name: &str| name.strip_prefix("forestsync-").unwrap_or(name).to_owned();
    let normal = |d: &&cargo_metadata::Dependency| d.kind != DependencyKind::Development;
    metadata
        .packages
        .iter()
        .map(|p| (short(&p.name), p.dependencies.iter().filter(normal).map(|d| short(&d.name)).collect()))
        .collect()
}

#[test]
fn arrows_point_one_way() {
    let direct = direct();
    let ours: BTreeSet<&String> = direct.keys().collect();
    for (krate, allowed) in ARROWS {
        let uses: Vec<&String> = direct[*krate].iter().filter(|d| ours.contains(d)).collect();
        for used in uses {
            assert!(allowed.contains(&used.as_str()), "{krate} must not use {used}; see ARCHITECTURE.md");
        }
    }
}

#[test]
fn each_library_has_its_owner() {
    for (krate, dependencies) in direct() {
        if krate == "tests" {
            continue;
        }
        for (library, owners) in OWNERS {
            let named = dependencies.contains(*library);
            assert!(!named || owners.contains(&krate.as_str()), "{krate} must not name {library}; see ARCHITECTURE.md");
        }
        if PURE.contains(&krate.as_str()) {
            let impure: Vec<_> = dependencies.iter().filter(|d| IMPURE.contains(&d.as_str())).collect();
            assert!(impure.is_empty(), "{krate} is pure and names {impure:?}");
        }
    }
}

#[test]
fn sled_stays_behind_one_module_of_each_service() {
    let root = forestsync_tests::peers::workspace();
    for service in ["projector", "provisioner"] {
        let mut folders = vec![root.join("services").join(service).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let of_store = path.components().any(|c| c.as_os_str() == "store" || c.as_os_str() == "store.rs");
                let names = std::fs::read_to_string(&path).unwrap().contains("sled::");
                assert!(of_store || !names, "{} names sled outside the store module", path.display());
            }
        }
    }
}
