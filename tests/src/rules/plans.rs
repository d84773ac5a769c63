//! What would be done, and that it is what is done then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Show, Stage, common_name, text};
use crate::{suite, wait};

/// The steps of a plan: action, and name of the object.
fn steps(plan: &Value) -> Vec<(&str, &str)> {
    let steps = plan["steps"].as_array().unwrap().iter().filter_map(Value::as_object);
    steps.map(|step| (text(step, "action"), common_name(text(step, "name")))).collect()
}

/// A changed configuration is planned, found to be what was wanted, and put into force.
pub async fn changed_configuration(stage: &mut Stage) {
    let (ou, inner) = ("OU=Planned", "OU=Inner,OU=Planned");
    stage.add_containers(0, &[ou, inner]).await;
    stage.add_user(0, "kim", ou, &[]).await;
    stage.add_user(0, "lea", inner, &[]).await;
    let mut show = stage.open(&[stage.source(0, &[ou], &[])], "").await;
    show.people("those of the container", &["kim", "lea"]).await;
    assert_eq!(show.pipeline.json(&["plan"])["steps"], json!([]), "beside the running process");

    let unchanged = std::fs::read_to_string(show.pipeline.config()).unwrap();
    let rest = format!(
        "[[flow.rules]]\nclass = \"user\"\ntarget = \"jobTitle\"\nconstant = \"Planned\"\n{}",
        suite::WIDE_GUARD
    );
    let access = show.access.clone();
    show.pipeline.configure(&[stage.source(0, &[ou], &[inner])], &access, suite::AT_ONCE, &rest);
    let changed = show.pipeline.folder().join("changed.toml");
    std::fs::rename(show.pipeline.config(), &changed).unwrap();
    std::fs::write(show.pipeline.config(), unchanged).unwrap();
    show.tenant.control().reset_counters();
    let plan = show.pipeline.json(&["plan", "--changed", changed.to_str().unwrap()]);
    assert_eq!(show.tenant.counters().writes, 0, "a plan writes nothing");
    assert_eq!(steps(&plan), [("update", "kim"), ("delete", "lea")], "{plan}");
    assert_eq!(plan["steps"][0]["changes"], json!({"jobTitle": {"after": "Planned"}}));
    assert_eq!((show.deleted().len(), plan["holds"].clone()), (0, json!([])));

    show.pipeline.stop().await;
    let kept = keep(&show, &["--changed", changed.to_str().unwrap()]);
    std::fs::rename(&changed, show.pipeline.config()).unwrap();
    show.tenant.control().reset_counters();
    let (code, applied) = apply(&show, &kept);
    assert_eq!((code, &applied["missing"], &applied["unplanned"]), (Some(0), &json!([]), &json!([])), "{applied}");
    assert_eq!(applied["done"]["steps"], plan["steps"], "what was done is what was planned");
    let counters = show.tenant.counters();
    let operations: BTreeMap<&str, u64> =
        counters.operations.iter().map(|(what, count)| (what.as_str(), *count)).collect();
    assert_eq!(operations, BTreeMap::from([("user.delete", 1), ("user.update", 1)]), "and nothing else");
    assert_eq!(counters.writes, 2);
    show.pipeline.start();
    show.people("as planned", &["kim"]).await;
    show.has("as planned", "kim", "jobTitle", "Planned").await;
    assert_eq!(show.deleted(), ["lea"]);
    assert_eq!(show.pipeline.json(&["plan"])["steps"], json!([]), "nothing is left to do");
    show.pipeline.stop().await;
}

/// A configuration in staging writes nothing; what it would do is looked at, applied as it is, and refused once the
/// directory has moved on.
pub async fn staged(stage: &mut Stage) {
    stage.add_containers(0, &["OU=Staged"]).await;
    stage.add_user(0, "mia", "OU=Staged", &[]).await;
    stage.add_user(0, "nik", "OU=Staged", &[]).await;
    stage.add_group(0, "crew", "OU=Staged", &["CN=mia,OU=Staged", "CN=nik,OU=Staged"]).await;
    let mut show = stage.closed(&[stage.source(0, &["OU=Staged"], &[])], "").await;
    show.pipeline.set_mode("staging");
    let (code, said) = show.pipeline.run_until_idle();
    assert_eq!((code, said.contains("in staging")), (Some(0), true), "{said}");
    assert_eq!(show.tenant.counters().writes, 0, "nothing is written in staging");

    let stale = keep(&show, &[]);
    let user = stage.directories[0].dn("CN=nik,OU=Staged");
    stage.directories[0].set(&user, "title", "Pilot").await;
    show.pipeline.start();
    let pipeline = &show.pipeline;
    wait::until("the change is wished", suite::ARRIVAL, || {
        let plan = pipeline.json(&["plan"]).to_string();
        async move { if plan.contains("Pilot") { Ok(()) } else { Err(plan) } }
    })
    .await;
    let (code, said) = apply(&show, &stale);
    assert_eq!((code, said), (Some(4), Value::Null), "the world has moved on");
    assert_eq!(show.tenant.counters().writes, 0, "and nothing was done");

    let fresh = keep(&show, &[]);
    let (code, applied) = apply(&show, &fresh);
    assert_eq!((code, &applied["missing"], &applied["unplanned"]), (Some(0), &json!([]), &json!([])), "{applied}");
    let done = steps(&applied["done"]);
    assert_eq!(done, [("create", "crew"), ("add_members", "crew"), ("create", "mia"), ("create", "nik")]);
    show.people("as planned, beside the process in staging", &["mia", "nik"]).await;
    assert_eq!(show.pipeline.json(&["plan"])["steps"], json!([]), "nothing is left to do");
    let (code, _) = apply(&show, &fresh);
    assert_eq!(code, Some(4), "it cannot be done twice");
    show.pipeline.stop().await;
}

/// Keeps a plan in a file of its own.
fn keep(show: &Show, more: &[&str]) -> PathBuf {
    let number = std::fs::read_dir(show.pipeline.folder()).unwrap().count();
    let file = show.pipeline.folder().join(format!("plan-{number}.json"));
    let arguments = [&["plan", "--out", file.to_str().unwrap()], more].concat();
    let kept = show.pipeline.output(&arguments);
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
    file
}

/// Applies a plan: the exit code, and what was printed; nothing if it was refused.
fn apply(show: &Show, plan: &Path) -> (Option<i32>, Value) {
    let out = show.pipeline.output(&["apply", plan.to_str().unwrap(), "--json"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code().is_some_and(|code| code != 1 && code != 2), "{said}");
    (out.status.code(), serde_json::from_slice(&out.stdout).unwrap_or_default())
}
