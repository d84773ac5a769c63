//! From the mirror to what is wished.
//!
//! A wish is a function of the mirror, the decisions and the configuration. It is brought up to date for every object
//! that may be affected, in any order: the end is the same. Whether a wish may be written to `desired` now is another
//! question, and not asked here.

use forestsync_domain::{ObjectGuid, SourceAnchor};
use forestsync_rules::flow::{Problem, ProblemKind, flow};
use forestsync_schemas::decisions::{AnchorAssigned, DecisionEvent};
use forestsync_schemas::desired::CloudClass;

use crate::eligible::Eligible;
use crate::keys::{self, LinkKind, ObjectKey};
use crate::round::Round;
use crate::rows::{
    AnchorRow, Claim, Claimant, EMPTY, Emitted, FindingRow, MAX_VALUE, ObjectRow, StoredValue, Wish, adjust, to_stored,
};
use crate::work::{Work, WorkKind};
use crate::{StoreError, store};

type Result<T> = std::result::Result<T, StoreError>;

/// Anchors given without a decision come after all decided ones.
const PROVISIONAL: u64 = 1 << 62;
/// Objects that may share one anchor.
const MAX_CLAIMANTS: usize = 500;
/// Links of one object that are looked at before other work gets its turn.
const CHUNK: usize = 256;

impl Round<'_> {
    /// Brings the wish that an object stands for up to date.
    pub(crate) fn evaluate(&mut self, key: ObjectKey, trace: Option<&str>) -> Result<()> {
        let row = self.object(key)?;
        self.evaluate_row(key, row.as_ref(), trace)
    }

    /// [`Round::evaluate`] for an object that was read already.
    pub(crate) fn evaluate_row(&mut self, key: ObjectKey, row: Option<&ObjectRow>, trace: Option<&str>) -> Result<()> {
        let is_eligible = self.eligible(key, row)? == Eligible::Yes;
        let (claim, is_given) = match self.claim(key)? {
            Some(claim) => (claim, false),
            None => match row.filter(|_| is_eligible) {
                Some(row) => (self.give_anchor(key, row)?, true),
                None => return self.set_finding(key, None),
            },
        };
        let is_new = is_given && self.anchor_row(&claim.anchor)?.claimants.len() == 1;
        let (winner, finding) = self.winner(key, is_eligible, &claim.anchor)?;
        let mut problems = finding;
        let wish = match winner {
            None => None,
            Some(winner) if winner == key => match row {
                Some(row) => Some(self.compose(key, row, &mut problems)?),
                None => None,
            },
            Some(winner) => match self.object(winner)? {
                Some(row) => {
                    let mut others = None;
                    let wish = self.compose(winner, &row, &mut others)?;
                    self.set_finding(winner, others)?;
                    Some(wish)
                }
                None => None,
            },
        };
        self.set_finding(key, problems)?;
        self.set_wish(&claim.anchor, wish.as_ref(), is_new, trace)
    }

    // ---- anchors

    pub(crate) fn claim(&mut self, key: ObjectKey) -> Result<Option<Claim>> {
        let own = SourceAnchor::from_guid(key.guid);
        let row = self.anchor_row(&own)?;
        if let Some(claimant) = row.claimants.iter().find(|claimant| claimant.object == key) {
            return Ok(Some(Claim { anchor: own, basis: claimant.basis, sequence: claimant.sequence }));
        }
        if self.meta.foreign_claims == 0 {
            return Ok(None);
        }
        self.read(&keys::of_object(keys::CLAIM, key))
    }

    pub(crate) fn anchor_row(&mut self, anchor: &SourceAnchor) -> Result<AnchorRow> {
        Ok(self.read(&keys::of_anchor(keys::ANCHOR, anchor))?.unwrap_or_default())
    }

    pub(crate) fn put_anchor_row(&mut self, anchor: &SourceAnchor, row: &AnchorRow) {
        self.txn.put(keys::of_anchor(keys::ANCHOR, anchor), store::encode(row));
    }

    fn give_anchor(&mut self, key: ObjectKey, row: &ObjectRow) -> Result<Claim> {
        let (anchor, basis) = forestsync_rules::anchor::anchor(key.guid, &row.attributes);
        let sequence = if self.decides {
            self.meta.decisions + self.decisions.len() as u64
        } else {
            self.meta.provisional += 1;
            PROVISIONAL + self.meta.provisional
        };
        let claim = Claim { anchor: anchor.clone(), basis, sequence };
        self.write_claim(key, &claim)?;
        if let Some(source) = self.plan.source(key.source).filter(|_| self.decides) {
            self.decisions.push(DecisionEvent::AnchorAssigned(AnchorAssigned {
                forest: source.config.forest.clone(),
                naming_context: source.config.naming_context.clone(),
                object: key.guid,
                anchor,
                basis,
            }));
        }
        Ok(claim)
    }

    pub(crate) fn write_claim(&mut self, key: ObjectKey, claim: &Claim) -> Result<()> {
        let mut row = self.anchor_row(&claim.anchor)?;
        // beyond the limit an object has the anchor and never stands for it
        if row.claimants.len() < MAX_CLAIMANTS {
            row.claimants.push(Claimant { sequence: claim.sequence, object: key, basis: claim.basis });
            row.claimants.sort_by_key(|claimant| claimant.sequence);
            self.put_anchor_row(&claim.anchor, &row);
        }
        if claim.anchor != SourceAnchor::from_guid(key.guid) || row.claimants.len() >= MAX_CLAIMANTS {
            self.txn.put(keys::of_object(keys::CLAIM, key), store::encode(claim));
            self.meta.foreign_claims += 1;
        }
        Ok(())
    }

    /// Which of the objects that were given an anchor stands for it: of those that belong into the tenant the one that
    /// was given it first. With it comes the finding for `key` where another one does.
    fn winner(
        &mut self,
        key: ObjectKey,
        is_eligible: bool,
        anchor: &SourceAnchor,
    ) -> Result<(Option<ObjectKey>, Option<FindingRow>)> {
        let claimants = self.anchor_row(anchor)?.claimants;
        if claimants.len() <= 1 {
            return Ok((is_eligible.then_some(key), None));
        }
        let (mut winner, mut finding) = (None, None);
        for claimant in claimants.iter().map(|claimant| claimant.object) {
            let eligible = if claimant == key {
                is_eligible
            } else {
                let row = self.object(claimant)?;
                self.eligible(claimant, row.as_ref())? == Eligible::Yes
            };
            let taken = match winner {
                Some(other) if eligible => Some(self.taken_by(other)),
                _ => None,
            };
            if eligible && winner.is_none() {
                winner = Some(claimant);
            }
            if claimant == key {
                finding = taken;
            } else if winner != Some(claimant) {
                self.set_finding(claimant, taken)?;
            }
        }
        Ok((winner, finding))
    }

    fn taken_by(&self, other: ObjectKey) -> FindingRow {
        let forest = self.plan.source(other.source).map_or("another", |source| source.config.forest.as_str());
        let message = format!(
            "object {} of forest {forest} has the same source anchor and had it first; give one of them another \
             ms-DS-ConsistencyGuid",
            other.guid
        );
        FindingRow { blocking: true, messages: vec![message] }
    }

    // ---- wishes

    fn compose(&mut self, key: ObjectKey, row: &ObjectRow, finding: &mut Option<FindingRow>) -> Result<Wish> {
        let dn = self.name_of(key, &row.dn, row.parent)?;
        let root = self.plan.source(key.source).map(|source| source.config.naming_context.clone()).unwrap_or_default();
        let flowed = flow(row.class, &dn, &root, &row.attributes);
        let manager = if flowed.class == CloudClass::User { self.manager(key)? } else { None };
        let mut wish = Wish {
            object: key,
            class: flowed.class,
            blocked: flowed.problems.iter().any(|problem| problem.kind == ProblemKind::Blocking),
            attributes: to_stored(flowed.attributes),
            manager,
            not_writable: flowed.not_writable,
        };
        let mut messages: Vec<String> = flowed.problems.iter().map(describe).collect();
        if is_large(&wish) && crate::rows::encode(&wish).len() > MAX_VALUE {
            wish.blocked = true;
            messages.push("the object's values are larger than a projection holds; shorten them".into());
        }
        if wish.blocked {
            wish.attributes.clear();
            wish.not_writable.clear();
            wish.manager = None;
        }
        if !messages.is_empty() {
            messages.truncate(20);
            *finding = Some(FindingRow { blocking: wish.blocked, messages });
        }
        Ok(wish)
    }

    /// The anchor of an object's manager, if that is a user who is wished; else the reference waits.
    fn manager(&mut self, key: ObjectKey) -> Result<Option<SourceAnchor>> {
        let prefix = keys::join(keys::EDGE, &[&key.source.0, key.guid.as_bytes(), &[LinkKind::Manager as u8]]);
        let mut found = None;
        for (row_key, _) in self.txn.scan(&prefix, None, 8)? {
            let Some((from, kind, to)) = keys::read_edge(&row_key) else { continue };
            let target = self.resolve_reference(key, to)?.filter(|(_, wish)| wish.class == CloudClass::User);
            self.set_waiting(from, kind, to, target.is_none())?;
            if found.is_none() {
                found = target.map(|(anchor, _)| anchor);
            }
        }
        Ok(found)
    }

    /// Whether an object's wish has another idea of its manager than it would have now.
    pub(crate) fn manager_changed(&mut self, from: ObjectKey, to: ObjectGuid) -> Result<bool> {
        let waits = self.txn.has(&keys::edge(keys::WAITING, from, LinkKind::Manager, to))?;
        let Some((_, wish)) = self.claim_wins(from)? else { return Ok(waits) };
        if wish.class != CloudClass::User || wish.blocked {
            return Ok(false);
        }
        let target = self.resolve_reference(from, to)?.filter(|(_, wish)| wish.class == CloudClass::User);
        Ok(waits == target.is_some() || (wish.manager.is_some() && target.is_none()))
    }

    /// The wish for the object a reference names, wherever in the forest it is.
    fn resolve_reference(&mut self, from: ObjectKey, to: ObjectGuid) -> Result<Option<(SourceAnchor, Wish)>> {
        let plan = self.plan;
        for source in plan.forest_of(from.source) {
            let key = ObjectKey { source, guid: to };
            if let Some(claim) = self.claim(key)?
                && let Some(wish) = self.wish(&claim.anchor)?.filter(|wish| wish.object == key)
            {
                return Ok(Some((claim.anchor, wish)));
            }
        }
        Ok(None)
    }

    pub(crate) fn wish(&mut self, anchor: &SourceAnchor) -> Result<Option<Wish>> {
        self.read(&keys::of_anchor(keys::WISH, anchor))
    }

    fn set_wish(
        &mut self,
        anchor: &SourceAnchor,
        wish: Option<&Wish>,
        is_new: bool,
        trace: Option<&str>,
    ) -> Result<()> {
        let row_key = keys::of_anchor(keys::WISH, anchor);
        // an anchor with one object, which was given it just now, was never wished
        let old = if is_new { None } else { self.wish(anchor)? };
        if old.as_ref() == wish {
            return Ok(());
        }
        self.count_wish(old.as_ref(), wish);
        let face = |wish: &Wish| (wish.object, wish.class, wish.blocked);
        if !self.is_sweeping && old.as_ref().map(face) != wish.map(face) {
            for object in old.iter().chain(wish).map(|wish| wish.object) {
                self.add_work(Work::new(WorkKind::Expand, object));
            }
        }
        match wish {
            Some(wish) if is_new => self.txn.put_new(row_key, store::encode(wish)),
            Some(wish) => self.txn.put(row_key, store::encode(wish)),
            None => self.txn.delete(row_key),
        }
        if self.is_sweeping {
            self.meta.emit_all = true;
            return Ok(());
        }
        self.add_outbox(keys::out_object(anchor), trace)
    }

    fn count_wish(&mut self, old: Option<&Wish>, new: Option<&Wish>) {
        let counters = &mut self.meta.counters;
        for (wish, there) in old.map(|wish| (wish, false)).into_iter().chain(new.map(|wish| (wish, true))) {
            if wish.blocked {
                adjust(&mut counters.blocked, !there, there);
            } else {
                adjust(counters.projected.entry(wish.class).or_default(), !there, there);
            }
            adjust(counters.projected_by_source.entry(wish.object.source).or_default(), !there, there);
        }
    }

    pub(crate) fn add_outbox(&mut self, row_key: Vec<u8>, trace: Option<&str>) -> Result<()> {
        if !self.txn.has(&row_key)? {
            self.meta.counters.outbox += 1;
            self.txn.put(row_key, store::encode(&trace.map(str::to_owned)));
        }
        Ok(())
    }

    fn set_finding(&mut self, key: ObjectKey, finding: Option<FindingRow>) -> Result<()> {
        if finding.is_none() && self.meta.counters.findings == 0 {
            return Ok(());
        }
        let after = finding.is_some();
        if after || self.txn.has(&keys::of_object(keys::FINDING, key))? {
            self.txn.put(keys::out_finding(key), &EMPTY[..]);
        }
        let value = finding.map(|finding| store::encode(&finding));
        let before = self.set(keys::of_object(keys::FINDING, key), value)?;
        adjust(&mut self.meta.counters.findings, before, after);
        Ok(())
    }

    pub(crate) fn set_waiting(&mut self, from: ObjectKey, kind: LinkKind, to: ObjectGuid, waits: bool) -> Result<()> {
        let value = waits.then(|| store::Value::from(&EMPTY[..]));
        let before = self.set(keys::edge(keys::WAITING, from, kind, to), value)?;
        adjust(&mut self.meta.counters.waiting, before, waits);
        Ok(())
    }

    // ---- references

    /// Looks at the memberships in both directions and at the reports of an object whose standing changed.
    pub(crate) fn expand(&mut self, work: &Work) -> Result<()> {
        let key = work.key;
        let out_prefix = keys::of_object(keys::EDGE, key);
        let in_prefix = keys::join(keys::EDGE_IN, &[key.guid.as_bytes()]);
        let is_out = work.cursor.as_ref().is_none_or(|cursor| cursor.first() == Some(&keys::EDGE));
        let prefix = if is_out { &out_prefix } else { &in_prefix };
        let rows = self.txn.scan(prefix, work.cursor.as_deref(), CHUNK)?;
        for (row_key, _) in &rows {
            self.steps += 1;
            if is_out {
                match keys::read_edge(row_key) {
                    Some((from, LinkKind::Member, to)) => self.touch_link(from, to, None)?,
                    Some((from, LinkKind::Manager, to)) if self.claim_wins(from)?.is_none() => {
                        self.set_waiting(from, LinkKind::Manager, to, false)?;
                    }
                    _ => {}
                }
            } else if let Some((kind, from)) = keys::read_edge_in(row_key) {
                match kind {
                    LinkKind::Member => self.touch_link(from, key.guid, None)?,
                    LinkKind::Manager => {
                        self.mark_dirty(from, None)?;
                        // whether the reference is written depends on the manager's standing, the wish does not
                        if let Some((anchor, _)) = self.claim_wins(from)? {
                            self.add_outbox(keys::out_object(&anchor), None)?;
                        }
                    }
                    LinkKind::ManagedBy => {}
                }
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

    /// The wish that an object stands for itself.
    fn claim_wins(&mut self, key: ObjectKey) -> Result<Option<(SourceAnchor, Wish)>> {
        let Some(claim) = self.claim(key)? else { return Ok(None) };
        let wish = self.wish(&claim.anchor)?.filter(|wish| wish.object == key);
        Ok(wish.map(|wish| (claim.anchor, wish)))
    }

    /// Notes a membership for the outbox, or that it waits.
    pub(crate) fn touch_link(&mut self, from: ObjectKey, to: ObjectGuid, trace: Option<&str>) -> Result<()> {
        let exists = self.txn.has(&keys::edge(keys::EDGE, from, LinkKind::Member, to))?;
        let group = self.claim_wins(from)?.filter(|(_, wish)| wish.class == CloudClass::Group);
        let known = if group.is_some() { self.resolve_reference(from, to)?.is_some() } else { false };
        self.set_waiting(from, LinkKind::Member, to, exists && group.is_some() && !known)?;
        let Some(group) = self.claim(from)? else { return Ok(()) };
        let plan = self.plan;
        for source in plan.forest_of(from.source) {
            let Some(member) = self.claim(ObjectKey { source, guid: to })? else { continue };
            let written = self.txn.has(&keys::linked(&group.anchor, &member.anchor))?;
            if written || (exists && known) {
                self.add_outbox(keys::out_link(&group.anchor, &member.anchor), trace)?;
            }
        }
        Ok(())
    }

    /// Whether references may name an anchor: it is wished, or what was written of it stays because it is blocked.
    pub(crate) fn standing(&mut self, anchor: &SourceAnchor) -> Result<Option<Wish>> {
        let Some(wish) = self.wish(anchor)? else { return Ok(None) };
        if wish.blocked && !self.emitted(anchor)?.is_some_and(|emitted| emitted.alive) {
            return Ok(None);
        }
        Ok(Some(wish))
    }

    pub(crate) fn emitted(&mut self, anchor: &SourceAnchor) -> Result<Option<Emitted>> {
        Ok(self.anchor_row(anchor)?.emitted)
    }
}

/// Whether a wish may be larger than a row.
fn is_large(wish: &Wish) -> bool {
    let size = |value: &StoredValue| match value {
        StoredValue::Bool(_) | StoredValue::Integer(_) => 8,
        StoredValue::Text(text) => text.len(),
        StoredValue::List(values) => values.iter().map(|text| text.len() + 8).sum(),
    };
    let attributes: usize = wish.attributes.iter().map(|(name, value)| name.len() + size(value) + 16).sum();
    attributes + wish.not_writable.iter().map(|name| name.len() + 8).sum::<usize>() > MAX_VALUE / 2
}

fn describe(problem: &Problem) -> String {
    format!("{}: {}", problem.attribute, problem.message).chars().take(500).collect()
}
