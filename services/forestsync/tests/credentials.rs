//! What the environment gives a process to prove itself with, and what `check` says of permissions.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Lab, shown};
use forestsync_practice::identity::TokenIssuer;
use forestsync_runtime::clock;
use jiff::SignedDuration;
use serde_json::Value;

/// Writes other lines in the place of those with these keys.
fn rewrite(lab: &Lab, keys: &[&str], lines: &str) {
    let file = lab.path().join("forestsync.toml");
    let document = std::fs::read_to_string(&file).unwrap();
    let is_key = |line: &&str| !keys.iter().any(|key| line.starts_with(&format!("{key} =")));
    let kept: Vec<&str> = document.lines().filter(is_key).collect();
    // the table of the tenant is the last one
    std::fs::write(&file, kept.join("\n") + "\n" + lines).unwrap();
}

/// Runs until everything is in the tenant.
async fn everything_arrives(lab: &Lab, variables: &[(&str, &str)]) {
    let output = lab.run_with(&["run", "--until-idle", "--json"], variables).await;
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output, &lab.path()));
    assert_eq!(lab.tenant.dump().users.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_service_proves_itself_by_its_identity() {
    let lab = Lab::start().await;
    lab.tenant.control().set_secrets(Vec::new());
    let metadata = lab.tenant.metadata().await.unwrap();
    rewrite(&lab, &["client_secret_file", "client_id"], "credential = \"managed_identity\"\n");
    let endpoint = metadata.endpoint();
    let variables = [("IDENTITY_ENDPOINT", endpoint.as_str()), ("IDENTITY_HEADER", metadata.header())];
    everything_arrives(&lab, &variables).await;
    let wrong = lab.run_with(&["check"], &[variables[0], ("IDENTITY_HEADER", "planted-word")]).await;
    let said = shown(&wrong, &lab.path());
    assert!(said.contains("exit 1") && said.contains("The identity header is missing or wrong"), "{said}");
    assert!(!said.contains("planted-word"), "{said}");
    let half = lab.run_with(&["check"], &variables[..1]).await;
    let said = shown(&half, &lab.path());
    assert!(said.contains("the environment variable IDENTITY_HEADER is not set"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_proves_itself_by_what_its_cluster_puts_there() {
    let lab = Lab::start().await;
    let control = lab.tenant.control();
    control.set_secrets(Vec::new());
    let issuer = TokenIssuer::new("https://cluster.example").unwrap();
    let (subject, audience) = ("system:serviceaccount:sync:forestsync", "api://AzureADTokenExchange");
    control.set_federated_credentials(vec![issuer.credential(subject, audience)]);
    let token = issuer.token(subject, audience, clock::now(), SignedDuration::from_hours(1)).unwrap();
    let file = lab.path().join("workload-token");
    std::fs::write(&file, token).unwrap();

    let document = std::fs::read_to_string(lab.path().join("forestsync.toml")).unwrap();
    let value = |key: &str| {
        let line = document.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = ")).unwrap();
        line.trim_matches('"').to_owned()
    };
    let (tenant, client) = (value("tenant_id"), value("client_id"));
    rewrite(&lab, &["client_secret_file", "client_id", "tenant_id"], "credential = \"workload_identity\"\n");
    let variables = [
        ("AZURE_TENANT_ID", tenant.as_str()),
        ("AZURE_CLIENT_ID", client.as_str()),
        ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
        // the cloud that is written counts
        ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/"),
    ];
    let without = lab.run_with(&["check"], &variables[..2]).await;
    let said = shown(&without, &lab.path());
    assert!(said.contains("exit 1") && said.contains("AZURE_FEDERATED_TOKEN_FILE is not set"), "{said}");
    let without = lab.run_with(&["check"], &variables[2..]).await;
    let said = shown(&without, &lab.path());
    assert!(said.contains("exit 2") && said.contains("AZURE_CLIENT_ID is not set"), "{said}");
    everything_arrives(&lab, &variables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_lists_the_permissions_that_are_needed_and_those_that_are_missing() {
    let lab = Lab::start().await;
    let control = lab.tenant.control();
    let of_tenant = async |code: i32| {
        let (ended, lines) = lab.json(&["check", "--json"]).await;
        assert_eq!(ended, code, "{lines:#}");
        let lines = lines.as_array().unwrap().clone();
        move |check: &str| -> Option<Value> { lines.iter().find(|line| line["check"] == check).cloned() }
    };
    let line = of_tenant(0).await;
    let least = line("least permissions").unwrap();
    let needed = "User.ReadWrite.All, Group.ReadWrite.All, Domain.Read.All, Organization.Read.All";
    assert!(least["detail"].as_str().unwrap().starts_with(needed), "{least}");
    assert_eq!(line("permission to define directory extensions"), None, "not in use");

    control.revoke_permission("Group.ReadWrite.All", true);
    control.revoke_permission("Application.ReadWrite.All", true);
    let ids = "extension_app = \"2b9d4e60-81c7-4f35-a0be-6d1f7c92e483\"\n\
               extension_app_object = \"5d0c2b1e-7f3a-4c69-8a51-0f9e6b7c8d21\"\n";
    rewrite(&lab, &[], ids);
    let line = of_tenant(1).await;
    for (what, permission) in [
        ("permission to write groups", "Group.ReadWrite.All"),
        ("permission to define directory extensions", "Application.ReadWrite.OwnedBy"),
    ] {
        let missing = line(what).unwrap();
        assert_eq!(missing["result"], "problem", "{missing}");
        assert!(missing["detail"].as_str().unwrap().starts_with(&format!("{permission} is missing")), "{missing}");
        assert!(missing["hint"].as_str().unwrap().contains(permission), "{missing}");
    }
    assert_eq!(line("permission to write users").unwrap()["result"], "ok");
    let least = line("least permissions").unwrap();
    assert!(least["detail"].as_str().unwrap().contains("Application.ReadWrite.OwnedBy"), "{least}");
    let text = lab.run(&["check"]).await;
    assert!(shown(&text, &lab.path()).contains("problem  permission to write groups: Group.ReadWrite.All is missing"));
}
