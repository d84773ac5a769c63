//! What follows from a change of the ledger: counts, lists, and whose turn comes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use forestsync_domain::SourceAnchor;
use forestsync_rules::quarantine::Failing;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::{DriftPolicy, Operation};

use super::Engine;
use super::failures::due_now;
use super::fold::unknown;
use super::guard::Kind;
use super::pending::{Links, Presence};
use super::turn::Note;
use crate::error::ProvisionerError;
use crate::status::{DriftItem, DriftPlace, HeldItem, QuarantinedItem};
use crate::store::{Changed, EdgeRow, Failed, Held, ObjectRow, Removal, Removed, StoreError};

/// Indexes over the ledger, kept in memory and rebuilt when it is opened.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Objects the tenant holds, by class.
    pub managed: BTreeMap<CloudClass, u64>,
    /// Wished objects that Graph cannot write, by class.
    pub not_writable: BTreeMap<CloudClass, u64>,
    /// Objects to be deleted, by class.
    pub leaving: BTreeMap<CloudClass, BTreeSet<SourceAnchor>>,
    /// What guards judge, with the offset since which it is wished.
    pub guarded: BTreeMap<Kind, BTreeMap<SourceAnchor, u64>>,
    /// Counts the changes of `guarded`.
    pub guarded_version: u64,
    pub held: BTreeMap<(SourceAnchor, Operation), HeldItem>,
    pub quarantined: BTreeMap<(SourceAnchor, Operation), QuarantinedItem>,
    /// Memberships that rest: group and member.
    pub quarantined_edges: HashSet<(SourceAnchor, SourceAnchor)>,
    /// Memberships to be written, by group.
    pub links: HashMap<SourceAnchor, Links>,
    /// Users that wait for this one to become their manager, and groups their owner.
    pub reports: HashMap<SourceAnchor, BTreeSet<SourceAnchor>>,
    /// Objects that were refused a value, by the id of the tenant's object that has it.
    conflicts: HashMap<String, BTreeSet<SourceAnchor>>,
    /// Memberships that fail, resting or not.
    failing_edges: HashSet<(SourceAnchor, SourceAnchor)>,
    /// What fails, and of how many.
    pub failing: Failing,
    /// Removals of the guard's window, oldest first.
    pub window: VecDeque<Removal>,
    /// What others did in the tenant.
    pub drift: BTreeMap<(SourceAnchor, DriftPlace), DriftItem>,
}

fn add(counts: &mut BTreeMap<CloudClass, u64>, class: CloudClass, was: bool, is: bool) {
    let count = counts.entry(class).or_default();
    match (was, is) {
        (false, true) => *count += 1,
        (true, false) => *count = count.saturating_sub(1),
        _ => {}
    }
}

impl Index {
    fn object(&mut self, anchor: &SourceAnchor, before: Option<&ObjectRow>, now: &ObjectRow) {
        let mirror = |row: &ObjectRow| row.wish.as_ref().filter(|w| w.is_presence()).map(|w| w.class);
        if let Some(before) = before {
            add(&mut self.managed, before.class, before.is_managed(), false);
            if let Some(class) = mirror(before) {
                add(&mut self.not_writable, class, !class.is_writable(), false);
            }
        }
        add(&mut self.managed, now.class, false, now.is_managed());
        if let Some(class) = mirror(now) {
            add(&mut self.not_writable, class, false, !class.is_writable());
        }
        let leaving = self.leaving.entry(now.class).or_default();
        if now.is_leaving() {
            leaving.insert(anchor.clone());
        } else {
            leaving.remove(anchor);
        }
        self.guarded(anchor, before, now);
        self.fails(before, now);
        self.lists(anchor, now);
    }

    fn fails(&mut self, before: Option<&ObjectRow>, now: &ObjectRow) {
        let of = |row: &ObjectRow| {
            let concerns =
                row.is_leaving() || row.wish.as_ref().is_some_and(|w| w.is_presence() && w.class.is_writable());
            [row.failure().is_some(), row.lead_failure().is_some(), concerns].map(u64::from)
        };
        let (was, is) = (before.map(of).unwrap_or_default(), of(now));
        let Failing { objects, references, of: all } = &mut self.failing;
        for (count, (was, is)) in [objects, references, all].into_iter().zip(was.into_iter().zip(is)) {
            *count = (*count + is).saturating_sub(was);
        }
    }

    fn guarded(&mut self, anchor: &SourceAnchor, before: Option<&ObjectRow>, now: &ObjectRow) {
        let of = |row: &ObjectRow| -> Vec<(Kind, u64)> {
            let since = |operation| row.wish.as_ref().map_or(0, |wish| wish.since(operation));
            row.guarded().map(|operation| ((operation, row.class), since(operation))).collect()
        };
        let (was, is) = (before.map(of).unwrap_or_default(), of(now));
        if was == is {
            return;
        }
        self.guarded_version += 1;
        for (kind, _) in was {
            if let Some(all) = self.guarded.get_mut(&kind) {
                all.remove(anchor);
            }
        }
        for (kind, since) in is {
            self.guarded.entry(kind).or_default().insert(anchor.clone(), since);
        }
    }

    fn lists(&mut self, anchor: &SourceAnchor, now: &ObjectRow) {
        if let Some(other) = now.failure().and_then(|failed| failed.other.as_deref()) {
            self.conflicts.entry(holder_id(other).to_owned()).or_default().insert(anchor.clone());
        }
        let name = || now.wish.as_ref().map(|w| w.name.clone()).unwrap_or_default();
        let mine = (anchor.clone(), Operation::Create)..=(anchor.clone(), Operation::Join);
        let gone = self.held.range(mine).map(|(key, _)| key.clone()).filter(|(_, operation)| !now.is_held(*operation));
        for key in gone.collect::<Vec<_>>() {
            self.held.remove(&key);
        }
        for (operation, Held { cause, detail, join }) in &now.held {
            let item = HeldItem {
                anchor: anchor.clone(),
                class: now.class,
                operation: *operation,
                cause: *cause,
                name: name(),
                detail: detail.clone(),
                join: join.clone(),
            };
            self.held.insert((anchor.clone(), *operation), item);
        }
        self.drifted(anchor, now, name);
        // one place for all writes of the object itself, one for its manager or owner
        for (place, failed) in [(Operation::Update, now.failure()), (Operation::SetManager, now.lead_failure())] {
            let key = (anchor.clone(), place);
            match failed.filter(|f| f.quarantined) {
                Some(Failed { operation, code, attribute, .. }) => {
                    let item = QuarantinedItem {
                        anchor: anchor.clone(),
                        class: now.class,
                        operation: *operation,
                        name: name(),
                        code: code.clone(),
                        attribute: attribute.clone(),
                    };
                    self.quarantined.insert(key, item);
                }
                None => {
                    self.quarantined.remove(&key);
                }
            }
        }
    }

    /// Lists what others did to an object.
    fn drifted(&mut self, anchor: &SourceAnchor, now: &ObjectRow, name: impl Fn() -> String) {
        let mine = self.drift.range((anchor.clone(), DriftPlace::Deletion)..).take_while(|((of, _), _)| of == anchor);
        let old = mine.map(|(key, _)| key.clone()).filter(|(_, place)| !matches!(place, DriftPlace::Member(_)));
        for key in old.collect::<Vec<_>>() {
            self.drift.remove(&key);
        }
        let lost = now.lost.filter(|_| now.is_wished()).map(|lost| (DriftPlace::Deletion, lost.policy, lost.since));
        let attributes = now.drift_policies.iter();
        let attributes = attributes.map(|(name, (policy, at))| (DriftPlace::Attribute(name.clone()), *policy, *at));
        for (place, policy, since) in lost.into_iter().chain(attributes) {
            self.drift_at(anchor, now.class, name(), place, policy, since);
        }
    }

    fn drift_at(
        &mut self,
        anchor: &SourceAnchor,
        class: CloudClass,
        name: String,
        place: DriftPlace,
        policy: DriftPolicy,
        since: i64,
    ) {
        let since = jiff::Timestamp::from_millisecond(since).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let item = DriftItem { anchor: anchor.clone(), class, name, place: place.clone(), policy, since };
        self.drift.insert((anchor.clone(), place), item);
    }

    /// `presence` is that of the member.
    fn edge(&mut self, group: &SourceAnchor, member: &SourceAnchor, now: &EdgeRow, presence: Presence) {
        let wished = now.wish == Some(true);
        let (ins, outs) = (now.is_pending() && wished, now.is_pending() && !wished);
        if ins || outs {
            let links = self.links.entry(group.clone()).or_default();
            links.set_in(member, ins.then_some(presence));
            links.set_out(member, outs);
        } else if let Some(links) = self.links.get_mut(group) {
            links.set_in(member, None);
            links.set_out(member, false);
            if links.is_empty() {
                self.links.remove(group);
            }
        }
        let place = DriftPlace::Member(member.clone());
        match now.drift {
            Some(drift) => self.drift_at(group, CloudClass::Group, String::new(), place, drift.policy, drift.since),
            None => _ = self.drift.remove(&(group.clone(), place)),
        }
        let key = (group.clone(), member.clone());
        if now.is_pending() && now.failure().is_some() {
            self.failing.references += u64::from(self.failing_edges.insert(key.clone()));
        } else {
            self.failing.references -= u64::from(self.failing_edges.remove(&key));
        }
        if now.is_pending() && now.failure().is_some_and(|f| f.quarantined) {
            self.quarantined_edges.insert(key);
        } else {
            self.quarantined_edges.remove(&key);
        }
    }

    /// Removals of this kind in the guard's window.
    pub(super) fn removed(&self, what: &Removed, since: i64) -> u64 {
        self.window.iter().filter(|r| r.at >= since && r.what == *what).count() as u64
    }
}

/// The id in what an answer calls the holder of a value: `User_<id>`.
fn holder_id(other: &str) -> &str {
    other.rsplit_once('_').map_or(other, |(_, id)| id)
}

/// What others look at in an object.
fn face(row: &ObjectRow) -> (Option<&str>, bool, bool, bool) {
    (row.live_id(), row.is_wished(), row.is_coming(), row.is_held(Operation::Delete))
}

impl Engine {
    /// Rebuilds the indexes from the ledger; everybody has a turn.
    pub(super) fn rebuild_index(&mut self) -> Result<(), ProvisionerError> {
        for entry in self.store.objects() {
            let (anchor, row) = entry?;
            self.index.object(&anchor, None, &row);
            if let Some(id) = row.held.get(&Operation::Join).and_then(Held::joined) {
                self.claims.insert(id.to_owned(), anchor.clone());
            }
            self.ready.push(&anchor);
        }
        for entry in self.store.edges() {
            let (group, member, row) = entry?;
            let presence = self.presence(&member, &row)?;
            self.index.edge(&group, &member, &row, presence);
        }
        let mut window = self.store.removals()?;
        window.sort_by_key(|r| r.at);
        self.index.window = window.into();
        Ok(())
    }

    /// Gives every object a turn.
    pub(super) fn touch_all(&mut self) -> Result<(), ProvisionerError> {
        for entry in self.store.objects() {
            self.ready.push(&entry?.0);
        }
        Ok(())
    }

    /// Follows a change of the ledger.
    pub(super) fn observe(&mut self, changed: Changed) -> Result<(), ProvisionerError> {
        self.replace_managers(&changed)?;
        for (anchor, before, now) in &changed.objects {
            self.index.object(anchor, before.as_deref(), now);
            self.ready.push(anchor);
            self.free_values(before.as_deref(), now)?;
            let same = before.as_ref().is_some_and(|b| face(b) == face(now));
            if !same {
                self.wake_dependents(anchor, Presence::of(now))?;
            }
        }
        for (group, member, now) in &changed.edges {
            let presence = self.presence(member, now)?;
            self.index.edge(group, member, now, presence);
            self.ready.push(group);
            let leaving = self.index.leaving.values().any(|set| set.contains(member));
            if leaving && !now.may_be_there() {
                self.ready.push(member);
            }
        }
        self.index.window.extend(changed.removals);
        Ok(())
    }

    /// Whoever wants a value that this object had may have it now.
    fn free_values(&mut self, before: Option<&ObjectRow>, now: &ObjectRow) -> Result<(), ProvisionerError> {
        let Some(before) = before else { return Ok(()) };
        let Some(id) = before.cloud_id.as_ref().filter(|id| self.index.conflicts.contains_key(*id)) else {
            return Ok(());
        };
        if before.life == now.life && before.confirmed == now.confirmed {
            return Ok(());
        }
        for anchor in self.index.conflicts.remove(id).unwrap_or_default() {
            if let Some(failed) = self.store.object(&anchor)?.as_deref().and_then(ObjectRow::failure) {
                self.turn.note(Note::Object(anchor.clone(), due_now(failed)));
                self.turn.touch(&anchor);
            }
        }
        Ok(())
    }

    /// A user that was made anew is not the manager or owner that its predecessor was.
    fn replace_managers(&mut self, changed: &Changed) -> Result<(), ProvisionerError> {
        let anew = |before: &ObjectRow, now: &ObjectRow| {
            before.cloud_id.is_some() && now.cloud_id.is_some() && before.cloud_id != now.cloud_id
        };
        let of = changed.objects.iter().filter(|(_, before, now)| before.as_ref().is_some_and(|b| anew(b, now)));
        let managers: HashSet<&SourceAnchor> = of.map(|(anchor, ..)| anchor).collect();
        if managers.is_empty() {
            return Ok(());
        }
        for entry in self.store.objects() {
            let (report, row) = entry?;
            for owner in row.owners.iter().filter(|owner| managers.contains(owner)) {
                self.turn.touch(&report);
                self.turn.note(Note::OwnerGone(report.clone(), owner.clone()));
            }
            if row.manager.as_ref().is_some_and(|manager| managers.contains(manager)) {
                self.turn.touch(&report);
                self.turn.note(Note::Manager(report, Some(unknown())));
            }
        }
        Ok(())
    }

    /// That of the member of a membership, as far as anybody asks.
    fn presence(&self, member: &SourceAnchor, edge: &EdgeRow) -> Result<Presence, StoreError> {
        if !edge.is_pending() {
            return Ok(Presence::None);
        }
        Ok(self.store.object(member)?.map_or(Presence::None, |row| Presence::of(&row)))
    }

    fn wake_dependents(&mut self, anchor: &SourceAnchor, presence: Presence) -> Result<(), ProvisionerError> {
        if !self.index.links.is_empty() {
            for group in self.store.groups_of(anchor)? {
                let Some(links) = self.index.links.get_mut(&group) else { continue };
                // one of many to be added changes nothing before a request is full, or nobody else is expected
                let waits = links.is_in(anchor) && {
                    links.set_in(anchor, Some(presence));
                    !links.are_due()
                };
                let link = (group, anchor.clone());
                if !waits || self.index.failing_edges.contains(&link) || self.singly.contains(&link) {
                    self.ready.push(&link.0);
                }
            }
        }
        for report in self.index.reports.remove(anchor).unwrap_or_default() {
            self.ready.push(&report);
        }
        Ok(())
    }
}
