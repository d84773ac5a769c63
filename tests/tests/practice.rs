//! The scenario against three practice forests, and what must never be deleted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use forestsync_practice::tls::PrivateCa;
use forestsync_tests::peers;
use forestsync_tests::suite::{self, Disturb};
use forestsync_tests::world::{Peer, World};

struct CutConnections;

impl Disturb for CutConnections {
    async fn controller_dies(&mut self, world: &mut World) {
        let Peer::Practice(forest) = &world.forests[0].peer else { panic!("a practice forest") };
        forest.control().cut_all();
        let access = world.forests[0].directory.access.clone();
        world.forests[0].directory = forestsync_tests::directory::Directory::open(&access).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario() {
    let ca = PrivateCa::new().unwrap();
    let record = peers::scratch().join("practice.jsonl");
    let _absent = std::fs::remove_file(&record);
    let tenant = suite::tenant(&ca, &suite::practice_domains(), Some(record.clone())).await;
    let mut world = World::new(suite::practice_peers(&ca).await, None, tenant).await;
    suite::run(&mut world, &record, &mut CutConnections).await;
    std::fs::remove_file(&record).unwrap();
}
