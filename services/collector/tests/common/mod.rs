//! What every test of the collector starts from: a peer, an LDAP client for writing to it, a running collector, and a
//! mirror that reads the stream by its contract and nothing else.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod mirror;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forestsync_collector::{Collector, CollectorError, CollectorHandle, CollectorStatus, ForestConfig, Phase};
use forestsync_log::{EmbeddedLog, Log, StreamName};
use forestsync_practice::forest::{ForestControl, ForestOptions, PracticeForest};
use forestsync_practice::tls::PrivateCa;
use forestsync_schemas::changes::{ChangeEvent, ChangeRecord, SnapshotReason, StopCause};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, Mod, StdStream};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A generous limit for waits: only a failure takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What the tests read besides what the collector adds.
pub(crate) const ATTRIBUTES: [&str; 14] = [
    "description",
    "displayName",
    "givenName",
    "groupType",
    "mail",
    "managedBy",
    "manager",
    "member",
    "proxyAddresses",
    "sAMAccountName",
    "sn",
    "title",
    "userAccountControl",
    "userPrincipalName",
];

/// A directory that is read.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    pub(crate) base: String,
    /// Reads.
    pub(crate) account: (String, String),
    /// Writes.
    pub(crate) admin: (String, String),
    pub(crate) ca_file: PathBuf,
}

impl Peer {
    /// A forest whose poll loop is quick and whose notifications are off.
    pub(crate) fn config(&self) -> ForestConfig {
        let controller = format!("ldaps://{}", self.host).parse::<forestsync_collector::ControllerAddress>().unwrap();
        let (bind, password) = self.account.clone();
        let mut config = ForestConfig::new("lab", vec![controller.at(self.address)], bind, password.into());
        config.ca_file = Some(self.ca_file.clone());
        config.attributes = ATTRIBUTES.map(str::to_owned).to_vec();
        config.poll_interval = Duration::from_millis(20);
        config.rights_interval = Duration::ZERO;
        config.notifications = false;
        config
    }

    /// A connection that may write.
    pub(crate) async fn admin(&self) -> Ldap {
        self.bind(&self.admin).await
    }

    /// The same under another name.
    pub(crate) async fn admin_as(&self, name: &str) -> Ldap {
        self.bind(&(name.to_owned(), self.admin.1.clone())).await
    }

    /// A connection of the account that the collector uses.
    pub(crate) async fn reader(&self) -> Ldap {
        self.bind(&self.account).await
    }

    async fn bind(&self, account: &(String, String)) -> Ldap {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.ca_file).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap().into_std().unwrap();
        let settings = LdapConnSettings::new().set_config(Arc::new(tls)).set_std_stream(StdStream::Tcp(stream));
        let url = format!("ldaps://{}", self.host);
        let (connection, mut ldap) = LdapConnAsync::with_settings(settings, &url).await.unwrap();
        tokio::spawn(connection.drive());
        ldap.simple_bind(&account.0, &account.1).await.unwrap().success().unwrap();
        ldap
    }

    /// The stream of its domain.
    pub(crate) fn stream(&self) -> StreamName {
        forestsync_schemas::streams::changes("lab", &self.base.parse().unwrap()).parse().unwrap()
    }
}

/// A practice forest.
pub(crate) struct Practice {
    pub(crate) peer: Peer,
    pub(crate) control: ForestControl,
    pub(crate) forest: PracticeForest,
    _folder: TempDir,
}

impl Practice {
    pub(crate) async fn start(change: impl FnOnce(&mut ForestOptions)) -> Self {
        let ca = PrivateCa::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, ca.pem()).unwrap();
        let mut options = ForestOptions::new("lab", "DC=lab,DC=example", "Adm1n", "Re4der");
        options.max_page_size = 100_000;
        options.max_val_range = 100_000;
        change(&mut options);
        let forest = PracticeForest::start(options, &ca).await.unwrap();
        let peer = Peer {
            address: forest.ldaps_addr(),
            host: forest.options().host.clone(),
            base: forest.base().to_owned(),
            account: ("forestsync-reader@lab.example".into(), "Re4der".into()),
            admin: ("administrator@lab.example".into(), "Adm1n".into()),
            ca_file,
        };
        Self { peer, control: forest.control(), forest, _folder: folder }
    }

    /// One with `users` generated users besides what every forest has.
    pub(crate) async fn populated(users: usize, change: impl FnOnce(&mut ForestOptions)) -> Self {
        let practice = Self::start(change).await;
        let base = practice.peer.base.clone();
        let mut options = forestsync_practice::population::PopulationOptions::new(&base, "lab.example");
        options.users = users;
        options.groups = 10;
        let population = forestsync_practice::population::Population::new(7, options);
        practice.control.load(population.objects()).await.unwrap();
        practice
    }
}

/// A log of its own, which outlives the collectors that write it.
pub(crate) struct Stage {
    pub(crate) log: Arc<dyn Log>,
    _folder: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(folder.path()).unwrap();
        Self { log: Arc::new(log), _folder: folder }
    }

    pub(crate) fn run(&self, config: ForestConfig) -> Running {
        let collector = Collector::new(config, Arc::clone(&self.log)).unwrap();
        let (handle, stop) = (collector.handle(), CancellationToken::new());
        let task = tokio::spawn(collector.run(stop.clone()));
        Running { handle, stop, task }
    }

    /// All records from `from` on.
    pub(crate) async fn records(&self, stream: &StreamName, from: u64) -> Vec<(u64, ChangeRecord)> {
        let mut reader = self.log.reader(stream, from).await.unwrap();
        let mut out = Vec::new();
        loop {
            let batch = reader.poll(1_000).await.unwrap();
            if batch.is_empty() {
                return out;
            }
            out.extend(batch.into_iter().map(|r| (r.offset, ChangeRecord::decode(&r.value).unwrap())));
        }
    }

    pub(crate) async fn events(&self, stream: &StreamName, from: u64) -> Vec<ChangeEvent> {
        self.records(stream, from).await.into_iter().map(|(_, record)| record.event).collect()
    }

    pub(crate) async fn tail(&self, stream: &StreamName) -> u64 {
        self.log.tail(stream).await.unwrap()
    }

    /// Waits until the stream has an event that fits, from `from` on; gives all of them from there.
    pub(crate) async fn wait_for(
        &self,
        stream: &StreamName,
        from: u64,
        fits: impl Fn(&ChangeEvent) -> bool,
    ) -> Vec<ChangeEvent> {
        let mut reader = self.log.reader(stream, from).await.unwrap();
        let mut out: Vec<ChangeEvent> = Vec::new();
        while !out.iter().any(&fits) {
            let batch = tokio::time::timeout(PATIENCE, reader.next(1_000)).await;
            let batch = batch.unwrap_or_else(|_| panic!("never came; there is {:?}", kinds(&out))).unwrap();
            out.extend(batch.into_iter().map(|r| ChangeRecord::decode(&r.value).unwrap().event));
        }
        out
    }

    /// Why full reads were begun, in order.
    pub(crate) async fn snapshots(&self, stream: &StreamName) -> Vec<SnapshotReason> {
        let started = |event| match event {
            ChangeEvent::SnapshotStarted(started) => Some(started.reason),
            _ => None,
        };
        self.events(stream, 0).await.into_iter().filter_map(started).collect()
    }

    /// The causes of stops (and `None` for each resumption), in order.
    pub(crate) async fn stops(&self, stream: &StreamName) -> Vec<Option<StopCause>> {
        let stops = |event| match event {
            ChangeEvent::ReadingStopped(stopped) => Some(Some(stopped.cause)),
            ChangeEvent::ReadingResumed(_) => Some(None),
            _ => None,
        };
        self.events(stream, 0).await.into_iter().filter_map(stops).collect()
    }
}

pub(crate) fn kinds(events: &[ChangeEvent]) -> Vec<&'static str> {
    events.iter().map(forestsync_schemas::EventBody::type_name).collect()
}

/// A collector at work.
pub(crate) struct Running {
    pub(crate) handle: CollectorHandle,
    stop: CancellationToken,
    task: JoinHandle<Result<(), CollectorError>>,
}

impl Running {
    pub(crate) fn status(&self) -> CollectorStatus {
        self.handle.status().borrow()[0].clone()
    }

    /// Waits until the status fits.
    pub(crate) async fn wait(&self, what: &str, fits: impl Fn(&CollectorStatus) -> bool) -> CollectorStatus {
        let mut watch = self.handle.status();
        let waited = tokio::time::timeout(PATIENCE, watch.wait_for(|rows| fits(&rows[0]))).await;
        let found = waited.map(|rows| rows.unwrap()[0].clone());
        found.unwrap_or_else(|_| panic!("waited in vain for {what}; status is {:?}", self.status()))
    }

    /// Waits until everything written to the directory before this call is in the log.
    pub(crate) async fn settle(&self) -> CollectorStatus {
        let now = self.status().passes;
        self.wait("two more passes", |row| row.passes >= now + 2 && row.phase == Phase::Following).await
    }

    /// Waits for a stop of this cause.
    pub(crate) async fn stopped(&self, cause: StopCause) -> CollectorStatus {
        let fits = |row: &CollectorStatus| matches!(&row.phase, Phase::Stopped { cause: c, .. } if *c == cause);
        self.wait(&format!("a stop because of {cause:?}"), fits).await
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Ends it by dropping everything, as near to a kill as a task can come.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _cancelled = self.task.await;
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> CollectorError {
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap_err()
    }
}

/// Adds an object; attributes with several values are given several times.
pub(crate) async fn add(ldap: &mut Ldap, dn: &str, attributes: &[(&str, &str)]) {
    let mut all: Vec<(Vec<u8>, std::collections::HashSet<Vec<u8>>)> = Vec::new();
    for (name, value) in attributes {
        match all.iter_mut().find(|(n, _)| n == name.as_bytes()) {
            Some((_, values)) => {
                values.insert(value.as_bytes().to_vec());
            }
            None => all.push((name.as_bytes().to_vec(), [value.as_bytes().to_vec()].into())),
        }
    }
    ldap.add(dn, all).await.unwrap().success().unwrap_or_else(|e| panic!("add {dn}: {e}"));
}

/// Changes an attribute.
pub(crate) async fn modify(ldap: &mut Ldap, dn: &str, change: Mod<Vec<u8>>) {
    ldap.modify(dn, vec![change]).await.unwrap().success().unwrap_or_else(|e| panic!("modify {dn}: {e}"));
}

/// Replaces the values of an attribute; none clears it.
pub(crate) fn set(name: &str, values: &[&str]) -> Mod<Vec<u8>> {
    Mod::Replace(name.into(), values.iter().map(|v| v.as_bytes().to_vec()).collect())
}

pub(crate) fn plus(name: &str, value: &str) -> Mod<Vec<u8>> {
    Mod::Add(name.into(), [value.as_bytes().to_vec()].into())
}

pub(crate) fn minus(name: &str, value: &str) -> Mod<Vec<u8>> {
    Mod::Delete(name.into(), [value.as_bytes().to_vec()].into())
}

/// Renames or moves.
pub(crate) async fn rename(ldap: &mut Ldap, dn: &str, rdn: &str, parent: Option<&str>) {
    let renamed = ldap.modifydn(dn, rdn, true, parent).await.unwrap();
    renamed.success().unwrap_or_else(|e| panic!("rename {dn}: {e}"));
}

pub(crate) async fn delete(ldap: &mut Ldap, dn: &str) {
    ldap.delete(dn).await.unwrap().success().unwrap_or_else(|e| panic!("delete {dn}: {e}"));
}
