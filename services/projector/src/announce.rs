//! What people must know, written to `decisions` once each time it changes.

use forestsync_schemas::decisions::{ConfigurationHeld, ConfigurationReleased, DecisionEvent};

use crate::ProjectorError;
use crate::engine::Engine;
use crate::holds::Hold;

type Result<T> = std::result::Result<T, ProjectorError>;

impl Engine {
    /// Writes each hold that began and each that ended to `decisions`, once.
    pub(crate) fn announce(&mut self, holds: &[Hold]) -> Result<()> {
        let mut round = self.round()?;
        for hold in holds {
            if round.meta.held.insert((hold.reason, hold.forest.clone())) {
                tracing::error!(
                    hold.reason = ?hold.reason, forest.id = %hold.forest, hold.detail = %hold.detail,
                    hold.hint = %hold.hint, "the configuration is held, nothing is written"
                );
                round.decisions.push(DecisionEvent::ConfigurationHeld(ConfigurationHeld {
                    reason: hold.reason,
                    forest: hold.forest.clone(),
                    detail: hold.detail.clone(),
                    hint: hold.hint.clone(),
                }));
            }
        }
        let is_on = |reason, forest: &str| holds.iter().any(|h| h.reason == reason && h.forest == forest);
        let over: Vec<_> = round.meta.held.iter().filter(|(reason, forest)| !is_on(*reason, forest)).cloned().collect();
        for (reason, forest) in over {
            tracing::info!(hold.reason = ?reason, forest.id = %forest, "the hold is over");
            round.meta.held.remove(&(reason, forest.clone()));
            round.decisions.push(DecisionEvent::ConfigurationReleased(ConfigurationReleased { reason, forest }));
        }
        if round.decisions.is_empty() {
            return Ok(());
        }
        let prepared = round.finish()?;
        self.commit(prepared)
    }
}
