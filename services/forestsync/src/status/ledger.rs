//! What is wished and what became of it: a fold over `outcomes` and `desired`.
//!
//! Anchors are interned, so that a membership costs eight bytes and a tenant of a million objects fits into memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use anyhow::{Context as _, Result};
use forestsync_domain::SourceAnchor;
use forestsync_log::{Log, StreamName};
use forestsync_schemas::desired::{CloudClass, CloudValue, DesiredContext, DesiredEvent, ObjectDesired, SourceObject};
use forestsync_schemas::outcomes::{
    DriftPolicy, ExportError, ExportHeld, HeldJoin, HoldCause, Operation, OutcomeEvent,
};
use forestsync_schemas::{DesiredRecord, OutcomeRecord, streams};
use jiff::Timestamp;

use super::drift::{self, Drifting};
use super::{BATCH, ClassCount, Count, Issue, Lag, NotWritable, Quarantine, Stopped, name_of};

/// What to do about what is held.
const DECIDE: &str = "forestsync approve lets it go, forestsync reject keeps it as it is";

/// What both streams tell.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) classes: Vec<ClassCount>,
    pub(super) memberships: Count,
    pub(super) failed: Vec<Issue>,
    pub(super) held: Vec<Issue>,
    /// To be deleted later, and disabled until then.
    pub(super) deferred: Vec<Issue>,
    pub(super) quarantined: Vec<Issue>,
    pub(super) not_writable: NotWritable,
    pub(super) lag: Lag,
    /// Why the tenant takes nothing.
    pub(super) stopped: Option<Stopped>,
    /// That so much fails that it is written to from time to time only.
    pub(super) quarantine: Option<Quarantine>,
    /// For each `changes` stream how far the last wish had read.
    pub(super) offsets: BTreeMap<String, u64>,
    /// The last offset of `desired` that was read.
    pub(super) desired_offset: Option<u64>,
    /// What others did in the tenant.
    pub(super) drift: Drifting,
}

#[derive(Debug, Default)]
struct Object {
    desired: Option<CloudClass>,
    provisioned: Option<CloudClass>,
    /// Offset of the last wish, and of the last wish that took effect at least in part.
    wish: u64,
    answered: Option<u64>,
    /// What the last wish asks for, and what the one that took effect did: not every wish leads to a write.
    content: u64,
    answered_content: Option<u64>,
    /// Offset of the last removal: older memberships ended with it and have no record of their own.
    removed: Option<u64>,
    /// Attributes Graph cannot write; an empty list if it is the whole object.
    not_writable: Option<Vec<String>>,
    /// Whether it was ever said that something cannot be written.
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failed,
    Held(HoldCause),
    Deferred,
    Quarantined,
}

#[derive(Debug, Clone)]
struct Trouble {
    kind: Kind,
    class: CloudClass,
    error: Option<ExportError>,
    detail: String,
    attempts: u32,
    retry_at: Option<String>,
    desired_offset: u64,
    since: Timestamp,
    source: Option<SourceObject>,
    /// Of a join that is held.
    join: Option<HeldJoin>,
}

/// Whose trouble it is: object, operation, and of a membership the member.
type Place = (u32, Operation, Option<u32>);

#[derive(Debug, Default)]
struct Fold {
    index: HashMap<SourceAnchor, u32>,
    objects: Vec<Object>,
    /// Wished memberships with the offset of their wish.
    wished_links: HashMap<(u32, u32), u64>,
    links: HashSet<(u32, u32)>,
    troubles: BTreeMap<Place, Trouble>,
    stopped: Option<Stopped>,
    quarantine: Option<Quarantine>,
    last: Option<DesiredContext>,
    desired_offset: Option<u64>,
    drift: drift::Fold,
}

/// Reads both streams.
pub(super) async fn gather(log: &dyn Log, configuration: &str) -> Result<Ledger> {
    let mut fold = Fold::default();
    let outcomes: StreamName = streams::outcomes(configuration).parse()?;
    let mut reader = log.reader(&outcomes, 0).await?;
    loop {
        let records = reader.poll(BATCH).await?;
        if records.is_empty() {
            break;
        }
        for record in records {
            let place = || format!("stream {outcomes} offset {}", record.offset);
            fold.outcome(OutcomeRecord::decode(&record.value).with_context(place)?);
        }
    }
    let desired: StreamName = streams::desired(configuration).parse()?;
    let mut reader = log.reader(&desired, 0).await?;
    loop {
        let records = reader.poll(BATCH).await?;
        if records.is_empty() {
            break;
        }
        for record in records {
            let place = || format!("stream {desired} offset {}", record.offset);
            fold.wish(record.offset, DesiredRecord::decode(&record.value).with_context(place)?);
        }
    }
    Ok(fold.finish())
}

impl Fold {
    fn intern(&mut self, anchor: &SourceAnchor) -> u32 {
        if let Some(index) = self.index.get(anchor) {
            return *index;
        }
        let index = self.objects.len() as u32;
        self.index.insert(anchor.clone(), index);
        self.objects.push(Object::default());
        index
    }

    fn object(&mut self, index: u32) -> Option<&mut Object> {
        self.objects.get_mut(index as usize)
    }

    fn outcome(&mut self, record: OutcomeRecord) {
        let (class, offset, since) = (record.context.class, record.context.desired_offset, record.time);
        self.drift.outcome(&record);
        match record.event {
            OutcomeEvent::ExportStopped(stopped) => {
                self.stopped = Some(Stopped {
                    cause: name_of(&stopped.cause),
                    detail: stopped.detail,
                    hint: stopped.hint,
                    since: record.time.to_string(),
                });
                return;
            }
            OutcomeEvent::ExportResumed(_) => {
                self.stopped = None;
                return;
            }
            OutcomeEvent::ConfigurationQuarantined(e) => {
                let since = self.quarantine.take().map_or_else(|| record.time.to_string(), |before| before.since);
                self.quarantine = Some(Quarantine {
                    cause: name_of(&e.cause),
                    failing: e.failing,
                    references: e.references,
                    objects: e.objects,
                    retry_at: e.retry_at.to_string(),
                    since,
                });
                return;
            }
            OutcomeEvent::ConfigurationRecovered(_) => {
                self.quarantine = None;
                return;
            }
            OutcomeEvent::NotificationSent(_) => return,
            _ => {}
        }
        let index = self.intern(&record.context.anchor);
        if took_effect(&record.event)
            && let Some(object) = self.object(index)
        {
            object.answered = object.answered.max(Some(offset));
        }
        match record.event {
            OutcomeEvent::ObjectProvisioned(_) | OutcomeEvent::ObjectAdopted(_) | OutcomeEvent::ObjectRestored(_) => {
                self.provisioned(index, Some(class));
                let over = [
                    Operation::Create,
                    Operation::Restore,
                    Operation::Delete,
                    Operation::Disable,
                    Operation::Rename,
                    Operation::Join,
                ];
                self.clear(index, &over);
            }
            OutcomeEvent::ObjectUpdated(_) => self.clear(index, &[Operation::Update]),
            OutcomeEvent::ObjectDeprovisioned(_)
            | OutcomeEvent::ObjectRelinquished(_)
            | OutcomeEvent::DeletedByOthers(_) => {
                self.provisioned(index, None);
                self.troubles.retain(|(i, ..), _| *i != index);
            }
            OutcomeEvent::ManagerChanged(_) => self.clear(index, &[Operation::SetManager]),
            OutcomeEvent::OwnerChanged(_) => self.clear(index, &[Operation::SetOwner]),
            OutcomeEvent::MemberAdded(added) => {
                for member in &added.members {
                    let member = self.intern(member);
                    self.links.insert((index, member));
                    self.clear_member(index, member);
                }
            }
            OutcomeEvent::MemberRemoved(removed) => {
                for member in &removed.members {
                    let member = self.intern(member);
                    self.links.remove(&(index, member));
                    self.clear_member(index, member);
                }
            }
            OutcomeEvent::NotWritable(what) => {
                if let Some(object) = self.object(index) {
                    object.told = true;
                    object.not_writable = Some(what.attributes);
                }
            }
            OutcomeEvent::ExportReleased(released) => self.clear(index, &[released.operation]),
            OutcomeEvent::ExportFailed(failed) => {
                let retry_at = Some(failed.retry_at.to_string());
                let trouble = Trouble {
                    attempts: failed.attempt,
                    retry_at,
                    ..Trouble::new(Kind::Failed, class, offset, since).with(failed.error)
                };
                self.trouble(index, failed.operation, &failed.members, trouble);
            }
            OutcomeEvent::ExportQuarantined(resting) => {
                let trouble = Trouble {
                    attempts: resting.attempts,
                    ..Trouble::new(Kind::Quarantined, class, offset, since).with(resting.error)
                };
                self.trouble(index, resting.operation, &resting.members, trouble);
            }
            OutcomeEvent::ExportHeld(held) => {
                let (kind, operation) = (Kind::Held(held.cause), held.operation);
                let ExportHeld { detail, join, .. } = held;
                let trouble = Trouble { detail, join, ..Trouble::new(kind, class, offset, since) };
                // also beside failures of single members: the guard judges the group
                self.troubles.insert((index, operation, None), trouble);
            }
            OutcomeEvent::DeletionDeferred(deferred) => {
                let until = Some(deferred.until.to_string());
                let detail = "it is disabled until it is deleted".to_owned();
                let trouble = Trouble { detail, retry_at: until, ..Trouble::new(Kind::Deferred, class, offset, since) };
                self.troubles.insert((index, Operation::Delete, None), trouble);
            }
            // of memberships that is to be undone, what the tenant has now; else what it is meant to have
            OutcomeEvent::MembersDrifted(drifted) if drifted.policy == DriftPolicy::Enforce => {
                for member in &drifted.added {
                    let member = self.intern(member);
                    self.links.insert((index, member));
                }
                for member in &drifted.removed {
                    let member = self.intern(member);
                    self.links.remove(&(index, member));
                }
            }
            OutcomeEvent::MembersDrifted(_)
            | OutcomeEvent::ExportStopped(_)
            | OutcomeEvent::ExportResumed(_)
            | OutcomeEvent::ConfigurationQuarantined(_)
            | OutcomeEvent::ConfigurationRecovered(_)
            | OutcomeEvent::NotificationSent(_)
            | OutcomeEvent::DriftFound(_)
            | OutcomeEvent::DriftEnded(_)
            | OutcomeEvent::TenantCompared(_) => {}
        }
    }

    fn provisioned(&mut self, index: u32, class: Option<CloudClass>) {
        if let Some(object) = self.object(index) {
            object.provisioned = class;
        }
    }

    fn clear(&mut self, index: u32, operations: &[Operation]) {
        for operation in operations {
            self.troubles.remove(&(index, *operation, None));
        }
    }

    fn trouble(&mut self, index: u32, operation: Operation, members: &[SourceAnchor], trouble: Trouble) {
        if members.is_empty() {
            self.troubles.insert((index, operation, None), trouble);
            return;
        }
        for member in members {
            let member = self.intern(member);
            // a membership has one trouble at a time: it is added or removed
            self.clear_member(index, member);
            self.troubles.insert((index, operation, Some(member)), trouble.clone());
        }
    }

    fn clear_member(&mut self, group: u32, member: u32) {
        for operation in [Operation::AddMembers, Operation::RemoveMembers] {
            self.troubles.remove(&(group, operation, Some(member)));
        }
    }

    /// A membership was wished, or not, anew: what an older wish met is over.
    fn wish_link(&mut self, pair: (u32, u32), offset: u64) {
        for operation in [Operation::AddMembers, Operation::RemoveMembers] {
            let place = (pair.0, operation, Some(pair.1));
            if self.troubles.get(&place).is_some_and(|t| t.desired_offset < offset) {
                self.troubles.remove(&place);
            }
        }
    }

    fn wish(&mut self, offset: u64, record: DesiredRecord) {
        self.desired_offset = Some(offset);
        match record.event {
            DesiredEvent::AttributeFlowDeclared(_) => {}
            DesiredEvent::ObjectDesired(wish) => {
                self.wish_object(offset, &wish.anchor, Some(wish.class), content(&wish), &wish.source);
            }
            DesiredEvent::ObjectRemoved(gone) => self.wish_object(offset, &gone.anchor, None, 0, &gone.source),
            DesiredEvent::LinkDesired(link) => {
                let pair = (self.intern(&link.group), self.intern(&link.member));
                self.wished_links.insert(pair, offset);
                self.wish_link(pair, offset);
            }
            DesiredEvent::LinkRemoved(link) => {
                let pair = (self.intern(&link.group), self.intern(&link.member));
                self.wished_links.remove(&pair);
                self.wish_link(pair, offset);
            }
        }
        self.last = Some(record.context);
    }

    fn wish_object(
        &mut self,
        offset: u64,
        anchor: &SourceAnchor,
        class: Option<CloudClass>,
        content: u64,
        source: &SourceObject,
    ) {
        self.drift.wish(anchor, class.is_some(), source);
        let index = self.intern(anchor);
        if let Some(object) = self.object(index) {
            object.desired = class;
            (object.wish, object.content) = (offset, content);
            if object.answered == Some(offset) {
                object.answered_content = Some(content);
            }
            if class.is_none() {
                (object.not_writable, object.removed) = (None, Some(offset));
            }
        }
        let mine = (index, Operation::Create, None)..=(index, Operation::Join, Some(u32::MAX));
        let mut superseded = Vec::new();
        for (key, trouble) in self.troubles.range_mut(mine) {
            // a newer wish lifts what the older one met, but for references, which have wishes of their own, and for what is
            // held or deferred, of which it is said when it is over
            let reference = matches!(key.1, Operation::AddMembers | Operation::RemoveMembers);
            let waits = matches!(trouble.kind, Kind::Held(_) | Kind::Deferred);
            if !reference && !waits && trouble.desired_offset < offset {
                superseded.push(*key);
            }
            trouble.source = Some(source.clone());
        }
        for key in superseded {
            self.troubles.remove(&key);
        }
    }

    fn finish(mut self) -> Ledger {
        let drift = std::mem::take(&mut self.drift).finish();
        let away: HashSet<u32> =
            drift.away().filter_map(|anchor| self.index.get(&SourceAnchor::from(anchor.to_owned())).copied()).collect();
        let mut ledger = Ledger { classes: self.classes(), memberships: self.memberships(), ..Ledger::default() };
        for object in &self.objects {
            if let (Some(class), Some(attributes)) = (object.desired, &object.not_writable) {
                if attributes.is_empty() {
                    *ledger.not_writable.objects.entry(class.as_str()).or_default() += 1;
                }
                for attribute in attributes {
                    *ledger.not_writable.attributes.entry(attribute.clone()).or_default() += 1;
                }
            }
        }
        let deferred = |index: usize| {
            let place = (index as u32, Operation::Delete, None);
            self.troubles.get(&place).is_some_and(|t| t.kind == Kind::Deferred)
        };
        // what others deleted and nobody brings back waits for nothing
        let waits = |index: usize| !deferred(index) && !away.contains(&(index as u32));
        let pending = self.objects.iter().enumerate().filter(|(index, object)| object.pending() && waits(*index));
        ledger.lag.objects_pending = pending.count() as u64;
        let leaving = self.leaving_members();
        let wished = self.wished();
        ledger.lag.memberships_pending = wished.filter(|link| !self.links.contains(link)).count() as u64;
        let mut anchors: Vec<(&SourceAnchor, u32)> = self.index.iter().map(|(a, i)| (a, *i)).collect();
        anchors.sort_unstable_by_key(|(_, index)| *index);
        let name = |index: u32| anchors.get(index as usize).map(|(a, _)| a.to_string());
        for ((index, operation, member), trouble) in self.troubles {
            let anchor = name(index).unwrap_or_default();
            let list = match trouble.kind {
                Kind::Failed => &mut ledger.failed,
                Kind::Held(_) => &mut ledger.held,
                Kind::Deferred => &mut ledger.deferred,
                Kind::Quarantined => &mut ledger.quarantined,
            };
            let members =
                leaving.get(&index).copied().filter(|_| operation == Operation::RemoveMembers && member.is_none());
            list.push(Issue { member: member.and_then(name), members, ..trouble.issue(anchor, operation) });
        }
        (ledger.stopped, ledger.quarantine) = (self.stopped, self.quarantine);
        ledger.drift = drift;
        ledger.desired_offset = self.desired_offset;
        ledger.offsets = self.last.map(|context| context.offsets).unwrap_or_default();
        ledger
    }

    /// How many members each group with held removals has that it should not.
    fn leaving_members(&self) -> HashMap<u32, u64> {
        let is_held = |key: &Place, trouble: &Trouble| {
            key.1 == Operation::RemoveMembers && key.2.is_none() && matches!(trouble.kind, Kind::Held(_))
        };
        let held = self.troubles.iter().filter(|(key, trouble)| is_held(key, trouble));
        let mut leaving: HashMap<u32, u64> = held.map(|((group, ..), _)| (*group, 0)).collect();
        if leaving.is_empty() {
            return leaving;
        }
        let stays = |index: u32| self.objects.get(index as usize).is_some_and(|object| object.desired.is_some());
        for link in self.links.iter().filter(|link| !self.wished_links.contains_key(*link) && stays(link.1)) {
            if let Some(count) = leaving.get_mut(&link.0) {
                *count += 1;
            }
        }
        leaving
    }

    fn classes(&self) -> Vec<ClassCount> {
        let count = |class: CloudClass| {
            let is = |held: Option<CloudClass>| held == Some(class);
            let number = |which: &dyn Fn(&Object) -> bool| self.objects.iter().filter(|o| which(o)).count() as u64;
            ClassCount {
                class: class.as_str(),
                desired: number(&|o| is(o.desired)),
                provisioned: number(&|o| is(o.desired) && is(o.provisioned)),
                surplus: number(&|o| !is(o.desired) && is(o.provisioned)),
            }
        };
        CloudClass::ALL.into_iter().map(count).collect()
    }

    /// The memberships that should be there: wished since the last removal of either end, and both ends writable.
    fn wished(&self) -> impl Iterator<Item = &(u32, u32)> {
        self.wished_links.iter().filter(|(link, offset)| self.complete(**link, **offset)).map(|(link, _)| link)
    }

    fn complete(&self, link: (u32, u32), wished: u64) -> bool {
        [link.0, link.1].iter().all(|index| {
            let object = self.objects.get(*index as usize);
            let since = object.is_some_and(|o| o.removed.is_none_or(|removed| removed < wished));
            since && object.and_then(|o| o.desired).is_some_and(CloudClass::is_writable)
        })
    }

    fn memberships(&self) -> Count {
        self.wished().fold(Count::default(), |count, link| Count {
            desired: count.desired + 1,
            provisioned: count.provisioned + u64::from(self.links.contains(link)),
        })
    }
}

impl Object {
    /// Whether the tenant does not hold what was wished last, as far as outcomes tell. A wish that asks for the same as
    /// one that took effect has no outcome of its own.
    fn pending(&self) -> bool {
        match self.desired {
            Some(class) if class.is_writable() => {
                let same = self.answered >= Some(self.wish) || self.answered_content == Some(self.content);
                self.provisioned != Some(class) || !same
            }
            Some(_) => !self.told,
            None => self.provisioned.is_some(),
        }
    }
}

/// Whether the event says that something wished was done.
fn took_effect(event: &OutcomeEvent) -> bool {
    matches!(
        event,
        OutcomeEvent::ObjectProvisioned(_)
            | OutcomeEvent::ObjectUpdated(_)
            | OutcomeEvent::ObjectAdopted(_)
            | OutcomeEvent::ObjectRestored(_)
            | OutcomeEvent::ObjectDeprovisioned(_)
            | OutcomeEvent::ManagerChanged(_)
            | OutcomeEvent::OwnerChanged(_)
    )
}

/// A hash of what a wish asks the tenant to hold.
fn content(wish: &ObjectDesired) -> u64 {
    let mut hasher = DefaultHasher::new();
    (wish.class, &wish.manager, &wish.owner).hash(&mut hasher);
    for (name, value) in &wish.attributes {
        name.hash(&mut hasher);
        match value {
            CloudValue::Bool(value) => value.hash(&mut hasher),
            CloudValue::Integer(value) => value.hash(&mut hasher),
            CloudValue::Text(text) => text.hash(&mut hasher),
            CloudValue::List(values) => values.hash(&mut hasher),
        }
    }
    hasher.finish()
}

impl Trouble {
    fn new(kind: Kind, class: CloudClass, desired_offset: u64, since: Timestamp) -> Self {
        Self {
            kind,
            class,
            error: None,
            detail: String::new(),
            attempts: 0,
            retry_at: None,
            desired_offset,
            since,
            source: None,
            join: None,
        }
    }

    fn with(self, error: ExportError) -> Self {
        Self { detail: error.detail.clone(), error: Some(error), ..self }
    }

    fn issue(self, anchor: String, operation: Operation) -> Issue {
        let cause = if let Kind::Held(cause) = self.kind { Some(name_of(&cause)) } else { None };
        let (code, attribute, hint) = match self.error {
            Some(error) => (Some(error.code), error.attribute, error.hint),
            None => (None, None, cause.is_some().then(|| DECIDE.to_owned())),
        };
        Issue {
            anchor,
            member: None,
            class: self.class.as_str(),
            dn: self.source.as_ref().map(|s| s.dn.to_string()),
            forest: self.source.map(|s| s.forest),
            operation: name_of(&operation),
            code,
            attribute,
            detail: self.detail,
            hint,
            attempts: self.attempts,
            retry_at: self.retry_at,
            cause,
            members: None,
            join: self.join,
            since: self.since.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
