//! What is never synchronized, whatever the scope says: the default exclusions of Azure AD Connect and cloud sync.
//!
//! Two layers, which those products apply one after the other, are one here: the conditions under which an object is
//! taken in at all, and those under which it is kept but not exported (`cloudFiltered`). `isCriticalSystemObject` is in
//! both with different meaning: the first asks whether it is `TRUE`, the second whether it has any value.

use std::fmt;

use forestsync_domain::{Attributes, Dn};

use crate::classify::DirectoryClass;
use crate::value::{integer, is_mail_enabled, is_present, is_security_group, is_true, text};

/// Why an object is never synchronized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exclusion {
    /// isCriticalSystemObject is TRUE: part of the directory itself, such as `krbtgt` or `Domain Admins`.
    CriticalSystemObject,
    /// isCriticalSystemObject has a value that is not TRUE.
    CriticalityStated,
    /// adminDescription says that it was written into the directory from Azure AD.
    WrittenBack,
    /// It has no sAMAccountName.
    NoAccountName,
    /// It is an account that a product made for itself; the rule by which it was recognised.
    SystemAccount(&'static str),
    /// A mailbox or group that Exchange made for itself, by msExchRecipientTypeDetails.
    ExchangeSystemObject,
    /// A linked mailbox: its person is represented by the account in the other forest.
    LinkedMailbox,
    /// The loser of a replication conflict: its name holds `CNF:` after a line feed.
    ReplicationVictim,
    /// A contact or a distribution group without a mail address, which is neither a security principal nor a recipient.
    NotMailEnabled,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CriticalSystemObject => "isCriticalSystemObject is TRUE: it is part of the directory itself",
            Self::CriticalityStated => {
                "isCriticalSystemObject has a value, and only objects without one are synchronized"
            }
            Self::WrittenBack => "adminDescription says that it was written back from Azure AD",
            Self::NoAccountName => "it has no sAMAccountName",
            Self::SystemAccount(rule) => return write!(f, "it is a system account: {rule}"),
            Self::ExchangeSystemObject => "msExchRecipientTypeDetails says that Exchange made it for itself",
            Self::LinkedMailbox => {
                "it is a linked mailbox (msExchRecipientTypeDetails is 2); the account of its other forest counts"
            }
            Self::ReplicationVictim => "it lost a replication conflict (CNF: in its name); delete or rename it",
            Self::NotMailEnabled => "it is a contact or a distribution group without a mail address",
        })
    }
}

/// Bits of msExchRecipientTypeDetails of users that Exchange made for itself. Taken as it is from the default rules.
pub(crate) const SYSTEM_MAILBOXES: i64 = 0x21C0_7000;
/// Bit of msExchRecipientTypeDetails of a role group.
const ROLE_GROUP: i64 = 0x4000_0000;
/// msExchRecipientTypeDetails of a linked mailbox, which contributes no source anchor.
const LINKED_MAILBOX: i64 = 2;

/// The first rule that excludes an object, in a fixed order; `None` if none does, and for classes that are not
/// synchronized anyway.
pub fn exclusion(class: DirectoryClass, dn: &Dn, attributes: &Attributes) -> Option<Exclusion> {
    if !class.is_synchronized() {
        return None;
    }
    if is_true(attributes, "isCriticalSystemObject") {
        return Some(Exclusion::CriticalSystemObject);
    }
    if is_present(attributes, "isCriticalSystemObject") {
        return Some(Exclusion::CriticalityStated);
    }
    if dn.rdn().is_some_and(|rdn| rdn.value().contains("\nCNF:")) {
        return Some(Exclusion::ReplicationVictim);
    }
    match class {
        DirectoryClass::Group => group(attributes),
        DirectoryClass::Contact => contact(attributes),
        _ => user(attributes),
    }
}

fn starts_with(attributes: &Attributes, name: &str, prefix: &str) -> bool {
    text(attributes, name).is_some_and(|text| text.starts_with(prefix))
}

/// A name of the form `CAS_{…}`: what Exchange calls the accounts of its client access servers.
fn is_client_access(attributes: &Attributes, name: &str) -> bool {
    text(attributes, name).is_some_and(|text| text.starts_with("CAS_") && text.contains('}'))
}

fn type_details(attributes: &Attributes) -> i64 {
    integer(attributes, "msExchRecipientTypeDetails").unwrap_or(0)
}

fn user(attributes: &Attributes) -> Option<Exclusion> {
    if starts_with(attributes, "adminDescription", "User_") {
        return Some(Exclusion::WrittenBack);
    }
    let Some(account) = text(attributes, "sAMAccountName") else {
        return Some(Exclusion::NoAccountName);
    };
    let rule = if account == "SUPPORT_388945a0" {
        "sAMAccountName is SUPPORT_388945a0"
    } else if starts_with(attributes, "mailNickname", "SystemMailbox{") {
        "mailNickname starts with SystemMailbox{"
    } else if account.starts_with("AAD_") {
        "sAMAccountName starts with AAD_"
    } else if is_client_access(attributes, "mailNickname") {
        "mailNickname has the form CAS_...}"
    } else if is_client_access(attributes, "sAMAccountName") {
        "sAMAccountName has the form CAS_...}"
    } else if account.starts_with("MSOL_") {
        "sAMAccountName starts with MSOL_"
    } else {
        return match type_details(attributes) {
            LINKED_MAILBOX => Some(Exclusion::LinkedMailbox),
            details if details & SYSTEM_MAILBOXES != 0 => Some(Exclusion::ExchangeSystemObject),
            _ => None,
        };
    };
    Some(Exclusion::SystemAccount(rule))
}

fn group(attributes: &Attributes) -> Option<Exclusion> {
    if starts_with(attributes, "adminDescription", "Group_") {
        return Some(Exclusion::WrittenBack);
    }
    if text(attributes, "sAMAccountName") == Some("MSOL_AD_Sync_RichCoexistence") {
        return Some(Exclusion::SystemAccount("sAMAccountName is MSOL_AD_Sync_RichCoexistence"));
    }
    if type_details(attributes) & ROLE_GROUP != 0 {
        return Some(Exclusion::ExchangeSystemObject);
    }
    let is_nothing = is_security_group(attributes) == Some(false) && !is_mail_enabled(attributes);
    is_nothing.then_some(Exclusion::NotMailEnabled)
}

fn contact(attributes: &Attributes) -> Option<Exclusion> {
    let is_hidden = is_true(attributes, "msExchHideFromAddressLists");
    if is_hidden && text(attributes, "displayName").is_some_and(|name| name.contains("(MSOL)")) {
        return Some(Exclusion::SystemAccount("displayName contains (MSOL) and it is hidden from address lists"));
    }
    if is_client_access(attributes, "mailNickname") {
        return Some(Exclusion::SystemAccount("mailNickname has the form CAS_...}"));
    }
    (!is_mail_enabled(attributes)).then_some(Exclusion::NotMailEnabled)
}
