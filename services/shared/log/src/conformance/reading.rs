//! What holds for readers.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio::{select, try_join};

use crate::Mark;

use super::{Engine, Failure, check_numbered, ensure, numbers, read, read_to_tail, stream};

/// A stream that does not exist reads as an empty one and is not made by reading; a reader of it sees what comes later.
pub async fn unknown_stream_is_empty(engine: &dyn Engine) -> Result<(), Failure> {
    let (log, stream) = (engine.open().await?, stream(engine, "changes", "unknown_stream_is_empty")?);
    ensure!(log.tail(&stream).await? == 0, "a stream that does not exist has a tail");
    let mut reader = log.reader(&stream, 0).await?;
    ensure!(reader.poll(10).await?.is_empty(), "a stream that does not exist has records");
    ensure!(!log.streams().await?.contains(&stream), "reading made a stream");
    let other = engine.open().await?;
    let mut writer = other.writer(&stream).await?;
    writer.append(numbers(0..3)).await?;
    check_numbered(&read(reader.as_mut(), 3, 10).await?, 0)?;
    ensure!(log.streams().await?.contains(&stream), "a stream with records is not listed");
    Ok(())
}

/// A reader starts at any offset, in the middle of an append too, and takes as few at a time as it likes.
pub async fn starts_anywhere(engine: &dyn Engine) -> Result<(), Failure> {
    let (log, stream) = (engine.open().await?, stream(engine, "changes", "starts_anywhere")?);
    let mut writer = log.writer(&stream).await?;
    for from in (0..60).step_by(6) {
        writer.append(numbers(from..from + 6)).await?;
    }
    for from in 0..60 {
        let mut reader = log.reader(&stream, from).await?;
        ensure!(reader.position() == from, "a reader from {from} stands at {}", reader.position());
        let max = 1 + from as usize % 4;
        let records = read(reader.as_mut(), 60 - from as usize, max).await?;
        check_numbered(&records, from)?;
        ensure!(reader.position() == 60, "a reader at the tail stands at {}", reader.position());
    }
    Ok(())
}

/// A reader that begins at a mark reads what one without it reads, and so does one whose mark is wrong.
pub async fn marks_lead_back(engine: &dyn Engine) -> Result<(), Failure> {
    let (log, stream) = (engine.open().await?, stream(engine, "changes", "marks_lead_back")?);
    let mut writer = log.writer(&stream).await?;
    for from in (0..30).step_by(3) {
        writer.append(numbers(from..from + 3)).await?;
    }
    let (mut reader, mut marks) = (log.reader(&stream, 0).await?, Vec::new());
    for offset in 0..30 {
        check_numbered(&read(reader.as_mut(), 1, 1).await?, offset)?;
        let Some(mark) = reader.mark() else { return Ok(()) };
        ensure!(mark.offset <= offset, "the mark of record {offset} is of {}", mark.offset);
        marks.push((offset, mark));
    }
    let [.., (_, last)] = marks[..] else { return Ok(()) };
    let moved = |by: u64| Mark { place: [last.place[0], last.place[1].wrapping_add(by)], ..last };
    let wrong =
        [last, moved(1), moved(1 << 40), Mark { offset: 1, ..last }, Mark { offset: last.offset, place: [7, 7] }];
    marks.extend(wrong.map(|mark| (4, mark)));
    for (from, mark) in marks {
        let mut reader = log.reader_near(&stream, from, mark).await?;
        let records = read(reader.as_mut(), 30 - from as usize, 7).await?;
        check_numbered(&records, from)?;
    }
    Ok(())
}

/// A reader that starts beyond the tail sees nothing until the tail gets there, and then nothing before its start.
pub async fn waits_beyond_the_tail(engine: &dyn Engine) -> Result<(), Failure> {
    let (log, stream) = (engine.open().await?, stream(engine, "changes", "waits_beyond_the_tail")?);
    let mut writer = log.writer(&stream).await?;
    writer.append(numbers(0..5)).await?;
    let mut reader = log.reader(&stream, 12).await?;
    for from in [5, 8] {
        ensure!(reader.poll(10).await?.is_empty(), "a reader from 12 saw something before {from}");
        writer.append(numbers(from..from + 3)).await?;
    }
    writer.append(numbers(11..15)).await?;
    check_numbered(&read(reader.as_mut(), 3, 10).await?, 12)
}

/// Polling ends at the tail, and goes on where it was when there is more.
pub async fn poll_stops_at_the_tail(engine: &dyn Engine) -> Result<(), Failure> {
    let (log, stream) = (engine.open().await?, stream(engine, "changes", "poll_stops_at_the_tail")?);
    let mut writer = log.writer(&stream).await?;
    let mut reader = log.reader(&stream, 0).await?;
    for from in (0..50).step_by(10) {
        writer.append(numbers(from..from + 10)).await?;
        let records = read_to_tail(reader.as_mut(), 3).await?;
        ensure!(records.len() == 10, "{} records were there and 10 written", records.len());
        check_numbered(&records, from)?;
        ensure!(reader.poll(3).await?.is_empty(), "the tail moved without an append");
        ensure!(reader.poll(0).await?.is_empty(), "poll(0) returned something");
    }
    Ok(())
}

/// A reader that waits at the tail is woken by the next append, on the writer's handle and on another one, and goes on
/// across a change of writers.
pub async fn follows_the_tail(engine: &dyn Engine) -> Result<(), Failure> {
    const RECORDS: u64 = 60;
    let (log, other) = (engine.open().await?, engine.open().await?);
    let stream = stream(engine, "changes", "follows_the_tail")?;
    let (mut near, mut far) = (log.reader(&stream, 0).await?, other.reader(&stream, 0).await?);
    let mut writer = log.writer(&stream).await?;
    for offset in 0..RECORDS {
        if offset % 20 == 19 {
            drop(writer);
            writer = if offset % 40 == 19 { &other } else { &log }.writer(&stream).await?;
        }
        let mut append = async || -> Result<(), Failure> {
            // Both readers have begun to wait by now, or will find the record when they do.
            yield_now().await;
            writer.append(numbers(offset..offset + 1)).await?;
            Ok(())
        };
        let (here, there, ()) = try_join!(read(near.as_mut(), 1, 5), read(far.as_mut(), 1, 5), append())?;
        check_numbered(&here, offset)?;
        check_numbered(&there, offset)?;
    }
    Ok(())
}

/// A dropped `next` or `poll` has taken nothing, wherever it was dropped.
pub async fn next_is_cancel_safe(engine: &dyn Engine) -> Result<(), Failure> {
    const RECORDS: u64 = 300;
    let (log, stream) = (engine.open().await?, stream(engine, "changes", "next_is_cancel_safe")?);
    let mut writer = log.writer(&stream).await?;
    let write = async {
        for offset in 0..RECORDS {
            writer.append(numbers(offset..offset + 1)).await?;
        }
        Ok::<_, Failure>(())
    };
    let follow = async {
        let mut reader = log.reader(&stream, 0).await?;
        let (mut seen, mut dropped) = (0, 0_u64);
        while seen < RECORDS {
            let position = reader.position();
            ensure!(position == seen, "the reader stands at {position} after {seen} records");
            let patience = async {
                match dropped % 9 {
                    8 => sleep(Duration::from_millis(1)).await,
                    turns => {
                        for _ in 0..turns {
                            yield_now().await;
                        }
                    }
                }
            };
            let records = select! {
                biased;
                records = async { if dropped % 2 == 0 { reader.next(2).await } else { reader.poll(2).await } } => records?,
                () = patience => Vec::new(),
            };
            dropped += 1;
            check_numbered(&records, seen)?;
            seen += records.len() as u64;
        }
        let more = timeout(Duration::from_millis(1), reader.next(1)).await;
        ensure!(more.is_err(), "a record was read twice: {more:?}");
        Ok(())
    };
    try_join!(write, follow).map(|_| ())
}
