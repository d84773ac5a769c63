//! `forestsync replay` on the practice peers: in the place of the live projection, beside a process at work, killed at any
//! moment, up to a moment of the past; and the logs of released versions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use forestsync_tests::peers;
use forestsync_tests::pipeline::Pipeline;
use forestsync_tests::rules::{Show, Stage, domain};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn said(out: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// Some people and a group, in the tenant.
async fn settled() -> (Stage, Show) {
    let mut stage = Stage::practice().await;
    stage.add_containers(0, &["OU=Replay", "OU=Away,OU=Replay"]).await;
    for n in 0..8 {
        stage.add_user(0, &format!("re{n}"), "OU=Replay", &[("title", "first")]).await;
    }
    stage.add_group(0, "readers", "OU=Replay", &["CN=re0,OU=Replay", "CN=re1,OU=Replay"]).await;
    let sources = [stage.source(0, &["OU=Replay"], &[])];
    let show = stage.closed(&sources, "").await;
    let (code, text) = show.pipeline.run_until_idle();
    assert_eq!(code, Some(0), "{text}");
    (stage, show)
}

/// What was ever wished, and written.
fn counts(show: &Show) -> (u64, u64) {
    let streams = show.pipeline.json(&["log", "list"]);
    let desired = streams.as_array().unwrap().iter().find(|s| s["stream"] == "desired.e2e").unwrap();
    (desired["next_offset"].as_u64().unwrap(), show.tenant.counters().writes)
}

fn verified(pipeline: &Pipeline) {
    let out = pipeline.output(&["replay", "--verify"]);
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
}

/// What a replay leaves beside the projection.
fn leftovers(pipeline: &Pipeline) -> Vec<String> {
    let names = std::fs::read_dir(pipeline.folder().join("data")).unwrap().map(|e| e.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let is_usual = |name: &str| [".lock", ".query"].iter().any(|usual| name.ends_with(usual));
    names.filter(|name| name.starts_with("projector.") && !is_usual(name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_the_place_makes_nothing_happen() {
    let (mut stage, mut show) = settled().await;
    let before = counts(&show);
    let replayed = show.pipeline.json(&["replay"]);
    assert_eq!(replayed["place"], "taken", "{replayed:#}");
    assert_eq!(leftovers(&show.pipeline), Vec::<String>::new());
    verified(&show.pipeline);
    let (code, text) = show.pipeline.run_until_idle();
    assert_eq!((code, counts(&show)), (Some(0), before), "nothing is news: {text}");

    // beside a process at work, which goes on with it
    show.pipeline.start();
    let directory = &mut stage.directories[0];
    let dn = directory.dn("CN=re0,OU=Replay");
    directory.set(&dn, "title", "meanwhile").await;
    show.has("it works", "re0", "jobTitle", "meanwhile").await;
    let before = counts(&show);
    let replayed = show.pipeline.json(&["replay"]);
    assert_eq!(replayed["place"], "taken_by_run", "{replayed:#}\n{}", show.pipeline.log_tail());
    assert_eq!(leftovers(&show.pipeline), Vec::<String>::new());
    directory.set(&dn, "title", "second").await;
    show.has("a change arrives through the new one", "re0", "jobTitle", "second").await;
    show.pipeline.stop().await;
    let (desired, writes) = counts(&show);
    assert_eq!((desired, writes), (before.0 + 1, before.1 + 1), "one change, and nothing else");
    verified(&show.pipeline);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_the_old_one_or_the_new_one_is_whole() {
    let seed = std::env::var("FORESTSYNC_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_129);
    println!("seed {seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let kills = if std::env::var_os("FORESTSYNC_SOAK").is_some_and(|v| v != "0") { 200 } else { 16 };
    let (_stage, show) = settled().await;
    let before = counts(&show);
    let start = tokio::time::Instant::now();
    assert_eq!(show.pipeline.json(&["replay"])["place"], "taken");
    let whole = start.elapsed();
    let live = show.pipeline.folder().join("data/projector");
    for kill in 0..kills {
        let mut command = Command::new(peers::binary("forestsync"));
        command.args(["replay", "--snapshot-every", "20", "-c"]).arg(show.pipeline.config());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // the moment of the kill is what is random here, most of them towards the exchange at the end
        let part = if kill % 4 == 0 { rng.random_range(0.0..0.7) } else { rng.random_range(0.7..1.2) };
        tokio::time::sleep(whole.mul_f64(part)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        // whoever comes next must find the one or the other as a whole: nothing is moved aside as damaged or built anew
        let (code, text) = show.pipeline.run_until_idle();
        assert_eq!(code, Some(0), "kill {kill} at {part:.2}: {text}");
        assert!(!text.contains("damaged") && live.exists(), "kill {kill} at {part:.2}: {text}");
        assert_eq!(counts(&show), before, "kill {kill} at {part:.2}: {text}");
    }
    verified(&show.pipeline);
    assert_eq!(show.pipeline.json(&["replay"])["place"], "taken");
    assert_eq!(leftovers(&show.pipeline), Vec::<String>::new());
    verified(&show.pipeline);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_of_the_past_is_kept_apart_and_can_be_asked() {
    let (mut stage, show) = settled().await;
    let pipeline = &show.pipeline;
    let then = forestsync_runtime::clock::now();
    let stream = format!("changes.{}.{}", stage.directories[0].access.name, domain(&stage.directories[0]));
    let directory = &mut stage.directories[0];
    let dn = directory.dn("CN=re0,OU=Replay");
    directory.set(&dn, "title", "second").await;
    let (code, text) = pipeline.run_until_idle();
    assert_eq!(code, Some(0), "{text}");

    let past = pipeline.folder().join("past");
    let past_text = past.to_str().unwrap();
    let replayed = pipeline.json(&["replay", "--to", &then.to_string(), "--into", past_text]);
    assert!(replayed["digest"].is_string() && replayed["place"].is_null(), "{replayed:#}");
    let of = |place: Option<&str>| {
        let mut arguments = vec!["explain", dn.as_str()];
        arguments.extend(place.iter().flat_map(|place| ["--data", place]));
        pipeline.json(&arguments).to_string()
    };
    assert!(
        of(Some(past_text)).contains("first") && !of(Some(past_text)).contains("second"),
        "{}",
        of(Some(past_text))
    );
    assert!(of(None).contains("second"));
    // what is there can be verified, and is not written over
    let out = pipeline.output(&["replay", "--verify", "--data", past_text]);
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    let out = pipeline.output(&["replay", "--into", past_text]);
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    // the same by offsets
    let to: Vec<String> =
        replayed["offsets"].as_object().unwrap().iter().map(|(stream, offset)| format!("{stream}={offset}")).collect();
    let mut arguments = vec!["replay", "--digest"];
    arguments.extend(to.iter().flat_map(|to| ["--to", to.as_str()]));
    assert_eq!(pipeline.json(&arguments)["digest"], replayed["digest"]);
    // near, from the snapshot that the replay above has kept; from zero without it
    let near = pipeline.json(&arguments);
    assert!(near["from_snapshot"].as_u64().unwrap() > 0, "{near:#}");
    std::fs::remove_dir_all(pipeline.folder().join("data/snapshots")).unwrap();
    let far = pipeline.json(&arguments);
    assert_eq!((&far["from_snapshot"], &far["digest"]), (&Value::from(0), &near["digest"]));
    for (wrong, hint) in [
        (&["--to", "yesterday", "--digest"][..], "neither an offset nor a time"),
        (&["--to", "changes.nobody=1", "--digest"], "does not follow from"),
        (&["--to", &format!("{stream}=99999"), "--digest"], "which ends before"),
        (&["--to", "2026-01-01"], "does not take the place"),
    ] {
        let out = pipeline.output(&[&["replay"][..], wrong].concat());
        assert_eq!(out.status.code(), Some(2), "{}", said(&out));
        assert!(said(&out).contains(hint), "{}", said(&out));
    }
}

/// Copies a log, with a change to one record's text.
async fn altered(from: &Path, to: &Path, old: &str, new: &str) {
    use forestsync_log::{EmbeddedLog, Log as _};
    let (from, to) = (EmbeddedLog::open(from).unwrap(), EmbeddedLog::open(to).unwrap());
    for stream in from.streams().await.unwrap() {
        let mut reader = from.reader(&stream, 0).await.unwrap();
        let mut writer = to.writer(&stream).await.unwrap();
        loop {
            let mut records = reader.poll(100).await.unwrap();
            if records.is_empty() {
                break;
            }
            for record in &mut records {
                let text = String::from_utf8(record.value.to_vec()).unwrap();
                record.value = text.replace(old, new).into();
            }
            writer.restore(records).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_found_and_named() {
    let (_stage, show) = settled().await;
    let pipeline = &show.pipeline;
    let other = pipeline.folder().join("other");
    altered(&pipeline.folder().join("data/log"), &other.join("log"), "\"re3\"", "\"changed\"").await;
    let document = std::fs::read_to_string(pipeline.config()).unwrap();
    std::fs::write(pipeline.folder().join("other.toml"), document.replace("data = \"data\"", "data = \"other\""))
        .unwrap();
    let place = pipeline.folder().join("altered");
    let out = Command::new(peers::binary("forestsync"))
        .args(["replay", "--into"])
        .arg(&place)
        .arg("-c")
        .arg(pipeline.folder().join("other.toml"))
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    let place = place.to_str().unwrap();
    let out = pipeline.output(&["replay", "--verify", "--data", place]);
    let text = said(&out);
    assert_eq!(out.status.code(), Some(4), "{text}");
    assert!(text.contains("the replay DIFFERS") && text.contains("object CN=re3,OU=Replay,"), "{text}");
    assert!(text.contains("sAMAccountName") && !text.contains("changed"), "{text}");
    let out = pipeline.output(&["replay", "--verify", "--data", place, "--values", "--json"]);
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(found["differences"]["count"].as_u64().unwrap() >= 2, "{found:#}");
    assert!(found["differences"].to_string().contains("changed"), "{found:#}");
}

mod golden {
    //! Logs that released versions have written, as text. A new version replays each of them to the same digest, as long as
    //! its rows have the form they had, and wishes for nothing else than was wished.
    //!
    //! `FORESTSYNC_BLESS=1` writes the log of a version that has none, by a scenario on the practice peers, and adds the digest
    //! of a new form of rows to all of them. What is there is never written over.

    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use forestsync_log::{EmbeddedLog, Log, LogConfig, Record};
    use forestsync_projector::{
        Projector, ProjectorConfig, ROWS_VERSION, Replay, Snapshots, SourceConfig, replay, streams_of,
    };
    use forestsync_tests::kafka::{self, Cluster};
    use forestsync_tests::peers;
    use forestsync_tests::rules::Stage;
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;
    use serde::{Deserialize, Serialize};

    /// A record, as it stands in `log.jsonl`. Keys and headers are text in all streams.
    #[derive(Serialize, Deserialize)]
    struct Line {
        stream: String,
        offset: u64,
        time: jiff::Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
        value: Box<serde_json::value::RawValue>,
    }

    /// What a replay of it ends with; `expected.json`.
    #[derive(Serialize, Deserialize)]
    struct Expected {
        configuration: String,
        sources: Vec<Source>,
        /// Where `desired` ends: no version may wish for more.
        desired: u64,
        /// Digests by the form of the rows.
        digests: BTreeMap<u8, String>,
    }

    #[derive(Serialize, Deserialize)]
    struct Source {
        forest: String,
        naming_context: String,
        stream: String,
        include: Vec<String>,
    }

    fn folder() -> PathBuf {
        peers::workspace().join("tests/golden")
    }

    fn is_blessing() -> bool {
        std::env::var_os("FORESTSYNC_BLESS").is_some_and(|v| v != "0")
    }

    /// Plays a few scenes and writes down what they leave in the log.
    async fn write(place: &Path) {
        let mut stage = Stage::practice().await;
        for n in [0, 1] {
            stage.add_containers(n, &["OU=Golden"]).await;
        }
        for name in ["ann", "ben", "cid", "dan", "eve", "fay"] {
            stage.add_user(0, name, "OU=Golden", &[("mail", &format!("{name}@golden.example"))]).await;
        }
        stage.add_user(1, "ann2", "OU=Golden", &[("mail", "ann2@golden.example"), ("title", "Director")]).await;
        stage.add_group(0, "team", "OU=Golden", &["CN=ann,OU=Golden", "CN=ben,OU=Golden"]).await;
        let sources = [stage.source(0, &["OU=Golden"], &[]), stage.source(1, &["OU=Golden"], &[])];
        let show = stage.closed(&sources, "").await;
        let run = || {
            let (code, said) = show.pipeline.run_until_idle();
            assert_eq!(code, Some(0), "{said}");
        };
        run();
        let directory = &mut stage.directories[0];
        let dn = |directory: &forestsync_tests::directory::Directory, name: &str| {
            directory.dn(&format!("CN={name},OU=Golden"))
        };
        let [ann, ben, cid, dan, eve, team] =
            ["ann", "ben", "cid", "dan", "eve", "team"].map(|name| dn(directory, name));
        directory.rename(&ben, "CN=benedict").await;
        directory.set(&cid, "title", "Sürveyor").await;
        directory.clear(&dan, "mail").await;
        directory.set(&ann, "manager", &cid).await;
        directory.set(&eve, "userAccountControl", "514").await;
        directory.add_values(&team, "member", std::slice::from_ref(&dan)).await;
        run();
        directory.remove_values(&team, "member", std::slice::from_ref(&ann)).await;
        directory.delete(&eve).await;
        run();

        let log = EmbeddedLog::open(show.pipeline.folder().join("data/log")).unwrap();
        let mut text = String::new();
        for stream in log.streams().await.unwrap() {
            for record in log.reader(&stream, 0).await.unwrap().poll(10_000).await.unwrap() {
                let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let line = Line {
                    stream: stream.to_string(),
                    offset: record.offset,
                    time: record.timestamp,
                    key: record.key.as_deref().map(utf8),
                    headers: record.headers.iter().map(|(name, value)| (name.clone(), utf8(value))).collect(),
                    value: serde_json::from_slice(&record.value).unwrap(),
                };
                text += &(serde_json::to_string(&line).unwrap() + "\n");
            }
        }
        let sources = sources.iter().map(|source| {
            let base = &source.access.base;
            let root = base.parse().unwrap();
            Source {
                forest: source.access.name.clone(),
                naming_context: base.clone(),
                stream: forestsync_schemas::streams::changes(&source.access.name, &root),
                include: source.include.clone(),
            }
        });
        let expected = Expected {
            configuration: "e2e".into(),
            sources: sources.collect(),
            desired: log.tail(&"desired.e2e".parse().unwrap()).await.unwrap(),
            digests: BTreeMap::new(),
        };
        std::fs::create_dir_all(place).unwrap();
        std::fs::write(place.join("log.jsonl"), text).unwrap();
        keep(place, &expected);
    }

    fn keep(place: &Path, expected: &Expected) {
        std::fs::write(place.join("expected.json"), serde_json::to_string_pretty(expected).unwrap() + "\n").unwrap();
    }

    /// Writes the log as it was.
    async fn restore(place: &Path, log: &dyn Log) {
        let mut streams: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for line in std::fs::read_to_string(place.join("log.jsonl")).unwrap().lines() {
            let line: Line = serde_json::from_str(line).unwrap();
            let headers = line.headers.into_iter().map(|(name, value)| (name, value.into())).collect();
            streams.entry(line.stream).or_default().push(Record {
                offset: line.offset,
                timestamp: line.time,
                key: line.key.map(Into::into),
                headers,
                value: line.value.get().to_owned().into(),
                link: None,
            });
        }
        for (stream, records) in streams {
            log.writer(&stream.parse().unwrap()).await.unwrap().restore(records).await.unwrap();
        }
    }

    fn expected(place: &Path) -> Expected {
        serde_json::from_str(&std::fs::read_to_string(place.join("expected.json")).unwrap()).unwrap()
    }

    fn config(expected: &Expected, directory: PathBuf) -> ProjectorConfig {
        let sources = expected.sources.iter().map(|source| SourceConfig {
            forest: source.forest.clone(),
            naming_context: source.naming_context.parse().unwrap(),
            stream: source.stream.parse().unwrap(),
            include: source.include.iter().map(|dn| dn.parse().unwrap()).collect(),
            exclude: Vec::new(),
            include_groups: Vec::new(),
            exclude_groups: Vec::new(),
        });
        ProjectorConfig {
            configuration: expected.configuration.clone(),
            directory,
            sources: sources.collect(),
            rules: Arc::default(),
            tenant: None,
            removed: None,
        }
    }

    async fn check(place: &Path) {
        let name = place.file_name().unwrap().to_string_lossy().into_owned();
        let mut expected = expected(place);
        let folder = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path().join("log")).unwrap());
        restore(place, log.as_ref()).await;
        let config = config(&expected, folder.path().join("replayed"));
        let replayed =
            Box::pin(replay(config.clone(), Arc::clone(&log), Replay::default(), &mut |_| {})).await.unwrap();
        let digest = replayed.digest.unwrap();
        match expected.digests.get(&ROWS_VERSION) {
            Some(known) => {
                assert_eq!(*known, digest.to_string(), "the log of version {name} is read otherwise than it was");
            }
            None if is_blessing() => {
                expected.digests.insert(ROWS_VERSION, digest.to_string());
                keep(place, &expected);
            }
            None => panic!("the rows have another form: FORESTSYNC_BLESS=1 adds the digest of version {name}"),
        }
        let mut projector =
            Projector::open(ProjectorConfig { directory: folder.path().join("live"), ..config }, Arc::clone(&log))
                .await
                .unwrap();
        let status = projector.catch_up().await.unwrap();
        assert!(status.held.is_empty() && status.streams.values().all(|stream| stream.stopped.is_none()), "{status:?}");
        assert_eq!(status.digest, Some(digest), "version {name}");
        let desired = log.tail(&format!("desired.{}", expected.configuration).parse().unwrap()).await.unwrap();
        assert_eq!(desired, expected.desired, "something is wished that version {name} did not wish for");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn logs_of_released_versions_are_read_as_ever() {
        let own = folder().join(env!("CARGO_PKG_VERSION"));
        if !own.exists() {
            assert!(is_blessing(), "{} has no log: FORESTSYNC_BLESS=1 writes it", own.display());
            write(&own).await;
        }
        let mut count = 0;
        for entry in std::fs::read_dir(folder()).unwrap() {
            check(&entry.unwrap().path()).await;
            count += 1;
        }
        println!("{count} logs");
    }

    /// The same log on a real broker: live, replayed, and cut at random offsets and continued.
    #[tokio::test(flavor = "multi_thread")]
    async fn on_kafka_a_replay_that_is_cut_and_continued_ends_alike() {
        if let Some(why) = kafka::missing() {
            return peers::skipped("Apache Kafka", why);
        }
        let place = folder().join(env!("CARGO_PKG_VERSION"));
        let expected = expected(&place);
        let (cluster, folder) = (Cluster::up("replay", 1), tempfile::tempdir().unwrap());
        peers::ran("Apache Kafka");
        let at = LogConfig { kafka: Some(cluster.bootstrap().to_owned()), ..LogConfig::default() };
        let log = at.open(folder.path()).unwrap();
        restore(&place, log.as_ref()).await;
        let config = |name: &str| config(&expected, folder.path().join(name));
        let mut projector = Projector::open(config("live"), Arc::clone(&log)).await.unwrap();
        let digest = projector.catch_up().await.unwrap().digest;
        drop(projector);
        assert_eq!(digest.map(|digest| digest.to_string()).as_ref(), expected.digests.get(&ROWS_VERSION));
        let seed = std::env::var("FORESTSYNC_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_129);
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let cuts = if std::env::var_os("FORESTSYNC_SOAK").is_some_and(|v| v != "0") { 200 } else { 10 };
        for cut in 0..cuts {
            let mut until = BTreeMap::new();
            for stream in streams_of(&config("live")).unwrap() {
                let tail = log.tail(&stream).await.unwrap();
                until.insert(stream, rng.random_range(0..=tail));
            }
            let snapshots = Some(Snapshots::new(folder.path().join(format!("snapshots-{cut}")), 0));
            let first = Replay { until: until.clone(), snapshots: snapshots.clone(), goes_on: false };
            Box::pin(replay(config(&format!("cut-{cut}")), Arc::clone(&log), first, &mut |_| {})).await.unwrap();
            let rest = Replay { snapshots, ..Replay::default() };
            let ended =
                Box::pin(replay(config(&format!("rest-{cut}")), Arc::clone(&log), rest, &mut |_| {})).await.unwrap();
            assert_eq!(ended.digest, digest, "cut at {until:?}");
        }
    }
}
