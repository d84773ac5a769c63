//! `forestsync audit object`.

use anyhow::Result;

use super::table::Sheet;
use crate::cli::AuditObjectArgs;
use crate::config;
use crate::exit::Exit;
use crate::history::History;
use crate::history::person::Person;

/// Shows the life of an object.
pub async fn object(args: AuditObjectArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let mut history = History::open(&settings, args.index.index.as_deref()).await?;
    let person = Person::find(&mut history, &args.object).await?;
    let mut sheet = Sheet::new(args.form, false);
    for mut entry in history.life(&person).await? {
        let is_asked = args.attribute.as_ref().is_none_or(|attribute| entry.concerns(attribute));
        if let Some(attribute) = &args.attribute {
            entry.narrow(attribute);
        }
        if args.period.holds(entry.time) && is_asked && !sheet.add(entry)? {
            break;
        }
    }
    sheet.end()?;
    Ok(Exit::Done)
}
