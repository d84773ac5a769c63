//! Tokens of Entra ID, by way of the identity crate.
//!
//! Its retries are switched off: who asks for a token pauses and asks again, and a wrong certificate authority is named
//! within seconds instead of after 82. Its cache is not used either: it keeps a secret for as long as it lives, and here
//! the credential is read anew for every request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{AsyncRawResponse, ClientMethodOptions, ClientOptions, HttpClient, RetryOptions, Transport};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential,
    ClientSecretCredentialOptions,
};
use forestsync_runtime::clock;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Fresh, TokenError, Trouble};
use crate::config::{ConfigError, TenantConfig};
use crate::credential::Material;
use crate::graph::answer::retry_after;

/// The token endpoint of one tenant, and the application that asks there.
#[derive(Debug)]
pub(super) struct Entra {
    tenant_id: String,
    client_id: String,
    authority: String,
    /// The token endpoint, which assertions are made out to.
    endpoint: String,
    scope: String,
    wire: Arc<Wire>,
}

impl Entra {
    pub(super) fn new(config: &TenantConfig, client: reqwest::Client) -> Result<Self, ConfigError> {
        let endpoint = config.authority.join(&format!("/{}/oauth2/v2.0/token", config.tenant_id));
        let endpoint =
            endpoint.map_err(|e| ConfigError::Client(format!("the tenant's id makes no token endpoint: {e}")))?;
        Ok(Self {
            tenant_id: config.tenant_id.clone(),
            client_id: config.client_id.clone(),
            authority: config.authority.to_string(),
            endpoint: endpoint.to_string(),
            scope: format!("{}/.default", config.graph.as_str().trim_end_matches('/')),
            wire: Arc::new(Wire { client, seen: Mutex::default() }),
        })
    }

    /// One request for a token.
    pub(super) async fn ask(&self, material: &Material) -> Result<Fresh, TokenError> {
        let standing = |error: &azure_core::Error| TokenError::new(&self.authority, error, Trouble::Standing);
        let credential = self.identity(material).map_err(|e| standing(&e))?;
        let token = credential.get_token(&[&self.scope], None).await;
        let token = token.map_err(|e| TokenError::new(&self.authority, &e, trouble(self.wire.seen())))?;
        let ends = Timestamp::from_second(token.expires_on.unix_timestamp()).unwrap_or(Timestamp::MIN);
        Ok(Fresh { token: token.token.secret().to_owned().into(), ends })
    }

    /// The identity crate's credential for one request.
    fn identity(&self, material: &Material) -> azure_core::Result<Arc<dyn TokenCredential>> {
        let mut cloud = CustomConfiguration::default();
        self.authority.clone_into(&mut cloud.authority_host);
        let transport: Arc<dyn HttpClient> = Arc::clone(&self.wire) as Arc<dyn HttpClient>;
        let client_options = ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(Transport::new(transport)),
            cloud: Some(Arc::new(CloudConfiguration::Custom(cloud))),
            ..ClientOptions::default()
        };
        let by_assertion = |assertion: SecretString, client_options| -> azure_core::Result<Arc<dyn TokenCredential>> {
            let options = Some(ClientAssertionCredentialOptions { client_options });
            let (tenant, client) = (self.tenant_id.clone(), self.client_id.clone());
            Ok(ClientAssertionCredential::new(tenant, client, Signed(assertion), options)?)
        };
        let failed = |text| azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, text);
        match material {
            Material::Secret(secret) => {
                let secret = Secret::new(secret.expose_secret().to_owned());
                let options = Some(ClientSecretCredentialOptions { client_options });
                Ok(ClientSecretCredential::new(&self.tenant_id, self.client_id.clone(), secret, options)?)
            }
            Material::Certificate(certificate) => {
                let assertion = certificate.assertion(&self.client_id, &self.endpoint, clock::now());
                by_assertion(assertion.map_err(|_| failed("the certificate's key signs nothing"))?, client_options)
            }
            Material::Assertion(assertion) => by_assertion(assertion.clone(), client_options),
            Material::Managed(_) => Err(failed("a managed identity is not asked for here")),
        }
    }
}

/// What a failed request tells of the next one: by status alone, for texts and numbers change.
fn trouble(seen: Option<Seen>) -> Trouble {
    match seen {
        Some(Seen { status: 401, .. }) => Trouble::Refused,
        Some(Seen { status: 408 | 429 | 500..=599, retry_after }) => Trouble::Passing(retry_after),
        Some(_) => Trouble::Standing,
        None => Trouble::Passing(None),
    }
}

/// How the last request was answered.
#[derive(Debug, Clone, Copy)]
struct Seen {
    status: u16,
    retry_after: Option<Duration>,
}

/// The HTTP client that the identity crate is given. It notes how the request was answered, which the crate's errors do
/// not always tell: a proxy's page in the place of JSON loses its status there.
#[derive(Debug)]
struct Wire {
    client: reqwest::Client,
    seen: Mutex<Option<Seen>>,
}

impl Wire {
    fn seen(&self) -> Option<Seen> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, seen: Option<Seen>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

#[async_trait]
impl HttpClient for Wire {
    async fn execute_request(&self, request: &azure_core::http::Request) -> azure_core::Result<AsyncRawResponse> {
        self.note(None);
        let response = HttpClient::execute_request(&self.client, request).await?;
        let waits = response.headers().iter().find(|(name, _)| name.as_str().eq_ignore_ascii_case("retry-after"));
        let retry_after = waits.and_then(|(_, value)| retry_after(value.as_str()));
        self.note(Some(Seen { status: response.status().into(), retry_after }));
        Ok(response)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::clouds;
    use crate::credential::Credential;

    #[test]
    fn every_cloud_is_asked_at_its_own_endpoint_for_its_own_graph() {
        let asked = |authority: &str, graph: &str| {
            let (authority, graph) = (authority.parse().unwrap(), graph.parse().unwrap());
            let credential = Credential::Given("s".to_owned().into());
            let config = TenantConfig::new("contoso.example".into(), "app".into(), credential, authority, graph);
            let entra = Entra::new(&config, reqwest::Client::new()).unwrap();
            (entra.endpoint, entra.scope)
        };
        let token = |host: &str| format!("https://{host}/contoso.example/oauth2/v2.0/token");
        let found: Vec<_> = clouds().iter().map(|cloud| (cloud.name, asked(cloud.authority, cloud.graph))).collect();
        let expected = [
            ("global", "login.microsoftonline.com", "https://graph.microsoft.com/.default"),
            ("us-gov", "login.microsoftonline.us", "https://graph.microsoft.us/.default"),
            ("us-dod", "login.microsoftonline.us", "https://dod-graph.microsoft.us/.default"),
            ("china", "login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn/.default"),
        ];
        assert_eq!(found, expected.map(|(name, host, scope)| (name, (token(host), scope.to_owned()))));
        let custom = asked("https://localhost:6443", "https://localhost:6443");
        assert_eq!(custom, (token("localhost:6443"), "https://localhost:6443/.default".to_owned()));
    }

    #[test]
    fn what_passes_by_itself_and_what_does_not() {
        let of = |status, retry_after| trouble(Some(Seen { status, retry_after }));
        let wait = Some(Duration::from_secs(7));
        assert_eq!(of(401, None), Trouble::Refused);
        assert_eq!(of(429, wait), Trouble::Passing(wait));
        for status in [408, 429, 500, 503, 504] {
            assert_eq!(of(status, None), Trouble::Passing(None), "{status}");
        }
        for status in [200, 302, 400, 403, 404] {
            assert_eq!(of(status, None), Trouble::Standing, "{status}");
        }
        assert_eq!(trouble(None), Trouble::Passing(None), "nobody answered");
    }
}
