//! Binds, the rootDSE, ordinary searches, ranges, names, and change notification.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod forest_common;

use std::collections::HashSet;

use forest_common::*;
use forestsync_practice::forest::escape_rdn;
use forestsync_practice::population::{Population, PopulationOptions};
use ldap3::Scope;
use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};

/// Every byte as a backslash and two digits.
fn hex_pairs(raw: &[u8]) -> String {
    raw.iter().map(|b| format!("\\{b:02x}")).collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn binds() {
    let lab = Lab::new().await;
    for transport in [Transport::Ldaps, Transport::StartTls] {
        let mut ldap = lab.connect(transport).await;
        for name in
            [ADMIN, "ADMINISTRATOR@EMEA.EXAMPLE", "emea\\Administrator", &format!("CN=administrator,CN=Users,{BASE}")]
        {
            assert_eq!(ldap.simple_bind(name, ADMIN_PASSWORD).await.unwrap().rc, 0, "{name}");
        }
        for (name, password) in
            [(ADMIN, "wrong"), (ADMIN, ""), ("nobody@emea.example", "x"), ("Administrator", ADMIN_PASSWORD)]
        {
            let result = ldap.simple_bind(name, password).await.unwrap();
            assert_eq!(result.rc, 49, "{name}");
            assert!(result.text.contains("52e"));
        }
        let found = search(&mut ldap, BASE, Scope::Base, ALL, &["name"], vec![]).await;
        assert_eq!(found.result.rc, 1, "a failed bind leaves the connection anonymous");
    }
    let mut plain = lab.connect(Transport::Plain).await;
    assert_eq!(plain.simple_bind(ADMIN, ADMIN_PASSWORD).await.unwrap().rc, 8);
    assert_eq!(search(&mut plain, BASE, Scope::Base, ALL, &["name"], vec![]).await.result.rc, 1);
    assert_eq!(add(&mut plain, &format!("OU=x,{BASE}"), &[("objectClass", &["organizationalUnit"])]).await, 1);
    assert_eq!(search(&mut plain, "", Scope::Base, ALL, &["dnsHostName"], vec![]).await.entries.len(), 1);
}

#[tokio::test]
async fn the_controller_says_who_it_is() {
    let lab = Lab::new().await;
    let mut ldap = lab.reader().await;
    let root = read(&mut ldap, "", &["*", "+"]).await;
    assert_eq!(root.text("defaultNamingContext").as_deref(), Some(BASE));
    assert_eq!(root.text("dnsHostName").as_deref(), Some("dc01.emea.example"));
    assert_eq!(root.text("highestCommittedUSN").unwrap(), lab.control.usn().to_string());
    assert!(root.texts("supportedControl").unwrap().iter().any(|oid| oid == DIRSYNC));
    let ntds = read(&mut ldap, &root.text("dsServiceName").unwrap(), &["invocationId"]).await;
    assert_eq!(ntds.get("invocationId").unwrap()[0], lab.control.invocation_id());
    let found = search(&mut ldap, BASE, Scope::Base, ALL, &["name"], vec![control("1.2.3.4.5", None)]).await;
    assert_eq!(found.result.rc, 12);
    let broken = vec![control(DIRSYNC, Some(b"xyz".to_vec()))];
    assert_eq!(search(&mut ldap, BASE, Scope::Subtree, ALL, &["name"], broken).await.result.rc, 12);
}

#[tokio::test]
async fn searches() {
    let lab = Lab::with(|o| o.max_page_size = 100).await;
    let population = Population::new(5, PopulationOptions::new(BASE, "emea.example"));
    lab.control.load(population.objects()).await.unwrap();
    let mut ldap = lab.reader().await;
    let top = population.top_dn();
    let user = read(&mut ldap, &population.user_dn(2), &["objectGUID", "objectSid", "*"]).await;
    let escaped = hex_pairs(&user.guid());
    let manager = population.user_dn(0).replace('\\', "\\5c").replace('(', "\\28").replace(')', "\\29");
    for (filter, count) in [
        ("(sAMAccountName=U0000002)".to_owned(), 1),
        (format!("(objectGUID={escaped})"), 1),
        ("(&(objectClass=user)(userAccountControl:1.2.840.113556.1.4.803:=2))".into(), 11),
        ("(objectClass=contact)".into(), 20),
        ("(&(objectClass=group)(!(groupType:1.2.840.113556.1.4.803:=2147483648)))".into(), 8),
        ("(sAMAccountName=u000001*)".into(), 10),
        ("(|(sAMAccountName=u0000001)(employeeID=E0000003)(noSuchThing=x))".into(), 2),
        ("(!(noSuchThing=x))".into(), 0),
        (format!("(manager={manager})"), 8),
        ("(&(objectCategory=person)(objectClass=contact))".into(), 20),
        ("(&(objectClass=user)(employeeID>=E0000190))".into(), 10),
    ] {
        let found = search(&mut ldap, &top, Scope::Subtree, &filter, &["1.1"], vec![]).await;
        assert_eq!((found.result.rc, found.entries.len()), (0, count), "{filter}");
        assert!(found.entries.iter().all(|e| e.attrs.is_empty()));
    }
    let text: String = forestsync_domain::ObjectGuid::from_slice(&user.guid()).unwrap().to_string();
    let sid = forestsync_domain::Sid::from_slice(&user.get("objectSid").unwrap()[0]).unwrap();
    for alternative in [format!("<GUID={text}>"), format!("<SID={sid}>")] {
        assert_eq!(read(&mut ldap, &alternative, &["name"]).await.dn, population.user_dn(2));
    }
    // Too many at once; all of them in pages; and a reference to the next naming context.
    let found = search(&mut ldap, BASE, Scope::Subtree, ALL, &["name"], vec![]).await;
    assert_eq!((found.result.rc, found.entries.len()), (4, 100));
    let adapters: Vec<Box<dyn Adapter<_, _>>> = vec![Box::new(EntriesOnly::new()), Box::new(PagedResults::new(30))];
    let mut stream = ldap.streaming_search_with(adapters, BASE, Scope::Subtree, ALL, vec!["objectGUID"]).await.unwrap();
    let mut seen = HashSet::new();
    while let Some(raw) = stream.next().await.unwrap() {
        assert!(seen.insert(Entry::parse(raw).guid()));
    }
    assert_eq!(stream.finish().await.rc, 0);
    assert_eq!(seen, lab.control.dump().into_iter().map(|o| o.guid.to_vec()).collect());
    let found = search(&mut ldap, BASE, Scope::OneLevel, "(objectClass=organizationalUnit)", &["ou"], vec![]).await;
    assert_eq!(
        found.entries.iter().map(|e| e.text("ou").unwrap()).collect::<HashSet<_>>(),
        ["Domain Controllers".into(), "Practice".into()].into()
    );
    assert_eq!(
        search(&mut ldap, &top, Scope::Subtree, "(sAMAccountName=u0000001)", &["cn"], vec![]).await.references,
        0
    );
    // What changed since, by USN.
    let usn = lab.control.usn();
    set(&mut lab.admin().await, &population.user_dn(9), "title", &["x"]).await;
    let found =
        search(&mut ldap, BASE, Scope::Subtree, &format!("(uSNChanged>={})", usn + 1), &["uSNChanged"], vec![]).await;
    assert_eq!((found.entries.len(), found.references), (1, 1));
    assert_eq!(found.entries[0].text("uSNChanged").unwrap(), (usn + 1).to_string());
}

#[tokio::test]
async fn values_come_in_ranges() {
    let lab = Lab::with(|o| o.max_val_range = 40).await;
    let options = PopulationOptions {
        users: 100,
        groups: 1,
        members_per_group: 100,
        ..PopulationOptions::new(BASE, "x.example")
    };
    let population = Population::new(1, options);
    lab.control.load(population.objects()).await.unwrap();
    let mut ldap = lab.reader().await;
    let group = population.group_dn(0);
    let first = read(&mut ldap, &group, &["member"]).await;
    assert_eq!(first.texts("member"), Some(vec![]));
    assert_eq!(first.get("member;range=0-39").unwrap().len(), 40);
    let mut members = HashSet::new();
    let mut from = 0;
    loop {
        let entry = read(&mut ldap, &group, &[&format!("member;range={from}-*")]).await;
        let (name, values) = &entry.attrs[0];
        members.extend(values.clone());
        from += values.len();
        if name.ends_with("-*") {
            break;
        }
    }
    assert_eq!((from, members.len()), (100, 100));
    assert_eq!(read(&mut ldap, &group, &["member;range=5-9"]).await.get("member;range=5-9").unwrap().len(), 5);
    assert_eq!(read(&mut ldap, &group, &["member;range=500-*"]).await.get("member;range=500-*").unwrap().len(), 0);
}

#[tokio::test]
async fn awkward_names_make_the_round_trip() {
    let lab = Lab::new().await;
    let mut w = lab.admin().await;
    let ou = format!("OU={},{BASE}", escape_rdn("R&D; Dept, \"x\" + y"));
    add_ok(&mut w, &ou, &[("objectClass", &["organizationalUnit"])]).await;
    let names = [
        "AT&T Ltd",
        "Doe, John",
        "a+b=c",
        "quoted \"name\"",
        "#leading",
        " spaces ",
        "back\\slash",
        "<angle>",
        "semi;colon",
        "😀 smile",
        "שלום",
        "José",
        "Jose",
        "O'Brien/x",
        "a  b",
        &"é".repeat(64),
    ];
    for name in names {
        add_ok(&mut w, &format!("CN={},{ou}", escape_rdn(name)), &[("objectClass", &["contact"])]).await;
    }
    let found = search(&mut w, &ou, Scope::OneLevel, ALL, &["cn", "name", "distinguishedName"], vec![]).await;
    assert_eq!(
        found.entries.iter().map(|e| e.text("cn").unwrap()).collect::<HashSet<_>>(),
        names.iter().map(ToString::to_string).collect()
    );
    for entry in found.entries {
        let again = read(&mut w, &entry.dn, &["cn"]).await;
        assert_eq!((again.dn.clone(), again.text("cn")), (entry.dn.clone(), entry.text("name")));
        assert_eq!(entry.text("distinguishedName"), Some(entry.dn.clone()));
        // Every character as a hexadecimal pair means the same name.
        let hex = hex_pairs(again.text("cn").unwrap().as_bytes());
        assert_eq!(read(&mut w, &format!("cn={hex} , {ou}"), &["cn"]).await.dn, entry.dn);
    }
}

#[tokio::test]
async fn changes_are_notified() {
    let lab = Lab::new().await;
    let (mut r, mut w) = (lab.reader().await, lab.admin().await);
    let dn = format!("CN=u,{BASE}");
    let controls = || vec![control(NOTIFICATION, None), control(SHOW_DELETED, None)];
    let narrow = search(&mut r, BASE, Scope::Subtree, "(objectClass=user)", &["cn"], controls()).await;
    assert_eq!(narrow.result.rc, 53);
    let mut stream = r
        .with_controls(controls())
        .streaming_search(BASE, Scope::Subtree, ALL, vec!["displayName", "isDeleted"])
        .await
        .unwrap();
    // The rootDSE is answered after the notification is in place, as requests are taken in order.
    let before = lab.control.counters().searches;
    read(&mut r, "", &["dnsHostName"]).await;
    assert!(lab.control.counters().searches >= before);
    macro_rules! told {
        ($what:literal) => {
            Entry::parse(tokio::time::timeout(PATIENCE, stream.next()).await.expect($what).unwrap().unwrap())
        };
    }
    add_user(&mut w, &dn, "u").await;
    assert_eq!(told!("the add").text("displayName").as_deref(), Some("Before"));
    set(&mut w, &dn, "displayName", &["After"]).await;
    assert_eq!(told!("the change").text("displayName").as_deref(), Some("After"));
    w.delete(&dn).await.unwrap().success().unwrap();
    assert_eq!(told!("the delete").text("isDeleted").as_deref(), Some("TRUE"));

    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(r.with_controls(controls()).streaming_search(BASE, Scope::Base, ALL, vec!["cn"]).await.unwrap());
    }
    let sixth = search(&mut r, BASE, Scope::Base, ALL, &["cn"], controls()).await;
    assert_eq!(sixth.result.rc, 11);
}
