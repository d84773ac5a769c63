//! A certificate with its RSA key, and the assertions that it signs.
//!
//! The form is that of Microsoft's "certificate credentials" (graph.md section 12): PS256, the SHA-256 thumbprint in
//! `x5t#S256`, the token endpoint as audience. The identity crate's own credential would sign RS256 with a SHA-1
//! thumbprint and bring OpenSSL.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA256};
use aws_lc_rs::{digest, error::Unspecified};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forestsync_runtime::secret::SecretString;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use uuid::Uuid;
use x509_parser::public_key::PublicKey;

/// How long before its end a certificate is spoken of.
const WARN_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How long an assertion may be used: long enough for a slow answer and clocks that differ, no longer.
const ASSERTION_LIFETIME: Duration = Duration::from_mins(5);

/// The shortest RSA key that is used, in bits.
const SHORTEST_KEY: usize = 2_048;

/// What is wrong with a file of a credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] std::io::Error),
    /// It is larger than any credential.
    #[error("is larger than 1 MiB; it is no credential")]
    Large,
    /// It holds no certificate.
    #[error("holds no certificate in PEM")]
    NoCertificate,
    /// Its certificate cannot be understood.
    #[error("holds a certificate that cannot be understood")]
    Certificate,
    /// Its certificate is for another algorithm.
    #[error("holds a certificate whose key is not RSA")]
    NotRsa,
    /// The certificate's key is too short.
    #[error("holds a certificate whose RSA key has {0} bits; it must have {SHORTEST_KEY} or more")]
    Short(usize),
    /// It holds no private key.
    #[error("holds no private key in PEM")]
    NoKey,
    /// Its private key is encrypted.
    #[error("holds an encrypted private key; a service cannot type its passphrase")]
    Encrypted,
    /// Its private key cannot be used.
    #[error("holds a private key that is not RSA, or is damaged")]
    Key,
    /// Certificate and key do not belong together.
    #[error("holds a private key that does not belong to the certificate in {0}")]
    Foreign(String),
    /// The certificate has ended.
    #[error("holds a certificate that expired at {0}")]
    Expired(Timestamp),
    /// The certificate has not begun.
    #[error("holds a certificate that is valid only from {0} on")]
    Early(Timestamp),
    /// It holds no token.
    #[error("holds no token (a signed JWT)")]
    NoToken,
}

impl FileProblem {
    pub(super) const PUT_IT_THERE: &str = "put it there, readable for the account that runs forestsync";

    /// What to do.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Read(_) => Self::PUT_IT_THERE,
            Self::Large | Self::NoCertificate | Self::Certificate => {
                "name the file with the certificate that is registered with the application, in PEM"
            }
            Self::NotRsa | Self::Short(_) => {
                "make an RSA key of 2048 bits or more and register its certificate with the application"
            }
            Self::NoKey | Self::Key => "name the file with the certificate's RSA key in PEM as private_key_file",
            Self::Encrypted => {
                "write the key without a passphrase, as with openssl pkey -in KEY -out NEW, and let only the account that \
                 runs forestsync read it"
            }
            Self::Foreign(_) => "name the key and the certificate that were made together",
            Self::Expired(_) => "make a new certificate and register it with the application",
            Self::Early(_) => "wait until then, or look at the clock of this machine",
            Self::NoToken => "name the file that the cluster writes the workload's token to",
        }
    }
}

/// A certificate without its key.
pub(super) struct Parsed {
    public_key: Vec<u8>,
    thumbprint: String,
    begins: Timestamp,
    ends: Timestamp,
}

/// The first certificate of a PEM file, if it can be used at all.
pub(super) fn parse(pem: &[u8]) -> Result<Parsed, FileProblem> {
    let der = match CertificateDer::pem_slice_iter(pem).next() {
        Some(Ok(der)) => der,
        Some(Err(_)) => return Err(FileProblem::Certificate),
        None => return Err(FileProblem::NoCertificate),
    };
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|_| FileProblem::Certificate)?;
    let key = certificate.public_key();
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) if rsa.key_size() < SHORTEST_KEY => return Err(FileProblem::Short(rsa.key_size())),
        Ok(PublicKey::RSA(_)) => {}
        Ok(_) => return Err(FileProblem::NotRsa),
        Err(_) => return Err(FileProblem::Certificate),
    }
    let time = |at: i64| Timestamp::from_second(at).map_err(|_| FileProblem::Certificate);
    Ok(Parsed {
        public_key: key.subject_public_key.data.to_vec(),
        thumbprint: URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &der)),
        begins: time(certificate.validity().not_before.timestamp())?,
        ends: time(certificate.validity().not_after.timestamp())?,
    })
}

impl Parsed {
    /// Together with the first private key of a PEM file, which must be the certificate's; `certificate` is where that
    /// came from.
    pub(super) fn with_key(self, pem: &[u8], certificate: &Path) -> Result<ClientCertificate, FileProblem> {
        let key = match PrivateKeyDer::pem_slice_iter(pem).next() {
            Some(Ok(PrivateKeyDer::Pkcs8(der))) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
            Some(Ok(PrivateKeyDer::Pkcs1(der))) => KeyPair::from_der(der.secret_pkcs1_der()),
            // an encrypted key is a section of its own, or one whose text does not decode (RFC 1421)
            None | Some(Err(_)) if contains(pem, b"ENCRYPTED") => return Err(FileProblem::Encrypted),
            None => return Err(FileProblem::NoKey),
            Some(_) => return Err(FileProblem::Key),
        };
        let key = key.map_err(|_| FileProblem::Key)?;
        if key.public_key().as_ref() != self.public_key.as_slice() {
            return Err(FileProblem::Foreign(certificate.display().to_string()));
        }
        Ok(ClientCertificate { key, thumbprint: self.thumbprint, begins: self.begins, ends: self.ends })
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A certificate with its key. `Debug` shows no key.
pub(crate) struct ClientCertificate {
    key: KeyPair,
    thumbprint: String,
    begins: Timestamp,
    ends: Timestamp,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { thumbprint, ends, .. } = self;
        f.debug_struct("ClientCertificate").field("thumbprint", thumbprint).field("ends", ends).finish_non_exhaustive()
    }
}

impl ClientCertificate {
    /// SHA-256 of the certificate in base64url.
    pub(crate) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// When it ends.
    pub(crate) fn ends(&self) -> Timestamp {
        self.ends
    }

    /// Whether it may be used at this time.
    pub(crate) fn is_valid_at(&self, now: Timestamp) -> Result<(), FileProblem> {
        match now {
            now if now >= self.ends => Err(FileProblem::Expired(self.ends)),
            now if now < self.begins => Err(FileProblem::Early(self.begins)),
            _ => Ok(()),
        }
    }

    /// Whether somebody should renew it soon.
    pub(crate) fn ends_soon(&self, now: Timestamp) -> bool {
        self.ends.duration_since(now) < WARN_BEFORE
    }

    /// A fresh assertion of this client for the token endpoint `audience`.
    pub(crate) fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<SecretString, Unspecified> {
        let at = now.as_second();
        let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint});
        let claims = json!({
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": Uuid::new_v4().to_string(),
            "iat": at,
            "nbf": at,
            "exp": at.saturating_add_unsigned(ASSERTION_LIFETIME.as_secs()),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
    use forestsync_practice::identity::AppCertificate;
    use forestsync_runtime::secret::ExposeSecret as _;

    use super::*;

    #[test]
    fn an_assertion_says_what_entra_id_asks_for() {
        let now = forestsync_runtime::clock::now();
        let own = AppCertificate::new(now, SignedDuration::from_hours(24)).unwrap();
        let parsed = parse(own.certificate.as_bytes()).unwrap();
        let public_key = parsed.public_key.clone();
        let certificate = parsed.with_key(own.key.as_bytes(), Path::new("app.pem")).unwrap();
        let endpoint = "https://login.microsoftonline.com/contoso/oauth2/v2.0/token";
        let assertion = || certificate.assertion("the-app", endpoint, now).unwrap().expose_secret().to_owned();
        let (first, second) = (assertion(), assertion());
        let (signed, signature) = first.rsplit_once('.').unwrap();
        let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public_key);
        key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();

        let part = |token: &str, place: usize| -> Value {
            let part = token.split('.').nth(place).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let der = CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap();
        let thumbprint = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &der));
        assert_eq!(part(&first, 0), json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}));
        let claims = part(&first, 1);
        let at = now.as_second();
        let expected = json!({
            "aud": endpoint, "iss": "the-app", "sub": "the-app", "jti": claims["jti"], "iat": at, "nbf": at, "exp": at + 300
        });
        assert_eq!(claims, expected);
        assert_ne!(claims["jti"], part(&second, 1)["jti"], "each one is used once");
        let shown = format!("{certificate:?}");
        assert!(shown.contains(&thumbprint) && !shown.contains("KeyPair"), "{shown}");
    }
}
