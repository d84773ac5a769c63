//! What must never delete anybody: a scope that resolves to nothing, an empty forest, a reader that lost its rights, more
//! deletions than the guard lets pass. Each time `status` says why.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use forestsync_practice::forest::Rights;
use forestsync_practice::tls::PrivateCa;
use forestsync_tests::pipeline::Pipeline;
use forestsync_tests::scenario::Change;
use forestsync_tests::suite;
use forestsync_tests::wait;
use forestsync_tests::world::{Peer, World};

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

#[tokio::test(flavor = "multi_thread")]
async fn more_deletions_than_the_guard_lets_pass() {
    let mut s = settled("").await;
    // forest 1 has everything in scope: these are more than a fifth of all users
    for dn in ["OU=Sales,OU=Staff", "OU=R&D\\; Dept,OU=Staff", "OU=Partners", "OU=Service,OU=Staff"] {
        s.world.apply(&Change::DeleteTree(1, dn.into())).await;
    }
    let (code, said) = s.pipeline.run_until_idle();
    assert_eq!(code, Some(3), "{said}");
    s.assert_nobody_deleted();
    s.status_says("the delete guard allows").await;
}
