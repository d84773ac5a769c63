//! Whatever is done to the files of a stream is found by a walk over its chain, and named.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{base, frames, read_all, reseal, segments, small_segments, stream, three};
use forestsync_log::chain::{self, Anchor, Broken, Verdict};
use forestsync_log::{EmbeddedLog, Log, NewRecord, StreamName};

const APPENDS: u64 = 13;
const SEGMENT_BYTES: u64 = 1600;

/// Every how many bits one is flipped, unless all are.
const SAMPLE: usize = 13;

async fn written(dir: &Path, stream: &StreamName) -> Vec<Anchor> {
    let log = small_segments(dir, SEGMENT_BYTES);
    let mut writer = log.writer(stream).await.unwrap();
    for append in 0..APPENDS {
        writer.append(three(append)).await.unwrap();
    }
    drop(writer);
    chain::anchor(&log, stream).await.unwrap().into_iter().collect()
}

async fn verify(dir: &Path, stream: &StreamName, anchors: &[Anchor]) -> Verdict {
    let log = EmbeddedLog::open(dir).unwrap();
    chain::verify(&log, stream, anchors, &mut |_, _| ()).await.unwrap()
}

fn soak() -> bool {
    std::env::var_os("FORESTSYNC_SOAK").is_some_and(|v| v != "0")
}

/// Each is named with the frame it is in, and the offset that was due there.
#[tokio::test]
async fn no_flipped_bit_goes_unnoticed() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.flipped"));
    written(dir.path(), &stream).await;
    let files = segments(dir.path(), &stream);
    assert!(files.len() > 3, "{} segments", files.len());
    let (step, mut flipped) = (if soak() { 1 } else { SAMPLE }, 0);
    for path in &files {
        let good = fs::read(path).unwrap();
        let frames = frames(&good);
        for bit in (0..good.len() * 8).step_by(step) {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(path, bytes).unwrap();
            let verdict = verify(dir.path(), &stream, &[]).await;
            let (at, due) = frames.iter().rev().find(|(at, _)| bit / 8 >= *at).copied().unwrap();
            let Some(Broken { offset, place: Some(place), .. }) = verdict.broken else {
                panic!("bit {bit} of {}: {verdict:?}", path.display())
            };
            let file = path.file_name().unwrap().to_str().unwrap();
            assert!(place.ends_with(&format!("{file} at byte {at}")), "bit {bit}: {place}");
            assert_eq!((offset, verdict.proved), (due, due), "bit {bit} of {file}");
            flipped += 1;
        }
        fs::write(path, good).unwrap();
    }
    println!("{flipped} bits of {} files", files.len());
    let verdict = verify(dir.path(), &stream, &[]).await;
    assert!(verdict.broken.is_none() && verdict.proved == APPENDS * 3, "{verdict:?}");
}

/// Every byte of every payload that is part of a value is changed, with all checksums made to fit.
#[tokio::test]
async fn a_record_changed_with_its_checksums_is_named() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.forged"));
    written(dir.path(), &stream).await;
    let log = EmbeddedLog::open(dir.path()).unwrap();
    for path in segments(dir.path(), &stream) {
        let good = fs::read(&path).unwrap();
        for (at, first) in frames(&good) {
            for part in 0..3 {
                let text = format!("append {} part {part}", first / 3);
                let mut bytes = good.clone();
                let place = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
                bytes[place] = b'A';
                reseal(&mut bytes, at, base(&path));
                fs::write(&path, bytes).unwrap();
                let (records, error) = read_all(&log, &stream).await;
                assert!(error.is_none() && records.len() as u64 == APPENDS * 3, "no checksum tells: {error:?}");
                let verdict = verify(dir.path(), &stream, &[]).await;
                let Broken { offset, place, .. } = verdict.broken.unwrap();
                assert_eq!((offset, place), (first + part, None));
            }
        }
        fs::write(&path, good).unwrap();
    }
}

#[tokio::test]
async fn a_tail_that_is_cut_off_is_found_by_its_anchor() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.cut"));
    let anchors = written(dir.path(), &stream).await;
    let files = segments(dir.path(), &stream);
    let last = files.last().unwrap();
    let good = fs::read(last).unwrap();
    for (at, due) in frames(&good) {
        fs::write(last, &good[..at]).unwrap();
        let verdict = verify(dir.path(), &stream, &[]).await;
        assert!(verdict.broken.is_none(), "the chain alone cannot know: {verdict:?}");
        let verdict = verify(dir.path(), &stream, &anchors).await;
        assert_eq!(verdict.broken.map(|broken| broken.offset), Some(due));
        // an append that is not whole was never acknowledged; what an anchor says weighs more
        fs::write(last, &good[..at + 50]).unwrap();
        let verdict = verify(dir.path(), &stream, &[]).await;
        assert!(verdict.broken.is_none() && verdict.torn.is_some_and(|torn| torn.bytes == 50), "{due}");
        let verdict = verify(dir.path(), &stream, &anchors).await;
        assert_eq!(verdict.broken.map(|broken| broken.offset), Some(due));
    }
    fs::remove_dir_all(dir.path().join(stream.as_str())).unwrap();
    let verdict = verify(dir.path(), &stream, &anchors).await;
    assert_eq!(verdict.broken.map(|broken| broken.offset), Some(0), "the whole stream is gone");
}

#[tokio::test]
async fn a_stream_in_the_place_of_another_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (stream("changes.one"), stream("changes.other"));
    written(dir.path(), &one).await;
    let anchors = written(dir.path(), &other).await;
    fs::remove_dir_all(dir.path().join(other.as_str())).unwrap();
    fs::rename(dir.path().join(one.as_str()), dir.path().join(other.as_str())).unwrap();
    let verdict = verify(dir.path(), &other, &[]).await;
    assert_eq!(verdict.broken.map(|broken| broken.offset), Some(0), "its name is part of each hash");
    // written anew by this very program
    fs::remove_dir_all(dir.path().join(other.as_str())).unwrap();
    written(dir.path(), &other).await;
    let mut writer = small_segments(dir.path(), SEGMENT_BYTES).writer(&other).await.unwrap();
    writer.append(vec![NewRecord::new(None::<&str>, "more")]).await.unwrap();
    let fresh = verify(dir.path(), &other, &[]).await;
    assert!(fresh.broken.is_none());
    // both were written within a millisecond only if all their times are the same
    let verdict = verify(dir.path(), &other, &anchors).await;
    assert_eq!(verdict.broken.map(|broken| broken.offset), Some(APPENDS * 3 - 1));
}

/// What a version without chains left is read, goes on with a chain, and says where that begins.
#[tokio::test]
async fn an_older_stream_goes_on() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.older"));
    let folder = dir.path().join(stream.as_str());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{:020}.seg", 0)), older()).unwrap();
    let verdict = verify(dir.path(), &stream, &[]).await;
    assert_eq!((verdict.unproved, verdict.begins, verdict.broken), (2, None, None));
    let log = EmbeddedLog::open(dir.path()).unwrap();
    log.writer(&stream).await.unwrap().append(three(1)).await.unwrap();
    let (records, error) = read_all(&log, &stream).await;
    assert!(error.is_none() && records[0].value == "old" && records[1].timestamp.as_millisecond() == 1234);
    let verdict = verify(dir.path(), &stream, &[]).await;
    assert_eq!((verdict.unproved, verdict.begins, verdict.proved, verdict.broken), (2, Some(2), 3, None));
}

/// A frame of version 1 with two records, byte by byte.
fn older() -> Vec<u8> {
    let mut payload = Vec::new();
    for number in 0..2_u32 {
        payload.extend([number, u32::MAX, 3, 0].map(u32::to_le_bytes).concat());
        payload.extend(b"old");
    }
    let mut bytes = b"FSYL\x01\0\0\0".to_vec();
    bytes.extend([payload.len() as u32, 2].map(u32::to_le_bytes).concat());
    bytes.extend([0, 2, 1234].map(u64::to_le_bytes).concat());
    bytes.extend([0; 8]);
    bytes.extend(payload);
    reseal(&mut bytes, 0, 0);
    bytes
}
