//! Keys of the ledger.

use forestsync_domain::SourceAnchor;
use forestsync_schemas::desired::CloudClass;

use super::StoreError;

pub(super) const META: &[u8] = b"m";
pub(super) const OBJECT: u8 = b'o';
pub(super) const EDGE: u8 = b'e';
pub(super) const REVERSE: u8 = b'r';
pub(super) const INTENT: u8 = b'i';
pub(super) const WINDOW: u8 = b'g';
pub(super) const CLOUD: u8 = b'c';
pub(super) const WATCH: u8 = b'd';
pub(super) const MARK: u8 = b'k';
pub(super) const SUSPECT: u8 = b's';
pub(super) const HINT: u8 = b'h';

fn one(kind: u8, text: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + text.len());
    key.push(kind);
    key.extend(text.as_bytes());
    key
}

/// Anchors are base64 and never contain the byte between them.
fn two(kind: u8, first: &SourceAnchor, second: &str) -> Vec<u8> {
    let mut key = one(kind, first.as_str());
    key.push(0);
    key.extend(second.as_bytes());
    key
}

pub(super) fn object(anchor: &SourceAnchor) -> Vec<u8> {
    one(OBJECT, anchor.as_str())
}

pub(super) fn intent(anchor: &SourceAnchor) -> Vec<u8> {
    one(INTENT, anchor.as_str())
}

pub(super) fn flow(class: CloudClass) -> Vec<u8> {
    one(b'f', class.as_str())
}

pub(super) fn edge(group: &SourceAnchor, member: &SourceAnchor) -> Vec<u8> {
    two(EDGE, group, member.as_str())
}

pub(super) fn reverse(group: &SourceAnchor, member: &SourceAnchor) -> Vec<u8> {
    two(REVERSE, member, group.as_str())
}

pub(super) fn members(group: &SourceAnchor) -> Vec<u8> {
    two(EDGE, group, "")
}

pub(super) fn groups(member: &SourceAnchor) -> Vec<u8> {
    two(REVERSE, member, "")
}

/// Of the tenant's ids for objects.
pub(super) fn cloud(id: &str) -> Vec<u8> {
    one(CLOUD, id)
}

pub(super) fn watch(class: CloudClass) -> Vec<u8> {
    one(WATCH, class.as_str())
}

pub(super) fn mark(anchor: &SourceAnchor) -> Vec<u8> {
    one(MARK, anchor.as_str())
}

pub(super) fn member_mark(group: &SourceAnchor, member: &SourceAnchor) -> Vec<u8> {
    two(MARK, group, member.as_str())
}

pub(super) fn suspect(anchor: &SourceAnchor) -> Vec<u8> {
    one(SUSPECT, anchor.as_str())
}

pub(super) fn hint(group: &SourceAnchor, member: &SourceAnchor) -> Vec<u8> {
    two(HINT, group, member.as_str())
}

pub(super) fn hints(group: &SourceAnchor) -> Vec<u8> {
    two(HINT, group, "")
}

/// Removals, oldest first; the outcome's offset and a number make the key unique.
pub(super) fn window(at: i64, offset: u64, number: u32) -> Vec<u8> {
    let mut key = vec![WINDOW];
    key.extend(at.max(0).to_be_bytes());
    key.extend(offset.to_be_bytes());
    key.extend(number.to_be_bytes());
    key
}

pub(super) fn anchor(bytes: &[u8]) -> Result<SourceAnchor, StoreError> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() => Ok(SourceAnchor::from(text.to_owned())),
        _ => Err(StoreError::Damaged { key: show(bytes), detail: "the key holds no anchor".into() }),
    }
}

pub(super) fn pair(bytes: &[u8]) -> Result<(SourceAnchor, SourceAnchor), StoreError> {
    let mut parts = bytes.splitn(2, |b| *b == 0);
    Ok((anchor(parts.next().unwrap_or_default())?, anchor(parts.next().unwrap_or_default())?))
}

pub(super) fn show(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
