//! `forestsync check`.

use std::collections::BTreeSet;

use anyhow::Result;
use forestsync_collector::{CheckLine, CheckOutcome};
use forestsync_provisioner::Credential;
use forestsync_rules::filter::FilterClass;
use forestsync_rules::flow::{TestResult, run_tests};
use forestsync_schemas::desired::CloudClass;
use serde::Serialize;

use crate::cli::ReadArgs;
use crate::config::{ForestSettings, Settings};
use crate::exit::{Exit, SECRET_HINT};
use crate::pipeline::{RunOptions, forest_config, tenant_config};
use crate::{config, output};

/// One line of the check, and one element of its JSON array.
#[derive(Debug, Serialize)]
pub struct Line {
    /// `configuration`, `forest NAME` or `tenant`.
    pub part: String,
    /// What was looked at.
    pub check: String,
    /// `ok`, `warning` or `problem`.
    pub result: &'static str,
    /// What was found.
    pub detail: String,
    /// What to do, where something is wrong.
    pub hint: Option<String>,
}

fn of_collector(part: String, line: CheckLine) -> Line {
    let place = [line.controller, line.naming_context.map(|nc| nc.to_string())];
    let place = place.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let name = serde_json::to_value(line.code).ok().and_then(|v| v.as_str().map(|s| s.replace('_', " ")));
    Line {
        part,
        check: [place, name.unwrap_or_default()].join(" ").trim().to_owned(),
        result: match line.outcome {
            CheckOutcome::Ok => "ok",
            CheckOutcome::Warning => "warning",
            CheckOutcome::Failed => "problem",
        },
        detail: line.detail,
        hint: line.hint,
    }
}

fn of_test(result: &TestResult) -> Line {
    let failed = !result.failures.is_empty();
    Line {
        part: "configuration".to_owned(),
        check: format!("test {}", result.name),
        result: if failed { "problem" } else { "ok" },
        detail: if failed { result.failures.join("; ") } else { "as expected".to_owned() },
        hint: failed.then(|| "correct the rule, or the test".to_owned()),
    }
}

fn of_tenant(part: String, line: forestsync_provisioner::CheckLine) -> Line {
    let result = match line.outcome {
        forestsync_provisioner::CheckOutcome::Ok => "ok",
        forestsync_provisioner::CheckOutcome::Warning => "warning",
        forestsync_provisioner::CheckOutcome::Failed => "problem",
    };
    Line { part, check: line.what, result, detail: line.detail, hint: line.hint }
}

/// Tries everything and changes nothing.
pub async fn check(args: ReadArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let mut lines = vec![Line {
        part: "configuration".to_owned(),
        check: "file".to_owned(),
        result: "ok",
        detail: format!("{} describes {}", settings.path.display(), settings.configuration),
        hint: None,
    }];
    lines.extend(run_tests(&settings.rules.flow, &settings.rules.tests).iter().map(of_test));
    for forest in &settings.forests {
        lines.extend(check_forest(forest).await?);
    }
    lines.extend(check_tenant(&settings).await);
    if args.json {
        output::json(&lines)?;
    } else {
        output::text(&render(&lines))?;
    }
    let problem = lines.iter().any(|line| line.result == "problem");
    Ok(if problem { Exit::Failed } else { Exit::Done })
}

fn secret_problem(part: String, check: &str, error: &impl ToString) -> Line {
    Line {
        part,
        check: check.to_owned(),
        result: "problem",
        detail: error.to_string(),
        hint: Some(SECRET_HINT.to_owned()),
    }
}

fn secret_ok(part: String, check: &str) -> Line {
    Line { part, check: check.to_owned(), result: "ok", detail: "can be read".to_owned(), hint: None }
}

async fn check_forest(forest: &ForestSettings) -> Result<Vec<Line>> {
    let part = || format!("forest {}", forest.name());
    let password = match forest.reading.read_password() {
        Ok(password) => password,
        Err(error) => return Ok(vec![secret_problem(part(), "password", &error)]),
    };
    let mut lines = vec![secret_ok(part(), "password")];
    let config = forest_config(forest, password);
    lines.extend(
        Box::pin(forestsync_collector::check(&config)).await.into_iter().map(|line| of_collector(part(), line)),
    );
    Ok(lines)
}

async fn check_tenant(settings: &Settings) -> Vec<Line> {
    let part = || "tenant".to_owned();
    let name = settings.tenant.credential.name();
    let credential = match settings.tenant.read_credential() {
        Ok(credential) => credential,
        Err(error) => {
            let hint = Some(error.hint().to_owned());
            return vec![Line { hint, ..secret_problem(part(), name, &error) }];
        }
    };
    let mut lines = Vec::new();
    // a certificate has a line of its own, and a managed identity has nothing that could be read
    if !matches!(credential, Credential::Certificate { .. } | Credential::ManagedIdentity { .. }) {
        lines.push(secret_ok(part(), name));
    }
    let config = tenant_config(settings, RunOptions::default(), credential);
    let classes = cloud_classes(settings);
    let found = Box::pin(forestsync_provisioner::check(&config, &classes)).await;
    lines.extend(found.into_iter().map(|line| of_tenant(part(), line)));
    lines
}

/// The classes that are written to the tenant.
fn cloud_classes(settings: &Settings) -> BTreeSet<CloudClass> {
    let written = [(FilterClass::User, CloudClass::User), (FilterClass::Group, CloudClass::Group)];
    let in_scope = &settings.rules.scope.classes;
    written.into_iter().filter(|(class, _)| in_scope.contains(class)).map(|(_, class)| class).collect()
}

fn render(lines: &[Line]) -> String {
    let (mut out, mut part) = (Vec::new(), "");
    for line in lines {
        if line.part != part {
            part = &line.part;
            out.push(part.to_owned());
        }
        let mark = if line.result == "ok" { "ok     " } else { line.result };
        out.push(format!("  {mark:<7}  {}: {}", line.check, line.detail));
        if let Some(hint) = &line.hint {
            out.push(format!("           hint: {hint}"));
        }
    }
    out.join("\n") + "\n"
}
