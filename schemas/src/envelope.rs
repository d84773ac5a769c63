//! What every event has in common.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{VERSION, upcast};

/// Why a record's value is not an event. Never retryable: the record will be the same next time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The value is not JSON, or lacks a field of the envelope.
    #[error("the record is no event: {0}")]
    Envelope(#[source] serde_json::Error),
    /// The event is of a type that this version does not know.
    #[error("unknown event type {0:?}; upgrade the service that reads this stream")]
    UnknownType(String),
    /// The event is of a version that this version does not know.
    #[error(
        "event type {kind:?} has version {version}, known is {VERSION}; upgrade the service that reads this stream"
    )]
    UnknownVersion {
        /// The event's type.
        kind: String,
        /// The version it was written in.
        version: u32,
    },
    /// `data` does not fit the type.
    #[error("event {id} of type {kind:?} cannot be read: {source}")]
    Data {
        /// The event's type.
        kind: String,
        /// The event's id.
        id: EventId,
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
}

/// The identity of an event, derived from its content: the same change read twice has the same id, so that a consumer
/// can tell a repeat from a second change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl EventId {
    /// The id of an event made of these parts. Parts are framed, so that no two lists of parts run together.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The events of one kind of stream: an enum over its types.
pub trait EventBody: Sized {
    /// The context every event of this stream has besides type, version, id and time.
    type Context: Serialize + DeserializeOwned + Clone + fmt::Debug;

    /// The event's type, as it stands in the envelope.
    fn type_name(&self) -> &'static str;

    /// Reads `data` of the current version. `None` if there is no such type.
    fn from_data(kind: &str, data: &str) -> Option<Result<Self, serde_json::Error>>;
}

/// One event with its envelope, ready for the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<B: EventBody> {
    /// Identity, derived from the content.
    pub id: EventId,
    /// When the fact was learned, by the clock of the service that wrote it.
    pub time: Timestamp,
    /// The stream's own context.
    pub context: B::Context,
    /// The event.
    pub event: B,
}

#[derive(Serialize)]
struct WireOut<'a, C, B> {
    r#type: &'static str,
    version: u32,
    id: EventId,
    time: Timestamp,
    context: &'a C,
    data: &'a B,
}

#[derive(Deserialize)]
struct WireIn<'a, C> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    version: u32,
    id: EventId,
    time: Timestamp,
    context: C,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<B: EventBody + Serialize> Envelope<B> {
    /// The record's value: one JSON object.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&WireOut {
            r#type: self.event.type_name(),
            version: VERSION,
            id: self.id,
            time: self.time,
            context: &self.context,
            data: &self.event,
        })
    }
}

impl<B: EventBody> Envelope<B> {
    /// Reads a record's value of any version ever written.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        let wire: WireIn<'_, B::Context> = serde_json::from_slice(value).map_err(DecodeError::Envelope)?;
        let data = if wire.version == VERSION {
            Cow::Borrowed(wire.data.get())
        } else {
            upcast(&wire.r#type, wire.version, wire.data.get()).map(Cow::Owned)?
        };
        match B::from_data(&wire.r#type, &data) {
            None => Err(DecodeError::UnknownType(wire.r#type.into_owned())),
            Some(Err(source)) => Err(DecodeError::Data { kind: wire.r#type.into_owned(), id: wire.id, source }),
            Some(Ok(event)) => Ok(Self { id: wire.id, time: wire.time, context: wire.context, event }),
        }
    }
}
