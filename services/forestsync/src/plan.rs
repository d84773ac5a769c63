//! What would be done to the tenant, in the words of people: the JSON of `plan`, and its text.
//!
//! Steps are in the order of the objects' names, one for each thing that would be done to an object, and the same plan is
//! the same text. Fields are added, never removed or given another meaning.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context as _;
use forestsync_domain::SourceAnchor;
use forestsync_provisioner::Rehearsal;
use forestsync_schemas::OutcomeRecord;
use forestsync_schemas::desired::{CloudClass, CloudValue};
use forestsync_schemas::outcomes::{AttributeChange, AttributeChanges, MatchedBy, OutcomeEvent};
use serde::{Deserialize, Serialize};

use crate::config::Settings;
use crate::exit::UsageError;
use crate::output::{self, printable};
use crate::status::name_of;

/// Steps of one kind that are shown unless all are asked for.
const SHOWN: usize = 20;
/// Members that are named.
const MEMBERS: usize = 10;

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The configuration's name.
    pub configuration: String,
    /// The digest of the file that it was made by.
    pub digest: String,
    /// The tenant.
    pub tenant: String,
    /// Wishes up to this offset (exclusive) of `desired` are in it.
    pub desired_offset: u64,
    /// It goes on from this offset of `outcomes`.
    pub outcomes_offset: u64,
    /// Why nothing at all would be wished anew, where that is so.
    pub holds: Vec<String>,
    /// How many steps of each kind, by class.
    pub counts: Vec<Count>,
    /// The steps.
    pub steps: Vec<Step>,
}

/// How often something would be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Of which objects.
    pub class: CloudClass,
    /// What.
    pub action: Action,
    /// To how many objects; of memberships, how many.
    pub count: usize,
}

/// What would be done, or not done, to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It would be created.
    Create,
    /// An object of the tenant would become the one of this source anchor.
    Join,
    /// It would be brought back.
    Restore,
    /// Attributes would be written.
    Update,
    /// Its manager would be set or cleared.
    SetManager,
    /// Its owner would be set or cleared.
    SetOwner,
    /// It would get members.
    AddMembers,
    /// It would lose members.
    RemoveMembers,
    /// It would be disabled now, and deleted later.
    DeleteLater,
    /// It would be deleted.
    Delete,
    /// It would be left as it is from then on.
    LetGo,
    /// It would wait for somebody's decision.
    Hold,
    /// It would fail, as far as that can be seen.
    Fail,
}

impl Action {
    fn is_of_members(self) -> bool {
        matches!(self, Self::AddMembers | Self::RemoveMembers)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Join => "join",
            Self::Restore => "restore",
            Self::Update => "update",
            Self::SetManager => "set manager",
            Self::SetOwner => "set owner",
            Self::AddMembers => "add members",
            Self::RemoveMembers => "remove members",
            Self::DeleteLater => "delete later",
            Self::Delete => "delete",
            Self::LetGo => "let go",
            Self::Hold => "hold",
            Self::Fail => "fail",
        }
    }
}

/// One thing that would be done to an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its distinguished name.
    pub name: String,
    /// Its source anchor.
    pub anchor: String,
    /// Its class.
    pub class: CloudClass,
    /// What.
    pub action: Action,
    /// Attributes with their values before and after; of one that is joined or restored, what it has already.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changes: AttributeChanges,
    /// Members, or managers and owners before and after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
    /// More, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Plan {
    /// The plan that a rehearsal makes, or what was done, in the same words.
    pub fn of(settings: &Settings, rehearsal: &Rehearsal, holds: Vec<String>) -> Self {
        let steps = steps(&rehearsal.outcomes, &rehearsal.names);
        let mut counted: BTreeMap<(CloudClass, Action), usize> = BTreeMap::new();
        for step in &steps {
            let weight = if step.action.is_of_members() { step.others.len() } else { 1 };
            *counted.entry((step.class, step.action)).or_default() += weight;
        }
        let counts = counted.into_iter().map(|((class, action), count)| Count { class, action, count }).collect();
        Self {
            configuration: settings.configuration.clone(),
            digest: settings.digest.clone(),
            tenant: settings.tenant.tenant_id.clone(),
            desired_offset: rehearsal.desired_next,
            outcomes_offset: rehearsal.outcomes_from,
            holds,
            counts,
            steps,
        }
    }

    /// Reads one that was kept by [`Plan::keep`].
    pub fn read(file: &Path) -> Result<Self, UsageError> {
        let wrong = |detail: &dyn std::fmt::Display| {
            let hint = "name a file that forestsync plan --out has written";
            UsageError::new(format!("{}: {detail}", file.display()), hint)
        };
        let text = std::fs::read(file).map_err(|error| wrong(&error))?;
        serde_json::from_slice(&text).map_err(|error| wrong(&error))
    }

    /// Writes it to a new file that only this account can read, for it holds values of attributes.
    pub fn keep(&self, file: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        output::keep(file, &text).with_context(|| format!("the plan cannot be written to {}", file.display()))
    }

    /// The steps of this one that the other does not have, each as it would be said: what differs lies in either.
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        let known: HashMap<(&str, Action), Vec<&Step>> = other.steps.iter().fold(HashMap::new(), |mut all, step| {
            all.entry((step.anchor.as_str(), step.action)).or_default().push(step);
            all
        });
        let has = |step: &Step| known.get(&(step.anchor.as_str(), step.action)).is_some_and(|all| all.contains(&step));
        self.steps.iter().filter(|step| !has(step)).map(Step::heading).collect()
    }
}

impl Step {
    fn heading(&self) -> String {
        let detail = self.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        format!("{} {} {}{detail}", self.action.word(), self.class.as_str(), printable(&self.name))
    }
}

/// What these outcomes say was done, or would be, with each object's name by its anchor.
pub fn steps(outcomes: &[OutcomeRecord], names: &HashMap<SourceAnchor, String>) -> Vec<Step> {
    let mut steps: Vec<Step> = outcomes.iter().filter_map(|record| step(record, names)).collect();
    // memberships go in portions, and failures are said again
    steps.sort_by(|a, b| (&a.name, &a.anchor, a.action).cmp(&(&b.name, &b.anchor, b.action)));
    steps.dedup_by(|next, step| {
        let same = (&next.anchor, next.action) == (&step.anchor, step.action);
        if same && step.action.is_of_members() {
            step.others.append(&mut next.others);
        }
        same && !matches!(step.action, Action::SetOwner | Action::Hold)
    });
    for step in steps.iter_mut().filter(|step| step.action.is_of_members()) {
        step.others.sort();
    }
    steps
}

fn step(record: &OutcomeRecord, names: &HashMap<SourceAnchor, String>) -> Option<Step> {
    let named = |anchor: &SourceAnchor| names.get(anchor).cloned().unwrap_or_else(|| anchor.to_string());
    let many = |anchors: &[SourceAnchor]| anchors.iter().map(named).collect::<Vec<_>>();
    let (mut changes, mut others, mut detail) = (AttributeChanges::new(), Vec::new(), None);
    let action = match &record.event {
        OutcomeEvent::ObjectProvisioned(e) => {
            let after = |value: &CloudValue| AttributeChange { before: None, after: Some(value.clone()) };
            changes = e.attributes.iter().map(|(name, value)| (name.clone(), after(value))).collect();
            Action::Create
        }
        OutcomeEvent::ObjectAdopted(e) => {
            detail = Some(match (e.matched_by, &e.pair) {
                (MatchedBy::Anchor, _) => "it has the source anchor already".to_owned(),
                (MatchedBy::UserPrincipalName, _) => "found by its name for signing in".to_owned(),
                (MatchedBy::Mail, _) => "found by its mail address".to_owned(),
                (MatchedBy::Attribute, Some(pair)) => format!("found by {pair}"),
                (MatchedBy::Attribute, None) => "found by an attribute that soft_match names".to_owned(),
            });
            Action::Join
        }
        OutcomeEvent::ObjectRestored(_) => Action::Restore,
        OutcomeEvent::ObjectUpdated(e) => {
            changes.clone_from(&e.changes);
            Action::Update
        }
        OutcomeEvent::ObjectDeprovisioned(_) => Action::Delete,
        OutcomeEvent::DeletionDeferred(_) => Action::DeleteLater,
        OutcomeEvent::ObjectRelinquished(e) => {
            detail = Some(e.detail.clone());
            Action::LetGo
        }
        OutcomeEvent::ManagerChanged(e) => {
            others.extend(e.after.as_ref().map(named));
            detail = e.after.is_none().then(|| "none".to_owned());
            Action::SetManager
        }
        OutcomeEvent::OwnerChanged(e) => {
            others.extend(e.after.as_ref().map(named));
            detail = e.before.as_ref().map(|before| format!("instead of {}", named(before)));
            Action::SetOwner
        }
        OutcomeEvent::MemberAdded(e) => {
            others = many(&e.members);
            Action::AddMembers
        }
        OutcomeEvent::MemberRemoved(e) => {
            others = many(&e.members);
            Action::RemoveMembers
        }
        OutcomeEvent::ExportHeld(e) => {
            detail = Some(format!("{}: {}", name_of(&e.operation).replace('_', " "), e.detail));
            Action::Hold
        }
        OutcomeEvent::ExportFailed(e) => {
            detail = Some(failure(&e.error.code, e.error.attribute.as_deref(), &e.error.detail));
            Action::Fail
        }
        OutcomeEvent::ExportQuarantined(e) => {
            detail = Some(failure(&e.error.code, e.error.attribute.as_deref(), &e.error.detail));
            Action::Fail
        }
        OutcomeEvent::ExportReleased(_)
        | OutcomeEvent::NotWritable(_)
        | OutcomeEvent::ExportStopped(_)
        | OutcomeEvent::ConfigurationQuarantined(_)
        | OutcomeEvent::ConfigurationRecovered(_)
        | OutcomeEvent::NotificationSent(_)
        | OutcomeEvent::ExportResumed(_)
        | OutcomeEvent::DriftFound(_)
        | OutcomeEvent::MembersDrifted(_)
        | OutcomeEvent::DeletedByOthers(_)
        | OutcomeEvent::DriftEnded(_)
        | OutcomeEvent::TenantCompared(_) => return None,
    };
    let (anchor, class) = (&record.context.anchor, record.context.class);
    Some(Step { name: named(anchor), anchor: anchor.to_string(), class, action, changes, others, detail })
}

fn failure(code: &str, attribute: Option<&str>, detail: &str) -> String {
    let attribute = attribute.map(|name| format!(" ({name})")).unwrap_or_default();
    format!("{code}{attribute}: {detail}")
}

/// How many steps of each kind there are, for a terminal.
pub fn render_counts(plan: &Plan) -> String {
    let mut table = output::table(&["class", "action", "count"]);
    output::numbers_from(&mut table, 2);
    for Count { class, action, count } in &plan.counts {
        table.add_row([class.as_str().to_owned(), action.word().to_owned(), count.to_string()]);
    }
    output::render(&table)
}

/// The plan for a terminal.
pub fn render(plan: &Plan, all: bool) -> String {
    let mut lines: Vec<String> = plan.holds.iter().map(|hold| format!("held: {hold}")).collect();
    if plan.steps.is_empty() {
        lines.push("nothing would be done".to_owned());
        return lines.join("\n") + "\n";
    }
    lines.push(render_counts(plan).trim_end().to_owned());
    let mut shown: BTreeMap<Action, usize> = BTreeMap::new();
    for step in &plan.steps {
        let so_far = shown.entry(step.action).or_default();
        *so_far += 1;
        if all || *so_far <= SHOWN {
            lines.extend(render_step(step, all));
        }
    }
    for (action, count) in shown.into_iter().filter(|(_, count)| !all && *count > SHOWN) {
        lines.push(format!("\n{} more to {}; --all shows them", count - SHOWN, action.word()));
    }
    lines.join("\n") + "\n"
}

/// A step for a terminal, a blank line before it.
pub fn render_step(step: &Step, all: bool) -> Vec<String> {
    let mut lines = vec![format!("\n{}", step.heading())];
    lines.extend(change_lines(&step.changes).into_iter().map(|line| format!("    {line}")));
    let limit = if all { usize::MAX } else { MEMBERS };
    lines.extend(step.others.iter().take(limit).map(|other| format!("    {}", printable(other))));
    if step.others.len() > limit {
        lines.push(format!("    and {} more", step.others.len() - limit));
    }
    lines
}

/// Attributes with their values before and after, one a line.
pub(crate) fn change_lines(changes: &AttributeChanges) -> Vec<String> {
    let line = |(name, AttributeChange { before, after }): (&String, &AttributeChange)| {
        let change = match (before, after) {
            (None, Some(after)) => shown(after),
            (Some(before), None) => format!("{} -> nothing", shown(before)),
            (Some(before), Some(after)) => format!("{} -> {}", shown(before), shown(after)),
            (None, None) => "nothing".to_owned(),
        };
        format!("{name}: {change}")
    };
    changes.iter().map(line).collect()
}

fn shown(value: &CloudValue) -> String {
    match value {
        CloudValue::Bool(value) => value.to_string(),
        CloudValue::Integer(value) => value.to_string(),
        CloudValue::Text(text) => printable(text),
        CloudValue::List(values) => values.iter().map(|text| printable(text)).collect::<Vec<_>>().join("; "),
    }
}
