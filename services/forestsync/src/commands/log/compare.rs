//! Whether a target tells the beginning of what its source tells, so that a copy may go on behind it.
//!
//! Either side may have been compacted meanwhile: a record that only one of them has is no difference where the other
//! one holds a later record of the same key. Everything else is.

use anyhow::Result;
use forestsync_log::{Log, Record, StreamName};

use super::Walk;
use super::digest::Latest;

/// The first offset at which the target tells something else than the source, up to the target's end `target_end`.
pub async fn first_difference(
    source: &dyn Log,
    source_end: u64,
    target: &dyn Log,
    target_end: u64,
    stream: &StreamName,
) -> Result<Option<u64>> {
    let (mut of_source, mut of_target) = (Latest::default(), Latest::default());
    if stream.is_compacted() && target_end > 0 {
        of_source = Latest::gather(source, stream, source_end).await?;
        of_target = Latest::gather(target, stream, target_end).await?;
    }
    let mut ours = Walk::new(source, stream, 0, target_end.min(source_end)).await?;
    let mut theirs = Walk::new(target, stream, 0, target_end).await?;
    let (mut our, mut their) = (ours.next().await?, theirs.next().await?);
    loop {
        match (&our, &their) {
            (Some(s), Some(t)) if s.offset == t.offset => {
                if !same(s, t) {
                    return Ok(Some(s.offset));
                }
                (our, their) = (ours.next().await?, theirs.next().await?);
            }
            (Some(s), t) if t.as_ref().is_none_or(|t| s.offset < t.offset) => {
                if !(stream.is_compacted() && of_target.supersedes(s)) {
                    return Ok(Some(s.offset));
                }
                our = ours.next().await?;
            }
            (_, Some(t)) => {
                if !(stream.is_compacted() && of_source.supersedes(t)) {
                    return Ok(Some(t.offset));
                }
                their = theirs.next().await?;
            }
            // what the source alone has left is taken above
            (_, None) => return Ok(None),
        }
    }
}

/// Whether two records are the same, to the millisecond that every engine keeps. Their links too: a copy behind records with
/// other links would be a broken chain.
fn same(a: &Record, b: &Record) -> bool {
    a.timestamp.as_millisecond() == b.timestamp.as_millisecond()
        && a.key == b.key
        && a.value == b.value
        && a.headers == b.headers
        && a.link == b.link
}
