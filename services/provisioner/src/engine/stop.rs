//! Saying in the outcomes that the tenant takes nothing, so that it is known without this process as well.

use std::time::Duration;

use forestsync_schemas::outcomes::{ExportResumed, ExportStopped, OutcomeEvent, StopCause};
use tokio::time::Instant;

use super::Engine;

/// How long an outage lasts before it is written down.
const PATIENCE: Duration = Duration::from_secs(30);

impl Engine {
    /// Writes a stop down once per cause, a denial at once and an outage when it lasts; and its end.
    pub(super) fn report_stop(&mut self) {
        if self.outage.is_read() && self.is_idle() {
            // what could not be written is not to be written any more, or turned out to be
            self.outage.end();
        }
        let now = Instant::now();
        let denial = self.denial.lasting(Duration::ZERO, now);
        let stop = denial.or_else(|| self.outage.lasting(PATIENCE, now)).cloned();
        let event = match (stop, self.stop_said) {
            (Some((cause, detail)), said) if said != Some(cause) => {
                (self.stop_said, self.answers, self.writes) = (Some(cause), false, false);
                let hint = hint(cause).to_owned();
                OutcomeEvent::ExportStopped(ExportStopped { cause, detail, hint })
            }
            (None, Some(said)) if self.is_over(said) => {
                self.stop_said = None;
                OutcomeEvent::ExportResumed(ExportResumed {})
            }
            _ => return,
        };
        self.say(event);
    }

    /// Whether what was said before is seen to hold no longer, also by a process that came after it.
    fn is_over(&self, said: StopCause) -> bool {
        let proof = if said == StopCause::NotPermitted { self.writes } else { self.answers };
        let quiet = self.outage.detail().is_none() && self.denial.detail().is_none();
        quiet && (proof || self.is_idle())
    }
}

/// What to do about it.
pub(super) fn hint(cause: StopCause) -> &'static str {
    match cause {
        StopCause::NotAuthenticated => {
            "check tenant, application and credential, and whether it has expired; `forestsync check` tells more"
        }
        StopCause::NotPermitted => {
            "grant the application its permissions and consent to them; `forestsync check` tells which are missing"
        }
        StopCause::NotAvailable => "check the network, the proxy and the service's health; it goes on by itself",
    }
}
