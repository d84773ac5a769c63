//! How the application proves itself: every kind end to end, new ones without a restart, what is said of those that are no
//! good, and that nobody sees what is secret.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::{Lab, Running, user};
use forestsync_practice::identity::{AppCertificate, TokenIssuer};
use forestsync_practice::tenant::ClientSecret;
use forestsync_provisioner::{Credential, check};
use forestsync_runtime::clock;
use forestsync_runtime::secret::SecretRef;
use forestsync_schemas::desired::CloudClass;
use forestsync_schemas::outcomes::{OutcomeEvent, StopCause};
use jiff::SignedDuration;

const SUBJECT: &str = "system:serviceaccount:sync:forestsync";
const AUDIENCE: &str = "api://AzureADTokenExchange";
const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

/// All that this process logs, down to every frame.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// Whether one line of it holds all of these.
    fn says(&self, parts: &[&str]) -> bool {
        self.text().lines().any(|line| parts.iter().all(|part| line.contains(part)))
    }
}

fn listen() -> Written {
    static LOG: OnceLock<Written> = OnceLock::new();
    let begin = || {
        let log = Written::default();
        let writer = log.clone();
        // sled logs while a thread ends, when nothing can be formatted any more; it is given no secret
        let all = tracing_subscriber::EnvFilter::new("trace,sled=off");
        tracing_subscriber::fmt().with_env_filter(all).with_ansi(false).with_writer(move || writer.clone()).init();
        log
    };
    LOG.get_or_init(begin).clone()
}

fn certificate() -> AppCertificate {
    AppCertificate::new(clock::now(), YEAR).unwrap()
}

/// A file in the lab's folder, with this in it.
fn file(lab: &Lab, name: &str, text: &str) -> PathBuf {
    let path = lab.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn secret_in(path: &Path) -> Credential {
    Credential::Secret { place: SecretRef { file: Some(path.to_owned()), env: None }, base: PathBuf::new() }
}

/// A lab whose application has this certificate and no secret.
async fn lab_with(certificate: &AppCertificate) -> Lab {
    let mut lab = Lab::with(|o| o.certificates = vec![certificate.certificate.clone()]).await;
    lab.control.set_secrets(Vec::new());
    let (pem, key) = (file(&lab, "app.pem", &certificate.certificate), file(&lab, "app.key", &certificate.key));
    lab.config.tenant.credential = Credential::Certificate { certificate: pem, key };
    lab
}

/// Wishes a user and waits for it to be there: by a token that was given only now.
async fn arrives(lab: &Lab, running: &Running, n: u32) {
    lab.control.expire_tokens();
    lab.wish(vec![user(n, &[])]).await;
    let status = lab.idle(running).await;
    assert!(lab.id(n).is_some(), "user {n} arrived");
    assert_eq!((status.quarantined_total, status.stopped), (0, None));
}

async fn arrives_by(lab: &mut Lab, credential: Credential) {
    lab.config.tenant.credential = credential;
    let running = lab.start().await;
    arrives(lab, &running, 1).await;
    running.end().await;
    lab.assert_single_creations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_file_or_a_variable_proves_the_application() {
    let mut lab = Lab::new().await;
    let path = file(&lab, "secret", "practice-secret\n");
    arrives_by(&mut lab, secret_in(&path)).await;
    // every test has this variable
    let name = "CARGO_MANIFEST_DIR";
    let mut lab = Lab::new().await;
    lab.control.set_secrets(vec![ClientSecret::new(std::env::var(name).unwrap())]);
    let place = SecretRef { file: None, env: Some(name.to_owned()) };
    arrives_by(&mut lab, Credential::Secret { place, base: PathBuf::new() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_proves_the_application() {
    let own = certificate();
    let mut lab = lab_with(&own).await;
    let two_files = lab.config.tenant.credential.clone();
    arrives_by(&mut lab, two_files).await;
    let mut lab = lab_with(&own).await;
    // in one file, the key first
    let both = file(&lab, "both.pem", &(own.key.clone() + &own.certificate));
    arrives_by(&mut lab, Credential::Certificate { certificate: both.clone(), key: both }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workloads_token_proves_the_application() {
    let issuer = TokenIssuer::new("https://cluster.example").unwrap();
    let mut lab = Lab::with(|o| o.federated_credentials = vec![issuer.credential(SUBJECT, AUDIENCE)]).await;
    lab.control.set_secrets(Vec::new());
    let token = issuer.token(SUBJECT, AUDIENCE, clock::now(), YEAR).unwrap();
    let path = file(&lab, "token", &token);
    arrives_by(&mut lab, Credential::WorkloadIdentity { token: Some(path) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_managed_identity_proves_the_application() {
    let mut lab = Lab::new().await;
    lab.control.set_secrets(Vec::new());
    let metadata = lab.tenant.metadata().await.unwrap();
    let by = || Credential::ManagedIdentity { endpoint: Some(metadata.root().parse().unwrap()) };
    // the machine's own, which has no client id
    let client_id = std::mem::take(&mut lab.config.tenant.client_id);
    arrives_by(&mut lab, by()).await;
    lab.config.tenant.client_id = client_id;
    let running = lab.start().await;
    arrives(&lab, &running, 2).await;
    running.end().await;
    lab.config.tenant.client_id = "another-identity".to_owned();
    let lines = check(&lab.config.tenant, &BTreeSet::new()).await;
    let token = lines.iter().find(|line| line.what == "token").unwrap();
    assert!(!token.is_ok() && token.detail.contains("it answers 400 invalid_request Identity not found"), "{token:?}");
}

/// Outside Azure nobody answers: that is said at once, and not after minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_an_identity_says_so_soon() {
    let mut lab = Lab::new().await;
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    lab.config.tenant.credential = Credential::ManagedIdentity { endpoint: Some(nobody.parse().unwrap()) };
    let begun = tokio::time::Instant::now();
    let lines = check(&lab.config.tenant, &BTreeSet::new()).await;
    let token = lines.iter().find(|line| line.what == "token").unwrap();
    assert!(!token.is_ok() && token.detail.contains("the managed identity of this machine"), "{token:?}");
    assert!(token.hint.as_ref().unwrap().contains("managed identity"));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_counts_without_a_restart() {
    let mut lab = Lab::new().await;
    let path = file(&lab, "secret", "practice-secret\n");
    lab.config.tenant.credential = secret_in(&path);
    let running = lab.start().await;
    arrives(&lab, &running, 1).await;
    // in order: the new one is registered, written, and the old one revoked
    lab.control.set_secrets(vec![ClientSecret::new("practice-secret"), ClientSecret::new("second-word")]);
    std::fs::write(&path, "second-word\n").unwrap();
    lab.control.set_secrets(vec![ClientSecret::new("second-word")]);
    arrives(&lab, &running, 2).await;
    // the tenant does not know the new one yet: the one before stays in use
    std::fs::write(&path, "third-word\n").unwrap();
    arrives(&lab, &running, 3).await;
    assert!(listen().says(&["WARN", "refuses the new credential", "AADSTS7000215"]));
    // out of order: nothing that is there counts until the file is written
    lab.control.set_secrets(vec![ClientSecret::new("fourth-word")]);
    lab.control.expire_tokens();
    lab.wish(vec![user(4, &[])]).await;
    running.until(|s| s.stopped.as_ref().is_some_and(|why| why.contains("AADSTS7000215"))).await;
    std::fs::write(&path, "fourth-word\n").unwrap();
    let status = lab.idle(&running).await;
    running.end().await;
    assert!(lab.id(4).is_some());
    assert_eq!((status.quarantined_total, status.stopped), (0, None));
    lab.assert_single_creations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_counts_without_a_restart_and_a_broken_one_stops_nothing() {
    let log = listen();
    let (old, new) = (certificate(), certificate());
    let lab = lab_with(&old).await;
    let (pem, key) = (lab.folder.path().join("app.pem"), lab.folder.path().join("app.key"));
    let registered = lab.control.register_certificate(&old.certificate).unwrap();
    let running = lab.start().await;
    arrives(&lab, &running, 1).await;

    std::fs::write(&pem, "something else\n").unwrap();
    arrives(&lab, &running, 2).await;
    let place = pem.display().to_string();
    assert!(log.says(&["WARN", "certificate_file: ", &place, "holds no certificate in PEM"]));

    // one file is there before the other one
    lab.control.register_certificate(&new.certificate).unwrap();
    std::fs::write(&pem, &new.certificate).unwrap();
    arrives(&lab, &running, 3).await;
    let place = key.display().to_string();
    assert!(log.says(&["WARN", "private_key_file: ", &place, "does not belong to the certificate"]));

    std::fs::write(&key, &new.key).unwrap();
    lab.control.forget_certificate(&registered);
    arrives(&lab, &running, 4).await;
    running.end().await;
    lab.assert_single_creations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workloads_token_is_read_anew() {
    let (old, new) = (TokenIssuer::new("https://old").unwrap(), TokenIssuer::new("https://new").unwrap());
    let mut lab = Lab::with(|o| o.federated_credentials = vec![old.credential(SUBJECT, AUDIENCE)]).await;
    lab.control.set_secrets(Vec::new());
    let token = |issuer: &TokenIssuer| issuer.token(SUBJECT, AUDIENCE, clock::now(), YEAR).unwrap();
    let path = file(&lab, "token", &token(&old));
    lab.config.tenant.credential = Credential::WorkloadIdentity { token: Some(path.clone()) };
    let running = lab.start().await;
    arrives(&lab, &running, 1).await;
    lab.control.set_federated_credentials(vec![new.credential(SUBJECT, AUDIENCE)]);
    std::fs::write(&path, token(&new)).unwrap();
    arrives(&lab, &running, 2).await;
    running.end().await;
}

/// What a provisioner and a check say of a certificate that cannot be used.
async fn said_of(lab: &Lab) -> (String, String) {
    let lines = check(&lab.config.tenant, &BTreeSet::from([CloudClass::User])).await;
    let bad = lines.iter().find(|line| !line.is_ok()).unwrap();
    assert!(bad.hint.is_some());
    lab.wish(vec![user(1, &[])]).await;
    let running = lab.start().await;
    let status = running.until(|s| s.stopped.is_some()).await;
    running.end().await;
    assert_eq!(lab.id(1), None);
    (bad.detail.clone(), status.stopped.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_no_good_is_told_with_its_key_and_file() {
    let (good, other) = (certificate(), certificate());
    let now = clock::now();
    let expired = AppCertificate::new(now, SignedDuration::from_hours(-1)).unwrap();
    let early = AppCertificate::beginning(now + YEAR).unwrap();
    let elliptic = AppCertificate::elliptic(now).unwrap();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cases = [
        (&expired.certificate, expired.key.as_str(), "certificate_file", "expired at"),
        (&early.certificate, &early.key, "certificate_file", "valid only from"),
        (&elliptic.certificate, &elliptic.key, "certificate_file", "is not RSA"),
        (&good.key, &good.key, "certificate_file", "holds no certificate"),
        (&good.certificate, &other.key, "private_key_file", "does not belong to the certificate in"),
        (&good.certificate, &elliptic.key, "private_key_file", "not RSA, or is damaged"),
        (&good.certificate, &good.certificate, "private_key_file", "holds no private key"),
        (&good.certificate, encrypted, "private_key_file", "encrypted private key"),
    ];
    for (certificate, key, named, problem) in cases {
        let lab = lab_with(&good).await;
        std::fs::write(lab.folder.path().join("app.pem"), certificate).unwrap();
        std::fs::write(lab.folder.path().join("app.key"), key).unwrap();
        let path = lab.folder.path().join(if named == "certificate_file" { "app.pem" } else { "app.key" });
        let (checked, stopped) = said_of(&lab).await;
        for part in [named, path.to_str().unwrap(), problem] {
            assert!(checked.contains(part) && stopped.contains(part), "{part}: {checked}; {stopped}");
        }
        assert_eq!(lab.tenant.counters().token_requests, 0, "nothing is sent with it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_registered_is_refused_by_the_tenant() {
    let lab = lab_with(&certificate()).await;
    let stranger = certificate();
    std::fs::write(lab.folder.path().join("app.pem"), &stranger.certificate).unwrap();
    std::fs::write(lab.folder.path().join("app.key"), &stranger.key).unwrap();
    let (checked, stopped) = said_of(&lab).await;
    assert!(checked.contains("AADSTS700027") && stopped.contains("AADSTS700027"), "{checked}; {stopped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_soon_is_spoken_of() {
    let log = listen();
    let own = AppCertificate::new(clock::now(), SignedDuration::from_hours(7 * 24)).unwrap();
    let lab = lab_with(&own).await;
    let lines = check(&lab.config.tenant, &BTreeSet::new()).await;
    let line = lines.iter().find(|line| line.what == "certificate").unwrap();
    assert_eq!(line.outcome, forestsync_provisioner::CheckOutcome::Warning);
    let thumbprint = lab.control.register_certificate(&own.certificate).unwrap();
    assert!(line.detail.contains(&thumbprint) && line.hint.is_some(), "{line:?}");
    assert!(log.says(&["WARN", "ends soon", &thumbprint]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_by_itself_is_no_matter_of_credentials() {
    for (code, cause) in [(90_033, StopCause::NotAvailable), (53_003, StopCause::NotAuthenticated)] {
        let lab = Lab::new().await;
        lab.control.refuse_tokens(Some(code));
        lab.wish(vec![user(1, &[])]).await;
        let running = lab.start().await;
        let stopped = async || {
            let mut all = lab.outcomes().await.into_iter();
            all.find_map(|o| if let OutcomeEvent::ExportStopped(stop) = o.event { Some(stop) } else { None })
        };
        let stop = loop {
            match stopped().await {
                Some(stop) => break stop,
                None => tokio::task::yield_now().await,
            }
        };
        assert_eq!(stop.cause, cause, "{stop:?}");
        lab.control.refuse_tokens(None);
        lab.idle(&running).await;
        running.end().await;
        assert!(lab.id(1).is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_for_a_token_serves_all_who_wait() {
    // one that is near its end, and given again and again, as a managed identity does
    for minutes in [60, 4] {
        let mut lab = Lab::with(|o| o.knobs.token_lifetime = Duration::from_mins(minutes)).await;
        lab.config.tenant.batch_size = 1;
        lab.wish((1..=40).map(|n| user(n, &[])).collect()).await;
        lab.settle().await;
        assert_eq!(lab.dump().users.len(), 40);
        assert_eq!(lab.tenant.counters().token_requests, 1, "of {minutes} minutes");
    }
    // one that would end on its way is not used
    let mut lab = Lab::with(|o| o.knobs.token_lifetime = Duration::from_secs(20)).await;
    lab.config.tenant.batch_size = 1;
    lab.wish(vec![user(1, &[])]).await;
    lab.settle().await;
    assert!(lab.tenant.counters().token_requests > 1);
}

/// Every file below a folder, as text.
fn contents(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| {
        if path.is_dir() {
            return contents(&path);
        }
        vec![String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()]
    };
    entries.flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_what_is_secret() {
    let log = listen();
    let own = certificate();
    let issuer = TokenIssuer::new("https://cluster.example").unwrap();
    let lab = Lab::with(|o| {
        o.client_secret = ClientSecret::new("planted-word-one");
        o.certificates = vec![own.certificate.clone()];
        o.federated_credentials = vec![issuer.credential(SUBJECT, AUDIENCE)];
    });
    let mut lab = lab.await;
    let token = issuer.token(SUBJECT, AUDIENCE, clock::now(), YEAR).unwrap();
    let secrets = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = secrets.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let one_line = own.key.lines().nth(3).unwrap().to_owned();
    let (_, signature) = token.rsplit_once('.').unwrap();
    let planted = ["planted-word-one", "planted-word-two", &one_line, signature, "eyJ"];
    let credentials = [
        secret_in(&write("good", "planted-word-one\n")),
        secret_in(&write("wrong", "planted-word-two\n")),
        Credential::Given("planted-word-two".to_owned().into()),
        Credential::Certificate { certificate: write("pem", &own.certificate), key: write("key", &own.key) },
        // the key by mistake in the place of the certificate, and of a token
        Credential::Certificate { certificate: secrets.path().join("key"), key: secrets.path().join("key") },
        Credential::WorkloadIdentity { token: Some(write("token", &token)) },
        Credential::WorkloadIdentity { token: Some(secrets.path().join("key")) },
    ];
    let mut seen = Vec::new();
    for (n, credential) in (1..).zip(credentials) {
        lab.config.tenant.credential = credential;
        seen.push(format!("{:?}", lab.config));
        seen.push(format!("{:?}", lab.config.tenant.credential.probe()));
        seen.push(format!("{:?}", check(&lab.config.tenant, &BTreeSet::from([CloudClass::User])).await));
        lab.wish(vec![user(n, &[])]).await;
        let running = lab.start().await;
        let tail = lab.log.tail(&"desired.contoso".parse().unwrap()).await.unwrap();
        let status = running.until(|s| s.stopped.is_some() || (s.idle && s.desired_applied >= tail)).await;
        running.end().await;
        seen.push(format!("{status:?}"));
    }
    assert_eq!(lab.dump().users.len(), 6, "the good ones worked");
    seen.push(format!("{:?}", lab.outcomes().await));
    seen.extend(contents(lab.folder.path()));
    seen.push(log.text());
    assert!(log.says(&["performing request POST", "/oauth2/v2.0/token"]), "the log goes down to the wire");
    for (text, word) in seen.iter().flat_map(|text| planted.iter().map(move |word| (text, word))) {
        let at = text.lines().find(|line| line.contains(*word));
        assert!(at.is_none(), "{word} stands in: {at:?}");
    }
}
