//! `tenant.<configuration>`: what the tenant says of itself, as far as rules depend on it.
//!
//! Few and small records: one when something differs from the last one. Who reads them learns the latest from the end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Envelope, EventBody};

/// An event of a `tenant` stream.
pub type TenantRecord = Envelope<TenantEvent>;

/// Which tenant, and for whom it was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantContext {
    /// The configuration's name.
    pub configuration: String,
    /// The tenant's id.
    pub tenant: String,
}

/// The events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TenantEvent {
    /// The tenant's domains were read, and are not what they were.
    DomainsObserved(DomainsObserved),
}

impl EventBody for TenantEvent {
    type Context = TenantContext;

    fn type_name(&self) -> &'static str {
        match self {
            Self::DomainsObserved(_) => "DomainsObserved",
        }
    }

    fn from_data(kind: &str, data: &str) -> Option<Result<Self, serde_json::Error>> {
        Some(match kind {
            "DomainsObserved" => serde_json::from_str(data).map(Self::DomainsObserved),
            _ => return None,
        })
    }
}

/// The tenant's domains (organization, `verifiedDomains`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DomainsObserved {
    /// The names of the verified ones, in lower case, sorted.
    pub verified: Vec<String>,
    /// The one the tenant began with, `<name>.onmicrosoft.com`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// The one that new users get by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}
