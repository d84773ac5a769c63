//! Microsoft's own Python SDK against the practice tenant: a client that nobody here wrote finds what it expects of Graph.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use forestsync_practice::tls::PrivateCa;
use forestsync_tests::peers;
use forestsync_tests::suite;
use serde_json::json;
use tokio::process::Command;

const PEER: &str = "Microsoft Graph SDK for Python";

/// What the SDK sends that Graph does not know and does not mind: it spells `dependsOn` in another way.
const STRANGE: &str = "request-unknown-property";

const STEPS: [&str; 5] = ["users", "groups", "batch", "errors", "delta"];

/// The Python of `tests/sdk/install`.
fn python() -> PathBuf {
    let target = peers::binary("forestsync").parent().and_then(Path::parent).unwrap().to_owned();
    target.join("sdk/bin/python")
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_writes_batches_and_follows() {
    if !python().exists() {
        return peers::skipped(PEER, "tests/sdk/install was not run, or could not install it");
    }
    let folder = tempfile::tempdir_in(peers::scratch()).unwrap();
    let ca = PrivateCa::new().unwrap();
    let (secret_file, ca_file) = (folder.path().join("client-secret"), folder.path().join("ca.pem"));
    let (record, report) = (folder.path().join("sdk.jsonl"), folder.path().join("report.json"));
    let domains = ["emea.example".to_owned()];
    let (tenant, access) = suite::tenant(&ca, &domains, Some(record.clone())).await;
    std::fs::write(&secret_file, &access.client_secret).unwrap();
    std::fs::write(&ca_file, &access.ca).unwrap();
    let facts = json!({
        "tenant_id": access.tenant_id,
        "client_id": access.client_id,
        "client_secret_file": secret_file,
        "authority": access.authority,
        "graph": access.graph,
        "ca_file": ca_file,
        "domains": domains,
    });
    std::fs::write(&report, facts.to_string()).unwrap();

    let script = peers::workspace().join("tests/sdk/client.py");
    let out = Command::new(python()).arg("-B").arg(script).arg(&report).kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    println!("{said}");
    let steps: Vec<&str> = said.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert_eq!(steps, STEPS);
    let dump = tenant.dump();
    assert_eq!((dump.users.len(), dump.deleted_users.len()), (43, 2));
    assert_eq!((dump.groups.len(), dump.deleted_groups.len()), (2, 1));
    tenant.stop().await.unwrap();
    peers::check_exchanges_but(&[record], &[STRANGE]);
    peers::ran(PEER);
}
