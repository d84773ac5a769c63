//! Membership in groups, as far as it decides about scope, and who stands in for whom across forests.
//!
//! An object is a member of the groups that link to it, of those that link to a foreign security principal with its SID,
//! and, where the configuration counts them, of its primary group. Membership is looked up from the object upwards, so
//! that a change costs what it touches and not the size of a group; only what lies below a group that itself came into
//! another group, or left one, is looked at as a whole.

use std::collections::BTreeSet;
use std::rc::Rc;

use forestsync_domain::ObjectGuid;
use forestsync_rules::classify::DirectoryClass;
use forestsync_rules::settings::GroupMembers;

use crate::StoreError;
use crate::config::ScopeEntry;
use crate::eligible::Out;
use crate::keys::{self, LinkKind, ObjectKey};
use crate::round::{Round, resolve};
use crate::rows::{EMPTY, Head, ObjectRow};
use crate::work::{CHUNK, Work, WorkKind};

type Result<T> = std::result::Result<T, StoreError>;

/// Objects with one SID that are looked at. There is one, and a foreign security principal of it in each forest.
const MAX_TWINS: usize = 256;
/// Groups that one object or group is a direct member of and that are looked at.
const MAX_GROUPS: usize = 20_000;
/// Groups above one group that are followed.
const MAX_ANCESTRY: usize = 50_000;

impl Round<'_> {
    // ---- upwards

    pub(crate) fn out_by_membership(&mut self, key: ObjectKey, row: &ObjectRow) -> Result<Option<Out>> {
        let Some(at) = self.plan.index(key.source) else { return Ok(None) };
        let asks = self.scopes.get(at).is_some_and(|s| s.include_groups.is_some() || !s.exclude_groups.is_empty());
        if !asks {
            return Ok(None);
        }
        let groups = self.all_groups(key, row)?;
        let Some(scope) = self.scopes.get(at) else { return Ok(None) };
        if groups.iter().any(|group| scope.exclude_groups.contains(group)) {
            return Ok(Some(Out::ExcludedMember));
        }
        let is_out = scope.include_groups.as_ref().is_some_and(|named| groups.is_disjoint(named));
        Ok(is_out.then_some(Out::NoMember))
    }

    /// The groups an object is in, as deep as the configuration follows them.
    pub(crate) fn all_groups(&mut self, key: ObjectKey, row: &ObjectRow) -> Result<BTreeSet<ObjectGuid>> {
        let direct = self.direct_groups(key, row)?;
        if self.plan.config.rules.scope.group_members == GroupMembers::Direct {
            return Ok(direct.into_iter().map(|group| group.guid).collect());
        }
        let mut all = BTreeSet::new();
        for group in direct {
            all.extend(self.ancestry(group)?.iter().copied());
        }
        Ok(all)
    }

    /// The places of the groups that an attribute filter asks for and that the object is a direct member of.
    pub(crate) fn filter_groups(&mut self, key: ObjectKey, row: &ObjectRow) -> Result<BTreeSet<usize>> {
        let plan = self.plan;
        let named = plan.config.rules.scope.filter.groups();
        if named.is_empty() {
            return Ok(BTreeSet::new());
        }
        let direct: BTreeSet<ObjectGuid> = self.direct_groups(key, row)?.into_iter().map(|group| group.guid).collect();
        let is_in = |text: &String| {
            let Ok(entry) = text.parse::<ScopeEntry>() else { return false };
            let mut resolved = self.meta.sources.values().map(|state| resolve(&entry, Some(&state.resolved)));
            resolved.any(|guid| guid.is_some_and(|guid| direct.contains(&guid)))
        };
        Ok(named.iter().enumerate().filter(|(_, text)| is_in(text)).map(|(at, _)| at).collect())
    }

    /// The groups that an object is a direct member of, wherever they are.
    fn direct_groups(&mut self, key: ObjectKey, row: &ObjectRow) -> Result<Vec<ObjectKey>> {
        let mut groups = self.linking_to(key.guid)?;
        if let Some(sid) = row.sid().filter(|_| self.plan.is_multi_forest) {
            for stand_in in self.stand_ins(key, sid)? {
                groups.extend(self.linking_to(stand_in.guid)?);
            }
        }
        groups.extend(self.primary_group(key, row)?);
        Ok(groups)
    }

    pub(crate) fn linking_to(&mut self, guid: ObjectGuid) -> Result<Vec<ObjectKey>> {
        let prefix = keys::join(keys::EDGE_IN, &[guid.as_bytes(), &[LinkKind::Member as u8]]);
        let rows = self.txn.scan(&prefix, None, MAX_GROUPS)?;
        Ok(rows.iter().filter_map(|(row_key, _)| keys::read_edge_in(row_key)).map(|(_, from)| from).collect())
    }

    /// The groups that a group is in, at any depth, itself included.
    fn ancestry(&mut self, group: ObjectKey) -> Result<Rc<BTreeSet<ObjectGuid>>> {
        if let Some(known) = self.ancestries.get(&group) {
            return Ok(Rc::clone(known));
        }
        let (mut seen, mut open) = (BTreeSet::from([group.guid]), vec![group]);
        while let Some(next) = open.pop() {
            let Some(row) = self.object(next)? else { continue };
            for above in self.direct_groups(next, &row)? {
                if seen.len() < MAX_ANCESTRY && seen.insert(above.guid) {
                    open.push(above);
                }
            }
        }
        let seen = Rc::new(seen);
        self.ancestries.insert(group, Rc::clone(&seen));
        Ok(seen)
    }

    // ---- across forests

    /// All objects with a SID, those that stand in for others included.
    fn with_sid(&mut self, sid: &[u8]) -> Result<Vec<ObjectKey>> {
        let rows = self.txn.scan(&keys::sid_of(sid), None, MAX_TWINS)?;
        Ok(rows.iter().filter_map(|(row_key, _)| keys::read_sid(row_key)).collect())
    }

    /// The live foreign security principals of other forests that stand in for an object with this SID.
    pub(crate) fn stand_ins(&mut self, key: ObjectKey, sid: &[u8]) -> Result<Vec<ObjectKey>> {
        let is_stand_in = |head: Head| head.class == DirectoryClass::ForeignSecurityPrincipal && !head.deleted;
        let mut found = Vec::new();
        for other in self.with_sid(sid)? {
            if other != key && self.head(other)?.is_some_and(is_stand_in) {
                found.push(other);
            }
        }
        Ok(found)
    }

    /// The objects of other forests that a foreign security principal stands in for.
    pub(crate) fn stands_in_for(&mut self, stand_in: ObjectKey, sid: &[u8]) -> Result<Vec<ObjectKey>> {
        let forest = self.plan.source(stand_in.source).map(|source| source.forest);
        let mut found = Vec::new();
        for other in self.with_sid(sid)? {
            let is_elsewhere = self.plan.source(other.source).is_some_and(|source| Some(source.forest) != forest);
            let is_real = |head: Head| head.class != DirectoryClass::ForeignSecurityPrincipal;
            if is_elsewhere && self.head(other)?.is_some_and(is_real) {
                found.push(other);
            }
        }
        Ok(found)
    }

    /// What must be looked at because a foreign security principal came or went, or an object that one stands in for.
    pub(crate) fn note_stand_in(
        &mut self,
        key: ObjectKey,
        old: Option<&ObjectRow>,
        new: Option<&ObjectRow>,
    ) -> Result<()> {
        if !self.plan.is_multi_forest || !self.meta.swept {
            return Ok(());
        }
        let face = |row: &ObjectRow| (row.class, row.deleted, row.sid().map(<[u8]>::to_vec));
        if old.map(face) == new.map(face) {
            return Ok(());
        }
        for row in old.into_iter().chain(new) {
            let Some(sid) = row.sid() else { continue };
            if row.class == DirectoryClass::ForeignSecurityPrincipal {
                for object in self.stands_in_for(key, sid)? {
                    self.mark_dirty(object, None)?;
                    self.walk(object)?;
                    self.touch_stand_in(key, object)?;
                }
                self.add_work(Work::new(WorkKind::Expand, key));
            } else {
                for stand_in in self.stand_ins(key, sid)? {
                    self.add_work(Work::new(WorkKind::Expand, stand_in));
                    self.touch_stand_in(stand_in, key)?;
                }
            }
        }
        Ok(())
    }

    /// Puts the memberships that a foreign security principal carries for an object into the outbox, so that those that
    /// end are withdrawn although nothing leads from the one to the other any more.
    fn touch_stand_in(&mut self, stand_in: ObjectKey, object: ObjectKey) -> Result<()> {
        let Some(member) = self.stands_for(object)? else { return Ok(()) };
        for group in self.linking_to(stand_in.guid)? {
            if let Some(group) = self.stands_for(group)? {
                self.add_outbox(keys::out_link(&group, &member), None)?;
            }
        }
        Ok(())
    }

    // ---- primary groups

    /// The group that primaryGroupID names, where primary groups count.
    pub(crate) fn primary_group(&mut self, key: ObjectKey, row: &ObjectRow) -> Result<Option<ObjectKey>> {
        if !self.plan.config.rules.scope.primary_groups || !row.is_live() {
            return Ok(None);
        }
        match row.sid().zip(primary_rid(row)) {
            Some((sid, rid)) => self.group_with_rid(key, sid, rid),
            None => Ok(None),
        }
    }

    /// The group of the same domain with this relative identifier, which is the last part of a SID (MS-DTYP 2.4.2).
    fn group_with_rid(&mut self, key: ObjectKey, sid: &[u8], rid: u32) -> Result<Option<ObjectKey>> {
        let Some((domain, _)) = sid.len().checked_sub(4).and_then(|at| sid.split_at_checked(at)) else {
            return Ok(None);
        };
        let wanted = [domain, &rid.to_le_bytes()].concat();
        Ok(self.with_sid(&wanted)?.into_iter().find(|other| other.source == key.source))
    }

    // ---- downwards

    /// Notes that the members of a group must be looked at, and theirs.
    pub(crate) fn walk(&mut self, group: ObjectKey) -> Result<()> {
        if !self.plan.asks_groups || !self.meta.swept {
            return Ok(());
        }
        let row_key = keys::of_object(keys::WALKED, group);
        if !self.txn.has(&row_key)? {
            self.txn.put(row_key, &EMPTY[..]);
            self.meta.walked += 1;
            self.add_work(Work::new(WorkKind::Members, group));
        }
        Ok(())
    }

    /// Notes that the object at the end of a membership must be looked at, and what is below it.
    pub(crate) fn walk_to(&mut self, from: ObjectKey, to: ObjectGuid) -> Result<()> {
        if !self.plan.asks_groups || !self.meta.swept {
            return Ok(());
        }
        let plan = self.plan;
        for source in plan.forest_of(from.source) {
            let key = ObjectKey { source, guid: to };
            let Some(head) = self.head(key)? else { continue };
            self.mark_dirty(key, None)?;
            if matches!(head.class, DirectoryClass::Group | DirectoryClass::ForeignSecurityPrincipal) {
                self.walk(key)?;
            }
        }
        Ok(())
    }

    pub(crate) fn members(&mut self, work: &Work) -> Result<()> {
        let key = work.key;
        if work.cursor.is_none()
            && let Some(row) = self.object(key)?.filter(|row| row.class == DirectoryClass::ForeignSecurityPrincipal)
            && let Some(sid) = row.sid()
        {
            for object in self.stands_in_for(key, sid)? {
                self.mark_dirty(object, None)?;
                self.walk(object)?;
            }
        }
        let prefix = keys::join(keys::EDGE, &[&key.source.0, key.guid.as_bytes(), &[LinkKind::Member as u8]]);
        let rows = self.txn.scan(&prefix, work.cursor.as_deref(), CHUNK)?;
        for (row_key, _) in &rows {
            if let Some((from, _, to)) = keys::read_edge(row_key) {
                self.walk_to(from, to)?;
            }
        }
        self.go_on(work, &rows);
        Ok(())
    }

    /// Forgets who was looked at, once everybody was.
    pub(crate) fn end_walk(&mut self) -> Result<()> {
        while self.meta.walked > 0 {
            let rows = self.txn.scan(&[keys::WALKED], None, CHUNK)?;
            if rows.is_empty() {
                self.meta.walked = 0;
            }
            for (row_key, _) in rows {
                self.txn.delete(row_key);
                self.meta.walked = self.meta.walked.saturating_sub(1);
            }
        }
        Ok(())
    }
}

/// The relative identifier of a user's primary group.
pub(crate) fn primary_rid(row: &ObjectRow) -> Option<u32> {
    row.values("primaryGroupID").first()?.as_text()?.trim().parse().ok()
}
