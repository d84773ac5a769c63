//! Finding, reading and refusing configuration files.
//!
//! Files are TOML. Every struct that is read MUST have `#[serde(deny_unknown_fields)]`: an unknown key is an error that
//! names the nearest known one, because a misspelt `exclude` that is silently ignored deletes or creates people.
//!
//! Reading has two stages. What parses is then checked for its meaning by the service it belongs to, without network and
//! without reading secrets; every problem goes into one list of [`Findings`], so that all of them are told at once.

mod meaning;

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub use meaning::{Findings, Problem, SettingsError};

/// Why a configuration is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file does not say what it should.
    #[error("{}{}: {message}{}", path.display(), line.map_or(String::new(), |l| format!(":{l}")), hint.as_ref().map_or(String::new(), |h| format!("\n\nhint: {h}")))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, where it is known.
        line: Option<usize>,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

/// A configuration as read.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// What it says.
    pub value: T,
    /// The file's text.
    pub document: String,
    /// The folder that relative paths in it are relative to.
    pub base: PathBuf,
}

/// Reads a file.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<Loaded<T>, ConfigError> {
    let document =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let value = parse(path, &document)?;
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    Ok(Loaded { value, document, base })
}

/// Reads a document that came from `path`.
pub fn parse<T: DeserializeOwned>(path: &Path, document: &str) -> Result<T, ConfigError> {
    toml::from_str(document).map_err(|error| {
        let line = error.span().map(|span| 1 + document.bytes().take(span.start).filter(|b| *b == b'\n').count());
        let message = error.message().trim().to_owned();
        ConfigError::Invalid { path: path.to_owned(), line, hint: nearest_key(&message), message }
    })
}

/// For serde's message about an unknown field or variant, the known one that is most like it.
fn nearest_key(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `"))?;
    let (unknown, known) = rest.split_once('`')?;
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let distance = |a: &&&str| strsim::damerau_levenshtein(a, unknown);
    let best = known.iter().min_by_key(distance)?;
    if distance(&best) <= 2.max(unknown.len() / 3) {
        Some(format!("did you mean `{best}`?"))
    } else {
        Some(format!("known here: {}", known.join(", ")))
    }
}

/// For `#[serde(deserialize_with = "…")]`: a duration such as `500ms`, `1s`, `5m`, `1h 30m` or `2 days`.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no duration such as 1s or 5m")))
}

/// For a key whose value is either a string or a table: `string` takes the one, `table` the other. An error inside the
/// table names the table's key, which an untagged enum would not.
pub fn string_or_table<'de, D, T, U>(
    deserializer: D,
    expected: &'static str,
    string: impl FnOnce(String) -> T,
    table: impl FnOnce(U) -> T,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    U: Deserialize<'de>,
{
    deserializer.deserialize_any(StringOrTable { expected, string, table, reads: PhantomData })
}

struct StringOrTable<S, F, U> {
    expected: &'static str,
    string: S,
    table: F,
    reads: PhantomData<U>,
}

impl<'de, T, U, S, F> Visitor<'de> for StringOrTable<S, F, U>
where
    U: Deserialize<'de>,
    S: FnOnce(String) -> T,
    F: FnOnce(U) -> T,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        Ok((self.string)(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        U::deserialize(MapAccessDeserializer::new(map)).map(self.table)
    }
}

/// Reads a duration such as `500ms` or `1h 30m`; not negative.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let span = text.parse::<jiff::Span>().ok()?;
    span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(deserialize_with = "duration")]
        poll_interval: Duration,
        #[serde(default)]
        exclude: Vec<String>,
    }

    fn read(text: &str) -> Result<Sample, String> {
        parse(Path::new("x.toml"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn names_the_line_and_the_nearest_key() {
        let ok = read("poll_interval = \"1s\"\nexclude = [\"a\"]\n").unwrap();
        assert_eq!((ok.poll_interval, ok.exclude.len()), (Duration::from_secs(1), 1));
        let error = read("poll_interval = \"1s\"\nexlude = []\n").unwrap_err();
        assert!(error.starts_with("x.toml:2: unknown field `exlude`"), "{error}");
        assert!(error.ends_with("hint: did you mean `exclude`?"), "{error}");
        assert!(read("poll_interval = \"soon\"").unwrap_err().contains("no duration"));
        assert!(read("poll_interval = ").unwrap_err().starts_with("x.toml:1: "));
        assert!(read("poll_interval = \"1s\"\nzzz = 1").unwrap_err().contains("known here: poll_interval, exclude"));
    }
}
