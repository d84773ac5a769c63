//! A tenant, a log and a provisioner between them, all real.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forestsync_domain::{ObjectGuid, SourceAnchor};
use forestsync_log::{EmbeddedLog, Lease, Log, NewRecord, StreamName};
use forestsync_practice::contract;
use forestsync_practice::tenant::{Knobs, PracticeTenant, TenantControl, TenantDump, TenantOptions};
use forestsync_practice::tls::PrivateCa;
use forestsync_provisioner::{
    CrashPoint, Credential, NotifyConfig, Provisioner, ProvisionerConfig, ProvisionerError, Status, TenantConfig,
};
use forestsync_schemas::control::{
    ConfigurationActivated, ConfigurationRemoved, ControlContext, ControlEvent, DecidedWrite, HeldDecided,
    RemovedObjects, Verdict,
};
use forestsync_schemas::desired::{
    AttributeFlowDeclared, CloudAttributes, CloudClass, CloudValue, DesiredContext, DesiredEvent, DesiredRecord,
    ExtensionDeclared, ExtensionType, LinkDesired, LinkRemoved, ObjectDesired, ObjectRemoved, RemovalReason,
    SourceObject,
};
use forestsync_schemas::outcomes::{ExportFailed, ExportQuarantined, ObjectRelinquished, Operation, OutcomeEvent};
use forestsync_schemas::tenant::TenantRecord;
use forestsync_schemas::{ControlRecord, EventBody as _, EventId, OutcomeRecord};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here may take longer, not even in a tenant that fails most of the time on a machine with other work.
pub const PATIENCE: Duration = Duration::from_mins(2);

pub struct Lab {
    pub folder: tempfile::TempDir,
    pub tenant: PracticeTenant,
    pub control: TenantControl,
    pub log: Arc<dyn Log>,
    pub config: ProvisionerConfig,
    revision: std::sync::atomic::AtomicU64,
}

pub fn anchor(n: u32) -> SourceAnchor {
    let mut bytes = [0xA5; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    SourceAnchor::from_guid(ObjectGuid::from_bytes(bytes))
}

pub fn text(text: &str) -> CloudValue {
    CloudValue::Text(text.to_owned())
}

fn source(n: u32) -> SourceObject {
    SourceObject {
        forest: "emea".into(),
        object: ObjectGuid::from_bytes([n as u8; 16]),
        dn: format!("CN=object {n},DC=emea,DC=example").parse().unwrap(),
    }
}

pub fn user_attributes(n: u32) -> CloudAttributes {
    CloudAttributes::from([
        ("accountEnabled".into(), CloudValue::Bool(true)),
        ("displayName".into(), text(&format!("User {n}"))),
        ("mailNickname".into(), text(&format!("user{n}"))),
        ("userPrincipalName".into(), text(&format!("user{n}@emea.example"))),
    ])
}

pub fn desired(n: u32, class: CloudClass, attributes: CloudAttributes) -> ObjectDesired {
    ObjectDesired {
        anchor: anchor(n),
        class,
        revision: 1,
        attributes,
        at_creation: CloudAttributes::new(),
        left_alone: Vec::new(),
        manager: None,
        owner: None,
        not_writable: Vec::new(),
        source: source(n),
        joined: Vec::new(),
    }
}

/// A user with these attributes besides the required ones.
pub fn user(n: u32, more: &[(&str, CloudValue)]) -> DesiredEvent {
    let mut attributes = user_attributes(n);
    attributes.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    DesiredEvent::ObjectDesired(desired(n, CloudClass::User, attributes))
}

pub fn user_with_manager(n: u32, manager: Option<u32>) -> DesiredEvent {
    let mut wish = desired(n, CloudClass::User, user_attributes(n));
    wish.manager = manager.map(anchor);
    DesiredEvent::ObjectDesired(wish)
}

pub fn group(n: u32) -> DesiredEvent {
    let attributes = CloudAttributes::from([
        ("displayName".into(), text(&format!("Group {n}"))),
        ("mailEnabled".into(), CloudValue::Bool(false)),
        ("mailNickname".into(), text(&format!("group{n}"))),
        ("securityEnabled".into(), CloudValue::Bool(true)),
    ]);
    DesiredEvent::ObjectDesired(desired(n, CloudClass::Group, attributes))
}

pub fn group_with_owner(n: u32, owner: Option<u32>) -> DesiredEvent {
    let DesiredEvent::ObjectDesired(mut wish) = group(n) else { unreachable!() };
    wish.owner = owner.map(anchor);
    DesiredEvent::ObjectDesired(wish)
}

pub fn removed(n: u32, class: CloudClass) -> DesiredEvent {
    let reason = RemovalReason::Deleted;
    DesiredEvent::ObjectRemoved(ObjectRemoved {
        anchor: anchor(n),
        class,
        revision: 2,
        reason,
        keep: false,
        source: source(n),
    })
}

/// Somebody else's from now on, or nobody's: the cloud object stays.
pub fn kept(n: u32, class: CloudClass, reason: RemovalReason) -> DesiredEvent {
    DesiredEvent::ObjectRemoved(ObjectRemoved {
        anchor: anchor(n),
        class,
        revision: 2,
        reason,
        keep: true,
        source: source(n),
    })
}

/// It goes, or is let go, because its configuration was removed.
pub fn gone_with_configuration(n: u32, class: CloudClass, keep: bool) -> DesiredEvent {
    let DesiredEvent::ObjectRemoved(event) = removed(n, class) else { unreachable!() };
    let reason = RemovalReason::ConfigurationRemoved;
    DesiredEvent::ObjectRemoved(ObjectRemoved { reason, keep, ..event })
}

pub fn member(group: u32, member: u32) -> DesiredEvent {
    DesiredEvent::LinkDesired(LinkDesired { group: anchor(group), member: anchor(member) })
}

pub fn no_member(group: u32, member: u32) -> DesiredEvent {
    DesiredEvent::LinkRemoved(LinkRemoved { group: anchor(group), member: anchor(member) })
}

pub fn flows() -> Vec<DesiredEvent> {
    [CloudClass::User, CloudClass::Group]
        .into_iter()
        .map(|class| {
            let attributes = forestsync_rules::flow::managed(class);
            DesiredEvent::AttributeFlowDeclared(AttributeFlowDeclared { class, attributes, extensions: Vec::new() })
        })
        .collect()
}

/// The standard flow of users with one extension.
pub fn flow_with_extension(name: &str, data_type: ExtensionType, multi_valued: bool) -> DesiredEvent {
    let class = CloudClass::User;
    let mut attributes = forestsync_rules::flow::managed(class);
    attributes.push(format!("extension.{name}"));
    let extensions = vec![ExtensionDeclared { name: name.to_owned(), data_type, multi_valued }];
    DesiredEvent::AttributeFlowDeclared(AttributeFlowDeclared { class, attributes, extensions })
}

pub struct Running {
    pub status: watch::Receiver<Status>,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), ProvisionerError>>,
}

impl Lab {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(adjust: impl FnOnce(&mut TenantOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = PrivateCa::new().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, ca.pem()).unwrap();
        let mut options = TenantOptions { verified_domains: vec!["emea.example".into()], ..TenantOptions::default() };
        adjust(&mut options);
        // what these knobs are there to break
        let strange = [
            (options.knobs.unknown_properties, "response-unknown-property"),
            (!options.knobs.delta_gone_body, "response-error-shape"),
        ];
        let strange: Vec<_> = strange.into_iter().filter_map(|(is, kind)| is.then_some(kind)).collect();
        options.record_file = options.record_file.or_else(|| contract::record_file(&strange));
        let tenant = PracticeTenant::start(options.clone(), &ca).await.unwrap();
        let mut config = TenantConfig::new(
            options.tenant_id.clone(),
            options.client_id.clone(),
            Credential::Given(options.client_secret.expose().to_owned().into()),
            tenant.authority_url().parse().unwrap(),
            tenant.graph_url().parse().unwrap(),
        );
        config.ca_file = Some(ca_file);
        config.write_quota = 0;
        config.retry_first = Duration::from_millis(50);
        config.retry_longest = Duration::from_millis(500);
        // here everything shows at once, unless a test says otherwise
        config.visible_within = Duration::ZERO;
        config.domains_every = Duration::ZERO;
        let config = ProvisionerConfig {
            configuration: "contoso".into(),
            directory: folder.path().join("provisioner"),
            tenant: config,
            notify: NotifyConfig::default(),
        };
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path().join("log")).unwrap());
        let control = tenant.control();
        let lab = Self { folder, tenant, control, log, config, revision: 0.into() };
        lab.wish(flows()).await;
        lab
    }

    pub fn knobs(&self, change: impl FnOnce(&mut Knobs)) {
        self.control.adjust(change);
    }

    fn stream(name: &str) -> StreamName {
        format!("{name}.contoso").parse().unwrap()
    }

    /// Appends wishes as one batch, as the projector does.
    pub async fn wish(&self, events: Vec<DesiredEvent>) {
        let mut writer = self.log.writer(&Self::stream("desired")).await.unwrap();
        let records = events.into_iter().map(|event| {
            let revision = self.revision.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let key = event.key();
            let context = DesiredContext {
                configuration: "contoso".into(),
                rules: "r".into(),
                offsets: [("changes.emea.emea.example".to_owned(), revision)].into(),
                trace: None,
            };
            let id = EventId::of([key.as_bytes(), &revision.to_be_bytes()]);
            let record = DesiredRecord { id, time: forestsync_runtime::clock::now(), context, event };
            NewRecord::new(Some(key), record.encode().unwrap())
        });
        writer.append(records.collect()).await.unwrap();
    }

    /// Decides about writes as `forestsync approve` and `forestsync reject` do, having seen all wishes there are.
    pub async fn decide(&self, verdict: Verdict, writes: &[(u32, Operation)], expires: Timestamp) {
        let tail = self.log.tail(&Self::stream("desired")).await.unwrap();
        let write = |(n, operation): &(u32, Operation)| DecidedWrite {
            anchor: anchor(*n),
            operation: *operation,
            cloud_id: None,
        };
        let event = ControlEvent::HeldDecided(HeldDecided {
            verdict,
            writes: writes.iter().map(write).collect(),
            desired_offset: tail - 1,
            reason: "ticket 4711".into(),
            expires,
        });
        self.say(event).await;
    }

    /// Decides about joining this object of the tenant.
    pub async fn decide_join(&self, verdict: Verdict, n: u32, cloud_id: &str, expires: Timestamp) {
        let tail = self.log.tail(&Self::stream("desired")).await.unwrap();
        let cloud_id = Some(cloud_id.to_owned());
        let write = DecidedWrite { anchor: anchor(n), operation: Operation::Join, cloud_id };
        let event = ControlEvent::HeldDecided(HeldDecided {
            verdict,
            writes: vec![write],
            desired_offset: tail - 1,
            reason: "ticket 4711".into(),
            expires,
        });
        self.say(event).await;
    }

    /// Goes on with a log in which there are the wishes and what people decided, and nothing else.
    pub async fn lose_outcomes(&mut self) {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder).unwrap());
        for stream in ["desired", "control"].map(Self::stream) {
            let mut reader = self.log.reader(&stream, 0).await.unwrap();
            let mut writer = log.writer(&stream).await.unwrap();
            loop {
                let records = reader.poll(1_000).await.unwrap();
                if records.is_empty() {
                    break;
                }
                let copies = records.into_iter().map(|record| NewRecord::new(record.key, record.value));
                writer.append(copies.collect()).await.unwrap();
            }
        }
        self.log = log;
    }

    /// Removes the configuration, having been shown these objects.
    pub async fn remove_configuration(&self, objects: RemovedObjects, listed: impl IntoIterator<Item = u32>) {
        let listed = listed.into_iter().map(anchor).collect();
        let reason = "ticket 4712".into();
        self.say(ControlEvent::ConfigurationRemoved(ConfigurationRemoved { objects, listed, reason })).await;
    }

    /// Puts it into force.
    pub async fn activate(&self) {
        let event = ConfigurationActivated { revision: 2, digest: "d".into(), document: String::new() };
        self.say(ControlEvent::ConfigurationActivated(event)).await;
    }

    async fn say(&self, event: ControlEvent) {
        let stream = Self::stream("control");
        let mut writer = self.log.writer(&stream).await.unwrap();
        let id = EventId::of([&writer.next_offset().to_be_bytes()[..]]);
        let context = ControlContext { configuration: "contoso".into(), actor: "anna".into() };
        let record = ControlRecord { id, time: forestsync_runtime::clock::now(), context, event };
        writer.append(vec![NewRecord::new(Some(id.to_string()), record.encode().unwrap())]).await.unwrap();
    }

    /// Opens a provisioner, once the one before has let go of everything.
    pub async fn open(&self) -> Provisioner {
        let begun = tokio::time::Instant::now();
        loop {
            match Provisioner::open(self.config.clone(), Arc::clone(&self.log)).await {
                Ok(provisioner) => return provisioner,
                Err(error) if error.is_retryable() && begun.elapsed() < PATIENCE => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub async fn start(&self) -> Running {
        Self::spawn(self.open().await)
    }

    pub fn spawn(provisioner: Provisioner) -> Running {
        let status = provisioner.status();
        let stop = CancellationToken::new();
        let task = tokio::spawn(provisioner.run(stop.clone()));
        Running { status, stop, task }
    }

    /// Runs until everything wished is done, then stops; the last status.
    pub async fn settle(&self) -> Status {
        let running = self.start().await;
        let status = self.idle(&running).await;
        running.end().await;
        status
    }

    /// The same as a service, which knows that somebody else may have been at work.
    pub async fn settle_as_service(&self) -> Status {
        let begun = tokio::time::Instant::now();
        let provisioner = loop {
            let lease = Lease::forever(Self::stream("outcomes"));
            match Provisioner::open_with_lease(self.config.clone(), Arc::clone(&self.log), lease).await {
                Ok(provisioner) => break provisioner,
                Err(error) if error.is_retryable() && begun.elapsed() < PATIENCE => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        let running = Self::spawn(provisioner);
        let status = self.idle(&running).await;
        running.end().await;
        status
    }

    pub async fn idle(&self, running: &Running) -> Status {
        let tail = self.log.tail(&Self::stream("desired")).await.unwrap();
        running.until(|s| s.idle && s.desired_applied >= tail).await
    }

    /// Runs until it dies at this point.
    pub async fn crash(&self, point: CrashPoint, after: u32) -> bool {
        let running = Self::spawn(self.open().await.crash_at(point, after));
        let tail = self.log.tail(&Self::stream("desired")).await.unwrap();
        let Running { mut status, stop, mut task } = running;
        let idle = async {
            if status.wait_for(|s| s.idle && s.desired_applied >= tail).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let crashed = tokio::select! {
            result = &mut task => Some(result),
            () = idle => None,
        };
        stop.cancel();
        let result = match crashed {
            Some(result) => result.unwrap(),
            None => task.await.unwrap(),
        };
        match result {
            Ok(()) => false,
            Err(ProvisionerError::Crashed) => true,
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn outcomes(&self) -> Vec<OutcomeRecord> {
        let mut reader = self.log.reader(&Self::stream("outcomes"), 0).await.unwrap();
        let mut all = Vec::new();
        loop {
            let records = reader.poll(1_000).await.unwrap();
            if records.is_empty() {
                return all;
            }
            all.extend(records.iter().map(|r| OutcomeRecord::decode(&r.value).unwrap()));
        }
    }

    /// What was said of the tenant.
    pub async fn said_of_tenant(&self) -> Vec<TenantRecord> {
        let mut reader = self.log.reader(&Self::stream("tenant"), 0).await.unwrap();
        let records = reader.poll(1_000).await.unwrap();
        records.iter().map(|r| TenantRecord::decode(&r.value).unwrap()).collect()
    }

    /// How many outcomes of each type there are for an object.
    pub async fn types(&self, n: u32) -> Vec<&'static str> {
        let all = self.outcomes().await;
        all.iter().filter(|o| o.context.anchor == anchor(n)).map(|o| o.event.type_name()).collect()
    }

    /// Why an object was let go.
    pub async fn relinquished(&self, n: u32) -> Option<ObjectRelinquished> {
        self.outcomes().await.into_iter().rev().find_map(|o| match o.event {
            OutcomeEvent::ObjectRelinquished(e) if o.context.anchor == anchor(n) => Some(e),
            _ => None,
        })
    }

    pub async fn quarantined(&self, n: u32) -> Option<ExportQuarantined> {
        self.outcomes().await.into_iter().rev().find_map(|o| match o.event {
            OutcomeEvent::ExportQuarantined(e) if o.context.anchor == anchor(n) => Some(e),
            _ => None,
        })
    }

    pub async fn failures(&self, n: u32) -> Vec<ExportFailed> {
        let all = self.outcomes().await.into_iter().filter(|o| o.context.anchor == anchor(n));
        all.filter_map(|o| if let OutcomeEvent::ExportFailed(e) = o.event { Some(e) } else { None }).collect()
    }

    pub fn dump(&self) -> TenantDump {
        self.tenant.dump()
    }

    /// The tenant's id of a live object.
    pub fn id(&self, n: u32) -> Option<String> {
        let dump = self.dump();
        let user = dump.user(anchor(n).as_str()).map(|u| u.id.clone());
        user.or_else(|| dump.group(&anchor(n).unique_name()).map(|g| g.id.clone()))
    }

    /// The members of a group, by number, sorted.
    pub fn members(&self, n: u32, candidates: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let dump = self.dump();
        let members = dump.group(&anchor(n).unique_name()).map(|g| g.members.clone()).unwrap_or_default();
        let found: Vec<u32> =
            candidates.into_iter().filter(|c| self.id(*c).is_some_and(|id| members.contains(&id))).collect();
        assert_eq!(found.len(), members.len(), "the group has a member nobody asked about");
        found
    }

    /// The owners of a group, by number, sorted.
    pub fn owners(&self, n: u32, candidates: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let dump = self.dump();
        let owners = dump.group(&anchor(n).unique_name()).map(|g| g.owners.clone()).unwrap_or_default();
        let found: Vec<u32> =
            candidates.into_iter().filter(|c| self.id(*c).is_some_and(|id| owners.contains(&id))).collect();
        assert_eq!(found.len(), owners.len(), "the group has an owner nobody asked about");
        found
    }

    pub fn property(&self, n: u32, name: &str) -> Option<serde_json::Value> {
        self.dump().user(anchor(n).as_str()).and_then(|u| u.properties.get(name).cloned())
    }

    /// Every object was created at most once.
    pub fn assert_single_creations(&self) {
        let counters = self.tenant.counters();
        let all = counters.creates_by_immutable_id.iter().chain(&counters.creates_by_unique_name);
        for (key, count) in all {
            assert_eq!(*count, 1, "{key} was created more than once");
        }
    }

    pub fn ledger(&self) -> PathBuf {
        self.config.directory.join("ledger")
    }
}

/// Checks exchanges against Microsoft's description of Graph, for those who have it beside the project.
pub fn keep_contract(records: &[PathBuf], ignore: &[&str]) {
    println!("{}", contract::check(records, ignore).unwrap().expect_kept());
}

/// Whether it tells of what others did.
pub fn is_drift(event: &OutcomeEvent) -> bool {
    matches!(
        event,
        OutcomeEvent::DriftFound(_)
            | OutcomeEvent::MembersDrifted(_)
            | OutcomeEvent::DeletedByOthers(_)
            | OutcomeEvent::DriftEnded(_)
    )
}

impl Running {
    pub async fn until(&self, condition: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.status.clone();
        let found = tokio::time::timeout(PATIENCE, status.wait_for(condition)).await;
        let last = self.status.borrow().clone();
        let found = found.unwrap_or_else(|elapsed| panic!("{elapsed}; last status: {last:?}"));
        found.unwrap_or_else(|ended| panic!("the provisioner ended: {ended}; last status: {last:?}")).clone()
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}
