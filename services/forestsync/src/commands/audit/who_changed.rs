//! `forestsync audit who-changed`.

use anyhow::Result;

use crate::cli::WhoChangedArgs;
use crate::exit::{Exit, UsageError};
use crate::history::History;
use crate::history::entry::Values;
use crate::history::person::Person;
use crate::{config, output};

/// Says who changed an attribute last.
pub async fn who_changed(args: WhoChangedArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let mut history = History::open(&settings, args.index.index.as_deref()).await?;
    let person = Person::find(&mut history, &args.object).await?;
    let mut life = history.life(&person).await?;
    life.retain(|entry| args.period.holds(entry.time));
    let Some(mut answer) = history.who_changed(&life, &args.attribute).await? else {
        let message = format!("nobody changed {} of this object, as far as the history tells", args.attribute);
        let hint =
            "forestsync audit object shows all that changed; attributes have their names of the directory or of Graph";
        return Err(UsageError::new(message, hint).into());
    };
    if args.json {
        if args.values == Values::Hidden {
            (answer.before, answer.after) = (None, None);
        }
        output::json(&answer)?;
    } else {
        output::text(&format!("{}\n", answer.line(args.values)))?;
    }
    Ok(Exit::Done)
}
