//! What the application may prove itself with, and the check of client assertions.
//!
//! An assertion whose issuer is the client is one by certificate: PS256 (or RS256, which Entra ID takes as well), the
//! thumbprint in `x5t#S256`, made out to the token endpoint, used once. Any other one must come from an issuer that was registered.
//! The AADSTS numbers are those of graph.md section 12.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use x509_parser::public_key::PublicKey;

use super::auth::{Refused, refused};
use super::clock;
use super::options::{ClientSecret, FederatedCredential};

/// How far clocks may differ, in seconds.
const SKEW: i64 = 300;

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What is registered with the application.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    pub secrets: Vec<ClientSecret>,
    /// By thumbprint, as it stands in `x5t#S256`.
    pub(super) certificates: BTreeMap<String, Registered>,
    pub federated: Vec<FederatedCredential>,
    /// The `jti` of assertions by certificate that were taken, with their `exp`.
    pub(super) used: BTreeMap<String, i64>,
}

#[derive(Debug)]
pub(super) struct Registered {
    /// The RSA key in DER.
    key: Vec<u8>,
    begins: i64,
    ends: i64,
}

impl Credentials {
    /// Registers a certificate and returns its thumbprint.
    pub(super) fn register(&mut self, pem: &str) -> Result<String> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).context("there is no certificate in PEM")?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).context("the certificate is damaged")?;
        let key = certificate.public_key();
        if !matches!(key.parsed(), Ok(PublicKey::RSA(_))) {
            bail!("the certificate's key is not RSA");
        }
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, &der));
        let registered = Registered {
            key: key.subject_public_key.data.to_vec(),
            begins: certificate.validity().not_before.timestamp(),
            ends: certificate.validity().not_after.timestamp(),
        };
        self.certificates.insert(thumbprint.clone(), registered);
        Ok(thumbprint)
    }

    pub(super) fn forget(&mut self, thumbprint: &str) {
        self.certificates.remove(thumbprint);
    }

    pub(super) fn takes_secret(&self, secret: &str) -> bool {
        self.secrets.iter().any(|known| known.expose() == secret)
    }

    /// Whether an assertion of this type proves the client at this token endpoint.
    pub(super) fn check(&mut self, kind: &str, assertion: &str, client: &str, endpoint: &str) -> Result<(), Refused> {
        if kind != TYPE {
            let text = "The client_assertion_type is missing or not supported.";
            return Err(refused(400, "invalid_request", 900_144, text));
        }
        let jwt = Jwt::parse(assertion).filter(Jwt::is_typed);
        let jwt = jwt.ok_or_else(|| bad(700_027, "The client assertion is not a signed JWT."))?;
        if jwt.claim("iss") == Some(client) {
            self.check_own(&jwt, client, endpoint)
        } else {
            self.check_federated(&jwt)
        }
    }

    fn check_own(&mut self, jwt: &Jwt, client: &str, endpoint: &str) -> Result<(), Refused> {
        let thumbprint = jwt.header.get("x5t#S256").and_then(Value::as_str).unwrap_or_default();
        let Some(registered) = self.certificates.get(thumbprint) else {
            return Err(bad(700_027, "The certificate used to sign the client assertion is not registered."));
        };
        jwt.verify(&registered.key)?;
        if jwt.claim("sub") != Some(client) {
            return Err(bad(700_021, "Client assertion application identifier doesn't match 'client_id' parameter."));
        }
        if !jwt.is_for(endpoint) {
            return Err(bad(700_023, "Client assertion audience claim does not match Realm issuer."));
        }
        jwt.in_time()?;
        let now = clock::now().as_second();
        if now < registered.begins || now >= registered.ends {
            let text = "The provided certificate is not within its specified validity time period.";
            return Err(bad(1_000_502, text));
        }
        self.spend(jwt, now)
    }

    /// Takes an assertion once. Entra ID does not say that it looks; a client that sends one twice is wrong all the same
    /// (RFC 7523 section 3, `jti`).
    fn spend(&mut self, jwt: &Jwt, now: i64) -> Result<(), Refused> {
        self.used.retain(|_, ends| *ends > now);
        let ends = jwt.claims.get("exp").and_then(Value::as_i64).unwrap_or_default();
        match jwt.claim("jti").filter(|id| !id.is_empty()) {
            None => Err(bad(700_027, "The client assertion has no identifier (jti).")),
            Some(id) if self.used.insert(id.to_owned(), ends).is_some() => {
                Err(bad(50_013, "The client assertion was used before."))
            }
            Some(_) => Ok(()),
        }
    }

    fn check_federated(&self, jwt: &Jwt) -> Result<(), Refused> {
        let by_issuer: Vec<_> = self.federated.iter().filter(|f| jwt.claim("iss") == Some(&f.issuer)).collect();
        if by_issuer.is_empty() {
            return Err(bad(700_211, "No matching federated identity record found for presented assertion issuer."));
        }
        let by_subject: Vec<_> = by_issuer.into_iter().filter(|f| jwt.claim("sub") == Some(&f.subject)).collect();
        if by_subject.is_empty() {
            return Err(bad(700_213, "No matching federated identity record found for presented assertion subject."));
        }
        let Some(found) = by_subject.into_iter().find(|f| jwt.is_for(&f.audience)) else {
            return Err(bad(700_212, "No matching federated identity record found for presented assertion audience."));
        };
        jwt.verify(&found.key)?;
        jwt.in_time()
    }
}

fn bad(code: u32, text: &str) -> Refused {
    refused(401, "invalid_client", code, text)
}

/// A signed token, taken apart.
struct Jwt<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    header: Value,
    claims: Value,
}

impl<'a> Jwt<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok();
        let json = |part: &str| serde_json::from_slice::<Value>(&bytes(part)?).ok();
        Some(Self { signed, signature: bytes(signature)?, header: json(header)?, claims: json(claims)? })
    }

    fn is_typed(&self) -> bool {
        self.header.get("typ").and_then(Value::as_str).is_none_or(|kind| kind.eq_ignore_ascii_case("JWT"))
    }

    fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// `aud` is one text or several.
    fn is_for(&self, audience: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(audience)),
            one => one.and_then(Value::as_str) == Some(audience),
        }
    }

    fn verify(&self, key: &[u8]) -> Result<(), Refused> {
        let algorithm = match self.header.get("alg").and_then(Value::as_str) {
            Some("PS256") => &RSA_PSS_2048_8192_SHA256,
            Some("RS256") => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(bad(700_027, "The client assertion is not signed with an algorithm that is accepted.")),
        };
        let verified = UnparsedPublicKey::new(algorithm, key).verify(self.signed.as_bytes(), &self.signature);
        verified.map_err(|_| bad(700_027, "Client assertion contains an invalid signature."))
    }

    fn in_time(&self) -> Result<(), Refused> {
        let time = |name: &str| self.claims.get(name).and_then(Value::as_i64);
        let now = clock::now().as_second();
        let begun = time("nbf").is_none_or(|from| from <= now + SKEW);
        if begun && time("exp").is_some_and(|to| now < to) {
            return Ok(());
        }
        Err(bad(700_024, "Client assertion is not within its valid time range."))
    }
}
