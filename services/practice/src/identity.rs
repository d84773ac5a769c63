//! What an application can prove itself with: certificates, and tokens of an issuer that the tenant trusts. Made for one
//! run and never written by this crate.

use std::fmt;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

use crate::tenant::FederatedCredential;

/// A certificate with its key in PEM, as an administrator makes one for an application.
#[derive(Clone)]
pub struct AppCertificate {
    /// The certificate, which the tenant registers.
    pub certificate: String,
    /// Its key, which only the application has: PKCS#8 without a passphrase.
    pub key: String,
}

impl fmt::Debug for AppCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppCertificate").finish_non_exhaustive()
    }
}

impl AppCertificate {
    /// One of RSA with 2048 bits, from a day before `now` to so long after it.
    pub fn new(now: Timestamp, lasts: SignedDuration) -> Result<Self> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        Self::of(&key, now - SignedDuration::from_hours(24), now + lasts)
    }

    /// One whose key is on the curve P-256: Entra ID takes none such for an application.
    pub fn elliptic(now: Timestamp) -> Result<Self> {
        let day = SignedDuration::from_hours(24);
        Self::of(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?, now - day, now + day)
    }

    /// One of RSA that begins only at `begins`.
    pub fn beginning(begins: Timestamp) -> Result<Self> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        Self::of(&key, begins, begins + SignedDuration::from_hours(24))
    }

    fn of(key: &KeyPair, begins: Timestamp, ends: Timestamp) -> Result<Self> {
        let at = |time: Timestamp| -> Result<SystemTime> {
            let seconds = u64::try_from(time.as_second()).context("the time is before 1970")?;
            Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        };
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "forestsync practice application");
        params.not_before = at(begins)?.into();
        params.not_after = at(ends)?.into();
        Ok(Self { certificate: params.self_signed(key)?.pem(), key: key.serialize_pem() })
    }
}

/// An issuer of tokens, such as a Kubernetes cluster is for its service accounts.
pub struct TokenIssuer {
    url: String,
    key: RsaKeyPair,
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer").field("url", &self.url).finish_non_exhaustive()
    }
}

impl TokenIssuer {
    /// An issuer with a fresh key. The tenant is given the key itself, in the place of a discovery document.
    pub fn new(url: &str) -> Result<Self> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).context("there is no RSA key")?;
        Ok(Self { url: url.to_owned(), key })
    }

    /// What an administrator registers with the application, so that tokens about `subject` are taken.
    pub fn credential(&self, subject: &str, audience: &str) -> FederatedCredential {
        FederatedCredential {
            issuer: self.url.clone(),
            subject: subject.to_owned(),
            audience: audience.to_owned(),
            key: self.key.public_key().as_ref().to_vec(),
        }
    }

    /// A token about `subject`, signed with RS256 as those of a cluster are.
    pub fn token(&self, subject: &str, audience: &str, now: Timestamp, lasts: SignedDuration) -> Result<String> {
        let claims = json!({
            "iss": self.url,
            "sub": subject,
            "aud": [audience],
            "iat": now.as_second(),
            "nbf": now.as_second(),
            "exp": (now + lasts).as_second(),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT", "kid": "practice"})), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .context("the token cannot be signed")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
