//! What no two objects may share.

use std::collections::BTreeSet;

use forestsync_domain::{AttributeValue, Attributes};
use serde::{Deserialize, Serialize};

use super::{Finding, RuleId};
use crate::classify::DirectoryClass;
use crate::value::{is_present, texts};

/// What a value that must be unique is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UniqueKind {
    /// userPrincipalName.
    PrincipalName,
    /// mail.
    Mail,
    /// An entry of proxyAddresses.
    ProxyAddress,
    /// mailNickname.
    Nickname,
    /// targetAddress.
    TargetAddress,
    /// sAMAccountName of a user without userPrincipalName.
    AccountName,
}

/// Values clash with those of their own space only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UniqueSpace {
    /// Sign-in names.
    PrincipalName,
    /// Mail addresses, whichever attribute they are in.
    Address,
    /// Nicknames.
    Nickname,
    /// Where mail is forwarded to.
    TargetAddress,
    /// Account names.
    AccountName,
}

impl UniqueKind {
    /// The space in which such values clash.
    pub fn space(self) -> UniqueSpace {
        match self {
            Self::PrincipalName => UniqueSpace::PrincipalName,
            Self::Mail | Self::ProxyAddress => UniqueSpace::Address,
            Self::Nickname => UniqueSpace::Nickname,
            Self::TargetAddress => UniqueSpace::TargetAddress,
            Self::AccountName => UniqueSpace::AccountName,
        }
    }

    fn rule(self) -> RuleId {
        match self {
            Self::PrincipalName => RuleId::PrincipalDuplicate,
            Self::Mail => RuleId::MailDuplicate,
            Self::ProxyAddress => RuleId::ProxyDuplicate,
            Self::Nickname => RuleId::NicknameDuplicate,
            Self::TargetAddress => RuleId::TargetDuplicate,
            Self::AccountName => RuleId::AccountDuplicate,
        }
    }
}

/// The values of an object that must be unique, in the form to compare them in: lower case, no white space at the ends,
/// SMTP addresses without their prefix and others with it. Each once in its space, as the first kind that has it, so that an
/// object's mail does not clash with its own proxyAddresses. Empty for a class that is not synchronized.
///
/// Objects that are joined to one person count as one: that is the caller's to know.
pub fn unique_values(class: DirectoryClass, attributes: &Attributes) -> Vec<(UniqueKind, String)> {
    if !class.is_synchronized() {
        return Vec::new();
    }
    let first = |name| texts(attributes, name).next().map(str::to_lowercase);
    let address = |text: &str| {
        let text = text.to_lowercase();
        text.strip_prefix("smtp:").map(|address| address.trim().to_owned()).unwrap_or(text)
    };
    let mut found = Vec::new();
    found.extend(first("userPrincipalName").map(|value| (UniqueKind::PrincipalName, value)));
    found.extend(first("mail").map(|value| (UniqueKind::Mail, value)));
    found.extend(texts(attributes, "proxyAddresses").map(|value| (UniqueKind::ProxyAddress, address(value))));
    found.extend(first("mailNickname").map(|value| (UniqueKind::Nickname, value)));
    found.extend(first("targetAddress").map(|value| (UniqueKind::TargetAddress, address(&value))));
    // groups of one name in several forests are common, and nothing in Azure AD is made of it
    if class.is_user() && !is_present(attributes, "userPrincipalName") {
        found.extend(first("sAMAccountName").map(|value| (UniqueKind::AccountName, value)));
    }
    let mut seen = BTreeSet::new();
    found.retain(|(kind, value)| !value.is_empty() && seen.insert((kind.space(), value.clone())));
    found
}

/// A user or group of the tenant, as far as others may not have what it has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantHolder {
    /// Its id.
    pub id: String,
    /// A user; else a group.
    pub is_user: bool,
    /// onPremisesImmutableId of a user, uniqueName of a group.
    pub anchor: Option<String>,
    /// Azure AD Connect or cloud sync owns it.
    pub is_synced: bool,
    /// Of a user.
    pub user_principal_name: Option<String>,
    /// The primary address.
    pub mail: Option<String>,
    /// The alias.
    pub mail_nickname: Option<String>,
    /// What it is called.
    pub display_name: Option<String>,
    /// All addresses, with their prefixes.
    pub proxy_addresses: Vec<String>,
}

impl TenantHolder {
    /// Its values, as [`unique_values`] gives them of a directory object.
    pub fn values(&self) -> Vec<(UniqueKind, String)> {
        let mut all = Attributes::new();
        for (name, texts) in [
            ("userPrincipalName", self.user_principal_name.as_slice()),
            ("mail", self.mail.as_slice()),
            ("mailNickname", self.mail_nickname.as_slice()),
            ("proxyAddresses", &self.proxy_addresses),
        ] {
            all.insert(name.to_owned(), texts.iter().map(|text| AttributeValue::from(text.as_str())).collect());
        }
        unique_values(DirectoryClass::User, &all)
    }
}

/// The finding on an object that shares such a value with others; `count` objects have it, this one among them. There is
/// nothing to find unless there are two.
pub fn duplicate(kind: UniqueKind, count: usize) -> Option<Finding> {
    let others = count.checked_sub(1).filter(|others| *others > 0)?;
    let who = if others == 1 { "another object has".to_owned() } else { format!("{others} other objects have") };
    let what = if kind.space() == UniqueSpace::Address { "the same address" } else { "the same value" };
    Some(Finding::new(kind.rule(), 0, format!("{who} {what}")))
}
