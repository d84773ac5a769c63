//! Between bytes and texts.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forestsync_domain::{ObjectGuid, Sid};

use super::super::error::EvalErrorKind;
use super::super::evaluate::{Call, Evaluated};
use super::super::types::{Kind, Type};
use super::super::value::Value;
use super::{Definition, Want, gives_boolean, gives_text, may, need};

pub(super) const ALL: [Definition; 8] = [
    Definition::new(
        "CGuid(text)",
        "the bytes of a GUID in text form, with or without braces",
        &[need(Want::Text)],
        |_| Type::single(Kind::Binary),
        |call| {
            let Some(text) = call.text(0)? else { return Ok(None) };
            let guid = guid(&text).ok_or_else(|| call.fail(EvalErrorKind::NotAGuid))?;
            Ok(Some(guid.as_bytes().to_vec().into()))
        },
    ),
    Definition::new(
        "ConvertFromBase64(text, [Unicode|ASCII|UTF8])",
        "the text whose bytes are given in base64; Unicode is UTF-16LE and meant if none is named",
        &[need(Want::Text), may(Want::Word(&["Unicode", "ASCII", "UTF8"]))],
        gives_text,
        from_base64,
    ),
    Definition::new(
        "ConvertFromUTF8Hex(text)",
        "the text whose UTF-8 bytes are given in hexadecimal",
        &[need(Want::Text)],
        gives_text,
        |call| {
            let Some(text) = call.text(0)? else { return Ok(None) };
            let bytes = from_hex(&text).ok_or_else(|| call.fail(EvalErrorKind::NotEncoded))?;
            let text = String::from_utf8(bytes).map_err(|_| call.fail(EvalErrorKind::NotText))?;
            Ok(Some(text.into()))
        },
    ),
    Definition::new(
        "ConvertToBase64(value)",
        "base64 of binary bytes as they are, and of a text's UTF-16LE bytes",
        &[need(Want::One)],
        gives_text,
        |call| {
            let Some(value) = call.value(0)?.and_then(Value::first) else { return Ok(None) };
            let encoded = match value {
                Value::Binary(bytes) => STANDARD.encode(bytes),
                other => {
                    let text = other.into_text().map_err(|kind| call.fail(kind))?;
                    STANDARD.encode(text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
                }
            };
            Ok(Some(encoded.into()))
        },
    ),
    Definition::new(
        "ConvertToUTF8Hex(text)",
        "the UTF-8 bytes of a text in upper-case hexadecimal",
        &[need(Want::Text)],
        gives_text,
        |call| Ok(call.text(0)?.map(|text| to_hex(text.as_bytes()).into())),
    ),
    Definition::new(
        "IsGuid(text)",
        "whether a text is a GUID, with or without braces; False for Null",
        &[need(Want::One)],
        gives_boolean,
        |call| {
            let value = call.value(0)?.and_then(Value::first);
            let is_guid = matches!(&value, Some(Value::Text(text)) if guid(text).is_some());
            Ok(Some(is_guid.into()))
        },
    ),
    Definition::new(
        "StringFromGuid(binary)",
        "a binary GUID in its text form, lower case, without braces",
        &[need(Want::Binary)],
        gives_text,
        |call| {
            let Some(bytes) = call.binary(0)? else { return Ok(None) };
            let guid = ObjectGuid::from_slice(&bytes).map_err(|_| call.fail(EvalErrorKind::NotAGuid))?;
            Ok(Some(guid.to_string().into()))
        },
    ),
    Definition::new(
        "StringFromSid(binary)",
        "a binary security identifier in its text form, such as S-1-5-18",
        &[need(Want::Binary)],
        gives_text,
        |call| {
            let Some(bytes) = call.binary(0)? else { return Ok(None) };
            let sid = Sid::from_slice(&bytes).map_err(|_| call.fail(EvalErrorKind::NotASid))?;
            Ok(Some(sid.to_string().into()))
        },
    ),
];

/// Eight, four, four, four and twelve hexadecimal digits.
fn guid(text: &str) -> Option<ObjectGuid> {
    let text = text.strip_prefix('{').map_or(Some(text), |inner| inner.strip_suffix('}'))?;
    let is_formed = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    text.parse().ok().filter(|_| is_formed)
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _infallible = write!(text, "{byte:02X}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let (pairs, rest) = digits.as_ref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn from_base64<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let Some(text) = call.text(0)? else { return Ok(None) };
    let bytes = STANDARD.decode(text.trim()).map_err(|_| call.fail(EvalErrorKind::NotEncoded))?;
    let decoded = match call.text(1)?.as_deref() {
        Some("UTF8") => String::from_utf8(bytes).ok(),
        Some("ASCII") => String::from_utf8(bytes).ok().filter(|text| text.is_ascii()),
        _ => {
            let (units, rest) = bytes.as_chunks::<2>();
            let units: Vec<u16> = units.iter().copied().map(u16::from_le_bytes).collect();
            String::from_utf16(&units).ok().filter(|_| rest.is_empty())
        }
    };
    decoded.map(|text| Some(text.into())).ok_or_else(|| call.fail(EvalErrorKind::NotText))
}
