//! Who in the tenant has what nobody else may have: names and addresses of all users and groups, page by page, for a
//! comparison before anything is written. Only reads.

use forestsync_rules::hygiene::TenantHolder;
use serde_json::Value;

use crate::config::{ConfigError, TenantConfig};
use crate::graph::Graph;
use crate::target::{Failure, Outage};

/// The lists that are read. 999 is the largest page of both (graph.md section 5).
const LISTS: [(&str, bool); 2] = [
    (
        "/users?$select=id,displayName,userPrincipalName,mail,mailNickname,proxyAddresses,onPremisesImmutableId,\
         onPremisesSyncEnabled",
        true,
    ),
    ("/groups?$select=id,displayName,mail,mailNickname,proxyAddresses,uniqueName,onPremisesSyncEnabled", false),
];

/// Why the lists could not be read to their end. None of it is retried here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HoldersError {
    /// The tenant's configuration is unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tenant refuses.
    #[error("the tenant answers {status} {code} when its users and groups are read; check finds missing permissions")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Graph's code.
        code: String,
    },
    /// There was no answer.
    #[error("the tenant's users and groups cannot be read: {0}")]
    Unanswered(String),
}

impl From<Failure> for HoldersError {
    fn from(failure: Failure) -> Self {
        Self::Refused { status: failure.status.unwrap_or_default(), code: failure.code }
    }
}

impl From<Outage> for HoldersError {
    fn from(outage: Outage) -> Self {
        Self::Unanswered(outage.detail)
    }
}

/// Reads them, users first.
#[derive(Debug)]
pub struct Holders {
    graph: Graph,
    list: usize,
    next: Option<String>,
    /// The property in which groups may carry their anchor, once it was `asked` for.
    extension: Option<String>,
    asked: bool,
}

impl Holders {
    /// Sends nothing yet.
    pub fn new(config: &TenantConfig) -> Result<Self, HoldersError> {
        Ok(Self { graph: Graph::read_only(config)?, list: 0, next: None, extension: None, asked: false })
    }

    /// The next page; nothing after the last one.
    pub async fn next(&mut self) -> Result<Option<Vec<TenantHolder>>, HoldersError> {
        let Some((first, is_user)) = LISTS.get(self.list).copied() else { return Ok(None) };
        if !self.asked {
            (self.extension, self.asked) = (self.graph.anchor_property().await?, true);
        }
        let extension = self.extension.clone().filter(|_| !is_user);
        let more = extension.as_ref().map(|name| format!(",{name}")).unwrap_or_default();
        let path = self.next.take().unwrap_or_else(|| format!("{first}{more}&$top=999"));
        let (values, next) = self.graph.page(path).await??;
        if next.is_none() {
            self.list += 1;
        }
        self.next = next;
        Ok(Some(values.iter().filter_map(|value| holder(value, is_user, extension.as_deref())).collect()))
    }
}

fn holder(value: &Value, is_user: bool, extension: Option<&str>) -> Option<TenantHolder> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let addresses = value.get("proxyAddresses").and_then(Value::as_array);
    Some(TenantHolder {
        id: text("id")?,
        is_user,
        anchor: text(if is_user { "onPremisesImmutableId" } else { "uniqueName" }).or_else(|| text(extension?)),
        is_synced: value.get("onPremisesSyncEnabled").and_then(Value::as_bool).unwrap_or_default(),
        user_principal_name: text("userPrincipalName"),
        mail: text("mail"),
        mail_nickname: text("mailNickname"),
        display_name: text("displayName"),
        proxy_addresses: addresses.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}
