//! Decisions about sources in doubt. They are made for a forest that is named, and never with the writes: who approves
//! everything that is held has not seen what a forest lost.

use anyhow::Result;
use forestsync_log::Log;
use forestsync_schemas::control::{SourceDecided, Verdict};
use jiff::Timestamp;

use super::{Decided, Filter, tell};
use crate::cli::DecideArgs;
use crate::config::{ForestSettings, Settings};
use crate::control;
use crate::exit::{Exit, UsageError};
use crate::output::{self, printable};
use crate::status::{Hold, about};

/// What holds the sources that are named, and can be decided about.
fn choose(holds: Vec<Hold>, filter: &Filter, settings: &Settings) -> Result<(Vec<Hold>, Vec<Hold>), UsageError> {
    let is_known = |forest: &String| {
        settings.forests.iter().any(|known| known.name() == forest.as_str())
            || holds.iter().any(|hold| hold.forest == *forest)
    };
    if let Some(forest) = filter.args.source.iter().find(|forest| !is_known(forest)) {
        let names: Vec<&str> = settings.forests.iter().map(ForestSettings::name).collect();
        let hint = format!("{} has {}", settings.path.display(), names.join(", "));
        return Err(UsageError::new(format!("--source {}: there is no such forest", printable(forest)), hint));
    }
    let meant = holds.into_iter().filter(|hold| filter.has_source(hold));
    Ok(meant.partition(|hold| hold.seen.is_some()))
}

pub(super) async fn decide(
    args: &DecideArgs,
    (verdict, expires): (Verdict, Timestamp),
    (settings, log): (&Settings, &dyn Log),
    holds: Vec<Hold>,
    filter: &Filter,
) -> Result<Exit> {
    let (sources, others) = choose(holds, filter, settings)?;
    for hold in &others {
        let what = format!("forest {}: {}: nothing can be decided about that", hold.forest, said(hold));
        output::note(&format!("{what}\n  {}\n  hint: {}", printable(&hold.detail), printable(&hold.hint)));
    }
    if sources.is_empty() {
        output::note("no source of that is in doubt\nhint: forestsync held shows what is");
        return Ok(Exit::Failed);
    }
    let decided: Vec<SourceDecided> =
        sources.iter().filter_map(|hold| of(hold, verdict, &args.reason, expires)).collect();
    if !args.dry_run {
        control::decide_sources(log, &settings.configuration, decided).await?;
    }
    let (dry_run, reason, writes) = (args.dry_run, args.reason.clone(), Vec::new());
    tell(&Decided { verdict, dry_run, reason, expires, writes, sources }, args.json)
}

fn of(hold: &Hold, verdict: Verdict, reason: &str, expires: Timestamp) -> Option<SourceDecided> {
    Some(SourceDecided {
        verdict,
        forest: hold.forest.clone(),
        naming_context: hold.naming_context.as_ref().and_then(|root| root.parse().ok()),
        held_offset: hold.offset,
        seen: hold.seen.clone()?,
        reason: reason.to_owned(),
        expires,
    })
}

fn said(hold: &Hold) -> String {
    hold.reason.replace('_', " ")
}

pub(super) fn render(sources: &[Hold], word: &str, until: &str) -> String {
    let mut lines = vec![format!("{} {word}, until {until}", output::count(sources.len() as u64, "hold"))];
    for hold in sources {
        lines.push(format!("forest {}: {}", hold.forest, said(hold)));
        // what to do about it is done
        lines.extend(about(hold).iter().filter(|line| !line.starts_with("hint: ")).map(|line| format!("  {line}")));
    }
    lines.join("\n") + "\n"
}
