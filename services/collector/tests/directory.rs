//! The directory suite: every kind of change, written over LDAP, must come out of the stream as what it was. The same
//! suite runs against the practice forest and, where one is given in the environment, a Samba domain controller.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on ends")]

mod common;

use std::time::Duration;

use common::mirror::Mirror;
use common::{Peer, Practice, Running, Stage, add, delete, kinds, minus, modify, plus, rename, set};
use forestsync_collector::{CheckCode, CheckOutcome, Method, check};
use forestsync_domain::ObjectGuid;
use forestsync_log::StreamName;
use forestsync_schemas::changes::{ChangeEvent, ChangeRecord, SnapshotReason};
use ldap3::controls::RawControl;
use ldap3::{Ldap, Mod};

/// Long enough that what comes at once did not come by polling.
const POLL: Duration = Duration::from_secs(8);

/// A suite under way.
struct Suite {
    stage: Stage,
    running: Running,
    stream: StreamName,
    ldap: Ldap,
    base: String,
    top: String,
    /// Ends every account name, so that an earlier run that failed is not in the way.
    tag: String,
    mark: u64,
    method: Method,
}

impl Suite {
    fn dn(&self, rdn: &str) -> String {
        format!("{rdn},{}", self.top)
    }

    /// The events that came since the last call, without cursors.
    async fn news(&mut self) -> Vec<(Option<ObjectGuid>, ChangeEvent)> {
        self.running.settle().await;
        let records: Vec<(u64, ChangeRecord)> = self.stage.records(&self.stream, self.mark).await;
        self.mark += records.len() as u64;
        let events = records.into_iter().map(|(_, record)| (record.context.object, record.event));
        events.filter(|(_, event)| !matches!(event, ChangeEvent::CursorAdvanced(_))).collect()
    }

    /// The one event that came since the last call.
    async fn one(&mut self) -> (ObjectGuid, ChangeEvent) {
        let mut news = self.news().await;
        let events: Vec<ChangeEvent> = news.iter().map(|(_, event)| event.clone()).collect();
        assert_eq!(news.len(), 1, "{:?} {events:?}", kinds(&events));
        let (object, event) = news.remove(0);
        (object.unwrap(), event)
    }

    async fn user(&mut self, name: &str) -> String {
        let (dn, account) = (self.dn(&format!("CN={name}")), format!("{name}-{}", self.tag));
        let attributes = [
            ("objectClass", "user"),
            ("sAMAccountName", &account),
            ("displayName", name),
            ("mail", "x@lab.example"),
            ("userAccountControl", "544"),
        ];
        add(&mut self.ldap, &dn, &attributes).await;
        dn
    }

    async fn guid(&mut self, dn: &str) -> ObjectGuid {
        let found = self.ldap.search(dn, ldap3::Scope::Base, "(objectClass=*)", vec!["objectGUID"]).await.unwrap();
        let entry = ldap3::SearchEntry::construct(found.success().unwrap().0.remove(0));
        let bytes = entry.bin_attrs.get("objectGUID").map(|v| v[0].clone());
        ObjectGuid::from_slice(&bytes.unwrap_or_else(|| entry.attrs["objectGUID"][0].clone().into_bytes())).unwrap()
    }
}

fn names(event: &ChangeEvent) -> (Vec<&str>, Vec<&str>) {
    let (set, cleared) = match event {
        ChangeEvent::ObjectChanged(e) => (&e.set, &e.cleared),
        ChangeEvent::ObjectDeleted(e) => (&e.set, &e.cleared),
        ChangeEvent::ObjectRestored(e) => (&e.set, &e.cleared),
        other => panic!("{other:?}"),
    };
    (set.keys().map(String::as_str).collect(), cleared.iter().map(String::as_str).collect())
}

async fn suite(peer: &Peer) {
    let stage = Stage::new();
    let mut ldap = peer.admin().await;
    let tag: String = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
    let top = format!("OU=Suite {tag},{}", peer.base);
    add(&mut ldap, &top, &[("objectClass", "organizationalUnit")]).await;
    let running = stage.run(peer.config());
    running.settle().await;
    let stream = peer.stream();
    assert_eq!(stage.snapshots(&stream).await, [SnapshotReason::First]);
    let mark = stage.tail(&stream).await;
    let records = stage.records(&stream, 0).await;
    let mut reader = peer.reader().await;
    Mirror::of(&records).assert_is(&Mirror::of_directory(&mut reader, peer).await, &[]);

    let mut suite =
        Suite { stage, running, stream, ldap, base: peer.base.clone(), top, tag, mark, method: peer.method };
    let (a, b, c) = attributes(&mut suite).await;
    links(&mut suite, &a, &b, &c).await;
    places(&mut suite, &b).await;
    let restored = ends(&mut suite, &a, &c).await;

    let records = suite.stage.records(&suite.stream, 0).await;
    Mirror::of(&records).assert_is(&Mirror::of_directory(&mut reader, peer).await, &[restored]);
    restart(suite, peer).await;
}

/// Create, change, clear, many values, disable, the same value again.
async fn attributes(s: &mut Suite) -> (String, String, String) {
    let a = s.user("anna").await;
    let (object, event) = s.one().await;
    assert_eq!(object, s.guid(&a).await);
    let ChangeEvent::ObjectChanged(new) = &event else { panic!("{event:?}") };
    assert!(new.parent.is_some() && new.set.contains_key("objectClass") && new.set.contains_key("objectSid"));
    assert_eq!(new.dn, a.parse().unwrap());
    let (b, c) = (s.user("bert").await, s.user("carl").await);
    assert_eq!(s.news().await.len(), 2);

    modify(&mut s.ldap, &a, set("displayName", &["Anna Ärger"])).await;
    let (_, event) = s.one().await;
    assert_eq!(names(&event), (vec!["displayName"], vec![]));
    modify(&mut s.ldap, &a, set("mail", &[])).await;
    let (_, event) = s.one().await;
    assert_eq!(names(&event), (vec![], vec!["mail"]));
    modify(&mut s.ldap, &a, set("proxyAddresses", &["SMTP:a@lab.example", "smtp:b@lab.example"])).await;
    modify(&mut s.ldap, &a, plus("proxyAddresses", "smtp:c@lab.example")).await;
    s.running.settle().await;
    let news = s.news().await;
    let ChangeEvent::ObjectChanged(last) = &news.last().unwrap().1 else { panic!("{news:?}") };
    assert_eq!(last.set["proxyAddresses"].len(), 3, "all values, not those that came");
    modify(&mut s.ldap, &a, set("userAccountControl", &["546"])).await;
    let (_, event) = s.one().await;
    assert_eq!(names(&event), (vec!["userAccountControl"], vec![]));
    modify(&mut s.ldap, &a, set("displayName", &["Anna Ärger"])).await;
    assert!(s.news().await.is_empty(), "the same value again is no change");
    (a, b, c)
}

/// Manager and members, come, gone and both; a member of another forest.
async fn links(s: &mut Suite, anna: &str, bert: &str, carl: &str) {
    let (b_guid, c_guid) = (s.guid(bert).await, s.guid(carl).await);
    let changed = |event: &ChangeEvent| match event {
        ChangeEvent::LinkValuesChanged(e) => (e.attribute.clone(), e.removed.clone(), e.added.clone()),
        other => panic!("{other:?}"),
    };
    modify(&mut s.ldap, anna, set("manager", &[bert])).await;
    assert_eq!(changed(&s.one().await.1), ("manager".into(), vec![], vec![b_guid]));
    modify(&mut s.ldap, anna, set("manager", &[carl])).await;
    assert_eq!(changed(&s.one().await.1), ("manager".into(), vec![b_guid], vec![c_guid]));
    modify(&mut s.ldap, anna, set("manager", &[])).await;
    assert_eq!(changed(&s.one().await.1), ("manager".into(), vec![c_guid], vec![]));

    let group = s.dn("CN=Group, with \\22quotes\\22".replace(',', "\\,").as_str());
    let account = format!("group-{}", s.tag);
    let attributes =
        [("objectClass", "group"), ("sAMAccountName", account.as_str()), ("member", anna), ("member", bert)];
    add(&mut s.ldap, &group, &attributes).await;
    let news = s.news().await;
    assert_eq!(kinds(&news.iter().map(|n| n.1.clone()).collect::<Vec<_>>()), ["ObjectChanged", "LinkValuesChanged"]);
    assert_eq!(changed(&news[1].1).2.len(), 2);
    modify(&mut s.ldap, &group, plus("member", carl)).await;
    assert_eq!(changed(&s.one().await.1), ("member".into(), vec![], vec![c_guid]));
    modify(&mut s.ldap, &group, minus("member", bert)).await;
    assert_eq!(changed(&s.one().await.1), ("member".into(), vec![b_guid], vec![]));

    let number = u32::from_str_radix(&s.tag, 16).unwrap();
    let foreign = format!("<SID=S-1-5-21-1111111111-2222222222-{number}-1105>");
    modify(&mut s.ldap, &group, plus("member", &foreign)).await;
    let news = s.news().await;
    let member = news.iter().find(|(_, event)| matches!(event, ChangeEvent::LinkValuesChanged(_))).unwrap();
    let name = foreign.trim_start_matches("<SID=").trim_end_matches('>');
    let principal = format!("CN={name},CN=ForeignSecurityPrincipals,{}", s.base);
    assert_eq!(changed(&member.1), ("member".into(), vec![], vec![s.guid(&principal).await]));
}

/// Rename, case, move, and an OU with children.
async fn places(s: &mut Suite, b: &str) {
    rename(&mut s.ldap, b, "CN=Bert Neu", None).await;
    let (_, event) = s.one().await;
    let (set, cleared) = names(&event);
    match s.method {
        Method::Dirsync => assert!(set.contains(&"objectClass"), "it might have been unknown"),
        Method::Usn => assert_eq!(set, ["name"], "what else it has is known"),
    }
    assert!(set.contains(&"name") && cleared.is_empty());
    let named = s.dn("CN=Bert Neu");
    rename(&mut s.ldap, &named, "CN=BERT NEU", None).await;
    let (object, event) = s.one().await;
    let ChangeEvent::ObjectChanged(changed) = &event else { panic!("{event:?}") };
    assert_eq!(changed.set["name"], ["BERT NEU".into()]);

    let unit = s.dn("OU=R&D\\; Dept");
    add(&mut s.ldap, &unit, &[("objectClass", "organizationalUnit")]).await;
    let (unit_guid, _) = s.one().await;
    rename(&mut s.ldap, &named, "CN=BERT NEU", Some(&unit)).await;
    let (moved, event) = s.one().await;
    let ChangeEvent::ObjectChanged(changed) = &event else { panic!("{event:?}") };
    assert_eq!((moved, changed.parent), (object, Some(unit_guid)));
    rename(&mut s.ldap, &unit, "OU=Labor", None).await;
    let (renamed, _) = s.one().await;
    assert_eq!(renamed, unit_guid, "nothing is said of the children");
}

/// Delete, undelete, delete a tree. The object that was restored.
async fn ends(s: &mut Suite, a: &str, c: &str) -> ObjectGuid {
    let control = |oid: &str| RawControl { ctype: oid.into(), crit: true, val: None };
    let guid = s.guid(a).await;
    delete(&mut s.ldap, a).await;
    let (object, event) = s.one().await;
    let ChangeEvent::ObjectDeleted(gone) = &event else { panic!("{event:?}") };
    assert_eq!(object, guid);
    assert!(gone.dn.to_string().contains(r"\0ADEL:"), "{}", gone.dn);
    assert!(!gone.set.contains_key("displayName"));

    let tombstone = gone.dn.to_string();
    let undelete: Vec<Mod<Vec<u8>>> =
        vec![Mod::Delete(b"isDeleted".to_vec(), std::collections::HashSet::default()), set("distinguishedName", &[a])];
    let restored = s.ldap.with_controls(control("1.2.840.113556.1.4.417")).modify(&tombstone, undelete).await.unwrap();
    restored.success().unwrap();
    let (object, event) = s.one().await;
    let ChangeEvent::ObjectRestored(back) = &event else { panic!("{event:?}") };
    assert_eq!((object, &back.dn), (guid, &a.parse().unwrap()));
    assert!(back.parent.is_some());

    let labor = s.dn("OU=Labor");
    let deleted = s.ldap.with_controls(control("1.2.840.113556.1.4.805")).delete(&labor).await.unwrap();
    deleted.success().unwrap();
    let events: Vec<ChangeEvent> = s.news().await.into_iter().map(|n| n.1).collect();
    assert_eq!(kinds(&events), ["ObjectDeleted", "ObjectDeleted"], "the unit and the user in it");
    delete(&mut s.ldap, c).await;
    assert_eq!(kinds(&[s.one().await.1]), ["ObjectDeleted"]);
    guid
}

/// A new collector goes on where the old one ended, and a change wakes it long before its poll interval.
async fn restart(s: Suite, peer: &Peer) {
    let Suite { stage, running, stream, mut ldap, top, .. } = s;
    running.stop().await;
    let before = stage.tail(&stream).await;
    modify(&mut ldap, &top, set("description", &["while nobody read"])).await;
    let mut config = peer.config();
    config.notifications = true;
    config.poll_interval = POLL;
    let running = stage.run(config);
    let events = stage.wait_for(&stream, before, |event| matches!(event, ChangeEvent::CursorAdvanced(_))).await;
    assert_eq!(kinds(&events), ["ObjectChanged", "CursorAdvanced"]);
    let mut delays = Vec::new();
    for n in 0..20 {
        let from = stage.tail(&stream).await;
        let text = format!("change {n}");
        let began = tokio::time::Instant::now();
        modify(&mut ldap, &top, set("description", &[&text])).await;
        stage.wait_for(&stream, from, |event| matches!(event, ChangeEvent::ObjectChanged(_))).await;
        delays.push(began.elapsed());
    }
    delays.sort_unstable();
    println!("change to event by notification: median {:?}, worst {:?}", delays[10], delays[19]);
    assert!(delays[10] < POLL / 4, "the collector was not woken: {delays:?}");
    assert_eq!(stage.snapshots(&stream).await.len(), 1, "no second full read");
    running.stop().await;
    let deleted = ldap
        .with_controls(RawControl { ctype: "1.2.840.113556.1.4.805".into(), crit: true, val: None })
        .delete(&top)
        .await
        .unwrap();
    deleted.success().unwrap();
}

async fn checked(peer: &Peer) {
    let mut config = peer.config();
    let lines = check(&config).await;
    assert!(lines.iter().all(|line| line.outcome == CheckOutcome::Ok), "{lines:#?}");
    let asked = match peer.method {
        Method::Dirsync => CheckCode::DirSync,
        Method::Usn => CheckCode::UsnPolling,
    };
    assert!(lines.iter().any(|line| line.code == asked));
    config.password = "wrong".to_owned().into();
    let last = check(&config).await.pop().unwrap();
    assert_eq!((last.code, last.outcome), (CheckCode::Bind, CheckOutcome::Failed));
    assert!(last.hint.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn practice_forest() {
    let practice = Practice::populated(100, |_| {}).await;
    suite(&practice.peer).await;
    checked(&practice.peer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn practice_forest_by_usn() {
    let mut practice = Practice::populated(100, |_| {}).await;
    practice.peer.method = Method::Usn;
    suite(&practice.peer).await;
    checked(&practice.peer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samba() {
    let Some(mut peer) = samba_peer() else { return };
    for method in [Method::Dirsync, Method::Usn] {
        peer.method = method;
        suite(&peer).await;
        checked(&peer).await;
    }
}

/// The Samba domain controller of the environment, if there is one.
fn samba_peer() -> Option<Peer> {
    let var = |name: &str| std::env::var(name).ok();
    let (Some(address), Some(host), Some(base), Some(bind), Some(password), Some(ca)) =
        (var("LAB_ADDR"), var("LAB_FQDN"), var("LAB_BASE"), var("LAB_BIND"), var("LAB_PASSWORD"), var("LAB_CA"))
    else {
        println!("skipped: no Samba domain controller in the environment (LAB_ADDR, LAB_FQDN, ...)");
        return None;
    };
    let account = (var("LAB_READER").unwrap_or_else(|| bind.clone()), password.clone());
    Some(Peer {
        address: format!("{address}:636").parse().unwrap(),
        host,
        base,
        account,
        admin: (bind, password),
        ca_file: ca.into(),
        method: Method::Dirsync,
    })
}
