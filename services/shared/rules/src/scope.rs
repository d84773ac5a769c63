//! Which parts of a forest are synchronized, kept by objectGUID so that renames and moves of a container change nothing.

use std::collections::BTreeSet;

use forestsync_domain::ObjectGuid;
use serde::{Deserialize, Serialize};

/// The containers of one forest that are in scope and those that are not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ForestScope {
    /// Containers whose objects are in scope, at any depth.
    pub include: BTreeSet<ObjectGuid>,
    /// Containers whose objects are not in scope, at any depth, until an included container lies nearer.
    pub exclude: BTreeSet<ObjectGuid>,
    /// Whether objects without any listed ancestor are in scope; set where no container to include is configured.
    pub include_all: bool,
}

/// Whether an object is in scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeVerdict {
    /// It is synchronized, if nothing else excludes it.
    In,
    /// It is not.
    Out,
}

/// The verdict for an object with these ancestors: its parent first, up to the root of the naming context.
///
/// The nearest ancestor that is listed decides, so a container can be excluded within an included one and included
/// again within that. A container in both lists counts as excluded. Reads no further than to the ancestor that decides.
pub fn verdict(scope: &ForestScope, ancestors: impl IntoIterator<Item = ObjectGuid>) -> ScopeVerdict {
    for ancestor in ancestors {
        if scope.exclude.contains(&ancestor) {
            return ScopeVerdict::Out;
        }
        if scope.include.contains(&ancestor) {
            return ScopeVerdict::In;
        }
    }
    if scope.include_all { ScopeVerdict::In } else { ScopeVerdict::Out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guid(n: u8) -> ObjectGuid {
        ObjectGuid::from_bytes([n; 16])
    }

    fn guids<C: FromIterator<ObjectGuid>>(numbers: &[u8]) -> C {
        numbers.iter().copied().map(guid).collect()
    }

    #[test]
    fn the_nearest_listed_ancestor_decides() {
        use ScopeVerdict::{In, Out};
        let scope = ForestScope { include: guids(&[2, 4]), exclude: guids(&[3]), include_all: false };
        let cases: [(&[u8], ScopeVerdict); 7] = [
            (&[2, 1], In),
            (&[9, 2, 1], In),
            (&[3, 2, 1], Out),
            (&[9, 3, 2, 1], Out),
            (&[4, 3, 2, 1], In),
            (&[1], Out),
            (&[], Out),
        ];
        for (ancestors, expected) in cases {
            assert_eq!(verdict(&scope, guids::<Vec<_>>(ancestors)), expected, "{ancestors:?}");
        }
        let all = ForestScope { exclude: guids(&[3]), include_all: true, ..ForestScope::default() };
        assert_eq!(verdict(&all, guids::<Vec<_>>(&[1])), In);
        assert_eq!(verdict(&all, []), In);
        assert_eq!(verdict(&all, guids::<Vec<_>>(&[3, 1])), Out);
        let both = ForestScope { include: guids(&[3]), exclude: guids(&[3]), include_all: true };
        assert_eq!(verdict(&both, guids::<Vec<_>>(&[3])), Out);
    }
}
