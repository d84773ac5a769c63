//! What kind of directory object it is.

use forestsync_domain::Attributes;
use serde::{Deserialize, Serialize};

use crate::value::texts;

/// What kind of directory object it is, from its objectClass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectoryClass {
    /// `user`, and none of its subclasses that are named here.
    User,
    /// `inetOrgPerson`, treated as a user.
    InetOrgPerson,
    /// `group`.
    Group,
    /// `contact`.
    Contact,
    /// Something that holds other objects: an OU, a container, a domain's root, `Builtin`, `LostAndFound`.
    Container,
    /// Stands for a member from another forest, by its SID.
    ForeignSecurityPrincipal,
    /// `computer` and its subclasses, which are the managed service accounts.
    Computer,
    /// Anything else, and an object whose objectClass is not known.
    Other,
}

impl DirectoryClass {
    /// Whether objects of this class can have a counterpart in Azure AD.
    pub fn is_synchronized(self) -> bool {
        matches!(self, Self::User | Self::InetOrgPerson | Self::Group | Self::Contact)
    }

    /// Whether objects of this class flow as users.
    pub fn is_user(self) -> bool {
        matches!(self, Self::User | Self::InetOrgPerson)
    }
}

/// Subclasses stand before the classes they are derived from: objectClass lists an object's whole ancestry.
const CLASSES: [(&str, DirectoryClass); 12] = [
    ("computer", DirectoryClass::Computer),
    ("inetOrgPerson", DirectoryClass::InetOrgPerson),
    ("user", DirectoryClass::User),
    ("group", DirectoryClass::Group),
    ("contact", DirectoryClass::Contact),
    ("foreignSecurityPrincipal", DirectoryClass::ForeignSecurityPrincipal),
    ("organizationalUnit", DirectoryClass::Container),
    ("container", DirectoryClass::Container),
    ("builtinDomain", DirectoryClass::Container),
    ("domainDNS", DirectoryClass::Container),
    ("domain", DirectoryClass::Container),
    ("lostAndFound", DirectoryClass::Container),
];

/// The class of an object with these attributes; [`DirectoryClass::Other`] if objectClass says nothing known.
pub fn classify(attributes: &Attributes) -> DirectoryClass {
    CLASSES
        .into_iter()
        .find(|(name, _)| texts(attributes, "objectClass").any(|value| value.eq_ignore_ascii_case(name)))
        .map_or(DirectoryClass::Other, |(_, class)| class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::attributes;

    #[test]
    fn the_most_derived_class_decides() {
        let cases: [(&[&str], DirectoryClass); 12] = [
            (&["top", "person", "organizationalPerson", "user"], DirectoryClass::User),
            (&["user", "organizationalPerson", "person", "top"], DirectoryClass::User),
            (&["top", "person", "organizationalPerson", "user", "inetOrgPerson"], DirectoryClass::InetOrgPerson),
            (&["top", "person", "organizationalPerson", "user", "computer"], DirectoryClass::Computer),
            (&["top", "user", "computer", "msDS-GroupManagedServiceAccount"], DirectoryClass::Computer),
            (&["top", "GROUP"], DirectoryClass::Group),
            (&["top", "person", "organizationalPerson", "contact"], DirectoryClass::Contact),
            (&["top", "foreignSecurityPrincipal"], DirectoryClass::ForeignSecurityPrincipal),
            (&["top", "domain", "domainDNS"], DirectoryClass::Container),
            (&["top", "container", "groupPolicyContainer"], DirectoryClass::Container),
            (&["top", "printQueue"], DirectoryClass::Other),
            (&[], DirectoryClass::Other),
        ];
        for (values, class) in cases {
            assert_eq!(classify(&attributes(&[("objectClass", values)])), class, "{values:?}");
        }
        for name in ["organizationalUnit", "container", "builtinDomain", "lostAndFound"] {
            assert_eq!(classify(&attributes(&[("objectClass", &["top", name])])), DirectoryClass::Container);
        }
    }

    #[test]
    fn four_classes_are_synchronized() {
        use DirectoryClass as C;
        assert!([C::User, C::InetOrgPerson, C::Group, C::Contact].into_iter().all(C::is_synchronized));
        let others = [C::Container, C::ForeignSecurityPrincipal, C::Computer, C::Other];
        assert!(!others.into_iter().any(C::is_synchronized));
    }
}
