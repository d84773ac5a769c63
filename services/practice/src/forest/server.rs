//! What all connections of one practice forest share: the directory, the accounts, the faults, the counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use rand_chacha::ChaCha8Rng;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::add::Outside;
use super::options::{AccountOptions, ForestOptions};
use super::store::{Refusal, Store};
use super::view::Access;

/// The state behind every connection and every control handle.
pub(crate) struct Shared {
    pub(crate) options: ForestOptions,
    pub(crate) tls: Arc<ServerConfig>,
    store: RwLock<Store>,
    random: Mutex<ChaCha8Rng>,
    accounts: RwLock<Vec<Account>>,
    faults: Mutex<Faults>,
    pub(crate) counters: Counters,
    /// The newest USN, for those who wait for changes.
    pub(crate) newest: watch::Sender<u64>,
    pub(crate) paused: watch::Sender<bool>,
    /// Goes up each time all connections are to be cut.
    pub(crate) cuts: watch::Sender<u64>,
    pub(crate) stop: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

/// An account that can bind.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) options: AccountOptions,
    pub(crate) access: Access,
}

/// Faults that are waiting to happen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) cut_after: Option<u64>,
    /// Searches are answered with it, so often.
    pub(crate) search: Option<(u32, Refusal)>,
    /// Binds are answered with it, so often.
    pub(crate) bind: Option<(u32, Refusal)>,
    /// The next search is answered with a notice of disconnection.
    pub(crate) notice: Option<Refusal>,
    /// Added to every entry, whatever was asked for.
    pub(crate) unasked: Option<(String, String)>,
}

/// Takes one of the refusals that wait.
fn take(waiting: &mut Option<(u32, Refusal)>) -> Option<Refusal> {
    let (left, refusal) = waiting.as_mut()?;
    let refusal = refusal.clone();
    *left = left.saturating_sub(1);
    if *left == 0 {
        *waiting = None;
    }
    Some(refusal)
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connections: AtomicU64,
    pub(crate) binds: AtomicU64,
    pub(crate) refused_binds: AtomicU64,
    pub(crate) searches: AtomicU64,
    pub(crate) dirsync_searches: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) writes: AtomicU64,
}

/// How often something has happened since the forest started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForestCounters {
    /// Connections accepted.
    pub connections: u64,
    /// Successful binds.
    pub binds: u64,
    /// Binds with a wrong name or password.
    pub refused_binds: u64,
    /// Searches of any kind, DirSync included.
    pub searches: u64,
    /// DirSync searches, one per page.
    pub dirsync_searches: u64,
    /// Search result entries written to a connection.
    pub entries: u64,
    /// Successful adds, modifies, renames and deletes.
    pub writes: u64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> ForestCounters {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        ForestCounters {
            connections: get(&self.connections),
            binds: get(&self.binds),
            refused_binds: get(&self.refused_binds),
            searches: get(&self.searches),
            dirsync_searches: get(&self.dirsync_searches),
            entries: get(&self.entries),
            writes: get(&self.writes),
        }
    }
}

impl Shared {
    pub(crate) fn new(options: ForestOptions, tls: Arc<ServerConfig>, store: Store, random: ChaCha8Rng) -> Self {
        let accounts = [&options.admin, &options.reader]
            .into_iter()
            .map(|o| Account { options: o.clone(), access: o.access() })
            .collect();
        let newest = watch::Sender::new(store.usn);
        Self {
            options,
            tls,
            store: RwLock::new(store),
            random: Mutex::new(random),
            accounts: RwLock::new(accounts),
            faults: Mutex::default(),
            counters: Counters::default(),
            newest,
            paused: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            stop: CancellationToken::new(),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> RwLockWriteGuard<'_, Store> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn accounts(&self) -> RwLockReadGuard<'_, Vec<Account>> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn accounts_mut(&self) -> RwLockWriteGuard<'_, Vec<Account>> {
        self.accounts.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the account of a connection may do now.
    pub(crate) fn access(&self, account: Option<usize>) -> Access {
        account.and_then(|at| self.accounts().get(at).map(|a| a.access)).unwrap_or_default()
    }

    /// Makes one change and tells those who wait for changes.
    pub(crate) fn write<T>(
        &self,
        change: impl FnOnce(&mut Store, &mut Outside<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut store = self.store();
        let mut out = Outside { random: &mut random, now: now() };
        let result = change(&mut store, &mut out);
        let newest = store.usn;
        drop(store);
        self.newest.send_if_modified(|usn| std::mem::replace(usn, newest) != newest);
        result
    }

    /// Takes a waiting refusal of a search, if there is one.
    pub(crate) fn take_refusal(&self) -> Option<Refusal> {
        take(&mut self.faults().search)
    }

    /// Takes a waiting refusal of a bind, if there is one.
    pub(crate) fn take_bind_refusal(&self) -> Option<Refusal> {
        take(&mut self.faults().bind)
    }
}

/// Wall time in seconds since 1970.
#[allow(clippy::disallowed_methods, reason = "a practice controller has a wall clock of its own, like a real one")]
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
