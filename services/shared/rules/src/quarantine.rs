//! When so much fails that a configuration is at fault, or its tenant, rather than its objects.
//!
//! The defaults are those of cloud sync (products.md section 1.1).

use forestsync_schemas::outcomes::QuarantineCause;
use serde::{Deserialize, Serialize};

/// How much may fail.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuarantineLimits {
    /// Fewer failing objects than this are never too many.
    pub minimum: u64,
    /// At most this share of the objects, from 0 to 1. Anything that is no number counts as 0.
    pub share: f64,
    /// At most this many objects.
    pub count: u64,
    /// At most this many objects and references together.
    pub with_references: u64,
}

impl Default for QuarantineLimits {
    fn default() -> Self {
        Self { minimum: 5_000, share: 0.4, count: 40_000, with_references: 60_000 }
    }
}

/// What fails, and of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failing {
    /// Objects that fail.
    pub objects: u64,
    /// Managers, owners and memberships that fail.
    pub references: u64,
    /// Objects in all.
    pub of: u64,
}

/// The limit that is exceeded; the share before the numbers.
pub fn exceeded(limits: &QuarantineLimits, failing: Failing) -> Option<QuarantineCause> {
    let many = failing.objects >= limits.minimum && failing.objects > 0;
    // a little more than the product, so that 0.29 of 100 is 29 and not 28.999…
    let share = limits.share.max(0.0) * failing.of as f64 + 1e-6;
    if many && failing.objects as f64 > share {
        Some(QuarantineCause::Share)
    } else if many && failing.objects > limits.count {
        Some(QuarantineCause::Count)
    } else if failing.objects.saturating_add(failing.references) > limits.with_references {
        Some(QuarantineCause::References)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(objects: u64, references: u64, of: u64) -> Option<QuarantineCause> {
        exceeded(&QuarantineLimits::default(), Failing { objects, references, of })
    }

    #[test]
    fn the_defaults_are_those_of_cloud_sync() {
        assert_eq!(judged(4_999, 0, 4_999), None, "evaluation begins at 5,000");
        assert_eq!(judged(5_000, 0, 12_500), None, "40 % are not more than 40 %");
        assert_eq!(judged(5_001, 0, 12_500), Some(QuarantineCause::Share));
        assert_eq!(judged(40_000, 0, 1_000_000), None);
        assert_eq!(judged(40_001, 0, 1_000_000), Some(QuarantineCause::Count));
        assert_eq!(judged(0, 60_000, 1_000), None, "references do not count before");
        assert_eq!(judged(1, 60_000, 1_000_000), Some(QuarantineCause::References));
    }

    proptest! {
        /// More failures never end what fewer began, and nothing that fails is never too much.
        #[test]
        fn more_failures_are_never_better(
            objects in 0_u64..100_000, references in 0_u64..100_000, of in 0_u64..300_000, more in 0_u64..50_000,
        ) {
            let of = of.max(objects);
            if judged(objects, references, of).is_some() {
                prop_assert!(judged(objects + more, references, of).is_some());
                prop_assert!(judged(objects, references + more, of).is_some());
            }
            prop_assert_eq!(judged(0, 0, of), None);
        }

        /// A limit that is no number holds, rather than letting everything go on.
        #[test]
        fn a_share_that_is_no_number_is_none(objects in 5_000_u64..100_000) {
            let limits = QuarantineLimits { share: f64::NAN, ..QuarantineLimits::default() };
            let failing = Failing { objects, references: 0, of: objects * 100 };
            prop_assert_eq!(exceeded(&limits, failing), Some(QuarantineCause::Share));
        }
    }
}
