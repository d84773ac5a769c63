//! Opening the ledger, and moving one aside that cannot be.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use forestsync_runtime::clock;

use super::recent::Recent;
use super::{Store, StoreError, codec, keys};

const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// sled lets go of its own lock some time after it was dropped.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// What opening found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub store: Store,
    /// Where the ledger went that could not be opened.
    pub moved: Option<PathBuf>,
}

impl Store {
    /// Opens the ledger in a folder, making it if there is none. One that is damaged is moved aside. Blocks.
    pub(crate) fn open(folder: &Path) -> Result<Opened, StoreError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, source }
        };
        fs::create_dir_all(folder).map_err(io(folder))?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(StoreError::Io { path: lock_path, source }),
        }
        let ledger = folder.join("ledger");
        match open_tree(&ledger, true) {
            Ok(tree) => Ok(Opened { store: Self { tree, recent: Mutex::default(), _lock: lock }, moved: None }),
            Err(Unusable::Now(error)) => Err(error),
            Err(Unusable::Ever(detail)) => {
                tracing::error!(error = %detail, "the ledger cannot be opened and is rebuilt from the log");
                let moved = move_aside(folder, &ledger)?;
                match open_tree(&ledger, true) {
                    Ok(tree) => {
                        Ok(Opened { store: Self { tree, recent: Mutex::default(), _lock: lock }, moved: Some(moved) })
                    }
                    Err(Unusable::Now(error)) => Err(error),
                    Err(Unusable::Ever(detail)) => Err(StoreError::Damaged { key: "a new ledger".into(), detail }),
                }
            }
        }
    }

    /// Opens the ledger in a folder to read single rows of it, without a look at the others; nothing if there is none.
    /// Blocks.
    pub(crate) fn open_to_read(folder: &Path) -> Result<Option<Self>, StoreError> {
        let ledger = folder.join("ledger");
        if !ledger.is_dir() {
            return Ok(None);
        }
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(|source| StoreError::Io { path: path.clone(), source })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(StoreError::Io { path, source }),
        }
        match open_tree(&ledger, false) {
            Ok(tree) => Ok(Some(Self { tree, recent: Mutex::default(), _lock: lock })),
            Err(Unusable::Now(error)) => Err(error),
            Err(Unusable::Ever(detail)) => Err(StoreError::Damaged { key: "its database".into(), detail }),
        }
    }

    /// Empties the ledger, because the log does not fit it; both are kept apart from now on.
    pub(crate) fn clear(&self) -> Result<(), StoreError> {
        *self.recent() = Recent::default();
        self.tree.clear().map_err(StoreError::Database)
    }

    /// Forgets removals from before a time in milliseconds since 1970.
    pub(crate) fn forget_removals(&self, before: i64) -> Result<(), StoreError> {
        for key in self.tree.range(vec![keys::WINDOW]..keys::window(before, 0, 0)).keys() {
            self.tree.remove(key.map_err(StoreError::Database)?).map_err(StoreError::Database)?;
        }
        Ok(())
    }
}

enum Unusable {
    /// It may be usable later.
    Now(StoreError),
    /// It will not.
    Ever(String),
}

/// Opens the database; `checks`: and looks at every row of it.
fn open_tree(path: &Path, checks: bool) -> Result<sled::Db, Unusable> {
    let mut waited = Duration::ZERO;
    loop {
        // sled panics on some kinds of damage
        let attempt = std::panic::catch_unwind(|| {
            let config = sled::Config::default().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(1_000));
            let tree = config.open()?;
            let fault = if checks { whole(&tree)? } else { None };
            Ok((tree, fault))
        });
        match attempt {
            Ok(Ok((tree, None))) => return Ok(tree),
            Ok(Ok((_, Some(fault)))) => return Err(Unusable::Ever(fault)),
            Ok(Err(sled::Error::Io(source))) if source.to_string().contains("lock") => {
                if waited >= LOCK_PATIENCE {
                    return Err(Unusable::Now(StoreError::Busy(path.to_owned())));
                }
                std::thread::sleep(Duration::from_millis(20));
                waited += Duration::from_millis(20);
            }
            Ok(Err(sled::Error::Io(source))) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Unusable::Now(StoreError::Io { path: path.to_owned(), source }));
            }
            Ok(Err(error)) => return Err(Unusable::Ever(error.to_string())),
            Err(_) => return Err(Unusable::Ever("the database gave up while it was opened".into())),
        }
    }
}

/// Reads every row once; says what is wrong with the first bad one.
fn whole(tree: &sled::Db) -> Result<Option<String>, sled::Error> {
    for entry in tree.iter() {
        let (key, value) = entry?;
        let checked = match key.first().copied() {
            Some(keys::OBJECT) => codec::decode::<super::ObjectRow>(&key, &value).map(|_| ()),
            Some(keys::EDGE) => codec::decode::<super::EdgeRow>(&key, &value).map(|_| ()),
            Some(keys::REVERSE) => codec::decode::<()>(&key, &value),
            Some(keys::INTENT) => codec::decode::<super::Intent>(&key, &value).map(|_| ()),
            Some(keys::WINDOW) => codec::decode::<super::Removal>(&key, &value).map(|_| ()),
            Some(b'f') => codec::decode::<super::Flow>(&key, &value).map(|_| ()),
            Some(keys::CLOUD) => codec::decode::<String>(&key, &value).map(|_| ()),
            Some(keys::WATCH) => codec::decode::<super::Watch>(&key, &value).map(|_| ()),
            Some(keys::MARK) => codec::decode::<u64>(&key, &value).map(|_| ()),
            Some(keys::SUSPECT) => codec::decode::<super::Suspect>(&key, &value).map(|_| ()),
            Some(keys::HINT) => codec::decode::<super::Hint>(&key, &value).map(|_| ()),
            Some(b'm') => codec::decode::<super::Meta>(&key, &value).map(|_| ()),
            _ => Err(StoreError::Damaged { key: keys::show(&key), detail: "nobody writes such a row".into() }),
        };
        if let Err(error) = checked {
            return Ok(Some(error.to_string()));
        }
    }
    Ok(None)
}

/// Keeps the damaged ledger for whoever wants to know; an earlier one goes.
fn move_aside(folder: &Path, ledger: &Path) -> Result<PathBuf, StoreError> {
    let prefix = "ledger.damaged-";
    let io = |source| StoreError::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path()).map_err(io)?;
        }
    }
    let aside = folder.join(format!("{prefix}{}", clock::now().as_second()));
    fs::rename(ledger, &aside).map_err(|source| StoreError::Io { path: ledger.to_owned(), source })?;
    Ok(aside)
}
