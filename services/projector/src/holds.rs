//! What keeps a whole configuration from writing: signs that a source, or a part of it, was lost and not emptied.

use std::collections::BTreeSet;

use forestsync_domain::{Dn, ObjectGuid};
use forestsync_schemas::changes::SnapshotId;
use forestsync_schemas::control::SourceSeen;
use forestsync_schemas::decisions::{ConfigurationHeld, Doubt, HoldReason};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::StoreError;
use crate::config::{ScopeEntry, Source, SourceId};
use crate::keys::{self, ObjectKey};
use crate::round::{Round, resolve, resolve_group};
use crate::rows::{ObjectRow, Shrink};

/// Why nothing is written to `desired`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// What kind of reason.
    pub reason: HoldReason,
    /// The forest concerned.
    pub forest: String,
    /// What was seen, for a person.
    pub detail: String,
    /// What to do about it.
    pub hint: String,
    /// The containers and groups of the scope that are empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emptied: Vec<ObjectGuid>,
    /// The naming contexts of whose scope nothing is left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bare: Vec<Dn>,
    /// The naming context, of a full read that is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub naming_context: Option<Dn>,
    /// That full read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// Why it is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// How many objects would leave if somebody approved it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaving: Option<u64>,
}

/// What tells holds apart: the reason, the forest, and the key of the naming context where it is about one.
pub(crate) type HoldKey = (HoldReason, String, String);

/// What is in doubt about a source. An approval is about exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    snapshot: Option<u128>,
    doubt: Option<Shrink>,
    emptied: BTreeSet<ObjectGuid>,
    /// Keys of naming contexts.
    bare: BTreeSet<String>,
}

impl Seen {
    fn of(snapshot: Option<SnapshotId>, doubt: Option<Doubt>, emptied: &[ObjectGuid], bare: &[Dn]) -> Self {
        Self {
            snapshot: snapshot.map(|snapshot| snapshot.0.as_u128()),
            doubt: doubt.map(Shrink::from),
            emptied: emptied.iter().copied().collect(),
            bare: bare.iter().map(Dn::key).collect(),
        }
    }

    pub(crate) fn of_event(event: &ConfigurationHeld) -> Self {
        Self::of(event.snapshot, event.doubt.clone(), &event.emptied, &event.bare)
    }

    pub(crate) fn of_decided(seen: &SourceSeen) -> Self {
        match seen {
            SourceSeen::FullRead { snapshot, doubt } => Self::of(Some(*snapshot), Some(doubt.clone()), &[], &[]),
            SourceSeen::EmptyScope { emptied, bare } => Self::of(None, None, emptied, bare),
        }
    }
}

pub(crate) fn hold_key(reason: HoldReason, forest: &str, naming_context: Option<&Dn>) -> HoldKey {
    (reason, forest.to_owned(), naming_context.map(Dn::key).unwrap_or_default())
}

impl Hold {
    /// A hold that says all there is to it.
    pub(crate) fn new(reason: HoldReason, forest: &str, detail: String, hint: String) -> Self {
        Self {
            reason,
            forest: forest.to_owned(),
            detail,
            hint,
            emptied: Vec::new(),
            bare: Vec::new(),
            naming_context: None,
            snapshot: None,
            doubt: None,
            leaving: None,
        }
    }

    pub(crate) fn key(&self) -> HoldKey {
        hold_key(self.reason, &self.forest, self.naming_context.as_ref())
    }

    pub(crate) fn seen(&self) -> Seen {
        Seen::of(self.snapshot, self.doubt.clone(), &self.emptied, &self.bare)
    }
}

impl Round<'_> {
    /// All holds there are now, at most one of each key. Sources of which nothing is written anyway hold
    /// nothing else.
    pub(crate) fn holds(&mut self, withheld: &BTreeSet<SourceId>) -> Result<Vec<Hold>, StoreError> {
        let plan = self.plan;
        if plan.config.removed.is_some() {
            // somebody decided that everything goes: nothing can be lost by mistake any more
            return Ok(Vec::new());
        }
        let mut holds: Vec<Hold> = Vec::new();
        for source in plan.sources.iter().filter(|source| !withheld.contains(&source.id)) {
            let found = [
                self.shrunken(source),
                self.missing_container(source)?,
                self.missing_group(source)?,
                self.unread(source)?,
            ];
            for hold in found.into_iter().flatten() {
                if !holds.iter().any(|known| known.key() == hold.key()) {
                    holds.push(hold);
                }
            }
        }
        holds.extend(self.scope_empty(withheld)?);
        Ok(holds)
    }

    fn shrunken(&self, source: &Source) -> Option<Hold> {
        let (root, forest) = (&source.config.naming_context, &source.config.forest);
        let state = self.meta.sources.get(&source.id)?;
        let shrunk = state.shrunk.as_ref()?;
        let (detail, leaving) = match shrunk {
            Shrink::Nothing { had } => (
                format!("a full read of {root} showed no user, group or contact; {had} were known before"),
                self.meta.counters.projected_by_source.get(&source.id).copied().unwrap_or_default(),
            ),
            Shrink::Fewer { missing, known } => {
                (format!("a full read of {root} did not show {missing} of the {known} objects in scope"), *missing)
            }
            Shrink::Attribute { .. } => {
                let of = |(name, missing, known): (&str, u64, u64)| {
                    format!("no {name} on {missing} of the {known} objects that had one")
                };
                let lost: Vec<String> = shrunk.lost_values().map(of).collect();
                (format!("a full read of {root} showed {}", lost.join(", ")), 0)
            }
        };
        let hint = format!(
            "check the rights of the account that reads this forest; a full read that shows again what is missing \
             releases, and so does forestsync approve --source {forest}, if it was meant to go"
        );
        Some(Hold {
            naming_context: Some(root.clone()),
            snapshot: Some(SnapshotId(Uuid::from_u128(state.doubted.snapshot))),
            doubt: Some(shrunk.clone().into()),
            leaving: Some(leaving),
            ..Hold::new(HoldReason::SourceShrunken, forest, detail, hint)
        })
    }

    fn missing_container(&mut self, source: &Source) -> Result<Option<Hold>, StoreError> {
        if !self.gate_is_open() {
            return Ok(None);
        }
        let hold = |entry: &ScopeEntry, what: &str, hint: &str| {
            let detail = format!("the container {entry} of the scope {what}");
            Hold::new(HoldReason::ScopeContainerMissing, &source.config.forest, detail, hint.into())
        };
        for entry in source.config.include.iter().chain(&source.config.exclude) {
            let resolved = self.meta.sources.get(&source.id).map(|state| &state.resolved);
            let Some(guid) = resolve(entry, resolved) else {
                let hint = "create it, or correct its name in the configuration";
                return Ok(Some(hold(entry, "was not found", hint)));
            };
            let row = self.object(ObjectKey { source: source.id, guid })?;
            if !row.as_ref().is_some_and(ObjectRow::is_live) {
                let what = if row.is_some() { "was deleted" } else { "is not there" };
                // a name stays with the object it first meant, and an empty list of containers means everything
                let is_only = source.config.include.len() == 1 && source.config.include.contains(entry);
                let hint = if is_only {
                    "restore the container, or name the one that takes its place by its objectGUID"
                } else {
                    "restore the container, name the one that takes its place by its objectGUID, or take it out of \
                     the scope"
                };
                return Ok(Some(hold(entry, what, hint)));
            }
        }
        Ok(None)
    }

    /// Without a group that decides, everybody in it would be out of scope, or in.
    fn missing_group(&mut self, source: &Source) -> Result<Option<Hold>, StoreError> {
        if !self.gate_is_open() {
            return Ok(None);
        }
        let plan = self.plan;
        for entry in source.config.include_groups.iter().chain(&source.config.exclude_groups) {
            let is_there = match resolve_group(plan, &self.meta, entry) {
                None => false,
                Some(ObjectKey { guid, .. }) => {
                    let mut is_live = false;
                    for other in plan.sources.iter().filter(|other| other.config.forest == entry.forest) {
                        is_live |= self.head(ObjectKey { source: other.id, guid })?.is_some_and(|head| !head.deleted);
                    }
                    is_live
                }
            };
            if !is_there {
                let detail = format!("the group {} of the scope is not there, or was deleted", entry.group);
                let hint = "restore the group, name the one that takes its place, or take it out of the scope";
                let forest = &source.config.forest;
                return Ok(Some(Hold::new(HoldReason::ScopeGroupMissing, forest, detail, hint.into())));
            }
        }
        Ok(None)
    }

    /// An attribute that nobody reads would count as empty, and clear what depends on it.
    fn unread(&mut self, source: &Source) -> Result<Option<Hold>, StoreError> {
        let Some(read) = self.read::<BTreeSet<String>>(&keys::read_attributes(source.id))? else { return Ok(None) };
        let missing: Vec<String> =
            self.plan.config.rules.more_attributes().into_iter().filter(|name| !read.contains(name)).collect();
        if missing.is_empty() || read.is_empty() {
            return Ok(None);
        }
        let forest = &source.config.forest;
        let detail = format!("the rules need {}, which {forest}'s collector does not read", missing.join(", "));
        let hint =
            format!("add it to attributes of forest {forest} in the collector's file, or take it out of the rules");
        Ok(Some(Hold::new(HoldReason::AttributeNotRead, forest, detail, hint)))
    }
}
