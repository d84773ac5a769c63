//! One object, read now, as its collector would see it: with the same account, the same attributes, the same decoding.
//!
//! - A look writes nothing and concludes nothing. An object that it does not show is not deleted because of that: deletions
//!   come with the changes of the naming context, and with full reads.
//! - What of it is news is taken in by the collector that owns the stream ([`crate::CollectorHandle::take_in`]): it reads
//!   the object once more, and the changes of the naming context with it, so that its cursor covers both.

use std::collections::BTreeSet;

use forestsync_domain::{Dn, ObjectGuid, Usn, syntax};
use forestsync_log::Log;
use forestsync_schemas::changes::{Controller, StopCause};
use forestsync_schemas::sighting::Sighting;
use ldap3::Scope;

use crate::config::ControllerAddress;
use crate::control;
use crate::entry::{Changes, Entry, Wanted};
use crate::error::{SearchError, Trouble};
use crate::forest::Forest;
use crate::pass::{Borders, is_of_read_class};
use crate::ranges;
use crate::rights;
use crate::session::{Query, RootDse, Session};
use crate::usn::generalized_time;
use crate::{tail, transport};

/// The most values of one link that a look shows.
const MOST_VALUES: usize = 20_000;

/// How an object is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectName {
    /// By its distinguished name.
    Dn(Dn),
    /// By its objectGUID.
    Guid(ObjectGuid),
    /// By its userPrincipalName or sAMAccountName.
    Account(String),
}

/// Why there is nothing to see.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    /// Nothing of that name is there, or the account does not see it: a directory gives the same answer to both.
    #[error("{controller} shows no such object")]
    NotThere {
        /// Who was asked.
        controller: String,
    },
    /// It is a tombstone.
    #[error("{controller} says that it is deleted")]
    Deleted {
        /// Who was asked.
        controller: String,
        /// The tombstone's name.
        dn: Dn,
    },
    /// It belongs to no object of the naming context, such as to the container of tombstones.
    #[error("{dn} is none of the objects of {naming_context} that are read")]
    Foreign {
        /// Its name.
        dn: Dn,
        /// The naming context.
        naming_context: Dn,
    },
    /// Several objects have this account name.
    #[error("several objects have this name: {}", .0.join("; "))]
    Ambiguous(Vec<String>),
    /// No controller can be asked.
    #[error("{detail}; {hint}")]
    Unavailable {
        /// What kind of cause it is.
        cause: StopCause,
        /// What was seen.
        detail: String,
        /// What to do.
        hint: String,
    },
}

impl From<Trouble> for LookError {
    fn from(trouble: Trouble) -> Self {
        let cause = trouble.cause().unwrap_or(StopCause::Unreachable);
        Self::Unavailable { cause, detail: trouble.to_string(), hint: trouble.hint().to_owned() }
    }
}

impl From<SearchError> for LookError {
    fn from(error: SearchError) -> Self {
        Trouble::from(error).into()
    }
}

impl Forest {
    /// Reads one object of a naming context now. The controller that the stream's cursor belongs to is asked first: that
    /// one is read by the collector, and another one may be behind it.
    pub async fn look(&self, log: &dyn Log, naming_context: &Dn, name: &ObjectName) -> Result<Sighting, LookError> {
        let (mut session, root, host) = self.approach(log, naming_context).await?;
        let mut wanted = Wanted::new(&self.config.attributes);
        let unreadable = rights::unreadable(&mut session, &root.schema_naming_context, &wanted).await?;
        wanted.set_unreadable(unreadable);
        let base = match name {
            ObjectName::Dn(dn) => dn.to_string(),
            ObjectName::Guid(guid) => format!("<GUID={guid}>"),
            ObjectName::Account(account) => find(&mut session, naming_context, account, &host).await?,
        };
        let Some((entry, changes, whole)) = read(&mut session, &wanted, &base).await? else {
            return Err(absent(&mut session, &base, host).await?);
        };
        if Borders::new(naming_context, &root).is_foreign(&changes) {
            return Err(LookError::Foreign { dn: changes.dn, naming_context: naming_context.clone() });
        }
        let (_, service) = session.usn().await?;
        let invocation_id = session.invocation_id(&service).await?;
        let controller = Controller { dns_name: root.dns_host_name.clone(), invocation_id };
        Ok(self.sighting(naming_context, controller, &wanted, (&entry, changes, whole)))
    }

    fn sighting(
        &self,
        naming_context: &Dn,
        controller: Controller,
        wanted: &Wanted,
        (entry, changes, whole): (&Entry, Changes, bool),
    ) -> Sighting {
        let is_read = is_of_read_class(&changes);
        let Changes { object, dn, parent, set, links: found, withheld, .. } = changes;
        let mut readable: BTreeSet<String> =
            wanted.clearable().filter(|name| !withheld.iter().any(|w| w == name)).map(str::to_owned).collect();
        // what a directory does not count among what an object has
        readable.remove("name");
        let (mut links, mut long_links) = (std::collections::BTreeMap::new(), Vec::new());
        for link in syntax::LINKS.iter().filter(|name| wanted.asks_for(name) && wanted.is_readable(name)) {
            let values = found.iter().find(|links| links.attribute.eq_ignore_ascii_case(link));
            match values {
                Some(values) if values.added.len() > MOST_VALUES || !(values.whole && whole) => {
                    long_links.push((*link).to_owned());
                }
                Some(values) => drop(links.insert((*link).to_owned(), values.added.clone())),
                None => drop(links.insert((*link).to_owned(), Vec::new())),
            }
        }
        Sighting {
            forest: self.config.name.clone(),
            naming_context: naming_context.clone(),
            parent: parent.filter(|_| dn != *naming_context),
            object,
            dn,
            controller,
            usn_changed: entry.text("uSNChanged").and_then(|text| text.parse().ok()).map(Usn),
            when_changed: entry.text("whenChanged").and_then(generalized_time),
            attributes: set,
            links,
            long_links,
            readable,
            is_read,
        }
    }

    /// A session with a controller that holds the naming context.
    async fn approach(&self, log: &dyn Log, nc: &Dn) -> Result<(Session, RootDse, String), LookError> {
        let stream = self.stream(nc).map_err(Trouble::from)?;
        let end = log.tail(&stream).await.map_err(Trouble::ReadLog)?;
        let position = tail::read(log, &stream, end).await?;
        let home = position.cursor.map(|cursor| cursor.controller.dns_name);
        let mut all = self.roster.candidates(nc, home.as_deref()).await.map_err(Trouble::from)?;
        let is_home = |to: &ControllerAddress| home.as_ref().is_some_and(|home| to.host.eq_ignore_ascii_case(home));
        all.sort_by_key(|to| !is_home(to));
        let tls = transport::tls_config(self.config.ca_file.as_deref()).map_err(Trouble::from)?;
        let mut last = None;
        for to in all {
            let opened = async {
                let mut session = Session::open(&self.config, &self.gate, &to, &tls).await?;
                let root = session.root_dse().await?;
                self.roster.learn(&to, &root.naming_contexts);
                if root.naming_contexts.contains(nc) {
                    return Ok((session, root));
                }
                Err(Trouble::NotHosted { host: to.host.clone(), naming_context: nc.clone() })
            };
            match opened.await {
                Ok((session, root)) => return Ok((session, root, to.host)),
                Err(trouble) => {
                    let refused = trouble.cause() == Some(StopCause::Credentials);
                    last = Some(trouble);
                    if refused {
                        break;
                    }
                }
            }
        }
        Err(last.map_or_else(
            || LookError::Unavailable {
                cause: StopCause::Unreachable,
                detail: format!("forest {} has no controller", self.config.name),
                hint: "name its controllers in the configuration".to_owned(),
            },
            LookError::from,
        ))
    }
}

/// Reads an object by name: the entry, what it says, and whether all of that could be had.
pub(crate) async fn read(
    session: &mut Session,
    wanted: &Wanted,
    base: &str,
) -> Result<Option<(Entry, Changes, bool)>, Trouble> {
    let names = wanted.image_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let entry = match session.read(base, &names, vec![control::extended_dn()]).await {
        Ok(entry) => entry,
        // a name that is none, or of which the account may know nothing
        Err(SearchError::Result { code: 34 | 50, .. }) => None,
        Err(error) => return Err(error.into()),
    };
    // one that shows nothing of itself cannot be told from others
    let Some(entry) = entry.filter(|entry| entry.values("objectGUID").next().is_some()) else { return Ok(None) };
    let mut changes = Changes::image(&entry, wanted)?;
    let whole = ranges::complete(session, &mut changes, entry.text("uSNChanged").map(str::to_owned)).await?;
    Ok(Some((entry, changes, whole)))
}

/// Why an object is not to be seen.
async fn absent(session: &mut Session, base: &str, controller: String) -> Result<LookError, LookError> {
    let found = session.read(base, &["isDeleted"], vec![control::show_deleted()]).await;
    Ok(match found {
        Ok(Some(entry)) if entry.text("isDeleted") == Some("TRUE") => {
            let dn = entry.dn().parse().unwrap_or_default();
            LookError::Deleted { controller, dn }
        }
        _ => LookError::NotThere { controller },
    })
}

/// The name of the object with this account name.
async fn find(session: &mut Session, nc: &Dn, account: &str, host: &str) -> Result<String, LookError> {
    let base = nc.to_string();
    let name = ldap3::ldap_escape(account);
    let query = Query {
        base: &base,
        scope: Scope::Subtree,
        filter: &format!("(|(userPrincipalName={name})(sAMAccountName={name}))"),
        attributes: vec!["objectGUID".to_owned()],
        controls: Vec::new(),
        size_limit: 3,
    };
    let found: Vec<String> = session.collect(query, 3).await?.iter().map(|entry| entry.dn().to_owned()).collect();
    match found.as_slice() {
        [] => Err(LookError::NotThere { controller: host.to_owned() }),
        [one] => Ok(one.clone()),
        _ => Err(LookError::Ambiguous(found)),
    }
}
