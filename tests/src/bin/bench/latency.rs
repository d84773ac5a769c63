//! From a change in a real directory to the request at Graph: in one process, and through Kafka in three.

use std::time::Duration;

use forestsync_practice::tls::PrivateCa;
use forestsync_tests::directory::Directory;
use forestsync_tests::kafka::{self, Cluster};
use forestsync_tests::pipeline::{Pipeline, Source, TenantAccess};
use forestsync_tests::samba::{self, Lab};
use forestsync_tests::services::Services;
use forestsync_tests::suite::System;
use forestsync_tests::{suite, wait};
use tokio::time::Instant;

use crate::{Measured, median};

const CHANGES: usize = 60;

pub(crate) async fn on_samba() -> Option<Measured> {
    if let Some(why) = samba::missing() {
        println!("latency: skipped, Samba is missing: {why}");
        return None;
    }
    let make = |sources: &[Source], tenant: &TenantAccess| Pipeline::new(sources, tenant, suite::NO_QUOTA, "");
    Some(measure("directory change (Samba) to Graph request, 60 changes", 200.0, make).await)
}

pub(crate) async fn through_kafka() -> Option<Measured> {
    if let Some(why) = samba::missing().or_else(kafka::missing) {
        println!("latency through Kafka: skipped: {why}");
        return None;
    }
    let cluster = Cluster::up("latency", 1);
    let make = |sources: &[Source], tenant: &TenantAccess| {
        let mut services = Services::new(sources, tenant, suite::NO_QUOTA, "", cluster.bootstrap());
        // one of each: three processes
        services.all.retain(|service| service.instance.ends_with("-a"));
        services
    };
    Some(measure("the same through Kafka, three processes", 400.0, make).await)
}

async fn measure<S: System>(
    what: &'static str,
    floor_ms: f64,
    make: impl FnOnce(&[Source], &TenantAccess) -> S,
) -> Measured {
    let lab = Lab::up(&[3]);
    let access = lab.access(3, "three");
    let mut directory = Directory::open(&access).await;
    let top = directory.dn("OU=Bench");
    directory.add(&top, &[("objectClass", "organizationalUnit")]).await;
    let dn = |n: usize| format!("CN=u{n},{top}");
    for n in 0..CHANGES {
        let (dn, sam) = (dn(n), format!("u{n}"));
        let attributes = [("objectClass", "user"), ("sAMAccountName", sam.as_str()), ("userAccountControl", "544")];
        directory.add(&dn, &attributes).await;
    }
    let ca = PrivateCa::new().unwrap();
    let (tenant, tenant_access) = suite::tenant(&ca, &["lab03.local".to_owned()], None).await;
    let source = Source { access, include: vec![top.clone()], exclude: Vec::new() };
    let mut system = make(&[source], &tenant_access);
    system.start();
    wait::until("the initial load", Duration::from_mins(2), || {
        let users = tenant.dump().users.len();
        async move { if users == CHANGES { Ok(()) } else { Err(format!("{users} users")) } }
    })
    .await;
    let mut delays = Vec::new();
    for n in 0..CHANGES {
        directory.set(&dn(n), "title", &format!("changed {n}")).await;
        let (changed, sent) = (Instant::now(), format!("changed {n}"));
        wait::until("the change arrives", Duration::from_mins(1), || {
            let there = tenant.dump().users.iter().any(|u| u.properties.get("jobTitle").is_some_and(|v| *v == sent));
            async move { if there { Ok(()) } else { Err("not yet".into()) } }
        })
        .await;
        let last = tenant.control().writes().iter().map(|w| w.at).max().unwrap();
        delays.push(last.saturating_duration_since(changed).as_secs_f64() * 1000.0);
    }
    system.stop().await;
    let (worst, middle) = (delays.iter().copied().fold(0.0, f64::max), median(delays));
    Measured {
        what,
        value: format!("median {middle:.0} ms, max {worst:.0} ms"),
        floor: format!("< {floor_ms:.0} ms"),
        met: middle < floor_ms,
    }
}
