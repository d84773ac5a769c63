//! From a change in a real directory to the request at Graph.

use std::time::Duration;

use forestsync_practice::tls::PrivateCa;
use forestsync_tests::directory::Directory;
use forestsync_tests::pipeline::{Pipeline, Source};
use forestsync_tests::samba::{self, Lab};
use forestsync_tests::{suite, wait};
use tokio::time::Instant;

use crate::{Measured, median};

const CHANGES: usize = 60;

pub(crate) async fn on_samba() -> Option<Measured> {
    if let Some(why) = samba::missing() {
        println!("latency: skipped, Samba is missing: {why}");
        return None;
    }
    let lab = Lab::up(&[4]);
    let access = lab.access(4, "four");
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
    let (tenant, tenant_access) = suite::tenant(&ca, &["lab04.local".to_owned()], None).await;
    let source = Source { access, include: vec![top.clone()], exclude: Vec::new() };
    let mut pipeline = Pipeline::new(&[source], &tenant_access, suite::NO_QUOTA, "");
    pipeline.start();
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
    pipeline.stop().await;
    let (worst, middle) = (delays.iter().copied().fold(0.0, f64::max), median(delays));
    Some(Measured {
        what: "directory change (Samba) to Graph request, 60 changes",
        value: format!("median {middle:.0} ms, max {worst:.0} ms"),
        floor: "< 200 ms".into(),
        met: middle < 200.0,
    })
}
