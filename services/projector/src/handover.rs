//! Handing objects over: an object that leaves the scope of this configuration for that of another one for the same
//! tenant is let go, not deleted, and the other one finds it by its anchor.
//!
//! What another configuration would say is computed here, from its document and from the containers that its own
//! projector resolved, over the mirror that both have in common. So there is no gap, whichever of the two is quicker.

use std::collections::BTreeMap;

use forestsync_domain::ObjectGuid;

use crate::StoreError;
use crate::config::{Plan, SourceId};
use crate::eligible::Eligible;
use crate::keys::ObjectKey;
use crate::round::Round;

/// Another configuration for the same tenant.
#[derive(Debug, Clone)]
pub(crate) struct Other {
    pub(crate) plan: Plan,
    /// What it resolved, per source: the key of a name and the objectGUID.
    pub(crate) resolved: BTreeMap<SourceId, BTreeMap<String, ObjectGuid>>,
}

impl Round<'_> {
    /// Whether another configuration for the same tenant has an object in its scope. Looks at what was committed.
    pub(crate) fn is_wanted_elsewhere(&self, key: ObjectKey) -> Result<bool, StoreError> {
        for other in self.others {
            if other.plan.source(key.source).is_none() {
                continue;
            }
            let mut meta = self.meta.clone();
            for (source, state) in &mut meta.sources {
                state.resolved = other.resolved.get(source).cloned().unwrap_or_default();
            }
            let mut round = Round::new(&other.plan, self.txn.store, &meta, false)?;
            let row = round.object(key)?;
            if matches!(round.eligible(key, row.as_ref())?, Eligible::Yes | Eligible::Partner) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
