//! What the application proves itself with towards the tenant: where its parts are, and what is in them.
//!
//! A [`Credential`] holds places, not secrets: it is read anew before every request for a token, so that a file that
//! somebody replaced counts without a restart. What was read ([`Material`]) stays in the crate; neither `Debug` nor an
//! error shows it.

mod certificate;
pub(crate) mod form;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use forestsync_runtime::clock;
use forestsync_runtime::secret::{ExposeSecret as _, SecretError, SecretRef, SecretString};

use secrecy::SecretSlice;
use url::Url;

pub(crate) use certificate::ClientCertificate;
pub use certificate::FileProblem;

/// The environment variable in which Kubernetes names the file of the workload's token.
pub(crate) const TOKEN_FILE_ENV: &str = "AZURE_FEDERATED_TOKEN_FILE";

/// Where every virtual machine in Azure has its metadata service: on its own link, so plain HTTP.
const METADATA_ROOT: &str = "http://169.254.169.254/";

/// The environment variables with which an app service names its endpoint and proves itself there.
const IDENTITY_ENDPOINT_ENV: &str = "IDENTITY_ENDPOINT";
const IDENTITY_HEADER_ENV: &str = "IDENTITY_HEADER";

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
    ManagedIdentity {
        /// The root of the metadata service. Without one, App Service's endpoint where the environment names it, else
        /// the address that every virtual machine in Azure has it at.
        endpoint: Option<Url>,
    },
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
    /// Nothing: the machine answers for itself, if it is asked here.
    Managed(IdentitySource),
}

/// Where a machine asks for its identity.
#[derive(Debug)]
pub(crate) enum IdentitySource {
    /// At the metadata service with this root.
    Metadata(Url),
    /// At the endpoint that App Service (and Functions, and Container Apps) puts into the environment.
    AppService {
        /// `IDENTITY_ENDPOINT`.
        endpoint: Url,
        /// `IDENTITY_HEADER`, which proves that one may ask.
        header: SecretString,
    },
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
    /// An environment variable does not hold what it should.
    #[error("credential: the environment variable {variable} {problem}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        problem: &'static str,
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
            Self::Variable { .. } => {
                "run it on a virtual machine or an app service with a managed identity, or write \
                 managed_identity_endpoint"
            }
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
            Self::ManagedIdentity { .. } => "managed identity",
        }
    }

    /// Reads all parts once and forgets them, so that what is missing or broken is told before any work begins.
    pub fn probe(&self) -> Result<(), CredentialError> {
        self.read().map(drop)
    }

    /// Reads all parts. Blocks on files.
    pub(crate) fn read(&self) -> Result<Material, CredentialError> {
        self.read_where(environment)
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
            Self::ManagedIdentity { endpoint: Some(root) } => {
                Ok(Material::Managed(IdentitySource::Metadata(root.clone())))
            }
            Self::ManagedIdentity { endpoint: None } => identity_source(var).map(Material::Managed),
        }
    }
}

impl Material {
    /// Whether the tenant would see the same. An assertion is another one each time and says nothing new.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Secret(a), Self::Secret(b)) => a.expose_secret() == b.expose_secret(),
            (Self::Certificate(a), Self::Certificate(b)) => a.thumbprint() == b.thumbprint(),
            (Self::Assertion(_), Self::Assertion(_)) | (Self::Managed(_), Self::Managed(_)) => true,
            _ => false,
        }
    }
}

/// What the environment says.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where a machine asks whose file says nothing of it.
fn identity_source(var: impl Fn(&str) -> Option<String>) -> Result<IdentitySource, CredentialError> {
    let refuse = |variable, problem| Err(CredentialError::Variable { variable, problem });
    let other_form = |variable| refuse(variable, "names a form of managed identity that is not supported");
    let Some(endpoint) = var(IDENTITY_ENDPOINT_ENV) else {
        if var("MSI_ENDPOINT").is_some() {
            return other_form("MSI_ENDPOINT");
        }
        let root = Url::parse(METADATA_ROOT);
        return root.map(IdentitySource::Metadata).or_else(|_| refuse(IDENTITY_ENDPOINT_ENV, "is not set"));
    };
    // Azure Arc and Service Fabric
    for variable in ["IMDS_ENDPOINT", "IDENTITY_SERVER_THUMBPRINT"] {
        if var(variable).is_some() {
            return other_form(variable);
        }
    }
    let Some(header) = var(IDENTITY_HEADER_ENV) else { return refuse(IDENTITY_HEADER_ENV, "is not set") };
    match Url::parse(&endpoint) {
        Ok(endpoint) if endpoint.has_host() => Ok(IdentitySource::AppService { endpoint, header: header.into() }),
        _ => refuse(IDENTITY_ENDPOINT_ENV, "is no URL"),
    }
}

/// More than any certificate with its chain takes: whatever is larger was named by mistake.
const LARGEST_FILE: u64 = 1024 * 1024;

fn refuse(key: &'static str, path: &Path) -> impl FnOnce(FileProblem) -> CredentialError {
    move |problem| CredentialError::File { key, path: path.to_owned(), problem }
}

/// The whole file; what it held is wiped from memory afterwards, as it may be a key.
fn read(key: &'static str, path: &Path) -> Result<SecretSlice<u8>, CredentialError> {
    let failed = |error| refuse(key, path)(FileProblem::Read(error));
    let file = std::fs::File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > LARGEST_FILE {
        return Err(refuse(key, path)(FileProblem::Large));
    }
    // of the right size at once, so that growing leaves no copy behind
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(refuse(key, path)(FileProblem::Large));
    }
    Ok(bytes.into())
}

fn read_certificate(certificate: &Path, key: &Path) -> Result<ClientCertificate, CredentialError> {
    let (of_certificate, of_key) = ("certificate_file", "private_key_file");
    let pem = read(of_certificate, certificate)?;
    let parsed = certificate::parse(pem.expose_secret()).map_err(refuse(of_certificate, certificate))?;
    let (of_key, private) = if key == certificate { (of_certificate, pem) } else { (of_key, read(of_key, key)?) };
    let whole = parsed.with_key(private.expose_secret(), certificate).map_err(refuse(of_key, key))?;
    whole.is_valid_at(clock::now()).map_err(refuse(of_certificate, certificate))?;
    Ok(whole)
}

fn read_token(key: &'static str, path: &Path) -> Result<SecretString, CredentialError> {
    let bytes = read(key, path)?;
    let text = std::str::from_utf8(bytes.expose_secret()).unwrap_or_default().trim();
    // something that is not signed is never sent: it may be the secret of another system
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.is_empty()) {
        return Err(refuse(key, path)(FileProblem::NoToken));
    }
    Ok(text.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(credential: &Credential, variables: &[(&str, &str)]) -> Result<Material, CredentialError> {
        credential.read_where(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_managed_identity_is_asked_for_where_the_file_or_the_environment_says() {
        let own = Credential::ManagedIdentity { endpoint: None };
        let source = |credential: &Credential, variables: &[(&str, &str)]| match read_with(credential, variables) {
            Ok(Material::Managed(IdentitySource::Metadata(root))) => format!("metadata {root}"),
            Ok(Material::Managed(IdentitySource::AppService { endpoint, header })) => {
                format!("app service {endpoint} {}", header.expose_secret())
            }
            other => format!("{}", other.unwrap_err()),
        };
        assert_eq!(source(&own, &[]), "metadata http://169.254.169.254/");
        let app_service = [(IDENTITY_ENDPOINT_ENV, "http://127.0.0.1:41/msi/token"), (IDENTITY_HEADER_ENV, "word")];
        assert_eq!(source(&own, &app_service), "app service http://127.0.0.1:41/msi/token word");
        let written = Credential::ManagedIdentity { endpoint: Some("http://127.0.0.1:7/".parse().unwrap()) };
        assert_eq!(source(&written, &app_service), "metadata http://127.0.0.1:7/");
        let with_older_form = [app_service[0], app_service[1], ("MSI_ENDPOINT", "x")];
        assert_eq!(source(&own, &with_older_form), source(&own, &app_service), "App Service sets both");
        assert!(source(&own, &app_service[..1]).contains("IDENTITY_HEADER is not set"));
        assert!(source(&own, &[("MSI_ENDPOINT", "x")]).contains("MSI_ENDPOINT names a form"));
        let arc = [app_service[0], ("IMDS_ENDPOINT", "http://localhost:40342")];
        assert!(source(&own, &arc).contains("IMDS_ENDPOINT names a form"));
        let damaged = [(IDENTITY_ENDPOINT_ENV, "nowhere"), (IDENTITY_HEADER_ENV, "word")];
        assert!(source(&own, &damaged).contains("IDENTITY_ENDPOINT is no URL"));
    }

    #[test]
    fn a_workloads_token_is_where_the_file_or_the_environment_says() {
        let folder = tempfile::tempdir().unwrap();
        let (named, other) = (folder.path().join("named"), folder.path().join("other"));
        std::fs::write(&named, "a.b.named\n").unwrap();
        std::fs::write(&other, "a.b.other\n").unwrap();
        let read = |token: Option<&PathBuf>, variables: &[(&str, &str)]| match read_with(
            &Credential::WorkloadIdentity { token: token.cloned() },
            variables,
        )? {
            Material::Assertion(token) => Ok(token.expose_secret().to_owned()),
            other => panic!("{other:?}"),
        };
        let variables = [(TOKEN_FILE_ENV, other.to_str().unwrap())];
        assert_eq!(read(None, &variables).unwrap(), "a.b.other");
        assert_eq!(read(Some(&named), &variables).unwrap(), "a.b.named");
        assert!(matches!(read(None, &[]), Err(CredentialError::Unset { .. })));
        std::fs::write(&named, "hunter2\n").unwrap();
        let refused: CredentialError = read(Some(&named), &[]).unwrap_err();
        let said = format!("{refused} {refused:?}");
        assert!(said.contains("federated_token_file") && said.contains("named"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
