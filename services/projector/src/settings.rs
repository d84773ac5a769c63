//! The projector's part of a configuration file: which containers of each forest are synchronized, and what is wrong with
//! that; and from there to the sources of a projection. Nothing here touches the network.

use forestsync_domain::{Dn, ObjectGuid};
use forestsync_log::StreamName;
use forestsync_rules::settings::Rules;
use forestsync_runtime::config::Findings;
use forestsync_schemas::streams;

use crate::config::{GroupEntry, ScopeEntry, SourceConfig};

/// The scope within one forest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopeSettings {
    /// What is synchronized; empty for everything.
    pub include: Vec<ScopeEntry>,
    /// What is not.
    pub exclude: Vec<ScopeEntry>,
}

/// A container that lies in none of the domains that are read. Not retryable: the configuration must be corrected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {container} lies in none of the forest's domains; correct it, or add its domain to domains")]
pub struct OutsideError {
    /// `include` or `exclude`.
    pub key: &'static str,
    /// The container.
    pub container: Dn,
}

/// Why there are no sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourcesError {
    /// A container lies nowhere.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The forest and a domain give no stream's name.
    #[error(transparent)]
    Name(#[from] forestsync_log::StreamNameError),
    /// A group's name is none.
    #[error("scope.groups: {group:?} is no distinguished name and no objectGUID: {source}")]
    Group {
        /// What stands there.
        group: String,
        /// Why.
        #[source]
        source: forestsync_domain::DnError,
    },
}

/// The groups that decide about a forest's objects: those that include and those that exclude.
fn groups(forest: &str, rules: &Rules) -> Result<(Vec<GroupEntry>, Vec<GroupEntry>), SourcesError> {
    let (mut include, mut exclude) = (Vec::new(), Vec::new());
    for form in &rules.scope.groups {
        let decides = match &form.decides {
            Some(decides) => decides.iter().any(|name| name == forest),
            None => form.forest == forest,
        };
        if decides {
            let group = form.group.parse::<ScopeEntry>();
            let group = group.map_err(|source| SourcesError::Group { group: form.group.clone(), source })?;
            let entry = GroupEntry { forest: form.forest.clone(), group };
            if form.exclude { exclude.push(entry) } else { include.push(entry) }
        }
    }
    Ok((include, exclude))
}

impl ScopeSettings {
    /// Gives a scope its meaning. `domains` are those that are named, empty if that is left to the directory; `all` if those
    /// are all that the forest has. What is wrong goes to `found`, under `key`.
    pub fn check(
        key: &str,
        include: &[String],
        exclude: &[String],
        (domains, all): (&[Dn], bool),
        found: &mut Findings,
    ) -> Self {
        let include = check_scope(&format!("{key}.include"), include, domains, all, found);
        let exclude = check_scope(&format!("{key}.exclude"), exclude, domains, all, found);
        check_coverage(key, domains, &include, &exclude, found);
        Self { include, exclude }
    }

    /// The sources of a forest: each domain with the part of the scope that lies in it.
    pub fn sources(&self, forest: &str, domains: &[Dn], rules: &Rules) -> Result<Vec<SourceConfig>, SourcesError> {
        let (include_groups, exclude_groups) = groups(forest, rules)?;
        let source = |domain: &Dn| {
            let stream: StreamName = streams::changes(forest, domain).parse()?;
            Ok(SourceConfig {
                forest: forest.to_owned(),
                naming_context: domain.clone(),
                stream,
                include: part_of(domain, &self.include, "include", domains)?,
                exclude: part_of(domain, &self.exclude, "exclude", domains)?,
                include_groups: include_groups.clone(),
                exclude_groups: exclude_groups.clone(),
            })
        };
        domains.iter().map(source).collect()
    }
}

/// Those of the entries that lie in `domain` and not in one below it.
fn part_of(
    domain: &Dn,
    entries: &[ScopeEntry],
    key: &'static str,
    domains: &[Dn],
) -> Result<Vec<ScopeEntry>, OutsideError> {
    let mut here = Vec::new();
    for entry in entries {
        match entry {
            ScopeEntry::Guid(_) => here.push(entry.clone()),
            ScopeEntry::Dn(dn) => match owner(domains, dn) {
                Some(owner) if owner == domain => here.push(entry.clone()),
                Some(_) => {}
                None => return Err(OutsideError { key, container: dn.clone() }),
            },
        }
    }
    Ok(here)
}

fn check_scope(key: &str, entries: &[String], domains: &[Dn], all: bool, found: &mut Findings) -> Vec<ScopeEntry> {
    let mut checked = Vec::with_capacity(entries.len());
    for text in entries {
        if let Ok(object) = text.trim().parse::<ObjectGuid>() {
            if domains.len() > 1 || all {
                found.add(
                    key,
                    format!("{text:?}: with several domains it is not clear where this object lies"),
                    "name the container by its distinguished name; forestsync keeps it by objectGUID from then on",
                );
            } else {
                checked.push(ScopeEntry::Guid(object));
            }
            continue;
        }
        match text.parse::<Dn>() {
            Ok(dn) if dn.rdns().is_empty() => {
                found.add(key, "an entry is empty", "remove it, or name a container by distinguished name or objectGUID");
            }
            Ok(dn) if !domains.is_empty() && !domains.iter().any(|d| dn.is_within(d)) => found.add(
                key,
                format!("{text:?} lies in none of the forest's domains"),
                format!("correct it, or add its domain to domains ({})", join(domains)),
            ),
            Ok(dn) => checked.push(ScopeEntry::Dn(dn)),
            Err(error) => found.add(
                key,
                format!("{text:?}: {error}"),
                "name a container by its distinguished name, such as \"OU=Staff,DC=emea,DC=example\", or its objectGUID",
            ),
        }
    }
    checked
}

/// Where a forest includes something, every domain of it must: else a domain nobody listed would come as a whole.
fn check_coverage(key: &str, domains: &[Dn], include: &[ScopeEntry], exclude: &[ScopeEntry], found: &mut Findings) {
    if !include.is_empty() && domains.len() > 1 {
        for domain in domains {
            let covered = include.iter().any(|e| matches!(e, ScopeEntry::Dn(dn) if owner(domains, dn) == Some(domain)));
            if !covered {
                found.add(
                    format!("{key}.include"),
                    format!("nothing is included of the domain {domain}"),
                    format!("add a container of it, or \"{domain}\" for all of it, or take it out of domains"),
                );
            }
        }
    }
    if let Some(ScopeEntry::Dn(dn)) = include.iter().find(|e| exclude.contains(e)) {
        found.add(format!("{key}.exclude"), format!("{dn} is included as well"), "keep it in one of the two lists");
    }
}

/// The domain an object lies in: the longest one that fits, because domains nest.
fn owner<'a>(domains: &'a [Dn], dn: &Dn) -> Option<&'a Dn> {
    domains.iter().filter(|d| dn.is_within(d)).max_by_key(|d| d.rdns().len())
}

fn join(domains: &[Dn]) -> String {
    domains.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
