//! Distinguished names.

use forestsync_domain::{Dn, Rdn};

use super::super::check::Arguments;
use super::super::error::{CompileError, EvalErrorKind};
use super::super::evaluate::{Call, Evaluated, Stop};
use super::super::value::Value;
use super::{Definition, Prepared, Want, gives_text, may, need};

pub(super) const ALL: [Definition; 4] = [
    Definition::new(
        "CRef(text)",
        "the text, as a reference to another object",
        &[need(Want::Text)],
        gives_text,
        |call| Ok(call.text(0)?.map(Value::Text)),
    ),
    Definition::new(
        "DNComponent(name, index)",
        "the value of a part of a distinguished name, counted from the left; Null if there is none",
        &[need(Want::Text), need(Want::Integer)],
        gives_text,
        |call| {
            let Some(name) = name(call)? else { return Ok(None) };
            component(call, name.rdns().iter())
        },
    )
    .preparing(place_is_positive),
    Definition::new(
        "DNComponentRev(name, index, [DC])",
        "the value of a part of a distinguished name, counted from the right; with DC those of kind dc do not count",
        &[need(Want::Text), need(Want::Integer), may(Want::Word(&["DC"]))],
        gives_text,
        |call| {
            let Some(name) = name(call)? else { return Ok(None) };
            let skips = call.text(2)?.is_some();
            component(call, name.rdns().iter().rev().filter(|rdn| !(skips && rdn.kind().eq_ignore_ascii_case("dc"))))
        },
    )
    .preparing(place_is_positive),
    Definition::new(
        "EscapeDNComponent(text)",
        "a part of a distinguished name, such as cn=value, with its value escaped",
        &[need(Want::Text)],
        gives_text,
        |call| Ok(call.text(0)?.map(|text| escaped(&text).into())),
    ),
];

fn place_is_positive(arguments: &Arguments<'_>) -> Result<Prepared, CompileError> {
    match arguments.integer(1) {
        Some(place) if place < 1 => Err(arguments.wrong(1, "parts are counted from 1", "the first part is 1")),
        _ => Ok(Prepared::Nothing),
    }
}

fn name(call: &Call<'_, '_>) -> Result<Option<Dn>, Stop> {
    let Some(text) = call.text(0)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| call.fail(EvalErrorKind::NotADistinguishedName))
}

fn component<'a, 'n>(call: &Call<'_, 'a>, mut parts: impl Iterator<Item = &'n Rdn>) -> Evaluated<'a> {
    let Some(place) = call.integer(1)? else { return Ok(None) };
    let index = usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
    Ok(index.and_then(|index| parts.nth(index)).map(|rdn| rdn.value().to_owned().into()))
}

fn escaped(text: &str) -> String {
    let is_kind =
        |kind: &str| !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    let (kind, value) = match text.split_once('=') {
        Some((kind, value)) if is_kind(kind.trim()) => (Some(kind.trim()), value.trim_start_matches(' ')),
        _ => (None, text),
    };
    let escaped = Dn::default().child(kind.unwrap_or("CN"), value).to_string();
    match kind {
        Some(_) => escaped,
        None => escaped.split_once('=').map_or_else(String::new, |(_, value)| value.to_owned()),
    }
}
