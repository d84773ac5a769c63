//! What would be done, and that it is what is done then.

use serde_json::{Value, json};

use super::{Stage, common_name, text};
use crate::suite;

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
    std::fs::rename(&changed, show.pipeline.config()).unwrap();
    show.pipeline.start();
    show.people("as planned", &["kim"]).await;
    show.has("as planned", "kim", "jobTitle", "Planned").await;
    assert_eq!(show.deleted(), ["lea"]);
    assert_eq!(show.pipeline.json(&["plan"])["steps"], json!([]), "nothing is left to do");
    show.pipeline.stop().await;
}
