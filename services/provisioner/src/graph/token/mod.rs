//! Access tokens: when one is asked for, and with what.
//!
//! Nothing but this folder names the identity crate. The credential is read anew for every request for a token:
//!
//! - a file that was replaced counts from the next request for a token on, and the running token stays in use until then;
//! - a file that is broken, or a secret that the tenant refuses, is told of, and what worked before stays in use;
//! - while a token is valid, that there is no newer one yet stops nothing;
//! - whoever needs a token at the same time waits for one request, and shares its answer, be it good or bad.

mod entra;
mod managed;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forestsync_runtime::clock;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::http;
use crate::config::{ConfigError, TenantConfig};
use crate::credential::{Credential, Material};
use entra::Entra;
use managed::Managed;

/// A token that was refused is not asked for anew more often than this.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);

/// So many seconds before its end a token is replaced.
const RENEW_BEFORE: i64 = 300;

/// So many seconds before its end a token is not used any more: the request it goes with takes time.
const LAST_USE_BEFORE: i64 = 30;

/// While a token is still valid, a newer one is not asked for more often than this. A managed identity may hand out the
/// same one again until minutes before its end.
const ASK_INTERVAL: Duration = Duration::from_secs(30);

/// While a token is still valid, a newer one is not waited for any longer.
const ASK_PATIENCE: Duration = Duration::from_secs(10);

/// For so long who asks again shares the failure: the requests that wait are as many as are in flight.
const FAILURE_SHARED: Duration = Duration::from_millis(500);

/// How often it is said that a certificate ends soon.
const REMIND_INTERVAL: Duration = Duration::from_hours(24);

/// The longest text of an error, in characters.
const LONGEST_DETAIL: usize = 1_000;

/// Why there is no token; for a person.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no token from {giver}: {detail}")]
pub(crate) struct TokenError {
    /// Who was asked.
    giver: String,
    /// The chain of causes.
    detail: String,
    trouble: Trouble,
}

/// What a failure means for the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The credential was refused (`invalid_client`).
    Refused,
    /// It passes by itself, perhaps not before this time.
    Passing(Option<Duration>),
    /// Somebody must do something.
    Standing,
}

impl TokenError {
    fn new(giver: &str, error: &(dyn std::error::Error + 'static), trouble: Trouble) -> Self {
        let mut detail = String::new();
        let mut cause = Some(error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !detail.contains(&text) {
                detail = if detail.is_empty() { text } else { format!("{detail}: {text}") };
            }
            cause = inner.source();
        }
        let detail = detail.replace(['\r', '\n'], " ").chars().take(LONGEST_DETAIL).collect();
        Self { giver: giver.to_owned(), detail, trouble }
    }

    /// Whether it may pass without anybody doing something.
    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self.trouble, Trouble::Passing(_))
    }

    /// How long whoever was asked wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        if let Trouble::Passing(wait) = self.trouble { wait } else { None }
    }
}

/// Where access tokens come from.
#[async_trait]
pub(crate) trait TokenProvider: Send + Sync + std::fmt::Debug {
    /// A token that is valid now. `force`: not the one that was given before, because it was refused.
    async fn token(&self, force: bool) -> Result<SecretString, TokenError>;
}

/// A token and its end.
struct Fresh {
    token: SecretString,
    ends: Timestamp,
}

#[derive(Debug)]
enum Giver {
    Entra(Entra),
    Machine(Managed),
}

/// Tokens for the application of one tenant.
#[derive(Debug)]
pub(crate) struct EntraTokens {
    credential: Credential,
    giver: Giver,
    /// What the giver is called in messages.
    name: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// What was read last, of what could be read.
    current: Option<Arc<Material>>,
    /// What the tenant gave a token for last.
    accepted: Option<Arc<Material>>,
    /// What was said last of a credential that cannot be used.
    said: Option<String>,
    /// When it was said last that a certificate ends soon.
    reminded: Option<Instant>,
    /// When a token was asked for last.
    asked: Option<Instant>,
    /// When a token was asked for in vain, and why.
    failed: Option<(Instant, TokenError)>,
}

/// The token in use.
#[derive(Debug)]
struct Held {
    token: SecretString,
    ends: Timestamp,
    since: Instant,
}

impl Held {
    fn lasts(&self, seconds: i64) -> bool {
        self.ends.as_second() - clock::now().as_second() > seconds
    }
}

impl EntraTokens {
    /// Tokens by way of `client`; reads and sends nothing.
    pub(crate) fn new(config: &TenantConfig, client: reqwest::Client) -> Result<Self, ConfigError> {
        let (giver, name) = match config.credential {
            Credential::ManagedIdentity { .. } => {
                let machine = Managed::new(config, http::metadata_client(config)?);
                (Giver::Machine(machine), "the managed identity of this machine".to_owned())
            }
            _ => (Giver::Entra(Entra::new(config, client)?), config.authority.to_string()),
        };
        Ok(Self { credential: config.credential.clone(), giver, name, state: Mutex::default() })
    }

    /// What to ask with: read now, or what was read before where that cannot be.
    async fn material(&self, state: &mut State) -> Result<Arc<Material>, TokenError> {
        let standing =
            |error: &(dyn std::error::Error + 'static)| TokenError::new(&self.name, error, Trouble::Standing);
        let credential = self.credential.clone();
        let read = tokio::task::spawn_blocking(move || credential.read()).await.map_err(|e| standing(&e))?;
        let error = match read {
            Ok(material) => return Ok(self.replace(state, material)),
            Err(error) => error,
        };
        match &state.current {
            Some(current) if is_usable(current) => {
                let text = error.to_string();
                if state.said.as_ref() != Some(&text) {
                    tracing::warn!(%error, "the tenant's credential cannot be read; the one read before stays in use");
                    state.said = Some(text);
                }
                Ok(Arc::clone(current))
            }
            _ => Err(standing(&error)),
        }
    }

    fn replace(&self, state: &mut State, material: Material) -> Arc<Material> {
        let material = Arc::new(material);
        match &state.current {
            Some(before) if before.is_same(&material) => {}
            before => {
                if before.is_some() {
                    tracing::info!(credential = self.credential.name(), "the tenant's credential was replaced");
                }
                (state.said, state.reminded) = (None, None);
            }
        }
        if let Material::Certificate(certificate) = material.as_ref()
            && certificate.ends_soon(clock::now())
            && state.reminded.is_none_or(|at| at.elapsed() >= REMIND_INTERVAL)
        {
            tracing::warn!(ends = %certificate.ends(), thumbprint = certificate.thumbprint(), "the certificate of the tenant's application ends soon");
            state.reminded = Some(Instant::now());
        }
        state.current = Some(Arc::clone(&material));
        material
    }

    /// A new token. A credential that the tenant refuses gives way to the one that it took before: it may not know the
    /// new one yet, or the file holds something else by mistake.
    async fn ask(&self, state: &mut State) -> Result<Fresh, TokenError> {
        let material = self.material(state).await?;
        let error = match self.ask_with(&material).await {
            Ok(token) => {
                (state.accepted, state.said) = (Some(material), None);
                return Ok(token);
            }
            Err(error) => error,
        };
        match &state.accepted {
            Some(before) if error.trouble == Trouble::Refused && !before.is_same(&material) && is_usable(before) => {
                let Ok(token) = self.ask_with(before).await else { return Err(error) };
                let text = error.to_string();
                if state.said.as_ref() != Some(&text) {
                    tracing::warn!(%error, "the tenant refuses the new credential; the one before stays in use");
                    state.said = Some(text);
                }
                Ok(token)
            }
            _ => Err(error),
        }
    }

    async fn ask_with(&self, material: &Material) -> Result<Fresh, TokenError> {
        match (&self.giver, material) {
            (Giver::Machine(machine), Material::Managed(source)) => machine.ask(source).await,
            (Giver::Entra(entra), material) => entra.ask(material).await,
            (Giver::Machine(_), _) => {
                let detail = "the credential is not that of a machine".to_owned();
                Err(TokenError { giver: self.name.clone(), detail, trouble: Trouble::Standing })
            }
        }
    }

    /// The same while a token is still valid: a giver that does not answer keeps nobody from using that one.
    async fn ask_soon(&self, state: &mut State) -> Result<Fresh, TokenError> {
        match tokio::time::timeout(ASK_PATIENCE, self.ask(state)).await {
            Ok(answer) => answer,
            Err(elapsed) => Err(TokenError::new(&self.name, &elapsed, Trouble::Passing(None))),
        }
    }
}

/// Whether what was read before can still be asked with.
fn is_usable(material: &Material) -> bool {
    match material {
        Material::Certificate(certificate) => certificate.is_valid_at(clock::now()).is_ok(),
        Material::Secret(_) | Material::Assertion(_) | Material::Managed(_) => true,
    }
}

#[async_trait]
impl TokenProvider for EntraTokens {
    async fn token(&self, force: bool) -> Result<SecretString, TokenError> {
        let mut state = self.state.lock().await;
        let mut still = None;
        if let Some(held) = &state.held {
            let refused = force && held.since.elapsed() >= RENEW_INTERVAL;
            let waits = state.asked.is_some_and(|at| at.elapsed() < ASK_INTERVAL);
            if !refused && (held.lasts(RENEW_BEFORE) || (waits && held.lasts(LAST_USE_BEFORE))) {
                return Ok(held.token.clone());
            }
            still = (!refused && held.lasts(LAST_USE_BEFORE)).then(|| held.token.clone());
        }
        if let Some((at, error)) = &state.failed
            && still.is_none()
            && at.elapsed() < FAILURE_SHARED
        {
            return Err(error.clone());
        }
        state.asked = Some(Instant::now());
        let asked = if still.is_some() { self.ask_soon(&mut state).await } else { self.ask(&mut state).await };
        match (asked, still) {
            (Ok(Fresh { token, ends }), _) => {
                state.held = Some(Held { token: token.clone(), ends, since: Instant::now() });
                state.failed = None;
                Ok(token)
            }
            (Err(error), Some(still)) => {
                tracing::warn!(%error, "there is no new token; the one in use is still valid");
                Ok(still)
            }
            (Err(error), None) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

/// The permissions a token carries in its claim `roles`, if it can be read. For diagnosis only: to a client a token is
/// opaque.
pub(crate) fn roles(token: &SecretString) -> Option<Vec<String>> {
    let claims = token.expose_secret().split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let roles = claims.get("roles")?.as_array()?;
    Some(roles.iter().filter_map(|r| r.as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_roles_of_a_token() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"roles":["User.ReadWrite.All"]}"#);
        assert_eq!(roles(&format!("e30.{claims}.x").into()), Some(vec!["User.ReadWrite.All".to_owned()]));
        assert_eq!(roles(&"opaque".to_owned().into()), None);
    }
}
