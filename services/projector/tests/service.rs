//! The service's configuration file: what is accepted, and what is said about the rest.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use forestsync_host::{Loaded, Service as _, StartError};
use forestsync_projector::service::ProjectorService;

fn load(document: &str, secrets: &[&str]) -> Result<Loaded<ProjectorService>, StartError> {
    let folder = tempfile::tempdir().unwrap();
    for secret in secrets {
        std::fs::write(folder.path().join(secret), "secret-word\n").unwrap();
    }
    let path = folder.path().join("projector.toml");
    std::fs::write(&path, document).unwrap();
    ProjectorService::load(&path)
}

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/examples/projector.toml");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_example_is_accepted() {
    let loaded = load(&example(), &[]).unwrap();
    assert_eq!((loaded.own.group().as_str(), loaded.log.kafka.is_some()), ("projector", true));
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_key() {
    let named = example().replace("# configurations = [\"contoso\"]", "configurations = [\"Contoso GmbH\"] #");
    let named = load(&named, &[]).unwrap_err();
    assert!(named.to_string().contains("configurations: \"Contoso GmbH\""), "{named}");
    let tenant = load(&(example() + "[tenant]\nclient_id = \"x\"\n"), &[]).unwrap_err();
    assert!(matches!(tenant, StartError::Settings(_)), "a projector knows no tenant: {tenant}");
}
