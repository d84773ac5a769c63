//! Every kind of change, and what DirSync says about it: the table of what was measured on Samba.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod forest_common;

use forest_common::*;
use ldap3::{Ldap, Mod};

const LIST: &[&str] = &[
    "name",
    "objectClass",
    "sAMAccountName",
    "displayName",
    "mail",
    "userAccountControl",
    "pwdLastSet",
    "member",
    "manager",
    "isDeleted",
    "isRecycled",
    "proxyAddresses",
    "lastKnownParent",
    "objectCategory",
];

/// Two synchronizers, one asking for full and one for incremental links.
struct Watch {
    ldap: Ldap,
    full: Vec<u8>,
    incremental: Vec<u8>,
}

impl Watch {
    async fn new(mut ldap: Ldap) -> Self {
        let (_, _, cookie) = dirsync(&mut ldap, 0, LIST, b"").await;
        Self { ldap, full: cookie.clone(), incremental: cookie }
    }

    /// What both are told about the changes since the last call.
    async fn both(&mut self) -> (Vec<Entry>, Vec<Entry>) {
        let (full, _, cookie) = dirsync(&mut self.ldap, 0, LIST, &self.full).await;
        self.full = cookie;
        let (incremental, _, cookie) = dirsync(&mut self.ldap, INCREMENTAL, LIST, &self.incremental).await;
        self.incremental = cookie;
        (full, incremental)
    }

    /// The only entry, when both are told the same.
    async fn one(&mut self) -> Entry {
        let (mut full, incremental) = self.both().await;
        assert_eq!(full, incremental);
        assert_eq!(full.len(), 1, "{full:?}");
        full.remove(0)
    }

    async fn nothing(&mut self) {
        let (full, incremental) = self.both().await;
        assert_eq!((full, incremental), (vec![], vec![]));
    }
}

/// The values of an attribute, in an order that can be compared.
fn sorted(entry: &Entry, name: &str) -> Option<Vec<String>> {
    let mut values = entry.texts(name)?;
    values.sort();
    Some(values)
}

fn dn(cn: &str) -> String {
    format!("CN={cn},OU=t,{BASE}")
}

async fn start() -> (Lab, Ldap, Watch) {
    let lab = Lab::new().await;
    let mut w = lab.admin().await;
    add_ok(&mut w, &format!("OU=t,{BASE}"), &[("objectClass", &["organizationalUnit"])]).await;
    for user in ["anna", "bert", "carl"] {
        add_user(&mut w, &dn(user), user).await;
    }
    add_ok(
        &mut w,
        &dn("grp"),
        &[("objectClass", &["group"]), ("sAMAccountName", &["grp"]), ("member", &[&dn("anna")])],
    )
    .await;
    let watch = Watch::new(lab.reader().await).await;
    (lab, w, watch)
}

#[tokio::test]
async fn attributes() {
    let (_lab, mut w, mut watch) = start().await;
    watch.nothing().await;
    set(&mut w, &dn("anna"), "displayName", &["After"]).await;
    let entry = watch.one().await;
    assert_eq!((entry.dn.as_str(), entry.names()), (dn("anna").as_str(), vec!["displayName"]));
    assert_eq!(entry.text("displayName").as_deref(), Some("After"));
    assert_eq!(entry.text("instanceType").as_deref(), Some("4"));
    set(&mut w, &dn("anna"), "displayName", &["After"]).await;
    watch.nothing().await;
    set(&mut w, &dn("anna"), "mail", &[]).await;
    assert_eq!(watch.one().await.texts("mail"), Some(vec![]));
    assert_eq!(modify(&mut w, &dn("anna"), "proxyAddresses", Op::Add(&["smtp:a@x"])).await, 0);
    assert_eq!(modify(&mut w, &dn("anna"), "proxyAddresses", Op::Add(&["smtp:b@x"])).await, 0);
    assert_eq!(watch.one().await.texts("proxyAddresses"), Some(vec!["smtp:a@x".into(), "smtp:b@x".into()]));
    set(&mut w, &dn("anna"), "userAccountControl", &["546"]).await;
    assert_eq!(watch.one().await.text("userAccountControl").as_deref(), Some("546"));
    set(&mut w, &dn("anna"), "pwdLastSet", &["-1"]).await;
    let stamp: i64 = watch.one().await.text("pwdLastSet").unwrap().parse().unwrap();
    assert!(stamp > 130_000_000_000_000_000, "{stamp} is no file time");
    set(&mut w, &dn("anna"), "pwdLastSet", &["0"]).await;
    assert_eq!(watch.one().await.text("pwdLastSet").as_deref(), Some("0"));
    // Not asked for: no entry at all.
    set(&mut w, &dn("anna"), "title", &["Engineer"]).await;
    watch.nothing().await;
}

#[tokio::test]
async fn a_password_shows_as_empty_and_only_to_those_who_ask_for_all() {
    let (_lab, mut w, mut watch) = start().await;
    let cookie = watch.full.clone();
    let secret: Vec<u8> = "\"Secret.123\"".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let change = Mod::Replace(b"unicodePwd".to_vec(), [secret].into());
    w.modify(&dn("anna"), vec![change]).await.unwrap().success().unwrap();
    assert_eq!(watch.one().await.names(), ["pwdLastSet"]);
    let (entries, _, _) = dirsync(&mut w, 0, &["*"], &cookie).await;
    let secrets = ["dBCSPwd", "lmPwdHistory", "ntPwdHistory", "pwdLastSet", "supplementalCredentials", "unicodePwd"];
    assert_eq!(entries[0].names(), secrets);
    assert_eq!(entries[0].texts("unicodePwd"), Some(vec![]));
}

#[tokio::test]
async fn links() {
    let (_lab, mut w, mut watch) = start().await;
    let (anna, bert, carl, grp) = (dn("anna"), dn("bert"), dn("carl"), dn("grp"));
    set(&mut w, &anna, "manager", &[&bert]).await;
    let (full, incremental) = watch.both().await;
    assert_eq!(sorted(&full[0], "manager"), Some(vec![bert.clone()]));
    assert_eq!(sorted(&incremental[0], "manager;range=1-1"), Some(vec![bert.clone()]));
    set(&mut w, &anna, "manager", &[&carl]).await;
    let (full, incremental) = watch.both().await;
    assert_eq!(sorted(&full[0], "manager"), Some(vec![carl.clone()]));
    assert_eq!(sorted(&incremental[0], "manager;range=0-0"), Some(vec![bert.clone()]));
    assert_eq!(sorted(&incremental[0], "manager;range=1-1"), Some(vec![carl.clone()]));
    set(&mut w, &anna, "manager", &[]).await;
    let (full, incremental) = watch.both().await;
    assert_eq!(sorted(&full[0], "manager"), Some(vec![]));
    assert_eq!(
        (incremental[0].names(), sorted(&incremental[0], "manager;range=0-0")),
        (vec!["manager;range=0-0"], Some(vec![carl.clone()]))
    );

    assert_eq!(modify(&mut w, &grp, "member", Op::Add(&[&bert, &carl])).await, 0);
    let (full, incremental) = watch.both().await;
    assert_eq!(sorted(&full[0], "member"), Some(vec![anna.clone(), bert.clone(), carl.clone()]));
    assert_eq!(sorted(&incremental[0], "member;range=1-1"), Some(vec![bert.clone(), carl.clone()]));
    assert_eq!(modify(&mut w, &grp, "member", Op::Delete(&[&anna])).await, 0);
    let (full, incremental) = watch.both().await;
    assert_eq!(sorted(&full[0], "member"), Some(vec![bert.clone(), carl.clone()]));
    assert_eq!(sorted(&incremental[0], "member;range=0-0"), Some(vec![anna.clone()]));
    assert_eq!(modify(&mut w, &grp, "member", Op::Delete(&[])).await, 0);
    let (full, incremental) = watch.both().await;
    assert_eq!(sorted(&full[0], "member"), Some(vec![]));
    assert_eq!(sorted(&incremental[0], "member;range=0-0"), Some(vec![bert.clone(), carl.clone()]));

    // The history: a first incremental answer tells who was a member once.
    assert_eq!(modify(&mut w, &grp, "member", Op::Add(&[&bert])).await, 0);
    let (entries, _, _) = dirsync(&mut w, INCREMENTAL, &["member"], b"").await;
    let group = entries.iter().find(|e| e.dn == grp).unwrap();
    assert_eq!(sorted(group, "member;range=1-1"), Some(vec![bert]));
    assert_eq!(sorted(group, "member;range=0-0"), Some(vec![anna, carl]));
}

#[tokio::test]
async fn renames_and_moves() {
    let (_lab, mut w, mut watch) = start().await;
    let before = read(&mut w, &dn("anna"), &["objectGUID"]).await.guid();
    w.modifydn(&dn("anna"), "CN=anna2", true, None).await.unwrap().success().unwrap();
    let entry = watch.one().await;
    assert_eq!((entry.dn.clone(), entry.names()), (dn("anna2"), vec!["name", "parentGUID"]));
    assert_eq!(entry.guid(), before);
    w.modifydn(&dn("anna2"), "CN=ANNA2", true, None).await.unwrap().success().unwrap();
    assert_eq!(watch.one().await.text("name").as_deref(), Some("ANNA2"));
    add_ok(&mut w, &format!("OU=sub,OU=t,{BASE}"), &[("objectClass", &["organizationalUnit"])]).await;
    let ou = watch.one().await;
    w.modifydn(&dn("ANNA2"), "CN=ANNA2", true, Some(&format!("OU=sub,OU=t,{BASE}"))).await.unwrap().success().unwrap();
    let entry = watch.one().await;
    assert_eq!(entry.dn, format!("CN=ANNA2,OU=sub,OU=t,{BASE}"));
    assert_eq!(entry.get("parentGUID").unwrap()[0], ou.guid());
    // Children of a renamed container are not told about, but found below it.
    w.modifydn(&format!("OU=sub,OU=t,{BASE}"), "OU=sub2", true, None).await.unwrap().success().unwrap();
    assert_eq!(watch.one().await.dn, format!("OU=sub2,OU=t,{BASE}"));
    let moved = read(&mut w, &format!("CN=anna2,OU=sub2,OU=t,{BASE}"), &["memberOf", "objectGUID"]).await;
    assert_eq!((moved.guid(), moved.text("memberOf")), (before, Some(dn("grp"))));
    let into_itself = w.modifydn(&format!("OU=t,{BASE}"), "OU=t", true, Some(&format!("OU=sub2,OU=t,{BASE}"))).await;
    assert_eq!(into_itself.unwrap().rc, 53);
}

#[tokio::test]
async fn deletes_and_undeletes() {
    let (_lab, mut w, mut watch) = start().await;
    let guid = read(&mut w, &dn("anna"), &["objectGUID"]).await.guid();
    w.delete(&dn("anna")).await.unwrap().success().unwrap();
    let dead = watch.one().await;
    assert!(
        dead.dn.starts_with("CN=anna\\0ADEL:") && dead.dn.ends_with(&format!(",CN=Deleted Objects,{BASE}")),
        "{}",
        dead.dn
    );
    assert!(dead.text("name").unwrap().starts_with("anna\nDEL:"));
    assert_eq!((dead.guid(), dead.text("isDeleted").as_deref()), (guid.clone(), Some("TRUE")));
    for gone in ["displayName", "mail", "pwdLastSet", "objectCategory"] {
        assert_eq!(dead.texts(gone), Some(vec![]), "{gone}");
    }
    assert_eq!(dead.get("sAMAccountName"), None, "kept, so not a change");
    assert!(dead.text("lastKnownParent").unwrap().ends_with(&format!(";OU=t,{BASE}")));
    assert_eq!(read(&mut w, &dn("grp"), &["member"]).await.get("member"), None);
    let shown = search(
        &mut w,
        BASE,
        ldap3::Scope::Subtree,
        "(isDeleted=TRUE)",
        &["sAMAccountName"],
        vec![control(SHOW_DELETED, None)],
    )
    .await;
    assert!(shown.entries.iter().any(|e| e.dn == dead.dn && e.text("sAMAccountName").as_deref() == Some("anna")));
    let hidden = search(&mut w, BASE, ldap3::Scope::Subtree, "(isDeleted=TRUE)", &["cn"], vec![]).await;
    assert_eq!(hidden.entries, vec![]);

    let undelete = vec![
        Mod::Delete(b"isDeleted".to_vec(), [].into()),
        Mod::Replace(b"distinguishedName".to_vec(), [dn("anna").into_bytes()].into()),
    ];
    let result = w.with_controls(vec![control(SHOW_DELETED, None)]).modify(&dead.dn, undelete).await.unwrap();
    assert_eq!(result.rc, 0, "{}", result.text);
    let back = watch.one().await;
    assert_eq!((back.dn.clone(), back.guid()), (dn("anna"), guid));
    assert_eq!((back.texts("isDeleted"), back.texts("isRecycled")), (Some(vec![]), Some(vec![])));
    assert!(back.get("name").is_some() && back.get("parentGUID").is_some() && back.get("sAMAccountName").is_none());
    assert_eq!(read(&mut w, &dn("anna"), &["sAMAccountName"]).await.text("sAMAccountName").as_deref(), Some("anna"));
}

#[tokio::test]
async fn a_tree_goes_at_once() {
    let (_lab, mut w, mut watch) = start().await;
    assert_eq!(w.delete(&format!("OU=t,{BASE}")).await.unwrap().rc, 66);
    let result = w.with_controls(vec![control(TREE_DELETE, None)]).delete(&format!("OU=t,{BASE}")).await.unwrap();
    assert_eq!(result.rc, 0, "{}", result.text);
    let (full, incremental) = watch.both().await;
    assert_eq!((full.len(), incremental.len()), (5, 5));
    assert!(full.iter().all(|e| e.text("isDeleted").as_deref() == Some("TRUE")));
    let group = full.iter().find(|e| e.dn.starts_with("CN=grp")).unwrap();
    assert_eq!(group.get("member"), None, "links of a deleted object vanish without a trace");
    let user = full.iter().find(|e| e.dn.starts_with("CN=anna")).unwrap();
    assert!(user.text("lastKnownParent").unwrap().contains("OU=t\\0ADEL:"), "the parent's tombstone");
}

#[tokio::test]
async fn foreign_principals_are_made_when_a_group_names_them() {
    let (_lab, mut w, mut watch) = start().await;
    let sid = "S-1-5-21-1111111111-2222222222-3333333333-1105";
    assert_eq!(modify(&mut w, &dn("grp"), "member", Op::Add(&[&format!("<SID={sid}>")])).await, 0);
    let (full, _) = watch.both().await;
    let foreign = format!("CN={sid},CN=ForeignSecurityPrincipals,{BASE}");
    assert_eq!(full.len(), 2);
    let made = full.iter().find(|e| e.dn == foreign).unwrap();
    assert_eq!((made.text("name").as_deref(), made.get("sAMAccountName")), (Some(sid), None));
    let extended = control("1.2.840.113556.1.4.529", Some(sequence(&[1], None)));
    let found = search(&mut w, &dn("grp"), ldap3::Scope::Base, ALL, &["member"], vec![extended]).await;
    assert!(found.entries[0].dn.starts_with("<GUID="));
    assert!(found.entries[0].texts("member").unwrap().iter().any(|m| m.contains(&format!(";<SID={sid}>;CN={sid},"))));
}

#[tokio::test]
async fn writes_are_refused_with_the_codes_of_the_directory() {
    let (lab, mut w, mut watch) = start().await;
    let ou = format!("OU=t,{BASE}");
    let user: (&str, &[&str]) = ("objectClass", &["user"]);
    assert_eq!(add(&mut w, &dn("anna"), &[user]).await, 68);
    assert_eq!(add(&mut w, &dn("new"), &[user, ("sAMAccountName", &["ANNA"])]).await, 68);
    assert_eq!(add(&mut w, &format!("CN=x,OU=nowhere,{BASE}"), &[user]).await, 32);
    assert_eq!(add(&mut w, "not a dn", &[user]).await, 34);
    assert_eq!(add(&mut w, &dn("new"), &[("sAMAccountName", &["new"])]).await, 65);
    assert_eq!(add(&mut w, &format!("OU=new,{ou}"), &[user]).await, 64);
    assert_eq!(add(&mut w, &dn("new"), &[user, ("noSuchThing", &["x"])]).await, 16);
    assert_eq!(add(&mut w, &dn(&"x".repeat(65)), &[user]).await, 19);
    assert_eq!(add(&mut w, &dn("new"), &[user, ("manager", &["CN=nobody,DC=emea,DC=example"])]).await, 19);
    assert_eq!(modify(&mut w, &dn("grp"), "member", Op::Add(&["CN=nobody,DC=emea,DC=example"])).await, 32);
    assert_eq!(modify(&mut w, &dn("anna"), "sAMAccountName", Op::Set(&[])).await, 53);
    assert_eq!(modify(&mut w, &dn("grp"), "member", Op::Add(&[&dn("anna")])).await, 68);
    assert_eq!(modify(&mut w, &dn("grp"), "member", Op::Delete(&[&dn("carl")])).await, 53);
    assert_eq!(modify(&mut w, &dn("anna"), "displayName", Op::Add(&["Second"])).await, 20);
    assert_eq!(modify(&mut w, &dn("anna"), "title", Op::Delete(&["x"])).await, 16);
    assert_eq!(modify(&mut w, &dn("anna"), "name", Op::Set(&["x"])).await, 67);
    assert_eq!(modify(&mut w, &dn("anna"), "objectGUID", Op::Set(&["x"])).await, 53);
    assert_eq!(w.delete(&format!("CN=Administrator,CN=Users,{BASE}")).await.unwrap().rc, 53);
    assert_eq!(w.modifydn(&dn("anna"), "CN=bert", true, None).await.unwrap().rc, 68);
    watch.nothing().await;
    let mut reader = lab.reader().await;
    assert_eq!(modify(&mut reader, &dn("anna"), "title", Op::Set(&["x"])).await, 50);
    // Defaults of a group that is given nothing but its class, and of a user.
    add_ok(&mut w, &dn("g2"), &[("objectClass", &["group"])]).await;
    let group = read(&mut w, &dn("g2"), &["groupType", "sAMAccountType", "sAMAccountName", "objectSid"]).await;
    assert_eq!(group.text("groupType").as_deref(), Some("-2147483646"));
    assert_eq!(group.text("sAMAccountType").as_deref(), Some("268435456"));
    assert!(group.text("sAMAccountName").unwrap().starts_with('$') && group.get("objectSid").unwrap()[0].len() == 28);
    set(&mut w, &dn("g2"), "groupType", &["8"]).await;
    assert_eq!(read(&mut w, &dn("g2"), &["sAMAccountType"]).await.text("sAMAccountType").as_deref(), Some("268435457"));
}
