//! Access tokens.
//!
//! Nothing but this module names the identity crate. Its retries are switched off: who asks for a token pauses and
//! asks again, and a wrong certificate authority is named within seconds instead of after 82. Its cache is not used
//! either: it keeps a secret for as long as it lives, and here the credential is read anew for every request:
//!
//! - a file that was replaced counts from the next request for a token on, and the running token stays in use until then;
//! - a file that is broken, or a secret that the tenant refuses, is told of once, and what worked before stays in use;
//! - while a token is valid, that there is no newer one yet stops nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret, TokenCredential};
use azure_core::http::{ClientMethodOptions, ClientOptions, HttpClient, RetryOptions, StatusCode, Transport};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forestsync_runtime::clock;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::{ConfigError, TenantConfig};
use crate::credential::{Credential, Material};

/// A token that was refused is not asked for anew more often than this.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);

/// So many seconds before its end a token is replaced.
const RENEW_BEFORE: i64 = 300;

/// So many seconds before its end a token is not used any more: the request it goes with takes time.
const LAST_USE_BEFORE: i64 = 30;

/// While a token is still valid, a newer one is not asked for more often than this.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// How often it is said that a certificate ends soon.
const REMIND_INTERVAL: Duration = Duration::from_hours(24);

/// Why there is no token; for a person.
#[derive(Debug, thiserror::Error)]
#[error("no token from {authority}: {detail}")]
pub(crate) struct TokenError {
    /// Who was asked.
    authority: String,
    /// The chain of causes.
    detail: String,
    /// Whether the credential was refused (`invalid_client`), and not the request or its time.
    refused: bool,
}

/// Where access tokens come from.
#[async_trait]
pub(crate) trait TokenProvider: Send + Sync + std::fmt::Debug {
    /// A token that is valid now. `force`: not the one that was given before, because it was refused.
    async fn token(&self, force: bool) -> Result<SecretString, TokenError>;
}

/// Tokens of Entra ID for an application.
#[derive(Debug)]
pub(crate) struct EntraTokens {
    tenant_id: String,
    client_id: String,
    credential: Credential,
    authority: String,
    /// The token endpoint, which assertions are made out to.
    endpoint: String,
    scope: String,
    transport: Arc<dyn HttpClient>,
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
    /// When a newer token was asked for in vain.
    failed: Option<Instant>,
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
    /// Tokens by way of `transport`; reads and sends nothing.
    pub(crate) fn new(config: &TenantConfig, transport: Arc<dyn HttpClient>) -> Result<Self, ConfigError> {
        let endpoint = config.authority.join(&format!("/{}/oauth2/v2.0/token", config.tenant_id));
        let endpoint =
            endpoint.map_err(|e| ConfigError::Client(format!("the tenant's id makes no token endpoint: {e}")))?;
        let managed = matches!(config.credential, Credential::ManagedIdentity);
        Ok(Self {
            tenant_id: config.tenant_id.clone(),
            client_id: config.client_id.clone(),
            credential: config.credential.clone(),
            authority: if managed { "the managed identity of this machine" } else { config.authority.as_str() }
                .to_owned(),
            endpoint: endpoint.to_string(),
            scope: format!("{}/.default", config.graph.as_str().trim_end_matches('/')),
            transport,
            state: Mutex::default(),
        })
    }

    /// What to ask with: read now, or what was read before where that cannot be.
    async fn material(&self, state: &mut State) -> Result<Arc<Material>, TokenError> {
        let credential = self.credential.clone();
        let read = tokio::task::spawn_blocking(move || credential.read()).await.map_err(|e| self.error(&e))?;
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
            _ => Err(self.error(&error)),
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
    async fn ask(&self, state: &mut State) -> Result<AccessToken, TokenError> {
        let material = self.material(state).await?;
        let error = match self.ask_with(&material).await {
            Ok(token) => {
                (state.accepted, state.said) = (Some(material), None);
                return Ok(token);
            }
            Err(error) => error,
        };
        match &state.accepted {
            Some(before) if error.refused && !before.is_same(&material) && is_usable(before) => {
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

    async fn ask_with(&self, material: &Material) -> Result<AccessToken, TokenError> {
        let credential = self.identity(material).map_err(|e| self.error(&e))?;
        credential.get_token(&[&self.scope], None).await.map_err(|e| self.error(&e))
    }

    /// The identity crate's credential for one request.
    fn identity(&self, material: &Material) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut cloud = CustomConfiguration::default();
        self.authority.clone_into(&mut cloud.authority_host);
        let client_options = ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::clone(&self.transport))),
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            ..ClientOptions::default()
        };
        let by_assertion = |assertion: SecretString, client_options| -> azure_core::Result<Arc<dyn TokenCredential>> {
            let options = Some(ClientAssertionCredentialOptions { client_options });
            let (tenant, client) = (self.tenant_id.clone(), self.client_id.clone());
            Ok(ClientAssertionCredential::new(tenant, client, Signed(assertion), options)?)
        };
        match material {
            Material::Secret(secret) => {
                let secret = Secret::new(secret.expose_secret().to_owned());
                let options = Some(ClientSecretCredentialOptions { client_options });
                Ok(ClientSecretCredential::new(&self.tenant_id, self.client_id.clone(), secret, options)?)
            }
            Material::Certificate(certificate) => {
                let assertion = certificate.assertion(&self.client_id, &self.endpoint, clock::now());
                let failed = "the certificate's key signs nothing";
                let kind = azure_core::error::ErrorKind::Credential;
                let assertion = assertion.map_err(|_| azure_core::Error::with_message(kind, failed))?;
                by_assertion(assertion, client_options)
            }
            Material::Assertion(assertion) => by_assertion(assertion.clone(), client_options),
            Material::Managed => {
                let assigned = (!self.client_id.is_empty()).then(|| UserAssignedId::ClientId(self.client_id.clone()));
                let mut options = ManagedIdentityCredentialOptions::default();
                (options.user_assigned_id, options.client_options) = (assigned, client_options);
                Ok(ManagedIdentityCredential::new(Some(options))?)
            }
        }
    }

    fn error(&self, error: &(dyn std::error::Error + 'static)) -> TokenError {
        let (mut detail, mut refused) = (String::new(), false);
        let mut cause = Some(error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !detail.contains(&text) {
                detail = if detail.is_empty() { text } else { format!("{detail}: {text}") };
            }
            let status = inner.downcast_ref::<azure_core::Error>().and_then(azure_core::Error::http_status);
            refused |= status == Some(StatusCode::Unauthorized);
            cause = inner.source();
        }
        TokenError { authority: self.authority.clone(), detail: detail.replace(['\r', '\n'], " "), refused }
    }
}

/// Whether what was read before can still be asked with.
fn is_usable(material: &Material) -> bool {
    match material {
        Material::Certificate(certificate) => certificate.is_valid_at(clock::now()).is_ok(),
        Material::Secret(_) | Material::Assertion(_) | Material::Managed => true,
    }
}

/// An assertion that is signed already.
#[derive(Debug)]
struct Signed(SecretString);

#[async_trait]
impl ClientAssertion for Signed {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.expose_secret().to_owned())
    }
}

#[async_trait]
impl TokenProvider for EntraTokens {
    async fn token(&self, force: bool) -> Result<SecretString, TokenError> {
        let mut state = self.state.lock().await;
        let mut still = None;
        if let Some(held) = &state.held {
            let refused = force && held.since.elapsed() >= RENEW_INTERVAL;
            let waits = state.failed.is_some_and(|at| at.elapsed() < ASK_INTERVAL);
            if !refused && (held.lasts(RENEW_BEFORE) || (waits && held.lasts(LAST_USE_BEFORE))) {
                return Ok(held.token.clone());
            }
            still = (!refused && held.lasts(LAST_USE_BEFORE)).then(|| held.token.clone());
        }
        let token = match (self.ask(&mut state).await, still) {
            (Ok(token), _) => token,
            (Err(error), Some(still)) => {
                tracing::warn!(%error, "there is no new token; the one in use is still valid");
                state.failed = Some(Instant::now());
                return Ok(still);
            }
            (Err(error), None) => return Err(error),
        };
        let ends = Timestamp::from_second(token.expires_on.unix_timestamp()).unwrap_or(Timestamp::MIN);
        let token: SecretString = token.token.secret().to_owned().into();
        state.held = Some(Held { token: token.clone(), ends, since: Instant::now() });
        state.failed = None;
        Ok(token)
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
