//! Which permissions of Microsoft Graph a configuration takes, feature by feature, and the least that does for all.
//!
//! From Microsoft's reference, where each request names the least privileged permission and the higher ones that do as
//! well; Graph itself never lists them.

use std::collections::BTreeSet;

use forestsync_schemas::desired::CloudClass;

use crate::config::TenantConfig;

/// When a feature is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    Class(CloudClass),
    Drift(CloudClass),
    Extensions,
    SoftMatch,
    GroupMatch,
}

/// What a configuration does in the tenant.
#[derive(Debug)]
pub(crate) struct Feature {
    /// As in "permission to …".
    pub name: &'static str,
    when: When,
    /// Permissions any one of which suffices, the least one first.
    pub any: &'static [&'static str],
}

/// Writing before reading, so that the permission for the one is counted for the other.
const FEATURES: [Feature; 12] = [
    Feature {
        name: "write users",
        when: When::Class(CloudClass::User),
        any: &["User.ReadWrite.All", "Directory.ReadWrite.All"],
    },
    Feature {
        name: "delete and restore users",
        when: When::Class(CloudClass::User),
        any: &["User.DeleteRestore.All", "User.ReadWrite.All", "Directory.ReadWrite.All"],
    },
    Feature {
        name: "find existing users (soft_match)",
        when: When::SoftMatch,
        any: &["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"],
    },
    Feature {
        name: "see who holds a directory role (soft_match)",
        when: When::SoftMatch,
        any: &["Directory.Read.All", "Directory.ReadWrite.All"],
    },
    Feature {
        name: "write groups",
        when: When::Class(CloudClass::Group),
        any: &["Group.ReadWrite.All", "Directory.ReadWrite.All"],
    },
    Feature {
        name: "delete and restore groups",
        when: When::Class(CloudClass::Group),
        any: &["Group.ReadWrite.All", "Directory.ReadWrite.All"],
    },
    Feature {
        name: "find existing groups (group_match)",
        when: When::GroupMatch,
        any: &[
            "GroupMember.Read.All",
            "Group.Read.All",
            "Group.ReadWrite.All",
            "Directory.Read.All",
            "Directory.ReadWrite.All",
        ],
    },
    Feature {
        name: "see what others do to users (drift)",
        when: When::Drift(CloudClass::User),
        any: &["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"],
    },
    Feature {
        name: "see what others do to groups (drift)",
        when: When::Drift(CloudClass::Group),
        any: &[
            "GroupMember.Read.All",
            "Group.Read.All",
            "Group.ReadWrite.All",
            "Directory.Read.All",
            "Directory.ReadWrite.All",
        ],
    },
    Feature {
        name: "define directory extensions",
        when: When::Extensions,
        // the least one suffices where the application is an owner of the registration that holds them
        any: &["Application.ReadWrite.OwnedBy", "Application.ReadWrite.All", "Directory.ReadWrite.All"],
    },
    Feature {
        name: "read domains",
        when: When::Always,
        any: &["Domain.Read.All", "Domain.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"],
    },
    Feature {
        name: "read the organization",
        when: When::Always,
        any: &["Organization.Read.All", "Organization.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"],
    },
];

/// The features in use where objects of these classes are synchronized.
pub(crate) fn features(
    config: &TenantConfig,
    classes: &BTreeSet<CloudClass>,
) -> impl Iterator<Item = &'static Feature> {
    let soft_match = !config.soft_match.is_empty();
    FEATURES.iter().filter(move |feature| match feature.when {
        When::Always => true,
        When::Class(class) => classes.contains(&class),
        When::Drift(class) => config.drift.is_some() && classes.contains(&class),
        When::Extensions => config.extension_app.is_some(),
        When::SoftMatch => soft_match && classes.contains(&CloudClass::User),
        When::GroupMatch => config.adopts_groups() && classes.contains(&CloudClass::Group),
    })
}

/// The fewest of the least permissions: what one of them covers takes no other.
pub(crate) fn least<'a>(features: impl Iterator<Item = &'a Feature>) -> Vec<&'static str> {
    let mut least: Vec<&'static str> = Vec::new();
    for feature in features {
        if !feature.any.iter().any(|permission| least.contains(permission)) {
            least.extend(feature.any.first());
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DriftSettings, ExtensionApp, SoftMatch};
    use crate::credential::Credential;

    fn config() -> TenantConfig {
        let url = |text: &str| text.parse().unwrap();
        let credential = Credential::ManagedIdentity { endpoint: None };
        TenantConfig::new("t".into(), String::new(), credential, url("https://login/"), url("https://graph/"))
    }

    #[test]
    fn a_configuration_takes_what_it_uses() {
        let names = |config: &TenantConfig, classes: &[CloudClass]| -> Vec<&str> {
            least(features(config, &classes.iter().copied().collect()))
        };
        let mut config = config();
        let tenant = ["Domain.Read.All", "Organization.Read.All"];
        let all = [CloudClass::User, CloudClass::Group];
        assert_eq!(names(&config, &[]), tenant);
        assert_eq!(names(&config, &[CloudClass::Group]), [&["Group.ReadWrite.All"][..], &tenant].concat());
        assert_eq!(names(&config, &all), [&["User.ReadWrite.All", "Group.ReadWrite.All"][..], &tenant].concat());
        config.drift = Some(DriftSettings::default());
        // whoever writes them sees what others do
        assert_eq!(names(&config, &all), [&["User.ReadWrite.All", "Group.ReadWrite.All"][..], &tenant].concat());
        config.soft_match = vec![SoftMatch::by("mail")];
        // which reads domains and organization as well
        assert_eq!(names(&config, &[CloudClass::User]), ["User.ReadWrite.All", "Directory.Read.All"]);
        config.extension_app = Some(ExtensionApp { client_id: String::new(), object_id: String::new() });
        let own = ["User.ReadWrite.All", "Directory.Read.All", "Group.ReadWrite.All", "Application.ReadWrite.OwnedBy"];
        assert_eq!(names(&config, &all), own);
        // whoever writes groups finds them
        config.group_match = vec![SoftMatch::by("mailNickname")];
        assert_eq!(names(&config, &all), own);
    }
}
