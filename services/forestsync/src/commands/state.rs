//! `forestsync state`: one object at a moment.

use anyhow::Result;
use jiff::Timestamp;

use crate::cli::StateArgs;
use crate::exit::Exit;
use crate::history::History;
use crate::history::entry::{self, Values};
use crate::history::moment::Moment;
use crate::history::person::Person;
use crate::history::state::{Picture, Side};
use crate::output::printable;
use crate::{config, output};

/// Links shown of an attribute.
const SHOWN: usize = 20;

/// Shows what an object was.
pub async fn state(args: StateArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let mut history = History::open(&settings, args.index.index.as_deref()).await?;
    let person = Person::find(&mut history, &args.object).await?;
    let moment = args.at.unwrap_or(Moment::Time(Timestamp::MAX));
    let mut pictures = history.pictures(&person, &moment, &sides(&args.side)).await?;
    if args.values == Values::Hidden {
        hide(&mut pictures);
    }
    if args.json {
        output::json(&pictures)?;
    } else {
        output::text(&pictures.iter().map(|one| shown(one, args.values)).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Exit::Done)
}

/// The sides that are asked for; all of them where none is.
pub fn sides(asked: &[Side]) -> Vec<Side> {
    if asked.is_empty() { Side::ALL.into() } else { asked.to_vec() }
}

fn hide(pictures: &mut [Picture]) {
    for picture in pictures {
        picture.attributes.values_mut().for_each(|value| *value = serde_json::Value::Null);
    }
}

/// The line that says which object it is.
pub fn head(picture: &Picture) -> String {
    let name = picture.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    printable(&format!("{} {}{name}", picture.side.as_str(), picture.id))
}

fn shown(picture: &Picture, values: Values) -> String {
    let place = picture.place.as_ref().map(|place| format!("   [{place}]")).unwrap_or_default();
    let mut lines = vec![head(picture), printable(&format!("  {}{place}", picture.state))];
    lines.extend(picture.attributes.iter().map(|(name, value)| match values {
        Values::Shown => printable(&format!("  {name} = {}", entry::text(Some(value)))),
        Values::Hidden => printable(&format!("  {name}")),
    }));
    for (attribute, ends) in &picture.links {
        for (id, name) in ends.iter().take(SHOWN) {
            lines.push(printable(&format!("  {attribute}: {}", name.as_ref().unwrap_or(id))));
        }
        if ends.len() > SHOWN {
            lines.push(format!("  {attribute}: and {} more; --json shows all", ends.len() - SHOWN));
        }
    }
    lines.extend(picture.notes.iter().map(|note| format!("  note: {}", printable(note))));
    lines.push(String::new());
    lines.join("\n")
}
