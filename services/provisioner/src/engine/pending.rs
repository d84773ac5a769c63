//! The memberships of a group that are to be written, in memory.
//!
//! A group of a hundred thousand members is looked at each time twenty of them are there, so what their rows say is kept
//! beside their names: whoever is not there yet costs nothing.
//!
//! **Invariant**: each member is in one of the sets for additions at most, in the one that its row says.

use std::collections::BTreeSet;

use forestsync_domain::SourceAnchor;

use crate::store::ObjectRow;

/// Links Graph takes in one request (graph.md section 3.2).
pub(super) const LINKS: usize = 20;

/// Whether somebody can be made a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is not in the tenant, and will not be unless something changes.
    None,
    /// It will be there soon, if nothing fails.
    Coming,
    There,
}

impl Presence {
    pub(super) fn of(row: &ObjectRow) -> Self {
        if row.is_coming() {
            Self::Coming
        } else if row.live_id().is_some() && row.is_wished() {
            Self::There
        } else {
            Self::None
        }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Members to be added that are there.
    there: BTreeSet<SourceAnchor>,
    /// Those that will be soon.
    coming: BTreeSet<SourceAnchor>,
    /// The others.
    absent: BTreeSet<SourceAnchor>,
    /// Members to be removed, because the directory says so or because they are deleted next.
    outs: BTreeSet<SourceAnchor>,
}

impl Links {
    /// Members to be added that are there.
    pub(super) fn present(&self) -> impl Iterator<Item = &SourceAnchor> {
        self.there.iter()
    }

    /// How many members to be added will be there soon.
    pub(super) fn coming(&self) -> usize {
        self.coming.len()
    }

    /// Members to be removed.
    pub(super) fn outs(&self) -> impl Iterator<Item = &SourceAnchor> {
        self.outs.iter()
    }

    pub(super) fn has_outs(&self) -> bool {
        !self.outs.is_empty()
    }

    /// Whether a request of additions is full, or nobody is waited for.
    pub(super) fn are_due(&self) -> bool {
        self.there.len() >= LINKS || self.coming.is_empty()
    }

    /// Whether this is a member to be added.
    pub(super) fn is_in(&self, member: &SourceAnchor) -> bool {
        [&self.there, &self.coming, &self.absent].iter().any(|set| set.contains(member))
    }

    /// Notes that a member is to be added, and whether it can be; or that it is not to be.
    pub(super) fn set_in(&mut self, member: &SourceAnchor, presence: Option<Presence>) {
        let all = [
            (Presence::There, &mut self.there),
            (Presence::Coming, &mut self.coming),
            (Presence::None, &mut self.absent),
        ];
        for (of, set) in all {
            put(set, member, presence == Some(of));
        }
    }

    /// Notes whether a member is to be removed.
    pub(super) fn set_out(&mut self, member: &SourceAnchor, is_out: bool) {
        put(&mut self.outs, member, is_out);
    }

    /// All of them, each once.
    pub(super) fn members(&self) -> impl Iterator<Item = &SourceAnchor> {
        [&self.there, &self.coming, &self.absent, &self.outs].into_iter().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.members().count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members().next().is_none()
    }
}

fn put(set: &mut BTreeSet<SourceAnchor>, member: &SourceAnchor, is: bool) {
    if is {
        set.insert(member.clone());
    } else {
        set.remove(member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(n: usize) -> SourceAnchor {
        SourceAnchor::from(format!("a{n:03}"))
    }

    #[test]
    fn a_member_is_what_was_said_of_it_last() {
        let mut links = Links::default();
        for presence in [Presence::None, Presence::Coming, Presence::There, Presence::Coming] {
            links.set_in(&anchor(0), Some(presence));
            assert!(links.is_in(&anchor(0)));
            assert_eq!(links.len(), 1);
            assert_eq!(links.coming(), usize::from(presence == Presence::Coming));
            assert_eq!(links.present().count(), usize::from(presence == Presence::There));
        }
        links.set_in(&anchor(0), None);
        assert!(links.is_empty());
    }

    #[test]
    fn additions_are_due_when_a_request_is_full_or_nobody_is_waited_for() {
        let mut links = Links::default();
        for n in 0..LINKS {
            links.set_in(&anchor(n), Some(Presence::Coming));
        }
        for n in 0..LINKS {
            assert!(!links.are_due(), "{n} are there");
            links.set_in(&anchor(n), Some(Presence::There));
        }
        assert!(links.are_due());
        links.set_in(&anchor(LINKS), Some(Presence::Coming));
        assert!(links.are_due(), "twenty are there");
        links.set_in(&anchor(0), None);
        assert!(!links.are_due());
        links.set_in(&anchor(LINKS), Some(Presence::None));
        assert!(links.are_due(), "the last of them will not come");
    }
}
