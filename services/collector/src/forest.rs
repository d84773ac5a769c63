//! What all collectors of one forest share in one process: the configuration, the door that a refused account waits at, and
//! what is known of the controllers; and what can be asked about the forest before anything of it is read.

use std::sync::Arc;

use forestsync_domain::Dn;
use forestsync_log::{Log, StreamName};
use forestsync_schemas::changes::StopCause;
use forestsync_schemas::streams;
use ldap3::Scope;
use rustls::ClientConfig;

use crate::collector::Collector;
use crate::config::{ConfigError, ControllerAddress, ForestConfig};
use crate::error::{CollectorError, SearchError, Trouble};
use crate::gate::Gate;
use crate::roster::Roster;
use crate::session::{Query, RootDse, Session};
use crate::transport;

/// systemFlags of a crossRef: FLAG_CR_NTDS_NC and FLAG_CR_NTDS_DOMAIN (MS-ADTS 2.2.10). A partition that is both is a domain
/// of this forest.
const DOMAIN_FLAGS: i64 = 0x1 | 0x2;

/// The most cross references that are looked at.
const MOST: usize = 10_000;

/// A domain of a forest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// The root of its partition (nCName).
    pub naming_context: Dn,
    /// Its DNS name (dnsRoot).
    pub dns_root: String,
    /// Its NetBIOS name, where it has one (nETBIOSName).
    pub netbios_name: Option<String>,
}

/// Why a forest could not be asked. Retryable, unless the cause is credentials: then after a while, which every bind of this
/// [`Forest`] keeps by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("forest {forest}: {detail}; {hint}")]
#[non_exhaustive]
pub struct DiscoverError {
    /// The forest.
    pub forest: String,
    /// What kind of cause it is.
    pub cause: StopCause,
    /// What was seen.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

impl DiscoverError {
    pub(crate) fn new(forest: &str, trouble: &Trouble) -> Self {
        let cause = trouble.cause().unwrap_or(StopCause::Unreachable);
        Self { forest: forest.to_owned(), cause, detail: trouble.to_string(), hint: trouble.hint().to_owned() }
    }
}

/// One forest, for any number of collectors. Clones share everything: a refused password is sent once for all of them.
#[derive(Debug, Clone)]
pub struct Forest {
    pub(crate) config: Arc<ForestConfig>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) roster: Arc<Roster>,
}

impl Forest {
    /// Touches nothing yet.
    pub fn new(config: ForestConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let config = Arc::new(config);
        let gate = Arc::new(Gate::new(config.credentials_retry));
        let roster = Arc::new(Roster::new(&config));
        Ok(Self { config, gate, roster })
    }

    /// The configuration.
    pub fn config(&self) -> &ForestConfig {
        &self.config
    }

    /// The domains of the forest, as the configuration partition of the first controller that answers lists them, sorted by
    /// DNS name. At least one. To be asked again from time to time: domains come and go.
    pub async fn domains(&self) -> Result<Vec<Domain>, DiscoverError> {
        self.domains_or_trouble().await.map_err(|trouble| DiscoverError::new(&self.config.name, &trouble))
    }

    /// The naming contexts that the configuration wants read, in a fixed order: those it names, all domains of the forest, or
    /// the default one of the first controller that answers.
    pub async fn naming_contexts(&self) -> Result<Vec<Dn>, DiscoverError> {
        self.wanted().await.map_err(|trouble| DiscoverError::new(&self.config.name, &trouble))
    }

    /// The stream of a naming context.
    pub fn stream(&self, naming_context: &Dn) -> Result<StreamName, CollectorError> {
        streams::changes(&self.config.name, naming_context)
            .parse()
            .map_err(|source| CollectorError::StreamName { naming_context: naming_context.clone(), source })
    }

    /// Makes the streams of all these naming contexts exist. MUST be called before any of them gets a record, so that
    /// whoever reads the forest's streams knows all of them from the first record on. Fails when the log does, and may be
    /// called again then.
    pub async fn create_streams(&self, log: &dyn Log, naming_contexts: &[Dn]) -> Result<(), CollectorError> {
        let names = naming_contexts.iter().map(|nc| self.stream(nc)).collect::<Result<Vec<_>, _>>()?;
        log.create(&names).await.map_err(CollectorError::Writer)
    }

    /// A collector of these naming contexts, which shares the door and the controllers with all others of this forest. One
    /// for each naming context is as good as one for all. None given: those that the configuration wants, found when it runs.
    pub fn collector(&self, naming_contexts: Vec<Dn>, log: Arc<dyn Log>) -> Collector {
        Collector::of(self.clone(), naming_contexts, log)
    }

    pub(crate) async fn wanted(&self) -> Result<Vec<Dn>, Trouble> {
        if !self.config.naming_contexts.is_empty() {
            return Ok(self.config.naming_contexts.clone());
        }
        if self.config.all_domains {
            return Ok(self.domains_or_trouble().await?.into_iter().map(|domain| domain.naming_context).collect());
        }
        // the rootDSE needs no bind, so a wrong password does not count against the account here
        let (_, _, root) = self.enter(false).await?;
        Ok(vec![root.default_naming_context])
    }

    async fn domains_or_trouble(&self) -> Result<Vec<Domain>, Trouble> {
        let (mut session, _, root) = self.enter(true).await?;
        domains(&mut session, &root).await
    }

    /// A session with the first controller that answers, bound or not.
    async fn enter(&self, bind: bool) -> Result<(Session, ControllerAddress, RootDse), Trouble> {
        let tls = transport::tls_config(self.config.ca_file.as_deref())?;
        let mut last = None;
        for to in self.roster.entrance().await? {
            match self.enter_at(&to, &tls, bind).await {
                Ok((session, root)) => return Ok((session, to, root)),
                Err(trouble) => {
                    tracing::debug!(forest.id = self.config.name, controller = %to, error = %trouble, "the controller cannot be asked about the forest");
                    let refused = trouble.cause() == Some(StopCause::Credentials);
                    last = Some(trouble);
                    if refused {
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| CollectorError::from(ConfigError::NoControllers(self.config.name.clone())).into()))
    }

    async fn enter_at(
        &self,
        to: &ControllerAddress,
        tls: &Arc<ClientConfig>,
        bind: bool,
    ) -> Result<(Session, RootDse), Trouble> {
        let mut session = if bind {
            Session::open(&self.config, &self.gate, to, tls).await?
        } else {
            Session::connect(&self.config, to, tls).await?
        };
        let root = session.root_dse().await?;
        self.roster.learn(to, &root.naming_contexts);
        Ok((session, root))
    }
}

/// The domains of a forest; see [`Forest::domains`].
pub async fn discover(config: &ForestConfig) -> Result<Vec<Domain>, DiscoverError> {
    let refused = |error: ConfigError| DiscoverError::new(&config.name, &CollectorError::from(error).into());
    Forest::new(config.clone()).map_err(refused)?.domains().await
}

/// Reads the cross references of the configuration partition (MS-ADTS 6.1.1.2.1.1).
pub(crate) async fn domains(session: &mut Session, root: &RootDse) -> Result<Vec<Domain>, Trouble> {
    let base = format!("CN=Partitions,{}", root.configuration_naming_context);
    let query = Query {
        base: &base,
        scope: Scope::OneLevel,
        filter: "(objectClass=crossRef)",
        attributes: ["nCName", "dnsRoot", "nETBIOSName", "systemFlags"].map(str::to_owned).to_vec(),
        controls: Vec::new(),
        size_limit: 0,
    };
    let mut found = Vec::new();
    for entry in session.collect(query, MOST).await? {
        let flags: i64 = entry.text("systemFlags").and_then(|text| text.parse().ok()).unwrap_or(0);
        if flags & DOMAIN_FLAGS != DOMAIN_FLAGS {
            continue;
        }
        let name = entry.text("nCName").and_then(|text| text.parse::<Dn>().ok());
        let Some(naming_context) = name.filter(|name| !name.domain_name().is_empty()) else {
            tracing::warn!(
                cross_reference = entry.dn(),
                "a cross reference names no domain that can be read; it is passed over"
            );
            continue;
        };
        let dns_root = entry.text("dnsRoot").map_or_else(|| naming_context.domain_name(), str::to_ascii_lowercase);
        let netbios_name = entry.text("nETBIOSName").map(str::to_owned);
        found.push(Domain { naming_context, dns_root, netbios_name });
    }
    found.sort_by(|a, b| a.dns_root.cmp(&b.dns_root));
    found.dedup_by(|a, b| a.naming_context == b.naming_context);
    if found.is_empty() {
        let text = "the configuration partition shows no domain of the forest".to_owned();
        return Err(SearchError::Result { base, code: 50, text }.into());
    }
    Ok(found)
}
