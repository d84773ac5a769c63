//! What the ledger says of a few objects and of those that their next step depends on: to look at, and to rehearse on.
//!
//! An excerpt has the rows of the objects asked for, of those they refer to, and of their memberships; and the numbers that
//! the guards need about everybody else. So an engine on a ledger that is made of it decides about these objects as the
//! engine on the whole ledger would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::{HoldCause, Operation};
use forestsync_schemas::{DesiredEvent, DesiredRecord};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{ENABLED, EdgeRow, Flow, Meta, NAME, ObjectRow, Removal, Store, StoreError, WishKind};

/// Memberships of one object that are in an excerpt.
const MAX_EDGES: usize = 2_000;
/// Other ends of memberships of one object whose rows are in it.
const MAX_ENDS: usize = 200;

/// Which objects are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcerptQuery {
    /// These objects.
    pub subjects: Vec<SourceAnchor>,
    /// Others that wishes for them name: managers, owners, groups and members.
    pub others: Vec<SourceAnchor>,
}

/// See the [module](self). What it is made of is the ledger's own business; it can be sent as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Excerpt {
    pub(crate) meta: Meta,
    pub(crate) flows: Vec<(CloudClass, Flow)>,
    pub(crate) objects: Vec<(SourceAnchor, ObjectRow)>,
    pub(crate) edges: Vec<(SourceAnchor, SourceAnchor, EdgeRow)>,
    pub(crate) removals: Vec<Removal>,
    pub(crate) surroundings: Surroundings,
    /// How each of the objects that were asked for stands, in that order.
    pub standings: Vec<Standing>,
    /// Why nothing is written at the moment, if that is so.
    pub stopped: Option<String>,
}

/// What the guards need to know of the objects that are not in an excerpt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Surroundings {
    /// How many are managed.
    pub managed: Vec<(CloudClass, u64)>,
    /// How many guarded writes of a kind wait of which nobody decided.
    pub guarded: Vec<((Operation, CloudClass), u64)>,
}

impl Surroundings {
    pub(crate) fn managed(&self, class: CloudClass) -> u64 {
        self.managed.iter().find(|(of, _)| *of == class).map_or(0, |(_, n)| *n)
    }

    pub(crate) fn guarded(&self, kind: (Operation, CloudClass)) -> u64 {
        self.guarded.iter().find(|(of, _)| *of == kind).map_or(0, |(_, n)| *n)
    }
}

/// How an object stands between what is wished and what the tenant is known to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its anchor.
    pub anchor: SourceAnchor,
    /// How it stands.
    #[serde(flatten)]
    pub state: StandingState,
    /// Of which class the cloud object is, or is to be; none if it was never wished.
    pub class: Option<CloudClass>,
    /// The cloud object's id, if the tenant holds one that is ours.
    pub cloud_id: Option<String>,
    /// Attempts that have failed at what is wished now.
    pub attempts: u32,
    /// Memberships of this group that are still to be written.
    pub memberships_pending: u64,
}

/// The ways in which an object may stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum StandingState {
    /// Nothing was ever wished of it, or it was let go.
    Unknown,
    /// The tenant holds what is wished, or holds it no more where that is wished.
    InStep,
    /// Something is to be written.
    Pending,
    /// A write failed and is tried again.
    Retrying {
        /// Which.
        operation: Operation,
        /// The error's code.
        code: String,
        /// The attribute at fault, where known.
        attribute: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// A write failed too often.
    Quarantined {
        /// Which.
        operation: Operation,
        /// The error's code.
        code: String,
        /// The attribute at fault, where known.
        attribute: Option<String>,
        /// When it is tried again all the same; none if only another wish lifts it.
        at: Option<Timestamp>,
    },
    /// Writes wait for somebody's decision.
    Held {
        /// Which, and why.
        writes: Vec<HeldWrite>,
    },
    /// It is disabled, and deleted then.
    Deferred {
        /// When.
        until: Timestamp,
    },
    /// Microsoft Graph cannot write objects of its class.
    NotWritable,
}

/// A held write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldWrite {
    /// What is held.
    pub operation: Operation,
    /// Who or what holds it.
    pub cause: HoldCause,
    /// Why, with the numbers.
    pub detail: String,
}

fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}

/// How an object stands, from its row alone.
pub(crate) fn standing(anchor: &SourceAnchor, row: Option<&ObjectRow>, flow: Option<&Flow>) -> Standing {
    let failed = row.and_then(|row| row.failure().or(row.lead_failure()));
    Standing {
        anchor: anchor.clone(),
        state: row.map_or(StandingState::Unknown, |row| state(row, flow)),
        class: row.and_then(|row| row.wish.as_ref().map(|wish| wish.class).or(row.live_id().map(|_| row.class))),
        cloud_id: row.and_then(|row| row.live_id().map(str::to_owned)),
        attempts: failed.map_or(0, |failed| failed.attempts),
        memberships_pending: 0,
    }
}

fn state(row: &ObjectRow, flow: Option<&Flow>) -> StandingState {
    let Some(wish) = row.wish.as_ref() else { return StandingState::Unknown };
    if let Some(until) = row.deferred() {
        return StandingState::Deferred { until: time(until) };
    }
    if !row.held.is_empty() {
        let held = |(operation, held): (&Operation, &crate::store::Held)| HeldWrite {
            operation: *operation,
            cause: held.cause,
            detail: held.detail.clone(),
        };
        return StandingState::Held { writes: row.held.iter().map(held).collect() };
    }
    if let Some(failed) = row.failure().or(row.lead_failure()) {
        let (operation, code, attribute) = (failed.operation, failed.code.clone(), failed.attribute.clone());
        return if failed.quarantined {
            let at = (!failed.is_final()).then(|| time(failed.retry_at));
            StandingState::Quarantined { operation, code, attribute, at }
        } else {
            StandingState::Retrying { operation, code, attribute, at: time(failed.retry_at) }
        };
    }
    let is_done = match &wish.kind {
        WishKind::Present { .. } if !wish.class.is_writable() => return StandingState::NotWritable,
        WishKind::Present { attributes, at_creation, left_alone, .. } => {
            let mut managed = flow.map_or_else(|| attributes.keys().cloned().collect(), |flow| flow.attributes.clone());
            managed.retain(|name| attributes.contains_key(name) || !at_creation.contains_key(name));
            managed.retain(|name| !left_alone.contains(name));
            row.is_managed() && row.changes(attributes, &managed).is_empty()
        }
        WishKind::Removed { .. } => !row.is_managed(),
        WishKind::LetGo { .. } => return StandingState::Unknown,
    };
    if is_done { StandingState::InStep } else { StandingState::Pending }
}

impl Excerpt {
    /// The rows of a ledger; without the numbers about everybody else.
    pub(crate) fn of(store: &Store, query: &ExcerptQuery) -> Result<Self, StoreError> {
        let mut edges = BTreeMap::new();
        let mut objects: BTreeSet<SourceAnchor> = query.subjects.iter().chain(&query.others).cloned().collect();
        for subject in &query.subjects {
            if let Some(row) = store.object(subject)? {
                objects.extend(references(&row));
            }
            let mut ends = 0;
            for entry in store.members_of(subject).take(MAX_EDGES) {
                let (member, edge) = entry?;
                if edge.is_pending() && ends < MAX_ENDS {
                    ends += 1;
                    objects.insert(member.clone());
                }
                edges.insert((subject.clone(), member), edge);
            }
            for group in store.groups_of(subject)?.into_iter().take(MAX_ENDS) {
                if let Some(edge) = store.edge(&group, subject)? {
                    objects.insert(group.clone());
                    edges.insert((group, subject.clone()), edge);
                }
            }
        }
        // memberships between those that were named
        for other in &query.others {
            for (group, member) in query.subjects.iter().flat_map(|s| [(s, other), (other, s)]) {
                if let Some(edge) = store.edge(group, member)? {
                    edges.insert((group.clone(), member.clone()), edge);
                }
            }
        }
        let mut rows = Vec::new();
        for anchor in objects.into_iter().filter(|anchor| !anchor.as_str().is_empty()) {
            rows.extend(store.object(&anchor)?.map(|row| (anchor, ObjectRow::clone(&row))));
        }
        let mut flows = Vec::new();
        for class in CloudClass::ALL {
            flows.extend(store.flow(class)?.map(|flow| (class, flow)));
        }
        let mut standings = Vec::new();
        for subject in &query.subjects {
            let row = store.object(subject)?;
            let class = row.as_ref().and_then(|row| row.wish.as_ref()).map(|wish| wish.class);
            let flow = flows.iter().find(|(of, _)| Some(*of) == class).map(|(_, flow)| flow);
            standings.push(standing(subject, row.as_deref(), flow));
        }
        Ok(Self {
            meta: store.meta()?,
            flows,
            objects: rows,
            edges: edges.into_iter().map(|((group, member), edge)| (group, member, edge)).collect(),
            removals: store.removals()?,
            surroundings: Surroundings::default(),
            standings,
            stopped: None,
        })
    }

    /// The same of a ledger that no provisioner has open; nothing if there is none in this folder. Only where a guard
    /// would judge one of these wishes is everybody else counted, which reads the whole ledger. Blocks.
    pub fn read(folder: &Path, query: &ExcerptQuery, wishes: &[DesiredRecord]) -> Result<Option<Self>, StoreError> {
        let Some(store) = Store::open_to_read(folder)? else { return Ok(None) };
        let mut excerpt = Self::of(&store, query)?;
        if wishes.iter().any(|wish| excerpt.is_guarded(&wish.event)) {
            excerpt.surroundings = excerpt.count(&store)?;
        }
        Ok(Some(excerpt))
    }

    /// An excerpt of a ledger that has nothing in it.
    pub fn empty(query: &ExcerptQuery) -> Self {
        let standings = query.subjects.iter().map(|subject| standing(subject, None, None)).collect();
        Self {
            meta: Meta::default(),
            flows: Vec::new(),
            objects: Vec::new(),
            edges: Vec::new(),
            removals: Vec::new(),
            surroundings: Surroundings::default(),
            standings,
            stopped: None,
        }
    }

    fn count(&self, store: &Store) -> Result<Surroundings, StoreError> {
        let (mut managed, mut guarded) = (BTreeMap::new(), BTreeMap::new());
        for entry in store.objects() {
            let (anchor, row) = entry?;
            if self.has(&anchor) {
                continue;
            }
            *managed.entry(row.class).or_default() += u64::from(row.is_managed());
            for operation in row.guarded() {
                *guarded.entry((operation, row.class)).or_default() += 1;
            }
        }
        Ok(Surroundings { managed: managed.into_iter().collect(), guarded: guarded.into_iter().collect() })
    }

    /// Whether a guard would judge a wish.
    fn is_guarded(&self, wish: &DesiredEvent) -> bool {
        match wish {
            DesiredEvent::ObjectRemoved(_) => true,
            DesiredEvent::ObjectDesired(wish) => {
                let row = self.objects.iter().find(|(anchor, row)| *anchor == wish.anchor && row.is_managed());
                let differs =
                    |name: &str| row.is_some_and(|(_, row)| row.confirmed.get(name) != wish.attributes.get(name));
                differs(NAME) || differs(ENABLED)
            }
            _ => false,
        }
    }

    pub(crate) fn has(&self, anchor: &SourceAnchor) -> bool {
        self.objects.iter().any(|(of, _)| of == anchor)
    }

    /// The first offset of `desired` that the ledger has not taken in.
    pub fn desired_next(&self) -> u64 {
        self.meta.desired_next
    }

    /// Makes a ledger of it that has taken in everything before `desired_next`. What others wait for is forgotten, so that
    /// nobody waits for them.
    pub(crate) fn plant(self, store: &Store, subjects: &[SourceAnchor], desired_next: u64) -> Result<(), StoreError> {
        let mut tx = store.tx();
        *tx.meta()? = Meta { desired_next, ..self.meta };
        for (class, flow) in self.flows {
            tx.set_flow(class, flow);
        }
        for (anchor, mut row) in self.objects {
            if !subjects.contains(&anchor) {
                (row.failed, row.lead_failed) = (None, None);
            }
            let class = row.class;
            *tx.object(&anchor, class)? = row;
        }
        for (group, member, edge) in self.edges {
            *tx.edge(&group, &member)? = EdgeRow { failed: None, ..edge };
        }
        for (offset, removal) in (0..).zip(self.removals) {
            tx.remember(offset, removal);
        }
        tx.commit().map(|_| ())
    }
}

/// Whom a row names.
fn references(row: &ObjectRow) -> Vec<SourceAnchor> {
    let mut all: Vec<SourceAnchor> = row.manager.iter().chain(&row.owners).cloned().collect();
    if let Some(WishKind::Present { manager, owner, .. }) = row.wish.as_ref().map(|wish| &wish.kind) {
        all.extend(manager.iter().chain(owner).cloned());
    }
    all
}
