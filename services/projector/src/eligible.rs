//! Whether an object belongs into the tenant, from the mirror and the configuration alone.

use std::rc::Rc;

use forestsync_domain::{AttributeValue, Dn, ObjectGuid};
use forestsync_rules::exclusion::{Exclusion, exclusion};
use forestsync_rules::filter::{FilterObject, FilterVerdict};
use forestsync_rules::scope::ScopeVerdict;

use crate::StoreError;
use crate::config::Pilot;
use crate::keys::ObjectKey;
use crate::round::{Place, Round, resolve};
use crate::rows::ObjectRow;

/// The deepest tree that is followed; a chain of parents that is longer counts as broken.
const MAX_DEPTH: usize = 256;

/// The verdict on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eligible {
    /// It belongs into the tenant.
    Yes,
    /// It does together with an object that it is joined with, and not by itself.
    Partner,
    /// It is not in the mirror.
    Unknown,
    /// It is a tombstone.
    Deleted,
    /// Its class has no counterpart.
    Class,
    /// It is not in scope.
    OutOfScope(Out),
    /// A default exclusion applies.
    Excluded(Exclusion),
    /// The whole configuration was removed.
    Removed,
}

/// Why an object is not in scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Out {
    /// Its class is not synchronized by this configuration.
    Class,
    /// Its container is not.
    Container,
    /// It is a member of none of the groups.
    NoMember,
    /// It is a member of an excluded group.
    ExcludedMember,
    /// It is not of the pilot.
    NoPilot,
    /// The attribute filter refuses it: group and clause.
    Filter(usize, usize),
}

impl Round<'_> {
    pub(crate) fn eligible(&mut self, key: ObjectKey, row: Option<&ObjectRow>) -> Result<Eligible, StoreError> {
        if self.plan.config.removed.is_some() {
            return Ok(Eligible::Removed);
        }
        let Some(row) = row else { return Ok(Eligible::Unknown) };
        if row.deleted {
            return Ok(Eligible::Deleted);
        }
        if !row.class.is_synchronized() {
            return Ok(Eligible::Class);
        }
        if let Some(out) = self.out_of_scope(key, row)? {
            return Ok(Eligible::OutOfScope(out));
        }
        Ok(match exclusion(row.class, &row.dn, &row.attributes) {
            None => Eligible::Yes,
            // its account is in another forest, and it says what that one does not
            Some(Exclusion::LinkedMailbox) if !self.plan.config.rules.joins.is_empty() => Eligible::Partner,
            Some(exclusion) => Eligible::Excluded(exclusion),
        })
    }

    fn out_of_scope(&mut self, key: ObjectKey, row: &ObjectRow) -> Result<Option<Out>, StoreError> {
        let plan = self.plan;
        let scope = &plan.config.rules.scope;
        if !scope.takes(row.class) {
            return Ok(Some(Out::Class));
        }
        if self.verdict_of(key, row)? == ScopeVerdict::Out {
            return Ok(Some(Out::Container));
        }
        if let Some(pilot) = &plan.pilot
            && !self.is_pilot(pilot, key, row)
        {
            return Ok(Some(Out::NoPilot));
        }
        if plan.asks_groups
            && let Some(out) = self.out_by_membership(key, row)?
        {
            return Ok(Some(out));
        }
        if scope.filter.is_empty() {
            return Ok(None);
        }
        let groups = self.filter_groups(key, row)?;
        let object = FilterObject { attributes: &row.attributes, groups: &groups };
        Ok(match scope.filter.verdict(row.class, &object) {
            FilterVerdict::Passes => None,
            FilterVerdict::Fails { group, clause } => Some(Out::Filter(group, clause)),
        })
    }

    fn is_pilot(&self, pilot: &Pilot, key: ObjectKey, row: &ObjectRow) -> bool {
        let resolved = self.meta.sources.get(&key.source).map(|state| &state.resolved);
        let by_guid = pilot.entries.iter().any(|entry| resolve(entry, resolved) == Some(key.guid));
        by_guid
            || ["userPrincipalName", "sAMAccountName"].iter().any(|name| {
                let text = row.values(name).first().and_then(AttributeValue::as_text);
                text.is_some_and(|text| pilot.accounts.contains(&text.trim().to_lowercase()))
            })
    }

    fn verdict_of(&mut self, key: ObjectKey, row: &ObjectRow) -> Result<ScopeVerdict, StoreError> {
        if let Some(parent) = row.parent {
            return self.verdict_below(ObjectKey { source: key.source, guid: parent });
        }
        let scope = self.plan.index(key.source).and_then(|at| self.scopes.get(at));
        Ok(if scope.is_some_and(|scope| scope.containers.include_all) { ScopeVerdict::In } else { ScopeVerdict::Out })
    }

    /// The verdict for the children of a container.
    pub(crate) fn verdict_below(&mut self, parent: ObjectKey) -> Result<ScopeVerdict, StoreError> {
        if let Some(verdict) = self.verdicts.get(&parent) {
            return Ok(*verdict);
        }
        let place = self.place(parent)?;
        let scope = self.plan.index(parent.source).and_then(|at| self.scopes.get(at)).map(|scope| &scope.containers);
        let verdict = match scope {
            Some(scope) if place.rooted || scope.include_all => {
                forestsync_rules::scope::verdict(scope, place.chain.iter().copied())
            }
            _ => ScopeVerdict::Out,
        };
        self.verdicts.insert(parent, verdict);
        Ok(verdict)
    }

    /// Where a container stands. The mirror must not change while places are remembered.
    pub(crate) fn place(&mut self, container: ObjectKey) -> Result<Rc<Place>, StoreError> {
        let root = self.plan.source(container.source).map(|source| source.config.naming_context.clone());
        let mut below: Vec<(ObjectKey, Dn)> = Vec::new();
        let mut at = Some(container);
        let mut top = None;
        while let Some(key) = at {
            if let Some(known) = self.places.get(&key) {
                top = Some(Rc::clone(known));
                break;
            }
            let Some(row) = self.head(key)? else { break };
            if Some(&row.dn) == root.as_ref() {
                let place = Rc::new(Place { rooted: true, chain: vec![key.guid], dn: row.dn });
                self.places.insert(key, Rc::clone(&place));
                top = Some(place);
                break;
            }
            if below.len() >= MAX_DEPTH || below.iter().any(|(seen, _)| *seen == key) {
                break;
            }
            at = row.parent.map(|guid| ObjectKey { source: key.source, guid });
            below.push((key, row.dn));
        }
        // a container that is not known yet is an ancestor all the same
        let unknown = at.filter(|_| top.is_none()).map(|key| key.guid);
        let mut place =
            top.unwrap_or_else(|| Rc::new(Place { rooted: false, chain: Vec::from_iter(unknown), dn: Dn::default() }));
        for (key, dn) in below.into_iter().rev() {
            let chain = std::iter::once(key.guid).chain(place.chain.iter().copied()).collect();
            let dn = match dn.rdn() {
                Some(rdn) if place.rooted => place.dn.child(rdn.kind(), rdn.value()),
                _ => dn,
            };
            place = Rc::new(Place { rooted: place.rooted, chain, dn });
            self.places.insert(key, Rc::clone(&place));
        }
        Ok(place)
    }

    /// The object's name as its ancestors have it now; as last reported where they are not known.
    pub(crate) fn name_of(&mut self, key: ObjectKey, dn: &Dn, parent: Option<ObjectGuid>) -> Result<Dn, StoreError> {
        let Some(parent) = parent else { return Ok(dn.clone()) };
        let place = self.place(ObjectKey { source: key.source, guid: parent })?;
        Ok(match dn.rdn() {
            Some(rdn) if place.rooted => place.dn.child(rdn.kind(), rdn.value()),
            _ => dn.clone(),
        })
    }
}
