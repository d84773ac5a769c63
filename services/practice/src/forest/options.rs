//! How a practice forest is set up.

use std::net::{Ipv4Addr, SocketAddr};

use super::view::Access;

/// An account that can bind to a practice forest. It is also a user in `CN=Users`.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountOptions {
    /// sAMAccountName; the account binds as its DN, as `name@dns.domain` or as `DOMAIN\name`.
    pub name: String,
    /// The password of simple binds.
    pub password: String,
    /// Reads everything and writes.
    pub admin: bool,
    /// Holds Replicating Directory Changes: may use DirSync without the OBJECT_SECURITY flag.
    pub may_dirsync: bool,
    /// May read the container of deleted objects, and so sees tombstones.
    pub sees_deleted: bool,
}

impl std::fmt::Debug for AccountOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountOptions")
            .field("name", &self.name)
            .field("admin", &self.admin)
            .field("may_dirsync", &self.may_dirsync)
            .field("sees_deleted", &self.sees_deleted)
            .finish_non_exhaustive()
    }
}

impl AccountOptions {
    /// An administrator.
    pub fn admin(name: &str, password: &str) -> Self {
        Self { name: name.into(), password: password.into(), admin: true, may_dirsync: true, sees_deleted: true }
    }

    /// A reader with every right that a synchronizer wants.
    pub fn reader(name: &str, password: &str) -> Self {
        Self { admin: false, ..Self::admin(name, password) }
    }

    pub(crate) fn access(&self) -> Access {
        Access {
            admin: self.admin,
            dirsync: self.admin || self.may_dirsync,
            deleted: self.admin || self.sees_deleted,
            read: true,
        }
    }
}

/// How a practice forest is set up. [`ForestOptions::new`] has sensible values for everything but the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForestOptions {
    /// A short name such as `emea`; in upper case it is the NetBIOS name of the domain.
    pub name: String,
    /// The root of the domain, such as `DC=emea,DC=example`.
    pub base: String,
    /// The controller's own name, such as `dc01.emea.example`. The certificate carries it and the loopback addresses.
    pub host: String,
    /// Where plain LDAP (with StartTLS) listens; port 0 takes a free one.
    pub listen_ldap: SocketAddr,
    /// Where LDAPS listens; port 0 takes a free one.
    pub listen_ldaps: SocketAddr,
    /// The administrator.
    pub admin: AccountOptions,
    /// The account for the synchronizer.
    pub reader: AccountOptions,
    /// The most entries in one page of a DirSync answer; more come with MoreResults.
    pub max_page_objects: usize,
    /// The most link values in one entry of an incremental DirSync answer.
    pub max_link_values: usize,
    /// The most entries in one page, or in the whole answer, of an ordinary search (MaxPageSize).
    pub max_page_size: usize,
    /// The most values of an attribute in one entry of an ordinary search (MaxValRange).
    pub max_val_range: usize,
    /// The roots of the forest's other domains, such as `DC=sub,DC=emea,DC=example`: the configuration partition tells of
    /// them, and other controllers hold them.
    pub other_domains: Vec<String>,
    /// From where identifiers are drawn: the same seed gives the same GUIDs and SIDs for the same sequence of changes.
    pub seed: u64,
}

impl ForestOptions {
    /// A forest of that name and base on free ports of the loopback address, with the limits of Windows. The
    /// controller is `dc01`, the accounts are `Administrator` and `forestsync-reader` with the given passwords.
    pub fn new(name: &str, base: &str, admin_password: &str, reader_password: &str) -> Self {
        let steps = super::dn::parse(base).unwrap_or_default();
        let domain = steps.iter().map(|s| s.value.as_str()).collect::<Vec<_>>().join(".");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            name: name.into(),
            base: base.into(),
            host: format!("dc01.{domain}"),
            listen_ldap: any,
            listen_ldaps: any,
            admin: AccountOptions::admin("Administrator", admin_password),
            reader: AccountOptions::reader("forestsync-reader", reader_password),
            max_page_objects: 1000,
            max_link_values: 1500,
            max_page_size: 1000,
            max_val_range: 1500,
            other_domains: Vec::new(),
            seed: base.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, b| {
                (sum ^ u64::from(b.to_ascii_lowercase())).wrapping_mul(0x0000_0100_0000_01b3)
            }),
        }
    }
}
