//! A broker whose disk takes no more: appends fail and say so, nothing of them is there in part, and once there is space
//! again the log is whole and goes on.
#![cfg(all(feature = "kafka", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

mod kafka;

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use forestsync_log::{AppendError, NewRecord};
use kafka::{Brokers, read_all, scratch, stream, until};

const NAME: &str = "full";
const SIZE: &str = "size=64m";
/// What is left free: some appends, and not many.
const LEFT: u64 = 3 << 20;
const PATIENCE: Duration = Duration::from_mins(1);

/// A small file system where the broker will have its data.
struct Disk(PathBuf);

impl Disk {
    fn mount() -> Result<Self, String> {
        let place = scratch().join(format!("kafka-{NAME}/node1/data"));
        // what a run before this one left when it was killed
        while unmount(&place) {}
        std::fs::create_dir_all(&place).unwrap();
        let out = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&place).output();
        let out = out.map_err(|e| e.to_string())?;
        if out.status.success() {
            return Ok(Self(place));
        }
        Err(String::from_utf8_lossy(&out.stderr).trim().to_owned())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all space, then gives back what is to be left.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        let (block, mut taken) = ([0; 1 << 13], 0);
        let full = loop {
            match file.write(&block) {
                Ok(some) => taken += some as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        file.set_len(taken.saturating_sub(LEFT)).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn unmount(place: &Path) -> bool {
    Command::new("umount").arg(place).output().is_ok_and(|out| out.status.success())
}

/// Values that compression does not shrink much.
fn append(number: u64) -> Vec<String> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    (0..20)
        .map(|part| format!("append {number} part {part} {}", (0..800).map(|_| noise()).collect::<String>()))
        .collect()
}

fn records(values: &[String]) -> Vec<NewRecord> {
    values.iter().map(kafka::value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_appends_and_loses_none() {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => return println!("a full disk: SKIPPED: a file system cannot be mounted: {why}"),
    };
    let Some(brokers) = Brokers::own(NAME, &[]) else { return };
    let (log, stream) = (brokers.log(), stream("changes.full"));
    let mut writer = log.writer(&stream).await.unwrap();
    let mut there = Vec::new();
    let first = append(0);
    writer.append(records(&first)).await.unwrap();
    there.extend(first);
    disk.fill();

    let (mut number, before) = (0, there.len());
    let (failed, error) = loop {
        number += 1;
        assert!(number < 1000, "the disk does not fill");
        let values = append(number);
        match writer.append(records(&values)).await {
            Ok(_) => there.extend(values),
            Err(error) => break (values, error),
        }
    };
    println!("append {number} on a full disk: {error} (outcome known: {})", error.outcome_known());
    assert!(there.len() > before, "no append fitted in what was left");
    assert!(error.is_retryable(), "{error}");
    let again = writer.append(records(&failed)).await.unwrap_err();
    assert!(matches!(again, AppendError::Unusable(_)), "the writer goes on after {error}: {again}");
    assert!(error.to_string().contains("space"), "{error}");
    if kafka::soak() {
        let refused = tokio::time::timeout(PATIENCE, log.writer(&stream)).await.expect("a bounded wait").unwrap_err();
        println!("a writer on a full disk: {refused}");
        assert!(refused.is_retryable(), "{refused}");
    }

    std::fs::remove_file(disk.ballast()).unwrap();
    brokers.run_async(&["restart", "1"]).await;
    let mut writer = until("a writer is had", PATIENCE, async || log.writer(&stream).await.ok()).await;
    if writer.next_offset() != there.len() as u64 {
        assert!(!error.outcome_known(), "an append that was not written is there: {error}");
        there.extend(failed);
    }
    assert_eq!(writer.next_offset(), there.len() as u64, "an append is there in part, or one is missing");
    let last = append(number + 1);
    writer.append(records(&last)).await.unwrap();
    there.extend(last);
    let found = read_all(brokers.log().as_ref(), &stream).await;
    let found: Vec<String> = found.into_iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()).collect();
    assert!(found == there, "{} records are there and {} are due", found.len(), there.len());
}
