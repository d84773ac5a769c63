//! How much of the tenant's write quota an initial load uses, once it meets it.

use std::collections::BTreeMap;
use std::sync::Arc;

use forestsync_domain::{ObjectGuid, SourceAnchor};
use forestsync_log::{EmbeddedLog, Log, NewRecord};
use forestsync_practice::tenant::{PracticeTenant, TenantOptions};
use forestsync_practice::tls::PrivateCa;
use forestsync_provisioner::{Credential, NotifyConfig, Provisioner, ProvisionerConfig, TenantConfig};
use forestsync_schemas::EventId;
use forestsync_schemas::desired::{
    AttributeFlowDeclared, CloudAttributes, CloudClass, CloudValue, DesiredContext, DesiredEvent, DesiredRecord,
    LinkDesired, ObjectDesired, SourceObject,
};
use forestsync_tests::peers;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Measured;

const DOMAIN: &str = "emea.example";
const USERS: u32 = 5_000;
const GROUPS: u32 = 200;
/// Members of each group: as many as one write of the quota covers.
const MEMBERS: u32 = 3;
/// How many times faster than documented what was used comes back: 3,000 writes in 15 seconds.
const HASTE: u32 = 10;
const QUOTA: usize = 3_000;
/// Windows that are measured; in the first one there is no quota to be met yet, and the last one is not full.
const STEADY: usize = 2;

fn anchor(n: u32) -> SourceAnchor {
    let mut bytes = [0xA5; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    SourceAnchor::from_guid(ObjectGuid::from_bytes(bytes))
}

fn desired(n: u32, class: CloudClass, manager: Option<u32>) -> DesiredEvent {
    let text = |value: String| CloudValue::Text(value);
    let mut attributes = CloudAttributes::from([
        ("displayName".to_owned(), text(format!("Object {n}"))),
        ("mailNickname".to_owned(), text(format!("object{n}"))),
    ]);
    if class == CloudClass::User {
        attributes.insert("accountEnabled".to_owned(), CloudValue::Bool(true));
        attributes.insert("userPrincipalName".to_owned(), text(format!("object{n}@{DOMAIN}")));
    } else {
        attributes.insert("mailEnabled".to_owned(), CloudValue::Bool(false));
        attributes.insert("securityEnabled".to_owned(), CloudValue::Bool(true));
    }
    let dn = format!("CN=Object {n},DC=emea,DC=example").parse().unwrap();
    DesiredEvent::ObjectDesired(ObjectDesired {
        anchor: anchor(n),
        class,
        revision: 1,
        attributes,
        at_creation: CloudAttributes::new(),
        left_alone: Vec::new(),
        manager: manager.map(anchor),
        owner: None,
        not_writable: Vec::new(),
        source: SourceObject { forest: "emea".into(), object: ObjectGuid::from_bytes([1; 16]), dn },
        joined: Vec::new(),
    })
}

/// Users, all but the first of them with a manager, and groups of three.
fn wishes() -> Vec<DesiredEvent> {
    let mut all: Vec<DesiredEvent> = [CloudClass::User, CloudClass::Group]
        .into_iter()
        .map(|class| {
            let attributes = forestsync_rules::flow::managed(class);
            DesiredEvent::AttributeFlowDeclared(AttributeFlowDeclared { class, attributes, extensions: Vec::new() })
        })
        .collect();
    all.extend((0..USERS).map(|n| desired(n, CloudClass::User, n.checked_sub(1).map(|before| before / 10))));
    for group in USERS..USERS + GROUPS {
        all.push(desired(group, CloudClass::Group, None));
        let members = (0..MEMBERS).map(|k| (group * MEMBERS + k) % USERS);
        let link = |member| DesiredEvent::LinkDesired(LinkDesired { group: anchor(group), member: anchor(member) });
        all.extend(members.map(link));
    }
    all
}

fn record(event: DesiredEvent) -> NewRecord {
    let key = event.key();
    let context = DesiredContext {
        configuration: "bench".into(),
        rules: "r".into(),
        offsets: BTreeMap::from([("changes.emea.emea.example".to_owned(), 0)]),
        trace: None,
    };
    let id = EventId::of([key.as_bytes()]);
    let record = DesiredRecord { id, time: forestsync_runtime::clock::now(), context, event };
    NewRecord::new(Some(key), record.encode().unwrap())
}

pub(crate) async fn in_the_steady_state() -> Measured {
    let folder = tempfile::tempdir_in(peers::scratch()).unwrap();
    let ca = PrivateCa::new().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let mut options = TenantOptions { verified_domains: vec![DOMAIN.to_owned()], ..TenantOptions::default() };
    (options.knobs.quota_scale, options.knobs.quota_haste) = (Some(1.0), f64::from(HASTE));
    let tenant = PracticeTenant::start(options.clone(), &ca).await.unwrap();
    let mut config = TenantConfig::new(
        options.tenant_id.clone(),
        options.client_id.clone(),
        Credential::Given(options.client_secret.expose().to_owned().into()),
        tenant.authority_url().parse().unwrap(),
        tenant.graph_url().parse().unwrap(),
    );
    config.ca_file = Some(ca_file);
    config.quota_window /= HASTE;
    let window = config.quota_window;
    let config = ProvisionerConfig {
        configuration: "bench".into(),
        directory: folder.path().join("provisioner"),
        tenant: config,
        notify: NotifyConfig::default(),
    };
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path().join("log")).unwrap());
    let wished: Vec<NewRecord> = wishes().into_iter().map(record).collect();
    let tail = wished.len() as u64;
    let stream = "desired.bench".parse().unwrap();
    log.writer(&stream).await.unwrap().append(wished).await.unwrap();
    let provisioner = Provisioner::open(config, Arc::clone(&log)).await.unwrap();
    let (mut status, stop) = (provisioner.status(), CancellationToken::new());
    let task = tokio::spawn(provisioner.run(stop.clone()));
    let done = status.wait_for(|status| status.idle && status.desired_applied >= tail).await.unwrap().clone();
    stop.cancel();
    task.await.unwrap().unwrap();

    let dump = tenant.dump();
    assert_eq!((dump.users.len(), dump.groups.len()), (USERS as usize, GROUPS as usize));
    assert_eq!(dump.users.iter().filter(|user| user.manager.is_some()).count(), USERS as usize - 1);
    assert!(dump.groups.iter().all(|group| group.members.len() == MEMBERS as usize));
    assert_eq!((done.quarantined_total, done.held_total), (0, 0));
    let times: Vec<Instant> = tenant.control().writes().iter().map(|write| write.at).collect();
    let from = times.iter().min().copied().unwrap() + window;
    let span = window * u32::try_from(STEADY).unwrap();
    let used = times.iter().filter(|at| (from..from + span).contains(at)).count();
    let share = used as f64 / (QUOTA * STEADY) as f64;
    assert!(times.iter().any(|at| *at >= from + span), "the quota was met to the end of what is measured");
    let throttled = tenant.counters().throttled;
    Measured {
        what: "write quota used by an initial load of 5,000 users, 200 groups",
        value: format!("{:.1} % ({throttled} throttled)", share * 100.0),
        floor: ">= 97 %".into(),
        met: share >= 0.97,
    }
}
