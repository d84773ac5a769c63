//! The history of a person as an auditor asks for it: from practice forests, from Samba, and on Apache Kafka.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

use forestsync_tests::kafka::{self, Cluster};
use forestsync_tests::rules::Stage;
use forestsync_tests::rules::life::{self, Life};
use forestsync_tests::{peers, samba};

#[tokio::test(flavor = "multi_thread")]
async fn a_life_in_practice_forests() {
    let life = life::whole(&mut Stage::practice().await).await;
    insta::assert_snapshot!("in_practice_forests", life.story);
    damaged_index_is_made_anew(&life);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_in_samba_forests_and_on_kafka() {
    if let Some(why) = samba::missing() {
        return peers::skipped("Samba AD DC", why);
    }
    let life = life::whole(&mut Stage::samba(&[10, 11]).await).await;
    peers::ran("Samba AD DC");
    insta::assert_snapshot!("in_samba_forests", life.story);
    if let Some(why) = kafka::missing() {
        return peers::skipped("Apache Kafka", why);
    }
    let cluster = Cluster::up("audit", 1);
    the_same_on_kafka(&life, &cluster);
    peers::ran("Apache Kafka");
}

/// A copy of the log on Kafka answers the same, with an index that is kept and one that is not.
fn the_same_on_kafka(life: &Life, cluster: &Cluster) {
    let folder = life.show.pipeline.folder();
    let (from, to) = (format!("embedded:{}", folder.join("data").display()), format!("kafka:{}", cluster.bootstrap()));
    let run = |arguments: &[&str]| {
        let out = Command::new(peers::binary("forestsync")).args(arguments).output().unwrap();
        assert!(out.status.success(), "{arguments:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    run(&["log", "copy", "--from", &from, "--to", &to]);
    let document = std::fs::read_to_string(life.show.pipeline.config()).unwrap();
    let config = folder.join("on-kafka.toml");
    std::fs::write(&config, format!("{document}\n[log]\nkafka = {:?}\n", cluster.bootstrap())).unwrap();
    let (config, index) = (config.display().to_string(), folder.join("index").display().to_string());
    let object = life.entries.iter().find_map(|entry| entry["object"].as_str()).unwrap();
    for kept in [&["--index", &index][..], &["--index", &index], &[]] {
        let out = run(&[&["audit", "object", object, "--json", "-c", &config], kept].concat());
        let entries: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(entries, life.entries, "{kept:?}");
    }
    let line = run(&["audit", "who-changed", "title", "of", object, "-c", &config, "--index", &index]);
    assert!(line.contains("title of"), "{line}");
}

/// Whatever becomes of the index, the answer is the same.
fn damaged_index_is_made_anew(life: &Life) {
    let object = life.entries.iter().find_map(|entry| entry["object"].as_str()).unwrap();
    let index = life.show.pipeline.folder().join("data/history-index");
    let mut files = Vec::new();
    for stream in std::fs::read_dir(&index).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        files.extend(std::fs::read_dir(stream).unwrap().map(|entry| entry.unwrap().path()));
    }
    assert!(files.len() >= 10, "{files:?}");
    for file in &files {
        if !file.exists() {
            continue;
        }
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
        assert_eq!(life::told(&life.show, object).0, life.entries, "after {} was damaged", file.display());
    }
    std::fs::remove_dir_all(&index).unwrap();
    assert_eq!(life::told(&life.show, object).0, life.entries, "after it was deleted");
}
