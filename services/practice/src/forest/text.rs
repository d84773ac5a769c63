//! Values in their text forms: GUIDs, SIDs, times.

use std::fmt::Write as _;

use forestsync_domain::{ObjectGuid, Sid};
use jiff::Timestamp;

use super::dn::fold;

/// Seconds between 1601 and 1970, the offset of a Windows file time.
const FILETIME_OFFSET_SECONDS: i64 = 11_644_473_600;

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        // Writing to a String cannot fail.
        let _infallible = write!(out, "{b:02x}");
        out
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<_>>>()?;
    let pairs = digits.chunks_exact(2);
    pairs.remainder().is_empty().then(|| pairs.map(|p| (p[0] << 4 | p[1]) as u8).collect())
}

/// A GUID as directory tools print it.
pub(crate) fn guid(bytes: &[u8; 16]) -> String {
    ObjectGuid::from_bytes(*bytes).to_string()
}

/// A GUID in its text form, or as 32 digits in the order of its bytes.
pub(crate) fn parse_guid(text: &str) -> Option<[u8; 16]> {
    match text.len() {
        32 => unhex(text)?.try_into().ok(),
        _ => text.parse::<ObjectGuid>().ok().map(|g| *g.as_bytes()),
    }
}

/// A SID as `S-1-…`.
pub(crate) fn sid(bytes: &[u8]) -> String {
    Sid::from_slice(bytes).map_or_else(|_| hex(bytes), |s| s.to_string())
}

/// A SID in its text form, or as hexadecimal digits.
pub(crate) fn parse_sid(text: &str) -> Option<Vec<u8>> {
    let Some(rest) = text.strip_prefix("S-").or_else(|| text.strip_prefix("s-")) else {
        return unhex(text).filter(|raw| Sid::from_slice(raw).is_ok());
    };
    let mut parts = rest.split('-');
    let revision: u8 = parts.next()?.parse().ok()?;
    let authority: u64 = parts.next()?.parse().ok()?;
    let subs = parts.map(|p| p.parse::<u32>().ok()).collect::<Option<Vec<_>>>()?;
    let mut raw = vec![revision, u8::try_from(subs.len()).ok().filter(|n| *n <= 15)?];
    raw.extend_from_slice(authority.to_be_bytes().get(2..)?);
    raw.extend(subs.iter().flat_map(|s| s.to_le_bytes()));
    Some(raw)
}

/// A security identifier below `domain`.
pub(crate) fn sid_below(domain: &[u8], rid: u32) -> Vec<u8> {
    let mut sid = domain.to_vec();
    if let Some(count) = sid.get_mut(1) {
        *count += 1;
    }
    sid.extend_from_slice(&rid.to_le_bytes());
    sid
}

/// Generalized time, such as `20260131235959.0Z`.
pub(crate) fn generalized_time(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().strftime("%Y%m%d%H%M%S.0Z").to_string()
}

/// A Windows file time: units of 100 ns since 1601.
pub(crate) fn file_time(seconds: i64) -> i64 {
    (seconds + FILETIME_OFFSET_SECONDS) * 10_000_000
}

/// The form under which account names are compared.
pub(crate) fn folded(raw: &[u8]) -> Box<str> {
    fold(&String::from_utf8_lossy(raw)).into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_in_both_forms() {
        let raw: Vec<u8> = (0..16).collect();
        let text = "03020100-0504-0706-0809-0a0b0c0d0e0f";
        assert_eq!(parse_guid(text).map(Vec::from), Some(raw.clone()));
        assert_eq!(parse_guid(&hex(&raw)).map(Vec::from), Some(raw));
        let sid_text = "S-1-5-21-1111111111-2222222222-3333333333-1105";
        let raw = parse_sid(sid_text).unwrap();
        assert_eq!(sid(&raw), sid_text);
        assert_eq!(parse_sid(&hex(&raw)), Some(raw));
        assert_eq!(parse_sid("S-1-5-x"), None);
        assert_eq!(parse_sid("0102"), None);
    }

    #[test]
    fn times() {
        assert_eq!(generalized_time(0), "19700101000000.0Z");
        assert_eq!(file_time(0), 116_444_736_000_000_000);
    }
}
