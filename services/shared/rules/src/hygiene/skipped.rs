//! Objects that IdFix does not look at.

use forestsync_domain::{Attributes, Dn, Rdn};

use crate::classify::DirectoryClass;
use crate::exclusion::SYSTEM_MAILBOXES;
use crate::value::{integer, is_present, is_security_group, is_true, text};

/// Why IdFix does not look at an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skipped {
    /// A product made it for itself, by its name or by what Exchange says of it.
    SystemObject,
    /// It is part of the directory.
    CriticalSystemObject,
    /// It lost a replication conflict.
    ConflictObject,
    /// A group without a mail address. A security group is synchronized nevertheless, so its name may matter.
    GroupWithoutMail,
    /// Its class is not synchronized.
    OtherClass,
}

/// Beginnings of the common names of objects that are not anybody's. Case does not count.
const NAMES: [&str; 15] = [
    "Admini",
    "CAS_{",
    "DiscoverySearchMailbox",
    "Exchange Online-ApplicationAccount",
    "FederatedEmail",
    "Guest",
    "HealthMailbox",
    "HTTPConnector",
    "iusr_",
    "iwam",
    "krbtgt",
    "msol",
    "support_",
    "SystemMailbox",
    "WWIOadmini",
];

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Why IdFix does not look at an object, if so.
///
/// IdFix recognises neither Exchange's own mailboxes, since it compares a decimal number with hexadecimal ones, nor losers
/// of replication conflicts, since it looks for another character than the line feed that their names hold. Here both are
/// recognised.
pub fn skipped(class: DirectoryClass, dn: &Dn, attributes: &Attributes) -> Option<Skipped> {
    if !class.is_synchronized() {
        return Some(Skipped::OtherClass);
    }
    let name = dn.rdn().map(Rdn::value).unwrap_or_default();
    if is_true(attributes, "isCriticalSystemObject") {
        return Some(Skipped::CriticalSystemObject);
    }
    if name.contains("\nCNF:") {
        return Some(Skipped::ConflictObject);
    }
    let is_named_so = name.ends_with('$') || NAMES.iter().any(|prefix| starts_with(name, prefix));
    if is_named_so || (class.is_user() && is_system_user(attributes)) {
        return Some(Skipped::SystemObject);
    }
    let lacks = |attribute| class == DirectoryClass::Group && !is_present(attributes, attribute);
    match is_security_group(attributes) {
        Some(true) => lacks("mail"),
        _ => lacks("proxyAddresses"),
    }
    .then_some(Skipped::GroupWithoutMail)
}

fn is_system_user(attributes: &Attributes) -> bool {
    let starts = |name, prefixes: &[&str]| {
        text(attributes, name).is_some_and(|text| prefixes.iter().any(|prefix| starts_with(text, prefix)))
    };
    let details = integer(attributes, "msExchRecipientTypeDetails").unwrap_or(0);
    starts("sAMAccountName", &["CAS_", "SUPPORT_", "MSOL_"])
        || starts("mailNickname", &["CAS_", "SystemMailbox"])
        || (starts("displayName", &["MSOL"]) && is_true(attributes, "msExchHideFromAddressLists"))
        || (details.count_ones() == 1 && details & SYSTEM_MAILBOXES != 0)
}
