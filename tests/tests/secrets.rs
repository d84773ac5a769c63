//! No secret and no password leaves the files that are meant for them: not into the log, the databases, the records of the
//! practice tenant, what commands print, what is shown for debugging, or what is logged down to the wire.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use forestsync::config;
use forestsync::pipeline::{RunOptions, forest_config, tenant_config};
use forestsync_practice::identity::{AppCertificate, TokenIssuer};
use forestsync_practice::tenant::{ClientSecret, TenantOptions};
use forestsync_practice::tls::PrivateCa;
use forestsync_runtime::clock;
use forestsync_tests::pipeline::Pipeline;
use forestsync_tests::planted::{EVERYTHING, Planted};
use forestsync_tests::scenario::Change;
use forestsync_tests::world::World;
use forestsync_tests::{peers, suite, wait};
use jiff::SignedDuration;

/// What nobody may ever see.
const PLANTED: [&str; 9] = [
    "planted-reader-word",
    "planted-client-word",
    "planted-wrong-reader",
    "planted-wrong-client",
    "planted-hook-path",
    "planted-signing-key",
    "planted-mail-password",
    "planted-identity-header",
    "planted-wrong-token",
];

/// Whoever is to be told cannot be reached, and that is said.
const NOTIFY: &str = "[notify]\ngather = \"100ms\"\n[notify.webhook]\nurl_file = \"hook-url.secret\"\n\
                      key_file = \"hook-key.secret\"\n[notify.mail]\nserver = \"localhost\"\nport = 9\n\
                      from = \"sync@contoso.example\"\nto = [\"anna@contoso.example\"]\nuser = \"forestsync\"\n\
                      password_file = \"mail.secret\"\n[drift]\ninterval = \"1s\"\n";

/// Three forests whose reader has a planted password, and a tenant that records.
async fn world(ca: &PrivateCa, record: &Path) -> World {
    let _absent = std::fs::remove_file(record);
    let options = TenantOptions {
        verified_domains: suite::practice_domains(),
        record_file: Some(record.to_owned()),
        client_secret: ClientSecret::new("planted-client-word"),
        ..TenantOptions::default()
    };
    let tenant = suite::tenant_of(ca, options).await;
    let mut forests = Vec::new();
    for name in ["emea", "apac", "amer"] {
        let plant =
            |o: &mut forestsync_practice::forest::ForestOptions| o.reader.password = "planted-reader-word".into();
        forests.push(suite::practice_peer(ca, name, plant).await);
    }
    World::new(forests, None, tenant).await
}

/// Runs a command, which must print something, logging everything.
fn seen(pipeline: &Pipeline, command: &[&str]) -> (String, Output) {
    let out = pipeline.output_logging(command, EVERYTHING);
    assert!(!out.stdout.is_empty(), "{command:?} prints nothing: {}", String::from_utf8_lossy(&out.stderr));
    (command.join(" "), out)
}

/// What the parts are configured with, as it is shown for debugging.
fn debugged(file: &Path) -> String {
    let settings = config::load(file).unwrap();
    let credential = match settings.tenant.read_credential() {
        Ok(credential) => credential,
        // what is no credential at all is not shown either
        Err(error) => return format!("{settings:?} {error:?} {error}"),
    };
    let tenant = tenant_config(&settings, RunOptions::default(), credential.clone());
    let forests = settings.forests.iter();
    let forests: Vec<_> = forests.map(|f| forest_config(f, f.reading.read_password().unwrap())).collect();
    format!("{settings:?} {credential:?} {tenant:?} {forests:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_leaves_its_file() {
    let (ca, planted) = (PrivateCa::new().unwrap(), Planted::new(PLANTED));
    let record = peers::scratch().join("secrets.jsonl");
    let mut world = world(&ca, &record).await;
    let mut pipeline = Pipeline::new(&world.sources(), &world.access, suite::NO_QUOTA, NOTIFY);
    let folder = pipeline.folder().to_owned();
    let write = |name: &str, word: &str| std::fs::write(folder.join(name), word).unwrap();
    write("hook-url.secret", "http://127.0.0.1:9/planted-hook-path\n");
    write("hook-key.secret", "planted-signing-key");
    write("mail.secret", "planted-mail-password");

    // what is wrong is said, and not the word that is
    write("tenant.secret", "planted-wrong-client");
    write("emea.secret", "planted-wrong-reader");
    let doomed = seen(&pipeline, &["check"]);
    assert_eq!(doomed.1.status.code(), Some(1), "{doomed:?}");
    let mut all = vec![doomed, seen(&pipeline, &["run", "--until-idle", "--timeout", "2s"])];
    assert_eq!(all[1].1.status.code(), Some(1), "{all:?}");
    let said = String::from_utf8_lossy(&all[1].1.stderr).into_owned();
    assert!(said.contains("/oauth2/v2.0/token"), "it is logged down to the wire");

    write("tenant.secret", "planted-client-word");
    write("emea.secret", "planted-reader-word");
    let run = ["run", "--until-idle"];
    all.push(seen(&pipeline, &run));
    assert_eq!(all[2].1.status.code(), Some(0), "{}", String::from_utf8_lossy(&all[2].1.stdout));
    world.agree("all is there", suite::ARRIVAL).await;

    // far more than the guard lets pass is held, nobody can be told, and others change what is there
    for dn in ["OU=Sales,OU=Staff", "OU=R&D\\; Dept,OU=Staff", "OU=Partners", "OU=Service,OU=Staff"] {
        world.apply(&Change::DeleteTree(1, dn.into())).await;
    }
    let id = world.tenant.dump().users[0].id.clone();
    world.tenant.control().edit(&id, serde_json::json!({"city": "Elsewhere"})).unwrap();
    pipeline.start_with(&[("FORESTSYNC_LOG", EVERYTHING)]);
    wait::until("nobody could be told, by neither way", suite::ARRIVAL, || {
        let log = std::fs::read_to_string(folder.join("run-1.log")).unwrap();
        let told =
            |channel: &str| log.lines().any(|line| line.contains("nobody could be told") && line.contains(channel));
        let is_so = told("webhook") && told("mail");
        async move { if is_so { Ok(()) } else { Err("not said".to_owned()) } }
    })
    .await;
    let user = world.forests[0].directory.dn("CN=u0003,OU=Staff");
    all.push(seen(&pipeline, &["sync-object", &user, "--dry-run"]));
    all.push(seen(&pipeline, &["sync-object", &user, "--json"]));
    all.push(seen(&pipeline, &["explain", &user]));
    pipeline.stop().await;

    let plan = folder.join("plan.json");
    let plan = plan.to_str().unwrap();
    let streams =
        ["changes.emea.emea.example", "decisions.e2e", "desired.e2e", "outcomes.e2e", "control.e2e", "tenant.e2e"];
    all.extend(streams.map(|stream| seen(&pipeline, &["log", "tail", stream, "--from", "0", "--values", "--json"])));
    let commands: [&[&str]; 15] = [
        &["plan", "--all", "--out", plan],
        &["apply", plan],
        &run,
        &["status", "--all"],
        &["status", "--all", "--json"],
        &["held", "--all"],
        &["drift", "--all"],
        &["check", "--json"],
        &["log", "list"],
        &["log", "digest"],
        &["lint", "--values"],
        &["rules", "show"],
        &["replay", "--verify"],
        &["approve", "--all", "--reason", "shown only", "--dry-run"],
        &["remove-configuration", "--objects", "delete", "--dry-run", "--all"],
    ];
    all.extend(commands.map(|command| seen(&pipeline, command)));

    let recorded = wait_for_record(&record).await;
    for (what, out) in &all {
        planted.assert_unseen_in(what, out);
    }
    assert_eq!(planted.find(&recorded), None, "something secret was recorded");
    assert_eq!(planted.find(debugged(&pipeline.config()).as_bytes()), None, "something secret is shown for debugging");
    assert!(planted.assert_unseen_below(&folder) > 10, "log, databases, plan and the log of the run are among them");
    peers::check_exchanges(std::slice::from_ref(&record));
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

/// The configuration with another credential.
fn proves_itself_by(pipeline: &Pipeline, keys: &str) {
    let document = std::fs::read_to_string(pipeline.config()).unwrap();
    let secret = document.lines().find(|line| line.starts_with("client_secret_file")).unwrap();
    std::fs::write(pipeline.config(), document.replace(secret, keys)).unwrap();
}

/// Tries it, wrong and right, logging everything; panics if something of the credential is shown.
fn tries(pipeline: &Pipeline, planted: &Planted, variables: &[(&str, &str)], works: bool) {
    let variables = [variables, &[("FORESTSYNC_LOG", EVERYTHING)]].concat();
    for command in [&["check"][..], &["run", "--until-idle", "--timeout", "2s"], &["plan"]] {
        // a plan waits for the tenant
        if command == ["plan"] && !works {
            continue;
        }
        let out = pipeline.output_with(command, &variables);
        let said = String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code() == Some(0), works, "{command:?}: {said}");
        planted.assert_unseen_in(command[0], &out);
    }
    planted.assert_unseen_below(pipeline.folder());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_of_another_kind_leaves_its_file() {
    let ca = PrivateCa::new().unwrap();
    let record = peers::scratch().join("credentials.jsonl");
    let world = world(&ca, &record).await;
    let control = world.tenant.control();
    let fresh = |keys: &str| {
        let pipeline = Pipeline::new(&world.sources(), &world.access, suite::NO_QUOTA, "");
        std::fs::remove_file(pipeline.folder().join("tenant.secret")).unwrap();
        proves_itself_by(&pipeline, keys);
        pipeline
    };
    let (now, hour) = (clock::now(), SignedDuration::from_hours(1));

    // a certificate that the application does not have, and one that it has
    let (stranger, own) = (AppCertificate::new(now, hour).unwrap(), AppCertificate::new(now, hour).unwrap());
    control.register_certificate(&own.certificate).unwrap();
    let planted = Planted::new(PLANTED.into_iter().chain([stranger.key.as_str(), &own.key]));
    let pipeline = fresh("certificate_file = \"app.pem\"\nprivate_key_file = \"app-key.secret\"");
    for (certificate, works) in [(&stranger, false), (&own, true)] {
        std::fs::write(pipeline.folder().join("app.pem"), &certificate.certificate).unwrap();
        std::fs::write(pipeline.folder().join("app-key.secret"), &certificate.key).unwrap();
        tries(&pipeline, &planted, &[], works);
        assert_eq!(planted.find(debugged(&pipeline.config()).as_bytes()), None);
    }

    // a workload's token of an issuer that the tenant does not know, one that is no token, and one that is taken
    let issuer = TokenIssuer::new("https://cluster.example").unwrap();
    let (subject, audience) = ("system:serviceaccount:sync:forestsync", "api://AzureADTokenExchange");
    let token = issuer.token(subject, audience, now, hour).unwrap();
    let planted = Planted::new(PLANTED.into_iter().chain(token.split('.')));
    let pipeline = fresh("credential = \"workload_identity\"\nfederated_token_file = \"token.secret\"");
    for (text, known) in [(token.as_str(), false), ("planted-wrong-token", true), (&token, true)] {
        let works = known && text == token;
        let credentials = if known { vec![issuer.credential(subject, audience)] } else { Vec::new() };
        control.set_federated_credentials(credentials);
        std::fs::write(pipeline.folder().join("token.secret"), text).unwrap();
        tries(&pipeline, &planted, &[], works);
        assert_eq!(planted.find(debugged(&pipeline.config()).as_bytes()), None);
    }

    // the header that stands for a managed identity
    let metadata = world.tenant.metadata().await.unwrap();
    let planted = Planted::new(PLANTED.into_iter().chain([metadata.header()]));
    let pipeline = fresh("credential = \"managed_identity\"");
    let endpoint = metadata.endpoint();
    for (header, works) in [("planted-identity-header", false), (metadata.header(), true)] {
        let variables = [("IDENTITY_ENDPOINT", endpoint.as_str()), ("IDENTITY_HEADER", header)];
        tries(&pipeline, &planted, &variables, works);
    }
    std::fs::remove_file(&record).unwrap();
}
