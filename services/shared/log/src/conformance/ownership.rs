//! What holds for streams as wholes: who writes them, what stays of them.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Engine, Failure, SecondWriter, check_numbered, ensure, numbers, read_to_tail, stream};
use crate::{AppendError, NewRecord, WriterError};

/// A stream has one writer: the second is refused while the first lives, or fences it off; nothing is lost either way, and
/// other streams are not touched.
pub async fn one_writer(engine: &dyn Engine) -> Result<(), Failure> {
    let (log, other) = (engine.open().await?, engine.open().await?);
    let stream = stream(engine, "changes", "one_writer")?;
    let beside = super::stream(engine, "control", "one_writer")?;
    let mut first = log.writer(&stream).await?;
    first.append(numbers(0..2)).await?;
    other.writer(&beside).await?.append(numbers(0..1)).await?;
    match engine.second_writer() {
        SecondWriter::Refused => {
            for handle in [&log, &other] {
                let second = handle.writer(&stream).await;
                let busy =
                    matches!(&second, Err(error @ WriterError::Busy(name)) if name == &stream && error.is_retryable());
                ensure!(busy, "a second writer: {second:?}");
            }
            first.append(numbers(2..3)).await?;
            drop(first);
        }
        SecondWriter::Fences => {
            let second = other.writer(&stream).await?;
            let fenced = first.append(numbers(2..3)).await;
            ensure!(matches!(&fenced, Err(AppendError::Fenced(_))), "an append of a fenced writer: {fenced:?}");
            let again = first.append(numbers(2..3)).await;
            ensure!(again.is_err(), "a fenced writer came back");
            ensure!(second.next_offset() == 2, "the second writer begins at {} and not at 2", second.next_offset());
            drop(second);
            other.writer(&stream).await?.append(numbers(2..3)).await?;
        }
    }
    let mut next = other.writer(&stream).await?;
    ensure!(next.next_offset() == 3, "the next writer begins at {} and not at 3", next.next_offset());
    next.append(numbers(3..5)).await?;
    let records = read_to_tail(log.reader(&stream, 0).await?.as_mut(), 100).await?;
    ensure!(records.len() == 5, "{} records were read and 5 written", records.len());
    check_numbered(&records, 0)
}

/// What was acknowledged is there for the next handle, and the next writer goes on at the tail.
pub async fn appends_survive_reopening(engine: &dyn Engine) -> Result<(), Failure> {
    let stream = stream(engine, "changes", "appends_survive_reopening")?;
    let mut next = 0;
    for round in 0..8 {
        let log = engine.open().await?;
        let tail = log.tail(&stream).await?;
        ensure!(tail == next, "the tail is {tail} and not {next} after reopening");
        let mut writer = log.writer(&stream).await?;
        ensure!(writer.next_offset() == next, "the writer begins at {} and not at {next}", writer.next_offset());
        for size in 1..=round {
            writer.append(numbers(next..next + size)).await?;
            next += size;
        }
    }
    let log = engine.open().await?;
    let records = read_to_tail(log.reader(&stream, 0).await?.as_mut(), 1000).await?;
    ensure!(records.len() as u64 == next, "{} records were read and {next} written", records.len());
    check_numbered(&records, 0)
}

/// Streams do not touch one another, and all are listed in order.
pub async fn streams_are_apart(engine: &dyn Engine) -> Result<(), Failure> {
    let log = engine.open().await?;
    let mut names = Vec::new();
    for number in 0..12 {
        names.push(stream(engine, "changes", &format!("streams-are-apart-{number:02}"))?);
    }
    let mut writers = Vec::new();
    for name in &names {
        writers.push(log.writer(name).await?);
    }
    for offset in 0..5 {
        for writer in &mut writers {
            let first = writer.append(numbers(offset..offset + 1)).await?;
            ensure!(first == offset, "an append at {offset} of {} returned {first}", writer.stream());
        }
    }
    for name in &names {
        let records = read_to_tail(log.reader(name, 0).await?.as_mut(), 100).await?;
        ensure!(records.len() == 5, "{} records were read from {name} and 5 written", records.len());
        check_numbered(&records, 0)?;
    }
    let listed = engine.open().await?.streams().await?;
    ensure!(listed.is_sorted(), "the streams are not listed in order");
    ensure!(names.iter().all(|name| listed.contains(name)), "not all streams are listed");
    Ok(())
}

/// Compaction keeps the last record of every key and every record without one, where they were, and the tail; a reader
/// that was under way misses none of them, and other kinds of streams keep everything.
pub async fn compaction_keeps_the_last(engine: &dyn Engine) -> Result<(), Failure> {
    const KEYS: u64 = 40;
    const ROUNDS: u64 = 30;
    let log = engine.open().await?;
    let compacted = stream(engine, "desired", "compaction_keeps_the_last")?;
    let kept = stream(engine, "changes", "compaction_keeps_the_last")?;
    let record = |key: u64, round: u64| NewRecord::new(Some(format!("key {key}")), vec![round as u8; 3000]);
    let mut last = BTreeMap::new();
    for name in [&compacted, &kept] {
        let mut writer = log.writer(name).await?;
        let lone = writer.append(vec![NewRecord::new(None::<Bytes>, "no key")]).await?;
        last.insert(String::new(), (lone, Bytes::from_static(b"no key")));
        for round in 0..ROUNDS {
            // Not every key has a record in every round, and appends hold records that stay and records that go.
            let due = (0..KEYS).filter(|key| round == 0 || key % 7 != round % 7);
            let records: Vec<_> = due.map(|key| record(key, round)).collect();
            let keyed: Vec<_> = records.iter().map(|r| (r.key.clone().unwrap_or_default(), r.value.clone())).collect();
            let first = writer.append(records).await?;
            for ((key, value), offset) in keyed.into_iter().zip(first..) {
                last.insert(String::from_utf8_lossy(&key).into_owned(), (offset, value));
            }
        }
    }
    let (mut under_way, tail) = (log.reader(&compacted, 0).await?, log.tail(&compacted).await?);
    let mut found = under_way.next(3).await?;
    let done = engine.compact(&compacted).await?;
    let unchanged = engine.compact(&kept).await.map(|_| log.tail(&kept))?.await?;
    ensure!(unchanged == tail, "the tail of {kept} is {unchanged} and not {tail}");
    let all = read_to_tail(log.reader(&kept, 0).await?.as_mut(), 100).await?;
    ensure!(all.len() as u64 == tail, "{kept} keeps {} of {tail} records", all.len());

    let after = log.tail(&compacted).await?;
    ensure!(after == tail, "the tail is {after} and not {tail} after compaction");
    found.extend(read_to_tail(under_way.as_mut(), 100).await?);
    let fresh = read_to_tail(engine.open().await?.reader(&compacted, 0).await?.as_mut(), 100).await?;
    ensure!(!done || (fresh.len() as u64) < tail / 2, "{} of {tail} records stayed", fresh.len());
    for records in [&found, &fresh] {
        ensure!(records.is_sorted_by(|a, b| a.offset < b.offset), "records are out of order after compaction");
        let mut seen = BTreeMap::new();
        for record in records {
            let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
            seen.insert(key, (record.offset, record.value.clone()));
        }
        ensure!(seen == last, "not the last record of every key stayed");
    }
    let mut writer = log.writer(&compacted).await?;
    let next = writer.append(vec![record(0, ROUNDS)]).await?;
    ensure!(next == tail, "the append after compaction is at {next} and not at {tail}");
    let records = log.reader(&compacted, tail).await?.next(10).await?;
    ensure!(records.len() == 1 && records.iter().all(|r| r.offset == tail), "the record after compaction is not read");
    Ok(())
}
