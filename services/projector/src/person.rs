//! Which objects are one, and which anchor they have together.
//!
//! Who belongs together is a function of the objects that take part ([`JoinRules::partition`]), found through an index of
//! what the rules compare. The anchor of those who do is a decision and stays: an object that is joined takes over the
//! anchor that is there, and keeps it for as long as nobody else has it, even if the object it came from goes.
//!
//! [`JoinRules::partition`]: forestsync_rules::join::JoinRules::partition

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use forestsync_domain::{AttributeValue, Attributes, SourceAnchor};
use forestsync_rules::classify::DirectoryClass;
use forestsync_rules::join::{Candidate, JoinDoubt, JoinKey, RuleTag, Side};
use forestsync_rules::precedence::{Contributor, Precedence};
use forestsync_schemas::decisions::{DecisionEvent, JoinBroken, JoinMade};

use crate::eligible::Eligible;
use crate::keys::{self, ObjectKey};
use crate::round::Round;
use crate::rows::{Adopted, ObjectRow};
use crate::work::{Work, WorkKind};
use crate::{StoreError, store};

type Result<T> = std::result::Result<T, StoreError>;

/// Objects that may be connected by rules. Beyond, they are not one person but a mistake in the data.
const MAX_CLUSTER: usize = 64;
/// Objects that share a value and are looked at.
const MAX_SHARING: usize = 64;

/// A [`JoinKey`] as it is stored.
type StoredKey = ([u8; 4], [u8; 16], u8);

/// An object that takes part, with its row.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) key: ObjectKey,
    pub(crate) row: Rc<ObjectRow>,
    /// It cannot stand alone.
    pub(crate) is_partner: bool,
    /// The rule that joined it.
    pub(crate) rule: Option<RuleTag>,
    pub(crate) doubt: Option<JoinDoubt>,
}

/// Objects that are one; mostly one object.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    /// The one that says how to sign in comes first; at least one.
    pub(crate) members: Vec<Member>,
    /// The orders of the members by [`Precedence::orders`].
    pub(crate) orders: Vec<Vec<usize>>,
}

/// Whether who belongs together can be told now.
#[derive(Debug)]
pub(crate) enum Together {
    Is(Person),
    /// One of them is still to be looked at, and all of them then.
    Later,
    /// The object takes no part.
    Nobody,
}

impl Person {
    pub(crate) fn is_of(&self, key: ObjectKey) -> bool {
        self.members.iter().any(|member| member.key == key)
    }

    fn rank(class: DirectoryClass) -> u8 {
        match class {
            DirectoryClass::Contact => 0,
            _ => 1,
        }
    }

    /// Whether an object's anchor may be that of the person: contacts give none to a user.
    fn may_give(&self, member: &Member) -> bool {
        let best = self.members.iter().map(|member| Self::rank(member.row.class)).max();
        Some(Self::rank(member.row.class)) == best
    }

    /// What they say together: of each attribute the values of the first member that has any.
    pub(crate) fn attributes(&self, precedence: &Precedence) -> Attributes {
        let mut merged = Attributes::new();
        let names: BTreeSet<&String> = self.members.iter().flat_map(|member| member.row.attributes.keys()).collect();
        for name in names {
            if let Some(member) = self.giver(precedence, name) {
                merged.insert(name.clone(), member.row.values(name).to_vec());
            }
        }
        merged
    }

    /// The member whose values of an attribute count.
    pub(crate) fn giver(&self, precedence: &Precedence, name: &str) -> Option<&Member> {
        let has_value = |member: &&Member| member.row.values(name).iter().any(|value| !is_blank(value));
        match self.orders.get(precedence.order_of(name)) {
            Some(order) => order.iter().filter_map(|at| self.members.get(*at)).find(has_value),
            // where nothing is joined nobody is asked for an order
            None => self.members.first().filter(has_value),
        }
    }
}

fn is_blank(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::Text(text) => text.trim().is_empty(),
        AttributeValue::Binary(bytes) => bytes.is_empty(),
    }
}

/// Whether an account's flags say that it is enabled (MS-ADTS 2.2.16, ADS_UF_ACCOUNT_DISABLE).
fn is_enabled(row: &ObjectRow) -> bool {
    let flags = row.values("userAccountControl").first().and_then(AttributeValue::as_text);
    flags.and_then(|text| text.trim().parse::<i64>().ok()).is_some_and(|flags| flags & 2 == 0)
}

impl Round<'_> {
    fn has_joins(&self) -> bool {
        !self.plan.config.rules.joins.is_empty()
    }

    // ---- the index of what is compared

    /// Brings the index up to what an object says now, and notes whoever that concerns. `row` is none for an object that
    /// takes no part.
    pub(crate) fn note_join_keys(&mut self, key: ObjectKey, row: Option<&ObjectRow>) -> Result<()> {
        let rules = &self.plan.config.rules.joins;
        let row_key = keys::of_object(keys::JOIN_OF, key);
        let old: Vec<JoinKey> = self.join_keys(key)?;
        let new = row.map(|row| rules.keys(row.class, |name| row.values(name))).unwrap_or_default();
        if old == new {
            return Ok(());
        }
        let before = if old.is_empty() { BTreeMap::new() } else { self.cluster(key)? };
        for gone in old.iter().filter(|join| !new.contains(join)) {
            self.txn.delete(keys::join_key(gone, key));
        }
        for come in new.iter().filter(|join| !old.contains(join)) {
            self.txn.put(keys::join_key(come, key), &crate::rows::EMPTY[..]);
        }
        if new.is_empty() {
            self.txn.delete(row_key);
        } else {
            let stored: Vec<_> = new.iter().map(|join| (join.rule.0, join.value, join.side as u8)).collect();
            self.txn.put(row_key, store::encode(&stored));
        }
        if self.is_indexing {
            return Ok(());
        }
        let mut concerned: BTreeSet<ObjectKey> = before.into_keys().collect();
        if !new.is_empty() {
            concerned.extend(self.cluster(key)?.into_keys());
        }
        // those of an ambiguous value are in no cluster; the finding of each may have ended or begun
        for join in old.iter().chain(&new) {
            for (_, other) in self.sharing(join)? {
                if concerned.insert(other) {
                    // whom another rule connects with it may have to go on without it, and may have waited for it only
                    concerned.extend(self.cluster(other)?.into_keys());
                }
            }
        }
        for other in concerned.into_iter().filter(|other| *other != key) {
            self.add_work(Work::new(WorkKind::Evaluate, other));
        }
        Ok(())
    }

    fn join_keys(&mut self, key: ObjectKey) -> Result<Vec<JoinKey>> {
        let stored: Option<Vec<StoredKey>> = self.read(&keys::of_object(keys::JOIN_OF, key))?;
        let join = |(rule, value, side)| Some(JoinKey { rule: RuleTag(rule), value, side: Side::from_number(side)? });
        Ok(stored.unwrap_or_default().into_iter().filter_map(join).collect())
    }

    fn sharing(&mut self, join: &JoinKey) -> Result<Vec<(Side, ObjectKey)>> {
        let rows = self.txn.scan(&keys::join_value(join), None, MAX_SHARING)?;
        Ok(rows.iter().filter_map(|(row_key, _)| keys::read_join(row_key)).collect())
    }

    fn forest_of(&self, key: ObjectKey) -> usize {
        self.plan.source(key.source).map_or(usize::MAX, |source| source.forest)
    }

    /// The objects that a value brings together, and whether there are too many of one forest.
    fn matched(&mut self, join: &JoinKey) -> Result<(Vec<ObjectKey>, bool)> {
        let sharing = self.sharing(join)?;
        let candidates: Vec<Candidate> = sharing
            .iter()
            .map(|(side, key)| {
                let keys = vec![JoinKey { side: *side, ..*join }];
                Candidate { forest: self.forest_of(*key), keys }
            })
            .collect();
        let partition = self.plan.config.rules.joins.partition(&candidates);
        let doubted = (0..candidates.len()).any(|at| partition.doubt(at).is_some());
        let is_matched = |at: &usize| partition.rule(*at).is_some() || partition.doubt(*at).is_some();
        let of = (0..candidates.len()).filter(is_matched).filter_map(|at| sharing.get(at).map(|(_, key)| *key));
        Ok((of.collect(), doubted || sharing.len() >= MAX_SHARING))
    }

    /// The objects that rules connect with one, itself included, each with what it is found by and no doubt about.
    fn cluster(&mut self, key: ObjectKey) -> Result<BTreeMap<ObjectKey, Candidate>> {
        let mut cluster = BTreeMap::new();
        let mut open = vec![key];
        while let Some(next) = open.pop() {
            if cluster.contains_key(&next) || cluster.len() >= MAX_CLUSTER {
                continue;
            }
            let mut candidate = Candidate { forest: self.forest_of(next), keys: Vec::new() };
            for join in self.join_keys(next)? {
                let (of, is_ambiguous) = self.matched(&join)?;
                if !is_ambiguous {
                    candidate.keys.push(join);
                    open.extend(of);
                }
            }
            cluster.insert(next, candidate);
        }
        Ok(cluster)
    }

    /// Why a rule that finds an object does not join it, if a value of it is ambiguous.
    fn ambiguity(&mut self, key: ObjectKey) -> Result<Option<JoinDoubt>> {
        for join in self.join_keys(key)? {
            let (of, is_ambiguous) = self.matched(&join)?;
            if is_ambiguous && of.contains(&key) {
                return Ok(Some(JoinDoubt::Ambiguous(join.rule)));
            }
        }
        Ok(None)
    }

    // ---- who belongs together

    /// Those that an object belongs together with. `row` is what the mirror holds of it.
    pub(crate) fn together(&mut self, key: ObjectKey, row: Option<&Rc<ObjectRow>>) -> Result<Together> {
        let eligible = self.eligible(key, row.map(Rc::as_ref))?;
        let Some(row) = row.filter(|_| matches!(eligible, Eligible::Yes | Eligible::Partner)) else {
            return Ok(Together::Nobody);
        };
        let own = |row: &Rc<ObjectRow>| Member {
            key,
            row: Rc::clone(row),
            is_partner: eligible == Eligible::Partner,
            rule: None,
            doubt: None,
        };
        if !self.has_joins() {
            return Ok(Together::Is(Person { members: vec![own(row)], orders: Vec::new() }));
        }
        let cluster = self.cluster(key)?;
        if cluster.len() == 1 {
            let member = Member { doubt: self.ambiguity(key)?, ..own(row) };
            return Ok(Together::Is(self.in_order(vec![member])));
        }
        let keys: Vec<ObjectKey> = cluster.keys().copied().collect();
        let candidates: Vec<Candidate> = cluster.into_values().collect();
        let partition = self.plan.config.rules.joins.partition(&candidates);
        let Some(at) = keys.iter().position(|other| *other == key) else { return Ok(Together::Nobody) };
        let mut members = Vec::new();
        for other in partition.together_with(at) {
            let Some(of) = keys.get(other).copied() else { continue };
            let (rule, mut doubt) = (partition.rule(other), partition.doubt(other));
            if doubt.is_none() {
                doubt = self.ambiguity(of)?;
            }
            if of == key {
                members.push(Member { rule, doubt, ..own(row) });
                continue;
            }
            if self.txn.has(&keys::of_object(keys::DIRTY, of))? {
                return Ok(Together::Later);
            }
            let Some(row) = self.object(of)?.map(Rc::new) else { continue };
            match self.eligible(of, Some(row.as_ref()))? {
                Eligible::Yes => members.push(Member { key: of, row, is_partner: false, rule, doubt }),
                Eligible::Partner => members.push(Member { key: of, row, is_partner: true, rule, doubt }),
                // the index has it, so its end is still to be looked at
                _ => return Ok(Together::Later),
            }
        }
        Ok(Together::Is(self.in_order(members)))
    }

    fn in_order(&self, mut members: Vec<Member>) -> Person {
        let precedence = &self.plan.config.rules.precedence;
        members.sort_by_key(|member| member.key);
        let contributors = |members: &[Member]| -> Vec<Contributor> {
            let contributor = |member: &Member| Contributor {
                class: member.row.class,
                forest: self.forest_of(member.key),
                is_enabled: is_enabled(&member.row) && !member.is_partner,
                has_mailbox: member.row.values("mailNickname").iter().any(|value| !is_blank(value)),
            };
            members.iter().map(contributor).collect()
        };
        if members.len() > 1 {
            let first = precedence.orders(&contributors(&members));
            if let Some(order) = first.get(Precedence::SIGN_IN) {
                members = order.iter().filter_map(|at| members.get(*at).cloned()).collect();
            }
        }
        let orders = precedence.orders(&contributors(&members));
        Person { members, orders }
    }

    // ---- their anchor

    /// The anchor that a person has, or gets now; none if nobody in it can stand alone. Says what changes.
    pub(crate) fn anchor_of(&mut self, person: &Person) -> Result<Option<SourceAnchor>> {
        let anchor = if let Some(anchor) = self.anchor_there(person)? {
            anchor
        } else {
            let giver = person.members.iter().find(|member| !member.is_partner && person.may_give(member));
            let Some(giver) = giver else { return Ok(None) };
            self.give_anchor(giver.key, &giver.row)?.anchor
        };
        if self.has_joins() {
            for member in &person.members {
                self.adopt(member, &anchor, person.members.len() > 1)?;
            }
        }
        Ok(Some(anchor))
    }

    /// The anchor that a person has already.
    fn anchor_there(&mut self, person: &Person) -> Result<Option<SourceAnchor>> {
        // a linked mailbox whose account is gone stands no better with a contact than alone
        if !person.members.iter().any(|member| !member.is_partner && person.may_give(member)) {
            return Ok(None);
        }
        let mut best: Option<((bool, u64), SourceAnchor)> = None;
        for member in &person.members {
            if let Some(adopted) = self.adopted(member.key)?
                && !self.is_claimed_elsewhere(&adopted.anchor, person)?
                && self.may_stand(person, &adopted.anchor)?
            {
                let first = self.anchor_row(&adopted.anchor)?.claimants.first().map_or(u64::MAX, |c| c.sequence);
                better(&mut best, (false, first), adopted.anchor);
            }
            if let Some(claim) = self.claim(member.key)?.filter(|_| person.may_give(member)) {
                better(&mut best, (true, claim.sequence), claim.anchor);
            }
        }
        Ok(best.map(|(_, anchor)| anchor))
    }

    /// Whether an anchor's objects are of the person's kind: where a user is gone, the contacts joined with it are no user,
    /// and its cloud user goes as well.
    fn may_stand(&mut self, person: &Person, anchor: &SourceAnchor) -> Result<bool> {
        if person.members.iter().any(|member| Person::rank(member.row.class) > 0) {
            return Ok(true);
        }
        for claimant in self.anchor_row(anchor)?.claimants {
            if self.object(claimant.object)?.is_none_or(|row| Person::rank(row.class) > 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether an object that was given an anchor and is not of the person takes part.
    fn is_claimed_elsewhere(&mut self, anchor: &SourceAnchor, person: &Person) -> Result<bool> {
        for claimant in self.anchor_row(anchor)?.claimants {
            if person.is_of(claimant.object) {
                continue;
            }
            let row = self.object(claimant.object)?;
            if matches!(self.eligible(claimant.object, row.as_ref())?, Eligible::Yes | Eligible::Partner) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn adopted(&mut self, key: ObjectKey) -> Result<Option<Adopted>> {
        if self.meta.adopted == 0 {
            return Ok(None);
        }
        self.read(&keys::of_object(keys::ADOPTED, key))
    }

    /// Lets an object stand for an anchor, or for its own again.
    fn adopt(&mut self, member: &Member, anchor: &SourceAnchor, is_joined: bool) -> Result<()> {
        let adopted = self.adopted(member.key)?;
        let is_own = self.claim(member.key)?.is_some_and(|claim| claim.anchor == *anchor);
        if adopted.as_ref().is_some_and(|adopted| adopted.anchor == *anchor) || (is_own && adopted.is_none()) {
            return Ok(());
        }
        let rule = member.rule.map(|rule| self.plan.config.rules.joins.name(rule).to_owned()).unwrap_or_default();
        if let Some(adopted) = adopted {
            self.say_broken(member.key, adopted.anchor.clone());
            self.set_adopted(member.key, None)?;
        }
        if !is_own && is_joined {
            if let Some(source) = self.plan.source(member.key.source).filter(|_| self.decides) {
                self.decisions.push(DecisionEvent::JoinMade(JoinMade {
                    anchor: anchor.clone(),
                    forest: source.config.forest.clone(),
                    naming_context: source.config.naming_context.clone(),
                    object: member.key.guid,
                    rule: rule.clone(),
                }));
            }
            self.set_adopted(member.key, Some(Adopted { anchor: anchor.clone(), rule }))?;
        }
        Ok(())
    }

    fn say_broken(&mut self, key: ObjectKey, anchor: SourceAnchor) {
        if let Some(source) = self.plan.source(key.source).filter(|_| self.decides) {
            self.decisions.push(DecisionEvent::JoinBroken(JoinBroken {
                anchor,
                forest: source.config.forest.clone(),
                naming_context: source.config.naming_context.clone(),
                object: key.guid,
            }));
        }
    }

    /// Writes down what anchor an object stands for by a join, on both sides.
    pub(crate) fn set_adopted(&mut self, key: ObjectKey, adopted: Option<Adopted>) -> Result<()> {
        self.given += 1;
        let row_key = keys::of_object(keys::ADOPTED, key);
        let old: Option<Adopted> = self.read(&row_key)?;
        if let Some(old) = &old {
            let mut row = self.anchor_row(&old.anchor)?;
            row.adopters.retain(|other| *other != key);
            self.put_anchor_row(&old.anchor, &row);
        }
        crate::rows::adjust(&mut self.meta.adopted, old.is_some(), adopted.is_some());
        match adopted {
            Some(adopted) => {
                let mut row = self.anchor_row(&adopted.anchor)?;
                row.adopters.push(key);
                row.adopters.sort_unstable();
                self.put_anchor_row(&adopted.anchor, &row);
                self.txn.put(row_key, store::encode(&adopted));
            }
            None if old.is_some() => self.txn.delete(row_key),
            None => {}
        }
        Ok(())
    }
}

/// Keeps the better of two anchors: those taken over before those given, and of these the one that was given first.
fn better(best: &mut Option<((bool, u64), SourceAnchor)>, order: (bool, u64), anchor: SourceAnchor) {
    if best.as_ref().is_none_or(|(known, _)| order < *known) {
        *best = Some((order, anchor));
    }
}
