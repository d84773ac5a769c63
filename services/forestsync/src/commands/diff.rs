//! `forestsync diff`: one object at two moments.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::state::{head, sides};
use crate::cli::DiffArgs;
use crate::exit::Exit;
use crate::history::History;
use crate::history::entry::{Change, Values};
use crate::history::moment::Moment;
use crate::history::person::Person;
use crate::history::state::{Picture, Side};
use crate::{config, output};

/// What is different of an object on a side.
#[derive(Debug, Serialize)]
struct Difference {
    /// The side.
    side: Side,
    /// objectGUID with its forest, or the source anchor.
    id: String,
    /// What it is called, later if then at all.
    name: Option<String>,
    /// The facts.
    changes: Vec<Change>,
    /// What is not known any more.
    notes: Vec<String>,
    #[serde(skip)]
    head: String,
}

/// Shows what is different.
pub async fn diff(args: DiffArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let mut history = History::open(&settings, args.index.index.as_deref()).await?;
    let person = Person::find(&mut history, &args.object).await?;
    let (sides, to) = (sides(&args.side), args.to.unwrap_or(Moment::Time(Timestamp::MAX)));
    let before = history.pictures(&person, &args.from, &sides).await?;
    let after = history.pictures(&person, &to, &sides).await?;
    let mut differences = differences(&before, &after);
    if args.values == Values::Hidden {
        for change in differences.iter_mut().flat_map(|difference| &mut difference.changes) {
            (change.before, change.after) = (None, None);
        }
    }
    if args.json {
        output::json(&differences)?;
    } else if differences.is_empty() {
        output::text("nothing is different\n")?;
    } else {
        output::text(&differences.iter().map(|one| shown(one, args.values)).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Exit::Done)
}

fn differences(before: &[Picture], after: &[Picture]) -> Vec<Difference> {
    let by_id = |pictures: &[Picture]| -> BTreeMap<(Side, String), Picture> {
        pictures.iter().map(|picture| ((picture.side, picture.id.clone()), picture.clone())).collect()
    };
    let (before, after) = (by_id(before), by_id(after));
    let ids: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut all = Vec::new();
    for id in ids {
        let facts = |pictures: &BTreeMap<_, Picture>| pictures.get(id).map(Picture::facts).unwrap_or_default();
        let (old, new): (BTreeMap<String, Value>, _) = (facts(&before), facts(&after));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
        let changes: Vec<Change> =
            changed.map(|name| Change::new(name, old.get(name).cloned(), new.get(name).cloned())).collect();
        let Some(picture) = after.get(id).or(before.get(id)).filter(|_| !changes.is_empty()) else { continue };
        let notes: BTreeSet<String> =
            [&before, &after].into_iter().filter_map(|all| all.get(id)).flat_map(|p| p.notes.clone()).collect();
        all.push(Difference {
            side: picture.side,
            id: picture.id.clone(),
            name: picture.name.clone(),
            changes,
            notes: notes.into_iter().collect(),
            head: head(picture),
        });
    }
    all
}

fn shown(difference: &Difference, values: Values) -> String {
    let line = |change: &Change| match values {
        Values::Hidden => change.attribute.clone(),
        Values::Shown => {
            let text = |value: &Option<Value>| crate::history::entry::text(value.as_ref());
            format!("{}: {} -> {}", change.attribute, text(&change.before), text(&change.after))
        }
    };
    let mut lines = vec![difference.head.clone()];
    lines.extend(difference.changes.iter().map(|change| output::printable(&format!("  {}", line(change)))));
    lines.extend(difference.notes.iter().map(|note| output::printable(&format!("  note: {note}"))));
    lines.push(String::new());
    lines.join("\n")
}
