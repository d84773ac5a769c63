//! `take-over`, and joins that wait for somebody: what is shown before the first write is what is done then.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Lab, shown};
use serde_json::{Value, json};

const REGISTRATION: &str = "5d0c2b1e-7f3a-4c69-8a51-0f9e6b7c8d21";

/// The attribute of each object of a class that a plan creates.
fn created(plan: &Value, class: &str, attribute: &str) -> Vec<String> {
    let steps = plan["steps"].as_array().unwrap().iter();
    let of = steps.filter(|step| step["action"] == "create" && step["class"] == class);
    of.filter_map(|step| step["changes"][attribute]["after"].as_str().map(str::to_owned)).collect()
}

/// The lines of a report about objects with this fate, and how many of a class it counts.
fn lines<'a>(report: &'a Value, fate: &str, class: &str) -> Vec<&'a Value> {
    let objects = report["objects"].as_array().unwrap().iter();
    let lines: Vec<&Value> = objects.filter(|line| line["fate"] == fate && line["class"] == class).collect();
    let counts = report["counts"].as_array().unwrap().iter();
    let count = counts.filter(|c| c["fate"] == fate && c["class"] == class).find_map(|c| c["count"].as_u64());
    assert_eq!(count.unwrap_or_default(), lines.len() as u64, "{fate} {class}");
    lines
}

struct Seeded {
    lab: Lab,
    /// Ids: of a free user, a synced one, one with another anchor, a free group, two of one name, and somebody else.
    ids: [String; 7],
    users: usize,
    groups: usize,
}

/// A tenant in which some are there already, and a configuration in staging that finds them.
async fn seeded(keys: &str) -> Seeded {
    let lab = Lab::start().await;
    let file = lab.path().join("forestsync.toml");
    let document = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("mode = \"staging\"\n{document}")).unwrap();
    assert_eq!(lab.run(&["run", "--until-idle"]).await.status.code(), Some(0));
    let (_, plan) = lab.json(&["plan", "--json"]).await;
    let (people, crews) = (created(&plan, "user", "userPrincipalName"), created(&plan, "group", "mailNickname"));

    let control = lab.tenant.control();
    let person = |name: &str, more: Value| {
        let mut properties = json!({"userPrincipalName": name, "displayName": "Old", "mailNickname": "old",
            "accountEnabled": true});
        properties.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        control.seed_user(properties).unwrap()
    };
    let crew = |name: &str| {
        let properties = json!({"displayName": "Old", "mailNickname": name, "mailEnabled": false,
            "securityEnabled": true});
        control.seed_group(properties, &[]).unwrap()
    };
    let ids = [
        person(&people[0], json!({})),
        person(&people[1], json!({"onPremisesSyncEnabled": true})),
        person(&people[2], json!({"onPremisesImmutableId": "c29tZWJvZHkgZWxzZQ=="})),
        crew(&crews[0]),
        crew(&crews[1]),
        crew(&crews[1]),
        person("guest@emea.example", json!({})),
    ];
    control.grant_permission("Application.ReadWrite.All", true);
    let client_id = forestsync_practice::tenant::TenantOptions::default().client_id;
    let keys = format!(
        "mode = \"staging\"\n{document}soft_match = [\"upn\"]\ngroup_match = [\"mailNickname\"]\n\
         extension_app = \"{client_id}\"\nextension_app_object = \"{REGISTRATION}\"\n{keys}"
    );
    std::fs::write(&file, keys).unwrap();
    control.reset_counters();
    Seeded { lab, ids, users: people.len(), groups: crews.len() }
}

impl Seeded {
    /// Lets it write, and runs it once. Those who have a name that others shall have are gone by then: it would be tried for
    /// many minutes.
    async fn run(&self) -> Option<i32> {
        for id in self.ids[1..=2].iter().filter(|id| self.lab.tenant.dump().users.iter().any(|user| user.id == **id)) {
            self.lab.tenant.control().delete(id, true).unwrap();
        }
        let file = self.lab.path().join("forestsync.toml");
        let document = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, document.replace("mode = \"staging\"\n", "")).unwrap();
        self.lab.run(&["run", "--until-idle"]).await.status.code()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_there_is_shown_before_the_first_write_and_is_what_is_done() {
    let seeded = seeded("").await;
    let Seeded { lab, ids, users, groups } = &seeded;
    let (code, report) = lab.json(&["take-over", "--json"]).await;
    assert_eq!((code, lab.tenant.counters().writes), (0, 0), "not one write");
    let [free, synced, anchored, group, one, other, guest] = ids;

    let joined = lines(&report, "joined", "user");
    assert_eq!((joined.len(), &joined[0]["cloud"][0]["id"]), (1, &json!(free)));
    assert_eq!(joined[0]["pair"], json!({"wished": "userPrincipalName", "cloud": "userPrincipalName"}));
    assert_eq!(joined[0]["changes"]["displayName"]["before"], "Old");
    let joined = lines(&report, "joined", "group");
    assert_eq!((joined.len(), &joined[0]["cloud"][0]["id"]), (1, &json!(group)));
    assert_eq!(joined[0]["changes"]["displayName"]["before"], "Old");
    let refused: Vec<(&Value, &Value)> =
        lines(&report, "refused", "user").iter().map(|line| (&line["cloud"][0]["id"], &line["code"])).collect();
    for (id, code) in [(synced, "synced_match"), (anchored, "anchored_match")] {
        assert!(refused.contains(&(&json!(id), &json!(code))), "{refused:?}");
    }
    let ambiguous = lines(&report, "refused", "group");
    assert_eq!((ambiguous.len(), &ambiguous[0]["code"]), (1, &json!("ambiguous_match")));
    let with: Vec<&Value> = ambiguous[0]["cloud"].as_array().unwrap().iter().map(|cloud| &cloud["id"]).collect();
    assert!(with.contains(&&json!(one)) && with.contains(&&json!(other)), "{with:?}");
    assert_eq!(lines(&report, "created", "user").len(), users - 1, "also those who are passed over are tried");
    assert_eq!(lines(&report, "created", "group").len(), groups - 2);
    let untouched = lines(&report, "untouched", "user");
    assert_eq!((untouched.len(), &untouched[0]["cloud"][0]["id"]), (1, &json!(guest)));
    assert!(lines(&report, "untouched", "group").is_empty());

    // the same for people, and for a spreadsheet
    let text = shown(&lab.run(&["take-over", "--out", "there.csv"]).await, &lab.path());
    assert!(text.starts_with("exit 0\n") && text.contains("matched and not joined"), "{text}");
    assert!(text.contains(guest.as_str()) && text.contains("displayName: Old -> "), "{text}");
    let csv = std::fs::read_to_string(lab.path().join("there.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + report["objects"].as_array().unwrap().len());
    assert!(csv.contains("\"ambiguous_match\"") && csv.contains("guest@emea.example"));
    let refused = lab.run(&["take-over", "--out", "there.txt"]).await;
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(lab.tenant.counters().writes, 0);

    // and it is what happens
    assert_eq!(seeded.run().await, Some(3));
    let dump = lab.tenant.dump();
    let anchor = joined[0]["anchor"].as_str().unwrap().trim_end_matches('=').replace('+', "-").replace('/', "_");
    let carried = |id: &str| {
        let group = dump.groups.iter().find(|group| group.id == id).unwrap();
        group.properties.iter().find(|(name, _)| name.ends_with("_forestsyncAnchor")).map(|(_, value)| value.clone())
    };
    assert_eq!((carried(group), carried(one), carried(other)), (Some(json!(anchor)), None, None));
    let user = |id: &str| dump.users.iter().find(|user| user.id == id).unwrap();
    assert!(user(free).properties.contains_key("onPremisesImmutableId"));
    assert_eq!((user(guest).properties["displayName"].clone(), dump.groups.len()), (json!("Old"), groups + 1));
    let (_, report) = lab.json(&["take-over", "--json"]).await;
    assert!(lines(&report, "joined", "user").is_empty() && lines(&report, "created", "group").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_wait_for_those_who_approve_them() {
    let seeded = seeded("joins = \"hold\"\n").await;
    let Seeded { lab, ids, .. } = &seeded;
    let (_, report) = lab.json(&["take-over", "--json"]).await;
    let held = lines(&report, "held", "user");
    assert_eq!((held.len(), &held[0]["cloud"][0]["id"]), (1, &json!(ids[0])));
    assert_eq!(held[0]["changes"]["displayName"]["before"], "Old", "what it would change is shown all the same");
    assert_eq!(lines(&report, "held", "group").len(), 1);
    assert_eq!(lab.tenant.counters().writes, 0);

    assert_eq!(seeded.run().await, Some(3));
    let (code, listing) = lab.json(&["held", "--operation", "join", "--json"]).await;
    let all = listing["held"].as_array().unwrap();
    assert_eq!((code, all.len(), &all[0]["cause"]), (3, 2, &json!("join")));
    let user = all.iter().find(|issue| issue["class"] == "user").unwrap();
    assert_eq!(user["join"]["cloud_id"], json!(ids[0]));
    assert_eq!((&user["join"]["pair"]["cloud"], user["dn"].is_string()), (&json!("userPrincipalName"), true));
    let text = shown(&lab.run(&["held", "--cause", "join"]).await, &lab.path());
    assert!(text.contains("found by mailNickname") && text.contains(user["join"]["name"].as_str().unwrap()), "{text}");
    // nothing is written to what waits
    let old = |id: &str| {
        let dump = lab.tenant.dump();
        let of = dump.users.iter().map(|user| (&user.id, &user.properties));
        of.chain(dump.groups.iter().map(|group| (&group.id, &group.properties)))
            .any(|(one, properties)| one == id && properties["displayName"] == "Old")
    };
    assert!(old(&ids[0]) && old(&ids[3]));

    let decide = |what: &'static str, class: &'static str| {
        [what, "--operation", "join", "--class", class, "--reason", "ticket 4711", "--json"]
    };
    let (code, decided) = lab.json(&decide("approve", "user")).await;
    assert_eq!((code, decided["writes"].as_array().map(Vec::len)), (0, Some(1)));
    assert_eq!(lab.run(&decide("reject", "group")).await.status.code(), Some(0));
    assert_eq!(seeded.run().await, Some(3));
    assert!(!old(&ids[0]) && old(&ids[3]), "one was approved, the other one rejected");
    let (_, listing) = lab.json(&["held", "--operation", "join", "--json"]).await;
    let left: Vec<&Value> = listing["held"].as_array().unwrap().iter().map(|issue| &issue["cause"]).collect();
    assert_eq!(left, [&json!("rejected")]);
    let log = shown(&lab.run(&["log", "tail", "control.lab", "--from", "0"]).await, &lab.path());
    assert!(log.contains("ticket 4711"), "{log}");
}
