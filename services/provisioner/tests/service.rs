//! The service's configuration file: what is accepted, and what is said about the rest.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use forestsync_host::{Loaded, Service as _, StartError};
use forestsync_provisioner::service::ProvisionerService;

fn load(document: &str, secrets: &[&str]) -> Result<Loaded<ProvisionerService>, StartError> {
    let folder = tempfile::tempdir().unwrap();
    for secret in secrets {
        std::fs::write(folder.path().join(secret), "secret-word\n").unwrap();
    }
    let path = folder.path().join("provisioner.toml");
    std::fs::write(&path, document).unwrap();
    ProvisionerService::load(&path)
}

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/examples/provisioner.toml");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_example_is_accepted_and_its_secret_asked_for() {
    let loaded = load(&example(), &["contoso-secret"]).unwrap();
    assert_eq!(loaded.own.group(), "provisioner");
    assert!(!format!("{loaded:?}").contains("secret-word"));
    let missing = load(&example(), &[]).unwrap_err();
    assert!(matches!(missing, StartError::Unusable { .. }), "{missing}");
    assert!(missing.to_string().contains("configurations.contoso.tenant.client_secret"), "{missing}");
}

#[test]
fn an_application_for_extensions_has_both_ids() {
    let client = "client_id = \"2b9d4e60-81c7-4f35-a0be-6d1f7c92e483\"";
    let with = |lines: &str| load(&example().replace(client, &format!("{client}\n{lines}")), &["contoso-secret"]);
    let app = "extension_app = \"2b9d4e60-81c7-4f35-a0be-6d1f7c92e483\"";
    let object = "extension_app_object = \"5d0c2b1e-7f3a-4c69-8a51-0f9e6b7c8d21\"";
    with(&format!("{app}\n{object}")).unwrap();
    for (lines, key) in [
        (app.to_owned(), "extension_app_object"),
        (object.to_owned(), "extension_app"),
        (format!("{app}\nextension_app_object = \"forestsync\""), "extension_app_object"),
        (format!("{object}\nextension_app = \"2b9d4e60-81c7-4f35-a0be-6d1f7c92e48\""), "extension_app"),
    ] {
        let said = with(&lines).unwrap_err().to_string();
        assert!(said.contains(&format!("configurations.contoso.tenant.{key}")), "{lines}: {said}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_key() {
    let common = example().replace("\"contoso.onmicrosoft.com\"", "\"common\"").replace("share = 0.2", "share = 20");
    let said = load(&common, &["contoso-secret"]).unwrap_err().to_string();
    assert!(said.contains("configurations.contoso.tenant.tenant_id"), "{said}");
    assert!(said.contains("configurations.contoso.delete_guard.share"), "{said}");
    let none = load("data = \"d\"\n[log]\ndirectory = \"log\"\n", &[]).unwrap_err().to_string();
    assert!(none.contains("no configuration is named"), "{none}");
}
