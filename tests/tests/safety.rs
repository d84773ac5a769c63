//! What must never delete anybody: a scope that resolves to nothing, an empty forest, a reader that lost its rights, more
//! deletions than the guard lets pass. Each time `status` says why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::time::Duration;

use forestsync_practice::forest::Rights;
use forestsync_practice::tls::PrivateCa;
use forestsync_tests::pipeline::Pipeline;
use forestsync_tests::scenario::Change;
use forestsync_tests::suite;
use forestsync_tests::wait;
use forestsync_tests::world::{Peer, World};
use serde_json::Value;

/// An account that still binds and reads nothing.
const NONE: Rights = Rights { may_dirsync: false, sees_deleted: false, reads_objects: false };

struct Settled {
    world: World,
    pipeline: Pipeline,
    users: usize,
}

/// Three forests, synchronized.
async fn settled(guard: &str) -> Settled {
    let ca = PrivateCa::new().unwrap();
    let tenant = suite::tenant(&ca, &suite::practice_domains(), None).await;
    let world = World::new(suite::practice_peers(&ca).await, None, tenant).await;
    let pipeline = Pipeline::new(&world.sources(), &world.access, suite::NO_QUOTA, guard);
    let (code, said) = pipeline.run_until_idle();
    assert_eq!(code, Some(0), "{said}");
    let users = world.tenant.dump().users.len();
    assert!(users > 100);
    Settled { world, pipeline, users }
}

impl Settled {
    fn assert_nobody_deleted(&self) {
        assert_eq!(self.world.tenant.dump().users.len(), self.users, "users in the tenant");
        assert_eq!(self.world.tenant.dump().deleted_users.len(), 0, "deleted users in the tenant");
    }

    /// Waits until the tenant has this many users.
    async fn tenant_has(&self, users: usize) {
        wait::until(&format!("{users} users"), Duration::from_mins(1), || {
            let has = self.world.tenant.dump().users.len();
            async move { if has == users { Ok(()) } else { Err(format!("there are {has}")) } }
        })
        .await;
    }

    /// Waits until `status` holds `word` somewhere.
    async fn status_says(&mut self, word: &str) {
        let pipeline = &self.pipeline;
        wait::until(&format!("status says {word}"), Duration::from_mins(1), || {
            let status = pipeline.json(&["status"]).to_string();
            async move { if status.contains(word) { Ok(()) } else { Err(status) } }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_container_that_is_deleted() {
    let mut s = settled("").await;
    s.world.apply(&Change::DeleteTree(0, "OU=Staff".into())).await;
    let (code, said) = s.pipeline.run_until_idle();
    assert_eq!(code, Some(3), "{said}");
    s.status_says("scope_container_missing").await;
    s.assert_nobody_deleted();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_container_that_was_misspelt() {
    let ca = PrivateCa::new().unwrap();
    let tenant = suite::tenant(&ca, &suite::practice_domains(), None).await;
    let world = World::new(suite::practice_peers(&ca).await, None, tenant).await;
    let mut sources = world.sources();
    sources[0].include = vec!["OU=Stuff,DC=emea,DC=example".into()];
    let pipeline = Pipeline::new(&sources, &world.access, suite::NO_QUOTA, "");
    let (code, said) = pipeline.run_until_idle();
    assert_eq!(code, Some(3), "{said}");
    assert!(pipeline.json(&["status"]).to_string().contains("OU=Stuff"));
    assert_eq!(world.tenant.dump().users.len(), 0, "nothing is sent by a configuration that is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forest_that_is_empty_all_of_a_sudden() {
    let mut s = settled("").await;
    let Peer::Practice(forest) = &s.world.forests[1].peer else { panic!("a practice forest") };
    let pristine = s.world.forests[1].pristine.as_ref().unwrap();
    forest.control().restore(pristine, true).unwrap();
    let (code, said) = s.pipeline.run_until_idle();
    assert_ne!(code, Some(0), "{said}");
    s.assert_nobody_deleted();
    s.status_says("apac").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_lost_its_rights() {
    let mut s = settled("").await;
    s.pipeline.start();
    let Peer::Practice(forest) = &s.world.forests[2].peer else { panic!("a practice forest") };
    forest.control().set_reader_rights(NONE);
    forest.control().new_invocation_id().unwrap();
    s.world.apply(&Change::Set(2, "CN=u2000,OU=Staff".into(), "title".into(), "Unseen".into())).await;
    s.status_says("rights").await;
    s.pipeline.assert_alive();
    s.assert_nobody_deleted();
    let Peer::Practice(forest) = &s.world.forests[2].peer else { panic!("a practice forest") };
    forest.control().set_reader_rights(Rights::FULL);
    s.world.agree("the change arrives once the rights are back", suite::ARRIVAL).await;
    s.assert_nobody_deleted();
}

/// Far more of forest 1, which has everything in scope, than the guard lets pass.
async fn mass_deletion(s: &mut Settled) {
    for dn in ["OU=Sales,OU=Staff", "OU=R&D\\; Dept,OU=Staff", "OU=Partners", "OU=Service,OU=Staff"] {
        s.world.apply(&Change::DeleteTree(1, dn.into())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_deletions_than_the_guard_lets_pass() {
    let mut s = settled("").await;
    mass_deletion(&mut s).await;
    let (code, said) = s.pipeline.run_until_idle();
    assert_eq!(code, Some(3), "{said}");
    s.assert_nobody_deleted();
    s.status_says("users would be removed, the guard allows").await;
}

/// Waits until the held deletions of users are as they should be.
async fn held_when(s: &Settled, what: &str, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let found = RefCell::new(Vec::new());
    wait::until(what, Duration::from_mins(1), || {
        let listing = s.pipeline.json(&["held", "--operation", "delete", "--class", "user"]);
        let held = listing["held"].as_array().unwrap();
        let is_so = is_so(held);
        found.replace(held.clone());
        async move { if is_so { Ok(()) } else { Err(listing.to_string()) } }
    })
    .await;
    found.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_decided_about_while_a_run_goes_on() {
    let mut s = settled("").await;
    s.pipeline.start();
    mass_deletion(&mut s).await;
    let gone = s.users - s.world.expected().await.users.len();
    let guarded = |held: &[Value]| held.iter().filter(|one| one["cause"] == "guard").count();
    let all = held_when(&s, "the guard holds all of them", |held| guarded(held) == gone).await;
    assert_eq!(s.pipeline.output(&["held"]).status.code(), Some(3));
    let name = |place: usize| all[place]["dn"].as_str().unwrap();
    let approve = |more: &[&str]| s.pipeline.output(&[&["approve", "--reason", "ticket 4711"][..], more].concat());

    // nothing is decided about what is not said, or not held
    for wrong in [&[][..], &["CN=Nobody,DC=apac,DC=example"]] {
        assert_eq!(approve(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let shown = approve(&[name(0), "--dry-run"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("1 write would be approved"), "{shown:?}");
    held_when(&s, "nothing was decided", |held| guarded(held) == gone).await;
    s.assert_nobody_deleted();

    // one goes, one is to stay, and nothing becomes of the others
    assert_eq!(approve(&[name(0)]).status.code(), Some(0));
    let rejected = s.pipeline.output(&["reject", "--reason", "still needed", name(1)]);
    assert_eq!(rejected.status.code(), Some(0), "{rejected:?}");
    let rejected = |held: &[Value]| held.iter().filter(|one| one["cause"] == "rejected").count();
    let is_so = |held: &[Value]| (rejected(held), guarded(held)) == (1, gone - 2);
    held_when(&s, "both are carried out", is_so).await;
    s.tenant_has(s.users - 1).await;

    // by filter, and what is left of it
    let approved = approve(&["--class", "user", "--cause", "guard"]);
    assert_eq!(approved.status.code(), Some(0), "{approved:?}");
    held_when(&s, "one is left", |held| held.len() == 1 && rejected(held) == 1).await;
    s.tenant_has(s.users - gone + 1).await;
    let log = s.pipeline.output(&["log", "tail", "control.e2e", "--from", "0"]);
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert_eq!(log.matches("ticket 4711").count(), 2, "{log}");
    assert!(log.contains("reject of 1 write by"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_lost_goes_once_somebody_approves_it() {
    let mut s = settled(suite::WIDE_GUARD).await;
    s.pipeline.start();
    let Peer::Practice(forest) = &s.world.forests[1].peer else { panic!("a practice forest") };
    forest.control().set_hidden(&format!("OU=Sales,OU=Staff,{}", forest.base()), true).unwrap();
    forest.control().new_invocation_id().unwrap();
    s.world.apply(&Change::Set(1, "CN=u1000,OU=Staff".into(), "title".into(), "Late".into())).await;
    s.status_says("source_shrunken").await;
    let listed = |s: &Settled| s.pipeline.json(&["held", "--source", "apac"]);
    let hold = listed(&s)["holds"][0].clone();
    assert_eq!((&hold["decidable"], &hold["doubt"]["kind"]), (&Value::from(true), &Value::from("fewer")), "{hold}");
    assert_eq!(hold["leaving"], hold["doubt"]["missing"], "{hold}");
    assert!(hold["naming_context"] == "DC=apac,DC=example" && hold["leaving"].as_u64() >= Some(20), "{hold}");

    // a source is decided about only where it is named
    let decide =
        |verb: &str, more: &[&str]| s.pipeline.output(&[&[verb, "--reason", "ticket 4712"][..], more].concat());
    assert_eq!(decide("approve", &["--all"]).status.code(), Some(1));
    assert_eq!(decide("approve", &["--cause", "source-shrunken"]).status.code(), Some(1));
    assert_eq!(decide("approve", &["--source", "nowhere"]).status.code(), Some(2));
    assert_eq!(decide("approve", &["--source", "apac", "--all"]).status.code(), Some(2));
    let shown = decide("approve", &["--source", "apac", "--dry-run"]);
    assert!(String::from_utf8_lossy(&shown.stdout).starts_with("1 hold would be approved"), "{shown:?}");
    let rejected = decide("reject", &["--source", "apac"]);
    assert_eq!(rejected.status.code(), Some(0), "{rejected:?}");
    let hold = listed(&s)["holds"][0].clone();
    assert_eq!((&hold["decided"]["verdict"], &hold["decided"]["reason"]), (&"reject".into(), &"ticket 4712".into()));
    let said = s.pipeline.output(&["held"]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("rejected by "), "{said:?}");
    s.assert_nobody_deleted();

    let approved = decide("approve", &["--source", "apac"]);
    assert_eq!(approved.status.code(), Some(0), "{approved:?}");
    s.tenant_has(s.users - 20).await;
    let dump = s.world.tenant.dump();
    let names: Vec<&str> = dump.users.iter().filter_map(|u| u.properties["userPrincipalName"].as_str()).collect();
    assert!(names.contains(&"u1000@apac.example") && !names.contains(&"u1001@apac.example"), "{names:?}");
    assert_eq!(listed(&s)["holds"], serde_json::json!([]));
    let log = |stream: &str| {
        let log = s.pipeline.output(&["log", "tail", stream, "--from", "0"]);
        String::from_utf8_lossy(&log.stdout).into_owned()
    };
    let control = log("control.e2e");
    for verdict in ["reject of apac DC=apac,DC=example by", "approve of apac DC=apac,DC=example by"] {
        assert!(control.contains(verdict), "{control}");
    }
    assert_eq!(control.matches("ticket 4712").count(), 2, "{control}");
    assert!(log("decisions.e2e").contains("FullReadApproved"));
    s.pipeline.stop().await;
    let verified = s.pipeline.output(&["replay", "--verify"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_emptied_is_let_go_once_somebody_approves_it() {
    let mut s = settled("[delete_guard]\ncount = 3\nshare = 1.0\n").await;
    s.pipeline.start();
    let name = s.world.sources()[2].access.name.clone();
    for n in 0..4 {
        s.world.apply(&Change::Delete(2, format!("CN=par2{n},OU=Partners"))).await;
    }
    s.status_says("scope_empty").await;
    s.assert_nobody_deleted();
    let hold = s.pipeline.json(&["held", "--source", &name])["holds"][0].clone();
    assert_eq!((hold["emptied"].as_array().unwrap().len(), &hold["leaving"]), (1, &Value::from(4)), "{hold}");
    let approved = s.pipeline.output(&["approve", "--reason", "ticket 4714", "--source", &name]);
    assert_eq!(approved.status.code(), Some(0), "{approved:?}");
    held_when(&s, "the guard counts what follows", |held| held.len() == 4).await;
    assert_eq!(s.pipeline.json(&["held"])["holds"], serde_json::json!([]));
    s.assert_nobody_deleted();
    let approved = s.pipeline.output(&["approve", "--reason", "ticket 4714", "--all"]);
    assert_eq!(approved.status.code(), Some(0), "{approved:?}");
    s.tenant_has(s.users - 4).await;
    s.pipeline.stop().await;
}
