//! TLS and SASL towards a real broker.
#![cfg(feature = "kafka-tls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

mod kafka;

use std::path::{Path, PathBuf};

use forestsync_log::{LogConfig, SaslMechanism, Security};
use kafka::{Brokers, read_all, stream, value};

#[tokio::test(flavor = "multi_thread")]
async fn the_right_password_and_authority_get_in_and_no_others() {
    let Some(brokers) = Brokers::own("sasl", &["--sasl"]) else { return };
    let env = brokers.run(&["env"]);
    let of = |name: &str| {
        let line = env.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).unwrap();
        line.trim_matches(|c| c == '"' || c == '\'').to_owned()
    };
    let right = LogConfig {
        kafka: Some(of("KAFKA_SASL_BOOTSTRAP")),
        security: Security::SaslTls,
        sasl_mechanism: Some(SaslMechanism::ScramSha512),
        username: Some(of("KAFKA_SASL_USER")),
        password_file: Some(PathBuf::from(of("KAFKA_SASL_PASSWORD_FILE"))),
        ca_file: Some(PathBuf::from(of("KAFKA_SASL_CA"))),
        ..LogConfig::default()
    };
    let name = stream("changes.sasl");
    let log = right.open(Path::new(".")).unwrap();
    log.writer(&name).await.unwrap().append(vec![value(0)]).await.unwrap();
    assert_eq!(read_all(log.as_ref(), &name).await.len(), 1);

    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "wrong horse\n").unwrap();
    let wrong = LogConfig { password_file: Some(password), ..right.clone() };
    let log = wrong.open(Path::new(".")).unwrap();
    let refused = log.writer(&name).await.unwrap_err();
    println!("a wrong password: {refused}");
    assert!(!refused.is_retryable(), "{refused}");
    assert!(refused.to_string().to_lowercase().contains("authentication"), "{refused}");
    assert!(!format!("{refused:?} {wrong:?} {log:?}").contains("wrong horse"));

    let ca = folder.path().join("ca.pem");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=another", "-keyout", "/dev/null", "-out"])
        .arg(&ca)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let other = LogConfig { ca_file: Some(ca), ..right };
    let refused = other.open(Path::new(".")).unwrap().writer(&name).await.unwrap_err();
    println!("a wrong authority: {refused}");
    assert!(!refused.is_retryable(), "{refused}");
    assert!(refused.to_string().to_lowercase().contains("certificate"), "{refused}");
}
