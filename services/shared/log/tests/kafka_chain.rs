//! Records that were altered in the files of a broker, by a disk or by somebody who knows the format, are found and named.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

mod kafka;

use std::fs;
use std::path::PathBuf;

use forestsync_log::chain::{self, Anchor};
use forestsync_log::{Log, NewRecord, StreamName};
use kafka::{Brokers, stream};

const RECORDS: usize = 9;
const ALTERED: usize = 4;

/// Bytes that no compression changes, so that they stand in the file as they are.
fn noise(number: usize) -> Vec<u8> {
    let mut bytes = vec![0; 300];
    blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// CRC-32C (RFC 3720, B.4), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// Where the batches of a segment begin (Kafka's message format 2): base offset i64, length i32, epoch i32, magic i8,
/// CRC-32C u32 of all from byte 21 on, attributes i16, last offset delta i32, base time i64, ...
fn batches(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut batches, mut at) = (Vec::new(), 0);
    while let Some(length) = bytes.get(at + 8..at + 12) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if length == 0 {
            break;
        }
        batches.push(at..at + 12 + length);
        at += 12 + length;
    }
    batches
}

fn alter(bytes: &mut [u8], how: How) {
    let needle = noise(ALTERED);
    let place = bytes.windows(needle.len()).position(|window| window == needle).expect("the value as it is");
    let batch = batches(bytes).into_iter().find(|batch| batch.contains(&place)).unwrap();
    match how {
        How::Disk | How::Value => bytes[place + 7] ^= 0x10,
        // the last byte of the time of the batch's first record
        How::Time => bytes[batch.start + 34] ^= 1,
    }
    if !matches!(how, How::Disk) {
        let crc = crc32c(&bytes[batch.start + 21..batch.end]).to_be_bytes();
        bytes[batch.start + 17..batch.start + 21].copy_from_slice(&crc);
    }
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// A bit of the value flips.
    Disk,
    /// Somebody changes the value and the checksum.
    Value,
    /// Somebody changes the time and the checksum.
    Time,
}

async fn verify(log: &dyn Log, stream: &StreamName, anchors: &[Anchor]) -> chain::Verdict {
    chain::verify(log, stream, anchors, &mut |_, _| ()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_altered_in_the_files_of_a_broker_is_named() {
    let Some(brokers) = Brokers::own("chain", &[]) else { return };
    let log = brokers.log();
    let cases = [("disk", How::Disk), ("value", How::Value), ("time", How::Time)].map(|(name, how)| {
        let stream = stream(&format!("changes.{name}"));
        (how, stream)
    });
    let mut anchors = Vec::new();
    for (_, stream) in &cases {
        let mut writer = log.writer(stream).await.unwrap();
        for number in 0..RECORDS {
            writer.append(vec![NewRecord::new(Some("key"), noise(number))]).await.unwrap();
        }
        anchors.extend(chain::anchor(log.as_ref(), stream).await.unwrap());
        let verdict = verify(log.as_ref(), stream, &anchors).await;
        assert!(verdict.broken.is_none() && (verdict.proved, verdict.anchors) == (RECORDS as u64, 1), "{verdict:?}");
    }
    drop(log);
    brokers.run(&["down"]);
    for (how, stream) in &cases {
        let folder: PathBuf = brokers.dir().join(format!("node1/data/{stream}-0"));
        let file = folder.join("00000000000000000000.log");
        let mut bytes = fs::read(&file).unwrap();
        alter(&mut bytes, *how);
        fs::write(&file, bytes).unwrap();
    }
    brokers.run(&["up"]);
    let log = brokers.log();
    for (how, stream) in &cases {
        let verdict = verify(log.as_ref(), stream, &anchors).await;
        let found = verdict.broken.as_ref().map(|broken| broken.offset);
        assert_eq!(found, Some(ALTERED as u64), "{how:?}: {verdict:?}");
        println!("{how:?}: {:?}", verdict.broken.unwrap());
    }
}
