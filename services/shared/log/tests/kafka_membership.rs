//! Groups on a real broker: one owner per stream at any time, whoever comes, goes, hangs or dies.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

mod kafka;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forestsync_log::{AppendError, Change, Lease, Log, Member, StreamName};
use kafka::{stream, until, value};
use tokio::sync::oneshot;
use tokio::time::Instant;

const SESSION: Duration = Duration::from_secs(6);
const TAKEOVER: Duration = Duration::from_secs(11);

/// A member that follows its group in a task of its own.
struct Follower {
    leases: Arc<Mutex<BTreeMap<StreamName, Lease>>>,
    stop: Option<oneshot::Sender<bool>>,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    async fn join(log: &Arc<dyn Log>, group: &str, instance: &str, streams: &[StreamName]) -> Self {
        let member = Member { group: group.to_owned(), instance: instance.to_owned(), session_timeout: SESSION };
        let mut membership = log.join(member).await.unwrap();
        membership.offer(streams).await.unwrap();
        let leases: Arc<Mutex<BTreeMap<StreamName, Lease>>> = Arc::default();
        let (held, instance) = (Arc::clone(&leases), instance.to_owned());
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                let change = tokio::select! {
                    change = membership.next() => change.unwrap(),
                    orderly = &mut stopped => {
                        if orderly == Ok(true) {
                            membership.leave().await;
                        }
                        return;
                    }
                };
                println!("{instance}: {change:?}");
                match change {
                    Change::Gained(lease) => {
                        membership.report(lease.stream(), format!("{instance} owns it"));
                        held.lock().unwrap().insert(lease.stream().clone(), lease);
                    }
                    Change::Lost(stream) => {
                        let lost = held.lock().unwrap().remove(&stream).unwrap();
                        assert!(!lost.is_valid(), "{instance} lost {stream} and its lease is valid");
                    }
                }
            }
        });
        Self { leases, stop: Some(stop), task }
    }

    fn owns(&self) -> Vec<StreamName> {
        self.leases.lock().unwrap().values().filter(|l| l.is_valid()).map(|l| l.stream().clone()).collect()
    }

    fn lease(&self, stream: &StreamName) -> Option<Lease> {
        self.leases.lock().unwrap().get(stream).cloned()
    }

    async fn end(mut self, orderly: bool) {
        self.stop.take().unwrap().send(orderly).unwrap();
        self.task.await.unwrap();
    }
}

fn streams(test: &str, run: &str, count: usize) -> Vec<StreamName> {
    (0..count).map(|n| stream(&format!("changes.{test}-{n}.{run}"))).collect()
}

/// How many members hold each stream; fails where two hold one.
fn held(members: &[&Follower], streams: &[StreamName]) -> usize {
    let mut held = 0;
    for stream in streams {
        let leases: Vec<Lease> = members.iter().filter_map(|m| m.lease(stream)).collect();
        // asked together, so that time between the questions makes no two of one
        let valid = leases.iter().filter(|lease| lease.is_valid()).count();
        assert!(valid <= 1, "{valid} members hold {stream}");
        held += valid;
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_shared_and_taken_over() {
    let Some(brokers) = kafka::Brokers::any("membership") else { return };
    let run = kafka::run();
    let (group, all) = (format!("collector.{run}"), streams("shared", &run, 4));
    let (log, other) = (brokers.log(), brokers.log());
    let a = Follower::join(&log, &group, "a", &all).await;
    until("a owns all", TAKEOVER, async || (a.owns().len() == 4).then_some(())).await;
    let mut writer = log.writer(&all[0]).await.unwrap();
    writer.append(vec![value(0)]).await.unwrap();

    let b = Follower::join(&other, &group, "b", &all).await;
    until("both own two", TAKEOVER, async || {
        held(&[&a, &b], &all);
        (a.owns().len() == 2 && b.owns().len() == 2).then_some(())
    })
    .await;
    let status = until("both are seen to report", TAKEOVER, async || {
        let status = log.group(&group).await.unwrap();
        let said = |s: &StreamName| status.reports.get(s.as_str()).is_some_and(|r| r.text.ends_with("owns it"));
        all.iter().all(said).then_some(status)
    })
    .await;
    let seen: Vec<(&str, usize)> = status.members.iter().map(|m| (m.instance.as_str(), m.streams.len())).collect();
    assert_eq!(seen, [("a", 2), ("b", 2)]);
    assert!(!status.members[0].host.is_empty());

    // leaving in good order: the other one has everything long before the session times out
    let start = Instant::now();
    b.end(true).await;
    until("a has all again", TAKEOVER, async || (a.owns().len() == 4).then_some(())).await;
    assert!(start.elapsed() < SESSION, "an orderly leave took {:?}", start.elapsed());

    // a subscription may change while joined; a third member takes over what is dropped
    let c = Follower::join(&other, &group, "c", &all[..1]).await;
    until("c has one", TAKEOVER, async || {
        held(&[&a, &c], &all);
        (c.owns().len() == 1 && a.owns().len() == 3).then_some(())
    })
    .await;
    // what was written before by a is fenced once c writes
    if c.owns().contains(&all[0]) {
        other.writer(&all[0]).await.unwrap().append(vec![value(1)]).await.unwrap();
        let late = writer.append(vec![value(1)]).await;
        assert!(matches!(late, Err(AppendError::Fenced(_))), "{late:?}");
    }
    // dropped without leaving, its leases are over at once, and the others wait for the session to time out
    let lease = c.lease(&all[0]);
    let start = Instant::now();
    c.end(false).await;
    assert!(lease.is_none_or(|lease| !lease.is_valid()), "a dropped member's lease is valid");
    until("a has all after c was dropped", TAKEOVER, async || (a.owns().len() == 4).then_some(())).await;
    println!("taken over after {:?}", start.elapsed());
    a.end(true).await;
    until("the group is empty", TAKEOVER, async || log.group(&group).await.unwrap().members.is_empty().then_some(()))
        .await;
}
