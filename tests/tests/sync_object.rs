//! One object through every step, now: `forestsync sync-object`, in front of practice forests and of Samba. The collectors
//! sleep for an hour, so that whatever arrives was asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;

use forestsync_tests::pipeline::Source;
use forestsync_tests::rules::{Show, Stage, domain};
use forestsync_tests::{peers, samba};
use serde_json::Value;

const OU: &str = "OU=Single";
const OUTSIDE: &str = "OU=Other";
/// Nobody's name changes unasked.
const GUARD: &str = "[upn_guard]\nshare = 0.0\nminimum = 0\n";

/// What a look at one object said.
#[derive(Debug)]
struct Said {
    code: i32,
    report: Value,
    error: String,
}

/// Asks about one object and prints how long that took.
fn sync(show: &Show, arguments: &[&str]) -> Said {
    let mut all = vec!["sync-object", "--json"];
    all.extend(arguments);
    let out = show.pipeline.output(&all);
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    let ms = |step: &str| report[step]["elapsed_ms"].to_string();
    println!(
        "sync-object {}: {} ms (import {}, scope {}, action {}), exit {:?}, {} {}",
        arguments.join(" "),
        ms("result"),
        ms("import"),
        ms("scope"),
        ms("action"),
        out.status.code(),
        report["result"]["state"],
        error.lines().next().unwrap_or_default(),
    );
    Said { code: out.status.code().unwrap(), report, error }
}

impl Said {
    #[track_caller]
    fn ended(self, code: i32, state: &str) -> Value {
        assert_eq!((self.code, self.report["result"]["state"].as_str()), (code, Some(state)), "{self:#?}");
        self.report
    }

    #[track_caller]
    fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:#?}");
        for word in words {
            assert!(self.error.contains(word), "{word}: {}", self.error);
        }
    }
}

/// How long every stream is.
fn tails(show: &Show) -> BTreeMap<String, u64> {
    let streams = show.pipeline.json(&["log", "list"]);
    let row = |stream: &Value| (stream["stream"].as_str().unwrap().to_owned(), stream["records"].as_u64().unwrap());
    streams.as_array().unwrap().iter().map(row).collect()
}

/// The property of a user, as the tenant has it at this moment.
fn has(show: &Show, name: &str, property: &str) -> Value {
    let users = show.tenant.dump().users;
    let user = users.iter().find(|user| user.properties["displayName"] == name);
    user.unwrap_or_else(|| panic!("{name} is there")).properties.get(property).cloned().unwrap_or_default()
}

fn attributes(step: &Value) -> Vec<&str> {
    step["changes"].as_array().unwrap().iter().map(|change| change["attribute"].as_str().unwrap()).collect()
}

/// Lets the collectors sleep between their looks.
fn let_sleep(show: &Show) {
    let document = std::fs::read_to_string(show.pipeline.config()).unwrap();
    let sleepy = document.replace("\ninclude = ", "\npoll_interval = \"1h\"\nnotifications = false\ninclude = ");
    assert_ne!(sleepy, document);
    std::fs::write(show.pipeline.config(), sleepy).unwrap();
}

async fn open(stage: &mut Stage, forests: &[usize]) -> Show {
    for n in forests {
        stage.add_containers(*n, &[OU, OUTSIDE]).await;
    }
    stage.add_user(0, "ann", OU, &[]).await;
    stage.add_user(0, "bob", OU, &[]).await;
    stage.add_user(0, "cid", OUTSIDE, &[]).await;
    let sources: Vec<Source> = forests.iter().map(|n| stage.source(*n, &[OU], &[])).collect();
    let mut show = stage.closed(&sources, GUARD).await;
    let_sleep(&show);
    show.pipeline.start();
    show.people("those of the container", &["ann", "bob"]).await;
    show
}

/// A change and a new object: shown first, and then done.
async fn changes_and_comes(stage: &mut Stage, show: &mut Show) {
    let ann = stage.directories[0].dn(&format!("CN=ann,{OU}"));
    stage.directories[0].set(&ann, "title", "Seen").await;
    let (before, writes) = (tails(show), show.tenant.counters().writes);
    let dry = sync(show, &[&ann, "--dry-run"]).ended(0, "dry_run");
    assert_eq!(attributes(&dry["import"]), ["title"], "{dry:#}");
    assert_eq!(dry["scope"]["in_scope"], true);
    assert_eq!(dry["match"]["matched_by"], "ledger");
    assert_eq!(dry["match"]["cloud_id"], show.id("ann"));
    let steps = dry["action"]["steps"].clone();
    assert_eq!(steps.as_array().unwrap().len(), 1, "{dry:#}");
    assert_eq!((&steps[0]["action"], &steps[0]["changes"]["jobTitle"]["after"]), (&"update".into(), &"Seen".into()));
    assert_eq!((tails(show), show.tenant.counters().writes), (before.clone(), writes), "a dry run writes nothing");

    let done = sync(show, &[&ann]).ended(0, "in_step");
    assert_eq!(has(show, "ann", "jobTitle"), "Seen", "it is there when the command returns");
    assert_eq!(done["action"]["steps"][0]["changes"], steps[0]["changes"], "what was shown is what was done");
    let request = &done["result"]["requests"][0];
    assert_eq!((&request["outcome"], &request["status"]), (&"ObjectUpdated".into(), &204.into()), "{done:#}");
    assert!(request["request_id"].is_string(), "{done:#}");
    let trace = done["result"]["trace"].as_str().unwrap();
    let prefix = format!("changes.{}.", stage.directories[0].access.name);
    let stream = before.keys().find(|stream| stream.starts_with(&prefix)).unwrap();
    let told = show.pipeline.output(&["log", "tail", stream, "--last", "5", "--json"]);
    let told = String::from_utf8(told.stdout).unwrap();
    let of_look = told.lines().filter(|line| line.contains(trace)).collect::<Vec<_>>();
    assert!(of_look.iter().any(|line| line.contains("ObjectChanged")), "{trace}: {told}");
    assert!(of_look.iter().any(|line| line.contains("CursorAdvanced")), "{trace}: {told}");

    let before = tails(show);
    let again = sync(show, &[&ann]).ended(0, "nothing_to_do");
    assert_eq!(again["import"]["differs"], false, "{again:#}");
    assert_eq!(tails(show), before, "what is no news is not written");

    stage.add_user(0, "dan", OU, &[("manager", &ann)]).await;
    let dan = stage.directories[0].dn(&format!("CN=dan,{OU}"));
    let dry = sync(show, &[&dan, "--dry-run"]).ended(0, "dry_run");
    assert_eq!((&dry["import"]["known_as"], &dry["match"]["matched_by"]), (&Value::Null, &"create".into()), "{dry:#}");
    let said: Vec<&str> =
        dry["action"]["steps"].as_array().unwrap().iter().map(|step| step["action"].as_str().unwrap()).collect();
    assert_eq!(said, ["create", "set_manager"], "{dry:#}");
    assert!(show.id("dan").is_empty());
    let done = sync(show, &[&dan]).ended(0, "in_step");
    assert_eq!(done["match"]["cloud_id"], show.id("dan"), "{done:#}");
    assert_eq!(done["action"]["steps"].as_array().unwrap().len(), 2, "{done:#}");
    let by_account = sync(show, &["dan", "--dry-run"]).ended(0, "dry_run");
    assert_eq!(by_account["import"]["object"], done["import"]["object"]);
    let guid = done["import"]["object"].as_str().unwrap();
    assert_eq!(sync(show, &[guid]).ended(0, "nothing_to_do")["import"]["dn"], dan.as_str());
}

/// What is not in scope, not there, gone, or called otherwise by now.
async fn is_elsewhere(stage: &mut Stage, show: &mut Show) {
    let cid = stage.directories[0].dn(&format!("CN=cid,{OUTSIDE}"));
    let dry = sync(show, &[&cid, "--dry-run"]).ended(0, "dry_run");
    assert_eq!(dry["scope"]["in_scope"], false);
    assert!(dry["scope"]["reason"].as_str().unwrap().contains("no container that is included"), "{dry:#}");
    assert_eq!(
        (&dry["match"]["anchor"], &dry["action"]["steps"]),
        (&Value::Null, &Value::Array(Vec::new())),
        "{dry:#}"
    );
    sync(show, &[&cid]).ended(0, "nothing_to_do");

    let nobody = stage.directories[0].dn(&format!("CN=nobody,{OU}"));
    sync(show, &[&nobody]).refused(1, &["shows no such object", "the history does not know it", "may not see it"]);
    sync(show, &["nobody"]).refused(1, &["shows no such object"]);
    sync(show, &["CN=ann,DC=nowhere"]).refused(2, &["lies in no domain", &stage.directories[0].access.base]);
    sync(show, &["ann", "--forest", "nine"])
        .refused(2, &["there is no forest nine", &stage.directories[0].access.name]);

    let (bob, bert) =
        (stage.directories[0].dn(&format!("CN=bob,{OU}")), stage.directories[0].dn(&format!("CN=bert,{OU}")));
    stage.directories[0].rename(&bob, "CN=bert").await;
    let renamed = sync(show, &[&bob, "--dry-run"]).ended(0, "dry_run");
    assert_eq!(
        (&renamed["import"]["dn"], &renamed["import"]["known_as"]),
        (&bert.as_str().into(), &bob.as_str().into())
    );
    sync(show, &[&bert]);
    stage.directories[0].delete(&bert).await;
    let gone = sync(show, &[&bert]);
    gone.refused(1, &["the history has it as", "nothing"]);
    assert!(!show.id("bob").is_empty(), "nothing is deleted because an object is not seen");
}

/// What waits for a person.
async fn waits(stage: &mut Stage, show: &mut Show) {
    let ann = stage.directories[0].dn(&format!("CN=ann,{OU}"));
    let name = format!("anna@{}", domain(&stage.directories[0]));
    stage.directories[0].set(&ann, "userPrincipalName", &name).await;
    let dry = sync(show, &[&ann, "--dry-run"]);
    let dry = dry.ended(3, "dry_run");
    let would = |word: &str| dry["action"]["steps"].as_array().unwrap().iter().any(|step| step["action"] == word);
    assert!(would("hold") && would("update"), "the rest of it goes: {dry:#}");
    let held = sync(show, &[&ann]).ended(3, "held");
    assert!(held["result"]["detail"].as_str().unwrap().contains("another userPrincipalName"), "{held:#}");
    assert_ne!(has(show, "ann", "userPrincipalName"), name);

    let dan = stage.directories[0].dn(&format!("CN=dan,{OU}"));
    let anchor = has(show, "dan", "onPremisesImmutableId").as_str().unwrap().to_owned();
    show.tenant.control().refuse_writes(&anchor, Some("jobTitle"));
    stage.directories[0].set(&dan, "title", "Refused").await;
    let first = sync(show, &[&dan]).ended(3, "quarantined");
    assert!(first["result"]["detail"].as_str().unwrap().contains("jobTitle"), "{first:#}");
    let attempts = first["result"]["standing"]["attempts"].as_u64().unwrap();
    let again = sync(show, &[&dan]).ended(3, "quarantined");
    assert_eq!(again["result"]["standing"]["attempts"], attempts + 1, "it is tried when somebody asks: {again:#}");
    let seen = sync(show, &[&dan, "--dry-run"]).ended(3, "dry_run");
    assert_eq!(seen["result"]["standing"]["state"], "quarantined", "{seen:#}");
    show.tenant.control().refuse_writes(&anchor, None);
    sync(show, &[&dan]).ended(0, "in_step");
    assert_eq!(has(show, "dan", "jobTitle"), "Refused");
}

/// Members come and go.
async fn has_members(stage: &mut Stage, show: &mut Show) {
    let (ann, dan) =
        (stage.directories[0].dn(&format!("CN=ann,{OU}")), stage.directories[0].dn(&format!("CN=dan,{OU}")));
    let team = stage.directories[0].dn(&format!("CN=team,{OU}"));
    let words = |report: &Value| -> Vec<(String, usize)> {
        let steps = report["action"]["steps"].as_array().unwrap().iter();
        steps
            .map(|step| (step["action"].as_str().unwrap().to_owned(), step["others"].as_array().map_or(0, Vec::len)))
            .collect()
    };
    stage.add_group(0, "team", OU, &[&format!("CN=ann,{OU}")]).await;
    let dry = sync(show, &[&team, "--dry-run"]).ended(0, "dry_run");
    assert_eq!(words(&dry), [("create".to_owned(), 0), ("add_members".to_owned(), 1)], "{dry:#}");
    let done = sync(show, &[&team]).ended(0, "in_step");
    assert_eq!(words(&done), words(&dry), "{done:#}");
    stage.directories[0].add_values(&team, "member", std::slice::from_ref(&dan)).await;
    stage.directories[0].remove_values(&team, "member", std::slice::from_ref(&ann)).await;
    let dry = sync(show, &[&team, "--dry-run"]).ended(0, "dry_run");
    let link = &dry["import"]["links"][0];
    assert_eq!((&link["added"][0], &link["removed"][0]), (&dan.as_str().into(), &ann.as_str().into()), "{dry:#}");
    let both = [("add_members".to_owned(), 1), ("remove_members".to_owned(), 1)];
    assert_eq!(words(&dry), both, "{dry:#}");
    let done = sync(show, &[&team]).ended(0, "in_step");
    assert_eq!(words(&done), both, "{done:#}");
    let groups = show.tenant.dump().groups;
    let members: Vec<String> = groups.iter().flat_map(|group| group.members.iter().cloned()).collect();
    assert_eq!(members, [show.id("dan")]);
}

/// Who leaves the scope.
async fn leaves(stage: &mut Stage, show: &mut Show) {
    stage.relocate(0, &format!("CN=dan,{OU}"), OUTSIDE).await;
    let dan = stage.directories[0].dn(&format!("CN=dan,{OUTSIDE}"));
    let dry = sync(show, &[&dan, "--dry-run"]).ended(0, "dry_run");
    assert_eq!(
        (&dry["scope"]["in_scope"], &dry["action"]["steps"][0]["action"]),
        (&false.into(), &"delete".into()),
        "{dry:#}"
    );
    let done = sync(show, &[&dan]).ended(0, "in_step");
    // it may leave its groups before
    let mut steps = done["action"]["steps"].as_array().unwrap().iter();
    assert!(steps.any(|step| step["action"] == "delete"), "{done:#}");
    assert!(show.id("dan").is_empty() && show.deleted().contains(&"dan".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_practice_forests() {
    let mut stage = Stage::practice().await;
    let mut show = open(&mut stage, &[0, 1]).await;
    changes_and_comes(&mut stage, &mut show).await;
    is_elsewhere(&mut stage, &mut show).await;
    has_members(&mut stage, &mut show).await;
    waits(&mut stage, &mut show).await;
    leaves(&mut stage, &mut show).await;

    // a forest that this configuration does not have, and a reader who may not see everything
    let other = stage.directories[2].dn(OU);
    let read = [0, 1].map(|n: usize| format!("forest {}", stage.directories[n].access.name));
    sync(&show, &[&other]).refused(2, &["lies in no domain", &read[0], &read[1]]);
    let (ann, title) = (stage.directories[0].dn(&format!("CN=ann,{OU}")), has(&show, "ann", "jobTitle"));
    let forest = stage.practice[0].control();
    forest.set_denied("title", true).unwrap();
    let blind = sync(&show, &[&ann]);
    assert!(blind.report["action"]["notes"].to_string().contains("title"), "{blind:#?}");
    assert_eq!(has(&show, "ann", "jobTitle"), title, "what the account may not read is not cleared");
    forest.set_denied("title", false).unwrap();
    forest.set_hidden(&ann, true).unwrap();
    sync(&show, &[&ann]).refused(1, &["shows no such object", "may not see it any more"]);
    assert!(!show.id("ann").is_empty());
    forest.set_hidden(&ann, false).unwrap();

    // a right that came later is no change of the directory, and no delta tells of it
    forest.set_denied("company", true).unwrap();
    stage.directories[0].set(&ann, "company", "Contoso").await;
    sync(&show, &[&ann]);
    assert_eq!(has(&show, "ann", "companyName"), Value::Null);
    forest.set_denied("company", false).unwrap();
    let seen = sync(&show, &[&ann]).ended(3, "held");
    assert_eq!(attributes(&seen["import"]), ["company"], "{seen:#}");
    assert_eq!(has(&show, "ann", "companyName"), "Contoso", "what is news to the history is taken in");

    // nobody at work: a dry run needs none
    show.pipeline.stop().await;
    let before = tails(&show);
    stage.directories[0].set(&ann, "title", "Alone").await;
    sync(&show, &[&ann]).refused(2, &["no forestsync run is at work", "--dry-run"]);
    let dry = sync(&show, &[&ann, "--dry-run"]);
    assert_eq!(attributes(&dry.report["import"]), ["title"], "{dry:#?}");
    let steps = dry.report["action"]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["changes"]["jobTitle"]["after"] == "Alone"), "{dry:#?}");
    assert!(dry.report["action"]["notes"].to_string().contains("still held: rename"), "{dry:#?}");
    assert_eq!(tails(&show), before);
    let text = show.pipeline.output(&["sync-object", &ann, "--dry-run"]);
    let text = String::from_utf8(text.stdout).unwrap();
    println!("{text}");
    for heading in ["Import", "Scope", "Match", "Action", "Result"] {
        assert!(text.contains(&format!("{heading}  (")), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_samba_forest() {
    if let Some(why) = samba::missing() {
        return peers::skipped("Samba AD DC", why);
    }
    let mut stage = Stage::samba(&[8]).await;
    let mut show = open(&mut stage, &[0]).await;
    changes_and_comes(&mut stage, &mut show).await;
    is_elsewhere(&mut stage, &mut show).await;
    has_members(&mut stage, &mut show).await;
    waits(&mut stage, &mut show).await;
    leaves(&mut stage, &mut show).await;
    peers::ran("Samba AD DC");
}
