//! How fast the tenant may be written to: its quota, and what it asks for.

use std::collections::VecDeque;
use std::time::Duration;

use forestsync_runtime::backoff::Backoff;
use forestsync_schemas::outcomes::StopCause;
use tokio::time::Instant;

/// Into so many parts a window is divided for counting. What a part saw is counted until the last of it is out of the
/// window, so that this share of the quota is the price of not keeping the time of every write.
const PARTS: u32 = 1_000;

/// The writes of a part of a window.
#[derive(Debug)]
struct Part {
    first: Instant,
    last: Instant,
    writes: u32,
}

/// Keeps writes under a quota in any window, and obeys Retry-After without an upper limit.
#[derive(Debug)]
pub(super) struct Pace {
    /// Writes in any window; 0 for no quota.
    quota: u32,
    window: Duration,
    sent: VecDeque<Part>,
    in_window: u32,
    writes_from: Option<Instant>,
    reads_from: Option<Instant>,
    backoff: Backoff,
}

impl Pace {
    pub(super) fn new(quota: u32, window: Duration, first: Duration, longest: Duration) -> Self {
        Self {
            quota,
            window,
            sent: VecDeque::new(),
            in_window: 0,
            writes_from: None,
            reads_from: None,
            backoff: Backoff::new(first, longest),
        }
    }

    /// Takes the writes of one call out of the quota, or says when to ask again.
    pub(super) fn take(&mut self, writes: u32, now: Instant) -> Result<(), Instant> {
        if let Some(from) = self.blocked(writes > 0, now) {
            return Err(from);
        }
        if writes == 0 || self.quota == 0 {
            return Ok(());
        }
        while let Some(part) = self.sent.front().filter(|part| now.duration_since(part.last) >= self.window) {
            self.in_window -= part.writes;
            self.sent.pop_front();
        }
        // a call larger than the quota goes when nothing else does
        if self.in_window > 0 && self.in_window.saturating_add(writes) > self.quota {
            return Err(self.sent.front().map_or(now, |part| part.last + self.window));
        }
        self.in_window += writes;
        match self.sent.back_mut() {
            Some(part) if now.duration_since(part.first) < self.window / PARTS => {
                (part.last, part.writes) = (now, part.writes + writes);
            }
            _ => self.sent.push_back(Part { first: now, last: now, writes }),
        }
        Ok(())
    }

    /// Until when calls of this kind may not be sent.
    pub(super) fn blocked(&self, write: bool, now: Instant) -> Option<Instant> {
        let writes = self.writes_from.filter(|_| write);
        writes.max(self.reads_from).filter(|from| *from > now)
    }

    /// The tenant asked for less. Without a Retry-After the pauses double, with some chance in them.
    pub(super) fn throttled(&mut self, write: bool, retry_after: Option<Duration>, now: Instant) {
        let already = self.blocked(write, now).is_some();
        let delay = match retry_after {
            Some(delay) => delay,
            None if already => return,
            None => jitter(self.backoff.next_delay()),
        };
        let until = Some(now + delay);
        let from = if write { &mut self.writes_from } else { &mut self.reads_from };
        *from = until.max(*from);
    }

    /// A write went through.
    pub(super) fn went_through(&mut self) {
        self.backoff.reset();
    }
}

/// How many batches may be on their way at a time.
///
/// A tenant that asks for less, does not take the token or does not answer is asked one batch at a time, and one more for
/// each that it answers. Else many at a time could each get a part of what they ask for, and begin anew for ever.
#[derive(Debug)]
pub(super) struct Breadth {
    now: usize,
    most: usize,
}

impl Breadth {
    pub(super) fn new(most: usize) -> Self {
        Self { now: most, most }
    }

    pub(super) fn get(&self) -> usize {
        self.now
    }

    /// The tenant did not answer as it should.
    pub(super) fn narrow(&mut self) {
        self.now = 1;
    }

    /// It answered all of a batch.
    pub(super) fn widen(&mut self) {
        self.now = (self.now + 1).min(self.most);
    }
}

/// Up to a quarter longer, so that many clients do not come back at once.
pub(crate) fn jitter(delay: Duration) -> Duration {
    delay.mul_f64(1.0 + rand::random::<f64>() / 4.0)
}

/// Pauses in a row after which an outage is more than a hiccup.
const SEVERAL: u32 = 5;

/// A pause of everything, longer each time in a row.
#[derive(Debug)]
pub(super) struct Pause {
    until: Option<Instant>,
    /// Since when, and why.
    since: Option<Instant>,
    cause: Option<(StopCause, String)>,
    /// It was writes that failed, and whether reads succeeded since.
    of_writes: bool,
    is_read: bool,
    backoff: Backoff,
}

impl Pause {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        let backoff = Backoff::new(first, longest);
        Self { until: None, since: None, cause: None, of_writes: false, is_read: false, backoff }
    }

    /// Pauses. Failures that arrive during a pause belong to it and do not make the next one longer.
    pub(super) fn begin(&mut self, cause: StopCause, detail: String, at_least: Option<Duration>, now: Instant) {
        let asked = at_least.map(|d| now + d);
        if self.active(now).is_none() {
            self.until = Some(now + jitter(self.backoff.next_delay()));
        }
        self.until = self.until.max(asked);
        self.since.get_or_insert(now);
        self.cause = Some((cause, detail));
    }

    /// What failed were writes: reads that succeed do not end it.
    pub(super) fn concerns_writes(&mut self) {
        (self.of_writes, self.is_read) = (true, false);
    }

    /// Writes, or else reads, succeeded; whether that ends it. A tenant that answers every question and takes no write is
    /// waited for longer each time all the same.
    pub(super) fn answered(&mut self, writes: bool) -> bool {
        if self.of_writes && !writes {
            self.is_read = true;
            return false;
        }
        let ends = self.cause.is_some();
        self.end();
        ends
    }

    /// Whether it concerns writes, and reads succeeded since.
    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    pub(super) fn end(&mut self) {
        let backoff = self.backoff.clone();
        *self = Self { until: None, since: None, cause: None, of_writes: false, is_read: false, backoff };
        self.backoff.reset();
    }

    pub(super) fn active(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// What is wrong, until something works again.
    pub(super) fn detail(&self) -> Option<&str> {
        self.cause.as_ref().map(|(_, detail)| detail.as_str())
    }

    /// Why, once it has lasted that long or for several attempts.
    pub(super) fn lasting(&self, at_least: Duration, now: Instant) -> Option<&(StopCause, String)> {
        let long = self.since.is_some_and(|since| now.duration_since(since) >= at_least);
        self.cause.as_ref().filter(|_| long || self.backoff.failures() >= SEVERAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(150);

    fn pace(quota: u32) -> Pace {
        Pace::new(quota, WINDOW, Duration::from_secs(1), Duration::from_mins(1))
    }

    #[test]
    fn no_window_ever_sees_more_than_the_quota() {
        let mut pace = pace(100);
        let start = Instant::now();
        let (mut now, mut sent) = (start, Vec::new());
        while now.duration_since(start) < Duration::from_mins(10) {
            match pace.take(7, now) {
                Ok(()) => sent.push(now),
                Err(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
            // many within a part of the window, too
            now += Duration::from_millis(7);
        }
        for at in &sent {
            let window = sent.iter().filter(|s| **s >= *at && s.duration_since(*at) < WINDOW).count();
            assert!(window * 7 <= 100, "{window}");
        }
        // four windows, of each all but a thousandth and what is left of a hundred after sevens
        assert_eq!(sent.len(), 4 * 14, "{}", sent.len());
    }

    #[test]
    fn retry_after_is_obeyed_without_limit() {
        let (mut pace, now) = (pace(0), Instant::now());
        let week = Duration::from_hours(7 * 24);
        pace.throttled(true, Some(week), now);
        pace.throttled(true, Some(Duration::from_secs(1)), now);
        assert_eq!(pace.take(1, now), Err(now + week));
        assert_eq!(pace.take(0, now), Ok(()), "reads go on");
        pace.throttled(false, Some(Duration::from_secs(5)), now);
        assert_eq!(pace.take(0, now), Err(now + Duration::from_secs(5)));
        assert_eq!(pace.take(1, now + week), Ok(()));
    }

    #[test]
    fn trouble_narrows_at_once_and_answers_widen_again() {
        let mut breadth = Breadth::new(16);
        assert_eq!(breadth.get(), 16);
        breadth.narrow();
        assert_eq!(breadth.get(), 1);
        (0..3).for_each(|_| breadth.widen());
        assert_eq!(breadth.get(), 4);
        (0..30).for_each(|_| breadth.widen());
        assert_eq!(breadth.get(), 16);
    }

    #[test]
    fn a_pause_grows_once_per_round() {
        let (mut pause, now) = (Pause::new(Duration::from_secs(4), Duration::from_mins(1)), Instant::now());
        pause.begin(StopCause::NotAvailable, "a".into(), None, now);
        pause.begin(StopCause::NotAvailable, "b".into(), None, now);
        let first = pause.active(now).unwrap() - now;
        assert!((4..=5).contains(&first.as_secs()), "{first:?}");
        let later = now + first;
        pause.begin(StopCause::NotAvailable, "c".into(), None, later);
        assert!((pause.active(later).unwrap() - later).as_secs() >= 8);
        pause.end();
        assert_eq!((pause.active(later), pause.detail()), (None, None));
    }

    #[test]
    fn reads_do_not_end_what_writes_began() {
        let (mut pause, mut now) = (Pause::new(Duration::from_secs(1), Duration::from_mins(1)), Instant::now());
        for _ in 0..4 {
            pause.begin(StopCause::NotAvailable, "a".into(), None, now);
            pause.concerns_writes();
            assert!(!pause.answered(false) && pause.is_read());
            now = pause.active(now).unwrap();
        }
        pause.begin(StopCause::NotAvailable, "a".into(), None, now);
        assert!((pause.active(now).unwrap() - now).as_secs() >= 16, "longer each time");
        assert!(pause.answered(true));
        assert_eq!((pause.detail(), pause.is_read()), (None, false));
        pause.begin(StopCause::NotAvailable, "a".into(), None, now);
        assert!(pause.answered(false), "reads end what they began");
    }
}
