//! Damaged databases are moved aside and built anew, by themselves, and repeat nothing.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use forestsync_log::Log;

use super::history::{Dice, Directory, history};
use super::support::{Source, World, exists};
use crate::{ProjectorConfig, ProjectorError, StoreError, read_digest};

async fn write(world: &World, seed: u64) -> ProjectorConfig {
    let mut dice = Dice(seed);
    let mut directory = Directory::new(Source::new("west", "DC=west,DC=example"), 1_000);
    let pages = history(&mut directory, &mut dice, 30);
    let mut writer = world.log.writer(&directory.source.stream).await.unwrap();
    for page in pages {
        writer.append(page).await.unwrap();
    }
    world.config("c", &[directory.source], &[], &[])
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.is_file() && fs::metadata(path).unwrap().len() > 0);
    all.sort();
    all
}

fn harm(directory: &Path, dice: &mut Dice) {
    let path = dice.pick(&files(directory)).unwrap();
    let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    if dice.one_in(3) {
        file.set_len(dice.below(length as usize) as u64).unwrap();
        return;
    }
    for _ in 0..=dice.below(4) {
        let at = dice.below(length as usize) as u64;
        let mut bytes = [0u8; 64];
        file.seek(SeekFrom::Start(at)).unwrap();
        let count = file.read(&mut bytes).unwrap();
        for byte in &mut bytes {
            *byte ^= 1 << dice.below(8);
        }
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&bytes[..count]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_anywhere_is_healed() {
    let mut healed = 0;
    for seed in 1..=12 {
        let world = World::new();
        let config = write(&world, seed).await;
        let mut projector = world.open(&config).await;
        let before = projector.catch_up().await.unwrap();
        let wished = world.desired("c").await.wished;
        drop(projector);
        let mut dice = Dice(seed * 7_919);
        for _ in 0..3 {
            harm(&config.directory, &mut dice);
            let mut projector = world.open(&config).await;
            let after = projector.catch_up().await.unwrap();
            assert_eq!(after.digest, before.digest, "seed {seed}");
            assert_eq!(world.desired("c").await.wished, wished, "seed {seed}");
            healed += after.moved_aside.len();
            drop(projector);
        }
        assert!(exists(world.folder.path(), ".damaged-") <= 3);
    }
    assert!(healed > 0, "no harm was ever noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_use_is_left_alone() {
    let world = World::new();
    let config = write(&world, 3).await;
    let projector = world.open(&config).await;
    let error = read_digest(&config.directory).unwrap_err();
    assert!(matches!(error, ProjectorError::Store(StoreError::Locked(_))), "{error}");
    assert!(error.is_retryable());
    drop(projector);
    assert_eq!(exists(world.folder.path(), ".damaged-"), 0);
    let missing = read_digest(&world.folder.path().join("nowhere")).unwrap_err();
    assert!(matches!(missing, ProjectorError::Store(StoreError::Missing(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_log_is_moved_aside() {
    let (world, other) = (World::new(), World::new());
    let config = write(&world, 3).await;
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    drop(projector);
    let shorter = write(&other, 4).await;
    fs::rename(&config.directory, &shorter.directory).unwrap();
    let mut projector = other.open(&shorter).await;
    let status = projector.catch_up().await.unwrap();
    assert_eq!(status.moved_aside.len(), 1);
    assert!(status.is_idle());
    drop(projector);
    let (digest, offsets) = read_digest(&shorter.directory).unwrap();
    let beside = ProjectorConfig { directory: other.folder.path().join("again"), ..shorter };
    let again = crate::rebuild(beside, other.log.clone() as std::sync::Arc<dyn Log>, offsets).await.unwrap();
    assert_eq!(again, digest);
}
