//! Others at work in the tenant while it runs.

use serde_json::{Value, json};

use super::{Show, Stage};
use crate::{suite, wait};

impl Show {
    /// Waits until `drift` lists these: what, the attribute or nothing, the policy.
    async fn drifts(&mut self, what: &str, expected: &[(&str, &str, &str)]) {
        let pipeline = &mut self.pipeline;
        wait::until(what, suite::ARRIVAL, || {
            pipeline.assert_alive();
            let listing = pipeline.json(&["drift"]);
            let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            let found = listing["found"].as_array().cloned().unwrap_or_default();
            let mut found: Vec<_> =
                found.iter().map(|f| (text(f, "what"), text(f, "attribute"), text(f, "policy"))).collect();
            let mut expected: Vec<_> =
                expected.iter().map(|(w, a, p)| ((*w).to_owned(), (*a).to_owned(), (*p).to_owned())).collect();
            found.sort();
            expected.sort();
            let compared = listing["compared"].is_string();
            async move { if found == expected && compared { Ok(()) } else { Err(format!("{listing}")) } }
        })
        .await;
    }
}

/// What others change is reported, undone or accepted, and listed.
pub async fn by_others(stage: &mut Stage) {
    let ou = "OU=Watched";
    stage.add_containers(0, &[ou]).await;
    for name in ["nan", "noa", "nia"] {
        stage.add_user(0, name, ou, &[("title", "Clerk"), ("l", "Bern")]).await;
    }
    stage.add_group(0, "clerks", ou, &[&format!("CN=nan,{ou}"), &format!("CN=noa,{ou}")]).await;
    let rules = "[drift]\ninterval = \"1s\"\n[drift.attributes]\ncity = \"accept\"\nmembers = \"enforce\"\n";
    let mut show = stage.open(&[stage.source(0, &[ou], &[])], rules).await;
    show.people("those of the container", &["nan", "noa", "nia"]).await;
    show.becomes("the members", |dump| {
        let there = dump.groups.first().is_some_and(|group| group.members.len() == 2);
        (!there).then(|| "not there".to_owned())
    })
    .await;
    show.drifts("nothing at first", &[]).await;

    let control = show.tenant.control();
    let (nan, noa, nia) = (show.id("nan"), show.id("noa"), show.id("nia"));
    let group = show.tenant.dump().groups[0].id.clone();
    control.edit(&nan, json!({"jobTitle": "Chief", "city": "Basel"})).unwrap();
    control.delete(&nia, false).unwrap();
    control.set_member(&group, &noa, false).unwrap();
    let title = ("changed", "jobTitle", "report");
    let (city, deleted) = (("changed", "city", "accept"), ("deleted", "", "report"));
    show.drifts("what is left of it", &[title, city, deleted]).await;
    show.becomes("the member is back", |dump| {
        let there = dump.groups.first().is_some_and(|group| group.members.len() == 2);
        (!there).then(|| "not there".to_owned())
    })
    .await;
    show.has("what is reported stays", "nan", "jobTitle", "Chief").await;
    let status = show.pipeline.json(&["status"]);
    assert_eq!(status["drift"], json!({"accept": 1, "report": 2}));

    // the source's next value, and somebody who brings back what was deleted
    let dn = stage.directories[0].dn(&format!("CN=nan,{ou}"));
    stage.directories[0].set(&dn, "title", "Director").await;
    show.has("the source is stronger", "nan", "jobTitle", "Director").await;
    control.restore(&nia).unwrap();
    show.drifts("only what is accepted", &[city]).await;
    show.pipeline.stop().await;
}
