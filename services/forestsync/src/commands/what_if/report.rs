//! What both projections came to, side by side.

use std::collections::BTreeSet;

use anyhow::Result;
use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::{CloudClass, ObjectDesired};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::side::{Counts, Side, Standing};
use crate::output::{self, printable};

/// Objects that are shown unless all are asked for.
const SHOWN: usize = 20;

/// What a changed configuration would have done differently; the JSON of `what-if`. Holds no values of attributes.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// As if it had come into force then.
    pub(super) since: Timestamp,
    /// Up to here.
    pub(super) until: Timestamp,
    /// What the configuration in force has done in that time.
    pub(super) in_force: Counts,
    /// What the changed one would have done, its coming into force included.
    pub(super) changed: Counts,
    /// Days on which anything was done.
    pub(super) days: Vec<Day>,
    /// The day on which the changed one would have deleted most.
    pub(super) worst_day: Option<Worst>,
    /// Objects of which something would be different.
    pub(super) objects: Vec<Difference>,
    /// Memberships that only the changed one would have in the end, and those that only the other has.
    pub(super) memberships: [u64; 2],
    /// What would have held the changed one, with the first day.
    pub(super) holds: Vec<(Date, String)>,
}

/// One day, in UTC.
#[derive(Debug, Default, Serialize)]
pub(super) struct Day {
    /// The date.
    pub(super) date: Date,
    /// What the configuration in force has done.
    pub(super) in_force: Counts,
    /// What the changed one would have done.
    pub(super) changed: Counts,
}

/// The day on which most would have been deleted.
#[derive(Debug, Serialize)]
pub(super) struct Worst {
    /// The date.
    pub(super) date: Date,
    /// Objects that the changed one would have deleted.
    pub(super) deleted: u64,
    /// Objects that were.
    pub(super) in_force: u64,
}

/// What would be different of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// It would not be in the tenant.
    Missing,
    /// It would have been deleted on a day, and is there again.
    DeletedMeanwhile,
    /// It would be in the tenant.
    Additional,
    /// It would be another one, or hold something else.
    Different,
}

impl What {
    fn text(self, day: Option<Date>) -> String {
        match (self, day) {
            (Self::Missing, Some(day)) => format!("would have been deleted on {day}"),
            (Self::DeletedMeanwhile, Some(day)) => format!("would have been deleted on {day}, and be back"),
            (Self::Missing | Self::DeletedMeanwhile, None) => "would not be there".to_owned(),
            (Self::Additional, _) => "would be there".to_owned(),
            (Self::Different, _) => "would be different".to_owned(),
        }
    }
}

/// An object of which something would be different.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    /// What.
    pub(super) what: What,
    /// Its class.
    pub(super) class: CloudClass,
    /// Its name in the directory.
    pub(super) name: String,
    /// Its source anchor.
    pub(super) anchor: SourceAnchor,
    /// The attributes and references that differ.
    pub(super) attributes: Vec<String>,
    /// The day on which it would have been deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) day: Option<Date>,
}

impl Report {
    /// Whether nothing would have been different.
    pub(super) fn is_same(&self) -> bool {
        self.objects.is_empty() && self.memberships == [0, 0] && self.days.iter().all(|day| day.in_force == day.changed)
    }
}

/// Compares what both have come to.
pub(super) async fn of(since: Timestamp, until: Timestamp, days: Vec<Day>, sides: &mut [Side; 2]) -> Result<Report> {
    let [in_force, changed] = &*sides;
    let mut objects = Vec::new();
    for (anchor, was) in &in_force.standing {
        match changed.standing.get(anchor) {
            None => objects.push(difference(What::Missing, anchor, was)),
            Some(is) if is.content != was.content => {
                let both = (in_force.wish(was).await?, changed.wish(is).await?);
                let attributes = if let (Some(was), Some(is)) = both { differing(&was, &is) } else { Vec::new() };
                objects.push(Difference { attributes, ..difference(What::Different, anchor, is) });
            }
            Some(_) => {}
        }
    }
    let additional = changed.standing.iter().filter(|(anchor, _)| !in_force.standing.contains_key(*anchor));
    objects.extend(additional.map(|(anchor, is)| difference(What::Additional, anchor, is)));
    for difference in &mut objects {
        difference.day = changed.deletions.get(&difference.anchor).map(|(day, ..)| *day);
    }
    for (anchor, (day, class, name)) in &changed.deletions {
        let is_news = changed.standing.contains_key(anchor) && !in_force.deletions.contains_key(anchor);
        if is_news
            && in_force.standing.get(anchor).map(|s| s.content) == changed.standing.get(anchor).map(|s| s.content)
        {
            let (anchor, name) = (anchor.clone(), name.clone());
            let (what, attributes) = (What::DeletedMeanwhile, Vec::new());
            objects.push(Difference { what, class: *class, name, anchor, attributes, day: Some(*day) });
        }
    }
    objects.sort_by(|a, b| (a.what, &a.name, &a.anchor).cmp(&(b.what, &b.name, &b.anchor)));
    let (was, is) = (in_force.memberships(), changed.memberships());
    let memberships = [is.difference(&was).count() as u64, was.difference(&is).count() as u64];
    let held_before: BTreeSet<&String> = in_force.holds.keys().collect();
    let holds = changed.holds.iter().filter(|(hold, _)| !held_before.contains(hold));
    let holds = holds.map(|(hold, day)| (*day, hold.clone())).collect();
    let (mut totals, mut worst) = ([Counts::default(), Counts::default()], None::<Worst>);
    for day in &days {
        totals[0].add(&day.in_force);
        totals[1].add(&day.changed);
        let deleted = day.changed.deleted;
        if deleted > worst.as_ref().map_or(0, |worst| worst.deleted) {
            worst = Some(Worst { date: day.date, deleted, in_force: day.in_force.deleted });
        }
    }
    let [in_force, changed] = totals;
    Ok(Report { since, until, in_force, changed, days, worst_day: worst, objects, memberships, holds })
}

fn difference(what: What, anchor: &SourceAnchor, standing: &Standing) -> Difference {
    Difference {
        what,
        class: standing.class,
        name: standing.name.clone(),
        anchor: anchor.clone(),
        attributes: Vec::new(),
        day: None,
    }
}

/// The names of what differs.
fn differing(was: &ObjectDesired, is: &ObjectDesired) -> Vec<String> {
    let mut names = BTreeSet::new();
    for (one, other) in [(&was.attributes, &is.attributes), (&was.at_creation, &is.at_creation)] {
        names.extend(one.keys().chain(other.keys()).filter(|name| one.get(*name) != other.get(*name)).cloned());
    }
    let whole = [
        ("class", was.class != is.class),
        ("manager", was.manager != is.manager),
        ("owner", was.owner != is.owner),
        ("attributes that are left alone", was.left_alone != is.left_alone),
    ];
    names.extend(whole.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()));
    names.into_iter().collect()
}

/// For people.
pub(super) fn render(report: &Report, all: bool) -> String {
    let mut text = format!("from {} to {}\n", report.since, report.until);
    let mut table = output::table(&["", "in force", "changed"]);
    let (a, b) = (&report.in_force, &report.changed);
    for (what, a, b) in [
        ("created", a.created, b.created),
        ("updated", a.updated, b.updated),
        ("deleted", a.deleted, b.deleted),
        ("let go", a.let_go, b.let_go),
        ("memberships begun", a.linked, b.linked),
        ("memberships ended", a.unlinked, b.unlinked),
        ("joined", a.joined, b.joined),
        ("parted", a.parted, b.parted),
        ("findings", a.findings, b.findings),
    ] {
        table.add_row([what.to_owned(), a.to_string(), b.to_string()]);
    }
    output::numbers_from(&mut table, 1);
    text.push_str(&output::render(&table));
    if let Some(worst) = &report.worst_day {
        let Worst { date, deleted, in_force } = worst;
        let count = output::count(*deleted, "object");
        text.push_str(&["the worst day: ", &date.to_string(), ", with ", &count, " deleted, where "].concat());
        text.push_str(&[&in_force.to_string(), " were\n"].concat());
    }
    for (day, hold) in &report.holds {
        text.push_str(&["held from ", &day.to_string(), " on: ", hold, "\n"].concat());
    }
    let shown = if all { report.objects.len() } else { SHOWN };
    if !report.objects.is_empty() {
        let mut table = output::table(&["object", "class", "what", "attributes"]);
        for object in report.objects.iter().take(shown) {
            table.add_row([
                printable(&object.name),
                object.class.as_str().to_owned(),
                object.what.text(object.day),
                object.attributes.join(", "),
            ]);
        }
        text.push_str(&output::render(&table));
    }
    if let Some(more) = report.objects.len().checked_sub(shown).filter(|more| *more > 0) {
        text.push_str(&["and ", &output::count(more as u64, "object"), " more: --all shows them\n"].concat());
    }
    let [more, fewer] = report.memberships;
    if more + fewer > 0 {
        let (more, fewer) = (output::count(more, "membership"), fewer.to_string());
        text.push_str(&["in the end ", &more, " more, and ", &fewer, " fewer\n"].concat());
    }
    if report.is_same() {
        text.push_str("nothing would have been different\n");
    }
    text
}
