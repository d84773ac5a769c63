//! From the mirror to what is wished.
//!
//! A wish is a function of the mirror, the decisions and the configuration. It is brought up to date for every object
//! that may be affected, in any order: the end is the same. Whether a wish may be written to `desired` now is another
//! question, and not asked here.

use std::collections::BTreeSet;
use std::rc::Rc;

use forestsync_domain::{AttributeValue, ObjectGuid, SourceAnchor};
use forestsync_rules::flow::{Problem, ProblemKind, Subject};
use forestsync_rules::hygiene::{Finding, check, unique_values, unverified_suffix};
use forestsync_rules::join::JoinDoubt;
use forestsync_schemas::decisions::{AnchorAssigned, DecisionEvent};
use forestsync_schemas::desired::CloudClass;

use crate::eligible::Eligible;
use crate::keys::{self, LinkKind, ObjectKey};
use crate::person::{Person, Together};
use crate::round::Round;
use crate::rows::{
    AnchorRow, Claim, Claimant, EMPTY, Emitted, FindingRow, MAX_VALUE, ObjectRow, StoredValue, Wish, adjust, adjust_at,
    to_stored,
};
use crate::unique::hashes;
use crate::work::{Work, WorkKind};
use crate::{StoreError, store};

type Result<T> = std::result::Result<T, StoreError>;

/// Anchors given without a decision come after all decided ones.
const PROVISIONAL: u64 = 1 << 62;
/// Objects that may share one anchor.
const MAX_CLAIMANTS: usize = 500;
/// What a person without objects is.
const NOBODY: &str = "a wish has no object";

impl Round<'_> {
    /// Brings the wishes that an object has a part in up to date.
    pub(crate) fn evaluate(&mut self, key: ObjectKey, trace: Option<&str>) -> Result<()> {
        let row = self.object(key)?.map(Rc::new);
        self.evaluate_row(key, row.as_ref(), trace)
    }

    /// [`Round::evaluate`] for an object that was read already.
    pub(crate) fn evaluate_row(
        &mut self,
        key: ObjectKey,
        row: Option<&Rc<ObjectRow>>,
        trace: Option<&str>,
    ) -> Result<()> {
        let joins = !self.plan.config.rules.joins.is_empty();
        if joins {
            let takes_part = matches!(self.eligible(key, row.map(Rc::as_ref))?, Eligible::Yes | Eligible::Partner);
            self.note_join_keys(key, row.map(Rc::as_ref).filter(|_| takes_part))?;
        }
        self.note_moment(key, row.map(Rc::as_ref))?;
        self.note_primary(key, row.map(Rc::as_ref))?;
        let person = match self.together(key, row)? {
            Together::Is(person) => person,
            Together::Later => return Ok(()),
            Together::Nobody => return self.leave(key, trace),
        };
        let claimed = self.anchors_of(&person)?;
        let Some(anchor) = self.anchor_of(&person)? else {
            return self.leave(key, trace);
        };
        let is_new = claimed.is_empty() && self.anchor_row(&anchor)?.claimants.len() == 1;
        for other in claimed.into_iter().filter(|other| *other != anchor) {
            self.settle_anchor(&other, trace)?;
        }
        self.settle_for(&anchor, Some(&person), is_new, trace)
    }

    /// Takes an object that takes no part out of the wishes it had a part in.
    fn leave(&mut self, key: ObjectKey, trace: Option<&str>) -> Result<()> {
        self.set_finding(key, None)?;
        let claimed = self.claim(key)?.map(|claim| claim.anchor);
        let adopted = self.adopted(key)?.map(|adopted| adopted.anchor);
        let stood = self.stands_for(key)?;
        let all: BTreeSet<SourceAnchor> = claimed.into_iter().chain(adopted).chain(stood).collect();
        for anchor in all {
            self.settle_anchor(&anchor, trace)?;
        }
        Ok(())
    }

    /// Every anchor that a member of a person was given, took over or is part of now.
    fn anchors_of(&mut self, person: &Person) -> Result<BTreeSet<SourceAnchor>> {
        let mut all = BTreeSet::new();
        for member in &person.members {
            all.extend(self.claim(member.key)?.map(|claim| claim.anchor));
            if self.meta.adopted + self.meta.stands > 0 {
                all.extend(self.adopted(member.key)?.map(|adopted| adopted.anchor));
                all.extend(self.stands_for(member.key)?);
            }
        }
        Ok(all)
    }

    fn settle_anchor(&mut self, anchor: &SourceAnchor, trace: Option<&str>) -> Result<()> {
        self.settle_for(anchor, None, false, trace)
    }

    /// Finds out who stands for an anchor, and brings its wish up to date. `person` is one that does, as far as it is up
    /// to it: of several that were given the same anchor, the one that was given it first has it.
    fn settle_for(
        &mut self,
        anchor: &SourceAnchor,
        person: Option<&Person>,
        is_new: bool,
        trace: Option<&str>,
    ) -> Result<()> {
        let row = self.anchor_row(anchor)?;
        if let Some(person) = person.filter(|_| row.claimants.len() <= 1 && row.adopters.is_empty()) {
            return self.stand(anchor, person, is_new, trace);
        }
        let mut winner: Option<Person> = None;
        let candidates = row.claimants.iter().map(|claimant| claimant.object).chain(row.adopters.iter().copied());
        for candidate in candidates.collect::<Vec<_>>() {
            if winner.as_ref().is_some_and(|winner| winner.is_of(candidate)) {
                continue;
            }
            let of = if let Some(person) = person.filter(|person| person.is_of(candidate)) {
                person.clone()
            } else {
                let row = self.object(candidate)?.map(Rc::new);
                match self.together(candidate, row.as_ref())? {
                    Together::Is(of) => of,
                    Together::Later => return Ok(()),
                    Together::Nobody => continue,
                }
            };
            let given = self.given;
            if self.anchor_of(&of)?.as_ref() != Some(anchor) {
                if self.given != given {
                    // they got another one just now, and nobody has seen to its wish
                    for member in &of.members {
                        self.add_work(Work::new(WorkKind::Evaluate, member.key));
                    }
                }
                continue;
            }
            match &winner {
                Some(winner) => {
                    let taken = self.taken_by(winner);
                    for member in &of.members {
                        self.set_finding(member.key, Some(taken.clone()))?;
                    }
                }
                None => winner = Some(of),
            }
        }
        match winner {
            Some(winner) => self.stand(anchor, &winner, is_new, trace),
            None => self.set_wish(anchor, None, is_new, trace),
        }
    }

    /// Lets a person stand for an anchor.
    fn stand(&mut self, anchor: &SourceAnchor, person: &Person, is_new: bool, trace: Option<&str>) -> Result<()> {
        let (wish, mut finding) = self.compose(anchor, person)?;
        for (at, member) in person.members.iter().enumerate() {
            let mut own = if at == 0 { finding.take().unwrap_or_default() } else { FindingRow::default() };
            if let Some(doubt) = member.doubt {
                own.messages.push(self.doubt(doubt));
            }
            let own = (own != FindingRow::default()).then_some(own);
            self.set_finding(member.key, own)?;
        }
        self.set_wish(anchor, Some(&wish), is_new, trace)
    }

    fn doubt(&self, doubt: JoinDoubt) -> String {
        let joins = &self.plan.config.rules.joins;
        match doubt {
            JoinDoubt::Ambiguous(rule) => format!(
                "the join rule {} finds several objects of one forest with the same value, and joins none of them; make \
                 the value unique in each forest",
                joins.name(rule)
            ),
            JoinDoubt::Contradicting(rule) => format!(
                "the join rule {} finds an object that an earlier rule joins with another one of the same forest; \
                 correct one of the values",
                joins.name(rule)
            ),
        }
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

    pub(crate) fn give_anchor(&mut self, key: ObjectKey, row: &ObjectRow) -> Result<Claim> {
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
        self.given += 1;
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

    fn taken_by(&self, winner: &Person) -> FindingRow {
        let Some(other) = winner.members.first().map(|member| member.key) else { return FindingRow::default() };
        let forest = self.plan.source(other.source).map_or("another", |source| source.config.forest.as_str());
        let message = format!(
            "object {} of forest {forest} has the same source anchor and had it first; give one of them another \
             ms-DS-ConsistencyGuid",
            other.guid
        );
        FindingRow { blocking: true, messages: vec![message], rules: Vec::new() }
    }

    // ---- wishes

    fn compose(&mut self, anchor: &SourceAnchor, person: &Person) -> Result<(Wish, Option<FindingRow>)> {
        let Some(first) = person.members.first().cloned() else { return Err(self.txn.store.damaged(NOBODY.into())) };
        let (key, row) = (first.key, &first.row);
        let dn = self.name_of(key, &row.dn, row.parent)?;
        let root = self.plan.source(key.source).map(|source| source.config.naming_context.clone()).unwrap_or_default();
        let merged;
        let attributes = if person.members.len() == 1 {
            &row.attributes
        } else {
            merged = person.attributes(&self.plan.config.rules.precedence);
            &merged
        };
        let rules = &self.plan.config.rules;
        let forest = self.plan.source(key.source).map_or("", |source| source.config.forest.as_str());
        let is_expired = self.is_expired(key, row)?;
        let tenant = self.tenant.clone();
        let mut subject = Subject::new(attributes, &dn, &root).identified(key.guid, anchor, forest);
        (subject.is_expired, subject.tenant) = (is_expired, tenant.as_deref());
        let flowed = rules.flow.flow(row.class, &subject);
        let unique = unique_values(row.class, attributes);
        let mut found = check(row.class, &dn, attributes, &rules.hygiene);
        if let Some(tenant) = tenant.as_deref().filter(|tenant| row.class.is_user() && !tenant.verified.is_empty()) {
            let principal = row.values("userPrincipalName").first().and_then(AttributeValue::as_text);
            found.extend(principal.and_then(|name| unverified_suffix(name, &tenant.verified)));
        }
        let (manager, owner) = match flowed.class {
            CloudClass::User => (self.reference(person, LinkKind::Manager)?, None),
            CloudClass::Group => (None, self.reference(person, LinkKind::ManagedBy)?),
            _ => (None, None),
        };
        let mut joined: Vec<ObjectKey> = person.members.iter().skip(1).map(|member| member.key).collect();
        joined.sort_unstable();
        let mut wish = Wish {
            object: key,
            class: flowed.class,
            blocked: flowed.problems.iter().any(|problem| problem.kind == ProblemKind::Blocking),
            attributes: to_stored(flowed.attributes),
            at_creation: to_stored(flowed.at_creation),
            ignored: flowed.ignored,
            manager,
            owner,
            not_writable: flowed.not_writable,
            joined,
            unique: hashes(&unique),
            by: self.in_scope_by(person)?,
        };
        let mut messages: Vec<String> = flowed.problems.iter().map(describe).collect();
        if is_large(&wish) && crate::rows::encode(&wish).len() > MAX_VALUE {
            wish.blocked = true;
            messages.push("the object's values are larger than a projection holds; shorten them".into());
        }
        if wish.blocked {
            wish.attributes.clear();
            wish.at_creation.clear();
            wish.not_writable.clear();
            (wish.manager, wish.owner) = (None, None);
        }
        messages.truncate(20);
        found.extend(self.duplicates(anchor, &unique, &wish.unique)?);
        found.truncate(50);
        let rules = found.into_iter().map(Finding::into_event).collect();
        let finding = FindingRow { blocking: wish.blocked, messages, rules };
        Ok((wish, (finding != FindingRow::default()).then_some(finding)))
    }

    /// What is wished for an anchor. A round reads it once, however many memberships and references lead to it.
    pub(crate) fn wish(&mut self, anchor: &SourceAnchor) -> Result<Option<Rc<Wish>>> {
        if let Some(known) = self.wishes.get(anchor) {
            return Ok(known.clone());
        }
        let wish = self.read(&keys::of_anchor(keys::WISH, anchor))?.map(Rc::new);
        self.wishes.insert(anchor.clone(), wish.clone());
        Ok(wish)
    }

    /// [`Round::wish`] for whoever needs it for himself.
    pub(crate) fn own_wish(&mut self, anchor: &SourceAnchor) -> Result<Option<Wish>> {
        match self.wishes.get(anchor) {
            Some(known) => Ok(known.as_deref().cloned()),
            None => self.read(&keys::of_anchor(keys::WISH, anchor)),
        }
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
        let old = old.as_deref();
        if old == wish {
            return Ok(());
        }
        self.count_wish(old, wish);
        self.note_lost(anchor, old, wish)?;
        self.set_unique(anchor, old, wish)?;
        let face = |wish: &Wish| (wish.objects().collect::<Vec<_>>(), wish.class, wish.blocked);
        if old.map(face) != wish.map(face) {
            self.set_stands(anchor, old, wish)?;
            let left = |object: &ObjectKey| !wish.is_some_and(|wish| wish.is_of(*object));
            for object in old.into_iter().flat_map(Wish::objects).filter(left) {
                self.touch_left(anchor, object)?;
            }
            if !self.is_sweeping || self.plan.config.rules.scope.primary_groups {
                for object in old.into_iter().chain(wish).flat_map(Wish::objects) {
                    self.add_work(Work::new(WorkKind::Expand, object));
                }
            }
        }
        self.wishes.remove(anchor);
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
            // a source whose objects are all part of others' wishes is not empty
            for object in wish.objects() {
                adjust(counters.projected_by_source.entry(object.source).or_default(), !there, there);
            }
            for entry in &wish.by {
                adjust_at(&mut counters.projected_by, entry, there);
            }
        }
    }

    pub(crate) fn add_outbox(&mut self, row_key: Vec<u8>, trace: Option<&str>) -> Result<()> {
        if !self.txn.has(&row_key)? {
            self.meta.counters.outbox += 1;
            self.txn.put(row_key, store::encode(&trace.map(str::to_owned)));
        }
        Ok(())
    }

    /// Takes a row out of the outbox that is no news.
    pub(crate) fn drop_outbox(&mut self, row_key: Vec<u8>) -> Result<()> {
        if self.set(row_key, None)? {
            self.meta.counters.outbox = self.meta.counters.outbox.saturating_sub(1);
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

    /// Keeps it known which objects are part of a wish that is not their own anchor's.
    fn set_stands(&mut self, anchor: &SourceAnchor, old: Option<&Wish>, new: Option<&Wish>) -> Result<()> {
        let is_foreign = |object: &ObjectKey| SourceAnchor::from_guid(object.guid) != *anchor;
        let in_new = |object: &ObjectKey| new.is_some_and(|wish| wish.is_of(*object));
        for object in old.into_iter().flat_map(Wish::objects).filter(|o| is_foreign(o) && !in_new(o)) {
            let row_key = keys::of_object(keys::STAND, object);
            if self.read::<SourceAnchor>(&row_key)?.as_ref() == Some(anchor) {
                self.txn.delete(row_key);
                self.meta.stands = self.meta.stands.saturating_sub(1);
            }
        }
        for object in new.into_iter().flat_map(Wish::objects).filter(is_foreign) {
            let before = self.set(keys::of_object(keys::STAND, object), Some(store::encode(anchor)))?;
            adjust(&mut self.meta.stands, before, true);
        }
        Ok(())
    }

    /// The anchor whose wish an object is part of.
    pub(crate) fn stands_for(&mut self, key: ObjectKey) -> Result<Option<SourceAnchor>> {
        if self.meta.stands > 0
            && let Some(anchor) = self.read::<SourceAnchor>(&keys::of_object(keys::STAND, key))?
        {
            return Ok(Some(anchor));
        }
        let own = SourceAnchor::from_guid(key.guid);
        Ok(self.wish(&own)?.filter(|wish| wish.is_of(key)).map(|_| own))
    }

    pub(crate) fn set_waiting(&mut self, from: ObjectKey, kind: LinkKind, to: ObjectGuid, waits: bool) -> Result<()> {
        let value = waits.then(|| store::Value::from(&EMPTY[..]));
        let before = self.set(keys::edge(keys::WAITING, from, kind, to), value)?;
        adjust(&mut self.meta.counters.waiting, before, waits);
        Ok(())
    }

    /// Whether references may name an anchor: it is wished, or what was written of it stays because it is blocked.
    pub(crate) fn standing(&mut self, anchor: &SourceAnchor) -> Result<Option<Rc<Wish>>> {
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
