//! How clients of Kafka are made: settings, secrets, tokens, and what becomes of librdkafka's own log.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forestsync_runtime::clock;
use forestsync_runtime::secret::{ExposeSecret, SecretRef, SecretString};
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::config;
use crate::{LogConfig, OpenError, SaslMechanism, Security};

/// How long a token without an end of its own is taken for good, in milliseconds.
const TOKEN_LIFETIME_MS: i64 = 5 * 60 * 1000;

/// What all clients of a log have in common. Its `Debug` shows no secret.
#[derive(Clone)]
pub(super) struct Settings {
    /// Brokers to begin with.
    pub(super) bootstrap: String,
    /// What stands before every name.
    pub(super) prefix: String,
    /// Replicas of a new topic; -1 lets the cluster decide.
    pub(super) replication: i32,
    /// How long superseded records of a compacted stream stay at least.
    pub(super) desired_history: Duration,
    common: Vec<(&'static str, String)>,
    password: Option<SecretString>,
    token: Option<Token>,
    refusal: Arc<Mutex<Option<String>>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("bootstrap", &self.bootstrap)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Checks the configuration and reads its secrets.
    pub(super) fn new(from: &LogConfig, base: &Path) -> Result<Self, OpenError> {
        let bootstrap = bootstrap(from.kafka.as_deref().unwrap_or_default())?;
        let prefix = from.prefix.clone();
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if !prefix.bytes().all(legal) || prefix.len() > 100 || prefix.starts_with("__") {
            let hint = "use at most 100 of a-z, A-Z, 0-9, '.', '-' and '_', not beginning with \"__\"";
            return Err(config("prefix", format!("{prefix:?} cannot stand before a topic's name"), hint));
        }
        if from.replication.is_some_and(|n| !(1..=i32::from(i16::MAX)).contains(&n)) {
            return Err(config("replication", "a topic has at least one replica", "leave it out, or write 3"));
        }
        check_keys(from)?;
        let mut settings = Self {
            bootstrap,
            prefix,
            replication: from.replication.unwrap_or(-1),
            desired_history: from.history()?,
            common: Vec::new(),
            password: None,
            token: None,
            refusal: Arc::default(),
        };
        settings.tls(from, base)?;
        settings.sasl(from, base)?;
        Ok(settings)
    }

    fn tls(&mut self, from: &LogConfig, base: &Path) -> Result<(), OpenError> {
        let protocol = match from.security {
            Security::Plaintext => return Ok(()),
            _ if !cfg!(feature = "kafka-tls") => {
                return Err(OpenError::Feature { key: "security", feature: "kafka-tls" });
            }
            Security::Tls => "ssl",
            Security::SaslTls => "sasl_ssl",
        };
        self.common.push(("security.protocol", protocol.to_owned()));
        let files = [
            ("ca_file", "ssl.ca.location", &from.ca_file),
            ("client_certificate_file", "ssl.certificate.location", &from.client_certificate_file),
            ("client_key_file", "ssl.key.location", &from.client_key_file),
        ];
        for (key, setting, file) in files {
            let Some(file) = file else { continue };
            let path = base.join(file);
            if let Err(error) = std::fs::File::open(&path) {
                let problem = format!("{} cannot be read: {error}", path.display());
                return Err(config(key, problem, "name a PEM file that this account may read"));
            }
            self.common.push((setting, path.display().to_string()));
        }
        Ok(())
    }

    fn sasl(&mut self, from: &LogConfig, base: &Path) -> Result<(), OpenError> {
        if from.security != Security::SaslTls {
            return Ok(());
        }
        let choices = "choose \"scram-sha-512\", \"scram-sha-256\" or \"oauthbearer\"";
        let Some(mechanism) = from.sasl_mechanism else {
            return Err(config("sasl_mechanism", "security is \"sasl-tls\" and no mechanism is given", choices));
        };
        let name = match mechanism {
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::Oauthbearer => "OAUTHBEARER",
        };
        self.common.push(("sasl.mechanism", name.to_owned()));
        if mechanism == SaslMechanism::Oauthbearer {
            let source = SecretRef { file: from.token_file.clone(), env: from.token_env.clone() };
            source.read("token", base)?;
            self.token = Some(Token { source, base: base.to_owned() });
            return Ok(());
        }
        let Some(username) = &from.username else {
            return Err(config("username", format!("{name} needs one"), "name the account"));
        };
        self.common.push(("sasl.username", username.clone()));
        let source = SecretRef { file: from.password_file.clone(), env: from.password_env.clone() };
        self.password = Some(source.read("password", base)?);
        Ok(())
    }

    /// Whether the client proves who it is by a token.
    pub(super) fn by_token(&self) -> bool {
        self.token.is_some()
    }

    /// The topic, group or transactional id for a name.
    pub(super) fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The settings every client begins with.
    pub(super) fn client(&self, client_id: &str) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", client_id)
            // Followed within moments of a broker's return, without hammering one that stays away.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("retry.backoff.ms", "50")
            .set("socket.timeout.ms", "10000")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("topic.metadata.refresh.fast.interval.ms", "100")
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        for (key, value) in &self.common {
            client.set(*key, value);
        }
        if let Some(password) = &self.password {
            client.set("sasl.password", password.expose_secret());
        }
        client
    }

    /// A consumer that reads by assignment and commits nothing.
    pub(super) fn consumer(&self, isolation: &str) -> ClientConfig {
        let mut client = self.client("forestsync");
        client
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("fetch.min.bytes", "1")
            .set("fetch.wait.max.ms", "500")
            .set("fetch.error.backoff.ms", "50")
            .set("fetch.queue.backoff.ms", "5");
        client
    }

    /// The context of a client.
    pub(super) fn context(&self) -> Context {
        Context { token: self.token.clone(), asked: Arc::default(), refusal: Arc::clone(&self.refusal) }
    }

    /// Why the brokers did not let us in, once: a request that waits for a connection is only told that it took too long.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Checks `host:port,host:port`.
fn bootstrap(text: &str) -> Result<String, OpenError> {
    let mut brokers = Vec::new();
    for broker in text.split(',').map(str::trim) {
        let fits = broker.rsplit_once(':').is_some_and(|(host, port)| {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
            !host.is_empty() && host.chars().all(legal) && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !fits {
            return Err(config("kafka", format!("{broker:?} is no broker"), "write host:port,host:port"));
        }
        brokers.push(broker);
    }
    Ok(brokers.join(","))
}

/// Keys that mean nothing under the chosen protection were meant for something: they are refused.
fn check_keys(from: &LogConfig) -> Result<(), OpenError> {
    let (tls, sasl) = (from.security != Security::Plaintext, from.security == Security::SaslTls);
    let token = from.sasl_mechanism == Some(SaslMechanism::Oauthbearer);
    let used = [
        ("ca_file", from.ca_file.is_some(), tls),
        ("client_certificate_file", from.client_certificate_file.is_some(), tls),
        ("client_key_file", from.client_key_file.is_some(), tls),
        ("sasl_mechanism", from.sasl_mechanism.is_some(), sasl),
        ("username", from.username.is_some(), sasl && !token),
        ("password_file", from.password_file.is_some(), sasl && !token),
        ("password_env", from.password_env.is_some(), sasl && !token),
        ("token_file", from.token_file.is_some(), sasl && token),
        ("token_env", from.token_env.is_some(), sasl && token),
    ];
    for (key, given, useful) in used {
        if given && !useful {
            let hint = "remove it, or choose the security and sasl_mechanism it belongs to";
            return Err(config(key, "it has no use with this security and sasl_mechanism", hint));
        }
    }
    if from.client_certificate_file.is_some() != from.client_key_file.is_some() {
        let hint = "give client_certificate_file and client_key_file, or none of them";
        return Err(config("client_certificate_file", "a certificate and its key go together", hint));
    }
    Ok(())
}

/// Where the token is read, each time it is due.
#[derive(Debug, Clone)]
struct Token {
    source: SecretRef,
    base: PathBuf,
}

/// What a client calls back: its log, its errors, its need for a token.
#[derive(Debug, Clone)]
pub(super) struct Context {
    token: Option<Token>,
    /// Whether the client has asked for its token.
    asked: Arc<AtomicBool>,
    refusal: Arc<Mutex<Option<String>>>,
}

impl Context {
    /// Whether the client cannot connect before its events are served, because that is how it asks for a token.
    pub(super) fn lacks_token(&self) -> bool {
        self.token.is_some() && !self.asked.load(Ordering::Relaxed)
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
        if error.rdkafka_error_code().is_some_and(refuses) {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error}: {reason}"));
        }
    }

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let Some(token) = &self.token else { return Err("no token is configured".into()) };
        self.asked.store(true, Ordering::Relaxed);
        let secret = token.source.read("token", &token.base)?;
        let (principal_name, lifetime_ms) = claims(secret.expose_secret());
        Ok(OAuthToken { token: secret.expose_secret().to_owned(), principal_name, lifetime_ms })
    }
}

impl ConsumerContext for Context {}

/// A line of librdkafka's log: of use to those who look for it, for what matters comes back as an error too.
pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(kafka.facility = facility, "kafka client: {message}");
        }
        _ => tracing::debug!(kafka.facility = facility, "kafka client: {message}"),
    }
}

/// An error event of librdkafka.
pub(super) fn log_error(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::PartitionEOF) => {}
        Some(code) if refuses(code) => tracing::warn!(error = %error, "kafka client: {reason}"),
        _ => tracing::debug!(error = %error, "kafka client: {reason}"),
    }
}

/// Whether the cluster refuses what we are or may do, so that waiting does not help.
pub(super) fn refuses(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SSL
            | Code::UnsupportedFeature
    )
}

/// The error of the client as one of the storage. A setting's value is left out: it may be a secret.
pub(super) fn as_io(error: &KafkaError) -> std::io::Error {
    match error {
        KafkaError::ClientConfig(_, problem, key, _) => std::io::Error::other(format!("setting {key}: {problem}")),
        KafkaError::MetadataFetch(code) => std::io::Error::other(code.to_string()),
        other => std::io::Error::other(other.to_string()),
    }
}

/// Subject and end of a JSON Web Token, as far as it is one. The broker checks it, not we.
fn claims(token: &str) -> (String, i64) {
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: serde_json::Value = payload.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
    let subject = claims.get("sub").and_then(serde_json::Value::as_str).unwrap_or("forestsync");
    let now = clock::now().as_millisecond();
    let end = claims.get("exp").and_then(serde_json::Value::as_f64).map(|seconds| (seconds * 1000.0) as i64);
    (subject.replace('\0', ""), end.unwrap_or(now + TOKEN_LIFETIME_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<Settings, OpenError> {
        let config: LogConfig = toml::from_str(toml).unwrap();
        Settings::new(&config, Path::new("."))
    }

    fn refused(toml: &str) -> String {
        read(toml).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key() {
        assert!(refused("kafka = \"broker\"").starts_with("log.kafka: \"broker\" is no broker"));
        assert!(refused("kafka = \"b:9092,\"").contains("is no broker"));
        assert!(refused("kafka = \"b:1\"\nprefix = \"a b\"").starts_with("log.prefix"));
        assert!(refused("kafka = \"b:1\"\nreplication = 0").starts_with("log.replication"));
        assert!(refused("kafka = \"b:1\"\nca_file = \"ca.pem\"").starts_with("log.ca_file"));
        assert!(refused("kafka = \"b:1\"\nusername = \"u\"").starts_with("log.username"));
        assert!(refused("kafka = \"b:1\"\nsecurity = \"tls\"\nclient_key_file = \"k\"").contains("client_certificate"));
        assert!(read("kafka = \"b1:9092, b2:9092\"").unwrap().bootstrap == "b1:9092,b2:9092");
    }

    #[test]
    #[cfg(not(feature = "kafka-tls"))]
    fn tls_names_the_feature_it_needs() {
        assert!(refused("kafka = \"b:1\"\nsecurity = \"tls\"").contains("`kafka-tls`"));
    }

    #[test]
    #[cfg(feature = "kafka-tls")]
    fn secrets_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "hunter2\n").unwrap();
        let settings = read(&format!(
            "kafka = \"b:1\"\nsecurity = \"sasl-tls\"\nsasl_mechanism = \"scram-sha-512\"\nusername = \"u\"\n\
             password_file = {file:?}"
        ))
        .unwrap();
        assert_eq!(settings.client("x").get("sasl.password"), Some("hunter2"));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn a_token_says_when_it_ends() {
        let token = format!("h.{}.s", URL_SAFE_NO_PAD.encode("{\"sub\":\"forestsync\",\"exp\":1700000000}"));
        assert_eq!(claims(&token), ("forestsync".to_owned(), 1_700_000_000_000));
        assert!(claims("opaque").1 > clock::now().as_millisecond());
    }
}
