//! The keys of a tenant that say how the application proves itself.

use std::path::{Path, PathBuf};

use forestsync_runtime::config::Findings;
use forestsync_runtime::secret::SecretRef;
use serde::Deserialize;
use url::Url;

use super::Credential;
use crate::settings::TenantForm;

/// How the application proves itself, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// By a client secret.
    ClientSecret,
    /// By a certificate.
    Certificate,
    /// By the token of an issuer that the application trusts.
    WorkloadIdentity,
    /// By the identity of the machine.
    ManagedIdentity,
}

impl CredentialKind {
    const fn name(self) -> &'static str {
        match self {
            Self::ClientSecret => "client_secret",
            Self::Certificate => "certificate",
            Self::WorkloadIdentity => "workload_identity",
            Self::ManagedIdentity => "managed_identity",
        }
    }
}

/// What to write where nothing is written.
const CHOICE: &str = "add client_secret_file = \"…\" or client_secret_env = \"…\"; or certificate_file = \"…\" and \
                      private_key_file = \"…\"; or credential = \"workload_identity\" or \"managed_identity\"; a secret \
                      itself never stands in this file";

/// The credential that a tenant names: exactly one. What is wrong goes to `found`, under `key`; nothing is read, not
/// even the environment, for the file may be meant for another machine.
pub(crate) fn check(key: &str, tenant: &TenantForm, base: &Path, found: &mut Findings) -> Option<Credential> {
    let kind = kind(key, tenant, found)?;
    let file = |file: &Option<PathBuf>| file.as_ref().map(|file| base.join(file));
    match kind {
        CredentialKind::ClientSecret => {
            let place = SecretRef { file: tenant.client_secret_file.clone(), env: tenant.client_secret_env.clone() };
            found.secret(key, "client_secret", &place);
            Some(Credential::Secret { place, base: base.to_owned() })
        }
        CredentialKind::Certificate => {
            let Some(certificate) = file(&tenant.certificate_file) else {
                let hint = "name the PEM file with the certificate that is registered with the application";
                found.add(format!("{key}.certificate_file"), "is missing", hint);
                return None;
            };
            let private = file(&tenant.private_key_file).unwrap_or_else(|| certificate.clone());
            Some(Credential::Certificate { certificate, key: private })
        }
        CredentialKind::WorkloadIdentity => {
            Some(Credential::WorkloadIdentity { token: file(&tenant.federated_token_file) })
        }
        CredentialKind::ManagedIdentity => {
            let endpoint = match &tenant.managed_identity_endpoint {
                None => None,
                Some(text) => Some(check_endpoint(key, text, found)?),
            };
            Some(Credential::ManagedIdentity { endpoint })
        }
    }
}

/// Which kind the keys are of.
fn kind(key: &str, tenant: &TenantForm, found: &mut Findings) -> Option<CredentialKind> {
    let written = [
        ("client_secret_file", tenant.client_secret_file.is_some(), CredentialKind::ClientSecret),
        ("client_secret_env", tenant.client_secret_env.is_some(), CredentialKind::ClientSecret),
        ("certificate_file", tenant.certificate_file.is_some(), CredentialKind::Certificate),
        ("private_key_file", tenant.private_key_file.is_some(), CredentialKind::Certificate),
        ("federated_token_file", tenant.federated_token_file.is_some(), CredentialKind::WorkloadIdentity),
        ("managed_identity_endpoint", tenant.managed_identity_endpoint.is_some(), CredentialKind::ManagedIdentity),
    ];
    let mut written = written.into_iter().filter(|(_, is_written, _)| *is_written);
    let Some((first, _, implied)) = written.next() else {
        if tenant.credential.is_none() {
            found.add(format!("{key}.credential"), "is missing", CHOICE);
        }
        return tenant.credential;
    };
    if let Some(kind) = tenant.credential.filter(|kind| *kind != implied) {
        let message = format!("is {:?}, and {first} is given", kind.name());
        found.add(format!("{key}.credential"), message, format!("take {first} out, or credential"));
        return None;
    }
    if let Some((other, _, _)) = written.find(|(_, _, kind)| *kind != implied) {
        let message = format!("both {first} and {other} are given");
        found.add(format!("{key}.credential"), message, "keep one of them: a tenant has one credential");
        return None;
    }
    Some(implied)
}

/// The root of a metadata service. It is on the machine or its link, and nothing secret is sent there, so plain HTTP does.
fn check_endpoint(key: &str, text: &str, found: &mut Findings) -> Option<Url> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/" => Some(url),
        _ => {
            let hint = "write the root alone, as in \"http://169.254.169.254\"";
            found.add(format!("{key}.managed_identity_endpoint"), format!("{text:?} is no root of a service"), hint);
            None
        }
    }
}
