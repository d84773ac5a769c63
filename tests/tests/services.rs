//! The scenario with forestsync as microservices: three Samba forests, Apache Kafka, two processes of each service.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use forestsync_practice::tls::PrivateCa;
use forestsync_tests::kafka::{self, Cluster};
use forestsync_tests::samba::{self, KillController, Lab};
use forestsync_tests::services::{Kind, Services};
use forestsync_tests::suite::{self, System as _};
use forestsync_tests::world::{Peer, World};
use forestsync_tests::{peers, wait};

/// How long a stand-by may take to work in the place of one that died or hangs, by the defaults.
const TAKEOVER: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn scenario() {
    if let Some(why) = samba::missing() {
        return peers::skipped("Samba AD DC", why);
    }
    if let Some(why) = kafka::missing() {
        return peers::skipped("Apache Kafka", why);
    }
    let cluster = Cluster::up("services", 1);
    let lab = Lab::up(&[7, 8, 9]);
    let ca = PrivateCa::new().unwrap();
    let record = peers::scratch().join("services.jsonl");
    let _absent = std::fs::remove_file(&record);
    let domains = [7, 8, 9].map(|n| format!("lab0{n}.local"));
    let tenant = suite::tenant(&ca, &domains, Some(record.clone())).await;
    let forests = [(7, "one"), (8, "two"), (9, "three")].map(|(n, name)| (Peer::Samba(n), lab.access(n, name)));
    let mut world = World::new(forests.into(), Some(lab), tenant).await;
    let mut services =
        Services::new(&world.sources(), &world.access, suite::NO_QUOTA, suite::WIDE_GUARD, cluster.bootstrap());
    suite::run_with(&mut world, &mut services, &record, &mut KillController(7)).await;
    std::fs::remove_file(&record).unwrap();
    peers::ran("Samba AD DC");
    peers::ran("Apache Kafka");
}

/// One of each kind works and the other waits; who is killed or hangs is replaced in time, and who comes back from a hang
/// stands by and disturbs nobody.
#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_is_replaced_and_fenced() {
    if let Some(why) = kafka::missing() {
        return peers::skipped("Apache Kafka", why);
    }
    let cluster = Cluster::up("standby", 1);
    let ca = PrivateCa::new().unwrap();
    let tenant = suite::tenant(&ca, &suite::practice_domains(), None).await;
    let mut world = World::new(suite::practice_peers(&ca).await, None, tenant).await;
    let mut services =
        Services::new(&world.sources(), &world.access, suite::NO_QUOTA, suite::WIDE_GUARD, cluster.bootstrap());
    services.load(&mut world).await;
    let change = |n: usize| {
        let (dn, name) = ("CN=u0000,OU=Staff".to_owned(), format!("Changed {n}"));
        forestsync_tests::scenario::Change::Set(0, dn, "displayName".to_owned(), name)
    };
    let kinds = [Kind::Collector("emea".to_owned()), Kind::Projector, Kind::Provisioner];
    for (n, kind) in kinds.iter().enumerate() {
        let first = services.taken_over(kind, None, TAKEOVER).await;
        services.all[first].pause();
        world.apply(&change(n)).await;
        let second = services.taken_over(kind, Some(first), TAKEOVER).await;
        world.agree("a change while somebody hangs", suite::ARRIVAL).await;
        services.all[first].resume();
        let what = "who comes back stands by";
        wait::until(what, suite::ARRIVAL, || {
            let group = services.group(kind);
            let ready = services.all[first].ready();
            let both = group["members"].as_array().is_some_and(|members| members.len() == 2);
            let still = services.owner(kind) == Some(second);
            async move { if both && still && ready.is_ok() { Ok(()) } else { Err(format!("{ready:?} {group}")) } }
        })
        .await;
        world.apply(&change(n + 10)).await;
        world.agree("a change after it came back", suite::ARRIVAL).await;
        services.all[second].kill9();
        world.apply(&change(n + 20)).await;
        services.taken_over(kind, Some(second), TAKEOVER).await;
        world.agree("a change after a kill", suite::ARRIVAL).await;
        services.start();
        services.assert_alive();
    }
    services.settle(&mut world).await;
    suite::created_once(&world);
    services.replay().await;
    peers::ran("Apache Kafka");
}
