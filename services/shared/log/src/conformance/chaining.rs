//! What holds for the chain of a stream.

use bytes::Bytes;
use jiff::Timestamp;

use super::{Engine, Failure, ensure, numbers, read, read_to_tail, stream};
use crate::chain::{self, Anchor, ChainHash, Link, Verdict};
use crate::{AppendError, Log, NewRecord, Record, StreamName};

async fn verify(log: &dyn Log, stream: &StreamName, anchors: &[Anchor]) -> Result<Verdict, Failure> {
    Ok(chain::verify(log, stream, anchors, &mut |_, _| ()).await?)
}

/// The offset a stream is broken at.
async fn broken_at(log: &dyn Log, stream: &StreamName, anchors: &[Anchor]) -> Result<Option<u64>, Failure> {
    Ok(verify(log, stream, anchors).await?.broken.map(|broken| broken.offset))
}

/// Every record that is appended is tied to the one before, whoever wrote that one; a copy has the same links.
pub async fn records_are_chained(engine: &dyn Engine) -> Result<(), Failure> {
    let log = engine.open().await?;
    let stream = stream(engine, "changes", "records_are_chained")?;
    ensure!(chain::anchor(log.as_ref(), &stream).await?.is_none(), "a stream without records has an anchor");
    let mut anchors = Vec::new();
    for round in 0..4 {
        let log = engine.open().await?;
        let mut writer = log.writer(&stream).await?;
        for part in 0..3 {
            let first = round * 12 + part * 4;
            writer.append(numbers(first..first + 4)).await?;
            anchors.extend(chain::anchor(log.as_ref(), &stream).await?);
        }
    }
    ensure!(anchors.len() == 12, "{} anchors of 12 appends", anchors.len());
    let verdict = verify(log.as_ref(), &stream, &anchors).await?;
    let whole = verdict.broken.is_none() && verdict.begins == Some(0) && (verdict.proved, verdict.anchors) == (48, 12);
    ensure!(whole && verdict.gaps + verdict.unproved + verdict.anchors_gone == 0, "{verdict:?}");
    let records = read(log.reader(&stream, 0).await?.as_mut(), 48, 100).await?;
    let mut last = ChainHash::BEGIN;
    for record in &records {
        let link = Link::of_record(last, &stream, record);
        ensure!(record.link == Some(link), "record {} has another link than it should", record.offset);
        last = link.own;
    }
    // a copy cannot be told from the original, and goes on as that would
    let copy = engine.open_other().await?;
    let mut writer = copy.writer(&stream).await?;
    writer.restore(records.iter().take(20).cloned().collect()).await?;
    drop(writer);
    let mut writer = copy.writer(&stream).await?;
    writer.restore(records.iter().skip(20).cloned().collect()).await?;
    let copied = read(copy.reader(&stream, 0).await?.as_mut(), 48, 100).await?;
    ensure!(copied == records, "a copy has other records");
    writer.append(numbers(48..50)).await?;
    let verdict = verify(copy.as_ref(), &stream, &anchors).await?;
    ensure!(verdict.broken.is_none() && (verdict.proved, verdict.anchors) == (50, 12), "{verdict:?}");
    Ok(())
}

/// A chain that begins behind records of an earlier version says where; what stands before is not taken for proved.
pub async fn a_chain_may_begin_later(engine: &dyn Engine) -> Result<(), Failure> {
    let log = engine.open().await?;
    let stream = stream(engine, "changes", "a_chain_may_begin_later")?;
    let mut writer = log.writer(&stream).await?;
    writer.restore((0..5).map(plain).collect::<Result<_, _>>()?).await?;
    let verdict = verify(log.as_ref(), &stream, &[]).await?;
    ensure!(verdict.broken.is_none() && verdict.begins.is_none() && verdict.unproved == 5, "{verdict:?}");
    ensure!(chain::anchor(log.as_ref(), &stream).await?.is_none(), "a stream without a chain has an anchor");
    drop(writer);
    let mut writer = log.writer(&stream).await?;
    writer.append(numbers(5..8)).await?;
    let verdict = verify(log.as_ref(), &stream, &[]).await?;
    let begun = verdict.broken.is_none() && verdict.begins == Some(5) && (verdict.unproved, verdict.proved) == (5, 3);
    ensure!(begun, "{verdict:?}");
    // once it has begun it does not end
    writer.restore(vec![plain(8)?]).await?;
    writer.append(numbers(9..10)).await?;
    let found = broken_at(log.as_ref(), &stream, &[]).await?;
    ensure!(found == Some(8), "a record without a link at 8 is found at {found:?}");
    Ok(())
}

fn plain(offset: u64) -> Result<Record, Failure> {
    let timestamp = Timestamp::from_millisecond(1_700_000_000_000 + offset.cast_signed());
    let timestamp = timestamp.map_err(|e| Failure::Unmet(e.to_string()))?;
    let (key, headers) = (None, Vec::new());
    Ok(Record { offset, timestamp, key, value: offset.to_string().into(), headers, link: None })
}

/// Whatever is done to a record of the past shows, at its place or at the one behind it.
pub async fn changes_of_the_past_show(engine: &dyn Engine) -> Result<(), Failure> {
    let log = engine.open().await?;
    let origin = stream(engine, "changes", "changes_of_the_past_show")?;
    log.writer(&origin).await?.append(numbers(0..9)).await?;
    let anchor: Vec<Anchor> = chain::anchor(log.as_ref(), &origin).await?.into_iter().collect();
    let good = read(log.reader(&origin, 0).await?.as_mut(), 9, 100).await?;
    for (name, forge, seen) in forgeries() {
        let log = engine.open_other().await?;
        let mut records = good.clone();
        forge(&origin, &mut records);
        let mut writer = log.writer(&origin).await?;
        writer.restore(records).await?;
        drop(writer);
        let found = broken_at(log.as_ref(), &origin, &anchor).await?;
        ensure!(found == Some(seen), "{name}: found at {found:?}, to be found at {seen}");
    }
    Ok(())
}

type Forgery = fn(&StreamName, &mut Vec<Record>);

/// What is done to nine records, and the offset at which it is seen.
fn forgeries() -> Vec<(&'static str, Forgery, u64)> {
    vec![
        ("a value is changed", |_, all| all[4].value = Bytes::from_static(b"40"), 4),
        ("a key is put in", |_, all| all[4].key = Some(Bytes::new()), 4),
        ("a header is put in", |_, all| all[4].headers.push(("h".to_owned(), Bytes::new())), 4),
        ("a time is changed", |_, all| all[4].timestamp = Timestamp::UNIX_EPOCH, 4),
        (
            "a value is changed and its hash recomputed",
            |stream, all| {
                all[4].value = Bytes::from_static(b"40");
                relink(stream, &mut all[4]);
            },
            5,
        ),
        (
            "the last value is changed and its hash recomputed: an anchor knows",
            |stream, all| {
                all[8].value = Bytes::from_static(b"80");
                relink(stream, &mut all[8]);
            },
            8,
        ),
        (
            "two records are swapped",
            |_, all| {
                all.swap(3, 4);
                (all[3].offset, all[4].offset) = (3, 4);
            },
            3,
        ),
        (
            "one is taken out and the others moved up",
            |_, all| {
                drop(all.remove(3));
                all.iter_mut().zip(0..).for_each(|(record, offset)| record.offset = offset);
            },
            3,
        ),
        ("a link is taken away", |_, all| all[4].link = None, 4),
        ("the first links are taken away", |_, all| all[..4].iter_mut().for_each(|record| record.link = None), 4),
        ("the end is cut off: an anchor knows", |_, all| all.truncate(6), 6),
        ("all links are taken away: an anchor knows", |_, all| all.iter_mut().for_each(|r| r.link = None), 8),
        (
            "all is written anew with a chain of its own: an anchor knows",
            |stream, all| {
                all[0].value = Bytes::from_static(b"00");
                let mut last = ChainHash::BEGIN;
                for record in all {
                    let link = Link::of_record(last, stream, record);
                    record.link = Some(link);
                    last = link.own;
                }
            },
            8,
        ),
        (
            "another chain begins",
            |stream, all| all[4].link = Some(Link::of_record(ChainHash::BEGIN, stream, &all[4])),
            4,
        ),
    ]
}

fn relink(stream: &StreamName, record: &mut Record) {
    let prev = record.link.map_or(ChainHash::BEGIN, |link| link.prev);
    record.link = Some(Link::of_record(prev, stream, record));
}

/// A gap that was made on purpose is carried along with the record behind it; any other gap is refused.
pub async fn gaps_on_purpose_are_carried(engine: &dyn Engine) -> Result<(), Failure> {
    let log = engine.open().await?;
    let stream = stream(engine, "changes", "gaps_on_purpose_are_carried")?;
    log.writer(&stream).await?.append(numbers(0..9)).await?;
    let anchors: Vec<Anchor> = chain::anchor(log.as_ref(), &stream).await?.into_iter().collect();
    let mut records = read(log.reader(&stream, 0).await?.as_mut(), 9, 100).await?;
    records.drain(3..5);
    let copy = engine.open_other().await?;
    let mut writer = copy.writer(&stream).await?;
    let refused = writer.restore(records.clone()).await;
    let misplaced = matches!(refused, Err(AppendError::Misplaced { offset: 5, expected: 3, .. }));
    ensure!(misplaced, "a gap that nobody made on purpose: {refused:?}");
    let behind = records.iter_mut().find(|record| record.offset == 5).and_then(|record| record.link.as_mut());
    if let Some(link) = behind {
        link.gap = true;
    }
    writer.restore(records.clone()).await?;
    writer.append(numbers(9..11)).await?;
    let back = read(copy.reader(&stream, 0).await?.as_mut(), 9, 100).await?;
    ensure!(back.iter().zip(&records).all(|(back, record)| back == record), "a copy has other records");
    let middle = read(copy.reader(&stream, 4).await?.as_mut(), 2, 2).await?;
    ensure!(middle.first().is_some_and(|record| record.offset == 5), "from within the gap: {middle:?}");
    let verdict = verify(copy.as_ref(), &stream, &anchors).await?;
    let whole = verdict.broken.is_none() && (verdict.proved, verdict.gaps, verdict.anchors) == (9, 1, 1);
    ensure!(whole, "{verdict:?}");
    Ok(())
}

/// A compacted stream's records prove themselves, and compaction changes no link.
pub async fn compaction_keeps_links(engine: &dyn Engine) -> Result<(), Failure> {
    let log = engine.open().await?;
    let stream = stream(engine, "desired", "compaction_keeps_links")?;
    let mut writer = log.writer(&stream).await?;
    for round in 0..6_u8 {
        let keys = (0..10_u8).filter(|key| round == 0 || (*key > 2 && key % 2 == round % 2));
        writer.append(keys.map(|key| NewRecord::new(Some(vec![key]), vec![round; 64])).collect()).await?;
    }
    drop(writer);
    let before = read_to_tail(log.reader(&stream, 0).await?.as_mut(), 100).await?;
    let anchors: Vec<Anchor> = chain::anchor(log.as_ref(), &stream).await?.into_iter().collect();
    if !engine.compact(&stream).await? {
        return Ok(());
    }
    let after = read_to_tail(log.reader(&stream, 0).await?.as_mut(), 100).await?;
    ensure!(after.len() < before.len(), "nothing was compacted");
    ensure!(after.iter().all(|record| before.contains(record)), "compaction changed a record");
    let verdict = verify(log.as_ref(), &stream, &anchors).await?;
    let whole = verdict.broken.is_none() && verdict.proved == after.len() as u64 && verdict.anchors == 1;
    ensure!(whole && verdict.gaps > 0, "{verdict:?}");
    let mut writer = log.writer(&stream).await?;
    writer.append(vec![NewRecord::new(Some("behind"), "behind")]).await?;
    let verdict = verify(log.as_ref(), &stream, &anchors).await?;
    ensure!(verdict.broken.is_none() && verdict.proved == after.len() as u64 + 1, "{verdict:?}");
    Ok(())
}
