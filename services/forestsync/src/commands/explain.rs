//! `forestsync explain` and `forestsync lint`: questions to the projection.

use std::path::PathBuf;

use anyhow::{Result, bail};
use comfy_table::ContentArrangement;
use forestsync_projector::query::{Answer, AttributeView, Explanation, LintFilter, LintRow, OriginView, Query};
use forestsync_projector::{ProjectorConfig, ask};
use forestsync_provisioner::Holders;

use crate::cli::{ExplainArgs, LintArgs, ListFormat};
use crate::config::{self, Settings};
use crate::exit::{Exit, UsageError};
use crate::output::{self, printable, quoted};
use crate::pipeline::{RunOptions, projector_config_from_log, tenant_config};
use crate::progress::Tally;

async fn answer(settings: &Settings, data: Option<PathBuf>, query: Query) -> Result<Answer> {
    let log = settings.existing_log()?;
    let found = projector_config_from_log(settings, log.as_ref()).await?;
    let directory = data.unwrap_or_else(|| found.directory.clone());
    let answer = ask(ProjectorConfig { directory, ..found }, log, query).await?;
    if let Answer::Failed(why) = answer {
        bail!("{why}");
    }
    Ok(answer)
}

/// Shows why an object is what it is.
pub async fn explain(args: ExplainArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let Answer::Explain(found) = answer(&settings, args.data, Query::Explain(args.object.clone())).await? else {
        bail!("the projector answered something else");
    };
    if found.is_empty() {
        let hint = "give its distinguished name, objectGUID, source anchor, sign-in name or mail address; what is not in \
                    scope is found by distinguished name and objectGUID only";
        return Err(UsageError::new(format!("nothing is known by {:?}", args.object), hint).into());
    }
    if args.json {
        output::json(&found)?;
    } else {
        output::text(&found.iter().map(|one| render(one, args.all)).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Exit::Done)
}

fn render(one: &Explanation, all: bool) -> String {
    let mut out = String::new();
    let mut line = |text: String| out += &(text + "\n");
    match (&one.anchor, &one.class) {
        (Some(anchor), Some(class)) => {
            let written = one.revision.map_or("not written yet".to_owned(), |r| format!("written {r} times"));
            let kept = if one.is_kept_back { ", kept back because of a finding" } else { "" };
            line(format!("{class} with source anchor {anchor}, {written}{kept}"));
        }
        _ => line("not wished in the tenant".into()),
    }
    one.state.iter().for_each(|state| line(format!("  {state}")));
    one.held.iter().for_each(|why| line(format!("  held: {why}")));
    line(String::new());
    for object in &one.objects {
        line(format!("{} {}", object.forest, object.dn));
        line(format!("  {} {}", object.class, object.object));
        line(format!("  {}", object.scope));
        object.joined_by.iter().for_each(|rule| line(format!("  joined by rule {rule}")));
        if object.is_expired {
            line("  its account has expired".into());
        }
        object.image.iter().for_each(|image| line(format!("  first shown by {}", origin(&object.stream, image))));
        for finding in &object.findings {
            line(format!("  {} {} ({}): {}", finding.severity, finding.rule, finding.attribute, finding.message));
        }
    }
    let shown: Vec<&AttributeView> = one.attributes.iter().filter(|a| all || a.value.is_some()).collect();
    if !shown.is_empty() {
        line(String::new());
    }
    for attribute in shown {
        let value = attribute.value.as_deref().map_or_else(|| format!("- ({})", attribute.outcome), str::to_owned);
        let when = if attribute.at_creation { ", at creation only" } else { "" };
        line(format!("{} = {value}", attribute.target));
        line(format!("    {}   [{}{when}]", attribute.rule, attribute.origin));
        for input in attribute.inputs.iter().filter(|input| all || !input.values.is_empty()) {
            let place = format!("{} {}", input.forest, origin(&input.stream, &input.origin));
            line(format!("    {} = {}   from {place}", input.attribute, input.values.join("; ")));
        }
    }
    if !one.references.is_empty() {
        line(String::new());
    }
    for reference in &one.references {
        let name = reference.dn.as_deref().unwrap_or(&reference.object);
        line(format!("{} {name}: {}", reference.attribute, reference.state));
    }
    if !one.not_writable.is_empty() {
        line(String::new());
        line(format!("not writable through Graph: {}", one.not_writable.join(", ")));
    }
    out
}

fn origin(stream: &str, origin: &OriginView) -> String {
    let usn = origin.usn.map(|usn| format!(", USN {usn}")).unwrap_or_default();
    let controller = origin.controller.as_ref().map(|name| format!(", controller {name}{usn}")).unwrap_or_default();
    let time = origin.time.as_ref().map(|time| format!(", {time}")).unwrap_or_default();
    format!("{stream} offset {}{controller}{time}", origin.offset)
}

/// Shows what is wrong with objects.
pub async fn lint(args: LintArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let LintArgs { forest, rules, attributes, severity, values, limit, .. } = args.clone();
    let filter = LintFilter { forest, rules, attributes, severity, values, limit };
    let mut rows = findings(&settings, args.data.clone(), Query::Lint(filter.clone())).await?;
    if args.tenant {
        rows.extend(taken(&settings, args.data, &filter).await?);
        rows.truncate(limit);
    }
    match if args.json { ListFormat::Json } else { args.format } {
        ListFormat::Json => output::json(&rows)?,
        ListFormat::Csv => output::text(&csv(&rows))?,
        ListFormat::Table => output::text(&table(&rows, args.values))?,
    }
    Ok(Exit::Done)
}

async fn findings(settings: &Settings, data: Option<PathBuf>, query: Query) -> Result<Vec<LintRow>> {
    match answer(settings, data, query).await? {
        Answer::Lint(rows) => Ok(rows),
        _ => bail!("the projector answered something else"),
    }
}

/// Findings on what the tenant holds.
async fn taken(settings: &Settings, data: Option<PathBuf>, filter: &LintFilter) -> Result<Vec<LintRow>> {
    let credential = settings.tenant.read_credential()?;
    let mut holders = Holders::new(&tenant_config(settings, RunOptions::default(), credential))?;
    let mut progress = Tally::new("users and groups of the tenant");
    let mut rows = Vec::new();
    while let Some(page) = holders.next().await? {
        progress.add(page.len());
        rows.extend(findings(settings, data.clone(), Query::Taken(page, filter.clone())).await?);
    }
    Ok(rows)
}

fn table(rows: &[LintRow], values: bool) -> String {
    if rows.is_empty() {
        return "nothing is wrong\n".into();
    }
    let mut header = vec!["severity", "rule", "attribute", "object"];
    if values {
        header.extend(["value", "proposed"]);
    }
    let mut table = output::table(&header);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for row in rows {
        let mut cells = vec![row.severity.clone(), row.rule.clone(), row.attribute.clone(), row.dn.clone()];
        if values {
            cells.extend([row.value.clone().unwrap_or_default(), row.fix.clone().unwrap_or_default()]);
        }
        table.add_row(cells.into_iter().map(|cell| printable(&cell)));
    }
    format!("{}{} findings\n", output::render(&table), rows.len())
}

fn csv(rows: &[LintRow]) -> String {
    let mut out = "severity,rule,attribute,forest,object,dn,message,value,proposed\n".to_owned();
    for row in rows {
        let none = String::new();
        let (value, fix) = (row.value.as_ref().unwrap_or(&none), row.fix.as_ref().unwrap_or(&none));
        let fields =
            [&row.severity, &row.rule, &row.attribute, &row.forest, &row.object, &row.dn, &row.message, value, fix];
        out += &fields.map(|field| quoted(field)).join(",");
        out.push('\n');
    }
    out
}
