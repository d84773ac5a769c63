//! Whether a tenant can be provisioned, without writing anything to it.

use std::collections::BTreeSet;

use forestsync_runtime::clock;
use forestsync_schemas::desired::CloudClass;
use serde_json::Value;

use crate::config::TenantConfig;
use crate::credential::{Credential, Material};
use crate::graph::{Graph, roles};
use crate::permissions::{Feature, features, least};
use crate::target::{Failure, Outage};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckOutcome {
    /// As it should be.
    Ok,
    /// As it should be, and not for long.
    Warning,
    /// Somebody must do something.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckLine {
    /// What was looked at.
    pub what: String,
    /// Whether it is as it should be.
    pub outcome: CheckOutcome,
    /// What was found.
    pub detail: String,
    /// What to do, where it is not.
    pub hint: Option<String>,
}

impl CheckLine {
    fn ok(what: &str, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), outcome: CheckOutcome::Ok, detail: detail.into(), hint: None }
    }

    fn bad(what: &str, detail: impl Into<String>, hint: &str) -> Self {
        let (detail, hint) = (detail.into(), Some(hint.to_owned()));
        Self { what: what.to_owned(), outcome: CheckOutcome::Failed, detail, hint }
    }

    /// Whether it is as it should be.
    pub fn is_ok(&self) -> bool {
        self.outcome == CheckOutcome::Ok
    }
}

/// Looks at configuration, credential, token, permissions, organization and domains, where objects of these classes are
/// to be synchronized. Stops at the first thing without which the others make no sense.
pub async fn check(config: &TenantConfig, classes: &BTreeSet<CloudClass>) -> Vec<CheckLine> {
    let graph = match Graph::read_only(config) {
        Ok(graph) => graph,
        Err(error) => {
            return vec![CheckLine::bad("tenant configuration", error.to_string(), "correct the configuration")];
        }
    };
    let mut lines = match credential(config) {
        Ok(lines) => lines,
        Err(problem) => return vec![problem],
    };
    let token = match graph.token().await {
        Ok(token) => token,
        Err(outage) => {
            lines.push(CheckLine::bad("token", outage.detail, token_hint(&config.credential)));
            return lines;
        }
    };
    let giver = match config.credential {
        Credential::ManagedIdentity { .. } => "the managed identity of this machine",
        _ => config.authority.as_str(),
    };
    lines.push(CheckLine::ok("token", format!("given by {giver}")));
    match roles(&token) {
        Some(roles) => lines.extend(permissions(&roles, config, classes)),
        None => lines.push(CheckLine::ok("permissions", "the token does not tell; the reads below do")),
    }
    for (class, what, path) in [
        (CloudClass::User, "read users", "/users?$select=id&$top=1"),
        (CloudClass::Group, "read groups", "/groups?$select=id&$top=1"),
        (CloudClass::User, "read deleted users", "/directory/deletedItems/microsoft.graph.user?$select=id&$top=1"),
    ] {
        if classes.contains(&class) {
            lines.push(read(what, graph.get(path).await).map_or_else(|line| line, |_| CheckLine::ok(what, "allowed")));
        }
    }
    let organization = graph.get("/organization?$select=id,displayName,onPremisesSyncEnabled").await;
    lines.push(read("organization", organization).map_or_else(|line| line, |body| describe_organization(&body)));
    let domains = graph.get("/domains?$select=id,isVerified").await;
    lines.push(read("domains", domains).map_or_else(|line| line, |body| describe_domains(&body)));
    lines
}

/// What there is to say of the credential itself: of a certificate, how long it lasts.
fn credential(config: &TenantConfig) -> Result<Vec<CheckLine>, CheckLine> {
    let what = config.credential.name();
    match config.credential.read() {
        Err(error) => Err(CheckLine::bad(what, error.to_string(), error.hint())),
        Ok(Material::Certificate(certificate)) => {
            let (ends, thumbprint) = (certificate.ends(), certificate.thumbprint());
            let mut line = CheckLine::ok("certificate", format!("valid until {ends}, x5t#S256 {thumbprint}"));
            if certificate.ends_soon(clock::now()) {
                let hint =
                    "make a new one, register it with the application, then replace the files: no restart is needed";
                (line.outcome, line.hint) = (CheckOutcome::Warning, Some(hint.to_owned()));
            }
            Ok(vec![line])
        }
        Ok(Material::Secret(_) | Material::Assertion(_) | Material::Managed(_)) => Ok(Vec::new()),
    }
}

fn token_hint(credential: &Credential) -> &'static str {
    match credential {
        Credential::Given(_) | Credential::Secret { .. } => {
            "check tenant_id, client_id, the secret and its expiry, the cloud, and ca_file"
        }
        Credential::Certificate { .. } => {
            "check tenant_id, client_id, that this certificate is registered with the application, the cloud, and ca_file"
        }
        Credential::WorkloadIdentity { .. } => {
            "check tenant_id, client_id, the issuer, subject and audience of the application's federated credential, the \
             cloud, and ca_file"
        }
        Credential::ManagedIdentity { .. } => {
            "check that this machine has a managed identity, and client_id if it has several"
        }
    }
}

/// A line for each feature in use, and one with the least permissions that do for all of them.
fn permissions(roles: &[String], config: &TenantConfig, classes: &BTreeSet<CloudClass>) -> Vec<CheckLine> {
    let held: BTreeSet<&str> = roles.iter().map(String::as_str).collect();
    let line = |feature: &Feature| {
        let what = format!("permission to {}", feature.name);
        if let Some(role) = feature.any.iter().find(|role| held.contains(**role)) {
            return CheckLine::ok(&what, *role);
        }
        let (best, others) = feature.any.split_first().map_or(("", &[][..]), |(best, others)| (*best, others));
        let hint = format!("grant the application permission {best} and consent to it as an administrator");
        let detail = format!("{best} is missing, and so are those that include it: {}", others.join(", "));
        CheckLine::bad(&what, detail, &hint)
    };
    let mut lines: Vec<CheckLine> = features(config, classes).map(line).collect();
    let least = least(features(config, classes));
    let more: Vec<&str> = held.iter().filter(|role| !least.contains(role)).copied().collect();
    let more = if more.is_empty() { String::new() } else { format!("; the token carries also {}", more.join(", ")) };
    lines.push(CheckLine::ok("least permissions", format!("{}{more}", least.join(", "))));
    lines
}

fn read(what: &str, answer: Result<Result<Value, Failure>, Outage>) -> Result<Value, CheckLine> {
    match answer {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(f)) if f.status == Some(403) => {
            Err(CheckLine::bad(what, "denied", "grant the application the permission and consent to it"))
        }
        Ok(Err(f)) => {
            let status = f.status.unwrap_or_default();
            Err(CheckLine::bad(what, format!("the tenant answers {status} {}", f.code), "try again later"))
        }
        Err(outage) => Err(CheckLine::bad(what, outage.detail, "check graph, the network and ca_file")),
    }
}

fn describe_organization(body: &Value) -> CheckLine {
    let Some(organization) = body.pointer("/value/0") else {
        return CheckLine::bad("organization", "the tenant shows none", "check tenant_id");
    };
    let name = organization.get("displayName").and_then(Value::as_str).unwrap_or("without a name");
    let synced = organization.get("onPremisesSyncEnabled").and_then(Value::as_bool).unwrap_or_default();
    let note = if synced { "; Azure AD Connect syncs it too: its objects are left alone" } else { "" };
    CheckLine::ok("organization", format!("{name}{note}"))
}

fn describe_domains(body: &Value) -> CheckLine {
    let all = body.get("value").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let verified = all.iter().filter(|d| d.get("isVerified").and_then(Value::as_bool) == Some(true));
    let names: Vec<&str> = verified.filter_map(|d| d.get("id").and_then(Value::as_str)).collect();
    if names.is_empty() {
        CheckLine::bad("domains", "no domain is verified", "verify the domains that user principal names end in")
    } else {
        CheckLine::ok("domains", format!("verified: {}", names.join(", ")))
    }
}
