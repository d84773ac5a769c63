//! What flows, what is left alone, what is wrong, and why: the answers people get while it runs.

use serde_json::{Value, json};

use super::{Show, Stage, common_name, domain, text};

/// A moment as the directory writes it: 100 nanoseconds since 1601 (MS-ADTS 2.2.18 of accountExpires).
pub(super) fn ticks(seconds_from_now: i64) -> String {
    let now = forestsync_runtime::clock::now().as_second();
    ((now + seconds_from_now + 11_644_473_600) * 10_000_000).to_string()
}

impl Show {
    fn explained(&self, object: &str) -> Value {
        self.pipeline.json(&["explain", object])[0].take()
    }

    pub(super) async fn enabled(&mut self, what: &str, name: &str, expected: bool) {
        self.becomes(what, |dump| {
            let user = dump.users.iter().find(|user| text(&user.properties, "displayName") == name)?;
            let found = user.properties.get("accountEnabled").and_then(Value::as_bool);
            (found != Some(expected)).then(|| format!("accountEnabled is {found:?}"))
        })
        .await;
    }
}

/// A configuration with rules of its own, and questions about what it does.
pub async fn flow_and_findings(stage: &mut Stage) {
    let (ou, outside) = ("OU=Asked", "OU=Unasked");
    stage.add_containers(0, &[ou, outside]).await;
    let verified = domain(&stage.directories[0]);
    stage.add_user(0, "una", ou, &[("userPrincipalName", "una@old.example")]).await;
    stage.add_user(0, "vic", ou, &[("company", "Fabrikam"), ("department", "Sales")]).await;
    stage
        .add_user(0, "wes", ou, &[("accountExpires", &ticks(-60)), ("company", "Contoso"), ("department", "Own")])
        .await;
    for name in ["xia", "yan"] {
        stage.add_user(0, name, ou, &[("proxyAddresses", &format!("smtp:same@{verified}"))]).await;
    }
    stage.add_user(0, "zoe", outside, &[]).await;
    let rules = format!(
        "[flow]\nunverified_suffix = \"rewrite\"\nrewrite_suffix = {{ \"old.example\" = \"{verified}\" }}\n\
         [[flow.rules]]\nclass = \"user\"\ntarget = \"department\"\n\
         expression = 'IIF([company] = \"Contoso\", [department], IgnoreThisFlow)'\n\
         [[test]]\nname = \"other companies\"\nobject = {{ company = \"Fabrikam\", department = \"Sales\" }}\nabsent = [\"department\"]\n"
    );
    let mut show = stage.open(&[stage.source(0, &[ou], &[])], &rules).await;
    show.people("those of the container", &["una", "vic", "wes", "xia", "yan"]).await;

    // values
    show.has("the suffix is rewritten", "una", "userPrincipalName", &format!("una@{verified}")).await;
    show.has("those of our own flow", "wes", "department", "Own").await;
    show.tenant.control().edit(&show.id("vic"), json!({"department": "Set in the cloud"})).unwrap();
    let vic = stage.directories[0].dn(&format!("CN=vic,{ou}"));
    stage.directories[0].set(&vic, "title", "Seen").await;
    stage.directories[0].set(&vic, "department", "Marketing").await;
    show.has("the change arrives", "vic", "jobTitle", "Seen").await;
    show.has("what is left alone stays", "vic", "department", "Set in the cloud").await;

    // moments
    let wes = stage.directories[0].dn(&format!("CN=wes,{ou}"));
    show.enabled("expired before the first read", "wes", false).await;
    stage.directories[0].set(&wes, "accountExpires", "0").await;
    show.enabled("it does not expire", "wes", true).await;
    stage.directories[0].set(&wes, "accountExpires", &ticks(2)).await;
    show.enabled("it expires without any further change", "wes", false).await;
    let fired = show.pipeline.output(&["log", "tail", "decisions.e2e", "--type", "TimerFired"]);
    assert!(String::from_utf8_lossy(&fired.stdout).contains("TimerFired"), "the moment is on record");

    // questions, by every name of an object
    let by_dn = show.explained(&vic);
    let object = by_dn["objects"][0]["object"].as_str().unwrap().to_owned();
    let anchor = by_dn["anchor"].as_str().unwrap().to_owned();
    for name in [object, anchor, format!("vic@{verified}")] {
        assert_eq!(show.explained(&name)["objects"][0]["dn"], json!(vic), "{name}");
    }
    let attribute = |target: &str| {
        let all = by_dn["attributes"].as_array().unwrap();
        all.iter().find(|attribute| attribute["target"] == target).unwrap_or_else(|| panic!("{target}: {by_dn}"))
    };
    let title = attribute("jobTitle");
    assert_eq!(title["value"], "Seen");
    assert!(title["inputs"][0].to_string().contains("offset"), "where it comes from: {title}");
    assert_eq!(attribute("department")["value"], Value::Null);
    let outsider = stage.directories[0].dn(&format!("CN=zoe,{outside}"));
    let outsider = show.explained(&outsider);
    assert_eq!((&outsider["anchor"], &outsider["objects"][0]["is_in_scope"]), (&Value::Null, &json!(false)));

    let duplicates = show.pipeline.json(&["lint", "--rule", "proxyaddresses-duplicate"]);
    let mut names: Vec<_> = duplicates.as_array().unwrap().iter().map(|row| row["dn"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert!(names.len() == 2 && names[0].starts_with("CN=xia") && names[1].starts_with("CN=yan"), "{names:?}");
    assert!(!duplicates.to_string().contains("same@"), "values are shown on request only");
    let shown = show.pipeline.output(&["lint", "--rule", "proxyaddresses-duplicate", "--values", "--format", "csv"]);
    assert_eq!(String::from_utf8_lossy(&shown.stdout).matches("same@").count(), 2);
    assert!(show.pipeline.json(&["lint", "--attribute", "userPrincipalName"]).to_string().contains("CN=una"));

    let taken = against_the_tenant(&show, &verified);

    // and from the database, where nothing runs
    show.pipeline.stop().await;
    assert_eq!(of_tenant(&show), taken);
    assert_eq!(show.explained(&vic)["attributes"], by_dn["attributes"]);
    assert_eq!(show.pipeline.json(&["lint", "--rule", "proxyaddresses-duplicate"]), duplicates);
}

fn of_tenant(show: &Show) -> Value {
    show.pipeline.json(&["lint", "--tenant", "--rule", "tenant-taken", "--rule", "tenant-match"])
}

/// What others in the tenant have. Those that have what is theirs are not told of.
fn against_the_tenant(show: &Show, verified: &str) -> Value {
    assert_eq!(of_tenant(show), json!([]));
    let foreign = |name: &str, more: Value| {
        let mut user = json!({"userPrincipalName": name, "displayName": "Foreign", "mailNickname": "foreign"});
        user.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        show.tenant.control().seed_user(user).unwrap();
    };
    let same = json!([format!("smtp:same@{verified}")]);
    foreign("foreign@old.example", json!({"proxyAddresses": same, "onPremisesImmutableId": "Zm9yZWlnbg=="}));
    foreign("una@old.example", json!({}));
    let taken = of_tenant(show);
    let rows = taken.as_array().unwrap().iter().filter_map(Value::as_object);
    let mut rows: Vec<(&str, &str, &str)> =
        rows.map(|row| (common_name(text(row, "dn")), text(row, "severity"), text(row, "attribute"))).collect();
    rows.sort_unstable();
    let expected =
        [("una", "info", "userPrincipalName"), ("xia", "error", "proxyAddresses"), ("yan", "error", "proxyAddresses")];
    assert_eq!(rows, expected);
    taken
}
