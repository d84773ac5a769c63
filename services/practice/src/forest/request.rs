//! What a search request asks for beside base and filter: its controls, checked.

use ldap3_proto::LdapResultCode as Rc;

use super::codec::{RawControl, control_parts};
use super::store::Refusal;
use super::view::ExtendedDn;

pub(crate) const DIRSYNC: &str = "1.2.840.113556.1.4.841";
pub(crate) const PAGED: &str = "1.2.840.113556.1.4.319";
pub(crate) const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
pub(crate) const SHOW_RECYCLED: &str = "1.2.840.113556.1.4.2064";
pub(crate) const EXTENDED_DN: &str = "1.2.840.113556.1.4.529";
pub(crate) const NOTIFICATION: &str = "1.2.840.113556.1.4.528";
pub(crate) const TREE_DELETE: &str = "1.2.840.113556.1.4.805";
pub(crate) const PERMISSIVE_MODIFY: &str = "1.2.840.113556.1.4.1413";
pub(crate) const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
const SD_FLAGS: &str = "1.2.840.113556.1.4.801";
const SEARCH_OPTIONS: &str = "1.2.840.113556.1.4.1340";
const LAZY_COMMIT: &str = "1.2.840.113556.1.4.619";

/// The controls that the rootDSE announces.
pub(crate) const SUPPORTED: &[&str] = &[
    DIRSYNC,
    PAGED,
    SHOW_DELETED,
    SHOW_RECYCLED,
    EXTENDED_DN,
    NOTIFICATION,
    TREE_DELETE,
    PERMISSIVE_MODIFY,
    DOMAIN_SCOPE,
    SD_FLAGS,
    SEARCH_OPTIONS,
    LAZY_COMMIT,
];

/// The value of a DirSync request control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirSync {
    pub(crate) flags: u32,
    /// The most bytes in one page; nothing when the client names no positive number.
    pub(crate) max_bytes: Option<usize>,
    pub(crate) cookie: Vec<u8>,
}

/// The controls of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Controls {
    pub(crate) dirsync: Option<DirSync>,
    pub(crate) paged: Option<(usize, Vec<u8>)>,
    pub(crate) show_deleted: bool,
    pub(crate) extended: ExtendedDn,
    pub(crate) notification: bool,
    pub(crate) tree_delete: bool,
    pub(crate) permissive: bool,
    pub(crate) domain_scope: bool,
}

impl Controls {
    /// Reads the controls. Refuses an unknown critical one and a malformed one with 12, and DirSync that is not
    /// critical or comes with paged results with 1 (as Samba does).
    pub(crate) fn read(raw: &[RawControl]) -> Result<Self, Refusal> {
        let mut controls = Self {
            dirsync: None,
            paged: None,
            show_deleted: false,
            extended: ExtendedDn::No,
            notification: false,
            tree_delete: false,
            permissive: false,
            domain_scope: false,
        };
        for control in raw {
            controls.take(control)?;
        }
        if controls.dirsync.is_some() && controls.paged.is_some() {
            return Err(Refusal::new(Rc::OperationsError, "DirSync does not go with paged results"));
        }
        Ok(controls)
    }

    fn take(&mut self, control: &RawControl) -> Result<(), Refusal> {
        let parts = control.value.as_deref().and_then(control_parts);
        let malformed = || {
            let message = format!("control {} has no value that can be read", control.oid);
            Refusal::new(Rc::UnavailableCriticalExtension, message)
        };
        match control.oid.as_str() {
            DIRSYNC => {
                if !control.critical {
                    return Err(Refusal::new(Rc::OperationsError, "the DirSync control must be critical"));
                }
                let parts = parts.ok_or_else(malformed)?;
                let ([flags, max_bytes], [cookie]) = (parts.integers.as_slice(), parts.strings.as_slice()) else {
                    return Err(malformed());
                };
                let max_bytes = usize::try_from(*max_bytes).ok().filter(|n| *n > 0);
                self.dirsync = Some(DirSync { flags: *flags as u32, max_bytes, cookie: cookie.clone() });
            }
            PAGED => {
                let parts = parts.ok_or_else(malformed)?;
                let ([size], [cookie]) = (parts.integers.as_slice(), parts.strings.as_slice()) else {
                    return Err(malformed());
                };
                self.paged = Some((usize::try_from(*size).unwrap_or(0), cookie.clone()));
            }
            EXTENDED_DN => {
                let flag = parts.and_then(|p| p.integers.first().copied()).unwrap_or(0);
                self.extended = if flag == 1 { ExtendedDn::Text } else { ExtendedDn::Hex };
            }
            SHOW_DELETED | SHOW_RECYCLED => self.show_deleted = true,
            NOTIFICATION => self.notification = true,
            TREE_DELETE => self.tree_delete = true,
            PERMISSIVE_MODIFY => self.permissive = true,
            DOMAIN_SCOPE => self.domain_scope = true,
            SD_FLAGS | SEARCH_OPTIONS | LAZY_COMMIT => {}
            oid if control.critical => {
                let message = format!("unknown extension: critical control {oid} is not supported");
                return Err(Refusal::new(Rc::UnavailableCriticalExtension, message));
            }
            _ => {}
        }
        Ok(())
    }
}
