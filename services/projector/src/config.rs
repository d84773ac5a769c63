//! What a projector is told, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use forestsync_domain::{Dn, ObjectGuid};
use forestsync_log::{StreamName, StreamNameError};
use forestsync_rules::settings::Rules;
use forestsync_schemas::control::RemovedObjects;
use forestsync_schemas::streams;
use serde::{Deserialize, Serialize};

/// A container named in the scope of a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ScopeEntry {
    /// By name. Resolved to the objectGUID of the first object known by that name, and never again after that.
    Dn(Dn),
    /// By objectGUID.
    Guid(ObjectGuid),
}

impl Pilot {
    fn of(texts: &[String]) -> Self {
        let mut pilot = Self::default();
        for text in texts.iter().map(|text| text.trim()) {
            match text.parse::<ScopeEntry>() {
                Ok(entry) if text.contains('=') || matches!(entry, ScopeEntry::Guid(_)) => pilot.entries.push(entry),
                _ => _ = pilot.accounts.insert(text.to_lowercase()),
            }
        }
        pilot
    }
}

impl fmt::Display for ScopeEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dn(dn) => dn.fmt(f),
            Self::Guid(guid) => guid.fmt(f),
        }
    }
}

impl FromStr for ScopeEntry {
    type Err = forestsync_domain::DnError;

    /// Reads an objectGUID in its text form, or else a distinguished name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().parse() {
            Ok(guid) => Ok(Self::Guid(guid)),
            Err(_) => text.parse().map(Self::Dn),
        }
    }
}

/// A group named in the scope of a forest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupEntry {
    /// The forest that the group is in.
    pub forest: String,
    /// The group.
    pub group: ScopeEntry,
}

/// One naming context of one forest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceConfig {
    /// The forest's configured name.
    pub forest: String,
    /// The naming context.
    pub naming_context: Dn,
    /// The `changes` stream that carries it.
    pub stream: StreamName,
    /// Containers whose objects are in scope; none means all objects of the naming context.
    pub include: Vec<ScopeEntry>,
    /// Containers whose objects are not in scope, unless an included container lies nearer.
    pub exclude: Vec<ScopeEntry>,
    /// Groups whose members are in scope, if their container is; none means that no membership is asked for.
    pub include_groups: Vec<GroupEntry>,
    /// Groups whose members are not in scope, whatever else they are.
    pub exclude_groups: Vec<GroupEntry>,
}

/// What a projector is told.
#[derive(Debug, Clone)]
pub struct ProjectorConfig {
    /// The configuration's name; names the `desired` and `decisions` streams.
    pub configuration: String,
    /// The directory of the sled database. Its name with `.lock` behind it is the lock against a second process.
    pub directory: PathBuf,
    /// The sources, at least one.
    pub sources: Vec<SourceConfig>,
    /// The rules.
    pub rules: Arc<Rules>,
    /// The tenant's id, where it is known: other configurations for the same tenant are asked before an object that left
    /// this one's scope is removed.
    pub tenant: Option<String>,
    /// The configuration was removed, and this is to become of its objects: nothing is wished any more.
    pub removed: Option<RemovedObjects>,
}

/// Why a configuration cannot be projected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There is nothing to read.
    #[error("configuration {0:?} has no source; name at least one naming context")]
    NoSource(String),
    /// A naming context or a stream is named twice.
    #[error("{0} is a source twice; take one of them out")]
    Twice(String),
    /// A group lies nowhere.
    #[error("the group {group} of the scope lies in no domain of forest {forest} that is read; correct it")]
    Group {
        /// The forest.
        forest: String,
        /// The group.
        group: String,
    },
    /// The configuration's name does not make stream names.
    #[error(transparent)]
    Name(#[from] StreamNameError),
}

/// The identity of a source in keys: made of the forest's name and the naming context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SourceId(pub(crate) [u8; 8]);

/// A source with its identity.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) id: SourceId,
    pub(crate) config: SourceConfig,
    /// The place of its forest in the configuration.
    pub(crate) forest: usize,
    /// What is named by name and lies in it: containers, groups, objects of a pilot. By the key of the name.
    pub(crate) named: BTreeMap<String, Dn>,
    /// The other sources that groups of its scope lie in: what they say must be known as a whole.
    pub(crate) group_sources: Vec<SourceId>,
}

/// A configuration that was looked through.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) config: ProjectorConfig,
    pub(crate) sources: Vec<Source>,
    pub(crate) desired: StreamName,
    pub(crate) decisions: StreamName,
    pub(crate) tenant: StreamName,
    pub(crate) control: StreamName,
    /// Digest of sources and scope.
    pub(crate) scope_digest: String,
    /// Digest of the rules.
    pub(crate) rules_digest: String,
    /// Digest of both, for the context of events.
    pub(crate) digest: String,
    /// Whether membership in groups decides anything about scope.
    pub(crate) asks_groups: bool,
    /// Whether objects of other forests may be meant: there are several.
    pub(crate) is_multi_forest: bool,
    /// The objects of the pilot, apart from those that are named by name.
    pub(crate) pilot: Option<Pilot>,
    index: BTreeMap<SourceId, usize>,
}

/// The objects that are synchronized before all others are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pilot {
    /// By name, resolved as containers are; and by objectGUID.
    pub(crate) entries: Vec<ScopeEntry>,
    /// userPrincipalNames and sAMAccountNames, in lower case.
    pub(crate) accounts: BTreeSet<String>,
}

impl Plan {
    pub(crate) fn new(config: ProjectorConfig) -> Result<Self, PlanError> {
        if config.sources.is_empty() {
            return Err(PlanError::NoSource(config.configuration));
        }
        let (mut sources, mut index) = (Vec::new(), BTreeMap::new());
        for (at, source) in config.sources.iter().enumerate() {
            let id = source_id(&source.forest, &source.naming_context);
            let same_stream = sources.iter().any(|s: &Source| s.config.stream == source.stream);
            if index.insert(id, at).is_some() || same_stream {
                return Err(PlanError::Twice(format!("{} of forest {}", source.naming_context, source.forest)));
            }
            let names = |s: &&SourceConfig| s.forest == source.forest;
            let forest = config.sources.iter().position(|s| names(&s)).unwrap_or_default();
            let mut named = BTreeMap::new();
            source.include.iter().chain(&source.exclude).for_each(|entry| name(entry, &mut named));
            sources.push(Source { id, config: source.clone(), forest, named, group_sources: Vec::new() });
        }
        let pilot = config.rules.scope.pilot.as_deref().map(Pilot::of);
        name_groups(&config, &mut sources)?;
        for at in 0..sources.len() {
            let found = group_sources(&config, &sources, at);
            if let Some(source) = sources.get_mut(at) {
                source.group_sources = found;
            }
        }
        name_pilot(pilot.as_ref(), &mut sources);
        let rules_digest = config.rules.digest.clone();
        let scope_digest = scope_digest(&sources, config.removed);
        let digest = short_hash(&[&rules_digest, &scope_digest]);
        Ok(Self {
            desired: streams::desired(&config.configuration).parse()?,
            decisions: streams::decisions(&config.configuration).parse()?,
            tenant: streams::tenant(&config.configuration).parse()?,
            control: streams::control(&config.configuration).parse()?,
            asks_groups: !config.rules.scope.filter.groups().is_empty()
                || config.sources.iter().any(|s| !s.include_groups.is_empty() || !s.exclude_groups.is_empty()),
            is_multi_forest: sources.iter().any(|source| source.forest != 0),
            pilot,
            config,
            sources,
            scope_digest,
            rules_digest,
            digest,
            index,
        })
    }

    /// The place of a source in the configuration; `None` for one that was taken out.
    pub(crate) fn index(&self, id: SourceId) -> Option<usize> {
        self.index.get(&id).copied()
    }

    pub(crate) fn source(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(self.index(id)?)
    }

    /// The sources of the same forest, `first` before the others: where a reference made in `first` may lead.
    pub(crate) fn forest_of(&self, first: SourceId) -> impl Iterator<Item = SourceId> + '_ {
        let forest = self.source(first).map(|s| s.config.forest.as_str());
        let others = self.sources.iter().filter(move |s| s.id != first && Some(s.config.forest.as_str()) == forest);
        std::iter::once(first).chain(others.map(|s| s.id))
    }

    /// The source an object of this name comes from: the one whose naming context is nearest.
    pub(crate) fn source_of(&self, forest: &str, dn: &Dn) -> Option<SourceId> {
        let here = self.sources.iter().filter(|s| s.config.forest == forest && dn.is_within(&s.config.naming_context));
        here.max_by_key(|s| s.config.naming_context.rdns().len()).map(|s| s.id)
    }
}

/// The identity of the source of this forest and naming context.
pub(crate) fn source_id(forest: &str, naming_context: &Dn) -> SourceId {
    let hash = hash(&[forest, &naming_context.key()]);
    let (bytes, _) = hash.as_bytes().split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    SourceId(*bytes)
}

fn scope_digest(sources: &[Source], removed: Option<RemovedObjects>) -> String {
    let lists = |entries: &[ScopeEntry]| {
        let mut keys: Vec<String> = entries.iter().map(scope_key).collect();
        keys.sort_unstable();
        keys
    };
    let groups = |entries: &[GroupEntry]| {
        let mut keys: Vec<String> =
            entries.iter().map(|entry| format!("{} {}", entry.forest, scope_key(&entry.group))).collect();
        keys.sort_unstable();
        keys
    };
    let part = |s: &Source| {
        let SourceConfig { include, exclude, include_groups, exclude_groups, .. } = &s.config;
        let (include, exclude) = (lists(include), lists(exclude));
        format!("{:?} {include:?} {exclude:?} {:?} {:?}", s.id, groups(include_groups), groups(exclude_groups))
    };
    let mut parts: Vec<String> = sources.iter().map(part).collect();
    parts.sort_unstable();
    parts.extend(removed.map(|objects| format!("removed: {}", objects.as_str())));
    short_hash(&parts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Lets each source know the groups that lie in it.
fn name_groups(config: &ProjectorConfig, sources: &mut [Source]) -> Result<(), PlanError> {
    let entries = config.sources.iter().flat_map(|s| s.include_groups.iter().chain(&s.exclude_groups));
    for GroupEntry { forest, group } in entries {
        let lies = |s: &Source| match group {
            ScopeEntry::Dn(dn) => s.config.forest == *forest && dn.is_within(&s.config.naming_context),
            ScopeEntry::Guid(_) => s.config.forest == *forest,
        };
        let here = sources.iter_mut().filter(|s| lies(s)).max_by_key(|s| s.config.naming_context.rdns().len());
        let Some(source) = here else {
            return Err(PlanError::Group { forest: forest.clone(), group: group.to_string() });
        };
        name(group, &mut source.named);
    }
    // a filter says no forest: its groups are looked for wherever their names fit
    for text in config.rules.scope.filter.groups() {
        if let Ok(entry @ ScopeEntry::Dn(_)) = text.parse::<ScopeEntry>() {
            name_entry(&entry, sources);
        }
    }
    Ok(())
}

/// The sources that groups deciding about a source may lie in.
fn group_sources(config: &ProjectorConfig, sources: &[Source], at: usize) -> Vec<SourceId> {
    let Some(own) = sources.get(at) else { return Vec::new() };
    let SourceConfig { include_groups, exclude_groups, .. } = &own.config;
    let forests: BTreeSet<&str> = include_groups.iter().chain(exclude_groups).map(|g| g.forest.as_str()).collect();
    let is_filtered = !config.rules.scope.filter.groups().is_empty();
    let is_meant = |s: &&Source| s.id != own.id && (is_filtered || forests.contains(s.config.forest.as_str()));
    sources.iter().filter(is_meant).map(|s| s.id).collect()
}

fn name_pilot(pilot: Option<&Pilot>, sources: &mut [Source]) {
    for entry in pilot.iter().flat_map(|pilot| &pilot.entries) {
        name_entry(entry, sources);
    }
}

fn name_entry(entry: &ScopeEntry, sources: &mut [Source]) {
    let ScopeEntry::Dn(dn) = entry else { return };
    for source in sources.iter_mut().filter(|s| dn.is_within(&s.config.naming_context)) {
        name(entry, &mut source.named);
    }
}

fn name(entry: &ScopeEntry, named: &mut BTreeMap<String, Dn>) {
    if let ScopeEntry::Dn(dn) = entry {
        named.insert(dn.key(), dn.clone());
    }
}

/// How an entry is known in the store.
pub(crate) fn scope_key(entry: &ScopeEntry) -> String {
    match entry {
        ScopeEntry::Dn(dn) => dn.key(),
        ScopeEntry::Guid(guid) => format!("<{guid}>"),
    }
}

fn hash(parts: &[&str]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize()
}

fn short_hash(parts: &[&str]) -> String {
    hash(parts).to_hex().chars().take(32).collect()
}
