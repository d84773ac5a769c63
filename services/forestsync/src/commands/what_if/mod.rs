//! `forestsync what-if`: what a changed configuration would have done differently, over the recorded history.
//!
//! ```text
//!                since        day        day   …        now
//!  in force   ───┼────────────┼──────────┼──────────────┤     decisions up to `since` are those of the log,
//!  changed    ───┼────────────┼──────────┼──────────────┤     from there on each makes its own
//!                  counted     counted    counted
//! ```
//!
//! Both are projected by the projector itself, each over a past of the log that is moved on day by day and has a `desired`
//! of its own. What the changed one wishes differently at `since` already counts for that day: it is what the change itself
//! would have done.
//!
//! **Invariant**: the log is read and nothing else; no directory and no tenant is asked.

mod report;
mod side;

use std::collections::BTreeMap;

use anyhow::Result;
use forestsync_log::{Log, StreamName, offset_at};
use forestsync_projector::{ProjectorConfig, moment_at};
use forestsync_runtime::{clock, shutdown};
use forestsync_schemas::streams;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::cli::WhatIfArgs;
use crate::config::Settings;
use crate::exit::{Exit, UsageError};
use crate::pipeline::projector_config_from_log;
use crate::progress::Counter;
use crate::{config, output};
use report::{Day, Report};
use side::{Counts, Side};

use super::plan;

/// How far it goes back if nobody says so.
const DAYS: i64 = 30;

/// Projects the history twice and shows what differs.
pub async fn what_if(args: WhatIfArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let changed = plan::changed(&settings, &args.changed)?;
    let now = clock::now();
    let since = match args.since {
        Some(since) if since > now => {
            let message = format!("--since names {since}, which is still to come");
            return Err(UsageError::new(message, "name a time for which there is a history").into());
        }
        Some(since) => since,
        None => now.checked_sub((DAYS * 24).hours())?,
    };
    let shutdown = shutdown::on_signals()?;
    let report = tokio::select! {
        report = Box::pin(compute(&settings, &changed, since, now)) => report?,
        () = shutdown.stop.cancelled() => {
            output::note("stopped by a signal; nothing was compared");
            return Ok(Exit::Failed);
        }
    };
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&report::render(&report, args.all))?;
    }
    Ok(match args.most_deletes {
        Some(most) if report.worst_day.as_ref().is_none_or(|day| day.deleted <= most) => Exit::Done,
        None if report.is_same() => Exit::Done,
        _ => Exit::Differs,
    })
}

async fn compute(settings: &Settings, changed: &Settings, since: Timestamp, now: Timestamp) -> Result<Report> {
    let folder = tempfile::Builder::new().prefix("what-if-").tempdir()?;
    let log = settings.existing_log()?;
    let configs = [
        projector_config_from_log(settings, log.as_ref()).await?,
        plan::projection_of(settings, changed, log.as_ref()).await?,
    ];
    let decisions: StreamName = streams::decisions(&settings.configuration).parse()?;
    let decided = offset_at(log.as_ref(), &decisions, since).await?;
    let begin = limits(log.as_ref(), &configs, since).await?;
    let end = limits(log.as_ref(), &configs, now).await?;
    let mut progress = Counter::new("projecting the past".to_owned(), end.values().sum());
    let [in_force, other] = configs.clone();
    let mut sides = [
        Side::begin(in_force, &log, &folder.path().join("in-force"), &begin, decided).await?,
        Side::begin(other, &log, &folder.path().join("changed"), &begin, decided).await?,
    ];
    let first = date(since);
    for side in &mut sides {
        // how it came to be what it was then is not of interest
        side.go_on(&begin, first).await?;
        side.deletions.clear();
    }
    let switched = switched(&mut sides, first);
    progress.reached(begin.values().sum(), 2);
    let mut days: BTreeMap<Date, Day> = BTreeMap::from([(first, Day { date: first, ..Day::default() })]);
    let mut before = begin;
    for moment in midnights(since, now)? {
        let after = if moment == now { end.clone() } else { limits(log.as_ref(), &configs, moment).await? };
        if after == before {
            continue;
        }
        let day = date(moment.checked_sub(1.millisecond())?);
        let entry = days.entry(day).or_insert_with(|| Day { date: day, ..Day::default() });
        for (side, counts) in sides.iter_mut().zip([&mut entry.in_force, &mut entry.changed]) {
            counts.add(&side.go_on(&after, day).await?);
        }
        progress.reached(after.values().sum(), 2);
        before = after;
    }
    drop(progress);
    if let Some(day) = days.get_mut(&first) {
        day.changed.add(&switched);
    }
    report::of(since, now, days.into_values().collect(), &mut sides).await
}

/// What the change itself would have done on the day on which it came into force; its deletions are noted.
fn switched(sides: &mut [Side; 2], day: Date) -> Counts {
    let [in_force, changed] = sides;
    let mut counts = Counts::default();
    for (anchor, now) in &changed.standing {
        match in_force.standing.get(anchor) {
            None => counts.created += 1,
            Some(was) if was.content != now.content => counts.updated += 1,
            Some(_) => {}
        }
    }
    for (anchor, was) in in_force.standing.iter().filter(|(anchor, _)| !changed.standing.contains_key(*anchor)) {
        counts.deleted += 1;
        changed.deletions.insert(anchor.clone(), (day, was.class, was.name.clone()));
    }
    let (was, is) = (in_force.memberships(), changed.memberships());
    counts.linked = is.difference(&was).count() as u64;
    counts.unlinked = was.difference(&is).count() as u64;
    counts
}

/// Where the streams that both projections read stood at a time.
async fn limits(log: &dyn Log, configs: &[ProjectorConfig; 2], time: Timestamp) -> Result<BTreeMap<StreamName, u64>> {
    let mut limits = BTreeMap::new();
    for config in configs {
        let decisions: StreamName = streams::decisions(&config.configuration).parse()?;
        let control: StreamName = streams::control(&config.configuration).parse()?;
        limits.extend(moment_at(log, config, time).await?.into_iter().filter(|(stream, _)| *stream != decisions));
        let offset = offset_at(log, &control, time).await?;
        limits.insert(control, offset);
    }
    Ok(limits)
}

/// The ends of the days from one time to another, in UTC, and the other one itself.
fn midnights(since: Timestamp, now: Timestamp) -> Result<Vec<Timestamp>> {
    let mut all = Vec::new();
    let mut day = date(since);
    loop {
        day = day.checked_add(1.day())?;
        let midnight = day.to_zoned(TimeZone::UTC)?.timestamp();
        if midnight >= now {
            all.push(now);
            return Ok(all);
        }
        all.push(midnight);
    }
}

fn date(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}
