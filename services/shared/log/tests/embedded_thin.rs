//! Records taken out of a stream on purpose: what stays is as it was, at whatever step the process dies.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{base, frames, read_all, reseal, segments, small_segments, stream, three};
use forestsync_log::{Log, Record, StreamName, WriterError, chain};

const SEGMENT_BYTES: u64 = 1600;
const APPENDS: u64 = 20;

async fn written(dir: &Path, stream: &StreamName) -> Vec<Record> {
    let log = small_segments(dir, SEGMENT_BYTES);
    let mut writer = log.writer(stream).await.unwrap();
    for append in 0..APPENDS {
        writer.append(three(append)).await.unwrap();
    }
    read_all(&log, stream).await.0
}

/// Whole appends go, parts of them, and the ends of segments are asked for.
fn goes(offset: u64) -> bool {
    (7..30).contains(&offset) || (offset > 40 && offset.is_multiple_of(2)) || offset == 0 || offset == 59
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The records, but for what was marked as standing behind a gap.
fn unmarked(records: &[Record]) -> Vec<Record> {
    let mut records = records.to_vec();
    for record in &mut records {
        if let Some(link) = &mut record.link {
            link.gap = false;
        }
    }
    records
}

#[tokio::test]
async fn what_stays_is_as_it_was_at_every_step() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.steps"));
    let folder = |name: &str| dir.path().join(name).join(stream.as_str());
    let before = written(&dir.path().join("old"), &stream).await;
    copy(&folder("old"), &folder("new"));
    let log = small_segments(&dir.path().join("new"), SEGMENT_BYTES);
    let thinned = log.thin(&stream, goes).await.unwrap();
    assert!(thinned.records > 20 && thinned.bytes_after < thinned.bytes_before, "{thinned:?}");
    let old = segments(&dir.path().join("old"), &stream);
    assert!(old.len() > 4);
    for done in 0..=old.len() {
        let name = format!("step {done}");
        copy(&folder("old"), &folder(&name));
        fs::write(folder(&name).join(format!("{:020}.seg", APPENDS * 3)), b"").unwrap();
        for path in &old[..done] {
            let file = path.file_name().unwrap();
            fs::copy(folder("new").join(file), folder(&name).join(file)).unwrap();
        }
        if let Some(next) = old.get(done) {
            let unfinished = folder(&name).join(next.file_name().unwrap()).with_extension("seg.tmp");
            fs::write(unfinished, b"FSYL and so on").unwrap();
        }
        let log = small_segments(&dir.path().join(&name), SEGMENT_BYTES);
        for round in 0..2 {
            let (records, error) = read_all(&log, &stream).await;
            assert!(error.is_none(), "{name}: {error:?}");
            assert!(unmarked(&records).iter().all(|record| before.contains(record)), "{name}");
            let gone = before.len() - records.len();
            let kept = |offset| records.iter().any(|record| record.offset == offset);
            assert!((0..60).filter(|offset| !goes(*offset)).all(kept) && kept(0) && kept(59), "{name}");
            assert!(round == 0 || gone as u64 == thinned.records, "{name}: {gone} went");
            let verdict = chain::verify(&log, &stream, &[], &mut |_, _| ()).await.unwrap();
            assert!(verdict.broken.is_none() && (verdict.gaps > 0) == (gone > 0), "{name}: {verdict:?}");
            assert_eq!(log.tail(&stream).await.unwrap(), 60);
            log.thin(&stream, goes).await.unwrap();
        }
        let mut writer = log.writer(&stream).await.unwrap();
        assert_eq!(writer.append(three(APPENDS)).await.unwrap(), 60);
        let refused = log.thin(&stream, goes).await;
        assert!(matches!(refused, Err(WriterError::Busy(_))), "a writer lives: {refused:?}");
        let verdict = chain::verify(&log, &stream, &[], &mut |_, _| ()).await.unwrap();
        assert!(verdict.broken.is_none() && verdict.next_offset == 63, "{verdict:?}");
    }
}

/// Readers begin anywhere, also in a gap, and a copy is the same.
#[tokio::test]
async fn a_thinned_stream_is_read_from_anywhere_and_copied() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.thinned"));
    written(&dir.path().join("a"), &stream).await;
    let log = small_segments(&dir.path().join("a"), SEGMENT_BYTES);
    log.thin(&stream, goes).await.unwrap();
    let all = read_all(&log, &stream).await.0;
    for from in 0..60 {
        let mut reader = log.reader(&stream, from).await.unwrap();
        let next = reader.poll(1).await.unwrap().pop().unwrap();
        assert_eq!(Some(&next), all.iter().find(|record| record.offset >= from), "from {from}");
    }
    let copy = small_segments(&dir.path().join("b"), SEGMENT_BYTES);
    let mut writer = copy.writer(&stream).await.unwrap();
    for part in all.chunks(5) {
        writer.restore(part.to_vec()).await.unwrap();
    }
    assert_eq!(read_all(&copy, &stream).await.0, all);
    let verdict = chain::verify(&copy, &stream, &[], &mut |_, _| ()).await.unwrap();
    assert!(verdict.broken.is_none() && verdict.gaps > 3, "{verdict:?}");
}

/// Somebody who takes records out the same way and does not say so.
#[tokio::test]
async fn a_gap_without_its_mark_is_a_break() {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.unmarked"));
    written(dir.path(), &stream).await;
    let log = small_segments(dir.path(), SEGMENT_BYTES);
    log.thin(&stream, |offset| (3..6).contains(&offset)).await.unwrap();
    let path = segments(dir.path(), &stream).into_iter().find(|path| base(path) == 0).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // of the first record of a frame, behind header, offset and time
    let marked = frames(&bytes).into_iter().find(|(at, _)| bytes[at + 48 + 12] == 3).unwrap().0;
    bytes[marked + 48 + 12] = 1;
    reseal(&mut bytes, marked, base(&path));
    fs::write(&path, bytes).unwrap();
    let verdict = chain::verify(&log, &stream, &[], &mut |_, _| ()).await.unwrap();
    let broken = verdict.broken.unwrap();
    assert_eq!(broken.offset, 6, "{broken:?}");
    assert!(broken.detail.contains("from 3 on"), "{broken:?}");
}
