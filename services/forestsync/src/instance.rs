//! One writer per data folder.
//!
//! `run` holds an operating-system lock on `data/running`. It ends with the process however that dies, so nothing has
//! to be cleaned up by hand; the file's content (a process id) is for the message only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Why the folder could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// Another process has it. Retryable once that one has ended.
    #[error(
        "another forestsync{holder} is at work on {}; end it first, or give this one a data folder of its own",
        path.display()
    )]
    Running {
        /// The data folder.
        path: PathBuf,
        /// Who, as in ` (process 12)`; empty where unknown.
        holder: String,
    },
    /// The folder cannot be made or locked.
    #[error("the data folder {} cannot be used: {source}; check that it may be written", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The folder is ours while this lives.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

impl Instance {
    /// Takes the folder, making it if need be.
    pub fn take(data: &Path) -> Result<Self, InstanceError> {
        let failed = |source| InstanceError::Io { path: data.to_owned(), source };
        std::fs::create_dir_all(data).map_err(failed)?;
        let path = data.join("running");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let known = file.read_to_string(&mut text).is_ok_and(|n| n > 0);
                let holder = if known { format!(" (process {})", text.trim()) } else { String::new() };
                return Err(InstanceError::Running { path: data.to_owned(), holder });
            }
        }
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(failed)?;
        Ok(Self { _lock: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let first = Instance::take(&data).unwrap();
        let error = Instance::take(&data).unwrap_err();
        assert!(matches!(error, InstanceError::Running { .. }), "{error}");
        assert!(error.to_string().contains(&format!("(process {})", std::process::id())), "{error}");
        drop(first);
        assert!(Instance::take(&data).is_ok());
    }
}
