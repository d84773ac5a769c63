//! The keys of the database: a prefix byte, then big-endian parts, so that rows that are read together stand together.
//!
//! ```text
//!  m  format | state                             the store's own: version, offsets, counters, digests
//!  o  source guid                                mirrored object
//!  s  source guid chunk                          parts of an object too large for one row
//!  e  source from attribute to                   link, and the full read it was last seen in
//!  i  to attribute source from                   the same link, from the other end
//!  n  source parent rdn child                    children of a container, by a hash of their own name
//!  x  sid source guid                            objects by SID
//!  c  source guid                                anchor an object was given, if it is not its own objectGUID
//!  k  rule value side source guid                objects by what joins compare
//!  y  source guid                                the same, by object
//!  b  source guid                                the anchor that an object stands for by a join
//!  h  source guid                                the anchor whose wish an object is part of, if not its own
//!  w  anchor                                     what is wished for an anchor
//!  u  kind value anchor                          wishes by what must be unique
//!  g  source rid user                            users by their primary group
//!  z  due source guid                            moments that objects wait for
//!  Z  source guid                                the moment that came last
//!  R  source                                     the attributes that its collector reads
//!  f  source guid                                what is wrong with an object
//!  a  source guid                                what `decisions` says is wrong with it
//!  v  source snapshot                            how a full read was judged that is still to be applied
//!  V  source offset decision                     a full read that was approved, and from which record on that counts
//!  r  source from attribute to                   references that wait for the object named
//!  d  source guid                                objects to look at when the answer they came in is complete
//!  t  source from to                             memberships to look at then
//!  j  kind source guid                           work that did not fit into one batch
//!  W  source guid                                groups whose members are being looked at
//!  p  anchor                                     objects that were given it, and what was written to `desired` last
//!  l  group member                               memberships written to `desired`
//!  q  kind ...                                   what may have to be written to `desired`
//! ```
//!
//! An anchor stands in a key by its sixteen bytes, so that a pass over all objects comes to their anchors in order, too.

use forestsync_domain::{Dn, ObjectGuid, Rdn, SourceAnchor};
use forestsync_rules::join::{JoinKey, Side};
use forestsync_schemas::changes::SnapshotId;

use crate::config::SourceId;

pub(crate) const META: u8 = b'm';
pub(crate) const OBJECT: u8 = b'o';
pub(crate) const SPILL: u8 = b's';
pub(crate) const EDGE: u8 = b'e';
pub(crate) const EDGE_IN: u8 = b'i';
pub(crate) const CHILD: u8 = b'n';
pub(crate) const SID: u8 = b'x';
pub(crate) const CLAIM: u8 = b'c';
pub(crate) const JOIN: u8 = b'k';
pub(crate) const JOIN_OF: u8 = b'y';
pub(crate) const ADOPTED: u8 = b'b';
pub(crate) const STAND: u8 = b'h';
pub(crate) const UNIQUE: u8 = b'u';
pub(crate) const PRIMARY: u8 = b'g';
pub(crate) const TIMER: u8 = b'z';
pub(crate) const FIRED: u8 = b'Z';
pub(crate) const WALKED: u8 = b'W';
pub(crate) const READ: u8 = b'R';
pub(crate) const WISH: u8 = b'w';
pub(crate) const FINDING: u8 = b'f';
pub(crate) const ANNOUNCED: u8 = b'a';
pub(crate) const JUDGED: u8 = b'v';
pub(crate) const APPROVED: u8 = b'V';
pub(crate) const WAITING: u8 = b'r';
pub(crate) const DIRTY: u8 = b'd';
pub(crate) const DIRTY_LINK: u8 = b't';
pub(crate) const WORK: u8 = b'j';
pub(crate) const ANCHOR: u8 = b'p';
pub(crate) const LINKED: u8 = b'l';
pub(crate) const OUTBOX: u8 = b'q';
pub(crate) const LOST: u8 = b'L';

/// Kinds of outbox rows.
pub(crate) const OUT_FLOW: u8 = 0;
pub(crate) const OUT_OBJECT: u8 = 1;
pub(crate) const OUT_LINK: u8 = 2;
/// Of what is wrong with an object; not counted, and written also while a hold is on.
pub(crate) const OUT_FINDING: u8 = 3;

/// Whether a row counts for the state digest: everything that follows from the history alone, whatever the batches.
pub(crate) fn is_state(prefix: u8) -> bool {
    matches!(prefix, OBJECT | SPILL | EDGE | EDGE_IN | CHILD | SID | WISH)
}

/// The identity of a mirrored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct ObjectKey {
    pub(crate) source: SourceId,
    pub(crate) guid: ObjectGuid,
}

/// The linked attributes that are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LinkKind {
    Member = 1,
    Manager = 2,
    ManagedBy = 3,
}

impl LinkKind {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "member" => Some(Self::Member),
            "manager" => Some(Self::Manager),
            "managedBy" => Some(Self::ManagedBy),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Manager => "manager",
            Self::ManagedBy => "managedBy",
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Member, Self::Manager, Self::ManagedBy].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Joins parts into a key.
pub(crate) fn join(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|p| p.len()).sum::<usize>());
    key.push(prefix);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

pub(crate) fn of_object(prefix: u8, key: ObjectKey) -> Vec<u8> {
    join(prefix, &[&key.source.0, key.guid.as_bytes()])
}

pub(crate) fn spill(key: ObjectKey, chunk: u16) -> Vec<u8> {
    join(SPILL, &[&key.source.0, key.guid.as_bytes(), &chunk.to_be_bytes()])
}

pub(crate) fn edge(prefix: u8, from: ObjectKey, kind: LinkKind, to: ObjectGuid) -> Vec<u8> {
    join(prefix, &[&from.source.0, from.guid.as_bytes(), &[kind as u8], to.as_bytes()])
}

pub(crate) fn edge_in(to: ObjectGuid, kind: LinkKind, from: ObjectKey) -> Vec<u8> {
    join(EDGE_IN, &[to.as_bytes(), &[kind as u8], &from.source.0, from.guid.as_bytes()])
}

/// A hash of an object's own name, so that a child is found by it.
fn rdn_hash(rdn: &Rdn) -> [u8; 8] {
    let text = [rdn.kind().to_lowercase(), rdn.value().to_lowercase()].join("=");
    let hash = blake3::hash(text.as_bytes());
    hash.as_bytes().first_chunk::<8>().copied().unwrap_or_default()
}

/// The children of a container that may have this name.
pub(crate) fn children_named(parent: ObjectKey, rdn: &Rdn) -> Vec<u8> {
    join(CHILD, &[&parent.source.0, parent.guid.as_bytes(), &rdn_hash(rdn)])
}

pub(crate) fn child(parent: ObjectKey, dn: &Dn, child: ObjectGuid) -> Vec<u8> {
    let hash = dn.rdn().map(rdn_hash).unwrap_or_default();
    join(CHILD, &[&parent.source.0, parent.guid.as_bytes(), &hash, child.as_bytes()])
}

/// Everything that joins find by a value.
pub(crate) fn join_value(key: &JoinKey) -> Vec<u8> {
    join(JOIN, &[&key.rule.0, &key.value])
}

pub(crate) fn join_key(key: &JoinKey, object: ObjectKey) -> Vec<u8> {
    join(JOIN, &[&key.rule.0, &key.value, &[key.side as u8], &object.source.0, object.guid.as_bytes()])
}

/// The side and the object of a `JOIN` key.
pub(crate) fn read_join(key: &[u8]) -> Option<(Side, ObjectKey)> {
    Some((Side::from_number(*key.get(21)?)?, ObjectKey { source: source_at(key, 22)?, guid: guid_at(key, 30)? }))
}

/// Wishes with a value that must be unique.
pub(crate) fn unique_value(kind: u8, hash: &[u8; 16]) -> Vec<u8> {
    join(UNIQUE, &[&[kind], hash])
}

pub(crate) fn unique(kind: u8, hash: &[u8; 16], anchor: &SourceAnchor) -> Vec<u8> {
    join(UNIQUE, &[&[kind], hash, &anchor_bytes(anchor)])
}

/// The anchor of a `UNIQUE` key.
pub(crate) fn read_unique(key: &[u8]) -> Option<SourceAnchor> {
    read_anchor(key.get(18..)?).map(|(anchor, _)| anchor)
}

/// The users of a source with this primary group.
pub(crate) fn primary_of(source: SourceId, rid: u32) -> Vec<u8> {
    join(PRIMARY, &[&source.0, &rid.to_be_bytes()])
}

pub(crate) fn primary(user: ObjectKey, rid: u32) -> Vec<u8> {
    join(PRIMARY, &[&user.source.0, &rid.to_be_bytes(), user.guid.as_bytes()])
}

/// The user of a `PRIMARY` key.
pub(crate) fn read_primary(key: &[u8]) -> Option<ObjectKey> {
    Some(ObjectKey { source: source_at(key, 1)?, guid: guid_at(key, 13)? })
}

/// The moments before and at `due`, in milliseconds since 1970, end before this key.
pub(crate) fn timer(due: i64, object: ObjectKey) -> Vec<u8> {
    join(TIMER, &[&due_bytes(due), &object.source.0, object.guid.as_bytes()])
}

/// Moments in an order that bytes have, too.
fn due_bytes(due: i64) -> [u8; 8] {
    (due.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The moment and the object of a `TIMER` key.
pub(crate) fn read_timer(key: &[u8]) -> Option<(i64, ObjectKey)> {
    let due = u64::from_be_bytes(key.get(1..9)?.try_into().ok()?) ^ (1 << 63);
    Some((due.cast_signed(), ObjectKey { source: source_at(key, 9)?, guid: guid_at(key, 17)? }))
}

/// Everything with a SID.
pub(crate) fn sid_of(sid: &[u8]) -> Vec<u8> {
    join(SID, &[&[sid.len() as u8], sid])
}

pub(crate) fn sid(sid: &[u8], key: ObjectKey) -> Vec<u8> {
    join(SID, &[&[sid.len() as u8], sid, &key.source.0, key.guid.as_bytes()])
}

/// An anchor as it stands in keys: a zero and sixteen bytes, or a length and the text of one that is none of ours.
fn anchor_bytes(anchor: &SourceAnchor) -> Vec<u8> {
    match anchor.guid() {
        Ok(guid) if SourceAnchor::from_guid(guid) == *anchor => join(0, &[guid.as_bytes()]),
        _ => {
            let text: Vec<u8> = anchor.as_str().bytes().take(255).collect();
            join(text.len().max(1) as u8, &[&text])
        }
    }
}

/// Reads an anchor at the beginning of `bytes`; returns it with the rest.
fn read_anchor(bytes: &[u8]) -> Option<(SourceAnchor, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    if *length == 0 {
        let (guid, rest) = rest.split_first_chunk::<16>()?;
        return Some((SourceAnchor::from_guid(ObjectGuid::from_bytes(*guid)), rest));
    }
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((SourceAnchor::from(String::from_utf8(text.to_vec()).ok()?), rest))
}

pub(crate) fn of_anchor(prefix: u8, anchor: &SourceAnchor) -> Vec<u8> {
    join(prefix, &[&anchor_bytes(anchor)])
}

pub(crate) fn linked(group: &SourceAnchor, member: &SourceAnchor) -> Vec<u8> {
    join(LINKED, &[&anchor_bytes(group), &anchor_bytes(member)])
}

pub(crate) fn out_object(anchor: &SourceAnchor) -> Vec<u8> {
    join(OUTBOX, &[&[OUT_OBJECT], &anchor_bytes(anchor)])
}

pub(crate) fn out_link(group: &SourceAnchor, member: &SourceAnchor) -> Vec<u8> {
    join(OUTBOX, &[&[OUT_LINK], &anchor_bytes(group), &anchor_bytes(member)])
}

pub(crate) fn out_finding(key: ObjectKey) -> Vec<u8> {
    join(OUTBOX, &[&[OUT_FINDING], &key.source.0, key.guid.as_bytes()])
}

pub(crate) fn judged(source: SourceId, snapshot: SnapshotId) -> Vec<u8> {
    join(JUDGED, &[&source.0, snapshot.0.as_bytes()])
}

/// The approval of a full read by a decision, which counts from the record at `offset` on.
pub(crate) fn approved(source: SourceId, offset: u64, decision: u64) -> Vec<u8> {
    join(APPROVED, &[&source.0, &offset.to_be_bytes(), &decision.to_be_bytes()])
}

/// The source, the offset and the decision of an `APPROVED` key.
pub(crate) fn read_approved(key: &[u8]) -> Option<(SourceId, u64, u64)> {
    let number = |at: usize| key.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    Some((source_at(key, 1)?, number(9)?, number(17)?))
}

pub(crate) fn dirty_link(from: ObjectKey, to: ObjectGuid) -> Vec<u8> {
    join(DIRTY_LINK, &[&from.source.0, from.guid.as_bytes(), to.as_bytes()])
}

/// The attributes that a source's collector reads.
pub(crate) fn read_attributes(source: SourceId) -> Vec<u8> {
    join(READ, &[&source.0])
}

fn guid_at(key: &[u8], at: usize) -> Option<ObjectGuid> {
    ObjectGuid::from_slice(key.get(at..at + 16)?).ok()
}

fn source_at(key: &[u8], at: usize) -> Option<SourceId> {
    key.get(at..at + 8)?.try_into().ok().map(SourceId)
}

/// The object a key of the form `prefix source guid …` is about.
pub(crate) fn read_object(key: &[u8]) -> Option<ObjectKey> {
    Some(ObjectKey { source: source_at(key, 1)?, guid: guid_at(key, 9)? })
}

/// The parts of an outgoing edge.
pub(crate) fn read_edge(key: &[u8]) -> Option<(ObjectKey, LinkKind, ObjectGuid)> {
    Some((read_object(key)?, LinkKind::from_byte(*key.get(25)?)?, guid_at(key, 26)?))
}

/// The kind and origin of an incoming edge.
pub(crate) fn read_edge_in(key: &[u8]) -> Option<(LinkKind, ObjectKey)> {
    let kind = LinkKind::from_byte(*key.get(17)?)?;
    Some((kind, ObjectKey { source: source_at(key, 18)?, guid: guid_at(key, 26)? }))
}

/// The child of a children key.
pub(crate) fn read_child(key: &[u8]) -> Option<ObjectGuid> {
    guid_at(key, 33)
}

/// The object of a `SID` key.
pub(crate) fn read_sid(key: &[u8]) -> Option<ObjectKey> {
    let at = 2 + usize::from(*key.get(1)?);
    Some(ObjectKey { source: source_at(key, at)?, guid: guid_at(key, at + 8)? })
}

/// The member of a `DIRTY_LINK` key.
pub(crate) fn read_second(key: &[u8]) -> Option<ObjectGuid> {
    guid_at(key, 25)
}

/// The anchor of a row about one.
pub(crate) fn read_of_anchor(key: &[u8]) -> Option<SourceAnchor> {
    read_anchor(key.get(1..)?).map(|(anchor, _)| anchor)
}

/// The anchor of an outbox row about an object.
pub(crate) fn read_out_object(key: &[u8]) -> Option<SourceAnchor> {
    read_anchor(key.get(2..)?).map(|(anchor, _)| anchor)
}

/// The object of an outbox row about what is wrong with one.
pub(crate) fn read_out_finding(key: &[u8]) -> Option<ObjectKey> {
    Some(ObjectKey { source: source_at(key, 2)?, guid: guid_at(key, 10)? })
}

/// The anchors of a membership that was written.
pub(crate) fn read_linked(key: &[u8]) -> Option<(SourceAnchor, SourceAnchor)> {
    let (group, rest) = read_anchor(key.get(1..)?)?;
    Some((group, read_anchor(rest)?.0))
}

/// The anchors of an outbox row about a membership.
pub(crate) fn read_out_link(key: &[u8]) -> Option<(SourceAnchor, SourceAnchor)> {
    let (group, rest) = read_anchor(key.get(2..)?)?;
    Some((group, read_anchor(rest)?.0))
}
