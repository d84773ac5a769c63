//! `control.<configuration>`: what people decided.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Envelope, EventBody};

/// An event of a `control` stream.
pub type ControlRecord = Envelope<ControlEvent>;

/// Whose configuration it is, and who spoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControlContext {
    /// The configuration's name.
    pub configuration: String,
    /// The account that gave the command, as the operating system names it.
    pub actor: String,
}

/// The events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ControlEvent {
    /// A configuration came into force.
    ConfigurationActivated(ConfigurationActivated),
}

impl EventBody for ControlEvent {
    type Context = ControlContext;

    fn type_name(&self) -> &'static str {
        match self {
            Self::ConfigurationActivated(_) => "ConfigurationActivated",
        }
    }

    fn from_data(kind: &str, data: &str) -> Option<Result<Self, serde_json::Error>> {
        Some(match kind {
            "ConfigurationActivated" => serde_json::from_str(data).map(Self::ConfigurationActivated),
            _ => return None,
        })
    }
}

/// A configuration came into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationActivated {
    /// Counts from 1.
    pub revision: u64,
    /// BLAKE3 of the document, in hexadecimal digits.
    pub digest: String,
    /// The configuration file as it was read. It names files and variables that hold secrets, never the secrets.
    pub document: String,
}
