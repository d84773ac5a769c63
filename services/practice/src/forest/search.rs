//! Answers to searches: the rootDSE, ordinary searches with paging, DirSync, change notification.
//!
//! A search holds the directory's lock only while it looks at a few hundred objects, and writes what it found before
//! it looks at the next: an answer of any size takes little memory, and a slow client slows down only itself.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ldap3_proto::DisconnectionNotice;
use ldap3_proto::LdapResultCode as Rc;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{
    LdapOp, LdapPartialAttribute, LdapResult, LdapSearchRequest, LdapSearchResultReference, LdapSearchScope,
};
use tokio_util::sync::CancellationToken;

use super::dirsync::{Cycle, OBJECT_SECURITY, Position, Step};
use super::filter::{Filter, Hint};
use super::object::{Context, Id};
use super::outlet::{Outlet, refused, success};
use super::request::{Controls, DirSync};
use super::root_dse;
use super::server::{Counters, Shared};
use super::store::{Refusal, Store};
use super::view::{Access, Selection, View};
use super::writer::{Stop, Writer};

/// How many objects are looked at before the lock is given back.
const CHUNK_OBJECTS: usize = 256;
/// How many change notifications one connection may have (MaxNotificationPerConn).
const NOTIFICATIONS_MAX: usize = 5;
/// How many paged searches one connection may leave open.
const PAGES_MAX: usize = 32;

/// What the searches of one connection share.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) outlet: Outlet,
    pages: Mutex<HashMap<u32, Pages>>,
    next_page: AtomicUsize,
    notifications: AtomicUsize,
}

/// A paged search between two pages.
#[derive(Debug)]
struct Pages {
    ids: Vec<Id>,
    at: usize,
}

/// One search request on its way.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) id: i32,
    pub(crate) request: LdapSearchRequest,
    pub(crate) controls: Controls,
    /// The account that the connection was bound as.
    pub(crate) account: Option<usize>,
    /// Set when the client abandons the search.
    pub(crate) abandoned: CancellationToken,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, outlet: Outlet) -> Self {
        Self {
            shared,
            outlet,
            pages: Mutex::default(),
            next_page: AtomicUsize::new(1),
            notifications: AtomicUsize::new(0),
        }
    }

    /// Answers one search to its end.
    pub(crate) async fn search(&self, search: Search) {
        Counters::add(&self.shared.counters.searches, 1);
        let (result, controls) = match self.answer(&search).await {
            Ok(done) => done,
            Err(Stop::Silent) => return,
            Err(Stop::Refused(refusal)) => (refused(refusal), vec![]),
        };
        // Nobody is there to hear that an answer could not be sent.
        let _closed = self.outlet.answer(search.id, LdapOp::SearchResultDone(result), controls).await;
    }

    async fn answer(&self, search: &Search) -> Result<(LdapResult, Vec<LdapControl>), Stop> {
        let request = &search.request;
        if request.base.is_empty() && request.scope == LdapSearchScope::Base {
            let entry = root_dse::entry(&self.shared.read(), &request.attrs);
            let mut writer = self.writer(search, false);
            writer.entry(&entry);
            writer.flush().await?;
            return Ok((success(), vec![]));
        }
        if search.account.is_none() {
            let message = "000004DC: Operation unavailable without authentication";
            return Err(Refusal::new(Rc::OperationsError, message).into());
        }
        if search.controls.notification {
            return self.notify(search).await;
        }
        let notice = self.shared.faults().notice.take();
        if let Some(Refusal { code, message }) = notice {
            let notice = DisconnectionNotice::gen_response(code, &message);
            self.outlet.answer(0, notice.op, vec![]).await?;
            self.outlet.cut.cancel();
            return Err(Stop::Silent);
        }
        if let Some(refusal) = self.shared.take_refusal() {
            return Err(refusal.into());
        }
        match &search.controls.dirsync {
            Some(dirsync) => self.dirsync(search, dirsync).await,
            None => self.ordinary(search).await,
        }
    }

    fn writer<'a>(&'a self, search: &'a Search, faulty: bool) -> Writer<'a> {
        let fuse = if faulty { self.shared.faults().cut_after.take() } else { None };
        Writer::new(self, search, fuse)
    }

    fn view(&self, search: &Search, show_deleted: bool) -> View {
        View {
            access: self.shared.access(search.account),
            extended: search.controls.extended,
            show_deleted,
            max_val_range: self.shared.options.max_val_range,
        }
    }

    async fn ordinary(&self, search: &Search) -> Result<(LdapResult, Vec<LdapControl>), Stop> {
        let view = self.view(search, search.controls.show_deleted);
        let selection = Selection::new(&search.request.attrs, search.request.typesonly);
        let (filter, mut pages, top) = {
            let store = self.shared.read();
            let top = base(&store, &view, &search.request.base)?;
            let filter = Filter::new(&search.request.filter, &store)?;
            let pages = self.resume(search, || candidates(&store, &search.request, &filter, top))?;
            (filter, pages, top)
        };
        let limit = self.shared.options.max_page_size;
        let page = search.controls.paged.as_ref().map(|(size, _)| (*size).clamp(1, limit));
        let wanted = usize::try_from(search.request.sizelimit).ok().filter(|n| *n > 0);
        let mut writer = self.writer(search, search.request.scope != LdapSearchScope::Base);
        let mut sent = 0;
        let (mut full, mut exceeded) = (false, false);
        while pages.at < pages.ids.len() && !full {
            {
                let store = self.shared.read();
                let end = (pages.at + CHUNK_OBJECTS).min(pages.ids.len());
                while pages.at < end && !writer.full() && !full {
                    let id = pages.ids[pages.at];
                    if view.sees(&store, id) && filter.matches(&store, &view, id) == Some(true) {
                        if page == Some(sent) {
                            full = true;
                            break;
                        }
                        if wanted == Some(sent) || (page.is_none() && sent == limit) {
                            exceeded = true;
                            break;
                        }
                        writer.entry(&view.entry(&store, id, &selection));
                        sent += 1;
                    }
                    pages.at += 1;
                }
            }
            writer.flush().await?;
            if exceeded {
                return Err(Refusal::new(Rc::SizeLimitExceeded, "size limit exceeded").into());
            }
        }
        let mut controls = Vec::new();
        if page.is_some() {
            let cookie = if full { self.suspend(pages) } else { Vec::new() };
            controls.push(LdapControl::SimplePagedResults { size: 0, cookie });
        }
        if !full && search.request.scope == LdapSearchScope::Subtree && !search.controls.domain_scope {
            self.refer(search, top).await?;
        }
        Ok((success(), controls))
    }

    /// Points to the naming contexts below the one that was searched.
    async fn refer(&self, search: &Search, top: Id) -> Result<(), Stop> {
        let uri = {
            let store = self.shared.read();
            let below = match store.context_of_root(top) {
                Some(Context::Domain) => store.landmarks.configuration,
                Some(Context::Configuration) => store.landmarks.schema,
                _ => return Ok(()),
            };
            format!("ldap://{}/{}", store.names.dns_domain, store.dn(below))
        };
        let reference = LdapSearchResultReference { uris: vec![uri] };
        Ok(self.outlet.answer(search.id, LdapOp::SearchResultReference(reference), vec![]).await?)
    }

    /// The candidates of a new search, or those that an earlier page left.
    fn resume(&self, search: &Search, fresh: impl FnOnce() -> Vec<Id>) -> Result<Pages, Refusal> {
        match &search.controls.paged {
            Some((_, cookie)) if !cookie.is_empty() => {
                let key = cookie.as_slice().try_into().map(u32::from_le_bytes).ok();
                let found = key.and_then(|k| self.pages.lock().unwrap_or_else(PoisonError::into_inner).remove(&k));
                found.ok_or_else(|| Refusal::new(Rc::UnwillingToPerform, "the page cookie is not of this connection"))
            }
            _ => Ok(Pages { ids: fresh(), at: 0 }),
        }
    }

    fn suspend(&self, pages: Pages) -> Vec<u8> {
        let key = self.next_page.fetch_add(1, Ordering::Relaxed) as u32;
        let mut open = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= PAGES_MAX
            && let Some(oldest) = open.keys().min().copied()
        {
            open.remove(&oldest);
        }
        open.insert(key, pages);
        key.to_le_bytes().to_vec()
    }

    async fn dirsync(&self, search: &Search, asked: &DirSync) -> Result<(LdapResult, Vec<LdapControl>), Stop> {
        Counters::add(&self.shared.counters.dirsync_searches, 1);
        let view = self.view(search, true);
        let mut cycle = {
            let store = self.shared.read();
            cycle(&store, search, asked, view, self.shared.options.max_link_values)?
        };
        let mut writer = self.writer(search, true);
        let (mut sent, mut bytes) = (0, 0);
        let (most, max_bytes) = (self.shared.options.max_page_objects.max(1), asked.max_bytes.unwrap_or(usize::MAX));
        let mut done = false;
        let mut before = Vec::new();
        let cookie = loop {
            let cookie = {
                let store = self.shared.read();
                for _ in 0..CHUNK_OBJECTS {
                    if done || writer.full() || sent >= most || bytes >= max_bytes {
                        break;
                    }
                    let step = cycle.step(&store, &mut before);
                    for entry in before.drain(..) {
                        bytes += writer.entry(&entry);
                        sent += 1;
                    }
                    match step {
                        Step::Entry(entry) => {
                            bytes += writer.entry(&entry);
                            sent += 1;
                        }
                        Step::Skipped => {}
                        Step::End => done = true,
                    }
                }
                if !done && (sent >= most || bytes >= max_bytes) && cycle.at_end(&store) {
                    done = true;
                }
                cycle.position.cookie(&store, cycle.context)
            };
            writer.flush().await?;
            if done || sent >= most || bytes >= max_bytes {
                break cookie;
            }
        };
        let control = LdapControl::AdDirsync { flags: i64::from(!done), max_bytes: 0, cookie: Some(cookie) };
        Ok((success(), vec![control]))
    }

    /// Stays open and sends each object that changes, until the client abandons it.
    async fn notify(&self, search: &Search) -> Result<(LdapResult, Vec<LdapControl>), Stop> {
        let view = self.view(search, search.controls.show_deleted);
        let selection = Selection::new(&search.request.attrs, search.request.typesonly);
        let mut newest = self.shared.newest.subscribe();
        let (top, mut last) = {
            let store = self.shared.read();
            if !Filter::new(&search.request.filter, &store)?.is_everything() {
                return Err(Refusal::new(Rc::UnwillingToPerform, "Search filter too complex").into());
            }
            (base(&store, &view, &search.request.base)?, store.usn)
        };
        if self.notifications.fetch_add(1, Ordering::SeqCst) >= NOTIFICATIONS_MAX {
            self.notifications.fetch_sub(1, Ordering::SeqCst);
            return Err(Refusal::new(Rc::AdminLimitExceeded, "MaxNotificationPerConn reached").into());
        }
        let mut writer = self.writer(search, false);
        let ended = loop {
            let changed = tokio::select! {
                () = search.abandoned.cancelled() => break Stop::Silent,
                changed = newest.changed() => changed,
            };
            if changed.is_err() {
                break Stop::Silent;
            }
            if let Err(stop) = self.tell(search, &selection, &mut writer, top, &mut last).await {
                break stop;
            }
        };
        self.notifications.fetch_sub(1, Ordering::SeqCst);
        Err(ended)
    }

    /// Sends what changed after `last` below `top`.
    async fn tell(
        &self,
        search: &Search,
        selection: &Selection,
        writer: &mut Writer<'_>,
        top: Id,
        last: &mut u64,
    ) -> Result<(), Stop> {
        let view = self.view(search, search.controls.show_deleted);
        loop {
            let more = {
                let store = self.shared.read();
                // After a roll-back the USN starts again below what was seen.
                *last = (*last).min(store.usn);
                let mut more = false;
                for (seen, (usn, id)) in store.changed_after(*last).enumerate() {
                    if seen == CHUNK_OBJECTS || writer.full() {
                        more = true;
                        break;
                    }
                    *last = usn;
                    if view.sees(&store, id) && in_scope(&store, id, top, &search.request.scope) {
                        writer.entry(&view.entry(&store, id, selection));
                    }
                }
                more
            };
            writer.flush().await?;
            if !more {
                return Ok(());
            }
        }
    }
}

/// The object that a search starts from.
fn base(store: &Store, view: &View, dn: &str) -> Result<Id, Refusal> {
    let found = store.resolve(dn)?;
    let deleted_container = Some(store.landmarks.deleted);
    found
        .filter(|id| view.sees(store, *id) || (found == deleted_container && view.show_deleted))
        .ok_or_else(|| Refusal::new(Rc::NoSuchObject, format!("0000208D: no such base object: {dn}")))
}

fn in_scope(store: &Store, id: Id, top: Id, scope: &LdapSearchScope) -> bool {
    match scope {
        LdapSearchScope::Base => id == top,
        LdapSearchScope::OneLevel => store.get(id).parent == top && store.get(id).context == store.get(top).context,
        LdapSearchScope::Subtree | LdapSearchScope::Children => {
            store.get(id).context == store.get(top).context && store.is_within(id, top)
        }
    }
}

/// The objects that a search has to look at.
fn candidates(store: &Store, request: &LdapSearchRequest, filter: &Filter, top: Id) -> Vec<Id> {
    let scoped = |ids: &mut dyn Iterator<Item = Id>| -> Vec<Id> {
        ids.filter(|id| in_scope(store, *id, top, &request.scope)).collect()
    };
    if request.scope == LdapSearchScope::Base {
        return vec![top];
    }
    match filter.hint(store) {
        Hint::Ids(ids) => return scoped(&mut ids.into_iter()),
        Hint::ChangedAfter(usn) => return scoped(&mut store.changed_after(usn).map(|(_, id)| id)),
        Hint::None => {}
    }
    if request.scope == LdapSearchScope::OneLevel {
        return scoped(&mut store.children(top));
    }
    scoped(&mut store.subtree(top).into_iter())
}

fn cycle(store: &Store, search: &Search, asked: &DirSync, view: View, max_values: usize) -> Result<Cycle, Refusal> {
    let security = asked.flags & OBJECT_SECURITY != 0;
    let request = &search.request;
    let top = store
        .resolve(&request.base)?
        .filter(|id| !request.base.is_empty() && !store.get(*id).deleted)
        .ok_or_else(|| Refusal::new(Rc::NoSuchObject, format!("0000208D: no such base object: {}", request.base)))?;
    let Some(context) = store.context_of_root(top) else {
        let code = if security { Rc::UnwillingToPerform } else { Rc::InsufficentAccessRights };
        return Err(Refusal::new(code, "DN is not one of the naming context"));
    };
    let Access { dirsync, .. } = view.access;
    if !security && !dirsync {
        let message = "error in module dirsync: insufficient access rights during LDB_SEARCH (50)";
        return Err(Refusal::new(Rc::InsufficentAccessRights, message));
    }
    Ok(Cycle {
        position: Position::from_cookie(&asked.cookie, store, context)?,
        context,
        flags: asked.flags,
        filter: Filter::new(&request.filter, store)?,
        selection: Selection::new(&request.attrs, request.typesonly),
        view,
        max_values: max_values.max(1),
        ahead: HashSet::new(),
    })
}

/// An attribute with text values.
pub(crate) fn text(name: &str, values: Vec<String>) -> LdapPartialAttribute {
    LdapPartialAttribute { atype: name.to_owned(), vals: values.into_iter().map(String::into_bytes).collect() }
}
