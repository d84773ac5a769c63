//! Notices as JSON, by HTTP POST.
//!
//! The body is the notice with `text`, which chat services show as it is. With a key, the header `X-Forestsync-Signature`
//! is `sha256=` and the HMAC-SHA256 (RFC 2104) of the body in hexadecimal digits.

use std::time::Duration;

use aws_lc_rs::hmac;
use forestsync_runtime::secret::ExposeSecret as _;
use serde_json::Value;
use url::{Host, Url};

use super::{DeliveryError, Notice, WebhookConfig, with_cause};
use crate::graph::authorities;

/// How long an endpoint may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn send(config: &WebhookConfig, notice: &Notice) -> Result<(), DeliveryError> {
    post(config, body(notice)?).await
}

/// Has the endpoint take a JSON document.
pub(crate) async fn post(config: &WebhookConfig, body: Vec<u8>) -> Result<(), DeliveryError> {
    let text = config.url.read("webhook.url", &config.base)?;
    let url = Url::parse(text.expose_secret().trim())
        .ok()
        .filter(is_safe)
        .ok_or_else(|| DeliveryError::Setting { key: "webhook.url", problem: "is no https address".to_owned() })?;
    let mut request = client(config)?.post(url).header(reqwest::header::CONTENT_TYPE, "application/json");
    if let Some(place) = &config.key {
        let key = place.read("webhook.key", &config.base)?;
        request = request.header("X-Forestsync-Signature", signature(key.expose_secret().trim(), &body));
    }
    // its address may be a secret, so no error shows it
    let answer = request.body(body).send().await.map_err(|e| DeliveryError::Unreached(with_cause(&e.without_url())))?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(DeliveryError::Refused(status.as_u16())) }
}

/// Whether what is sent there cannot be read on the way.
fn is_safe(url: &Url) -> bool {
    let local = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && local)
}

fn body(notice: &Notice) -> Result<Vec<u8>, DeliveryError> {
    let unreadable = |e: serde_json::Error| DeliveryError::Unreached(e.to_string());
    let mut value = serde_json::to_value(notice).map_err(unreadable)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("text".to_owned(), Value::String(notice.text()));
    }
    serde_json::to_vec(&value).map_err(unreadable)
}

fn signature(key: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), body);
    let digits: Vec<String> = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={}", digits.concat())
}

fn client(config: &WebhookConfig) -> Result<reqwest::Client, DeliveryError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("forestsync/", env!("CARGO_PKG_VERSION")))
        .tls_backend_rustls()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE);
    if let Some(path) = &config.ca_file {
        let refuse =
            |detail| DeliveryError::Setting { key: "webhook.ca_file", problem: format!("{} {detail}", path.display()) };
        builder = builder.tls_certs_only(authorities(path).map_err(refuse)?);
    }
    builder.build().map_err(|e| DeliveryError::Unreached(with_cause(&e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_reads_on_the_way_is_taken() {
        for (url, safe) in [
            ("https://example.com/hook", true),
            ("http://example.com/hook", false),
            ("http://127.0.0.1:8080/", true),
            ("http://[::1]/", true),
            ("http://localhost/", true),
            ("http://localhost.example.com/", false),
            ("ftp://127.0.0.1/", false),
        ] {
            assert_eq!(is_safe(&Url::parse(url).unwrap()), safe, "{url}");
        }
    }

    /// The second test case of RFC 4231.
    #[test]
    fn the_signature_is_that_of_the_standard() {
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature("Jefe", b"what do ya want for nothing?"), expected);
    }
}
