//! Replays: in one piece, cut anywhere and continued, from snapshots, beside a live projection and in its place.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use forestsync_log::{Log, StreamName};
use proptest::prelude::*;

use super::crash::copy;
use super::history::{Dice, doubtful, history};
use super::property::{decide, directories, stumble};
use super::support::{Source, USER, World, attributes, first_read};
use crate::{
    Projector, ProjectorConfig, Replay, Replayed, Snapshots, StateDigest, Step, build, compare, moment_at, read_digest,
    replay, swap,
};

fn log_of(world: &World) -> Arc<dyn Log> {
    Arc::clone(&world.log) as Arc<dyn Log>
}

/// Replays into a folder of the world.
async fn replayed(
    world: &World,
    config: &ProjectorConfig,
    name: &str,
    until: &BTreeMap<StreamName, u64>,
    snapshots: Option<Snapshots>,
) -> Replayed {
    let config = ProjectorConfig { directory: world.folder.path().join(name), ..config.clone() };
    let options = Replay { until: until.clone(), snapshots, goes_on: false };
    Box::pin(replay(config, log_of(world), options, &mut |_| {})).await.unwrap()
}

async fn written(world: &World, dice: &mut Dice, is_doubtful: bool) -> Vec<Source> {
    let mut sources = Vec::new();
    for mut directory in directories(dice) {
        let steps = 1 + dice.below(5);
        let pages =
            if is_doubtful { doubtful(&mut directory, dice, steps) } else { history(&mut directory, dice, steps) };
        let mut writer = world.log.writer(&directory.source.stream).await.unwrap();
        for page in pages {
            writer.append(page).await.unwrap();
        }
        sources.push(directory.source);
    }
    sources
}

/// The digest of a live projection, of a replay, and of one that was cut and continued. Returns whether the latter began
/// with a snapshot.
async fn check(seed: u64) -> bool {
    let mut dice = Dice(seed | 1);
    let world = World::new();
    let is_doubtful = dice.one_in(3);
    let sources = written(&world, &mut dice, is_doubtful).await;
    let include: &[&str] = if dice.one_in(2) { &["OU=Staff,DC=west,DC=example"] } else { &[] };
    let config = world.config("one", &sources, include, &[]);
    let mut projector =
        if is_doubtful { decide(&world, &config, &mut dice).await } else { stumble(&world, &config, &mut dice).await };
    projector.catch_up().await.unwrap();
    drop(projector);
    let (digest, offsets) = read_digest(&config.directory).unwrap();

    let every = 1 + dice.below(200) as u64;
    let snapshots = dice.one_in(4).then(|| Snapshots::new(world.folder.path().join("on-the-way"), every));
    let whole = replayed(&world, &config, "whole", &offsets, snapshots).await;
    assert_eq!(whole.digest, Some(digest), "seed {seed}: replayed");

    let cut = offsets.iter().map(|(stream, end)| (stream.clone(), dice.below(*end as usize + 1) as u64)).collect();
    let kept = Snapshots::new(world.folder.path().join("snapshots"), 0);
    replayed(&world, &config, "cut", &cut, Some(kept.clone())).await;
    let continued = replayed(&world, &config, "continued", &offsets, Some(kept)).await;
    assert_eq!(continued.digest, Some(digest), "seed {seed}: cut at {cut:?} and continued");
    let records: u64 = offsets.values().sum();
    assert_eq!(continued.skipped + continued.records, records, "seed {seed}");
    continued.skipped > 0
}

/// How many histories: all of them in the long runs.
fn cases() -> u32 {
    if std::env::var_os("FORESTSYNC_SOAK").is_some_and(|v| v != "0") { 2_000 } else { 200 }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(), max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn cut_anywhere_and_continued_a_replay_ends_like_the_live_projection(seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check(seed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn most_cuts_leave_a_snapshot_to_begin_with() {
    let mut begun = 0;
    for seed in 1..11 {
        begun += usize::from(check(seed * 104_729).await);
    }
    assert!(begun > 6, "{begun}");
}

/// A domain of some users, read once, and projected.
async fn small(world: &World, users: u32) -> (Source, ProjectorConfig, StateDigest, BTreeMap<StreamName, u64>) {
    let mut west = Source::new("west", "DC=x");
    let objects: Vec<_> = (1_001..=1_000 + users).map(|n| (n, attributes(USER, &format!("u{n}")))).collect();
    let page = first_read(&mut west, 1_000, &objects, &[]);
    world.append(&west.stream, page).await;
    let config = world.config("c", &[west.clone()], &[], &[]);
    let mut projector = world.open(&config).await;
    projector.catch_up().await.unwrap();
    drop(projector);
    let (digest, offsets) = read_digest(&config.directory).unwrap();
    (west, config, digest, offsets)
}

fn files(folder: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_of_a_snapshot_is_noticed_wherever_it_is() {
    let world = World::new();
    let (_, config, digest, offsets) = small(&world, 2).await;
    let folder = world.folder.path().join("snapshots");
    let kept = Snapshots::new(&folder, 0);
    assert_eq!(replayed(&world, &config, "first", &offsets, Some(kept.clone())).await.skipped, 0);
    let path = files(&folder, ".snapshot").pop().unwrap();
    let good = fs::read(&path).unwrap();
    let plan = crate::config::Plan::new(config.clone()).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, bytes).unwrap();
        let begun = kept.restore(&plan, world.log.as_ref(), &offsets).await.unwrap();
        assert_eq!((begun, path.exists()), (None, false), "byte {at} of {}", good.len());
    }
    for length in [0, 7, 11, 40, good.len() - 33, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        assert_eq!(kept.restore(&plan, world.log.as_ref(), &offsets).await.unwrap(), None, "{length} bytes");
        assert!(!path.exists());
    }
    fs::write(&path, &good).unwrap();
    let again = replayed(&world, &config, "again", &offsets, Some(kept)).await;
    assert_eq!((again.digest, again.records), (Some(digest), 0), "as it was written it serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_another_log_or_configuration_is_not_used() {
    let world = World::new();
    let (_, config, _, offsets) = small(&world, 3).await;
    let folder = world.folder.path().join("snapshots");
    let kept = Snapshots::new(&folder, 0);
    replayed(&world, &config, "first", &offsets, Some(kept.clone())).await;

    let other = World::new();
    let mut west = Source::new("west", "DC=x");
    let objects: Vec<_> = (1_001..=1_003).map(|n| (n, attributes(USER, &format!("other{n}")))).collect();
    let page = first_read(&mut west, 1_000, &objects, &[]);
    other.append(&west.stream, page).await;
    let elsewhere = other.config("c", &[west], &[], &[]);
    other.open(&elsewhere).await.catch_up().await.unwrap();
    let (digest, offsets) = read_digest(&elsewhere.directory).unwrap();
    let copied = other.folder.path().join("snapshots");
    copy(&folder, &copied);
    let found = replayed(&other, &elsewhere, "first", &offsets, Some(Snapshots::new(&copied, 0))).await;
    assert_eq!((found.skipped, found.digest), (0, Some(digest)), "one of another log");
    assert_eq!(files(&copied, ".snapshot").len(), 1, "but for the one that this replay has kept");

    let narrower = world.config("c", &[Source::new("west", "DC=x")], &["OU=Staff,DC=x"], &[]);
    let found = replayed(&world, &narrower, "narrower", &BTreeMap::new(), Some(kept)).await;
    assert_eq!(found.skipped, 0, "one of another scope");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_on_the_way_serve_moments_before_the_end() {
    let mut dice = Dice(77);
    let world = World::new();
    let sources = written(&world, &mut dice, false).await;
    let config = world.config("one", &sources, &[], &[]);
    world.open(&config).await.catch_up().await.unwrap();
    let folder = world.folder.path().join("snapshots");
    let kept = Snapshots::new(&folder, 40);
    replayed(&world, &config, "whole", &BTreeMap::new(), Some(kept.clone())).await;
    assert!(files(&folder, ".snapshot").len() > 2);
    let (_, ends) = read_digest(&config.directory).unwrap();
    let mut used = 0;
    for part in 1..8 {
        let until: BTreeMap<_, _> = ends.iter().map(|(stream, end)| (stream.clone(), end * part / 8)).collect();
        let from_zero = replayed(&world, &config, &format!("zero-{part}"), &until, None).await;
        let near = replayed(&world, &config, &format!("near-{part}"), &until, Some(kept.clone())).await;
        assert_eq!((near.digest, near.open), (from_zero.digest, from_zero.open), "part {part}");
        used += usize::from(near.skipped > 0);
    }
    assert!(used > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_ends_with_the_last_whole_answer() {
    let world = World::new();
    let (mut west, config, digest, offsets) = small(&world, 3).await;
    let before = moment_at(world.log.as_ref(), &config, jiff::Timestamp::MAX).await.unwrap();
    assert_eq!(before, offsets, "everything is whole");
    let name = west.root.child("CN", "u1009");
    let news = super::support::changed(1_009, &name, Some(1_000), attributes(USER, "u1009"), &[]);
    let page = west.page(&[news], false);
    world.append(&west.stream, page).await;
    let half = moment_at(world.log.as_ref(), &config, jiff::Timestamp::MAX).await.unwrap();
    assert_eq!(half, offsets, "half an answer is left out");
    assert_eq!(replayed(&world, &config, "half", &half, None).await.digest, Some(digest));
    let open = replayed(&world, &config, "open", &BTreeMap::new(), None).await;
    assert_eq!((open.digest, open.open), (None, vec![west.stream.clone()]), "and without a digest where asked for");
    let page = west.page(&[], true);
    world.append(&west.stream, page).await;
    let whole = moment_at(world.log.as_ref(), &config, jiff::Timestamp::MAX).await.unwrap();
    assert_eq!(whole[&west.stream], world.log.tail(&west.stream).await.unwrap());
    let none = moment_at(world.log.as_ref(), &config, jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    assert!(none.values().all(|offset| *offset == 0), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_named_and_values_only_where_asked_for() {
    let world = World::new();
    let (_, config, digest, offsets) = small(&world, 3).await;
    // the same offsets, and another value
    let other = World::new();
    let mut west = Source::new("west", "DC=x");
    let objects: Vec<_> = (1_001..=1_003)
        .map(|n| (n, attributes(USER, &if n == 1_002 { "secret".to_owned() } else { format!("u{n}") })))
        .collect();
    let page = first_read(&mut west, 1_000, &objects, &[]);
    other.append(&west.stream, page).await;
    let elsewhere = other.config("c", &[west], &[], &[]);
    other.open(&elsewhere).await.catch_up().await.unwrap();
    let (others, _) = read_digest(&elsewhere.directory).unwrap();
    assert_ne!(digest, others);
    let same = world.folder.path().join("same");
    replayed(&world, &config, "same", &offsets, None).await;
    assert_eq!(compare(&config, &same, 10, false).unwrap().count, 0);

    let found = compare(&config, &elsewhere.directory, 10, false).unwrap();
    let object = found.rows.iter().find(|row| row.kind == "object").unwrap();
    assert_eq!(object.name.as_deref(), Some("CN=n1002,DC=x"));
    assert_eq!(object.object, super::support::guid(1_002).to_string());
    assert!(object.differs.contains(&"sAMAccountName".to_owned()), "{object:?}");
    let wish = found.rows.iter().find(|row| row.kind == "wish").unwrap();
    assert_eq!(wish.object, super::support::anchor(1_002).to_string());
    assert!(!format!("{found:?}").contains("secret"), "{found:?}");
    let shown = compare(&config, &elsewhere.directory, 10, true).unwrap();
    assert!(format!("{shown:?}").contains("secret@x.example"), "{shown:?}");
    let bounded = compare(&config, &elsewhere.directory, 1, false).unwrap();
    assert_eq!((bounded.rows.len(), bounded.count), (1, found.count));
}

/// Everything that is in `desired`, and in `decisions`.
async fn counts(world: &World) -> (usize, usize) {
    (world.desired("c").await.count, world.decided("c").await.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_built_beside_takes_the_place_and_nothing_is_news() {
    let world = World::new();
    let (_, config, digest, _) = small(&world, 5).await;
    let before = counts(&world).await;
    let mut steps = Vec::new();
    let built = Box::pin(build(config.clone(), log_of(&world), None, &mut |step| steps.push(step))).await.unwrap();
    assert_eq!(built.replayed.digest, Some(digest));
    assert!(matches!(steps.first(), Some(Step::Read { .. })) && matches!(steps.last(), Some(Step::Wishes { .. })));
    // the next one who opens it is the one who takes it up
    let mut projector = world.open(&config).await;
    assert!(!built.directory.exists());
    assert_eq!(projector.catch_up().await.unwrap().digest, Some(digest));
    assert_eq!(counts(&world).await, before, "nothing is news");
    drop(projector);
    assert_eq!(world.leftovers(&config), Vec::<String>::new());

    Box::pin(build(config.clone(), log_of(&world), None, &mut |_| {})).await.unwrap();
    assert!(swap(config.clone(), world.log.as_ref()).await.unwrap());
    assert!(!swap(config.clone(), world.log.as_ref()).await.unwrap(), "once");
    assert_eq!(world.leftovers(&config), Vec::<String>::new());
    assert_eq!(read_digest(&config.directory).unwrap().0, digest);
    assert_eq!(counts(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_projector_takes_it_up_when_it_is_asked_to() {
    let world = World::new();
    let (mut west, config, digest, _) = small(&world, 5).await;
    let before = counts(&world).await;
    let projector: Projector = world.open(&config).await;
    let (mut status, stop) = (projector.status(), tokio_util::sync::CancellationToken::new());
    let running = tokio::spawn(projector.run(stop.clone()));
    let asked = loop {
        // it takes no questions before it follows
        match crate::ask_to_take_up(&config.directory).await {
            Some(asked) => break asked,
            None => tokio::task::yield_now().await,
        }
    };
    assert!(!asked, "there is none yet");
    Box::pin(build(config.clone(), log_of(&world), None, &mut |_| {})).await.unwrap();
    assert!(swap(config.clone(), world.log.as_ref()).await.is_err(), "it is in use");
    assert_eq!(crate::ask_to_take_up(&config.directory).await, Some(true));
    // it follows on
    let name = west.root.child("CN", "u1009");
    let news = super::support::changed(1_009, &name, Some(1_000), attributes(USER, "u1009"), &[]);
    let page = west.page(&[news], true);
    world.append(&west.stream, page).await;
    let tail = world.log.tail(&west.stream).await.unwrap();
    status.wait_for(|now| now.streams[west.stream.as_str()].applied == tail && now.outbox == 0).await.unwrap();
    assert_eq!(crate::ask_to_take_up(&config.directory).await, Some(false), "and answers");
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(counts(&world).await, (before.0 + 1, before.1 + 1), "one user, and nothing else");
    assert_eq!(world.leftovers(&config), Vec::<String>::new());
    assert_ne!(read_digest(&config.directory).unwrap().0, digest);
}

/// All states that a death in the middle of an exchange can leave.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_died_halfway_is_finished_or_never_was() {
    for death in 0..7 {
        let world = World::new();
        let (_, config, digest, _) = small(&world, 3).await;
        let before = counts(&world).await;
        let live = &config.directory;
        let beside = |suffix: &str| std::path::PathBuf::from(format!("{}{suffix}", live.display()));
        let built = Box::pin(build(config.clone(), log_of(&world), None, &mut |_| {})).await.unwrap();
        if (1..6).contains(&death) {
            fs::rename(live, beside(".replaced")).unwrap();
        }
        if (2..6).contains(&death) {
            fs::rename(&built.directory, live).unwrap();
        }
        if death >= 3 {
            fs::remove_file(beside(".next.ready")).unwrap();
        }
        if death == 4 {
            fs::remove_file(files(&beside(".replaced"), "conf").pop().unwrap()).unwrap();
        }
        if death == 5 {
            fs::remove_dir_all(live).unwrap();
        }
        let mut projector = world.open(&config).await;
        let status = projector.catch_up().await.unwrap();
        assert_eq!((status.digest, status.moved_aside.len()), (Some(digest), 0), "death {death}");
        assert_eq!(counts(&world).await, before, "death {death}");
        drop(projector);
        assert_eq!(world.leftovers(&config), Vec::<String>::new(), "death {death}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_does_not_fit_is_removed_and_the_live_one_stays() {
    for flaw in 0..4 {
        let world = World::new();
        let (west, config, digest, _) = small(&world, 3).await;
        let built = Box::pin(build(config.clone(), log_of(&world), None, &mut |_| {})).await.unwrap();
        let ready = std::path::PathBuf::from(format!("{}.ready", built.directory.display()));
        let mut opened = config.clone();
        match flaw {
            0 => fs::write(&ready, "{").unwrap(),
            1 => {
                let db = built.directory.join("db");
                let mut bytes = fs::read(&db).unwrap();
                let at = bytes.windows(5).position(|window| window == b"u1002").unwrap();
                bytes[at] ^= 1;
                fs::write(db, bytes).unwrap();
            }
            2 => {
                let text = fs::read_to_string(&ready).unwrap();
                fs::write(&ready, text.replace(&digest.to_string(), "00")).unwrap();
            }
            _ => opened = world.config("c", &[west], &["OU=Staff,DC=x"], &[]),
        }
        opened.directory.clone_from(&config.directory);
        let mut projector = world.open(&opened).await;
        let status = projector.catch_up().await.unwrap();
        assert_eq!(status.moved_aside.len(), 0, "flaw {flaw}");
        if flaw < 3 {
            assert_eq!(status.digest, Some(digest), "flaw {flaw}");
        }
        drop(projector);
        assert_eq!(world.leftovers(&config), Vec::<String>::new(), "flaw {flaw}");
    }
}
