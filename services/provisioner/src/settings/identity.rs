//! Which application of which tenant, in which cloud: as it is written, and for a workload identity, where it is not
//! written, as Kubernetes puts it into the environment.

use forestsync_runtime::config::Findings;
use url::Url;

use super::{CloudForm, TenantForm};
use crate::config::{Cloud, clouds};
use crate::credential::Credential;

const TENANT_ENV: &str = "AZURE_TENANT_ID";
const CLIENT_ENV: &str = "AZURE_CLIENT_ID";
const AUTHORITY_ENV: &str = "AZURE_AUTHORITY_HOST";

/// The older name of the authority in China, which clusters there still put into the environment.
const OLD_CHINA: &str = "https://login.chinacloudapi.cn/";

/// Who asks for tokens, and where.
pub(super) struct Identity {
    pub(super) tenant_id: String,
    /// Empty for the machine's own managed identity.
    pub(super) client_id: String,
    pub(super) authority: Url,
    pub(super) graph: Url,
}

/// What a tenant says of it. What is wrong goes to `found`, under `key`. The environment, which is what `var` says, is
/// looked at only for what a workload identity leaves to it.
pub(super) fn check(
    key: &str,
    tenant: &TenantForm,
    credential: Option<&Credential>,
    var: impl Fn(&str) -> Option<String>,
    found: &mut Findings,
) -> Option<Identity> {
    let is_managed = matches!(credential, Some(Credential::ManagedIdentity { .. }));
    let is_workload = matches!(credential, Some(Credential::WorkloadIdentity { .. }));
    let from = |variable: &'static str| is_workload.then(|| var(variable)).flatten();
    let id = |name: &str, written: &Option<String>, variable: &'static str, hint: &str, found: &mut Findings| {
        let what = if name == "tenant_id" { "tenant" } else { "application id" };
        let id = written.clone().or_else(|| from(variable));
        let message = match &id {
            None if is_workload => format!("is missing, and the environment variable {variable} is not set"),
            None => "is missing".to_owned(),
            Some(id) if !is_id(id) => format!("{id:?} is no {what}"),
            Some(_) => return id,
        };
        found.add(format!("{key}.{name}"), message, hint);
        None
    };
    let hint = "write the directory (tenant) id shown in the Entra admin center, or one of the tenant's domains";
    let tenant_id = id("tenant_id", &tenant.tenant_id, TENANT_ENV, hint, found);
    let client_id = if is_managed && tenant.client_id.is_none() {
        Some(String::new())
    } else {
        let hint = "write the application (client) id of the app registration";
        id("client_id", &tenant.client_id, CLIENT_ENV, hint, found)
    };
    let place = format!("{key}.cloud");
    let endpoints = match (&tenant.cloud, from(AUTHORITY_ENV)) {
        (Some(cloud), _) => check_cloud(&place, cloud, found),
        (None, Some(host)) => check_authority(&place, &host, found),
        (None, None) => check_cloud(&place, &CloudForm::Named("global".to_owned()), found),
    };
    let (authority, graph) = endpoints?;
    Some(Identity { tenant_id: tenant_id?, client_id: client_id?, authority, graph })
}

/// Whether it can be an id or a domain, and stands for one tenant.
fn is_id(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !text.is_empty() && text.bytes().all(is_plain) && !matches!(text, "common" | "organizations" | "consumers")
}

fn check_cloud(key: &str, cloud: &CloudForm, found: &mut Findings) -> Option<(Url, Url)> {
    match cloud {
        CloudForm::Named(name) => {
            let known = clouds();
            if let Some(cloud) = known.iter().find(|c| c.name == name.as_str()) {
                return Some((Url::parse(cloud.authority).ok()?, Url::parse(cloud.graph).ok()?));
            }
            let names: Vec<&str> = known.iter().map(|c| c.name).collect();
            found.add(
                key,
                format!("{name:?} is no cloud"),
                format!("known are {}; or {{ authority = \"https://…\", graph = \"https://…\" }}", names.join(", ")),
            );
            None
        }
        CloudForm::Custom { authority, graph } => {
            let authority = check_https(&format!("{key}.authority"), authority, found);
            let graph = check_https(&format!("{key}.graph"), graph, found);
            authority.zip(graph)
        }
    }
}

/// The cloud that has this authority; of those that share one, the first.
fn check_authority(key: &str, host: &str, found: &mut Findings) -> Option<(Url, Url)> {
    let given = Url::parse(host).ok();
    let is_given =
        |text: &str| Url::parse(text).ok().zip(given.as_ref()).is_some_and(|(a, b)| a.origin() == b.origin());
    let is_of = |cloud: &&Cloud| is_given(cloud.authority) || (cloud.name == "china" && is_given(OLD_CHINA));
    let cloud = clouds().iter().find(is_of);
    if let (Some(authority), Some(cloud)) = (&given, cloud) {
        return Some((authority.clone(), Url::parse(cloud.graph).ok()?));
    }
    let message = format!("the environment variable {AUTHORITY_ENV} names {host:?}, the authority of no known cloud");
    found.add(key, message, "write cloud = { authority = \"https://…\", graph = \"https://…\" }");
    None
}

fn check_https(key: &str, text: &str, found: &mut Findings) -> Option<Url> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.host_str().is_some() => Some(url),
        _ => {
            found.add(
                key,
                format!("{text:?} is no https URL"),
                "write it as in \"https://graph.microsoft.com\": tokens are never sent in the clear",
            );
            None
        }
    }
}
