//! The one module that names sled.
//!
//! sled 0.34.7 panics as well as fails on damaged files, so everything that reads is run under [`guarded`], and what is
//! read is checked: values are framed, and [`Store::check`] compares the sums of all rows with those the last batch left.
//! A database is never the only copy of anything: whoever finds it damaged moves it aside and reads the log again.

use std::any::Any;
use std::fs::{File, TryLockError};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::behind::{Merged, Rows};
use crate::rows::{Meta, RowError, VERSION};
use crate::{StoreError, digest, keys, rows};

/// Bytes as the store holds them: cheap to clone.
pub(crate) type Value = sled::IVec;

/// What one batch writes: `None` removes.
pub(crate) type Changes = Vec<(Vec<u8>, Option<Value>)>;

/// Bytes of pages that sled keeps in memory.
const CACHE_BYTES: u64 = 48 * 1024 * 1024;
/// Rows from which on a batch is written behind; for fewer a thread is not worth it. The histories of tests are small.
const MANY: usize = if cfg!(test) { 4 } else { 500 };
/// Rows of one batch of a database that is filled.
const FILL_ROWS: usize = 10_000;
/// How long sled's own lock may outlive the handle that was dropped just now.
const LINGER: Duration = Duration::from_millis(20);
const LINGER_TIMES: u32 = 250;

/// An open database. Holds a lock against other processes for as long as it lives.
#[derive(Debug)]
pub(crate) struct Store {
    tree: sled::Db,
    directory: PathBuf,
    /// The batch that is being written, or was written last.
    under_way: Mutex<Option<UnderWay>>,
    _lock: File,
}

/// A batch that is written behind.
#[derive(Debug)]
struct UnderWay {
    rows: Arc<Rows>,
    thread: JoinHandle<std::result::Result<(), sled::Error>>,
}

/// Runs what may panic on damage, and turns the panic into an error.
pub(crate) fn guarded<T>(directory: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let detail = format!("reading it panicked: {}", said(&*panic));
        Err(StoreError::Damaged { directory: directory.to_owned(), detail })
    })
}

/// What a panic says, in part.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").chars().take(300).collect()
}

impl Store {
    /// Opens or makes the database. [`StoreError::Damaged`] if it is not whole; any other error leaves it alone.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        let lock = lock(directory)?;
        guarded(directory, || Self::open_locked(directory, lock))
    }

    fn open_locked(directory: &Path, lock: File) -> Result<Self, StoreError> {
        let config = sled::Config::default().path(directory).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let mut tries = 0;
        let tree = loop {
            match config.open() {
                Ok(tree) => break tree,
                // we hold our own lock, so this is a handle of this process that is just being dropped
                Err(sled::Error::Io(error)) if is_lingering(&error) && tries < LINGER_TIMES => {
                    tries += 1;
                    std::thread::sleep(LINGER);
                }
                Err(error) => return Err(failed(directory, error)),
            }
        };
        let store = Self { tree, directory: directory.to_owned(), under_way: Mutex::new(None), _lock: lock };
        store.check_format()?;
        store.check()?;
        Ok(store)
    }

    /// Makes a database of these rows, which hold the store's own. The directory must be empty or absent.
    pub(crate) fn fill<E: From<StoreError>>(
        directory: &Path,
        rows: impl Iterator<Item = Result<(Vec<u8>, Value), E>>,
    ) -> Result<(), E> {
        let _lock = lock(directory)?;
        let config = sled::Config::default().path(directory).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let tree = config.open().map_err(|e| failed(directory, e))?;
        let (mut batch, mut count) = (sled::Batch::default(), 0);
        for row in rows {
            let (key, value) = row?;
            batch.insert(key, value);
            count += 1;
            if count % FILL_ROWS == 0 {
                tree.apply_batch(std::mem::take(&mut batch)).map_err(|e| failed(directory, e))?;
            }
        }
        tree.apply_batch(batch).map_err(|e| failed(directory, e))?;
        tree.flush().map_err(|e| failed(directory, e))?;
        Ok(())
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let expected: &[u8] = &[b'f', b's', b'p', VERSION];
        match self.get(FORMAT_KEY)? {
            Some(found) if found == expected => Ok(()),
            None if self.tree.is_empty() => {
                self.tree.insert(FORMAT_KEY, expected).map_err(|e| failed(&self.directory, e))?;
                Ok(())
            }
            _ => Err(self.damaged("it is of another format or version".into())),
        }
    }

    /// Compares the sums of all rows with those of the store's own row.
    fn check(&self) -> Result<(), StoreError> {
        let (mut state, mut rest) = (0u128, 0u128);
        for row in self.tree.iter() {
            let (key, value) = row.map_err(|e| failed(&self.directory, e))?;
            if key.first().is_some_and(|prefix| *prefix != keys::META) {
                let of = digest::of_row(&key, &value);
                (state, rest) = (state.wrapping_add(of.0), rest.wrapping_add(of.1));
            }
        }
        let meta = self.meta()?.unwrap_or_default();
        if (state, rest) == (meta.state_digest, meta.rest_digest) {
            Ok(())
        } else {
            Err(self.damaged("rows are missing or changed".into()))
        }
    }

    /// The store's own row.
    pub(crate) fn meta(&self) -> Result<Option<Meta>, StoreError> {
        let bytes = self.get(STATE_KEY)?;
        bytes.map(|bytes| rows::decode(STATE_KEY, &bytes)).transpose().map_err(|e| self.unreadable(&e))
    }

    pub(crate) fn damaged(&self, detail: String) -> StoreError {
        StoreError::Damaged { directory: self.directory.clone(), detail }
    }

    pub(crate) fn unreadable(&self, error: &RowError) -> StoreError {
        self.damaged(error.to_string())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        if let Some(value) = self.behind().and_then(|rows| rows.get(key).cloned()) {
            return Ok(value);
        }
        self.tree.get(key).map_err(|e| failed(&self.directory, e))
    }

    /// The rows that may not be in the tree yet.
    fn behind(&self) -> Option<Arc<Rows>> {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.as_ref().map(|batch| Arc::clone(&batch.rows))
    }

    /// Waits until all that was committed is in the tree.
    fn settle(&self) -> Result<(), StoreError> {
        let batch = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).take();
        match batch.map(|batch| batch.thread.join()) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(failed(&self.directory, error)),
            Some(Err(panic)) => Err(self.damaged(format!("writing it panicked: {}", said(&*panic)))),
        }
    }

    /// Rows whose key starts with `prefix` and lies after `after`, in order.
    pub(crate) fn scan<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(Value, Value), StoreError>> + 'a {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after.to_vec()),
            _ => Bound::Included(prefix.to_vec()),
        };
        self.rows(start).take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.starts_with(prefix)))
    }

    /// All rows from a key on, in order.
    pub(crate) fn from(&self, key: &[u8]) -> impl Iterator<Item = Result<(Value, Value), StoreError>> + '_ {
        self.rows(Bound::Included(key.to_vec()))
    }

    fn rows(&self, start: Bound<Vec<u8>>) -> impl Iterator<Item = Result<(Value, Value), StoreError>> + '_ {
        // before the tree is looked at: what is taken off there afterwards is in the tree
        let behind = self.behind();
        let rows = self.tree.range((start.clone(), Bound::Unbounded));
        Merged::new(behind, start, rows.map(|row| row.map_err(|e| failed(&self.directory, e))))
    }

    /// Writes all changes and the store's own row in one batch: after a crash all of them are there or none.
    ///
    /// A large one is written behind, see [`behind`](crate::behind); that it failed is then said by the next commit, or by
    /// [`Store::flush`].
    pub(crate) fn commit(&self, changes: Changes, meta: &Meta) -> Result<(), StoreError> {
        self.settle()?;
        let is_large = changes.len() >= MANY;
        let mut rows: Rows = changes.into_iter().collect();
        rows.insert(STATE_KEY.to_vec(), Some(Value::from(rows::encode(meta))));
        let (rows, tree) = (Arc::new(rows), self.tree.clone());
        if is_large {
            let written = Arc::clone(&rows);
            let thread = thread::Builder::new().name("projector-batch".into());
            if let Ok(thread) = thread.spawn(move || tree.apply_batch(batch_of(&written))) {
                *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = Some(UnderWay { rows, thread });
                return Ok(());
            }
        }
        self.tree.apply_batch(batch_of(&rows)).map_err(|e| failed(&self.directory, e))
    }

    /// Makes what was committed survive the machine.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.settle()?;
        self.tree.flush().map(|_| ()).map_err(|e| failed(&self.directory, e))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // so that whoever opens it next finds all of it, and sled's own lock free
        if let Err(error) = self.settle() {
            tracing::error!(%error, "the last batch of the projection was not written; it is read from the log again");
        }
    }
}

fn batch_of(rows: &Rows) -> sled::Batch {
    let mut batch = sled::Batch::default();
    for (key, value) in rows {
        match value {
            Some(value) => batch.insert(key.as_slice(), value),
            None => batch.remove(key.as_slice()),
        }
    }
    batch
}

const FORMAT_KEY: &[u8] = b"mformat";
const STATE_KEY: &[u8] = b"mstate";

/// Takes the lock of a database; it ends with the file.
pub(crate) fn lock(directory: &Path) -> Result<File, StoreError> {
    let io = |source| StoreError::Io { directory: directory.to_owned(), source };
    if let Some(parent) = directory.parent() {
        std::fs::create_dir_all(parent).map_err(io)?;
    }
    let mut name = directory.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&name).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// sled has no kind of error for this.
fn is_lingering(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Other && error.to_string().starts_with("could not acquire lock")
}

/// Tells damage from a file system that refuses: only the former may be answered by starting from empty.
fn failed(directory: &Path, error: sled::Error) -> StoreError {
    use io::ErrorKind as K;
    match error {
        sled::Error::Io(source)
            if !matches!(source.kind(), K::UnexpectedEof | K::InvalidData | K::InvalidInput | K::Other)
                || is_lingering(&source) =>
        {
            StoreError::Io { directory: directory.to_owned(), source }
        }
        other => StoreError::Damaged { directory: directory.to_owned(), detail: other.to_string() },
    }
}

/// Renames a damaged database, so that an empty one can be made in its place. Returns the new name.
pub(crate) fn move_aside(directory: &Path, now: jiff::Timestamp) -> Result<PathBuf, StoreError> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    let mut target = PathBuf::new();
    for attempt in 0..1000u32 {
        let mut name = directory.as_os_str().to_owned();
        name.push(format!(".damaged-{stamp}"));
        if attempt > 0 {
            name.push(format!("-{attempt}"));
        }
        target = PathBuf::from(name);
        if !target.exists() {
            break;
        }
    }
    match std::fs::rename(directory, &target) {
        Ok(()) => Ok(target),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(target),
        Err(source) => Err(StoreError::Io { directory: directory.to_owned(), source }),
    }
}

/// Decodes a row, telling damage by its key.
pub(crate) fn decode<T: DeserializeOwned>(store: &Store, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    rows::decode(key, bytes).map_err(|e| store.unreadable(&e))
}

/// Frames a value for a batch.
pub(crate) fn encode<T: Serialize>(value: &T) -> Value {
    Value::from(rows::encode(value))
}
