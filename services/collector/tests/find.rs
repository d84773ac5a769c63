//! How a collector finds what it reads: the domains of a forest, the controllers of a domain by DNS, which of them holds
//! what, and another one when one is gone; and a single pass.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on ends")]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::mirror::Mirror;
use common::{PATIENCE, Peer, Practice, Stage, kinds};
use forestsync_collector::{
    CheckCode, CheckOutcome, Collector, Forest, ForestConfig, OnceError, Phase, SrvConfig, check, discover,
};
use forestsync_schemas::changes::{ChangeEvent, SnapshotReason, StopCause};
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A name server on the loopback address, for SRV and A records.
struct NameServer {
    address: SocketAddr,
    records: Arc<Mutex<Vec<Record>>>,
    questions: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl NameServer {
    async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let (records, questions) = (Arc::new(Mutex::new(Vec::<Record>::new())), Arc::new(AtomicU64::new(0)));
        let (known, counted) = (Arc::clone(&records), Arc::clone(&questions));
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let asked = Message::from_vec(&buffer[..length]).unwrap();
                let question = asked.queries[0].clone();
                let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
                answer.metadata.message_type = MessageType::Response;
                answer.metadata.recursion_available = true;
                answer.add_query(question.clone());
                let fits =
                    |record: &&Record| record.name == *question.name() && record.record_type() == question.query_type();
                let found: Vec<Record> = known.lock().unwrap().iter().filter(fits).cloned().collect();
                if question.query_type() == RecordType::SRV {
                    counted.fetch_add(1, Ordering::AcqRel);
                }
                if found.is_empty() {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                }
                answer.add_answers(found);
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        Self { address, records, questions, _task: AbortOnDropHandle::new(task) }
    }

    /// Puts the record that a controller registers.
    fn register(&self, service: &str, priority: u16, practice: &Practice, ttl: u32) {
        let host = Name::from_ascii(format!("{}.", practice.peer.host)).unwrap();
        let name = Name::from_ascii(format!("_ldap._tcp.{service}.")).unwrap();
        let port = practice.forest.ldap_addr().port();
        let mut records = self.records.lock().unwrap();
        let srv = SRV::new(priority, 100, port, host.clone());
        records.push(Record::from_rdata(name, ttl, RData::SRV(srv)));
        records.push(Record::from_rdata(host, ttl, RData::A(A(Ipv4Addr::LOCALHOST))));
    }

    fn forget(&self) {
        self.records.lock().unwrap().clear();
    }

    fn asked(&self) -> u64 {
        self.questions.load(Ordering::Acquire)
    }
}

/// Another controller of the practice domain, with an invocationId of its own.
async fn second(change: impl FnOnce(&mut forestsync_practice::forest::ForestOptions)) -> Practice {
    Practice::populated(10, |options| {
        options.host = "dc02.lab.example".into();
        options.seed = 7; // otherwise it has the same invocationId
        change(options);
    })
    .await
}

/// Trusts the certificates of all of them.
fn trust(config: &mut ForestConfig, peers: &[&Peer]) {
    let all: String = peers.iter().map(|peer| std::fs::read_to_string(&peer.ca_file).unwrap()).collect();
    let file = peers[0].ca_file.with_file_name("all.pem");
    std::fs::write(&file, all).unwrap();
    config.ca_file = Some(file);
}

fn by_dns(practice: &Practice, dns: &NameServer) -> ForestConfig {
    let mut config = practice.peer.config();
    config.controllers.clear();
    let mut srv = SrvConfig::new("lab.example");
    (srv.start_tls, srv.servers) = (true, vec![dns.address]);
    config.srv = Some(srv);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_are_found_by_dns_the_site_first() {
    let (practice, near, dns) =
        (Practice::populated(10, |_| {}).await, second(|_| {}).await, NameServer::start().await);
    let mut config = by_dns(&practice, &dns);
    trust(&mut config, &[&practice.peer, &near.peer]);
    config.srv.as_mut().unwrap().site = Some("Berlin".into());
    let stage = Stage::new();
    // nothing is registered yet: said, and asked again
    let running = stage.run(config.clone());
    let Phase::Stopped { detail, hint, .. } = running.stopped(StopCause::Unreachable).await.phase else { panic!() };
    assert!(detail.contains("_ldap._tcp.dc._msdcs.lab.example") && hint.contains("dns_servers"), "{detail}: {hint}");
    let lines = check(&config).await;
    assert_eq!((lines[0].code, lines[0].outcome), (CheckCode::Controllers, CheckOutcome::Failed), "{lines:#?}");
    dns.register("dc._msdcs.lab.example", 0, &practice, 60);
    dns.register("Berlin._sites.dc._msdcs.lab.example", 0, &near, 60);
    running.settle().await;
    assert_eq!(practice.control.counters().connections, 0, "the site has a controller of its own");
    running.stop().await;
    let lines = check(&config).await;
    assert_eq!((lines[0].code, lines[0].outcome), (CheckCode::Controllers, CheckOutcome::Ok), "{lines:#?}");
    assert!(lines[0].detail.contains("ldap://dc02.lab.example"), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.outcome == CheckOutcome::Failed), "{lines:#?}");
    // a site without controllers is served by those of the domain
    config.srv.as_mut().unwrap().site = Some("Nowhere".into());
    let stage = Stage::new();
    let running = stage.run(config);
    running.settle().await;
    assert!(practice.control.counters().connections > 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_vanished_is_waited_for_then_left_for_good() {
    let (home, other, dns) = (Practice::populated(10, |_| {}).await, second(|_| {}).await, NameServer::start().await);
    dns.register("dc._msdcs.lab.example", 0, &home, 1);
    let mut config = by_dns(&home, &dns);
    trust(&mut config, &[&home.peer, &other.peer]);
    config.failover_after = Duration::from_hours(1);
    config.connect_timeout = Duration::from_secs(2);
    let (stage, stream) = (Stage::new(), home.peer.stream());
    let running = stage.run(config.clone());
    running.settle().await;
    // its record is replaced, and it is gone
    dns.forget();
    dns.register("dc._msdcs.lab.example", 0, &other, 1);
    let asked = dns.asked();
    home.control.pause();
    home.control.cut_all();
    let waits = "dc01.lab.example is waited for until 2";
    running
        .wait("being waited for", |row| matches!(&row.phase, Phase::Stopped { detail, .. } if detail.contains(waits)))
        .await;
    assert!(dns.asked() > asked, "the time to live is over");
    assert_eq!(other.control.counters().connections, 0);
    running.stop().await;
    config.failover_after = Duration::ZERO;
    let running = stage.run(config.clone());
    running.wait("the other controller", |row| row.snapshots == 1 && row.phase == Phase::Following).await;
    assert_eq!(stage.snapshots(&stream).await, [SnapshotReason::First, SnapshotReason::InvocationIdChanged]);
    // the first is back and comes first: the one that was read last is stayed with
    home.control.resume();
    dns.forget();
    dns.register("dc._msdcs.lab.example", 0, &home, 1);
    dns.register("dc._msdcs.lab.example", 9, &other, 1);
    other.control.cut_all();
    running.settle().await;
    running.settle().await;
    assert_eq!(stage.snapshots(&stream).await.len(), 2, "no third full read");
    running.stop().await;
    let running = stage.run(config);
    running.settle().await;
    assert_eq!(stage.snapshots(&stream).await.len(), 2, "nor after a restart");
    running.stop().await;
}

/// A forest of two domains, each with a controller.
async fn forest() -> (Practice, Practice, ForestConfig) {
    let inner = "DC=sub,DC=lab,DC=example";
    let root = Practice::populated(10, |options| options.other_domains = vec![inner.into()]).await;
    let child = Practice::start(|options| {
        *options = forestsync_practice::forest::ForestOptions::new("lab", inner, "Adm1n", "Re4der");
        options.other_domains = vec!["DC=lab,DC=example".into()];
    })
    .await;
    let mut config = root.peer.config();
    config.bind_name = "LAB\\forestsync-reader".into();
    config.controllers.extend(child.peer.config().controllers);
    config.all_domains = true;
    trust(&mut config, &[&root.peer, &child.peer]);
    (root, child, config)
}

fn stream_of(practice: &Practice) -> forestsync_log::StreamName {
    forestsync_schemas::streams::changes("lab", &practice.forest.base().parse().unwrap()).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_domains_are_read_each_from_who_holds_it() {
    let (root, child, config) = forest().await;
    let found = discover(&config).await.unwrap();
    let names: Vec<&str> = found.iter().map(|domain| domain.dns_root.as_str()).collect();
    assert_eq!(names, ["lab.example", "sub.lab.example"]);
    assert_eq!(found[1].naming_context, "DC=sub,DC=lab,DC=example".parse().unwrap());
    assert_eq!(found[0].netbios_name.as_deref(), Some("LAB"));
    let stage = Stage::new();
    let collector = Collector::new(config.clone(), Arc::clone(&stage.log)).unwrap();
    let (mut rows, stop) = (collector.status(), CancellationToken::new());
    let task = tokio::spawn(collector.run(stop.clone()));
    let all =
        |rows: &Vec<forestsync_collector::CollectorStatus>| rows.len() == 2 && rows.iter().all(|row| row.passes > 1);
    let waited = tokio::time::timeout(PATIENCE, rows.wait_for(all)).await.is_ok();
    assert!(waited, "{:?}", rows.borrow());
    stop.cancel();
    task.await.unwrap().unwrap();
    for (practice, peer) in [(&root, &root.peer), (&child, &child.peer)] {
        let records = stage.records(&stream_of(practice), 0).await;
        let mut ldap = peer.admin_as("LAB\\Administrator").await;
        Mirror::of(&records).assert_is(&Mirror::of_directory(&mut ldap, peer).await, &[]);
        let stops = stage.stops(&stream_of(practice)).await;
        assert!(stops.is_empty(), "who does not hold it is no trouble: {stops:?}");
    }
    let lines = check(&config).await;
    assert!(!lines.iter().any(|line| line.outcome == CheckOutcome::Failed), "{lines:#?}");
    let domains = lines.iter().find(|line| line.code == CheckCode::Domains).unwrap();
    assert!(domains.detail.contains("2: lab.example, sub.lab.example"), "{lines:#?}");
    assert_eq!(lines.last().unwrap().detail, "held by dc01.sub.lab.example");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_all_domains_exist_before_any_has_a_record() {
    let (root, child, config) = forest().await;
    let stage = Stage::new();
    let forest = Forest::new(config).unwrap();
    let found = forest.naming_contexts().await.unwrap();
    forest.create_streams(stage.log.as_ref(), &found).await.unwrap();
    assert_eq!(stage.log.streams().await.unwrap(), [stream_of(&root), stream_of(&child)]);
    assert_eq!((stage.tail(&stream_of(&root)).await, stage.tail(&stream_of(&child)).await), (0, 0));
    // asked again it changes nothing, not even under somebody who writes
    let _writer = stage.log.writer(&stream_of(&root)).await.unwrap();
    forest.create_streams(stage.log.as_ref(), &found).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collectors_of_one_forest_wait_at_one_door() {
    let (root, child, mut config) = forest().await;
    config.password = "wrong".to_owned().into();
    let domains = ["DC=lab,DC=example", "DC=sub,DC=lab,DC=example"].map(|nc| nc.parse().unwrap());
    let (stage, forest, stop) = (Stage::new(), Forest::new(config).unwrap(), CancellationToken::new());
    let mut tasks = Vec::new();
    for nc in domains {
        let collector = forest.collector(vec![nc], Arc::clone(&stage.log));
        let mut rows = collector.status();
        tasks.push(tokio::spawn(collector.run(stop.clone())));
        let stopped = |rows: &Vec<forestsync_collector::CollectorStatus>| {
            matches!(rows[0].phase, Phase::Stopped { cause: StopCause::Credentials, .. })
        };
        assert!(tokio::time::timeout(PATIENCE, rows.wait_for(stopped)).await.is_ok(), "{:?}", rows.borrow());
    }
    let refused = |practice: &Practice| practice.control.counters().refused_binds;
    assert_eq!(refused(&root) + refused(&child), 1);
    let error = forest.domains().await.unwrap_err();
    assert_eq!((error.cause, refused(&root) + refused(&child)), (StopCause::Credentials, 1), "{error}");
    stop.cancel();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_pass_is_complete_and_durable() {
    let practice = Practice::populated(20, |options| options.max_page_objects = 10).await;
    let (stage, stream) = (Stage::new(), practice.peer.stream());
    let once = |config: ForestConfig| Collector::new(config, Arc::clone(&stage.log)).unwrap();
    let first = once(practice.peer.config()).run_once(CancellationToken::new()).await.unwrap();
    assert_eq!((first.len(), first[0].snapshot, first[0].stream.as_str()), (1, true, stream.as_str()));
    assert_eq!((first[0].tail, first[0].appended), (stage.tail(&stream).await, first[0].tail));
    let mut ldap = practice.peer.admin().await;
    let dn = format!("CN=once,CN=Users,{}", practice.peer.base);
    common::add(&mut ldap, &dn, &[("objectClass", "user"), ("sAMAccountName", "once")]).await;
    let second = once(practice.peer.config()).run_once(CancellationToken::new()).await.unwrap();
    assert_eq!((second[0].snapshot, second[0].found, second[0].appended), (false, 1, 2));
    assert_eq!(kinds(&stage.events(&stream, first[0].tail).await), ["ObjectChanged", "CursorAdvanced"]);
    // who cannot make a pass says why
    let mut config = practice.peer.config();
    config.password = "wrong".to_owned().into();
    let error = once(config).run_once(CancellationToken::new()).await.unwrap_err();
    assert!(
        matches!(&error, OnceError::Stopped { cause: StopCause::Credentials, hint, .. } if hint.contains("wrong")),
        "{error}"
    );
    let held = stage.log.writer(&stream).await.unwrap();
    let error = once(practice.peer.config()).run_once(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, OnceError::Log { .. }), "{error}");
    drop(held);
    practice.control.pause();
    let (stop, collector) = (CancellationToken::new(), once(practice.peer.config()));
    let pass = tokio::spawn(collector.run_once(stop.clone()));
    stop.cancel();
    assert!(matches!(pass.await.unwrap(), Err(OnceError::Interrupted)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_beyond_the_list_reaches_the_log() {
    let practice = Practice::populated(20, |_| {}).await;
    practice.control.add_unasked(Some(("employeeNumber", "never-to-be-seen")));
    let (stage, stream) = (Stage::new(), practice.peer.stream());
    let mut config = practice.peer.config();
    config.attributes = vec!["mail".into(), "member".into(), "sAMAccountName".into()];
    let running = stage.run(config);
    let status = running.settle().await;
    assert!(status.dropped_attributes >= 20, "{}", status.dropped_attributes);
    running.stop().await;
    let allowed = ["mail", "sAMAccountName", "name", "objectClass", "objectSid"];
    let mut reader = stage.log.reader(&stream, 0).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for record in reader.poll(10_000).await.unwrap() {
        assert!(!String::from_utf8_lossy(&record.value).contains("never-to-be-seen"));
        match forestsync_schemas::ChangeRecord::decode(&record.value).unwrap().event {
            ChangeEvent::ObjectObserved(object) => seen.extend(object.attributes.into_keys()),
            ChangeEvent::ObjectChanged(object) => seen.extend(object.set.into_keys().chain(object.cleared)),
            _ => {}
        }
    }
    assert!(seen.iter().all(|name| allowed.contains(&name.as_str())), "{seen:?}");
    assert!(seen.contains("mail") && !seen.contains("title"));
}

#[cfg(not(feature = "kerberos"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_feature_kerberos_is_refused_by_its_name() {
    let practice = Practice::start(|_| {}).await;
    let mut config = practice.peer.config();
    let principal = "svc@LAB.EXAMPLE".to_owned();
    config.kerberos = Some(forestsync_collector::KerberosConfig { keytab: "svc.keytab".into(), principal });
    let line = check(&config).await.pop().unwrap();
    assert_eq!((line.code, line.outcome), (CheckCode::Kerberos, CheckOutcome::Failed), "{line:?}");
    assert!(line.detail.contains("without Kerberos") && line.hint.unwrap().contains("feature `kerberos`"));
    assert_eq!(practice.control.counters().refused_binds, 0);
}
