//! What keeps a whole configuration from writing: signs that a source, or a part of it, was lost and not emptied.

use std::collections::BTreeSet;

use forestsync_domain::ObjectGuid;
use forestsync_schemas::decisions::HoldReason;
use serde::Serialize;

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
}

impl Round<'_> {
    /// All holds there are now, at most one of each reason and forest. Sources of which nothing is written anyway hold
    /// nothing else.
    pub(crate) fn holds(&mut self, withheld: &BTreeSet<SourceId>) -> Result<Vec<Hold>, StoreError> {
        let plan = self.plan;
        if plan.config.removed.is_some() {
            // somebody decided that everything goes: nothing can be lost by mistake any more
            return Ok(Vec::new());
        }
        let mut holds: Vec<Hold> = Vec::new();
        let emptied = self.emptied()?;
        for source in plan.sources.iter().filter(|source| !withheld.contains(&source.id)) {
            let found = [
                self.shrunken(source),
                self.missing_container(source)?,
                self.missing_group(source)?,
                self.unread(source)?,
            ];
            let emptied = self.emptied_of(source, &emptied);
            for hold in found.into_iter().flatten().chain(emptied).chain(self.empty(source)) {
                if !holds.iter().any(|known| known.reason == hold.reason && known.forest == hold.forest) {
                    holds.push(hold);
                }
            }
        }
        Ok(holds)
    }

    fn shrunken(&self, source: &Source) -> Option<Hold> {
        let root = &source.config.naming_context;
        let detail = match self.meta.sources.get(&source.id)?.shrunk.as_ref()? {
            Shrink::Nothing { had } => {
                format!("a full read of {root} showed no user, group or contact; {had} were known before")
            }
            Shrink::Fewer { missing, known } => {
                format!("a full read of {root} did not show {missing} of the {known} objects in scope")
            }
            Shrink::Attribute { name, missing, known } => {
                format!("a full read of {root} showed no {name} on {missing} of the {known} objects that had one")
            }
        };
        Some(Hold {
            reason: HoldReason::SourceShrunken,
            forest: source.config.forest.clone(),
            detail,
            hint:
                "check the rights of the account that reads this forest; a full read that shows again what is missing \
                   releases, and nothing else does"
                    .into(),
            emptied: Vec::new(),
        })
    }

    fn missing_container(&mut self, source: &Source) -> Result<Option<Hold>, StoreError> {
        if !self.gate_is_open() {
            return Ok(None);
        }
        let hold = |entry: &ScopeEntry, what: &str, hint: &str| Hold {
            reason: HoldReason::ScopeContainerMissing,
            forest: source.config.forest.clone(),
            detail: format!("the container {entry} of the scope {what}"),
            hint: hint.into(),
            emptied: Vec::new(),
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
                return Ok(Some(Hold {
                    reason: HoldReason::ScopeGroupMissing,
                    forest: source.config.forest.clone(),
                    detail: format!("the group {} of the scope is not there, or was deleted", entry.group),
                    hint: "restore the group, name the one that takes its place, or take it out of the scope".into(),
                    emptied: Vec::new(),
                }));
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
        let forest = source.config.forest.clone();
        Ok(Some(Hold {
            reason: HoldReason::AttributeNotRead,
            detail: format!("the rules need {}, which {forest}'s collector does not read", missing.join(", ")),
            hint: format!(
                "add it to attributes of forest {forest} in the collector's file, or take it out of the rules"
            ),
            forest,
            emptied: Vec::new(),
        }))
    }

    fn empty(&self, source: &Source) -> Option<Hold> {
        let counters = &self.meta.counters;
        let projected = counters.projected_by_source.get(&source.id).copied().unwrap_or_default();
        let emitted = counters.emitted_by_source.get(&source.id).copied().unwrap_or_default();
        let is_narrowed = !source.config.include.is_empty() || !source.config.include_groups.is_empty();
        if !is_narrowed || projected > 0 || emitted == 0 || !self.gate_is_open() {
            return None;
        }
        let root = &source.config.naming_context;
        Some(Hold {
            reason: HoldReason::ScopeEmpty,
            forest: source.config.forest.clone(),
            detail: format!(
                "no container and no group of the scope in {root} holds an object; {emitted} are managed from there"
            ),
            hint: "put objects back into them, or take the forest out of the configuration".into(),
            emptied: Vec::new(),
        })
    }
}
