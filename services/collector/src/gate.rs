//! The door through which an account goes to the controllers of its forest. Who was refused waits before knocking again,
//! and everybody else with him: directories lock an account after a few wrong passwords, whoever sent them.

use std::time::Duration;

use forestsync_runtime::backoff::Backoff;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::{ControllerAddress, ForestConfig};
use crate::error::ConnectError;
use crate::kerberos::KerberosError;
use crate::results::blames_the_account;
use crate::session::Session;
use crate::transport::Secured;

/// The longest wait.
const LONGEST: Duration = Duration::from_hours(1);

/// Shared by everything that binds in one forest.
#[derive(Debug)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Debug)]
struct State {
    backoff: Backoff,
    closed: Option<(Instant, Refusal)>,
}

/// What the account was told last.
#[derive(Debug, Clone)]
enum Refusal {
    Bind { host: String, account: String, code: u32, text: String },
    Kerberos { host: String, fault: KerberosError },
}

impl Refusal {
    /// If knocking again with the same name and secret may lock the account.
    fn of(error: &ConnectError) -> Option<Self> {
        match error {
            ConnectError::Refused { host, account, code, text } if blames_the_account(*code) => {
                let (host, account, text) = (host.clone(), account.clone(), text.clone());
                Some(Self::Bind { host, account, code: *code, text })
            }
            ConnectError::Kerberos { host, fault } if fault.blames_the_account() => {
                Some(Self::Kerberos { host: host.clone(), fault: fault.clone() })
            }
            _ => None,
        }
    }
}

impl From<Refusal> for ConnectError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Bind { host, account, code, text } => Self::Refused { host, account, code, text },
            Refusal::Kerberos { host, fault } => Self::Kerberos { host, fault },
        }
    }
}

impl Gate {
    /// Open. After the first refusal it is closed for `first`, then each time twice as long, an hour at most.
    pub(crate) fn new(first: Duration) -> Self {
        Self(Mutex::new(State { backoff: Backoff::new(first, LONGEST.max(first)), closed: None }))
    }

    /// Binds, one at a time. While the gate is closed nothing is sent and the last refusal is the answer.
    pub(crate) async fn bind(
        &self,
        stream: Secured,
        to: &ControllerAddress,
        config: &ForestConfig,
    ) -> Result<Session, ConnectError> {
        self.pass(Session::bound(stream, to, config)).await
    }

    async fn pass<T>(&self, bind: impl Future<Output = Result<T, ConnectError>>) -> Result<T, ConnectError> {
        let mut state = self.0.lock().await;
        if let Some((until, refusal)) = &state.closed
            && Instant::now() < *until
        {
            return Err(refusal.clone().into());
        }
        let bound = bind.await;
        match &bound {
            Ok(_) => {
                state.backoff.reset();
                state.closed = None;
            }
            Err(error) => {
                if let Some(refusal) = Refusal::of(error) {
                    let until = Instant::now() + state.backoff.next_delay();
                    state.closed = Some((until, refusal));
                }
            }
        }
        bound
    }

    /// For how long it is still closed.
    pub(crate) async fn closed_for(&self) -> Option<Duration> {
        let state = self.0.lock().await;
        let (until, _) = state.closed.as_ref()?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn refused(code: u32) -> Result<(), ConnectError> {
        Err(ConnectError::Refused { host: "dc".into(), account: "a".into(), code, text: String::new() })
    }

    #[tokio::test]
    async fn a_refusal_keeps_everybody_out_for_longer_each_time() {
        let (gate, knocks) = (Gate::new(Duration::from_mins(1)), AtomicU32::new(0));
        let knock = |answer| async {
            knocks.fetch_add(1, Ordering::AcqRel);
            answer
        };
        assert!(gate.pass(knock(refused(51))).await.is_err());
        assert_eq!(gate.closed_for().await, None, "busy is no refusal of the account");
        for (knocked, longest) in [(2, 60), (3, 120), (4, 240)] {
            assert!(gate.pass(knock(refused(49))).await.is_err());
            assert!(matches!(gate.pass(knock(Ok(()))).await, Err(ConnectError::Refused { code: 49, .. })));
            assert_eq!(knocks.load(Ordering::Acquire), knocked, "nothing is sent while it is closed");
            let left = gate.closed_for().await.unwrap().as_secs();
            assert!((longest - 30..=longest).contains(&left), "{left} of {longest}");
            if let Some((until, _)) = &mut gate.0.lock().await.closed {
                *until = Instant::now();
            }
        }
        assert!(gate.pass(knock(Ok(()))).await.is_ok());
        assert_eq!((gate.closed_for().await, gate.0.lock().await.backoff.failures()), (None, 0));
    }
}
