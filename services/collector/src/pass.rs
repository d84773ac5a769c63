//! One pass: a read from where the last one ended to the end of what there is, page by page, into the log.
//!
//! This is the pass by DirSync; that by USN polling ([`crate::usn`]) begins and ends in the same way.
//!
//! Records of a page may be appended before the page is complete. Its cursor goes with the last of them, in one append, so
//! a page that was read to its end is never read again and one that was not is read again as a whole. `SnapshotCompleted`
//! goes with the cursor of the last page, after it was verified that the account still reads what it must.

use forestsync_domain::{AttributeValue, Cookie, Dn, Usn};
use forestsync_runtime::clock;
use forestsync_schemas::ChangeEvent;
use forestsync_schemas::changes::{
    Cursor, CursorAdvanced, Method, ReadingResumed, SnapshotCompleted, SnapshotId, SnapshotProgress, SnapshotStarted,
    StopCause,
};
use ldap3::Scope;
use uuid::Uuid;

use crate::arrival::Arrivals;
use crate::control::{self, ControlError, DirSyncResponse};
use crate::entry::{Changes, Life};
use crate::error::{SearchError, Trouble};
use crate::events::{self, Mode, Scribe};
use crate::images::Images;
use crate::plan::{Start, Terms};
use crate::reader::{Answering, Reader};
use crate::results::is_busy;
use crate::session::{Query, RootDse, Session};
use crate::status::Phase;

/// Classes that are read. By objectClass, which a tombstone keeps; objectCategory is gone there.
pub(crate) const FILTER: &str = "(|(objectClass=user)(objectClass=group)(objectClass=contact)\
    (objectClass=organizationalUnit)(objectClass=container)(objectClass=builtinDomain)(objectClass=domainDNS)\
    (objectClass=foreignSecurityPrincipal)(objectClass=lostAndFound))";

/// Whether an object is of a class that is read.
pub(crate) fn is_of_read_class(changes: &Changes) -> bool {
    let classes = changes.set.get("objectClass").into_iter().flatten().filter_map(AttributeValue::as_text);
    classes.into_iter().any(|class| FILTER.contains(&format!("(objectClass={class})")))
}

/// An empty delta is worth a cursor in the log only when the controller's USN moved by more than this since the last one.
const QUIET_USNS: u64 = 10_000;

/// Codes that say something else about a request than that its cookie is bad.
fn blames_the_cookie(code: u32) -> bool {
    !is_busy(code) && !matches!(code, 3 | 4 | 8 | 10 | 11 | 32 | 49 | 50)
}

/// What belongs to another naming context, or to nobody.
#[derive(Debug)]
pub(crate) struct Borders {
    nc: Dn,
    deleted_objects: Dn,
    inner: Vec<Dn>,
}

impl Borders {
    pub(crate) fn new(nc: &Dn, root: &RootDse) -> Self {
        let inner = root.naming_contexts.iter().filter(|other| *other != nc && other.is_within(nc)).cloned().collect();
        Self { nc: nc.clone(), deleted_objects: nc.child("CN", "Deleted Objects"), inner }
    }

    pub(crate) fn is_foreign(&self, changes: &Changes) -> bool {
        let dn = &changes.dn;
        !dn.is_within(&self.nc)
            || *dn == self.deleted_objects
            || self.inner.iter().any(|other| dn.is_within(other))
            || (changes.nc_head && *dn != self.nc)
    }
}

/// The state of a pass between two pages.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) scribe: Scribe,
    pub(crate) borders: Borders,
    cookie: Cookie,
    pub(crate) snapshot: Option<SnapshotProgress>,
    /// highestCommittedUSN as last read.
    pub(crate) usn: Usn,
    /// For [`Cursor::passed_over`].
    pub(crate) passed_over: bool,
    pub(crate) found: usize,
}

impl Progress {
    pub(crate) fn anchor(&self, written: Option<forestsync_schemas::EventId>) -> Vec<u8> {
        match &self.snapshot {
            Some(progress) => progress.snapshot.0.as_bytes().to_vec(),
            None => written.map(|id| id.0.as_bytes().to_vec()).unwrap_or_default(),
        }
    }
}

impl Reader {
    /// Reads from `start` to the end. How many entries there were, once all of them are durable.
    pub(crate) async fn pass(
        &mut self,
        session: &mut Session,
        root: &RootDse,
        terms: Terms,
        start: Start,
    ) -> Result<usize, Trouble> {
        self.appender.begin();
        let read = match terms.method {
            Method::Dirsync => self.pages(session, root, &terms, start).await,
            Method::Usn => self.poll(session, root, &terms, start).await,
        };
        let settled = self.appender.settle().await;
        if (read.is_err() || settled.is_err()) && self.images.as_ref().is_some_and(Images::is_touched) {
            // they know what may not have been written
            self.images = None;
        }
        if (read.is_err() || settled.is_err()) && self.appender.has_flushed() {
            // what was written and what was not is known by the log only
            self.stale = true;
        }
        settled?;
        let found = read?;
        self.position.stopped = None;
        Ok(found)
    }

    async fn pages(
        &mut self,
        session: &mut Session,
        root: &RootDse,
        terms: &Terms,
        start: Start,
    ) -> Result<usize, Trouble> {
        let resumes = self.position.stopped;
        let mut progress = self.start(root, terms, start)?;
        self.take_in_asked(session, &mut progress).await?;
        loop {
            let before = progress.found;
            let response = self.page(session, terms, &mut progress).await?;
            if response.more && progress.found == before && response.cookie == progress.cookie.as_bytes() {
                let naming_context = self.nc.clone();
                return Err(Trouble::Control { naming_context, source: ControlError::NoProgress });
            }
            if !response.more && resumes == Some(StopCause::Protocol) {
                let event = ChangeEvent::ReadingResumed(ReadingResumed {});
                self.appender.add(progress.scribe.occurrence(&event)?)?;
            }
            progress.cookie = Cookie::new(response.cookie);
            if !response.more {
                if progress.snapshot.is_some() {
                    self.complete(session, &mut progress).await?;
                }
                // the cookie covers what came during the pass too: a controller that goes back to before that has forgotten it
                progress.usn = progress.usn.max(session.usn().await?.0);
            }
            self.advance(terms, &mut progress, !response.more).await?;
            if !response.more {
                return Ok(progress.found);
            }
        }
    }

    /// Begins a pass: what comes before its first page is added.
    pub(crate) fn start(&mut self, root: &RootDse, terms: &Terms, start: Start) -> Result<Progress, Trouble> {
        let mut scribe = self.scribe(Some(terms.controller.clone()));
        self.trace = scribe.trace();
        if self.position.stopped.is_some_and(|cause| cause != StopCause::Protocol) {
            self.appender.add(scribe.occurrence(&ChangeEvent::ReadingResumed(ReadingResumed {}))?)?;
        }
        let (cookie, snapshot, passed_over) = match start {
            Start::Delta(cursor) => (cursor.cookie, None, cursor.passed_over),
            Start::Continue(cursor, progress) => (cursor.cookie, Some(progress), cursor.passed_over),
            Start::Snapshot(reason) => {
                tracing::info!(forest.id = self.config.name, naming_context = %self.nc, ?reason, "a full read begins");
                let snapshot = SnapshotId(Uuid::new_v4());
                self.answering = Some(Answering { snapshot, requests: self.request.count() });
                let event = ChangeEvent::SnapshotStarted(SnapshotStarted { snapshot, reason });
                self.appender.add(scribe.record(snapshot.0.as_bytes(), None, &event)?)?;
                if let Some(images) = &mut self.images {
                    images.apply(None, &event);
                }
                // what was passed over before it comes to light in this read, or in the one that replaces it
                (Cookie::default(), Some(SnapshotProgress { snapshot, seen: 0 }), false)
            }
        };
        let borders = Borders::new(&self.nc, root);
        let progress =
            Progress { scribe, borders, cookie, snapshot, usn: terms.highest_committed_usn, passed_over, found: 0 };
        self.show(&progress);
        Ok(progress)
    }

    /// Reads one page and puts it on its way, all but what must go with its cursor.
    async fn page(
        &mut self,
        session: &mut Session,
        terms: &Terms,
        progress: &mut Progress,
    ) -> Result<DirSyncResponse, Trouble> {
        let base = self.nc.to_string();
        let query = Query {
            base: &base,
            scope: Scope::Subtree,
            filter: FILTER,
            attributes: terms.attributes.clone(),
            controls: vec![
                control::dirsync(terms.flags, self.config.page_bytes, progress.cookie.as_bytes()),
                control::extended_dn(),
                control::show_deleted(),
            ],
            size_limit: 0,
        };
        progress.passed_over |= self.deletions_visible != Some(true);
        let first_page = progress.cookie.is_empty();
        let mode = match &progress.snapshot {
            Some(snapshot) => Mode::Snapshot { id: snapshot.snapshot, first_page },
            None => Mode::Delta,
        };
        let anchor = progress.anchor(self.position.written);
        let mut arrivals = Arrivals::default();
        let mut answer = session.search(query).await?;
        while let Some(entry) = answer.next().await? {
            progress.found += 1;
            let changes = Changes::decode(&entry, &self.wanted)?;
            if !progress.borders.is_foreign(&changes)
                && let Some(changes) = arrivals.keep(changes, mode)
            {
                self.take(changes, mode, &anchor, progress).await?;
            }
        }
        let outcome = answer.finish().await;
        if outcome.code != 0 {
            return Err(self.refused(outcome.code, outcome.text, first_page));
        }
        let response = control::dirsync_response(&outcome.controls)
            .map_err(|source| Trouble::Control { naming_context: self.nc.clone(), source })?;
        let (arrived, complete) = arrivals.complete(session, &self.wanted).await?;
        progress.passed_over |= !complete;
        for changes in arrived {
            self.take(changes, mode, &anchor, progress).await?;
        }
        Ok(response)
    }

    pub(crate) async fn take(
        &mut self,
        mut changes: Changes,
        mode: Mode,
        anchor: &[u8],
        progress: &mut Progress,
    ) -> Result<(), Trouble> {
        if changes.dn == self.nc {
            changes.parent = None;
        }
        if changes.life == Life::Deleted && self.deletions_visible != Some(true) {
            self.deletions_visible = Some(true);
            self.status.update(|row| row.deletions_visible = Some(true));
        }
        progress.passed_over |= self.notice(&changes, mode);
        let object = changes.object;
        for event in events::translate(changes, mode) {
            if let Some(images) = &mut self.images {
                images.apply(Some(object), &event);
            }
            if let (ChangeEvent::ObjectObserved(_), Some(snapshot)) = (&event, &mut progress.snapshot) {
                snapshot.seen += 1;
            }
            if self.appender.push(progress.scribe.record(anchor, Some(object), &event)?).await? {
                self.show(progress);
            }
        }
        Ok(())
    }

    /// Takes note, once for each attribute, of what an entry cannot tell. Whether it may be removals.
    fn notice(&mut self, changes: &Changes, mode: Mode) -> bool {
        let mut unseen = false;
        for attribute in &changes.withheld {
            if self.noticed.insert(attribute.clone()) {
                tracing::info!(forest.id = self.config.name, naming_context = %self.nc, attribute,
                    "empty, but the account may be unable to read it: not taken for cleared");
            }
        }
        let whole = changes.links.iter().filter(|links| links.whole && mode == Mode::Delta);
        for links in whole.filter(|_| changes.life != Life::Deleted) {
            unseen = true;
            if self.noticed.insert(format!("{} as a whole", links.attribute)) {
                tracing::warn!(forest.id = self.config.name, naming_context = %self.nc, attribute = links.attribute,
                    "the controller gives all values instead of those that changed; removals are found by full reads");
            }
        }
        unseen
    }

    fn refused(&self, code: u32, text: String, first_page: bool) -> Trouble {
        if blames_the_cookie(code) && !first_page {
            return Trouble::CookieRefused { naming_context: self.nc.clone(), code, text };
        }
        SearchError::Result { base: self.nc.to_string(), code, text }.into()
    }

    /// Ends a full read, if it is certain that what it did not show is not there.
    pub(crate) async fn complete(&mut self, session: &mut Session, progress: &mut Progress) -> Result<(), Trouble> {
        self.verify_rights(session).await?;
        self.verify_sight(session).await?;
        progress.passed_over |= self.deletions_visible != Some(true);
        let Some(SnapshotProgress { snapshot, seen }) = progress.snapshot.clone() else {
            return Ok(());
        };
        if seen < 2 {
            return Err(Trouble::Blind { naming_context: self.nc.clone(), what: "anything below the root" });
        }
        let event = ChangeEvent::SnapshotCompleted(SnapshotCompleted { snapshot, seen });
        self.appender.add(progress.scribe.record(snapshot.0.as_bytes(), None, &event)?)
    }

    /// Ends a page: writes its cursor with what is left of it, or keeps the cursor in memory where there is nothing else to
    /// write and nothing would be lost with it.
    pub(crate) async fn advance(
        &mut self,
        terms: &Terms,
        progress: &mut Progress,
        complete: bool,
    ) -> Result<(), Trouble> {
        let cursor = Cursor {
            controller: terms.controller.clone(),
            method: terms.method,
            highest_committed_usn: progress.usn,
            naming_context: terms.naming_context.clone(),
            flags: terms.flags,
            attributes: terms.attributes.clone(),
            cookie: progress.cookie.clone(),
            snapshot: progress.snapshot.clone().filter(|_| !complete),
            complete,
            passed_over: progress.passed_over,
        };
        let known = self.position.cursor.as_ref().is_some_and(|cursor| cursor.passed_over);
        let moved = progress.usn.0.saturating_sub(self.written_usn.0);
        let worth = !self.appender.is_empty() || progress.snapshot.is_some() || moved > QUIET_USNS;
        let worth = worth || progress.passed_over != known;
        if worth || self.position.written.is_none() {
            let id = cursor.id();
            let event = CursorAdvanced { from: self.position.written, to: cursor.clone() };
            let event = ChangeEvent::CursorAdvanced(event);
            self.appender.add(progress.scribe.record(id.0.as_bytes(), None, &event)?)?;
            self.appender.flush().await?;
            self.position.written = Some(id);
            self.written_usn = progress.usn;
        }
        self.position.dirty = false;
        self.position.open = cursor.snapshot.as_ref().map(|progress| progress.snapshot);
        self.position.confirmed = Some(clock::now());
        self.position.cursor = Some(cursor);
        if let (true, Some(done)) = (complete, &progress.snapshot) {
            self.appender.settle().await?;
            tracing::info!(forest.id = self.config.name, naming_context = %self.nc, seen = done.seen, "a full read is complete");
            self.position.completed = Some(clock::now());
            self.snapshot_done();
        }
        Ok(())
    }

    fn show(&self, progress: &Progress) {
        let phase = match &progress.snapshot {
            Some(snapshot) => Phase::Snapshot { seen: snapshot.seen },
            None => return,
        };
        self.status.update(|row| row.phase = phase);
    }
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
