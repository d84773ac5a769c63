//! Which configuration is in force: the last `ConfigurationActivated` of `control.<configuration>`, unless it was removed
//! since, and what its document means for a projector. The rest of the document belongs to others and is not looked at.

use std::sync::Arc;

use forestsync_domain::{Dn, DnError};
use forestsync_log::{Log, LogReader, ReadError, StreamName};
use forestsync_runtime::config::{ConfigError, Findings, SettingsError, parse};
use forestsync_schemas::control::{ConfigurationActivated, ControlEvent, RemovedObjects};
use forestsync_schemas::{ControlRecord, DecodeError, streams};
use jiff::Timestamp;
use serde::Deserialize;

use forestsync_rules::settings::{Rules, RulesForm};

use crate::config::SourceConfig;
use crate::settings::{ScopeSettings, SourcesError};

/// Records read at a time.
const BATCH: usize = 64;

/// Why what is in force cannot be known. Nothing is done on the strength of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivationError {
    /// The stream cannot be read. Retryable unless it is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record is not understood.
    #[error("stream {stream} at offset {offset}: {source}")]
    Decode {
        /// The stream.
        stream: StreamName,
        /// The record.
        offset: u64,
        /// Why.
        #[source]
        source: DecodeError,
    },
}

/// What was activated last, and whether it was removed since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The last activation.
    pub activated: ConfigurationActivated,
    /// The last removal after it: then nothing of the document is wished any more.
    pub removed: Option<Removal>,
}

/// Somebody removed a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// What becomes of what the tenant holds of it.
    pub objects: RemovedObjects,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub time: Timestamp,
}

/// Follows a control stream.
#[derive(Debug)]
pub struct Activations {
    stream: StreamName,
    reader: Box<dyn LogReader>,
    now: Option<InForce>,
}

impl Activations {
    /// Reads `stream` from its beginning on.
    pub async fn open(log: &dyn Log, stream: &StreamName) -> Result<Self, ActivationError> {
        Ok(Self { stream: stream.clone(), reader: log.reader(stream, 0).await?, now: None })
    }

    /// What is in force by all that is there, if that is news.
    pub async fn latest(&mut self) -> Result<Option<InForce>, ActivationError> {
        let mut is_news = false;
        loop {
            let records = self.reader.poll(BATCH).await?;
            if records.is_empty() {
                return Ok(self.now.clone().filter(|_| is_news));
            }
            for record in records {
                is_news |= self.take(record.offset, &record.value)?;
            }
        }
    }

    /// What is in force once that changes, waiting for it. Cancel-safe.
    pub async fn next(&mut self) -> Result<InForce, ActivationError> {
        loop {
            let Some(record) = self.reader.next(1).await?.pop() else { continue };
            if self.take(record.offset, &record.value)?
                && let Some(now) = &self.now
            {
                return Ok(now.clone());
            }
        }
    }

    /// Takes a record in; whether it changes what is in force.
    fn take(&mut self, offset: u64, value: &[u8]) -> Result<bool, ActivationError> {
        let decoded = ControlRecord::decode(value);
        let place = |source| ActivationError::Decode { stream: self.stream.clone(), offset, source };
        let ControlRecord { time, context, event, .. } = decoded.map_err(place)?;
        match (event, &mut self.now) {
            (ControlEvent::ConfigurationActivated(activated), now) => *now = Some(InForce { activated, removed: None }),
            (ControlEvent::ConfigurationRemoved(event), Some(now)) => {
                let (objects, reason) = (event.objects, event.reason);
                now.removed = Some(Removal { objects, actor: context.actor, reason, time });
            }
            (ControlEvent::ConfigurationRemoved(_), None)
            | (ControlEvent::HeldDecided(_) | ControlEvent::SourceDecided(_), _) => return Ok(false),
        }
        Ok(true)
    }
}

/// What is in force by a control stream, if anything was ever activated there.
pub async fn in_force(log: &dyn Log, stream: &StreamName) -> Result<Option<InForce>, ActivationError> {
    Activations::open(log, stream).await?.latest().await
}

/// A document as far as it is a projector's. Its other keys were looked at when it was activated.
#[derive(Debug, Deserialize)]
struct Document {
    configuration: String,
    #[serde(default)]
    forests: Vec<Forest>,
    #[serde(default)]
    tenant: Tenant,
    #[serde(flatten)]
    rules: RulesForm,
}

#[derive(Debug, Default, Deserialize)]
struct Tenant {
    tenant_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Forest {
    name: String,
    #[serde(default)]
    domains: Domains,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Domains {
    Named(Vec<String>),
    Word(String),
}

impl Default for Domains {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

/// What a configuration projects, before the domains are known that it leaves to the directory.
#[derive(Debug, Clone)]
pub struct Projection {
    forests: Vec<Part>,
    rules: Arc<Rules>,
    tenant: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    name: String,
    /// Empty where the directory says which.
    domains: Vec<Dn>,
    all: bool,
    scope: ScopeSettings,
}

/// Why a document cannot be projected as it is. Somebody must activate another one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// It is none of ours.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// It stands in the stream of another configuration.
    #[error("it is a document of configuration {0:?}; activate the right one")]
    Other(String),
    /// The domains that are there do not fit.
    #[error("forest {forest} was read in several domains; name those that are to be synchronized, of {found}")]
    Several {
        /// The forest.
        forest: String,
        /// What is there.
        found: String,
    },
    /// The scope does not fit the domains that are there.
    #[error("forest {forest}: {source}")]
    Sources {
        /// The forest.
        forest: String,
        /// Why.
        #[source]
        source: SourcesError,
    },
    /// The name of a stream is no domain's.
    #[error("stream {stream} names no domain: {source}")]
    Domain {
        /// The stream.
        stream: StreamName,
        /// Why.
        #[source]
        source: DnError,
    },
}

impl From<ConfigError> for DocumentError {
    fn from(error: ConfigError) -> Self {
        Self::Settings(error.into())
    }
}

impl Projection {
    /// What the document of an activation says.
    pub fn of(configuration: &str, activated: &ConfigurationActivated) -> Result<Self, DocumentError> {
        let place = format!("{} revision {}", streams::control(configuration), activated.revision);
        let place = std::path::Path::new(&place);
        let document: Document = parse(place, &activated.document)?;
        if document.configuration != configuration {
            return Err(DocumentError::Other(document.configuration));
        }
        let mut found = Findings::default();
        if document.forests.is_empty() {
            found.add("forests", "no forest is configured", "add a [[forests]] table for each forest to be read");
        }
        let mut forests = Vec::with_capacity(document.forests.len());
        for forest in document.forests {
            let key = format!("forests.{}", forest.name);
            let (mut domains, mut all) = (Vec::new(), false);
            match &forest.domains {
                Domains::Named(named) => {
                    for text in named {
                        match text.parse::<Dn>() {
                            Ok(dn) => domains.push(dn),
                            Err(error) => found.add(format!("{key}.domains"), error.to_string(), "correct it"),
                        }
                    }
                }
                Domains::Word(word) if word == "all" => all = true,
                Domains::Word(word) => {
                    found.add(format!("{key}.domains"), format!("{word:?} is not known"), "write a list, or \"all\"");
                }
            }
            let scope = ScopeSettings::check(&key, &forest.include, &forest.exclude, (&domains, all), &mut found);
            forests.push(Part { name: forest.name, domains, all, scope });
        }
        let names: Vec<String> = forests.iter().map(|part| part.name.clone()).collect();
        let rules = Rules::compile(&document.rules, &names).unwrap_or_else(|problems| {
            for p in problems {
                found.add(p.key, p.message, p.hint);
            }
            Rules::default()
        });
        let tenant = document.tenant.tenant_id;
        Ok(found.into_result(place, Some(Self { forests, rules: Arc::new(rules), tenant }))?)
    }

    /// The sources, with the domains that are left to the directory taken from the `changes` streams that exist. An
    /// `Err` within `Ok` is the forest of which there is none yet.
    pub fn sources(&self, existing: &[StreamName]) -> Result<Result<Vec<SourceConfig>, String>, DocumentError> {
        let mut sources = Vec::new();
        for part in &self.forests {
            let domains = if part.domains.is_empty() { found(part, existing)? } else { part.domains.clone() };
            if domains.is_empty() {
                return Ok(Err(part.name.clone()));
            }
            let of_forest = part.scope.sources(&part.name, &domains, &self.rules);
            sources.extend(of_forest.map_err(|source| DocumentError::Sources { forest: part.name.clone(), source })?);
        }
        Ok(Ok(sources))
    }

    /// The rules.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The tenant's id, where the document says it.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Whether more domains may come to it by themselves.
    pub fn may_grow(&self) -> bool {
        self.forests.iter().any(|part| part.all)
    }
}

/// The domains of a forest of which there is a stream.
fn found(part: &Part, existing: &[StreamName]) -> Result<Vec<Dn>, DocumentError> {
    let prefix = format!("changes.{}.", part.name);
    let mut domains = Vec::new();
    for stream in existing {
        let Some(name) = stream.as_str().strip_prefix(&prefix) else { continue };
        let text: Vec<String> = name.split('.').map(|label| format!("DC={label}")).collect();
        let domain = text.join(",").parse::<Dn>();
        domains.push(domain.map_err(|source| DocumentError::Domain { stream: stream.clone(), source })?);
    }
    if domains.len() > 1 && !part.all {
        let found = domains.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        return Err(DocumentError::Several { forest: part.name.clone(), found });
    }
    Ok(domains)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activated(document: &str) -> ConfigurationActivated {
        ConfigurationActivated { revision: 3, digest: "d".into(), document: document.into() }
    }

    fn names(streams: &[&str]) -> Vec<StreamName> {
        streams.iter().map(|s| s.parse().unwrap()).collect()
    }

    #[test]
    fn takes_what_is_a_projectors_and_the_domains_there_are() {
        let document = "configuration = \"contoso\"\nunknown = 1\n[[forests]]\nname = \"emea\"\nbind = \"x\"\n\
                        [[forests]]\nname = \"apac\"\ndomains = \"all\"\nexclude = [\"OU=Lab,DC=jp,DC=apac\"]\n\
                        [tenant]\ntenant_id = \"t\"\n";
        let projection = Projection::of("contoso", &activated(document)).unwrap();
        assert!(projection.may_grow());
        assert_eq!(projection.sources(&names(&["changes.emea.emea.example"])).unwrap(), Err("apac".to_owned()));
        let streams = names(&["changes.apac.apac", "changes.apac.jp.apac", "changes.emea.emea.example"]);
        let sources = projection.sources(&streams).unwrap().unwrap();
        let found: Vec<String> = sources.iter().map(|s| s.stream.to_string()).collect();
        assert_eq!(found, ["changes.emea.emea.example", "changes.apac.apac", "changes.apac.jp.apac"]);
        assert_eq!(sources.iter().map(|s| s.exclude.len()).collect::<Vec<_>>(), [0, 0, 1]);
        let twice = names(&["changes.emea.a", "changes.emea.b"]);
        assert!(matches!(projection.sources(&twice), Err(DocumentError::Several { .. })));
    }

    #[test]
    fn a_document_that_cannot_be_meant_says_where_it_stands() {
        let other = activated("configuration = \"other\"\n[[forests]]\nname = \"a\"\n");
        assert!(matches!(Projection::of("contoso", &other), Err(DocumentError::Other(_))));
        let bad = activated("configuration = \"contoso\"\n[[forests]]\nname = \"a\"\ndomains = [\"nonsense\"]\n");
        let said = Projection::of("contoso", &bad).unwrap_err().to_string();
        assert!(said.starts_with("control.contoso revision 3: 1 problem"), "{said}");
        assert!(Projection::of("contoso", &activated("configuration = ")).is_err());
    }
}
