//! What holds for appends.

use bytes::Bytes;
use tokio::try_join;

use super::{Engine, Failure, check_numbered, ensure, numbered, numbers, read, read_to_tail, stream};
use crate::{AppendError, MAX_APPEND_BYTES, MAX_RECORD_BYTES, NewRecord};

/// Appends return the offset of their first record; offsets follow one another from 0 and are in the records.
pub async fn offsets_are_contiguous(engine: &dyn Engine) -> Result<(), Failure> {
    let (log, stream) = (engine.open().await?, stream(engine, "changes", "offsets_are_contiguous")?);
    let mut writer = log.writer(&stream).await?;
    ensure!(writer.stream() == &stream, "the writer is one of {}", writer.stream());
    ensure!(writer.next_offset() == 0, "a new stream begins at {}", writer.next_offset());
    let mut next = 0;
    for size in [1, 2, 100, 1, 37] {
        let first = writer.append(numbers(next..next + size)).await?;
        ensure!(first == next, "an append at {next} returned {first}");
        next += size;
        ensure!(writer.next_offset() == next, "the writer's next offset is {} and not {next}", writer.next_offset());
        let tail = log.tail(&stream).await?;
        ensure!(tail == next, "the tail is {tail} and not {next}");
    }
    let mut reader = log.reader(&stream, 0).await?;
    ensure!(reader.stream() == &stream, "the reader is one of {}", reader.stream());
    let records = read(reader.as_mut(), next as usize, 7).await?;
    check_numbered(&records, 0)?;
    ensure!(reader.position() == next, "the reader stands at {} and not at {next}", reader.position());
    Ok(())
}

/// Keys, values and headers come back as they were, whatever bytes they are, with a time that is about now.
pub async fn everything_round_trips(engine: &dyn Engine) -> Result<(), Failure> {
    let (log, stream) = (engine.open().await?, stream(engine, "changes", "everything_round_trips")?);
    let every: Bytes = (0..=u8::MAX).cycle().take(70_000).collect();
    let header = |name: &str, value: &Bytes| (name.to_owned(), value.clone());
    let key = |key: &Bytes| Some(key.clone());
    let (empty, zero) = (Bytes::new(), Bytes::from_static(&[0]));
    let written = vec![
        NewRecord { key: None, value: empty.clone(), headers: vec![] },
        NewRecord { key: key(&empty), value: every.clone(), headers: vec![header("traceparent", &zero)] },
        NewRecord { key: key(&every.slice(..300)), value: zero.clone(), headers: vec![] },
        NewRecord { key: key(&zero), value: every, headers: vec![header("h", &empty), header("h", &zero)] },
        NewRecord { key: None, value: zero.clone(), headers: vec![header("ünï", &Bytes::from_static(b"\xff\xfe"))] },
    ];
    let mut writer = log.writer(&stream).await?;
    let before = forestsync_runtime::clock::now();
    writer.append(written.clone()).await?;
    let after = forestsync_runtime::clock::now();
    let read = read(log.reader(&stream, 0).await?.as_mut(), written.len(), 10).await?;
    for (written, read) in written.iter().zip(&read) {
        let same = written.key == read.key && written.value == read.value && written.headers == read.headers;
        ensure!(same, "record {} came back changed", read.offset);
        let (low, high) = (before.as_millisecond() - 60_000, after.as_millisecond() + 60_000);
        let time = read.timestamp.as_millisecond();
        ensure!((low..=high).contains(&time), "record {} says it was appended at {}", read.offset, read.timestamp);
    }
    Ok(())
}

/// An empty append writes nothing and returns the tail.
pub async fn empty_append_is_none(engine: &dyn Engine) -> Result<(), Failure> {
    let (log, stream) = (engine.open().await?, stream(engine, "changes", "empty_append_is_none")?);
    let mut writer = log.writer(&stream).await?;
    for next in 0..3 {
        let first = writer.append(Vec::new()).await?;
        ensure!(first == next, "an empty append at {next} returned {first}");
        writer.append(numbers(next..next + 1)).await?;
    }
    let records = read_to_tail(log.reader(&stream, 0).await?.as_mut(), 10).await?;
    ensure!(records.len() == 3, "{} records were read and 3 written", records.len());
    check_numbered(&records, 0)
}

/// A record or an append beyond the limits is refused by name, nothing of it is written and the writer goes on. What is
/// just within the limits is taken.
pub async fn too_large_is_refused(engine: &dyn Engine) -> Result<(), Failure> {
    let (log, stream) = (engine.open().await?, stream(engine, "changes", "too_large_is_refused")?);
    let mut writer = log.writer(&stream).await?;
    writer.append(numbers(0..1)).await?;
    let filled = |bytes: usize| NewRecord::new(Some("culprit"), vec![b'x'; bytes - "culprit".len()]);
    let refused = writer.append(vec![numbered(1), filled(MAX_RECORD_BYTES + 1)]).await;
    match refused {
        Err(AppendError::TooLarge { key, size, limit, .. }) => {
            ensure!(key == "culprit" && size == limit + 1, "the wrong record was named: {key:?}, {size} bytes");
        }
        other => ensure!(false, "a record of {} bytes: {other:?}", MAX_RECORD_BYTES + 1),
    }
    let (count, rest) = (MAX_APPEND_BYTES / MAX_RECORD_BYTES, MAX_APPEND_BYTES % MAX_RECORD_BYTES);
    let full = || (0..count).map(|_| filled(MAX_RECORD_BYTES)).chain([filled(rest)]);
    let refused = writer.append(full().chain([numbered(1)]).collect()).await;
    let known = matches!(&refused, Err(error @ AppendError::TooLarge { .. }) if error.outcome_known());
    ensure!(known, "an append of more than {MAX_APPEND_BYTES} bytes: {refused:?}");
    ensure!(writer.next_offset() == 1, "a refused append moved the writer to {}", writer.next_offset());
    writer.append(numbers(1..2)).await?;
    writer.append(full().collect()).await?;
    let mut reader = log.reader(&stream, 0).await?;
    check_numbered(&read(reader.as_mut(), 2, 1).await?, 0)?;
    let large = read(reader.as_mut(), count + 1, 100).await?;
    let bytes: usize = large.iter().map(|record| record.value.len() + "culprit".len()).sum();
    ensure!(bytes == MAX_APPEND_BYTES, "{bytes} bytes came back of {MAX_APPEND_BYTES}");
    Ok(())
}

/// A reader, and whoever asks for the tail, sees all of an append or nothing, while the writer is at work.
pub async fn appends_are_atomic(engine: &dyn Engine) -> Result<(), Failure> {
    const SIZES: [u64; 6] = [1, 13, 2, 400, 1, 57];
    const APPENDS: usize = 120;
    let stream = stream(engine, "changes", "appends_are_atomic")?;
    let ends: Vec<u64> = SIZES
        .iter()
        .cycle()
        .take(APPENDS)
        .scan(0, |end, size| {
            *end += size;
            Some(*end)
        })
        .collect();
    let last = ends.last().copied().unwrap_or(0);
    let log = engine.open().await?;
    let mut writer = log.writer(&stream).await?;
    let write = async {
        let mut from = 0;
        for end in &ends {
            writer.append(numbers(from..*end)).await?;
            from = *end;
        }
        Ok::<_, Failure>(())
    };
    let whole = |offset: u64| offset == 0 || ends.binary_search(&offset).is_ok();
    let watch = |same_handle: bool| {
        let (log, stream) = (log.clone(), &stream);
        async move {
            let log = if same_handle { log } else { engine.open().await? };
            let mut reader = log.reader(stream, 0).await?;
            let mut seen = 0;
            while seen < last {
                let records = read_to_tail(reader.as_mut(), 9).await?;
                check_numbered(&records, seen)?;
                seen += records.len() as u64;
                ensure!(whole(seen), "an append was seen in part, up to record {seen}");
                let tail = log.tail(stream).await?;
                ensure!(whole(tail) && tail >= seen, "the tail was {tail} when {seen} records had been seen");
            }
            Ok(())
        }
    };
    try_join!(write, watch(true), watch(false)).map(|_| ())
}
