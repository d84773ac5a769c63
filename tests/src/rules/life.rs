//! The life of one person, as an auditor asks for it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::questions::ticks;
use super::{Show, Stage, domain, text};
use crate::wait;

/// Two deletions at once are held.
const NARROW_GUARD: &str = "[delete_guard]\ncount = 1\nshare = 1.0\n";
const JOINS: &str = "[[joins]]\nattribute = \"employeeID\"\nclasses = [\"user\"]\n";

/// What is left of a life, and the command that tells it.
#[derive(Debug)]
pub struct Life {
    /// The command; nothing runs.
    pub show: Show,
    /// Everything that `audit object` said, a value for each event.
    pub entries: Vec<Value>,
    /// The same without what differs from run to run.
    pub story: String,
}

/// Somebody is created, renamed, moved, joined with a second forest, disabled by expiry, held, approved, deleted and
/// restored. Others are there, so that no container is ever empty.
pub async fn whole(stage: &mut Stage) -> Life {
    let (ou, moved) = ("OU=Life", "OU=Later,OU=Life");
    stage.add_containers(0, &[ou, moved]).await;
    stage.add_containers(1, &[ou]).await;
    for name in ["ada", "ben"] {
        stage.add_user(0, name, ou, &[]).await;
        stage.add_user(1, &format!("{name}2"), ou, &[]).await;
    }
    stage.add_user(0, "tim", ou, &[]).await;
    let others = ["ada", "ada2", "ben", "ben2", "tim"];
    let sources = [stage.source(0, &[ou], &[]), stage.source(1, &[ou], &[])];
    let (tenant, access) = stage.tenant().await;
    let rest = format!("{JOINS}{NARROW_GUARD}");
    let pipeline = crate::pipeline::Pipeline::new(&sources, &access, crate::suite::AT_ONCE, &rest);
    let mut show = Show { tenant, access, pipeline };
    show.pipeline.start();
    show.people("the others", &others).await;

    stage.add_user(0, "eva", ou, &[("title", "Engineer"), ("employeeID", "4711"), ("displayName", "eva")]).await;
    let with = |name: &'static str| [&others[..], &[name]].concat();
    show.people("she is created", &with("eva")).await;
    let anchor = anchor(&show, "eva");
    written(&mut show, &anchor, 1).await;

    let first = stage.directories[0].dn("CN=eva,OU=Life");
    stage.directories[0].rename(&first, "CN=eva lee").await;
    let renamed = stage.directories[0].dn("CN=eva lee,OU=Life");
    // one change is read after the other, so that the story is the same each time
    let stream = format!("changes.{}.{}", stage.directories[0].access.name, domain(&stage.directories[0]));
    says(&mut show, "her name is read", &[&stream], &renamed).await;
    stage.directories[0].set(&renamed, "displayName", "eva lee").await;
    show.people("she is renamed", &with("eva lee")).await;
    written(&mut show, &anchor, 2).await;

    stage.relocate(0, "CN=eva lee,OU=Life", moved).await;
    let name = stage.directories[0].dn("CN=eva lee,OU=Later,OU=Life");
    says(&mut show, "her place is read", &[&stream], &name).await;
    stage.directories[0].set(&name, "title", "Lead").await;
    show.has("she is moved", "eva lee", "jobTitle", "Lead").await;
    written(&mut show, &anchor, 3).await;

    stage
        .add_user(
            1,
            "evabox",
            ou,
            &[("employeeID", "4711"), ("userAccountControl", "546"), ("physicalDeliveryOfficeName", "B 12")],
        )
        .await;
    let second = stage.directories[1].dn("CN=evabox,OU=Life");
    let anchored = anchor.clone();
    says(&mut show, "she is joined", &["decisions.e2e", "--type", "JoinMade"], &anchored).await;

    show.has("both are one", "eva lee", "officeLocation", "B 12").await;
    written(&mut show, &anchor, 4).await;
    stage.directories[0].set(&name, "accountExpires", &ticks(2)).await;
    show.enabled("she expires", "eva lee", false).await;
    written(&mut show, &anchor, 5).await;

    // two deletions at once are held; those of hers wait for somebody
    stage.directories[1].delete(&second).await;
    show.has("she is by herself", "eva lee", "officeLocation", "").await;
    show.pipeline.stop().await;
    let tim = stage.directories[0].dn("CN=tim,OU=Life");
    stage.directories[0].delete(&tim).await;
    stage.directories[0].delete(&name).await;
    show.pipeline.start();
    says(&mut show, "she is held", &["outcomes.e2e", "--type", "ExportHeld"], &anchored).await;
    let approved = show.pipeline.output(&["approve", "--reason", "left, ticket 4711", &anchor]);
    assert_eq!(approved.status.code(), Some(0), "{approved:?}");
    show.people("she is deleted", &others).await;
    says(&mut show, "her deletion is on record", &["outcomes.e2e", "--type", "ObjectDeprovisioned"], &anchored).await;

    stage.directories[0].undelete("eva", &first).await;
    show.people("she is restored", &with("eva")).await;
    show.pipeline.stop().await;

    let (entries, story) = told(&show, &first);
    asked(&show, stage, &anchor, &first, &entries);
    Life { show, entries, story }
}

/// The source anchor of a user of the tenant.
fn anchor(show: &Show, name: &str) -> String {
    let users = show.tenant.dump().users;
    let user = users.iter().find(|user| text(&user.properties, "displayName") == name).unwrap();
    text(&user.properties, "onPremisesImmutableId").to_owned()
}

/// Waits until a stream says something about an object.
async fn says(show: &mut Show, what: &str, tail: &[&str], anchor: &str) {
    let pipeline = &mut show.pipeline;
    wait::until(what, crate::suite::ARRIVAL, || {
        pipeline.assert_alive();
        let out = pipeline.output(&[&["log", "tail"], tail, &["--from", "0"]].concat());
        let found = String::from_utf8_lossy(&out.stdout).contains(anchor);
        async move { if found { Ok(()) } else { Err(String::from_utf8_lossy(&out.stdout).into_owned()) } }
    })
    .await;
}

/// Waits until so many writes of attributes are on record: the tenant shows them a little earlier.
async fn written(show: &mut Show, anchor: &str, count: usize) {
    let types = ["--type", "ObjectProvisioned", "--type", "ObjectUpdated"];
    let pipeline = &mut show.pipeline;
    wait::until("what was written is on record", crate::suite::ARRIVAL, || {
        pipeline.assert_alive();
        let tail = ["log", "tail", "outcomes.e2e", "--from", "0", "--object", anchor];
        let out = pipeline.output(&[&tail[..], &types].concat());
        let found = String::from_utf8_lossy(&out.stdout).lines().count();
        async move { if found >= count { Ok(()) } else { Err(format!("{found} of {count}")) } }
    })
    .await;
}

/// What `audit object` says as JSON lines, and the same as a story.
pub fn told(show: &Show, object: &str) -> (Vec<Value>, String) {
    let out = show.pipeline.output(&["audit", "object", object, "--json"]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let lines = String::from_utf8(out.stdout).unwrap();
    let entries: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let story = story(&entries);
    (entries, story)
}

/// One paragraph for each event; identities by the order in which they come, no times, no offsets.
fn story(entries: &[Value]) -> String {
    let mut names = BTreeMap::<String, String>::new();
    let mut out = String::new();
    for entry in entries {
        // a request that fails and is tried again is told as well, and depends on the moment
        if entry["type"] == "ExportFailed" {
            continue;
        }
        let kind = entry["type"].as_str().unwrap();
        let stream = entry["stream"].as_str().unwrap().split('.').next().unwrap();
        let by = ["forest", "actor", "reason", "revision", "status"]
            .iter()
            .filter(|name| !entry[**name].is_null() && **name != "actor")
            .map(|name| format!("{name} {}", entry[*name].to_string().trim_matches('"')));
        let request = entry["request_id"].as_str().map(|_| "request".to_owned());
        let about = by.chain(request).collect::<Vec<_>>().join(", ");
        let actor = entry["actor"].as_str().map(|actor| format!("by {actor}")).unwrap_or_default();
        let summary = entry["summary"].as_str().unwrap();
        let summary = if actor.is_empty() { summary.to_owned() } else { summary.replace(&actor, "by <actor>") };
        // the same person, as the tenant's part has it
        let summary =
            summary.split_once(": approved by ").map_or(summary.clone(), |(what, _)| format!("{what}: approved"));
        out += &format!("{stream} {kind} ({about}) {summary}\n");
        let list = |name: &str| entry[name].as_array().cloned().unwrap_or_default();
        for change in list("changes") {
            let rule = change["rule"].as_str().map(|rule| format!("   [{rule}]")).unwrap_or_default();
            let attribute = change["attribute"].as_str().unwrap();
            let shown = |side: &str| match &change[side] {
                // its domain is made anew each time
                Value::Array(_) if attribute == "objectSid" => "<sid>".to_owned(),
                value => value.to_string(),
            };
            out += &format!("    {attribute}: {} -> {}{rule}\n", shown("before"), shown("after"));
        }
        for link in list("links") {
            out += &format!("    {}: +{} -{}\n", link["attribute"].as_str().unwrap(), link["added"], link["removed"]);
        }
    }
    // identities, times and numbers that differ from run to run
    let mut redacted = String::new();
    for word in out.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || "-+/=:.".contains(c))) {
        let core = word.trim_matches(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)));
        // as a tombstone's name has it
        let core = core.rsplit_once("DEL:").map_or(core, |(_, guid)| guid);
        let is_guid = core.len() == 36 && core.matches('-').count() == 4;
        let is_anchor = core.len() == 24 && core.ends_with("==");
        let is_digest = core.len() == 64 && core.bytes().all(|b| b.is_ascii_hexdigit());
        let is_time = core.len() > 18 && core.starts_with("20") && core.contains('T');
        let is_ticks = core.len() == 18 && core.bytes().all(|b| b.is_ascii_digit());
        if is_guid || is_anchor || is_digest {
            let next = format!("<id {}>", names.len() + 1);
            redacted += &word.replace(core, names.entry(core.to_owned()).or_insert(next));
        } else if is_time || is_ticks {
            redacted += &word.replace(core, "<time>");
        } else {
            redacted += word;
        }
    }
    redacted
}

/// The other questions about the same life.
fn asked(show: &Show, stage: &Stage, anchor: &str, first: &str, entries: &[Value]) {
    let kinds: Vec<&str> = entries.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    let expected = [
        "ConfigurationActivated",
        "ObjectChanged",
        "AnchorAssigned",
        "ObjectDesired",
        "ObjectProvisioned",
        "ObjectUpdated",
        "JoinMade",
        "TimerFired",
        "ObjectDeleted",
        "ObjectRemoved",
        "ExportHeld",
        "HeldDecided",
        "ObjectDeprovisioned",
        "ObjectRestored",
        "ObjectDesired",
        "ObjectRestored",
    ];
    let mut at = kinds.iter();
    for kind in expected {
        assert!(at.any(|found| *found == kind), "{kind} in its place in {kinds:?}");
    }

    // by every name it has or had
    let text = |arguments: &[&str]| {
        let out = show.pipeline.output(arguments);
        assert_eq!(out.status.code(), Some(0), "{arguments:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    let object = entries.iter().find_map(|entry| entry["object"].as_str()).unwrap();
    let cloud = entries.iter().find_map(|entry| entry["cloud_id"].as_str()).unwrap();
    let upn = format!("eva@{}", domain(&stage.directories[0]));
    let moved = stage.directories[0].dn("CN=eva lee,OU=Later,OU=Life");
    let second = stage.directories[1].dn("CN=evabox,OU=Life");
    for name in [object, anchor, cloud, &upn, &moved] {
        assert_eq!(told(show, name).0, entries, "{name}");
    }
    assert!(told(show, &second).0.len() >= entries.len() - 3, "the other one of two that were joined");
    for (form, expected) in [("--csv", "\"title\",\"Engineer\",\"Lead\""), ("--json", "\"Lead\"")] {
        assert!(text(&["audit", "object", first, form]).contains(expected), "{form}");
        assert!(!text(&["audit", "object", first, form, "--values", "hidden"]).contains("Lead"), "{form}");
    }
    let table = text(&["audit", "object", first]);
    assert!(table.contains("title: Engineer -> Lead") && table.contains("left, ticket 4711"), "{table}");

    // who, and what came of it
    let line = text(&["audit", "who-changed", "title", "of", first, "--until", until(entries, "TimerFired")]);
    for part in ["title of CN=eva lee", "Engineer -> Lead", " at ", "USN", "wished by revision", "written by request"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let same = text(&["audit", "who-changed", "jobTitle", "of", first, "--until", until(entries, "TimerFired")]);
    assert!(same.contains("written by request"), "{same}");
    let nobody = show.pipeline.output(&["audit", "who-changed", "pager", "of", first]);
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
    let attribute = text(&["audit", "attribute", "TITLE", "--json"]);
    assert!(attribute.contains("\"Lead\"") && attribute.contains("\"before\":[\"Engineer\"]"), "{attribute}");
    let who = entries.iter().find(|entry| entry["type"] == "HeldDecided").unwrap()["actor"].as_str().unwrap();
    assert!(text(&["audit", "actor", who]).contains("left, ticket 4711"));
    let controller = entries.iter().find_map(|entry| entry["controller"].as_str()).unwrap();
    assert!(text(&["audit", "actor", controller, "--json"]).contains("\"ObjectDeleted\""));
    assert!(text(&["audit", "configuration"]).contains("+ configuration = \"e2e\""));

    // what was, then and now
    let at = |kind: &str| {
        let entry = entries.iter().rfind(|entry| entry["type"] == kind).unwrap();
        format!("{}={}", entry["stream"].as_str().unwrap(), entry["offset"])
    };
    let pictures = |moment: &str| show.pipeline.json(&["state", first, "--at", moment]);
    let held = pictures(&at("ExportHeld"));
    let side = |pictures: &Value, side: &str| {
        // of the two that were joined, the one that was there before and after
        let is_it = |picture: &&Value| picture["side"] == side && !picture["name"].to_string().contains("evabox");
        let found = pictures.as_array().unwrap().iter().find(is_it).cloned();
        found.unwrap_or_else(|| panic!("{side}: {pictures}"))
    };
    assert_eq!(side(&held, "directory")["state"], "deleted");
    assert_eq!(side(&held, "tenant")["attributes"]["jobTitle"], "Lead", "it is there until somebody decides: {held}");
    let fired = pictures(&at("TimerFired"));
    assert_eq!(side(&fired, "directory")["attributes"]["title"], serde_json::json!(["Lead"]), "{fired}");
    let gone = pictures(&at("ObjectDeprovisioned"));
    assert_eq!(side(&gone, "tenant")["state"], "deleted", "{gone}");
    let diff = text(&["diff", first, "--from", &at("TimerFired"), "--to", &at("ObjectDeprovisioned")]);
    assert!(diff.contains("jobTitle: Lead -> -") && diff.contains("(state): there -> deleted"), "{diff}");
    let old = text(&["state", first, "--at", "2001-01-01"]);
    assert!(old.contains("not known yet") && old.contains("never written"), "{old}");

    report(show, &show.pipeline.folder().join("report"));
}

/// The time of an event of this type, for `--until`.
fn until<'a>(entries: &'a [Value], kind: &str) -> &'a str {
    entries.iter().find(|entry| entry["type"] == kind).unwrap()["time"].as_str().unwrap()
}

/// The bundle holds what it says, and its digests are right.
fn report(show: &Show, folder: &Path) {
    let path = folder.display().to_string();
    let manifest = show.pipeline.json(&["audit", "report", "--out", &path]);
    let sums = std::process::Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(folder).output().unwrap();
    assert!(sums.status.success(), "{sums:?}");
    assert_eq!(String::from_utf8_lossy(&sums.stdout).matches(": OK").count(), 6, "{sums:?}");
    let outcomes = &manifest["streams"]["outcomes.e2e"];
    assert_eq!((&outcomes["first_offset"], &outcomes["records"]), (&Value::from(0), &outcomes["next_offset"]));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(read("decisions.csv").contains("left, ticket 4711") && read("report.html").contains("left, ticket 4711"));
    assert!(read("deletions.csv").contains("ObjectDeprovisioned"));
    assert!(read("counts.csv").contains("\"control\",\"HeldDecided\",\"1\""), "{}", read("counts.csv"));
    let again = show.pipeline.output(&["audit", "report", "--out", &path]);
    assert_eq!(again.status.code(), Some(2), "what is there is not written over: {again:?}");
}
