//! The collector into the embedded log, against a bare DirSync read that throws the entries away.

use std::sync::Arc;

use bytes::BytesMut;
use forestsync_collector::{Collector, ForestConfig, Phase};
use forestsync_domain::Dn;
use forestsync_log::EmbeddedLog;
use forestsync_practice::forest::PracticeForest;
use forestsync_practice::tls::PrivateCa;
use forestsync_tests::directory::{Access, trust};
use forestsync_tests::{peers, suite};
use lber::structures::{ASNTag as _, Integer, OctetString, Sequence, Tag};
use ldap3::controls::RawControl;
use ldap3::{LdapConnAsync, LdapConnSettings, Scope, StdStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Measured, median, objects};

const USERS: usize = 50_000;
const DIRSYNC: &str = "1.2.840.113556.1.4.841";
const EXTENDED_DN: &str = "1.2.840.113556.1.4.529";

fn encoded(parts: Vec<Tag>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    let sequence = Tag::Sequence(Sequence { inner: parts, ..Sequence::default() });
    lber::write::encode_into(&mut bytes, sequence.into_structure()).unwrap();
    bytes.to_vec()
}

fn int(value: i64) -> Tag {
    Tag::Integer(Integer { inner: value, ..Integer::default() })
}

/// Reads everything by DirSync and counts it; nothing is decoded beyond what ldap3 does.
async fn bare(access: &Access, attributes: &[&str]) -> usize {
    let stream = tokio::net::TcpStream::connect(access.ldaps).await.unwrap().into_std().unwrap();
    let settings = LdapConnSettings::new().set_config(trust(&access.ca)).set_std_stream(StdStream::Tcp(stream));
    let url = format!("ldaps://{}", access.host);
    let (connection, mut ldap) = LdapConnAsync::with_settings(settings, &url).await.unwrap();
    tokio::spawn(async move { connection.drive().await });
    ldap.simple_bind(&access.reader, &access.reader_password).await.unwrap().success().unwrap();
    let (mut cookie, mut seen) = (Vec::new(), 0);
    loop {
        let flags = i64::from(0x8000_0801_u32.cast_signed());
        let value = vec![
            int(flags),
            int(i64::from(i32::MAX)),
            Tag::OctetString(OctetString { inner: cookie.clone(), ..OctetString::default() }),
        ];
        let controls = vec![
            RawControl { ctype: DIRSYNC.into(), crit: true, val: Some(encoded(value)) },
            RawControl { ctype: EXTENDED_DN.into(), crit: true, val: Some(encoded(vec![int(1)])) },
        ];
        let search = ldap.with_controls(controls);
        let mut search = search
            .streaming_search(&access.base, Scope::Subtree, "(objectClass=*)", attributes.to_vec())
            .await
            .unwrap();
        while let Some(entry) = search.next().await.unwrap() {
            std::hint::black_box(&entry);
            seen += 1;
        }
        let result = search.finish().await.success().unwrap();
        let control = result.ctrls.iter().map(|c| &c.1).find(|c| c.ctype == DIRSYNC).unwrap();
        let (_, tag) = lber::parse::parse_tag(control.val.as_deref().unwrap()).unwrap();
        let parts = tag.expect_constructed().unwrap();
        cookie = parts[2].clone().expect_primitive().unwrap();
        if parts[0].clone().expect_primitive().unwrap().iter().all(|byte| *byte == 0) {
            return seen;
        }
    }
}

async fn collected(access: &Access, attributes: &[&str]) -> usize {
    let folder = tempfile::tempdir_in(peers::scratch()).unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, &access.ca).unwrap();
    let log = Arc::new(EmbeddedLog::open(folder.path().join("log")).unwrap());
    let controller: forestsync_collector::ControllerAddress = format!("ldaps://{}", access.host).parse().unwrap();
    let mut config = ForestConfig::new(
        &access.name,
        vec![controller.at(access.ldaps)],
        &access.reader,
        access.reader_password.clone().into(),
    );
    config.ca_file = Some(ca_file);
    config.naming_contexts = vec![access.base.parse::<Dn>().unwrap()];
    config.attributes = attributes.iter().map(ToString::to_string).collect();
    let collector = Collector::new(config, log).unwrap();
    let (mut status, shutdown) = (collector.status(), CancellationToken::new());
    let running = tokio::spawn(collector.run(shutdown.clone()));
    let done = status
        .wait_for(|all| all.first().is_some_and(|s| s.passes > 0 && matches!(s.phase, Phase::Following)))
        .await
        .unwrap()
        .first()
        .map_or(0, |s| s.appended);
    shutdown.cancel();
    running.await.unwrap().unwrap();
    usize::try_from(done).unwrap()
}

pub(crate) async fn against_bare_dirsync() -> Measured {
    let ca = PrivateCa::new().unwrap();
    let (peer, access) = suite::practice_peer(&ca, "emea", |options| options.max_page_objects = 1000).await;
    let forestsync_tests::world::Peer::Practice(forest) = peer else { panic!("a practice forest") };
    load(&forest, USERS).await;
    let attributes = forestsync_rules::attributes::requested();
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let start = Instant::now();
        let bare_seen = bare(&access, &attributes).await;
        let bare_rate = bare_seen as f64 / start.elapsed().as_secs_f64();
        let start = Instant::now();
        let seen = collected(&access, &attributes).await;
        let rate = USERS as f64 / start.elapsed().as_secs_f64();
        assert!(seen >= USERS && bare_seen >= USERS);
        ratios.push(rate / bare_rate);
        rates.push(rate);
    }
    let ratio = median(ratios);
    Measured {
        what: "collector into the embedded log / bare DirSync read, 50,000",
        value: format!("{ratio:.2} ({:.0} objects/s)", median(rates)),
        floor: ">= 0.80".into(),
        met: ratio >= 0.8,
    }
}

/// Fills a practice forest without LDAP.
pub(crate) async fn load(forest: &PracticeForest, users: usize) {
    let domain = forest.options().host.split_once('.').unwrap().1.to_owned();
    forest.control().load(objects::all(forest.base(), &domain, users, 0, 0)).await.unwrap();
}
