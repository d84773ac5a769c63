//! USN polling: for accounts and servers without DirSync. One search, page by page, for what has a higher uSNChanged than the
//! last one covered; what changed in each object is found by comparison with what the stream says of it ([`crate::images`]).
//!
//! ```text
//!  delta       highestCommittedUSN = H  ->  (uSNChanged >= last + 1), with tombstones  ->  cursor H
//!  full read   highestCommittedUSN = H  ->  everything that lives
//!              highestCommittedUSN = G  ->  (uSNChanged >= H + 1), with tombstones     ->  complete, cursor G
//! ```
//!
//! - **H is read before the search.** What changes between the two, or while pages are read, has a USN above H: it is seen or
//!   not, in its old form or its new one, and the next delta sees it in any case. What was written of it already is then no
//!   news. So nothing is lost, nothing is written twice, and no order of entries is relied upon.
//! - **A full read ends with the delta of its own time**: an object that moved meanwhile may have slipped from a page not yet
//!   read to one that was, and would look as if it were gone.
//! - A page's cookie is good on its connection only, so the cursor is written once, at the end. A read that was interrupted
//!   begins again: a full one with a new snapshot, a delta from its USN, where what was written before is no news.
//! - An object whose uSNChanged the account cannot read is found by no such filter, but by full reads: they are repeated from
//!   time to time where there are such objects.
//! - Every change of a database, to whatever object, makes a delta worth asking for; an empty one writes nothing.

use std::collections::HashMap;

use forestsync_domain::Usn;
use forestsync_schemas::ChangeEvent;
use forestsync_schemas::changes::{ReadingResumed, StopCause};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ldap3::Scope;

use crate::control::{self, ControlError};
use crate::entry::{Changes, Entry, Life};
use crate::error::{SearchError, Trouble};
use crate::events::Mode;
use crate::images::Images;
use crate::pass::{FILTER, Progress};
use crate::plan::{Start, Terms};
use crate::ranges;
use crate::reader::Reader;
use crate::session::{Query, RootDse, Session};

/// The most pages in a row that have no entry.
const EMPTY_PAGES: usize = 1_000;

/// An object as a search shows it.
#[derive(Debug)]
struct Seen {
    changes: Changes,
    usn: Option<Usn>,
    when: Option<Timestamp>,
}

/// One search under way.
#[derive(Debug)]
struct Sweep {
    filter: String,
    tombstones: bool,
    /// Attributes that objects lost, and whether any object still shows a value of them.
    shown: HashMap<String, bool>,
}

impl Reader {
    /// Reads from `start` to the end. How many entries there were.
    pub(crate) async fn poll(
        &mut self,
        session: &mut Session,
        root: &RootDse,
        terms: &Terms,
        start: Start,
    ) -> Result<usize, Trouble> {
        self.remember().await?;
        let since = match &start {
            Start::Delta(cursor) => Some(cursor.highest_committed_usn),
            Start::Continue(..) | Start::Snapshot(_) => None,
        };
        let resumes = self.position.stopped;
        let mut progress = self.start(root, terms, start)?;
        self.take_in_asked(session, &mut progress).await?;
        let since = if let Some(since) = since {
            since
        } else {
            self.sweep(session, &mut progress, Sweep::of(FILTER.to_owned(), false)).await?;
            let before = terms.highest_committed_usn;
            progress.usn = session.usn().await?.0.max(before);
            before
        };
        let filter = format!("(&(uSNChanged>={}){FILTER})", since.0.saturating_add(1));
        self.sweep(session, &mut progress, Sweep::of(filter, true)).await?;
        if resumes == Some(StopCause::Protocol) {
            let event = ChangeEvent::ReadingResumed(ReadingResumed {});
            self.appender.add(progress.scribe.occurrence(&event)?)?;
        }
        if progress.snapshot.is_some() {
            self.complete(session, &mut progress).await?;
        }
        self.advance(terms, &mut progress, true).await?;
        Ok(progress.found)
    }

    /// Learns from the log what is known of the objects, unless that is in memory.
    async fn remember(&mut self) -> Result<(), Trouble> {
        if self.images.is_none() {
            let images = Images::read(self.log.as_ref(), &self.stream).await?;
            tracing::info!(forest.id = self.config.name, naming_context = %self.nc, objects = images.len(),
                "the stream was read, to compare with it");
            self.images = Some(images);
        }
        if let Some(images) = &mut self.images {
            images.begin();
        }
        Ok(())
    }

    /// Reads all pages of one search.
    async fn sweep(&mut self, session: &mut Session, progress: &mut Progress, mut sweep: Sweep) -> Result<(), Trouble> {
        let (mut cookie, mut empty) = (Vec::new(), 0);
        loop {
            let before = progress.found;
            cookie = self.sheet(session, progress, &mut sweep, &cookie).await?;
            if cookie.is_empty() {
                return Ok(());
            }
            empty = if progress.found == before { empty + 1 } else { 0 };
            if empty > EMPTY_PAGES {
                return Err(Trouble::Control { naming_context: self.nc.clone(), source: ControlError::NoProgress });
            }
        }
    }

    /// Reads one page. Where the next one starts.
    async fn sheet(
        &mut self,
        session: &mut Session,
        progress: &mut Progress,
        sweep: &mut Sweep,
        cookie: &[u8],
    ) -> Result<Vec<u8>, Trouble> {
        let base = self.nc.to_string();
        let mut controls = vec![control::paged(self.config.page_entries, cookie), control::extended_dn()];
        controls.extend(sweep.tombstones.then(control::show_deleted));
        let query = Query {
            base: &base,
            scope: Scope::Subtree,
            filter: &sweep.filter,
            attributes: self.wanted.image_names(),
            controls,
            size_limit: 0,
        };
        progress.passed_over |= self.deletions_visible != Some(true);
        // what needs another request before it can be told; a page has a bounded number of entries
        let mut waiting = Vec::new();
        let mut answer = session.search(query).await?;
        while let Some(entry) = answer.next().await? {
            progress.found += 1;
            let mut seen = Seen::read(&entry, &self.wanted)?;
            if progress.borders.is_foreign(&seen.changes) {
                continue;
            }
            if seen.changes.dn == self.nc {
                seen.changes.parent = None;
            }
            if seen.usn.is_none() {
                progress.passed_over = true;
                self.note_unnumbered();
            }
            if seen.changes.is_cut() || self.loses(&seen.changes, sweep) {
                waiting.push(seen);
            } else {
                self.tell(seen, sweep, progress).await?;
            }
        }
        let outcome = answer.finish().await;
        if outcome.code != 0 {
            return Err(SearchError::Result { base, code: outcome.code, text: outcome.text }.into());
        }
        let next = control::paged_response(&outcome.controls)
            .map_err(|source| Trouble::Control { naming_context: self.nc.clone(), source })?;
        for mut seen in waiting {
            ranges::complete(session, &mut seen.changes, seen.usn.map(|usn| usn.to_string())).await?;
            self.look_for(session, &seen.changes, sweep).await?;
            self.tell(seen, sweep, progress).await?;
        }
        Ok(next)
    }

    /// Says once that there are objects which no filter by uSNChanged finds.
    fn note_unnumbered(&mut self) {
        if self.noticed.insert("uSNChanged".to_owned()) {
            tracing::warn!(forest.id = self.config.name, naming_context = %self.nc,
                "the account cannot read uSNChanged of some objects; they are found by full reads every {:?}. hint: let it read all properties",
                self.config.snapshot_interval);
        }
    }

    /// Puts what changed in an object on its way.
    async fn tell(&mut self, seen: Seen, sweep: &Sweep, progress: &mut Progress) -> Result<(), Trouble> {
        let Seen { changes, usn, when } = seen;
        let Some(images) = &mut self.images else { return Ok(()) };
        let Some(mut changes) = images.compare(changes, &self.wanted) else { return Ok(()) };
        if changes.life != Life::Deleted {
            let unseen = |name: &str| sweep.shown.get(name) == Some(&false);
            let before = changes.cleared.len();
            changes.cleared.retain(|name| !unseen(name));
            let mut withheld = changes.cleared.len() < before;
            for links in changes.links.iter_mut().filter(|links| unseen(&links.attribute)) {
                withheld |= !links.removed.is_empty();
                links.removed.clear();
            }
            progress.passed_over |= withheld;
        }
        let mode = match &progress.snapshot {
            // compared with what this full read showed before: nothing at first, and then what it adds to
            Some(snapshot) => Mode::Snapshot { id: snapshot.snapshot, first_page: false },
            None => Mode::Delta,
        };
        let usn_bytes = usn.unwrap_or_default().0.to_be_bytes();
        let anchor = [progress.anchor(self.position.written).as_slice(), &usn_bytes].concat();
        progress.scribe.stamp(usn, when);
        let taken = self.take(changes, mode, &anchor, progress).await;
        progress.scribe.stamp(None, None);
        taken
    }

    /// Whether the object lost all values of an attribute, and it is not known yet whether others still show some.
    fn loses(&mut self, seen: &Changes, sweep: &Sweep) -> bool {
        self.lost(seen).iter().any(|name| !sweep.shown.contains_key(name))
    }

    /// The attributes of which a living object has no value any more.
    fn lost(&mut self, seen: &Changes) -> Vec<String> {
        match &mut self.images {
            Some(images) if seen.life != Life::Deleted => images.lost(seen, &self.wanted),
            _ => Vec::new(),
        }
    }

    /// Finds out whether anybody still shows a value of what an object lost. If nobody does, although others had one, then
    /// the account was most likely deprived of the right to read it: not taken for cleared, and left to a full read.
    async fn look_for(&mut self, session: &mut Session, seen: &Changes, sweep: &mut Sweep) -> Result<(), Trouble> {
        let (object, base) = (seen.object, self.nc.to_string());
        for name in self.lost(seen) {
            let elsewhere = self.images.as_ref().is_some_and(|images| images.is_held_elsewhere(object, &name));
            if sweep.shown.contains_key(&name) || !elsewhere {
                continue;
            }
            let query = Query {
                base: &base,
                scope: Scope::Subtree,
                filter: &format!("({name}=*)"),
                attributes: vec![name.clone()],
                controls: Vec::new(),
                size_limit: 1,
            };
            let found = session.collect(query, 1).await?.iter().any(|entry| entry.shows(&name));
            if !found && self.noticed.insert(format!("{name} of all")) {
                tracing::warn!(forest.id = self.config.name, naming_context = %self.nc, attribute = name,
                    "no object shows a value any more: not taken for cleared, but for a right that was lost");
            }
            sweep.shown.insert(name, found);
        }
        Ok(())
    }
}

impl Sweep {
    fn of(filter: String, tombstones: bool) -> Self {
        Self { filter, tombstones, shown: HashMap::new() }
    }
}

impl Seen {
    fn read(entry: &Entry, wanted: &crate::entry::Wanted) -> Result<Self, Trouble> {
        let usn = entry.text("uSNChanged").and_then(|text| text.parse().ok()).map(Usn);
        let when = entry.text("whenChanged").and_then(generalized_time);
        Ok(Self { changes: Changes::image(entry, wanted)?, usn, when })
    }
}

/// A time as a directory writes it: `20260131235959.0Z` (MS-ADTS 3.1.1.2.2.2).
pub(crate) fn generalized_time(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?.split('.').next()?;
    if digits.len() != 14 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i16>().ok();
    let small = |from: usize| part(from, from + 2).and_then(|n| i8::try_from(n).ok());
    let time = DateTime::new(part(0, 4)?, small(4)?, small(6)?, small(8)?, small(10)?, small(12)?, 0).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_directories_write_them() {
        let time = |text: &str| generalized_time(text).map(|time| time.to_string());
        assert_eq!(time("20260131235958.0Z").as_deref(), Some("2026-01-31T23:59:58Z"));
        assert_eq!(time("20260131235958Z").as_deref(), Some("2026-01-31T23:59:58Z"));
        for bad in ["", "Z", "20261331235958.0Z", "2026013123595.0Z", "20260131235958.0", "2026-1-31 23:59Z"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }
}
