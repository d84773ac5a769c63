//! What comes next for an object: a pure look at its row, its stage and those it depends on.

use std::time::Duration;

use forestsync_domain::SourceAnchor;
use forestsync_runtime::clock;
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue};
use forestsync_schemas::outcomes::{
    AttributeChanges, ExportError, ExportQuarantined, NotWritable, Operation, OutcomeEvent,
};
use tokio::time::Instant;

use super::fold::unread;
use super::guard::{Gate, gate, stale_hold};
use super::{Engine, NewOutcome, Purpose, Stage};
use crate::error::ProvisionerError;
use crate::store::{ENABLED, Failed, NAME, ObjectRow, Wish, WishKind, Write};
use crate::target::{Call, Yielded};

/// Times that an object is not found until it is looked up.
pub(super) const MISSED: u32 = 3;

/// What comes next.
#[derive(Debug)]
pub(super) enum Plan {
    /// Nothing, until something changes.
    Nothing,
    /// Something to be written down, then another look.
    Report(NewOutcome),
    /// A question to the tenant.
    Ask(Call, Purpose),
    /// A write.
    Write(Call, Write),
}

/// The moment a failure lets its write be tried again.
pub(super) fn instant_of(failed: &Failed) -> Instant {
    instant(failed.retry_at)
}

/// The moment of a time in milliseconds since 1970.
pub(super) fn instant(time: i64) -> Instant {
    let ahead = time.saturating_sub(clock::now().as_millisecond());
    Instant::now() + Duration::from_millis(u64::try_from(ahead).unwrap_or_default())
}

impl Engine {
    /// What comes next for this object.
    pub(super) fn plan(&mut self, anchor: &SourceAnchor) -> Result<Plan, ProvisionerError> {
        if self.flights.contains_key(anchor) {
            return Ok(Plan::Nothing);
        }
        // what it still waits for is found out now
        self.timers.forget(anchor);
        self.quiet.forget(anchor);
        let Some(row) = self.store.object(anchor)? else {
            return Ok(Plan::Nothing);
        };
        if let Some(Stage::Verify(verify)) = self.stages.get(anchor) {
            if verify.not_before > Instant::now() {
                let timers = if verify.quiet { &mut self.quiet } else { &mut self.timers };
                timers.wake(anchor, verify.not_before);
                return Ok(Plan::Nothing);
            }
            let (intent, answered) = (verify.intent.clone(), verify.answered.clone());
            if let Some(call) = self.verify_call(anchor, &row, &intent) {
                return Ok(Plan::Ask(call, Purpose::Verify(Box::new(intent), answered)));
            }
            self.stages.remove(anchor);
            self.turn.clear_intent(anchor);
            self.turn.touch(anchor);
            return Ok(Plan::Nothing);
        }
        let plan = match &row.wish {
            None => Plan::Nothing,
            Some(wish) => match wish.kind {
                WishKind::Present { .. } => self.plan_presence(anchor, &row, wish)?,
                WishKind::Removed { .. } => self.plan_removal(anchor, &row, wish)?,
                WishKind::LetGo { why } => self.plan_farewell(anchor, &row, wish, why),
            },
        };
        // what others did is looked at where nothing of ours is under way
        if matches!(plan, Plan::Nothing) { self.plan_comparison(anchor, &row) } else { Ok(plan) }
    }

    /// Whether a failure forbids its write for now; sets the clock for the next attempt.
    pub(super) fn rests(&mut self, anchor: &SourceAnchor, failed: Option<&Failed>) -> bool {
        let Some(failed) = failed else { return false };
        if failed.is_final() {
            return true;
        }
        let at = instant_of(failed);
        let rests = at > Instant::now();
        if rests {
            let timers = if failed.quarantined { &mut self.quiet } else { &mut self.timers };
            timers.wake(anchor, at);
        }
        rests
    }

    fn plan_presence(&mut self, anchor: &SourceAnchor, row: &ObjectRow, wish: &Wish) -> Result<Plan, ProvisionerError> {
        let WishKind::Present { attributes, at_creation, manager, not_writable, .. } = &wish.kind else {
            return Ok(Plan::Nothing);
        };
        if let Some(event) = not_writable_event(row, wish, not_writable) {
            return Ok(Plan::Report(NewOutcome::of(anchor, row, wish, event)));
        }
        if let Some(event) = stale_hold(row) {
            return Ok(Plan::Report(NewOutcome::of(anchor, row, wish, event)));
        }
        if !wish.class.is_writable() || row.stays_away() {
            return Ok(Plan::Nothing);
        }
        if row.is_managed() && row.class != wish.class {
            let code = "class_changed";
            return Ok(self.refuse(
                anchor,
                row,
                wish,
                Operation::Update,
                code,
                None,
                "the cloud object is of another class",
            ));
        }
        if let Some(plan) = self.plan_extensions(anchor, row, wish, attributes, at_creation) {
            return Ok(plan);
        }
        if !self.rests(anchor, row.failure()) {
            if !row.is_managed() {
                return Ok(self.plan_creation(anchor, row, wish, attributes, at_creation));
            }
            let mut changes = row.changes(attributes, &self.written(wish));
            if let Some(event) = self.guard_changes(anchor, row, wish, &mut changes) {
                return Ok(Plan::Report(NewOutcome::of(anchor, row, wish, event)));
            }
            if let Some(id) = row.live_id().filter(|_| !changes.is_empty()) {
                let vanished = row.failure().is_some_and(|f| f.attempts >= MISSED && f.status == Some(404));
                if vanished {
                    return Ok(self.look_up(anchor, wish.class, attributes));
                }
                let (class, id) = (wish.class, id.to_owned());
                let call = Call::Update { class, id, changes: changes.clone(), anchor: None };
                return Ok(Plan::Write(call, Write::Update { changes }));
            }
        }
        if !row.is_managed() {
            return Ok(Plan::Nothing);
        }
        if self.missed.remove(anchor) {
            return Ok(self.look_up(anchor, wish.class, attributes));
        }
        if let Some(plan) = self.plan_inheritance(anchor, row)? {
            return Ok(plan);
        }
        match wish.class {
            CloudClass::User => self.plan_manager(anchor, row, manager.as_ref()),
            _ => match self.plan_owner(anchor, row)? {
                Plan::Nothing => self.plan_links(anchor, row, wish),
                plan => Ok(plan),
            },
        }
    }

    /// Takes what a guard holds out of these changes; the rest of them goes. Returns what is to be said first.
    fn guard_changes(
        &mut self,
        anchor: &SourceAnchor,
        row: &ObjectRow,
        wish: &Wish,
        changes: &mut AttributeChanges,
    ) -> Option<OutcomeEvent> {
        for operation in row.guarded() {
            let name = if operation == Operation::Disable { ENABLED } else { NAME };
            if !changes.contains_key(name) {
                continue;
            }
            let Some(judged) = self.judge(anchor, row, wish, operation) else {
                self.tail_waits.insert(anchor.clone());
                changes.clear();
                return None;
            };
            match gate(operation, judged, row.held.get(&operation)) {
                Gate::Open => {}
                Gate::Say(event) => return Some(event),
                Gate::Closed => {
                    changes.remove(name);
                }
            }
        }
        None
    }

    pub(super) fn look_up(&self, anchor: &SourceAnchor, class: CloudClass, attributes: &CloudAttributes) -> Plan {
        let attributes = self.interesting(class, attributes);
        Plan::Ask(self.question(class, anchor, attributes), Purpose::LookUp)
    }

    /// The question for the objects that carry an anchor.
    pub(super) fn question(&self, class: CloudClass, anchor: &SourceAnchor, attributes: Vec<String>) -> Call {
        let by_extension = class == CloudClass::Group && self.config.tenant.adopts_groups();
        Call::LookUp { class, anchor: anchor.clone(), attributes, by_extension }
    }

    fn plan_creation(
        &mut self,
        anchor: &SourceAnchor,
        row: &ObjectRow,
        wish: &Wish,
        attributes: &CloudAttributes,
        at_creation: &CloudAttributes,
    ) -> Plan {
        let class = wish.class;
        if self.waits_for_decision(anchor, row, wish) {
            return Plan::Nothing;
        }
        let whole = || at_creation.clone().into_iter().chain(attributes.clone()).collect::<CloudAttributes>();
        match self.stages.get(anchor) {
            Some(Stage::Trash(id)) => restore(id, yielded(row, attributes)),
            Some(Stage::Upserted) => {
                let attributes = self.interesting(class, attributes);
                Plan::Ask(Call::ReadGroup { anchor: anchor.clone(), attributes }, Purpose::LookUp)
            }
            Some(Stage::Absent) => match self.soft_match(class, attributes) {
                Some((call, rules)) => Plan::Ask(call, Purpose::Match(rules)),
                None => self.create(anchor, row, wish, whole()),
            },
            Some(Stage::NoMatch) => self.create(anchor, row, wish, whole()),
            Some(Stage::Matched { object, is_plain: false, .. }) => {
                Plan::Ask(Call::ListRoles { user: object.id.clone() }, Purpose::Roles)
            }
            Some(Stage::Matched { .. }) => self.plan_join(anchor, row, wish),
            Some(Stage::Check { .. } | Stage::OwnerCheck { .. } | Stage::JoinHeld { .. }) => Plan::Nothing,
            // also one that we deleted: before it is brought back it is seen whose it is now
            _ => self.look_up(anchor, class, attributes),
        }
    }

    fn create(&mut self, anchor: &SourceAnchor, row: &ObjectRow, wish: &Wish, attributes: CloudAttributes) -> Plan {
        let required: &[&str] = match wish.class {
            CloudClass::User => &["accountEnabled", "displayName", "mailNickname", "userPrincipalName"],
            _ => &["displayName", "mailNickname"],
        };
        if let Some(missing) = required.iter().find(|name| !attributes.contains_key(**name)) {
            let detail = "Graph requires a value to create the object, and the directory has none";
            return self.refuse(anchor, row, wish, Operation::Create, "missing_required", Some(*missing), detail);
        }
        if let Some(event) = Self::join_hold_over(row, "nothing in the tenant matches it any more") {
            return Plan::Report(NewOutcome::of(anchor, row, wish, event));
        }
        let class = wish.class;
        let call = Call::Create { class, anchor: anchor.clone(), attributes: attributes.clone() };
        Plan::Write(call, Write::Create { attributes })
    }

    fn plan_manager(
        &mut self,
        anchor: &SourceAnchor,
        row: &ObjectRow,
        wished: Option<&SourceAnchor>,
    ) -> Result<Plan, ProvisionerError> {
        let Some(id) = row.live_id().filter(|_| row.manager.as_ref() != wished) else { return Ok(Plan::Nothing) };
        if self.rests(anchor, row.lead_failure()) {
            return Ok(Plan::Nothing);
        }
        if row.manager == Some(unread()) {
            return Ok(Plan::Ask(Call::ReadManager { id: id.to_owned() }, Purpose::Manager));
        }
        let manager = match wished {
            None => None,
            Some(manager) => {
                let id = self.store.object(manager)?.and_then(|m| m.live_id().map(str::to_owned));
                if id.is_none() {
                    self.index.reports.entry(manager.clone()).or_default().insert(anchor.clone());
                    return Ok(Plan::Nothing);
                }
                id
            }
        };
        let before = row.manager.clone().filter(|m| !m.as_str().is_empty());
        let write = Write::SetManager { before, after: wished.cloned() };
        Ok(Plan::Write(Call::SetManager { id: id.to_owned(), manager }, write))
    }

    /// The attributes managed for a class; without a declaration those that are wished.
    fn managed(&self, class: CloudClass, attributes: &CloudAttributes) -> Vec<String> {
        self.flows.get(&class).cloned().unwrap_or_else(|| attributes.keys().cloned().collect())
    }

    /// The attributes that are written as the wish says.
    pub(super) fn written(&self, wish: &Wish) -> Vec<String> {
        let WishKind::Present { attributes, at_creation, left_alone, .. } = &wish.kind else { return Vec::new() };
        let mut managed = self.managed(wish.class, attributes);
        // what was a default when it was created is left as it is for as long as there is no value
        managed.retain(|name| attributes.contains_key(name) || !at_creation.contains_key(name));
        managed.retain(|name| !left_alone.contains(name));
        managed
    }

    /// The attributes worth reading.
    pub(super) fn interesting(&self, class: CloudClass, attributes: &CloudAttributes) -> Vec<String> {
        let mut names = self.managed(class, attributes);
        names.extend(attributes.keys().cloned());
        names.sort();
        names.dedup();
        names
    }

    /// Quarantines without asking the tenant, because its answer is certain.
    #[expect(clippy::too_many_arguments, reason = "each is a field of the outcome")]
    pub(super) fn refuse(
        &mut self,
        anchor: &SourceAnchor,
        row: &ObjectRow,
        wish: &Wish,
        operation: Operation,
        code: &str,
        attribute: Option<&str>,
        detail: &str,
    ) -> Plan {
        if self.rests(anchor, row.failure()) {
            return Plan::Nothing;
        }
        let error = ExportError {
            code: code.to_owned(),
            attribute: attribute.map(str::to_owned),
            other: None,
            detail: detail.to_owned(),
            hint: Some("correct the object in the directory; it is tried again when it changes".to_owned()),
        };
        Plan::Report(NewOutcome::of(anchor, row, wish, refused(operation, error)))
    }

    /// The attributes to read of an object whose wish is at hand.
    pub(super) fn interesting_of(&self, row: &ObjectRow) -> Vec<String> {
        match row.wish.as_ref().map(|w| &w.kind) {
            Some(WishKind::Present { attributes, .. }) => self.interesting(row.class, attributes),
            _ => self.interesting(row.class, &row.confirmed),
        }
    }
}

/// The event for a write that was not tried, because nothing but a change of the object can help it.
pub(super) fn refused(operation: Operation, error: ExportError) -> OutcomeEvent {
    let event = ExportQuarantined { operation, error, attempts: 0, retry_at: None, members: Vec::new() };
    OutcomeEvent::ExportQuarantined(event)
}

fn restore(id: &str, without: Option<Yielded>) -> Plan {
    Plan::Write(Call::Restore { id: id.to_owned(), without }, Write::Restore { id: id.to_owned() })
}

/// What an object comes back without, once it was refused because others have its name or its addresses now: they are
/// theirs, and the wish says what it is to have.
fn yielded(row: &ObjectRow, attributes: &CloudAttributes) -> Option<Yielded> {
    let failed = row.failure().filter(|failed| failed.operation == Operation::Restore)?;
    if !matches!(failed.attribute.as_deref(), Some("userPrincipalName" | "proxyAddresses")) {
        return None;
    }
    let name = match attributes.get("userPrincipalName") {
        Some(CloudValue::Text(name)) if row.class == CloudClass::User => Some(name.clone()),
        _ => None,
    };
    Some(Yielded { name })
}

/// What must be reported as not writable, unless it was.
fn not_writable_event(row: &ObjectRow, wish: &Wish, attributes: &[String]) -> Option<OutcomeEvent> {
    let (attributes, reason) = match wish.class {
        CloudClass::User | CloudClass::Group if attributes.is_empty() => return None,
        CloudClass::User | CloudClass::Group => (attributes.to_vec(), "Microsoft Graph has no way to write them"),
        CloudClass::Contact => (Vec::new(), "contacts are read-only in Microsoft Graph"),
        CloudClass::DistributionList => (Vec::new(), "distribution lists cannot be written through Microsoft Graph"),
        CloudClass::MailEnabledGroup => {
            (Vec::new(), "mail-enabled security groups cannot be written through Microsoft Graph")
        }
    };
    let event = NotWritable { attributes, reason: reason.to_owned() };
    (row.reported.as_ref() != Some(&event.attributes)).then_some(OutcomeEvent::NotWritable(event))
}
