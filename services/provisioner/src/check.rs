//! Whether a tenant can be provisioned, without writing anything to it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::config::TenantConfig;
use crate::graph::{Graph, roles};
use crate::target::{Failure, Outage};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckLine {
    /// What was looked at.
    pub what: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do, where it is not.
    pub hint: Option<String>,
}

impl CheckLine {
    fn ok(what: &str, detail: impl Into<String>) -> Self {
        Self { what: what.to_owned(), ok: true, detail: detail.into(), hint: None }
    }

    fn bad(what: &str, detail: impl Into<String>, hint: &str) -> Self {
        Self { what: what.to_owned(), ok: false, detail: detail.into(), hint: Some(hint.to_owned()) }
    }
}

/// Permissions any one of which suffices, by what they are for.
const NEEDED: [(&str, &[&str]); 5] = [
    ("write users", &["User.ReadWrite.All", "Directory.ReadWrite.All"]),
    ("write groups", &["Group.ReadWrite.All", "Directory.ReadWrite.All"]),
    ("delete and restore users", &["User.DeleteRestore.All", "User.ReadWrite.All", "Directory.ReadWrite.All"]),
    ("read domains", &["Domain.Read.All", "Domain.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"]),
    ("read the organization", &["Organization.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"]),
];

/// What defining directory extensions takes, where there are any.
const EXTENSIONS: (&str, &[&str]) = (
    "define directory extensions",
    &["Application.ReadWrite.All", "Application.ReadWrite.OwnedBy", "Directory.ReadWrite.All"],
);

/// Looks at configuration, token, permissions, organization and domains. Stops at the first thing without which the
/// others make no sense.
pub async fn check(config: &TenantConfig) -> Vec<CheckLine> {
    let graph = match Graph::read_only(config) {
        Ok(graph) => graph,
        Err(error) => {
            return vec![CheckLine::bad("tenant configuration", error.to_string(), "correct the configuration")];
        }
    };
    let mut lines = Vec::new();
    let token = match graph.token().await {
        Ok(token) => token,
        Err(outage) => {
            let hint = "check tenant_id, client_id, the secret and its expiry, the cloud, and ca_file";
            return vec![CheckLine::bad("token", outage.detail, hint)];
        }
    };
    lines.push(CheckLine::ok("token", format!("given by {}", config.authority)));
    match roles(&token) {
        Some(roles) => lines.extend(permissions(&roles, config.extension_app.is_some())),
        None => lines.push(CheckLine::ok("permissions", "the token does not tell; the reads below do")),
    }
    for (what, path) in [
        ("read users", "/users?$select=id&$top=1"),
        ("read groups", "/groups?$select=id&$top=1"),
        ("read deleted users", "/directory/deletedItems/microsoft.graph.user?$select=id&$top=1"),
    ] {
        lines.push(read(what, graph.get(path).await).map_or_else(|line| line, |_| CheckLine::ok(what, "allowed")));
    }
    let organization = graph.get("/organization?$select=id,displayName,onPremisesSyncEnabled").await;
    lines.push(read("organization", organization).map_or_else(|line| line, |body| describe_organization(&body)));
    let domains = graph.get("/domains?$select=id,isVerified").await;
    lines.push(read("domains", domains).map_or_else(|line| line, |body| describe_domains(&body)));
    lines
}

fn permissions(roles: &[String], has_extensions: bool) -> Vec<CheckLine> {
    let held: BTreeSet<&str> = roles.iter().map(String::as_str).collect();
    let line = |(what, any): (&str, &[&str])| {
        let what = format!("permission to {what}");
        if let Some(role) = any.iter().find(|role| held.contains(**role)) {
            return CheckLine::ok(&what, *role);
        }
        let best = any.first().copied().unwrap_or_default();
        let hint = format!("grant the application permission {best} and consent to it as an administrator");
        CheckLine::bad(&what, "the token does not carry it", &hint)
    };
    NEEDED.into_iter().chain(has_extensions.then_some(EXTENSIONS)).map(line).collect()
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
