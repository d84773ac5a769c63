//! Secrets that a test plants, and whether one of them is seen anywhere, as it is or in base64.

use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What nobody may see either begins like this, and goes on in base64: tokens and assertions (the headers of RFC 7515, with
/// whichever member first; Graph's delta links hold base64 as well, and no secret), and initial passwords.
const BEGINNINGS: [&str; 5] = ["eyJhbGci", "eyJ0eXAi", "eyJraWQi", "eyJ4NXQi", "aA1!"];
/// How much of it must follow.
const ENOUGH: usize = 8;

/// What is logged where a test looks for secrets: all but what the database library says, which knows no secrets and fails
/// to show itself.
pub const EVERYTHING: &str = "trace,sled=info";

/// Words that nobody may see.
#[derive(Clone)]
pub struct Planted {
    needles: Vec<String>,
}

impl std::fmt::Debug for Planted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planted").finish_non_exhaustive()
    }
}

impl Planted {
    /// These words. Of a text of several lines each line is one.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let lines = words.into_iter().flat_map(str::lines).map(str::trim);
        let secret = |line: &&str| line.len() >= ENOUGH && !line.starts_with("-----");
        Self { needles: lines.filter(secret).flat_map(forms).collect() }
    }

    /// Where something secret stands in these bytes, with a little of what is around it.
    pub fn find(&self, bytes: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(bytes);
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let goes_on = |at: &usize, word: &str| {
            text.get(at + word.len()..)
                .is_some_and(|rest| rest.chars().take(ENOUGH).filter(|c| is_base64(*c)).count() == ENOUGH)
        };
        let begun =
            BEGINNINGS.iter().find_map(|word| text.match_indices(word).map(|(at, _)| at).find(|at| goes_on(at, word)));
        let at = self.needles.iter().find_map(|needle| text.find(needle.as_str())).or(begun)?;
        let around = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default().to_owned();
        let (begin, end) = (text.floor_char_boundary(at.saturating_sub(200)), text.floor_char_boundary(at + 60));
        Some(around(begin..end))
    }

    /// Panics if one of them stands in what a command said.
    pub fn assert_unseen_in(&self, what: &str, out: &Output) {
        for bytes in [&out.stdout, &out.stderr] {
            assert_eq!(self.find(bytes), None, "something secret was shown by {what}");
        }
    }

    /// Panics if one of them stands in a file in or below a folder, but in those that hold the secrets. How many files there
    /// were.
    pub fn assert_unseen_below(&self, folder: &Path) -> usize {
        let files = files(folder);
        for path in &files {
            let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(self.find(&bytes), None, "something secret stands in {}", path.display());
        }
        files.len()
    }
}

/// A word, and what of it shows in base64, wherever in the encoded text it stands.
fn forms(word: &str) -> Vec<String> {
    let mut all = vec![word.to_owned()];
    for before in 0..3 {
        let encoded = STANDARD.encode([&vec![0; before][..], word.as_bytes()].concat());
        let (begin, end) = ((before * 8).div_ceil(6), (before + word.len()) * 8 / 6);
        all.push(encoded.chars().take(end).skip(begin).collect());
    }
    all
}

/// All files in and below a folder but those that hold the secrets.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() && path.extension().is_none_or(|extension| extension != "secret") {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_found() {
        let planted =
            Planted::new(["planted-reader-word", "-----BEGIN KEY-----\nMIIplantedkeyline\n-----END KEY-----\n"]);
        for secret in [
            "x planted-reader-word",
            "Bearer eyJhbGciOiJSUzI1NiJ9",
            "aA1!abcdefgh-_12",
            "MIIplantedkeyline",
            &STANDARD.encode("\0planted-reader-word"),
            &STANDARD.encode("\0user\0planted-reader-word"),
            &STANDARD.encode("user:planted-reader-word, and more"),
        ] {
            assert!(planted.find(secret.as_bytes()).is_some(), "{secret}");
        }
        for open in ["eyJhbGci and aA1! alone", "-----BEGIN KEY-----", "reader-word"] {
            assert_eq!(planted.find(open.as_bytes()), None);
        }
    }
}
