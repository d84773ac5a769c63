//! Anchors in a file: one JSON object a line, appended to and never written anew.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::{Anchor, anchor};
use crate::{Log, ReadError, StreamName};

/// Why a file of anchors cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorsError {
    /// It cannot be read or written.
    #[error("anchors {path}: {source}; check the file, its folder and the rights of this account")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line is none that this program wrote.
    #[error("anchors {path}: line {line} is no anchor ({source}); take it from another copy, or take the line out")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Anchor {
    /// The anchors of these streams as they are now, of those that have a chain.
    pub async fn of(log: &dyn Log, streams: &[StreamName]) -> Result<Vec<Self>, ReadError> {
        let mut anchors = Vec::with_capacity(streams.len());
        for stream in streams {
            anchors.extend(anchor(log, stream).await?);
        }
        Ok(anchors)
    }

    /// Appends anchors to a file, making it where there is none, and returns when they are durable. Blocking.
    pub fn append(path: &Path, anchors: &[Self]) -> Result<(), AnchorsError> {
        let failed = |source| AnchorsError::Io { path: path.to_owned(), source };
        let mut lines = Vec::new();
        for anchor in anchors {
            serde_json::to_writer(&mut lines, anchor).map_err(|e| failed(e.into()))?;
            lines.push(b'\n');
        }
        let mut file = File::options().read(true).append(true).create(true).open(path).map_err(failed)?;
        // a line that a death cut short must not take the next one with it
        if file.metadata().map_err(failed)?.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(failed)?;
            if last != *b"\n" {
                lines.insert(0, b'\n');
            }
        }
        file.write_all(&lines).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// All anchors of a file. Blocking.
    pub fn read(path: &Path) -> Result<Vec<Self>, AnchorsError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| AnchorsError::Io { path: path.to_owned(), source })?;
        let lines = text.lines().zip(1..).filter(|(text, _)| !text.trim().is_empty());
        let parsed = lines.map(|(text, line)| {
            serde_json::from_str(text).map_err(|source| AnchorsError::Line { path: path.to_owned(), line, source })
        });
        parsed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(offset: u64) -> Anchor {
        let (own, time) = ([7; 32].into(), jiff::Timestamp::UNIX_EPOCH);
        Anchor { stream: "changes.corp".parse().unwrap(), offset, own, time }
    }

    #[test]
    fn what_is_appended_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anchors.jsonl");
        for offset in 0..3 {
            Anchor::append(&path, &[one(offset)]).unwrap();
        }
        Anchor::append(&path, &[]).unwrap();
        assert_eq!(Anchor::read(&path).unwrap(), [one(0), one(1), one(2)]);
        let line = std::fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned();
        let own = "07".repeat(32);
        let due = r#"{"stream":"changes.corp","offset":0,"own":"OWN","time":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(line, due.replace("OWN", &own));
    }

    #[test]
    fn a_line_that_was_cut_short_is_named_and_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("anchors.jsonl");
        Anchor::append(&path, &[one(0)]).unwrap();
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        Anchor::append(&path, &[one(1)]).unwrap();
        let error = Anchor::read(&path).unwrap_err();
        assert!(matches!(error, AnchorsError::Line { line: 1, .. }), "{error}");
        let kept: Vec<_> = std::fs::read_to_string(&path).unwrap().lines().skip(1).map(str::to_owned).collect();
        std::fs::write(&path, kept.join("\n")).unwrap();
        assert_eq!(Anchor::read(&path).unwrap(), [one(1)]);
    }
}
