//! What the application proves itself with towards the tenant: where its parts are, and what is in them.
//!
//! A [`Credential`] holds places, not secrets: it is read anew before every request for a token, so that a file that
//! somebody replaced counts without a restart. What was read ([`Material`]) stays in the crate; neither `Debug` nor an
//! error shows it.

mod certificate;
pub(crate) mod form;

use std::path::{Path, PathBuf};

use forestsync_runtime::clock;
use forestsync_runtime::secret::{ExposeSecret as _, SecretError, SecretRef, SecretString};

pub(crate) use certificate::ClientCertificate;
pub use certificate::FileProblem;

/// The environment variable in which Kubernetes names the file of the workload's token.
pub(crate) const TOKEN_FILE_ENV: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// How the application proves itself.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A client secret that is given outright and never changes.
    Given(SecretString),
    /// A client secret in a file or an environment variable.
    Secret {
        /// Where it is.
        place: SecretRef,
        /// The folder that `place` is relative to.
        base: PathBuf,
    },
    /// A certificate that is registered with the application, and its RSA key, both in PEM.
    Certificate {
        /// The file with the certificate; of several the first counts.
        certificate: PathBuf,
        /// The file with the key, which may be the same.
        key: PathBuf,
    },
    /// A token of an issuer that the application trusts, such as that of a Kubernetes service account.
    WorkloadIdentity {
        /// The file with the token, which whoever issues it keeps fresh; without one, the file that the variable
        /// `AZURE_FEDERATED_TOKEN_FILE` names.
        token: Option<PathBuf>,
    },
    /// The identity that Azure gives the machine or the app service. With a client id it is that user-assigned one.
    ManagedIdentity,
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Material {
    /// A client secret.
    Secret(SecretString),
    /// A certificate with its key, which sign an assertion for each request.
    Certificate(ClientCertificate),
    /// An assertion that somebody else signed.
    Assertion(SecretString),
    /// Nothing: the machine answers for itself.
    Managed,
}

/// Why a credential cannot be used. It names the key and the place, never what is there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The client secret cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file is unusable.
    #[error("{key}: {} {problem}", path.display())]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        problem: FileProblem,
    },
    /// No file is named, neither by the key nor by the variable.
    #[error("{key}: is not given, and the environment variable {variable} is not set")]
    Unset {
        /// The key.
        key: &'static str,
        /// The variable.
        variable: &'static str,
    },
}

impl CredentialError {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Secret(_) => FileProblem::PUT_IT_THERE,
            Self::File { problem, .. } => problem.hint(),
            Self::Unset { .. } => FileProblem::NoToken.hint(),
        }
    }
}

impl Credential {
    /// What it is called in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Given(_) | Self::Secret { .. } => "client secret",
            Self::Certificate { .. } => "certificate",
            Self::WorkloadIdentity { .. } => "workload identity",
            Self::ManagedIdentity => "managed identity",
        }
    }

    /// Reads all parts once and forgets them, so that what is missing or broken is told before any work begins.
    pub fn probe(&self) -> Result<(), CredentialError> {
        self.read().map(drop)
    }

    /// Reads all parts. Blocks on files.
    pub(crate) fn read(&self) -> Result<Material, CredentialError> {
        self.read_where(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// The same, where the environment is what `var` says.
    fn read_where(&self, var: impl Fn(&str) -> Option<String>) -> Result<Material, CredentialError> {
        match self {
            Self::Given(secret) => Ok(Material::Secret(secret.clone())),
            Self::Secret { place, base } => Ok(Material::Secret(place.read("client_secret", base)?)),
            Self::Certificate { certificate, key } => read_certificate(certificate, key).map(Material::Certificate),
            Self::WorkloadIdentity { token } => {
                let key = "federated_token_file";
                let path = token.clone().or_else(|| var(TOKEN_FILE_ENV).map(PathBuf::from));
                let path = path.ok_or(CredentialError::Unset { key, variable: TOKEN_FILE_ENV })?;
                read_token(key, &path).map(Material::Assertion)
            }
            Self::ManagedIdentity => Ok(Material::Managed),
        }
    }
}

impl Material {
    /// Whether the tenant would see the same. An assertion is another one each time and says nothing new.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Secret(a), Self::Secret(b)) => a.expose_secret() == b.expose_secret(),
            (Self::Certificate(a), Self::Certificate(b)) => a.thumbprint() == b.thumbprint(),
            (Self::Assertion(_), Self::Assertion(_)) | (Self::Managed, Self::Managed) => true,
            _ => false,
        }
    }
}

/// More than any certificate with its chain takes: whatever is larger was named by mistake.
const LARGEST_FILE: u64 = 1024 * 1024;

fn refuse(key: &'static str, path: &Path) -> impl FnOnce(FileProblem) -> CredentialError {
    move |problem| CredentialError::File { key, path: path.to_owned(), problem }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, CredentialError> {
    let size = std::fs::metadata(path).map_err(|e| refuse(key, path)(FileProblem::Read(e)))?.len();
    if size > LARGEST_FILE {
        return Err(refuse(key, path)(FileProblem::Large));
    }
    std::fs::read(path).map_err(|e| refuse(key, path)(FileProblem::Read(e)))
}

fn read_certificate(certificate: &Path, key: &Path) -> Result<ClientCertificate, CredentialError> {
    let (of_certificate, of_key) = ("certificate_file", "private_key_file");
    let pem = read(of_certificate, certificate)?;
    let parsed = certificate::parse(&pem).map_err(refuse(of_certificate, certificate))?;
    let (of_key, private) = if key == certificate { (of_certificate, pem) } else { (of_key, read(of_key, key)?) };
    let whole = parsed.with_key(&private, certificate).map_err(refuse(of_key, key))?;
    whole.is_valid_at(clock::now()).map_err(refuse(of_certificate, certificate))?;
    Ok(whole)
}

fn read_token(key: &'static str, path: &Path) -> Result<SecretString, CredentialError> {
    let bytes = read(key, path)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    // something that is not signed is never sent: it may be the secret of another system
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.is_empty()) {
        return Err(refuse(key, path)(FileProblem::NoToken));
    }
    Ok(text.to_owned().into())
}
