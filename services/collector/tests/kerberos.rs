//! Binding by Kerberos with a keytab, against a Samba domain controller that is given in the environment.
//!
//! MIT Kerberos learns of the keytab by the environment of the process, so each case runs this binary again with another
//! one.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that cannot go on ends")]
#![cfg(feature = "kerberos")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::mirror::Mirror;
use common::{Peer, Stage};
use forestsync_collector::{CheckCode, CheckOutcome, KerberosConfig, check};
use forestsync_schemas::changes::{Method, StopCause};

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The controller of the environment, and the reader's principal.
fn peer() -> Option<(Peer, String)> {
    let (address, host, base) = (var("LAB_ADDR")?, var("LAB_FQDN")?, var("LAB_BASE")?);
    let (bind, password, ca) = (var("LAB_BIND")?, var("LAB_PASSWORD")?, var("LAB_CA")?);
    let domain = host.split_once('.').unwrap().1.to_owned();
    let reader = var("LAB_READER").unwrap_or_else(|| format!("reader@{domain}"));
    let principal = format!("{}@{}", reader.split('@').next().unwrap(), domain.to_uppercase());
    let peer = Peer {
        address: format!("{address}:636").parse().unwrap(),
        host,
        base,
        account: (reader, password.clone()),
        admin: (bind, password),
        ca_file: ca.into(),
        method: Method::Dirsync,
    };
    Some((peer, principal))
}

/// Runs a case of this binary with that environment.
fn case(name: &str, keytab: &Path, other: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]);
    command.env("KERBEROS_CASE", "1").env("CASE_KEYTAB", keytab);
    command.env("KRB5_CLIENT_KTNAME", format!("FILE:{}", keytab.display())).env("KRB5CCNAME", "MEMORY:forestsync");
    let out = command.envs(other.iter().copied()).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&said));
}

fn is_case() -> bool {
    var("KERBEROS_CASE").is_some()
}

fn config(peer: &Peer, principal: &str) -> forestsync_collector::ForestConfig {
    let mut config = peer.config();
    let keytab = PathBuf::from(var("CASE_KEYTAB").unwrap());
    config.kerberos = Some(KerberosConfig { keytab, principal: principal.to_owned() });
    (config.bind_name, config.password) = (String::new(), String::new().into());
    config
}

#[test]
fn samba() {
    let (Some((peer, _)), Some(keytab)) = (peer(), var("LAB_KEYTAB")) else {
        println!("skipped: no Samba domain controller with a keytab in the environment (LAB_ADDR, LAB_KEYTAB, ...)");
        return;
    };
    let keytab = PathBuf::from(keytab);
    case("case_reads_everything", &keytab, &[]);
    case("case_environment_is_checked", &keytab, &[("KRB5CCNAME", "FILE:cache")]);
    case("case_environment_is_checked", &keytab, &[("KRB5_CLIENT_KTNAME", "FILE:elsewhere.keytab")]);
    case("case_unknown_principal", &keytab, &[]);
    let folder = tempfile::tempdir().unwrap();
    case("case_unreadable_keytab", &folder.path().join("none.keytab"), &[]);
    let nowhere = folder.path().join("krb5.conf");
    let realm = peer.host.split_once('.').unwrap().1.to_uppercase();
    let text = format!(
        "[libdefaults]\ndefault_realm = {realm}\ndns_lookup_kdc = false\nudp_preference_limit = 0\n[realms]\n{realm} = {{\nkdc = 127.0.0.1:1\n}}\n"
    );
    std::fs::write(&nowhere, text).unwrap();
    case("case_no_key_distribution_centre", &keytab, &[("KRB5_CONFIG", nowhere.to_str().unwrap())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_reads_everything() {
    let Some((peer, principal)) = peer().filter(|_| is_case()) else { return };
    let config = config(&peer, &principal);
    let lines = check(&config).await;
    let bound = lines.iter().find(|line| line.code == CheckCode::Kerberos).unwrap();
    assert_eq!(bound.outcome, CheckOutcome::Ok, "{lines:#?}");
    let stage = Stage::new();
    let running = stage.run(config);
    running.settle().await;
    let mut ldap = peer.admin().await;
    let dn = format!("CN=kerberos-{},CN=Users,{}", uuid::Uuid::new_v4().simple(), peer.base);
    common::add(&mut ldap, &dn, &[("objectClass", "contact"), ("mail", "k@lab.example")]).await;
    running.settle().await;
    let records = stage.records(&peer.stream(), 0).await;
    Mirror::of(&records).assert_is(&Mirror::of_directory(&mut peer.reader().await, &peer).await, &[]);
    common::delete(&mut ldap, &dn).await;
    running.stop().await;
}

/// The detail and the hint of the line about Kerberos, which must have failed.
async fn refused(principal: &str) -> Option<(String, String)> {
    let (peer, own) = peer().filter(|_| is_case())?;
    let mut config = config(&peer, if principal.is_empty() { &own } else { principal });
    config.connect_timeout = std::time::Duration::from_secs(10);
    let lines = check(&config).await;
    let line = lines.iter().find(|line| line.code == CheckCode::Kerberos).unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(line.outcome, CheckOutcome::Failed, "{lines:#?}");
    println!("{}: {}", line.detail, line.hint.as_deref().unwrap());
    Some((line.detail.clone(), line.hint.clone().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_environment_is_checked() {
    let Some((detail, hint)) = refused("").await else { return };
    assert!(detail.contains("KRB5") && hint.contains("KRB5_CLIENT_KTNAME=FILE:"), "{detail}: {hint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_unknown_principal() {
    let Some((peer, _)) = peer() else { return };
    let realm = peer.host.split_once('.').unwrap().1.to_uppercase();
    let Some((detail, hint)) = refused(&format!("nobody@{realm}")).await else { return };
    assert!(detail.contains("no key of nobody@") && hint.contains("principal"), "{detail}: {hint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_unreadable_keytab() {
    let Some((detail, hint)) = refused("").await else { return };
    assert!(detail.contains("none.keytab") && hint.contains("keytab"), "{detail}: {hint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_no_key_distribution_centre() {
    let Some((peer, principal)) = peer().filter(|_| is_case()) else { return };
    let stage = Stage::new();
    let running = stage.run(config(&peer, &principal));
    let status = running.stopped(StopCause::Unreachable).await;
    let forestsync_collector::Phase::Stopped { detail, .. } = status.phase else { panic!() };
    assert!(detail.contains("key distribution centre"), "{detail}");
    running.stop().await;
}
