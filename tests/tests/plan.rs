//! A plan that is applied makes exactly the writes that it lists: of the whole scenario, compared with what the tenant was
//! asked on the wire, attribute by attribute and member by member.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use forestsync_domain::{ObjectGuid, SourceAnchor};
use forestsync_practice::oracle::Holdings;
use forestsync_practice::tenant::TenantDump;
use forestsync_practice::tls::PrivateCa;
use forestsync_tests::pipeline::Pipeline;
use forestsync_tests::world::World;
use forestsync_tests::{peers, scenario, suite, wait};
use serde_json::{Map, Value, json};

/// A write: what is done, to which object, and with what: attributes, or the other object. Objects go by anchor.
type Write = (&'static str, String, String);

/// What Graph takes at the creation of a user beside its attributes.
const AT_CREATION: [&str; 2] = ["onPremisesImmutableId", "passwordProfile"];

/// What is known of objects by other names.
#[derive(Default)]
struct Names {
    /// Anchors by distinguished name, as a plan writes it: that of what left the scope is the one it had there.
    by_dn: HashMap<String, String>,
    /// Anchors by the tenant's id, deleted objects included.
    by_id: HashMap<String, String>,
}

impl Names {
    /// Adds what there is now.
    async fn learn(&mut self, world: &mut World) {
        self.by_id.extend(ids(&world.tenant.dump()));
        for n in 0..world.forests.len() {
            for entry in world.entries(n).await {
                let Some(raw) = entry.attributes.get("objectguid") else { continue };
                let guid: [u8; 16] = raw[0].as_slice().try_into().unwrap();
                let own = SourceAnchor::from_guid(ObjectGuid::from_bytes(guid)).as_str().to_owned();
                self.by_dn.insert(entry.dn.to_lowercase(), own);
            }
        }
    }

    /// The anchor of what a plan names.
    fn named(&self, dn: &str) -> String {
        self.by_dn.get(&dn.to_lowercase()).cloned().unwrap_or_else(|| dn.to_owned())
    }

    /// The anchor of what a request names, by its id at the end of an address.
    fn at(&self, address: &str) -> String {
        let id = address.rsplit('/').next().unwrap().replace("%2D", "-");
        self.by_id.get(&id).unwrap_or_else(|| panic!("nobody knows {address}")).clone()
    }
}

fn ids(dump: &TenantDump) -> HashMap<String, String> {
    let text = |properties: &Map<String, Value>, name: &str| Some(properties.get(name)?.as_str()?.to_owned());
    let users = dump.users.iter().chain(&dump.deleted_users);
    let users = users.filter_map(|user| Some((user.id.clone(), text(&user.properties, "onPremisesImmutableId")?)));
    let groups = dump.groups.iter().chain(&dump.deleted_groups);
    let groups = groups.filter_map(|group| Some((group.id.clone(), plain(&text(&group.properties, "uniqueName")?))));
    users.chain(groups).collect()
}

/// The anchor that a group's `uniqueName` is made of.
fn plain(unique: &str) -> String {
    let base64 = unique.replace('-', "+").replace('_', "/");
    format!("{base64}{}", "=".repeat((4 - base64.len() % 4) % 4))
}

/// The writes that a plan lists, sorted.
fn planned(plan: &Value, names: &Names) -> Vec<Write> {
    let mut all = Vec::new();
    for step in plan["steps"].as_array().unwrap() {
        let anchor = step["anchor"].as_str().unwrap().to_owned();
        let after = || {
            let changes = step["changes"].as_object().cloned().unwrap_or_default();
            let values = changes.into_iter().map(|(name, change)| (name, change["after"].clone()));
            json!(values.collect::<BTreeMap<_, _>>()).to_string()
        };
        let others =
            || step["others"].as_array().into_iter().flatten().map(|other| names.named(other.as_str().unwrap()));
        let mut one = |what, with| all.push((what, anchor.clone(), with));
        match step["action"].as_str().unwrap() {
            "create" => one("create", after()),
            "update" => one("update", after()),
            "restore" => one("restore", String::new()),
            "delete" => one("delete", String::new()),
            "set_manager" => one("set manager", others().next().unwrap_or_default()),
            "add_members" => others().for_each(|other| one("add member", other)),
            "remove_members" => others().for_each(|other| one("remove member", other)),
            // nothing is written
            "let_go" => {}
            other => panic!("{other} was not expected: {step}"),
        }
    }
    all.sort();
    all
}

/// Every request of a record with its answer's status, those in batches one by one: method, path, body.
fn requests(record: &Path, from: usize) -> Vec<(String, String, Value)> {
    let text = std::fs::read_to_string(record).unwrap();
    let mut all = Vec::new();
    let mut take = |method: &Value, path: &str, body: &Value, status: &Value| {
        let method = method.as_str().unwrap().to_owned();
        if method != "GET" {
            assert!(status.as_u64().is_some_and(|status| status < 300), "{method} {path} {body}: {status}");
            all.push((method, path.to_owned(), body.clone()));
        }
    };
    for line in text.lines().skip(from) {
        let exchange: Value = serde_json::from_str(line).unwrap();
        let (_, path) = exchange["url"].as_str().unwrap().split_once("/v1.0").unwrap();
        if path != "/$batch" {
            take(&exchange["method"], path, &exchange["request_body"], &exchange["status"]);
            continue;
        }
        let answers = exchange["response_body"]["responses"].as_array().unwrap();
        for item in exchange["request_body"]["requests"].as_array().unwrap() {
            let answer = answers.iter().find(|answer| answer["id"] == item["id"]).unwrap();
            take(&item["method"], item["url"].as_str().unwrap(), &item["body"], &answer["status"]);
        }
    }
    all
}

/// Attributes by dotted name, those of complex ones one by one.
fn attributes(body: &Value) -> String {
    let mut flat = BTreeMap::new();
    for (name, value) in body.as_object().unwrap().iter().filter(|(name, _)| !AT_CREATION.contains(&name.as_str())) {
        match value {
            Value::Object(inner) => flat.extend(inner.iter().map(|(n, v)| (format!("{name}.{n}"), cleared(v)))),
            value => _ = flat.insert(name.clone(), cleared(value)),
        }
    }
    json!(flat).to_string()
}

/// A list is cleared by an empty one.
fn cleared(value: &Value) -> Value {
    if value.as_array().is_some_and(Vec::is_empty) { Value::Null } else { value.clone() }
}

/// The writes that the tenant was asked for, sorted.
fn written(requests: &[(String, String, Value)], names: &Names) -> Vec<Write> {
    let mut all = Vec::new();
    for (method, path, body) in requests {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let link = |body: &Value| names.at(body["@odata.id"].as_str().unwrap());
        match (method.as_str(), parts.as_slice()) {
            ("POST", ["users"]) => {
                let anchor = body["onPremisesImmutableId"].as_str().unwrap();
                all.push(("create", anchor.to_owned(), attributes(body)));
            }
            ("PATCH", [group]) if group.starts_with("groups(uniqueName='") => {
                let name = group.trim_start_matches("groups(uniqueName='").trim_end_matches("')");
                let name = name.replace("%2D", "-").replace("%5F", "_");
                all.push(("create", plain(&name), attributes(body)));
            }
            ("PATCH", ["groups", group]) if body.get("members@odata.bind").is_some() => {
                for member in body["members@odata.bind"].as_array().unwrap() {
                    all.push(("add member", names.at(group), names.at(member.as_str().unwrap())));
                }
            }
            ("PATCH", ["users" | "groups", id]) => all.push(("update", names.at(id), attributes(body))),
            ("DELETE", ["users" | "groups", id]) => all.push(("delete", names.at(id), String::new())),
            ("POST", ["directory", "deletedItems", id, "restore"]) => {
                all.push(("restore", names.at(id), String::new()));
            }
            ("PUT", ["users", id, "manager", "$ref"]) => all.push(("set manager", names.at(id), link(body))),
            ("DELETE", ["users", id, "manager", "$ref"]) => all.push(("set manager", names.at(id), String::new())),
            ("POST", ["groups", id, "members", "$ref"]) => all.push(("add member", names.at(id), link(body))),
            ("DELETE", ["groups", id, "members", member, "$ref"]) => {
                all.push(("remove member", names.at(id), names.at(member)));
            }
            other => panic!("a write of another kind: {other:?} {body}"),
        }
    }
    all.sort();
    all
}

/// Plans, applies, and compares what was planned with what was asked for. How many writes that were.
async fn plan_and_apply(
    world: &mut World,
    pipeline: &Pipeline,
    record: &Path,
    names: &mut Names,
    number: u32,
) -> usize {
    let (code, said) = pipeline.run_until_idle();
    assert_eq!((code, said.contains("in staging")), (Some(0), true), "{said}");
    let file = pipeline.folder().join(format!("plan-{number}.json"));
    let writes = world.tenant.counters().writes;
    let kept = pipeline.output(&["plan", "--out", file.to_str().unwrap()]);
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
    assert_eq!(world.tenant.counters().writes, writes, "a plan writes nothing");
    let from = std::fs::read_to_string(record).unwrap_or_default().lines().count();
    let done = pipeline.output(&["apply", file.to_str().unwrap(), "--json"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");

    let plan: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["done"]["steps"], plan["steps"], "what was done is what was planned");
    let asked = (world.tenant.counters().writes - writes) as usize;
    names.learn(world).await;
    wait::until("every exchange is recorded", suite::ARRIVAL, || {
        let found = requests(record, from).len();
        async move { if found == asked { Ok(()) } else { Err(format!("{found} of {asked}")) } }
    })
    .await;
    let (planned, written) = (planned(&plan, names), written(&requests(record, from), names));
    let beyond = |these: &[Write], those: &[Write]| {
        these.iter().filter(|write| !those.contains(write)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        (beyond(&planned, &written), beyond(&written, &planned)),
        (vec![], vec![]),
        "planned, and written alone"
    );
    assert_eq!(planned, written, "each once");
    assert_eq!(world.differences().await, Vec::<String>::new(), "and it is what was to be done");
    written.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_planned_is_what_is_written() {
    let ca = PrivateCa::new().unwrap();
    let folder = tempfile::tempdir_in(peers::scratch()).unwrap();
    let record = folder.path().join("plan.jsonl");
    let tenant = suite::tenant(&ca, &suite::practice_domains(), Some(record.clone())).await;
    let mut world = World::new(suite::practice_peers(&ca).await, None, tenant).await;
    let pipeline = Pipeline::new(&world.sources(), &world.access, suite::AT_ONCE, suite::WIDE_GUARD);
    pipeline.set_mode("staging");
    let mut names = Names::default();
    let initial = plan_and_apply(&mut world, &pipeline, &record, &mut names, 1).await;
    let objects = Holdings::of(&world.tenant.dump());
    assert!(initial > objects.users.len() + objects.groups.len(), "creations, memberships and managers");

    // many changes at a time, of which some come to nothing; what was made before is taken away and brought back
    let mut number = 1;
    for (what, changes) in scenario::steps() {
        if ["move it back", "delete a group"].contains(&what) {
            number += 1;
            assert!(plan_and_apply(&mut world, &pipeline, &record, &mut names, number).await > 0);
        }
        for change in changes {
            world.apply(&change).await;
        }
    }
    assert!(plan_and_apply(&mut world, &pipeline, &record, &mut names, number + 1).await > 0);
    let counters = world.tenant.counters();
    for operation in ["user.update", "user.delete", "user.restore", "group.create", "group.delete"] {
        assert!(counters.operations.contains_key(operation), "{operation} among {:?}", counters.operations);
    }
    peers::check_exchanges(&[record]);
}
