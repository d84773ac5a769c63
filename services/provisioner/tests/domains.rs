//! The tenant's domains in the log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Lab, user};
use forestsync_schemas::tenant::TenantEvent;

async fn lab(domain: &str) -> Lab {
    let mut lab = Lab::with(|o| o.verified_domains = vec!["emea.example".to_owned(), domain.to_owned()]).await;
    lab.config.tenant.domains_every = Duration::from_millis(20);
    lab
}

/// Runs until there are so many records, and a little longer.
async fn run_until(lab: &Lab, records: usize) {
    let running = lab.start().await;
    while lab.said_of_tenant().await.len() < records {
        tokio::task::yield_now().await;
    }
    let before = lab.tenant.counters().reads;
    while lab.tenant.counters().reads < before + 3 {
        tokio::task::yield_now().await;
    }
    running.end().await;
    assert_eq!(lab.said_of_tenant().await.len(), records);
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_are_written_when_they_differ() {
    let mut lab = lab("One.example").await;
    run_until(&lab, 1).await;
    // nor does the next one repeat it
    run_until(&lab, 1).await;
    let said = lab.said_of_tenant().await.remove(0);
    assert_eq!(
        (said.context.configuration.as_str(), said.context.tenant),
        ("contoso", lab.config.tenant.tenant_id.clone())
    );
    let TenantEvent::DomainsObserved(domains) = said.event;
    assert_eq!(domains.verified, ["emea.example", "one.example", "practice.onmicrosoft.com"]);
    assert_eq!(domains.initial.as_deref(), Some("practice.onmicrosoft.com"));
    // a domain is verified and another one is gone
    let next = self::lab("two.example").await;
    lab.config.tenant = next.config.tenant.clone();
    let running = lab.start().await;
    while lab.said_of_tenant().await.len() < 2 {
        tokio::task::yield_now().await;
    }
    running.end().await;
    let TenantEvent::DomainsObserved(domains) = lab.said_of_tenant().await.remove(1).event;
    assert_eq!(domains.verified, ["emea.example", "practice.onmicrosoft.com", "two.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_does_not_tell_stops_nothing() {
    for status in [403, 500, 503] {
        let lab = lab("one.example").await;
        lab.control.fail_next("GET", "organization", status, u64::MAX, false);
        lab.wish(vec![user(1, &[])]).await;
        let running = lab.start().await;
        lab.idle(&running).await;
        assert!(lab.id(1).is_some());
        let before = lab.tenant.counters().reads;
        while lab.tenant.counters().reads < before + 3 {
            tokio::task::yield_now().await;
        }
        assert!(lab.said_of_tenant().await.is_empty(), "{status}");
        lab.control.fail_next("GET", "organization", status, 0, false);
        while lab.said_of_tenant().await.is_empty() {
            tokio::task::yield_now().await;
        }
        let status = lab.idle(&running).await;
        assert_eq!(status.stopped, None);
        running.end().await;
    }
}
