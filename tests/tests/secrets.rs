//! No secret and no password leaves the files that are meant for them: not into the log, the databases, the records of the
//! practice tenant, what commands print, or what is logged down to the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use forestsync_practice::tenant::{ClientSecret, TenantOptions};
use forestsync_practice::tls::PrivateCa;
use forestsync_tests::peers;
use forestsync_tests::pipeline::Pipeline;
use forestsync_tests::scenario::Change;
use forestsync_tests::suite;
use forestsync_tests::wait;
use forestsync_tests::world::World;

/// What nobody may ever see.
const PLANTED: [&str; 4] =
    ["planted-reader-word", "planted-client-word", "planted-wrong-reader", "planted-wrong-client"];
/// What else nobody may see begins like this, and goes on in base64: tokens and assertions, and initial passwords.
const BEGINNINGS: [&str; 2] = ["eyJ", "aA1!"];
/// All that is logged but by the database library, which knows no secrets and fails to show itself.
const EVERYTHING: &str = "trace,sled=info";

/// All files in and below a folder but those that hold the secrets.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() && path.extension().is_none_or(|extension| extension != "secret") {
            found.push(path);
        }
    }
    found
}

/// Where something secret stands in these bytes, with a little of what is around it.
fn find(bytes: &[u8]) -> Option<String> {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let planted = PLANTED.iter().map(|word| (word.as_bytes(), 0));
    let begun = BEGINNINGS.iter().map(|word| (word.as_bytes(), 8));
    planted.chain(begun).find_map(|(word, more)| {
        let mut windows = bytes.windows(word.len() + more);
        let at = windows.position(|window| window.strip_prefix(word).is_some_and(|rest| rest.iter().all(is_base64)))?;
        let (begin, end) = (at.saturating_sub(60), (at + 60).min(bytes.len()));
        Some(String::from_utf8_lossy(&bytes[begin..end]).into_owned())
    })
}

#[test]
fn what_is_secret_is_found() {
    for secret in ["x planted-reader-word", "Bearer eyJhbGciOiJSUzI1NiJ9", "aA1!abcdefgh-_12"] {
        assert!(find(secret.as_bytes()).is_some(), "{secret}");
    }
    assert_eq!(find(b"eyJ and aA1! alone"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves_its_file() {
    let ca = PrivateCa::new().unwrap();
    let record = peers::scratch().join("secrets.jsonl");
    let _absent = std::fs::remove_file(&record);
    let options = TenantOptions {
        verified_domains: suite::practice_domains(),
        record_file: Some(record.clone()),
        client_secret: ClientSecret::new("planted-client-word"),
        ..TenantOptions::default()
    };
    let tenant = suite::tenant_of(&ca, options).await;
    let mut forests = Vec::new();
    for name in ["emea", "apac", "amer"] {
        let plant =
            |o: &mut forestsync_practice::forest::ForestOptions| o.reader.password = "planted-reader-word".into();
        forests.push(suite::practice_peer(&ca, name, plant).await);
    }
    let mut world = World::new(forests, None, tenant).await;
    let pipeline = Pipeline::new(&world.sources(), &world.access, suite::NO_QUOTA, "");
    let folder = pipeline.folder().to_owned();
    let write = |name: &str, word: &str| std::fs::write(folder.join(name), word).unwrap();

    // what is wrong is said, and not the word that is
    write("tenant.secret", "planted-wrong-client");
    write("emea.secret", "planted-wrong-reader");
    let mut seen = vec![pipeline.output_logging(&["check"], EVERYTHING)];
    let doomed = ["run", "--until-idle", "--timeout", "2s"];
    seen.push(pipeline.output_logging(&doomed, EVERYTHING));
    assert!(seen.iter().all(|said| said.status.code() == Some(1)), "{seen:?}");
    let said = String::from_utf8_lossy(&seen[1].stderr).into_owned();
    assert!(said.contains("/oauth2/v2.0/token"), "it is logged down to the wire");

    write("tenant.secret", "planted-client-word");
    write("emea.secret", "planted-reader-word");
    let run = ["run", "--until-idle"];
    seen.push(pipeline.output_logging(&run, EVERYTHING));
    assert_eq!(seen[2].status.code(), Some(0), "{}", String::from_utf8_lossy(&seen[2].stdout));
    world.agree("all is there", suite::ARRIVAL).await;
    world.apply(&Change::DeleteTree(1, "OU=Sales,OU=Staff".into())).await;
    let plan = folder.join("plan.json");
    let all: [&[&str]; 11] = [
        &["plan", "--all", "--out", plan.to_str().unwrap()],
        &run,
        &["status", "--all"],
        &["held", "--all"],
        &["check", "--json"],
        &["log", "tail", "changes.emea.emea.example", "--from", "0", "--values", "--json"],
        &["log", "tail", "desired.e2e", "--from", "0", "--values", "--json"],
        &["log", "tail", "outcomes.e2e", "--from", "0", "--values", "--json"],
        &["log", "tail", "control.e2e", "--from", "0", "--values", "--json"],
        &["lint", "--values"],
        &["remove-configuration", "--objects", "delete", "--dry-run", "--all"],
    ];
    for command in all {
        let out = pipeline.output_logging(command, EVERYTHING);
        assert!(!out.stdout.is_empty(), "{command:?} prints nothing: {}", String::from_utf8_lossy(&out.stderr));
        seen.push(out);
    }

    let recorded = wait_for_record(&record).await;
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, bytes)
    };
    let files: Vec<(PathBuf, Vec<u8>)> = files(&folder).into_iter().map(read).collect();
    assert!(files.len() > 10, "log, databases and plan are among them: {files:?}");
    for bytes in seen.iter().flat_map(|out| [&out.stdout, &out.stderr]).chain([&recorded]) {
        assert_eq!(find(bytes), None, "something secret was shown");
    }
    for (path, bytes) in &files {
        assert_eq!(find(bytes), None, "something secret stands in {}", path.display());
    }
    std::fs::remove_file(&record).unwrap();
}

/// The record of the exchanges, once the creation of a user is in it.
async fn wait_for_record(record: &Path) -> Vec<u8> {
    wait::until("a creation is recorded", Duration::from_mins(1), || {
        let text = std::fs::read_to_string(record).unwrap_or_default();
        async move { if text.contains("passwordProfile") { Ok(()) } else { Err("not yet".into()) } }
    })
    .await;
    std::fs::read(record).unwrap()
}
