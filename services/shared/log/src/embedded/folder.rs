//! A stream's folder: the names in it and what makes a name durable.
//!
//! ```text
//!  changes.corp/lock                       held by the one writer, given free by the system when it dies
//!  changes.corp/00000000000000000000.seg   frames from offset 0 on
//!  changes.corp/00000000000000081920.seg   frames from offset 81920 on: the last one is appended to
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{ReadError, StreamName, WriterError};

const SUFFIX: &str = ".seg";

/// Where a stream lives.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    /// The stream.
    pub(super) stream: StreamName,
    /// Its folder.
    pub(super) path: PathBuf,
}

impl Folder {
    /// The folder of a stream in a log's directory.
    pub(super) fn new(dir: &Path, stream: &StreamName) -> Self {
        Self { stream: stream.clone(), path: dir.join(stream.as_str()) }
    }

    /// The file of the segment that begins at offset `base`.
    pub(super) fn segment(&self, base: u64) -> PathBuf {
        self.path.join(format!("{base:020}{SUFFIX}"))
    }

    /// A file beside the segments.
    pub(super) fn beside(&self, base: u64, suffix: &str) -> PathBuf {
        self.path.join(format!("{base:020}{SUFFIX}.{suffix}"))
    }

    /// The segments' first offsets in rising order; none where there is no folder.
    pub(super) fn segments(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut bases = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).filter(|digits| digits.len() == 20);
            bases.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
        }
        bases.sort_unstable();
        Ok(bases)
    }

    /// Makes an empty segment, and its name durable.
    pub(super) fn create_segment(&self, base: u64) -> io::Result<File> {
        let file = File::options().write(true).create(true).truncate(false).open(self.segment(base))?;
        file.sync_all()?;
        self.sync()?;
        Ok(file)
    }

    /// Makes the names in the folder durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }

    /// A place in a segment, for people.
    pub(super) fn place(&self, base: u64, at: u64) -> String {
        format!("{} at byte {at}", self.segment(base).display())
    }

    /// An error of the storage, for a reader.
    pub(super) fn unreadable(&self, source: io::Error) -> ReadError {
        ReadError::Io { stream: self.stream.clone(), source }
    }

    /// Damage, for a reader.
    pub(super) fn damaged(&self, base: u64, at: u64, detail: impl Into<String>) -> ReadError {
        ReadError::Damaged { stream: self.stream.clone(), place: self.place(base, at), detail: detail.into() }
    }

    /// An error of the storage, for a writer.
    pub(super) fn unwritable(&self, source: io::Error) -> WriterError {
        WriterError::Io { stream: self.stream.clone(), source }
    }

    /// What a reader met, for a writer.
    pub(super) fn as_writer_error(&self, error: ReadError) -> WriterError {
        match error {
            ReadError::Damaged { stream, place, detail } => WriterError::Damaged { stream, place, detail },
            ReadError::Io { stream, source } => WriterError::Io { stream, source },
            ReadError::List { source, .. } => self.unwritable(source),
        }
    }
}

#[cfg(test)]
thread_local! {
    /// The folders that this thread made durable: nothing else shows whether it did.
    pub(super) static SYNCED: std::cell::RefCell<Vec<PathBuf>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    SYNCED.with_borrow_mut(|synced| synced.push(path.to_owned()));
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}
