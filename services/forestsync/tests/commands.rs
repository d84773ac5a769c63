//! The command as a person meets it: help, refusals, exit codes, and what it prints about a real run.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Lab, forestsync, shown};
use forestsync_log::{EmbeddedLog, Log as _, NewRecord};
use forestsync_schemas::ChangeRecord;
use serde_json::Value;

fn show(arguments: &[&str], folder: &Path) -> String {
    shown(&forestsync(arguments).current_dir(folder).output().unwrap(), folder)
}

#[test]
fn help_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("help", &["--help"][..]),
        ("help_demo", &["demo", "--help"]),
        ("help_run", &["run", "--help"]),
        ("help_check", &["check", "--help"]),
        ("help_status", &["status", "--help"]),
        ("help_sync_object", &["sync-object", "--help"]),
        ("help_log_tail", &["log", "tail", "--help"]),
        ("help_replay", &["replay", "--help"]),
        ("help_audit", &["audit", "--help"]),
        ("help_audit_object", &["audit", "object", "--help"]),
        ("help_state", &["state", "--help"]),
        ("help_diff", &["diff", "--help"]),
        ("help_practice_forest", &["practice", "forest", "--help"]),
        ("help_practice_tenant", &["practice", "tenant", "--help"]),
    ] {
        insta::assert_snapshot!(name, show(arguments, folder.path()));
    }
}

const LONELY: &str = r#"
configuration = "lonely"
[[forests]]
name = "emea"
controllers = [{ url = "ldaps://dc01.emea.example", address = "127.0.0.1:1" }]
bind = "svc@emea.example"
password_file = "emea-password"
domains = ["DC=emea,DC=example"]
[tenant]
tenant_id = "contoso.onmicrosoft.com"
client_id = "2b9d4e60-81c7-4f35-a0be-6d1f7c92e483"
client_secret_file = "client-secret"
cloud = { authority = "https://localhost:1", graph = "https://localhost:1" }
"#;

#[test]
fn what_cannot_be_done_is_said_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    insta::assert_snapshot!("no_configuration", show(&["status"], path));
    std::fs::write(path.join("forestsync.toml"), LONELY.replace("bind =", "bint =")).unwrap();
    insta::assert_snapshot!("misspelt_key", show(&["check"], path));
    std::fs::write(path.join("forestsync.toml"), LONELY).unwrap();
    insta::assert_snapshot!("missing_secrets", show(&["check"], path));
    insta::assert_snapshot!("run_without_secrets", show(&["run"], path));
    insta::assert_snapshot!("status_without_a_log", show(&["status"], path));
    insta::assert_snapshot!("replay_without_a_log", show(&["replay"], path));
    std::fs::write(path.join("shared.toml"), format!("{LONELY}[log]\ndirectory = \"log\"\n")).unwrap();
    insta::assert_snapshot!(
        "sync_object_with_a_shared_log",
        show(&["sync-object", "CN=ann,DC=emea,DC=example", "-c", "shared.toml"], path)
    );
    std::fs::write(path.join("emea-password"), "\n").unwrap();
    insta::assert_snapshot!("empty_password", show(&["run"], path));
    assert!(!path.join("data").exists(), "nothing was begun");
}

#[test]
fn activating_reads_no_secret_of_a_forest_or_the_tenant() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("forestsync.toml"), LONELY).unwrap();
    for _again in 0..2 {
        let output = forestsync(&["activate", "--json"]).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output, folder.path()));
        let activated: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(activated["revision"], 1);
    }
}

#[test]
fn check_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("forestsync.toml"), LONELY).unwrap();
    std::fs::write(path.join("emea-password"), "secret-word\n").unwrap();
    std::fs::write(path.join("client-secret"), "secret-word\n").unwrap();
    let output = forestsync(&["check", "--json"]).current_dir(path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let problems: Vec<&Value> = lines.iter().filter(|line| line["result"] == "problem").collect();
    assert_eq!(problems.len(), 2, "{lines:?}");
    assert!(problems.iter().all(|line| line["hint"].is_string()), "{lines:?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("secret-word"));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("secret-word"));
}

#[test]
fn an_unreachable_forest_ends_the_wait_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("forestsync.toml"), LONELY).unwrap();
    std::fs::write(path.join("emea-password"), "x\n").unwrap();
    std::fs::write(path.join("client-secret"), "x\n").unwrap();
    let output = forestsync(&["run", "--until-idle", "--timeout", "1s", "--json"]).current_dir(path).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output, path));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["ended"], "out_of_patience");
    assert!(summary["waited_for"].as_str().unwrap().contains("forest emea"), "{summary}");
}

#[test]
fn the_demo_shows_all_of_it_and_verifies_the_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let arguments =
        ["demo", "--users", "40", "--seed", "11", "--keep", "kept", "--record", "exchanges.jsonl", "--json"];
    let output = forestsync(&arguments).current_dir(path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output, path));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["verified"], true);
    assert!(summary["changes"].as_array().unwrap().len() >= 15);
    let users: u64 = summary["forests"].as_array().unwrap().iter().map(|f| f["users"].as_u64().unwrap()).sum();
    assert_eq!(summary["tenant_users"], users);
    assert!(std::fs::read_to_string(path.join("exchanges.jsonl")).unwrap().lines().count() > 40);

    let status = forestsync(&["status", "-c", "kept/forestsync.toml", "--json"]).current_dir(path).output().unwrap();
    assert_eq!(status.status.code(), Some(0));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["memberships"]["desired"], summary["tenant_memberships"]);
    assert_eq!(status["memberships"]["provisioned"], summary["tenant_memberships"]);
    assert_eq!(status["lag"]["memberships_pending"], 0);
    let replay = forestsync(&["replay", "--verify", "-c", "kept/forestsync.toml"]).current_dir(path).output().unwrap();
    assert_eq!(replay.status.code(), Some(0), "{}", shown(&replay, path));
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_can_be_looked_at_from_all_sides() {
    let lab = Lab::start().await;
    let (code, checked) = lab.json(&["check", "--json"]).await;
    assert_eq!(code, 0, "{checked:#}");

    let (code, summary) = lab.json(&["run", "--until-idle", "--json"]).await;
    assert_eq!((code, &summary["ended"]), (0, &Value::from("idle")), "{summary:#}");
    assert_eq!(lab.tenant.dump().users.len(), 40);

    let (code, status) = lab.json(&["status", "--json"]).await;
    assert_eq!(code, 0, "{status:#}");
    assert_eq!(status["revision"], 1);
    assert_eq!(status["sources"][0]["state"], "following");
    assert_eq!(status["sources"][0]["naming_context"], "DC=emea,DC=example");
    let users = &status["classes"][0];
    assert_eq!((&users["desired"], &users["provisioned"]), (&Value::from(40), &Value::from(40)), "{status:#}");
    assert_eq!(status["not_writable"]["objects"]["contact"], 3);
    assert_eq!(status["lag"]["objects_pending"], 0);

    let (_, streams) = lab.json(&["log", "list", "--json"]).await;
    let names: Vec<&str> = streams.as_array().unwrap().iter().map(|s| s["stream"].as_str().unwrap()).collect();
    let all =
        ["changes.emea.emea.example", "control.lab", "decisions.lab", "desired.lab", "outcomes.lab", "tenant.lab"];
    assert_eq!(names, all);
    let tail = lab.run(&["log", "tail", "changes.emea.emea.example", "--from", "0"]).await;
    let text = String::from_utf8(tail.stdout).unwrap();
    assert_eq!(text.lines().count() as u64, streams[0]["records"].as_u64().unwrap());
    assert!(text.lines().next().unwrap().contains("SnapshotStarted"), "{text}");
    let only = lab.run(&["log", "tail", "outcomes.lab", "--type", "ObjectProvisioned", "--last", "3", "--json"]).await;
    let events: Vec<Value> =
        String::from_utf8(only.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events.len(), 3);
    let attributes = events[0]["event"]["data"]["attributes"].as_object().unwrap();
    assert!(attributes.values().all(Value::is_null), "no values unless asked for");

    let (code, replayed) = lab.json(&["replay", "--verify", "--json"]).await;
    assert_eq!((code, &replayed["agrees"]), (0, &Value::from(true)), "{replayed:#}");

    let writes = lab.tenant.counters().writes;
    let (code, again) = lab.json(&["run", "--until-idle", "--json"]).await;
    assert_eq!(code, 0, "{again:#}");
    assert_eq!(again["status"]["revision"], 1, "the same file is the same revision");
    assert_eq!(lab.tenant.counters().writes, writes, "a second run has nothing to write");
    lab.forest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_on_the_same_data_is_refused() {
    let lab = Lab::start().await;
    let mut command = forestsync(&["run"]);
    command.current_dir(lab.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = Running(command.spawn().unwrap());
    // everything being in the tenant means that the first one is at work
    while lab.tenant.dump().users.len() < 40 {
        assert!(first.0.try_wait().unwrap().is_none(), "the first run ended");
        tokio::task::yield_now().await;
    }
    let second = lab.run(&["run", "--until-idle"]).await;
    assert_eq!(second.status.code(), Some(5), "{}", shown(&second, &lab.path()));
    assert!(String::from_utf8_lossy(&second.stderr).contains(&format!("process {}", first.0.id())));
    let (code, _) = lab.json(&["status", "--json"]).await;
    assert_eq!(code, 0, "status works beside a running process");
    let replay = lab.run(&["replay", "--verify"]).await;
    assert_eq!(replay.status.code(), Some(5));

    let signalled = Command::new("kill").arg(first.0.id().to_string()).status().unwrap();
    assert!(signalled.success());
    let ended = tokio::task::spawn_blocking(move || first.0.wait().unwrap()).await.unwrap();
    assert_eq!(ended.code(), Some(0), "SIGTERM is a good end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_serves_one_configuration_and_keeps_its_domains() {
    let lab = Lab::start().await;
    let (code, summary) = lab.json(&["run", "--until-idle", "--json"]).await;
    assert_eq!(code, 0, "{summary:#}");
    let writes = lab.tenant.counters().writes;
    let file = lab.path().join("forestsync.toml");
    let document = std::fs::read_to_string(&file).unwrap();

    std::fs::write(&file, document.replace("configuration = \"lab\"", "configuration = \"other\"")).unwrap();
    let refused = lab.run(&["run", "--until-idle"]).await;
    assert_eq!(refused.status.code(), Some(2), "{}", shown(&refused, &lab.path()));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("configuration lab") && said.contains("folder of its own"), "{said}");

    // what an earlier configuration with another domain left
    let log = EmbeddedLog::open(lab.path().join("data/log")).unwrap();
    let here = "changes.emea.emea.example".parse().unwrap();
    let first = log.reader(&here, 0).await.unwrap().poll(1).await.unwrap().remove(0);
    let mut record = ChangeRecord::decode(&first.value).unwrap();
    record.context.naming_context = "DC=asia,DC=example".parse().unwrap();
    let mut writer = log.writer(&"changes.emea.asia.example".parse().unwrap()).await.unwrap();
    writer.append(vec![NewRecord::new(None::<Vec<u8>>, record.encode().unwrap())]).await.unwrap();
    drop(writer);
    std::fs::write(&file, &document).unwrap();
    let refused = lab.run(&["run", "--until-idle"]).await;
    assert_eq!(refused.status.code(), Some(2), "{}", shown(&refused, &lab.path()));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("DC=asia,DC=example; DC=emea,DC=example"), "{said}");

    let named = document.replace("name = \"emea\"", "name = \"emea\"\ndomains = [\"DC=emea,DC=example\"]");
    std::fs::write(&file, named).unwrap();
    let (code, summary) = lab.json(&["run", "--until-idle", "--json"]).await;
    assert_eq!(code, 0, "{summary:#}");
    assert_eq!(lab.tenant.counters().writes, writes, "nothing was written because of any of it");
}
