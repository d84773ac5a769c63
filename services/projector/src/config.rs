//! What a projector is told, and what follows from it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use forestsync_domain::{Dn, ObjectGuid};
use forestsync_log::{StreamName, StreamNameError};
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
}

/// What a projector is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectorConfig {
    /// The configuration's name; names the `desired` and `decisions` streams.
    pub configuration: String,
    /// The directory of the sled database. Its name with `.lock` behind it is the lock against a second process.
    pub directory: PathBuf,
    /// The sources, at least one.
    pub sources: Vec<SourceConfig>,
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
}

/// A configuration that was looked through.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) config: ProjectorConfig,
    pub(crate) sources: Vec<Source>,
    pub(crate) desired: StreamName,
    pub(crate) decisions: StreamName,
    /// Digest of sources and scope.
    pub(crate) scope_digest: String,
    /// Digest of the rules.
    pub(crate) rules_digest: String,
    /// Digest of both, for the context of events.
    pub(crate) digest: String,
    index: BTreeMap<SourceId, usize>,
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
            sources.push(Source { id, config: source.clone() });
        }
        let rules_digest = forestsync_rules::flow::digest();
        let scope_digest = scope_digest(&sources);
        let digest = short_hash(&[&rules_digest, &scope_digest]);
        Ok(Self {
            desired: streams::desired(&config.configuration).parse()?,
            decisions: streams::decisions(&config.configuration).parse()?,
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

fn scope_digest(sources: &[Source]) -> String {
    let lists = |entries: &[ScopeEntry]| {
        let mut keys: Vec<String> = entries.iter().map(scope_key).collect();
        keys.sort_unstable();
        keys
    };
    let mut parts: Vec<String> = sources
        .iter()
        .map(|s| format!("{:?} {:?} {:?}", s.id, lists(&s.config.include), lists(&s.config.exclude)))
        .collect();
    parts.sort_unstable();
    short_hash(&parts.iter().map(String::as_str).collect::<Vec<_>>())
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
