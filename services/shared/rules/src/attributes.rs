//! What the rules need to read from a directory.

use crate::flow::table;

/// Read by rules other than those of the tables in [`crate::flow`].
///
/// `name` and `objectClass` tell what an object is, `objectSid` is what references across forests resolve by, and the
/// three links (`manager`, `managedBy`, `member`) are followed by the projection. `cn` is not here because DirSync never
/// answers it: the name an object has is the first part of its distinguished name.
const OTHER: [&str; 23] = [
    "adminDescription",
    "c",
    "description",
    "displayName",
    "groupType",
    "isCriticalSystemObject",
    "mS-DS-ConsistencyGuid",
    "mail",
    "mailNickname",
    "managedBy",
    "manager",
    "member",
    "msExchHideFromAddressLists",
    "msExchRecipientTypeDetails",
    "name",
    "objectClass",
    "objectSid",
    "proxyAddresses",
    "sAMAccountName",
    "targetAddress",
    "telephoneNumber",
    "userAccountControl",
    "userPrincipalName",
];

/// Every directory attribute that any rule reads, by lDAPDisplayName, sorted bytewise and without repetition, link
/// attributes included.
///
/// A collector asks for these and for nothing else, so that what nobody synchronizes never enters the history. A
/// change to this list makes every collector read its forest anew.
pub fn requested() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = table::USER.iter().map(|row| row.source).chain(OTHER).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use forestsync_domain::syntax;

    use super::requested;

    #[test]
    fn is_sorted_complete_and_free_of_secrets() {
        let names = requested();
        assert!(names.is_sorted_by(|a, b| a < b));
        assert!(!names.iter().any(|name| syntax::is_secret(name)));
        for name in syntax::LINKS.into_iter().chain(["sAMAccountName", "extensionAttribute15", "l", "proxyAddresses"]) {
            assert!(names.contains(&name), "{name}");
        }
        assert!(!names.contains(&"cn"), "DirSync never answers cn");
    }
}
