//! The service's configuration file: what is accepted, and what is said about the rest.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use forestsync_collector::service::CollectorService;
use forestsync_host::{Loaded, Service as _, StartError};

fn load(document: &str, secrets: &[&str]) -> Result<Loaded<CollectorService>, StartError> {
    let folder = tempfile::tempdir().unwrap();
    for secret in secrets {
        std::fs::write(folder.path().join(secret), "secret-word\n").unwrap();
    }
    let path = folder.path().join("collector.toml");
    std::fs::write(&path, document).unwrap();
    CollectorService::load(&path)
}

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/examples/collector.toml");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_example_is_accepted_and_its_secret_asked_for() {
    let loaded = load(&example(), &["emea-password"]).unwrap();
    assert_eq!(loaded.own.group(), "collector.emea");
    assert_eq!(loaded.service.listen, Some("127.0.0.1:9464".parse().unwrap()));
    assert!(!format!("{loaded:?}").contains("secret-word"));
    let missing = load(&example(), &[]).unwrap_err();
    assert!(matches!(missing, StartError::Unusable { .. }), "{missing}");
    assert!(missing.to_string().contains("forest.password"), "{missing}");
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_key() {
    let scope = load(&(example() + "include = [\"OU=Staff,DC=emea,DC=example\"]\n"), &["emea-password"]).unwrap_err();
    assert!(scope.to_string().contains("forest.include: a collector has no scope"), "{scope}");
    let nobody = load(&example().replace("\nbind =", "\n# bind ="), &["emea-password"]).unwrap_err();
    assert!(nobody.to_string().contains("forest.bind"), "{nobody}");
    let misspelt = load(&example().replace("listen =", "lisen ="), &["emea-password"]).unwrap_err();
    assert!(misspelt.to_string().contains("did you mean `listen`?"), "{misspelt}");
    let hasty = example().replace("log_format = \"json\"", "session_timeout = \"10ms\"");
    let hasty = load(&hasty, &["emea-password"]).unwrap_err();
    assert!(hasty.to_string().contains("service.session_timeout"), "{hasty}");
}
