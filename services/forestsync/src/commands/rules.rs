//! `forestsync rules`: what is in force, and where it comes from.

use anyhow::Result;
use comfy_table::ContentArrangement;
use forestsync_rules::expression::functions;
use forestsync_rules::flow::{CompiledFlow, DEFAULT_FLOW, FlowClass, FlowRule, Origin, beside_rules, run_tests};
use forestsync_rules::hygiene;
use forestsync_rules::settings::OutOfScope;
use serde::Serialize;

use crate::cli::{FunctionsArgs, ReadArgs, RulesCommand, ShowArgs};
use crate::config::{self, Settings};
use crate::exit::Exit;
use crate::output;

/// Shows rules, and touches nothing.
pub fn rules(command: RulesCommand) -> Result<Exit> {
    match command {
        RulesCommand::Show(args) => show(&args),
        RulesCommand::Diff(args) => diff(&args),
        RulesCommand::Default => {
            output::text(DEFAULT_FLOW)?;
            Ok(Exit::Done)
        }
        RulesCommand::Functions(args) => list_functions(&args),
        RulesCommand::Hygiene(args) => list_hygiene(&args),
        RulesCommand::Test(args) => test(&args),
    }
}

/// A rule of the attribute flow as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct RuleLine {
    class: &'static str,
    target: String,
    rule: String,
    origin: String,
    at_creation: bool,
    default: Option<String>,
}

fn line(class: FlowClass, rule: &FlowRule) -> RuleLine {
    RuleLine {
        class: class.as_str(),
        target: rule.target().to_owned(),
        rule: rule.text(),
        origin: match rule.origin() {
            Origin::Default => "default".into(),
            Origin::Configuration(at) => format!("flow.rules[{at}]"),
        },
        at_creation: rule.is_at_creation(),
        default: rule.default().map(str::to_owned),
    }
}

fn lines(flow: &CompiledFlow) -> Vec<RuleLine> {
    FlowClass::ALL.into_iter().flat_map(|class| flow.rules(class).iter().map(move |rule| line(class, rule))).collect()
}

#[derive(Debug, Serialize)]
struct Shown {
    scope: Vec<String>,
    joins: Vec<String>,
    flow: Vec<RuleLine>,
    not_writable: Vec<NotWritable>,
}

#[derive(Debug, Serialize)]
struct NotWritable {
    class: String,
    reason: String,
    attributes: Vec<String>,
}

fn show(args: &ShowArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let (by_itself, not_writable) = beside_rules();
    let rows = by_itself.into_iter().chain(not_writable);
    let shown = Shown {
        scope: scope_of(&settings),
        joins: settings.rules.joins.names(),
        flow: lines(&settings.rules.flow),
        not_writable: rows
            .map(|row| NotWritable { class: row.class, reason: row.reason, attributes: row.attributes })
            .collect(),
    };
    if args.json {
        output::json(&shown)?;
        return Ok(Exit::Done);
    }
    let indented = |lines: &[String]| lines.iter().map(|line| ["  ", line, "\n"].concat()).collect::<String>();
    let joins = if shown.joins.is_empty() {
        "  none: each object stands for itself\n".to_owned()
    } else {
        indented(&shown.joins)
    };
    let flow: String = shown.flow.iter().map(shown_line).collect();
    let rest: Vec<String> = shown
        .not_writable
        .iter()
        .map(|row| format!("  {}, because {}:\n    {}\n", row.class, row.reason, row.attributes.join(", ")))
        .collect();
    let rest = if args.all { ["\nNo rule is about\n", &rest.concat()].concat() } else { String::new() };
    let scope = indented(&shown.scope);
    output::text(&format!("Scope\n{scope}\nJoins\n{joins}\nAttribute flow\n{flow}{rest}"))?;
    Ok(Exit::Done)
}

/// One rule a line: a table of expressions fits no terminal.
fn shown_line(line: &RuleLine) -> String {
    let when = if line.at_creation { ", at creation" } else { "" };
    let default = line.default.as_ref().map(|text| format!("   else {text:?} at creation")).unwrap_or_default();
    format!("  {}.{} = {}{default}   [{}{when}]\n", line.class, line.target, line.rule, line.origin)
}

fn scope_of(settings: &Settings) -> Vec<String> {
    let scope = &settings.rules.scope;
    let mut out = Vec::new();
    let classes: Vec<String> = scope.classes.iter().map(|class| format!("{class:?}").to_lowercase()).collect();
    out.push(format!("classes: {}", classes.join(", ")));
    for forest in &settings.forests {
        let list = |entries: &[forestsync_projector::ScopeEntry]| {
            entries.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let include = list(&forest.scope.include);
        let include = if include.is_empty() { "everything".to_owned() } else { include };
        out.push(format!("forest {}: {include}", forest.name()));
        if !forest.scope.exclude.is_empty() {
            out.push(format!("forest {}: not {}", forest.name(), list(&forest.scope.exclude)));
        }
    }
    for group in &scope.groups {
        let decides = group.decides.clone().unwrap_or_else(|| vec![group.forest.clone()]).join(", ");
        let verb = if group.exclude { "not members of" } else { "members of" };
        out.push(format!("objects of {decides}: {verb} {}", group.group));
    }
    if !scope.filter.is_empty() {
        out.push("an attribute filter (scope.filters)".into());
    }
    if let Some(pilot) = &scope.pilot {
        out.push(format!("a pilot of {} objects", pilot.len()));
    }
    if scope.out_of_scope == OutOfScope::Keep {
        out.push("what leaves the scope stays in the tenant".into());
    }
    out
}

fn diff(args: &ReadArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let (default, own) = (lines(&CompiledFlow::default()), lines(&settings.rules.flow));
    let gone: Vec<&RuleLine> = default.iter().filter(|line| !own.contains(line)).collect();
    let come: Vec<&RuleLine> = own.iter().filter(|line| !default.contains(line)).collect();
    if args.json {
        output::json(&serde_json::json!({ "removed": gone, "added": come }))?;
        return Ok(Exit::Done);
    }
    if gone.is_empty() && come.is_empty() {
        output::text("the default flow is in force\n")?;
        return Ok(Exit::Done);
    }
    let shown = |sign: &str, line: &RuleLine| {
        let when = if line.at_creation { "   (at creation)" } else { "" };
        format!("{sign} {}.{} = {}{when}\n", line.class, line.target, line.rule)
    };
    let gone = gone.iter().map(|line| shown("-", line));
    output::text(&gone.chain(come.iter().map(|line| shown("+", line))).collect::<String>())?;
    Ok(Exit::Done)
}

fn list_functions(args: &FunctionsArgs) -> Result<Exit> {
    let all = functions::all();
    if args.json {
        let list: Vec<_> = all
            .iter()
            .map(|f| serde_json::json!({ "name": f.name, "signature": f.signature, "description": f.description }))
            .collect();
        output::json(&list)?;
        return Ok(Exit::Done);
    }
    let mut table = output::table(&["function", "gives"]);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for function in all {
        table.add_row([function.signature, function.description]);
    }
    output::text(&output::render(&table))?;
    Ok(Exit::Done)
}

fn list_hygiene(args: &FunctionsArgs) -> Result<Exit> {
    if args.json {
        let list: Vec<_> = hygiene::RULES
            .iter()
            .map(|rule| {
                serde_json::json!({
                    "rule": rule.name, "severity": rule.severity, "attribute": rule.attribute,
                    "description": rule.description, "fix": rule.fix,
                })
            })
            .collect();
        output::json(&list)?;
        return Ok(Exit::Done);
    }
    let mut table = output::table(&["rule", "severity", "attribute", "what it says"]);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    for rule in hygiene::RULES {
        let severity = format!("{:?}", rule.severity).to_lowercase();
        table.add_row([rule.name, &severity, rule.attribute, rule.description]);
    }
    output::text(&output::render(&table))?;
    Ok(Exit::Done)
}

fn test(args: &ReadArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let results = run_tests(&settings.rules.flow, &settings.rules.tests);
    let failed = results.iter().filter(|result| !result.failures.is_empty()).count();
    if args.json {
        let list: Vec<_> = results
            .iter()
            .map(|result| serde_json::json!({ "name": result.name, "failures": result.failures }))
            .collect();
        output::json(&list)?;
    } else {
        let mut out = Vec::new();
        for result in &results {
            let mark = if result.failures.is_empty() { "ok     " } else { "failed " };
            out.push(format!("{mark} {}", result.name));
            out.extend(result.failures.iter().map(|why| format!("        {why}")));
        }
        out.push(format!("{} tests, {failed} failed\n", results.len()));
        output::text(&out.join("\n"))?;
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}
