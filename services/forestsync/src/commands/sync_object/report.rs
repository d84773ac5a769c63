//! What `sync-object` shows: its JSON, and its text. Fields are added, never removed or given another meaning.

use std::time::Duration;

use forestsync_projector::query::{LinkDifference, ValueDifference};
use forestsync_provisioner::{HeldWrite, Standing, StandingState};
use forestsync_schemas::outcomes::MatchedBy;
use serde::Serialize;

use crate::output::{count, printable};
use crate::plan::{Step, render_step};
use crate::status::name_of;

/// Values and names of one kind that are shown in the text.
const SHOWN: usize = 10;

/// The JSON of `sync-object --json`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// The configuration's name.
    pub configuration: String,
    /// Nothing was written.
    pub dry_run: bool,
    /// What the directory shows.
    pub import: Import,
    /// Whether it belongs into the tenant.
    pub scope: ScopeStep,
    /// Which objects it is, here and there.
    #[serde(rename = "match")]
    pub matching: Matching,
    /// What is written, or would be.
    pub action: ActionStep,
    /// How it ended.
    pub result: Outcome,
}

/// The first step.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Import {
    /// The forest's configured name.
    pub forest: String,
    /// The naming context.
    pub naming_context: String,
    /// objectGUID.
    pub object: String,
    /// Its name in the directory.
    pub dn: String,
    /// The name that it has in the history; none if it is not known there.
    pub known_as: Option<String>,
    /// The controller that showed it.
    pub controller: String,
    /// uSNChanged there, if the account can read it.
    pub usn_changed: Option<u64>,
    /// whenChanged, likewise.
    pub when_changed: Option<String>,
    /// Whether the directory says anything else than the history.
    pub differs: bool,
    /// Attributes with other values.
    pub changes: Vec<ValueDifference>,
    /// Links with other values.
    pub links: Vec<LinkDifference>,
    /// Links with too many values to compare them.
    pub long_links: Vec<String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// The second step.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ScopeStep {
    /// Whether it is in scope.
    pub in_scope: bool,
    /// Why, or why not.
    pub reason: String,
    /// Why nothing follows from anything at the moment, if that is so.
    pub obstacle: Option<String>,
    /// What holds the configuration.
    pub held: Vec<String>,
    /// It is in scope, and is not sent because of what is wrong with it.
    pub kept_back: bool,
    /// What is wrong with it.
    pub findings: Vec<String>,
    /// How long it took, in milliseconds, with the part of the match that the projection answers.
    pub elapsed_ms: u64,
}

/// The third step.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Matching {
    /// The source anchor.
    pub anchor: Option<String>,
    /// The class of the cloud object.
    pub class: Option<String>,
    /// The directory objects it is made of.
    pub objects: Vec<Member>,
    /// The cloud object.
    pub cloud_id: Option<String>,
    /// How the cloud object was found: `ledger`, `anchor`, `user_principal_name`, `mail`, `deleted` (it would be brought
    /// back), `create` (there is none), or nothing where that is not known.
    pub matched_by: Option<String>,
    /// How long it took, in milliseconds; 0 where another step brought the answer.
    pub elapsed_ms: u64,
}

/// One of the directory objects that are one.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Member {
    /// The forest's configured name.
    pub forest: String,
    /// objectGUID.
    pub object: String,
    /// Its name.
    pub dn: String,
    /// The join rule that made it part of the others.
    pub joined_by: Option<String>,
}

/// The fourth step.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct ActionStep {
    /// What is done to it, in the words of a plan.
    pub steps: Vec<Step>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// The end.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Outcome {
    /// `dry_run`, `in_step`, `nothing_to_do`, `held`, `quarantined`, `kept_back`, `staging`, `not_writable`, `deferred`,
    /// `retrying` or `pending`.
    pub state: &'static str,
    /// The same for a person.
    pub detail: String,
    /// How the object stands by the ledger; none if it has none.
    pub standing: Option<Standing>,
    /// What was answered, in order.
    pub requests: Vec<Sent>,
    /// The trace id of the look that took it in.
    pub trace: Option<String>,
    /// How long everything took, in milliseconds.
    pub elapsed_ms: u64,
}

/// What came of a request.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sent {
    /// The type of the outcome.
    pub outcome: String,
    /// HTTP status.
    pub status: Option<u16>,
    /// Graph's request id.
    pub request_id: Option<String>,
}

/// Whole milliseconds.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How an object of the tenant was matched.
pub(super) fn matched_by(by: MatchedBy) -> &'static str {
    match by {
        MatchedBy::Anchor => "anchor",
        MatchedBy::UserPrincipalName => "user_principal_name",
        MatchedBy::Mail => "mail",
        MatchedBy::Attribute => "attribute",
    }
}

/// The report for a terminal.
pub(super) fn render(report: &Report) -> String {
    let mut lines = Vec::new();
    import(&report.import, &mut lines);
    scope(&report.scope, &mut lines);
    matching(&report.matching, &mut lines);
    action(report, &mut lines);
    let Outcome { detail, requests, trace, elapsed_ms, .. } = &report.result;
    lines.push(format!("\nResult  ({elapsed_ms} ms in all)"));
    lines.push(format!("  {}", printable(detail)));
    for Sent { outcome, status, request_id, .. } in requests {
        let status = status.map(|status| format!(", status {status}")).unwrap_or_default();
        let id = request_id.as_ref().map(|id| format!(", request {id}")).unwrap_or_default();
        lines.push(format!("  {outcome}{status}{id}"));
    }
    lines.extend(trace.as_ref().map(|trace| format!("  trace {trace}")));
    lines.join("\n") + "\n"
}

fn import(step: &Import, lines: &mut Vec<String>) {
    lines.push(format!("Import  ({} ms)", step.elapsed_ms));
    lines.push(format!("  {} of forest {}", printable(&step.dn), step.forest));
    let usn = step.usn_changed.map(|usn| format!(", USN {usn}")).unwrap_or_default();
    let when = step.when_changed.as_ref().map(|when| format!(", changed {when}")).unwrap_or_default();
    lines.push(format!("  {} read from {}{usn}{when}", step.object, step.controller));
    match &step.known_as {
        None => lines.push("  the history does not have it".to_owned()),
        Some(name) if *name != step.dn => lines.push(format!("  the history has it as {}", printable(name))),
        Some(_) if !step.differs => lines.push("  the history says the same".to_owned()),
        Some(_) => lines.push("  the history says something else:".to_owned()),
    }
    if step.known_as.is_some() {
        for ValueDifference { attribute, before, after } in &step.changes {
            lines.push(format!("    {attribute}: {} -> {}", values(before), values(after)));
        }
    } else if !step.changes.is_empty() {
        let names: Vec<&str> = step.changes.iter().map(|change| change.attribute.as_str()).collect();
        lines.push(format!("    it has {}", names.join(", ")));
    }
    if step.changes.iter().any(|change| change.after.is_empty()) {
        lines.push("    a value that went may also be one that the account may not read any more;".to_owned());
        lines.push("    the directory's changes tell which it is".to_owned());
    }
    for LinkDifference { attribute, added, removed } in &step.links {
        for (sign, others) in [("+", added), ("-", removed)] {
            let shown = others.iter().take(SHOWN);
            lines.extend(shown.map(|other| format!("    {attribute}: {sign} {}", printable(other))));
            if others.len() > SHOWN {
                lines.push(format!("    {attribute}: {sign} {} more", others.len() - SHOWN));
            }
        }
    }
    for link in &step.long_links {
        lines.push(format!("    {link}: too many values to compare them here"));
    }
}

fn values(values: &[String]) -> String {
    if values.is_empty() { "nothing".to_owned() } else { printable(&values.join("; ")) }
}

fn scope(step: &ScopeStep, lines: &mut Vec<String>) {
    lines.push(format!("\nScope  ({} ms)", step.elapsed_ms));
    lines.push(format!("  {}", printable(&step.reason)));
    lines.extend(step.obstacle.iter().map(|why| format!("  nothing follows yet: {why}")));
    lines.extend(step.held.iter().map(|why| format!("  held: {}", printable(why))));
    if step.kept_back {
        lines.push("  it is not sent as it is, because of what is wrong with it".to_owned());
    }
    lines.extend(step.findings.iter().map(|finding| format!("  {}", printable(finding))));
}

fn matching(step: &Matching, lines: &mut Vec<String>) {
    lines.push(format!("\nMatch  ({} ms)", step.elapsed_ms));
    let Some(anchor) = &step.anchor else {
        lines.push("  it has no source anchor, because it is not wished in the tenant".to_owned());
        return;
    };
    let class = step.class.as_deref().unwrap_or("object");
    lines.push(format!("  {class} with source anchor {anchor}"));
    if step.objects.len() > 1 {
        for Member { forest, dn, joined_by, .. } in &step.objects {
            let rule = joined_by.as_ref().map(|rule| format!(", joined by rule {rule}")).unwrap_or_default();
            lines.push(format!("    {forest} {}{rule}", printable(dn)));
        }
    }
    let id = step.cloud_id.as_deref().unwrap_or_default();
    match step.matched_by.as_deref() {
        Some("ledger") => lines.push(format!("  cloud object {id}, known from before")),
        Some("create") => lines.push("  no cloud object matches it: one is created".to_owned()),
        Some("deleted") => lines.push(format!("  cloud object {id}, which is deleted and brought back")),
        Some(by) => lines.push(format!("  cloud object {id}, found by {}", by.replace('_', " "))),
        None if id.is_empty() => lines.push("  no cloud object".to_owned()),
        None => lines.push(format!("  cloud object {id}")),
    }
}

fn action(report: &Report, lines: &mut Vec<String>) {
    let ActionStep { steps, notes, elapsed_ms } = &report.action;
    lines.push(format!("\nAction  ({elapsed_ms} ms)"));
    if steps.is_empty() {
        lines.push(if report.dry_run { "  nothing would be done" } else { "  nothing was done" }.to_owned());
    }
    let of_step = |step: &Step| {
        let rendered = render_step(step, false).into_iter().map(|line| line.trim_start_matches('\n').to_owned());
        rendered.map(|line| format!("  {line}")).collect::<Vec<_>>()
    };
    lines.extend(steps.iter().flat_map(of_step));
    lines.extend(notes.iter().map(|note| format!("  {}", printable(note))));
}

/// How an object stands, for a person.
pub(super) fn words(standing: &Standing) -> String {
    let of = |attribute: &Option<String>| attribute.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let pending = match standing.memberships_pending {
        0 => String::new(),
        n => format!("; {} still to be written", count(n, "membership")),
    };
    let text = match &standing.state {
        StandingState::Unknown => "nothing is wished of it in the tenant".to_owned(),
        StandingState::InStep => "in step: the tenant holds what is wished".to_owned(),
        StandingState::Pending => "pending: something is still to be written".to_owned(),
        StandingState::Retrying { operation, code, attribute, at } => {
            format!("{} failed with {code}{}; tried again at {at}", name_of(operation), of(attribute))
        }
        StandingState::Quarantined { operation, code, attribute, at } => {
            let when = at.map_or("it rests until the object changes".to_owned(), |at| format!("tried again at {at}"));
            let after = count(u64::from(standing.attempts), "attempt");
            format!("quarantined: {} failed with {code}{} after {after}; {when}", name_of(operation), of(attribute))
        }
        StandingState::Held { writes } => {
            let held = |write: &HeldWrite| format!("{}: {}", name_of(&write.operation).replace('_', " "), write.detail);
            format!("held: {}", writes.iter().map(held).collect::<Vec<_>>().join("; "))
        }
        StandingState::Deferred { until } => format!("it is disabled, and deleted at {until}"),
        StandingState::NotWritable => "Microsoft Graph cannot write objects of its class".to_owned(),
    };
    text + &pending
}
