//! A directory of either kind, driven over LDAPS as an administrator would.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forestsync_practice::oracle::Entry;
use ldap3::controls::RawControl;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, Mod, ResultEntry, Scope, StdStream};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
const TREE_DELETE: &str = "1.2.840.113556.1.4.805";
const WAIT: Duration = Duration::from_mins(1);

/// Where a directory is and who may change it.
#[derive(Debug, Clone)]
pub struct Access {
    /// The forest's name in configurations.
    pub name: String,
    /// The naming context.
    pub base: String,
    /// The controller's name, as its certificate has it.
    pub host: String,
    /// Where its LDAPS answers.
    pub ldaps: SocketAddr,
    /// The CA in PEM.
    pub ca: String,
    /// An administrator.
    pub admin: String,
    /// The administrator's password.
    pub admin_password: String,
    /// The account forestsync reads with.
    pub reader: String,
    /// The reader's password.
    pub reader_password: String,
}

/// An open connection of the administrator.
#[derive(Debug)]
pub struct Directory {
    /// What it was opened with.
    pub access: Access,
    ldap: Ldap,
}

/// A client configuration that trusts one CA.
pub fn trust(ca: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn text(value: &str) -> HashSet<Vec<u8>> {
    [value.as_bytes().to_vec()].into()
}

fn control(oid: &str) -> RawControl {
    RawControl { ctype: oid.into(), crit: true, val: None }
}

/// Reads an entry without guessing what is text.
fn entry(result: ResultEntry) -> Entry {
    let mut parts = result.0.expect_constructed().unwrap().into_iter();
    let dn = String::from_utf8(parts.next().unwrap().expect_primitive().unwrap()).unwrap();
    let attributes = parts.next().unwrap().expect_constructed().unwrap().into_iter().map(|attribute| {
        let mut parts = attribute.expect_constructed().unwrap().into_iter();
        let name = String::from_utf8(parts.next().unwrap().expect_primitive().unwrap()).unwrap();
        let values = parts.next().unwrap().expect_constructed().unwrap();
        (name, values.into_iter().map(|v| v.expect_primitive().unwrap()).collect())
    });
    Entry::new(&dn, attributes.collect::<Vec<_>>())
}

impl Directory {
    /// Connects and binds as the administrator.
    pub async fn open(access: &Access) -> Self {
        let stream = tokio::net::TcpStream::connect(access.ldaps).await.unwrap().into_std().unwrap();
        let settings = LdapConnSettings::new()
            .set_conn_timeout(WAIT)
            .set_config(trust(&access.ca))
            .set_std_stream(StdStream::Tcp(stream));
        let (connection, mut ldap) =
            LdapConnAsync::with_settings(settings, &format!("ldaps://{}", access.host)).await.unwrap();
        tokio::spawn(async move { connection.drive().await });
        ldap.simple_bind(&access.admin, &access.admin_password).await.unwrap().success().unwrap();
        Self { access: access.clone(), ldap }
    }

    fn ldap(&mut self) -> &mut Ldap {
        self.ldap.with_timeout(WAIT)
    }

    /// `front,base`.
    pub fn dn(&self, front: &str) -> String {
        format!("{front},{}", self.access.base)
    }

    /// Adds an object; an attribute may be given several times.
    pub async fn add(&mut self, dn: &str, attributes: &[(&str, &str)]) {
        let raw: Vec<(&str, &[u8])> = attributes.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        self.add_raw(dn, &raw).await;
    }

    /// Adds an object with binary values.
    pub async fn add_raw(&mut self, dn: &str, attributes: &[(&str, &[u8])]) {
        let mut all: Vec<(Vec<u8>, HashSet<Vec<u8>>)> = Vec::new();
        for (name, value) in attributes {
            match all.iter_mut().find(|(known, _)| known == name.as_bytes()) {
                Some((_, values)) => _ = values.insert(value.to_vec()),
                None => all.push((name.as_bytes().to_vec(), [value.to_vec()].into())),
            }
        }
        self.ldap().add(dn, all).await.unwrap().success().unwrap_or_else(|e| panic!("add {dn}: {e}"));
    }

    async fn modify(&mut self, dn: &str, change: Mod<Vec<u8>>) {
        self.ldap().modify(dn, vec![change]).await.unwrap().success().unwrap_or_else(|e| panic!("modify {dn}: {e}"));
    }

    /// Replaces all values of an attribute by one.
    pub async fn set(&mut self, dn: &str, attribute: &str, value: &str) {
        self.modify(dn, Mod::Replace(attribute.into(), text(value))).await;
    }

    /// Replaces all values of an attribute by one binary one.
    pub async fn set_raw(&mut self, dn: &str, attribute: &str, value: &[u8]) {
        self.modify(dn, Mod::Replace(attribute.into(), [value.to_vec()].into())).await;
    }

    /// Removes all values of an attribute.
    pub async fn clear(&mut self, dn: &str, attribute: &str) {
        self.modify(dn, Mod::Replace(attribute.into(), HashSet::new())).await;
    }

    /// Adds values.
    pub async fn add_values(&mut self, dn: &str, attribute: &str, values: &[String]) {
        let values = values.iter().map(|v| v.as_bytes().to_vec()).collect();
        self.modify(dn, Mod::Add(attribute.into(), values)).await;
    }

    /// Removes values.
    pub async fn remove_values(&mut self, dn: &str, attribute: &str, values: &[String]) {
        let values = values.iter().map(|v| v.as_bytes().to_vec()).collect();
        self.modify(dn, Mod::Delete(attribute.into(), values)).await;
    }

    /// Gives an object another relative name.
    pub async fn rename(&mut self, dn: &str, rdn: &str) {
        self.ldap()
            .modifydn(dn, rdn, true, None)
            .await
            .unwrap()
            .success()
            .unwrap_or_else(|e| panic!("rename {dn}: {e}"));
    }

    /// Moves an object to another parent under its own relative name.
    pub async fn relocate(&mut self, dn: &str, rdn: &str, parent: &str) {
        let moved = self.ldap().modifydn(dn, rdn, true, Some(parent)).await.unwrap();
        moved.success().unwrap_or_else(|e| panic!("move {dn} to {parent}: {e}"));
    }

    /// Deletes an object without children.
    pub async fn delete(&mut self, dn: &str) {
        self.ldap().delete(dn).await.unwrap().success().unwrap_or_else(|e| panic!("delete {dn}: {e}"));
    }

    /// Deletes an object and everything under it.
    pub async fn delete_tree(&mut self, dn: &str) {
        let deleted = self.ldap().with_controls(control(TREE_DELETE)).delete(dn).await.unwrap();
        deleted.success().unwrap_or_else(|e| panic!("delete tree {dn}: {e}"));
    }

    /// Brings a deleted object back: `sam` finds the tombstone, `dn` is where it shall be.
    pub async fn undelete(&mut self, sam: &str, dn: &str) {
        let filter = format!("(&(isDeleted=TRUE)(sAMAccountName={sam}))");
        let base = self.access.base.clone();
        let search = self.ldap().with_controls(control(SHOW_DELETED)).search(&base, Scope::Subtree, &filter, ["name"]);
        let (mut found, _) = search.await.unwrap().success().unwrap();
        assert_eq!(found.len(), 1, "one tombstone of {sam}");
        let tombstone = entry(found.remove(0)).dn;
        let changes = vec![
            Mod::Delete(b"isDeleted".to_vec(), HashSet::new()),
            Mod::Replace(b"distinguishedName".to_vec(), text(dn)),
        ];
        let restored = self.ldap().with_controls(control(SHOW_DELETED)).modify(&tombstone, changes).await.unwrap();
        restored.success().unwrap_or_else(|e| panic!("undelete {tombstone}: {e}"));
    }

    /// All live entries of the naming context by a plain search, not by DirSync.
    pub async fn entries(&mut self) -> Vec<Entry> {
        let base = self.access.base.clone();
        let adapters: Vec<Box<dyn ldap3::adapters::Adapter<_, _>>> =
            vec![Box::new(ldap3::adapters::EntriesOnly::new()), Box::new(ldap3::adapters::PagedResults::new(500))];
        let filter = "(|(objectClass=user)(objectClass=group)(objectClass=contact)(objectClass=organizationalUnit))";
        let mut search =
            self.ldap().streaming_search_with(adapters, &base, Scope::Subtree, filter, vec!["*"]).await.unwrap();
        let mut all = Vec::new();
        while let Some(found) = search.next().await.unwrap() {
            all.push(entry(found));
        }
        search.finish().await.success().unwrap();
        all
    }
}
