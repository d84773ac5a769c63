//! `forestsync held`, `approve` and `reject`: what waits for somebody's decision, and the decision.

mod sources;

use std::time::Duration;

use anyhow::{Context as _, Result};
use forestsync_domain::{Dn, SourceAnchor};
use forestsync_runtime::clock;
use forestsync_schemas::control::{DecidedWrite, Verdict};
use forestsync_schemas::outcomes::Operation;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::cli::{DecideArgs, FilterArgs, HeldArgs, HeldCause};
use crate::exit::{Exit, UsageError};
use crate::output::printable;
use crate::status::{self, Hold, Issue, LISTED, Waiting, about, name_of, seconds};
use crate::{config, control, output};

/// How long an approval holds unless it is said.
const APPROVED: Duration = Duration::from_hours(24);
/// How long a rejection holds unless it is said.
const REJECTED: Duration = Duration::from_hours(30 * 24);

/// The JSON of `held --json`.
#[derive(Debug, Serialize)]
struct Listing {
    /// Why the configuration emits nothing, if it does not.
    holds: Vec<Hold>,
    /// Held writes.
    held: Vec<Issue>,
    /// Deletions that come later.
    deferred: Vec<Issue>,
}

/// The JSON of `approve --json` and `reject --json`.
#[derive(Debug, Serialize)]
struct Decided {
    verdict: Verdict,
    /// Nothing was written down.
    dry_run: bool,
    reason: String,
    expires: Timestamp,
    writes: Vec<Issue>,
    /// The holds of sources that were decided about.
    sources: Vec<Hold>,
}

/// Lists what is held. Something held leads to [`Exit::Held`].
pub async fn held(args: HeldArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let filter = Filter::new(&args.filter)?;
    let log = settings.existing_log()?;
    let Waiting { mut holds, mut held, mut deferred, .. } =
        status::waiting(log.as_ref(), &settings.configuration).await?;
    if filter.is_of_sources() {
        holds.retain(|hold| filter.has_source(hold));
    }
    held.retain(|issue| filter.has(issue));
    deferred.retain(|issue| filter.has(issue));
    let exit = if holds.is_empty() && held.is_empty() { Exit::Done } else { Exit::Held };
    let report = Listing { holds, held, deferred };
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&render(&report, args.all))?;
        if !report.held.is_empty() {
            output::note(
                "hint: forestsync approve lets it go, forestsync reject keeps it as it is; both take --reason",
            );
        }
        if report.holds.iter().any(|hold| hold.decidable) {
            output::note("hint: about a source, forestsync approve --source FOREST decides, or forestsync reject");
        }
    }
    Ok(exit)
}

/// Lets held writes go, whatever the guards say.
pub async fn approve(args: DecideArgs) -> Result<Exit> {
    decide(args, Verdict::Approve).await
}

/// Keeps held writes, and deletions that come later, from being done.
pub async fn reject(args: DecideArgs) -> Result<Exit> {
    decide(args, Verdict::Reject).await
}

async fn decide(args: DecideArgs, verdict: Verdict) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let filter = Filter::new(&args.filter)?;
    if args.objects.is_empty() && !args.all && args.filter.is_empty() {
        let hint = "name objects or a source, or use --all, --operation, --class, --under or --cause";
        return Err(UsageError::new("nothing says what is decided about", hint).into());
    }
    if args.reason.trim().is_empty() {
        return Err(UsageError::new("the reason is empty", "say why, for those who read the log later").into());
    }
    let log = settings.existing_log()?;
    let waiting = status::waiting(log.as_ref(), &settings.configuration).await?;
    let lasts = args.lasts.unwrap_or(if verdict == Verdict::Approve { APPROVED } else { REJECTED });
    let lasts = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
    let expires = clock::now().checked_add(lasts).unwrap_or(Timestamp::MAX);
    if !args.filter.source.is_empty() {
        return sources::decide(&args, (verdict, expires), (&settings, log.as_ref()), waiting.holds, &filter).await;
    }
    let mut found = waiting.held;
    if verdict == Verdict::Reject {
        found.extend(waiting.deferred);
    }
    let chosen = choose(found, &filter, &args.objects)?;
    let Some(desired_offset) = waiting.desired_offset.filter(|_| !chosen.is_empty()) else {
        let hint = match args.filter.cause.filter(|cause| cause.is_of_source()) {
            Some(_) => "name the forest of a source by --source",
            None => "forestsync held shows what is",
        };
        output::note(&format!("nothing of that is held\nhint: {hint}"));
        return Ok(Exit::Failed);
    };
    let writes = chosen.iter().map(write_of).collect::<Result<Vec<_>>>()?;
    if !args.dry_run {
        let reason = args.reason.clone();
        let decision = control::Decision { verdict, writes, desired_offset, reason, expires };
        control::decide(log.as_ref(), &settings.configuration, decision).await?;
    }
    let (dry_run, reason, sources) = (args.dry_run, args.reason, Vec::new());
    tell(&Decided { verdict, dry_run, reason, expires, writes: chosen, sources }, args.json)
}

fn tell(decided: &Decided, json: bool) -> Result<Exit> {
    if json {
        output::json(decided)?;
    } else {
        output::text(&render_decided(decided))?;
    }
    Ok(Exit::Done)
}

/// Those that are named; all of them, if none is. Each name must mean something that is held.
fn choose(found: Vec<Issue>, filter: &Filter, objects: &[String]) -> Result<Vec<Issue>> {
    let found: Vec<Issue> = found.into_iter().filter(|issue| filter.has(issue)).collect();
    if objects.is_empty() {
        return Ok(found);
    }
    let key = |name: &str| name.parse::<Dn>().map(|dn| dn.key()).ok();
    let names: Vec<(&String, Option<String>)> = objects.iter().map(|name| (name, key(name))).collect();
    let mut met = vec![false; names.len()];
    let mut chosen = Vec::new();
    for issue in found {
        let own = issue.dn.as_deref().and_then(key);
        let mut is_named = false;
        for ((name, key), met) in names.iter().zip(&mut met) {
            if issue.anchor == **name || (own.is_some() && own == *key) {
                (is_named, *met) = (true, true);
            }
        }
        if is_named {
            chosen.push(issue);
        }
    }
    if let Some(((name, _), _)) = names.iter().zip(met).find(|(_, met)| !met) {
        let hint = "forestsync held shows what is; nothing was decided";
        return Err(UsageError::new(format!("{} is not held", printable(name)), hint).into());
    }
    Ok(chosen)
}

fn write_of(issue: &Issue) -> Result<DecidedWrite> {
    let operation = Operation::deserialize(serde_json::Value::from(issue.operation.as_str()))
        .with_context(|| format!("{} is no operation", issue.operation))?;
    let cloud_id = issue.join.as_ref().map(|join| join.cloud_id.clone());
    Ok(DecidedWrite { anchor: SourceAnchor::from(issue.anchor.clone()), operation, cloud_id })
}

/// Which of what is held.
#[derive(Debug)]
struct Filter {
    args: FilterArgs,
    under: Option<Dn>,
}

impl Filter {
    fn new(args: &FilterArgs) -> Result<Self, UsageError> {
        let under = match &args.under {
            None => None,
            Some(text) => Some(text.parse().map_err(|error| {
                UsageError::new(format!("--under {text}: {error}"), "write it as in OU=Staff,DC=corp,DC=example")
            })?),
        };
        Ok(Self { args: args.clone(), under })
    }

    /// Whether it asks for sources, and for nothing else.
    fn is_of_sources(&self) -> bool {
        !self.args.source.is_empty() || self.args.cause.is_some_and(HeldCause::is_of_source)
    }

    /// Whether a hold is among what it asks for.
    fn has_source(&self, hold: &Hold) -> bool {
        let FilterArgs { source, cause, .. } = &self.args;
        let under = |ancestor: &Dn| {
            let roots = hold.naming_context.iter().chain(&hold.bare);
            roots.filter_map(|root| root.parse::<Dn>().ok()).any(|root| root.is_within(ancestor))
        };
        (source.is_empty() || source.contains(&hold.forest))
            && cause.is_none_or(|cause| name_of(&cause) == hold.reason)
            && self.under.as_ref().is_none_or(under)
    }

    fn has(&self, issue: &Issue) -> bool {
        if self.is_of_sources() {
            return false;
        }
        let under = |ancestor: &Dn| {
            let dn = issue.dn.as_deref().and_then(|dn| dn.parse::<Dn>().ok());
            dn.is_some_and(|dn| dn.is_within(ancestor))
        };
        let FilterArgs { operation, class, cause, .. } = &self.args;
        (operation.is_empty() || operation.iter().any(|operation| name_of(operation) == issue.operation))
            && class.is_none_or(|class| name_of(&class) == issue.class)
            && cause.is_none_or(|cause| Some(name_of(&cause)) == issue.cause)
            && self.under.as_ref().is_none_or(under)
    }
}

fn render(report: &Listing, all: bool) -> String {
    let whole = report.holds.iter().flat_map(|hold| {
        let title =
            format!("The whole configuration is held: forest {}: {}", hold.forest, hold.reason.replace('_', " "));
        std::iter::once(title).chain(about(hold).into_iter().map(|line| format!("  {line}")))
    });
    let mut lines: Vec<String> = whole.collect();
    for (title, issues) in [("Held", &report.held), ("Deleted later, disabled until then", &report.deferred)] {
        if !issues.is_empty() {
            lines.push(format!("{title}: {}", issues.len()));
            lines.extend(list(issues, all));
        }
    }
    if lines.is_empty() {
        lines.push("nothing is held".to_owned());
    }
    lines.join("\n") + "\n"
}

fn render_decided(decided: &Decided) -> String {
    let word = match (decided.verdict, decided.dry_run) {
        (Verdict::Approve, false) => "approved",
        (Verdict::Approve, true) => "would be approved",
        (Verdict::Reject, false) => "rejected",
        (Verdict::Reject, true) => "would be rejected",
    };
    let until = seconds(&decided.expires.to_string());
    if !decided.sources.is_empty() {
        return sources::render(&decided.sources, word, &until);
    }
    let count = output::count(decided.writes.len() as u64, "write");
    let mut lines = vec![format!("{count} {word}, until {until}")];
    lines.extend(list(&decided.writes, true));
    lines.join("\n") + "\n"
}

fn list(issues: &[Issue], all: bool) -> Vec<String> {
    let shown = if all { issues.len() } else { LISTED };
    let mut table = output::table(&["object", "what", "cause", "since"]);
    for issue in issues.iter().take(shown) {
        let members = issue.members.map_or_else(String::new, |members| format!(" ({members})"));
        let join = issue.join.as_ref().map_or_else(String::new, |join| format!(" {}", printable(&join.name)));
        let what = issue.operation.replace('_', " ") + &members + &join;
        let cause = issue.cause.clone().or_else(|| issue.retry_at.as_deref().map(|at| format!("at {}", seconds(at))));
        let name = printable(issue.dn.as_deref().unwrap_or(&issue.anchor));
        table.add_row([name, what, cause.unwrap_or_default(), seconds(&issue.since)]);
    }
    let mut lines: Vec<String> = output::render(&table).lines().map(str::to_owned).collect();
    let mut details: Vec<&str> = issues.iter().map(|issue| issue.detail.as_str()).collect();
    details.sort_unstable();
    details.dedup();
    lines.extend(details.iter().take(LISTED).map(|detail| format!("  {}", printable(detail))));
    if issues.len() > shown {
        lines.push(format!("  and {} more: use --all", issues.len() - shown));
    }
    lines
}
