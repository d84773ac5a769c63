//! Which controller is tried next. Pure.
//!
//! The cursor belongs to one controller. Another one means a full read, and it may lag behind in replication: what it does not
//! have yet would look as if it were gone. So the one of the cursor is waited for, for as long as it takes to start anew,
//! before another one is asked.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::ControllerAddress;

/// The controller of the cursor is tried at least so often.
const TRIES: u32 = 3;

/// The failures in a row, and what was tried.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failures {
    count: u32,
    since: Option<Instant>,
    /// Attempts at other controllers than that of the cursor.
    strayed: u32,
}

impl Failures {
    /// Takes note of one more.
    pub(crate) fn add(&mut self, now: Instant) {
        self.count = self.count.saturating_add(1);
        self.since.get_or_insert(now);
    }
}

/// The configured controllers as seen from a cursor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Controllers<'a> {
    all: &'a [ControllerAddress],
    /// Index of the cursor's.
    home: Option<usize>,
    patience: Duration,
}

impl<'a> Controllers<'a> {
    /// `home` is the name of the cursor's controller.
    pub(crate) fn new(all: &'a [ControllerAddress], home: Option<&str>, patience: Duration) -> Self {
        let home = home.and_then(|home| all.iter().position(|c| c.host.eq_ignore_ascii_case(home)));
        Self { all, home, patience }
    }

    /// The controller for the next attempt.
    pub(crate) fn pick(&self, failures: &mut Failures, now: Instant) -> Option<&'a ControllerAddress> {
        let step = match self.home {
            None => failures.count,
            Some(_) if failures.count == 0 || self.is_loyal(failures, now) => 0,
            Some(_) => {
                failures.strayed = failures.strayed.saturating_add(1);
                failures.strayed
            }
        };
        self.all.get((self.home.unwrap_or(0) + step as usize) % self.all.len().max(1))
    }

    fn is_loyal(&self, failures: &Failures, now: Instant) -> bool {
        failures.count < TRIES || self.left(failures, now).is_some()
    }

    fn left(&self, failures: &Failures, now: Instant) -> Option<Duration> {
        let left = self.patience.saturating_sub(now.saturating_duration_since(failures.since?));
        Some(left).filter(|left| !left.is_zero())
    }

    /// Whose return is waited for and for how much longer, although there are others.
    pub(crate) fn waits(&self, failures: &Failures, now: Instant) -> Option<(&'a ControllerAddress, Duration)> {
        let home = self.all.get(self.home?)?;
        let left = self.left(failures, now)?;
        (self.all.len() > 1 && failures.strayed == 0).then_some((home, left))
    }

    /// Whether nothing is left to try before somebody should be told. With `once_more` after one failure more than that.
    pub(crate) fn is_round_over(&self, failures: &Failures, now: Instant, once_more: bool) -> bool {
        let (less, count) = (u32::from(once_more), u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        let failed = failures.count.saturating_sub(less);
        failed > 0
            && match self.home {
                Some(_) if count > 1 && self.waits(failures, now).is_some() => failed >= TRIES,
                Some(_) if count > 1 => failures.strayed.saturating_sub(less) >= count - 1,
                _ => failed >= count,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(5);

    fn times() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |second| start + Duration::from_secs(second)
    }

    fn controllers() -> Vec<ControllerAddress> {
        ["ldaps://dc01", "ldaps://dc02", "ldaps://dc03"].map(|url| url.parse().unwrap()).to_vec()
    }

    #[test]
    fn the_controller_of_the_cursor_is_waited_for() {
        let (all, at) = (controllers(), times());
        let some = Controllers::new(&all, Some("DC02"), PATIENCE);
        let mut failures = Failures::default();
        let host = |failures: &mut Failures, second| some.pick(failures, at(second)).unwrap().host.clone();
        for second in [0, 1, 3, 7, 60, 299] {
            assert_eq!(host(&mut failures, second), "dc02", "after {second} s");
            failures.add(at(second));
            assert_eq!(some.is_round_over(&failures, at(second), false), second >= 3, "after {second} s");
            assert_eq!(some.waits(&failures, at(second)), Some((&all[1], Duration::from_secs(300 - second))));
        }
        assert_eq!(host(&mut failures, 300), "dc03");
        assert_eq!(some.waits(&failures, at(300)), None);
        failures.add(at(301));
        assert!(!some.is_round_over(&failures, at(301), false));
        assert_eq!(host(&mut failures, 301), "dc01");
        failures.add(at(302));
        assert!(some.is_round_over(&failures, at(302), false));
        assert_eq!(host(&mut failures, 302), "dc02");
    }

    #[test]
    fn without_patience_three_tries_are_enough() {
        let (all, at) = (controllers(), times());
        let some = Controllers::new(&all, Some("dc01"), Duration::ZERO);
        let mut failures = Failures::default();
        let mut hosts = Vec::new();
        for _ in 0..5 {
            hosts.push(some.pick(&mut failures, at(0)).unwrap().host.clone());
            failures.add(at(0));
        }
        assert_eq!(hosts, ["dc01", "dc01", "dc01", "dc02", "dc03"]);
        assert!(some.is_round_over(&failures, at(0), false));
    }

    #[test]
    fn without_a_cursor_they_are_taken_in_turn() {
        let (all, at) = (controllers(), times());
        for home in [None, Some("elsewhere")] {
            let (some, mut failures) = (Controllers::new(&all, home, PATIENCE), Failures::default());
            let mut hosts = Vec::new();
            for n in 0..4 {
                assert_eq!(some.is_round_over(&failures, at(0), false), n >= 3);
                hosts.push(some.pick(&mut failures, at(0)).unwrap().host.clone());
                failures.add(at(0));
            }
            assert_eq!(hosts, ["dc01", "dc02", "dc03", "dc01"]);
        }
        let (alone, mut failures) = (Controllers::new(&all[..1], Some("dc01"), PATIENCE), Failures::default());
        failures.add(at(0));
        assert!(alone.is_round_over(&failures, at(0), false) && !alone.is_round_over(&failures, at(0), true));
        assert_eq!(alone.waits(&failures, at(0)), None, "there is nobody else");
    }
}
