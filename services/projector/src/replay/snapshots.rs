//! Snapshots of the projection: a cache of states that a replay came by, so that the next one starts near and not from
//! zero. The folder can be deleted at any time.
//!
//! ```text
//!  FSYSNAP1 | length | header (JSON) | rows in the order of their keys (zlib) | BLAKE3 of all before
//! ```
//!
//! A snapshot is of one configuration, one version of the rows and one log: the header names the digests of scope and
//! rules, for each stream the offset and a hash of the record before it, and the digests of the rows. One that does not
//! fit all of this, or has a byte changed anywhere, is not used but removed. It holds a state without wishes: those are
//! computed where the replay ends.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use forestsync_log::{Log, StreamName};
use serde::{Deserialize, Serialize};

use super::{Result, blocking, streams_of};
use crate::config::Plan;
use crate::engine::Engine;
use crate::error::SnapshotError;
use crate::rows::VERSION;
use crate::store::{Store, Value};

type Outcome<T> = std::result::Result<T, SnapshotError>;

const MAGIC: &[u8; 8] = b"FSYSNAP1";
/// What the names of files end with.
const EXTENSION: &str = "snapshot";
const PART: &str = "part";
/// The longest header that is believed, in bytes.
const MAX_HEADER: u32 = 16 * 1024 * 1024;
/// The longest key or value that is believed, in bytes.
const MAX_ROW: u32 = 16 * 1024 * 1024;
/// Snapshots that are kept, spread over the history.
const MAX_KEPT: usize = 16;
/// Records between two snapshots, unless told otherwise.
pub const DEFAULT_EVERY: u64 = 250_000;

/// A folder of snapshots.
#[derive(Debug, Clone)]
pub struct Snapshots {
    directory: PathBuf,
    every: u64,
}

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    /// The version of the rows.
    rows: u8,
    configuration: String,
    scope_digest: String,
    rules_digest: String,
    /// For each stream the offset of the next record.
    offsets: BTreeMap<String, u64>,
    /// For each stream the hash of the record before that one.
    marks: BTreeMap<String, String>,
    /// The offset up to which decisions about places are known.
    foreseen: u64,
    /// Digest of mirror and wishes, and of all other rows.
    state_digest: String,
    rest_digest: String,
    /// How many rows follow.
    count: u64,
}

impl Header {
    fn records(&self) -> u64 {
        self.offsets.values().sum()
    }
}

/// For each stream the hash of the record before an offset, so that a snapshot is told apart from one of another log.
pub(super) async fn marks(log: &dyn Log, offsets: &BTreeMap<StreamName, u64>) -> Result<BTreeMap<String, String>> {
    let mut marks = BTreeMap::new();
    for (stream, offset) in offsets {
        let Some(last) = offset.checked_sub(1) else { continue };
        if let Some(record) = log.reader(stream, last).await?.poll(1).await?.first() {
            marks.insert(stream.to_string(), blake3::hash(&record.value).to_hex().to_string());
        }
    }
    Ok(marks)
}

impl Snapshots {
    /// The snapshots of this folder, which is made when the first one is kept. A replay keeps one about every `every`
    /// records and one where it stops; none on its way if that is 0.
    pub fn new(directory: impl Into<PathBuf>, every: u64) -> Self {
        Self { directory: directory.into(), every }
    }

    pub(super) fn every(&self) -> u64 {
        self.every
    }

    // ---- using

    /// Puts the nearest snapshot that is not beyond these offsets into the plan's directory. Returns up to which offset it
    /// knows decisions about places; `None` if there is no snapshot to begin with. Those that are damaged or foreign are
    /// removed.
    pub(crate) async fn restore(
        &self,
        plan: &Plan,
        log: &dyn Log,
        targets: &BTreeMap<StreamName, u64>,
    ) -> Result<Option<u64>> {
        let mut found = self.list(plan);
        found.sort_by_key(|(_, header)| header.records());
        while let Some((path, header)) = found.pop() {
            let is_before = |stream: &StreamName, until: &u64| {
                header.offsets.get(stream.as_str()).is_some_and(|offset| offset <= until)
            };
            if !targets.iter().all(|(stream, until)| is_before(stream, until)) {
                continue;
            }
            let mut offsets = BTreeMap::new();
            for stream in streams_of(&plan.config)? {
                let offset = header.offsets.get(stream.as_str()).copied().unwrap_or(0);
                offsets.insert(stream, offset);
            }
            if marks(log, &offsets).await? != header.marks {
                discard(&path, &SnapshotError::Foreign("it is of another log"));
                continue;
            }
            let (from, directory, foreseen) = (path.clone(), plan.config.directory.clone(), header.foreseen);
            let loaded = blocking(plan, move || match load(&from, &header, &directory) {
                Ok(()) => Ok(None),
                Err(SnapshotError::Store(error)) => Err(error.into()),
                Err(error) => {
                    remove(&directory).map_err(|source| crate::StoreError::Io { directory, source })?;
                    Ok(Some(error))
                }
            });
            match loaded.await? {
                None => return Ok(Some(foreseen)),
                Some(error) => discard(&path, &error),
            }
        }
        Ok(None)
    }

    /// The snapshots with their headers, without those that are of no use.
    fn list(&self, plan: &Plan) -> Vec<(PathBuf, Header)> {
        let mut all = Vec::new();
        for path in self.files(EXTENSION) {
            match verified(&path) {
                Ok(header) => match misfit(&header, plan) {
                    None => all.push((path, header)),
                    Some(why) => discard(&path, &SnapshotError::Foreign(why)),
                },
                Err(error) => discard(&path, &error),
            }
        }
        all
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().filter_map(std::result::Result::ok);
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
    }

    // ---- keeping

    /// Keeps the state of an engine that has computed no wishes. Not one that rests on a guess about what will be decided.
    pub(super) fn keep(&self, engine: &Engine, marks: &BTreeMap<String, String>) -> Outcome<()> {
        if engine.is_guessed {
            return Ok(());
        }
        fs::create_dir_all(&self.directory)?;
        // one replay at a time keeps snapshots; what another one left when it was killed is in nobody's way then
        let lock = File::options().create(true).truncate(false).write(true).open(self.directory.join("lock"))?;
        if lock.try_lock().is_err() {
            return Ok(());
        }
        for part in self.files(PART) {
            fs::remove_file(part)?;
        }
        let header = header_of(engine, marks)?;
        let text = serde_json::to_vec(&header)?;
        let hash = blake3::hash(&text).to_hex();
        let name: String = hash.chars().take(12).collect();
        let path = self.directory.join(format!("{:012}-{name}.{EXTENSION}", header.records()));
        if path.exists() {
            return Ok(());
        }
        let part = path.with_extension(PART);
        write(&part, &text, &engine.store)?;
        fs::rename(&part, &path)?;
        File::open(&self.directory)?.sync_all()?;
        self.thin()
    }

    /// Removes those that lie nearest to their neighbours, where there are too many.
    fn thin(&self) -> Outcome<()> {
        let records = |path: &PathBuf| {
            let name = path.file_stem()?.to_str()?.split('-').next()?;
            name.parse::<u64>().ok()
        };
        let mut all: Vec<(u64, PathBuf)> =
            self.files(EXTENSION).into_iter().filter_map(|path| Some((records(&path)?, path))).collect();
        all.sort();
        while all.len() > MAX_KEPT {
            // the last one is nearest to now
            let gaps = all.iter().zip(all.iter().skip(2)).enumerate();
            let Some((at, _)) = gaps.min_by_key(|(_, ((before, _), (after, _)))| after - before) else { break };
            let (_, path) = all.remove(at + 1);
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Removes a snapshot that nobody can use.
fn discard(path: &Path, why: &SnapshotError) {
    tracing::warn!(
        snapshot = %path.display(), error = %why,
        "a snapshot of the projection is of no use and is removed; the replay begins further back"
    );
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(snapshot = %path.display(), error = %error, "it cannot be removed");
    }
}

fn misfit(header: &Header, plan: &Plan) -> Option<&'static str> {
    if header.rows != VERSION {
        Some("another version of forestsync wrote it")
    } else if header.configuration != plan.config.configuration {
        Some("it is of another configuration")
    } else if (&header.scope_digest, &header.rules_digest) != (&plan.scope_digest, &plan.rules_digest) {
        Some("scope or rules have changed since")
    } else {
        None
    }
}

fn header_of(engine: &Engine, marks: &BTreeMap<String, String>) -> Outcome<Header> {
    let (plan, meta) = (&engine.plan, &engine.meta);
    let mut offsets: BTreeMap<String, u64> =
        meta.sources.values().map(|state| (state.stream.clone(), state.offset)).collect();
    offsets.insert(plan.decisions.to_string(), meta.decisions);
    offsets.insert(plan.tenant.to_string(), meta.tenant);
    let mut count = 0;
    for row in engine.store.from(&[]) {
        row?;
        count += 1;
    }
    Ok(Header {
        rows: VERSION,
        configuration: plan.config.configuration.clone(),
        scope_digest: meta.scope_digest.clone(),
        rules_digest: meta.rules_digest.clone(),
        offsets,
        marks: marks.clone(),
        foreseen: engine.foreseen,
        state_digest: format!("{:032x}", meta.state_digest),
        rest_digest: format!("{:032x}", meta.rest_digest),
        count,
    })
}

/// Hashes what goes through it.
struct Hashing<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn write(path: &Path, header: &[u8], store: &Store) -> Outcome<()> {
    let mut options = File::options();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out =
        Hashing { inner: BufWriter::with_capacity(1 << 20, options.open(path)?), hasher: blake3::Hasher::new() };
    out.write_all(MAGIC)?;
    out.write_all(&(header.len() as u32).to_be_bytes())?;
    out.write_all(header)?;
    let mut rows = ZlibEncoder::new(out, Compression::fast());
    for row in store.from(&[]) {
        let (key, value) = row?;
        for part in [&key, &value] {
            rows.write_all(&(part.len() as u32).to_be_bytes())?;
        }
        rows.write_all(&key)?;
        rows.write_all(&value)?;
    }
    let mut out = rows.finish()?;
    let hash = out.hasher.finalize();
    out.inner.write_all(hash.as_bytes())?;
    let file = out.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(file.sync_all()?)
}

fn read_header(file: &mut impl Read) -> Outcome<Header> {
    let (mut magic, mut length) = ([0; 8], [0; 4]);
    file.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(SnapshotError::Foreign("it is none of this version"));
    }
    file.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_HEADER {
        return Err(SnapshotError::Damaged("its header is too long"));
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// The bytes before the checksum.
fn body(file: &File) -> Outcome<u64> {
    let length = file.metadata()?.len();
    length.checked_sub(blake3::OUT_LEN as u64).ok_or(SnapshotError::Damaged("it is cut short"))
}

/// The header of a snapshot of which every byte is as it was written.
fn verified(path: &Path) -> Outcome<Header> {
    let mut file = File::open(path)?;
    let body = body(&file)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader((&mut file).take(body))?;
    let mut sum = [0; blake3::OUT_LEN];
    file.read_exact(&mut sum)?;
    if hasher.finalize() != sum {
        return Err(SnapshotError::Damaged("its checksum does not fit"));
    }
    file.rewind()?;
    read_header(&mut BufReader::new(file))
}

/// Makes a database of a snapshot that was verified. Opening it compares its rows with the digests.
fn load(path: &Path, expected: &Header, directory: &Path) -> Outcome<()> {
    let file = File::open(path)?;
    let body = body(&file)?;
    let mut file = BufReader::with_capacity(1 << 20, file.take(body));
    if read_header(&mut file)? != *expected {
        return Err(SnapshotError::Damaged("it changed while it was read"));
    }
    let mut rows = BufReader::new(ZlibDecoder::new(file));
    let mut left = expected.count;
    let rows = std::iter::from_fn(|| {
        left = left.checked_sub(1)?;
        Some(read_row(&mut rows))
    });
    Store::fill(directory, rows)?;
    let store = Store::open(directory)?;
    let meta = store.meta()?.unwrap_or_default();
    let digests = (format!("{:032x}", meta.state_digest), format!("{:032x}", meta.rest_digest));
    if digests != (expected.state_digest.clone(), expected.rest_digest.clone()) {
        return Err(SnapshotError::Damaged("its digest does not fit"));
    }
    Ok(())
}

fn read_row(rows: &mut impl Read) -> Outcome<(Vec<u8>, Value)> {
    let mut lengths = [0; 8];
    rows.read_exact(&mut lengths)?;
    let lengths = u64::from_be_bytes(lengths);
    let (key, value) = ((lengths >> 32) as u32, lengths as u32);
    if key > MAX_ROW || value > MAX_ROW {
        return Err(SnapshotError::Damaged("a row is too long"));
    }
    let (mut key, mut value) = (vec![0; key as usize], vec![0; value as usize]);
    rows.read_exact(&mut key)?;
    rows.read_exact(&mut value)?;
    Ok((key, value.into()))
}

/// Removes a database that was made in part.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
