//! Whose turn it is: anchors that are ready, and anchors that wait for a time.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use forestsync_domain::SourceAnchor;
use tokio::time::Instant;

/// Anchors to be looked at, each once, in order. Bounded by the number of objects.
#[derive(Debug, Default)]
pub(super) struct Ready {
    queue: VecDeque<SourceAnchor>,
    known: HashSet<SourceAnchor>,
}

impl Ready {
    pub(super) fn push(&mut self, anchor: &SourceAnchor) {
        if self.known.insert(anchor.clone()) {
            self.queue.push_back(anchor.clone());
        }
    }

    /// Ahead of the others: what has begun is finished first.
    pub(super) fn push_front(&mut self, anchor: &SourceAnchor) {
        if self.known.insert(anchor.clone()) {
            self.queue.push_front(anchor.clone());
        }
    }

    pub(super) fn pop(&mut self) -> Option<SourceAnchor> {
        let anchor = self.queue.pop_front()?;
        self.known.remove(&anchor);
        Some(anchor)
    }

    pub(super) fn has(&self, anchor: &SourceAnchor) -> bool {
        self.known.contains(anchor)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// Anchors that wait, each for its earliest time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Instant, SourceAnchor)>,
    by_anchor: HashMap<SourceAnchor, Instant>,
}

impl Timers {
    pub(super) fn wake(&mut self, anchor: &SourceAnchor, at: Instant) {
        match self.by_anchor.get(anchor) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.by_time.remove(&(*later, anchor.clone()));
            }
            None => {}
        }
        self.by_anchor.insert(anchor.clone(), at);
        self.by_time.insert((at, anchor.clone()));
    }

    /// It waits for nothing any more.
    pub(super) fn forget(&mut self, anchor: &SourceAnchor) {
        if let Some(at) = self.by_anchor.remove(anchor) {
            self.by_time.remove(&(at, anchor.clone()));
        }
    }

    /// One whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<SourceAnchor> {
        if self.next()? > now {
            return None;
        }
        let (_, anchor) = self.by_time.pop_first()?;
        self.by_anchor.remove(&anchor);
        Some(anchor)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_time_counts() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let anchor = SourceAnchor::from("a".to_owned());
        timers.wake(&anchor, now + Duration::from_secs(5));
        timers.wake(&anchor, now + Duration::from_secs(2));
        timers.wake(&anchor, now + Duration::from_secs(9));
        assert_eq!((timers.len(), timers.due(now)), (1, None));
        assert_eq!(timers.due(now + Duration::from_secs(2)), Some(anchor.clone()));
        assert_eq!(timers.len(), 0);
        timers.wake(&anchor, now);
        timers.forget(&anchor);
        assert_eq!((timers.len(), timers.due(now)), (0, None));
    }
}
