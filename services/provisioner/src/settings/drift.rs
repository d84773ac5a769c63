//! `[drift]`: what becomes of what others do in the tenant. Without the table nobody looks.

use std::collections::BTreeMap;
use std::time::Duration;

use forestsync_rules::flow::is_target;
use forestsync_runtime::config::{Findings, duration};
use forestsync_schemas::outcomes::DriftPolicy;
use serde::Deserialize;

use crate::config::DriftSettings;

/// `[drift]` as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftForm {
    /// How often the tenant is asked what changed.
    #[serde(default = "default_interval", deserialize_with = "duration")]
    pub interval: Duration,
    /// What becomes of attributes and members that others change.
    #[serde(default)]
    pub default: PolicyForm,
    /// The same of single attributes, by their Graph names; `members` stands for the members of groups.
    #[serde(default)]
    pub attributes: BTreeMap<String, PolicyForm>,
    /// What becomes of objects that others delete.
    #[serde(default)]
    pub deletions: DeletionForm,
}

/// What becomes of what others change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyForm {
    /// It is written back.
    Enforce,
    /// It is said, and left until its source changes.
    #[default]
    Report,
    /// It is right as it is until its source changes.
    Accept,
}

/// What becomes of what others delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletionForm {
    /// It is restored, or made anew.
    Restore,
    /// It is said, and the object stays away until somebody restores it.
    #[default]
    Report,
    /// The object stays away until its source changes.
    Accept,
}

fn default_interval() -> Duration {
    DriftSettings::default().interval
}

impl From<PolicyForm> for DriftPolicy {
    fn from(form: PolicyForm) -> Self {
        match form {
            PolicyForm::Enforce => Self::Enforce,
            PolicyForm::Report => Self::Report,
            PolicyForm::Accept => Self::Accept,
        }
    }
}

impl DriftForm {
    /// Gives the table its meaning. What is wrong goes to `found`, under `key`. `managed` are the attributes that flow, where
    /// they are known here.
    pub fn check(&self, key: &str, managed: Option<&[String]>, found: &mut Findings) -> DriftSettings {
        if self.interval < Duration::from_secs(1) {
            found.add(format!("{key}.interval"), "is less than a second", "use \"60s\" unless you know better");
        }
        for name in self.attributes.keys().filter(|name| *name != DriftSettings::MEMBERS) {
            let of = format!("{key}.attributes");
            if !is_target(name) {
                let hint = "write it as in forestsync rules show, such as jobTitle, or members for those of groups";
                found.add(of, format!("{name:?} is nothing that can be written of a user or a group"), hint);
            } else if managed.is_some_and(|managed| !managed.contains(name)) {
                let hint = "take it out, or let something flow into it: what does not flow is never looked at";
                found.add(of, format!("nothing flows into {name}"), hint);
            }
        }
        DriftSettings {
            interval: self.interval,
            default: self.default.into(),
            attributes: self.attributes.iter().map(|(name, policy)| (name.clone(), (*policy).into())).collect(),
            deletions: match self.deletions {
                DeletionForm::Restore => DriftPolicy::Enforce,
                DeletionForm::Report => DriftPolicy::Report,
                DeletionForm::Accept => DriftPolicy::Accept,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, managed: Option<&[String]>) -> (DriftSettings, Vec<String>) {
        let form: DriftForm = toml::from_str(text).unwrap();
        let mut found = Findings::default();
        let settings = form.check("drift", managed, &mut found);
        let said = found.into_result(std::path::Path::new("f.toml"), Some(())).map_err(|error| error.to_string());
        (settings, said.err().into_iter().collect())
    }

    #[test]
    fn everything_has_a_default() {
        let (settings, said) = check("", None);
        assert_eq!((settings, said), (DriftSettings::default(), Vec::new()));
    }

    #[test]
    fn single_attributes_have_their_own_policy() {
        let text = "interval = \"5m\"\ndefault = \"enforce\"\ndeletions = \"restore\"\n\
                    attributes = { city = \"accept\", members = \"report\", \"extension.badge\" = \"report\" }";
        let (settings, said) = check(text, None);
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(settings.policy("city"), DriftPolicy::Accept);
        assert_eq!(settings.policy("jobTitle"), DriftPolicy::Enforce);
        assert_eq!(settings.policy(DriftSettings::MEMBERS), DriftPolicy::Report);
        assert_eq!(settings.deletions, DriftPolicy::Enforce);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let managed = ["jobTitle".to_owned()];
        let (_, said) =
            check("interval = \"10ms\"\nattributes = { cityy = \"accept\", city = \"accept\" }", Some(&managed));
        let said = said.join("");
        assert!(
            said.contains("drift.interval") && said.contains("cityy") && said.contains("nothing flows into city"),
            "{said}"
        );
    }
}
