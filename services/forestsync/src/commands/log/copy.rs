//! `forestsync log copy`: the whole history, to another log.
//!
//! 1. Nobody else writes: the data folder of an embedded log is held, as `run` holds it, and the writers of the source's
//!    streams with it; a Kafka log must have no members in the groups of the services.
//! 2. Each stream of the target must tell the beginning of what the source tells ([`compare`]). One that does not ends
//!    the command before anything is written.
//! 3. Records follow from the target's end on, keeping offset, time, key and headers. So a copy that was broken off,
//!    by a signal or a death, goes on by the same command.
//! 4. Both sides are read back and must have the same digest ([`digest`](super::digest)).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use forestsync_log::{Log, LogWriter, StreamName};
use forestsync_runtime::shutdown;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::place::{Need, Opened};
use super::{Walk, compare, digest, our_streams};
use crate::cli::CopyArgs;
use crate::exit::{Exit, InUseError, UsageError};
use crate::instance::Instance;
use crate::output;
use crate::progress::Counter;

/// The most records of one restore.
const MOST_RECORDS: usize = 2_000;

/// A restore is sent when it has reached this many bytes.
const ENOUGH_BYTES: usize = 4 * 1024 * 1024;

/// What was done; the JSON of `log copy`.
#[derive(Debug, Serialize)]
struct Summary {
    /// The source.
    from: String,
    /// The target.
    to: String,
    /// Whether nothing was to be written.
    dry_run: bool,
    /// Whether both sides were read back and have the same digests.
    verified: bool,
    /// The streams.
    streams: Vec<StreamCopy>,
}

/// What became of a stream.
#[derive(Debug, Clone, Serialize)]
struct StreamCopy {
    /// The stream.
    stream: String,
    /// The offset at which the target ended before.
    target_offset: u64,
    /// The offset at which the source ends.
    next_offset: u64,
    /// The first offset at which the target tells something else than the source: nothing was copied then.
    differs_at: Option<u64>,
    /// Records that were copied.
    copied: u64,
    /// Records that the digest counts.
    records: Option<u64>,
    /// The digest of the source.
    source_digest: Option<String>,
    /// The digest of the target.
    target_digest: Option<String>,
}

impl StreamCopy {
    fn agrees(&self) -> bool {
        self.source_digest.is_some() && self.source_digest == self.target_digest
    }
}

/// A stream that is to be copied.
type Planned = (StreamName, StreamCopy);

/// What keeps others from writing, for as long as it lives.
#[derive(Debug, Default)]
struct Hold {
    instances: Vec<Instance>,
    writers: Vec<Box<dyn LogWriter>>,
}

/// Copies, and verifies.
pub async fn copy(args: CopyArgs) -> Result<Exit> {
    let shutdown = shutdown::on_signals()?;
    let source = args.from.open(Need::Existing)?;
    let target = args.to.open(if args.dry_run { Need::Looked } else { Need::Made })?;
    refuse_itself(&args, &source, &target)?;
    let Some(from) = source.log.clone() else { return Ok(Exit::Failed) };
    let streams = chosen(from.as_ref(), &args.streams).await?;
    let _hold = if args.dry_run { Hold::default() } else { hold(&args, &source, &target, &streams).await? };
    let copied = tokio::select! {
        copied = Box::pin(work(&args, from, target.log, streams, &shutdown.stop)) => copied?,
        // reading can be broken off anywhere; what writes looks at the token itself
        () = shutdown.abort.cancelled() => None,
    };
    let Some(streams) = copied else {
        output::note("stopped by a signal; the same command goes on from here");
        return Ok(Exit::Failed);
    };
    let verified = !args.dry_run && streams.iter().all(StreamCopy::agrees);
    let (from, to) = (args.from.to_string(), args.to.to_string());
    let summary = Summary { from, to, dry_run: args.dry_run, verified, streams };
    if args.json {
        output::json(&summary)?;
    } else {
        output::text(&render(&summary))?;
    }
    Ok(judge(&summary))
}

/// Says what to do next, and with which exit code.
fn judge(summary: &Summary) -> Exit {
    let foreign: Vec<_> = summary.streams.iter().filter(|stream| stream.differs_at.is_some()).collect();
    if !foreign.is_empty() {
        for stream in foreign {
            let at = stream.differs_at.unwrap_or_default();
            output::note(&format!(
                "error: stream {} of {} tells something else from offset {at} on",
                stream.stream, summary.to
            ));
        }
        output::note("hint: nothing was copied; name an empty target, or remove these streams from it");
        return Exit::Differs;
    }
    if summary.dry_run {
        return Exit::Done;
    }
    if !summary.verified {
        output::note("error: source and target differ");
        output::note(
            "hint: do not use the target; see whether something wrote one of them meanwhile, remove it and copy again",
        );
        return Exit::Differs;
    }
    output::note(&format!(
        "next: let the configurations mean {} (data, or [log]) and start the services there; their databases stay \
         valid, because offsets are the same. Nothing may write {} any more: keep it until the services have caught up",
        summary.to, summary.from
    ));
    Exit::Done
}

/// Refuses a copy of a log onto itself.
fn refuse_itself(args: &CopyArgs, source: &Opened, target: &Opened) -> Result<(), UsageError> {
    let real = |data: &Path| std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    let same_folder = match (&source.data, &target.data) {
        (Some(source), Some(target)) => real(source) == real(target),
        _ => false,
    };
    if args.from == args.to || same_folder {
        return Err(UsageError::new("source and target are the same log", "name another target"));
    }
    Ok(())
}

/// The streams of ours whose names fit one of the patterns; all of them without patterns.
async fn chosen(log: &dyn Log, patterns: &[String]) -> Result<Vec<StreamName>> {
    let all = our_streams(log).await?;
    for pattern in patterns {
        if !all.iter().any(|stream| fits(pattern, stream.as_str())) {
            let message = format!("no stream of the source fits {pattern:?}");
            return Err(UsageError::new(message, "see forestsync log list for the streams there are").into());
        }
    }
    let wanted =
        |stream: &StreamName| patterns.is_empty() || patterns.iter().any(|pattern| fits(pattern, stream.as_str()));
    Ok(all.into_iter().filter(wanted).collect())
}

/// Whether a name fits a pattern, in which `*` stands for any text.
pub fn fits(pattern: &str, name: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(before) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(last)
}

/// Takes what keeps others from writing either log.
async fn hold(args: &CopyArgs, source: &Opened, target: &Opened, streams: &[StreamName]) -> Result<Hold> {
    let mut hold = Hold::default();
    for opened in [source, target] {
        match (&opened.data, &opened.log) {
            (Some(data), _) => hold.instances.push(Instance::take(data)?),
            (None, Some(log)) if !args.force => refuse_members(log.as_ref(), streams).await?,
            _ => {}
        }
    }
    if let (Some(_), Some(log)) = (&source.data, &source.log) {
        for stream in streams {
            hold.writers.push(log.writer(stream).await.context("while keeping others from writing the source")?);
        }
    }
    Ok(hold)
}

/// Refuses a log while a group of services that writes these streams has members.
async fn refuse_members(log: &dyn Log, streams: &[StreamName]) -> Result<()> {
    for group in groups(streams) {
        let members = log.group(&group).await?.members;
        if !members.is_empty() {
            let members: Vec<_> = members.into_iter().map(|member| member.instance).collect();
            return Err(InUseError { group, members: members.join(", ") }.into());
        }
    }
    Ok(())
}

/// The groups of the services that write these streams.
fn groups(streams: &[StreamName]) -> BTreeSet<String> {
    let group = |stream: &StreamName| {
        let (kind, rest) = stream.as_str().split_once('.')?;
        match kind {
            "changes" => rest.split('.').next().map(|forest| format!("collector.{forest}")),
            "decisions" | "desired" => Some("projector".to_owned()),
            "outcomes" => Some("provisioner".to_owned()),
            _ => None,
        }
    };
    streams.iter().filter_map(group).collect()
}

/// Compares, copies and verifies all streams. None if a signal came.
async fn work(
    args: &CopyArgs,
    from: Arc<dyn Log>,
    to: Option<Arc<dyn Log>>,
    streams: Vec<StreamName>,
    stop: &CancellationToken,
) -> Result<Option<Vec<StreamCopy>>> {
    let Some(mut planned) = until(stop, plan(from.as_ref(), to.as_deref(), streams)).await? else { return Ok(None) };
    let foreign = planned.iter().any(|(_, copy)| copy.differs_at.is_some());
    let to = to.filter(|_| !args.dry_run && !foreign);
    if let Some(to) = to {
        let total = planned.iter().map(|(_, copy)| copy.next_offset - copy.target_offset).sum();
        let mut counter = Counter::new("copying".to_owned(), total);
        for (stream, copy) in &mut planned {
            if !transfer(from.as_ref(), to.as_ref(), stream, copy, &mut counter, stop).await? {
                return Ok(None);
            }
        }
        drop(counter);
        if until(stop, verify(from.as_ref(), to.as_ref(), &mut planned)).await?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(planned.into_iter().map(|(_, copy)| copy).collect()))
}

/// The result, or none if the token was cancelled first.
async fn until<T>(stop: &CancellationToken, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    tokio::select! {
        done = work => done.map(Some),
        () = stop.cancelled() => Ok(None),
    }
}

/// Where each stream stands on both sides.
async fn plan(from: &dyn Log, to: Option<&dyn Log>, streams: Vec<StreamName>) -> Result<Vec<Planned>> {
    let mut planned = Vec::new();
    for stream in streams {
        let source_end = from.tail(&stream).await?;
        let target_end = match to {
            Some(to) => to.tail(&stream).await?,
            None => 0,
        };
        let mut differs_at = match to {
            Some(to) => compare::first_difference(from, source_end, to, target_end, &stream).await?,
            None => None,
        };
        if target_end > source_end {
            differs_at = differs_at.or(Some(source_end));
        }
        let copy = StreamCopy {
            stream: stream.to_string(),
            target_offset: target_end,
            next_offset: source_end,
            differs_at,
            copied: 0,
            records: None,
            source_digest: None,
            target_digest: None,
        };
        planned.push((stream, copy));
    }
    Ok(planned)
}

/// Copies a stream from the target's end on. False if a signal came: what was begun is finished then.
async fn transfer(
    from: &dyn Log,
    to: &dyn Log,
    stream: &StreamName,
    copy: &mut StreamCopy,
    counter: &mut Counter,
    stop: &CancellationToken,
) -> Result<bool> {
    // also where nothing is to be copied: an empty stream is a stream
    let mut writer = to.writer(stream).await.context("while opening the target")?;
    let mut walk = Walk::new(from, stream, copy.target_offset, copy.next_offset).await?;
    let mut at = copy.target_offset;
    loop {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while records.len() < MOST_RECORDS && bytes < ENOUGH_BYTES {
            let Some(record) = walk.next().await? else { break };
            bytes += record.value.len();
            records.push(record);
        }
        let Some(next) = records.last().map(|record| record.offset + 1) else { return Ok(true) };
        if stop.is_cancelled() {
            return Ok(false);
        }
        let count = records.len() as u64;
        writer.restore(records).await.with_context(|| format!("while copying stream {stream}"))?;
        copy.copied += count;
        counter.advanced(next - at, count);
        at = next;
    }
}

/// Reads both sides back.
async fn verify(from: &dyn Log, to: &dyn Log, planned: &mut [Planned]) -> Result<()> {
    for (stream, copy) in planned {
        let mut counter = Counter::new(format!("verifying {stream}"), copy.next_offset);
        let source = digest::of(from, stream, from.tail(stream).await?, &mut counter).await?;
        let target = digest::of(to, stream, to.tail(stream).await?, &mut counter).await?;
        copy.records = Some(source.records);
        copy.source_digest = Some(source.digest);
        copy.target_digest = Some(target.digest);
    }
    Ok(())
}

fn render(summary: &Summary) -> String {
    if summary.dry_run {
        let mut table = output::table(&["stream", "target ends at", "source ends at", ""]);
        for stream in &summary.streams {
            let word = match stream.differs_at {
                Some(_) => "refused",
                None if stream.target_offset == stream.next_offset => "nothing to copy",
                None if stream.target_offset > 0 => "goes on",
                None => "from the beginning",
            };
            table.add_row([&stream.stream, &stream.target_offset.to_string(), &stream.next_offset.to_string(), word]);
        }
        return output::render(&table);
    }
    if summary.streams.iter().any(|stream| stream.differs_at.is_some()) {
        return String::new();
    }
    let mut table = output::table(&["stream", "next", "copied", "digest", ""]);
    for stream in &summary.streams {
        let digest = stream.target_digest.as_deref().unwrap_or("-");
        let verdict = if stream.agrees() { "same" } else { "DIFFERS" };
        let (next, copied) = (stream.next_offset.to_string(), stream.copied.to_string());
        table.add_row([stream.stream.as_str(), &next, &copied, digest, verdict]);
    }
    output::render(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("changes.*", "changes.emea.emea.example", true),
            ("*", "desired.contoso", true),
            ("*.contoso", "desired.contoso", true),
            ("*.contoso", "desired.contoso.x", false),
            ("changes.*.example", "changes.emea.emea.example", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("ab*b", "ab", false),
            ("desired.contoso", "desired.contoso", true),
            ("desired", "desired.contoso", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_writers_of_streams_are_known() {
        let streams: Vec<StreamName> =
            ["changes.emea.emea.example", "control.c", "decisions.c", "desired.c", "outcomes.c"]
                .map(|name| name.parse().unwrap())
                .to_vec();
        let groups: Vec<_> = groups(&streams).into_iter().collect();
        assert_eq!(groups, ["collector.emea", "projector", "provisioner"]);
    }
}
