//! The LDAP controls of Active Directory that a collector uses (MS-ADTS 3.1.1.3.4.1).

use bytes::BytesMut;
use lber::common::TagClass;
use lber::structure::{PL, StructureTag};
use ldap3::controls::{Control, RawControl};

use crate::frame;

/// LDAP_SERVER_DIRSYNC_OID.
pub(crate) const DIRSYNC: &str = "1.2.840.113556.1.4.841";
/// LDAP_SERVER_EXTENDED_DN_OID.
const EXTENDED_DN: &str = "1.2.840.113556.1.4.529";
/// LDAP_SERVER_SHOW_DELETED_OID.
const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
/// LDAP_SERVER_NOTIFICATION_OID.
const NOTIFICATION: &str = "1.2.840.113556.1.4.528";

/// Simple paged results (RFC 2696).
const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";

/// LDAP_DIRSYNC_OBJECT_SECURITY: what the account may read, instead of what the right Get-Changes shows.
pub(crate) const OBJECT_SECURITY: u32 = 0x1;
/// LDAP_DIRSYNC_ANCESTORS_FIRST_ORDER.
pub(crate) const ANCESTORS_FIRST: u32 = 0x800;
/// LDAP_DIRSYNC_INCREMENTAL_VALUES: link values one by one instead of all of them.
pub(crate) const INCREMENTAL_VALUES: u32 = 0x8000_0000;

/// Why the response control of an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It is not there.
    #[error("the answer has no DirSync response control")]
    Missing,
    /// It is not what MS-ADTS 3.1.1.3.4.1.3 says.
    #[error("the DirSync response control cannot be read")]
    Malformed,
    /// The paged results control is not there, or is not what RFC 2696 says.
    #[error("the answer has no paged results control that can be read")]
    Paged,
    /// There is said to be more, but neither an entry nor another cookie came.
    #[error("the answer promises more results and makes no progress")]
    NoProgress,
}

/// DirSyncResponseValue ::= SEQUENCE { MoreResults INTEGER, unused INTEGER, CookieServer OCTET STRING }.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DirSyncResponse {
    /// Whether another page follows at once.
    pub(crate) more: bool,
    /// Where the next request starts.
    pub(crate) cookie: Vec<u8>,
}

fn universal(id: u64, payload: PL) -> StructureTag {
    StructureTag { class: TagClass::Universal, id, payload }
}

/// The shortest two's complement form, as BER wants it.
fn integer(value: i32) -> StructureTag {
    let bytes = value.to_be_bytes();
    let redundant = |pair: &[u8]| matches!((pair[0], pair[1] & 0x80), (0, 0) | (0xff, 0x80));
    let skip = bytes.windows(2).take_while(|pair| redundant(pair)).count();
    universal(2, PL::P(bytes.into_iter().skip(skip).collect()))
}

fn sequence(elements: Vec<StructureTag>) -> Option<Vec<u8>> {
    let mut out = BytesMut::new();
    // writing to memory cannot fail; a control without a value is refused by every server
    lber::write::encode_into(&mut out, universal(16, PL::C(elements))).ok()?;
    Some(out.to_vec())
}

fn critical(oid: &str, val: Option<Vec<u8>>) -> RawControl {
    RawControl { ctype: oid.to_owned(), crit: true, val }
}

/// Asks for what changed since `cookie`. The flags go out as a signed 32-bit INTEGER, as Windows clients send them.
pub(crate) fn dirsync(flags: u32, max_bytes: u32, cookie: &[u8]) -> RawControl {
    let size = integer(i32::try_from(max_bytes).unwrap_or(i32::MAX));
    critical(DIRSYNC, sequence(vec![integer(flags.cast_signed()), size, universal(4, PL::P(cookie.to_vec()))]))
}

/// Asks for names with GUID and SID in their text form.
pub(crate) fn extended_dn() -> RawControl {
    critical(EXTENDED_DN, sequence(vec![integer(1)]))
}

/// Asks for tombstones as well.
pub(crate) fn show_deleted() -> RawControl {
    critical(SHOW_DELETED, None)
}

/// Asks to be told of changes for as long as the connection lasts.
pub(crate) fn notification() -> RawControl {
    critical(NOTIFICATION, None)
}

/// Reads the DirSync response control of an answer.
pub(crate) fn dirsync_response(controls: &[Control]) -> Result<DirSyncResponse, ControlError> {
    let Control(_, raw) = controls.iter().find(|c| c.1.ctype == DIRSYNC).ok_or(ControlError::Missing)?;
    parse(raw.val.as_deref().unwrap_or_default()).ok_or(ControlError::Malformed)
}

/// Asks for the next page of a search; with an empty cookie for the first one.
pub(crate) fn paged(entries: u16, cookie: &[u8]) -> RawControl {
    let size = integer(i32::from(entries.max(1)));
    critical(PAGED_RESULTS, sequence(vec![size, universal(4, PL::P(cookie.to_vec()))]))
}

/// Reads where the next page starts, empty where there is none. realSearchControlValue ::= SEQUENCE { size INTEGER,
/// cookie OCTET STRING }.
pub(crate) fn paged_response(controls: &[Control]) -> Result<Vec<u8>, ControlError> {
    let raw = controls.iter().map(|Control(_, raw)| raw).find(|raw| raw.ctype == PAGED_RESULTS);
    parse_page(raw.and_then(|raw| raw.val.as_deref()).unwrap_or_default()).ok_or(ControlError::Paged)
}

fn parse_page(value: &[u8]) -> Option<Vec<u8>> {
    frame::check(value).ok()?;
    let typed = |bytes, tag| frame::element(bytes).ok().filter(|e| e.0 == tag);
    let (_, inner, _) = typed(value, 0x30)?;
    let (_, _, rest) = typed(inner, 0x02)?;
    let (_, cookie, _) = typed(rest, 0x04)?;
    Some(cookie.to_vec())
}

fn parse(value: &[u8]) -> Option<DirSyncResponse> {
    frame::check(value).ok()?;
    let typed = |bytes, tag| frame::element(bytes).ok().filter(|e| e.0 == tag);
    let (_, inner, _) = typed(value, 0x30)?;
    let (_, more, rest) = typed(inner, 0x02)?;
    let (_, _, rest) = typed(rest, 0x02)?;
    let (_, cookie, _) = typed(rest, 0x04)?;
    Some(DirSyncResponse { more: frame::integer(more) != 0, cookie: cookie.to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flags_are_a_signed_integer_of_four_bytes() {
        let control = dirsync(INCREMENTAL_VALUES | ANCESTORS_FIRST | OBJECT_SECURITY, 1 << 20, b"ab");
        assert!(control.crit);
        let expected = [0x30, 15, 2, 4, 0x80, 0, 8, 1, 2, 3, 0x10, 0, 0, 4, 2, b'a', b'b'];
        assert_eq!(control.val.unwrap(), expected);
        assert_eq!(dirsync(0, 0, b"").val.unwrap(), [0x30, 8, 2, 1, 0, 2, 1, 0, 4, 0]);
        assert_eq!(dirsync(0, u32::MAX, b"").val.unwrap(), [0x30, 11, 2, 1, 0, 2, 4, 0x7f, 255, 255, 255, 4, 0]);
        assert_eq!(extended_dn().val.unwrap(), [0x30, 3, 2, 1, 1]);
    }

    #[test]
    fn reads_the_response() {
        let answer = |val: &[u8]| {
            let raw = RawControl { ctype: DIRSYNC.into(), crit: false, val: Some(val.to_vec()) };
            dirsync_response(&[Control(None, raw)]).map(|r| (r.more, r.cookie))
        };
        assert_eq!(answer(&[0x30, 8, 2, 1, 1, 2, 1, 0, 4, 0]), Ok((true, vec![])));
        assert_eq!(answer(&[0x30, 0x81, 9, 2, 1, 0, 2, 1, 0, 4, 1, 7]), Ok((false, vec![7])));
        assert_eq!(answer(&[0x30, 3, 2, 1, 0]), Err(ControlError::Malformed));
        assert_eq!(answer(&[]), Err(ControlError::Malformed));
        assert!(matches!(dirsync_response(&[]), Err(ControlError::Missing)));
    }

    #[test]
    fn pages_are_asked_for_and_answered() {
        let control = paged(500, b"ab");
        assert!(control.crit);
        assert_eq!(control.val.unwrap(), [0x30, 8, 2, 2, 1, 0xf4, 4, 2, b'a', b'b']);
        let answer = |val: Option<&[u8]>| {
            let raw = RawControl { ctype: PAGED_RESULTS.into(), crit: false, val: val.map(<[u8]>::to_vec) };
            paged_response(&[Control(None, raw)])
        };
        assert_eq!(answer(Some(&[0x30, 6, 2, 1, 0, 4, 1, 7])), Ok(vec![7]));
        assert_eq!(answer(Some(&[0x30, 5, 2, 1, 0, 4, 0])), Ok(vec![]));
        assert_eq!(answer(Some(&[0x30, 3, 2, 1, 0])), Err(ControlError::Paged));
        assert_eq!(answer(None), Err(ControlError::Paged));
        assert_eq!(paged_response(&[]), Err(ControlError::Paged));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in any::<Vec<u8>>()) {
            let _any = (parse(&bytes), parse_page(&bytes));
        }
    }
}
