//! What a death or a bad disk leaves behind: a torn end is cut off, anything else is reported and left alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{read_all, segments, small_segments, stream, three};
use forestsync_log::{EmbeddedLog, Log, ReadError, StreamName, WriterError};

const APPENDS: u64 = 4;

/// A stream of four appends, its only file's bytes and where each append ends.
async fn written(dir: &Path, stream: &StreamName) -> (Vec<u8>, Vec<usize>) {
    let log = EmbeddedLog::open(dir).unwrap();
    let mut writer = log.writer(stream).await.unwrap();
    let file = &segments(dir, stream)[0];
    let mut ends = Vec::new();
    for append in 0..APPENDS {
        writer.append(three(append)).await.unwrap();
        ends.push(fs::metadata(file).unwrap().len() as usize);
    }
    (fs::read(file).unwrap(), ends)
}

/// The stream is whole, holds `appends` appends and can be written on.
async fn check_whole(dir: &Path, stream: &StreamName, appends: u64) {
    let log = EmbeddedLog::open(dir).unwrap();
    let (before, error) = read_all(&log, stream).await;
    assert!(error.is_none(), "a reader without a writer: {error:?}");
    assert_eq!(before.len() as u64, appends * 3);
    assert_eq!(log.tail(stream).await.unwrap(), appends * 3);
    let mut writer = log.writer(stream).await.unwrap();
    assert_eq!(writer.next_offset(), appends * 3);
    writer.append(three(appends)).await.unwrap();
    let (after, error) = read_all(&log, stream).await;
    assert!(error.is_none());
    let texts: Vec<_> = after.iter().map(|record| record.value.clone()).collect();
    let expected: Vec<_> = (0..=appends).flat_map(three).map(|record| record.value).collect();
    assert_eq!(texts, expected);
    assert!(after.iter().zip(0..).all(|(record, offset)| record.offset == offset));
}

#[tokio::test]
async fn an_append_torn_at_any_byte_is_cut_off() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.torn"));
    let (bytes, ends) = written(dir.path(), &stream).await;
    let file = &segments(dir.path(), &stream)[0];
    let (start, end) = (ends[2], ends[3]);
    for length in start..end {
        fs::write(file, &bytes[..length]).unwrap();
        check_whole(dir.path(), &stream, APPENDS - 1).await;
    }
    fs::write(file, &bytes).unwrap();
    check_whole(dir.path(), &stream, APPENDS).await;
    assert_eq!(fs::read_dir(dir.path().join(stream.as_str())).unwrap().count(), 2, "nothing suspicious was kept");
}

#[tokio::test]
async fn the_only_append_torn_at_any_byte_is_cut_off() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.first"));
    let (bytes, ends) = written(dir.path(), &stream).await;
    for length in 0..ends[0] {
        fs::write(&segments(dir.path(), &stream)[0], &bytes[..length]).unwrap();
        check_whole(dir.path(), &stream, 0).await;
    }
}

/// What a power failure may leave: the file has its length, and blocks that never got there are zeros.
#[tokio::test]
async fn an_append_whose_blocks_were_lost_is_cut_off_and_kept_aside() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.blocks"));
    let (bytes, ends) = written(dir.path(), &stream).await;
    let file = &segments(dir.path(), &stream)[0];
    for lost in [ends[2]..ends[3], ends[2]..ends[2] + 20, ends[3] - 20..ends[3]] {
        let mut torn = bytes.clone();
        torn[lost.clone()].fill(0);
        fs::write(file, &torn).unwrap();
        check_whole(dir.path(), &stream, APPENDS - 1).await;
        let copy = file.with_extension(format!("seg.{}.cut", ends[2]));
        assert_eq!(fs::read(copy).unwrap(), &torn[ends[2]..], "the copy of {lost:?}");
    }
}

#[tokio::test]
async fn a_flipped_bit_before_the_last_append_is_damage() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.flipped"));
    let (bytes, ends) = written(dir.path(), &stream).await;
    let file = &segments(dir.path(), &stream)[0];
    let log = EmbeddedLog::open(dir.path()).unwrap();
    for byte in 0..ends[2] {
        let mut flipped = bytes.clone();
        flipped[byte] ^= 1 << (byte % 8);
        fs::write(file, &flipped).unwrap();
        let hit = ends.iter().position(|end| byte < *end).unwrap();
        let at = if hit == 0 { 0 } else { ends[hit - 1] };
        let (records, error) = read_all(&log, &stream).await;
        assert_eq!(records.len(), hit * 3, "what stands before byte {byte} is read");
        let Some(ReadError::Damaged { place, .. }) = error else { panic!("byte {byte}: {error:?}") };
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(place.ends_with(&format!("{name} at byte {at}")), "byte {byte}: {place}");
        let refused = log.writer(&stream).await;
        assert!(matches!(refused, Err(WriterError::Damaged { .. })), "byte {byte}: {refused:?}");
        assert_eq!(fs::read(file).unwrap(), flipped, "nothing was touched");
    }
}

#[tokio::test]
async fn damage_stays_an_error() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.stays"));
    let (mut bytes, ends) = written(dir.path(), &stream).await;
    bytes[ends[1] - 1] ^= 1;
    fs::write(&segments(dir.path(), &stream)[0], &bytes).unwrap();
    let log = EmbeddedLog::open(dir.path()).unwrap();
    let mut reader = log.reader(&stream, 0).await.unwrap();
    assert_eq!(reader.next(100).await.unwrap().len(), 3);
    for _ in 0..3 {
        assert!(matches!(reader.next(100).await, Err(ReadError::Damaged { .. })));
        assert_eq!(reader.position(), 3);
    }
}

#[tokio::test]
async fn the_end_of_a_closed_segment_is_never_taken_for_torn() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.closed"));
    let log = small_segments(dir.path(), 1);
    let mut writer = log.writer(&stream).await.unwrap();
    for append in 0..3 {
        writer.append(three(append)).await.unwrap();
    }
    let files = segments(dir.path(), &stream);
    assert_eq!(files.len(), 3);
    let whole = fs::read(&files[1]).unwrap();
    let last = whole.len() - 1;
    let flipped: Vec<u8> = [&whole[..last], &[whole[last] ^ 1]].concat();
    for content in [&whole[..last], &whole[..10], &whole[..0], &flipped] {
        fs::write(&files[1], content).unwrap();
        for log in [&log, &EmbeddedLog::open(dir.path()).unwrap()] {
            let (records, error) = read_all(log, &stream).await;
            assert_eq!(records.len(), 3);
            assert!(matches!(error, Some(ReadError::Damaged { .. })), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_missing_segment_is_damage() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.missing"));
    let log = small_segments(dir.path(), 1);
    let mut writer = log.writer(&stream).await.unwrap();
    for append in 0..4 {
        writer.append(three(append)).await.unwrap();
    }
    let files = segments(dir.path(), &stream);
    for (missing, whole) in [(2, 6), (0, 0)] {
        fs::remove_file(&files[missing]).unwrap();
        let (records, error) = read_all(&log, &stream).await;
        assert_eq!(records.len(), whole);
        assert!(matches!(error, Some(ReadError::Damaged { .. })), "{error:?}");
    }
}

/// A value that holds the bytes of whole frames is not mistaken for frames when the append around it is torn.
#[tokio::test]
async fn frames_inside_a_torn_value_are_not_taken_for_damage() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.inside"));
    let (image, _) = written(dir.path(), &stream).await;
    let file = &segments(dir.path(), &stream)[0];
    let log = EmbeddedLog::open(dir.path()).unwrap();
    let mut writer = log.writer(&stream).await.unwrap();
    writer.append(vec![forestsync_log::NewRecord::new(None::<&str>, image.repeat(5))]).await.unwrap();
    drop(writer);
    let mut bytes = fs::read(file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(file, &bytes).unwrap();
    check_whole(dir.path(), &stream, APPENDS).await;
}

#[tokio::test]
async fn a_frame_of_a_later_version_is_neither_read_nor_cut() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.later"));
    let (mut bytes, ends) = written(dir.path(), &stream).await;
    bytes[ends[2] + 4] = 4;
    let file = &segments(dir.path(), &stream)[0];
    fs::write(file, &bytes).unwrap();
    let log = EmbeddedLog::open(dir.path()).unwrap();
    let (records, error) = read_all(&log, &stream).await;
    assert_eq!(records.len(), 9);
    assert!(error.unwrap().to_string().contains("version 4"));
    assert!(matches!(log.writer(&stream).await, Err(WriterError::Damaged { .. })));
    assert_eq!(fs::read(file).unwrap(), bytes);
}
