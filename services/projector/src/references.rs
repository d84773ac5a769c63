//! References: managers, owners and memberships, within a forest by objectGUID and across forests by SID.
//!
//! A reference leads to whoever's wish the object it names is part of. One to an object that is not wished waits as a row
//! of its own and is looked at again when that object is.

use std::rc::Rc;

use forestsync_domain::{ObjectGuid, SourceAnchor};
use forestsync_rules::classify::DirectoryClass;
use forestsync_schemas::desired::CloudClass;

use crate::StoreError;
use crate::keys::{self, LinkKind, ObjectKey};
use crate::members::primary_rid;
use crate::person::Person;
use crate::round::Round;
use crate::rows::{EMPTY, ObjectRow, Wish};
use crate::work::{CHUNK, Work};

type Result<T> = std::result::Result<T, StoreError>;

/// Users with one primary group that are looked at in one go.
const PRIMARY_CHUNK: usize = 256;
/// Memberships of a group that are looked at when an object is no longer joined with it.
const MAX_LEFT: usize = 300_000;

impl Round<'_> {
    /// The anchor that a reference of one value leads to, if that is a user who is wished; else it waits.
    pub(crate) fn reference(&mut self, person: &Person, kind: LinkKind) -> Result<Option<SourceAnchor>> {
        let mut found = None;
        for member in &person.members {
            let key = member.key;
            let prefix = keys::join(keys::EDGE, &[&key.source.0, key.guid.as_bytes(), &[kind as u8]]);
            for (row_key, _) in self.txn.scan(&prefix, None, 8)? {
                let Some((from, kind, to)) = keys::read_edge(&row_key) else { continue };
                let target = self.resolve_user(from, to)?;
                self.set_waiting(from, kind, to, target.is_none())?;
                if found.is_none() {
                    found = target;
                }
            }
        }
        Ok(found)
    }

    fn resolve_user(&mut self, from: ObjectKey, to: ObjectGuid) -> Result<Option<SourceAnchor>> {
        for anchor in self.resolve_reference(from, to)? {
            if self.wish(&anchor)?.is_some_and(|wish| wish.class == CloudClass::User) {
                return Ok(Some(anchor));
            }
        }
        Ok(None)
    }

    /// Whether an object's wish has another idea of a reference than it would have now.
    pub(crate) fn reference_changed(&mut self, from: ObjectKey, kind: LinkKind, to: ObjectGuid) -> Result<bool> {
        let waits = self.txn.has(&keys::edge(keys::WAITING, from, kind, to))?;
        let Some((_, wish)) = self.wish_of(from)? else { return Ok(waits) };
        let (class, known) = match kind {
            LinkKind::Manager => (CloudClass::User, &wish.manager),
            _ => (CloudClass::Group, &wish.owner),
        };
        if wish.class != class || wish.blocked {
            return Ok(false);
        }
        let target = self.resolve_user(from, to)?;
        Ok(waits == target.is_some() || (known.is_some() && target.is_none()))
    }

    /// The anchors of those whom a reference names: of the object in the forest, or of those in other forests that a
    /// foreign security principal stands in for.
    pub(crate) fn resolve_reference(&mut self, from: ObjectKey, to: ObjectGuid) -> Result<Vec<SourceAnchor>> {
        let plan = self.plan;
        let mut found = Vec::new();
        for source in plan.forest_of(from.source) {
            let key = ObjectKey { source, guid: to };
            found.extend(self.stands_for(key)?);
            if plan.is_multi_forest {
                for object in self.stood_in_for(key)? {
                    found.extend(self.stands_for(object)?);
                }
            }
        }
        found.dedup();
        Ok(found)
    }

    /// The objects of other forests for which this one stands in, if it is a foreign security principal.
    fn stood_in_for(&mut self, key: ObjectKey) -> Result<Vec<ObjectKey>> {
        if self.head(key)?.is_none_or(|head| head.class != DirectoryClass::ForeignSecurityPrincipal) {
            return Ok(Vec::new());
        }
        let row = self.object(key)?;
        match row.as_ref().filter(|row| row.is_live()).and_then(ObjectRow::sid) {
            Some(sid) => self.stands_in_for(key, sid),
            None => Ok(Vec::new()),
        }
    }

    /// The wish that an object is part of.
    pub(crate) fn wish_of(&mut self, key: ObjectKey) -> Result<Option<(SourceAnchor, Rc<Wish>)>> {
        let Some(anchor) = self.stands_for(key)? else { return Ok(None) };
        Ok(self.wish(&anchor)?.map(|wish| (anchor, wish)))
    }

    /// Looks at the memberships in both directions and at the references to an object whose standing changed.
    pub(crate) fn expand(&mut self, work: &Work) -> Result<()> {
        let key = work.key;
        let out_prefix = keys::of_object(keys::EDGE, key);
        let in_prefix = keys::join(keys::EDGE_IN, &[key.guid.as_bytes()]);
        let is_out = work.cursor.as_ref().is_none_or(|cursor| cursor.first() == Some(&keys::EDGE));
        if work.cursor.is_none() {
            self.expand_primary(key)?;
            self.expand_stand_ins(key)?;
        }
        let prefix = if is_out { &out_prefix } else { &in_prefix };
        let rows = self.txn.scan(prefix, work.cursor.as_deref(), CHUNK)?;
        for (row_key, _) in &rows {
            self.steps += 1;
            if is_out {
                match keys::read_edge(row_key) {
                    Some((from, LinkKind::Member, to)) => self.touch_link(from, to, None)?,
                    Some((from, kind, to)) if self.stands_for(from)?.is_none() => {
                        self.set_waiting(from, kind, to, false)?;
                    }
                    _ => {}
                }
            } else if let Some((kind, from)) = keys::read_edge_in(row_key) {
                self.expand_in(kind, from, key.guid)?;
            }
        }
        let cursor = match rows.last() {
            Some((row_key, _)) if rows.len() == CHUNK => Some(row_key.clone()),
            _ if is_out => Some(in_prefix),
            _ => None,
        };
        if cursor.is_some() {
            self.add_work(Work { cursor, ..work.clone() });
        }
        Ok(())
    }

    fn expand_in(&mut self, kind: LinkKind, from: ObjectKey, to: ObjectGuid) -> Result<()> {
        if kind == LinkKind::Member {
            return self.touch_link(from, to, None);
        }
        self.mark_dirty(from, None)?;
        // whether the reference is written depends on the target's standing, the wish does not
        if let Some(anchor) = self.stands_for(from)? {
            self.add_outbox(keys::out_object(&anchor), None)?;
        }
        Ok(())
    }

    /// What reaches an object by way of foreign security principals.
    fn expand_stand_ins(&mut self, key: ObjectKey) -> Result<()> {
        if !self.plan.is_multi_forest {
            return Ok(());
        }
        let Some(row) = self.object(key)?.filter(|row| row.class != DirectoryClass::ForeignSecurityPrincipal) else {
            return Ok(());
        };
        let Some(sid) = row.sid() else { return Ok(()) };
        for stand_in in self.stand_ins(key, sid)? {
            let prefix = keys::join(keys::EDGE_IN, &[stand_in.guid.as_bytes()]);
            let mut after: Option<Vec<u8>> = None;
            loop {
                let rows = self.txn.scan(&prefix, after.as_deref(), CHUNK)?;
                for (row_key, _) in &rows {
                    if let Some((kind, from)) = keys::read_edge_in(row_key) {
                        self.expand_in(kind, from, stand_in.guid)?;
                    }
                }
                match rows.last() {
                    Some((row_key, _)) if rows.len() == CHUNK => after = Some(row_key.clone()),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Notes a membership for the outbox, or that it waits.
    pub(crate) fn touch_link(&mut self, from: ObjectKey, to: ObjectGuid, trace: Option<&str>) -> Result<()> {
        let exists = self.txn.has(&keys::edge(keys::EDGE, from, LinkKind::Member, to))?;
        let group = self.wish_of(from)?.filter(|(_, wish)| wish.class == CloudClass::Group);
        let members = if group.is_some() { self.resolve_reference(from, to)? } else { Vec::new() };
        self.set_waiting(from, LinkKind::Member, to, exists && group.is_some() && members.is_empty())?;
        let mut groups: Vec<SourceAnchor> = self.anchors_named(from)?;
        groups.extend(group.map(|(anchor, _)| anchor));
        groups.dedup();
        if groups.is_empty() {
            return Ok(());
        }
        let mut touched = members.clone();
        let plan = self.plan;
        for source in plan.forest_of(from.source) {
            touched.extend(self.anchors_named(ObjectKey { source, guid: to })?);
        }
        touched.sort();
        touched.dedup();
        for group in &groups {
            for member in &touched {
                let written = self.txn.has(&keys::linked(group, member))?;
                if written || (exists && members.contains(member)) {
                    self.add_outbox(keys::out_link(group, member), trace)?;
                }
            }
        }
        Ok(())
    }

    /// Memberships written under an anchor that an object stands for no longer: nothing leads from the one to the other any
    /// more.
    pub(crate) fn touch_left(&mut self, anchor: &SourceAnchor, object: ObjectKey) -> Result<()> {
        if self.plan.config.rules.joins.is_empty() {
            return Ok(());
        }
        let mut groups = self.linking_to(object.guid)?;
        if let Some(row) = self.object(object)?
            && let Some(sid) = row.sid()
        {
            for stand_in in self.stand_ins(object, sid)? {
                groups.extend(self.linking_to(stand_in.guid)?);
            }
        }
        for group in groups {
            for group in self.anchors_named(group)? {
                self.add_outbox(keys::out_link(&group, anchor), None)?;
            }
        }
        for (row_key, _) in self.txn.scan(&keys::of_anchor(keys::LINKED, anchor), None, MAX_LEFT)? {
            if let Some((group, member)) = keys::read_linked(&row_key) {
                self.add_outbox(keys::out_link(&group, &member), None)?;
            }
        }
        Ok(())
    }

    /// Notes the memberships that were written because of a link that ends. Once its ends are looked at they may stand for
    /// other anchors, and without the link nothing leads from those to the ones that were written.
    pub(crate) fn touch_written(&mut self, from: ObjectKey, to: ObjectGuid) -> Result<()> {
        if self.plan.config.rules.joins.is_empty() {
            return Ok(());
        }
        let plan = self.plan;
        let mut members = Vec::new();
        for source in plan.forest_of(from.source) {
            let key = ObjectKey { source, guid: to };
            members.extend(self.anchors_named(key)?);
            for object in self.stood_in_for(key)? {
                members.extend(self.anchors_named(object)?);
            }
        }
        for group in self.anchors_named(from)? {
            for member in &members {
                if self.txn.has(&keys::linked(&group, member))? {
                    self.add_outbox(keys::out_link(&group, member), None)?;
                }
            }
        }
        Ok(())
    }

    /// The anchors under which something may have been written of an object.
    fn anchors_named(&mut self, key: ObjectKey) -> Result<Vec<SourceAnchor>> {
        let mut all: Vec<SourceAnchor> = self.claim(key)?.map(|claim| claim.anchor).into_iter().collect();
        all.extend(self.adopted(key)?.map(|adopted| adopted.anchor));
        if self.meta.stands > 0 {
            all.extend(self.stands_for(key)?);
        }
        Ok(all)
    }

    /// Whether the directories say that a group has a member: by a link between any two objects of theirs, by way of a
    /// foreign security principal, or as a primary group.
    pub(crate) fn is_linked(&mut self, group: &Wish, member: &Wish) -> Result<bool> {
        let groups: Vec<ObjectKey> = group.objects().collect();
        for object in member.objects().collect::<Vec<_>>() {
            for group in &groups {
                if self.txn.has(&keys::edge(keys::EDGE, *group, LinkKind::Member, object.guid))? {
                    return Ok(true);
                }
            }
            let scope = &self.plan.config.rules.scope;
            if !self.plan.is_multi_forest && !scope.primary_groups {
                continue;
            }
            let Some(row) = self.object(object)? else { continue };
            if self.primary_group(object, &row)?.is_some_and(|primary| groups.contains(&primary)) {
                return Ok(true);
            }
            let Some(sid) = row.sid() else { continue };
            for stand_in in self.stand_ins(object, sid)? {
                for group in &groups {
                    if self.txn.has(&keys::edge(keys::EDGE, *group, LinkKind::Member, stand_in.guid))? {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    // ---- primary groups

    /// Keeps the index of users by their primary group, and notes their membership in it.
    pub(crate) fn note_primary(&mut self, key: ObjectKey, row: Option<&ObjectRow>) -> Result<()> {
        if !self.plan.config.rules.scope.primary_groups {
            return Ok(());
        }
        let Some(row) = row.filter(|row| row.class.is_user()) else { return Ok(()) };
        let Some(rid) = primary_rid(row) else { return Ok(()) };
        let row_key = keys::primary(key, rid);
        // rows of former groups stay: they are looked at in vain
        if row.is_live() && !self.txn.has(&row_key)? {
            self.txn.put(row_key, &EMPTY[..]);
        }
        if let Some(group) = self.primary_group(key, row)? {
            self.touch_pair(group, key)?;
        }
        Ok(())
    }

    /// Notes the membership in a primary group that was given up: nothing leads from the one to the other any more.
    pub(crate) fn leave_primary(
        &mut self,
        key: ObjectKey,
        old: Option<&ObjectRow>,
        new: Option<&ObjectRow>,
    ) -> Result<()> {
        if !self.plan.config.rules.scope.primary_groups || !self.meta.swept {
            return Ok(());
        }
        let Some(old) = old.filter(|old| primary_rid(old) != new.and_then(primary_rid)) else { return Ok(()) };
        match self.primary_group(key, old)? {
            Some(group) => self.touch_pair(group, key),
            None => Ok(()),
        }
    }

    /// The users whose primary group an object is, if it is one.
    fn expand_primary(&mut self, key: ObjectKey) -> Result<()> {
        if !self.plan.config.rules.scope.primary_groups {
            return Ok(());
        }
        let Some(row) = self.object(key)? else { return Ok(()) };
        if row.class.is_user() {
            if let Some(group) = self.primary_group(key, &row)? {
                self.touch_pair(group, key)?;
            }
            return Ok(());
        }
        let rid = row.sid().and_then(|sid| sid.last_chunk::<4>()).map(|rid| u32::from_le_bytes(*rid));
        let Some(rid) = rid.filter(|_| row.class == DirectoryClass::Group) else { return Ok(()) };
        let prefix = keys::primary_of(key.source, rid);
        let mut after: Option<Vec<u8>> = None;
        loop {
            let rows = self.txn.scan(&prefix, after.as_deref(), PRIMARY_CHUNK)?;
            for (row_key, _) in &rows {
                if let Some(user) = keys::read_primary(row_key) {
                    self.touch_pair(key, user)?;
                }
            }
            match rows.last() {
                Some((row_key, _)) if rows.len() == PRIMARY_CHUNK => after = Some(row_key.clone()),
                _ => return Ok(()),
            }
        }
    }

    fn touch_pair(&mut self, group: ObjectKey, member: ObjectKey) -> Result<()> {
        if let (Some(group), Some(member)) = (self.stands_for(group)?, self.stands_for(member)?) {
            self.add_outbox(keys::out_link(&group, &member), None)?;
        }
        Ok(())
    }
}
