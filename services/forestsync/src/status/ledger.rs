//! What is wished and what became of it: a fold over `outcomes` and `desired`.
//!
//! Anchors are interned, so that a membership costs eight bytes and a tenant of a million objects fits into memory.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context as _, Result};
use forestsync_domain::SourceAnchor;
use forestsync_log::{Log, StreamName};
use forestsync_schemas::desired::{CloudClass, DesiredContext, DesiredEvent, SourceObject};
use forestsync_schemas::outcomes::{ExportError, Operation, OutcomeEvent};
use forestsync_schemas::{DesiredRecord, OutcomeRecord, streams};

use super::{BATCH, ClassCount, Count, Issue, Lag, NotWritable, name_of};

/// What both streams tell.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) classes: Vec<ClassCount>,
    pub(super) memberships: Count,
    pub(super) failed: Vec<Issue>,
    pub(super) held: Vec<Issue>,
    pub(super) quarantined: Vec<Issue>,
    pub(super) not_writable: NotWritable,
    pub(super) lag: Lag,
    /// For each `changes` stream how far the last wish had read.
    pub(super) offsets: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Object {
    desired: Option<CloudClass>,
    provisioned: Option<CloudClass>,
    /// Offset of the last wish, and of the last wish an outcome was about.
    wish: u64,
    answered: Option<u64>,
    /// Offset of the last removal: older memberships ended with it and have no record of their own.
    removed: Option<u64>,
    /// Attributes Graph cannot write; an empty list if it is the whole object.
    not_writable: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failed,
    Held,
    Quarantined,
}

#[derive(Debug)]
struct Trouble {
    kind: Kind,
    class: CloudClass,
    error: Option<ExportError>,
    detail: String,
    attempts: u32,
    retry_at: Option<String>,
    desired_offset: u64,
    source: Option<SourceObject>,
}

#[derive(Debug, Default)]
struct Fold {
    index: HashMap<SourceAnchor, u32>,
    objects: Vec<Object>,
    /// Wished memberships with the offset of their wish.
    wished_links: HashMap<(u32, u32), u64>,
    links: HashSet<(u32, u32)>,
    troubles: BTreeMap<(u32, Operation), Trouble>,
    last: Option<DesiredContext>,
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
        let (class, offset) = (record.context.class, record.context.desired_offset);
        let index = self.intern(&record.context.anchor);
        let link = matches!(record.event, OutcomeEvent::MemberAdded(_) | OutcomeEvent::MemberRemoved(_));
        if !link && let Some(object) = self.object(index) {
            object.answered = object.answered.max(Some(offset));
        }
        match record.event {
            OutcomeEvent::ObjectProvisioned(_) | OutcomeEvent::ObjectAdopted(_) | OutcomeEvent::ObjectRestored(_) => {
                self.provisioned(index, Some(class));
                self.clear(index, &[Operation::Create, Operation::Restore, Operation::Delete]);
            }
            OutcomeEvent::ObjectUpdated(_) => self.clear(index, &[Operation::Update]),
            OutcomeEvent::ObjectDeprovisioned(_) => {
                self.provisioned(index, None);
                self.troubles.retain(|(i, _), _| *i != index);
            }
            OutcomeEvent::ManagerChanged(_) => self.clear(index, &[Operation::SetManager]),
            OutcomeEvent::MemberAdded(added) => {
                for member in &added.members {
                    let member = self.intern(member);
                    self.links.insert((index, member));
                }
                self.clear(index, &[Operation::AddMembers]);
            }
            OutcomeEvent::MemberRemoved(removed) => {
                for member in &removed.members {
                    let member = self.intern(member);
                    self.links.remove(&(index, member));
                }
                self.clear(index, &[Operation::RemoveMembers]);
            }
            OutcomeEvent::NotWritable(what) => {
                if let Some(object) = self.object(index) {
                    object.not_writable = Some(what.attributes);
                }
            }
            OutcomeEvent::ExportReleased(released) => self.clear(index, &[released.operation]),
            OutcomeEvent::ExportFailed(failed) => {
                let retry_at = Some(failed.retry_at.to_string());
                let trouble = Trouble::new(Kind::Failed, class, offset, failed.attempt, retry_at, failed.error);
                self.troubles.insert((index, failed.operation), trouble);
            }
            OutcomeEvent::ExportQuarantined(resting) => {
                let trouble = Trouble::new(Kind::Quarantined, class, offset, resting.attempts, None, resting.error);
                self.troubles.insert((index, resting.operation), trouble);
            }
            OutcomeEvent::ExportHeld(held) => {
                let trouble = Trouble {
                    kind: Kind::Held,
                    class,
                    error: None,
                    detail: held.detail,
                    attempts: 0,
                    retry_at: None,
                    desired_offset: offset,
                    source: None,
                };
                self.troubles.insert((index, held.operation), trouble);
            }
        }
    }

    fn provisioned(&mut self, index: u32, class: Option<CloudClass>) {
        if let Some(object) = self.object(index) {
            object.provisioned = class;
        }
    }

    fn clear(&mut self, index: u32, operations: &[Operation]) {
        for operation in operations {
            self.troubles.remove(&(index, *operation));
        }
    }

    fn wish(&mut self, offset: u64, record: DesiredRecord) {
        match record.event {
            DesiredEvent::AttributeFlowDeclared(_) => {}
            DesiredEvent::ObjectDesired(wish) => self.wish_object(offset, &wish.anchor, Some(wish.class), &wish.source),
            DesiredEvent::ObjectRemoved(gone) => self.wish_object(offset, &gone.anchor, None, &gone.source),
            DesiredEvent::LinkDesired(link) => {
                let pair = (self.intern(&link.group), self.intern(&link.member));
                self.wished_links.insert(pair, offset);
            }
            DesiredEvent::LinkRemoved(link) => {
                let pair = (self.intern(&link.group), self.intern(&link.member));
                self.wished_links.remove(&pair);
            }
        }
        self.last = Some(record.context);
    }

    fn wish_object(&mut self, offset: u64, anchor: &SourceAnchor, class: Option<CloudClass>, source: &SourceObject) {
        let index = self.intern(anchor);
        if let Some(object) = self.object(index) {
            object.desired = class;
            object.wish = offset;
            if class.is_none() {
                (object.not_writable, object.removed) = (None, Some(offset));
            }
        }
        let mine = (index, Operation::Create)..=(index, Operation::RemoveMembers);
        let mut superseded = Vec::new();
        for (key, trouble) in self.troubles.range_mut(mine) {
            // a newer wish lifts what the older one met, but for references, which have wishes of their own
            let reference = matches!(key.1, Operation::AddMembers | Operation::RemoveMembers);
            if !reference && trouble.desired_offset < offset {
                superseded.push(*key);
            }
            trouble.source = Some(source.clone());
        }
        for key in superseded {
            self.troubles.remove(&key);
        }
    }

    fn finish(self) -> Ledger {
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
        ledger.lag.objects_pending = self.objects.iter().filter(|o| o.pending()).count() as u64;
        let wished = self.wished();
        ledger.lag.memberships_pending = wished.filter(|link| !self.links.contains(link)).count() as u64;
        let mut anchors: Vec<(&SourceAnchor, u32)> = self.index.iter().map(|(a, i)| (a, *i)).collect();
        anchors.sort_unstable_by_key(|(_, index)| *index);
        for ((index, operation), trouble) in self.troubles {
            let anchor = anchors.get(index as usize).map(|(a, _)| a.to_string()).unwrap_or_default();
            let list = match trouble.kind {
                Kind::Failed => &mut ledger.failed,
                Kind::Held => &mut ledger.held,
                Kind::Quarantined => &mut ledger.quarantined,
            };
            list.push(trouble.issue(anchor, operation));
        }
        ledger.offsets = self.last.map(|context| context.offsets).unwrap_or_default();
        ledger
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
    /// Whether the tenant does not hold what was wished last, as far as outcomes tell.
    fn pending(&self) -> bool {
        match self.desired {
            Some(class) if class.is_writable() => self.provisioned != Some(class),
            Some(_) => self.answered.is_none(),
            None => self.provisioned.is_some(),
        }
    }
}

impl Trouble {
    fn new(
        kind: Kind,
        class: CloudClass,
        desired_offset: u64,
        attempts: u32,
        retry_at: Option<String>,
        error: ExportError,
    ) -> Self {
        let detail = error.detail.clone();
        Self { kind, class, error: Some(error), detail, attempts, retry_at, desired_offset, source: None }
    }

    fn issue(self, anchor: String, operation: Operation) -> Issue {
        let (code, attribute, hint) = match self.error {
            Some(error) => (Some(error.code), error.attribute, error.hint),
            None => (None, None, None),
        };
        Issue {
            anchor,
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
        }
    }
}
