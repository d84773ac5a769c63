//! A configuration is removed beside a process that runs, which is killed in the middle of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use forestsync_practice::tls::PrivateCa;
use forestsync_tests::pipeline::Pipeline;
use forestsync_tests::scenario::Change;
use forestsync_tests::suite;
use forestsync_tests::wait;
use forestsync_tests::world::World;
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(2);

async fn settled(guard: &str) -> (World, Pipeline) {
    let ca = PrivateCa::new().unwrap();
    let tenant = suite::tenant(&ca, &suite::practice_domains(), None).await;
    let world = World::new(suite::practice_peers(&ca).await, None, tenant).await;
    // one request at a time, so that there is a middle
    let keys = format!("{}in_flight = 1\n", suite::AT_ONCE);
    let pipeline = Pipeline::new(&world.sources(), &world.access, &keys, guard);
    let (code, said) = pipeline.run_until_idle();
    assert_eq!(code, Some(0), "{said}");
    (world, pipeline)
}

fn remove(pipeline: &Pipeline, objects: &str) -> (Option<i32>, String) {
    let reason = ["--confirm", "e2e", "--reason", "the company was sold"];
    let out = pipeline.output(&[&["remove-configuration", "--objects", objects][..], &reason].concat());
    let said = format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_beside_a_process_that_is_killed_in_the_middle() {
    let (mut world, mut pipeline) = settled("").await;
    let (users, groups) = (world.tenant.dump().users.len(), world.tenant.dump().groups.len());
    pipeline.start();
    let preview = pipeline.json(&["remove-configuration", "--objects", "delete", "--dry-run"]);
    let counts = preview["preview"]["plan"]["counts"].as_array().unwrap();
    let goes = |class: &str| {
        let found = counts.iter().find(|c| c["class"] == class && c["action"] == "delete");
        found.and_then(|c| c["count"].as_u64()).unwrap_or_default() as usize
    };
    assert_eq!((goes("user"), goes("group")), (users, groups));
    assert_eq!(world.tenant.dump().users.len(), users, "a preview deletes nobody");

    // slow enough that the kill meets the middle
    world.tenant.control().set_latency(Duration::from_millis(150));
    let config = pipeline.config();
    let removal = std::thread::spawn(move || {
        let mut command = std::process::Command::new(forestsync_tests::peers::binary("forestsync"));
        command.args(["remove-configuration", "--objects", "delete", "--confirm", "e2e", "--reason", "sold", "--json"]);
        command.arg("-c").arg(config).stdin(std::process::Stdio::null()).output().unwrap()
    });
    wait::until("some are deleted", LIMIT, || {
        let has = world.tenant.dump().users.len();
        async move { if has < users { Ok(()) } else { Err(format!("there are {has}")) } }
    })
    .await;
    pipeline.kill9();
    // whoever waits for it takes over
    let done = tokio::task::spawn_blocking(move || removal.join().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert_eq!(done.status.code(), Some(0), "{report} {said}");
    let dump = world.tenant.dump();
    assert_eq!((dump.users.len(), dump.groups.len(), dump.deleted_users.len()), (0, 0, users));
    assert_eq!(pipeline.json(&["status"])["removed"]["is_done"], true);
    // what changes in the forests changes nothing any more
    world.apply(&Change::Set(2, "CN=u2000,OU=Staff".into(), "title".into(), "Unseen".into())).await;
    let (code, said) = pipeline.run_until_idle();
    assert!(code == Some(2) && said.contains("activate --again"), "{said}");
    assert_eq!(world.tenant.dump().users.len(), 0);

    // again in force, everybody is who they were
    assert_eq!(pipeline.output(&["activate", "--again"]).status.code(), Some(0));
    let (code, said) = pipeline.run_until_idle();
    assert_eq!(code, Some(0), "{said}");
    suite::finish(&mut world, &mut pipeline).await;
    assert_eq!(world.tenant.dump().users.len(), users);
}

#[tokio::test(flavor = "multi_thread")]
async fn released_beside_a_process_that_ends_by_itself() {
    let (world, mut pipeline) = settled("").await;
    let before = world.tenant.dump();
    pipeline.start();
    let (code, said) = remove(&pipeline, "release");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(world.tenant.dump(), before);
    wait::until("it ends, for it has nothing left to do", LIMIT, || {
        let log = pipeline.log_tail();
        async move { if log.contains("nothing is left of it") { Ok(()) } else { Err(log) } }
    })
    .await;
    pipeline.stop().await;
    assert_eq!(pipeline.json(&["status"])["removed"]["is_done"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_period_counts_also_then() {
    let (world, mut pipeline) = settled("[delete_guard]\ngrace = \"1d\"\n").await;
    let users = world.tenant.dump().users.len();
    let (code, said) = remove(&pipeline, "delete");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("disabled, deleted until"), "{said}");
    let dump = world.tenant.dump();
    assert_eq!((dump.users.len(), dump.groups.len()), (users, 0));
    assert!(dump.users.iter().all(|user| user.properties["accountEnabled"] == false));
    // a run goes on with it, and the brake stops it
    pipeline.start();
    assert_eq!(pipeline.json(&["status"])["removed"]["is_done"], false);
    let (code, said) = remove(&pipeline, "release");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(world.tenant.dump().users.len(), users);
    pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_itself_a_run_goes_on_with_it() {
    let (world, pipeline) = settled("").await;
    let users = world.tenant.dump().users.len();
    world.tenant.control().set_latency(Duration::from_millis(150));
    let mut command = std::process::Command::new(forestsync_tests::peers::binary("forestsync"));
    command.args(["remove-configuration", "--objects", "delete", "--confirm", "e2e", "--reason", "sold"]);
    command.arg("-c").arg(pipeline.config()).stdin(std::process::Stdio::null());
    let mut removal = command.spawn().unwrap();
    wait::until("some are deleted", LIMIT, || {
        let has = world.tenant.dump().users.len();
        async move { if has < users { Ok(()) } else { Err(format!("there are {has}")) } }
    })
    .await;
    removal.kill().unwrap();
    removal.wait().unwrap();
    world.tenant.control().set_latency(Duration::ZERO);
    let (code, said) = pipeline.run_until_idle();
    assert_eq!(code, Some(0), "{said}");
    let dump = world.tenant.dump();
    assert_eq!((dump.users.len(), dump.groups.len(), dump.deleted_users.len()), (0, 0, users));
    assert_eq!(pipeline.json(&["status"])["removed"]["is_done"], true);
}
