//! Tokens of a managed identity: the machine asks Azure, and nothing secret is configured (graph.md section 12).
//!
//! Our own and not the identity crate's: that one knows the metadata service by one address alone, and asks it seven
//! times over 72 seconds before it says that this is no machine in Azure.

use std::fmt;

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{Fresh, TokenError, Trouble};
use crate::config::TenantConfig;
use crate::credential::IdentitySource;
use crate::graph::answer::retry_after;

/// Who is named in messages.
const MACHINE: &str = "the managed identity of this machine";

/// More than any token takes, in bytes.
const LARGEST_BODY: usize = 1024 * 1024;

/// The managed identity of this machine.
#[derive(Debug)]
pub(super) struct Managed {
    client: reqwest::Client,
    /// The user-assigned identity; empty for the machine's own.
    client_id: String,
    resource: String,
}

/// What the endpoint gives. `expires_on` is seconds since 1970, as text or as a number.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_on: serde_json::Value,
}

/// What it says else.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
}

/// Why there is no token, in words.
#[derive(Debug)]
struct Said(String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

impl Managed {
    pub(super) fn new(config: &TenantConfig, client: reqwest::Client) -> Self {
        let resource = config.graph.as_str().trim_end_matches('/').to_owned();
        Self { client, client_id: config.client_id.clone(), resource }
    }

    /// One request for a token.
    pub(super) async fn ask(&self, source: &IdentitySource) -> Result<Fresh, TokenError> {
        let lost = |e: reqwest::Error| TokenError::new(MACHINE, &e.without_url(), Trouble::Passing(None));
        let mut response = self.request(source).send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let header = response.headers().get(reqwest::header::RETRY_AFTER).and_then(|h| h.to_str().ok());
        let trouble = trouble(status, header);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if body.len() + chunk.len() > LARGEST_BODY {
                return Err(TokenError::new(MACHINE, &Said("its answer is larger than 1 MiB".into()), trouble));
            }
            body.extend_from_slice(&chunk);
        }
        if status != 200 {
            let Refusal { error, error_description } = serde_json::from_slice(&body).unwrap_or_default();
            let said = Said(format!("it answers {status} {error} {error_description}").trim_end().to_owned());
            return Err(TokenError::new(MACHINE, &said, trouble));
        }
        let fresh = serde_json::from_slice::<Answer>(&body).ok().and_then(Answer::fresh);
        fresh.ok_or_else(|| TokenError::new(MACHINE, &Said("its answer holds no token".into()), Trouble::Standing))
    }

    fn request(&self, source: &IdentitySource) -> reqwest::RequestBuilder {
        let (url, version) = match source {
            IdentitySource::Metadata(root) => {
                let mut url = root.clone();
                url.set_path("/metadata/identity/oauth2/token");
                (url, "2018-02-01")
            }
            IdentitySource::AppService { endpoint, .. } => (endpoint.clone(), "2019-08-01"),
        };
        let mut request = self.client.get(url).query(&[("api-version", version), ("resource", &self.resource)]);
        if !self.client_id.is_empty() {
            request = request.query(&[("client_id", &self.client_id)]);
        }
        match source {
            IdentitySource::Metadata(_) => request.header("Metadata", "true"),
            IdentitySource::AppService { header, .. } => {
                let mut value = reqwest::header::HeaderValue::try_from(header.expose_secret());
                if let Ok(value) = &mut value {
                    value.set_sensitive(true);
                }
                match value {
                    Ok(value) => request.header("X-IDENTITY-HEADER", value),
                    // without it the endpoint says what is wrong
                    Err(_) => request,
                }
            }
        }
    }
}

impl Answer {
    fn fresh(self) -> Option<Fresh> {
        let seconds = match &self.expires_on {
            serde_json::Value::String(text) => text.trim().parse().ok()?,
            number => number.as_i64()?,
        };
        Some(Fresh { token: self.access_token.into(), ends: Timestamp::from_second(seconds).ok()? })
    }
}

/// The metadata service answers 404 and 410 while it is being updated, says Microsoft.
fn trouble(status: u16, wait: Option<&str>) -> Trouble {
    match status {
        404 | 408 | 410 | 429 | 500..=599 => Trouble::Passing(wait.and_then(retry_after)),
        _ => Trouble::Standing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_text_or_a_number() {
        let ends = |body: &str| serde_json::from_str::<Answer>(body).ok()?.fresh().map(|f| f.ends.as_second());
        assert_eq!(ends(r#"{"access_token": "t", "expires_on": "1586984735"}"#), Some(1_586_984_735));
        assert_eq!(ends(r#"{"access_token": "t", "expires_on": 1586984735}"#), Some(1_586_984_735));
        assert_eq!(ends(r#"{"access_token": "t", "expires_on": "soon"}"#), None);
        assert_eq!(ends(r#"{"access_token": "t"}"#), None);
    }

    #[test]
    fn an_update_of_the_metadata_service_passes() {
        for status in [404, 410, 429, 503] {
            assert!(matches!(trouble(status, None), Trouble::Passing(None)), "{status}");
        }
        assert_eq!(trouble(400, None), Trouble::Standing);
        assert_eq!(trouble(429, Some("3")), Trouble::Passing(Some(std::time::Duration::from_secs(3))));
    }
}
