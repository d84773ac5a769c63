//! mailNickname: the one attribute that Graph requires and many directories do not have.

use super::table::NICKNAME_LIMIT;

/// What Graph does not take in a mailNickname, besides control characters and everything that is not ASCII.
const FORBIDDEN: &str = "@()\\[]\";:<>, ";

/// What Graph takes of a text: its permitted characters, at most 64.
pub(crate) fn sanitised(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() && !FORBIDDEN.contains(*c)).take(NICKNAME_LIMIT).collect()
}

/// The part of a mail address before its `@`, and of anything else the whole.
pub(crate) fn prefix(address: &str) -> &str {
    address.split_once('@').map_or(address, |(local, _)| local)
}

/// The first candidate of which Graph takes anything; if there is none, `object` and a digest of the seed, so that the
/// same object always gets the same one. Never empty.
pub(crate) fn nickname<'a>(candidates: impl IntoIterator<Item = &'a str>, seed: &str) -> String {
    let found = candidates.into_iter().map(sanitised).find(|nickname| !nickname.is_empty());
    found.unwrap_or_else(|| {
        let digest: String = blake3::hash(seed.as_bytes()).to_hex().chars().take(12).collect();
        format!("object{digest}")
    })
}
