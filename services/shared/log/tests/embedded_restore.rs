//! Records of one log taken in by another: equal to the last byte, gaps and times included.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use bytes::Bytes;
use common::{read_all, small_segments, stream, three};
use forestsync_log::{AppendError, Log as _, MAX_APPEND_BYTES, Record};
use jiff::Timestamp;
use proptest::prelude::*;

fn record(offset: u64, time_ms: i64) -> Record {
    Record {
        offset,
        timestamp: Timestamp::from_millisecond(time_ms).unwrap(),
        key: (!offset.is_multiple_of(3)).then(|| Bytes::from(format!("key {}", offset % 7))),
        value: Bytes::from(format!("value {offset}")),
        headers: vec![("type".to_owned(), Bytes::from_static(b"\x00\xff")); (offset % 2) as usize],
        link: None,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever the gaps, times, batches and segments, and with the writer opened anew before each batch.
    #[test]
    fn what_is_restored_is_what_was_there(
        steps in prop::collection::vec((1..4_u64, 0..3_i64), 1..60),
        batch in 1..20_usize,
        segment_bytes in 60..4000_u64,
    ) {
        let (mut offset, mut time) = (0, 1_700_000_000_000);
        let records: Vec<Record> = steps.into_iter().map(|(gap, later)| {
            time += later * 5;
            offset += gap;
            record(offset, time)
        }).collect();
        let dir = tempfile::tempdir().unwrap();
        let stream = stream("desired.restored");
        let read = runtime().block_on(async {
            for batch in records.chunks(batch) {
                let mut options = forestsync_log::EmbeddedOptions::default();
                options.segment_bytes = segment_bytes;
                let log = forestsync_log::EmbeddedLog::open_with(dir.path(), options).unwrap();
                let mut writer = log.writer(&stream).await.unwrap();
                writer.restore(batch.to_vec()).await.unwrap();
                assert_eq!(writer.next_offset(), batch.last().unwrap().offset + 1);
            }
            let log = small_segments(dir.path(), segment_bytes);
            assert_eq!(log.tail(&stream).await.unwrap(), records.last().unwrap().offset + 1);
            read_all(&log, &stream).await
        });
        prop_assert!(read.1.is_none(), "{:?}", read.1);
        prop_assert_eq!(read.0, records);
    }
}

#[tokio::test]
async fn appends_go_on_where_the_restored_end() {
    let dir = tempfile::tempdir().unwrap();
    let (log, stream) = (small_segments(dir.path(), 500), stream("changes.restored"));
    let mut writer = log.writer(&stream).await.unwrap();
    writer.restore(Vec::new()).await.unwrap();
    writer.restore((0..40).map(|offset| record(offset, 1000 + offset.cast_signed() / 4)).collect()).await.unwrap();
    assert_eq!(writer.append(three(0)).await.unwrap(), 40);
    let (records, error) = read_all(&log, &stream).await;
    assert!(error.is_none() && records.len() == 43);
    assert_eq!(log.reader(&stream, 21).await.unwrap().poll(1).await.unwrap()[0].offset, 21);
}

#[tokio::test]
async fn what_does_not_belong_at_the_end_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = small_segments(dir.path(), 5000);
    let mut writer = log.writer(&stream("changes.refused")).await.unwrap();
    let mut compacted = log.writer(&stream("desired.refused")).await.unwrap();
    for offsets in [&[1][..], &[0, 2], &[0, 0], &[u64::MAX]] {
        let error = writer.restore(offsets.iter().map(|offset| record(*offset, 0)).collect()).await.unwrap_err();
        assert!(matches!(error, AppendError::Misplaced { .. }), "{offsets:?}: {error}");
    }
    for offsets in [&[5, 5][..], &[5, 4], &[u64::MAX]] {
        let error = compacted.restore(offsets.iter().map(|offset| record(*offset, 0)).collect()).await.unwrap_err();
        assert!(matches!(error, AppendError::Misplaced { .. }), "{offsets:?}: {error}");
    }
    let large = Bytes::from(vec![0; MAX_APPEND_BYTES / 20]);
    let too_much = (0..21).map(|offset| Record { value: large.clone(), ..record(offset, 0) }).collect();
    assert!(matches!(writer.restore(too_much).await.unwrap_err(), AppendError::TooLarge { .. }));
    for (name, writer) in [("changes.refused", &mut writer), ("desired.refused", &mut compacted)] {
        assert!(read_all(&log, &stream(name)).await.0.is_empty(), "{name}");
        writer.restore(vec![record(0, 0)]).await.unwrap();
    }
}
