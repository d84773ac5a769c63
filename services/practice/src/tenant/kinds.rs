//! The kinds of directory object and the indexed properties.

use serde::{Deserialize, Serialize};

/// The kinds of directory object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    User,
    Group,
    Contact,
    Device,
}

impl Kind {
    pub(super) const fn slot(self) -> usize {
        self as usize
    }

    /// `User`, as messages name the resource.
    pub(super) const fn resource(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
            Self::Contact => "Contact",
            Self::Device => "Device",
        }
    }

    pub(super) const fn odata_type(self) -> &'static str {
        match self {
            Self::User => "#microsoft.graph.user",
            Self::Group => "#microsoft.graph.group",
            Self::Contact => "#microsoft.graph.orgContact",
            Self::Device => "#microsoft.graph.device",
        }
    }

    /// The entity set.
    pub(super) const fn set(self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Group => "groups",
            Self::Contact => "contacts",
            Self::Device => "devices",
        }
    }
}

/// The indexed properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Upn,
    Mail,
    ImmutableId,
    EmployeeId,
    DisplayName,
    MailNickname,
    UniqueName,
    Proxy,
}

pub(super) const FIELDS: &[(Field, &str)] = &[
    (Field::Upn, "userPrincipalName"),
    (Field::Mail, "mail"),
    (Field::ImmutableId, "onPremisesImmutableId"),
    (Field::EmployeeId, "employeeId"),
    (Field::DisplayName, "displayName"),
    (Field::MailNickname, "mailNickname"),
    (Field::UniqueName, "uniqueName"),
    (Field::Proxy, "proxyAddresses"),
];

impl Field {
    pub(super) fn named(name: &str) -> Option<Self> {
        FIELDS.iter().find(|(_, n)| *n == name).map(|(f, _)| *f)
    }

    /// Anchors keep their case, everything else is compared without.
    pub(super) fn fold(self, value: &str) -> String {
        match self {
            Self::ImmutableId | Self::UniqueName => value.to_owned(),
            _ => value.to_lowercase(),
        }
    }
}
