//! What records are found by.

use forestsync_domain::{Dn, ObjectGuid, Rdn};

/// A hash of something that a record is about. Two things may have the same one, so what was found is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u64);

impl Key {
    fn of(kind: u8, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        Self(u64::from_le_bytes(bytes))
    }

    /// A directory object, by objectGUID.
    pub fn object(guid: ObjectGuid) -> Self {
        Self::of(1, &[guid.as_bytes()])
    }

    /// A directory object that another one's record names: a member, a manager.
    pub fn linked(guid: ObjectGuid) -> Self {
        Self::of(2, &[guid.as_bytes()])
    }

    /// What the tenant should hold, by source anchor.
    pub fn anchor(anchor: &str) -> Self {
        Self::of(3, &[anchor.as_bytes()])
    }

    /// An anchor in a record about a membership, or about another object.
    pub fn linked_anchor(anchor: &str) -> Self {
        Self::of(4, &[anchor.as_bytes()])
    }

    /// A sign-in name or a mail address.
    pub fn name(name: &str) -> Self {
        Self::of(5, &[name.to_lowercase().as_bytes()])
    }

    /// A distinguished name.
    pub fn dn(dn: &Dn) -> Self {
        Self::of(6, &[dn.key().as_bytes()])
    }

    /// A relative name below a parent: an object's name changes with its container's, and no record of its own says so.
    pub fn child(parent: ObjectGuid, rdn: &Rdn) -> Self {
        Self::of(7, &[parent.as_bytes(), rdn.kind().to_lowercase().as_bytes(), rdn.value().to_lowercase().as_bytes()])
    }

    /// A cloud object's id.
    pub fn cloud(id: &str) -> Self {
        Self::of(8, &[id.to_lowercase().as_bytes()])
    }

    /// Events of a type that concern more than one object.
    pub fn kind(name: &str) -> Self {
        Self::of(9, &[name.as_bytes()])
    }
}
