//! The guard against accidental mass deletion.
//!
//! The caller counts, the guard compares. Nothing of what is held may be sent until somebody decides, or until so much
//! of it is no longer pending that it passes.

use serde::{Deserialize, Serialize};

/// How much may be removed without asking.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardLimits {
    /// At most this many within the window, however many are managed.
    pub count: u64,
    /// At most this share of what is managed, from 0 to 1. Anything that is no number counts as 0.
    pub share: f64,
    /// This many may always, of the members of one group and of changes of accounts, so that small groups can be emptied.
    pub minimum: u64,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self { count: 500, share: 0.2, minimum: 10 }
    }
}

/// Whether removals may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardVerdict {
    /// They may.
    Pass,
    /// None of them may.
    Hold {
        /// How many wait.
        pending: u64,
        /// How many were managed before the removals of the window.
        managed: u64,
        /// How many the window may see.
        limit: u64,
    },
}

/// The lower of the count and the share, rounded down.
fn lower(limits: &GuardLimits, managed: u64) -> u64 {
    // a little more than the product, so that 0.29 of 100 is 29 and not 28.999…
    let share = (limits.share.max(0.0) * managed as f64 + 1e-6).floor();
    limits.count.min(share as u64)
}

fn judge(limit: u64, managed: u64, done_in_window: u64, pending: u64) -> GuardVerdict {
    if pending == 0 || done_in_window.saturating_add(pending) <= limit {
        GuardVerdict::Pass
    } else {
        GuardVerdict::Hold { pending, managed, limit }
    }
}

/// The verdict on deleting `pending` objects of one class after `done_in_window` of them.
///
/// `managed` is the number of objects of that class before the deletions of the window. The limit is the lower of the
/// count and the share, but never less than 1: one deletion is an everyday thing in the smallest tenant.
pub fn objects(limits: &GuardLimits, managed: u64, done_in_window: u64, pending: u64) -> GuardVerdict {
    judge(lower(limits, managed).max(1), managed, done_in_window, pending)
}

/// The verdict on taking `pending` members out of one group after `done_in_window` of them.
///
/// `managed_members` is the number of the group's members before the removals of the window. The limit is the lower of
/// the count and the share, but never less than [`GuardLimits::minimum`].
pub fn members(limits: &GuardLimits, managed_members: u64, done_in_window: u64, pending: u64) -> GuardVerdict {
    judge(lower(limits, managed_members).max(limits.minimum), managed_members, done_in_window, pending)
}

/// The verdict on `pending` changes of accounts, such as disabling them, after `done_in_window` of them.
///
/// `managed` is the number of accounts. The limit is the lower of the count and the share, but never less than
/// [`GuardLimits::minimum`].
pub fn changes(limits: &GuardLimits, managed: u64, done_in_window: u64, pending: u64) -> GuardVerdict {
    judge(lower(limits, managed).max(limits.minimum), managed, done_in_window, pending)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit_of(limits: &GuardLimits, managed: u64) -> u64 {
        match objects(limits, managed, 0, u64::MAX) {
            GuardVerdict::Hold { limit, .. } => limit,
            GuardVerdict::Pass => u64::MAX,
        }
    }

    #[test]
    fn the_lower_of_count_and_share_decides() {
        let limits = GuardLimits::default();
        for (managed, limit) in [(0, 1), (1, 1), (9, 1), (10, 2), (14, 2), (15, 3), (2_500, 500), (1_000_000, 500)] {
            assert_eq!(limit_of(&limits, managed), limit, "{managed}");
        }
        assert_eq!(limit_of(&GuardLimits { share: 0.29, ..limits }, 100), 29);
        assert_eq!(objects(&limits, 100, 0, 20), GuardVerdict::Pass);
        assert_eq!(objects(&limits, 100, 0, 21), GuardVerdict::Hold { pending: 21, managed: 100, limit: 20 });
        assert_eq!(objects(&limits, 100, 15, 5), GuardVerdict::Pass);
        assert_eq!(objects(&limits, 100, 15, 6), GuardVerdict::Hold { pending: 6, managed: 100, limit: 20 });
    }

    #[test]
    fn nothing_pending_is_nothing_to_hold() {
        assert_eq!(objects(&GuardLimits::default(), 10, 50, 0), GuardVerdict::Pass);
    }

    #[test]
    fn small_groups_may_be_emptied() {
        let limits = GuardLimits::default();
        assert_eq!(members(&limits, 10, 0, 10), GuardVerdict::Pass);
        assert_eq!(members(&limits, 11, 0, 11), GuardVerdict::Hold { pending: 11, managed: 11, limit: 10 });
        assert_eq!(members(&limits, 1_000, 0, 200), GuardVerdict::Pass);
        assert_eq!(members(&limits, 1_000, 1, 200), GuardVerdict::Hold { pending: 200, managed: 1_000, limit: 200 });
    }

    #[test]
    fn few_accounts_may_always_change() {
        let limits = GuardLimits::default();
        assert_eq!(changes(&limits, 12, 0, 10), GuardVerdict::Pass);
        assert_eq!(changes(&limits, 12, 1, 10), GuardVerdict::Hold { pending: 10, managed: 12, limit: 10 });
        assert_eq!(changes(&limits, 1_000, 0, 201), GuardVerdict::Hold { pending: 201, managed: 1_000, limit: 200 });
    }

    #[test]
    fn strange_shares_hold_rather_than_pass() {
        for share in [f64::NAN, -1.0, f64::NEG_INFINITY, 0.0] {
            assert_eq!(limit_of(&GuardLimits { share, ..GuardLimits::default() }, 1_000), 1, "{share}");
        }
        assert_eq!(limit_of(&GuardLimits { share: f64::INFINITY, ..GuardLimits::default() }, 1_000), 500);
    }

    proptest! {
        #[test]
        fn more_pending_never_passes_where_less_is_held(
            managed: u64, done in 0u64..2_000, pending in 1u64..2_000, more in 0u64..2_000,
        ) {
            let limits = GuardLimits::default();
            if objects(&limits, managed, done, pending) != GuardVerdict::Pass {
                prop_assert_ne!(objects(&limits, managed, done, pending + more), GuardVerdict::Pass);
                prop_assert_ne!(objects(&limits, managed, done + more, pending), GuardVerdict::Pass);
            }
        }
    }
}
