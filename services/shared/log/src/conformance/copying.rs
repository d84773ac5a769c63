//! What holds for records that come from another log.

use bytes::Bytes;
use jiff::Timestamp;

use super::{Engine, Failure, ensure, read, stream};
use crate::{AppendError, MAX_RECORD_BYTES, NewRecord, Record, offset_at};

fn record(offset: u64, time_ms: i64) -> Result<Record, Failure> {
    let timestamp = Timestamp::from_millisecond(time_ms).map_err(|e| Failure::Unmet(e.to_string()))?;
    let key = (!offset.is_multiple_of(3)).then(|| Bytes::from(format!("key {offset}")));
    let headers = vec![("h".to_owned(), Bytes::from(offset.to_string()))];
    Ok(Record { offset, timestamp, key, value: Bytes::from(format!("value {offset}")), headers, link: None })
}

/// Restored records come back as they were, offsets and times too, and appends go on behind them. What does not follow is
/// refused and nothing of it written.
pub async fn restored_records_keep_their_places(engine: &dyn Engine) -> Result<(), Failure> {
    let log = engine.open().await?;
    let changes = stream(engine, "changes", "restored_records_keep_their_places")?;
    let desired = stream(engine, "desired", "restored_records_keep_their_places")?;
    // times need not grow, and some are shared
    let time =
        |offset: u64| 1_600_000_000_123 + (offset.cast_signed() / 2) * if offset.is_multiple_of(5) { -7 } else { 11 };
    let all: Vec<Record> = (0..40).map(|offset| record(offset, time(offset))).collect::<Result<_, _>>()?;
    let gaps: Vec<Record> = all.iter().filter(|record| record.offset % 7 > 2).cloned().collect();
    for (stream, records) in [(&changes, &all), (&desired, &gaps)] {
        let mut writer = log.writer(stream).await?;
        writer.restore(Vec::new()).await?;
        let (first, rest) = records.split_at(11);
        writer.restore(first.to_vec()).await?;
        let next = first.last().map_or(0, |record| record.offset + 1);
        ensure!(writer.next_offset() == next, "{} is next after a record at {}", writer.next_offset(), next - 1);
        let again = writer.restore(first.to_vec()).await;
        ensure!(matches!(again, Err(AppendError::Misplaced { .. })), "records were restored twice: {again:?}");
        let mut large = record(next, 0)?;
        large.value = vec![0; MAX_RECORD_BYTES].into();
        let large = writer.restore(vec![large]).await;
        ensure!(matches!(large, Err(AppendError::TooLarge { .. })), "a record beyond the limit: {large:?}");
        writer.restore(rest.to_vec()).await?;
        let appended = writer.append(vec![NewRecord::new(None::<Bytes>, "behind")]).await?;
        ensure!(appended == 40, "an append after restored records is at {appended} and not at 40");
        drop(writer);
        let fresh = engine.open().await?;
        let tail = fresh.tail(stream).await?;
        ensure!(tail == 41, "the tail is {tail} and not 41");
        let back = read(fresh.reader(stream, 0).await?.as_mut(), records.len() + 1, 7).await?;
        let same = back.iter().zip(records.iter()).all(|(back, record)| back == record);
        ensure!(same, "records of {stream} came back changed");
        ensure!(back.last().is_some_and(|last| last.offset == 40), "the append behind them is missing");
        let middle = read(fresh.reader(stream, 20).await?.as_mut(), 3, 3).await?;
        let due: Vec<u64> = records.iter().map(|r| r.offset).filter(|offset| *offset >= 20).take(3).collect();
        let found: Vec<u64> = middle.iter().map(|record| record.offset).collect();
        ensure!(found == due, "from 20 on {found:?} were read, and {due:?} are due");
        let info = fresh.stream_info(stream).await?;
        ensure!(info.first_offset <= due_first(records) && info.next_offset == 41, "{info:?}");
    }
    let mut writer = log.writer(&changes).await?;
    let gap = writer.restore(vec![record(41, 0)?, record(43, 0)?]).await;
    let misplaced = matches!(gap, Err(AppendError::Misplaced { offset: 43, expected: 42, .. }));
    ensure!(misplaced, "a gap in a stream that keeps everything: {gap:?}");
    ensure!(log.tail(&changes).await? == 41, "something of a refused restore was written");
    Ok(())
}

fn due_first(records: &[Record]) -> u64 {
    records.first().map_or(0, |record| record.offset)
}

/// Streams can be made before anybody writes them; making them again changes nothing.
pub async fn streams_are_made_empty(engine: &dyn Engine) -> Result<(), Failure> {
    let log = engine.open().await?;
    let names =
        [stream(engine, "changes", "streams_are_made_empty")?, stream(engine, "desired", "streams_are_made_empty")?];
    for _ in 0..2 {
        log.create(&names).await?;
    }
    let listed = engine.open().await?.streams().await?;
    ensure!(names.iter().all(|name| listed.contains(name)), "a stream that was made is not listed");
    for name in &names {
        ensure!(log.tail(name).await? == 0, "a stream that was made is not empty");
        log.writer(name).await?.append(super::numbers(0..1)).await?;
    }
    log.create(&names).await?;
    for name in &names {
        ensure!(log.tail(name).await? == 1, "making a stream that exists changed it");
    }
    Ok(())
}

/// For any time, the offset is found of the first record that was appended later; where records were superseded, too.
pub async fn moments_are_found(engine: &dyn Engine) -> Result<(), Failure> {
    let log = engine.open().await?;
    let changes = stream(engine, "changes", "moments_are_found")?;
    let desired = stream(engine, "desired", "moments_are_found")?;
    let begin = 1_600_000_000_000;
    // three records share a time each
    let time = |offset: u64| begin + offset.cast_signed() / 3 * 10;
    let all: Vec<Record> = (0..40).map(|offset| record(offset, time(offset))).collect::<Result<_, _>>()?;
    let gaps: Vec<Record> = all.iter().filter(|record| record.offset % 7 > 2).cloned().collect();
    for (stream, records) in [(&changes, &all), (&desired, &gaps)] {
        ensure!(
            offset_at(log.as_ref(), stream, Timestamp::MAX).await? == 0,
            "{stream}, which does not exist, stands anywhere"
        );
        let mut writer = log.writer(stream).await?;
        for some in records.chunks(7) {
            writer.restore(some.to_vec()).await?;
        }
        drop(writer);
        let tail = log.tail(stream).await?;
        for at in
            [begin - 1, begin, begin + 4, begin + 10, begin + 55, begin + 60, begin + 129, begin + 130, begin + 999]
        {
            let moment = Timestamp::from_millisecond(at).map_err(|e| Failure::Unmet(e.to_string()))?;
            let found = offset_at(log.as_ref(), stream, moment).await?;
            let is_before = |record: &&Record| record.timestamp <= moment;
            let least = records.iter().rev().find(is_before).map_or(0, |record| record.offset + 1);
            let most = records.iter().find(|record| !is_before(record)).map_or(tail, |record| record.offset);
            ensure!((least..=most).contains(&found), "{stream} at {moment}: {found} is not in {least}..={most}");
        }
    }
    Ok(())
}
