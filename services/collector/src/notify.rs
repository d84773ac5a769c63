//! Change notification (MS-ADTS 3.1.1.3.4.1.9): wakes the poll loop, and nothing else. What changed is read by DirSync; if
//! notification fails, polling goes on without it.
//!
//! A connection of its own, because the search never ends. It is made anew from time to time: a controller that forgot it
//! would be silent for ever.

use std::sync::Arc;
use std::time::Duration;

use forestsync_domain::Dn;
use forestsync_runtime::backoff::Backoff;
use forestsync_schemas::changes::StopCause;
use ldap3::Scope;
use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::{ControllerAddress, ForestConfig};
use crate::control;
use crate::error::{ConnectError, Trouble};
use crate::gate::Gate;
use crate::session::{Query, Session};

/// How long one notification search is kept.
const LIFETIME: Duration = Duration::from_mins(15);

/// Runs until it is dropped, or the account is refused: then the main session finds out as well.
pub(crate) async fn run(
    config: Arc<ForestConfig>,
    gate: Arc<Gate>,
    to: ControllerAddress,
    tls: Arc<ClientConfig>,
    nc: Dn,
    wake: Arc<Notify>,
) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
    loop {
        let began = Instant::now();
        match watch(&config, &gate, &to, &tls, &nc, &wake).await {
            Ok(()) => backoff.reset(),
            Err(Trouble::Connect(ConnectError::EmptyPassword { .. })) => return,
            Err(error) if error.cause() == Some(StopCause::Credentials) => return,
            Err(error) => {
                if began.elapsed() > Duration::from_mins(1) {
                    backoff.reset();
                }
                tracing::debug!(forest.id = config.name, naming_context = %nc, error = %error, "no change notification; polling goes on");
                sleep(backoff.next_delay()).await;
            }
        }
        // what changed while nobody watched
        wake.notify_one();
    }
}

async fn watch(
    config: &ForestConfig,
    gate: &Gate,
    to: &ControllerAddress,
    tls: &Arc<ClientConfig>,
    nc: &Dn,
    wake: &Notify,
) -> Result<(), Trouble> {
    let mut session = Session::open(config, gate, to, tls).await?;
    let query = Query {
        base: &nc.to_string(),
        scope: Scope::Subtree,
        filter: "(objectClass=*)",
        attributes: vec!["objectGUID".to_owned()],
        controls: vec![control::notification(), control::show_deleted()],
        size_limit: 0,
    };
    let mut answer = session.search(query).await?.patient(LIFETIME);
    // the controller answers in order: once it answers this, it watches, and what changed before is read by the next pass
    session.usn().await?;
    wake.notify_one();
    let end = Instant::now() + LIFETIME;
    loop {
        match timeout_at(end, answer.next()).await {
            Err(_) => return Ok(()),
            Ok(Ok(Some(_))) => wake.notify_one(),
            Ok(Ok(None)) => {
                let outcome = answer.finish().await;
                let (base, code, text) = (nc.to_string(), outcome.code, outcome.text);
                return Err(crate::error::SearchError::Result { base, code, text }.into());
            }
            Ok(Err(error)) => return Err(error.into()),
        }
    }
}
