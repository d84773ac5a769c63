//! `forestsync audit actor`.

use anyhow::Result;
use forestsync_schemas::ChangeRecord;

use super::scan::{scan, streams_of};
use super::table::Sheet;
use crate::cli::AuditActorArgs;
use crate::exit::Exit;
use crate::history::timeline::{of_control, of_directory};
use crate::{config, events};

/// Shows what somebody decided, or what a controller told.
pub async fn actor(args: AuditActorArgs) -> Result<Exit> {
    let settings = config::load(&args.config.config)?;
    let log = settings.existing_log()?;
    let mut streams = streams_of(&settings, log.as_ref()).await?;
    streams.retain(|stream| ["control.", "changes."].iter().any(|kind| stream.as_str().starts_with(kind)));
    let mut sheet = Sheet::new(args.form.clone(), true);
    let is_who = |name: &str| name.eq_ignore_ascii_case(&args.who);
    scan(log.as_ref(), &streams, |stream, record| {
        if !args.period.holds(record.timestamp) {
            return Ok(true);
        }
        if stream.as_str().starts_with("control.") {
            let entry = of_control(stream, record).filter(|entry| entry.actor.as_deref().is_some_and(is_who));
            return entry.map_or(Ok(true), |entry| sheet.add(entry));
        }
        let Ok(decoded) = ChangeRecord::decode(&record.value) else { return Ok(true) };
        let controller = decoded.context.controller.as_ref();
        let told = controller.is_some_and(|c| is_who(&c.dns_name) || is_who(&c.invocation_id.to_string()));
        let Some(object) = decoded.context.object.filter(|_| told) else { return Ok(true) };
        let mut entry = of_directory(stream, record, &decoded.context);
        (entry.object, entry.summary) = (Some(object.to_string()), events::described(record).1);
        sheet.add(entry)
    })
    .await?;
    sheet.end()?;
    Ok(Exit::Done)
}
