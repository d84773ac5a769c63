//! The controllers of a forest as they are known now: those listed, or those that DNS names; and which naming contexts each
//! of them holds, as far as it was asked.
//!
//! - What DNS said holds for its time to live; then it is asked again by whoever needs a controller next. While DNS fails,
//!   what it said last is used.
//! - The order stays as it was while the set is the same, so that taking turns reaches everybody.
//! - The controller that a cursor belongs to stays known when its record has vanished: it is waited for like any other, and
//!   left when `failover_after` is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forestsync_domain::Dn;
use tokio::time::Instant;

use crate::config::{ControllerAddress, ForestConfig};
use crate::locate::{LocateError, Locator};

/// How long it is remembered that a controller does not hold a naming context.
const MEMORY: Duration = Duration::from_mins(10);

/// What is known of one domain's controllers by DNS.
#[derive(Debug, Clone)]
struct Known {
    controllers: Vec<ControllerAddress>,
    until: Instant,
}

/// By host and port: the naming contexts that it holds, and when it said so.
type Held = HashMap<(String, u16), (Vec<Dn>, Instant)>;

/// Shared by everything that reads one forest.
#[derive(Debug)]
pub(crate) struct Roster {
    listed: Vec<ControllerAddress>,
    locator: Option<Locator>,
    located: Mutex<HashMap<String, Known>>,
    held: Mutex<Held>,
}

impl Roster {
    pub(crate) fn new(config: &Arc<ForestConfig>) -> Self {
        Self {
            listed: config.controllers.clone(),
            locator: config.srv.as_ref().map(|srv| Locator::new(srv, config.connect_timeout)),
            located: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// All controllers of the domain that the forest is entered by.
    pub(crate) async fn entrance(&self) -> Result<Vec<ControllerAddress>, LocateError> {
        match &self.locator {
            None => Ok(self.listed.clone()),
            Some(locator) => self.look_up(locator, locator.domain()).await,
        }
    }

    /// The controllers to read `nc` from: without those that are known not to hold it, unless none would be left. `home` is
    /// the name of the one that the cursor belongs to.
    pub(crate) async fn candidates(&self, nc: &Dn, home: Option<&str>) -> Result<Vec<ControllerAddress>, LocateError> {
        let mut all = match &self.locator {
            None => self.listed.clone(),
            Some(locator) => {
                let mut found = self.look_up(locator, &nc.domain_name()).await?;
                if let Some(home) = home
                    && !found.iter().any(|controller| controller.host.eq_ignore_ascii_case(home))
                {
                    found.insert(0, locator.vanished(home));
                }
                found
            }
        };
        let holds: Vec<bool> = all.iter().map(|controller| self.may_hold(controller, nc)).collect();
        if holds.iter().any(|holds| *holds) {
            let mut holds = holds.into_iter();
            all.retain(|_| holds.next().unwrap_or(true));
        }
        Ok(all)
    }

    /// Takes note of what a controller says that it holds.
    pub(crate) fn learn(&self, controller: &ControllerAddress, naming_contexts: &[Dn]) {
        let key = (controller.host.clone(), controller.port);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (_, at)| at.elapsed() < MEMORY);
        held.insert(key, (naming_contexts.to_vec(), Instant::now()));
    }

    fn may_hold(&self, controller: &ControllerAddress, nc: &Dn) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.get(&(controller.host.clone(), controller.port));
        known.is_none_or(|(held, at)| held.contains(nc) || at.elapsed() >= MEMORY)
    }

    async fn look_up(&self, locator: &Locator, domain: &str) -> Result<Vec<ControllerAddress>, LocateError> {
        let known = self.located.lock().unwrap_or_else(PoisonError::into_inner).get(domain).cloned();
        if let Some(known) = &known
            && Instant::now() < known.until
        {
            return Ok(known.controllers.clone());
        }
        match (locator.find(domain).await, known) {
            (Ok(found), known) => {
                let controllers = match known {
                    Some(known) if is_same_set(&known.controllers, &found.controllers) => known.controllers,
                    _ => found.controllers,
                };
                let entry = Known { controllers: controllers.clone(), until: Instant::now() + found.ttl };
                self.located.lock().unwrap_or_else(PoisonError::into_inner).insert(domain.to_owned(), entry);
                Ok(controllers)
            }
            (Err(error), Some(known)) => {
                tracing::warn!(domain, error = %error, hint = error.hint(), "the controllers cannot be looked up; those known are used");
                Ok(known.controllers)
            }
            (Err(error), None) => Err(error),
        }
    }
}

fn is_same_set(a: &[ControllerAddress], b: &[ControllerAddress]) -> bool {
    a.len() == b.len() && a.iter().all(|controller| b.contains(controller))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_hold_it_is_passed_over_unless_nobody_does() {
        let two = ["ldaps://dc01", "ldaps://dc02"].map(|url| url.parse().unwrap()).to_vec();
        let config = Arc::new(ForestConfig::new("lab", two.clone(), "svc", "x".to_owned().into()));
        let roster = Roster::new(&config);
        let (one, other): (Dn, Dn) = ("DC=one".parse().unwrap(), "DC=other".parse().unwrap());
        assert_eq!(roster.candidates(&one, None).await.unwrap(), two);
        roster.learn(&two[0], std::slice::from_ref(&other));
        assert_eq!(roster.candidates(&one, None).await.unwrap(), two[1..]);
        assert_eq!(roster.candidates(&other, None).await.unwrap(), two);
        roster.learn(&two[1], std::slice::from_ref(&other));
        assert_eq!(roster.candidates(&one, None).await.unwrap(), two, "all of them are asked again");
    }
}
