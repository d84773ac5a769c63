//! DirSync beyond single changes: pages, cookies, rights, roll-backs, faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod forest_common;

use std::collections::{HashMap, HashSet};

use forest_common::*;
use forestsync_practice::forest::Rights;
use forestsync_practice::population::{Population, PopulationOptions};
use ldap3::{Ldap, Scope};

async fn loaded(change: impl FnOnce(&mut forestsync_practice::forest::ForestOptions)) -> (Lab, Population) {
    let lab = Lab::with(change).await;
    let population = Population::new(3, PopulationOptions::new(BASE, "emea.example"));
    let count = lab.control.load(population.objects()).await.unwrap();
    assert_eq!(count, population.count());
    (lab, population)
}

fn live(lab: &Lab) -> HashSet<Vec<u8>> {
    lab.control.dump().into_iter().map(|o| o.guid.to_vec()).collect()
}

#[tokio::test]
async fn pages_can_be_resumed_by_cookie_on_another_connection() {
    let (lab, _) = loaded(|o| o.max_page_objects = 50).await;
    let (mut seen, mut cookie, mut pages) = (HashSet::new(), Vec::new(), 0);
    loop {
        let mut ldap = lab.reader().await;
        let page = page(&mut ldap, INCREMENTAL | ANCESTORS_FIRST, &["name"], &cookie, i32::MAX).await;
        assert!(page.entries.len() <= 50 && (page.more || page.entries.len() < 50 || pages > 0));
        seen.extend(page.entries.iter().map(Entry::guid));
        cookie = page.cookie;
        pages += 1;
        if !page.more {
            break;
        }
    }
    assert!(pages >= 6, "{pages} pages");
    assert!(live(&lab).is_subset(&seen));
    let (entries, _, _) = dirsync(&mut lab.reader().await, 0, &["name"], &cookie).await;
    assert_eq!(entries, vec![]);
}

#[tokio::test]
async fn max_bytes_makes_pages_too_and_always_gets_on() {
    let (lab, _) = loaded(|o| o.max_page_objects = 100_000).await;
    let mut ldap = lab.reader().await;
    let (mut cookie, mut count) = (Vec::new(), 0);
    for _ in 0..5 {
        let page = page(&mut ldap, 0, &["name"], &cookie, 1).await;
        assert!(page.more);
        assert_eq!(page.entries.len(), 1);
        (cookie, count) = (page.cookie, count + 1);
    }
    let page = page(&mut ldap, 0, &["name"], &cookie, -1).await;
    assert!(!page.more && page.entries.len() > 200, "a MaxBytes that is not positive is no limit");
}

#[tokio::test]
async fn nothing_is_lost_when_others_write_between_pages() {
    let (lab, population) = loaded(|o| o.max_page_objects = 20).await;
    let (mut r, mut w) = (lab.reader().await, lab.admin().await);
    // What a synchronizer would hold: each object's title and members.
    let mut mirror: HashMap<Vec<u8>, (Option<String>, HashSet<String>)> = HashMap::new();
    let (mut cookie, mut step) = (Vec::new(), 0);
    loop {
        let page = page(&mut r, INCREMENTAL, &["name", "title", "member"], &cookie, i32::MAX).await;
        for entry in page.entries {
            let row = mirror.entry(entry.guid()).or_default();
            if let Some(title) = entry.texts("title") {
                row.0 = title.into_iter().next();
            }
            for gone in entry.texts("member;range=0-0").into_iter().flatten() {
                row.1.remove(&gone);
            }
            row.1.extend(entry.texts("member;range=1-1").into_iter().flatten());
        }
        cookie = page.cookie;
        if !page.more {
            break;
        }
        // Objects behind and ahead of the reader change while it reads.
        if step < 30 {
            set(&mut w, &population.user_dn(step), "title", &[&format!("t{step}")]).await;
            set(&mut w, &population.user_dn(199 - step), "title", &[]).await;
            let group = population.group_dn(step % 40);
            set(&mut w, &group, "member", &[&population.user_dn(step + 40)]).await;
        }
        step += 1;
    }
    assert!(step > 10);
    let objects = lab.control.dump();
    let dn_of: HashMap<_, _> = objects.iter().map(|o| (o.guid, o.dn.clone())).collect();
    for object in &objects {
        let row = mirror.get(object.guid.as_slice()).unwrap_or_else(|| panic!("{} is missing", object.dn));
        assert_eq!(row.0.as_deref(), object.text("title"), "{}", object.dn);
        let members =
            object.links.iter().find(|(name, _)| *name == "member").map(|(_, m)| m.clone()).unwrap_or_default();
        assert_eq!(row.1, members.iter().map(|g| dn_of[g].clone()).collect(), "{}", object.dn);
    }
}

#[tokio::test]
async fn members_of_a_large_group_are_spread_over_entries_and_pages() {
    let lab = Lab::with(|o| {
        o.max_link_values = 100;
        o.max_page_objects = 3;
    })
    .await;
    let options = PopulationOptions {
        users: 450,
        groups: 1,
        members_per_group: 450,
        ..PopulationOptions::new(BASE, "x.example")
    };
    lab.control.load(Population::new(1, options).objects()).await.unwrap();
    let (entries, pages, _) = dirsync(&mut lab.reader().await, INCREMENTAL, &["member"], b"").await;
    let of_group: Vec<_> = entries.iter().filter(|e| e.dn.contains(" team 0,")).collect();
    assert_eq!(of_group.len(), 5);
    let members: HashSet<_> = of_group.iter().flat_map(|e| e.texts("member;range=1-1").unwrap()).collect();
    assert_eq!(members.len(), 450);
    assert!(of_group.iter().all(|e| e.texts("member;range=1-1").unwrap().len() <= 100));
    assert!(pages.len() > 2);
    let (entries, _, _) = dirsync(&mut lab.reader().await, 0, &["member"], b"").await;
    let group = entries.iter().find(|e| e.dn.contains(" team 0,")).unwrap();
    assert_eq!(group.get("member").unwrap().len(), 450);
}

#[tokio::test]
async fn flawed_objects_are_taken_and_told_of_as_they_are() {
    let lab = Lab::with(|_| {}).await;
    let options = PopulationOptions { users: 720, ..PopulationOptions::new(BASE, "x.example") };
    let population = Population::new(1, options);
    lab.control.load(population.objects()).await.unwrap();
    let (entries, _, _) = dirsync(&mut lab.reader().await, 0, &["displayName", "userPrincipalName"], b"").await;
    let of = |rule: &str| {
        let (dn, _) = population.flaws().find(|(_, broken)| *broken == rule).unwrap();
        entries.iter().find(|e| e.dn.to_lowercase() == dn.to_lowercase()).unwrap()
    };
    assert_eq!(of("displayname-blank").texts("displayName"), Some(vec![" ".to_owned()]));
    assert_eq!(of("displayname-length").texts("displayName").unwrap()[0].len(), 256);
    assert_eq!(of("samaccountname-duplicate").texts("userPrincipalName"), None);
}

#[tokio::test]
async fn ancestors_come_first_when_asked_for() {
    let (lab, population) = loaded(|_| {}).await;
    let mut w = lab.admin().await;
    // A renamed unit has a higher USN than what is below it.
    w.modifydn(population.unit_dn(0), "OU=late", true, None).await.unwrap().success().unwrap();
    for (flags, wanted) in [(ANCESTORS_FIRST, true), (0, false)] {
        let (entries, _, _) = dirsync(&mut w, flags, &["name"], b"").await;
        let mut seen = HashSet::new();
        let ordered = entries.iter().all(|e| {
            seen.insert(e.guid());
            e.get("parentGUID").is_none_or(|parent| seen.contains(&parent[0]))
        });
        assert_eq!(ordered, wanted, "flags {flags:#x}");
    }
}

#[tokio::test]
async fn strange_cookies() {
    let (lab, population) = loaded(|_| {}).await;
    let mut ldap = lab.admin().await;
    let everything = dirsync(&mut ldap, 0, &["name"], b"").await;
    let rc = |result: ldap3::LdapResult| result.rc;
    for bad in [&b"garbage"[..], &everything.2[..everything.2.len() / 2]] {
        let controls = vec![dirsync_control(0, i32::MAX, bad)];
        assert_eq!(rc(search(&mut ldap, BASE, Scope::Subtree, ALL, &["name"], controls).await.result), 12);
    }
    let trailing = [everything.2.as_slice(), b"xx"].concat();
    assert_eq!(dirsync(&mut ldap, 0, &["name"], &trailing).await.0, vec![]);
    // Of another forest: a full answer. Of another naming context: nothing.
    let other = Lab::with(|o| o.seed = 99).await;
    let foreign = dirsync(&mut other.admin().await, 0, &["name"], b"").await.2;
    assert_eq!(dirsync(&mut ldap, 0, &["name"], &foreign).await.0.len(), 0, "its naming context is another object");
    let configuration = format!("CN=Configuration,{BASE}");
    let found =
        search(&mut ldap, &configuration, Scope::Subtree, ALL, &["name"], vec![dirsync_control(0, 0, b"")]).await;
    assert!(found.entries.len() > 3 && found.entries.iter().all(|e| e.dn.ends_with(&configuration)));
    let (_, cookie) = response(&found.result.ctrls);
    assert_eq!(dirsync(&mut ldap, 0, &["name"], &cookie).await.0, vec![]);
    // A controller that took a new identity without losing anything goes on.
    lab.control.new_invocation_id().unwrap();
    set(&mut ldap, &population.user_dn(0), "title", &["x"]).await;
    let (entries, _, _) = dirsync(&mut ldap, 0, &["title"], &everything.2).await;
    assert_eq!(entries.len(), 1);
}

#[tokio::test]
async fn rollbacks() {
    for new_invocation in [false, true] {
        let (lab, population) = loaded(|_| {}).await;
        let mut ldap = lab.admin().await;
        let backup = lab.control.backup();
        let before = (lab.control.usn(), lab.control.invocation_id());
        for i in 0..3 {
            set(&mut ldap, &population.user_dn(i), "title", &["lost"]).await;
        }
        let cookie = dirsync(&mut ldap, 0, &["title"], b"").await.2;
        lab.control.restore(&backup, new_invocation).unwrap();
        assert_eq!(lab.control.usn(), before.0);
        assert_eq!(lab.control.invocation_id() == before.1, !new_invocation);
        let mut ldap = lab.admin().await;
        for i in 10..14 {
            set(&mut ldap, &population.user_dn(i), "title", &["new"]).await;
        }
        let (entries, _, _) = dirsync(&mut ldap, 0, &["title"], &cookie).await;
        // With the old identity the reused numbers are never told about.
        assert_eq!(entries.len(), if new_invocation { 4 } else { 1 });
    }
}

async fn code(ldap: &mut Ldap, base: &str, flags: u32) -> (u32, usize) {
    let found = search(ldap, base, Scope::Subtree, ALL, &["name"], vec![dirsync_control(flags, i32::MAX, b"")]).await;
    (found.result.rc, found.entries.len())
}

#[tokio::test]
async fn rights_decide_what_is_seen() {
    let (lab, population) = loaded(|o| o.max_page_objects = 10_000).await;
    let (mut r, mut w) = (lab.reader().await, lab.admin().await);
    let users = format!("CN=Users,{BASE}");
    assert_eq!(code(&mut r, &users, 0).await.0, 50);
    assert_eq!(code(&mut r, &users, OBJECT_SECURITY).await.0, 53);
    assert_eq!(code(&mut r, "DC=nowhere", 0).await.0, 32);
    assert_eq!(code(&mut r, "", 0).await.0, 32);
    let all = code(&mut r, BASE, 0).await;
    w.delete(&population.group_dn(39)).await.unwrap().success().unwrap();
    assert_eq!(code(&mut r, BASE, 0).await, all, "the tombstone instead of the object");

    let deleted = format!("CN=Deleted Objects,{BASE}");
    let show = || vec![control(SHOW_DELETED, None)];
    let container = search(&mut r, &deleted, Scope::Base, ALL, &["isDeleted"], show()).await.entries.remove(0);
    assert_eq!(container.text("isDeleted").as_deref(), Some("TRUE"));
    lab.control.set_reader_rights(Rights { sees_deleted: false, may_dirsync: false, ..Rights::FULL });
    assert_eq!(code(&mut r, BASE, 0).await.0, 50);
    assert_eq!(code(&mut r, BASE, OBJECT_SECURITY).await, (0, all.1 - 1), "no tombstones, no error");
    let container = search(&mut r, &deleted, Scope::Base, ALL, &["isDeleted"], show()).await.entries.remove(0);
    assert_eq!(container.get("isDeleted"), None);

    lab.control.set_reader_rights(Rights { reads_objects: false, ..Rights::FULL });
    assert_eq!(code(&mut r, BASE, 0).await, (0, 0));
    assert_eq!(code(&mut w, BASE, 0).await.1, all.1);
    lab.control.set_reader_rights(Rights::FULL);
    assert_eq!(code(&mut r, BASE, 0).await, all);

    // A confidential attribute: unreadable, which looks like cleared.
    let cookie = dirsync(&mut r, 0, &["employeeID"], b"").await.2;
    lab.control.set_confidential("employeeID", true).unwrap();
    set(&mut w, &population.user_dn(0), "employeeID", &["secret"]).await;
    let (entries, _, _) = dirsync(&mut r, 0, &["employeeID"], &cookie).await;
    assert_eq!(entries[0].texts("employeeID"), Some(vec![]));
    let schema = format!("CN=Schema,CN=Configuration,{BASE}");
    let found = search(
        &mut r,
        &schema,
        Scope::OneLevel,
        "(searchFlags:1.2.840.113556.1.4.803:=128)",
        &["lDAPDisplayName"],
        vec![],
    )
    .await;
    assert!(found.entries.iter().any(|e| e.text("lDAPDisplayName").as_deref() == Some("employeeID")));
}

#[tokio::test]
async fn faults_on_demand() {
    let (lab, _) = loaded(|o| o.max_page_objects = 10_000).await;
    let mut ldap = lab.reader().await;
    lab.control.answer_busy(1);
    assert_eq!(code(&mut ldap, BASE, 0).await.0, 51);
    lab.control.answer_unavailable(1);
    assert_eq!(code(&mut ldap, BASE, 0).await.0, 52);
    lab.control.cut_after(25);
    let controls = vec![dirsync_control(0, i32::MAX, b"")];
    let mut stream =
        ldap.with_controls(controls).streaming_search(BASE, Scope::Subtree, ALL, vec!["name"]).await.unwrap();
    let mut received = 0;
    let error = loop {
        match tokio::time::timeout(PATIENCE, stream.next()).await.unwrap() {
            Ok(Some(_)) => received += 1,
            other => break other,
        }
    };
    assert!(error.is_err(), "{error:?}");
    assert_eq!(received, 25);

    let mut ldap = lab.reader().await;
    lab.control.pause();
    let mut other = ldap.clone();
    let waiting = tokio::spawn(async move { code(&mut other, BASE, 0).await });
    // The request has arrived, and still nothing is answered.
    let searches = lab.control.counters().dirsync_searches;
    while lab.control.counters().dirsync_searches == searches {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    lab.control.resume();
    assert_eq!(tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap().0, 0);
    lab.control.cut_all();
    while !ldap.is_closed() {
        tokio::task::yield_now().await;
    }
    assert_eq!(code(&mut lab.reader().await, BASE, 0).await.0, 0);
    let counters = lab.control.counters();
    assert!(counters.binds >= 3 && counters.entries > 25 && counters.connections >= counters.binds, "{counters:?}");
    lab.forest.stop().await;
}
