//! The report as text.

use std::fmt::Write as _;

use forestsync_schemas::control::Verdict;
use forestsync_schemas::decisions::Doubt;

use super::{Hold, HoldDecision, Issue, LISTED, Report, Source, SourceState};
use crate::output::{self, count, printable};

/// The report for a person. Lists are cut to [`LISTED`] unless `all` is asked for.
pub fn render(report: &Report, all: bool) -> String {
    let mut out = String::new();
    heading(report, &mut out);
    sources(report, &mut out);
    if let Some(stopped) = &report.export_stopped {
        section(&mut out, &format!("Nothing is written to the tenant: {}", stopped.cause.replace('_', " ")));
        say(&mut out, &stopped.detail);
        say(&mut out, &format!("hint: {}", stopped.hint));
        say(&mut out, &format!("since {}", seconds(&stopped.since)));
    }
    if let Some(quarantine) = &report.quarantine {
        section(&mut out, "Quarantined: so much fails that little is tried");
        let references = count(quarantine.references, "reference");
        say(
            &mut out,
            &format!("{} of {} failed, and {references}", quarantine.failing, count(quarantine.objects, "object")),
        );
        say(&mut out, "hint: find what they have in common below; it goes on by itself once most of it succeeds");
        let (since, next) = (seconds(&quarantine.since), seconds(&quarantine.retry_at));
        say(&mut out, &format!("since {since}; the next ones are tried at {next}"));
    }
    for hold in &report.holds {
        section(&mut out, &format!("Held: forest {}: {}", hold.forest, hold.reason.replace('_', " ")));
        for line in about(hold) {
            say(&mut out, &line);
        }
        say(&mut out, &format!("since {}; until it is resolved nothing at all is written", seconds(&hold.since)));
    }
    objects(report, &mut out);
    issues(&mut out, "Failed and tried again", &report.failed, report.failed_count, all);
    issues(&mut out, "Held", &report.held, report.held_count, all);
    issues(&mut out, "Deleted later, disabled until then", &report.deferred, report.deferred_count, all);
    issues(&mut out, "Quarantined: failed too often", &report.quarantined, report.quarantined_count, all);
    findings(report, &mut out, all);
    drift(report, &mut out);
    not_writable(report, &mut out);
    lag(report, &mut out);
    services(report, &mut out);
    out
}

/// What is to be known of a hold.
pub(crate) fn about(hold: &Hold) -> Vec<String> {
    let mut lines = vec![printable(&hold.detail)];
    match (hold.leaving, &hold.doubt) {
        (_, Some(Doubt::Attribute { .. })) => lines.push("approved, these values are cleared in the tenant".to_owned()),
        (Some(leaving), _) => lines.push(format!("approved, {} would leave the tenant", count(leaving, "object"))),
        (None, _) => {}
    }
    if let Some(HoldDecision { verdict, by, reason, since, until }) = &hold.decided {
        let what = match verdict {
            Verdict::Approve => "approved, and not taken up yet,",
            Verdict::Reject => "rejected",
        };
        let [since, until] = [since, until].map(|at| seconds(at));
        lines.push(format!("{what} by {} on {since} until {until}: {}", printable(by), printable(reason)));
    }
    lines.push(format!("hint: {}", printable(&hold.hint)));
    lines
}

fn drift(report: &Report, out: &mut String) {
    let Some(compared) = &report.compared else { return };
    section(out, "What others did in the tenant");
    for (policy, number) in &report.drift {
        let what = match policy.as_str() {
            "enforce" => "to be undone",
            "accept" => "accepted",
            _ => "reported: forestsync drift lists it",
        };
        say(out, &format!("{number} {what}"));
    }
    if report.drift.is_empty() {
        say(out, "nothing that is left");
    }
    say(out, &format!("compared at {}, and since", seconds(compared)));
}

fn services(report: &Report, out: &mut String) {
    if report.groups.is_empty() {
        return;
    }
    section(out, "Services");
    for group in &report.groups {
        for owned in &group.streams {
            let owner = owned.owner.as_deref().unwrap_or("NOBODY");
            let phase = match &owned.report["phase"] {
                serde_json::Value::String(phase) => format!(": {phase}"),
                serde_json::Value::Object(phase) => {
                    phase.get("state").and_then(|s| s.as_str()).map_or_else(String::new, |s| format!(": {s}"))
                }
                _ => String::new(),
            };
            say(out, &format!("{}  {} is owned by {owner}{phase}", group.group, owned.stream));
        }
        let standby = group.members.iter().filter(|member| member.streams.is_empty());
        for member in standby {
            say(out, &format!("{}  {} stands by", group.group, member.instance));
        }
        if group.members.is_empty() {
            say(out, &format!("{}  nobody takes part", group.group));
        }
    }
}

fn section(out: &mut String, title: &str) {
    let _never = write!(out, "\n{title}\n");
}

fn say(out: &mut String, line: &str) {
    if !line.is_empty() {
        let _never = writeln!(out, "  {line}");
    }
}

fn heading(report: &Report, out: &mut String) {
    let revision = match report.revision {
        None => "never run".to_owned(),
        Some(revision) if report.file_differs => {
            format!("revision {revision}; the file was changed since and takes effect with the next run")
        }
        Some(revision) => format!("revision {revision}"),
    };
    let _never = writeln!(out, "Configuration {}: {revision}", report.configuration);
    if let Some(removed) = &report.removed {
        let state = if removed.is_done { "removed" } else { "being removed" };
        let objects =
            if removed.objects == "delete" { "what it managed is deleted" } else { "what it managed is released" };
        let (by, since) = (printable(&removed.by), seconds(&removed.since));
        say(out, &format!("{state}: {objects}, by {by} since {since}: {}", printable(&removed.reason)));
        if removed.is_done {
            say(out, "hint: forestsync activate --again puts it into force anew");
        } else {
            say(out, "hint: forestsync run, or remove-configuration once more, goes on with it");
        }
    }
    if report.staging {
        say(out, "in staging: nothing is written to the tenant; forestsync plan shows what would be");
    }
}

fn sources(report: &Report, out: &mut String) {
    section(out, "Sources");
    let mut table = output::table(&["forest", "naming context", "state", "controller", "last found", "events"]);
    for source in &report.sources {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.add_row([
            source.forest.clone(),
            or_dash(&source.naming_context),
            state(source),
            or_dash(&source.controller),
            source.last_cursor.as_deref().map_or_else(|| "-".to_owned(), seconds),
            source.records.to_string(),
        ]);
    }
    output::numbers_from(&mut table, 5);
    out.push_str(&output::render(&table));
    for source in &report.sources {
        if let Some(stopped) = &source.stopped {
            say(out, &format!("{} stopped since {}: {}", source.forest, seconds(&stopped.since), stopped.detail));
            say(out, &format!("  hint: {}", stopped.hint));
        }
    }
}

/// A time without its fraction.
pub(crate) fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

fn state(source: &Source) -> String {
    match source.state {
        SourceState::NeverRead => "never read".to_owned(),
        SourceState::Following => "following".to_owned(),
        SourceState::Snapshot => {
            let seen = source.snapshot.as_ref().map_or(0, |s| s.seen);
            format!("full read, {} so far", count(seen, "object"))
        }
        SourceState::Stopped => {
            let cause = source.stopped.as_ref().map_or("", |s| s.cause.as_str());
            format!("stopped: {}", cause.replace('_', " "))
        }
    }
}

fn objects(report: &Report, out: &mut String) {
    section(out, "Objects");
    let mut table = output::table(&["class", "desired", "provisioned", "surplus"]);
    for class in &report.classes {
        let row = [class.desired, class.provisioned, class.surplus].map(|n| n.to_string());
        table.add_row([class.class.replace('_', " ")].into_iter().chain(row));
    }
    let memberships = [report.memberships.desired, report.memberships.provisioned].map(|n| n.to_string());
    table.add_row(["membership".to_owned()].into_iter().chain(memberships).chain(["-".to_owned()]));
    output::numbers_from(&mut table, 1);
    out.push_str(&output::render(&table));
}

fn issues(out: &mut String, title: &str, issues: &[Issue], total: usize, all: bool) {
    if total == 0 {
        return;
    }
    section(out, &format!("{title}: {total}"));
    let shown = if all { issues.len() } else { LISTED };
    for issue in issues.iter().take(shown) {
        let name = issue.dn.as_deref().unwrap_or(&issue.anchor);
        let forest = issue.forest.as_ref().map_or_else(String::new, |f| format!("{f}: "));
        let what = issue.operation.replace('_', " ");
        say(out, &format!("{forest}{name} ({}, {what})", issue.class.replace('_', " ")));
        let code = issue.code.as_ref().map_or_else(String::new, |code| format!("{code}: "));
        let attribute = issue.attribute.as_ref().map_or_else(String::new, |a| format!("attribute {a}: "));
        say(out, &format!("  {code}{attribute}{}", issue.detail));
        if let Some(member) = issue.member.as_ref().filter(|m| !issue.detail.contains(m.as_str())) {
            say(out, &format!("  member {member}"));
        }
        if let Some(hint) = &issue.hint {
            say(out, &format!("  hint: {hint}"));
        }
        if let Some(retry_at) = &issue.retry_at {
            let at = seconds(retry_at);
            match issue.attempts {
                0 => say(out, &format!("at {at}")),
                attempts => say(out, &format!("  {} so far, again at {at}", count(attempts.into(), "attempt"))),
            }
        }
    }
    if total > shown {
        say(out, &format!("and {} more: use --all", total - shown));
    }
}

fn findings(report: &Report, out: &mut String, all: bool) {
    if report.findings_count == 0 {
        return;
    }
    section(out, &format!("To correct in the directories: {}", report.findings_count));
    let shown = if all { report.findings.len() } else { LISTED };
    for finding in report.findings.iter().take(shown) {
        let what = if finding.blocking { "not sent" } else { "sent as far as possible" };
        say(out, &format!("{}: {} ({what})", finding.forest, finding.dn));
        for message in &finding.messages {
            say(out, &format!("  {message}"));
        }
    }
    if report.findings_count > shown {
        say(out, &format!("and {} more: use --all", report.findings_count - shown));
    }
}

fn not_writable(report: &Report, out: &mut String) {
    let what = &report.not_writable;
    if what.objects.is_empty() && what.attributes.is_empty() {
        return;
    }
    section(out, "Not writable through Microsoft Graph");
    for (class, n) in &what.objects {
        say(out, &format!("{}: {}", class.replace('_', " "), count(*n, "object")));
    }
    for (attribute, n) in &what.attributes {
        say(out, &format!("attribute {attribute}: {}", count(*n, "object")));
    }
}

fn lag(report: &Report, out: &mut String) {
    section(out, "Pending");
    say(out, &count(report.lag.objects_pending, "object"));
    say(out, &count(report.lag.memberships_pending, "membership"));
    for (stream, behind) in report.lag.changes_behind.iter().filter(|(_, behind)| **behind > 0) {
        say(out, &format!("{} of {stream} since the last wish", count(*behind, "event")));
    }
}
