//! The scenario against three Samba forests: the truth about directories.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use forestsync_practice::tls::PrivateCa;
use forestsync_tests::peers;
use forestsync_tests::samba::{self, KillController, Lab};
use forestsync_tests::suite;
use forestsync_tests::world::{Peer, World};

#[tokio::test(flavor = "multi_thread")]
async fn scenario() {
    if let Some(why) = samba::missing() {
        return peers::skipped("Samba AD DC", why);
    }
    let lab = Lab::up(&[1, 2, 3]);
    let ca = PrivateCa::new().unwrap();
    let record = peers::scratch().join("samba.jsonl");
    let _absent = std::fs::remove_file(&record);
    let domains = [1, 2, 3].map(|n| format!("lab0{n}.local"));
    let tenant = suite::tenant(&ca, &domains, Some(record.clone())).await;
    let forests = [(1, "one"), (2, "two"), (3, "three")].map(|(n, name)| (Peer::Samba(n), lab.access(n, name)));
    let mut world = World::new(forests.into(), Some(lab), tenant).await;
    suite::run(&mut world, &record, &mut KillController(1)).await;
    std::fs::remove_file(&record).unwrap();
    peers::ran("Samba AD DC");
}
