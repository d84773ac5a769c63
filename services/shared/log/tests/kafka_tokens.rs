//! OAUTHBEARER towards a real broker: a token out of a file, read anew before it ends.
#![cfg(feature = "kafka-tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

mod kafka;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forestsync_log::{LogConfig, SaslMechanism, Security, WriterError};
use forestsync_runtime::clock;
use kafka::{Brokers, read_all, stream, value};

/// How long a token is good, in seconds. The client asks for the next one when four fifths of that are over, and at nine
/// tenths the connection needs it; the client looks at its clock once a second.
const LIFETIME: f64 = 15.0;

/// An unsigned token, good until so many seconds from now.
fn token(seconds: f64) -> String {
    let now = clock::now().as_millisecond() as f64 / 1000.0;
    let claims = format!("{{\"sub\":\"forestsync\",\"iat\":{:.3},\"exp\":{:.3}}}", now - 60.0, now + seconds);
    format!("{}.{}.", URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"), URL_SAFE_NO_PAD.encode(claims))
}

/// Whole or not at all, as whoever renews it must do.
fn put(file: &Path, token: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, token).unwrap();
    std::fs::rename(new, file).unwrap();
}

fn config(brokers: &Brokers, token_file: &Path) -> LogConfig {
    let env = brokers.run(&["env"]);
    let of = |name: &str| env.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap().to_owned();
    LogConfig {
        kafka: Some(of("KAFKA_SASL_BOOTSTRAP")),
        security: Security::SaslTls,
        sasl_mechanism: Some(SaslMechanism::Oauthbearer),
        token_file: Some(token_file.to_owned()),
        ca_file: Some(PathBuf::from(of("KAFKA_SASL_CA"))),
        ..LogConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gets_in_and_is_followed_by_the_next_one() {
    let Some(brokers) = Brokers::own("oauth", &["--oauth"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    put(&file, &token(LIFETIME));
    let log = config(&brokers, &file).open(Path::new(".")).unwrap();

    let absent = stream("changes.absent");
    let refused = log.writer(&absent).await.unwrap_err();
    println!("a topic that does not exist: {refused}");
    assert!(matches!(refused, WriterError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("kafka-topics.sh --create --topic changes.absent"), "{refused}");

    let name = stream("changes.oauth");
    brokers.log().create(std::slice::from_ref(&name)).await.unwrap();
    let mut writer = log.writer(&name).await.unwrap();
    let mut reader = log.reader(&name, 0).await.unwrap();
    // reads nothing until the token it began with is over
    let mut idle = log.reader(&name, 0).await.unwrap();
    assert!(idle.poll(1).await.unwrap().is_empty());
    // tokens end while records go in and out; the connections outlive them
    let lifetimes = if kafka::soak() { 4.0 } else { 1.0 };
    let (start, mut renewed, mut count) = (clock::now(), 0, 0);
    let passed = || (clock::now().as_millisecond() - start.as_millisecond()) as f64 / 1000.0;
    while passed() < lifetimes * LIFETIME + 2.0 {
        if passed() > f64::from(renewed) {
            put(&file, &token(LIFETIME));
            renewed += 1;
        }
        assert_eq!(writer.append(vec![value(count)]).await.unwrap(), count);
        assert_eq!(reader.next(1).await.unwrap()[0].offset, count);
        count += 1;
    }
    assert_eq!(idle.next(1).await.unwrap()[0].offset, 0);
    println!("{count} appends and reads over {:.1} s, {renewed} tokens of {LIFETIME} s", passed());
    assert_eq!(log.tail(&name).await.unwrap(), count);
    assert_eq!(read_all(brokers.log().as_ref(), &name).await.len() as u64, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_over_does_not_get_in() {
    let Some(brokers) = Brokers::own("oauth-over", &["--oauth"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let over = token(-5.0);
    put(&file, &over);
    let name = stream("changes.over");
    brokers.log().create(std::slice::from_ref(&name)).await.unwrap();
    let log = config(&brokers, &file).open(Path::new(".")).unwrap();
    let refused = log.writer(&name).await.unwrap_err();
    println!("a token that is over: {refused}");
    assert!(!refused.is_retryable(), "{refused}");
    assert!(!format!("{refused:?} {log:?}").contains(&over));

    // once there is a good one, nothing need be opened anew
    put(&file, &token(60.0));
    let mut writer = kafka::until("a good token is taken", std::time::Duration::from_secs(30), async || {
        log.writer(&name).await.ok()
    })
    .await;
    writer.append(vec![value(0)]).await.unwrap();
}
