//! The end of a whole comparison: what is managed and was not seen is to be looked at.

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::CloudClass;

use super::{Doubt, believed, now};
use crate::engine::Engine;
use crate::error::ProvisionerError;
use crate::store::{Hint, StoreError, Suspect, Tx, Watch};

/// Objects that are gone through before something else has its turn.
const ROWS: usize = 2_000;

/// A membership that may differ: group, member, whether the tenant seems to have it.
pub(super) type Membership = (SourceAnchor, SourceAnchor, bool);

/// What is to be looked at.
#[derive(Debug)]
pub(super) struct Hints {
    pub objects: Vec<SourceAnchor>,
    pub members: Vec<Membership>,
}

impl Hints {
    /// Makes them durable with the rest of the transaction.
    pub(super) fn write(&self, tx: &mut Tx<'_>, since: i64) -> Result<(), StoreError> {
        for anchor in &self.objects {
            tx.set_suspect(anchor, Some(Suspect { since }))?;
        }
        for (group, member, present) in &self.members {
            tx.set_hint(group, member, Some(Hint { since, present: *present }))?;
        }
        Ok(())
    }
}

/// How far it is.
#[derive(Debug)]
pub(in crate::engine) struct Sweep {
    class: CloudClass,
    after: Option<SourceAnchor>,
    /// Where later changes begin.
    link: String,
}

impl Sweep {
    pub(super) fn new(class: CloudClass, link: String) -> Self {
        Self { class, after: None, link }
    }
}

impl Engine {
    /// Whether there is more to go through.
    pub(in crate::engine) fn sweeps(&self) -> bool {
        self.drift.sweep.is_some()
    }

    /// Goes through some more objects. With the last of them the comparison is over, and its link is kept.
    pub(super) fn sweep_on(&mut self) -> Result<(), ProvisionerError> {
        let Some(mut sweep) = self.drift.sweep.take() else { return Ok(()) };
        let mut watch = self.store.watch(sweep.class)?;
        let rows = self.store.objects_after(sweep.after.as_ref(), ROWS)?;
        let is_last = rows.len() < ROWS;
        let (mut objects, mut members) = (Vec::new(), Vec::new());
        for (anchor, row) in rows {
            if row.class == sweep.class && row.is_managed() {
                // what was found or made since the beginning is told by what comes after it
                if self.store.mark(&anchor)? != watch.round && row.written < watch.began {
                    objects.push(anchor.clone());
                }
                if row.class == CloudClass::Group {
                    self.unseen_members(&anchor, &watch, &mut members)?;
                }
            }
            sweep.after = Some(anchor);
        }
        let mut tx = self.store.tx();
        if is_last {
            (watch.whole, watch.link, watch.compared) = (false, Some(sweep.link.clone()), now());
            tx.set_watch(sweep.class, &watch)?;
        }
        let hints = Hints { objects, members };
        hints.write(&mut tx, now())?;
        tx.commit()?;
        self.take_up(hints);
        if is_last {
            self.drift.compared.insert(sweep.class, watch.compared);
            self.class_over(true);
        } else {
            self.drift.sweep = Some(sweep);
        }
        Ok(())
    }

    fn unseen_members(
        &self,
        group: &SourceAnchor,
        watch: &Watch,
        found: &mut Vec<Membership>,
    ) -> Result<(), StoreError> {
        for entry in self.store.members_of(group) {
            let (member, edge) = entry?;
            let is_old = edge.added < watch.began;
            if believed(&edge) && is_old && self.store.member_mark(group, &member)? != watch.round {
                found.push((group.clone(), member, false));
            }
        }
        Ok(())
    }

    /// Takes hints up that are durable.
    pub(super) fn take_up(&mut self, hints: Hints) {
        let doubt = Doubt { since: now(), ..Doubt::default() };
        for anchor in hints.objects {
            self.ready.push(&anchor);
            self.drift.objects.insert(anchor, doubt);
        }
        for (group, ..) in hints.members {
            self.ready.push(&group);
            self.drift.groups.insert(group, doubt);
        }
    }
}
