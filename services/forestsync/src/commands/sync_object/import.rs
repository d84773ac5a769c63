//! The first step: which object is meant, and what its directory shows of it now.

use anyhow::{Context as _, Result, bail};
use forestsync_collector::{Forest, LookError, ObjectName};
use forestsync_domain::{Dn, ObjectGuid};
use forestsync_projector::query::{Answer, ObjectView, Query};
use forestsync_projector::{SourceConfig, ask};
use forestsync_schemas::sighting::Sighting;

use super::Task;
use crate::exit::UsageError;
use crate::pipeline::forest_config;

impl Task {
    /// Reads the object from its directory. One that is not there under its name is looked for under the one that it has
    /// now, if the history knows it.
    pub(super) async fn import(&self, text: &str, forest: Option<&str>) -> Result<Sighting> {
        let text = text.trim();
        let name = if let Ok(guid) = text.parse::<ObjectGuid>() {
            ObjectName::Guid(guid)
        } else if let (true, Ok(dn)) = (text.contains('='), text.parse::<Dn>()) {
            ObjectName::Dn(dn)
        } else if text.contains('=') || text.is_empty() {
            let hint = "give its distinguished name, objectGUID, userPrincipalName or sAMAccountName";
            return Err(UsageError::new(format!("{text:?} is no name of an object"), hint).into());
        } else {
            ObjectName::Account(text.to_owned())
        };
        let places = self.places(&name, forest)?;
        let mut last = None;
        for place in &places {
            match self.look(place, &name).await? {
                Ok(sighting) => return Ok(sighting),
                Err(error @ (LookError::NotThere { .. } | LookError::Deleted { .. })) => last = Some((place, error)),
                Err(error) => return Err(error).with_context(|| format!("forest {}", place.forest)),
            }
        }
        let Some((place, error)) = last else { bail!("no naming context is read") };
        let known = self.known(text, &places).await?;
        let Some(known) = known else { return Err(unknown(text, place, &error)) };
        if let (ObjectName::Dn(_), Ok(guid)) = (&name, known.object.parse::<ObjectGuid>())
            && let Some(place) = places.iter().find(|place| place.forest == known.forest)
            && let Ok(sighting) = self.look(place, &ObjectName::Guid(guid)).await?
        {
            return Ok(sighting);
        }
        Err(gone(text, &known, &error))
    }

    /// The naming contexts that the object may lie in.
    fn places(&self, name: &ObjectName, forest: Option<&str>) -> Result<Vec<SourceConfig>> {
        let all = &self.projection.sources;
        if let Some(forest) = forest.filter(|forest| !all.iter().any(|source| source.forest == *forest)) {
            let mut names: Vec<&str> = all.iter().map(|source| source.forest.as_str()).collect();
            names.dedup();
            let hint = format!("the configuration has {}", names.join(", "));
            return Err(UsageError::new(format!("there is no forest {forest}"), hint).into());
        }
        let of_forest = |source: &&SourceConfig| forest.is_none_or(|forest| source.forest == forest);
        let all: Vec<SourceConfig> = all.iter().filter(of_forest).cloned().collect();
        let ObjectName::Dn(dn) = name else { return Ok(all) };
        let depth = |source: &SourceConfig| source.naming_context.rdns().len();
        let within: Vec<&SourceConfig> = all.iter().filter(|source| dn.is_within(&source.naming_context)).collect();
        let Some(deepest) = within.iter().map(|source| depth(source)).max() else {
            let roots: Vec<String> =
                all.iter().map(|source| format!("{} (forest {})", source.naming_context, source.forest)).collect();
            let hint = format!("its name must end with that of a domain that is read: {}", roots.join("; "));
            return Err(UsageError::new(format!("{dn} lies in no domain of this configuration"), hint).into());
        };
        let found: Vec<SourceConfig> = within.into_iter().filter(|source| depth(source) == deepest).cloned().collect();
        if found.len() > 1 {
            let forests: Vec<&str> = found.iter().map(|source| source.forest.as_str()).collect();
            let hint = format!("say which one is meant by --forest: {}", forests.join(", "));
            return Err(UsageError::new(format!("{dn} lies in a domain of several forests"), hint).into());
        }
        Ok(found)
    }

    async fn look(&self, place: &SourceConfig, name: &ObjectName) -> Result<Result<Sighting, LookError>> {
        let forest = self.settings.forests.iter().find(|forest| forest.name() == place.forest);
        let forest = forest.with_context(|| format!("forest {} is not configured", place.forest))?;
        let key = format!("forests.{}", forest.name());
        let password = forest.reading.read_password();
        let password = password.map_err(|error| UsageError::secret(&self.settings.path, &key, &error))?;
        let forest = Forest::new(forest_config(forest, password)).with_context(|| key.clone())?;
        Ok(Box::pin(forest.look(self.log.as_ref(), &place.naming_context, name)).await)
    }

    /// What the history knows by this name.
    async fn known(&self, text: &str, places: &[SourceConfig]) -> Result<Option<ObjectView>> {
        let query = Query::Explain(text.to_owned());
        let Answer::Explain(found) = ask(self.projection.clone(), self.log.clone(), query).await? else {
            return Ok(None);
        };
        let mut objects = found.into_iter().flat_map(|one| one.objects);
        Ok(objects.find(|object| places.iter().any(|place| place.forest == object.forest)))
    }
}

fn unknown(text: &str, place: &SourceConfig, error: &LookError) -> anyhow::Error {
    let message = format!("{text}: {error}, and the history does not know it");
    let hint = format!(
        "correct its name; or the account that reads forest {} may not see it: forestsync check says what it may read",
        place.forest
    );
    Missing { message, hint }.into()
}

fn gone(text: &str, known: &ObjectView, error: &LookError) -> anyhow::Error {
    let message = format!("{text}: {error}; the history has it as {} ({})", known.dn, known.object);
    let hint = match error {
        LookError::Deleted { .. } => {
            "its deletion comes with the next changes that are read from the directory, and nothing else is concluded here"
        }
        _ => {
            "it was deleted, or the account may not see it any more: nothing is concluded from that; deletions come with \
             the changes that are read from the directory"
        }
    };
    Missing { message, hint: hint.to_owned() }.into()
}

/// The directory does not show the object.
#[derive(Debug, thiserror::Error)]
#[error("{message}\n\nhint: {hint}")]
struct Missing {
    message: String,
    hint: String,
}
