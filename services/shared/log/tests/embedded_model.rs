//! Whatever is done to a stream, it stays the list that a vector would be.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;

use common::{read_all, segments, small_segments, stream};
use forestsync_log::{Log, NewRecord};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<usize>),
    Reopen,
    /// The process dies so many bytes into an append.
    Tear(Vec<usize>, usize),
    /// Reads from somewhere, so many at a time.
    Read(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = || prop::collection::vec(prop_oneof![0_usize..300, 0_usize..300, 500_000_usize..700_000], 1..5);
    prop_oneof![
        4 => sizes().prop_map(Step::Append),
        1 => Just(Step::Reopen),
        1 => (sizes(), any::<prop::sample::Index>()).prop_map(|(sizes, at)| {
            let bytes = 48 + sizes.iter().map(|size| size + 16).sum::<usize>();
            Step::Tear(sizes, at.index(bytes))
        }),
        2 => (0_usize..60, 1_usize..6).prop_map(|(from, max)| Step::Read(from, max)),
    ]
}

fn records(next: usize, sizes: &[usize]) -> Vec<NewRecord> {
    let record = |(place, size): (usize, &usize)| NewRecord::new(None::<&str>, vec![(next + place) as u8; *size]);
    sizes.iter().enumerate().map(record).collect()
}

async fn run(steps: Vec<Step>, segment_bytes: u64) {
    let (dir, stream) = (tempfile::tempdir().unwrap(), stream("changes.model"));
    let mut log = small_segments(dir.path(), segment_bytes);
    let mut writer = log.writer(&stream).await.unwrap();
    let mut follower = log.reader(&stream, 0).await.unwrap();
    let (mut model, mut read_along) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Append(sizes) => {
                let new = records(model.len(), &sizes);
                assert_eq!(writer.append(new.clone()).await.unwrap(), model.len() as u64);
                model.extend(new);
            }
            Step::Reopen => {
                drop(writer);
                log = small_segments(dir.path(), segment_bytes);
                writer = log.writer(&stream).await.unwrap();
            }
            Step::Tear(sizes, bytes) => {
                writer.append(records(model.len(), &sizes)).await.unwrap();
                drop(writer);
                let file = segments(dir.path(), &stream).pop().unwrap();
                let whole = fs::metadata(&file).unwrap().len() as usize;
                let frame = 48 + sizes.iter().map(|size| size + 16).sum::<usize>();
                let file = fs::File::options().write(true).open(file).unwrap();
                file.set_len((whole - frame + bytes) as u64).unwrap();
                writer = log.writer(&stream).await.unwrap();
            }
            Step::Read(from, max) => {
                let mut reader = log.reader(&stream, from as u64).await.unwrap();
                let mut at = from;
                loop {
                    let some = reader.poll(max).await.unwrap();
                    if some.is_empty() {
                        break;
                    }
                    for record in some {
                        assert_eq!((record.offset, &record.value), (at as u64, &model[at].value));
                        at += 1;
                    }
                }
                assert_eq!(at, model.len().max(from));
            }
        }
        assert_eq!(writer.next_offset(), model.len() as u64);
        while let some = follower.poll(4).await.unwrap()
            && !some.is_empty()
        {
            read_along.extend(some);
        }
        assert_eq!(read_along.len(), model.len());
    }
    let (all, error) = read_all(&log, &stream).await;
    assert!(error.is_none());
    for found in [&all, &read_along] {
        assert!(found.iter().map(|record| &record.value).eq(model.iter().map(|record| &record.value)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_is_the_list_of_what_was_acknowledged(
        steps in prop::collection::vec(step(), 1..25),
        segment_bytes in prop_oneof![Just(1_u64), Just(900_u64), Just(1_000_000_u64), Just(1_u64 << 26)],
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps, segment_bytes));
    }
}
