//! Access tokens.
//!
//! Nothing but this module names the identity crate. Its retries are switched off: who asks for a token pauses and
//! asks again, and a wrong certificate authority is named within seconds instead of after 82.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::{ConfigError, TenantConfig};

/// A token that was refused is not asked for anew more often than this.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);

/// Why there is no token; for a person.
#[derive(Debug, thiserror::Error)]
#[error("no token from {authority}: {detail}")]
pub(crate) struct TokenError {
    /// Who was asked.
    authority: String,
    /// The chain of causes.
    detail: String,
}

/// Where access tokens come from.
#[async_trait]
pub(crate) trait TokenProvider: Send + Sync + std::fmt::Debug {
    /// A token that is valid now. `force`: not the one that was given before, because it was refused.
    async fn token(&self, force: bool) -> Result<SecretString, TokenError>;
}

/// Tokens of Entra ID for an application with a client secret.
#[derive(Debug)]
pub(crate) struct EntraTokens {
    tenant_id: String,
    client_id: String,
    secret: SecretString,
    authority: String,
    scope: String,
    client: reqwest::Client,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    credential: Arc<ClientSecretCredential>,
    made: Instant,
}

impl EntraTokens {
    /// Sets up the credential; sends nothing.
    pub(crate) fn new(config: &TenantConfig, client: reqwest::Client) -> Result<Self, ConfigError> {
        let authority = config.authority.as_str().to_owned();
        let credential =
            credential(config.tenant_id.as_str(), &config.client_id, &config.client_secret, &authority, &client)
                .map_err(|e| ConfigError::Client(format!("the credential cannot be set up: {e}")))?;
        Ok(Self {
            tenant_id: config.tenant_id.clone(),
            client_id: config.client_id.clone(),
            secret: config.client_secret.clone(),
            authority,
            scope: format!("{}/.default", config.graph.as_str().trim_end_matches('/')),
            client,
            current: Mutex::new(Current { credential, made: Instant::now() }),
        })
    }

    fn error(&self, error: &dyn std::error::Error) -> TokenError {
        let mut detail = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !detail.contains(&text) {
                detail = format!("{detail}: {text}");
            }
            cause = inner.source();
        }
        TokenError { authority: self.authority.clone(), detail: detail.replace(['\r', '\n'], " ") }
    }
}

fn credential(
    tenant_id: &str,
    client_id: &str,
    secret: &SecretString,
    authority: &str,
    client: &reqwest::Client,
) -> azure_core::Result<Arc<ClientSecretCredential>> {
    let mut cloud = CustomConfiguration::default();
    authority.clone_into(&mut cloud.authority_host);
    let client_options = ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(client.clone()))),
        cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
        ..ClientOptions::default()
    };
    ClientSecretCredential::new(
        tenant_id,
        client_id.to_owned(),
        Secret::new(secret.expose_secret().to_owned()),
        Some(ClientSecretCredentialOptions { client_options }),
    )
}

#[async_trait]
impl TokenProvider for EntraTokens {
    async fn token(&self, force: bool) -> Result<SecretString, TokenError> {
        let credential = {
            let mut current = self.current.lock().await;
            if force && current.made.elapsed() >= RENEW_INTERVAL {
                // the credential's cache has no way to drop a token, so a new one takes its place
                current.credential =
                    credential(&self.tenant_id, &self.client_id, &self.secret, &self.authority, &self.client)
                        .map_err(|e| self.error(&e))?;
                current.made = Instant::now();
            }
            Arc::clone(&current.credential)
        };
        let token = credential.get_token(&[&self.scope], None).await.map_err(|e| self.error(&e))?;
        Ok(token.token.secret().to_owned().into())
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
