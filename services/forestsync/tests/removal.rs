//! `remove-configuration`: the preview, what is refused, and what is left in the end.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Lab, shown};
use serde_json::Value;

fn count(preview: &Value, class: &str, action: &str) -> usize {
    let counts = preview["preview"]["plan"]["counts"].as_array().unwrap();
    let found = counts.iter().find(|c| c["class"] == class && c["action"] == action);
    found.map_or(0, |c| c["count"].as_u64().unwrap() as usize)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_released_and_taken_up_again() {
    let lab = Lab::start().await;
    let never = lab.run(&["remove-configuration", "--objects", "release"]).await;
    assert_eq!(never.status.code(), Some(2), "{}", shown(&never, &lab.path()));
    assert_eq!(lab.run(&["run", "--until-idle"]).await.status.code(), Some(0));
    let before = lab.tenant.dump();
    lab.tenant.control().reset_counters();

    // nothing is done by a preview, or without somebody who means it
    let (code, preview) = lab.json(&["remove-configuration", "--objects", "delete", "--dry-run", "--json"]).await;
    assert_eq!((code, &preview["decided"]), (0, &Value::Bool(false)));
    let wanted = (before.users.len(), before.groups.len());
    assert_eq!((count(&preview, "user", "delete"), count(&preview, "group", "delete")), wanted);
    assert_eq!(preview["preview"]["restorable"], before.users.len());
    let (code, preview) = lab.json(&["remove-configuration", "--objects", "release", "--json"]).await;
    assert_eq!((code, &preview["decided"]), (3, &Value::Bool(false)));
    assert_eq!((count(&preview, "user", "let_go"), count(&preview, "group", "let_go")), wanted);
    for wrong in [
        &["--confirm", "other", "--reason", "r"][..],
        &["--confirm", "lab"],
        &["--confirm", "lab", "--reason", " "],
        &["--confirm", "lab", "--dry-run"],
    ] {
        let refused = lab.run(&[&["remove-configuration", "--objects", "delete"][..], wrong].concat()).await;
        assert_eq!(refused.status.code(), Some(2), "{}", shown(&refused, &lab.path()));
    }
    let (_, status) = lab.json(&["status", "--json"]).await;
    assert_eq!(status["removed"], Value::Null);
    assert_eq!((lab.tenant.counters().writes, lab.tenant.dump()), (0, before.clone()));

    let go = ["remove-configuration", "--objects", "release", "--confirm", "lab", "--reason", "ticket 4712", "--json"];
    let (code, done) = lab.json(&go).await;
    assert_eq!((code, done["standing"]["released"].as_u64()), (0, Some((wanted.0 + wanted.1) as u64)), "{done}");
    assert_eq!((lab.tenant.counters().writes, lab.tenant.dump()), (0, before.clone()));
    let (code, status) = lab.json(&["status", "--json"]).await;
    assert_eq!(
        (code, &status["removed"]["is_done"], &status["removed"]["objects"]),
        (0, &true.into(), &"release".into())
    );
    assert_eq!(status["removed"]["reason"], "ticket 4712");
    // once more there is nothing to do
    let (code, again) = lab.json(&go).await;
    assert_eq!((code, count(&again, "user", "let_go")), (0, 0), "{again}");

    // it does not come back by itself
    for command in [&["run", "--until-idle"][..], &["run"], &["activate"]] {
        let refused = lab.run(command).await;
        let said = shown(&refused, &lab.path());
        assert!(said.starts_with("exit 2\n") && said.contains("activate --again"), "{said}");
    }
    let (_, plan) = lab.json(&["plan", "--json"]).await;
    assert_eq!(plan["steps"].as_array().map(Vec::len), Some(0), "{plan}");
    assert_eq!(lab.run(&["activate", "--again"]).await.status.code(), Some(0));
    assert_eq!(lab.run(&["run", "--until-idle"]).await.status.code(), Some(0));
    assert_eq!((lab.tenant.counters().operations.get("user.create"), lab.tenant.dump()), (None, before));
    let (_, status) = lab.json(&["status", "--json"]).await;
    assert_eq!(status["removed"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_deleted_whatever_the_guard_says_and_restored() {
    let lab = Lab::start().await;
    assert_eq!(lab.run(&["run", "--until-idle"]).await.status.code(), Some(0));
    let before = lab.tenant.dump();
    let go = ["remove-configuration", "--objects", "delete", "--confirm", "lab", "--reason", "ticket 4712"];
    let done = lab.run(&go).await;
    let said = shown(&done, &lab.path());
    assert!(said.starts_with("exit 0\n") && said.contains("configuration lab is removed"), "{said}");
    let dump = lab.tenant.dump();
    assert_eq!((dump.users.len(), dump.groups.len(), dump.deleted_users.len()), (0, 0, before.users.len()));
    let log = lab.run(&["log", "tail", "control.lab", "--from", "0"]).await;
    assert!(shown(&log, &lab.path()).contains("ticket 4712"));
    assert_eq!(lab.run(&["activate", "--again"]).await.status.code(), Some(0));
    assert_eq!(lab.run(&["run", "--until-idle"]).await.status.code(), Some(0));
    let ids = |dump: &forestsync_practice::tenant::TenantDump| {
        let mut ids: Vec<String> = dump.users.iter().map(|user| user.id.clone()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&lab.tenant.dump()), ids(&before));
}
