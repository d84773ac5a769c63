//! The values of the database: bincode behind a format byte and a version byte, never over [`MAX_VALUE`] but for what
//! [`with_origin`] adds, which the number of attributes limits.

use std::collections::{BTreeMap, BTreeSet};

use forestsync_domain::{AttributeValue, Attributes, Dn, ObjectGuid, SourceAnchor};
use forestsync_rules::classify::DirectoryClass;
use forestsync_rules::flow::TenantDomains;
use forestsync_schemas::decisions::{AnchorBasis, Doubt, LostValues, RuleFinding};
use forestsync_schemas::desired::{CloudAttributes, CloudClass, CloudValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::SourceId;
use crate::holds::{HoldKey, Seen};
use crate::keys::ObjectKey;

/// Marks a value as one of ours.
const FORMAT: u8 = 0xF5;
/// The version of the rows; a database of another one is rebuilt, and digests of different ones cannot be compared.
pub const VERSION: u8 = 7;
/// The largest value: sled leaks disk whenever a value over 128 KiB is overwritten.
pub(crate) const MAX_VALUE: usize = 60 * 1024;

/// The frame of a value without content, for index rows.
pub(crate) const EMPTY: [u8; 2] = [FORMAT, VERSION];

/// Why a value is none of ours.
#[derive(Debug, Clone, thiserror::Error)]
#[error("a row of kind {kind:?} cannot be read")]
pub(crate) struct RowError {
    pub(crate) kind: char,
}

/// Frames a value.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // writing to memory fails for types only that no row has
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(&EMPTY);
    let written = bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard());
    if written.is_err() {
        bytes.truncate(EMPTY.len());
    }
    bytes
}

/// Reads a framed value of the row `key`.
pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, RowError> {
    let error = || RowError { kind: char::from(key.first().copied().unwrap_or(b'?')) };
    let payload = bytes.strip_prefix(&EMPTY).ok_or_else(error)?;
    match bincode::serde::decode_from_slice(payload, bincode::config::standard()) {
        Ok((value, read)) if read == payload.len() => Ok(value),
        _ => Err(error()),
    }
}

/// Reads the beginning of a framed value.
pub(crate) fn decode_head<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, RowError> {
    let error = || RowError { kind: char::from(key.first().copied().unwrap_or(b'?')) };
    let payload = bytes.strip_prefix(&EMPTY).ok_or_else(error)?;
    bincode::serde::decode_from_slice(payload, bincode::config::standard()).map(|(value, _)| value).map_err(|_| error())
}

/// Puts behind an object's row where its values come from. That depends on the order of the records, which what the object
/// is does not: so it counts for no state digest.
pub(crate) fn with_origin(mut row: Vec<u8>, image_offset: u64, later: &BTreeMap<String, u64>) -> Vec<u8> {
    let origin = encode(&(image_offset, later));
    row.extend_from_slice(&origin);
    row.extend_from_slice(&(origin.len() as u32).to_be_bytes());
    row
}

/// Takes apart what [`with_origin`] made; what it did not make is all row.
pub(crate) fn split_origin(value: &[u8]) -> (&[u8], &[u8]) {
    let parts = value.split_last_chunk::<4>().and_then(|(bytes, length)| {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        bytes.split_at_checked(bytes.len().checked_sub(length)?)
    });
    parts.unwrap_or((value, &[]))
}

/// A mirrored object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectRow {
    pub(crate) class: DirectoryClass,
    /// The name as last reported; that of an ancestor may have changed since.
    pub(crate) dn: Dn,
    pub(crate) parent: Option<ObjectGuid>,
    pub(crate) deleted: bool,
    /// The full read that made the image, counted from 1; 0 if none did.
    pub(crate) image: u32,
    /// The full read in or after which it was last known to exist.
    pub(crate) seen: u32,
    /// Last, so that the rest can be read without it.
    #[serde(with = "crate::stored")]
    pub(crate) attributes: Attributes,
    /// The record that made the image. Stands behind the row, see [`with_origin`].
    #[serde(skip)]
    pub(crate) image_offset: u64,
    /// The records that changed attributes since, by name. Stands there, too.
    #[serde(skip)]
    pub(crate) later: BTreeMap<String, u64>,
}

/// The beginning of an [`ObjectRow`]: where an object stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Head {
    pub(crate) class: DirectoryClass,
    pub(crate) dn: Dn,
    pub(crate) parent: Option<ObjectGuid>,
    pub(crate) deleted: bool,
    pub(crate) image: u32,
    pub(crate) seen: u32,
}

impl ObjectRow {
    pub(crate) fn is_live(&self) -> bool {
        !self.deleted
    }

    /// The values of an attribute, none if it has none.
    pub(crate) fn values(&self, name: &str) -> &[AttributeValue] {
        self.attributes.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The bytes of its SID, if it has one that can stand in a key.
    pub(crate) fn sid(&self) -> Option<&[u8]> {
        self.values("objectSid").first().map(AttributeValue::as_bytes).filter(|bytes| bytes.len() <= 255)
    }

    /// The offset of the record that an attribute's value, or its absence, comes from.
    pub(crate) fn origin(&self, attribute: &str) -> u64 {
        self.later.get(attribute).copied().unwrap_or(self.image_offset)
    }
}

/// The anchor that an object stands for by a join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Adopted {
    pub(crate) anchor: SourceAnchor,
    /// By which rule.
    pub(crate) rule: String,
}

/// What is known of an anchor.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct AnchorRow {
    /// The objects that were given it, the first one first.
    pub(crate) claimants: Vec<Claimant>,
    /// The objects that stand for it by a join, sorted.
    pub(crate) adopters: Vec<ObjectKey>,
    /// What was written to `desired` last.
    pub(crate) emitted: Option<Emitted>,
}

/// An object that was given an anchor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claimant {
    pub(crate) sequence: u64,
    pub(crate) object: ObjectKey,
    pub(crate) basis: AnchorBasis,
}

/// The anchor an object was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) anchor: SourceAnchor,
    pub(crate) basis: AnchorBasis,
    /// The offset of the decision; of two objects with one anchor the lower one has it.
    pub(crate) sequence: u64,
}

/// A cloud value in a form that is read back without looking at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StoredValue {
    Bool(bool),
    Integer(i64),
    Text(String),
    List(Vec<String>),
}

/// What is wished for an anchor: a function of the mirror, the decisions and the configuration, and of nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) object: ObjectKey,
    pub(crate) class: CloudClass,
    /// The object must not be sent as it is; what was wished before, if anything, stays.
    pub(crate) blocked: bool,
    pub(crate) attributes: BTreeMap<String, StoredValue>,
    pub(crate) at_creation: BTreeMap<String, StoredValue>,
    /// Attributes that stay as the tenant has them.
    pub(crate) ignored: Vec<String>,
    pub(crate) manager: Option<SourceAnchor>,
    pub(crate) owner: Option<SourceAnchor>,
    pub(crate) not_writable: Vec<String>,
    /// The objects that are joined with it, sorted.
    pub(crate) joined: Vec<ObjectKey>,
    /// What must be unique: kind and hash of the value, sorted.
    pub(crate) unique: Vec<(u8, [u8; 16])>,
    /// The containers and groups of the scope that its objects are in it by, sorted.
    pub(crate) by: Vec<ObjectGuid>,
}

impl Wish {
    /// All objects that it is made of, the one that says how to sign in first.
    pub(crate) fn objects(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        std::iter::once(self.object).chain(self.joined.iter().copied())
    }

    pub(crate) fn is_of(&self, key: ObjectKey) -> bool {
        self.objects().any(|object| object == key)
    }
}

pub(crate) fn to_stored(attributes: CloudAttributes) -> BTreeMap<String, StoredValue> {
    let convert = |value| match value {
        CloudValue::Bool(value) => StoredValue::Bool(value),
        CloudValue::Integer(value) => StoredValue::Integer(value),
        CloudValue::Text(text) => StoredValue::Text(text),
        CloudValue::List(values) => StoredValue::List(values),
    };
    attributes.into_iter().map(|(name, value)| (name, convert(value))).collect()
}

pub(crate) fn to_cloud(attributes: BTreeMap<String, StoredValue>) -> CloudAttributes {
    let convert = |value| match value {
        StoredValue::Bool(value) => CloudValue::Bool(value),
        StoredValue::Integer(value) => CloudValue::Integer(value),
        StoredValue::Text(text) => CloudValue::Text(text),
        StoredValue::List(values) => CloudValue::List(values),
    };
    attributes.into_iter().map(|(name, value)| (name, convert(value))).collect()
}

/// What was written to `desired` last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Emitted {
    pub(crate) alive: bool,
    pub(crate) class: CloudClass,
    pub(crate) revision: u64,
    /// How often it was removed: memberships written before the last removal ended with it.
    pub(crate) incarnation: u32,
    pub(crate) content: [u8; 16],
    pub(crate) forest: String,
    pub(crate) source: Option<SourceId>,
    pub(crate) object: ObjectGuid,
    pub(crate) dn: Dn,
    /// Learned from the stream, not remembered.
    pub(crate) folded: bool,
}

/// A membership that was written, with the incarnations of both ends at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Linked {
    pub(crate) group: u32,
    pub(crate) member: u32,
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct FindingRow {
    pub(crate) blocking: bool,
    pub(crate) messages: Vec<String>,
    /// By rule of identity hygiene.
    pub(crate) rules: Vec<RuleFinding>,
}

/// What `decisions` says is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announced {
    /// The source may be gone when it ends.
    pub(crate) forest: String,
    pub(crate) naming_context: Dn,
    pub(crate) finding: FindingRow,
}

/// Why a full read is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shrink {
    /// It showed nothing to synchronize; `had` says how many objects were known before.
    Nothing { had: u64 },
    /// It lacked too many of the objects in scope.
    Fewer { missing: u64, known: u64 },
    /// It showed too many objects without an attribute that they had; `more` are further ones.
    Attribute { name: String, missing: u64, known: u64, more: Vec<LostValues> },
}

impl Shrink {
    /// The attributes that it showed too few values of.
    pub(crate) fn lost_values(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        let (first, more) = match self {
            Self::Attribute { name, missing, known, more } => {
                (Some((name.as_str(), *missing, *known)), more.as_slice())
            }
            _ => (None, &[][..]),
        };
        first.into_iter().chain(more.iter().map(|lost| (lost.name.as_str(), lost.missing, lost.known)))
    }
}

impl From<Doubt> for Shrink {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Nothing { had } => Self::Nothing { had },
            Doubt::Fewer { missing, known } => Self::Fewer { missing, known },
            Doubt::Attribute { name, missing, known, more } => Self::Attribute { name, missing, known, more },
        }
    }
}

impl From<Shrink> for Doubt {
    fn from(shrink: Shrink) -> Self {
        match shrink {
            Shrink::Nothing { had } => Self::Nothing { had },
            Shrink::Fewer { missing, known } => Self::Fewer { missing, known },
            Shrink::Attribute { name, missing, known, more } => Self::Attribute { name, missing, known, more },
        }
    }
}

/// The full read that is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Doubted {
    pub(crate) snapshot: u128,
    pub(crate) ordinal: u32,
    /// As many objects came as it said: what is missing can be concluded from it.
    pub(crate) is_whole: bool,
}

/// A hold that stands in `decisions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Where it stands there: decisions are about exactly that record.
    pub(crate) offset: u64,
    pub(crate) naming_context: Option<Dn>,
    pub(crate) seen: Seen,
}

/// Where a source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceState {
    pub(crate) forest: String,
    pub(crate) naming_context: Dn,
    pub(crate) stream: String,
    /// The offset of the next record.
    pub(crate) offset: u64,
    pub(crate) cursor: Option<[u8; 16]>,
    /// The last `ObjectObserved`, to tell an immediate repeat.
    pub(crate) last_observed: Option<[u8; 16]>,
    /// Records came after the last cursor that completed an answer.
    pub(crate) answer_open: bool,
    /// Counts the full reads.
    pub(crate) ordinal: u32,
    pub(crate) open: Option<u128>,
    pub(crate) counted: Counted,
    pub(crate) counted_at_cursor: Counted,
    pub(crate) completed: Option<u128>,
    pub(crate) completed_ordinal: u32,
    /// A full read was complete once.
    pub(crate) first_done: bool,
    pub(crate) shrunk: Option<Shrink>,
    /// Which full read that is about.
    pub(crate) doubted: Doubted,
    /// The decision that last approved one here.
    pub(crate) approved: Option<u64>,
    /// How many objects had a value of each attribute before the full read that is open, or that is not trusted.
    pub(crate) valued: BTreeMap<String, u64>,
    /// Scope entries given by name that were found: key of the name, objectGUID.
    pub(crate) resolved: BTreeMap<String, ObjectGuid>,
    /// The root of the naming context.
    pub(crate) root: Option<ObjectGuid>,
    /// The collector's last word: cause, detail, hint.
    pub(crate) reading_stopped: Option<(String, String, String)>,
    /// It was taken out of the configuration, and its rows are being removed.
    pub(crate) leaving: bool,
}

/// How many `ObjectObserved` an open full read has: with and without immediate repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) all: u64,
    pub(crate) distinct: u64,
}

/// What is counted, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) objects: u64,
    pub(crate) projected: BTreeMap<CloudClass, u64>,
    pub(crate) projected_by_source: BTreeMap<SourceId, u64>,
    pub(crate) emitted_by_source: BTreeMap<SourceId, u64>,
    /// Wishes by container or group of the scope, and those that ended and were not yet taken back.
    pub(crate) projected_by: BTreeMap<ObjectGuid, u64>,
    pub(crate) lost_by: BTreeMap<ObjectGuid, u64>,
    pub(crate) blocked: u64,
    pub(crate) findings: u64,
    pub(crate) waiting: u64,
    pub(crate) outbox: u64,
}

/// The store's own row, written with every batch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) scope_digest: String,
    pub(crate) rules_digest: String,
    /// The name of the `decisions` stream.
    pub(crate) decisions_stream: String,
    /// Rules for which `AttributeFlowDeclared` was put into the outbox.
    pub(crate) declared: String,
    /// Offset of the next record of `decisions` and `desired`.
    pub(crate) decisions: u64,
    pub(crate) desired: u64,
    /// A sweep over all objects was begun since the gate opened or the configuration changed.
    pub(crate) swept: bool,
    /// What is wished must be compared with what was written for every anchor, not for those in the outbox alone.
    pub(crate) emit_all: bool,
    pub(crate) sources: BTreeMap<SourceId, SourceState>,
    /// How far each stream had been read when `desired` was written, by its name; also of sources that are gone.
    pub(crate) until: BTreeMap<String, u64>,
    /// Holds written to `decisions` and not released.
    pub(crate) held: BTreeMap<HoldKey, Held>,
    /// Containers and groups that were empty when that was written, as far as that was learned from the stream.
    pub(crate) emptied: BTreeSet<ObjectGuid>,
    /// Those of which somebody approved that they are, until what was lost with them is taken back; and the sources of
    /// whose scope nothing is left, likewise.
    pub(crate) let_go: BTreeSet<ObjectGuid>,
    pub(crate) let_go_bare: BTreeSet<SourceId>,
    /// Streams that `decisions` says have stopped, and where.
    pub(crate) stopped: BTreeMap<String, u64>,
    /// The offset of the next record of `tenant`, and what it said last.
    pub(crate) tenant: u64,
    pub(crate) domains: Option<TenantDomains>,
    /// The trace of the latest look that was complete, of any source. Counts for no digest.
    pub(crate) look: Option<String>,
    pub(crate) counters: Counters,
    pub(crate) state_digest: u128,
    pub(crate) rest_digest: u128,
    /// Objects whose anchor is not their own objectGUID.
    pub(crate) foreign_claims: u64,
    /// Objects that stand for an anchor by a join.
    pub(crate) adopted: u64,
    /// Objects that are part of a wish that is not their own anchor's.
    pub(crate) stands: u64,
    /// Objects whose last moment came.
    pub(crate) fired: u64,
    /// Objects whose members are being looked at.
    pub(crate) walked: u64,
    /// Counts anchors given without a decision, by a verification.
    pub(crate) provisional: u64,
}

/// [`adjust`] for one of many counters, of which those at zero are not kept.
pub(crate) fn adjust_at<K: Ord + Clone>(counters: &mut BTreeMap<K, u64>, key: &K, there: bool) {
    let counter = counters.entry(key.clone()).or_default();
    adjust(counter, !there, there);
    if *counter == 0 {
        counters.remove(key);
    }
}

/// Adds to a counter that cannot go below zero.
pub(crate) fn adjust(counter: &mut u64, before: bool, after: bool) {
    match (before, after) {
        (false, true) => *counter += 1,
        (true, false) => *counter = counter.saturating_sub(1),
        _ => {}
    }
}
