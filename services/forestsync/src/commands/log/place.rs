//! Where a log is: what `--from` and `--to` of `log copy` say, and what a configuration means.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use forestsync_log::{EmbeddedLog, Log, LogConfig};

use crate::config;
use crate::exit::UsageError;

/// The name of the log's folder within a data folder.
const LOG: &str = "log";

/// A place as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The embedded log in this data folder.
    Embedded(PathBuf),
    /// A Kafka cluster, in plain text.
    Kafka {
        /// `host:port`, and further ones after commas.
        brokers: String,
        /// What stands before every topic.
        prefix: String,
    },
    /// The log that this configuration file means.
    File(PathBuf),
}

/// Whether a log must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It is read: it must be there.
    Existing,
    /// It is written: it is made if need be.
    Made,
    /// It is only looked at: where it is not there, it is taken for empty.
    Looked,
}

/// A log that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The log; none if it is not there and only looked at.
    pub log: Option<Arc<dyn Log>>,
    /// The data folder, if the log is an embedded one.
    pub data: Option<PathBuf>,
}

impl Place {
    /// Opens the log.
    pub fn open(&self, need: Need) -> Result<Opened> {
        match self {
            Self::Embedded(data) => embedded(data, &data.join(LOG), need),
            Self::Kafka { brokers, prefix } => {
                let config = LogConfig { kafka: Some(brokers.clone()), prefix: prefix.clone(), ..LogConfig::default() };
                Ok(Opened { log: Some(config.open(Path::new(""))?), data: None })
            }
            Self::File(path) => {
                let settings = config::load(path)?;
                match &settings.log {
                    Some(LogConfig { directory: Some(directory), .. }) => {
                        let dir = settings.base.join(directory);
                        embedded(&data_folder(&dir), &dir, need)
                    }
                    Some(log) => Ok(Opened { log: Some(log.open(&settings.base)?), data: None }),
                    None => embedded(&settings.data, &settings.log_dir(), need),
                }
            }
        }
    }
}

fn embedded(data: &Path, dir: &Path, need: Need) -> Result<Opened> {
    let there = dir.is_dir();
    if !there && need == Need::Existing {
        let message = format!("there is no log in {}", dir.display());
        return Err(UsageError::new(message, "name the data folder that forestsync run works with").into());
    }
    let log: Option<Arc<dyn Log>> =
        if there || need == Need::Made { Some(Arc::new(EmbeddedLog::open(dir)?)) } else { None };
    Ok(Opened { log, data: Some(data.to_owned()) })
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("embedded", dir)) if !dir.is_empty() => Ok(Self::Embedded(data_folder(Path::new(dir)))),
            Some(("file", file)) if !file.is_empty() => Ok(Self::File(file.into())),
            Some(("kafka", rest)) => {
                let (brokers, options) = rest.split_once('?').unwrap_or((rest, ""));
                let legal = |broker: &str| {
                    let parts = broker.rsplit_once(':');
                    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
                };
                if !brokers.split(',').all(legal) {
                    return Err("brokers are HOST:PORT, with commas between them".to_owned());
                }
                let prefix = match options.split_once('=') {
                    None if options.is_empty() => "",
                    Some(("prefix", prefix)) if !prefix.contains('&') => prefix,
                    _ => {
                        return Err(
                            "the only option is prefix=TEXT; a configuration can say more: file:FILE".to_owned()
                        );
                    }
                };
                Ok(Self::Kafka { brokers: brokers.to_owned(), prefix: prefix.to_owned() })
            }
            _ => Err("a place is embedded:DIR, kafka:HOST:PORT or file:FILE".to_owned()),
        }
    }
}

/// The data folder, also where its `log` is named.
fn data_folder(dir: &Path) -> PathBuf {
    match (dir.file_name(), dir.parent()) {
        (Some(name), Some(parent)) if name == LOG => {
            if parent.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                parent.to_owned()
            }
        }
        _ => dir.to_owned(),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(data) => write!(f, "embedded:{}", data.display()),
            Self::Kafka { brokers, prefix } if prefix.is_empty() => write!(f, "kafka:{brokers}"),
            Self::Kafka { brokers, prefix } => write!(f, "kafka:{brokers}?prefix={prefix}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back() {
        for text in ["embedded:/srv/data", "embedded:data", "kafka:a:9092", "kafka:a:1,b:2?prefix=test.", "file:x.toml"]
        {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert_eq!("embedded:/srv/log".parse::<Place>().unwrap(), Place::Embedded("/srv".into()));
        assert_eq!("embedded:log".parse::<Place>().unwrap(), Place::Embedded(".".into()));
        for text in
            ["", "embedded:", "data", "kafka:", "kafka:a", "kafka::1", "kafka:a:0", "kafka:a:99999", "kafka:a:1?acks=1"]
        {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_a_target_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let place = Place::Embedded(data.clone());
        assert!(place.open(Need::Existing).is_err());
        assert!(place.open(Need::Looked).unwrap().log.is_none());
        assert!(!data.exists());
        assert!(place.open(Need::Made).unwrap().log.is_some());
        assert!(place.open(Need::Existing).unwrap().log.is_some());
    }
}
