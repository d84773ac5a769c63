//! Whole texts.

use std::borrow::Cow;

use super::super::error::EvalErrorKind;
use super::super::evaluate::{Call, Evaluated, SIZE_LIMIT};
use super::super::value::Value;
use super::{Definition, Want, gives_first, gives_text, may, need};

pub(super) const ALL: [Definition; 10] = [
    Definition::new(
        "Append(text, suffix)",
        "the text with another behind it",
        &[need(Want::Text), need(Want::Text)],
        gives_text,
        |call| {
            let (Some(text), Some(suffix)) = (call.text(0)?, call.text(1)?) else { return Ok(None) };
            if text.len() + suffix.len() > SIZE_LIMIT {
                return Err(call.fail(EvalErrorKind::TooLarge));
            }
            Ok(Some((text + suffix).into()))
        },
    ),
    Definition::new("CStr(value)", "the value as text", &[need(Want::Text)], gives_text, |call| {
        Ok(call.text(0)?.map(Value::Text))
    }),
    Definition::new("LCase(text)", "the text in lower case", &[need(Want::Text)], gives_text, |call| {
        Ok(call.text(0)?.map(|text| mapped(text, lower)))
    }),
    Definition::new("LTrim(text)", "the text without white space before it", &[need(Want::Text)], gives_text, |call| {
        Ok(call.text(0)?.map(|text| cut(text, str::trim_start)))
    }),
    Definition::new("RTrim(text)", "the text without white space behind it", &[need(Want::Text)], gives_text, |call| {
        Ok(call.text(0)?.map(|text| cut(text, str::trim_end)))
    }),
    Definition::new("StripSpaces(text)", "the text without its spaces", &[need(Want::Text)], gives_text, |call| {
        let text = call.text(0)?;
        Ok(text.map(|text| if text.contains(' ') { text.replace(' ', "").into() } else { Value::Text(text) }))
    }),
    Definition::new(
        "ToLower(text, [culture])",
        "the text in lower case, by the rules of a culture such as \"tr-TR\" if there is one",
        &[need(Want::Text), may(Want::Literal)],
        gives_text,
        |call| Ok(call.text(0)?.map(|text| mapped(text, lower))),
    ),
    Definition::new(
        "ToUpper(text, [culture])",
        "the text in upper case, by the rules of a culture such as \"tr-TR\" if there is one",
        &[need(Want::Text), may(Want::Literal)],
        gives_text,
        |call| Ok(call.text(0)?.map(|text| mapped(text, upper))),
    ),
    Definition::new(
        "Trim(values)",
        "each value without white space at its ends",
        &[need(Want::List)],
        gives_first,
        trim,
    ),
    Definition::new("UCase(text)", "the text in upper case", &[need(Want::Text)], gives_text, |call| {
        Ok(call.text(0)?.map(|text| mapped(text, upper)))
    }),
];

/// The text with each character replaced by one, borrowed if none changes.
fn mapped(text: Cow<'_, str>, map: fn(char) -> char) -> Value<'_> {
    if text.chars().all(|c| map(c) == c) {
        return Value::Text(text);
    }
    text.chars().map(map).collect::<String>().into()
}

/// Lower case by the invariant rules: one character for one, and neither form of the Turkish i changes.
fn lower(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// Upper case by the invariant rules.
fn upper(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) if c != 'ı' => one,
        _ => c,
    }
}

/// The form in which texts are compared without regard to case.
pub(super) fn folded(text: &str) -> String {
    text.chars().map(|c| lower(upper(c))).collect()
}

fn cut(text: Cow<'_, str>, cut: for<'t> fn(&'t str) -> &'t str) -> Value<'_> {
    Value::Text(match text {
        Cow::Borrowed(text) => Cow::Borrowed(cut(text)),
        Cow::Owned(text) => {
            let kept = cut(&text);
            if kept.len() == text.len() { Cow::Owned(text) } else { Cow::Owned(kept.to_owned()) }
        }
    })
}

fn trim<'a>(call: &Call<'_, 'a>) -> Evaluated<'a> {
    let trimmed = |value| match value {
        Value::Text(text) => cut(text, str::trim),
        other => other,
    };
    Ok(call.value(0)?.map(|value| match value {
        Value::List(values) => Value::List(values.into_iter().map(trimmed).collect()),
        single => trimmed(single),
    }))
}
