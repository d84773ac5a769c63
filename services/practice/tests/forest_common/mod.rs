//! A practice forest and an LDAP client for it: what every test of the forest starts from.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use forestsync_practice::forest::{ForestControl, ForestOptions, PracticeForest};
use forestsync_practice::tls::PrivateCa;
use lber::structures::{ASNTag as _, Integer, OctetString, Sequence, Tag};
use ldap3::controls::{Control, RawControl};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapResult, Mod, ResultEntry, Scope, StdStream};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

pub(crate) const BASE: &str = "DC=emea,DC=example";
pub(crate) const ADMIN: &str = "administrator@emea.example";
pub(crate) const ADMIN_PASSWORD: &str = "Adm1n-practice";
pub(crate) const READER: &str = "EMEA\\forestsync-reader";
pub(crate) const READER_PASSWORD: &str = "Re4der-practice";

pub(crate) const DIRSYNC: &str = "1.2.840.113556.1.4.841";
pub(crate) const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
pub(crate) const NOTIFICATION: &str = "1.2.840.113556.1.4.528";
pub(crate) const TREE_DELETE: &str = "1.2.840.113556.1.4.805";
pub(crate) const OBJECT_SECURITY: u32 = 0x1;
pub(crate) const ANCESTORS_FIRST: u32 = 0x800;
pub(crate) const INCREMENTAL: u32 = 0x8000_0000;
pub(crate) const ALL: &str = "(objectClass=*)";
/// A generous limit for waits: only a failure takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Lab {
    pub(crate) forest: PracticeForest,
    pub(crate) control: ForestControl,
    pub(crate) tls: Arc<rustls::ClientConfig>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    StartTls,
    Ldaps,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ForestOptions)) -> Self {
        let ca = PrivateCa::new().unwrap();
        let mut options = ForestOptions::new("emea", BASE, ADMIN_PASSWORD, READER_PASSWORD);
        change(&mut options);
        let forest = PracticeForest::start(options, &ca).await.unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { control: forest.control(), forest, tls: Arc::new(tls) }
    }

    pub(crate) async fn connect(&self, transport: Transport) -> Ldap {
        let (scheme, address) = match transport {
            Transport::Ldaps => ("ldaps", self.forest.ldaps_addr()),
            _ => ("ldap", self.forest.ldap_addr()),
        };
        let stream = tokio::net::TcpStream::connect(address).await.unwrap().into_std().unwrap();
        let settings = LdapConnSettings::new()
            .set_config(Arc::clone(&self.tls))
            .set_starttls(transport == Transport::StartTls)
            .set_std_stream(StdStream::Tcp(stream));
        let (connection, ldap) =
            LdapConnAsync::with_settings(settings, &format!("{scheme}://dc01.emea.example")).await.unwrap();
        tokio::spawn(connection.drive());
        ldap
    }

    pub(crate) async fn bind(&self, name: &str, password: &str) -> Ldap {
        let mut ldap = self.connect(Transport::Ldaps).await;
        ldap.simple_bind(name, password).await.unwrap().success().unwrap();
        ldap
    }

    pub(crate) async fn admin(&self) -> Ldap {
        self.bind(ADMIN, ADMIN_PASSWORD).await
    }

    pub(crate) async fn reader(&self) -> Ldap {
        self.bind(READER, READER_PASSWORD).await
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) dn: String,
    pub(crate) attrs: Vec<(String, Vec<Vec<u8>>)>,
}

impl Entry {
    pub(crate) fn parse(raw: ResultEntry) -> Self {
        let mut parts = raw.0.expect_constructed().unwrap().into_iter();
        let dn = String::from_utf8(parts.next().unwrap().expect_primitive().unwrap()).unwrap();
        let attrs = parts.next().unwrap().expect_constructed().unwrap();
        let attrs = attrs.into_iter().map(|attr| {
            let mut attr = attr.expect_constructed().unwrap().into_iter();
            let name = String::from_utf8(attr.next().unwrap().expect_primitive().unwrap()).unwrap();
            let values = attr.next().unwrap().expect_constructed().unwrap();
            (name, values.into_iter().map(|v| v.expect_primitive().unwrap()).collect())
        });
        Self { dn, attrs: attrs.collect() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Vec<Vec<u8>>> {
        self.attrs.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    pub(crate) fn texts(&self, name: &str) -> Option<Vec<String>> {
        self.get(name).map(|v| v.iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect())
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.texts(name)?.into_iter().next()
    }

    /// Attribute names, those that every DirSync entry has left out.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self
            .attrs
            .iter()
            .map(|(n, _)| n.as_str())
            .filter(|n| !["objectGUID", "instanceType"].contains(n))
            .collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn guid(&self) -> Vec<u8> {
        self.get("objectGUID").expect("every entry has its objectGUID")[0].clone()
    }
}

pub(crate) struct Found {
    pub(crate) entries: Vec<Entry>,
    pub(crate) references: usize,
    pub(crate) result: LdapResult,
}

pub(crate) async fn search(
    ldap: &mut Ldap,
    base: &str,
    scope: Scope,
    filter: &str,
    attrs: &[&str],
    controls: Vec<RawControl>,
) -> Found {
    let attrs: Vec<String> = attrs.iter().map(ToString::to_string).collect();
    let mut stream = ldap.with_controls(controls).streaming_search(base, scope, filter, attrs).await.unwrap();
    let (mut entries, mut references) = (Vec::new(), 0);
    while let Some(raw) = stream.next().await.unwrap() {
        if raw.is_ref() {
            references += 1;
        } else {
            entries.push(Entry::parse(raw));
        }
    }
    Found { entries, references, result: stream.finish().await }
}

pub(crate) async fn read(ldap: &mut Ldap, dn: &str, attrs: &[&str]) -> Entry {
    let found = search(ldap, dn, Scope::Base, ALL, attrs, vec![]).await;
    assert_eq!(found.result.rc, 0, "{dn}: {}", found.result.text);
    found.entries.into_iter().next().unwrap()
}

fn encode(tag: Tag) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    lber::write::encode_into(&mut buffer, tag.into_structure()).unwrap();
    buffer.to_vec()
}

pub(crate) fn sequence(integers: &[i64], text: Option<&[u8]>) -> Vec<u8> {
    let mut inner: Vec<_> =
        integers.iter().map(|n| Tag::Integer(Integer { inner: *n, ..Default::default() })).collect();
    inner.extend(text.map(|t| Tag::OctetString(OctetString { inner: t.to_vec(), ..Default::default() })));
    encode(Tag::Sequence(Sequence { inner, ..Default::default() }))
}

pub(crate) fn control(oid: &str, value: Option<Vec<u8>>) -> RawControl {
    RawControl { ctype: oid.into(), crit: true, val: value }
}

pub(crate) fn dirsync_control(flags: u32, max_bytes: i32, cookie: &[u8]) -> RawControl {
    let flags = i64::from(flags.cast_signed());
    control(DIRSYNC, Some(sequence(&[flags, max_bytes.into()], Some(cookie))))
}

pub(crate) fn response(controls: &[Control]) -> (bool, Vec<u8>) {
    let Control(_, raw) = controls.iter().find(|Control(_, raw)| raw.ctype == DIRSYNC).unwrap();
    let (_, tag) = lber::parse::parse_tag(raw.val.as_deref().unwrap()).unwrap();
    let parts: Vec<_> = tag.expect_constructed().unwrap().into_iter().map(|t| t.expect_primitive().unwrap()).collect();
    (parts[0] != [0], parts[2].clone())
}

/// One page of a DirSync answer.
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    pub(crate) more: bool,
    pub(crate) cookie: Vec<u8>,
}

pub(crate) async fn page(ldap: &mut Ldap, flags: u32, attrs: &[&str], cookie: &[u8], max_bytes: i32) -> Page {
    let found = search(ldap, BASE, Scope::Subtree, ALL, attrs, vec![dirsync_control(flags, max_bytes, cookie)]).await;
    assert_eq!(found.result.rc, 0, "{}", found.result.text);
    let (more, cookie) = response(&found.result.ctrls);
    Page { entries: found.entries, more, cookie }
}

/// A DirSync search to its end: entries, the sizes of the pages, the last cookie.
pub(crate) async fn dirsync(
    ldap: &mut Ldap,
    flags: u32,
    attrs: &[&str],
    cookie: &[u8],
) -> (Vec<Entry>, Vec<usize>, Vec<u8>) {
    let (mut entries, mut pages, mut cookie) = (Vec::new(), Vec::new(), cookie.to_vec());
    loop {
        let page = page(ldap, flags, attrs, &cookie, i32::MAX).await;
        pages.push(page.entries.len());
        entries.extend(page.entries);
        cookie = page.cookie;
        if !page.more {
            return (entries, pages, cookie);
        }
    }
}

pub(crate) async fn add(ldap: &mut Ldap, dn: &str, attrs: &[(&str, &[&str])]) -> u32 {
    let attrs =
        attrs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.iter().map(|v| v.as_bytes().to_vec()).collect())).collect();
    ldap.add(dn, attrs).await.unwrap().rc
}

pub(crate) async fn add_ok(ldap: &mut Ldap, dn: &str, attrs: &[(&str, &[&str])]) {
    assert_eq!(add(ldap, dn, attrs).await, 0, "{dn}");
}

pub(crate) async fn add_user(ldap: &mut Ldap, dn: &str, account: &str) {
    add_ok(
        ldap,
        dn,
        &[
            ("objectClass", &["user"]),
            ("sAMAccountName", &[account]),
            ("displayName", &["Before"]),
            ("mail", &["x@example.com"]),
            ("userAccountControl", &["544"]),
        ],
    )
    .await;
}

pub(crate) enum Op<'a> {
    Add(&'a [&'a str]),
    Delete(&'a [&'a str]),
    Set(&'a [&'a str]),
}

pub(crate) async fn modify(ldap: &mut Ldap, dn: &str, attr: &str, op: Op<'_>) -> u32 {
    let values = |v: &[&str]| v.iter().map(|v| v.as_bytes().to_vec()).collect();
    let name = attr.as_bytes().to_vec();
    let change = match op {
        Op::Add(v) => Mod::Add(name, values(v)),
        Op::Delete(v) => Mod::Delete(name, values(v)),
        Op::Set(v) => Mod::Replace(name, values(v)),
    };
    ldap.modify(dn, vec![change]).await.unwrap().rc
}

pub(crate) async fn set(ldap: &mut Ldap, dn: &str, attr: &str, values: &[&str]) {
    assert_eq!(modify(ldap, dn, attr, Op::Set(values)).await, 0, "{dn} {attr}");
}
